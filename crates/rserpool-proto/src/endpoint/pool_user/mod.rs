//! The pool user: resolves pools and picks elements of them (RFC 5352 §3.3, §3.5, §6.5).

mod config;
mod event;

pub use config::PoolUserConfig;
pub use event::{Event, RequestId, Resolution, ResolveError};

use crate::id::{PeId, PoolHandle};
use crate::machine::{Input, Locator, Machine, Output};
use crate::time::Instant;
use alloc::collections::VecDeque;

/// A client's view of the pools it uses.
#[derive(Debug)]
pub struct PoolUser {
    outputs: VecDeque<Output<Event>>,
}

impl PoolUser {
    /// Starts a user: it hunts for a registrar at once, so that the first question finds one.
    ///
    /// `seed` decides all that is random: the order of registrars, the jitter, the random policies.
    pub fn new(config: PoolUserConfig, seed: [u8; 32], now: Instant) -> Self {
        let _ = (config, seed, now);
        Self { outputs: VecDeque::new() }
    }

    /// Its home registrar, if it has one.
    pub fn home(&self) -> Option<&Locator> {
        None
    }

    /// Asks what a pool holds; [`Event::Resolved`] is the answer.
    ///
    /// It comes from the cache if that is fresh (RFC 5352 §3.3 C1, C4). Otherwise the home registrar
    /// is asked; requests for one pool share one question.
    pub fn resolve(&mut self, now: Instant, handle: &PoolHandle, request: RequestId) {
        let _ = (now, handle, request);
    }

    /// Asks for one element of a pool, by the user's side of the pool's policy (RFC 5356), and none
    /// of `exclude`; [`Event::Picked`] is the answer.
    ///
    /// Elements reported as unreachable are picked only if nothing else is left and a registrar has
    /// listed them again since.
    pub fn pick(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        request: RequestId,
        exclude: &[PeId],
    ) {
        let _ = (now, handle, request, exclude);
    }

    /// Asks for a certain element again, as a PE handle does (RFC 5352 §6.5.3); [`Event::Picked`]
    /// is the answer, with [`ResolveError::NoElement`] once the element is gone.
    pub fn pick_element(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        id: PeId,
        request: RequestId,
    ) {
        let _ = (now, handle, id, request);
    }

    /// Forgets a request: its caller waits no more. It gets no answer unless it has one already.
    pub fn cancel(&mut self, request: RequestId) {
        let _ = request;
    }

    /// Says that an element could not be reached: the home registrar is told, and the element is set
    /// aside for [`UserTimers::set_aside`](crate::timers::UserTimers::set_aside).
    ///
    /// To be called after an attempt to use the element, and for nothing else (RFC 5352 §3.5). While
    /// the element is set aside, further reports are not sent.
    pub fn report_unreachable(&mut self, now: Instant, handle: &PoolHandle, id: PeId) {
        let _ = (now, handle, id);
    }

    /// Forgets what is known of a pool (RFC 5352 §6.4); the next request asks a registrar.
    pub fn purge(&mut self, handle: &PoolHandle) {
        let _ = handle;
    }
}

impl Machine for PoolUser {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        let _ = (now, input);
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
