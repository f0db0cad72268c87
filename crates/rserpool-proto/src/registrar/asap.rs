//! ASAP at the registrar: registration, deregistration, resolution, reports (RFC 5352 §3.1-§3.5).

use super::association::Association;
use super::quota::Party;
use super::supervision::Claim;
use super::{Action, AddressRule, CAPABILITIES, Event, Ignored, Registrar, RemovalReason};
use crate::handlespace::{Asker, Change, ChangeKind, Slot};
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::machine::{Locator, TransportKind};
use crate::planted::planted;
use crate::policy::{PolicyData, PolicyKind};
use crate::time::Instant;
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, HandleResolutionResponse, Message, ResolutionResponseBuilder};
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::pool_element::{PoolElement, PoolElementRef};
use crate::wire::tlv::Writer;
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Registrar {
    pub(super) fn on_asap(&mut self, now: Instant, assoc: AssociationId, message: Message) {
        match message.body {
            Body::Registration { handle, mut element, capabilities, stamp } => {
                self.note_capabilities(assoc, capabilities);
                if capabilities.is_some_and(Capabilities::counts_milliseconds) && element.life > 0 {
                    element.life = (element.life - 1) / 1000 + 1;
                }
                element.extensions.tcp_control |=
                    capabilities.is_some_and(Capabilities::offers_tcp_control);
                // Without one that counts it is newer than all that is known.
                let known = self.handlespace.newest_stamp(now, &handle, element.id);
                let stamp = stamp.filter(|stamp| known.is_none_or(|known| *stamp > known));
                element.extensions.stamp = element.extensions.stamp.or(stamp);
                self.on_registration(now, assoc, handle, element);
            }
            Body::Deregistration { handle, id, stamp } => {
                self.on_deregistration(now, assoc, handle, id, stamp);
            }
            Body::HandleResolution { subscribe, handle, items, capabilities } => {
                self.note_capabilities(assoc, capabilities);
                self.on_handle_resolution(now, assoc, &handle, items, subscribe);
            }
            Body::EndpointKeepAliveAck { handle, id } => {
                self.on_endpoint_keep_alive_ack(now, assoc, &handle, id);
            }
            Body::EndpointUnreachable { handle, id } => {
                self.on_endpoint_unreachable(now, assoc, &handle, id);
            }
            Body::Error { errors } => self.ignore(assoc, Ignored::Error(errors.into())),
            _ => self.ignore(assoc, Ignored::Unexpected),
        }
    }

    /// RFC 5352 §3.1.
    fn on_registration(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        mut element: Box<PoolElement>,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Register {
            handle: &handle,
            id: element.id,
            policy: element.policy.number,
            transport: &element.user_transport,
            from: &association.remote,
        };
        if !self.config.authority.permits(&association.identity, &action) {
            let cause = ErrorCause::SecurityConsiderations;
            return self.refuse_registration(assoc, handle, element.id, cause);
        }
        // Whoever has proved who it is owns it; nobody says that itself.
        element.extensions.owner = association.identity.owner();
        if !self.must_wait(now, assoc, &handle, &element) {
            self.let_in(now, assoc, handle, element);
        }
    }

    /// A registration does not have to wait, or not any more.
    pub(super) fn let_in(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        element: Box<PoolElement>,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        if self.is_leaving() && !self.holds(assoc, &handle, element.id) {
            // It finds another registrar sooner than if it were refused.
            if association.elements.is_empty() {
                return self.disconnect(now, assoc);
            }
            let cause = ErrorCause::LackOfResources;
            return self.refuse_registration(assoc, handle, element.id, cause);
        }
        // Whose it is: only the association that holds an element speaks for it.
        let standing = match self.standing(&handle, element.id, assoc) {
            _ if planted!("identifier-reused") => Claimant::Free,
            standing => standing,
        };
        match standing {
            Claimant::Free => self.register(now, assoc, handle, element),
            Claimant::Asks => self.claim(now, Claim::Registration { assoc, handle, element }),
            Claimant::Foreign => {
                self.on_trespass(now, assoc, &handle, element.id);
                let cause = ErrorCause::NonUniquePeId;
                self.refuse_registration(assoc, handle, element.id, cause);
            }
        }
    }

    /// Registers or renews an element for the association that may.
    pub(super) fn register(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        mut element: Box<PoolElement>,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let id = element.id;
        let ours = association.capabilities.is_some();
        let Some((life, lease)) = self.config.compat.lease(ours, element.life) else {
            let cause = ErrorCause::InvalidValues(parameter(|writer| element.encode(writer)));
            return self.refuse_registration(assoc, handle, id, cause);
        };
        if !self.may_register(association, &element.user_transport) {
            let cause = ErrorCause::InvalidValues(parameter(|w| element.user_transport.encode(w)));
            return self.refuse_registration(assoc, handle, id, cause);
        }
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        let most = self.config.limits.elements_per_owner;
        if !self.quotas.has_room(slot, Party::of(association), most) {
            return self.refuse_registration(assoc, handle, id, ErrorCause::LackOfResources);
        }
        let twice = planted!("life-in-wrong-unit") && ours;
        let lease = if twice { lease.map(|lease| lease * 2) } else { lease };
        let stamp = element.extensions.stamp;
        element.extensions.stamp = stamp.map(|stamp| self.in_order(assoc, &handle, id, stamp));
        // RFC 5352 §3.1 rule 4: the home registrar owns the element and notes where it came from.
        element.home = self.id;
        element.life = life;
        let (asap_transport, asap_over_tcp) = transports_of(&association.remote);
        element.asap_transport = Some(asap_transport);
        element.extensions.asap_over_tcp = asap_over_tcp;
        self.measure_distance(&handle, &mut element);
        match self.handlespace.register(now, &handle, *element, lease) {
            Ok(change) => {
                self.counters.registrations += 1;
                self.supervise(now, change.slot, assoc);
                self.respond_to_registration(assoc, handle, id, Vec::new());
                self.announce_registration(change);
            }
            Err(error) => self.refuse_registration(assoc, handle, id, error.cause()),
        }
    }

    /// Says of an element that does not say itself how far it is what its answers to keep-alives
    /// have shown, where its policy asks for that.
    fn measure_distance(&self, handle: &PoolHandle, element: &mut PoolElement) {
        if !element.policy.number.is_private() {
            return;
        }
        let kind = self.config.limits.handlespace.policies.by_number(element.policy.number);
        let Some(place) = kind.and_then(PolicyKind::distance_word) else { return };
        let slot = self.handlespace.slot(handle.as_bytes(), element.id);
        let round_trip = slot.and_then(|slot| self.round_trip_of(slot));
        if let PolicyData::Words { words, .. } = &mut element.policy.data
            && let (Some(word @ 0), Some(round_trip)) =
                (words.get_mut(usize::from(place)), round_trip)
        {
            *word = u32::try_from(round_trip.as_millis()).unwrap_or(u32::MAX);
        }
    }

    /// RFC 5352 §2.2.1: the registered addresses are some of the association's.
    fn may_register(&self, association: &Association, transport: &Transport) -> bool {
        let remote = &association.remote;
        self.config.compat.registered_addresses == AddressRule::Any
            || remote.transport != TransportKind::Sctp
            || transport.socket_addrs().all(|at| remote.addresses.as_slice().contains(&at.ip()))
    }

    fn announce_registration(&mut self, change: Change) {
        self.announce(&change);
        if change.kind == ChangeKind::Added {
            self.emit(Event::ElementRegistered { handle: change.handle, id: change.id });
        }
    }

    pub(super) fn refuse_registration(
        &mut self,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        cause: ErrorCause,
    ) {
        self.counters.registrations_refused += 1;
        self.respond_to_registration(assoc, handle.clone(), id, Vec::from([cause.clone()]));
        self.emit(Event::RegistrationRefused { handle, id, cause });
    }

    pub(super) fn respond_to_registration(
        &mut self,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        errors: Vec<ErrorCause>,
    ) {
        let capabilities = self.capabilities_towards(assoc);
        let rejected = !errors.is_empty();
        let body = Body::RegistrationResponse { rejected, handle, id, errors, capabilities };
        self.transmit_asap(assoc, body);
    }

    /// RFC 5352 §3.2.
    fn on_deregistration(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        stamp: Option<Stamp>,
    ) {
        self.wait_no_longer(assoc, &handle, id);
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Deregister { handle: &handle, id };
        if !self.config.authority.permits(&association.identity, &action) {
            return self.refuse_deregistration(assoc, handle, id);
        }
        match self.standing(&handle, id, assoc) {
            Claimant::Free => self.deregister(now, assoc, handle, id, stamp),
            Claimant::Asks => {
                self.claim(now, Claim::Deregistration { assoc, handle, id, stamp });
            }
            Claimant::Foreign => {
                self.on_trespass(now, assoc, &handle, id);
                self.refuse_deregistration(assoc, handle, id);
            }
        }
    }

    /// The stamp of what comes from `assoc`, raised if it would not be newer than what it replaces:
    /// the element's holder may have had its clock set back, and an association keeps order; and
    /// another association may bring the number that was given to a registration without one.
    fn in_order(&self, assoc: AssociationId, handle: &PoolHandle, id: PeId, stamp: Stamp) -> Stamp {
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        let known = slot.and_then(|slot| self.handlespace.element_at(slot)?.stamp());
        let is_holder = slot.is_some_and(|slot| self.holder_of(slot) == Some(assoc));
        match known {
            Some(known) if (is_holder && stamp < known) || (!is_holder && stamp == known) => {
                Stamp { seq: known.seq.saturating_add(1), moves: known.moves }
            }
            _ => stamp,
        }
    }

    /// Removes an element for the association that may. One that is not known is deregistered
    /// already (RFC 5352 §3.2).
    pub(super) fn deregister(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        stamp: Option<Stamp>,
    ) {
        let stamp = stamp.map(|stamp| self.in_order(assoc, &handle, id, stamp));
        if !planted!("deregistration-is-only-granted")
            && let Some(change) = self.handlespace.deregister(now, handle.as_bytes(), id, stamp)
        {
            let released = self.release(change.slot);
            self.announce_removal(change, RemovalReason::Deregistered);
            self.respond_to_deregistration(assoc, handle, id, Vec::new());
            self.grant_claims(now, released.claims);
            return;
        }
        self.respond_to_deregistration(assoc, handle, id, Vec::new());
    }

    pub(super) fn refuse_deregistration(
        &mut self,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
    ) {
        let errors = Vec::from([ErrorCause::SecurityConsiderations]);
        self.respond_to_deregistration(assoc, handle, id, errors);
        self.ignore(assoc, Ignored::NotPermitted);
    }

    pub(super) fn respond_to_deregistration(
        &mut self,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        errors: Vec<ErrorCause>,
    ) {
        self.transmit_asap(assoc, Body::DeregistrationResponse { handle, id, errors });
    }

    /// Tells an element unasked that it is no longer registered, if it can take that.
    pub(super) fn notify_removed(&mut self, assoc: AssociationId, handle: PoolHandle, id: PeId) {
        let association = self.associations.get(&assoc);
        if association.is_some_and(|association| association.capabilities.is_some()) {
            self.respond_to_deregistration(assoc, handle, id, Vec::new());
        }
    }

    /// Whether an element is at home with a peer that is spoken to: the life of what it has is for
    /// it to end, and it says so, or no longer counts it in its checksum.
    pub(super) fn is_vouched_for(&self, slot: Slot) -> bool {
        let home = self.handlespace.element_at(slot).map(|element| element.home());
        let peer = home.and_then(|home| self.peers.get(&home));
        peer.is_some_and(|peer| peer.assoc.is_some())
    }

    /// The registration life of an element has run out (RFC 5352 §3.2).
    pub(super) fn on_expired(&mut self, now: Instant, change: Change) {
        if change.home != self.id {
            // Its home says so itself.
            return;
        }
        let released = self.release(change.slot);
        if let Some(holder) = released.holder {
            self.notify_removed(holder, change.handle.clone(), change.id);
        }
        self.announce_removal(change, RemovalReason::Expired);
        self.grant_claims(now, released.claims);
    }

    /// RFC 5352 §3.3.
    fn on_handle_resolution(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        items: Option<u32>,
        subscribe: bool,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Resolve { handle };
        if !self.config.authority.permits(&association.identity, &action) {
            self.end_watch(assoc, handle);
            let (cause, capabilities) = (ErrorCause::SecurityConsiderations, CAPABILITIES);
            return self.refuse_resolution(assoc, handle, cause, false, capabilities);
        }
        if !subscribe {
            self.end_watch(assoc, handle);
        }
        let watched = subscribe && self.begin_watch(assoc, handle, items);
        self.answer(now, assoc, handle, items, watched, CAPABILITIES);
    }

    /// Says what a pool holds: to whoever asked, or watches it.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        items: Option<u32>,
        watched: bool,
        capabilities: Capabilities,
    ) {
        let ours = self.speaks_ours(assoc);
        let asker = self.associations.get(&assoc).map_or(Asker::UNCOUNTED, |known| known.asker);
        let items = items.unwrap_or(u32::MAX).clamp(1, self.config.limits.max_items);
        let items = usize::try_from(items).unwrap_or(usize::MAX);
        let Some(pool) =
            self.handlespace.resolve(now, handle.as_bytes(), items, asker, &mut self.selected)
        else {
            let cause = ErrorCause::UnknownPoolHandle;
            return self.refuse_resolution(assoc, handle, cause, watched, capabilities);
        };
        let total = u32::try_from(pool.len()).unwrap_or(u32::MAX);
        let policies = &self.config.limits.handlespace.policies;
        let policy = policies.overall(pool.policy_number());
        if self.selected.is_empty() {
            // The pool is there, but nobody in it can serve (RFC 5356 §3.2: weight 0).
            let cause = ErrorCause::LackOfResources;
            return self.refuse_resolution(assoc, handle, cause, watched, capabilities);
        }
        let room = ResolutionResponseBuilder::usual_len(handle, self.selected.len());
        let mut bytes = Vec::with_capacity(room);
        let mut response = ResolutionResponseBuilder::new(&mut bytes, handle, Some(&policy));
        for &slot in &self.selected {
            let Some(element) = self.handlespace.element_at(slot) else {
                continue;
            };
            // Users have no use for the way to the registrar, nor for what orders updates.
            let element = PoolElementRef {
                asap_transport: None,
                asap_over_tcp: None,
                stamp: None,
                ..self.config.compat.parts(element, ours)
            };
            if !response.push(element) {
                break;
            }
        }
        let total = ours.then_some(total);
        let encoded = response.finish(watched, total, ours.then_some(capabilities));
        self.counters.resolutions += u64::from(!capabilities.is_update());
        self.transmit(assoc, PPID_ASAP, encoded.map(|()| bytes));
    }

    pub(super) fn refuse_resolution(
        &mut self,
        assoc: AssociationId,
        handle: &PoolHandle,
        cause: ErrorCause,
        watched: bool,
        capabilities: Capabilities,
    ) {
        self.counters.resolutions_refused += u64::from(!capabilities.is_update());
        // RFC 5352 §2.2.5: after a negative answer there are no updates. Ours wait for the pool.
        let ours = self.speaks_ours(assoc);
        if watched && !ours {
            self.end_watch(assoc, handle);
        }
        let response = HandleResolutionResponse {
            subscribed: watched && ours,
            handle: handle.clone(),
            policy: None,
            elements: Vec::new(),
            errors: Vec::from([cause]),
            total: None,
            capabilities: ours.then_some(capabilities),
        };
        self.transmit_asap(assoc, Body::HandleResolutionResponse(Box::new(response)));
    }

    /// RFC 5352 §3.5, but for the counter: a report makes us look, it never removes by itself.
    fn on_endpoint_unreachable(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        id: PeId,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Report { handle, id };
        if !self.config.authority.permits(&association.identity, &action) {
            return self.ignore(assoc, Ignored::NotPermitted);
        }
        match self.handlespace.slot(handle.as_bytes(), id) {
            Some(slot) => self.on_report(now, assoc, slot),
            None => self.ignore(assoc, Ignored::UnknownElement),
        }
    }

    /// Whether an association speaks for an element of ours.
    fn holds(&self, assoc: AssociationId, handle: &PoolHandle, id: PeId) -> bool {
        let slot = self.handlespace.slot(handle.as_bytes(), id);
        slot.is_some_and(|slot| self.holder_of(slot) == Some(assoc))
    }

    /// How an association stands to an element: the one that holds it speaks for it, and so may
    /// one of its owner, in an open scope one from its address, when nobody holds it, be it new here
    /// or another registrar's.
    pub(super) fn standing(&self, handle: &PoolHandle, id: PeId, assoc: AssociationId) -> Claimant {
        let Some(slot) = self.handlespace.slot(handle.as_bytes(), id) else {
            return Claimant::Free;
        };
        match self.holder_of(slot) {
            Some(holder) if holder == assoc => Claimant::Free,
            _ if !self.is_owner(handle, id, assoc) => Claimant::Foreign,
            Some(_) => Claimant::Asks,
            None => Claimant::Free,
        }
    }

    /// Whether an element belongs to the other end of an association: to its identity in a secured
    /// scope, to the addresses it has registered in an open one.
    pub(super) fn is_owner(&self, handle: &PoolHandle, id: PeId, assoc: AssociationId) -> bool {
        let element = self.handlespace.element(handle.as_bytes(), id);
        let (Some(element), Some(association)) = (element, self.associations.get(&assoc)) else {
            return false;
        };
        if self.config.authority.is_secured() {
            let owner = association.identity.owner();
            return owner.is_some() && element.owner() == owner;
        }
        let remote = association.remote.addresses.as_slice();
        let asap = element.asap_transport().map_or(&[][..], |asap| asap.addresses.as_slice());
        let mut user = element.user_transport().socket_addrs().map(|user| user.ip());
        user.any(|user| remote.contains(&user)) || asap.iter().any(|asap| remote.contains(asap))
    }
}

/// How an association stands to an element.
pub(super) enum Claimant {
    /// It may do with it what it wants.
    Free,
    /// It may if the one that holds it is silent.
    Asks,
    /// It may not.
    Foreign,
}

/// How an element's end of its association is registered: RFC 5354 §3.10 wants SCTP, so a TCP
/// connection is written as SCTP of the same address, and named what it is in an extension.
fn transports_of(remote: &Locator) -> (SctpTransport, Option<core::net::SocketAddr>) {
    let sctp = SctpTransport {
        port: remote.port,
        transport_use: TransportUse::DataOnly,
        addresses: remote.addresses.clone(),
    };
    let tcp = (remote.transport == TransportKind::Tcp).then(|| remote.primary());
    (sctp, tcp)
}

/// An offending parameter of an error (RFC 5354 §3.12.4).
fn parameter(encode: impl FnOnce(&mut Writer<'_>)) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    encode(&mut writer);
    // It came in a message, so that it fits into one.
    match writer.finish() {
        Ok(()) => bytes.into(),
        Err(_) => Box::default(),
    }
}
