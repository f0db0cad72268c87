//! `cargo xtask bench session`: what a session's user sees when its element is killed, and what a
//! session costs beside the bare connection.
//!
//! Registrar, elements and user are processes of this machine, over TCP on loopback.

use super::process::{Process, median};
use super::{example, keep, rate};
use crate::steps::{Error, output};
use serde_json::{Value, json};
use std::process::Command;

/// Arguments of `cargo xtask bench session`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kills of the current element.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Rounds of messages.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Sizes of messages, in bytes, and how many.
const FLOWS: [(usize, u64); 2] = [(100, 500_000), (10_000, 50_000)];
/// Most milliseconds from a kill to the first answer of the next element, at the median.
const MOST_OUTAGE: f64 = 20.0;
/// Least share of the messages a second of a bare connection.
const LEAST_SHARE: f64 = 0.8;

/// Kills and measures; `Ok(true)` if every figure reaches what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let load = example("rserpool", "session_load")?;
    let program = |words: &[&str]| {
        let mut command = Command::new(&load);
        command.args(words);
        command
    };
    let (_registrar, registrar) = Process::start(program(&["registrar"]))?;
    let kills = program(&["kills", &registrar, &arguments.kills.to_string()]);
    let mut outages: Vec<f64> = serde_json::from_str(&output(kills)?)?;
    outages.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = outages.len().saturating_sub(1);
        outages.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    };
    let (half, most_of, longest) = (at(0.5), at(0.9), at(1.0));
    println!(
        "kill -9 of the element to the first answer of the next one, {} times:",
        outages.len()
    );
    println!("median {half:.2} ms, 90 % {most_of:.2} ms, longest {longest:.2} ms\n");
    let mut good = half <= MOST_OUTAGE;

    let (_sink, _) = Process::start(program(&["sink", &registrar]))?;
    let (_bare, bare) = Process::start(program(&["bare"]))?;
    println!("{:<12}{:>16}{:>16}{:>10}", "messages of", "session/s", "bare TCP/s", "share");
    let mut rows = Vec::new();
    for (size, count) in FLOWS {
        let (size, count) = (size.to_string(), count.to_string());
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..arguments.rounds {
            let session: f64 =
                output(program(&["flow", &registrar, &size, &count]))?.trim().parse()?;
            let alone: f64 =
                output(program(&["bare-flow", &bare, &size, &count]))?.trim().parse()?;
            for (list, figure) in figures.iter_mut().zip([session, alone, session / alone]) {
                list.push(figure);
            }
        }
        let [session, alone, share] = figures.map(median);
        println!("{:<12}{:>16}{:>16}{:>9.0}%", size, rate(session), rate(alone), share * 100.0);
        good &= share >= LEAST_SHARE;
        rows.push(json!({ "size": size, "session": session, "bare": alone, "share": share }));
    }
    let outages: Value = json!({ "median": half, "p90": most_of, "longest": longest });
    keep("session", &json!({ "outage_ms": outages, "flows": rows }))?;
    Ok(good)
}
