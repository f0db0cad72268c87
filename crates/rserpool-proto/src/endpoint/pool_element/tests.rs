//! The element against a registrar played by hand.

use super::*;
use crate::endpoint::testing::*;
use crate::machine::{CloseReason, Locator, TransportKind};
use crate::time::Duration;
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const ID: PeId = PeId(0x11);

fn config(ports: &[u16]) -> PoolElementConfig {
    PoolElementConfig {
        id: Some(ID),
        stamp_start: 1_000,
        life_unit: LifeUnit::Seconds,
        ..PoolElementConfig::new(pool(), user_transport(), registrars(ports))
    }
}

fn start(config: PoolElementConfig) -> Bench<PoolElement> {
    Bench::new(|now| PoolElement::new(config, [1; 32], now))
}

/// An element registered at 3863 with a registrar that sent no capabilities.
fn registered(config: PoolElementConfig) -> (Bench<PoolElement>, AssociationId) {
    let mut bench = start(config);
    let home = bench.connect(3863);
    let id = bench.machine.id();
    bench.receive(home, granted(id, false));
    assert_eq!(bench.events(), [Event::Registered { id, home: registrar(3863) }]);
    bench.sent();
    (bench, home)
}

/// What was sent: letters for registrations (R), deregistrations (D), acknowledgements (A).
fn letters(sent: &[(AssociationId, Body)]) -> Vec<(AssociationId, char)> {
    let letter = |body: &Body| match body {
        Body::Registration { .. } => 'R',
        Body::Deregistration { .. } => 'D',
        Body::EndpointKeepAliveAck { .. } => 'A',
        Body::Error { .. } => 'E',
        _ => '?',
    };
    sent.iter().map(|(assoc, body)| (*assoc, letter(body))).collect()
}

fn stamp(body: &Body) -> Option<Stamp> {
    match body {
        Body::Registration { element, stamp, .. } => element.extensions.stamp.or(*stamp),
        Body::Deregistration { stamp, .. } => *stamp,
        _ => None,
    }
}

#[test]
fn an_element_registers_as_soon_as_it_has_a_home() {
    // RFC 5352 §3.1 R1-R4.
    let mut bench = start(config(&[3863]));
    assert_eq!((bench.dialled(), bench.machine.state()), (vec![3863], State::Hunting));
    let home = bench.connect(3863);
    let sent = bench.sent();
    let Body::Registration { handle, element, capabilities, stamp } = &sent[0].1 else { panic!() };
    assert_eq!((sent.len(), sent[0].0, handle), (1, home, &pool()));
    assert_eq!((element.id, element.home, element.life), (ID, ServerId::NONE, 30));
    assert_eq!(element.user_transport, user_transport());
    assert_eq!(element.policy, policy(1, &[]));
    assert_eq!(element.asap_transport, None);
    // Before the handle, since nothing is known of the registrar.
    assert!(capabilities.is_some() && stamp.is_some() && element.extensions.stamp.is_none());
    assert_eq!(bench.machine.state(), State::Registering);
    bench.receive(home, granted(ID, false));
    assert_eq!(bench.events(), [Event::Registered { id: ID, home: registrar(3863) }]);
    assert_eq!(
        (bench.machine.state(), bench.machine.home()),
        (State::Registered, Some(&registrar(3863)))
    );
}

#[test]
fn life_on_the_wire_is_whole_seconds_rounded_up() {
    // RFC 5354 §3.10.
    for (ms, wire) in [(0, 1), (400, 1), (1_000, 1), (1_001, 2), (30_000, 30), (u64::MAX, -1)] {
        let mut config = config(&[3863]);
        config.timers.registration_life = Duration::from_millis(ms);
        let mut bench = start(config);
        bench.connect(3863);
        let Body::Registration { element, .. } = &bench.sent()[0].1 else { panic!() };
        assert_eq!(element.life, wire, "{ms} ms");
    }
}

