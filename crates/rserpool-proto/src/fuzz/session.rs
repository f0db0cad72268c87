//! Sessions: the mapping onto TCP, and the machines of both sides with somebody who says anything.

use super::Bytes;
use super::registrar::{framed, locator};
use crate::endpoint::pool_user::ResolveError;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Identity, Input, Machine, Output};
use crate::session::element::{self, ElementSession, ElementSessionConfig};
use crate::session::mapping::{Deframer, HEADER_LEN, PREFACE};
use crate::session::user::{self, Delivery, Target, UserSession, UserSessionConfig};
use crate::session::{BusinessCard, ElementHandle, Limits, Payload, SendError, SessionTimers};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, Message};
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// A stream, and before it a byte that says how finely it is cut, and whether it begins as it should.
///
/// The messages are those that a walk over the whole stream finds, however it is cut; what cannot be
/// one ends the stream.
pub fn session_mapping(bytes: &[u8]) {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let mut stream = Vec::new();
    if first & 0x80 == 0 {
        stream.extend(PREFACE);
    }
    stream.extend(rest);
    let mut walk = stream.strip_prefix(&PREFACE);
    let mut deframer = Deframer::new(0);
    for piece in stream.chunks(usize::from(first & 0x7f) + 1) {
        deframer.push(piece);
        loop {
            match deframer.next_message() {
                Ok(Some((ppid, message))) => {
                    let rest = walk.expect("messages follow the beginning");
                    let (header, rest) = rest.split_at(HEADER_LEN);
                    let (found, rest) = rest.split_at(message.len());
                    let len = u32::try_from(message.len()).expect("it is short");
                    assert_eq!(header, [len.to_be_bytes(), ppid.to_be_bytes()].concat());
                    assert_eq!(found, message);
                    walk = Some(rest);
                }
                Ok(None) => break,
                Err(_) => {
                    let too_long = |rest: &[u8]| {
                        let len = rest.first_chunk().map(|len| u32::from_be_bytes(*len));
                        len.is_some_and(|len| len > u32::from(u16::MAX))
                    };
                    return assert!(walk.is_none_or(too_long), "it was all right");
                }
            }
        }
    }
    let all = |rest: &[u8]| {
        let len = rest.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
        rest.len() >= HEADER_LEN && rest.len() - HEADER_LEN >= len
    };
    assert!(!walk.is_some_and(all), "a whole message was left");
}

/// A session of either side, its owner, its transport, and the other side, which says anything.
///
/// Of a user: one association at most; the newest cookie goes first; the owner is told of an element
/// before anything of it; every message is handed over once and in order, comes back once, or waits.
/// Of an element: it begins once, before data; what was sent goes out once, in order. Nothing follows
/// the end; time moves on with every timeout; one input makes a bounded number of outputs.
pub fn session_operations(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let kind = bytes.next();
    if kind & 1 == 0 {
        let mut scene = UserScene::new(kind);
        while !bytes.0.is_empty() {
            scene.step(&mut bytes);
        }
    } else {
        let mut scene = ElementScene::new(kind);
        while !bytes.0.is_empty() {
            scene.step(&mut bytes);
        }
    }
}

/// More than an input can cause.
const MOST_OUTPUTS: usize = 100;

fn pool() -> PoolHandle {
    PoolHandle::new("pool").expect("it is short")
}

/// An element over TCP or SCTP, with a control channel or without, or over neither.
fn element(byte: u8) -> PoolElement {
    let id = u32::from(byte & 7);
    let address = SocketAddr::new(IpAddr::from([10, 0, 0, byte & 7]), 80);
    let sctp = |transport_use| {
        Transport::Sctp(SctpTransport { transport_use, ..SctpTransport::new(address) })
    };
    let user_transport = match byte >> 3 & 3 {
        0 | 1 => Transport::Tcp(address),
        2 => sctp(TransportUse::DataPlusControl),
        _ if byte & 0x80 == 0 => sctp(TransportUse::DataOnly),
        _ => Transport::Udp(address),
    };
    let tcp_control = byte & 0x20 == 0;
    PoolElement {
        id: PeId(id),
        home: ServerId(1),
        life: 30,
        user_transport,
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: ElementExtensions { tcp_control, ..ElementExtensions::default() },
    }
}

