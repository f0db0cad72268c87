//! Single associations, each with a socket and buffers of its own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::event::{AssociationId, Event};
use crate::socket::{Outgoing, Path, SendInfo, Socket, Status};

/// One association on a socket of its own: [connected](Self::connect), [accepted](Listener::accept) or
/// [peeled off](Endpoint::peel_off).
///
/// One task at a time should receive; any number may send. Dropping it closes it gracefully in the
/// background, or aborts it if messages were not read; [`Self::close`] waits for the end.
//
// All of these are one-to-many sockets underneath, also where one association is connected or accepted.
// A one-to-one socket (SOCK_STREAM) would report the peer's shutdown as end of file and as readable for
// ever, while the association still lives; here every end is a notification, once.
#[derive(Debug)]
pub struct Association {
    socket: Socket,
    id: AssociationId,
    /// The end has been given out; only failed sends may follow.
    ended: AtomicBool,
}

impl Association {
    pub(crate) fn new(socket: Socket, id: AssociationId) -> Self {
        Self { socket, id, ended: AtomicBool::new(false) }
    }

    /// Connects to the peer that has these addresses (one is enough: it tells the others; the ports must
    /// be equal), from the local addresses given, or from all of the host's and a port the kernel chooses
    /// if none are given. Gives up as [`Config::init_max_attempts`] says; dropping the future gives up at
    /// once. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Unsupported` if the host has no SCTP; `ConnectionRefused` if nobody listens there and also if
    /// nobody answered (see [`Event::ConnectFailed`]); and those of [`Endpoint::bind`].
    pub async fn connect(
        peer: &[SocketAddr],
        local: &[SocketAddr],
        config: &Config,
    ) -> io::Result<Self> {
        let ipv6 = peer.iter().chain(local).any(SocketAddr::is_ipv6);
        let socket = Socket::open(ipv6, local, config)?;
        let id = socket.connect(peer)?;
        loop {
            match socket.recv().await? {
                Event::Up { .. } => return Ok(Self::new(socket, id)),
                Event::ConnectFailed { .. } => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionRefused,
                        "refused, or nobody answered",
                    ));
                }
                Event::Lost { .. } | Event::Closed { .. } => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                _ => {}
            }
        }
    }

    /// The id, the one that all its events carry.
    pub fn id(&self) -> AssociationId {
        self.id
    }

    /// The next message or notification. After [`Event::Lost`] or [`Event::Closed`] only
    /// [`Event::SendFailed`] may follow.
    ///
    /// # Errors
    /// `NotConnected` after the last event.
    pub async fn recv(&self) -> io::Result<Event> {
        if self.ended.load(Ordering::Relaxed) {
            return self.try_recv();
        }
        let event = self.socket.recv().await?;
        self.note(&event);
        Ok(event)
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
        events.iter().skip(before).for_each(|event| self.note(event));
        Ok(events.len() - before)
    }

    /// As [`Self::recv`], without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived, and as [`Self::recv`].
    pub fn try_recv(&self) -> io::Result<Event> {
        match self.socket.try_recv() {
            Ok(event) => {
                self.note(&event);
                Ok(event)
            }
            // The kernel would let a reader wait for ever.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && self.ended.load(Ordering::Relaxed) =>
            {
                Err(io::ErrorKind::NotConnected.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Appends what has been read already and at most `most` parts more, of 8 KiB each, without waiting; returns
    /// how many parts came.
    ///
    /// For a moment the receive window is open then, however fast the other side sends: it is not told of room
    /// before there is some 64 KiB of it. What is sent while the window is closed tells so, whereupon the other
    /// side's kernel tries it with a message that is thrown away, and comes again only after a timeout.
    ///
    /// # Errors
    /// `WouldBlock` if nothing was there, and as [`Self::recv`]; what was read already is appended all the same.
    pub fn try_recv_few(&self, most: usize, events: &mut Vec<Event>) -> io::Result<usize> {
        let before = events.len();
        let received = self.socket.try_recv_few(most, events);
        events.iter().skip(before).for_each(|event| self.note(event));
        received
    }

    /// As [`Self::recv`], for futures written by hand; see [`Endpoint::poll_recv`].
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Event>> {
        if self.ended.load(Ordering::Relaxed) {
            return Poll::Ready(self.try_recv());
        }
        let event = ready!(self.socket.poll_recv(context))?;
        self.note(&event);
        Poll::Ready(Ok(event))
    }

    /// Sends one message; see [`Endpoint::send`].
    ///
    /// # Errors
    /// As [`Endpoint::send`].
    pub async fn send(&self, data: &[u8], info: SendInfo) -> io::Result<()> {
        self.socket.send_many(&[Outgoing { association: self.id, info, data }]).await.map(drop)
    }

    /// As [`Self::send`], without waiting.
    ///
    /// # Errors
    /// As [`Endpoint::try_send`].
    pub fn try_send(&self, data: &[u8], info: SendInfo) -> io::Result<()> {
        self.socket.try_send_many(&[Outgoing { association: self.id, info, data }]).map(drop)
    }

    /// Sends messages from the front of the list, at most 16; see [`Endpoint::send_many`].
    ///
    /// # Errors
    /// As [`Endpoint::send_many`]; `InvalidInput` if one of them names another association.
    pub async fn send_many(&self, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        self.check_ids(messages)?;
        self.socket.send_many(messages).await
    }

    /// As [`Self::send_many`], for futures written by hand; see [`Endpoint::poll_send_many`].
    ///
    /// # Errors
    /// As [`Self::send_many`].
    pub fn poll_send_many(
        &self,
        context: &mut Context<'_>,
        messages: &[Outgoing<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_ids(messages)?;
        self.socket.poll_send_when_ready(context, messages)
    }

    /// Closes gracefully and waits for the end: what was sent is delivered first, what arrives meanwhile
    /// is thrown away. There is no time limit but the peer's silence (see
    /// [`Config::association_max_retrans`]). May be called again after its future was dropped.
    ///
    /// # Errors
    /// `ConnectionAborted` if the association was lost instead; `NotConnected` after the last event.
    pub async fn close(&self) -> io::Result<()> {
        match self.socket.shutdown(self.id) {
            // Gone already, which an event says that has not been received.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            begun => begun?,
        }
        loop {
            match self.recv().await? {
                Event::Closed { .. } => return Ok(()),
                Event::Lost { .. } => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    /// Begins a graceful close without waiting; see [`Endpoint::shutdown`].
    ///
    /// # Errors
    /// `BrokenPipe` if the association has ended.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket.shutdown(self.id)
    }

    /// Ends the association at once; see [`Endpoint::abort`].
    ///
    /// # Errors
    /// `BrokenPipe` if the association has ended.
    pub fn abort(&self, reason: &[u8]) -> io::Result<()> {
        self.socket.abort(self.id, reason)
    }

    /// The local addresses, with their port.
    ///
    /// # Errors
    /// `InvalidInput` if the association has ended.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.socket.local_addrs(Some(self.id))
    }

    /// The addresses of the peer, the ones it announced included.
    ///
    /// # Errors
    /// `InvalidInput` if the association has ended.
    pub fn peer_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.socket.peer_addrs(self.id)
    }

    /// A look at the association.
    ///
    /// # Errors
    /// `InvalidInput` if the association has ended.
    pub fn status(&self) -> io::Result<Status> {
        self.socket.status(self.id)
    }

    /// A look at one of the peer's addresses.
    ///
    /// # Errors
    /// `InvalidInput` if the association has ended or there is no such address.
    pub fn path(&self, address: SocketAddr) -> io::Result<Path> {
        self.socket.path(self.id, address)
    }

    /// The kernel would not look at them.
    fn check_ids(&self, messages: &[Outgoing<'_>]) -> io::Result<()> {
        if messages.iter().any(|message| message.association != self.id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "another association's"));
        }
        Ok(())
    }

    fn note(&self, event: &Event) {
        if event.is_end() {
            self.ended.store(true, Ordering::Relaxed);
        }
    }
}

/// For socket options this crate does not have; see [`Endpoint`]'s.
impl AsFd for Association {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

/// Accepts associations, each on a socket of its own, as a TCP listener does.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
}

impl Listener {
    /// Binds and listens; see [`Endpoint::bind`].
    ///
    /// # Errors
    /// As [`Endpoint::bind`].
    pub fn bind(addresses: &[SocketAddr], config: &Config) -> io::Result<Self> {
        Ok(Self { endpoint: Endpoint::bind(addresses, config)? })
    }

    /// The next association. Those that stand and have not been accepted hold room in the listener's
    /// receive buffer; one that ends before it is accepted is passed over.
    ///
    /// # Errors
    /// `EMFILE` and the like if there is no descriptor for it. The association is aborted then, and the
    /// listener stays usable.
    pub async fn accept(&self) -> io::Result<Association> {
        loop {
            if let Event::Up { association, .. } = self.endpoint.recv().await? {
                match self.endpoint.peel_off(association) {
                    Ok(accepted) => return Ok(accepted),
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    Err(error) => {
                        // Gone meanwhile is as well.
                        let _ = self.endpoint.abort(association, b"");
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The addresses bound, with their port; see [`Endpoint::local_addrs`].
    ///
    /// # Errors
    /// As [`Endpoint::local_addrs`].
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.endpoint.local_addrs()
    }
}