#[test]
fn a_registrar_that_is_not_known_is_told_the_life_in_milliseconds_from_the_first_message_on() {
    // Registration Life has no unit on the wire: rsplib takes milliseconds, RFC 5354 §3.10 seconds, and
    // the life that rsplib is told first it keeps.
    let config = PoolElementConfig { life_unit: LifeUnit::Milliseconds, ..config(&[1, 2]) };
    let mut bench = start(config);
    let life = |bench: &mut Bench<PoolElement>| {
        let sent = bench.sent();
        let [(_, Body::Registration { element, capabilities, .. })] = &sent[..] else {
            panic!("{sent:?}")
        };
        (element.life, capabilities.map(Capabilities::counts_milliseconds))
    };
    let stranger = bench.connect(1);
    assert_eq!(
        life(&mut bench),
        (30_000, Some(true)),
        "nothing is known yet, and ours see the unit"
    );
    bench.receive(stranger, granted(ID, false));
    assert!(bench.sent().is_empty(), "it knows all there is to know");
    bench.pass_ms(10_000);
    assert_eq!(life(&mut bench), (30_000, None));
    bench.break_off(stranger);
    let ours = bench.connect(2);
    assert_eq!(
        life(&mut bench),
        (30_000, Some(true)),
        "what was learned belongs to an association"
    );
    bench.receive(ours, granted(ID, true));
    assert!(bench.sent().is_empty(), "it knows all there is to know");
    bench.pass_ms(10_000);
    assert_eq!(life(&mut bench), (30, Some(false)), "seconds, as RFC 5354 has it");
}

#[test]
fn renewals_are_sent_by_t4_and_not_told() {
    let (mut bench, home) = registered(config(&[3863]));
    for _ in 0..3 {
        // Up to a quarter sooner.
        bench.pass_ms(7_490);
        assert!(bench.sent().is_empty());
        let mut sooner = 10_000 - 7_490;
        while bench.sent().is_empty() {
            sooner -= 10;
            bench.pass_ms(10);
        }
        assert!(sooner >= 0);
        bench.receive(home, granted(ID, false));
        assert!(bench.events().is_empty());
    }
}

#[test]
fn an_unanswered_registration_makes_the_element_hunt() {
    // RFC 5352 §3.1: T2.
    let mut bench = start(config(&[1, 2]));
    let first = bench.connect(1);
    bench.sent();
    bench.pass_ms(999);
    assert!(bench.dialled().is_empty());
    bench.pass_ms(1);
    // The one that just failed is not dialled while the other may answer.
    assert_eq!(bench.dialled(), [2]);
    assert_eq!(
        bench.events(),
        [Event::HomeLost { home: registrar(1), reason: LossReason::NoAnswer }]
    );
    let second = bench.connect(2);
    assert_eq!(letters(&bench.sent()), [(second, 'R')]);
    // Not before the new one has registered it.
    assert!(bench.closed().is_empty());
    bench.receive(second, granted(ID, false));
    assert_eq!(bench.closed(), [first]);
    assert_eq!(bench.events(), [Event::Registered { id: ID, home: registrar(2) }]);
}

#[test]
fn a_late_answer_ends_the_hunt() {
    let mut bench = start(config(&[1, 2]));
    let home = bench.connect(1);
    bench.pass_ms(1_001);
    assert_eq!((bench.dialled(), bench.machine.home()), (vec![2], None));
    bench.receive(home, granted(ID, false));
    assert!(bench.dialled().is_empty());
    assert_eq!(bench.machine.state(), State::Registered);
    assert_eq!(bench.closed(), []);
}

#[test]
fn nobody_answering_is_told_once_and_does_not_stop_the_element() {
    // RFC 5352 §3.1, MAX-REG-ATTEMPT.
    let mut bench = start(config(&[1, 2]));
    bench.pass_ms(60_000);
    assert_eq!(bench.events(), [Event::RegistrarUnreachable]);
    assert!(!bench.dialled().is_empty());
    // Two that accept connections and say nothing.
    for _ in 0..6 {
        while bench.dialled().is_empty() {
            bench.pass_ms(100);
        }
        let port = bench.dialled()[0];
        bench.connect(port);
        bench.pass_ms(1_000);
    }
    assert!(!bench.events().contains(&Event::RegistrarUnreachable));
    while bench.dialled().is_empty() {
        bench.pass_ms(100);
    }
    let port = bench.dialled()[0];
    let home = bench.connect(port);
    bench.receive(home, granted(ID, false));
    assert_eq!(bench.machine.state(), State::Registered);
    // From then on it would be told again.
    bench.events();
    bench.break_off(home);
    bench.refuse_all();
    assert!(bench.events().contains(&Event::RegistrarUnreachable));
}

