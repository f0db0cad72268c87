//! What is said.

use super::Outcome;
use rserpool::proto::id::{PeId, ServerId};
use rserpool::proto::policy::PolicyTable;
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::capability::Capabilities;
use rserpool::proto::wire::framer::frame_len;
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::proto::wire::transport::Transport;
use std::net::Ipv4Addr;

/// A question as a pool user asks it.
pub(super) fn question(pool: &str, items: u32) -> Outcome<Vec<u8>> {
    encode(Body::HandleResolution {
        subscribe: false,
        handle: pool.parse()?,
        items: Some(items),
        capabilities: Some(Capabilities(0)),
    })
}

/// The same, asking for changes, too.
pub(super) fn subscription(pool: &str, items: u32) -> Outcome<Vec<u8>> {
    encode(Body::HandleResolution {
        subscribe: true,
        handle: pool.parse()?,
        items: Some(items),
        capabilities: Some(Capabilities(0)),
    })
}

/// A registration for ever in the pool that is named as its policy.
pub(super) fn registration(pool: &str, id: PeId) -> Outcome<Vec<u8>> {
    registration_in(pool, pool, id)
}

/// A registration for ever in a pool of this policy.
pub(super) fn registration_in(pool: &str, policy: &str, id: PeId) -> Outcome<Vec<u8>> {
    let load = u32::MAX / 100 * (id.0 % 100);
    let words: &[(&str, u32)] = if policy == "least-used" { &[("load", load)] } else { &[] };
    let port = 1024 + (id.0 % 60_000) as u16;
    let element = PoolElement {
        id,
        home: ServerId::NONE,
        life: -1,
        user_transport: Transport::Tcp((Ipv4Addr::LOCALHOST, port).into()),
        policy: PolicyTable::builtin().parameter(policy, words)?,
        asap_transport: None,
        extensions: Default::default(),
    };
    let (handle, capabilities) = (pool.parse()?, Some(Capabilities(0)));
    encode(Body::Registration { handle, element: Box::new(element), capabilities, stamp: None })
}

pub(super) fn encode(body: Body) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes)?;
    Ok(bytes)
}

/// The length of the message that `bytes` begin with, if all of it is there.
pub(super) fn whole(bytes: &[u8]) -> Outcome<Option<usize>> {
    Ok(frame_len(bytes)?.filter(|length| *length <= bytes.len()))
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Outcome<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)?;
        Ok(u8::from_str_radix(pair, 16)?)
    });
    pairs.collect()
}
