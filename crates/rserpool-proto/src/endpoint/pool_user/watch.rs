//! Pools that the owner watches (RFC 5352 §2.2.5, the S bit).
//!
//! ```text
//!   user                                              home registrar
//!      | ---------- HANDLE_RESOLUTION, S=1 ---------------> |   at once, and at each new home
//!      | <-------- HANDLE_RESOLUTION_RESPONSE, A=1 -------- |
//!      | <-------- HANDLE_RESOLUTION_RESPONSE, A=1 -------- |   the pool has changed
//!      | ---------- HANDLE_RESOLUTION, S=1 ---------------> |   watch_refresh without a word: are you
//!      | <-------- HANDLE_RESOLUTION_RESPONSE, A=1 -------- |   there?
//! ```
//!
//! A registrar that answers with A=0 tells no changes: it is asked again and again instead.

use super::{Event, PoolUser, Resolution, ResolveError, resolution};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::time::{Duration, Instant};
use crate::wire::policy::PolicyParameter;
use crate::wire::transport::Transport;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Shortest pause between two questions of a watch whose changes are not told.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// As many pools are watched as [`PoolUserConfig::max_watches`](super::PoolUserConfig) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} pools are watched already: end a watch that is no longer needed")]
pub struct TooManyWatches {
    /// How many are allowed.
    pub limit: usize,
}

/// All watches, by pool.
#[derive(Debug, Default)]
pub(super) struct Watches(BTreeMap<PoolHandle, Watch>);

/// A pool whose changes the owner is told.
#[derive(Debug, Default)]
struct Watch {
    /// What the owner was told last.
    told: Option<Result<Resolution, ResolveError>>,
    /// Where the home was when it was asked for changes.
    asked_at: Option<AssociationId>,
    /// Whether that home tells them.
    accepted: bool,
    /// When to ask again; `None` while a question is under way.
    due: Option<Instant>,
}

impl Watches {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, handle: &PoolHandle) -> bool {
        self.0.contains_key(handle)
    }

    /// When the next question is due. There are few.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|watch| watch.due).min()
    }

    /// Whether changes of a pool are to be told, as a question about it says; notes where it is asked.
    pub(super) fn ask_at(&mut self, handle: &PoolHandle, home: AssociationId) -> bool {
        let watch = self.0.get_mut(handle);
        watch.map(|watch| watch.asked_at = Some(home)).is_some()
    }
}

impl PoolUser {
    /// Watches a pool: [`Event::PoolChanged`] says what it holds now, and again whenever that is
    /// something else, until [`unwatch`](Self::unwatch). It need not be there yet. The home registrar
    /// tells changes unasked, at most twice a second; one that does not is asked again and again.
    ///
    /// # Errors
    /// [`TooManyWatches`]: nothing has changed then.
    pub fn watch(&mut self, now: Instant, handle: &PoolHandle) -> Result<(), TooManyWatches> {
        if self.watches.contains(handle) {
            return Ok(());
        }
        let limit = self.config.max_watches;
        if self.watches.len() >= limit {
            return Err(TooManyWatches { limit });
        }
        self.watches.0.insert(handle.clone(), Watch::default());
        self.ask(now, handle, now);
        Ok(())
    }

    /// Watches a pool no more.
    pub fn unwatch(&mut self, now: Instant, handle: &PoolHandle) {
        if self.watches.0.remove(handle).is_some() {
            self.ask(now, handle, now);
        }
    }

    /// How long an answer about a pool may be used without asking again. What is watched is told
    /// anew when it changes; but whoever wants nothing from the cache asks.
    pub(super) fn freshness(&self, handle: &PoolHandle) -> Duration {
        let timers = &self.config.timers;
        let watch = self.watches.0.get(handle).filter(|watch| watch.accepted);
        let home = self.hunt.trusted_home();
        match watch {
            Some(watch)
                if home.is_some()
                    && watch.asked_at == home
                    && !timers.stale_cache_value.is_zero() =>
            {
                timers.stale_cache_value.max(timers.watch_refresh * 2)
            }
            _ => timers.stale_cache_value,
        }
    }

