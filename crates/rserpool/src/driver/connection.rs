//! One TCP connection, plain or secured: what has come and is not a whole message yet, what waits to be sent.

use super::ready::Signal;
use super::stream::Stream;
use super::{multicast, sctp};
use crate::proto::id::AssociationId;
use crate::proto::machine::{Channel, CloseReason};
use crate::tls;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TCP connection as the driver keeps it.
pub(super) struct Connection {
    stream: Stream,
    pub(super) assoc: AssociationId,
    pub(super) channel: Channel,
    /// Opened by the other side.
    pub(super) accepted: bool,
    /// What has come and was not given to the machine: the beginning of a message, or, while
    /// [`Connection::is_held_back`], messages.
    pub(super) input: Vec<u8>,
    /// `input` may begin with a whole message.
    pub(super) stalled: bool,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
    /// TLS has taken what it could not give to the socket yet.
    unflushed: bool,
    /// The socket takes no more for now.
    blocked: bool,
    /// On the driver's list of connections to be flushed.
    pub(super) dirty: bool,
    /// No longer the machine's: its output is sent, then it is closed.
    pub(super) closing: bool,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        assoc: AssociationId,
        channel: Channel,
        accepted: bool,
    ) -> Self {
        Self {
            stream,
            assoc,
            channel,
            accepted,
            input: Vec::new(),
            stalled: false,
            output: Vec::new(),
            sent: 0,
            unflushed: false,
            blocked: false,
            dirty: false,
            closing: false,
        }
    }

    /// Bytes that wait to be sent, at least one if TLS holds some.
    pub(super) fn queued(&self) -> usize {
        self.output.len() - self.sent + usize::from(self.unflushed)
    }

    /// Whether trying to send may help.
    pub(super) fn can_flush(&self) -> bool {
        !self.blocked && self.queued() > 0
    }

    /// Whether no more of its messages are handled until it takes answers: a client that asks
    /// faster than it reads is slowed down by its own connection.
    ///
    /// Only clients are treated so. Two registrars that held each other back would both wait.
    pub(super) fn is_held_back(&self, limit: usize) -> bool {
        self.accepted && self.channel == Channel::Asap && self.queued() > limit
    }

    /// Queues a message, padded as the stream wants it.
    pub(super) fn queue(&mut self, message: &[u8], spare: &mut Vec<Vec<u8>>) {
        if self.output.capacity() == 0
            && let Some(buffer) = spare.pop()
        {
            self.output = buffer;
        }
        self.output.extend_from_slice(message);
        self.output.resize(self.output.len().next_multiple_of(4), 0);
    }

    /// Sends what the socket takes. Returns how much that was.
    pub(super) fn flush(
        &mut self,
        waker: &Waker,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<usize, CloseReason> {
        let mut context = Context::from_waker(waker);
        let before = self.sent;
        while let Some(rest) = self.output.get(self.sent..)
            && !rest.is_empty()
        {
            match Pin::new(&mut self.stream).poll_write(&mut context, rest) {
                Poll::Ready(Ok(0)) => return Err(CloseReason::Lost),
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Err(close_reason(&error)),
                Poll::Pending => {
                    self.blocked = true;
                    let sent = self.sent - before;
                    // What is sent is dropped once it is the greater part, so that each byte is
                    // moved at most once.
                    if self.sent > self.output.len() / 2 {
                        self.output.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(sent);
                }
            }
        }
        let sent = self.sent - before;
        self.unflushed = match Pin::new(&mut self.stream).poll_flush(&mut context) {
            Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(error)) => return Err(close_reason(&error)),
            Poll::Pending => true,
        };
        self.blocked = self.unflushed;
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.output);
        if buffer.capacity() > 0 && buffer.capacity() <= SPARE_CAPACITY && spare.len() < SPARES {
            buffer.clear();
            spare.push(buffer);
        }
        Ok(sent)
    }

    /// The socket may take more again.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Reads what is there; `Ok(0)` is the end.
    pub(super) fn poll_read(
        &mut self,
        waker: &Waker,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut context = Context::from_waker(waker);
        let mut buffer = ReadBuf::new(buffer);
        Pin::new(&mut self.stream)
            .poll_read(&mut context, &mut buffer)
            .map_ok(|()| buffer.filled().len())
    }

    /// Ends our direction of the stream.
    pub(super) fn shut_down(&mut self, waker: &Waker) {
        // On TCP this is a system call that does not wait, and TLS has flushed what it had; if it fails
        // the connection is broken already and the next read says so.
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(waker));
    }
}

/// Empty output buffers kept for the next connection that sends: idle connections hold none.
const SPARES: usize = 64;
/// Larger ones are given back to the allocator.
const SPARE_CAPACITY: usize = 64 * 1024;

/// What an error of a socket means to a machine.
pub(super) fn close_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        _ if tls::is_distrust(error) => CloseReason::Untrusted,
        // Where there is no SCTP nobody listens by it.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::Unsupported => CloseReason::Refused,
        io::ErrorKind::TimedOut => CloseReason::TimedOut,
        _ => CloseReason::Lost,
    }
}

/// A stream that is about to be there.
pub(super) type Opening = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// A connection opened by somebody else, while it is being secured.
pub(super) struct Handshake {
    pub(super) from: IpAddr,
    pub(super) channel: Channel,
    pub(super) opening: Opening,
}

/// A place for a socket or an attempt, with the waker that names it.
pub(super) struct Slot {
    pub(super) signal: Arc<Signal>,
    pub(super) waker: Waker,
    /// Raised with each connection, so that no two have the same name.
    pub(super) generation: u32,
    /// Where what it holds has been opened from, if by others.
    pub(super) visitor: Option<IpAddr>,
    pub(super) content: Content,
}

/// What a slot holds.
pub(super) enum Content {
    Free,
    Listener(super::Listener),
    Attempt(super::Attempt),
    Handshake(Handshake),
    Connection(Box<Connection>),
    Endpoint(sctp::Endpoint),
    Association(Box<sctp::Association>),
    Receiver(multicast::Receiver),
}
