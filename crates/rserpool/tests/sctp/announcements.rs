//! Registrars that announce themselves, on cables of the tests' own and nowhere else.

use crate::network::{Elsewhere, Network};
use crate::*;
use rserpool::driver::{Announcements, Network as Reach};
use rserpool::proto::wire::asap::{Body, Message};
use std::time::Instant;

fn on(interface: String, groups: &[&str]) -> Announcements {
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    Announcements { interfaces: vec![interface], groups }
}

const GROUPS: [&str; 3] = ["239.0.0.50:3863", "224.0.1.185:3863", "[ff05::133]:3863"];

/// Registers a service of port 5 with whoever announces itself in the group in `ARGUMENTS`.
#[tokio::test]
#[ignore = "the other end of the tests below, started by them"]
async fn an_element_that_listens_elsewhere() {
    let arguments = std::env::var("ARGUMENTS").unwrap();
    let (service, group) = arguments.split_once(' ').unwrap();
    let service = Transport::Tcp(service.parse().unwrap());
    let config = PoolElementConfig::new(handle(), service, vec![]);
    let announcements = on("far0".into(), &[group]);
    let reach = Reach { announcements, ..Reach::default() };
    let element = PoolElement::start_with(config, reach).await.unwrap();
    soon(element.registered()).await.unwrap();
    println!("registered with {}", element.status().borrow().home.as_ref().unwrap());
    std::future::pending::<()>().await;
}

async fn announcing(asap: Vec<Locator>, announcements: Announcements) -> Registrar {
    let config = Config { asap, enrp: vec![], announcements, ..Config::default() };
    Registrar::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_finds_a_registrar_that_announces_itself_in_any_group() {
    // RFC 5352 §3.6.
    needs_sctp!();
    let Some(network) = Network::new("announce", 73) else { return };
    let asap = vec!["0.0.0.0:3863".parse().unwrap()];
    let registrar = announcing(asap, on("announce0".into(), &GROUPS)).await;
    let asking = user(Locator::tcp(SocketAddr::from(([127, 0, 0, 1], 3863))));
    for group in GROUPS {
        let began = Instant::now();
        let service = network.far(5)[0];
        let test = "announcements::an_element_that_listens_elsewhere";
        let elsewhere = Elsewhere::run(&network, test, &format!("{service} {group}"));
        let line = elsewhere.says("registered");
        println!("{group}: {line} after {:?}", began.elapsed());
        assert!(line.contains("sctp://"), "{line}");
        assert!(line.contains("10.73.0.1"), "{line}");
        until_ports(&asking, &[5]).await;
        elsewhere.kill();
        until_ports(&asking, &[]).await;
    }
    assert!(registrar.metrics().announcements_sent_total.get() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_announced_or_heard_on_an_interface_that_is_not_allowed() {
    needs_sctp!();
    let Some(network) = Network::new("quiet", 74) else { return };
    let asap = vec!["0.0.0.0:3863".parse().unwrap()];
    let registrar = announcing(asap, on("quiet1".into(), &GROUPS)).await;
    // Joined in the same group on the other cable, by another socket of the same host.
    let asap = vec!["tcp://10.74.0.1:3870".parse().unwrap()];
    let other = announcing(asap, on("quiet0".into(), &GROUPS)).await;
    let sent = async {
        while registrar.metrics().announcements_sent_total.get() < 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(sent).await;
    let test = "announcements::an_element_that_listens_elsewhere";
    let service = network.far(5)[0];
    let elsewhere = Elsewhere::run(&network, test, &format!("{service} {}", GROUPS[0]));
    let line = elsewhere.says("registered");
    assert!(line.contains("tcp://10.74.0.1:3870"), "{line}");
    // Each hears itself and nobody else.
    for registrar in [registrar, other] {
        let metrics = registrar.metrics();
        let (sent, received) =
            (metrics.announcements_sent_total.get(), metrics.announcements_received_total.get());
        assert!(received <= sent, "{received} of {sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_made_up_by_others_do_not_move_an_element() {
    // RFC 5352 §9.2.
    needs_sctp!();
    let Some(network) = Network::new("forged", 75) else { return };
    let asap = vec!["10.75.0.1:3863".parse().unwrap()];
    let registrar = announcing(asap, on("forged0".into(), &GROUPS[..1])).await;
    let service = network.far(5)[0];
    let test = "announcements::an_element_that_listens_elsewhere";
    let elsewhere = Elsewhere::run(&network, test, &format!("{service} {}", GROUPS[0]));
    elsewhere.says("registered");
    let asking = user(Locator::tcp(network.near(3863)[0]));
    until_ports(&asking, &[5]).await;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_multicast_if_v4(&"10.75.0.1".parse().unwrap()).unwrap();
    for forged in 0..5_000_u16 {
        let ip = [10, 75, 1, 50 + (forged % 100) as u8];
        let transports = vec![Transport::Tcp(SocketAddr::from((ip, 1000 + forged)))];
        let server = rserpool::proto::id::ServerId(1 + u32::from(forged));
        let mut bytes = Vec::new();
        Message::from(Body::ServerAnnounce { server, transports }).encode(&mut bytes).unwrap();
        let group: SocketAddr = GROUPS[0].parse().unwrap();
        socket.send_to(&bytes, &group.into()).unwrap();
    }
    assert_eq!(ports(&asking).await, [5]);
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
    // And it goes on announcing itself.
    let before = registrar.metrics().announcements_sent_total.get();
    let sent = async {
        while registrar.metrics().announcements_sent_total.get() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(sent).await;
}
