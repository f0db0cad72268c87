//! The registrar: keeps the handlespace, answers users, supervises its own elements.
//!
//! `handlespace` decides what is consistent; here it is decided what is done about it, and nowhere
//! else are messages queued. One `on_<message>` per message, one `on_<timer>` per timer.
//!
//! ```text
//!   element --- REGISTRATION --> on_registration -> handlespace.register -> Change -> response
//!   user ------ HANDLE_RESOLUTION -> on_handle_resolution -> policy of the pool -> response
//!   user <----- HANDLE_RESOLUTION_RESPONSE, of a watched pool that has changed --- watch
//!   element <-- KEEP_ALIVE --- supervision (interval drawn +-50 %) --- missed -> removed
//!   registrar <-- HANDLE_UPDATE, PRESENCE, HANDLE_TABLE --> registrar (equals, no leader)
//!   reader ---- HANDLE_TABLE_REQUEST -> enrp -> pieces of the handlespace
//! ```

mod admission;
#[cfg(test)]
mod admission_tests;
mod announce;
mod asap;
mod association;
mod audit;
mod authority;
#[cfg(test)]
mod clause_tests;
mod config;
mod discover;
#[cfg(test)]
mod discover_tests;
mod enrp;
mod event;
mod leave;
mod mentor;
#[cfg(test)]
mod peer_tests;
mod peers;
mod quota;
mod rates;
mod rehome;
#[cfg(test)]
mod rival_tests;
mod silence;
#[cfg(test)]
mod silence_tests;
mod supervision;
mod takeover;
#[cfg(test)]
mod tests;
mod trespass;
mod watch;

pub use crate::wire::pool_element::LifeUnit;
pub use authority::{Action, Authority, ElementGrant, Grants, Pattern, Readers};
pub use config::{AddressRule, Compat, Limits, RegistrarConfig, TakeoverWinner};
pub use event::{Event, Ignored, RemovalReason};
pub use rates::MessageKind;

use crate::handlespace::{Handlespace, Slot};
use crate::id::{AssociationId, ServerId};
use crate::machine::{AttemptId, Channel, Input, Machine, Output};
use crate::planted::planted;
use crate::time::Instant;
use crate::timer::TimerQueue;
use crate::wire::capability::Capabilities;
use crate::wire::operation_error::ErrorCause;
use crate::wire::{self, PPID_ASAP, PPID_ENRP, TooLong};
use admission::Admission;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use association::Association;
use discover::Dials;
use leave::Leaving;
use mentor::Service;
use peers::{Contact, ContactId, Peer};
use quota::Quotas;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use rates::{Rates, Verdict};
use rehome::Call;
use silence::Silence;
use supervision::Supervision;
use takeover::Takeover;
use trespass::Trespasses;
use watch::Watches;

/// A registrar (ENRP server) as a machine.
#[derive(Debug)]
pub struct Registrar {
    config: RegistrarConfig,
    id: ServerId,
    rng: ChaCha12Rng,
    handlespace: Handlespace,
    associations: BTreeMap<AssociationId, Association>,
    watches: Watches,
    /// The elements whose home this registrar is.
    supervised: BTreeMap<Slot, Supervision>,
    quotas: Quotas,
    rates: Rates,
    trespasses: Trespasses,
    timers: TimerQueue<Timer>,
    /// Buffer of selections, reused from answer to answer.
    selected: Vec<Slot>,
    outputs: VecDeque<Output<Event>>,
    counters: Counters,
    service: Service,
    peers: BTreeMap<ServerId, Peer>,
    contacts: BTreeMap<ContactId, Contact>,
    next_contact: u32,
    /// Attempts to reach registrars.
    attempts: BTreeMap<AttemptId, ContactId>,
    next_attempt: u64,
    takeovers: BTreeMap<ServerId, Takeover>,
    /// Elements taken over that have not been called home yet.
    rehoming: VecDeque<Slot>,
    admission: Admission,
    /// Attempts to reach elements.
    calls: BTreeMap<AttemptId, Call>,
    /// Other registrars that announce themselves, and when they did last; some of them.
    heard: BTreeMap<ServerId, Instant>,
    dials: Dials,
    silence: Silence,
    stretched: bool,
    leaving: Option<Leaving>,
}

/// What this implementation shows of itself: no bit is needed, the parameter itself says it.
const CAPABILITIES: Capabilities = Capabilities(0);

