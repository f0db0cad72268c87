//! Which element serves the next client.
//!
//! The pool is watched, and its elements are held here, so that a connection waits for a registrar
//! only while there is no list at all:
//!
//! ```text
//!   next() ----------> List <---- told by the registrar when it changes; renewed after a report,
//!                                 and every stale_cache_value where nobody tells
//!   unreachable() ---> set aside here at once, reported to the registrar, list renewed
//! ```
//!
//! A user of its own takes elements in the order of the registrar's answer (RFC 5356, "Pool User
//! Considerations"). A proxy stands for many users: that way it would send all clients of a second
//! to the same least used element, and forget weights. So it asks for the whole pool and applies
//! the pool's policy to it as a registrar does. A policy that only registrars know, as one by an
//! expression, has put its answer in order: connections go to one element after the other, each new
//! answer from its first on.

use rserpool::PoolUser;
use rserpool::pool_user::{Resolution, ResolveError};
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::policy::{Dice, Policy, PolicyNumber, PolicyParameter, PolicyTable, Seat};
use rserpool::proto::wire::capability::Owner;
use rserpool::proto::wire::transport::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// An element, and where it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) pe: PeId,
    pub(super) address: SocketAddr,
    /// Whose certificate it has to have, as the registrar says.
    pub(super) owner: Option<Owner>,
}

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Time between two renewals where changes are not told.
    pub(super) renew: Duration,
    /// How long an element that could not be reached is used only if nothing else is left.
    pub(super) set_aside: Duration,
    /// How long a list is used while no registrar answers: servers do not die because a registrar
    /// does.
    pub(super) keep_list: Duration,
}

/// Picks elements of one pool.
pub(super) struct Balance {
    handle: PoolHandle,
    times: Times,
    list: Mutex<List>,
    changed: Notify,
    wishes: mpsc::Sender<Wish>,
}

/// What connections want of the renewal.
enum Wish {
    Renewal,
    Report(PeId),
}

/// What wakes [`Balance::renew_forever`].
pub(super) struct Wishes(mpsc::Receiver<Wish>);

impl Balance {
    /// Without a list yet. `seed` decides what is random in policies.
    pub(super) fn new(handle: PoolHandle, times: Times, seed: [u8; 32]) -> (Self, Wishes) {
        let (sender, wishes) = mpsc::channel(WISHES_MAX);
        let list = Mutex::new(List::new(seed));
        (Self { handle, times, list, changed: Notify::new(), wishes: sender }, Wishes(wishes))
    }

    /// The element for the next connection, none of `exclude`.
    pub(super) fn next(&self, exclude: &[PeId]) -> Option<Target> {
        self.list().next(Instant::now(), exclude)
    }

    /// Sets an element aside and reports it. Says whether that is new.
    pub(super) fn unreachable(&self, pe: PeId) -> bool {
        let new = self.list().set_aside(Instant::now() + self.times.set_aside, pe);
        if new {
            // Full: others have been reported just now, and the list is renewed anyway.
            let _ = self.wishes.try_send(Wish::Report(pe));
        }
        new
    }

    /// Asks for a new list now.
    pub(super) fn renew(&self) {
        // Full: it is under way.
        let _ = self.wishes.try_send(Wish::Renewal);
    }

    /// Comes back when there is a new list.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Keeps the list up to date, and passes reports on.
    pub(super) async fn renew_forever(&self, user: PoolUser, mut wishes: Wishes) {
        let mut trouble = None;
        let Ok(mut watch) = user.watch(&self.handle).await else { return };
        let mut told = false;
        loop {
            let rest = match &trouble {
                Some(_) if !told => self.times.renew.min(RETRY),
                // Told or not, a list is one that a registrar has confirmed of late.
                _ if told => (self.times.renew * 5).min(self.times.keep_list / 2),
                _ => self.times.renew,
            };
            let began = Instant::now();
            tokio::select! {
                update = watch.next() => {
                    let Some(update) = update else { return };
                    told = update.pushed && self.is_told(&update.state);
                    self.take(&update.state, &mut trouble);
                    continue;
                }
                mut wish = wishes.0.recv() => {
                    while let Some(this) = wish {
                        if let Wish::Report(pe) = this {
                            user.report_unreachable(&self.handle, pe);
                        }
                        wish = wishes.0.try_recv().ok();
                    }
                }
                () = sleep(rest) => {}
            }
            // However many connections fail, a registrar is asked only so often.
            sleep(RENEW_PAUSE.saturating_sub(began.elapsed())).await;
            let answer = user.resolve(&self.handle).await;
            told &= self.is_told(&answer);
            self.take(&answer, &mut trouble);
        }
    }

