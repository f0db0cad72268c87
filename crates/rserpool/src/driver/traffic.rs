//! What a driver does with its sockets: accept, connect, read, write and close.

use super::connection::{self, Connection, Content, Handshake, Opening, Slot};
use super::ready::Signal;
use super::stream::Stream;
use super::{
    ACCEPT_PAUSE, Attempt, Driver, HEAD_START, Hosted, LINGER, MEMORIES, MEMORY, Turn, socket,
};
use crate::proto::id::AssociationId;
use crate::proto::machine::{
    AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, TransportKind,
};
use crate::proto::wire::framer::frame_len;
use crate::proto::wire::{PPID_ASAP, PPID_ENRP};
use crate::tls;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll, Waker};
use tracing::{debug, trace, warn};

/// What became of bytes given to the machine.
enum Fed {
    /// That many were messages and are done.
    Some(usize),
    /// That many are done; the connection is held back, or has had its turn.
    HeldBack(usize),
    /// The connection is no longer the machine's.
    Gone,
}

impl<H: Hosted> Driver<H> {
    pub(super) fn transmit(&mut self, assoc: AssociationId, ppid: u32, bytes: Vec<u8>) {
        // If it is gone the machine has been told or is about to be.
        let Some(slot) = self.slot_of(assoc) else { return };
        self.metrics.messages_sent_total.add(1);
        let limit = self.limits.output;
        let Some(connection) = connection_of(&mut self.slots, slot) else {
            return self.transmit_sctp(slot, ppid, bytes);
        };
        connection.queue(&bytes, &mut self.spare);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
        if connection.queued() > limit / 4 && connection.can_flush() {
            self.flush(slot);
        }
        let Some(connection) = connection_of(&mut self.slots, slot) else { return };
        if connection.queued() > limit {
            self.metrics.associations_stuck_total.add(1);
            self.lose(slot, CloseReason::OverLimit);
        }
    }

    pub(super) fn connect(&mut self, id: AttemptId, channel: Channel, to: Locator) {
        if self.ending.is_some() {
            return;
        }
        trace!(%to, "connecting");
        let (first, second) = match (to.transport, self.reached.get(&to.primary())) {
            (TransportKind::Auto, Some((TransportKind::Tcp, until))) if *until > self.now => {
                (TransportKind::Tcp, Some(TransportKind::Sctp))
            }
            (TransportKind::Auto, _) => (TransportKind::Sctp, Some(TransportKind::Tcp)),
            (only, _) => (only, None),
        };
        let next = second.map(|second| (self.now + HEAD_START, second));
        let slot = self.slot();
        self.attempts.insert(id, slot);
        let attempt = Attempt { id, channel, to, tcp: None, sctp: None, next };
        self.fill(slot, Content::Attempt(attempt));
        self.begin(slot, first);
    }

    /// Tries a transport, besides the one that may be under way.
    fn begin(&mut self, slot: u32, transport: TransportKind) {
        let Content::Attempt(attempt) = &mut self.slots[slot as usize].content else { return };
        if transport == TransportKind::Sctp {
            let (channel, to) = (attempt.channel, attempt.to.clone());
            match self.connect_sctp(slot, channel, &to) {
                Ok(pending) => self.slots[slot as usize].set_pending(pending),
                Err(error) => {
                    debug!(%to, %error, "cannot connect over SCTP");
                    self.on_attempt_failed(slot, connection::close_reason(&error));
                }
            }
        } else {
            let to = attempt.to.primary();
            let connecting = socket::connect(to, self.limits.user_timeout);
            attempt.tcp = Some(match self.tls.clone() {
                None => Box::pin(async move { connecting.await.map(Stream::Plain) }),
                Some(tls) => Box::pin(async move {
                    let stream = tls.connect(connecting.await?, to).await?;
                    Ok(Stream::Secured(Box::new(stream)))
                }),
            });
            self.slots[slot as usize].signal.raise();
        }
    }

