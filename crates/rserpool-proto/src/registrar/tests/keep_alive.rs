//! Keep-alives and reports (RFC 5352 §3.4, §3.5).

use super::*;

#[test]
fn an_element_that_does_not_answer_a_keep_alive_is_removed() {
    // RFC 5352 §3.5.
    let mut scene = Scene::new();
    let (living, silent) = (scene.asap(), scene.asap());
    scene.register(living, element(1));
    scene.register(silent, element(2));
    scene.live(Duration::from_millis(1100), &[living]);
    assert_eq!(scene.resolved(), [1]);
    assert!(scene.events.contains(&Event::ElementRemoved {
        handle: pool(),
        id: PeId(2),
        reason: RemovalReason::KeepAliveMissed
    }));
}

#[test]
fn an_element_with_a_second_path_has_the_time_that_sctp_takes_to_use_it() {
    // Its own timeouts, there and back, are longer than what is asked of this pool.
    let scene = || {
        let timers = RegistrarTimers::preset(Preset::Realtime);
        Scene::with(RegistrarConfig { timers, ..RegistrarConfig::default() })
    };
    let silent_for = |mut scene: Scene, remote: &str| {
        let holder = scene.connect(Channel::Asap, remote);
        assert_eq!(scene.register(holder, element(1)), []);
        (0..100)
            .take_while(|_| {
                scene.wait(Duration::from_millis(10));
                scene.resolved() == [1]
            })
            .count()
    };
    // Asked after 40 to 120 ms.
    assert!((4 + 12..=12 + 13).contains(&silent_for(scene(), "sctp://127.0.0.1:5000")));
    assert!((4 + 50..=12 + 51).contains(&silent_for(scene(), "sctp://127.0.0.1,127.0.0.2:5000")));
}

#[test]
fn an_element_that_re_registers_all_the_time_is_not_asked_for_a_sign_of_life() {
    let mut scene = Scene::new();
    let holder = scene.asap();
    for _ in 0..40 {
        assert_eq!(scene.register(holder, element(1)), []);
        scene.wait(Duration::from_millis(50));
    }
    assert_eq!(scene.answers(holder), []);
    scene.wait(Duration::from_secs(1));
    assert!(!scene.answers(holder).is_empty());
}

