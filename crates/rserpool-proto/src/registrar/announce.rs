//! Announcements by multicast: where elements and users find this registrar (RFC 5352 §3.6).
//!
//! ```text
//!   registrar --- SERVER_ANNOUNCE, every (N+1) x T6 ---> group <--- SERVER_ANNOUNCE --- N others
//!                                                          `---> elements and users keep a list
//! ```
//!
//! Each transport is announced in a message of its own. Nobody proves anything by multicast (RFC 5352 §9.2): others are counted, up to a bound, so that
//! all together announce about once per T6, and nothing else follows from what they say.

use super::{Registrar, Timer};
use crate::id::ServerId;
use crate::machine::{Channel, Output};
use crate::time::Instant;
use crate::wire::asap::{Body, Message};
use alloc::vec::Vec;
use rand_core::Rng;

/// Most registrars that are waited for between two announcements. With more, or more of them made
/// up by somebody, we would announce too rarely for those who forget after T7, which is five T6.
const MAX_OTHERS: usize = 3;

/// Time between two announcements after which a registrar is not counted any more, in T6: as T7.
const OUTDATED: u32 = 5;

impl Registrar {
    /// Begins to announce, if it is to.
    pub(super) fn start_announcing(&mut self, now: Instant) {
        if self.config.announced.is_some() {
            self.timers.set(Timer::Announce, now);
        }
    }

    /// Announces, unless questions would not be answered.
    pub(super) fn on_announce(&mut self, now: Instant) {
        let Some(transports) = &self.config.announced else {
            return;
        };
        let t6 = self.config.timers.t6_server_announce;
        self.heard.retain(|_, heard| now.saturating_since(*heard) < t6 * OUTDATED);
        let others = self.heard.len().min(MAX_OTHERS) as u32;
        if self.is_serving() {
            // One message each: rsplib drops one that goes on after an SCTP transport.
            for transport in transports {
                let transports = Vec::from([transport.clone()]);
                let body = Body::ServerAnnounce { server: self.id, transports };
                let mut bytes = Vec::new();
                if Message::from(body).encode(&mut bytes).is_ok() {
                    self.outputs.push_back(Output::Multicast { channel: Channel::Asap, bytes });
                }
            }
        }
        // An eighth less or more, so that registrars started together do not stay so.
        let jitter = 896 + self.rng.next_u32() % 257;
        self.timers.set(Timer::Announce, now + t6 * (others + 1) * jitter / 1024);
    }

    /// RFC 5352 §3.6: another registrar has announced itself.
    pub(super) fn on_datagram(&mut self, now: Instant, bytes: &[u8]) {
        if self.config.announced.is_none() {
            return;
        }
        let Ok(decoded) = Message::decode(bytes) else {
            return;
        };
        if let Body::ServerAnnounce { server, .. } = decoded.message.body {
            self.note_announced(now, server);
        }
    }

    fn note_announced(&mut self, now: Instant, server: ServerId) {
        let known = self.heard.contains_key(&server);
        if server != self.id && !server.is_none() && (known || self.heard.len() <= MAX_OTHERS) {
            self.heard.insert(server, now);
        }
    }
}
