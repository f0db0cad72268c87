//! Several registrars: what they tell each other never turns time back (I7), a takeover removes
//! nothing of the living (I12), what nobody has is forgotten (I1), what somebody has is known to all
//! (I2), and in the end all are equal (I3).

use super::{Before, Model, Verdict};
use crate::conn::{State as EndState, end_of};
use crate::net::NodeId;
use crate::node::{Machine, Power, Setup};
use crate::world::World;
use rserpool_proto::endpoint::pool_element::{PoolElement as PoolElementMachine, State};
use rserpool_proto::handlespace::Element;
use rserpool_proto::id::{AssociationId, PeId, PoolHandle, ServerId};
use rserpool_proto::machine::Channel;
use rserpool_proto::registrar::Registrar;
use rserpool_proto::timers::RegistrarTimers;
use rserpool_proto::wire::capability::Stamp;
use rserpool_proto::wire::enrp::{Body, Message, UpdateAction};
use rserpool_proto::wire::policy::PolicyParameter;
use rserpool_proto::wire::pool_element::PoolElement;
use rserpool_proto::wire::transport::Transport;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What elements have been, by the sequence numbers of their stamps: fingerprints of their values.
#[derive(Debug, Default)]
pub(super) struct Issued(BTreeMap<(PoolHandle, PeId), BTreeMap<u64, Vec<u64>>>);

impl Issued {
    fn note(
        &mut self,
        name: (PoolHandle, PeId),
        stamp: Option<Stamp>,
        transport: &Transport,
        policy: &PolicyParameter,
    ) {
        let Some(stamp) = stamp else { return };
        let prints = self.0.entry(name).or_default().entry(stamp.seq).or_default();
        let print = print_of(transport, policy);
        if !prints.contains(&print) {
            prints.push(print);
        }
    }

    /// The stamp that a registrar gives to one that came without, since it is the newest.
    fn next(&self, name: &(PoolHandle, PeId)) -> Option<Stamp> {
        let newest = self.0.get(name)?.keys().next_back()?;
        Some(Stamp { seq: newest + 1, moves: 0 })
    }

    /// I7: whatever a registrar knows of an element it has been at that time.
    pub(super) fn knows(&self, handle: &PoolHandle, element: &Element) -> Verdict {
        let id = element.id();
        if element.suspect() {
            return Err(("I6", format!("suspects {handle} {id}, which is another's")));
        }
        let states = self.0.get(&(handle.clone(), id));
        let prints = states.zip(element.stamp()).and_then(|(states, at)| states.get(&at.seq));
        let print = print_of(element.user_transport(), &element.policy());
        if prints.is_some_and(|prints| prints.contains(&print)) {
            Ok(())
        } else {
            Err(("I7", format!("knows {handle} {id} as it never was")))
        }
    }
}

fn print_of(transport: &Transport, policy: &PolicyParameter) -> u64 {
    let mut hasher = DefaultHasher::new();
    for at in transport.socket_addrs() {
        at.hash(&mut hasher);
    }
    (policy.number.0, policy.words()).hash(&mut hasher);
    hasher.finish()
}

/// What a message between registrars names, and what was known of it before.
#[derive(Debug)]
pub(super) struct Told {
    sender: ServerId,
    kind: Kind,
    named: Vec<Named>,
    /// Digest of everything known before, if the message comes again or from a stranger.
    print: Option<u64>,
    /// It comes from somebody who is no registrar, in a secured scope.
    is_stranger: bool,
}

