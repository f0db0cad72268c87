//! The laws that policies keep, whatever comes and goes.

use super::*;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn policy(name: &str) -> Box<dyn Policy> {
    testing::table(None).by_name(name).unwrap().create()
}

/// A pool with elements of these words, in seats from 0 on.
fn pool<W: AsRef<[u32]>>(name: &str, elements: &[W]) -> Box<dyn Policy> {
    let mut policy = policy(name);
    for (seat, words) in (0..).zip(elements) {
        policy.insert(Seat(seat), words.as_ref());
    }
    policy
}

fn select(policy: &mut Box<dyn Policy>, dice: &mut Dice, n: usize) -> Vec<u32> {
    let mut out = Vec::new();
    policy.select(dice, n, &mut out);
    out.into_iter().map(|seat| seat.0).collect()
}

fn dice() -> Dice {
    Dice::new([3; 32])
}

/// Whether counts agree with what is expected of them, at a significance of 0.001.
fn agrees(counts: &[u32], expected: &[f64]) -> bool {
    let terms = counts.iter().zip(expected).filter(|(_, expected)| **expected > 0.0);
    let freedom = terms.clone().count() as f64 - 1.0;
    let chi2: f64 = terms.map(|(&n, &e)| (f64::from(n) - e) * (f64::from(n) - e) / e).sum();
    // Wilson and Hilferty's approximation of the quantile.
    let cube = 1.0 - 2.0 / (9.0 * freedom) + 3.09 * (2.0 / (9.0 * freedom)).sqrt();
    let nothing_else = counts.iter().zip(expected).all(|(&n, &e)| e > 0.0 || n == 0);
    nothing_else && chi2 < freedom * cube * cube * cube
}

#[test]
fn round_robin_answers_begin_one_further_each_time() {
    // RFC 5356 §4.1.2
    let (mut policy, mut dice) = (pool("round-robin", &[[]; 4]), dice());
    assert_eq!(select(&mut policy, &mut dice, 3), [0, 1, 2]);
    assert_eq!(select(&mut policy, &mut dice, 3), [1, 2, 3]);
    assert_eq!(select(&mut policy, &mut dice, 9), [2, 3, 0, 1]);
    policy.update(Seat(3), &[]);
    assert_eq!(select(&mut policy, &mut dice, 1), [3], "a re-registration keeps its place");
    policy.insert(Seat(4), &[]);
    assert_eq!(select(&mut policy, &mut dice, 9), [0, 1, 2, 3, 4], "a new one is last");
}

#[test]
fn weighted_round_robin_with_equal_weights_is_round_robin() {
    // RFC 5356 §4.2.1
    let (mut policy, mut dice) = (pool("weighted-round-robin", &[[1]; 7]), dice());
    let round: Vec<_> = (0..7).map(|_| select(&mut policy, &mut dice, 1)[0]).collect();
    assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 7);
    for seat in round.iter().cycle().take(700) {
        assert_eq!(select(&mut policy, &mut dice, 1), [*seat]);
    }
}

