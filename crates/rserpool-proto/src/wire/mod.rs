//! The form of what travels: parameters (RFC 5354), ASAP (RFC 5352) and ENRP (RFC 5353) messages.
//!
//! This room decides *form* and nothing else: what decodes here is well-formed, and whether it
//! makes sense is for `handlespace` and `registrar` to say.
//!
//! ```text
//!   bytes -> framer -> tlv::Reader -> parameters -> asap::Message | enrp::Message
//! ```

pub mod asap;
pub mod capability;
pub mod enrp;
mod error;
pub mod operation_error;
pub mod policy;
pub mod pool_element;
pub mod server_information;
pub mod transport;
pub mod unknown;

pub use error::DecodeError;

/// Payload protocol identifier of ASAP on SCTP (RFC 5352 §8.3).
pub const PPID_ASAP: u32 = 11;
/// Payload protocol identifier of ENRP on SCTP (RFC 5353 §5.3).
pub const PPID_ENRP: u32 = 12;
/// Registered ASAP port, SCTP, TCP and UDP (RFC 5352 §8.2).
pub const PORT_ASAP: u16 = 3863;
/// Registered ENRP port, SCTP and UDP (RFC 5353 §5.2).
pub const PORT_ENRP: u16 = 9901;
