//! Connections of users that are being secured.

use super::link::Link;
use crate::driver::Limits;
use crate::tls::Tls;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

/// Secures what is accepted, and bounds how many are under way: whoever means it takes milliseconds, so the
/// oldest makes room, of all or of its address.
pub(super) struct Securing {
    tls: Tls,
    limits: Limits,
    /// Most bytes of a message.
    message: usize,
    handshakes: JoinSet<io::Result<Link>>,
    /// The oldest first; some have ended.
    under_way: VecDeque<(Option<IpAddr>, AbortHandle)>,
}

impl Securing {
    /// Within [`Limits::handshakes`] and [`Limits::handshakes_per_address`].
    pub(super) fn new(tls: Tls, limits: Limits, message: usize) -> Self {
        Self { tls, limits, message, handshakes: JoinSet::new(), under_way: VecDeque::new() }
    }

    /// Begins with one.
    pub(super) fn begin(&mut self, link: Link) {
        let from = link.remote();
        self.make_room(from);
        let (tls, message) = (self.tls.clone(), self.message);
        let task = self.handshakes.spawn(async move { link.secure(&tls, message).await });
        self.under_way.push_back((from, task));
    }

    /// The next one that is secured.
    pub(super) async fn next(&mut self) -> Link {
        loop {
            match self.handshakes.join_next().await {
                Some(Ok(Ok(link))) => return link,
                Some(Ok(Err(error))) => debug!(%error, "a session could not be secured"),
                Some(Err(_)) => debug!("a session has made room before it was secured"),
                None => std::future::pending().await,
            }
        }
    }

    fn make_room(&mut self, from: Option<IpAddr>) {
        let Limits { handshakes: most, handshakes_per_address: most_of_one, .. } = self.limits;
        if self.under_way.len() < most.min(most_of_one) {
            return;
        }
        self.under_way.retain(|(_, task)| !task.is_finished());
        let mut of_one = self.under_way.iter().enumerate().filter(|(_, (at, _))| *at == from);
        let first = of_one.next().map(|(position, _)| position);
        let oldest = match first {
            Some(first) if of_one.count() + 1 >= most_of_one => Some(first),
            _ if self.under_way.len() >= most => Some(0),
            _ => None,
        };
        if let Some((_, task)) = oldest.and_then(|position| self.under_way.remove(position)) {
            task.abort();
        }
    }
}
