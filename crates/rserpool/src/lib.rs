//! Reliable Server Pooling (RFC 5351) for tokio.
//!
//! Servers of one kind form a *pool*, and clients name the pool instead of a server. Registrars
//! know who is in which pool; there may be several, and each can serve alone.
//!
//! ```text
//!   PoolElement --registers--> registrar <--resolves-- PoolUser
//!    (a server)                                       (a client)
//!        ^------------- the application's own protocol ---'
//! ```
//!
//! * [`Registrar`] serves an operation scope.
//! * [`PoolElement`] keeps a server in its pool, whatever happens to registrars.
//! * [`PoolUser`] finds servers of a pool by the pool's policy.
//! * [`Session`] is a channel to a pool instead of a server, which outlives servers;
//!   [`PoolElement::serve`] is the other end of it.
//! * [`cookie`] signs the state of sessions, which their users carry from element to element.
//! * [`scope`] names pools of other scopes and finds their registrars.
//! * [`table`] reads all that a registrar knows, [`peers`] asks registrars about each other.
//! * [`tls`] secures all that, and says who is who.
//! * [`driver`] is what they run on, and [`proto`] all that needs no input or output.
//!
//! Everything runs on the tokio runtime it is started on, be it of one thread or many, as one task
//! each. Logs are [`tracing`]'s, with the fields `handle`, `pe`, `server`, `assoc`.
#![forbid(unsafe_code)]

pub use rserpool_proto as proto;

// Unit tests and fuzz targets share helpers with `tests/`, which name the crate.
#[cfg(any(test, feature = "testing"))]
extern crate self as rserpool;

/// Bodies of the fuzz targets of TLS, as in [`proto`].
#[cfg(any(test, feature = "testing"))]
pub mod fuzz {
    pub use crate::tls::fuzz::{tls_plaintext, tls_records};
}

pub mod cookie;
pub mod driver;
#[cfg(feature = "expressions")]
pub mod expression;
pub mod metrics;
pub mod peers;
pub mod pool_element;
pub mod pool_user;
pub mod registrar;
pub mod scope;
mod seed;
pub mod session;
pub mod table;
pub mod tls;

pub use pool_element::PoolElement;
pub use pool_user::PoolUser;
pub use registrar::Registrar;
pub use session::Session;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
