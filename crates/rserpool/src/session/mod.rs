//! A message channel to a pool instead of a server (RFC 5351 §4.2, RFC 5352 §6.5).
//!
//! ```no_run
//! use rserpool::session::{Event, Session};
//! # async fn run(user: rserpool::PoolUser) -> Result<(), Box<dyn std::error::Error>> {
//! let mut session = user.session(&"EchoPool".parse()?);
//! session.send(b"hello").await?;
//! while let Some(event) = session.next().await {
//!     match event {
//!         Event::Received(message) => println!("{}", message.bytes.escape_ascii()),
//!         Event::Failover { from, to, .. } => println!("{} has taken over from {from}", to.id),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Messages go over SCTP where the element is reached by it; over TCP to elements of ours by a mapping
//! of our own, with cookies, business cards and heartbeats, and to other servers as plain bytes, without
//! them. What a session does when is said by
//! [`proto::session`](crate::proto::session).
//!
//! Those of a user that has certificates ([`Network::tls`](crate::driver::Network::tls)) are secured by TLS,
//! over TCP, at every failover anew (RFC 5355 §2.9): an element proves that it is one of its pool, and is the
//! one that the registrar has named, before anything is said to it, the cookie included. Whoever does not is
//! passed over, and why is logged. Nothing goes without TLS, ever.

mod link;
mod primitives;
#[cfg(target_os = "linux")]
mod sctp;
mod securing;
pub mod serve;
mod tcp;
mod to_all;

use crate::driver::now;
use crate::pool_user::{Element, PoolUser, ResolveError};
use crate::proto::id::{AssociationId, PoolHandle};
use crate::proto::machine::{AttemptId, CloseReason, Input, Machine as _, Output};
pub use crate::proto::session::SendError;
use crate::proto::session::user::{UserSession, Wanted};
use crate::proto::time::Instant;
use link::Link;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tcp::close_reason;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use tracing::{debug, info, warn};

pub use crate::proto::session::user::{Delivery, EndReason, Event, Target, UserSessionConfig};
pub use to_all::{Copied, SendToAllError};

pub use crate::proto::session::{BusinessCard, ElementHandle, Limits, Payload, SessionTimers};

/// Messages under way to the session's task; those behind them wait with their senders. Few, so that
/// the memory of long ones is used again while it is in the caches.
const COMMANDS: usize = 8;
/// Events under way to the owner; if they are not taken nothing more is read from the element.
const EVENTS: usize = 256;
/// A session that is dropped has as long to send what waits.
const LINGER: Duration = Duration::from_secs(1);

/// A session with a pool.
///
/// Dropping it closes it; [`Session::close`] waits until everything is sent.
#[derive(Debug)]
pub struct Session {
    sender: Sender,
    events: mpsc::Receiver<Event>,
    element: watch::Receiver<Option<ElementHandle>>,
}

/// Sends messages into a session; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    commands: mpsc::Sender<Command>,
    limits: Limits,
    failovers: Arc<Mutex<Failovers>>,
}

/// Which failovers the owner knows of: what it sends before it does is meant for the element that
/// has failed.
#[derive(Debug, Default)]
struct Failovers {
    told: u64,
    seen: u64,
    /// Sent in between, and not to go to the new element.
    late: Vec<Payload>,
}

fn lock(failovers: &Mutex<Failovers>) -> MutexGuard<'_, Failovers> {
    // Nothing panics while it is locked.
    failovers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PoolUser {
    /// A session with an element of a pool, picked by the pool's policy. Comes back at once;
    /// [`Event::Begun`] says when there is an element.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn session(&self, pool: &PoolHandle) -> Session {
        self.session_with(UserSessionConfig::new(Target::Pool(pool.clone())))
    }

    /// A session with a certain element while it lives (RFC 5352 §6.5.3).
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn session_to(&self, handle: ElementHandle) -> Session {
        self.session_with(UserSessionConfig::new(Target::Element(handle)))
    }

    /// A session with more to say about it.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn session_with(&self, config: UserSessionConfig) -> Session {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (element_sender, element) = watch::channel(None);
        let failovers = Arc::<Mutex<Failovers>>::default();
        let sender = Sender { commands, limits: config.limits, failovers: failovers.clone() };
        let task = Task {
            pool: config.target.pool().clone(),
            limits: config.limits,
            machine: UserSession::new(config, now()),
            user: self.clone(),
            inbox,
            failovers,
            ahead: VecDeque::new(),
            told: Told::new(event_sender),
            element: element_sender,
            waiting: None,
            closing: None,
            wanted: None,
            attempt: None,
            link: None,
            parted: None,
            next_assoc: 1,
            alarm: Alarm::new(),
        };
        tokio::spawn(task.run());
        Session { sender, events, element }
    }
}

