//! `cargo xtask bench takeover`: what the survivors say when one of several registrars dies.
//!
//! Elements are those of the library, each over a connection of its own, and hunt by themselves.
//! Registrars and elements share the machine, over TCP on loopback.

use super::plot::{Chart, draw};
use super::{example, keep};
use crate::steps::{Error, output, root};
use serde_json::{Value, json};
use std::process::Command;

/// Arguments of `cargo xtask bench takeover`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Registrars before the death.
    #[arg(long, default_value_t = 3)]
    registrars: usize,
    /// Elements.
    #[arg(long, default_value_t = 5_000)]
    elements: usize,
    /// Seconds looked at after the death.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Leave the plot in docs/takeover.svg.
    #[arg(long)]
    plot: bool,
}

/// Messages per second are those of so many seconds.
const WINDOW: f64 = 1.0;
/// All has to be steady again after so many seconds.
const MOST_RETURN: f64 = 10.0;
/// What counts as steady: so much above the mean.
const STEADY: f64 = 1.15;

/// Kills one; `Ok(true)` if the storm is as small and short as it is meant to be.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let mut load = Command::new(example("rserpool", "scope_load")?);
    let [registrars, elements] = [arguments.registrars, arguments.elements].map(|n| n.to_string());
    load.args(["takeover", &registrars, &elements, &arguments.seconds.to_string()]);
    let figures: Value = serde_json::from_str(&output(load)?)?;
    let rehome_rate = figures["rehome_rate"].as_f64().unwrap_or(0.0);
    let looks = figures["looks"].as_array().ok_or("no looks")?;
    let survivors = arguments.registrars.saturating_sub(1);
    let mut lines = Vec::new();
    let mut good = figures["listed"] == figures["elements"];
    println!(
        "{elements} elements, one of {registrars} registrars killed at 0 s; messages/s of each \
         survivor over {WINDOW} s; {} elements listed in the end\n",
        figures["listed"]
    );
    println!(
        "{:<10}{:>14}{:>14}{:>10}{:>12}{:>16}",
        "survivor", "steady before", "steady after", "peak", "allowed", "steady again at"
    );
    let mut rows = Vec::new();
    for survivor in 0..survivors {
        let points: Vec<(f64, f64)> = looks
            .iter()
            .filter_map(|look| Some((look[0].as_f64()?, look[1][survivor].as_f64()?)))
            .collect();
        let rates = rates(&points);
        let mean = |from: f64, to: f64| {
            let within: Vec<f64> = rates
                .iter()
                .filter(|(at, _)| (from..to).contains(at))
                .map(|(_, rate)| *rate)
                .collect();
            within.iter().sum::<f64>() / within.len().max(1) as f64
        };
        let end = rates.last().map_or(0.0, |(at, _)| *at);
        let (before, after) = (mean(-2.0, 0.0), mean(end - 5.0, end));
        let peak =
            rates.iter().filter(|(at, _)| *at >= 0.0).map(|(_, rate)| *rate).fold(0.0, f64::max);
        let last = rates.iter().filter(|(_, rate)| *rate > after * STEADY).map(|(at, _)| *at);
        let again = last.fold(0.0, f64::max);
        let allowed = 2.0 * before + rehome_rate;
        good &= peak <= allowed && again <= MOST_RETURN;
        println!(
            "{:<10}{before:>14.0}{after:>14.0}{peak:>10.0}{allowed:>12.0}{again:>14.1} s",
            survivor + 1
        );
        rows.push(json!({
            "steady_before": before, "steady_after": after, "peak": peak,
            "allowed": allowed, "steady_again_s": again,
        }));
        lines.push((format!("survivor {}", survivor + 1), rates));
    }
    if arguments.plot {
        let chart = Chart {
            title: format!("{elements} elements, one of {registrars} registrars killed"),
            x: "seconds after the death".into(),
            y: "messages/s, sent and received".into(),
            lines,
        };
        draw(&root().join("docs/takeover.svg"), &[chart])?;
    }
    keep("takeover", &json!({ "survivors": rows, "listed": figures["listed"] }))?;
    Ok(good)
}

/// Messages per second up to each look.
fn rates(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let rate = |(at, count): &(f64, f64)| {
        let (since, before) = points.iter().rev().find(|(since, _)| *since <= at - WINDOW)?;
        Some((*at, (count - before) / (at - since)))
    };
    points.iter().filter_map(rate).collect()
}
