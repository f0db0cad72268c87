//! In how many seeds each planted bug is caught: `planted [MOST [NAME]]`. With a name, what led to it
//! is shown, without what it does not need.
#![expect(clippy::print_stdout, reason = "it talks to a person")]

#[cfg(not(feature = "planted-bugs"))]
fn main() {
    println!("nothing is planted: build with --features planted-bugs");
}

#[cfg(feature = "planted-bugs")]
fn main() -> std::process::ExitCode {
    use rserpool_sim::planted::{BUGS, plant};
    use rserpool_sim::run::Runner;
    use rserpool_sim::swarm::Plan;
    use rserpool_sim::{minimise, trace};
    use std::process::ExitCode;
    use std::time::Duration;

    // Bugs that panic are caught like all others.
    std::panic::set_hook(Box::new(|_| ()));
    let mut arguments = std::env::args().skip(1);
    let most = arguments.next().and_then(|most| most.parse().ok()).unwrap_or(500);
    let only = arguments.next();
    let mut all = true;
    println!("| planted bug | what it does | seeds to catch | caught as |\n|---|---|---|---|");
    for bug in BUGS.iter().filter(|bug| only.as_deref().is_none_or(|only| only == bug.name)) {
        if plant(Some(bug.name)).is_err() {
            return ExitCode::FAILURE;
        }
        let runner = Runner { until_failure: true, ..Runner::new() };
        let summary = runner.run(1..most + 1, |_, _| ());
        let caught = summary.failed.first();
        let violation =
            caught.and_then(|(seed, outcome)| Some((*seed, outcome.violation.as_ref()?)));
        let Some((seed, violation)) = violation else {
            all = false;
            println!("| `{}` | {} | not caught | |", bug.name, bug.what);
            continue;
        };
        let what = format!("{}: {}", violation.invariant, violation.text);
        let what = what.lines().next().unwrap_or("");
        println!("| `{}` | {} | {seed} | {what} |", bug.name, bug.what);
        if only.is_some() {
            let plan = minimise::minimise(&Plan::draw(seed), violation, Duration::from_secs(60));
            let outcome = plan.run(80);
            println!("\n{:#?}\n{}", plan.faults, trace::text(&outcome.names, &outcome.lines));
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
