//! `cargo xtask bench latency`: how long resolutions take while the pool changes.
//!
//! Questions are asked at fixed times, however long the answers take, and latencies count from
//! those times: whatever keeps the generator waiting is part of them. An echo server on the
//! registrar's driver is asked in the same way, for what the machine and the generator add.

use super::process::{Cores, Process, median, two_cores};
use super::resolve::ELEMENTS;
use super::{example, keep};
use crate::steps::{Error, output};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::Duration;

/// Arguments of `cargo xtask bench latency`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: figures for a first look.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    cores: Cores,
    /// Resolutions a second.
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
}

const POOL: &str = "round-robin";
/// Elements that join each second, and leave a second later.
const COMERS: &str = "100";
/// The 99th percentile has to be below, in microseconds.
const MOST_P99_US: f64 = 1000.0;

/// Length of a round, and of the pause after it. A generator that runs ahead of all else and never
/// sleeps is stopped for 50 ms once it has kept others waiting for most of a second.
const ROUND_SECONDS: f64 = 0.6;
const PAUSE: Duration = Duration::from_millis(400);

const PERCENTILES: [&str; 4] = ["p50", "p99", "p999", "max"];

/// Runs the load; `Ok(true)` if the latency is what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    two_cores()?;
    let load = example("rserpool", "resolve_load")?;
    let rounds = if arguments.quick { 3 } else { 15 };

    let cores = arguments.cores;
    let server = |arguments: &[&str]| {
        let mut command = cores.server(&load);
        command.args(arguments);
        Process::start(command)
    };
    let company = |arguments: &[&str]| {
        let mut command = cores.company(&load);
        command.args(arguments);
        Process::start(command)
    };
    let (_registrar, registrar) = server(&["registrar"])?;
    let (_pool, _) = company(&["pool", &registrar, POOL, ELEMENTS])?;
    let (_, answer) = company(&["sample", &registrar, POOL, "1"])?;
    let (_echo, echo) = server(&["echo", &answer])?;
    let (mut churn, _) = company(&["churn", &registrar, POOL, COMERS])?;

    println!(
        "{} questions a second; {COMERS} elements a second come and go; microseconds, medians of \
         {rounds} rounds\n",
        arguments.rate
    );
    println!(
        "{:<12}{:>10}{:>10}{:>10}{:>10}{:>12}{:>16}",
        "server", "p50", "p99", "p99.9", "max", "answered", "asked late p99"
    );
    let servers = [("registrar", &registrar), ("echo", &echo)];
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((_, address), samples) in servers.iter().zip(&mut samples) {
            let mut generator = cores.generator(&load);
            generator.args(["offer", address, POOL]);
            generator.args([arguments.rate.to_string(), ROUND_SECONDS.to_string()]);
            sleep(PAUSE);
            samples.push(serde_json::from_str::<Value>(&output(generator)?)?);
        }
    }
    churn.still_runs()?;
    let mut figures = json!({ "per_second": arguments.rate });
    let mut misses = Vec::new();
    for ((name, _), samples) in servers.iter().zip(&samples) {
        let micros = |of: &str, percentile: &str| {
            let all = samples.iter().filter_map(|sample| sample[of][percentile].as_f64());
            median(all) / 1000.0
        };
        let latency = PERCENTILES.map(|percentile| micros("latency", percentile));
        let sum = |of| samples.iter().filter_map(|sample| sample[of].as_f64()).sum::<f64>();
        let answered = sum("answered") / sum("asked").max(1.0);
        let late = micros("delay", "p99");
        print!("{name:<12}");
        for value in latency {
            print!("{value:>10.0}");
        }
        println!("{:>12}{late:>16.0}", format!("{:.2} %", answered * 100.0));
        let [p50, p99, p999, max] = latency;
        figures[name] = json!({
            "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": max,
            "answered": answered, "asked_late_p99_us": late,
        });
        if *name == "registrar" && (p99 >= MOST_P99_US || answered < 1.0) {
            misses.push(format!(
                "p99 is {p99:.0} us with {:.2} % answered, not under {MOST_P99_US} us with all",
                answered * 100.0
            ));
        }
    }
    figures["misses"] = json!(misses);
    keep("latency", &figures)?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}
