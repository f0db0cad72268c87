//! The pool element: joins a pool and stays in it until told to leave (RFC 5352 §3.1, §3.2, §3.4).
//!
//! ```text
//!   element                                  home registrar
//!      | ------------- REGISTRATION ---------------> |   T2; nobody answers: hunt
//!      | <-------- REGISTRATION_RESPONSE ----------- |
//!      |                                             |
//!      | <--------- ENDPOINT_KEEP_ALIVE ------------ |   none any more: ask, then hunt
//!      | -------- ENDPOINT_KEEP_ALIVE_ACK ---------> |
//!      |                                             |
//!      | ------------- REGISTRATION ---------------> |   T4, or the policy values changed
//!      |                    ...                      |
//!      | ------------ DEREGISTRATION --------------> |   T3
//!      | <------- DEREGISTRATION_RESPONSE ---------- |
//! ```
//!
//! It always works towards what its owner wants: to be in the pool with the newest values, or to be
//! out of it. Losing the home registrar is told, but needs nothing of the owner. When the home
//! changes, the element registers with the new one before it closes the association to the old one:
//! registrars take a closed association for a dead element.

mod config;
mod event;
mod keep_alive;
mod registration;
#[cfg(test)]
mod tests;

pub use crate::wire::pool_element::LifeUnit;
pub use config::{Health, PoolElementConfig};
pub use event::{Event, State};

use super::server_hunt::{NewHome, ServerHunt};
use super::{LossReason, decode, encode, on_datagram};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, Input, Locator, Machine, Output};
use crate::planted::planted;
use crate::time::Instant;
use crate::wire::PPID_ASAP;
use crate::wire::asap::Body;
use crate::wire::policy::PolicyParameter;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use keep_alive::Watch;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use registration::{Goal, Request};

/// Most associations besides the home's: registrars that come to us to send keep-alives, and the
/// old home. More are closed at once. After a takeover there is one.
const MAX_VISITORS: usize = 8;

/// A server's membership in a pool.
#[derive(Debug)]
pub struct PoolElement {
    config: PoolElementConfig,
    id: PeId,
    rng: ChaCha12Rng,
    hunt: ServerHunt,
    goal: Goal,
    /// A registration should be sent as soon as none is under way.
    due: bool,
    /// The registration under way; at most one.
    request: Option<Request>,
    /// The registration was refused, and nothing has been corrected since.
    refused: bool,
    /// The association on which the present registration was granted, while it is trusted.
    registered_on: Option<AssociationId>,
    /// Some registrar may know us: a registration was sent and not ended since.
    maybe_registered: bool,
    /// Registrations in a row that were not answered.
    unanswered: u32,
    /// Identifiers drawn because the one before was taken.
    redraws: u32,
    /// Stamp of the newest registration or deregistration.
    seq: u64,
    /// When T4-reregistration expires.
    renew_at: Option<Instant>,
    /// When the last expiry was told.
    expired_at: Option<Instant>,
    /// Associations besides the home's.
    visitors: BTreeMap<AssociationId, Locator>,
    /// Which of them is the old home, to be closed when the new one has registered us.
    retiring: Option<AssociationId>,
    /// Who the home is, as its keep-alives say.
    home_server: ServerId,
    watch: Watch,
    last_healthy: Option<Instant>,
    /// Associations whose keep-alive waits for a report.
    waiting: BTreeSet<AssociationId>,
    /// Removed while a keep-alive waited for a report: not back before a healthy one.
    held_back: bool,
    /// The owner knows that no registrar is reachable.
    unreachable_told: bool,
    outputs: VecDeque<Output<Event>>,
}

impl PoolElement {
    /// Starts an element: it hunts for a registrar and registers at once.
    ///
    /// `seed` decides all that is random: the identifier, the order of registrars, the jitter.
    pub fn new(config: PoolElementConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        // RFC 5352 §3.1 R2.2.
        let id = config.id.unwrap_or_else(|| PeId(rng.next_u32()));
        let hunt_rng = ChaCha12Rng::from_rng(&mut rng);
        let timers = &config.timers;
        let hunt = ServerHunt::new(
            &config.registrars,
            timers.t5_server_hunt,
            timers.retran_max,
            timers.t7_enrp_outdate,
            hunt_rng,
        );
        let watch = Watch::new(timers.keep_alive_interval);
        let seq = config.stamp_start;
        let mut element = Self {
            config,
            id,
            rng,
            hunt,
            goal: Goal::Member,
            due: true,
            request: None,
            refused: false,
            registered_on: None,
            maybe_registered: false,
            unanswered: 0,
            redraws: 0,
            seq,
            renew_at: None,
            expired_at: None,
            visitors: BTreeMap::new(),
            retiring: None,
            home_server: ServerId::NONE,
            watch,
            last_healthy: None,
            waiting: BTreeSet::new(),
            held_back: false,
            unreachable_told: false,
            outputs: VecDeque::new(),
        };
        element.advance(now);
        element
    }