impl Told {
    fn is_home_of(&self, before: ServerId, after: ServerId) -> bool {
        self.kind == Kind::Table && self.sender == before && before == after
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Says nothing about elements.
    Other,
    Add,
    /// An element that a leaving registrar hands over; it may have suspected it.
    Handover {
        suspected: bool,
    },
    Delete,
    Table,
    Takeover,
}

#[derive(Debug)]
struct Named {
    name: (PoolHandle, PeId),
    said: Option<Stamp>,
    said_home: ServerId,
    before: Option<(Option<Stamp>, ServerId)>,
    /// It was the registrar's own, held by an element that lives.
    lives: bool,
}

/// Time of a table transfer, and of links, in microseconds.
const TRANSFER: u64 = 1_000_000;
/// What is on its way for longer than this was given to a link that was narrow.
const BACKLOG: u64 = 1_000_000;

fn micros(duration: std::time::Duration) -> u64 {
    duration.as_micros() as u64
}

/// Time, in microseconds, in which those who say by multicast where they are find each other though
/// three of ten messages are lost: ten times T6, and an eighth more.
pub(crate) const FOUND: u64 = 11_300_000;

/// B2, in microseconds: the time after which what differs between two registrars has been noticed
/// and repaired.
pub(crate) fn b2(timers: &RegistrarTimers) -> u64 {
    2 * micros(timers.peer_heartbeat) + micros(timers.max_time_no_response) + TRANSFER
}

/// B3, in microseconds: the time after which the elements of a dead registrar have another home.
pub(crate) fn b3(timers: &RegistrarTimers) -> u64 {
    micros(timers.max_time_last_heard) + 2 * micros(timers.max_time_no_response) + b2(timers)
}

/// Time, in microseconds, in which registrars that are left alone forget what nobody has: one takes
/// over, waits for the element, and the others hear that it has not come.
fn orphaned(timers: &RegistrarTimers) -> u64 {
    b3(timers) + micros(timers.rehome_grace) + b2(timers)
}

fn digest_of(machine: &Registrar) -> u64 {
    let space = machine.handlespace();
    let homes = space.homes().map(|home| space.digest(home).rotate_left(home.0 % 64));
    homes.fold(space.element_count() as u64, u64::wrapping_add)
}

impl World {
    /// A message of another registrar is about to be handled.
    pub(super) fn before_enrp(
        &mut self,
        id: NodeId,
        bytes: &[u8],
        twice: bool,
        is_stranger: bool,
    ) -> Before {
        let role = self.nodes[id].setup.role();
        let kind = 0x100 | u16::from(bytes.first().copied().unwrap_or(0));
        let Machine::Registrar(machine) = &self.nodes[id].machine else {
            self.stats.coverage.meet(role, kind, "hostile");
            return Before::default();
        };
        let Ok(decoded) = Message::decode(bytes) else {
            self.stats.coverage.meet(role, kind, "malformed");
            return Before::default();
        };
        let Message { sender, body, .. } = decoded.message;
        let state = state_for(machine, sender, &body);
        let named = |name: (PoolHandle, PeId), element: &PoolElement| {
            let (said, said_home) = (element.extensions.stamp, element.home);
            let element = machine.handlespace().element(name.0.as_bytes(), name.1);
            let before = element.map(|element| (element.stamp(), element.home()));
            let own = before.is_some_and(|(_, home)| home == machine.id());
            let lives = own && self.is_held(id, &name);
            Named { name, said, said_home, before, lives }
        };
        let (kind_of, named) = match body {
            Body::HandleUpdate { takeover_suggested, suspected, action, handle, element } => {
                let name = (handle, element.id);
                let kind = match action {
                    UpdateAction::Add if takeover_suggested => Kind::Handover { suspected },
                    UpdateAction::Add => Kind::Add,
                    UpdateAction::Delete => Kind::Delete,
                };
                (kind, vec![named(name, &element)])
            }
            Body::HandleTableResponse { entries, .. } => {
                let mut all = Vec::new();
                for entry in entries {
                    for element in entry.elements {
                        let name = (entry.handle.clone(), element.id);
                        all.push(named(name, &element));
                    }
                }
                (Kind::Table, all)
            }
            Body::TakeoverServer { .. } | Body::InitTakeoverAck { .. } => {
                (Kind::Takeover, Vec::new())
            }
            _ => (Kind::Other, Vec::new()),
        };
        let print = (twice || is_stranger).then(|| digest_of(machine));
        self.stats.coverage.meet(role, kind, state);
        if let Some(model) = self.oracle.registrar(id) {
            model.from_peer = !is_stranger;
        }
        let told = Told { sender, kind: kind_of, named, print, is_stranger };
        Before { elements: None, told: Some(told) }
    }

    /// Whether an own element of a registrar is held by an association whose other end is that
    /// element, which lives and means it; unless the registrar, which hears nobody, has offered it to
    /// others.
    fn is_held(&self, registrar: NodeId, name: &(PoolHandle, PeId)) -> bool {
        let Some(Model::Registrar(model)) = self.oracle.models.get(registrar) else { return false };
        let Some(entry) = model.elements.get(name) else { return false };
        if model.is_offered(self.local(registrar), entry) {
            return false;
        }
        let Some(peer) = entry.holder.and_then(|holder| self.open_peer(holder)) else {
            return false;
        };
        let Machine::Element(machine) = &self.nodes[peer].machine else { return false };
        machine.id() == name.1
            && machine.state() == State::Registered
            && self.is_at(registrar, machine)
    }

