//! The names of things: pools, elements, registrars, associations.
//!
//! All of them are plain values that are cheap to copy or clone and order the way they are written
//! on the wire, so that every iteration over them is the same on every machine.

use alloc::sync::Arc;
use core::fmt;

/// The name of a pool: 1 to 255 bytes, usually text (RFC 5354 §3.9).
///
/// RFC 5354 sets no upper bound; 255 bytes is ours. A scope shared with rsplib allows 32, which the
/// registrar checks at registration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolHandle(Arc<[u8]>);

impl PoolHandle {
    /// Longest pool handle accepted, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Makes a pool handle of 1 to [`PoolHandle::MAX_LEN`] bytes.
    ///
    /// # Errors
    /// [`InvalidPoolHandle`] if `bytes` is empty or longer.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidPoolHandle> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN {
            return Err(InvalidPoolHandle { len: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The handle as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl core::borrow::Borrow<[u8]> for PoolHandle {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl core::str::FromStr for PoolHandle {
    type Err = InvalidPoolHandle;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// Text with everything that is not printable ASCII escaped, so that a log line stays one line.
impl fmt::Display for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match core::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolHandle(\"{}\")", self.0.escape_ascii())
    }
}

/// A pool handle that is empty or longer than [`PoolHandle::MAX_LEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pool handle has 1 to {} bytes, not {len}", PoolHandle::MAX_LEN)]
pub struct InvalidPoolHandle {
    /// Length of what was offered, in bytes.
    pub len: usize,
}

/// Names an element within its pool; drawn at random by the element when it starts (RFC 5354 §3.10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeId(pub u32);

/// Names a registrar; drawn at random when it starts, never zero in service (RFC 5353 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerId(pub u32);

impl ServerId {
    /// Zero: nobody, everybody, or not known yet, as the message says.
    pub const NONE: Self = Self(0);

    /// Whether this is [`ServerId::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// Names an SCTP association or a TCP connection between the driver and a machine.
///
/// The driver draws them and never uses one twice in the life of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#010x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#010x})"), self.0)
            }
        }
    )*};
}
hexadecimal!(PeId, ServerId);

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssociationId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_pool_handle_is_neither_empty_nor_longer_than_its_bound() {
        assert_eq!(PoolHandle::new(""), Err(InvalidPoolHandle { len: 0 }));
        assert_eq!(PoolHandle::new([b'x'; 256]), Err(InvalidPoolHandle { len: 256 }));
        assert!(PoolHandle::new([b'x'; 255]).is_ok());
    }

    #[test]
    fn a_pool_handle_prints_on_one_line_whatever_it_holds() {
        assert_eq!(PoolHandle::new("EchoPool").unwrap().to_string(), "EchoPool");
        assert_eq!(PoolHandle::new("Käse").unwrap().to_string(), "Käse");
        assert_eq!(PoolHandle::new(b"a\n\xff").unwrap().to_string(), "a\\n\\xff");
    }
}
