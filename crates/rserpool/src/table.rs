//! Reads what a registrar knows, without being a registrar.
//!
//! ```text
//!   reader -- HANDLE_TABLE_REQUEST (sender 0) --> registrar      until a response
//!          <-- HANDLE_TABLE_RESPONSE (M: more) --                comes without M
//! ```
//!
//! The request is that of registrars among themselves (RFC 5353 §2.2, §3.2.2), on their port. Zero
//! as sender says that a reader is asking, who wants no updates and becomes no peer. It goes over TCP or
//! SCTP; with [`TransportKind::Auto`] over SCTP if that answers within 250 ms.

use crate::driver::{Call, HEAD_START, Stream, is_sctp_available};
use crate::proto::id::ServerId;
use crate::proto::machine::{Locator, TransportKind};
use crate::proto::wire::PPID_ENRP;
use crate::proto::wire::capability::Capabilities;
use crate::proto::wire::enrp::{Body, Message, PoolEntry};
use crate::proto::wire::framer::frame_len;
use crate::proto::wire::operation_error::ErrorCause;
use crate::proto::wire::server_information::ServerInformation;
use crate::proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use crate::seed::seed;
use crate::tls::Tls;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only elements whose home the registrar is (the W flag). Defaults to all it knows.
    pub own_only: bool,
    /// Time to connect, and for each piece to come. Defaults to 5 s (MAX-TIME-NO-RESPONSE of
    /// RFC 5353 §4.2).
    pub timeout: Duration,
    /// Whether to ask for what the RFCs do not have, such as stamps; lives come in seconds then, in
    /// milliseconds otherwise. Defaults to no. A registrar that says that it does not understand that,
    /// such as rsplib's, is asked again without, and as somebody that it can answer.
    pub extensions: bool,
    /// As whom to ask. Defaults to [`ServerId::NONE`], a reader, which a registrar answers on its
    /// own host only; any other is a registrar for a while.
    pub reader: ServerId,
    /// Most elements taken. Defaults to 10 million, more than a registrar can hold.
    pub max_elements: usize,
    /// Secures the connection, for registrars of a secured scope. None by default.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            own_only: false,
            timeout: Duration::from_secs(5),
            extensions: false,
            reader: ServerId::NONE,
            max_elements: 10_000_000,
            tls: None,
        }
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
        address: Locator,
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
        address: Locator,
        /// How long that is.
        after: Duration,
    },
    /// The connection ended before the table did.
    #[error("the registrar at {address} has closed the connection: {source}")]
    Closed {
        /// Who.
        address: Locator,
        /// What the system says.
        source: io::Error,
    },
    /// The registrar refuses to tell.
    #[error("the registrar at {address} refuses to show its handlespace{}", causes(.errors))]
    Rejected {
        /// Who.
        address: Locator,
        /// Why; empty if it does not say.
        errors: Vec<ErrorCause>,
    },
    /// What came is not ENRP.
    #[error("what answers at {address} is not a registrar's ENRP port: {reason}")]
    Malformed {
        /// Who.
        address: Locator,
        /// What is wrong.
        reason: String,
    },
    /// There is no end to it.
    #[error("the registrar at {address} tells of more than {limit} elements")]
    TooLong {
        /// Who.
        address: Locator,
        /// [`Options::max_elements`].
        limit: usize,
    },
}

fn causes(errors: &[ErrorCause]) -> impl fmt::Display {
    if errors.is_empty() { String::new() } else { format!(": {errors:?}") }
}

/// Reads all that the registrar with this ENRP address knows.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let table = rserpool::table::read(&"tcp://127.0.0.1:9901".parse()?).await?;
/// for pool in table.pools {
///     println!("{}: {} elements", pool.handle, pool.elements.len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`TableError`]; nothing of a table that was not read to its end is returned.
pub async fn read(at: &Locator) -> Result<Table, TableError> {
    read_with(at, Options::default()).await
}

