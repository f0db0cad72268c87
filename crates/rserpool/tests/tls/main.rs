//! A secured scope over real connections of this host (RFC 5355).
#![expect(clippy::unwrap_used, reason = "a test")]

mod authority;
mod sessions;

use authority::{Authority, settings};
use rserpool::driver::Network;
use rserpool::pool_element::{PoolElementConfig, State};
use rserpool::pool_user::{PoolUserConfig, ResolveError};
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::registrar::{Authority as Rights, Grants, Readers};
use rserpool::proto::timers::{Preset, UserTimers};
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::{Config, Event};
use rserpool::table::{self, TableError};
use rserpool::tls::{Tls, TlsError};
use rserpool::{PoolElement, PoolUser, Registrar};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(10);
const REGISTRAR: &str = "rserpool://lab/registrar";
const ELEMENT: &str = "rserpool://lab/element/Echo*";
const USER: &str = "rserpool://lab/user";

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn pool() -> PoolHandle {
    "EchoPool".parse().unwrap()
}

fn any() -> Locator {
    "tcp://127.0.0.1:0".parse().unwrap()
}

fn config(tls: Tls, readers: Readers) -> Config {
    let mut config = Config { asap: vec![any()], enrp: vec![any()], ..Config::default() };
    let grants = Grants { scope: "lab".into(), readers, ..Grants::default() };
    config.machine.authority = Rights::Secured(Arc::new(grants));
    config.tls = Some(tls);
    config
}

async fn registrar(tls: Tls) -> Registrar {
    Registrar::start(config(tls, Readers::Verified)).await.unwrap()
}

fn asap(registrar: &Registrar) -> Locator {
    Locator::tcp(registrar.asap_addrs()[0])
}

fn network(tls: Option<Tls>) -> Network {
    Network { tls, ..Network::default() }
}

async fn element(at: Vec<Locator>, tls: Option<Tls>) -> PoolElement {
    let address = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], 8001)));
    let config = PoolElementConfig::new(pool(), address, at);
    PoolElement::start_with(config, network(tls)).await.unwrap()
}

fn is_registered(element: &PoolElement) -> bool {
    element.state() == State::Registered
}

fn user(at: Vec<Locator>, tls: Option<Tls>) -> PoolUser {
    PoolUser::with(PoolUserConfig::new(at), network(tls))
}

#[tokio::test]
async fn with_certificates_of_the_scope_everything_works_as_without() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let element = element(vec![asap(&registrar)], Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
    let user = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let resolution = soon(user.resolve(&pool())).await.unwrap();
    assert_eq!(resolution.elements[0].id, element.id());
    soon(element.deregister()).await.unwrap();
    registrar.shutdown().await;
}

#[tokio::test]
async fn what_is_not_secured_gets_no_answer() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    // Neither an element without TLS nor one without a certificate gets in.
    let plain = element(vec![asap(&registrar)], None).await;
    let nameless = element(vec![asap(&registrar)], Some(authority.tls(&[]))).await;
    let user = user(vec![asap(&registrar)], None);
    let refused = soon(user.resolve(&pool())).await;
    assert!(matches!(refused, Err(ResolveError::NoRegistrar { .. })), "{refused:?}");
    let known = registrar.inspect(|machine| machine.handlespace().element_count()).await;
    assert_eq!(known, Some(0));
    assert!(!is_registered(&plain) && !is_registered(&nameless));
}

