//! Seats in the order of a key, equals in the order they came: what the sorted policies stand on.
//!
//! A sorted list of leaves, each with up to [`LEAF`] entries. A new entry is appended to its leaf,
//! and a leaf is put in order only when it comes near the front: most keys change again before
//! anybody asks for them. Taking from the front, and the rank of equals, cost no search at all.
//!
//! ```text
//!   bounds   0         17        40              lowest key of each leaf
//!            │          │         │
//!   leaves  [3 5 5 16] [39 17 21] [90 40 77 41]
//!            in order   whatever   whatever
//! ```

mod leaf;
#[cfg(test)]
mod tests;

use super::Seat;
use crate::grow::reach;
use alloc::vec::Vec;
use core::mem;
use leaf::{Entry, LEAF, Leaf, NOWHERE, insert_sorted};

/// An ordered set of seats; every operation is O(log n) but for a short memory move now and then.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    leaves: Vec<Leaf>,
    free: Vec<u32>,
    /// Room of leaves that were given up: where keys grow steadily, leaves come and go.
    spare: Vec<Vec<Entry>>,
    /// Ascending; those before `first` have been used up.
    bounds: Vec<Bound>,
    first: usize,
    /// The leaf of each seat, or [`NOWHERE`].
    leaf_of: Vec<u32>,
    len: usize,
    /// Scratch of [`Ranking::raise_first`].
    raised: Raised,
}

#[derive(Clone, Debug, Default)]
struct Raised {
    staying: Vec<Entry>,
    leaving: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    key: u64,
    leaf: u32,
}

/// What is added to the key of a seat that is held back, so that it comes behind all others; keys of
/// those that may be are not higher than [`HIGHEST`].
pub(super) const HELD: u64 = 1 << 63;
/// Highest key of a seat that may be held back.
pub(super) const HIGHEST: u64 = HELD - 1;

/// Neighbours that have no more entries than this together become one.
const MERGED: usize = LEAF * 3 / 4;
/// Most leaves whose room is kept for the next ones.
const MOST_SPARE: usize = 2;
/// As many leaves are near the front.
const NEAR: usize = 8;

impl Ranking {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a seat is ranked.
    pub(super) fn contains(&self, seat: Seat) -> bool {
        self.leaf_of.get(seat.index()).is_some_and(|&leaf| leaf != NOWHERE)
    }

    /// Ranks a seat that is not ranked, behind all of the same key.
    pub(super) fn insert(&mut self, seat: Seat, key: u64) {
        reach(&mut self.leaf_of, seat.index(), NOWHERE);
        if self.len == 0 {
            self.restart();
        }
        let place = self.place_of(key);
        self.insert_at(place, seat, key);
        self.len += 1;
    }

    /// Ranks a seat by another key; with the same key it keeps its place.
    pub(super) fn update(&mut self, seat: Seat, key: u64) {
        let (leaf, index) = self.find(seat);
        if self.leaves[leaf as usize].entries[index].key != key {
            self.remove_at(leaf, index);
            self.insert(seat, key);
        }
    }

    /// Ranks the seat behind all of the same key, which it has.
    pub(super) fn requeue(&mut self, seat: Seat, key: u64) {
        self.remove(seat);
        self.insert(seat, key);
    }

    /// Puts a seat that is ranked behind all that are not held back, or back among them.
    pub(super) fn hold(&mut self, seat: Seat, held: bool) {
        let (leaf, index) = self.find(seat);
        let key = self.leaves[leaf as usize].entries[index].key;
        let held = if held { key | HELD } else { key & HIGHEST };
        if held != key {
            self.remove_at(leaf, index);
            self.insert(seat, held);
        }
    }

    /// Removes a seat that is ranked.
    pub(super) fn remove(&mut self, seat: Seat) {
        let (leaf, index) = self.find(seat);
        self.remove_at(leaf, index);
        self.leaf_of[seat.index()] = NOWHERE;
    }

    /// Calls `visit` with the first seats in order until it returns false.
    pub(super) fn visit(&mut self, mut visit: impl FnMut(u64, Seat) -> bool) {
        for place in self.first..self.bounds.len() {
            let leaf = &mut self.leaves[self.bounds[place].leaf as usize];
            leaf.sort();
            for entry in &leaf.entries[leaf.start..] {
                if !visit(entry.key, Seat(entry.seat)) {
                    return;
                }
            }
        }
    }

