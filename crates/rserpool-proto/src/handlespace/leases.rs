//! When leases run out.

use super::Slot;
use crate::time::Instant;
use alloc::collections::BTreeSet;

/// Where an element stands among the leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) u32);

impl Position {
    pub(super) const NONE: Self = Self(u32::MAX);
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    order: BTreeSet<(Instant, Slot)>,
}

impl Leases {
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(super) fn set(&mut self, slot: Slot, before: Option<Instant>, at: Instant) {
        if let Some(before) = before {
            self.order.remove(&(before, slot));
        }
        if at != Instant::FAR_FUTURE {
            self.order.insert((at, slot));
        }
    }

    pub(super) fn remove(&mut self, slot: Slot, at: Instant) {
        self.order.remove(&(at, slot));
    }

    pub(super) fn pop(
        &mut self,
        now: Instant,
        _: impl Fn(Slot) -> Option<Instant>,
    ) -> Option<Slot> {
        let &(at, slot) = self.order.first()?;
        (at <= now).then_some(slot)
    }

    pub(super) fn check(&self, slot: Slot, lease: Instant, _: Position) {
        assert_eq!(self.order.contains(&(lease, slot)), lease != Instant::FAR_FUTURE);
    }
}
