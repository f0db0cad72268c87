//! ENRP messages (RFC 5353 §2): what they say. How they stand on the wire is in `codec`.
//!
//! ```text
//!   | type (1) | flags (1) | message length (2) | sender (4) | receiver (4) | parameters |
//! ```
//!
//! Parameters are accepted in any order where the order means nothing (in a table the handle comes
//! before its elements) and written in that of the RFC, unknown ones last; extensions
//! before them in requests and presences, after them in answers.

mod codec;
mod table_response;
#[cfg(test)]
mod tests;

pub use table_response::TableResponseBuilder;

use super::capability::Capabilities;
use super::operation_error::ErrorCause;
use super::pool_element::PoolElement;
use super::server_information::ServerInformation;
use super::unknown::UnknownParameter;
use crate::id::{PoolHandle, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// An ENRP message, its two ends, and the parameters in it that are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it; zero for a reader that is no registrar.
    pub sender: ServerId,
    /// Whom it is meant for; zero for everybody.
    pub receiver: ServerId,
    /// What it says.
    pub body: Body,
    /// Parameters not known here, in the order they came.
    pub unknown: Box<[UnknownParameter]>,
}

impl Message {
    /// A message with nothing unknown in it.
    pub fn new(sender: ServerId, receiver: ServerId, body: Body) -> Self {
        Self { sender, receiver, body, unknown: Box::default() }
    }
}

/// The ten ENRP messages (RFC 5353 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// §2.1.
    Presence {
        /// Flag bit 0: answer with a presence of your own.
        reply_required: bool,
        /// Checksum over the sender's own elements.
        checksum: Option<u16>,
        /// The sender; absent if it is known already.
        server: Option<ServerInformation>,
        /// Extension 0x9503.
        digest: Option<u64>,
        /// Extension 0x9501.
        capabilities: Option<Capabilities>,
    },
    /// §2.2.
    HandleTableRequest {
        /// The W flag: only elements owned by the receiver.
        own_only: bool,
        /// Extension 0x9501.
        capabilities: Option<Capabilities>,
    },
    /// §2.3.
    HandleTableResponse {
        /// The M flag: ask again for more.
        more: bool,
        /// The R flag: refused.
        rejected: bool,
        /// Pools with their elements.
        entries: Vec<PoolEntry>,
    },
    /// §2.4.
    HandleUpdate {
        /// Flag bit 0, rsplib's: the receiver is invited to take the element over.
        takeover_suggested: bool,
        /// Flag bit 1, ours: the element is ranked last where it comes from.
        suspected: bool,
        /// Add or delete.
        action: UpdateAction,
        /// Pool of the element.
        handle: PoolHandle,
        /// The element.
        element: Box<PoolElement>,
    },
    /// §2.5.
    ListRequest,
    /// §2.6.
    ListResponse {
        /// The R flag: refused.
        rejected: bool,
        /// The peers the sender knows.
        servers: Vec<ServerInformation>,
    },
    /// §2.7.
    InitTakeover {
        /// Whom the sender wants to take over.
        target: ServerId,
    },
    /// §2.8.
    InitTakeoverAck {
        /// Whom the receiver may take over.
        target: ServerId,
    },
    /// §2.9.
    TakeoverServer {
        /// Whom the sender has taken over.
        target: ServerId,
    },
    /// §2.10.
    Error {
        /// At least one.
        errors: Vec<ErrorCause>,
    },
}

/// A pool in a table response (RFC 5353 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEntry {
    /// The pool.
    pub handle: PoolHandle,
    /// At least one.
    pub elements: Vec<PoolElement>,
}

/// What a handle update does (RFC 5353 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateAction {
    /// 0x0000: ADD_PE.
    Add,
    /// 0x0001: DEL_PE.
    Delete,
}

impl Body {
    /// Its name in RFC 5353, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Presence { .. } => "ENRP_PRESENCE",
            Self::HandleTableRequest { .. } => "ENRP_HANDLE_TABLE_REQUEST",
            Self::HandleTableResponse { .. } => "ENRP_HANDLE_TABLE_RESPONSE",
            Self::HandleUpdate { .. } => "ENRP_HANDLE_UPDATE",
            Self::ListRequest => "ENRP_LIST_REQUEST",
            Self::ListResponse { .. } => "ENRP_LIST_RESPONSE",
            Self::InitTakeover { .. } => "ENRP_INIT_TAKEOVER",
            Self::InitTakeoverAck { .. } => "ENRP_INIT_TAKEOVER_ACK",
            Self::TakeoverServer { .. } => "ENRP_TAKEOVER_SERVER",
            Self::Error { .. } => "ENRP_ERROR",
        }
    }
}
