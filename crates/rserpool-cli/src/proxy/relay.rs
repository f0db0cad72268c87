//! Moving bytes between a client and an element.
//!
//! ```text
//!   client  -- up -->  element        one task moves both directions; each goes on until its
//!           <- down --                sender has finished, and its end is passed on alone
//! ```
//!
//! Bytes are read into one buffer per thread and written at once; only what the other side does
//! not take yet is kept with the connection, so that an idle connection holds no buffer. When a
//! direction fills that buffer, it is a large transfer, and on Linux the kernel then moves pages
//! from socket to socket through a pipe (splice(2)) without copying them here.
//!
//! What comes by TLS or goes by it is copied, by the same rules.
//!
//! An end in order (FIN) reaches the other side as one, a reset as a reset. What a byte means is
//! never looked at.

use super::pipe;
use rserpool::tls::Stream;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How a connection ended, and what it has carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Bytes from the client to the element.
    pub(crate) up: u64,
    /// Bytes from the element to the client.
    pub(crate) down: u64,
    /// Who ended it, and how.
    pub(crate) how: How,
}

/// Who ended a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Both sides finished in order.
    Finished,
    /// The element finished while the last bytes were the client's: a request without an answer,
    /// as far as that can be seen without knowing the protocol.
    Unanswered,
    /// The client's connection broke.
    ClientBroke,
    /// The element's connection broke.
    ElementBroke,
    /// One side had finished and the other was silent for [`HALF_CLOSED_MAX`].
    HalfClosed,
}

impl How {
    /// For logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unanswered => "unanswered",
            Self::ClientBroke => "client broke",
            Self::ElementBroke => "element broke",
            Self::HalfClosed => "half closed",
        }
    }
}

/// Moves bytes both ways until both sides have finished or one of them breaks.
pub(crate) async fn relay(client: Stream, element: Stream) -> Ended {
    let mut relay = Relay {
        client,
        element,
        up: Direction::default(),
        down: Direction::default(),
        client_spoke_last: false,
        element_broke: false,
        half_closed: None,
    };
    let how = poll_fn(|cx| relay.poll(cx)).await;
    match how {
        How::ClientBroke => reset_on_close(relay.element.socket()),
        How::ElementBroke => reset_on_close(relay.client.socket()),
        How::Finished | How::Unanswered | How::HalfClosed => {}
    }
    Ended { up: relay.up.moved, down: relay.down.moved, how }
}

struct Relay {
    client: Stream,
    element: Stream,
    up: Direction,
    down: Direction,
    client_spoke_last: bool,
    /// Whether writing to the element has failed.
    element_broke: bool,
    half_closed: Option<Pin<Box<Sleep>>>,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<How> {
        let (up, down) = (self.up.moved, self.down.moved);
        let last = self.down.stage == Stage::Done;
        match self.up.poll(cx, &mut self.client, &mut self.element, last) {
            Err(Side::From) => return Poll::Ready(How::ClientBroke),
            // What the element said before it broke may not have been read yet: the other
            // direction goes on to its end.
            Err(Side::To) => {
                self.up.stage = Stage::Done;
                self.element_broke = true;
            }
            Ok(()) => {}
        }
        if self.up.moved > up {
            self.client_spoke_last = true;
        }
        let last = self.up.stage == Stage::Done;
        match self.down.poll(cx, &mut self.element, &mut self.client, last) {
            Err(Side::From) => return Poll::Ready(How::ElementBroke),
            Err(Side::To) => return Poll::Ready(How::ClientBroke),
            Ok(()) => {}
        }
        if self.down.moved > down {
            self.client_spoke_last = false;
        }
        match (self.up.stage, self.down.stage) {
            (Stage::Moving, Stage::Moving) => Poll::Pending,
            (_, Stage::Done) if self.element_broke => Poll::Ready(How::ElementBroke),
            (Stage::Done, Stage::Done) if self.client_spoke_last => Poll::Ready(How::Unanswered),
            (Stage::Done, Stage::Done) => Poll::Ready(How::Finished),
            _ => self.poll_half_closed(cx, self.up.moved + self.down.moved > up + down),
        }
    }

