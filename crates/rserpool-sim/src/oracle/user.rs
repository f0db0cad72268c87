//! The model of a user: what it asked, what it was answered, what its owner reported.

use super::Verdict;
use crate::node::Wish;
use rserpool_proto::endpoint::pool_user::{Event, PoolUserConfig, ResolveError};
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::time::{Duration, Instant};
use rserpool_proto::timers::UserTimers;
use rserpool_proto::wire::asap::Body;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub(super) struct UserModel {
    timers: UserTimers,
    keep_stale: Option<Duration>,
    /// Requests without answer, when they were made, and which elements they do not want.
    requests: BTreeMap<u64, (Instant, Wish)>,
    /// The newest answers of registrars, by pool.
    answers: BTreeMap<PoolHandle, VecDeque<(Instant, Vec<PeId>)>>,
    /// Pools of which the owner is told changes.
    watched: BTreeSet<PoolHandle>,
    /// What was reported, and when, of what its machine surely knew.
    aside: BTreeMap<(PoolHandle, PeId), Instant>,
    /// What was reported, and when last, whether its machine knew it or not.
    doubted: BTreeMap<(PoolHandle, PeId), Instant>,
}

/// Answers remembered per pool.
const ANSWERS: usize = 16;

impl UserModel {
    pub(super) fn new(config: &PoolUserConfig) -> Self {
        Self {
            timers: config.timers.clone(),
            keep_stale: config.keep_stale,
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            watched: BTreeSet::new(),
            aside: BTreeMap::new(),
            doubted: BTreeMap::new(),
        }
    }

    pub(super) fn restart(&mut self) {
        self.requests.clear();
        self.answers.clear();
        self.watched.clear();
        self.aside.clear();
        self.doubted.clear();
    }

