//! The pool user: resolves pools and picks elements of them (RFC 5352 §3.3, §3.5, §6.5).
//!
//! ```text
//!   user                                        home registrar
//!      | ------------ HANDLE_RESOLUTION -------------> |   T1; nobody answers: again, and hunt
//!      | <------- HANDLE_RESOLUTION_RESPONSE --------- |   into the cache, and to all who wait
//!      |                                               |
//!      | ----------- ENDPOINT_UNREACHABLE -----------> |   an element could not be reached
//!      | <------- HANDLE_RESOLUTION_RESPONSE --------- |   unasked: a watched pool has changed
//! ```
//!
//! It finds elements and says which to use; it does not speak with them. One question per pool is
//! under way at a time, and every request gets exactly one answer, at the latest after T1 times
//! (1 + MAX-REQUEST-RETRANSMIT).

mod config;
mod event;
mod question;
#[cfg(test)]
mod tests;
mod watch;

pub use config::PoolUserConfig;
pub use event::{Event, RequestId, Resolution, ResolveError};
pub use watch::TooManyWatches;

use super::cache::{Answer, Cache, Choice};
use super::server_hunt::ServerHunt;
use super::{CAPABILITIES, LossReason, decode, encode, on_datagram};
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::machine::{Input, Locator, Machine, Output};
use crate::planted::planted;
use crate::policy::{Dice, Turn};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, HandleResolutionResponse};
use crate::wire::capability::Capabilities;
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::PoolElement;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use question::{Kind, Questions, Waiter};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use watch::Watches;

/// Most reports kept for the next home registrar; the oldest make room.
const MAX_REPORTS: usize = 64;

/// A client's view of the pools it uses.
#[derive(Debug)]
pub struct PoolUser {
    config: PoolUserConfig,
    registrars: Arc<[Locator]>,
    hunt: ServerHunt,
    cache: Cache,
    /// For the random policies.
    dice: Dice,
    questions: Questions,
    watches: Watches,
    /// Questions sent to the home and not answered yet, oldest first, and when. Answers come in
    /// this order.
    sent: VecDeque<(PoolHandle, Instant)>,
    /// Reports for which there was no home.
    reports: VecDeque<(PoolHandle, PeId)>,
    outputs: VecDeque<Output<Event>>,
}

impl PoolUser {
    /// Starts a user: it hunts for a registrar at once, so that the first question finds one.
    ///
    /// `seed` decides all that is random: the order of registrars, the jitter, the random policies.
    pub fn new(config: PoolUserConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut dice_seed = [0; 32];
        rng.fill_bytes(&mut dice_seed);
        let timers = &config.timers;
        let hunt = ServerHunt::new(
            &config.registrars,
            timers.t5_server_hunt,
            timers.retran_max,
            timers.t7_enrp_outdate,
            rng,
        );
        let cache = Cache::new(config.max_pools, timers.set_aside.max(timers.stale_cache_value));
        let mut user = Self {
            registrars: config.registrars.as_slice().into(),
            config,
            hunt,
            cache,
            dice: Dice::new(dice_seed),
            questions: Questions::default(),
            watches: Watches::default(),
            sent: VecDeque::new(),
            reports: VecDeque::new(),
            outputs: VecDeque::new(),
        };
        user.hunt.ensure(now, &mut user.outputs);
        user
    }

    /// How many things it remembers and queues, the handlespace left out: what must be bounded.
    #[cfg(any(test, feature = "testing"))]
    pub fn kept(&self) -> usize {
        let sizes = [
            self.cache.kept(),
            self.questions.len(),
            self.questions.waiting(),
            self.watches.len(),
            self.sent.len(),
            self.reports.len(),
            self.outputs.len(),
            self.hunt.kept(),
        ];
        sizes.into_iter().sum()
    }

    /// Its home registrar, if it has one.
    pub fn home(&self) -> Option<&Locator> {
        self.hunt.trusted_home().and_then(|_| self.hunt.home_locator())
    }

    /// Asks what a pool holds; [`Event::Resolved`] is the answer.
    ///
    /// It comes from the cache if that is fresh (RFC 5352 §3.3 C1, C4). Otherwise the home registrar
    /// is asked; requests for one pool share one question. A request that is waiting under the same
    /// name is forgotten.
    pub fn resolve(&mut self, now: Instant, handle: &PoolHandle, request: RequestId) {
        self.request(now, handle, Waiter { request, kind: Kind::Resolve, since: now });
    }

