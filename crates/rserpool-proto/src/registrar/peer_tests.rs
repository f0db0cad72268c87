//! Several registrars as equals, one sentence per test.

use super::{Event, Registrar, RegistrarConfig};
use crate::handlespace::Handlespace;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::wire::asap;
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::enrp::{self, Body};
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::Transport;
use crate::wire::{PPID_ASAP, PPID_ENRP};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

const LATENCY: Duration = Duration::from_millis(1);

/// Registrars 1, 2, ... on a network that delivers in order after a millisecond.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) registrars: BTreeMap<u32, Registrar>,
    pub(super) events: Vec<(u32, Event)>,
    /// The other end of an end of an association.
    pub(super) ends: BTreeMap<End, End>,
    pub(super) assocs: u64,
    pub(super) flying: BTreeMap<(Instant, u64), (u32, Flying)>,
    pub(super) sequence: u64,
    pub(super) elements: Vec<TestElement>,
    /// Pairs of hosts that do not hear each other; what they say arrives when they do.
    pub(super) cut: Vec<(u32, u32)>,
    pub(super) held: Vec<(u32, u32, Flying)>,
    /// Messages of this kind are lost.
    pub(super) lose: fn(&Body) -> bool,
}

pub(super) type End = (u32, AssociationId);

/// Hosts from here on are elements.
pub(super) const ELEMENTS: u32 = 1000;

#[derive(Clone, Debug)]
pub(super) enum Flying {
    Message { assoc: AssociationId, ppid: u32, bytes: Vec<u8> },
    Closed { assoc: AssociationId, reason: CloseReason },
    Connected(Input<'static>),
    Datagram(Vec<u8>),
}

pub(super) struct TestElement {
    pub(super) host: u32,
    pub(super) id: u32,
    pub(super) seq: u64,
    pub(super) assoc: Option<AssociationId>,
    pub(super) alive: bool,
    pub(super) policy: u32,
}

impl World {
    pub(super) fn new(registrars: u32) -> Self {
        let mut world = Self {
            now: Instant::from_micros(5_000_000),
            registrars: BTreeMap::new(),
            events: Vec::new(),
            ends: BTreeMap::new(),
            assocs: 0,
            flying: BTreeMap::new(),
            sequence: 0,
            elements: Vec::new(),
            cut: Vec::new(),
            held: Vec::new(),
            lose: |_| false,
        };
        for id in 1..=registrars {
            let peers: Vec<_> = (1..=registrars).filter(|peer| *peer != id).collect();
            world.start(id, &peers);
        }
        world.pass(Duration::from_secs(2));
        world
    }

    pub(super) fn start(&mut self, id: u32, peers: &[u32]) {
        self.start_with(id, peers, |_| {});
    }

    /// Starts a registrar that knows of no other and tells where it is by multicast.
    pub(super) fn start_announced(&mut self, id: u32) {
        self.start_with(id, &[], |config| {
            config.enrp_announced = Some(Vec::from([Transport::Tcp(locator(id).primary())]));
        });
    }

    pub(super) fn start_with(
        &mut self,
        id: u32,
        peers: &[u32],
        change: impl FnOnce(&mut RegistrarConfig),
    ) {
        let mut config = RegistrarConfig {
            id: ServerId(id),
            peers: peers.iter().map(|peer| locator(*peer)).collect(),
            enrp_port: port(id),
            ..RegistrarConfig::default()
        };
        change(&mut config);
        let registrar = Registrar::new(config, [u8::try_from(id).unwrap(); 32], self.now);
        self.registrars.insert(id, registrar);
        self.drain(id);
    }

    pub(super) fn send(&mut self, from: u32, to: u32, what: Flying) {
        if self.cut.contains(&(from.min(to), from.max(to))) {
            self.held.push((from, to, what));
            return;
        }
        self.sequence += 1;
        self.flying.insert((self.now + LATENCY, self.sequence), (to, what));
    }

