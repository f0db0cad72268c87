//! Registration, deregistration, and who may speak for an element (RFC 5352 §3.1, §3.2).

use super::*;

#[test]
fn over_sctp_an_element_registers_addresses_of_its_association_and_no_others() {
    // RFC 5352 §2.2.1.
    let at = |address: &str| PoolElement {
        user_transport: Transport::Tcp(address.parse().unwrap()),
        ..element(1)
    };
    let mut scene = Scene::new();
    let assoc = scene.connect(Channel::Asap, "sctp://10.0.0.1,10.1.0.1:5000");
    assert_eq!(scene.register(assoc, at("10.1.0.1:80")), []);
    let refused = scene.register(assoc, at("10.2.0.1:80"));
    let [ErrorCause::InvalidValues(parameter)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(parameter[..2], [0, 5], "the TCP Transport is named");
    assert_eq!(scene.resolved(), [1], "the element stays as it was");
    // A TCP connection has one address, which need not be the server's.
    let tcp = scene.asap();
    assert_eq!(scene.register(tcp, PoolElement { id: PeId(2), ..at("10.2.0.1:80") }), []);

    let mut config = RegistrarConfig { id: ServerId(7), ..RegistrarConfig::default() };
    config.compat.registered_addresses = AddressRule::Any;
    let mut scene = Scene::with(config);
    let assoc = scene.connect(Channel::Asap, "sctp://10.0.0.1:5000");
    assert_eq!(scene.register(assoc, at("10.2.0.1:80")), []);
}

#[test]
fn the_first_registration_creates_the_pool_and_later_ones_join_it() {
    // RFC 5352 §3.1 rules 1 and 2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    assert_eq!(scene.register(assoc, element(1)), []);
    assert_eq!(scene.register(assoc, element(2)), []);
    assert_eq!(scene.resolved(), [1, 2]);
    assert!(scene.events.contains(&Event::ElementRegistered { handle: pool(), id: PeId(1) }));
}

#[test]
fn a_policy_other_than_the_pools_is_refused_and_the_pools_is_told() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.6.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let mut other = element(2);
    other.policy = PolicyParameter::new(LEAST_USED, &[0]);
    let errors = scene.register(assoc, other);
    assert!(
        matches!(&errors[..], [ErrorCause::InconsistentPolicy(policy)] if policy.number == ROUND_ROBIN),
        "{errors:?}"
    );
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_transport_other_than_the_pools_is_refused_and_the_pools_is_told() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.8.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let mut other = element(2);
    other.user_transport = Transport::Udp("127.0.0.1:5".parse().unwrap());
    let errors = scene.register(assoc, other);
    assert!(
        matches!(&errors[..], [ErrorCause::InconsistentTransport(Transport::Tcp(_))]),
        "{errors:?}"
    );
}

#[test]
fn a_transport_use_other_than_the_pools_is_refused() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.9.
    let sctp = |transport_use| {
        let addresses = core::net::IpAddr::from([127, 0, 0, 1]).into();
        Transport::Sctp(SctpTransport { port: 7, transport_use, addresses })
    };
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let user_transport = sctp(TransportUse::DataOnly);
    scene.register(assoc, PoolElement { user_transport, ..element(1) });
    let user_transport = sctp(TransportUse::DataPlusControl);
    let errors = scene.register(assoc, PoolElement { user_transport, ..element(2) });
    assert_eq!(errors, [ErrorCause::InconsistentDataControl]);
}

#[test]
fn a_registration_of_a_known_element_renews_it_with_the_new_values() {
    // RFC 5352 §3.1 rule 3.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let weighing = |weight| PolicyParameter::new(WEIGHTED_ROUND_ROBIN, &[weight]);
    scene.register(assoc, PoolElement { policy: weighing(1), ..element(1) });
    scene.register(assoc, PoolElement { policy: weighing(5), ..element(1) });
    let user = scene.asap();
    let elements = scene.resolve(user).elements;
    assert_eq!(elements.len(), 1);
    assert_eq!(elements[0].policy, weighing(5));
}

