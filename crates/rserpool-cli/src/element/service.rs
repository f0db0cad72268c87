//! Where a server is.

use super::drain;
use crate::failure::Failure;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A server's transport and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(super) protocol: Protocol,
    /// At least one; only SCTP has more.
    addresses: Addresses,
    port: u16,
}

/// Transports that servers are adopted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Sctp,
    Udp,
}

impl Service {
    /// A server at what was read by [`place`].
    pub(super) fn new(protocol: Protocol, at: Locator) -> Result<Self, Failure> {
        let many = at.addresses.as_slice().len() > 1;
        if many && protocol != Protocol::Sctp {
            return Err(Failure::usage(format!("--{protocol} takes one address"))
                .next("only SCTP has servers with several"));
        }
        Ok(Self { protocol, addresses: at.addresses, port: at.port })
    }

    /// The addresses with the port.
    pub(super) fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.as_slice().iter().map(|ip| SocketAddr::new(*ip, self.port))
    }

    /// The first address.
    pub(super) fn primary(&self) -> SocketAddr {
        let first = self.socket_addrs().next();
        first.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)))
    }

    /// What users are told.
    pub(super) fn transport(&self) -> Transport {
        match self.protocol {
            Protocol::Tcp => Transport::Tcp(self.primary()),
            Protocol::Udp => Transport::Udp(self.primary()),
            Protocol::Sctp => Transport::Sctp(SctpTransport {
                port: self.port,
                transport_use: TransportUse::DataOnly,
                addresses: self.addresses.clone(),
            }),
        }
    }

    /// Where users reach a server that listens here.
    pub(super) fn advertised(&self, advertise: Option<Locator>) -> Result<Self, Failure> {
        let is_nowhere = |service: &Self| service.socket_addrs().any(|at| at.ip().is_unspecified());
        let Some(advertise) = advertise else {
            if is_nowhere(self) {
                return Err(Failure::usage(format!(
                    "--{} {} says where the server listens, but not where users reach it",
                    self.protocol,
                    self.place()
                ))
                .next(format!(
                    "add --advertise with the address by which users reach this machine, \
                     such as --advertise 10.0.0.7:{}",
                    self.port
                )));
            }
            return Ok(self.clone());
        };
        let advertised = Self::new(self.protocol, advertise)?;
        if is_nowhere(&advertised) {
            return Err(Failure::usage(format!(
                "--advertise {}: nobody can connect to that",
                advertised.place()
            ))
            .next("name the address by which users reach this machine"));
        }
        Ok(advertised)
    }

    /// Where the server is looked at: one that listens on all addresses listens on loopback.
    pub(super) fn reachable(mut self) -> Self {
        let here = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => *ip,
        };
        let ips: Vec<IpAddr> = self.addresses.as_slice().iter().map(here).collect();
        self.addresses = Addresses::new(&ips).unwrap_or(self.addresses);
        self
    }

    /// Connections that it has now; `None` where the system does not show it.
    pub(super) fn connections(&self) -> Option<usize> {
        match self.protocol {
            Protocol::Tcp => drain::connections(self.primary()),
            Protocol::Sctp => drain::associations(&self.socket_addrs().collect::<Vec<_>>()),
            // It has none.
            Protocol::Udp => Some(0),
        }
    }

    /// Whether it listens on this host, which sees its connections then; `None` if nobody knows.
    pub(super) fn is_here(&self) -> Option<bool> {
        match self.protocol {
            Protocol::Tcp => drain::is_here(self.primary()),
            Protocol::Sctp | Protocol::Udp => None,
        }
    }

    /// Without the transport.
    fn place(&self) -> String {
        let ips: Vec<String> = self
            .addresses
            .as_slice()
            .iter()
            .map(|ip| match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            })
            .collect();
        format!("{}:{}", ips.join(","), self.port)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.place())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Sctp => "sctp",
            Self::Udp => "udp",
        })
    }
}

/// Reads an address, or several with one port; says what one looks like.
pub(super) fn place(text: &str) -> Result<Locator, String> {
    match format!("sctp://{text}").parse::<Locator>() {
        Ok(place) if place.port == 0 => Err("port 0 is nowhere".into()),
        Ok(place) => Ok(place),
        Err(_) => Err("an address has an IP address and a port, like 127.0.0.1:8081".into()),
    }
}
