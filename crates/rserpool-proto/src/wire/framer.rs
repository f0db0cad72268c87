//! Cuts the byte stream of TCP or TLS into messages.
//!
//! ```text
//!   | type | flags | Message Length | ... | padding to a multiple of 4 | type | flags | ...
//!   |<----------- one frame: Message Length rounded up to 4 ---------->|
//! ```
//!
//! RFC 5354 §4 pads every message to a multiple of 4 and does not count the padding, rsplib and we
//! count it: the frame is the same in both.

use super::tlv::{MAX_MESSAGE_LEN, MESSAGE_HEADER_LEN, padded};
use alloc::vec::Vec;

/// Length of the longest frame: the greatest Message Length, rounded up.
pub const MAX_FRAME_LEN: usize = 0x1_0000;

/// Length of the frame that `bytes` begin with, padding included, be it all there or not; `None` if
/// there is too little of it to say. For those who cut frames out of a buffer of their own.
///
/// # Errors
/// [`FrameError`] if this is not the beginning of a message.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&[_, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let stated = u16::from_be_bytes([high, low]);
    if usize::from(stated) < MESSAGE_HEADER_LEN {
        return Err(FrameError { stated });
    }
    Ok(Some(padded(stated.into())))
}

/// Collects bytes until they are a frame.
///
/// ```
/// # use rserpool_proto::wire::framer::{FrameError, Framer};
/// # fn on_read(framer: &mut Framer, mut bytes: &[u8]) -> Result<(), FrameError> {
/// while !bytes.is_empty() {
///     let taken = framer.push(bytes);
///     bytes = &bytes[taken..];
///     while let Some(frame) = framer.next_frame()? {
///         // hand the frame on
/// #       let _ = frame;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    start: usize,
}

/// What the stream holds cannot be a message; it cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame claims {stated} bytes, but no message has less than {MESSAGE_HEADER_LEN}")]
pub struct FrameError {
    /// The Message Length.
    pub stated: u16,
}

impl Framer {
    /// Most bytes held: two of the longest frames, so that there is room for another one while one
    /// is incomplete.
    pub const MAX_PENDING: usize = 2 * (MAX_MESSAGE_LEN + 4);

    /// An empty framer; allocates nothing until something is pushed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes as many of the bytes as there is room for and says how many. All frames taken out, it
    /// takes at least one byte.
    #[must_use = "bytes that were not taken have to be pushed again"]
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        // What is moved is less than what was given out since the last time: each byte moves once
        // on average.
        if self.start > 0 && self.start >= self.pending() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let room = Self::MAX_PENDING.saturating_sub(self.pending());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        taken.len()
    }

    /// The next whole frame, padding included, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], and again at every later call.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(len) = self.frame_len()?.filter(|len| *len <= self.pending()) else {
            if self.is_empty() {
                self.release();
            }
            return Ok(None);
        };
        let frame = self.buffer.get(self.start..self.start + len);
        self.start += len;
        Ok(frame)
    }

    /// Whether every byte pushed has been given out: the stream may end here.
    pub fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        frame_len(self.buffer.get(self.start..).unwrap_or_default())
    }

    /// Starts anew, and gives a large buffer back: most of thousands of connections are idle.
    fn release(&mut self) {
        const KEPT: usize = 4096;
        self.start = 0;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use hex_literal::hex;
    use proptest::prelude::*;

    fn frames(framer: &mut Framer) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = framer.next_frame().unwrap() {
            frames.push(frame.to_vec());
        }
        frames
    }

    #[test]
    fn a_frame_is_the_message_length_rounded_up_whether_it_counts_the_padding_or_not() {
        let mut framer = Framer::new();
        let counted = hex!("0500 000c 0009 0005 61 000000");
        let not_counted = hex!("0500 0009 0009 0005 61 000000");
        let bytes = [counted, not_counted].concat();
        assert_eq!(framer.push(&bytes), bytes.len());
        assert_eq!(frames(&mut framer), [counted.to_vec(), not_counted.to_vec()]);
        assert!(framer.is_empty());
    }

    #[test]
    fn a_frame_comes_out_when_its_last_byte_comes_in() {
        let mut framer = Framer::new();
        let bytes = hex!("0500 0009 0009 0005 61 000000");
        for byte in &bytes[..11] {
            assert_eq!(framer.push(&[*byte]), 1);
            assert_eq!(framer.next_frame(), Ok(None));
            assert!(!framer.is_empty());
        }
        assert_eq!(framer.push(&bytes[11..]), 1);
        assert_eq!(framer.next_frame(), Ok(Some(&bytes[..])));
    }

    #[test]
    fn a_length_below_the_header_ends_the_stream_for_good() {
        let mut framer = Framer::new();
        assert_eq!(framer.push(&hex!("0500 0004 0500 0003")), 8);
        assert_eq!(framer.next_frame(), Ok(Some(&hex!("0500 0004")[..])));
        for _ in 0..2 {
            assert_eq!(framer.next_frame(), Err(FrameError { stated: 3 }));
            let _ = framer.push(&hex!("0500 0004"));
        }
    }

    #[test]
    fn no_more_is_held_than_two_of_the_longest_frames() {
        let mut framer = Framer::new();
        let longest = [&hex!("0500 ffff")[..], &vec![0; 65532]].concat();
        assert_eq!(framer.push(&longest.repeat(3)), Framer::MAX_PENDING);
        assert_eq!(framer.push(&longest), 0);
        assert_eq!(frames(&mut framer), [longest.clone(), longest.clone()]);
        assert_eq!(framer.push(&longest), longest.len());
        assert_eq!(frames(&mut framer), [longest]);
        assert!(framer.buffer.capacity() == 0, "a large buffer is given back");
    }

    proptest! {
        /// However the stream is cut, the frames are the same.
        #[test]
        fn frames_do_not_depend_on_how_the_bytes_arrive(
            lens in prop::collection::vec(4_u16..300, 0..20),
            cuts in prop::collection::vec(1_usize..200, 1..20),
        ) {
            let expected: Vec<Vec<u8>> = lens
                .iter()
                .map(|len| {
                    let mut frame = vec![5, 0, (len >> 8) as u8, *len as u8];
                    frame.resize(padded((*len).into()), 0xab);
                    frame
                })
                .collect();
            let stream = expected.concat();
            let mut rest = &stream[..];
            let mut framer = Framer::new();
            let mut found = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at(rest.len().min(*cut));
                prop_assert_eq!(framer.push(piece), piece.len());
                rest = later;
                found.extend(frames(&mut framer));
            }
            prop_assert_eq!(found, expected);
            prop_assert!(framer.is_empty());
        }
    }
}
