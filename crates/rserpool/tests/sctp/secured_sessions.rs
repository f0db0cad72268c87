//! Sessions over SCTP in a secured scope (RFC 3436, RFC 5355 §2.9).

use crate::authority::Authority;
use crate::secured::{ELEMENT, REGISTRAR, USER, reach, secured, user_as};
use crate::*;
use rserpool::cookie::CookieKeys;
use rserpool::proto::machine::Identity;
use rserpool::proto::timers::Preset;
use rserpool::proto::wire::transport::{SctpTransport, TransportUse};
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession, Service, Start};
use rserpool::session::{
    ElementHandle, EndReason, Event, Session, SessionTimers, Target, UserSessionConfig,
};
use rserpool::tls::Tls;
use std::sync::{Arc, Mutex};

/// Says back what was said, then by whom, and gives a cookie.
async fn answer(mut session: ServedSession) {
    let who = match session.identity() {
        Identity::Verified(subject) => subject.names[0].to_string(),
        other => format!("{other:?}"),
    };
    while let Some(Incoming::Message(payload)) = session.next().await {
        session.send_cookie(b"state").await.unwrap();
        session.send(payload.bytes).await.unwrap();
        session.send(who.as_bytes()).await.unwrap();
    }
}

fn serving(at: Locator, tls: Option<Tls>) -> ServeConfig {
    let here = Transport::Sctp(SctpTransport::new("127.0.0.1:0".parse().unwrap()));
    let element = PoolElementConfig::new(handle(), here, vec![at]);
    let keys = Some(CookieKeys::new(1, [7; 32]));
    ServeConfig { network: reach(tls), keys, ..ServeConfig::new(element) }
}

async fn serve(registrar: &Registrar, tls: Tls) -> Service {
    let config = serving(over_sctp(registrar), Some(tls));
    let service = PoolElement::serve(config, answer).await.unwrap();
    soon(service.element().registered()).await.unwrap();
    service
}

/// An element that is registered by its certificate, and somebody else answers at its address.
async fn named_at(port: u16, registrar: &Registrar, tls: Tls) -> PoolElement {
    let mut there = SctpTransport::new(SocketAddr::from(([127, 0, 0, 1], port)));
    there.transport_use = TransportUse::DataPlusControl;
    let (there, at) = (Transport::Sctp(there), vec![over_sctp(registrar)]);
    let config = PoolElementConfig::new(handle(), there, at);
    let element = PoolElement::start_with(config, reach(Some(tls))).await.unwrap();
    soon(element.registered()).await.unwrap();
    element
}

async fn next(session: &mut Session) -> Event {
    soon(session.next()).await.unwrap()
}

async fn reply(session: &mut Session) -> Vec<u8> {
    soon(session.recv()).await.unwrap().bytes
}

#[tokio::test]
async fn a_session_with_certificates_survives_its_elements_and_both_know_who_the_other_is() {
    needs_sctp!();
    let authority = Authority::new();
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let mut services = Vec::new();
    for _ in 0..2 {
        services.push(serve(&registrar, authority.tls(&[ELEMENT])).await);
    }
    let user = user_as(over_sctp(&registrar), Some(authority.tls(&[USER])));
    let mut session = user.session(&handle());
    assert!(matches!(next(&mut session).await, Event::Begun(_)));
    let large = vec![9; 1 << 20];
    for failovers in 0..5 {
        for said in [&b"short"[..], &large, &[7; 40_000]] {
            session.send(said).await.unwrap();
            assert_eq!(reply(&mut session).await, said);
            assert_eq!(reply(&mut session).await, USER.as_bytes());
        }
        if failovers == 4 {
            break;
        }
        let current = session.element().unwrap().id;
        let place = services.iter().position(|one| one.element().id() == current);
        drop(services.swap_remove(place.unwrap()));
        services.push(serve(&registrar, authority.tls(&[ELEMENT])).await);
        let event = next(&mut session).await;
        let Event::Failover { from, cookie_sent, .. } = event else { panic!("{event:?}") };
        assert_eq!((from, cookie_sent), (current, true));
    }
    soon(session.close()).await;
}

