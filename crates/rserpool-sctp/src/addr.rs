//! Socket addresses as the kernel packs them: `sockaddr_in` (16 bytes) and `sockaddr_in6` (28 bytes)
//! one after the other, without the padding of `sockaddr_storage`. Lists given to bindx and connectx and
//! returned with an association's addresses have this form (RFC 6458 §9.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Appends the packed form. The family is in host order, the port and address in network order.
pub(crate) fn encode(address: &SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(v4) => {
            out.extend((libc::AF_INET as u16).to_ne_bytes());
            out.extend(v4.port().to_be_bytes());
            out.extend(v4.ip().octets());
            out.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            out.extend((libc::AF_INET6 as u16).to_ne_bytes());
            out.extend(v6.port().to_be_bytes());
            out.extend(v6.flowinfo().to_ne_bytes());
            out.extend(v6.ip().octets());
            out.extend(v6.scope_id().to_ne_bytes());
        }
    }
}

/// The packed form of a list.
pub(crate) fn encode_all(addresses: &[SocketAddr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(addresses.len() * 28);
    for address in addresses {
        encode(address, &mut out);
    }
    out
}

/// The address in a `sockaddr_storage`.
pub(crate) fn encode_storage(address: &SocketAddr) -> [u8; 128] {
    let mut storage = [0; 128];
    let mut packed = Vec::with_capacity(28);
    encode(address, &mut packed);
    for (to, from) in storage.iter_mut().zip(packed) {
        *to = from;
    }
    storage
}

/// Reads one address and what follows it. IPv4 addresses that an IPv6 socket shows as mapped are plain
/// IPv4 addresses here, so that an address reads the same whatever the family of the socket.
pub(crate) fn decode(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let (ip, rest) = rest.split_first_chunk::<4>()?;
            let (_zero, rest) = rest.split_first_chunk::<8>()?;
            Some((SocketAddr::from((Ipv4Addr::from(*ip), port)), rest))
        }
        libc::AF_INET6 => {
            let (flow, rest) = rest.split_first_chunk::<4>()?;
            let (ip, rest) = rest.split_first_chunk::<16>()?;
            let (scope, rest) = rest.split_first_chunk::<4>()?;
            let address = match Ipv6Addr::from(*ip).to_canonical() {
                IpAddr::V4(ip) => SocketAddr::from((ip, port)),
                IpAddr::V6(ip) => {
                    // The kernel sometimes names the interface where that means nothing, and two forms
                    // of one address would not be equal.
                    let scoped = ip.is_unicast_link_local() || ip.is_multicast();
                    let scope = if scoped { u32::from_ne_bytes(*scope) } else { 0 };
                    SocketAddrV6::new(ip, port, u32::from_ne_bytes(*flow), scope).into()
                }
            };
            Some((address, rest))
        }
        _ => None,
    }
}

/// Reads `count` addresses, or as many as there are.
pub(crate) fn decode_all(mut bytes: &[u8], count: usize) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    while addresses.len() < count
        && let Some((address, rest)) = decode(bytes)
    {
        addresses.push(address);
        bytes = rest;
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_packed_without_gaps_and_read_back() {
        let list: Vec<SocketAddr> =
            ["10.0.0.1:3863", "[fe80::1%3]:3863", "192.0.2.9:1", "[2001:db8::1]:65535"]
                .map(|text| text.parse().unwrap())
                .into();
        let packed = encode_all(&list);
        assert_eq!(packed.len(), 16 + 28 + 16 + 28);
        assert_eq!(decode_all(&packed, 4), list);
        assert_eq!(decode_all(&packed, 2), list[..2]);
        assert_eq!(decode_all(&packed, 9), list);
    }

    #[test]
    fn the_packed_form_is_the_one_of_libc() {
        assert_eq!(size_of::<libc::sockaddr_in>(), 16);
        assert_eq!(size_of::<libc::sockaddr_in6>(), 28);
        assert_eq!(size_of::<libc::sockaddr_storage>(), 128);
        assert_eq!(std::mem::offset_of!(libc::sockaddr_in6, sin6_addr), 8);
        assert_eq!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id), 24);
        assert_eq!(std::mem::offset_of!(libc::sockaddr_in, sin_addr), 4);
    }

    #[test]
    fn a_mapped_address_reads_as_ipv4() {
        let packed = encode_all(&["[::ffff:10.0.0.1]:7".parse().unwrap()]);
        assert_eq!(decode_all(&packed, 1), ["10.0.0.1:7".parse().unwrap()]);
    }

    #[test]
    fn a_scope_stays_only_where_it_means_something() {
        let list = ["[::1%1]:7", "[fe80::1%2]:7"].map(|text| text.parse().unwrap());
        let expected = ["[::1]:7", "[fe80::1%2]:7"].map(|text| text.parse().unwrap());
        assert_eq!(decode_all(&encode_all(&list), 2), expected);
    }

    #[test]
    fn short_and_foreign_addresses_are_none() {
        let packed = encode_storage(&"[2001:db8::1]:7".parse().unwrap());
        for len in 0..28 {
            assert!(decode(&packed[..len]).is_none());
        }
        assert!(decode(&packed).is_some());
        assert!(decode(&[0; 128]).is_none());
    }
}