impl Session {
    /// Sends a message with the payload protocol identifier 0, to whichever element the session has
    /// or gets; waits while the session's queue is full.
    ///
    /// # Errors
    /// [`SendError`] if it is too long, or the session is over.
    pub async fn send(&self, bytes: impl Into<Vec<u8>>) -> Result<(), SendError> {
        self.sender.send(bytes).await
    }

    /// Sends from elsewhere.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// What happens next; `None` after [`Event::Ended`]. The future may be dropped without losing an
    /// event.
    pub async fn next(&mut self) -> Option<Event> {
        let mut event = self.events.recv().await?;
        let mut failovers = lock(&self.sender.failovers);
        match &mut event {
            Event::Failover { unsent, .. } => {
                failovers.seen += 1;
                if failovers.seen == failovers.told {
                    unsent.append(&mut failovers.late);
                }
            }
            Event::Ended { unsent, .. } => unsent.append(&mut failovers.late),
            _ => {}
        }
        drop(failovers);
        Some(event)
    }

    /// The next message, whatever else happens; `None` when the session is over.
    pub async fn recv(&mut self) -> Option<Payload> {
        loop {
            if let Event::Received(payload) = self.next().await? {
                return Some(payload);
            }
        }
    }

    /// The element it has, to be kept and used again by [`PoolUser::session_to`].
    pub fn element(&self) -> Option<ElementHandle> {
        self.element.borrow().clone()
    }

    /// Moves on to another element, as if the present one had failed.
    pub async fn fail_over(&self) {
        let _ = self.sender.commands.send(Command::FailOver).await;
    }

    /// Sends what waits, tells the element that the session is over, and closes. While there is no
    /// element it waits for one, until the session gives up.
    pub async fn close(mut self) {
        let (done, closed) = oneshot::channel();
        if self.sender.commands.send(Command::Close(done)).await.is_err() {
            return;
        }
        // What comes meanwhile must not stand in the way.
        tokio::pin!(closed);
        loop {
            tokio::select! {
                _ = &mut closed => return,
                event = self.events.recv() => if event.is_none() { return },
            }
        }
    }
}

impl Sender {
    /// As [`Session::send`].
    ///
    /// # Errors
    /// [`SendError`] if it is too long, or the session is over.
    pub async fn send(&self, bytes: impl Into<Vec<u8>>) -> Result<(), SendError> {
        let payload = Payload { ppid: 0, bytes: bytes.into() };
        self.send_payload(payload, Delivery::default()).await
    }

    /// Sends a message, with its identifier, and says what becomes of it at a failover.
    ///
    /// # Errors
    /// [`SendError`] if it is too long, has the identifier of ASAP, or the session is over; full, if
    /// the owner does not look at a failover and goes on sending.
    pub async fn send_payload(
        &self,
        payload: Payload,
        delivery: Delivery,
    ) -> Result<(), SendError> {
        check(&payload, self.limits)?;
        let place = self.commands.reserve().await.map_err(|_| SendError::Ended)?;
        let mut failovers = lock(&self.failovers);
        if delivery == Delivery::Failover || failovers.seen == failovers.told {
            place.send(Command::Send(payload, delivery));
        } else if failovers.late.len() < self.limits.queued_messages {
            failovers.late.push(payload);
        } else {
            return Err(SendError::Full);
        }
        Ok(())
    }
}

/// What the machine would refuse for ever.
fn check(payload: &Payload, limits: Limits) -> Result<(), SendError> {
    let (len, limit) = (payload.bytes.len(), limits.message);
    if payload.ppid == crate::proto::wire::PPID_ASAP {
        return Err(SendError::Reserved);
    }
    if len == 0 {
        return Err(SendError::Empty);
    }
    if len > limit { Err(SendError::TooLong { len, limit }) } else { Ok(()) }
}

