//! `cargo xtask bench watch`: what users that watch pools cost those that resolve, and the registrar.
//!
//! ```text
//!   core 1: generator, elements, watchers <--> core 0: registrar
//! ```
//!
//! Questions are asked at fixed times as in `bench latency`, in rounds with 10 000 watches and without,
//! in turn, of the same registrar and while the same elements come and go. The watchers are a process
//! of their own, which reads when the generator leaves it the core. What a watch takes of the heap is
//! counted in a registrar without a network.

use super::process::{Cores, Process, median, on_core, two_cores};
use super::{example, keep};
use crate::steps::{Error, output};
use serde_json::{Value, json};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Arguments of `cargo xtask bench watch`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer rounds: figures for a first look.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    cores: Cores,
    /// Resolutions a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Print the figures as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Pools, elements in each (with those that come and go no more than one address may have), watches of
/// all, and elements in an answer.
const POOLS: &str = "100";
const ELEMENTS: &str = "98";
const WATCHES: &str = "10000";
const ITEMS: &str = "10";
/// Elements that join each second, and leave a second later.
const COMERS: &str = "100";

/// The 99th percentile with watches has to be below that without, times this.
const MOST_TIMES: f64 = 2.0;
/// A watch has to take less of the heap, in bytes.
const MOST_BYTES: u64 = 2048;

const ROUND_SECONDS: f64 = 0.6;
/// Time for watchers to come and go, and to read what they were told.
const PAUSE: Duration = Duration::from_millis(600);

/// Runs the load; `Ok(true)` if the figures are what is asked of them.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    two_cores()?;
    let load = example("rserpool", "resolve_load")?;
    let heap = output(Command::new(example("rserpool-proto", "watches")?))?;
    let heap: Value = serde_json::from_str(&heap)?;
    let rounds = if arguments.quick { 3 } else { 9 };
    let cores = arguments.cores;
    let company = |arguments: &[&str]| {
        let mut command = cores.company(&load);
        command.args(arguments);
        Process::start(command)
    };
    let mut command = cores.server(&load);
    command.arg("registrar");
    let (_registrar, registrar) = Process::start(command)?;
    let (mut pools, _) = company(&["pools", &registrar, POOLS, ELEMENTS])?;
    let (mut churn, _) = company(&["churn-pools", &registrar, POOLS, COMERS])?;

    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (watched, samples) in samples.iter_mut().enumerate() {
            let watchers = match watched {
                0 => None,
                _ => {
                    let mut command = on_core(1, &load);
                    command.args(["watch", &registrar, POOLS, WATCHES, ITEMS]);
                    Some(Process::start(command)?)
                }
            };
            sleep(PAUSE);
            let mut generator = cores.generator(&load);
            generator.args(["offer", &registrar, "p0"]);
            generator.args([arguments.rate.to_string(), ROUND_SECONDS.to_string()]);
            samples.push(serde_json::from_str::<Value>(&output(generator)?)?);
            if let Some((mut watchers, _)) = watchers {
                watchers.still_runs()?;
            }
        }
    }
    pools.still_runs()?;
    churn.still_runs()?;
    let p99 = samples.map(|samples| {
        median(samples.iter().filter_map(|sample| sample["latency"]["p99"].as_f64())) / 1000.0
    });
    let [without, with] = p99;
    let times = with / without;
    let bytes = ["one_each", "sixteen_each"].map(|of| heap[of].as_u64().unwrap_or(u64::MAX));
    let mut misses = Vec::new();
    if times >= MOST_TIMES {
        misses
            .push(format!("p99 is {times:.2} times that without watches, not under {MOST_TIMES}"));
    }
    if bytes.iter().any(|bytes| *bytes >= MOST_BYTES) {
        misses.push(format!("a watch takes {bytes:?} bytes, not under {MOST_BYTES}"));
    }
    let figures = json!({
        "per_second": arguments.rate,
        "p99_us": { "without": without, "with": with, "times": times },
        "heap_bytes_per_watch": heap,
        "misses": misses,
    });
    if arguments.json {
        println!("{figures:#}");
    } else {
        let [one, sixteen] = bytes;
        println!(
            "{} questions a second; {COMERS} elements a second come and go in {POOLS} pools of \
             {ELEMENTS}; medians of {rounds} rounds each\n\n\
             p99 without watches       {without:>8.0} us\n\
             p99 with {WATCHES} watches    {with:>8.0} us    {times:.2} times\n\
             heap of a watch           {one:>8} bytes, {sixteen} where an association has 16",
            arguments.rate
        );
    }
    keep("watch", &figures)?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}