    /// Whether an element takes this registrar for its home.
    pub(super) fn is_at(&self, registrar: NodeId, element: &PoolElementMachine) -> bool {
        let home = element.home().map(|home| home.primary().ip());
        home.and_then(|home| self.addresses.get(&home)) == Some(&registrar)
    }

    /// A message of another registrar has been handled.
    pub(super) fn after_enrp(&mut self, id: NodeId, told: &Told) {
        let now = self.local(id);
        let Machine::Registrar(machine) = &self.nodes[id].machine else { return };
        let Some(Model::Registrar(model)) = self.oracle.models.get_mut(id) else { return };
        let mut verdict = Ok(());
        for Named { name, said, said_home, before, lives } in &told.named {
            let element = machine.handlespace().element(name.0.as_bytes(), name.1);
            let after = element.map(|element| (element.stamp(), element.home()));
            let Some(before) = *before else { continue };
            let (handle, pe) = name;
            match after {
                // What its home lists is so, whatever a takeover had made of it.
                Some(after) if after < before && !told.is_home_of(before.1, after.1) => {
                    let what = format!("lets {handle} {pe} be what it was before");
                    verdict = Err(("I7", what));
                }
                None if told.kind != Kind::Delete && *said_home == before.1 => {
                    verdict = Err(("I7", format!("removes {handle} {pe}, which is announced")));
                }
                None if told.kind == Kind::Delete
                    && said.is_some_and(|said| before.0.is_some_and(|known| said < known)) =>
                {
                    verdict = Err(("I7", format!("lets a late removal end {handle} {pe}")));
                }
                None if told.kind == Kind::Delete && said.is_none() && before.1 != told.sender => {
                    verdict = Err(("I7", format!("lets a stranger end {handle} {pe}")));
                }
                // Its own removal has a number of the element's own; a takeover's has not.
                None if *lives
                    && said.zip(before.0).is_some_and(|(said, known)| said.seq == known.seq) =>
                {
                    verdict = Err(("I12", format!("lets {handle} {pe} be removed, which lives")));
                }
                _ => {}
            }
        }
        match told.kind {
            Kind::Other => {}
            Kind::Add | Kind::Handover { .. } | Kind::Delete => {
                for named in &told.named {
                    // One of the same name that is newer takes the place of its own, if it is
                    // believed.
                    let seq = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.seq);
                    let (handle, pe) = &named.name;
                    let element = machine.handlespace().element(handle.as_bytes(), *pe);
                    let known = element.and_then(|element| element.stamp());
                    let newer = named.before.is_some_and(|(before, _)| seq(known) > seq(before));
                    let Kind::Handover { suspected } = told.kind else {
                        model.sync(now, machine, &named.name);
                        continue;
                    };
                    if newer {
                        model.elements.remove(&named.name);
                    }
                    model.sync(now, machine, &named.name);
                    // Two that hand it over at once, or one whom it is claimed back from: which of
                    // both it is does not show.
                    let moved = !newer && named.before.is_some_and(|(before, _)| known > before);
                    if let Some(entry) = model.elements.get_mut(&named.name)
                        && (newer || moved)
                    {
                        let is_suspected = element.is_some_and(|element| element.suspect());
                        let expected = if newer { suspected } else { is_suspected };
                        // What it has answered counts on where it was kept all the time.
                        let answers = entry.suspected.filter(|_| !newer).unwrap_or(0);
                        entry.suspected = expected.then_some(answers);
                        // What has moved has been said anew, with its whole life.
                        if let Some(element) = element.filter(|_| moved) {
                            entry.lease = element.lease();
                        }
                    }
                }
            }
            Kind::Table | Kind::Takeover => model.sync_all(now, machine),
        }
        if let (Ok(()), Some(print)) = (&verdict, told.print)
            && print != digest_of(machine)
        {
            verdict = match told.is_stranger {
                true => Err(("I11", "changes its elements by what a stranger says".to_owned())),
                false => {
                    Err(("I7", "changes its elements by a message that came twice".to_owned()))
                }
            };
        }
        self.judge(id, verdict);
    }