#[derive(Debug)]
enum Command {
    Send(Payload, Delivery),
    FailOver,
    Close(oneshot::Sender<()>),
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One session: the machine, its connection, and who waits for what.
struct Task {
    pool: PoolHandle,
    limits: Limits,
    machine: UserSession,
    user: PoolUser,
    inbox: mpsc::Receiver<Command>,
    failovers: Arc<Mutex<Failovers>>,
    /// Taken out of the inbox at a failover, and still to be done.
    ahead: VecDeque<Command>,
    told: Told<Event>,
    element: watch::Sender<Option<ElementHandle>>,
    /// Did not fit into the machine's queue.
    waiting: Option<(Payload, Delivery)>,
    closing: Option<Closing>,
    wanted: Option<Boxed<Result<Arc<Element>, ResolveError>>>,
    attempt: Option<(AttemptId, Boxed<io::Result<Link>>)>,
    link: Option<Link>,
    /// One that was given up, or that is done.
    parted: Option<Link>,
    next_assoc: u64,
    alarm: Alarm,
}

struct Closing {
    done: Option<oneshot::Sender<()>>,
    /// When what waits is dropped; `None` for as long as the session lasts.
    until: Option<Instant>,
}

impl Task {
    async fn run(mut self) {
        poll_fn(|context| turn(context, |now, context| self.pass(now, context))).await;
        if let Some(done) = self.closing.and_then(|closing| closing.done) {
            let _ = done.send(());
        }
    }

    /// Does what can be done now; it is over when the session is, and its owner has been told.
    fn pass(&mut self, now: Instant, context: &mut Context<'_>) -> Pass {
        if self.machine.next_timeout().is_some_and(|due| due <= now) {
            self.machine.handle_input(now, Input::Timeout);
        }
        self.told.poll(context);
        let moved = self.take_commands(now, context)
            | self.poll_wanted(now, context)
            | self.poll_attempt(now, context);
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
        let until = self.closing.as_ref().and_then(|closing| closing.until);
        let due = [self.machine.next_timeout(), until].into_iter().flatten().min();
        Pass::of(moved, polled || closed || resumes || self.alarm.poll(now, due, context))
    }

