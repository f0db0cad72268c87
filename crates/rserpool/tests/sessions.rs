//! Sessions over TCP connections of this host, whose elements die.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool::cookie::{CookieError, CookieKeys};
use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::Preset;
use rserpool::proto::wire::transport::Transport;
use rserpool::registrar::Config;
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession, Service, Start};
use rserpool::session::{
    Delivery, EndReason, Event, Payload, SendError, Session, SessionTimers, Target,
    UserSessionConfig,
};
use rserpool::{PoolElement, PoolUser, Registrar};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that is about to come.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn pool() -> PoolHandle {
    "Pool".parse().unwrap()
}

async fn registrar() -> Registrar {
    let (asap, enrp) = (vec![Locator::tcp(any())], vec![Locator::tcp(any())]);
    Registrar::start(Config { asap, enrp, ..Config::default() }).await.unwrap()
}

fn at(registrar: &Registrar) -> Vec<Locator> {
    vec![Locator::tcp(registrar.asap_addrs()[0])]
}

fn user(registrar: &Registrar) -> PoolUser {
    PoolUser::new(PoolUserConfig::new(at(registrar)))
}

fn element(registrar: &Registrar, address: SocketAddr) -> PoolElementConfig {
    PoolElementConfig::new(pool(), Transport::Tcp(address), at(registrar))
}

fn serving(registrar: &Registrar) -> ServeConfig {
    ServeConfig::new(element(registrar, any()))
}

async fn serve<R>(
    config: ServeConfig,
    handler: impl Fn(ServedSession) -> R + Send + Sync + 'static,
) -> Service
where
    R: Future<Output = ()> + Send + 'static,
{
    let service = PoolElement::serve(config, handler).await.unwrap();
    soon(service.element().registered()).await.unwrap();
    service
}

async fn echo(mut session: ServedSession) {
    while let Some(incoming) = session.next().await {
        if let Incoming::Message(payload) = incoming
            && session.send_payload(payload).await.is_err()
        {
            return;
        }
    }
}

async fn next(session: &mut Session) -> Event {
    soon(session.next()).await.unwrap()
}

async fn reply(session: &mut Session) -> Vec<u8> {
    soon(session.recv()).await.unwrap().bytes
}

#[tokio::test]
async fn a_session_is_with_a_pool_and_a_handle_with_an_element() {
    let registrar = registrar().await;
    let one = serve(serving(&registrar), echo).await;
    let user = user(&registrar);
    let mut session = user.session(&pool());
    session.send(b"early").await.unwrap();
    assert!(
        matches!(next(&mut session).await, Event::Begun(element) if element.id == one.element().id())
    );
    assert_eq!(reply(&mut session).await, b"early");
    let large = Payload { ppid: 7, bytes: vec![9; 1 << 20] };
    session.sender().send_payload(large.clone(), Delivery::Failover).await.unwrap();
    assert_eq!(soon(session.recv()).await.unwrap(), large);
    let too_long = session.send(vec![0; (1 << 20) + 1]).await;
    assert!(matches!(too_long, Err(SendError::TooLong { .. })));

    let mut handle = session.element().unwrap().to_string().parse().unwrap();
    let _another = serve(serving(&registrar), echo).await;
    user.purge(&pool()).await;
    for _ in 0..4 {
        let mut again = user.session_to(handle);
        assert!(
            matches!(next(&mut again).await, Event::Begun(element) if element.id == one.element().id())
        );
        handle = again.element().unwrap();
        soon(again.close()).await;
    }
}

