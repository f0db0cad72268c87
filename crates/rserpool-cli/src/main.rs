//! The `rserpool` command: one binary for every role of Reliable Server Pooling.
//!
//! ```text
//! cli       what can be asked for      args      flags that several commands share
//! registrar, element, proxy            the roles that run until they are told to stop
//! resolve, list, watch, dump, registrars   questions
//! session                              a terminal on a pool
//! demo, sim                            all of it in one process; all of it in a simulated world
//! output, logging, failure, signals    data to stdout, talk to stderr, exit codes, a clean end
//! ```
//!
//! Every command is a [`clap::Args`] with `async fn run(self, &Stop) -> Result<(), Failure>`.
#![forbid(unsafe_code)]

mod args;
mod cli;
mod config;
mod definitions;
mod demo;
mod dump;
mod element;
mod failure;
mod generate;
mod list;
mod logging;
mod output;
mod pki;
mod policy;
mod proxy;
mod refusal;
mod registrar;
mod registrars;
mod resolve;
mod session;
mod signals;
mod sim;
mod tls;
mod units;
mod view;
mod watch;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong usage ends here with exit code 2, `--help` and `--version` with 0.
    let cli = cli::Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: cli::Cli) -> Result<(), failure::Failure> {
    if !matches!(cli.command, cli::Command::Registrar(_)) {
        logging::start(&cli.log, cli.command.log_level())?;
    }
    // A registrar is one task. On a runtime of one thread each of its turns costs less.
    let mut runtime = match cli.command {
        cli::Command::Registrar(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| failure::Failure::failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        let stop = signals::Stop::on_signals()?;
        tokio::select! {
            result = cli.command.run(&stop, cli.log) => result,
            // What a command holds, such as a server it has started, ends with it.
            () = stop.insisted() => Err(failure::Failure::interrupted()),
        }
    });
    // What still waits for a name or a disk is not worth waiting for.
    runtime.shutdown_background();
    result
}
