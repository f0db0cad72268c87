//! The Pool Member Selection Policy parameter in general form (RFC 5354 §3.8).
//!
//! ```text
//!   |  0x8  | length |  policy number (4) |  words (4 each), or any bytes |
//! ```
//!
//! Which numbers exist and what their words mean is said in [`crate::policy`], one file each.

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use alloc::boxed::Box;
use core::fmt;

/// The 32-bit policy type (RFC 5356 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyNumber(pub u32);

impl PolicyNumber {
    /// Whether no standard gives it a meaning (RFC 5356 §7.1, bit X).
    pub fn is_private(self) -> bool {
        self.0 >> 31 == 1
    }
}

impl fmt::Debug for PolicyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyNumber({:#010x})", self.0)
    }
}

impl fmt::Display for PolicyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
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
    /// Anything else, of a policy that is not known here; never what could be `Words`.
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

    /// A policy with data as it stands on the wire.
    pub fn from_bytes(number: PolicyNumber, bytes: &[u8]) -> Self {
        let mut words = [0; 4];
        let (chunks, rest) = bytes.as_chunks::<4>();
        if chunks.len() > words.len() || !rest.is_empty() {
            return Self { number, data: PolicyData::Bytes(bytes.into()) };
        }
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u32::from_be_bytes(*chunk);
        }
        Self { number, data: PolicyData::Words { len: chunks.len() as u8, words } }
    }

    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed; the number may be any.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::POLICY, |reader| {
            let number = PolicyNumber(reader.u32()?);
            Ok(Self::from_bytes(number, reader.rest()))
        })
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        self.data.encode(self.number, writer);
    }

    /// The words, or `None` if the data is not a row of up to four words.
    pub fn words(&self) -> Option<&[u32]> {
        match &self.data {
            PolicyData::Words { len, words } => words.get(..usize::from(*len)),
            PolicyData::Bytes(_) => None,
        }
    }
}

impl PolicyData {
    /// Writes the parameter of the policy `number` with this data.
    pub(super) fn encode(&self, number: PolicyNumber, writer: &mut Writer<'_>) {
        writer.parameter(kind::POLICY, |writer| {
            writer.u32(number.0);
            match self {
                Self::Words { len, words } => {
                    for word in words.iter().take(usize::from(*len)) {
                        writer.u32(*word);
                    }
                }
                Self::Bytes(bytes) => writer.bytes(bytes),
            }
        });
    }
}

/// The policy and what it carries, as in `0x40000002 (7, 1)`.
impl fmt::Display for PolicyParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        match (self.words(), &self.data) {
            (Some([]), _) => Ok(()),
            (Some([first, others @ ..]), _) => {
                write!(f, " ({first}")?;
                others.iter().try_for_each(|word| write!(f, ", {word}"))?;
                f.write_str(")")
            }
            (None, PolicyData::Bytes(bytes)) => write!(f, " (\"{}\")", bytes.escape_ascii()),
            (None, PolicyData::Words { .. }) => Ok(()),
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
