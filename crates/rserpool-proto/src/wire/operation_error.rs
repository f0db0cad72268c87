//! The Operation Error parameter and its causes (RFC 5354 §3.12).

use super::policy::PolicyParameter;
use super::transport::Transport;
use alloc::boxed::Box;

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
