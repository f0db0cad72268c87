//! The laws of policies in a steady pool (RFC 5356), seen from outside: who comes first how often.

use rserpool_proto::id::PeId;
use rserpool_proto::policy::{PolicyNumber, PolicyParameter};
use rserpool_proto::wire::asap::HandleResolutionResponse;
use std::collections::BTreeMap;

/// What was selected from a pool since it last changed.
#[derive(Debug)]
pub(super) struct Law {
    policy: PolicyNumber,
    firsts: BTreeMap<PeId, u64>,
    answers: u64,
    /// Fingerprint of the pool as it was at the last answer.
    pool: u64,
    /// The order of those who ask far more often than others, and which of those that there were.
    apart: Option<(u32, Box<Law>)>,
}

/// Policies by number (RFC 5356 §4, §5).
const ROUND_ROBIN: u32 = 1;
const WEIGHTED_ROUND_ROBIN: u32 = 2;
const RANDOM: u32 = 3;
const WEIGHTED_RANDOM: u32 = 4;
const PRIORITY: u32 = 5;
const LEAST_USED: u32 = 0x4000_0001;
const PRIORITY_LEAST_USED: u32 = 0x4000_0003;

impl Law {
    pub(super) fn new(policy: PolicyNumber) -> Self {
        Self { policy, firsts: BTreeMap::new(), answers: 0, pool: 0, apart: None }
    }

    pub(super) fn policy(&self) -> PolicyNumber {
        self.policy
    }

    /// The pool has changed: counting begins anew.
    pub(super) fn restart(&mut self) {
        self.firsts.clear();
        self.answers = 0;
        self.apart = None;
    }

    /// Whether an element may be returned at all (RFC 5356 §3.2).
    pub(super) fn is_usable(policy: &PolicyParameter) -> bool {
        let weighted = matches!(policy.number.0, WEIGHTED_ROUND_ROBIN | WEIGHTED_RANDOM);
        !weighted || word(policy, 0, 1) > 0
    }

    /// An answer from a pool whose usable elements, and whether each is suspected, are these; by which of the
    /// orders apart, if it is by one.
    pub(super) fn observe(
        &mut self,
        members: &[(PeId, &PolicyParameter, bool)],
        answer: &HandleResolutionResponse,
        apart: Option<u32>,
    ) -> Result<(), String> {
        if let Some(order) = apart {
            let known = self.apart.take().filter(|(known, _)| *known == order);
            let (_, law) = self
                .apart
                .insert(known.unwrap_or_else(|| (order, Box::new(Self::new(self.policy)))));
            return law.observe(members, answer, None);
        }
        let Some(first) = answer.elements.first() else { return Ok(()) };
        let pool = fingerprint(members);
        if self.pool != pool {
            self.restart();
            self.pool = pool;
        }
        *self.firsts.entry(first.id).or_default() += 1;
        self.answers += 1;
        let good = members.iter().filter(|(_, _, suspected)| !suspected);
        let good: Vec<_> = good.map(|(id, policy, _)| (*id, *policy)).collect();
        let count = |id: PeId| self.firsts.get(&id).copied().unwrap_or(0);
        match self.policy.0 {
            ROUND_ROBIN => {
                let counts = good.iter().map(|(id, _)| count(*id));
                let (least, most) = (counts.clone().min(), counts.max());
                if let (Some(least), Some(most)) = (least, most)
                    && most > least + 1
                {
                    return Err(format!("round robin took one {most} times, another {least}"));
                }
            }
            WEIGHTED_ROUND_ROBIN => {
                let total: u64 = good.iter().map(|(_, p)| u64::from(word(p, 0, 1))).sum();
                for (id, policy) in &good {
                    let due = self.answers as f64 * f64::from(word(policy, 0, 1)) / total as f64;
                    if (count(*id) as f64 - due).abs() > good.len() as f64 + 1.0 {
                        let taken = count(*id);
                        return Err(format!("{id} came first {taken} times instead of {due:.1}"));
                    }
                }
            }
            RANDOM => self.chi_squared(&good, |_| 1)?,
            WEIGHTED_RANDOM => self.chi_squared(&good, |policy| word(policy, 0, 1))?,
            PRIORITY => sorted(answer, members, |policy| u64::from(!word(policy, 0, 0)))?,
            LEAST_USED => sorted(answer, members, |policy| u64::from(word(policy, 0, 0)))?,
            PRIORITY_LEAST_USED => sorted(answer, members, |policy| {
                u64::from(word(policy, 0, 0)) + u64::from(word(policy, 1, 0))
            })?,
            _ => {}
        }
        Ok(())
    }

    /// Whether chance alone can have made the counts what they are: beyond nine standard deviations
    /// it cannot, in as many runs as there will ever be.
    fn chi_squared(
        &self,
        members: &[(PeId, &PolicyParameter)],
        weight: impl Fn(&PolicyParameter) -> u32,
    ) -> Result<(), String> {
        let total: u64 = members.iter().map(|(_, policy)| u64::from(weight(policy))).sum();
        let least = members.iter().map(|(_, policy)| weight(policy)).min().unwrap_or(0);
        // Each element should have come first at least ten times; and not at every answer.
        let enough = self.answers * u64::from(least) >= 10 * total;
        if members.len() < 2 || !enough || !self.answers.is_multiple_of(50) {
            return Ok(());
        }
        let mut sum = 0.0;
        for (id, policy) in members {
            let due = self.answers as f64 * f64::from(weight(policy)) / total as f64;
            let seen = self.firsts.get(id).copied().unwrap_or(0) as f64;
            sum += (seen - due) * (seen - due) / due;
        }
        let freedom = (members.len() - 1) as f64;
        if sum > freedom + 9.0 * (2.0 * freedom).sqrt() + 30.0 {
            return Err(format!("chi-squared is {sum:.0} with {freedom} degrees of freedom"));
        }
        Ok(())
    }
}

fn fingerprint(members: &[(PeId, &PolicyParameter, bool)]) -> u64 {
    let mut print = 0xcbf2_9ce4_8422_2325u64;
    let mut mix = |word: u32| print = (print ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
    for (id, policy, suspected) in members {
        mix(id.0);
        policy.words().unwrap_or(&[]).iter().for_each(|word| mix(*word));
        mix(u32::from(*suspected));
    }
    print
}

/// Whether elements come in the order of a key, the suspected ones last.
fn sorted(
    answer: &HandleResolutionResponse,
    members: &[(PeId, &PolicyParameter, bool)],
    key: impl Fn(&PolicyParameter) -> u64,
) -> Result<(), String> {
    let mut previous = None;
    for element in &answer.elements {
        let Some((_, policy, suspected)) = members.iter().find(|(id, ..)| *id == element.id) else {
            continue;
        };
        let rank = (*suspected, key(policy));
        if previous.is_some_and(|previous| previous > rank) {
            return Err(format!("{} comes behind one of a higher rank", element.id));
        }
        previous = Some(rank);
    }
    let best = members.iter().map(|(_, policy, suspected)| (*suspected, key(policy))).min();
    let first = answer.elements.first().and_then(|first| {
        members.iter().find(|(id, ..)| *id == first.id).map(|(_, policy, s)| (*s, key(policy)))
    });
    match (first, best) {
        (Some(first), Some(best)) if first > best => Err("the best one does not come first".into()),
        _ => Ok(()),
    }
}

fn word(policy: &PolicyParameter, index: usize, default: u32) -> u32 {
    policy.words().and_then(|words| words.get(index)).copied().unwrap_or(default)
}
