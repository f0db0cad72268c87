//! Both machines together: elements that die, hang and refuse, without latency.
#![cfg(all(feature = "element", feature = "user"))]

use super::element::{self, ElementSession, ElementSessionConfig};
use super::user::{self, Delivery, EndReason, Target, UserSession, UserSessionConfig, Wanted};
use super::{BusinessCard, ElementHandle, Limits, Payload, SendError, SessionTimers};
use crate::endpoint::pool_user::ResolveError;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::timers::Preset;
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, Message};
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

fn address(id: u32) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + u16::try_from(id).unwrap()))
}

fn ours(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId(7),
        life: 30,
        user_transport: Transport::Tcp(address(id)),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: ElementExtensions { tcp_control: true, ..ElementExtensions::default() },
    }
}

/// An element that is a TCP server like any other.
fn plain(id: u32) -> PoolElement {
    PoolElement { extensions: ElementExtensions::default(), ..ours(id) }
}

fn over_sctp(id: u32, transport_use: TransportUse) -> PoolElement {
    let transport = SctpTransport { transport_use, ..SctpTransport::new(address(id)) };
    PoolElement { user_transport: Transport::Sctp(transport), ..plain(id) }
}

fn says(text: &str) -> Payload {
    Payload { ppid: 0, bytes: text.into() }
}

/// One user, and a pool whose elements answer unless they are told otherwise.
struct World {
    now: Instant,
    user: UserSession,
    elements: BTreeMap<PeId, PoolElement>,
    /// Nobody listens there.
    dead: BTreeSet<PeId>,
    /// Connections come about, and nothing is answered.
    hung: BTreeSet<PeId>,
    /// The association the user has, and the other end of it.
    up: Option<(AssociationId, PeId, ElementSession)>,
    next_assoc: u64,
    wanted: Vec<Wanted>,
    user_events: Vec<user::Event>,
    element_events: Vec<(PeId, element::Event)>,
    /// What the user sent, by the element it was for.
    sent: Vec<(PeId, Result<Body, Payload>)>,
    timers: SessionTimers,
}

impl World {
    fn new(elements: impl IntoIterator<Item = PoolElement>) -> Self {
        Self::with(UserSessionConfig::new(Target::Pool(pool())), elements)
    }

    /// Elements without a control channel will do.
    fn undemanding(elements: impl IntoIterator<Item = PoolElement>) -> Self {
        let mut config = UserSessionConfig::new(Target::Pool(pool()));
        config.needs_control = false;
        Self::with(config, elements)
    }

    fn with(config: UserSessionConfig, elements: impl IntoIterator<Item = PoolElement>) -> Self {
        let now = Instant::from_micros(1_000_000);
        let timers = config.timers.clone();
        let mut world = Self {
            now,
            user: UserSession::new(config, now),
            elements: elements.into_iter().map(|element| (element.id, element)).collect(),
            dead: BTreeSet::new(),
            hung: BTreeSet::new(),
            up: None,
            next_assoc: 1,
            wanted: Vec::new(),
            user_events: Vec::new(),
            element_events: Vec::new(),
            sent: Vec::new(),
            timers,
        };
        world.settle();
        world
    }

