//! Registrars that say what is not so, by mistake or on purpose, one sentence per test.

use super::Ignored;
use super::peer_tests::{ELEMENTS, World, locator, millis, update};
use crate::id::{AssociationId, PeId, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator};
use crate::time::Duration;
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::enrp::{Body, UpdateAction};
use crate::wire::pool_element::PoolElement;
use crate::wire::transport::{SctpTransport, TransportUse};

/// A name for an association that nobody of the world is at the other end of.
const STRANGE: AssociationId = AssociationId(70_000);

impl World {
    /// Somebody from elsewhere connects to a registrar.
    fn intrude(&mut self, registrar: u32, assoc: AssociationId) {
        self.come_from("tcp://10.0.0.66:40000", registrar, assoc);
    }

    fn come_from(&mut self, remote: &str, registrar: u32, assoc: AssociationId) {
        let remote = remote.parse::<Locator>().unwrap();
        let (channel, identity) = (Channel::Enrp, Identity::Anonymous);
        let local = locator(registrar);
        let attempt = None;
        self.input(
            registrar,
            Input::Connected { assoc, attempt, channel, local, remote, identity },
        );
    }

    fn stamp(&self, registrar: u32) -> Option<Stamp> {
        self.space(registrar).element(b"EchoPool", PeId(0)).and_then(|known| known.stamp())
    }

    /// An element as a registrar knows it.
    fn copy(&self, registrar: u32) -> PoolElement {
        self.space(registrar).element(b"EchoPool", PeId(0)).unwrap().to_wire()
    }
}

/// An element at home with 9, which can be called over SCTP at a port.
fn listening(port: u16) -> PoolElement {
    let mut other = World::new(1);
    other.element(1);
    other.pass(millis(10));
    let mut element = other.copy(1);
    element.home = ServerId(9);
    element.extensions.asap_over_tcp = None;
    let (addresses, transport_use) = (locator(9).addresses, TransportUse::DataOnly);
    element.asap_transport = Some(SctpTransport { port, transport_use, addresses });
    element
}

fn presence() -> Body {
    let capabilities = Some(Capabilities(0));
    let (reply_required, checksum, server, digest) = (false, None, None, None);
    Body::Presence { reply_required, checksum, server, digest, capabilities }
}

#[test]
fn whoever_says_elsewhere_that_it_is_a_peer_that_has_just_spoken_is_hung_up_on() {
    let mut world = World::new(2);
    world.element(2);
    world.pass(millis(200));
    let before = world.assoc(1, 2);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 2, update(UpdateAction::Delete, false, world.copy(2)));
    assert_eq!(world.assoc(1, 2), before);
    assert_eq!(world.known(1), [(0, 2)]);
    assert!(!world.registrars[&1].associations.contains_key(&STRANGE));
}

#[test]
fn a_peer_that_is_silent_gives_way_to_itself_elsewhere() {
    let mut world = World::new(2);
    world.cut(1, 2);
    world.pass(millis(300));
    let before = world.assoc(1, 2);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 2, presence());
    assert_eq!(world.assoc(1, 2), before, "it is asked first");
    world.pass(millis(405));
    world.say(1, STRANGE, 2, presence());
    assert_eq!(world.assoc(1, 2), Some(STRANGE));
}

#[test]
fn a_peer_that_answers_when_somebody_else_says_to_be_it_stays_where_it_is() {
    let mut world = World::new(2);
    world.cut(1, 2);
    world.pass(millis(300));
    let before = world.assoc(1, 2);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 2, presence());
    world.heal();
    world.pass(millis(1_000));
    world.say(1, STRANGE, 2, presence());
    assert_eq!(world.assoc(1, 2), before);
    assert_eq!(world.known(1), world.known(2));
}

#[test]
fn a_peer_that_has_restarted_where_it_was_is_let_in_at_once() {
    let mut world = World::new(2);
    world.kill(2, true);
    world.start(2, &[1]);
    world.pass(millis(20));
    assert!(world.assoc(1, 2).is_some_and(|assoc| world.ends.contains_key(&(1, assoc))));
    world.pass(millis(1_100));
    assert!(world.assoc(2, 1).is_some());
    assert_eq!(world.seen(|event| matches!(event, super::Event::TakenOver { .. })), 0);
}

#[test]
fn a_takeover_is_not_believed_of_a_peer_that_has_just_spoken() {
    let mut world = World::new(3);
    world.element(2);
    world.pass(millis(200));
    let before = world.assoc(1, 2);
    let by = world.assoc(1, 3).unwrap();
    world.say(1, by, 3, Body::InitTakeover { target: ServerId(2) });
    world.say(1, by, 3, Body::TakeoverServer { target: ServerId(2) });
    assert_eq!(world.known(1), [(0, 2)]);
    assert_eq!(world.assoc(1, 2), before);
}