    /// Raises the keys of the first `n` seats, in order, to what `raise` says, which is not lower;
    /// equals of the new key are before them.
    ///
    /// No seat is raised twice, however low its new key.
    pub(super) fn raise_first(&mut self, n: usize, mut raise: impl FnMut(u64, Seat) -> u64) {
        let Raised { mut staying, mut leaving } = mem::take(&mut self.raised);
        let mut left = n.min(self.len);
        while left > 0 {
            let Some(&Bound { leaf, .. }) = self.bounds.get(self.first) else { break };
            let next = self.bounds.get(self.first + 1).map_or(u64::MAX, |next| next.key);
            let leaf = &mut self.leaves[leaf as usize];
            leaf.sort();
            let taken = left.min(leaf.len());
            // Most stay in the first leaf: they go where they belong in one pass over it.
            let merges = taken == n && taken < leaf.len();
            for &Entry { key, seat } in &leaf.entries[leaf.start..leaf.start + taken] {
                let entry = Entry { key: raise(key, Seat(seat)), seat };
                if merges && entry.key < next {
                    insert_sorted(&mut staying, entry);
                } else {
                    leaving.push(entry);
                }
            }
            leaf.start += taken;
            left -= taken;
            self.len -= taken;
            if merges {
                leaf.merge(&staying);
                self.len += staying.len();
            } else if leaf.len() == 0 {
                self.release(self.first);
            }
        }
        if self.len == 0 && !leaving.is_empty() {
            self.restart();
        }
        self.len += leaving.len();
        for &Entry { key, seat } in &leaving {
            let place = self.place_of(key);
            self.insert_at(place, Seat(seat), key);
        }
        staying.clear();
        leaving.clear();
        self.raised = Raised { staying, leaving };
    }

    /// Lowers every key by `by`, which none is below.
    pub(super) fn lower(&mut self, by: u64) {
        for bound in &mut self.bounds[self.first..] {
            bound.key = bound.key.saturating_sub(by);
            let leaf = &mut self.leaves[bound.leaf as usize];
            leaf.bound = bound.key;
            for entry in &mut leaf.entries[leaf.start..] {
                // Those that have left may be lower.
                entry.key = entry.key.saturating_sub(by);
            }
        }
    }

    fn restart(&mut self) {
        self.leaves = alloc::vec![Leaf { sorted: true, ..Leaf::default() }];
        self.bounds = alloc::vec![Bound { key: 0, leaf: 0 }];
        self.free = Vec::new();
        self.first = 0;
    }

    /// Where a new entry of this key goes: the last leaf whose bound is not above.
    #[inline]
    fn place_of(&self, key: u64) -> usize {
        let bounds = &self.bounds[self.first..];
        // Near the front, where most that are raised go, counting is faster than halving.
        let above = match bounds.first_chunk::<NEAR>() {
            Some(near) if key < near[NEAR - 1].key => {
                near.iter().map(|bound| usize::from(bound.key <= key)).sum()
            }
            _ => bounds.partition_point(|bound| bound.key <= key),
        };
        self.first + above.saturating_sub(1)
    }

    #[inline]
    fn insert_at(&mut self, mut place: usize, seat: Seat, key: u64) {
        let mut leaf_id = self.bounds[place].leaf;
        if self.leaves[leaf_id as usize].entries.len() >= LEAF {
            place = self.make_room(place, key);
            leaf_id = self.bounds[place].leaf;
        }
        self.leaf_of[seat.index()] = leaf_id;
        let near_front = place == self.first;
        self.leaves[leaf_id as usize].insert(Entry { key, seat: seat.0 }, near_front);
    }

    /// Makes room for a key in the full leaf at a place; returns where the key goes now.
    fn make_room(&mut self, place: usize, key: u64) -> usize {
        let leaf = &mut self.leaves[self.bounds[place].leaf as usize];
        if leaf.start + leaf.dead > 0 {
            leaf.compact();
            return place;
        }
        let mut upper = self.spare.pop().unwrap_or_default();
        let is_last = place + 1 == self.bounds.len();
        let (bound, sorted) = leaf.split(key, is_last, &mut upper);
        let id = self.free.pop().unwrap_or_else(|| {
            self.leaves.push(Leaf::default());
            (self.leaves.len() - 1) as u32
        });
        for entry in &upper {
            self.leaf_of[entry.seat as usize] = id;
        }
        self.leaves[id as usize] = Leaf { entries: upper, start: 0, dead: 0, sorted, bound };
        self.bounds.insert(place + 1, Bound { key: bound, leaf: id });
        if key >= bound { place + 1 } else { place }
    }

    /// The leaf and index of a ranked seat.
    fn find(&self, seat: Seat) -> (u32, usize) {
        let leaf_id = self.leaf_of[seat.index()];
        let leaf = &self.leaves[leaf_id as usize];
        let index = leaf.entries[leaf.start..].iter().position(|entry| entry.seat == seat.0);
        (leaf_id, leaf.start + index.expect("a ranked seat is in its leaf"))
    }