/// Something of the control channel: cookies, cards and keep-alives, END, or whatever.
fn control(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let byte = bytes.next();
    let cookie = || Box::from([byte]);
    let body = match byte & 7 {
        0 => Body::Cookie(cookie()),
        1 => Body::CookieEcho(cookie()),
        2 => Body::BusinessCard {
            handle: pool(),
            elements: (0..1 + (byte >> 3) % 3).map(|_| element(bytes.next())).collect(),
        },
        3 => Body::EndpointKeepAlive {
            home: false,
            server: ServerId::NONE,
            handle: pool(),
            id: Some(PeId(1)),
        },
        4 => Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) },
        5 => return Vec::from([0xf0, 0, 0, 4]),
        _ => return framed(bytes),
    };
    let mut message = Vec::new();
    Message::from(body).encode(&mut message).expect("it is short");
    message
}

fn connected(assoc: AssociationId, attempt: Option<AttemptId>) -> Input<'static> {
    Input::Connected {
        assoc,
        attempt,
        channel: Channel::Asap,
        local: locator([10, 0, 1, 1], 1),
        remote: locator([10, 0, 1, 2], 2),
        identity: Identity::Anonymous,
    }
}

/// Lets time pass, with every timeout on time.
fn pass<M: Machine>(
    machine: &mut M,
    now: &mut Instant,
    how_long: u8,
    mut after: impl FnMut(&mut M, Instant),
) {
    let end = *now + Duration::from_millis(1 << (how_long % 14));
    while let Some(due) = machine.next_timeout().filter(|due| *due <= end) {
        *now = due.max(*now);
        machine.handle_input(*now, Input::Timeout);
        after(machine, *now);
        assert!(machine.next_timeout().is_none_or(|next| next > *now), "a timeout stays due");
    }
    *now = end;
}

struct UserScene {
    user: UserSession,
    model: UserModel,
    now: Instant,
    names: u64,
}

/// What is known of a user's session.
struct UserModel {
    /// The attempt under way, and the last element that was picked.
    attempt: Option<AttemptId>,
    picked: Option<PoolElement>,
    assoc: Option<AssociationId>,
    /// Nothing was said on the association so far.
    silent: bool,
    /// The owner knows the element.
    told: bool,
    cookie: Option<Box<[u8]>>,
    waits: VecDeque<(u32, Delivery)>,
    /// Handed over on the association.
    taken: Vec<(Payload, Delivery)>,
    sent: u32,
    ended: bool,
    parted: bool,
}

