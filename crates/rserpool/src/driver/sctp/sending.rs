//! Sending: queues, batches, and peers that do not read.

use super::{Association, Content, Home, association_of, endpoint_of};
use crate::driver::{Driver, Hosted};
use crate::proto::machine::{Channel, CloseReason};
use rserpool_sctp::{AssociationId, Outgoing, SendInfo, Status};
use std::io;
use std::task::{Context, Poll};
use tracing::debug;

/// Messages of a batch: what one system call takes.
const BATCH: usize = 16;

/// Messages sent to an association after which the kernel is asked how many have arrived, and number
/// of those under way above which it gets a socket of its own.
const MANY: u16 = 64;

/// A peer whose window is smaller than this does not read: no window begins below it, and a message
/// that is longer waits.
const SMALL_WINDOW: u32 = 1500;

/// Associations that are peeled off at a time because their socket is full.
const PEELED_AT_ONCE: usize = 16;

impl Association {
    /// As of a connection: see there.
    pub(super) fn is_held_back(&self, limit: usize) -> bool {
        self.accepted && self.channel == Channel::Asap && self.queued > limit && !self.closing
    }

    /// Queues a user message.
    pub(super) fn queue(&mut self, ppid: u32, bytes: Vec<u8>) {
        self.queued += bytes.len();
        self.queue.push_back((ppid, bytes));
    }

    /// Queues a message of the protocol, sealed if that is to be.
    fn queue_message(&mut self, ppid: u32, bytes: Vec<u8>) {
        match self.tls.take() {
            None => self.queue(ppid, bytes),
            Some(mut records) => {
                records.seal(bytes, |record| self.queue(ppid, record));
                self.tls = Some(records);
            }
        }
    }

    /// Messages for a batch of at most `room`.
    fn outgoing(&self, id: AssociationId, room: usize) -> impl Iterator<Item = Outgoing<'_>> {
        self.queue.iter().take(room).map(move |(ppid, data)| Outgoing {
            association: id,
            info: SendInfo::ppid(*ppid),
            data,
        })
    }

    /// The kernel has taken the first message; gives its length.
    fn on_sent(&mut self) -> usize {
        let length = self.queue.pop_front().map_or(0, |(_, data)| data.len());
        self.queued -= length;
        self.sent += 1;
        self.unchecked = self.unchecked.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        length
    }
}

