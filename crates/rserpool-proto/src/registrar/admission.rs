//! Elements that come by themselves from another registrar: they are let in at `rehome_rate`.
//!
//! ```text
//!   REGISTRATION of an element at home elsewhere --few came lately--> registered at once
//!     '-- many: in order, at rehome_rate --max_time_no_response at most--> registered
//! ```
//!
//! When a registrar dies its elements hunt, all of them at once if their connections have told
//! them. What each costs, an answer and an update to every peer, is spread; renewals of own
//! elements, and users, do not wait behind them. An element that waits is listed meanwhile, as one of
//! the dead or of us, and waits for less than T2-registration.

use super::peers::Pace;
use super::rehome::TICK;
use super::{Registrar, Timer};
use crate::handlespace::Slot;
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::time::Instant;
use crate::wire::pool_element::PoolElement;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// Who has come and waits to be let in.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pace: Pace,
    /// At most `limits.associations`, in order.
    waiting: VecDeque<Arrival>,
}

/// A registration that waits.
#[derive(Debug)]
struct Arrival {
    /// When it is let in at the latest.
    until: Instant,
    assoc: AssociationId,
    handle: PoolHandle,
    element: Box<PoolElement>,
}

/// The part of a second's worth that is let in at once: with the usual rate the elements of a small
/// scope do not wait.
const AT_ONCE: u32 = 4;

impl Admission {
    /// How many wait.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Registrar {
    /// Whether a registration has to wait; it is kept then.
    pub(super) fn must_wait(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        element: &PoolElement,
    ) -> bool {
        let slot = self.handlespace.slot(handle.as_bytes(), element.id);
        let Some(slot) = slot.filter(|&slot| self.holder_of(slot).is_none()) else {
            return false;
        };
        if self.is_leaving() {
            return false;
        }
        let rate = self.config.timers.rehome_rate;
        let Admission { pace, waiting } = &mut self.admission;
        if waiting.is_empty() && pace.allows(now, rate, rate / AT_ONCE)
            || waiting.len() >= self.config.limits.associations
        {
            return false;
        }
        let until = now + self.config.timers.max_time_no_response;
        let (handle, element) = (handle.clone(), Box::new(element.clone()));
        waiting.push_back(Arrival { until, assoc, handle, element });
        self.wait_longer(slot, until);
        self.timers.set_if_unset(Timer::Admit, now + TICK);
        true
    }

    /// One that has come is not given up while it waits.
    fn wait_longer(&mut self, slot: Slot, until: Instant) {
        if self.awaited(slot).is_some() {
            let grace = self.config.timers.rehome_grace;
            self.timers.set(Timer::Awaited(slot), until + grace);
        }
    }

    /// When to let the next ones in.
    pub(super) fn on_admit(&mut self, now: Instant) {
        let Some(first) = self.admission.waiting.front() else {
            return;
        };
        // More than the rate if the first would wait for too long otherwise.
        let left = first.until.saturating_since(now).as_micros() / TICK.as_micros();
        let left = usize::try_from(left).unwrap_or(usize::MAX).max(1);
        let part = self.admission.waiting.len().div_ceil(left).max(self.per_tick());
        for _ in 0..part {
            let Some(arrival) = self.admission.waiting.pop_front() else {
                return;
            };
            let Arrival { assoc, handle, element, .. } = arrival;
            self.let_in(now, assoc, handle, element);
        }
        if !self.admission.waiting.is_empty() {
            self.timers.set(Timer::Admit, now + TICK);
        }
    }

    /// Whoever leaves has not come.
    pub(super) fn wait_no_longer(&mut self, assoc: AssociationId, handle: &PoolHandle, id: PeId) {
        self.admission.waiting.retain(|arrival| {
            arrival.assoc != assoc || arrival.element.id != id || arrival.handle != *handle
        });
    }
}
