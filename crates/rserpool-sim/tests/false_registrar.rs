//! A registrar with a certificate that lies, between two that do not (RFC 5355 §2.5).
//!
//! ```text
//!   elements --ASAP--> 1 <--ENRP--> 2 <--ASAP-- elements
//!                        \         /
//!                          9, which says whatever it likes
//! ```
//!
//! Messages take no time. Whatever it says of elements that it does not call by their owner's name,
//! under its own identifier or another registrar's: an element stays at its home, as it is, while home
//! and element live and answer. Whose an element is every registrar knows, and one with a certificate
//! is believed: by that name it can end elements, as if they had left there. In both cases, soon after
//! it has gone, the others know of all elements what is so, and of nothing else.
#![expect(clippy::unwrap_used, reason = "a test")]

use rserpool_proto::handlespace::Element;
use rserpool_proto::id::{AssociationId, PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{
    AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine as _, Name, NameKind,
    Output, Subject,
};
use rserpool_proto::registrar::{Authority, Grants, Registrar, RegistrarConfig};
use rserpool_proto::time::{Duration, Instant};
use rserpool_proto::wire::asap;
use rserpool_proto::wire::capability::{Capabilities, Owner, Stamp};
use rserpool_proto::wire::enrp::{Body, Message, PoolEntry, UpdateAction};
use rserpool_proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::server_information::ServerInformation;
use rserpool_proto::wire::transport::{SctpTransport, Transport, TransportUse};
use rserpool_proto::wire::{PPID_ASAP, PPID_ENRP};
use rserpool_sim::Random;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// Elements of each registrar.
const ELEMENTS: u32 = 4;
const LIAR: ServerId = ServerId(9);
const STEP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// By its place.
    Registrar(usize),
    /// By its identifier.
    Element(u32),
    Liar,
}

#[derive(Debug)]
enum News {
    Connected { assoc: AssociationId, attempt: Option<AttemptId>, other: Who, channel: Channel },
    Failed(AttemptId),
    Received { assoc: AssociationId, ppid: u32, bytes: Vec<u8> },
    Closed(AssociationId),
}

struct World {
    now: Instant,
    registrars: Vec<Registrar>,
    /// Both ends of each association, by name.
    ends: BTreeMap<AssociationId, (Who, Who)>,
    news: VecDeque<(Who, News)>,
    next: u64,
    random: Random,
    /// When each element registers again, and with which number.
    renewals: Vec<(Instant, u64)>,
    /// Whether the liar says of elements that they are whose they are.
    forges: bool,
}

fn identity(who: Who) -> Identity {
    let (uri, number) = match who {
        Who::Registrar(place) => ("rserpool://lab/registrar", place as u32),
        Who::Element(id) => ("rserpool://lab/element/pool", 100 + id),
        Who::Liar => ("rserpool://lab/registrar", 9),
    };
    let names = vec![Name { kind: NameKind::Uri, text: uri.into() }];
    Identity::Verified(Arc::new(Subject { names, owner: owner(number) }))
}

fn owner(number: u32) -> Owner {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Owner(bytes)
}

fn at(who: Who) -> Locator {
    let (host, port) = match who {
        Who::Registrar(place) => (1 + place as u8, 9901),
        Who::Element(id) => (100 + id as u8, 40_000),
        Who::Liar => (9, 9901),
    };
    Locator::tcp(SocketAddr::from(([10, 0, 0, host], port)))
}

fn pool() -> PoolHandle {
    PoolHandle::new("pool").unwrap()
}

/// An element as it registers, for the time of that number.
fn element(id: u32, seq: u64) -> PoolElement {
    let address = SocketAddr::new(at(Who::Element(id)).primary().ip(), 80);
    PoolElement {
        id: PeId(id),
        home: ServerId::NONE,
        life: 30,
        user_transport: Transport::Tcp(address),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: ElementExtensions {
            stamp: Some(Stamp { seq, moves: 0 }),
            ..ElementExtensions::default()
        },
    }
}

