//! The workload of `cargo xtask bench handlespace`: every policy, in pools of several shapes.
//!
//! Prints JSON: operations a second, the best of some rounds, and bytes per element by an allocator
//! that counts. What an operation includes is what a registrar does for one message: register and
//! re-register look the pool up by its handle, replace the transports, step the checksums and the
//! stamp and set the lease anew; resolve reads of each selected element what an answer holds.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it reads the clock")]

use cap::Cap;
use rserpool_proto::handlespace::{Asker, Handlespace, HandlespaceConfig, Slot};
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::policy::{
    Create, Key, Measures, PolicyKind, PolicyNumber, PolicyParameter, PolicyTable, Rules, Word,
};
use rserpool_proto::time::Instant;
use rserpool_proto::timers::Preset;
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::transport::{SctpTransport, Transport, TransportUse};
use std::alloc::System;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Pools, and elements in each.
const SHAPES: [(usize, usize); 5] =
    [(1, 1_000), (1, 10_000), (1, 100_000), (1_000, 100), (100_000, 1)];

const OPERATIONS: [&str; 7] = [
    "register",
    "reregister_new",
    "reregister_same",
    "resolve_1",
    "resolve_3",
    "resolve_10",
    "remove",
];

const SEED: [u8; 32] = [7; 32];
const START: Instant = Instant::from_micros(1);
const LEASE: Option<Duration> = Some(Duration::from_secs(30));

fn main() {
    let mut only = None;
    let mut quick = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--policy" => only = arguments.next(),
            _ => panic!("only --quick and --policy NAME are known, not {argument}"),
        }
    }
    let (rounds, shapes) = if quick { (2, &SHAPES[..2]) } else { (10, &SHAPES[..]) };

    // First, while nothing else has been in memory.
    let million = if quick || only.is_some() { None } else { million() };
    let before = calibrate();
    let mut rows = Vec::new();
    let builtin = PolicyTable::builtin();
    let guarded = [
        PolicyKind { name: "least-used guarded", ..*by_name(&builtin, "least-used") },
        PolicyKind {
            name: "least-used-degradation guarded",
            ..*by_name(&builtin, "least-used-degradation")
        },
    ];
    for kind in builtin.iter().chain(&guarded).chain([&BY_KEY]) {
        if only.as_ref().is_some_and(|name| name != kind.name) {
            continue;
        }
        for &(pools, elements) in shapes {
            rows.push(row(kind, pools, elements, rounds));
        }
    }
    let after = calibrate();
    let (btree, shuffle) = (before.0.max(after.0), before.1.max(after.1));
    println!("{{\"calibration\":{{\"btree\":{btree:.0},\"shuffle\":{shuffle:.0}}},");
    if let Some(rss) = million {
        println!("\"million_rss\":{rss},");
    }
    println!("\"rows\":[\n{}\n]}}", rows.join(",\n"));
}

/// Load, and a part of it for each selection, as a key from outside.
const BY_KEY: PolicyKind = PolicyKind {
    number: PolicyNumber(0x8000_0001),
    name: "by-key",
    summary: "a key",
    words: &[Word { name: "load", default: 0, help: "" }],
    create: Create::ByKey(&Load),
    text: None,
    pick: |_, candidates, _| candidates.enumerate().find(|(_, one)| one.usable).map(|(at, _)| at),
};

#[derive(Debug)]
struct Load;

impl Key for Load {
    fn key(&self, measures: &Measures<'_>) -> f64 {
        let load = measures.words.first().copied().unwrap_or(0);
        f64::from(load) + f64::from(measures.selections) * 1e6
    }
}

fn by_name<'a>(table: &'a PolicyTable, name: &str) -> &'a PolicyKind {
    table.by_name(name).expect("it is built in")
}

/// What the handlespace of a row is told.
fn config(kind: &PolicyKind) -> HandlespaceConfig {
    let guard = if kind.name.ends_with(" guarded") { Preset::Default } else { Preset::Rfc };
    let policies = PolicyTable::builtin().with(BY_KEY).expect("its name and number are free");
    HandlespaceConfig { policies, rules: Rules::preset(guard), ..HandlespaceConfig::default() }
}

