//! Supervision of own elements: keep-alives, probes after reports, claims (RFC 5352 §3.4, §3.5).
//!
//! ```text
//!   idle --interval--> KEEP_ALIVE sent --ACK--> idle
//!     \--report------>       |  \--timeout--> removed, a claim waiting for it is granted
//!      \-claim------->       +-- while it waits, further reports and claims ask nothing more
//! ```

use super::asap::Claimant;
use super::peers::Pace;
use super::quota::Party;
use super::silence::Silent;
use super::{Event, Ignored, Registrar, RemovalReason, Timer};
use crate::handlespace::Slot;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::asap::Body;
use crate::wire::capability::Stamp;
use crate::wire::operation_error::ErrorCause;
use crate::wire::pool_element::PoolElement;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use rand_core::Rng;

/// What is known of the life of an own element.
#[derive(Debug)]
pub(super) struct Supervision {
    /// The association that speaks for the element; `None` while an element that was taken over
    /// has not shown itself.
    pub(super) holder: Option<AssociationId>,
    /// Whom it was taken over from, until it has shown itself.
    pub(super) awaited_from: Option<ServerId>,
    /// Who says that it is its own, until it has answered us.
    contested_by: Option<ServerId>,
    /// It is called home again, as others say too often that they have it.
    called_back: bool,
    /// How often it was claimed back from others.
    claimed_back: Pace,
    pub(super) last_heard: Instant,
    /// When the keep-alive was sent that has not been answered yet.
    pub(super) asked: Option<Instant>,
    /// Kept though it has not answered, because it is not the only one.
    pub(super) silent: Option<Silent>,
    pub(super) round_trip: RoundTrip,
    standing: Standing,
    /// What somebody else asks for who will speak for the element if its holder does not answer:
    /// all by one, in order.
    claims: Vec<Claim>,
}

/// What the supervision of an element leaves behind.
#[derive(Debug, Default)]
pub(super) struct Released {
    /// Who spoke for the element.
    pub(super) holder: Option<AssociationId>,
    /// What somebody wants who wants to.
    pub(super) claims: Vec<Claim>,
    /// Who says that it is its own.
    pub(super) contested_by: Option<ServerId>,
}

/// What users say of an element that answers us.
#[derive(Debug)]
enum Standing {
    /// At most [`REPORTERS`] - 1 users have reported it lately.
    Good(Vec<(Party, Instant)>),
    /// Ranked last until it has answered this often.
    Suspected { answers_missing: u8 },
}

/// Somebody else's wish for an element, kept until its holder has been asked.
#[derive(Debug)]
pub(super) enum Claim {
    Registration { assoc: AssociationId, handle: PoolHandle, element: Box<PoolElement> },
    Deregistration { assoc: AssociationId, handle: PoolHandle, id: PeId, stamp: Option<Stamp> },
}

/// Most messages of a claimant that wait until the holder has been asked; further ones are
/// refused at once, out of order.
const MAX_CLAIMS: usize = 16;

/// How often an element is claimed back from others before it is asked.
const CLAIMS_AT_ONCE: u32 = 4;

/// Users, not associations, that must report an element within [`REPORT_WINDOW`] for it to be ranked last.
const REPORTERS: usize = 3;
const REPORT_WINDOW: Duration = Duration::from_secs(10);
/// Probes that must succeed in a row before it is ranked as before.
const CLEARING_ANSWERS: u8 = 2;

/// Least time to answer of an element with several addresses. When a path is cut, SCTP sends a
/// keep-alive by another one after a timeout, and its answer after one more; each takes 100 ms, or up
/// to 200 ms while little is known of the path, and longer on busy hosts.
const PATH_CHANGE: Duration = Duration::from_millis(500);

impl Registrar {
    /// The association that speaks for an element, if it is one of ours.
    pub(super) fn holder_of(&self, slot: Slot) -> Option<AssociationId> {
        self.supervised.get(&slot)?.holder
    }

    /// Whom an element was taken over from, if it has not shown itself yet.
    pub(super) fn awaited(&self, slot: Slot) -> Option<ServerId> {
        self.supervised.get(&slot)?.awaited_from
    }

