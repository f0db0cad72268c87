//! Sessions in a secured scope (RFC 5355 §2.9).

use super::*;
use rserpool::cookie::CookieKeys;
use rserpool::proto::machine::Identity;
use rserpool::session::serve::{Incoming, ServeConfig, ServeError, ServedSession, Service};
use rserpool::session::{
    ElementHandle, EndReason, Event as SessionEvent, Session, SessionTimers, Target,
    UserSessionConfig,
};
use std::sync::Mutex;

fn here() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Serves in the pool, as far as those registrars let it.
fn serving(at: Vec<Locator>, tls: Option<Tls>) -> ServeConfig {
    let element = PoolElementConfig::new(pool(), Transport::Tcp(here()), at);
    let keys = Some(CookieKeys::new(1, [7; 32]));
    ServeConfig { network: network(tls), keys, ..ServeConfig::new(element) }
}

/// Says back what was said, then by whom, and gives a cookie.
async fn serve(config: ServeConfig) -> Service {
    PoolElement::serve(config, async |mut session: ServedSession| {
        let who = match session.identity() {
            Identity::Verified(subject) => subject.names[0].to_string(),
            other => format!("{other:?}"),
        };
        while let Some(Incoming::Message(payload)) = session.next().await {
            session.send_cookie(b"state").await.unwrap();
            session.send(payload.bytes).await.unwrap();
            session.send(who.as_bytes()).await.unwrap();
        }
    })
    .await
    .unwrap()
}

async fn registered(registrar: &Registrar, tls: Tls) -> Service {
    let service = serve(serving(vec![asap(registrar)], Some(tls))).await;
    soon(service.element().registered()).await.unwrap();
    service
}

/// An element that is registered by its certificate, and somebody else answers at its address.
async fn registered_at(registrar: &Registrar, tls: Tls, address: SocketAddr) -> PoolElement {
    let transport = Transport::Tcp(address);
    let mut config = PoolElementConfig::new(pool(), transport, vec![asap(registrar)]);
    config.tcp_control = true;
    let element = PoolElement::start_with(config, network(Some(tls))).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

async fn next(session: &mut Session) -> SessionEvent {
    soon(session.next()).await.unwrap()
}

async fn reply(session: &mut Session) -> Vec<u8> {
    soon(session.recv()).await.unwrap().bytes
}

fn first_to(handle: ElementHandle) -> UserSessionConfig {
    UserSessionConfig::new(Target::Element(handle))
}

fn handle_of(element: &PoolElement) -> ElementHandle {
    ElementHandle { pool: pool(), id: element.id() }
}

#[tokio::test]
async fn a_failover_is_told_before_the_new_element_says_anything_and_both_know_who_the_other_is() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let mut services = Vec::new();
    for _ in 0..2 {
        services.push(registered(&registrar, authority.tls(&[ELEMENT])).await);
    }
    let user = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let mut session = user.session(&pool());
    assert!(matches!(next(&mut session).await, SessionEvent::Begun(_)));
    let large = vec![9; 1 << 20];
    for failovers in 0..5 {
        session.send(large.clone()).await.unwrap();
        assert_eq!(reply(&mut session).await, large);
        assert_eq!(reply(&mut session).await, USER.as_bytes());
        session.send(b"state").await.unwrap();
        assert_eq!(reply(&mut session).await, b"state");
        assert_eq!(reply(&mut session).await, USER.as_bytes());
        if failovers == 4 {
            break;
        }
        let current = session.element().unwrap().id;
        let place = services.iter().position(|one| one.element().id() == current);
        drop(services.swap_remove(place.unwrap()));
        services.push(registered(&registrar, authority.tls(&[ELEMENT])).await);
        // Whatever comes first from the new element comes after this.
        let event = next(&mut session).await;
        let SessionEvent::Failover { from, cookie_sent, .. } = event else { panic!("{event:?}") };
        assert_eq!((from, cookie_sent), (current, true));
    }
    soon(session.close()).await;
}

/// RFC 5355 §2.9: at the beginning as at a failover. Not a byte is said to it but a greeting.
#[tokio::test]
async fn an_element_that_is_none_of_its_pool_or_another_is_refused_and_the_next_one_is_tried() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let expired = authority.issue_until(&[ELEMENT], 2001);
    let impostors = [
        ("of another authority", Some(stranger.tls(&[ELEMENT]))),
        ("of another pool", Some(authority.tls(&["rserpool://lab/element/Other*"]))),
        ("of another scope", Some(authority.tls(&["rserpool://other/element/Echo*"]))),
        ("another owner's", Some(authority.tls(&["rserpool://lab/element/EchoPool"]))),
        ("a user's", Some(authority.tls(&[USER]))),
        ("a registrar's", Some(authority.tls(&[REGISTRAR, "127.0.0.1"]))),
        ("expired", Some(Tls::open(settings(&authority.ca(), Some(expired))).unwrap())),
        ("none, and no TLS", None),
    ];
    let user = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let nowhere = Locator::tcp("127.0.0.1:9".parse().unwrap());
    for (what, tls) in impostors {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let impostor = serving(vec![nowhere.clone()], tls);
        let impostor = PoolElement::serve(impostor, move |mut session: ServedSession| {
            let heard = heard.clone();
            async move {
                heard.lock().unwrap().push(format!("{:?}", session.start()));
                while let Some(Incoming::Message(payload)) = session.next().await {
                    heard.lock().unwrap().push(format!("{payload:?}"));
                }
            }
        });
        let impostor = impostor.await.unwrap();
        let named = registered_at(&registrar, authority.tls(&[ELEMENT]), impostor.local_addr());
        let named = named.await;
        let first = registered(&registrar, authority.tls(&[ELEMENT])).await;
        user.purge(&pool()).await;
        let mut session = user.session_with(first_to(handle_of(&named)));
        session.send(b"secret").await.unwrap();
        let event = next(&mut session).await;
        assert!(
            matches!(&event, SessionEvent::Begun(to) if to.id == first.element().id()),
            "{what}: {event:?}"
        );
        assert_eq!(reply(&mut session).await, b"secret");
        soon(session.close()).await;

        let mut config = first_to(handle_of(first.element()));
        config.preferred = vec![named.id()];
        let mut session = user.session_with(config);
        session.send(b"secret").await.unwrap();
        assert!(matches!(next(&mut session).await, SessionEvent::Begun(_)));
        assert_eq!(reply(&mut session).await, b"secret");
        assert_eq!(reply(&mut session).await, USER.as_bytes());
        let last = registered(&registrar, authority.tls(&[ELEMENT])).await;
        drop(first);
        user.purge(&pool()).await;
        let event = next(&mut session).await;
        assert!(
            matches!(
                &event,
                SessionEvent::Failover { to, cookie_sent: true, .. } if to.id == last.element().id()
            ),
            "{what}: {event:?}"
        );
        assert_eq!(*said.lock().unwrap(), [""; 0], "{what}");
        soon(session.close()).await;
        soon(named.deregister()).await.unwrap();
    }
}

