//! A bench for one machine: time, associations and messages by hand.

use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, HandleResolutionResponse, Message};
use crate::wire::capability::Capabilities;
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::Transport;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::SocketAddr;

/// A machine and what it put out since the last look.
pub(super) struct Bench<M: Machine> {
    pub(super) machine: M,
    pub(super) now: Instant,
    next_assoc: u64,
    /// Attempts under way.
    pub(super) attempts: Vec<(AttemptId, Locator)>,
    sent: Vec<(AssociationId, Body)>,
    events: Vec<M::Event>,
    closed: Vec<AssociationId>,
}

impl<M: Machine<Event: Debug>> Bench<M> {
    pub(super) fn new(make: impl FnOnce(Instant) -> M) -> Self {
        let now = Instant::from_micros(1_000_000);
        let mut bench = Self {
            machine: make(now),
            now,
            next_assoc: 1,
            attempts: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
        };
        bench.drain();
        bench
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    assert_eq!(ppid, PPID_ASAP);
                    let decoded = Message::decode(&bytes).unwrap();
                    assert!(decoded.reports.is_empty());
                    self.sent.push((assoc, decoded.message.body));
                }
                Output::Connect { attempt, channel, to } => {
                    assert_eq!(channel, Channel::Asap);
                    self.attempts.push((attempt, to));
                }
                Output::Abandon { attempt } => {
                    let before = self.attempts.len();
                    self.attempts.retain(|(known, _)| *known != attempt);
                    assert_eq!(self.attempts.len() + 1, before, "abandoned what was not begun");
                }
                Output::Disconnect { assoc } => self.closed.push(assoc),
                Output::Event(event) => self.events.push(event),
                Output::Multicast { .. } => panic!("endpoints announce nothing"),
            }
        }
        assert!(self.attempts.len() <= 3, "RFC 5352 §3.6 SH1");
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    /// Calls a command of the machine.
    pub(super) fn call(&mut self, command: impl FnOnce(&mut M, Instant)) {
        command(&mut self.machine, self.now);
        self.drain();
    }

    /// Lets time pass, and the machine's timeouts come when they are due.
    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut timeouts = 0;
        while let Some(at) = self.machine.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
            timeouts += 1;
            assert!(timeouts < 100_000, "a busy loop");
            let next = self.machine.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timeout that does not advance");
        }
        self.now = until;
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// The ports that are being dialled.
    pub(super) fn dialled(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.attempts.iter().map(|(_, to)| to.port).collect();
        ports.sort_unstable();
        ports
    }

    /// The attempt at `port` succeeds.
    pub(super) fn connect(&mut self, port: u16) -> AssociationId {
        let attempt = self.take_attempt(port);
        self.connected(Some(attempt), registrar(port))
    }

    /// A registrar at `port` comes to us.
    pub(super) fn visit(&mut self, port: u16) -> AssociationId {
        self.connected(None, registrar(port))
    }

    pub(super) fn connected(
        &mut self,
        attempt: Option<AttemptId>,
        remote: Locator,
    ) -> AssociationId {
        let assoc = AssociationId(self.next_assoc);
        self.next_assoc += 1;
        self.input(Input::Connected {
            assoc,
            attempt,
            channel: Channel::Asap,
            local: registrar(1),
            remote,
            identity: Identity::Anonymous,
        });
        assoc
    }

    /// The attempt at `port` is refused.
    pub(super) fn refuse(&mut self, port: u16) {
        let attempt = self.take_attempt(port);
        self.input(Input::ConnectFailed { attempt, reason: CloseReason::Refused });
    }

    /// All attempts are refused, as are those that follow at once.
    pub(super) fn refuse_all(&mut self) {
        while let Some((_, to)) = self.attempts.first() {
            let port = to.port;
            self.refuse(port);
        }
    }

    fn take_attempt(&mut self, port: u16) -> AttemptId {
        let position = self.attempts.iter().position(|(_, to)| to.port == port);
        self.attempts.remove(position.expect("that port is being dialled")).0
    }

    pub(super) fn break_off(&mut self, assoc: AssociationId) {
        self.input(Input::Closed { assoc, reason: CloseReason::Lost });
    }

    pub(super) fn receive(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
    }

    pub(super) fn sent(&mut self) -> Vec<(AssociationId, Body)> {
        core::mem::take(&mut self.sent)
    }

    pub(super) fn events(&mut self) -> Vec<M::Event> {
        core::mem::take(&mut self.events)
    }

    pub(super) fn closed(&mut self) -> Vec<AssociationId> {
        core::mem::take(&mut self.closed)
    }
}

pub(super) fn registrar(port: u16) -> Locator {
    Locator::tcp(SocketAddr::from(([127, 0, 0, 1], port)))
}

pub(super) fn registrars(ports: &[u16]) -> Vec<Locator> {
    ports.iter().map(|&port| registrar(port)).collect()
}

pub(super) fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

pub(super) fn user_transport() -> Transport {
    Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)))
}

pub(super) fn policy(number: u32, words: &[u32]) -> PolicyParameter {
    PolicyParameter::new(PolicyNumber(number), words)
}

pub(super) fn granted(id: PeId, capable: bool) -> Body {
    registration_response(id, false, Vec::new(), capable)
}

pub(super) fn refused(id: PeId, errors: Vec<ErrorCause>) -> Body {
    registration_response(id, true, errors, false)
}

fn registration_response(id: PeId, rejected: bool, errors: Vec<ErrorCause>, capable: bool) -> Body {
    let capabilities = capable.then_some(Capabilities(0));
    Body::RegistrationResponse { rejected, handle: pool(), id, errors, capabilities }
}

pub(super) fn keep_alive(home: bool, server: u32) -> Body {
    Body::EndpointKeepAlive { home, server: ServerId(server), handle: pool(), id: None }
}

pub(super) fn element(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId(7),
        life: 30,
        user_transport: user_transport(),
        policy: policy(1, &[]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    }
}

/// An answer about `handle`.
pub(super) fn answer(handle: &PoolHandle, ids: &[u32], total: Option<u32>) -> Body {
    Body::HandleResolutionResponse(alloc::boxed::Box::new(HandleResolutionResponse {
        subscribed: false,
        handle: handle.clone(),
        policy: None,
        elements: ids.iter().map(|&id| element(id)).collect(),
        errors: Vec::new(),
        total,
        capabilities: None,
    }))
}

/// A refusal to answer about `handle`.
pub(super) fn no_answer(handle: &PoolHandle, errors: Vec<ErrorCause>) -> Body {
    Body::HandleResolutionResponse(alloc::boxed::Box::new(HandleResolutionResponse {
        subscribed: false,
        handle: handle.clone(),
        policy: None,
        elements: Vec::new(),
        errors,
        total: None,
        capabilities: None,
    }))
}