    /// Carries everything to and fro until nothing moves any more.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if !(self.drain_user() | self.drain_element()) {
                return;
            }
        }
        panic!("it never ends");
    }

    fn drain_user(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.user.poll_output() {
            moved = true;
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    self.carry(assoc, Payload { ppid, bytes })
                }
                Output::Event(user::Event::Wanted(wanted)) => self.answer(wanted),
                Output::Event(event) => self.user_events.push(event),
                Output::Connect { attempt, channel: Channel::Asap, to } => {
                    let id = PeId(u32::from(to.port) - 1000);
                    if self.dead.contains(&id) {
                        let reason = CloseReason::Refused;
                        self.user.handle_input(self.now, Input::ConnectFailed { attempt, reason });
                    } else {
                        self.connect(attempt, id, to);
                    }
                }
                Output::Disconnect { assoc } => {
                    let (known, ..) = self.up.as_ref().expect("it has an association");
                    assert_eq!(*known, assoc);
                    self.close_element();
                }
                Output::Abandon { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some((assoc, payload, _)) = self.user.next_message() {
            moved = true;
            self.carry(assoc, payload);
        }
        moved
    }

    fn connect(&mut self, attempt: crate::machine::AttemptId, id: PeId, to: Locator) {
        assert!(self.up.is_none(), "one element at a time");
        let assoc = AssociationId(self.next_assoc);
        self.next_assoc += 1;
        let config = ElementSessionConfig {
            control: self.elements[&id].extensions.tcp_control,
            card: None,
            timers: self.timers.clone(),
            limits: Limits::default(),
        };
        let mut session = ElementSession::new(config, self.now);
        for (attempt, user) in [(Some(attempt), true), (None, false)] {
            let input = Input::Connected {
                assoc,
                attempt,
                channel: Channel::Asap,
                local: to.clone(),
                remote: to.clone(),
                identity: Identity::Anonymous,
            };
            if user {
                self.user.handle_input(self.now, input);
            } else {
                session.handle_input(self.now, input);
            }
        }
        self.up = Some((assoc, id, session));
    }

    fn answer(&mut self, wanted: Wanted) {
        let good = |id: &PeId| wanted.id.map_or(!wanted.exclude.contains(id), |want| want == *id);
        let found = self.elements.values().find(|element| good(&element.id)).cloned();
        match found {
            Some(element) => self.user.picked(self.now, Arc::new(element)),
            None => {
                self.user.not_found(self.now, ResolveError::NoElement { handle: pool() });
            }
        }
        self.wanted.push(wanted);
    }

    fn carry(&mut self, assoc: AssociationId, payload: Payload) {
        let (known, id, session) = self.up.as_mut().expect("it has an association");
        assert_eq!(*known, assoc);
        let what = if payload.ppid == PPID_ASAP && payload.bytes[0] != 0xf0 {
            Ok(Message::decode(&payload.bytes).unwrap().message.body)
        } else {
            Err(payload.clone())
        };
        self.sent.push((*id, what));
        if !self.hung.contains(id) {
            let Payload { ppid, bytes } = &payload;
            session.handle_input(self.now, Input::Received { assoc, ppid: *ppid, bytes });
        }
    }

    fn drain_element(&mut self) -> bool {
        let Some((assoc, id, session)) = &mut self.up else { return false };
        let (assoc, id) = (*assoc, *id);
        if self.hung.contains(&id) {
            return false;
        }
        let mut outputs = Vec::new();
        while let Some(output) = session.poll_output() {
            outputs.push(output);
        }
        while let Some((assoc, Payload { ppid, bytes })) = session.next_message() {
            outputs.push(Output::Transmit { assoc, ppid, bytes });
        }
        let moved = !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Transmit { ppid, bytes, .. } => {
                    let input = Input::Received { assoc, ppid, bytes: &bytes };
                    self.user.handle_input(self.now, input);
                }
                Output::Event(event) => self.element_events.push((id, event)),
                Output::Disconnect { .. } => {
                    self.up = None;
                    let reason = CloseReason::Finished;
                    self.user.handle_input(self.now, Input::Closed { assoc, reason });
                }
                other => panic!("{other:?}"),
            }
        }
        moved
    }

    /// The user has closed.
    fn close_element(&mut self) {
        self.drain_element();
        let Some((assoc, id, mut session)) = self.up.take() else { return };
        if self.hung.contains(&id) {
            return;
        }
        session.handle_input(self.now, Input::Closed { assoc, reason: CloseReason::Finished });
        while let Some(output) = session.poll_output() {
            if let Output::Event(event) = output {
                self.element_events.push((id, event));
            }
        }
    }

    /// The element that is up dies, and is gone from the pool.
    fn kill(&mut self) -> PeId {
        let (assoc, id, _) = self.up.take().unwrap();
        self.elements.remove(&id);
        self.user.handle_input(self.now, Input::Closed { assoc, reason: CloseReason::Lost });
        self.settle();
        id
    }

    fn element_does(&mut self, act: impl FnOnce(&mut ElementSession)) {
        act(&mut self.up.as_mut().unwrap().2);
        self.settle();
    }

    fn user_sends(&mut self, text: &str) {
        self.user.send(says(text), Delivery::Failover).unwrap();
        self.settle();
    }

    fn pass_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        for _ in 0..10_000 {
            let element = self.up.as_ref().filter(|(_, id, _)| !self.hung.contains(id));
            let element = element.and_then(|(.., session)| session.next_timeout());
            let next = [self.user.next_timeout(), element].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.user.handle_input(self.now, Input::Timeout);
            if let Some((_, id, session)) = &mut self.up
                && !self.hung.contains(id)
            {
                session.handle_input(self.now, Input::Timeout);
            }
            self.settle();
        }
        panic!("a busy loop");
    }

    fn at(&self) -> Option<u32> {
        self.user.element().map(|element| element.id.0)
    }

    fn told(&mut self) -> Vec<user::Event> {
        core::mem::take(&mut self.user_events)
    }

    fn told_element(&mut self) -> Vec<(PeId, element::Event)> {
        core::mem::take(&mut self.element_events)
    }
}

