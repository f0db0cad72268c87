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
mod user;

use crate::conn::{State, end_of};
use crate::net::NodeId;
use crate::node::{Given, Machine, Role, Setup};
use crate::world::{Violation, World};
use liveness::Reach;
pub(crate) use liveness::{GOOD, b1};
use registrar::RegistrarModel;
use rserpool_proto::id::{AssociationId, PeId, PoolHandle};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::{endpoint, registrar as machine};
use user::UserModel;

/// The models of all machines, and the first violation.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) violation: Option<Violation>,
    models: Vec<Model>,
    pub(crate) reach: Reach,
    /// Everything has been whole since then.
    pub(crate) healed: Option<u64>,
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
}

impl Oracle {
    /// A node more.
    pub(crate) fn add(&mut self, role: Role, setup: &Setup) {
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

    fn user(&mut self, id: NodeId) -> Option<&mut UserModel> {
        match self.models.get_mut(id) {
            Some(Model::User(model)) => Some(model),
            _ => None,
        }
    }
}

/// What a model found, to be blamed on a node.
type Verdict = Result<(), (&'static str, String)>;

impl World {
    fn judge(&mut self, id: NodeId, verdict: Verdict) {
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
        }
    }

    pub(crate) fn oracle_stopped(&mut self, id: NodeId) {
        self.oracle_started(id);
    }

    pub(crate) fn oracle_before(&mut self, id: NodeId, now: Instant, given: &Given) -> Before {
        let mut before = Before::default();
        match given {
            Given::Received { assoc, bytes, twice, .. } => {
                let role = self.nodes[id].setup.role();
                let kind = bytes.first().copied().unwrap_or(0);
                let body = match role {
                    Role::Registrar | Role::User => Message::decode(bytes).ok(),
                    Role::Element | Role::Hostile => None,
                };
                let state = self.state_for(id, *assoc, body.as_ref().map(|b| &b.message.body));
                self.stats.coverage.meet(role, kind, state);
                let Some(decoded) = body else { return before };
                if let Some(model) = self.oracle.registrar(id) {
                    model.received(now, *assoc, decoded.message.body);
                    if *twice {
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

    pub(crate) fn oracle_transmit(&mut self, id: NodeId, assoc: AssociationId, bytes: &[u8]) {
        let now = self.local(id);
        let mut answers = 0;
        let Some(model) = self.oracle.registrar(id) else { return };
        let verdict = match Message::decode(bytes) {
            Ok(decoded) => {
                answers =
                    u64::from(matches!(decoded.message.body, Body::HandleResolutionResponse(_)));
                model.transmitted(now, assoc, &decoded.message.body)
            }
            // Registrars among themselves.
            Err(_) => Ok(()),
        };
        self.stats.answers += answers;
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_disconnect(&mut self, id: NodeId, assoc: AssociationId) {
        let leaves = self.nodes[id].draining;
        let Some(model) = self.oracle.registrar(id) else { return };
        let held = model.held_by(assoc);
        model.closing(assoc);
        if let Some((handle, pe)) = held.filter(|_| !leaves) {
            self.violate("I2", Some(id), format!("hangs up on {handle} {pe}, whose home it is"));
        }
    }

    pub(crate) fn oracle_registrar_event(
        &mut self,
        id: NodeId,
        now: Instant,
        event: &machine::Event,
    ) {
        if let machine::Event::ElementRemoved { handle, id: pe, reason } = event {
            self.stats.removals += 1;
            let silent = *reason == machine::RemovalReason::KeepAliveMissed;
            if silent || *reason == machine::RemovalReason::Expired {
                self.check_removal(id, handle, *pe, silent);
            }
        }
        let Some(model) = self.oracle.registrar(id) else { return };
        let verdict = model.told(now, event);
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_after(&mut self, id: NodeId, now: Instant, before: Before) {
        let Machine::Registrar(machine) = &self.nodes[id].machine else { return };
        let Some(Model::Registrar(model)) = self.oracle.models.get_mut(id) else { return };
        let mut verdict = model.settled(now, machine);
        if let (Ok(()), Some(elements)) = (&verdict, before.elements)
            && elements != model.fingerprint()
        {
            verdict = Err(("I7", "changes its elements by a message that came twice".to_owned()));
        }
        self.judge(id, verdict);
    }

    pub(crate) fn oracle_request(&mut self, id: NodeId, request: u64, exclude: &[PeId]) {
        let now = self.local(id);
        if let Some(model) = self.oracle.user(id) {
            model.asked(now, request, exclude);
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

    pub(crate) fn oracle_user_event(
        &mut self,
        id: NodeId,
        now: Instant,
        event: &endpoint::pool_user::Event,
    ) {
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
            let since = self.oracle.reach.working_since(id);
            let worked = since.map_or(0, |since| self.now.saturating_sub(since));
            let verdict = match (&self.nodes[id].machine, self.oracle.models.get_mut(id)) {
                (Machine::Registrar(machine), Some(Model::Registrar(model))) => {
                    model.compare(now, machine, worked)
                }
                (Machine::User(_), Some(Model::User(model))) => model.overdue(now, worked),
                _ => Ok(()),
            };
            self.judge(id, verdict);
        }
        self.check_absences();
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
                let requests = self.oracle.user(id).map_or(0, |model| model.waiting());
                (machine.kept(), 8 * requests + 16 * self.nodes.len() + 256)
            }
            Machine::Hostile(_) | Machine::None => return,
        };
        if kept > most {
            self.violate("I8", Some(id), format!("remembers {kept} things, and should {most}"));
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

    /// The node at the other end of an association, if that end is open.
    fn open_peer(&self, assoc: AssociationId) -> Option<NodeId> {
        let (conn, end) = end_of(assoc);
        let other = &self.conns.get(conn)?.ends[1 - end];
        (other.state == State::Open).then_some(other.node)
    }
}
