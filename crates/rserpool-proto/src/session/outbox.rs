//! What waits for the transport: data and, in order with it, cookies.

use super::Payload;
use crate::wire::PPID_ASAP;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How much a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message of the application, in bytes, sent or received. Defaults to 1 MiB.
    pub message: usize,
    /// Most bytes that wait for the transport. Defaults to 1 MiB; one message is always taken.
    pub queued_bytes: usize,
    /// Most messages that wait for the transport. Defaults to 4096.
    pub queued_messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 1 << 20, queued_bytes: 1 << 20, queued_messages: 4096 }
    }
}

/// Why a message was not taken. The session is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full: try again when the transport has taken something.
    #[error("the session's queue is full")]
    Full,
    /// SCTP has no messages without a byte.
    #[error("a message has at least one byte")]
    Empty,
    /// It will never be taken.
    #[error("a message of {len} bytes is longer than the {limit} that a session takes")]
    TooLong {
        /// Its length.
        len: usize,
        /// [`Limits::message`], or that of cookies.
        limit: usize,
    },
    /// RFC 5352 §5: data never has the identifier of ASAP.
    #[error("payload protocol identifier 11 is that of the control channel: choose another")]
    Reserved,
    /// The session is over.
    #[error("the session is over")]
    Ended,
}

/// Messages in the order they were sent, bounded by [`Limits`].
#[derive(Debug)]
pub(super) struct Outbox {
    limits: Limits,
    queue: VecDeque<(Payload, bool)>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, queue: VecDeque::new(), bytes: 0 }
    }

    /// Takes a message of the application, `stays` if it outlives its element.
    pub(super) fn push(&mut self, payload: Payload, stays: bool) -> Result<(), SendError> {
        if payload.ppid == PPID_ASAP {
            return Err(SendError::Reserved);
        }
        if payload.bytes.is_empty() {
            return Err(SendError::Empty);
        }
        let (len, limit) = (payload.bytes.len(), self.limits.message);
        if len > limit {
            return Err(SendError::TooLong { len, limit });
        }
        self.queue(payload, stays)
    }

    /// Takes a message of either channel.
    pub(super) fn queue(&mut self, payload: Payload, stays: bool) -> Result<(), SendError> {
        if !self.has_room_for(payload.bytes.len()) {
            return Err(SendError::Full);
        }
        self.bytes = self.bytes.saturating_add(payload.bytes.len());
        self.queue.push_back((payload, stays));
        Ok(())
    }

    pub(super) fn has_room_for(&self, len: usize) -> bool {
        let fits = self.bytes.saturating_add(len) <= self.limits.queued_bytes;
        self.queue.is_empty() || (fits && self.queue.len() < self.limits.queued_messages)
    }

    /// The next message, and whether it outlives its element.
    pub(super) fn pop(&mut self) -> Option<(Payload, bool)> {
        let (payload, stays) = self.queue.pop_front()?;
        self.bytes -= payload.bytes.len();
        Some((payload, stays))
    }

    /// Puts what was popped back to the front.
    #[cfg(feature = "user")]
    pub(super) fn put_back(&mut self, messages: Vec<(Payload, bool)>) {
        for (payload, stays) in messages.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(payload.bytes.len());
            self.queue.push_front((payload, stays));
        }
    }

    /// Takes out what does not outlive its element.
    #[cfg(feature = "user")]
    pub(super) fn take_bound(&mut self) -> Vec<Payload> {
        let (kept, bound) =
            core::mem::take(&mut self.queue).into_iter().partition(|(_, stays)| *stays);
        self.queue = kept;
        self.given_back(bound)
    }

    pub(super) fn take_all(&mut self) -> Vec<Payload> {
        let all = core::mem::take(&mut self.queue);
        self.given_back(all)
    }

    fn given_back(&mut self, taken: VecDeque<(Payload, bool)>) -> Vec<Payload> {
        self.bytes = self.queue.iter().map(|(payload, _)| payload.bytes.len()).sum();
        taken.into_iter().map(|(payload, _)| payload).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
