//! Reliable Server Pooling without input or output: codec, handlespace, policies and the machines
//! of registrar, pool element and pool user.
//!
//! Nothing here knows a clock, a socket, a thread or global randomness: the same inputs give the
//! same outputs, in tests, in the simulator and in service.
//!
//! # Features
//! `registrar`, `element` and `user` are the three machines, each of use without the others; codec,
//! policies and timers are always there. Without `std` the crate is `no_std` and needs an allocator
//! only. All four are on by default.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(any(feature = "element", feature = "user"))]
pub mod endpoint;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod grow;
#[cfg(feature = "registrar")]
pub mod handlespace;
pub mod id;
pub mod machine;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
pub mod policy;
#[cfg(feature = "registrar")]
pub mod registrar;
#[cfg(any(feature = "element", feature = "user"))]
pub mod session;
pub mod time;
pub mod timer;
pub mod timers;
pub mod wire;
