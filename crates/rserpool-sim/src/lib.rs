//! The machines of `rserpool-proto` in a simulated world, through thousands of their worst days.
//!
//! One thread owns time, network, crashes and randomness; inside are the machines that ship. A seed
//! decides everything, so that a failure is a number: run it again, and it fails again.
//!
//! ```text
//!   swarm    what a seed stands for: who there is, what breaks when
//!   world    time, nodes, associations over links, faults
//!   oracle   plain models of what must be so: the invariants
//! ```
//!
//! See `docs/SIMULATION.md` for the invariants and how to read a failure.
#![forbid(unsafe_code)]

pub mod bounded;
pub mod chart;
mod clock;
mod conn;
mod describe;
mod fault;
mod host;
mod hostile;
pub mod minimise;
mod net;
mod node;
mod oracle;
mod owner;
pub mod planner;
mod queue;
mod rng;
pub mod run;
pub mod script;
mod session;
mod stats;
pub mod storm;
pub mod swarm;
pub mod trace;
mod transport;
mod world;

pub use fault::{Fault, FaultKind};
pub use net::{NodeId, Quality};
pub use node::Role;
pub use rng::Random;
#[cfg(feature = "planted-bugs")]
pub use rserpool_proto::planted;
pub use stats::{Coverage, Stats};
pub use world::{Violation, World};
