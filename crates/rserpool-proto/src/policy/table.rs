//! The one table of policies: numbers, names, words, and what makes them.

use super::builtin::{BUILTIN, DISTANCE, LOAD, MOST_USED, ROUND_ROBIN};
use super::user::{self, Candidate, Turn};
use super::{Dice, Key, Policy, PolicyNumber, PolicyParameter, keyed};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

/// A policy: how it is called, what it carries, and its two sides.
#[derive(Clone, Copy, Debug)]
pub struct PolicyKind {
    /// Its number on the wire (RFC 5356 §7.1); 0 and 0x40000000 are no policies.
    pub number: PolicyNumber,
    /// Its name on the command line and in labels: lower case, words joined by hyphens.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The words an element registers with, in wire order.
    pub words: &'static [Word],
    /// What makes the registrar side: see [`PolicyKind::create`].
    pub create: Create,
    /// Hash of the text that defines it, if one does: its last word says by which text an element
    /// wants to be ordered, and 0, which is no hash, leaves that to its registrar.
    pub text: Option<NonZeroU32>,
    /// The user side: which of an answer's elements to take, by its position; `None` if none is
    /// usable.
    pub pick: Pick,
}

/// The user side of a policy: see [`PolicyKind::pick`].
pub type Pick = fn(&mut Turn, &mut dyn Iterator<Item = Candidate<'_>>, &mut Dice) -> Option<usize>;

impl PolicyKind {
    /// The registrar side for a new pool.
    pub fn create(&self) -> Box<dyn Policy> {
        match self.create {
            Create::Code(create) => create(),
            Create::ByKey(key) => {
                keyed::create_by_key(key, self.words.len(), self.text.map(NonZeroU32::get))
            }
        }
    }

    /// Whether a guard ([`Rules`](super::Rules)) may stand before it: its order follows what
    /// elements say of their load, or a key. Most used is there to use the same element again and
    /// again, which is what a guard is against.
    pub fn can_be_guarded(&self) -> bool {
        let load = self.words.iter().any(|word| word.name == LOAD.name);
        let follows = load || matches!(self.create, Create::ByKey(_));
        follows && !self.words.is_empty() && self.number != MOST_USED
    }

    /// The text by which an element of these words is ordered, if that is another one than ours.
    pub fn other_text(&self, words: &[u32]) -> Option<u32> {
        let own = self.text?.get();
        let theirs = words.get(self.words.len().checked_sub(1)?).copied().unwrap_or(0);
        (theirs != own).then_some(theirs)
    }

    /// Which word is the element's distance from the registrar, if any: the one word that a
    /// registrar may know better than the element.
    pub fn distance_word(&self) -> Option<u8> {
        let place = self.words.iter().position(|word| word.name == DISTANCE.name)?;
        u8::try_from(place).ok()
    }
}

/// What makes the registrar side of a policy.
#[derive(Clone, Copy, Debug)]
pub enum Create {
    /// Code of its own.
    Code(fn() -> Box<dyn Policy>),
    /// A key: elements are ordered by it.
    ByKey(&'static dyn Key),
}

/// One word of a policy's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is if nobody says.
    pub default: u32,
    /// What it means, in one line.
    pub help: &'static str,
}

/// The policies known to a program.
///
/// Cheap to clone. By default those of this crate ([`PolicyTable::builtin`]).
#[derive(Clone, Debug)]
pub struct PolicyTable {
    kinds: Arc<[PolicyKind]>,
}

impl Default for PolicyTable {
    fn default() -> Self {
        Self::builtin()
    }
}

impl PolicyTable {
    /// The nine policies of RFC 5356, then those of rsplib, then most used.
    pub fn builtin() -> Self {
        Self { kinds: Arc::new(BUILTIN) }
    }

    /// This table and one policy more.
    ///
    /// # Errors
    /// [`InvalidPolicy::Taken`] if its number is reserved (RFC 5356 §7.1) or known already, or its
    /// name is; [`InvalidPolicy::TooManyWords`] if it has more than four words.
    pub fn with(self, kind: PolicyKind) -> Result<Self, InvalidPolicy> {
        let reserved = is_reserved(kind.number);
        if reserved || self.by_number(kind.number).is_some() || self.by_name(kind.name).is_some() {
            return Err(InvalidPolicy::Taken { number: kind.number, name: kind.name });
        }
        if kind.words.len() > MAX_WORDS || (kind.text.is_some() && kind.words.is_empty()) {
            return Err(InvalidPolicy::TooManyWords { name: kind.name });
        }
        let mut kinds: Vec<_> = self.kinds.to_vec();
        kinds.push(kind);
        Ok(Self { kinds: kinds.into() })
    }

    /// All policies, the builtin ones first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &PolicyKind> {
        self.kinds.iter()
    }

    /// The policy of a number, or `None` if it is not known.
    pub fn by_number(&self, number: PolicyNumber) -> Option<&PolicyKind> {
        self.kinds.iter().find(|kind| kind.number == number)
    }

    /// The policy of a name, or `None` if it is not known.
    pub fn by_name(&self, name: &str) -> Option<&PolicyKind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// The policy that answers for a number: its own, or round robin if it is not known, which
    /// "MUST be supported by all RSerPool components" (RFC 5356 §4.1.1).
    pub fn answering(&self, number: PolicyNumber) -> &PolicyKind {
        self.by_number(number).unwrap_or(&ROUND_ROBIN)
    }

    /// How a user takes from an answer by a policy: its own way, or round robin if it is not known.
    /// Of private policies that are not known, which may be a registrar's own, the order counts.
    pub fn picking(&self, number: PolicyNumber) -> Pick {
        match self.by_number(number) {
            Some(kind) => kind.pick,
            None if number.is_private() => user::in_order,
            None => ROUND_ROBIN.pick,
        }
    }

    /// The parameter for a policy by name and some of its words by name, the others by default.
    ///
    /// # Errors
    /// [`InvalidPolicy::UnknownName`] or [`InvalidPolicy::UnknownWord`], which say what there is.
    pub fn parameter(
        &self,
        name: &str,
        words: &[(&str, u32)],
    ) -> Result<PolicyParameter, InvalidPolicy> {
        let kind = self.by_name(name).ok_or_else(|| InvalidPolicy::UnknownName {
            name: name.into(),
            known: self.kinds.iter().map(|kind| kind.name).collect(),
        })?;
        let mut values: Vec<u32> = kind.words.iter().map(|word| word.default).collect();
        for &(word, value) in words {
            let place = kind.words.iter().zip(&mut values).find(|(known, _)| known.name == word);
            *place
                .ok_or_else(|| InvalidPolicy::UnknownWord {
                    policy: kind.name,
                    word: word.into(),
                    known: kind.words.iter().map(|word| word.name).collect(),
                })?
                .1 = value;
        }
        Ok(PolicyParameter::new(kind.number, &values))
    }

    /// A policy without the values of any element, as the policy of a pool is told to users
    /// (RFC 5352 §2.2.6).
    pub fn overall(&self, number: PolicyNumber) -> PolicyParameter {
        let words = self.by_number(number).map_or(0, |kind| kind.words.len());
        PolicyParameter::new(number, [0; MAX_WORDS].get(..words).unwrap_or_default())
    }

    /// Whether the parameter's number may be used and its data is what that policy carries.
    ///
    /// Of a policy that is not known nothing is asked.
    pub fn accepts(&self, parameter: &PolicyParameter) -> bool {
        if is_reserved(parameter.number) {
            return false;
        }
        match self.by_number(parameter.number) {
            Some(kind) => parameter.words().is_some_and(|words| words.len() == kind.words.len()),
            None => true,
        }
    }

    /// The parameter in words: `least-used load=3`, or the number in hexadecimal.
    pub fn describe<'a>(&'a self, parameter: &'a PolicyParameter) -> impl fmt::Display + 'a {
        Description { kind: self.by_number(parameter.number), parameter }
    }
}

