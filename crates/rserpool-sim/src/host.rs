//! Running machines: inputs in, outputs out, wake-ups; starting, stopping and suspending processes.

use crate::conn::{State, end_of};
use crate::describe;
use crate::hostile::Hostile;
use crate::net::NodeId;
use crate::node::{Command, Given, Machine, Power, Setup};
use crate::session::Due;
use crate::world::{Event, Violation, World};
use rserpool_proto::endpoint::pool_element::PoolElement;
use rserpool_proto::endpoint::pool_user::{PoolUser, RequestId};
use rserpool_proto::id::AssociationId;
use rserpool_proto::machine::{Input, Machine as _, Output};
use rserpool_proto::registrar::Registrar;
use rserpool_proto::time::Instant;

/// Most inputs that a machine may be given at one moment: more is a loop.
const MAX_INPUTS_AT_ONCE: u32 = 1_000_000;
/// Most outputs of one input for each node there is, and some more for what it holds; a user has
/// one more for each of its requests that wait.
const MAX_OUTPUTS_PER_NODE: usize = 64;
/// Most attempts to connect that a machine may begin in a second: more is a loop.
const MAX_DIALS_PER_SECOND: u32 = 400;

/// What a machine has to say, but for associations.
enum Said<'a, E> {
    Message(AssociationId, &'a [u8]),
    Event(E),
}

impl World {
    /// Gives a machine an input, now or when it gets to it.
    pub(crate) fn give(&mut self, id: NodeId, given: Given) {
        let node = &mut self.nodes[id];
        if node.power != Power::On {
            return;
        }
        if self.is_of_session(&given) {
            return self.give_session(id, given);
        }
        let node = &mut self.nodes[id];
        if node.suspended || !node.inbox.is_empty() || node.busy_until > self.now {
            node.inbox.push_back(given);
            self.work_later(id);
            return;
        }
        self.handle(id, given);
    }

    fn work_later(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.working && !node.suspended {
            node.working = true;
            let at = node.busy_until.max(self.now);
            self.queue.push(at, Event::Work { node: id });
        }
    }

    pub(crate) fn on_work(&mut self, id: NodeId) {
        self.nodes[id].working = false;
        while self.oracle.violation.is_none() {
            let node = &mut self.nodes[id];
            if node.suspended || node.power != Power::On {
                return;
            }
            if node.busy_until > self.now {
                break;
            }
            // As the real driver does it: time first, then what has come.
            if deadline(&node.machine).is_some_and(|due| due <= node.clock.read(self.now)) {
                self.handle(id, Given::Timeout);
                continue;
            }
            let Some(given) = node.inbox.pop_front() else { return };
            self.handle(id, given);
        }
        if !self.nodes[id].inbox.is_empty() {
            self.work_later(id);
        }
    }

