//! Asks registrars who they are, whom they know, and whether they know the same.
//!
//! ```text
//!   reader -- PRESENCE (sender 0, reply wanted), LIST_REQUEST --> registrar
//!          <-- PRESENCE (checksum, digest of its own elements), LIST_RESPONSE --
//!          -- HANDLE_TABLE_REQUEST --> the first one, whose copies are compared with the digests
//! ```

use crate::proto::handlespace::{Handlespace, HandlespaceConfig};
use crate::proto::id::ServerId;
use crate::proto::machine::Locator;
use crate::proto::time::Instant;
use crate::proto::wire::capability::Capabilities;
use crate::proto::wire::enrp::Body;
use crate::proto::wire::transport::Transport;
use crate::table::{self, Options, Reader, TableError};
use std::time::Duration;
use tokio::time::timeout;

/// What a registrar says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its identifier.
    pub server: ServerId,
    /// Whether it is in service: one that is starting lists nobody.
    pub is_serving: bool,
    /// Checksum of its own elements (RFC 5353 §3.6.2).
    pub checksum: Option<u16>,
    /// Digest of its own elements, if it is one of ours.
    pub digest: Option<u64>,
    /// The other registrars it is connected with, and where they listen.
    pub peers: Vec<(ServerId, Locator)>,
    /// Time from asking to the answer.
    pub round_trip: Duration,
}

/// Asks the registrar with this ENRP address; of the options the time it may take and TLS count. One that speaks the RFC alone
/// answers no reader: it is asked by a registrar of a moment.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let first = "tcp://127.0.0.1:9901".parse()?;
/// let answer = rserpool::peers::ask(&first, &Default::default()).await?;
/// println!("{} knows {} others", answer.server, answer.peers.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As those of [`table::read`].
pub async fn ask(at: &Locator, options: &Options) -> Result<Answer, TableError> {
    let wait = options.timeout;
    let answer = async {
        let mut reader = Reader::connect(at, options).await?;
        let asked = std::time::Instant::now();
        let question = Body::Presence {
            reply_required: true,
            checksum: None,
            server: None,
            digest: None,
            capabilities: Some(Capabilities(0)),
        };
        reader.send(ServerId::NONE, question).await?;
        let mut from = ServerId::NONE;
        let mut answer = loop {
            let message = reader.message().await?;
            match message.body {
                Body::Presence { checksum, digest, .. } => {
                    break Answer {
                        server: message.sender,
                        is_serving: false,
                        checksum,
                        digest,
                        peers: Vec::new(),
                        round_trip: asked.elapsed(),
                    };
                }
                // It takes nothing from registrar 0.
                Body::Error { .. } if from.is_none() => from = reader.greet().await?,
                _ => {}
            }
        };
        reader.send(from, Body::ListRequest).await?;
        loop {
            if let Body::ListResponse { rejected, servers } = reader.message().await?.body {
                answer.is_serving = !rejected;
                let known = servers.iter().filter_map(|s| Some((s.id, locator(&s.transport)?)));
                // This one may be on the list itself.
                answer.peers = known.filter(|(server, _)| *server != from).collect();
                return Ok(answer);
            }
        }
    };
    timeout(wait, answer)
        .await
        .map_err(|_| TableError::TimedOut { address: at.clone(), after: wait })?
}

fn locator(transport: &Transport) -> Option<Locator> {
    match transport {
        Transport::Tcp(address) => Some(Locator::tcp(*address)),
        Transport::Sctp(sctp) => {
            let (addresses, port) = (sctp.addresses.clone(), sctp.port);
            let transport = crate::proto::machine::TransportKind::Sctp;
            Some(Locator { transport, addresses, port })
        }
        _ => None,
    }
}

/// A registrar's copies of the elements of all registrars.
#[derive(Debug)]
pub struct Copies(Handlespace);

impl Copies {
    /// Reads the table of the registrar with this ENRP address; of the options the time it may take and
    /// TLS count.
    ///
    /// # Errors
    /// As those of [`table::read`].
    pub async fn read(at: &Locator, options: &Options) -> Result<Self, TableError> {
        let options = Options { extensions: true, ..options.clone() };
        let table = table::read_with(at, options).await?;
        let config = HandlespaceConfig { max_elements: usize::MAX, ..HandlespaceConfig::default() };
        let mut space = Handlespace::new(config, [0; 32]);
        for pool in table.pools {
            for element in pool.elements {
                // There is room for all that one registrar has.
                let _ = space.apply_add(Instant::ZERO, element.home, &pool.handle, element, None);
            }
        }
        Ok(Self(space))
    }

    /// How many elements of a registrar it has.
    pub fn elements(&self, server: ServerId) -> usize {
        self.0.owned_count(server)
    }

    /// Digest of a registrar's elements as it has them.
    pub fn digest(&self, server: ServerId) -> u64 {
        self.0.digest(server)
    }

    /// Whether it has what a registrar says it has.
    pub fn agree(&self, answer: &Answer) -> bool {
        match (answer.digest, answer.checksum) {
            (Some(digest), _) => digest == self.0.digest(answer.server),
            (None, Some(checksum)) => {
                checksum == self.0.checksum(answer.server)
                    || checksum == self.0.checksum_rsplib(answer.server)
            }
            (None, None) => true,
        }
    }
}
