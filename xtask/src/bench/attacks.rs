//! `cargo xtask bench attacks`: what is left of a pool's handling speed when somebody attacks it, over
//! TCP on loopback.
//!
//! Registrar, elements and users are one process, the attacker another. The curves are simulated
//! (`rserpool sim attacks`); this shows some of their points with sockets and a processor in between.

use super::{example, keep};
use crate::steps::Error;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Arguments of `cargo xtask bench attacks`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A fifth of the time: figures for a first look.
    #[arg(long)]
    quick: bool,
}

/// Most of the handling speed that reports and resolutions may cost.
const MOST: f64 = 0.05;

/// A pool's policy and scope, and the attacks on it: what is done, and how many seconds apart.
type Siege = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SIEGES: [Siege; 4] = [
    (
        "least-used",
        "open",
        &[
            ("reports", "1"),
            ("reports", "0.1"),
            ("reports", "0.01"),
            ("resolutions", "0.01"),
            ("resolutions", "0.001"),
            ("resolutions", "0"),
            ("fakes", "1"),
            ("fakes", "0.05"),
        ],
    ),
    ("least-used", "secured", &[("fakes", "0.05"), ("fakes", "0.001")]),
    ("round-robin", "open", &[("reports", "0.1"), ("reports", "0.01"), ("resolutions", "0.001")]),
    (
        "least-used-degradation",
        "open",
        &[("reports", "0.1"), ("reports", "0.01"), ("resolutions", "0.001")],
    ),
];

/// Measures; `Ok(true)` if the pools hold, and a secured scope lets nobody in.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let load = example("rserpool", "attack_load")?;
    let seconds = if arguments.quick { "3" } else { "15" };
    let mut good = true;
    let mut figures = Vec::new();
    println!(
        "{:<24}{:<10}{:<14}{:>8}{:>10}{:>8}{:>10}{:>12}{:>10}{:>10}",
        "policy",
        "scope",
        "attack",
        "every",
        "speed",
        "loss",
        "requests",
        "tried again",
        "attacks",
        "granted"
    );
    for (policy, scope, attacks) in SIEGES {
        let mut pool = Talker::start(&load, &["pool", policy, scope, seconds])?;
        let address = pool.line()?;
        let mut calm = 0.0;
        for (what, every) in [("none", "")].iter().chain(attacks) {
            let attacker = match *what {
                "none" => None,
                what => Some(Talker::start(&load, &[what, &address, every])?),
            };
            pool.input()?.write_all(b"\n")?;
            let line = pool.line()?;
            let [speed, done, again] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(format!("the pool said: {line}").into());
            };
            let speed: f64 = speed.parse()?;
            let (tried, granted) = attacker.map_or(Ok((0, 0)), Talker::end)?;
            if *what == "none" {
                calm = speed;
            }
            let loss = 1.0 - speed / calm;
            println!(
                "{policy:<24}{scope:<10}{what:<14}{every:>8}{:>10}{:>8}{done:>10}{again:>12}{tried:>10}{granted:>10}",
                format!("{:.1} %", 100.0 * speed),
                format!("{:.1} %", 100.0 * loss),
            );
            let may_cost = *what == "fakes" && scope == "open";
            good &= may_cost || loss < MOST;
            good &= scope == "open" || granted == 0;
            figures.push(json!({
                "policy": policy, "scope": scope, "attack": what, "every_seconds": every,
                "speed": speed, "loss": loss, "requests": done, "tried_again": again,
                "attacks": tried, "granted": granted,
            }));
        }
    }
    keep("attacks", &json!(figures))?;
    Ok(good)
}

/// A program that is told something by a line, or by the end of its input.
struct Talker {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(program: &Path, words: &[&str]) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or("a program has no output")?;
        Ok(Self { input: process.stdin.take(), process, output: BufReader::new(output) })
    }

    fn input(&mut self) -> Result<&mut ChildStdin, Error> {
        Ok(self.input.as_mut().ok_or("a program has no input")?)
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().into())
    }

    /// Ends an attacker: how often it has tried, and what was granted.
    fn end(mut self) -> Result<(u64, u64), Error> {
        self.input = None;
        let line = self.line()?;
        let (tried, granted) = line.split_once(' ').ok_or(format!("an attacker said: {line}"))?;
        Ok((tried.parse()?, granted.parse()?))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
