//! ENRP messages between registrars, and the table for readers that are none (RFC 5353 §2, §3).
//!
//! A reader asks with sending id 0: who a registrar is, whom it knows, and for its table until M is
//! clear; it never becomes a peer. The
//! position is kept per association, so that what is added or removed between two pieces neither
//! repeats nor hides what was there all the time.

use super::{Action, CAPABILITIES, Event, Ignored, Registrar};
use crate::handlespace::{Change, ChangeKind, Handlespace, RegistrationError, Slot, Update};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::capability::Stamp;
use crate::wire::enrp::{Body, Message, TableResponseBuilder, UpdateAction};
use crate::wire::operation_error::ErrorCause;
use crate::wire::pool_element::PoolElement;
use crate::wire::server_information::ServerInformation;
use crate::wire::transport::Transport;
use crate::wire::{self, PPID_ENRP};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Elements in one piece at most; with a few dozen bytes each, well below what a message holds.
const ELEMENTS_PER_PIECE: usize = 512;

impl Registrar {
    pub(super) fn on_enrp(&mut self, now: Instant, assoc: AssociationId, message: Message) {
        let Message { sender, body, .. } = message;
        if !sender.is_none() && !self.may_replicate(assoc) {
            return self.turn_away(now, assoc, sender);
        }
        if let Body::HandleTableRequest { own_only, capabilities } = body {
            self.note_capabilities(assoc, capabilities);
            let is_peer = !sender.is_none() && self.hear_peer(now, assoc, sender);
            return self.on_handle_table_request(assoc, sender, is_peer, own_only);
        }
        if let Body::Presence { capabilities, .. } = &body {
            self.note_capabilities(assoc, *capabilities);
        }
        if sender == self.id {
            let asks = matches!(body, Body::Presence { reply_required: true, .. });
            return self.on_own_id(now, assoc, asks);
        }
        if sender.is_none() {
            return self.on_reader(assoc, &body);
        }
        if !self.hear_peer(now, assoc, sender) {
            return;
        }
        match body {
            Body::Presence { reply_required, checksum, server, digest, .. } => {
                self.on_presence(now, assoc, sender, reply_required, server);
                self.compare(now, sender, checksum, digest);
            }
            Body::HandleTableResponse { more, rejected, entries } => {
                for entry in entries {
                    for element in entry.elements {
                        self.on_listed(now, assoc, sender, &entry.handle, element);
                    }
                }
                self.on_mentor_table(now, assoc, more, rejected);
                self.on_audit_table(now, assoc, sender, more, rejected);
            }
            Body::HandleUpdate { takeover_suggested, suspected, action, handle, element } => {
                match action {
                    UpdateAction::Add if takeover_suggested => {
                        self.on_handover(now, assoc, sender, &handle, *element, suspected);
                    }
                    UpdateAction::Add => self.on_add(now, assoc, sender, &handle, *element),
                    UpdateAction::Delete => self.on_delete(now, assoc, sender, &handle, &element),
                }
            }
            Body::ListRequest => self.on_list_request(assoc, sender),
            Body::ListResponse { rejected, servers } => {
                for server in &servers {
                    self.dial_listed(now, server);
                }
                self.on_mentor_list(now, assoc, rejected);
            }
            Body::InitTakeover { target } => self.on_init_takeover(now, sender, target),
            Body::InitTakeoverAck { target } => self.on_init_takeover_ack(now, sender, target),
            Body::TakeoverServer { target } => self.on_takeover_server(now, sender, target),
            Body::Error { errors } => self.ignore(assoc, Ignored::Error(errors.into())),
            Body::HandleTableRequest { .. } => {}
        }
    }

    /// Whether the other end of an association may be a registrar.
    pub(super) fn may_replicate(&self, assoc: AssociationId) -> bool {
        let identity = self.associations.get(&assoc).map(|known| &known.identity);
        identity.is_some_and(|known| self.config.authority.permits(known, &Action::Replicate))
    }

    /// Somebody says to be a registrar who has not proved it: it is told once, and nothing of what
    /// it says counts (RFC 5355 §2.5).
    fn turn_away(&mut self, now: Instant, assoc: AssociationId, sender: ServerId) {
        self.ignore(assoc, Ignored::NotPermitted);
        let errors = Vec::from([ErrorCause::SecurityConsiderations]);
        self.transmit_enrp(assoc, sender, Body::Error { errors });
        self.disconnect(now, assoc);
    }

