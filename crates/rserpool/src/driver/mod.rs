//! Runs a machine: sockets, framing and time around one of the machines of [`crate::proto`].
//!
//! ```text
//!   listeners, connections --> frames --> handle_input --> machine
//!        sockets <-- one write each <-- queues <-- poll_output --+--> events
//! ```
//!
//! One task owns the machine and polls its sockets itself: a socket that is ready puts its number
//! on a list, and one turn of the task reads each socket of the list once, gives every
//! whole message to the machine in place, and then writes what the machine has put out, one write
//! for a connection however many messages it takes. A message is copied twice (from and to the
//! kernel) and crosses no channel, no lock and no other task.
//!
//! Over TCP an association is a connection. Over SCTP many share the socket of their channel, which
//! listens and connects from one port, so that who is connected to can also connect back; those that
//! would hold the others up get a socket of their own.
//!
//! Time is [`now`], which goes on while the host is suspended. Alarms are the runtime's and do not:
//! after a suspension they come late, and the machine sees that by the time it is given.
//!
//! A turn is bounded; what is left is taken up after the runtime has looked at its
//! other tasks and sockets. Everything that grows has a bound in [`Limits`].
#![cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "what only SCTP needs"))]

mod clock;
mod connection;
mod echo;
mod multicast;
mod ready;
#[cfg(target_os = "linux")]
mod sctp;
#[cfg(not(target_os = "linux"))]
#[path = "no_sctp.rs"]
mod sctp;
mod socket;
mod stream;
mod traffic;

pub use clock::now;
pub use echo::Echo;
pub(crate) use multicast::interface_addresses;
pub use multicast::{Announcements, RSPLIB_ENRP_GROUP, RSPLIB_GROUP};
pub(crate) use sctp::Call;
pub use sctp::{SctpSocket, is_sctp_available, listen_sctp, probe_sctp};
pub use socket::{BindError, listen};
pub use stream::Stream;

use crate::metrics::Metrics;
use crate::proto::id::AssociationId;
use crate::proto::machine::{AttemptId, Channel, Input, Locator, Machine, Output, TransportKind};
use crate::proto::time::Instant;
use crate::proto::wire::framer::MAX_FRAME_LEN;
use crate::tls::{Expected, Tls};
use connection::{Content, Opening, Slot};
use ready::Ready;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tracing::{debug, trace};

/// A machine and its owner's side: what commands do to it and where its events go.
pub trait Hosted: Send {
    /// The machine.
    type Machine: Machine;
    /// What the holder of the other end of the command channel can ask for.
    type Command: Send;

    /// The machine, to be given inputs and drained.
    fn machine(&mut self) -> &mut Self::Machine;

    /// Carries a command out; the machine is drained afterwards. [`ControlFlow::Break`] ends the
    /// driver: what is queued is sent (for at most [`LINGER`]), then everything is closed.
    fn on_command(&mut self, now: Instant, command: Self::Command) -> ControlFlow<()>;

    /// Hears an event of the machine.
    fn on_event(&mut self, now: Instant, event: <Self::Machine as Machine>::Event);