    pub(super) fn drain(&mut self, host: u32) {
        loop {
            let Some(registrar) = self.registrars.get_mut(&host) else {
                return;
            };
            let Some(output) = registrar.poll_output() else {
                return;
            };
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    let is_lost = ppid == PPID_ENRP
                        && (self.lose)(&enrp::Message::decode(&bytes).unwrap().message.body);
                    if let Some(&(to, assoc)) = self.ends.get(&(host, assoc))
                        && !is_lost
                    {
                        self.send(host, to, Flying::Message { assoc, ppid, bytes });
                    }
                }
                Output::Connect { attempt, channel, to } => {
                    let server = u32::from(to.port) - 9000;
                    let is_cut = self.cut.contains(&(host.min(server), host.max(server)));
                    if is_cut || !self.registrars.contains_key(&server) {
                        let (reason, after) = match is_cut {
                            true => (CloseReason::TimedOut, millis(1000)),
                            false => (CloseReason::Refused, LATENCY),
                        };
                        let failed = Flying::Connected(Input::ConnectFailed { attempt, reason });
                        self.sequence += 1;
                        self.flying.insert((self.now + after, self.sequence), (host, failed));
                        continue;
                    }
                    self.connect(host, server, channel, Some(attempt));
                }
                Output::Disconnect { assoc } => {
                    // What was said before arrives before the end.
                    if let Some((to, assoc)) = self.ends.remove(&(host, assoc)) {
                        let reason = CloseReason::Finished;
                        self.send(host, to, Flying::Closed { assoc, reason });
                    }
                }
                Output::Event(event) => self.events.push((host, event)),
                Output::Multicast { bytes, .. } => {
                    for to in self.registrars.keys().copied().collect::<Vec<_>>() {
                        self.send(host, to, Flying::Datagram(bytes.clone()));
                    }
                }
                Output::Abandon { .. } => {}
            }
        }
    }

    pub(super) fn connect(
        &mut self,
        from: u32,
        to: u32,
        channel: Channel,
        attempt: Option<crate::machine::AttemptId>,
    ) -> AssociationId {
        let (ours, theirs) = (AssociationId(self.assocs + 1), AssociationId(self.assocs + 2));
        self.assocs += 2;
        self.ends.insert((from, ours), (to, theirs));
        self.ends.insert((to, theirs), (from, ours));
        // Elements are on four addresses.
        let net = u32::from(from >= ELEMENTS);
        let local = format!("127.0.{net}.{}:{}", 1 + net * (from % 4), 20_000 + self.assocs);
        let local = Locator::tcp(local.parse().unwrap());
        let identity = Identity::Anonymous;
        let connected = |assoc, attempt, local, remote| {
            let identity = identity.clone();
            Flying::Connected(Input::Connected { assoc, attempt, channel, local, remote, identity })
        };
        self.send(from, to, connected(theirs, None, locator(to), local.clone()));
        if from < ELEMENTS {
            self.send(to, from, connected(ours, attempt, local, locator(to)));
        }
        ours
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let due = self.registrars.values().filter_map(Machine::next_timeout).min();
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min().filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let (_, (to, what)) = self.flying.pop_first().unwrap();
                self.deliver(to, &what);
                continue;
            }
            let late: Vec<_> = self
                .registrars
                .iter()
                .filter(|(_, known)| known.next_timeout().is_some_and(|due| due <= self.now))
                .map(|(id, _)| *id)
                .collect();
            for id in late {
                self.input(id, Input::Timeout);
                let next = self.registrars[&id].next_timeout();
                assert!(next.is_none_or(|next| next > self.now), "{id} is busy at {}", self.now);
            }
        }
        self.now = end;
        self.registrars.values().for_each(|registrar| registrar.handlespace().check());
    }

    pub(super) fn input(&mut self, host: u32, input: Input<'_>) {
        if let Some(registrar) = self.registrars.get_mut(&host) {
            registrar.handle_input(self.now, input);
        }
        self.drain(host);
    }

    pub(super) fn deliver(&mut self, to: u32, what: &Flying) {
        if let Flying::Closed { assoc, .. } = what {
            self.ends.remove(&(to, *assoc));
        }
        if to >= ELEMENTS {
            return self.deliver_to_element(to, what);
        }
        match what {
            Flying::Connected(input) => self.input(to, input.clone()),
            Flying::Datagram(bytes) => {
                let from = "127.0.0.9:9901".parse().unwrap();
                self.input(to, Input::Datagram { channel: Channel::Enrp, from, bytes });
            }
            Flying::Closed { assoc, reason } => {
                self.input(to, Input::Closed { assoc: *assoc, reason: *reason });
            }
            Flying::Message { assoc, ppid, bytes } => {
                if self.ends.contains_key(&(to, *assoc)) {
                    self.input(to, Input::Received { assoc: *assoc, ppid: *ppid, bytes });
                }
            }
        }
    }

    pub(super) fn deliver_to_element(&mut self, host: u32, what: &Flying) {
        let index = usize::try_from(host - ELEMENTS).unwrap();
        if !self.elements[index].alive {
            return;
        }
        match what {
            Flying::Closed { assoc, .. } if self.elements[index].assoc == Some(*assoc) => {
                self.elements[index].assoc = None;
            }
            Flying::Message { assoc, bytes, .. } => {
                let body = asap::Message::decode(bytes).unwrap().message.body;
                if let asap::Body::EndpointKeepAlive { handle, id: Some(id), .. } = body {
                    self.asap(host, *assoc, asap::Body::EndpointKeepAliveAck { handle, id });
                }
            }
            _ => {}
        }
    }

    pub(super) fn asap(&mut self, host: u32, assoc: AssociationId, body: asap::Body) {
        let mut bytes = Vec::new();
        asap::Message::from(body).encode(&mut bytes).unwrap();
        if let Some(&(to, assoc)) = self.ends.get(&(host, assoc)) {
            self.send(host, to, Flying::Message { assoc, ppid: PPID_ASAP, bytes });
        }
    }

    /// Starts an element and registers it.
    pub(super) fn element(&mut self, registrar: u32) -> usize {
        let index = self.elements.len();
        let id = u32::try_from(index).unwrap();
        let host = ELEMENTS + id;
        self.elements.push(TestElement { host, id, seq: 10, assoc: None, alive: true, policy: 1 });
        self.register(index, registrar);
        index
    }

    /// Registers an element, anew if it is registered, on a new association if it has none there.
    pub(super) fn register(&mut self, index: usize, registrar: u32) {
        let TestElement { host, id, assoc, policy, .. } = self.elements[index];
        let words = usize::from(policy != 1);
        let there = assoc
            .filter(|assoc| self.ends.get(&(host, *assoc)).is_some_and(|(to, _)| *to == registrar));
        let assoc = there.unwrap_or_else(|| self.connect(host, registrar, Channel::Asap, None));
        self.elements[index].assoc = Some(assoc);
        self.elements[index].seq += 1;
        let stamp = Some(Stamp { seq: self.elements[index].seq, moves: 0 });
        let element = PoolElement {
            id: PeId(id),
            home: ServerId::NONE,
            life: 600,
            user_transport: Transport::Tcp(format!("127.0.0.1:{}", 100 + id).parse().unwrap()),
            policy: PolicyParameter::new(PolicyNumber(policy), &[7][..words]),
            asap_transport: None,
            extensions: ElementExtensions { stamp, ..ElementExtensions::default() },
        };
        let capabilities = Some(Capabilities(0));
        let (handle, element) = (pool(), Box::new(element));
        self.asap(
            host,
            assoc,
            asap::Body::Registration { handle, element, capabilities, stamp: None },
        );
    }

    /// A registrar dies; its peers see their connections break unless its host is gone, too.
    pub(super) fn kill(&mut self, id: u32, silently: bool) {
        self.registrars.remove(&id);
        let ends: Vec<_> = self.ends.keys().filter(|(host, _)| *host == id).copied().collect();
        for end in ends {
            if let Some((to, assoc)) = self.ends.remove(&end) {
                if silently {
                    continue;
                }
                self.ends.remove(&(to, assoc));
                self.send(id, to, Flying::Closed { assoc, reason: CloseReason::Lost });
            }
        }
    }

    /// A registrar is told to leave.
    pub(super) fn leave(&mut self, id: u32) {
        let now = self.now;
        self.registrars.get_mut(&id).unwrap().drain(now);
        self.drain(id);
    }

    pub(super) fn cut(&mut self, one: u32, other: u32) {
        self.cut.push((one.min(other), one.max(other)));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        for (from, to, what) in core::mem::take(&mut self.held) {
            self.send(from, to, what);
        }
    }

    pub(super) fn space(&self, id: u32) -> &Handlespace {
        self.registrars[&id].handlespace()
    }

    /// The elements a registrar knows, with their homes.
    pub(super) fn known(&self, id: u32) -> Vec<(u32, u32)> {
        let space = self.space(id);
        space.table(None, None).map(|(_, _, known)| (known.id().0, known.home().0)).collect()
    }

    pub(super) fn assert_agreed(&self) {
        let mut views: Vec<_> = self.registrars.keys().map(|id| (*id, self.known(*id))).collect();
        let (first, view) = views.remove(0);
        for (id, other) in views {
            assert_eq!(other, view, "{id} and {first} differ");
            for home in self.space(id).homes() {
                let (one, other) = (self.space(id), self.space(first));
                assert_eq!(one.checksum(home), other.checksum(home));
                assert_eq!(one.digest(home), other.digest(home));
            }
        }
    }

    pub(super) fn homes(&self, id: u32) -> Vec<u32> {
        let mut homes: Vec<_> = self.known(id).into_iter().map(|(_, home)| home).collect();
        homes.dedup();
        homes
    }

    pub(super) fn seen(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| what(event)).count()
    }
}

