//! The cache of a pool user: what registrars answered, and what its owner reported (RFC 5352 §3.3
//! C1-C4, §3.5, §6.3-§6.5).
//!
//! An answer is *fresh* for `stale_cache_value`, and *kept* for `keep_stale` for the case that no
//! registrar answers.
//!
//! An element that was reported as unreachable is **set aside** for a fixed time: it is not picked
//! while there is another. A registrar that lists it again does not end that: at first it lists
//! the element because its own probe is still under way. The time is not shorter than
//! `stale_cache_value`, so whatever is fresh when it has passed was asked for after the report, and
//! counts. If nothing else is left, an element set aside is picked all the same once a registrar has
//! listed it in an answer asked for after the report: it may only have been restarting.
//!
//! A **PE handle** is a pool handle and an identifier. An answer may hold only some elements of a
//! large pool; then those of earlier answers are remembered, so that a handle still leads somewhere.

use crate::id::{PeId, PoolHandle};
use crate::planted::planted;
use crate::policy::{Candidate, Dice, PolicyTable, Turn};
use crate::time::{Duration, Instant};
use crate::wire::policy::PolicyParameter;
use crate::wire::pool_element::PoolElement;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most reports remembered per pool; the oldest make room. More than this many elements found dead
/// within `set_aside` is a failure of the network.
const MAX_ASIDE: usize = 256;

/// Most elements per pool that are remembered beyond the newest answer.
const MAX_OTHERS: usize = 256;

/// Answers and reports, by pool.
#[derive(Debug)]
pub(super) struct Cache {
    pools: BTreeMap<PoolHandle, Pool>,
    /// Which pool was used when, for making room.
    uses: BTreeMap<u64, PoolHandle>,
    next_use: u64,
    max_pools: usize,
    set_aside: Duration,
}

/// What is known of one pool.
#[derive(Debug, Default)]
pub(super) struct Pool {
    answer: Option<Answer>,
    /// Elements of earlier answers that the newest, which is not complete, does not list.
    others: BTreeMap<PeId, Arc<PoolElement>>,
    /// When each element set aside was reported.
    aside: BTreeMap<PeId, Instant>,
    used: u64,
}

/// What a registrar answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Policy of the pool.
    pub(super) policy: PolicyParameter,
    /// At least one, in the order of the registrar.
    pub(super) elements: Vec<Arc<PoolElement>>,
    /// How many the pool has, if the registrar said so.
    pub(super) total: Option<u32>,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// When it came.
    pub(super) received: Instant,
    /// Where the user stands in it.
    pub(super) turn: Turn,
}

/// How wide a choice among the elements of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// None that are set aside.
    Good,
    /// Those set aside too, if they were listed since they were reported.
    Listed,
    /// All: no registrar answers that could know better.
    Any,
}

impl Cache {
    pub(super) fn new(max_pools: usize, set_aside: Duration) -> Self {
        Self {
            pools: BTreeMap::new(),
            uses: BTreeMap::new(),
            next_use: 0,
            max_pools: max_pools.max(1),
            set_aside,
        }
    }

    /// What is known of a pool; counts as a use.
    pub(super) fn pool(&mut self, handle: &PoolHandle) -> Option<&mut Pool> {
        if self.pools.contains_key(handle) { Some(self.pool_or_new(handle)) } else { None }
    }

    /// Keeps an answer in place of the one before.
    pub(super) fn store(&mut self, now: Instant, handle: &PoolHandle, answer: Answer) {
        let set_aside = self.set_aside;
        let pool = self.pool_or_new(handle);
        pool.aside.retain(|_, reported| now < *reported + set_aside);
        pool.replace_answer(answer);
    }

    /// Forgets what a registrar answered, but not what was reported.
    pub(super) fn forget_answer(&mut self, handle: &PoolHandle) {
        if let Some(pool) = self.pools.get_mut(handle) {
            pool.answer = None;
            pool.others.clear();
        }
    }

    /// Forgets all about a pool.
    pub(super) fn purge(&mut self, handle: &PoolHandle) {
        if let Some(pool) = self.pools.remove(handle) {
            self.uses.remove(&pool.used);
        }
    }

