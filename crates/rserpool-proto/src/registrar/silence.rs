//! Mass silence: when many elements fall silent at once it is rather us who are cut off.
//!
//! ```text
//!   missed keep-alive --few others are silent--> removed
//!     '-- as many silent as heard --> asked once more --silent again--> at least 8 on 3 addresses?
//!                                                         | no: removed
//!                                                         v
//!     ranked last, and offered to a peer, which asks it ---> the peer has it, or removes it
//!        |-- it answers us ----------------------------------> ours as before
//!        '-- 10 s ------------------------------------------> removed
//! ```

use super::rehome::TICK;
use super::supervision::Supervision;
use super::{Event, Registrar, Timer};
use crate::handlespace::Slot;
use crate::time::{Duration, Instant};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Silent elements from which on it may be us: fewer die together often enough.
const ELEMENTS: usize = 8;
/// Addresses they have at least: fewer may be one host, or one that sends for others.
const ADDRESSES: usize = 3;
/// Time after which a silent element is removed that no peer has taken.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a count of the silent ones is used: many miss their keep-alives at the same time.
const FRESH: Duration = Duration::from_millis(20);

/// How far a silent element is with being given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Silent {
    /// Asked once more, since others are silent, too.
    Doubted {
        /// When the first keep-alive was sent that was not answered.
        since: Instant,
    },
    /// One of many: offered to a peer.
    Offered {
        /// When it is given up.
        until: Instant,
    },
}

/// What is known of silence.
#[derive(Debug, Default)]
pub(super) struct Silence {
    count: Option<Count>,
    /// Elements to be offered to a peer.
    waiting: VecDeque<Slot>,
    next_peer: usize,
    /// Until when what falls silent belongs to what was told already.
    told_until: Option<Instant>,
    /// How many have got another home since then.
    given: usize,
}

/// How many own elements are silent.
#[derive(Clone, Copy, Debug)]
struct Count {
    at: Instant,
    silent: usize,
    /// At most [`ADDRESSES`].
    addresses: usize,
    /// Heard since the one was asked for which it was counted.
    heard: usize,
}

impl Registrar {
    /// Whether an element that was `asked` and has not answered is kept all the same, and asked
    /// again.
    pub(super) fn is_kept_silent(&mut self, now: Instant, slot: Slot, asked: Instant) -> bool {
        let state = self.supervised.get(&slot).and_then(|known| known.silent);
        let next = match state {
            Some(Silent::Offered { until }) if now >= until => return false,
            Some(offered @ Silent::Offered { .. }) => offered,
            None => {
                let count = self.count_silent(now, asked);
                let is_spread = self.is_told(now) || count.addresses >= ADDRESSES;
                if count.silent < 2 || count.silent < count.heard || !is_spread {
                    return false;
                }
                Silent::Doubted { since: asked }
            }
            Some(Silent::Doubted { since }) => {
                let count = self.count_silent(now, since);
                let are_many = count.silent >= ELEMENTS && count.addresses >= ADDRESSES;
                if count.silent < count.heard || !(are_many || self.is_told(now)) {
                    return false;
                }
                self.offer_silent(now, slot, count.silent);
                Silent::Offered { until: now + LIMIT }
            }
        };
        if let Some(supervision) = self.supervised.get_mut(&slot) {
            supervision.silent = Some(next);
        }
        self.ask(now, slot);
        true
    }

    /// Ranks an element last and has a peer ask it.
    fn offer_silent(&mut self, now: Instant, slot: Slot, elements: usize) {
        if !self.is_told(now) {
            self.silence.given = 0;
            self.emit(Event::MassSilence { elements });
        }
        self.silence.told_until = Some(now + LIMIT);
        self.suspect(slot);
        self.silence.waiting.push_back(slot);
        self.timers.set_if_unset(Timer::Silence, now);
    }

    fn is_told(&self, now: Instant) -> bool {
        self.silence.told_until.is_some_and(|until| now < until)
    }

    /// An element that was offered has another home.
    pub(super) fn count_given(&mut self) {
        self.silence.given += 1;
    }

    /// When to offer the next silent elements to peers.
    pub(super) fn on_silence(&mut self, now: Instant) {
        let peers = self.connected_peers();
        for _ in 0..self.per_tick() {
            let Some(slot) = self.silence.waiting.pop_front() else {
                return;
            };
            let is_silent = self.supervised.get(&slot).is_some_and(|known| known.silent.is_some());
            self.silence.next_peer = self.silence.next_peer.wrapping_add(1);
            let next = self.silence.next_peer.checked_rem(peers.len());
            if let Some((peer, assoc, ours)) = next.and_then(|next| peers.get(next))
                && is_silent
            {
                self.offer(slot, *peer, *assoc, *ours);
            }
        }
        if !self.silence.waiting.is_empty() {
            self.timers.set(Timer::Silence, now + TICK);
        }
    }

    /// Counts who was asked and had the time to answer, and who was heard since `since`.
    fn count_silent(&mut self, now: Instant, since: Instant) -> Count {
        if let Some(count) = self.silence.count
            && now.saturating_since(count.at) < FRESH
        {
            return count;
        }
        let least = self.config.timers.keep_alive_timeout / 4;
        let is_silent = |known: &Supervision| {
            let answers_take = least.max(known.round_trip.late());
            known.silent.is_some()
                || known.asked.is_some_and(|asked| now.saturating_since(asked) >= answers_take)
        };
        let mut addresses = BTreeSet::new();
        let given = if self.is_told(now) { self.silence.given } else { 0 };
        let mut count = Count { at: now, silent: given, addresses: 0, heard: 0 };
        for known in self.supervised.values() {
            let Some(holder) = known.holder.and_then(|holder| self.associations.get(&holder))
            else {
                continue;
            };
            if is_silent(known) {
                count.silent += 1;
                if addresses.len() < ADDRESSES {
                    addresses.insert(holder.remote.primary().ip());
                }
            } else if known.last_heard >= since {
                count.heard += 1;
            }
        }
        count.addresses = addresses.len();
        self.silence.count = Some(count);
        count
    }

    /// Whether an element is silent as many are, so that another registrar may have it.
    pub(super) fn is_offered(&self, slot: Slot) -> bool {
        let silent = self.supervised.get(&slot).and_then(|known| known.silent);
        matches!(silent, Some(Silent::Offered { .. }))
    }

    /// This input comes so late that the registrar must have been suspended: what it thinks silent
    /// may only have been unheard, and is asked and waited for again before anything is removed or
    /// taken over.
    pub(super) fn resume(&mut self, now: Instant, late: Duration) {
        let timers = &self.config.timers;
        let (grace, rehome_grace) = (timers.max_time_no_response, timers.rehome_grace);
        let last_heard = timers.max_time_last_heard;
        let homes: Vec<_> = self.handlespace.homes().collect();
        for home in homes {
            self.handlespace.extend_leases(home, now + grace);
        }
        for (slot, known) in &self.supervised {
            if known.awaited_from.is_some() {
                self.timers.set(Timer::Awaited(*slot), now + rehome_grace);
            }
        }
        for target in self.takeovers.keys() {
            self.timers.set(Timer::Takeover(*target), now + grace);
        }
        for (server, peer) in &self.peers {
            if peer.yielded {
                self.timers.set(Timer::Yielded(*server), now + grace + last_heard);
            }
            if peer.audit.is_some() {
                self.timers.set(Timer::Audit(*server), now + grace);
            }
        }
        self.mentor_resumed(now);
        self.probe_all(now);
        self.probe_peers(now);
        self.emit(Event::Resumed { late });
    }
}
