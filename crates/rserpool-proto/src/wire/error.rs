//! Why bytes were not a message, or a message would not become bytes.

use super::kind::UnknownAction;
use super::operation_error::ErrorCause;
use core::fmt;

/// Why bytes were not a message, and where.
///
/// The message is to be dropped whole; [`DecodeError::cause`] says what to answer, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub reason: Reason,
    /// Where, in bytes from the start of the message.
    pub offset: usize,
    /// The parameter it is in, or is about.
    pub(super) parameter: Option<Extent>,
    /// Set for messages that are errors themselves: no error is answered with an error, or two
    /// confused speakers would never stop.
    pub(super) silent: bool,
}

/// Where a parameter stands in a message, header included, padding not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) kind: u16,
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The message or the parameter ends before its content does.
    #[error("{missing} bytes are missing")]
    Truncated {
        /// How many more would be needed to go on.
        missing: usize,
    },
    /// The Message Length is not what has come.
    #[error("the message says it has {stated} bytes, but {actual} came")]
    MessageLength {
        /// What the header says.
        stated: usize,
        /// What came, padding included.
        actual: usize,
    },
    /// A Parameter Length is below 4 or beyond what the parameter is in.
    #[error("the parameter says it has {stated} bytes where 4 to {room} are possible")]
    ParameterLength {
        /// What the header says.
        stated: usize,
        /// What is left of the message or the surrounding parameter.
        room: usize,
    },
    /// A parameter goes on after its last field.
    #[error("{count} bytes follow the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A mandatory parameter is not there.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A parameter came twice that may come once.
    #[error("parameter {0:#06x} came twice")]
    Duplicate(u16),
    /// A parameter of RFC 5354 stands where it has no meaning.
    #[error("parameter {0:#06x} has no place here")]
    Misplaced(u16),
    /// A field has a value it cannot have.
    #[error("{0}")]
    Invalid(&'static str),
    /// An unknown parameter that asks for the message to be dropped.
    #[error("parameter {0:#06x} is unknown and asks for the message to be dropped")]
    UnknownParameter(u16),
    /// An unknown message.
    #[error("message type {0:#04x} is unknown")]
    UnknownMessage(u8),
}

impl DecodeError {
    /// What to report to the sender of `message`, the bytes that were decoded; `None` if the rules
    /// ask for silence (RFC 5354 §3, §4).
    ///
    /// What is invalid within a parameter is cause 3 with that parameter. RFC 5354 has no cause for
    /// a message that is broken outside its parameters; it gets cause 0.
    pub fn cause(&self, message: &[u8]) -> Option<ErrorCause> {
        if self.silent {
            return None;
        }
        let parameter = self
            .parameter
            .and_then(|extent| message.get(extent.offset..)?.get(..extent.len))
            .map(cut_for_report);
        match self.reason {
            Reason::UnknownMessage(kind) => {
                // RFC 5354 §4: 00 discard, 01 discard and report, 10 and 11 reserved.
                (kind >> 6 == 0b01)
                    .then(|| ErrorCause::UnrecognizedMessage(cut_for_report(message).into()))
            }
            Reason::UnknownParameter(kind) => match UnknownAction::of_parameter(kind) {
                UnknownAction::StopAndReport | UnknownAction::SkipAndReport => {
                    parameter.map(|bytes| ErrorCause::UnrecognizedParameter(bytes.into()))
                }
                UnknownAction::Stop | UnknownAction::Skip => None,
            },
            _ => Some(match parameter {
                Some(bytes) => ErrorCause::InvalidValues(bytes.into()),
                None => ErrorCause::Unspecified,
            }),
        }
    }
}

/// Bounds what is sent back, so that a report always fits into a message with room to spare.
pub(super) fn cut_for_report(bytes: &[u8]) -> &[u8] {
    bytes.get(..MAX_REPORT_LEN).unwrap_or(bytes)
}

/// Most bytes of one message that are sent back in reports about it, headers of causes included.
pub const MAX_REPORT_LEN: usize = 32 * 1024;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {} of the message", self.reason, self.offset)?;
        match self.parameter {
            Some(parameter) => write!(f, ", in parameter {:#06x})", parameter.kind),
            None => f.write_str(")"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A message that would not fit into its 16-bit length; nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message would be longer than {limit} bytes")]
pub struct TooLong {
    /// Longest message allowed.
    pub limit: usize,
}