#[test]
fn a_refusal_is_not_repeated_uncorrected() {
    // RFC 5352 §3.1.
    let mut bench = start(config(&[3863]));
    let home = bench.connect(3863);
    bench.sent();
    let errors = vec![ErrorCause::InconsistentPolicy(policy(3, &[]))];
    bench.receive(home, refused(ID, errors.clone()));
    assert_eq!(bench.events(), [Event::Refused { errors }]);
    bench.pass_ms(600_000);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.machine.state(), State::Refused);
    // Corrected.
    bench.call(|element, now| element.set_policy(now, policy(3, &[])));
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
    bench.receive(home, granted(ID, false));
    assert_eq!(bench.machine.state(), State::Registered);
}

#[test]
fn leaving_after_a_refusal_disturbs_nobody() {
    let mut bench = start(config(&[3863]));
    let home = bench.connect(3863);
    bench.sent();
    bench.receive(home, refused(ID, vec![ErrorCause::NonUniquePeId]));
    bench.events();
    bench.call(|element, now| element.deregister(now));
    // The identifier is another's: nothing is sent.
    assert!(bench.sent().is_empty());
    assert_eq!((bench.events(), bench.closed()), (vec![Event::Deregistered], vec![home]));
}

#[test]
fn a_drawn_identifier_that_is_taken_is_drawn_anew_a_few_times() {
    let mut bench = start(PoolElementConfig { id: None, ..config(&[3863]) });
    let home = bench.connect(3863);
    let mut ids = vec![bench.machine.id()];
    for _ in 0..3 {
        let id = bench.machine.id();
        bench.receive(home, refused(id, vec![ErrorCause::NonUniquePeId]));
        assert!(bench.events().is_empty());
        ids.push(bench.machine.id());
    }
    ids.dedup();
    assert_eq!(ids.len(), 4);
    assert_eq!(letters(&bench.sent()).len(), 4);
    let id = bench.machine.id();
    bench.receive(home, refused(id, vec![ErrorCause::NonUniquePeId]));
    assert_eq!(bench.machine.state(), State::Refused);
}

#[test]
fn an_identifier_that_is_given_up_is_held_nowhere_any_more() {
    // The registrar has come back, and has called home what comes to it on another association.
    let mut bench = start(PoolElementConfig { id: None, ..config(&[3863]) });
    let home = bench.connect(3863);
    let id = bench.machine.id();
    bench.receive(home, granted(id, false));
    let visitor = bench.visit(3863);
    let call =
        Body::EndpointKeepAlive { home: true, server: ServerId(7), handle: pool(), id: Some(id) };
    bench.receive(visitor, call);
    bench.break_off(home);
    let home = bench.connect(3863);
    bench.receive(home, refused(id, vec![ErrorCause::NonUniquePeId]));
    assert!(bench.closed().contains(&visitor));
}

#[test]
fn new_values_are_registered_at_once_and_only_the_newest_follow_an_answer() {
    let (mut bench, home) = registered(config(&[3863]));
    bench.call(|element, now| element.set_policy(now, policy(1, &[])));
    assert!(bench.sent().is_empty(), "nothing has changed");
    for load in 1..=5 {
        bench.call(|element, now| element.set_policy(now, policy(0x4000_0001, &[load])));
    }
    let load = |bench: &mut Bench<PoolElement>| {
        let sent = bench.sent();
        let [(_, Body::Registration { element, .. })] = &sent[..] else { panic!("{sent:?}") };
        element.policy.words().unwrap()[0]
    };
    assert_eq!(load(&mut bench), 1);
    bench.receive(home, granted(ID, false));
    assert_eq!(load(&mut bench), 5);
    bench.receive(home, granted(ID, false));
    assert!(bench.sent().is_empty());
}

#[test]
fn a_broken_association_is_a_lost_home_at_once() {
    let (mut bench, home) = registered(config(&[3863, 2]));
    bench.break_off(home);
    let reason = LossReason::Closed(CloseReason::Lost);
    assert_eq!(bench.events(), [Event::HomeLost { home: registrar(3863), reason }]);
    assert_eq!(bench.dialled(), [2]);
    bench.refuse(2);
    assert_eq!(bench.dialled(), [3863], "a registrar that restarts may be back already");
    let home = bench.connect(3863);
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
}

