//! Questions that were asked of policies, each with the scenarios that answer it.

use super::published::{RATIOS, TABLE};
use super::{Chooser, Failures, Scenario};
use std::num::NonZeroU32;

/// A question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Study {
    /// The published grid: more and more users for ten servers.
    #[default]
    Published,
    /// Reports, questions and requests that take their time.
    Delays,
    /// Servers of which some are faster.
    Uneven,
    /// Servers that fail and come back.
    Failures,
    /// Proxies that know nothing of each other, in the place of a registrar.
    Proxies,
    /// Servers that always say that they are idle.
    Liars,
}

impl Study {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Published, Self::Delays, Self::Uneven, Self::Failures, Self::Proxies, Self::Liars];

    /// Its name on the command line, and what it asks, in one line.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Published => (
                "published",
                "The published grid: least used, round robin and random with 1 to 20 users for \
                 each server",
            ),
            Self::Delays => ("delays", "Delays of 0 to 500 ms between any two hosts"),
            Self::Uneven => {
                ("uneven", "A third of the servers up to ten times as fast as the others")
            }
            Self::Failures => (
                "failures",
                "Servers that fail every 5 to 100 request times, 90 % of the capacity asked for",
            ),
            Self::Proxies => {
                ("proxies", "1 to 100 proxies that know nothing of each other, beside a registrar")
            }
            Self::Liars => {
                ("liars", "One of 20 servers always says that it is idle, with and without a guard")
            }
        }
    }
}

/// One point of a study.
#[derive(Clone, Debug)]
pub struct Point {
    /// Which of its panels.
    pub panel: String,
    /// Which line.
    pub series: String,
    /// How far to the right.
    pub x: f64,
    /// What is played.
    pub scenario: Scenario,
    /// The published utilisation, 0 to 1, if there is one.
    pub published: Option<f64>,
}

/// Policies that are compared where nothing was published.
const POLICIES: [&str; 6] = [
    "least-used",
    "least-used-degradation",
    "priority-least-used",
    "randomized-least-used",
    "round-robin",
    "random",
];

impl Study {
    /// What goes to the right, and whether by equal factors.
    pub fn axis(self) -> (&'static str, bool) {
        match self {
            Self::Published => ("users for each server", false),
            Self::Delays => ("delay between two hosts in ms", false),
            Self::Uneven => {
                ("how often the slow servers' capacity is that of the fast ones", false)
            }
            Self::Failures => ("time between failures of a server in request times", true),
            Self::Proxies => ("proxies", true),
            Self::Liars => ("part of the capacity that is asked for", false),
        }
    }

    /// All that is to be played, with so many users for each server; the published grid has numbers
    /// of its own.
    pub fn points(self, ratio: usize) -> Vec<Point> {
        match self {
            Self::Published => published(),
            Self::Delays => delays(ratio),
            Self::Uneven => uneven(ratio),
            Self::Failures => failures(ratio),
            Self::Proxies => proxies(ratio),
            Self::Liars => liars(ratio),
        }
    }
}

fn panel(seconds: f64) -> String {
    format!("requests of {seconds} s")
}

fn published() -> Vec<Point> {
    let rows = TABLE.iter().flat_map(|&(policy, seconds, row)| {
        RATIOS.into_iter().zip(row).map(move |(ratio, percent)| Point {
            panel: panel(seconds),
            series: policy.into(),
            x: ratio as f64,
            scenario: Scenario::published(Chooser::Policy(policy), ratio, seconds),
            published: Some(percent / 100.0),
        })
    });
    rows.collect()
}

/// Users for each server where nothing else is asked for.
pub const USUAL_RATIO: usize = 10;

fn base(policy: &'static str, ratio: usize, seconds: f64) -> Scenario {
    let mut scenario = Scenario::published(Chooser::Policy(policy), ratio, seconds);
    // As many requests for all sizes.
    (scenario.warm_up, scenario.measured) = (300.0 * seconds, 3000.0 * seconds);
    scenario
}

fn point(panel: String, series: &str, x: f64, scenario: Scenario) -> Point {
    Point { panel, series: series.into(), x, scenario, published: None }
}

fn delays(ratio: usize) -> Vec<Point> {
    let mut points = Vec::new();
    for seconds in [1.0, 10.0] {
        for policy in POLICIES {
            for delay in [0.0, 10.0, 25.0, 50.0, 100.0, 200.0, 350.0, 500.0] {
                let mut scenario = base(policy, ratio, seconds);
                scenario.delay = delay / 1000.0;
                points.push(point(panel(seconds), policy, delay, scenario));
            }
        }
    }
    points
}

