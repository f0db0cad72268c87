//! Elements that come from another registrar, and ours that go to one (RFC 5353 §3.5.2).
//!
//! ```text
//!   taken over --> queue --rehome_rate--> SCTP: dialled, KEEP_ALIVE with H --> ours
//!                                         TCP: awaited for rehome_grace --> registers, or is removed
//! ```
//!
//! Until it is known to live an element is still returned to users: whoever took over the dead has
//! no reason to think that the living died with it.

use super::{Registrar, RemovalReason, Timer};
use crate::handlespace::Slot;
use crate::id::{AssociationId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Locator, Output, TransportKind};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::pool_element::PoolElement;
use alloc::vec::Vec;

/// How often a part of what waits is taken up.
pub(super) const TICK: Duration = Duration::from_millis(10);

impl Registrar {
    /// Takes an element in that was another registrar's; it has to show that it lives.
    pub(super) fn adopt(&mut self, now: Instant, slot: Slot, from: ServerId) {
        self.await_element(now, slot, from);
        self.rehoming.push_back(slot);
        self.timers.set_if_unset(Timer::Rehome, now);
    }

    /// When to call the next elements home.
    pub(super) fn on_rehome(&mut self, now: Instant) {
        for _ in 0..self.per_tick() {
            let Some(slot) = self.rehoming.pop_front() else {
                return;
            };
            self.call_home(now, slot);
        }
        if !self.rehoming.is_empty() {
            self.timers.set(Timer::Rehome, now + TICK);
        }
    }

    pub(super) fn per_tick(&self) -> usize {
        let per_second = usize::try_from(self.config.timers.rehome_rate).unwrap_or(usize::MAX);
        (per_second / 100).max(1)
    }

    fn call_home(&mut self, now: Instant, slot: Slot) {
        if self.awaited(slot).is_none() {
            return;
        }
        let grace = self.config.timers.rehome_grace;
        self.timers.set(Timer::Awaited(slot), now + grace);
        let Some(to) = self.listens_at(slot) else {
            return;
        };
        let connected = self
            .associations
            .iter()
            .find(|(_, known)| known.channel == Channel::Asap && known.remote.meets(&to));
        if let Some(assoc) = connected.map(|(assoc, _)| *assoc) {
            return self.ask_home(now, slot, assoc);
        }
        let calling = self.calls.iter_mut().find(|(_, call)| call.to.meets(&to));
        if let Some((_, call)) = calling {
            call.slots.push(slot);
            return;
        }
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        self.calls.insert(attempt, Call { to: to.clone(), slots: Vec::from([slot]) });
        self.outputs.push_back(Output::Connect { attempt, channel: Channel::Asap, to });
    }

    /// Where an element can be called. Over TCP it is never dialled: it finds another registrar by
    /// itself.
    fn listens_at(&self, slot: Slot) -> Option<Locator> {
        let element = self.handlespace.element_at(slot)?;
        let (None, Some(asap)) = (element.asap_over_tcp(), element.asap_transport()) else {
            return None;
        };
        let (addresses, port) = (asap.addresses.clone(), asap.port);
        Some(Locator { transport: TransportKind::Sctp, addresses, port })
    }

    /// The elements that a call was for: those that are still waited for there. A slot may belong to
    /// another element by now.
    fn end_call(&mut self, attempt: AttemptId) -> Vec<Slot> {
        let Some(Call { to, mut slots }) = self.calls.remove(&attempt) else {
            return Vec::new();
        };
        let is_meant = |slot: &Slot| {
            self.awaited(*slot).is_some()
                && self.listens_at(*slot).is_some_and(|listens| listens.meets(&to))
        };
        slots.retain(is_meant);
        slots
    }

    /// An association to elements that were taken over is up.
    pub(super) fn on_call_connected(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        attempt: AttemptId,
    ) {
        for slot in self.end_call(attempt) {
            self.ask_home(now, slot, assoc);
        }
    }

    /// Elements that were taken over cannot be reached. Where nobody listens they died with their
    /// registrar; otherwise they may be on their way, and a call that crosses theirs fails: they are
    /// awaited.
    pub(super) fn on_call_failed(&mut self, now: Instant, attempt: AttemptId, reason: CloseReason) {
        for slot in self.end_call(attempt) {
            if reason == CloseReason::Refused {
                self.remove_element(now, slot, RemovalReason::Unreachable);
            }
        }
    }

    /// When an element that was taken over should have shown itself.
    pub(super) fn on_awaited(&mut self, now: Instant, slot: Slot) {
        if self.awaited(slot).is_some() && !planted!("awaited-for-ever") {
            self.remove_element(now, slot, RemovalReason::Unreachable);
        }
    }

    /// A leaving registrar hands an element over: it is called home like one of the dead.
    pub(super) fn on_handover(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        element: PoolElement,
        suspected: bool,
    ) {
        let id = element.id;
        if element.home != sender || !self.is_serving() {
            return;
        }
        // One that is older than what is known is not the sender's to give.
        if !self.apply_add(now, assoc, sender, handle, element) {
            return;
        }
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        if let Some(change) = slot.and_then(|slot| self.handlespace.set_home(slot, self.id)) {
            // Not taken over from anybody: nobody who takes the sender over has it.
            self.adopt(now, change.slot, self.id);
            if suspected {
                self.suspect(change.slot);
            }
            self.announce(&change);
        }
    }
}

/// An attempt to reach elements that were taken over.
#[derive(Debug)]
pub(super) struct Call {
    to: Locator,
    slots: Vec<Slot>,
}
