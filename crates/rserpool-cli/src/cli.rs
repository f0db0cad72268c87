//! What can be asked for.

use crate::failure::Failure;
use crate::logging::LogFlags;
use crate::signals::Stop;
use crate::{
    demo, dump, element, generate, list, pki, proxy, registrar, registrars, resolve, session, sim,
    watch,
};
use clap::{Parser, Subcommand};

/// Reliable Server Pooling: pools of servers, found by name, supervised, failed over.
///
/// A registrar keeps the pools. Servers join a pool as elements; clients ask for a pool by name
/// and get servers picked by the pool's policy.
#[derive(Debug, Parser)]
#[command(name = "rserpool", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

const EXAMPLES: &str = "\
Examples:
  rserpool demo
      everything in one process: a registrar, a pool of servers, and failures

  rserpool registrar
  rserpool element web --tcp 127.0.0.1:8081 -- python3 -m http.server 8081
  rserpool element web --tcp 127.0.0.1:8082 -- python3 -m http.server 8082
  rserpool proxy web --listen 127.0.0.1:8080
      a pool of two web servers behind one port, each line in a terminal of its own

Exit codes: 0 done, 1 it could not be done, 2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Described, like the next one, where its flags are.
    Registrar(registrar::Args),
    Element(Box<element::Args>),
    /// Let clients that know nothing of pools use one
    Proxy(proxy::Args),
    /// Ask for elements of a pool, picked by its policy
    Resolve(resolve::Args),
    /// Talk with a pool: lines in, lines out, whichever server lives
    Session(session::Args),
    /// Show the pools of a registrar and all their elements
    List(list::Args),
    /// Show all that a registrar keeps of its elements, to compare it with another one
    Dump(dump::Args),
    /// Show the registrars of a scope, and whether they know the same
    Registrars(registrars::Args),
    /// Show what changes in a pool
    Watch(watch::Args),
    // Described where its flags are.
    Pki(pki::Args),
    /// Show it all at work in one process
    Demo(demo::Args),
    // Described where its flags are.
    Sim(sim::Args),
    /// Write a completion script for a shell to stdout
    #[command(hide = true)]
    Completions(generate::CompletionsArgs),
    /// Write the manual pages into a directory, or that of `rserpool` to stdout
    #[command(hide = true)]
    Man(generate::ManArgs),
}

impl Command {
    /// What is logged if nobody says: services tell what happens, questions answer.
    pub(crate) fn log_level(&self) -> &'static str {
        match self {
            Self::Registrar(_) | Self::Element(_) | Self::Proxy(_) => "info",
            _ => "error",
        }
    }

    /// `log` is for the registrar, which reads a file before it logs.
    pub(crate) async fn run(self, stop: &Stop, log: LogFlags) -> Result<(), Failure> {
        match self {
            Self::Registrar(args) => args.run(stop, log).await,
            Self::Element(args) => args.run(stop).await,
            Self::Proxy(args) => args.run(stop).await,
            Self::Resolve(args) => args.run(stop).await,
            Self::Session(args) => args.run(stop).await,
            Self::List(args) => args.run(stop).await,
            Self::Dump(args) => args.run(stop).await,
            Self::Registrars(args) => args.run(stop).await,
            Self::Watch(args) => args.run(stop).await,
            Self::Pki(args) => args.run(),
            Self::Demo(args) => args.run(stop).await,
            Self::Sim(args) => args.run(stop).await,
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_of_commands_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_shows_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
        }
    }
}
