//! Runs seeds: `swarm FIRST COUNT [LINES]`.
#![expect(clippy::print_stdout, reason = "it talks to a person")]

use rserpool_sim::{Stats, swarm::Plan, trace};
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let first = arguments.next().unwrap_or(1);
    let count = arguments.next().unwrap_or(1);
    let lines = arguments.next().unwrap_or(0) as usize;
    let started = Instant::now();
    let mut sum = Stats::default();
    for seed in first..first + count {
        let plan = Plan::draw(seed);
        let began = Instant::now();
        let outcome = plan.run(lines);
        sum.add(&outcome.stats);
        if count < 20 {
            println!(
                "seed {seed} {} {} nodes {} faults {} messages {:?} {:016x}",
                plan.preset,
                plan.members().count(),
                outcome.stats.faults,
                outcome.stats.messages,
                began.elapsed(),
                outcome.fingerprint
            );
        }
        if let Some(violation) = outcome.violation {
            println!("seed={seed} {} {violation}", plan.preset);
            println!("{}", trace::text(&outcome.names, &outcome.lines));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} messages, {:.0}/s, {} faults, {} answers, {} removals, {} s simulated, absent {} s, {} pairs",
        sum.messages,
        sum.messages as f64 / seconds,
        sum.faults,
        sum.answers,
        sum.removals,
        sum.simulated / 1_000_000,
        sum.longest_absence / 1_000_000,
        sum.coverage.len()
    );
}
