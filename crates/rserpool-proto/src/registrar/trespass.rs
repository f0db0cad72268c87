//! Attempts to take what belongs to somebody else (RFC 5355 §2.3, §2.4, §2.17): refused where they
//! are made, and told from here.

use super::peers::Pace;
use super::{Event, Registrar};
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::time::Instant;
use core::mem;

/// Attempts told in a second, and at once.
const TOLD: u32 = 10;

/// Which attempts are told.
#[derive(Debug, Default)]
pub(super) struct Trespasses {
    pace: Pace,
    /// Those since the last one that was.
    untold: u64,
}

impl Registrar {
    /// Somebody wanted to register, end or replace an element that is another's. In an open scope
    /// nobody has proved to be anybody, and two have drawn the same identifier as a rule: the answer says
    /// enough.
    pub(super) fn on_trespass(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        id: PeId,
    ) {
        let Some(association) = self.associations.get(&assoc) else { return };
        self.counters.trespasses += 1;
        if !self.config.authority.is_secured() {
            return;
        }
        if !self.trespasses.pace.allows(now, TOLD, TOLD) {
            self.trespasses.untold += 1;
            return;
        }
        let untold = mem::take(&mut self.trespasses.untold);
        let (from, identity) = (association.remote.clone(), association.identity.clone());
        self.emit(Event::Trespass { assoc, from, identity, handle: handle.clone(), id, untold });
    }
}
