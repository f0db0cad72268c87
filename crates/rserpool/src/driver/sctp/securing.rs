//! TLS over SCTP (RFC 3436): how the other end proves who it is, and what it says then.
//!
//! ```text
//!   up --> TLS on stream 0 of both directions --> the machine is told, with the identity
//!              | not in time, or not believed
//!              +--> TLS says why, and the association is ended; an attempt has failed
//! ```
//!
//! Nothing comes by another stream or out of order: that ends it.

use super::{Content, Home, Pending, Securing, association_of};
use crate::driver::connection;
use crate::driver::{Attempt, Driver, Hosted, LINGER};
use crate::proto::id::ServerId;
use crate::proto::machine::{Channel, CloseReason, Input, Locator, Machine, TransportKind};
use crate::proto::wire::operation_error::ErrorCause;
use crate::proto::wire::{PPID_ASAP, PPID_ENRP, asap, enrp};
use crate::tls::{self, Distrust, HANDSHAKE, Records, Tls};
use rserpool_sctp::Message;
use std::task::Context;
use tracing::{debug, warn};

impl<H: Hosted> Driver<H> {
    /// Begins to secure an association, as a client if it is for an attempt.
    pub(super) fn secure(&mut self, home: Home, channel: Channel, tls: &Tls, attempt: Option<u32>) {
        let begun = self.begin_tls(&home, channel, tls, attempt);
        let (records, remote) = match begun {
            Ok(begun) => begun,
            Err(reason) => {
                if let Home::Shared { endpoint, id } = home
                    && let Some(endpoint) = self.endpoint(endpoint)
                {
                    // If it is gone already that is as well.
                    let _ = endpoint.socket.abort(id, b"");
                }
                return self.on_securing_failed(attempt, reason);
            }
        };
        let until = Box::pin(tokio::time::sleep(HANDSHAKE));
        let tls = Some((records, Securing { until, attempt }));
        let pending = match home {
            Home::Shared { endpoint, id } => Some((endpoint, id)),
            Home::Own(_) => None,
        };
        let slot = self.insert_association(home, channel, remote, attempt.is_none(), tls);
        match (attempt, pending) {
            (Some(attempt), Some((endpoint, id))) => {
                let pending = Pending { endpoint, id, began: self.now, securing: Some(slot) };
                self.slots[attempt as usize].set_pending(pending);
            }
            _ => self.admit_handshake(slot),
        }
        self.queue_records(slot);
    }

    fn begin_tls(
        &self,
        home: &Home,
        channel: Channel,
        tls: &Tls,
        attempt: Option<u32>,
    ) -> Result<(Box<Records>, Locator), CloseReason> {
        let ends = self.ends(home).map_err(|error| connection::close_reason(&error));
        let (_, remote) = ends?;
        let content = attempt.and_then(|slot| self.slots.get(slot as usize));
        let records = match content.map(|place| &place.content) {
            // Where it was dialled, for it says itself where it is besides.
            Some(Content::Attempt(Attempt { to, .. })) => {
                Records::client(tls, to.primary(), self.side.dials(channel))
            }
            _ => Records::server(tls, self.side.accepts()),
        };
        match records {
            Ok(records) => Ok((Box::new(records), remote)),
            Err(error) => {
                debug!(%remote, %error, "cannot be secured");
                Err(CloseReason::Untrusted)
            }
        }
    }

    /// Queues what TLS itself has to send.
    pub(super) fn queue_records(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let ppid = ppid_of(association.channel);
        if let Some(record) = association.tls.as_mut().and_then(|records| records.outgoing()) {
            association.queue(ppid, record);
            self.list_sctp(slot);
        }
    }

    /// Whether it takes too long.
    pub(super) fn look_at_clock(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Content::Association(association) = &mut place.content else { return };
        let Some(securing) = association.securing.as_mut().filter(|_| !association.closing) else {
            return;
        };
        if securing.until.as_mut().poll(&mut Context::from_waker(&place.waker)).is_ready() {
            debug!(remote = %association.remote, "not secured in time");
            self.abort_sctp(slot);
            self.lose_sctp(slot, CloseReason::TimedOut);
        }
    }

