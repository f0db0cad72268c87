//! Users that watch a pool know what their home knows of it, within a bound; what they are told
//! unasked is looked at like any answer.

use super::policy::Law;
use crate::conn;
use crate::net::NodeId;
use crate::node::{Machine, Power, Role, Setup};
use crate::world::World;
use rserpool_proto::endpoint::pool_user::{Resolution, ResolveError};
use rserpool_proto::handlespace::Pool;
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::policy::PolicyParameter;
use rserpool_proto::timers::UserTimers;
use rserpool_proto::wire::capability::Stamp;
use rserpool_proto::wire::transport::Transport;
use std::collections::BTreeMap;

/// What is known of those who watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    told: BTreeMap<(NodeId, PoolHandle), Told>,
    /// By user: its home, and since when all is well between them.
    whole: BTreeMap<NodeId, (NodeId, u64)>,
}

/// How a user sees an element.
type Seen = (Transport, PolicyParameter);

/// A state of an element at its home: one that comes again is another one.
type State = Option<(Seen, Option<Stamp>)>;

/// What a user was told of a pool.
#[derive(Debug, Default)]
struct Told {
    elements: BTreeMap<PeId, Seen>,
    /// They are all there were.
    complete: bool,
    /// Elements that the home has known otherwise: how, and since when.
    differs: BTreeMap<PeId, (State, u64)>,
}

/// Time after which a user that knows something else than its home has not been told, in microseconds:
/// there are two updates a second, it is looked once a second, and an element may come and go meanwhile.
const TOLD: u64 = 3_500_000;

/// The same at the end, when owners have done nothing for a while: a lease may have run out, and the update be on its
/// way, but what was seen a look before is known.
const TOLD_AT_THE_END: u64 = 900_000;

/// Time that a user and its home speak to each other before that counts, in microseconds: what was
/// lost before, it has asked for.
fn settles(timers: &UserTimers) -> u64 {
    let asked = timers.watch_refresh + timers.t1_request;
    asked.as_micros() as u64 + TOLD
}

impl World {
    /// The pools that a user has watched since it runs.
    pub(crate) fn oracle_watcher_restarts(&mut self, user: NodeId) {
        self.oracle.watchers.told.retain(|(watcher, _), _| *watcher != user);
        self.oracle.watchers.whole.remove(&user);
    }

    /// A user is told that a pool has changed.
    pub(super) fn oracle_told(
        &mut self,
        user: NodeId,
        handle: &PoolHandle,
        state: &Result<Resolution, ResolveError>,
    ) {
        let told = self.oracle.watchers.told.entry((user, handle.clone())).or_default();
        match state {
            Ok(resolution) => {
                let elements = resolution.elements.iter().map(|element| {
                    (element.id, (element.user_transport.clone(), element.policy.clone()))
                });
                told.elements = elements.collect();
                let listed = u32::try_from(told.elements.len()).ok();
                told.complete = resolution.total == listed;
            }
            Err(ResolveError::UnknownPool { .. } | ResolveError::NoElement { .. }) => {
                told.elements.clear();
                told.complete = true;
            }
            // What was told before may still be so.
            Err(_) => {}
        }
    }

    /// Compares what users were told with what their homes know.
    pub(super) fn check_watches(&mut self, at_the_end: bool) {
        for user in 0..self.nodes.len() {
            if self.nodes[user].owner.watches.is_empty() {
                continue;
            }
            let home = self.settled_home(user);
            for handle in self.nodes[user].owner.watches.clone() {
                match home {
                    Some(home) => self.compare_watch(user, home, &handle, at_the_end),
                    None => {
                        if let Some(told) = self.oracle.watchers.told.get_mut(&(user, handle)) {
                            told.differs.clear();
                        }
                    }
                }
            }
        }
    }

    /// The registrar at which a user is, if all has been well between them for long enough.
    fn settled_home(&mut self, user: NodeId) -> Option<NodeId> {
        let Some(home) = self.whole_home(user) else {
            self.oracle.watchers.whole.remove(&user);
            return None;
        };
        let whole = self.oracle.watchers.whole.entry(user).or_insert((home, self.now));
        if whole.0 != home {
            *whole = (home, self.now);
        }
        let working = |node| self.oracle.reach.working_since(node).unwrap_or(self.now);
        let since = whole.1.max(working(user)).max(working(home));
        let Setup::User(config) = &self.nodes[user].setup else { return None };
        (self.now.saturating_sub(since) >= settles(&config.timers)).then_some(home)
    }

    fn compare_watch(&mut self, user: NodeId, home: NodeId, handle: &PoolHandle, at_the_end: bool) {
        let Machine::Registrar(machine) = &self.nodes[home].machine else { return };
        let space = machine.handlespace();
        let pool = space.pool(handle.as_bytes());
        let mut there = BTreeMap::new();
        for (_, element) in pool.into_iter().flat_map(|pool| space.elements(pool)) {
            let policy = element.policy();
            // Of two policies in one pool it is not said what becomes of weights.
            if pool.map(Pool::policy_number) != Some(policy.number) {
                return;
            }
            if Law::is_usable(&policy) {
                let seen = (element.user_transport().clone(), policy);
                there.insert(element.id(), (seen, element.stamp()));
            }
        }
        let name = (user, handle.clone());
        let told = self.oracle.watchers.told.entry(name).or_default();
        let mut differs = BTreeMap::new();
        let ids = there.keys().filter(|_| told.complete).chain(told.elements.keys());
        for id in ids {
            let (known, is) = (told.elements.get(id), there.get(id));
            if known != is.map(|(seen, _)| seen) {
                let before = told.differs.get(id).filter(|(was, _)| was.as_ref() == is);
                let since = before.map_or(self.now, |(_, since)| *since);
                differs.insert(*id, (is.cloned(), since));
            }
        }
        let most = if at_the_end { TOLD_AT_THE_END } else { TOLD };
        let late = differs.iter().find(|(_, (_, since))| self.now.saturating_sub(*since) > most);
        let text = late.map(|(id, (is, since))| {
            let seconds = (self.now - since) / 1_000_000;
            let is = if is.is_some() { "has it so" } else { "has it not" };
            let home = &self.nodes[home].name;
            format!("has not been told of {handle} {id} for {seconds} s: {home} {is}")
        });
        told.differs = differs;
        if let Some(text) = text {
            self.violate("I13", Some(user), text);
        }
    }

    /// The registrar at which a user is, if both work and nothing is wrong between them.
    fn whole_home(&self, user: NodeId) -> Option<NodeId> {
        let Machine::User(machine) = &self.nodes[user].machine else { return None };
        let home = *self.addresses.get(&machine.home()?.primary().ip())?;
        let is_registrar = self.nodes[home].setup.role() == Role::Registrar;
        let is_connected = self.nodes[user].conns.iter().any(|&conn| {
            let ends = &self.conns[conn].ends;
            ends.iter().all(|end| end.state == conn::State::Open && end.late_until < self.now)
                && ends.iter().any(|end| end.node == home)
        });
        let kind = self.nodes[user].transport;
        let good = |from, to| {
            let quality = self.net.quality(from, to);
            self.net.is_up(from, to, kind)
                && quality.loss == 0
                && quality.rate == 0
                && quality.latency + quality.jitter <= super::GOOD
        };
        let works = [user, home].into_iter().all(|node| {
            self.works(node)
                && self.nodes[node].power == Power::On
                && self.nodes[node].busy_until <= self.now
        });
        (is_registrar && is_connected && works && good(user, home) && good(home, user))
            .then_some(home)
    }
}
