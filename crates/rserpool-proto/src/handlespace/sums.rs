//! What two registrars compare to see whether they agree about the elements of one of them.
//!
//! All three are sums over elements, so that adding and removing one is an addition and a
//! subtraction, and the sums of parts add up to that of the whole.

use super::Element;
use crate::id::{PeId, PoolHandle};
use crate::wire::policy::PolicyData;
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use siphasher::sip::SipHasher13;

/// Sums over the elements of one home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// 16-bit words of every element's byte block (RFC 5353 §3.6.2), exact.
    pub(super) words: u64,
    /// Hashes of every element, modulo 2^64.
    pub(super) digest: u64,
    pub(super) elements: usize,
}

/// Sum of the 16-bit words of a handle, an odd last byte padded with zero.
pub(super) fn handle_words(handle: &PoolHandle) -> u32 {
    let words = handle.as_bytes().chunks(2);
    words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low))).sum()
}

/// Sum of the 16-bit words of an identifier.
pub(super) fn id_words(id: PeId) -> u32 {
    (id.0 >> 16) + (id.0 & 0xffff)
}

/// RFC 1071: carries come back in at the low end; the complement is what travels.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The same from a 32-bit accumulator, as rsplib keeps it.
pub(super) fn fold_rsplib(sum: u64) -> u16 {
    fold(sum & 0xffff_ffff)
}

/// Hash of all that registrars must agree on about an element.
///
/// SipHash-1-3 with a fixed key over, in this order and in network byte order: length of the
/// handle (1 byte) and handle, identifier, stamp (seq, moves; all ones if there is none), user
/// transport, ASAP transport, AsapOverTcp, policy number, and the length (4 bytes) and bytes of the
/// policy's data. A transport is its RFC 5354 type (2 bytes; 0 for none) followed by port, use (SCTP),
/// service code (DCCP), number of addresses (2 bytes) and each address as its length (1 byte) and
/// bytes; an opaque one by length (4 bytes) and bytes.
pub(super) fn digest(handle: &PoolHandle, element: &Element) -> u64 {
    let mut feed = Feed { hasher: SipHasher13::new_with_key(KEY) };
    feed.bytes(&[handle.as_bytes().len() as u8]);
    feed.bytes(handle.as_bytes());
    feed.bytes(&element.id().0.to_be_bytes());
    let (seq, moves) = element.stamp().map_or((u64::MAX, u32::MAX), |s| (s.seq, s.moves));
    feed.bytes(&seq.to_be_bytes());
    feed.bytes(&moves.to_be_bytes());
    feed.transport(element.user_transport());
    match element.asap_transport() {
        Some(transport) => feed.sctp(transport),
        None => feed.bytes(&[0, 0]),
    }
    match element.asap_over_tcp() {
        Some(address) => feed.socket(5, address),
        None => feed.bytes(&[0, 0]),
    }
    feed.bytes(&element.policy_number().0.to_be_bytes());
    match element.policy_data() {
        PolicyData::Words { .. } => {
            feed.bytes(&(element.words().len() as u32 * 4).to_be_bytes());
            for word in element.words() {
                feed.bytes(&word.to_be_bytes());
            }
        }
        PolicyData::Bytes(bytes) => feed.counted(bytes),
    }
    feed.hasher.finish()
}

/// Not a secret: it only has to be the same everywhere.
const KEY: &[u8; 16] = b"rserpool digest1";

struct Feed {
    hasher: SipHasher13,
}

impl Feed {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.bytes(&(bytes.len() as u32).to_be_bytes());
        self.bytes(bytes);
    }

    fn transport(&mut self, transport: &Transport) {
        match transport {
            Transport::Dccp { address, service_code } => {
                self.socket(3, *address);
                self.bytes(&service_code.to_be_bytes());
            }
            Transport::Sctp(transport) => self.sctp(transport),
            Transport::Tcp(address) => self.socket(5, *address),
            Transport::Udp(address) => self.socket(6, *address),
            Transport::UdpLite(address) => self.socket(7, *address),
            Transport::Opaque(bytes) => {
                self.bytes(&0x10_u16.to_be_bytes());
                self.counted(bytes);
            }
        }
    }

    fn sctp(&mut self, transport: &SctpTransport) {
        self.bytes(&4_u16.to_be_bytes());
        self.bytes(&transport.port.to_be_bytes());
        self.bytes(&[u8::from(transport.transport_use == TransportUse::DataPlusControl)]);
        let addresses = transport.addresses.as_slice();
        self.bytes(&(addresses.len() as u16).to_be_bytes());
        for address in addresses {
            self.address(*address);
        }
    }

    fn socket(&mut self, kind: u16, address: SocketAddr) {
        self.bytes(&kind.to_be_bytes());
        self.bytes(&address.port().to_be_bytes());
        self.bytes(&1_u16.to_be_bytes());
        self.address(address.ip());
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.bytes(&[4]);
                self.bytes(&address.octets());
            }
            IpAddr::V6(address) => {
                self.bytes(&[16]);
                self.bytes(&address.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_an_element_is_what_is_seen_on_the_wire() {
        // RFC 5353 §3.6.2; EchoPool / 0x21 is 92 30 in the reference implementation's presences.
        let handle = PoolHandle::new("EchoPool").unwrap();
        let words = u64::from(handle_words(&handle) + id_words(PeId(0x21)));
        assert_eq!(fold(words).to_be_bytes(), [0x92, 0x30]);
        assert_eq!(fold_rsplib(words).to_be_bytes(), [0x92, 0x30]);
        assert_eq!(fold(0), 0xffff);
    }

    #[test]
    fn an_odd_handle_is_padded_with_zero() {
        assert_eq!(handle_words(&PoolHandle::new("abc").unwrap()), 0x6162 + 0x6300);
    }

    #[test]
    fn only_the_exact_sum_keeps_the_carries_beyond_32_bits() {
        let sum = 0x1_2345_6789;
        assert_eq!(fold(sum), !(1 + 0x2345 + 0x6789));
        assert_eq!(fold_rsplib(sum), !(0x2345 + 0x6789));
    }
}
