//! Extension parameters of this implementation; all of class 10, "skip, do not report".

/// What a speaker of this implementation can do beyond the RFCs (0x9501); unknown bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(pub u32);

/// Orders the states of an element, so that old never overrides new (0x9502).
///
/// Compared by `seq`, which only the element raises, then by `moves`, which only a takeover raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Raised by the element at every registration, re-registration and deregistration.
    pub seq: u64,
    /// Raised by one at every takeover.
    pub moves: u32,
}

/// The identity that registered an element: the first 16 bytes of its SHA-256 (0x9505).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub [u8; 16]);
