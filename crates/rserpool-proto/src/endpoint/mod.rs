//! Pool elements and pool users: the two kinds of endpoints that speak ASAP with a registrar
//! (RFC 5352).
//!
//! ```text
//!   server_hunt    finds a home registrar and notices when it is lost     (RFC 5352 §3.6, §3.7)
//!   cache          answers of registrars, fresh and stale, and reports    (RFC 5352 §3.3, §3.5)
//!   pool_element   joins a pool and stays in it                           (RFC 5352 §3.1, §3.2, §3.4)
//!   pool_user      resolves pools and picks elements                      (RFC 5352 §3.3, §3.5, §6)
//! ```
//!
//! Both machines hold one association, to their *home registrar*, and look for another one as soon
//! as it breaks or falls silent. They never open associations between users and elements: that is
//! for whoever moves the application's data.

#[cfg(feature = "user")]
mod cache;
#[cfg(feature = "element")]
pub mod pool_element;
#[cfg(feature = "user")]
pub mod pool_user;
#[cfg_attr(
    not(all(feature = "element", feature = "user")),
    expect(dead_code, reason = "each of the two machines uses a part of it")
)]
mod server_hunt;
#[cfg(test)]
mod testing;

use crate::machine::{Channel, CloseReason, Output};
use crate::time::Instant;
use crate::wire::asap::{Body, Message};
use crate::wire::capability::Capabilities;
use crate::wire::operation_error::ErrorCause;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use server_hunt::ServerHunt;

/// Why a home registrar is one no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum LossReason {
    /// Its association has ended.
    #[error("the association has ended")]
    Closed(CloseReason),
    /// The transport could not deliver a message to it (RFC 5352 §3.7.1).
    #[error("a message could not be delivered")]
    SendFailed,
    /// It did not answer in time (RFC 5352 §3.1, §3.2, §3.7.2).
    #[error("a request was not answered in time")]
    NoAnswer,
    /// It sends no keep-alives any more, and did not answer when asked.
    #[error("the keep-alives have stopped")]
    Silent,
}

/// What these machines can do beyond the RFCs: no bit is needed, to be there is enough.
const CAPABILITIES: Capabilities = Capabilities(0);

/// Writes a message; `None` if it would be longer than a message can be.
fn encode(body: Body) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads a message: what it says, and what has to be answered about its form (RFC 5354 §3, §4).
fn decode(bytes: &[u8]) -> (Option<Body>, Option<Vec<u8>>) {
    let (body, errors) = match Message::decode(bytes) {
        Ok(decoded) => (Some(decoded.message.body), decoded.reports),
        Err(error) => (None, error.cause(bytes).map_or_else(Vec::new, |cause| vec![cause])),
    };
    (body, report(errors))
}

/// An announcement has come by multicast (RFC 5352 §3.6). Nobody is told what is wrong with one.
fn on_datagram<E>(
    hunt: &mut ServerHunt,
    now: Instant,
    channel: Channel,
    from: SocketAddr,
    bytes: &[u8],
    outputs: &mut VecDeque<Output<E>>,
) {
    if channel == Channel::Asap
        && let Ok(decoded) = Message::decode(bytes)
        && let Body::ServerAnnounce { transports, .. } = decoded.message.body
    {
        hunt.on_announced(now, from, &transports, outputs);
    }
}

fn report(errors: Vec<ErrorCause>) -> Option<Vec<u8>> {
    if errors.is_empty() { None } else { encode(Body::Error { errors }) }
}
