//! What one-to-many endpoints and single associations have in common.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::addr;
use crate::config::{Config, Rto};
use crate::event::{AssociationId, Event};
use crate::inbox::Inbox;
use crate::sys::{self, Departure, Plain, SndInfo};

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendInfo {
    /// The stream, below the number of outbound streams. Messages of one stream arrive in order.
    pub stream: u16,
    /// Payload protocol identifier, in host order: carried to the peer, of no meaning to SCTP. 0 means
    /// none.
    pub ppid: u32,
    /// Lets the message overtake others of its stream.
    pub unordered: bool,
    /// Comes back in [`Event::SendFailed`].
    pub context: u32,
}

impl SendInfo {
    /// Stream 0, in order, with this payload protocol identifier.
    pub const fn ppid(ppid: u32) -> Self {
        Self { stream: 0, ppid, unordered: false, context: 0 }
    }

    fn raw(self, to: AssociationId, flags: u16) -> SndInfo {
        let flags = flags | if self.unordered { sys::UNORDERED } else { 0 };
        let (stream, ppid, context) = (self.stream, self.ppid.to_be(), self.context);
        SndInfo { stream, flags, ppid, context, assoc_id: to.as_raw() }
    }
}

/// A message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub association: AssociationId,
    /// How.
    pub info: SendInfo,
    /// What; not empty.
    pub data: &'a [u8],
}

/// A look at an association (RFC 6458 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub state: AssociationState,
    /// Bytes the peer will still take.
    pub peer_window: u32,
    /// Chunks sent and not acknowledged. A number that stays high is a peer that does not read.
    pub unacknowledged: u16,
    /// Chunks received and not read.
    pub pending: u16,
    /// Streams from the peer.
    pub inbound_streams: u16,
    /// Streams to the peer.
    pub outbound_streams: u16,
    /// The path that is used as long as it works.
    pub primary: Path,
}

/// Where an association is in its life (RFC 9260 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AssociationState {
    /// Connecting: COOKIE-WAIT or COOKIE-ECHOED.
    Connecting,
    /// It stands.
    Established,
    /// One side has begun to close it.
    Closing,
    /// Closed, or a state this crate has no words for.
    Closed,
}

/// A look at one of the peer's addresses (RFC 6458 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The peer's address.
    pub address: SocketAddr,
    /// Whether it can be used.
    pub state: PathState,
    /// Congestion window in bytes.
    pub congestion_window: u32,
    /// Smoothed round-trip time, to the millisecond; zero before the first measurement.
    pub round_trip: Duration,
    /// Retransmission timeout, to the millisecond.
    pub retransmission_timeout: Duration,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// Whether a path can be used (RFC 6458 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathState {
    /// Not reachable.
    Inactive,
    /// A timeout has occurred, another path is preferred.
    PotentiallyFailed,
    /// In working order.
    Active,
    /// No heartbeat answered yet: never used for data.
    Unconfirmed,
    /// A state this crate has no words for.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Socket {
    fd: AsyncFd<socket2::Socket>,
    /// Locked within a call, never across an await.
    inbox: Mutex<Inbox>,
}

impl Socket {
    /// A socket with its options set, bound if there are local addresses.
    pub(crate) fn open(ipv6: bool, local: &[SocketAddr], config: &Config) -> io::Result<Self> {
        let socket = sys::open(ipv6)?;
        if let Some(size) = config.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = config.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        let this = Self::register(socket, Inbox::new(config.max_message_size))?;
        this.configure(config)?;
        if !local.is_empty() {
            sys::set_bytes(this.fd(), sys::BINDX_ADD, &addr::encode_all(local))?;
        }
        Ok(this)
    }

    fn register(socket: socket2::Socket, inbox: Inbox) -> io::Result<Self> {
        Ok(Self { fd: sys::register(socket)?, inbox: Mutex::new(inbox) })
    }