fn port(id: u32) -> u16 {
    u16::try_from(9000 + id).unwrap()
}

pub(super) fn locator(id: u32) -> Locator {
    format!("tcp://127.0.0.1:{}", port(id)).parse().unwrap()
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn registrars_that_start_together_serve_and_know_each_other() {
    let world = World::new(3);
    for (id, registrar) in &world.registrars {
        assert!(registrar.is_serving(), "{id}");
        assert_eq!(registrar.connected_peers().len(), 2, "{id}");
    }
    // Of two connections between two registrars one has gone.
    assert_eq!(world.ends.len(), 6);
}

#[test]
fn a_registrar_whose_peers_are_down_serves_alone_after_the_mentor_timeout() {
    let mut world = World::new(0);
    world.start(1, &[2]);
    world.pass(millis(990));
    assert!(!world.registrars[&1].is_serving());
    world.pass(millis(20));
    assert!(world.registrars[&1].is_serving());
    assert_eq!(world.seen(|event| *event == Event::InService { alone: true }), 1);
}

#[test]
fn what_happens_at_one_registrar_is_known_at_all() {
    // RFC 5353 §3.3.
    let mut world = World::new(3);
    let first = world.element(1);
    world.element(2);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(0, 1), (1, 2)]);
    let assoc = world.elements[first].assoc.unwrap();
    let body = asap::Body::Deregistration { handle: pool(), id: PeId(0), stamp: None };
    world.asap(ELEMENTS, assoc, body);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(1, 2)]);
    world.elements[1].alive = false;
    world.pass(millis(1100));
    assert_eq!(world.known(3), []);
    world.assert_agreed();
}

