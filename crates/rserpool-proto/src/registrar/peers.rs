//! Peers: who they are, how they are reached, whether they live (RFC 5353 §3.1, §3.4).
//!
//! ```text
//!   contact --dial--> association --first message--> peer
//!                                                     | silent for max_time_last_heard
//!                                                     v
//!                          PRESENCE with reply required --no answer--> takeover
//! ```
//!
//! A *contact* is an address worth dialling, from the configuration or from a peer's list; a *peer*
//! is a registrar that has spoken. Between two registrars there may be two connections for a while,
//! one opened by each: the one opened by the higher identifier stays.

use super::audit::Vain;
use super::supervision::RoundTrip;
use super::{Event, Ignored, Registrar, Timer};
use crate::id::{AssociationId, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Locator, Output, TransportKind};
use crate::time::{Duration, Instant};
use crate::wire::capability::Capabilities;
use crate::wire::enrp::Body;
use crate::wire::server_information::ServerInformation;
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use alloc::vec::Vec;
use rand_core::Rng;

/// A registrar that has spoken to us.
#[derive(Debug)]
pub(super) struct Peer {
    /// How it is spoken to; `None` while there is no association.
    pub(super) assoc: Option<AssociationId>,
    /// Where it listens, as it says itself.
    pub(super) transport: Option<Transport>,
    pub(super) capabilities: Option<Capabilities>,
    pub(super) last_heard: Instant,
    /// When it was asked for a sign of life that has not come yet.
    asked: Option<Instant>,
    round_trip: RoundTrip,
    /// It has not spoken yet; elements are said to be its own.
    pub(super) is_hearsay: bool,
    /// Not watched: another registrar is taking it over (RFC 5353 §3.5.1).
    pub(super) yielded: bool,
    /// Reading its table since it was found to differ.
    pub(super) audit: Option<Instant>,
    /// Time that a piece of its table is waited for at least: doubled when one did not come.
    pub(super) audit_patience: Duration,
    /// What the latest audits have not ended.
    pub(super) vain: Option<Vain>,
    /// How often elements were claimed back from it.
    claims: Pace,
}

/// An address worth dialling.
#[derive(Debug)]
pub(super) struct Contact {
    to: Locator,
    origin: Origin,
    /// Who answers there, once known.
    server: Option<ServerId>,
    attempt: Option<AttemptId>,
    assoc: Option<AssociationId>,
    backoff: Duration,
}

/// Where an address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// From the configuration: dialled for ever.
    Config,
    /// From a peer's list, or of a peer.
    Peers,
    /// Heard by multicast, from whomever.
    Multicast,
    /// Our own, whoever named it: dialled no more.
    Ourselves,
}

impl Contact {
    fn is_stranger(&self) -> bool {
        self.origin == Origin::Multicast && self.server.is_none()
    }

    /// Whether an address is this one.
    pub(super) fn is_at(&self, to: &Locator) -> bool {
        self.to.meets(to)
    }
}

/// Names a [`Contact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ContactId(u32);

