//! The swarm: every seed draws a world of its own, breaks it, mends it, and looks what became of it.
//!
//! ```text
//!   seed ──> Plan ──> chaos: faults, safety ──> all whole ──> heal: liveness ──> quiet: who is where
//! ```
//!
//! A plan is plain data, so that what does not matter for a failure can be left out of it.

mod secured;

use crate::clock::Clock;
use crate::fault::{Fault, FaultKind};
use crate::net::{NodeId, Quality};
use crate::node::{Owner, Role, Setup};
use crate::oracle;
use crate::rng::Random;
use crate::session::{Client, Service};
use crate::stats::Stats;
use crate::trace::Line;
use crate::world::{PORT_SERVICE, Violation, World, address, locator_at};
use rserpool_proto::endpoint::pool_element::{Health, PoolElementConfig};
use rserpool_proto::endpoint::pool_user::PoolUserConfig;
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{Locator, TransportKind};
use rserpool_proto::policy::{PolicyParameter, PolicyTable};
use rserpool_proto::registrar::RegistrarConfig;
use rserpool_proto::session::SessionTimers;
use rserpool_proto::time::Duration;
use rserpool_proto::timers::{ElementTimers, Preset, RegistrarTimers, UserTimers};
use rserpool_proto::wire::transport::{SctpTransport, Transport, TransportUse};
use rserpool_proto::wire::{PORT_ASAP, PORT_ENRP};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed itself: what happens by chance follows it, too.
    pub seed: u64,
    /// The timers of everybody.
    pub preset: Preset,
    /// Links when nothing is wrong with them.
    pub base: Quality,
    /// Multicast messages of a thousand that do not reach one of those they are for.
    pub deaf: u64,
    /// Everybody there is, registrars first.
    nodes: Vec<Member>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// Who is left out.
    pub left_out: BTreeSet<NodeId>,
    /// How long things break, in microseconds.
    pub chaos: u64,
    /// How long they have to recover, in microseconds.
    pub heal: u64,
    /// Time at the end in which owners do nothing, in microseconds.
    quiet: u64,
    /// Time after all that in which registrars that know each other become equal.
    agree: u64,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    setup: Setup,
    transport: TransportKind,
    clock: Clock,
    owner: Owner,
    /// When it starts, in microseconds.
    starts: u64,
}

/// What became of a plan.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What must not be, if it was.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub stats: Stats,
    /// Fingerprint of all that happened: equal for equal runs.
    pub fingerprint: u64,
    /// Names of the nodes.
    pub names: Vec<String>,
    /// The last things that happened, if asked for.
    pub lines: Vec<Line>,
}

/// Least time at the end in which owners do nothing, in microseconds.
const QUIET: u64 = 5_000_000;
/// How often it is looked whether registrars are equal, in microseconds.
const LOOK: u64 = 20_000;

