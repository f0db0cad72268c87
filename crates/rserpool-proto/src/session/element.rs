//! The element's side: one machine per association that a user has opened.
//!
//! ```text
//!   Connected --> waiting for the first message --> Begun, with the cookie if that was one --> data
//! ```
//!
//! Cookies travel in order with data: whoever holds a cookie has got all that was sent before it.

use super::outbox::Outbox;
use super::{
    BusinessCard, Control, Limits, MAX_COOKIE_LEN, Payload, SendError, SessionTimers, transmit,
};
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::machine::{CloseReason, Input, Machine, Output};
use crate::planted::planted;
use crate::time::{Duration, Instant};
use crate::timer::TimerQueue;
use crate::wire::PPID_ASAP;
use crate::wire::asap::Body;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// What an [`ElementSession`] is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementSessionConfig {
    /// Whether there is a control channel: over TCP always, over SCTP if the registered transport
    /// says so (RFC 5354 §3.4).
    pub control: bool,
    /// Sent first (RFC 5352 §3.9: a PE should always do so); `None` for none.
    pub card: Option<BusinessCard>,
    /// Timers.
    pub timers: SessionTimers,
    /// What is taken.
    pub limits: Limits,
}

/// What a session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It begins; comes before all data.
    Begun {
        /// The newest cookie the user had, as it came: of an element of this pool, or so it says.
        /// `None` for a session that is new.
        cookie: Option<Box<[u8]>>,
    },
    /// A message of the user.
    Received(Payload),
    /// A cookie that is not the first message; of no use any more.
    LateCookie(Box<[u8]>),
    /// The user is an element itself, and this is its card.
    BusinessCard(BusinessCard),
    /// It is over; nothing follows.
    Ended(EndReason),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The user has said that it is.
    #[error("the user has ended the session")]
    Finished,
    /// The association is gone: the user has failed, or has moved to another element.
    #[error("the association is gone: {0:?}")]
    Closed(CloseReason),
    /// The user sends no signs of life any more.
    #[error("the user is silent")]
    Silent,
}

/// A session of an element with one user.
#[derive(Debug)]
pub struct ElementSession {
    config: ElementSessionConfig,
    assoc: Option<AssociationId>,
    begun: bool,
    ended: bool,
    last_heard: Instant,
    /// When the user last sent a keep-alive, whose it was, and the shortest time between two.
    asked: Option<(Instant, PoolHandle, PeId)>,
    shortest: Duration,
    reading: bool,
    outbox: Outbox,
    timers: TimerQueue<Timer>,
    outputs: VecDeque<Output<Event>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to begin without having heard anything.
    Begin,
    /// When to tell the user that the element lives, though it does not read.
    Busy,
    /// When the user counts as gone.
    Silence,
}

/// Least time between two signs of life of an element that does not read.
const BUSY_FLOOR: Duration = Duration::from_millis(10);