#[test]
fn a_stamp_grows_with_every_message_and_a_stranger_gets_none() {
    let mut bench = start(config(&[3863]));
    let home = bench.connect(3863);
    let seq = |bench: &mut Bench<PoolElement>| {
        let sent = bench.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        stamp(&sent[0].1).map(|stamp| (stamp.seq, stamp.moves))
    };
    // Whoever it is: one registration is enough for a new home.
    assert_eq!(seq(&mut bench), Some((1_001, 0)));
    bench.receive(home, granted(ID, true));
    assert!(bench.sent().is_empty());
    bench.pass_ms(10_000);
    assert_eq!(seq(&mut bench), Some((1_002, 0)));
    bench.receive(home, granted(ID, true));
    // The same registrar after a restart is known to understand stamps.
    bench.break_off(home);
    let home = bench.connect(3863);
    let sent = bench.sent();
    let [(_, Body::Registration { element, stamp: None, .. })] = &sent[..] else { panic!() };
    assert_eq!(element.extensions.stamp, Some(Stamp { seq: 1_003, moves: 0 }));
    bench.receive(home, granted(ID, false));
    assert!(bench.sent().is_empty());
    bench.pass_ms(10_000);
    assert_eq!(seq(&mut bench), None, "a stranger is there now");
    bench.receive(home, granted(ID, true));
    bench.pass_ms(10_000);
    bench.receive(home, granted(ID, true));
    bench.sent();
    bench.call(|element, now| element.deregister(now));
    assert_eq!(seq(&mut bench), Some((1_006, 0)));
}

#[test]
fn a_control_channel_over_tcp_is_offered_where_nobody_minds_it() {
    let mut bench = start(PoolElementConfig { tcp_control: true, ..config(&[3863]) });
    let home = bench.connect(3863);
    let mut offers = |known: Option<bool>| {
        let sent = bench.sent();
        let [(_, Body::Registration { element, capabilities, .. })] = &sent[..] else {
            panic!("{sent:?}")
        };
        let shown = capabilities.map(Capabilities::offers_tcp_control);
        if let Some(capable) = known {
            bench.receive(home, granted(ID, capable));
            assert!(bench.sent().is_empty());
            bench.pass_ms(10_000);
        }
        (element.extensions.tcp_control, shown)
    };
    // In the Pool Element parameter of a stranger nothing may stand that it does not know.
    assert_eq!(offers(Some(true)), (false, Some(true)));
    assert_eq!(offers(Some(false)), (true, Some(false)));
    assert_eq!(offers(None), (false, None));
}

#[test]
fn keep_alives_for_others_are_silently_discarded() {
    // RFC 5352 §3.4 KA1.
    let (mut bench, home) = registered(config(&[3863]));
    let server = ServerId(7);
    let other = PoolHandle::new("Other").unwrap();
    bench.receive(
        home,
        Body::EndpointKeepAlive { home: false, server, handle: other, id: Some(ID) },
    );
    let id = Some(PeId(0x12));
    bench.receive(home, Body::EndpointKeepAlive { home: false, server, handle: pool(), id });
    assert!(bench.sent().is_empty());
    let id = Some(ID);
    bench.receive(home, Body::EndpointKeepAlive { home: false, server, handle: pool(), id });
    // KA2.1, KA2.2.
    assert_eq!(bench.sent(), [(home, Body::EndpointKeepAliveAck { handle: pool(), id: ID })]);
}

#[test]
fn a_home_that_has_come_to_us_hears_of_us_where_we_register() {
    // It was started again, and has called us home while the old association seemed to be whole; over
    // SCTP, it may be, where the old one is over TCP.
    for transport in [TransportKind::Tcp, TransportKind::Sctp] {
        let (mut bench, home) = registered(config(&[3863]));
        bench.receive(home, keep_alive(false, 7));
        let visitor = bench.connected(None, Locator { transport, ..registrar(3863) });
        bench.receive(visitor, keep_alive(true, 7));
        assert_eq!(letters(&bench.sent()), [(home, 'A'), (visitor, 'A')]);
        bench.receive(visitor, keep_alive(false, 7));
        assert_eq!(letters(&bench.sent()), [(visitor, 'A')]);
        bench.call(|element, now| element.reregister(now));
        assert_eq!(letters(&bench.sent()), [(home, 'R')]);
        bench.receive(visitor, keep_alive(false, 7));
        assert!(bench.sent().is_empty(), "or nobody would be let in who registers");
    }
}

