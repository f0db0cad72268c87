//! Answers to users, tables for readers, announcements, and all that may come at any time.

use super::*;

#[test]
fn a_pool_that_is_not_known_is_an_error_of_its_own() {
    // RFC 5352 §3.3.
    let mut scene = Scene::new();
    let user = scene.asap();
    let response = scene.resolve(user);
    assert_eq!(response.errors, [ErrorCause::UnknownPoolHandle]);
    assert!(response.elements.is_empty() && response.policy.is_none());
}

#[test]
fn a_pool_in_which_nobody_can_serve_is_another() {
    // RFC 5356 §3.2: weight 0 is no service.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let policy = PolicyParameter::new(WEIGHTED_ROUND_ROBIN, &[0]);
    scene.register(assoc, PoolElement { policy, ..element(1) });
    let response = scene.resolve(assoc);
    assert_eq!(response.errors, [ErrorCause::LackOfResources]);
}

#[test]
fn an_answer_holds_as_many_elements_as_asked_for_and_no_more_than_allowed() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..200 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    for (items, expected) in
        [(Some(1), 1), (Some(0), 1), (Some(10), 10), (None, 128), (Some(u32::MAX), 128)]
    {
        scene.send(assoc, resolution(items));
        let Body::HandleResolutionResponse(response) = scene.answer(assoc) else {
            panic!("not an answer");
        };
        assert_eq!(response.elements.len(), expected, "{items:?}");
        assert_eq!(response.total, None, "strangers are not told");
        assert_eq!(response.policy.map(|policy| policy.number), Some(ROUND_ROBIN));
    }
}

#[test]
fn our_own_users_are_told_how_many_elements_there_are() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..5 {
        scene.register(assoc, element(id));
    }
    let capabilities = Some(Capabilities(0));
    let body =
        Body::HandleResolution { subscribe: false, handle: pool(), items: Some(2), capabilities };
    scene.send(assoc, body);
    let Body::HandleResolutionResponse(response) = scene.answer(assoc) else {
        panic!("not an answer");
    };
    assert_eq!((response.elements.len(), response.total), (2, Some(5)));
    assert!(response.capabilities.is_some());
}

#[test]
fn an_idle_association_is_closed_unless_it_owns_an_element() {
    let mut scene = Scene::new();
    let (owner, idle) = (scene.asap(), scene.asap());
    scene.register(owner, PoolElement { life: -1, ..element(1) });
    scene.live(Duration::from_secs(121), &[owner]);
    assert_eq!(scene.closed, [idle]);
}

#[test]
fn no_more_associations_are_held_than_the_limit() {
    let mut config = RegistrarConfig::default();
    config.limits.associations = 2;
    let mut scene = Scene::with(config);
    scene.asap();
    scene.asap();
    let third = scene.asap();
    assert_eq!(scene.closed, [third]);
}

#[test]
fn what_is_not_a_message_changes_nothing_and_closes_nothing() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    for bytes in [&[][..], &[1], &[1, 0, 0, 4], &[1, 0, 0, 9, 0], &[0xff; 64]] {
        scene.input(Input::Received { assoc, ppid: PPID_ASAP, bytes });
    }
    scene.input(Input::Received { assoc, ppid: 99, bytes: &[1, 0, 0, 4] });
    assert_eq!(scene.resolved(), [1]);
    assert_eq!(scene.closed.len(), 0);
    assert_eq!(
        scene.events.iter().filter(|event| matches!(event, Event::Ignored { .. })).count(),
        6
    );
}

#[test]
fn a_draining_registrar_sends_everybody_elsewhere() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.registrar.drain(scene.now);
    scene.wait(Duration::ZERO);
    let late = scene.asap();
    assert_eq!(scene.closed, [assoc, late]);
}

#[test]
fn a_reader_gets_the_whole_table_in_pieces() {
    // RFC 5353 §3.2.3.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..1500 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    let reader = scene.connect(Channel::Enrp, "tcp://127.0.0.1:5");
    let mut read = Vec::new();
    let mut pieces = 0;
    loop {
        pieces += 1;
        let (more, entries) = read_table(&mut scene, reader);
        read.extend(
            entries.into_iter().flat_map(|entry| entry.elements).map(|element| element.id.0),
        );
        if !more {
            break;
        }
    }
    assert!(pieces > 1);
    assert_eq!(read, (0..1500).collect::<Vec<_>>());
}