    /// Carries out what the machine wants, and gives the transport what it takes; whether there was any.
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
                Output::Connect { attempt, .. } => self.connect(attempt),
                Output::Abandon { .. } => self.attempt = None,
                Output::Disconnect { .. } => self.parted = self.link.take(),
                Output::Event(event) => self.on_event(event),
                Output::Multicast { .. } => {}
            }
        }
        match self.parted.take() {
            Some(link) if self.machine.has_ended() => link.finish(),
            Some(link) => self.machine.take_back(link.take_back()),
            None => {}
        }
        if let Some(link) = &mut self.link {
            while link.has_room()
                && let Some((_, payload, delivery)) = self.machine.next_message()
            {
                moved = true;
                link.queue_for(payload, delivery);
            }
        }
        moved
    }

    fn on_event(&mut self, event: Event) {
        let pool = self.pool.clone();
        match event {
            Event::Wanted(wanted) => self.ask(wanted),
            Event::Unreachable(id) => {
                self.element.send_replace(None);
                self.user.report_unreachable(&pool, id);
            }
            Event::Begun(element) => {
                debug!(handle = %pool, pe = %element.id, "session begun");
                self.name(&element);
                self.told.push(Event::Begun(element));
            }
            Event::Failover { from, to, cookie_sent, mut unsent } => {
                self.take_back(&mut unsent);
                info!(handle = %pool, %from, pe = %to.id, cookie_sent, "session failed over");
                self.name(&to);
                self.told.push(Event::Failover { from, to, cookie_sent, unsent });
            }
            Event::Ended { reason, mut unsent } => {
                debug!(handle = %pool, %reason, "session ended");
                self.element.send_replace(None);
                if reason != EndReason::Finished
                    && let Some(link) = self.parted.take()
                {
                    let given_back = link.take_back().into_iter().map(|(payload, _)| payload);
                    unsent.splice(..0, given_back);
                }
                unsent.extend(self.waiting.take().map(|(payload, _)| payload));
                self.inbox.close();
                let inbox = std::iter::from_fn(|| self.inbox.try_recv().ok());
                for command in self.ahead.drain(..).chain(inbox) {
                    match command {
                        Command::Send(payload, _) => unsent.push(payload),
                        Command::Close(done) => {
                            self.closing = Some(Closing { done: Some(done), until: None });
                        }
                        Command::FailOver => {}
                    }
                }
                self.told.push(Event::Ended { reason, unsent });
            }
            event => self.told.push(event),
        }
    }

    /// What the owner has sent before it could know of a failover comes back with it.
    fn take_back(&mut self, unsent: &mut Vec<Payload>) {
        let mut failovers = lock(&self.failovers);
        failovers.told += 1;
        match self.waiting.take() {
            Some((payload, Delivery::NoFailover)) => unsent.push(payload),
            other => self.waiting = other,
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.ahead.push_back(command);
        }
        self.ahead.retain_mut(|command| match command {
            Command::Send(payload, Delivery::NoFailover) => {
                unsent.push(std::mem::take(payload));
                false
            }
            _ => true,
        });
    }

    fn name(&self, element: &Element) {
        let handle = ElementHandle { pool: self.pool.clone(), id: element.id };
        self.element.send_replace(Some(handle));
    }

    fn ask(&mut self, wanted: Wanted) {
        let user = self.user.clone();
        self.wanted = Some(Box::pin(async move {
            if wanted.anew {
                user.purge(&wanted.pool).await;
            }
            match wanted.id {
                Some(id) => user.pick_element(&wanted.pool, id).await,
                None => user.pick(&wanted.pool, &wanted.exclude).await,
            }
        }));
    }

    fn connect(&mut self, attempt: AttemptId) {
        let assoc = AssociationId(self.next_assoc);
        self.next_assoc += 1;
        let (pool, chosen) = (self.pool.clone(), self.machine.chosen().cloned());
        let (tls, limit) = (self.user.tls().cloned(), self.limits.message);
        self.attempt = Some((
            attempt,
            Box::pin(async move {
                let element = chosen.ok_or(io::ErrorKind::Unsupported)?;
                Link::connect(assoc, &pool, &element, tls.as_ref(), limit).await
            }),
        ));
    }

    fn take_commands(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if let Some((payload, delivery)) = self.waiting.take() {
                if !self.machine.has_room_for(payload.bytes.len()) {
                    self.waiting = Some((payload, delivery));
                    return moved;
                }
                // What else may be wrong was checked before.
                let _ = self.machine.send(payload, delivery);
                moved = true;
            }
            if self.closing.is_some() {
                return moved;
            }
            if self.told.is_gone(context) {
                self.closing = Some(Closing { done: None, until: Some(now + LINGER) });
                return true;
            }
            // What the connection does not take yet stays with those who send it.
            if self.link.as_ref().is_some_and(|link| !link.has_room()) {
                return moved;
            }
            let next = match self.ahead.pop_front() {
                Some(command) => Poll::Ready(Some(command)),
                None => self.inbox.poll_recv(context),
            };
            match next {
                Poll::Pending => return moved,
                Poll::Ready(Some(Command::Send(payload, delivery))) => {
                    self.waiting = Some((payload, delivery));
                }
                Poll::Ready(Some(Command::FailOver)) => {
                    moved = true;
                    self.machine.fail_over(now);
                    return moved;
                }
                Poll::Ready(Some(Command::Close(done))) => {
                    self.closing = Some(Closing { done: Some(done), until: None });
                    moved = true;
                }
                Poll::Ready(None) => {
                    self.closing = Some(Closing { done: None, until: Some(now + LINGER) });
                    moved = true;
                }
            }
        }
    }

    fn poll_wanted(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Some(wanted) = &mut self.wanted else { return false };
        let Poll::Ready(answer) = wanted.as_mut().poll(context) else { return false };
        self.wanted = None;
        match answer {
            Ok(element) => self.machine.picked(now, element),
            Err(error) => self.machine.not_found(now, error),
        }
        true
    }

    fn poll_attempt(&mut self, now: Instant, context: &mut Context<'_>) -> bool {
        let Some((attempt, future)) = &mut self.attempt else { return false };
        let Poll::Ready(result) = future.as_mut().poll(context) else { return false };
        let attempt = *attempt;
        self.attempt = None;
        match result {
            Ok(link) => {
                self.machine.handle_input(now, link.connected(Some(attempt)));
                self.link = Some(link);
            }
            Err(error) => {
                let reason = close_reason(&error);
                if reason == CloseReason::Untrusted
                    && let Some(element) = self.machine.chosen()
                {
                    let (pe, at) = (element.id, &element.user_transport);
                    warn!(handle = %self.pool, %pe, %at, %error, "element refused");
                }
                self.machine.handle_input(now, Input::ConnectFailed { attempt, reason });
            }
        }
        true
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
                match reason {
                    CloseReason::Malformed => {
                        debug!(handle = %self.pool, "what came is not a session");
                    }
                    CloseReason::Untrusted => {
                        warn!(handle = %self.pool, "the element does not believe who we are");
                    }
                    _ => {}
                }
                if let Some(link) = self.link.take() {
                    machine.take_back(link.take_back());
                }
                machine.handle_input(now, Input::Closed { assoc, reason });
                true
            }
        }
    }

    /// Closes when everything is sent, or when that takes too long.
    fn close_if_done(&mut self, now: Instant) -> bool {
        let Some(closing) = &self.closing else { return false };
        let flushed = self.link.as_ref().is_none_or(Link::is_flushed);
        let drained = self.waiting.is_none() && self.machine.is_drained() && flushed;
        let late = closing.until.is_some_and(|until| until <= now);
        if drained || late {
            self.machine.close();
            self.settle();
        }
        drained || late
    }
}

