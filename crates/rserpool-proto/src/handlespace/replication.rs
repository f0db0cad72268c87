//! What other registrars say about elements (RFC 5353 §3.3, §3.5, §3.6.3).
//!
//! RFC messages carry no version, so that an old one can undo a new one. Among our own registrars a
//! stamp orders the states of an element: what is not newer changes nothing. Towards registrars
//! without stamps the letter of RFC 5353 holds, softened in two places: only the home of an element
//! may delete it, and hearsay of a third registrar does not take a stamped element from its home.

use super::{Change, ChangeKind, Handlespace, RegistrationError, Slot, Tombstone};
use crate::id::{PeId, PoolHandle, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::capability::Stamp;
use crate::wire::pool_element::PoolElement;
use core::mem;

/// What has become of an announced addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// It has been applied.
    Applied(Change),
    /// It is what is known already; the lease has been renewed.
    Known(Slot),
    /// It is older than what is known.
    Late,
}

impl Handlespace {
    /// Applies an addition or update announced by `from`, or read from its handle table (RFC 5353
    /// §3.3.1); `element.home` names the element's home.
    ///
    /// An element whose policy or transport is not the pool's is taken all the same, as the RFC
    /// says; the pool's policy reads what words it has.
    ///
    /// # Errors
    /// [`RegistrationError::LackOfResources`] at a limit; nothing is changed then.
    pub fn apply_add(
        &mut self,
        now: Instant,
        from: ServerId,
        handle: &PoolHandle,
        element: PoolElement,
        lease: Option<Duration>,
    ) -> Result<Update, RegistrationError> {
        let until = lease.map_or(Instant::FAR_FUTURE, |lease| now + lease);
        let stamp = element.extensions.stamp;
        let pool_index = self.pools.find(handle.as_bytes());
        let found = pool_index.and_then(|pool| self.elements.find(pool, element.id));
        let Some(slot) = found else {
            let buried = self.tombstones.get(now, handle, element.id);
            if buried.is_some_and(|buried| stamp.is_some_and(|stamp| stamp <= buried)) {
                return Ok(Update::Late);
            }
            self.check_room(pool_index.map(|pool| self.pools.get(pool)))?;
            return Ok(Update::Applied(self.add(now, handle, element, until)));
        };
        let known = self.elements.get_mut(slot).expect("it has just been found");
        match (stamp, known.stamp()) {
            (Some(new), Some(old)) if new < old && !planted!("stamps-ignored") => {
                return Ok(Update::Late);
            }
            (Some(new), Some(old)) if new == old && element.home <= known.home() => {
                if element.home < known.home() {
                    return Ok(Update::Late);
                }
                known.set_marked(planted!("sweep-takes-the-listed") && known.marked());
                let before = mem::replace(&mut known.lease, until);
                self.leases.set(slot, Some(before), until);
                return Ok(Update::Known(slot));
            }
            (None, Some(_)) if known.home() != element.home && from != element.home => {
                return Ok(Update::Late);
            }
            _ => {}
        }
        Ok(Update::Applied(self.replace(now, slot, element, until)))
    }

    /// Applies an entry of the table of an element's home: as [`Handlespace::apply_add`], but what
    /// the home itself lists it has, even if more than that is known here.
    ///
    /// A takeover that another registrar has begun moves an element here although its home lives; the
    /// home does not know of that, and would never outbid it.
    ///
    /// # Errors
    /// As [`Handlespace::apply_add`].
    pub fn apply_own(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        element: PoolElement,
        lease: Option<Duration>,
    ) -> Result<Update, RegistrationError> {
        let until = lease.map_or(Instant::FAR_FUTURE, |lease| now + lease);
        let from = element.home;
        let Some(stamp) = element.extensions.stamp else {
            return self.apply_add(now, from, handle, element, lease);
        };
        if let Some(slot) = self.slot(handle.as_bytes(), element.id) {
            let known = self.elements.get(slot);
            let outdone = known.is_some_and(|known| {
                known.home() == from && known.stamp().is_some_and(|known| known > stamp)
            });
            if outdone {
                return Ok(Update::Applied(self.replace(now, slot, element, until)));
            }
        } else if self
            .tombstones
            .get(now, handle, element.id)
            .is_some_and(|buried| buried.seq == stamp.seq && buried.moves > stamp.moves)
        {
            let pool = self.pools.find(handle.as_bytes()).map(|pool| self.pools.get(pool));
            self.check_room(pool)?;
            return Ok(Update::Applied(self.add(now, handle, element, until)));
        }
        self.apply_add(now, from, handle, element, lease)
    }