fn home_of(id: u32) -> usize {
    (id / ELEMENTS) as usize
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::from_micros(1_000_000);
        let mut random = Random::new(seed, &[]);
        let registrar = |place: usize| {
            let grants = Grants { scope: "lab".into(), ..Grants::default() };
            let config = RegistrarConfig {
                id: ServerId(1 + place as u32),
                authority: Authority::Secured(Arc::new(grants)),
                peers: vec![at(Who::Registrar(1 - place))],
                enrp_port: 9901,
                ..RegistrarConfig::default()
            };
            Registrar::new(config, random.seed(), now)
        };
        let registrars = [0, 1].map(registrar).into();
        let renewals = vec![(now, 1_000); 2 * ELEMENTS as usize];
        let (ends, news) = (BTreeMap::new(), VecDeque::new());
        let forges = false;
        let mut world = Self { now, registrars, ends, news, next: 1, random, renewals, forges };
        world.drain(0);
        world.drain(1);
        world.settle();
        // Until both are in service.
        world.pass(Duration::from_secs(2), false);
        for id in 0..2 * ELEMENTS {
            world.connect(Who::Element(id), Who::Registrar(home_of(id)), Channel::Asap, None);
        }
        world.pass(Duration::from_secs(2), false);
        world
    }

    fn connect(&mut self, from: Who, to: Who, channel: Channel, attempt: Option<AttemptId>) {
        // Each end has a name of its own.
        let (here, there) = (AssociationId(self.next), AssociationId(self.next + 1));
        self.next += 2;
        self.ends.insert(here, (from, to));
        self.ends.insert(there, (to, from));
        let mut tell = |whom, assoc, attempt, other| {
            self.news.push_back((whom, News::Connected { assoc, attempt, other, channel }));
        };
        tell(from, here, attempt, to);
        tell(to, there, None, from);
    }

    /// The other end of an association.
    fn other(assoc: AssociationId) -> AssociationId {
        AssociationId(if assoc.0 % 2 == 1 { assoc.0 + 1 } else { assoc.0 - 1 })
    }

    fn say(&mut self, assoc: AssociationId, ppid: u32, bytes: Vec<u8>) {
        let other = Self::other(assoc);
        if let Some((whom, _)) = self.ends.get(&other) {
            self.news.push_back((*whom, News::Received { assoc: other, ppid, bytes }));
        }
    }

    fn hang_up(&mut self, assoc: AssociationId) {
        self.ends.remove(&assoc);
        let other = Self::other(assoc);
        if let Some((whom, _)) = self.ends.remove(&other) {
            self.news.push_back((whom, News::Closed(other)));
        }
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.registrars[place].poll_output() {
            match output {
                Output::Transmit { assoc, ppid, bytes } => self.say(assoc, ppid, bytes),
                Output::Disconnect { assoc } => {
                    let other = self.ends.get(&assoc).map(|(_, other)| *other);
                    assert!(!matches!(other, Some(Who::Element(_))), "{other:?} is hung up on");
                    self.hang_up(assoc);
                }
                Output::Connect { attempt, to, .. } => {
                    let target = [Who::Registrar(0), Who::Registrar(1), Who::Liar]
                        .into_iter()
                        .find(|who| at(*who) == to && *who != Who::Registrar(place));
                    let here = Who::Registrar(place);
                    match target {
                        Some(target) => self.connect(here, target, Channel::Enrp, Some(attempt)),
                        None => self.news.push_back((here, News::Failed(attempt))),
                    }
                }
                _ => {}
            }
        }
    }

    /// Everything on its way arrives.
    fn settle(&mut self) {
        while let Some((who, news)) = self.news.pop_front() {
            match who {
                Who::Registrar(place) => self.feed(place, news),
                Who::Element(id) => self.answer(id, news),
                Who::Liar => self.overhear(news),
            }
        }
    }

    fn feed(&mut self, place: usize, news: News) {
        let now = self.now;
        let registrar = &mut self.registrars[place];
        match news {
            News::Connected { assoc, attempt, other, channel } => {
                let (local, remote) = (at(Who::Registrar(place)), at(other));
                let identity = identity(other);
                let input = Input::Connected { assoc, attempt, channel, local, remote, identity };
                registrar.handle_input(now, input);
            }
            News::Failed(attempt) => {
                let reason = CloseReason::Refused;
                registrar.handle_input(now, Input::ConnectFailed { attempt, reason });
            }
            News::Received { assoc, ppid, bytes } => {
                registrar.handle_input(now, Input::Received { assoc, ppid, bytes: &bytes });
            }
            News::Closed(assoc) => {
                let reason = CloseReason::Finished;
                registrar.handle_input(now, Input::Closed { assoc, reason });
            }
        }
        self.drain(place);
    }

    /// An element answers keep-alives, whoever asks.
    fn answer(&mut self, id: u32, news: News) {
        if let News::Received { assoc, bytes, .. } = news
            && let asap::Body::EndpointKeepAlive { handle, .. } =
                asap::Message::decode(&bytes).unwrap().message.body
        {
            let id = PeId(id);
            self.say_asap(assoc, asap::Body::EndpointKeepAliveAck { handle, id });
        }
    }

    fn say_asap(&mut self, assoc: AssociationId, body: asap::Body) {
        let mut bytes = Vec::new();
        asap::Message::from(body).encode(&mut bytes).unwrap();
        self.say(assoc, PPID_ASAP, bytes);
    }

    /// The liar is asked for its table now and then, and answers with what it likes.
    fn overhear(&mut self, news: News) {
        if let News::Received { assoc, bytes, .. } = news
            && let Ok(decoded) = Message::decode(&bytes)
            && matches!(decoded.message.body, Body::HandleTableRequest { .. })
            && self.random.permille(700)
        {
            let body = self.table();
            self.lie(assoc, LIAR, body);
        }
    }

    fn lie(&mut self, assoc: AssociationId, sender: ServerId, body: Body) {
        let mut bytes = Vec::new();
        if Message::new(sender, ServerId::NONE, body).encode(&mut bytes).is_ok() {
            self.say(assoc, PPID_ENRP, bytes);
        }
    }

    /// An element of somebody's, or one that is not there, as the liar would have it.
    fn made_up(&mut self) -> PoolElement {
        let id = self.random.below(u64::from(2 * ELEMENTS + 2)) as u32;
        let known = self.renewals.get(id as usize).map_or(0, |(_, seq)| *seq);
        let near = known.saturating_add(self.random.below(4)).saturating_sub(2);
        let seq = if self.random.permille(300) { u64::MAX - 1 } else { near };
        let moves = if self.random.permille(300) { self.random.below(5) as u32 } else { 0 };
        let owners = if self.forges { [100 + id, 100 + id, 9] } else { [9, 101 + id, 99] };
        let owner = self.random.pick(&owners).map(|number| owner(*number));
        let homes = [LIAR, LIAR, ServerId(1), ServerId(2)];
        let home = *self.random.pick(&homes).unwrap();
        let here = Transport::Tcp(SocketAddr::new(at(Who::Liar).primary().ip(), 80));
        let element = element(id, seq);
        PoolElement {
            home,
            user_transport: if self.random.permille(500) { here } else { element.user_transport },
            asap_transport: Some(SctpTransport {
                port: 40_000,
                transport_use: TransportUse::DataOnly,
                addresses: at(Who::Element(id)).addresses,
            }),
            extensions: ElementExtensions {
                stamp: self.random.permille(900).then_some(Stamp { seq, moves }),
                owner: owner.filter(|_| self.random.permille(900)),
                ..ElementExtensions::default()
            },
            ..element
        }
    }

    fn table(&mut self) -> Body {
        let elements: Vec<_> = (0..=self.random.below(4)).map(|_| self.made_up()).collect();
        let entries = vec![PoolEntry { handle: pool(), elements }];
        Body::HandleTableResponse { more: self.random.permille(300), rejected: false, entries }
    }

    fn lies(&mut self) {
        let open: Vec<_> = self.ends.iter().filter(|(_, (who, _))| *who == Who::Liar).collect();
        let open: Vec<_> = open.into_iter().map(|(assoc, _)| *assoc).collect();
        let Some(assoc) = self.random.pick(&open).copied().filter(|_| open.len() >= 2) else {
            let place = self.random.below(2) as usize;
            return self.connect(Who::Liar, Who::Registrar(place), Channel::Enrp, None);
        };
        let mut servers = vec![LIAR; 6];
        servers.extend([ServerId(1), ServerId(2)]);
        let sender = *self.random.pick(&servers).unwrap();
        let target = *self.random.pick(&servers[5..]).unwrap();
        let body = match self.random.below(12) {
            0..=3 => Body::HandleUpdate {
                takeover_suggested: self.random.permille(200),
                suspected: self.random.permille(300),
                action: match self.random.permille(500) {
                    true => UpdateAction::Add,
                    false => UpdateAction::Delete,
                },
                handle: pool(),
                element: Box::new(self.made_up()),
            },
            4 => self.table(),
            5 => Body::InitTakeover { target },
            6 => Body::InitTakeoverAck { target },
            7 => Body::TakeoverServer { target },
            8 => {
                Body::HandleTableRequest { own_only: self.random.permille(500), capabilities: None }
            }
            9 if self.random.permille(200) => return self.hang_up(assoc),
            _ => {
                let server = ServerInformation {
                    id: sender,
                    transport: Transport::Tcp(at(Who::Liar).primary()),
                    unknown: [].into(),
                };
                Body::Presence {
                    reply_required: self.random.permille(500),
                    checksum: Some(self.random.bits() as u16),
                    server: self.random.permille(500).then_some(server),
                    digest: self.random.permille(700).then(|| self.random.bits()),
                    capabilities: self.random.permille(700).then_some(Capabilities(0)),
                }
            }
        };
        self.lie(assoc, sender, body);
    }

    fn renew(&mut self) {
        for id in 0..2 * ELEMENTS {
            let (due, seq) = self.renewals[id as usize];
            let held = |(_, (who, _)): &(&AssociationId, &(Who, Who))| *who == Who::Element(id);
            let Some(assoc) = self.ends.iter().find(held).map(|(assoc, _)| *assoc) else {
                continue;
            };
            if due > self.now {
                continue;
            }
            self.renewals[id as usize] = (self.now + Duration::from_secs(10), seq + 1);
            let element = Box::new(element(id, seq + 1));
            let (handle, capabilities, stamp) = (pool(), Some(Capabilities(0)), None);
            self.say_asap(assoc, asap::Body::Registration { handle, element, capabilities, stamp });
        }
    }

    fn pass(&mut self, time: Duration, lies: bool) {
        let end = self.now + time;
        while self.now < end {
            let next = (self.now + STEP).min(end);
            loop {
                let due = |place: usize| self.registrars[place].next_timeout();
                let due = (0..2).filter_map(|place| Some((due(place)?, place))).min();
                let Some((at, place)) = due.filter(|(at, _)| *at <= next) else { break };
                self.now = self.now.max(at);
                self.registrars[place].handle_input(self.now, Input::Timeout);
                self.drain(place);
                self.settle();
            }
            self.now = next;
            self.renew();
            if lies {
                for _ in 0..self.random.below(4) {
                    self.lies();
                    self.settle();
                    if !self.forges {
                        self.check();
                    }
                }
            }
            self.settle();
        }
    }

    fn known(&self, place: usize, id: u32) -> Option<&Element> {
        self.registrars[place].handlespace().element(b"pool", PeId(id))
    }

    /// Elements are at home as they are.
    fn check(&self) {
        for id in 0..2 * ELEMENTS {
            self.check_at(home_of(id), id);
        }
    }

    fn check_at(&self, place: usize, id: u32) {
        let known = self.known(place, id);
        let known = known.unwrap_or_else(|| panic!("{} does not know {id}", place + 1));
        let home = ServerId(1 + home_of(id) as u32);
        assert_eq!(known.home(), home, "{id} at {}", place + 1);
        assert_eq!(known.user_transport(), &element(id, 0).user_transport, "{id} at {}", place + 1);
        assert_eq!(known.owner(), Some(owner(100 + id)), "{id} at {}", place + 1);
    }
}

impl World {
    /// The liar goes; soon all is as it should be.
    fn recover(&mut self) {
        let open = self.ends.iter().filter(|(_, (who, _))| *who == Who::Liar);
        for assoc in open.map(|(assoc, _)| *assoc).collect::<Vec<_>>() {
            self.hang_up(assoc);
        }
        self.settle();
        self.pass(Duration::from_secs(15), false);
        for place in 0..2 {
            (0..2 * ELEMENTS).for_each(|id| self.check_at(place, id));
            let count = self.registrars[place].handlespace().element_count();
            assert_eq!(count, 2 * ELEMENTS as usize, "what is made up is forgotten");
        }
    }
}

#[test]
fn a_registrar_that_lies_takes_nothing_from_a_home_that_lives_and_leaves_nothing_behind() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        world.check();
        world.pass(Duration::from_secs(20), true);
        world.recover();
    }
}

#[test]
fn what_a_registrar_has_ended_in_its_owners_name_is_there_again_when_it_has_gone() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        world.forges = true;
        world.pass(Duration::from_secs(20), true);
        world.recover();
    }
}
