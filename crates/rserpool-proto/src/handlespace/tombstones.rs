//! What has been deleted a short while ago, so that late news do not bring it back.

use crate::id::{PeId, PoolHandle};
use crate::time::{Duration, Instant};
use crate::wire::capability::Stamp;
use alloc::collections::{BTreeMap, VecDeque};

/// Stamps of deleted elements, for a time and up to a number.
#[derive(Debug)]
pub(super) struct Tombstones {
    max: usize,
    life: Duration,
    stamps: BTreeMap<(PoolHandle, PeId), (Stamp, Instant)>,
    /// By age, the oldest first; a grave dug again is listed twice until the first is due.
    order: VecDeque<(Instant, PoolHandle, PeId)>,
}

impl Tombstones {
    pub(super) fn new(max: usize, life: Duration) -> Self {
        Self { max, life, stamps: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Remembers that a state of an element has ended.
    pub(super) fn insert(&mut self, now: Instant, handle: &PoolHandle, id: PeId, stamp: Stamp) {
        self.forget_old(now);
        if self.max == 0 {
            return;
        }
        while self.order.len() >= self.max {
            self.drop_oldest();
        }
        let until = now + self.life;
        let stamp = self.get(now, handle, id).map_or(stamp, |known| known.max(stamp));
        self.stamps.insert((handle.clone(), id), (stamp, until));
        self.order.push_back((until, handle.clone(), id));
    }

    /// The stamp that an element must exceed to come back.
    pub(super) fn get(&self, now: Instant, handle: &PoolHandle, id: PeId) -> Option<Stamp> {
        if self.stamps.is_empty() {
            return None;
        }
        let &(stamp, until) = self.stamps.get(&(handle.clone(), id))?;
        (until > now).then_some(stamp)
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((until, handle, id)) = self.order.pop_front() {
            let key = (handle, id);
            if self.stamps.get(&key).is_some_and(|(_, latest)| *latest == until) {
                self.stamps.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_last_for_their_life_and_never_exceed_their_number() {
        let (life, id) = (Duration::from_secs(1), PeId(1));
        let mut tombstones = Tombstones::new(2, life);
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
        tombstones.insert(at(2), &handles[0], id, stamp(1));
        assert_eq!((tombstones.stamps.len(), tombstones.order.len()), (1, 1));
    }
}
