//! How often anybody may ask (RFC 5355 §2.1, §2.13).
//!
//! ```text
//!   message --room in the association's rate?-- no --+
//!              | yes                                 |
//!              +-- room in its identity's? -- yes: served
//!              | no                                  |
//!              +-- within the little that each association always has? -- yes: served
//!              | no                                  |
//!              +-------------------------------------+--> a few are refused with an answer;
//!                                     more is not heard; who goes on and on is disconnected
//! ```
//!
//! Asked before a message is decoded. An association within its own rate goes on being served when
//! others ask too much, and nobody is disconnected for what others of its address do.
//!
//! A meter is a bucket that leaks at the rate: it holds a second's worth, so that whoever was held
//! up may catch up. What is refused flows into a second one, which says how far over the rate
//! somebody is; being refused does not use up what one has.

use super::association::Association;
use super::config::Limits;
use super::quota::Party;
use super::{Ignored, Registrar};
use crate::id::AssociationId;
use crate::machine::Channel;
use crate::time::{Duration, Instant};
use crate::wire::asap::{self, Body, Message};
use crate::wire::operation_error::ErrorCause;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// Registrations and deregistrations.
    Registration,
    /// Resolutions, those that watch included.
    Resolution,
    /// Reports of unreachable elements.
    Report,
    /// All else: answers to keep-alives, errors, what is no message, and what comes to where
    /// registrars talk from somebody who is not known as one.
    Other,
}

/// How many kinds there are.
const KINDS: usize = 4;

/// How much is refused with an answer: that part of the rate.
const ANSWERED: u32 = 4;

/// How much over its rate nobody is disconnected for: to ignore that many a second costs nothing, and
/// a user that reports all elements of a large pool, again and again, means no harm.
const TOLERATED: u32 = 100;

/// Seconds' worth of the rate, or of [`TOLERATED`] if that is more, that may be refused before the
/// association is closed: some ten seconds at twice the rate, and more than what piles up while a
/// registrar was suspended.
const PATIENCE: u64 = 10;

/// What each association has for itself when others have used up what their identity may: that part
/// of its rate, and [`MOST_OWN`] a second at most.
const OWN_PART: u32 = 10;
const MOST_OWN: u32 = 10;

/// Time between two events about one association.
const BETWEEN_EVENTS: Duration = Duration::from_secs(1);

/// Most identities remembered of which no association is left.
const IDLE_PARTIES: usize = 4096;

/// Time after which nothing is left of what an identity has used: it is as good as new.
const FORGET: Duration = Duration::from_secs(2);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Serve,
    /// With the answer that says so, if there is one.
    Refuse,
    Ignore,
    Close,
}

impl MessageKind {
    /// What a message is by its first byte; `None` if it is not counted.
    ///
    /// Registrars that are known as such may say what they have to: each update that was dropped
    /// would have to be read again by an audit, which costs more.
    pub(super) fn of(association: &Association, bytes: &[u8]) -> Option<Self> {
        if association.channel == Channel::Enrp {
            return association.peer.is_none().then_some(Self::Other);
        }
        Some(match bytes.first() {
            Some(&(asap::REGISTRATION | asap::DEREGISTRATION)) => Self::Registration,
            Some(&asap::HANDLE_RESOLUTION) => Self::Resolution,
            Some(&asap::ENDPOINT_UNREACHABLE) => Self::Report,
            _ => Self::Other,
        })
    }

    /// The rates of an association and of all of its identity.
    fn rates(self, limits: &Limits) -> (u32, u32) {
        match self {
            Self::Registration => {
                (limits.registrations_per_second, limits.registrations_per_second_of_owner)
            }
            Self::Resolution => {
                (limits.resolutions_per_second, limits.resolutions_per_second_of_owner)
            }
            Self::Report => (limits.reports_per_second, limits.reports_per_second_of_owner),
            Self::Other => (limits.others_per_second, limits.others_per_second_of_owner),
        }
    }
}

impl core::fmt::Display for MessageKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Registration => "registrations",
            Self::Resolution => "resolutions",
            Self::Report => "reports",
            Self::Other => "other messages",
        })
    }
}

