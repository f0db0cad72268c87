//! A client of a registrar: an association, questions and answers.

use crate::secured::Session;
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use rserpool_sctp::{Association, Config, Event, SendInfo};
use rustls::ClientConfig;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// Payload protocol identifier of ASAP.
pub(crate) const ASAP: u32 = 11;

/// An association with a registrar.
pub(crate) struct Client {
    association: Association,
    tls: Option<RefCell<Session>>,
}

impl Client {
    pub(crate) async fn connect(registrar: &[SocketAddr]) -> io::Result<Self> {
        let config = Config::fast_failover();
        let association =
            timeout(Duration::from_secs(5), Association::connect(registrar, &[], &config))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Self { association, tls: None })
    }

    /// As [`Client::connect`], by TLS.
    pub(crate) async fn connect_secured(
        registrar: &[SocketAddr],
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let client = Self::connect(registrar).await?;
        let none = || io::Error::other("no address");
        let to = registrar.first().ok_or_else(none)?.ip();
        let session = Session::new(&client.association, ASAP, config, to).await?;
        Ok(Self { tls: Some(RefCell::new(session)), ..client })
    }

    #[expect(clippy::await_holding_refcell_ref, reason = "a client is used by one task")]
    pub(crate) async fn send(&self, ppid: u32, bytes: &[u8]) -> io::Result<()> {
        if let Some(session) = &self.tls {
            return session.borrow_mut().send(&self.association, ppid, bytes).await;
        }
        self.association.send(bytes, SendInfo::ppid(ppid)).await
    }

    /// The next message; an error if the association ends.
    pub(crate) async fn recv(&self) -> io::Result<rserpool_sctp::Message> {
        loop {
            match self.association.recv().await? {
                Event::Message(message) => return Ok(message),
                event if event.is_end() => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        format!("{event:?}"),
                    ));
                }
                _ => {}
            }
        }
    }

    /// The bytes of the next message, by TLS if it is to be.
    #[expect(clippy::await_holding_refcell_ref, reason = "a client is used by one task")]
    pub(crate) async fn recv_bytes(&self) -> io::Result<Vec<u8>> {
        match &self.tls {
            None => Ok(self.recv().await?.data),
            Some(session) => session.borrow_mut().recv(&self.association).await,
        }
    }

    /// The next ASAP message.
    pub(crate) async fn recv_asap(&self) -> io::Result<Body> {
        if self.tls.is_some() {
            let decoded = Message::decode(&self.recv_bytes().await?);
            return Ok(decoded.map_err(|error| io::Error::other(error.to_string()))?.message.body);
        }
        loop {
            let message = self.recv().await?;
            if message.ppid == ASAP {
                let decoded = Message::decode(&message.data)
                    .map_err(|error| io::Error::other(format!("not understood: {error}")))?;
                return Ok(decoded.message.body);
            }
        }
    }

    /// An element of its own at this association's addresses: servers check that.
    pub(crate) fn element(&self, id: u32) -> io::Result<PoolElement> {
        let local = self.association.local_addrs()?;
        let addresses: Vec<IpAddr> =
            local.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback()).collect();
        let none = || io::Error::other("no address but loopback");
        let transport = SctpTransport {
            port: 7,
            transport_use: TransportUse::DataOnly,
            addresses: Addresses::new(&addresses).ok_or_else(none)?,
        };
        Ok(PoolElement {
            id: PeId(id),
            home: ServerId::NONE,
            life: LIFE_MS,
            user_transport: Transport::Sctp(transport),
            policy: PolicyParameter::new(PolicyNumber(1), &[]),
            asap_transport: None,
            extensions: ElementExtensions::default(),
        })
    }

    pub(crate) async fn close(self) {
        let _ = timeout(Duration::from_secs(2), self.association.close()).await;
    }
}

/// Longer than any scenario. In milliseconds, as the reference implementation reads it.
const LIFE_MS: i32 = 600_000;

/// A question for a pool.
pub(crate) fn question(handle: &PoolHandle, items: Option<u32>) -> io::Result<Vec<u8>> {
    encode(Body::HandleResolution {
        subscribe: false,
        handle: handle.clone(),
        items,
        capabilities: None,
    })
}

pub(crate) fn registration(handle: &PoolHandle, element: PoolElement) -> io::Result<Vec<u8>> {
    encode(Body::Registration {
        handle: handle.clone(),
        element: Box::new(element),
        capabilities: None,
        stamp: None,
    })
}

pub(crate) fn encode(body: Body) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Message::from(body)
        .encode(&mut bytes)
        .map_err(|error| io::Error::other(format!("too long: {error:?}")))?;
    Ok(bytes)
}

/// Microseconds since 1970, as the scenarios count.
pub(crate) fn unix_us() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// Reads `10.0.0.1,10.1.0.1:3863`.
pub(crate) fn addresses(text: &str) -> Result<Addressed, String> {
    let wrong = || format!("`{text}` is not like 10.0.0.1,10.1.0.1:3863");
    let (hosts, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let hosts: Result<Vec<IpAddr>, _> = hosts.split(',').map(str::parse).collect();
    let hosts = hosts.map_err(|_| wrong())?;
    Ok(Addressed(hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect()))
}

/// Where a registrar is: one port on one address or more.
#[derive(Clone, Debug)]
pub(crate) struct Addressed(pub(crate) Vec<SocketAddr>);
