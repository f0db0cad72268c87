//! Pool member selection policies (RFC 5356): which elements a user is given, and which it takes.
//!
//! A policy has two sides. The **registrar** side ([`Policy`]) owns the order of one pool: it is
//! told of elements that come, change and go, and selects some of them for an answer. The **user**
//! side ([`PolicyKind::pick`]) takes one element from such an answer. Policies see seats and plain
//! words and no elements; they decide order and nothing else.
//!
//! ```text
//!   registration -> insert(seat, words) ┐
//!   expiry       -> remove(seat)        ├─ Policy ── select(n) ──> answer ──> pick ──> element
//!   new load     -> update(seat, words) ┘
//! ```
//!
//! A new policy is one file here and one entry in `builtin.rs`; one from outside this
//! crate is a [`PolicyKind`] added to a [`PolicyTable`] when the program starts.

mod builtin;
mod dice;
mod keyed;
#[cfg(test)]
mod laws;
mod least_used;
mod least_used_degradation;
mod random;
mod random_degradation;
mod ranking;
mod round_robin;
mod rules;
mod table;
mod user;
mod weighted_random;
mod weighted_round_robin;

pub use crate::wire::policy::{PolicyData, PolicyNumber, PolicyParameter};
pub use dice::Dice;
#[cfg(any(test, feature = "testing"))]
pub(crate) use keyed::testing;
pub use keyed::{Key, Measures};
pub use rules::Rules;
pub use table::{Create, InvalidPolicy, Pick, PolicyKind, PolicyTable, Word};
pub use user::{Candidate, Turn};

use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// The place of an element in its pool: small dense numbers, given again after an element has
/// left, so that a policy may keep its state in plain vectors indexed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u32);

impl Seat {
    /// The seat as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The registrar side of a policy: the order of one pool.
///
/// `words` are the element's policy-specific data as it registered them. They are usually as many
/// as [`PolicyKind::words`] says; a peer may have sent fewer or more, so that a policy takes the
/// default for one that is missing ([`PolicyKind`]) and ignores what is beyond.
pub trait Policy: fmt::Debug + Send + Sync {
    /// Another one with the same elements in the same order.
    fn copy(&self) -> Box<dyn Policy>;

    /// An element takes a seat that is free.
    fn insert(&mut self, seat: Seat, words: &[u32]);

    /// The element of a taken seat has re-registered, with the same words or others.
    ///
    /// With the same words it keeps its place; counters that a policy keeps for a registration
    /// begin anew all the same (RFC 5356 §5.2.2).
    fn update(&mut self, seat: Seat, words: &[u32]);

    /// The element of a taken seat leaves.
    fn remove(&mut self, seat: Seat);

    /// Appends up to `n` seats to `out`, best first, none twice.
    fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>);

    /// Whether it wants to know the time ([`Policy::set_now`]).
    fn is_timed(&self) -> bool {
        false
    }

    /// What time it is, said before anything else happens, to a policy that wants to know.
    fn set_now(&mut self, now: Instant) {
        let _ = now;
    }

    /// How many of the elements of an answer count as selected, from the first on: rsplib's
    /// MaxIncrement. By default what RFC 5356 says of the policy.
    fn set_increment(&mut self, most: usize) {
        let _ = most;
    }

    /// A user has reported that it cannot reach the element of a taken seat.
    fn fail(&mut self, seat: Seat) {
        let _ = seat;
    }

    /// Ranks the element of a taken seat behind all that are not held back, or ends that; so does
    /// whatever else is said of the element. A policy that ignores it cannot be guarded
    /// ([`Rules`]).
    fn hold(&mut self, seat: Seat, held: bool) {
        let _ = (seat, held);
    }

    /// Compares what is kept with what it should be, for tests and the simulator.
    ///
    /// # Panics
    /// If the policy's state contradicts itself.
    fn check(&self) {}
}

/// The first words, 0 where there is none.
fn first_words<const N: usize>(words: &[u32]) -> [u32; N] {
    core::array::from_fn(|place| words.get(place).copied().unwrap_or(0))
}
