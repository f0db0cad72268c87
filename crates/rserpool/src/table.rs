//! Reads what a registrar knows, without being a registrar.
//!
//! ```text
//!   reader -- HANDLE_TABLE_REQUEST (sender 0) --> registrar      until a response
//!          <-- HANDLE_TABLE_RESPONSE (M: more) --                comes without M
//! ```
//!
//! The request is that of registrars among themselves (RFC 5353 §2.2, §3.2.2), on their port. Zero
//! as sender says that a reader is asking, who wants no updates and becomes no peer.

use crate::proto::id::ServerId;
use crate::proto::wire::enrp::{Body, Message, PoolEntry};
use crate::proto::wire::framer::{FrameError, frame_len};
use crate::proto::wire::operation_error::ErrorCause;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a registrar knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Who says so.
    pub server: ServerId,
    /// The pools in the order of their handles, with their elements in the order of theirs.
    pub pools: Vec<PoolEntry>,
}

/// How to read a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only elements whose home the registrar is (the W flag). Defaults to all it knows.
    pub own_only: bool,
    /// Time to connect, and for each piece to come. Defaults to 5 s (MAX-TIME-NO-RESPONSE of
    /// RFC 5353 §4.2).
    pub timeout: Duration,
    /// Most elements taken. Defaults to 10 million, more than a registrar can hold.
    pub max_elements: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { own_only: false, timeout: Duration::from_secs(5), max_elements: 10_000_000 }
    }
}

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no connection.
    #[error(
        "cannot connect to a registrar at {address}: {source}; check that one runs there, and that this is its ENRP port"
    )]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came in time.
    #[error(
        "the registrar at {address} does not answer within {} ms; check that this is its ENRP port",
        .after.as_millis()
    )]
    TimedOut {
        /// Who.
        address: SocketAddr,
        /// How long that is.
        after: Duration,
    },
    /// The connection ended before the table did.
    #[error("the registrar at {address} has closed the connection: {source}")]
    Closed {
        /// Who.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The registrar refuses to tell.
    #[error("the registrar at {address} refuses to show its handlespace{}", causes(.errors))]
    Rejected {
        /// Who.
        address: SocketAddr,
        /// Why; empty if it does not say.
        errors: Vec<ErrorCause>,
    },
    /// What came is not ENRP.
    #[error("what answers at {address} is not a registrar's ENRP port: {reason}")]
    Malformed {
        /// Who.
        address: SocketAddr,
        /// What is wrong.
        reason: String,
    },
    /// There is no end to it.
    #[error("the registrar at {address} tells of more than {limit} elements")]
    TooLong {
        /// Who.
        address: SocketAddr,
        /// [`Options::max_elements`].
        limit: usize,
    },
}

fn causes(errors: &[ErrorCause]) -> impl fmt::Display {
    if errors.is_empty() { String::new() } else { format!(": {errors:?}") }
}

/// Reads all that the registrar with this ENRP address knows, over TCP.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let table = rserpool::table::read("127.0.0.1:9901".parse()?).await?;
/// for pool in table.pools {
///     println!("{}: {} elements", pool.handle, pool.elements.len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`TableError`]; nothing of a table that was not read to its end is returned.
pub async fn read(address: SocketAddr) -> Result<Table, TableError> {
    read_with(address, Options::default()).await
}

/// Reads what the registrar with this ENRP address knows, as the options say.
///
/// # Errors
/// [`TableError`]; nothing of a table that was not read to its end is returned.
pub async fn read_with(address: SocketAddr, options: Options) -> Result<Table, TableError> {
    let timed_out = |_| TableError::TimedOut { address, after: options.timeout };
    let connected = timeout(options.timeout, TcpStream::connect(address)).await;
    let stream =
        connected.map_err(timed_out)?.map_err(|source| TableError::Connect { address, source })?;
    let mut reader = Reader { address, stream, buffer: Vec::new(), done: 0 };
    let mut table = Table { server: ServerId::NONE, pools: Vec::new() };
    let mut elements = 0;
    loop {
        let piece = reader.piece(options.own_only);
        let (server, piece, more) = timeout(options.timeout, piece).await.map_err(timed_out)??;
        table.server = server;
        for entry in piece {
            elements += entry.elements.len();
            match table.pools.last_mut() {
                // A pool that is cut between two pieces.
                Some(last) if last.handle == entry.handle => last.elements.extend(entry.elements),
                _ => table.pools.push(entry),
            }
        }
        if elements > options.max_elements {
            return Err(TableError::TooLong { address, limit: options.max_elements });
        }
        if !more {
            return Ok(table);
        }
    }
}

struct Reader {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of `buffer` is handled.
    done: usize,
}

impl Reader {
    /// Asks for the next piece.
    async fn piece(
        &mut self,
        own_only: bool,
    ) -> Result<(ServerId, Vec<PoolEntry>, bool), TableError> {
        let address = self.address;
        let body = Body::HandleTableRequest { own_only, capabilities: None };
        let mut request = Vec::new();
        Message::new(ServerId::NONE, ServerId::NONE, body)
            .encode(&mut request)
            .expect("a request without capabilities has 12 bytes");
        let closed = |source| TableError::Closed { address, source };
        self.stream.write_all(&request).await.map_err(closed)?;
        loop {
            let message = self.message().await?;
            match message.body {
                Body::HandleTableResponse { rejected: true, .. } => {
                    return Err(TableError::Rejected { address, errors: Vec::new() });
                }
                Body::HandleTableResponse { more, entries, .. } => {
                    return Ok((message.sender, entries, more));
                }
                Body::Error { errors } => return Err(TableError::Rejected { address, errors }),
                // Registrars greet whoever comes.
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Result<Message, TableError> {
        let address = self.address;
        let malformed = |reason: String| TableError::Malformed { address, reason };
        loop {
            let rest = self.buffer.get(self.done..).unwrap_or_default();
            let length =
                frame_len(rest).map_err(|error: FrameError| malformed(error.to_string()))?;
            if let Some(frame) = length.and_then(|length| rest.get(..length)) {
                self.done += frame.len();
                let decoded = Message::decode(frame);
                return Ok(decoded.map_err(|error| malformed(error.to_string()))?.message);
            }
            // Less than a frame is left.
            self.buffer.drain(..self.done);
            self.done = 0;
            let read = self.stream.read_buf(&mut self.buffer).await;
            let closed = |source| TableError::Closed { address, source };
            if read.map_err(closed)? == 0 {
                return Err(closed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
