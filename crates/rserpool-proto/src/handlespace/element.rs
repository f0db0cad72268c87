//! Elements and where they are kept.

use super::pool::PoolIndex;
use crate::id::{PeId, ServerId};
use crate::policy::{PolicyNumber, PolicyParameter, Seat};
use crate::time::Instant;
use crate::wire::capability::{Owner, Stamp};
use crate::wire::policy::PolicyData;
use crate::wire::pool_element::{ElementExtensions, PoolElement, PoolElementRef};
use crate::wire::transport::{SctpTransport, Transport};
use crate::wire::unknown::UnknownParameter;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::mem;
use core::net::SocketAddr;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

/// Short name of an element in its handlespace while it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// Where walks over slots begin.
    pub const FIRST: Self = Self(0);

    /// The slot behind this one, whether anything is there or not.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A registered element.
#[derive(Debug)]
pub struct Element {
    pub(super) digest: u64,
    /// When it expires; [`Instant::FAR_FUTURE`] for never.
    pub(super) lease: Instant,
    stamp_seq: u64,
    stamp_moves: u32,
    id: PeId,
    home: ServerId,
    life: i32,
    pub(super) pool: PoolIndex,
    pub(super) seat: Seat,
    number: PolicyNumber,
    flags: u8,
    policy: PolicyData,
    user_transport: Transport,
    asap_transport: Option<SctpTransport>,
    rare: Option<Box<Rare>>,
}

/// What most elements do not have.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Rare {
    owner: Option<Owner>,
    asap_over_tcp: Option<SocketAddr>,
    unknown: Box<[UnknownParameter]>,
}

const STAMPED: u8 = 1;
const TCP_CONTROL: u8 = 2;
/// AsapOverTcp names the first address and the port of the ASAP transport, as it does for every
/// element that registered over TCP.
const OVER_TCP_AS_ASAP: u8 = 4;
const SUSPECT: u8 = 8;
const MARKED: u8 = 16;

impl Element {
    /// Its identifier within the pool.
    pub fn id(&self) -> PeId {
        self.id
    }

    /// Its home registrar.
    pub fn home(&self) -> ServerId {
        self.home
    }

    /// Registration life as it came on the wire.
    pub fn life(&self) -> i32 {
        self.life
    }

    /// When it expires; `None` for never.
    pub fn lease(&self) -> Option<Instant> {
        (self.lease != Instant::FAR_FUTURE).then_some(self.lease)
    }

    /// Where users reach it.
    pub fn user_transport(&self) -> &Transport {
        &self.user_transport
    }

    /// Where registrars reach it.
    pub fn asap_transport(&self) -> Option<&SctpTransport> {
        self.asap_transport.as_ref()
    }

    /// Where its ASAP connection comes from, if that is TCP.
    pub fn asap_over_tcp(&self) -> Option<SocketAddr> {
        if self.flag(OVER_TCP_AS_ASAP) {
            return self.asap_transport.as_ref().and_then(first_address);
        }
        self.rare.as_ref()?.asap_over_tcp
    }

    /// Number of its policy, which is that of its pool unless another registrar says otherwise.
    pub fn policy_number(&self) -> PolicyNumber {
        self.number
    }

    /// Its policy's words; none if they are not words.
    pub fn words(&self) -> &[u32] {
        match &self.policy {
            PolicyData::Words { len, words } => words.get(..usize::from(*len)).unwrap_or(&[]),
            PolicyData::Bytes(_) => &[],
        }
    }

    /// Its policy's data.
    pub fn policy_data(&self) -> &PolicyData {
        &self.policy
    }

    /// Its policy as it travels.
    pub fn policy(&self) -> PolicyParameter {
        PolicyParameter { number: self.number, data: self.policy.clone() }
    }

    /// Its stamp; `None` if neither it nor its home gives any.
    pub fn stamp(&self) -> Option<Stamp> {
        let stamp = Stamp { seq: self.stamp_seq, moves: self.stamp_moves };
        self.flag(STAMPED).then_some(stamp)
    }

    /// Who registered it, in a secured scope.
    pub fn owner(&self) -> Option<Owner> {
        self.rare.as_ref()?.owner
    }

    /// Whether it takes the control channel over TCP.
    pub fn tcp_control(&self) -> bool {
        self.flag(TCP_CONTROL)
    }