    /// Whether an own element has shown itself, and we want to keep it.
    pub(super) fn is_spoken_for(&self, slot: Slot) -> bool {
        let shown = |known: &Supervision| known.holder.is_some() && known.awaited_from.is_none();
        let is_given = self.is_leaving() || self.is_offered(slot);
        self.supervised.get(&slot).is_some_and(shown) && !is_given
    }

    /// Whether an element that was taken over has been asked to come here, and may still answer.
    pub(super) fn is_called_home(&self, slot: Slot) -> bool {
        let called = |known: &Supervision| known.awaited_from.is_some() && known.asked.is_some();
        self.supervised.get(&slot).is_some_and(called)
    }

    /// Whether others are told that an element is here that they say they have. If two tell each
    /// other so all the time they both hold it: then each calls it, and it says to whom it has come.
    pub(super) fn may_claim_back(&mut self, now: Instant, slot: Slot) -> bool {
        let pause = self.config.timers.max_time_last_heard;
        let supervision = self.supervised.get_mut(&slot);
        supervision.is_some_and(|known| known.claimed_back.allows_every(now, pause, CLAIMS_AT_ONCE))
    }

    /// Calls an element home that others say too often that they have.
    pub(super) fn call_back(&mut self, now: Instant, slot: Slot, from: ServerId) {
        if let Some(supervision) = self.supervised.get_mut(&slot)
            && supervision.contested_by.is_none()
        {
            supervision.called_back = true;
            supervision.asked = None;
            self.contest(now, slot, from);
        }
    }

    /// Asks an element that another registrar says is its own.
    pub(super) fn contest(&mut self, now: Instant, slot: Slot, by: ServerId) {
        if let Some(supervision) = self.supervised.get_mut(&slot) {
            supervision.contested_by = Some(by);
            if supervision.asked.is_none() {
                self.ask(now, slot);
            }
        }
    }

    /// All that were taken over from a registrar and have not shown themselves yet.
    pub(super) fn awaited_from(&self, target: ServerId) -> Vec<Slot> {
        let awaited = self.supervised.iter();
        let awaited = awaited.filter(|(_, known)| known.awaited_from == Some(target));
        awaited.map(|(slot, _)| *slot).collect()
    }

    /// Begins to wait for an element that was taken over.
    pub(super) fn await_element(&mut self, now: Instant, slot: Slot, from: ServerId) {
        self.let_go(now, slot);
        let awaited_from = Some(from);
        self.supervised.insert(slot, Supervision { awaited_from, ..Supervision::new(now, None) });
    }

    /// Asks an element that was taken over to adopt us as its home (RFC 5353 §3.5.2).
    pub(super) fn ask_home(&mut self, now: Instant, slot: Slot, assoc: AssociationId) {
        let owned = |(handle, id): (PoolHandle, PeId)| self.is_owner(&handle, id, assoc);
        if self.config.authority.is_secured() && !self.name(slot).is_some_and(owned) {
            // Who listens where it did is somebody else: it is waited for.
            return;
        }
        if let Some(supervision) = self.supervised.get_mut(&slot) {
            let before = supervision.holder.replace(assoc);
            if let Some(before) = before.and_then(|before| self.associations.get_mut(&before)) {
                before.elements.remove(&slot);
            }
            if let Some(association) = self.associations.get_mut(&assoc) {
                association.elements.insert(slot);
            }
            self.ask(now, slot);
        }
    }

    /// Begins or renews the supervision of an element after a registration on `assoc`.
    pub(super) fn supervise(&mut self, now: Instant, slot: Slot, assoc: AssociationId) {
        let party = self.associations.get(&assoc).map(Party::of);
        let mut supervision = Supervision::new(now, Some(assoc));
        if let Some(known) = self.supervised.get_mut(&slot) {
            if known.holder == Some(assoc) {
                known.last_heard = now;
                known.awaited_from = None;
                self.timers.cancel(Timer::Awaited(slot));
                if let Some(party) = party {
                    self.quotas.count(slot, party);
                }
                return;
            }
            if known.awaited_from.is_some() {
                // The same element at a new home: to come is not to have answered.
                mem::swap(&mut supervision.standing, &mut known.standing);
            } else {
                self.handlespace.set_suspect(slot, false);
            }
            self.release(slot);
        }
        self.supervised.insert(slot, supervision);
        if let Some(association) = self.associations.get_mut(&assoc) {
            association.elements.insert(slot);
        }
        if let Some(party) = party {
            self.quotas.count(slot, party);
        }
        self.schedule_keep_alive(now, slot);
    }