impl Plan {
    /// What a seed stands for: 1 to 7 registrars, 5 to 100 elements, 30 to 300 s of chaos with a
    /// fault every 10 s at least.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed, &[0]);
        let preset = *random.pick(&Preset::ALL).unwrap_or(&Preset::Default);
        let base = draw_base(&mut random);
        let chaos = random.spread(30, 300) * 1_000_000;
        let mut draft = Draft { preset, nodes: Vec::new(), mixed: random.below(3) };
        let registrars = random.between(1, 7) as usize;
        let elements = random.spread(5, 100) as usize;
        let users = random.spread(1, 10) as usize;
        let hostiles = if random.permille(300) { random.between(1, 2) as usize } else { 0 };
        let pools = draw_pools(&mut random);
        for number in 0..registrars {
            draft.registrar(&mut random, number);
        }
        let locators = |draft: &Draft, random: &mut Random| draft.locators(random, registrars);
        for number in 0..elements {
            let known = locators(&draft, &mut random);
            draft.element(&mut random, number, &pools, known);
        }
        draft.collide(&mut random, registrars..registrars + elements);
        for number in 0..users {
            let known = locators(&draft, &mut random);
            draft.user(&mut random, number, &pools, known);
        }
        for number in 0..hostiles {
            let known = locators(&draft, &mut random);
            draft.hostile(&mut random, number, &pools, known);
        }
        let peered = registrars > 1 && random.permille(850);
        if peered {
            draft.introduce(&mut random, registrars);
        }
        // A stream of its own: what it draws changes nothing else.
        let mut of_groups = Random::new(seed, &[4]);
        let announced = peered && of_groups.permille(250);
        let deaf = if announced { draft.announce(&mut of_groups) } else { 0 };
        draft.serve(&mut Random::new(seed, &[7]), &pools);
        let faults = draw_faults(&mut random, &draft.nodes, registrars, chaos);
        let (e, r) = (ElementTimers::preset(preset), RegistrarTimers::preset(preset));
        let (mut quiet, mut agree) = (QUIET, 0);
        let mut heal = oracle::b1(&e, &r, 1) + QUIET;
        if peered {
            quiet = quiet.max(oracle::b2(&r));
            agree = oracle::b2(&r);
            heal += oracle::b3(&r) + r.rehome_grace.as_micros() as u64;
        }
        if announced {
            heal += oracle::FOUND;
        }
        heal += quiet;
        let nodes = draft.nodes;
        let left_out = BTreeSet::new();
        Self { seed, preset, base, deaf, nodes, faults, left_out, chaos, heal, quiet, agree }
    }

    /// Who there is: number and role of all that are not left out.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, Role)> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(node, _)| !self.left_out.contains(node))
            .map(|(node, member)| (node, member.setup.role()))
    }

    /// Lets it happen; up to `lines` of the last things that happened are kept.
    pub fn run(&self, lines: usize) -> Outcome {
        let mut world = World::new(self.seed, self.base, lines);
        world.net.deaf = self.deaf;
        world.left_out.clone_from(&self.left_out);
        for member in &self.nodes {
            let Member { name, setup, transport, clock, owner, .. } = member.clone();
            world.add(name, setup, transport, clock, owner);
        }
        // A machine that panics is a violation like any other.
        let lived = catch_unwind(AssertUnwindSafe(|| self.live(&mut world)));
        let violation = lived.unwrap_or_else(|panic| Err(world.panicked(&*panic))).err();
        Outcome {
            violation,
            stats: world.stats.clone(),
            fingerprint: world.fingerprint(),
            names: world.names(),
            lines: world.take_lines(),
        }
    }

    fn live(&self, world: &mut World) -> Result<(), Violation> {
        let mut starts: Vec<_> =
            self.members().map(|(id, _)| (self.nodes[id].starts, id)).collect();
        starts.sort_unstable();
        for fault in &self.faults {
            world.add_fault(fault.clone());
        }
        for (at, id) in starts {
            world.run_until(at)?;
            world.start(id);
            world.oracle_disturbed();
        }
        world.run_until(self.chaos)?;
        world.heal();
        world.run_until(self.chaos + self.heal - self.quiet)?;
        world.quiet();
        let end = self.chaos + self.heal;
        world.run_until(end)?;
        // Renewals go on: there is always something on its way, but not at every moment.
        let mut at = end;
        while let Some(difference) = world.difference() {
            if at >= end + self.agree {
                let text = difference;
                return Err(Violation { invariant: "I3", at, node: None, text });
            }
            at += LOOK;
            world.run_until(at)?;
        }
        world.check_healed()
    }
}

struct Draft {
    preset: Preset,
    nodes: Vec<Member>,
    /// 0: all TCP, 1: all SCTP, 2: both.
    mixed: u64,
}

impl Draft {
    fn add(&mut self, random: &mut Random, name: String, setup: Setup, owner: Owner, starts: u64) {
        let transport = match (self.mixed, random.permille(500)) {
            (0, _) | (2, true) => TransportKind::Tcp,
            _ => TransportKind::Sctp,
        };
        let drift = random.between(0, 400) as i64 - 200;
        let clock = Clock::new(random.below(1 << 40), drift);
        self.nodes.push(Member { name, setup, transport, clock, owner, starts });
    }

    fn registrar(&mut self, random: &mut Random, number: usize) {
        let mut config = RegistrarConfig {
            timers: RegistrarTimers::preset(self.preset),
            ..RegistrarConfig::default()
        };
        if random.permille(500) {
            config.id = ServerId(random.between(1, u64::from(u32::MAX)) as u32);
        }
        config.enrp_port = PORT_ENRP;
        if random.permille(300) {
            config.limits.idle_timeout = Duration::from_secs(random.between(5, 60));
        }
        if random.permille(300) {
            config.limits.max_items = random.between(1, 20) as u32;
        }
        let starts = random.below(200_000);
        let owner = Owner::default();
        self.add(random, format!("r{}", number + 1), Setup::Registrar(config), owner, starts);
    }

