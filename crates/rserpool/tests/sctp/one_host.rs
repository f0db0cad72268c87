//! On one host: what is the same as over TCP, and what is not.

use crate::*;
use rserpool::pool_element::Event;
use rserpool::pool_user::Element;
use rserpool::proto::timers::{Preset, RegistrarTimers};
use std::time::Instant;

/// The elements of a registrar.
async fn registered(registrar: &Registrar) -> Vec<Element> {
    let look = |machine: &rserpool::proto::registrar::Registrar| {
        let space = machine.handlespace();
        let elements = space.pools().flat_map(|pool| space.elements(pool));
        elements.map(|(_, element)| element.parts().to_element()).collect()
    };
    registrar.inspect(look).await.unwrap()
}

#[tokio::test]
async fn elements_and_users_of_both_transports_share_a_pool() {
    needs_sctp!();
    let registrar = registrar("127.0.0.1:0").await;
    let [tcp, sctp] = registrar.asap() else { panic!("{:?}", registrar.asap()) };
    assert_eq!((tcp.transport, sctp.transport), (TransportKind::Tcp, TransportKind::Sctp));
    assert_eq!(tcp.port, sctp.port);
    let over_tcp = element(tcp.clone(), 1).await;
    let over_sctp = element(sctp.clone(), 2).await;
    for user in [user(tcp.clone()), user(sctp.clone())] {
        until_ports(&user, &[1, 2]).await;
    }
    // RFC 5352 §3.1 rule 4: the registrar notes where an element can be reached.
    for element in registered(&registrar).await {
        let asap = element.asap_transport.unwrap();
        let tcp = element.extensions.asap_over_tcp;
        assert_eq!(asap.addresses.as_slice(), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(tcp.is_some(), element.user_transport.primary().unwrap().port() == 1);
    }
    soon(over_sctp.deregister()).await.unwrap();
    until_ports(&user(tcp.clone()), &[1]).await;
    soon(over_tcp.deregister()).await.unwrap();
    until_ports(&user(sctp.clone()), &[]).await;
}

#[tokio::test]
async fn auto_takes_sctp_if_the_registrar_has_it_and_tcp_otherwise() {
    needs_sctp!();
    let both = registrar("127.0.0.1:0").await;
    let auto = |registrar: &Registrar| locator(TransportKind::Auto, registrar.asap_addrs());
    let first = element(auto(&both), 1).await;
    assert_eq!(first.status().borrow().home, Some(over_sctp(&both)));
    let only_tcp = registrar("tcp://127.0.0.1:0").await;
    let second = element(auto(&only_tcp), 2).await;
    assert_eq!(second.status().borrow().home, Some(only_tcp.asap()[0].clone()));
}

#[tokio::test]
async fn an_element_listens_where_its_association_comes_from() {
    // So that a registrar that takes over reaches it (RFC 5353 §3.5).
    needs_sctp!();
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let _element = element(over_sctp(&registrar), 1).await;
    let asap = registered(&registrar).await.remove(0).asap_transport.unwrap();
    let asap: Vec<SocketAddr> = asap.socket_addrs().collect();
    let config = kernel::Config::default();
    let association = soon(kernel::Association::connect(&asap, &[], &config)).await;
    assert!(association.is_ok(), "{association:?}");
}

#[tokio::test]
async fn an_aborted_element_is_lost_at_once() {
    needs_sctp!();
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let asking = user(over_sctp(&registrar));
    let to: Vec<SocketAddr> = over_sctp(&registrar).socket_addrs().collect();
    let config = kernel::Config::default();
    let raw = soon(kernel::Association::connect(&to, &[], &config)).await.unwrap();
    soon(
        raw.send(&registration("127.0.0.1:9".parse().unwrap()), kernel::SendInfo::ppid(PPID_ASAP)),
    )
    .await
    .unwrap();
    until_ports(&asking, &[9]).await;
    let began = Instant::now();
    raw.abort(b"").unwrap();
    until_ports(&asking, &[]).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_element_returns_to_a_registrar_that_was_started_again() {
    needs_sctp!();
    let first = registrar("sctp://127.0.0.1:0").await;
    let address = over_sctp(&first);
    let mut element = element(address.clone(), 1).await;
    first.shutdown().await;
    let lost =
        async { while !matches!(element.next_event().await, Some(Event::HomeLost { .. })) {} };
    soon(lost).await;
    let second = registrar(&address.to_string()).await;
    until_ports(&user(over_sctp(&second)), &[1]).await;
}

#[tokio::test]
async fn an_element_that_leaves_and_joins_again_gets_an_association_anew() {
    needs_sctp!();
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let element = element(over_sctp(&registrar), 1).await;
    for _ in 0..10 {
        soon(element.deregister()).await.unwrap();
        element.reregister().await;
        soon(element.registered()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_harms_nobody() {
    // RFC 5354 §4.4: and the association stays.
    needs_sctp!();
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let _element = element(over_sctp(&registrar), 1).await;
    let asking = user(over_sctp(&registrar));
    let to: Vec<SocketAddr> = over_sctp(&registrar).socket_addrs().collect();
    let config = kernel::Config { max_message_size: 1 << 20, ..kernel::Config::default() };
    let raw = soon(kernel::Association::connect(&to, &[], &config)).await.unwrap();
    let too_long = vec![1; 100_000];
    for (bytes, ppid) in [
        (&[1, 0, 0, 4][..], PPID_ASAP),
        (&[0xff; 3], PPID_ASAP),
        (&[5, 0, 0xff, 0xff, 0], 0),
        (&too_long, PPID_ASAP),
        (&[0x77, 0, 0, 4], PPID_ASAP),
    ] {
        soon(raw.send(bytes, kernel::SendInfo::ppid(ppid))).await.unwrap();
        assert_eq!(ports(&asking).await, [1]);
    }
    let mut answers = 0;
    while answers < 3 {
        if let kernel::Event::Message(message) = soon(raw.recv()).await.unwrap() {
            // RFC 5352 §5.
            assert_eq!(message.ppid, PPID_ASAP);
            let Body::Error { .. } = Message::decode(&message.data).unwrap().message.body else {
                panic!("{message:?}");
            };
            answers += 1;
        }
    }
    assert_eq!(registrar.metrics().messages_oversized_total.get(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_keeps_nobody_waiting() {
    needs_sctp!();
    let asap = vec!["sctp://127.0.0.1:0".parse().unwrap()];
    let limits = driver::Limits { user_timeout: Duration::from_secs(1), ..Default::default() };
    let mut config = Config { asap, enrp: vec![], limits, ..Config::default() };
    // Without keep-alives, which a slow machine may miss.
    config.machine.timers = RegistrarTimers::preset(Preset::Rfc);
    let registrar = Registrar::start(config).await.unwrap();
    let to = over_sctp(&registrar);
    let mut elements = Vec::new();
    for port in 1..=20 {
        elements.push(element(to.clone(), port).await);
    }
    let asking = user(to.clone());
    let addresses: Vec<SocketAddr> = to.socket_addrs().collect();
    let mut question = Vec::new();
    let body = Body::HandleResolution {
        handle: handle(),
        subscribe: false,
        items: None,
        capabilities: None,
    };
    Message::from(body).encode(&mut question).unwrap();
    let mut stuck = Vec::new();
    for _ in 0..3 {
        let config = kernel::Config { receive_buffer: Some(10_000), ..Default::default() };
        stuck.push(soon(kernel::Association::connect(&addresses, &[], &config)).await.unwrap());
    }
    let mut worst = Duration::ZERO;
    let cut_off = async {
        while registrar.metrics().associations_stuck_total.get() < 3 {
            for association in &stuck {
                // Until it is aborted, or the registrar reads no more.
                for _ in 0..200 {
                    if association.try_send(&question, kernel::SendInfo::ppid(PPID_ASAP)).is_err() {
                        break;
                    }
                }
            }
            let began = Instant::now();
            assert_eq!(ports(&asking).await.len(), 20);
            worst = worst.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), cut_off).await.unwrap();
    assert!(registrar.metrics().associations_peeled_off_total.get() >= 3);
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
}

#[tokio::test]
async fn one_association_too_many_is_refused_and_room_is_made_by_those_that_end() {
    needs_sctp!();
    let of_all = driver::Limits { associations: 2, ..Default::default() };
    let of_an_address = driver::Limits { associations_per_address: 2, ..Default::default() };
    for limits in [of_all, of_an_address] {
        let asap = vec!["sctp://127.0.0.1:0".parse().unwrap()];
        let config = Config { asap, enrp: vec![], limits, ..Config::default() };
        let registrar = Registrar::start(config).await.unwrap();
        let to = over_sctp(&registrar);
        let first = element(to.clone(), 1).await;
        let second = element(to.clone(), 2).await;
        let third = PoolElement::start(element_config(to, 3)).await.unwrap();
        let turned_away = async {
            while registrar.metrics().associations_turned_away_total.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon(turned_away).await;
        drop(first);
        soon(third.registered()).await.unwrap();
        soon(second.deregister()).await.unwrap();
    }
}

#[tokio::test]
async fn two_registrars_that_dial_each_other_become_peers_by_one_association() {
    // RFC 9260 §5.2: attempts that cross make one association.
    needs_sctp!();
    let ports = [20_901, 20_902];
    let enrp =
        ports.map(|port| locator(TransportKind::Sctp, &[SocketAddr::from(([127, 0, 0, 1], port))]));
    let start = async |own: usize| {
        let asap = vec!["sctp://127.0.0.1:0".parse().unwrap()];
        let enrp_own = vec![enrp[own].clone()];
        let mut config = Config { asap, enrp: enrp_own, ..Config::default() };
        config.machine.peers = vec![enrp[1 - own].clone()];
        Registrar::start(config).await.unwrap()
    };
    let registrars = [start(0).await, start(1).await];
    let serving = async |registrar: &Registrar| {
        while registrar.inspect(|machine| machine.is_serving()).await != Some(true) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    for registrar in &registrars {
        soon(serving(registrar)).await;
    }
    let _element = element(over_sctp(&registrars[0]), 1).await;
    until_ports(&user(over_sctp(&registrars[1])), &[1]).await;
    // Long enough for a second association to be opened and closed, again and again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(elements_of(&registrars).await, [1, 1]);
}

/// How many elements each knows.
async fn elements_of(registrars: &[Registrar]) -> Vec<usize> {
    let mut known = Vec::new();
    for registrar in registrars {
        known.push(registered(registrar).await.len());
        let metrics = registrar.metrics();
        let opened =
            metrics.associations_accepted_total.get() + metrics.associations_connected_total.get();
        assert!(opened <= 4, "{opened}");
    }
    known
}
