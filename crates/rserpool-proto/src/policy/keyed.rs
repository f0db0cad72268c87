//! Policies by a key from outside this crate: the lowest key first, round robin among equals.
//!
//! A key is asked for when an element registers or re-registers, when it is selected, and when a user
//! reports it: never for the whole pool. What it may look at besides the element's words is counted
//! here.

use super::ranking::{HELD, HIGHEST, Ranking};
use super::{Dice, Policy, Seat};
use crate::grow::reach;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Ranks elements: the lowest key is selected first.
///
/// ```
/// # use rserpool_proto::policy::*;
/// /// Elements that have been there for longer, and are asked less often.
/// #[derive(Debug)]
/// struct Seniority;
///
/// impl Key for Seniority {
///     fn key(&self, measures: &Measures<'_>) -> f64 {
///         f64::from(measures.selections) - measures.age.as_secs_f64()
///     }
/// }
///
/// let table = PolicyTable::builtin();
/// let in_order = table.by_name("least-used").expect("it is built in").pick;
/// let table = table.with(PolicyKind {
///     number: PolicyNumber(0x8000_0001),
///     name: "seniority",
///     summary: "the oldest first",
///     words: &[],
///     create: Create::ByKey(&Seniority),
///     text: None,
///     pick: in_order,
/// })?;
/// assert!(table.parameter("seniority", &[]).is_ok());
/// # Ok::<(), InvalidPolicy>(())
/// ```
pub trait Key: fmt::Debug + Send + Sync {
    /// The key of an element; one that is no number comes last.
    ///
    /// It is asked for while the registrar answers, so that it has to be quick, and the same for the
    /// same measures.
    fn key(&self, measures: &Measures<'_>) -> f64;
}

/// What a key is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Measures<'a> {
    /// The words that the element has registered, without the hash of a text
    /// ([`PolicyKind::text`](super::PolicyKind::text)).
    pub words: &'a [u32],
    /// How often it was selected since it last registered or re-registered; 65 535 stands for more.
    pub selections: u16,
    /// How often users have reported that they cannot reach it; every re-registration halves it.
    pub failures: u16,
    /// Time since it joined the pool here, in whole seconds.
    pub age: Duration,
}

/// A policy for one pool.
pub(super) fn create_by_key(
    key: &'static dyn Key,
    words: usize,
    text: Option<u32>,
) -> Box<dyn Policy> {
    Box::new(Keyed {
        ranking: Ranking::default(),
        elements: Elements {
            key,
            each: words - usize::from(text.is_some()),
            words: Vec::new(),
            known: Vec::new(),
            seconds: 0,
        },
        text,
        increment: usize::MAX,
        lowered: Vec::new(),
    })
}

#[derive(Clone, Debug)]
struct Keyed {
    ranking: Ranking,
    elements: Elements,
    /// What the word behind those that a key looks at has to be; elements of another text are not
    /// ranked.
    text: Option<u32>,
    increment: usize,
    /// Scratch: those whose selection has lowered their key.
    lowered: Vec<(u64, Seat)>,
}

/// What keys are computed from, and by what.
#[derive(Clone, Debug)]
struct Elements {
    key: &'static dyn Key,
    /// How many words a key looks at.
    each: usize,
    /// By seat, `each` of each.
    words: Vec<u32>,
    /// By seat.
    known: Vec<Known>,
    /// What time it is, in seconds of [`Instant`].
    seconds: u32,
}

/// What is counted of an element.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    selections: u16,
    failures: u16,
    /// In seconds of [`Instant`].
    joined: u32,
}

impl Elements {
    #[inline]
    fn key_of(&self, seat: Seat) -> u64 {
        let Known { selections, failures, joined } = self.known[seat.index()];
        let begin = seat.index() * self.each;
        let age = Duration::from_secs(u64::from(self.seconds.saturating_sub(joined)));
        let words = &self.words[begin..begin + self.each];
        ordered(self.key.key(&Measures { words, selections, failures, age }))
    }

    fn keep(&mut self, seat: Seat, words: &[u32]) {
        let begin = seat.index() * self.each;
        for (place, kept) in self.words[begin..begin + self.each].iter_mut().enumerate() {
            *kept = words.get(place).copied().unwrap_or(0);
        }
    }
}