/// Reads what the registrar with this ENRP address knows, as the options say.
///
/// # Errors
/// [`TableError`]; nothing of a table that was not read to its end is returned.
pub async fn read_with(at: &Locator, options: Options) -> Result<Table, TableError> {
    match Reader::connect(at, &options).await?.table(&options).await {
        Err(TableError::Rejected { errors, .. })
            if options.extensions && options.tls.is_none() && !errors.is_empty() =>
        {
            read_stranger(at, options).await
        }
        read => read,
    }
}

/// Reads what a registrar that speaks the RFC alone knows; lives in seconds as well.
async fn read_stranger(at: &Locator, options: Options) -> Result<Table, TableError> {
    let mut reader = Reader::connect(at, &options).await?;
    let from = reader.greet().await?;
    let options = Options { extensions: false, reader: from, ..options };
    let mut table = reader.table(&options).await?;
    for element in table.pools.iter_mut().flat_map(|pool| &mut pool.elements) {
        if element.life > 0 {
            element.life = (element.life - 1) / 1_000 + 1;
        }
    }
    Ok(table)
}

pub(crate) struct Reader<'a> {
    at: &'a Locator,
    connection: Connection,
}

impl<'a> Reader<'a> {
    pub(crate) async fn connect(at: &'a Locator, options: &Options) -> Result<Self, TableError> {
        let (address, wait) = (|| at.clone(), options.timeout);
        let connected = timeout(wait, Connection::open(at, options.tls.as_ref())).await;
        let connection = connected
            .map_err(|_| TableError::TimedOut { address: address(), after: wait })?
            .map_err(|source| TableError::Connect { address: address(), source })?;
        Ok(Self { at, connection })
    }

    /// All pieces.
    async fn table(&mut self, options: &Options) -> Result<Table, TableError> {
        let address = || self.at.clone();
        let (at, after) = (address(), options.timeout);
        let timed_out = |_| TableError::TimedOut { address: at.clone(), after };
        let mut table = Table { server: ServerId::NONE, pools: Vec::new() };
        let mut elements = 0;
        loop {
            let piece = self.piece(options);
            let (server, piece, more) = timeout(after, piece).await.map_err(timed_out)??;
            table.server = server;
            for entry in piece {
                elements += entry.elements.len();
                match table.pools.last_mut() {
                    // A pool that is cut between two pieces.
                    Some(last) if last.handle == entry.handle => {
                        last.elements.extend(entry.elements);
                    }
                    _ => table.pools.push(entry),
                }
            }
            if elements > options.max_elements {
                return Err(TableError::TooLong { address: at, limit: options.max_elements });
            }
            if !more {
                return Ok(table);
            }
        }
    }

    /// Says to a registrar that speaks the RFC alone who is asking: somebody who is nobody else, with
    /// no elements. It answers its peers only, and forgets this one with the connection.
    pub(crate) async fn greet(&mut self) -> Result<ServerId, TableError> {
        let [first, second, third, fourth, ..] = seed();
        let id = ServerId(u32::from_be_bytes([first, second, third, fourth]).max(1));
        let transport = self.connection.local_transport();
        let address = || self.at.clone();
        let transport =
            transport.map_err(|source| TableError::Closed { address: address(), source })?;
        let server = ServerInformation { id, transport, unknown: [].into() };
        let (reply_required, checksum, server) = (true, Some(NO_ELEMENTS), Some(server));
        let (digest, capabilities) = (None, None);
        let presence = Body::Presence { reply_required, checksum, server, digest, capabilities };
        self.send(id, presence).await?;
        Ok(id)
    }

    pub(crate) async fn send(&mut self, from: ServerId, body: Body) -> Result<(), TableError> {
        let mut bytes = Vec::new();
        Message::new(from, ServerId::NONE, body)
            .encode(&mut bytes)
            .expect("what a reader asks is a few dozen bytes");
        let sent = self.connection.send(&bytes).await;
        sent.map_err(|source| TableError::Closed { address: self.at.clone(), source })
    }

    pub(crate) async fn message(&mut self) -> Result<Message, TableError> {
        let address = self.at.clone();
        self.connection.message().await.map_err(|broken| match broken {
            Broken::Closed(source) => TableError::Closed { address, source },
            Broken::Malformed(reason) => TableError::Malformed { address, reason },
        })
    }

