//! The Pool Member Selection Policy parameter in general form (RFC 5354 §3.8).
//!
//! Which numbers exist and what their words mean is said in [`crate::policy`], one file each.

use alloc::boxed::Box;
use core::fmt;

/// The 32-bit policy type (RFC 5356 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyNumber(pub u32);

impl fmt::Debug for PolicyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyNumber({:#010x})", self.0)
    }
}

/// A policy's number and the values it carries for one element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyParameter {
    /// Which policy.
    pub number: PolicyNumber,
    /// Policy-specific data.
    pub data: PolicyData,
}

/// Policy-specific data (RFC 5354 §3.8).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PolicyData {
    /// Up to four 32-bit words; words beyond `len` are zero. Every policy known today fits.
    Words {
        /// How many of `words` are in use.
        len: u8,
        /// The words in host order.
        words: [u32; 4],
    },
    /// Anything else, of a policy that is not known here.
    Bytes(Box<[u8]>),
}

impl PolicyParameter {
    /// A policy with up to four words.
    ///
    /// # Panics
    /// If there are more than four: no policy defined here has.
    pub fn new(number: PolicyNumber, words: &[u32]) -> Self {
        let mut all = [0; 4];
        all[..words.len()].copy_from_slice(words);
        Self { number, data: PolicyData::Words { len: words.len() as u8, words: all } }
    }

    /// The words, or `None` if the data is not a row of up to four words.
    pub fn words(&self) -> Option<&[u32]> {
        match &self.data {
            PolicyData::Words { len, words } => words.get(..usize::from(*len)),
            PolicyData::Bytes(_) => None,
        }
    }
}

impl fmt::Debug for PolicyData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words { len, words } => {
                f.debug_list().entries(words.iter().take(usize::from(*len))).finish()
            }
            Self::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}
