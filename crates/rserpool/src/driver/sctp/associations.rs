//! How associations come, what is heard of them, and how they go.

use super::{Association, Content, Endpoint, Home, REFUSAL, Securing, association_of, endpoint_of};
use crate::driver::connection;
use crate::driver::traffic::Asked;
use crate::driver::{Driver, Hosted, LINGER, Turn};
use crate::proto::id::AssociationId;
use crate::proto::machine::{
    Channel, CloseReason, Identity, Input, Locator, Machine, TransportKind,
};
use crate::tls::Records;
use rserpool_sctp::{Event, PathChange};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tracing::{debug, info};

impl<H: Hosted> Driver<H> {
    pub(in crate::driver) fn poll_endpoint(&mut self, slot: u32) {
        if let Some(endpoint) = endpoint_of(&mut self.slots, slot) {
            endpoint.blocked = false;
        }
        self.flush_sctp(slot);
        self.settle();
        for event in 1..=Turn::EVENTS {
            let place = &self.slots[slot as usize];
            let Content::Endpoint(endpoint) = &place.content else { return };
            match endpoint.socket.poll_recv(&mut Context::from_waker(&place.waker)) {
                Poll::Pending => return,
                Poll::Ready(Ok(event)) => self.on_shared_event(slot, event),
                Poll::Ready(Err(error)) => {
                    debug!(%error, "cannot receive");
                    break;
                }
            }
            self.settle();
            if event % Turn::OWN_EVENTS == 0 && self.is_long() {
                break;
            }
        }
        self.listed.push_back(slot);
    }

    pub(in crate::driver) fn poll_association(&mut self, slot: u32) {
        if let Some(association) = association_of(&mut self.slots, slot) {
            association.blocked = false;
        }
        self.look_at_clock(slot);
        self.flush_sctp(slot);
        self.settle();
        let limit = self.limits.output / 4;
        for _ in 0..Turn::OWN_EVENTS {
            let place = &self.slots[slot as usize];
            let Content::Association(association) = &place.content else { return };
            let Home::Own(socket) = &association.home else { return };
            if association.is_held_back(limit) {
                // Flushing has asked to be woken when the socket takes more.
                return;
            }
            match socket.poll_recv(&mut Context::from_waker(&place.waker)) {
                Poll::Pending => return,
                Poll::Ready(Ok(event)) => self.on_event(slot, event),
                Poll::Ready(Err(error)) => {
                    debug!(%error, "cannot receive");
                    self.lose_sctp(slot, connection::close_reason(&error));
                }
            }
            self.settle();
        }
        self.listed.push_back(slot);
    }

    /// An event of a socket of many.
    fn on_shared_event(&mut self, endpoint: u32, event: Event) {
        let Some(id) = event.association() else { return };
        let Some(known) = endpoint_of(&mut self.slots, endpoint) else { return };
        let slot = known.known.get(&id).copied();
        let (channel, plain) = (known.channel, known.plain);
        match (slot, event) {
            (None, Event::Up { .. } | Event::Restarted { .. }) => {
                let home = Home::Shared { endpoint, id };
                // One without an end is gone already.
                let from = self.ends(&home).map(|(_, remote)| remote.primary().ip());
                let fits = from.is_ok_and(|from| self.has_room(channel, from));
                if fits && self.ending.is_none() {
                    return self.welcome(home, channel, plain);
                }
                debug!("too many associations");
                self.metrics.associations_turned_away_total.add(1);
                if let Some(known) = endpoint_of(&mut self.slots, endpoint) {
                    let _ = known.socket.abort(id, b"");
                }
            }
            (None, _) => {}
            (Some(slot), event) if self.is_attempt(slot) => {
                if !event.is_end() && !matches!(event, Event::Up { .. }) {
                    return;
                }
                let Content::Attempt(attempt) = &mut self.slots[slot as usize].content else {
                    return;
                };
                let pending = attempt.sctp.take();
                if let Some(known) = endpoint_of(&mut self.slots, endpoint) {
                    known.known.remove(&id);
                }
                if event.is_end() {
                    debug!(?event, "cannot connect over SCTP");
                    let refused = pending.is_some_and(|pending| self.now < pending.began + REFUSAL);
                    let reason = if refused { CloseReason::Refused } else { CloseReason::TimedOut };
                    self.on_attempt_failed(slot, reason);
                } else if let Some(tls) = self.tls.clone() {
                    self.secure(Home::Shared { endpoint, id }, channel, &tls, Some(slot));
                } else if let Some(asked) = self.end_attempt(slot, TransportKind::Sctp) {
                    self.add_association(Home::Shared { endpoint, id }, channel, Some(asked));
                }
            }
            (Some(slot), event) => self.on_event(slot, event),
        }
    }

