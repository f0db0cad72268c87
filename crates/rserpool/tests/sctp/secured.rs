//! A secured scope over SCTP (RFC 3436, RFC 5355).

use crate::authority::{Authority, settings};
use crate::network::{Elsewhere, Network};
use crate::*;
use rserpool::driver::Network as Reach;
use rserpool::pool_element::State;
use rserpool::pool_user::ResolveError;
use rserpool::proto::registrar::{Authority as Rights, Grants, Readers};
use rserpool::proto::wire::operation_error::ErrorCause;
use rserpool::table::{self, TableError};
use rserpool::tls::{Settings, Tls};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub(crate) const REGISTRAR: &str = "rserpool://lab/registrar";
pub(crate) const ELEMENT: &str = "rserpool://lab/element/Echo*";
pub(crate) const USER: &str = "rserpool://lab/user";
const OPERATOR: &str = "rserpool://lab/operator";

fn config(tls: Tls) -> Config {
    let any = || vec!["sctp://127.0.0.1:0".parse().unwrap()];
    let mut config = Config { asap: any(), enrp: any(), tls: Some(tls), ..Config::default() };
    let grants = Grants { scope: "lab".into(), ..Grants::default() };
    config.machine.authority = Rights::Secured(Arc::new(grants));
    config
}

pub(crate) async fn secured(tls: Tls) -> Registrar {
    Registrar::start(config(tls)).await.unwrap()
}

pub(crate) fn reach(tls: Option<Tls>) -> Reach {
    Reach { tls, ..Reach::default() }
}

async fn element_as(registrars: Vec<Locator>, port: u16, tls: Option<Tls>) -> PoolElement {
    let mut config = element_config(registrars[0].clone(), port);
    config.registrars = registrars;
    PoolElement::start_with(config, reach(tls)).await.unwrap()
}

pub(crate) fn user_as(registrar: Locator, tls: Option<Tls>) -> PoolUser {
    let mut config = PoolUserConfig::new(vec![registrar]);
    config.timers.stale_cache_value = Duration::ZERO;
    PoolUser::with(config, reach(tls))
}

fn addresses(locator: &Locator) -> Vec<SocketAddr> {
    locator.socket_addrs().collect()
}

/// Somebody who knows nothing of TLS.
async fn connect(to: &[SocketAddr]) -> kernel::Association {
    let config = kernel::Config::default();
    soon(kernel::Association::connect(to, &[], &config)).await.unwrap()
}

async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn count(registrar: &Registrar) -> usize {
    registrar.inspect(|machine| machine.handlespace().element_count()).await.unwrap()
}

