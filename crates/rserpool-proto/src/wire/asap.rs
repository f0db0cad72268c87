//! ASAP messages (RFC 5352 §2.2): what they say. How they stand on the wire is in `codec`.
//!
//! ```text
//!   | type (1) | flags (1) | message length (2) | server id (4), in two of them | parameters |
//! ```
//!
//! Parameters are accepted in any order and written in that of the RFC, unknown ones last;
//! extensions before them in requests, after them in answers.

mod codec;
mod resolution_response;
#[cfg(test)]
mod tests;

#[cfg(feature = "registrar")]
pub(crate) use codec::{DEREGISTRATION, ENDPOINT_UNREACHABLE, HANDLE_RESOLUTION, REGISTRATION};
pub use resolution_response::ResolutionResponseBuilder;

use super::capability::{Capabilities, Stamp};
use super::operation_error::ErrorCause;
use super::policy::PolicyParameter;
use super::pool_element::PoolElement;
use super::transport::Transport;
use super::unknown::UnknownParameter;
use crate::id::{PeId, PoolHandle, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// An ASAP message and the parameters in it that are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub body: Body,
    /// Parameters not known here, in the order they came.
    pub unknown: Box<[UnknownParameter]>,
}

impl From<Body> for Message {
    fn from(body: Body) -> Self {
        Self { body, unknown: Box::default() }
    }
}

/// The fourteen ASAP messages (RFC 5352 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// §2.2.1: an element joins a pool or renews its registration.
    Registration {
        /// Pool to join.
        handle: PoolHandle,
        /// The element.
        element: Box<PoolElement>,
        /// Extension 0x9501.
        capabilities: Option<Capabilities>,
        /// Extension 0x9502, towards a registrar that may not know it in the element: it stands where
        /// the Capabilities stand, which anybody skips.
        stamp: Option<Stamp>,
    },
    /// §2.2.2: an element leaves.
    Deregistration {
        /// Pool to leave.
        handle: PoolHandle,
        /// The element.
        id: PeId,
        /// Extension 0x9502: one above that of the registration it ends.
        stamp: Option<Stamp>,
    },
    /// §2.2.3.
    RegistrationResponse {
        /// The R flag: the registration was refused.
        rejected: bool,
        /// As asked.
        handle: PoolHandle,
        /// As asked.
        id: PeId,
        /// Why refused, or a warning; empty if neither.
        errors: Vec<ErrorCause>,
        /// Extension 0x9501.
        capabilities: Option<Capabilities>,
    },
    /// §2.2.4: the answer, or unasked when a registration has expired.
    DeregistrationResponse {
        /// As asked.
        handle: PoolHandle,
        /// As asked.
        id: PeId,
        /// Why refused; empty if granted.
        errors: Vec<ErrorCause>,
    },
    /// §2.2.5.
    HandleResolution {
        /// The S bit: send changes of the pool unasked.
        subscribe: bool,
        /// Pool asked for.
        handle: PoolHandle,
        /// Extension 0x803f: most elements wanted, `u32::MAX` for as many as allowed.
        items: Option<u32>,
        /// Extension 0x9501.
        capabilities: Option<Capabilities>,
    },
    /// §2.2.6.
    HandleResolutionResponse(Box<HandleResolutionResponse>),
    /// §2.2.7.
    EndpointKeepAlive {
        /// The H flag: adopt the sender as home registrar.
        home: bool,
        /// The sender.
        server: ServerId,
        /// Pool of the element.
        handle: PoolHandle,
        /// Which element; not in the RFC, rsplib sends it.
        id: Option<PeId>,
    },
    /// §2.2.8.
    EndpointKeepAliveAck {
        /// Pool of the element.
        handle: PoolHandle,
        /// The element.
        id: PeId,
    },
    /// §2.2.9: an element could not be reached.
    EndpointUnreachable {
        /// Pool of the element.
        handle: PoolHandle,
        /// The element.
        id: PeId,
    },
    /// §2.2.10: where a registrar is.
    ServerAnnounce {
        /// The registrar.
        server: ServerId,
        /// SCTP and TCP transports only; may be empty.
        transports: Vec<Transport>,
    },
    /// §2.2.11: state of a session, kept by the user for the next element.
    Cookie(Box<[u8]>),
    /// §2.2.12: the newest cookie, to the next element.
    CookieEcho(Box<[u8]>),
    /// §2.2.13: the sender's pool and its preferred order of failover.
    BusinessCard {
        /// Pool of the sender.
        handle: PoolHandle,
        /// At least one, in order of preference.
        elements: Vec<PoolElement>,
    },
    /// §2.2.14.
    Error {
        /// At least one.
        errors: Vec<ErrorCause>,
    },
}

/// The answer to a resolution, or a change of a subscribed pool (RFC 5352 §2.2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleResolutionResponse {
    /// The A bit: changes of the pool will be sent unasked.
    pub subscribed: bool,
    /// As asked.
    pub handle: PoolHandle,
    /// Policy of the pool; absent means round robin.
    pub policy: Option<PolicyParameter>,
    /// In the order of the policy.
    pub elements: Vec<PoolElement>,
    /// Why refused; empty if answered.
    pub errors: Vec<ErrorCause>,
    /// Extension 0x9506: elements in the pool, of which `elements` are some.
    pub total: Option<u32>,
    /// Extension 0x9501.
    pub capabilities: Option<Capabilities>,
}

impl Body {
    /// Its name in RFC 5352, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Registration { .. } => "ASAP_REGISTRATION",
            Self::Deregistration { .. } => "ASAP_DEREGISTRATION",
            Self::RegistrationResponse { .. } => "ASAP_REGISTRATION_RESPONSE",
            Self::DeregistrationResponse { .. } => "ASAP_DEREGISTRATION_RESPONSE",
            Self::HandleResolution { .. } => "ASAP_HANDLE_RESOLUTION",
            Self::HandleResolutionResponse(_) => "ASAP_HANDLE_RESOLUTION_RESPONSE",
            Self::EndpointKeepAlive { .. } => "ASAP_ENDPOINT_KEEP_ALIVE",
            Self::EndpointKeepAliveAck { .. } => "ASAP_ENDPOINT_KEEP_ALIVE_ACK",
            Self::EndpointUnreachable { .. } => "ASAP_ENDPOINT_UNREACHABLE",
            Self::ServerAnnounce { .. } => "ASAP_SERVER_ANNOUNCE",
            Self::Cookie(_) => "ASAP_COOKIE",
            Self::CookieEcho(_) => "ASAP_COOKIE_ECHO",
            Self::BusinessCard { .. } => "ASAP_BUSINESS_CARD",
            Self::Error { .. } => "ASAP_ERROR",
        }
    }
}
