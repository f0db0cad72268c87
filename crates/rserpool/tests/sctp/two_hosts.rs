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
    for path in [0, 1] {
        network.cut(path);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            assert_eq!(ports(&asking).await, [5]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        network.restore(path);
        let restored = async {
            while metrics.paths_restored_total.get() <= u64::from(path) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(restored).await;
    }
    assert!(metrics.paths_lost_total.get() >= 2);
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_element_is_lost_at_once_and_a_silent_one_within_a_second() {
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
    assert!(silent < Duration::from_millis(1_300), "{silent:?}");
    println!("killed {killed:?}, silent {silent:?}");
}