#[test]
fn only_the_association_that_holds_an_element_answers_for_it() {
    let mut scene = Scene::new();
    let (holder, other) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    for _ in 0..150 {
        scene.wait(Duration::from_millis(10));
        scene.send(other, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!(scene.resolved(), []);
}

#[test]
fn keep_alives_of_many_elements_are_spread_over_time() {
    // RFC 5352 §3.5: the interval varies by 50 percent.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..200 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    let mut busiest = 0;
    for _ in 0..60 {
        scene.wait(Duration::from_millis(10));
        let asked = scene.answers(assoc);
        busiest = busiest.max(asked.len());
        for body in asked {
            let Body::EndpointKeepAlive { home: false, server: ServerId(7), handle, id: Some(id) } =
                body
            else {
                panic!("not a keep-alive without the H flag: {body:?}");
            };
            scene.send(assoc, Body::EndpointKeepAliveAck { handle, id });
        }
    }
    assert!(busiest > 0 && busiest < 30, "{busiest} of 200 within 10 ms");
}

#[test]
fn more_elements_than_the_budget_allows_are_asked_less_often() {
    let mut config = RegistrarConfig::default();
    config.timers.keep_alive_budget = 10;
    let mut scene = Scene::with(config);
    let assoc = scene.asap();
    for id in 0..100 {
        scene.register(assoc, element(id));
    }
    let before = scene.registrar.counters().keep_alives;
    scene.live(Duration::from_secs(20), &[assoc]);
    let asked = scene.registrar.counters().keep_alives - before;
    assert!((150..=300).contains(&asked), "{asked} in 20 s at 10 a second");
    assert!(scene.events.iter().any(|event| matches!(event, Event::KeepAliveStretched { .. })));
}

#[test]
fn a_slow_element_is_given_four_of_its_round_trips() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    // It answers every time after 390 ms, later after 900 ms, and is never removed.
    for delay in [390, 390, 390, 900, 900] {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!(scene.resolved(), [1]);
}

/// Waits until an element is asked for a sign of life, and how long it then takes to be removed.
fn time_to_answer(scene: &mut Scene, assoc: AssociationId) -> Duration {
    wait_for_question(scene, assoc);
    let asked = scene.now;
    while scene.registrar.handlespace().element_count() > 0 {
        scene.wait(Duration::from_millis(5));
    }
    scene.now.saturating_since(asked)
}

fn wait_for_question(scene: &mut Scene, assoc: AssociationId) {
    while !scene.sent.iter().any(|(to, _, _)| *to == assoc) {
        scene.wait(Duration::from_millis(5));
    }
    scene.answers(assoc);
}

/// An element that has answered often, each time after `delay`.
fn known_to_take(delay: Duration) -> (Scene, AssociationId) {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for _ in 0..10 {
        // Renewed, and back if its first answers were too late, before it was known how slow it is.
        scene.register(assoc, element(1));
        wait_for_question(&mut scene, assoc);
        scene.wait(delay);
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    (scene, assoc)
}

#[test]
fn on_a_slow_link_a_question_and_its_answer_may_be_lost_twice() {
    // 600 ms there and back. SCTP sends again after a second: what was lost once comes after 1.6 s,
    // what was lost twice after 2.6 s. Two in a row do so, and the slow answers do not add up.
    let (mut scene, assoc) = known_to_take(Duration::from_millis(600));
    for delay in [2_600, 600, 1_600, 2_800, 2_800] {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        assert_eq!(scene.resolved(), [1], "answered after {delay} ms");
    }
}

#[test]
fn one_that_falls_silent_on_a_slow_link_is_found_within_four_seconds() {
    let longest_interval = Duration::from_millis(600);
    for delay in [300, 500, 600, 700] {
        let (mut scene, assoc) = known_to_take(Duration::from_millis(delay));
        // What was lost on the way does not count for its length.
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay + 1_000));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        let found = longest_interval + time_to_answer(&mut scene, assoc);
        assert!(found < Duration::from_secs(4), "{found:?} with {delay} ms there and back");
    }
}

#[test]
fn a_late_answer_to_an_earlier_question_does_not_make_a_slow_element_a_quick_one() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let ack = || Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) };
    scene.register(assoc, element(1));
    wait_for_question(&mut scene, assoc);
    // Removed after 400 ms, it has registered again and been asked again when its answer comes.
    scene.wait(Duration::from_millis(400));
    assert_eq!(scene.resolved(), []);
    scene.register(assoc, element(1));
    wait_for_question(&mut scene, assoc);
    scene.wait(Duration::from_millis(5));
    scene.send(assoc, ack());
    for _ in 0..10 {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(800));
        scene.send(assoc, ack());
        assert_eq!(scene.resolved(), [1]);
    }
}

#[test]
fn slow_elements_that_have_been_asked_are_not_silent_ones() {
    // When one falls silent others are just answering: that is not silence of many, for which it would
    // be asked once more.
    for silent_from in (1_500..1_700).step_by(20) {
        let took = time_until_the_first_is_removed(silent_from);
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

/// Of four elements that answer after 600 ms, if it does no more from this hundredth of a second on.
fn time_until_the_first_is_removed(silent_from: u32) -> Duration {
    let mut scene = Scene::new();
    let host = |id| format!("tcp://10.0.0.{id}:40000");
    let assocs: Vec<_> = (1..=4).map(|id| scene.connect(Channel::Asap, &host(id))).collect();
    let mut answers = VecDeque::new();
    for step in 0..silent_from + 600 {
        for (id, assoc) in (1..).zip(&assocs) {
            let known =
                scene.registrar.handlespace().element(pool().as_bytes(), PeId(id)).is_some();
            if !known && step > silent_from {
                return Duration::from_millis(10) * (step - silent_from);
            }
            let asked = scene.answers(*assoc).into_iter();
            let asked = asked.filter(|body| matches!(body, Body::EndpointKeepAlive { .. }));
            answers.extend(asked.map(|_| (scene.now + Duration::from_millis(600), *assoc, id)));
            if !known {
                scene.register(*assoc, element(id));
            }
        }
        while let Some((_, assoc, id)) = answers.pop_front_if(|(due, _, _)| *due <= scene.now) {
            if id != 1 || step < silent_from {
                let ack = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(id) };
                scene.send(assoc, ack);
            }
        }
        scene.wait(Duration::from_millis(10));
    }
    panic!("it is still there");
}

#[test]
fn on_a_quick_link_nobody_is_given_more_than_the_timeout() {
    for delay in [1, 50, 95] {
        let (mut scene, assoc) = known_to_take(Duration::from_millis(delay));
        assert_eq!(time_to_answer(&mut scene, assoc), Duration::from_millis(400));
    }
}

#[test]
fn an_element_that_does_not_say_how_far_it_is_is_as_far_as_its_answers_show() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let far = |id, distance| {
        let mut element = element(id);
        element.policy = PolicyParameter::new(PolicyNumber(0xb000_2002), &[5, 7, distance]);
        element
    };
    scene.register(assoc, far(1, 0));
    while !scene.sent.iter().any(|(to, _, _)| *to == assoc) {
        scene.wait(Duration::from_millis(5));
    }
    scene.answers(assoc);
    scene.wait(Duration::from_millis(40));
    scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    scene.register(assoc, far(1, 0));
    let words = |scene: &Scene| {
        let element = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1));
        element.unwrap().words().to_vec()
    };
    let [5, 7, distance] = words(&scene)[..] else { panic!("{:?}", words(&scene)) };
    assert!((40..=45).contains(&distance), "{distance} ms");
    scene.register(assoc, far(1, 3));
    assert_eq!(words(&scene), [5, 7, 3], "its own word counts");
}