#[tokio::test]
async fn over_sctp_with_certificates_everything_works_as_without() {
    needs_sctp!();
    let authority = Authority::new();
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let at = over_sctp(&registrar);
    let element = element_as(vec![at.clone()], 7, Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
    let user = user_as(at, Some(authority.tls(&[USER])));
    until_ports(&user, &[7]).await;
    let enrp = registrar.enrp()[0].clone();
    let read = |name| {
        let tls = Some(authority.tls(&[name]));
        table::read_with(&enrp, table::Options { tls, ..table::Options::default() })
    };
    let table = soon(read(OPERATOR)).await.unwrap();
    assert_eq!(table.server, registrar.id());
    let refused = soon(read(USER)).await;
    assert!(matches!(refused, Err(TableError::Rejected { .. })), "{refused:?}");
    soon(element.deregister()).await.unwrap();
    until_ports(&user, &[]).await;
    assert_eq!(registrar.metrics().associations_untrusted_total.get(), 0);
    registrar.shutdown().await;
}

#[tokio::test]
async fn what_speaks_without_tls_over_sctp_is_told_so_and_let_go() {
    // RFC 5355 §2.15.
    needs_sctp!();
    let authority = Authority::new();
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let to = addresses(&over_sctp(&registrar));
    let raw = connect(&to).await;
    let register = registration("127.0.0.1:9".parse().unwrap());
    soon(raw.send(&register, kernel::SendInfo::ppid(PPID_ASAP))).await.unwrap();
    let (mut answers, mut ended) = (Vec::new(), false);
    while !ended {
        match soon(raw.recv()).await.unwrap() {
            kernel::Event::Message(message) => answers.push(message.data),
            event => ended = event.is_end(),
        }
    }
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    let Body::Error { errors } = Message::decode(answer).unwrap().message.body else {
        panic!("{answer:?}");
    };
    assert_eq!(errors, [ErrorCause::SecurityConsiderations]);
    // Neither an element without TLS nor one without a certificate gets in.
    let plain = element_as(vec![over_sctp(&registrar)], 1, None).await;
    let nameless = element_as(vec![over_sctp(&registrar)], 2, Some(authority.tls(&[]))).await;
    until(|| registrar.metrics().associations_untrusted_total.get() >= 3).await;
    let refused = soon(user_as(over_sctp(&registrar), None).resolve(&handle())).await;
    let Err(ResolveError::Refused { errors, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(errors, [ErrorCause::SecurityConsiderations]);
    assert_ne!(plain.state(), State::Registered);
    assert_ne!(nameless.state(), State::Registered);
    assert_eq!(count(&registrar).await, 0);
}

#[tokio::test]
async fn a_false_registrar_over_sctp_is_left_for_the_next_one() {
    // RFC 5355 §2.6, §2.7.
    needs_sctp!();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = secured(authority.tls(&[REGISTRAR])).await;
    let expired = authority.issue_until(&[REGISTRAR], 2001);
    let bad = [
        ("of another authority", stranger.tls(&[REGISTRAR])),
        ("of another scope", authority.tls(&["rserpool://other/registrar"])),
        ("an element's", authority.tls(&[ELEMENT, "127.0.0.1"])),
        ("for another address", authority.tls(&["10.0.0.1"])),
        ("expired", Tls::open(settings(&authority.ca(), Some(expired))).unwrap()),
    ];
    for (what, tls) in bad {
        let impostor = secured(tls).await;
        let registrars = vec![over_sctp(&impostor), over_sctp(&good)];
        let element = element_as(registrars, 3, Some(authority.tls(&[ELEMENT]))).await;
        soon(element.registered()).await.unwrap();
        assert_eq!(element.status().borrow().home, Some(over_sctp(&good)), "{what}");
        assert_eq!(count(&impostor).await, 0, "{what}");
        soon(element.deregister()).await.unwrap();
    }
    // One that is for the address that was dialled is believed.
    let by_address = secured(authority.tls(&["127.0.0.1"])).await;
    let user = user_as(over_sctp(&by_address), Some(authority.tls(&[USER])));
    let answer = soon(user.resolve(&handle())).await;
    assert!(matches!(answer, Err(ResolveError::UnknownPool { .. })), "{answer:?}");
}

#[tokio::test]
async fn where_everybody_may_read_plain_users_come_over_sctp_to_addresses_of_their_own() {
    needs_sctp!();
    let authority = Authority::new();
    let settings = Settings { anonymous: true, ..authority.settings(&[REGISTRAR]) };
    let mut config = config(Tls::open(settings).unwrap());
    let grants = Grants { scope: "lab".into(), readers: Readers::Everybody, ..Grants::default() };
    config.machine.authority = Rights::Secured(Arc::new(grants));
    config.plain = vec!["sctp://127.0.0.1:0".parse().unwrap()];
    let registrar = Registrar::start(config).await.unwrap();
    let at = over_sctp(&registrar);
    let member = element_as(vec![at.clone()], 4, Some(authority.tls(&[ELEMENT]))).await;
    soon(member.registered()).await.unwrap();
    let plain = registrar.plain()[0].clone();
    until_ports(&user_as(plain.clone(), None), &[4]).await;
    until_ports(&user_as(at, Some(authority.tls(&[]))), &[4]).await;
    let intruder = element_as(vec![plain], 5, None).await;
    let mut events = registrar.events();
    let refused = async {
        use rserpool::registrar::Event;
        while !matches!(events.recv().await.unwrap(), Event::RegistrationRefused { .. }) {}
    };
    soon(refused).await;
    assert_ne!(intruder.state(), State::Registered);
    assert_eq!(count(&registrar).await, 1);
}

#[tokio::test]
async fn a_silent_or_one_too_many_handshake_over_sctp_makes_room() {
    needs_sctp!();
    let authority = Authority::new();
    let mut config = config(authority.tls(&[REGISTRAR]));
    config.limits.handshakes = 3;
    let registrar = Registrar::start(config).await.unwrap();
    let to = addresses(&over_sctp(&registrar));
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(connect(&to).await);
    }
    let metrics = registrar.metrics().clone();
    // For two of them the oldest have made room, at once.
    let began = Instant::now();
    for oldest in open.drain(..2) {
        while !soon(oldest.recv()).await.unwrap().is_end() {}
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(metrics.associations_turned_away_total.get(), 2);
    // For one who means it another.
    let element = element_as(vec![over_sctp(&registrar)], 6, Some(authority.tls(&[ELEMENT]))).await;
    soon(element.registered()).await.unwrap();
    assert_eq!(metrics.associations_turned_away_total.get(), 3);
    // The others have 5 s.
    for silent in open.drain(1..) {
        while !soon(silent.recv()).await.unwrap().is_end() {}
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(metrics.associations_accepted_total.get(), 1);
    assert_eq!(element.state(), State::Registered);
}

#[tokio::test]
async fn over_sctp_certificates_are_read_anew_and_associations_go_on() {
    needs_sctp!();
    let authority = Authority::new();
    let old = authority.settings(&[REGISTRAR]);
    let (certificate, key) = old.own.clone().unwrap();
    let tls = Tls::open(old).unwrap();
    let registrar = secured(tls.clone()).await;
    let at = over_sctp(&registrar);
    let held = element_as(vec![at.clone()], 7, Some(authority.tls(&[ELEMENT]))).await;
    soon(held.registered()).await.unwrap();
    // It becomes what no user believes: associations that are there go on, new ones fail.
    let (other, other_key) = authority.issue(&["rserpool://other/registrar"]);
    std::fs::copy(other, &certificate).unwrap();
    std::fs::copy(other_key, &key).unwrap();
    let before = user_as(at.clone(), Some(authority.tls(&[USER])));
    until_ports(&before, &[7]).await;
    tls.reload().unwrap();
    let after = user_as(at, Some(authority.tls(&[USER])));
    let refused = soon(after.resolve(&handle())).await;
    assert!(matches!(refused, Err(ResolveError::NoRegistrar { .. })), "{refused:?}");
    until_ports(&before, &[7]).await;
    assert_eq!(held.state(), State::Registered);
}

#[tokio::test]
async fn secured_registrars_that_dial_each_other_become_peers_by_one_association() {
    // RFC 9260 §5.2: attempts that cross make one association, and both ends begin as TLS clients.
    needs_sctp!();
    let authority = Authority::new();
    for round in 0..5 {
        let ports = [20_911 + 2 * round, 20_912 + 2 * round];
        let here = |port| [SocketAddr::from(([127, 0, 0, 1], port))];
        let enrp = ports.map(|port| locator(TransportKind::Sctp, &here(port)));
        let start = async |own: usize| {
            let mut config = config(authority.tls(&[REGISTRAR]));
            config.enrp = vec![enrp[own].clone()];
            config.machine.peers = vec![enrp[1 - own].clone()];
            Registrar::start(config).await.unwrap()
        };
        let registrars = [start(0).await, start(1).await];
        for registrar in &registrars {
            soon(async {
                while registrar.inspect(|machine| machine.is_serving()).await != Some(true) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
        }
        let at = over_sctp(&registrars[0]);
        let element = element_as(vec![at], 8, Some(authority.tls(&[ELEMENT]))).await;
        soon(element.registered()).await.unwrap();
        let user = user_as(over_sctp(&registrars[1]), Some(authority.tls(&[USER])));
        until_ports(&user, &[8]).await;
        for registrar in &registrars {
            assert_eq!(registrar.metrics().associations_untrusted_total.get(), 0);
        }
    }
}

#[tokio::test]
async fn an_element_is_called_home_by_registrars_only() {
    // RFC 5353 §3.5.2: the registrar that takes over connects to the element, as a client of TLS.
    needs_sctp!();
    let authority = Authority::new();
    let first = secured(authority.tls(&[REGISTRAR])).await;
    let second = {
        let mut config = config(authority.tls(&[REGISTRAR]));
        config.machine.peers = first.enrp().to_vec();
        Registrar::start(config).await.unwrap()
    };
    let user = user_as(over_sctp(&second), Some(authority.tls(&[USER])));
    // It knows of no other registrar: only who calls it can be its home.
    let tls = authority.tls(&[ELEMENT]);
    let element = element_as(vec![over_sctp(&first)], 9, Some(tls)).await;
    soon(element.registered()).await.unwrap();
    until_ports(&user, &[9]).await;
    let look = |machine: &rserpool::proto::registrar::Registrar| {
        let (_, _, element) = machine.handlespace().table(None, None).next().unwrap();
        element.asap_transport().unwrap().socket_addrs().collect::<Vec<_>>()
    };
    let asap = second.inspect(look).await.unwrap();

    // Who is no registrar gets no word through: without TLS, or with somebody else's certificate.
    let mut keep_alive = Vec::new();
    let body = Body::EndpointKeepAlive {
        home: true,
        server: rserpool::proto::id::ServerId(0x66),
        handle: handle(),
        id: Some(element.id()),
    };
    Message::from(body).encode(&mut keep_alive).unwrap();
    let raw = connect(&asap).await;
    soon(raw.send(&keep_alive, kernel::SendInfo::ppid(PPID_ASAP))).await.unwrap();
    while !soon(raw.recv()).await.unwrap().is_end() {}
    let at = locator(TransportKind::Sctp, &asap);
    let stranger = user_as(at, Some(authority.tls(&[USER])));
    assert!(soon(stranger.resolve(&handle())).await.is_err());
    assert_eq!(element.status().borrow().home, Some(over_sctp(&first)));

    first.shutdown().await;
    until(|| {
        element.status().borrow().home.as_ref().is_some_and(|home| home.meets(&over_sctp(&second)))
    })
    .await;
    until_ports(&user, &[9]).await;
    let removals = second.inspect(|machine| machine.counters().removals).await;
    assert_eq!(removals, Some(0));
}

/// Registers a service of the port in `ARGUMENTS` with the registrar there, with a certificate there.
#[tokio::test]
#[ignore = "the other end of the test below, started by it"]
async fn a_secured_element_elsewhere() {
    let arguments = std::env::var("ARGUMENTS").unwrap();
    let words: Vec<&str> = arguments.split(' ').collect();
    let [port, registrar, ca, certificate, key] = words[..] else { panic!("{words:?}") };
    let own = Some((PathBuf::from(certificate), PathBuf::from(key)));
    let tls = Tls::open(settings(Path::new(ca), own)).unwrap();
    let registrars = vec![registrar.parse().unwrap()];
    let element = element_as(registrars, port.parse().unwrap(), Some(tls)).await;
    soon(element.registered()).await.unwrap();
    println!("registered");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secured_association_outlives_each_of_its_paths() {
    needs_sctp!();
    let Some(network) = Network::new("secured", 75) else { return };
    let authority = Authority::new();
    let mut config = config(authority.tls(&[REGISTRAR]));
    config.asap = vec![locator(TransportKind::Sctp, &network.near(3864))];
    config.enrp = vec![];
    let registrar = Registrar::start(config).await.unwrap();
    let (certificate, key) = authority.issue(&[ELEMENT]);
    let files = [authority.ca(), certificate, key].map(|file| file.display().to_string());
    let arguments = format!("5 {} {}", over_sctp(&registrar), files.join(" "));
    let elsewhere = Elsewhere::run(&network, "secured::a_secured_element_elsewhere", &arguments);
    elsewhere.says("registered");
    let asking = user_as(over_sctp(&registrar), Some(authority.tls(&[USER])));
    until_ports(&asking, &[5]).await;
    // The second path is confirmed by its first heartbeat.
    tokio::time::sleep(Duration::from_secs(3)).await;
    network.cut(0);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(ports(&asking).await, [5], "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(registrar.metrics().paths_lost_total.get() >= 1);
    assert_eq!(registrar.inspect(|machine| machine.counters().removals).await, Some(0));
    assert_eq!(registrar.metrics().associations_accepted_total.get(), 2);
}
