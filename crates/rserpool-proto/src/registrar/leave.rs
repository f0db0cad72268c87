//! Leaving in order: elements are handed over to peers, then everybody is sent elsewhere.
//!
//! ```text
//!   own element --rehome_rate--> HANDLE_UPDATE with the takeover suggestion --> a peer, in turn
//!     the peer announces it as its own --> let go; over TCP sent away, to hunt and register
//!     it does not, as it is starting or leaving itself --> offered to the next one
//!   no own element left --> users sent away at rehome_rate --> registrars --> Drained
//!   leave_limit, or no peer --------------------------------> all at once ------'
//! ```
//!
//! Until a peer has it an element is supervised as before, and served if it renews; new ones are
//! sent elsewhere. What has not been handed over in time stays registered here, so that the peers
//! take it over as they do from the dead.

use super::rehome::TICK;
use super::{Event, Registrar, Timer};
use crate::handlespace::Slot;
use crate::id::AssociationId;
use crate::machine::{Channel, TransportKind};
use crate::time::Instant;
use crate::wire::enrp::{Body, UpdateAction};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How far a registrar is with leaving.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Own elements that have not been offered to a peer in this round.
    waiting: VecDeque<Slot>,
    /// Whose turn it is.
    next_peer: usize,
    /// When those that were not taken are offered again.
    next_round: Instant,
    until: Instant,
    /// Nobody is connected any more, nor will be.
    pub(super) has_left: bool,
}

impl Registrar {
    /// Leaves: hands its elements over to its peers, and then sends everybody elsewhere, at
    /// `rehome_rate` and for `leave_limit` at most. [`Event::Drained`] says when all are gone.
    pub fn drain(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(Leaving {
            waiting: self.supervised.keys().copied().collect(),
            next_peer: 0,
            next_round: now + self.config.timers.max_time_no_response,
            until: now + self.config.timers.leave_limit,
            has_left: false,
        });
        self.timers.set(Timer::Drain, now);
    }

    /// When to hand over or send away the next ones.
    pub(super) fn on_drain(&mut self, now: Instant) {
        let peers = self.connected_peers();
        let per_tick = self.per_tick();
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        let hurry = now >= leaving.until || peers.is_empty();
        if !hurry && !self.supervised.is_empty() {
            if leaving.waiting.is_empty() && now >= leaving.next_round {
                leaving.waiting = self.supervised.keys().copied().collect();
                leaving.next_round = now + self.config.timers.max_time_no_response;
                leaving.next_peer += 1;
            }
            let part = per_tick.min(leaving.waiting.len());
            let offered: Vec<_> = leaving.waiting.drain(..part).collect();
            let first = leaving.next_peer;
            leaving.next_peer = first.wrapping_add(part);
            let in_turn = peers.iter().cycle().skip(first % peers.len());
            for (slot, (peer, assoc, ours)) in offered.into_iter().zip(in_turn) {
                self.offer(slot, *peer, *assoc, *ours);
            }
            return self.timers.set(Timer::Drain, now + TICK);
        }
        let served = self.associations.iter().filter(|(_, known)| known.channel == Channel::Asap);
        let most = if hurry { usize::MAX } else { per_tick };
        let served: Vec<_> = served.map(|(assoc, _)| *assoc).take(most).collect();
        if !served.is_empty() {
            for assoc in served {
                if !peers.is_empty() {
                    self.keep_registered(assoc);
                }
                self.disconnect(now, assoc);
            }
            return self.timers.set(Timer::Drain, now + TICK);
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.has_left = true;
        }
        let others: Vec<_> = self.associations.keys().copied().collect();
        for assoc in others {
            self.disconnect(now, assoc);
        }
        self.emit(Event::Drained);
    }

    /// Suggests to a peer to take an element over.
    pub(super) fn offer(
        &mut self,
        slot: Slot,
        peer: crate::id::ServerId,
        assoc: AssociationId,
        ours: bool,
    ) {
        if !self.supervised.contains_key(&slot) {
            return;
        }
        let (Some(pool), Some(element)) =
            (self.handlespace.pool_of(slot), self.handlespace.element_at(slot))
        else {
            return;
        };
        let handle = pool.handle().clone();
        let element = Box::new(self.config.compat.parts(element, ours).to_element());
        let (takeover_suggested, action) = (true, UpdateAction::Add);
        let suspected = ours && self.is_suspected(slot);
        let body = Body::HandleUpdate { takeover_suggested, suspected, action, handle, element };
        self.transmit_enrp(assoc, peer, body);
    }

    /// An element of ours has another home now: over TCP it is told by the end of its connection,
    /// over SCTP the new home calls it.
    pub(super) fn on_handed_over(&mut self, now: Instant, holder: Option<AssociationId>) {
        let Some(holder) = holder.filter(|_| self.leaving.is_some()) else {
            return;
        };
        let is_done = self.associations.get(&holder).is_some_and(|known| {
            known.remote.transport == TransportKind::Tcp && known.elements.is_empty()
        });
        if is_done {
            self.disconnect(now, holder);
        }
    }

    /// The elements of an association that is ended by us stay registered: they live.
    fn keep_registered(&mut self, assoc: AssociationId) {
        let elements = self.associations.get_mut(&assoc).map(|known| &mut known.elements);
        for slot in elements.map(core::mem::take).unwrap_or_default() {
            self.release(slot);
        }
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
}
