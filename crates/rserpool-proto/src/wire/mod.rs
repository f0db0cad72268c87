//! The form of what travels: parameters (RFC 5354), ASAP (RFC 5352) and ENRP (RFC 5353) messages.
//!
//! This room decides *form* and nothing else: what decodes here is well-formed, and whether it
//! makes sense is for `handlespace` and `registrar` to say.
//!
//! ```text
//!   bytes -> framer -> tlv::Reader -> parameters -> asap::Message | enrp::Message
//! ```

mod address;
#[cfg(any(test, feature = "proptest"))]
pub mod arbitrary;
pub mod asap;
pub mod capability;
#[cfg(test)]
mod captures;
mod cookie;
pub mod enrp;
mod error;
pub mod framer;
pub mod kind;
pub mod operation_error;
mod pe_checksum;
mod pe_identifier;
pub mod policy;
pub mod pool_element;
mod pool_handle;
pub mod server_information;
pub mod tlv;
pub mod transport;
pub mod unknown;
#[cfg(test)]
mod vectors;

pub use error::{DecodeError, MAX_REPORT_LEN, Reason, TooLong};

use alloc::vec::Vec;
use operation_error::ErrorCause;

/// A message as it was understood, and what has to be said about it to its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<M> {
    /// The message; to be processed.
    pub message: M,
    /// Unknown parameters that asked to be reported (RFC 5354 §3, class 11), for an error message.
    /// Always empty if the message is an error itself.
    pub reports: Vec<ErrorCause>,
}

/// Payload protocol identifier of ASAP on SCTP (RFC 5352 §8.3).
pub const PPID_ASAP: u32 = 11;
/// Payload protocol identifier of ENRP on SCTP (RFC 5353 §5.3).
pub const PPID_ENRP: u32 = 12;
/// Registered ASAP port, SCTP, TCP and UDP (RFC 5352 §8.2).
pub const PORT_ASAP: u16 = 3863;
/// Registered ENRP port, SCTP and UDP (RFC 5353 §5.2).
pub const PORT_ENRP: u16 = 9901;
