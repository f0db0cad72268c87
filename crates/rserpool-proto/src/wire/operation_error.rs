//! The Operation Error parameter and its causes (RFC 5354 §3.12).
//!
//! ```text
//!   Operation Error  |  0xc  | length |  one cause or more  |
//!   cause            | code  | length |  cause-specific information  | padding |
//! ```
//!
//! A cause whose information is not what RFC 5354 says is no reason to drop an error message: it
//! becomes [`ErrorCause::Unknown`] with its code and bytes.

use super::error::{DecodeError, Reason};
use super::kind;
use super::policy::PolicyParameter;
use super::tlv::{Reader, Writer};
use super::transport::Transport;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// One reason for an error (RFC 5354 §3.12.1-§3.12.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorCause {
    /// 0x0.
    Unspecified,
    /// 0x1, with the whole parameter.
    UnrecognizedParameter(Box<[u8]>),
    /// 0x2, with the whole message.
    UnrecognizedMessage(Box<[u8]>),
    /// 0x3, with the whole parameter.
    InvalidValues(Box<[u8]>),
    /// 0x4: another element has this identifier.
    NonUniquePeId,
    /// 0x5, with the policy of the pool.
    InconsistentPolicy(PolicyParameter),
    /// 0x6.
    LackOfResources,
    /// 0x7, with the transport of the pool.
    InconsistentTransport(Transport),
    /// 0x8: data and control channel use differ from the pool's.
    InconsistentDataControl,
    /// 0x9.
    UnknownPoolHandle,
    /// 0xa.
    SecurityConsiderations,
    /// Any other code, its value as it came; rsplib's own are named by its `Display`.
    Unknown {
        /// Cause code.
        code: u16,
        /// Cause-specific information.
        value: Box<[u8]>,
    },
}

impl ErrorCause {
    /// The cause code.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unspecified => 0x0,
            Self::UnrecognizedParameter(_) => 0x1,
            Self::UnrecognizedMessage(_) => 0x2,
            Self::InvalidValues(_) => 0x3,
            Self::NonUniquePeId => 0x4,
            Self::InconsistentPolicy(_) => 0x5,
            Self::LackOfResources => 0x6,
            Self::InconsistentTransport(_) => 0x7,
            Self::InconsistentDataControl => 0x8,
            Self::UnknownPoolHandle => 0x9,
            Self::SecurityConsiderations => 0xa,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Reads one cause.
    ///
    /// # Errors
    /// If its length cannot be.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.any_parameter(|code, reader| Ok(Self::from_wire(code, reader.rest())))
    }

    /// Writes one cause.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(self.code(), |writer| match self {
            Self::UnrecognizedParameter(bytes)
            | Self::UnrecognizedMessage(bytes)
            | Self::InvalidValues(bytes) => writer.bytes(bytes),
            Self::InconsistentPolicy(policy) => policy.encode(writer),
            Self::InconsistentTransport(transport) => transport.encode(writer),
            Self::Unknown { value, .. } => writer.bytes(value),
            Self::Unspecified
            | Self::NonUniquePeId
            | Self::LackOfResources
            | Self::InconsistentDataControl
            | Self::UnknownPoolHandle
            | Self::SecurityConsiderations => {}
        });
    }

    fn from_wire(code: u16, value: &[u8]) -> Self {
        match code {
            0x1 => Self::UnrecognizedParameter(value.into()),
            0x2 => Self::UnrecognizedMessage(value.into()),
            0x3 => Self::InvalidValues(value.into()),
            0x5 => match whole(value, PolicyParameter::decode) {
                Some(policy) => Self::InconsistentPolicy(policy),
                None => Self::Unknown { code, value: value.into() },
            },
            0x7 => match whole(value, Transport::decode) {
                Some(transport) => Self::InconsistentTransport(transport),
                None => Self::Unknown { code, value: value.into() },
            },
            0x0 if value.is_empty() => Self::Unspecified,
            0x4 if value.is_empty() => Self::NonUniquePeId,
            0x6 if value.is_empty() => Self::LackOfResources,
            0x8 if value.is_empty() => Self::InconsistentDataControl,
            0x9 if value.is_empty() => Self::UnknownPoolHandle,
            0xa if value.is_empty() => Self::SecurityConsiderations,
            _ => Self::Unknown { code, value: value.into() },
        }
    }
}