/// A message, in what meters count: a rate of one a second gives back one of it in a microsecond.
const MESSAGE: u64 = 1_000_000;

/// A bucket that leaks.
#[derive(Clone, Copy, Debug, Default)]
struct Meter(u64);

impl Meter {
    fn leak(&mut self, micros: u64, rate: u32) {
        self.0 = self.0.saturating_sub(micros.saturating_mul(u64::from(rate)));
    }

    /// Counts a message if there is room for it in what holds `most`.
    fn take(&mut self, most: u64) -> bool {
        let filled = self.0.saturating_add(MESSAGE);
        let fits = filled <= most.max(MESSAGE);
        if fits {
            self.0 = filled;
        }
        fits
    }
}

/// What holds as many messages.
fn room(messages: u32) -> u64 {
    u64::from(messages).saturating_mul(MESSAGE)
}

/// What an association, or an identity, has used and was refused of one kind.
#[derive(Clone, Copy, Debug)]
struct Usage {
    since: Instant,
    used: Meter,
    refused: Meter,
    /// Of what an association always has.
    own: Meter,
}

impl Usage {
    fn new(now: Instant) -> Self {
        let empty = Meter::default();
        Self { since: now, used: empty, refused: empty, own: empty }
    }

    fn leak(&mut self, now: Instant, rate: u32) {
        // As plain numbers: this is done for every message.
        let micros = now.as_micros().saturating_sub(self.since.as_micros());
        if micros == 0 {
            return;
        }
        self.since = now;
        self.used.leak(micros, rate);
        self.refused.leak(micros, (rate / ANSWERED).max(TOLERATED));
        self.own.leak(micros, own_rate(rate));
    }

    /// Whether one that is refused is answered.
    fn is_answered(&mut self, rate: u32) -> bool {
        self.refused.take(room(rate / ANSWERED))
    }
}

fn own_rate(rate: u32) -> u32 {
    (rate / OWN_PART).clamp(1, MOST_OWN)
}

/// What an association has used; made when it says something for the first time.
#[derive(Debug)]
pub(super) struct Spent {
    usage: [Usage; KINDS],
    /// Its identity, as it was then.
    party: PartyId,
    /// When its owner was told last that it asks too often.
    told: Option<Instant>,
}

/// Place in [`Rates::known`].
type PartyId = u32;

/// What the associations of each identity have used together.
#[derive(Debug, Default)]
pub(super) struct Rates {
    known: Vec<Option<Known>>,
    free: Vec<PartyId>,
    by_party: BTreeMap<Party, PartyId>,
    /// Those of which no association is left, and since when: [`IDLE_PARTIES`] at most.
    idle: BTreeSet<(Instant, PartyId)>,
}

#[derive(Debug)]
struct Known {
    party: Party,
    associations: u32,
    idle_since: Instant,
    usage: [Usage; KINDS],
}