#[test]
fn the_table_is_not_for_readers_on_other_hosts() {
    let mut scene = Scene::new();
    let reader = scene.connect(Channel::Enrp, "tcp://192.0.2.1:5");
    let request = table_request();
    scene.input(Input::Received { assoc: reader, ppid: PPID_ENRP, bytes: &request });
    let (_, _, bytes) = scene.sent.pop_front().unwrap();
    let body = enrp::Message::decode(&bytes).unwrap().message.body;
    assert!(matches!(body, enrp::Body::HandleTableResponse { rejected: true, .. }));
}

fn table_request() -> Vec<u8> {
    let capabilities = Some(Capabilities(0));
    let body = enrp::Body::HandleTableRequest { own_only: true, capabilities };
    let (sender, receiver) = (ServerId::NONE, ServerId::NONE);
    let mut bytes = Vec::new();
    enrp::Message { sender, receiver, body, unknown: [].into() }.encode(&mut bytes).unwrap();
    bytes
}

fn read_table(scene: &mut Scene, reader: AssociationId) -> (bool, Vec<enrp::PoolEntry>) {
    let request = table_request();
    scene.input(Input::Received { assoc: reader, ppid: PPID_ENRP, bytes: &request });
    let (to, _, bytes) = scene.sent.pop_front().unwrap();
    assert_eq!(to, reader);
    match enrp::Message::decode(&bytes).unwrap().message.body {
        enrp::Body::HandleTableResponse { more, rejected: false, entries } => (more, entries),
        other => panic!("not a table: {other:?}"),
    }
}

/// Something that happens to a registrar, drawn at random.
#[derive(Clone, Debug)]
enum Happening {
    Connect,
    Close(u64),
    Register { assoc: u64, id: u32, life: i32, policy: u32 },
    Deregister { assoc: u64, id: u32 },
    Resolve { assoc: u64, items: Option<u32> },
    Answer { assoc: u64, id: u32 },
    Report { assoc: u64, id: u32 },
    Bytes { assoc: u64, bytes: Vec<u8> },
    Pass(u64),
    Late(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let (assoc, id) = (1..6_u64, 0..4_u32);
    prop_oneof![
        2 => Just(Happening::Connect),
        1 => assoc.clone().prop_map(Happening::Close),
        6 => (assoc.clone(), id.clone(), prop_oneof![Just(-1), Just(0), 1..3000_i32], 0..3_u32)
            .prop_map(|(assoc, id, life, policy)| Happening::Register { assoc, id, life, policy }),
        2 => (assoc.clone(), id.clone()).prop_map(|(assoc, id)| Happening::Deregister { assoc, id }),
        3 => (assoc.clone(), proptest::option::of(any::<u32>()))
            .prop_map(|(assoc, items)| Happening::Resolve { assoc, items }),
        4 => (assoc.clone(), id.clone()).prop_map(|(assoc, id)| Happening::Answer { assoc, id }),
        3 => (assoc.clone(), id).prop_map(|(assoc, id)| Happening::Report { assoc, id }),
        1 => (assoc, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(assoc, bytes)| Happening::Bytes { assoc, bytes }),
        6 => (0..600_u64).prop_map(Happening::Pass),
        1 => (0..5000_u64).prop_map(Happening::Late),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, nothing panics, no answer is owed, time moves on, an element is listed only
    /// while its association is there, and the handlespace is consistent (`Scene::drain` checks it).
    #[test]
    fn nothing_that_happens_to_a_registrar_breaks_it(
        happenings in proptest::collection::vec(happening(), 1..80)
    ) {
        let mut scene = Scene::new();
        let mut open = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Connect => open.push(scene.asap()),
                Happening::Close(assoc) => {
                    open.retain(|known| *known != AssociationId(assoc));
                    let reason = CloseReason::Lost;
                    scene.input(Input::Closed { assoc: AssociationId(assoc), reason });
                }
                Happening::Register { assoc, id, life, policy } => {
                    let policy = PolicyParameter::new(PolicyNumber(policy), &[1][..policy as usize / 2]);
                    let element = PoolElement { life, policy, ..element(id) };
                    scene.send(AssociationId(assoc), registration(element));
                }
                Happening::Deregister { assoc, id } => {
                    scene.send(AssociationId(assoc), deregistration(id));
                }
                Happening::Resolve { assoc, items } => {
                    scene.sent.clear();
                    scene.send(AssociationId(assoc), resolution(items));
                    if open.contains(&AssociationId(assoc)) {
                        scene.answer(AssociationId(assoc));
                    }
                }
                Happening::Answer { assoc, id } => {
                    let body = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(id) };
                    scene.send(AssociationId(assoc), body);
                }
                Happening::Report { assoc, id } => scene.send(AssociationId(assoc), report(id)),
                Happening::Bytes { assoc, bytes } => {
                    let assoc = AssociationId(assoc);
                    scene.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
                }
                Happening::Pass(ms) => scene.wait(Duration::from_millis(ms)),
                Happening::Late(ms) => {
                    scene.now = scene.now + Duration::from_millis(ms);
                    scene.input(Input::Timeout);
                }
            }
        }
        for assoc in open {
            scene.input(Input::Closed { assoc, reason: CloseReason::Finished });
        }
        prop_assert_eq!(scene.registrar.handlespace().element_count(), 0);
    }
}