    /// Parameters of it that are not known here.
    pub fn unknown(&self) -> &[UnknownParameter] {
        self.rare.as_ref().map_or(&[], |rare| &rare.unknown)
    }

    /// Whether it is ranked last ([`Handlespace::set_suspect`](super::Handlespace::set_suspect)).
    pub fn suspect(&self) -> bool {
        self.flag(SUSPECT)
    }

    /// Whether an audit has marked it and nothing has been heard of it since (RFC 5353 §3.6.3).
    pub fn marked(&self) -> bool {
        self.flag(MARKED)
    }

    /// The element as it travels, in parts, to be written without being copied.
    pub fn parts(&self) -> PoolElementRef<'_> {
        PoolElementRef {
            id: self.id,
            home: self.home,
            life: self.life,
            user_transport: &self.user_transport,
            policy_number: self.number,
            policy_data: &self.policy,
            asap_transport: self.asap_transport.as_ref(),
            stamp: self.stamp(),
            asap_over_tcp: self.asap_over_tcp(),
            owner: self.owner(),
            tcp_control: self.tcp_control(),
            unknown: self.unknown(),
        }
    }

    /// The element as it travels.
    pub fn to_wire(&self) -> PoolElement {
        self.parts().to_element()
    }

    /// An element from its wire form, not seated anywhere yet.
    pub(super) fn new(pool: PoolIndex, wire: PoolElement, lease: Instant) -> Self {
        let mut element = Self {
            digest: 0,
            lease,
            stamp_seq: 0,
            stamp_moves: 0,
            id: wire.id,
            home: wire.home,
            life: wire.life,
            pool,
            seat: Seat(0),
            number: wire.policy.number,
            flags: 0,
            policy: wire.policy.data,
            user_transport: wire.user_transport,
            asap_transport: wire.asap_transport,
            rare: None,
        };
        element.set_extensions(wire.extensions);
        element
    }

    /// Takes over everything that a newer wire form says; returns whether users see a difference.
    #[inline]
    pub(super) fn replace(&mut self, wire: PoolElement, lease: Instant) -> bool {
        let visible = self.policy != wire.policy.data
            || self.user_transport != wire.user_transport
            || self.number != wire.policy.number
            || self.tcp_control() != wire.extensions.tcp_control;
        self.home = wire.home;
        self.life = wire.life;
        self.lease = lease;
        self.number = wire.policy.number;
        self.policy = wire.policy.data;
        self.user_transport = wire.user_transport;
        self.asap_transport = wire.asap_transport;
        self.flags &= SUSPECT;
        self.set_extensions(wire.extensions);
        visible
    }

    fn set_extensions(&mut self, extensions: ElementExtensions) {
        let ElementExtensions { stamp, asap_over_tcp, owner, tcp_control, unknown } = extensions;
        self.set_stamp(stamp);
        self.set_flag(TCP_CONTROL, tcp_control);
        let as_asap = asap_over_tcp.is_some()
            && asap_over_tcp == self.asap_transport.as_ref().and_then(first_address);
        self.set_flag(OVER_TCP_AS_ASAP, as_asap);
        let asap_over_tcp = asap_over_tcp.filter(|_| !as_asap);
        let rare = Rare { owner, asap_over_tcp, unknown };
        self.rare = (rare != Rare::default()).then(|| Box::new(rare));
    }

    pub(super) fn set_home(&mut self, home: ServerId) {
        self.home = home;
    }

    pub(super) fn set_stamp(&mut self, stamp: Option<Stamp>) {
        let Stamp { seq, moves } = stamp.unwrap_or_default();
        self.stamp_seq = seq;
        self.stamp_moves = moves;
        self.set_flag(STAMPED, stamp.is_some());
    }

    pub(super) fn set_suspect(&mut self, suspect: bool) {
        self.set_flag(SUSPECT, suspect);
    }

    pub(super) fn set_marked(&mut self, marked: bool) {
        self.set_flag(MARKED, marked);
    }

    fn flag(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set_flag(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }
}

fn first_address(transport: &SctpTransport) -> Option<SocketAddr> {
    let address = transport.addresses.as_slice().first()?;
    Some(SocketAddr::new(*address, transport.port))
}

