//! The Server Information parameter (RFC 5354 §3.11).

use super::transport::SctpTransport;
use super::unknown::UnknownParameter;
use crate::id::ServerId;
use alloc::boxed::Box;

/// A registrar and where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInformation {
    /// Its identifier.
    pub id: ServerId,
    /// Its ENRP address.
    pub transport: SctpTransport,
    /// Parameters not known here, in the order they came.
    pub unknown: Box<[UnknownParameter]>,
}
