//! How far hosts are from this registrar, as its owner says.
//!
//! Only policies with a word `distance` ask. What is said here orders elements here and goes
//! nowhere else: another registrar is elsewhere.

use super::Element;
use super::pool::Pool;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Distances by address; none by default. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distances {
    /// Longest prefixes first.
    networks: Arc<[Network]>,
}

/// Addresses that are equally far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many of its leading bits they have in common.
    pub prefix: u8,
    /// How far they are, in milliseconds there and back.
    pub distance: u32,
}

impl Distances {
    /// Most networks; more are left out. Each is looked at when an element registers.
    pub const MOST: usize = 1024;

    /// Distances of these networks; the longest prefix counts, and of two that are alike the first.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut networks: Vec<_> = networks.into_iter().take(Self::MOST).collect();
        networks.sort_by_key(|network| core::cmp::Reverse(network.prefix));
        Self { networks: networks.into() }
    }

    /// How far an address is, in milliseconds there and back; `None` if nobody has said.
    pub fn of(&self, address: IpAddr) -> Option<u32> {
        let network = self.networks.iter().find(|network| network.contains(address))?;
        Some(network.distance)
    }

    /// The words of an element by which its pool orders it: its own, but for a distance known here.
    #[inline]
    pub(super) fn words<'a>(
        &self,
        pool: &Pool,
        element: &'a Element,
        room: &'a mut [u32; 4],
    ) -> &'a [u32] {
        match pool.distance_word {
            Some(place) if !self.networks.is_empty() => self.replaced(place, element, room),
            _ => element.words(),
        }
    }

    #[cold]
    fn replaced<'a>(&self, place: u8, element: &'a Element, room: &'a mut [u32; 4]) -> &'a [u32] {
        let words = element.words();
        let address = element.user_transport().socket_addrs().next().map(|user| user.ip());
        let Some(distance) = address.and_then(|address| self.of(address)) else { return words };
        let Some(room) = room.get_mut(..words.len()) else { return words };
        room.copy_from_slice(words);
        if let Some(word) = room.get_mut(usize::from(place)) {
            *word = distance;
        }
        room
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let differs = match (self.address, address) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                let bits = mine.to_bits() ^ other.to_bits();
                u128::from(bits) << 96
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => mine.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differs.leading_zeros() >= u32::from(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix: u8, distance: u32) -> Network {
        Network { address: address.parse().unwrap(), prefix, distance }
    }

    #[test]
    fn the_longest_prefix_says_how_far_an_address_is() {
        let distances = Distances::new([
            network("10.0.0.0", 8, 40),
            network("10.1.0.0", 16, 9),
            network("10.1.2.3", 32, 1),
            network("fd00::", 8, 7),
        ]);
        let of = |address: &str| distances.of(address.parse().unwrap());
        assert_eq!(of("10.9.9.9"), Some(40));
        assert_eq!(of("10.1.9.9"), Some(9));
        assert_eq!(of("10.1.2.3"), Some(1));
        assert_eq!(of("fd12::1"), Some(7));
        assert_eq!((of("11.0.0.1"), of("fe80::1")), (None, None));
        assert_eq!(
            Distances::new([network("::", 0, 3)]).of("2001:db8::1".parse().unwrap()),
            Some(3)
        );
    }
}
