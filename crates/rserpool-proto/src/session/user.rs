//! The user's side: one element at a time, and the next one when it fails.
//!
//! ```text
//!              Wanted            picked            Connected
//!   Choosing ----------> owner ----------> Connecting ------> Up -- Begun, or Failover
//!      ^  ^   not_found                        |               |
//!      |  '--- Pausing <-- nobody is left -----+---- lost -----'   Unreachable
//!      '---------------------------------------'
//! ```
//!
//! Outputs are drained first; then the owner takes messages by [`UserSession::next_message`] as
//! fast as the transport takes them. What was taken is handed over and may be lost with its element;
//! what was not stays, or comes back with [`Event::Failover`].

use super::outbox::Outbox;
use super::{
    BusinessCard, Control, ElementHandle, Limits, MAX_COOKIE_LEN, Payload, SendError,
    SessionTimers, transmit,
};
use crate::endpoint::pool_user::ResolveError;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, Input, Locator, Machine, Output, TransportKind};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::timer::TimerQueue;
use crate::wire::PPID_ASAP;
use crate::wire::asap::Body;
use crate::wire::pool_element::PoolElement;
use crate::wire::transport::{Transport, TransportUse};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most elements remembered as tried in vain; the oldest are tried again.
const MAX_TRIED: usize = 64;

/// What a [`UserSession`] is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSessionConfig {
    /// With whom.
    pub target: Target,
    /// Whether another element takes over when one fails (RFC 5352 §6.5.5, ASAP_SEND_FAILOVER and
    /// ASAP_SEND_NO_FAILOVER, of the whole session). Defaults to yes. Without it the session ends
    /// with its element.
    pub failover: bool,
    /// Whether elements without a control channel are passed over. Defaults to yes: they would know
    /// nothing of cookies.
    pub needs_control: bool,
    /// Elements to be tried first, in order, as a business card says; one from an element of the
    /// session takes its place. Defaults to none.
    pub preferred: Vec<PeId>,
    /// Sent to every element: of a user that is an element itself (RFC 5352 §3.9). Defaults to none.
    pub card: Option<BusinessCard>,
    /// Timers.
    pub timers: SessionTimers,
    /// What is taken.
    pub limits: Limits,
}

impl UserSessionConfig {
    /// A session with `target`, all else at its default.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            failover: true,
            needs_control: true,
            preferred: Vec::new(),
            card: None,
            timers: SessionTimers::default(),
            limits: Limits::default(),
        }
    }

    /// A session with the pool of a business card, in its order: of an element that wants to go on
    /// with a user that is an element itself (RFC 5352 §3.9).
    pub fn preferring(card: &BusinessCard) -> Self {
        let preferred = card.elements.iter().map(|element| element.id).collect();
        Self { preferred, ..Self::new(Target::Pool(card.handle.clone())) }
    }
}

/// With whom a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any element of a pool, as its policy picks (RFC 5352 §6.5.1).
    Pool(PoolHandle),
    /// This element while it lives (RFC 5352 §6.5.3); when it fails, others of its pool, or nobody
    /// without [`UserSessionConfig::failover`].
    Element(ElementHandle),
}

impl Target {
    /// Its pool.
    pub fn pool(&self) -> &PoolHandle {
        match self {
            Self::Pool(pool) => pool,
            Self::Element(handle) => &handle.pool,
        }
    }
}

/// What happens to a message that waits for the transport when the element fails
/// (RFC 5352 §6.5.5). ASAP_SEND_TO_LAST is what sessions do in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// It goes to the next element: ASAP_SEND_FAILOVER.
    #[default]
    Failover,
    /// It comes back with [`Event::Failover`], as does what is sent like this until that is told:
    /// ASAP_SEND_NO_FAILOVER.
    NoFailover,
}

/// How messages travel to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// As messages of SCTP.
    Sctp,
    /// By the [`mapping`](super::mapping) over TCP.
    Mapped,
    /// As bytes over TCP, one message after the other; what comes is cut anywhere.
    Bytes,
}