#[test]
fn a_registrar_that_joins_late_reads_list_and_table_of_its_mentor() {
    // RFC 5353 §3.2.
    let mut world = World::new(2);
    for _ in 0..700 {
        world.element(1);
    }
    world.pass(millis(100));
    world.start(3, &[2]);
    world.pass(millis(100));
    assert!(world.registrars[&3].is_serving());
    assert_eq!(world.known(3).len(), 700);
    assert_eq!(world.registrars[&3].connected_peers().len(), 2, "found 1 on the list of 2");
    world.assert_agreed();
}

#[test]
fn a_mentor_that_dies_in_the_middle_is_followed_by_the_next() {
    let mut world = World::new(2);
    for _ in 0..700 {
        world.element(1);
    }
    world.pass(millis(100));
    world.start(3, &[2, 1]);
    world.pass(millis(5));
    assert!(!world.registrars[&3].is_serving());
    world.kill(2, false);
    world.pass(millis(500));
    assert!(world.registrars[&3].is_serving());
    assert_eq!(world.known(3).len(), 700);
}

#[test]
fn an_element_that_registers_elsewhere_changes_its_home_and_nothing_else() {
    let mut world = World::new(3);
    let moving = world.element(1);
    world.pass(millis(10));
    world.register(moving, 2);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(0, 2)]);
    // Its old home does not ask it any more, and its old association means nothing.
    world.pass(Duration::from_secs(3));
    assert_eq!(world.known(1), [(0, 2)]);
    world.assert_agreed();
}

#[test]
fn a_lost_update_is_repaired_by_the_next_audit() {
    // RFC 5353 §3.6: within two heartbeats and a table transfer.
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.element(1);
    world.elements[0].alive = false;
    world.pass(millis(5));
    world.lose = |_| false;
    world.pass(millis(510));
    assert_eq!(world.known(3).len(), 2);
    world.pass(millis(1200));
    assert_eq!(world.known(3), [(1, 1)]);
    world.assert_agreed();
}

#[test]
fn a_lost_renewal_shows_in_the_digest_though_not_in_the_checksum() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.register(0, 1);
    world.pass(millis(5));
    world.lose = |_| false;
    assert_eq!(world.space(1).checksum(ServerId(1)), world.space(2).checksum(ServerId(1)));
    assert_ne!(world.space(1).digest(ServerId(1)), world.space(2).digest(ServerId(1)));
    world.pass(millis(510));
    world.assert_agreed();
}

#[test]
fn a_lost_deletion_is_swept() {
    // RFC 5353 §3.6.3 step 5.
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.elements[0].alive = false;
    world.pass(millis(1100));
    world.lose = |_| false;
    world.pass(millis(510));
    assert_eq!(world.known(2), []);
    assert!(world.seen(|event| matches!(event, Event::Audited { swept: 1, .. })) > 0);
}

