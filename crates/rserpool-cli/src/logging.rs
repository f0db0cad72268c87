//! What a command tells about itself while it runs: on stderr, as text or JSON.

use crate::cli::Command;
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use std::io::IsTerminal as _;
use std::str::FromStr as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged, and how.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Logging (on stderr)")]
pub(crate) struct LogFlags {
    /// Log this and worse: error, warn, info, debug or trace; or by module, as in
    /// `info,rserpool=debug` [default: info for registrar, element and proxy, otherwise warn]
    #[arg(long, global = true, env = "RSERPOOL_LOG", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Log lines of text, or one JSON object a line [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging for `command`. Flags win over what its configuration file says.
pub(crate) fn start(flags: &LogFlags, command: &Command) -> Result<(), Failure> {
    let default = if command.is_service() { "info" } else { "warn" };
    let level = flags.log_level.as_deref().unwrap_or(default);
    let targets = Targets::from_str(level).map_err(|error| {
        Failure::usage(format!("--log-level {level}: {error}"))
            .next("use error, warn, info, debug or trace, or by module: info,rserpool=debug")
    })?;
    let registry = tracing_subscriber::registry().with(targets);
    match flags.log_format.unwrap_or_default() {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(colour)
                .with_target(false);
            registry.with(layer).init();
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr);
            registry.with(layer).init();
        }
    }
    Ok(())
}
