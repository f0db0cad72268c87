//! The Server Information parameter (RFC 5354 §3.11).
//!
//! ```text
//!   |  0xb  | length |  server id (4) |  transport parameter |
//! ```

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use super::transport::Transport;
use super::unknown::UnknownParameter;
use crate::id::ServerId;
use alloc::boxed::Box;
use alloc::vec::Vec;

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

impl ServerInformation {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed, or the transport is neither SCTP nor TCP.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::SERVER_INFORMATION, |reader| {
            let id = ServerId(reader.u32()?);
            let mut transport = None;
            let mut unknown = Vec::new();
            while let Some(kind) = reader.peek()? {
                match kind {
                    kind::SCTP_TRANSPORT | kind::TCP_TRANSPORT => {
                        reader.once(&mut transport, Transport::decode)?;
                    }
                    _ => reader.unknown(&mut unknown)?,
                }
            }
            let transport = reader.need(transport, "server transport")?;
            Ok(Self { id, transport, unknown: unknown.into() })
        })
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::SERVER_INFORMATION, |writer| {
            writer.u32(self.id.0);
            self.transport.encode(writer);
            for parameter in &self.unknown {
                parameter.encode(writer);
            }
        });
    }
}