    /// Tries the second transport of attempts whose first one takes its time.
    pub(super) fn try_further(&mut self) {
        let slots = &self.slots;
        let due = self.attempts.values().copied().filter(|slot| {
            let content = slots.get(*slot as usize).map(|place| &place.content);
            let Some(Content::Attempt(attempt)) = content else { return false };
            attempt.next.is_some_and(|(at, _)| at <= self.now)
        });
        for slot in due.collect::<Vec<_>>() {
            let Content::Attempt(attempt) = &mut self.slots[slot as usize].content else {
                continue;
            };
            if let Some((_, transport)) = attempt.next.take() {
                self.begin(slot, transport);
            }
        }
        self.settle();
    }

    pub(super) fn poll_slot(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        place.signal.lower();
        match &mut place.content {
            Content::Free => {}
            Content::Listener(_) => self.accept(slot),
            Content::Attempt(attempt) => {
                let mut context = Context::from_waker(&place.waker);
                if let Some(connecting) = &mut attempt.tcp
                    && let Poll::Ready(result) = connecting.as_mut().poll(&mut context)
                {
                    attempt.tcp = None;
                    self.on_tcp_attempt(slot, result);
                }
            }
            Content::Handshake(handshake) => {
                let mut context = Context::from_waker(&place.waker);
                if let Poll::Ready(result) = handshake.opening.as_mut().poll(&mut context) {
                    self.on_handshake(slot, result);
                }
            }
            Content::Endpoint(_) => self.poll_endpoint(slot),
            Content::Association(_) => self.poll_association(slot),
            Content::Receiver(_) => self.poll_receiver(slot),
            Content::Connection(connection) => {
                connection.unblock();
                if connection.can_flush() {
                    self.flush(slot);
                    self.settle();
                }
                self.read(slot);
            }
        }
    }

