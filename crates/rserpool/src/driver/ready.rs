//! Which of its many sockets wakes a task.
//!
//! A task that polls thousands of sockets must not ask each of them. Every slot has a waker of its
//! own that puts the slot's number on a list and wakes the task once for the whole list:
//!
//! ```text
//!   socket ready -> Signal of slot 7 -> [7, 12, 9] -> one wake -> the task polls 7, 12 and 9
//! ```
//!
//! The lock is held for a push or a move, once for a wake-up of a socket and never for a message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The list of the slots that want to be polled.
#[derive(Default)]
pub(super) struct Ready(Mutex<List>);

#[derive(Default)]
struct List {
    slots: Vec<u32>,
    /// The task, while it sleeps.
    task: Option<Waker>,
}

impl Ready {
    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the list to the end of `into`; the next signal wakes `task`.
    pub(super) fn take(&self, into: &mut VecDeque<u32>, task: &Waker) {
        let mut list = self.list();
        into.extend(list.slots.drain(..));
        match &mut list.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
    }

    fn push(&self, slot: u32) {
        let task = {
            let mut list = self.list();
            list.slots.push(slot);
            list.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The waker of one slot.
pub(super) struct Signal {
    slot: u32,
    /// On the list already.
    raised: AtomicBool,
    ready: Arc<Ready>,
}

impl Signal {
    pub(super) fn new(slot: u32, ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self { slot, raised: AtomicBool::new(false), ready })
    }

    /// Puts the slot on the list if it is not there.
    pub(super) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.ready.push(self.slot);
        }
    }

    /// Before the slot is polled: what happens from here on raises the signal again.
    pub(super) fn lower(&self) {
        self.raised.store(false, Ordering::Release);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(std::sync::atomic::AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_slot_is_listed_once_and_the_task_is_woken_once_for_the_list() {
        let ready = Arc::new(Ready::default());
        let count = Arc::new(Count(Default::default()));
        let task = Waker::from(count.clone());
        let seven = Signal::new(7, ready.clone());
        let nine = Signal::new(9, ready.clone());
        let mut slots = VecDeque::new();
        ready.take(&mut slots, &task);

        seven.raise();
        Waker::from(seven.clone()).wake_by_ref();
        nine.raise();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        ready.take(&mut slots, &task);
        assert_eq!(slots, [7, 9]);
        slots.clear();

        seven.lower();
        seven.raise();
        nine.raise();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        ready.take(&mut slots, &task);
        assert_eq!(slots, [7], "9 was not polled in between");
    }
}
