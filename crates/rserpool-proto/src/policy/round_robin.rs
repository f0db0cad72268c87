//! Round robin (RFC 5356 §4.1): a circular list with a head that each answer advances by one.

use super::{Dice, Policy, Seat};
use crate::grow::reach;
use crate::planted::planted;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Makes the order of a pool that has no element yet.
pub(super) fn create() -> Box<dyn Policy> {
    Box::new(RoundRobin::default())
}

/// A circular list through `links`; new elements go behind all others, just before the head.
#[derive(Clone, Debug, Default)]
struct RoundRobin {
    /// Indexed by seat; meaningful for taken seats only.
    links: Vec<Links>,
    /// Where the next answer begins, if `len` is not 0.
    head: u32,
    len: usize,
    /// How far an answer moves the head at most, but for the first.
    further: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    next: u32,
    previous: u32,
}

impl Policy for RoundRobin {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, _: &[u32]) {
        reach(&mut self.links, seat.index(), Links::default());
        if self.len == 0 {
            self.links[seat.index()] = Links { next: seat.0, previous: seat.0 };
            self.head = seat.0;
        } else {
            let last = self.links[self.head as usize].previous;
            self.links[seat.index()] = Links { next: self.head, previous: last };
            self.links[last as usize].next = seat.0;
            self.links[self.head as usize].previous = seat.0;
        }
        self.len += 1;
    }

    fn update(&mut self, _: Seat, _: &[u32]) {}

    fn remove(&mut self, seat: Seat) {
        let Links { next, previous } = self.links[seat.index()];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        if self.head == seat.0 {
            self.head = next;
        }
        self.len -= 1;
        if self.len == 0 {
            self.links = Vec::new();
        }
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        let n = n.min(self.len);
        if n == 0 {
            return;
        }
        let mut seat = self.head;
        for _ in 0..n {
            out.push(Seat(seat));
            seat = self.links[seat as usize].next;
        }
        // RFC 5356 §4.1.2: by one, however many were returned.
        if !planted!("head-not-advanced") {
            self.head = self.links[self.head as usize].next;
        }
        for _ in 0..self.further.min(n - 1) {
            self.head = self.links[self.head as usize].next;
        }
    }

    fn set_increment(&mut self, most: usize) {
        self.further = most.saturating_sub(1);
    }

    fn check(&self) {
        let mut seat = self.head;
        for _ in 0..self.len {
            let next = self.links[seat as usize].next;
            assert_eq!(self.links[next as usize].previous, seat);
            seat = next;
        }
        assert!(self.len == 0 || seat == self.head, "the list is not one circle");
    }
}
