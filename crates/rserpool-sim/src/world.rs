//! The world: one thread that owns time, network, crashes and randomness.
//!
//! ```text
//!   plan or script ──> World: queue of events ──> node (host, process, machine) ──> outputs
//!                        │  ^                                                        │
//!                        │  └──────── associations over links <──────────────────────┘
//!                        └─> oracle: plain models that say what must and must not be
//! ```
//!
//! `world` holds the parts and the clock; `transport` carries messages, `host` runs machines, `owner`
//! plays those who use them, `fault` breaks things.

use crate::bounded::Deviations;
use crate::clock::Clock;
use crate::conn::{Conn, Item};
use crate::fault::Fault;
use crate::net::{Network, NodeId, Quality};
use crate::node::{Command, Given, Machine, Node, Owner, Power, Role, Setup};
use crate::oracle::Oracle;
use crate::queue::Queue;
use crate::rng::Random;
use crate::session::{Due, Sessions};
use crate::stats::Stats;
use crate::trace::{Line, Trace};
use rserpool_proto::machine::{Channel, Locator, TransportKind};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::transport::Addresses;
use rserpool_proto::wire::{PORT_ASAP, PORT_ENRP};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// Something that must not happen has happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} at {}: {text}", crate::trace::seconds(*at))]
pub struct Violation {
    /// Which invariant, as `docs/SIMULATION.md` names it.
    pub invariant: &'static str,
    /// When, in microseconds.
    pub at: u64,
    /// Whose machine.
    pub node: Option<NodeId>,
    /// What was seen.
    pub text: String,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub(crate) seed: u64,
    pub(crate) now: u64,
    pub(crate) queue: Queue<Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Network,
    pub(crate) conns: Vec<Conn>,
    /// Associations of which an end is not gone.
    pub(crate) active: BTreeSet<usize>,
    pub(crate) addresses: BTreeMap<IpAddr, NodeId>,
    pub(crate) faults: Vec<Fault>,
    /// Nodes that never start.
    pub(crate) left_out: BTreeSet<NodeId>,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    pub(crate) stats: Stats,
    /// What becomes of messages between registrars, by number, and how many there were.
    pub(crate) deviations: Deviations,
    pub(crate) numbered: u64,
    /// Connections of machines so far, and of sessions.
    pub(crate) calls: u64,
    pub(crate) talks: u64,
}

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Event {
    Arrive {
        conn: usize,
        from: usize,
        item: Item,
    },
    Reset {
        conn: usize,
        to: usize,
    },
    Datagram {
        from: NodeId,
        to: NodeId,
        channel: Channel,
        bytes: Vec<u8>,
    },
    /// The transport has waited long enough for an acknowledgement.
    DeadCheck {
        conn: usize,
        end: usize,
        since: u64,
    },
    /// The transport asks whether the other end is there.
    Probe {
        conn: usize,
        end: usize,
    },
    Wake {
        node: NodeId,
    },
    Work {
        node: NodeId,
    },
    Given {
        node: NodeId,
        life: u32,
        given: Given,
    },
    Owner {
        node: NodeId,
        life: u32,
    },
    Session {
        node: NodeId,
        life: u32,
        due: Due,
    },
    Fault {
        index: usize,
        begins: bool,
    },
    /// Once per second: what cannot be checked at every event.
    Second,
}

/// Port that endpoints use over SCTP, where registrars can reach them.
const PORT_ENDPOINT: u16 = 40_000;
/// Port where elements serve their users.
pub(crate) const PORT_SERVICE: u16 = 80;
/// Ports that endpoints use over TCP, one for each connection.
const EPHEMERAL: u16 = 49_152;

impl World {
    /// A world with nobody in it, whose links are all of one quality. Up to `lines` lines of what
    /// happens are kept.
    pub fn new(seed: u64, base: Quality, lines: usize) -> Self {
        let mut queue = Queue::new();
        queue.push(1_000_000, Event::Second);
        Self {
            seed,
            now: 0,
            queue,
            nodes: Vec::new(),
            net: Network::new(0, base),
            conns: Vec::new(),
            active: BTreeSet::new(),
            addresses: BTreeMap::new(),
            faults: Vec::new(),
            left_out: BTreeSet::new(),
            trace: Trace::new(lines),
            oracle: Oracle::default(),
            stats: Stats::default(),
            deviations: Deviations::new(),
            numbered: 0,
            calls: 0,
            talks: 0,
        }
    }

    /// Adds a node, whose process does not run yet.
    pub(crate) fn add(
        &mut self,
        name: String,
        setup: Setup,
        transport: TransportKind,
        clock: Clock,
        owner: Owner,
    ) -> NodeId {
        let node = self.nodes.len();
        self.net.grow();
        for path in 0..2 {
            self.addresses.insert(address(node, path), node);
        }
        self.oracle.add(setup.role(), &setup);
        self.nodes.push(Node {
            name,
            machine: Machine::None,
            power: Power::ProcessDown,
            life: 0,
            suspended: false,
            draining: false,
            slow: 0,
            busy_until: 0,
            working: false,
            inbox: VecDeque::new(),
            clock,
            wake: u64::MAX,
            random: Random::new(self.seed, &[1, node as u64]),
            multicasts: Random::new(self.seed, &[3, node as u64]),
            transport,
            conns: BTreeSet::new(),
            attempts: BTreeMap::new(),
            owner,
            sessions: Sessions::default(),
            of_sessions: Random::new(self.seed, &[6, node as u64]),
            setup,
            at_once: (0, 0),
            dialled: (0, 0),
            messages: 0,
        });
        node
    }