    /// The smoothed time that an element of ours takes to answer; `None` if that is not known.
    pub(super) fn round_trip_of(&self, slot: Slot) -> Option<Duration> {
        let round_trip = self.supervised.get(&slot)?.round_trip.0;
        (!round_trip.is_zero()).then_some(round_trip)
    }

    /// Ends the supervision of an element that is gone; who spoke for it, and who wants to.
    pub(super) fn release(&mut self, slot: Slot) -> Released {
        let Some(supervision) = self.supervised.remove(&slot) else {
            return Released::default();
        };
        self.quotas.uncount(slot);
        self.timers.cancel(Timer::KeepAlive(slot));
        self.timers.cancel(Timer::KeepAliveTimeout(slot));
        self.timers.cancel(Timer::Awaited(slot));
        let association = supervision.holder.and_then(|holder| self.associations.get_mut(&holder));
        if let Some(association) = association {
            association.elements.remove(&slot);
        }
        Released {
            holder: supervision.holder,
            claims: supervision.claims,
            contested_by: supervision.contested_by,
        }
    }

    /// Whether an element wants to be asked: it does unless it was heard of lately.
    pub(super) fn on_keep_alive_due(&mut self, now: Instant, slot: Slot) {
        let Some(interval) = self.keep_alive_interval(slot) else {
            return;
        };
        let Some(supervision) = self.supervised.get(&slot) else {
            return;
        };
        if supervision.asked.is_some() {
            return;
        }
        if now < supervision.last_heard + interval / 2 {
            return self.schedule_keep_alive(now, slot);
        }
        self.ask(now, slot);
    }

    /// RFC 5352 §3.5: an element that does not answer is unreachable and is removed.
    pub(super) fn on_keep_alive_timeout(&mut self, now: Instant, slot: Slot) {
        let timeout = self.keep_alive_timeout(slot);
        let Some(supervision) = self.supervised.get(&slot) else {
            return;
        };
        let Some(asked) = supervision.asked else {
            return;
        };
        if now < asked + timeout {
            self.timers.set(Timer::KeepAliveTimeout(slot), asked + timeout);
            return;
        }
        let (holder, claimed) = (supervision.holder, !supervision.claims.is_empty());
        if !claimed && self.is_kept_silent(now, slot, asked) {
            return;
        }
        let name = self.name(slot);
        self.be_patient(slot, timeout * 2);
        self.remove_element(now, slot, RemovalReason::KeepAliveMissed);
        if !claimed && let (Some(holder), Some((handle, id))) = (holder, name) {
            self.notify_removed(holder, handle, id);
        }
    }

    /// RFC 5352 §3.4. An answer counts only from the association that speaks for the element.
    pub(super) fn on_endpoint_keep_alive_ack(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        id: PeId,
    ) {
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        let anybody = planted!("acknowledgement-from-anybody");
        let speaks = |&slot: &Slot| anybody || self.holder_of(slot) == Some(assoc);
        let Some(slot) = slot.filter(speaks) else {
            return self.ignore(assoc, Ignored::UnaskedAck);
        };
        // After it was removed for being late, what comes first may be the answer to an earlier question.
        let least =
            self.associations.get(&assoc).map_or(Duration::ZERO, |known| known.patience / 2);
        let Some(supervision) = self.supervised.get_mut(&slot) else {
            return;
        };
        supervision.last_heard = now;
        if planted!("keep-alive-answer-is-lost") && now.as_micros().is_multiple_of(16) {
            return;
        }
        let Some(asked) = supervision.asked.take() else {
            return self.ignore(assoc, Ignored::UnaskedAck);
        };
        supervision.round_trip.sample(now.saturating_since(asked).max(least));
        supervision.silent = None;
        if supervision.awaited_from.take().is_some() {
            self.timers.cancel(Timer::Awaited(slot));
        }
        let claims = mem::take(&mut supervision.claims);
        let contested_by = supervision.contested_by.take();
        supervision.called_back = false;
        let cleared = supervision.standing.answered();
        self.be_patient(slot, Duration::ZERO);
        self.timers.cancel(Timer::KeepAliveTimeout(slot));
        if !planted!("keep-alive-stops") {
            self.schedule_keep_alive(now, slot);
        }
        for claim in claims {
            self.refuse_claim(claim);
        }
        if let Some(by) = contested_by {
            self.on_contest_won(now, slot, by);
        }
        if cleared {
            self.handlespace.set_suspect(slot, false);
            self.emit(Event::ElementCleared { handle: handle.clone(), id });
        }
    }

