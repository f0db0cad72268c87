//! The handlespace: pools by handle, their elements, who owns them, and in which order they are
//! handed out.
//!
//! This room decides *consistency* and sends nothing: what a registration may do to a pool, which
//! of two states of an element is the newer one, what two registrars compare to see whether they
//! agree. Every change comes back as a [`Change`], and the caller decides whom to tell.
//!
//! ```text
//!   handle ──> Pool ── policy ── seats ──┐
//!                └──── ids, in order ────┼──> slot ──> Element ──> sums of its home
//!   (pool, id) ──────────────────────────┘              │
//!                                   leases <────────────┘
//! ```
//!
//! Handles and identifiers are chosen by others, so tables keyed by them hash with a secret; what
//! is iterated comes from ordered maps.

mod change;
mod check;
mod distance;
mod element;
mod leases;
#[cfg(test)]
mod model;
mod pool;
mod registration;
mod replication;
mod shape;
mod sums;
#[cfg(test)]
mod tests;
mod tombstones;
mod turns;
mod watched;

pub use change::{Change, ChangeKind};
pub use distance::{Distances, Network};
pub use element::{Element, Slot};
pub use pool::Pool;
pub use registration::RegistrationError;
pub use replication::Update;
pub use turns::Asker;

use crate::id::{PeId, PoolHandle, ServerId};
use crate::policy::{Dice, PolicyTable, Rules, Seat};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use element::Elements;
use leases::Leases;
use pool::Pools;
use sums::Sums;
use tombstones::Tombstones;
use turns::Crowds;
use watched::Watched;

/// Limits of a handlespace and the policies known in it.
#[derive(Clone, Debug)]
pub struct HandlespaceConfig {
    /// Most pools. Defaults to 1 000 000.
    pub max_pools: usize,
    /// Most elements in all pools. Defaults to 4 000 000, about 1 GB.
    pub max_elements: usize,
    /// Most elements in one pool. Defaults to 1 000 000.
    pub max_elements_per_pool: usize,
    /// Longest handle accepted in a registration, in bytes. Defaults to
    /// [`PoolHandle::MAX_LEN`]; a scope shared with rsplib allows 32.
    pub max_handle_len: usize,
    /// Most deleted elements remembered, so that late news do not bring them back; the oldest make
    /// room. Defaults to 65 536.
    pub max_tombstones: usize,
    /// How long a deleted element is remembered. Defaults to 1.9 s, twice max_time_last_heard +
    /// max_time_no_response with the default timers: whoever has not heard by then is being
    /// audited anyway.
    pub tombstone_life: Duration,
    /// The policies known. Defaults to [`PolicyTable::builtin`].
    pub policies: PolicyTable,
    /// How far hosts are; what elements say of themselves counts where nothing is said here.
    pub distances: Distances,
    /// How policies are applied. Defaults to what RFC 5356 says, and nothing more.
    pub rules: Rules,
    /// Pools with rules of their own. Defaults to none.
    pub pool_rules: BTreeMap<PoolHandle, Rules>,
}

impl Default for HandlespaceConfig {
    fn default() -> Self {
        Self {
            max_pools: 1_000_000,
            max_elements: 4_000_000,
            max_elements_per_pool: 1_000_000,
            max_handle_len: PoolHandle::MAX_LEN,
            max_tombstones: 65_536,
            tombstone_life: Duration::from_millis(1_900),
            policies: PolicyTable::default(),
            distances: Distances::default(),
            rules: Rules::default(),
            pool_rules: BTreeMap::new(),
        }
    }
}

impl HandlespaceConfig {
    /// How the policy of a pool is applied.
    pub fn rules_of(&self, handle: &PoolHandle) -> &Rules {
        self.pool_rules.get(handle).unwrap_or(&self.rules)
    }
}

/// All pools of an operation scope, as one registrar knows them.
#[derive(Debug)]
pub struct Handlespace {
    config: HandlespaceConfig,
    pools: Pools,
    elements: Elements,
    leases: Leases,
    tombstones: Tombstones,
    sums: BTreeMap<ServerId, Sums>,
    dice: Dice,
    watched: Watched,
    crowds: Crowds,
    /// Scratch of [`Handlespace::resolve`].
    seats: Vec<Seat>,
}

