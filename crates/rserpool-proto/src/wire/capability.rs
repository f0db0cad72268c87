//! Extension parameters of this implementation; all of class 10, "skip, do not report".
//!
//! ```text
//!   Capabilities   0x9501 |  8 | bits (4) |
//!   Stamp          0x9502 | 16 | sequence (8) | moves (4) |
//!   Digest         0x9503 | 12 | digest (8) |
//!   ASAP over TCP  0x9504 | 4+ | TCP Transport parameter |
//!   Owner          0x9505 | 20 | identity (16) |
//!   Total          0x9506 |  8 | elements (4) |
//!   TCP control    0x9507 |  4 |
//! ```
//!
//! An extension in a message or parameter where it has no meaning is kept like an unknown one.

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};

/// What a speaker of this implementation can do beyond the RFCs (0x9501); unknown bits are kept.
///
/// In a registration, while it is not known yet who reads it: bit 0 says that its life is in
/// milliseconds, bit 1 that its element takes a control channel over TCP, as the extension in a Pool
/// Element parameter says later. In the response to a resolution bit 2 says that it is an update of a
/// watched pool, and answers nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(pub u32);

/// Orders the states of an element, so that old never overrides new (0x9502).
///
/// Compared by `seq`, which only the element raises, then by `moves`, which only a takeover raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Raised by the element at every registration, re-registration and deregistration.
    pub seq: u64,
    /// Raised by one at every takeover.
    pub moves: u32,
}

/// The identity that registered an element: the first 16 bytes of its SHA-256 (0x9505).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub [u8; 16]);

impl Capabilities {
    /// Those of a registration whose life is in milliseconds.
    pub const MILLISECONDS: Self = Self(1);

    /// Those of an update of a watched pool.
    pub const UPDATE: Self = Self(4);

    /// Whether the response that they stand in is an update, and answers nothing.
    pub fn is_update(self) -> bool {
        self.0 & Self::UPDATE.0 != 0
    }

    /// Whether the life of the registration that they stand in is in milliseconds.
    pub fn counts_milliseconds(self) -> bool {
        self.0 & Self::MILLISECONDS.0 != 0
    }

    /// Those of a registration whose element takes a control channel over TCP.
    pub const TCP_CONTROL: Self = Self(2);

    /// Whether the element of the registration that they stand in takes a control channel over TCP.
    pub fn offers_tcp_control(self) -> bool {
        self.0 & Self::TCP_CONTROL.0 != 0
    }

    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        decode_u32(kind::CAPABILITIES, reader).map(Self)
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        encode_u32(kind::CAPABILITIES, self.0, writer);
    }
}

impl Stamp {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader
            .parameter(kind::STAMP, |reader| Ok(Self { seq: reader.u64()?, moves: reader.u32()? }))
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::STAMP, |writer| {
            writer.u64(self.seq);
            writer.u32(self.moves);
        });
    }
}

impl Owner {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::OWNER, |reader| reader.array().map(Self))
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::OWNER, |writer| writer.bytes(&self.0));
    }
}

/// Reads a parameter that is one 32-bit number.
pub(super) fn decode_u32(kind: u16, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    reader.parameter(kind, Reader::u32)
}

/// Writes a parameter that is one 32-bit number.
pub(super) fn encode_u32(kind: u16, value: u32, writer: &mut Writer<'_>) {
    writer.parameter(kind, |writer| writer.u32(value));
}

/// Reads the digest of a presence.
pub(super) fn decode_digest(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    reader.parameter(kind::DIGEST, Reader::u64)
}

/// Writes the digest of a presence.
pub(super) fn encode_digest(digest: u64, writer: &mut Writer<'_>) {
    writer.parameter(kind::DIGEST, |writer| writer.u64(digest));
}
