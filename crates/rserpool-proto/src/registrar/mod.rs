//! The registrar: keeps the handlespace, answers users, supervises its own elements.
//!
//! `handlespace` decides what is consistent; here it is decided what is done about it, and nowhere
//! else are messages queued. One `on_<message>` per message, one `on_<timer>` per timer.
//!
//! ```text
//!   element --- REGISTRATION --> on_registration -> handlespace.register -> Change -> response
//!   user ------ HANDLE_RESOLUTION -> on_handle_resolution -> policy of the pool -> response
//!   element <-- KEEP_ALIVE --- supervision (interval drawn +-50 %) --- missed -> removed
//!   reader ---- HANDLE_TABLE_REQUEST -> enrp -> pieces of the handlespace
//! ```

mod asap;
mod association;
mod authority;
mod config;
mod enrp;
mod event;
mod supervision;
#[cfg(test)]
mod tests;

pub use authority::{Action, Authority};
pub use config::{Compat, LifeUnit, Limits, RegistrarConfig};
pub use event::{Event, Ignored, RemovalReason};

use crate::handlespace::{Handlespace, Slot};
use crate::id::{AssociationId, ServerId};
use crate::machine::{Channel, Input, Machine, Output};
use crate::time::Instant;
use crate::timer::TimerQueue;
use crate::wire::operation_error::ErrorCause;
use crate::wire::{self, PPID_ASAP, PPID_ENRP, TooLong};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use association::Association;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use supervision::Supervision;

/// A registrar (ENRP server) as a machine.
#[derive(Debug)]
pub struct Registrar {
    config: RegistrarConfig,
    id: ServerId,
    rng: ChaCha12Rng,
    handlespace: Handlespace,
    associations: BTreeMap<AssociationId, Association>,
    /// The elements whose home this registrar is.
    supervised: BTreeMap<Slot, Supervision>,
    timers: TimerQueue<Timer>,
    /// Buffer of selections, reused from answer to answer.
    selected: Vec<Slot>,
    outputs: VecDeque<Output<Event>>,
    counters: Counters,
    stretched: bool,
    draining: bool,
}

/// What a registrar waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to look whether an own element wants to be asked for a sign of life.
    KeepAlive(Slot),
    /// When to give an own element up that has not answered.
    KeepAliveTimeout(Slot),
    /// When to look whether an association is idle.
    Idle(AssociationId),
}

/// How often things have happened since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Registrations accepted, renewals included.
    pub registrations: u64,
    /// Registrations refused.
    pub registrations_refused: u64,
    /// Resolutions answered with at least one element.
    pub resolutions: u64,
    /// Resolutions answered with an error.
    pub resolutions_refused: u64,
    /// Keep-alives sent, those that a report caused included.
    pub keep_alives: u64,
    /// Elements removed, for whatever reason.
    pub removals: u64,
    /// Inputs ignored or refused without a change.
    pub ignored: u64,
}

