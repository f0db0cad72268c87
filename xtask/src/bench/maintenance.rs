//! `cargo xtask bench maintenance`: what elements that re-register cost their home and those who
//! keep a copy: the grid that is published of the reference implementation.

use super::plot::{Chart, draw};
use super::{example, keep};
use crate::steps::{Error, output, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Arguments of `cargo xtask bench maintenance`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A few points of 3 s each.
    #[arg(long)]
    quick: bool,
    /// Seconds of a point.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Leave the plot in docs/maintenance.svg.
    #[arg(long)]
    plot: bool,
}

const INTERVALS_MS: [u32; 3] = [250, 500, 1000];
const ELEMENTS: [u32; 3] = [100, 1_000, 3_000];
const USUAL_ELEMENTS: u32 = 1_000;
const REGISTRARS: u32 = 10;
/// A point of which less is achieved has saturated the machine.
const ACHIEVED: f64 = 0.99;

/// Runs the grid; it asks for nothing.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let program = example("rserpool", "scope_load")?;
    let mut grid = Vec::new();
    for interval in INTERVALS_MS {
        grid.extend(ELEMENTS.map(|elements| (2, elements, interval)));
        let others = (1..=REGISTRARS).filter(|registrars| *registrars != 2);
        grid.extend(others.map(|registrars| (registrars, USUAL_ELEMENTS, interval)));
    }
    let mut seconds = arguments.seconds;
    if arguments.quick {
        grid.retain(|(registrars, _, interval)| [1, 2, 5].contains(registrars) && *interval == 500);
        seconds = 3;
    }
    println!("{seconds} s a point, keep-alives off, TCP on loopback; CPU in percent of a core\n");
    println!(
        "{:>10}{:>10}{:>12}{:>10}{:>10}{:>10}{:>10}{:>14}{:>14}",
        "registrars",
        "elements",
        "interval",
        "offered",
        "achieved",
        "CPU home",
        "CPU copy",
        "home",
        "copy"
    );
    let mut figures = Vec::new();
    let mut by_elements: BTreeMap<(u32, &str), Vec<(f64, f64)>> = BTreeMap::new();
    let mut by_registrars = by_elements.clone();
    for (registrars, elements, interval) in grid {
        let mut load = Command::new(&program);
        load.arg("maintenance");
        load.args([registrars, elements, interval, seconds].map(|number| number.to_string()));
        let point: Value = serde_json::from_str(&output(load)?)?;
        let number = |key: &str| point[key].as_f64().unwrap_or(f64::NAN);
        let (offered, achieved) = (number("offered"), number("achieved"));
        let saturated = if achieved < offered * ACHIEVED { "  saturated" } else { "" };
        println!(
            "{registrars:>10}{elements:>10}{interval:>9} ms{offered:>8.0}/s{achieved:>8.0}/s{:>9.1}%{:>9.1}%{:>7.0} msg/s{:>7.0} msg/s{saturated}",
            number("cpu_home") * 100.0,
            number("cpu_copy") * 100.0,
            number("messages_home"),
            number("messages_copy"),
        );
        for (who, key) in [("home", "cpu_home"), ("copy", "cpu_copy")] {
            let cpu = number(key) * 100.0;
            if registrars == 2 {
                by_elements.entry((interval, who)).or_default().push((f64::from(elements), cpu));
            }
            if elements == USUAL_ELEMENTS && (who == "home" || registrars > 1) {
                by_registrars
                    .entry((interval, who))
                    .or_default()
                    .push((f64::from(registrars), cpu));
            }
        }
        figures.push(point);
    }
    if arguments.plot {
        let chart = |title: &str, x: &str, lines: BTreeMap<(u32, &str), Vec<(f64, f64)>>| {
            let lines = lines.into_iter().map(|((interval, who), mut points)| {
                points.sort_by(|one, other| one.0.total_cmp(&other.0));
                (format!("{who}, {interval} ms"), points)
            });
            Chart {
                title: title.into(),
                x: x.into(),
                y: "CPU, percent of a core".into(),
                lines: lines.collect(),
            }
        };
        let charts = [
            chart("2 registrars", "elements", by_elements),
            chart("1000 elements", "registrars", by_registrars),
        ];
        draw(&root().join("docs/maintenance.svg"), &charts)?;
    }
    keep("maintenance", &Value::Array(figures))?;
    Ok(true)
}
