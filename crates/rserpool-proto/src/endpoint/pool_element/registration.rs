//! Registration, re-registration and deregistration (RFC 5352 §3.1, §3.2).

use super::{Event, PoolElement};
use crate::endpoint::{CAPABILITIES, LossReason};
use crate::id::{AssociationId, PeId, ServerId};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::wire::asap::Body;
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::pool_element::{ElementExtensions, LifeUnit, PoolElement as WireElement};
use alloc::boxed::Box;
use alloc::vec::Vec;
use rand_core::Rng;

/// Most identifiers drawn in a row because the one before was taken. With 32 random bits two in a
/// row mean that something else is wrong.
const MAX_REDRAWS: u32 = 3;

/// What the owner wants.
#[derive(Debug)]
pub(super) enum Goal {
    /// To be in the pool.
    Member,
    /// To be out of it.
    Leaving {
        /// When T3-deregistration expires.
        t3: Option<Instant>,
        /// When the attempt is given up.
        gives_up: Instant,
    },
    /// Nothing; everything is closed.
    Gone,
}

impl Goal {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Leaving { t3, gives_up } => Some(t3.unwrap_or(*gives_up).min(*gives_up)),
            Self::Member | Self::Gone => None,
        }
    }
}

/// A registration under way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) assoc: AssociationId,
    /// When T2-registration expires; `None` once it has, and the answer would be a late one.
    pub(super) deadline: Option<Instant>,
    /// Whether no registrar can have known us before.
    first: bool,
    /// It asks whether a home that sends no keep-alives is still there.
    pub(super) probing: bool,
}

impl PoolElement {
    /// Does the next step towards the goal, if one can be done now.
    pub(super) fn advance(&mut self, now: Instant) {
        match self.goal {
            Goal::Gone => {}
            Goal::Leaving { .. } => self.hunt.ensure(now, &mut self.outputs),
            Goal::Member if self.refused || self.held_back => {}
            Goal::Member => match self.hunt.trusted_home() {
                // RFC 5352 §3.1: without a home registrar, hunt for one first.
                None => self.hunt.ensure(now, &mut self.outputs),
                Some(home) if self.due && self.request.is_none() => self.register(now, home),
                Some(_) => {}
            },
        }
    }

    /// RFC 5352 §3.1 R1-R4.
    fn register(&mut self, now: Instant, home: AssociationId) {
        self.due = false;
        self.renew_at = None;
        self.seq = self.seq.saturating_add(1);
        let (capable, stranger) = (self.hunt.home_is_capable(), self.hunt.home_is_stranger());
        let stamp = Stamp { seq: self.seq, moves: 0 };
        // What strangers take for the life they are told first they keep (rsplib does).
        let unit = if capable { LifeUnit::Seconds } else { self.config.life_unit };
        let mut capabilities = match unit {
            LifeUnit::Seconds => CAPABILITIES,
            LifeUnit::Milliseconds => Capabilities::MILLISECONDS,
        };
        if self.config.tcp_control && !capable {
            capabilities.0 |= Capabilities::TCP_CONTROL.0;
        }
        let element = WireElement {
            id: self.id,
            home: ServerId::NONE,
            life: life_on_the_wire(self.config.timers.registration_life, unit),
            user_transport: self.config.user_transport.clone(),
            policy: self.config.policy.clone(),
            // The home registrar fills it in (RFC 5352 §3.1 rule 4).
            asap_transport: None,
            extensions: ElementExtensions {
                stamp: capable.then_some(stamp),
                tcp_control: capable && self.config.tcp_control,
                ..ElementExtensions::default()
            },
        };
        let sent = self.send(
            home,
            Body::Registration {
                handle: self.config.handle.clone(),
                element: Box::new(element),
                capabilities: (!stranger).then_some(capabilities),
                // As long as nothing is known, where nobody minds it.
                stamp: (!stranger && !capable).then_some(stamp),
            },
        );
        if sent {
            let first = !core::mem::replace(&mut self.maybe_registered, true);
            let deadline = Some(now + self.config.timers.t2_registration);
            let (assoc, probing) = (home, false);
            self.request = Some(Request { assoc, deadline, first, probing });
        } else {
            // Longer than a message can be: as if the registrar had said so.
            self.refuse(Vec::new());
        }
    }

