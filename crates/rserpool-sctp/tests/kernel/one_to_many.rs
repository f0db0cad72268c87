//! Many associations on one socket.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use rserpool_sctp::{AssociationState, Config, Endpoint, Event, Outgoing, PathState, SendInfo};

use crate::*;

#[tokio::test]
async fn a_message_arrives_with_stream_identifier_and_sender() {
    // RFC 6458 §5.3.4, §5.3.5: what SNDINFO says, RCVINFO says.
    needs_sctp!();
    let ((a, to_b), (b, to_a)) = pair().await;
    let info = SendInfo { stream: 3, ppid: 0x0102_0304, unordered: true, context: 9 };
    a.send(to_b, b"hello", info).await.unwrap();
    let received = until(&b, message).await;
    assert_eq!(received.data, b"hello");
    assert_eq!((received.association, received.from), (to_a, a.local_addrs().unwrap()[0]));
    assert_eq!((received.stream, received.ppid, received.unordered), (3, 0x0102_0304, true));
    b.send(to_a, &received.data, PPID).await.unwrap();
    let answer = until(&a, message).await;
    assert_eq!((answer.association, answer.stream, answer.ppid), (to_b, 0, 46));
    assert!(!answer.unordered);
}

#[tokio::test]
async fn the_id_of_an_attempt_is_known_at_once_and_comes_with_its_failure() {
    // A non-blocking connectx gives no id in its set-option form.
    needs_sctp!();
    let (a, _) = endpoint();
    let nobody = {
        let (_closed, address) = endpoint();
        address
    };
    let attempt = a.connect(&[nobody]).unwrap();
    let failed = until(&a, |event| Some(event.clone())).await;
    assert!(
        matches!(failed, Event::ConnectFailed { association, .. } if association == attempt),
        "{failed:?}"
    );
    assert!(failed.is_end());
}

#[tokio::test]
async fn a_second_association_with_the_same_peer_is_refused() {
    needs_sctp!();
    let ((a, to_b), (b, _)) = pair().await;
    let again = a.connect(&[b.local_addrs().unwrap()[0]]).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(106), "{again}");
    assert_eq!(a.status(to_b).unwrap().state, AssociationState::Established);
}