    /// Its pool.
    pub fn handle(&self) -> &PoolHandle {
        &self.config.handle
    }

    /// Its identifier in the pool.
    pub fn id(&self) -> PeId {
        self.id
    }

    /// How many things it remembers and queues, the handlespace left out: what must be bounded.
    #[cfg(any(test, feature = "testing"))]
    pub fn kept(&self) -> usize {
        let sizes = [self.visitors.len(), self.waiting.len(), self.outputs.len(), self.hunt.kept()];
        sizes.into_iter().sum()
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        match self.goal {
            Goal::Gone => State::Deregistered,
            Goal::Leaving { .. } => State::Deregistering,
            Goal::Member if self.refused => State::Refused,
            Goal::Member if self.registered_on.is_some() => State::Registered,
            Goal::Member if self.hunt.trusted_home().is_some() => State::Registering,
            Goal::Member => State::Hunting,
        }
    }

    /// Its home registrar, if it has one.
    pub fn home(&self) -> Option<&Locator> {
        self.hunt.trusted_home().and_then(|_| self.hunt.home_locator())
    }

    /// Changes the policy values; a change is registered at once, or as soon as the answer to the
    /// registration under way is here.
    ///
    /// Values that are set meanwhile replace each other, so that only the newest are sent. Also
    /// tries again after a refusal. The values that are known already change nothing.
    pub fn set_policy(&mut self, now: Instant, policy: PolicyParameter) {
        if self.config.policy == policy && !self.refused {
            return;
        }
        self.config.policy = policy;
        if matches!(self.goal, Goal::Member) {
            self.reregister(now);
        }
    }

    /// Says whether the service is healthy, for [`Health::Reported`]; ignored with
    /// [`Health::Assumed`].
    ///
    /// A healthy report acknowledges the keep-alives that wait. An unhealthy one forgets them: the
    /// owner is expected to [`deregister`](Self::deregister).
    pub fn report_health(&mut self, now: Instant, healthy: bool) {
        self.on_health_report(now, healthy);
    }

    /// Leaves the pool: ends in [`Event::Deregistered`] or [`Event::DeregistrationFailed`] after at
    /// most MAX-REG-ATTEMPT times T3. Leaving twice is leaving once.
    pub fn deregister(&mut self, now: Instant) {
        self.leave(now);
    }

