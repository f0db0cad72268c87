//! Reliable Server Pooling for tokio.
#![forbid(unsafe_code)]
pub use rserpool_proto as proto;

pub mod driver;
pub mod metrics;
pub mod pool_element;
pub mod pool_user;
mod seed;

pub use pool_element::PoolElement;
pub use pool_user::PoolUser;
