//! Weighted round robin (RFC 5356 §4.2): the circular list with each element in it as often as its
//! weight says, evenly spread, without the list.
//!
//! Every element has a virtual time at which it is next in turn; being selected moves it by 1 /
//! weight. In one unit of virtual time each element comes exactly as often as its weight says, and
//! the order of the times is the order of the list that RFC 5356 describes.

use super::ranking::Ranking;
use super::{Dice, Policy, Seat};
use crate::grow::reach;
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(super) fn create() -> Box<dyn Policy> {
    Box::new(WeightedRoundRobin::default())
}

#[derive(Clone, Debug, Default)]
struct WeightedRoundRobin {
    /// By virtual time; those of weight 0 are not ranked.
    ranking: Ranking,
    /// By seat.
    weights: Vec<Weight>,
    /// The virtual time of the latest answer.
    now: u64,
    /// How many have joined: spreads them over their first unit.
    joined: u64,
    /// How many of an answer have had their turn by it, but for the first.
    further: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    weight: u32,
    /// What the integer virtual time lacks, in `1 / weight`: so it never drifts.
    rest: u32,
}

/// One unit of virtual time: a weight of 2^32 - 1 still moves by 2^16.
const UNIT: u64 = 1 << 48;
/// Virtual times are lowered before they can overflow: none is further ahead than one unit.
const HIGHEST: u64 = 1 << 63;
/// 2^64 divided by the golden ratio: multiples of it fall as far from each other as they can.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn weight_of(words: &[u32]) -> u32 {
    words.first().copied().unwrap_or(1)
}

impl Weight {
    /// Virtual time from one turn to the next.
    fn turn(&mut self) -> u64 {
        let weight = u64::from(self.weight);
        let rest = u64::from(self.rest) + UNIT % weight;
        let carry = rest >= weight;
        self.rest = (rest - if carry { weight } else { 0 }) as u32;
        UNIT / weight + u64::from(carry)
    }
}

impl WeightedRoundRobin {
    /// Ranks an element within its first turn from now.
    fn join(&mut self, seat: Seat, weight: u32) {
        self.weights[seat.index()] = Weight { weight, rest: 0 };
        if weight > 0 {
            self.joined = self.joined.wrapping_add(1);
            let phase = u128::from(self.joined.wrapping_mul(GOLDEN));
            let turn = u128::from(UNIT / u64::from(weight));
            self.ranking.insert(seat, self.now + ((turn * phase) >> 64) as u64);
        }
    }
}

impl Policy for WeightedRoundRobin {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        reach(&mut self.weights, seat.index(), Weight::default());
        self.join(seat, weight_of(words));
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        let weight = weight_of(words);
        if weight != self.weights[seat.index()].weight {
            self.remove(seat);
            self.join(seat, weight);
        }
    }

    fn remove(&mut self, seat: Seat) {
        if self.ranking.contains(seat) {
            self.ranking.remove(seat);
        }
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        if n == 0 {
            return;
        }
        if self.ranking.len() == 0 {
            return;
        }
        let begin = out.len();
        let end = begin + n.min(self.ranking.len());
        self.ranking.visit(|_, seat| {
            out.push(seat);
            out.len() < end
        });
        // As in round robin, the list moves by one however many were returned.
        let (weights, now) = (&mut self.weights, &mut self.now);
        let turns = 1 + self.further.min(end - begin - 1);
        self.ranking.raise_first(turns, |time, seat| {
            *now = time;
            time + weights[seat.index()].turn()
        });
        if self.now >= HIGHEST {
            self.ranking.lower(self.now);
            self.now = 0;
        }
    }

    fn set_increment(&mut self, most: usize) {
        self.further = most.saturating_sub(1);
    }

    fn check(&self) {
        self.ranking.check();
    }
}