impl Carriage {
    /// How messages travel to an element; `None` if by neither SCTP nor TCP.
    pub fn of(element: &PoolElement) -> Option<Self> {
        match element.user_transport {
            Transport::Sctp(_) => Some(Self::Sctp),
            Transport::Tcp(_) if element.extensions.tcp_control => Some(Self::Mapped),
            Transport::Tcp(_) => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// What a session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An element is wanted: answer by [`UserSession::picked`] or [`UserSession::not_found`].
    Wanted(Wanted),
    /// An element could not be used: the pool user wants to know
    /// ([`report_unreachable`](crate::endpoint::pool_user::PoolUser::report_unreachable)).
    Unreachable(PeId),
    /// The session has its first element.
    Begun(Arc<PoolElement>),
    /// The session has another element. Comes before anything from that element.
    Failover {
        /// Which one failed.
        from: PeId,
        /// Who has taken over.
        to: Arc<PoolElement>,
        /// Whether a cookie was echoed; otherwise the new element knows nothing of the session.
        cookie_sent: bool,
        /// What was not handed to the transport and was not to be sent to another element, in
        /// order.
        unsent: Vec<Payload>,
    },
    /// A message of the element.
    Received(Payload),
    /// The element has sent a card; its order is obeyed at the next failover.
    BusinessCard(BusinessCard),
    /// The session is over; nothing follows.
    Ended {
        /// Why.
        reason: EndReason,
        /// What was not handed to the transport, in order.
        unsent: Vec<Payload>,
    },
}

/// Which element is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which pool.
    pub pool: PoolHandle,
    /// This one, or any.
    pub id: Option<PeId>,
    /// None of these; empty if a certain one is wanted.
    pub exclude: Vec<PeId>,
    /// What is known of the pool has not helped: a registrar should be asked
    /// ([`purge`](crate::endpoint::pool_user::PoolUser::purge)).
    pub anew: bool,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The element has said that it is.
    #[error("the element has ended the session")]
    Finished,
    /// Its element has failed, and no other one was to take over.
    #[error("the element {element} has failed")]
    Lost {
        /// Which one.
        element: PeId,
    },
    /// No element could be had for [`SessionTimers::give_up`].
    #[error("no element can be had: {0}")]
    NoElement(ResolveError),
    /// No element could be used for that long, though the pool has some.
    #[error("none of the pool's elements can be used")]
    NoneUsable,
}

/// A session of a user with a pool.
#[derive(Debug)]
pub struct UserSession {
    config: UserSessionConfig,
    state: State,
    /// The newest (RFC 5352 §3.8), of whichever element.
    cookie: Option<Box<[u8]>>,
    preferred: Vec<PeId>,
    /// Not to be asked for until everybody was tried.
    tried: Vec<PeId>,
    /// Who was up last.
    last: Option<PeId>,
    outbox: Outbox,
    timers: TimerQueue<Timer>,
    next_attempt: u64,
    /// How long the next pause is.
    retry: Duration,
    /// Since when no element has worked; `None` while one does.
    outage: Option<Instant>,
    /// Whether the owner takes what comes.
    reading: bool,
    outputs: VecDeque<Output<Event>>,
}

#[derive(Debug)]
enum State {
    Choosing { id: Option<PeId> },
    Pausing,
    Connecting { attempt: AttemptId, element: Arc<PoolElement> },
    Up(Up),
    Ended,
}

#[derive(Debug)]
struct Up {
    assoc: AssociationId,
    element: Arc<PoolElement>,
    control: bool,
    /// The element is asked for signs of life.
    heartbeats: bool,
    since: Instant,
    last_heard: Instant,
    /// When it was asked for the sign of life that is awaited.
    asked: Option<Instant>,
    /// When it was asked last, which is our sign of life, too.
    said: Instant,
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to ask the element for a sign of life.
    Heartbeat,
    /// When the element counts as hung.
    Silence,
    /// When the connection is given up.
    Connect,
    /// When to look for an element again.
    Retry,
}

impl UserSession {
    /// Starts a session: it wants an element at once.
    pub fn new(config: UserSessionConfig, now: Instant) -> Self {
        let mut session = Self {
            state: State::Pausing,
            cookie: None,
            preferred: config.preferred.clone(),
            tried: Vec::new(),
            last: None,
            outbox: Outbox::new(config.limits),
            timers: TimerQueue::new(),
            next_attempt: 1,
            retry: config.timers.retry,
            outage: Some(now),
            reading: true,
            outputs: VecDeque::new(),
            config,
        };
        session.preferred.truncate(BusinessCard::MAX_ELEMENTS);
        if let Target::Element(handle) = &session.config.target {
            session.preferred.insert(0, handle.id);
        }
        session.choose(false);
        session
    }