impl Keyed {
    /// Whether an element of these words wants to be ordered by our text.
    fn is_ours(&self, words: &[u32]) -> bool {
        self.text.is_none_or(|text| words.get(self.elements.each) == Some(&text))
    }
}

/// The same order as whole numbers, but for the last of 52 bits; what is no number comes last.
fn ordered(key: f64) -> u64 {
    if key.is_nan() {
        return HIGHEST;
    }
    // The two zeros are one key.
    let bits = (key + 0.0).to_bits();
    (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }) >> 1
}

impl Policy for Keyed {
    fn copy(&self) -> Box<dyn Policy> {
        Box::new(self.clone())
    }

    fn insert(&mut self, seat: Seat, words: &[u32]) {
        let elements = &mut self.elements;
        reach(&mut elements.known, seat.index(), Known::default());
        if elements.each > 0 {
            reach(&mut elements.words, (seat.index() + 1) * elements.each - 1, 0);
        }
        let joined = elements.seconds;
        elements.known[seat.index()] = Known { joined, ..Known::default() };
        elements.keep(seat, words);
        if self.is_ours(words) {
            self.ranking.insert(seat, self.elements.key_of(seat));
        }
    }

    fn update(&mut self, seat: Seat, words: &[u32]) {
        let known = &mut self.elements.known[seat.index()];
        known.selections = 0;
        known.failures /= 2;
        self.elements.keep(seat, words);
        match (self.is_ours(words), self.ranking.contains(seat)) {
            (true, true) => self.ranking.update(seat, self.elements.key_of(seat)),
            (true, false) => self.ranking.insert(seat, self.elements.key_of(seat)),
            (false, true) => self.ranking.remove(seat),
            (false, false) => {}
        }
    }

    fn remove(&mut self, seat: Seat) {
        if self.ranking.contains(seat) {
            self.ranking.remove(seat);
        }
    }

    fn select(&mut self, _: &mut Dice, n: usize, out: &mut Vec<Seat>) {
        let counted = n.min(self.increment);
        if n > counted {
            let mut left = n;
            self.ranking.visit(|_, seat| {
                out.push(seat);
                left -= 1;
                left > 0
            });
        }
        let Self { ranking, elements, lowered, .. } = self;
        ranking.raise_first(counted, |before, seat| {
            if n == counted {
                out.push(seat);
            }
            let known = &mut elements.known[seat.index()];
            known.selections = known.selections.saturating_add(1);
            let key = elements.key_of(seat) | before & HELD;
            if key < before {
                lowered.push((key, seat));
            }
            key.max(before)
        });
        for (key, seat) in lowered.drain(..) {
            ranking.update(seat, key);
        }
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn set_now(&mut self, now: Instant) {
        self.elements.seconds = u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX);
    }

    fn set_increment(&mut self, most: usize) {
        self.increment = most;
    }

    fn fail(&mut self, seat: Seat) {
        let known = &mut self.elements.known[seat.index()];
        known.failures = known.failures.saturating_add(1);
        if self.ranking.contains(seat) {
            self.ranking.update(seat, self.elements.key_of(seat));
        }
    }

    fn hold(&mut self, seat: Seat, held: bool) {
        if self.ranking.contains(seat) {
            self.ranking.hold(seat, held);
        }
    }

    fn check(&self) {
        self.ranking.check();
    }
}