    /// Registers now: after a refusal whose reason is gone, after a deregistration, or to renew.
    pub fn reregister(&mut self, now: Instant) {
        self.goal = Goal::Member;
        self.refused = false;
        self.redraws = 0;
        self.due = true;
        self.advance(now);
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends a message, and says whether it could be written.
    fn send(&mut self, assoc: AssociationId, body: Body) -> bool {
        let Some(bytes) = encode(body) else { return false };
        self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
        true
    }

    fn close(&mut self, assoc: AssociationId) {
        self.waiting.remove(&assoc);
        self.visitors.remove(&assoc);
        self.outputs.push_back(Output::Disconnect { assoc });
    }

    /// Closes the association to the old home, now that it is not needed any more.
    fn close_retiring(&mut self) {
        if let Some(assoc) = self.retiring.take() {
            self.close(assoc);
        }
    }

    /// SH6: from now on requests go to this registrar.
    fn on_new_home(&mut self, now: Instant, found: NewHome, server: ServerId) {
        if let Some((assoc, locator)) = found.previous {
            self.close_retiring();
            self.visitors.insert(assoc, locator);
            self.retiring = Some(assoc);
        }
        self.home_server = server;
        self.watch.reset();
        self.request = None;
        match self.goal {
            Goal::Member => self.due = true,
            Goal::Leaving { .. } => self.send_deregistration(now, found.assoc),
            Goal::Gone => {}
        }
        self.advance(now);
    }

    fn on_home_suspected(&mut self, now: Instant, reason: LossReason) {
        if let Some(home) = self.home().cloned() {
            self.registered_on = None;
            self.watch.reset();
            self.tell(Event::HomeLost { home, reason });
            self.hunt.suspect(now, &mut self.outputs);
        }
    }

    fn on_unreachable(&mut self) {
        if !core::mem::replace(&mut self.unreachable_told, true) {
            self.tell(Event::RegistrarUnreachable);
        }
    }

    fn on_closed(&mut self, now: Instant, assoc: AssociationId, reason: LossReason) {
        self.waiting.remove(&assoc);
        self.visitors.remove(&assoc);
        if self.retiring == Some(assoc) {
            self.retiring = None;
        }
        let trusted = self.hunt.trusted_home() == Some(assoc);
        let Some(home) = self.hunt.on_closed(now, assoc) else { return };
        self.registered_on = None;
        self.request = None;
        self.home_server = ServerId::NONE;
        self.watch.reset();
        self.due = true;
        if trusted {
            self.tell(Event::HomeLost { home, reason });
        }
        // RFC 5352 §3.6: a new home is needed, at once.
        if !planted!("no-hunt-after-loss") {
            self.advance(now);
        }
    }

    fn on_connected(&mut self, assoc: AssociationId, channel: Channel, remote: Locator) {
        // A registrar that has taken our home over comes to us (RFC 5353 §3.5).
        if channel == Channel::Asap
            && !matches!(self.goal, Goal::Gone)
            && self.visitors.len() < MAX_VISITORS
        {
            self.visitors.insert(assoc, remote);
        } else {
            self.outputs.push_back(Output::Disconnect { assoc });
        }
    }

    /// One `on_<message>` per message that concerns an element (RFC 5352 §4).
    fn on_received(&mut self, now: Instant, assoc: AssociationId, bytes: &[u8]) {
        if self.hunt.home() != Some(assoc) && !self.visitors.contains_key(&assoc) {
            return;
        }
        let (message, report) = decode(bytes);
        if let Some(bytes) = report {
            self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
        }
        let ours = |handle: &PoolHandle, id: Option<PeId>| {
            *handle == self.config.handle && id.is_none_or(|id| id == self.id)
        };
        match message {
            Some(Body::RegistrationResponse { rejected, handle, id, errors, capabilities })
                if ours(&handle, Some(id)) =>
            {
                let capable = capabilities.is_some();
                self.on_registration_response(now, assoc, rejected, errors, capable);
            }
            Some(Body::DeregistrationResponse { handle, id, errors })
                if ours(&handle, Some(id)) =>
            {
                self.on_deregistration_response(now, assoc, errors);
            }
            // KA1: if it is not our pool, or not us, it is silently discarded.
            Some(Body::EndpointKeepAlive { home, server, handle, id }) if ours(&handle, id) => {
                self.on_endpoint_keep_alive(now, assoc, home, server);
            }
            Some(Body::Error { errors }) => self.tell(Event::ErrorReported { errors }),
            // Announcements come as datagrams; the rest is not for elements, or belongs to sessions.
            _ => {}
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.hunt.on_timeout(now, &mut self.outputs) {
            self.on_unreachable();
        }
        self.on_request_timeout(now);
        self.on_t3_deregistration(now);
        self.on_t4_reregistration(now);
        self.on_keep_alive_missing(now);
        self.advance(now);
    }
}

impl Machine for PoolElement {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { assoc, attempt: Some(attempt), remote, .. } => {
                let outputs = &mut self.outputs;
                if let Some(found) = self.hunt.on_connected(assoc, attempt, remote, outputs) {
                    self.on_new_home(now, found, ServerId::NONE);
                }
            }
            Input::Connected { assoc, attempt: None, channel, remote, .. } => {
                self.on_connected(assoc, channel, remote);
            }
            Input::ConnectFailed { attempt, .. } => {
                if self.hunt.on_connect_failed(now, attempt, &mut self.outputs) {
                    self.on_unreachable();
                }
            }
            Input::Closed { assoc, reason } => {
                self.on_closed(now, assoc, LossReason::Closed(reason));
            }
            Input::SendFailed { assoc } => {
                // RFC 5352 §3.7.1: hunt; the request is made anew for the new home.
                if self.hunt.trusted_home() == Some(assoc) {
                    self.on_home_suspected(now, LossReason::SendFailed);
                }
            }
            Input::Received { assoc, bytes, .. } => self.on_received(now, assoc, bytes),
            Input::Datagram { channel, from, bytes } => {
                on_datagram(&mut self.hunt, now, channel, from, bytes, &mut self.outputs);
            }
            Input::AddressChanged { .. } => {}
            Input::Timeout => self.on_timeout(now),
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        [
            self.hunt.next_timeout(),
            self.request.as_ref().and_then(|request| request.deadline),
            self.goal.deadline(),
            self.renew_at,
            self.keep_alive_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
