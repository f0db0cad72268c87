//! The Cookie parameter (RFC 5354 §3.13).
//!
//! ```text
//!   |  0xd  | length |  any bytes |
//! ```

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use alloc::boxed::Box;

pub(super) fn decode_cookie(reader: &mut Reader<'_>) -> Result<Box<[u8]>, DecodeError> {
    reader.parameter(kind::COOKIE, |reader| Ok(reader.rest().into()))
}

pub(super) fn encode_cookie(cookie: &[u8], writer: &mut Writer<'_>) {
    writer.parameter(kind::COOKIE, |writer| writer.bytes(cookie));
}
