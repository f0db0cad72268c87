//! A registrar with one pool that somebody attacks: the machine that ships, or one that takes
//! RFC 5352 at its word.
//!
//! ```text
//!   servers  --- REGISTRATION, KEEP_ALIVE_ACK -------------->  +-----------+
//!   users    --- HANDLE_RESOLUTION, ENDPOINT_UNREACHABLE --->  | registrar |
//!   attacker --- any of these, every so often -------------->  +-----------+
//! ```
//!
//! What ships is spoken to in messages, over an association for each server, each user and each
//! connection of the attacker, all from addresses of their own. Its keep-alives are answered at once;
//! its timers are played up to the time at which somebody speaks to it.

use super::registrar::{Offers, POOL, address_of, element_at, id_of, moment, pool, space_of};
use super::{Attack, Defence, Harm, MAX_BAD_PE_REPORT, Scenario, Siege};
use crate::rng::Random;
use rserpool_proto::handlespace::{Asker, Handlespace, HandlespaceConfig, Slot};
use rserpool_proto::id::{AssociationId, PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{
    Channel, Identity, Input, Locator, Machine as _, Name, NameKind, Output, Subject,
};
use rserpool_proto::policy::{PolicyKind, Rules};
use rserpool_proto::registrar::{Authority, Event, Grants, Registrar, RegistrarConfig};
use rserpool_proto::time::Instant;
use rserpool_proto::timers::{ElementTimers, Preset};
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::capability::{Capabilities, Owner};
use rserpool_proto::wire::pool_element::PoolElement;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Whom an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Server(usize),
    /// An element that was made up.
    Nobody(PeId),
}

/// A registrar under attack.
pub(super) struct Besieged {
    registrar: Kind,
    offers: Offers,
    attack: Attack,
    harm: Harm,
}

enum Kind {
    Shipped(Box<Shipped>),
    Literal(Box<Literal>),
}

/// Identifiers of elements that are made up begin here.
const FAKES: u32 = 1_000_000;

impl Besieged {
    pub(super) fn new(kind: PolicyKind, scenario: &Scenario, siege: Siege, seed: u64) -> Self {
        let registrar = match siege.registrar {
            Defence::Shipped { secured, elements_per_owner } => {
                let answered = siege.attack == (Attack::Fakes { answered: true });
                let mut config = RegistrarConfig { id: ServerId(1), ..RegistrarConfig::default() };
                let rules = Rules::preset(Preset::Default);
                config.limits.handlespace = HandlespaceConfig { rules, ..space_of(kind) };
                if let Some(most) = elements_per_owner {
                    config.limits.elements_per_owner = most;
                }
                if secured {
                    let grants = Grants { scope: SCOPE.into(), ..Grants::default() };
                    config.authority = Authority::Secured(Arc::new(grants));
                }
                Kind::Shipped(Box::new(Shipped::new(config, answered, seed)))
            }
            Defence::Literal => Kind::Literal(Box::new(Literal::new(kind, seed))),
        };
        let (offers, attack) = (Offers::new(kind, scenario), siege.attack);
        let mut besieged = Self { registrar, offers, attack, harm: Harm::default() };
        for server in 0..scenario.servers.len() {
            besieged.register(0.0, server, 0);
        }
        besieged
    }

    /// Whether the policy's words change with the load.
    pub(super) fn wants_load(&self) -> bool {
        self.offers.wants_load
    }

    /// Seconds from one registration of a server to its next, whether anything has changed or not.
    pub(super) fn renewed_every(&self) -> f64 {
        let preset = match self.registrar {
            Kind::Shipped(_) => Preset::Default,
            Kind::Literal(_) => Preset::Rfc,
        };
        ElementTimers::preset(preset).t4_reregistration().as_secs_f64()
    }

    /// A server registers or re-registers with so many requests.
    pub(super) fn register(&mut self, now: f64, server: usize, requests: usize) {
        let element = self.offers.element(server, requests);
        let accepted = match &mut self.registrar {
            Kind::Shipped(shipped) => shipped.register(moment(now), Party::Server(server), element),
            Kind::Literal(literal) => literal.register(moment(now), element),
        };
        debug_assert!(accepted, "server {server} was refused");
    }

    /// A server has failed.
    pub(super) fn remove(&mut self, now: f64, server: usize) {
        match &mut self.registrar {
            Kind::Shipped(shipped) => shipped.deregister(moment(now), server),
            Kind::Literal(literal) => literal.remove(moment(now), id_of(server)),
        }
    }

    /// Whom the answer to a user's question names first.
    pub(super) fn choose(&mut self, now: f64, user: usize) -> Option<Named> {
        self.resolve(now, Party::User(user)).map(|id| {
            if id.0 < FAKES { Named::Server(id.0 as usize - 1) } else { Named::Nobody(id) }
        })
    }

