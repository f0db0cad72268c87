//! The IPv4 Address and IPv6 Address parameters (RFC 5354 §3.1, §3.2).
//!
//! ```text
//!   |  0x1  |   8   |  | IPv4 address (4) |
//!   |  0x2  |  20   |  | IPv6 address (16) |
//! ```

use super::error::DecodeError;
use super::kind;
use super::tlv::{Reader, Writer};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the parameter is an address.
pub(super) fn is_address(kind: u16) -> bool {
    matches!(kind, kind::IPV4_ADDRESS | kind::IPV6_ADDRESS)
}

pub(super) fn decode_address(reader: &mut Reader<'_>) -> Result<IpAddr, DecodeError> {
    match reader.peek()? {
        Some(kind::IPV6_ADDRESS) => reader.parameter(kind::IPV6_ADDRESS, |reader| {
            Ok(Ipv6Addr::from(reader.array::<16>()?).into())
        }),
        _ => reader.parameter(kind::IPV4_ADDRESS, |reader| {
            Ok(Ipv4Addr::from(reader.array::<4>()?).into())
        }),
    }
}

pub(super) fn encode_address(address: IpAddr, writer: &mut Writer<'_>) {
    match address {
        IpAddr::V4(address) => {
            writer.parameter(kind::IPV4_ADDRESS, |writer| writer.bytes(&address.octets()));
        }
        IpAddr::V6(address) => {
            writer.parameter(kind::IPV6_ADDRESS, |writer| writer.bytes(&address.octets()));
        }
    }
}
