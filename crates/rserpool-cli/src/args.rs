//! Flags that several commands share.

use crate::failure::Failure;
use clap::{Args, ValueEnum};
use rserpool::proto::machine::{Locator, TransportKind};
use rserpool::proto::timers::Preset;

/// Where registrars are.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistrarFlags {
    /// Where a registrar serves elements and users; repeat it for more than one, they are tried
    /// together
    #[arg(
        long = "registrar",
        value_name = "ADDR",
        env = "RSERPOOL_REGISTRAR",
        value_delimiter = ' ',
        default_value = "tcp://127.0.0.1:3863"
    )]
    pub(crate) registrars: Vec<Locator>,
}

impl RegistrarFlags {
    /// The registrars, all of them reached in a way that works here.
    pub(crate) fn locators(&self) -> Result<Vec<Locator>, Failure> {
        only_tcp("--registrar", &self.registrars)?;
        Ok(self.registrars.clone())
    }
}

/// Refuses what cannot be reached or served here.
pub(crate) fn only_tcp(flag: &str, locators: &[Locator]) -> Result<(), Failure> {
    match locators.iter().find(|locator| locator.transport != TransportKind::Tcp) {
        None => Ok(()),
        Some(locator) => Err(Failure::usage(format!("{flag} {locator}: SCTP is not there yet"))
            .next("registrars, elements and users speak over TCP: write tcp://")),
    }
}

/// How long things are waited for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TimerFlags {
    /// Which set of timers
    #[arg(long, value_name = "SET", value_enum, default_value_t)]
    pub(crate) timers: Timers,
}

/// The sets of timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timers {
    /// The values of RFC 5352 and RFC 5353: tens of seconds
    Rfc,
    /// Failures are noticed within a second
    #[default]
    Default,
    /// Failures are noticed within a quarter of a second, for a network that is never slow
    Realtime,
}

impl From<Timers> for Preset {
    fn from(timers: Timers) -> Self {
        match timers {
            Timers::Rfc => Self::Rfc,
            Timers::Default => Self::Default,
            Timers::Realtime => Self::Realtime,
        }
    }
}
