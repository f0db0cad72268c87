//! Keep-alives: answering them, and noticing when they stop (RFC 5352 §3.4).

use super::registration::Goal;
use super::{Event, Health, PoolElement};
use crate::id::{AssociationId, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::asap::Body;

/// Intervals without a sign of life after which the home is asked; one more, and it counts as
/// silent. Each interval is drawn within 50 % of its mean (RFC 5352 §3.5), so that after two of them
/// at least one keep-alive is missing.
const ASK_AFTER: u32 = 2;

/// Longest interval that is learned. Renewals find a silent registrar anyway.
const MAX_INTERVAL: Duration = Duration::from_secs(600);

impl PoolElement {
    /// KA2, after KA1 has been checked.
    pub(super) fn on_endpoint_keep_alive(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        home: bool,
        server: ServerId,
    ) {
        let is_homes = self.is_homes(assoc);
        // While the home is asked on one association it may ask on the other whether it should believe
        // that: an answer there would be one too many.
        let superseded = is_homes && (self.request.is_some() || self.retiring == Some(assoc));
        if !self.maybe_registered || (superseded && !home) {
            return;
        }
        self.acknowledge(now, assoc);
        if !matches!(self.goal, Goal::Member) {
            return;
        }
        if self.hunt.home() == Some(assoc) {
            self.home_server = server;
            if self.registered_on == Some(assoc) {
                self.watch.on_keep_alive(now);
            }
        } else if home
            && (self.home_server.is_none() || self.home_server != server)
            && !(is_homes && self.registered_on.is_some())
        {
            // KA2.4: adopt the sender as home; a call that comes late is from where we are by now.
            if let Some(locator) = self.visitors.remove(&assoc) {
                if self.retiring == Some(assoc) {
                    self.retiring = None;
                }
                let found = self.hunt.adopt(assoc, locator, &mut self.outputs);
                self.on_new_home(now, found, server);
            }
        }
    }

    /// Whether this is another association of the very registrar that is the home, over whatever
    /// transport: an old one, or one on which it has called us home before.
    fn is_homes(&self, assoc: AssociationId) -> bool {
        let visitor = self.visitors.get(&assoc);
        visitor
            .zip(self.hunt.home_locator())
            .is_some_and(|(visitor, home)| visitor.port == home.port && visitor.shares_host(home))
    }

    fn acknowledge(&mut self, now: Instant, assoc: AssociationId) {
        let healthy = match self.config.health {
            Health::Assumed => true,
            Health::Reported { max_age } => {
                self.last_healthy.is_some_and(|at| now.saturating_since(at) <= max_age)
            }
        };
        if healthy {
            self.send_ack(assoc);
        } else if matches!(self.goal, Goal::Member) {
            let first = self.waiting.is_empty();
            self.waiting.insert(assoc);
            if first {
                self.tell(Event::HealthWanted);
            }
        }
    }

    /// KA2.1-KA2.3.
    fn send_ack(&mut self, assoc: AssociationId) {
        let handle = self.config.handle.clone();
        self.send(assoc, Body::EndpointKeepAliveAck { handle, id: self.id });
    }

    pub(super) fn on_health_report(&mut self, now: Instant, healthy: bool) {
        self.last_healthy = healthy.then_some(now);
        let waiting = core::mem::take(&mut self.waiting);
        if healthy && !planted!("health-report-ignored") {
            for assoc in waiting {
                self.send_ack(assoc);
            }
            if core::mem::take(&mut self.held_back) {
                self.advance(now);
            }
        }
    }

    /// When too many keep-alives are missing; only while no registration is there to show it.
    pub(super) fn keep_alive_deadline(&self) -> Option<Instant> {
        let asked = self.request.as_ref().is_some_and(|request| request.probing);
        let watching = self.registered_on.is_some() && !self.refused && !asked;
        self.watch.ask_at().filter(|_| watching)
    }

    /// Too many keep-alives are missing: the home is asked, by a registration that it has to answer
    /// within one interval.
    pub(super) fn on_keep_alive_missing(&mut self, now: Instant) {
        if self.keep_alive_deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.request.is_none() {
            self.due = true;
            self.advance(now);
        }
        let limit = now + self.watch.interval;
        if let Some(request) = &mut self.request {
            request.probing = true;
            request.deadline = request.deadline.map(|deadline| deadline.min(limit));
        }
    }
}

/// The rhythm of the home's keep-alives.
#[derive(Debug)]
pub(super) struct Watch {
    /// Least interval expected, whatever is seen: reports make registrars send some in between.
    least: Duration,
    /// Mean interval as it was seen.
    interval: Duration,
    /// Keep-alives seen, up to two: nothing is expected of a registrar before the second.
    seen: u8,
    last_keep_alive: Instant,
    last_sign: Instant,
}

impl Watch {
    pub(super) fn new(least: Duration) -> Self {
        let least = least.max(Duration::from_millis(1));
        Self {
            least,
            interval: least,
            seen: 0,
            last_keep_alive: Instant::ZERO,
            last_sign: Instant::ZERO,
        }
    }

    /// Forgets what was seen: another home, or none.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.least);
    }

    fn on_keep_alive(&mut self, now: Instant) {
        if self.seen > 0 {
            let gap = now.saturating_since(self.last_keep_alive);
            let mean = if self.seen == 1 { gap } else { (self.interval * 7 + gap) / 8 };
            self.interval = mean.clamp(self.least, MAX_INTERVAL.max(self.least));
        }
        self.seen = (self.seen + 1).min(2);
        self.last_keep_alive = now;
        self.last_sign = now;
    }

    /// The home has answered; if it was asked because keep-alives were missing, they come more
    /// slowly than thought.
    pub(super) fn on_answer(&mut self, now: Instant, asked: bool) {
        self.last_sign = now;
        if asked {
            self.interval = (self.interval * 2).min(MAX_INTERVAL.max(self.least));
        }
    }

    fn ask_at(&self) -> Option<Instant> {
        (self.seen >= 2).then(|| self.last_sign + self.interval * ASK_AFTER)
    }
}
