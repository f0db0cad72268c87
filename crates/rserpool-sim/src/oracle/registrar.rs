//! The model of a registrar: who is registered, by whom, until when.

use super::Verdict;
use super::policy::Law;
use rserpool_proto::id::{AssociationId, PeId, PoolHandle};
use rserpool_proto::registrar::{Event, Registrar, RegistrarConfig, RemovalReason};
use rserpool_proto::time::{Duration, Instant};
use rserpool_proto::timers::RegistrarTimers;
use rserpool_proto::wire::asap::{Body, HandleResolutionResponse};
use rserpool_proto::wire::operation_error::ErrorCause;
use rserpool_proto::wire::pool_element::PoolElement;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug)]
pub(super) struct RegistrarModel {
    timers: RegistrarTimers,
    max_items: usize,
    max_associations: usize,
    pub(super) elements: BTreeMap<(PoolHandle, PeId), Entry>,
    pools: BTreeMap<PoolHandle, Law>,
    /// Registrations that have not been answered, in order: each will be.
    pending: BTreeMap<(AssociationId, PoolHandle, PeId), VecDeque<PoolElement>>,
    /// How many deregistrations have not been answered: each will be.
    leaving: BTreeMap<(AssociationId, PoolHandle, PeId), usize>,
    /// Who has shown capabilities.
    capable: BTreeSet<AssociationId>,
    /// What the present input has closed.
    closed: BTreeSet<AssociationId>,
    /// Items asked for by the present input.
    items: Option<u32>,
    /// When it thought itself cut off last.
    cut_off: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) holder: AssociationId,
    pub(super) wire: PoolElement,
    lease: Option<Instant>,
    /// When the keep-alive was sent that is not answered.
    asked: Option<Instant>,
    heard: Instant,
    reports: Vec<(AssociationId, Instant)>,
    /// Answers since it was suspected; `None` if it is not.
    suspected: Option<u32>,
}

