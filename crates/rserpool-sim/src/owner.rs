//! Those who use the machines: they change loads, leave and come back, ask, use what they are given
//! and report what they cannot reach.

use crate::net::NodeId;
use crate::node::{Command, Machine, Power, Role, Setup, Wish};
use crate::world::{Event, World};
use rserpool_proto::endpoint::{pool_element, pool_user};
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::machine::TransportKind;
use rserpool_proto::policy::PolicyParameter;
use rserpool_proto::time::Instant;

/// Pause of an owner before it tries again what was refused.
const RETRY: u64 = 500_000;
/// Time a health check takes at most.
const HEALTH_CHECK: u64 = 20_000;

impl World {
    /// An owner does one of the things it does.
    pub(crate) fn on_owner(&mut self, id: NodeId) {
        let pace = self.nodes[id].owner.pace;
        let node = &mut self.nodes[id];
        if node.power != Power::On || pace == 0 {
            return;
        }
        let (wait, life) = (node.random.exponential(pace), node.life);
        self.queue.push(self.now + wait.max(1), Event::Owner { node: id, life });
        match self.nodes[id].setup.role() {
            Role::Registrar => {}
            Role::Element => self.element_owner(id),
            Role::User => self.user_owner(id),
            Role::Hostile => {
                let handle = {
                    let node = &mut self.nodes[id];
                    node.random.pick(&node.owner.pools).cloned()
                };
                if let Some(handle) = handle.filter(|_| self.nodes[id].random.permille(300)) {
                    self.command_after(id, 0, Command::Resolve { handle, request: 0 });
                }
                self.command_after(id, 0, Command::Lie);
            }
        }
    }

    fn element_owner(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.owner.member {
            node.owner.member = true;
            return self.command_after(id, 0, Command::Reregister);
        }
        match node.random.below(20) {
            0 => {
                node.owner.member = false;
                self.command_after(id, 0, Command::Deregister);
            }
            1 => self.command_after(id, 0, Command::Reregister),
            _ => {
                let Setup::Element(config) = &mut node.setup else { return };
                let words: Vec<u32> = config.policy.words().unwrap_or(&[]).to_vec();
                let changed: Vec<u32> =
                    words.iter().map(|word| change(&mut node.random, *word)).collect();
                let policy = PolicyParameter::new(config.policy.number, &changed);
                config.policy = policy.clone();
                self.command_after(id, 0, Command::SetPolicy(policy));
            }
        }
    }

    fn user_owner(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(handle) = node.random.pick(&node.owner.pools).cloned() else { return };
        if node.random.permille(300) {
            self.ask(id, Wish::NoneOf(Vec::new()), |request| Command::Resolve { handle, request });
        } else {
            let exclude = Vec::new();
            let pick = |request| Command::Pick { handle, request, exclude };
            self.ask(id, Wish::NoneOf(Vec::new()), pick);
        }
    }

    /// Asks a user's machine for something; the request.
    pub(crate) fn ask(
        &mut self,
        id: NodeId,
        wish: Wish,
        command: impl FnOnce(u64) -> Command,
    ) -> u64 {
        let node = &mut self.nodes[id];
        let request = node.owner.next_request;
        node.owner.next_request += 1;
        let command = command(request);
        self.oracle_request(id, request, wish);
        self.command_after(id, 0, command);
        request
    }

    pub(crate) fn on_element_event(&mut self, id: NodeId, event: pool_element::Event) {
        use pool_element::Event;
        let node = &mut self.nodes[id];
        match event {
            Event::Refused { .. } => node.owner.refused = true,
            Event::Registered { .. } => node.owner.refused = false,
            _ => {}
        }
        if !node.owner.reacts {
            return;
        }
        match event {
            Event::Refused { .. } if !node.owner.retries => {
                node.owner.retries = true;
                let after = RETRY + node.random.below(RETRY);
                self.command_after(id, after, Command::TryAgain);
            }
            Event::HealthWanted => {
                let healthy = node.owner.healthy;
                let after = node.random.below(HEALTH_CHECK);
                self.command_after(id, after, Command::Health(healthy));
            }
            Event::Refused { .. }
            | Event::DeregistrationFailed { .. }
            | Event::Registered { .. }
            | Event::Deregistered
            | Event::Expired
            | Event::HomeLost { .. }
            | Event::RegistrarUnreachable
            | Event::ErrorReported { .. } => {}
        }
    }

    pub(crate) fn on_user_event(&mut self, id: NodeId, now: Instant, event: pool_user::Event) {
        self.oracle_user_event(id, now, &event);
        let pool_user::Event::Picked { request, result } = event else { return };
        if self.on_session_picked(id, request.0, &result) || !self.nodes[id].owner.reacts {
            return;
        }
        let Ok(element) = result else { return };
        let Some(address) = element.user_transport.primary() else { return };
        let Some(&target) = self.addresses.get(&address.ip()) else { return };
        if self.can_use(id, target, element.id) {
            return;
        }
        // It cannot be reached: that is reported, and another one is tried.
        let Setup::Element(config) = &self.nodes[target].setup else { return };
        let handle: PoolHandle = config.handle.clone();
        let failed = element.id;
        self.command_after(id, 0, Command::Report { handle: handle.clone(), id: failed });
        if self.nodes[id].random.permille(700) {
            let exclude = vec![failed];
            let pick = |request| Command::Pick { handle, request, exclude };
            self.ask(id, Wish::NoneOf(vec![failed]), pick);
        }
    }

    /// Whether a user can use an element now.
    fn can_use(&self, user: NodeId, target: NodeId, id: PeId) -> bool {
        let running = match &self.nodes[target].machine {
            Machine::Element(element) => element.id() == id && !self.nodes[target].suspended,
            _ => false,
        };
        running
            && self.net.is_up(user, target, TransportKind::Tcp)
            && self.net.is_up(target, user, TransportKind::Tcp)
    }
}

/// Another value of a policy's word, usually a little different.
fn change(random: &mut crate::rng::Random, word: u32) -> u32 {
    match random.below(4) {
        0 => word.saturating_add(1).min(100),
        1 => word.saturating_sub(1).max(1),
        2 => random.between(1, 100) as u32,
        _ => word,
    }
}