#[test]
fn a_keep_alive_with_the_h_flag_makes_its_sender_the_home() {
    // RFC 5352 §3.4 KA2.4.
    let (mut bench, home) = registered(config(&[3863]));
    bench.receive(home, keep_alive(false, 7));
    let visitor = bench.visit(9);
    bench.receive(visitor, keep_alive(false, 8));
    assert_eq!(letters(&bench.sent()), [(home, 'A'), (visitor, 'A')]);
    assert_eq!(bench.machine.home(), Some(&registrar(3863)));
    bench.receive(visitor, keep_alive(true, 8));
    assert_eq!(letters(&bench.sent()), [(visitor, 'A'), (visitor, 'R')]);
    assert!(bench.closed().is_empty(), "the old one closes when the new one has registered it");
    assert_eq!(bench.machine.state(), State::Registered);
    bench.receive(visitor, granted(ID, false));
    assert_eq!(bench.closed(), [home]);
    assert_eq!(bench.events(), [Event::Registered { id: ID, home: registrar(9) }]);
}

#[test]
fn an_old_association_to_the_same_registrar_falls_silent() {
    // The registrar probes it before it accepts the registration on the new one.
    let (mut bench, home) = registered(config(&[3863]));
    bench.input(Input::SendFailed { assoc: home });
    bench.receive(home, keep_alive(false, 7));
    assert_eq!(letters(&bench.sent()), [(home, 'A')]);
    let again = bench.connect(3863);
    bench.receive(home, keep_alive(false, 7));
    assert_eq!(letters(&bench.sent()), [(again, 'R')]);
    // An old home elsewhere is still answered, until the new one has registered the element.
    let (mut bench, home) = registered(config(&[3863, 2]));
    bench.input(Input::SendFailed { assoc: home });
    let other = bench.connect(2);
    bench.receive(home, keep_alive(false, 7));
    assert_eq!(letters(&bench.sent()), [(other, 'R'), (home, 'A')]);
}

#[test]
fn strangers_that_come_are_few() {
    let (mut bench, _) = registered(config(&[3863]));
    let visitors: Vec<_> = (0..20).map(|port| bench.visit(port)).collect();
    assert_eq!(bench.closed(), visitors[MAX_VISITORS..]);
    // And so is what is kept: who has come, and the home.
    assert_eq!(bench.machine.kept(), MAX_VISITORS + 1);
}

#[test]
fn an_acknowledgement_waits_for_a_healthy_report_and_is_sent_once() {
    let health = Health::Reported { max_age: Duration::from_millis(400) };
    let (mut bench, home) = registered(PoolElementConfig { health, ..config(&[3863]) });
    bench.receive(home, keep_alive(false, 7));
    bench.receive(home, keep_alive(false, 7));
    assert_eq!((bench.events(), bench.sent()), (vec![Event::HealthWanted], vec![]));
    bench.call(|element, now| element.report_health(now, true));
    assert_eq!(letters(&bench.sent()), [(home, 'A')]);
    bench.call(|element, now| element.report_health(now, true));
    assert!(bench.sent().is_empty());
    // Recent enough.
    bench.pass_ms(400);
    bench.receive(home, keep_alive(false, 7));
    assert_eq!(letters(&bench.sent()), [(home, 'A')]);
    // Too old.
    bench.pass_ms(1);
    bench.receive(home, keep_alive(false, 7));
    assert_eq!((bench.events(), bench.sent()), (vec![Event::HealthWanted], vec![]));
    bench.call(|element, now| element.report_health(now, false));
    bench.call(|element, now| element.report_health(now, true));
    assert!(bench.sent().is_empty(), "the unhealthy report has forgotten it");
    bench.call(|element, now| element.report_health(now, false));
    bench.receive(home, keep_alive(false, 7));
    assert_eq!((bench.events(), bench.sent()), (vec![Event::HealthWanted], vec![]));
}