/// What `value` holds if it is one parameter and nothing else.
fn whole<T>(
    value: &[u8],
    decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Option<T> {
    let mut reader = Reader::new(value);
    decode(&mut reader).ok().filter(|_| reader.is_empty())
}

/// Reads the Operation Error parameter: one cause or more.
pub(super) fn decode_errors(reader: &mut Reader<'_>) -> Result<Vec<ErrorCause>, DecodeError> {
    reader.parameter(kind::OPERATION_ERROR, |reader| {
        let mut causes = Vec::new();
        while !reader.is_empty() {
            causes.push(ErrorCause::decode(reader)?);
        }
        if causes.is_empty() {
            return Err(reader.error(Reason::Missing("error cause")));
        }
        Ok(causes)
    })
}

/// Writes the Operation Error parameter; nothing if there is no cause.
pub(super) fn encode_errors(causes: &[ErrorCause], writer: &mut Writer<'_>) {
    if causes.is_empty() {
        return;
    }
    writer.parameter(kind::OPERATION_ERROR, |writer| {
        for cause in causes {
            cause.encode(writer);
        }
    });
}

/// The cause in words, for logs and people.
impl fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnrecognizedParameter(bytes) => match bytes.first_chunk() {
                Some(kind) => {
                    write!(f, "unrecognized parameter {:#06x}", u16::from_be_bytes(*kind))
                }
                None => f.write_str("unrecognized parameter"),
            },
            Self::UnrecognizedMessage(bytes) => match bytes.first() {
                Some(kind) => write!(f, "unrecognized message of type {kind:#04x}"),
                None => f.write_str("unrecognized message"),
            },
            Self::InvalidValues(bytes) => match bytes.first_chunk() {
                Some(kind) => {
                    write!(f, "invalid values in parameter {:#06x}", u16::from_be_bytes(*kind))
                }
                None => f.write_str("invalid values"),
            },
            Self::InconsistentPolicy(policy) => {
                write!(f, "the policy differs from that of the pool, which is {policy}")
            }
            Self::InconsistentTransport(transport) => write!(
                f,
                "the transport differs from that of the pool, which is {} ({transport})",
                transport.protocol()
            ),
            Self::Unknown { code, value } => {
                f.write_str(words(*code))?;
                write!(f, " (cause {code:#x}")?;
                if value.is_empty() {
                    f.write_str(")")
                } else {
                    write!(f, ", {} bytes)", value.len())
                }
            }
            known => f.write_str(words(known.code())),
        }
    }
}

/// What a cause code means, those of rsplib included.
fn words(code: u16) -> &'static str {
    match code {
        0x0 => "unspecified error",
        0x1 => "unrecognized parameter",
        0x2 => "unrecognized message",
        0x3 => "invalid values",
        0x4 => "another element of the pool has this identifier",
        0x5 => "the policy differs from that of the pool",
        0x6 => "lack of resources",
        0x7 => "the transport differs from that of the pool",
        0x8 => "the pool uses data and control channel differently",
        0x9 => "unknown pool handle",
        0xa => "rejected for security considerations",
        0x10 => "invalid message, says rsplib",
        0x11 => "invalid value, says rsplib",
        0x100a => "the transport protocol differs from that of the pool, says rsplib",
        0x100b => "the policy is not supported, says rsplib",
        0xf000..=0xf008 => {
            "invalid or duplicate identifier, policy, addresses or registrar, says rsplib"
        }
        _ => "unknown error",
    }
}
