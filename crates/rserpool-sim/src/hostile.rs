//! Somebody who knows the protocol and lies: takes what it has heard of others, and says it was he.
//!
//! Its associations are its own, its words are not: registrations of other elements, answers to
//! keep-alives that were sent to others, reports without reason, deregistrations of strangers, noise.
//! In a secured scope it may have a certificate ([`Insider`]); then it also says word for word what
//! others have said, with the newest of stamps, and speaks like a registrar.

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
use rserpool_proto::wire::{PORT_ENRP, PPID_ASAP, PPID_ENRP, enrp};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug)]
pub(crate) struct Hostile {
    registrars: Vec<Locator>,
    /// Where it says by multicast that a registrar is.
    poses_at: Option<Locator>,
    random: Random,
    associations: Vec<AssociationId>,
    /// Names of pools and elements it has heard of.
    victims: Vec<(PoolHandle, PeId)>,
    insider: Option<Insider>,
    /// Elements as it was told of them.
    told: Vec<(PoolHandle, PoolElement)>,
    /// Attempts and associations where registrars speak.
    enrp_attempts: BTreeSet<AttemptId>,
    enrp: Vec<AssociationId>,
    attempts: u64,
    outputs: VecDeque<Output<()>>,
}

/// Somebody in a secured scope who lies.
#[derive(Clone, Debug)]
pub(crate) struct Insider {
    /// The pool into which its certificate lets it.
    pub(crate) own: Option<PoolHandle>,
    /// Where it is.
    pub(crate) at: IpAddr,
    /// Elements of which it knows from elsewhere.
    pub(crate) known: Vec<(PoolHandle, PeId)>,
}

/// Most names remembered.
const MAX_VICTIMS: usize = 64;
/// Most associations at a time.
const MAX_ASSOCIATIONS: usize = 8;

