//! Somebody who knows the protocol and lies: takes what it has heard of others, and says it was he.
//!
//! Its associations are its own, its words are not: registrations of other elements, answers to
//! keep-alives that were sent to others, reports without reason, deregistrations of strangers, noise.

use crate::node::{Command, Given};
use crate::rng::Random;
use rserpool_proto::id::{AssociationId, PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{AttemptId, Channel, Input, Locator, Machine, Output};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::capability::{Capabilities, Stamp};
use rserpool_proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::server_information::ServerInformation;
use rserpool_proto::wire::transport::Transport;
use rserpool_proto::wire::{PORT_ENRP, PPID_ASAP, enrp};
use std::collections::VecDeque;
use std::net::SocketAddr;

#[derive(Debug)]
pub(crate) struct Hostile {
    registrars: Vec<Locator>,
    /// Where it says by multicast that a registrar is.
    poses_at: Option<Locator>,
    random: Random,
    associations: Vec<AssociationId>,
    /// Names of pools and elements it has heard of.
    victims: Vec<(PoolHandle, PeId)>,
    attempts: u64,
    outputs: VecDeque<Output<()>>,
}

/// Most names remembered.
const MAX_VICTIMS: usize = 64;
/// Most associations at a time.
const MAX_ASSOCIATIONS: usize = 8;

impl Hostile {
    pub(crate) fn new(registrars: Vec<Locator>, poses_at: Option<Locator>, seed: [u8; 32]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&seed[..8]);
        let mut hostile = Self {
            registrars,
            poses_at,
            random: Random::new(u64::from_le_bytes(word), &[]),
            associations: Vec::new(),
            victims: Vec::new(),
            attempts: 0,
            outputs: VecDeque::new(),
        };
        hostile.dial();
        hostile
    }

    pub(crate) fn handle(&mut self, given: Given) {
        match given {
            Given::Connected { assoc, .. } => self.associations.push(assoc),
            Given::Closed { assoc, .. } => self.associations.retain(|known| *known != assoc),
            Given::Received { bytes, .. } => self.learn(&bytes),
            Given::Command(command) => match *command {
                Command::Lie => self.lie(),
                Command::Say(bytes) => {
                    if let Some(&assoc) = self.associations.last() {
                        let ppid = PPID_ASAP;
                        self.outputs.push_back(Output::Transmit { assoc, ppid, bytes });
                    }
                }
                // Whom it is about to ask for.
                Command::Resolve { handle, .. } => self.ask(handle),
                _ => {}
            },
            _ => {}
        }
    }

    fn learn(&mut self, bytes: &[u8]) {
        let Ok(decoded) = Message::decode(bytes) else { return };
        if let Body::HandleResolutionResponse(response) = decoded.message.body {
            for element in response.elements {
                let name = (response.handle.clone(), element.id);
                if !self.victims.contains(&name) {
                    self.victims.push(name);
                }
            }
            while self.victims.len() > MAX_VICTIMS {
                self.victims.remove(0);
            }
        }
    }

    fn dial(&mut self) {
        if self.associations.len() < MAX_ASSOCIATIONS
            && let Some(to) = self.random.pick(&self.registrars).cloned()
        {
            self.attempts += 1;
            let attempt = AttemptId(self.attempts);
            self.outputs.push_back(Output::Connect { attempt, channel: Channel::Asap, to });
        }
    }

    fn ask(&mut self, handle: PoolHandle) {
        let body =
            Body::HandleResolution { subscribe: false, handle, items: None, capabilities: None };
        if let Some(assoc) = self.random.pick(&self.associations).copied() {
            self.say(assoc, body);
        }
    }

    fn say(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        if Message::from(body).encode(&mut bytes).is_ok() {
            self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
        }
    }

    fn lie(&mut self) {
        if self.poses_at.is_some() && self.random.permille(300) {
            return self.pose();
        }
        if self.random.permille(200) || self.associations.is_empty() {
            return self.dial();
        }
        let Some(assoc) = self.random.pick(&self.associations).copied() else { return };
        let Some((handle, id)) = self.random.pick(&self.victims).cloned() else {
            return self.noise(assoc);
        };
        match self.random.below(9) {
            0 | 1 => {
                let element = Box::new(self.element(id));
                let capabilities = self.random.permille(500).then_some(Capabilities(0));
                self.say(assoc, Body::Registration { handle, element, capabilities, stamp: None });
            }
            2 => {
                let seq = self.random.bits();
                let stamp = self.random.permille(500).then_some(Stamp { seq, moves: 0 });
                self.say(assoc, Body::Deregistration { handle, id, stamp });
            }
            3 | 4 => self.say(assoc, Body::EndpointKeepAliveAck { handle, id }),
            5 => {
                for _ in 0..self.random.between(1, 20) {
                    self.say(assoc, Body::EndpointUnreachable { handle: handle.clone(), id });
                }
            }
            6 => {
                let server = ServerId(self.random.bits() as u32);
                let id = Some(id);
                self.say(assoc, Body::EndpointKeepAlive { home: true, server, handle, id });
            }
            7 => {
                self.associations.retain(|known| *known != assoc);
                self.outputs.push_back(Output::Disconnect { assoc });
            }
            _ => self.noise(assoc),
        }
    }

    /// Says by multicast that it is a registrar, or that one is where nobody is.
    fn pose(&mut self) {
        let Some(Locator { addresses, port, .. }) = &self.poses_at else { return };
        let port = if self.random.permille(500) { *port } else { self.random.bits() as u16 };
        let (asap, enrp) = (SocketAddr::new(addresses.as_slice()[0], port), PORT_ENRP);
        let server = ServerId(self.random.bits() as u32);
        let mut bytes = Vec::new();
        let channel = if self.random.permille(500) { Channel::Asap } else { Channel::Enrp };
        let encoded = match channel {
            Channel::Asap => {
                let transports = vec![Transport::Tcp(asap)];
                Message::from(Body::ServerAnnounce { server, transports }).encode(&mut bytes)
            }
            Channel::Enrp => {
                let transport = Transport::Tcp(SocketAddr::new(asap.ip(), enrp));
                let server_information =
                    ServerInformation { id: server, transport, unknown: [].into() };
                let body = enrp::Body::Presence {
                    reply_required: true,
                    checksum: Some(self.random.bits() as u16),
                    server: Some(server_information),
                    digest: Some(self.random.bits()),
                    capabilities: Some(Capabilities(0)),
                };
                enrp::Message::new(server, ServerId::NONE, body).encode(&mut bytes)
            }
        };
        if encoded.is_ok() {
            self.outputs.push_back(Output::Multicast { channel, bytes });
        }
    }

    /// Bytes that look like a message, up to a point.
    fn noise(&mut self, assoc: AssociationId) {
        let mut bytes = vec![0; self.random.below(64) as usize];
        for byte in &mut bytes {
            *byte = self.random.bits() as u8;
        }
        if let Some(kind) = bytes.first_mut() {
            *kind &= 0x0f;
        }
        if let Ok(len) = u8::try_from(bytes.len())
            && let [_, _, high, low, ..] = bytes.as_mut_slice()
        {
            (*high, *low) = (0, len);
        }
        self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
    }

    fn element(&mut self, id: PeId) -> PoolElement {
        let life = [-1, 0, 1, 30, i32::MAX, i32::MIN];
        let seq = self.random.bits();
        PoolElement {
            id,
            home: ServerId(self.random.bits() as u32),
            life: self.random.pick(&life).copied().unwrap_or(1),
            user_transport: Transport::Tcp(SocketAddr::from(([192, 0, 2, 1], 80))),
            policy: PolicyParameter::new(PolicyNumber(1), &[]),
            asap_transport: None,
            extensions: ElementExtensions {
                stamp: self.random.permille(300).then_some(Stamp { seq, moves: 0 }),
                ..ElementExtensions::default()
            },
        }
    }
}

impl Machine for Hostile {
    type Event = ();

    fn handle_input(&mut self, _: Instant, _: Input<'_>) {}

    fn poll_output(&mut self) -> Option<Output<()>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