    /// A user cannot reach an element: ask it now (RFC 5352 §3.5).
    pub(super) fn on_report(&mut self, now: Instant, reporter: AssociationId, slot: Slot) {
        let party = self.associations.get(&reporter).map(Party::of);
        let (Some(supervision), Some(party)) = (self.supervised.get_mut(&slot), party) else {
            return;
        };
        let suspected = supervision.standing.reported(now, party);
        self.handlespace.note_failure(now, slot);
        if supervision.asked.is_none() {
            self.ask(now, slot);
        }
        if planted!("rfc-report-counter") && suspected {
            return self.remove_element(now, slot, RemovalReason::KeepAliveMissed);
        }
        if suspected {
            self.rank_last(slot);
        }
    }

    /// Ranks an element last until it has answered often enough.
    pub(super) fn suspect(&mut self, slot: Slot) {
        if let Some(supervision) = self.supervised.get_mut(&slot) {
            supervision.standing = Standing::Suspected { answers_missing: CLEARING_ANSWERS };
            self.rank_last(slot);
        }
    }

    /// Whether an own element is ranked last.
    pub(super) fn is_suspected(&self, slot: Slot) -> bool {
        let standing = self.supervised.get(&slot).map(|known| &known.standing);
        matches!(standing, Some(Standing::Suspected { .. }))
    }

    fn rank_last(&mut self, slot: Slot) {
        if let Some((handle, id)) = self.name(slot) {
            self.handlespace.set_suspect(slot, true);
            self.emit(Event::ElementSuspected { handle, id });
        }
    }

    /// Somebody else speaks for an element: its holder is asked first, and wins if it answers.
    pub(super) fn claim(&mut self, now: Instant, claim: Claim) {
        let (handle, id) = claim.name();
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        let Some(slot) = slot.filter(|&slot| self.holder_of(slot).is_some()) else {
            return;
        };
        let Some(supervision) = self.supervised.get_mut(&slot) else {
            return;
        };
        let asked = supervision.asked.is_some();
        // One that repeats itself is answered as often as it asks, and its last word counts.
        let is_same = supervision.claims.iter().all(|other| other.assoc() == claim.assoc());
        if !is_same || supervision.claims.len() >= MAX_CLAIMS {
            return self.refuse_claim(claim);
        }
        supervision.claims.push(claim);
        if !asked {
            self.ask(now, slot);
        }
    }

    /// Ends the supervision of an element that another registrar is home to now.
    pub(super) fn let_go(&mut self, now: Instant, slot: Slot) {
        // Whom to believe about it is for its new home to find out.
        if !planted!("suspicion-outlives-home") {
            self.handlespace.set_suspect(slot, false);
        }
        let released = self.release(slot);
        self.grant_claims(now, released.claims);
    }

    /// Nobody speaks for the element any more: whoever waited for that does.
    pub(super) fn grant_claims(&mut self, now: Instant, claims: Vec<Claim>) {
        for claim in claims {
            self.grant_claim(now, claim);
        }
    }

    fn grant_claim(&mut self, now: Instant, claim: Claim) {
        let Some(association) = self.associations.get(&claim.assoc()) else {
            return;
        };
        if self.is_leaving() {
            return match association.elements.is_empty() {
                true => self.disconnect(now, claim.assoc()),
                false => self.refuse_claim(claim),
            };
        }
        // It may have another home by now, where it came from other addresses.
        let (handle, id) = claim.name();
        if !matches!(self.standing(handle, id, claim.assoc()), Claimant::Free) {
            return self.refuse_claim(claim);
        }
        match claim {
            Claim::Registration { assoc, handle, element } => {
                self.register(now, assoc, handle, element);
            }
            Claim::Deregistration { assoc, handle, id, stamp } => {
                self.deregister(now, assoc, handle, id, stamp);
            }
        }
    }

