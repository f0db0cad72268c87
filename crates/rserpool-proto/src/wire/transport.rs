//! Transport parameters (RFC 5354 §3.3-§3.7, §3.16).
//!
//! ```text
//!   DCCP      |  0x3  | length | port | reserved | service code (4) | one address parameter |
//!   SCTP      |  0x4  | length | port |   use    | one address parameter or more |
//!   TCP       |  0x5  | length | port | reserved | one address parameter |
//!   UDP       |  0x6  | length | port | reserved | one address parameter |
//!   UDP-Lite  |  0x7  | length | port | reserved | one address parameter |
//!   Opaque    | 0x10  | length | any bytes |
//! ```
//!
//! Parameters that are not known here obey their type within a transport too, but are not kept:
//! a transport is compared, copied and indexed, and nothing has ever extended one.

use super::address::{decode_address, encode_address, is_address};
use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
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

impl Transport {
    /// Whether a parameter of this type is a transport.
    pub fn is_transport(kind: u16) -> bool {
        matches!(kind, kind::DCCP_TRANSPORT..=kind::UDP_LITE_TRANSPORT | kind::OPAQUE_TRANSPORT)
    }

    /// Reads a transport of any kind.
    ///
    /// # Errors
    /// If it is malformed or no transport.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.peek()? {
            Some(kind::DCCP_TRANSPORT) => reader.parameter(kind::DCCP_TRANSPORT, |reader| {
                let port = decode_port(reader)?;
                let service_code = reader.u32()?;
                Ok(Self::Dccp { address: decode_one_address(port, reader)?, service_code })
            }),
            Some(kind::TCP_TRANSPORT) => decode_tcp(reader).map(Self::Tcp),
            Some(kind::UDP_TRANSPORT) => reader.parameter(kind::UDP_TRANSPORT, |reader| {
                let port = decode_port(reader)?;
                Ok(Self::Udp(decode_one_address(port, reader)?))
            }),
            Some(kind::UDP_LITE_TRANSPORT) => {
                reader.parameter(kind::UDP_LITE_TRANSPORT, |reader| {
                    let port = decode_port(reader)?;
                    Ok(Self::UdpLite(decode_one_address(port, reader)?))
                })
            }
            Some(kind::OPAQUE_TRANSPORT) => reader
                .parameter(kind::OPAQUE_TRANSPORT, |reader| Ok(Self::Opaque(reader.rest().into()))),
            _ => SctpTransport::decode(reader).map(Self::Sctp),
        }
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Dccp { address, service_code } => {
                writer.parameter(kind::DCCP_TRANSPORT, |writer| {
                    writer.u16(address.port());
                    writer.u16(0);
                    writer.u32(*service_code);
                    encode_address(address.ip(), writer);
                });
            }
            Self::Sctp(transport) => transport.encode(writer),
            Self::Tcp(address) => encode_one(kind::TCP_TRANSPORT, *address, writer),
            Self::Udp(address) => encode_one(kind::UDP_TRANSPORT, *address, writer),
            Self::UdpLite(address) => encode_one(kind::UDP_LITE_TRANSPORT, *address, writer),
            Self::Opaque(bytes) => {
                writer.parameter(kind::OPAQUE_TRANSPORT, |writer| writer.bytes(bytes));
            }
        }
    }

    /// Which protocol it is.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Dccp { .. } => Protocol::Dccp,
            Self::Sctp(_) => Protocol::Sctp,
            Self::Tcp(_) => Protocol::Tcp,
            Self::Udp(_) => Protocol::Udp,
            Self::UdpLite(_) => Protocol::UdpLite,
            Self::Opaque(_) => Protocol::Opaque,
        }
    }

    /// What it carries; data only unless it is SCTP and says otherwise.
    pub fn transport_use(&self) -> TransportUse {
        match self {
            Self::Sctp(transport) => transport.transport_use,
            _ => TransportUse::DataOnly,
        }
    }

    /// All addresses with the port, in order; none if opaque.
    pub fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let (one, many) = match self {
            Self::Dccp { address, .. }
            | Self::Tcp(address)
            | Self::Udp(address)
            | Self::UdpLite(address) => (Some(*address), None),
            Self::Sctp(transport) => (None, Some(transport)),
            Self::Opaque(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flat_map(SctpTransport::socket_addrs))
    }

    /// The first address with the port; `None` if opaque.
    pub fn primary(&self) -> Option<SocketAddr> {
        self.socket_addrs().next()
    }
}

