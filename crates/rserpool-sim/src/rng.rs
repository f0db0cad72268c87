//! Randomness of the world: SplitMix64, one stream per purpose.
//!
//! Every purpose (a node, an end of a connection, the draw of a plan) has its own stream, named by
//! numbers, so that leaving one thing out of a plan does not change what happens to the others.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream that `seed` and `labels` name.
    pub fn new(seed: u64, labels: &[u64]) -> Self {
        let mut state = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for label in labels {
            state = mix(state ^ mix(label.wrapping_add(0x632b_e59b_d9b4_e019)));
        }
        Self(state)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One of the numbers below `bound`; 0 if there are none.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// One of the numbers from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// As [`Random::between`], small numbers as often as large ones of the next power.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = ((low.max(1) as f64).ln(), ((high + 1) as f64).ln());
        let drawn = (from + (to - from) * self.unit()).exp() as u64;
        drawn.clamp(low, high)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True this often in a thousand times.
    pub fn permille(&mut self, often: u64) -> bool {
        self.below(1000) < often
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Exponentially distributed with this mean, at most ten times it.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let drawn = -(1.0 - self.unit()).ln() * mean as f64;
        (drawn as u64).min(mean.saturating_mul(10))
    }

    /// The seed of a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for chunk in seed.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes());
        }
        seed
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_themselves_and_differ_from_each_other() {
        let draw = |labels: &[u64]| Random::new(7, labels).bits();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[0]), draw(&[]));
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut random = Random::new(1, &[]);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((5..=100).contains(&random.spread(5, 100)));
            assert!((30..=300).contains(&random.between(30, 300)));
            assert!(random.exponential(100) <= 1000);
        }
    }
}
