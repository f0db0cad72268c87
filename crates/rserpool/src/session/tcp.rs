//! A session's connection that is a stream of bytes: over TCP, or TLS over SCTP.

use super::link::ROOM;
use crate::driver::Stream;
use crate::proto::machine::{CloseReason, Identity, Locator};
use crate::proto::session::Payload;
use crate::proto::session::mapping::{Deframer, HEADER_LEN, MappingError, PREFACE, header};
use crate::proto::session::user::Delivery;
use crate::tls::{self, Tls};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A connection of a session, on a stream of bytes that has to be flushed.
pub(super) struct Connection<S = Stream> {
    stream: S,
    /// `None` if bytes are carried as they are.
    deframer: Option<Deframer>,
    /// What has come of such bytes.
    plain: Vec<u8>,
    /// Bytes read next: few while few come, so that an idle session holds no large buffer.
    chunk: usize,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
    /// Whether TLS may hold something that the socket has not taken.
    unflushed: bool,
    /// Times in a row that it was sent and was short.
    quiet: u32,
    /// The messages in `output` of which nothing is sent.
    unsent: VecDeque<Frame>,
    /// How long they are.
    waiting: usize,
}

/// A message in the output.
struct Frame {
    /// With what stands before it.
    len: usize,
    ppid: u32,
    /// `None` for one that never comes back.
    delivery: Option<Delivery>,
}

/// Bytes read at a time, and most of them. A session that is idle holds no more than the first.
const READ: usize = 4 * 1024;
const MOST_READ: usize = 32 * 1024;
/// Times that little is sent before a large buffer for it is given away.
const QUIET: u32 = 8;

impl Connection {
    /// See [`Connection::on`].
    pub(super) fn new(stream: Stream, limit: Option<usize>) -> Self {
        // Small messages are not held back; if that is refused they are only slower.
        let _ = stream.socket().set_nodelay(true);
        Self::on(stream, limit)
    }

    /// Has it secured, as the one that was connected to, before anything is said.
    pub(super) async fn secure(self, tls: &Tls) -> io::Result<Self> {
        let Stream::Plain(socket) = self.stream else { return Ok(self) };
        let stream = Stream::Secured(Box::new(tls.accept(socket).await?));
        Ok(Self { stream, ..self })
    }

    /// Who the other end has proved to be.
    pub(super) fn identity(&self) -> Identity {
        self.stream.identity()
    }

    /// Both ends, as the machine wants to know them.
    pub(super) fn ends(&self) -> (Locator, Locator) {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let end = |end: io::Result<SocketAddr>| Locator::tcp(end.unwrap_or(unknown));
        (end(self.stream.local_addr()), end(self.stream.peer_addr()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Messages of at most `limit` bytes by the mapping, or with none bytes as they are.
    pub(super) fn on(stream: S, limit: Option<usize>) -> Self {
        let (deframer, output) = match limit {
            Some(limit) => (Some(Deframer::new(limit)), PREFACE.to_vec()),
            None => (None, Vec::new()),
        };
        Self {
            stream,
            deframer,
            plain: Vec::new(),
            chunk: READ,
            output,
            sent: 0,
            unflushed: false,
            quiet: 0,
            unsent: VecDeque::new(),
            waiting: 0,
        }
    }

    /// What it runs on.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Queues a message.
    pub(super) fn queue(&mut self, payload: &Payload, delivery: Option<Delivery>) {
        let Payload { ppid, bytes } = payload;
        let mut len = bytes.len();
        if self.deframer.is_some() {
            self.output.extend_from_slice(&header(len, *ppid));
            len += HEADER_LEN;
        }
        self.output.extend_from_slice(bytes);
        self.waiting += len;
        self.unsent.push_back(Frame { len, ppid: *ppid, delivery });
    }

    /// Bytes that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_flushed(&self) -> bool {
        self.queued() == 0 && !self.unflushed
    }

    /// See [`Link::poll`](super::link::Link::poll).
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        reading: bool,
        mut on_message: impl FnMut(u32, Cow<'_, [u8]>),
    ) -> Poll<Result<(), CloseReason>> {
        let before = self.queued();
        let sent = self.poll_send(context);
        let mut progress = self.queued() < before;
        if reading {
            let input = self.deframer.as_mut().map_or(&mut self.plain, Deframer::input);
            input.reserve(self.chunk);
            let polled = pin!(self.stream.read_buf(&mut *input)).poll(context);
            match polled {
                Poll::Pending if input.is_empty() && self.chunk == READ => *input = Vec::new(),
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(close_reason(&error))),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseReason::Finished)),
                Poll::Ready(Ok(read)) => {
                    progress = true;
                    if read >= self.chunk {
                        self.chunk = (self.chunk * 4).min(MOST_READ);
                    } else if read < READ {
                        self.chunk = READ;
                    }
                    if self.hand_on(&mut on_message).is_err() {
                        return Poll::Ready(Err(CloseReason::Malformed));
                    }
                }
            }
        }
        match sent {
            // What has come before the other side closed is read first; it may say that this was the end.
            Err(error) if !progress => Poll::Ready(Err(close_reason(&error))),
            _ if progress => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Hands on what has come.
    fn hand_on(
        &mut self,
        on_message: &mut impl FnMut(u32, Cow<'_, [u8]>),
    ) -> Result<(), MappingError> {
        let Some(deframer) = &mut self.deframer else {
            on_message(0, self.plain.as_slice().into());
            self.plain.clear();
            return Ok(());
        };
        while let Some((ppid, bytes)) = deframer.next_message()? {
            on_message(ppid, bytes.into());
        }
        Ok(())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Some(rest) = self.output.get(self.sent..)
            && !rest.is_empty()
        {
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.sent += written;
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(context)
        {
            flushed?;
            self.unflushed = false;
        }
        // What is begun cannot be taken back.
        while self.waiting > self.queued()
            && let Some(frame) = self.unsent.pop_front()
        {
            self.waiting -= frame.len;
        }
        if self.queued() == 0 {
            self.quiet = if self.output.len() < READ { self.quiet + 1 } else { 0 };
            self.output.clear();
            self.sent = 0;
            if self.quiet == QUIET {
                self.quiet = 0;
                self.output.shrink_to(READ);
                self.unsent.shrink_to(READ / 64);
            }
        } else if self.sent > ROOM {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// See [`Link::take_back`](super::link::Link::take_back).
    pub(super) fn take_back(self) -> Vec<(Payload, Delivery)> {
        let before = if self.deframer.is_some() { HEADER_LEN } else { 0 };
        let mut rest = self.output.get(self.output.len() - self.waiting..).unwrap_or(&[]);
        let cut = |Frame { len, ppid, delivery }| {
            let (frame, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some((Payload { ppid, bytes: frame.get(before..)?.to_vec() }, delivery?))
        };
        self.unsent.into_iter().filter_map(cut).collect()
    }

    /// Sends what is queued and closes.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        let rest = self.output.get(self.sent..).unwrap_or(&[]);
        self.stream.write_all(rest).await?;
        self.stream.shutdown().await?;
        // To close with bytes unread would reset the connection, and what was sent might be lost with
        // it.
        let mut buffer = [0; 4096];
        while self.stream.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

/// What an error of a socket means to a machine.
pub(super) fn close_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::Unsupported => CloseReason::Refused,
        io::ErrorKind::TimedOut => CloseReason::TimedOut,
        _ if tls::is_distrust(error) => CloseReason::Untrusted,
        _ => CloseReason::Lost,
    }
}
