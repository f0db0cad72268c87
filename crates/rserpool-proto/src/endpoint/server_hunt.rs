//! The server hunt: finds a home registrar in a list and keeps track of it (RFC 5352 §3.6, §3.7).
//!
//! ```text
//!   no home --ensure--> round: up to three attempts --connected--> home --confirm--> proved home
//!                 ^      |  a failed attempt makes room for the next address    |        |
//!                 |      T5 over: give up, double T5, next round                |        |
//!                 +------+<-------------------- lost ---------------------------+--------+
//!                                               suspect: hunt, but keep the association meanwhile
//! ```
//!
//! A connection proves little: the kernel completes it for a registrar that is stopped. So a home
//! only counts as working once it has answered something ([`ServerHunt::confirm`]), and T5 is reset
//! then and not at the connection (RFC 5352 §3.6 SH3): otherwise a registrar that accepts and hangs
//! up would be dialled in a loop. An address whose association ended unproved rests for about T5.

mod announced;
#[cfg(test)]
mod tests;

use crate::id::AssociationId;
use crate::machine::{AttemptId, Channel, Locator, Output, TransportKind};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use announced::Announced;
use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

/// Most attempts at a time (RFC 5352 §3.6 SH1).
const MAX_ATTEMPTS: usize = 3;

/// Most addresses kept; what goes beyond is ignored. A scope has a handful of registrars.
const MAX_REGISTRARS: usize = 64;

/// Least time given to a round, whatever the configuration says, so that hunting is never a loop.
const MIN_ROUND: Duration = Duration::from_millis(1);

/// A hunt, the home it found, or both while the home is suspected.
#[derive(Debug)]
pub(super) struct ServerHunt {
    candidates: Vec<Candidate>,
    /// T5-Serverhunt at its initial value.
    t5_initial: Duration,
    /// T5-Serverhunt as it has grown.
    t5: Duration,
    retran_max: Duration,
    /// T7-ENRPoutdate.
    t7: Duration,
    rng: ChaCha12Rng,
    attempts: Vec<Attempt>,
    next_attempt: u64,
    round: Option<Round>,
    home: Option<Home>,
    /// The candidate that was the last proved home; tried first unless it has just failed.
    preferred: Option<usize>,
    /// The candidate that has just failed; tried last in the next round.
    failed: Option<usize>,
    /// A whole round has failed, and no home has been proved since.
    unreachable: bool,
}

#[derive(Debug)]
struct Candidate {
    locator: Locator,
    /// Number of the last attempt at it; orders the candidates so that each round tries others
    /// (RFC 5352 §3.6 SH5).
    tried: u64,
    /// Not dialled before this.
    rests_until: Instant,
    /// Whether a registrar there has shown capabilities.
    capable: bool,
    /// How it is known, if it is not configured.
    announced: Option<Announced>,
}

#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    candidate: usize,
}

#[derive(Debug)]
struct Round {
    began: Instant,
    /// When T5-Serverhunt expires.
    ends: Instant,
    /// Candidates not tried yet.
    order: VecDeque<usize>,
    /// How many of them were announced since it began.
    announced: usize,
}

#[derive(Debug)]
struct Home {
    assoc: AssociationId,
    locator: Locator,
    /// `None` if it came to us.
    candidate: Option<usize>,
    proved: bool,
    suspected: bool,
    capable: bool,
    /// Has answered on this association, and without capabilities.
    stranger: bool,
}

/// A new home; nothing has been sent to it yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewHome {
    /// Its association.
    pub(super) assoc: AssociationId,
    /// The suspected home that it replaces; its association is still up.
    pub(super) previous: Option<(AssociationId, Locator)>,
}

impl Candidate {
    fn new(locator: Locator, announced: Option<Announced>) -> Self {
        Self { locator, tried: 0, rests_until: Instant::ZERO, capable: false, announced }
    }

    fn may_be_tried(&self, now: Instant) -> bool {
        self.rests_until <= now && self.announced.as_ref().is_none_or(|known| known.until > now)
    }
}