    /// Hears that inputs and commands were handled and the machine is drained, and says whether to
    /// end as after [`Hosted::on_command`]. Goes on unless written otherwise.
    fn on_turn(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Bounds of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most associations opened by others at a time; one more is closed at once. Defaults to
    /// 20 000. Each takes a file descriptor.
    ///
    /// Of 16 and more some are kept for registrars: a sixteenth, 128 at most. They reach us however many
    /// clients come.
    pub associations: usize,
    /// The same from one address, those that are being secured included. Defaults to 10 000: one host
    /// may carry thousands of elements, and no address takes the room of all others.
    pub associations_per_address: usize,
    /// Most bytes that wait for an association to take them; it is closed when there are more.
    /// A client's requests are not read while a quarter of it waits. Defaults to 1 MiB.
    pub output: usize,
    /// Time that sent data may stay unacknowledged, or the peer's window closed, before the
    /// connection counts as broken (`TCP_USER_TIMEOUT`; over SCTP the window only, since silence is
    /// found sooner); also bounds connecting. Defaults to 10 s: the machines find silence by their
    /// own, shorter timers.
    pub user_timeout: Duration,
    /// Most connections opened by others that are being secured at a time; for one more the oldest
    /// makes room, for whoever means it takes milliseconds. Defaults to 1 024: each takes some
    /// kilobytes, and 5 s at most.
    pub handshakes: usize,
    /// The same from one address; for one more the oldest of that address makes room, so that others
    /// have the time that they need. Defaults to 256.
    pub handshakes_per_address: usize,
}

impl Limits {
    /// Associations opened by others that a channel may have.
    fn associations_of(&self, channel: Channel) -> usize {
        match channel {
            Channel::Enrp => self.associations,
            Channel::Asap => self.associations - FOR_REGISTRARS.min(self.associations / 16),
        }
    }
}

/// Associations that are kept for registrars at most: as many as a registrar has peers.
const FOR_REGISTRARS: usize = 128;

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 20_000,
            associations_per_address: 10_000,
            output: 1 << 20,
            user_timeout: Duration::from_secs(10),
            handshakes: 1_024,
            handshakes_per_address: 256,
        }
    }
}

/// How an element or a user reaches others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Bounds of its connections.
    pub limits: Limits,
    /// Addresses of this host that it has over SCTP, told to the other end. None, the default, means
    /// all that the other end may reach.
    pub local: Vec<IpAddr>,
    /// Where registrars are heard that announce themselves. Nowhere by default.
    pub announcements: Announcements,
    /// Secures connections. None by default: the scope is an open one.
    pub tls: Option<Tls>,
}

/// Whom a machine has to do with, where everybody shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A registrar: it connects to registrars, and to elements to call them home. Whoever comes may do what
    /// its authority says.
    Registrar,
    /// An element or a user: nobody else than registrars.
    Endpoint,
}

impl Side {
    /// Whom it connects to.
    fn dials(self, channel: Channel) -> Expected {
        match (self, channel) {
            (Self::Registrar, Channel::Asap) => Expected::Anybody,
            _ => Expected::Registrar,
        }
    }

    /// Who may connect to it.
    fn accepts(self) -> Expected {
        match self {
            Self::Registrar => Expected::Anybody,
            Self::Endpoint => Expected::Registrar,
        }
    }
}

/// Longest time a connection lives on to send what is queued after it was given up.
pub const LINGER: Duration = Duration::from_secs(1);

/// Bounds of one turn, so that other tasks and other sockets get theirs.
struct Turn;

impl Turn {
    /// Sockets polled.
    const SOCKETS: usize = 128;
    /// Bytes read from one connection.
    const BYTES: usize = 64 * 1024;
    /// Messages of one connection: half a millisecond's work, and more than most clients have under
    /// way. Whoever floods waits for its turn like everybody.
    const MESSAGES: usize = 512;
    /// Connections accepted.
    const ACCEPTS: usize = 64;
    /// Messages and notifications taken from one SCTP socket.
    const EVENTS: usize = 256;
    /// The same from one that has a single association, and little to say unless it floods.
    const OWN_EVENTS: usize = 16;
    /// Announcements taken from one group.
    const DATAGRAMS: usize = 32;
    /// Time after which no further socket is polled, and no more taken from one of many
    /// associations: long answers to many must not keep timers waiting, which would look as if the
    /// host had been suspended.
    const TIME: Duration = Duration::from_millis(20);
    /// Commands carried out.
    const COMMANDS: usize = 256;
}

/// Pause of a listener after the system could not accept: it is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
struct Listener {
    socket: TcpListener,
    channel: Channel,
    /// Not polled before.
    paused_until: Option<Instant>,
    /// Whoever comes is not asked who it is, and nothing is secured.
    plain: bool,
}

/// An association that is being opened, by one transport or by two: the first that is up is taken.
struct Attempt {
    id: AttemptId,
    channel: Channel,
    to: Locator,
    tcp: Option<Opening>,
    sctp: Option<sctp::Pending>,
    /// What is tried as well from then on, or as soon as the other has failed.
    next: Option<(Instant, TransportKind)>,
}

