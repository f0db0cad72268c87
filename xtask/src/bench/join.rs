//! `cargo xtask bench join`: how soon a registrar that joins a scope serves, and what users of its
//! mentor notice of it.

use super::{example, keep};
use crate::steps::{Error, output};
use serde_json::Value;
use std::process::Command;

/// Arguments of `cargo xtask bench join`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Elements, and seconds until the one that joins is to be in service.
const JOINS: [(u32, f64); 2] = [(10_000, 0.3), (100_000, 2.0)];
/// Times each is done; the median counts.
const ROUNDS: usize = 5;
/// The 99th percentile of the mentor's answers has to be below, in milliseconds.
const MOST_P99_MS: f64 = 10.0;

/// Joins; `Ok(true)` if it is as fast as it is meant to be.
pub(crate) fn run(_: &Arguments) -> Result<bool, Error> {
    let program = example("rserpool", "scope_load")?;
    let mut good = true;
    let mut figures = Vec::new();
    println!("medians of {ROUNDS}; 1000 questions a second to the mentor\n");
    println!(
        "{:>9}{:>14}{:>10}{:>16}{:>16}",
        "elements", "in service", "asked", "p99 before", "p99 meanwhile"
    );
    for (elements, asked) in JOINS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut load = Command::new(&program);
            load.args(["join", &elements.to_string()]);
            rounds.push(serde_json::from_str::<Value>(&output(load)?)?);
        }
        let median = |key: &str| {
            let mut all: Vec<f64> = rounds.iter().filter_map(|it| it[key].as_f64()).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let (seconds, before, during) =
            (median("in_service_s"), median("p99_before_ms"), median("p99_during_ms"));
        println!(
            "{elements:>9}{:>11.1} ms{:>7.0} ms{before:>13.2} ms{during:>13.2} ms",
            seconds * 1e3,
            asked * 1e3
        );
        good &= seconds <= asked && during <= MOST_P99_MS;
        figures.push(Value::Array(rounds));
    }
    keep("join", &Value::Array(figures))?;
    Ok(good)
}