/// Passes of a turn before others have theirs.
const PASSES: usize = 4;

/// A turn of a task, which passes over what it looks after as long as there is something to do.
fn turn(
    context: &mut Context<'_>,
    mut pass: impl FnMut(Instant, &mut Context<'_>) -> Pass,
) -> Poll<()> {
    let now = now();
    for _ in 0..PASSES {
        match pass(now, context) {
            Pass::Moved => {}
            Pass::Idle => return Poll::Pending,
            Pass::Yields => break,
            Pass::Over => return Poll::Ready(()),
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

/// What a pass over all that a task looks after has come to.
enum Pass {
    /// Something was done, and there may be more to do.
    Moved,
    /// Something has come: the owner has its turn first, as what it takes at once is still in the caches.
    Yields,
    /// There is nothing to do, and the task is woken when there is.
    Idle,
    /// It is over.
    Over,
}

impl Pass {
    fn of(moved: bool, yields: bool) -> Self {
        match (moved, yields) {
            (true, _) => Self::Moved,
            (false, true) => Self::Yields,
            (false, false) => Self::Idle,
        }
    }
}

/// Wakes a task when something is due.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it wakes; not after what is due.
    armed: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), armed: None }
    }

    /// Whether it is time to look again; if not, the task is woken then.
    fn poll(&mut self, now: Instant, due: Option<Instant>, context: &mut Context<'_>) -> bool {
        let Some(due) = due else { return false };
        if due <= now {
            return true;
        }
        // One that comes too early is cheaper than setting it anew each time.
        if self.armed.is_none_or(|armed| armed > due) {
            self.sleep.as_mut().reset(tokio::time::Instant::now() + due.saturating_since(now));
            self.armed = Some(due);
        }
        let ready = self.sleep.as_mut().poll(context).is_ready();
        if ready {
            self.armed = None;
        }
        ready
    }
}

/// Events on their way to an owner, who may be behind or gone.
struct Told<E> {
    events: mpsc::Sender<E>,
    held: VecDeque<E>,
    room: Option<Boxed<Option<OwnedPermit<E>>>>,
    gone: Boxed<()>,
}

impl<E: Send + 'static> Told<E> {
    fn new(events: mpsc::Sender<E>) -> Self {
        let watched = events.clone();
        let gone = Box::pin(async move { watched.closed().await });
        Self { events, held: VecDeque::new(), room: None, gone }
    }

    fn push(&mut self, event: E) {
        self.held.push_back(event);
    }

    /// Whether the owner has taken everything, or as good as.
    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Hands on what the owner takes; what nobody takes any more is dropped.
    fn poll(&mut self, context: &mut Context<'_>) {
        while !self.held.is_empty() {
            if self.room.is_none() {
                match self.events.try_reserve() {
                    Ok(permit) => {
                        if let Some(event) = self.held.pop_front() {
                            permit.send(event);
                        }
                        continue;
                    }
                    Err(mpsc::error::TrySendError::Closed(())) => return self.held.clear(),
                    Err(mpsc::error::TrySendError::Full(())) => {
                        let events = self.events.clone();
                        self.room = Some(Box::pin(async { events.reserve_owned().await.ok() }));
                    }
                }
            }
            let Some(room) = &mut self.room else { return };
            let Poll::Ready(permit) = room.as_mut().poll(context) else { return };
            self.room = None;
            match (permit, self.held.pop_front()) {
                (Some(permit), Some(event)) => drop(permit.send(event)),
                _ => self.held.clear(),
            }
        }
    }

    /// Whether the owner is gone.
    fn is_gone(&mut self, context: &mut Context<'_>) -> bool {
        self.events.is_closed() || self.gone.as_mut().poll(context).is_ready()
    }
}
