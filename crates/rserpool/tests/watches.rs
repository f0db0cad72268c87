//! Users that watch pools, over real connections of this host.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::{PoolChange, PoolUpdate, PoolUserConfig, ResolveError, Watch};
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::Config;
use rserpool::{PoolElement, PoolUser, Registrar};
use std::net::SocketAddr;
use std::time::Duration;

/// Waits for something that is about to come.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn pool() -> PoolHandle {
    "web".parse().unwrap()
}

async fn registrar() -> Registrar {
    let (asap, enrp) = (vec![Locator::tcp(any())], vec![Locator::tcp(any())]);
    Registrar::start(Config { asap, enrp, ..Config::default() }).await.unwrap()
}

fn at(registrars: &[&Registrar]) -> Vec<Locator> {
    registrars.iter().map(|registrar| Locator::tcp(registrar.asap_addrs()[0])).collect()
}

async fn element(registrar: &Registrar, port: u16) -> PoolElement {
    let transport = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let config = PoolElementConfig::new(pool(), transport, at(&[registrar]));
    let element = PoolElement::start(config).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

async fn next(watch: &mut Watch) -> PoolUpdate {
    soon(watch.next()).await.unwrap()
}

#[tokio::test]
async fn who_comes_and_goes_in_a_watched_pool_is_told_unasked() {
    let registrar = registrar().await;
    let user = PoolUser::new(PoolUserConfig::new(at(&[&registrar])));
    let mut watch = soon(user.watch(&pool())).await.unwrap();
    let first = next(&mut watch).await;
    assert_eq!(first.state, Err(ResolveError::UnknownPool { handle: pool() }));
    assert!(first.pushed);

    let web = element(&registrar, 81).await;
    let second = next(&mut watch).await;
    assert!(matches!(&second.changes[..], [PoolChange::Added(new)] if new.id == web.id()));
    // One that comes later to watch begins with what there is.
    let mut other = soon(user.watch(&pool())).await.unwrap();
    assert_eq!(next(&mut other).await.state.unwrap().elements.len(), 1);

    drop(web);
    let third = next(&mut watch).await;
    assert!(matches!(&third.changes[..], [PoolChange::Removed(_)]), "{third:?}");
    let asked = registrar.inspect(|machine| machine.counters()).await.unwrap();
    assert_eq!(asked.updates, 2);
}

#[tokio::test]
async fn a_watch_that_nobody_holds_ends_at_the_registrar() {
    let registrar = registrar().await;
    let user = PoolUser::new(PoolUserConfig::new(at(&[&registrar])));
    let watches =
        [soon(user.watch(&pool())).await.unwrap(), soon(user.watch(&pool())).await.unwrap()];
    let watched = async |expected: usize| {
        while registrar.inspect(|machine| machine.watches()).await != Some(expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(watched(1)).await;
    drop(watches);
    soon(watched(0)).await;
}

#[tokio::test]
async fn a_watch_goes_on_at_another_registrar_when_its_own_is_gone() {
    let (one, other) = (registrar().await, registrar().await);
    let user = PoolUser::new(PoolUserConfig::new(at(&[&one, &other])));
    let mut watch = soon(user.watch(&pool())).await.unwrap();
    next(&mut watch).await;
    let at_one = one.inspect(|machine| machine.watches()).await == Some(1);
    let (home, other) = if at_one { (one, other) } else { (other, one) };
    let web = element(&other, 81).await;
    home.shutdown().await;
    let update = next(&mut watch).await;
    assert!(matches!(&update.changes[..], [PoolChange::Added(new)] if new.id == web.id()));
}