impl UserScene {
    fn new(kind: u8) -> Self {
        let now = Instant::from_micros(1_000_000);
        let target = match kind & 2 {
            0 => Target::Pool(pool()),
            _ => Target::Element(ElementHandle { pool: pool(), id: PeId(1) }),
        };
        let mut config = UserSessionConfig::new(target);
        config.failover = kind & 4 == 0;
        config.needs_control = kind & 8 == 0;
        config.card = (kind & 16 != 0)
            .then(|| BusinessCard { handle: pool(), elements: Vec::from([element(kind)]) });
        if kind & 32 != 0 {
            config.limits = Limits { message: 4, queued_bytes: 16, queued_messages: 3 };
        }
        let user = UserSession::new(config, now);
        let model = UserModel {
            attempt: None,
            picked: None,
            assoc: None,
            silent: true,
            told: false,
            cookie: None,
            waits: VecDeque::new(),
            taken: Vec::new(),
            sent: 0,
            ended: false,
            parted: false,
        };
        let mut scene = Self { user, model, now, names: 0 };
        scene.model.drain(&mut scene.user);
        scene
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (operation, now) = (bytes.next(), self.now);
        let (user, model) = (&mut self.user, &mut self.model);
        match operation % 12 {
            0 => {
                pass(user, &mut self.now, bytes.next(), |user, _| model.drain(user));
            }
            1 => {
                let element = element(bytes.next());
                if model.attempt.is_none() && model.assoc.is_none() {
                    model.picked = Some(element.clone());
                    user.picked(now, Arc::new(element));
                }
            }
            2 => user.not_found(now, ResolveError::NoElement { handle: pool() }),
            3 => {
                self.names += 1;
                let assoc = AssociationId(self.names);
                let attempt = model.attempt.take();
                if attempt.is_some() {
                    (model.assoc, model.silent, model.told) = (Some(assoc), true, false);
                }
                user.handle_input(now, connected(assoc, attempt));
                if attempt.is_some() {
                    // One that came too late was hung up on.
                    model.drain(user);
                    assert!(model.assoc.is_none() || model.told, "it is not told of its element");
                }
            }
            4 => {
                if let Some(attempt) = model.attempt.take() {
                    let reason = CloseReason::Refused;
                    user.handle_input(now, Input::ConnectFailed { attempt, reason });
                }
            }
            5 => {
                if let Some(assoc) = model.assoc.take() {
                    model.take_back(user, operation);
                    let reason = CloseReason::Lost;
                    user.handle_input(now, Input::Closed { assoc, reason });
                }
            }
            6 | 7 => {
                if let Some(assoc) = model.assoc {
                    let message = control(bytes);
                    let ppid = if operation & 0x40 == 0 { PPID_ASAP } else { 0 };
                    model.note(ppid, &message);
                    user.handle_input(now, Input::Received { assoc, ppid, bytes: &message });
                }
            }
            8 | 9 => model.send(user, operation),
            10 => model.next(user),
            _ => match bytes.next() {
                0..200 => user.set_reading(now, operation & 0x40 == 0),
                200..250 => user.fail_over(now),
                _ => {
                    user.close();
                    model.ended = true;
                    model.waits.clear();
                }
            },
        }
        self.model.drain(&mut self.user);
    }
}

impl UserModel {
    fn send(&mut self, user: &mut UserSession, operation: u8) {
        self.sent += 1;
        let payload = Payload { ppid: 0, bytes: self.sent.to_be_bytes().into() };
        let delivery =
            if operation & 0x40 == 0 { Delivery::Failover } else { Delivery::NoFailover };
        let room = user.has_room_for(payload.bytes.len());
        match user.send(payload, delivery) {
            Ok(()) => self.waits.push_back((self.sent, delivery)),
            Err(error) => {
                let expected = if self.ended { SendError::Ended } else { SendError::Full };
                assert!(error == expected && (self.ended || !room), "{error}");
            }
        }
    }

    fn next(&mut self, user: &mut UserSession) {
        let next = user.next_message();
        let Some((assoc, payload, delivery)) = next else {
            let may = self.told && self.assoc.is_some() && !self.ended;
            return assert!(!may || self.waits.is_empty(), "it keeps {:?}", self.waits);
        };
        assert_eq!((Some(assoc), self.told), (self.assoc, true), "the owner knows another one");
        assert_eq!(Some((number(&payload), delivery)), self.waits.pop_front());
        self.taken.push((payload, delivery));
    }

    /// The transport gives back what it has not sent: some of the last messages.
    fn take_back(&mut self, user: &mut UserSession, how_many: u8) {
        let at = self.taken.len().saturating_sub(usize::from(how_many >> 4));
        let back = self.taken.split_off(at);
        self.taken.clear();
        for (payload, delivery) in back.iter().rev() {
            self.waits.push_front((number(payload), *delivery));
        }
        user.take_back(back);
    }

    fn note(&mut self, ppid: u32, message: &[u8]) {
        let control = self.picked.as_ref().is_some_and(has_control);
        if ppid == PPID_ASAP
            && control
            && let Ok(decoded) = Message::decode(message)
            && let Body::Cookie(cookie) = decoded.message.body
        {
            self.cookie = Some(cookie);
        }
    }

