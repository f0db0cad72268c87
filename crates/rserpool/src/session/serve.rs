//! The element's side of sessions.
//!
//! ```no_run
//! use rserpool::PoolElement;
//! use rserpool::session::serve::{Incoming, ServeConfig};
//! # async fn run(config: rserpool::pool_element::PoolElementConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let service = PoolElement::serve(ServeConfig::new(config), |mut session| async move {
//!     while let Some(Incoming::Message(message)) = session.next().await {
//!         if session.send(message.bytes).await.is_err() {
//!             break;
//!         }
//!     }
//! })
//! .await?;
//! service.element().registered().await?;
//! # Ok(())
//! # }
//! ```

use super::link::{Link, Listener};
use super::securing::Securing;
use super::{
    Alarm, BusinessCard, Limits, Pass, Payload, SendError, SessionTimers, Told, check, turn,
};
use crate::cookie::{CookieError, CookieKeys};
use crate::driver::{Network, now};
use crate::pool_element::{DeregisterError, PoolElement, PoolElementConfig, StartError};
use crate::pool_user::Element;
use crate::proto::id::PoolHandle;
use crate::proto::machine::{Identity, Input, Machine as _, Output};
use crate::proto::session::element::{ElementSession, ElementSessionConfig, EndReason, Event};
use crate::proto::time::Instant;
use crate::proto::wire::transport::{Transport, TransportUse};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// What [`PoolElement::serve`] is told.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The element. Its user transport, TCP or SCTP, says where it listens, with port 0 for any; that
    /// it takes sessions (use of the transport, TCP control extension) is filled in.
    pub element: PoolElementConfig,
    /// How it reaches registrars. If that is secured by [`Network::tls`] sessions are as well, over TCP, with
    /// the same certificate: users have to show one, too, unless
    /// [`Settings::anonymous`](crate::tls::Settings::anonymous) lets others in, and nothing is taken without
    /// TLS. [`Limits::handshakes`](crate::driver::Limits::handshakes) bound how many are being secured.
    pub network: Network,
    /// Where to listen, if that is not where users are sent to; over SCTP several addresses with one
    /// port. Defaults to none.
    pub listen: Vec<SocketAddr>,
    /// Signs and verifies the cookies. Without keys, the default, cookies are what users say they
    /// are.
    pub keys: Option<CookieKeys>,
    /// Whom users go to first when this element fails, in order: its business card, sent at the
    /// beginning of each session (RFC 5352 §3.9). [`ServedSession::send_card`] changes it. Defaults to
    /// none, without a card.
    pub failover_order: Vec<Element>,
    /// Timers of sessions.
    pub timers: SessionTimers,
    /// What a session takes.
    pub limits: Limits,
    /// Most sessions at a time; further ones are hung up on, and their users try another element.
    /// Defaults to 10 000.
    pub max_sessions: usize,
}

impl ServeConfig {
    /// Serves as `element`, all else at its default.
    pub fn new(element: PoolElementConfig) -> Self {
        Self {
            element,
            network: Network::default(),
            listen: Vec::new(),
            keys: None,
            failover_order: Vec::new(),
            timers: SessionTimers::default(),
            limits: Limits::default(),
            max_sessions: 10_000,
        }
    }
}

/// An element and the sessions it serves. Dropping it is like dying: sessions break and move on.
#[derive(Debug)]
pub struct Service {
    element: PoolElement,
    address: SocketAddr,
    /// Accepts, and holds all sessions.
    acceptor: JoinSet<()>,
}

/// Why an element does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The element cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot listen.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Its user transport is neither TCP nor SCTP.
    #[error("sessions are served over TCP and SCTP, not at {0}")]
    Transport(Transport),
    /// Users are to be shown a certificate, and there is none.
    #[error("an element of a secured scope needs a certificate of its own to serve with")]
    NoCertificate,
}

