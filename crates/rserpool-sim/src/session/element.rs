//! The element's side: one session for each association that users have opened.

use super::{COOKIE, Due, MAX_OUTPUTS, QUESTION, REPLY, Said};
use crate::conn::{assoc_of, end_of};
use crate::describe;
use crate::net::NodeId;
use crate::node::{Given, Machine, Role, Setup};
use crate::world::World;
use rserpool_proto::id::ServerId;
use rserpool_proto::machine::{Channel, Identity, Input, Machine as _, Output};
use rserpool_proto::session::element::{ElementSession, ElementSessionConfig, Event};
use rserpool_proto::session::{BusinessCard, Limits, Payload, SessionTimers};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use std::collections::VecDeque;

/// How an element serves sessions.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) timers: SessionTimers,
    /// It sends cookies and cards, ends sessions, and does not read for a while, all by chance.
    pub(crate) by_chance: bool,
}

/// A session that an element serves.
#[derive(Debug)]
pub(crate) struct Served {
    conn: usize,
    machine: ElementSession,
    begun: bool,
    /// The user's session and the newest message of it that was answered, here or elsewhere.
    state: Option<(u64, u64)>,
    unread: VecDeque<Given>,
    reading: bool,
    /// It is to be closed once everything is sent.
    leaving: bool,
}

/// Most elements on a card.
const ON_A_CARD: usize = 3;
/// Mean time for which an owner does not read.
const NOT_READING: u64 = 1_000_000;

impl Served {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.machine.next_timeout()
    }
}

impl World {
    /// A user has come.
    pub(super) fn accept_session(&mut self, id: NodeId, conn: usize) {
        let Some(service) = self.nodes[id].owner.service.clone() else {
            return self.disconnect(assoc_of(conn, 1));
        };
        let config = ElementSessionConfig {
            control: true,
            card: self.card(id).filter(|_| service.by_chance),
            timers: service.timers,
            limits: Limits::default(),
        };
        let now = self.local(id);
        let served = Served {
            conn,
            machine: ElementSession::new(config, now),
            begun: false,
            state: None,
            unread: VecDeque::new(),
            reading: true,
            leaving: false,
        };
        self.nodes[id].sessions.served.insert(conn, Box::new(served));
        let assoc = assoc_of(conn, 1);
        let user = self.conns[conn].ends[0].node;
        let (local, remote) = (self.end_locator(id, conn, 1), self.end_locator(user, conn, 0));
        let (attempt, channel, identity) = (None, Channel::Asap, Identity::Anonymous);
        let input = Input::Connected { assoc, attempt, channel, local, remote, identity };
        self.with_served(id, conn, |served, now| served.machine.handle_input(now, input));
    }

    pub(super) fn handle_served(&mut self, id: NodeId, conn: usize, given: Given) {
        let Some(served) = self.nodes[id].sessions.served.get_mut(&conn) else { return };
        let assoc = assoc_of(conn, 1);
        match given {
            Given::Received { .. } | Given::Closed { .. } if !served.reading => {
                served.unread.push_back(given);
            }
            Given::Received { ppid, bytes, .. } => {
                let state = if served.begun { "in a session" } else { "before a session" };
                self.meet(Role::Element, ppid, &bytes, state);
                let input = Input::Received { assoc, ppid, bytes: &bytes };
                self.with_served(id, conn, |served, now| served.machine.handle_input(now, input));
            }
            Given::Closed { reason, .. } => {
                let input = Input::Closed { assoc, reason };
                self.with_served(id, conn, |served, now| served.machine.handle_input(now, input));
            }
            Given::SendFailed { .. } => {
                let input = Input::SendFailed { assoc };
                self.with_served(id, conn, |served, now| served.machine.handle_input(now, input));
            }
            Given::Timeout => {
                self.with_served(id, conn, |served, now| {
                    if served.machine.next_timeout().is_some_and(|due| due <= now) {
                        served.machine.handle_input(now, Input::Timeout);
                    }
                });
                let now = self.local(id);
                let served = self.nodes[id].sessions.served.get(&conn);
                let due = served.and_then(|served| served.machine.next_timeout());
                if due.is_some_and(|due| due <= now) {
                    self.violate("I10", Some(id), "wants to be woken in the past, again".into());
                }
            }
            Given::Connected { .. }
            | Given::ConnectFailed { .. }
            | Given::Datagram { .. }
            | Given::Command(_) => {}
        }
    }