    /// A user cannot reach an element.
    pub(super) fn report(&mut self, now: f64, user: usize, element: PeId) {
        self.say_unreachable(now, Party::User(user), element);
    }

    /// The attacker does what it does.
    pub(super) fn attack(&mut self, now: f64) {
        let number = self.harm.attacks;
        self.harm.attacks += 1;
        match self.attack {
            Attack::Resolutions => {
                self.resolve(now, Party::Attacker(0));
            }
            Attack::Reports { connections } => {
                let connection = (number % connections.max(1) as u64) as usize;
                if let Some(named) = self.resolve(now, Party::Attacker(connection)) {
                    self.say_unreachable(now, Party::Attacker(connection), named);
                }
            }
            Attack::Fakes { .. } => {
                let id = PeId(FAKES.saturating_add(number as u32));
                let party = Party::Attacker(0);
                let element = element_at(id, party.address(), self.offers.element(0, 0).policy);
                let accepted = match &mut self.registrar {
                    Kind::Shipped(shipped) => shipped.register(moment(now), party, element),
                    Kind::Literal(literal) => literal.register(moment(now), element),
                };
                self.harm.accepted += u64::from(accepted);
            }
        }
    }

    pub(super) fn harm(&self) -> Harm {
        let removed = match &self.registrar {
            Kind::Shipped(shipped) => shipped.removed,
            Kind::Literal(literal) => literal.removed,
        };
        Harm { removed, ..self.harm }
    }

    fn resolve(&mut self, now: f64, party: Party) -> Option<PeId> {
        match &mut self.registrar {
            Kind::Shipped(shipped) => shipped.resolve(moment(now), party),
            Kind::Literal(literal) => literal.resolve(moment(now)),
        }
    }

    fn say_unreachable(&mut self, now: f64, party: Party, id: PeId) {
        match &mut self.registrar {
            Kind::Shipped(shipped) => shipped.report(moment(now), party, id),
            Kind::Literal(literal) => literal.report(moment(now), id),
        }
    }
}

/// Who speaks to a registrar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Server(usize),
    User(usize),
    /// One of the attacker's connections.
    Attacker(usize),
}

/// The scope in the names of certificates.
const SCOPE: &str = "plan";

impl Party {
    fn address(self) -> IpAddr {
        match self {
            Self::Server(server) => address_of(server),
            Self::User(user) => IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0001 + user as u32)),
            Self::Attacker(_) => IpAddr::from([12, 0, 0, 1]),
        }
    }

    /// What its certificate says, where there are any. The attacker's is a user's.
    fn identity(self) -> Identity {
        let uri = match self {
            Self::Server(_) => format!("rserpool://{SCOPE}/element/*"),
            Self::User(_) | Self::Attacker(_) => format!("rserpool://{SCOPE}/user"),
        };
        // What drivers take of a hash of the name.
        let mut owner = [0; 16];
        let number = match self {
            Self::Server(server) => server as u64,
            Self::User(user) => 1 << 32 | user as u64,
            Self::Attacker(_) => 2 << 32,
        };
        owner[..8].copy_from_slice(&number.to_le_bytes());
        let names = vec![Name { kind: NameKind::Uri, text: uri.into() }];
        Identity::Verified(Arc::new(Subject { names, owner: Owner(owner) }))
    }
}

/// The machine that ships.
struct Shipped {
    machine: Registrar,
    secured: bool,
    pool: PoolHandle,
    now: Instant,
    associations: BTreeMap<Party, AssociationId>,
    parties: BTreeMap<AssociationId, Party>,
    next: u64,
    /// Whether the attacker answers keep-alives.
    answered: bool,
    /// Answers to keep-alives on their way.
    replies: VecDeque<(AssociationId, Body)>,
    /// What was answered last.
    named: Option<PeId>,
    accepted: bool,
    removed: u64,
}

impl Shipped {
    fn new(config: RegistrarConfig, answered: bool, seed: u64) -> Self {
        let secured = config.authority.is_secured();
        let now = moment(0.0);
        Self {
            machine: Registrar::new(config, Random::new(seed, &[2]).seed(), now),
            secured,
            pool: pool(),
            now,
            associations: BTreeMap::new(),
            parties: BTreeMap::new(),
            next: 1,
            answered,
            replies: VecDeque::new(),
            named: None,
            accepted: false,
            removed: 0,
        }
    }

    fn register(&mut self, now: Instant, party: Party, element: PoolElement) -> bool {
        self.accepted = false;
        let life = ElementTimers::default().registration_life.as_secs() as i32;
        let element = Box::new(PoolElement { life, asap_transport: None, ..element });
        let (handle, capabilities) = (self.pool.clone(), Some(Capabilities(0)));
        self.say(now, party, Body::Registration { handle, element, capabilities, stamp: None });
        self.accepted
    }

