//! What a policy makes of a pool: the handlespace and policies that ship, in virtual time, with
//! servers that take time to serve.
//!
//! ```text
//!   Scenario --engine--> Figures of one seed --sweep--> Estimate (mean, 95 % of it)
//!      ^                                                    |
//!   published, a file                                 table, JSON, figure
//! ```
//!
//! The model is that of the published simulations (Dreibholz, OMNeT++ workshop 2008): users with a
//! queue of their own and one request at a time, servers that share their processor among their
//! requests and take so many at most, one registrar. A server reports its load whenever that
//! changes. Delays, servers that fail, uneven servers and uncoordinated proxies can be added; and
//! somebody who attacks, against the registrar that ships or one that takes the RFC at its word.

pub mod attacks;
mod engine;
pub mod figure;
pub mod published;
mod registrar;
mod siege;
pub mod study;
pub mod sweep;

pub use engine::run;

use rserpool_proto::policy::{PolicyKind, PolicyTable, Rules};
use std::cmp::Ordering;

/// A pool, its users, and how long both are watched. Times are in seconds, work in calculations.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The servers.
    pub servers: Vec<Server>,
    /// How many users there are.
    pub users: usize,
    /// Mean size of a request.
    pub size: f64,
    /// How sizes are distributed.
    pub sizes: Sizes,
    /// Mean time from one request of a user to its next one, exponentially distributed.
    pub interval: f64,
    /// Who chooses the server of a request.
    pub chooser: Chooser,
    /// How the registrar applies the policy.
    pub rules: Rules,
    /// So many of the servers, the first ones, always say that they are idle.
    pub liars: usize,
    /// The load that the others say when they serve nobody; 0 to 1.
    pub idle_load: f64,
    /// One way between any two hosts: a report, a question, its answer, a request.
    pub delay: f64,
    /// Servers that fail again and again.
    pub failures: Option<Failures>,
    /// Servers that fail at a given time.
    pub outages: Vec<Outage>,
    /// Time until the registrar, and the users of a server, know that it has failed.
    pub noticed: f64,
    /// Longest time that a user waits before it tries again: drawn evenly from zero to it.
    pub retry: f64,
    /// Time before anything is measured.
    pub warm_up: f64,
    /// Time in which it is.
    pub measured: f64,
    /// Who attacks, and what for a registrar the pool has then. `None` is the handlespace alone,
    /// which nobody attacks.
    pub siege: Option<Siege>,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Server {
    /// Calculations a second, shared evenly among its requests.
    pub capacity: f64,
    /// Most requests at a time; its load is the part of it that it has.
    pub requests: usize,
}

/// An attack, and who is attacked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Siege {
    /// The registrar.
    pub registrar: Defence,
    /// What is done to it.
    pub attack: Attack,
    /// Time from one to the next; infinite: never.
    pub every: f64,
}

/// What an attacker does. It is a user like any other: where users have certificates, so has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// It resolves the pool, and says that whom it is named cannot be reached.
    Reports {
        /// Over so many connections in turn.
        connections: usize,
    },
    /// It resolves the pool.
    Resolutions,
    /// It registers idle elements at addresses where nobody answers users.
    Fakes {
        /// Whether it answers when its registrar asks whether they live.
        answered: bool,
    },
}

/// The registrar that is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defence {
    /// The machine that ships, as it is configured by default but for this.
    Shipped {
        /// Whether its scope is a secured one.
        secured: bool,
        /// Elements that one address, or identity, may have; `None` is the default.
        elements_per_owner: Option<u32>,
    },
    /// RFC 5352 to the letter, with its timers: whatever is registered is accepted, and more than
    /// [`MAX_BAD_PE_REPORT`] reports remove an element (§3.5).
    Literal,
}

/// Reports of an element after which one more removes it: RFC 5352 §3.5 has no value for it, 3 is
/// what the published simulations have.
pub const MAX_BAD_PE_REPORT: u32 = 3;

/// How the sizes of requests are distributed, all with the same mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizes {
    /// Exponentially.
    #[default]
    Exponential,
    /// All the same.
    Constant,
    /// Evenly from zero to twice the mean.
    Uniform,
}

/// Who chooses a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chooser {
    /// A registrar, by this policy of [`PolicyTable::builtin`].
    Policy(&'static str),
    /// A registrar, by a policy of one's own.
    Own(Own),
    /// So many proxies that know nothing of each other, each used by the same share of the users:
    /// of two servers drawn at random, that to which the proxy has fewer requests under way.
    Proxies(usize),
}

/// A policy that is not in [`PolicyTable::builtin`]; two are equal if they have the same number.
#[derive(Clone, Copy, Debug)]
pub struct Own(pub PolicyKind);

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.0.number == other.0.number
    }
}

impl Eq for Own {}

impl PartialOrd for Own {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Own {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.number.cmp(&other.0.number)
    }
}

/// Servers that fail and come back, each by itself, both after exponentially distributed times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failures {
    /// Mean time until a server fails.
    pub mtbf: f64,
    /// Mean time until it is back.
    pub mttr: f64,
}

