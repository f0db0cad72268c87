//! Whether our copy of a peer's elements is what the peer has, and how it becomes so
//! (RFC 5353 §3.6).
//!
//! ```text
//!   PRESENCE (checksum, digest) differs --> mark its elements --> HANDLE_TABLE_REQUEST (W)
//!     each piece: entries applied, marks gone --> the last: what is still marked is swept
//! ```

use super::{Event, Registrar, Timer};
use crate::handlespace::Slot;
use crate::id::{AssociationId, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::enrp::Body;

/// A difference from a peer that audits do not end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vain {
    /// Its digest or checksum less ours: the same for as long as both learn the same.
    difference: u64,
    /// Doubled by every audit in vain, up to `max_latency`.
    pause: Duration,
    until: Instant,
}

impl Registrar {
    /// Compares what a peer says of its elements with what is known of them here.
    pub(super) fn compare(
        &mut self,
        now: Instant,
        server: ServerId,
        checksum: Option<u16>,
        digest: Option<u64>,
    ) {
        if !self.is_serving() {
            return;
        }
        let difference = match (digest, checksum) {
            // It covers more than the checksum: a lost re-registration shows too.
            (Some(digest), _) => digest.wrapping_sub(self.handlespace.digest(server)),
            // rsplib's accumulator loses carries; a value equal to either is in sync.
            (None, Some(checksum)) if checksum == self.handlespace.checksum_rsplib(server) => 0,
            (None, Some(checksum)) => {
                u64::from(checksum.wrapping_sub(self.handlespace.checksum(server)))
            }
            (None, None) => 0,
        };
        if difference == 0 {
            if let Some(peer) = self.peers.get_mut(&server) {
                peer.vain = None;
            }
        } else if !planted!("digest-not-compared") {
            self.audit_for(now, server, difference);
        }
    }

    /// Audits a peer for a difference, unless that very difference has outlived audits and it is too
    /// early for another one.
    ///
    /// What a peer has and we know better stays different until it hears what we have heard: while it
    /// is cut off from the new home of an element, say. Its table would be read at every heartbeat.
    fn audit_for(&mut self, now: Instant, server: ServerId, difference: u64) {
        let (heartbeat, longest) =
            (self.config.timers.peer_heartbeat, self.config.timers.max_latency);
        let Some(peer) = self.peers.get_mut(&server).filter(|peer| peer.audit.is_none()) else {
            return;
        };
        let pause = match &peer.vain {
            Some(vain) if vain.difference != difference => Duration::ZERO,
            Some(vain) if now < vain.until => return,
            Some(vain) => (vain.pause * 2).max(heartbeat).min(longest),
            None => Duration::ZERO,
        };
        peer.vain = Some(Vain { difference, pause, until: now + pause });
        self.audit(now, server);
    }

    /// Begins to read a peer's own elements, unless that is being done already (§3.6.3).
    pub(super) fn audit(&mut self, now: Instant, server: ServerId) {
        let Some(peer) = self.peers.get_mut(&server) else {
            return;
        };
        let (None, Some(assoc)) = (peer.audit, peer.assoc) else {
            return;
        };
        peer.audit = Some(now);
        self.counters.audits += 1;
        self.handlespace.mark(server);
        self.ask_for_table(now, server, assoc);
    }

    fn ask_for_table(&mut self, now: Instant, server: ServerId, assoc: AssociationId) {
        let patience = self.peers.get(&server).map_or(Duration::ZERO, |peer| peer.audit_patience);
        let patience = patience.max(self.config.timers.max_time_no_response);
        self.timers.set(Timer::Audit(server), now + patience);
        self.request_table(assoc, true);
    }

    /// A piece of a peer's own elements has come and been applied.
    pub(super) fn on_audit_table(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        server: ServerId,
        more: bool,
        rejected: bool,
    ) {
        let Some(peer) = self.peers.get_mut(&server).filter(|peer| peer.audit.is_some()) else {
            return;
        };
        if rejected {
            // The next presence that differs begins anew.
            peer.audit = None;
            peer.vain = None;
            self.timers.cancel(Timer::Audit(server));
        } else if more {
            self.ask_for_table(now, server, assoc);
        } else {
            peer.audit = None;
            peer.audit_patience /= 2;
            self.timers.cancel(Timer::Audit(server));
            self.sweep(now, server);
        }
    }

    /// When a peer has not sent the next piece in time: the next presence begins anew, and waits for
    /// twice as long, so that a table that is on its way over a narrow link is not asked for again
    /// and again.
    pub(super) fn on_audit_timeout(&mut self, server: ServerId) {
        let timers = &self.config.timers;
        if let Some(peer) = self.peers.get_mut(&server) {
            peer.audit = None;
            peer.vain = None;
            let patience = peer.audit_patience.max(timers.max_time_no_response);
            peer.audit_patience = (patience * 2).min(timers.max_latency);
        }
    }

    /// Removes what a peer has not listed (§3.6.3 step 5).
    fn sweep(&mut self, now: Instant, server: ServerId) {
        let mut from = Slot::FIRST;
        let mut swept = 0;
        while let Some(slot) = self.handlespace.next_marked(server, from) {
            from = slot.next();
            swept += usize::from(self.handlespace.forget(now, slot).is_some());
        }
        self.emit(Event::Audited { server, swept });
    }

    pub(super) fn request_table(&mut self, assoc: AssociationId, own_only: bool) {
        // A stranger such as rsplib takes the request for invalid if anything is in it.
        let capabilities = self.capabilities_towards(assoc);
        let body = Body::HandleTableRequest { own_only, capabilities };
        let receiver = self.associations.get(&assoc).and_then(|known| known.peer);
        self.transmit_enrp(assoc, receiver.unwrap_or_default(), body);
    }
}
