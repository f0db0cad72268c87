//! The leaves of a ranking: entries that are in order, or are to be put in order once.

use alloc::vec::Vec;

#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    pub(super) entries: Vec<Entry>,
    /// Entries before it have been taken.
    pub(super) start: usize,
    /// How many entries have left; only where they are not in order, until they are put in order.
    pub(super) dead: usize,
    /// Whether the entries are in order.
    pub(super) sorted: bool,
    pub(super) bound: u64,
}

/// Packed, as it is what there is most of.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub(super) struct Entry {
    pub(super) key: u64,
    pub(super) seat: u32,
}

/// Most entries of a leaf: a few cache lines, quick to search and to sort.
pub(super) const LEAF: usize = 80;
/// A leaf that has no room left gets room for so many more.
const STEP: usize = LEAF / 8;
pub(super) const NOWHERE: u32 = u32::MAX;

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.start - self.dead
    }

    pub(super) fn insert(&mut self, entry: Entry, keep_sorted: bool) {
        let gone = self.start + self.dead;
        if self.entries.len() == self.entries.capacity() && gone > self.entries.len() / 2 {
            // Small pools are many: theirs does not grow for what is gone.
            self.compact();
        }
        let entries = &self.entries[self.start..];
        if self.sorted && entries.last().is_some_and(|last| last.key > entry.key) {
            if keep_sorted {
                let index = entries.partition_point(|other| other.key <= entry.key);
                self.entries.insert(self.start + index, entry);
                return;
            }
            self.sorted = false;
        }
        if self.entries.len() == self.entries.capacity() && self.entries.len() >= STEP {
            self.entries.reserve_exact(STEP);
        }
        self.entries.push(entry);
    }

    pub(super) fn sort(&mut self) {
        if !self.sorted {
            self.compact();
            self.sort_entries();
            self.sorted = true;
        }
    }

    /// Stable: equals stay in the order they came.
    fn sort_entries(&mut self) {
        let entries = &mut self.entries[..];
        let highest = entries.iter().map(|entry| entry.key).max().unwrap_or(0);
        let lowest = entries.iter().map(|entry| entry.key).min().unwrap_or(0);
        if entries.len() > LEAF || highest - lowest >= u64::MAX / LEAF as u64 {
            entries.sort_by_key(|entry| entry.key);
            return;
        }
        // The distance to the lowest key and the place in one number: numbers sort twice as fast.
        let (mut places, mut unsorted) = ([0; LEAF], [Entry { key: 0, seat: 0 }; LEAF]);
        let (places, unsorted) = (&mut places[..entries.len()], &mut unsorted[..entries.len()]);
        unsorted.copy_from_slice(entries);
        for (index, (place, entry)) in places.iter_mut().zip(unsorted.iter()).enumerate() {
            *place = (entry.key - lowest) * LEAF as u64 + index as u64;
        }
        places.sort_unstable();
        for (entry, place) in entries.iter_mut().zip(places.iter()) {
            *entry = unsorted[*place as usize % LEAF];
        }
    }

    /// Drops the entries that have been taken or have left.
    pub(super) fn compact(&mut self) {
        self.entries.drain(..self.start);
        self.start = 0;
        if self.dead > 0 {
            self.entries.retain(|entry| entry.seat != NOWHERE);
            self.dead = 0;
        }
    }

    /// Moves about half of a full leaf to `upper`, to make room for `key`; returns the lowest key
    /// that belongs to `upper`, and whether that is in order.
    pub(super) fn split(&mut self, key: u64, is_last: bool, upper: &mut Vec<Entry>) -> (u64, bool) {
        upper.clear();
        upper.reserve_exact(LEAF / 2 + STEP);
        if is_last && self.entries.iter().all(|entry| entry.key <= key) {
            // Keys that only ever grow leave full leaves behind.
            return (key, true);
        }
        if !self.sorted {
            // Equals stay in the order they came on this way too.
            let sample = [1, 3, 4, 5, 7].map(|eighth| self.entries[eighth * LEAF / 8].key);
            let pivot = median(sample);
            let mut lower = 0;
            let mut above = [Entry { key: 0, seat: 0 }; LEAF];
            let mut count = 0;
            for index in 0..self.entries.len().min(LEAF) {
                let entry = self.entries[index];
                let below = usize::from(entry.key < pivot);
                self.entries[lower] = entry;
                above[count] = entry;
                lower += below;
                count += 1 - below;
            }
            self.entries.truncate(lower);
            if lower >= LEAF / 8 && count >= LEAF / 8 {
                upper.extend_from_slice(&above[..count]);
                self.entries.shrink_to(LEAF / 2 + STEP);
                return (pivot, false);
            }
            // Badly split, many equals perhaps: put together again, in order.
            self.entries.extend_from_slice(&above[..count]);
            self.sort();
        }
        upper.extend_from_slice(&self.entries[LEAF / 2..]);
        self.entries.truncate(LEAF / 2);
        self.entries.shrink_to(LEAF / 2 + STEP);
        (upper.first().map_or(key, |first| first.key), true)
    }

    /// Puts entries, which are in order, into the room before the first entry and further on, each
    /// behind its equals.
    pub(super) fn merge(&mut self, raised: &[Entry]) {
        let mut read = self.start;
        self.start -= raised.len();
        let mut write = self.start;
        for &entry in raised {
            while let Some(&next) = self.entries.get(read)
                && next.key <= entry.key
            {
                self.entries[write] = next;
                (read, write) = (read + 1, write + 1);
            }
            self.entries[write] = entry;
            write += 1;
        }
    }
}

/// Puts an entry behind all of lower or equal key.
pub(super) fn insert_sorted(entries: &mut Vec<Entry>, entry: Entry) {
    entries.push(entry);
    let mut index = entries.len() - 1;
    while index > 0 && entries[index - 1].key > entry.key {
        entries[index] = entries[index - 1];
        index -= 1;
    }
    entries[index] = entry;
}

fn median(mut keys: [u64; 5]) -> u64 {
    keys.sort_unstable();
    keys[2]
}
