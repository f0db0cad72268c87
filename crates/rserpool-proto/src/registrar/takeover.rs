//! When a registrar dies: one of the others takes its elements over (RFC 5353 §3.5).
//!
//! ```text
//!   dead --> INIT_TAKEOVER to all --> ACK from all that live --> TAKEOVER_SERVER to all
//!             | the target speaks: nothing happened                |
//!             | another one is stronger: it does the work          v
//!             '-- takeover_expiry ------------------------> its elements are ours
//! ```

use super::{Event, Registrar, TakeoverWinner, Timer};
use crate::handlespace::Slot;
use crate::id::ServerId;
use crate::planted::planted;
use crate::time::Instant;
use crate::wire::enrp::Body;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use rand_core::Rng;

/// An attempt of ours to take a peer over.
#[derive(Debug)]
pub(super) struct Takeover {
    /// Peers whose acknowledgement is missing.
    missing: BTreeSet<ServerId>,
}

impl Registrar {
    /// A peer is dead: begins the arbitration (RFC 5353 §3.5.1).
    pub(super) fn on_peer_dead(&mut self, now: Instant, target: ServerId) {
        if !self.is_serving() {
            return self.remove_peer(now, target);
        }
        let Some(peer) = self.peers.get(&target) else {
            return;
        };
        if peer.yielded || self.takeovers.contains_key(&target) {
            return;
        }
        let alive_since = now - self.config.timers.max_time_last_heard;
        let missing: BTreeSet<_> = self
            .peers
            .iter()
            .filter(|(id, peer)| {
                **id != target && peer.assoc.is_some() && peer.last_heard >= alive_since
            })
            .map(|(id, _)| *id)
            .collect();
        let elements = self.handlespace.owned_count(target);
        self.emit(Event::TakeoverStarted { target, elements });
        let nobody_else = missing.is_empty();
        self.takeovers.insert(target, Takeover { missing });
        for (_, assoc, _) in self.connected_peers() {
            self.transmit_enrp(assoc, ServerId::NONE, Body::InitTakeover { target });
        }
        if nobody_else {
            self.complete_takeover(now, target);
        } else {
            // Those who do not answer do not hold it up for ever, so that two registrars suffice.
            let expiry = self.config.timers.max_time_no_response;
            self.timers.set(Timer::Takeover(target), now + expiry);
        }
    }

    /// RFC 5353 §3.5.1 for those who are told.
    pub(super) fn on_init_takeover(&mut self, now: Instant, sender: ServerId, target: ServerId) {
        if target == self.id {
            // 1. We live.
            for (_, assoc, _) in self.connected_peers() {
                self.send_presence(assoc, ServerId::NONE, false);
            }
            return;
        }
        if self.takeovers.contains_key(&target) {
            if self.wins_against(sender, target) {
                // 2.B.
                return;
            }
            // 2.A.
            self.takeovers.remove(&target);
            self.timers.cancel(Timer::Takeover(target));
        }
        // 3. Those who yield to each other, for they do not know the same peers, begin anew one after
        // the other.
        let timers = &self.config.timers;
        let spread = timers.max_time_no_response * (self.rng.next_u32() % 1024) / 1024;
        let expiry = timers.max_time_no_response + timers.max_time_last_heard + spread;
        if let Some(peer) = self.peers.get_mut(&target) {
            peer.yielded = true;
            self.timers.cancel(Timer::PeerTimeout(target));
            self.timers.set(Timer::Yielded(target), now + expiry);
        }
        if let Some(assoc) = self.peers.get(&sender).and_then(|peer| peer.assoc) {
            self.transmit_enrp(assoc, sender, Body::InitTakeoverAck { target });
        }
    }

    /// When whoever wanted to take a peer over has not done it: it may have died as well.
    pub(super) fn on_yielded(&mut self, now: Instant, target: ServerId) {
        if let Some(peer) = self.peers.get_mut(&target)
            && peer.yielded
        {
            peer.yielded = false;
            self.on_peer_dead(now, target);
        }
    }