/// How long the one transport has before the other is tried as well ([`TransportKind::Auto`]).
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// How long it is remembered by which transport an address was reached.
const MEMORY: Duration = Duration::from_secs(60);

/// Most addresses of which that is remembered.
const MEMORIES: usize = 256;

/// Owns a machine and its sockets. See the [module](self) for how it works.
///
/// ```
/// use rserpool::driver::{self, Driver, Echo, Limits};
/// use rserpool::proto::machine::Channel;
/// use std::sync::Arc;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let socket = driver::listen("127.0.0.1:0".parse()?)?;
/// let address = socket.local_addr()?;
/// let (commands, inbox) = tokio::sync::mpsc::channel(1);
/// let mut driver = Driver::new(Echo::default(), inbox, Limits::default(), Arc::default());
/// driver.add_listener(Channel::Asap, socket);
/// let task = tokio::spawn(driver.run());
///
/// let mut client = tokio::net::TcpStream::connect(address).await?;
/// client.write_all(&[1, 0, 0, 5, 9, 0, 0, 0]).await?;
/// let mut answer = [0; 8];
/// client.read_exact(&mut answer).await?;
/// assert_eq!(answer, [1, 0, 0, 5, 9, 0, 0, 0]);
///
/// drop(commands); // ends the driver
/// task.await?;
/// # Ok(())
/// # }
/// ```
pub struct Driver<H: Hosted> {
    host: H,
    limits: Limits,
    metrics: Arc<Metrics>,
    commands: mpsc::Receiver<H::Command>,
    now: Instant,
    ready: Arc<Ready>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots to be polled.
    listed: VecDeque<u32>,
    listeners: Vec<u32>,
    /// SCTP sockets that listen and connect.
    endpoints: Vec<u32>,
    attempts: BTreeMap<AttemptId, u32>,
    /// By which transport an address was reached, and until when that counts.
    reached: BTreeMap<SocketAddr, (TransportKind, Instant)>,
    /// Addresses of this host to connect from over SCTP; none means all.
    local: Vec<IpAddr>,
    /// Secures connections, but for those of plain listeners.
    tls: Option<Tls>,
    side: Side,
    /// One for each channel at most.
    multicast: Vec<multicast::Multicast>,
    /// Associations opened by others.
    accepted: usize,
    /// How many of them each address has, those that are being secured included.
    visits: BTreeMap<IpAddr, usize>,
    /// Connections opened by others that are being secured, the oldest first; some have ended.
    handshakes: VecDeque<AssociationId>,
    /// Associations, closing ones included.
    open: usize,
    /// Slots to be flushed at the end of the turn.
    dirty: Vec<u32>,
    /// What the machine is told once it is drained.
    pending: VecDeque<Input<'static>>,
    /// Connections that are closing, and when their time is up.
    lingering: VecDeque<(Instant, AssociationId)>,
    /// SCTP associations that could not send, when to look at them again, and how much they had sent.
    stuck: VecDeque<(Instant, AssociationId, u64)>,
    /// What is read, behind what was left of the same connection.
    buffer: Vec<u8>,
    spare: Vec<Vec<u8>>,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` is set to, unless it is over.
    armed: Option<Instant>,
    /// Ending; at the latest then.
    ending: Option<Instant>,
}

impl<H: Hosted> Driver<H> {
    /// Prepares to run a machine; commands come by `commands`, and when its last sender is gone
    /// the driver closes everything and ends. It counts in `metrics`.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn new(
        host: H,
        commands: mpsc::Receiver<H::Command>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            host,
            limits,
            metrics,
            commands,
            now: now(),
            ready: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            listed: VecDeque::new(),
            listeners: Vec::new(),
            endpoints: Vec::new(),
            attempts: BTreeMap::new(),
            reached: BTreeMap::new(),
            local: Vec::new(),
            tls: None,
            side: Side::Endpoint,
            multicast: Vec::new(),
            accepted: 0,
            visits: BTreeMap::new(),
            handshakes: VecDeque::new(),
            open: 0,
            dirty: Vec::new(),
            pending: VecDeque::new(),
            lingering: VecDeque::new(),
            stuck: VecDeque::new(),
            buffer: vec![0; MAX_FRAME_LEN + Turn::BYTES],
            spare: Vec::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            ending: None,
        }
    }

    /// Accepts associations of a channel on a socket (see [`listen`]).
    pub fn add_listener(&mut self, channel: Channel, socket: TcpListener) {
        self.listen(channel, socket, false);
    }

    /// As [`Driver::add_listener`], without TLS even if there is some: whoever comes is nobody.
    pub fn add_plain_listener(&mut self, channel: Channel, socket: TcpListener) {
        self.listen(channel, socket, true);
    }

    fn listen(&mut self, channel: Channel, socket: TcpListener, plain: bool) {
        let slot = self.slot();
        self.listeners.push(slot);
        let listener = Listener { socket, channel, paused_until: None, plain };
        self.fill(slot, Content::Listener(listener));
    }

    /// Has all connections secured from now on, but for those that come to a plain listener.
    pub fn set_tls(&mut self, tls: Option<Tls>, side: Side) {
        self.tls = tls;
        self.side = side;
    }

    /// Accepts and opens SCTP associations of a channel on a socket (see [`listen_sctp`]). Without
    /// one, a socket on a port of the system's choice is opened when it is needed.
    pub fn add_sctp(&mut self, channel: Channel, socket: SctpSocket) {
        self.insert_endpoint(channel, socket, false);
    }

    /// Accepts SCTP associations without TLS even if there is some: whoever comes is nobody.
    pub fn add_plain_sctp(&mut self, channel: Channel, socket: SctpSocket) {
        self.insert_endpoint(channel, socket, true);
    }

    /// Addresses of this host that such a socket has; none, the default, means all.
    pub fn set_local(&mut self, local: Vec<IpAddr>) {
        self.local = local;
    }

    /// Hears announcements of a channel, and sends them if there is a `port` to send them from. Does
    /// nothing if no interface is allowed.
    pub fn add_announcements(
        &mut self,
        channel: Channel,
        announcements: Announcements,
        port: Option<u16>,
    ) {
        self.multicast.extend(multicast::Multicast::new(channel, announcements, port));
    }

    /// Runs the machine until it is told to stop or the last sender of commands is gone.
    pub async fn run(mut self) {
        // The cooperative budget would end a turn in the middle of its sockets; a turn has its own.
        tokio::task::unconstrained(poll_fn(move |context| self.turn(context))).await;
    }

    /// One turn: time, commands, sockets that are ready, then writes.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.now = now();
        if self.host.machine().next_timeout().is_some_and(|due| due <= self.now) {
            trace!("timeout");
            self.host.machine().handle_input(self.now, Input::Timeout);
        }
        // What was done to the machine before it was given to the driver wants a drain, too.
        self.settle();
        let Some(more_commands) = self.take_commands(context) else { return Poll::Ready(()) };
        self.end_lingering();
        self.end_stuck();
        self.resume_listeners();
        self.try_further();
        self.look_at_interfaces();

        self.ready.take(&mut self.listed, context.waker());
        for _ in 0..self.listed.len().min(Turn::SOCKETS) {
            if let Some(slot) = self.listed.pop_front() {
                self.poll_slot(slot);
            }
            if !self.listed.is_empty() && self.is_long() {
                break;
            }
        }
        self.flush_all();
        if self.host.on_turn().is_break() && self.ending.is_none() {
            self.end();
        }

        if let Some(until) = self.ending
            && (self.open == 0 || until <= self.now)
        {
            return Poll::Ready(());
        }
        let due = self.arm(context);
        if due || more_commands || !self.listed.is_empty() {
            // Unlike waking itself this lets the runtime look at its sockets in between.
            let _ = pin!(tokio::task::yield_now()).poll(context);
        }
        Poll::Pending
    }

    /// Whether this turn has lasted long enough.
    fn is_long(&self) -> bool {
        now().saturating_since(self.now) > Turn::TIME
    }

    /// Carries commands out; tells whether there may be more, or `None` if nobody is left.
    fn take_commands(&mut self, context: &mut Context<'_>) -> Option<bool> {
        if self.ending.is_some() {
            return Some(false);
        }
        for _ in 0..Turn::COMMANDS {
            match self.commands.poll_recv(context) {
                Poll::Pending => return Some(false),
                Poll::Ready(None) => return None,
                Poll::Ready(Some(command)) => {
                    let flow = self.host.on_command(self.now, command);
                    self.settle();
                    if flow.is_break() {
                        self.end();
                        return Some(false);
                    }
                }
            }
        }
        Some(true)
    }

    /// Gives everything up, but lets connections send what is queued.
    fn end(&mut self) {
        self.ending = Some(self.now + LINGER);
        self.commands.close();
        self.attempts.clear();
        for slot in 0..self.slots.len() {
            let slot = slot as u32;
            match self.slots[slot as usize].content {
                // Endpoints carry what associations have queued.
                Content::Free | Content::Endpoint(_) => {}
                Content::Listener(_)
                | Content::Attempt(_)
                | Content::Handshake(_)
                | Content::Receiver(_) => {
                    drop(self.vacate(slot));
                }
                Content::Connection(_) | Content::Association(_) => self.finish(slot),
            }
        }
    }

    /// Drains the machine, and tells it what came of that, until there is nothing left to tell.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.host.machine().poll_output() {
                self.carry_out(output);
            }
            let Some(input) = self.pending.pop_front() else { return };
            self.host.machine().handle_input(self.now, input);
        }
    }

    fn carry_out(&mut self, output: Output<<H::Machine as Machine>::Event>) {
        match output {
            Output::Transmit { assoc, ppid, bytes } => self.transmit(assoc, ppid, bytes),
            Output::Event(event) => self.host.on_event(self.now, event),
            Output::Connect { attempt, channel, to } => self.connect(attempt, channel, to),
            Output::Abandon { attempt } => {
                if let Some(slot) = self.attempts.remove(&attempt) {
                    drop(self.vacate(slot));
                }
            }
            Output::Disconnect { assoc } => {
                if let Some(slot) = self.slot_of(assoc) {
                    debug!(%assoc, "disconnecting");
                    self.finish(slot);
                }
            }
            Output::Multicast { channel, bytes } => {
                let sent = self.multicast.iter().map(|group| group.send(channel, &bytes)).sum();
                self.metrics.announcements_sent_total.add(sent);
            }
        }
    }

    /// Sets the alarm for whatever is due next; tells whether that is now.
    fn arm(&mut self, context: &mut Context<'_>) -> bool {
        let content = |slot: &u32| self.slots.get(*slot as usize).map(|place| &place.content);
        let pauses = self.listeners.iter().map(|slot| match content(slot) {
            Some(Content::Listener(listener)) => listener.paused_until,
            _ => None,
        });
        let attempts = self.attempts.values().map(|slot| match content(slot) {
            Some(Content::Attempt(attempt)) => attempt.next.map(|(at, _)| at),
            _ => None,
        });
        let next = [
            self.lingering.front().map(|(until, _)| *until),
            self.stuck.front().map(|(until, ..)| *until),
            self.multicast.iter().map(|multicast| multicast.next_look).min(),
            self.ending,
        ];
        let next = pauses.chain(attempts).chain(next).flatten().min();
        let next = next.into_iter().chain(self.host.machine().next_timeout()).min();
        let Some(next) = next else { return false };
        if next <= self.now {
            return true;
        }
        loop {
            // An alarm that comes too early is cheaper than setting it anew at every turn.
            if self.armed.is_none_or(|armed| armed > next) {
                let wait = next.saturating_since(now()).min(LONGEST_SLEEP);
                self.sleep.as_mut().reset(tokio::time::Instant::now() + wait);
                self.armed = Some(next);
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                return false;
            }
            self.armed = None;
            if next <= now() {
                return true;
            }
        }
    }
}

/// A machine that waits for longer is asked again after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);