    fn drain(&mut self, user: &mut UserSession) {
        let mut outputs = 0;
        while let Some(output) = user.poll_output() {
            outputs += 1;
            assert!(outputs < MOST_OUTPUTS, "one input makes ever more outputs");
            match output {
                Output::Transmit { assoc, ppid, bytes } => self.said(assoc, ppid, &bytes),
                Output::Connect { attempt, .. } => {
                    assert_eq!((self.attempt, self.assoc), (None, None), "two at a time");
                    self.attempt = Some(attempt);
                }
                Output::Abandon { attempt } => assert_eq!(self.attempt.take(), Some(attempt)),
                Output::Disconnect { assoc } => {
                    if self.assoc == Some(assoc) {
                        self.assoc = None;
                        self.parted = true;
                    }
                }
                Output::Event(event) => self.event(event),
                Output::Multicast { .. } => panic!("users of pools announce nothing"),
            }
        }
        if core::mem::take(&mut self.parted) && !self.ended {
            self.take_back(user, 0x20);
        }
        assert_eq!(self.ended, user.has_ended());
    }

    fn said(&mut self, assoc: AssociationId, ppid: u32, bytes: &[u8]) {
        assert_eq!((Some(assoc), ppid), (self.assoc, PPID_ASAP));
        if bytes.first() == Some(&0xf0) {
            return;
        }
        let body = Message::decode(bytes).expect("what it says is a message").message.body;
        let echo = match body {
            Body::CookieEcho(cookie) => Some(cookie),
            _ => None,
        };
        if core::mem::take(&mut self.silent) {
            assert_eq!(echo, self.cookie, "the newest cookie is the first message");
        } else {
            assert_eq!(echo, None, "a cookie is the first message");
        }
    }

    fn event(&mut self, event: user::Event) {
        use user::Event;
        assert!(!self.ended, "{event:?} after the end");
        match event {
            Event::Begun(_) => self.told = true,
            Event::Failover { unsent, cookie_sent, .. } => {
                self.told = true;
                assert!(!cookie_sent || !self.silent, "it says that a cookie was sent");
                self.silent = false;
                let bound = |(_, delivery): &(u32, Delivery)| *delivery == Delivery::NoFailover;
                let (bound, kept) = self.waits.drain(..).partition(bound);
                self.waits = kept;
                let bound: VecDeque<_> = bound;
                assert!(unsent.iter().map(number).eq(bound.iter().map(|(number, _)| *number)));
            }
            Event::Received(_) | Event::BusinessCard(_) => assert!(self.told),
            Event::Ended { unsent, .. } => {
                self.ended = true;
                let waits = self.waits.drain(..).map(|(number, _)| number);
                assert!(unsent.iter().map(number).eq(waits), "nothing is lost without a word");
            }
            Event::Wanted(_) | Event::Unreachable(_) => {}
        }
    }
}

fn has_control(element: &PoolElement) -> bool {
    match &element.user_transport {
        Transport::Sctp(sctp) => sctp.transport_use == TransportUse::DataPlusControl,
        _ => element.extensions.tcp_control,
    }
}

fn number(payload: &Payload) -> u32 {
    payload.bytes.first_chunk().map_or(0, |number| u32::from_be_bytes(*number))
}

struct ElementScene {
    element: ElementSession,
    model: ElementModel,
    now: Instant,
}

/// What is known of an element's session.
struct ElementModel {
    control: bool,
    /// The user has sent a keep-alive.
    asked: bool,
    up: bool,
    begun: bool,
    ended: bool,
    /// Numbers of messages; control messages have none.
    waits: VecDeque<Option<u32>>,
    sent: u32,
}

const ASSOC: AssociationId = AssociationId(1);

