//! The model of a registrar: who is registered there, by whom, until when.
//!
//! It holds the elements whose home the registrar is. What it knows of others' is looked up in the
//! registrar itself, and judged by `replication`.

use super::Verdict;
use super::policy::Law;
use super::replication::Issued;
use crate::net::NodeId;
use rserpool_proto::handlespace::{Element, Pool};
use rserpool_proto::id::{AssociationId, PeId, PoolHandle, ServerId};
use rserpool_proto::registrar::{Event, Registrar, RegistrarConfig, RemovalReason};
use rserpool_proto::time::{Duration, Instant};
use rserpool_proto::timers::RegistrarTimers;
use rserpool_proto::wire::asap::{Body, HandleResolutionResponse};
use rserpool_proto::wire::capability::Capabilities;
use rserpool_proto::wire::operation_error::ErrorCause;
use rserpool_proto::wire::policy::PolicyParameter;
use rserpool_proto::wire::pool_element::PoolElement;
use rserpool_proto::wire::transport::Transport;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug)]
pub(super) struct RegistrarModel {
    timers: RegistrarTimers,
    max_items: usize,
    max_associations: usize,
    pub(super) elements: BTreeMap<(PoolHandle, PeId), Entry>,
    pools: BTreeMap<PoolHandle, Law>,
    /// Registrations that have not been answered.
    pending: BTreeMap<(AssociationId, PoolHandle, PeId), VecDeque<PoolElement>>,
    /// Deregistrations that have not been answered.
    leaving: BTreeMap<(AssociationId, PoolHandle, PeId), usize>,
    /// Who has shown capabilities.
    capable: BTreeSet<AssociationId>,
    /// What the present input has closed.
    closed: BTreeSet<AssociationId>,
    /// How many items each association asked for last, and whether it wants to be told of changes.
    asked: BTreeMap<(AssociationId, PoolHandle), (Option<u32>, bool)>,
    /// When each association was last told of changes.
    updated: BTreeMap<AssociationId, Instant>,
    /// When it thought itself cut off last.
    cut_off: Option<Instant>,
    /// The present input comes from another registrar, and may take elements away.
    pub(super) from_peer: bool,
    /// The present input is a call that did not come through.
    pub(super) call_failed: bool,
    /// Elements that the present input has taken over, as it says, and as it has them.
    taken: usize,
    adopted: usize,
    /// It hands its elements over to peers, and is not asked any more what it has.
    pub(super) retired: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Who speaks for it; nobody yet for one that was taken over.
    pub(super) holder: Option<AssociationId>,
    /// Since when it has not shown itself after it was taken over.
    pub(super) awaited: Option<Instant>,
    /// When it was registered last, or taken over.
    pub(super) since: Instant,
    pub(super) wire: PoolElement,
    pub(super) lease: Option<Instant>,
    /// When the keep-alive was sent that is not answered.
    asked: Option<Instant>,
    heard: Instant,
    reports: Vec<(NodeId, Instant)>,
    /// Answers since it was suspected; `None` if it is not.
    pub(super) suspected: Option<u32>,
}

/// What the registrar's documentation promises about reports.
const REPORTERS: usize = 3;
const REPORT_WINDOW: Duration = Duration::from_secs(10);
const CLEARING_ANSWERS: u32 = 2;
/// The same about changes that are told.
const BETWEEN_UPDATES: Duration = Duration::from_millis(500);
/// The same about many that are silent at once.
const MASS_SILENCE: Duration = Duration::from_secs(10);
/// The same about a claimant that repeats itself.
const MAX_CLAIMS: usize = 16;
/// Most reports the model remembers of an element.
const MAX_REPORTS: usize = 1_000;

impl RegistrarModel {
    pub(super) fn new(config: &RegistrarConfig) -> Self {
        Self {
            timers: config.timers.clone(),
            max_items: config.limits.max_items as usize,
            max_associations: config.limits.associations,
            elements: BTreeMap::new(),
            pools: BTreeMap::new(),
            pending: BTreeMap::new(),
            leaving: BTreeMap::new(),
            capable: BTreeSet::new(),
            closed: BTreeSet::new(),
            asked: BTreeMap::new(),
            updated: BTreeMap::new(),
            cut_off: None,
            from_peer: false,
            call_failed: false,
            retired: false,
            taken: 0,
            adopted: 0,
        }
    }

