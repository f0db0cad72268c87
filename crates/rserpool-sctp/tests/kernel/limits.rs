//! Long messages, full buffers, dropped futures.

use std::io::ErrorKind;
use std::pin::pin;

use rserpool_sctp::{Config, Event};

use crate::*;

/// Longer than a receiver's window (half its buffer), so that it is delivered in parts or not at all.
const LONG: usize = 200_000;

#[tokio::test]
async fn a_message_longer_than_the_window_is_delivered_whole() {
    // RFC 6458 §8.1.21: parts come as the kernel needs room; MSG_EOR marks the last.
    needs_sctp!();
    let ((a, to_b), (b, _)) = pair().await;
    let send = async {
        a.send(to_b, &pattern(LONG), PPID).await.unwrap();
        a.send(to_b, b"short", PPID).await.unwrap();
    };
    let receive = async {
        let received = until(&b, message).await;
        assert_eq!((received.data.len(), received.ppid), (LONG, 46));
        assert_eq!(received.data, pattern(LONG));
        assert_eq!(until(&b, message).await.data, b"short");
    };
    soon(async { tokio::join!(send, receive) }).await;
}

#[tokio::test]
async fn long_messages_of_two_associations_do_not_mix() {
    // RFC 6458 §8.1.20, level 1.
    needs_sctp!();
    let ((a, _), (b, _), (server, at_server)) = (endpoint(), endpoint(), endpoint());
    let from_a = a.connect(&[at_server]).unwrap();
    let from_b = b.connect(&[at_server]).unwrap();
    until(&a, up).await;
    until(&b, up).await;
    let (data_a, data_b) = (vec![b'a'; 150_000], vec![b'b'; 150_000]);
    a.send(from_a, &data_a, PPID).await.unwrap();
    b.send(from_b, &data_b, PPID).await.unwrap();
    let mut received = [until(&server, message).await.data, until(&server, message).await.data];
    received.sort();
    assert!(received[0] == data_a && received[1] == data_b);
}

