//! The user's side: one session at a time with one of the pools it knows.

use super::{ATTEMPT_BITS, Due, MAX_OUTPUTS, OF_SESSION, QUESTION, Said};
use crate::conn::{Conn, assoc_of, end_of};
use crate::describe;
use crate::net::NodeId;
use crate::node::{Command, Given, Wish};
use crate::world::World;
use rserpool_proto::endpoint::pool_user::ResolveError;
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{AttemptId, Channel, Identity, Input, Machine as _, Output};
use rserpool_proto::session::user::{
    Delivery, EndReason, Event, Target, UserSession, UserSessionConfig, Wanted,
};
use rserpool_proto::session::{BusinessCard, ElementHandle, Limits, Payload, SessionTimers};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::transport::Transport;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the owner of a user does with sessions.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// With whom.
    pub(crate) pools: Vec<PoolHandle>,
    pub(crate) timers: SessionTimers,
    /// Mean time between two things it does, in microseconds; 0 if it does as it is told.
    pub(crate) pace: u64,
    /// Whom it had last.
    pub(crate) last: Option<ElementHandle>,
}

/// A user's session.
#[derive(Debug)]
pub(crate) struct Held {
    number: u64,
    machine: UserSession,
    /// What has come and is not read.
    unread: VecDeque<Given>,
    reading: bool,
    /// It is to be closed once everything is sent.
    closing: bool,
    /// Messages sent so far.
    sent: u64,
    /// Taken for the transport, which has not taken it.
    buffer: VecDeque<(Payload, Delivery)>,
}

/// Longest pause until the next session begins.
const PAUSE: u64 = 1_000_000;
/// Mean time for which an owner does not read.
const NOT_READING: u64 = 1_000_000;
/// Messages taken out of the machine before the transport has room for them.
const BUFFER: usize = 4;

impl Held {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn machine(&self) -> &UserSession {
        &self.machine
    }

    /// Whether its owner takes what comes.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading
    }

    fn attempt(&self, attempt: AttemptId) -> AttemptId {
        AttemptId(OF_SESSION | self.number << ATTEMPT_BITS | attempt.0)
    }

    /// The attempt as the machine knows it, if it is of this session.
    fn own_attempt(&self, attempt: AttemptId) -> Option<AttemptId> {
        let own = AttemptId(attempt.0 & ((1 << ATTEMPT_BITS) - 1));
        (self.attempt(own) == attempt).then_some(own)
    }
}

impl World {
    /// Begins a session, by chance with one of the pools the owner knows.
    pub(super) fn begin_some_session(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(client) = &node.owner.client else { return };
        let Some(pool) = node.of_sessions.pick(&client.pools).cloned() else { return };
        let target = match &client.last {
            Some(handle) if node.of_sessions.permille(200) => Target::Element(handle.clone()),
            _ => Target::Pool(pool),
        };
        let mut config = UserSessionConfig::new(target);
        config.failover = node.of_sessions.permille(950);
        if node.of_sessions.permille(150) {
            config.card = Some(card_of_user(id));
        }
        if node.of_sessions.permille(300) {
            config.limits = Limits { queued_messages: 16, ..Limits::default() };
        }
        self.begin_session(id, config);
    }

    /// Begins a session, unless the user has one.
    pub(crate) fn begin_session(&mut self, id: NodeId, mut config: UserSessionConfig) {
        let node = &mut self.nodes[id];
        let Some(client) = &node.owner.client else { return };
        if node.sessions.held.is_some() || node.suspended {
            return;
        }
        config.timers = client.timers.clone();
        let number = self.oracle.sessions.begin(self.now, &config);
        self.stats.sessions += 1;
        self.trace.line(self.now, Some(id), None, || {
            format!("begins session {number} with {}", describe::target(&config.target))
        });
        let now = self.local(id);
        self.nodes[id].sessions.held = Some(Box::new(Held {
            number,
            machine: UserSession::new(config, now),
            unread: VecDeque::new(),
            reading: true,
            closing: false,
            sent: 0,
            buffer: VecDeque::new(),
        }));
        self.with_held(id, |_, _| ());
    }

    /// A user does one of the things it does with a session.
    pub(super) fn on_talk(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(pace) = node.owner.client.as_ref().map(|client| client.pace) else { return };
        let wait = node.of_sessions.exponential(pace).max(1);
        self.session_later(id, wait, Due::Talk);
        let node = &mut self.nodes[id];
        if node.suspended || node.sessions.held.is_none() {
            return;
        }
        match node.of_sessions.below(200) {
            0 => self.fail_session_over(id),
            1 => self.close_session(id),
            2..=4 => {
                let wait = node.of_sessions.exponential(NOT_READING);
                self.with_held(id, |held, now| {
                    held.reading = false;
                    held.machine.set_reading(now, false);
                });
                self.session_later(id, wait, Due::Read(None));
            }
            5..=9 => {
                for _ in 0..self.nodes[id].of_sessions.between(2, 40) {
                    self.say_something(id);
                }
            }
            _ => self.say_something(id),
        }
    }