#[tokio::test]
async fn an_abort_is_lost_on_both_sides_with_cause_and_reason() {
    // RFC 9260 §3.3.10.12: cause 12 is the user's abort.
    needs_sctp!();
    let ((a, to_b), (b, to_a)) = pair().await;
    a.abort(to_b, b"enough").unwrap();
    let lost = |event: &Event| event.is_end().then(|| event.clone());
    let Event::Lost { association, cause, .. } = until(&a, lost).await else { panic!() };
    assert_eq!((association, cause), (to_b, 12));
    let Event::Lost { association, cause, reason } = until(&b, lost).await else { panic!() };
    assert_eq!((association, cause), (to_a, 12));
    assert_eq!(reason, b"enough");
    // Sending on it afterwards is an error, not a signal.
    let error = a.send(to_b, b"late", PPID).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(a.status(to_b).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_shutdown_delivers_what_was_sent_and_closes_both_sides() {
    // RFC 9260 §9.2; closed only when SHUTDOWN_COMP says so.
    needs_sctp!();
    let ((a, to_b), (b, to_a)) = pair().await;
    for _ in 0..50 {
        a.send(to_b, &pattern(1000), PPID).await.unwrap();
    }
    a.shutdown(to_b).unwrap();
    let (mut messages, mut announced) = (0, false);
    loop {
        match soon(b.recv()).await.unwrap() {
            Event::Message(message) => {
                assert!(!announced, "a message after the peer's shutdown");
                assert_eq!(message.data, pattern(1000));
                messages += 1;
            }
            Event::PeerShutdown { association } => {
                assert_eq!(association, to_a);
                announced = true;
            }
            event => {
                assert_eq!(event, Event::Closed { association: to_a });
                break;
            }
        }
    }
    assert_eq!((messages, announced), (50, true));
    until(&a, |event| (*event == Event::Closed { association: to_b }).then_some(())).await;
}

#[tokio::test]
async fn two_hundred_associations_have_each_their_own_id() {
    needs_sctp!();
    let (server, at_server) = endpoint();
    let clients: Vec<Endpoint> = (0..200).map(|_| endpoint().0).collect();
    let ids: Vec<_> = clients.iter().map(|c| c.connect(&[at_server]).unwrap()).collect();
    let mut known = BTreeSet::new();
    while known.len() < 200 {
        known.insert(until(&server, up).await);
    }
    for (number, (client, id)) in clients.iter().zip(&ids).enumerate() {
        assert_eq!(until(client, up).await, *id);
        client.send(*id, &(number as u32).to_be_bytes(), PPID).await.unwrap();
    }
    // Each hears its own number, whatever the order.
    for _ in 0..200 {
        let question = until(&server, message).await;
        assert!(known.contains(&question.association));
        server.send(question.association, &question.data, PPID).await.unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let answer = until(client, message).await;
        assert_eq!(answer.data, (number as u32).to_be_bytes());
    }
    drop(clients);
    let mut ended = 0;
    while ended < 200 {
        until(&server, |event| event.is_end().then_some(())).await;
        ended += 1;
    }
}

#[tokio::test]
async fn a_batch_arrives_in_order_and_as_a_batch() {
    needs_sctp!();
    let ((a, to_b), (b, _)) = pair().await;
    let texts: Vec<String> = (0..100).map(|number| format!("message {number}")).collect();
    let batch: Vec<_> = texts
        .iter()
        .map(|text| Outgoing { association: to_b, info: PPID, data: text.as_bytes() })
        .collect();
    let (mut rest, mut calls) = (&batch[..], 0);
    while !rest.is_empty() {
        rest = &rest[soon(a.send_many(rest)).await.unwrap()..];
        calls += 1;
    }
    assert!(calls >= 100usize.div_ceil(16) && calls < 100, "{calls} calls");
    let (mut events, mut calls) = (Vec::new(), 0);
    while events.len() < 100 {
        soon(b.recv_many(&mut events)).await.unwrap();
        calls += 1;
    }
    assert!(calls < 50, "{calls} calls");
    let got = events.iter().filter_map(message).map(|message| message.data);
    assert!(got.eq(texts.iter().map(|text| text.clone().into_bytes())));
    assert_eq!(a.send_many(&[]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_association_peeled_off_keeps_its_port_addresses_and_messages() {
    // RFC 6458 §9.2.
    needs_sctp!();
    let local = [address("127.0.0.1:0"), address("127.0.0.2:0")];
    let server = Endpoint::bind(&local, &Config::default()).unwrap();
    let at_server = server.local_addrs().unwrap();
    let ((a, _), (b, _)) = (endpoint(), endpoint());
    let from_a = a.connect(&at_server).unwrap();
    until(&a, up).await;
    let to_a = until(&server, up).await;
    let from_b = b.connect(&at_server[..1]).unwrap();
    until(&b, up).await;
    let to_b = until(&server, up).await;
    // Interleaved, so that one batch brings messages of both; only the first is taken here.
    for text in ["first", "second", "third"] {
        a.send(from_a, text.as_bytes(), PPID).await.unwrap();
        b.send(from_b, text.as_bytes(), PPID).await.unwrap();
    }
    let first = until(&server, message).await;
    assert_eq!((first.association, &first.data[..]), (to_a, &b"first"[..]));
    let peeled = server.peel_off(to_a).unwrap();
    assert_eq!(peeled.id(), to_a);
    let peer = peeled.peer_addrs().unwrap();
    assert_eq!(peer, a.local_addrs().unwrap());
    assert_eq!(peeled.local_addrs().unwrap(), at_server);
    a.send(from_a, b"fourth", PPID).await.unwrap();
    for text in ["second", "third", "fourth"] {
        let next = next_message(&peeled).await;
        assert_eq!((next.association, &next.data[..]), (to_a, text.as_bytes()));
    }
    for text in ["first", "second", "third"] {
        let next = until(&server, message).await;
        assert_eq!((next.association, &next.data[..]), (to_b, text.as_bytes()));
    }
    // The endpoint knows nothing of it any more, the peer notices nothing.
    assert_eq!(server.peel_off(to_a).unwrap_err().kind(), ErrorKind::InvalidInput);
    peeled.send(b"answer", SendInfo { stream: 1, ..PPID }).await.unwrap();
    let answer = until(&a, message).await;
    assert_eq!((answer.association, &answer.data[..], answer.stream), (from_a, &b"answer"[..], 1));
    // Notifications arrive on the new socket.
    a.abort(from_a, b"").unwrap();
    loop {
        if soon(peeled.recv()).await.unwrap().is_end() {
            break;
        }
    }
    assert_eq!(peeled.recv().await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(peeled.try_send(b"late", PPID).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(server.try_recv().is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}

#[tokio::test]
async fn several_local_addresses_share_a_port_and_the_peer_is_told_all() {
    // RFC 6458 §9.1, §9.3, §9.9: lists of packed addresses, also of both families.
    needs_sctp!();
    let local = ["127.0.0.1:0", "127.0.0.3:0", "[::1]:0"].map(address);
    let server = Endpoint::bind(&local, &Config::default()).unwrap();
    let bound = server.local_addrs().unwrap();
    assert_eq!(bound.len(), 3);
    assert!(bound.iter().all(|a| a.port() == bound[0].port() && a.port() != 0));
    let client = Endpoint::bind(&["[::]:0".parse().unwrap()], &Config::default()).unwrap();
    let id = client.connect(&bound[..2]).unwrap();
    until(&client, up).await;
    let peer: BTreeSet<_> = client.peer_addrs(id).unwrap().into_iter().collect();
    assert_eq!(peer, bound.iter().copied().collect());
    let primary = client.status(id).unwrap().primary;
    assert_eq!((primary.address, primary.state), (bound[0], PathState::Active));
    assert!(client.path(id, bound[1]).unwrap().mtu > 0);
    assert!(client.path(id, address("192.0.2.1:9")).is_err());
}

#[tokio::test]
async fn ipv6_works_and_ipv4_peers_of_an_ipv6_socket_look_like_ipv4() {
    needs_sctp!();
    let server = Endpoint::bind(&[address("[::]:0")], &Config::default()).unwrap();
    let port = server.local_addrs().unwrap()[0].port();
    for host in ["[::1]", "127.0.0.1"] {
        let client = Endpoint::bind(&[address(&format!("{host}:0"))], &Config::default()).unwrap();
        let to_server = client.connect(&[address(&format!("{host}:{port}"))]).unwrap();
        until(&client, up).await;
        client.send(to_server, b"hello", PPID).await.unwrap();
        let received = until(&server, message).await;
        assert_eq!(received.from, client.local_addrs().unwrap()[0]);
        assert_eq!(server.peer_addrs(received.association).unwrap(), [received.from]);
        server.send(received.association, b"hello too", PPID).await.unwrap();
        assert_eq!(until(&client, message).await.from.ip(), address(&format!("{host}:1")).ip());
    }
}

#[tokio::test]
async fn what_cannot_be_is_an_error_at_once() {
    needs_sctp!();
    let config = Config::default();
    let kind = |result: std::io::Result<Endpoint>| result.unwrap_err().kind();
    assert_eq!(kind(Endpoint::bind(&[], &config)), ErrorKind::InvalidInput);
    let ports = [address("127.0.0.1:5001"), address("127.0.0.2:5002")];
    assert_eq!(kind(Endpoint::bind(&ports, &config)), ErrorKind::InvalidInput);
    let foreign = [address("192.0.2.1:0")];
    assert_eq!(kind(Endpoint::bind(&foreign, &config)), ErrorKind::AddrNotAvailable);
    let ((a, to_b), (b, _)) = pair().await;
    let taken = b.local_addrs().unwrap();
    assert_eq!(kind(Endpoint::bind(&taken, &config)), ErrorKind::AddrInUse);
    assert_eq!(a.connect(&[]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(a.connect(&ports).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(a.try_send(to_b, b"", PPID).unwrap_err().kind(), ErrorKind::InvalidInput);
    let no_stream = SendInfo { stream: 9999, ..PPID };
    assert_eq!(a.try_send(to_b, b"x", no_stream).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(a.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
}