#[test]
fn an_element_behind_a_link_slower_than_the_timeout_stays_once_it_has_come_back() {
    // Its first answer is late before a round trip can have been measured.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let mut registrations = 0;
    for _ in 0..10 {
        if scene.resolved().is_empty() {
            scene.register(assoc, element(1));
            registrations += 1;
        }
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(600));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!((scene.resolved(), registrations), (Vec::from([1]), 2));
}

#[test]
fn a_report_makes_the_registrar_ask_at_once_and_an_answer_keeps_the_element() {
    // RFC 5352 §3.5.
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(user, report(1));
    scene.send(user, report(1));
    assert!(
        matches!(scene.answer(holder), Body::EndpointKeepAlive { home: false, .. }),
        "asked at once, and once"
    );
    scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_reported_element_that_does_not_answer_is_removed_within_the_timeout() {
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(user, report(1));
    scene.wait(Duration::from_millis(400));
    assert_eq!(scene.resolved(), []);
}

#[test]
fn three_reporters_rank_an_element_last_until_it_has_answered_twice() {
    let mut scene = Scene::new();
    let holder = scene.asap();
    scene.register(holder, element(1));
    scene.register(holder, element(2));
    for host in 1..=3 {
        let user = scene.connect(Channel::Asap, &format!("tcp://127.0.1.{host}:40000"));
        scene.send(user, report(1));
    }
    assert!(scene.events.contains(&Event::ElementSuspected { handle: pool(), id: PeId(1) }));
    for _ in 0..4 {
        assert_eq!(scene.resolved(), [2, 1], "still returned, but last");
    }
    scene.live(Duration::from_secs(2), &[holder]);
    assert!(scene.events.contains(&Event::ElementCleared { handle: pool(), id: PeId(1) }));
    let answers = [scene.resolved(), scene.resolved()];
    assert!(answers.contains(&Vec::from([1, 2])), "{answers:?}");
}

#[test]
fn three_associations_of_one_user_are_one_reporter() {
    // RFC 5355 §2.13.
    let mut scene = Scene::new();
    let holder = scene.asap();
    scene.register(holder, element(1));
    for _ in 0..30 {
        let user = scene.connect(Channel::Asap, "tcp://127.0.1.1:40000");
        scene.send(user, report(1));
    }
    assert!(!scene.events.iter().any(|event| matches!(event, Event::ElementSuspected { .. })));
}

#[test]
fn one_user_that_reports_without_end_ranks_nobody_last_and_is_not_heard() {
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    for _ in 0..100 {
        scene.send(user, report(1));
    }
    assert_eq!(scene.registrar.counters().over_rate, 90);
    let too_many = Ignored::TooMany(MessageKind::Report);
    assert!(scene.events.contains(&Event::Ignored { assoc: user, reason: too_many }));
    assert!(!scene.events.iter().any(|event| matches!(event, Event::ElementSuspected { .. })));
}

#[test]
fn a_registrar_that_was_suspended_asks_before_it_removes() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.send(assoc, our_registration(PoolElement { life: 10, ..element(1) }));
    scene.answers(assoc);
    scene.now = scene.now + Duration::from_secs(20);
    scene.input(Input::Timeout);
    assert!(scene.events.iter().any(|event| matches!(event, Event::Resumed { .. })));
    assert!(matches!(scene.answer(assoc), Body::EndpointKeepAlive { .. }));
    scene.send(assoc, our_registration(PoolElement { life: 10, ..element(1) }));
    scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    scene.answers(assoc);
    scene.live(Duration::from_secs(2), &[assoc]);
    assert_eq!(scene.resolved(), [1]);
}