    /// Whether an element of this identifier has been handed out, as far as is remembered.
    pub(super) fn knows(&self, handle: &PoolHandle, id: PeId) -> bool {
        self.pools.get(handle).is_some_and(|pool| pool.element(id).is_some())
    }

    /// Sets an element aside; false if it already was.
    pub(super) fn set_aside(&mut self, now: Instant, handle: &PoolHandle, id: PeId) -> bool {
        let set_aside = self.set_aside;
        let pool = self.pool_or_new(handle);
        pool.aside.retain(|_, reported| now < *reported + set_aside);
        if pool.aside.contains_key(&id) {
            return false;
        }
        if pool.aside.len() >= MAX_ASIDE {
            let oldest = pool.aside.iter().min_by_key(|&(id, reported)| (*reported, *id));
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                pool.aside.remove(&oldest);
            }
        }
        if !planted!("report-forgotten") {
            pool.aside.insert(id, now);
        }
        pool.others.remove(&id);
        true
    }

    /// How many elements of a pool are set aside now: [`MAX_ASIDE`] at most.
    pub(super) fn count_aside(&self, now: Instant, handle: &PoolHandle) -> u32 {
        let reported = self.pools.get(handle).into_iter().flat_map(|pool| pool.aside.values());
        let aside = reported.filter(|&&reported| now < reported + self.set_aside);
        u32::try_from(aside.count()).unwrap_or(u32::MAX)
    }

    /// Whether an element is set aside now.
    pub(super) fn is_aside(&self, now: Instant, handle: &PoolHandle, id: PeId) -> bool {
        self.pools.get(handle).is_some_and(|pool| pool.is_aside(now, id, self.set_aside))
    }

    /// The element of the pool's answer that the user's side of the pool's policy takes (RFC 5356).
    pub(super) fn choose(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        exclude: &[PeId],
        choice: Choice,
        policies: &PolicyTable,
        dice: &mut Dice,
    ) -> Option<Arc<PoolElement>> {
        let set_aside = self.set_aside;
        let Pool { answer, aside, .. } = self.pools.get_mut(handle)?;
        let Answer { policy, elements, asked, turn, .. } = answer.as_mut()?;
        let usable = |id: PeId| {
            let reported = aside.get(&id).filter(|&&reported| now < reported + set_aside);
            !exclude.contains(&id)
                && match (choice, reported) {
                    (_, None) | (Choice::Any, _) => true,
                    (Choice::Good, Some(_)) => false,
                    (Choice::Listed, Some(reported)) => *asked >= *reported,
                }
        };
        let mut candidates = elements.iter().map(|element| Candidate {
            usable: usable(element.id),
            words: element.policy.words().unwrap_or_default(),
        });
        let position = policies.picking(policy.number)(turn, &mut candidates, dice)?;
        elements.get(position).cloned()
    }

    fn pool_or_new(&mut self, handle: &PoolHandle) -> &mut Pool {
        if !self.pools.contains_key(handle) && self.pools.len() >= self.max_pools {
            // The one used least recently makes room.
            if let Some((_, oldest)) = self.uses.pop_first() {
                self.pools.remove(&oldest);
            }
        }
        let used = self.next_use;
        self.next_use += 1;
        let pool =
            self.pools.entry(handle.clone()).or_insert_with(|| Pool { used, ..Pool::default() });
        self.uses.remove(&pool.used);
        self.uses.insert(used, handle.clone());
        pool.used = used;
        pool
    }

    /// How many things it remembers.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn kept(&self) -> usize {
        let sizes = |pool: &Pool| {
            let answer = pool.answer.as_ref().map_or(0, |answer| answer.elements.len());
            [1, answer, pool.others.len(), pool.aside.len()]
        };
        self.pools.values().flat_map(sizes).sum()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.pools.len(), self.uses.len());
        self.pools.len()
    }
}

impl Pool {
    /// What a registrar answered last.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// An element by its identifier, if it is in the newest answer or may still be in the pool.
    pub(super) fn element(&self, id: PeId) -> Option<&Arc<PoolElement>> {
        let listed = self.answer.as_ref()?.elements.iter().find(|element| element.id == id);
        listed.or_else(|| self.others.get(&id))
    }

    fn is_aside(&self, now: Instant, id: PeId, set_aside: Duration) -> bool {
        self.aside.get(&id).is_some_and(|&reported| now < reported + set_aside)
    }