/// Measures one policy in one shape; one line of JSON.
fn row(kind: &PolicyKind, pools: usize, elements: usize, rounds: usize) -> String {
    let mut workload = Workload::new(kind, pools, elements);
    let mut best = [0.0_f64; OPERATIONS.len()];
    // Small shapes are over in no time: as many rounds as one large one takes.
    let rounds = rounds * (10_000 / (pools * elements)).max(1);
    for _ in 0..rounds {
        for (best, rate) in best.iter_mut().zip(workload.round()) {
            *best = best.max(rate);
        }
    }
    let bytes = workload.bytes();
    let mut rates = String::new();
    for (name, rate) in OPERATIONS.iter().zip(best) {
        let comma = if rates.is_empty() { "" } else { "," };
        write!(rates, "{comma}\"{name}\":{rate:.0}").expect("strings take everything");
    }
    format!(
        "{{\"policy\":\"{}\",\"pools\":{pools},\"elements\":{elements},\
         \"bytes_per_element\":{bytes},\"rates\":{{{rates}}}}}",
        kind.name
    )
}

/// Everything that is made before a clock runs.
struct Workload<'a> {
    kind: &'a PolicyKind,
    handles: Vec<PoolHandle>,
    /// Pool and identifier of each element, in random order.
    elements: Vec<(usize, PeId)>,
    random: Random,
}

impl<'a> Workload<'a> {
    fn new(kind: &'a PolicyKind, pools: usize, elements: usize) -> Self {
        let handles = (0..pools)
            .map(|pool| PoolHandle::new(format!("pool-{pool:06}")).expect("1 to 255 bytes"));
        let mut workload =
            Self { kind, handles: handles.collect(), elements: Vec::new(), random: Random(1) };
        for pool in 0..pools {
            for number in 0..elements {
                // Distinct within the pool, and in no order.
                let id = (number as u32).wrapping_mul(0x9e37_79b1) ^ pool as u32;
                workload.elements.push((pool, PeId(id)));
            }
        }
        workload.random.shuffle(&mut workload.elements);
        workload
    }

    /// What the elements say when they register, in an order of its own.
    fn registrations(&mut self) -> Vec<(usize, PoolElement)> {
        self.random.shuffle(&mut self.elements);
        let elements = self.elements.clone();
        elements.into_iter().map(|(pool, id)| (pool, self.registration(id))).collect()
    }

