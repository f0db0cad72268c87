//! Vectors that grow without much slack, as there are many of them.

use alloc::vec::Vec;

/// Makes `index` an index of `items`, leaving at most an eighth of it unused.
pub(crate) fn reach<T: Clone>(items: &mut Vec<T>, index: usize, value: T) {
    if index < items.len() {
        return;
    }
    if index >= items.capacity() {
        let more = (index + 1 - items.len()).max(items.len() / 8).max(4);
        items.reserve_exact(more);
    }
    items.resize(index + 1, value);
}

/// Appends an item, leaving at most an eighth unused.
pub(crate) fn push<T: Clone>(items: &mut Vec<T>, item: T) {
    reach(items, items.len(), item);
}
