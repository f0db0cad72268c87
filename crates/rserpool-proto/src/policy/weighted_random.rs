//! Weighted random (RFC 5356 §4.4), randomized least used (§5.4), and rsplib's with priority and by
//! distance: any element, each as likely as its weight says.
//!
//! Elements are kept by the number of bits of their weight. A draw picks a class by its sum of
//! weights, then members of it at random until one accepts, each with the probability weight /
//! highest weight of the class, which is at least a half. So a draw, and any change, takes constant
//! time.

use super::{Dice, Policy, Seat, first_words};
use crate::grow::{push, reach};
use crate::planted::planted;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Weighted random: by weight.
pub(super) fn create_weighted() -> Box<dyn Policy> {
    Box::new(Weighted::new(|words| {
        let least = u32::from(planted!("weight-zero-returned"));
        words.first().copied().unwrap_or(1).max(least)
    }))
}

/// Randomized least used: by the load left.
pub(super) fn create_least_used() -> Box<dyn Policy> {
    Box::new(Weighted::new(|words| u32::MAX - words.first().copied().unwrap_or(0)))
}

/// Randomized priority least used: by the load left after one more user.
pub(super) fn create_priority_least_used() -> Box<dyn Policy> {
    Box::new(Weighted::new(|words| {
        let [load, degradation] = first_words(words);
        left(load, degradation)
    }))
}

/// By weight, of which each millisecond of distance takes its penalty; what is not 0 stays above.
pub(super) fn create_weighted_distance() -> Box<dyn Policy> {
    Box::new(Weighted::new(|words| {
        let [_, penalty, distance] = first_words(words);
        let weight = words.first().copied().unwrap_or(1);
        weight.saturating_sub(penalty.saturating_mul(distance)).max(weight.min(1))
    }))
}

/// The load left when `more` comes to `load`: 0 for an element that is full without it, and at
/// least 1 for others, so that a pool in which everybody is nearly full still serves.
pub(super) fn left(load: u32, more: u32) -> u32 {
    let left = u32::MAX - load;
    left.saturating_sub(more).max(left.min(1))
}

#[derive(Clone, Debug)]
pub(super) struct Weighted {
    weight: fn(&[u32]) -> u32,
    /// Those that are drawn first, and those held back until nobody else is left.
    urns: [Urn; 2],
    /// By seat.
    places: Vec<Place>,
    /// Scratch: selected in this answer, but still to be drawn.
    drawn: Vec<Member>,
    /// Scratch: selected in this answer and taken out until it is complete.
    set_aside: Vec<Member>,
}

#[derive(Clone, Debug, Default)]
struct Urn {
    /// Those that have members, the highest weights first; at most 32.
    classes: Vec<Class>,
    total: u64,
}

/// Members whose weight has the same number of bits.
#[derive(Clone, Debug)]
struct Class {
    bits: u32,
    /// No member weighs more; not lowered while the class lasts.
    ceiling: u32,
    sum: u64,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    seat: u32,
    weight: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// 0 for seats that are free or never selected, which are in no class.
    weight: u32,
    /// Index among the members of its class, and whether it is held back in the lowest bit.
    index_and_held: u32,
}

/// So many selected ones are looked for in every draw before they are taken out.
const MOST_DRAWN: usize = 16;

impl Place {
    /// The number of its urn.
    fn urn(self) -> usize {
        (self.index_and_held & 1) as usize
    }

    fn index(self) -> usize {
        (self.index_and_held >> 1) as usize
    }

    fn move_to(&mut self, index: usize) {
        self.index_and_held = (index as u32) << 1 | self.index_and_held & 1;
    }
}

impl Urn {
    /// Returns its index among the members of its class.
    fn add(&mut self, member: Member) -> usize {
        let bits = u32::BITS - member.weight.leading_zeros();
        let at = self.classes.iter().position(|class| class.bits <= bits);
        let at = at.unwrap_or(self.classes.len());
        if self.classes.get(at).is_none_or(|class| class.bits != bits) {
            self.classes.reserve_exact(1);
            self.classes.insert(at, Class { bits, ceiling: 0, sum: 0, members: Vec::new() });
        }
        let class = &mut self.classes[at];
        class.ceiling = class.ceiling.max(member.weight);
        class.sum += u64::from(member.weight);
        self.total += u64::from(member.weight);
        push(&mut class.members, member);
        class.members.len() - 1
    }

    /// Takes a member of this weight out; returns who has its index now.
    fn take(&mut self, weight: u32, index: usize) -> Option<Member> {
        let bits = u32::BITS - weight.leading_zeros();
        let at = self.classes.iter().position(|class| class.bits == bits);
        let at = at.expect("a weight has its class");
        let class = &mut self.classes[at];
        class.members.swap_remove(index);
        let moved = class.members.get(index).copied();
        class.sum -= u64::from(weight);
        self.total -= u64::from(weight);
        if class.members.is_empty() {
            self.classes.remove(at);
        }
        moved
    }