    /// Whether the registrar tells all that matters by telling what changes: it does not if the order
    /// of its answers does.
    fn is_told(&self, state: &Result<Resolution, ResolveError>) -> bool {
        match state {
            Ok(resolution) => !is_in_order(resolution.policy.number),
            Err(error) => {
                matches!(error, ResolveError::UnknownPool { .. } | ResolveError::NoElement { .. })
            }
        }
    }

    fn take(&self, state: &Result<Resolution, ResolveError>, trouble: &mut Option<String>) {
        match state {
            Ok(resolution) => {
                if trouble.take().is_some() {
                    let elements = resolution.elements.len();
                    info!(handle = %self.handle, elements, "pool resolved again");
                }
                self.replace(resolution.policy.number, entries(resolution));
            }
            Err(error) => {
                self.on_error(error);
                let text = error.to_string();
                if trouble.as_ref() != Some(&text) {
                    warn!(handle = %self.handle, error = %text, "cannot resolve the pool");
                    *trouble = Some(text);
                }
            }
        }
    }

    fn on_error(&self, error: &ResolveError) {
        match error {
            // That is an answer: there is nobody.
            ResolveError::UnknownPool { .. }
            | ResolveError::NoElement { .. }
            | ResolveError::Refused { .. } => self.replace(PolicyNumber(0), Vec::new()),
            ResolveError::NoRegistrar { .. } | ResolveError::TooManyRequests { .. } => {
                self.list().forget_after(Instant::now(), self.times.keep_list);
            }
        }
    }

