//! Flags that several commands share.

use crate::failure::Failure;
use clap::{Args, ValueEnum};
use rserpool::driver::is_sctp_available;
use rserpool::proto::machine::{Locator, TransportKind};
use rserpool::proto::timers::Preset;

/// Where registrars are.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistrarFlags {
    /// Where a registrar serves elements and users: sctp://ADDRESS,ADDRESS:PORT, tcp:// or auto://;
    /// repeat it for more than one, they are tried together
    ///
    /// auto:// tries SCTP first and TCP a moment later, and takes what is there first.
    #[arg(
        long = "registrar",
        value_name = "ADDR",
        env = "RSERPOOL_REGISTRAR",
        value_delimiter = ' ',
        default_value = "auto://127.0.0.1:3863"
    )]
    pub(crate) registrars: Vec<Locator>,
}

impl RegistrarFlags {
    /// The registrars, all of them reached in a way that works here.
    pub(crate) fn locators(&self) -> Result<Vec<Locator>, Failure> {
        let only_sctp = |locator: &Locator| locator.transport == TransportKind::Sctp;
        if self.registrars.iter().all(only_sctp) && !is_sctp_available() {
            return Err(no_sctp("--registrar"));
        }
        Ok(self.registrars.clone())
    }
}

/// What is wanted over SCTP alone cannot be had here.
pub(crate) fn no_sctp(flag: &str) -> Failure {
    Failure::failed("this host has no SCTP").next(format!(
        "load the kernel's module, `modprobe sctp`, or write {flag} auto:// or tcp://"
    ))
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
