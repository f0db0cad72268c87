//! Transport parameters (RFC 5354 §3.1-§3.7, §3.16).

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

/// How a user reaches a pool element, or a registrar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// DCCP, data only (RFC 5354 §3.3).
    Dccp {
        /// Address and port.
        address: SocketAddr,
        /// DCCP service code.
        service_code: u32,
    },
    /// SCTP, possibly multihomed (RFC 5354 §3.4).
    Sctp(SctpTransport),
    /// TCP, data only (RFC 5354 §3.5).
    Tcp(SocketAddr),
    /// UDP, data only (RFC 5354 §3.6).
    Udp(SocketAddr),
    /// UDP-Lite, data only (RFC 5354 §3.7).
    UdpLite(SocketAddr),
    /// Anything else, by its own rules (RFC 5354 §3.16).
    Opaque(Box<[u8]>),
}

/// SCTP endpoint: one port on one or more addresses (RFC 5354 §3.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SctpTransport {
    /// SCTP port.
    pub port: u16,
    /// Data only, or data and control channel.
    pub transport_use: TransportUse,
    /// At least one address.
    pub addresses: Addresses,
}

/// What a transport carries (RFC 5354 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TransportUse {
    /// Application data only.
    #[default]
    DataOnly,
    /// Application data and the ASAP control channel.
    DataPlusControl,
}

/// One address or more; one is stored without allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addresses(AddressList);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum AddressList {
    One(IpAddr),
    /// Two or more.
    Many(Box<[IpAddr]>),
}

impl Addresses {
    /// Addresses in this order; `None` if there are none.
    pub fn new(addresses: &[IpAddr]) -> Option<Self> {
        match addresses {
            [] => None,
            [one] => Some(Self(AddressList::One(*one))),
            many => Some(Self(AddressList::Many(many.into()))),
        }
    }

    /// All of them, at least one.
    pub fn as_slice(&self) -> &[IpAddr] {
        match &self.0 {
            AddressList::One(one) => core::slice::from_ref(one),
            AddressList::Many(many) => many,
        }
    }
}

impl From<IpAddr> for Addresses {
    fn from(address: IpAddr) -> Self {
        Self(AddressList::One(address))
    }
}