    fn configure(&self, config: &Config) -> io::Result<()> {
        let fd = self.fd();
        // Not SENDER_DRY: it comes after every answer of a server.
        for kind in [
            sys::ASSOC_CHANGE,
            sys::PEER_ADDR_CHANGE,
            sys::SEND_FAILED_EVENT,
            sys::SHUTDOWN_EVENT,
            sys::PARTIAL_DELIVERY_EVENT,
        ] {
            sys::set_option(fd, sys::EVENT, &sys::Subscribe { assoc_id: 0, kind, on: 1 })?;
        }
        sys::set_option(fd, sys::RECVRCVINFO, &1)?;
        // Linux begins at level 0, at which one association in the middle of a long message keeps all
        // others waiting.
        sys::set_option(fd, sys::FRAGMENT_INTERLEAVE, &1)?;
        sys::set_option(fd, sys::NODELAY, &i32::from(config.nodelay))?;
        let init_timeout = config.init_max_timeout.map_or(0, millis);
        let init = sys::InitMsg {
            out_streams: config.outbound_streams.unwrap_or(0),
            in_streams: config.max_inbound_streams.unwrap_or(0),
            max_attempts: config.init_max_attempts.unwrap_or(0),
            max_timeout: u16::try_from(init_timeout).unwrap_or(u16::MAX),
        };
        sys::set_option(fd, sys::INITMSG, &init)?;
        if let Some(Rto { initial, min, max }) = config.rto {
            let (initial, min, max) = (millis(initial), millis(min), millis(max));
            sys::set_option(fd, sys::RTOINFO, &sys::RtoInfo { assoc_id: 0, initial, max, min })?;
        }
        if let Some(max_rxt) = config.association_max_retrans {
            let params = sys::AssocParams { max_rxt, ..sys::AssocParams::zero() };
            sys::set_option(fd, sys::ASSOCINFO, &params)?;
        }
        let heartbeat = config.heartbeat_interval.map_or(0, |_| sys::HB_ENABLE);
        let sack_delay = config.sack_delay.map_or(0, |_| sys::SACK_DELAY_ENABLE);
        let params = sys::PaddrParams {
            hb_interval: config.heartbeat_interval.map_or(0, millis),
            path_max_rxt: config.path_max_retrans.unwrap_or(0),
            sack_delay: config.sack_delay.map_or(0, millis),
            flags: heartbeat | sack_delay,
            ..sys::PaddrParams::zero()
        };
        sys::set_option(fd, sys::PEER_ADDR_PARAMS, &params)?;
        if let Some(idle) = config.autoclose {
            let seconds = idle.as_millis().div_ceil(1000);
            let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
            sys::set_option(fd, sys::AUTOCLOSE, &seconds)?;
        }
        Ok(())
    }