/// Servers that fail once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    /// When, from the end of the warm-up.
    pub at: f64,
    /// How many: the last ones.
    pub servers: usize,
    /// For how long.
    pub lasts: f64,
}

/// What one run has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Mean over the servers of what each has calculated, of what it could have; 0 to 1.
    pub utilisation: f64,
    /// Sizes of the requests that were completed, by the time from being queued to that, of the
    /// mean capacity; 0 to 1.
    pub speed: f64,
    /// Requests that were completed.
    pub completed: u64,
    /// Requests that a server had no room for, or lost when it failed, and that were tried again.
    pub retried: u64,
    /// Mean time in seconds from being queued to completion.
    pub response: f64,
    /// Time that one request of a hundred takes longer than, to 5 %.
    pub slowest: f64,
    /// What has come of an attack.
    pub harm: Harm,
}

/// What has come of an attack, from the start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// How often something was done.
    pub attacks: u64,
    /// Elements that answer nobody, and were registered.
    pub accepted: u64,
    /// Servers that were removed though they lived.
    pub removed: u64,
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidScenario {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// Most servers, and most users, of a scenario.
pub const MOST: usize = 100_000;
/// Most requests that may wait at all users together: where more than the servers can do is asked
/// for, they only ever grow.
pub const MOST_WAITING: usize = 10_000_000;

impl Scenario {
    /// The pool of the published figures: ten servers of a million calculations a second and 100
    /// requests at most; `ratio` users for each server; requests that one server alone would work on
    /// for `seconds`; 80 % of all capacity asked for.
    pub fn published(chooser: Chooser, ratio: usize, seconds: f64) -> Self {
        let server = Server { capacity: 1e6, requests: 100 };
        let mut scenario = Self {
            servers: vec![server; 10],
            users: 10 * ratio,
            size: seconds * server.capacity,
            sizes: Sizes::Exponential,
            interval: 0.0,
            chooser,
            rules: Rules::default(),
            liars: 0,
            idle_load: 0.0,
            delay: 0.0,
            failures: None,
            outages: Vec::new(),
            noticed: 0.01,
            retry: 0.2,
            warm_up: 15.0 * 60.0,
            measured: 120.0 * 60.0,
            siege: None,
        };
        scenario.ask_for(0.8);
        scenario
    }

    /// Sets the interval so that this part of all capacity is asked for.
    pub fn ask_for(&mut self, utilisation: f64) {
        let capacity: f64 = self.servers.iter().map(|server| server.capacity).sum();
        // Fewer users than servers cannot ask for more than one server each: as published.
        let users = self.users.max(self.servers.len()) as f64;
        self.interval = users * self.size / (utilisation * capacity);
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// [`InvalidScenario`]: the first field that is wrong.
    pub fn check(&self) -> Result<(), InvalidScenario> {
        let invalid = |field, why: &str| Err(InvalidScenario { field, why: why.into() });
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let time = |value: f64| value.is_finite() && value >= 0.0;
        if self.servers.is_empty() || self.servers.len() > MOST {
            return invalid("servers", "1 to 100000 are wanted");
        }
        if self.servers.iter().any(|server| !positive(server.capacity) || server.requests == 0) {
            return invalid("servers", "each needs a capacity, and room for a request");
        }
        if self.users == 0 || self.users > MOST {
            return invalid("users", "1 to 100000 are wanted");
        }
        if !positive(self.size) || !positive(self.interval) || !positive(self.measured) {
            return invalid("size", "size, interval and the time measured must be above zero");
        }
        if ![self.delay, self.noticed, self.retry, self.warm_up].into_iter().all(time) {
            return invalid("delay", "delay, noticed, retry and warm-up must not be below zero");
        }
        if let Some(Failures { mtbf, mttr }) = self.failures
            && !(positive(mtbf) && positive(mttr))
        {
            return invalid("failures", "mtbf and mttr must be above zero");
        }
        if self.outages.iter().any(|outage| {
            outage.servers > self.servers.len() || !time(outage.at) || !positive(outage.lasts)
        }) {
            return invalid("outages", "more servers than there are, or a time below zero");
        }
        if self.liars > self.servers.len() {
            return invalid("liars", "more servers than there are");
        }
        if !(0.0..=1.0).contains(&self.idle_load) {
            return invalid("idle_load", "a load is from 0 to 1");
        }
        if let Some(siege) = self.siege {
            if siege.every.is_nan() || siege.every <= 0.0 {
                return invalid("siege", "the time from one attack to the next must be above zero");
            }
            if matches!(self.chooser, Chooser::Proxies(_)) {
                return invalid("siege", "what is attacked is a registrar");
            }
            if siege.attack == (Attack::Reports { connections: 0 }) {
                return invalid("siege", "over 0 connections nothing is said");
            }
        }
        match self.chooser {
            Chooser::Own(own) if PolicyTable::builtin().with(own.0).is_err() => {
                invalid("chooser", "its name or number is that of another policy")
            }
            Chooser::Proxies(0) => invalid("chooser", "0 proxies choose nothing"),
            Chooser::Policy(name) if PolicyTable::builtin().by_name(name).is_none() => {
                invalid("chooser", "there is no such policy")
            }
            _ => Ok(()),
        }
    }
}