impl ElementSession {
    /// A session whose association is about to be told by [`Input::Connected`].
    pub fn new(config: ElementSessionConfig, now: Instant) -> Self {
        Self {
            assoc: None,
            begun: false,
            ended: false,
            last_heard: now,
            asked: None,
            shortest: config.timers.heartbeat,
            reading: true,
            outbox: Outbox::new(config.limits),
            timers: TimerQueue::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`SendError`]; the message is not taken then.
    pub fn send(&mut self, payload: Payload) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Ended);
        }
        self.outbox.push(payload, true)
    }

    /// Queues a cookie behind all that was sent: the user keeps it and gives it to the next element
    /// (RFC 5352 §3.8). Without a control channel it is dropped.
    ///
    /// # Errors
    /// [`SendError`]; the cookie is not taken then.
    pub fn send_cookie(&mut self, cookie: &[u8]) -> Result<(), SendError> {
        let (len, limit) = (cookie.len(), MAX_COOKIE_LEN);
        let too_long = SendError::TooLong { len, limit };
        if len > limit {
            return Err(too_long);
        }
        let message = Control::write(Body::Cookie(cookie.into())).ok_or(too_long)?;
        if planted!("cookie-overtakes-data")
            && let Some(assoc) = self.assoc
        {
            transmit(&mut self.outputs, assoc, message);
            return Ok(());
        }
        self.send_control(message)
    }

    /// Queues a new business card, which changes the order of failover (RFC 5352 §3.9). Without a
    /// control channel, or without elements, it is dropped.
    ///
    /// # Errors
    /// [`SendError`]; the card is not taken then.
    pub fn send_card(&mut self, card: &BusinessCard) -> Result<(), SendError> {
        Control::card(card).map_or(Ok(()), |card| self.send_control(card))
    }

    /// Says that the session is over, behind all that was sent. The user does not fail over.
    ///
    /// # Errors
    /// [`SendError`]; nothing has happened then.
    pub fn send_end(&mut self) -> Result<(), SendError> {
        // Who has sent a keep-alive knows what this is.
        if self.asked.is_none() {
            return Ok(());
        }
        self.send_control(Control::end())
    }

    fn send_control(&mut self, message: Payload) -> Result<(), SendError> {
        if self.ended {
            return Err(SendError::Ended);
        }
        if !self.config.control {
            return Ok(());
        }
        self.outbox.queue(message, true)
    }

    /// Whether a message of this length is not refused for want of room.
    pub fn has_room_for(&self, len: usize) -> bool {
        self.outbox.has_room_for(len)
    }

    /// The next message for the transport; to be asked for when the outputs are drained.
    pub fn next_message(&mut self) -> Option<(AssociationId, Payload)> {
        let assoc = self.assoc.filter(|_| !self.ended)?;
        let (payload, _) = self.outbox.pop()?;
        Some((assoc, payload))
    }

    /// Whether nothing waits for the transport.
    pub fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Says whether the owner takes what comes. While it does not, users that ask for signs of life
    /// get them unasked.
    pub fn set_reading(&mut self, now: Instant, reading: bool) {
        if reading {
            self.timers.cancel(Timer::Busy);
            // What has come meanwhile waits to be read.
            self.last_heard = self.last_heard.max(now);
        } else if self.reading && self.asked.is_some() && !self.ended {
            self.timers.set(Timer::Busy, now + self.shortest / 2);
        }
        self.reading = reading;
    }

    /// Closes the association. Unless [`ElementSession::send_end`] came before, the user moves on to
    /// another element. What waits for the transport is dropped. No event follows.
    pub fn close(&mut self) {
        if let Some(assoc) = self.assoc.filter(|_| !self.ended) {
            self.outputs.push_back(Output::Disconnect { assoc });
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.ended = true;
        self.timers = TimerQueue::new();
        self.outbox.take_all();
    }

    fn on_connected(&mut self, now: Instant, assoc: AssociationId) {
        if self.assoc.is_some() || self.ended {
            return self.outputs.push_back(Output::Disconnect { assoc });
        }
        self.assoc = Some(assoc);
        self.last_heard = now;
        let card = self.config.card.as_ref().filter(|_| self.config.control);
        if let Some(card) = card.and_then(Control::card) {
            transmit(&mut self.outputs, assoc, card);
        }
        if self.config.control {
            self.timers.set(Timer::Begin, now + self.config.timers.begin);
        } else {
            self.begin(None);
        }
    }

    fn begin(&mut self, cookie: Option<Box<[u8]>>) {
        if !self.begun {
            self.begun = true;
            self.timers.cancel(Timer::Begin);
            self.tell(Event::Begun { cookie });
        }
    }

    /// As [`Input::Received`], and without a copy of what is owned already.
    pub fn receive(&mut self, now: Instant, assoc: AssociationId, ppid: u32, bytes: Cow<'_, [u8]>) {
        if self.assoc != Some(assoc) || self.ended {
            return;
        }
        self.last_heard = now;
        if ppid != PPID_ASAP {
            self.begin(None);
            return self.tell(Event::Received(Payload { ppid, bytes: bytes.into_owned() }));
        }
        if !self.config.control {
            return;
        }
        match Control::read(&bytes) {
            Control::End => {
                self.outputs.push_back(Output::Disconnect { assoc });
                self.end(EndReason::Finished);
            }
            // RFC 5352 §3.8: the first message on the control channel.
            Control::Asap(Body::CookieEcho(cookie)) if !self.begun => self.begin(Some(cookie)),
            Control::Asap(Body::CookieEcho(cookie)) => self.tell(Event::LateCookie(cookie)),
            Control::Asap(Body::BusinessCard { handle, mut elements }) => {
                self.begin(None);
                elements.truncate(BusinessCard::MAX_ELEMENTS);
                self.tell(Event::BusinessCard(BusinessCard { handle, elements }));
            }
            Control::Asap(Body::EndpointKeepAlive { handle, id, .. }) => {
                self.begin(None);
                self.on_keep_alive(now, assoc, handle, id.unwrap_or(PeId(0)));
            }
            _ => self.begin(None),
        }
    }

    fn on_keep_alive(&mut self, now: Instant, assoc: AssociationId, handle: PoolHandle, id: PeId) {
        if let Some((before, ..)) = &self.asked {
            let between = now.saturating_since(*before).max(BUSY_FLOOR);
            self.shortest = self.shortest.min(between);
        } else {
            self.timers.set(Timer::Silence, now + self.config.timers.user_silence);
        }
        self.asked = Some((now, handle, id));
        self.acknowledge(assoc);
    }

    fn acknowledge(&mut self, assoc: AssociationId) {
        let Some((_, handle, id)) = &self.asked else { return };
        let answer = Body::EndpointKeepAliveAck { handle: handle.clone(), id: *id };
        if let Some(answer) = Control::write(answer) {
            transmit(&mut self.outputs, assoc, answer);
        }
    }

    fn on_silence_due(&mut self, now: Instant) {
        let until = self.last_heard + self.config.timers.user_silence;
        if until > now || !self.reading {
            self.timers.set(Timer::Silence, until.max(now + self.config.timers.heartbeat));
        } else {
            if let Some(assoc) = self.assoc {
                self.outputs.push_back(Output::Disconnect { assoc });
            }
            self.end(EndReason::Silent);
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.stop();
        self.tell(Event::Ended(reason));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Begin => self.begin(None),
                Timer::Busy => {
                    if let Some(assoc) = self.assoc {
                        self.acknowledge(assoc);
                    }
                    self.timers.set(Timer::Busy, now + self.shortest / 2);
                }
                Timer::Silence => self.on_silence_due(now),
            }
        }
    }
}

impl Machine for ElementSession {
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { assoc, .. } => self.on_connected(now, assoc),
            Input::Closed { assoc, reason } if self.assoc == Some(assoc) && !self.ended => {
                self.end(EndReason::Closed(reason));
            }
            Input::Received { assoc, ppid, bytes } => {
                self.receive(now, assoc, ppid, bytes.into());
            }
            Input::Timeout => self.on_timeout(now),
            Input::Closed { .. }
            | Input::SendFailed { .. }
            | Input::ConnectFailed { .. }
            | Input::AddressChanged { .. }
            | Input::Datagram { .. } => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }
}