    /// Bounds the silence of the side that has not finished.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<How> {
        let timer = self
            .half_closed
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + HALF_CLOSED_MAX)));
        if moved {
            timer.as_mut().reset(Instant::now() + HALF_CLOSED_MAX);
        }
        timer.as_mut().poll(cx).map(|()| How::HalfClosed)
    }
}

/// One of the two ways through a connection.
#[derive(Default)]
struct Direction {
    stage: Stage,
    /// Bytes read.
    moved: u64,
    /// What has been read and not yet been written.
    waiting: Waiting,
    /// Whether the last read filled the buffer, or the last splice was worth its calls.
    large: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Moving,
    /// The sender has finished, and what waits has still to be written.
    Flushing,
    Done,
}

#[derive(Default)]
enum Waiting {
    #[default]
    Nothing,
    Bytes {
        bytes: Vec<u8>,
        written: usize,
    },
    Pipe(pipe::Filled),
}

/// Which end of a direction broke.
enum Side {
    From,
    To,
}

impl Direction {
    /// Moves what can be moved now; both streams wake the task when there is more to do. `last`
    /// says that the other direction has ended: then closing `to`, which follows, ends this one.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        last: bool,
    ) -> Result<(), Side> {
        for _ in 0..READS_MAX {
            if self.stage == Stage::Done {
                return Ok(());
            }
            match self.poll_flush(cx, to) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => result.map_err(|_| Side::To)?,
            }
            if self.stage == Stage::Flushing {
                // Shutting a TCP stream down is immediate; TLS says its end before. It fails if the
                // other side is gone, which reading from it tells better.
                if (!last || matches!(to, Stream::Secured(_)))
                    && Pin::new(&mut *to).poll_shutdown(cx).is_pending()
                {
                    return Ok(());
                }
                self.stage = Stage::Done;
                return Ok(());
            }
            match self.poll_read(cx, from, to)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(0) => self.stage = Stage::Flushing,
                Poll::Ready(count) => self.moved += count as u64,
            }
        }
        // There is more, but other connections want their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Reads once, 0 at the end, and writes as much of it as is taken at once.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Result<Poll<usize>, Side> {
        if self.large
            && let (Stream::Plain(plain), Stream::Plain(_)) = (&*from, &*to)
            && let Some(pipe) = pipe::take()
        {
            return match pipe.poll_fill(cx, plain) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Err(_)) => Err(Side::From),
                Poll::Ready(Ok(None)) => Ok(Poll::Ready(0)),
                Poll::Ready(Ok(Some(filled))) => {
                    let count = filled.len();
                    self.large = count >= SPLICE_MIN;
                    self.waiting = Waiting::Pipe(filled);
                    Ok(Poll::Ready(count))
                }
            };
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(from).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(result) => result.map_err(|_| Side::From)?,
            }
            self.large = read.remaining() == 0;
            let read = read.filled();
            let mut left = read;
            while !left.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, left) {
                    Poll::Pending => {
                        self.waiting = Waiting::Bytes { bytes: left.to_vec(), written: 0 };
                        break;
                    }
                    Poll::Ready(result) => {
                        let count = result.map_err(|_| Side::To)?;
                        left = left.get(count..).unwrap_or_default();
                    }
                }
            }
            Ok(Poll::Ready(read.len()))
        })
    }

    /// Writes what waits, in TLS as well.
    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        match &mut self.waiting {
            Waiting::Nothing => {}
            Waiting::Bytes { bytes, written } => {
                while let Some(left) = bytes.get(*written..)
                    && !left.is_empty()
                {
                    *written += ready!(Pin::new(&mut *to).poll_write(cx, left))?;
                }
            }
            Waiting::Pipe(filled) => ready!(filled.poll_drain(cx, to.socket()))?,
        }
        self.waiting = Waiting::Nothing;
        Pin::new(to).poll_flush(cx)
    }
}

/// Makes closing the stream a reset, so that its other end sees what happened.
pub(super) fn reset_on_close(stream: &TcpStream) {
    // If it cannot be set, the other side sees an end in order: still an end.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_LEN].into());
}

/// What is read at once, in bytes: enough that a system call costs little against the copy, and
/// small enough to stay in the cache of a core.
const BUFFER_LEN: usize = 64 * 1024;

/// A splice that moves less, in bytes, ends splicing: copying so little is cheaper than two calls
/// more.
const SPLICE_MIN: usize = 16 * 1024;