    fn say_something(&mut self, id: NodeId) {
        let bound = self.nodes[id].of_sessions.permille(300);
        self.say_in_session(id, if bound { Delivery::NoFailover } else { Delivery::Failover });
    }

    /// A user sends the next message.
    pub(crate) fn say_in_session(&mut self, id: NodeId, delivery: Delivery) {
        let mut taken = None;
        self.with_held_before(id, |held, _| {
            let number = held.sent + 1;
            let said = Said { kind: QUESTION, session: held.number, number, conn: 0 };
            if held.machine.send(Payload { ppid: 0, bytes: said.write() }, delivery).is_ok() {
                held.sent = number;
                taken = Some((held.number, number));
            }
        });
        if let Some((session, number)) = taken {
            self.oracle.sessions.sent(session, number, delivery);
        }
        self.with_held(id, |_, _| ());
    }

    /// A user leaves its element as if that had failed.
    pub(crate) fn fail_session_over(&mut self, id: NodeId) {
        if let Some(held) = &self.nodes[id].sessions.held {
            let number = held.number;
            self.oracle.sessions.excuse_user(number);
            self.trace.line(self.now, Some(id), None, || "fails over".to_owned());
        }
        self.with_held(id, |held, now| held.machine.fail_over(now));
    }

    /// A user ends its session, once everything is sent.
    pub(crate) fn close_session(&mut self, id: NodeId) {
        self.with_held(id, |held, _| held.closing = true);
    }

    pub(super) fn read_held(&mut self, id: NodeId) {
        let mut unread = VecDeque::new();
        if let Some(held) = &self.nodes[id].sessions.held {
            self.oracle.sessions.reads_again(self.now, held.number);
        }
        self.with_held(id, |held, now| {
            held.reading = true;
            held.machine.set_reading(now, true);
            unread = std::mem::take(&mut held.unread);
        });
        for given in unread {
            self.handle_held(id, given);
        }
    }

    /// An answer of the user's machine; whether it was for a session.
    pub(crate) fn on_session_picked(
        &mut self,
        id: NodeId,
        request: u64,
        result: &Result<Arc<PoolElement>, ResolveError>,
    ) -> bool {
        let Some(session) = self.nodes[id].sessions.wishes.remove(&request) else { return false };
        if let Ok(element) = result {
            self.oracle.sessions.picked(session, element.id);
        }
        self.with_held(id, |held, now| {
            if held.number == session {
                match result {
                    Ok(element) => held.machine.picked(now, element.clone()),
                    Err(error) => held.machine.not_found(now, error.clone()),
                }
            }
        });
        true
    }

    pub(super) fn handle_held(&mut self, id: NodeId, given: Given) {
        let Some(held) = &mut self.nodes[id].sessions.held else {
            if let Given::Connected { assoc, .. } = given {
                self.disconnect(assoc);
            }
            return;
        };
        let number = held.number;
        match given {
            Given::Connected { assoc, attempt } => {
                let Some(attempt) = attempt.and_then(|attempt| held.own_attempt(attempt)) else {
                    return self.disconnect(assoc);
                };
                let (conn, _) = end_of(assoc);
                self.oracle.sessions.connected(number, conn);
                let other = self.conns[conn].ends[1].node;
                let (local, remote) =
                    (self.end_locator(id, conn, 0), self.end_locator(other, conn, 1));
                let input = Input::Connected {
                    assoc,
                    attempt: Some(attempt),
                    channel: Channel::Asap,
                    local,
                    remote,
                    identity: Identity::Anonymous,
                };
                self.with_held(id, |held, now| held.machine.handle_input(now, input));
                self.oracle.sessions.settled(number);
            }
            Given::ConnectFailed { attempt, reason } => {
                if let Some(attempt) = held.own_attempt(attempt) {
                    let input = Input::ConnectFailed { attempt, reason };
                    self.with_held(id, |held, now| held.machine.handle_input(now, input));
                }
            }
            Given::Received { .. } | Given::Closed { .. } | Given::SendFailed { .. }
                if !held.reading =>
            {
                held.unread.push_back(given);
            }
            Given::Received { assoc, ppid, bytes, .. } => {
                self.meet(crate::node::Role::User, ppid, &bytes, "in a session");
                let now = self.now;
                let heard =
                    self.oracle.sessions.received(now, number, end_of(assoc).0, ppid, &bytes);
                self.judge(id, heard);
                let input = Input::Received { assoc, ppid, bytes: &bytes };
                self.with_held(id, |held, now| held.machine.handle_input(now, input));
            }
            Given::Closed { assoc, reason } => {
                self.oracle.sessions.closed(number, end_of(assoc).0);
                let input = Input::Closed { assoc, reason };
                self.with_held(id, |held, now| {
                    held.machine.take_back(held.buffer.drain(..).collect());
                    held.machine.handle_input(now, input);
                });
            }
            Given::SendFailed { assoc } => {
                let input = Input::SendFailed { assoc };
                self.with_held(id, |held, now| held.machine.handle_input(now, input));
            }
            Given::Timeout => {
                self.with_held(id, |held, now| {
                    if held.machine.next_timeout().is_some_and(|due| due <= now) {
                        held.machine.handle_input(now, Input::Timeout);
                    }
                });
                let now = self.local(id);
                let held = self.nodes[id].sessions.held.as_ref();
                let due = held.and_then(|held| held.machine.next_timeout());
                if due.is_some_and(|due| due <= now) {
                    self.violate("I10", Some(id), "wants to be woken in the past, again".into());
                }
            }
            Given::Datagram { .. } | Given::Command(_) => {}
        }
    }