/// First pause between two attempts to reach a registrar; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause: how long a registrar that comes back may go unnoticed by one that dials it.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Registrar {
    /// Dials everybody in the configuration.
    pub(super) fn dial_fixed(&mut self, now: Instant) {
        for to in self.config.peers.clone() {
            let contact = self.add_contact(to, Origin::Config);
            self.dial(now, contact);
        }
    }

    /// Dials a registrar that a peer has listed, unless it is known.
    pub(super) fn dial_listed(&mut self, now: Instant, server: &ServerInformation) {
        if server.id == self.id
            || server.id.is_none()
            || self.peers.contains_key(&server.id)
            || self.contacts.len() >= self.config.limits.peers
        {
            return;
        }
        let Some(to) = locator(&server.transport) else {
            return;
        };
        if self.contacts.values().all(|contact| contact.to != to) {
            let contact = self.add_contact(to, Origin::Peers);
            self.dial(now, contact);
        }
    }

    /// Dials an address that was heard by multicast.
    pub(super) fn dial_heard(&mut self, now: Instant, to: Locator) {
        let contact = self.add_contact(to, Origin::Multicast);
        self.dial(now, contact);
    }

    /// How many addresses were heard by multicast of which nobody is known.
    pub(super) fn strangers(&self) -> usize {
        self.contacts.values().filter(|contact| contact.is_stranger()).count()
    }

    /// How long a registrar that was dialled may take to say who it is: longer after each try that
    /// came to nothing, for those behind a slow link. `None` if it has, or was not dialled.
    pub(super) fn time_to_speak(&self, assoc: AssociationId) -> Option<Duration> {
        if self.associations.get(&assoc)?.peer.is_some() {
            return None;
        }
        let contact = self.contacts.values().find(|known| known.assoc == Some(assoc))?;
        Some(self.config.timers.max_time_no_response + contact.backoff)
    }

    fn add_contact(&mut self, to: Locator, origin: Origin) -> ContactId {
        let id = ContactId(self.next_contact);
        self.next_contact += 1;
        let contact =
            Contact { to, origin, server: None, attempt: None, assoc: None, backoff: FIRST_PAUSE };
        self.contacts.insert(id, contact);
        id
    }

    /// When to look whether a registrar wants to be dialled.
    pub(super) fn dial(&mut self, _now: Instant, id: ContactId) {
        let attempt = AttemptId(self.next_attempt);
        let is_leaving = self.is_leaving();
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        let is_connected = contact
            .server
            .and_then(|server| self.peers.get(&server))
            .is_some_and(|peer| peer.assoc.is_some());
        let is_ours = contact.origin == Origin::Ourselves;
        if is_leaving
            || is_ours
            || is_connected
            || contact.attempt.is_some()
            || contact.assoc.is_some()
        {
            return;
        }
        self.next_attempt += 1;
        contact.attempt = Some(attempt);
        self.attempts.insert(attempt, id);
        let to = contact.to.clone();
        self.outputs.push_back(Output::Connect { attempt, channel: Channel::Enrp, to });
    }

    /// A registrar could not be reached: it is dialled again later, and one that refuses is dead.
    pub(super) fn on_dial_failed(&mut self, now: Instant, attempt: AttemptId, reason: CloseReason) {
        let Some(id) = self.attempts.remove(&attempt) else {
            return;
        };
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        contact.attempt = None;
        let server = contact.server;
        self.redial_later(now, id);
        // RFC 5353 §3.4.3: a peer that cannot be sent to is dead.
        if let Some(server) = server
            && reason == CloseReason::Refused
            && self.peers.get(&server).is_some_and(|peer| peer.assoc.is_none())
        {
            self.on_peer_dead(now, server);
        }
    }

    fn redial_later(&mut self, now: Instant, id: ContactId) {
        let jitter = self.rng.next_u32() % 1000;
        let Some(contact) = self.contacts.get_mut(&id) else {
            return;
        };
        let known = contact.server.is_some_and(|server| self.peers.contains_key(&server));
        if contact.origin != Origin::Config && !known {
            self.contacts.remove(&id);
            return;
        }
        // Drawn from the upper half, so that registrars that lost each other do not keep in step.
        let pause = contact.backoff / 2 + contact.backoff / 2 * jitter / 1000;
        contact.backoff = (contact.backoff * 2).min(LONGEST_PAUSE);
        self.timers.set(Timer::Dial(id), now + pause);
    }

    /// An association to another registrar is up: it is told who we are and asked the same.
    pub(super) fn on_enrp_connected(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        attempt: Option<AttemptId>,
    ) {
        if let Some(other) = self.other_end(assoc) {
            return self.forget_ourselves(attempt, assoc, other);
        }
        if let Some(id) = attempt.and_then(|attempt| self.attempts.remove(&attempt)) {
            if let Some(contact) = self.contacts.get_mut(&id) {
                contact.attempt = None;
                contact.assoc = Some(assoc);
            }
            if !self.may_replicate(assoc) {
                self.ignore(assoc, Ignored::NotPermitted);
                return self.disconnect(now, assoc);
            }
            if let Some(patience) = self.time_to_speak(assoc) {
                self.timers.set(Timer::Idle(assoc), now + patience);
            }
            // RFC 5353 §3.4.1; one that was dialled is a registrar, others may only read the table.
            self.send_presence(assoc, ServerId::NONE, true);
            self.on_mentor_candidate(now, assoc);
        }
    }

    /// The other end of an association that we have with ourselves: a list of all registrars often
    /// has ourselves on it.
    fn other_end(&self, assoc: AssociationId) -> Option<AssociationId> {
        let one = self.associations.get(&assoc)?;
        let is_other = |(id, other): &(&AssociationId, &super::Association)| {
            **id != assoc
                && other.channel == Channel::Enrp
                && other.local.meets(&one.remote)
                && other.remote.meets(&one.local)
        };
        self.associations.iter().find(is_other).map(|(other, _)| *other)
    }

    /// We have dialled ourselves: both ends are closed, and that is not done again.
    fn forget_ourselves(
        &mut self,
        attempt: Option<AttemptId>,
        assoc: AssociationId,
        other: AssociationId,
    ) {
        let dialled = attempt.and_then(|attempt| self.attempts.remove(&attempt));
        for (id, contact) in &mut self.contacts {
            if Some(*id) == dialled || contact.assoc == Some(other) {
                contact.attempt = None;
                contact.origin = Origin::Ourselves;
            }
        }
        self.disconnect_quietly(other);
        self.disconnect_quietly(assoc);
    }

    /// The association to another registrar is gone: it is dialled at once, and dead if it neither
    /// answers nor comes by itself.
    pub(super) fn on_enrp_closed(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        peer: Option<ServerId>,
        since: Instant,
    ) {
        let lasted = now.saturating_since(since) >= self.config.timers.max_time_no_response;
        self.on_mentor_lost(now, assoc);
        let mut contacts = Vec::new();
        for (id, contact) in &mut self.contacts {
            let lost = contact.assoc == Some(assoc);
            if lost {
                contact.assoc = None;
            }
            if lost && lasted && peer.is_some() {
                contact.backoff = FIRST_PAUSE;
            }
            if lost || (peer.is_some() && contact.server == peer) {
                contacts.push(*id);
            }
        }
        if let Some(server) = peer
            && let Some(known) = self.peers.get_mut(&server)
            && known.assoc == Some(assoc)
        {
            known.assoc = None;
            if known.asked.is_none() {
                known.asked = Some(now);
                let timeout = self.config.timers.max_time_no_response;
                self.timers.set(Timer::PeerTimeout(server), now + timeout);
            }
            if contacts.is_empty()
                && let Some(to) = known.transport.as_ref().and_then(locator)
            {
                let id = self.add_contact(to, Origin::Peers);
                if let Some(contact) = self.contacts.get_mut(&id) {
                    contact.server = Some(server);
                }
                contacts.push(id);
            }
        }
        for id in contacts {
            match peer {
                Some(_) if lasted => self.dial(now, id),
                // It has hung up without a word, or at once: it may do so again.
                _ => self.redial_later(now, id),
            }
        }
    }

    /// Notes that `server` has spoken on `assoc`; false if it is nobody to listen to.
    ///
    /// RFC 5353 §3.4.1: whoever speaks is a peer.
    pub(super) fn hear_peer(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        server: ServerId,
    ) -> bool {
        if server.is_none() || server == self.id {
            return false;
        }
        let speaker = self.associations.get(&assoc).and_then(|known| known.peer);
        if speaker.is_some_and(|speaker| speaker != server) {
            self.ignore(assoc, Ignored::ForeignSender);
            return false;
        }
        if self.is_doubted(now, assoc, server) {
            self.ignore(assoc, Ignored::ForeignSender);
            return false;
        }
        let is_new = self.peers.get(&server).is_none_or(|peer| peer.is_hearsay);
        if is_new {
            if !self.peers.contains_key(&server) && self.peers.len() >= self.config.limits.peers {
                self.ignore(assoc, Ignored::TooManyPeers);
                return false;
            }
            self.peers.insert(server, Peer::new(now));
            self.emit(Event::PeerFound { server });
        }
        self.cancel_takeover_of(now, server);
        let Some(peer) = self.peers.get_mut(&server) else {
            return false;
        };
        peer.last_heard = now;
        peer.yielded = false;
        if let Some(asked) = peer.asked.take() {
            peer.round_trip.sample(now.saturating_since(asked));
            self.timers.cancel(Timer::PeerTimeout(server));
        }
        self.timers.set(Timer::PeerSilent(server), now + self.config.timers.max_time_last_heard);
        if let Some(association) = self.associations.get_mut(&assoc) {
            association.peer = Some(server);
            if association.capabilities.is_some() {
                peer.capabilities = association.capabilities;
            }
        }
        for contact in self.contacts.values_mut() {
            if contact.assoc == Some(assoc) {
                contact.server = Some(server);
            }
        }
        let keep = self.prefer(now, assoc, server);
        if is_new && keep {
            self.send_presence(assoc, server, true);
            self.on_mentor_candidate(now, assoc);
        }
        keep
    }

    /// Whether somebody says on `assoc`, from elsewhere, that it is a peer that is there already. Whoever
    /// is there and has just spoken stays; otherwise it is asked, and only its silence lets another be
    /// it. One that has restarted, or lost its association, is on the same host or has none here.
    fn is_doubted(&mut self, now: Instant, assoc: AssociationId, server: ServerId) -> bool {
        let Some(peer) = self.peers.get(&server) else {
            return false;
        };
        let Some(other) = peer.assoc.filter(|other| *other != assoc) else {
            return false;
        };
        let ends = (self.associations.get(&assoc), self.associations.get(&other));
        let (Some(claimant), Some(known)) = ends else {
            return false;
        };
        let listens = peer.transport.as_ref().and_then(locator);
        let is_configured =
            |contact: &Contact| contact.assoc == Some(assoc) && contact.origin == Origin::Config;
        let is_at_home = claimant.remote.shares_host(&known.remote)
            || listens.is_some_and(|listens| claimant.remote.shares_host(&listens))
            || self.contacts.values().any(is_configured);
        if is_at_home {
            return false;
        }
        let silence = now.saturating_since(peer.last_heard);
        if peer.asked.is_none() && silence < self.config.timers.peer_heartbeat {
            let dialled = self.contacts.iter().find(|(_, known)| known.assoc == Some(assoc));
            let dialled = dialled.map(|(id, _)| *id);
            self.disconnect_quietly(assoc);
            if let Some(id) = dialled {
                self.redial_later(now, id);
            }
            return true;
        }
        if let Some(claimant) = self.associations.get_mut(&assoc) {
            claimant.claims_to_be = Some(server);
        }
        self.ask_peer(now, server);
        true
    }

    /// Whether a claim of a peer to elements of ours is answered by a claim back.
    pub(super) fn may_answer_claim(&mut self, now: Instant, from: ServerId) -> bool {
        let rate = self.config.timers.rehome_rate;
        self.peers.get_mut(&from).is_none_or(|peer| peer.claims.allows(now, rate, rate))
    }

    /// Watches the homes of elements that nobody here has heard of: a mentor has listed them, and may
    /// have died before it could take them over.
    pub(super) fn watch_homes(&mut self, now: Instant) {
        let homes: Vec<_> = self.handlespace.homes().collect();
        for home in homes {
            if home != self.id
                && !self.peers.contains_key(&home)
                && self.peers.len() < self.config.limits.peers
            {
                self.peers.insert(home, Peer { is_hearsay: true, ..Peer::new(now) });
                let silent_at = now + self.config.timers.max_time_last_heard;
                self.timers.set(Timer::PeerSilent(home), silent_at);
            }
        }
    }

    /// Decides between two associations to one peer; false if `assoc` is the one to go.
    fn prefer(&mut self, now: Instant, assoc: AssociationId, server: ServerId) -> bool {
        let Some(peer) = self.peers.get_mut(&server) else {
            return false;
        };
        let other = match peer.assoc {
            Some(other) if other != assoc => other,
            _ => {
                peer.assoc = Some(assoc);
                return true;
            }
        };
        let opened_by_us = |assoc| self.associations.get(&assoc).map(|known| known.opened_by_us);
        let preferred = self.id > server;
        // Two at the same time are one too many; but whoever dials long after has lost the old one,
        // even if that does not show here.
        let grace = self.config.timers.max_time_no_response;
        let is_old = self
            .associations
            .get(&other)
            .is_some_and(|known| now.saturating_since(known.since) > grace);
        let (loser, keep) = match (opened_by_us(assoc), opened_by_us(other)) {
            // Two from the same side: the older one is a leftover.
            (new, old) if new == old => (other, true),
            (Some(new), _) if new == preferred || (!new && is_old) => (other, true),
            _ => (assoc, false),
        };
        if keep {
            peer.assoc = Some(assoc);
        } else {
            // So that whoever dialled knows whom it has reached, and does not dial again.
            self.send_presence(assoc, server, false);
        }
        self.disconnect_quietly(loser);
        keep
    }

    /// Closes an association whose peer is spoken to by another one.
    fn disconnect_quietly(&mut self, assoc: AssociationId) {
        self.outputs.push_back(Output::Disconnect { assoc });
        self.associations.remove(&assoc);
        self.timers.cancel(Timer::Idle(assoc));
        for contact in self.contacts.values_mut() {
            if contact.assoc == Some(assoc) {
                contact.assoc = None;
            }
        }
        self.mentor_moved(assoc);
    }

    /// When to tell everybody that we live (RFC 5353 §3.4.2).
    pub(super) fn on_heartbeat(&mut self, now: Instant) {
        let peers: Vec<_> =
            self.peers.iter().filter_map(|(id, peer)| Some((*id, peer.assoc?))).collect();
        for (_, assoc) in peers {
            self.send_presence(assoc, ServerId::NONE, false);
        }
        self.timers.set(Timer::Heartbeat, now + self.config.timers.peer_heartbeat);
    }

    /// When to ask a silent peer for a sign of life (RFC 5353 §3.4.3).
    pub(super) fn on_peer_silent(&mut self, now: Instant, server: ServerId) {
        let timers = &self.config.timers;
        let Some(peer) = self.peers.get_mut(&server) else {
            return;
        };
        let silent_at = peer.last_heard + timers.max_time_last_heard;
        if now < silent_at {
            return self.timers.set(Timer::PeerSilent(server), silent_at);
        }
        if !peer.yielded {
            self.ask_peer(now, server);
        }
    }

    /// Asks a peer for a sign of life, unless that is being done already.
    pub(super) fn ask_peer(&mut self, now: Instant, server: ServerId) {
        let timers = &self.config.timers;
        let Some(peer) = self.peers.get_mut(&server).filter(|peer| peer.asked.is_none()) else {
            return;
        };
        let configured = timers.max_time_no_response;
        let timeout = configured.max(peer.round_trip.timeout(configured).min(timers.max_latency));
        peer.asked = Some(now);
        let assoc = peer.assoc;
        self.timers.set(Timer::PeerTimeout(server), now + timeout);
        if let Some(assoc) = assoc {
            self.send_presence(assoc, server, true);
        }
    }

    /// When a peer that was asked has not answered in time (RFC 5353 §3.4.3).
    pub(super) fn on_peer_timeout(&mut self, now: Instant, server: ServerId) {
        let Some(peer) = self.peers.get_mut(&server).filter(|peer| peer.asked.is_some()) else {
            return;
        };
        let mut claimants = self.associations.iter_mut();
        let claimant = claimants.find(|(_, known)| known.claims_to_be == Some(server));
        let Some((assoc, claimant)) = claimant else {
            return self.on_peer_dead(now, server);
        };
        // It is elsewhere now, or will be found dead there.
        let assoc = *assoc;
        claimant.claims_to_be = None;
        peer.asked = Some(now);
        if let Some(silent) = peer.assoc.take() {
            self.disconnect_quietly(silent);
        }
        let timeout = self.config.timers.max_time_no_response;
        self.timers.set(Timer::PeerTimeout(server), now + timeout);
        self.send_presence(assoc, server, true);
    }

    /// Forgets a peer that has been taken over, and stops dialling it unless it is configured.
    pub(super) fn remove_peer(&mut self, now: Instant, server: ServerId) {
        let Some(peer) = self.peers.remove(&server) else {
            return;
        };
        for timer in [Timer::PeerSilent(server), Timer::PeerTimeout(server), Timer::Audit(server)] {
            self.timers.cancel(timer);
        }
        self.timers.cancel(Timer::Yielded(server));
        if let Some(assoc) = peer.assoc {
            self.disconnect_quietly(assoc);
        }
        let contacts: Vec<_> = self
            .contacts
            .iter()
            .filter(|(_, contact)| contact.server == Some(server))
            .map(|(id, _)| *id)
            .collect();
        for id in contacts {
            if let Some(contact) = self.contacts.get_mut(&id) {
                contact.server = None;
                if contact.attempt.is_none() {
                    self.redial_later(now, id);
                }
            }
        }
        self.emit(Event::PeerLost { server });
    }

    /// RFC 5353 §2.1. With the checksum as the peer computes it, our digest if it knows it.
    pub(super) fn send_presence(
        &mut self,
        assoc: AssociationId,
        receiver: ServerId,
        reply_required: bool,
    ) {
        let Some(association) = self.associations.get(&assoc) else {
            return;
        };
        let peer = association.peer.and_then(|server| self.peers.get(&server));
        let ours = match association.peer {
            Some(_) => peer.is_some_and(|peer| peer.capabilities.is_some()),
            // A reader, or one that has not said who it is.
            None => association.capabilities.is_some(),
        };
        let checksum = match ours {
            true => self.handlespace.checksum(self.id),
            false => self.handlespace.checksum_rsplib(self.id),
        };
        let transport = own_transport(&association.local, self.config.enrp_port);
        let body = Body::Presence {
            reply_required,
            checksum: Some(checksum),
            server: Some(ServerInformation { id: self.id, transport, unknown: [].into() }),
            digest: ours.then(|| self.handlespace.digest(self.id)),
            capabilities: Some(super::CAPABILITIES),
        };
        self.transmit_enrp(assoc, receiver, body);
    }

    /// Asks every peer anew after a suspension, and compares what it has with what is known.
    pub(super) fn probe_peers(&mut self, now: Instant) {
        let timeout = self.config.timers.max_time_no_response;
        for (server, assoc, _) in self.connected_peers() {
            if let Some(peer) = self.peers.get_mut(&server) {
                peer.asked = Some(now);
            }
            self.timers.set(Timer::PeerTimeout(server), now + timeout);
            self.send_presence(assoc, server, true);
            self.audit(now, server);
        }
    }

    /// The peers that are spoken to, in order.
    pub(super) fn connected_peers(&self) -> Vec<(ServerId, AssociationId, bool)> {
        let connected =
            |(id, peer): (&ServerId, &Peer)| Some((*id, peer.assoc?, peer.capabilities.is_some()));
        self.peers.iter().filter_map(connected).collect()
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            assoc: None,
            transport: None,
            capabilities: None,
            last_heard: now,
            asked: None,
            round_trip: RoundTrip::default(),
            is_hearsay: false,
            yielded: false,
            audit: None,
            audit_patience: Duration::ZERO,
            vain: None,
            claims: Pace::default(),
        }
    }
}

