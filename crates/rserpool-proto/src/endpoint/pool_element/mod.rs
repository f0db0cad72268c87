//! The pool element: joins a pool and stays in it until told to leave (RFC 5352 §3.1, §3.2, §3.4).

mod config;
mod event;

pub use config::{Health, PoolElementConfig};
pub use event::{Event, State};

use crate::id::{PeId, PoolHandle};
use crate::machine::{Input, Locator, Machine, Output};
use crate::time::Instant;
use crate::wire::policy::PolicyParameter;
use alloc::collections::VecDeque;

/// A server's membership in a pool.
#[derive(Debug)]
pub struct PoolElement {
    config: PoolElementConfig,
    id: PeId,
    outputs: VecDeque<Output<Event>>,
}

impl PoolElement {
    /// Starts an element: it hunts for a registrar and registers at once.
    ///
    /// `seed` decides all that is random: the identifier, the order of registrars, the jitter.
    pub fn new(config: PoolElementConfig, seed: [u8; 32], now: Instant) -> Self {
        let _ = (seed, now);
        Self { id: config.id.unwrap_or(PeId(1)), config, outputs: VecDeque::new() }
    }

    /// Its pool.
    pub fn handle(&self) -> &PoolHandle {
        &self.config.handle
    }

    /// Its identifier in the pool.
    pub fn id(&self) -> PeId {
        self.id
    }

    /// What has become of it.
    pub fn state(&self) -> State {
        State::Hunting
    }

    /// Its home registrar, if it has one.
    pub fn home(&self) -> Option<&Locator> {
        None
    }

    /// Changes the policy values; a change is registered at once, or as soon as the answer to the
    /// registration under way is here.
    ///
    /// Values that are set meanwhile replace each other, so that only the newest are sent. Also
    /// tries again after a refusal.
    pub fn set_policy(&mut self, now: Instant, policy: PolicyParameter) {
        let _ = now;
        self.config.policy = policy;
    }

    /// Says whether the service is healthy, for [`Health::Reported`]; ignored with
    /// [`Health::Assumed`].
    ///
    /// A healthy report acknowledges the keep-alives that wait. An unhealthy one forgets them: the
    /// owner is expected to [`deregister`](Self::deregister).
    pub fn report_health(&mut self, now: Instant, healthy: bool) {
        let _ = (now, healthy);
    }

    /// Leaves the pool: ends in [`Event::Deregistered`] or [`Event::DeregistrationFailed`] after at
    /// most MAX-REG-ATTEMPT times T3. Leaving twice is leaving once.
    pub fn deregister(&mut self, now: Instant) {
        let _ = now;
    }

    /// Registers now: after a refusal whose reason is gone, after a deregistration, or to renew.
    pub fn reregister(&mut self, now: Instant) {
        let _ = now;
    }
}

impl Machine for PoolElement {
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