    /// Does something with the session, and all that follows from it.
    pub(super) fn with_held(&mut self, id: NodeId, act: impl FnOnce(&mut Held, Instant)) {
        let Some(mut held) = self.nodes[id].sessions.held.take() else { return };
        let now = self.local(id);
        act(&mut held, now);
        self.settle_held(id, &mut held);
        if held.machine.has_ended() {
            let wait = self.nodes[id].of_sessions.below(PAUSE);
            let drawn = self.nodes[id].owner.client.as_ref().is_some_and(|client| client.pace > 0);
            if drawn {
                self.session_later(id, wait, Due::Begin);
            }
        } else {
            self.nodes[id].sessions.held = Some(held);
        }
        self.wake_sessions_later(id);
    }

    fn with_held_before(&mut self, id: NodeId, act: impl FnOnce(&mut Held, Instant)) {
        let now = self.local(id);
        if let Some(held) = &mut self.nodes[id].sessions.held {
            act(held, now);
        }
    }

    fn settle_held(&mut self, id: NodeId, held: &mut Held) {
        self.drain_held(id, held);
        while held.buffer.len() < BUFFER
            && let Some((_, payload, delivery)) = held.machine.next_message()
        {
            held.buffer.push_back((payload, delivery));
        }
        while self.oracle.violation.is_none()
            && let Some(conn) = self.oracle.sessions.opened(held.number)
            && self.has_room(conn, 0)
            && let Some((payload, _)) = held.buffer.pop_front()
        {
            self.hand_over(id, held.number, conn, &payload);
            self.transmit(assoc_of(conn, 0), payload.ppid, payload.bytes);
        }
        let drained = held.machine.is_drained() && held.buffer.is_empty();
        if held.closing && drained && !held.machine.has_ended() {
            held.machine.close();
            self.drain_held(id, held);
            self.trace.line(self.now, Some(id), None, || format!("ends session {}", held.number));
            let verdict = self.oracle.sessions.ended(held.number, &[]);
            self.judge(id, verdict);
        }
    }

    fn hand_over(&mut self, id: NodeId, session: u64, conn: usize, payload: &Payload) {
        let number = Said::read(&payload.bytes).map_or(0, |said| said.number);
        let verdict = self.oracle.sessions.handed_over(self.now, session, conn, number);
        self.judge(id, verdict);
    }