fn uneven(ratio: usize) -> Vec<Point> {
    let mut points = Vec::new();
    let weighted = ["weighted-round-robin", "weighted-random"];
    for policy in POLICIES.into_iter().chain(weighted) {
        for factor in [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0] {
            let mut scenario = base(policy, ratio, 1.0);
            // A third of the servers is faster; all together are as fast as before.
            let fast = scenario.servers.len() / 3;
            let all = scenario.servers.len() as f64;
            let slow = 1e6 * all / (all - fast as f64 + fast as f64 * factor);
            for (number, server) in scenario.servers.iter_mut().enumerate() {
                server.capacity = if number < fast { slow * factor } else { slow };
            }
            points.push(point("a third of the servers is faster".into(), policy, factor, scenario));
        }
    }
    points
}

fn failures(ratio: usize) -> Vec<Point> {
    let mut points = Vec::new();
    for policy in POLICIES {
        for between in [5.0, 10.0, 20.0, 50.0, 100.0] {
            let mut scenario = base(policy, ratio, 1.0);
            scenario.ask_for(0.9);
            // Processes that are started again soon: what is lost is what they were working on.
            scenario.failures = Some(Failures { mtbf: between, mttr: 0.1 });
            points.push(point("90 % of the capacity asked for".into(), policy, between, scenario));
        }
    }
    points
}

/// Proxies from which on each is used by one user of a hundred.
const PROXIES: [usize; 7] = [1, 2, 5, 10, 20, 50, 100];

fn proxies(ratio: usize) -> Vec<Point> {
    let mut points = Vec::new();
    // A local network, and one between near cities.
    let panels = [0.001, 0.005].map(|delay| [0.01, 0.1, 1.0, 10.0].map(|seconds| (delay, seconds)));
    for (delay, seconds) in panels.concat() {
        let panel = format!("{}, delays of {} ms", panel(seconds), 1000.0 * delay);
        for count in PROXIES {
            let scenarios = [
                ("two choices at each proxy", Chooser::Proxies(count)),
                ("least-used", Chooser::Policy("least-used")),
                ("least-used-degradation", Chooser::Policy("least-used-degradation")),
            ];
            for (series, chooser) in scenarios {
                let mut scenario = base("least-used", ratio, seconds);
                (scenario.chooser, scenario.delay) = (chooser, delay);
                points.push(point(panel.clone(), series, count as f64, scenario));
            }
        }
    }
    points
}

/// Least used, and bounds on the share of one server.
const CAPS: [(&str, u32); 4] =
    [("no bound", 0), ("4 fair shares", 4), ("2 fair shares", 2), ("1 fair share", 1)];

/// An honest server is never quite idle: its processor has something to do. If it were, it would
/// share with the liar what comes while nobody uses it.
const IDLE: f64 = 0.02;

/// 20 servers of which so many lie, and a bound on the share of each; 0 is none.
fn lying(ratio: usize, liars: usize, cap: u32, utilisation: f64) -> Scenario {
    let mut scenario = base("least-used", ratio, 1.0);
    scenario.servers = vec![scenario.servers[0]; 20];
    scenario.users = 20 * ratio;
    scenario.ask_for(utilisation);
    (scenario.liars, scenario.idle_load) = (liars, IDLE);
    scenario.rules.share_cap = NonZeroU32::new(cap);
    scenario
}

fn liars(ratio: usize) -> Vec<Point> {
    let mut points = Vec::new();
    for (panel, liars) in [("all are honest", 0), ("one always says it is idle", 1)] {
        for (series, cap) in CAPS {
            for utilisation in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
                let scenario = lying(ratio, liars, cap, utilisation);
                points.push(point(panel.into(), series, utilisation, scenario));
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::run;

    #[test]
    fn a_liar_drains_a_pool_unless_its_share_is_bounded_and_a_bound_costs_the_honest_little() {
        let play = |liars, cap, utilisation| {
            let mut scenario = lying(USUAL_RATIO, liars, cap, utilisation);
            (scenario.warm_up, scenario.measured) = (60.0, 600.0);
            run(&scenario, 7).unwrap()
        };
        let (bare, bounded) = (play(1, 0, 0.8).utilisation, play(1, 4, 0.8).utilisation);
        assert!(bare < 0.06 && bounded > 0.6, "{bare} {bounded}");
        let (bare, bounded) = (play(1, 0, 0.2).speed, play(1, 4, 0.2).speed);
        assert!(bounded > 50.0 * bare, "{bare} {bounded}");
        let (bare, bounded) = (play(0, 0, 0.8).speed, play(0, 4, 0.8).speed);
        assert!((bare - bounded).abs() < 0.03 * bare, "{bare} {bounded}");
    }

    #[test]
    fn every_study_asks_what_can_be_played() {
        for ratio in [1, USUAL_RATIO, 20] {
            for point in Study::ALL.into_iter().flat_map(|study| study.points(ratio)) {
                assert_eq!(point.scenario.check(), Ok(()), "{point:?}");
            }
        }
    }
}
