//! In how many seeds each planted bug is caught: `planted [MOST [NAME]]`.
#![expect(clippy::print_stdout, reason = "it talks to a person")]

#[cfg(not(feature = "planted-bugs"))]
fn main() {
    println!("nothing is planted: build with --features planted-bugs");
}

#[cfg(feature = "planted-bugs")]
fn main() -> std::process::ExitCode {
    use rserpool_sim::{planted, run::Runner};
    use std::process::ExitCode;
    // Bugs that panic are caught like all others.
    std::panic::set_hook(Box::new(|_| ()));
    let mut arguments = std::env::args().skip(1);
    let most = arguments.next().and_then(|most| most.parse().ok()).unwrap_or(500);
    let only = arguments.next();
    let mut all = true;
    println!("| planted bug | what it does | seeds to catch | caught as |\n|---|---|---|---|");
    for bug in planted::BUGS {
        if only.as_deref().is_some_and(|only| only != bug.name) {
            continue;
        }
        if planted::plant(Some(bug.name)).is_err() {
            return ExitCode::FAILURE;
        }
        let runner = Runner { until_failure: true, ..Runner::new() };
        let summary = runner.run(1..most + 1, |_, _| ());
        let caught = summary.failed.first();
        all &= caught.is_some();
        let seeds = caught.map_or("not caught".to_owned(), |(seed, _)| seed.to_string());
        let violation = caught.and_then(|(_, outcome)| outcome.violation.as_ref());
        let text = violation.map_or(String::new(), |v| format!("{}: {}", v.invariant, v.text));
        println!("| `{}` | {} | {seeds} | {text} |", bug.name, bug.what);
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