impl PoolElement {
    /// Starts an element that takes sessions, and calls `handler` with each.
    ///
    /// A handler that returns has ended its session; [`ServedSession::move_on`] sends its user to
    /// another element instead, as does a panic.
    ///
    /// # Errors
    /// [`ServeError`] if it cannot listen, or the configuration cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub async fn serve<F, R>(mut config: ServeConfig, handler: F) -> Result<Service, ServeError>
    where
        F: Fn(ServedSession) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let transport = &mut config.element.user_transport;
        let over_sctp = match transport {
            Transport::Tcp(_) => false,
            Transport::Sctp(_) => true,
            _ => return Err(ServeError::Transport(transport.clone())),
        };
        let tls = config.network.tls.clone();
        if tls.as_ref().is_some_and(|tls| tls.settings().own.is_none()) {
            return Err(ServeError::NoCertificate);
        }
        let (limit, limits) = (config.limits.message, config.network.limits);
        let securing = tls.map(|tls| Securing::new(tls, limits, limit));
        let listen: Vec<_> = if config.listen.is_empty() {
            transport.socket_addrs().collect()
        } else {
            config.listen
        };
        let first = listen.first().copied();
        let address = first.ok_or_else(|| ServeError::Transport(transport.clone()))?;
        let cannot = |error| ServeError::Listen { address, error };
        let listener = Listener::bind(&listen, over_sctp, limit).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        match transport {
            Transport::Tcp(address) if address.port() == 0 => address.set_port(bound.port()),
            Transport::Sctp(sctp) => {
                sctp.transport_use = TransportUse::DataPlusControl;
                if sctp.port == 0 {
                    sctp.port = bound.port();
                }
            }
            _ => {}
        }
        config.element.tcp_control = true;
        let handle = config.element.handle.clone();
        let element = PoolElement::start_with(config.element, config.network).await?;
        let card = BusinessCard { handle: handle.clone(), elements: config.failover_order };
        let shared = Arc::new(Shared {
            pool: handle,
            card: (!card.elements.is_empty()).then_some(card),
            keys: config.keys,
            timers: config.timers,
            limits: config.limits,
            handler,
        });
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept(listener, securing, shared, config.max_sessions));
        Ok(Service { element, address: bound, acceptor })
    }
}

impl Service {
    /// The element.
    pub fn element(&self) -> &PoolElement {
        &self.element
    }

    /// The same, to take its events.
    pub fn element_mut(&mut self) -> &mut PoolElement {
        &mut self.element
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Leaves the pool, then closes all sessions, whose users move on with their newest cookies.
    ///
    /// # Errors
    /// [`DeregisterError`] if no registrar confirms it; the sessions are closed all the same.
    pub async fn shutdown(mut self) -> Result<(), DeregisterError> {
        let left = self.element.deregister().await;
        self.acceptor.shutdown().await;
        left
    }
}

struct Shared<F> {
    pool: PoolHandle,
    card: Option<BusinessCard>,
    keys: Option<CookieKeys>,
    timers: SessionTimers,
    limits: Limits,
    handler: F,
}

/// How long nothing is accepted when the system has nothing to give for it.
const PAUSE: Duration = Duration::from_millis(50);

async fn accept<F, R>(
    listener: Listener,
    mut securing: Option<Securing>,
    shared: Arc<Shared<F>>,
    max_sessions: usize,
) where
    F: Fn(ServedSession) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(max_sessions.min(Semaphore::MAX_PERMITS)));
    let mut sessions = JoinSet::new();
    loop {
        let secured = async {
            match &mut securing {
                Some(securing) => securing.next().await,
                None => std::future::pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = listener.accept(shared.limits.message) => accepted,
            link = secured => {
                begin(link, &shared, &places, &mut sessions);
                continue;
            }
            Some(_) = sessions.join_next() => continue,
        };
        match (accepted, &mut securing) {
            (Ok(link), Some(securing)) => securing.begin(link),
            (Ok(link), None) => begin(link, &shared, &places, &mut sessions),
            (Err(error), _) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Begins a session, if there is a place for it.
fn begin<F, R>(
    link: Link,
    shared: &Arc<Shared<F>>,
    places: &Arc<Semaphore>,
    sessions: &mut JoinSet<()>,
) where
    F: Fn(ServedSession) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let Ok(place) = places.clone().try_acquire_owned() else {
        return debug!(handle = %shared.pool, "too many sessions");
    };
    let shared = shared.clone();
    sessions.spawn(async move {
        serve_one(link, &shared).await;
        drop(place);
    });
}

/// Runs one session and its handler; both end together.
async fn serve_one<F, R>(link: Link, shared: &Shared<F>)
where
    F: Fn(ServedSession) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (commands, inbox) = mpsc::channel(super::COMMANDS);
    let (event_sender, events) = mpsc::channel(super::EVENTS);
    let (begin, begun) = oneshot::channel();
    let identity = link.identity();
    let config = ElementSessionConfig {
        control: true,
        card: shared.card.clone(),
        timers: shared.timers.clone(),
        limits: shared.limits,
    };
    let task = Task {
        machine: ElementSession::new(config, now()),
        link: Some(link),
        inbox,
        told: Told::new(event_sender),
        begin: Some(begin),
        waiting: None,
        closing: None,
        alarm: Alarm::new(),
    };
    let handled = async {
        let Ok(cookie) = begun.await else { return };
        let start = match (cookie, &shared.keys) {
            (None, _) => Start::Fresh,
            (Some(cookie), None) => Start::Resumed(cookie.into()),
            (Some(cookie), Some(keys)) => match keys.open(&shared.pool, &cookie) {
                Ok(state) => Start::Resumed(state.into()),
                Err(error) => {
                    debug!(handle = %shared.pool, %error, "cookie refused");
                    Start::Refused(error)
                }
            },
        };
        let session = ServedSession {
            start,
            identity,
            pool: shared.pool.clone(),
            keys: shared.keys.clone(),
            limits: shared.limits,
            commands,
            events,
            ended: None,
        };
        (shared.handler)(session).await;
    };
    // A handler that panics takes the session with it, whose user takes that for a failure.
    tokio::join!(task.run(), handled);
}

/// How a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is new.
    Fresh,
    /// It was with another element, which has left this state.
    Resumed(Vec<u8>),
    /// It was with another element, or says so, but the cookie cannot be believed: it starts anew.
    Refused(CookieError),
}

