//! Pools whose changes are noted for those who watch them.
//!
//! Only that something has changed is noted, once until it is taken: whoever watches is told what
//! there is by then.

use super::Handlespace;
use super::pool::PoolIndex;
use crate::id::PoolHandle;
use alloc::collections::BTreeSet;

/// The handles that are watched, be there such a pool or not, and those of which something changed.
#[derive(Debug, Default)]
pub(super) struct Watched {
    handles: BTreeSet<PoolHandle>,
    changed: BTreeSet<PoolHandle>,
}

impl Watched {
    pub(super) fn contains(&self, handle: &PoolHandle) -> bool {
        self.handles.contains(handle)
    }
}

impl Handlespace {
    /// Notes from now on what users can see change in a pool: [`Handlespace::next_changed`]. It need
    /// not be there.
    pub fn watch(&mut self, handle: &PoolHandle) {
        if let Some(index) = self.pools.find(handle.as_bytes()) {
            self.pools.get_mut(index).watched = true;
        }
        self.watched.handles.insert(handle.clone());
    }

    /// Notes nothing any more of a pool.
    pub fn unwatch(&mut self, handle: &PoolHandle) {
        if let Some(index) = self.pools.find(handle.as_bytes()) {
            self.pools.get_mut(index).watched = false;
        }
        self.watched.handles.remove(handle);
        self.watched.changed.remove(handle);
    }

    /// Takes a watched pool of which something has changed since it was taken last, in the order of
    /// handles. It may be gone.
    pub fn next_changed(&mut self) -> Option<PoolHandle> {
        self.watched.changed.pop_first()
    }

    /// Something that users see has changed in a pool, or is about to.
    #[inline]
    pub(super) fn note_change(&mut self, index: PoolIndex) {
        let pool = self.pools.get(index);
        if pool.watched {
            self.watched.changed.insert(pool.handle().clone());
        }
    }
}