    /// Registrars are told of each other: of every two at least one knows the other.
    fn introduce(&mut self, random: &mut Random, registrars: usize) {
        for a in 0..registrars {
            for b in 0..a {
                let both = random.permille(700);
                let order = if random.permille(500) { [(a, b), (b, a)] } else { [(b, a), (a, b)] };
                for (from, to) in order.into_iter().take(if both { 2 } else { 1 }) {
                    let at = locator_at(to, self.nodes[from].transport, PORT_ENRP);
                    if let Setup::Registrar(config) = &mut self.nodes[from].setup {
                        config.peers.push(at);
                    }
                }
            }
        }
    }

    /// Registrars say by multicast where they are, and some of all the others know it by that only;
    /// how many of a thousand messages do not reach one of them.
    fn announce(&mut self, random: &mut Random) -> u64 {
        let honest = self.nodes.iter().all(|node| node.setup.role() != Role::Hostile);
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let forgets = random.permille(400);
            match &mut node.setup {
                Setup::Registrar(config) => {
                    let at = |transport, port| transport_of(&locator_at(id, transport, port));
                    let both = [TransportKind::Sctp, TransportKind::Tcp];
                    config.enrp_announced = Some(vec![at(node.transport, PORT_ENRP)]);
                    config.announced = Some(both.map(|kind| at(kind, PORT_ASAP)).to_vec());
                    if forgets {
                        config.peers.clear();
                    }
                }
                Setup::Element(config) if honest && forgets => config.registrars.clear(),
                Setup::User(config) if honest && forgets => config.registrars.clear(),
                Setup::Hostile { poses_at, .. } => {
                    *poses_at = Some(locator_at(id, TransportKind::Tcp, PORT_ASAP));
                }
                Setup::Element(_) | Setup::User(_) => {}
            }
        }
        if random.permille(500) { random.between(1, 300) } else { 0 }
    }

    /// Elements serve sessions, over TCP or by pool over SCTP, and users have them.
    fn serve(&mut self, random: &mut Random, pools: &[(PoolHandle, PolicyParameter)]) {
        let timers = SessionTimers::preset(self.preset);
        // Who is hostile registers elements over TCP, and the first of a pool decides for all.
        let honest = self.nodes.iter().all(|node| node.setup.role() != Role::Hostile);
        let over_sctp: BTreeSet<_> = pools
            .iter()
            .map(|(handle, _)| handle)
            .filter(|_| random.permille(400) && honest)
            .collect();
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let timers = timers.clone();
            match &mut node.setup {
                Setup::Element(config) => {
                    config.tcp_control = true;
                    if over_sctp.contains(&config.handle) {
                        // RFC 5352 §3.1: an address that every association of its comes from.
                        config.user_transport = Transport::Sctp(SctpTransport {
                            port: PORT_SERVICE,
                            transport_use: TransportUse::DataPlusControl,
                            addresses: address(id, 0).into(),
                        });
                    }
                    node.owner.service = Some(Service { timers, by_chance: true });
                }
                Setup::User(_) => {
                    let pools = node.owner.pools.clone();
                    let pace = random.spread(100, 3_000) * 1_000;
                    node.owner.client = Some(Client { pools, timers, pace, last: None });
                }
                Setup::Registrar(_) | Setup::Hostile { .. } => {}
            }
        }
    }

    fn locators(&self, random: &mut Random, registrars: usize) -> Vec<Locator> {
        let all = random.permille(700);
        let must = random.below(registrars as u64) as usize;
        (0..registrars)
            .filter(|&node| all || node == must || random.permille(500))
            .map(|node| locator_at(node, TransportKind::Tcp, PORT_ASAP))
            .collect()
    }

    /// Registrars are reached by the transport that an endpoint uses.
    fn over(&self, known: Vec<Locator>, transport: TransportKind) -> Vec<Locator> {
        let node_of = |locator: &Locator| {
            (0..self.nodes.len()).find(|&node| address(node, 0) == locator.primary().ip())
        };
        let nodes: Vec<_> = known.iter().filter_map(node_of).collect();
        nodes.into_iter().map(|node| locator_at(node, transport, PORT_ASAP)).collect()
    }

    fn finish(&mut self, make: impl FnOnce(&Self, TransportKind) -> Setup) {
        let Some(last) = self.nodes.last() else { return };
        let setup = make(self, last.transport);
        if let Some(last) = self.nodes.last_mut() {
            last.setup = setup;
        }
    }

    fn element(
        &mut self,
        random: &mut Random,
        number: usize,
        pools: &[(PoolHandle, PolicyParameter)],
        known: Vec<Locator>,
    ) {
        let Some((handle, policy)) = random.pick(pools).cloned() else { return };
        let node = self.nodes.len();
        let user = SocketAddr::new(address(node, 0), 80);
        let mut config = PoolElementConfig::new(handle, Transport::Tcp(user), Vec::new());
        let weight_0 = random.permille(30);
        let words = policy.words().unwrap_or(&[]).iter();
        let words: Vec<u32> =
            words.map(|_| if weight_0 { 0 } else { random.between(1, 10) as u32 }).collect();
        config.policy = PolicyParameter::new(policy.number, &words);
        config.timers = ElementTimers::preset(self.preset);
        if random.permille(400) {
            config.id = Some(PeId(random.bits() as u32));
        }
        if random.permille(250) {
            config.health = Health::Reported { max_age: config.timers.keep_alive_interval };
        }
        let busy = random.permille(500);
        let pace = if busy { random.spread(200, 20_000) * 1_000 } else { 0 };
        let owner = Owner { member: true, healthy: true, reacts: true, pace, ..Owner::default() };
        let starts = random.below(2_000_000);
        let setup = Setup::Element(config.clone());
        self.add(random, format!("e{}", number + 1), setup, owner, starts);
        self.finish(|draft, transport| {
            config.registrars = draft.over(known, transport);
            Setup::Element(config)
        });
    }

    /// Now and then two elements have the same identifier by mistake.
    fn collide(&mut self, random: &mut Random, elements: std::ops::Range<usize>) {
        if !random.permille(150) || elements.len() < 2 {
            return;
        }
        let (a, b) = (elements.start, elements.start + 1);
        let Setup::Element(first) = &self.nodes[a].setup else { return };
        let (id, handle) = (first.id.unwrap_or(PeId(1)), first.handle.clone());
        let policy = first.policy.clone();
        for node in [a, b] {
            if let Setup::Element(config) = &mut self.nodes[node].setup {
                config.id = Some(id);
                config.handle = handle.clone();
                config.policy = policy.clone();
            }
            self.nodes[node].owner.contender = true;
        }
    }

    fn user(
        &mut self,
        random: &mut Random,
        number: usize,
        pools: &[(PoolHandle, PolicyParameter)],
        known: Vec<Locator>,
    ) {
        let mut config = PoolUserConfig::new(Vec::new());
        config.timers = UserTimers::preset(self.preset);
        config.items = *random.pick(&[None, Some(1), Some(3), Some(u32::MAX)]).unwrap_or(&None);
        if random.permille(300) {
            config.keep_stale = Some(Duration::from_secs(random.between(1, 60)));
        }
        let owner = Owner {
            pace: random.spread(20, 5_000) * 1_000,
            pools: pools.iter().map(|(handle, _)| handle.clone()).collect(),
            // Every other one, without a draw: a seed stands for the same world as before.
            watches: pools.iter().step_by(2).take(number % 2 * 2).map(|(h, _)| h.clone()).collect(),
            reacts: true,
            ..Owner::default()
        };
        let starts = random.below(2_000_000);
        let setup = Setup::User(config.clone());
        self.add(random, format!("u{}", number + 1), setup, owner, starts);
        self.finish(|draft, transport| {
            config.registrars = draft.over(known, transport);
            Setup::User(config)
        });
    }

    fn hostile(
        &mut self,
        random: &mut Random,
        number: usize,
        pools: &[(PoolHandle, PolicyParameter)],
        known: Vec<Locator>,
    ) {
        let owner = Owner {
            pace: random.spread(20, 2_000) * 1_000,
            pools: pools.iter().map(|(handle, _)| handle.clone()).collect(),
            ..Owner::default()
        };
        let starts = random.below(5_000_000);
        let poses_at = None;
        let setup = Setup::Hostile { registrars: Vec::new(), poses_at, insider: None };
        self.add(random, format!("h{}", number + 1), setup, owner, starts);
        self.finish(|draft, transport| {
            let registrars = draft.over(known, transport);
            Setup::Hostile { registrars, poses_at: None, insider: None }
        });
    }
}

