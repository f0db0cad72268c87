//! rsplib's randomized least used with degradation, with and without priority: any element, each as
//! likely as the load it has left, of which every selection since its registration takes some.

use super::weighted_random::{Weighted, left};
use super::{Dice, Policy, Seat, first_words};
use crate::grow::reach;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// By the load left.
pub(super) fn create_least_used() -> Box<dyn Policy> {
    Box::new(Degrading::new(|words| {
        let [load] = first_words(words);
        left(load, 0)
    }))
}

/// By the load left after one more user.
pub(super) fn create_priority_least_used() -> Box<dyn Policy> {
    Box::new(Degrading::new(|words| {
        let [load, degradation] = first_words(words);
        left(load, degradation)
    }))
}

/// The weight itself is lowered, so that no counter is kept.
#[derive(Clone, Debug)]
struct Degrading {
    weighted: Weighted,
    /// By seat.
    degradation: Vec<u32>,
    /// How many of an answer count.
    increment: usize,
}

impl Degrading {
    fn new(weight: fn(&[u32]) -> u32) -> Self {
        Self { weighted: Weighted::new(weight), degradation: Vec::new(), increment: usize::MAX }
    }

    fn set_degradation(&mut self, seat: Seat, words: &[u32]) {
        let [_, degradation] = first_words(words);
        reach(&mut self.degradation, seat.index(), 0);
        self.degradation[seat.index()] = degradation;
    }
}

impl Policy for Degrading {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        self.set_degradation(seat, words);
        self.weighted.insert(seat, words);
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        self.set_degradation(seat, words);
        self.weighted.update(seat, words);
    }

    fn remove(&mut self, seat: Seat) {
        self.weighted.remove(seat);
    }

    fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        let begin = out.len();
        self.weighted.select(dice, n, out);
        for &seat in out.iter().skip(begin).take(self.increment) {
            self.weighted.lower(seat, self.degradation[seat.index()]);
        }
    }

    fn set_increment(&mut self, most: usize) {
        self.increment = most;
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        self.weighted.hold(seat, held);
    }

    fn check(&self) {
        self.weighted.check();
    }
}
