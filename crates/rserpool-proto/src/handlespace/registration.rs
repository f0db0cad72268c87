//! Elements that register, re-register and deregister here (RFC 5352 §3.1, §3.2).

use super::pool::{Pool, use_of};
use super::shape::Shape;
use super::{Change, ChangeKind, Element, Handlespace, Slot, Tombstone, sums};
use crate::id::{PeId, PoolHandle, ServerId};
use crate::planted::planted;
use crate::policy::PolicyParameter;
use crate::time::{Duration, Instant};
use crate::wire::capability::Stamp;
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::PolicyData;
use crate::wire::pool_element::PoolElement;
use crate::wire::tlv::Writer;
use crate::wire::transport::Transport;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

/// Why a registration was refused. The handlespace is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The pool has another policy; this one, with the values of one of its elements.
    #[error("the pool has policy {:#010x}", pool.number.0)]
    InconsistentPolicy {
        /// The pool's.
        pool: PolicyParameter,
    },
    /// The pool has another transport type; this transport is that of one of its elements.
    #[error("the pool has another transport type")]
    InconsistentTransport {
        /// The pool's.
        pool: Transport,
    },
    /// The pool has another transport use.
    #[error("the pool uses its transport for data and control differently")]
    InconsistentDataControl,
    /// The policy is none, or has not the words that its number calls for.
    #[error("the policy's values are not those of a policy {:#010x}", policy.number.0)]
    InvalidPolicy {
        /// As it was given.
        policy: PolicyParameter,
    },
    /// The handle is longer than this scope allows.
    #[error("the handle is longer than {max} bytes")]
    HandleTooLong {
        /// As it was given.
        handle: PoolHandle,
        /// What this scope allows, in bytes.
        max: usize,
    },
    /// A limit of [`HandlespaceConfig`](super::HandlespaceConfig) is reached.
    #[error("no room for more {what}")]
    LackOfResources {
        /// Of which there are enough.
        what: &'static str,
    },
    /// A newer state of the element is known already: this one is late, or another element has the
    /// same identifier.
    #[error("a newer state of the element is known: {}.{}", known.seq, known.moves)]
    Stale {
        /// The stamp to be exceeded.
        known: Stamp,
    },
}

impl RegistrationError {
    /// The cause to be sent (RFC 5354 §3.12).
    pub fn cause(self) -> ErrorCause {
        match self {
            Self::InconsistentPolicy { pool } => ErrorCause::InconsistentPolicy(pool),
            Self::InconsistentTransport { pool } => ErrorCause::InconsistentTransport(pool),
            Self::InconsistentDataControl => ErrorCause::InconsistentDataControl,
            Self::InvalidPolicy { policy } => invalid(|writer| policy.encode(writer)),
            Self::HandleTooLong { handle, .. } => invalid(|writer| handle.encode(writer)),
            Self::LackOfResources { .. } => ErrorCause::LackOfResources,
            Self::Stale { .. } => ErrorCause::NonUniquePeId,
        }
    }

    /// Whether the same registration may succeed later without being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::LackOfResources { .. })
    }
}

