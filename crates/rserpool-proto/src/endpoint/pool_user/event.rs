//! What a pool user tells its owner.

use crate::endpoint::LossReason;
use crate::id::PoolHandle;
use crate::machine::Locator;
use crate::time::Duration;
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::PolicyParameter;
use crate::wire::pool_element::PoolElement;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Names a request of the owner; drawn by the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a [`PoolUser`](super::PoolUser) tells its owner. Every request gets exactly one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to [`resolve`](super::PoolUser::resolve).
    Resolved {
        /// Which request.
        request: RequestId,
        /// What the pool holds.
        result: Result<Resolution, ResolveError>,
    },
    /// The answer to [`pick`](super::PoolUser::pick) or
    /// [`pick_element`](super::PoolUser::pick_element).
    Picked {
        /// Which request.
        request: RequestId,
        /// The element to use.
        result: Result<Arc<PoolElement>, ResolveError>,
    },
    /// A pool that is [watched](super::PoolUser::watch) is not what it was told to be last, or is told
    /// for the first time. The order of its elements alone does not count.
    PoolChanged {
        /// Which pool.
        handle: PoolHandle,
        /// What it holds now, or why that is not known. With [`ResolveError::NoRegistrar`] what was
        /// told before may still be so.
        state: Result<Resolution, ResolveError>,
        /// Whether the registrar tells changes; otherwise it is asked again and again.
        pushed: bool,
    },
    /// A registrar has become the home.
    HomeFound {
        /// Which.
        home: Locator,
    },
    /// The home registrar is lost, and another one is hunted for (RFC 5352 §3.6).
    HomeLost {
        /// Which it was.
        home: Locator,
        /// How that showed.
        reason: LossReason,
    },
    /// No registrar could be reached: told once until one is. The user keeps trying.
    RegistrarUnreachable,
    /// A registrar reports an error that belongs to no question (RFC 5352 §2.2.14).
    ErrorReported {
        /// What it says.
        errors: Vec<ErrorCause>,
    },
}

/// What is known of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The pool.
    pub handle: PoolHandle,
    /// Its policy; round robin if the registrar named none (RFC 5352 §3.3).
    pub policy: PolicyParameter,
    /// Its elements in the order of the registrar's choice, at least one. The pool may have more.
    pub elements: Vec<Arc<PoolElement>>,
    /// How many elements the pool has, if the registrar said so.
    pub total: Option<u32>,
    /// How long ago the registrar said so.
    pub age: Duration,
    /// Whether that is longer ago than `stale_cache_value`, and no registrar answers.
    pub stale: bool,
}

/// Why a request has no good answer; each says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// A registrar answered that it has no such pool.
    UnknownPool {
        /// The pool asked for.
        handle: PoolHandle,
    },
    /// No registrar answered in T1 times (1 + MAX-REQUEST-RETRANSMIT) (RFC 5352 §3.7.2).
    NoRegistrar {
        /// Whom the user knows.
        registrars: Arc<[Locator]>,
    },
    /// The pool is there, but no element of it can be used: none is listed, or all are excluded.
    NoElement {
        /// The pool asked for.
        handle: PoolHandle,
    },
    /// A registrar refused to answer.
    Refused {
        /// The pool asked for.
        handle: PoolHandle,
        /// Why.
        errors: Vec<ErrorCause>,
    },
    /// As many requests as allowed wait for answers already.
    TooManyRequests {
        /// How many are allowed.
        limit: usize,
    },
}

impl ResolveError {
    /// Whether the same request may have an answer a little later with nobody doing anything about
    /// it: the registrars or elements may only be restarting.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::UnknownPool { .. } | Self::Refused { .. } => false,
            Self::NoRegistrar { .. } | Self::NoElement { .. } | Self::TooManyRequests { .. } => {
                true
            }
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPool { handle } => write!(
                f,
                "the registrar knows no pool `{handle}`: check the name, or start an element in it"
            ),
            Self::NoRegistrar { registrars } if registrars.is_empty() => {
                f.write_str("no registrar is configured: name at least one")
            }
            Self::NoRegistrar { registrars } => {
                f.write_str("no registrar answers at ")?;
                for (position, registrar) in registrars.iter().enumerate() {
                    if position > 0 {
                        f.write_str(" or ")?;
                    }
                    write!(f, "{registrar}")?;
                }
                f.write_str(": check that one runs there, or name others")
            }
            Self::NoElement { handle } => write!(
                f,
                "no element of pool `{handle}` can be used: check that its servers run and are \
                 healthy, or try again in a moment"
            ),
            Self::Refused { handle, errors } => write!(
                f,
                "the registrar refuses to resolve pool `{handle}` ({errors:?}): check what this \
                 user is allowed to ask"
            ),
            Self::TooManyRequests { limit } => write!(
                f,
                "{limit} requests wait for the registrar already: try again when some are answered"
            ),
        }
    }
}

impl core::error::Error for ResolveError {}
