//! Associations over links: what arrives when, what breaks, and who learns of it.

use crate::bounded::Deviation;
use crate::conn::{
    Conn, End, Item, MAX_STALLED, SYN_AGAIN, State, TRANSPORT_KEEPALIVE, USER_TIMEOUT, assoc_of,
    end_of,
};
use crate::net::NodeId;
use crate::node::{Given, Power, Role};
use crate::oracle::GOOD;
use crate::rng::Random;
use crate::world::{Event, World, address};
use rserpool_proto::id::AssociationId;
use rserpool_proto::machine::{AttemptId, Channel, CloseReason, Locator, TransportKind};
use rserpool_proto::wire::{PORT_ASAP, PORT_ENRP};
use std::net::SocketAddr;

/// Longest time after a link is mended until what was held up goes on.
const MAX_BACKOFF: u64 = 3_000_000;
/// Bytes that every packet has besides its message.
const OVERHEAD: usize = 60;
/// The type of an ENRP presence (RFC 5353 §2.1).
const PRESENCE: u8 = 1;

impl World {
    /// A machine wants an association.
    pub(crate) fn connect(
        &mut self,
        node: NodeId,
        attempt: AttemptId,
        channel: Channel,
        to: &Locator,
    ) {
        let conn = self.conns.len();
        let session = crate::session::is_of_session(attempt);
        let target = match session {
            true => self.service(to).map(|target| (target, channel)),
            false => self.listener(to),
        };
        // In a secured scope nobody speaks to somebody who is no registrar and says he is.
        let is_believed = |target: NodeId| {
            !self.oracle.secured || self.nodes[target].setup.role() != Role::Hostile
        };
        let target = target.filter(|(target, _)| *target != node && is_believed(*target));
        let other = target.map_or(node, |(target, _)| target);
        // What there is of one kind changes nothing for the other.
        let (kind, number) = if session { (5, &mut self.talks) } else { (2, &mut self.calls) };
        let nth = *number;
        *number += 1;
        let stream = |end: u64| Random::new(self.seed, &[kind, node as u64, nth, end]);
        let ends = [
            End::new(node, State::Opening(attempt), stream(0)),
            End::new(other, State::Awaited, stream(1)),
        ];
        let kind = to.transport;
        self.conns.push(Conn { kind, channel, session, number: nth, ends });
        self.active.insert(conn);
        self.nodes[node].conns.insert(conn);
        self.nodes[node].attempts.insert(attempt, conn);
        if target.is_some_and(|(_, spoken)| spoken == channel) {
            self.send(conn, 0, Item::Syn);
            self.set_trouble(conn, 0);
        } else {
            // Nobody listens there.
            self.queue.push(self.now + 400, Event::Reset { conn, to: 0 });
        }
    }

    /// A machine has thought better of it.
    pub(crate) fn abandon(&mut self, node: NodeId, attempt: AttemptId) {
        if let Some(conn) = self.nodes[node].attempts.remove(&attempt) {
            self.leave(conn, 0);
            self.reset_other(conn, 0);
        }
    }

    /// A machine sends a message.
    pub(crate) fn transmit(&mut self, assoc: AssociationId, ppid: u32, bytes: Vec<u8>) {
        let (conn, end) = end_of(assoc);
        if self.conns[conn].ends[end].state == State::Open {
            self.conns[conn].ends[end].in_flight += 1;
            self.send(conn, end, Item::Message { ppid, bytes });
        }
    }

    /// A machine closes an association: what it has sent arrives, then the end.
    pub(crate) fn disconnect(&mut self, assoc: AssociationId) {
        let (conn, end) = end_of(assoc);
        if self.conns[conn].ends[end].state == State::Open {
            self.send(conn, end, Item::Fin);
            self.leave(conn, end);
        }
    }

    /// A machine tells everybody who listens, or those of them that it reaches.
    pub(crate) fn multicast(&mut self, from: NodeId, channel: Channel, bytes: &[u8]) {
        for to in 0..self.nodes.len() {
            let listens = match self.nodes[to].setup.role() {
                Role::Registrar => true,
                Role::Element | Role::User => channel == Channel::Asap,
                Role::Hostile => false,
            };
            if to == from || !listens {
                continue;
            }
            let link = (from, to);
            let often = 1 + u64::from(
                self.nodes[from].multicasts.permille(self.net.quality(from, to).duplicates),
            );
            for _ in 0..often {
                let random = &mut self.nodes[from].multicasts;
                let delay = self.net.datagram(random, self.now, link, OVERHEAD + bytes.len());
                if let Some(delay) = delay {
                    let bytes = bytes.to_vec();
                    let event = Event::Datagram { from, to, channel, bytes };
                    self.queue.push(self.now + delay, event);
                }
            }
        }
    }