    pub(super) fn on_registration_response(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        rejected: bool,
        errors: Vec<ErrorCause>,
        capable: bool,
    ) {
        let Some(request) = self.request.take_if(|request| request.assoc == assoc) else { return };
        self.unanswered = 0;
        self.unreachable_told = false;
        self.hunt.confirm(assoc, &mut self.outputs);
        if !matches!(self.goal, Goal::Member) {
            return;
        }
        if rejected {
            self.maybe_registered &= !request.first;
            self.on_refused(errors);
        } else {
            self.redraws = 0;
            // What was under way when we were thrown out lets us in again.
            self.held_back = false;
            // Up to a quarter sooner, so that elements that found a new home together do not keep in
            // step for ever.
            let t4 = self.config.timers.t4_reregistration();
            let t4 = t4 - t4 / 4 * (self.rng.next_u32() % 1024) / 1024;
            self.renew_at = (!planted!("no-renewal")).then_some(now + t4);
            self.watch.on_answer(now, request.probing);
            self.hunt.set_home_capable(capable);
            if self.registered_on != Some(assoc) {
                self.registered_on = Some(assoc);
                if let Some(home) = self.home().cloned() {
                    self.tell(Event::Registered { id: self.id, home });
                }
            }
            if !errors.is_empty() {
                self.tell(Event::ErrorReported { errors });
            }
        }
        self.close_retiring();
        self.advance(now);
    }

    fn on_refused(&mut self, errors: Vec<ErrorCause>) {
        // RFC 5352 §3.1: not again without correcting the error. This one we can correct, unless
        // the identifier is known to others already.
        let taken = errors.contains(&ErrorCause::NonUniquePeId);
        if taken && self.config.id.is_none() && self.redraws < MAX_REDRAWS {
            self.redraws += 1;
            self.id = PeId(self.rng.next_u32());
            // It may be taken by us: by one of those who have called the element home.
            self.close_visitors();
            self.registered_on = None;
            self.due = true;
        } else {
            self.refuse(errors);
        }
    }

    fn refuse(&mut self, errors: Vec<ErrorCause>) {
        self.refused = true;
        self.due = false;
        self.renew_at = None;
        self.registered_on = None;
        self.watch.reset();
        self.tell(Event::Refused { errors });
    }

    /// T2-registration: nobody has answered, so another registrar is needed (RFC 5352 §3.1).
    pub(super) fn on_request_timeout(&mut self, now: Instant) {
        let Some(request) = &mut self.request else { return };
        if request.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        // The request stays, for an answer may come late.
        request.deadline = None;
        let reason = if request.probing { LossReason::Silent } else { LossReason::NoAnswer };
        self.unanswered = self.unanswered.saturating_add(1);
        self.on_home_suspected(now, reason);
        // RFC 5352 §3.1: report beyond MAX-REG-ATTEMPT. It also says to stop, but a server that
        // nobody watches has to come back by itself.
        if self.unanswered >= self.config.timers.max_reg_attempt {
            self.refused |= planted!("rfc-stops-registering");
            self.on_unreachable();
        }
    }