#[test]
fn a_killed_registrar_is_taken_over_at_once_and_its_elements_stay_listed() {
    // RFC 5353 §3.5.
    let mut world = World::new(3);
    for _ in 0..10 {
        world.element(1);
    }
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(50));
    assert_eq!(world.known(2).len(), 10);
    assert_eq!(world.homes(2), [3], "the higher identifier wins");
    world.assert_agreed();
    for index in 0..9 {
        world.register(index, 2);
    }
    world.pass(millis(2000));
    assert_eq!(world.known(3).len(), 9, "the one that has not shown itself is gone");
    assert_eq!(world.homes(3), [2]);
    world.assert_agreed();
}

#[test]
fn a_silent_registrar_is_found_by_its_missing_presences() {
    // RFC 5353 §3.4.3.
    for registrars in [2, 3] {
        let mut world = World::new(registrars);
        world.element(1);
        world.pass(millis(10));
        world.kill(1, true);
        world.pass(millis(500));
        assert_eq!(world.homes(2), [1]);
        world.pass(millis(1500));
        let taken = world.seen(|event| matches!(event, Event::TakenOver { elements: 1, .. }));
        assert_eq!(taken, 1, "of {registrars}");
        world.assert_agreed();
    }
}

#[test]
fn two_registrars_that_find_a_third_one_dead_take_it_over_once() {
    // RFC 5353 §3.5.1 rule 2.
    let mut world = World::new(5);
    for _ in 0..20 {
        world.element(1);
    }
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(300));
    assert_eq!(world.seen(|event| matches!(event, Event::TakenOver { .. })), 1);
    assert_eq!(world.homes(2), [5]);
    world.assert_agreed();
}

#[test]
fn registrars_that_do_not_know_the_same_of_the_dead_one_agree_who_takes_it_over() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, true);
    // It has never heard the dead one, and so does not know what it was capable of.
    world.start_with(3, &[2], |_| {});
    world.pass(millis(100));
    assert_eq!(world.homes(3), [1]);
    let wins = |id: u32, other| world.registrars[&id].wins_against(ServerId(other), ServerId(1));
    assert_eq!((wins(3, 2), wins(2, 3)), (true, false));
}

#[test]
fn a_home_that_only_a_dead_mentor_has_known_is_taken_over() {
    // As many are watched as there may be peers, the mentor among them.
    for (peers, watched) in [(128, true), (2, true), (1, false)] {
        let mut world = World::new(2);
        for _ in 0..3 {
            world.element(1);
        }
        world.element(2);
        world.pass(millis(10));
        world.kill(1, true);
        world.start_with(3, &[2], |config| config.limits.peers = peers);
        world.pass(millis(100));
        assert_eq!(world.homes(3), [1, 2]);
        world.kill(2, true);
        world.pass(millis(300));
        assert_eq!(world.homes(3), [1, 2], "they may still speak");
        world.pass(millis(900));
        assert_eq!(world.homes(3), if watched { [3].as_slice() } else { &[1, 3] });
        let taken = Event::TakenOver { target: ServerId(1), elements: 3 };
        assert_eq!(world.seen(|event| *event == taken), usize::from(watched));
    }
}

#[test]
fn an_initiator_that_dies_does_not_leave_orphans() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(2));
    world.kill(3, false);
    world.pass(millis(3000));
    assert!(world.known(2).is_empty(), "{:?}", world.known(2));
    world.register(0, 2);
    world.pass(millis(10));
    assert_eq!(world.known(2), [(0, 2)]);
}

#[test]
fn a_takeover_of_the_living_takes_nothing() {
    // I12; RFC 5353 §3.5.1 rule 1.
    let mut world = World::new(3);
    let here = world.element(1);
    world.pass(millis(10));
    world.cut(1, 3);
    world.cut(1, 2);
    world.pass(millis(1500));
    world.heal();
    world.pass(millis(6000));
    assert_eq!(world.known(1), [(0, 1)]);
    assert!(world.elements[here].assoc.is_some());
    world.assert_agreed();
}

#[test]
fn after_a_partition_all_agree_and_no_living_element_is_lost() {
    let mut world = World::new(4);
    for registrar in 1..=4 {
        for _ in 0..5 {
            world.element(registrar);
        }
    }
    world.pass(millis(10));
    for (one, other) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        world.cut(one, other);
    }
    world.pass(Duration::from_secs(10));
    for registrar in 1..=4 {
        world.element(registrar);
    }
    world.elements[0].alive = false;
    world.elements[19].alive = false;
    // Renewals and deaths on both sides.
    for index in (1..19).step_by(3) {
        world.register(index, 1 + u32::try_from(index).unwrap() / 5);
    }
    world.pass(Duration::from_secs(10));
    world.heal();
    world.pass(Duration::from_secs(8));
    world.assert_agreed();
    let known: Vec<_> = world.known(1).into_iter().map(|(id, _)| id).collect();
    let living: Vec<_> = world.elements.iter().filter(|known| known.alive).map(|e| e.id).collect();
    assert_eq!(known, living);
}

