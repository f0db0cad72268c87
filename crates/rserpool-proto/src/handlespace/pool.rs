//! Pools: a handle, a policy, seats.

use super::shape::{Kind, Shape, Shapes};
use super::sums::{handle_key, handle_words};
use super::turns::Crowd;
use super::{HandlespaceConfig, Slot};
use crate::grow::push;
use crate::id::{PeId, PoolHandle};
use crate::planted::planted;
use crate::policy::{Dice, Policy, PolicyKind, PolicyNumber, PolicyParameter, Seat};
use crate::time::Instant;
use crate::wire::transport::{Transport, TransportUse};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::mem;
use core::ops::Bound;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

/// Servers that offer the same service under one handle.
///
/// Its policy, transport type and transport use are those of the first element (RFC 5352 §3.1
/// rule 1), or those of most if other registrars know others; it ends with its last one.
#[derive(Debug)]
pub struct Pool {
    handle: PoolHandle,
    /// Sum of the handle's 16-bit words.
    pub(super) words: u32,
    /// What its handle adds to digests.
    pub(super) key: u64,
    pub(super) shape: Shape,
    pub(super) shapes: Shapes,
    /// How many words its policy has, if it is known.
    policy_words: Option<usize>,
    /// Which of them is the distance.
    pub(super) distance_word: Option<u8>,
    /// Whether its policy wants to know the time.
    timed: bool,
    /// Whether its changes are noted.
    pub(super) watched: bool,
    /// Orders all elements but the suspect ones.
    pub(super) policy: Box<dyn Policy>,
    /// Orders the suspect ones, while there are any.
    suspects: Option<Box<Suspects>>,
    /// Who asks for it, once somebody has.
    pub(super) crowd: Option<Box<Crowd>>,
    ids: BTreeMap<PeId, Slot>,
    /// By seat; of a free seat the one freed before it.
    slots: Vec<u32>,
    free_seat: u32,
}

#[derive(Debug)]
struct Suspects {
    policy: Box<dyn Policy>,
    len: usize,
}

/// Short name of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolIndex(pub(super) u32);

const NONE: u32 = u32::MAX;

impl Pool {
    /// Its name.
    pub fn handle(&self) -> &PoolHandle {
        &self.handle
    }

    /// Number of its elements, at least one.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Never: a pool ends with its last element.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Number of its suspect elements.
    pub fn suspects(&self) -> usize {
        self.suspects.as_ref().map_or(0, |suspects| suspects.len)
    }

    /// Its policy.
    pub fn policy_number(&self) -> PolicyNumber {
        self.shape.policy
    }

    /// What its transports carry.
    pub fn transport_use(&self) -> TransportUse {
        self.shape.transport_use
    }

    /// Whether a transport is of the pool's type.
    pub(super) fn has_type_of(&self, transport: &Transport) -> bool {
        self.shape.transport == Kind::of(transport)
    }

    /// Whether a parameter of the pool's policy has the words that the policy calls for; `None` if
    /// the policy is not known.
    pub(super) fn takes_words(&self, parameter: &PolicyParameter) -> Option<bool> {
        let words = parameter.words().map(<[u32]>::len);
        self.policy_words.map(|expected| words == Some(expected))
    }

    pub(super) fn new(handle: PoolHandle, shape: Shape, config: &HandlespaceConfig) -> Self {
        let kind = config.policies.by_number(shape.policy);
        let policy = order(&handle, shape, config);
        Self {
            words: handle_words(&handle),
            key: handle_key(&handle),
            handle,
            shape,
            shapes: None,
            policy_words: kind.map(|kind| kind.words.len()),
            distance_word: kind.and_then(PolicyKind::distance_word),
            timed: policy.is_timed(),
            watched: false,
            policy,
            suspects: None,
            crowd: None,
            ids: BTreeMap::new(),
            slots: Vec::new(),
            free_seat: NONE,
        }
    }

    /// An order by its policy that holds nobody yet.
    pub(super) fn new_order(&self, config: &HandlespaceConfig) -> Box<dyn Policy> {
        order(&self.handle, self.shape, config)
    }

    pub(super) fn slot_at(&self, seat: Seat) -> Slot {
        Slot(self.slots[seat.index()])
    }

