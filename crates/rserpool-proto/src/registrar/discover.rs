//! Registrars that find each other by multicast, as rsplib's do: RFC 5353 has no such thing.
//!
//! ```text
//!   registrar --- PRESENCE, at once and every T6 ---> group ---> another one that does not know it
//!       ^                                                                        |
//!       '------------------------- dials, and asks who it is --------------------'
//! ```
//!
//! Nobody proves anything by multicast. A presence that was heard there is an address worth dialling
//! and nothing else: no sign of life, no checksum, no change of who a peer is. How many are dialled
//! at a time and in a while is bounded, and who says nothing on the association is forgotten.

use super::{CAPABILITIES, Registrar, Timer};
use crate::id::ServerId;
use crate::machine::{Channel, Locator, Output};
use crate::time::{Duration, Instant};
use crate::wire::enrp::{Body, Message};
use crate::wire::server_information::ServerInformation;
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use core::net::SocketAddr;
use rand_core::Rng;

/// Most addresses that were heard and are dialled, or connected without a word, at a time.
pub(super) const MAX_STRANGERS: usize = 16;

/// Most of them that are dialled within T6, so that nobody can make us knock at doors all the time.
const MAX_DIALS: u32 = 16;

/// How many addresses that were heard have been dialled since when.
#[derive(Debug)]
pub(super) struct Dials {
    since: Instant,
    count: u32,
}

impl Dials {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// Counts one; false if it is one too many.
    fn count(&mut self, now: Instant, window: Duration) -> bool {
        if now.saturating_since(self.since) >= window {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= MAX_DIALS
    }
}

impl Registrar {
    /// Begins to tell other registrars by multicast, if it is to.
    pub(super) fn start_discovering(&mut self, now: Instant) {
        if self.config.enrp_announced.is_some() {
            self.timers.set(Timer::Discover, now);
        }
    }

    /// When to tell other registrars that we are there.
    pub(super) fn on_discover(&mut self, now: Instant) {
        let Some(transports) = self.config.enrp_announced.clone() else {
            return;
        };
        if self.is_leaving() {
            return;
        }
        // One message each: rsplib drops what holds a transport that it does not know.
        for transport in transports {
            let server = ServerInformation { id: self.id, transport, unknown: [].into() };
            let body = Body::Presence {
                reply_required: false,
                checksum: Some(self.handlespace.checksum_rsplib(self.id)),
                server: Some(server),
                digest: None,
                capabilities: Some(CAPABILITIES),
            };
            let mut bytes = alloc::vec::Vec::new();
            if Message::new(self.id, ServerId::NONE, body).encode(&mut bytes).is_ok() {
                self.outputs.push_back(Output::Multicast { channel: Channel::Enrp, bytes });
            }
        }
        let timers = &self.config.timers;
        // A lost one must not cost a registrar that starts its mentor.
        let interval = match self.is_serving() {
            true => timers.t6_server_announce,
            false => timers.t6_server_announce.min(timers.mentor_timeout / 4),
        };
        // An eighth less or more, so that registrars started together do not stay so.
        let jitter = 896 + self.rng.next_u32() % 257;
        self.timers.set(Timer::Discover, now + interval * jitter / 1024);
    }

    /// Another registrar is heard by multicast: it is dialled unless it is known.
    pub(super) fn on_presence_heard(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if self.config.enrp_announced.is_none() || self.is_leaving() {
            return;
        }
        let Ok(decoded) = Message::decode(bytes) else {
            return;
        };
        let sender = decoded.message.sender;
        let Body::Presence { server, .. } = decoded.message.body else {
            return;
        };
        if sender.is_none() || sender == self.id || self.peers.contains_key(&sender) {
            return;
        }
        // Without Server Information it is where it sends from, as rsplib has it.
        let source = || {
            let transport_use = TransportUse::DataOnly;
            let addresses = from.ip().into();
            Transport::Sctp(SctpTransport { port: from.port(), transport_use, addresses })
        };
        let transport = server.map_or_else(source, |server| server.transport);
        let Some(to) = super::peers::locator(&transport) else {
            return;
        };
        if self.is_dialled(&to)
            || self.strangers() >= MAX_STRANGERS
            || self.contacts.len() >= self.config.limits.peers
            || !self.dials.count(now, self.config.timers.t6_server_announce)
        {
            return;
        }
        self.dial_heard(now, to);
    }

    /// Whether there is a peer or a contact at an address.
    fn is_dialled(&self, to: &Locator) -> bool {
        let is_there = |transport: &Transport| {
            super::peers::locator(transport).is_some_and(|known| known.meets(to))
        };
        self.contacts.values().any(|contact| contact.is_at(to))
            || self.peers.values().any(|peer| peer.transport.as_ref().is_some_and(is_there))
    }
}
