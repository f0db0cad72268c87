//! What a pool element is told at its start.

use crate::id::{PeId, PoolHandle};
use crate::machine::Locator;
use crate::time::Duration;
use crate::timers::ElementTimers;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::LifeUnit;
use crate::wire::transport::Transport;
use alloc::vec::Vec;

/// What a [`PoolElement`](super::PoolElement) is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolElementConfig {
    /// Pool to join.
    pub handle: PoolHandle,
    /// Identifier in the pool. `None`, the default, draws one from the seed, and another one if a
    /// registrar says that it is taken (RFC 5352 §3.1 R2.2).
    pub id: Option<PeId>,
    /// Where users reach the service (RFC 5352 §3.1 R2.4); must match the pool in kind and use.
    pub user_transport: Transport,
    /// Policy of the pool, with this element's values (RFC 5352 §3.1 R2.5); must match the pool in
    /// its number. Defaults to round robin.
    pub policy: PolicyParameter,
    /// Registrars of the operation scope, of which one becomes the home; their order means nothing.
    pub registrars: Vec<Locator>,
    /// Timers and thresholds.
    pub timers: ElementTimers,
    /// Where the stamps of this element start: microseconds since 1970 at its start, so that what it
    /// says after a restart is newer than what it said before. Defaults to 0.
    pub stamp_start: u64,
    /// Whether the service takes the control channel over TCP. Defaults to no.
    pub tcp_control: bool,
    /// What a keep-alive is answered from.
    pub health: Health,
    /// Unit of Registration Life towards registrars that do not show our capabilities. RFC 5354
    /// §3.10 says seconds; the only such registrar in the field, rsplib's, takes milliseconds, which
    /// is therefore the default. Which kind a registrar is shows in its first answer: to one without
    /// capabilities the registration is sent again at once.
    pub life_unit: LifeUnit,
}

impl PoolElementConfig {
    /// An element of pool `handle` that users reach at `user_transport`, all else at its default.
    pub fn new(handle: PoolHandle, user_transport: Transport, registrars: Vec<Locator>) -> Self {
        Self {
            handle,
            id: None,
            user_transport,
            // RFC 5356 §4.1: round robin is what every registrar has to know.
            policy: PolicyParameter::new(PolicyNumber(1), &[]),
            registrars,
            timers: ElementTimers::default(),
            stamp_start: 0,
            tcp_control: false,
            health: Health::Assumed,
            life_unit: LifeUnit::Milliseconds,
        }
    }
}

/// What a keep-alive is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// The service lives as long as this machine runs: keep-alives are acknowledged at once.
    #[default]
    Assumed,
    /// The owner checks the service and says so by
    /// [`report_health`](super::PoolElement::report_health). Without a healthy report that is recent
    /// enough, [`Event::HealthWanted`](super::Event::HealthWanted) is emitted and the
    /// acknowledgement waits for the next report.
    Reported {
        /// How old a healthy report may be to answer a keep-alive. The interval of keep-alives is
        /// the longest that makes sense.
        max_age: Duration,
    },
}