    /// Slots in the order of identifiers, those after `after` only.
    pub(super) fn slots_after(&self, after: Option<PeId>) -> impl Iterator<Item = Slot> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ids.range((begin, Bound::Unbounded)).map(|(_, slot)| *slot)
    }

    /// The element with the lowest identifier.
    pub(super) fn first(&self) -> Option<Slot> {
        self.ids.first_key_value().map(|(_, slot)| *slot)
    }

    /// Gives an element a seat and a place in the policy's order.
    pub(super) fn insert(&mut self, now: Instant, id: PeId, slot: Slot, words: &[u32]) -> Seat {
        self.set_now(now);
        let seat = if self.free_seat == NONE {
            push(&mut self.slots, slot.0);
            Seat((self.slots.len() - 1) as u32)
        } else {
            let seat = Seat(self.free_seat);
            self.free_seat = mem::replace(&mut self.slots[seat.index()], slot.0);
            seat
        };
        self.ids.insert(id, slot);
        self.in_each_order(|policy| policy.insert(seat, words));
        seat
    }

    pub(super) fn update(&mut self, now: Instant, seat: Seat, words: &[u32], suspect: bool) {
        self.set_now(now);
        match &mut self.suspects {
            Some(suspects) if suspect => suspects.policy.update(seat, words),
            _ => self.in_each_order(|policy| policy.update(seat, words)),
        }
    }

    pub(super) fn remove(&mut self, id: PeId, seat: Seat, suspect: bool) {
        match &mut self.suspects {
            Some(suspects) if suspect => {
                suspects.policy.remove(seat);
                self.one_suspect_less();
            }
            _ => self.in_each_order(|policy| policy.remove(seat)),
        }
        self.ids.remove(&id);
        self.slots[seat.index()] = mem::replace(&mut self.free_seat, seat.0);
    }

    /// A user cannot reach an element.
    pub(super) fn fail(&mut self, now: Instant, seat: Seat, suspect: bool) {
        self.set_now(now);
        match &mut self.suspects {
            Some(suspects) if suspect => suspects.policy.fail(seat),
            _ => self.in_each_order(|policy| policy.fail(seat)),
        }
    }

    #[inline]
    fn set_now(&mut self, now: Instant) {
        if self.timed {
            self.in_each_order(|policy| policy.set_now(now));
            if let Some(suspects) = &mut self.suspects {
                suspects.policy.set_now(now);
            }
        }
    }

    pub(super) fn set_suspect(
        &mut self,
        config: &HandlespaceConfig,
        seat: Seat,
        words: &[u32],
        suspect: bool,
    ) {
        if suspect {
            self.in_each_order(|policy| policy.remove(seat));
            let kind = config.policies.answering(self.shape.policy);
            let rules = config.rules_of(&self.handle);
            let suspects = self
                .suspects
                .get_or_insert_with(|| Box::new(Suspects { policy: rules.plain(kind), len: 0 }));
            suspects.policy.insert(seat, words);
            suspects.len += 1;
        } else if let Some(suspects) = &mut self.suspects {
            suspects.policy.remove(seat);
            self.in_each_order(|policy| policy.insert(seat, words));
            self.one_suspect_less();
        }
    }

    /// Takes another shape, whose policy orders nobody yet: see [`Pool::seat`].
    pub(super) fn reshape(&mut self, shape: Shape, config: &HandlespaceConfig) {
        self.shape = shape;
        let kind = config.policies.by_number(shape.policy);
        self.policy_words = kind.map(|kind| kind.words.len());
        self.distance_word = kind.and_then(PolicyKind::distance_word);
        self.policy = self.new_order(config);
        self.timed = self.policy.is_timed();
        self.crowd = None;
        if let Some(suspects) = &mut self.suspects {
            let kind = config.policies.answering(shape.policy);
            suspects.policy = config.rules_of(&self.handle).plain(kind);
        }
    }

    /// Gives an element that has a seat a place in the order of a new policy.
    pub(super) fn seat(&mut self, seat: Seat, words: &[u32], suspect: bool) {
        match &mut self.suspects {
            Some(suspects) if suspect => suspects.policy.insert(seat, words),
            _ => self.policy.insert(seat, words),
        }
    }

    fn one_suspect_less(&mut self) {
        if let Some(suspects) = &mut self.suspects {
            suspects.len -= 1;
            if suspects.len == 0 {
                self.suspects = None;
            }
        }
    }

    pub(super) fn select(
        &mut self,
        now: Instant,
        dice: &mut Dice,
        items: usize,
        apart: bool,
        out: &mut Vec<Seat>,
    ) {
        self.set_now(now);
        let order = match &mut self.crowd {
            Some(crowd) if apart => crowd.apart.as_mut().unwrap_or(&mut self.policy),
            _ => &mut self.policy,
        };
        order.select(dice, items, out);
        if planted!("suspects-first")
            && let Some(suspects) = &mut self.suspects
        {
            out.clear();
            suspects.policy.select(dice, items, out);
            let missing = items.saturating_sub(out.len());
            return order.select(dice, missing, out);
        }
        if let Some(suspects) = &mut self.suspects {
            let missing = items.saturating_sub(out.len());
            suspects.policy.select(dice, missing, out);
        }
    }

    pub(super) fn check(&self) {
        self.policy.check();
        if let Some(apart) = self.crowd.as_ref().and_then(|crowd| crowd.apart.as_ref()) {
            apart.check();
        }
        if let Some(suspects) = &self.suspects {
            suspects.policy.check();
        }
    }
}

