//! Registrars, elements and users together, over real connections of this host.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::pool_element::{Event as ElementEvent, NotRegistered, PoolElementConfig, StartError};
use rserpool::pool_user::{PoolUserConfig, ResolveError};
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::{Config, Event, RemovalReason};
use rserpool::{PoolElement, PoolUser, Registrar, driver, table};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something that is about to come.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn registrar() -> Registrar {
    registrar_at(any()).await
}

async fn registrar_at(asap: SocketAddr) -> Registrar {
    let (asap, enrp) = (vec![Locator::tcp(asap)], vec![Locator::tcp(any())]);
    let config = Config { asap, enrp, ..Config::default() };
    Registrar::start(config).await.unwrap()
}

fn locators(registrars: &[&Registrar]) -> Vec<Locator> {
    registrars.iter().map(|registrar| Locator::tcp(registrar.asap_addrs()[0])).collect()
}

fn pool() -> PoolHandle {
    "EchoPool".parse().unwrap()
}

fn element_config(registrars: Vec<Locator>, port: u16) -> PoolElementConfig {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    PoolElementConfig::new(pool(), Transport::Tcp(address), registrars)
}

/// An element that is in its pool.
async fn element(registrars: &[&Registrar], port: u16) -> PoolElement {
    let config = element_config(locators(registrars), port);
    let element = PoolElement::start(config).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

fn user(registrars: &[&Registrar]) -> PoolUser {
    PoolUser::new(PoolUserConfig::new(locators(registrars)))
}

async fn removal(events: &mut broadcast::Receiver<Event>) -> (PeId, RemovalReason) {
    soon(async {
        loop {
            if let Event::ElementRemoved { id, reason, .. } = events.recv().await.unwrap() {
                return (id, reason);
            }
        }
    })
    .await
}

async fn arrival(events: &mut broadcast::Receiver<Event>) -> PeId {
    soon(async {
        loop {
            if let Event::ElementRegistered { id, .. } = events.recv().await.unwrap() {
                return id;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_element_registers_is_resolved_and_deregisters() {
    let registrar = registrar().await;
    let user = user(&[&registrar]);
    let element = element(&[&registrar], 81).await;

    let resolution = soon(user.resolve(&pool())).await.unwrap();
    assert_eq!(resolution.elements.len(), 1);
    assert_eq!(resolution.elements[0].id, element.id());
    let address = Transport::Tcp("127.0.0.1:81".parse().unwrap());
    assert_eq!(resolution.elements[0].user_transport, address);
    assert_eq!(soon(user.pick(&pool(), &[])).await.unwrap().id, element.id());

    soon(element.deregister()).await.unwrap();
    user.purge(&pool()).await;
    let error = soon(user.resolve(&pool())).await.unwrap_err();
    assert_eq!(error, ResolveError::UnknownPool { handle: pool() });
}

#[tokio::test]
async fn an_element_whose_connection_breaks_is_out_of_all_answers_at_once() {
    let registrar = registrar().await;
    let mut events = registrar.events();
    let (stays, goes) = (element(&[&registrar], 81).await, element(&[&registrar], 82).await);
    let user = user(&[&registrar]);
    assert_eq!(soon(user.resolve(&pool())).await.unwrap().elements.len(), 2);

    let (gone, since) = (goes.id(), Instant::now());
    drop(goes);
    assert_eq!(removal(&mut events).await, (gone, RemovalReason::AssociationLost));
    // Long before a keep-alive would have found out.
    assert!(since.elapsed() < Duration::from_millis(300), "{:?}", since.elapsed());
    user.purge(&pool()).await;
    let left = soon(user.resolve(&pool())).await.unwrap().elements;
    assert_eq!(left.iter().map(|element| element.id).collect::<Vec<_>>(), [stays.id()]);
}

#[tokio::test]
async fn an_element_is_back_within_a_second_after_its_registrar_is() {
    let first = registrar().await;
    let address = first.asap_addrs()[0];
    let mut element = element(&[&first], 81).await;
    soon(first.shutdown()).await;
    soon(async {
        while !matches!(element.next_event().await, Some(ElementEvent::HomeLost { .. })) {}
    })
    .await;

    let second = registrar_at(address).await;
    let (mut events, since) = (second.events(), Instant::now());
    assert_eq!(arrival(&mut events).await, element.id());
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    soon(element.registered()).await.unwrap();
    assert_eq!(soon(user(&[&second]).resolve(&pool())).await.unwrap().elements.len(), 1);
}

#[tokio::test]
async fn an_element_and_a_user_go_to_the_other_registrar_when_theirs_vanishes() {
    let (one, two) = (registrar().await, registrar().await);
    let both = [&one, &two];
    let element = element(&both, 81).await;
    let user = user(&both);
    let home = element.status().borrow().home.clone().unwrap();
    let (old, new) = if home == locators(&both)[0] { (one, two) } else { (two, one) };
    let mut events = new.events();
    let since = Instant::now();
    drop(old);
    assert_eq!(arrival(&mut events).await, element.id());
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let resolution = soon(user.resolve(&pool())).await.unwrap();
    assert_eq!(resolution.elements[0].id, element.id());
}

#[tokio::test]
async fn garbage_on_the_port_closes_that_connection_and_no_other() {
    let registrar = registrar().await;
    let element = element(&[&registrar], 81).await;
    for garbage in [&[0xff, 0xff, 0, 0][..], &[0; 100], b"GET"] {
        let mut stream = TcpStream::connect(registrar.asap_addrs()[0]).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, []);
    }
    let resolution = soon(user(&[&registrar]).resolve(&pool())).await.unwrap();
    assert_eq!(resolution.elements[0].id, element.id());
    assert_eq!(registrar.metrics().associations_malformed_total.get(), 2);
}

#[tokio::test]
async fn missing_registrars_pools_and_elements_are_told_apart() {
    let registrar = registrar().await;
    let known = user(&[&registrar]);
    let error = soon(known.pick(&pool(), &[])).await.unwrap_err();
    assert_eq!(error, ResolveError::UnknownPool { handle: pool() });

    let element = element(&[&registrar], 81).await;
    let error = soon(known.pick(&pool(), &[element.id()])).await.unwrap_err();
    assert_eq!(error, ResolveError::NoElement { handle: pool() });

    let socket = driver::listen(any()).unwrap();
    let nobody = Locator::tcp(socket.local_addr().unwrap());
    drop(socket);
    let lost = PoolUser::new(PoolUserConfig::new(vec![nobody.clone()]));
    let error = soon(lost.resolve(&pool())).await.unwrap_err();
    assert_eq!(error, ResolveError::NoRegistrar { registrars: [nobody].into() });

    let nothing = PoolElement::start(element_config(Vec::new(), 81)).await.unwrap_err();
    assert_eq!(nothing, StartError::NoRegistrar);
}

#[tokio::test]
async fn requests_that_are_given_up_leave_others_alone() {
    let registrar = registrar().await;
    let _element = element(&[&registrar], 81).await;
    let user = user(&[&registrar]);
    for _ in 0..100 {
        let handle = pool();
        let mut given_up = Box::pin(user.resolve(&handle));
        let waker = std::task::Waker::noop();
        let _ = given_up.as_mut().poll(&mut std::task::Context::from_waker(waker));
    }
    let clones: Vec<_> = (0..100)
        .map(|_| {
            let user = user.clone();
            tokio::spawn(async move { user.resolve(&pool()).await })
        })
        .collect();
    for clone in clones {
        assert_eq!(soon(clone).await.unwrap().unwrap().elements.len(), 1);
    }
}

#[tokio::test]
async fn a_certain_element_is_found_again_while_it_lives() {
    let registrar = registrar().await;
    let mut events = registrar.events();
    let (first, second) = (element(&[&registrar], 81).await, element(&[&registrar], 82).await);
    let user = user(&[&registrar]);
    for element in [&first, &second, &first] {
        let found = soon(user.pick_element(&pool(), element.id())).await.unwrap();
        assert_eq!(found.id, element.id());
    }
    let gone = first.id();
    drop(first);
    removal(&mut events).await;
    user.purge(&pool()).await;
    let error = soon(user.pick_element(&pool(), gone)).await.unwrap_err();
    assert_eq!(error, ResolveError::NoElement { handle: pool() });
}

#[tokio::test]
async fn an_element_that_does_not_fit_its_pool_is_refused_and_may_try_again() {
    let registrar = registrar().await;
    let _first = element(&[&registrar], 81).await;
    // Random, where the pool is round robin (RFC 5356 §4).
    let mut config = element_config(locators(&[&registrar]), 82);
    config.policy = PolicyParameter::new(PolicyNumber(3), &[]);
    let second = PoolElement::start(config).await.unwrap();
    let error = soon(second.registered()).await.unwrap_err();
    assert!(matches!(&error, NotRegistered::Refused { errors } if !errors.is_empty()), "{error}");
    second.set_policy(PolicyParameter::new(PolicyNumber(1), &[])).await;
    let mut status = second.status();
    soon(status.wait_for(|status| status.state == rserpool::pool_element::State::Registered))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_table_of_a_registrar_shows_pools_and_elements() {
    let registrar = registrar().await;
    let empty = soon(table::read(&Locator::tcp(registrar.enrp_addrs()[0]))).await.unwrap();
    assert_eq!((empty.server, empty.pools.len()), (registrar.id(), 0));
    let (first, second) = (element(&[&registrar], 81).await, element(&[&registrar], 82).await);
    let table = soon(table::read(&Locator::tcp(registrar.enrp_addrs()[0]))).await.unwrap();
    let mut ids = [first.id(), second.id()];
    ids.sort();
    assert_eq!(table.pools.len(), 1);
    assert_eq!(table.pools[0].handle, pool());
    assert_eq!(table.pools[0].elements.iter().map(|pe| pe.id).collect::<Vec<_>>(), ids);
    assert!(table.pools[0].elements.iter().all(|pe| pe.home == registrar.id()));
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_left_open() {
    let registrar = registrar().await;
    let taken = registrar.asap_addrs()[0];
    let free = driver::listen(any()).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let asap = [address, taken].map(Locator::tcp).into();
    let config = Config { asap, enrp: vec![], ..Config::default() };
    let error = Registrar::start(config).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    drop(driver::listen(address).unwrap());
}

#[tokio::test]
async fn a_registrar_that_is_shut_down_closes_everything_and_is_gone() {
    let registrar = registrar().await;
    let address = registrar.asap_addrs()[0];
    let mut element = element(&[&registrar], 81).await;
    soon(registrar.shutdown()).await;
    let lost = async {
        while !matches!(element.next_event().await, Some(ElementEvent::HomeLost { .. })) {}
    };
    soon(lost).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_several_threads_as_well() {
    let registrar = registrar().await;
    let mut tasks = Vec::new();
    for port in 1..=20 {
        let config = element_config(locators(&[&registrar]), port);
        tasks.push(tokio::spawn(async move {
            let element = PoolElement::start(config).await.unwrap();
            soon(element.registered()).await.unwrap();
            element
        }));
    }
    let mut elements = Vec::new();
    for task in tasks {
        elements.push(soon(task).await.unwrap());
    }
    let resolution = soon(user(&[&registrar]).resolve(&pool())).await.unwrap();
    assert_eq!(resolution.elements.len(), 20);
    for element in elements {
        soon(element.deregister()).await.unwrap();
    }
    let left = registrar.inspect(|machine| machine.counters().removals).await;
    assert_eq!(left, Some(20));
}