    pub(super) fn restart(&mut self) {
        self.elements.clear();
        self.pools.clear();
        self.pending.clear();
        self.leaving.clear();
        self.capable.clear();
        self.closed.clear();
        self.asked.clear();
        self.updated.clear();
        self.retired = false;
    }

    /// An element that an association holds.
    pub(super) fn held_by(&self, assoc: AssociationId) -> Option<(PoolHandle, PeId)> {
        let mut held = self.elements.iter().filter(|(_, entry)| entry.holder == Some(assoc));
        held.next().map(|(name, _)| name.clone())
    }

    pub(super) fn closing(&mut self, assoc: AssociationId) {
        self.closed.insert(assoc);
    }

    /// Whether a message answers a keep-alive that waits for one.
    pub(super) fn is_answer(&self, assoc: AssociationId, body: &Body) -> bool {
        let Body::EndpointKeepAliveAck { handle, id } = body else { return false };
        let entry = self.elements.get(&(handle.clone(), *id));
        entry.is_some_and(|entry| entry.holder == Some(assoc) && entry.asked.is_some())
    }

    /// A message is about to be handled.
    pub(super) fn received(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        from: NodeId,
        body: Body,
    ) {
        match body {
            Body::Registration { handle, mut element, capabilities, .. } => {
                if capabilities.is_some() {
                    self.capable.insert(assoc);
                }
                // On an association that is capable they count as seconds, rounded up.
                if capabilities.is_some_and(Capabilities::counts_milliseconds) && element.life > 0 {
                    element.life = (element.life - 1) / 1_000 + 1;
                }
                let id = element.id;
                let waiting = self.pending.entry((assoc, handle, id)).or_default();
                waiting.push_back(*element);
            }
            Body::Deregistration { handle, id, .. } => {
                *self.leaving.entry((assoc, handle, id)).or_default() += 1;
            }
            Body::EndpointKeepAliveAck { handle, id } => {
                let entry = self.elements.get_mut(&(handle, id));
                if let Some(entry) = entry.filter(|entry| entry.holder == Some(assoc)) {
                    if entry.asked.is_some() {
                        entry.awaited = None;
                    }
                    if entry.asked.take().is_some()
                        && let Some(answers) = &mut entry.suspected
                    {
                        *answers += 1;
                    }
                    entry.heard = now;
                }
            }
            Body::EndpointUnreachable { handle, id } => {
                if let Some(entry) = self.elements.get_mut(&(handle, id)) {
                    if entry.reports.len() >= MAX_REPORTS {
                        entry.reports.remove(0);
                    }
                    entry.reports.push((from, now));
                }
            }
            Body::HandleResolution { subscribe, handle, items, capabilities } => {
                if capabilities.is_some() {
                    self.capable.insert(assoc);
                }
                self.asked.insert((assoc, handle), (items, subscribe));
            }
            _ => {}
        }
    }

    /// A message is sent.
    pub(super) fn transmitted(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        body: &Body,
        machine: &Registrar,
    ) -> Verdict {
        match body {
            Body::RegistrationResponse { rejected, handle, id, .. } => {
                let name = (assoc, handle.clone(), *id);
                let waiting = self.pending.get_mut(&name);
                let asked = waiting.and_then(|waiting| match waiting.len() > MAX_CLAIMS {
                    true if *rejected => waiting.pop_back(),
                    _ => waiting.pop_front(),
                });
                if self.pending.get(&name).is_some_and(VecDeque::is_empty) {
                    self.pending.remove(&name);
                }
                match asked {
                    Some(wire) if !rejected => self.registered(now, assoc, handle, wire),
                    None if !rejected => {
                        Err(("I7", format!("grants {handle} {id}, which was not asked for")))
                    }
                    _ => Ok(()),
                }
            }
            Body::DeregistrationResponse { handle, id, errors } => {
                let name = (handle.clone(), *id);
                let asked = self.has_left(assoc, handle, *id);
                let there = self.elements.get(&name).is_some_and(|e| e.holder == Some(assoc));
                if asked && errors.is_empty() && there {
                    return Err(("I1", format!("keeps {handle} {id}, which has left")));
                }
                Ok(())
            }
            Body::EndpointKeepAlive { handle, id: Some(id), home, .. } => {
                let Some(entry) = self.elements.get_mut(&(handle.clone(), *id)) else {
                    return Err(("I7", format!("asks {handle} {id}, which is not registered")));
                };
                if entry.awaited.is_some() && *home {
                    entry.holder = Some(assoc);
                }
                if entry.holder != Some(assoc) {
                    return Err(("I7", format!("asks somebody else whether {handle} {id} lives")));
                }
                entry.asked = Some(now);
                Ok(())
            }
            Body::HandleResolutionResponse(response) => {
                let items = self.asked_items(now, assoc, response)?;
                self.answered(now, assoc, items, response, machine)
            }
            _ => Ok(()),
        }
    }

