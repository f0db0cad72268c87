//! Sessions over SCTP: the control channel by its payload protocol identifier.

use crate::{handle, needs_sctp, over_sctp, registrar, soon};
use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::timers::Preset;
use rserpool::proto::wire::transport::{SctpTransport, Transport, TransportUse};
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession, Service, Start};
use rserpool::session::{Delivery, EndReason, Event, Payload};
use rserpool::session::{SessionTimers, Target, UserSessionConfig};
use rserpool::{PoolElement, PoolUser, Registrar};
use rserpool_sctp as kernel;

/// Counts, and says how far it is; the count is in the cookie.
async fn count(mut session: ServedSession) {
    let mut count = match session.start() {
        Start::Resumed(state) => u64::from_be_bytes(state.as_slice().try_into().unwrap()),
        _ => 0,
    };
    while let Some(Incoming::Message(payload)) = session.next().await {
        assert_eq!(payload.ppid, 7);
        if payload.bytes == b"end" {
            return;
        }
        let number = u64::from_be_bytes(payload.bytes.try_into().unwrap());
        count += u64::from(number == count + 1);
        let state = count.to_be_bytes();
        session.send_cookie(&state).await.unwrap();
        if session.send(state).await.is_err() {
            return;
        }
    }
}

async fn serve(registrar: &Registrar) -> Service {
    let transport = Transport::Sctp(SctpTransport::new("127.0.0.1:0".parse().unwrap()));
    let config = PoolElementConfig::new(handle(), transport, vec![over_sctp(registrar)]);
    let service = PoolElement::serve(ServeConfig::new(config), count).await.unwrap();
    soon(service.element().registered()).await.unwrap();
    service
}

#[tokio::test]
async fn a_session_over_sctp_survives_a_hundred_deaths_of_its_element() {
    needs_sctp!();
    const KILLS: usize = 100;
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let mut services = Vec::new();
    for _ in 0..3 {
        services.push(serve(&registrar).await);
    }
    let user = PoolUser::new(PoolUserConfig::new(vec![over_sctp(&registrar)]));
    let mut session = user.session(&handle());
    let Some(Event::Begun(element)) = soon(session.next()).await else { panic!("not begun") };
    let Transport::Sctp(transport) = &element.user_transport else { panic!("not over SCTP") };
    assert_eq!(transport.transport_use, TransportUse::DataPlusControl);
    let sender = session.sender();
    let say = async |bytes: &[u8]| {
        let payload = Payload { ppid: 7, bytes: bytes.into() };
        sender.send_payload(payload, Delivery::NoFailover).await.unwrap();
    };
    let (mut number, mut kills) = (1u64, 0);
    say(&number.to_be_bytes()).await;
    while number <= 5 * KILLS as u64 {
        match soon(session.next()).await.unwrap() {
            Event::Received(payload) => {
                assert_eq!(payload.bytes, number.to_be_bytes());
                if number % 5 == 0 && kills < KILLS {
                    kills += 1;
                    let current = session.element().unwrap().id;
                    let place = services.iter().position(|one| one.element().id() == current);
                    drop(services.swap_remove(place.unwrap()));
                    services.push(serve(&registrar).await);
                }
                number += 1;
                say(&number.to_be_bytes()).await;
            }
            Event::Failover { cookie_sent, .. } => {
                assert!(cookie_sent);
                say(&number.to_be_bytes()).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kills, KILLS);
    say(b"end").await;
    loop {
        match soon(session.next()).await.unwrap() {
            Event::Ended { reason: EndReason::Finished, .. } => return,
            Event::Received(_) => {}
            // The last death.
            Event::Failover { .. } => say(b"end").await,
            other => panic!("{other:?}"),
        }
    }
}

/// RFC 6458 §6.1.11: the kernel says which messages it has not begun.
#[tokio::test]
async fn what_a_hung_element_cannot_have_got_comes_back() {
    needs_sctp!();
    const LAST: u64 = 1_500;
    let registrar = registrar("sctp://127.0.0.1:0").await;
    let any = "127.0.0.1:0".parse().unwrap();
    let hung = kernel::Listener::bind(&[any], &kernel::Config::default()).unwrap();
    let mut transport = SctpTransport::new(hung.local_addrs().unwrap()[0]);
    transport.transport_use = TransportUse::DataPlusControl;
    let transport = Transport::Sctp(transport);
    let mut config = PoolElementConfig::new(handle(), transport, vec![over_sctp(&registrar)]);
    config.tcp_control = true;
    let _element = PoolElement::start(config).await.unwrap();
    soon(_element.registered()).await.unwrap();
    let user = PoolUser::new(PoolUserConfig::new(vec![over_sctp(&registrar)]));
    let mut config = UserSessionConfig::new(Target::Pool(handle()));
    config.timers = SessionTimers::preset(Preset::Realtime);
    let mut session = user.session_with(config);
    let Some(Event::Begun(_)) = soon(session.next()).await else { panic!("not begun") };
    let association = soon(hung.accept()).await.unwrap();
    let _next = serve(&registrar).await;
    let sender = session.sender();
    // More than waits anywhere: the last ones are taken when the element is given up.
    for number in 1..=LAST {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(1_000, 0);
        let payload = Payload { ppid: 7, bytes };
        soon(sender.send_payload(payload, Delivery::NoFailover)).await.unwrap();
    }
    let Some(Event::Failover { unsent, .. }) = soon(session.next()).await else {
        panic!("no failover")
    };
    let number = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().unwrap());
    let mut got = 0;
    while let Ok(event) = association.try_recv() {
        match event {
            kernel::Event::Message(message) if message.ppid == 7 => got = number(&message.data),
            _ => {}
        }
    }
    let unsent: Vec<u64> = unsent.iter().map(|payload| number(&payload.bytes)).collect();
    let first = unsent[0];
    assert_eq!(unsent, (first..=LAST).collect::<Vec<_>>());
    // What was sent and thrown away may be lost; what is there is not sent again.
    assert!(
        (got + 1..got + 20).contains(&first),
        "{got} have come, {first} is the first to come back"
    );
}