    pub(crate) fn on_wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.wake > self.now {
            // Set to another time since.
            return;
        }
        node.wake = u64::MAX;
        if node.power != Power::On || node.suspended {
            return;
        }
        if node.busy_until > self.now {
            let at = node.busy_until;
            node.wake = at;
            return self.queue.push(at, Event::Wake { node: id });
        }
        let due = deadline(&node.machine);
        if due.is_some_and(|due| due <= node.clock.read(self.now)) {
            self.handle(id, Given::Timeout);
        } else {
            self.schedule_wake(id);
        }
    }

    fn schedule_wake(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(due) = deadline(&node.machine) else { return };
        let at = node.clock.when(self.now, due);
        if at < node.wake {
            node.wake = at;
            self.queue.push(at, Event::Wake { node: id });
        }
    }

    fn handle(&mut self, id: NodeId, given: Given) {
        let now = self.local(id);
        let node = &mut self.nodes[id];
        if node.slow > 0 {
            node.busy_until = self.now + node.slow;
        }
        if node.at_once.0 != self.now {
            node.at_once = (self.now, 0);
        }
        node.at_once.1 += 1;
        if node.at_once.1 > MAX_INPUTS_AT_ONCE {
            return self.violate("I10", Some(id), "is given inputs without end".to_owned());
        }
        self.stats.inputs += 1;
        let before = self.oracle_before(id, now, &given);
        let timeout = matches!(given, Given::Timeout);
        let mut machine = std::mem::take(&mut self.nodes[id].machine);
        match &mut machine {
            Machine::None => {}
            Machine::Registrar(machine) => {
                self.feed_registrar(id, machine, now, given);
                self.drain_registrar(id, machine, now);
            }
            Machine::Element(machine) => {
                self.feed_element(id, machine, now, given);
                self.drain_element(id, machine);
            }
            Machine::User(machine) => {
                self.feed_user(id, machine, now, given);
                self.drain_user(id, machine, now);
            }
            Machine::Hostile(machine) => {
                machine.handle(given);
                self.drain(id, &mut **machine, |_, _, _| ());
            }
        }
        if timeout && deadline(&machine).is_some_and(|due| due <= now) {
            self.violate("I10", Some(id), "wants to be woken in the past, again".to_owned());
        }
        self.nodes[id].machine = machine;
        self.oracle_after(id, now, before);
        self.schedule_wake(id);
    }

    fn feed_registrar(&mut self, id: NodeId, machine: &mut Registrar, now: Instant, given: Given) {
        match given {
            Given::Command(command) => {
                if let Command::Drain = *command {
                    machine.drain(now);
                }
            }
            given => self.feed(id, machine, now, given),
        }
    }

    fn feed_element(&mut self, id: NodeId, machine: &mut PoolElement, now: Instant, given: Given) {
        match given {
            Given::Command(command) => match *command {
                Command::SetPolicy(policy) => machine.set_policy(now, policy),
                Command::Health(healthy) => machine.report_health(now, healthy),
                Command::Deregister => machine.deregister(now),
                Command::Reregister => machine.reregister(now),
                Command::TryAgain => {
                    self.nodes[id].owner.retries = false;
                    if self.nodes[id].owner.member {
                        machine.reregister(now);
                    }
                }
                _ => {}
            },
            given => self.feed(id, machine, now, given),
        }
    }

    fn feed_user(&mut self, id: NodeId, machine: &mut PoolUser, now: Instant, given: Given) {
        match given {
            Given::Command(command) => match *command {
                Command::Resolve { handle, request } => {
                    machine.resolve(now, &handle, RequestId(request));
                }
                Command::Pick { handle, request, exclude } => {
                    machine.pick(now, &handle, RequestId(request), &exclude);
                }
                Command::PickElement { handle, request, id: element } => {
                    machine.pick_element(now, &handle, element, RequestId(request));
                }
                Command::Purge { handle } => {
                    self.oracle_purge(id, now, &handle);
                    machine.purge(&handle);
                }
                // More than a user may watch nobody here wants to.
                Command::Watch(handle) => drop(machine.watch(now, &handle)),
                Command::Unwatch(handle) => machine.unwatch(now, &handle),
                Command::Report { handle, id: element } => {
                    self.oracle_report(id, now, &handle, element);
                    machine.report_unreachable(now, &handle, element);
                }
                _ => {}
            },
            given => self.feed(id, machine, now, given),
        }
    }

    fn feed<M: rserpool_proto::machine::Machine>(
        &self,
        id: NodeId,
        machine: &mut M,
        now: Instant,
        given: Given,
    ) {
        match given {
            Given::Connected { assoc, attempt } => {
                let (conn, end) = end_of(assoc);
                let other = self.conns[conn].ends[1 - end].node;
                machine.handle_input(
                    now,
                    Input::Connected {
                        assoc,
                        attempt,
                        channel: self.conns[conn].channel,
                        local: self.end_locator(id, conn, end),
                        remote: self.end_locator(other, conn, 1 - end),
                        identity: self.nodes[other].owner.identity.clone(),
                    },
                );
            }
            Given::ConnectFailed { attempt, reason } => {
                machine.handle_input(now, Input::ConnectFailed { attempt, reason });
            }
            Given::Closed { assoc, reason } => {
                machine.handle_input(now, Input::Closed { assoc, reason });
            }
            Given::SendFailed { assoc } => machine.handle_input(now, Input::SendFailed { assoc }),
            Given::Received { assoc, ppid, bytes, .. } => {
                machine.handle_input(now, Input::Received { assoc, ppid, bytes: &bytes });
            }
            Given::Datagram { from, channel, bytes } => {
                machine.handle_input(now, Input::Datagram { channel, from, bytes: &bytes });
            }
            Given::Timeout => machine.handle_input(now, Input::Timeout),
            Given::Command(_) => {}
        }
    }

    fn drain_registrar(&mut self, id: NodeId, machine: &mut Registrar, now: Instant) {
        self.drain(id, machine, |world, machine, said| match said {
            Said::Message(assoc, bytes) => world.oracle_transmit(id, machine, assoc, bytes),
            Said::Event(event) => {
                world.trace.line(world.now, Some(id), None, || describe::registrar(&event));
                world.oracle_registrar_event(id, machine, now, &event);
            }
        });
    }

    fn drain_element(&mut self, id: NodeId, machine: &mut PoolElement) {
        self.drain(id, machine, |world, _, said| {
            if let Said::Event(event) = said {
                world.trace.line(world.now, Some(id), None, || describe::element(&event));
                world.on_element_event(id, event);
            }
        });
    }

    fn drain_user(&mut self, id: NodeId, machine: &mut PoolUser, now: Instant) {
        self.drain(id, machine, |world, _, said| {
            if let Said::Event(event) = said {
                world.trace.line(world.now, Some(id), None, || describe::user(&event));
                world.on_user_event(id, now, event);
            }
        });
    }

    fn drain<M: rserpool_proto::machine::Machine>(
        &mut self,
        id: NodeId,
        machine: &mut M,
        mut said: impl FnMut(&mut Self, &M, Said<'_, M::Event>),
    ) {
        let mut outputs = 0;
        let most = MAX_OUTPUTS_PER_NODE * (self.nodes.len() + 4) + self.oracle.waiting(id);
        while let Some(output) = machine.poll_output() {
            outputs += 1;
            if outputs > most {
                return self.violate("I8", Some(id), "puts out without end".to_owned());
            }
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    said(self, machine, Said::Message(assoc, &bytes));
                    self.transmit(assoc, ppid, bytes);
                }
                Output::Connect { attempt, channel, to } => {
                    self.trace.line(self.now, Some(id), None, || format!("dials {to}"));
                    self.count_dial(id);
                    self.connect(id, attempt, channel, &to);
                }
                Output::Abandon { attempt } => self.abandon(id, attempt),
                Output::Disconnect { assoc } => {
                    let (conn, end) = end_of(assoc);
                    let other = self.conns[conn].ends[1 - end].node;
                    self.trace.line(self.now, Some(id), Some(other), || "closes".to_owned());
                    self.oracle_disconnect(id, assoc);
                    self.disconnect(assoc);
                }
                Output::Multicast { channel, bytes } => self.multicast(id, channel, &bytes),
                Output::Event(event) => said(self, machine, Said::Event(event)),
            }
        }
    }

    /// Whoever is hostile may dial as often as it is hung up on.
    pub(crate) fn count_dial(&mut self, id: NodeId) {
        if matches!(self.nodes[id].setup, Setup::Hostile { .. }) {
            return;
        }
        let second = self.now / 1_000_000;
        let dialled = &mut self.nodes[id].dialled;
        if dialled.0 != second {
            *dialled = (second, 0);
        }
        dialled.1 += 1;
        if dialled.1 > MAX_DIALS_PER_SECOND {
            self.violate("I10", Some(id), "dials without end".to_owned());
        }
    }

    /// Starts the process of a node, for the first time or again, unless it runs.
    pub(crate) fn start(&mut self, id: NodeId) {
        if self.left_out.contains(&id) || self.nodes[id].power == Power::On {
            return;
        }
        let now = self.local(id);
        let wall = self.nodes[id].clock.wall(self.now);
        let node = &mut self.nodes[id];
        node.power = Power::On;
        node.suspended = false;
        node.draining = false;
        node.owner.retries = false;
        node.owner.refused = false;
        node.life += 1;
        node.inbox.clear();
        node.busy_until = 0;
        node.wake = u64::MAX;
        let seed = node.random.seed();
        node.machine = match &node.setup {
            Setup::Registrar(config) => {
                Machine::Registrar(Box::new(Registrar::new(config.clone(), seed, now)))
            }
            Setup::Element(config) => {
                let mut config = config.clone();
                config.stamp_start = wall;
                node.owner.member = true;
                Machine::Element(Box::new(PoolElement::new(config, seed, now)))
            }
            Setup::User(config) => {
                let mut user = PoolUser::new(config.clone(), seed, now);
                for handle in &node.owner.watches {
                    let _ = user.watch(now, handle);
                }
                Machine::User(Box::new(user))
            }
            Setup::Hostile { registrars, poses_at, insider } => {
                let (registrars, poses_at) = (registrars.clone(), poses_at.clone());
                let hostile = Hostile::new(registrars, poses_at, insider.clone(), seed);
                Machine::Hostile(Box::new(hostile))
            }
        };
        self.trace.note(self.now, 2, id, 0, &[]);
        self.trace.line(self.now, Some(id), None, || "starts".to_owned());
        self.oracle_started(id);
        // The first outputs are there before any input.
        let mut machine = std::mem::take(&mut self.nodes[id].machine);
        match &mut machine {
            Machine::Element(machine) => self.drain_element(id, machine),
            Machine::User(machine) => self.drain_user(id, machine, now),
            Machine::Hostile(machine) => self.drain(id, &mut **machine, |_, _, _| ()),
            Machine::Registrar(machine) => self.drain_registrar(id, machine, now),
            Machine::None => {}
        }
        self.nodes[id].machine = machine;
        self.schedule_wake(id);
        let pace = self.nodes[id].owner.pace;
        if pace > 0 {
            let wait = self.nodes[id].random.exponential(pace);
            let life = self.nodes[id].life;
            self.queue.push(self.now + wait, Event::Owner { node: id, life });
        }
        if self.nodes[id].owner.client.as_ref().is_some_and(|client| client.pace > 0) {
            self.session_later(id, 0, Due::Begin);
            self.session_later(id, 0, Due::Talk);
        }
    }

    /// The process of a node ends without a word, or its host does.
    pub(crate) fn crash(&mut self, id: NodeId, power: Power) {
        if self.nodes[id].power != Power::On {
            return;
        }
        let node = &mut self.nodes[id];
        node.power = power;
        node.machine = Machine::None;
        node.suspended = false;
        node.inbox.clear();
        node.attempts.clear();
        node.life += 1;
        self.trace.note(self.now, 3, id, 0, &[]);
        self.trace.line(self.now, Some(id), None, || match power {
            Power::ProcessDown => "its process dies".to_owned(),
            _ => "its host dies".to_owned(),
        });
        self.oracle_stopped(id);
        self.end_sessions(id);
        for conn in std::mem::take(&mut self.nodes[id].conns) {
            for end in 0..2 {
                let this = &self.conns[conn].ends[end];
                if this.node == id && this.state != State::Awaited && this.state != State::Gone {
                    self.leave(conn, end);
                    self.reset_other(conn, end);
                }
            }
        }
    }

    /// Stops a process for a while; the host goes on.
    pub(crate) fn suspend(&mut self, id: NodeId) {
        if self.nodes[id].power == Power::On {
            self.nodes[id].suspended = true;
            self.trace.line(self.now, Some(id), None, || "is suspended".to_owned());
        }
    }

    /// Lets it go on; its clock has gone on, too.
    pub(crate) fn resume(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.suspended {
            return;
        }
        node.suspended = false;
        self.trace.line(self.now, Some(id), None, || "goes on".to_owned());
        self.nodes[id].wake = self.now;
        self.queue.push(self.now, Event::Wake { node: id });
        self.work_later(id);
        self.resume_sessions(id);
    }

    pub(crate) fn violate(&mut self, invariant: &'static str, node: Option<NodeId>, text: String) {
        if self.oracle.violation.is_none() {
            let name = node.and_then(|node| self.nodes.get(node)).map(|node| node.name.as_str());
            let text = format!("{} {text}", name.unwrap_or("the world"));
            self.oracle.violation = Some(Violation { invariant, at: self.now, node, text });
        }
    }
}

fn deadline(machine: &Machine) -> Option<Instant> {
    match machine {
        Machine::None => None,
        Machine::Registrar(machine) => machine.next_timeout(),
        Machine::Element(machine) => machine.next_timeout(),
        Machine::User(machine) => machine.next_timeout(),
        Machine::Hostile(machine) => machine.next_timeout(),
    }
}