    pub(crate) fn on_datagram(
        &mut self,
        from: NodeId,
        to: NodeId,
        channel: Channel,
        bytes: Vec<u8>,
    ) {
        self.stats.messages += 1;
        self.trace.note(self.now, 1, from, to, &bytes);
        self.trace.line(self.now, Some(from), Some(to), || {
            format!("{} by multicast", crate::describe::message(channel, &bytes))
        });
        let port = match channel {
            Channel::Asap => PORT_ASAP,
            Channel::Enrp => PORT_ENRP,
        };
        let from = SocketAddr::new(address(from, 0), port);
        self.give(to, Given::Datagram { from, channel, bytes });
    }

    fn send(&mut self, conn: usize, from: usize, item: Item) {
        let late = match self.deviation(conn, &item) {
            None => 0,
            Some(Deviation::Late(by)) => by,
            Some(Deviation::Lost) => {
                for to in 0..2 {
                    self.queue.push(self.now + 1, Event::Reset { conn, to });
                }
                return;
            }
        };
        let len = OVERHEAD
            + match &item {
                Item::Message { bytes, .. } => bytes.len(),
                Item::Syn | Item::SynAck | Item::Fin => 0,
            };
        let Conn { ends, .. } = &mut self.conns[conn];
        let link = (ends[from].node, ends[1 - from].node);
        let end = &mut ends[from];
        let at = self.now + late + self.net.delay(&mut end.random, self.now, link, len);
        end.last_arrival = end.last_arrival.max(at);
        if end.last_arrival > self.now + GOOD {
            end.late_until = end.last_arrival;
        }
        self.queue.push(end.last_arrival, Event::Arrive { conn, from, item });
    }

    /// What becomes of a message between registrars that is not a presence.
    fn deviation(&mut self, conn: usize, item: &Item) -> Option<Deviation> {
        let Item::Message { bytes, .. } = item else { return None };
        if self.conns[conn].channel != Channel::Enrp || bytes.first() == Some(&PRESENCE) {
            return None;
        }
        let number = self.numbered;
        self.numbered += 1;
        self.deviations.get(&number).copied()
    }

    pub(crate) fn on_arrive(&mut self, conn: usize, from: usize, item: Item) {
        let to = 1 - from;
        let Conn { kind, ends, .. } = &mut self.conns[conn];
        let kind = *kind;
        let (sender, receiver) = (ends[from].node, ends[to].node);
        if self.now < ends[from].hold {
            let at = ends[from].hold;
            return self.queue.push(at, Event::Arrive { conn, from, item });
        }
        let up =
            self.net.is_up(sender, receiver, kind) && self.nodes[receiver].power != Power::HostDown;
        if !up || !ends[from].stalled.is_empty() {
            if matches!(item, Item::Syn) {
                // Sent again by itself until the attempt is given up.
                if matches!(ends[from].state, State::Opening(_)) {
                    let again = Event::Arrive { conn, from, item };
                    self.queue.push(self.now + SYN_AGAIN, again);
                }
                return;
            }
            ends[from].stalled.push_back(item);
            if ends[from].stalled.len() > MAX_STALLED {
                return self.fail(conn, from, CloseReason::OverLimit);
            }
            return self.set_trouble(conn, from);
        }
        if !self.net.is_up(receiver, sender, kind) {
            // It arrives, but nobody learns of that.
            self.set_trouble(conn, from);
        }
        match item {
            Item::Syn => self.on_syn(conn),
            Item::SynAck => self.on_syn_ack(conn),
            Item::Message { ppid, bytes } => self.on_message(conn, to, ppid, bytes),
            Item::Fin => {
                if self.conns[conn].ends[to].state == State::Open {
                    self.close(conn, to, CloseReason::Finished);
                }
            }
        }
    }

    fn on_syn(&mut self, conn: usize) {
        let Conn { ends, .. } = &self.conns[conn];
        let node = ends[1].node;
        if ends[1].state != State::Awaited || ends[0].state == State::Gone {
            return;
        }
        if self.nodes[node].power != Power::On {
            return self.reset_other(conn, 1);
        }
        // The kernel accepts for a process that is suspended, too.
        self.conns[conn].ends[1].state = State::Open;
        self.nodes[node].conns.insert(conn);
        self.send(conn, 1, Item::SynAck);
        self.give(node, Given::Connected { assoc: assoc_of(conn, 1), attempt: None });
    }

