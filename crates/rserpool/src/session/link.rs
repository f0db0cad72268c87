//! What a session runs on: a connection that carries messages.

use crate::proto::id::AssociationId;
use crate::proto::machine::{CloseReason, Locator};
use crate::proto::session::mapping::{Deframer, PREFACE, header};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

/// How a stream is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By the mapping, with messages of at most so many bytes.
    Mapped {
        /// Longest message.
        limit: usize,
    },
    /// As it is.
    Bytes,
}

/// A TCP connection of a session.
pub(super) struct Link {
    pub(super) assoc: AssociationId,
    stream: TcpStream,
    /// `None` if bytes are carried as they are.
    deframer: Option<Deframer>,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
}

/// Messages are taken from the machine while less than this waits for the socket: enough for one
/// large write, and little enough that most of what is unsent stays with the machine.
const ROOM: usize = 64 * 1024;
/// Most bytes read at a time.
const READ: usize = 64 * 1024;
/// Most read before others have their turn.
const TURN: usize = 4;
/// A connection that is closed has as long to take what was sent.
const LINGER: Duration = Duration::from_secs(1);

impl Link {
    pub(super) async fn connect(
        assoc: AssociationId,
        to: SocketAddr,
        form: Form,
    ) -> io::Result<Self> {
        Ok(Self::new(assoc, TcpStream::connect(to).await?, form))
    }

    pub(super) fn new(assoc: AssociationId, stream: TcpStream, form: Form) -> Self {
        // Small messages are not held back; if that is refused they are only slower.
        let _ = stream.set_nodelay(true);
        let (deframer, output) = match form {
            Form::Mapped { limit } => (Some(Deframer::new(limit)), PREFACE.to_vec()),
            Form::Bytes => (None, Vec::new()),
        };
        Self { assoc, stream, deframer, output, sent: 0 }
    }

    /// Both ends, as the machine wants to know them.
    pub(super) fn ends(&self) -> (Locator, Locator) {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let end = |end: io::Result<SocketAddr>| Locator::tcp(end.unwrap_or(unknown));
        (end(self.stream.local_addr()), end(self.stream.peer_addr()))
    }

    /// Queues a message.
    pub(super) fn queue(&mut self, ppid: u32, bytes: &[u8]) {
        if self.deframer.is_some() {
            self.output.extend_from_slice(&header(bytes.len(), ppid));
        }
        self.output.extend_from_slice(bytes);
    }

    /// Whether more messages should be queued.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() - self.sent < ROOM
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// Sends, and if `reading` reads and hands messages on. Ready when there is room again, when
    /// something was handed on, or when the connection has ended.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        reading: bool,
        mut on_message: impl FnMut(u32, &[u8]),
    ) -> Poll<Result<(), CloseReason>> {
        let had_room = self.has_room();
        let flushed = self.is_flushed();
        if let Err(error) = self.poll_send(context) {
            return Poll::Ready(Err(close_reason(&error)));
        }
        let mut progress = (!had_room && self.has_room()) || (!flushed && self.is_flushed());
        let mut buffer = [0; READ];
        for _ in 0..TURN {
            if !reading {
                break;
            }
            let mut space = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.stream).poll_read(context, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(close_reason(&error))),
                Poll::Ready(Ok(())) if space.filled().is_empty() => {
                    return Poll::Ready(Err(CloseReason::Finished));
                }
                Poll::Ready(Ok(())) => {
                    progress = true;
                    if self.read(space.filled(), &mut on_message).is_err() {
                        return Poll::Ready(Err(CloseReason::Malformed));
                    }
                }
            }
        }
        if progress { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn read(&mut self, bytes: &[u8], on_message: &mut impl FnMut(u32, &[u8])) -> Result<(), ()> {
        let Some(deframer) = &mut self.deframer else {
            on_message(0, bytes);
            return Ok(());
        };
        deframer.push(bytes);
        while let Some((ppid, bytes)) = deframer.next_message().map_err(|_| ())? {
            on_message(ppid, bytes);
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
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.is_flushed() {
            self.output.clear();
            self.sent = 0;
        } else if self.sent > ROOM {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Sends what is queued and closes, on a task of its own.
    pub(super) fn finish(mut self) {
        tokio::spawn(async move {
            let orderly = async {
                let rest = self.output.get(self.sent..).unwrap_or(&[]);
                self.stream.write_all(rest).await?;
                self.stream.shutdown().await?;
                // To close with bytes unread would reset the connection, and what was sent might be
                // lost with it.
                let mut buffer = [0; 4096];
                while self.stream.read(&mut buffer).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = tokio::time::timeout(LINGER, orderly).await;
        });
    }
}

pub(super) fn close_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::Unsupported => CloseReason::Refused,
        io::ErrorKind::TimedOut => CloseReason::TimedOut,
        _ => CloseReason::Lost,
    }
}