    pub(super) fn read_served(&mut self, id: NodeId, conn: usize) {
        let mut unread = VecDeque::new();
        self.with_served(id, conn, |served, now| {
            served.reading = true;
            served.machine.set_reading(now, true);
            unread = std::mem::take(&mut served.unread);
        });
        for given in unread {
            self.handle_served(id, conn, given);
        }
    }

    /// An element gives all its users its state.
    pub(crate) fn send_cookies(&mut self, id: NodeId) {
        for conn in self.served(id) {
            self.with_served(id, conn, |served, _| served.send_cookie());
        }
    }

    /// An element tells all its users in which order to fail over.
    pub(crate) fn send_cards(&mut self, id: NodeId, card: &BusinessCard) {
        for conn in self.served(id) {
            // The queue is never that full.
            self.with_served(id, conn, |served, _| {
                let _ = served.machine.send_card(card);
            });
        }
    }

    /// An element sends all its users away: for good, or to another one.
    pub(crate) fn leave_sessions(&mut self, id: NodeId, for_good: bool) {
        for conn in self.served(id) {
            self.leave_session(id, conn, for_good);
        }
    }

    fn served(&self, id: NodeId) -> Vec<usize> {
        self.nodes[id].sessions.served.keys().copied().collect()
    }

    fn leave_session(&mut self, id: NodeId, conn: usize, for_good: bool) {
        self.oracle.sessions.excuse_element(conn);
        self.with_served(id, conn, |served, _| {
            served.leaving = true;
            if for_good {
                let _ = served.machine.send_end();
            }
        });
    }

    pub(super) fn with_served(
        &mut self,
        id: NodeId,
        conn: usize,
        act: impl FnOnce(&mut Served, Instant),
    ) {
        let Some(mut served) = self.nodes[id].sessions.served.remove(&conn) else { return };
        let now = self.local(id);
        act(&mut served, now);
        let mut done = Vec::new();
        self.drain_served(id, &mut served, &mut done);
        for deed in done {
            self.do_served(id, &mut served, now, deed);
        }
        self.drain_served(id, &mut served, &mut Vec::new());
        while self.has_room(conn, 1)
            && let Some((assoc, payload)) = served.machine.next_message()
        {
            self.transmit(assoc, payload.ppid, payload.bytes);
        }
        if served.leaving && served.machine.is_drained() && !served.machine.has_ended() {
            served.machine.close();
            self.drain_served(id, &mut served, &mut Vec::new());
        }
        if !served.machine.has_ended() {
            self.nodes[id].sessions.served.insert(conn, served);
        }
        self.wake_sessions_later(id);
    }

    fn drain_served(&mut self, id: NodeId, served: &mut Served, done: &mut Vec<Deed>) {
        let mut outputs = 0;
        while let Some(output) = served.machine.poll_output() {
            outputs += 1;
            if outputs > MAX_OUTPUTS {
                return self.violate("I8", Some(id), "puts out without end".to_owned());
            }
            match output {
                Output::Transmit { assoc, ppid, bytes } => self.transmit(assoc, ppid, bytes),
                Output::Disconnect { assoc } => {
                    let other = self.conns[end_of(assoc).0].ends[0].node;
                    self.trace.line(self.now, Some(id), Some(other), || "closes".to_owned());
                    self.disconnect(assoc);
                }
                Output::Event(event) => done.extend(self.on_served_event(id, served, event)),
                Output::Connect { .. } | Output::Abandon { .. } | Output::Multicast { .. } => {}
            }
        }
    }

    /// What the application does about it.
    fn on_served_event(&mut self, id: NodeId, served: &mut Served, event: Event) -> Option<Deed> {
        if !matches!(event, Event::Received(_)) {
            self.trace.line(self.now, Some(id), None, || describe::element_session(&event));
        }
        let conn = served.conn;
        let mut deed = None;
        let verdict = match event {
            Event::Begun { cookie } => {
                let again = std::mem::replace(&mut served.begun, true);
                let said = cookie.as_deref().and_then(Said::read);
                served.state = said.map(|said| (said.session, said.number));
                self.oracle.sessions.resumed(conn, cookie.as_deref(), again)
            }
            Event::Received(_) if !served.begun => {
                Err(("I9", "takes data before the session has begun".to_owned()))
            }
            Event::Received(payload) => match Said::read(&payload.bytes) {
                Some(said) if said.kind == QUESTION => {
                    served.state = Some((said.session, said.number));
                    deed = Some(self.draw_deed(id, said));
                    self.oracle.sessions.arrived(said.session, said.number, conn)
                }
                _ => Err(("I9", "gets what nobody has said".to_owned())),
            },
            Event::LateCookie(_) | Event::BusinessCard(_) | Event::Ended(_) => Ok(()),
        };
        self.judge(id, verdict);
        deed
    }

