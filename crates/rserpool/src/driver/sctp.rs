//! SCTP under a driver.
//!
//! ```text
//!   Endpoint: one socket, one port, one channel         Association: a slot of the driver
//!      known: kernel's id -> slot of the attempt           Home::Shared(endpoint, id)
//!             or of the association                        Home::Own(socket of its own)
//!      waiting: associations with something to send        queue: messages, not yet the kernel's
//! ```
//!
//! All associations of an endpoint share its send buffer, so that one peer that does not read would
//! hold up all others. Those that come near to it are *peeled off*: they get a socket, and so a
//! buffer, of their own, with port and addresses as before. Registrars are at once.
//!
//! In a secured scope an association is the machine's only when the other end has proved who it is; until
//! then it is in its slot and says nothing to anybody ([`securing`]).

mod associations;
mod securing;
mod sending;

use super::connection::{Content, Slot};
use super::{BindError, Driver, Hosted};
use crate::proto::id::AssociationId;
use crate::proto::machine::{Channel, Locator, TransportKind};
use crate::proto::time::Instant;
use crate::proto::wire::framer::MAX_FRAME_LEN;
use crate::proto::wire::transport::Addresses;
use crate::tls::{self, Expected, Records, Tls};
use rserpool_sctp as kernel;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Sleep, timeout};
use tracing::info;

/// An SCTP socket that listens; see [`listen_sctp`].
#[derive(Debug)]
pub struct SctpSocket(kernel::Endpoint);

impl SctpSocket {
    /// Its addresses; all of this host's if it listens on `0.0.0.0` or `::`.
    ///
    /// # Errors
    /// None to be expected.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.local_addrs()
    }
}

/// Whether this host's kernel has SCTP.
pub fn is_sctp_available() -> bool {
    kernel::is_available()
}

/// Listens on addresses of this host, all of one port, by SCTP; port 0 lets the system choose.
///
/// # Errors
/// [`BindError`] with the first of the addresses if one is in use, not of this host or not allowed,
/// or if the host has no SCTP ([`io::ErrorKind::Unsupported`]).
pub fn listen_sctp(addresses: &[SocketAddr]) -> Result<SctpSocket, BindError> {
    let address = addresses.first().copied();
    let address = address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    open(addresses).map_err(|source| BindError { address, source })
}

/// Opens an association with a server at these addresses, all of one port, and closes it again: there
/// is no other way to see that a server of any protocol takes associations.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] if nobody listens there, and after some seconds also if nobody
/// answers; [`io::ErrorKind::Unsupported`] if this host has no SCTP.
///
/// # Panics
/// Outside a tokio runtime with time and net enabled.
pub async fn probe_sctp(addresses: &[SocketAddr]) -> io::Result<()> {
    let config = kernel::Config::fast_failover();
    let association = kernel::Association::connect(addresses, &[], &config).await?;
    // In order, so that the server has nothing to log; it takes no waiting. If it is gone already
    // that is as well.
    let _ = association.shutdown();
    Ok(())
}

/// An association with a registrar for questions and answers, with no machine behind it.
pub(crate) struct Call {
    association: kernel::Association,
    ppid: u32,
    tls: Option<Box<Records>>,
}

impl Call {
    /// Opens one for messages of this identifier.
    pub(crate) async fn connect(
        addresses: &[SocketAddr],
        ppid: u32,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        let config =
            kernel::Config { max_message_size: MAX_FRAME_LEN, ..kernel::Config::fast_failover() };
        let association = kernel::Association::connect(addresses, &[], &config).await?;
        let mut call = Self { association, ppid, tls: None };
        if let (Some(tls), Some(to)) = (tls, addresses.first()) {
            let records =
                Records::client(tls, *to, Expected::Registrar).map_err(io::Error::other)?;
            call.tls = Some(Box::new(records));
            timeout(tls::HANDSHAKE, call.shake_hands()).await??;
        }
        Ok(call)
    }