fn failover(from: u32, to: PoolElement, cookie_sent: bool, unsent: &[&str]) -> user::Event {
    let unsent = unsent.iter().map(|text| says(text)).collect();
    user::Event::Failover { from: PeId(from), to: Arc::new(to), cookie_sent, unsent }
}

#[test]
fn a_session_begins_with_an_element_of_the_pool_and_carries_messages_both_ways() {
    let mut world = World::new([ours(1)]);
    assert_eq!(world.told(), [user::Event::Begun(Arc::new(ours(1)))]);
    world.user_sends("ping");
    world.element_does(|session| session.send(says("pong")).unwrap());
    assert_eq!(world.told(), [user::Event::Received(says("pong"))]);
    let events = [element::Event::Begun { cookie: None }, element::Event::Received(says("ping"))];
    assert_eq!(world.told_element(), events.map(|event| (PeId(1), event)));
}

/// RFC 5352 §3.8.
#[test]
fn the_newest_cookie_is_the_first_message_to_the_next_element() {
    let mut world = World::new([ours(1), ours(2)]);
    world.element_does(|session| {
        session.send_cookie(b"old").unwrap();
        session.send_cookie(b"new").unwrap();
    });
    world.told();
    world.sent.clear();
    world.kill();
    let first = (PeId(2), Ok(Body::CookieEcho(b"new".as_slice().into())));
    assert_eq!(world.sent[0], first);
    assert_eq!(world.told(), [user::Event::Unreachable(PeId(1)), failover(1, ours(2), true, &[])]);
    let begun = element::Event::Begun { cookie: Some(b"new".as_slice().into()) };
    assert!(world.told_element().contains(&(PeId(2), begun)));
    // The next one gets it, too, though the second has sent none.
    world.elements.insert(PeId(3), ours(3));
    world.kill();
    assert!(world.sent.contains(&(PeId(3), Ok(Body::CookieEcho(b"new".as_slice().into())))));
}

#[test]
fn the_failover_is_told_before_anything_from_the_new_element() {
    let mut world = World::new([ours(1), ours(2)]);
    world.told();
    world.kill();
    world.element_does(|session| session.send(says("here I am")).unwrap());
    let events = world.told();
    assert!(matches!(events[1], user::Event::Failover { .. }), "{events:?}");
    assert_eq!(events[2], user::Event::Received(says("here I am")));
}