#[test]
fn an_element_that_is_here_stays_here_however_often_it_is_taken() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(200));
    for times in 0..50 {
        for registrar in [1, 3] {
            let by = world.assoc(registrar, 2).unwrap();
            let mut taken = world.copy(registrar);
            taken.home = ServerId(2);
            taken.extensions.stamp.as_mut().unwrap().moves += 1;
            world.say(registrar, by, 2, update(UpdateAction::Add, false, taken));
        }
        assert_eq!(world.known(1), [(0, 1)]);
        world.pass(millis(3));
        assert!(times >= 4 || world.known(3) == [(0, 1)], "the others are told, up to a limit");
    }
    world.pass(millis(1_500));
    assert_eq!(world.known(3), [(0, 1)], "and hear it from an audit then");
    assert_eq!(world.known(2), [(0, 1)]);
}

#[test]
fn two_that_both_hold_an_element_do_not_tell_each_other_so_without_end() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(200));
    // It says the same to another one, and answers both.
    world.elements[0].seq -= 1;
    world.elements[0].assoc = None;
    world.register(0, 2);
    world.pass(millis(10_000));
    let moves = world.stamp(1).unwrap().moves;
    assert!(moves < 60, "{moves} claims in 10 s");
    assert_eq!(world.known(1).len(), 1);
    // It says where it is when it renews.
    world.register(0, 2);
    world.pass(millis(1_000));
    assert_eq!(world.known(1), [(0, 2)]);
    world.assert_agreed();
}

#[test]
fn one_that_takes_without_end_does_not_make_a_home_speak_without_end() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(200));
    let by = world.assoc(1, 2).unwrap();
    let before = world.stamp(1).unwrap();
    for _ in 0..1_000 {
        let mut taken = world.copy(1);
        taken.home = ServerId(2);
        taken.extensions.stamp.as_mut().unwrap().moves = before.moves + 10_000;
        world.say(1, by, 2, update(UpdateAction::Add, false, taken));
    }
    assert_eq!(world.known(1), [(0, 1)], "it is not given away for that");
    let told = world.flying.values().filter(|(to, _)| *to == 2).count();
    assert!(told <= 10, "{told} updates");
}

#[test]
fn an_element_that_answers_is_not_given_to_a_registrar_without_stamps() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(200));
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 9, presence());
    let mut taken = world.copy(1);
    taken.home = ServerId(9);
    taken.extensions.stamp = None;
    let before = world.stamp(1);
    world.say(1, STRANGE, 9, update(UpdateAction::Add, false, taken.clone()));
    assert_eq!(world.known(1), [(0, 1)]);
    world.say(1, STRANGE, 9, update(UpdateAction::Delete, false, taken));
    world.pass(millis(5));
    assert_eq!(world.known(1), [(0, 1)]);
    assert!(world.stamp(1) > before, "it is claimed back when it has answered");
}

#[test]
fn an_element_that_has_gone_to_a_registrar_without_stamps_is_there() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(200));
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 9, presence());
    let mut taken = world.copy(1);
    taken.home = ServerId(9);
    taken.extensions.stamp = None;
    world.say(1, STRANGE, 9, update(UpdateAction::Add, false, taken));
    let holder = world.elements[0].assoc.unwrap();
    let (_, holder) = world.ends[&(ELEMENTS, holder)];
    world.input(1, Input::Closed { assoc: holder, reason: CloseReason::Finished });
    assert_eq!(world.known(1), [(0, 9)], "it closes its association when it is there");
}

#[test]
fn what_is_handed_over_is_not_taken_if_something_newer_is_known() {
    let mut world = World::new(3);
    world.element(2);
    world.pass(millis(200));
    let old = world.copy(1);
    world.register(0, 3);
    world.pass(millis(20));
    assert_eq!(world.known(1), [(0, 3)]);
    let by = world.assoc(1, 2).unwrap();
    world.say(1, by, 2, update(UpdateAction::Add, true, old));
    assert_eq!(world.known(1), [(0, 3)]);
    world.pass(millis(500));
    world.assert_agreed();
}

/// Of one that speaks the RFC alone, whose lives are in milliseconds.
fn plain() -> Body {
    match presence() {
        Body::Presence { reply_required, checksum, server, digest, .. } => {
            Body::Presence { reply_required, checksum, server, digest, capabilities: None }
        }
        other => other,
    }
}

#[test]
fn a_copy_does_not_end_while_its_home_is_there_and_says_nothing() {
    let mut world = World::new(2);
    world.intrude(1, STRANGE);
    world.element(2);
    world.pass(millis(20));
    // Their home is one that keeps them for longer than it says, as rsplib does.
    world.say(1, STRANGE, 9, plain());
    let mut element = world.copy(1);
    (element.home, element.life, element.id) = (ServerId(9), 30, PeId(77));
    element.extensions.stamp = None;
    world.say(1, STRANGE, 9, update(UpdateAction::Add, false, element.clone()));
    for _ in 0..20 {
        world.pass(millis(200));
        world.say(1, STRANGE, 9, plain());
        assert!(world.known(1).contains(&(77, 9)));
    }
    world.say(1, STRANGE, 9, update(UpdateAction::Delete, false, element));
    assert_eq!(world.known(1), [(0, 2)], "it ends when its home says so");
}

