//! Watches: users that are told of the changes of a pool unasked (RFC 5352 §2.2.5, the S bit).
//!
//! ```text
//!   user --- HANDLE_RESOLUTION, S=1 ---> answered at once; A=1: watched from now on
//!   change of the pool ---> its watchers are due ---> HANDLE_RESOLUTION_RESPONSE, A=1
//!                  half a second after the last update of the association, if there was one
//! ```
//!
//! An update says what there is when it is sent, so that changes in between cost nothing. Updates are
//! sent in small batches and not faster than [`Limits::updates_per_second`](super::Limits): with more to
//! say they come later and hold more, and resolutions do not wait for them.

use super::association::Association;
use super::{Ignored, Registrar};
use crate::id::{AssociationId, PoolHandle};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::capability::Capabilities;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Time between two updates of one association, whatever it watches: two a second.
const BETWEEN_UPDATES: Duration = Duration::from_millis(500);

/// Updates sent without looking at anything else: a fraction of a millisecond.
const AT_ONCE: u32 = 32;

/// All watches, by pool and by what is to be done.
#[derive(Debug, Default)]
pub(super) struct Watches {
    pools: BTreeMap<PoolHandle, Watched>,
    /// When which association is to be sent its next update.
    due: BTreeSet<(Instant, AssociationId)>,
    /// How many there are.
    count: usize,
    /// No update is sent before this.
    rests_until: Instant,
}

/// Who watches a pool.
#[derive(Debug, Default)]
struct Watched {
    watchers: usize,
    /// Those who have been told what there is. So each is looked at once for each update that it is
    /// sent, and not for each change.
    told: BTreeSet<AssociationId>,
}

/// What an association watches, or has watched: it is not updated more often by asking anew.
#[derive(Debug, Default)]
pub(super) struct Watching {
    watches: Vec<Watch>,
    rests_until: Instant,
    /// As in [`Watches::due`].
    due: Option<Instant>,
}

#[derive(Debug)]
struct Watch {
    handle: PoolHandle,
    /// Most elements in an update, as the user said.
    items: Option<u32>,
    /// Something has changed since the last answer or update.
    changed: bool,
}

impl Watching {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }
}

impl Watches {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// When the next update is to be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| (*due).max(self.rests_until))
    }

    fn pop_due(&mut self, now: Instant) -> Option<AssociationId> {
        let &(due, assoc) = self.due.first()?;
        (due <= now).then(|| self.due.pop_first())?;
        Some(assoc)
    }

    fn told(&mut self, handle: &PoolHandle, assoc: AssociationId) {
        if let Some(watched) = self.pools.get_mut(handle) {
            watched.told.insert(assoc);
        }
    }

    /// Forgets a watcher; true if it was the last one of its pool.
    fn remove(&mut self, handle: &PoolHandle, assoc: AssociationId) -> bool {
        let Some(watched) = self.pools.get_mut(handle) else { return false };
        watched.told.remove(&assoc);
        watched.watchers -= 1;
        self.count -= 1;
        let last = watched.watchers == 0;
        if last {
            self.pools.remove(handle);
        }
        last
    }
}

impl Registrar {
    /// Watches a pool for an association that is about to be answered; false if there is no room.
    /// It need not be there.
    pub(super) fn begin_watch(
        &mut self,
        assoc: AssociationId,
        handle: &PoolHandle,
        items: Option<u32>,
    ) -> bool {
        let limits = &self.config.limits;
        let Some(association) = self.associations.get_mut(&assoc) else { return false };
        let watching = association.watching.get_or_insert_default();
        if let Some(watch) = watching.watches.iter_mut().find(|watch| watch.handle == *handle) {
            watch.items = items;
            watch.changed = false;
            self.watches.told(handle, assoc);
            return true;
        }
        if watching.watches.len() >= limits.watches_per_association
            || self.watches.count >= limits.watches
        {
            self.ignore(assoc, Ignored::TooManyWatches);
            return false;
        }
        // All watches of a pool share one name.
        let known = self.watches.pools.get_key_value(handle).map(|(handle, _)| handle.clone());
        let handle = known.unwrap_or_else(|| {
            self.handlespace.watch(handle);
            handle.clone()
        });
        // Most watch one pool, and nobody many.
        watching.watches.reserve_exact(1);
        watching.watches.push(Watch { handle: handle.clone(), items, changed: false });
        let watched = self.watches.pools.entry(handle).or_default();
        watched.watchers += 1;
        watched.told.insert(assoc);
        self.watches.count += 1;
        true
    }