#[test]
fn the_registrar_makes_itself_home_and_notes_where_the_element_came_from() {
    // RFC 5352 §3.1 rule 4.
    let mut scene = Scene::new();
    let assoc = scene.connect(Channel::Asap, "tcp://127.0.0.9:40001");
    scene.register(assoc, element(1));
    let element = scene.registrar.handlespace().element(b"EchoPool", PeId(1)).unwrap().to_wire();
    assert_eq!(element.home, ServerId(7));
    let asap_transport = element.asap_transport.unwrap();
    assert_eq!(asap_transport.port, 40001);
    assert_eq!(asap_transport.addresses.as_slice(), [core::net::IpAddr::from([127, 0, 0, 9])]);
    assert_eq!(element.extensions.asap_over_tcp, Some("127.0.0.9:40001".parse().unwrap()));
}

#[test]
fn a_registration_life_is_in_milliseconds_from_strangers_and_in_seconds_from_our_own() {
    let mut scene = Scene::new();
    let (stranger, ours) = (scene.asap(), scene.asap());
    scene.register(stranger, PoolElement { life: 2000, ..element(1) });
    scene.send(ours, our_registration(PoolElement { life: 2000, ..element(2) }));
    scene.answers(ours);
    scene.live(Duration::from_millis(1900), &[stranger, ours]);
    assert_eq!(scene.resolved().len(), 2);
    scene.live(Duration::from_millis(200), &[stranger, ours]);
    assert_eq!(scene.resolved(), [2]);
}

#[test]
fn a_registration_life_of_minus_one_never_ends_and_other_negatives_are_refused() {
    // RFC 5354 §3.10.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    assert_eq!(scene.register(assoc, PoolElement { life: -1, ..element(1) }), []);
    for life in [0, -2, i32::MIN] {
        let errors = scene.register(assoc, PoolElement { life, ..element(2) });
        assert!(matches!(&errors[..], [ErrorCause::InvalidValues(_)]), "{errors:?}");
    }
    scene.live(Duration::from_secs(100), &[assoc]);
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn an_expired_element_is_gone_and_only_our_own_are_told() {
    // RFC 5352 §2.2.4.
    let mut scene = Scene::new();
    let (stranger, ours) = (scene.asap(), scene.asap());
    scene.register(stranger, PoolElement { life: 100, ..element(1) });
    scene.send(ours, our_registration(PoolElement { life: 1, ..element(2) }));
    scene.answers(ours);
    scene.wait(Duration::from_millis(100));
    assert_eq!(scene.answers(stranger), []);
    scene.wait(Duration::from_millis(900));
    let told = scene.answers(ours);
    let expected = Body::DeregistrationResponse { handle: pool(), id: PeId(2), errors: Vec::new() };
    assert!(told.contains(&expected), "{told:?}");
    assert_eq!(scene.resolved(), []);
}

#[test]
fn a_deregistered_element_is_gone_at_once() {
    // RFC 5352 §3.2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.send(assoc, deregistration(1));
    assert!(matches!(
        scene.answer(assoc),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
    assert_eq!(scene.resolved(), []);
    assert!(scene.events.contains(&Event::ElementRemoved {
        handle: pool(),
        id: PeId(1),
        reason: RemovalReason::Deregistered
    }));
}

#[test]
fn a_deregistration_of_an_unknown_element_is_granted() {
    // RFC 5352 §3.2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.send(assoc, deregistration(1));
    assert!(matches!(
        scene.answer(assoc),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
}

#[test]
fn nobody_else_registers_or_deregisters_an_element_from_a_foreign_address() {
    let mut scene = Scene::new();
    let holder = scene.asap();
    scene.register(holder, element(1));
    let stranger = scene.connect(Channel::Asap, "tcp://127.0.0.2:1");
    assert_eq!(scene.register(stranger, element(1)), [ErrorCause::NonUniquePeId]);
    scene.send(stranger, deregistration(1));
    assert!(matches!(
        scene.answer(stranger),
        Body::DeregistrationResponse { errors, .. } if errors == [ErrorCause::SecurityConsiderations]
    ));
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_claim_from_a_registered_address_is_refused_while_the_holder_answers() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, registration(element(1)));
    assert_eq!(scene.answers(claimant), [], "the holder is asked first");
    assert!(matches!(scene.answer(holder), Body::EndpointKeepAlive { .. }));
    scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    assert!(matches!(
        scene.answer(claimant),
        Body::RegistrationResponse { rejected: true, errors, .. } if errors == [ErrorCause::NonUniquePeId]
    ));
}

#[test]
fn a_claim_from_a_registered_address_is_granted_when_the_holder_is_silent() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, registration(element(1)));
    scene.wait(second());
    assert!(matches!(
        scene.answers(claimant)[..],
        [Body::RegistrationResponse { rejected: false, .. }, ..]
    ));
    scene.input(Input::Closed { assoc: holder, reason: CloseReason::Lost });
    assert_eq!(scene.resolved(), [1], "the old association no longer speaks for it");
}

#[test]
fn a_claimant_that_repeats_itself_is_answered_as_often_as_it_asks() {
    for answers in [true, false] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        for _ in 0..3 {
            scene.send(claimant, registration(element(1)));
        }
        scene.send(claimant, deregistration(1));
        if answers {
            scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        } else {
            scene.wait(Duration::from_secs(1));
        }
        let got = scene.answers(claimant);
        assert_eq!(got.len(), 4, "{got:?}");
        for answer in &got[..3] {
            let granted = matches!(answer, Body::RegistrationResponse { rejected: false, .. });
            assert_eq!(granted, !answers, "{answer:?}");
        }
        assert!(matches!(got[3], Body::DeregistrationResponse { .. }));
        let left = usize::from(answers);
        assert_eq!(scene.registrar.handlespace().element_count(), left, "its last word counts");
    }
}

#[test]
fn a_claim_is_granted_when_the_holder_goes_before_it_answers() {
    // RFC 5352 §3.1: every registration is answered.
    for leaves in [false, true] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        scene.send(claimant, registration(element(1)));
        match leaves {
            true => scene.send(holder, deregistration(1)),
            false => scene.input(Input::Closed { assoc: holder, reason: CloseReason::Lost }),
        }
        assert!(matches!(
            scene.answers(claimant)[..],
            [Body::RegistrationResponse { rejected: false, .. }]
        ));
        assert_eq!(scene.resolved(), [1]);
    }
}