    /// The element it talks with, if it has one.
    pub fn element(&self) -> Option<&Arc<PoolElement>> {
        match &self.state {
            State::Up(up) => Some(&up.element),
            _ => None,
        }
    }

    /// The element it connects to or talks with.
    pub fn chosen(&self) -> Option<&Arc<PoolElement>> {
        match &self.state {
            State::Connecting { element, .. } => Some(element),
            _ => self.element(),
        }
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Queues a message, be there an element or not.
    ///
    /// # Errors
    /// [`SendError`]; the message is not taken then.
    pub fn send(&mut self, payload: Payload, delivery: Delivery) -> Result<(), SendError> {
        if self.has_ended() {
            return Err(SendError::Ended);
        }
        let stays = delivery == Delivery::Failover || planted!("bound-message-moves-on");
        self.outbox.push(payload, stays)
    }

    /// Whether a message of this length is not refused for want of room.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.outbox.has_room_for(len)
    }

    /// The next message for the transport, which from now on counts as handed over, unless it comes
    /// back by [`UserSession::take_back`].
    pub fn next_message(&mut self) -> Option<(AssociationId, Payload, Delivery)> {
        let State::Up(up) = &self.state else { return None };
        let (payload, stays) = self.outbox.pop()?;
        let delivery = if stays { Delivery::Failover } else { Delivery::NoFailover };
        Some((up.assoc, payload, delivery))
    }

    /// Takes back, in order, what a transport that is gone or was given up has not sent, before
    /// anything is sent by another one. It is as if it had never been handed over. Does nothing once
    /// the session is over.
    pub fn take_back(&mut self, messages: Vec<(Payload, Delivery)>) {
        if !self.has_ended() {
            let stays = |(payload, delivery)| (payload, delivery == Delivery::Failover);
            self.outbox.put_back(messages.into_iter().map(stays).collect());
        }
    }

    /// Whether nothing waits for the transport.
    pub fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// The answer to [`Event::Wanted`].
    pub fn picked(&mut self, now: Instant, element: Arc<PoolElement>) {
        if !matches!(self.state, State::Choosing { .. }) {
            return;
        }
        let usable = has_control(&element) || !self.config.needs_control;
        let Some(to) = locator(&element).filter(|_| usable) else {
            self.note_tried(element.id);
            if self.is_bound_to_one() {
                return self.end(EndReason::NoneUsable);
            }
            return self.choose(false);
        };
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        self.timers.set(Timer::Connect, now + self.config.timers.connect_timeout);
        self.outputs.push_back(Output::Connect { attempt, channel: Channel::Asap, to });
        self.state = State::Connecting { attempt, element };
    }

    /// The answer to [`Event::Wanted`] if there is none.
    pub fn not_found(&mut self, now: Instant, error: ResolveError) {
        let State::Choosing { id } = self.state else { return };
        if let Some(id) = id {
            self.note_tried(id);
            if self.is_bound_to_one() {
                return self.end(EndReason::NoElement(error));
            }
            return self.choose(false);
        }
        if self.is_too_late(now) {
            let none_usable =
                matches!(error, ResolveError::NoElement { .. }) && !self.tried.is_empty();
            return self.end(if none_usable {
                EndReason::NoneUsable
            } else {
                EndReason::NoElement(error)
            });
        }
        // Everybody again, a little later.
        self.tried.clear();
        self.state = State::Pausing;
        if !planted!("no-second-look") {
            self.timers.set(Timer::Retry, now + self.retry);
        }
        self.retry = (self.retry * 2).min(self.config.timers.retry_max);
    }