    fn refuse_claim(&mut self, claim: Claim) {
        if !self.associations.contains_key(&claim.assoc()) {
            return;
        }
        match claim {
            Claim::Registration { assoc, handle, element } => {
                let cause = ErrorCause::NonUniquePeId;
                self.refuse_registration(assoc, handle, element.id, cause);
            }
            Claim::Deregistration { assoc, handle, id, .. } => {
                self.refuse_deregistration(assoc, handle, id);
            }
        }
    }

    /// Asks every own element anew, as if none had been asked before.
    pub(super) fn probe_all(&mut self, now: Instant) {
        let slots: Vec<_> = self.supervised.keys().copied().collect();
        for slot in slots {
            self.ask(now, slot);
        }
    }

    /// Sends a keep-alive and waits for the answer.
    pub(super) fn ask(&mut self, now: Instant, slot: Slot) {
        let timeout = self.keep_alive_timeout(slot);
        let Some((handle, id)) = self.name(slot) else {
            return;
        };
        let server = self.id;
        let Some(supervision) = self.supervised.get_mut(&slot) else {
            return;
        };
        let Some(mut holder) = supervision.holder else {
            return;
        };
        if planted!("keep-alive-to-anybody")
            && let Some((first, _)) = self.associations.first_key_value()
        {
            holder = *first;
        }
        supervision.asked = Some(now);
        let home = supervision.awaited_from.is_some() || supervision.called_back;
        self.timers.cancel(Timer::KeepAlive(slot));
        self.timers.set(Timer::KeepAliveTimeout(slot), now + timeout);
        self.counters.keep_alives += 1;
        // The H flag calls an element home; it is not set when it is only asked for a sign of life
        // (RFC 5352 §3.5).
        let body = Body::EndpointKeepAlive { home, server, handle, id: Some(id) };
        self.transmit_asap(holder, body);
    }

    /// RFC 5352 §3.5: drawn anew each time, 50 % less to 50 % more than the interval.
    fn schedule_keep_alive(&mut self, now: Instant, slot: Slot) {
        if let Some(interval) = self.keep_alive_interval(slot) {
            let drawn = interval / 2 + interval.mul_f64(unit_interval(self.rng.next_u32()));
            self.timers.set(Timer::KeepAlive(slot), now + drawn);
        }
    }

    /// The interval of an element's pool, or what the budget allows if that is longer.
    fn keep_alive_interval(&mut self, slot: Slot) -> Option<Duration> {
        let timers = self.config.timers_of(self.handlespace.pool_of(slot)?.handle());
        let configured = timers.keep_alive_interval?;
        let budget = f64::from(timers.keep_alive_budget.max(1));
        let own_elements = u32::try_from(self.supervised.len()).unwrap_or(u32::MAX);
        let affordable = Duration::from_secs_f64(f64::from(own_elements) / budget);
        let stretched = affordable > configured;
        if stretched && !self.stretched {
            self.emit(Event::KeepAliveStretched { interval: affordable });
        }
        self.stretched = stretched;
        Some(configured.max(affordable))
    }

    /// Never less than the way to the element takes, so that slow links cost time and no living element,
    /// and never less than SCTP takes to use another path if there is one.
    fn keep_alive_timeout(&self, slot: Slot) -> Duration {
        let Some(pool) = self.handlespace.pool_of(slot) else {
            return Duration::ZERO;
        };
        let timers = self.config.timers_of(pool.handle());
        let configured = timers.keep_alive_timeout;
        let supervision = self.supervised.get(&slot);
        let holder = supervision.and_then(|known| self.associations.get(&known.holder?));
        let patience = holder.map_or(Duration::ZERO, |known| known.patience);
        let way = supervision.map_or(configured, |known| known.round_trip.timeout(configured));
        let paths = holder.map_or(1, |known| known.remote.addresses.as_slice().len());
        let least = if paths > 1 { PATH_CHANGE } else { Duration::ZERO };
        least.max(configured).max(way.max(patience).min(timers.max_latency))
    }

