//! Least used with degradation (RFC 5356 §5.2), and rsplib's two with priority and by distance:
//! every selection since an element's registration adds to the load it is ranked by.

use super::ranking::{HIGHEST, Ranking, grown};
use super::{Dice, Policy, Seat, first_words};
use crate::grow::reach;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Least used with degradation: by load.
pub(super) fn create() -> Box<dyn Policy> {
    Box::new(Degrading::new(|words| {
        let [load, degradation] = first_words(words);
        (u64::from(load), degradation)
    }))
}

/// With priority: by the load after one more user.
pub(super) fn create_priority() -> Box<dyn Policy> {
    Box::new(Degrading::new(|words| {
        let [load, degradation] = first_words(words);
        (u64::from(load) + u64::from(degradation), degradation)
    }))
}

/// By load, and for each millisecond of distance its penalty.
pub(super) fn create_distance() -> Box<dyn Policy> {
    Box::new(Degrading::new(|words| {
        let [load, degradation, penalty, distance] = first_words(words);
        let far = u64::from(penalty).saturating_mul(u64::from(distance));
        (far.saturating_add(u64::from(load)).min(HIGHEST), degradation)
    }))
}

/// Elements by load + counter * degradation: that sum is the key, so that no counter is kept.
#[derive(Clone, Debug)]
struct Degrading {
    ranking: Ranking,
    /// The key at registration, and what each selection adds to it.
    begin: fn(&[u32]) -> (u64, u32),
    /// By seat.
    degradation: Vec<u32>,
    /// How many of an answer count.
    increment: usize,
}

impl Degrading {
    fn new(begin: fn(&[u32]) -> (u64, u32)) -> Self {
        Self { ranking: Ranking::default(), begin, degradation: Vec::new(), increment: usize::MAX }
    }
}

impl Policy for Degrading {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        let (load, degradation) = (self.begin)(words);
        reach(&mut self.degradation, seat.index(), 0);
        self.degradation[seat.index()] = degradation;
        self.ranking.insert(seat, load);
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        // RFC 5356 §5.2.2: the counter is set to 0.
        let (load, degradation) = (self.begin)(words);
        self.degradation[seat.index()] = degradation;
        self.ranking.update(seat, load);
    }

    fn remove(&mut self, seat: Seat) {
        self.ranking.remove(seat);
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        // RFC 5356 §5.2.2: the counter of every element returned.
        let degradation = &self.degradation;
        if n <= self.increment {
            return self.ranking.raise_first(n, |key, seat| {
                out.push(seat);
                grown(key, u64::from(degradation[seat.index()]))
            });
        }
        let mut left = n;
        self.ranking.visit(|_, seat| {
            out.push(seat);
            left -= 1;
            left > 0
        });
        self.ranking.raise_first(self.increment, |key, seat| {
            grown(key, u64::from(degradation[seat.index()]))
        });
    }

    fn set_increment(&mut self, most: usize) {
        self.increment = most;
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        self.ranking.hold(seat, held);
    }

    fn check(&self) {
        self.ranking.check();
    }
}