/// A cookie that overtook data would claim what the user never got.
#[test]
fn cookies_and_data_of_an_element_stay_in_order() {
    let mut world = World::new([ours(1)]);
    let (_, _, session) = world.up.as_mut().unwrap();
    session.send(says("one")).unwrap();
    session.send_cookie(b"after one").unwrap();
    session.send(says("two")).unwrap();
    let kinds: Vec<u32> =
        core::iter::from_fn(|| session.next_message()).map(|(_, payload)| payload.ppid).collect();
    assert_eq!(kinds, [0, PPID_ASAP, 0]);
}

/// RFC 5352 §6.5.5.
#[test]
fn what_was_not_handed_over_goes_to_the_next_element_or_comes_back_as_asked() {
    let mut world = World::new([ours(1), ours(2)]);
    world.told();
    let mut send = |text, delivery| world.user.send(says(text), delivery).unwrap();
    send("a", Delivery::Failover);
    send("b", Delivery::NoFailover);
    send("c", Delivery::Failover);
    send("d", Delivery::NoFailover);
    world.kill();
    let events = world.told();
    assert_eq!(events[1], failover(1, ours(2), false, &["b", "d"]));
    let got = world.told_element().into_iter().filter_map(|(id, event)| match event {
        element::Event::Received(payload) => Some((id.0, payload)),
        _ => None,
    });
    let got: Vec<_> = got.collect();
    assert_eq!(got, [(2, says("a")), (2, says("c"))]);
}

#[test]
fn what_the_transport_gives_back_was_never_handed_over() {
    let mut world = World::new([ours(1), ours(2)]);
    world.told();
    for (text, delivery) in [("a", Delivery::Failover), ("b", Delivery::NoFailover)] {
        world.user.send(says(text), delivery).unwrap();
    }
    let mut given = Vec::new();
    while let Some((_, payload, delivery)) = world.user.next_message() {
        given.push((payload, delivery));
    }
    world.user.send(says("c"), Delivery::Failover).unwrap();
    world.user.take_back(given);
    world.kill();
    assert_eq!(world.told()[1], failover(1, ours(2), false, &["b"]));
    let got = world.told_element().into_iter().filter_map(|(_, event)| match event {
        element::Event::Received(payload) => Some(payload),
        _ => None,
    });
    assert_eq!(got.collect::<Vec<_>>(), [says("a"), says("c")]);
}

#[test]
fn without_failover_the_session_ends_with_its_element_and_gives_back_what_is_unsent() {
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.failover = false;
    let mut world = World::with(config, [ours(1), ours(2)]);
    world.told();
    world.user.send(says("a"), Delivery::Failover).unwrap();
    world.kill();
    let reason = EndReason::Lost { element: PeId(1) };
    let ended = user::Event::Ended { reason, unsent: vec![says("a")] };
    assert_eq!(world.told(), [user::Event::Unreachable(PeId(1)), ended]);
    assert_eq!(world.user.send(says("b"), Delivery::Failover), Err(SendError::Ended));
    assert_eq!(world.user.next_timeout(), None);
}

#[test]
fn elements_that_refuse_are_reported_and_passed_over() {
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.preferred = vec![PeId(3)];
    let mut world = World::with(config, [ours(1), ours(2)]);
    assert_eq!(world.wanted[0].id, Some(PeId(3)), "preferred, though it is gone");
    assert_eq!(world.at(), Some(1));
    world.dead.insert(PeId(2));
    world.elements.insert(PeId(4), ours(4));
    world.told();
    world.kill();
    assert_eq!(
        world.told(),
        [
            user::Event::Unreachable(PeId(1)),
            user::Event::Unreachable(PeId(2)),
            failover(1, ours(4), false, &[]),
        ]
    );
}

#[test]
fn a_hung_element_is_noticed_by_its_silence_and_left() {
    for (preset, outage) in [(Preset::Default, 1_500), (Preset::Realtime, 400)] {
        let mut config = UserSessionConfig::new(Target::Pool(pool()));
        config.timers = SessionTimers::preset(preset);
        let mut world = World::with(config, [ours(1), ours(2)]);
        world.pass_ms(10_000);
        assert_eq!(world.at(), Some(1), "an idle session stays");
        world.hung.insert(PeId(1));
        world.pass_ms(outage);
        assert_eq!(world.at(), Some(2), "{preset}");
    }
}

