//! Single associations and the listener.

use std::io::ErrorKind;
use std::time::Instant;

use rserpool_sctp::{Association, AssociationState, Config, Event, Listener, Outgoing, Rto};

use crate::*;

async fn accepted() -> (Association, Association) {
    let config = Config::default();
    let listener = Listener::bind(&[address("127.0.0.1:0")], &config).unwrap();
    let at_listener = listener.local_addrs().unwrap();
    let (near, far) = soon(async {
        tokio::join!(Association::connect(&at_listener, &[], &config), listener.accept())
    })
    .await;
    (near.unwrap(), far.unwrap())
}

#[tokio::test]
async fn a_listener_accepts_and_each_side_talks() {
    needs_sctp!();
    let (near, far) = accepted().await;
    near.send(b"question", PPID).await.unwrap();
    assert_eq!(next_message(&far).await.data, b"question");
    far.send(b"answer", PPID).await.unwrap();
    assert_eq!(next_message(&near).await.data, b"answer");
    assert_eq!(near.status().unwrap().state, AssociationState::Established);
    assert_eq!(near.peer_addrs().unwrap(), far.local_addrs().unwrap());
    assert_eq!(
        far.path(far.peer_addrs().unwrap()[0]).unwrap().address.ip(),
        address("127.0.0.1:1").ip()
    );
    let (info, data) = (PPID, &b"batch"[..]);
    let batch = [Outgoing { association: near.id(), info, data }; 3];
    assert_eq!(near.send_many(&batch).await.unwrap(), 3);
    let foreign = [Outgoing { association: far.id(), info, data }];
    assert_eq!(near.send_many(&foreign).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn what_was_sent_before_accept_is_not_lost() {
    needs_sctp!();
    let config = Config::default();
    let listener = Listener::bind(&[address("127.0.0.1:0")], &config).unwrap();
    let at_listener = listener.local_addrs().unwrap();
    let near = soon(Association::connect(&at_listener, &[], &config)).await.unwrap();
    for number in 0..20u8 {
        near.send(&[number + 1], PPID).await.unwrap();
    }
    let far = soon(listener.accept()).await.unwrap();
    for number in 0..20u8 {
        assert_eq!(next_message(&far).await.data, [number + 1]);
    }
    // One that comes and goes before it is accepted is passed over.
    let gone = soon(Association::connect(&at_listener, &[], &config)).await.unwrap();
    gone.abort(b"").unwrap();
    let stays = soon(Association::connect(&at_listener, &[], &config)).await.unwrap();
    let far = soon(listener.accept()).await.unwrap();
    stays.send(b"here", PPID).await.unwrap();
    assert_eq!(next_message(&far).await.data, b"here");
}

#[tokio::test]
async fn close_waits_until_the_peer_has_everything() {
    needs_sctp!();
    let (near, far) = accepted().await;
    near.send(&pattern(50_000), PPID).await.unwrap();
    let reader = async {
        let message = next_message(&far).await;
        assert_eq!(message.data, pattern(50_000));
        // The one side's close is the other's last event, and then there is none.
        while !matches!(far.recv().await.unwrap(), Event::Closed { .. }) {}
        assert_eq!(far.recv().await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(far.close().await.unwrap_err().kind(), ErrorKind::NotConnected);
    };
    let (closed, ()) = soon(async { tokio::join!(near.close(), reader) }).await;
    closed.unwrap();
    assert_eq!(near.send(b"late", PPID).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn close_says_when_the_association_was_lost_instead() {
    needs_sctp!();
    let (near, far) = accepted().await;
    far.abort(b"").unwrap();
    assert_eq!(soon(near.close()).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn dropping_closes_gracefully_unless_messages_were_not_read() {
    needs_sctp!();
    let (near, far) = accepted().await;
    near.send(b"last words", PPID).await.unwrap();
    drop(near);
    assert_eq!(next_message(&far).await.data, b"last words");
    while !matches!(soon(far.recv()).await.unwrap(), Event::Closed { .. }) {}

    let (near, far) = accepted().await;
    far.send(b"never read", PPID).await.unwrap();
    // Arrived for sure once an answer to something later has come.
    while far.status().unwrap().unacknowledged > 0 {
        tokio::task::yield_now().await;
    }
    drop(near);
    while !matches!(soon(far.recv()).await.unwrap(), Event::Lost { .. }) {}
}

#[tokio::test]
async fn connecting_to_nobody_or_to_silence_fails_within_its_attempts() {
    needs_sctp!();
    let nobody = endpoint().1;
    let refused = soon(Association::connect(&[nobody], &[], &Config::default())).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // An address of no host on a network of our own: nothing there answers.
    let config = Config {
        rto: Some(Rto {
            initial: Duration::from_millis(50),
            min: Duration::from_millis(20),
            max: Duration::from_millis(100),
        }),
        init_max_attempts: Some(2),
        init_max_timeout: Some(Duration::from_millis(100)),
        ..Config::default()
    };
    let Some(_network) = paths::Network::new("silent", 90) else { return };
    let silent = address("10.90.0.99:7");
    let begin = Instant::now();
    let result = soon(Association::connect(&[silent], &[], &config)).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(90) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn an_idle_association_is_closed_after_autoclose() {
    // RFC 6458 §8.1.8.
    needs_sctp!();
    let config = Config { autoclose: Some(Duration::from_millis(900)), ..Config::default() };
    let ((a, _), (b, at_b)) = (endpoint(), endpoint_with(&config));
    let to_b = a.connect(&[at_b]).unwrap();
    until(&b, up).await;
    let begin = Instant::now();
    until(&a, |event| (*event == Event::Closed { association: to_b }).then_some(())).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn timeouts_set_before_connecting_hold_for_the_association() {
    needs_sctp!();
    let config = Config { outbound_streams: Some(4), ..Config::fast_failover() };
    let ((a, to_b), (b, to_a)) = pair_with(&config).await;
    for (endpoint, id) in [(&a, to_b), (&b, to_a)] {
        let status = endpoint.status(id).unwrap();
        let timeout = status.primary.retransmission_timeout;
        // The kernel's own would be at least a second.
        assert!(
            timeout >= Duration::from_millis(100) && timeout < Duration::from_secs(1),
            "{timeout:?}"
        );
        assert_eq!((status.outbound_streams, status.inbound_streams), (4, 4));
    }
}