    /// Asks for one element of a pool, by the user's side of the pool's policy (RFC 5356), and none
    /// of `exclude`; [`Event::Picked`] is the answer.
    ///
    /// Elements reported as unreachable are picked only if nothing else is left and a registrar has
    /// listed them again since.
    pub fn pick(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        request: RequestId,
        exclude: &[PeId],
    ) {
        let kind = Kind::Pick { exclude: exclude.into() };
        self.request(now, handle, Waiter { request, kind, since: now });
    }

    /// Asks for a certain element again, as a PE handle does (RFC 5352 §6.5.3); [`Event::Picked`]
    /// is the answer, with [`ResolveError::NoElement`] once the element is gone.
    pub fn pick_element(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        id: PeId,
        request: RequestId,
    ) {
        self.request(now, handle, Waiter { request, kind: Kind::PickElement(id), since: now });
    }

    /// Forgets a request: its caller waits no more. It gets no answer unless it has one already.
    pub fn cancel(&mut self, request: RequestId) {
        self.questions.cancel(request);
    }

    /// Says that an element could not be reached: the home registrar is told, and the element is set
    /// aside for [`UserTimers::set_aside`](crate::timers::UserTimers::set_aside).
    ///
    /// To be called after an attempt to use the element, and for nothing else (RFC 5352 §3.5, §6.9.2).
    /// Not passed on are reports about an element that is set aside already, and about one that no
    /// answer in the cache lists: nobody can have used it of late.
    pub fn report_unreachable(&mut self, now: Instant, handle: &PoolHandle, id: PeId) {
        // RFC 5352 §3.5: only about what was used, and once for each such event.
        if !self.cache.knows(handle, id) || !self.cache.set_aside(now, handle, id) {
            return;
        }
        if let Some(home) = self.hunt.trusted_home() {
            self.send(home, Body::EndpointUnreachable { handle: handle.clone(), id });
        } else {
            if self.reports.len() >= MAX_REPORTS {
                self.reports.pop_front();
            }
            self.reports.push_back((handle.clone(), id));
            self.hunt.hurry(now, &mut self.outputs);
        }
    }

    /// Forgets what is known of a pool (RFC 5352 §6.4); the next request asks a registrar.
    pub fn purge(&mut self, handle: &PoolHandle) {
        self.cache.purge(handle);
    }

    fn request(&mut self, now: Instant, handle: &PoolHandle, waiter: Waiter) {
        self.questions.cancel(waiter.request);
        // C1: the cache first.
        if self.answer_from_cache(now, handle, &waiter) {
            return;
        }
        let limit = self.config.max_requests;
        let room = self.questions.contains(handle) || self.questions.len() < limit;
        if self.hunt.is_unreachable() && self.answer_from_stale(now, handle, &waiter) {
            // The question shows whether a registrar answers again.
            if room {
                self.ask(now, handle, now);
            }
        } else if room && self.questions.waiting() < limit {
            self.ask(now, handle, now);
            self.questions.wait(handle, waiter);
        } else {
            self.fail(&waiter, ResolveError::TooManyRequests { limit });
        }
    }

    /// NR1-NR4, unless the pool is asked about already. Given up in time for one who has waited
    /// since `since`.
    fn ask(&mut self, now: Instant, handle: &PoolHandle, since: Instant) {
        if self.questions.contains(handle) {
            return;
        }
        let t1 = self.config.timers.t1_request.max(Duration::from_millis(1));
        let gives_up = since + t1 * self.config.timers.max_request_retransmit.saturating_add(1);
        self.questions.begin(handle, gives_up.min(now + t1), gives_up);
        match self.hunt.trusted_home() {
            Some(home) => self.send_question(now, home, handle),
            None => self.hunt.hurry(now, &mut self.outputs),
        }
    }

    fn send_question(&mut self, now: Instant, home: AssociationId, handle: &PoolHandle) {
        // A registrar that hears of them names those first that cannot be reached from here.
        let aside = self.cache.count_aside(now, handle);
        let question = Body::HandleResolution {
            subscribe: self.watches.ask_at(handle, home),
            handle: handle.clone(),
            items: self.config.items.map(|items| items.saturating_add(aside)),
            capabilities: Some(CAPABILITIES),
        };
        self.send(home, question);
        // A home that answers nothing at all is replaced long before; this is only a bound.
        if self.sent.len() >= self.config.max_requests.saturating_mul(4) {
            self.sent.pop_front();
        }
        self.sent.push_back((handle.clone(), now));
    }

