//! Between two hosts with two paths.

use crate::network::{Elsewhere, Network};
use crate::*;
use std::time::Instant;

/// Registers a service of the port in `ARGUMENTS` with the registrar there, and stays.
#[tokio::test]
#[ignore = "the other end of the tests below, started by them"]
async fn an_element_elsewhere() {
    let arguments = std::env::var("ARGUMENTS").unwrap();
    let (port, registrar) = arguments.split_once(' ').unwrap();
    let _element = element(registrar.parse().unwrap(), port.parse().unwrap()).await;
    println!("registered");
    std::future::pending::<()>().await;
}

/// Serves where `ARGUMENTS` says: for elements, for registrars, and beside which one.
#[tokio::test]
#[ignore = "the other end of the tests below, started by them"]
async fn a_registrar_elsewhere() {
    let arguments = std::env::var("ARGUMENTS").unwrap();
    let mut words = arguments.split(' ').map(|word| word.parse().unwrap());
    let mut config = Config { asap: vec![words.next().unwrap()], ..Config::default() };
    config.enrp = vec![words.next().unwrap()];
    config.machine.peers = words.collect();
    let registrar = Registrar::start(config).await.unwrap();
    let serving = async {
        while registrar.inspect(|machine| machine.is_serving()).await != Some(true) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(serving).await;
    println!("serving");
    std::future::pending::<()>().await;
}

async fn registrar_at(addresses: &[SocketAddr]) -> Registrar {
    let asap = vec![locator(TransportKind::Sctp, addresses)];
    let config = Config { asap, enrp: vec![], ..Config::default() };
    Registrar::start(config).await.unwrap()
}

fn element_elsewhere(network: &Network, port: u16, registrar: &Locator) -> Elsewhere {
    let elsewhere =
        Elsewhere::run(network, "two_hosts::an_element_elsewhere", &format!("{port} {registrar}"));
    elsewhere.says("registered");
    elsewhere
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_path_costs_no_element_and_no_answer() {
    needs_sctp!();
    let Some(network) = Network::new("cutpath", 70) else { return };
    let registrar = registrar_at(&network.near(3863)).await;
    let _elsewhere = element_elsewhere(&network, 5, &over_sctp(&registrar));
    let asking = user(over_sctp(&registrar));
    until_ports(&asking, &[5]).await;
    // The second path is confirmed by its first heartbeat.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let metrics = registrar.metrics().clone();
    let mut events = registrar.events();
    for path in [0, 1] {
        network.cut(path);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            assert_eq!(ports(&asking).await, [5], "{:?} {:?}", began.elapsed(), events.try_recv());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        network.restore(path);
        let restored = async {
            while metrics.paths_restored_total.get() <= u64::from(path) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(restored).await;
        // The other end finds that by a heartbeat of its own; until then it would not use this path.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(metrics.paths_lost_total.get() >= 2);
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_element_is_lost_at_once_and_a_silent_one_within_two_seconds() {
    needs_sctp!();
    let Some(network) = Network::new("killed", 71) else { return };
    let registrar = registrar_at(&network.near(3863)).await;
    let asking = user(over_sctp(&registrar));
    let elsewhere = element_elsewhere(&network, 5, &over_sctp(&registrar));
    until_ports(&asking, &[5]).await;
    let began = Instant::now();
    elsewhere.kill();
    until_ports(&asking, &[]).await;
    let killed = began.elapsed();
    assert!(killed < Duration::from_millis(200), "{killed:?}");

    let _silent = element_elsewhere(&network, 6, &over_sctp(&registrar));
    until_ports(&asking, &[6]).await;
    network.cut(0);
    network.cut(1);
    let began = Instant::now();
    until_ports(&asking, &[]).await;
    let silent = began.elapsed();
    // 600 ms until it is asked, 500 ms to answer.
    assert!(silent < Duration::from_secs(2), "{silent:?}");
    println!("killed {killed:?}, silent {silent:?}");
}

/// Registers what `ARGUMENTS` says, from a port of its choice, with the registrar there; reads nothing.
#[tokio::test]
#[ignore = "the other end of the test below, started by it"]
async fn a_client_elsewhere() {
    let arguments = std::env::var("ARGUMENTS").unwrap();
    let words: Vec<&str> = arguments.split(' ').collect();
    let from: SocketAddr = words[1].parse().unwrap();
    let registrar: Locator = words[2].parse().unwrap();
    let endpoint = kernel::Endpoint::bind(&[from], &kernel::Config::default()).unwrap();
    let to: Vec<SocketAddr> = registrar.socket_addrs().collect();
    let id = endpoint.connect(&to[..1]).unwrap();
    while !matches!(soon(endpoint.recv()).await.unwrap(), kernel::Event::Up { .. }) {}
    let registration = registration(SocketAddr::new(from.ip(), words[0].parse().unwrap()));
    soon(endpoint.send(id, &registration, kernel::SendInfo::ppid(PPID_ASAP))).await.unwrap();
    println!("sent");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_begun_anew_is_the_end_of_the_old_one() {
    // RFC 9260 §5.2: same addresses and ports, a new tag.
    needs_sctp!();
    let Some(network) = Network::new("anew", 74) else { return };
    let asap = vec![locator(TransportKind::Sctp, &network.near(3863))];
    let mut config = Config { asap, enrp: vec![], ..Config::default() };
    // Nobody is asked for a sign of life.
    config.machine.timers.keep_alive_interval = None;
    let registrar = Registrar::start(config).await.unwrap();
    let asking = user(over_sctp(&registrar));
    let client = |port: u16| {
        let [from, _] = network.far(5555);
        let arguments = format!("{port} {from} {}", over_sctp(&registrar));
        let client = Elsewhere::run(&network, "two_hosts::a_client_elsewhere", &arguments);
        client.says("sent");
        client
    };
    let first = client(9);
    until_ports(&asking, &[9]).await;
    // Its end does not get through.
    network.cut(0);
    first.kill();
    network.restore(0);
    assert_eq!(ports(&asking).await, [9]);
    let _second = client(8);
    until_ports(&asking, &[8]).await;
    let metrics = registrar.metrics();
    assert_eq!(metrics.associations_restarted_total.get(), 1);
    // The user's, and one of the client.
    assert_eq!(metrics.associations.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrar_that_takes_over_comes_to_elements_that_know_no_other() {
    // RFC 5353 §3.5: the element listens where its association came from.
    needs_sctp!();
    let Some(network) = Network::new("takeover", 72) else { return };
    let [asap, enrp] = [3863, 9901].map(|port| locator(TransportKind::Sctp, &network.near(port)));
    let config = Config { asap: vec![asap.clone()], enrp: vec![enrp.clone()], ..Config::default() };
    let registrar = Registrar::start(config).await.unwrap();
    let [asap_there, enrp_there] =
        [3863, 9901].map(|port| locator(TransportKind::Sctp, &network.far(port)));
    let arguments = format!("{asap_there} {enrp_there} {enrp}");
    let other = Elsewhere::run(&network, "two_hosts::a_registrar_elsewhere", &arguments);
    other.says("serving");
    let element = element(asap_there, 5).await;
    let asking = user(asap);
    until_ports(&asking, &[5]).await;
    // Both registrars speak on sockets of their own.
    assert!(registrar.metrics().associations_peeled_off_total.get() >= 1);
    let began = Instant::now();
    network.cut(0);
    network.cut(1);
    let taken = async {
        while registrar.inspect(|machine| machine.counters().keep_alives).await == Some(0) {
            assert_eq!(ports(&asking).await, [5]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(taken).await;
    println!("taken over after {:?}", began.elapsed());
    let mut status = element.status();
    let here = |status: &rserpool::pool_element::Status| {
        let home = status.home.as_ref();
        home.is_some_and(|home| home.primary().ip() == network.near(0)[0].ip())
    };
    soon(status.wait_for(here)).await.unwrap();
    soon(element.registered()).await.unwrap();
    assert_eq!(ports(&asking).await, [5]);
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
}