    /// A registration has been granted: what the element is from now on, or was for a moment if the
    /// same input has ended it.
    pub(super) fn note_granted(
        &mut self,
        registrar: NodeId,
        machine: &Registrar,
        assoc: AssociationId,
        handle: &PoolHandle,
        id: PeId,
    ) {
        let name = (handle.clone(), id);
        if let Some(element) = machine.handlespace().element(handle.as_bytes(), id) {
            let (stamp, policy) = (element.stamp(), element.policy());
            self.oracle.issued.note(name, stamp, element.user_transport(), &policy);
        } else if let Some(Model::Registrar(model)) = self.oracle.models.get(registrar)
            && let Some(asked) = model.asked_for(assoc, handle, id)
        {
            let stamp = asked.extensions.stamp.or_else(|| self.oracle.issued.next(&name));
            self.oracle.issued.note(name, stamp, &asked.user_transport, &asked.policy);
        }
    }

    /// Once a second: what nobody has is forgotten, what somebody has is known to all.
    pub(super) fn check_replicas(&mut self) {
        if !self.oracle.peered {
            return;
        }
        for (model, node) in self.oracle.models.iter().zip(&self.nodes) {
            if let (Model::Registrar(model), Power::On) = (model, node.power) {
                for name in model.elements.keys() {
                    match self.oracle.owned.get_mut(name) {
                        Some(at) => *at = self.now,
                        None => drop(self.oracle.owned.insert(name.clone(), self.now)),
                    }
                }
            }
        }
        if self.backlog() {
            self.oracle.disturbed = self.now;
        }
        let undisturbed = self.now - self.oracle.disturbed;
        for id in 0..self.nodes.len() {
            let Setup::Registrar(config) = &self.nodes[id].setup else { continue };
            let found = if self.oracle.announced { FOUND } else { 0 };
            let forgotten = orphaned(&config.timers) + found;
            let agree = b3(&config.timers) + b2(&config.timers) + found;
            if !self.works(id) {
                continue;
            }
            if undisturbed > forgotten {
                let verdict = self.check_orphans(id, forgotten);
                self.judge(id, verdict);
            }
            for other in 0..self.nodes.len() {
                let lacking = match undisturbed > agree {
                    true => self.lacking(id, other, agree),
                    false => Vec::new(),
                };
                let before = self.oracle.lacking.remove(&(id, other)).unwrap_or_default();
                let since =
                    |name: &(PoolHandle, PeId)| before.get(name).copied().unwrap_or(self.now);
                let lacking: BTreeMap<_, _> =
                    lacking.into_iter().map(|name| (name.clone(), since(&name))).collect();
                let overdue = lacking.iter().find(|(_, since)| self.now - **since > agree);
                let verdict = overdue.map_or(Ok(()), |((handle, pe), _)| {
                    let home = &self.nodes[id].name;
                    Err(("I2", format!("does not know {handle} {pe}, whose home is {home}")))
                });
                if !lacking.is_empty() {
                    self.oracle.lacking.insert((id, other), lacking);
                }
                self.judge(other, verdict);
            }
        }
    }

    /// Whether a link that was narrow still holds what registrars said while it was.
    fn backlog(&self) -> bool {
        self.conns.iter().filter(|conn| conn.channel == Channel::Enrp).any(|conn| {
            conn.ends.iter().all(|end| end.state == EndState::Open)
                && conn.ends.iter().any(|end| end.late_until > self.now + BACKLOG)
        })
    }

    fn check_orphans(&self, id: NodeId, limit: u64) -> Verdict {
        let Machine::Registrar(machine) = &self.nodes[id].machine else { return Ok(()) };
        let space = machine.handlespace();
        for pool in space.pools() {
            for (_, element) in space.elements(pool) {
                let name = (pool.handle().clone(), element.id());
                let owned = self.oracle.owned.get(&name).copied().unwrap_or(0);
                if self.now - owned > limit {
                    let (handle, pe) = name;
                    let home = element.home();
                    let text = format!("still knows {handle} {pe} of {home}, which nobody has");
                    return Err(("I1", text));
                }
            }
        }
        Ok(())
    }

