//! A PE handle: names an element so that it can be kept and used again (RFC 5352 §6.5.3).

use crate::id::{PeId, PoolHandle};
use alloc::vec::Vec;
use core::fmt;

/// An element of a pool, while it lives.
///
/// As text, `0x0000beef/EchoPool`; bytes of the pool handle that are no printable ASCII, and `%`, as
/// `%25`. As bytes, the identifier in network order and the pool handle. Where the element is reached
/// is asked anew at each use, so that a handle is never wrong about that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementHandle {
    /// Its pool.
    pub pool: PoolHandle,
    /// Its identifier in the pool.
    pub id: PeId,
}

impl ElementHandle {
    /// As bytes, at most 259.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.id.0.to_be_bytes(), self.pool.as_bytes()].concat()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`InvalidElementHandle`] if there is no identifier or no pool handle in them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidElementHandle> {
        let (id, pool) = bytes.split_first_chunk().ok_or(InvalidElementHandle)?;
        let pool = PoolHandle::new(pool).map_err(|_| InvalidElementHandle)?;
        Ok(Self { pool, id: PeId(u32::from_be_bytes(*id)) })
    }
}

impl fmt::Display for ElementHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.id)?;
        for &byte in self.pool.as_bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl core::str::FromStr for ElementHandle {
    type Err = InvalidElementHandle;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, mut rest) = text.split_once('/').ok_or(InvalidElementHandle)?;
        let id = id.strip_prefix("0x").ok_or(InvalidElementHandle)?;
        let id = u32::from_str_radix(id, 16).map_err(|_| InvalidElementHandle)?;
        let mut pool = Vec::new();
        while let Some((plain, escaped)) = rest.split_once('%') {
            pool.extend_from_slice(plain.as_bytes());
            let (byte, after) = escaped.split_at_checked(2).ok_or(InvalidElementHandle)?;
            pool.push(u8::from_str_radix(byte, 16).map_err(|_| InvalidElementHandle)?);
            rest = after;
        }
        pool.extend_from_slice(rest.as_bytes());
        let pool = PoolHandle::new(pool).map_err(|_| InvalidElementHandle)?;
        Ok(Self { pool, id: PeId(id) })
    }
}

/// What is no [`ElementHandle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PE handle is written like 0x0000beef/EchoPool")]
pub struct InvalidElementHandle;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn a_handle_reads_as_it_is_written() {
        let handle = ElementHandle { pool: "100% Käse".parse().unwrap(), id: PeId(0xbeef) };
        assert_eq!(handle.to_string(), "0x0000beef/100%25%20K%c3%a4se");
        for wrong in ["", "/", "beef/x", "0xbeef/", "0xg/x", "0x1/%", "0x1/%zz", "0x1/%é", "0x1"] {
            assert_eq!(wrong.parse::<ElementHandle>(), Err(InvalidElementHandle), "{wrong}");
        }
        assert_eq!(ElementHandle::from_bytes(&[0, 0, 0, 1]), Err(InvalidElementHandle));
    }

    proptest! {
        #[test]
        fn text_and_bytes_lose_nothing(id: u32, pool in prop::collection::vec(any::<u8>(), 1..=255)) {
            let handle = ElementHandle { pool: PoolHandle::new(pool).unwrap(), id: PeId(id) };
            prop_assert_eq!(&handle.to_string().parse::<ElementHandle>().unwrap(), &handle);
            prop_assert_eq!(ElementHandle::from_bytes(&handle.to_bytes()).unwrap(), handle);
        }
    }
}