#[test]
fn weighted_round_robin_spreads_a_heavy_element_evenly() {
    // RFC 5356 §4.2.2
    let mut words = vec![[1]; 100];
    words.push([100]);
    let (mut policy, mut dice) = (pool("weighted-round-robin", &words), dice());
    let mut longest = 0;
    let mut run = 0;
    for _ in 0..1_000 {
        run = if select(&mut policy, &mut dice, 1) == [100] { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    assert!(longest <= 4, "{longest} times in a row where every second time is even");
}

#[test]
fn weighted_round_robin_does_not_drift_over_many_rounds() {
    // UNIT / 3 and UNIT / 7 leave rests, and virtual time is lowered every 2^15 units.
    let (mut policy, mut dice) = (pool("weighted-round-robin", &[&[3], &[7], &[1]]), dice());
    let mut counts = [0u32; 3];
    for _ in 0..40_000 * 11 {
        counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    assert_eq!(counts, [120_000, 280_000, 40_000]);
    policy.check();
}

#[test]
fn random_answers_are_uniform() {
    // RFC 5356 §4.3.2: 10^6 draws, as answers of one and of three.
    let (mut policy, mut dice) = (pool("random", &[[]; 20]), dice());
    let mut counts = [[0u32; 20]; 2];
    for _ in 0..500_000 {
        counts[0][select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    for _ in 0..166_667 {
        for seat in select(&mut policy, &mut dice, 3) {
            counts[1][seat as usize] += 1;
        }
    }
    assert!(agrees(&counts[0], &[25_000.0; 20]), "{counts:?}");
    assert!(agrees(&counts[1], &[25_000.05; 20]), "{counts:?}");
}

#[test]
fn weighted_random_answers_are_as_likely_as_their_weights() {
    // RFC 5356 §4.4.2: 10^6 draws; weights of many sizes and classes.
    let weights = [1u32, 0, 2, 3, 100, 1000, 7, 0, 999, 1024, 512, 511, 4000];
    let words: Vec<[u32; 1]> = weights.iter().map(|&weight| [weight]).collect();
    let (mut policy, mut dice) = (pool("weighted-random", &words), dice());
    let mut counts = [0u32; 13];
    for _ in 0..1_000_000 {
        counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let expected: Vec<f64> =
        weights.iter().map(|&weight| f64::from(weight) / total * 1_000_000.0).collect();
    assert!(agrees(&counts, &expected), "{counts:?}");
}

#[test]
fn randomized_least_used_answers_are_as_likely_as_the_load_left() {
    // RFC 5356 §5.4.1: 10^6 draws.
    let left = [0u32, 1 << 20, 1 << 31, u32::MAX, 1 << 30, 3 << 29];
    let words: Vec<[u32; 1]> = left.iter().map(|&left| [u32::MAX - left]).collect();
    let (mut policy, mut dice) = (pool("randomized-least-used", &words), dice());
    let mut counts = [0u32; 6];
    for _ in 0..1_000_000 {
        counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    let total: f64 = left.iter().copied().map(f64::from).sum();
    let expected: Vec<f64> =
        left.iter().map(|&left| f64::from(left) / total * 1_000_000.0).collect();
    assert!(agrees(&counts, &expected), "{counts:?}");
}

#[test]
fn randomized_priority_least_used_answers_are_as_likely_as_the_load_left_after_one_more() {
    // 10^6 draws; an element that one more user fills may still come, a full one may not.
    let words: [&[u32]; 4] =
        [&[0, 1 << 31], &[1 << 31, 1 << 30], &[3 << 30, u32::MAX], &[u32::MAX, 0]];
    let (mut policy, mut dice) = (pool("randomized-priority-least-used", &words), dice());
    let mut counts = [0u32; 4];
    for _ in 0..1_000_000 {
        counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    assert!(agrees(&counts[..2], &[666_667.0, 333_333.0]), "{counts:?}");
    assert_eq!(counts[3], 0);
}

#[test]
fn distance_takes_from_the_weight_what_its_penalty_says() {
    // 100 - 2 * 30 = 40, 100 - 0, 20 - 5 * 100 but at least 1, and 0 stays 0.
    let words: [&[u32]; 4] = [&[100, 2, 30], &[100, 2, 0], &[20, 5, 100], &[0, 0, 0]];
    let (mut policy, mut dice) = (pool("weighted-random-dpf", &words), dice());
    let mut counts = [0u32; 4];
    for _ in 0..141_000 {
        counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
    }
    assert!(agrees(&counts, &[40_000.0, 100_000.0, 1_000.0, 0.0]), "{counts:?}");
}

#[test]
fn randomized_degradation_takes_from_the_load_left_until_a_re_registration() {
    for (name, second) in [
        ("randomized-least-used-degradation", 1.0),
        ("randomized-priority-least-used-degradation", 0.5),
    ] {
        // The chance that the element selected first comes first again: its load left has shrunk.
        let (mut again, rounds) = (0u32, 100_000);
        let half = u32::MAX / 2;
        let (mut policy, mut dice) = (pool(name, &[[0, half], [0, half]]), dice());
        for _ in 0..rounds {
            policy.update(Seat(0), &[0, half]);
            policy.update(Seat(1), &[0, half]);
            let first = select(&mut policy, &mut dice, 1);
            again += u32::from(select(&mut policy, &mut dice, 1) == first);
        }
        // Left: 1/2 of 1 against 1, and nothing of 1/2 against 1/2.
        let chance = if second == 1.0 { 1.0 / 3.0 } else { 0.0 };
        let expected = [f64::from(rounds) * chance, f64::from(rounds) * (1.0 - chance)];
        assert!(again < 5 || agrees(&[again, rounds - again], &expected), "{name}: {again}");
    }
}

#[test]
fn a_pool_that_has_degraded_all_the_way_still_answers() {
    let name = "randomized-least-used-degradation";
    let (mut policy, mut dice) = (pool(name, &[[0, u32::MAX], [7, u32::MAX]]), dice());
    for _ in 0..10 {
        assert_eq!(select(&mut policy, &mut dice, 5).len(), 2);
    }
    policy.check();
}

#[test]
fn most_used_fills_one_element_after_the_other() {
    // RFC 3237 §2.10 names it; a full element comes last.
    let (mut policy, mut dice) = (pool("most-used", &[[10], [70], [u32::MAX], [0]]), dice());
    assert_eq!(select(&mut policy, &mut dice, 4), [1, 0, 3, 2]);
    policy.update(Seat(1), &[u32::MAX]);
    assert_eq!(select(&mut policy, &mut dice, 2), [0, 3]);
}

#[test]
fn distance_adds_its_penalty_to_the_load() {
    let words: [&[u32]; 3] = [&[10, 2, 30], &[50, 2, 0], &[0, u32::MAX, u32::MAX]];
    let (mut policy, mut dice) = (pool("least-used-dpf", &words), dice());
    assert_eq!(select(&mut policy, &mut dice, 3), [1, 0, 2]);
    let words: [&[u32]; 2] = [&[0, 5, 1, 11], &[10, 5, 0, 0]];
    let (mut policy, mut dice) = (pool("least-used-degradation-dpf", &words), dice);
    let mut one = || select(&mut policy, &mut dice, 1)[0];
    assert_eq!([one(), one(), one(), one()], [1, 0, 1, 0]);
}

#[test]
fn the_second_of_a_weighted_answer_is_drawn_among_the_others() {
    // RFC 5356 §4.4.2; one weight outweighs the rest, so that the first must be taken out.
    let weights = [8.0, 1.0, 2.0, 3.0];
    let (mut policy, mut dice) = (pool("weighted-random", &[&[8], &[1], &[2], &[3]]), dice());
    let mut counts = [0u32; 4];
    for _ in 0..200_000 {
        counts[select(&mut policy, &mut dice, 2)[1] as usize] += 1;
    }
    let expected: Vec<f64> = (0..4)
        .map(|second| {
            let firsts = (0..4).filter(|first| *first != second);
            let chances = firsts.map(|first: usize| {
                weights[first] / 14.0 * weights[second] / (14.0 - weights[first])
            });
            200_000.0 * chances.sum::<f64>()
        })
        .collect();
    assert!(agrees(&counts, &expected), "{counts:?} {expected:?}");
    policy.check();
}

#[test]
fn least_used_goes_round_among_equals() {
    // RFC 5356 §5.1.2
    let (mut policy, mut dice) = (pool("least-used", &[&[5], &[5], &[9], &[5], &[9]]), dice());
    assert_eq!(select(&mut policy, &mut dice, 1), [0]);
    assert_eq!(select(&mut policy, &mut dice, 1), [1]);
    assert_eq!(select(&mut policy, &mut dice, 1), [3]);
    assert_eq!(select(&mut policy, &mut dice, 4), [0, 1, 3, 2]);
    assert_eq!(select(&mut policy, &mut dice, 4), [1, 3, 0, 4], "the last place goes round too");
    policy.update(Seat(3), &[5]);
    assert_eq!(select(&mut policy, &mut dice, 1), [3], "a re-registration keeps its place");
    policy.update(Seat(2), &[1]);
    assert_eq!(select(&mut policy, &mut dice, 2), [2, 0]);
}

#[test]
fn priority_least_used_takes_the_lowest_after_one_more_user() {
    // RFC 5356 §5.3.1; the sum needs more than 32 bits.
    let words: [&[u32]; 3] = [&[50, 50], &[50, 10], &[u32::MAX, u32::MAX]];
    let (mut policy, mut dice) = (pool("priority-least-used", &words), dice());
    assert_eq!(select(&mut policy, &mut dice, 3), [1, 0, 2]);
}

#[test]
fn priorities_come_in_decreasing_order() {
    // RFC 5356 §4.5.2
    let words: [&[u32]; 4] = [&[0], &[u32::MAX], &[7], &[8]];
    let (mut policy, mut dice) = (pool("priority", &words), dice());
    for _ in 0..3 {
        assert_eq!(select(&mut policy, &mut dice, 4), [1, 3, 2, 0]);
    }
}

#[test]
fn degradation_adds_up_until_a_re_registration() {
    // RFC 5356 §5.2.2
    let words: [&[u32]; 2] = [&[10, 4], &[15, 100]];
    let (mut policy, mut dice) = (pool("least-used-degradation", &words), dice());
    let mut one = || select(&mut policy, &mut dice, 1)[0];
    assert_eq!([one(), one(), one(), one(), one()], [0, 0, 1, 0, 0]);
    policy.update(Seat(1), &[15, 100]);
    assert_eq!(select(&mut policy, &mut dice, 1), [1], "it counts from 0 again, and 26 > 15");
    // All of an answer count, not only its first.
    let (mut policy, mut dice) =
        (pool("least-used-degradation", &[&[0, 5], &[1, 5], &[7, 0]]), dice);
    assert_eq!(select(&mut policy, &mut dice, 2), [0, 1]);
    assert_eq!(select(&mut policy, &mut dice, 2), [0, 1]);
    assert_eq!(select(&mut policy, &mut dice, 2), [2, 0]);
}

#[test]
fn an_element_whose_weight_falls_to_zero_is_not_selected_until_it_rises() {
    // RFC 5356 §3.2
    for name in ["weighted-random", "weighted-round-robin", "randomized-least-used"] {
        let (none, some) = if name.ends_with("used") { (u32::MAX, 0) } else { (0, 5) };
        let (mut policy, mut dice) = (pool(name, &[&[some], &[none], &[some]]), dice());
        policy.update(Seat(2), &[none]);
        for _ in 0..20 {
            assert_eq!(select(&mut policy, &mut dice, 3), [0], "{name}");
        }
        policy.update(Seat(2), &[some]);
        policy.update(Seat(0), &[none]);
        assert_eq!(select(&mut policy, &mut dice, 3), [2], "{name}");
        policy.remove(Seat(0));
        policy.remove(Seat(1));
        policy.remove(Seat(2));
        assert!(select(&mut policy, &mut dice, 3).is_empty(), "{name}");
        policy.check();
    }
}

#[test]
fn words_that_are_missing_have_their_defaults() {
    for kind in testing::table(None).iter() {
        let mut policy = kind.create();
        policy.insert(Seat(0), &[]);
        policy.insert(Seat(1), &[7, 7, 7, 7]);
        policy.update(Seat(1), &[]);
        assert_eq!(select(&mut policy, &mut dice(), 5).len(), 2, "{}", kind.name);
        policy.check();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, [u32; 4]),
    Update(u32, [u32; 4]),
    Remove(u32),
    Select(usize),
}

fn words() -> impl Strategy<Value = [u32; 4]> {
    let word = || prop_oneof![4 => 0u32..4, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    [word(), word(), word(), word()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u32..60, words()).prop_map(|(seat, words)| Step::Insert(seat, words)),
        2 => (0u32..60, words()).prop_map(|(seat, words)| Step::Update(seat, words)),
        1 => (0u32..60).prop_map(Step::Remove),
        4 => prop_oneof![Just(1), 0usize..8, 0usize..90].prop_map(Step::Select),
    ];
    proptest::collection::vec(step, 0..250)
}

/// Whether a policy may select an element of these words at all.
fn eligible(name: &str, words: &[u32]) -> bool {
    match name {
        "weighted-random" | "weighted-round-robin" | "weighted-random-dpf" => words[0] > 0,
        name if name.starts_with("randomized-") => words[0] < u32::MAX,
        _ => true,
    }
}

/// What an ordered policy has least of first, and what a selection adds to it; `None` for policies
/// that are not ordered so.
fn key_of(name: &str, words: &[u32; 4]) -> Option<(u128, u128)> {
    let [first, second, third, fourth] = words.map(u128::from);
    let (max, highest) = (u128::from(u32::MAX), u128::from(u64::MAX / 2));
    Some(match name {
        "priority" => (max - first, 0),
        "least-used" => (first, 0),
        "least-used-degradation" => (first, second),
        "priority-least-used" => (first + second, 0),
        "priority-least-used-degradation" => (first + second, second),
        "least-used-dpf" => ((first + second * third).min(highest), 0),
        "least-used-degradation-dpf" => ((first + third * fourth).min(highest), second),
        "most-used" if first == max => (highest, 0),
        "most-used" => (max - first, 0),
        // A key from outside: each selection adds 10.
        "sum" => (first, 10),
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_element_comes_twice_and_all_that_may_come_do(steps in steps()) {
        for kind in testing::table(None).iter() {
            let mut policy = kind.create();
            let mut dice = dice();
            let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for step in &steps {
                match step {
                    Step::Insert(seat, words) if !members.contains_key(seat) => {
                        let words = words[..kind.words.len()].to_vec();
                        policy.insert(Seat(*seat), &words);
                        members.insert(*seat, words);
                    }
                    Step::Update(seat, words) if members.contains_key(seat) => {
                        let words = words[..kind.words.len()].to_vec();
                        policy.update(Seat(*seat), &words);
                        members.insert(*seat, words);
                    }
                    Step::Remove(seat) if members.remove(seat).is_some() => {
                        policy.remove(Seat(*seat));
                    }
                    Step::Select(n) => {
                        let answer = select(&mut policy, &mut dice, *n);
                        let distinct: BTreeSet<_> = answer.iter().collect();
                        prop_assert_eq!(distinct.len(), answer.len(), "{}", kind.name);
                        let may = members.iter().filter(|(_, words)| eligible(kind.name, words));
                        let may: BTreeSet<_> = may.map(|(seat, _)| seat).collect();
                        prop_assert!(distinct.is_subset(&may), "{}", kind.name);
                        prop_assert_eq!(answer.len(), may.len().min(*n), "{}", kind.name);
                    }
                    _ => {}
                }
            }
            policy.check();
        }
    }

    /// Between two turns of one element, every other that stays has exactly one.
    #[test]
    fn round_robin_alternates_whatever_comes_and_goes(steps in steps()) {
        let mut policy = policy("round-robin");
        let mut dice = dice();
        let mut since: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(seat, _) if !since.contains_key(&seat) => {
                    policy.insert(Seat(seat), &[]);
                    since.insert(seat, BTreeSet::new());
                }
                Step::Remove(seat) if since.remove(&seat).is_some() => {
                    policy.remove(Seat(seat));
                    since.values_mut().for_each(|others| { others.remove(&seat); });
                }
                Step::Select(n) if n > 0 && !since.is_empty() => {
                    let seat = select(&mut policy, &mut dice, n)[0];
                    for (other, seen) in &mut since {
                        if *other == seat {
                            seen.clear();
                        } else {
                            prop_assert!(seen.insert(seat), "{seat} twice between turns of {other}");
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// In every window of whole rounds each element has its weight, give or take one.
    #[test]
    fn weighted_round_robin_is_proportional_in_every_round(
        weights in proptest::collection::vec(0u32..30, 1..12),
        skip in 0usize..100,
        rounds in 1u32..4,
    ) {
        let words: Vec<[u32; 1]> = weights.iter().map(|&weight| [weight]).collect();
        let (mut policy, mut dice) = (pool("weighted-round-robin", &words), dice());
        for _ in 0..skip {
            select(&mut policy, &mut dice, 1);
        }
        let mut counts = vec![0u32; weights.len()];
        for _ in 0..rounds * weights.iter().sum::<u32>() {
            counts[select(&mut policy, &mut dice, 1)[0] as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert!(count.abs_diff(weight * rounds) <= 1, "{counts:?} {weights:?}");
        }
    }

    /// Policies that are ordered by a key against a list that is sorted anew for every answer.
    #[test]
    fn ordered_policies_return_the_minima_in_order(steps in steps()) {
        let table = testing::table(None);
        for kind in table.iter().filter(|kind| key_of(kind.name, &[0; 4]).is_some()) {
            let mut policy = kind.create();
            let mut dice = dice();
            let mut values: BTreeMap<u32, (u128, u128)> = BTreeMap::new();
            let value = |words: &[u32; 4]| key_of(kind.name, words).unwrap();
            for step in &steps {
                match step {
                    Step::Insert(seat, words) if !values.contains_key(seat) => {
                        policy.insert(Seat(*seat), &words[..kind.words.len()]);
                        values.insert(*seat, value(words));
                    }
                    Step::Update(seat, words) if values.contains_key(seat) => {
                        policy.update(Seat(*seat), &words[..kind.words.len()]);
                        values.insert(*seat, value(words));
                    }
                    Step::Remove(seat) if values.remove(seat).is_some() => {
                        policy.remove(Seat(*seat));
                    }
                    Step::Select(n) => {
                        let answer = select(&mut policy, &mut dice, *n);
                        let got: Vec<u128> = answer.iter().map(|seat| values[seat].0).collect();
                        let mut want: Vec<u128> = values.values().map(|value| value.0).collect();
                        want.sort_unstable();
                        want.truncate(*n);
                        prop_assert_eq!(got, want, "{}", kind.name);
                        for seat in answer {
                            let (key, degradation) = values[&seat];
                            values.insert(seat, ((key + degradation).min(u128::from(u64::MAX / 2)), degradation));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Answers of one over a pool of equals give each the same number of turns, give or take one.
    #[test]
    fn equals_have_turns_alike(members in 1u32..200, answers in 1usize..600, n in 1usize..2) {
        let table = testing::table(None);
        let names = table.iter().map(|kind| kind.name);
        for name in names.filter(|name| key_of(name, &[0; 4]).is_some()) {
            let words: Vec<&[u32]> = vec![&[5, 0]; members as usize];
            let (mut policy, mut dice) = (pool(name, &words), dice());
            let mut counts = vec![0u32; members as usize];
            for _ in 0..answers {
                counts[select(&mut policy, &mut dice, n)[0] as usize] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{name}");
        }
    }
}