    /// What a registrar has had for so long, and another one does not know as that one's, nor as it
    /// has been later: an element may have gone to a third one from a home that is cut off from both.
    fn lacking(&self, home: NodeId, other: NodeId, limit: u64) -> Vec<(PoolHandle, PeId)> {
        let mut lacking = Vec::new();
        if home == other || !self.works(other) {
            return lacking;
        }
        let (Machine::Registrar(machine), Machine::Registrar(copy)) =
            (&self.nodes[home].machine, &self.nodes[other].machine)
        else {
            return lacking;
        };
        let Some(Model::Registrar(model)) = self.oracle.models.get(home) else { return lacking };
        if !self.is_whole(home, other) || !self.is_whole(other, home) || !copy.is_serving() {
            return lacking;
        }
        let now = self.local(home);
        for (name, entry) in &model.elements {
            let known = copy.handlespace().element(name.0.as_bytes(), name.1);
            let had = machine.handlespace().element(name.0.as_bytes(), name.1);
            let seq = |element: &Element| element.stamp().map(|stamp| stamp.seq);
            let lacks = known.is_none_or(|known| {
                known.home() != machine.id() && seq(known) <= had.and_then(seq)
            });
            if lacks && micros(now.saturating_since(entry.since)) > limit {
                lacking.push(name.clone());
            }
        }
        lacking
    }

    fn is_whole(&self, from: NodeId, to: NodeId) -> bool {
        let quality = self.net.quality(from, to);
        let kind = rserpool_proto::machine::TransportKind::Tcp;
        self.net.is_up(from, to, kind)
            && quality.loss == 0
            && quality.rate == 0
            && quality.latency + quality.jitter <= super::GOOD
    }

    /// I3: what differs between registrars; `None` if all are equal.
    pub(crate) fn difference(&self) -> Option<String> {
        if !self.oracle.peered {
            return None;
        }
        let machines = || {
            self.nodes.iter().filter_map(|node| match &node.machine {
                Machine::Registrar(machine) => Some((&node.name, machine.handlespace(), machine)),
                _ => None,
            })
        };
        let total: usize = machines().map(|(_, space, own)| space.owned_count(own.id())).sum();
        for (name, space, machine) in machines() {
            if space.element_count() != total {
                let count = space.element_count();
                return Some(format!("{name} knows {count} elements of {total}"));
            }
            if !machine.is_serving() {
                return Some(format!("{name} does not serve"));
            }
            for (other, of_other, owner) in machines() {
                let owner = owner.id();
                if space.digest(owner) != of_other.digest(owner)
                    || space.checksum(owner) != of_other.checksum(owner)
                {
                    return Some(format!("{name} knows others of {other} than it has"));
                }
            }
        }
        None
    }

    /// Whether an association is one of registrars.
    pub(super) fn is_enrp(&self, assoc: AssociationId) -> bool {
        let (conn, _) = end_of(assoc);
        let channel = self.conns.get(conn).map(|conn| conn.channel);
        channel == Some(rserpool_proto::machine::Channel::Enrp)
    }
}

/// The state that a message meets, in a word.
fn state_for(machine: &Registrar, sender: ServerId, body: &Body) -> &'static str {
    let space = machine.handlespace();
    let target_of = |target: &ServerId| match space.owned_count(*target) {
        _ if *target == machine.id() => "of itself",
        0 => "of one without elements",
        _ => "of one with elements",
    };
    match body {
        Body::HandleUpdate { handle, element, .. } => {
            match space.element(handle.as_bytes(), element.id).map(Element::home) {
                None => "element unknown",
                Some(home) if home == machine.id() => "own",
                Some(home) if home == sender => "the sender's",
                Some(_) => "a third one's",
            }
        }
        Body::Presence { digest, .. } => match digest {
            None => "first",
            Some(digest) if *digest == space.digest(sender) => "in sync",
            Some(_) => "differs",
        },
        Body::HandleTableResponse { rejected: true, .. } => "rejected",
        Body::HandleTableResponse { more: true, .. } => "more to come",
        Body::HandleTableResponse { .. } if !machine.is_serving() => "starting",
        Body::HandleTableResponse { .. } => "audit",
        Body::InitTakeover { target }
        | Body::InitTakeoverAck { target }
        | Body::TakeoverServer { target } => target_of(target),
        _ if machine.is_serving() => "serving",
        _ => "not serving",
    }
}