    pub(super) fn on_init_takeover_ack(
        &mut self,
        now: Instant,
        sender: ServerId,
        target: ServerId,
    ) {
        let Some(takeover) = self.takeovers.get_mut(&target) else {
            return;
        };
        takeover.missing.remove(&sender);
        if takeover.missing.is_empty() {
            self.complete_takeover(now, target);
        }
    }

    /// When those who have not acknowledged are waited for no longer.
    pub(super) fn on_takeover_timeout(&mut self, now: Instant, target: ServerId) {
        if self.takeovers.contains_key(&target) {
            self.complete_takeover(now, target);
        }
    }

    /// The target has spoken: it lives.
    pub(super) fn cancel_takeover_of(&mut self, _now: Instant, target: ServerId) {
        if self.takeovers.remove(&target).is_some() {
            self.timers.cancel(Timer::Takeover(target));
            self.emit(Event::TakeoverCancelled { target });
        }
    }

    /// RFC 5353 §3.5.2 for the one who won.
    fn complete_takeover(&mut self, now: Instant, target: ServerId) {
        self.takeovers.remove(&target);
        self.timers.cancel(Timer::Takeover(target));
        self.remove_peer(now, target);
        for (_, assoc, _) in self.connected_peers() {
            self.transmit_enrp(assoc, ServerId::NONE, Body::TakeoverServer { target });
        }
        let taken = self.owned_by(target);
        for slot in &taken {
            if planted!("takeover-deletes") {
                self.handlespace.remove_at(now, *slot);
                continue;
            }
            if self.handlespace.set_home(*slot, self.id).is_some() {
                self.adopt(now, *slot, target);
            }
        }
        self.emit(Event::TakenOver { target, elements: taken.len() });
    }

    /// RFC 5353 §3.5.2 for the others.
    pub(super) fn on_takeover_server(&mut self, now: Instant, sender: ServerId, target: ServerId) {
        if target == self.id {
            // We live; our elements are claimed back one by one as their new home lists them.
            for (_, assoc, _) in self.connected_peers() {
                self.send_presence(assoc, ServerId::NONE, true);
            }
            return;
        }
        // One that has just spoken here lives, whatever others hear.
        let last_heard = self.config.timers.max_time_last_heard;
        let lives = |peer: &super::peers::Peer| {
            peer.assoc.is_some() && now.saturating_since(peer.last_heard) < last_heard
        };
        if self.peers.get(&target).is_some_and(lives) {
            return self.ask_peer(now, target);
        }
        self.cancel_takeover_of(now, target);
        self.remove_peer(now, target);
        for slot in self.owned_by(target) {
            self.handlespace.set_home(slot, sender);
        }
        // Two have completed: the weaker one gives away what it has taken and not yet seen.
        if !self.wins_against(sender, target) {
            for slot in self.awaited_from(target) {
                self.handlespace.relabel(slot, sender);
                // Last, since one that has come meanwhile, and waits to be let in, is ours.
                self.let_go(now, slot);
            }
        }
    }

    /// Who of two registrars takes `target` over.
    pub(super) fn wins_against(&self, other: ServerId, target: ServerId) -> bool {
        match self.takeover_winner(target) {
            TakeoverWinner::Higher => self.id > other,
            TakeoverWinner::Lower => self.id < other,
        }
    }

    /// All have to decide alike, so only those count who may take part.
    fn takeover_winner(&self, target: ServerId) -> TakeoverWinner {
        let mut others = self.peers.iter().filter(|(id, peer)| **id != target && !peer.is_hearsay);
        self.config.takeover_winner.unwrap_or_else(|| {
            match others.all(|(_, peer)| peer.capabilities.is_some()) {
                true => TakeoverWinner::Higher,
                false => TakeoverWinner::Lower,
            }
        })
    }

    fn owned_by(&self, server: ServerId) -> Vec<Slot> {
        let mut slots = Vec::new();
        let mut from = Slot::FIRST;
        while let Some(slot) = self.handlespace.next_owned(server, from) {
            slots.push(slot);
            from = slot.next();
        }
        slots
    }
}