/// All elements by slot, and by pool and identifier.
///
/// Kept in chunks, so that growing copies nothing and leaves no slack.
#[derive(Debug)]
pub(super) struct Elements {
    chunks: Vec<Vec<Place>>,
    /// The slot vacated last.
    vacant: u32,
    len: usize,
    index: HashTable<u32>,
    shared_seed: SharedSeed,
    seed: u64,
}

#[derive(Debug)]
enum Place {
    /// Nobody; the slot vacated before this one follows.
    Vacant(u32),
    Taken(Element),
}

const CHUNK: usize = 256;
const NO_SLOT: u32 = u32::MAX;

impl Elements {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            vacant: NO_SLOT,
            len: 0,
            index: HashTable::new(),
            shared_seed: SharedSeed::from_u64(seed),
            seed,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Element> {
        element_in(&self.chunks, slot.0)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Element> {
        match self.place_mut(slot.0)? {
            Place::Taken(element) => Some(element),
            Place::Vacant(_) => None,
        }
    }

    pub(super) fn find(&self, pool: PoolIndex, id: PeId) -> Option<Slot> {
        let found = self.index.find(self.hash(pool, id), |&slot| {
            element_in(&self.chunks, slot).is_some_and(|e| e.id == id && e.pool == pool)
        });
        found.map(|&slot| Slot(slot))
    }

    /// Keeps an element of which there is no other with the same pool and identifier.
    pub(super) fn insert(&mut self, element: Element) -> Slot {
        let hash = self.hash(element.pool, element.id);
        let slot = if self.vacant == NO_SLOT {
            self.append(element)
        } else {
            let slot = self.vacant;
            if let Some(place) = self.place_mut(slot)
                && let Place::Vacant(next) = mem::replace(place, Place::Taken(element))
            {
                self.vacant = next;
            }
            slot
        };
        let Self { chunks, index, shared_seed, seed, .. } = self;
        index.insert_unique(hash, slot, |&slot| {
            element_in(chunks, slot).map_or(0, |e| hash_of(*seed, shared_seed, e.pool, e.id))
        });
        self.len += 1;
        Slot(slot)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Element> {
        let vacant = self.vacant;
        let place = self.place_mut(slot.0)?;
        let Place::Taken(_) = place else { return None };
        let Place::Taken(element) = mem::replace(place, Place::Vacant(vacant)) else { return None };
        self.vacant = slot.0;
        self.len -= 1;
        let hash = self.hash(element.pool, element.id);
        if let Ok(entry) = self.index.find_entry(hash, |&found| found == slot.0) {
            entry.remove();
        }
        Some(element)
    }

    /// The first slot at or after `from` whose element is one of the wanted.
    pub(super) fn next_from(&self, from: Slot, wanted: impl Fn(&Element) -> bool) -> Option<Slot> {
        let end =
            self.chunks.len().saturating_sub(1) * CHUNK + self.chunks.last().map_or(0, Vec::len);
        let end = u32::try_from(end).unwrap_or(NO_SLOT);
        (from.0..end).map(Slot).find(|&slot| self.get(slot).is_some_and(&wanted))
    }

    fn append(&mut self, element: Element) -> u32 {
        let full = self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK);
        if full {
            // The first chunk grows as it needs to: most handlespaces are small.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let chunk = self.chunks.len() - 1;
        let places = &mut self.chunks[chunk];
        places.push(Place::Taken(element));
        (chunk * CHUNK + places.len() - 1) as u32
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Place> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    fn hash(&self, pool: PoolIndex, id: PeId) -> u64 {
        hash_of(self.seed, &self.shared_seed, pool, id)
    }
}

fn element_in(chunks: &[Vec<Place>], slot: u32) -> Option<&Element> {
    match chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)? {
        Place::Taken(element) => Some(element),
        Place::Vacant(_) => None,
    }
}

fn hash_of(seed: u64, shared_seed: &SharedSeed, pool: PoolIndex, id: PeId) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, shared_seed);
    hasher.write_u64(u64::from(pool.0) << 32 | u64::from(id.0));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn elements_are_told_apart_by_pool_and_identifier() {
        let shared_seed = SharedSeed::from_u64(1);
        let names = (0..100).flat_map(|pool| (0..100).map(move |id| (PoolIndex(pool), PeId(id))));
        let hashes: BTreeSet<_> =
            names.map(|(pool, id)| hash_of(1, &shared_seed, pool, id)).collect();
        assert_eq!(hashes.len(), 10_000);
    }
}
