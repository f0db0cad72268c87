//! Sessions between a pool user and a pool (RFC 5351 §4.2, RFC 5352 §3.8, §3.9, §6.5).
//!
//! ```text
//!   user                                                 element
//!     | -- COOKIE_ECHO, the newest cookie; first of all --> |  only after a failover
//!     | -- BUSINESS_CARD, if the user is an element too --> |
//!     | <----------------- BUSINESS_CARD ------------------ |  in which order to fail over
//!     | <-------------------- data -----------------------> |
//!     | <--------------------- COOKIE --------------------- |  whenever the element likes
//!     | -- ENDPOINT_KEEP_ALIVE, when all is silent -------> |
//!     | <----------- ENDPOINT_KEEP_ALIVE_ACK -------------- |
//! ```
//!
//! A session belongs to the pool. The user's machine ([`user::UserSession`]) holds one association to
//! one element at a time; when that element fails it asks for another one, echoes the newest cookie,
//! and goes on. The element's machine ([`element::ElementSession`]) is one per association. Neither
//! resolves pools: that is for [`PoolUser`](crate::endpoint::pool_user::PoolUser), whose owner carries
//! wishes and answers to and fro.
//!
//! **Control channel.** Its messages are ASAP's, with the payload protocol identifier of ASAP
//! (RFC 5352 §5); data has any other. There is one on SCTP if the element's transport says so
//! (RFC 5354 §3.4), and on TCP if the element carries the TCP control extension: [`mapping`].
//! Elsewhere a session is data alone, and ends of connections are all that shows a failure.
//!
//! **Heartbeats** (not in the RFCs) go to elements with the TCP control extension only, over either
//! transport, for others may not know keep-alives from users. **END**, a control message of our own,
//! says that a session is over: without it the end of an association counts as a failure, because
//! that of a killed process looks like any other.

#[cfg(feature = "element")]
pub mod element;
mod handle;
pub mod mapping;
mod outbox;
#[cfg(test)]
mod tests;
mod timers;
#[cfg(feature = "user")]
pub mod user;

pub use handle::{ElementHandle, InvalidElementHandle};
pub use outbox::{Limits, SendError};
pub use timers::SessionTimers;

use crate::id::{AssociationId, PoolHandle};
use crate::machine::Output;
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, Message};
use crate::wire::pool_element::PoolElement;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// A message of the application.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Payload {
    /// SCTP payload protocol identifier, of the application's choice; never that of ASAP, 11
    /// (RFC 5352 §5).
    pub ppid: u32,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Whose element somebody is, and in which order others of the pool are preferred to it
/// (RFC 5352 §2.2.13, §3.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessCard {
    /// Pool of the sender.
    pub handle: PoolHandle,
    /// At least one, the sender itself or whom it prefers, in order; at most
    /// [`BusinessCard::MAX_ELEMENTS`] are sent and kept.
    pub elements: Vec<PoolElement>,
}

impl BusinessCard {
    /// Most elements of a card that are sent or kept: nobody tries more before asking a registrar.
    pub const MAX_ELEMENTS: usize = 16;
}

/// Longest cookie: a message of 65532 bytes less its header and that of the parameter.
pub const MAX_COOKIE_LEN: usize = 65_524;

/// What came by the control channel.
enum Control {
    /// A message of ASAP.
    Asap(Body),
    /// The session is over.
    End,
    /// Nothing that means something here.
    Nothing,
}

/// Type of END; far from what RFC 5352 §8.1 has given out.
const END: u8 = 0xf0;

impl Control {
    fn read(bytes: &[u8]) -> Self {
        if bytes.first() == Some(&END) {
            return Self::End;
        }
        // What is malformed is dropped: an error report would only bring errors to the other side,
        // which has no way to act on it.
        Message::decode(bytes).map_or(Self::Nothing, |decoded| Self::Asap(decoded.message.body))
    }

    fn end() -> Payload {
        Payload { ppid: PPID_ASAP, bytes: vec![END, 0, 0, 4] }
    }

    /// `None` if it would be longer than a message can be.
    fn write(body: Body) -> Option<Payload> {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).ok()?;
        Some(Payload { ppid: PPID_ASAP, bytes })
    }

    /// A card, cut to what may be sent; `None` if it is empty.
    fn card(card: &BusinessCard) -> Option<Payload> {
        let elements: Vec<_> =
            card.elements.iter().take(BusinessCard::MAX_ELEMENTS).cloned().collect();
        if elements.is_empty() {
            return None;
        }
        Self::write(Body::BusinessCard { handle: card.handle.clone(), elements })
    }
}

fn transmit<E>(outputs: &mut VecDeque<Output<E>>, assoc: AssociationId, payload: Payload) {
    let Payload { ppid, bytes } = payload;
    outputs.push_back(Output::Transmit { assoc, ppid, bytes });
}
