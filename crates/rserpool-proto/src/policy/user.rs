//! The user side of policies: which element of an answer is taken (RFC 5356, "Pool User
//! Considerations").

use super::Dice;

/// One element of an answer, as the user sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Whether it may be taken: neither tried in vain just now nor set aside.
    pub usable: bool,
    /// Its policy's words.
    pub words: &'a [u32],
}

/// Where a user stands in an answer; a new answer wants a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    next: usize,
}

/// RFC 5356 §4.1.3: one after the other from the first, and again from the beginning.
pub(super) fn in_turn(
    turn: &mut Turn,
    candidates: &mut dyn Iterator<Item = Candidate<'_>>,
    _: &mut Dice,
) -> Option<usize> {
    let mut first = None;
    let mut from_turn = None;
    for (position, candidate) in candidates.enumerate() {
        if !candidate.usable {
            continue;
        }
        if position >= turn.next {
            from_turn = Some(position);
            break;
        }
        first = first.or(Some(position));
    }
    let picked = from_turn.or(first)?;
    turn.next = picked + 1;
    Some(picked)
}

/// RFC 5356 §4.3.3, §4.4.3: any, each as likely; weights have been heeded by the registrar.
pub(super) fn at_random(
    _: &mut Turn,
    candidates: &mut dyn Iterator<Item = Candidate<'_>>,
    dice: &mut Dice,
) -> Option<usize> {
    let mut picked = None;
    let mut usable = 0;
    for (position, candidate) in candidates.enumerate() {
        if candidate.usable {
            usable += 1;
            if dice.below32(usable) == 0 {
                picked = Some(position);
            }
        }
    }
    picked
}

/// RFC 5356 §5.1.3: in the order of the answer.
pub(super) fn in_order(
    _: &mut Turn,
    candidates: &mut dyn Iterator<Item = Candidate<'_>>,
    _: &mut Dice,
) -> Option<usize> {
    candidates.enumerate().find(|(_, candidate)| candidate.usable).map(|(position, _)| position)
}

/// RFC 5356 §4.5.3: the one of highest priority, whatever the order of the answer.
pub(super) fn by_priority(
    _: &mut Turn,
    candidates: &mut dyn Iterator<Item = Candidate<'_>>,
    _: &mut Dice,
) -> Option<usize> {
    let mut best: Option<(u32, usize)> = None;
    for (position, candidate) in candidates.enumerate() {
        let priority = candidate.words.first().copied().unwrap_or(0);
        if candidate.usable && best.is_none_or(|(highest, _)| priority > highest) {
            best = Some((priority, position));
        }
    }
    best.map(|(_, position)| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn candidates<'a>(usable: &'a [bool], words: &'a [u32]) -> Vec<Candidate<'a>> {
        let words = words.chunks(1).chain(core::iter::repeat(&[][..]));
        usable.iter().zip(words).map(|(&usable, words)| Candidate { usable, words }).collect()
    }

    #[test]
    fn round_robin_goes_through_the_answer_and_begins_again() {
        // RFC 5356 §4.1.3
        let (mut turn, mut dice) = (Turn::default(), Dice::new([1; 32]));
        let mut pick = |usable: &[bool]| {
            in_turn(&mut turn, &mut candidates(usable, &[]).into_iter(), &mut dice)
        };
        assert_eq!(pick(&[true, true, true]), Some(0));
        assert_eq!(pick(&[true, true, true]), Some(1));
        assert_eq!(pick(&[true, true, false]), Some(0));
        assert_eq!(pick(&[true, false, true]), Some(2));
        assert_eq!(pick(&[false, true, true]), Some(1));
        assert_eq!(pick(&[false, false, false]), None);
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn random_takes_each_usable_one_as_often() {
        // RFC 5356 §4.3.3
        let (mut turn, mut dice) = (Turn::default(), Dice::new([1; 32]));
        let mut counts = [0u32; 4];
        for _ in 0..9_000 {
            let mut answer = candidates(&[true, false, true, true], &[]).into_iter();
            counts[at_random(&mut turn, &mut answer, &mut dice).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!([0, 2, 3].iter().all(|&i| (2_800..3_200).contains(&counts[i])), "{counts:?}");
    }

    #[test]
    fn least_used_takes_the_first_that_is_usable_every_time() {
        // RFC 5356 §5.1.3
        let (mut turn, mut dice) = (Turn::default(), Dice::new([1; 32]));
        for _ in 0..3 {
            let mut answer = candidates(&[false, true, true], &[]).into_iter();
            assert_eq!(in_order(&mut turn, &mut answer, &mut dice), Some(1));
        }
    }

    #[test]
    fn priority_takes_the_highest_usable_one_whatever_the_order() {
        // RFC 5356 §4.5.3
        let (mut turn, mut dice) = (Turn::default(), Dice::new([1; 32]));
        let mut answer = candidates(&[true, false, true, true], &[3, 9, 7, 7]).into_iter();
        assert_eq!(by_priority(&mut turn, &mut answer, &mut dice), Some(2));
    }
}
