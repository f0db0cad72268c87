//! An association as a stream of bytes, for TLS to run on (RFC 3436).
//!
//! ```text
//!   records of TLS ── poll_write ── one user message of at most MESSAGE bytes, stream 0, in order ──>
//!   records of TLS <── poll_read ── user messages, however they are cut, stream 0, in order <──
//! ```
//!
//! What comes by another stream or out of order is not what was secured: it ends the stream with an error.

use crate::proto::wire::PPID_ASAP;
use rserpool_sctp as kernel;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes of a user message: a record of TLS (RFC 8446 §5.2).
const MESSAGE: usize = (1 << 14) + 256 + 5;

/// An association that carries nothing but one stream of bytes each way.
pub(in crate::session) struct Bytes {
    association: kernel::Association,
    /// What has come and was not read.
    message: Vec<u8>,
    /// How much of it was.
    read: usize,
    /// Nothing more comes.
    ended: bool,
}

impl Bytes {
    pub(super) fn new(association: kernel::Association) -> Self {
        Self { association, message: Vec::new(), read: 0, ended: false }
    }

    pub(in crate::session) fn association(&self) -> &kernel::Association {
        &self.association
    }

    /// The next message; empty if no more comes.
    fn poll_message(&self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            match ready!(self.association.poll_recv(context))? {
                kernel::Event::Message(message) if message.stream == 0 && !message.unordered => {
                    return Poll::Ready(Ok(message.data));
                }
                kernel::Event::Message(_) | kernel::Event::Oversized { .. } => {
                    // It may have ended already.
                    let _ = self.association.abort(b"");
                    let error = rustls::Error::General("not on the stream that is secured".into());
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                kernel::Event::PeerShutdown { .. } | kernel::Event::Closed { .. } => {
                    return Poll::Ready(Ok(Vec::new()));
                }
                // The other side remembers nothing of TLS.
                kernel::Event::Restarted { .. } => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                event if event.is_end() => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                _ => {}
            }
        }
    }
}

impl AsyncRead for Bytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= self.message.len() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let message = match self.poll_message(context) {
                // Thousands of them are idle.
                Poll::Pending => {
                    self.message = Vec::new();
                    self.read = 0;
                    return Poll::Pending;
                }
                Poll::Ready(message) => message?,
            };
            self.ended = message.is_empty();
            self.message = message;
            self.read = 0;
        }
        let rest = self.message.get(self.read..).unwrap_or_default();
        let part = rest.get(..buffer.remaining()).unwrap_or(rest);
        let length = part.len();
        buffer.put_slice(part);
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let data = bytes.get(..MESSAGE).unwrap_or(bytes);
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let info = kernel::SendInfo::ppid(PPID_ASAP);
        let message = kernel::Outgoing { association: self.association.id(), info, data };
        let sent = ready!(self.association.poll_send_many(context, &[message]))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(data.len()))
    }

    /// What is written is the kernel's.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.association.shutdown() {
            // Gone already.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            begun => begun,
        })
    }
}