    /// Asks for the next piece.
    async fn piece(
        &mut self,
        options: &Options,
    ) -> Result<(ServerId, Vec<PoolEntry>, bool), TableError> {
        let at = self.at;
        let address = || at.clone();
        let capabilities = options.extensions.then_some(Capabilities(0));
        let body = Body::HandleTableRequest { own_only: options.own_only, capabilities };
        self.send(options.reader, body).await?;
        loop {
            let message = self.message().await?;
            match message.body {
                Body::HandleTableResponse { rejected: true, .. } => {
                    return Err(TableError::Rejected { address: address(), errors: Vec::new() });
                }
                Body::HandleTableResponse { more, entries, .. } => {
                    return Ok((message.sender, entries, more));
                }
                Body::Error { errors } => {
                    return Err(TableError::Rejected { address: address(), errors });
                }
                // Registrars greet whoever comes.
                _ => {}
            }
        }
    }
}

/// Checksum of one that has none (RFC 5353 §3.6.2).
const NO_ELEMENTS: u16 = 0xffff;

/// A connection to a registrar.
enum Connection {
    Tcp {
        stream: Stream,
        buffer: Vec<u8>,
        /// How much of `buffer` is handled.
        done: usize,
    },
    Sctp(Call),
}

/// Why no message comes.
enum Broken {
    Closed(io::Error),
    Malformed(String),
}

impl Connection {
    async fn open(at: &Locator, tls: Option<&Tls>) -> io::Result<Self> {
        let addresses: Vec<SocketAddr> = at.socket_addrs().collect();
        let sctp = Call::connect(&addresses, PPID_ENRP, tls);
        match at.transport {
            TransportKind::Sctp => return sctp.await.map(Self::Sctp),
            TransportKind::Auto if is_sctp_available() => {
                if let Ok(Ok(call)) = timeout(HEAD_START, sctp).await {
                    return Ok(Self::Sctp(call));
                }
            }
            TransportKind::Auto | TransportKind::Tcp => {}
        }
        let (to, stream) = (at.primary(), TcpStream::connect(at.primary()).await?);
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Secured(Box::new(tls.connect(stream, to).await?)),
        };
        Ok(Self::Tcp { stream, buffer: Vec::new(), done: 0 })
    }

    /// Its end here: where rsplib wants a registrar to say that it is.
    fn local_transport(&self) -> io::Result<Transport> {
        let call = match self {
            Self::Tcp { stream, .. } => return stream.local_addr().map(Transport::Tcp),
            Self::Sctp(call) => call,
        };
        let local = call.local_addrs()?;
        let ips: Vec<_> = local.iter().map(SocketAddr::ip).collect();
        let (Some(first), Some(addresses)) = (local.first(), Addresses::new(&ips)) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let (port, transport_use) = (first.port(), TransportUse::DataOnly);
        Ok(Transport::Sctp(SctpTransport { port, transport_use, addresses }))
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp { stream, .. } => {
                stream.write_all(message).await?;
                stream.flush().await
            }
            Self::Sctp(call) => call.send(message).await,
        }
    }

    async fn message(&mut self) -> Result<Message, Broken> {
        let decode = |bytes: &[u8]| {
            let decoded = Message::decode(bytes);
            Ok(decoded.map_err(|error| Broken::Malformed(error.to_string()))?.message)
        };
        let (stream, buffer, done) = match self {
            Self::Tcp { stream, buffer, done } => (stream, buffer, done),
            Self::Sctp(call) => {
                return decode(&call.recv().await.map_err(Broken::Closed)?);
            }
        };
        loop {
            let rest = buffer.get(*done..).unwrap_or_default();
            let length = frame_len(rest).map_err(|error| Broken::Malformed(error.to_string()))?;
            if let Some(frame) = length.and_then(|length| rest.get(..length)) {
                *done += frame.len();
                return decode(frame);
            }
            // Less than a frame is left.
            buffer.drain(..*done);
            *done = 0;
            if stream.read_buf(buffer).await.map_err(Broken::Closed)? == 0 {
                return Err(Broken::Closed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
