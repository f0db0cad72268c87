//! Least used (RFC 5356 §5.1), priority least used (§5.3), priority (§4.5), most used (RFC 3237
//! §2.10) and rsplib's least used by distance: the lowest key first, round robin among equals.

use super::ranking::{HIGHEST, Ranking};
use super::{Dice, Policy, Seat, first_words};
use crate::planted::planted;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Least used: by load.
pub(super) fn create_least_used() -> Box<dyn Policy> {
    Box::new(Sorted::new(|words| {
        let load = words.first().copied().unwrap_or(0);
        u64::from(if planted!("least-used-reversed") { !load } else { load })
    }))
}

/// Priority least used: by the load after one more user.
pub(super) fn create_priority_least_used() -> Box<dyn Policy> {
    Box::new(Sorted::new(|words| words.iter().take(2).copied().map(u64::from).sum()))
}

/// Priority: highest first.
pub(super) fn create_priority() -> Box<dyn Policy> {
    Box::new(Sorted::new(|words| u64::from(!words.first().copied().unwrap_or(0))))
}

/// Least used by distance: load, and for each millisecond of distance its penalty.
pub(super) fn create_least_used_distance() -> Box<dyn Policy> {
    Box::new(Sorted::new(|words| {
        let [load, penalty, distance] = first_words(words).map(u64::from);
        penalty.saturating_mul(distance).saturating_add(load).min(HIGHEST)
    }))
}

/// Most used: highest load first, but those that are full behind all others.
pub(super) fn create_most_used() -> Box<dyn Policy> {
    Box::new(Sorted::new(|words| {
        let [load] = first_words(words);
        if load == u32::MAX { HIGHEST } else { u64::from(!load) }
    }))
}

/// Elements by a key that only they change.
#[derive(Clone, Debug)]
struct Sorted {
    ranking: Ranking,
    key: fn(&[u32]) -> u64,
    /// Scratch: those to be put behind their equals.
    served: Vec<(u64, Seat)>,
}

impl Sorted {
    fn new(key: fn(&[u32]) -> u64) -> Self {
        Self { ranking: Ranking::default(), key, served: Vec::new() }
    }
}

impl Policy for Sorted {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        self.ranking.insert(seat, (self.key)(words));
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        self.ranking.update(seat, (self.key)(words));
    }

    fn remove(&mut self, seat: Seat) {
        self.ranking.remove(seat);
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        if n == 0 {
            return;
        }
        // The elements of one key are a circle, and every answer that has some of them moves its
        // head by one, as round robin does: the first of them goes behind the others. One look
        // beyond the answer tells whether there are others.
        let end = out.len() + n;
        let mut previous: Option<(u64, Seat)> = None;
        let mut alone = true;
        self.served.clear();
        self.ranking.visit(|key, seat| {
            match previous {
                Some((same, first)) if same == key => {
                    if alone {
                        self.served.push((key, first));
                    }
                    alone = false;
                }
                _ => alone = true,
            }
            previous = Some((key, seat));
            let wanted = out.len() < end;
            if wanted {
                out.push(seat);
            }
            wanted
        });
        for &(key, seat) in &self.served {
            self.ranking.requeue(seat, key);
        }
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        self.ranking.hold(seat, held);
    }

    fn check(&self) {
        self.ranking.check();
    }
}
