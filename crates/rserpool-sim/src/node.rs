//! Nodes: a host, a process on it, and the machine in the process.

use crate::clock::Clock;
use crate::hostile::{Hostile, Insider};
use crate::rng::Random;
use crate::session::{Client, Service, Sessions};
use rserpool_proto::endpoint::pool_element::{PoolElement, PoolElementConfig};
use rserpool_proto::endpoint::pool_user::{PoolUser, PoolUserConfig};
use rserpool_proto::id::{AssociationId, PeId, PoolHandle};
use rserpool_proto::machine::{AttemptId, Channel, CloseReason, Identity, Locator, TransportKind};
use rserpool_proto::registrar::{Registrar, RegistrarConfig};
use rserpool_proto::wire::policy::PolicyParameter;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// What kind of machine a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A registrar.
    Registrar,
    /// A pool element.
    Element,
    /// A pool user.
    User,
    /// Somebody who knows the protocol and lies.
    Hostile,
}

/// What a process is started with, each time.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each node")]
pub(crate) enum Setup {
    Registrar(RegistrarConfig),
    Element(PoolElementConfig),
    User(PoolUserConfig),
    /// It tells by multicast that it is a registrar, and where, if it has such a place.
    Hostile {
        registrars: Vec<Locator>,
        poses_at: Option<Locator>,
        /// What it is in a secured scope.
        insider: Option<Insider>,
    },
}

impl Setup {
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Registrar(_) => Role::Registrar,
            Self::Element(_) => Role::Element,
            Self::User(_) => Role::User,
            Self::Hostile { .. } => Role::Hostile,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) enum Machine {
    #[default]
    None,
    Registrar(Box<Registrar>),
    Element(Box<PoolElement>),
    User(Box<PoolUser>),
    Hostile(Box<Hostile>),
}

/// Whether host and process run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    /// The process is gone, and the host says so to whoever asks.
    ProcessDown,
    /// The host is gone and says nothing.
    HostDown,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) setup: Setup,
    pub(crate) machine: Machine,
    pub(crate) power: Power,
    /// Counts the starts of the process.
    pub(crate) life: u32,
    pub(crate) suspended: bool,
    /// A registrar that sends everybody elsewhere.
    pub(crate) draining: bool,
    /// Time each input takes, in microseconds; 0 for a node that is fast enough.
    pub(crate) slow: u64,
    pub(crate) busy_until: u64,
    pub(crate) working: bool,
    pub(crate) inbox: VecDeque<Given>,
    pub(crate) clock: Clock,
    /// When a wake-up is due that has been queued; `u64::MAX` if none.
    pub(crate) wake: u64,
    pub(crate) random: Random,
    /// What becomes of what it says by multicast.
    pub(crate) multicasts: Random,
    pub(crate) transport: TransportKind,
    pub(crate) conns: BTreeSet<usize>,
    pub(crate) attempts: BTreeMap<AttemptId, usize>,
    pub(crate) owner: Owner,
    pub(crate) sessions: Sessions,
    /// What those who have sessions do by chance.
    pub(crate) of_sessions: Random,
    /// Inputs handled at this moment, against busy loops.
    pub(crate) at_once: (u64, u32),
    /// Attempts to connect within the present second.
    pub(crate) dialled: (u64, u32),
    /// Messages from and to it that have arrived.
    pub(crate) messages: u64,
}

/// What is given to a machine.
#[derive(Debug)]
pub(crate) enum Given {
    Connected {
        assoc: AssociationId,
        attempt: Option<AttemptId>,
    },
    ConnectFailed {
        attempt: AttemptId,
        reason: CloseReason,
    },
    Closed {
        assoc: AssociationId,
        reason: CloseReason,
    },
    SendFailed {
        assoc: AssociationId,
    },
    Received {
        assoc: AssociationId,
        ppid: u32,
        bytes: Vec<u8>,
        twice: bool,
    },
    /// By multicast.
    Datagram {
        from: SocketAddr,
        channel: Channel,
        bytes: Vec<u8>,
    },
    Command(Box<Command>),
    Timeout,
}

/// What owners ask of their machines.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Drain,
    SetPolicy(PolicyParameter),
    Health(bool),
    Deregister,
    Reregister,
    /// As `Reregister`, by an owner that was told of a refusal.
    TryAgain,
    Resolve {
        handle: PoolHandle,
        request: u64,
    },
    Pick {
        handle: PoolHandle,
        request: u64,
        exclude: Vec<PeId>,
    },
    PickElement {
        handle: PoolHandle,
        request: u64,
        id: PeId,
    },
    Purge {
        handle: PoolHandle,
    },
    Report {
        handle: PoolHandle,
        id: PeId,
    },
    Watch(PoolHandle),
    Unwatch(PoolHandle),
    /// Somebody hostile does something of the kind.
    Lie,
    /// Somebody hostile says this.
    Say(Vec<u8>),
}

/// Which element the owner of a user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Any but these.
    NoneOf(Vec<PeId>),
    /// This one.
    This(PeId),
}

/// What the owner of a machine does, and wants of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owner {
    /// Who its certificate says it is.
    pub(crate) identity: Identity,
    /// Element: whether it is to be in its pool.
    pub(crate) member: bool,
    /// Element: whether its service works.
    pub(crate) healthy: bool,
    /// Mean time between two things the owner does, in microseconds; 0 if it does nothing.
    pub(crate) pace: u64,
    /// Users: pools it asks for.
    pub(crate) pools: Vec<PoolHandle>,
    /// Users: pools it watches from its start on.
    pub(crate) watches: Vec<PoolHandle>,
    /// Element: whether another one may have the same identifier by the owner's mistake.
    pub(crate) contender: bool,
    /// Whether the owner reacts to what it is told.
    pub(crate) reacts: bool,
    pub(crate) next_request: u64,
    /// Element: it is about to try again what was refused.
    pub(crate) retries: bool,
    /// Element: the last thing it was told is that it is refused.
    pub(crate) refused: bool,
    /// User: what it does with sessions, if anything.
    pub(crate) client: Option<Client>,
    /// Element: how it serves sessions, if it does.
    pub(crate) service: Option<Service>,
}
