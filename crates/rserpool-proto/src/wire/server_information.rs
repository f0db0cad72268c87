//! The Server Information parameter (RFC 5354 §3.11).

use super::transport::Transport;
use super::unknown::UnknownParameter;
use crate::id::ServerId;
use alloc::boxed::Box;

/// A registrar and where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInformation {
    /// Its identifier.
    pub id: ServerId,
    /// Its ENRP address: SCTP by RFC 5354 §3.11, TCP between two of this implementation.
    pub transport: Transport,
    /// Parameters not known here, in the order they came.
    pub unknown: Box<[UnknownParameter]>,
}