#[test]
fn a_claimant_that_has_gone_is_sent_nothing() {
    for answers in [false, true] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        scene.send(claimant, registration(element(1)));
        scene.input(Input::Closed { assoc: claimant, reason: CloseReason::Lost });
        scene.answers(holder);
        if answers {
            let body = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) };
            scene.send(holder, body);
        } else {
            scene.send(holder, deregistration(1));
        }
        assert_eq!(scene.answers(claimant), []);
    }
}

#[test]
fn a_silent_holders_element_can_be_deregistered_from_its_address() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, deregistration(1));
    scene.wait(second());
    assert!(matches!(
        scene.answer(claimant),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
    assert_eq!(scene.resolved(), []);
}

#[test]
fn a_lost_association_is_a_lost_element_at_once() {
    let mut scene = Scene::new();
    let (first, second) = (scene.asap(), scene.asap());
    scene.register(first, element(1));
    scene.register(second, element(2));
    scene.input(Input::Closed { assoc: first, reason: CloseReason::Lost });
    assert_eq!(scene.resolved(), [2]);
    // RFC 5352 §3.5: a send failure says the same.
    scene.input(Input::SendFailed { assoc: second });
    assert_eq!(scene.resolved(), []);
}

#[test]
fn what_a_holder_says_is_new_even_if_its_clock_was_set_back() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let stamped = |seq, load| {
        let mut element = element(1);
        element.policy = PolicyParameter::new(PolicyNumber(0x4000_0001), &[load]);
        element.extensions.stamp = Some(Stamp { seq, moves: 0 });
        element
    };
    assert_eq!(scene.register(assoc, stamped(1_000, 1)), []);
    assert_eq!(scene.register(assoc, stamped(5, 2)), []);
    let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
    assert_eq!((known.words(), known.stamp().unwrap().seq), (&[2][..], 1_001));
    let stamp = Some(Stamp { seq: 6, moves: 0 });
    scene.send(assoc, Body::Deregistration { handle: pool(), id: PeId(1), stamp });
    assert_eq!(scene.registrar.handlespace().element_count(), 0);
}

