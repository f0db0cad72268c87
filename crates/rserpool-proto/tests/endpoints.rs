//! Elements and users against real registrars, on a network of queues: each message takes a
//! millisecond, and a registrar can be frozen as a stopped process is: its connections stay open,
//! new ones are accepted, and nothing is answered.

use rserpool_proto::endpoint::LossReason;
use rserpool_proto::endpoint::pool_element::{self, PoolElement, PoolElementConfig, State};
use rserpool_proto::endpoint::pool_user::{self, PoolUser, PoolUserConfig, RequestId};
use rserpool_proto::id::{AssociationId, PoolHandle};
use rserpool_proto::machine::{
    AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, Output,
};
use rserpool_proto::registrar::{Registrar, RegistrarConfig};
use rserpool_proto::time::{Duration, Instant};
use rserpool_proto::wire::transport::Transport;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

const LATENCY: Duration = Duration::from_millis(1);
const REGISTRARS: usize = 2;
const ELEMENT: usize = REGISTRARS;
const USER: usize = REGISTRARS + 1;
const PORT: u16 = 3863;

/// What arrives at a machine.
enum Delivery {
    Connected { assoc: AssociationId, attempt: Option<AttemptId>, remote: usize },
    Message { assoc: AssociationId, ppid: u32, bytes: Vec<u8> },
    Closed { assoc: AssociationId },
}

struct World {
    now: Instant,
    registrars: Vec<Registrar>,
    element: PoolElement,
    user: PoolUser,
    frozen: [bool; REGISTRARS],
    /// The two ends of each association.
    associations: BTreeMap<AssociationId, [usize; 2]>,
    next: u64,
    wire: VecDeque<(Instant, usize, Delivery)>,
    element_events: Vec<pool_element::Event>,
    user_events: Vec<pool_user::Event>,
    /// Messages that the element has sent.
    element_sent: usize,
}

fn at(index: usize) -> Locator {
    Locator::tcp(SocketAddr::from(([127, 0, 0, 1], PORT + index as u16)))
}

fn index(home: Option<&Locator>) -> usize {
    usize::from(home.expect("a home").port - PORT)
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").expect("a valid handle")
}

impl World {
    fn new() -> Self {
        let now = Instant::from_micros(1_000_000);
        let registrars: Vec<Locator> = (0..REGISTRARS).map(at).collect();
        let user_transport = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
        let element = PoolElementConfig {
            stamp_start: 1,
            ..PoolElementConfig::new(pool(), user_transport, registrars.clone())
        };
        let registrar = |seed| Registrar::new(RegistrarConfig::default(), [seed; 32], now);
        Self {
            now,
            registrars: (0..REGISTRARS).map(|index| registrar(index as u8)).collect(),
            element: PoolElement::new(element, [7; 32], now),
            user: PoolUser::new(PoolUserConfig::new(registrars), [8; 32], now),
            frozen: [false; REGISTRARS],
            associations: BTreeMap::new(),
            next: 1,
            wire: VecDeque::new(),
            element_events: Vec::new(),
            user_events: Vec::new(),
            element_sent: 0,
        }
    }

    fn input(&mut self, to: usize, input: Input<'_>) {
        match to {
            ELEMENT => self.element.handle_input(self.now, input),
            USER => self.user.handle_input(self.now, input),
            index => self.registrars[index].handle_input(self.now, input),
        }
    }

    fn is_frozen(&self, index: usize) -> bool {
        self.frozen.get(index) == Some(&true)
    }