/// The kernel of a stopped process accepts connections in its name.
#[test]
fn an_element_that_was_hung_before_is_noticed_too() {
    let mut world = World::new([ours(1), ours(2)]);
    world.hung.insert(PeId(2));
    world.elements.insert(PeId(3), ours(3));
    world.kill();
    assert_eq!(world.at(), Some(2));
    world.pass_ms(900);
    assert_eq!(world.at(), Some(3));
}

#[test]
fn a_busy_element_that_does_not_read_is_not_taken_for_a_hung_one() {
    let mut world = World::new([ours(1), ours(2)]);
    world.pass_ms(1_000);
    let now = world.now;
    world.element_does(|session| session.set_reading(now, false));
    // The harness hands keep-alives on all the same; they must not be what helps.
    let asked = world.sent.len();
    world.pass_ms(5_000);
    assert_eq!((world.at(), world.sent.len()), (Some(1), asked));
}

#[test]
fn a_user_that_was_suspended_does_not_blame_its_element() {
    let mut world = World::new([ours(1), ours(2)]);
    world.hung.insert(PeId(1));
    world.pass_ms(500);
    // All at once it is much later, and what the element has answered is not read yet.
    world.now = world.now + Duration::from_secs(100);
    world.user.handle_input(world.now, Input::Timeout);
    world.hung.clear();
    world.settle();
    world.pass_ms(3_000);
    assert_eq!(world.at(), Some(1));
}

/// RFC 5352 §3.9.
#[test]
fn the_order_of_a_business_card_is_obeyed() {
    let mut world = World::new([ours(1), ours(2), ours(3), ours(4)]);
    let elements = vec![ours(1), ours(4), ours(3)];
    let card = BusinessCard { handle: pool(), elements };
    world.element_does(|session| session.send_card(&card).unwrap());
    assert!(world.told().contains(&user::Event::BusinessCard(card)));
    world.kill();
    assert_eq!(world.at(), Some(4));
    world.kill();
    assert_eq!(world.at(), Some(3));
    world.kill();
    assert_eq!(world.at(), Some(2), "the rest by the policy");
}

#[test]
fn a_user_that_is_an_element_itself_shows_its_card_to_every_element() {
    let own = BusinessCard { handle: PoolHandle::new("Peers").unwrap(), elements: vec![ours(9)] };
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.card = Some(own.clone());
    let mut world = World::with(config, [ours(1), ours(2)]);
    world.kill();
    for id in [1, 2] {
        let event = (PeId(id), element::Event::BusinessCard(own.clone()));
        assert!(world.element_events.contains(&event), "{id}");
    }
}

/// RFC 5352 §3.9: MUST ONLY be sent if a control channel exists; §5 for the identifiers.
#[test]
fn without_a_control_channel_nothing_but_data_is_sent() {
    for element in [plain(1), over_sctp(1, TransportUse::DataOnly)] {
        let mut config = UserSessionConfig::new(Target::Pool(pool()));
        config.needs_control = false;
        config.card = Some(BusinessCard { handle: pool(), elements: vec![ours(9)] });
        let mut world = World::with(config, [element]);
        world.user_sends("ping");
        world.pass_ms(60_000);
        assert_eq!(world.sent, [(PeId(1), Err(says("ping")))]);
        let refused =
            world.user.send(Payload { ppid: PPID_ASAP, bytes: vec![1] }, Delivery::Failover);
        assert_eq!(refused, Err(SendError::Reserved));
        assert_eq!(world.at(), Some(1));
    }
}