/// What comes from a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Payload),
    /// The user is an element itself: whom to reach if it fails (RFC 5352 §3.9).
    BusinessCard(BusinessCard),
}

/// A session with one user.
///
/// Dropping it ends the session in order, once everything is sent, for which it has a second.
#[derive(Debug)]
pub struct ServedSession {
    start: Start,
    identity: Identity,
    pool: PoolHandle,
    keys: Option<CookieKeys>,
    limits: Limits,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    ended: Option<EndReason>,
}

impl ServedSession {
    /// Whether it is new or was with another element.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Who the user has proved to be: anonymous without TLS, or without a certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the user says next; `None` when it has ended the session, has moved on, or is gone.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            match self.events.recv().await? {
                Event::Received(payload) => return Some(Incoming::Message(payload)),
                Event::BusinessCard(card) => return Some(Incoming::BusinessCard(card)),
                Event::Ended(reason) => {
                    self.ended = Some(reason);
                    return None;
                }
                Event::Begun { .. } => {}
                Event::LateCookie(_) => debug!(handle = %self.pool, "a cookie too late"),
            }
        }
    }

    /// Why it is over, once [`ServedSession::next`] has said so.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.ended
    }

    /// Sends a message with the payload protocol identifier 0; waits while the queue is full.
    ///
    /// # Errors
    /// [`SendError`] if it is too long, or the session is over.
    pub async fn send(&self, bytes: impl Into<Vec<u8>>) -> Result<(), SendError> {
        self.send_payload(Payload { ppid: 0, bytes: bytes.into() }).await
    }

    /// Sends a message with its identifier.
    ///
    /// # Errors
    /// [`SendError`] if it is too long, has the identifier of ASAP, or the session is over.
    pub async fn send_payload(&self, payload: Payload) -> Result<(), SendError> {
        check(&payload, self.limits)?;
        self.command(Command::Send(payload)).await
    }

    /// Gives the user a cookie, signed if there are keys: the next element gets it back. It arrives
    /// behind all that was sent before, and replaces earlier ones.
    ///
    /// # Errors
    /// [`SendError`] if the state is too long for a cookie, or the session is over.
    pub async fn send_cookie(&self, state: &[u8]) -> Result<(), SendError> {
        let limit = crate::proto::session::MAX_COOKIE_LEN;
        let too_long = SendError::TooLong { len: state.len(), limit };
        let cookie = match &self.keys {
            Some(keys) => keys.seal(&self.pool, state).ok_or(too_long)?,
            None if state.len() > limit => return Err(too_long),
            None => state.to_vec(),
        };
        self.command(Command::Cookie(cookie)).await
    }

    /// Tells the user in which order to fail over (RFC 5352 §3.9).
    ///
    /// # Errors
    /// [`SendError`] if the session is over.
    pub async fn send_card(&self, card: BusinessCard) -> Result<(), SendError> {
        self.command(Command::Card(card)).await
    }

    /// Sends what waits and closes, so that the user goes on with another element and the newest
    /// cookie.
    pub async fn move_on(self) {
        let _ = self.command(Command::MoveOn).await;
    }

    async fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.send(command).await.map_err(|_| SendError::Ended)
    }
}

#[derive(Debug)]
enum Command {
    Send(Payload),
    Cookie(Vec<u8>),
    Card(BusinessCard),
    MoveOn,
}

/// One session: the machine and its connection.
struct Task {
    machine: ElementSession,
    link: Option<Link>,
    inbox: mpsc::Receiver<Command>,
    told: Told<Event>,
    begin: Option<oneshot::Sender<Option<Box<[u8]>>>>,
    /// Did not fit into the machine's queue.
    waiting: Option<Command>,
    /// Closes when everything is sent.
    closing: Option<Closing>,
    alarm: Alarm,
}

struct Closing {
    until: Instant,
    /// The user was told that this is the end, or shall not be.
    said: bool,
}

impl Task {
    async fn run(mut self) {
        if let Some(link) = &self.link {
            self.machine.handle_input(now(), link.connected(None));
        }
        poll_fn(|context| turn(context, |now, context| self.pass(now, context))).await;
    }