    /// The registration that an association waits for longest.
    pub(super) fn asked_for(
        &self,
        assoc: AssociationId,
        handle: &PoolHandle,
        id: PeId,
    ) -> Option<&PoolElement> {
        self.pending.get(&(assoc, handle.clone(), id))?.front()
    }

    /// Takes note of an answer to a deregistration; false if there was none.
    fn has_left(&mut self, assoc: AssociationId, handle: &PoolHandle, id: PeId) -> bool {
        let name = (assoc, handle.clone(), id);
        let Some(waiting) = self.leaving.get_mut(&name) else { return false };
        *waiting -= 1;
        if *waiting == 0 {
            self.leaving.remove(&name);
        }
        true
    }

    fn registered(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        handle: &PoolHandle,
        wire: PoolElement,
    ) -> Verdict {
        let id = wire.id;
        let life = u64::try_from(wire.life).ok();
        let unit = if self.capable.contains(&assoc) { 1_000 } else { 1 };
        let lease = life.map(|life| now + Duration::from_millis(life.saturating_mul(unit)));
        let law = self.pools.entry(handle.clone()).or_insert_with(|| Law::new(wire.policy.number));
        if let Some(entry) = self.elements.get_mut(&(handle.clone(), id)) {
            if entry.holder.is_some_and(|holder| holder != assoc) && !self.from_peer {
                return Err(("I7", format!("gives {handle} {id} to another, though it is held")));
            }
            // One that was waited for is the same as before, unless it was another's in between.
            if entry.holder != Some(assoc) && (entry.awaited.is_none() || self.from_peer) {
                entry.suspected = None;
                entry.reports.clear();
            }
            entry.holder = Some(assoc);
            entry.awaited = None;
            entry.since = now;
            if entry.wire.policy != wire.policy {
                law.restart();
            }
            entry.wire = wire;
            entry.lease = lease;
            entry.heard = now;
            return Ok(());
        }
        law.restart();
        let entry = Entry {
            holder: Some(assoc),
            awaited: None,
            since: now,
            wire,
            lease,
            asked: None,
            heard: now,
            reports: Vec::new(),
            suspected: None,
        };
        self.elements.insert((handle.clone(), id), entry);
        Ok(())
    }

    /// How many elements a user wants to be told of, unless it wants nothing.
    fn asked_items(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        response: &HandleResolutionResponse,
    ) -> Result<Option<u32>, (&'static str, String)> {
        let handle = &response.handle;
        let asked = self.asked.get(&(assoc, handle.clone())).copied();
        let (items, watches) = asked.unwrap_or_default();
        if response.subscribed && !watches {
            return Err(("I7", format!("tells changes of {handle}, and nobody wants them")));
        }
        if response.capabilities.is_some_and(Capabilities::is_update) {
            let last = self.updated.insert(assoc, now);
            let soon = |last: Instant| last < now && now < last + BETWEEN_UPDATES;
            if last.is_some_and(soon) {
                return Err(("I8", format!("tells changes of {handle} too often")));
            }
        }
        Ok(items)
    }

