//! For applications that keep their own connections (RFC 5351 §4.1, RFC 5352 §6.9).
//!
//! The request for a translation (RFC 5352 §6.9.1) is [`PoolUser::resolve`].

use super::ElementHandle;
use crate::pool_user::{Element, PoolUser, ResolveError};
use crate::proto::id::{PeId, PoolHandle};
use std::net::SocketAddr;
use std::sync::Arc;

impl PoolUser {
    /// The element of a pool to use first (RFC 5351 §4.1, GETPRIMARYSERVER).
    ///
    /// # Errors
    /// [`ResolveError`]: which of registrar, pool and elements is missing.
    pub async fn primary(&self, pool: &PoolHandle) -> Result<Arc<Element>, ResolveError> {
        self.pick(pool, &[]).await
    }

    /// Says that an element has failed, and gives the next one (RFC 5351 §4.1, GETNEXTSERVER).
    ///
    /// # Errors
    /// [`ResolveError`]: which of registrar, pool and elements is missing.
    pub async fn next(&self, failed: &ElementHandle) -> Result<Arc<Element>, ResolveError> {
        self.report_unreachable(&failed.pool, failed.id);
        self.pick(&failed.pool, &[failed.id]).await
    }

    /// Says that nobody could be reached at an address that an element of a pool was found to have
    /// (RFC 5352 §6.9.2, Transport.Failure): those that are reached there are reported, as by
    /// [`PoolUser::report_unreachable`]. They are the result; empty if there is none any more.
    ///
    /// To be called after an attempt to use the element, and for nothing else.
    ///
    /// # Errors
    /// [`ResolveError`] if who is reached there is not known; then nobody is reported.
    pub async fn transport_failure(
        &self,
        pool: &PoolHandle,
        address: SocketAddr,
    ) -> Result<Vec<PeId>, ResolveError> {
        let resolution = self.resolve(pool).await?;
        let reached = resolution.elements.iter().filter(|element| {
            element.user_transport.socket_addrs().any(|reached| reached == address)
        });
        let failed: Vec<_> = reached.map(|element| element.id).collect();
        for id in &failed {
            self.report_unreachable(pool, *id);
        }
        Ok(failed)
    }
}