    /// Answers a request from the cache; false if a registrar has to be asked.
    fn answer_from_cache(&mut self, now: Instant, handle: &PoolHandle, waiter: &Waiter) -> bool {
        let mut fresh = self.freshness(handle);
        if planted!("cache-never-stale") {
            fresh = Duration::MAX;
        }
        let Some(pool) = self.cache.pool(handle) else { return false };
        let Some(answer) = pool.answer() else { return false };
        // Whoever asked before the question was sent cannot get a newer answer than this.
        let newest = answer.asked >= waiter.since;
        if !newest && !answer.is_within(now, fresh) {
            return false;
        }
        let no_element = || ResolveError::NoElement { handle: handle.clone() };
        let result = match &waiter.kind {
            Kind::Resolve => {
                let resolution = resolution(now, handle, answer, false);
                self.resolved(waiter, Ok(resolution));
                return true;
            }
            Kind::PickElement(id) => pool.element(*id).cloned(),
            Kind::Pick { exclude } => self
                .choose(now, handle, exclude, Choice::Good)
                .or_else(|| newest.then(|| self.choose(now, handle, exclude, Choice::Listed))?),
        };
        match result {
            Some(element) => self.picked(waiter, Ok(element)),
            None if newest => self.picked(waiter, Err(no_element())),
            None => return false,
        }
        true
    }

    /// Answers a request from an answer that is kept for the case that no registrar answers; false
    /// if there is none.
    fn answer_from_stale(&mut self, now: Instant, handle: &PoolHandle, waiter: &Waiter) -> bool {
        let Some(keep) = self.config.keep_stale else { return false };
        let Some(pool) = self.cache.pool(handle) else { return false };
        let Some(answer) = pool.answer().filter(|answer| answer.is_within(now, keep)) else {
            return false;
        };
        let element = match &waiter.kind {
            Kind::Resolve => {
                let resolution = resolution(now, handle, answer, true);
                self.resolved(waiter, Ok(resolution));
                return true;
            }
            Kind::PickElement(id) => pool.element(*id).cloned(),
            Kind::Pick { exclude } => self
                .choose(now, handle, exclude, Choice::Good)
                .or_else(|| self.choose(now, handle, exclude, Choice::Any)),
        };
        let found = element.is_some();
        if let Some(element) = element {
            self.picked(waiter, Ok(element));
        }
        found
    }

    /// The user's side of the pool's policy.
    fn choose(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        exclude: &[PeId],
        choice: Choice,
    ) -> Option<Arc<PoolElement>> {
        let (policies, dice) = (&self.config.policies, &mut self.dice);
        self.cache.choose(now, handle, exclude, choice, policies, dice)
    }

    fn fail(&mut self, waiter: &Waiter, error: ResolveError) {
        match waiter.kind {
            Kind::Resolve => self.resolved(waiter, Err(error)),
            Kind::Pick { .. } | Kind::PickElement(_) => self.picked(waiter, Err(error)),
        }
    }

    fn resolved(&mut self, waiter: &Waiter, result: Result<Resolution, ResolveError>) {
        self.tell(Event::Resolved { request: waiter.request, result });
    }