impl ElementScene {
    fn new(kind: u8) -> Self {
        let now = Instant::from_micros(1_000_000);
        let config = ElementSessionConfig {
            control: kind & 2 == 0,
            card: (kind & 4 != 0)
                .then(|| BusinessCard { handle: pool(), elements: Vec::from([element(kind)]) }),
            timers: SessionTimers::default(),
            limits: Limits { message: 4, queued_bytes: 64, queued_messages: 5 },
        };
        let mut model = ElementModel {
            control: config.control,
            asked: false,
            up: true,
            begun: false,
            ended: false,
            waits: VecDeque::new(),
            sent: 0,
        };
        let mut element = ElementSession::new(config, now);
        element.handle_input(now, connected(ASSOC, None));
        model.drain(&mut element);
        Self { element, model, now }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (operation, now) = (bytes.next(), self.now);
        let (element, model) = (&mut self.element, &mut self.model);
        match operation % 8 {
            0 => pass(element, &mut self.now, bytes.next(), |element, _| model.drain(element)),
            1 | 2 if model.up => {
                let message = control(bytes);
                let ppid = if operation & 0x40 == 0 { PPID_ASAP } else { 0 };
                let body = Message::decode(&message).map(|decoded| decoded.message.body);
                model.asked |= model.control
                    && ppid == PPID_ASAP
                    && matches!(body, Ok(Body::EndpointKeepAlive { .. }));
                element.handle_input(now, Input::Received { assoc: ASSOC, ppid, bytes: &message });
            }
            3 => {
                model.sent += 1;
                let payload = Payload { ppid: 0, bytes: model.sent.to_be_bytes().into() };
                if element.send(payload).is_ok() {
                    model.waits.push_back(Some(model.sent));
                }
            }
            4 => {
                let is_end = operation >> 3 & 3 == 0;
                let taken = match operation >> 3 & 3 {
                    0 => element.send_end(),
                    1 => element.send_cookie(&[operation]),
                    _ => element.send_card(&BusinessCard {
                        handle: pool(),
                        elements: Vec::from([self::element(bytes.next())]),
                    }),
                };
                // Without a control channel it is dropped, as is END for one who may not know it.
                if taken.is_ok() && model.control && (model.asked || !is_end) {
                    model.waits.push_back(None);
                }
            }
            5 => {
                let next = element
                    .next_message()
                    .map(|(_, payload)| (payload.ppid != PPID_ASAP).then(|| number(&payload)));
                let expected = if model.ended { None } else { model.waits.pop_front() };
                assert_eq!(next, expected, "what was sent goes out once, in order");
            }
            6 => element.set_reading(now, operation & 0x40 == 0),
            7 if operation & 0x80 != 0 && model.up => {
                model.up = false;
                let reason = CloseReason::Lost;
                element.handle_input(now, Input::Closed { assoc: ASSOC, reason });
            }
            7 if operation & 0x40 != 0 => {
                element.close();
                (model.ended, model.up) = (true, false);
            }
            _ => {}
        }
        self.model.drain(&mut self.element);
    }
}

impl ElementModel {
    fn drain(&mut self, element: &mut ElementSession) {
        let mut outputs = 0;
        while let Some(output) = element.poll_output() {
            outputs += 1;
            assert!(outputs < MOST_OUTPUTS, "one input makes ever more outputs");
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    assert_eq!((assoc, ppid, self.up), (ASSOC, PPID_ASAP, true));
                    assert!(Message::decode(&bytes).is_ok());
                }
                Output::Disconnect { assoc } => {
                    assert_eq!(assoc, ASSOC);
                    self.up = false;
                }
                Output::Event(event) => self.event(&event),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.ended, element.has_ended());
    }

    fn event(&mut self, event: &element::Event) {
        use element::Event;
        assert!(!self.ended, "{event:?} after the end");
        match event {
            Event::Begun { .. } => assert!(!core::mem::replace(&mut self.begun, true)),
            Event::Ended(_) => self.ended = true,
            Event::Received(_) | Event::LateCookie(_) | Event::BusinessCard(_) => {
                assert!(self.begun, "{event:?} before it has begun");
            }
        }
    }
}
