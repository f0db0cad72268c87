//! Runs the simulator for long, with seeds nobody has seen, and writes down what it did.
//!
//! The ledger and the table of planted bugs stand in `docs/SIMULATION.md`, each behind a comment
//! that marks its place.

use crate::steps::{Error, cargo, output, root};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run fresh seeds for so many hours, and append what they did to docs/SIMULATION.md.
    #[arg(long, value_name = "N")]
    hours: Option<f64>,
    /// Run so many seeds from the first one on, and write nothing down.
    #[arg(long, value_name = "N", default_value_t = STANDARD, conflicts_with = "hours")]
    count: u64,
    /// Plant every bug in turn, and write into docs/SIMULATION.md how many seeds caught it.
    #[arg(long, conflicts_with_all = ["hours", "count"])]
    planted: bool,
    /// Record the scenario scripts anew.
    #[arg(long, conflicts_with_all = ["hours", "count", "planted"])]
    record: bool,
}

/// Seeds of the standard run.
pub(crate) const STANDARD: u64 = 2_000;
/// Where fresh seeds begin: below are those of the standard run.
const FRESH: u64 = 1_000_000;
/// Seeds within which a planted bug is to be caught.
const MOST: &str = "500";
const DOCUMENT: &str = "docs/SIMULATION.md";
const LEDGER: &str = "<!-- ledger -->\n";
const PLANTED: &str = "<!-- planted -->\n";
const END: &str = "<!-- end -->\n";

/// The standard run.
pub(crate) fn standard() -> Command {
    let mut command = cargo(["run", "--locked", "--release", "--package", "rserpool-cli", "--"]);
    command.args(["sim", "--count", &STANDARD.to_string()]);
    command
}

/// Runs what is asked for; `Ok(true)` if nothing was violated.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    if arguments.planted {
        return plant();
    }
    let mut command = cargo(["run", "--locked", "--release", "--package", "rserpool-cli", "--"]);
    command.arg("sim").env("RSERPOOL_COMMIT", commit()?);
    if arguments.record {
        let mut scripts: Vec<_> = fs::read_dir(root().join("sim/scripts"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        scripts.sort();
        for script in scripts {
            command.arg("--script").arg(script);
        }
        command.arg("--record").stdout(std::process::Stdio::null());
        return Ok(command.status()?.success());
    }
    let Some(hours) = arguments.hours else {
        command.args(["--count", &arguments.count.to_string()]);
        return Ok(command.status()?.success());
    };
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    let first = next_fresh(section(&document, LEDGER)?);
    let minutes = (hours * 60.0).ceil().max(1.0) as u64;
    println!("seeds from {first} on, for {minutes} minutes");
    let (seed, minutes) = (first.to_string(), minutes.to_string());
    command.args(["--seed", &seed, "--minutes", &minutes, "--json"]);
    command.stderr(std::process::Stdio::inherit());
    // It fails with a violation, and its figures are good all the same.
    let printed = command.output()?;
    let figures: Value = serde_json::from_slice(&printed.stdout)?;
    let row = row(&figures);
    print!("{row}");
    let ledger = format!("{}{row}", section(&document, LEDGER)?);
    write_section(&document, LEDGER, &ledger)?;
    Ok(printed.status.success())
}

/// A line of the ledger.
fn row(figures: &Value) -> String {
    let number = |name: &str| figures[name].as_u64().unwrap_or(0);
    let failed = figures["failed"].as_array().map_or(0, Vec::len);
    format!(
        "| {}-{} | {} | {} | {} | {} | {failed} |\n",
        number("first"),
        number("last"),
        figures["commit"].as_str().unwrap_or("unknown"),
        number("messages"),
        number("faults"),
        number("simulated_seconds") / 3600,
    )
}

/// One after the last seed that the ledger knows.
fn next_fresh(ledger: &str) -> u64 {
    let seeds = ledger.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let last = seeds.filter_map(|seeds| seeds.split_once('-')?.1.parse::<u64>().ok()).max();
    last.map_or(FRESH, |last| last + 1)
}

fn plant() -> Result<bool, Error> {
    let mut command = cargo(["run", "--locked", "--release", "--package", "rserpool-sim"]);
    command.args(["--features", "planted-bugs", "--example", "planted", "--", MOST]);
    command.stderr(std::process::Stdio::inherit());
    let printed = command.output()?;
    let table = String::from_utf8(printed.stdout)?;
    print!("{table}");
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    write_section(&document, PLANTED, &table)?;
    Ok(printed.status.success())
}

/// What stands behind a mark.
fn section<'a>(document: &'a str, mark: &str) -> Result<&'a str, Error> {
    let lost = || format!("{DOCUMENT} has lost its mark {}", mark.trim());
    let begin = document.find(mark).ok_or_else(lost)? + mark.len();
    let len = document[begin..].find(END).ok_or_else(lost)?;
    Ok(&document[begin..begin + len])
}

fn write_section(document: &str, mark: &str, text: &str) -> Result<(), Error> {
    let old = section(document, mark)?;
    let begin = document.find(mark).unwrap_or(0) + mark.len();
    let new = format!("{}{text}{}", &document[..begin], &document[begin + old.len()..]);
    fs::write(root().join(DOCUMENT), new)?;
    Ok(())
}

/// The commit that is built, marked if something in it is not committed.
fn commit() -> Result<String, Error> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]);
    git.current_dir(root());
    Ok(output(git)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_seeds_begin_behind_those_of_the_ledger() {
        assert_eq!(next_fresh("| seeds | commit |\n|---|---|\n"), FRESH);
        let ledger = "| seeds |\n|---|\n| 1000000-1000499 | a |\n| 1000500-1000600 | b |\n";
        assert_eq!(next_fresh(ledger), 1_000_601);
    }

    #[test]
    fn a_section_ends_at_its_end() {
        let document = format!("a\n{LEDGER}rows\n{END}b\n");
        assert_eq!(section(&document, LEDGER).unwrap(), "rows\n");
        assert!(section(&document, PLANTED).is_err());
    }
}