    /// Nobody but the element it was begun with will do.
    fn is_bound_to_one(&self) -> bool {
        !self.config.failover && matches!(self.config.target, Target::Element(_))
    }

    /// Says whether the owner takes what comes. While it does not, the element is not blamed for
    /// silence.
    pub fn set_reading(&mut self, now: Instant, reading: bool) {
        if reading
            && !self.reading
            && let State::Up(up) = &mut self.state
        {
            up.asked = None;
            up.last_heard = now;
            self.timers.cancel(Timer::Silence);
            self.await_silence();
        }
        self.reading = reading;
    }

    /// Gives the element up as if it had failed, and moves on to another one.
    pub fn fail_over(&mut self, now: Instant) {
        self.lose(now, false);
    }

    /// Ends the session and tells the element. What was not handed over is dropped:
    /// [`UserSession::is_drained`] first, if that matters. No event follows.
    pub fn close(&mut self) {
        if let State::Up(up) = &self.state
            && up.heartbeats
        {
            transmit(&mut self.outputs, up.assoc, Control::end());
        }
        self.hang_up();
        self.state = State::Ended;
        self.timers = TimerQueue::new();
        self.outbox.take_all();
    }

    /// Asks for the next element: preferred ones first (RFC 5352 §3.9), then any.
    fn choose(&mut self, anew: bool) {
        let tried = &self.tried;
        let id = self.preferred.iter().copied().find(|id| !tried.contains(id));
        let exclude = if id.is_some() { Vec::new() } else { tried.clone() };
        let pool = self.config.target.pool().clone();
        self.state = State::Choosing { id };
        self.tell(Event::Wanted(Wanted { pool, id, exclude, anew }));
    }

    fn note_tried(&mut self, id: PeId) {
        if self.tried.contains(&id) {
            return;
        }
        if self.tried.len() >= MAX_TRIED {
            self.tried.remove(0);
        }
        self.tried.push(id);
    }

    fn is_too_late(&self, now: Instant) -> bool {
        self.outage.is_some_and(|since| since + self.config.timers.give_up <= now)
    }

    fn on_connected(&mut self, now: Instant, assoc: AssociationId, attempt: Option<AttemptId>) {
        let element = match &self.state {
            State::Connecting { attempt: awaited, element } if attempt == Some(*awaited) => {
                element.clone()
            }
            // One that was given up, or that nobody asked for.
            _ => return self.outputs.push_back(Output::Disconnect { assoc }),
        };
        self.timers.cancel(Timer::Connect);
        let control = has_control(&element);
        let heartbeats = control && element.extensions.tcp_control;
        // RFC 5352 §3.8: the newest cookie is the first message of the control channel.
        let cookie = self.cookie.as_ref().filter(|_| control).cloned();
        let echo = cookie.and_then(|cookie| Control::write(Body::CookieEcho(cookie)));
        let cookie_sent = echo.is_some();
        let card = self.config.card.as_ref().filter(|_| control).and_then(Control::card);
        let (first, last) =
            if planted!("cookie-echoed-late") { (None, echo) } else { (echo, None) };
        for message in [first, card].into_iter().flatten() {
            transmit(&mut self.outputs, assoc, message);
        }
        if self.last.is_none() || !planted!("failover-told-late") {
            self.tell_of(&element, cookie_sent);
        }
        self.state = State::Up(Up {
            assoc,
            element,
            control,
            heartbeats,
            since: now,
            last_heard: now,
            asked: None,
            said: now,
            round_trip: None,
        });
        if !heartbeats {
            // Nothing else will show whether it works.
            self.outage = None;
        }
        // A stopped process takes connections, too: whether it answers has to show. It also tells
        // the element that no cookie comes, if none came.
        self.ask_for_a_sign(now);
        if let Some(last) = last {
            transmit(&mut self.outputs, assoc, last);
        }
    }

    /// Tells of the element that there is now, the first one or another.
    fn tell_of(&mut self, element: &Arc<PoolElement>, cookie_sent: bool) {
        let event = match self.last.replace(element.id) {
            None => Event::Begun(element.clone()),
            Some(from) => {
                // Until the owner is told, what it sends is meant for the element that has failed.
                let unsent = self.outbox.take_bound();
                let unsent = if planted!("unsent-forgotten") { Vec::new() } else { unsent };
                Event::Failover { from, to: element.clone(), cookie_sent, unsent }
            }
        };
        self.tell(event);
    }