    /// Any member, each as likely as its weight says; there is at least one.
    fn draw(&self, dice: &mut Dice) -> Member {
        let mut class = &self.classes[0];
        if self.classes.len() > 1 {
            let mut mark = match u32::try_from(self.total) {
                Ok(total) => u64::from(dice.below32(total)),
                Err(_) => dice.below64(self.total),
            };
            for candidate in &self.classes {
                class = candidate;
                if mark < candidate.sum {
                    break;
                }
                mark -= candidate.sum;
            }
        }
        loop {
            let (index, die) = dice.below32_and_bits(class.members.len() as u32);
            let member = class.members[index as usize];
            // Exact to 2^-32: the probability is weight / ceiling.
            if (u64::from(die) * u64::from(class.ceiling)) >> 32 < u64::from(member.weight) {
                return member;
            }
        }
    }
}

impl Weighted {
    pub(super) fn new(weight: fn(&[u32]) -> u32) -> Self {
        Self {
            weight,
            urns: [Urn::default(), Urn::default()],
            places: Vec::new(),
            drawn: Vec::new(),
            set_aside: Vec::new(),
        }
    }

    /// Puts an element that is in no urn into that of its place.
    fn add(&mut self, seat: u32, weight: u32) {
        let place = &mut self.places[seat as usize];
        place.weight = weight;
        if weight > 0 {
            let index = self.urns[place.urn()].add(Member { seat, weight });
            place.move_to(index);
        }
    }

    fn take(&mut self, seat: u32) {
        let place = self.places[seat as usize];
        if place.weight > 0
            && let Some(moved) = self.urns[place.urn()].take(place.weight, place.index())
        {
            self.places[moved.seat as usize].move_to(place.index());
        }
    }

    /// Lowers the weight of a taken seat; what is not 0 stays above.
    pub(super) fn lower(&mut self, seat: Seat, by: u32) {
        let weight = self.places[seat.index()].weight;
        let lower = weight.saturating_sub(by).max(weight.min(1));
        if lower != weight {
            self.take(seat.0);
            self.add(seat.0, lower);
        }
    }

    fn set_aside(&mut self) {
        for at in 0..self.drawn.len() {
            self.take(self.drawn[at].seat);
        }
        self.set_aside.append(&mut self.drawn);
    }

    /// Draws up to `n` from an urn.
    fn select_from(&mut self, urn: usize, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        // Whoever has been drawn already is drawn again in vain, which leaves the others' chances
        // as they should be. Once that happens often, the drawn ones are taken out for a while.
        let mut drawn_weight = 0;
        for _ in 0..n {
            if self.drawn.len() == MOST_DRAWN || drawn_weight > self.urns[urn].total / 2 {
                self.set_aside();
                drawn_weight = 0;
            }
            let urn = &self.urns[urn];
            if urn.total == 0 {
                break;
            }
            let member = loop {
                let member = urn.draw(dice);
                if self.drawn.iter().all(|drawn| drawn.seat != member.seat) {
                    break member;
                }
            };
            out.push(Seat(member.seat));
            drawn_weight += u64::from(member.weight);
            self.drawn.push(member);
        }
        self.drawn.clear();
        while let Some(member) = self.set_aside.pop() {
            self.add(member.seat, member.weight);
        }
    }
}

impl Policy for Weighted {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        reach(&mut self.places, seat.index(), Place::default());
        self.places[seat.index()] = Place::default();
        self.add(seat.0, (self.weight)(words));
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        let weight = (self.weight)(words);
        if weight != self.places[seat.index()].weight {
            self.take(seat.0);
            self.add(seat.0, weight);
        }
    }

    fn remove(&mut self, seat: Seat) {
        self.take(seat.0);
        self.places[seat.index()].weight = 0;
    }

    fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        let end = out.len() + n;
        for urn in 0..self.urns.len() {
            self.select_from(urn, dice, end - out.len(), out);
        }
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        self.take(seat.0);
        let place = &mut self.places[seat.index()];
        place.index_and_held = u32::from(held);
        let weight = place.weight;
        self.add(seat.0, weight);
    }

    fn check(&self) {
        let mut members = 0;
        for (number, urn) in self.urns.iter().enumerate() {
            let mut total = 0;
            for class in &urn.classes {
                let sum = class.members.iter().map(|member| u64::from(member.weight)).sum::<u64>();
                assert_eq!(class.sum, sum);
                total += sum;
                members += class.members.len();
                for (index, member) in class.members.iter().enumerate() {
                    let place = self.places[member.seat as usize];
                    let found = (place.weight, place.urn(), place.index());
                    assert_eq!(found, (member.weight, number, index));
                    assert_eq!(u32::BITS - member.weight.leading_zeros(), class.bits);
                    assert!(member.weight <= class.ceiling);
                }
            }
            assert!(urn.classes.is_sorted_by(|a, b| a.bits > b.bits));
            assert_eq!(total, urn.total);
        }
        assert_eq!(members, self.places.iter().filter(|place| place.weight > 0).count());
    }
}
