//! What a command tells about itself while it runs: on stderr, as text or JSON.

use crate::failure::Failure;
use clap::{Args, ValueEnum};
use std::io::IsTerminal as _;
use std::str::FromStr as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged, and how.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Logging (on stderr)")]
pub(crate) struct LogFlags {
    /// Log this and worse: error, warn, info, debug or trace; or by module, as in
    /// `info,rserpool=debug` [default: info for registrar, element and proxy, warn for demo, otherwise error]
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

/// Starts logging; at level `default` if the flags say nothing.
pub(crate) fn start(flags: &LogFlags, default: &str) -> Result<(), Failure> {
    let level = flags.log_level.as_deref().unwrap_or(default);
    let targets =
        targets(level).map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
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

/// Reads `info`, or `info,rserpool=debug`.
pub(crate) fn targets(text: &str) -> Result<Targets, String> {
    let wrong = || {
        format!(
            "`{text}` is not a level (off, error, warn, info, debug, trace), or levels by module \
             like info,rserpool=debug"
        )
    };
    // A single word that is no level would be taken for a module, and nothing would be logged.
    let mut words = text.split(',').map(str::trim).filter(|part| !part.contains('='));
    if words.any(|word| word.is_empty() || LevelFilter::from_str(word).is_err()) {
        return Err(wrong());
    }
    Targets::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_alone_or_by_module_and_nothing_else_is() {
        for good in ["info", "WARN", "off", "info,rserpool=debug", "rserpool=trace"] {
            assert!(targets(good).is_ok(), "{good}");
        }
        for wrong in ["", "loud", "info,", "rserpool=loud", "debug,rserpool"] {
            assert!(targets(wrong).is_err(), "{wrong}");
        }
    }
}
