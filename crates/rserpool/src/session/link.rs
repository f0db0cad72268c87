//! What a session runs on: a connection that carries messages, over TCP or SCTP.

#[cfg(target_os = "linux")]
use super::sctp;
use super::tcp;
use crate::driver::Stream;
use crate::proto::id::{AssociationId, PoolHandle};
use crate::proto::machine::{AttemptId, Channel, CloseReason, Identity, Input, Locator};
use crate::proto::session::Payload;
use crate::proto::session::user::{Carriage, Delivery};
use crate::proto::wire::pool_element::PoolElement;
#[cfg(target_os = "linux")]
use crate::tls;
use crate::tls::Tls;
use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use tokio_rustls::TlsStream;

/// Messages are taken from the machine while less than this waits for the socket: enough for one
/// large write, and little enough that most of what is unsent stays with the machine.
pub(super) const ROOM: usize = 32 * 1024;
/// A connection that is closed has as long to take what was sent.
const LINGER: Duration = Duration::from_secs(1);

/// A connection, and its name towards the machine.
pub(super) struct Link {
    pub(super) assoc: AssociationId,
    carrier: Carrier,
}

enum Carrier {
    Tcp(tcp::Connection),
    #[cfg(target_os = "linux")]
    Sctp(sctp::Connection),
    /// By the mapping, as over TCP: TLS knows of no messages.
    #[cfg(target_os = "linux")]
    SecuredSctp(Box<tcp::Connection<TlsStream<sctp::Bytes>>>),
}

impl Link {
    /// Opens one to an element of a pool; messages have at most `limit` bytes. With `tls` it is secured,
    /// and the element has proved to be one, or there is none.
    pub(super) async fn connect(
        assoc: AssociationId,
        pool: &PoolHandle,
        element: &PoolElement,
        tls: Option<&Tls>,
        limit: usize,
    ) -> io::Result<Self> {
        let carriage = Carriage::of(element).ok_or(io::ErrorKind::Unsupported)?;
        let to: Vec<_> = element.user_transport.socket_addrs().collect();
        let carrier = match (carriage, to.as_slice()) {
            (Carriage::Mapped | Carriage::Bytes, [first, ..]) => {
                let limit = (carriage == Carriage::Mapped).then_some(limit);
                let socket = TcpStream::connect(first).await?;
                let stream = match tls {
                    Some(tls) => {
                        tls.connect_element(socket, pool, element.extensions.owner).await?
                    }
                    None => Stream::Plain(socket),
                };
                Carrier::Tcp(tcp::Connection::new(stream, limit))
            }
            #[cfg(target_os = "linux")]
            (Carriage::Sctp, to @ [first, ..]) => {
                let connection = sctp::Connection::connect(to, limit).await?;
                match tls {
                    Some(tls) => {
                        let (bytes, to) = (connection.into_bytes(), first.ip());
                        let owner = element.extensions.owner;
                        let stream = tls.connect_element_over(bytes, to, pool, owner).await?;
                        let connection = tcp::Connection::on(stream, Some(limit));
                        Carrier::SecuredSctp(Box::new(connection))
                    }
                    None => Carrier::Sctp(connection),
                }
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { assoc, carrier })
    }

    /// Has one secured that somebody has opened, before anything is said; messages have at most `limit` bytes.
    pub(super) async fn secure(self, tls: &Tls, limit: usize) -> io::Result<Self> {
        let _ = limit;
        let carrier = match self.carrier {
            Carrier::Tcp(connection) => Carrier::Tcp(connection.secure(tls).await?),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => {
                let stream = tls.accept(connection.into_bytes()).await?;
                Carrier::SecuredSctp(Box::new(tcp::Connection::on(stream, Some(limit))))
            }
            #[cfg(target_os = "linux")]
            secured @ Carrier::SecuredSctp(_) => secured,
        };
        Ok(Self { carrier, ..self })
    }

    /// Who the other end has proved to be.
    pub(super) fn identity(&self) -> Identity {
        match &self.carrier {
            Carrier::Tcp(connection) => connection.identity(),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(_) => Identity::Anonymous,
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => tls::identity_of_peer(connection.stream()),
        }
    }

    fn ends(&self) -> (Locator, Locator) {
        match &self.carrier {
            Carrier::Tcp(connection) => connection.ends(),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.ends(),
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => {
                sctp::ends(connection.stream().get_ref().0.association())
            }
        }
    }

    /// Where the other end is; of several addresses the first.
    pub(super) fn remote(&self) -> Option<IpAddr> {
        self.ends().1.addresses.as_slice().first().copied()
    }

    /// How a machine is told of it.
    pub(super) fn connected(&self, attempt: Option<AttemptId>) -> Input<'static> {
        let (local, remote) = self.ends();
        let (assoc, channel, identity) = (self.assoc, Channel::Asap, self.identity());
        Input::Connected { assoc, attempt, channel, local, remote, identity }
    }