/// `tcp://127.0.0.1:80`, `sctp://10.0.0.1,10.1.0.1:3863`, `opaque:\x01\x02`.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dccp { address, service_code } => {
                write!(f, "dccp://{address}?service={service_code}")
            }
            Self::Sctp(transport) => transport.fmt(f),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::UdpLite(address) => write!(f, "udplite://{address}"),
            Self::Opaque(bytes) => write!(f, "opaque:{}", bytes.escape_ascii()),
        }
    }
}

impl From<SctpTransport> for Transport {
    fn from(transport: SctpTransport) -> Self {
        Self::Sctp(transport)
    }
}

/// Protocols a pool element can be reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// DCCP.
    Dccp,
    /// SCTP.
    Sctp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// Something else.
    Opaque,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dccp => "DCCP",
            Self::Sctp => "SCTP",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::UdpLite => "UDP-Lite",
            Self::Opaque => "opaque",
        })
    }
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

impl SctpTransport {
    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed, another transport, of an unknown use, or without address.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::SCTP_TRANSPORT, |reader| {
            let port = reader.u16()?;
            let transport_use = match reader.u16()? {
                0 => TransportUse::DataOnly,
                1 => TransportUse::DataPlusControl,
                _ => return Err(reader.invalid("the transport use is neither 0 nor 1")),
            };
            let mut first = None;
            let mut all = Vec::new();
            while let Some(kind) = reader.peek()? {
                if !is_address(kind) {
                    reader.unknown(&mut Vec::new())?;
                    continue;
                }
                let address = decode_address(reader)?;
                match first {
                    None => first = Some(address),
                    Some(first) => {
                        if all.is_empty() {
                            all.push(first);
                        }
                        all.push(address);
                    }
                }
            }
            let addresses = if all.is_empty() {
                Addresses::from(reader.need(first, "IP address")?)
            } else {
                Addresses(AddressList::Many(all.into()))
            };
            Ok(Self { port, transport_use, addresses })
        })
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::SCTP_TRANSPORT, |writer| {
            writer.u16(self.port);
            writer.u16(match self.transport_use {
                TransportUse::DataOnly => 0,
                TransportUse::DataPlusControl => 1,
            });
            for address in self.addresses.as_slice() {
                encode_address(*address, writer);
            }
        });
    }

    /// One address, data only.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            port: address.port(),
            transport_use: TransportUse::DataOnly,
            addresses: address.ip().into(),
        }
    }

    /// All addresses with the port, in order.
    pub fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.as_slice().iter().map(|address| SocketAddr::new(*address, self.port))
    }
}

/// `sctp://10.0.0.1,10.1.0.1:3863`; the use is not shown.
impl fmt::Display for SctpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sctp://")?;
        for (position, address) in self.addresses.as_slice().iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match address {
                IpAddr::V4(address) => write!(f, "{address}")?,
                IpAddr::V6(address) => write!(f, "[{address}]")?,
            }
        }
        write!(f, ":{}", self.port)
    }
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

impl fmt::Display for TransportUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataOnly => "data",
            Self::DataPlusControl => "data and control channel",
        })
    }
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

/// Reads a TCP Transport parameter.
pub(super) fn decode_tcp(reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    reader.parameter(kind::TCP_TRANSPORT, |reader| {
        let port = decode_port(reader)?;
        decode_one_address(port, reader)
    })
}

/// Port and reserved field, which a receiver ignores.
fn decode_port(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let port = reader.u16()?;
    reader.u16()?;
    Ok(port)
}

fn decode_one_address(port: u16, reader: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let mut address = None;
    while let Some(kind) = reader.peek()? {
        if is_address(kind) {
            reader.once(&mut address, decode_address)?;
        } else {
            reader.unknown(&mut Vec::new())?;
        }
    }
    Ok(SocketAddr::new(reader.need(address, "IP address")?, port))
}

/// Writes a transport of one address and port.
pub(super) fn encode_one(kind: u16, address: SocketAddr, writer: &mut Writer<'_>) {
    writer.parameter(kind, |writer| {
        writer.u16(address.port());
        writer.u16(0);
        encode_address(address.ip(), writer);
    });
}
