//! Whose questions are turns: nobody who asks over and over takes those of the others (RFC 5355 §2.13, where it is
//! about reports, is as true of questions).
//!
//! To a policy a question is a use: round robin goes one on, degradation adds up (RFC 5356 §4.1.2, §5.2.2). Somebody who
//! asks a pool a hundred times as often as others do, and uses nothing, leaves these what is left of its order, which
//! is chance. So it is counted who asks a pool how often, and who asks far more often than the others do is answered
//! **apart**: by a second order, a copy of the first one that goes its own way, which those share who are.
//!
//! ```text
//!   question of A, B, C .. ── as often as others ──> the pool's order    e1 e2 e3 e1 e2 ..
//!   question of X ────────── far more often ───────> the order apart     e1 e2 e3 e1 e2 ..
//! ```
//!
//! Nobody is refused for it, and whoever means no harm, such as a proxy among single users, has the policy for itself.
//! Counts are halved every [`WINDOW`]; when nobody is apart any more the second order ends.

use super::Handlespace;
use super::pool::{Pool, PoolIndex};
use crate::policy::Policy;
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Who asks a pool: the same number each time, of whatever makes two questions one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asker(pub u32);

impl Asker {
    /// Somebody who is not counted.
    pub const UNCOUNTED: Self = Self(0);
}

/// Time after which counts are halved: a few questions of each of a hundred users who ask every quarter of a minute.
const WINDOW: Duration = Duration::from_secs(30);

/// How much more often than the mean of the others somebody asks who is answered apart.
const OFTEN: u64 = 4;

/// Questions of somebody in two windows or so that are nothing, however few the others ask: somebody who is named one
/// that does not answer, and asks again a second later, is in need and means no harm.
const FEW: u32 = 24;

/// Most askers of a pool that are counted; who comes then takes the place of one that asks least, and its count, so that
/// nobody escapes who asks more often than one in so many questions.
const MAX_ASKERS: usize = 128;

/// Most pools whose askers are counted, 1.5 KiB each at most: the one begun first makes room.
const MAX_CROWDS: usize = 4096;

/// Most elements of a pool that gets a second order, which is a copy of its first one and takes about a millisecond to
/// make then: in a larger one a turn is little.
const MAX_APART: usize = 65_536;

/// Who asks a pool, and the order of those who are answered apart.
#[derive(Debug)]
pub(super) struct Crowd {
    /// When counts were halved last.
    since: Instant,
    /// In the order of their numbers.
    askers: Vec<Known>,
    /// Sum of all counts.
    total: u64,
    /// Orders all elements but the suspect ones, while somebody is apart.
    pub(super) apart: Option<Box<dyn Policy>>,
    /// How many such orders there have been.
    orders: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    asker: Asker,
    count: u32,
    /// Whether it is answered apart, until counts are halved at least.
    apart: bool,
}

impl Crowd {
    fn new(now: Instant) -> Self {
        Self { since: now, askers: Vec::new(), total: 0, apart: None, orders: 0 }
    }

    /// Halves all counts as often as it is time.
    fn age(&mut self, now: Instant) {
        let windows = now.saturating_since(self.since).as_micros() / WINDOW.as_micros();
        if windows == 0 {
            return;
        }
        self.since = now;
        let halved = |count: u32| u32::try_from(windows).ok().and_then(|n| count.checked_shr(n));
        for known in &mut self.askers {
            known.count = halved(known.count).unwrap_or(0);
        }
        self.askers.retain(|known| known.count > 0);
        self.total = self.askers.iter().map(|known| u64::from(known.count)).sum();
        let (others, total) = (self.others(), self.total);
        for known in &mut self.askers {
            known.apart = is_often(known.count, others, total);
        }
        if !self.askers.iter().any(|known| known.apart) {
            self.apart = None;
        }
    }