/// Reads of one direction before other connections have their turn.
const READS_MAX: usize = 16;

/// How long a side may be silent after the other has finished. A client that has sent all of its
/// request waits that long for an answer to begin; a connection that nobody will ever close does
/// not stay forever.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    /// The client's end, the element's end, and the relay between them.
    async fn pair() -> (TcpStream, TcpStream, JoinHandle<Ended>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let connected = TcpStream::connect(address).await.unwrap();
        let (element, _) = listener.accept().await.unwrap();
        (client, element, tokio::spawn(relay(Stream::Plain(accepted), Stream::Plain(connected))))
    }

    #[tokio::test]
    async fn each_direction_ends_on_its_own() {
        let (mut client, mut element, relay) = pair().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        element.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        element.write_all(b"an answer").await.unwrap();
        drop(element);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"an answer");
        assert_eq!(relay.await.unwrap(), Ended { up: 8, down: 9, how: How::Finished });
    }

    #[tokio::test]
    async fn large_transfers_arrive_whole_whatever_the_reader_s_pace() {
        const LEN: usize = 24 << 20;
        let sent: Vec<u8> = (0..LEN / 4).flat_map(|word| (word as u32).to_le_bytes()).collect();
        let (client, element, relay) = pair().await;
        let (mut client_read, mut client_write) = client.into_split();
        let (mut element_read, mut element_write) = element.into_split();
        let copy = sent.clone();
        let up = tokio::spawn(async move {
            client_write.write_all(&copy).await.unwrap();
            client_write.shutdown().await.unwrap();
        });
        let copy = sent.clone();
        let down = tokio::spawn(async move {
            element_write.write_all(&copy).await.unwrap();
            element_write.shutdown().await.unwrap();
        });
        // One reads in small pieces, so that the relay waits for it; the other as fast as it can.
        let slow = tokio::spawn(async move {
            let (mut received, mut piece) = (Vec::with_capacity(LEN), [0; 5000]);
            loop {
                match client_read.read(&mut piece).await.unwrap() {
                    0 => return received,
                    count => received.extend_from_slice(&piece[..count]),
                }
            }
        });
        let mut received = Vec::with_capacity(LEN);
        element_read.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        assert!(slow.await.unwrap() == sent);
        up.await.unwrap();
        down.await.unwrap();
        let ended = relay.await.unwrap();
        assert_eq!((ended.up, ended.down), (LEN as u64, LEN as u64));
    }

    #[tokio::test]
    async fn an_element_that_breaks_shows_as_a_reset() {
        let (mut client, mut element, relay) = pair().await;
        client.write_all(b"question").await.unwrap();
        element.read_exact(&mut [0; 8]).await.unwrap();
        element.set_zero_linger().unwrap();
        drop(element);
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(relay.await.unwrap(), Ended { up: 8, down: 0, how: How::ElementBroke });
    }

    #[tokio::test]
    async fn a_client_that_breaks_shows_as_a_reset() {
        let (mut client, mut element, relay) = pair().await;
        client.write_all(b"question").await.unwrap();
        element.read_exact(&mut [0; 8]).await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let error = element.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(relay.await.unwrap(), Ended { up: 8, down: 0, how: How::ClientBroke });
    }

    #[tokio::test]
    async fn a_request_without_an_answer_is_told_from_an_idle_connection_that_is_closed() {
        let (mut client, mut element, relay) = pair().await;
        client.write_all(b"question").await.unwrap();
        element.read_exact(&mut [0; 8]).await.unwrap();
        drop(element);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        drop(client);
        assert_eq!(relay.await.unwrap().how, How::Unanswered);

        let (mut client, mut element, relay) = pair().await;
        client.write_all(b"question").await.unwrap();
        element.read_exact(&mut [0; 8]).await.unwrap();
        element.write_all(b"answer").await.unwrap();
        drop(element);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 6);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        drop(client);
        assert_eq!(relay.await.unwrap().how, How::Finished);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_never_finishes_is_cut_off_after_a_while() {
        let (mut client, element, relay) = pair().await;
        drop(element);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        let ended = relay.await.unwrap();
        assert_eq!(ended, Ended { up: 0, down: 0, how: How::HalfClosed });
    }
}