/// What a registrar waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to look whether an own element wants to be asked for a sign of life.
    KeepAlive(Slot),
    /// When to give an own element up that has not answered.
    KeepAliveTimeout(Slot),
    /// When to give up an element taken over that has not shown itself.
    Awaited(Slot),
    /// When to call the next elements taken over.
    Rehome,
    /// When to let in the next elements that have come.
    Admit,
    /// When to offer the next silent elements to peers.
    Silence,
    /// When to hand over or send away the next ones.
    Drain,
    /// When to look whether an association is idle.
    Idle(AssociationId),
    /// When to dial a registrar.
    Dial(ContactId),
    /// When to turn to another mentor, or to serve alone.
    Mentor,
    /// When to tell the peers that we live.
    Heartbeat,
    /// When to look whether a peer has been silent for too long.
    PeerSilent(ServerId),
    /// When to give up a peer that was asked for a sign of life.
    PeerTimeout(ServerId),
    /// When to watch a peer again that another registrar wanted to take over.
    Yielded(ServerId),
    /// When to complete a takeover without those who have not answered.
    Takeover(ServerId),
    /// When to give up reading a peer's table.
    Audit(ServerId),
    /// When to announce ourselves.
    Announce,
    /// When to tell other registrars that we are there.
    Discover,
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
    /// Updates sent to those who watch a pool.
    pub updates: u64,
    /// Keep-alives sent, those that a report caused included.
    pub keep_alives: u64,
    /// Own elements removed, for whatever reason.
    pub removals: u64,
    /// Peers' tables read because they differed.
    pub audits: u64,
    /// Inputs ignored or refused without a change.
    pub ignored: u64,
    /// Messages over a rate, whether they were answered or not.
    pub over_rate: u64,
    /// Attempts to take what belongs to somebody else.
    pub trespasses: u64,
}

impl Registrar {
    /// A registrar with an empty handlespace. The same `seed` and inputs give the same outputs.
    pub fn new(config: RegistrarConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut handlespace_seed = [0; 32];
        rng.fill_bytes(&mut handlespace_seed);
        let handlespace = Handlespace::new(config.limits.handlespace.clone(), handlespace_seed);
        let mut registrar = Self {
            id: config.id,
            config,
            rng,
            handlespace,
            associations: BTreeMap::new(),
            watches: Watches::default(),
            supervised: BTreeMap::new(),
            quotas: Quotas::default(),
            rates: Rates::default(),
            trespasses: Trespasses::default(),
            timers: TimerQueue::new(),
            selected: Vec::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            service: Service::Ready,
            peers: BTreeMap::new(),
            contacts: BTreeMap::new(),
            next_contact: 0,
            attempts: BTreeMap::new(),
            next_attempt: 0,
            takeovers: BTreeMap::new(),
            rehoming: VecDeque::new(),
            admission: Admission::default(),
            calls: BTreeMap::new(),
            heard: BTreeMap::new(),
            dials: Dials::new(now),
            silence: Silence::default(),
            stretched: false,
            leaving: None,
        };
        if registrar.id.is_none() {
            registrar.draw_id();
        }
        registrar.timers.set(Timer::Heartbeat, now + registrar.config.timers.peer_heartbeat);
        registrar.start(now);
        registrar.start_announcing(now);
        registrar.start_discovering(now);
        registrar
    }