impl ServerHunt {
    pub(super) fn new(
        registrars: &[Locator],
        t5_server_hunt: Duration,
        retran_max: Duration,
        t7_enrp_outdate: Duration,
        mut rng: ChaCha12Rng,
    ) -> Self {
        let mut candidates: Vec<Candidate> = Vec::new();
        for locator in registrars.iter().take(MAX_REGISTRARS) {
            if candidates.iter().all(|known| known.locator != *locator) {
                candidates.push(Candidate::new(locator.clone(), None));
            }
        }
        // Endpoints with the same list do not all begin with the same three.
        for last in (1..candidates.len()).rev() {
            candidates.swap(last, below(&mut rng, last + 1));
        }
        let t5_initial = t5_server_hunt.max(MIN_ROUND);
        Self {
            candidates,
            t5_initial,
            t5: t5_initial,
            retran_max: retran_max.max(t5_initial),
            t7: t7_enrp_outdate,
            rng,
            attempts: Vec::new(),
            next_attempt: 1,
            round: None,
            home: None,
            preferred: None,
            failed: None,
            unreachable: false,
        }
    }

    /// How many things it remembers.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn kept(&self) -> usize {
        self.candidates.len() + self.attempts.len()
    }

    /// The association to the home registrar, suspected or not.
    pub(super) fn home(&self) -> Option<AssociationId> {
        self.home.as_ref().map(|home| home.assoc)
    }

    /// The association to a home registrar that is not suspected.
    pub(super) fn trusted_home(&self) -> Option<AssociationId> {
        self.home.as_ref().filter(|home| !home.suspected).map(|home| home.assoc)
    }

    /// Where the home registrar is.
    pub(super) fn home_locator(&self) -> Option<&Locator> {
        self.home.as_ref().map(|home| &home.locator)
    }

    /// Whether a whole round has failed, or the home is suspected, and nobody has answered since.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable || self.home.as_ref().is_some_and(|home| home.suspected)
    }

    /// Whether the home has shown capabilities, now or when it was the home before.
    pub(super) fn home_is_capable(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.capable)
    }

    /// Whether the home has shown by its answer that it has no capabilities.
    pub(super) fn home_is_stranger(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.stranger)
    }

    /// Remembers whether the home has capabilities.
    pub(super) fn set_home_capable(&mut self, capable: bool) {
        let Some(home) = &mut self.home else { return };
        home.capable = capable;
        home.stranger = !capable;
        if let Some(candidate) = home.candidate.and_then(|index| self.candidates.get_mut(index)) {
            candidate.capable = capable;
        }
    }

    /// Hunts, unless there is a home that is not suspected or a hunt is on (RFC 5352 §3.6).
    pub(super) fn ensure<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        if self.trusted_home().is_none() && self.round.is_none() {
            self.begin_round(now, outputs);
        }
    }

    /// Does not wait for the end of a round in which nothing is left to try, if the round is older
    /// than the initial T5: somebody asks now.
    pub(super) fn hurry<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        let idle = self.attempts.is_empty();
        match &mut self.round {
            Some(round) if idle && round.order.is_empty() => {
                let earliest = round.began + self.t5_initial;
                if earliest <= now {
                    self.begin_round(now, outputs);
                } else {
                    round.ends = round.ends.min(earliest);
                }
            }
            _ => self.ensure(now, outputs),
        }
    }

    /// The home has not answered: hunts, but keeps the association until another one is found or
    /// [`confirm`](Self::confirm) shows that it lives.
    pub(super) fn suspect<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        let Some(home) = &mut self.home else { return };
        if home.suspected {
            return;
        }
        home.suspected = true;
        let (candidate, proved) = (home.candidate, home.proved);
        self.note_failure(now, candidate, proved);
        self.begin_round(now, outputs);
    }

    /// An answer has come: if it is the home's, it works, and a hunt begun on suspicion ends.
    pub(super) fn confirm<E>(&mut self, assoc: AssociationId, outputs: &mut VecDeque<Output<E>>) {
        let Some(home) = self.home.as_mut().filter(|home| home.assoc == assoc) else { return };
        home.proved = true;
        home.suspected = false;
        self.preferred = home.candidate;
        self.failed = None;
        if let Some(candidate) = self.preferred {
            self.note_announced(candidate, false);
        }
        self.t5 = self.t5_initial;
        self.unreachable = false;
        self.end_round(outputs);
    }

    /// An attempt has succeeded, with `remote`. `None` if it is no longer wanted; it is closed again
    /// then.
    pub(super) fn on_connected<E>(
        &mut self,
        assoc: AssociationId,
        attempt: AttemptId,
        remote: Locator,
        outputs: &mut VecDeque<Output<E>>,
    ) -> Option<NewHome> {
        let Some(position) = self.attempts.iter().position(|known| known.id == attempt) else {
            outputs.push_back(Output::Disconnect { assoc });
            return None;
        };
        let candidate = self.attempts.swap_remove(position).candidate;
        let locator = match &self.candidates.get(candidate)?.locator {
            // Now it is known which.
            Locator { transport: TransportKind::Auto, .. } => remote,
            locator => locator.clone(),
        };
        if planted!("rfc-t5-reset-at-connection") {
            self.t5 = self.t5_initial;
        }
        // SH3, SH6: the first that connects is the home, the others are given up.
        self.end_round(outputs);
        Some(self.move_to(assoc, locator, Some(candidate)))
    }

    /// Makes an association that came from a registrar the home (RFC 5352 §3.4 KA2.4).
    pub(super) fn adopt<E>(
        &mut self,
        assoc: AssociationId,
        locator: Locator,
        outputs: &mut VecDeque<Output<E>>,
    ) -> NewHome {
        self.end_round(outputs);
        self.move_to(assoc, locator, None)
    }

    /// An attempt has failed: another address is tried (RFC 5352 §3.6 SH4). True if that was the
    /// last one, and nobody has been told yet that no registrar is reachable.
    pub(super) fn on_connect_failed<E>(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        outputs: &mut VecDeque<Output<E>>,
    ) -> bool {
        let Some(position) = self.attempts.iter().position(|known| known.id == attempt) else {
            return false;
        };
        if planted!("attempts-leak") {
            return false;
        }
        let candidate = self.attempts.swap_remove(position).candidate;
        self.note_announced(candidate, true);
        self.fill(now, outputs);
        self.attempts.is_empty() && self.note_unreachable()
    }

    /// An association has ended: where the home was, if it was the home's. A hunt does not begin by
    /// itself.
    pub(super) fn on_closed(&mut self, now: Instant, assoc: AssociationId) -> Option<Locator> {
        if self.home() != Some(assoc) {
            return None;
        }
        let home = self.home.take()?;
        if !home.suspected {
            self.note_failure(now, home.candidate, home.proved);
        }
        Some(home.locator)
    }

    /// Gives up home and hunt; the association that is to be closed.
    pub(super) fn stop<E>(&mut self, outputs: &mut VecDeque<Output<E>>) -> Option<AssociationId> {
        self.end_round(outputs);
        self.t5 = self.t5_initial;
        self.unreachable = false;
        self.home.take().map(|home| home.assoc)
    }

    /// When T5-Serverhunt expires.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.ends)
    }

    /// True if a round has ended without success, and nobody has been told yet that no registrar is
    /// reachable.
    pub(super) fn on_timeout<E>(
        &mut self,
        now: Instant,
        outputs: &mut VecDeque<Output<E>>,
    ) -> bool {
        if self.round.as_ref().is_none_or(|round| round.ends > now) {
            return false;
        }
        // SH5.1: double T5, up to RETRAN-MAX. SH5.2: stop these attempts, and begin anew with others.
        self.t5 = (self.t5 * 2).min(self.retran_max);
        self.failed = None;
        for position in 0..self.attempts.len() {
            if let Some(candidate) = self.attempts.get(position).map(|attempt| attempt.candidate) {
                self.note_announced(candidate, true);
            }
        }
        self.begin_round(now, outputs);
        self.note_unreachable()
    }

    fn move_to(
        &mut self,
        assoc: AssociationId,
        locator: Locator,
        candidate: Option<usize>,
    ) -> NewHome {
        let capable =
            candidate.and_then(|index| self.candidates.get(index)).is_some_and(|c| c.capable);
        let (proved, suspected, stranger) = (false, false, false);
        let home = Home { assoc, locator, candidate, proved, suspected, capable, stranger };
        let previous = self.home.replace(home).map(|old| (old.assoc, old.locator));
        NewHome { assoc, previous }
    }

    fn note_failure(&mut self, now: Instant, candidate: Option<usize>, proved: bool) {
        self.failed = candidate;
        let rests = !proved && !planted!("rfc-t5-reset-at-connection");
        if rests && let Some(candidate) = candidate.and_then(|i| self.candidates.get_mut(i)) {
            // No longer than the shortest round, so that the next one has it again.
            candidate.rests_until = now + self.t5 * 3 / 4;
        }
        if let Some(candidate) = candidate {
            self.note_announced(candidate, true);
        }
    }

    fn note_unreachable(&mut self) -> bool {
        !core::mem::replace(&mut self.unreachable, true)
    }

    /// SH1, SH2: chooses addresses, those tried longest ago first, and starts T5.
    fn begin_round<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        self.end_round(outputs);
        let mut order: Vec<usize> = (0..self.candidates.len())
            .filter(|&index| self.candidates.get(index).is_some_and(|c| c.may_be_tried(now)))
            .collect();
        order.sort_by_key(|&index| {
            let rank = match Some(index) {
                // The home that has just failed may well still accept connections.
                this if this == self.failed => 2,
                this if this == self.preferred => 0,
                _ => 1,
            };
            let candidate = self.candidates.get(index);
            // What is configured before what was heard, which anybody may have said.
            let heard = candidate.is_some_and(|candidate| candidate.announced.is_some());
            (rank == 2, heard, rank, candidate.map_or(0, |candidate| candidate.tried))
        });
        self.let_announced_in(&mut order);
        // Down to three quarters of T5, so that endpoints that lost the same registrar spread.
        let jittered = self.t5 * (768 + below(&mut self.rng, 257) as u32) / 1024;
        let ends = now + jittered.max(MIN_ROUND);
        self.round = Some(Round { began: now, ends, order: order.into(), announced: 0 });
        self.fill(now, outputs);
    }

    fn fill<E>(&mut self, now: Instant, outputs: &mut VecDeque<Output<E>>) {
        let Some(round) = &mut self.round else { return };
        while self.attempts.len() < MAX_ATTEMPTS {
            // The one that has just failed is tried only when all others have.
            match round.order.front() {
                Some(&next) if Some(next) == self.failed && !self.attempts.is_empty() => return,
                _ => {}
            }
            let Some(index) = round.order.pop_front() else { return };
            let Some(candidate) = self.candidates.get_mut(index) else { continue };
            if !candidate.may_be_tried(now) {
                continue;
            }
            let id = AttemptId(self.next_attempt);
            candidate.tried = self.next_attempt;
            self.next_attempt += 1;
            self.attempts.push(Attempt { id, candidate: index });
            outputs.push_back(Output::Connect {
                attempt: id,
                channel: Channel::Asap,
                to: candidate.locator.clone(),
            });
        }
    }

    fn end_round<E>(&mut self, outputs: &mut VecDeque<Output<E>>) {
        self.round = None;
        if planted!("attempts-leak") {
            return;
        }
        for attempt in self.attempts.drain(..) {
            outputs.push_back(Output::Abandon { attempt: attempt.id });
        }
    }
}

/// A number below `bound`, which is small: the bias of the modulus does not matter here.
fn below(rng: &mut ChaCha12Rng, bound: usize) -> usize {
    rng.next_u32() as usize % bound.max(1)
}