#[tokio::test]
async fn handshakes_that_go_on_for_ever_make_room_among_those_of_their_address() {
    let authority = Authority::new();
    let mut config = config(authority.tls(&[REGISTRAR]), Readers::Verified);
    config.limits.handshakes_per_address = 3;
    let registrar = Registrar::start(config).await.unwrap();
    let at = registrar.asap_addrs()[0];
    let from = |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        socket.connect(at)
    };
    let other = from("127.0.0.2:0").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(from("127.0.0.1:0").await.unwrap());
    }
    for oldest in &mut silent[..2] {
        assert_eq!(soon(oldest.read(&mut [0; 8])).await.unwrap_or(0), 0);
    }
    let is_open = |stream: &TcpStream| matches!(stream.try_read(&mut [0; 8]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    assert!(is_open(&other) && silent[2..].iter().all(is_open));
    assert_eq!(registrar.metrics().associations_turned_away_total.get(), 2);
    // Whoever means it takes milliseconds.
    let element = element(vec![asap(&registrar)], Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
}

#[tokio::test]
async fn everybody_may_read_where_the_configuration_says_so_and_nothing_else() {
    let authority = Authority::new();
    let settings = rserpool::tls::Settings { anonymous: true, ..authority.settings(&[REGISTRAR]) };
    let mut config = config(Tls::open(settings).unwrap(), Readers::Everybody);
    config.plain = vec![any()];
    let registrar = Registrar::start(config).await.unwrap();
    let member = element(vec![asap(&registrar)], Some(authority.tls(&[ELEMENT]))).await;
    soon(member.registered()).await.unwrap();
    let plain = Locator::tcp(registrar.plain_addrs()[0]);
    let old = user(vec![plain.clone()], None);
    assert_eq!(soon(old.resolve(&pool())).await.unwrap().elements.len(), 1);
    let careful = user(vec![asap(&registrar)], Some(authority.tls(&[])));
    assert_eq!(soon(careful.resolve(&pool())).await.unwrap().elements.len(), 1);
    let intruder = element(vec![plain], None).await;
    let mut events = registrar.events();
    soon(async {
        while !matches!(events.recv().await.unwrap(), Event::RegistrationRefused { .. }) {}
    })
    .await;
    assert!(!is_registered(&intruder));
    assert_eq!(registrar.inspect(|machine| machine.handlespace().element_count()).await, Some(1));
}

/// RFC 5355 §2.6, §2.7: whoever says to be a registrar and is none is left for the next one.
#[tokio::test]
async fn a_registrar_that_is_none_is_refused_and_the_next_one_is_tried() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = registrar(authority.tls(&[REGISTRAR])).await;
    let expired = authority.issue_until(&[REGISTRAR], 2001);
    let bad = [
        ("of another authority", stranger.tls(&[REGISTRAR])),
        ("of another scope", authority.tls(&["rserpool://other/registrar"])),
        ("an element's", authority.tls(&[ELEMENT, "127.0.0.1"])),
        ("for another address", authority.tls(&["10.0.0.1"])),
        ("for a host nobody expects", authority.tls(&["elsewhere.example.org"])),
        ("expired", Tls::open(settings(&authority.ca(), Some(expired))).unwrap()),
    ];
    for (what, tls) in bad {
        let impostor = registrar(tls).await;
        let user_tls = authority.tls(&[USER]);
        let only = PoolUserConfig {
            timers: UserTimers::preset(Preset::Realtime),
            ..PoolUserConfig::new(vec![asap(&impostor)])
        };
        let only = PoolUser::with(only, network(Some(user_tls.clone())));
        let refused = soon(only.resolve(&pool())).await;
        assert!(matches!(refused, Err(ResolveError::NoRegistrar { .. })), "{what}: {refused:?}");
        let both = user(vec![asap(&impostor), asap(&good)], Some(user_tls));
        let answer = soon(both.resolve(&pool())).await;
        assert!(matches!(answer, Err(ResolveError::UnknownPool { .. })), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_registrar_without_a_uri_is_believed_by_its_address_or_by_an_expected_host_name() {
    let authority = Authority::new();
    for (name, expected) in [
        ("127.0.0.1", None),
        ("registrar.example.org", Some("registrar.example.org")),
        ("*.example.org", Some("registrar.example.org")),
        // RFC 3490: compared in its ASCII form.
        ("xn--mnchen-3ya.example", Some("München.example")),
    ] {
        let registrar = registrar(authority.tls(&[name])).await;
        let names = expected.map(String::from).into_iter().collect();
        let settings = rserpool::tls::Settings { names, ..authority.settings(&[USER]) };
        let user = user(vec![asap(&registrar)], Some(Tls::open(settings).unwrap()));
        let answer = soon(user.resolve(&pool())).await;
        assert!(matches!(answer, Err(ResolveError::UnknownPool { .. })), "{name}: {answer:?}");
    }
    let wrong =
        rserpool::tls::Settings { names: vec!["no name".into()], ..authority.settings(&[USER]) };
    assert!(matches!(Tls::open(wrong), Err(TlsError::Name(_))));
}

#[tokio::test]
async fn registrars_replicate_after_each_has_proved_who_it_is_and_nobody_else_joins() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let first = registrar(authority.tls(&[REGISTRAR])).await;
    let mut found = first.events();
    let joining = |tls| {
        let mut config = config(tls, Readers::Verified);
        config.machine.peers = vec![Locator::tcp(first.enrp_addrs()[0])];
        config
    };
    let intruders = [authority.tls(&[ELEMENT]), stranger.tls(&[REGISTRAR])];
    let mut kept = Vec::new();
    for tls in intruders {
        kept.push(Registrar::start(joining(tls)).await.unwrap());
    }
    let second = Registrar::start(joining(authority.tls(&[REGISTRAR]))).await.unwrap();
    let server = soon(async {
        loop {
            if let Event::PeerFound { server } = found.recv().await.unwrap() {
                break server;
            }
        }
    })
    .await;
    assert_eq!(server, second.id());
    let element = element(vec![asap(&first)], Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
    soon(async {
        let count = |machine: &rserpool::proto::registrar::Registrar| {
            let element = machine.handlespace().table(None, None).next();
            element.is_some_and(|(_, _, element)| element.owner().is_some())
        };
        while second.inspect(count).await != Some(true) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(kept.iter().all(|intruder| intruder.id() != server));
    let more = std::iter::from_fn(|| found.try_recv().ok());
    assert!(more.into_iter().all(|event| !matches!(event, Event::PeerFound { .. })));
}

#[tokio::test]
async fn an_operator_reads_the_table_and_a_user_does_not() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let at = Locator::tcp(registrar.enrp_addrs()[0]);
    let options =
        |name| table::Options { tls: Some(authority.tls(&[name])), ..table::Options::default() };
    let table = soon(table::read_with(&at, options("rserpool://lab/operator"))).await.unwrap();
    assert_eq!(table.server, registrar.id());
    let refused = soon(table::read_with(&at, options(USER))).await;
    assert!(matches!(refused, Err(TableError::Rejected { .. })), "{refused:?}");
}

#[tokio::test]
async fn certificates_are_read_anew_without_a_restart() {
    let authority = Authority::new();
    let old = authority.settings(&[REGISTRAR]);
    let (certificate, key) = old.own.clone().unwrap();
    let tls = Tls::open(old).unwrap();
    let registrar = registrar(tls.clone()).await;
    let held = element(vec![asap(&registrar)], Some(authority.tls(&[ELEMENT]))).await;
    soon(held.registered()).await.unwrap();
    // It becomes what no user believes: connections that are there go on, new ones fail.
    let (other, other_key) = authority.issue(&["rserpool://other/registrar"]);
    std::fs::copy(other, &certificate).unwrap();
    std::fs::write(&key, "nothing").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::File { .. })));
    let before = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    soon(before.resolve(&pool())).await.unwrap();
    std::fs::copy(other_key, &key).unwrap();
    tls.reload().unwrap();
    let after = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let refused = soon(after.resolve(&pool())).await;
    assert!(matches!(refused, Err(ResolveError::NoRegistrar { .. })), "{refused:?}");
    assert!(is_registered(&held));
}

/// RFC 5355 §2.10: whatever is changed on the way, nothing of it is accepted.
#[tokio::test]
async fn a_bit_that_is_flipped_on_the_way_ends_the_connection() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = Locator::tcp(listener.local_addr().unwrap());
    let to = registrar.asap_addrs()[0];
    // Passes on what a client says, and flips one bit of each chunk but the first, which asks for TLS.
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut read, mut write) = client.into_split();
            let (mut back, mut forth) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut back, &mut write).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                for chunk in 0.. {
                    let Ok(length @ 1..) = read.read(&mut buffer).await else { break };
                    if chunk > 0 {
                        buffer[length - 1] ^= 1;
                    }
                    if forth.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let element = element(vec![through], Some(authority.tls(&[ELEMENT]))).await;
    let metrics = registrar.metrics().clone();
    soon(async {
        while metrics.associations_untrusted_total.get() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!is_registered(&element));
    assert_eq!(registrar.inspect(|machine| machine.handlespace().element_count()).await, Some(0));
}

/// RFC 5355 §2.8.
#[tokio::test]
async fn what_was_recorded_is_worth_nothing_when_it_is_said_again() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = Locator::tcp(listener.local_addr().unwrap());
    let to = registrar.asap_addrs()[0];
    let recorder = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = client.into_split();
        let (mut back, mut forth) = TcpStream::connect(to).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut write).await });
        let (mut said, mut buffer) = (Vec::new(), vec![0; 65536]);
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..length]);
            forth.write_all(&buffer[..length]).await.unwrap();
        }
        said
    });
    let element = element(vec![through], Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
    soon(element.deregister()).await.unwrap();
    let said = soon(recorder).await.unwrap();
    let mut again = TcpStream::connect(to).await.unwrap();
    again.write_all(&said).await.unwrap();
    let metrics = registrar.metrics().clone();
    soon(async {
        while metrics.associations_untrusted_total.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(registrar.inspect(|machine| machine.handlespace().element_count()).await, Some(0));
}
