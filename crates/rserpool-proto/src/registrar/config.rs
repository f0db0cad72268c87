//! What a registrar is told at start: plain data, defaults included.

use super::authority::Authority;
use crate::handlespace::{Element, HandlespaceConfig};
use crate::id::{PoolHandle, ServerId};
use crate::machine::Locator;
use crate::time::Duration;
use crate::timers::RegistrarTimers;
use crate::wire::pool_element::{LifeUnit, PoolElement, PoolElementRef};
use crate::wire::transport::Transport;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

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
    /// Other registrars of the scope, dialled for ever. None, the default, means alone until
    /// somebody dials us.
    pub peers: Vec<Locator>,
    /// Port that peers dial, told to them in presences; 0 if there is none. Set by the driver.
    pub enrp_port: u16,
    /// Where elements and users are told by multicast to come to: SCTP and TCP transports (RFC 5352
    /// §2.2.10). `None`, the default, announces nothing. Set by the driver.
    pub announced: Option<Vec<Transport>>,
    /// Where other registrars are told by multicast to come to: SCTP and TCP transports, as rsplib
    /// does; registrars that are heard so are dialled. `None`, the default, neither tells nor hears.
    /// Set by the driver.
    pub enrp_announced: Option<Vec<Transport>>,
    /// Whose identifier decides who takes a dead registrar over. `None`, the default, is the RFC's
    /// rule among our own and rsplib's as soon as a peer does not show our capabilities.
    pub takeover_winner: Option<TakeoverWinner>,
}

impl RegistrarConfig {
    /// The timers of one pool.
    pub(super) fn timers_of(&self, handle: &PoolHandle) -> &RegistrarTimers {
        self.pools.get(handle).unwrap_or(&self.timers)
    }
}

/// Whose identifier decides who takes a dead registrar over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverWinner {
    /// The higher one (RFC 5353 §3.5.1).
    Higher,
    /// The lower one, as rsplib has it.
    Lower,
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
    /// Registrations and deregistrations taken from one association per second, and as many at
    /// once; more are refused, then not heard, then the association is closed. Defaults to 10 000: all
    /// elements that one owner may have at once.
    pub registrations_per_second: u32,
    /// The same of all associations of one identity, in an open scope of one address. Each
    /// association always has a few a second, whatever the others do. Defaults to 40 000: of 10 000
    /// elements that tell their load four times a second.
    pub registrations_per_second_of_owner: u32,
    /// Resolutions taken from one association per second. Defaults to 50 000: a busy proxy's that
    /// asks for each connection, and a tenth of what one core can answer.
    pub resolutions_per_second: u32,
    /// The same of all of one identity or address. Defaults to 100 000.
    pub resolutions_per_second_of_owner: u32,
    /// Reports of unreachable elements taken from one association per second; more are ignored.
    /// Defaults to 10: a user reports once per failure.
    pub reports_per_second: u32,
    /// The same of all of one identity or address. Defaults to 100.
    pub reports_per_second_of_owner: u32,
    /// Other messages from one association per second, answers to keep-alives above all; more are not
    /// heard. Defaults to 20 000: twice the keep-alives that are sent to all.
    pub others_per_second: u32,
    /// The same of all of one identity or address. Defaults to 40 000.
    pub others_per_second_of_owner: u32,
    /// Elements registered here by one identity, or in an open scope from one address; one more is
    /// refused: lack of resources (RFC 5355 §2.1). Defaults to 10 000, what one host may well serve.
    pub elements_per_owner: u32,
    /// Pools that one association may watch (RFC 5352 §2.2.5). Defaults to 16: a user watches what it
    /// uses. Beyond it resolutions are answered without the A bit.
    pub watches_per_association: usize,
    /// Watches of all associations. Defaults to 100 000, about 15 MB.
    pub watches: usize,
    /// Updates sent to watchers per second; beyond it they come later and say more at once. Defaults
    /// to 10 000: about a tenth of what one core can send.
    pub updates_per_second: u32,
    /// Registrars known at once. Defaults to 128: each is told of every change.
    pub peers: usize,
    /// Bounds of the handlespace: pools, elements, tombstones.
    pub handlespace: HandlespaceConfig,
}

