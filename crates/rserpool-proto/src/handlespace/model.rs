//! The handlespace against a plain map with the same rules written down once more.

use super::shape::Shape;
use super::*;
use crate::policy::{PolicyNumber, PolicyParameter};
use crate::wire::capability::Stamp;
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use core::net::{IpAddr, SocketAddr};
use proptest::prelude::*;

type Key = (PoolHandle, PeId);

#[derive(Clone, Debug)]
struct Entry {
    wire: PoolElement,
    until: Instant,
    suspect: bool,
    marked: bool,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<Key, Entry>,
    pools: BTreeMap<PoolHandle, Shape>,
    graves: Vec<(Instant, Key, Stamp)>,
}

const MAX_POOLS: usize = 3;
const MAX_ELEMENTS: usize = 12;
const MAX_PER_POOL: usize = 6;
const MAX_TOMBSTONES: usize = 5;
const TOMBSTONE_LIFE: Duration = Duration::from_micros(50);

impl Model {
    fn buried(&self, now: Instant, key: &Key) -> Option<Stamp> {
        let grave = self.graves.iter().rfind(|(_, other, _)| other == key)?;
        (grave.0 > now).then_some(grave.2)
    }

    fn bury(&mut self, now: Instant, key: &Key, stamp: Stamp) {
        self.graves.retain(|(until, ..)| *until > now);
        if self.graves.len() == MAX_TOMBSTONES {
            self.graves.remove(0);
        }
        let stamp = self.buried(now, key).map_or(stamp, |known| known.max(stamp));
        self.graves.push((now + TOMBSTONE_LIFE, key.clone(), stamp));
    }

    fn room(&self, handle: &PoolHandle) -> bool {
        let members = self.entries.keys().filter(|(other, _)| other == handle).count();
        self.entries.len() < MAX_ELEMENTS
            && members < MAX_PER_POOL
            && (members > 0 || self.pools.len() < MAX_POOLS)
    }

    fn put(&mut self, key: &Key, wire: PoolElement, until: Instant) {
        let suspect = self.entries.get(key).is_some_and(|entry| entry.suspect);
        self.entries.insert(key.clone(), Entry { wire, until, suspect, marked: false });
        self.settle(&key.0);
    }

    /// The pool is what most are, and the lowest of those that are as many.
    fn settle(&mut self, handle: &PoolHandle) {
        let members = self.entries.iter().filter(|((other, _), _)| other == handle);
        let mut shapes: Vec<_> = members.map(|(_, e)| Shape::of_wire(&e.wire)).collect();
        shapes.sort_unstable();
        let count = |shape: &Shape| shapes.iter().filter(|other| *other == shape).count();
        let most = shapes.iter().map(count).max();
        match shapes.iter().find(|shape| Some(count(shape)) == most) {
            Some(shape) => drop(self.pools.insert(handle.clone(), *shape)),
            None => drop(self.pools.remove(handle)),
        }
    }

    fn remove(&mut self, key: &Key) {
        self.entries.remove(key);
        self.settle(&key.0);
    }

    fn register(&mut self, now: Instant, key: &Key, mut wire: PoolElement, until: Instant) -> bool {
        if let Some(shape) = self.pools.get(&key.0) {
            let consistent = *shape == Shape::of_wire(&wire);
            if !consistent {
                return false;
            }
        }
        let known = self.entries.get(key).map(|entry| entry.wire.extensions.stamp);
        if known.is_none() && !self.room(&key.0) {
            return false;
        }
        let (known, buried) = (known.flatten(), self.buried(now, key));
        match &mut wire.extensions.stamp {
            Some(stamp) => {
                if known.is_some_and(|known| *stamp < known)
                    || buried.is_some_and(|buried| *stamp <= buried)
                {
                    return false;
                }
                let before = self.entries.get(key).map(|entry| &entry.wire);
                if known == Some(*stamp)
                    && before.is_some_and(|before| {
                        (&before.policy, &before.user_transport, &before.asap_transport)
                            != (&wire.policy, &wire.user_transport, &wire.asap_transport)
                    })
                {
                    stamp.seq += 1;
                }
            }
            stamp @ None => {
                let seq = known.max(buried).map_or(1, |highest| highest.seq + 1);
                *stamp = Some(Stamp { seq, moves: 0 });
            }
        }
        self.put(key, wire, until);
        true
    }

