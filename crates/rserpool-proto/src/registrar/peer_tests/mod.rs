//! Several registrars as equals, one sentence per test: the world that the tests share.

mod leaving;
mod replication;
mod takeover;

use super::{Event, Registrar, RegistrarConfig};
use crate::handlespace::Handlespace;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::wire::asap;
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::enrp::{self, Body, UpdateAction};
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
pub(in crate::registrar) struct World {
    pub(in crate::registrar) now: Instant,
    pub(in crate::registrar) registrars: BTreeMap<u32, Registrar>,
    pub(in crate::registrar) events: Vec<(u32, Event)>,
    /// The other end of an end of an association.
    pub(in crate::registrar) ends: BTreeMap<End, End>,
    pub(in crate::registrar) assocs: u64,
    pub(in crate::registrar) flying: BTreeMap<(Instant, u64), (u32, Flying)>,
    pub(in crate::registrar) sequence: u64,
    pub(in crate::registrar) elements: Vec<TestElement>,
    /// Pairs of hosts that do not hear each other; what they say arrives when they do.
    pub(in crate::registrar) cut: Vec<(u32, u32)>,
    pub(in crate::registrar) held: Vec<(u32, u32, Flying)>,
    /// Messages of this kind are lost.
    pub(in crate::registrar) lose: fn(&Body) -> bool,
}

pub(in crate::registrar) type End = (u32, AssociationId);

/// Hosts from here on are elements.
pub(in crate::registrar) const ELEMENTS: u32 = 1000;

#[derive(Clone, Debug)]
pub(in crate::registrar) enum Flying {
    Message { assoc: AssociationId, ppid: u32, bytes: Vec<u8> },
    Closed { assoc: AssociationId, reason: CloseReason },
    Connected(Input<'static>),
    Datagram(Vec<u8>),
}

pub(in crate::registrar) struct TestElement {
    pub(in crate::registrar) host: u32,
    pub(in crate::registrar) id: u32,
    pub(in crate::registrar) seq: u64,
    pub(in crate::registrar) assoc: Option<AssociationId>,
    pub(in crate::registrar) alive: bool,
    pub(in crate::registrar) policy: u32,
}

impl World {
    pub(in crate::registrar) fn new(registrars: u32) -> Self {
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

    pub(in crate::registrar) fn start(&mut self, id: u32, peers: &[u32]) {
        self.start_with(id, peers, |_| {});
    }

    /// Starts a registrar that knows of no other and tells where it is by multicast.
    pub(in crate::registrar) fn start_announced(&mut self, id: u32) {
        self.start_with(id, &[], |config| {
            config.enrp_announced = Some(Vec::from([Transport::Tcp(locator(id).primary())]));
        });
    }

    pub(in crate::registrar) fn start_with(
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

    pub(in crate::registrar) fn send(&mut self, from: u32, to: u32, what: Flying) {
        if self.cut.contains(&(from.min(to), from.max(to))) {
            self.held.push((from, to, what));
            return;
        }
        self.sequence += 1;
        self.flying.insert((self.now + LATENCY, self.sequence), (to, what));
    }

    pub(in crate::registrar) fn drain(&mut self, host: u32) {
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

    pub(in crate::registrar) fn connect(
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

    pub(in crate::registrar) fn pass(&mut self, duration: Duration) {
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

    pub(in crate::registrar) fn input(&mut self, host: u32, input: Input<'_>) {
        if let Some(registrar) = self.registrars.get_mut(&host) {
            registrar.handle_input(self.now, input);
        }
        self.drain(host);
    }

    pub(in crate::registrar) fn deliver(&mut self, to: u32, what: &Flying) {
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

    pub(in crate::registrar) fn deliver_to_element(&mut self, host: u32, what: &Flying) {
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

    pub(in crate::registrar) fn asap(&mut self, host: u32, assoc: AssociationId, body: asap::Body) {
        let mut bytes = Vec::new();
        asap::Message::from(body).encode(&mut bytes).unwrap();
        if let Some(&(to, assoc)) = self.ends.get(&(host, assoc)) {
            self.send(host, to, Flying::Message { assoc, ppid: PPID_ASAP, bytes });
        }
    }

    /// Starts an element and registers it.
    pub(in crate::registrar) fn element(&mut self, registrar: u32) -> usize {
        let index = self.elements.len();
        let id = u32::try_from(index).unwrap();
        let host = ELEMENTS + id;
        self.elements.push(TestElement { host, id, seq: 10, assoc: None, alive: true, policy: 1 });
        self.register(index, registrar);
        index
    }

    /// Registers an element, anew if it is registered, on a new association if it has none there.
    pub(in crate::registrar) fn register(&mut self, index: usize, registrar: u32) {
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
    pub(in crate::registrar) fn kill(&mut self, id: u32, silently: bool) {
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
    pub(in crate::registrar) fn leave(&mut self, id: u32) {
        let now = self.now;
        self.registrars.get_mut(&id).unwrap().drain(now);
        self.drain(id);
    }

    pub(in crate::registrar) fn cut(&mut self, one: u32, other: u32) {
        self.cut.push((one.min(other), one.max(other)));
    }

    pub(in crate::registrar) fn heal(&mut self) {
        self.cut.clear();
        for (from, to, what) in core::mem::take(&mut self.held) {
            self.send(from, to, what);
        }
    }

    pub(in crate::registrar) fn space(&self, id: u32) -> &Handlespace {
        self.registrars[&id].handlespace()
    }

    /// The elements a registrar knows, with their homes.
    pub(in crate::registrar) fn known(&self, id: u32) -> Vec<(u32, u32)> {
        let space = self.space(id);
        space.table(None, None).map(|(_, _, known)| (known.id().0, known.home().0)).collect()
    }

    pub(in crate::registrar) fn assert_agreed(&self) {
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

    pub(in crate::registrar) fn homes(&self, id: u32) -> Vec<u32> {
        let mut homes: Vec<_> = self.known(id).into_iter().map(|(_, home)| home).collect();
        homes.dedup();
        homes
    }

    /// A registrar is told something on an association, under a name.
    pub(in crate::registrar) fn say(
        &mut self,
        registrar: u32,
        assoc: AssociationId,
        sender: u32,
        body: Body,
    ) {
        let mut bytes = Vec::new();
        enrp::Message::new(ServerId(sender), ServerId::NONE, body).encode(&mut bytes).unwrap();
        self.input(registrar, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    }

    /// By which association a registrar speaks to another one.
    pub(in crate::registrar) fn assoc(&self, registrar: u32, peer: u32) -> Option<AssociationId> {
        self.registrars[&registrar].peers.get(&ServerId(peer)).and_then(|peer| peer.assoc)
    }

    pub(in crate::registrar) fn seen(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| what(event)).count()
    }
}

fn port(id: u32) -> u16 {
    u16::try_from(9000 + id).unwrap()
}

pub(in crate::registrar) fn locator(id: u32) -> Locator {
    format!("tcp://127.0.0.1:{}", port(id)).parse().unwrap()
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

pub(in crate::registrar) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a registrar says of an element.
pub(in crate::registrar) fn update(
    action: UpdateAction,
    takeover_suggested: bool,
    element: PoolElement,
) -> Body {
    let (handle, element) = (pool(), Box::new(element));
    Body::HandleUpdate { takeover_suggested, suspected: false, action, handle, element }
}
