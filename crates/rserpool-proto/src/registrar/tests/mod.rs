//! The registrar's procedures, one sentence per test: what the tests share.

mod answers;
mod keep_alive;
mod rates;
mod registration;
mod secured;
mod watches;

use super::{AddressRule, Event, Ignored, MessageKind, Registrar, RegistrarConfig, RemovalReason};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::timers::{Preset, RegistrarTimers};
use crate::wire::asap::{Body, HandleResolutionResponse, Message};
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use crate::wire::{PPID_ASAP, PPID_ENRP, enrp};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

const ROUND_ROBIN: PolicyNumber = PolicyNumber(1);
const WEIGHTED_ROUND_ROBIN: PolicyNumber = PolicyNumber(2);
const LEAST_USED: PolicyNumber = PolicyNumber(0x4000_0001);

/// A registrar, its associations and the time.
struct Scene {
    registrar: Registrar,
    now: Instant,
    associations: u64,
    sent: VecDeque<(AssociationId, u32, Vec<u8>)>,
    closed: Vec<AssociationId>,
    announced: Vec<(Instant, Vec<u8>)>,
    events: Vec<Event>,
}

impl Scene {
    fn new() -> Self {
        Self::with(RegistrarConfig { id: ServerId(7), ..RegistrarConfig::default() })
    }

    fn with(config: RegistrarConfig) -> Self {
        let now = Instant::from_micros(1_000_000);
        Self {
            registrar: Registrar::new(config, [1; 32], now),
            now,
            associations: 0,
            sent: VecDeque::new(),
            closed: Vec::new(),
            announced: Vec::new(),
            events: Vec::new(),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    self.sent.push_back((assoc, ppid, bytes));
                }
                Output::Disconnect { assoc } => self.closed.push(assoc),
                Output::Multicast { channel: Channel::Asap, bytes } => {
                    self.announced.push((self.now, bytes));
                }
                Output::Event(event) => self.events.push(event),
                other => panic!("a registrar on its own does not {other:?}"),
            }
        }
        self.registrar.handlespace().check();
    }

    fn connect(&mut self, channel: Channel, from: &str) -> AssociationId {
        self.connect_as(channel, from, Identity::Anonymous)
    }

    fn connect_as(&mut self, channel: Channel, from: &str, identity: Identity) -> AssociationId {
        self.associations += 1;
        let assoc = AssociationId(self.associations);
        self.input(Input::Connected {
            assoc,
            attempt: None,
            channel,
            local: "tcp://127.0.0.1:3863".parse().unwrap(),
            remote: from.parse::<Locator>().unwrap(),
            identity,
        });
        assoc
    }

    fn asap(&mut self) -> AssociationId {
        self.connect(Channel::Asap, "tcp://127.0.0.1:40000")
    }

    fn send(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
    }

    /// What was sent on an association since the last call.
    fn answers(&mut self, assoc: AssociationId) -> Vec<Body> {
        let (ours, others): (VecDeque<_>, _) =
            self.sent.drain(..).partition(|(to, _, _)| *to == assoc);
        self.sent = others;
        ours.iter().map(|(_, _, bytes)| Message::decode(bytes).unwrap().message.body).collect()
    }

    fn answer(&mut self, assoc: AssociationId) -> Body {
        let mut answers = self.answers(assoc);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn register(&mut self, assoc: AssociationId, element: PoolElement) -> Vec<ErrorCause> {
        let id = element.id;
        self.send(assoc, registration(element));
        match self.answer(assoc) {
            Body::RegistrationResponse { rejected, id: of, errors, .. } => {
                assert_eq!(of, id);
                assert_eq!(rejected, !errors.is_empty());
                errors
            }
            other => panic!("not an answer to a registration: {other:?}"),
        }
    }

    fn resolve(&mut self, assoc: AssociationId) -> HandleResolutionResponse {
        self.send(assoc, resolution(None));
        match self.answer(assoc) {
            Body::HandleResolutionResponse(response) => *response,
            other => panic!("not an answer to a resolution: {other:?}"),
        }
    }

    fn resolved(&mut self) -> Vec<u32> {
        let user = self.asap();
        let ids = self.resolve(user).elements.iter().map(|element| element.id.0).collect();
        self.input(Input::Closed { assoc: user, reason: CloseReason::Finished });
        ids
    }

    /// Lets time pass, with every timeout on time.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            let next = self.registrar.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a busy loop at {}", self.now);
        }
        self.now = end;
    }

    /// Lets time pass and answers every keep-alive on the associations given.
    fn live(&mut self, duration: Duration, living: &[AssociationId]) {
        let end = self.now + duration;
        while self.now < end {
            self.wait(Duration::from_millis(10));
            for &assoc in living {
                for answer in self.answers(assoc) {
                    if let Body::EndpointKeepAlive { handle, id: Some(id), .. } = answer {
                        self.send(assoc, Body::EndpointKeepAliveAck { handle, id });
                    }
                }
            }
        }
    }
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

fn element(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId::NONE,
        life: 30_000,
        user_transport: Transport::Tcp(format!("127.0.0.1:{}", 8000 + id).parse().unwrap()),
        policy: PolicyParameter::new(ROUND_ROBIN, &[]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    }
}

fn registration(element: PoolElement) -> Body {
    Body::Registration {
        handle: pool(),
        element: Box::new(element),
        capabilities: None,
        stamp: None,
    }
}

fn our_registration(element: PoolElement) -> Body {
    let capabilities = Some(Capabilities(0));
    Body::Registration { handle: pool(), element: Box::new(element), capabilities, stamp: None }
}

fn deregistration(id: u32) -> Body {
    Body::Deregistration { handle: pool(), id: PeId(id), stamp: None }
}

fn resolution(items: Option<u32>) -> Body {
    Body::HandleResolution { subscribe: false, handle: pool(), items, capabilities: None }
}

fn report(id: u32) -> Body {
    Body::EndpointUnreachable { handle: pool(), id: PeId(id) }
}

fn second() -> Duration {
    Duration::from_secs(1)
}
