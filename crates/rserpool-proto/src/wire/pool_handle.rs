//! The Pool Handle parameter (RFC 5354 §3.9).
//!
//! ```text
//!   |  0x9  | length |  1 to 255 bytes |
//! ```

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use crate::id::PoolHandle;

impl PoolHandle {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed, or not 1 to [`PoolHandle::MAX_LEN`] bytes long.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::POOL_HANDLE, |reader| {
            let error = reader.invalid("the pool handle does not have 1 to 255 bytes");
            Self::new(reader.rest()).map_err(|_| error)
        })
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::POOL_HANDLE, |writer| writer.bytes(self.as_bytes()));
    }
}