/// Where a registrar is, as it announces it.
fn transport_of(at: &Locator) -> Transport {
    match at.transport {
        TransportKind::Tcp => Transport::Tcp(at.primary()),
        TransportKind::Sctp | TransportKind::Auto => Transport::Sctp(SctpTransport {
            port: at.port,
            transport_use: TransportUse::DataOnly,
            addresses: at.addresses.clone(),
        }),
    }
}

fn draw_base(random: &mut Random) -> Quality {
    let latency = random.spread(50, 5_000);
    Quality {
        latency,
        jitter: random.below(latency),
        loss: if random.permille(300) { random.between(1, 20) } else { 0 },
        duplicates: if random.permille(300) { random.between(1, 20) } else { 0 },
        rate: 0,
    }
}

fn draw_pools(random: &mut Random) -> Vec<(PoolHandle, PolicyParameter)> {
    let table = PolicyTable::builtin();
    // Those of the RFC: what a seed draws does not change with every policy that is added.
    let kinds: Vec<_> = table.iter().filter(|kind| !kind.number.is_private()).collect();
    (0..random.between(1, 5))
        .filter_map(|number| {
            let handle = PoolHandle::new(format!("pool-{}", number + 1)).ok()?;
            let kind = random.pick(&kinds)?;
            let words: Vec<u32> = kind.words.iter().map(|word| word.default).collect();
            Some((handle, PolicyParameter::new(kind.number, &words)))
        })
        .collect()
}