    /// I1 and I6: an answer to a user.
    fn answered(
        &mut self,
        now: Instant,
        assoc: AssociationId,
        items: Option<u32>,
        response: &HandleResolutionResponse,
        machine: &Registrar,
    ) -> Verdict {
        let handle = &response.handle;
        let members = members(&self.elements, now, handle, machine)?;
        let lives = |member: &&Member<'_>| member.lives;
        let usable = |member: &&Member<'_>| member.lives && Law::is_usable(&member.policy);
        if !response.errors.is_empty() {
            let unknown = response.errors.contains(&ErrorCause::UnknownPoolHandle);
            if unknown && members.iter().any(|member| lives(&member)) {
                return Err(("I2", format!("denies {handle}, which has elements")));
            }
            if !unknown && members.iter().any(|member| usable(&member)) {
                return Err(("I2", format!("has elements of {handle}, and names none")));
            }
            return Ok(());
        }
        let Some(number) = machine.handlespace().pool(handle.as_bytes()).map(Pool::policy_number)
        else {
            return Err(("I1", format!("returns elements of {handle}, which is no pool")));
        };
        // Registrars that were apart may have let a pool begin with two policies.
        if members.iter().any(|member| member.policy.number != number) {
            self.pools.remove(handle);
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let mut after_suspect = false;
        for element in &response.elements {
            let id = element.id;
            let Ok(at) = members.binary_search_by_key(&id, |member| member.id) else {
                return Err(("I1", format!("returns {handle} {id}, which is not registered")));
            };
            let member = &members[at];
            if !member.lives {
                return Err(("I1", format!("returns {handle} {id}, whose lease has expired")));
            }
            if element.user_transport != *member.transport || element.policy != *member.policy {
                return Err(("I7", format!("returns {handle} {id} as it was before")));
            }
            if !seen.insert(id) {
                return Err(("I6", format!("returns {handle} {id} twice in an answer")));
            }
            if !Law::is_usable(&member.policy) {
                return Err(("I6", format!("returns {handle} {id}, which has weight 0")));
            }
            if after_suspect && !member.suspected {
                return Err(("I6", format!("ranks {handle} {id} behind a suspected one")));
            }
            after_suspect |= member.suspected;
        }
        let count = members.iter().filter(usable).count();
        let wanted = items.map_or(usize::MAX, |items| items as usize).clamp(1, self.max_items);
        let expired = members.iter().any(|member| !member.lives);
        if seen.len() != count.min(wanted) && !expired {
            return Err(("I2", format!("names {} of {count} elements of {handle}", seen.len())));
        }
        let standing: Vec<_> = members
            .iter()
            .filter(usable)
            .map(|member| (member.id, &*member.policy, member.suspected))
            .collect();
        let mut law = self.pools.remove(handle).filter(|law| law.policy() == number);
        let law = law.get_or_insert_with(|| Law::new(number));
        let verdict = law.observe(&standing, response, machine.order_apart(assoc, handle));
        self.pools.insert(handle.clone(), std::mem::replace(law, Law::new(number)));
        verdict.map_err(|text| ("I6", format!("{handle}: {text}")))
    }

    /// Another registrar may have changed what this one has: an element is taken in that is its own
    /// now, and let go if it is no longer.
    pub(super) fn sync(&mut self, now: Instant, machine: &Registrar, name: &(PoolHandle, PeId)) {
        self.changed(&name.0);
        let element = machine.handlespace().element(name.0.as_bytes(), name.1);
        match element.filter(|element| element.home() == machine.id()) {
            None => drop(self.elements.remove(name)),
            Some(element) if !self.elements.contains_key(name) => {
                self.elements.insert(name.clone(), Entry::taken_over(now, element));
            }
            Some(_) => {}
        }
    }

    /// As [`RegistrarModel::sync`], for all of them.
    pub(super) fn sync_all(&mut self, now: Instant, machine: &Registrar) {
        let own = machine.id();
        self.elements.retain(|(handle, id), _| {
            let element = machine.handlespace().element(handle.as_bytes(), *id);
            element.is_some_and(|element| element.home() == own)
        });
        self.take_in(now, machine);
    }

    /// Takes in what is the registrar's own now.
    fn take_in(&mut self, now: Instant, machine: &Registrar) -> usize {
        let before = self.elements.len();
        self.pools.clear();
        for (pool, _, element) in machine.handlespace().table(None, Some(machine.id())) {
            let name = (pool.handle().clone(), element.id());
            let adopted = || Entry::taken_over(now, element);
            self.elements.entry(name).or_insert_with(adopted);
        }
        self.elements.len() - before
    }

    /// The registrar tells its owner.
    pub(super) fn told(&mut self, now: Instant, event: &Event, machine: &Registrar) -> Verdict {
        match event {
            Event::TakenOver { elements, .. } => {
                self.taken += elements;
                self.adopted += self.take_in(now, machine);
                Ok(())
            }
            Event::ElementRemoved { handle, id, reason } => {
                let Some(entry) = self.elements.remove(&(handle.clone(), *id)) else {
                    // Whoever may speak for another registrar's element may end it here, too.
                    let mut leaving = self.leaving.keys();
                    if leaving.any(|(_, pool, leaving)| pool == handle && leaving == id)
                        || self.from_peer
                    {
                        self.changed(handle);
                        return Ok(());
                    }
                    return Err(("I7", format!("removes {handle} {id}, which is not there")));
                };
                self.changed(handle);
                let timeout = self.timers.keep_alive_timeout;
                let right = match reason {
                    RemovalReason::Expired => entry.lease.is_some_and(|lease| lease <= now),
                    RemovalReason::AssociationLost => {
                        entry.holder.is_some_and(|holder| self.closed.contains(&holder))
                    }
                    RemovalReason::KeepAliveMissed => {
                        entry.asked.is_some_and(|asked| asked + timeout <= now)
                    }
                    RemovalReason::Unreachable => entry.awaited.is_some_and(|since| {
                        self.call_failed || since + self.timers.rehome_grace <= now
                    }),
                    RemovalReason::Deregistered => {
                        self.leaving.keys().any(|(by, pool, leaving)| {
                            pool == handle && leaving == id && entry.holder.is_none_or(|h| h == *by)
                        })
                    }
                };
                // Whoever waited for another registrar to take it does what he wanted.
                if right || (self.from_peer && *reason == RemovalReason::Deregistered) {
                    Ok(())
                } else {
                    Err(("I2", format!("removes {handle} {id} without cause: {reason}")))
                }
            }
            Event::ElementSuspected { handle, id } => {
                if self.from_peer {
                    // The one that hands it over has suspected it.
                    let name = (handle.clone(), *id);
                    self.sync(now, machine, &name);
                    if let Some(entry) = self.elements.get_mut(&name) {
                        entry.suspected = Some(0);
                    }
                    return Ok(());
                }
                let Some(entry) = self.elements.get_mut(&(handle.clone(), *id)) else {
                    return Err(("I7", format!("suspects {handle} {id}, which is not there")));
                };
                let recent = |(_, at): &&(_, Instant)| now.saturating_since(*at) < REPORT_WINDOW;
                let reporters: BTreeSet<_> =
                    entry.reports.iter().filter(recent).map(|(reporter, _)| *reporter).collect();
                entry.suspected = Some(0);
                let timeout = self.timers.keep_alive_timeout;
                let is_silent = entry.asked.is_some_and(|asked| asked + timeout <= now);
                let is_mass = self.is_cut_off(now) && is_silent;
                if is_mass {
                    self.cut_off = Some(now);
                }
                self.changed(handle);
                if reporters.len() < REPORTERS && !is_mass {
                    let few = reporters.len();
                    return Err(("I7", format!("suspects {handle} {id} for {few} reporters")));
                }
                Ok(())
            }
            Event::ElementCleared { handle, id } => {
                let Some(entry) = self.elements.get_mut(&(handle.clone(), *id)) else {
                    return Err(("I7", format!("clears {handle} {id}, which is not there")));
                };
                let answers = entry.suspected.take();
                entry.reports.clear();
                self.changed(handle);
                if answers.is_none_or(|answers| answers < CLEARING_ANSWERS) {
                    return Err(("I7", format!("clears {handle} {id} after {answers:?} answers")));
                }
                Ok(())
            }
            Event::MassSilence { .. } => {
                self.cut_off = Some(now);
                Ok(())
            }
            // It was suspended: what it did not hear may have been said.
            Event::Resumed { .. } => {
                let until = now + self.timers.max_time_no_response;
                for entry in self.elements.values_mut() {
                    entry.lease = entry.lease.map(|lease| lease.max(until));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn changed(&mut self, handle: &PoolHandle) {
        let first = (handle.clone(), PeId(0));
        let next = self.elements.range(first..).next();
        if next.is_none_or(|((pool, _), _)| pool != handle) {
            self.pools.remove(handle);
        } else if let Some(law) = self.pools.get_mut(handle) {
            law.restart();
        }
    }

    /// An input has been handled: the registrar knows as many as it should.
    pub(super) fn settled(&mut self, _now: Instant, machine: &Registrar) -> Verdict {
        if !self.closed.is_empty() {
            let closed = std::mem::take(&mut self.closed);
            for assoc in closed {
                if let Some((handle, id)) = self.held_by(assoc) {
                    return Err(("I1", format!("keeps {handle} {id}, whose association is gone")));
                }
                self.capable.remove(&assoc);
                self.asked.retain(|(asked, _), _| *asked != assoc);
                self.updated.remove(&assoc);
                self.pending.retain(|(pending, _, _), _| *pending != assoc);
                self.leaving.retain(|(leaving, _, _), _| *leaving != assoc);
            }
        }
        self.from_peer = false;
        self.call_failed = false;
        let (taken, adopted) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.adopted));
        if taken != adopted {
            return Err(("I12", format!("takes {taken} elements over, and has {adopted} of them")));
        }
        let known = machine.handlespace().owned_count(machine.id());
        let expected = self.elements.len();
        if known != expected {
            return Err(("I7", format!("has {known} elements, and should have {expected}")));
        }
        Ok(())
    }

    /// Once a second: everything, for a registrar that has worked for so many microseconds.
    pub(super) fn compare(
        &mut self,
        now: Instant,
        machine: &Registrar,
        worked: u64,
        issued: &Issued,
    ) -> Verdict {
        let handlespace = machine.handlespace();
        // I5: what is kept incrementally is what it would be anew.
        if catch_unwind(AssertUnwindSafe(|| handlespace.check())).is_err() {
            return Err(("I5", "contradicts itself".to_owned()));
        }
        let mut sums = BTreeMap::<ServerId, u64>::new();
        for pool in handlespace.pools() {
            let handle = pool.handle();
            let of_handle = words(handle.as_bytes());
            for (_, element) in handlespace.elements(pool) {
                let id = element.id();
                *sums.entry(element.home()).or_default() += of_handle + words(&id.0.to_be_bytes());
                if element.home() != machine.id() {
                    issued.knows(handle, element)?;
                    continue;
                }
                let Some(entry) = self.elements.get(&(handle.clone(), id)) else {
                    return Err(("I1", format!("knows {handle} {id}, which is not registered")));
                };
                if element.user_transport() != &entry.wire.user_transport
                    || element.policy() != entry.wire.policy
                    || element.suspect() != entry.suspected.is_some()
                {
                    return Err(("I7", format!("knows {handle} {id} as it is not")));
                }
            }
        }
        for (home, mut sum) in sums {
            // RFC 5353 §3.6.2 by the letter.
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            let (known, expected) = (handlespace.checksum(home), !(sum as u16));
            if known != expected {
                let text =
                    format!("has checksum {known:#06x} of {home} instead of {expected:#06x}");
                return Err(("I5", text));
            }
        }
        if self.pending.len() > self.max_associations {
            return Err(("I8", "lets registrations pile up".to_owned()));
        }
        self.silent(now, worked)
    }

    /// Whether it may have offered an own element to other registrars, as many are silent.
    pub(super) fn is_offered(&self, now: Instant, entry: &Entry) -> bool {
        entry.suspected.is_some() && self.is_cut_off(now)
    }

    fn is_cut_off(&self, now: Instant) -> bool {
        self.cut_off.is_some_and(|at| now.saturating_since(at) < MASS_SILENCE * 2)
    }

    /// Elements that say nothing are found out in time, leases end in time.
    fn silent(&self, now: Instant, worked: u64) -> Verdict {
        let worked = Duration::from_micros(worked);
        for ((handle, id), entry) in &self.elements {
            if entry.lease.is_some_and(|lease| lease < now) && worked > Duration::from_millis(1) {
                return Err(("I1", format!("keeps {handle} {id}, whose lease has expired")));
            }
            let Some(interval) = self.timers.keep_alive_interval else { continue };
            if entry.awaited.is_some() {
                let grace = self.timers.rehome_grace + self.timers.max_latency;
                let waited = now.saturating_since(entry.since);
                if waited > grace + Duration::from_secs(1) && worked > grace {
                    return Err(("I1", format!("waits for {handle} {id} for too long")));
                }
                continue;
            }
            // Drawn up to half longer, once more if it was heard of in between.
            // And twice if others are silent, too, each time for as long as two paths need.
            let limit = interval * 4 + self.timers.max_latency * 2 + Duration::from_millis(1_100);
            let limit = if self.is_cut_off(now) { limit + MASS_SILENCE } else { limit };
            if now.saturating_since(entry.heard) > limit && worked > limit {
                return Err(("I1", format!("has not asked {handle} {id} for too long")));
            }
        }
        Ok(())
    }

    /// A fingerprint of what users and peers can see.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut print = 0xcbf2_9ce4_8422_2325u64;
        let mut mix = |word: u64| print = (print ^ word).wrapping_mul(0x0100_0000_01b3);
        for ((handle, id), entry) in &self.elements {
            handle.as_bytes().iter().for_each(|byte| mix(u64::from(*byte)));
            mix(u64::from(id.0));
            entry.wire.policy.words().unwrap_or(&[]).iter().for_each(|word| mix(u64::from(*word)));
            mix(entry.holder.map_or(u64::MAX, |holder| holder.0));
            mix(u64::from(entry.suspected.is_some()));
        }
        print
    }

    pub(super) fn state_for(&self, assoc: AssociationId, body: &Body) -> &'static str {
        let (handle, id) = match body {
            Body::Registration { handle, element, .. } => (handle, element.id),
            Body::Deregistration { handle, id, .. }
            | Body::EndpointKeepAliveAck { handle, id }
            | Body::EndpointUnreachable { handle, id } => (handle, *id),
            Body::HandleResolution { handle, .. } => {
                return if self.pools.contains_key(handle) { "pool known" } else { "pool unknown" };
            }
            _ => return "any",
        };
        match self.elements.get(&(handle.clone(), id)) {
            None => "element unknown",
            Some(entry) if entry.suspected.is_some() => "element suspected",
            Some(entry) if entry.holder.is_none() => "awaited",
            Some(entry) if entry.holder == Some(assoc) && entry.awaited.is_some() => "called home",
            Some(entry) if entry.holder == Some(assoc) && entry.asked.is_some() => "asked",
            Some(entry) if entry.holder == Some(assoc) => "holder",
            Some(entry) if entry.asked.is_some() => "another's, asked",
            Some(_) => "another's",
        }
    }
}

/// An element of a pool that is asked for.
struct Member<'a> {
    id: PeId,
    transport: &'a Transport,
    policy: Cow<'a, PolicyParameter>,
    lives: bool,
    suspected: bool,
}