    async fn shake_hands(&mut self) -> io::Result<()> {
        loop {
            self.send_records().await?;
            if !self.tls.as_ref().is_some_and(|records| records.is_handshaking()) {
                return Ok(());
            }
            self.take_message().await?;
        }
    }

    async fn send_records(&mut self) -> io::Result<()> {
        let record = self.tls.as_mut().and_then(|records| records.outgoing());
        let Some(record) = record else { return Ok(()) };
        self.association.send(&record, kernel::SendInfo::ppid(self.ppid)).await
    }

    pub(crate) fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.association.local_addrs()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let info = kernel::SendInfo::ppid(self.ppid);
        let Some(records) = &mut self.tls else { return self.association.send(bytes, info).await };
        let mut sealed = Vec::new();
        records.seal(bytes.to_vec(), |record| sealed.push(record));
        for record in sealed {
            self.association.send(&record, info).await?;
        }
        Ok(())
    }

    /// The next message of the protocol.
    pub(crate) async fn recv(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(records) = &mut self.tls
                && let Some(message) = records.next_frame().map_err(io::Error::other)?
            {
                return Ok(message);
            }
            if let Some(message) = self.take_message().await? {
                return Ok(message);
            }
        }
    }

    /// Waits for a user message: gives it if it is one of the protocol, and otherwise to TLS.
    async fn take_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match (self.association.recv().await?, &mut self.tls) {
                (kernel::Event::Message(message), Some(records)) => {
                    let taken = records.take(&message.data);
                    // What it is that is not believed.
                    self.send_records().await?;
                    return taken.map(|()| None).map_err(io::Error::other);
                }
                (kernel::Event::Message(message), None) if message.ppid == self.ppid => {
                    return Ok(Some(message.data));
                }
                (event, _) if event.is_end() => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }
}

fn open(addresses: &[SocketAddr]) -> io::Result<SctpSocket> {
    let config = kernel::Config {
        max_message_size: MAX_FRAME_LEN,
        send_buffer: Some(BUFFER),
        receive_buffer: Some(BUFFER),
        ..kernel::Config::fast_failover()
    };
    kernel::Endpoint::bind(addresses, &config).map(SctpSocket)
}

/// What is asked for a socket's buffers; the kernel gives what `net.core.wmem_max` and `rmem_max`
/// allow.
const BUFFER: usize = 4 << 20;

/// An SCTP socket of a channel.
pub(super) struct Endpoint {
    socket: kernel::Endpoint,
    channel: Channel,
    /// Whoever comes is not asked who it is, nothing is secured, and nobody is connected to from here.
    plain: bool,
    /// The slots of attempts and associations by the kernel's id.
    known: BTreeMap<kernel::AssociationId, u32>,
    /// Slots of associations with something to send, each once, in the order of their first message.
    waiting: VecDeque<u32>,
    /// The socket takes no more for now.
    blocked: bool,
    /// On the driver's list of what is to be flushed.
    dirty: bool,
}

/// An attempt to open an association.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    endpoint: u32,
    id: kernel::AssociationId,
    began: Instant,
    /// The slot of the association, once it is there and is being secured.
    securing: Option<u32>,
}

/// An SCTP association.
pub(super) struct Association {
    pub(super) assoc: AssociationId,
    pub(super) accepted: bool,
    /// No longer the machine's: its messages are sent, then it is closed.
    pub(super) closing: bool,
    channel: Channel,
    remote: Locator,
    home: Home,
    /// Secures it.
    tls: Option<Box<Records>>,
    /// Until it is secured; the machine does not know of it.
    securing: Option<Securing>,
    /// PPID and bytes of messages that the kernel has not taken yet.
    queue: VecDeque<(u32, Vec<u8>)>,
    /// Their bytes.
    queued: usize,
    /// On a list of what is to be flushed: the driver's, or the endpoint's.
    dirty: bool,
    /// Its own socket takes no more for now.
    blocked: bool,
    /// Messages that the kernel has taken.
    sent: u64,
    /// How many of them since the kernel was asked what has arrived.
    unchecked: u32,
    /// How many of them since something was heard.
    unanswered: u32,
}