    fn pass(&mut self, now: Instant, context: &mut Context<'_>) -> Pass {
        if self.machine.next_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_input(now, Input::Timeout);
        }
        self.told.poll(context);
        let moved = self.take_commands(now, context);
        let moved = moved | self.settle();
        let reading = self.told.is_empty();
        let polled = self.poll_link(now, reading, context) | self.settle();
        let closed = self.close_if_done(now);
        self.told.poll(context);
        if self.machine.has_ended() {
            return if self.told.is_empty() { Pass::Over } else { Pass::Idle };
        }
        self.machine.set_reading(now, self.told.is_empty());
        let resumes = !reading && self.told.is_empty();
        let until = self.closing.as_ref().map(|closing| closing.until);
        let due = [self.machine.next_timeout(), until].into_iter().flatten().min();
        Pass::of(moved, polled || closed || resumes || self.alarm.poll(now, due, context))
    }

    fn settle(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.machine.poll_output() {
            // To hand on what was received is done in any case.
            moved |= !matches!(output, Output::Event(Event::Received(_)));
            match output {
                Output::Transmit { ppid, bytes, .. } => {
                    if let Some(link) = &mut self.link {
                        link.queue(ppid, bytes);
                    }
                }
                Output::Disconnect { .. } => {
                    if let Some(link) = self.link.take() {
                        link.finish();
                    }
                }
                Output::Event(Event::Begun { cookie }) => {
                    if let Some(begin) = self.begin.take() {
                        let _ = begin.send(cookie);
                    }
                }
                Output::Event(event) => {
                    // Who waits for the beginning learns that there is none.
                    if let Event::Ended(_) = event {
                        self.begin = None;
                    }
                    self.told.push(event);
                }
                Output::Connect { .. } | Output::Abandon { .. } | Output::Multicast { .. } => {}
            }
        }
        if let Some(link) = &mut self.link {
            while link.has_room()
                && let Some((_, payload)) = self.machine.next_message()
            {
                moved = true;
                link.queue(payload.ppid, payload.bytes);
            }
        }
        moved
    }

    fn take_commands(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if let Some(command) = self.waiting.take() {
                match self.carry_out(now, command) {
                    ControlFlow::Continue(()) => moved = true,
                    ControlFlow::Break(command) => {
                        self.waiting = Some(command);
                        return moved;
                    }
                }
            }
            if self.closing.is_some() || self.machine.has_ended() {
                return moved;
            }
            // What the connection does not take yet stays with those who send it.
            if self.link.as_ref().is_some_and(|link| !link.has_room()) {
                return moved;
            }
            match self.inbox.poll_recv(context) {
                Poll::Pending => return moved,
                Poll::Ready(Some(command)) => self.waiting = Some(command),
                Poll::Ready(None) => {
                    self.closing = Some(Closing { until: now + super::LINGER, said: false });
                    return true;
                }
            }
        }
    }

    /// Gives a command back that does not fit yet.
    fn carry_out(&mut self, now: Instant, command: Command) -> ControlFlow<Command> {
        let has_room = match &command {
            Command::Send(payload) => self.machine.has_room_for(payload.bytes.len()),
            Command::Cookie(_) | Command::Card(_) => self.machine.is_drained(),
            Command::MoveOn => true,
        };
        if !has_room {
            return ControlFlow::Break(command);
        }
        // What else may be wrong was checked before, or is said by the end of the session.
        let _ = match command {
            Command::Send(payload) => self.machine.send(payload),
            Command::Cookie(cookie) => self.machine.send_cookie(&cookie),
            Command::Card(card) => self.machine.send_card(&card),
            Command::MoveOn => {
                self.closing = Some(Closing { until: now + super::LINGER, said: true });
                Ok(())
            }
        };
        ControlFlow::Continue(())
    }

    fn poll_link(&mut self, now: Instant, reading: bool, context: &mut Context<'_>) -> bool {
        let Some(link) = &mut self.link else { return false };
        let (machine, assoc) = (&mut self.machine, link.assoc);
        let polled = link.poll(context, reading, |ppid, bytes| {
            machine.receive(now, assoc, ppid, bytes);
        });
        match polled {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(reason)) => {
                self.link = None;
                machine.handle_input(now, Input::Closed { assoc, reason });
                true
            }
        }
    }

    fn close_if_done(&mut self, now: Instant) -> bool {
        let Some(closing) = &mut self.closing else { return false };
        if !closing.said && self.waiting.is_none() {
            let said = !matches!(self.machine.send_end(), Err(SendError::Full));
            closing.said = said;
            self.settle();
            return said;
        }
        let late = closing.until <= now;
        let flushed = self.link.as_ref().is_none_or(Link::is_flushed);
        let done = self.waiting.is_none() && self.machine.is_drained() && flushed;
        if done || late {
            self.machine.close();
            self.settle();
        }
        done || late
    }
}