#[test]
fn two_states_of_one_stamp_are_told_apart_and_one_that_comes_twice_is_not() {
    // A home raises the stamp of what comes from elsewhere with the stamp that it knows, and the next
    // thing that the element says bears that number, too.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let stamped = |seq, load| {
        let mut element = element(1);
        element.policy = PolicyParameter::new(PolicyNumber(0x4000_0001), &[load]);
        element.extensions.stamp = Some(Stamp { seq, moves: 0 });
        element
    };
    for (seq, load, stamp) in [(10, 1, 10), (10, 2, 11), (11, 2, 11), (11, 3, 12), (13, 3, 13)] {
        assert_eq!(scene.register(assoc, stamped(seq, load)), []);
        let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
        assert_eq!((known.words(), known.stamp().unwrap().seq), (&[load][..], stamp));
    }
}

#[test]
fn a_stranger_is_shown_no_capabilities() {
    for shown in [None, Some(Capabilities(0))] {
        let mut scene = Scene::new();
        let assoc = scene.asap();
        let element = Box::new(element(1));
        let (handle, stamp) = (pool(), None);
        scene.send(assoc, Body::Registration { handle, element, capabilities: shown, stamp });
        let Body::RegistrationResponse { capabilities, .. } = scene.answer(assoc) else { panic!() };
        assert_eq!(capabilities, shown);
    }
}

#[test]
fn an_element_takes_a_control_channel_over_tcp_from_its_first_registration_on() {
    for shown in [Capabilities(0), Capabilities::TCP_CONTROL] {
        let mut scene = Scene::new();
        let assoc = scene.asap();
        let (handle, element, stamp) = (pool(), Box::new(element(1)), None);
        let capabilities = Some(shown);
        scene.send(assoc, Body::Registration { handle, element, capabilities, stamp });
        let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
        assert_eq!(known.tcp_control(), shown.offers_tcp_control());
    }
}

#[test]
fn a_stamp_in_a_registration_counts_if_it_is_newer_than_what_is_known() {
    let mut scene = Scene::new();
    for (seq, counts) in [(1_000, 1_000), (2_000, 2_000), (5, 2_001)] {
        let assoc = scene.asap();
        let stamp = Some(Stamp { seq, moves: 0 });
        let element = Box::new(element(1));
        let capabilities = Some(Capabilities(0));
        scene.send(assoc, Body::Registration { handle: pool(), element, capabilities, stamp });
        let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
        assert_eq!(known.stamp().unwrap().seq, counts);
        // It leaves without a word, and comes back.
        scene.input(Input::Closed { assoc, reason: CloseReason::Lost });
    }
}

#[test]
fn a_life_is_told_to_our_own_in_whole_seconds_never_less_than_it_is() {
    // RFC 5354 §3.10; here it is kept in milliseconds.
    let compat = crate::registrar::Compat::default();
    for (kept, ours, stranger) in [
        (1, 1, 1),
        (999, 1, 999),
        (1_000, 1, 1_000),
        (1_001, 2, 1_001),
        (30_000, 30, 30_000),
        (-1, -1, -1),
    ] {
        let element = PoolElement { life: kept, ..element(1) };
        assert_eq!(compat.element(&element, true).life, ours, "{kept} ms");
        assert_eq!(compat.element(&element, false).life, stranger, "{kept} ms");
    }
}

#[test]
fn what_is_kept_is_counted_and_goes_when_those_have_gone_for_whom_it_was() {
    let mut scene = Scene::new();
    let nobody = scene.registrar.kept();
    let assoc = scene.asap();
    for id in 0..10 {
        scene.register(assoc, element(id));
    }
    // Each is held, supervised, and asked in time.
    assert!((nobody + 31..nobody + 40).contains(&scene.registrar.kept()));
    scene.input(Input::Closed { assoc, reason: CloseReason::Lost });
    scene.wait(Duration::from_secs(60));
    assert_eq!(scene.registrar.kept(), nobody);
}
