//! Messages and control channel over TCP: a mapping of our own, towards elements that carry the TCP
//! control extension.
//!
//! ```text
//!   | "rserp/1\n" (8) | length (4) | ppid (4) | message | length (4) | ppid (4) | message | ...
//!   |<--- once ------>|<----------- one frame --------->|
//! ```
//!
//! Both directions begin with the same eight bytes, so that who is not spoken to like this notices
//! at once. `length` counts the message alone. RFC 5354 §3.5 forbids control information on TCP, and
//! RFC 5355 §2.16 demands it to be multiplexed with the data; whoever wants the first has no
//! extension, and not a byte is added.

use alloc::vec::Vec;

/// What both directions begin with.
pub const PREFACE: [u8; 8] = *b"rserp/1\n";

/// Length of what stands before each message.
pub const HEADER_LEN: usize = 8;

/// What stands before a message of `len` bytes; it is less than 4 GiB long.
pub fn header(len: usize, ppid: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let (first, second) = header.split_at_mut(4);
    first.copy_from_slice(&len.to_be_bytes());
    second.copy_from_slice(&ppid.to_be_bytes());
    header
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    begun: bool,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    start: usize,
}

/// What came is not this mapping; the stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The other side does not speak it.
    #[error("the connection does not begin with the eight bytes of a session")]
    NoPreface,
    /// A message is longer than what is taken here.
    #[error("a message claims {stated} bytes")]
    TooLong {
        /// What its header says.
        stated: u32,
    },
}

impl Deframer {
    /// Takes messages of at most `limit` bytes, of either channel; control messages up to 64 KiB in
    /// any case. It holds as much as is pushed: push what was read once it has no whole message left.
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(usize::from(u16::MAX));
        Self { limit, begun: false, buffer: Vec::new(), start: 0 }
    }

    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input().extend_from_slice(bytes);
    }

    /// Where bytes are taken in: append to it, and change nothing else.
    pub fn input(&mut self) -> &mut Vec<u8> {
        // What is moved is less than what was given out since the last time.
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        &mut self.buffer
    }

    /// The payload protocol identifier of the next whole message, and the message.
    ///
    /// # Errors
    /// [`MappingError`] if what came cannot be one.
    pub fn next_message(&mut self) -> Result<Option<(u32, &[u8])>, MappingError> {
        let rest = self.buffer.get(self.start..).unwrap_or(&[]);
        let (rest, before) = if self.begun {
            (rest, 0)
        } else {
            match rest.split_first_chunk() {
                Some((&PREFACE, rest)) => (rest, PREFACE.len()),
                Some(_) => return Err(MappingError::NoPreface),
                // Something else shows as soon as it can.
                None if PREFACE.starts_with(rest) => return Ok(None),
                None => return Err(MappingError::NoPreface),
            }
        };
        self.begun = true;
        self.start += before;
        let Some((stated, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some((ppid, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let stated = u32::from_be_bytes(*stated);
        let len = stated as usize;
        if len > self.limit {
            return Err(MappingError::TooLong { stated });
        }
        let Some(bytes) = rest.get(..len) else { return Ok(None) };
        self.start += HEADER_LEN + len;
        Ok(Some((u32::from_be_bytes(*ppid), bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut stream = PREFACE.to_vec();
        for (ppid, bytes) in messages {
            stream.extend(header(bytes.len(), *ppid));
            stream.extend(bytes);
        }
        stream
    }

    #[test]
    fn who_speaks_something_else_shows_at_the_first_byte_that_differs() {
        let mut deframer = Deframer::new(10);
        deframer.push(b"rse");
        assert_eq!(deframer.next_message(), Ok(None));
        deframer.push(b"t");
        assert_eq!(deframer.next_message(), Err(MappingError::NoPreface));
        let mut deframer = Deframer::new(10);
        deframer.push(b"GET / HTTP/1.1");
        assert_eq!(deframer.next_message(), Err(MappingError::NoPreface));
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_there() {
        let mut deframer = Deframer::new(100_000);
        deframer.push(&PREFACE);
        deframer.push(&header(100_001, 0));
        assert_eq!(deframer.next_message(), Err(MappingError::TooLong { stated: 100_001 }));
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..30,
        ) {
            let mut deframer = Deframer::new(100);
            let mut found = Vec::new();
            for piece in framed(&messages).chunks(cut) {
                deframer.push(piece);
                while let Some((ppid, bytes)) = deframer.next_message().unwrap() {
                    found.push((ppid, bytes.to_vec()));
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8), begin: bool) {
            let mut deframer = Deframer::new(100);
            if begin {
                deframer.push(&PREFACE);
            }
            for piece in pieces {
                deframer.push(&piece);
                while let Ok(Some(_)) = deframer.next_message() {}
            }
        }
    }
}