    /// Counts a question; whether whoever asks is to be answered apart.
    fn count(&mut self, asker: Asker) -> bool {
        let place = match self.place_of(asker) {
            Ok(place) => place,
            Err(place) if self.askers.len() < MAX_ASKERS => {
                self.askers.insert(place, Known { asker, count: 0, apart: false });
                place
            }
            Err(place) => {
                let least = (0..).zip(&self.askers).min_by_key(|(_, known)| known.count);
                let (least, count) = least.map_or((0, 0), |(at, known)| (at, known.count));
                self.askers.remove(least);
                let place = place - usize::from(least < place);
                self.askers.insert(place, Known { asker, count, apart: false });
                place
            }
        };
        self.total += 1;
        let (others, total) = (self.others(), self.total);
        let Some(known) = self.askers.get_mut(place) else { return false };
        known.count = known.count.saturating_add(1);
        known.apart |= is_often(known.count, others, total);
        known.apart
    }

    fn place_of(&self, asker: Asker) -> Result<usize, usize> {
        self.askers.binary_search_by_key(&asker, |known| known.asker)
    }

    /// How many others there are beside anybody.
    fn others(&self) -> u64 {
        self.askers.len().saturating_sub(1) as u64
    }
}

/// Whether so many questions of all are far more than each of the others asks.
fn is_often(count: u32, others: u64, total: u64) -> bool {
    let of_others = total.saturating_sub(u64::from(count));
    count > FEW && u64::from(count).saturating_mul(others) > of_others.saturating_mul(OFTEN)
}

/// The pools whose askers are counted, in the order in which that began; some have ended since.
#[derive(Debug, Default)]
pub(super) struct Crowds(VecDeque<PoolIndex>);

impl Handlespace {
    /// The number of whoever has a name, such as an identity or an address.
    pub fn asker(&self, name: &[u8]) -> Asker {
        Asker((self.pools.hash(name) as u32).max(1))
    }

    /// Counts a question; whether it is to be answered apart, for which there is an order then.
    pub(super) fn takes_turn_apart(
        &mut self,
        now: Instant,
        index: PoolIndex,
        asker: Asker,
    ) -> bool {
        let pool = self.pools.get_mut(index);
        let elements = pool.len();
        // Who is alone is named every time.
        if asker == Asker::UNCOUNTED || elements < 2 {
            return false;
        }
        let Some(crowd) = &mut pool.crowd else {
            self.begin_crowd(now, index, asker);
            return false;
        };
        crowd.age(now);
        let apart = crowd.count(asker);
        if apart && crowd.apart.is_none() {
            if elements > MAX_APART {
                return false;
            }
            crowd.apart = Some(pool.policy.copy());
            crowd.orders = crowd.orders.wrapping_add(1);
        }
        apart
    }

    /// Which of the orders that a pool has had apart answers somebody, if one does.
    #[cfg(any(test, feature = "testing"))]
    pub fn order_apart(&self, handle: &[u8], asker: Asker) -> Option<u32> {
        let crowd = self.pool(handle)?.crowd.as_deref()?;
        let known = crowd.askers.get(crowd.place_of(asker).ok()?)?;
        (known.apart && crowd.apart.is_some()).then_some(crowd.orders)
    }

    #[cold]
    fn begin_crowd(&mut self, now: Instant, index: PoolIndex, asker: Asker) {
        if self.crowds.0.len() >= MAX_CROWDS
            && let Some(oldest) = self.crowds.0.pop_front()
            && let Some(pool) = self.pools.get_if_any(oldest)
        {
            pool.crowd = None;
        }
        self.crowds.0.push_back(index);
        let mut crowd = Crowd::new(now);
        crowd.count(asker);
        self.pools.get_mut(index).crowd = Some(Box::new(crowd));
    }
}