/// Not a byte is said to it but a greeting.
#[tokio::test]
async fn an_element_that_proves_nothing_is_refused_and_the_next_one_is_tried() {
    needs_sctp!();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let impostors = [
        ("of another authority", Some(stranger.tls(&[ELEMENT]))),
        ("of another pool", Some(authority.tls(&["rserpool://lab/element/Other*"]))),
        ("another owner's", Some(authority.tls(&["rserpool://lab/element/EchoPool"]))),
        ("a user's", Some(authority.tls(&[USER]))),
        ("none, and no TLS", None),
    ];
    let user = user_as(over_sctp(&registrar), Some(authority.tls(&[USER])));
    let nowhere = Locator { port: 9, ..over_sctp(&registrar) };
    for (what, tls) in impostors {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let handler = move |mut session: ServedSession| {
            let heard = heard.clone();
            async move {
                if let Start::Resumed(state) = session.start() {
                    heard.lock().unwrap().push(format!("{state:?}"));
                }
                while let Some(Incoming::Message(payload)) = session.next().await {
                    heard.lock().unwrap().push(format!("{payload:?}"));
                }
            }
        };
        let impostor = PoolElement::serve(serving(nowhere.clone(), tls), handler).await.unwrap();
        // It is registered by a certificate, and somebody else answers there.
        let port = impostor.local_addr().port();
        let named = named_at(port, &registrar, authority.tls(&[ELEMENT])).await;
        let honest = serve(&registrar, authority.tls(&[ELEMENT])).await;
        user.purge(&handle()).await;
        let first = ElementHandle { pool: handle(), id: named.id() };
        let mut session = user.session_with(UserSessionConfig::new(Target::Element(first)));
        session.send(b"secret").await.unwrap();
        let event = next(&mut session).await;
        assert!(
            matches!(&event, Event::Begun(to) if to.id == honest.element().id()),
            "{what}: {event:?}"
        );
        assert_eq!(reply(&mut session).await, b"secret");
        assert_eq!(*said.lock().unwrap(), [""; 0], "{what}");
        soon(session.close()).await;
        soon(named.deregister()).await.unwrap();
        soon(honest.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn users_without_tls_and_what_comes_by_another_stream_are_not_served() {
    needs_sctp!();
    let authority = Authority::new();
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let service = serve(&registrar, authority.tls(&[ELEMENT])).await;
    for (stream, said) in [(0, &b"GET / HTTP/1.0\r\n\r\n"[..]), (1, &[22, 3, 1, 2, 0, 1])] {
        let config = kernel::Config::default();
        let at = [service.local_addr()];
        let association = soon(kernel::Association::connect(&at, &[], &config)).await.unwrap();
        let info = kernel::SendInfo { stream, ..kernel::SendInfo::ppid(PPID_ASAP) };
        soon(association.send(said, info)).await.unwrap();
        loop {
            match soon(association.recv()).await.unwrap() {
                event if event.is_end() => break,
                kernel::Event::PeerShutdown { .. } => break,
                // An alert.
                kernel::Event::Message(message) => assert_eq!(message.data.first(), Some(&21)),
                _ => {}
            }
        }
    }
    let user = user_as(over_sctp(&registrar), Some(authority.tls(&[USER])));
    let mut session = user.session(&handle());
    session.send(b"heard").await.unwrap();
    assert_eq!(reply(&mut session).await, b"heard");
}

/// RFC 5355 §2.9.
#[tokio::test]
async fn a_session_of_a_secured_user_ends_rather_than_go_over_sctp_without_tls() {
    needs_sctp!();
    let authority = Authority::new();
    let registrar = secured(authority.tls(&[REGISTRAR])).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let plain = kernel::Listener::bind(&[any], &kernel::Config::default()).unwrap();
    let port = plain.local_addrs().unwrap()[0].port();
    let _named = named_at(port, &registrar, authority.tls(&[ELEMENT])).await;
    let greetings = Arc::new(Mutex::new(Vec::new()));
    let got = greetings.clone();
    tokio::spawn(async move {
        while let Ok(association) = plain.accept().await {
            while let Ok(event) = association.recv().await {
                if let kernel::Event::Message(message) = event {
                    got.lock().unwrap().push(message.data[0]);
                    let info = kernel::SendInfo::ppid(7);
                    let _ = association.send(b"welcome", info).await;
                }
            }
        }
    });
    let user = user_as(over_sctp(&registrar), Some(authority.tls(&[USER])));
    let give_up = Duration::from_millis(300);
    let timers = SessionTimers { give_up, ..SessionTimers::preset(Preset::Realtime) };
    let target = Target::Pool(handle());
    let config =
        UserSessionConfig { timers, needs_control: false, ..UserSessionConfig::new(target) };
    let mut session = user.session_with(config);
    session.send(b"secret").await.unwrap();
    let reason = loop {
        if let Event::Ended { reason, .. } = next(&mut session).await {
            break reason;
        }
    };
    assert!(matches!(reason, EndReason::NoneUsable | EndReason::NoElement(_)), "{reason:?}");
    // A greeting, or an alert about what came for one.
    let greetings = greetings.lock().unwrap().clone();
    assert!(!greetings.is_empty(), "it was tried");
    assert!(greetings.iter().all(|first| [21, 22].contains(first)), "{greetings:?}");
}