    /// A user message of an association that is secured, or is about to be.
    pub(super) fn on_records(&mut self, slot: u32, message: &Message) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let Some(records) = &mut association.tls else { return };
        let (assoc, known) = (association.assoc, association.securing.is_none());
        if !known && association.accepted && !tls::is_tls(&message.data) {
            return self.turn_away(slot);
        }
        if message.stream != 0 || message.unordered {
            debug!(%assoc, stream = message.stream, "not on the stream that is secured");
            self.abort_sctp(slot);
            return self.lose_sctp(slot, CloseReason::Untrusted);
        }
        let taken = records.take(&message.data);
        let is_secured = !records.is_handshaking();
        self.queue_records(slot);
        match taken {
            Err(error) => return self.distrust(slot, &error),
            Ok(()) if !known && is_secured => self.on_secured(slot),
            Ok(()) => {}
        }
        self.settle();
        let mut messages = 0;
        loop {
            let association = association_of(&mut self.slots, slot);
            let alive = association.filter(|known| known.assoc == assoc && !known.closing);
            let Some(association) = alive else { break };
            let ppid = ppid_of(association.channel);
            let Some(records) = &mut association.tls else { break };
            match records.next_frame() {
                Ok(Some(bytes)) => {
                    messages += 1;
                    let input = Input::Received { assoc, ppid, bytes: &bytes };
                    self.host.machine().handle_input(self.now, input);
                    self.settle();
                }
                Ok(None) if records.is_ended() => {
                    self.shut_down_sctp(slot);
                    self.lose_sctp(slot, CloseReason::Finished);
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(%assoc, %error, "what came is not a message");
                    self.metrics.associations_malformed_total.add(1);
                    self.abort_sctp(slot);
                    self.lose_sctp(slot, CloseReason::Malformed);
                    break;
                }
            }
        }
        self.metrics.messages_received_total.add(messages);
    }

    /// TLS is there: the machine is told, if the other end is somebody it has to do with.
    fn on_secured(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let Some(records) = &association.tls else { return };
        let identity = match records.identity() {
            Ok(identity) => identity,
            Err(error) => return self.distrust(slot, &error),
        };
        let (assoc, channel) = (association.assoc, association.channel);
        if association.accepted && self.accepted >= self.limits.associations_of(channel) {
            self.metrics.associations_turned_away_total.add(1);
            self.abort_sctp(slot);
            drop(self.vacate(slot));
            return;
        }
        let Content::Association(association) = &self.slots[slot as usize].content else { return };
        let ends = match self.ends(&association.home) {
            Ok(ends) => ends,
            // Gone already.
            Err(error) => return self.lose_sctp(slot, connection::close_reason(&error)),
        };
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let attempt = association.securing.take().and_then(|securing| securing.attempt);
        association.remote = ends.1.clone();
        let asked = match attempt {
            None => {
                self.metrics.associations_accepted_total.add(1);
                None
            }
            Some(attempt) => {
                self.forget_pending(attempt);
                self.end_attempt(attempt, TransportKind::Sctp).map(|asked| asked.id)
            }
        };
        self.tell_connected(assoc, asked, channel, ends, identity);
        if channel == Channel::Enrp {
            self.peel_off(slot);
        }
    }

    /// Ends an association whose other end is not believed, or does not believe us, once TLS has said why.
    fn distrust(&mut self, slot: u32, error: &Distrust) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let (assoc, remote) = (association.assoc, association.remote.clone());
        debug!(%assoc, %remote, %error, "not trusted");
        if association.securing.as_ref().is_some_and(|securing| securing.attempt.is_some()) {
            // RFC 5352 §9.2: said aloud, and not connected to.
            warn!(to = %remote, %error, "who was connected to cannot be trusted, or does not trust us");
        }
        self.part(slot);
    }

    /// Somebody speaks without TLS, and is told so in words that it knows (RFC 5355 §2.15).
    fn turn_away(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        debug!(remote = %association.remote, "speaks without TLS");
        let errors = vec![ErrorCause::SecurityConsiderations];
        let mut bytes = Vec::new();
        let encoded = match association.channel {
            Channel::Asap => asap::Message::from(asap::Body::Error { errors }).encode(&mut bytes),
            Channel::Enrp => {
                let body = enrp::Body::Error { errors };
                enrp::Message::new(ServerId::NONE, ServerId::NONE, body).encode(&mut bytes)
            }
        };
        association.tls = None;
        if encoded.is_ok() {
            association.queue(ppid_of(association.channel), bytes);
            self.list_sctp(slot);
        }
        self.part(slot);
    }

    /// Closes an association once what is queued is sent; to the machine it is gone now.
    fn part(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let assoc = association.assoc;
        association.closing = true;
        if association.queue.is_empty() {
            self.shut_down_sctp(slot);
        }
        self.lingering.push_back((self.now + LINGER, assoc));
        let reason = CloseReason::Untrusted;
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        match &mut association.securing {
            None => self.pending.push_back(Input::Closed { assoc, reason }),
            Some(securing) => {
                let attempt = securing.attempt.take();
                self.on_securing_failed(attempt, reason);
            }
        }
    }

    /// An association is not going to be the machine's.
    pub(super) fn on_securing_failed(&mut self, attempt: Option<u32>, reason: CloseReason) {
        if attempt.is_none() || reason == CloseReason::Untrusted {
            self.metrics.associations_untrusted_total.add(1);
        }
        if let Some(attempt) = attempt {
            self.forget_pending(attempt);
            self.on_attempt_failed(attempt, reason);
        }
    }

    /// An attempt no longer waits for its association.
    fn forget_pending(&mut self, attempt: u32) {
        if let Some(place) = self.slots.get_mut(attempt as usize)
            && let Content::Attempt(attempt) = &mut place.content
        {
            attempt.sctp = None;
        }
    }
}

fn ppid_of(channel: Channel) -> u32 {
    match channel {
        Channel::Asap => PPID_ASAP,
        Channel::Enrp => PPID_ENRP,
    }
}