    fn on_syn_ack(&mut self, conn: usize) {
        let end = &mut self.conns[conn].ends[0];
        let State::Opening(attempt) = end.state else {
            return self.reset_other(conn, 0);
        };
        end.state = State::Open;
        end.trouble = None;
        let node = end.node;
        self.nodes[node].attempts.remove(&attempt);
        self.give(node, Given::Connected { assoc: assoc_of(conn, 0), attempt: Some(attempt) });
    }

    fn on_message(&mut self, conn: usize, to: usize, ppid: u32, bytes: Vec<u8>) {
        let Conn { channel, ends, session, .. } = &mut self.conns[conn];
        let (channel, session) = (*channel, *session);
        let (sender, receiver) = (ends[1 - to].node, ends[to].node);
        ends[1 - to].in_flight -= 1;
        if ends[to].state != State::Open {
            return self.reset_other(conn, to);
        }
        let often = self.net.quality(sender, receiver).duplicates;
        // What comes twice is between registrars and those who ask them.
        let twice = often > 0 && !session && ends[to].random.permille(often);
        self.stats.messages += 1;
        self.nodes[sender].messages += 1;
        self.nodes[receiver].messages += 1;
        self.trace.note(self.now, 1, sender, receiver, &bytes);
        self.trace.line(self.now, Some(sender), Some(receiver), || match session {
            true => crate::describe::in_session(ppid, &bytes),
            false => crate::describe::message(channel, &bytes),
        });
        let assoc = assoc_of(conn, to);
        if twice {
            let bytes = bytes.clone();
            self.give(receiver, Given::Received { assoc, ppid, bytes, twice: false });
        }
        self.give(receiver, Given::Received { assoc, ppid, bytes, twice });
        if session {
            self.session_has_room(conn, 1 - to);
        }
    }

    /// The other end is told that nobody is here, if that can be told; otherwise it finds out.
    pub(crate) fn reset_other(&mut self, conn: usize, end: usize) {
        let Conn { kind, ends, .. } = &mut self.conns[conn];
        let (here, there) = (ends[end].node, ends[1 - end].node);
        if matches!(ends[1 - end].state, State::Gone | State::Awaited) {
            return;
        }
        if self.net.is_up(here, there, *kind) && self.nodes[here].power != Power::HostDown {
            let delay = self.net.delay(&mut ends[end].random, self.now, (here, there), OVERHEAD);
            let at = ends[end].last_arrival.max(self.now + delay);
            self.queue.push(at, Event::Reset { conn, to: 1 - end });
        } else {
            let wait = ends[1 - end].random.below(TRANSPORT_KEEPALIVE);
            self.queue.push(self.now + wait, Event::Probe { conn, end: 1 - end });
        }
    }

    pub(crate) fn on_reset(&mut self, conn: usize, to: usize) {
        match self.conns[conn].ends[to].state {
            State::Opening(attempt) => {
                let node = self.conns[conn].ends[to].node;
                self.leave(conn, to);
                self.nodes[node].attempts.remove(&attempt);
                self.give(node, Given::ConnectFailed { attempt, reason: CloseReason::Refused });
            }
            State::Open => self.close(conn, to, CloseReason::Lost),
            State::Awaited | State::Gone => {}
        }
    }

    /// The transport of an open end looks whether the other one is there.
    pub(crate) fn on_probe(&mut self, conn: usize, end: usize) {
        let Conn { kind, ends, .. } = &self.conns[conn];
        if ends[end].state != State::Open {
            return;
        }
        let (here, there) = (ends[end].node, ends[1 - end].node);
        let heard = self.net.is_up(here, there, *kind)
            && self.net.is_up(there, here, *kind)
            && self.nodes[there].power != Power::HostDown;
        if heard {
            if ends[1 - end].state == State::Gone {
                self.close(conn, end, CloseReason::Lost);
            }
        } else {
            self.set_trouble(conn, end);
            self.queue.push(self.now + TRANSPORT_KEEPALIVE, Event::Probe { conn, end });
        }
    }

    fn set_trouble(&mut self, conn: usize, end: usize) {
        let now = self.now;
        let since = &mut self.conns[conn].ends[end].trouble;
        if since.is_none() {
            *since = Some(now);
            let check = Event::DeadCheck { conn, end, since: now };
            self.queue.push(now + USER_TIMEOUT, check);
        }
    }

