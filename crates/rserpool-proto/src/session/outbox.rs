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

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(number: u32) -> Payload {
        Payload { ppid: 0, bytes: number.to_be_bytes().into() }
    }

    proptest! {
        /// Nothing is lost, and nothing is there twice.
        #[test]
        fn what_goes_in_comes_out_once_and_in_order(
            operations in prop::collection::vec((0..6u8, any::<bool>()), 0..200),
        ) {
            let limits = Limits { message: 4, queued_bytes: 40, queued_messages: 8 };
            let mut outbox = Outbox::new(limits);
            let mut inside: Vec<(u32, bool)> = Vec::new();
            let mut popped: Vec<(u32, bool)> = Vec::new();
            let numbered = |(number, stays): &(u32, bool)| (payload(*number), *stays);
            for (number, (operation, stays)) in (0..).zip(operations) {
                match operation {
                    0..=2 => {
                        let room = outbox.has_room_for(4);
                        let taken = outbox.push(payload(number), stays);
                        prop_assert_eq!(taken, if room { Ok(()) } else { Err(SendError::Full) });
                        inside.extend(room.then_some((number, stays)));
                    }
                    3 => {
                        let first = (!inside.is_empty()).then(|| inside.remove(0));
                        prop_assert_eq!(outbox.pop(), first.as_ref().map(numbered));
                        popped.extend(first);
                    }
                    4 => {
                        outbox.put_back(popped.iter().map(numbered).collect());
                        inside.splice(..0, popped.drain(..));
                    }
                    _ => {
                        let (kept, bound): (Vec<_>, Vec<_>) =
                            inside.drain(..).partition(|(_, stays)| *stays);
                        inside = kept;
                        let bound: Vec<_> =
                            bound.into_iter().map(|(number, _)| payload(number)).collect();
                        prop_assert_eq!(outbox.take_bound(), bound);
                    }
                }
                prop_assert_eq!(outbox.is_empty(), inside.is_empty());
            }
            let rest: Vec<_> = inside.iter().map(|(number, _)| payload(*number)).collect();
            prop_assert_eq!(outbox.take_all(), rest);
            prop_assert!(outbox.is_empty() && outbox.has_room_for(40));
        }
    }
}
