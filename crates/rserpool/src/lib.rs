//! Reliable Server Pooling for tokio.
#![forbid(unsafe_code)]
pub use rserpool_proto as proto;

pub mod driver;
pub mod metrics;
