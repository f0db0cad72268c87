//! Why bytes were not a message.

/// Why bytes were not a message, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct DecodeError;