#[test]
fn a_late_deletion_does_not_remove_a_newer_registration() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    let old = world.space(2).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    world.register(0, 1);
    world.pass(millis(10));
    let peer = world.registrars[&2].peers[&ServerId(1)].assoc.unwrap();
    let body = Body::HandleUpdate {
        takeover_suggested: false,
        suspected: false,
        action: enrp::UpdateAction::Delete,
        handle: pool(),
        element: Box::new(old),
    };
    let mut bytes = Vec::new();
    enrp::Message::new(ServerId(1), ServerId::NONE, body).encode(&mut bytes).unwrap();
    world.input(2, Input::Received { assoc: peer, ppid: PPID_ENRP, bytes: &bytes });
    assert_eq!(world.known(2), [(0, 1)]);
}

#[test]
fn an_element_that_is_waited_for_may_be_ended_by_another_registrar() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(50));
    assert_eq!(world.known(3), [(0, 3)]);
    let mut ended = world.space(3).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    let stamp = ended.extensions.stamp.as_mut().unwrap();
    stamp.moves += 1;
    ended.home = ServerId(2);
    let assoc = world.registrars[&3].peers[&ServerId(2)].assoc.unwrap();
    let body = Body::HandleUpdate {
        takeover_suggested: false,
        suspected: false,
        action: enrp::UpdateAction::Delete,
        handle: pool(),
        element: Box::new(ended),
    };
    let mut bytes = Vec::new();
    enrp::Message::new(ServerId(2), ServerId::NONE, body).encode(&mut bytes).unwrap();
    world.input(3, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    assert_eq!(world.known(3), [], "nobody speaks for it");
}

#[test]
fn an_element_that_leaves_at_another_registrar_than_its_home_is_gone_everywhere() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    // Its home does not answer, so it turns to another one from the same address.
    let other = world.connect(world.elements[0].host, 2, Channel::Asap, None);
    let stamp = Some(Stamp { seq: 50, moves: 0 });
    let leaving = asap::Body::Deregistration { handle: pool(), id: PeId(0), stamp };
    world.asap(world.elements[0].host, other, leaving);
    world.pass(millis(20));
    for id in 1..=3 {
        assert_eq!(world.known(id), [], "at {id}");
    }
}