/// RFC 5354 §3.12.4: the cause holds the whole parameter.
fn invalid(write: impl FnOnce(&mut Writer<'_>)) -> ErrorCause {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes));
    ErrorCause::InvalidValues(bytes.into())
}

impl Handlespace {
    /// Registers an element here, or renews or changes its registration (RFC 5352 §3.1).
    ///
    /// The caller has put its own identifier into `element.home` and the element's address into
    /// `element.asap_transport` (rule 4), and has checked that it may register (rule 5). `lease` is
    /// the registration life from `now` on, `None` for ever. A stamp that the element has not given
    /// itself is drawn here.
    ///
    /// # Errors
    /// [`RegistrationError`]; nothing is changed then.
    pub fn register(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        mut element: PoolElement,
        lease: Option<Duration>,
    ) -> Result<Change, RegistrationError> {
        let pool_index = self.pools.find(handle.as_bytes());
        let pool = pool_index.map(|pool| self.pools.get(pool));
        if let Some(pool) = pool {
            // Rules 2 and 3: the same tests for new and for known elements.
            self.check_consistency(pool, &element)?;
        }
        // Rule 5: invalid values.
        let max = self.config.max_handle_len;
        if handle.as_bytes().len() > max {
            return Err(RegistrationError::HandleTooLong { handle: handle.clone(), max });
        }
        let words = pool.and_then(|pool| pool.takes_words(&element.policy));
        if !words.unwrap_or_else(|| self.config.policies.accepts(&element.policy)) {
            return Err(RegistrationError::InvalidPolicy { policy: element.policy });
        }
        if element.policy.number.is_private() {
            self.say_text(&mut element.policy)?;
        }
        let slot = pool_index.and_then(|pool| self.elements.find(pool, element.id));
        if slot.is_none() {
            // Rule 5: lack of resources.
            self.check_room(pool)?;
        }
        let buried = self.tombstones.get(now, handle, element.id);
        let known = slot.and_then(|slot| self.elements.get(slot)?.stamp());
        element.extensions.stamp = Some(match element.extensions.stamp {
            Some(stamp) => {
                let late = known.filter(|&known| stamp < known);
                let dead = buried.filter(|&buried| stamp <= buried);
                if let Some(known) = late.or(dead) {
                    return Err(RegistrationError::Stale { known });
                }
                // Two states of one stamp: a home that had to raise it before has used the element's
                // next number. The later one is newer.
                let twice =
                    known == Some(stamp) && slot.is_some_and(|at| self.differs(at, &element));
                Stamp { seq: stamp.seq.saturating_add(u64::from(twice)), ..stamp }
            }
            None => {
                let highest = known.max(buried).map_or(0, |stamp| stamp.seq);
                Stamp { seq: highest.saturating_add(1), moves: 0 }
            }
        });
        let until = lease.map_or(Instant::FAR_FUTURE, |lease| now + lease);
        Ok(match slot {
            Some(slot) => self.replace(now, slot, element, until),
            None => self.add(now, handle, element, until),
        })
    }

    /// Whether an element is registered otherwise than it is known here.
    fn differs(&self, slot: Slot, element: &PoolElement) -> bool {
        self.elements.get(slot).is_some_and(|known| {
            known.policy() != element.policy
                || *known.user_transport() != element.user_transport
                || known.asap_transport() != element.asap_transport.as_ref()
                || known.asap_over_tcp() != element.extensions.asap_over_tcp
        })
    }

    /// The newest state of an element that is known, be it the one in which it left.
    pub fn newest_stamp(&self, now: Instant, handle: &PoolHandle, id: PeId) -> Option<Stamp> {
        let known =
            self.slot(handle.as_bytes(), id).and_then(|slot| self.elements.get(slot)?.stamp());
        known.max(self.tombstones.get(now, handle, id))
    }

    /// Removes an element for whatever reason: it deregistered, or is dead; `None` if it is not
    /// there (RFC 5352 §3.2 has that granted all the same).
    ///
    /// A tombstone is left, so that late news do not bring it back.
    pub fn remove(&mut self, now: Instant, handle: &[u8], id: PeId) -> Option<Change> {
        let slot = self.slot(handle, id)?;
        self.remove_slot(now, slot, Tombstone::Left)
    }

    /// As [`Handlespace::remove`], by slot.
    pub fn remove_at(&mut self, now: Instant, slot: Slot) -> Option<Change> {
        self.remove_slot(now, slot, Tombstone::Left)
    }

    /// As [`Handlespace::remove`], for an element that says which of its states it ends: a
    /// deregistration older than the registration known is late and does nothing.
    pub fn deregister(
        &mut self,
        now: Instant,
        handle: &[u8],
        id: PeId,
        stamp: Option<Stamp>,
    ) -> Option<Change> {
        let slot = self.slot(handle, id)?;
        if let Some(stamp) = stamp {
            let element = self.elements.get_mut(slot)?;
            if element.stamp().is_some_and(|known| known > stamp) {
                return None;
            }
            self.restamp(slot, stamp);
        }
        self.remove_slot(now, slot, Tombstone::Left)
    }

    /// Grants every element of a home a lease up to `until` at least: a registrar that was suspended
    /// has not heard those who renewed.
    pub fn extend_leases(&mut self, home: ServerId, until: Instant) {
        let mut from = Slot::FIRST;
        while let Some(slot) = self.next_owned(home, from) {
            from = slot.next();
            self.extend_lease(slot, until);
        }
    }

    /// Grants an element a lease up to `until` at least.
    pub fn extend_lease(&mut self, slot: Slot, until: Instant) {
        if let Some(element) = self.elements.get_mut(slot)
            && element.lease < until
        {
            let before = mem::replace(&mut element.lease, until);
            self.leases.set(slot, Some(before), until);
        }
    }

    /// Says by which text an element is ordered here, if its policy is defined by one.
    fn say_text(&self, policy: &mut PolicyParameter) -> Result<(), RegistrationError> {
        let Some(kind) = self.config.policies.by_number(policy.number) else { return Ok(()) };
        let (Some(text), PolicyData::Words { len, words }) = (kind.text, &mut policy.data) else {
            return Ok(());
        };
        let last = usize::from(len.saturating_sub(1));
        let Some(word) = words.get_mut(last) else { return Ok(()) };
        match mem::replace(word, text.get()) {
            0 => Ok(()),
            theirs if theirs == text.get() => Ok(()),
            _ => Err(RegistrationError::InconsistentPolicy { pool: policy.clone() }),
        }
    }

    fn check_consistency(
        &self,
        pool: &Pool,
        element: &PoolElement,
    ) -> Result<(), RegistrationError> {
        let member = || pool.first().and_then(|slot| self.elements.get(slot));
        if element.policy.number != pool.policy_number() {
            let pool = member()
                .map(Element::policy)
                .filter(|policy| policy.number == pool.policy_number())
                .unwrap_or_else(|| PolicyParameter::new(pool.policy_number(), &[]));
            return Err(RegistrationError::InconsistentPolicy { pool });
        }
        if !pool.has_type_of(&element.user_transport) {
            let of_pool = member().map_or(&element.user_transport, Element::user_transport);
            return Err(RegistrationError::InconsistentTransport { pool: of_pool.clone() });
        }
        if use_of(&element.user_transport) != pool.transport_use() {
            return Err(RegistrationError::InconsistentDataControl);
        }
        Ok(())
    }

    pub(super) fn check_room(&self, pool: Option<&Pool>) -> Result<(), RegistrationError> {
        let full = match pool {
            None if self.pools.len() >= self.config.max_pools => Some("pools"),
            Some(pool) if pool.len() >= self.config.max_elements_per_pool => {
                Some("elements in this pool")
            }
            _ if self.elements.len() >= self.config.max_elements => Some("elements"),
            _ => None,
        };
        full.map_or(Ok(()), |what| Err(RegistrationError::LackOfResources { what }))
    }

    /// Adds an element that is not there, and its pool if need be (rules 1 and 2).
    #[inline]
    pub(super) fn add(
        &mut self,
        now: Instant,
        handle: &PoolHandle,
        wire: PoolElement,
        until: Instant,
    ) -> Change {
        let pool_index = self.pools.find(handle.as_bytes()).unwrap_or_else(|| {
            let shape = Shape::of_wire(&wire);
            let mut pool = Pool::new(handle.clone(), shape, &self.config);
            pool.watched = self.watched.contains(handle);
            self.pools.insert(pool)
        });
        let pool = self.pools.get_mut(pool_index);
        let mut element = Element::new(pool_index, wire, until);
        element.digest = sums::digest(pool.key, &element);
        let (id, home, digest) = (element.id(), element.home(), element.digest);
        let slot = self.elements.insert(element);
        let element = self.elements.get_mut(slot).expect("it has just been inserted");
        let mut room = [0; 4];
        let words = self.config.distances.words(pool, element, &mut room);
        element.seat = pool.insert(now, id, slot, words);
        pool.count_shape(Shape::of(element));
        let words = pool.words + sums::id_words(id);
        let handle = pool.handle().clone();
        self.leases.set(slot, None, until);
        self.count(home, words, digest);
        self.settle(pool_index);
        self.note_change(pool_index);
        Change {
            kind: ChangeKind::Added,
            handle,
            id,
            slot,
            home,
            previous_home: None,
            visible: true,
            removed: None,
        }
    }

    /// Replaces the attributes of an element that is there (rule 3).
    #[inline]
    pub(super) fn replace(
        &mut self,
        now: Instant,
        slot: Slot,
        wire: PoolElement,
        until: Instant,
    ) -> Change {
        let element = self.elements.get_mut(slot).expect("the caller has found it");
        let (id, previous, old_lease) = (element.id(), element.home(), element.lease);
        let until = if planted!("renewal-keeps-lease") { old_lease } else { until };
        let policy = if planted!("renewal-keeps-values") { element.policy() } else { wire.policy };
        let wire = PoolElement { policy, ..wire };
        let (before, index) = (Shape::of(element), element.pool);
        let visible = element.replace(wire, until);
        let home = element.home();
        let pool = self.pools.get_mut(index);
        let mut room = [0; 4];
        let words = self.config.distances.words(pool, element, &mut room);
        pool.update(now, element.seat, words, element.suspect());
        let after = Shape::of(element);
        if before != after {
            pool.uncount_shape(before);
            pool.count_shape(after);
        }
        self.leases.set(slot, Some(old_lease), until);
        let handle = self.recount(slot, previous).expect("the caller has found it");
        self.settle(index);
        if visible {
            self.note_change(index);
        }
        Change {
            kind: ChangeKind::Updated,
            handle,
            id,
            slot,
            home,
            previous_home: Some(previous),
            visible,
            removed: None,
        }
    }

    pub(super) fn remove_slot(
        &mut self,
        now: Instant,
        slot: Slot,
        tombstone: Tombstone,
    ) -> Option<Change> {
        let element = self.elements.remove(slot)?;
        let (id, home) = (element.id(), element.home());
        self.leases.remove(slot);
        if !planted!("change-not-told") {
            self.note_change(element.pool);
        }
        let pool = self.pools.get_mut(element.pool);
        pool.remove(id, element.seat, element.suspect());
        pool.uncount_shape(Shape::of(&element));
        let words = pool.words + sums::id_words(id);
        let handle = pool.handle().clone();
        if pool.is_empty() {
            self.pools.remove(element.pool);
        } else {
            self.settle(element.pool);
        }
        self.uncount(home, words, element.digest);
        if let (Tombstone::Left, Some(stamp)) = (tombstone, element.stamp()) {
            self.tombstones.insert(now, &handle, id, stamp);
        }
        Some(Change {
            kind: ChangeKind::Removed,
            handle,
            id,
            slot,
            home,
            previous_home: Some(home),
            visible: true,
            removed: Some(Box::new(element.to_wire())),
        })
    }

    /// Gives an element another stamp; its digest follows.
    pub(super) fn restamp(&mut self, slot: Slot, stamp: Stamp) {
        if let Some(element) = self.elements.get_mut(slot) {
            let home = element.home();
            element.set_stamp(Some(stamp));
            self.recount(slot, home);
        }
    }

    /// Steps the sums after an element has changed, whose home was `previous`; returns its pool's
    /// handle.
    pub(super) fn recount(&mut self, slot: Slot, previous: ServerId) -> Option<PoolHandle> {
        let element = self.elements.get_mut(slot)?;
        let pool = self.pools.get(element.pool);
        let handle = pool.handle().clone();
        let digest = sums::digest(pool.key, element);
        let old = mem::replace(&mut element.digest, digest);
        if element.home() == previous {
            let sums = self.sums.get_mut(&previous)?;
            sums.digest = sums.digest.wrapping_sub(old).wrapping_add(digest);
        } else {
            let (home, words) = (element.home(), pool.words + sums::id_words(element.id()));
            self.uncount(previous, words, old);
            self.count(home, words, digest);
        }
        Some(handle)
    }

    pub(super) fn count(&mut self, home: ServerId, words: u32, digest: u64) {
        let sums = self.sums.entry(home).or_default();
        sums.words += u64::from(words);
        sums.digest = sums.digest.wrapping_add(digest);
        sums.elements += 1;
    }

    pub(super) fn uncount(&mut self, home: ServerId, words: u32, digest: u64) {
        let Some(sums) = self.sums.get_mut(&home) else { return };
        if !planted!("checksum-forgets") {
            sums.words -= u64::from(words);
        }
        sums.digest = sums.digest.wrapping_sub(digest);
        sums.elements -= 1;
        if sums.elements == 0 {
            self.sums.remove(&home);
        }
    }
}
