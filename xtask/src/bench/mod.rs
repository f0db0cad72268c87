//! Benchmarks: each runs a workload in a release build, prints a table and leaves it as JSON in
//! `target/bench/NAME.json`.
//!
//! The workloads themselves are programs of the crates they measure, so that nothing is measured
//! that is not what users get. Figures are compared on the machine they were taken on only.

mod attacks;
mod expression;
mod handlespace;
mod join;
mod latency;
mod maintenance;
mod plot;
mod process;
mod proxy;
mod reference;
mod resolve;
mod secured;
mod session;
mod size;
mod takeover;
mod watch;

use crate::steps::{Error, cargo, output, root};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// What a pool loses to a user that means harm, and to elements that were made up.
    Attacks(attacks::Arguments),
    /// A policy by an expression, beside one that is built in.
    Expression,
    /// Handlespace and policies in memory, beside the reference implementation's figures.
    Handlespace(handlespace::Arguments),
    /// How soon a registrar that joins serves, and what users of its mentor notice.
    Join(join::Arguments),
    /// How long resolutions take at a fixed rate while elements come and go.
    Latency(latency::Arguments),
    /// What elements that re-register cost their home and registrars with a copy.
    Maintenance(maintenance::Arguments),
    /// The proxy beside HAProxy: large bodies and new connections.
    Proxy(proxy::Arguments),
    /// Resolutions through a registrar, beside echo servers: one after the other, and pipelined.
    Resolve(resolve::Arguments),
    /// What TLS costs, and what is noticed of those who try to get in.
    Secured(secured::Arguments),
    /// A session whose element is killed again and again, and messages beside a bare connection.
    Session(session::Arguments),
    /// What registrars say when one of them dies.
    Takeover(takeover::Arguments),
    /// What users that watch pools cost those that resolve, and the registrar.
    Watch(watch::Arguments),
    /// Binaries and memory, of the tiny programs above all.
    Size(size::Arguments),
}

/// Runs the benchmark; `Ok(true)` if it reached what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    match &arguments.what {
        What::Attacks(arguments) => attacks::run(arguments),
        What::Expression => expression::run(),
        What::Handlespace(arguments) => handlespace::run(arguments),
        What::Join(arguments) => join::run(arguments),
        What::Latency(arguments) => latency::run(arguments),
        What::Maintenance(arguments) => maintenance::run(arguments),
        What::Proxy(arguments) => proxy::run(arguments),
        What::Resolve(arguments) => resolve::run(arguments),
        What::Secured(arguments) => secured::run(arguments),
        What::Session(arguments) => session::run(arguments),
        What::Size(arguments) => size::run(arguments),
        What::Takeover(arguments) => takeover::run(arguments),
        What::Watch(arguments) => watch::run(arguments),
    }
}

/// Builds an example for release and says where it is.
fn example(package: &str, name: &str) -> Result<PathBuf, Error> {
    built(&["--release", "--package", package, "--example", name])
}

/// Builds the command for release and says where it is.
fn rserpool() -> Result<PathBuf, Error> {
    built(&["--release", "--package", "rserpool-cli"])
}

/// Builds one program and says where it is.
fn built(arguments: &[&str]) -> Result<PathBuf, Error> {
    let mut build = cargo(["build", "--locked", "--message-format", "json-render-diagnostics"]);
    build.args(arguments);
    let executable = output(build)?.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.ok_or_else(|| format!("cargo built no program with {}", arguments.join(" ")).into())
}

/// A command that runs on one core where the system can do that, so that it is not moved about.
fn pinned(program: &Path) -> Command {
    let taskset = Command::new("taskset").arg("--version").output().is_ok();
    if !taskset {
        println!("taskset is not installed: not pinned to a core");
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

/// Leaves the figures of a benchmark where others look for them.
fn keep(name: &str, figures: &Value) -> Result<(), Error> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join(name).with_extension("json");
    fs::write(&file, format!("{figures:#}\n"))?;
    println!("figures in {}", file.strip_prefix(root()).unwrap_or(&file).display());
    Ok(())
}

/// Operations per second as people read them: `3.41 M`, `430 k`.
fn rate(per_second: f64) -> String {
    if per_second >= 1e5 {
        format!("{:.2} M", per_second / 1e6)
    } else {
        format!("{:.1} k", per_second / 1e3)
    }
}
