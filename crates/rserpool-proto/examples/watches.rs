//! What a watch costs a registrar, for `cargo xtask bench watch`: bytes of heap by an allocator that
//! counts, when each association watches one pool, and when each watches as many as it may.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use cap::Cap;
use rserpool_proto::id::{AssociationId, PoolHandle};
use rserpool_proto::machine::{Channel, Identity, Input, Machine, Output};
use rserpool_proto::registrar::{Registrar, RegistrarConfig};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::capability::Capabilities;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const WATCHES: u64 = 10_000;
const POOLS: u64 = 100;
const NOW: Instant = Instant::from_micros(10_000_000);

fn main() {
    let (one, many) = (per_watch(1), per_watch(16));
    println!("{{\"one_each\":{one},\"sixteen_each\":{many}}}");
}

/// Bytes for each of 10 000 watches, all told that there is no such pool.
fn per_watch(per_association: u64) -> u64 {
    let mut registrar =
        Registrar::new(RegistrarConfig::default(), [1; 32], Instant::from_micros(1));
    registrar.handle_input(NOW, Input::Timeout);
    let drain = |registrar: &mut Registrar| {
        while let Some(output) = registrar.poll_output() {
            assert!(!matches!(output, Output::Disconnect { .. }));
        }
    };
    for number in 0..WATCHES / per_association {
        registrar.handle_input(
            NOW,
            Input::Connected {
                assoc: AssociationId(number),
                attempt: None,
                channel: Channel::Asap,
                local: "tcp://127.0.0.1:3863".parse().unwrap(),
                remote: "tcp://127.0.0.1:40000".parse().unwrap(),
                identity: Identity::Anonymous,
            },
        );
        drain(&mut registrar);
    }
    let ask = |registrar: &mut Registrar, number: u64, subscribe| {
        let handle = PoolHandle::new(format!("a pool of ordinary name {}", number % POOLS));
        let body = Body::HandleResolution {
            subscribe,
            handle: handle.unwrap(),
            items: Some(10),
            capabilities: Some(Capabilities(0)),
        };
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).unwrap();
        let assoc = AssociationId(number / per_association);
        registrar.handle_input(NOW, Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
        drain(registrar);
    };
    // What it costs to have asked at all is not what a watch costs.
    (0..WATCHES).for_each(|number| ask(&mut registrar, number, false));
    let before = ALLOCATOR.allocated();
    (0..WATCHES).for_each(|number| ask(&mut registrar, number, true));
    assert_eq!(registrar.watches() as u64, WATCHES);
    (ALLOCATOR.allocated() - before) as u64 / WATCHES
}