    fn replace_answer(&mut self, answer: Answer) {
        let old = self.answer.take();
        if answer.is_complete() {
            self.others.clear();
        } else {
            for element in old.into_iter().flat_map(|old| old.elements) {
                self.others.insert(element.id, element);
            }
            for element in &answer.elements {
                self.others.remove(&element.id);
            }
            while self.others.len() > MAX_OTHERS {
                self.others.pop_first();
            }
        }
        self.answer = Some(answer);
    }
}

impl Answer {
    /// Whether it lists the whole pool, as far as can be known.
    fn is_complete(&self) -> bool {
        self.total.is_none_or(|total| u64::from(total) <= self.elements.len() as u64)
    }

    /// Whether it may still be used within `limit` of its arrival.
    pub(super) fn is_within(&self, now: Instant, limit: Duration) -> bool {
        now < self.received + limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::testing::{element, policy};
    use alloc::string::ToString;

    fn handle(number: usize) -> PoolHandle {
        PoolHandle::new(number.to_string()).unwrap()
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn answer(ids: &[u32], total: Option<u32>, asked: Instant) -> Answer {
        Answer {
            policy: policy(1, &[]),
            elements: ids.iter().map(|&id| Arc::new(element(id))).collect(),
            total,
            asked,
            received: asked,
            turn: Turn::default(),
        }
    }

    fn cache(max_pools: usize) -> Cache {
        Cache::new(max_pools, Duration::from_secs(2))
    }

    #[test]
    fn the_pool_used_least_recently_makes_room() {
        let mut cache = cache(3);
        for number in 0..3 {
            cache.store(at(0), &handle(number), answer(&[1], None, at(0)));
        }
        cache.pool(&handle(0));
        cache.store(at(0), &handle(3), answer(&[1], None, at(0)));
        let kept = (0..4).map(|number| cache.pools.contains_key(&handle(number)));
        assert_eq!(kept.collect::<Vec<_>>(), [true, false, true, true]);
        cache.purge(&handle(2));
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn reports_and_elements_beyond_the_answer_are_bounded() {
        let mut cache = cache(1);
        for id in 0..2_000 {
            cache.set_aside(at(u64::from(id) / 10), &handle(1), PeId(id));
            let asked = at(u64::from(id));
            cache.store(at(200), &handle(1), answer(&[id, id + 1], Some(9_999), asked));
        }
        let pool = &cache.pools[&handle(1)];
        assert_eq!((pool.aside.len(), pool.others.len()), (MAX_ASIDE, MAX_OTHERS));
        // The newest reports are the ones kept.
        assert!(cache.is_aside(at(200), &handle(1), PeId(1_999)));
        assert!(!cache.is_aside(at(200), &handle(1), PeId(0)));
    }

    #[test]
    fn a_report_outlives_the_answer_that_is_forgotten() {
        let mut cache = cache(1);
        cache.store(at(0), &handle(1), answer(&[1], None, at(0)));
        assert!(cache.set_aside(at(1), &handle(1), PeId(1)));
        cache.forget_answer(&handle(1));
        assert!(!cache.set_aside(at(2_000), &handle(1), PeId(1)));
        assert!(cache.set_aside(at(2_001), &handle(1), PeId(1)));
    }

    #[test]
    fn the_choice_follows_the_policy_of_the_answer() {
        // RFC 5356 §5.1.3: least used takes the first, round robin takes turns.
        let mut cache = cache(1);
        let mut picks = |number| {
            let policy = policy(number, &[0]);
            cache.store(at(0), &handle(1), Answer { policy, ..answer(&[1, 2], None, at(0)) });
            let (policies, mut dice) = (PolicyTable::default(), Dice::new([1; 32]));
            let mut pick = || {
                cache
                    .choose(at(0), &handle(1), &[], Choice::Good, &policies, &mut dice)
                    .unwrap()
                    .id
                    .0
            };
            [pick(), pick(), pick()]
        };
        assert_eq!(picks(0x0000_0001), [1, 2, 1]);
        assert_eq!(picks(0x4000_0001), [1, 1, 1]);
        assert_eq!(picks(0x7777_7777), [1, 2, 1], "an unknown one is round robin");
    }
}