    /// How long answers from the holder of an element are waited for at least.
    fn be_patient(&mut self, slot: Slot, patience: Duration) {
        let holder = self.supervised.get(&slot).and_then(|known| known.holder);
        if let Some(holder) = holder.and_then(|holder| self.associations.get_mut(&holder)) {
            holder.patience = patience;
        }
    }

    fn name(&self, slot: Slot) -> Option<(PoolHandle, PeId)> {
        let handle = self.handlespace.pool_of(slot)?.handle().clone();
        Some((handle, self.handlespace.element_at(slot)?.id()))
    }
}

impl Supervision {
    fn new(now: Instant, holder: Option<AssociationId>) -> Self {
        Self {
            holder,
            awaited_from: None,
            contested_by: None,
            called_back: false,
            claimed_back: Pace::default(),
            last_heard: now,
            asked: None,
            silent: None,
            round_trip: RoundTrip::default(),
            standing: Standing::Good(Vec::new()),
            claims: Vec::new(),
        }
    }
}

impl Claim {
    fn name(&self) -> (&PoolHandle, PeId) {
        match self {
            Self::Registration { handle, element, .. } => (handle, element.id),
            Self::Deregistration { handle, id, .. } => (handle, *id),
        }
    }

    fn assoc(&self) -> AssociationId {
        match self {
            Self::Registration { assoc, .. } | Self::Deregistration { assoc, .. } => *assoc,
        }
    }
}

impl Standing {
    /// Notes a report; true if the element becomes suspected by it.
    fn reported(&mut self, now: Instant, reporter: Party) -> bool {
        match self {
            Self::Good(reports) => {
                reports.retain(|(other, at)| {
                    (*other != reporter || planted!("reports-counted-twice"))
                        && now.saturating_since(*at) < REPORT_WINDOW
                });
                reports.push((reporter, now));
                if reports.len() < REPORTERS {
                    return false;
                }
                *self = Self::Suspected { answers_missing: CLEARING_ANSWERS };
                true
            }
            Self::Suspected { answers_missing } => {
                *answers_missing = CLEARING_ANSWERS;
                false
            }
        }
    }

    /// Notes an answer to a probe; true if the element is suspected no longer.
    fn answered(&mut self) -> bool {
        let Self::Suspected { answers_missing } = self else {
            return false;
        };
        *answers_missing = answers_missing.saturating_sub(1);
        let cleared = *answers_missing == 0;
        if cleared {
            *self = Self::Good(Vec::new());
        }
        cleared
    }
}

/// Smoothed time from a question to its answer; zero before the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip(Duration);

impl RoundTrip {
    /// Seven parts old, one part new, as RFC 6298 §2 smooths. What was lost on its way says nothing about
    /// the length of the way, but that it may have become longer.
    pub(super) fn sample(&mut self, sample: Duration) {
        let counted = sample.min(self.late());
        self.0 = if self.0.is_zero() { sample } else { (self.0 * 7 + counted) / 8 };
    }

    /// What takes longer than this was lost on its way, or does not come.
    pub(super) fn late(self) -> Duration {
        self.0 * 2
    }

    /// How long to wait for an answer where a quick one is waited for as long as `configured`. Four round
    /// trips are enough on a quick link even if something is lost. On a slow one they are as long as the
    /// transport takes to send a question, or its answer, once again: it is given the time to do so twice.
    pub(super) fn timeout(self, configured: Duration) -> Duration {
        let round_trips = self.0 * 4;
        if round_trips <= configured {
            return configured;
        }
        round_trips.max((self.0 * 6).min(TWICE_LOST))
    }
}

/// The most that this adds up to; beyond it four round trips count. A transport sends again what is not
/// acknowledged after about one and a half round trips, SCTP as we set it up after a second at most: with
/// 500 to 800 ms from a question to its answer, one of which either was lost twice takes 2.5 to 2.8 s. An
/// element that falls silent there is found within 4 s, as it is asked at most 600 ms after its last answer.
const TWICE_LOST: Duration = Duration::from_millis(2_900);

/// Uniform in [0, 1).
fn unit_interval(random: u32) -> f64 {
    f64::from(random) / (f64::from(u32::MAX) + 1.0)
}