#[test]
fn elements_without_a_control_channel_are_passed_over_unless_they_will_do() {
    let mut world = World::new([plain(1), over_sctp(2, TransportUse::DataOnly), ours(3)]);
    assert_eq!(world.at(), Some(3));
    world.kill();
    assert_eq!(world.at(), None);
    // What was known then may be wrong by now.
    world.elements.insert(PeId(1), ours(1));
    world.wanted.clear();
    world.pass_ms(50);
    assert_eq!((world.at(), world.wanted[0].anew), (Some(1), true));
    assert_eq!(World::undemanding([plain(1), ours(3)]).at(), Some(1));
}

#[test]
fn strangers_over_sctp_get_cookies_and_cards_but_no_keep_alives() {
    let mut world = World::new([over_sctp(1, TransportUse::DataPlusControl)]);
    world.pass_ms(60_000);
    assert!(world.sent.is_empty());
    let (assoc, ..) = world.up.as_ref().unwrap();
    let mut bytes = Vec::new();
    Message::from(Body::Cookie(b"c".as_slice().into())).encode(&mut bytes).unwrap();
    let input = Input::Received { assoc: *assoc, ppid: PPID_ASAP, bytes: &bytes };
    world.user.handle_input(world.now, input);
    world.elements.insert(PeId(2), over_sctp(2, TransportUse::DataPlusControl));
    world.kill();
    assert_eq!(world.sent, [(PeId(2), Ok(Body::CookieEcho(b"c".as_slice().into())))]);
}

#[test]
fn a_session_with_an_element_stays_with_it_while_it_lives() {
    let handle = ElementHandle { pool: pool(), id: PeId(2) };
    let target = Target::Element(handle.clone());
    let mut world = World::with(UserSessionConfig::new(target.clone()), [ours(1), ours(2)]);
    assert_eq!(world.at(), Some(2));
    world.kill();
    assert_eq!(world.at(), Some(1));
    let mut config = UserSessionConfig::new(target);
    config.failover = false;
    let mut world = World::with(config, [ours(1)]);
    let no_element = ResolveError::NoElement { handle: pool() };
    let ended = user::Event::Ended { reason: EndReason::NoElement(no_element), unsent: vec![] };
    assert_eq!(world.told(), [ended]);
}

#[test]
fn a_session_with_one_element_and_no_other_ends_if_that_cannot_be_used() {
    let target = Target::Element(ElementHandle { pool: pool(), id: PeId(1) });
    let mut config = UserSessionConfig::new(target);
    config.failover = false;
    let mut world = World::with(config, [plain(1), ours(2)]);
    assert_eq!(
        world.told(),
        [user::Event::Ended { reason: EndReason::NoneUsable, unsent: Vec::new() }]
    );
}

/// RFC 5352 §3.9: who has worked together meets again.
#[test]
fn the_card_of_a_user_says_where_it_is_found_as_an_element() {
    let card = BusinessCard { handle: pool(), elements: vec![ours(3), ours(2)] };
    let config = UserSessionConfig::preferring(&card);
    let mut world = World::with(config, [ours(1), ours(2), ours(3)]);
    assert_eq!(world.at(), Some(3));
    world.kill();
    assert_eq!(world.at(), Some(2));
}

#[test]
fn an_end_that_is_said_is_no_failure() {
    let mut world = World::new([ours(1), ours(2)]);
    world.told();
    world.element_does(|session| {
        session.send(says("bye")).unwrap();
        session.send_end().unwrap();
    });
    let ended = user::Event::Ended { reason: EndReason::Finished, unsent: vec![] };
    assert_eq!(world.told(), [user::Event::Received(says("bye")), ended]);
    // And the other way about.
    let mut world = World::new([ours(1)]);
    world.told_element();
    world.user.close();
    world.settle();
    let finished = element::Event::Ended(element::EndReason::Finished);
    assert_eq!(world.told_element(), [(PeId(1), finished)]);
}