    fn deregister(&mut self, now: Instant, server: usize) {
        let (handle, id) = (self.pool.clone(), id_of(server));
        self.say(now, Party::Server(server), Body::Deregistration { handle, id, stamp: None });
    }

    fn resolve(&mut self, now: Instant, party: Party) -> Option<PeId> {
        self.named = None;
        let (handle, items, capabilities) = (self.pool.clone(), Some(1), Some(Capabilities(0)));
        let body = Body::HandleResolution { subscribe: false, handle, items, capabilities };
        self.say(now, party, body);
        self.named
    }

    fn report(&mut self, now: Instant, party: Party, id: PeId) {
        let handle = self.pool.clone();
        self.say(now, party, Body::EndpointUnreachable { handle, id });
    }

    /// Somebody says something, and hears what is said to that.
    fn say(&mut self, now: Instant, party: Party, body: Body) {
        while let Some(due) = self.machine.next_timeout()
            && due <= now
        {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
        }
        self.now = now;
        let assoc = self.association(party);
        self.tell(assoc, body);
    }

    /// The association of a party, which is opened again if it was closed.
    fn association(&mut self, party: Party) -> AssociationId {
        if let Some(assoc) = self.associations.get(&party) {
            return *assoc;
        }
        let assoc = AssociationId(self.next);
        self.next += 1;
        self.associations.insert(party, assoc);
        self.parties.insert(assoc, party);
        let port = 1024 + (assoc.0 % 60_000) as u16;
        self.input(Input::Connected {
            assoc,
            attempt: None,
            channel: Channel::Asap,
            local: Locator::tcp(SocketAddr::from(([13, 0, 0, 1], 3863))),
            remote: Locator::tcp(SocketAddr::new(party.address(), port)),
            identity: if self.secured { party.identity() } else { Identity::Anonymous },
        });
        assoc
    }

    fn tell(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        if Message::from(body).encode(&mut bytes).is_ok() {
            self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
        while let Some((assoc, body)) = self.replies.pop_front() {
            self.tell(assoc, body);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Transmit { assoc, bytes, .. } => self.hear(assoc, &bytes),
                Output::Disconnect { assoc } => {
                    if let Some(party) = self.parties.remove(&assoc) {
                        self.associations.remove(&party);
                    }
                }
                Output::Event(Event::ElementRemoved { id, .. }) if id.0 < FAKES => {
                    self.removed += 1;
                }
                _ => {}
            }
        }
    }

    /// What the registrar says to the other end of an association.
    fn hear(&mut self, assoc: AssociationId, bytes: &[u8]) {
        let Some(&party) = self.parties.get(&assoc) else { return };
        let Ok(decoded) = Message::decode(bytes) else { return };
        match decoded.message.body {
            Body::RegistrationResponse { rejected, .. } => self.accepted = !rejected,
            Body::HandleResolutionResponse(response) => {
                self.named = response.elements.first().map(|element| element.id);
            }
            Body::EndpointKeepAlive { handle, id: Some(id), .. }
                if self.answered || matches!(party, Party::Server(_)) =>
            {
                self.replies.push_back((assoc, Body::EndpointKeepAliveAck { handle, id }));
            }
            _ => {}
        }
    }
}

/// RFC 5352 to the letter.
struct Literal {
    space: Handlespace,
    pool: PoolHandle,
    /// Reports of each element.
    reports: BTreeMap<PeId, u32>,
    chosen: Vec<Slot>,
    removed: u64,
}

impl Literal {
    fn new(kind: PolicyKind, seed: u64) -> Self {
        let space = Handlespace::new(space_of(kind), Random::new(seed, &[2]).seed());
        Self { space, pool: pool(), reports: BTreeMap::new(), chosen: Vec::new(), removed: 0 }
    }

    /// RFC 5352 §3.1: whoever asks is let in.
    fn register(&mut self, now: Instant, element: PoolElement) -> bool {
        self.space.register(now, &self.pool, element, None).is_ok()
    }

    fn remove(&mut self, now: Instant, id: PeId) {
        self.reports.remove(&id);
        self.space.remove(now, POOL, id);
    }

    fn resolve(&mut self, now: Instant) -> Option<PeId> {
        self.space.resolve(now, POOL, 1, Asker::UNCOUNTED, &mut self.chosen)?;
        Some(self.space.element_at(*self.chosen.first()?)?.id())
    }

    /// RFC 5352 §3.5. The element is asked for a sign of life, which is sent successfully, be it
    /// answered or not: the element stays, until its counter is too high.
    fn report(&mut self, now: Instant, id: PeId) {
        if self.space.slot(POOL, id).is_none() {
            return;
        }
        let reports = self.reports.entry(id).or_default();
        *reports += 1;
        if *reports > MAX_BAD_PE_REPORT {
            self.removed += u64::from(id.0 < FAKES);
            self.remove(now, id);
        }
    }
}