impl Hostile {
    pub(crate) fn new(
        registrars: Vec<Locator>,
        poses_at: Option<Locator>,
        insider: Option<Insider>,
        seed: [u8; 32],
    ) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&seed[..8]);
        let mut hostile = Self {
            registrars,
            poses_at,
            random: Random::new(u64::from_le_bytes(word), &[]),
            associations: Vec::new(),
            victims: insider.as_ref().map(|insider| insider.known.clone()).unwrap_or_default(),
            insider,
            told: Vec::new(),
            enrp_attempts: BTreeSet::new(),
            enrp: Vec::new(),
            attempts: 0,
            outputs: VecDeque::new(),
        };
        hostile.dial();
        hostile
    }

    pub(crate) fn handle(&mut self, given: Given) {
        match given {
            Given::Connected { assoc, attempt } => {
                let is_enrp = attempt.is_some_and(|attempt| self.enrp_attempts.remove(&attempt));
                if is_enrp { &mut self.enrp } else { &mut self.associations }.push(assoc);
            }
            Given::ConnectFailed { attempt, .. } => {
                self.enrp_attempts.remove(&attempt);
            }
            Given::Closed { assoc, .. } => {
                self.associations.retain(|known| *known != assoc);
                self.enrp.retain(|known| *known != assoc);
            }
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
                if self.insider.is_some() {
                    self.told.retain(|(handle, old)| (handle, old.id) != (&name.0, name.1));
                    self.told.push((name.0.clone(), element));
                }
                if !self.victims.contains(&name) {
                    self.victims.push(name);
                }
            }
            while self.victims.len() > MAX_VICTIMS {
                self.victims.remove(0);
            }
            while self.told.len() > MAX_VICTIMS {
                self.told.remove(0);
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
        if let Some(insider) = self.insider.clone()
            && self.random.permille(500)
        {
            return self.lie_as(&insider);
        }
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

    /// Lies that only somebody tells who is, or was, let in.
    fn lie_as(&mut self, insider: &Insider) {
        if self.random.permille(400) {
            return self.speak_as_registrar();
        }
        let Some(assoc) = self.random.pick(&self.associations).copied() else {
            return self.dial();
        };
        let stamp = Some(Stamp { seq: u64::MAX - self.random.below(1 << 20), moves: 0 });
        let capabilities = self.random.permille(500).then_some(Capabilities(0));
        let here = Transport::Tcp(SocketAddr::new(insider.at, 80));
        let own = insider.own.clone();
        let told = self.random.pick(&self.told).cloned();
        let victim = self.random.pick(&self.victims).cloned();
        let (handle, element) = match (self.random.below(5), told, victim, own) {
            // What that element itself has said, as far as anybody is told of it, with its stamp or a
            // newer one.
            (0 | 1, Some((handle, element)), ..) => (handle, element),
            // As if it had moved here, from a pool that is open to it or not.
            (2, Some((handle, element)), ..) => {
                (handle, PoolElement { user_transport: here, ..element })
            }
            (3, _, Some((handle, id)), _) => {
                return self.say(assoc, Body::Deregistration { handle, id, stamp });
            }
            // Its own pool, where it is, or where somebody else is.
            (_, told, victim, Some(own)) => {
                let id = victim.map_or(0, |(_, id)| id.0);
                let there = told.map(|(_, element)| element.user_transport);
                let there = there.filter(|_| self.random.permille(500));
                // What is refused at once does not overtake what waits under the same name.
                let id = PeId(if there.is_some() { id | 1 } else { id & !1 });
                let element = self.element(id);
                let user_transport = there.unwrap_or(here);
                (own, PoolElement { user_transport, life: 30, ..element })
            }
            (_, _, Some((handle, id)), _) => {
                let element = self.element(id);
                (handle, PoolElement { user_transport: here, ..element })
            }
            _ => return self.noise(assoc),
        };
        let mut element = Box::new(element);
        if self.random.permille(500) {
            element.extensions.stamp = stamp;
        }
        self.say(assoc, Body::Registration { handle, element, capabilities, stamp: None });
    }

    /// Says what only registrars say, where they say it.
    fn speak_as_registrar(&mut self) {
        let Some(assoc) = self.random.pick(&self.enrp).copied() else {
            if let Some(to) = self.random.pick(&self.registrars).cloned() {
                self.attempts += 1;
                let attempt = AttemptId(self.attempts);
                self.enrp_attempts.insert(attempt);
                // From a port of its own, and not from where its elements are called.
                let to = Locator::tcp(SocketAddr::new(to.primary().ip(), PORT_ENRP));
                self.outputs.push_back(Output::Connect { attempt, channel: Channel::Enrp, to });
            }
            return;
        };
        let server = ServerId(self.random.bits() as u32 | 1);
        let victim = self.random.pick(&self.victims).cloned();
        let body = match (self.random.below(5), victim) {
            (0 | 1, Some((handle, id))) => {
                let mut element = Box::new(self.element(id));
                let seq = u64::MAX - self.random.below(1 << 20);
                element.home = server;
                element.extensions.stamp = Some(Stamp { seq, moves: 0 });
                let action = match self.random.permille(500) {
                    true => enrp::UpdateAction::Add,
                    false => enrp::UpdateAction::Delete,
                };
                let (takeover_suggested, suspected) = (false, false);
                enrp::Body::HandleUpdate { takeover_suggested, suspected, action, handle, element }
            }
            (2, _) => enrp::Body::InitTakeover { target: server },
            (3, _) => enrp::Body::TakeoverServer { target: server },
            _ => enrp::Body::Presence {
                reply_required: true,
                checksum: Some(self.random.bits() as u16),
                server: None,
                digest: Some(self.random.bits()),
                capabilities: Some(Capabilities(0)),
            },
        };
        let mut bytes = Vec::new();
        if enrp::Message::new(server, ServerId::NONE, body).encode(&mut bytes).is_ok() {
            self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ENRP, bytes });
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