fn impatient(target: Target) -> UserSessionConfig {
    let give_up = Duration::from_millis(300);
    let timers = SessionTimers { give_up, ..SessionTimers::preset(Preset::Realtime) };
    UserSessionConfig { timers, needs_control: false, ..UserSessionConfig::new(target) }
}

async fn end(session: &mut Session) -> EndReason {
    loop {
        if let SessionEvent::Ended { reason, .. } = next(session).await {
            return reason;
        }
    }
}

#[tokio::test]
async fn a_session_of_a_secured_user_ends_rather_than_go_without_tls() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    let _named = registered_at(&registrar, authority.tls(&[ELEMENT]), address).await;
    let greetings = Arc::new(Mutex::new(Vec::new()));
    let got = greetings.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            let first = socket.read_u8().await.unwrap();
            got.lock().unwrap().push(first);
            let _ = socket.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
        }
    });
    let user = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let mut session = user.session_with(impatient(Target::Pool(pool())));
    session.send(b"secret").await.unwrap();
    let reason = end(&mut session).await;
    assert!(matches!(reason, EndReason::NoneUsable | EndReason::NoElement(_)), "{reason:?}");
    let greetings = greetings.lock().unwrap().clone();
    assert!(!greetings.is_empty() && greetings.iter().all(|first| *first == 22), "{greetings:?}");
}

#[tokio::test]
async fn who_has_nothing_to_show_to_users_does_not_serve() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let nameless = serving(vec![asap(&registrar)], Some(authority.tls(&[])));
    let nameless = PoolElement::serve(nameless, async |_| {}).await;
    assert!(matches!(nameless, Err(ServeError::NoCertificate)));
}

#[tokio::test]
async fn users_that_show_nothing_are_served_where_the_element_says_so_and_over_tls_only() {
    let authority = Authority::new();
    let lenient = |names| rserpool::tls::Settings { anonymous: true, ..authority.settings(names) };
    let mut config = config(Tls::open(lenient(&[REGISTRAR])).unwrap(), Readers::Everybody);
    config.plain = vec![any()];
    let registrar = Registrar::start(config).await.unwrap();
    let nameless = user(vec![asap(&registrar)], Some(authority.tls(&[])));
    let plain = user(vec![Locator::tcp(registrar.plain_addrs()[0])], None);
    let strict = registered(&registrar, authority.tls(&[ELEMENT])).await;
    for user in [&nameless, &plain] {
        let mut session = user.session_with(impatient(Target::Pool(pool())));
        session.send(b"not heard").await.unwrap();
        end(&mut session).await;
    }
    soon(strict.shutdown()).await.unwrap();
    let _lenient = registered(&registrar, Tls::open(lenient(&[ELEMENT])).unwrap()).await;
    nameless.purge(&pool()).await;
    let mut session = nameless.session(&pool());
    session.send(b"heard").await.unwrap();
    assert_eq!(reply(&mut session).await, b"heard");
    assert_eq!(reply(&mut session).await, b"Anonymous");
    plain.purge(&pool()).await;
    let mut session = plain.session_with(impatient(Target::Pool(pool())));
    end(&mut session).await;
}

#[tokio::test]
async fn handshakes_that_are_never_finished_keep_nobody_from_a_session() {
    let authority = Authority::new();
    let registrar = registrar(authority.tls(&[REGISTRAR])).await;
    let mut config = serving(vec![asap(&registrar)], Some(authority.tls(&[ELEMENT])));
    config.network.limits.handshakes = 4;
    config.max_sessions = 2;
    let service = serve(config).await;
    soon(service.element().registered()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(service.local_addr()).await.unwrap());
    }
    // The oldest ones have made room.
    for stream in &mut silent[..8] {
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap_or(0), 0);
    }
    let user = user(vec![asap(&registrar)], Some(authority.tls(&[USER])));
    let mut session = user.session(&pool());
    session.send(b"heard").await.unwrap();
    assert_eq!(reply(&mut session).await, b"heard");
}