    pub(crate) fn listen(&self) -> io::Result<()> {
        // A one-to-many socket has no queue of associations to accept: the number means "yes".
        self.fd.get_ref().listen(1).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSYS) => io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel lacks the hash for SCTP's cookie: load the modules hmac and sha1 (or md5), \
                 or set net.sctp.cookie_hmac_alg to none",
            ),
            _ => error,
        })
    }

    pub(crate) fn connect(&self, remote: &[SocketAddr]) -> io::Result<AssociationId> {
        if remote.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to"));
        }
        sys::connectx(self.fd(), &addr::encode_all(remote)).map(AssociationId::from_raw)
    }

    /// The association on a socket of its own, with all that has been read for it here.
    pub(crate) fn peel_off(&self, association: AssociationId) -> io::Result<Self> {
        // Locked over both steps, so that nobody reads what should go along.
        let mut inbox = self.inbox();
        let socket = sys::peel_off(self.fd(), association.as_raw())?;
        Self::register(socket, inbox.split_off(association))
    }

    pub(crate) async fn recv(&self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.inbox().pop() {
                return Ok(event);
            }
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|_| self.try_recv()) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    pub(crate) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        loop {
            if let Some(event) = self.inbox().pop() {
                return Poll::Ready(Ok(event));
            }
            let mut ready = ready!(self.fd.poll_read_ready(context))?;
            match ready.try_io(|_| {
                sys::receive(self.fd(), sys::BATCH, |arrival| self.inbox().push(arrival))
            }) {
                // What has come since is noticed all the same, and costs no call that finds nothing.
                Ok(Ok(received)) if received < sys::BATCH => ready.clear_ready(),
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Appends what has been read already.
    pub(crate) fn drain(&self, events: &mut Vec<Event>) {
        events.extend(self.inbox().drain());
    }

    pub(crate) fn try_recv(&self) -> io::Result<Event> {
        let mut inbox = self.inbox();
        loop {
            if let Some(event) = inbox.pop() {
                return Ok(event);
            }
            // May bring nothing but parts.
            sys::receive(self.fd(), sys::BATCH, |arrival| inbox.push(arrival))?;
        }
    }

    /// Appends what has been read already, and what a call brings that reads so many parts at most.
    pub(crate) fn try_recv_few(&self, most: usize, events: &mut Vec<Event>) -> io::Result<usize> {
        let mut inbox = self.inbox();
        events.extend(inbox.drain());
        let received = sys::receive(self.fd(), most, |arrival| inbox.push(arrival))?;
        events.extend(inbox.drain());
        Ok(received)
    }

    pub(crate) async fn send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        // The first attempt does not ask whether the socket is writable: with buffers per association
        // it may be so for this association after it was not for another.
        match self.try_send_many(messages) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        loop {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|_| self.try_send_many(messages)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    pub(crate) fn poll_send_many(
        &self,
        context: &mut Context<'_>,
        messages: &[Outgoing<'_>],
    ) -> Poll<io::Result<usize>> {
        // As in `send_many`.
        match self.try_send_many(messages) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        self.poll_send_when_ready(context, messages)
    }

    /// For a socket of one association, which need not be asked before it is writable.
    pub(crate) fn poll_send_when_ready(
        &self,
        context: &mut Context<'_>,
        messages: &[Outgoing<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.fd.poll_write_ready(context))?;
            match ready.try_io(|_| self.try_send_many(messages)) {
                Ok(Ok(sent)) => {
                    // What becomes free meanwhile is noticed all the same, and costs no call in vain.
                    if sent < messages.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(sent));
                }
                Ok(error) => return Poll::Ready(error),
                Err(_would_block) => {}
            }
        }
    }

    pub(crate) fn try_send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        let departures = messages.iter().map(|message| Departure {
            info: message.info.raw(message.association, 0),
            data: message.data,
        });
        sys::send(self.fd(), departures)
    }

    /// Begins a graceful close (SCTP_EOF) once what was sent has arrived.
    pub(crate) fn shutdown(&self, association: AssociationId) -> io::Result<()> {
        self.control(association, sys::EOF, &[])
    }

    /// Ends the association at once, telling the peer why (SCTP_ABORT).
    pub(crate) fn abort(&self, association: AssociationId, reason: &[u8]) -> io::Result<()> {
        self.control(association, sys::ABORT, reason)
    }

    fn control(&self, association: AssociationId, flag: u16, data: &[u8]) -> io::Result<()> {
        let info = SendInfo::default().raw(association, flag);
        sys::send(self.fd(), [Departure { info, data }].into_iter()).map(drop)
    }

    pub(crate) fn local_addrs(&self, id: Option<AssociationId>) -> io::Result<Vec<SocketAddr>> {
        self.addrs(sys::GET_LOCAL_ADDRS, id)
    }

    pub(crate) fn peer_addrs(&self, id: AssociationId) -> io::Result<Vec<SocketAddr>> {
        self.addrs(sys::GET_PEER_ADDRS, Some(id))
    }

    /// `struct sctp_getaddrs`: the id goes in, the number of addresses and the packed addresses come out.
    fn addrs(&self, option: i32, id: Option<AssociationId>) -> io::Result<Vec<SocketAddr>> {
        let mut buffer = vec![0; MAX_ADDRS_BYTES];
        for (to, from) in buffer.iter_mut().zip(id.map_or(0, AssociationId::as_raw).to_ne_bytes()) {
            *to = from;
        }
        sys::get_bytes(self.fd(), option, &mut buffer)?;
        let count = buffer.get(4..).and_then(|rest| rest.first_chunk::<4>()).copied();
        let count = u32::from_ne_bytes(count.unwrap_or_default()) as usize;
        Ok(addr::decode_all(buffer.get(8..).unwrap_or_default(), count))
    }

    pub(crate) fn status(&self, id: AssociationId) -> io::Result<Status> {
        let mut info = sys::StatusInfo { assoc_id: id.as_raw(), ..sys::StatusInfo::zero() };
        sys::get_option(self.fd(), sys::STATUS, &mut info)?;
        Ok(Status {
            state: match info.state {
                2 | 3 => AssociationState::Connecting,
                4 => AssociationState::Established,
                5..=8 => AssociationState::Closing,
                _ => AssociationState::Closed,
            },
            peer_window: info.rwnd,
            unacknowledged: info.unacked,
            pending: info.pending,
            inbound_streams: info.in_streams,
            outbound_streams: info.out_streams,
            primary: path(&info.primary)?,
        })
    }

    pub(crate) fn path(&self, id: AssociationId, address: SocketAddr) -> io::Result<Path> {
        let address = addr::encode_storage(&address);
        let mut info = sys::PaddrInfo { assoc_id: id.as_raw(), address, ..sys::PaddrInfo::zero() };
        sys::get_option(self.fd(), sys::GET_PEER_ADDR_INFO, &mut info)?;
        path(&info)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        sys::fd(&self.fd)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing panics with the lock held; and if it did, an inbox has no invariant to break.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for some 140 addresses; a packet announcing that many would not fit an Ethernet frame.
const MAX_ADDRS_BYTES: usize = 4096;

fn path(info: &sys::PaddrInfo) -> io::Result<Path> {
    let no_address = || io::Error::new(io::ErrorKind::InvalidData, "a path without an address");
    let (address, _) = addr::decode(&info.address).ok_or_else(no_address)?;
    Ok(Path {
        address,
        state: match info.state {
            0 => PathState::Inactive,
            1 => PathState::PotentiallyFailed,
            2 => PathState::Active,
            3 => PathState::Unconfirmed,
            _ => PathState::Unknown,
        },
        congestion_window: info.cwnd,
        round_trip: Duration::from_millis(info.srtt.into()),
        retransmission_timeout: Duration::from_millis(info.rto.into()),
        mtu: info.mtu,
    })
}

/// To the kernel a zero means "as it is".
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}
