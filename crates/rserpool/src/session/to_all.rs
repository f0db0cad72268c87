//! A message to all elements of a pool (RFC 5352 §6.5.5, ASAP_SEND_TO_ALL).

use super::{
    Command, Delivery, ElementHandle, EndReason, Event, Payload, SendError, Session, Target,
    UserSessionConfig, check,
};
use crate::pool_user::{PoolUser, ResolveError};
use crate::proto::id::{PeId, PoolHandle};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// Elements that are sent to at a time.
const AT_A_TIME: usize = 64;

/// Why nothing was sent to anybody.
#[derive(Debug, thiserror::Error)]
pub enum SendToAllError {
    /// Who is in the pool is not known.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The message cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What became of the copy for an element.
#[derive(Debug)]
pub struct Copied {
    /// The element.
    pub element: ElementHandle,
    /// Whether its transport has taken the copy. There is no failover: it goes to nobody else.
    pub result: Result<(), EndReason>,
}

impl PoolUser {
    /// Sends a copy of a message to every element of a pool, each by a session of its own that ends
    /// with it, and says what became of each, in the order of the registrar's answer.
    ///
    /// An element that sends to its own pool leaves itself out by naming itself in `but`, or gets a
    /// copy, too (ASAP_SEND_TO_SELF). Of a large pool these are the elements that the registrar
    /// names: see [`PoolUserConfig::items`](crate::pool_user::PoolUserConfig::items). Dropping the
    /// future gives up the copies that are under way.
    ///
    /// # Errors
    /// [`SendToAllError`]; nothing was sent then.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub async fn send_to_all(
        &self,
        pool: &PoolHandle,
        payload: Payload,
        but: &[PeId],
    ) -> Result<Vec<Copied>, SendToAllError> {
        check(&payload, super::Limits::default())?;
        let resolution = self.resolve(pool).await?;
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        let mut copies = JoinSet::new();
        let elements = resolution.elements.iter().filter(|element| !but.contains(&element.id));
        for (nth, element) in elements.enumerate() {
            let handle = ElementHandle { pool: pool.clone(), id: element.id };
            let mut config = UserSessionConfig::new(Target::Element(handle.clone()));
            config.failover = false;
            config.needs_control = false;
            let (user, payload, places) = (self.clone(), payload.clone(), places.clone());
            copies.spawn(async move {
                // It is never closed.
                let _place = places.acquire().await;
                let result = user.session_with(config).deliver(payload).await;
                (nth, Copied { element: handle, result })
            });
        }
        let mut copied = copies.join_all().await;
        copied.sort_by_key(|(nth, _)| *nth);
        Ok(copied.into_iter().map(|(_, copied)| copied).collect())
    }
}

impl Session {
    /// Sends one message and ends the session.
    async fn deliver(mut self, payload: Payload) -> Result<(), EndReason> {
        let _ = self.sender.send_payload(payload, Delivery::NoFailover).await;
        let (done, closed) = oneshot::channel();
        let _ = self.sender.commands.send(Command::Close(done)).await;
        tokio::pin!(closed);
        let mut ends = false;
        loop {
            tokio::select! {
                // Why it is over, if it is, is told before.
                biased;
                event = self.events.recv() => match event {
                    // An element may have had enough with it.
                    Some(Event::Ended { reason: EndReason::Finished, unsent })
                        if unsent.is_empty() => return Ok(()),
                    Some(Event::Ended { reason, .. }) => return Err(reason),
                    Some(_) => {}
                    None => return Ok(()),
                },
                told = &mut closed, if !ends => match told {
                    Ok(()) => return Ok(()),
                    Err(_) => ends = true,
                },
            }
        }
    }
}
