//! Who is one and the same, and how many elements anybody may have registered here (RFC 5355 §2.1, §2.2).

use super::association::Association;
use crate::handlespace::{Asker, Handlespace, Slot};
use crate::wire::capability::Owner;
use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// Whom elements, questions and reports count for: who has proved to be somebody, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Owner(Owner),
    Address(IpAddr),
}

impl Party {
    pub(super) fn of(association: &Association) -> Self {
        match association.identity.owner() {
            Some(owner) => Self::Owner(owner),
            None => Self::Address(association.remote.primary().ip()),
        }
    }

    /// Its number among those who ask.
    pub(super) fn asker(self, handlespace: &Handlespace) -> Asker {
        match self {
            Self::Owner(owner) => handlespace.asker(&owner.0),
            Self::Address(IpAddr::V4(address)) => handlespace.asker(&address.octets()),
            Self::Address(IpAddr::V6(address)) => handlespace.asker(&address.octets()),
        }
    }
}

/// Elements registered here, by whom they count for.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    parties: BTreeMap<Slot, Party>,
    counts: BTreeMap<Party, u32>,
}

impl Quotas {
    /// Whether an element, known here or not, may count for a party that has `most` at most.
    pub(super) fn has_room(&self, slot: Option<Slot>, party: Party, most: u32) -> bool {
        let counts = slot.and_then(|slot| self.parties.get(&slot)) == Some(&party);
        counts || self.counts.get(&party).is_none_or(|count| *count < most)
    }

    /// An element counts for a party from now on.
    pub(super) fn count(&mut self, slot: Slot, party: Party) {
        if self.parties.get(&slot) == Some(&party) {
            return;
        }
        self.uncount(slot);
        self.parties.insert(slot, party);
        *self.counts.entry(party).or_default() += 1;
    }

    /// An element counts for nobody any more.
    pub(super) fn uncount(&mut self, slot: Slot) {
        let Some(party) = self.parties.remove(&slot) else { return };
        if let Some(count) = self.counts.get_mut(&party) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&party);
            }
        }
    }
}