/// Why there is no such policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// No policy has this name.
    #[error("there is no policy `{name}`; there are {}", List(known))]
    UnknownName {
        /// What was asked for.
        name: Box<str>,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The policy has no such word.
    #[error("policy {policy} has no {word}; it has {}", List(known))]
    UnknownWord {
        /// The policy.
        policy: &'static str,
        /// What was given for it.
        word: Box<str>,
        /// What it has.
        known: Vec<&'static str>,
    },
    /// A policy to be added has a number or name that is taken or reserved.
    #[error("policy {name} cannot be added: its name or number {:#010x} is taken or reserved", number.0)]
    Taken {
        /// Its number.
        number: PolicyNumber,
        /// Its name.
        name: &'static str,
    },
    /// A policy to be added has more than four words.
    #[error(
        "policy {name} cannot be added: it has more than {MAX_WORDS} words, or a text and none"
    )]
    TooManyWords {
        /// Its name.
        name: &'static str,
    },
}

/// RFC 5356 §7.1: two values that are no policies.
fn is_reserved(number: PolicyNumber) -> bool {
    matches!(number.0, 0 | 0x4000_0000)
}

struct Description<'a> {
    kind: Option<&'a PolicyKind>,
    parameter: &'a PolicyParameter,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(kind) = self.kind else {
            return write!(f, "policy {:#010x}", self.parameter.number.0);
        };
        f.write_str(kind.name)?;
        for (word, value) in kind.words.iter().zip(self.parameter.words().unwrap_or(&[])) {
            write!(f, " {}={value}", word.name)?;
        }
        Ok(())
    }
}