    fn accept(&mut self, slot: u32) {
        for _ in 0..Turn::ACCEPTS {
            let place = &mut self.slots[slot as usize];
            let Content::Listener(listener) = &mut place.content else { return };
            if listener.paused_until.is_some() {
                return;
            }
            let (channel, plain) = (listener.channel, listener.plain);
            match listener.socket.poll_accept(&mut Context::from_waker(&place.waker)) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, remote))) => {
                    let from = remote.ip();
                    if !self.has_room(channel, from) {
                        debug!(%remote, "too many associations");
                        self.metrics.associations_turned_away_total.add(1);
                    } else if socket::set_options(&stream, self.limits.user_timeout).is_ok() {
                        match self.tls.clone().filter(|_| !plain) {
                            Some(tls) => {
                                let opening: Opening = Box::pin(async move {
                                    let stream = tls.accept(stream).await?;
                                    Ok(Stream::Secured(Box::new(stream)))
                                });
                                self.begin_handshake(Handshake { from, channel, opening });
                            }
                            None => self.add_accepted(Stream::Plain(stream), channel),
                        }
                    }
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Poll::Ready(Err(error)) => {
                    warn!(%error, "cannot accept");
                    listener.paused_until = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        self.listed.push_back(slot);
    }

    fn add_accepted(&mut self, stream: Stream, channel: Channel) {
        self.metrics.associations_accepted_total.add(1);
        self.add_connection(stream, channel, None);
        self.settle();
    }

    /// Begins to secure a connection.
    fn begin_handshake(&mut self, handshake: Handshake) {
        let slot = self.slot();
        self.note_visitor(slot, handshake.from);
        self.fill(slot, Content::Handshake(handshake));
        self.admit_handshake(slot);
    }

    /// Whether somebody may open an association from there.
    pub(super) fn has_room(&self, channel: Channel, from: IpAddr) -> bool {
        let known = self.visits.get(&from.to_canonical());
        self.accepted < self.limits.associations_of(channel)
            && known.is_none_or(|visits| *visits < self.limits.associations_per_address)
    }

    /// What is in a slot, or about to be, counts for an address until it goes.
    pub(super) fn note_visitor(&mut self, slot: u32, from: IpAddr) {
        let from = from.to_canonical();
        *self.visits.entry(from).or_default() += 1;
        self.slots[slot as usize].visitor = Some(from);
    }

    fn forget_visitor(&mut self, from: IpAddr) {
        if let Some(visits) = self.visits.get_mut(&from) {
            *visits -= 1;
            if *visits == 0 {
                self.visits.remove(&from);
            }
        }
    }

    /// Lets a connection be secured that somebody has opened; if there are too many the oldest makes
    /// room, of all or of its address.
    pub(super) fn admit_handshake(&mut self, slot: u32) {
        let (most, most_of_one) = (self.limits.handshakes, self.limits.handshakes_per_address);
        let mut oldest = None;
        if self.handshakes.len() >= most.min(most_of_one) {
            let slots = &self.slots;
            self.handshakes.retain(|known| {
                let place = slots.get(known.0 as u32 as usize);
                place.is_some_and(|place| {
                    u64::from(place.generation) == known.0 >> 32
                        && match &place.content {
                            Content::Handshake(_) => true,
                            Content::Association(association) => !association.is_known(),
                            _ => false,
                        }
                })
            });
        }
        if self.handshakes.len() >= most.min(most_of_one) {
            let visitor = |slot: u32| self.slots.get(slot as usize).and_then(|place| place.visitor);
            let from = visitor(slot);
            let mut of_one = (0..).zip(&self.handshakes);
            let mut of_one = of_one.by_ref().filter(|(_, known)| visitor(known.0 as u32) == from);
            let first = of_one.next().map(|(position, _)| position);
            if of_one.count() + 1 >= most_of_one {
                oldest = first;
            } else if self.handshakes.len() >= most {
                oldest = Some(0);
            }
        }
        if let Some(oldest) = oldest.and_then(|position| self.handshakes.remove(position)) {
            let oldest = oldest.0 as u32;
            self.abort_sctp(oldest);
            drop(self.vacate(oldest));
            self.metrics.associations_turned_away_total.add(1);
        }
        self.handshakes.push_back(self.name(slot));
    }

    /// A connection that somebody has opened is secured, or is not going to be.
    fn on_handshake(&mut self, slot: u32, result: io::Result<Stream>) {
        let Content::Handshake(Handshake { channel, from, .. }) = self.vacate(slot) else { return };
        match result {
            Ok(_) if !self.has_room(channel, from) => {
                self.metrics.associations_turned_away_total.add(1);
            }
            Ok(stream) => self.add_accepted(stream, channel),
            Err(error) => {
                self.metrics.associations_untrusted_total.add(1);
                debug!(%error, "a connection could not be secured");
            }
        }
    }

    pub(super) fn resume_listeners(&mut self) {
        for slot in &self.listeners {
            let Some(place) = self.slots.get_mut(*slot as usize) else { continue };
            let Content::Listener(listener) = &mut place.content else { continue };
            if listener.paused_until.is_some_and(|until| until <= self.now) {
                listener.paused_until = None;
                self.listed.push_back(*slot);
            }
        }
    }

    fn on_tcp_attempt(&mut self, slot: u32, result: io::Result<Stream>) {
        match result {
            Ok(stream) => {
                if let Some(asked) = self.end_attempt(slot, TransportKind::Tcp) {
                    self.add_connection(stream, asked.channel, Some((asked.id, asked.to)));
                }
            }
            Err(error) if tls::is_distrust(&error) => {
                // RFC 5352 §9.2: said aloud, and not connected to.
                let Content::Attempt(attempt) = &self.slots[slot as usize].content else { return };
                warn!(to = %attempt.to, %error, "this registrar cannot be trusted, or does not trust us");
                self.metrics.associations_untrusted_total.add(1);
                self.on_attempt_failed(slot, CloseReason::Untrusted);
            }
            Err(error) => {
                debug!(%error, "cannot connect over TCP");
                self.on_attempt_failed(slot, connection::close_reason(&error));
            }
        }
        self.settle();
    }

    /// Ends an attempt that has succeeded, and gives up the other transport.
    pub(super) fn end_attempt(&mut self, slot: u32, transport: TransportKind) -> Option<Asked> {
        let Content::Attempt(attempt) = self.vacate(slot) else { return None };
        self.attempts.remove(&attempt.id);
        self.metrics.associations_connected_total.add(1);
        let Attempt { id, channel, mut to, .. } = attempt;
        if to.transport == TransportKind::Auto {
            let now = self.now;
            if self.reached.len() >= MEMORIES {
                self.reached.retain(|_, (_, until)| *until > now);
            }
            if self.reached.len() < MEMORIES {
                self.reached.insert(to.primary(), (transport, now + MEMORY));
            }
        }
        if transport == TransportKind::Tcp {
            to = Locator::tcp(to.primary());
        }
        Some(Asked { id, channel, to })
    }

    /// A transport has failed: the other may still succeed.
    pub(super) fn on_attempt_failed(&mut self, slot: u32, reason: CloseReason) {
        let Content::Attempt(attempt) = &mut self.slots[slot as usize].content else { return };
        if attempt.tcp.is_some() || attempt.sctp.is_some() {
            return;
        }
        if let Some((_, transport)) = attempt.next.take() {
            return self.begin(slot, transport);
        }
        let id = attempt.id;
        self.attempts.remove(&id);
        drop(self.vacate(slot));
        self.pending.push_back(Input::ConnectFailed { attempt: id, reason });
    }

    fn add_connection(
        &mut self,
        stream: Stream,
        channel: Channel,
        asked: Option<(AttemptId, Locator)>,
    ) {
        let attempt = asked.as_ref().map(|(attempt, _)| *attempt);
        let accepted = attempt.is_none();
        let ends = (|| {
            let remote = match asked {
                Some((_, to)) => to,
                None => Locator::tcp(stream.peer_addr()?),
            };
            io::Result::Ok((Locator::tcp(stream.local_addr()?), remote, stream.identity()))
        })();
        let (local, remote, identity) = match ends {
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
        let slot = self.slot();
        let assoc = self.name(slot);
        if accepted {
            self.note_visitor(slot, remote.primary().ip());
        }
        let connection = Connection::new(stream, assoc, channel, accepted);
        self.fill(slot, Content::Connection(Box::new(connection)));
        self.tell_connected(assoc, attempt, channel, (local, remote), identity);
    }

    /// The name of what is about to be put into a slot.
    pub(super) fn name(&self, slot: u32) -> AssociationId {
        let generation = self.slots[slot as usize].generation;
        AssociationId(u64::from(generation) << 32 | u64::from(slot))
    }

    /// Tells the machine of a new association, and counts it.
    pub(super) fn tell_connected(
        &mut self,
        assoc: AssociationId,
        attempt: Option<AttemptId>,
        channel: Channel,
        (local, remote): (Locator, Locator),
        identity: Identity,
    ) {
        let accepted = attempt.is_none();
        debug!(%assoc, %remote, ?channel, accepted, "connected");
        self.accepted += usize::from(accepted);
        self.open += 1;
        self.metrics.associations.set(self.open as u64);
        self.pending.push_back(Input::Connected {
            assoc,
            attempt,
            channel,
            local,
            remote,
            identity,
        });
    }

    /// Reads what has come and gives it to the machine.
    fn read(&mut self, slot: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // A read that does not fill the buffer has emptied the socket: the runtime remembers it,
        // and the second one costs no system call, but asks to be woken.
        let (mut more, mut budget) = (true, Turn::MESSAGES);
        for _ in 0..2 {
            more = more && (budget == 0 || self.read_once(slot, &mut buffer, &mut budget));
        }
        if more {
            self.listed.push_back(slot);
        }
        self.buffer = buffer;
    }

    /// Tells whether there may be more.
    fn read_once(&mut self, slot: u32, buffer: &mut [u8], budget: &mut usize) -> bool {
        let limit = self.limits.output / 4;
        let Some(place) = self.slots.get_mut(slot as usize) else { return false };
        let Content::Connection(connection) = &mut place.content else { return false };
        if connection.is_held_back(limit) && !connection.closing {
            // Flushing has asked to be woken when the socket takes more.
            return false;
        }
        if connection.stalled {
            let held = std::mem::take(&mut connection.input);
            connection.stalled = false;
            self.feed_and_keep(slot, &held, budget);
            return true;
        }
        // Less than a frame.
        let left = connection.input.len();
        let Some((front, space)) = buffer.split_at_mut_checked(left) else { return false };
        let space = space.get_mut(..Turn::BYTES).unwrap_or_default();
        front.copy_from_slice(&connection.input);
        let read = match connection.poll_read(&place.waker, space) {
            Poll::Pending => return false,
            Poll::Ready(Ok(read)) if read > 0 => read,
            Poll::Ready(result) => {
                let reason = match result {
                    Ok(_) => CloseReason::Finished,
                    Err(error) => connection::close_reason(&error),
                };
                self.lose(slot, reason);
                self.settle();
                return false;
            }
        };
        self.metrics.bytes_received_total.add(read as u64);
        if !connection.closing {
            connection.input.clear();
            self.feed_and_keep(slot, buffer.get(..left + read).unwrap_or_default(), budget);
        }
        true
    }

    /// Gives the machine whole messages of `bytes`, `budget` of them at most, and keeps the rest.
    fn feed_and_keep(&mut self, slot: u32, bytes: &[u8], budget: &mut usize) {
        let (done, held_back) = match self.feed(slot, bytes, budget) {
            Fed::Some(done) => (done, false),
            Fed::HeldBack(done) => (done, true),
            Fed::Gone => return,
        };
        let Some(connection) = connection_of(&mut self.slots, slot) else { return };
        let rest = bytes.get(done..).unwrap_or_default();
        connection.stalled = held_back;
        if !rest.is_empty() {
            connection.input.extend_from_slice(rest);
        } else if connection.input.capacity() > 0 {
            connection.input = Vec::new();
        }
    }

    fn feed(&mut self, slot: u32, bytes: &[u8], budget: &mut usize) -> Fed {
        let Some(connection) = connection_of(&mut self.slots, slot) else { return Fed::Gone };
        let assoc = connection.assoc;
        let ppid = match connection.channel {
            Channel::Asap => PPID_ASAP,
            Channel::Enrp => PPID_ENRP,
        };
        let limit = self.limits.output / 4;
        let (mut done, mut messages) = (0, 0);
        let fed = loop {
            let rest = bytes.get(done..).unwrap_or_default();
            let length = match frame_len(rest) {
                Ok(Some(length)) => length,
                Ok(None) => break Fed::Some(done),
                Err(error) => {
                    debug!(%assoc, %error, "what came is not a message");
                    self.metrics.associations_malformed_total.add(1);
                    self.lose(slot, CloseReason::Malformed);
                    self.settle();
                    break Fed::Gone;
                }
            };
            let Some(message) = rest.get(..length) else { break Fed::Some(done) };
            let input = Input::Received { assoc, ppid, bytes: message };
            self.host.machine().handle_input(self.now, input);
            self.settle();
            done += length;
            messages += 1;
            *budget = budget.saturating_sub(1);
            match connection_of(&mut self.slots, slot) {
                Some(connection) if connection.assoc != assoc || connection.closing => {
                    break Fed::Gone;
                }
                Some(connection) if connection.is_held_back(limit) || *budget == 0 => {
                    break Fed::HeldBack(done);
                }
                Some(_) => {}
                None => break Fed::Gone,
            }
        };
        self.metrics.messages_received_total.add(messages);
        fed
    }

    pub(super) fn flush_all(&mut self) {
        while let Some(slot) = self.dirty.pop() {
            self.flush_sctp(slot);
            if let Some(connection) = connection_of(&mut self.slots, slot) {
                connection.dirty = false;
                if connection.can_flush() {
                    self.flush(slot);
                    self.settle();
                }
            }
        }
    }

    /// Sends what the socket takes. If that breaks the connection the machine is not told yet.
    fn flush(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Content::Connection(connection) = &mut place.content else { return };
        match connection.flush(&place.waker, &mut self.spare) {
            Ok(sent) => {
                self.metrics.bytes_sent_total.add(sent as u64);
                if connection.closing && connection.queued() == 0 {
                    connection.shut_down(&place.waker);
                }
            }
            Err(reason) => self.lose(slot, reason),
        }
    }

    /// Closes a connection for a reason that the machine has to hear of; it is told later.
    fn lose(&mut self, slot: u32, reason: CloseReason) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Content::Connection(connection) = &mut place.content else { return };
        if reason == CloseReason::Finished {
            // It may still read what it has asked for before.
            let _ = connection.flush(&place.waker, &mut self.spare);
        }
        if !connection.closing {
            let assoc = connection.assoc;
            debug!(%assoc, ?reason, "disconnected");
            self.pending.push_back(Input::Closed { assoc, reason });
        }
        drop(self.vacate(slot));
    }

    /// Closes a connection that the machine has given up, once its output is sent.
    pub(super) fn finish(&mut self, slot: u32) {
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Content::Connection(connection) = &mut place.content else {
            return self.finish_sctp(slot);
        };
        connection.closing = true;
        connection.stalled = false;
        connection.input = Vec::new();
        if connection.queued() == 0 {
            connection.shut_down(&place.waker);
        } else if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
        // Held back until now: from here on what comes is read and dropped, up to the end.
        self.listed.push_back(slot);
        self.lingering.push_back((self.now + LINGER, connection.assoc));
    }

    pub(super) fn end_lingering(&mut self) {
        while let Some((until, assoc)) = self.lingering.front().copied()
            && until <= self.now
        {
            self.lingering.pop_front();
            let slot = assoc.0 as u32;
            if connection_of(&mut self.slots, slot).is_some_and(|known| known.assoc == assoc) {
                drop(self.vacate(slot));
            }
            self.end_lingering_sctp(slot, assoc);
        }
    }

    /// The slot of an association that is the machine's.
    pub(super) fn slot_of(&mut self, assoc: AssociationId) -> Option<u32> {
        let slot = assoc.0 as u32;
        let (known, closing) = match &self.slots.get(slot as usize)?.content {
            Content::Connection(connection) => (connection.assoc, connection.closing),
            Content::Association(association) => (association.assoc, association.closing),
            _ => return None,
        };
        (known == assoc && !closing).then_some(slot)
    }

    /// A free slot.
    pub(super) fn slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots.len() as u32;
            let signal = Signal::new(slot, self.ready.clone());
            let waker = Waker::from(signal.clone());
            self.slots.push(Slot {
                signal,
                waker,
                generation: 0,
                visitor: None,
                content: Content::Free,
            });
            slot
        })
    }

    /// Puts something in a free slot, to be polled in this turn or the next.
    pub(super) fn fill(&mut self, slot: u32, content: Content) {
        self.slots[slot as usize].content = content;
        self.slots[slot as usize].signal.raise();
    }

    /// Frees a slot, and gives what was in it.
    pub(super) fn vacate(&mut self, slot: u32) -> Content {
        let place = &mut self.slots[slot as usize];
        let content = std::mem::replace(&mut place.content, Content::Free);
        let visitor = place.visitor.take();
        // A slot whose generations are used up is left alone.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot);
        }
        if let Some(from) = visitor {
            self.forget_visitor(from);
        }
        let accepted = match &content {
            Content::Connection(connection) => connection.accepted,
            Content::Association(association) if !association.is_known() => {
                self.unlist_sctp(association);
                return content;
            }
            Content::Association(association) => association.accepted,
            Content::Attempt(Attempt { sctp: Some(pending), .. }) => {
                self.give_up_sctp(pending);
                return content;
            }
            _ => return content,
        };
        self.accepted -= usize::from(accepted);
        self.open -= 1;
        self.metrics.associations.set(self.open as u64);
        if let Content::Association(association) = &content {
            self.unlist_sctp(association);
        }
        content
    }
}

/// What an attempt was for.
pub(super) struct Asked {
    pub(super) id: AttemptId,
    pub(super) channel: Channel,
    pub(super) to: Locator,
}

pub(super) fn connection_of(slots: &mut [Slot], slot: u32) -> Option<&mut Connection> {
    match &mut slots.get_mut(slot as usize)?.content {
        Content::Connection(connection) => Some(connection),
        _ => None,
    }
}
