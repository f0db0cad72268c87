//! How a registrar applies the policy of a pool, and the guard against loads that are not honest.
//!
//! A policy believes what elements say. One that always says that it is idle would be named in every
//! answer, and one that has just come, and is idle in truth, would be named by all who ask before its
//! next report. The guard counts who stands **first** in answers, because that is who is used, in
//! windows of [`ROUNDS`] answers for each element. Who has been first often enough is held back
//! ([`Policy::hold`]): the others are ranked before it until the window ends, or until nobody else is
//! left.
//!
//! ```text
//!   answers   |<------ window: 4 for each element ------>|<------ window ...
//!   a liar     1 2 3 ... 16  held back, ranked last       1 2 3
//!   a new one  1  held back                               1 2  held back
//! ```

use super::{Dice, Policy, PolicyKind, Seat};
use crate::grow::reach;
use crate::time::Instant;
use crate::timers::Preset;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// How a registrar applies the policy of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How many elements of an answer count as selected, from the first on: rsplib's MaxIncrement.
    /// `None`, the default, is what RFC 5356 says of each policy: one for round robin, all for
    /// those with degradation.
    pub increment: Option<NonZeroU32>,
    /// How often an element of a pool of at least five may be first in answers, in fair shares.
    /// `None`, the default, is no bound. Only for policies that look at a load
    /// ([`PolicyKind::can_be_guarded`]).
    pub share_cap: Option<NonZeroU32>,
    /// Whether a new element is to be first rarely at first: a quarter of the fair share, twice as
    /// much in each window that follows. Defaults to no. Only for policies that look at a load.
    pub slow_start: bool,
}

impl Rules {
    /// Four fair shares and slow start; nothing of both with the timers of the RFC.
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Rfc => Self::default(),
            Preset::Default | Preset::Realtime => {
                Self { increment: None, share_cap: NonZeroU32::new(4), slow_start: true }
            }
        }
    }

    /// The registrar side of a policy for a new pool.
    pub fn apply(&self, kind: &PolicyKind) -> Box<dyn Policy> {
        let wanted = self.share_cap.is_some() || self.slow_start;
        if !wanted || !kind.can_be_guarded() {
            return self.plain(kind);
        }
        Box::new(Guarded::new(self.plain(kind), *self))
    }

    /// Without a guard.
    pub(crate) fn plain(&self, kind: &PolicyKind) -> Box<dyn Policy> {
        let mut policy = kind.create();
        if let Some(most) = self.increment {
            policy.set_increment(usize::try_from(most.get()).unwrap_or(usize::MAX));
        }
        policy
    }
}

/// Answers in a window, for each element: an element's fair share of being first.
const ROUNDS: u32 = 4;
/// Smallest pool in which shares are bounded.
const SMALLEST: usize = 5;
/// Windows in which an element is new.
const NEW: u8 = 5;
/// Most elements that are no longer held back after an answer. An answer holds back one, so that
/// those of a window are back long before it ends, and no answer has to wait for all of them.
const RELEASED: usize = 4;
/// Room for so many that are held back is kept when nobody is.
const ROOM: usize = 64;

/// A policy with a guard before it.
#[derive(Debug)]
struct Guarded {
    policy: Box<dyn Policy>,
    rules: Rules,
    /// By seat.
    tallies: Vec<Tally>,
    members: usize,
    window: u16,
    /// Answers until it ends.
    left: u64,
    /// Who was held back in which window, the oldest first. Whoever has left or been released since
    /// stays in it until its turn.
    held: VecDeque<(Seat, u16)>,
}

/// What is counted of an element.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// When it was counted last.
    window: u16,
    /// How often it was first in that.
    first: u16,
    /// Windows since it came, up to [`NEW`].
    age: u8,
    held: bool,
}

impl Guarded {
    fn new(policy: Box<dyn Policy>, rules: Rules) -> Self {
        let (tallies, held) = (Vec::new(), VecDeque::new());
        Self { policy, rules, tallies, members: 0, window: 0, left: 0, held }
    }