/// What is to be when an association is secured, or is not going to be.
struct Securing {
    /// It has to be then.
    until: Pin<Box<Sleep>>,
    /// The slot of the attempt that it is for; none if others have opened it.
    attempt: Option<u32>,
}

impl Association {
    /// Whether the machine knows of it, or has.
    pub(super) fn is_known(&self) -> bool {
        self.securing.is_none()
    }
}

/// The socket of an association.
enum Home {
    Shared { endpoint: u32, id: kernel::AssociationId },
    Own(Box<kernel::Association>),
}

impl Slot {
    /// Notes that an attempt is under way over SCTP.
    pub(super) fn set_pending(&mut self, pending: Pending) {
        if let Content::Attempt(attempt) = &mut self.content {
            attempt.sctp = Some(pending);
        }
    }
}

impl<H: Hosted> Driver<H> {
    pub(super) fn insert_endpoint(
        &mut self,
        channel: Channel,
        socket: SctpSocket,
        plain: bool,
    ) -> u32 {
        let slot = self.slot();
        self.endpoints.push(slot);
        let endpoint = Endpoint {
            socket: socket.0,
            channel,
            plain,
            known: BTreeMap::new(),
            waiting: VecDeque::new(),
            blocked: false,
            dirty: false,
        };
        self.fill(slot, Content::Endpoint(endpoint));
        slot
    }

    /// Begins to connect from the socket of the channel.
    pub(super) fn connect_sctp(
        &mut self,
        slot: u32,
        channel: Channel,
        to: &Locator,
    ) -> io::Result<Pending> {
        let addresses: Vec<SocketAddr> = to.socket_addrs().collect();
        let endpoint = self.endpoint_for(channel, &addresses)?;
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let known = endpoint_of(&mut self.slots, endpoint).ok_or_else(gone)?;
        let id = match known.socket.connect(&addresses) {
            // There is one to the same peer. If it has been given up it need not end in order.
            Err(error) if error.raw_os_error() == Some(ISCONN) => {
                let closing = self.closing_to(endpoint, &addresses).ok_or(error)?;
                self.abort_sctp(closing);
                drop(self.vacate(closing));
                let known = endpoint_of(&mut self.slots, endpoint).ok_or_else(gone)?;
                known.socket.connect(&addresses)?
            }
            result => result?,
        };
        if let Some(known) = endpoint_of(&mut self.slots, endpoint) {
            known.known.insert(id, slot);
        }
        Ok(Pending { endpoint, id, began: self.now, securing: None })
    }

    /// An association that is being closed to a peer with one of these addresses.
    fn closing_to(&self, endpoint: u32, addresses: &[SocketAddr]) -> Option<u32> {
        let Content::Endpoint(known) = &self.slots.get(endpoint as usize)?.content else {
            return None;
        };
        known.known.values().copied().find(|slot| {
            let content = self.slots.get(*slot as usize).map(|place| &place.content);
            let Some(Content::Association(association)) = content else { return false };
            association.closing
                && association.remote.socket_addrs().any(|address| addresses.contains(&address))
        })
    }