#[test]
fn an_element_that_was_removed_for_its_silence_comes_back_when_it_is_healthy() {
    let health = Health::Reported { max_age: Duration::from_millis(400) };
    let (mut bench, home) = registered(PoolElementConfig { health, ..config(&[3863]) });
    bench.receive(home, keep_alive(false, 7));
    let (handle, id) = (pool(), ID);
    bench.receive(home, Body::DeregistrationResponse { handle, id, errors: vec![] });
    assert_eq!(bench.events(), [Event::HealthWanted, Event::Expired]);
    assert!(bench.sent().is_empty(), "nothing has shown that the service answers");
    bench.call(|element, now| element.report_health(now, false));
    assert!(bench.sent().is_empty());
    bench.call(|element, now| element.report_health(now, true));
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
}

#[test]
fn an_element_that_is_let_in_again_while_it_is_silent_watches_its_home() {
    let health = Health::Reported { max_age: Duration::from_millis(400) };
    let (mut bench, home) = registered(PoolElementConfig { health, ..config(&[3863, 2]) });
    bench.receive(home, keep_alive(false, 7));
    bench.call(|element, now| element.reregister(now));
    let (handle, id) = (pool(), ID);
    bench.receive(home, Body::DeregistrationResponse { handle, id, errors: vec![] });
    bench.receive(home, granted(ID, false));
    bench.receive(home, granted(ID, false));
    bench.sent();
    for _ in 0..2 {
        bench.receive(home, keep_alive(false, 7));
        bench.pass_ms(400);
    }
    bench.pass_ms(400);
    assert_eq!(letters(&bench.sent()), [(home, 'R')], "the keep-alives have stopped");
}

#[test]
fn a_registrar_whose_keep_alives_stop_is_asked_and_then_left() {
    let (mut bench, home) = registered(config(&[3863, 2]));
    for _ in 0..5 {
        bench.receive(home, keep_alive(false, 7));
        bench.pass_ms(400);
    }
    bench.sent();
    bench.pass_ms(400);
    assert_eq!(letters(&bench.sent()), [(home, 'R')], "two intervals after the last one");
    bench.pass_ms(400);
    let reason = LossReason::Silent;
    assert_eq!(bench.events(), [Event::HomeLost { home: registrar(3863), reason }]);
    assert_eq!(bench.dialled(), [2]);
}

#[test]
fn a_registrar_that_sends_keep_alives_rarely_is_learned() {
    let mut config = config(&[3863, 2]);
    config.timers.registration_life = Duration::from_secs(3_600);
    let (mut bench, home) = registered(config);
    // Two reports of users in a row bring two probes, and nothing afterwards.
    bench.receive(home, keep_alive(false, 7));
    bench.pass_ms(100);
    bench.receive(home, keep_alive(false, 7));
    bench.sent();
    let mut asked = 0;
    for _ in 0..3_000 {
        bench.pass_ms(100);
        for (assoc, letter) in letters(&bench.sent()) {
            assert_eq!((assoc, letter), (home, 'R'));
            bench.receive(home, granted(ID, false));
            asked += 1;
        }
    }
    assert_eq!(bench.events(), []);
    assert!(asked < 12, "asked {asked} times in five minutes");
}

#[test]
fn without_keep_alives_none_are_missed() {
    let (mut bench, home) = registered(config(&[3863]));
    bench.receive(home, keep_alive(false, 7));
    bench.sent();
    bench.pass_ms(7_490);
    assert!(bench.sent().is_empty());
}

#[test]
fn an_expiry_is_told_and_answered_by_a_registration() {
    // RFC 5352 §3.2.
    let (mut bench, home) = registered(config(&[3863]));
    let expired = |id| Body::DeregistrationResponse { handle: pool(), id, errors: Vec::new() };
    bench.receive(home, expired(PeId(0x99)));
    assert_eq!(bench.events(), []);
    bench.receive(home, expired(ID));
    assert_eq!(bench.events(), [Event::Expired]);
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
    bench.receive(home, granted(ID, false));
    assert_eq!(bench.events(), [Event::Registered { id: ID, home: registrar(3863) }]);
    // A registrar that does nothing else is not answered in a loop.
    bench.receive(home, expired(ID));
    assert!(bench.sent().is_empty());
    bench.pass_ms(250);
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
    // A pause is enough.
    bench.receive(home, granted(ID, false));
    bench.receive(home, expired(ID));
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
}