    /// Counts that an element was first; whether that was the last time in this window.
    fn count(&mut self, seat: Seat) -> bool {
        let cap = self.rules.share_cap.filter(|_| self.members >= SMALLEST);
        let cap = cap.map_or(u32::MAX, |cap| cap.get().saturating_mul(ROUNDS));
        let tally = &mut self.tallies[seat.index()];
        let windows = self.window.wrapping_sub(tally.window);
        if windows > 0 {
            let age = u16::from(tally.age).saturating_add(windows).min(u16::from(NEW));
            *tally = Tally { window: self.window, first: 0, age: age as u8, held: tally.held };
        }
        tally.first = tally.first.saturating_add(1);
        let new = self.rules.slow_start && tally.age < NEW;
        let most = if new { cap.min(1 << tally.age) } else { cap };
        u32::from(tally.first) >= most
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        let tally = &mut self.tallies[seat.index()];
        tally.held = held;
        if held {
            self.held.push_back((seat, tally.window));
        }
        self.policy.hold(seat, held);
    }

    /// Something was said of an element, which does not change whether it is held back.
    fn hold_anew(&mut self, seat: Seat) {
        if self.tallies[seat.index()].held {
            self.policy.hold(seat, true);
        }
    }

    fn answers_in_a_window(&self) -> u64 {
        self.members as u64 * u64::from(ROUNDS)
    }

    /// Begins a window.
    fn begin(&mut self) {
        self.window = self.window.wrapping_add(1);
        self.left = self.answers_in_a_window();
    }

    /// Releases some of those that were held back in windows before this one.
    fn release_some(&mut self) {
        for _ in 0..RELEASED {
            let Some(&(seat, since)) = self.held.front() else { break };
            let tally = self.tallies[seat.index()];
            let is_held = tally.held && tally.window == since;
            if is_held && since == self.window {
                break;
            }
            self.held.pop_front();
            if is_held {
                self.hold(seat, false);
            }
        }
        if self.held.is_empty() && self.held.capacity() > ROOM {
            self.held = VecDeque::new();
        }
    }
}

impl Policy for Guarded {
    fn copy(&self) -> Box<dyn Policy> {
        let (policy, tallies, held) = (self.policy.copy(), self.tallies.clone(), self.held.clone());
        Box::new(Self { policy, tallies, held, ..*self })
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        reach(&mut self.tallies, seat.index(), Tally::default());
        self.tallies[seat.index()] = Tally { window: self.window, ..Tally::default() };
        self.members += 1;
        self.policy.insert(seat, words);
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        self.policy.update(seat, words);
        self.hold_anew(seat);
    }

    fn remove(&mut self, seat: Seat) {
        self.policy.remove(seat);
        self.tallies[seat.index()].held = false;
        self.members -= 1;
        self.left = self.left.min(self.answers_in_a_window());
    }

    fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        if n == 0 {
            return;
        }
        if self.left == 0 {
            self.begin();
        }
        self.release_some();
        let begin = out.len();
        self.policy.select(dice, n, out);
        self.left = self.left.saturating_sub(1);
        let Some(&first) = out.get(begin) else { return };
        let tally = self.tallies[first.index()];
        if tally.held {
            // Nobody else is left.
            if tally.window == self.window {
                self.begin();
            }
            self.hold(first, false);
        }
        if self.count(first) {
            self.hold(first, true);
        }
    }

    fn is_timed(&self) -> bool {
        self.policy.is_timed()
    }

    fn set_now(&mut self, now: Instant) {
        self.policy.set_now(now);
    }

    fn fail(&mut self, seat: Seat) {
        self.policy.fail(seat);
        self.hold_anew(seat);
    }

    fn check(&self) {
        self.policy.check();
        for (seat, tally) in (0..).map(Seat).zip(&self.tallies) {
            assert!(!tally.held || self.held.contains(&(seat, tally.window)), "held for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyTable;
    use alloc::collections::BTreeSet;
    use alloc::sync::Arc;
    use alloc::vec;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use proptest::prelude::*;

    fn rules(share_cap: u32, slow_start: bool) -> Rules {
        Rules { increment: None, share_cap: NonZeroU32::new(share_cap), slow_start }
    }

    fn pool(name: &str, rules: Rules, loads: &[u32]) -> Box<dyn Policy> {
        let mut policy = rules.apply(PolicyTable::builtin().by_name(name).unwrap());
        for (seat, load) in (0..).zip(loads) {
            policy.insert(Seat(seat), &[*load, 0]);
        }
        policy
    }

    fn guarded(name: &str, rules: Rules) -> Guarded {
        Guarded::new(PolicyTable::builtin().by_name(name).unwrap().create(), rules)
    }

    fn select(policy: &mut Box<dyn Policy>, dice: &mut Dice, n: usize) -> Vec<u32> {
        let mut out = Vec::new();
        policy.select(dice, n, &mut out);
        policy.check();
        out.into_iter().map(|seat| seat.0).collect()
    }

    fn firsts(policy: &mut Box<dyn Policy>, answers: usize, elements: usize) -> Vec<u32> {
        let mut dice = Dice::new([5; 32]);
        let mut counts = vec![0; elements];
        for _ in 0..answers {
            counts[select(policy, &mut dice, 3)[0] as usize] += 1;
        }
        counts
    }

    #[test]
    fn one_that_always_says_it_is_idle_has_four_fair_shares_at_most() {
        for name in ["least-used", "least-used-degradation", "randomized-least-used"] {
            let full = u32::MAX - 10;
            let mut loads = vec![full; 20];
            loads[3] = 0;
            let counts = firsts(&mut pool(name, rules(4, false), &loads), 20_000, 20);
            assert!(counts[3] <= 4_000, "{name}: {counts:?}");
            assert!(counts[3] >= 3_900, "{name}: {counts:?}");
            let counts = firsts(&mut pool(name, Rules::default(), &loads), 20_000, 20);
            assert!(counts[3] >= 19_900, "{name} without a guard: {counts:?}");
        }
    }

    #[test]
    fn a_pool_of_fewer_than_five_has_no_bound() {
        let counts = firsts(&mut pool("least-used", rules(4, false), &[0, 9, 9, 9]), 1_000, 4);
        assert_eq!(counts, [1_000, 0, 0, 0]);
    }

    #[test]
    fn a_new_element_is_first_once_in_its_first_window_and_twice_as_often_in_each_next() {
        let mut policy = guarded("least-used", rules(1_000, true));
        let mut dice = Dice::new([5; 32]);
        let mut one = |policy: &mut Guarded| {
            let mut out = Vec::new();
            policy.select(&mut dice, 1, &mut out);
            out[0]
        };
        (0..10).for_each(|seat| policy.insert(Seat(seat), &[9]));
        // It comes when none of the others is new any more, and a window of 40 has just begun.
        while policy.window < 8 || policy.left != 39 {
            one(&mut policy);
        }
        policy.insert(Seat(10), &[0]);
        let counts = [39, 44, 44, 44, 44, 44, 44]
            .map(|answers| (0..answers).filter(|_| one(&mut policy) == Seat(10)).count());
        assert_eq!(counts, [1, 2, 4, 8, 16, 44, 44]);
    }

    #[test]
    fn in_a_pool_of_new_elements_none_is_further_ahead_than_those_released_at_once() {
        let counts = firsts(&mut pool("least-used", rules(4, true), &[9; 10]), 1_000, 10);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= RELEASED as u32, "{counts:?}");
    }

    #[test]
    fn one_held_back_is_so_whatever_it_says_and_however_it_fails() {
        let table = crate::policy::testing::table(None);
        for kind in table.iter().filter(|kind| kind.can_be_guarded()) {
            let mut policy = Guarded::new(kind.create(), rules(1, false));
            let (mut dice, mut out) = (Dice::new([5; 32]), Vec::new());
            for seat in 0..5 {
                policy.insert(Seat(seat), &[u32::from(seat > 0) << 31, 0, 0, 0]);
            }
            while !policy.tallies[0].held {
                policy.select(&mut dice, 1, &mut out);
            }
            policy.update(Seat(0), &[7, 0, 0, 0]);
            policy.fail(Seat(0));
            out.clear();
            let free = policy.tallies.iter().filter(|tally| !tally.held).count();
            policy.policy.select(&mut dice, 5, &mut out);
            let held = out.iter().map(|seat| policy.tallies[seat.index()].held);
            assert!(held.enumerate().all(|(at, held)| held == (at >= free)), "{}", kind.name);
            policy.check();
        }
    }

    /// Counts what is done to the policy behind a guard.
    #[derive(Debug)]
    struct Counting {
        policy: Box<dyn Policy>,
        done: Arc<AtomicUsize>,
    }

    impl Counting {
        fn done(&self) {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Policy for Counting {
        fn copy(&self) -> Box<dyn Policy> {
            Box::new(Self { policy: self.policy.copy(), done: self.done.clone() })
        }

        fn insert(&mut self, seat: Seat, words: &[u32]) {
            self.done();
            self.policy.insert(seat, words);
        }

        fn update(&mut self, seat: Seat, words: &[u32]) {
            self.done();
            self.policy.update(seat, words);
        }

        fn remove(&mut self, seat: Seat) {
            self.done();
            self.policy.remove(seat);
        }

        fn select(&mut self, dice: &mut Dice, n: usize, out: &mut Vec<Seat>) {
            self.done();
            self.policy.select(dice, n, out);
        }

        fn hold(&mut self, seat: Seat, held: bool) {
            self.done();
            self.policy.hold(seat, held);
        }
    }

    #[test]
    fn an_answer_costs_as_much_in_a_large_pool_as_in_a_small_one() {
        const MEMBERS: u32 = 10_000;
        let done = Arc::new(AtomicUsize::new(0));
        let policy = PolicyTable::builtin().by_name("least-used").unwrap().create();
        let policy = Box::new(Counting { policy, done: Arc::clone(&done) });
        let mut guarded = Guarded::new(policy, rules(4, true));
        for seat in 0..MEMBERS {
            guarded.insert(Seat(seat), &[seat]);
        }
        let (mut dice, mut out) = (Dice::new([5; 32]), Vec::new());
        let (mut most_held, mut windows) = (0, BTreeSet::new());
        // All are new, so that each answer holds one back; later the best are, four windows long.
        for _ in 0..10 * MEMBERS {
            done.store(0, Ordering::Relaxed);
            out.clear();
            guarded.select(&mut dice, 1, &mut out);
            // The selection, four released, one needed, and one held back.
            assert!(done.load(Ordering::Relaxed) <= 1 + RELEASED + 2);
            most_held = most_held.max(guarded.held.len());
            windows.insert(guarded.window);
        }
        guarded.check();
        assert!(windows.len() >= 3, "{windows:?}");
        assert!((MEMBERS as usize..=4 * MEMBERS as usize).contains(&most_held), "{most_held}");
        for seat in 0..MEMBERS {
            done.store(0, Ordering::Relaxed);
            guarded.remove(Seat(seat));
            assert_eq!(done.load(Ordering::Relaxed), 1);
        }
        guarded.insert(Seat(7), &[7]);
        for _ in 0..4 * MEMBERS {
            guarded.select(&mut dice, 1, &mut out);
        }
        assert!(guarded.held.len() <= 4, "whoever has left is forgotten");
    }

    #[test]
    fn one_held_back_is_still_named_when_there_are_not_enough_others() {
        let mut policy = pool("least-used", rules(4, false), &[0, 9, 9, 9, 9]);
        let mut dice = Dice::new([5; 32]);
        for _ in 0..16 {
            assert_eq!(select(&mut policy, &mut dice, 5)[0], 0);
        }
        let answer = select(&mut policy, &mut dice, 5);
        assert_eq!((answer.len(), answer[4]), (5, 0));
        policy.update(Seat(0), &[1]);
        policy.remove(Seat(0));
        assert_eq!(select(&mut policy, &mut dice, 5).len(), 4);
    }

    #[test]
    fn an_increment_says_how_many_of_an_answer_count() {
        let apply = |name: &str, most| {
            let rules = Rules { increment: NonZeroU32::new(most), ..Rules::default() };
            pool(name, rules, &[0; 4])
        };
        let mut dice = Dice::new([5; 32]);
        let mut policy = apply("round-robin", 2);
        assert_eq!(select(&mut policy, &mut dice, 3), [0, 1, 2]);
        assert_eq!(select(&mut policy, &mut dice, 1), [2], "no more than the answer has");
        assert_eq!(select(&mut policy, &mut dice, 3), [3, 0, 1]);
        let rules = Rules { increment: NonZeroU32::new(1), ..Rules::default() };
        let table = PolicyTable::builtin();
        let mut policy = rules.apply(table.by_name("least-used-degradation").unwrap());
        for seat in 0..3 {
            policy.insert(Seat(seat), &[seat, 10]);
        }
        assert_eq!(select(&mut policy, &mut dice, 3), [0, 1, 2]);
        assert_eq!(select(&mut policy, &mut dice, 3), [1, 2, 0], "only the first has degraded");
        let rules = Rules { increment: NonZeroU32::new(3), ..Rules::default() };
        let mut policy = rules.apply(table.by_name("weighted-round-robin").unwrap());
        for seat in 0..4 {
            policy.insert(Seat(seat), &[1]);
        }
        let (one, two) = (select(&mut policy, &mut dice, 3), select(&mut policy, &mut dice, 3));
        assert_eq!(one[0], two[1], "three have had their turn: {one:?} {two:?}");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u32),
        Update(u32, u32),
        Remove(u32),
        Select(usize),
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Whatever comes and goes, an answer holds as many as without a guard, none twice, and in a
        /// pool that stays as it is nobody is first more often than its share allows.
        #[test]
        fn a_guard_hides_nobody_and_bounds_everybody(
            steps in proptest::collection::vec(prop_oneof![
                3 => (0u32..30, 0u32..4).prop_map(|(seat, load)| Step::Insert(seat, load)),
                2 => (0u32..30, prop_oneof![0u32..4, Just(u32::MAX)])
                    .prop_map(|(seat, load)| Step::Update(seat, load)),
                1 => (0u32..30).prop_map(Step::Remove),
                6 => (0usize..40).prop_map(Step::Select),
            ], 0..300),
            cap in 1u32..6,
            slow_start in any::<bool>(),
        ) {
            let table = PolicyTable::builtin();
            for kind in table.iter().filter(|kind| kind.can_be_guarded()) {
                let mut guarded = rules(cap, slow_start).apply(kind);
                let mut bare = Rules::default().apply(kind);
                let mut dice = Dice::new([5; 32]);
                let mut there = alloc::collections::BTreeSet::new();
                for step in &steps {
                    match *step {
                        Step::Insert(seat, load) if there.insert(seat) => {
                            guarded.insert(Seat(seat), &[load, 1]);
                            bare.insert(Seat(seat), &[load, 1]);
                        }
                        Step::Update(seat, load) if there.contains(&seat) => {
                            guarded.update(Seat(seat), &[load, 1]);
                            bare.update(Seat(seat), &[load, 1]);
                        }
                        Step::Remove(seat) if there.remove(&seat) => {
                            guarded.remove(Seat(seat));
                            bare.remove(Seat(seat));
                        }
                        Step::Select(n) => {
                            let mut answer = select(&mut guarded, &mut dice, n);
                            let expected = select(&mut bare, &mut dice, n).len();
                            prop_assert_eq!(answer.len(), expected, "{}", kind.name);
                            answer.sort_unstable();
                            answer.dedup();
                            prop_assert_eq!(answer.len(), expected, "{}", kind.name);
                        }
                        _ => {}
                    }
                }
                if there.len() >= SMALLEST {
                    // A window that has begun, and then whole ones.
                    let windows = 3;
                    let answers = 4 * there.len() * windows;
                    let usable = select(&mut bare, &mut dice, 30).len();
                    let mut counts = vec![0u32; 30];
                    for _ in 0..answers {
                        if let Some(first) = select(&mut guarded, &mut dice, 1).first() {
                            counts[*first as usize] += 1;
                        }
                    }
                    // Where too few may be used at all, those few are used.
                    let most = 4 * cap * (windows as u32 + 1);
                    if usable as u64 * u64::from(cap) >= 2 * there.len() as u64 {
                        prop_assert!(counts.iter().all(|count| *count <= most), "{} {counts:?}", kind.name);
                    }
                }
            }
        }
    }
}