    pub(super) fn replace(&self, policy: PolicyNumber, elements: Vec<(Target, PolicyParameter)>) {
        let count = elements.len();
        if self.list().replace(Instant::now(), policy, elements) {
            debug!(handle = %self.handle, elements = count, "elements came or went");
        }
        self.changed.notify_waiters();
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // No half-made change is left behind by a panic: nothing in there panics.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only registrars know a policy: their answers are in its order.
fn is_in_order(number: PolicyNumber) -> bool {
    number.is_private() && PolicyTable::builtin().by_number(number).is_none()
}

/// The elements of an answer that take TCP connections.
fn entries(resolution: &Resolution) -> Vec<(Target, PolicyParameter)> {
    let elements = resolution.elements.iter();
    elements
        .filter_map(|element| match element.user_transport {
            Transport::Tcp(address) => {
                let owner = element.extensions.owner;
                Some((Target { pe: element.id, address, owner }, element.policy.clone()))
            }
            _ => None,
        })
        .collect()
}

/// The elements of the pool, and the policy that chooses among those that are not set aside.
struct List {
    number: PolicyNumber,
    policy: Box<dyn Policy>,
    dice: Dice,
    /// By seat.
    entries: Vec<Option<Entry>>,
    seats: BTreeMap<PeId, Seat>,
    /// How many entries are set aside.
    aside: usize,
    /// When a registrar gave the list.
    given: Option<Instant>,
    /// Reused by every pick.
    selected: Vec<Seat>,
}

struct Entry {
    target: Target,
    policy: PolicyParameter,
    aside_until: Option<Instant>,
}

impl List {
    fn new(seed: [u8; 32]) -> Self {
        let number = PolicyNumber(0);
        Self {
            number,
            policy: PolicyTable::builtin().answering(number).create(),
            dice: Dice::new(seed),
            entries: Vec::new(),
            seats: BTreeMap::new(),
            aside: 0,
            given: None,
            selected: Vec::new(),
        }
    }

    /// By the policy; of those set aside if it has no other.
    fn next(&mut self, now: Instant, exclude: &[PeId]) -> Option<Target> {
        if self.aside > 0 {
            self.readmit(now);
        }
        // Only an element that was tried in vain for a reason of our own is both excluded and not
        // set aside, so that the first is nearly always the one.
        for items in [1, self.entries.len()] {
            self.selected.clear();
            self.policy.select(&mut self.dice, items, &mut self.selected);
            let selected = self.selected.iter().filter_map(|seat| entry(&self.entries, *seat));
            let mut targets = selected.map(|entry| entry.target);
            if let Some(target) = targets.find(|target| !exclude.contains(&target.pe)) {
                return Some(target);
            }
        }
        let aside = self.entries.iter().flatten().filter(|entry| entry.aside_until.is_some());
        aside.map(|entry| entry.target).find(|target| !exclude.contains(&target.pe))
    }

    /// Says whether it was neither set aside before nor unknown.
    fn set_aside(&mut self, until: Instant, pe: PeId) -> bool {
        let Some(&seat) = self.seats.get(&pe) else { return false };
        let Some(entry) = entry_mut(&mut self.entries, seat) else { return false };
        let new = entry.aside_until.is_none();
        if new {
            self.policy.remove(seat);
            self.aside += 1;
            entry.aside_until = Some(until);
        }
        new
    }

    /// Gives back to the policy what has been set aside for long enough.
    fn readmit(&mut self, now: Instant) {
        for (seat, entry) in (0..).map(Seat).zip(&mut self.entries) {
            if let Some(entry) = entry
                && entry.aside_until.is_some_and(|until| until <= now)
            {
                entry.aside_until = None;
                self.aside -= 1;
                self.policy.insert(seat, entry.policy.words().unwrap_or_default());
            }
        }
    }

    /// Takes a new list; says whether elements came or went.
    fn replace(
        &mut self,
        now: Instant,
        number: PolicyNumber,
        mut elements: Vec<(Target, PolicyParameter)>,
    ) -> bool {
        self.given = Some(now);
        let mut differs = false;
        let mut listed = BTreeSet::new();
        elements.retain(|(target, _)| listed.insert(target.pe));
        let policies = PolicyTable::builtin();
        if self.number != number {
            self.remove_unless(|_| false);
            self.number = number;
            self.policy = policies.answering(number).create();
        }
        let before = self.seats.len();
        self.remove_unless(|pe| listed.contains(&pe));
        differs |= self.seats.len() != before;
        let order: Vec<PeId> = elements.iter().map(|(target, _)| target.pe).collect();
        for (target, policy) in elements {
            if let Some(&seat) = self.seats.get(&target.pe)
                && let Some(entry) = entry_mut(&mut self.entries, seat)
            {
                entry.target = target;
                // Told of every renewal, a policy would forget what it counts since the last
                // registration.
                if entry.policy != policy {
                    entry.policy = policy;
                    if entry.aside_until.is_none() {
                        self.policy.update(seat, entry.policy.words().unwrap_or_default());
                    }
                }
            } else {
                self.insert(target, policy);
                differs = true;
            }
        }
        if is_in_order(number) {
            self.put_in_order(&order);
        }
        differs
    }

    /// Makes those that are not set aside take turns in this order, from its first on.
    fn put_in_order(&mut self, order: &[PeId]) {
        self.policy = PolicyTable::builtin().answering(self.number).create();
        for seat in order.iter().filter_map(|pe| self.seats.get(pe)) {
            if entry(&self.entries, *seat).is_some_and(|entry| entry.aside_until.is_none()) {
                self.policy.insert(*seat, &[]);
            }
        }
    }

    fn insert(&mut self, target: Target, policy: PolicyParameter) {
        let index = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        // An answer has far fewer elements than that.
        let seat = Seat(u32::try_from(index).unwrap_or(u32::MAX));
        self.policy.insert(seat, policy.words().unwrap_or_default());
        let entry = Some(Entry { target, policy, aside_until: None });
        self.seats.insert(target.pe, seat);
        match self.entries.get_mut(index) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
    }

    fn remove_unless(&mut self, keep: impl Fn(PeId) -> bool) {
        for (seat, place) in (0..).map(Seat).zip(&mut self.entries) {
            if let Some(entry) = place.take_if(|entry| !keep(entry.target.pe)) {
                self.seats.remove(&entry.target.pe);
                match entry.aside_until {
                    Some(_) => self.aside -= 1,
                    None => self.policy.remove(seat),
                }
            }
        }
    }

    /// Empties the list if it is older than `age`.
    fn forget_after(&mut self, now: Instant, age: Duration) {
        if self.given.is_some_and(|given| now.saturating_duration_since(given) > age) {
            self.remove_unless(|_| false);
            self.given = None;
        }
    }
}

fn entry(entries: &[Option<Entry>], seat: Seat) -> Option<&Entry> {
    entries.get(seat.index())?.as_ref()
}

fn entry_mut(entries: &mut [Option<Entry>], seat: Seat) -> Option<&mut Entry> {
    entries.get_mut(seat.index())?.as_mut()
}

/// Least time between two questions to a registrar.
const RENEW_PAUSE: Duration = Duration::from_millis(50);

/// Time until a question that had no good answer is asked again: clients may be waiting.
const RETRY: Duration = Duration::from_millis(200);

/// Wishes that wait while a question is under way.
const WISHES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn element(number: u32, weight: u32) -> (Target, PolicyParameter) {
        let port = 1000 + u16::try_from(number).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        (
            Target { pe: PeId(number), address, owner: None },
            PolicyParameter::new(ROUND_ROBIN, &[weight]),
        )
    }

    /// Elements that take turns.
    fn list(numbers: impl IntoIterator<Item = u32>, now: Instant) -> List {
        let mut list = List::new([1; 32]);
        let elements = numbers.into_iter().map(|number| element(number, 1)).collect();
        assert!(list.replace(now, ROUND_ROBIN, elements));
        list
    }

    fn picks(list: &mut List, now: Instant, count: usize) -> Vec<u32> {
        (0..count).map(|_| list.next(now, &[]).unwrap().pe.0).collect()
    }

    const ROUND_ROBIN: PolicyNumber = PolicyNumber(1);
    const SET_ASIDE: Duration = Duration::from_secs(2);

    #[test]
    fn elements_take_turns_through_renewals() {
        let now = Instant::now();
        let mut list = list(1..=3, now);
        assert_eq!(picks(&mut list, now, 4), [1, 2, 3, 1]);
        let same = [3, 1, 2].map(|number| element(number, 1)).to_vec();
        assert!(!list.replace(now, ROUND_ROBIN, same), "nothing came or went");
        assert_eq!(picks(&mut list, now, 3), [2, 3, 1]);
    }

    #[test]
    fn elements_of_a_policy_that_only_registrars_know_take_turns_in_the_order_of_each_answer() {
        let now = Instant::now();
        let own = PolicyNumber(0x9abc_def0);
        let mut list = List::new([1; 32]);
        let answer = |numbers: [u32; 3]| numbers.map(|number| element(number, 0)).to_vec();
        list.replace(now, own, answer([2, 3, 1]));
        assert_eq!(picks(&mut list, now, 4), [2, 3, 1, 2]);
        assert!(!list.replace(now, own, answer([1, 3, 2])));
        assert_eq!(picks(&mut list, now, 2), [1, 3]);
        list.set_aside(now + SET_ASIDE, PeId(3));
        list.replace(now, own, answer([3, 2, 1]));
        assert_eq!(picks(&mut list, now, 3), [2, 1, 2]);
        list.replace(now, ROUND_ROBIN, answer([3, 2, 1]));
        list.replace(now, ROUND_ROBIN, answer([1, 2, 3]));
        assert_eq!(
            picks(&mut list, now, 3),
            [3, 2, 1],
            "known policies have an order of their own"
        );
    }

    #[test]
    fn an_element_set_aside_is_passed_over_until_its_time_is_over() {
        let now = Instant::now();
        let mut list = list(1..=2, now);
        let later = now + SET_ASIDE;
        assert!(list.set_aside(later, PeId(1)));
        assert!(!list.set_aside(later, PeId(1)), "that is known");
        assert_eq!(picks(&mut list, now, 3), [2, 2, 2]);
        assert!(picks(&mut list, later, 2).contains(&1));
        assert!(list.set_aside(later + SET_ASIDE, PeId(1)), "it is new again");
    }

    #[test]
    fn an_element_set_aside_is_better_than_none_but_one_that_was_tried_is_not() {
        let now = Instant::now();
        let mut list = list(1..=2, now);
        for number in [1, 2] {
            list.set_aside(now + SET_ASIDE, PeId(number));
        }
        assert!(list.next(now, &[]).is_some());
        assert_eq!(list.next(now, &[PeId(1)]).unwrap().pe, PeId(2));
        assert_eq!(list.next(now, &[PeId(1), PeId(2)]), None);
    }

    #[test]
    fn an_element_that_was_tried_is_not_tried_again() {
        let now = Instant::now();
        let mut list = list(1..=3, now);
        for _ in 0..6 {
            assert_ne!(list.next(now, &[PeId(2)]).unwrap().pe, PeId(2));
        }
        assert_eq!(list.next(now, &[PeId(1), PeId(2), PeId(3)]), None);
    }

    #[test]
    fn a_list_is_kept_for_a_while_when_no_registrar_answers() {
        let now = Instant::now();
        let mut list = list(1..=2, now);
        let keep = Duration::from_secs(60);
        list.forget_after(now + keep, keep);
        assert!(list.next(now + keep, &[]).is_some());
        list.forget_after(now + keep + Duration::from_millis(1), keep);
        assert_eq!(list.next(now + keep, &[]), None);
    }

    #[test]
    fn what_left_the_list_is_not_remembered_and_may_come_back() {
        let now = Instant::now();
        let mut list = list(1..=2, now);
        list.set_aside(now + SET_ASIDE, PeId(1));
        assert!(list.replace(now, ROUND_ROBIN, vec![element(2, 1)]));
        assert!(!list.set_aside(now + SET_ASIDE, PeId(1)));
        assert!(list.replace(now, ROUND_ROBIN, vec![element(1, 1), element(2, 1)]));
        assert!(picks(&mut list, now, 2).contains(&1));
    }
}