/// Adds numbers up; its whole state is in the cookie.
async fn adder(mut session: ServedSession) {
    let mut state = match session.start() {
        Start::Resumed(state) => words(state),
        Start::Fresh => [0, 0],
        Start::Refused(error) => panic!("{error}"),
    };
    while let Some(Incoming::Message(payload)) = session.next().await {
        let [number] = words(&payload.bytes);
        // One that comes again is acknowledged again and added once.
        if number > state[0] {
            assert_eq!(number, state[0] + 1, "nothing is left out");
            state = [number, state[1] + number * number];
        }
        let acknowledged = [number, state[1]].map(u64::to_be_bytes).concat();
        let sent = async {
            session.send_cookie(&state.map(u64::to_be_bytes).concat()).await?;
            session.send(acknowledged).await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let words = bytes.chunks(8).map(|word| u64::from_be_bytes(word.try_into().unwrap()));
    words.collect::<Vec<_>>().try_into().unwrap()
}

/// Exactly once, whatever dies: what is acknowledged is in the state, and the newest cookie holds it.
#[tokio::test]
async fn a_session_survives_a_hundred_deaths_of_its_element() {
    const KILLS: usize = 100;
    const EACH: u64 = 20;
    const WINDOW: usize = 8;
    let registrar = registrar().await;
    let config = || ServeConfig { keys: Some(CookieKeys::new(1, [7; 32])), ..serving(&registrar) };
    let mut services = Vec::new();
    for _ in 0..3 {
        services.push(serve(config(), adder).await);
    }
    let user = user(&registrar);
    let mut session = user.session(&pool());
    assert!(matches!(next(&mut session).await, Event::Begun(_)));
    let sender = session.sender();
    let mut under_way = VecDeque::new();
    let (mut next_number, mut acknowledged, mut sum, mut kills) = (1, 0, 0, 0);
    let last = EACH * (KILLS as u64 + 1);
    while acknowledged < last {
        while under_way.len() < WINDOW && next_number <= last {
            send(&sender, next_number).await;
            under_way.push_back(next_number);
            next_number += 1;
        }
        match next(&mut session).await {
            Event::Received(payload) => {
                let [number, said] = words(&payload.bytes);
                if under_way.front() != Some(&number) {
                    assert!(number <= acknowledged, "in order");
                    continue;
                }
                under_way.pop_front();
                acknowledged = number;
                sum += number * number;
                assert_eq!(said, sum, "added once");
                if number % EACH == 0 && kills < KILLS {
                    kills += 1;
                    let current = session.element().unwrap().id;
                    let place = services.iter().position(|one| one.element().id() == current);
                    drop(services.swap_remove(place.unwrap()));
                    services.push(serve(config(), adder).await);
                }
            }
            Event::Failover { cookie_sent, .. } => {
                assert!(cookie_sent);
                // Whatever has been handed over may be lost, and what was not came back.
                for number in &under_way {
                    send(&sender, *number).await;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kills, KILLS);
}

async fn send(sender: &rserpool::session::Sender, number: u64) {
    let payload = Payload { ppid: 0, bytes: number.to_be_bytes().into() };
    sender.send_payload(payload, Delivery::NoFailover).await.unwrap();
}

#[tokio::test]
async fn a_handler_that_returns_ends_the_session_and_one_that_panics_does_not() {
    let registrar = registrar().await;
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    let _service = serve(serving(&registrar), move |mut session: ServedSession| {
        let starts = seen.clone();
        async move {
            starts.lock().unwrap().push(session.start().clone());
            session.send_cookie(b"state").await.unwrap();
            session.send(b"ready").await.unwrap();
            match session.next().await {
                Some(Incoming::Message(payload)) if payload.bytes == b"panic" => panic!("as told"),
                Some(Incoming::Message(payload)) if payload.bytes == b"move on" => {
                    session.move_on().await;
                }
                _ => session.send(b"bye").await.unwrap(),
            }
        }
    })
    .await;
    let user = user(&registrar);
    let mut session = user.session(&pool());
    for word in [&b"panic"[..], b"move on"] {
        assert_eq!(reply(&mut session).await, b"ready");
        session.send(word).await.unwrap();
        while !matches!(next(&mut session).await, Event::Failover { cookie_sent: true, .. }) {}
    }
    assert_eq!(reply(&mut session).await, b"ready");
    session.send(b"return").await.unwrap();
    assert_eq!(reply(&mut session).await, b"bye");
    let Event::Ended { reason: EndReason::Finished, .. } = next(&mut session).await else {
        panic!("not ended");
    };
    assert_eq!(soon(session.next()).await, None);
    assert_eq!(session.send(b"late").await, Err(SendError::Ended));
    let resumed = Start::Resumed(b"state".into());
    assert_eq!(*starts.lock().unwrap(), [Start::Fresh, resumed.clone(), resumed]);
}

#[tokio::test]
async fn a_cookie_that_cannot_be_believed_starts_the_session_anew() {
    let registrar = registrar().await;
    let with_key =
        |key| ServeConfig { keys: Some(CookieKeys::new(key, [1; 32])), ..serving(&registrar) };
    let told = async |mut session: ServedSession| {
        session.send_cookie(b"state").await.unwrap();
        session.send(format!("{:?}", session.start())).await.unwrap();
        session.next().await;
    };
    let first = serve(with_key(1), told).await;
    let user = user(&registrar);
    let mut session = user.session(&pool());
    assert_eq!(reply(&mut session).await, b"Fresh");
    let _second = serve(with_key(2), told).await;
    soon(first.shutdown()).await.unwrap();
    let refused = format!("{:?}", Start::Refused(CookieError::UnknownKey { id: 1 }));
    assert_eq!(reply(&mut session).await, refused.as_bytes());
}

/// What stops a process looks like this: the kernel accepts, and nothing answers.
#[tokio::test]
async fn an_element_that_hangs_is_left() {
    let registrar = registrar().await;
    let hung = TcpListener::bind(any()).await.unwrap();
    let mut config = element(&registrar, hung.local_addr().unwrap());
    config.tcp_control = true;
    let hanging = PoolElement::start(config).await.unwrap();
    soon(hanging.registered()).await.unwrap();
    let user = user(&registrar);
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.timers = SessionTimers::preset(Preset::Realtime);
    let mut session = user.session_with(config);
    assert!(
        matches!(next(&mut session).await, Event::Begun(element) if element.id == hanging.id())
    );
    session.send(b"lost with it").await.unwrap();
    let service = serve(serving(&registrar), echo).await;
    let Event::Failover { from, to, .. } = next(&mut session).await else { panic!("no failover") };
    assert_eq!((from, to.id), (hanging.id(), service.element().id()));
    session.send(b"arrives").await.unwrap();
    assert_eq!(reply(&mut session).await, b"arrives");
}

/// Towards a server that does not say it takes the control channel, not one byte is added.
#[tokio::test]
async fn a_server_that_knows_nothing_of_sessions_gets_bytes_alone() {
    let registrar = registrar().await;
    let server = TcpListener::bind(any()).await.unwrap();
    let element = PoolElement::start(element(&registrar, server.local_addr().unwrap()));
    let element = element.await.unwrap();
    soon(element.registered()).await.unwrap();
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.needs_control = false;
    let session = user(&registrar).session_with(config);
    session.send(b"GET / ").await.unwrap();
    session.send(b"HTTP/1.0").await.unwrap();
    let (mut client, _) = soon(server.accept()).await.unwrap();
    let closing = tokio::spawn(session.close());
    let mut got = Vec::new();
    soon(client.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"GET / HTTP/1.0");
    client.write_all(b"too late").await.unwrap();
    drop(client);
    soon(closing).await.unwrap();
}

#[tokio::test]
async fn an_owner_who_does_not_read_holds_the_element_back_and_loses_nothing() {
    let registrar = registrar().await;
    let _service = serve(serving(&registrar), async |session: ServedSession| {
        for number in 0..10_000u32 {
            let mut bytes = vec![0; 1000];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            session.send(bytes).await.unwrap();
        }
    })
    .await;
    let user = user(&registrar);
    let mut config = UserSessionConfig::new(Target::Pool(pool()));
    config.timers = SessionTimers::preset(Preset::Realtime);
    let mut session = user.session_with(config);
    assert!(matches!(next(&mut session).await, Event::Begun(_)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 0..10_000u32 {
        assert_eq!(reply(&mut session).await[..4], number.to_be_bytes());
    }
    assert!(matches!(next(&mut session).await, Event::Ended { reason: EndReason::Finished, .. }));
}

/// RFC 5352 §6.5.5, ASAP_SEND_TO_ALL: but not to whoever is left out, and without failover.
#[tokio::test]
async fn a_message_for_all_goes_to_every_element_but_those_left_out() {
    let registrar = registrar().await;
    let got = Arc::new(Mutex::new(Vec::new()));
    let mut services = Vec::new();
    for number in 0..3 {
        let got = got.clone();
        let keep = move |mut session: ServedSession| {
            let got = got.clone();
            async move {
                while let Some(Incoming::Message(payload)) = session.next().await {
                    got.lock().unwrap().push((number, payload.bytes));
                }
            }
        };
        services.push(serve(serving(&registrar), keep).await);
    }
    // Nobody listens there.
    let dead = PoolElement::start(element(&registrar, "127.0.0.1:9".parse().unwrap())).await;
    let dead = dead.unwrap();
    soon(dead.registered()).await.unwrap();
    let user = user(&registrar);
    let payload = Payload { ppid: 0, bytes: b"all".into() };
    let but = [services[1].element().id()];
    let copied = soon(user.send_to_all(&pool(), payload, &but)).await.unwrap();
    let failed: Vec<_> = copied.iter().filter(|copied| copied.result.is_err()).collect();
    assert_eq!((copied.len(), failed.len()), (3, 1), "{copied:?}");
    assert_eq!(failed[0].element.id, dead.id());
    let all = async {
        while got.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon(all).await;
    let mut got = got.lock().unwrap().clone();
    got.sort();
    assert_eq!(got, [(0, b"all".to_vec()), (2, b"all".to_vec())]);
}

/// RFC 5352 §3.9.
#[tokio::test]
async fn an_element_that_has_an_order_of_failover_sends_it_and_is_obeyed() {
    let registrar = registrar().await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(serve(serving(&registrar), echo).await);
    }
    let user = user(&registrar);
    let preferred = user.pick_element(&pool(), others[2].element().id()).await.unwrap();
    let failover_order = vec![preferred.as_ref().clone()];
    let first = serve(ServeConfig { failover_order, ..serving(&registrar) }, echo).await;
    user.purge(&pool()).await;
    let id = first.element().id();
    let mut session = user.session_to(rserpool::session::ElementHandle { pool: pool(), id });
    while !matches!(next(&mut session).await, Event::BusinessCard(card) if card.elements[0].id == preferred.id)
    {
    }
    drop(first);
    loop {
        if let Event::Failover { to, .. } = next(&mut session).await {
            assert_eq!(to.id, preferred.id);
            return;
        }
    }
}

/// RFC 5352 §6.9: for those that keep their own connections.
#[tokio::test]
async fn who_fails_at_an_address_is_reported_and_not_picked_next() {
    let registrar = registrar().await;
    let mut elements = Vec::new();
    for port in [9, 19] {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let element = PoolElement::start(element(&registrar, address)).await.unwrap();
        soon(element.registered()).await.unwrap();
        elements.push((element.id(), address, element));
    }
    let user = user(&registrar);
    let primary = soon(user.primary(&pool())).await.unwrap();
    let (failed, address, _) = elements.iter().find(|(id, ..)| *id == primary.id).unwrap();
    assert_eq!(soon(user.transport_failure(&pool(), *address)).await.unwrap(), [*failed]);
    for _ in 0..4 {
        assert_ne!(soon(user.pick(&pool(), &[])).await.unwrap().id, *failed);
    }
    let nowhere = "127.0.0.1:1".parse().unwrap();
    assert_eq!(soon(user.transport_failure(&pool(), nowhere)).await.unwrap(), []);
}
