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

/// What a handle adds to the digests of its elements: SipHash-1-3 of its bytes.
pub(super) fn handle_key(handle: &PoolHandle) -> u64 {
    SipHasher13::new_with_key(KEY).hash(handle.as_bytes())
}

/// Hash of all that registrars must agree on about an element.
///
/// SipHash-1-3 with a fixed key over these 64-bit words, each as its eight bytes from the lowest:
/// the key of the handle ([`handle_key`]); identifier << 32 | moves; seq (both all ones if there is
/// no stamp); user transport; ASAP transport; AsapOverTcp; policy number << 32 | length of its data
/// in bytes; and the data, each word a word, or else each eight bytes, the last padded with zero.
/// A transport is kind << 48 | port << 32 | use << 16 | number of addresses, kind being its RFC
/// 5354 type or 0 for none and use 1 for data and control, and then its addresses: of IPv4 one
/// word, of IPv6 two, the higher first. DCCP adds its service code; an opaque transport has its
/// length in the place of port to addresses, and its bytes as policy data has.
pub(super) fn digest(handle_key: u64, element: &Element) -> u64 {
    let mut feed = Feed { hasher: SipHasher13::new_with_key(KEY) };
    let (seq, moves) = element.stamp().map_or((u64::MAX, u32::MAX), |s| (s.seq, s.moves));
    feed.word(handle_key);
    feed.pair(element.id().0, moves);
    feed.word(seq);
    feed.transport(element.user_transport());
    match element.asap_transport() {
        Some(transport) => feed.sctp(transport),
        None => feed.word(0),
    }
    match element.asap_over_tcp() {
        Some(address) => feed.socket(TCP, address),
        None => feed.word(0),
    }
    let number = element.policy_number().0;
    match element.policy_data() {
        PolicyData::Words { .. } => {
            feed.pair(number, element.words().len() as u32 * 4);
            for &word in element.words() {
                feed.word(u64::from(word));
            }
        }
        PolicyData::Bytes(bytes) => {
            feed.pair(number, bytes.len() as u32);
            feed.bytes(bytes);
        }
    }
    feed.hasher.finish()
}

/// Not a secret: it only has to be the same everywhere.
const KEY: &[u8; 16] = b"rserpool digest1";

/// Transport parameter types (RFC 5354 §3).
const DCCP: u16 = 3;
const SCTP: u16 = 4;
const TCP: u16 = 5;
const UDP: u16 = 6;
const UDP_LITE: u16 = 7;
const OPAQUE: u16 = 0x10;

struct Feed {
    hasher: SipHasher13,
}

impl Feed {
    fn word(&mut self, word: u64) {
        // `write_u64` takes the bytes as the machine has them.
        self.hasher.write_u64(word.to_le());
    }

    fn pair(&mut self, high: u32, low: u32) {
        self.word(u64::from(high) << 32 | u64::from(low));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn transport(&mut self, transport: &Transport) {
        match transport {
            Transport::Dccp { address, service_code } => {
                self.socket(DCCP, *address);
                self.word(u64::from(*service_code));
            }
            Transport::Sctp(transport) => self.sctp(transport),
            Transport::Tcp(address) => self.socket(TCP, *address),
            Transport::Udp(address) => self.socket(UDP, *address),
            Transport::UdpLite(address) => self.socket(UDP_LITE, *address),
            Transport::Opaque(bytes) => {
                self.word(u64::from(OPAQUE) << 48 | bytes.len() as u64);
                self.bytes(bytes);
            }
        }
    }

    fn sctp(&mut self, transport: &SctpTransport) {
        let control = u16::from(transport.transport_use == TransportUse::DataPlusControl);
        let addresses = transport.addresses.as_slice();
        self.head(SCTP, transport.port, control, addresses.len() as u16);
        for address in addresses {
            self.address(*address);
        }
    }

    fn socket(&mut self, kind: u16, address: SocketAddr) {
        self.head(kind, address.port(), 0, 1);
        self.address(address.ip());
    }

    fn head(&mut self, kind: u16, port: u16, control: u16, addresses: u16) {
        let high = u32::from(kind) << 16 | u32::from(port);
        self.pair(high, u32::from(control) << 16 | u32::from(addresses));
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.word(u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.word((bits >> 64) as u64);
                self.word(bits as u64);
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