    fn apply_add(
        &mut self,
        now: Instant,
        from: ServerId,
        key: &Key,
        wire: PoolElement,
        until: Instant,
    ) -> &'static str {
        let new = wire.extensions.stamp;
        let Some(entry) = self.entries.get_mut(key) else {
            let buried = self.buried(now, key);
            if new.is_some() && buried.is_some() && new <= buried {
                return "late";
            }
            if !self.room(&key.0) {
                return "full";
            }
            self.put(key, wire, until);
            return "applied";
        };
        let home = entry.wire.home;
        let verdict = match (new, entry.wire.extensions.stamp) {
            (Some(new), Some(old)) => match (new, wire.home).cmp(&(old, home)) {
                core::cmp::Ordering::Less => "late",
                core::cmp::Ordering::Equal => "known",
                core::cmp::Ordering::Greater => "applied",
            },
            (None, Some(_)) if home != wire.home && from != wire.home => "late",
            _ => "applied",
        };
        if verdict == "known" {
            entry.until = until;
            entry.marked = false;
        } else if verdict == "applied" {
            self.put(key, wire, until);
        }
        verdict
    }

    fn apply_delete(
        &mut self,
        now: Instant,
        from: ServerId,
        key: &Key,
        stamp: Option<Stamp>,
    ) -> bool {
        let Some(entry) = self.entries.get(key) else {
            if let Some(stamp) = stamp {
                self.bury(now, key, stamp);
            }
            return false;
        };
        let known = entry.wire.extensions.stamp;
        let applies = match stamp {
            Some(ended) => known.is_none_or(|known| (known, entry.wire.home) <= (ended, from)),
            None => entry.wire.home == from,
        };
        if applies {
            if let Some(stamp) = stamp.or(known) {
                self.bury(now, key, stamp);
            }
            self.remove(key);
        }
        applies
    }

    /// Slots differ between the two, so that the order of expiry is not compared but its moment.
    fn expired(&self, now: Instant) -> usize {
        self.entries.values().filter(|entry| entry.until <= now).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(u8, u32, Say),
    Remove(u8, u32),
    Deregister(u8, u32, Stamp),
    Add(u32, u8, u32, Say),
    Delete(u32, u8, u32, Option<Stamp>),
    Home(u8, u32, u32, bool),
    Suspect(u8, u32, bool),
    Audit(u32),
    Resolve(u8, usize),
    Wait(u64),
}

/// What a message says of an element.
#[derive(Clone, Debug)]
struct Say {
    home: u32,
    word: u32,
    stamp: Option<Stamp>,
    life: u64,
    policy: usize,
    transport: u8,
}

const POLICIES: [u32; 4] = [4, 0x4000_0001, 1, 0xb000_9001];

fn wire(id: u32, say: &Say) -> PoolElement {
    let address = SocketAddr::new(IpAddr::from([10, 0, 0, id as u8]), 80);
    let sctp =
        |transport_use| SctpTransport { port: 9, transport_use, addresses: address.ip().into() };
    let number = PolicyNumber(POLICIES[say.policy]);
    let words = [say.word];
    PoolElement {
        id: PeId(id),
        home: ServerId(say.home),
        life: say.life as i32,
        user_transport: match say.transport {
            0 => Transport::Udp(address),
            1 => Transport::Sctp(sctp(TransportUse::DataOnly)),
            2 => Transport::Sctp(sctp(TransportUse::DataPlusControl)),
            _ => Transport::Tcp(address),
        },
        policy: PolicyParameter::new(number, if number.0 == 1 { &[] } else { &words }),
        asap_transport: Some(sctp(TransportUse::DataOnly)),
        extensions: ElementExtensions { stamp: say.stamp, ..ElementExtensions::default() },
    }
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (0u64..6, 0u32..2).prop_map(|(seq, moves)| Stamp { seq, moves })
}