    pub(crate) fn on_dead_check(&mut self, conn: usize, end: usize, since: u64) {
        if self.conns[conn].ends[end].trouble == Some(since) {
            self.fail(conn, end, CloseReason::Lost);
        }
    }

    /// An end gives up: the other one does not know.
    fn fail(&mut self, conn: usize, end: usize, reason: CloseReason) {
        let Conn { kind, ends, .. } = &mut self.conns[conn];
        let (kind, node, state) = (*kind, ends[end].node, ends[end].state);
        let stalled = std::mem::take(&mut ends[end].stalled);
        match state {
            State::Opening(attempt) => {
                self.leave(conn, end);
                self.nodes[node].attempts.remove(&attempt);
                let reason = CloseReason::TimedOut;
                self.give(node, Given::ConnectFailed { attempt, reason });
            }
            State::Open => {
                if kind == TransportKind::Sctp {
                    let lost = stalled.iter().filter(|item| matches!(item, Item::Message { .. }));
                    for _ in 0..lost.count() {
                        self.give(node, Given::SendFailed { assoc: assoc_of(conn, end) });
                    }
                }
                self.close(conn, end, reason);
            }
            State::Awaited | State::Gone => {}
        }
        self.reset_other(conn, end);
    }

    /// An end is gone, and its machine is told.
    fn close(&mut self, conn: usize, end: usize, reason: CloseReason) {
        let node = self.conns[conn].ends[end].node;
        self.leave(conn, end);
        self.give(node, Given::Closed { assoc: assoc_of(conn, end), reason });
    }

    /// An end is gone, and its machine knows or is gone, too.
    pub(crate) fn leave(&mut self, conn: usize, end: usize) {
        let ends = &mut self.conns[conn].ends;
        ends[end].state = State::Gone;
        let node = ends[end].node;
        self.nodes[node].conns.remove(&conn);
        if ends[0].state == State::Gone && matches!(ends[1].state, State::Gone | State::Awaited) {
            self.active.remove(&conn);
            for end in ends {
                end.stalled.clear();
            }
        }
    }

    /// Links or hosts have come back: what was held up goes on.
    pub(crate) fn flush(&mut self) {
        let conns: Vec<usize> = self.active.iter().copied().collect();
        for conn in conns {
            for from in 0..2 {
                self.flush_direction(conn, from);
            }
        }
    }

    fn flush_direction(&mut self, conn: usize, from: usize) {
        let now = self.now;
        let Conn { kind, ends, .. } = &mut self.conns[conn];
        let (sender, receiver) = (ends[from].node, ends[1 - from].node);
        let end = &mut ends[from];
        let Some(since) = end.trouble else { return };
        if !self.net.is_up(sender, receiver, *kind) || self.nodes[receiver].power == Power::HostDown
        {
            return;
        }
        if !matches!(end.state, State::Opening(_)) && self.net.is_up(receiver, sender, *kind) {
            end.trouble = None;
        }
        if !end.stalled.is_empty() {
            // Retransmissions have become rare while the link was down.
            let backoff = (now - since).min(MAX_BACKOFF);
            let delay = self.net.delay(&mut end.random, now, (sender, receiver), OVERHEAD);
            let at = (now + delay + end.random.below(backoff + 1)).max(end.last_arrival + 1);
            // What is on its way comes after that, and what is sent from now on later still.
            end.last_arrival = at + 1;
            end.late_until = at;
            end.hold = at;
            for item in std::mem::take(&mut end.stalled) {
                self.queue.push(at, Event::Arrive { conn, from, item });
            }
        }
    }

    /// All links of a cut are looked at by the transports, sooner or later.
    pub(crate) fn probe_later(&mut self) {
        let conns: Vec<usize> = self.active.iter().copied().collect();
        for conn in conns {
            let Conn { kind, ends, .. } = &mut self.conns[conn];
            let up = |a: &End, b: &End| self.net.is_up(a.node, b.node, *kind);
            let whole = up(&ends[0], &ends[1])
                && up(&ends[1], &ends[0])
                && ends.iter().all(|end| self.nodes[end.node].power != Power::HostDown);
            if whole {
                continue;
            }
            for (end, state) in ends.iter_mut().enumerate() {
                if state.state == State::Open {
                    let wait = state.random.below(TRANSPORT_KEEPALIVE);
                    self.queue.push(self.now + wait, Event::Probe { conn, end });
                }
            }
        }
    }
}
