//! ASAP at the registrar: registration, deregistration, resolution, reports (RFC 5352 §3.1-§3.5).

use super::supervision::Claim;
use super::{Action, Event, Ignored, LifeUnit, Registrar, RemovalReason};
use crate::handlespace::{Change, ChangeKind};
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::machine::{Locator, TransportKind};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, HandleResolutionResponse, Message, ResolutionResponseBuilder};
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::pool_element::{PoolElement, PoolElementRef};
use crate::wire::tlv::Writer;
use crate::wire::transport::{SctpTransport, TransportUse};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What this implementation shows of itself: no bit has a meaning yet, the parameter itself has.
const CAPABILITIES: Capabilities = Capabilities(0);

impl Registrar {
    pub(super) fn on_asap(&mut self, now: Instant, assoc: AssociationId, message: Message) {
        match message.body {
            Body::Registration { handle, element, capabilities } => {
                self.note_capabilities(assoc, capabilities);
                self.on_registration(now, assoc, handle, element);
            }
            Body::Deregistration { handle, id, stamp } => {
                self.on_deregistration(now, assoc, handle, id, stamp);
            }
            Body::HandleResolution { handle, items, capabilities, .. } => {
                self.note_capabilities(assoc, capabilities);
                self.on_handle_resolution(now, assoc, &handle, items);
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
        element: Box<PoolElement>,
    ) {
        if self.draining {
            return self.refuse_registration(
                assoc,
                handle,
                element.id,
                ErrorCause::LackOfResources,
            );
        }
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Register { handle: &handle, id: element.id };
        if !self.config.authority.permits(&association.identity, &action) {
            let cause = ErrorCause::SecurityConsiderations;
            return self.refuse_registration(assoc, handle, element.id, cause);
        }
        // Whose it is: only the association that holds an element speaks for it.
        if let Some(holder) = self.holder(&handle, element.id)
            && holder != assoc
        {
            if !self.is_registered_address(&handle, element.id, assoc) {
                let cause = ErrorCause::NonUniquePeId;
                return self.refuse_registration(assoc, handle, element.id, cause);
            }
            return self.claim(now, Claim::Registration { assoc, handle, element });
        }
        self.register(now, assoc, handle, element);
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
        let Some(lease) = self.lease(association.capabilities, element.life) else {
            let cause = ErrorCause::InvalidValues(parameter_bytes(&element));
            return self.refuse_registration(assoc, handle, id, cause);
        };
        // RFC 5352 §3.1 rule 4: the home registrar owns the element and notes where it came from.
        element.home = self.id;
        let (asap_transport, asap_over_tcp) = transports_of(&association.remote);
        element.asap_transport = Some(asap_transport);
        element.extensions.asap_over_tcp = asap_over_tcp;
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

    fn announce_registration(&mut self, change: Change) {
        if change.kind == ChangeKind::Added {
            self.emit(Event::ElementRegistered { handle: change.handle, id: change.id });
        }
    }

    /// The life a registration asks for, itself `None` for ever; `None` if it cannot be
    /// (RFC 5354 §3.10).
    fn lease(&self, capabilities: Option<Capabilities>, life: i32) -> Option<Option<Duration>> {
        let unit = match capabilities {
            Some(_) => LifeUnit::Seconds,
            None => self.config.compat.life_unit,
        };
        match life {
            -1 => Some(None),
            ..=0 => None,
            positive => Some(Some(unit.duration(positive.unsigned_abs()))),
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

    fn respond_to_registration(
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
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Deregister { handle: &handle, id };
        if !self.config.authority.permits(&association.identity, &action) {
            return self.refuse_deregistration(assoc, handle, id);
        }
        match self.holder(&handle, id) {
            Some(holder) if holder == assoc => self.deregister(now, assoc, handle, id, stamp),
            Some(_) if self.is_registered_address(&handle, id, assoc) => {
                self.claim(now, Claim::Deregistration { assoc, handle, id, stamp });
            }
            Some(_) => self.refuse_deregistration(assoc, handle, id),
            // RFC 5352 §3.2: an element that is not known is deregistered already.
            None => self.respond_to_deregistration(assoc, handle, id, Vec::new()),
        }
    }

    /// Removes an element for the association that may.
    pub(super) fn deregister(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: PoolHandle,
        id: PeId,
        stamp: Option<Stamp>,
    ) {
        if let Some(change) = self.handlespace.deregister(now, handle.as_bytes(), id, stamp) {
            let released = self.release(change.slot);
            self.announce_removal(change, RemovalReason::Deregistered);
            self.respond_to_deregistration(assoc, handle, id, Vec::new());
            if let Some((_, Some(claim))) = released {
                self.grant_claim(now, claim);
            }
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

    fn respond_to_deregistration(
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

    /// The registration life of an element has run out (RFC 5352 §3.2).
    pub(super) fn on_expired(&mut self, now: Instant, change: Change) {
        let released = self.release(change.slot);
        if let Some((holder, _)) = released {
            self.notify_removed(holder, change.handle.clone(), change.id);
        }
        self.announce_removal(change, RemovalReason::Expired);
        if let Some((_, Some(claim))) = released {
            self.grant_claim(now, claim);
        }
    }

    /// RFC 5352 §3.3.
    fn on_handle_resolution(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        items: Option<u32>,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let action = Action::Resolve { handle };
        if !self.config.authority.permits(&association.identity, &action) {
            return self.refuse_resolution(assoc, handle, ErrorCause::SecurityConsiderations);
        }
        let ours = association.capabilities.is_some();
        let items = items.unwrap_or(u32::MAX).clamp(1, self.config.limits.max_items);
        let items = usize::try_from(items).unwrap_or(usize::MAX);
        let Some(pool) =
            self.handlespace.resolve(now, handle.as_bytes(), items, &mut self.selected)
        else {
            return self.refuse_resolution(assoc, handle, ErrorCause::UnknownPoolHandle);
        };
        let total = u32::try_from(pool.len()).unwrap_or(u32::MAX);
        let policies = &self.config.limits.handlespace.policies;
        let policy = policies.overall(pool.policy_number());
        if self.selected.is_empty() {
            // The pool is there, but nobody in it can serve (RFC 5356 §3.2: weight 0).
            return self.refuse_resolution(assoc, handle, ErrorCause::LackOfResources);
        }
        let mut bytes = Vec::new();
        let mut response = ResolutionResponseBuilder::new(&mut bytes, handle, Some(&policy));
        for &slot in &self.selected {
            let Some(element) = self.handlespace.element_at(slot) else {
                continue;
            };
            // Users have no use for the way to the registrar, nor for what orders updates.
            let tcp_control = ours && element.tcp_control();
            let element = PoolElementRef {
                asap_transport: None,
                tcp_control,
                ..element.parts().without_extensions()
            };
            if !response.push(element) {
                break;
            }
        }
        let total = ours.then_some(total);
        let encoded = response.finish(false, total, ours.then_some(CAPABILITIES));
        self.counters.resolutions += 1;
        self.transmit(assoc, PPID_ASAP, encoded.map(|()| bytes));
    }

    fn refuse_resolution(&mut self, assoc: AssociationId, handle: &PoolHandle, cause: ErrorCause) {
        self.counters.resolutions_refused += 1;
        let response = HandleResolutionResponse {
            subscribed: false,
            handle: handle.clone(),
            policy: None,
            elements: Vec::new(),
            errors: Vec::from([cause]),
            total: None,
            capabilities: self.capabilities_towards(assoc),
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
        let limit = self.config.limits.reports_per_second;
        let Some(association) = self.associations.get_mut(&assoc) else {
            return;
        };
        if !association.count_report(now, limit) {
            return self.ignore(assoc, Ignored::TooManyReports);
        }
        let action = Action::Report { handle, id };
        if !self.config.authority.permits(&association.identity, &action) {
            return self.ignore(assoc, Ignored::NotPermitted);
        }
        match self.handlespace.slot(handle.as_bytes(), id) {
            Some(slot) => self.on_report(now, assoc, slot),
            None => self.ignore(assoc, Ignored::UnknownElement),
        }
    }

    fn note_capabilities(&mut self, assoc: AssociationId, capabilities: Option<Capabilities>) {
        if let (Some(association), Some(_)) = (self.associations.get_mut(&assoc), capabilities) {
            association.capabilities = capabilities;
        }
    }

    /// Strangers are shown what we can do only in answer to their showing it.
    fn capabilities_towards(&self, assoc: AssociationId) -> Option<Capabilities> {
        self.associations.get(&assoc)?.capabilities.map(|_| CAPABILITIES)
    }

    /// The association that speaks for an element of ours.
    fn holder(&self, handle: &PoolHandle, id: PeId) -> Option<AssociationId> {
        self.holder_of(self.handlespace.slot(handle.as_bytes(), id)?)
    }

    /// Whether an association comes from one of the addresses an element has registered.
    fn is_registered_address(&self, handle: &PoolHandle, id: PeId, assoc: AssociationId) -> bool {
        let element = self.handlespace.element(handle.as_bytes(), id);
        let (Some(element), Some(association)) = (element, self.associations.get(&assoc)) else {
            return false;
        };
        let remote = association.remote.addresses.as_slice();
        let asap = element.asap_transport().map_or(&[][..], |asap| asap.addresses.as_slice());
        let mut user = element.user_transport().socket_addrs().map(|user| user.ip());
        user.any(|user| remote.contains(&user)) || asap.iter().any(|asap| remote.contains(asap))
    }
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

/// An element as the offending parameter of an error (RFC 5354 §3.12.4).
fn parameter_bytes(element: &PoolElement) -> Box<[u8]> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    element.encode(&mut writer);
    // It came in a message, so that it fits into one.
    match writer.finish() {
        Ok(()) => bytes.into(),
        Err(_) => Box::default(),
    }
}
