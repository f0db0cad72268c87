//! Tasks of the project, one module each: `cargo xtask --help` lists them.
//!
//! A task runs programs in the root of the workspace, says what it runs, and ends with exit code 0
//! only if everything in it passed. Nothing here is needed to build or to use the crates.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to a person")]

mod bench;
mod ci;
mod conformance;
mod directions;
mod e2e;
mod fuzz;
mod lab;
mod mutants;
mod sim;
mod steps;

use clap::Parser;
use std::process::ExitCode;

/// Tasks of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Everything a change has to pass: format, lints, docs, tests, directions, licences.
    Ci(ci::Arguments),
    /// The main job on real servers: nginx pooled, proxied, killed and restarted under load.
    E2e(e2e::Arguments),
    /// Interoperability and failures with real SCTP, in virtual machines: the lab.
    Lab(lab::Arguments),
    /// Runs the fuzz targets and writes what they executed to docs/FUZZING.md.
    Fuzz(fuzz::Arguments),
    /// Runs the simulator and writes what it did to docs/SIMULATION.md.
    Sim(sim::Arguments),
    /// Draws mutants of the protocol core, and looks whether its tests notice them.
    Mutants(mutants::Arguments),
    /// Measures; prints a table and leaves JSON in target/bench.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let passed = match Task::parse() {
        Task::Ci(arguments) => ci::run(&arguments),
        Task::E2e(arguments) => e2e::run(&arguments),
        Task::Lab(arguments) => lab::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Sim(arguments) => sim::run(&arguments),
        Task::Mutants(arguments) => mutants::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