    /// The socket to connect from: one of the channel's that can reach such an address, or a new one.
    fn endpoint_for(&mut self, channel: Channel, to: &[SocketAddr]) -> io::Result<u32> {
        for slot in &self.endpoints {
            let content = self.slots.get(*slot as usize).map(|place| &place.content);
            let Some(Content::Endpoint(endpoint)) = content else { continue };
            // From a loopback address nobody else is reached.
            let kind = |address: &SocketAddr| (address.is_ipv4(), address.ip().is_loopback());
            let reaches = |from: &SocketAddr| to.iter().any(|to| kind(to) == kind(from));
            let usable = endpoint.channel == channel && !endpoint.plain;
            if usable && endpoint.socket.local_addrs()?.iter().any(reaches) {
                return Ok(*slot);
            }
        }
        let local = |ip: &IpAddr| SocketAddr::new(*ip, 0);
        let socket = if self.local.is_empty() {
            // Where IPv6 is switched off, IPv4 is all there is.
            open(&[(Ipv6Addr::UNSPECIFIED, 0).into()])
                .or_else(|_| open(&[(Ipv4Addr::UNSPECIFIED, 0).into()]))?
        } else {
            open(&self.local.iter().map(local).collect::<Vec<_>>())?
        };
        let addresses = socket.local_addrs()?;
        info!(?channel, ?addresses, "SCTP socket opened");
        Ok(self.insert_endpoint(channel, socket, false))
    }

    /// Gives an attempt up.
    pub(super) fn give_up_sctp(&mut self, pending: &Pending) {
        if let Some(association) = pending.securing {
            self.abort_sctp(association);
            drop(self.vacate(association));
            return;
        }
        if let Some(endpoint) = endpoint_of(&mut self.slots, pending.endpoint) {
            endpoint.known.remove(&pending.id);
            // If it is gone already that is as well.
            let _ = endpoint.socket.abort(pending.id, b"");
        }
    }

    /// Makes an endpoint forget an association that is no longer in a slot.
    pub(super) fn unlist_sctp(&mut self, association: &Association) {
        if let Home::Shared { endpoint, id } = association.home
            && let Some(endpoint) = endpoint_of(&mut self.slots, endpoint)
        {
            endpoint.known.remove(&id);
            if association.dirty {
                let slot = association.assoc.0 as u32;
                endpoint.waiting.retain(|waiting| *waiting != slot);
            }
        }
    }

    fn is_attempt(&self, slot: u32) -> bool {
        let content = self.slots.get(slot as usize).map(|place| &place.content);
        matches!(content, Some(Content::Attempt(_)))
    }

    /// The locators of both ends; an error if it is gone already.
    fn ends(&self, home: &Home) -> io::Result<(Locator, Locator)> {
        let (local, remote) = match home {
            Home::Own(socket) => (socket.local_addrs()?, socket.peer_addrs()?),
            Home::Shared { endpoint, id } => {
                let content = self.slots.get(*endpoint as usize).map(|place| &place.content);
                let Some(Content::Endpoint(endpoint)) = content else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                (endpoint.socket.local_addrs_of(*id)?, endpoint.socket.peer_addrs(*id)?)
            }
        };
        Ok((locator(&local)?, locator(&remote)?))
    }
}

fn locator(addresses: &[SocketAddr]) -> io::Result<Locator> {
    let port = addresses.first().map(SocketAddr::port);
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    match (port, Addresses::new(&ips)) {
        (Some(port), Some(addresses)) => {
            Ok(Locator { transport: TransportKind::Sctp, addresses, port })
        }
        _ => Err(io::ErrorKind::NotConnected.into()),
    }
}

fn endpoint_of(slots: &mut [Slot], slot: u32) -> Option<&mut Endpoint> {
    match &mut slots.get_mut(slot as usize)?.content {
        Content::Endpoint(endpoint) => Some(endpoint),
        _ => None,
    }
}

fn association_of(slots: &mut [Slot], slot: u32) -> Option<&mut Association> {
    match &mut slots.get_mut(slot as usize)?.content {
        Content::Association(association) => Some(association),
        _ => None,
    }
}

/// The kernel does not tell whether an attempt was refused or not answered, but the time does: nobody
/// refuses after this, and it takes longer to give up.
const REFUSAL: Duration = Duration::from_secs(2);

/// "Already connected": an association with such an address exists.
const ISCONN: i32 = rustix::io::Errno::ISCONN.raw_os_error();