    /// Lets time pass until `until`, in microseconds, or until something must not be.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while self.queue.next().is_some_and(|at| at <= until) {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
            if let Some(violation) = self.oracle.violation.take() {
                return Err(violation);
            }
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { conn, from, item } => self.on_arrive(conn, from, item),
            Event::Reset { conn, to } => self.on_reset(conn, to),
            Event::Datagram { from, to, channel, bytes } => {
                self.on_datagram(from, to, channel, bytes);
            }
            Event::DeadCheck { conn, end, since } => self.on_dead_check(conn, end, since),
            Event::Probe { conn, end } => self.on_probe(conn, end),
            Event::Wake { node } => self.on_wake(node),
            Event::Work { node } => self.on_work(node),
            Event::Given { node, life, given } => {
                if self.nodes[node].life == life {
                    self.give(node, given);
                }
            }
            Event::Owner { node, life } => {
                if self.nodes[node].life == life {
                    self.on_owner(node);
                }
            }
            Event::Session { node, life, due } => {
                if self.nodes[node].life == life {
                    self.on_session_due(node, due);
                }
            }
            Event::Fault { index, begins } => self.on_fault(index, begins),
            Event::Second => {
                self.queue.push(self.now + 1_000_000, Event::Second);
                self.check_second();
            }
        }
    }

    /// Gives a command to a machine after a while.
    pub(crate) fn command_after(&mut self, node: NodeId, after: u64, command: Command) {
        let life = self.nodes[node].life;
        let given = Given::Command(Box::new(command));
        self.queue.push(self.now + after, Event::Given { node, life, given });
    }

    /// What the clock of a node shows.
    pub(crate) fn local(&self, node: NodeId) -> Instant {
        self.nodes[node].clock.read(self.now)
    }

    /// Where a node is reached on a channel; endpoints on ASAP only, and only over SCTP.
    pub(crate) fn locator(&self, node: NodeId, channel: Channel) -> Locator {
        let port = match (self.nodes[node].setup.role(), channel) {
            (Role::Registrar, Channel::Asap) => PORT_ASAP,
            (Role::Registrar, Channel::Enrp) => PORT_ENRP,
            _ => PORT_ENDPOINT,
        };
        locator_at(node, self.nodes[node].transport, port)
    }

    /// Where a node's end of an association seems to be.
    pub(crate) fn end_locator(&self, node: NodeId, conn: usize, end: usize) -> Locator {
        let Some(Conn { kind, channel, number, .. }) = self.conns.get(conn) else {
            return self.locator(node, Channel::Asap);
        };
        if *kind == TransportKind::Tcp && end == 0 {
            let port = EPHEMERAL + (number % 16_384) as u16;
            return locator_at(node, TransportKind::Tcp, port);
        }
        Locator { transport: *kind, ..self.locator(node, *channel) }
    }

    /// Who listens there, and for what.
    pub(crate) fn listener(&self, to: &Locator) -> Option<(NodeId, Channel)> {
        let node = *self.addresses.get(&to.primary().ip())?;
        let role = self.nodes[node].setup.role();
        match (role, to.port) {
            (Role::Registrar | Role::Hostile, PORT_ASAP) => Some((node, Channel::Asap)),
            (Role::Registrar | Role::Hostile, PORT_ENRP) => Some((node, Channel::Enrp)),
            (Role::Element, PORT_ENDPOINT) if to.transport == TransportKind::Sctp => {
                Some((node, Channel::Asap))
            }
            _ => None,
        }
    }

    /// Who serves sessions there.
    pub(crate) fn service(&self, to: &Locator) -> Option<NodeId> {
        let node = *self.addresses.get(&to.primary().ip())?;
        let serves = self.nodes[node].owner.service.is_some() && to.port == PORT_SERVICE;
        serves.then_some(node)
    }

    /// Whether a host is there and its process runs at full speed.
    pub(crate) fn works(&self, node: NodeId) -> bool {
        let node = &self.nodes[node];
        node.power == Power::On && !node.suspended && !node.draining && node.slow == 0
    }

    /// What a panic is to be called.
    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> Violation {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Violation { invariant: "I10", at: self.now, node: None, text: format!("panic: {text}") }
    }

    /// Names of the nodes, for traces.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// What happened, as far as lines were kept.
    pub fn take_lines(&mut self) -> Vec<Line> {
        self.trace.take_lines()
    }

    /// Fingerprint of all that happened so far.
    pub fn fingerprint(&self) -> u64 {
        self.trace.fingerprint()
    }

    /// What happened how often.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// The locator of a node at a port: both paths over SCTP, the first over TCP.
pub(crate) fn locator_at(node: NodeId, transport: TransportKind, port: u16) -> Locator {
    let addresses = match transport {
        TransportKind::Tcp => Addresses::from(address(node, 0)),
        TransportKind::Sctp | TransportKind::Auto => {
            Addresses::new(&[address(node, 0), address(node, 1)])
                .unwrap_or_else(|| address(node, 0).into())
        }
    };
    Locator { transport, addresses, port }
}

/// The address of a node on a path.
pub(crate) fn address(node: NodeId, path: u8) -> IpAddr {
    let [high, low] = (node as u16 + 1).to_be_bytes();
    Ipv4Addr::new(10, path, high, low).into()
}