/// A policy by a key for tests: load, selections, failures and age all count.
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing {
    use super::{Key, Measures};
    use crate::policy::{Create, PolicyKind, PolicyNumber, PolicyTable, Word};
    use core::num::NonZeroU32;

    /// The number of the policy.
    pub(crate) const NUMBER: PolicyNumber = PolicyNumber(0x8000_7e57);

    /// Load plus 10 for each selection, 100 for each failure, and 1 for each second.
    #[derive(Debug)]
    struct Sum;

    impl Key for Sum {
        fn key(&self, measures: &Measures<'_>) -> f64 {
            let load = measures.words.first().copied().unwrap_or(0);
            f64::from(load)
                + 10.0 * f64::from(measures.selections)
                + 100.0 * f64::from(measures.failures)
                + measures.age.as_secs() as f64
        }
    }

    /// All policies, and one by a key whose text has this hash.
    pub(crate) fn table(text: Option<u32>) -> PolicyTable {
        let words: &[Word] = match text {
            Some(_) => const { &[WORD_LOAD, WORD_TEXT] },
            None => const { &[WORD_LOAD] },
        };
        PolicyTable::builtin()
            .with(PolicyKind {
                number: NUMBER,
                name: "sum",
                summary: "for tests",
                words,
                create: Create::ByKey(&Sum),
                text: text.and_then(NonZeroU32::new),
                pick: crate::policy::user::in_order,
            })
            .expect("its number and name are free")
    }

    const WORD_LOAD: Word = Word { name: "load", default: 0, help: "" };
    const WORD_TEXT: Word = Word { name: "text", default: 0, help: "" };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(loads: &[u32]) -> Box<dyn Policy> {
        let mut policy = testing::table(None).by_name("sum").unwrap().create();
        for (seat, load) in (0..).zip(loads) {
            policy.insert(Seat(seat), &[*load]);
        }
        policy
    }

    fn select(policy: &mut Box<dyn Policy>, n: usize) -> Vec<u32> {
        let mut out = Vec::new();
        policy.select(&mut Dice::new([1; 32]), n, &mut out);
        policy.check();
        out.into_iter().map(|seat| seat.0).collect()
    }

    #[test]
    fn an_element_is_ranked_by_its_key_which_its_selections_raise_until_it_reports() {
        let mut policy = pool(&[5, 12, 1_000]);
        assert_eq!(select(&mut policy, 3), [0, 1, 2]);
        assert_eq!(select(&mut policy, 1), [0], "15 is before 22");
        assert_eq!(select(&mut policy, 1), [1], "22 is before 25");
        policy.update(Seat(1), &[12]);
        assert_eq!(select(&mut policy, 2), [1, 0], "selections count from the report on");
        policy.remove(Seat(1));
        assert_eq!(select(&mut policy, 5), [0, 2]);
    }

    #[test]
    fn failures_and_age_count_and_a_report_halves_failures() {
        let mut policy = pool(&[0, 90]);
        policy.fail(Seat(0));
        assert_eq!(select(&mut policy, 1), [1]);
        policy.update(Seat(0), &[0]);
        policy.update(Seat(1), &[90]);
        assert_eq!(select(&mut policy, 1), [0], "half of one is none");
        let mut policy = pool(&[0]);
        policy.set_now(Instant::ZERO + Duration::from_secs(60));
        policy.insert(Seat(1), &[50]);
        assert_eq!(
            select(&mut policy, 2),
            [0, 1],
            "a key is computed when something happens to it"
        );
        assert_eq!(
            select(&mut policy, 2),
            [1, 0],
            "one that has been there for a minute is 60 behind"
        );
    }

    #[test]
    fn with_an_increment_only_the_first_of_an_answer_count_as_selected() {
        let mut policy = pool(&[1, 2, 3]);
        policy.set_increment(1);
        assert_eq!(select(&mut policy, 3), [0, 1, 2]);
        assert_eq!(select(&mut policy, 3), [1, 2, 0]);
    }

    #[test]
    fn equals_go_round() {
        let mut policy = pool(&[1; 4]);
        let firsts: Vec<u32> = (0..8).map(|_| select(&mut policy, 1)[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn elements_of_another_text_are_not_selected() {
        let mut policy = testing::table(Some(7)).by_name("sum").unwrap().create();
        policy.insert(Seat(0), &[5, 7]);
        policy.insert(Seat(1), &[1, 8]);
        policy.insert(Seat(2), &[1]);
        assert_eq!(select(&mut policy, 3), [0]);
        policy.update(Seat(1), &[1, 7]);
        policy.update(Seat(0), &[1, 8]);
        policy.fail(Seat(0));
        policy.remove(Seat(2));
        assert_eq!(select(&mut policy, 3), [1]);
        policy.remove(Seat(0));
        assert_eq!(select(&mut policy, 3), [1]);
    }

    #[test]
    fn keys_are_ordered_as_numbers_are_and_what_is_none_comes_last() {
        let keys = [f64::NEG_INFINITY, -2.5, -1e-300, 0.0, 1e-300, 2.5, f64::INFINITY, f64::NAN];
        assert!(keys.iter().map(|key| ordered(*key)).is_sorted_by(|a, b| a < b));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