    fn registration(&mut self, id: PeId) -> PoolElement {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (id.0 & 0x00ff_ffff)));
        let words: Vec<u32> =
            self.kind.words.iter().map(|word| self.random.word(word.name)).collect();
        PoolElement {
            id,
            home: ServerId(1),
            life: 30,
            user_transport: Transport::Tcp(SocketAddr::new(address, 80)),
            policy: PolicyParameter::new(self.kind.number, &words),
            asap_transport: Some(SctpTransport {
                port: 3863,
                transport_use: TransportUse::DataOnly,
                addresses: address.into(),
            }),
            extensions: ElementExtensions::default(),
        }
    }

    /// One round through all operations: how many a second of each.
    fn round(&mut self) -> [f64; OPERATIONS.len()] {
        let count = self.elements.len();
        let mut clock = START;
        let (first, new) = (self.registrations(), self.registrations());
        let same = new.clone();
        let resolutions: Vec<usize> =
            (0..count.max(10_000)).map(|_| self.random.below(self.handles.len())).collect();

        let mut space = Handlespace::new(config(self.kind), SEED);
        let register = self.register(&mut space, &mut clock, first);
        let reregister_new = self.register(&mut space, &mut clock, new);
        let reregister_same = self.register(&mut space, &mut clock, same);
        let resolve_1 = self.resolve(&mut space, clock, &resolutions, 1);
        let resolve_3 = self.resolve(&mut space, clock, &resolutions, 3);
        let resolve_10 = self.resolve(&mut space, clock, &resolutions, 10);
        let remove = rate(count, || {
            for (pool, id) in &self.elements {
                black_box(space.remove(clock, self.handles[*pool].as_bytes(), *id));
            }
        });
        assert_eq!(space.element_count(), 0);
        [register, reregister_new, reregister_same, resolve_1, resolve_3, resolve_10, remove]
    }

    /// Bytes per element of a full handlespace, each element made just before it registers.
    fn bytes(&mut self) -> usize {
        let elements = self.elements.clone();
        let before = ALLOCATOR.allocated();
        let mut space = Handlespace::new(config(self.kind), SEED);
        for &(pool, id) in &elements {
            let element = self.registration(id);
            let registered = space.register(START, &self.handles[pool], element, LEASE);
            registered.expect("room for all");
        }
        ALLOCATOR.allocated().saturating_sub(before) / elements.len()
    }

    fn register(
        &self,
        space: &mut Handlespace,
        clock: &mut Instant,
        elements: Vec<(usize, PoolElement)>,
    ) -> f64 {
        rate(elements.len(), || {
            for (pool, element) in elements {
                *clock = *clock + Duration::from_micros(1);
                let change = space.register(*clock, &self.handles[pool], element, LEASE);
                black_box(change.expect("room for all"));
            }
        })
    }

    fn resolve(&self, space: &mut Handlespace, now: Instant, pools: &[usize], items: usize) -> f64 {
        let mut out: Vec<Slot> = Vec::new();
        rate(pools.len(), || {
            for &pool in pools {
                let handle = self.handles[pool].as_bytes();
                assert!(space.resolve(now, handle, items, Asker::UNCOUNTED, &mut out).is_some());
                for &slot in &out {
                    black_box(space.element_at(slot).map(|element| element.id()));
                }
            }
        })
    }
}

/// Memory of this process, in bytes, with a million elements in 10 000 pools; `None` where the system
/// does not say.
fn million() -> Option<u64> {
    let kind = *PolicyTable::builtin().by_name("least-used")?;
    let mut workload = Workload::new(&kind, 10_000, 0);
    let mut space = Handlespace::new(HandlespaceConfig::default(), SEED);
    for number in 0..100 {
        for pool in 0..workload.handles.len() {
            let element = workload.registration(PeId(number));
            let registered = space.register(START, &workload.handles[pool], element, LEASE);
            registered.expect("room for all");
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    black_box(space);
    Some(kilobytes * 1024)
}

/// Operations a second.
fn rate(count: usize, work: impl FnOnce()) -> f64 {
    let started = std::time::Instant::now();
    work();
    count as f64 / started.elapsed().as_secs_f64()
}

/// The two loops that the reference's figures were taken beside: best of 10.
fn calibrate() -> (f64, f64) {
    const ENTRIES: usize = 10_000;
    const TURNS: usize = 1_000_000;
    let mut random = Random(2);
    let mut keys: Vec<u64> = (0..ENTRIES).map(|_| random.next()).collect();
    let mut map: BTreeMap<u64, u64> = keys.iter().map(|&key| (key, key)).collect();
    let mut btree = 0.0_f64;
    let mut shuffle = 0.0_f64;
    for _ in 0..10 {
        btree = btree.max(rate(TURNS, || {
            for _ in 0..TURNS {
                let place = random.below(ENTRIES);
                let key = random.next();
                map.remove(&std::mem::replace(&mut keys[place], key));
                map.insert(key, key);
            }
        }));
        shuffle = shuffle.max(rate(100 * ENTRIES, || {
            for _ in 0..100 {
                random.shuffle(&mut keys);
            }
            black_box(&keys);
        }));
    }
    black_box(map);
    (btree, shuffle)
}

/// SplitMix64: enough for a workload, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A value for a word of a policy, by its name.
    fn word(&mut self, name: &str) -> u32 {
        let bits = (self.next() >> 32) as u32;
        match name {
            "weight" => 1 + bits % 100,
            // A step of load that some hundred answers may take.
            "degradation" => bits >> 10,
            _ => bits,
        }
    }
}
