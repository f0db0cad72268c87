//! When leases run out: a heap of deadlines, at most one for each element.
//!
//! Most leases are renewed long before they run out, and to a later time. That costs nothing here:
//! the heap keeps the old deadline, and when it has come, the element's lease says when to come
//! again. So a deadline in the heap is never later than the lease.

use super::Slot;
use crate::grow::{push, reach};
use crate::time::Instant;
use alloc::vec::Vec;

/// Deadlines by slot; O(log n) for those that are new, come forward or are due.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// A heap: no entry is due before that at `(its index - 1) / WIDTH`.
    heap: Vec<Entry>,
    /// By slot: index in the heap, or [`NOWHERE`].
    position: Vec<u32>,
}

/// Packed, as there is one for every element.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry {
    due: u64,
    slot: u32,
}

const WIDTH: usize = 4;
const NOWHERE: u32 = u32::MAX;

impl Entry {
    fn key(self) -> (u64, u32) {
        (self.due, self.slot)
    }
}

impl Leases {
    /// No lease runs out before this; `None` if none ever does.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| Instant::from_micros(entry.due))
    }

    /// Notes that a lease runs out at `at`, and no longer at `before`, if it had one.
    pub(super) fn set(&mut self, slot: Slot, before: Option<Instant>, at: Instant) {
        let due = at.as_micros();
        match before {
            Some(before) if before == Instant::FAR_FUTURE => {}
            Some(before) if before <= at => return,
            _ => {}
        }
        if at == Instant::FAR_FUTURE {
            return;
        }
        let entry = Entry { due, slot: slot.0 };
        let index = match self.position.get(slot.0 as usize) {
            Some(&index) if index != NOWHERE => {
                let index = index as usize;
                if self.heap[index].due <= due {
                    return;
                }
                self.heap[index] = entry;
                index
            }
            _ => {
                reach(&mut self.position, slot.0 as usize, NOWHERE);
                push(&mut self.heap, entry);
                self.heap.len() - 1
            }
        };
        self.rise(index);
    }

    /// Forgets a slot.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(position) = self.position.get_mut(slot.0 as usize) else { return };
        let index = *position as usize;
        if *position == NOWHERE {
            return;
        }
        *position = NOWHERE;
        let Some(last) = self.heap.pop() else { return };
        if index < self.heap.len() {
            self.heap[index] = last;
            let index = self.rise(index);
            self.sink(index);
        }
    }

    /// A slot whose lease has run out at `now`; it stays until it is removed. `lease_of` says when
    /// a slot's lease really runs out.
    pub(super) fn due(
        &mut self,
        now: Instant,
        lease_of: impl Fn(Slot) -> Option<Instant>,
    ) -> Option<Slot> {
        loop {
            let first = *self.heap.first()?;
            if first.due > now.as_micros() {
                return None;
            }
            let slot = Slot(first.slot);
            match lease_of(slot) {
                Some(lease) if lease <= now => return Some(slot),
                Some(lease) if lease != Instant::FAR_FUTURE => {
                    self.heap[0].due = lease.as_micros();
                    self.sink(0);
                }
                _ => self.remove(slot),
            }
        }
    }

    /// Moves an entry up to where it belongs; returns where that is.
    fn rise(&mut self, mut index: usize) -> usize {
        let entry = self.heap[index];
        while index > 0 {
            let parent = (index - 1) / WIDTH;
            if self.heap[parent].key() <= entry.key() {
                break;
            }
            self.put(index, self.heap[parent]);
            index = parent;
        }
        self.put(index, entry);
        index
    }

    /// Moves an entry down to where it belongs.
    fn sink(&mut self, mut index: usize) {
        let entry = self.heap[index];
        loop {
            let first = index * WIDTH + 1;
            let children = first..(first + WIDTH).min(self.heap.len());
            let Some(child) = children.min_by_key(|&child| self.heap[child].key()) else { break };
            if self.heap[child].key() >= entry.key() {
                break;
            }
            self.put(index, self.heap[child]);
            index = child;
        }
        self.put(index, entry);
    }

    fn put(&mut self, index: usize, entry: Entry) {
        self.heap[index] = entry;
        self.position[entry.slot as usize] = index as u32;
    }

    /// # Panics
    /// If a slot's lease could run out unnoticed.
    pub(super) fn check(&self, slot: Slot, lease: Instant) {
        let position = self.position.get(slot.0 as usize).copied().unwrap_or(NOWHERE);
        assert!(lease == Instant::FAR_FUTURE || position != NOWHERE, "no deadline for a lease");
        if position != NOWHERE {
            let entry = self.heap[position as usize];
            let (due, owner) = (entry.due, entry.slot);
            assert_eq!(owner, slot.0);
            assert!(due <= lease.as_micros(), "a deadline after its lease");
            let parent = self.heap[(position as usize).saturating_sub(1) / WIDTH];
            assert!(parent.key() <= entry.key(), "the heap is none");
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Against a plain map; time 0 stands for a removal, 100 for ever.
        #[test]
        fn every_lease_runs_out_when_it_says(
            steps in proptest::collection::vec((0u32..40, 0u64..=100), 1..400),
        ) {
            let mut leases = Leases::default();
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for (step, (slot, after)) in (0..).zip(steps) {
                let until = match after {
                    100 => Instant::FAR_FUTURE,
                    _ => Instant::from_micros(now.as_micros() + after),
                };
                if after == 0 {
                    leases.remove(Slot(slot));
                    model.remove(&slot);
                } else {
                    leases.set(Slot(slot), model.insert(slot, until), until);
                }
                now = Instant::from_micros(step / 4);
                let mut due = Vec::new();
                while let Some(slot) = leases.due(now, |slot| model.get(&slot.0).copied()) {
                    leases.remove(slot);
                    due.push((model.remove(&slot.0).unwrap(), slot.0));
                }
                prop_assert!(due.iter().all(|(at, _)| *at <= now));
                prop_assert!(model.values().all(|at| *at > now));
                prop_assert!(leases.next().is_none_or(|next| next > now));
                prop_assert!(leases.len() <= model.len());
                model.iter().for_each(|(&slot, &lease)| leases.check(Slot(slot), lease));
            }
        }
    }
}
