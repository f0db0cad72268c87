//! The PE Identifier parameter (RFC 5354 §3.14).
//!
//! ```text
//!   |  0xe  |   8   |  identifier (4) |
//! ```

use super::capability::{decode_u32, encode_u32};
use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use crate::id::PeId;

impl PeId {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        decode_u32(kind::PE_IDENTIFIER, reader).map(Self)
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        encode_u32(kind::PE_IDENTIFIER, self.0, writer);
    }
}