    fn remove_at(&mut self, leaf_id: u32, index: usize) {
        self.len -= 1;
        let leaf = &mut self.leaves[leaf_id as usize];
        if index == leaf.start {
            leaf.start += 1;
        } else if leaf.sorted {
            leaf.entries.remove(index);
        } else {
            leaf.entries[index].seat = NOWHERE;
            leaf.dead += 1;
        }
        // Looking for a neighbour to merge with is not worth while at every step down.
        let len = leaf.len();
        if len == 0 {
            let place = self.place(leaf_id);
            self.release(place);
        } else if len <= LEAF / 4 && len.is_power_of_two() && self.bounds.len() - self.first > 1 {
            let place = self.place(leaf_id);
            if place + 1 < self.bounds.len() {
                self.merge(place);
            }
            // The first leaf is left to be used up.
            if place > self.first + 1 {
                self.merge(place - 1);
            }
        }
    }

    /// The place of a leaf among the bounds.
    fn place(&self, leaf_id: u32) -> usize {
        let bound = self.leaves[leaf_id as usize].bound;
        let bounds = &self.bounds[self.first..];
        let from = bounds.partition_point(|other| other.key < bound);
        let index = bounds[from..].iter().position(|other| other.leaf == leaf_id);
        self.first + from + index.expect("a leaf in use has its bound")
    }

    /// Makes one leaf of that at `place` and the next one, if they are small.
    fn merge(&mut self, place: usize) {
        let (left, right) = (self.bounds[place].leaf, self.bounds[place + 1].leaf);
        let together = self.leaves[left as usize].len() + self.leaves[right as usize].len();
        if place == self.first || together > MERGED {
            return;
        }
        let mut upper = mem::take(&mut self.leaves[right as usize]);
        upper.compact();
        for entry in &upper.entries {
            self.leaf_of[entry.seat as usize] = left;
        }
        let leaf = &mut self.leaves[left as usize];
        leaf.compact();
        leaf.sorted &= upper.sorted;
        leaf.entries.extend_from_slice(&upper.entries);
        self.bounds.remove(place + 1);
        self.free.push(right);
    }

    /// Gives up the empty leaf at a place, unless it is the only one.
    fn release(&mut self, place: usize) {
        let leaf_id = self.bounds[place].leaf;
        let leaf = &mut self.leaves[leaf_id as usize];
        leaf.entries.clear();
        leaf.start = 0;
        leaf.dead = 0;
        leaf.sorted = true;
        if self.bounds.len() - self.first == 1 {
            return;
        }
        let entries = mem::take(leaf).entries;
        if self.spare.len() < MOST_SPARE {
            self.spare.push(entries);
        }
        self.free.push(leaf_id);
        if place == self.first {
            self.first += 1;
            // The first leaf takes whatever is lower than all others.
            let first = &mut self.bounds[self.first];
            first.key = 0;
            self.leaves[first.leaf as usize].bound = 0;
            if self.first >= LEAF && self.first > self.bounds.len() / 2 {
                self.bounds.drain(..self.first);
                self.first = 0;
            }
        } else {
            self.bounds.remove(place);
        }
    }

    /// # Panics
    /// If the order is not one.
    pub(super) fn check(&self) {
        let mut seen = 0;
        let mut highest = 0;
        for (place, bound) in self.bounds.iter().enumerate().skip(self.first) {
            let leaf = &self.leaves[bound.leaf as usize];
            assert_eq!(leaf.bound, bound.key);
            let next = self.bounds.get(place + 1).map_or(u64::MAX, |next| next.key);
            let entries = &leaf.entries[leaf.start..];
            assert!(!leaf.sorted || entries.is_sorted_by_key(|entry| entry.key));
            assert!(!leaf.sorted || leaf.dead == 0);
            let entries: Vec<_> = entries.iter().filter(|entry| entry.seat != NOWHERE).collect();
            assert_eq!(leaf.len(), entries.len());
            for entry in &entries {
                let (key, seat) = (entry.key, entry.seat);
                assert!(key >= bound.key, "{key} before its leaf");
                assert!(key <= next, "{key} behind its leaf");
                assert_eq!(self.leaf_of[seat as usize], bound.leaf);
            }
            seen += entries.len();
            assert!(bound.key >= highest && (bound.key == 0 || place > self.first));
            highest = bound.key;
        }
        assert_eq!(seen, self.len);
        let ranked = self.leaf_of.iter().filter(|&&leaf| leaf != NOWHERE).count();
        assert_eq!(ranked, self.len);
    }
}

/// A key that has grown: what is held back stays so, and nothing else comes to be.
#[inline]
pub(super) fn grown(key: u64, by: u64) -> u64 {
    (key & HIGHEST).saturating_add(by).min(HIGHEST) | key & HELD
}