fn say() -> impl Strategy<Value = Say> {
    let stamp = proptest::option::of(stamp());
    // Mostly one policy and transport, so that pools get large.
    let (policy, transport) =
        (prop_oneof![8 => Just(0usize), 1 => 0usize..4], prop_oneof![8 => Just(3u8), 1 => 0u8..4]);
    let fields =
        (1u32..4, 0u32..3, stamp, prop_oneof![3 => 1u64..60, 1 => Just(0)], policy, transport);
    fields.prop_map(|(home, word, stamp, life, policy, transport)| Say {
        home,
        word,
        stamp,
        life,
        policy,
        transport,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (pool, id, server) = (0u8..5, 0u32..7, 1u32..4);
    prop_oneof![
        8 => (pool.clone(), id.clone(), say()).prop_map(|(p, i, say)| Step::Register(p, i, say)),
        2 => (pool.clone(), id.clone()).prop_map(|(p, i)| Step::Remove(p, i)),
        2 => (pool.clone(), id.clone(), stamp()).prop_map(|(p, i, s)| Step::Deregister(p, i, s)),
        6 => (server.clone(), pool.clone(), id.clone(), say())
            .prop_map(|(from, p, i, say)| Step::Add(from, p, i, say)),
        3 => (server.clone(), pool.clone(), id.clone(), proptest::option::of(stamp()))
            .prop_map(|(from, p, i, s)| Step::Delete(from, p, i, s)),
        2 => (pool.clone(), id.clone(), server.clone(), any::<bool>())
            .prop_map(|(p, i, home, moves)| Step::Home(p, i, home, moves)),
        2 => (pool.clone(), id.clone(), any::<bool>()).prop_map(|(p, i, on)| Step::Suspect(p, i, on)),
        1 => server.prop_map(Step::Audit),
        5 => (pool, 0usize..9).prop_map(|(p, n)| Step::Resolve(p, n)),
        3 => (0u64..25).prop_map(Step::Wait),
    ]
}

fn key(pool: u8, id: u32) -> Key {
    (PoolHandle::new([b'a' + pool]).unwrap(), PeId(id))
}

fn selectable(shape: &Shape, entry: &Entry) -> bool {
    shape.policy != PolicyNumber(4) || entry.wire.policy.words().unwrap().first() != Some(&0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_handlespace_is_a_map_with_rules(steps in proptest::collection::vec(step(), 0..300)) {
        let config = HandlespaceConfig {
            max_pools: MAX_POOLS,
            max_elements: MAX_ELEMENTS,
            max_elements_per_pool: MAX_PER_POOL,
            max_tombstones: MAX_TOMBSTONES,
            tombstone_life: TOMBSTONE_LIFE,
            ..HandlespaceConfig::default()
        };
        let mut space = Handlespace::new(config, [5; 32]);
        let mut model = Model::default();
        let mut now = Instant::from_micros(1);
        let mut out = Vec::new();
        for step in steps {
            let lease = |say: &Say| (say.life > 0).then(|| Duration::from_micros(say.life));
            let until = |say: &Say| lease(say).map_or(Instant::FAR_FUTURE, |life| now + life);
            match &step {
                Step::Register(pool, id, say) => {
                    let key = key(*pool, *id);
                    let was = model.entries.get(&key).map(|entry| entry.wire.home);
                    let accepted = model.register(now, &key, wire(*id, say), until(say));
                    let change = space.register(now, &key.0, wire(*id, say), lease(say));
                    prop_assert_eq!(change.is_ok(), accepted, "{:?}: {:?}", step, change);
                    if let Ok(change) = change {
                        prop_assert_eq!(change.previous_home, was);
                    }
                }
                Step::Remove(pool, id) => {
                    let key = key(*pool, *id);
                    let known = model.entries.get(&key).map(|entry| entry.wire.extensions.stamp);
                    if let Some(Some(stamp)) = known {
                        model.bury(now, &key, stamp);
                    }
                    model.remove(&key);
                    let change = space.remove(now, key.0.as_bytes(), key.1);
                    prop_assert_eq!(change.is_some(), known.is_some());
                }
                Step::Deregister(pool, id, stamp) => {
                    let key = key(*pool, *id);
                    let known = model.entries.get(&key).map(|entry| entry.wire.extensions.stamp);
                    let applies = known.is_some_and(|known| known <= Some(*stamp));
                    if applies {
                        model.bury(now, &key, *stamp);
                        model.remove(&key);
                    }
                    let change = space.deregister(now, key.0.as_bytes(), key.1, Some(*stamp));
                    prop_assert_eq!(change.is_some(), applies);
                }
                Step::Add(from, pool, id, say) => {
                    let key = key(*pool, *id);
                    let from = ServerId(*from);
                    let verdict = model.apply_add(now, from, &key, wire(*id, say), until(say));
                    let update = space.apply_add(now, from, &key.0, wire(*id, say), lease(say));
                    let got = match update {
                        Ok(Update::Applied(_)) => "applied",
                        Ok(Update::Known(_)) => "known",
                        Ok(Update::Late) => "late",
                        Err(_) => "full",
                    };
                    prop_assert_eq!(got, verdict, "{:?}", step);
                }
                Step::Delete(from, pool, id, stamp) => {
                    let key = key(*pool, *id);
                    let applies = model.apply_delete(now, ServerId(*from), &key, *stamp);
                    let from = ServerId(*from);
                    let ended = stamp.map(|stamp| (stamp, from));
                    let change = space.apply_delete(now, from, &key.0, key.1, ended);
                    prop_assert_eq!(change.is_some(), applies, "{:?}", step);
                }
                Step::Home(pool, id, home, moves) => {
                    let (key, home) = (key(*pool, *id), ServerId(*home));
                    if let Some(slot) = space.slot(key.0.as_bytes(), key.1) {
                        let change =
                            if *moves { space.set_home(slot, home) } else { space.relabel(slot, home) };
                        let entry = model.entries.get_mut(&key).unwrap();
                        prop_assert_eq!(change.is_some(), entry.wire.home != home);
                        if change.is_some() {
                            entry.wire.home = home;
                            entry.marked = false;
                            if let (Some(stamp), true) = (&mut entry.wire.extensions.stamp, moves) {
                                stamp.moves += 1;
                            }
                        }
                    }
                }
                Step::Suspect(pool, id, on) => {
                    let key = key(*pool, *id);
                    if let Some(slot) = space.slot(key.0.as_bytes(), key.1) {
                        space.set_suspect(slot, *on);
                        model.entries.get_mut(&key).unwrap().suspect = *on;
                    }
                }
                Step::Audit(home) => {
                    let home = ServerId(*home);
                    let mut from = Slot::FIRST;
                    while let Some(slot) = space.next_marked(home, from) {
                        let change = space.forget(now, slot).unwrap();
                        let key = (change.handle, change.id);
                        let entry = &model.entries[&key];
                        prop_assert!(entry.marked && entry.wire.home == home);
                        model.remove(&key);
                        from = slot.next();
                    }
                    let mut owned = model.entries.values_mut().filter(|e| e.wire.home == home);
                    prop_assert!(!owned.any(|entry| entry.marked));
                    space.mark(home);
                    let owned = model.entries.values_mut().filter(|e| e.wire.home == home);
                    owned.for_each(|entry| entry.marked = true);
                }
                Step::Resolve(pool, items) => {
                    let handle = key(*pool, 0).0;
                    let (handle_bytes, nobody) = (handle.as_bytes(), Asker::UNCOUNTED);
                    let found = space.resolve(now, handle_bytes, *items, nobody, &mut out).is_some();
                    prop_assert_eq!(found, model.pools.contains_key(&handle));
                    if let Some(shape) = model.pools.get(&handle) {
                        let answer: Vec<&Entry> = out
                            .iter()
                            .map(|&slot| {
                                let id = space.element_at(slot).unwrap().id();
                                &model.entries[&(handle.clone(), id)]
                            })
                            .collect();
                        let members = model.entries.iter().filter(|(key, _)| key.0 == handle);
                        let may: Vec<_> =
                            members.map(|(_, e)| e).filter(|e| selectable(shape, e)).collect();
                        prop_assert_eq!(answer.len(), may.len().min(*items));
                        prop_assert!(answer.iter().all(|entry| selectable(shape, entry)));
                        prop_assert!(answer.is_sorted_by_key(|entry| entry.suspect));
                        let healthy = may.iter().filter(|entry| !entry.suspect).count();
                        let first = answer.iter().filter(|entry| !entry.suspect).count();
                        prop_assert_eq!(first, healthy.min(*items));
                    }
                }
                Step::Wait(micros) => now = now + Duration::from_micros(*micros),
            }
            let mut due = model.expired(now);
            prop_assert!(due == 0 || space.next_expiry().is_some_and(|next| next <= now));
            while let Some(change) = space.expire(now) {
                let key = (change.handle, change.id);
                prop_assert!(model.entries[&key].until <= now);
                if let Some(stamp) = model.entries[&key].wire.extensions.stamp {
                    model.bury(now, &key, stamp);
                }
                model.remove(&key);
                due -= 1;
            }
            prop_assert_eq!(due, 0);
            prop_assert_eq!(space.pool_count(), model.pools.len());
            prop_assert_eq!(space.element_count(), model.entries.len());
            space.check();
        }
        let got: Vec<_> = space
            .table(None, None)
            .map(|(pool, _, e)| ((pool.handle().clone(), e.id()), e.to_wire(), e.suspect()))
            .collect();
        let want: Vec<_> = model
            .entries
            .iter()
            .map(|(key, entry)| (key.clone(), entry.wire.clone(), entry.suspect))
            .collect();
        prop_assert_eq!(got, want);
    }
}