    /// Somebody who is no registrar asks who we are, or whom we know.
    fn on_reader(&mut self, assoc: AssociationId, body: &Body) {
        let identity = self.associations.get(&assoc).map(|known| &known.identity);
        let may = |identity| self.config.authority.permits(identity, &Action::ReadTable);
        match body {
            _ if !identity.is_some_and(may) => self.ignore(assoc, Ignored::NotPermitted),
            Body::Presence { reply_required: true, .. } => {
                self.send_presence(assoc, ServerId::NONE, false);
            }
            Body::ListRequest => self.on_list_request(assoc, ServerId::NONE),
            _ => self.ignore(assoc, Ignored::Unexpected),
        }
    }

    /// Another registrar has our identifier. RFC 5353 §3.2.1 sees no harm; ours do: checksums are
    /// kept per identifier. Whoever is not in service yet draws a new one.
    fn on_own_id(&mut self, now: Instant, assoc: AssociationId, asks: bool) {
        self.ignore(assoc, Ignored::OwnServerId);
        if !self.is_serving() && !self.is_leaving() {
            self.draw_id();
            self.send_presence(assoc, ServerId::NONE, true);
            // What was asked in the old name is not answered.
            self.mentor_moved(assoc);
            self.on_mentor_candidate(now, assoc);
        } else if asks {
            self.send_presence(assoc, ServerId::NONE, false);
        }
    }

    /// RFC 5353 §3.4.
    fn on_presence(
        &mut self,
        _now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        reply_required: bool,
        server: Option<ServerInformation>,
    ) {
        if let (Some(peer), Some(server)) = (self.peers.get_mut(&sender), server) {
            peer.transport = Some(server.transport);
        }
        if reply_required {
            self.send_presence(assoc, sender, false);
        }
    }

    /// RFC 5353 §3.2.2.2, the mentor's side.
    fn on_list_request(&mut self, assoc: AssociationId, sender: ServerId) {
        let rejected = !matches!(self.service, super::mentor::Service::Ready);
        let ours = self.speaks_ours(assoc);
        let listed = |(id, peer): (&ServerId, &super::peers::Peer)| {
            let transport = peer.transport.clone()?;
            // A registrar that speaks TCP only is of no use to peers that speak SCTP only.
            let reachable = ours || matches!(transport, Transport::Sctp(_));
            (*id != sender && peer.assoc.is_some() && reachable).then(|| ServerInformation {
                id: *id,
                transport,
                unknown: [].into(),
            })
        };
        let servers = match rejected {
            true => Vec::new(),
            false => self.peers.iter().filter_map(listed).collect(),
        };
        self.transmit_enrp(assoc, sender, Body::ListResponse { rejected, servers });
    }

    /// RFC 5353 §3.2.3 and §3.6.3, the mentor's side.
    fn on_handle_table_request(
        &mut self,
        assoc: AssociationId,
        sender: ServerId,
        is_peer: bool,
        own_only: bool,
    ) {
        let Some(association) = self.associations.get_mut(&assoc) else {
            return;
        };
        let local = association.remote.addresses.as_slice().iter().all(|a| a.is_loopback());
        let after = association.table_cursor.take();
        let authority = &self.config.authority;
        let may_read = authority.permits(&association.identity, &Action::ReadTable);
        if !is_peer && !(may_read && (local || authority.is_secured())) {
            self.ignore(assoc, Ignored::NotPermitted);
            return self.reject_table(assoc, sender);
        }
        // A table that is still being read itself is no table to go by.
        if !matches!(self.service, super::mentor::Service::Ready) {
            return self.reject_table(assoc, sender);
        }
        let ours = self.speaks_ours(assoc);
        let owner = own_only.then_some(self.id);
        let mut bytes = Vec::new();
        let limit = wire::tlv::MAX_MESSAGE_LEN;
        let mut response = TableResponseBuilder::new(&mut bytes, self.id, sender, limit);
        let mut cursor = None;
        let mut more = false;
        let after = after.as_ref().map(|(handle, id)| (handle, *id));
        for (pool, _, element) in self.handlespace.table(after, owner) {
            let parts = self.config.compat.parts(element, ours);
            if response.elements() == ELEMENTS_PER_PIECE || !response.push(pool.handle(), parts) {
                more = true;
                break;
            }
            cursor = Some((pool, element.id()));
        }
        let cursor = cursor.filter(|_| more).map(|(pool, id)| (pool.handle().clone(), id));
        if let Some(association) = self.associations.get_mut(&assoc) {
            association.table_cursor = cursor;
        }
        let encoded = response.finish(more);
        self.transmit(assoc, PPID_ENRP, encoded.map(|()| bytes));
    }

    fn reject_table(&mut self, assoc: AssociationId, to: ServerId) {
        let body = Body::HandleTableResponse { more: false, rejected: true, entries: Vec::new() };
        self.transmit_enrp(assoc, to, body);
    }

