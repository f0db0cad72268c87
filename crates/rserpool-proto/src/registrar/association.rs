//! Associations: who is connected, what it owns, when it goes.

use super::quota::Party;
use super::rates::Spent;
use super::watch::Watching;
use super::{Event, Ignored, Registrar, RemovalReason, Timer};
use crate::handlespace::{Asker, Change, Slot};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, Identity, Locator, Output};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::capability::Capabilities;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;

/// What is known of the other end of an association.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) channel: Channel,
    pub(super) opened_by_us: bool,
    /// When it came up.
    pub(super) since: Instant,
    /// The registrar that speaks here, once it has.
    pub(super) peer: Option<ServerId>,
    /// The registrar that somebody here says it is, while that is asked where it has spoken before.
    pub(super) claims_to_be: Option<ServerId>,
    pub(super) local: Locator,
    pub(super) remote: Locator,
    pub(super) identity: Identity,
    /// Whose questions it asks.
    pub(super) asker: Asker,
    /// What it has shown; `None` for a peer that speaks the RFCs only.
    pub(super) capabilities: Option<Capabilities>,
    /// Own elements that were registered here last.
    pub(super) elements: BTreeSet<Slot>,
    /// The pools whose changes it is told; `None` if it has never asked for any.
    pub(super) watching: Option<Box<Watching>>,
    pub(super) last_heard: Instant,
    /// Last entry sent to a reader of the table that has not got all of it.
    pub(super) table_cursor: Option<(PoolHandle, PeId)>,
    /// Time that an answer to a keep-alive is waited for at least: doubled when one was missed, so
    /// that an element behind a slow link is given the time to answer once it has come back.
    pub(super) patience: Duration,
    /// How often it has asked; `None` until it does.
    pub(super) spent: Option<Box<Spent>>,
}

impl Association {
    pub(super) fn new(
        now: Instant,
        channel: Channel,
        opened_by_us: bool,
        local: Locator,
        remote: Locator,
        identity: Identity,
    ) -> Self {
        Self {
            channel,
            opened_by_us,
            since: now,
            peer: None,
            claims_to_be: None,
            local,
            remote,
            identity,
            asker: Asker::UNCOUNTED,
            capabilities: None,
            elements: BTreeSet::new(),
            watching: None,
            last_heard: now,
            table_cursor: None,
            patience: Duration::ZERO,
            spent: None,
        }
    }
}

impl Registrar {
    pub(super) fn on_connected(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        attempt: Option<AttemptId>,
        mut association: Association,
    ) {
        let channel = association.channel;
        // Elements and users are served by those who know what there is.
        let elsewhere = channel == Channel::Asap && attempt.is_none() && !self.is_serving();
        let has_left = self.leaving.as_ref().is_some_and(|leaving| leaving.has_left);
        let elsewhere = elsewhere || has_left;
        if elsewhere || self.associations.len() >= self.config.limits.associations {
            self.outputs.push_back(Output::Disconnect { assoc });
            if !elsewhere {
                self.ignore(assoc, Ignored::TooManyAssociations);
            }
            return;
        }
        association.asker = Party::of(&association).asker(&self.handlespace);
        self.associations.insert(assoc, association);
        self.timers.set(Timer::Idle(assoc), now + self.config.limits.idle_timeout);
        match (channel, attempt) {
            (Channel::Enrp, attempt) => self.on_enrp_connected(now, assoc, attempt),
            (Channel::Asap, Some(attempt)) => self.on_call_connected(now, assoc, attempt),
            (Channel::Asap, None) => {}
        }
    }

    pub(super) fn on_address_changed(&mut self, assoc: AssociationId, remote: Locator) {
        if let Some(association) = self.associations.get_mut(&assoc) {
            association.remote = remote;
        }
    }

    /// Its elements are lost at once, not after a timer: whoever leaves in order deregisters first.
    pub(super) fn on_closed(&mut self, now: Instant, assoc: AssociationId) {
        self.timers.cancel(Timer::Idle(assoc));
        let Some(mut association) = self.associations.remove(&assoc) else {
            return;
        };
        self.end_watches(assoc, &mut association);
        self.rates.leave(now, &mut association);
        for slot in association.elements {
            if planted!("lost-association-keeps-elements") {
                continue;
            }
            self.remove_element(now, slot, RemovalReason::AssociationLost);
        }
        if association.channel == Channel::Enrp {
            self.on_enrp_closed(now, assoc, association.peer, association.since);
        }
    }

    pub(super) fn on_idle(&mut self, now: Instant, assoc: AssociationId) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let idle_timeout = self.config.limits.idle_timeout;
        let idle_at = match self.time_to_speak(assoc) {
            Some(patience) => association.since + patience,
            None => association.last_heard + idle_timeout,
        };
        let owns = !association.elements.is_empty() && !planted!("idle-owner-closed");
        let watches = association.watching.as_ref().is_some_and(|watching| !watching.is_empty());
        if owns || watches || association.peer.is_some() {
            self.timers.set(Timer::Idle(assoc), now + idle_timeout);
        } else if now < idle_at {
            self.timers.set(Timer::Idle(assoc), idle_at);
        } else {
            self.ignore(assoc, Ignored::Idle);
            self.disconnect(now, assoc);
        }
    }

    /// Takes an own element out of the handlespace and tells the owner of this registrar.
    pub(super) fn remove_element(&mut self, now: Instant, slot: Slot, reason: RemovalReason) {
        let released = self.release(slot);
        let other = released.contested_by.filter(|other| self.peers.contains_key(other));
        if let Some(other) = other {
            // It is there, as that registrar has said; with what values, its table says.
            if let Some(change) = self.handlespace.relabel(slot, other) {
                self.note_removal(change, reason);
            }
            self.audit(now, other);
        } else if let Some(change) = self.handlespace.remove_at(now, slot) {
            self.announce_removal(change, reason);
        }
        self.grant_claims(now, released.claims);
    }

    pub(super) fn announce_removal(&mut self, change: Change, reason: RemovalReason) {
        self.announce(&change);
        self.note_removal(change, reason);
    }

    fn note_removal(&mut self, change: Change, reason: RemovalReason) {
        self.counters.removals += 1;
        self.emit(Event::ElementRemoved { handle: change.handle, id: change.id, reason });
    }
}
