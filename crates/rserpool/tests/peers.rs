//! Several registrars of one scope, over real connections of this host.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::{Config, Event};
use rserpool::{PoolElement, PoolUser, Registrar};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// A registrar that dials those before it, in service and known to all of them.
async fn join(others: &[Registrar]) -> Registrar {
    let any: Locator = "tcp://127.0.0.1:0".parse().unwrap();
    let mut config = Config { asap: vec![any.clone()], enrp: vec![any], ..Config::default() };
    config.machine.peers = others.iter().map(|other| Locator::tcp(other.enrp_addrs()[0])).collect();
    let mut joined: Vec<_> = others.iter().map(Registrar::events).collect();
    let registrar = Registrar::start(config).await.unwrap();
    for events in &mut joined {
        soon(async { while !matches!(events.recv().await, Ok(Event::PeerFound { .. })) {} }).await;
    }
    until(&registrar, |registrar| registrar.is_serving()).await;
    registrar
}

/// Waits until a registrar's machine is in a state.
async fn until(registrar: &Registrar, reached: fn(&rserpool::proto::registrar::Registrar) -> bool) {
    soon(async {
        while registrar.inspect(reached).await != Some(true) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn pool() -> PoolHandle {
    "EchoPool".parse().unwrap()
}

fn asap(registrars: &[&Registrar]) -> Vec<Locator> {
    registrars.iter().map(|registrar| Locator::tcp(registrar.asap_addrs()[0])).collect()
}

async fn element(registrars: &[&Registrar], port: u16) -> PoolElement {
    let address = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let config = PoolElementConfig::new(pool(), address, asap(registrars));
    let element = PoolElement::start(config).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

#[tokio::test]
async fn what_is_registered_at_one_registrar_is_resolved_at_all() {
    let first = join(&[]).await;
    let second = join(std::slice::from_ref(&first)).await;
    let before = element(&[&second], 81).await;
    let registrars = [first, second];
    let third = join(&registrars).await;
    let after = element(&[&registrars[0]], 82).await;
    until(&third, |machine| machine.handlespace().element_count() == 2).await;

    let user = PoolUser::new(PoolUserConfig::new(asap(&[&third])));
    let elements = soon(user.resolve(&pool())).await.unwrap().elements;
    let mut ids: Vec<_> = elements.iter().map(|element| element.id).collect();
    ids.sort_unstable();
    let mut expected = [before.id(), after.id()];
    expected.sort_unstable();
    assert_eq!(ids, expected);

    soon(before.deregister()).await.unwrap();
    until(&third, |machine| machine.handlespace().element_count() == 1).await;
}

#[tokio::test]
async fn when_a_registrar_vanishes_its_elements_stay_and_find_another_home() {
    let first = join(&[]).await;
    let second = join(std::slice::from_ref(&first)).await;
    let elements = [element(&[&first, &second], 81).await, element(&[&first, &second], 82).await];
    until(&second, |machine| machine.handlespace().element_count() == 2).await;
    // Whoever is registered with the first one has to move; nobody is told beforehand.
    drop(first);
    until(&second, |machine| {
        machine.handlespace().element_count() == 2
            && machine.handlespace().owned_count(machine.id()) == 2
    })
    .await;
    for element in &elements {
        soon(element.registered()).await.unwrap();
    }
    let user = PoolUser::new(PoolUserConfig::new(asap(&[&second])));
    assert_eq!(soon(user.resolve(&pool())).await.unwrap().elements.len(), 2);
}

#[tokio::test]
async fn a_registrar_that_leaves_hands_its_elements_over() {
    let first = join(&[]).await;
    let element = element(&[&first], 81).await;
    let second = join(std::slice::from_ref(&first)).await;
    until(&second, |machine| machine.handlespace().element_count() == 1).await;
    let mut events = second.events();
    soon(first.shutdown()).await;
    until(&second, |machine| machine.handlespace().owned_count(machine.id()) == 1).await;
    // Before anybody could have thought the first one dead.
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::TakenOver { elements: 1.., .. }), "{event:?}");
    }
    drop(element);
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_no_element_and_fails_no_resolution() {
    let mut registrars = Vec::new();
    for _ in 0..3 {
        registrars.push(join(&registrars).await);
    }
    let places: Vec<_> = registrars.iter().map(places).collect();
    let of_all: Vec<Locator> = places.iter().map(|(asap, _)| asap.clone()).collect();
    let mut elements = Vec::new();
    for port in 100..130 {
        let address = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        let config = PoolElementConfig::new(pool(), address, of_all.clone());
        let element = PoolElement::start(config).await.unwrap();
        soon(element.registered()).await.unwrap();
        elements.push(element);
    }
    for registrar in &registrars {
        until(registrar, |machine| machine.handlespace().element_count() == 30).await;
    }
    let ends = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let mut config = PoolUserConfig::new(of_all.clone());
            config.timers.stale_cache_value = Duration::ZERO;
            let (user, ends) = (PoolUser::new(config), ends.clone());
            tokio::spawn(async move {
                let mut answers = 0;
                while !ends.load(Ordering::Relaxed) {
                    let answer = user.resolve(&pool()).await.unwrap();
                    assert_eq!(answer.elements.len(), 30, "after {answers} answers");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..3 {
        let leaving = registrars.remove(0);
        let (asap, enrp) = self::places(&leaving);
        soon(leaving.shutdown()).await;
        let mut config = Config { asap: vec![asap], enrp: vec![enrp], ..Config::default() };
        config.machine.peers = registrars.iter().map(|other| other.enrp()[0].clone()).collect();
        let restarted = Registrar::start(config).await.unwrap();
        until(&restarted, |machine| {
            machine.is_serving() && machine.handlespace().element_count() == 30
        })
        .await;
        registrars.push(restarted);
    }
    ends.store(true, Ordering::Relaxed);
    for user in load {
        assert!(soon(user).await.unwrap() > 0);
    }
    for element in &elements {
        soon(element.registered()).await.unwrap();
    }
}

/// Where a registrar listens.
fn places(registrar: &Registrar) -> (Locator, Locator) {
    (registrar.asap()[0].clone(), registrar.enrp()[0].clone())
}

#[tokio::test]
async fn registrars_are_asked_about_each_other_and_compared() {
    let first = join(&[]).await;
    let second = join(std::slice::from_ref(&first)).await;
    let here = element(&[&first], 81).await;
    let _there = element(&[&second], 82).await;
    until(&first, |machine| machine.handlespace().element_count() == 2).await;
    until(&second, |machine| machine.handlespace().element_count() == 2).await;
    let options = rserpool::table::Options::default();
    let places = [&first.enrp()[0], &second.enrp()[0]];
    let answer = rserpool::peers::ask(places[0], &options).await.unwrap();
    assert_eq!((answer.server, answer.is_serving), (first.id(), true));
    assert_eq!(answer.peers.len(), 1);
    assert_eq!(answer.peers[0].0, second.id());
    let other = rserpool::peers::ask(&answer.peers[0].1, &options).await.unwrap();
    assert_eq!(other.server, second.id());
    for place in places {
        let copies = rserpool::peers::Copies::read(place, &options).await.unwrap();
        assert_eq!(copies.elements(first.id()), 1);
        assert!(copies.agree(&answer) && copies.agree(&other));
    }
    drop(here);
    until(&first, |machine| machine.handlespace().element_count() == 1).await;
    let copies = rserpool::peers::Copies::read(places[0], &options).await.unwrap();
    assert!(!copies.agree(&answer) && copies.agree(&other), "it has ended meanwhile");
    // Whoever only asks is no registrar.
    assert_eq!(rserpool::peers::ask(places[0], &options).await.unwrap().peers.len(), 1);
}