    /// Tells all peers of a change made here (RFC 5353 §3.3).
    pub(super) fn announce(&mut self, change: &Change) {
        if change.home != self.id && change.kind != ChangeKind::Removed {
            return;
        }
        let peers = self.connected_peers();
        if peers.is_empty() {
            return;
        }
        let (action, element) = match &change.removed {
            Some(removed) => (UpdateAction::Delete, (**removed).clone()),
            None => match self.handlespace.element_at(change.slot) {
                Some(element) => (UpdateAction::Add, element.to_wire()),
                None => return,
            },
        };
        for (_, assoc, ours) in peers {
            let element = Box::new(self.config.compat.element(&element, ours));
            let handle = change.handle.clone();
            let body = Body::HandleUpdate {
                takeover_suggested: false,
                suspected: false,
                action,
                handle,
                element,
            };
            self.transmit_enrp(assoc, ServerId::NONE, body);
        }
    }

    /// RFC 5353 §3.3.1. A registrar speaks for its own elements only.
    fn on_add(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        element: PoolElement,
    ) {
        if element.home != sender {
            return self.ignore(assoc, Ignored::ForeignElement);
        }
        self.apply_add(now, assoc, sender, handle, element);
    }

    /// An entry of a table: of the sender's own elements in an audit, of everybody's from a mentor.
    fn on_listed(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        element: PoolElement,
    ) {
        if element.home == sender {
            self.apply(now, assoc, sender, handle, element, |space, element, lease| {
                space.apply_own(now, handle, element, lease)
            });
            return;
        }
        if matches!(self.service, super::mentor::Service::Ready) {
            return;
        }
        let (id, home) = (element.id, element.home);
        self.apply_add(now, assoc, sender, handle, element);
        // Ours from before a restart under the same identifier: they may come back, unless they have.
        if home == self.id
            && let Some(slot) = self.handlespace.slot(handle.as_bytes(), id)
            && !self.is_spoken_for(slot)
            && self.handlespace.element_at(slot).is_some_and(|known| known.home() == self.id)
        {
            self.adopt(now, slot, self.id);
        }
    }

    /// Whether what is added is known now as it was said.
    pub(super) fn apply_add(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        element: PoolElement,
    ) -> bool {
        self.apply(now, assoc, sender, handle, element, |space, element, lease| {
            space.apply_add(now, sender, handle, element, lease)
        })
    }

    fn apply(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        mut element: PoolElement,
        add: impl FnOnce(
            &mut Handlespace,
            PoolElement,
            Option<Duration>,
        ) -> Result<Update, RegistrationError>,
    ) -> bool {
        let ours = self.speaks_ours(assoc);
        let Some((life, lease)) = self.config.compat.lease(ours, element.life) else {
            self.ignore(assoc, Ignored::ForeignElement);
            return false;
        };
        if !self.is_of_its_owner(handle, &element) {
            if element.extensions.owner.is_some() {
                self.on_trespass(now, assoc, handle, element.id);
            }
            self.ignore(assoc, Ignored::ForeignElement);
            return false;
        }
        element.life = life;
        // It has been taken over from the living, who has its values.
        let stamp = element.extensions.stamp;
        if let Some(stamp) = stamp
            && let Some(slot) = self.unmoved(handle, element.id, stamp)
            && self.is_spoken_for(slot)
        {
            match self.may_claim_back(now, slot) {
                true => self.claim_back(now, sender, slot, stamp),
                false => self.call_back(now, slot, sender),
            }
            return false;
        }
        if stamp.is_none() && self.is_contested(now, sender, handle, element.id) {
            return false;
        }
        match add(&mut self.handlespace, element, lease) {
            Ok(Update::Applied(change)) => {
                self.compare_texts(&change);
                if change.previous_home == Some(self.id) && change.home != self.id {
                    // It has registered there, or was offered.
                    if self.is_offered(change.slot) {
                        self.count_given();
                    }
                    let holder = self.holder_of(change.slot);
                    self.let_go(now, change.slot);
                    self.on_handed_over(now, holder);
                }
                true
            }
            Ok(Update::Known(_)) => true,
            Ok(Update::Late) => false,
            Err(_) => {
                self.ignore(assoc, Ignored::NoRoom);
                false
            }
        }
    }

