//! Questions under way: one per pool, shared by the requests that wait for its answer.

use super::RequestId;
use crate::id::{PeId, PoolHandle};
use crate::planted::planted;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A request of the owner that waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) kind: Kind,
    /// An answer asked for since then is good enough, whatever it says.
    pub(super) since: Instant,
}

/// What a request wants.
#[derive(Debug)]
pub(super) enum Kind {
    /// The whole answer.
    Resolve,
    /// One element.
    Pick { exclude: Box<[PeId]> },
    /// This element.
    PickElement(PeId),
}

/// A question about one pool.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) waiters: Vec<Waiter>,
    /// When T1-ENRPrequest expires.
    pub(super) t1: Instant,
    /// When its waiters are told that nobody answers.
    pub(super) gives_up: Instant,
}

/// All questions, by pool, by T1 and by request.
#[derive(Debug, Default)]
pub(super) struct Questions {
    by_pool: BTreeMap<PoolHandle, Question>,
    by_t1: BTreeSet<(Instant, PoolHandle)>,
    by_request: BTreeMap<RequestId, PoolHandle>,
}

impl Questions {
    /// Questions under way, waited for or not.
    pub(super) fn len(&self) -> usize {
        self.by_pool.len()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.by_request.len()
    }

    pub(super) fn contains(&self, handle: &PoolHandle) -> bool {
        self.by_pool.contains_key(handle)
    }

    /// Pools with a question, in their order.
    pub(super) fn pools(&self) -> Vec<PoolHandle> {
        self.by_pool.keys().cloned().collect()
    }

    pub(super) fn begin(&mut self, handle: &PoolHandle, t1: Instant, gives_up: Instant) {
        let question = Question { waiters: Vec::new(), t1, gives_up };
        self.by_t1.insert((t1, handle.clone()));
        self.by_pool.insert(handle.clone(), question);
    }

    /// Adds a waiter to the question about a pool, if there is one.
    pub(super) fn wait(&mut self, handle: &PoolHandle, waiter: Waiter) {
        if let Some(question) = self.by_pool.get_mut(handle) {
            self.by_request.insert(waiter.request, handle.clone());
            question.waiters.push(waiter);
        }
    }

    /// Takes the waiters from a question that goes on.
    pub(super) fn take_waiters(&mut self, handle: &PoolHandle) -> Vec<Waiter> {
        let waiters = self.by_pool.get_mut(handle).map(|q| core::mem::take(&mut q.waiters));
        self.forget_requests(waiters.unwrap_or_default())
    }

    /// Ends a question; `None` if there is none.
    pub(super) fn end(&mut self, handle: &PoolHandle) -> Option<Vec<Waiter>> {
        let (handle, question) = self.by_pool.remove_entry(handle)?;
        self.by_t1.remove(&(question.t1, handle));
        Some(self.forget_requests(question.waiters))
    }

    /// Forgets a request; its question goes on.
    pub(super) fn cancel(&mut self, request: RequestId) {
        if let Some(handle) = self.by_request.remove(&request)
            && let Some(question) = self.by_pool.get_mut(&handle)
        {
            question.waiters.retain(|waiter| waiter.request != request);
        }
    }

    /// When the next T1 expires.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.by_t1.first().map(|(t1, _)| *t1)
    }

    /// A question whose T1 has expired: its pool, and whether it is to be given up. Otherwise T1
    /// starts again.
    pub(super) fn expire(&mut self, now: Instant, restart: Instant) -> Option<(PoolHandle, bool)> {
        let (t1, handle) = self.by_t1.first().filter(|(t1, _)| *t1 <= now)?.clone();
        let question = self.by_pool.get(&handle)?;
        if question.gives_up <= now && !planted!("question-without-end") {
            return Some((handle, true));
        }
        let restart = match planted!("question-without-end") {
            true => restart,
            false => restart.min(question.gives_up),
        };
        self.set_t1(&handle, t1, restart);
        Some((handle, false))
    }

    /// Starts T1 of every question again: they have just been asked anew.
    pub(super) fn restart_all(&mut self, restart: Instant) {
        for (t1, handle) in core::mem::take(&mut self.by_t1) {
            let gives_up = self.by_pool.get(&handle).map_or(restart, |question| question.gives_up);
            self.set_t1(&handle, t1, restart.min(gives_up));
        }
    }

    fn set_t1(&mut self, handle: &PoolHandle, old: Instant, new: Instant) {
        self.by_t1.remove(&(old, handle.clone()));
        if let Some(question) = self.by_pool.get_mut(handle) {
            question.t1 = new;
            self.by_t1.insert((new, handle.clone()));
        }
    }

    fn forget_requests(&mut self, waiters: Vec<Waiter>) -> Vec<Waiter> {
        for waiter in &waiters {
            self.by_request.remove(&waiter.request);
        }
        waiters
    }
}
