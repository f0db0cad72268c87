//! Sessions of a process, beside its machine: a user has one with a pool at a time, an element one with
//! each user that has come.
//!
//! ```text
//!   owner ──> Held (machine of the user's side) ──> wishes, reports ──> the node's PoolUser
//!               │  association                                              │
//!   owner ──> Served (machine of the element's side)       picked <─────────┘
//! ```
//!
//! As tasks of their own: what holds the process up holds them up, but they do not hold up the machine.

mod element;
mod user;

pub(crate) use element::{Served, Service};
pub(crate) use user::{Client, Held};

use crate::conn::end_of;
use crate::net::NodeId;
use crate::node::{Given, Power};
use crate::world::{Event, World};
use rserpool_proto::machine::{AttemptId, Machine as _};
use std::collections::{BTreeMap, VecDeque};

/// Messages under way in one direction before the transport takes no more.
const WINDOW: usize = 8;
/// Most outputs of one input of a session: an answer and what it tells, for each message at most.
const MAX_OUTPUTS: usize = 10_000;
/// Attempts to connect of sessions have names of their own: this bit, the session, the attempt.
const OF_SESSION: u64 = 1 << 63;
/// Bits of the attempt's own name.
const ATTEMPT_BITS: u32 = 24;

/// The sessions of a process.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Of a user.
    pub(crate) held: Option<Box<Held>>,
    /// Of an element, by association.
    pub(crate) served: BTreeMap<usize, Box<Served>>,
    /// Requests to the user's machine, and for which session.
    wishes: BTreeMap<u64, u64>,
    /// What came while the process was stopped.
    waiting: VecDeque<Given>,
    /// When all that a slow process was given is done.
    pub(crate) busy_until: u64,
    /// When a wake-up is due that has been queued.
    wake: Option<u64>,
}

/// What is due in the sessions of a process.
#[derive(Debug)]
pub(crate) enum Due {
    /// A slow process gets to it.
    Given(Given),
    /// A machine wants to be woken.
    Wake,
    /// The user does something.
    Talk,
    /// A session is to begin, unless there is one.
    Begin,
    /// An owner reads again: of the user's session, or that on an association.
    Read(Option<usize>),
}

/// What applications say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// [`QUESTION`], [`REPLY`] or [`COOKIE`].
    pub(crate) kind: u8,
    /// In which session.
    pub(crate) session: u64,
    /// Which message of the user it is, or is an answer to.
    pub(crate) number: u64,
    /// The association that an answer or a cookie was given on.
    pub(crate) conn: usize,
}

/// A message of a user.
pub(crate) const QUESTION: u8 = b'?';
/// An element's answer.
pub(crate) const REPLY: u8 = b'!';
/// An element's state.
pub(crate) const COOKIE: u8 = b'c';

impl Said {
    pub(crate) fn write(self) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        for word in [self.session, self.number, self.conn as u64] {
            bytes.extend(word.to_be_bytes());
        }
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let [session, number, conn] = words else { return None };
        let [session, number, conn] = [session, number, conn].map(|word| u64::from_be_bytes(*word));
        Some(Self { kind, session, number, conn: conn as usize })
    }
}

/// Whether an attempt is a session's.
pub(crate) fn is_of_session(attempt: AttemptId) -> bool {
    attempt.0 & OF_SESSION != 0
}

impl World {
    /// Whether something concerns a session and not the machine.
    pub(crate) fn is_of_session(&self, given: &Given) -> bool {
        match given {
            Given::Connected { assoc, .. }
            | Given::Closed { assoc, .. }
            | Given::SendFailed { assoc }
            | Given::Received { assoc, .. } => self.conns[end_of(*assoc).0].session,
            Given::ConnectFailed { attempt, .. } => is_of_session(*attempt),
            Given::Datagram { .. } | Given::Command(_) | Given::Timeout => false,
        }
    }

