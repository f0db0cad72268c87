//! Attacks on a pool, and what they leave of its handling speed.
//!
//! Ten servers, ten users for each, requests of a second, 60 % of the capacity asked for; one more
//! takes part, who means harm, and does so more and more often.

use super::{Attack, Chooser, Defence, Figures, Scenario, Siege};
use crate::planner::sweep::Estimate;

/// What becomes of a pool of one policy with one registrar under one attack.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The attack.
    pub attack: Attack,
    /// The policy.
    pub policy: &'static str,
    /// The registrar.
    pub registrar: Defence,
    /// The same without the attack.
    pub calm: Scenario,
    /// Seconds from one attack to the next, and what is played then; the rarest first.
    pub points: Vec<(f64, Scenario)>,
}

/// The registrar as it ships, in an open scope.
pub const OPEN: Defence = Defence::Shipped { secured: false, elements_per_owner: None };
/// The same, with room for two elements of each address.
pub const TWO_EACH: Defence = Defence::Shipped { secured: false, elements_per_owner: Some(2) };
/// The same in a secured scope.
pub const SECURED: Defence = Defence::Shipped { secured: true, elements_per_owner: None };

/// Policies whose pools are attacked.
pub const POLICIES: [&str; 3] = ["least-used", "round-robin", "least-used-degradation"];

