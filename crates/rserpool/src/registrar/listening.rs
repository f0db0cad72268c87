//! The sockets of a registrar.

use crate::driver::{
    BindError, Driver, Hosted, SctpSocket, is_sctp_available, listen, listen_sctp,
};
use crate::proto::machine::{Channel, Locator, TransportKind};
use crate::proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;
use tracing::debug;

/// Where a registrar listens.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// One for each socket.
    pub(super) locators: Vec<Locator>,
    /// Those over TCP.
    pub(super) tcp: Vec<SocketAddr>,
}

impl Listening {
    /// The port to announce from: rsplib takes the source of an announcement for an SCTP address.
    pub(super) fn port(&self) -> Option<u16> {
        let sctp = |locator: &&Locator| locator.transport == TransportKind::Sctp;
        self.locators.iter().find(sctp).or(self.locators.first()).map(|locator| locator.port)
    }

    /// Where others are told to come to, by those who announce on interfaces with these addresses:
    /// what they stand for instead of "all", and loopback only on the loopback interface.
    pub(super) fn announced(&self, interfaces: &[IpAddr]) -> Vec<Transport> {
        let mut transports = Vec::new();
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let tellable =
            |ip: &IpAddr| !link_local(ip) && (!ip.is_loopback() || interfaces.contains(ip));
        for locator in &self.locators {
            let of_interfaces = |wildcard: IpAddr| {
                interfaces.iter().copied().filter(move |ip| ip.is_ipv4() == wildcard.is_ipv4())
            };
            let mut ips: Vec<IpAddr> = Vec::new();
            for ip in locator.addresses.as_slice().iter().copied() {
                match ip.is_unspecified() {
                    true => ips.extend(of_interfaces(ip)),
                    false => ips.push(ip),
                }
            }
            ips.retain(tellable);
            // Those on the interface first: they are reached from where the announcement is heard.
            ips.sort_by_key(|ip| !interfaces.contains(ip));
            match (locator.transport, Addresses::new(&ips)) {
                (TransportKind::Sctp, Some(addresses)) => {
                    let (port, transport_use) = (locator.port, TransportUse::DataOnly);
                    transports.push(SctpTransport { port, transport_use, addresses }.into());
                }
                (TransportKind::Sctp, None) => {}
                _ => {
                    let at = |ip: &IpAddr| Transport::Tcp(SocketAddr::new(*ip, locator.port));
                    transports.extend(ips.iter().map(at));
                }
            }
        }
        // rsplib takes the first one that is SCTP.
        transports.sort_by_key(|transport| !matches!(transport, Transport::Sctp(_)));
        transports
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, locator) in self.locators.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            locator.fmt(f)?;
        }
        Ok(())
    }
}

/// The listening sockets of a channel.
#[derive(Default)]
pub(super) struct Sockets {
    tcp: Vec<TcpListener>,
    sctp: Vec<SctpSocket>,
    pub(super) listening: Listening,
}

/// How often a port that both transports have is looked for.
const ATTEMPTS: usize = 32;

impl Sockets {
    /// Opens all; if one fails none is left open.
    pub(super) fn open(wanted: &[Locator]) -> Result<Self, BindError> {
        let mut all = Self::default();
        for locator in wanted {
            let mut attempts = 1..ATTEMPTS;
            let one = loop {
                match Self::open_one(locator) {
                    // What TCP has free SCTP may not.
                    Err(error)
                        if error.source.kind() == io::ErrorKind::AddrInUse
                            && locator.port == 0
                            && attempts.next().is_some() => {}
                    result => break result?,
                }
            };
            all.tcp.extend(one.tcp);
            all.sctp.extend(one.sctp);
            all.listening.locators.extend(one.listening.locators);
            all.listening.tcp.extend(one.listening.tcp);
        }
        Ok(all)
    }

    fn open_one(locator: &Locator) -> Result<Self, BindError> {
        let mut sockets = Self::default();
        let mut port = locator.port;
        if locator.transport != TransportKind::Sctp {
            for address in locator.socket_addrs() {
                // What the system has chosen for the first is for all.
                port = sockets.open_tcp(SocketAddr::new(address.ip(), port))?.port();
            }
        }
        match locator.transport {
            TransportKind::Tcp => {}
            TransportKind::Auto if !is_sctp_available() => {
                debug!("this host has no SCTP: serving over TCP only");
            }
            TransportKind::Sctp | TransportKind::Auto => {
                let with_port = |address: SocketAddr| SocketAddr::new(address.ip(), port);
                sockets.open_sctp(&locator.socket_addrs().map(with_port).collect::<Vec<_>>())?;
            }
        }
        Ok(sockets)
    }

    fn open_tcp(&mut self, address: SocketAddr) -> Result<SocketAddr, BindError> {
        let socket = listen(address)?;
        let bound = socket.local_addr().map_err(|source| BindError { address, source })?;
        self.tcp.push(socket);
        self.listening.tcp.push(bound);
        self.listening.locators.push(Locator::tcp(bound));
        Ok(bound)
    }

    fn open_sctp(&mut self, addresses: &[SocketAddr]) -> Result<(), BindError> {
        let socket = listen_sctp(addresses)?;
        let Some(address) = addresses.first().copied() else { return Ok(()) };
        let bound = socket.local_addrs().map_err(|source| BindError { address, source })?;
        let port = bound.first().map_or(address.port(), SocketAddr::port);
        let bound: Vec<IpAddr> = bound.iter().map(SocketAddr::ip).collect();
        let missing = || BindError { address, source: io::ErrorKind::AddrNotAvailable.into() };
        let addresses = Addresses::new(&bound).ok_or_else(missing)?;
        let transport = TransportKind::Sctp;
        self.sctp.push(socket);
        self.listening.locators.push(Locator { transport, addresses, port });
        Ok(())
    }

    /// Has a driver serve them.
    pub(super) fn serve<H: Hosted>(self, channel: Channel, driver: &mut Driver<H>) -> Listening {
        for socket in self.tcp {
            driver.add_listener(channel, socket);
        }
        for socket in self.sctp {
            driver.add_sctp(channel, socket);
        }
        self.listening
    }

    /// Has a driver serve them without TLS.
    pub(super) fn serve_plainly<H: Hosted>(
        self,
        channel: Channel,
        driver: &mut Driver<H>,
    ) -> Listening {
        for socket in self.tcp {
            driver.add_plain_listener(channel, socket);
        }
        for socket in self.sctp {
            driver.add_plain_sctp(channel, socket);
        }
        self.listening
    }
}