impl Limits {
    /// The same, but for how often anybody may ask: for measurements that want to know how much a
    /// registrar can do.
    #[must_use]
    pub fn without_rates(self) -> Self {
        Self {
            registrations_per_second: u32::MAX,
            registrations_per_second_of_owner: u32::MAX,
            resolutions_per_second: u32::MAX,
            resolutions_per_second_of_owner: u32::MAX,
            reports_per_second: u32::MAX,
            reports_per_second_of_owner: u32::MAX,
            others_per_second: u32::MAX,
            others_per_second_of_owner: u32::MAX,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 20_000,
            idle_timeout: Duration::from_secs(120),
            max_items: 128,
            registrations_per_second: 10_000,
            registrations_per_second_of_owner: 40_000,
            resolutions_per_second: 50_000,
            resolutions_per_second_of_owner: 100_000,
            reports_per_second: 10,
            reports_per_second_of_owner: 100,
            others_per_second: 20_000,
            others_per_second_of_owner: 40_000,
            elements_per_owner: 10_000,
            watches_per_association: 16,
            watches: 100_000,
            updates_per_second: 10_000,
            peers: 128,
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
    /// Which addresses an element may register, whoever it is. Defaults to those of its SCTP
    /// association; others are cause 3.
    pub registered_addresses: AddressRule,
}

impl Default for Compat {
    fn default() -> Self {
        Self { life_unit: LifeUnit::Milliseconds, registered_addresses: AddressRule::Association }
    }
}

/// Which addresses an element may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AddressRule {
    /// Over SCTP only addresses of its association (RFC 5352 §2.2.1). A TCP connection has only one,
    /// and is not asked.
    #[default]
    Association,
    /// Any: for elements that speak for servers elsewhere, or behind a translator of addresses.
    Any,
}

impl Compat {
    fn unit(&self, ours: bool) -> LifeUnit {
        match ours {
            true => LifeUnit::Seconds,
            false => self.life_unit,
        }
    }

    /// What a Registration Life on the wire stands for: in milliseconds as it is kept here, and as
    /// the lease it asks for, `None` for ever. `None` if it cannot be (RFC 5354 §3.10).
    pub(super) fn lease(&self, ours: bool, life: i32) -> Option<(i32, Option<Duration>)> {
        match life {
            -1 => Some((-1, None)),
            ..=0 => None,
            _ => {
                let millis = match self.unit(ours) {
                    LifeUnit::Seconds => life.saturating_mul(1000),
                    LifeUnit::Milliseconds => life,
                };
                Some((millis, Some(Duration::from_millis(millis.unsigned_abs().into()))))
            }
        }
    }

    /// A life kept here as it is told to others; seconds are rounded up.
    fn life(&self, ours: bool, millis: i32) -> i32 {
        match self.unit(ours) {
            LifeUnit::Seconds if millis > 0 => (millis - 1) / 1000 + 1,
            _ => millis,
        }
    }

    /// An element as it is told to our own or to strangers.
    pub(super) fn parts<'a>(&self, element: &'a Element, ours: bool) -> PoolElementRef<'a> {
        self.towards(element.parts(), ours)
    }

    /// As [`Compat::parts`], of an element that is no longer there.
    pub(super) fn element(&self, element: &PoolElement, ours: bool) -> PoolElement {
        self.towards(element.parts(), ours).to_element()
    }

    fn towards<'a>(&self, parts: PoolElementRef<'a>, ours: bool) -> PoolElementRef<'a> {
        let parts = if ours { parts } else { parts.without_extensions() };
        PoolElementRef { life: self.life(ours, parts.life), ..parts }
    }
}