    /// T4-reregistration (RFC 5352 §3.1).
    pub(super) fn on_t4_reregistration(&mut self, now: Instant) {
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            self.due = true;
        }
    }

    /// Starts to leave the pool (RFC 5352 §3.2).
    pub(super) fn leave(&mut self, now: Instant) {
        self.held_back = false;
        if !matches!(self.goal, Goal::Member) {
            return;
        }
        self.due = false;
        self.renew_at = None;
        self.waiting.clear();
        self.watch.reset();
        self.seq = self.seq.saturating_add(1);
        if !self.maybe_registered {
            self.finish_leaving(Event::Deregistered);
            return;
        }
        let t3 = self.config.timers.t3_deregistration;
        let gives_up = now + t3 * self.config.timers.max_reg_attempt.max(1);
        self.goal = Goal::Leaving { t3: None, gives_up };
        if let Some(home) = self.hunt.home() {
            self.send_deregistration(now, home);
        }
        self.advance(now);
    }

    /// RFC 5352 §3.2 D1-D4.
    pub(super) fn send_deregistration(&mut self, now: Instant, home: AssociationId) {
        let stamp = Stamp { seq: self.seq, moves: 0 };
        let stamp = self.hunt.home_is_capable().then_some(stamp);
        let handle = self.config.handle.clone();
        self.send(home, Body::Deregistration { handle, id: self.id, stamp });
        if let Goal::Leaving { t3, .. } = &mut self.goal {
            *t3 = Some(now + self.config.timers.t3_deregistration);
        }
    }

    pub(super) fn on_deregistration_response(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        errors: Vec<ErrorCause>,
    ) {
        match self.goal {
            // Not to be known is as good (RFC 5352 §3.2).
            Goal::Leaving { .. }
                if errors.iter().all(|error| *error == ErrorCause::UnknownPoolHandle) =>
            {
                self.finish_leaving(Event::Deregistered);
            }
            Goal::Leaving { .. } => self.finish_leaving(Event::DeregistrationFailed { errors }),
            // RFC 5352 §3.2: our life has expired, or so the registrar says.
            Goal::Member if errors.is_empty() && self.registered_on == Some(assoc) => {
                self.on_expired(now);
            }
            Goal::Member | Goal::Gone => {}
        }
    }

    fn on_expired(&mut self, now: Instant) {
        // Silence was the reason, and the service has not broken it yet.
        self.held_back = self.registered_on.take().is_some_and(|home| self.waiting.contains(&home));
        self.tell(Event::Expired);
        // At once, unless this is all that happens.
        let pause = self.config.timers.t5_server_hunt;
        let again = self.expired_at.is_some_and(|at| now.saturating_since(at) < pause);
        self.expired_at = Some(now);
        if again {
            self.renew_at = Some(now + pause);
        } else {
            self.due = true;
        }
        self.advance(now);
    }

    /// T3-deregistration: hunt, and ask the next home (RFC 5352 §3.2); up to a limit, since whoever
    /// leaves does not want to wait for ever.
    pub(super) fn on_t3_deregistration(&mut self, now: Instant) {
        let Goal::Leaving { t3, gives_up } = &mut self.goal else { return };
        if *gives_up <= now {
            self.finish_leaving(Event::DeregistrationFailed { errors: Vec::new() });
        } else if t3.is_some_and(|t3| t3 <= now) {
            *t3 = None;
            self.on_home_suspected(now, LossReason::NoAnswer);
        }
    }

    fn finish_leaving(&mut self, event: Event) {
        self.goal = Goal::Gone;
        self.request = None;
        self.registered_on = None;
        self.maybe_registered = false;
        self.refused = false;
        self.unanswered = 0;
        self.unreachable_told = false;
        self.home_server = ServerId::NONE;
        if let Some(assoc) = self.hunt.stop(&mut self.outputs) {
            self.close(assoc);
        }
        self.close_visitors();
        self.tell(event);
    }

    fn close_visitors(&mut self) {
        self.retiring = None;
        while let Some((assoc, _)) = self.visitors.pop_first() {
            self.close(assoc);
        }
    }
}

/// Registration life, rounded up so that it never ends before ours does; what does not fit lasts for
/// ever (RFC 5354 §3.10).
fn life_on_the_wire(life: Duration, unit: LifeUnit) -> i32 {
    let unit = match unit {
        LifeUnit::Seconds => Duration::from_secs(1),
        LifeUnit::Milliseconds => Duration::from_millis(1),
    };
    let units = life.as_nanos().div_ceil(unit.as_nanos()).max(1);
    i32::try_from(units).unwrap_or(-1)
}