struct List<'a>(&'a [&'static str]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (position, name) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

/// As many as [`PolicyData::Words`](super::PolicyData::Words) holds.
const MAX_WORDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_table_has_the_nine_policies_of_the_rfc_with_their_words() {
        // RFC 5356 §7.1
        let table = PolicyTable::builtin();
        let numbers = table.iter().map(|kind| (kind.number.0, kind.words.len())).take(9);
        let numbers: Vec<_> = numbers.collect();
        let adaptive = 0x4000_0000;
        assert_eq!(
            numbers,
            [
                (1, 0),
                (2, 1),
                (3, 0),
                (4, 1),
                (5, 1),
                (adaptive + 1, 1),
                (adaptive + 2, 2),
                (adaptive + 3, 2),
                (adaptive + 4, 1)
            ]
        );
    }

    #[test]
    fn the_table_has_the_policies_of_rsplib_with_its_numbers_and_words() {
        let table = PolicyTable::builtin();
        let words = |number| {
            let kind = table.by_number(PolicyNumber(number)).unwrap();
            kind.words.iter().map(|word| word.name).collect::<Vec<_>>()
        };
        for number in 0xb000_1001..=0xb000_1004 {
            assert_eq!(words(number), ["load", "degradation"]);
        }
        assert_eq!(words(0xb000_2001), ["weight", "weight-dpf", "distance"]);
        assert_eq!(words(0xb000_2002), ["load", "load-dpf", "distance"]);
        assert_eq!(words(0xb000_2003), ["load", "degradation", "load-dpf", "distance"]);
    }

    #[test]
    fn names_and_numbers_are_distinct_and_what_is_not_the_rfcs_is_marked_as_private() {
        // RFC 5356 §7.1: the highest bit.
        let table = PolicyTable::builtin();
        for (place, kind) in table.iter().enumerate() {
            assert_eq!(table.by_name(kind.name).unwrap().number, kind.number);
            assert_eq!(table.by_number(kind.number).unwrap().name, kind.name);
            assert_eq!(kind.number.0 >> 31, u32::from(place >= 9), "{}", kind.name);
        }
    }

    #[test]
    fn a_policy_is_named_with_its_words_and_says_what_is_wrong_with_them() {
        let table = PolicyTable::builtin();
        let parameter = table.parameter("least-used-degradation", &[("load", 7)]).unwrap();
        assert_eq!(parameter, PolicyParameter::new(PolicyNumber(0x4000_0002), &[7, 0]));
        assert_eq!(
            table.describe(&parameter).to_string(),
            "least-used-degradation load=7 degradation=0"
        );
        assert_eq!(
            table.parameter("random", &[("load", 7)]).unwrap_err().to_string(),
            "policy random has no load; it has none"
        );
        let unknown = table.parameter("fastest", &[]).unwrap_err().to_string();
        assert!(
            unknown.starts_with("there is no policy `fastest`; there are round-robin, weighted")
        );
    }

    #[test]
    fn a_policy_from_outside_joins_the_table_unless_its_name_or_number_is_taken() {
        let mine = PolicyKind { number: PolicyNumber(0xb000_9001), name: "mine", ..ROUND_ROBIN };
        let table = PolicyTable::builtin().with(mine).unwrap();
        assert_eq!(table.by_name("mine").unwrap().number, mine.number);
        assert_eq!(table.answering(mine.number).name, "mine");
        assert_eq!(table.answering(PolicyNumber(0xb000_9002)).name, "round-robin");
        let picks = |number| {
            let pick = table.picking(PolicyNumber(number));
            let (mut turn, mut dice) = (Turn::default(), Dice::new([1; 32]));
            let both = [Candidate { usable: true, words: &[] }; 2];
            [(); 2].map(|()| pick(&mut turn, &mut both.into_iter(), &mut dice))
        };
        assert_eq!(picks(0x7000_0001), [Some(0), Some(1)], "round robin");
        assert_eq!(picks(0xb000_9002), [Some(0), Some(0)], "whoever ordered the answer knew why");
        assert!(table.clone().with(mine).is_err());
        let reserved = PolicyKind { number: PolicyNumber(0x4000_0000), name: "other", ..mine };
        assert!(table.with(reserved).is_err());
    }
}
