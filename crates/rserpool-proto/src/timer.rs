//! A queue of timers: at most one deadline for each, exact, and no larger than its timers.
//!
//! A machine keeps one queue and one enum of what may be due; setting a timer replaces its deadline
//! and cancelling one that is not set does nothing. Timers due at the same moment come in the order
//! of `T`, so that a run repeats itself.

use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};

/// Deadlines by timer; O(log n) each way.
#[derive(Clone, Debug)]
pub struct TimerQueue<T> {
    order: BTreeSet<(Instant, T)>,
    deadlines: BTreeMap<T, Instant>,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), deadlines: BTreeMap::new() }
    }
}

impl<T: Copy + Ord> TimerQueue<T> {
    /// A queue without timers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a timer, replacing the deadline it had.
    pub fn set(&mut self, timer: T, deadline: Instant) {
        if let Some(old) = self.deadlines.insert(timer, deadline) {
            self.order.remove(&(old, timer));
        }
        self.order.insert((deadline, timer));
    }

    /// Sets a timer unless it is set already, to whatever deadline.
    pub fn set_if_unset(&mut self, timer: T, deadline: Instant) {
        if !self.deadlines.contains_key(&timer) {
            self.set(timer, deadline);
        }
    }

    /// Forgets a timer; returns whether it was set.
    pub fn cancel(&mut self, timer: T) -> bool {
        match self.deadlines.remove(&timer) {
            Some(deadline) => self.order.remove(&(deadline, timer)),
            None => false,
        }
    }

    /// The deadline of a timer, or `None` if it is not set.
    pub fn deadline(&self, timer: T) -> Option<Instant> {
        self.deadlines.get(&timer).copied()
    }

    /// The earliest deadline, or `None` if no timer is set.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the earliest timer whose deadline is not after `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let &(deadline, timer) = self.order.first()?;
        if deadline > now {
            return None;
        }
        self.order.pop_first();
        self.deadlines.remove(&timer);
        Some(timer)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn due_timers_come_by_deadline_and_then_by_name() {
        let mut queue = TimerQueue::new();
        queue.set('c', at(5));
        queue.set('b', at(5));
        queue.set('a', at(7));
        queue.set('d', at(9));
        assert_eq!(queue.next(), Some(at(5)));
        assert_eq!(queue.pop(at(4)), None);
        let mut due = alloc::vec::Vec::new();
        while let Some(timer) = queue.pop(at(8)) {
            due.push(timer);
        }
        assert_eq!(due, ['b', 'c', 'a']);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_timer_has_one_deadline() {
        let mut queue = TimerQueue::new();
        queue.set(1, at(5));
        queue.set(1, at(3));
        queue.set_if_unset(1, at(1));
        assert_eq!((queue.len(), queue.next(), queue.deadline(1)), (1, Some(at(3)), Some(at(3))));
        assert!(queue.cancel(1));
        assert!(!queue.cancel(1));
        assert_eq!((queue.next(), queue.pop(Instant::FAR_FUTURE)), (None, None));
        assert!(queue.is_empty());
    }
}