impl Pool {
    /// Does something to the order of the pool, and to the one apart if there is one.
    #[inline]
    pub(super) fn in_each_order(&mut self, mut change: impl FnMut(&mut dyn Policy)) {
        change(&mut *self.policy);
        if let Some(crowd) = &mut self.crowd
            && let Some(apart) = &mut crowd.apart
        {
            change(&mut **apart);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlespace::HandlespaceConfig;
    use crate::id::{PeId, PoolHandle, ServerId};
    use crate::policy::{PolicyParameter, PolicyTable};
    use crate::wire::pool_element::{ElementExtensions, PoolElement};
    use crate::wire::transport::Transport;
    use alloc::format;
    use alloc::vec::Vec;

    const POOL: &[u8] = b"pool";
    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        space: Handlespace,
        policy: &'static str,
        now: Instant,
    }

    impl Scene {
        fn new(policy: &'static str, elements: u32) -> Self {
            let space = Handlespace::new(HandlespaceConfig::default(), [7; 32]);
            let mut scene = Self { space, policy, now: Instant::from_micros(1) };
            (0..elements).for_each(|id| scene.register(id, 0));
            scene
        }

        fn register(&mut self, id: u32, load: u32) {
            let table = PolicyTable::builtin();
            let kind = table.by_name(self.policy).unwrap();
            let element = PoolElement {
                id: PeId(id),
                home: ServerId(1),
                life: -1,
                user_transport: Transport::Tcp("127.0.0.1:80".parse().unwrap()),
                policy: PolicyParameter::new(kind.number, &[load, 1][..kind.words.len()]),
                asap_transport: None,
                extensions: ElementExtensions::default(),
            };
            let handle = PoolHandle::new(POOL).unwrap();
            self.space.register(self.now, &handle, element, None).unwrap();
            self.space.check();
        }

        /// Whom somebody is named first, and the pool's answer leaves everything in order.
        fn ask(&mut self, asker: u32) -> u32 {
            let mut out = Vec::new();
            self.space.resolve(self.now, POOL, 1, Asker(asker), &mut out).unwrap();
            self.space.check();
            self.space.element_at(out[0]).unwrap().id().0
        }

        fn ask_often(&mut self, asker: u32, times: usize) {
            for _ in 0..times {
                self.ask(asker);
            }
        }

        fn is_apart(&self, asker: u32) -> bool {
            self.space.order_apart(POOL, Asker(asker)).is_some()
        }

        /// Ten users ask in turn, one a second each, and one more does so that often in between.
        fn beset(&mut self, seconds: usize, times: usize) -> Vec<u32> {
            let mut named = Vec::new();
            for _ in 0..seconds {
                for user in 1..=10 {
                    self.ask_often(99, times);
                    named.push(self.ask(user));
                    self.now = self.now + SECOND / 10;
                }
            }
            named
        }
    }

    #[test]
    fn who_asks_far_more_often_than_others_takes_none_of_their_turns() {
        let mut scene = Scene::new("round-robin", 7);
        scene.beset(10, 3);
        assert!(scene.is_apart(99) && (1..=10).all(|user| !scene.is_apart(user)));
        let named = scene.beset(20, 3);
        assert!(named.windows(2).all(|two| two[1] == (two[0] + 1) % 7), "{named:?}");
    }

    #[test]
    fn who_is_apart_has_the_policy_for_itself() {
        let mut scene = Scene::new("round-robin", 7);
        scene.beset(10, 3);
        let mut named = [0; 7];
        for _ in 0..50 {
            scene.ask(1);
            named[scene.ask(99) as usize] += 1;
        }
        let (least, most) = (named.iter().min().unwrap(), named.iter().max().unwrap());
        assert!(scene.is_apart(99) && most - least <= 1, "{named:?}");
    }

    #[test]
    fn questions_of_one_who_is_apart_are_no_load_to_others() {
        // RFC 5356 §5.2.2: each answer adds the degradation.
        let mut scene = Scene::new("least-used-degradation", 2);
        scene.beset(10, 3);
        scene.register(0, 100);
        scene.register(1, 0);
        scene.ask_often(99, 1000);
        assert_eq!(scene.ask(1), 1, "the one with the lower load, as if nobody else had asked");
    }

    #[test]
    fn those_who_ask_about_as_often_share_the_order_however_many_they_are() {
        for askers in [1, 2, 3, 20, MAX_ASKERS as u32 + 50] {
            let mut scene = Scene::new("round-robin", 5);
            for round in 0..200 {
                // One of them asks three times as often.
                for asker in (1..=askers).chain([1, 1]) {
                    scene.ask(asker);
                    assert!(!scene.is_apart(asker), "{asker} of {askers} in round {round}");
                }
                scene.now = scene.now + SECOND * 5;
            }
            assert!(scene.space.pool(POOL).unwrap().crowd.as_ref().unwrap().apart.is_none());
        }
    }

    #[test]
    fn a_few_questions_at_once_are_nothing() {
        let mut scene = Scene::new("round-robin", 5);
        (1..=50).for_each(|user| scene.ask_often(user, 1));
        for turn in 0..FEW {
            assert_eq!(scene.ask(99), turn % 5);
        }
        assert!(!scene.is_apart(99));
        scene.ask(99);
        assert!(scene.is_apart(99));
    }

    #[test]
    fn who_has_stopped_is_one_of_all_again_and_the_second_order_ends() {
        let mut scene = Scene::new("round-robin", 5);
        scene.beset(10, 5);
        assert!(scene.is_apart(99));
        scene.beset(200, 0);
        assert!(!scene.is_apart(99));
        assert!(scene.space.pool(POOL).unwrap().crowd.as_ref().unwrap().apart.is_none());
    }

    #[test]
    fn both_orders_follow_what_comes_changes_and_goes() {
        let mut scene = Scene::new("least-used", 5);
        scene.beset(10, 5);
        scene.register(3, 0);
        for id in [0, 1, 2, 4] {
            scene.register(id, 50);
        }
        assert_eq!((scene.ask(99), scene.ask(1)), (3, 3));
        let slot = scene.space.slot(POOL, PeId(3)).unwrap();
        scene.space.set_suspect(slot, true);
        assert_ne!((scene.ask(99), scene.ask(1)), (3, 3));
        scene.space.set_suspect(slot, false);
        assert_eq!((scene.ask(99), scene.ask(1)), (3, 3));
        scene.space.remove(scene.now, POOL, PeId(3));
        scene.register(9, 1);
        assert_eq!((scene.ask(99), scene.ask(1)), (9, 9));
        assert!(scene.is_apart(99));
    }

    #[test]
    fn whoever_comes_under_many_names_is_found_by_each_and_few_are_remembered() {
        let mut scene = Scene::new("round-robin", 5);
        (1000..2000).for_each(|name| scene.ask_often(name, 1));
        assert!(scene.space.pool(POOL).unwrap().crowd.as_ref().unwrap().askers.len() <= MAX_ASKERS);
        // Somebody who was not counted yet takes the place, and the count, of one that asks least.
        scene.ask_often(5, 200);
        assert!(scene.is_apart(5));
    }

    #[test]
    fn a_pool_whose_askers_are_counted_makes_room_for_another() {
        let mut scene = Scene::new("round-robin", 2);
        scene.beset(10, 5);
        let template = scene.space.element(POOL, PeId(0)).unwrap().to_wire();
        for pool in 0..MAX_CROWDS {
            let handle = PoolHandle::new(format!("other {pool}").as_bytes()).unwrap();
            for id in 0..2 {
                let element = PoolElement { id: PeId(id), ..template.clone() };
                scene.space.register(scene.now, &handle, element, None).unwrap();
            }
            let mut out = Vec::new();
            scene.space.resolve(scene.now, handle.as_bytes(), 1, Asker(1), &mut out).unwrap();
        }
        assert!(scene.space.pool(POOL).unwrap().crowd.is_none());
        scene.ask(1);
        assert!(scene.space.pool(POOL).unwrap().crowd.is_some());
        assert!(scene.space.crowds.0.len() <= MAX_CROWDS);
    }
}
