//! Recomputes what is kept incrementally, for tests and the simulator.

use super::shape::Shape;
use super::{Handlespace, Slot, Sums, sums};
use crate::id::ServerId;
use alloc::collections::BTreeMap;

impl Handlespace {
    /// Compares every index, sum and order with what the elements say.
    ///
    /// # Panics
    /// If something contradicts something else.
    pub fn check(&self) {
        let mut expected: BTreeMap<ServerId, Sums> = BTreeMap::new();
        let mut elements = 0;
        for pool in self.pools() {
            let handle = pool.handle();
            assert!(!pool.is_empty(), "{handle} is empty");
            pool.check();
            assert_eq!(pool.watched, self.watched.contains(handle), "{handle}");
            let mut members = 0;
            let mut suspects = 0;
            let mut shapes = BTreeMap::new();
            for (slot, element) in self.elements(pool) {
                let id = element.id();
                assert_eq!(self.slot(handle.as_bytes(), id), Some(slot), "{handle} {id}");
                assert_eq!(self.pool_of(slot).map(|pool| pool.handle()), Some(handle));
                assert_eq!(pool.slot_at(element.seat), slot, "{handle} {id}");
                assert_eq!(
                    element.digest,
                    sums::digest(sums::handle_key(handle), element),
                    "{handle} {id}"
                );
                self.leases.check(slot, element.lease);
                let sums = expected.entry(element.home()).or_default();
                sums.words += u64::from(sums::handle_words(handle) + sums::id_words(id));
                sums.digest = sums.digest.wrapping_add(element.digest);
                sums.elements += 1;
                *shapes.entry(Shape::of(element)).or_insert(0) += 1;
                members += 1;
                suspects += usize::from(element.suspect());
            }
            assert_eq!((members, suspects), (pool.len(), pool.suspects()), "{handle}");
            assert_eq!(Shape::of_most(&shapes), Some(pool.shape), "{handle}");
            let mixed = (shapes.len() > 1).then_some(&shapes);
            assert_eq!(pool.shapes.as_deref(), mixed, "{handle}");
            elements += members;
        }
        assert_eq!(self.sums, expected);
        assert_eq!(elements, self.elements.len());
        assert!(self.leases.len() <= elements);
        assert_eq!(self.table(None, None).count(), elements);
        assert_eq!(self.elements.next_from(Slot::FIRST, |_| true).is_none(), elements == 0);
    }
}