#[test]
fn an_element_that_a_call_has_missed_is_awaited_unless_nobody_listens_there() {
    // A call that crosses that of the element fails, too.
    for (reason, stays) in [(CloseReason::Lost, true), (CloseReason::Refused, false)] {
        let mut world = World::new(1);
        world.intrude(1, STRANGE);
        world.say(1, STRANGE, 9, presence());
        world.say(1, STRANGE, 9, update(UpdateAction::Add, true, listening(9009)));
        world.cut(1, 9);
        world.pass(millis(1));
        let attempt = *world.registrars[&1].calls.keys().next().unwrap();
        world.input(1, Input::ConnectFailed { attempt, reason });
        assert_eq!(world.known(1).len(), usize::from(stays), "{reason:?}");
        world.pass(Duration::from_secs(3));
        assert_eq!(world.known(1), [], "it has not come");
    }
}

#[test]
fn an_element_that_has_been_called_home_is_not_ended_by_one_that_has_waited_for_it_in_vain() {
    // RFC 5353 §3.5.2: two have taken it over, and it comes to the one whose call it has heard.
    let mut world = World::new(2);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 9, presence());
    world.say(1, STRANGE, 9, update(UpdateAction::Add, true, listening(9009)));
    world.cut(1, 9);
    world.pass(millis(1));
    let attempt = Some(*world.registrars[&1].calls.keys().next().unwrap());
    let (assoc, channel, identity) = (AssociationId(70_001), Channel::Asap, Identity::Anonymous);
    let remote = Locator { port: 9009, ..locator(9) };
    let local = locator(1);
    world.input(1, Input::Connected { assoc, attempt, channel, local, remote, identity });
    let stamp = world.stamp(1);
    let ended = PoolElement { home: ServerId(2), ..world.copy(1) };
    let by = world.assoc(1, 2).unwrap();
    world.say(1, by, 2, update(UpdateAction::Delete, false, ended));
    assert_eq!(world.known(1), [(0, 1)]);
    assert!(world.stamp(1) > stamp, "the others are told that it is here");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.known(1), [], "until it has not answered");
}

#[test]
fn elements_that_listen_at_two_places_are_called_at_both() {
    let mut world = World::new(1);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 9, presence());
    for (id, port) in [(1, 9009), (2, 9010), (3, 9010)] {
        let element = PoolElement { id: PeId(id), ..listening(port) };
        world.say(1, STRANGE, 9, update(UpdateAction::Add, true, element));
    }
    world.cut(1, 9);
    world.cut(1, 10);
    world.pass(millis(1));
    let attempts: Vec<_> = world.registrars[&1].calls.keys().copied().collect();
    assert_eq!(attempts.len(), 2, "once each");
    for attempt in attempts {
        world.input(1, Input::ConnectFailed { attempt, reason: CloseReason::Refused });
    }
    assert_eq!(world.known(1), [], "nobody listens at either");
}

#[test]
fn messages_of_a_doubted_registrar_are_noted_as_ignored() {
    let mut world = World::new(2);
    world.intrude(1, STRANGE);
    world.say(1, STRANGE, 2, presence());
    let foreign = |event: &super::Event| {
        matches!(event, super::Event::Ignored { reason: Ignored::ForeignSender, .. })
    };
    assert_eq!(world.seen(foreign), 1);
}

#[test]
fn of_two_associations_that_one_peer_opened_the_newer_stays() {
    // Whoever dials again has lost the first one, however new that is.
    let mut world = World::new(0);
    world.start(5, &[]);
    world.pass(millis(1_100));
    let newer = AssociationId(70_001);
    for (assoc, from) in [(STRANGE, "tcp://10.0.0.3:40000"), (newer, "tcp://10.0.0.3:40001")] {
        world.come_from(from, 5, assoc);
        world.say(5, assoc, 3, presence());
        world.pass(millis(50));
        assert_eq!(world.assoc(5, 3), Some(assoc));
    }
    assert!(!world.registrars[&5].associations.contains_key(&STRANGE));
}

#[test]
fn a_registrar_that_is_being_dialled_is_not_dialled_again_meanwhile() {
    let mut world = World::new(0);
    world.cut(1, 9);
    world.start(1, &[9]);
    world.pass(millis(20));
    let registrar = &world.registrars[&1];
    assert_eq!(registrar.attempts.len(), 1);
    let contact = *registrar.contacts.keys().next().unwrap();
    let now = world.now;
    let registrar = world.registrars.get_mut(&1).unwrap();
    registrar.dial(now, contact);
    assert_eq!(registrar.attempts.len(), 1);
    registrar.drain(now);
    world.pass(millis(3_000));
    assert_eq!(world.registrars[&1].attempts.len(), 0, "nor is anybody by one that leaves");
}
