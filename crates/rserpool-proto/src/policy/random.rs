//! Random (RFC 5356 §4.3): any element, each as likely.

use super::{Dice, Policy, Seat};
use crate::grow::{push, reach};
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(super) fn create() -> Box<dyn Policy> {
    Box::new(Random::default())
}

/// Taken seats without gaps, in an order that does not matter.
#[derive(Clone, Debug, Default)]
struct Random {
    seats: Vec<u32>,
    /// Where each taken seat is in `seats`.
    position: Vec<u32>,
}

impl Random {
    fn swap(&mut self, one: usize, other: usize) {
        self.seats.swap(one, other);
        self.position[self.seats[one] as usize] = one as u32;
        self.position[self.seats[other] as usize] = other as u32;
    }
}

impl Policy for Random {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, _: &[u32]) {
        reach(&mut self.position, seat.index(), 0);
        self.position[seat.index()] = self.seats.len() as u32;
        push(&mut self.seats, seat.0);
    }

    fn update(&mut self, _: Seat, _: &[u32]) {}

    fn remove(&mut self, seat: Seat) {
        let last = self.seats.len() - 1;
        self.swap(self.position[seat.index()] as usize, last);
        self.seats.truncate(last);
    }

    fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        // The beginning of a shuffle (Fisher and Yates), which none can be in twice.
        let len = self.seats.len();
        for taken in 0..n.min(len) {
            let other = taken + dice.below32((len - taken) as u32) as usize;
            self.swap(taken, other);
            out.push(Seat(self.seats[taken]));
        }
    }

    fn check(&self) {
        for (position, &seat) in self.seats.iter().enumerate() {
            assert_eq!(self.position[seat as usize] as usize, position);
        }
    }
}