    fn picked(&mut self, waiter: &Waiter, result: Result<Arc<PoolElement>, ResolveError>) {
        self.tell(Event::Picked { request: waiter.request, result });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn send(&mut self, assoc: AssociationId, body: Body) {
        // What a user sends is far shorter than a message may be.
        if let Some(bytes) = encode(body) {
            self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
        }
    }

    /// SH6: all questions go to the new home, or to the old one that has answered after all.
    fn on_home_found(&mut self, now: Instant, home: AssociationId) {
        if let Some(locator) = self.home().cloned() {
            self.tell(Event::HomeFound { home: locator });
        }
        for (handle, id) in core::mem::take(&mut self.reports) {
            if self.cache.is_aside(now, &handle, id) {
                self.send(home, Body::EndpointUnreachable { handle, id });
            }
        }
        self.watch_at(now, home);
        for handle in self.questions.pools() {
            if self.sent.iter().all(|(sent, _)| *sent != handle) {
                self.send_question(now, home, &handle);
            }
        }
        self.questions.restart_all(now + self.config.timers.t1_request);
    }

    fn on_home_suspected(&mut self, now: Instant, reason: LossReason) {
        if let Some(home) = self.home().cloned() {
            self.tell(Event::HomeLost { home, reason });
            self.hunt.suspect(now, &mut self.outputs);
            self.on_unreachable(now);
        }
    }

    /// Nobody answers now: those who can do with an old answer get it.
    fn on_unreachable(&mut self, now: Instant) {
        if self.config.keep_stale.is_none() {
            return;
        }
        for handle in self.questions.pools() {
            for waiter in self.questions.take_waiters(&handle) {
                if !self.answer_from_stale(now, &handle, &waiter) {
                    self.questions.wait(&handle, waiter);
                }
            }
        }
    }

    fn on_round_failed(&mut self, now: Instant) {
        self.tell(Event::RegistrarUnreachable);
        self.on_unreachable(now);
    }

    fn on_closed(&mut self, now: Instant, assoc: AssociationId, reason: LossReason) {
        let trusted = self.hunt.trusted_home() == Some(assoc);
        let Some(home) = self.hunt.on_closed(now, assoc) else { return };
        self.sent.clear();
        if trusted {
            self.tell(Event::HomeLost { home, reason });
        }
        self.hunt.ensure(now, &mut self.outputs);
    }

    /// One `on_<message>` per message that concerns a user (RFC 5352 §4).
    fn on_received(&mut self, now: Instant, assoc: AssociationId, bytes: &[u8]) {
        if self.hunt.home() != Some(assoc) {
            return;
        }
        let (message, report) = decode(bytes);
        if let Some(bytes) = report {
            self.outputs.push_back(Output::Transmit { assoc, ppid: PPID_ASAP, bytes });
        }
        match message {
            Some(Body::HandleResolutionResponse(response)) => {
                self.on_handle_resolution_response(now, assoc, *response);
            }
            Some(Body::Error { errors }) => self.on_error(now, assoc, errors),
            // Announcements are for later; the rest is not for users, or belongs to sessions.
            _ => {}
        }
    }

    fn on_handle_resolution_response(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        response: HandleResolutionResponse,
    ) {
        let handle = response.handle;
        let is_update = response.capabilities.is_some_and(Capabilities::is_update);
        if is_update && planted!("update-not-taken") {
            return;
        }
        let is_answer = |(sent, _): &(PoolHandle, Instant)| !is_update && *sent == handle;
        let position = self.sent.iter().position(is_answer);
        let (asked, waiters) = match position.and_then(|position| self.sent.remove(position)) {
            Some((_, asked)) => {
                let waiters = self.questions.end(&handle).unwrap_or_default();
                self.on_answered(now, assoc);
                (asked, waiters)
            }
            // What was asked after the last answer may not be known to it yet.
            None if self.watches.contains(&handle) => {
                let known = self.cache.pool(&handle).and_then(|pool| pool.answer());
                (known.map_or(Instant::ZERO, |known| known.asked), Vec::new())
            }
            None => {
                // A question without the S bit ends what is not watched any more.
                if is_update && self.questions.len() < self.config.max_requests {
                    self.ask(now, &handle, now);
                }
                return;
            }
        };
        let subscribed = response.subscribed;
        if !response.elements.is_empty() {
            let answer = Answer {
                policy: response.policy.unwrap_or(PolicyParameter::new(PolicyNumber(1), &[])),
                elements: response.elements.into_iter().map(Arc::new).collect(),
                total: response.total,
                asked,
                received: now,
                turn: Turn::default(),
            };
            self.cache.store(now, &handle, answer);
            self.on_watched(now, assoc, &handle, subscribed, Ok(()));
            for waiter in waiters {
                if !self.answer_from_cache(now, &handle, &waiter) {
                    // It came after the question, and this answer is not enough for it.
                    self.ask(now, &handle, waiter.since);
                    self.questions.wait(&handle, waiter);
                }
            }
            return;
        }
        let error = if response.errors.contains(&ErrorCause::UnknownPoolHandle) {
            self.cache.forget_answer(&handle);
            ResolveError::UnknownPool { handle: handle.clone() }
        } else if response.errors.is_empty()
            || response.errors.contains(&ErrorCause::LackOfResources)
        {
            // The pool is there, but none of its elements may be used.
            self.cache.forget_answer(&handle);
            ResolveError::NoElement { handle: handle.clone() }
        } else {
            ResolveError::Refused { handle: handle.clone(), errors: response.errors }
        };
        for waiter in &waiters {
            self.fail(waiter, error.clone());
        }
        self.on_watched(now, assoc, &handle, subscribed, Err(error));
    }

    /// RFC 5352 §2.2.14. It names no pool: if it can be about a question at all, it is about the
    /// one sent first.
    fn on_error(&mut self, now: Instant, assoc: AssociationId, errors: Vec<ErrorCause>) {
        const HANDLE_RESOLUTION: u8 = 0x05;
        let elsewhere = errors.iter().any(|error| match error {
            ErrorCause::UnrecognizedMessage(bytes) => bytes.first() != Some(&HANDLE_RESOLUTION),
            _ => false,
        });
        let sent = if elsewhere { None } else { self.sent.pop_front() };
        let Some((handle, _)) = sent else {
            self.tell(Event::ErrorReported { errors });
            return;
        };
        let waiters = self.questions.end(&handle).unwrap_or_default();
        self.on_answered(now, assoc);
        let error = ResolveError::Refused { handle: handle.clone(), errors };
        for waiter in waiters {
            self.fail(&waiter, error.clone());
        }
        self.on_watched(now, assoc, &handle, false, Err(error));
    }

    fn on_answered(&mut self, now: Instant, assoc: AssociationId) {
        let suspected = self.hunt.trusted_home().is_none();
        self.hunt.confirm(assoc, &mut self.outputs);
        if suspected {
            self.on_home_found(now, assoc);
        }
    }

    /// T1-ENRPrequest (RFC 5352 §3.7.2): ask again, and hunt.
    fn on_t1_request(&mut self, now: Instant) {
        let restart = now + self.config.timers.t1_request.max(Duration::from_millis(1));
        while let Some((handle, over)) = self.questions.expire(now, restart) {
            if over {
                let registrars = self.registrars.clone();
                for waiter in self.questions.end(&handle).unwrap_or_default() {
                    if !self.answer_from_stale(now, &handle, &waiter) {
                        let registrars = registrars.clone();
                        self.fail(&waiter, ResolveError::NoRegistrar { registrars });
                    }
                }
                self.on_watch_unanswered(now, &handle);
            } else if let Some(home) = self.hunt.home() {
                self.send_question(now, home, &handle);
                self.on_home_suspected(now, LossReason::NoAnswer);
            }
        }
    }
}

fn resolution(now: Instant, handle: &PoolHandle, answer: &Answer, stale: bool) -> Resolution {
    Resolution {
        handle: handle.clone(),
        policy: answer.policy.clone(),
        elements: answer.elements.clone(),
        total: answer.total,
        age: now.saturating_since(answer.received),
        stale,
    }
}

impl Machine for PoolUser {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { assoc, attempt: Some(attempt), remote, .. } => {
                let outputs = &mut self.outputs;
                if let Some(found) = self.hunt.on_connected(assoc, attempt, remote, outputs) {
                    if let Some((assoc, _)) = found.previous {
                        self.outputs.push_back(Output::Disconnect { assoc });
                    }
                    self.sent.clear();
                    self.on_home_found(now, found.assoc);
                }
            }
            // Nobody has a reason to come to a user.
            Input::Connected { assoc, attempt: None, .. } => {
                self.outputs.push_back(Output::Disconnect { assoc });
            }
            Input::ConnectFailed { attempt, .. } => {
                if self.hunt.on_connect_failed(now, attempt, &mut self.outputs) {
                    self.on_round_failed(now);
                }
            }
            Input::Closed { assoc, reason } => {
                self.on_closed(now, assoc, LossReason::Closed(reason));
            }
            Input::SendFailed { assoc } => {
                // RFC 5352 §3.7.1: hunt; the questions are asked again at the new home.
                if self.hunt.trusted_home() == Some(assoc) {
                    self.on_home_suspected(now, LossReason::SendFailed);
                }
            }
            Input::Received { assoc, bytes, .. } => self.on_received(now, assoc, bytes),
            Input::Datagram { channel, from, bytes } => {
                on_datagram(&mut self.hunt, now, channel, from, bytes, &mut self.outputs);
            }
            Input::AddressChanged { .. } => {}
            Input::Timeout => {
                if self.hunt.on_timeout(now, &mut self.outputs) {
                    self.on_round_failed(now);
                }
                self.on_t1_request(now);
                self.on_watch_timeout(now);
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let due = [self.hunt.next_timeout(), self.questions.next_timeout(), self.watches.next()];
        due.into_iter().flatten().min()
    }
}
