//! Randomness for policies: ChaCha12 from a seed, drawn without bias.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// Draws numbers; the same seed draws the same ones.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha12Rng);

impl Dice {
    /// Dice that draw what `seed` says.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// 32 random bits.
    #[inline]
    pub fn bits32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    #[inline]
    pub fn bits64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// One of the numbers below `bound`, each as likely; 0 if there are none.
    #[inline]
    pub fn below32(&mut self, bound: u32) -> u32 {
        // Multiply and shift; the few products that would favour some results are drawn again.
        let mut product = u64::from(self.bits32()) * u64::from(bound);
        if (product as u32) < bound {
            let unfair = bound.wrapping_neg() % bound;
            while (product as u32) < unfair {
                product = u64::from(self.bits32()) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// As [`Dice::below32`], and 32 random bits in the same draw.
    #[inline]
    pub fn below32_and_bits(&mut self, bound: u32) -> (u32, u32) {
        loop {
            let bits = self.bits64();
            let product = (bits >> 32) * u64::from(bound);
            if product as u32 >= bound || product as u32 >= bound.wrapping_neg() % bound.max(1) {
                return ((product >> 32) as u32, bits as u32);
            }
        }
    }

    /// One of the numbers below `bound`, each as likely; 0 if there are none.
    #[inline]
    pub fn below64(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.bits64()) * u128::from(bound);
        if (product as u64) < bound {
            let unfair = bound.wrapping_neg() % bound;
            while (product as u64) < unfair {
                product = u128::from(self.bits64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let mut dice = Dice::new([7; 32]);
        let mut seen = [[0u32; 5]; 3];
        for _ in 0..10_000 {
            seen[2][dice.below32_and_bits(5).0 as usize] += 1;
            seen[0][dice.below32(5) as usize] += 1;
            seen[1][usize::try_from(dice.below64(5)).unwrap()] += 1;
        }
        assert!(seen.as_flattened().iter().all(|&count| (1_800..2_200).contains(&count)));
        assert_eq!((dice.below32(0), dice.below64(0)), (0, 0));
        assert_eq!((dice.below32(1), dice.below64(1)), (0, 0));
    }
}
