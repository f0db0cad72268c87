//! What a pool element tells its owner.

use crate::endpoint::LossReason;
use crate::id::PeId;
use crate::machine::Locator;
use crate::wire::operation_error::ErrorCause;
use alloc::vec::Vec;

/// What a [`PoolElement`](super::PoolElement) tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The element is in its pool: for the first time, again after it was lost, or with a new home.
    /// Renewals are not told.
    Registered {
        /// Its identifier, which may have been drawn anew.
        id: PeId,
        /// The registrar that granted it.
        home: Locator,
    },
    /// A registrar refused the registration. It is not tried again (RFC 5352 §3.1) until
    /// [`set_policy`](super::PoolElement::set_policy) or
    /// [`reregister`](super::PoolElement::reregister) says that the reason is gone.
    Refused {
        /// Why; empty if the registrar did not say.
        errors: Vec<ErrorCause>,
    },
    /// The element has left its pool as asked, and its associations are closed.
    Deregistered,
    /// The element was to leave its pool, but nobody confirmed it; its associations are closed, and
    /// its registration ends when its life does.
    DeregistrationFailed {
        /// Why a registrar refused; empty if none answered.
        errors: Vec<ErrorCause>,
    },
    /// The registrar says that the registration has expired (RFC 5352 §3.2); the element registers
    /// anew at once.
    Expired,
    /// The home registrar is lost, and another one is hunted for (RFC 5352 §3.6).
    HomeLost {
        /// Which it was.
        home: Locator,
        /// How that showed.
        reason: LossReason,
    },
    /// A keep-alive waits for [`report_health`](super::PoolElement::report_health).
    HealthWanted,
    /// No registrar could be reached, or none answers: told once until one does. The element keeps
    /// trying.
    RegistrarUnreachable,
    /// A registrar reports an error that belongs to no request (RFC 5352 §2.2.14).
    ErrorReported {
        /// What it says.
        errors: Vec<ErrorCause>,
    },
}

/// What has become of a [`PoolElement`](super::PoolElement).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Looking for a registrar.
    Hunting,
    /// Waiting for the answer to a registration, in no pool as far as is known.
    Registering,
    /// In its pool.
    Registered,
    /// Refused by a registrar, and waiting for its owner.
    Refused,
    /// Leaving its pool.
    Deregistering,
    /// Out of its pool, as asked.
    Deregistered,
}