#[test]
fn a_pool_that_has_nobody_left_is_asked_again_and_given_up_in_the_end() {
    let mut world = World::new([ours(1)]);
    world.user_sends("before");
    world.told();
    world.kill();
    world.user.send(says("kept"), Delivery::Failover).unwrap();
    world.pass_ms(10_000);
    assert!((10..30).contains(&world.wanted.len()), "{}", world.wanted.len());
    world.elements.insert(PeId(2), ours(2));
    world.pass_ms(1_000);
    assert_eq!(world.at(), Some(2));
    assert!(world.sent.contains(&(PeId(2), Err(says("kept")))));
    world.kill();
    world.told();
    world.pass_ms(32_000);
    let events = world.told();
    let [user::Event::Ended { reason: EndReason::NoElement(_), .. }] = &events[..] else {
        panic!("{events:?}");
    };
}

#[test]
fn elements_that_fail_at_once_are_not_tried_in_a_tight_circle() {
    let mut world = World::new([ours(1), ours(2)]);
    let mut failovers = 0;
    while world.now < Instant::from_micros(11_000_000) {
        if let Some((assoc, ..)) = world.up.take() {
            failovers += 1;
            world.user.handle_input(world.now, Input::Closed { assoc, reason: CloseReason::Lost });
            world.settle();
        } else {
            world.pass_ms(10);
        }
    }
    assert!((10..50).contains(&failovers), "{failovers}");
}

#[test]
fn a_full_queue_takes_no_more_until_the_transport_has_taken_something() {
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.limits = Limits { message: 10, queued_bytes: 16, queued_messages: 3 };
    let mut world = World::with(config, [ours(1)]);
    let long = world.user.send(says("eleven byte"), Delivery::Failover);
    assert_eq!(long, Err(SendError::TooLong { len: 11, limit: 10 }));
    world.user.send(says("ten bytes."), Delivery::Failover).unwrap();
    assert_eq!(world.user.send(says("seven b"), Delivery::Failover), Err(SendError::Full));
    world.settle();
    for _ in 0..3 {
        world.user.send(says("x"), Delivery::Failover).unwrap();
    }
    assert_eq!(world.user.send(says("x"), Delivery::Failover), Err(SendError::Full));
    assert_eq!(world.user.send(says(""), Delivery::Failover), Err(SendError::Empty));
}

#[test]
fn a_user_that_only_listens_is_not_taken_for_one_that_has_vanished() {
    let mut world = World::new([ours(1), ours(2)]);
    for _ in 0..400 {
        world.pass_ms(200);
        world.element_does(|session| session.send(says("more")).unwrap());
    }
    let moved = |event: &user::Event| matches!(event, user::Event::Failover { .. });
    assert!(!world.told().iter().any(moved));
    let asked = world.sent.iter().filter(|(_, sent)| sent.is_ok()).count();
    assert!(asked < 20, "{asked} keep-alives in 80 s");
}

#[test]
fn users_that_vanish_are_noticed_by_their_silence() {
    let mut world = World::new([ours(1)]);
    world.told_element();
    let (_, _, mut session) = world.up.take().unwrap();
    while let Some(at) = session.next_timeout() {
        session.handle_input(at, Input::Timeout);
        assert!(at < world.now + Duration::from_secs(60));
    }
    let last = core::iter::from_fn(|| session.poll_output()).last();
    assert_eq!(last, Some(Output::Event(element::Event::Ended(element::EndReason::Silent))));
}

#[test]
fn whatever_comes_by_the_control_channel_nothing_panics() {
    use proptest::prelude::*;
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (0u8..16, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, rest)| {
            let len = u8::try_from(4 + rest.len()).unwrap();
            [&[kind, 0, 0, len], &rest[..]].concat()
        }),
    ];
    proptest!(ProptestConfig::with_cases(64), |(messages in prop::collection::vec(message, 0..20))| {
        let mut world = World::new([ours(1), ours(2)]);
        for bytes in &messages {
            if let Some((assoc, _, session)) = &mut world.up {
                let input = || Input::Received { assoc: *assoc, ppid: PPID_ASAP, bytes };
                session.handle_input(world.now, input());
                world.user.handle_input(world.now, input());
            }
            world.settle();
        }
        world.pass_ms(10_000);
    });
}
