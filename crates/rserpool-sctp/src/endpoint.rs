//! The one-to-many socket (RFC 6458 §3).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use crate::association::Association;
use crate::config::Config;
use crate::event::{AssociationId, Event};
use crate::socket::{Outgoing, Path, SendInfo, Socket, Status};

/// A one-to-many socket: accepts and opens any number of associations from one port.
///
/// Its associations share a send and a receive buffer (unless the host says otherwise, see
/// [`Config::send_buffer`]): a peer that does not read can hold up sending to all others. Look at
/// [`Status::unacknowledged`] and [peel off](Self::peel_off) or [abort](Self::abort) such an
/// association; use [`Self::try_send`] where waiting would be wrong.
///
/// One task at a time should receive; any number may send. Dropping the endpoint closes its associations
/// gracefully in the background, but aborts those with messages that were not read.
#[derive(Debug)]
pub struct Endpoint {
    socket: Socket,
}

impl Endpoint {
    /// Binds to these addresses and listens. With port 0 the kernel chooses one, the same for all
    /// addresses; all ports given must be equal. `0.0.0.0` and `::` stand for all addresses of the host
    /// (`::` for IPv4 too, unless the sysctl `net.ipv6.bindv6only` is set), each of which is announced to
    /// peers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Unsupported` if the host has no SCTP; `InvalidInput` for no addresses or different ports;
    /// `AddrInUse`, `AddrNotAvailable` and `PermissionDenied` as with any socket.
    pub fn bind(addresses: &[SocketAddr], config: &Config) -> io::Result<Self> {
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to bind to"));
        }
        let socket = Socket::open(addresses.iter().any(SocketAddr::is_ipv6), addresses, config)?;
        socket.listen()?;
        Ok(Self { socket })
    }

    /// Begins an association with the peer that has these addresses (one is enough: it tells the others)
    /// and gives its id at once. [`Event::Up`] or [`Event::ConnectFailed`] follows. The ports must be
    /// equal; the first address is tried first.
    ///
    /// # Errors
    /// `EISCONN` or `EALREADY` if there is an association with one of these addresses from this endpoint,
    /// standing or being set up; `InvalidInput` for no addresses or different ports.
    pub fn connect(&self, peer: &[SocketAddr]) -> io::Result<AssociationId> {
        self.socket.connect(peer)
    }

    /// The next message or notification of any association.
    ///
    /// # Errors
    /// None that a caller could do something about; the endpoint stays usable.
    pub async fn recv(&self) -> io::Result<Event> {
        self.socket.recv().await
    }

    /// Waits for at least one event and appends all that one system call brings, at most 16 and those
    /// already read. Returns how many.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub async fn recv_many(&self, events: &mut Vec<Event>) -> io::Result<usize> {
        let first = self.recv().await?;
        let before = events.len();
        events.push(first);
        self.socket.drain(events);
        Ok(events.len() - before)
    }

    /// As [`Self::recv`], without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived.
    pub fn try_recv(&self) -> io::Result<Event> {
        self.socket.try_recv()
    }

    /// As [`Self::recv`], for futures written by hand: if nothing has arrived, the task of the last call is
    /// woken when something may have.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        self.socket.poll_recv(context)
    }

    /// Sends one message, waiting for room in the send buffer. Done means queued: the message arrives
    /// unless [`Event::SendFailed`] or [`Event::Lost`] says otherwise. A future that is dropped before it
    /// is done has sent nothing.
    ///
    /// # Errors
    /// `BrokenPipe` if the association does not exist (any more); `EMSGSIZE` for a message longer than
    /// the send buffer; `InvalidInput` for an empty message or a stream the association has not.
    pub async fn send(
        &self,
        association: AssociationId,
        data: &[u8],
        info: SendInfo,
    ) -> io::Result<()> {
        self.socket.send_many(&[Outgoing { association, info, data }]).await.map(drop)
    }

    /// As [`Self::send`], without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if the send buffer is full, and as [`Self::send`].
    pub fn try_send(
        &self,
        association: AssociationId,
        data: &[u8],
        info: SendInfo,
    ) -> io::Result<()> {
        self.socket.try_send_many(&[Outgoing { association, info, data }]).map(drop)
    }

    /// Sends messages from the front of the list by one system call, waiting until there is room for one.
    /// Returns how many have been sent, at most 16; none only if the list is empty.
    ///
    /// # Errors
    /// As [`Self::send`], about the first message of the list. An error about a later one appears when
    /// that has become the first.
    pub async fn send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        self.socket.send_many(messages).await
    }

    /// As [`Self::send_many`], for futures written by hand: if there is no room for the first message, the
    /// task of the last call is woken when there may be.
    ///
    /// # Errors
    /// As [`Self::send_many`].
    pub fn poll_send_many(
        &self,
        context: &mut Context<'_>,
        messages: &[Outgoing<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_send_many(context, messages)
    }

    /// Gives an association a socket, and so buffers, of its own. Port and addresses stay, and what has
    /// arrived for it and was not received here is received there. Afterwards this endpoint knows nothing
    /// of the association.
    ///
    /// # Errors
    /// `InvalidInput` if the association does not exist (any more); `EMFILE` if the process has no more
    /// descriptors.
    pub fn peel_off(&self, association: AssociationId) -> io::Result<Association> {
        Ok(Association::new(self.socket.peel_off(association)?, association))
    }

    /// Begins a graceful close: what was sent is delivered first, then [`Event::Closed`] follows.
    ///
    /// # Errors
    /// `BrokenPipe` if the association does not exist (any more).
    pub fn shutdown(&self, association: AssociationId) -> io::Result<()> {
        self.socket.shutdown(association)
    }

    /// Ends an association at once and without regard to what is under way, telling the peer a reason
    /// (short, or empty). [`Event::Lost`] follows on both sides.
    ///
    /// # Errors
    /// `BrokenPipe` if the association does not exist (any more).
    pub fn abort(&self, association: AssociationId, reason: &[u8]) -> io::Result<()> {
        self.socket.abort(association, reason)
    }

    /// The addresses bound, with their port. All addresses of the host if bound to `0.0.0.0` or `::`.
    ///
    /// # Errors
    /// None to be expected.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.socket.local_addrs(None)
    }

    /// The local addresses of one association, with their port: those of the addresses bound that its
    /// peer was told, and not, for instance, the loopback address if the peer is another host.
    ///
    /// # Errors
    /// `InvalidInput` if the association does not exist (any more).
    pub fn local_addrs_of(&self, association: AssociationId) -> io::Result<Vec<SocketAddr>> {
        self.socket.local_addrs(Some(association))
    }

    /// The addresses of the peer of an association, the ones it announced included.
    ///
    /// # Errors
    /// `InvalidInput` if the association does not exist (any more).
    pub fn peer_addrs(&self, association: AssociationId) -> io::Result<Vec<SocketAddr>> {
        self.socket.peer_addrs(association)
    }

    /// A look at an association.
    ///
    /// # Errors
    /// `InvalidInput` if the association does not exist (any more).
    pub fn status(&self, association: AssociationId) -> io::Result<Status> {
        self.socket.status(association)
    }

    /// A look at one of the addresses of an association's peer.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such association or address.
    pub fn path(&self, association: AssociationId, address: SocketAddr) -> io::Result<Path> {
        self.socket.path(association, address)
    }
}

/// For socket options this crate does not have. Do not receive on it, do not change notifications, and
/// do not enable further control messages.
impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}