impl<H: Hosted> Driver<H> {
    pub(in crate::driver) fn transmit_sctp(&mut self, slot: u32, ppid: u32, bytes: Vec<u8>) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        association.queue_message(ppid, bytes);
        let queued = association.queued;
        let Some(target) = self.list_sctp(slot) else { return };
        let limit = self.limits.output;
        if queued > limit / 4 {
            self.flush_sctp(target);
        }
        if association_of(&mut self.slots, slot).is_some_and(|known| known.queued > limit) {
            self.metrics.associations_stuck_total.add(1);
            self.abort_sctp(slot);
            self.lose_sctp(slot, CloseReason::OverLimit);
        }
    }

    /// Has what an association has queued sent with this turn; gives the slot of its socket.
    pub(super) fn list_sctp(&mut self, slot: u32) -> Option<u32> {
        let association = association_of(&mut self.slots, slot)?;
        let first = !std::mem::replace(&mut association.dirty, true);
        let target = match association.home {
            Home::Own(_) => slot,
            Home::Shared { endpoint, .. } => endpoint,
        };
        if first {
            let listed = match endpoint_of(&mut self.slots, target) {
                None => false,
                Some(endpoint) => {
                    endpoint.waiting.push_back(slot);
                    std::mem::replace(&mut endpoint.dirty, true)
                }
            };
            if !listed {
                self.dirty.push(target);
            }
        }
        Some(target)
    }

    /// Sends what the socket takes: an endpoint's, or an association's own. Does nothing with others.
    pub(in crate::driver) fn flush_sctp(&mut self, slot: u32) {
        match self.slots.get(slot as usize).map(|place| &place.content) {
            Some(Content::Endpoint(_)) => self.flush_endpoint(slot),
            Some(Content::Association(_)) => self.flush_association(slot),
            _ => {}
        }
    }

    fn flush_endpoint(&mut self, slot: u32) {
        if let Some(endpoint) = endpoint_of(&mut self.slots, slot) {
            endpoint.dirty = false;
        }
        loop {
            let place = &self.slots[slot as usize];
            let Content::Endpoint(endpoint) = &place.content else { return };
            if endpoint.blocked {
                return;
            }
            let mut batch = Vec::with_capacity(BATCH);
            let mut owners = [0; BATCH];
            for waiting in &endpoint.waiting {
                let content = &self.slots[*waiting as usize].content;
                let Content::Association(association) = content else { continue };
                let Home::Shared { id, .. } = association.home else { continue };
                for message in association.outgoing(id, BATCH - batch.len()) {
                    if let Some(owner) = owners.get_mut(batch.len()) {
                        *owner = *waiting;
                    }
                    batch.push(message);
                }
                if batch.len() == BATCH {
                    break;
                }
            }
            let Some(&first) = owners.first().filter(|_| !batch.is_empty()) else { return };
            let mut context = Context::from_waker(&place.waker);
            match endpoint.socket.poll_send_many(&mut context, &batch) {
                Poll::Ready(Ok(sent)) => {
                    for owner in owners.into_iter().take(sent) {
                        self.on_sent(owner);
                    }
                }
                Poll::Ready(Err(error)) => self.on_send_error(first, &error),
                Poll::Pending => {
                    if let Some(endpoint) = endpoint_of(&mut self.slots, slot) {
                        endpoint.blocked = true;
                    }
                    self.relieve(slot);
                }
            }
        }
    }

    fn flush_association(&mut self, slot: u32) {
        loop {
            let place = &self.slots[slot as usize];
            let Content::Association(association) = &place.content else { return };
            let Home::Own(socket) = &association.home else { return };
            if association.blocked || association.queue.is_empty() {
                break;
            }
            let batch: Vec<_> = association.outgoing(socket.id(), BATCH).collect();
            let mut context = Context::from_waker(&place.waker);
            match socket.poll_send_many(&mut context, &batch) {
                Poll::Ready(Ok(sent)) => (0..sent).for_each(|_| self.on_sent(slot)),
                Poll::Ready(Err(error)) => self.on_send_error(slot, &error),
                Poll::Pending => self.on_blocked(slot),
            }
        }
        if let Some(association) = association_of(&mut self.slots, slot) {
            association.dirty = false;
        }
    }

    fn on_sent(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        let length = association.on_sent();
        self.metrics.bytes_sent_total.add(length as u64);
        let (unchecked, empty) = (association.unchecked, association.queue.is_empty());
        let Home::Shared { endpoint, id } = association.home else {
            return self.close_if_sent(slot);
        };
        if empty {
            association.dirty = false;
            if let Some(endpoint) = endpoint_of(&mut self.slots, endpoint) {
                // Messages are sent in the order of this list.
                if endpoint.waiting.front() == Some(&slot) {
                    endpoint.waiting.pop_front();
                } else {
                    endpoint.waiting.retain(|waiting| *waiting != slot);
                }
            }
            self.close_if_sent(slot);
        }
        if unchecked >= u32::from(MANY)
            && let Some(status) = self.endpoint(endpoint).and_then(|e| e.socket.status(id).ok())
        {
            if let Some(association) = association_of(&mut self.slots, slot) {
                association.unchecked = 0;
            }
            if is_slow(&status) {
                self.peel_off(slot);
            }
        }
    }

    fn close_if_sent(&mut self, slot: u32) {
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        if association.closing && association.queue.is_empty() {
            self.shut_down_sctp(slot);
        }
    }

    /// About the first message of an association.
    fn on_send_error(&mut self, slot: u32, error: &io::Error) {
        debug!(%error, "cannot send");
        // That it is gone is what an event will say as well.
        self.abort_sctp(slot);
        self.lose_sctp(slot, CloseReason::Lost);
    }

    /// The socket of many is full: those that have most under way are given sockets of their own,
    /// and take what they have in the buffer with them.
    fn relieve(&mut self, endpoint: u32) {
        let Some(shared) = self.endpoint(endpoint) else { return };
        let mut slow: Vec<(u32, u32)> = Vec::new();
        for (id, slot) in &shared.known {
            let content = self.slots.get(*slot as usize).map(|place| &place.content);
            let Some(Content::Association(association)) = content else { continue };
            if association.unchecked == 0 && association.unanswered == 0 {
                continue;
            }
            match shared.socket.status(*id) {
                Ok(status) if is_slow(&status) => slow.push((u32::MAX, *slot)),
                // One that is not heard of has acknowledged nothing, either.
                Ok(status) => {
                    let under_way = association.unanswered.max(status.unacknowledged.into());
                    slow.push((under_way, *slot));
                }
                Err(_) => {}
            }
        }
        slow.sort_unstable_by(|a, b| b.cmp(a));
        for (_, slot) in slow.into_iter().take(PEELED_AT_ONCE) {
            if self.peel_off(slot)
                && let Some(endpoint) = endpoint_of(&mut self.slots, endpoint)
            {
                endpoint.blocked = false;
            }
        }
    }

    /// Gives an association a socket of its own, if the system has one; tells whether it did.
    pub(super) fn peel_off(&mut self, slot: u32) -> bool {
        let Some(association) = association_of(&mut self.slots, slot) else { return false };
        let (assoc, dirty) = (association.assoc, association.dirty);
        let Home::Shared { endpoint, id } = association.home else { return false };
        let Some(shared) = endpoint_of(&mut self.slots, endpoint) else { return false };
        let own = match shared.socket.peel_off(id) {
            Ok(own) => own,
            // Gone, or no descriptor is left.
            Err(error) => {
                debug!(%assoc, %error, "cannot peel off");
                return false;
            }
        };
        debug!(%assoc, "peeled off");
        shared.known.remove(&id);
        shared.waiting.retain(|waiting| *waiting != slot);
        self.metrics.associations_peeled_off_total.add(1);
        if let Some(association) = association_of(&mut self.slots, slot) {
            association.home = Home::Own(Box::new(own));
        }
        if dirty {
            self.dirty.push(slot);
        }
        self.slots[slot as usize].signal.raise();
        true
    }

    fn on_blocked(&mut self, slot: u32) {
        let until = self.now + self.limits.user_timeout;
        let Some(association) = association_of(&mut self.slots, slot) else { return };
        association.blocked = true;
        let assoc = association.assoc;
        if self.stuck.iter().all(|(_, known, _)| *known != assoc) {
            self.stuck.push_back((until, assoc, association.sent));
        }
    }

    /// Ends associations that have taken nothing for too long.
    pub(in crate::driver) fn end_stuck(&mut self) {
        while let Some((until, assoc, sent)) = self.stuck.front().copied()
            && until <= self.now
        {
            self.stuck.pop_front();
            let slot = assoc.0 as u32;
            let Some(association) = association_of(&mut self.slots, slot) else { continue };
            if association.assoc != assoc || !association.blocked {
                continue;
            }
            if association.sent > sent {
                let again = self.now + self.limits.user_timeout;
                self.stuck.push_back((again, assoc, association.sent));
            } else {
                debug!(%assoc, "takes nothing");
                self.metrics.associations_stuck_total.add(1);
                self.abort_sctp(slot);
                self.lose_sctp(slot, CloseReason::OverLimit);
            }
        }
        self.settle();
    }
}

/// Whether a peer takes more room in the buffer than is good for the others.
fn is_slow(status: &Status) -> bool {
    status.unacknowledged > MANY || status.peer_window < SMALL_WINDOW
}