#[test]
fn leaving_ends_with_the_answer_and_closes_everything() {
    // RFC 5352 §3.2 D1-D4.
    let (mut bench, home) = registered(config(&[3863]));
    let visitor = bench.visit(9);
    bench.call(|element, now| element.deregister(now));
    bench.call(|element, now| element.deregister(now));
    let sent = bench.sent();
    assert_eq!(sent, [(home, Body::Deregistration { handle: pool(), id: ID, stamp: None })]);
    // RFC 5352 §2.2.7: whatever else goes on.
    bench.receive(home, keep_alive(false, 7));
    assert_eq!(letters(&bench.sent()), [(home, 'A')]);
    let errors = Vec::new();
    bench.receive(home, Body::DeregistrationResponse { handle: pool(), id: ID, errors });
    assert_eq!(bench.events(), [Event::Deregistered]);
    assert_eq!(bench.closed(), [home, visitor]);
    assert_eq!((bench.machine.state(), bench.machine.next_timeout()), (State::Deregistered, None));
    // And it may come back.
    bench.call(|element, now| element.reregister(now));
    let home = bench.connect(3863);
    assert_eq!(letters(&bench.sent()), [(home, 'R')]);
}

#[test]
fn a_sick_element_that_leaves_acknowledges_nothing() {
    let health = Health::Reported { max_age: Duration::from_millis(400) };
    let (mut bench, home) = registered(PoolElementConfig { health, ..config(&[3863]) });
    bench.receive(home, keep_alive(false, 7));
    bench.call(|element, now| element.report_health(now, false));
    bench.call(|element, now| element.deregister(now));
    bench.receive(home, keep_alive(false, 7));
    bench.call(|element, now| element.report_health(now, true));
    assert_eq!(letters(&bench.sent()), [(home, 'D')]);
}

#[test]
fn leaving_hunts_when_nobody_answers_and_gives_up_in_the_end() {
    // RFC 5352 §3.2: T3.
    let (mut bench, _) = registered(config(&[3863, 2]));
    bench.call(|element, now| element.deregister(now));
    bench.sent();
    bench.pass_ms(1_000);
    assert_eq!(bench.dialled(), [2]);
    let second = bench.connect(2);
    assert_eq!(letters(&bench.sent()), [(second, 'D')]);
    bench.events();
    bench.pass_ms(1_000);
    assert_eq!(bench.events(), [Event::DeregistrationFailed { errors: Vec::new() }]);
    assert_eq!(bench.closed().len(), 2);
    assert_eq!(bench.machine.next_timeout(), None);
}

#[test]
fn leaving_before_having_come_is_done_at_once() {
    let mut bench = start(config(&[1, 2]));
    bench.call(|element, now| element.deregister(now));
    assert_eq!(bench.events(), [Event::Deregistered]);
    assert!(bench.dialled().is_empty());
    assert_eq!(bench.machine.next_timeout(), None);
}

#[test]
fn an_undeliverable_message_makes_the_element_hunt() {
    // RFC 5352 §3.7.1.
    let (mut bench, home) = registered(config(&[3863, 2]));
    bench.input(Input::SendFailed { assoc: home });
    assert_eq!(bench.dialled(), [2]);
    let second = bench.connect(2);
    assert_eq!(letters(&bench.sent()), [(second, 'R')]);
}

#[test]
fn what_is_malformed_is_reported_and_what_is_an_error_is_told() {
    // RFC 5354 §4: an unknown message of class 01.
    let (mut bench, home) = registered(config(&[3863]));
    bench.input(Input::Received { assoc: home, ppid: PPID_ASAP, bytes: &[0x41, 0, 0, 4] });
    assert_eq!(letters(&bench.sent()), [(home, 'E')]);
    let errors = vec![ErrorCause::Unspecified];
    bench.receive(home, Body::Error { errors: errors.clone() });
    assert_eq!(bench.events(), [Event::ErrorReported { errors }]);
    assert!(bench.sent().is_empty());
}