/// Faults of a mix that is drawn, too: some kinds often, others not at all.
fn draw_faults(random: &mut Random, nodes: &[Member], registrars: usize, chaos: u64) -> Vec<Fault> {
    let weights: Vec<u64> =
        (0..KINDS).map(|_| if random.permille(400) { 0 } else { random.between(1, 10) }).collect();
    let total: u64 = weights.iter().sum();
    let every = random.spread(1_000_000, 10_000_000);
    let mut faults = Vec::new();
    let mut at = 0;
    loop {
        at += random.between(every / 2, every);
        if at >= chaos {
            return faults;
        }
        let mut drawn = random.below(total.max(1));
        let kind = weights.iter().position(|&weight| {
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        });
        let kind = draw_fault(random, kind.unwrap_or(0), nodes, registrars);
        let lasts = random.spread(10_000, 20_000_000);
        faults.push(Fault { at, lasts: lasts.min(chaos - at), kind });
    }
}

/// Number of kinds that [`draw_fault`] knows.
const KINDS: usize = 10;

fn draw_fault(random: &mut Random, kind: usize, nodes: &[Member], registrars: usize) -> FaultKind {
    let anyone = |random: &mut Random| {
        // Registrars are few, and matter.
        if random.permille(500) {
            random.below(registrars as u64) as usize
        } else {
            random.below(nodes.len() as u64) as usize
        }
    };
    let node = anyone(random);
    let registrar = random.below(registrars as u64) as usize;
    let some = |random: &mut Random| -> Vec<NodeId> {
        let share = random.between(50, 1_000);
        (0..nodes.len()).filter(|_| random.permille(share)).collect()
    };
    match kind {
        0 => FaultKind::Crash { node, same_id: random.permille(500) },
        1 => FaultKind::PowerCut { node },
        2 => FaultKind::Suspend { node },
        3 => FaultKind::Slow { node, each: random.spread(100, 200_000) },
        4 => FaultKind::ClockJump { node },
        5 => FaultKind::WallClock {
            node,
            by: random.spread(1, 100_000_000_000) as i64
                * if random.permille(500) { 1 } else { -1 },
        },
        6 => {
            let (from, to) = if random.permille(500) {
                let to = some(random);
                (vec![registrar], to)
            } else {
                let side: BTreeSet<_> = some(random).into_iter().collect();
                let other = (0..nodes.len()).filter(|node| !side.contains(node)).collect();
                (side.into_iter().collect(), other)
            };
            let (both, one_path) = (random.permille(600), random.permille(200));
            FaultKind::Cut { from, to, both, one_path }
        }
        7 => {
            let latency = random.spread(100, 300_000);
            let quality = Quality {
                latency,
                jitter: random.below(latency),
                loss: random.below(200),
                duplicates: random.below(100),
                rate: if random.permille(300) { random.spread(2_000, 1_000_000) } else { 0 },
            };
            let (from, to) = (vec![registrar], some(random));
            FaultKind::Worse { from, to, quality }
        }
        8 => FaultKind::Drain { node: registrar },
        _ => {
            // Registrars lose each other, and nobody else notices.
            let (from, to) = (0..registrars).partition(|_| random.permille(500));
            FaultKind::Cut { from, to, both: random.permille(700), one_path: false }
        }
    }
}
