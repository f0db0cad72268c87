//! Registrars, elements and users over kernel SCTP. Where the host has none these tests say so and do
//! nothing, unless `SCTP_REQUIRED` is set; `crates/rserpool-sctp/tests/uml/run.sh` runs them, as
//! cargo's runner, under a kernel that has it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod announcements;
#[path = "../tls/authority.rs"]
mod authority;
mod network;
mod one_host;
mod secured;
mod secured_sessions;
mod sessions;
mod two_hosts;

use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::{Locator, TransportKind};
use rserpool::proto::wire::PPID_ASAP;
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::transport::{Addresses, Transport};
use rserpool::registrar::Config;
use rserpool::{PoolElement, PoolUser, Registrar, driver};
use rserpool_sctp as kernel;
use std::future::Future;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Nothing here takes this long; a test that waits in vain should end all the same.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}

/// Whether to go on with a test that needs SCTP.
#[must_use]
fn sctp() -> bool {
    let available = driver::is_sctp_available();
    if !available {
        passed_over("SCTP");
    }
    available
}

/// Says that a test did nothing.
fn passed_over(missing: &str) {
    assert!(std::env::var_os("SCTP_REQUIRED").is_none(), "no {missing} here, and it is required");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Past the capturing of the test harness.
    let _ = writeln!(std::io::stderr(), "no {missing} here: {test} did nothing");
}

/// Leaves a test where there is no SCTP.
macro_rules! needs_sctp {
    () => {
        if !$crate::sctp() {
            return;
        }
    };
}
use needs_sctp;

fn handle() -> PoolHandle {
    "EchoPool".parse().unwrap()
}

fn locator(transport: TransportKind, addresses: &[SocketAddr]) -> Locator {
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    let addresses_ = Addresses::new(&ips).unwrap();
    Locator { transport, addresses: addresses_, port: addresses[0].port() }
}

async fn registrar(asap: &str) -> Registrar {
    let asap = vec![asap.parse().unwrap()];
    Registrar::start(Config { asap, enrp: vec![], ..Config::default() }).await.unwrap()
}

/// Where a registrar is reached over SCTP.
fn over_sctp(registrar: &Registrar) -> Locator {
    let sctp = |locator: &&Locator| locator.transport == TransportKind::Sctp;
    registrar.asap().iter().find(sctp).unwrap().clone()
}

fn element_config(registrar: Locator, port: u16) -> PoolElementConfig {
    // An address of ours that is as far from everybody as the registrar's.
    let near = |ip: IpAddr| std::net::UdpSocket::bind((ip, 0)).is_ok();
    let ip = match registrar.primary().ip() {
        ip if near(ip) => ip,
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, 3 - d].into()
        }
        ip => ip,
    };
    let service = SocketAddr::new(ip, port);
    PoolElementConfig::new(handle(), Transport::Tcp(service), vec![registrar])
}

async fn element(registrar: Locator, port: u16) -> PoolElement {
    let element = PoolElement::start(element_config(registrar, port)).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

fn user(registrar: Locator) -> PoolUser {
    let mut config = PoolUserConfig::new(vec![registrar]);
    config.timers.stale_cache_value = Duration::ZERO;
    PoolUser::new(config)
}

/// The ports of the pool's services, in the order of the answer.
async fn ports(user: &PoolUser) -> Vec<u16> {
    match soon(user.resolve(&handle())).await {
        Ok(resolution) => {
            let service = |element: &std::sync::Arc<rserpool::pool_user::Element>| {
                element.user_transport.primary().unwrap().port()
            };
            resolution.elements.iter().map(service).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// Waits until the pool's services are these, in whatever order.
async fn until_ports(user: &PoolUser, wanted: &[u16]) {
    soon(async {
        loop {
            let mut found = ports(user).await;
            found.sort_unstable();
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A registration of a service there.
fn registration(service: SocketAddr) -> Vec<u8> {
    use rserpool::proto::id::{PeId, ServerId};
    use rserpool::proto::wire::policy::{PolicyNumber, PolicyParameter};
    use rserpool::proto::wire::pool_element::PoolElement;
    let element = PoolElement {
        id: PeId(service.port().into()),
        home: ServerId::NONE,
        life: 60_000,
        user_transport: Transport::Tcp(service),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: Default::default(),
    };
    let body = Body::Registration {
        handle: handle(),
        element: element.into(),
        capabilities: None,
        stamp: None,
    };
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_host_without_sctp_is_told_so_in_words_and_auto_is_tcp() {
    if driver::is_sctp_available() {
        return;
    }
    let asap = vec!["sctp://127.0.0.1:0".parse().unwrap()];
    let error = Registrar::start(Config { asap, ..Config::default() }).await.unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("no SCTP"), "{error}");
    let registrars = "sctp://127.0.0.1:1".parse().unwrap();
    let error = PoolElement::start(element_config(registrars, 1)).await.unwrap_err();
    assert!(error.to_string().contains("no SCTP"), "{error}");

    let registrar = registrar("127.0.0.1:0").await;
    assert_eq!(registrar.asap().len(), 1);
    let auto = locator(TransportKind::Auto, registrar.asap_addrs());
    let element = element(auto.clone(), 7).await;
    assert_eq!(element.status().borrow().home, Some(registrar.asap()[0].clone()));
    assert_eq!(ports(&user(auto)).await, [7]);
}