    /// Watches a pool no more for an association.
    pub(super) fn end_watch(&mut self, assoc: AssociationId, handle: &PoolHandle) {
        let Some(association) = self.associations.get_mut(&assoc) else { return };
        let Some(watching) = &mut association.watching else { return };
        let of_pool = watching.watches.iter().position(|watch| watch.handle == *handle);
        let Some(position) = of_pool else { return };
        watching.watches.swap_remove(position);
        if self.watches.remove(handle, assoc) {
            self.handlespace.unwatch(handle);
        }
    }

    /// Watches nothing any more for an association that is gone.
    pub(super) fn end_watches(&mut self, assoc: AssociationId, association: &mut Association) {
        let Some(watching) = association.watching.take() else { return };
        if let Some(due) = watching.due {
            self.watches.due.remove(&(due, assoc));
        }
        for watch in watching.watches {
            if self.watches.remove(&watch.handle, assoc) {
                self.handlespace.unwatch(&watch.handle);
            }
        }
    }

    /// Those who watch what has changed are to be told.
    pub(super) fn note_changes(&mut self, now: Instant) {
        while let Some(handle) = self.handlespace.next_changed() {
            let Some(watched) = self.watches.pools.get_mut(&handle) else { continue };
            for assoc in core::mem::take(&mut watched.told) {
                let association = self.associations.get_mut(&assoc);
                let Some(watching) = association.and_then(|known| known.watching.as_deref_mut())
                else {
                    continue;
                };
                let of_pool = watching.watches.iter_mut().find(|watch| watch.handle == handle);
                if let Some(watch) = of_pool {
                    watch.changed = true;
                }
                if watching.due.is_none() {
                    let due = now.max(watching.rests_until);
                    watching.due = Some(due);
                    self.watches.due.insert((due, assoc));
                }
            }
        }
    }

    /// Sends the updates that are due, some of them if they are many.
    pub(super) fn send_updates(&mut self, now: Instant) {
        if now < self.watches.rests_until {
            return;
        }
        let mut sent = 0;
        while sent < AT_ONCE
            && let Some(assoc) = self.watches.pop_due(now)
        {
            sent += self.send_update(now, assoc);
        }
        if sent > 0 {
            let rate = u64::from(self.config.limits.updates_per_second.max(1));
            let rest = (u64::from(sent) * 1_000_000 / rate).max(1);
            self.watches.rests_until = now + Duration::from_micros(rest);
        }
    }

    /// Tells an association what has become of those pools that have changed; how many they are.
    fn send_update(&mut self, now: Instant, assoc: AssociationId) -> u32 {
        let association = self.associations.get_mut(&assoc);
        let Some(watching) = association.and_then(|known| known.watching.as_deref_mut()) else {
            return 0;
        };
        watching.due = None;
        let changed = watching.watches.iter_mut().filter(|watch| watch.changed);
        let changed: Vec<_> = changed
            .map(|watch| {
                watch.changed = false;
                (watch.handle.clone(), watch.items)
            })
            .collect();
        if !changed.is_empty() {
            watching.rests_until = now + BETWEEN_UPDATES;
        }
        let mut sent = 0;
        for (handle, items) in changed {
            if !planted!("told-once") {
                self.watches.told(&handle, assoc);
            }
            self.counters.updates += 1;
            sent += 1;
            self.answer(now, assoc, &handle, items, true, Capabilities::UPDATE);
        }
        sent
    }
}