impl Registrar {
    /// A registrar with an empty handlespace. The same `seed` and inputs give the same outputs.
    pub fn new(config: RegistrarConfig, seed: [u8; 32], _now: Instant) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut id = config.id;
        // RFC 5353 §2.1: random and not zero.
        while id.is_none() {
            id = ServerId(rng.next_u32());
        }
        let mut handlespace_seed = [0; 32];
        rng.fill_bytes(&mut handlespace_seed);
        let handlespace = Handlespace::new(config.limits.handlespace.clone(), handlespace_seed);
        Self {
            config,
            id,
            rng,
            handlespace,
            associations: BTreeMap::new(),
            supervised: BTreeMap::new(),
            timers: TimerQueue::new(),
            selected: Vec::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            stretched: false,
            draining: false,
        }
    }

    /// Its identifier, as configured or drawn.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// What it knows, for operators and tests.
    pub fn handlespace(&self) -> &Handlespace {
        &self.handlespace
    }

    /// How often things have happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends everybody elsewhere: closes all associations and refuses new ones.
    pub fn drain(&mut self, now: Instant) {
        if self.draining {
            return;
        }
        self.draining = true;
        let associations: Vec<_> = self.associations.keys().copied().collect();
        for assoc in associations {
            self.disconnect(now, assoc);
        }
        self.emit(Event::Drained);
    }

    fn on_received(&mut self, now: Instant, assoc: AssociationId, ppid: u32, bytes: &[u8]) {
        let Some(association) = self.associations.get_mut(&assoc) else {
            return;
        };
        association.last_heard = now;
        match (association.channel, ppid) {
            (Channel::Asap, PPID_ASAP) => match wire::asap::Message::decode(bytes) {
                Ok(decoded) => {
                    if !decoded.reports.is_empty() {
                        self.report_asap(assoc, decoded.reports);
                    }
                    self.on_asap(now, assoc, decoded.message);
                }
                Err(error) => {
                    if let Some(cause) = error.cause(bytes) {
                        self.report_asap(assoc, Vec::from([cause]));
                    }
                    self.ignore(assoc, Ignored::Malformed(error));
                }
            },
            (Channel::Enrp, PPID_ENRP) => match wire::enrp::Message::decode(bytes) {
                Ok(decoded) => {
                    let message = decoded.message;
                    if !decoded.reports.is_empty() {
                        self.report_enrp(assoc, message.sender, decoded.reports);
                    }
                    self.on_enrp(assoc, message);
                }
                Err(error) => {
                    if let Some(cause) = error.cause(bytes) {
                        self.report_enrp(assoc, ServerId::NONE, Vec::from([cause]));
                    }
                    self.ignore(assoc, Ignored::Malformed(error));
                }
            },
            _ => self.ignore(assoc, Ignored::WrongProtocol { ppid }),
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(change) = self.handlespace.expire(now) {
            self.on_expired(now, change);
        }
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::KeepAlive(slot) => self.on_keep_alive_due(now, slot),
                Timer::KeepAliveTimeout(slot) => self.on_keep_alive_timeout(now, slot),
                Timer::Idle(assoc) => self.on_idle(now, assoc),
            }
        }
    }

    /// Whether this input comes so late that the registrar must have been suspended: then what it
    /// thinks silent may only have been unheard, and is asked again before it is removed.
    fn notice_suspension(&mut self, now: Instant) {
        let Some(due) = self.next_timeout() else {
            return;
        };
        let late = now.saturating_since(due);
        if late > self.config.timers.max_time_no_response {
            let grace = self.config.timers.max_time_no_response;
            self.handlespace.extend_leases(self.id, now + grace);
            self.probe_all(now);
            self.emit(Event::Resumed { late });
        }
    }

    fn transmit_asap(&mut self, assoc: AssociationId, body: wire::asap::Body) {
        let mut bytes = Vec::new();
        let encoded = wire::asap::Message::from(body).encode(&mut bytes);
        self.transmit(assoc, PPID_ASAP, encoded.map(|()| bytes));
    }

    fn transmit_enrp(&mut self, assoc: AssociationId, receiver: ServerId, body: wire::enrp::Body) {
        let mut bytes = Vec::new();
        let message = wire::enrp::Message { sender: self.id, receiver, body, unknown: [].into() };
        let encoded = message.encode(&mut bytes);
        self.transmit(assoc, PPID_ENRP, encoded.map(|()| bytes));
    }

    fn transmit(&mut self, assoc: AssociationId, ppid: u32, encoded: Result<Vec<u8>, TooLong>) {
        match encoded {
            Ok(bytes) => self.outputs.push_back(Output::Transmit { assoc, ppid, bytes }),
            Err(_) => self.ignore(assoc, Ignored::AnswerTooLong),
        }
    }

    /// RFC 5352 §2.2.14.
    fn report_asap(&mut self, assoc: AssociationId, errors: Vec<ErrorCause>) {
        self.transmit_asap(assoc, wire::asap::Body::Error { errors });
    }

    /// RFC 5353 §2.10.
    fn report_enrp(&mut self, assoc: AssociationId, to: ServerId, errors: Vec<ErrorCause>) {
        self.transmit_enrp(assoc, to, wire::enrp::Body::Error { errors });
    }

    fn disconnect(&mut self, now: Instant, assoc: AssociationId) {
        self.outputs.push_back(Output::Disconnect { assoc });
        self.on_closed(now, assoc);
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn ignore(&mut self, assoc: AssociationId, reason: Ignored) {
        self.counters.ignored += 1;
        self.emit(Event::Ignored { assoc, reason });
    }
}

impl Machine for Registrar {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.notice_suspension(now);
        match input {
            Input::Connected { assoc, channel, remote, identity, .. } => {
                self.on_connected(now, assoc, Association::new(now, channel, remote, identity));
            }
            Input::AddressChanged { assoc, remote } => self.on_address_changed(assoc, remote),
            // RFC 5352 §3.5: what cannot be sent to is unreachable.
            Input::SendFailed { assoc } | Input::Closed { assoc, .. } => self.on_closed(now, assoc),
            Input::Received { assoc, ppid, bytes } => self.on_received(now, assoc, ppid, bytes),
            Input::Timeout => self.on_timeout(now),
            // Nothing is dialled, and announcements of others concern elements and users.
            Input::ConnectFailed { .. } | Input::Datagram { .. } => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.handlespace.next_expiry()].into_iter().flatten().min()
    }
}
