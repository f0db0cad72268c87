//! Flags that several commands share.

use clap::{Args, ValueEnum};
use rserpool::proto::machine::Locator;

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

/// Which policy picks elements, and this element's values for it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyFlags {
    /// How the pool picks its elements (RFC 5356); all elements of a pool have the same policy
    #[arg(long, value_name = "NAME", default_value = "round-robin")]
    pub(crate) policy: String,
    /// How many times as often as an element of weight 1 this one is picked
    #[arg(long, value_name = "N")]
    pub(crate) weight: Option<u32>,
    /// Elements of higher priority are picked first
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u32>,
    /// How loaded this element is: 0% to 100%
    #[arg(long, value_name = "PERCENT")]
    pub(crate) load: Option<String>,
    /// How much its load counts as grown each time it is picked: 0% to 100%
    #[arg(long, value_name = "PERCENT")]
    pub(crate) degradation: Option<String>,
}
