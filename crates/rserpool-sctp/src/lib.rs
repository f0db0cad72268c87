//! SCTP (RFC 9260) for tokio, by the kernel of Linux.
//!
//! SCTP carries *messages* over *associations*: reliable and ordered per stream like TCP, but with
//! bounds that are kept, a payload protocol identifier on each message, and several addresses on both
//! sides, so that a path may fail and the association stays.
//!
//! ```text
//!  Endpoint ── one socket, many associations (RFC 6458 §3) ──┬── association 5 ── 10.0.0.2, 10.1.0.2
//!     │  recv: messages and notifications of all of them      └── association 6 ── 10.0.0.3
//!     └─ peel_off(5) ──> Association ── a socket of its own, same port, same addresses
//!
//!  Listener ── accept ──> Association           Association::connect ──> Association
//! ```
//!
//! - [`Endpoint`] is the one-to-many socket: it listens and connects from one port, and everything that
//!   happens arrives as an [`Event`] that names its [`AssociationId`].
//! - [`Association`] is a single association with buffers of its own: peeled off, accepted by a
//!   [`Listener`], or connected.
//! - [`Config`] holds what has to be set before the first packet: retransmission timeouts, heartbeats,
//!   limits of retransmission, streams, buffers.
//!
//! All futures are cancellation-safe: dropping one loses no message and sends none in part. All calls
//! take `&self`, so that one task may receive while others send.
//!
//! The kernel has to be Linux 5.0 or later with the `sctp` module; ask [`is_available`]. On other
//! systems this crate is empty.
//!
//! # Example
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use rserpool_sctp::{Config, Endpoint, Event, SendInfo};
//!
//! // Two local addresses: a peer that is told both survives the loss of either.
//! let local = ["10.0.0.1:7".parse().unwrap(), "10.1.0.1:7".parse().unwrap()];
//! let endpoint = Endpoint::bind(&local, &Config::default())?;
//! loop {
//!     match endpoint.recv().await? {
//!         Event::Message(message) => {
//!             let info = SendInfo { stream: message.stream, ..SendInfo::ppid(message.ppid) };
//!             endpoint.send(message.association, &message.data, info).await?;
//!         }
//!         event => println!("{event:?}"),
//!     }
//! }
//! # }
//! ```
#![cfg(target_os = "linux")]

mod addr;
mod association;
mod config;
mod endpoint;
mod event;
mod inbox;
mod socket;
mod sys;

pub use association::{Association, Listener};
pub use config::{Config, Rto};
pub use endpoint::Endpoint;
pub use event::{AssociationId, Event, Message, PathChange};
pub use socket::{AssociationState, Outgoing, Path, PathState, SendInfo, Status};

/// Whether this host's kernel opens SCTP sockets.
///
/// Asks each time, because opening a socket may load the kernel's module. Where the answer is no, all
/// constructors of this crate fail with [`std::io::ErrorKind::Unsupported`].
pub fn is_available() -> bool {
    sys::open(false).is_ok()
}