/// An order by the policy of a pool of such a shape.
fn order(handle: &PoolHandle, shape: Shape, config: &HandlespaceConfig) -> Box<dyn Policy> {
    config.rules_of(handle).apply(config.policies.answering(shape.policy))
}

/// Data only, unless it is SCTP and says otherwise (RFC 5354 §3.3-§3.7).
pub(super) fn use_of(transport: &Transport) -> TransportUse {
    match transport {
        Transport::Sctp(transport) => transport.transport_use,
        _ => TransportUse::DataOnly,
    }
}

/// All pools by index, by handle, and in the order of handles.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<Option<Pool>>,
    free: Vec<PoolIndex>,
    index: HashTable<PoolIndex>,
    order: BTreeMap<PoolHandle, PoolIndex>,
    shared_seed: SharedSeed,
    seed: u64,
}

impl Pools {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            pools: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            order: BTreeMap::new(),
            shared_seed: SharedSeed::from_u64(seed),
            seed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn get(&self, index: PoolIndex) -> &Pool {
        self.pools[index.0 as usize].as_ref().expect("indexes are forgotten with their pools")
    }

    pub(super) fn get_mut(&mut self, index: PoolIndex) -> &mut Pool {
        self.pools[index.0 as usize].as_mut().expect("indexes are forgotten with their pools")
    }

    /// What is at a place that may have been left.
    pub(super) fn get_if_any(&mut self, index: PoolIndex) -> Option<&mut Pool> {
        self.pools.get_mut(index.0 as usize)?.as_mut()
    }

    pub(super) fn find(&self, handle: &[u8]) -> Option<PoolIndex> {
        let hash = hash_of(self.seed, &self.shared_seed, handle);
        self.index.find(hash, |index| self.get(*index).handle.as_bytes() == handle).copied()
    }

    /// Keeps a pool of which there is no other with the same handle.
    pub(super) fn insert(&mut self, pool: Pool) -> PoolIndex {
        let hash = hash_of(self.seed, &self.shared_seed, pool.handle.as_bytes());
        let index = self.free.pop().unwrap_or(PoolIndex(self.pools.len() as u32));
        self.order.insert(pool.handle.clone(), index);
        match self.pools.get_mut(index.0 as usize) {
            Some(place) => *place = Some(pool),
            None => self.pools.push(Some(pool)),
        }
        let Self { pools, shared_seed, seed, .. } = self;
        self.index.insert_unique(hash, index, |index| {
            let pool = pools[index.0 as usize].as_ref();
            pool.map_or(0, |pool| hash_of(*seed, shared_seed, pool.handle.as_bytes()))
        });
        index
    }

    pub(super) fn remove(&mut self, index: PoolIndex) {
        let Some(pool) = self.pools[index.0 as usize].take() else { return };
        let hash = hash_of(self.seed, &self.shared_seed, pool.handle.as_bytes());
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == index) {
            entry.remove();
        }
        self.order.remove(&pool.handle);
        self.free.push(index);
    }

    /// A number for a name that nobody outside can choose.
    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        hash_of(self.seed, &self.shared_seed, name)
    }

    /// Pools in the order of handles, those after `after` only.
    pub(super) fn iter_after(&self, after: Option<&PoolHandle>) -> impl Iterator<Item = PoolIndex> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range::<PoolHandle, _>((begin, Bound::Unbounded)).map(|(_, index)| *index)
    }
}

fn hash_of(seed: u64, shared_seed: &SharedSeed, handle: &[u8]) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, shared_seed);
    hasher.write(handle);
    hasher.finish()
}
