//! The oracle: plain models of what every machine should know, fed with what machines receive, send
//! and tell, and compared with what they say.
//!
//! ```text
//!   input ──> before ──> machine ──> transmit, event ──> after
//!               │                          │               │
//!               └──────────> model <───────┴── compared ───┘      once a second: everything
//! ```
//!
//! A model is what a person would write down: a list of elements with holder and lease, a list of
//! requests without answer. It has no timers and no indexes, and decides nothing: it only says no.

mod liveness;
mod policy;
mod registrar;
mod replication;
mod session;
mod user;
mod watch;

use crate::conn::{State, end_of};
use crate::net::NodeId;
use crate::node::{Command, Given, Machine, Role, Setup, Wish};
use crate::world::{Violation, World};
use liveness::Reach;
pub(crate) use liveness::{GOOD, b1};
use registrar::RegistrarModel;
pub(crate) use replication::{FOUND, b2, b3};
use replication::{Issued, Told};
use rserpool_proto::id::{AssociationId, PeId, PoolHandle};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::operation_error::ErrorCause;
use rserpool_proto::{endpoint, registrar as machine};
use std::collections::BTreeMap;
use user::UserModel;
use watch::Watchers;

/// The models of all machines, and the first violation.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) violation: Option<Violation>,
    models: Vec<Model>,
    pub(crate) reach: Reach,
    watchers: Watchers,
    /// Everything has been whole since then.
    pub(crate) healed: Option<u64>,
    /// When something was broken or mended last.
    pub(crate) disturbed: u64,
    /// Some registrars know others.
    peered: bool,
    /// Registrars say by multicast where they are.
    announced: bool,
    /// The scope is a secured one.
    pub(crate) secured: bool,
    issued: Issued,
    pub(crate) sessions: session::Sessions,
    /// When each element was last seen to have a home that runs.
    owned: BTreeMap<(PoolHandle, PeId), u64>,
    /// By home and another registrar: what the other one does not know, and since when.
    lacking: BTreeMap<(NodeId, NodeId), BTreeMap<(PoolHandle, PeId), u64>>,
}

#[derive(Debug)]
enum Model {
    None,
    Registrar(Box<RegistrarModel>),
    User(Box<UserModel>),
}

/// What was noted before an input.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Fingerprint of a registrar's elements, if the input is one that comes again.
    elements: Option<u64>,
    /// What another registrar says.
    told: Option<Told>,
}

impl Oracle {
    /// A node more.
    pub(crate) fn add(&mut self, role: Role, setup: &Setup) {
        if let Setup::Registrar(config) = setup {
            self.announced |= config.enrp_announced.is_some();
            self.secured |= config.authority.is_secured();
            self.peered |= !config.peers.is_empty() || self.announced;
        }
        self.models.push(match setup {
            Setup::Registrar(config) => Model::Registrar(Box::new(RegistrarModel::new(config))),
            Setup::User(config) => Model::User(Box::new(UserModel::new(config))),
            Setup::Element(_) | Setup::Hostile { .. } => Model::None,
        });
        self.reach.add(role);
    }

    fn registrar(&mut self, id: NodeId) -> Option<&mut RegistrarModel> {
        match self.models.get_mut(id) {
            Some(Model::Registrar(model)) => Some(model),
            _ => None,
        }
    }

    /// How many requests wait at a user for their answer.
    pub(crate) fn waiting(&self, id: NodeId) -> usize {
        match self.models.get(id) {
            Some(Model::User(model)) => model.waiting(),
            _ => 0,
        }
    }

    fn user(&mut self, id: NodeId) -> Option<&mut UserModel> {
        match self.models.get_mut(id) {
            Some(Model::User(model)) => Some(model),
            _ => None,
        }
    }
}