    /// Queues a message, which never comes back.
    pub(super) fn queue(&mut self, ppid: u32, bytes: Vec<u8>) {
        self.queue_as(Payload { ppid, bytes }, None);
    }

    /// Queues a message that may come back.
    pub(super) fn queue_for(&mut self, payload: Payload, delivery: Delivery) {
        self.queue_as(payload, Some(delivery));
    }

    fn queue_as(&mut self, payload: Payload, delivery: Option<Delivery>) {
        match &mut self.carrier {
            Carrier::Tcp(connection) => connection.queue(&payload, delivery),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.queue(payload, delivery),
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => connection.queue(&payload, delivery),
        }
    }

    fn queued(&self) -> usize {
        match &self.carrier {
            Carrier::Tcp(connection) => connection.queued(),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.queued(),
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => connection.queued(),
        }
    }

    /// Whether more messages should be queued.
    pub(super) fn has_room(&self) -> bool {
        self.queued() < ROOM
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_flushed(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(connection) => connection.is_flushed(),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.queued() == 0,
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => connection.is_flushed(),
        }
    }

    /// Sends, and if `reading` reads and hands messages on. Ready when something was sent, when there
    /// may be more to read, or when the connection has ended.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        reading: bool,
        on_message: impl FnMut(u32, Cow<'_, [u8]>),
    ) -> Poll<Result<(), CloseReason>> {
        match &mut self.carrier {
            Carrier::Tcp(connection) => connection.poll(context, reading, on_message),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.poll(context, reading, on_message),
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => connection.poll(context, reading, on_message),
        }
    }

    /// Closes at once, and gives back in order what of the messages the other side cannot have got.
    pub(super) fn take_back(self) -> Vec<(Payload, Delivery)> {
        match self.carrier {
            Carrier::Tcp(connection) => connection.take_back(),
            #[cfg(target_os = "linux")]
            Carrier::Sctp(connection) => connection.take_back(),
            #[cfg(target_os = "linux")]
            Carrier::SecuredSctp(connection) => {
                // Nobody hears of the rest; it may have ended already.
                let _ = connection.stream().get_ref().0.association().abort(b"");
                connection.take_back()
            }
        }
    }

    /// Sends what is queued and closes, on a task of its own.
    pub(super) fn finish(self) {
        tokio::spawn(async move {
            let orderly = async {
                match self.carrier {
                    Carrier::Tcp(connection) => connection.finish().await,
                    #[cfg(target_os = "linux")]
                    Carrier::Sctp(connection) => connection.finish().await,
                    #[cfg(target_os = "linux")]
                    Carrier::SecuredSctp(connection) => connection.finish().await,
                }
            };
            let _ = tokio::time::timeout(LINGER, orderly).await;
        });
    }
}

/// Where sessions are accepted.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(target_os = "linux")]
    Sctp(sctp::Listener),
}

impl Listener {
    pub(super) async fn bind(on: &[SocketAddr], over_sctp: bool, limit: usize) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if over_sctp {
            return sctp::Listener::bind(on, limit).map(Self::Sctp);
        }
        let _ = limit;
        if over_sctp {
            return Err(io::ErrorKind::Unsupported.into());
        }
        TcpListener::bind(on).await.map(Self::Tcp)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(target_os = "linux")]
            Self::Sctp(listener) => listener.local_addr(),
        }
    }

    /// The next one; nothing is lost if the future is dropped.
    pub(super) async fn accept(&self, limit: usize) -> io::Result<Link> {
        let carrier = match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                Carrier::Tcp(tcp::Connection::new(Stream::Plain(stream), Some(limit)))
            }
            #[cfg(target_os = "linux")]
            Self::Sctp(listener) => Carrier::Sctp(listener.accept().await?),
        };
        Ok(Link { assoc: AssociationId(1), carrier })
    }
}