    /// RFC 5353 §2.1: random and not zero.
    fn draw_id(&mut self) {
        loop {
            self.id = ServerId(self.rng.next_u32());
            if !self.id.is_none() {
                return;
            }
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

    /// Which of the orders that a pool has had apart answers the other end of an association, if one does.
    #[cfg(any(test, feature = "testing"))]
    pub fn order_apart(&self, assoc: AssociationId, handle: &crate::id::PoolHandle) -> Option<u32> {
        let association = self.associations.get(&assoc)?;
        self.handlespace.order_apart(handle.as_bytes(), association.asker)
    }

    /// How many things it remembers and queues, the handlespace left out: what must be bounded.
    #[cfg(any(test, feature = "testing"))]
    pub fn kept(&self) -> usize {
        let held = self.associations.values().map(|known| known.elements.len());
        let sizes = [
            self.associations.len(),
            held.sum(),
            self.supervised.len(),
            self.timers.len(),
            self.outputs.len(),
            self.peers.len(),
            self.contacts.len(),
            self.attempts.len(),
            self.takeovers.len(),
            self.rehoming.len(),
            self.calls.len(),
            self.admission.len(),
            self.watches.len(),
            self.rates.len(),
        ];
        sizes.into_iter().sum()
    }

    /// How many watches there are: pools whose changes an association is told.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// How often things have happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn on_received(&mut self, now: Instant, assoc: AssociationId, ppid: u32, bytes: &[u8]) {
        let Some(association) = self.associations.get_mut(&assoc) else {
            return;
        };
        association.last_heard = now;
        if let Some(kind) = MessageKind::of(association, bytes) {
            let verdict = self.rates.weigh(now, association, kind, &self.config.limits);
            if verdict != Verdict::Serve {
                return self.on_too_many(now, assoc, kind, verdict, bytes);
            }
        }
        match (association.channel, ppid) {
            (Channel::Asap, PPID_ASAP) => match wire::asap::Message::decode(bytes) {
                Ok(decoded) => {
                    if !decoded.reports.is_empty() {
                        self.report_asap(assoc, decoded.reports);
                    }
                    self.on_asap(now, assoc, decoded.message);
                }
                Err(error) => {
                    if planted!("noise-panics") {
                        panic!("a planted bug");
                    }
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
                    self.on_enrp(now, assoc, message);
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
        self.rates.forget_idle(now);
        while let Some(slot) = self.handlespace.next_expired(now) {
            if self.is_vouched_for(slot) {
                let timers = &self.config.timers;
                let longer = timers.max_time_last_heard + timers.max_time_no_response;
                self.handlespace.extend_lease(slot, now + longer.max(rehome::TICK));
            } else if let Some(change) = self.handlespace.expire(now) {
                self.on_expired(now, change);
            }
        }
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::KeepAlive(slot) => self.on_keep_alive_due(now, slot),
                Timer::KeepAliveTimeout(slot) => self.on_keep_alive_timeout(now, slot),
                Timer::Awaited(slot) => self.on_awaited(now, slot),
                Timer::Rehome => self.on_rehome(now),
                Timer::Admit => self.on_admit(now),
                Timer::Silence => self.on_silence(now),
                Timer::Drain => self.on_drain(now),
                Timer::Idle(assoc) => self.on_idle(now, assoc),
                Timer::Dial(contact) => self.dial(now, contact),
                Timer::Mentor => self.on_mentor_timeout(now),
                Timer::Heartbeat => self.on_heartbeat(now),
                Timer::PeerSilent(server) => self.on_peer_silent(now, server),
                Timer::PeerTimeout(server) => self.on_peer_timeout(now, server),
                Timer::Yielded(server) => self.on_yielded(now, server),
                Timer::Takeover(server) => self.on_takeover_timeout(now, server),
                Timer::Audit(server) => self.on_audit_timeout(server),
                Timer::Announce => self.on_announce(now),
                Timer::Discover => self.on_discover(now),
            }
        }
        self.note_changes(now);
        self.send_updates(now);
    }

    /// Notices that the registrar was suspended.
    fn notice_suspension(&mut self, now: Instant) {
        let Some(due) = self.next_timeout() else {
            return;
        };
        let late = now.saturating_since(due);
        if late > self.config.timers.max_time_no_response {
            self.resume(now, late);
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
            Input::Connected { assoc, attempt, channel, local, remote, identity } => {
                let opened_by_us = attempt.is_some();
                let association =
                    Association::new(now, channel, opened_by_us, local, remote, identity);
                self.on_connected(now, assoc, attempt, association);
            }
            Input::ConnectFailed { attempt, reason } => {
                self.on_dial_failed(now, attempt, reason);
                self.on_call_failed(now, attempt, reason);
            }
            Input::AddressChanged { assoc, remote } => self.on_address_changed(assoc, remote),
            // RFC 5352 §3.5: what cannot be sent to is unreachable.
            Input::SendFailed { assoc } | Input::Closed { assoc, .. } => self.on_closed(now, assoc),
            Input::Received { assoc, ppid, bytes } => self.on_received(now, assoc, ppid, bytes),
            Input::Timeout => self.on_timeout(now),
            Input::Datagram { channel: Channel::Asap, bytes, .. } => self.on_datagram(now, bytes),
            Input::Datagram { channel: Channel::Enrp, from, bytes } => {
                self.on_presence_heard(now, from, bytes);
            }
        }
        // Sent by the timeout that is due then, so that they say what all of this input leads to.
        self.note_changes(now);
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let due = [self.timers.next(), self.handlespace.next_expiry(), self.watches.next()];
        due.into_iter().flatten().min()
    }
}