/// What the registrar's documentation promises about reports.
const REPORTERS: usize = 3;
const REPORT_WINDOW: Duration = Duration::from_secs(10);
const CLEARING_ANSWERS: u32 = 2;
/// The same about many that are silent at once.
const MASS_SILENCE: Duration = Duration::from_secs(10);
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
            items: None,
            cut_off: None,
        }
    }

    pub(super) fn restart(&mut self) {
        self.elements.clear();
        self.pools.clear();
        self.pending.clear();
        self.leaving.clear();
        self.capable.clear();
        self.closed.clear();
    }

    /// An element that an association holds.
    pub(super) fn held_by(&self, assoc: AssociationId) -> Option<(PoolHandle, PeId)> {
        let mut held = self.elements.iter().filter(|(_, entry)| entry.holder == assoc);
        held.next().map(|(name, _)| name.clone())
    }

    pub(super) fn closing(&mut self, assoc: AssociationId) {
        self.closed.insert(assoc);
    }

    /// A message is about to be handled.
    pub(super) fn received(&mut self, now: Instant, assoc: AssociationId, body: Body) {
        match body {
            Body::Registration { handle, element, capabilities } => {
                if capabilities.is_some() {
                    self.capable.insert(assoc);
                }
                let id = element.id;
                self.pending.entry((assoc, handle, id)).or_default().push_back(*element);
            }
            Body::Deregistration { handle, id, .. } => {
                *self.leaving.entry((assoc, handle, id)).or_default() += 1;
            }
            Body::EndpointKeepAliveAck { handle, id } => {
                let entry = self.elements.get_mut(&(handle, id));
                if let Some(entry) = entry.filter(|entry| entry.holder == assoc) {
                    if entry.asked.take().is_some()
                        && let Some(answers) = &mut entry.suspected
                    {
                        *answers += 1;
                    }
                    entry.heard = now;
                }
            }
            Body::EndpointUnreachable { handle, id } => {
                if let Some(entry) = self.elements.get_mut(&(handle, id))
                    && entry.reports.len() < MAX_REPORTS
                {
                    entry.reports.push((assoc, now));
                }
            }
            Body::HandleResolution { items, capabilities, .. } => {
                if capabilities.is_some() {
                    self.capable.insert(assoc);
                }
                self.items = items;
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
    ) -> Verdict {
        match body {
            Body::RegistrationResponse { rejected, handle, id, .. } => {
                let key = (assoc, handle.clone(), *id);
                let asked = self.pending.get_mut(&key).and_then(VecDeque::pop_front);
                if self.pending.get(&key).is_some_and(VecDeque::is_empty) {
                    self.pending.remove(&key);
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
                let key = (assoc, handle.clone(), *id);
                let asked = self.leaving.get_mut(&key).is_some_and(|asked| {
                    *asked -= 1;
                    true
                });
                if self.leaving.get(&key) == Some(&0) {
                    self.leaving.remove(&key);
                }
                let there = self.elements.get(&name).is_some_and(|e| e.holder == assoc);
                if asked && errors.is_empty() && there {
                    return Err(("I1", format!("keeps {handle} {id}, which has left")));
                }
                Ok(())
            }
            Body::EndpointKeepAlive { handle, id: Some(id), .. } => {
                let Some(entry) = self.elements.get_mut(&(handle.clone(), *id)) else {
                    return Err(("I7", format!("asks {handle} {id}, which is not registered")));
                };
                if entry.holder != assoc {
                    return Err(("I7", format!("asks somebody else whether {handle} {id} lives")));
                }
                entry.asked = Some(now);
                Ok(())
            }
            Body::HandleResolutionResponse(response) => self.answered(now, response),
            _ => Ok(()),
        }
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
            if entry.holder != assoc {
                return Err(("I7", format!("gives {handle} {id} to another, though it is held")));
            }
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
            holder: assoc,
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

    /// I1 and I6: an answer to a user.
    fn answered(&mut self, now: Instant, response: &HandleResolutionResponse) -> Verdict {
        let handle = &response.handle;
        let members = || {
            let first = (handle.clone(), PeId(0));
            self.elements.range(first..).take_while(|((pool, _), _)| pool == handle)
        };
        let lives = |entry: &Entry| entry.lease.is_none_or(|lease| lease > now);
        if !response.errors.is_empty() {
            let unknown = response.errors.contains(&ErrorCause::UnknownPoolHandle);
            if unknown && members().any(|(_, entry)| lives(entry)) {
                return Err(("I2", format!("denies {handle}, which has elements")));
            }
            let usable =
                members().any(|(_, entry)| lives(entry) && Law::is_usable(&entry.wire.policy));
            if !unknown && usable {
                return Err(("I2", format!("has elements of {handle}, and names none")));
            }
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let mut after_suspect = false;
        for element in &response.elements {
            let id = element.id;
            let Some(entry) = self.elements.get(&(handle.clone(), id)) else {
                return Err(("I1", format!("returns {handle} {id}, which is not registered")));
            };
            if !lives(entry) {
                return Err(("I1", format!("returns {handle} {id}, whose lease has expired")));
            }
            if element.user_transport != entry.wire.user_transport
                || element.policy != entry.wire.policy
            {
                return Err(("I7", format!("returns {handle} {id} as it was before")));
            }
            if !seen.insert(id) {
                return Err(("I6", format!("returns {handle} {id} twice in an answer")));
            }
            if !Law::is_usable(&entry.wire.policy) {
                return Err(("I6", format!("returns {handle} {id}, which has weight 0")));
            }
            if after_suspect && entry.suspected.is_none() {
                return Err(("I6", format!("ranks {handle} {id} behind a suspected one")));
            }
            after_suspect |= entry.suspected.is_some();
        }
        let usable = members()
            .filter(|(_, entry)| lives(entry) && Law::is_usable(&entry.wire.policy))
            .count();
        let wanted = self.items.map_or(usize::MAX, |items| items as usize).clamp(1, self.max_items);
        let expired = members().any(|(_, entry)| !lives(entry));
        if seen.len() != usable.min(wanted) && !expired {
            return Err(("I2", format!("names {} of {usable} elements of {handle}", seen.len())));
        }
        let standing: Vec<_> = members()
            .filter(|(_, entry)| lives(entry) && Law::is_usable(&entry.wire.policy))
            .map(|((_, id), entry)| (*id, &entry.wire.policy, entry.suspected.is_some()))
            .collect();
        let Some(law) = self.pools.get_mut(handle) else { return Ok(()) };
        law.observe(&standing, response).map_err(|text| ("I6", format!("{handle}: {text}")))
    }

    /// The registrar tells its owner.
    pub(super) fn told(&mut self, now: Instant, event: &Event) -> Verdict {
        match event {
            Event::ElementRemoved { handle, id, reason } => {
                let Some(entry) = self.elements.remove(&(handle.clone(), *id)) else {
                    return Err(("I7", format!("removes {handle} {id}, which is not there")));
                };
                self.changed(handle);
                let timeout = self.timers.keep_alive_timeout;
                let right = match reason {
                    RemovalReason::Expired => entry.lease.is_some_and(|lease| lease <= now),
                    RemovalReason::AssociationLost => self.closed.contains(&entry.holder),
                    RemovalReason::KeepAliveMissed => {
                        entry.asked.is_some_and(|asked| asked + timeout <= now)
                    }
                    // Only what was taken over is, and then it has no holder here.
                    RemovalReason::Unreachable => false,
                    RemovalReason::Deregistered => {
                        self.leaving.contains_key(&(entry.holder, handle.clone(), *id))
                    }
                };
                if right {
                    Ok(())
                } else {
                    Err(("I2", format!("removes {handle} {id} without cause: {reason}")))
                }
            }
            Event::ElementSuspected { handle, id } => {
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
                self.pending.retain(|(pending, _, _), _| *pending != assoc);
                self.leaving.retain(|(leaving, _, _), _| *leaving != assoc);
            }
        }
        let (known, expected) = (machine.handlespace().element_count(), self.elements.len());
        if known != expected {
            return Err(("I7", format!("knows {known} elements, and should know {expected}")));
        }
        Ok(())
    }

    /// Once a second: everything, for a registrar that has worked for so many microseconds.
    pub(super) fn compare(&mut self, now: Instant, machine: &Registrar, worked: u64) -> Verdict {
        let handlespace = machine.handlespace();
        // I5: what is kept incrementally is what it would be anew.
        if catch_unwind(AssertUnwindSafe(|| handlespace.check())).is_err() {
            return Err(("I5", "contradicts itself".to_owned()));
        }
        let mut sum = 0u64;
        for (pool, _, element) in handlespace.table(None, None) {
            let name = (pool.handle().clone(), element.id());
            let Some(entry) = self.elements.get(&name) else {
                return Err((
                    "I1",
                    format!("knows {} {}, which is not registered", name.0, name.1),
                ));
            };
            if element.user_transport() != &entry.wire.user_transport
                || element.policy() != entry.wire.policy
                || element.home() != machine.id()
                || element.suspect() != entry.suspected.is_some()
            {
                return Err(("I7", format!("knows {} {} as it is not", name.0, name.1)));
            }
            sum += words(name.0.as_bytes()) + words(&name.1.0.to_be_bytes());
        }
        // RFC 5353 §3.6.2 by the letter.
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let (known, expected) = (handlespace.checksum(machine.id()), !(sum as u16));
        if known != expected {
            return Err(("I5", format!("has checksum {known:#06x} instead of {expected:#06x}")));
        }
        if self.pending.len() > self.max_associations {
            return Err(("I8", "lets registrations pile up".to_owned()));
        }
        self.silent(now, worked)
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
            // Drawn up to half longer, once more if it was heard of in between.
            let limit = interval * 4 + self.timers.max_latency + Duration::from_millis(100);
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
            mix(entry.holder.0);
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
            Some(entry) if entry.holder == assoc && entry.asked.is_some() => "asked",
            Some(entry) if entry.holder == assoc => "holder",
            Some(entry) if entry.asked.is_some() => "another's, asked",
            Some(_) => "another's",
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