    /// A new home does not know what is watched.
    pub(super) fn watch_at(&mut self, now: Instant, home: AssociationId) {
        let mut strange = Vec::new();
        for (handle, watch) in &mut self.watches.0 {
            if watch.asked_at != Some(home) {
                watch.accepted = false;
                watch.due = None;
                strange.push(handle.clone());
            }
        }
        for handle in strange {
            self.ask(now, &handle, now);
        }
    }

    /// Asks about watched pools of which nothing has been heard for a while.
    pub(super) fn on_watch_timeout(&mut self, now: Instant) {
        let mut handles = Vec::new();
        for (handle, watch) in &mut self.watches.0 {
            if watch.due.is_some_and(|due| due <= now) {
                watch.due = None;
                handles.push(handle.clone());
            }
        }
        for handle in handles {
            self.ask(now, &handle, now);
        }
    }

    /// The home at `assoc` has said something about a pool that is watched.
    pub(super) fn on_watched(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        accepted: bool,
        state: Result<(), ResolveError>,
    ) {
        let pause = self.pause(accepted);
        let Some(watch) = self.watches.0.get_mut(handle) else { return };
        if watch.asked_at == Some(assoc) {
            watch.accepted = accepted;
            watch.due = Some(now + pause);
        } else {
            // What it has answered was asked before the watch began.
            watch.due = Some(now);
        }
        let state = state.and_then(|()| {
            let answer = self.cache.pool(handle).and_then(|pool| pool.answer());
            let found = answer.map(|answer| resolution(now, handle, answer, false));
            found.ok_or_else(|| ResolveError::NoElement { handle: handle.clone() })
        });
        self.tell_watcher(handle, state);
    }

    /// Nobody answers a question about a pool that is watched.
    pub(super) fn on_watch_unanswered(&mut self, now: Instant, handle: &PoolHandle) {
        let pause = self.pause(false);
        let Some(watch) = self.watches.0.get_mut(handle) else { return };
        watch.due = Some(now + pause);
        let registrars = self.registrars.clone();
        self.tell_watcher(handle, Err(ResolveError::NoRegistrar { registrars }));
    }

    fn tell_watcher(&mut self, handle: &PoolHandle, state: Result<Resolution, ResolveError>) {
        let Some(watch) = self.watches.0.get_mut(handle) else { return };
        if watch.told.as_ref().is_none_or(|told| !is_the_same(told, &state)) {
            watch.told = Some(state.clone());
            let (handle, pushed) = (handle.clone(), watch.accepted);
            self.tell(Event::PoolChanged { handle, state, pushed });
        }
    }

    fn pause(&self, accepted: bool) -> Duration {
        let timers = &self.config.timers;
        let pause = match accepted {
            true => timers.watch_refresh,
            false => timers.stale_cache_value.max(timers.watch_refresh / 2),
        };
        pause.max(SHORTEST_PAUSE)
    }
}

/// Whether two states of a pool are one to those who use it; the order of elements is not theirs.
fn is_the_same(a: &Result<Resolution, ResolveError>, b: &Result<Resolution, ResolveError>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            a.policy.number == b.policy.number && a.total == b.total && members(a) == members(b)
        }
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

type Member<'a> = (PeId, ServerId, &'a Transport, &'a PolicyParameter, bool);

fn members(resolution: &Resolution) -> Vec<Member<'_>> {
    let elements = resolution.elements.iter().map(|element| {
        let tcp_control = element.extensions.tcp_control;
        (element.id, element.home, &element.user_transport, &element.policy, tcp_control)
    });
    let mut members: Vec<_> = elements.collect();
    members.sort_unstable_by_key(|member| member.0);
    members
}
