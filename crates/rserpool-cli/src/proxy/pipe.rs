//! Pipes through which the kernel moves pages from one socket to another (splice(2)).
//!
//! Every thread has a few pipes. One is taken for as long as it holds bytes, and goes back when it
//! is empty; one dropped with bytes in it is closed, so that no connection ever sees bytes of
//! another. When all are taken, by connections whose other side does not read, bytes are copied.

use rustix::pipe::{PipeFlags, SpliceFlags};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// An empty pipe.
pub(super) struct Empty(Ends);

/// A pipe with bytes in it.
pub(super) struct Filled {
    /// `None` only after the last byte has been drained.
    ends: Option<Ends>,
    len: usize,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
    }
}

/// A pipe of this thread's; `None` if all are taken or the system gives no more.
pub(super) fn take() -> Option<Empty> {
    if let Some(ends) = IDLE.with_borrow_mut(Vec::pop) {
        return Some(Empty(ends));
    }
    if OPEN.get() == PIPES_MAX {
        return None;
    }
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    // A pipe of the usual size works too, with more calls. The system may refuse more.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_LEN);
    OPEN.set(OPEN.get() + 1);
    Some(Empty(Ends { read, write }))
}

impl Empty {
    /// Moves bytes of the socket into the pipe: `None` at their end. If there are none yet, the
    /// pipe goes back and the task is woken when there are.
    pub(super) fn poll_fill(
        self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<Option<Filled>>> {
        loop {
            match from.poll_read_ready(cx) {
                Poll::Pending => {
                    put_back(self.0);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
            let moved = from.try_io(Interest::READABLE, || {
                Ok(rustix::pipe::splice(from, None, &self.0.write, None, PIPE_LEN, FLAGS)?)
            });
            match moved {
                Ok(0) => {
                    put_back(self.0);
                    return Poll::Ready(Ok(None));
                }
                Ok(len) => return Poll::Ready(Ok(Some(Filled { ends: Some(self.0), len }))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Filled {
    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Moves all bytes into the socket; afterwards the pipe has gone back.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<()>> {
        while self.len > 0
            && let Some(ends) = &self.ends
        {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(rustix::pipe::splice(&ends.read, None, to, None, self.len, FLAGS)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(len) => self.len = self.len.saturating_sub(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let Some(ends) = self.ends.take() {
            put_back(ends);
        }
        Poll::Ready(Ok(()))
    }
}

fn put_back(ends: Ends) {
    IDLE.with_borrow_mut(|idle| idle.push(ends));
}

thread_local! {
    /// Empty ones.
    static IDLE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    /// How many there are, empty or not. A connection never leaves its thread.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Size of a pipe, in bytes.
const PIPE_LEN: usize = 256 * 1024;

/// Most pipes of a thread; each takes two descriptors.
pub(super) const PIPES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_so_many_pipes_and_one_given_up_makes_room() {
        let mut taken: Vec<Empty> = std::iter::from_fn(take).collect();
        assert_eq!(taken.len(), PIPES_MAX);
        assert!(take().is_none());
        taken.pop();
        assert!(take().is_some());
    }
}