    fn next_timeout(&self, index: usize) -> Option<Instant> {
        match index {
            ELEMENT => self.element.next_timeout(),
            USER => self.user.next_timeout(),
            index if self.frozen[index] => None,
            index => self.registrars[index].next_timeout(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.element.poll_output() {
            self.element_sent += usize::from(matches!(output, Output::Transmit { .. }));
            let event = self.output(ELEMENT, output);
            self.element_events.extend(event);
        }
        while let Some(output) = self.user.poll_output() {
            let event = self.output(USER, output);
            self.user_events.extend(event);
        }
        for index in 0..REGISTRARS {
            while let Some(output) = self.registrars[index].poll_output() {
                self.output(index, output);
            }
        }
    }

    fn output<E>(&mut self, from: usize, output: Output<E>) -> Option<E> {
        match output {
            Output::Transmit { assoc, ppid, bytes } => {
                if let Some(to) = self.other_end(assoc, from) {
                    self.post(to, Delivery::Message { assoc, ppid, bytes });
                }
            }
            Output::Connect { attempt, to, .. } => {
                let to = index(Some(&to));
                let assoc = AssociationId(self.next);
                self.next += 1;
                self.associations.insert(assoc, [from, to]);
                self.post(to, Delivery::Connected { assoc, attempt: None, remote: from });
                self.post(from, Delivery::Connected { assoc, attempt: Some(attempt), remote: to });
            }
            Output::Disconnect { assoc } => {
                if let Some(to) = self.other_end(assoc, from) {
                    self.post(to, Delivery::Closed { assoc });
                }
                self.associations.remove(&assoc);
            }
            Output::Event(event) => return Some(event),
            // An attempt that is given up connects all the same, which has to do no harm.
            Output::Abandon { .. } | Output::Multicast { .. } => {}
        }
        None
    }

    fn post(&mut self, to: usize, delivery: Delivery) {
        self.wire.push_back((self.now + LATENCY, to, delivery));
    }

    fn other_end(&self, assoc: AssociationId, from: usize) -> Option<usize> {
        self.associations.get(&assoc)?.iter().copied().find(|&end| end != from)
    }

    fn deliver(&mut self, to: usize, delivery: Delivery) {
        match delivery {
            Delivery::Connected { assoc, attempt, remote } => {
                let (channel, identity) = (Channel::Asap, Identity::Anonymous);
                let (local, remote) = (at(to), at(remote));
                self.input(
                    to,
                    Input::Connected { assoc, attempt, channel, local, remote, identity },
                );
            }
            Delivery::Message { assoc, ppid, bytes } => {
                self.input(to, Input::Received { assoc, ppid, bytes: &bytes });
            }
            Delivery::Closed { assoc } => {
                self.input(to, Input::Closed { assoc, reason: CloseReason::Finished });
            }
        }
    }

    /// Lets time pass, delivering what arrives; what arrives at a frozen registrar waits.
    fn pass_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        self.drain();
        loop {
            let position = self.wire.iter().position(|&(_, to, _)| !self.is_frozen(to));
            let arrival = position.map(|position| (self.wire[position].0, position));
            let due = (0..=USER).filter_map(|index| Some((self.next_timeout(index)?, index))).min();
            let next = arrival.iter().chain(&due).map(|(at, _)| *at).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            match (arrival, due) {
                (Some((at, position)), _) if at <= self.now => {
                    let (_, to, delivery) = self.wire.remove(position).expect("just found");
                    self.deliver(to, delivery);
                }
                (_, Some((_, index))) => self.input(index, Input::Timeout),
                _ => {}
            }
            self.drain();
        }
        self.now = until;
    }

    fn elements_at(&self, registrar: usize) -> usize {
        self.registrars[registrar].handlespace().element_count()
    }

    fn resolve(&mut self) -> Result<usize, pool_user::ResolveError> {
        self.user.resolve(self.now, &pool(), RequestId(1));
        self.pass_ms(1_500);
        let result = self.user_events.drain(..).find_map(|event| match event {
            pool_user::Event::Resolved { result, .. } => Some(result),
            _ => None,
        });
        result.expect("every request is answered").map(|found| found.elements.len())
    }
}

#[test]
fn an_hour_without_failures_is_an_hour_without_hunts() {
    let mut world = World::new();
    world.pass_ms(100);
    assert_eq!(world.element.state(), State::Registered);
    assert_eq!(world.elements_at(index(world.element.home())), 1);
    world.element_events.clear();
    world.element_sent = 0;
    world.pass_ms(3_600_000);
    assert_eq!(world.element_events, []);
    // 360 renewals, some 9 000 acknowledgements, and few questions beyond them.
    assert!((8_000..10_000).contains(&world.element_sent), "{}", world.element_sent);
}

#[test]
fn an_element_and_a_user_leave_a_frozen_registrar() {
    let mut world = World::new();
    world.pass_ms(10_000);
    let home = index(world.element.home());
    world.element_events.clear();
    world.frozen[home] = true;
    // Three intervals, as long as they were by chance, and the way to the other one.
    world.pass_ms(2_000);
    let lost = pool_element::Event::HomeLost { home: at(home), reason: LossReason::Silent };
    assert_eq!(world.element_events.first(), Some(&lost));
    let other = index(world.element.home());
    assert_ne!(other, home);
    assert_eq!(world.elements_at(other), 1);
    // The user may have another home, which knows no pool without replication.
    if index(world.user.home()) == home {
        assert_eq!(world.resolve(), Ok(1));
    }
    // It wakes up, and nobody minds.
    world.frozen[home] = false;
    world.pass_ms(5_000);
    assert_eq!((world.elements_at(home), world.elements_at(other)), (0, 1));
    assert_eq!(world.element.state(), State::Registered);
}

#[test]
fn ten_seconds_without_any_registrar_are_survived() {
    let mut world = World::new();
    world.pass_ms(10_000);
    let id = world.element.id();
    world.frozen = [true; REGISTRARS];
    world.pass_ms(10_000);
    world.frozen = [false; REGISTRARS];
    world.pass_ms(10_000);
    assert_eq!((world.element.state(), world.element.id()), (State::Registered, id));
    let home = index(world.element.home());
    assert_eq!((world.elements_at(home), world.elements_at(1 - home)), (1, 0));
}

#[test]
fn leaving_empties_the_pool_at_once() {
    let mut world = World::new();
    world.pass_ms(100);
    let home = index(world.element.home());
    world.element.deregister(world.now);
    world.pass_ms(5);
    assert_eq!(world.element_events.last(), Some(&pool_element::Event::Deregistered));
    assert_eq!(world.elements_at(home), 0);
}