#[test]
fn the_same_seed_does_the_same() {
    let draw = |seed| {
        let config = PoolElementConfig { id: None, ..config(&[1, 2, 3, 4, 5]) };
        let bench = Bench::new(|now| PoolElement::new(config, [seed; 32], now));
        (bench.machine.id(), bench.dialled(), bench.machine.next_timeout())
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

/// One thing that may happen; numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Connect(usize),
    Refuse(usize),
    Visit(u16),
    Close(u64),
    SendFailed(u64),
    Receive(u64, Body),
    Garbage(u64, Vec<u8>),
    SetPolicy(u32),
    Report(bool),
    Deregister,
    Reregister,
}

fn body() -> impl Strategy<Value = Body> {
    let id = prop_oneof![Just(ID), Just(PeId(1))];
    let errors = prop_oneof![
        Just(vec![]),
        Just(vec![ErrorCause::NonUniquePeId]),
        Just(vec![ErrorCause::LackOfResources])
    ];
    prop_oneof![
        4 => (any::<bool>(), any::<bool>(), id.clone(), errors.clone()).prop_map(
            |(rejected, capable, id, errors)| match rejected {
                true => refused(id, errors),
                false => granted(id, capable),
            }
        ),
        2 => (id.clone(), errors.clone()).prop_map(|(id, errors)| {
            Body::DeregistrationResponse { handle: pool(), id, errors }
        }),
        4 => (any::<bool>(), 0..3u32).prop_map(|(home, server)| keep_alive(home, server)),
        1 => Just(Body::Error { errors: vec![ErrorCause::Unspecified] }),
        1 => Just(answer(&pool(), &[1, 2], None)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_000u64).prop_map(Step::Pass),
        6 => (0..3usize).prop_map(Step::Connect),
        2 => (0..3usize).prop_map(Step::Refuse),
        1 => (0..9u16).prop_map(Step::Visit),
        2 => (0..30u64).prop_map(Step::Close),
        1 => (0..30u64).prop_map(Step::SendFailed),
        12 => ((0..30u64), body()).prop_map(|(assoc, body)| Step::Receive(assoc, body)),
        1 => ((0..30u64), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(assoc, bytes)| Step::Garbage(assoc, bytes)),
        2 => (0..3u32).prop_map(Step::SetPolicy),
        2 => any::<bool>().prop_map(Step::Report),
        1 => Just(Step::Deregister),
        2 => Just(Step::Reregister),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_happens_an_element_neither_panics_nor_loops_nor_grows(
        steps in proptest::collection::vec(step(), 1..120),
        drawn in any::<bool>(),
    ) {
        let mut config = config(&[1, 2, 3, 4]);
        config.health = Health::Reported { max_age: Duration::from_millis(400) };
        if drawn {
            config.id = None;
        }
        let mut bench = start(config);
        for step in steps {
            match step {
                Step::Pass(ms) => bench.pass_ms(ms),
                Step::Connect(n) => {
                    if let Some(port) = bench.dialled().get(n) {
                        bench.connect(*port);
                    }
                }
                Step::Refuse(n) => {
                    if let Some(port) = bench.dialled().get(n) {
                        bench.refuse(*port);
                    }
                }
                Step::Visit(port) => {
                    bench.visit(port);
                }
                Step::Close(assoc) => bench.break_off(AssociationId(assoc)),
                Step::SendFailed(assoc) => {
                    bench.input(Input::SendFailed { assoc: AssociationId(assoc) });
                }
                Step::Receive(assoc, body) => bench.receive(AssociationId(assoc), body),
                Step::Garbage(assoc, bytes) => {
                    let assoc = AssociationId(assoc);
                    bench.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
                }
                Step::SetPolicy(load) => bench
                    .call(|element, now| element.set_policy(now, policy(0x4000_0001, &[load]))),
                Step::Report(healthy) => {
                    bench.call(|element, now| element.report_health(now, healthy));
                }
                Step::Deregister => bench.call(|element, now| element.deregister(now)),
                Step::Reregister => bench.call(|element, now| element.reregister(now)),
            }
            prop_assert!(bench.sent().len() <= 64);
            prop_assert!(bench.machine.visitors.len() <= MAX_VISITORS + 1);
            prop_assert!(bench.machine.waiting.len() <= MAX_VISITORS + 2);
            let wants = !matches!(bench.machine.state(), State::Refused | State::Deregistered);
            prop_assert!(!wants || bench.machine.next_timeout().is_some(), "it waits for nothing");
        }
    }
}
