//! Against a real kernel. Where the host's has no SCTP these tests say so and do nothing, unless
//! `SCTP_REQUIRED` is set; `tests/uml/run.sh` runs them under one that has it.
#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod limits;
mod one_to_many;
mod paths;
mod single;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use rserpool_sctp::{Association, AssociationId, Config, Endpoint, Event, Message, SendInfo};

/// Whether to go on with a test that needs SCTP.
#[must_use]
fn sctp() -> bool {
    let available = rserpool_sctp::is_available();
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

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint() -> (Endpoint, SocketAddr) {
    endpoint_with(&Config::default())
}

fn endpoint_with(config: &Config) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::bind(&[address("127.0.0.1:0")], config).unwrap();
    let address = endpoint.local_addrs().unwrap()[0];
    (endpoint, address)
}

/// Nothing here takes this long; a test that waits in vain should end all the same.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it took too long")
}

/// The next event that is wanted; the others are passed over.
async fn until<T>(endpoint: &Endpoint, wanted: impl Fn(&Event) -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(found) = wanted(&endpoint.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
}

fn up(event: &Event) -> Option<AssociationId> {
    match event {
        Event::Up { association, .. } => Some(*association),
        _ => None,
    }
}

fn message(event: &Event) -> Option<Message> {
    match event {
        Event::Message(message) => Some(message.clone()),
        _ => None,
    }
}

async fn next_message(association: &Association) -> Message {
    soon(async {
        loop {
            if let Event::Message(message) = association.recv().await.unwrap() {
                return message;
            }
        }
    })
    .await
}

/// Two endpoints with an association between them: each with its own id of it.
async fn pair() -> ((Endpoint, AssociationId), (Endpoint, AssociationId)) {
    pair_with(&Config::default()).await
}

async fn pair_with(config: &Config) -> ((Endpoint, AssociationId), (Endpoint, AssociationId)) {
    let ((a, _), (b, at_b)) = (endpoint_with(config), endpoint_with(config));
    let to_b = a.connect(&[at_b]).unwrap();
    assert_eq!(until(&a, up).await, to_b);
    let to_a = until(&b, up).await;
    ((a, to_b), (b, to_a))
}

/// Bytes that differ, so that a part at the wrong place shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ (at >> 11) as u8).collect()
}

const PPID: SendInfo = SendInfo::ppid(46);

#[tokio::test]
async fn a_host_without_sctp_is_told_so_in_words() {
    if rserpool_sctp::is_available() {
        return;
    }
    let local = [address("127.0.0.1:0")];
    let error = Endpoint::bind(&local, &Config::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("no SCTP"), "{error}");
    let connected = Association::connect(&local, &[], &Config::default()).await;
    assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}