    /// Whether an element may be what another registrar says, for the sake of whom it belongs to: in
    /// a secured scope everything has an owner, and another one gets its identifier only when the
    /// home of what is known has gone.
    pub(super) fn is_of_its_owner(&self, handle: &PoolHandle, element: &PoolElement) -> bool {
        if !self.config.authority.is_secured() {
            return true;
        }
        let owner = element.extensions.owner;
        let slot = self.handlespace.slot(handle.as_bytes(), element.id);
        let known = slot.and_then(|slot| Some((slot, self.handlespace.element_at(slot)?)));
        owner.is_some()
            && known.is_none_or(|(slot, known)| {
                known.owner() == owner || !(self.is_spoken_for(slot) || self.is_vouched_for(slot))
            })
    }

    /// Says when another registrar orders the elements of a pool by another text.
    fn compare_texts(&mut self, change: &Change) {
        let added = change.kind == ChangeKind::Added;
        if added && let Some(theirs) = self.handlespace.other_text(change.slot) {
            let (handle, id, home) = (change.handle.clone(), change.id, change.home);
            self.emit(Event::OtherPolicyText { handle, id, home, theirs });
        }
    }

    /// An own element that another registrar has taken over, or ended, at `stamp` stays ours. The
    /// others are told so, unless that registrar has said such things too often lately: then they
    /// learn it from our table.
    fn claim_back(&mut self, now: Instant, from: ServerId, slot: Slot, stamp: Stamp) {
        if self.may_answer_claim(now, from)
            && let Some(change) = self.handlespace.outbid(slot, stamp)
        {
            self.announce(&change);
        }
    }

    /// A registrar without stamps says that an element of ours is its own. It may have come there,
    /// or be here: it is asked, and that registrar has it only if it does not answer.
    fn is_contested(
        &mut self,
        now: Instant,
        from: ServerId,
        handle: &PoolHandle,
        id: PeId,
    ) -> bool {
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        let slot = slot.filter(|&slot| self.is_spoken_for(slot));
        let Some(slot) = slot.filter(|_| !planted!("taken-from-the-living")) else {
            return false;
        };
        self.contest(now, slot, from);
        true
    }

    /// An element that another registrar says is its own has answered us.
    pub(super) fn on_contest_won(&mut self, now: Instant, slot: Slot, from: ServerId) {
        if let Some(stamp) = self.handlespace.element_at(slot).and_then(|known| known.stamp())
            && self.may_claim_back(now, slot)
        {
            self.claim_back(now, from, slot, stamp);
        }
    }

    /// RFC 5353 §3.3.2.
    fn on_delete(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        sender: ServerId,
        handle: &PoolHandle,
        element: &PoolElement,
    ) {
        if self.config.authority.is_secured() && element.home != sender {
            return;
        }
        if !self.is_of_its_owner(handle, element) {
            return self.on_trespass(now, assoc, handle, element.id);
        }
        let stamp = element.extensions.stamp;
        if let Some(stamp) = stamp
            && let Some(slot) = self.unmoved(handle, element.id, stamp)
            && (self.is_spoken_for(slot) || self.is_called_home(slot))
        {
            // It has been taken over from the living, and waited for in vain: it is here, or has been
            // asked to come here, and that it does not answer is for us to see.
            return self.claim_back(now, sender, slot, stamp);
        }
        let ended = stamp.map(|stamp| (stamp, element.home));
        if let Some(change) = self.handlespace.apply_delete(now, sender, handle, element.id, ended)
        {
            self.let_go(now, change.slot);
        }
    }

    /// An own element that nobody but a registrar has moved since the state that `stamp` stands for.
    fn unmoved(&self, handle: &PoolHandle, id: PeId, stamp: Stamp) -> Option<Slot> {
        let slot = self.handlespace.slot(handle.as_bytes(), id)?;
        let element = self.handlespace.element_at(slot)?;
        let known = element.stamp()?;
        let ours = element.home() == self.id && !planted!("taken-from-the-living");
        (ours && known.seq == stamp.seq && known <= stamp).then_some(slot)
    }

    pub(super) fn note_capabilities(
        &mut self,
        assoc: AssociationId,
        capabilities: Option<wire::capability::Capabilities>,
    ) {
        if let (Some(association), Some(_)) = (self.associations.get_mut(&assoc), capabilities) {
            association.capabilities = capabilities;
        }
    }

    /// Whether the other end of an association has shown our capabilities.
    pub(super) fn speaks_ours(&self, assoc: AssociationId) -> bool {
        self.associations.get(&assoc).is_some_and(|known| known.capabilities.is_some())
    }

    /// Strangers are shown what we can do only in answer to their showing it.
    pub(super) fn capabilities_towards(
        &self,
        assoc: AssociationId,
    ) -> Option<wire::capability::Capabilities> {
        self.speaks_ours(assoc).then_some(CAPABILITIES)
    }
}