    /// Gives a session an input, now or when its process gets to it.
    pub(crate) fn give_session(&mut self, id: NodeId, given: Given) {
        let now = self.now;
        let node = &mut self.nodes[id];
        let busy_until = node.sessions.busy_until;
        if node.slow > 0 || busy_until >= now {
            let at = busy_until.max(now) + node.slow;
            node.sessions.busy_until = at;
            return self.session_later(id, at - now, Due::Given(given));
        }
        self.hand_session(id, given);
    }

    fn hand_session(&mut self, id: NodeId, given: Given) {
        if self.nodes[id].suspended {
            return self.nodes[id].sessions.waiting.push_back(given);
        }
        self.stats.inputs += 1;
        match given {
            Given::Connected { assoc, attempt: None } => self.accept_session(id, end_of(assoc).0),
            Given::Connected { attempt: Some(_), .. } | Given::ConnectFailed { .. } => {
                self.handle_held(id, given);
            }
            Given::Received { assoc, .. }
            | Given::Closed { assoc, .. }
            | Given::SendFailed { assoc } => match end_of(assoc) {
                (_, 0) => self.handle_held(id, given),
                (conn, _) => self.handle_served(id, conn, given),
            },
            Given::Datagram { .. } | Given::Command(_) | Given::Timeout => {}
        }
    }

    pub(crate) fn session_later(&mut self, node: NodeId, after: u64, due: Due) {
        let life = self.nodes[node].life;
        self.queue.push(self.now + after, Event::Session { node, life, due });
    }

    pub(crate) fn on_session_due(&mut self, id: NodeId, due: Due) {
        if self.nodes[id].power != Power::On {
            return;
        }
        match due {
            Due::Given(given) => self.hand_session(id, given),
            Due::Wake => {
                let sessions = &mut self.nodes[id].sessions;
                if sessions.wake.is_some_and(|at| at <= self.now) {
                    sessions.wake = None;
                    if !self.nodes[id].suspended {
                        self.wake_sessions(id);
                    }
                }
            }
            Due::Talk => self.on_talk(id),
            Due::Begin => self.begin_some_session(id),
            Due::Read(None) => self.read_held(id),
            Due::Read(Some(conn)) => self.read_served(id, conn),
        }
    }

    /// Lets all sessions look at the time, and take what the transport has room for.
    pub(crate) fn wake_sessions(&mut self, id: NodeId) {
        self.handle_held(id, Given::Timeout);
        let served: Vec<usize> = self.nodes[id].sessions.served.keys().copied().collect();
        for conn in served {
            self.handle_served(id, conn, Given::Timeout);
        }
        self.wake_sessions_later(id);
    }

    /// A process goes on: time first, as the real driver has it, then what has come.
    pub(crate) fn resume_sessions(&mut self, id: NodeId) {
        self.wake_sessions(id);
        while let Some(given) = self.nodes[id].sessions.waiting.pop_front() {
            self.hand_session(id, given);
        }
    }

    /// The process of a node is gone, and its sessions with it.
    pub(crate) fn end_sessions(&mut self, id: NodeId) {
        let sessions = std::mem::take(&mut self.nodes[id].sessions);
        if let Some(held) = sessions.held {
            self.oracle.sessions.gone(held.number());
        }
    }

    /// The other side has taken a message: there may be room for one more.
    pub(crate) fn session_has_room(&mut self, conn: usize, end: usize) {
        let id = self.conns[conn].ends[end].node;
        let node = &self.nodes[id];
        if node.power != Power::On || node.suspended {
            return;
        }
        match end {
            0 => self.with_held(id, |_, _| ()),
            _ => self.with_served(id, conn, |_, _| ()),
        }
    }

    fn has_room(&self, conn: usize, end: usize) -> bool {
        self.conns[conn].ends[end].in_flight < WINDOW
    }

    fn wake_sessions_later(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let held = node.sessions.held.iter().filter_map(|held| held.machine().next_timeout());
        let served = node.sessions.served.values().filter_map(|served| served.next_timeout());
        let Some(due) = held.chain(served).min() else { return };
        let at = node.clock.when(self.now, due);
        if node.sessions.wake.is_none_or(|wake| at < wake) {
            node.sessions.wake = Some(at);
            self.session_later(id, at - self.now, Due::Wake);
        }
    }
}
