//! `cargo xtask bench resolve`: the way of a resolution through a registrar and back.
//!
//! ```text
//!   core 1: generator, 100 elements <--> core 0: registrar | echo on its driver | raw echo
//! ```
//!
//! The echo servers answer everything with what the registrar has answered. All servers are up all
//! the time and idle but for the one that is asked. Rounds go from one to the next; a share is the
//! median of the shares of each round, so that whatever else the machine does meanwhile is done to
//! both.

use super::process::{Cores, Process, median, processor_time, two_cores};
use super::{example, keep, rate};
use crate::steps::{Error, output};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Arguments of `cargo xtask bench resolve`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: figures for a first look.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    cores: Cores,
}

/// Elements in the pool.
pub(super) const ELEMENTS: &str = "100";
/// The pools, named as their policies.
const POOLS: [&str; 2] = ["round-robin", "least-used"];
/// Elements in an answer.
const ITEMS: [u32; 2] = [1, 10];
/// Questions outstanding: one for ping-pong.
const WINDOWS: [u32; 2] = [1, 64];

/// Least share of the echo's rate, one question at a time.
const LEAST_SHARE: f64 = 0.8;
/// Least answers of one item a second, pipelined.
const LEAST_RATE: f64 = 400e3;

/// Runs the load; `Ok(true)` if every figure reaches what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    two_cores()?;
    let load = example("rserpool", "resolve_load")?;
    let (rounds, seconds) = if arguments.quick { (3, 0.3) } else { (9, 0.5) };

    let cores = arguments.cores;
    let company = |arguments: &[&str]| {
        let mut command = cores.company(&load);
        command.args(arguments);
        Process::start(command)
    };
    println!(
        "answers a second, the share of the echo on the registrar's driver, and microseconds of \
         the server's core for an answer\n"
    );
    println!(
        "{:<12}{:>6}{:>8}{:>20}{:>20}{:>20}{:>10}{:>10}",
        "policy", "items", "window", "registrar", "echo", "std::net", "of echo", "of raw"
    );
    let mut rows = Vec::new();
    let mut misses = Vec::new();
    for pool in POOLS {
        let registrar = Server::start(cores.server(&load), "registrar", &["registrar"])?;
        let (_pool, _) = company(&["pool", &registrar.address, pool, ELEMENTS])?;
        for items in ITEMS {
            let number = items.to_string();
            let (_, answer) = company(&["sample", &registrar.address, pool, &number])?;
            let echo = Server::start(cores.server(&load), "echo", &["echo", &answer])?;
            let raw = Server::start(cores.server(&load), "std::net", &["raw", &answer])?;
            for window in WINDOWS {
                let load = Load { program: &load, cores, pool, items, window, seconds };
                let row = load.compare([&registrar, &echo, &raw], rounds)?;
                misses.extend(load.miss(&row));
                rows.push(row);
            }
        }
    }
    keep("resolve", &json!({ "rows": rows, "misses": misses }))?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}

struct Server {
    name: &'static str,
    process: Process,
    address: String,
}

impl Server {
    fn start(mut command: Command, name: &'static str, arguments: &[&str]) -> Result<Self, Error> {
        command.args(arguments);
        let (process, address) = Process::start(command)?;
        Ok(Self { name, process, address })
    }
}

/// What is asked, and how.
struct Load<'a> {
    program: &'a Path,
    cores: Cores,
    pool: &'a str,
    items: u32,
    window: u32,
    seconds: f64,
}

impl Load<'_> {
    /// Asks each server in each round and prints a line: the first one's shares of the others.
    fn compare(&self, servers: [&Server; 3], rounds: u32) -> Result<Value, Error> {
        let mut samples = [(); 3].map(|()| Vec::new());
        let mut times = [0.0; 3];
        for _ in 0..rounds {
            for ((server, samples), time) in servers.iter().zip(&mut samples).zip(&mut times) {
                let before = processor_time(server.process.id())?;
                samples.push(self.measure(server)?);
                *time += processor_time(server.process.id())? - before;
            }
        }
        let (pool, items, window) = (self.pool, self.items, self.window);
        print!("{pool:<12}{items:>6}{window:>8}");
        let mut row = json!({ "policy": pool, "items": items, "window": window });
        for ((server, samples), time) in servers.iter().zip(&samples).zip(times) {
            let per_second = median(samples.iter().copied());
            let answers = samples.iter().sum::<f64>() * self.seconds;
            let processor_us = time / answers * 1e6;
            print!("{:>20}", format!("{} ({processor_us:.2})", rate(per_second)));
            row[server.name] = json!({ "per_second": per_second, "processor_us": processor_us });
        }
        let [ours, echo, raw] = &samples;
        for (name, others) in [("of_echo", echo), ("of_raw", raw)] {
            let share = median(ours.iter().zip(others).map(|(ours, other)| ours / other));
            print!("{:>10}", format!("{:.0} %", share * 100.0));
            row[name] = share.into();
        }
        println!();
        Ok(row)
    }

    fn measure(&self, server: &Server) -> Result<f64, Error> {
        let mut command = self.cores.generator(self.program);
        command.args(["ask", &server.address, self.pool]);
        command.args([self.items.to_string(), self.window.to_string(), self.seconds.to_string()]);
        Ok(output(command)?.trim().parse()?)
    }

    /// What is wrong with a row, if anything.
    fn miss(&self, row: &Value) -> Option<String> {
        let (pool, items) = (self.pool, self.items);
        let share = row["of_echo"].as_f64()?;
        let per_second = row["registrar"]["per_second"].as_f64()?;
        if self.window == 1 && share < LEAST_SHARE {
            return Some(format!(
                "{pool}, {items} items, ping-pong: {:.0} % of the echo, not {:.0} %",
                share * 100.0,
                LEAST_SHARE * 100.0
            ));
        }
        (self.window > 1 && items == 1 && per_second < LEAST_RATE).then(|| {
            format!("{pool}, pipelined: {}/s, not {}/s", rate(per_second), rate(LEAST_RATE))
        })
    }
}