/// How often something may happen: as if each time took its share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    taken_until: Option<Instant>,
}

impl Pace {
    /// Whether it may happen now, `rate` times a second and `burst` times at once; counts it if so.
    pub(super) fn allows(&mut self, now: Instant, rate: u32, burst: u32) -> bool {
        self.allows_every(now, Duration::from_secs(1) / rate.max(1), burst)
    }

    /// The same, once in each `share`.
    pub(super) fn allows_every(&mut self, now: Instant, share: Duration, burst: u32) -> bool {
        let taken_until = self.taken_until.map_or(now, |until| until.max(now));
        let allowed = taken_until.saturating_since(now) < share * burst.max(1);
        if allowed {
            self.taken_until = Some(taken_until + share);
        }
        allowed
    }
}

/// Where we listen, seen from an association: its own address, and the port of the listener.
fn own_transport(local: &Locator, port: u16) -> Transport {
    match local.transport {
        // rsplib wants the association's own port here, which is the listener's.
        TransportKind::Sctp => Transport::Sctp(SctpTransport {
            port: local.port,
            transport_use: TransportUse::DataOnly,
            addresses: local.addresses.clone(),
        }),
        TransportKind::Tcp | TransportKind::Auto => {
            let mut address = local.primary();
            address.set_port(port);
            Transport::Tcp(address)
        }
    }
}

/// How a registrar's transport is dialled; `None` if it is none that carries ENRP.
pub(super) fn locator(transport: &Transport) -> Option<Locator> {
    match transport {
        Transport::Sctp(sctp) => Some(Locator {
            transport: TransportKind::Sctp,
            addresses: sctp.addresses.clone(),
            port: sctp.port,
        }),
        Transport::Tcp(address) => Some(Locator::tcp(*address)),
        _ => None,
    }
}