#[test]
fn whoever_asks_for_a_table_under_its_own_name_is_a_peer() {
    // RFC 5353 §3.4.1.
    let mut world = World::new(1);
    for (server, peers) in [(0, 0), (9, 1)] {
        let local: Locator = "tcp://127.0.0.1:30000".parse().unwrap();
        let assoc = AssociationId(5_000 + u64::from(server));
        world.input(
            1,
            Input::Connected {
                assoc,
                attempt: None,
                channel: Channel::Enrp,
                local: locator(1),
                remote: local,
                identity: Identity::Anonymous,
            },
        );
        let body = Body::HandleTableRequest { own_only: false, capabilities: None };
        let mut bytes = Vec::new();
        enrp::Message::new(ServerId(server), ServerId::NONE, body).encode(&mut bytes).unwrap();
        world.input(1, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
        assert_eq!(world.registrars[&1].peers.len(), peers);
    }
}

#[test]
fn a_registrar_speaks_for_its_own_elements_only() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    let mut element = world.space(1).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    element.extensions.stamp = Some(Stamp { seq: 99, moves: 0 });
    let assoc = world.registrars[&2].peers[&ServerId(3)].assoc.unwrap();
    for (home, changed) in [(1, false), (3, true)] {
        element.home = ServerId(home);
        let body = Body::HandleUpdate {
            takeover_suggested: false,
            suspected: false,
            action: enrp::UpdateAction::Add,
            handle: pool(),
            element: Box::new(element.clone()),
        };
        let mut bytes = Vec::new();
        enrp::Message::new(ServerId(3), ServerId::NONE, body).encode(&mut bytes).unwrap();
        world.input(2, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
        assert_eq!(world.known(2) == [(0, 3)], changed);
    }
}

#[test]
fn a_leaving_registrar_hands_its_elements_over_before_it_goes() {
    let mut world = World::new(3);
    for _ in 0..6 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(1);
    world.pass(millis(20));
    assert_eq!(world.known(2).len(), 6);
    assert!(!world.homes(2).contains(&1), "{:?}", world.homes(2));
    for index in 0..6 {
        world.register(index, 2);
    }
    world.pass(millis(100));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    world.kill(1, false);
    world.pass(millis(3000));
    assert_eq!(world.known(2).len(), 6);
    assert_eq!(world.homes(2), [2]);
    world.assert_agreed();
}

#[test]
fn an_element_that_is_handed_over_stays_ranked_last_until_it_has_answered_twice() {
    let mut world = World::new(2);
    for _ in 0..4 {
        world.element(1);
    }
    world.pass(millis(10));
    for reporter in 1..4 {
        let TestElement { host, assoc, .. } = world.elements[reporter];
        let report = asap::Body::EndpointUnreachable { handle: pool(), id: PeId(0) };
        world.asap(host, assoc.unwrap(), report);
    }
    let suspected = |world: &World, at| {
        let table = world.space(at).table(None, None);
        let suspected = table.filter(|(_, _, known)| known.suspect());
        suspected.map(|(_, _, known)| known.id().0).collect::<Vec<_>>()
    };
    world.pass(millis(1));
    assert_eq!(suspected(&world, 1), [0]);
    world.leave(1);
    world.pass(millis(5));
    assert_eq!((world.homes(2), suspected(&world, 2)), (Vec::from([2]), Vec::from([0])));
    world.register(0, 2);
    world.pass(millis(5));
    assert_eq!(suspected(&world, 2), [0], "to come is not to have answered");
    world.pass(millis(1500));
    assert_eq!(suspected(&world, 2), []);
    assert_eq!(world.seen(|event| matches!(event, Event::ElementCleared { .. })), 1);
}

#[test]
fn what_was_handed_over_stays_where_it_is_when_the_giver_is_taken_over() {
    let mut world = World::new(3);
    for _ in 0..6 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(1);
    world.pass(millis(20));
    let handed_over = world.known(2);
    assert_eq!(world.homes(2), [2, 3, 2, 3, 2, 3]);
    // The stronger one takes the giver over, and with it nothing.
    let assoc = world.registrars[&2].peers[&ServerId(3)].assoc.unwrap();
    let body = Body::TakeoverServer { target: ServerId(1) };
    let mut bytes = Vec::new();
    enrp::Message::new(ServerId(3), ServerId::NONE, body).encode(&mut bytes).unwrap();
    world.input(2, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    world.pass(millis(600));
    assert_eq!(world.known(2), handed_over);
    world.assert_agreed();
}

#[test]
fn elements_are_handed_over_no_faster_than_they_can_register_elsewhere() {
    let mut world = World::new(2);
    for _ in 0..300 {
        world.element(1);
    }
    world.pass(millis(100));
    world.leave(1);
    world.pass(millis(105));
    let gone = world.known(2).iter().filter(|(_, home)| *home == 2).count();
    assert!((90..=120).contains(&gone), "{gone} after a tenth of a second at 1000/s");
    let stays = world.elements.iter().filter(|known| known.assoc.is_some()).count();
    assert!((180..=220).contains(&stays), "{stays} are still connected");
    world.pass(millis(400));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    assert!(world.elements.iter().all(|known| known.assoc.is_none()));
    assert_eq!(world.known(2).len(), 300);
}

#[test]
fn of_several_that_leave_at_once_nobody_hands_elements_to_another() {
    let mut world = World::new(3);
    for _ in 0..20 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(2);
    world.leave(1);
    world.pass(millis(600));
    assert_eq!(world.homes(3), [3], "{:?}", world.known(3));
    assert_eq!(world.known(3).len(), 20);
    assert_eq!(world.seen(|event| *event == Event::Drained), 2);
}

#[test]
fn what_nobody_takes_in_time_is_taken_over_as_from_the_dead() {
    let mut world = World::new(2);
    for _ in 0..5 {
        world.element(1);
    }
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
    world.leave(1);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.seen(|event| *event == Event::Drained), 0);
    assert_eq!(world.homes(2), [1]);
    world.pass(millis(1100));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    world.kill(1, false);
    world.pass(millis(600));
    assert_eq!(world.known(2).len(), 5, "nobody has said that they ended");
    assert_eq!(world.homes(2), [2]);
}

#[test]
fn an_element_is_offered_once_in_a_round() {
    static OFFERS: AtomicUsize = AtomicUsize::new(0);
    let mut world = World::new(2);
    for _ in 0..5 {
        world.element(1);
    }
    world.pass(millis(10));
    world.lose = |body| {
        let is_offer = matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
        OFFERS.fetch_add(usize::from(is_offer), Ordering::Relaxed);
        is_offer
    };
    world.leave(1);
    for (ms, offers) in [(350, 5), (200, 10), (400, 15)] {
        world.pass(millis(ms));
        assert_eq!(OFFERS.load(Ordering::Relaxed), offers);
    }
}

#[test]
fn a_leaving_registrar_serves_its_elements_until_a_peer_has_them_and_takes_no_new_ones() {
    let mut world = World::new(2);
    let old = world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
    world.leave(1);
    world.register(old, 1);
    let new = world.element(1);
    world.pass(millis(10));
    assert_eq!(world.known(2), [(0, 1)]);
    assert!(world.elements[old].assoc.is_some());
    assert!(world.elements[new].assoc.is_none(), "sent elsewhere");
    // Its renewal is newer than what was offered; the next offer is as new.
    world.lose = |_| false;
    world.pass(millis(500));
    assert_eq!(world.known(2), [(0, 2)]);
    assert_eq!(world.known(1), [(0, 2)]);
}

/// RFC 5352 §3.1 rule 2 holds where a pool is known; here two do not know of each other's.
#[test]
fn a_pool_made_twice_with_two_policies_has_that_of_most_at_every_registrar() {
    const LEAST_USED: u32 = 0x4000_0001;
    for (round_robin, least_used, wins) in [(1, 1, 1), (1, 2, LEAST_USED), (2, 1, 1)] {
        let mut world = World::new(3);
        let home = |policy| if policy == 1 { 1 } else { 2 };
        let policies = [1].repeat(round_robin).into_iter().chain([LEAST_USED].repeat(least_used));
        for policy in policies {
            let index = world.elements.len();
            let known = TestElement {
                host: ELEMENTS + index as u32,
                id: index as u32,
                seq: 10,
                assoc: None,
                alive: true,
                policy,
            };
            world.elements.push(known);
            world.register(index, home(policy));
        }
        world.pass(millis(20));
        world.assert_agreed();
        assert_eq!(world.known(3).len(), round_robin + least_used, "both sides are kept");
        for id in 1..=3 {
            let pool = world.space(id).pool(b"EchoPool").unwrap();
            assert_eq!(pool.policy_number(), PolicyNumber(wins), "at {id}");
        }
        // Whoever does not fit is refused when it renews, and ends with its lease.
        for index in 0..world.elements.len() {
            world.register(index, home(world.elements[index].policy));
        }
        world.pass(millis(20));
        let refused = world.events.iter().filter_map(|(_, event)| match event {
            Event::RegistrationRefused { id, .. } => Some(world.elements[id.0 as usize].policy),
            _ => None,
        });
        let refused: Vec<_> = refused.collect();
        assert!(!refused.is_empty() && refused.iter().all(|policy| *policy != wins), "{refused:?}");
        world.assert_agreed();
    }
}

#[test]
fn of_two_registrars_with_one_identifier_the_newcomer_draws_another() {
    let mut world = World::new(1);
    let config = RegistrarConfig {
        id: ServerId(1),
        peers: Vec::from([locator(1)]),
        enrp_port: port(2),
        ..RegistrarConfig::default()
    };
    world.registrars.insert(2, Registrar::new(config, [2; 32], world.now));
    world.drain(2);
    world.pass(millis(1500));
    assert_eq!(world.registrars[&1].id(), ServerId(1));
    assert_ne!(world.registrars[&2].id(), ServerId(1));
    assert_eq!(world.registrars[&1].connected_peers().len(), 1);
}

#[test]
fn a_registrar_that_was_suspended_while_it_read_a_table_gives_its_mentor_time() {
    let mut world = World::new(1);
    world.element(1);
    world.pass(millis(10));
    world.start(2, &[1]);
    world.pass(millis(3));
    assert!(!world.registrars[&2].is_serving());
    let suspended = world.registrars.remove(&2).unwrap();
    world.cut(1, 2);
    world.pass(millis(870));
    world.registrars.insert(2, suspended);
    world.heal();
    world.pass(millis(20));
    assert_eq!(world.seen(|event| *event == Event::InService { alone: false }), 1);
    assert_eq!(world.known(2), [(0, 1)]);
}

#[test]
fn a_registrar_that_was_suspended_removes_nothing_that_lives() {
    let mut world = World::new(3);
    for registrar in 1..=3 {
        world.element(registrar);
    }
    world.pass(millis(10));
    // Registrar 2 stands still for 20 s; what is said to it waits.
    let suspended = world.registrars.remove(&2).unwrap();
    for other in [1, 3, ELEMENTS + 1] {
        world.cut(2, other);
    }
    world.pass(Duration::from_secs(20));
    assert_eq!(world.homes(1), [1, 3], "{:?}", world.known(1));
    world.registrars.insert(2, suspended);
    world.heal();
    world.register(1, 3);
    world.pass(Duration::from_secs(6));
    assert_eq!(world.known(2).len(), 3, "{:?}", world.known(2));
    world.assert_agreed();
}
