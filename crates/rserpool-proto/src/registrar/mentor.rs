//! Coming into service: a mentor's list of peers and its table (RFC 5353 §3.2).
//!
//! ```text
//!   new --> dial all fixed peers --> LIST_REQUEST --> HANDLE_TABLE_REQUEST (M: again) --> serving
//!            |                          | refused, silent, lost: the next one that answers
//!            '-- nobody for mentor_timeout --------------------------------------------> serving
//! ```
//!
//! Until then elements and users are sent elsewhere: what is not known here cannot be denied.

use super::{Event, Registrar, Timer};
use crate::id::{AssociationId, ServerId};
use crate::time::Instant;
use crate::wire::enrp::Body;
use alloc::collections::BTreeSet;

/// Whether a registrar serves.
#[derive(Debug)]
pub(super) enum Service {
    /// It knows what there is to know.
    Ready,
    /// It is still learning.
    Starting(Starting),
}

#[derive(Debug)]
pub(super) struct Starting {
    /// When it gives up to find a mentor.
    alone_at: Instant,
    mentor: Option<Mentor>,
    /// Who has refused, been silent, or gone.
    tried: BTreeSet<AssociationId>,
}

#[derive(Debug)]
struct Mentor {
    assoc: AssociationId,
    /// Its list has come, and its table is being read.
    reading: bool,
}

impl Registrar {
    /// Begins to look for a mentor, or to serve if there is nowhere to look.
    pub(super) fn start(&mut self, now: Instant) {
        if self.config.peers.is_empty() && self.config.enrp_announced.is_none() {
            // RFC 5353 §3.2.2.1: alone in the scope.
            return;
        }
        let alone_at = now + self.config.timers.mentor_timeout;
        let starting = Starting { alone_at, mentor: None, tried: BTreeSet::new() };
        self.service = Service::Starting(starting);
        self.timers.set(Timer::Mentor, alone_at);
        self.dial_fixed(now);
    }

    /// Whether elements and users are served.
    pub fn is_serving(&self) -> bool {
        matches!(self.service, Service::Ready) && !self.is_leaving()
    }

    /// Another registrar is there: it is the mentor if there is none yet.
    pub(super) fn on_mentor_candidate(&mut self, now: Instant, assoc: AssociationId) {
        let Service::Starting(starting) = &mut self.service else {
            return;
        };
        if starting.mentor.is_some() || starting.tried.contains(&assoc) {
            return;
        }
        starting.mentor = Some(Mentor { assoc, reading: false });
        self.timers.set(Timer::Mentor, now + self.config.timers.max_time_no_response);
        self.transmit_enrp(assoc, ServerId::NONE, Body::ListRequest);
    }

    /// The list of the mentor has come, or its refusal (RFC 5353 §3.2.2.2).
    pub(super) fn on_mentor_list(&mut self, now: Instant, assoc: AssociationId, rejected: bool) {
        let Service::Starting(Starting { mentor: Some(mentor), .. }) = &mut self.service else {
            return;
        };
        if mentor.assoc != assoc || mentor.reading {
            return;
        }
        if rejected {
            return self.next_mentor(now);
        }
        mentor.reading = true;
        self.timers.set(Timer::Mentor, now + self.config.timers.max_time_no_response);
        self.request_table(assoc, false);
    }

    /// A piece of the mentor's table has come and been taken over (RFC 5353 §3.2.3).
    pub(super) fn on_mentor_table(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        more: bool,
        rejected: bool,
    ) {
        let Service::Starting(Starting { mentor: Some(mentor), .. }) = &self.service else {
            return;
        };
        if mentor.assoc != assoc || !mentor.reading {
            return;
        }
        if rejected {
            self.next_mentor(now);
        } else if more {
            self.timers.set(Timer::Mentor, now + self.config.timers.max_time_no_response);
            self.request_table(assoc, false);
        } else {
            self.enter_service(now, false);
        }
    }

    /// When the mentor, or any mentor, has been silent for too long.
    pub(super) fn on_mentor_timeout(&mut self, now: Instant) {
        if matches!(self.service, Service::Starting(_)) {
            self.next_mentor(now);
        }
    }

    /// After a suspension whoever is asked has its time anew.
    pub(super) fn mentor_resumed(&mut self, now: Instant) {
        if matches!(self.service, Service::Starting(Starting { mentor: Some(_), .. })) {
            self.timers.set(Timer::Mentor, now + self.config.timers.max_time_no_response);
        }
    }

    pub(super) fn on_mentor_lost(&mut self, now: Instant, assoc: AssociationId) {
        if self.is_mentor(assoc) {
            self.next_mentor(now);
        }
    }

    /// The mentor is spoken to on another association from now on: the work begins anew there.
    pub(super) fn mentor_moved(&mut self, assoc: AssociationId) {
        if self.is_mentor(assoc)
            && let Service::Starting(starting) = &mut self.service
        {
            starting.mentor = None;
        }
    }

    fn is_mentor(&self, assoc: AssociationId) -> bool {
        matches!(
            &self.service,
            Service::Starting(Starting { mentor: Some(mentor), .. }) if mentor.assoc == assoc
        )
    }

    /// Turns to the next registrar that answers; serves alone when time is up.
    fn next_mentor(&mut self, now: Instant) {
        let Service::Starting(starting) = &mut self.service else {
            return;
        };
        if let Some(mentor) = starting.mentor.take() {
            starting.tried.insert(mentor.assoc);
        }
        let alone_at = starting.alone_at;
        let candidates = self.connected_peers();
        for (_, assoc, _) in candidates {
            self.on_mentor_candidate(now, assoc);
            if self.is_mentor(assoc) {
                return;
            }
        }
        if now < alone_at {
            self.timers.set(Timer::Mentor, alone_at);
        } else {
            self.enter_service(now, true);
        }
    }

    fn enter_service(&mut self, now: Instant, alone: bool) {
        self.service = Service::Ready;
        self.timers.cancel(Timer::Mentor);
        self.watch_homes(now);
        self.emit(Event::InService { alone });
        for (_, assoc, _) in self.connected_peers() {
            self.send_presence(assoc, ServerId::NONE, false);
        }
    }
}