    /// Applies a removal announced by `from` (RFC 5353 §3.3.2); `ended` is the state it ends, by its
    /// stamp and its home. `None` if there is nothing to remove, or the removal is late.
    pub fn apply_delete(
        &mut self,
        now: Instant,
        from: ServerId,
        handle: &PoolHandle,
        id: PeId,
        ended: Option<(Stamp, ServerId)>,
    ) -> Option<Change> {
        let stamp = ended.map(|(stamp, _)| stamp);
        let Some(slot) = self.slot(handle.as_bytes(), id) else {
            // The addition it ends may still be on its way.
            if let Some(stamp) = stamp {
                self.tombstones.insert(now, handle, id, stamp);
            }
            return None;
        };
        let known = self.elements.get(slot)?;
        let applies = match ended {
            Some(ended) => {
                let home = known.home();
                known.stamp().is_none_or(|known| (known, home) <= ended)
            }
            None => known.home() == from,
        };
        if !applies && !planted!("late-deletion-applied") {
            return None;
        }
        if let Some(stamp) = stamp {
            self.restamp(slot, stamp);
        }
        self.remove_slot(now, slot, Tombstone::Left)
    }

    /// Gives an element another home, as a takeover does: its stamp moves by one (RFC 5353 §3.5).
    ///
    /// `None` if the slot is empty or the element is there already.
    pub fn set_home(&mut self, slot: Slot, home: ServerId) -> Option<Change> {
        let stamp = self.elements.get(slot)?.stamp();
        let moved = stamp.map(|s| Stamp { seq: s.seq, moves: s.moves.saturating_add(1) });
        self.rehome(slot, home, moved)
    }

    /// Lets the home of an element have the last word against a registrar that has taken it over and
    /// ended it at `stamp`: it moves beyond that.
    pub fn outbid(&mut self, slot: Slot, stamp: Stamp) -> Option<Change> {
        let element = self.elements.get(slot)?;
        let home = element.home();
        self.restamp(slot, Stamp { moves: stamp.moves.saturating_add(1), ..stamp });
        let (element, pool) = (self.elements.get(slot)?, self.pool_of(slot)?);
        Some(Change {
            kind: ChangeKind::Updated,
            handle: pool.handle().clone(),
            id: element.id(),
            slot,
            home,
            previous_home: Some(home),
            visible: false,
            removed: None,
        })
    }

    /// Gives an element another home without a move: the loser of two takeovers of the same
    /// registrar agrees with the winner, who has moved it already.
    ///
    /// `None` if the slot is empty or the element is there already.
    pub fn relabel(&mut self, slot: Slot, home: ServerId) -> Option<Change> {
        let stamp = self.elements.get(slot)?.stamp();
        self.rehome(slot, home, stamp)
    }

    /// Marks every element of a home before its table is asked for (RFC 5353 §3.6.3 step 1).
    ///
    /// What is announced or listed from then on loses its mark.
    pub fn mark(&mut self, home: ServerId) {
        let mut from = Slot::FIRST;
        while let Some(slot) = self.next_owned(home, from) {
            if let Some(element) = self.elements.get_mut(slot) {
                element.set_marked(true);
            }
            from = slot.next();
        }
    }

    /// The first element at or after a slot that is still marked and whose home is `home`, to be
    /// given to [`Handlespace::forget`] (RFC 5353 §3.6.3 step 5).
    pub fn next_marked(&self, home: ServerId, from: Slot) -> Option<Slot> {
        self.elements.next_from(from, |element| element.home() == home && element.marked())
    }

    /// Removes an element silently: no tombstone is left, as nobody has said that it ended.
    pub fn forget(&mut self, now: Instant, slot: Slot) -> Option<Change> {
        self.remove_slot(now, slot, Tombstone::None)
    }

    fn rehome(&mut self, slot: Slot, home: ServerId, stamp: Option<Stamp>) -> Option<Change> {
        let element = self.elements.get_mut(slot)?;
        let previous = element.home();
        if previous == home {
            return None;
        }
        element.set_home(home);
        element.set_stamp(stamp);
        element.set_marked(false);
        let (id, handle) = (element.id(), self.recount(slot, previous)?);
        Some(Change {
            kind: ChangeKind::Updated,
            handle,
            id,
            slot,
            home,
            previous_home: Some(previous),
            visible: false,
            removed: None,
        })
    }
}
