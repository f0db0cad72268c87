//! The PE Checksum parameter (RFC 5354 §3.15): the sum itself is made in `handlespace`.
//!
//! ```text
//!   |  0xf  |   6   |  checksum (2) | padding (2) |
//! ```

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};

pub(super) fn decode_checksum(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    reader.parameter(kind::PE_CHECKSUM, Reader::u16)
}

pub(super) fn encode_checksum(checksum: u16, writer: &mut Writer<'_>) {
    writer.parameter(kind::PE_CHECKSUM, |writer| writer.u16(checksum));
}
