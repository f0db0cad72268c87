//! Who may do what; asked before anything is changed.

use crate::id::{PeId, PoolHandle};
use crate::machine::Identity;

/// Decides what an identity may do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Authority {
    /// An open scope: everybody may do everything, within the limits, to what is theirs.
    #[default]
    Open,
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Register or renew an element.
    Register {
        /// Into this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
    },
    /// Remove an element.
    Deregister {
        /// From this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
    },
    /// Resolve a pool.
    Resolve {
        /// This one.
        handle: &'a PoolHandle,
    },
    /// Report an element as unreachable.
    Report {
        /// In this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
    },
    /// Read the whole handlespace.
    ReadTable,
}

impl Authority {
    /// Whether `identity` may do `action`.
    pub fn permits(&self, _identity: &Identity, _action: &Action<'_>) -> bool {
        match self {
            Self::Open => true,
        }
    }
}
