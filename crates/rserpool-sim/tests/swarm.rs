//! What seeds must show.

use rserpool_sim::swarm::Plan;

/// Seeds that have failed once; those up to 2 000 that are not here are tried in the standard run.
const FAILED: &[u64] = &[
    41, 526, 940, 955, 1_001_735, 1_005_466, 2_004_786, 3_003_241, 3_006_226, 1_010_625, 5_003_046,
    1_009_438, 1_018_426, 1_019_277, 1_027_875, 1_034_285, 1_021_044, 1_022_456, 1_038_948,
    1_042_813, 1_043_440, 1_047_690, 1_061_009,
];

/// The same of secured worlds.
const FAILED_SECURED: &[u64] = &[2_657, 3_286, 4_543, 5_832];

#[test]
fn no_seed_violates_anything() {
    for seed in (1..=8).chain(FAILED.iter().copied()) {
        let outcome = Plan::draw(seed).run(0);
        assert_eq!(outcome.violation, None, "seed={seed}");
    }
}

/// RFC 5355 §2.2-§2.5, §2.8: I11, and whatever else is looked at, though somebody with an element's
/// certificate of another pool, somebody with a user's and somebody with none lie all the time.
#[test]
fn in_a_secured_scope_nobody_lies_with_success() {
    for seed in (1..=5).chain(FAILED_SECURED.iter().copied()) {
        let outcome = Plan::secured(seed).run(0);
        assert_eq!(outcome.violation, None, "seed={seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte() {
    let run = |seed| {
        let outcome = Plan::draw(seed).run(100_000);
        (outcome.fingerprint, rserpool_sim::trace::text(&outcome.names, &outcome.lines))
    };
    for seed in [1, 3, 7] {
        assert_eq!(run(seed), run(seed), "seed={seed}");
    }
    assert_ne!(run(1).0, run(3).0);
}

#[test]
fn a_seed_is_as_large_as_it_should_be() {
    for seed in 1..500 {
        let plan = Plan::draw(seed);
        let count = |role| plan.members().filter(|(_, known)| *known == role).count();
        assert!((1..=7).contains(&count(rserpool_sim::Role::Registrar)));
        assert!((5..=100).contains(&count(rserpool_sim::Role::Element)));
        assert!((30_000_000..=300_000_000).contains(&plan.chaos));
        assert!(plan.faults.len() as u64 >= plan.chaos / 10_000_000 - 1, "seed={seed}");
    }
}
