//! Parameters that this implementation does not know, kept to be sent on unchanged.

use super::tlv::Writer;
use alloc::boxed::Box;

/// A parameter of a type that is not known here, as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownParameter {
    /// The 16-bit type; its top two bits say what to do with it (RFC 5354 §3).
    pub kind: u16,
    /// The value without type, length and padding.
    pub value: Box<[u8]>,
}

impl UnknownParameter {
    /// Writes the parameter as it came.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(self.kind, |writer| writer.bytes(&self.value));
    }
}