impl Handlespace {
    /// An empty handlespace; `seed` keys its tables and feeds its random policies.
    pub fn new(config: HandlespaceConfig, seed: [u8; 32]) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            pools: Pools::new(dice.bits64()),
            elements: Elements::new(dice.bits64()),
            leases: Leases::default(),
            tombstones: Tombstones::new(
                config.max_tombstones,
                config.tombstone_life,
                dice.bits64(),
            ),
            sums: BTreeMap::new(),
            watched: Watched::default(),
            crowds: Crowds::default(),
            dice,
            seats: Vec::new(),
            config,
        }
    }

    /// Limits and policies.
    pub fn config(&self) -> &HandlespaceConfig {
        &self.config
    }

    /// Number of pools.
    pub fn pool_count(&self) -> usize {
        self.pools.len()
    }

    /// Number of elements in all pools.
    pub fn element_count(&self) -> usize {
        self.elements.len()
    }

    /// Number of elements whose home is `home`.
    pub fn owned_count(&self, home: ServerId) -> usize {
        self.sums.get(&home).map_or(0, |sums| sums.elements)
    }

    /// Every registrar that is home to an element, in order.
    pub fn homes(&self) -> impl Iterator<Item = ServerId> {
        self.sums.keys().copied()
    }

    /// A pool by its handle.
    pub fn pool(&self, handle: &[u8]) -> Option<&Pool> {
        self.pools.find(handle).map(|index| self.pools.get(index))
    }

    /// The pool of an element.
    pub fn pool_of(&self, slot: Slot) -> Option<&Pool> {
        Some(self.pools.get(self.elements.get(slot)?.pool))
    }

    /// An element by handle and identifier.
    pub fn element(&self, handle: &[u8], id: PeId) -> Option<&Element> {
        self.elements.get(self.slot(handle, id)?)
    }

    /// An element by its slot; `None` if nothing is there (any more).
    pub fn element_at(&self, slot: Slot) -> Option<&Element> {
        self.elements.get(slot)
    }

    /// The slot of an element, its short name here until it is removed.
    pub fn slot(&self, handle: &[u8], id: PeId) -> Option<Slot> {
        let pool = self.pools.find(handle)?;
        self.elements.find(pool, id)
    }

    /// Selects up to `items` elements of a pool by its policy into `out`, which is cleared first;
    /// `None` if there is no such pool (RFC 5352 §3.3).
    ///
    /// Whoever asks far more often than others do takes none of their turns: it is answered by an order of its own.
    ///
    /// The caller has expired what is due at `now` ([`Handlespace::expire`]); if it has not, what
    /// has expired is left out all the same. Suspect elements come last. Elements that must not be
    /// used (RFC 5356 §3.2: weight 0) do not come at all, so that the answer may be empty.
    pub fn resolve(
        &mut self,
        now: Instant,
        handle: &[u8],
        items: usize,
        asker: Asker,
        out: &mut Vec<Slot>,
    ) -> Option<&Pool> {
        out.clear();
        let index = self.pools.find(handle)?;
        let apart = self.takes_turn_apart(now, index, asker);
        self.seats.clear();
        let pool = self.pools.get_mut(index);
        pool.select(now, &mut self.dice, items, apart, &mut self.seats);
        out.extend(self.seats.iter().map(|&seat| pool.slot_at(seat)));
        if self.leases.next().is_some_and(|next| next <= now) {
            out.retain(|&slot| self.elements.get(slot).is_some_and(|e| e.lease > now));
        }
        Some(self.pools.get(index))
    }

    /// Ranks an element last in its pool, or no longer; it is returned all the same when there are
    /// not enough others. Does nothing if the slot is empty.
    pub fn set_suspect(&mut self, slot: Slot, suspect: bool) {
        let Some(element) = self.elements.get_mut(slot) else { return };
        if element.suspect() != suspect {
            element.set_suspect(suspect);
            let index = element.pool;
            let pool = self.pools.get_mut(index);
            let mut room = [0; 4];
            let words = self.config.distances.words(pool, element, &mut room);
            pool.set_suspect(&self.config, element.seat, words, suspect);
            self.note_change(index);
        }
    }

    /// Notes that a user cannot reach an element, for policies that look at that.
    pub fn note_failure(&mut self, now: Instant, slot: Slot) {
        if let Some(element) = self.elements.get(slot) {
            let (pool, seat, suspect) = (element.pool, element.seat, element.suspect());
            self.pools.get_mut(pool).fail(now, seat, suspect);
        }
    }

    /// Hash of the text by which an element wants to be ordered, if its policy is defined by another
    /// text here: it is kept and told to others, but not selected.
    pub fn other_text(&self, slot: Slot) -> Option<u32> {
        let element = self.elements.get(slot)?;
        let number = element.policy_number();
        if !number.is_private() {
            return None;
        }
        self.config.policies.by_number(number)?.other_text(element.words())
    }

    /// All pools in the order of their handles.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter_after(None).map(|index| self.pools.get(index))
    }

    /// The elements of a pool in the order of their identifiers.
    pub fn elements<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = (Slot, &'a Element)> {
        pool.slots_after(None).filter_map(|slot| Some((slot, self.elements.get(slot)?)))
    }

    /// All elements in the order of handle and identifier, those after `after` only, and those
    /// whose home is `home` only: one page of a handle table after the other (RFC 5353 §3.2.3).
    ///
    /// `after` need not be there any more.
    pub fn table<'a>(
        &'a self,
        after: Option<(&PoolHandle, PeId)>,
        home: Option<ServerId>,
    ) -> impl Iterator<Item = (&'a Pool, Slot, &'a Element)> {
        let begun = after.and_then(|(handle, id)| Some((self.pool(handle.as_bytes())?, id)));
        let rest = begun.map(|(pool, id)| (pool, pool.slots_after(Some(id))));
        let others = self.pools.iter_after(after.map(|(handle, _)| handle)).map(|index| {
            let pool = self.pools.get(index);
            (pool, pool.slots_after(None))
        });
        rest.into_iter()
            .chain(others)
            .flat_map(|(pool, slots)| slots.map(move |slot| (pool, slot)))
            .filter_map(|(pool, slot)| Some((pool, slot, self.elements.get(slot)?)))
            .filter(move |(_, _, element)| home.is_none_or(|home| element.home() == home))
    }

    /// The first element at or after a slot whose home is `home`, in the order of slots.
    ///
    /// For walks over a registrar's elements that take their time: begin with [`Slot::FIRST`] and
    /// go on with [`Slot::next`]. What is added meanwhile may be missed.
    pub fn next_owned(&self, home: ServerId, from: Slot) -> Option<Slot> {
        self.elements.next_from(from, |element| element.home() == home)
    }

    /// When [`Handlespace::expire`] may next have something to do.
    ///
    /// Never late, but early if the lease that was due has been renewed since.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.leases.next()
    }

    /// Removes an element whose lease has run out at `now`; call it until it returns `None`.
    pub fn expire(&mut self, now: Instant) -> Option<Change> {
        let slot = self.next_expired(now)?;
        self.remove_slot(now, slot, Tombstone::Left)
    }

    /// An element whose lease has run out at `now`: what [`Handlespace::expire`] removes next, unless
    /// it is granted a longer one.
    pub fn next_expired(&mut self, now: Instant) -> Option<Slot> {
        let elements = &self.elements;
        self.leases.due(now, |slot| elements.get(slot).map(|element| element.lease))
    }

    /// The sum that RFC 5353 §3.6.2 defines over the elements of a home.
    pub fn checksum(&self, home: ServerId) -> u16 {
        sums::fold(self.sums.get(&home).map_or(0, |sums| sums.words))
    }

    /// The same as rsplib computes it: its accumulator loses the carries beyond 32 bits.
    pub fn checksum_rsplib(&self, home: ServerId) -> u16 {
        sums::fold_rsplib(self.sums.get(&home).map_or(0, |sums| sums.words))
    }

    /// Sum modulo 2^64 of a fixed keyed hash over each element of a home: handle, identifier,
    /// stamp, transports and policy. Equal digests mean equal elements.
    pub fn digest(&self, home: ServerId) -> u64 {
        self.sums.get(&home).map_or(0, |sums| sums.digest)
    }
}

/// Whether a removed element is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tombstone {
    Left,
    None,
}