impl Rates {
    /// How many identities are known: no more than there are associations, and [`IDLE_PARTIES`].
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.by_party.len()
    }

    /// What becomes of a message.
    pub(super) fn weigh(
        &mut self,
        now: Instant,
        association: &mut Association,
        kind: MessageKind,
        limits: &Limits,
    ) -> Verdict {
        if association.spent.is_none() {
            let party = self.join(now, Party::of(association));
            let usage = [Usage::new(now); KINDS];
            association.spent = Some(Box::new(Spent { usage, party, told: None }));
        }
        let Some(spent) = association.spent.as_deref_mut() else { return Verdict::Serve };
        let (rate, rate_of_all) = kind.rates(limits);
        let known = self.known.get_mut(spent.party as usize).and_then(Option::as_mut);
        let (Some(own), Some(all)) = (
            spent.usage.get_mut(kind as usize),
            known.and_then(|known| known.usage.get_mut(kind as usize)),
        ) else {
            return Verdict::Serve;
        };
        own.leak(now, rate);
        all.leak(now, rate_of_all);
        if own.used.take(room(rate)) {
            if all.used.take(room(rate_of_all)) || own.own.take(room(own_rate(rate))) {
                return Verdict::Serve;
            }
        } else if !own.refused.take(room(rate.max(TOLERATED)).saturating_mul(PATIENCE)) {
            return Verdict::Close;
        } else if own.refused.0 > room(rate / ANSWERED).max(MESSAGE) {
            return Verdict::Ignore;
        }
        if all.is_answered(rate_of_all) { Verdict::Refuse } else { Verdict::Ignore }
    }

    /// One more association of an identity has something to say.
    fn join(&mut self, now: Instant, party: Party) -> PartyId {
        self.forget_idle(now);
        if let Some(&id) = self.by_party.get(&party) {
            if let Some(known) = self.known.get_mut(id as usize).and_then(Option::as_mut) {
                known.associations += 1;
                self.idle.remove(&(known.idle_since, id));
            }
            return id;
        }
        let usage = [Usage::new(now); KINDS];
        let known = Known { party, associations: 1, idle_since: now, usage };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.known.push(None);
                // As many as associations at a time, whose names are not that many.
                (self.known.len() - 1) as PartyId
            }
        };
        if let Some(place) = self.known.get_mut(id as usize) {
            *place = Some(known);
        }
        self.by_party.insert(party, id);
        id
    }

    /// An association is gone. What its identity has used is remembered while there is some of it.
    pub(super) fn leave(&mut self, now: Instant, association: &mut Association) {
        let Some(spent) = association.spent.take() else { return };
        let id = spent.party;
        if let Some(known) = self.known.get_mut(id as usize).and_then(Option::as_mut) {
            known.associations -= 1;
            if known.associations == 0 {
                known.idle_since = now;
                self.idle.insert((now, id));
            }
        }
        self.forget_idle(now);
    }

    /// Forgets those of whom nothing is left, and the oldest if they are too many.
    pub(super) fn forget_idle(&mut self, now: Instant) {
        while let Some(&(since, id)) = self.idle.first()
            && (self.idle.len() > IDLE_PARTIES || now.saturating_since(since) >= FORGET)
        {
            self.idle.pop_first();
            if let Some(known) = self.known.get_mut(id as usize).and_then(Option::take) {
                self.by_party.remove(&known.party);
                self.free.push(id);
            }
        }
    }
}

impl Registrar {
    /// What is done about a message that is not served.
    pub(super) fn on_too_many(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        kind: MessageKind,
        verdict: Verdict,
        bytes: &[u8],
    ) {
        self.counters.over_rate += 1;
        let association = self.associations.get_mut(&assoc);
        let Some(spent) = association.and_then(|known| known.spent.as_deref_mut()) else { return };
        let recently = |told| now.saturating_since(told) < BETWEEN_EVENTS;
        if verdict == Verdict::Close || !spent.told.is_some_and(recently) {
            spent.told = Some(now);
            let reason = match verdict {
                Verdict::Close => Ignored::Flood(kind),
                _ => Ignored::TooMany(kind),
            };
            self.ignore(assoc, reason);
        }
        match verdict {
            Verdict::Refuse => self.refuse_message(assoc, bytes),
            Verdict::Close => self.disconnect(now, assoc),
            Verdict::Serve | Verdict::Ignore => {}
        }
    }

    /// Answers a message as the RFC says if there is no room (RFC 5354 §3.12.7).
    fn refuse_message(&mut self, assoc: AssociationId, bytes: &[u8]) {
        let Ok(decoded) = Message::decode(bytes) else { return };
        let cause = ErrorCause::LackOfResources;
        match decoded.message.body {
            Body::Registration { handle, element, .. } => {
                self.counters.registrations_refused += 1;
                self.respond_to_registration(assoc, handle, element.id, Vec::from([cause]));
            }
            Body::Deregistration { handle, id, .. } => {
                self.respond_to_deregistration(assoc, handle, id, Vec::from([cause]));
            }
            Body::HandleResolution { handle, .. } => {
                self.end_watch(assoc, &handle);
                self.refuse_resolution(assoc, &handle, cause, false, super::CAPABILITIES);
            }
            _ => {}
        }
    }
}
