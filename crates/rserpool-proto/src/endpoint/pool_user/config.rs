//! What a pool user is told at its start.

use crate::machine::Locator;
use crate::policy::PolicyTable;
use crate::time::Duration;
use crate::timers::UserTimers;
use alloc::vec::Vec;

/// What a [`PoolUser`](super::PoolUser) is told at its start.
#[derive(Clone, Debug)]
pub struct PoolUserConfig {
    /// Registrars of the operation scope, of which one becomes the home; their order means nothing.
    pub registrars: Vec<Locator>,
    /// Timers and thresholds.
    pub timers: UserTimers,
    /// How many elements to ask for at a time. `None`, the default, leaves it to the registrar;
    /// `u32::MAX` asks for as many as it allows. For each element that is set aside one more is asked for, as
    /// the registrar may reach what cannot be reached from here, and name it first.
    pub items: Option<u32>,
    /// How long after its arrival an answer may still be used while no registrar answers. `None`, the
    /// default, uses no answer beyond [`UserTimers::stale_cache_value`].
    pub keep_stale: Option<Duration>,
    /// Most pools whose answers are kept; the one used least recently makes room. Defaults to 1024,
    /// at least 1.
    pub max_pools: usize,
    /// Most requests that may wait for answers at a time; more are refused with
    /// [`ResolveError::TooManyRequests`](super::ResolveError::TooManyRequests). Defaults to 4096.
    pub max_requests: usize,
    /// Most pools that may be watched at a time. Defaults to 64. A registrar of ours tells changes of
    /// 16 of them, unless it is told otherwise, and is asked about the others.
    pub max_watches: usize,
    /// The policies whose user side is known; any other as [`PolicyTable::picking`] says.
    /// Defaults to [`PolicyTable::builtin`].
    pub policies: PolicyTable,
}

impl PoolUserConfig {
    /// A user of the scope that `registrars` serve, all else at its default.
    pub fn new(registrars: Vec<Locator>) -> Self {
        Self {
            registrars,
            timers: UserTimers::default(),
            items: None,
            keep_stale: None,
            max_pools: 1024,
            max_requests: 4096,
            max_watches: 64,
            policies: PolicyTable::default(),
        }
    }
}
