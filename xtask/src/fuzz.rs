//! Runs the fuzz targets and keeps the ledger of what they have executed.
//!
//! A run starts from the corpus in the repository and from what earlier runs on this machine have
//! found (in `target/`, so that the repository's corpus stays small). What makes a target fail is
//! kept in `fuzz/artifacts`; it belongs into a test.

use crate::steps::{Error, cargo, cargo_has, output, root};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LEDGER: &str = "docs/FUZZING.md";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Minutes for all targets together, shared equally.
    #[arg(long, default_value_t = 6.0)]
    minutes: f64,
    /// End each target after this many executions, if they come before its time is up.
    #[arg(long)]
    executions: Option<u64>,
    /// Run only this target; may be given more than once. All by default.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Do not write the ledger.
    #[arg(long)]
    dry: bool,
}

/// Runs the targets; `Ok(true)` if none failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    if !cargo_has("fuzz") {
        eprintln!("cargo-fuzz is not installed: installing it, which takes some minutes");
        if !cargo(["install", "--locked", "cargo-fuzz"]).status()?.success() {
            return Err("cargo-fuzz could not be installed".into());
        }
    }
    let all = output(cargo(["fuzz", "list"]))?;
    let all: Vec<_> = all.lines().map(str::to_owned).collect();
    if let Some(unknown) = arguments.targets.iter().find(|target| !all.contains(target)) {
        return Err(format!("there is no target {unknown}, only {}", all.join(", ")).into());
    }
    let targets = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    let share = Duration::from_secs_f64(arguments.minutes * 60.0) / u32::try_from(targets.len())?;

    let mut passed = true;
    let mut rows = String::new();
    for target in targets {
        let started = Instant::now();
        let run = fuzz(target, share, arguments.executions)?;
        let seconds = started.elapsed().as_secs();
        let outcome = if run.passed { "passed" } else { "FAILED" };
        let executions = grouped(run.executions);
        println!("{target:<24} {outcome:<8} {executions:>16} executions {seconds:>6} s");
        let (date, commit) = (date()?, commit()?);
        writeln!(
            rows,
            "| {date} | {commit} | {target} | {executions} | {seconds} s | {outcome} |"
        )?;
        passed &= run.passed;
    }
    if !arguments.dry {
        fs::OpenOptions::new()
            .append(true)
            .open(root().join(LEDGER))?
            .write_all(rows.as_bytes())?;
        println!("added to {LEDGER}");
    }
    Ok(passed)
}

struct Run {
    executions: u64,
    passed: bool,
}

/// Runs one target without sanitizers: the crates forbid unsafe code, so what is sought are panics,
/// hangs and growth, and stable Rust builds it.
fn fuzz(target: &str, time: Duration, executions: Option<u64>) -> Result<Run, Error> {
    let found = root().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let seeds = root().join("fuzz/corpus").join(target);
    let mut command = cargo(["fuzz", "run", "--sanitizer", "none"]);
    let steps = target.ends_with("operations");
    if steps || target.starts_with("registrar") {
        // Nearly every comparison of a machine is of its own values: to trace them costs half of
        // the executions and finds no input.
        command.arg("--no-trace-compares");
    }
    command.arg(target).arg(&found).arg(&seeds).arg("--");
    command.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]);
    // Messages may be long; of operations a few dozen show what there is to see.
    let most = if steps { 128 } else { 4096 };
    command.arg(format!("-max_len={most}"));
    if let Some(executions) = executions {
        command.arg(format!("-runs={executions}"));
    }
    let done = command.stdin(Stdio::null()).stdout(Stdio::inherit()).output()?;
    let log = String::from_utf8_lossy(&done.stderr);
    let executed = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok());
    let passed = done.status.success();
    if !passed {
        eprintln!("{log}");
    }
    match executed {
        Some(executions) => Ok(Run { executions, passed }),
        // A target that crashes at once leaves no statistics.
        None if !passed => Ok(Run { executions: 0, passed }),
        None => Err(format!("{target} ran but left no statistics").into()),
    }
}

/// Today, as `2026-01-31`, in UTC.
fn date() -> Result<String, Error> {
    let mut command = Command::new("date");
    command.args(["-u", "+%F"]);
    Ok(output(command)?.trim().to_owned())
}

/// The commit that is checked out, with a plus sign if there are changes that are not in it.
fn commit() -> Result<String, Error> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(root());
        output(command)
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "crates", "fuzz"])?;
    let plus = if changed.is_empty() { "" } else { "+" };
    Ok(format!("{}{plus}", commit.trim()))
}

/// A number with its thousands set apart, for people: `12 345 678`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(texts, ["0", "999", "1 000", "12 345 678"]);
    }
}
