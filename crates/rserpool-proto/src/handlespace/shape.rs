//! What all elements of a pool have in common, and what is done when they have not.
//!
//! A registrar refuses an element that does not fit its pool (RFC 5352 §3.1 rules 2 and 3). Two
//! registrars that create a pool at the same time, or are cut off from each other, know nothing of
//! each other's; once they do, both take all elements (RFC 5353 §3.3.1 refuses none), and the pool is
//! what most of its elements are, and of two that are as many the lower one. That depends on nothing
//! but the elements, so that all registrars come to the same. The others stay until they renew and
//! are refused.

use super::pool::use_of;
use super::{Element, Handlespace};
use crate::policy::PolicyNumber;
use crate::wire::pool_element::PoolElement;
use crate::wire::transport::{Transport, TransportUse};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::pool::{Pool, PoolIndex};

/// What all elements of a pool have in common: policy, transport type, transport use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) policy: PolicyNumber,
    pub(super) transport: Kind,
    pub(super) transport_use: TransportUse,
}

/// Types of transports, in the order of their parameters (RFC 5354 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Dccp,
    Sctp,
    Tcp,
    Udp,
    UdpLite,
    Opaque,
}

/// How many elements have which shape, while not all have the same.
pub(super) type Shapes = Option<Box<BTreeMap<Shape, usize>>>;

impl Kind {
    pub(super) fn of(transport: &Transport) -> Self {
        match transport {
            Transport::Dccp { .. } => Self::Dccp,
            Transport::Sctp(_) => Self::Sctp,
            Transport::Tcp(_) => Self::Tcp,
            Transport::Udp(_) => Self::Udp,
            Transport::UdpLite(_) => Self::UdpLite,
            Transport::Opaque(_) => Self::Opaque,
        }
    }
}

impl Shape {
    pub(super) fn new(policy: PolicyNumber, transport: &Transport) -> Self {
        Self { policy, transport: Kind::of(transport), transport_use: use_of(transport) }
    }

    pub(super) fn of(element: &Element) -> Self {
        Self::new(element.policy_number(), element.user_transport())
    }

    pub(super) fn of_wire(element: &PoolElement) -> Self {
        Self::new(element.policy.number, &element.user_transport)
    }

    /// That of most, or the lowest of several that are as many.
    pub(super) fn of_most(shapes: &BTreeMap<Shape, usize>) -> Option<Self> {
        let most = shapes.iter().max_by_key(|(shape, count)| (**count, Reverse(**shape)));
        most.map(|(shape, _)| *shape)
    }
}

impl Pool {
    /// An element has come, and has its seat.
    #[inline]
    pub(super) fn count_shape(&mut self, shape: Shape) {
        if self.shapes.is_some() || shape != self.shape {
            let (usual, others) = (self.shape, self.len() - 1);
            let usual = (others > 0).then_some((usual, others));
            let shapes = self.shapes.get_or_insert_with(|| Box::new(usual.into_iter().collect()));
            *shapes.entry(shape).or_default() += 1;
        }
    }

    /// An element has gone.
    #[inline]
    pub(super) fn uncount_shape(&mut self, shape: Shape) {
        if let Some(shapes) = &mut self.shapes
            && let Some(count) = shapes.get_mut(&shape)
        {
            *count -= 1;
            if *count == 0 {
                shapes.remove(&shape);
            }
        }
    }
}

impl Handlespace {
    /// Makes a pool what most of its elements are.
    #[inline]
    pub(super) fn settle(&mut self, index: PoolIndex) {
        if self.pools.get(index).shapes.is_some() {
            self.settle_mixed(index);
        }
    }

    #[cold]
    fn settle_mixed(&mut self, index: PoolIndex) {
        let pool = self.pools.get_mut(index);
        let Some(shape) = pool.shapes.as_ref().and_then(|shapes| Shape::of_most(shapes)) else {
            return;
        };
        if pool.shapes.as_ref().is_some_and(|shapes| shapes.len() == 1) {
            pool.shapes = None;
        }
        if shape == pool.shape {
            return;
        }
        pool.reshape(shape, &self.config);
        let slots: Vec<_> = pool.slots_after(None).collect();
        for known in slots.into_iter().filter_map(|slot| self.elements.get(slot)) {
            let mut room = [0; 4];
            let words = self.config.distances.words(pool, known, &mut room);
            pool.seat(known.seat, words, known.suspect());
        }
    }
}
