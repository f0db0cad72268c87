//! What a registrar is told at start: plain data, defaults included.

use super::authority::Authority;
use crate::handlespace::HandlespaceConfig;
use crate::id::{PoolHandle, ServerId};
use crate::time::Duration;
use crate::timers::RegistrarTimers;
use alloc::collections::BTreeMap;

/// Configuration of a [`Registrar`](super::Registrar).
#[derive(Clone, Debug, Default)]
pub struct RegistrarConfig {
    /// Identifier of this registrar; [`ServerId::NONE`], the default, draws one (RFC 5353 §2.1).
    pub id: ServerId,
    /// Timers for every pool that is not in `pools`.
    pub timers: RegistrarTimers,
    /// Pools with timers of their own.
    pub pools: BTreeMap<PoolHandle, RegistrarTimers>,
    /// Bounds on everything that can grow.
    pub limits: Limits,
    /// How to treat peers that speak without our capabilities.
    pub compat: Compat,
    /// Who may do what.
    pub authority: Authority,
}

impl RegistrarConfig {
    /// The timers of one pool.
    pub(super) fn timers_of(&self, handle: &PoolHandle) -> &RegistrarTimers {
        self.pools.get(handle).unwrap_or(&self.timers)
    }
}

/// Bounds on what a registrar keeps and answers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Associations held at once. Defaults to 20 000, which is what one process can serve.
    pub associations: usize,
    /// Time after which an association that owns no element and says nothing is closed.
    /// Defaults to 120 s: longer than any client's pause between two resolutions that matter.
    pub idle_timeout: Duration,
    /// Elements in one answer when the user does not say how many. Defaults to 128 (RFC 5354 sets
    /// no limit, the length of a message does; rsplib's bound is the same).
    pub max_items: u32,
    /// Reports of unreachable elements taken from one association per second; more are ignored.
    /// Defaults to 10: a user reports once per failure.
    pub reports_per_second: u32,
    /// Bounds of the handlespace: pools, elements, tombstones.
    pub handlespace: HandlespaceConfig,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 20_000,
            idle_timeout: Duration::from_secs(120),
            max_items: 128,
            reports_per_second: 10,
            handlespace: HandlespaceConfig::default(),
        }
    }
}

/// What differs towards peers that do not show our capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat {
    /// Unit of Registration Life on associations without capabilities. RFC 5354 §3.10 says
    /// seconds; the only such implementation in the field, rsplib, sends milliseconds, which is
    /// therefore the default.
    pub life_unit: LifeUnit,
}

impl Default for Compat {
    fn default() -> Self {
        Self { life_unit: LifeUnit::Milliseconds }
    }
}

/// Unit of the Registration Life field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeUnit {
    /// RFC 5354 §3.10.
    Seconds,
    /// rsplib.
    Milliseconds,
}

impl LifeUnit {
    /// The life that `value` on the wire stands for.
    pub(super) fn duration(self, value: u32) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(value.into()),
            Self::Milliseconds => Duration::from_millis(value.into()),
        }
    }
}