#[tokio::test]
async fn a_message_under_way_when_its_association_is_peeled_off_arrives_whole() {
    needs_sctp!();
    for attempts in 0..4 {
        let ((a, to_b), (b, to_a)) = pair().await;
        a.send(to_b, &pattern(LONG), PPID).await.unwrap();
        // Parts of it are on the wire, in the kernel, or have been read.
        for _ in 0..attempts {
            let nothing = b.try_recv().unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        }
        let peeled = b.peel_off(to_a).unwrap();
        assert_eq!(next_message(&peeled).await.data, pattern(LONG));
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_reported_and_the_next_one_arrives() {
    needs_sctp!();
    let config = Config { max_message_size: 10_000, ..Config::default() };
    let ((a, to_b), (b, to_a)) = pair_with(&config).await;
    for length in [10_000, 10_001, 100_000, 5] {
        a.send(to_b, &pattern(length), PPID).await.unwrap();
    }
    let mut events = Vec::new();
    while events.len() < 4 {
        soon(b.recv_many(&mut events)).await.unwrap();
    }
    assert!(matches!(&events[0], Event::Message(message) if message.data == pattern(10_000)));
    assert_eq!(events[1], Event::Oversized { association: to_a, length: 10_001 });
    assert_eq!(events[2], Event::Oversized { association: to_a, length: 100_000 });
    assert!(matches!(&events[3], Event::Message(message) if message.data == pattern(5)));
}

#[tokio::test]
async fn a_message_longer_than_the_send_buffer_is_refused() {
    needs_sctp!();
    let config = Config { send_buffer: Some(20_000), ..Config::default() };
    let ((a, to_b), _b) = pair_with(&config).await;
    let error = a.send(to_b, &pattern(100_000), PPID).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(90), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_up_the_others_until_it_is_peeled_off() {
    // Associations of one socket share its send buffer.
    needs_sctp!();
    let ((server, at_server), (stuck, _), (other, _)) = (endpoint(), endpoint(), endpoint());
    stuck.connect(&[at_server]).unwrap();
    let to_stuck = until(&server, up).await;
    let from_other = other.connect(&[at_server]).unwrap();
    let to_other = until(&server, up).await;
    let full = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    let fill = async || {
        // Until nothing has gone for longer than the peer delays an acknowledgement (200 ms).
        let mut refused = 0;
        while refused < 60 {
            let full = server.try_send(to_stuck, &pattern(8_000), PPID).is_err_and(full);
            refused = if full { refused + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(fill()).await;
    assert!(server.try_send(to_other, b"held up", PPID).is_err_and(full));
    // What gives it away.
    assert!(
        server.status(to_stuck).unwrap().unacknowledged > 0
            || server.status(to_stuck).unwrap().peer_window == 0
    );
    let peeled = server.peel_off(to_stuck).unwrap();
    soon(server.send(to_other, b"free", PPID)).await.unwrap();
    assert_eq!(until(&other, message).await.data, b"free");
    other.send(from_other, b"too", PPID).await.unwrap();
    assert_eq!(until(&server, message).await.data, b"too");
    // The stuck one reports what it could not deliver when it is aborted.
    peeled.abort(b"stuck").unwrap();
    let (mut failed, mut ended) = (0, false);
    let end = loop {
        match soon(peeled.recv()).await {
            Ok(Event::SendFailed { association, ppid, data, .. }) => {
                assert_eq!((association, ppid), (to_stuck, 46));
                assert!(!data.is_empty());
                failed += 1;
            }
            Ok(event) => ended |= event.is_end(),
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), ErrorKind::NotConnected);
    assert!(failed > 0 && ended);
}

#[tokio::test]
async fn a_send_that_failed_comes_back_with_its_bytes_and_context() {
    // RFC 6458 §6.1.11. With the deprecated notification the layout would be another one.
    needs_sctp!();
    let ((a, to_b), (_b, _)) = pair().await;
    let info = SendInfo { stream: 2, context: 77, ..PPID };
    let full = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    while !a.try_send(to_b, &[b'x'; 1_000], info).is_err_and(full) {}
    a.abort(to_b, b"").unwrap();
    let (mut unsent, mut lost) = (0, false);
    while !lost || unsent == 0 {
        match soon(a.recv()).await.unwrap() {
            Event::SendFailed {
                association,
                stream,
                ppid,
                context,
                sent,
                first,
                last,
                data,
                ..
            } => {
                assert_eq!((association, stream, ppid, context), (to_b, 2, 46, 77));
                assert_eq!((first, last), (true, true));
                assert_eq!(data, [b'x'; 1_000]);
                unsent += usize::from(!sent);
            }
            Event::Lost { .. } => lost = true,
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn a_long_message_that_was_not_sent_comes_back_in_its_parts() {
    // RFC 9260 §3.3.1: the flags of its chunks say where it begins and ends.
    needs_sctp!();
    let ((a, to_b), (_b, _)) = pair().await;
    let long = pattern(20_000);
    let full = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    while !a.try_send(to_b, &long, PPID).is_err_and(full) {}
    a.abort(to_b, b"").unwrap();
    let (mut whole, mut message) = (0, Vec::new());
    while let Ok(event) = a.try_recv() {
        let Event::SendFailed { sent: false, first, last, data, .. } = event else { continue };
        if first {
            message.clear();
        }
        message.extend(data);
        if last && message.len() == long.len() {
            assert_eq!(message, long);
            whole += 1;
        }
    }
    assert!(whole > 1);
}

#[tokio::test]
async fn a_dropped_receive_loses_nothing() {
    needs_sctp!();
    let ((a, to_b), (b, _)) = pair().await;
    let sender = tokio::spawn(async move {
        for number in 0..1_000u32 {
            a.send(to_b, &number.to_be_bytes(), PPID).await.unwrap();
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        a
    });
    let (mut expected, mut dropped) = (0u32, 0);
    while expected < 1_000 {
        // Polled once, then dropped if it is not ready.
        let mut receive = pin!(b.recv());
        let polled =
            std::future::poll_fn(|cx| std::task::Poll::Ready(receive.as_mut().poll(cx))).await;
        match polled {
            std::task::Poll::Ready(event) => {
                if let Event::Message(message) = event.unwrap() {
                    assert_eq!(message.data, expected.to_be_bytes());
                    expected += 1;
                }
            }
            std::task::Poll::Pending => {
                dropped += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(dropped > 0);
    drop(soon(sender).await.unwrap());
}

#[tokio::test]
async fn a_dropped_send_has_sent_nothing_or_all() {
    needs_sctp!();
    let ((a, to_b), (b, _)) = pair().await;
    let reader = tokio::spawn(async move {
        let mut numbers = Vec::new();
        loop {
            match soon(b.recv()).await.unwrap() {
                Event::Message(message) => {
                    assert_eq!(message.data.len(), 5_000);
                    numbers.push(u32::from_be_bytes(*message.data.first_chunk().unwrap()));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                event if event.is_end() => return numbers,
                _ => {}
            }
        }
    });
    let (mut done, mut dropped) = (Vec::new(), 0);
    for number in 0..300u32 {
        let mut data = vec![0; 5_000];
        data[..4].copy_from_slice(&number.to_be_bytes());
        let limit = Duration::from_micros(200);
        match tokio::time::timeout(limit, a.send(to_b, &data, PPID)).await {
            Ok(sent) => {
                sent.unwrap();
                done.push(number);
            }
            Err(_elapsed) => dropped += 1,
        }
    }
    a.shutdown(to_b).unwrap();
    assert_eq!(soon(reader).await.unwrap(), done);
    assert!(dropped > 0 && done.len() > 10, "{dropped} dropped, {} done", done.len());
}