    /// As [`Input::Received`], and without a copy of what is owned already.
    pub fn receive(&mut self, now: Instant, assoc: AssociationId, ppid: u32, bytes: Cow<'_, [u8]>) {
        let State::Up(up) = &mut self.state else { return };
        if up.assoc != assoc && !planted!("old-element-heard") {
            return;
        }
        up.last_heard = now;
        if let Some(asked) = up.asked.take() {
            let sample = now.saturating_since(asked);
            up.round_trip = Some(up.round_trip.map_or(sample, |mean| (mean * 7 + sample) / 8));
        }
        self.outage = None;
        let control = up.control;
        if ppid != PPID_ASAP {
            self.retry = self.config.timers.retry;
            self.tell(Event::Received(Payload { ppid, bytes: bytes.into_owned() }));
            if planted!("failover-told-late")
                && let State::Up(up) = &self.state
                && self.last != Some(up.element.id)
            {
                let element = up.element.clone();
                self.tell_of(&element, self.cookie.is_some());
            }
        } else if control {
            self.on_control(&bytes);
        }
    }

    fn on_control(&mut self, bytes: &[u8]) {
        match Control::read(bytes) {
            Control::End => {
                self.hang_up();
                self.end(EndReason::Finished);
            }
            // RFC 5352 §3.8: an older one is discarded.
            Control::Asap(Body::Cookie(cookie)) if cookie.len() <= MAX_COOKIE_LEN => {
                if self.cookie.is_some() && planted!("first-cookie-kept") {
                    return;
                }
                self.cookie = Some(cookie);
            }
            Control::Asap(Body::BusinessCard { handle, mut elements }) => {
                elements.truncate(BusinessCard::MAX_ELEMENTS);
                // BC2. A card of another pool says nothing about where this session may go.
                if handle == *self.config.target.pool() && !planted!("card-ignored") {
                    self.preferred = elements.iter().map(|element| element.id).collect();
                }
                self.tell(Event::BusinessCard(BusinessCard { handle, elements }));
            }
            _ => {}
        }
    }

    fn ask_for_a_sign(&mut self, now: Instant) {
        let State::Up(up) = &mut self.state else { return };
        if !up.heartbeats {
            return;
        }
        let question = Body::EndpointKeepAlive {
            home: false,
            server: ServerId::NONE,
            handle: self.config.target.pool().clone(),
            id: Some(up.element.id),
        };
        if let Some(question) = Control::write(question) {
            transmit(&mut self.outputs, up.assoc, question);
        }
        (up.asked, up.said) = (Some(now), now);
        let patience = up.round_trip.map_or(Duration::ZERO, |round_trip| round_trip * 4);
        let patience = patience.max(self.config.timers.heartbeat_timeout);
        self.timers.set(Timer::Silence, now + patience);
        self.timers.cancel(Timer::Heartbeat);
    }

    /// The next sign of life is asked for when nothing has come for long enough.
    fn await_silence(&mut self) {
        if let State::Up(up) = &self.state
            && up.heartbeats
        {
            self.timers.set(Timer::Heartbeat, up.last_heard + self.config.timers.heartbeat);
        }
    }

    fn on_heartbeat_due(&mut self, now: Instant) {
        let State::Up(up) = &self.state else { return };
        // A user that only listens has to show that it lives.
        let must_say = up.said + self.config.timers.user_silence / 4 <= now;
        if up.last_heard + self.config.timers.heartbeat > now && !must_say {
            self.await_silence();
        } else {
            self.ask_for_a_sign(now);
        }
    }

    fn on_silence(&mut self, now: Instant, late: bool) {
        let State::Up(up) = &self.state else { return };
        match up.asked {
            None => self.await_silence(),
            // We were suspended ourselves or did not read: what has come waits to be read.
            Some(_) if late || !self.reading => self.ask_for_a_sign(now),
            Some(_) if planted!("hung-element-kept") => self.ask_for_a_sign(now),
            Some(_) => self.lose(now, false),
        }
    }