/// What a model found, to be blamed on a node.
pub(crate) type Verdict = Result<(), (&'static str, String)>;

impl World {
    pub(crate) fn judge(&mut self, id: NodeId, verdict: Verdict) {
        if let Err((invariant, text)) = verdict {
            self.violate(invariant, Some(id), text);
        }
    }

    /// A process has started: it knows nothing.
    pub(crate) fn oracle_started(&mut self, id: NodeId) {
        if let Some(model) = self.oracle.registrar(id) {
            model.restart();
        }
        if let Some(model) = self.oracle.user(id) {
            model.restart();
            self.oracle_watcher_restarts(id);
        }
    }

    pub(crate) fn oracle_stopped(&mut self, id: NodeId) {
        self.oracle_started(id);
    }

    pub(crate) fn oracle_before(&mut self, id: NodeId, now: Instant, given: &Given) -> Before {
        let mut before = Before::default();
        match given {
            Given::Received { assoc, bytes, twice, .. } if self.is_enrp(*assoc) => {
                let is_stranger = self.oracle.secured && self.is_hostile(*assoc);
                before = self.before_enrp(id, bytes, *twice, is_stranger);
            }
            Given::ConnectFailed { .. } => {
                if let Some(model) = self.oracle.registrar(id) {
                    model.call_failed = true;
                }
            }
            Given::Command(command) if matches!(**command, Command::Drain) => {
                let peered = self.oracle.peered;
                if let Some(model) = self.oracle.registrar(id) {
                    model.retired = peered;
                }
            }
            Given::Received { assoc, bytes, twice, .. } => {
                let role = self.nodes[id].setup.role();
                let kind = u16::from(bytes.first().copied().unwrap_or(0));
                let body = match role {
                    Role::Registrar | Role::User => Message::decode(bytes).ok(),
                    Role::Element | Role::Hostile => None,
                };
                let state = self.state_for(id, *assoc, body.as_ref().map(|b| &b.message.body));
                self.stats.coverage.meet(role, kind, state);
                let Some(decoded) = body else { return before };
                let from = self.other_end(*assoc).unwrap_or(id);
                if let Some(model) = self.oracle.registrar(id) {
                    // To one that was slow it may be the answer to the next question.
                    let answers = model.is_answer(*assoc, &decoded.message.body);
                    model.received(now, *assoc, from, decoded.message.body);
                    if *twice && !answers {
                        before.elements = Some(model.fingerprint());
                    }
                } else if let Some(model) = self.oracle.user(id) {
                    model.received(now, decoded.message.body);
                }
            }
            Given::Closed { assoc, .. } | Given::SendFailed { assoc } => {
                if let Some(model) = self.oracle.registrar(id) {
                    model.closing(*assoc);
                }
            }
            _ => {}
        }
        before
    }

    pub(crate) fn oracle_transmit(
        &mut self,
        id: NodeId,
        machine: &machine::Registrar,
        assoc: AssociationId,
        bytes: &[u8],
    ) {
        if self.is_enrp(assoc) {
            return;
        }
        let now = self.local(id);
        let Ok(decoded) = Message::decode(bytes) else { return };
        let body = decoded.message.body;
        if let Body::RegistrationResponse { rejected: false, handle, id: pe, .. } = &body {
            self.note_granted(id, machine, assoc, handle, *pe);
        }
        if self.oracle.secured && self.is_hostile(assoc) {
            let verdict = self.granted_to_liar(machine, assoc, &body);
            self.judge(id, verdict);
            if let Body::HandleResolutionResponse(response) = &body
                && response.errors.contains(&ErrorCause::SecurityConsiderations)
            {
                return;
            }
        }
        let Some(model) = self.oracle.registrar(id).filter(|model| !model.retired) else { return };
        let verdict = model.transmitted(now, assoc, &body, machine);
        self.stats.answers += u64::from(matches!(body, Body::HandleResolutionResponse(_)));
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_disconnect(&mut self, id: NodeId, assoc: AssociationId) {
        let leaves = self.nodes[id].draining;
        let Some(model) = self.oracle.registrar(id).filter(|model| !model.retired) else { return };
        let held = model.held_by(assoc);
        model.closing(assoc);
        if let Some((handle, pe)) = held.filter(|_| !leaves) {
            self.violate("I2", Some(id), format!("hangs up on {handle} {pe}, whose home it is"));
        }
    }

    pub(crate) fn oracle_registrar_event(
        &mut self,
        id: NodeId,
        machine: &machine::Registrar,
        now: Instant,
        event: &machine::Event,
    ) {
        if self.oracle.registrar(id).is_none_or(|model| model.retired) {
            return;
        }
        if let machine::Event::ElementRegistered { handle, id: pe }
        | machine::Event::ElementRemoved { handle, id: pe, .. } = event
        {
            self.oracle.owned.insert((handle.clone(), *pe), self.now);
        }
        if let machine::Event::ElementRemoved { handle, id: pe, reason } = event {
            self.stats.removals += 1;
            let silent = *reason == machine::RemovalReason::KeepAliveMissed;
            if silent || *reason == machine::RemovalReason::Expired {
                self.check_removal(id, handle, *pe, silent);
            }
        }
        let Some(model) = self.oracle.registrar(id) else { return };
        let verdict = model.told(now, event, machine);
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_after(&mut self, id: NodeId, now: Instant, before: Before) {
        let retired = self.oracle.registrar(id).is_some_and(|model| model.retired);
        if let Some(told) = before.told.as_ref().filter(|_| !retired) {
            self.after_enrp(id, told);
        }
        let Machine::Registrar(machine) = &self.nodes[id].machine else { return };
        let Some(Model::Registrar(model)) = self.oracle.models.get_mut(id) else { return };
        if model.retired {
            return;
        }
        let mut verdict = model.settled(now, machine);
        if let (Ok(()), Some(elements)) = (&verdict, before.elements)
            && elements != model.fingerprint()
        {
            verdict = Err(("I7", "changes its elements by a message that came twice".to_owned()));
        }
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_request(&mut self, id: NodeId, request: u64, wish: Wish) {
        let now = self.local(id);
        if let Some(model) = self.oracle.user(id) {
            model.asked(now, request, wish);
        }
    }

    pub(crate) fn oracle_report(
        &mut self,
        id: NodeId,
        now: Instant,
        handle: &PoolHandle,
        element: PeId,
    ) {
        if let Some(model) = self.oracle.user(id) {
            model.reported(now, handle, element);
        }
    }

    pub(crate) fn oracle_purge(&mut self, id: NodeId, now: Instant, handle: &PoolHandle) {
        if let Some(model) = self.oracle.user(id) {
            model.purged(now, handle);
        }
    }

    pub(crate) fn oracle_user_event(
        &mut self,
        id: NodeId,
        now: Instant,
        event: &endpoint::pool_user::Event,
    ) {
        if let endpoint::pool_user::Event::PoolChanged { handle, state, .. } = event {
            self.oracle_told(id, handle, state);
        }
        let Some(model) = self.oracle.user(id) else { return };
        let verdict = model.told(now, event);
        self.judge(id, verdict);
    }

    /// What cannot be checked at every event.
    pub(crate) fn check_second(&mut self) {
        self.stats.simulated = self.now;
        for id in 0..self.nodes.len() {
            if !self.works(id) {
                continue;
            }
            let now = self.local(id);
            self.check_kept(id);
            // One that was slow until now still has its last input to finish.
            let busy_until = self.nodes[id].busy_until;
            let since = self.oracle.reach.working_since(id).map(|since| since.max(busy_until));
            let worked = since.map_or(0, |since| self.now.saturating_sub(since));
            let verdict = match (&self.nodes[id].machine, self.oracle.models.get_mut(id)) {
                (Machine::Registrar(machine), Some(Model::Registrar(model))) => {
                    model.compare(now, machine, worked, &self.oracle.issued)
                }
                (Machine::User(_), Some(Model::User(model))) => model.overdue(now, worked),
                _ => Ok(()),
            };
            self.judge(id, verdict);
        }
        self.check_absences();
        self.check_sessions();
        self.check_replicas();
        self.check_watches(false);
    }

    /// I8: what a machine remembers is bounded by what there is.
    fn check_kept(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let associations = node.conns.len();
        let (kept, most) = match &node.machine {
            Machine::Registrar(machine) => {
                let elements = machine.handlespace().element_count();
                (machine.kept(), 4 * (associations + elements) + 16 * self.nodes.len())
            }
            Machine::Element(machine) => (machine.kept(), 64),
            Machine::User(machine) => {
                // Everything in the answers, remembered and set aside, and the requests of a while.
                let requests = self.oracle.waiting(id);
                (machine.kept(), 8 * requests + 16 * self.nodes.len() + 256)
            }
            Machine::Hostile(_) | Machine::None => return,
        };
        if kept > most {
            self.violate("I8", Some(id), format!("remembers {kept} things, and should {most}"));
        }
    }

    /// A message of a session's control channel comes.
    pub(crate) fn meet(&mut self, role: Role, ppid: u32, bytes: &[u8], state: &'static str) {
        if ppid == PPID_ASAP {
            let kind = u16::from(bytes.first().copied().unwrap_or(0));
            self.stats.coverage.meet(role, kind, state);
        }
    }

    /// The state that a message meets, in a word.
    fn state_for(&mut self, id: NodeId, assoc: AssociationId, body: Option<&Body>) -> &'static str {
        match &self.nodes[id].machine {
            Machine::Element(element) => {
                use endpoint::pool_element::State;
                match element.state() {
                    State::Hunting => "hunting",
                    State::Registering => "registering",
                    State::Registered => "registered",
                    State::Refused => "refused",
                    State::Deregistering => "deregistering",
                    State::Deregistered => "deregistered",
                }
            }
            Machine::User(user) => match user.home() {
                Some(_) => "home",
                None => "hunting",
            },
            Machine::Registrar(_) => match (self.oracle.registrar(id), body) {
                (Some(model), Some(body)) => model.state_for(assoc, body),
                _ => "malformed",
            },
            Machine::Hostile(_) | Machine::None => "hostile",
        }
    }

    fn other_end(&self, assoc: AssociationId) -> Option<NodeId> {
        let (conn, end) = end_of(assoc);
        self.conns.get(conn).map(|conn| conn.ends[1 - end].node)
    }

    /// Whether somebody hostile is at the other end of an association.
    fn is_hostile(&self, assoc: AssociationId) -> bool {
        self.other_end(assoc).is_some_and(|node| self.nodes[node].setup.role() == Role::Hostile)
    }

    /// I11: what a secured registrar says to somebody hostile grants nothing but what its certificate
    /// does.
    fn granted_to_liar(
        &self,
        machine: &machine::Registrar,
        assoc: AssociationId,
        body: &Body,
    ) -> Verdict {
        let (conn, end) = end_of(assoc);
        let liar = &self.nodes[self.conns[conn].ends[1 - end].node];
        let Setup::Hostile { insider, .. } = &liar.setup else { return Ok(()) };
        let own = insider.as_ref().and_then(|insider| Some((insider.own.as_ref()?, insider.at)));
        let is_own = |handle: &PoolHandle| own.is_some_and(|(own, _)| own == handle);
        let name = &liar.name;
        match body {
            Body::RegistrationResponse { rejected: false, handle, id, .. } => {
                let element = machine.handlespace().element(handle.as_bytes(), *id);
                let mut at = element.into_iter().flat_map(|e| e.user_transport().socket_addrs());
                if !is_own(handle) || !at.all(|at| own.is_some_and(|(_, own)| at.ip() == own)) {
                    return Err(("I11", format!("registers {handle} {id} for {name}")));
                }
            }
            Body::DeregistrationResponse { handle, id, errors }
                if errors.is_empty() && !is_own(handle) =>
            {
                return Err(("I11", format!("deregisters {handle} {id} for {name}")));
            }
            Body::HandleResolutionResponse(response)
                if !response.elements.is_empty() && liar.owner.identity.names().is_empty() =>
            {
                return Err(("I11", format!("tells {name} who is in {}", response.handle)));
            }
            _ => {}
        }
        Ok(())
    }

    /// The node at the other end of an association, if that end is open.
    fn open_peer(&self, assoc: AssociationId) -> Option<NodeId> {
        let (conn, end) = end_of(assoc);
        let other = &self.conns.get(conn)?.ends[1 - end];
        (other.state == State::Open).then_some(other.node)
    }
}
