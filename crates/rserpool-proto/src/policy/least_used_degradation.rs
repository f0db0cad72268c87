//! Least used with degradation (RFC 5356 §5.2): every selection since an element's registration
//! adds to the load it is ranked by.

use super::ranking::Ranking;
use super::{Dice, Policy, Seat};
use crate::grow::reach;
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(super) fn create() -> Box<dyn Policy> {
    Box::new(Degrading::default())
}

/// Elements by load + counter * degradation: that sum is the key, so that no counter is kept.
#[derive(Debug, Default)]
struct Degrading {
    ranking: Ranking,
    /// By seat.
    degradation: Vec<u32>,
}

fn words_of(words: &[u32]) -> (u64, u32) {
    let load = words.first().copied().unwrap_or(0);
    (u64::from(load), words.get(1).copied().unwrap_or(0))
}

impl Policy for Degrading {
    fn insert(&mut self, seat: Seat, words: &[u32]) {
        let (load, degradation) = words_of(words);
        reach(&mut self.degradation, seat.index(), 0);
        self.degradation[seat.index()] = degradation;
        self.ranking.insert(seat, load);
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        // RFC 5356 §5.2.2: the counter is set to 0.
        let (load, degradation) = words_of(words);
        self.degradation[seat.index()] = degradation;
        self.ranking.update(seat, load);
    }

    fn remove(&mut self, seat: Seat) {
        self.ranking.remove(seat);
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        // RFC 5356 §5.2.2: the counter of every element returned.
        let degradation = &self.degradation;
        self.ranking.raise_first(n, |key, seat| {
            out.push(seat);
            key.saturating_add(u64::from(degradation[seat.index()]))
        });
    }

    fn check(&self) {
        self.ranking.check();
    }
}