/// The elements of a pool: its own as the model has them, others as the registrar has them.
fn members<'a>(
    elements: &'a BTreeMap<(PoolHandle, PeId), Entry>,
    now: Instant,
    handle: &PoolHandle,
    machine: &'a Registrar,
) -> Result<Vec<Member<'a>>, (&'static str, String)> {
    let space = machine.handlespace();
    let own = machine.id();
    let pool = space.pool(handle.as_bytes());
    let known = pool.into_iter().flat_map(|pool| space.elements(pool));
    let lives = |lease: Option<Instant>| lease.is_none_or(|lease| lease > now);
    let mut members = Vec::new();
    let mut owned = 0;
    for (_, element) in known {
        let id = element.id();
        if element.home() != own {
            members.push(Member {
                id,
                transport: element.user_transport(),
                policy: Cow::Owned(element.policy()),
                lives: lives(element.lease()),
                suspected: element.suspect(),
            });
            continue;
        }
        owned += 1;
        let Some(entry) = elements.get(&(handle.clone(), id)) else {
            return Err(("I1", format!("knows {handle} {id}, which is not registered")));
        };
        members.push(Member {
            id,
            transport: &entry.wire.user_transport,
            policy: Cow::Borrowed(&entry.wire.policy),
            lives: lives(entry.lease),
            suspected: entry.suspected.is_some(),
        });
    }
    let first = (handle.clone(), PeId(0));
    let of_pool = elements.range(first..).take_while(|((pool, _), _)| pool == handle);
    let expected = of_pool.count();
    if owned != expected {
        return Err(("I2", format!("knows {owned} of {expected} own elements of {handle}")));
    }
    Ok(members)
}

impl Entry {
    fn taken_over(now: Instant, element: &Element) -> Self {
        Self {
            holder: None,
            awaited: Some(now),
            since: now,
            wire: element.to_wire(),
            lease: element.lease(),
            asked: None,
            heard: now,
            reports: Vec::new(),
            suspected: None,
        }
    }
}

/// Sum of 16-bit words, the last one padded.
fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}