    fn drain_held(&mut self, id: NodeId, held: &mut Held) {
        let mut outputs = 0;
        let mut parted = None;
        while let Some(output) = held.machine.poll_output() {
            outputs += 1;
            if outputs > MAX_OUTPUTS {
                return self.violate("I8", Some(id), "puts out without end".to_owned());
            }
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    let conn = end_of(assoc).0;
                    let verdict = self.oracle.sessions.transmitted(held.number, conn, &bytes);
                    self.judge(id, verdict);
                    self.transmit(assoc, ppid, bytes);
                }
                Output::Connect { attempt, channel, to } => {
                    self.trace.line(self.now, Some(id), None, || format!("dials {to}"));
                    self.count_dial(id);
                    self.connect(id, held.attempt(attempt), channel, &to);
                }
                Output::Abandon { attempt } => self.abandon(id, held.attempt(attempt)),
                Output::Disconnect { assoc } => {
                    let (conn, _) = end_of(assoc);
                    let other = self.conns[conn].ends[1].node;
                    self.trace.line(self.now, Some(id), Some(other), || "closes".to_owned());
                    self.oracle.sessions.closed(held.number, conn);
                    self.disconnect(assoc);
                    parted = Some(conn);
                }
                Output::Event(Event::Ended { reason: EndReason::Finished, unsent }) => {
                    // What is in the buffer is still sent, to one who has gone.
                    for (payload, _) in held.buffer.drain(..) {
                        self.hand_over(id, held.number, parted.unwrap_or(0), &payload);
                    }
                    let reason = EndReason::Finished;
                    self.on_held_event(id, held, Event::Ended { reason, unsent });
                }
                Output::Event(Event::Ended { reason, mut unsent }) => {
                    unsent.splice(..0, held.buffer.drain(..).map(|(payload, _)| payload));
                    self.on_held_event(id, held, Event::Ended { reason, unsent });
                }
                Output::Event(event) => self.on_held_event(id, held, event),
                Output::Multicast { .. } => {}
            }
        }
        if parted.is_some() {
            held.machine.take_back(held.buffer.drain(..).collect());
        }
        let verdict = self.oracle.sessions.is_with_one(held.number);
        self.judge(id, verdict);
    }

    fn on_held_event(&mut self, id: NodeId, held: &mut Held, event: Event) {
        if !matches!(event, Event::Wanted(_) | Event::Received(_)) {
            self.trace.line(self.now, Some(id), None, || describe::user_session(&event));
        }
        let (now, number) = (self.now, held.number);
        let healed = self.oracle.healed;
        let models = &mut self.oracle.sessions;
        let verdict = match event {
            Event::Wanted(wanted) => {
                let verdict = models.wanted(number, &wanted);
                self.wish(id, number, wanted);
                verdict
            }
            Event::Unreachable(element) => {
                // One that was slow has a lot to do before it answers again, and what was held up by a
                // cut comes when it is sent again.
                let conn = models.partner(number).and_then(|conn| self.conns.get(conn));
                let late = conn.map_or(0, |Conn { ends: [own, other], .. }| {
                    let ends = [own, other].map(|end| end.hold.max(end.late_until));
                    let busy = self.nodes[other.node].sessions.busy_until;
                    ends.into_iter().fold(busy, u64::max)
                });
                let whole = healed.map(|healed| healed.max(late));
                let verdict = models.unreachable(now, whole, number, element);
                let handle = models.pool(number);
                self.command_after(id, 0, Command::Report { handle, id: element });
                verdict
            }
            Event::Begun(element) => {
                let verdict = models.begun(now, number, None, element.id, false, &[]);
                self.remember(id, number, element.id);
                verdict
            }
            Event::Failover { from, to, cookie_sent, unsent } => {
                let verdict =
                    models.begun(now, number, Some(from), to.id, cookie_sent, &numbers(&unsent));
                self.stats.failovers += 1;
                self.remember(id, number, to.id);
                verdict
            }
            Event::Received(payload) => models.told(number, Said::read(&payload.bytes)),
            Event::BusinessCard(_) => Ok(()),
            Event::Ended { unsent, .. } => models.ended(number, &numbers(&unsent)),
        };
        self.judge(id, verdict);
    }

    fn remember(&mut self, id: NodeId, session: u64, element: PeId) {
        let pool = self.oracle.sessions.pool(session);
        if let Some(client) = &mut self.nodes[id].owner.client {
            client.last = Some(ElementHandle { pool, id: element });
        }
    }

    fn wish(&mut self, id: NodeId, session: u64, wanted: Wanted) {
        let Wanted { pool: handle, id: element, exclude, anew } = wanted;
        if anew {
            self.command_after(id, 0, Command::Purge { handle: handle.clone() });
        }
        let request =
            match element {
                Some(element) => self.ask(id, Wish::This(element), |request| {
                    Command::PickElement { handle, request, id: element }
                }),
                None => self.ask(id, Wish::NoneOf(exclude.clone()), |request| Command::Pick {
                    handle,
                    request,
                    exclude,
                }),
            };
        self.nodes[id].sessions.wishes.insert(request, session);
    }
}

/// The numbers of messages.
fn numbers(payloads: &[Payload]) -> Vec<u64> {
    let said = payloads.iter().map(|payload| Said::read(&payload.bytes));
    said.map(|said| said.map_or(0, |said| said.number)).collect()
}

/// Of a user that is an element of some other pool.
fn card_of_user(id: NodeId) -> BusinessCard {
    let handle = PoolHandle::new("users").expect("it is neither empty nor too long");
    let address = std::net::SocketAddr::new(crate::world::address(id, 0), 80);
    let element = PoolElement {
        id: PeId(id as u32),
        home: ServerId::NONE,
        life: 0,
        user_transport: Transport::Tcp(address),
        policy: rserpool_proto::policy::PolicyParameter::new(
            rserpool_proto::policy::PolicyNumber(1),
            &[],
        ),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    };
    BusinessCard { handle, elements: vec![element] }
}