    /// Requests without answer.
    pub(super) fn waiting(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn asked(&mut self, now: Instant, request: u64, wish: Wish) {
        self.requests.insert(request, (now, wish));
    }

    pub(super) fn reported(&mut self, now: Instant, handle: &PoolHandle, element: PeId) {
        let set_aside = self.timers.set_aside;
        for reports in [&mut self.aside, &mut self.doubted] {
            reports.retain(|_, reported| now < *reported + set_aside);
        }
        let doubted = self.doubted.insert((handle.clone(), element), now).is_some();
        // Of what no answer lists nobody knows any more. Which of the last two counts is not known:
        // one that came twice does not.
        let answers = self.answers.get(handle).into_iter().flat_map(|answers| answers.iter().rev());
        if doubted || answers.take(2).any(|(_, ids)| !ids.contains(&element)) {
            return;
        }
        // The first report counts.
        self.aside.entry((handle.clone(), element)).or_insert(now);
    }

    /// A pool is forgotten, and what was reported of it.
    pub(super) fn purged(&mut self, now: Instant, handle: &PoolHandle) {
        for reports in [&mut self.aside, &mut self.doubted] {
            reports.retain(|(known, _), _| known != handle);
        }
        if let Some(answers) = self.answers.get_mut(handle) {
            answers.push_back((now, Vec::new()));
        }
    }

    pub(super) fn received(&mut self, now: Instant, body: Body) {
        if let Body::HandleResolutionResponse(response) = body {
            let ids = response.elements.iter().map(|element| element.id).collect();
            let answers = self.answers.entry(response.handle).or_default();
            answers.push_back((now, ids));
            if answers.len() > ANSWERS {
                answers.pop_front();
            }
        }
    }

    /// The user tells its owner.
    pub(super) fn told(&mut self, now: Instant, event: &Event) -> Verdict {
        match event {
            Event::Resolved { request, result } => {
                self.answered(request.0)?;
                let Ok(resolution) = result else { return Ok(()) };
                let limit = match resolution.stale {
                    // What is watched is told anew when it changes.
                    false if self.watched.contains(&resolution.handle) => {
                        self.timers.stale_cache_value.max(self.timers.watch_refresh * 2)
                    }
                    false => self.timers.stale_cache_value,
                    true => self.keep_stale.unwrap_or_default(),
                };
                if resolution.age > limit {
                    return Err(("I1", format!("answers with what is {:?} old", resolution.age)));
                }
                let received = now - resolution.age;
                let ids: Vec<_> = resolution.elements.iter().map(|element| element.id).collect();
                let answers = self.answers.get(&resolution.handle);
                let known = answers.is_some_and(|answers| {
                    answers.iter().any(|(at, known)| *at == received && *known == ids)
                });
                if !known {
                    let handle = &resolution.handle;
                    return Err(("I7", format!("answers about {handle} what nobody has said")));
                }
                Ok(())
            }
            Event::Picked { request, result } => {
                let wish = self.answered(request.0)?;
                let Ok(element) = result else {
                    let honest = matches!(
                        result,
                        Err(ResolveError::NoElement { .. }
                            | ResolveError::NoRegistrar { .. }
                            | ResolveError::UnknownPool { .. }
                            | ResolveError::Refused { .. }
                            | ResolveError::TooManyRequests { .. })
                    );
                    return if honest { Ok(()) } else { Err(("I7", "fails oddly".into())) };
                };
                match wish {
                    Wish::NoneOf(exclude) => self.picked(now, element.id, &exclude),
                    Wish::This(id) if id != element.id => {
                        Err(("I6", format!("picks {}, where {id} was asked for", element.id)))
                    }
                    Wish::This(_) => Ok(()),
                }
            }
            Event::PoolChanged { handle, .. } => {
                self.watched.insert(handle.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every request is answered once, and only if it was made.
    fn answered(&mut self, request: u64) -> Result<Wish, (&'static str, String)> {
        match self.requests.remove(&request) {
            Some((_, wish)) => Ok(wish),
            None => Err(("I7", format!("answers request {request}, which does not wait"))),
        }
    }

    fn picked(&self, now: Instant, id: PeId, exclude: &[PeId]) -> Verdict {
        if exclude.contains(&id) {
            return Err(("I6", format!("picks {id}, which is excluded")));
        }
        // The pool is not named: it is one whose answers have the element.
        let mut pools = self
            .answers
            .iter()
            .filter(|(_, answers)| answers.iter().any(|(_, ids)| ids.contains(&id)));
        let Some((handle, answers)) = pools.next() else {
            return Err(("I7", format!("picks {id}, of which nobody has said anything")));
        };
        let reported = |reports: &BTreeMap<_, _>, id: PeId| {
            let at: Option<Instant> = reports.get(&(handle.clone(), id)).copied();
            at.filter(|&at| now < at + self.timers.set_aside)
        };
        // Which of the last answers counts is not known: one that came twice does not.
        let good =
            |other: &PeId| reported(&self.doubted, *other).is_none() && !exclude.contains(other);
        let better = answers
            .iter()
            .filter(|(_, ids)| ids.contains(&id))
            .all(|(_, ids)| ids.iter().any(good));
        // What is told now may have been decided before a report of now, or after.
        let is_aside = reported(&self.aside, id).is_some_and(|at| at < now);
        if is_aside && better {
            return Err(("I6", format!("picks {id}, which it reported, before others")));
        }
        Ok(())
    }

    /// Every request is answered in time by a user that has worked for so many microseconds.
    pub(super) fn overdue(&self, now: Instant, worked: u64) -> Verdict {
        let tries = self.timers.max_request_retransmit.saturating_add(1);
        let limit = self.timers.t1_request * tries + Duration::from_millis(100);
        if Duration::from_micros(worked) <= limit {
            return Ok(());
        }
        for (request, (asked, _)) in &self.requests {
            if now.saturating_since(*asked) > limit {
                return Err(("B1", format!("has not answered request {request} in time")));
            }
        }
        Ok(())
    }
}
