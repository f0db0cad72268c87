//! Reliable Server Pooling without input or output: codec, handlespace, policies and the machines
//! of registrar, pool element and pool user.
//!
//! Nothing here knows a clock, a socket, a thread or global randomness: the same inputs give the
//! same outputs, in tests, in the simulator and in service.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod endpoint;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod grow;
pub mod handlespace;
pub mod id;
pub mod machine;
pub mod policy;
pub mod registrar;
pub mod time;
pub mod timer;
pub mod timers;
pub mod wire;