/// Seconds between two reports.
const REPORTS: [f64; 10] = [10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
/// Seconds between two questions of a flood.
const FLOOD: [f64; 9] = [10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001];
/// Seconds between two registrations.
const FAKES: [f64; 10] = [50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05];

/// One user that resolves and reports.
pub const ONE_REPORTER: Attack = Attack::Reports { connections: 1 };

/// All attacks on all pools.
pub fn curves() -> Vec<Curve> {
    let fakes = |answered| Attack::Fakes { answered };
    let three = Attack::Reports { connections: 3 };
    let literal = Defence::Literal;
    type Sieges<'a> = &'a [(Attack, Defence)];
    let panels: [(&[f64], Sieges<'_>); 4] = [
        (&REPORTS, &[(ONE_REPORTER, OPEN), (three, OPEN), (ONE_REPORTER, literal)]),
        (&FLOOD, &[(Attack::Resolutions, OPEN), (Attack::Resolutions, literal)]),
        (&FAKES, &[SECURED, OPEN, TWO_EACH, literal].map(|registrar| (fakes(false), registrar))),
        (&FAKES, &[OPEN, TWO_EACH].map(|registrar| (fakes(true), registrar))),
    ];
    let mut curves = Vec::new();
    for (every, sieges) in panels {
        for policy in POLICIES {
            for (attack, registrar) in sieges {
                curves.push(Curve::new(*attack, policy, *registrar, every));
            }
        }
    }
    curves
}

impl Curve {
    fn new(attack: Attack, policy: &'static str, registrar: Defence, every: &[f64]) -> Self {
        let play = |every| {
            let mut scenario = Scenario::published(Chooser::Policy(policy), 10, 1.0);
            scenario.ask_for(0.6);
            // What a user waits for who is not answered at all.
            scenario.noticed = 1.0;
            (scenario.warm_up, scenario.measured) = (100.0, 1200.0);
            scenario.siege = Some(Siege { registrar, attack, every });
            scenario
        };
        let points = every.iter().map(|every| (*every, play(*every))).collect();
        Self { attack, policy, registrar, calm: play(f64::INFINITY), points }
    }

    /// What the attacker does, in words.
    pub fn what(&self) -> &'static str {
        match self.attack {
            Attack::Reports { .. } => "resolves and reports",
            Attack::Resolutions => "resolves",
            Attack::Fakes { answered: false } => "registers the dead",
            Attack::Fakes { answered: true } => "registers the dead and answers for them",
        }
    }

    /// The registrar, in words.
    pub fn whom(&self) -> String {
        let connections = match self.attack {
            Attack::Reports { connections } if connections > 1 => {
                format!(", {connections} connections")
            }
            _ => String::new(),
        };
        match self.registrar {
            Defence::Shipped { secured: true, .. } => "secured".into(),
            Defence::Shipped { elements_per_owner: None, .. } => format!("open{connections}"),
            Defence::Shipped { elements_per_owner: Some(most), .. } => {
                format!("open, {most} for each address")
            }
            Defence::Literal => "RFC to the letter".into(),
        }
    }
}

/// What an attack has cost of the handling speed, as a part of it; seeds of both in the same order.
pub fn loss(calm: &[Figures], attacked: &[Figures]) -> Estimate {
    let pairs = calm.iter().zip(attacked);
    Estimate::of(pairs.map(|(calm, attacked)| 1.0 - attacked.speed / calm.speed.max(1e-9)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{Harm, run};

    fn play(attack: Attack, policy: &'static str, registrar: Defence, every: f64) -> Figures {
        let curve = Curve::new(attack, policy, registrar, &[every]);
        let mut scenario = curve.points[0].1.clone();
        (scenario.warm_up, scenario.measured) = (50.0, 300.0);
        run(&scenario, 7).unwrap()
    }

    /// RFC 5355 §2.13.
    #[test]
    fn reports_and_floods_of_one_user_cost_a_pool_next_to_nothing_by_whatever_policy() {
        for policy in POLICIES {
            let calm = play(Attack::Resolutions, policy, OPEN, f64::INFINITY);
            for attack in [ONE_REPORTER, Attack::Reports { connections: 3 }, Attack::Resolutions] {
                for every in [1.0, 0.1, 0.01] {
                    let attacked = play(attack, policy, OPEN, every);
                    assert_eq!(attacked.harm.removed, 0);
                    let loss = loss(&[calm], &[attacked]).mean;
                    assert!(loss < 0.05, "{policy}, {attack:?} every {every} s: {loss}");
                }
            }
        }
    }

    #[test]
    fn reports_switch_a_pool_off_where_they_are_counted() {
        let literal = Defence::Literal;
        for (policy, every) in [("least-used", 1.0), ("round-robin", 1.0)] {
            let calm = play(ONE_REPORTER, policy, literal, f64::INFINITY);
            let attacked = play(ONE_REPORTER, policy, literal, every);
            assert!(attacked.harm.removed > 0);
            assert!(loss(&[calm], &[attacked]).mean > 0.8, "{policy}");
        }
    }

    /// RFC 5355 §2.1, §2.2: a user's certificate does not let elements in.
    #[test]
    fn of_elements_that_were_made_up_a_secured_scope_takes_none_and_an_open_one_its_quota() {
        let attack = Attack::Fakes { answered: true };
        let calm = play(attack, "least-used", SECURED, f64::INFINITY);
        let secured = play(attack, "least-used", SECURED, 0.1);
        assert_eq!(secured.harm, Harm { attacks: secured.harm.attacks, ..Harm::default() });
        assert!(secured.harm.attacks > 3000 && secured.speed == calm.speed);
        // Those that stay are two; some come after one has ended.
        let open = play(attack, "least-used", TWO_EACH, 0.1);
        assert!((2..=50).contains(&open.harm.accepted), "{:?}", open.harm);
        let open = play(attack, "least-used", OPEN, 0.1);
        assert_eq!(open.harm.accepted, open.harm.attacks);
    }

    /// The machine, spoken to in messages, chooses as the handlespace in it does.
    #[test]
    fn without_an_attack_a_registrar_serves_like_its_handlespace() {
        for policy in POLICIES {
            let calm = play(Attack::Resolutions, policy, Defence::Literal, f64::INFINITY);
            let mut bare = Scenario::published(Chooser::Policy(policy), 10, 1.0);
            bare.ask_for(0.6);
            (bare.warm_up, bare.measured) = (50.0, 300.0);
            let bare = run(&bare, 7).unwrap();
            let shipped = play(Attack::Resolutions, policy, OPEN, f64::INFINITY);
            for figures in [calm, shipped] {
                let apart = (figures.speed - bare.speed).abs();
                assert!(apart < 0.02, "{policy}: {} {}", figures.speed, bare.speed);
                assert!(figures.completed.abs_diff(bare.completed) < 10);
            }
        }
    }
}