    /// The element has failed, or could not be reached; `gone` if the transport has said so.
    fn lose(&mut self, now: Instant, gone: bool) {
        let (id, up_since) = match &self.state {
            State::Up(up) => (up.element.id, Some(up.since)),
            State::Connecting { element, .. } => (element.id, None),
            _ => return,
        };
        if !gone && !planted!("old-element-heard") {
            self.hang_up();
        }
        // An element that has worked for a while ends the round in which others failed. One that
        // fails at once does not, so that such elements are not tried in a tight circle.
        if up_since.is_some_and(|since| since + self.config.timers.retry_max <= now) {
            self.tried.clear();
            self.retry = self.config.timers.retry;
        }
        self.timers.cancel(Timer::Heartbeat);
        self.timers.cancel(Timer::Silence);
        self.timers.cancel(Timer::Connect);
        self.note_tried(id);
        self.tell(Event::Unreachable(id));
        if !self.config.failover {
            return self.end(EndReason::Lost { element: id });
        }
        self.outage.get_or_insert(now);
        if self.is_too_late(now) {
            return self.end(EndReason::NoneUsable);
        }
        self.choose(false);
    }

    fn on_trouble(&mut self, now: Instant, assoc: AssociationId, gone: bool) {
        if let State::Up(up) = &self.state
            && up.assoc == assoc
        {
            self.lose(now, gone);
        }
    }

    fn hang_up(&mut self) {
        match &self.state {
            State::Up(up) => self.outputs.push_back(Output::Disconnect { assoc: up.assoc }),
            State::Connecting { attempt, .. } => {
                self.outputs.push_back(Output::Abandon { attempt: *attempt });
            }
            _ => {}
        }
    }

    fn end(&mut self, reason: EndReason) {
        let unsent = self.outbox.take_all();
        self.state = State::Ended;
        self.timers = TimerQueue::new();
        self.tell(Event::Ended { reason, unsent });
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(due) = self.timers.next().filter(|due| *due <= now) {
            let late = now.saturating_since(due) > self.config.timers.heartbeat_timeout / 2;
            let Some(timer) = self.timers.pop(now) else { return };
            match timer {
                Timer::Heartbeat => self.on_heartbeat_due(now),
                Timer::Silence => self.on_silence(now, late),
                Timer::Connect => self.lose(now, false),
                Timer::Retry if matches!(self.state, State::Pausing) => self.choose(true),
                Timer::Retry => {}
            }
        }
    }
}

impl Machine for UserSession {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { assoc, attempt, .. } => self.on_connected(now, assoc, attempt),
            Input::ConnectFailed { attempt, .. } => match &self.state {
                State::Connecting { attempt: awaited, .. } if *awaited == attempt => {
                    self.lose(now, true);
                }
                _ => {}
            },
            Input::Closed { assoc, .. } => self.on_trouble(now, assoc, true),
            Input::SendFailed { assoc } => self.on_trouble(now, assoc, false),
            Input::Received { assoc, ppid, bytes } => {
                self.receive(now, assoc, ppid, bytes.into());
            }
            Input::Timeout => self.on_timeout(now),
            Input::AddressChanged { .. } | Input::Datagram { .. } => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}

/// Where an element is reached; `None` if by neither SCTP nor TCP.
fn locator(element: &PoolElement) -> Option<Locator> {
    match &element.user_transport {
        Transport::Tcp(address) => Some(Locator::tcp(*address)),
        Transport::Sctp(sctp) => Some(Locator {
            transport: TransportKind::Sctp,
            addresses: sctp.addresses.clone(),
            port: sctp.port,
        }),
        _ => None,
    }
}

/// Whether there is a control channel: RFC 5354 §3.4 for SCTP, our extension for TCP.
fn has_control(element: &PoolElement) -> bool {
    match &element.user_transport {
        Transport::Sctp(sctp) => sctp.transport_use == TransportUse::DataPlusControl,
        _ => Carriage::of(element) == Some(Carriage::Mapped),
    }
}