    fn draw_deed(&mut self, id: NodeId, said: Said) -> Deed {
        let by_chance = self.nodes[id].owner.service.as_ref().is_some_and(|own| own.by_chance);
        let drawn = if by_chance { self.nodes[id].of_sessions.below(1000) } else { u64::MAX };
        match drawn {
            0..300 => Deed::ReplyAndCookie(said),
            300..320 => Deed::ReplyAndCard(said, self.card(id)),
            320..323 => Deed::ReplyAndLeave(said, true),
            323..328 => Deed::ReplyAndLeave(said, false),
            328..335 => {
                Deed::StopReading(said, self.nodes[id].of_sessions.exponential(NOT_READING))
            }
            _ => Deed::Reply(said),
        }
    }

    fn do_served(&mut self, id: NodeId, served: &mut Served, now: Instant, deed: Deed) {
        match deed {
            Deed::Reply(said) => drop(served.reply(said)),
            Deed::ReplyAndCookie(said) => {
                if served.reply(said) {
                    served.send_cookie();
                }
            }
            Deed::ReplyAndCard(said, card) => {
                if let Some(card) = card.filter(|_| served.reply(said)) {
                    let _ = served.machine.send_card(&card);
                }
            }
            Deed::ReplyAndLeave(said, for_good) => {
                served.reply(said);
                self.oracle.sessions.excuse_element(served.conn);
                served.leaving = true;
                if for_good {
                    let _ = served.machine.send_end();
                }
            }
            Deed::StopReading(said, time) => {
                served.reply(said);
                if served.reading {
                    served.reading = false;
                    served.machine.set_reading(now, false);
                    self.session_later(id, time, Due::Read(Some(served.conn)));
                }
            }
        }
    }

    /// The card of an element: some that run of its pool, itself among them now and then.
    fn card(&mut self, id: NodeId) -> Option<BusinessCard> {
        let Setup::Element(config) = &self.nodes[id].setup else { return None };
        let handle = config.handle.clone();
        let everybody = self.nodes.len() as u64;
        let mut elements = Vec::new();
        for _ in 0..ON_A_CARD {
            let other = self.nodes[id].of_sessions.below(everybody) as usize;
            elements.extend(self.as_listed(other, &handle));
        }
        (!elements.is_empty()).then_some(BusinessCard { handle, elements })
    }

    /// An element as it stands on cards, if it runs and is of this pool.
    pub(crate) fn as_listed(
        &self,
        id: NodeId,
        handle: &rserpool_proto::id::PoolHandle,
    ) -> Option<PoolElement> {
        let Machine::Element(machine) = &self.nodes[id].machine else { return None };
        let Setup::Element(config) = &self.nodes[id].setup else { return None };
        (config.handle == *handle).then(|| PoolElement {
            id: machine.id(),
            home: ServerId::NONE,
            life: 0,
            user_transport: config.user_transport.clone(),
            policy: config.policy.clone(),
            asap_transport: None,
            extensions: ElementExtensions::default(),
        })
    }
}

/// What an application does about a message.
enum Deed {
    Reply(Said),
    ReplyAndCookie(Said),
    ReplyAndCard(Said, Option<BusinessCard>),
    /// For good, or so that the user goes elsewhere.
    ReplyAndLeave(Said, bool),
    StopReading(Said, u64),
}

impl Served {
    /// Whether there was room for it.
    fn reply(&mut self, said: Said) -> bool {
        let said = Said { kind: REPLY, conn: self.conn, ..said };
        self.machine.send(Payload { ppid: 0, bytes: said.write() }).is_ok()
    }

    fn send_cookie(&mut self) {
        if let Some((session, number)) = self.state {
            let said = Said { kind: COOKIE, session, number, conn: self.conn };
            // Without room there is none this time.
            let _ = self.machine.send_cookie(&said.write());
        }
    }
}
