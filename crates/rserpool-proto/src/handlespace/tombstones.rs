//! What has been deleted a short while ago, so that late news do not bring it back.

use crate::id::{PeId, PoolHandle};
use crate::time::{Duration, Instant};
use crate::wire::capability::Stamp;
use alloc::collections::VecDeque;
use core::hash::Hasher;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

/// Stamps of deleted elements, for a time and up to a number.
#[derive(Debug)]
pub(super) struct Tombstones {
    max: usize,
    life: Duration,
    /// The oldest first; of an element that was deleted twice the later one counts.
    graves: VecDeque<Grave>,
    /// Number of the oldest; they count up and wrap.
    first: u32,
    /// Numbers of those that count, by handle and identifier.
    index: HashTable<u32>,
    shared_seed: SharedSeed,
    seed: u64,
}

#[derive(Debug)]
struct Grave {
    until: Instant,
    handle: PoolHandle,
    id: PeId,
    stamp: Stamp,
}

impl Tombstones {
    pub(super) fn new(max: usize, life: Duration, seed: u64) -> Self {
        Self {
            max,
            life,
            graves: VecDeque::new(),
            first: 0,
            index: HashTable::new(),
            shared_seed: SharedSeed::from_u64(seed),
            seed,
        }
    }

    /// Remembers that a state of an element has ended.
    pub(super) fn insert(&mut self, now: Instant, handle: &PoolHandle, id: PeId, stamp: Stamp) {
        while self.graves.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_oldest();
        }
        if self.max == 0 {
            return;
        }
        if self.graves.len() >= self.max {
            self.drop_oldest();
        }
        let mut grave = Grave { until: now + self.life, handle: handle.clone(), id, stamp };
        let hash = hash_of(self.seed, &self.shared_seed, handle, id);
        let number = self.first.wrapping_add(self.graves.len() as u32);
        let Self { graves, first, index, shared_seed, seed, .. } = self;
        let known = index.find_mut(hash, |&number| is(graves, *first, number, handle, id));
        if let Some(known) = known {
            if let Some(earlier) = graves.get(known.wrapping_sub(*first) as usize) {
                grave.stamp = stamp.max(earlier.stamp);
            }
            *known = number;
        } else {
            index.insert_unique(hash, number, |&number| {
                let grave = graves.get(number.wrapping_sub(*first) as usize);
                grave.map_or(0, |grave| hash_of(*seed, shared_seed, &grave.handle, grave.id))
            });
        }
        self.graves.push_back(grave);
    }

    /// The stamp that an element must exceed to come back.
    pub(super) fn get(&self, now: Instant, handle: &PoolHandle, id: PeId) -> Option<Stamp> {
        if self.graves.is_empty() {
            return None;
        }
        let hash = hash_of(self.seed, &self.shared_seed, handle, id);
        let number =
            self.index.find(hash, |&number| is(&self.graves, self.first, number, handle, id))?;
        let grave = self.graves.get(number.wrapping_sub(self.first) as usize)?;
        (grave.until > now).then_some(grave.stamp)
    }

    fn drop_oldest(&mut self) {
        let Some(grave) = self.graves.pop_front() else { return };
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        let hash = hash_of(self.seed, &self.shared_seed, &grave.handle, grave.id);
        if let Ok(entry) = self.index.find_entry(hash, |&found| found == number) {
            entry.remove();
        }
    }
}

/// Whether a number is that of an element's grave.
fn is(graves: &VecDeque<Grave>, first: u32, number: u32, handle: &PoolHandle, id: PeId) -> bool {
    let grave = graves.get(number.wrapping_sub(first) as usize);
    grave.is_some_and(|grave| grave.id == id && grave.handle == *handle)
}

fn hash_of(seed: u64, shared_seed: &SharedSeed, handle: &PoolHandle, id: PeId) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, shared_seed);
    hasher.write(handle.as_bytes());
    hasher.write_u32(id.0);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_last_for_their_life_and_never_exceed_their_number() {
        let (life, id) = (Duration::from_secs(1), PeId(1));
        let mut tombstones = Tombstones::new(2, life, 1);
        let handles = ["a", "b", "c"].map(|name| PoolHandle::new(name).unwrap());
        let stamp = |seq| Stamp { seq, moves: 0 };
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        for (handle, seq) in handles.iter().zip(1..) {
            tombstones.insert(at(0), handle, id, stamp(seq));
        }
        assert_eq!(tombstones.get(at(0), &handles[0], id), None);
        assert_eq!(tombstones.get(at(0), &handles[1], id), Some(stamp(2)));
        assert_eq!(tombstones.get(at(1), &handles[1], id), None);
        tombstones.insert(at(0), &handles[2], id, stamp(2));
        assert_eq!(tombstones.get(at(0), &handles[2], id), Some(stamp(3)), "the higher one stays");
        tombstones.insert(at(0), &handles[0], id, stamp(7));
        assert_eq!(tombstones.get(at(0), &handles[2], id), Some(stamp(3)), "of two the later");
        assert_eq!((tombstones.index.len(), tombstones.graves.len()), (2, 2));
        tombstones.insert(at(2), &handles[0], id, stamp(1));
        assert_eq!((tombstones.index.len(), tombstones.graves.len()), (1, 1));
        assert_eq!(tombstones.get(at(2), &handles[0], id), Some(stamp(1)));
    }
}