fn announcement(server: u32) -> Vec<u8> {
    let body = Body::ServerAnnounce { server: ServerId(server), transports: Vec::new() };
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes).unwrap();
    bytes
}

/// Times between the announcements of a registrar that hears `others` once a second.
fn pauses(others: core::ops::Range<u32>) -> Vec<u128> {
    let transport = Transport::Tcp("10.0.0.1:3863".parse().unwrap());
    let announced = Some(Vec::from([transport.clone()]));
    let mut scene =
        Scene::with(RegistrarConfig { id: ServerId(7), announced, ..RegistrarConfig::default() });
    for _ in 0..40 {
        for other in others.clone() {
            let (channel, from) = (Channel::Asap, "10.0.0.2:3863".parse().unwrap());
            scene.input(Input::Datagram { channel, from, bytes: &announcement(other) });
        }
        scene.wait(second());
    }
    let body = Message::decode(&scene.announced[0].1).unwrap().message.body;
    let transports = Vec::from([transport]);
    assert_eq!(body, Body::ServerAnnounce { server: ServerId(7), transports });
    let times = scene.announced.iter().map(|(at, _)| *at);
    let later = times.clone().skip(1);
    times.zip(later).map(|(one, other)| other.saturating_since(one).as_millis()).collect()
}

#[test]
fn a_registrar_announces_itself_every_t6_for_each_registrar_that_does() {
    // RFC 5352 §3.6: every (N+1) x T6.
    let alone = pauses(0..0);
    assert!(alone.iter().all(|pause| (870..=1_130).contains(pause)), "{alone:?}");
    assert_ne!(alone[0], alone[1]);
    // The first was sent before anybody was heard, and our own does not count.
    let beside_two = &pauses(6..9)[1..];
    assert!(beside_two.iter().all(|pause| (2_600..=3_400).contains(pause)), "{beside_two:?}");
}

#[test]
fn made_up_announcements_do_not_silence_a_registrar() {
    // RFC 5352 §9.2: whoever listens forgets after T7, which is 5 s.
    let pauses = pauses(100..2_000);
    assert!(pauses.iter().all(|pause| *pause < 5_000), "{pauses:?}");
}

#[test]
fn each_transport_is_announced_in_a_message_of_its_own() {
    // RFC 5352 §2.2.10 lets one message have them all; rsplib takes one of SCTP and nothing else.
    let address: core::net::SocketAddr = "10.0.0.1:3863".parse().unwrap();
    let all = [Transport::Sctp(SctpTransport::new(address)), Transport::Tcp(address)];
    let announced = Some(Vec::from(all.clone()));
    let mut scene = Scene::with(RegistrarConfig { announced, ..RegistrarConfig::default() });
    scene.wait(Duration::from_millis(1));
    let bodies =
        scene.announced.iter().map(|(_, bytes)| Message::decode(bytes).unwrap().message.body);
    let each = bodies.map(|body| match body {
        Body::ServerAnnounce { transports, .. } => transports,
        other => panic!("{other:?}"),
    });
    assert_eq!(each.collect::<Vec<_>>(), all.map(|transport| Vec::from([transport])));
}

#[test]
fn a_registrar_announces_nothing_unless_it_is_told_where_it_is() {
    let mut scene = Scene::new();
    scene.wait(Duration::from_secs(10));
    assert!(scene.announced.is_empty());
}