    /// An event of an association that the machine knows or knew.
    fn on_event(&mut self, slot: u32, event: Event) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let (assoc, closing) = (association.assoc, association.closing);
        let known = association.is_known();
        match event {
            Event::Message(message) if !closing => {
                association.unanswered = 0;
                self.metrics.bytes_received_total.add(message.data.len() as u64);
                if association.tls.is_some() {
                    return self.on_records(slot, &message);
                }
                self.metrics.messages_received_total.add(1);
                let input = Input::Received { assoc, ppid: message.ppid, bytes: &message.data };
                self.host.machine().handle_input(self.now, input);
            }
            Event::Oversized { length, .. } => {
                debug!(%assoc, length, "message too long");
                self.metrics.messages_oversized_total.add(1);
            }
            Event::Restarted { .. } => self.restart(slot),
            Event::Lost { cause, .. } => {
                debug!(%assoc, cause, "association lost");
                self.lose_sctp(slot, CloseReason::Lost);
            }
            // The peer takes nothing any more, either.
            Event::PeerShutdown { .. } | Event::Closed { .. } => {
                self.lose_sctp(slot, CloseReason::Finished);
            }
            Event::Path { address, change, .. } => self.on_path(slot, address, change),
            Event::SendFailed { .. } if known && !closing => {
                self.pending.push_back(Input::SendFailed { assoc });
            }
            _ => {}
        }
    }

    /// Whether a path works is told to nobody but the log as long as one does.
    fn on_path(&mut self, slot: u32, address: SocketAddr, change: PathChange) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let (assoc, accepted) = (association.assoc, association.accepted);
        let ip = address.ip();
        match change {
            PathChange::Unreachable => self.metrics.paths_lost_total.add(1),
            PathChange::Available => self.metrics.paths_restored_total.add(1),
            PathChange::Added | PathChange::Removed => self.update_remote(slot),
            _ => {}
        }
        // Others can make as many of these as they like.
        if accepted {
            debug!(%assoc, address = %ip, ?change, "path changed");
        } else {
            info!(%assoc, address = %ip, ?change, "path changed");
        }
    }

    fn update_remote(&mut self, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else { return };
        let Content::Association(association) = &place.content else { return };
        let Ok((_, remote)) = self.ends(&association.home) else { return };
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        if association.remote != remote {
            association.remote = remote.clone();
            if association.is_known() {
                let assoc = association.assoc;
                self.pending.push_back(Input::AddressChanged { assoc, remote });
            }
        }
    }

    /// An association that somebody has opened is up.
    fn welcome(&mut self, home: Home, channel: Channel, plain: bool) {
        match self.tls.clone().filter(|_| !plain) {
            Some(tls) => self.secure(home, channel, &tls, None),
            None => {
                self.metrics.associations_accepted_total.add(1);
                self.add_association(home, channel, None);
            }
        }
    }

    fn add_association(&mut self, home: Home, channel: Channel, asked: Option<Asked>) {
        let attempt = asked.as_ref().map(|asked| asked.id);
        let (local, remote) = match self.ends(&home) {
            Ok(ends) => ends,
            // Gone already.
            Err(error) => {
                if let Some(attempt) = attempt {
                    let reason = connection::close_reason(&error);
                    self.pending.push_back(Input::ConnectFailed { attempt, reason });
                }
                return;
            }
        };
        let accepted = attempt.is_none();
        let slot = self.insert_association(home, channel, remote.clone(), accepted, None);
        let assoc = self.name(slot);
        self.tell_connected(assoc, attempt, channel, (local, remote), Identity::Anonymous);
        if channel == Channel::Enrp {
            self.peel_off(slot);
        }
    }

    /// Gives an association a slot.
    pub(super) fn insert_association(
        &mut self,
        home: Home,
        channel: Channel,
        remote: Locator,
        accepted: bool,
        tls: Option<(Box<Records>, Securing)>,
    ) -> u32 {
        let slot = self.slot();
        if let Home::Shared { endpoint, id } = home
            && let Some(endpoint) = endpoint_of(&mut self.slots, endpoint)
        {
            endpoint.known.insert(id, slot);
        }
        if accepted {
            self.note_visitor(slot, remote.primary().ip());
        }
        let (tls, securing) = tls.unzip();
        let association = Association {
            assoc: self.name(slot),
            accepted,
            closing: false,
            channel,
            remote,
            home,
            tls,
            securing,
            queue: VecDeque::new(),
            queued: 0,
            dirty: false,
            blocked: false,
            sent: 0,
            unchecked: 0,
            unanswered: 0,
        };
        self.fill(slot, Content::Association(Box::new(association)));
        slot
    }

    /// The other end has begun anew: to the machine the old association is gone, and another is there.
    fn restart(&mut self, slot: u32) {
        self.metrics.associations_restarted_total.add(1);
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        debug!(assoc = %association.assoc, "restarted by the other end");
        if !association.is_known() {
            self.abort_sctp(slot);
            return self.lose_sctp(slot, CloseReason::Lost);
        }
        let Content::Association(association) = self.vacate(slot) else { return };
        if !association.closing {
            let (assoc, reason) = (association.assoc, CloseReason::Lost);
            self.pending.push_back(Input::Closed { assoc, reason });
        }
        let plain = association.tls.is_none();
        self.welcome(association.home, association.channel, plain);
    }

    /// Closes an association for a reason that the machine has to hear of; it is told later.
    pub(super) fn lose_sctp(&mut self, slot: u32, reason: CloseReason) {
        let Content::Association(association) = self.vacate(slot) else { return };
        if association.closing {
            return;
        }
        match association.securing {
            Some(securing) => self.on_securing_failed(securing.attempt, reason),
            None => {
                let assoc = association.assoc;
                debug!(%assoc, ?reason, "disconnected");
                self.pending.push_back(Input::Closed { assoc, reason });
            }
        }
    }

    /// Ends an association without regard to what is under way; the slot stays.
    pub(in crate::driver) fn abort_sctp(&mut self, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else { return };
        let Content::Association(association) = &place.content else { return };
        // If it is gone already that is as well.
        let _ = match &association.home {
            Home::Own(socket) => socket.abort(b""),
            Home::Shared { endpoint, id } => match self.endpoint(*endpoint) {
                Some(endpoint) => endpoint.socket.abort(*id, b""),
                None => Ok(()),
            },
        };
    }

    /// Begins to end an association in order.
    pub(super) fn shut_down_sctp(&mut self, slot: u32) {
        let Some(place) = self.slots.get(slot as usize) else { return };
        let Content::Association(association) = &place.content else { return };
        let _ = match &association.home {
            Home::Own(socket) => socket.shutdown(),
            Home::Shared { endpoint, id } => match self.endpoint(*endpoint) {
                Some(endpoint) => endpoint.socket.shutdown(*id),
                None => Ok(()),
            },
        };
    }

    pub(super) fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        match &self.slots.get(slot as usize)?.content {
            Content::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    /// Closes an association that the machine has given up, once its messages are sent.
    pub(in crate::driver) fn finish_sctp(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        association.closing = true;
        let assoc = association.assoc;
        if let Some(records) = &mut association.tls {
            records.close();
        }
        self.queue_records(slot);
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        if association.queue.is_empty() {
            self.shut_down_sctp(slot);
        }
        self.lingering.push_back((self.now + LINGER, assoc));
    }

    pub(in crate::driver) fn end_lingering_sctp(&mut self, slot: u32, assoc: AssociationId) {
        if association_of(&mut self.slots, slot).is_some_and(|known| known.assoc == assoc) {
            self.abort_sctp(slot);
            drop(self.vacate(slot));
        }
    }
}
