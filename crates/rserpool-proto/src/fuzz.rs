//! Bodies of the fuzz targets: what holds for every input whatsoever.
//!
//! The package in `fuzz/` only calls them, so that every build compiles them and `cargo test` runs
//! them: on the corpus, on all that one changed byte or one cut makes of it, and on random bytes.
//! Each panics where its law is broken.

mod operations;
mod policy;
mod registrar;
mod session;

pub use operations::registrar_operations;
pub use policy::policy_operations;
pub use registrar::registrar_bytes;
pub use session::{session_mapping, session_operations};

use crate::id::ServerId;
use crate::wire::framer::Framer;
use crate::wire::operation_error::ErrorCause;
use crate::wire::{DecodeError, Decoded, TooLong, asap, enrp};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::Debug;

/// One ASAP message, well-formed or not.
///
/// What decodes encodes to bytes that decode to the same and encode to the same bytes; whatever is
/// wrong with a message, what is answered is a message itself.
pub fn asap_message(bytes: &[u8]) {
    let answer = |errors| asap::Message::from(asap::Body::Error { errors });
    message(bytes, asap::Message::decode, asap::Message::encode, answer);
}

/// One ENRP message, well-formed or not; the laws are those of [`asap_message`].
pub fn enrp_message(bytes: &[u8]) {
    let answer =
        |errors| enrp::Message::new(ServerId(1), ServerId::NONE, enrp::Body::Error { errors });
    message(bytes, enrp::Message::decode, enrp::Message::encode, answer);
}

/// A stream, and before it a byte that says how finely it is cut into pieces.
///
/// The frames are those that a walk over the whole stream finds, however it is cut; the first header
/// that cannot be one ends the stream; no more is held than [`Framer::MAX_PENDING`].
pub fn framer(bytes: &[u8]) {
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let mut rest = stream;
    let mut framer = Framer::new();
    for mut piece in stream.chunks(usize::from(cut) + 1) {
        while !piece.is_empty() {
            let taken = framer.push(piece);
            assert!(taken > 0, "a framer whose frames were all taken has room");
            piece = piece.get(taken..).unwrap_or_default();
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => {
                        assert_eq!(Ok(frame.len()), first_frame(rest), "the walk's next frame");
                        assert_eq!(Some(frame), rest.get(..frame.len()));
                        rest = rest.get(frame.len()..).unwrap_or_default();
                    }
                    Ok(None) => break,
                    Err(_) => return assert_eq!(first_frame(rest), Err(NoFrame::Wrong)),
                }
            }
        }
    }
    assert_eq!(framer.is_empty(), rest.is_empty());
    if !rest.is_empty() {
        assert_eq!(first_frame(rest), Err(NoFrame::Missing));
    }
}

/// Why there is no frame at the beginning of a stretch.
#[derive(Debug, PartialEq)]
enum NoFrame {
    /// Not all of it has come.
    Missing,
    /// It cannot be one.
    Wrong,
}

/// How long the first frame of a stretch is: Message Length rounded up to 4.
fn first_frame(stretch: &[u8]) -> Result<usize, NoFrame> {
    let [_, _, high, low, ..] = *stretch else { return Err(NoFrame::Missing) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < 4 {
        return Err(NoFrame::Wrong);
    }
    let len = len.next_multiple_of(4);
    if len <= stretch.len() { Ok(len) } else { Err(NoFrame::Missing) }
}

fn message<M: Clone + Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<M>, DecodeError>,
    encode: impl Fn(&M, &mut Vec<u8>) -> Result<(), TooLong>,
    answer: impl Fn(Vec<ErrorCause>) -> M,
) {
    let there_and_back = |message: &M| {
        let mut first = Vec::new();
        encode(message, &mut first)?;
        assert!(first.len().is_multiple_of(4), "what is sent is padded");
        let decoded = decode(&first).unwrap_or_else(|error| panic!("{error}: {message:?}"));
        assert_eq!(&decoded.message, message);
        let mut second = Vec::new();
        encode(&decoded.message, &mut second)?;
        assert_eq!(first, second);
        Ok::<(), TooLong>(())
    };
    let errors = match decode(bytes) {
        Ok(Decoded { message, reports }) => {
            // Only padding that was left out can make it longer than it came.
            let result = there_and_back(&message);
            assert!(result.is_ok() || bytes.len() + MOST_PADDING > MAX_MESSAGE, "{message:?}");
            reports
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            error.cause(bytes).into_iter().collect()
        }
    };
    if !errors.is_empty() {
        let answered = there_and_back(&answer(errors));
        answered.expect("reports are bounded by MAX_REPORT_LEN");
    }
}

/// Longest Message Length.
const MAX_MESSAGE: usize = 0xffff;

/// Padding that may be left out: at most 3 bytes at each of the few levels of nesting.
const MOST_PADDING: usize = 32;

/// Input read as operations; after its end it is all zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A value from either end of what 32 bits hold: small ones, so that equals come about, and
    /// great ones, so that sums overflow.
    fn word(&mut self) -> u32 {
        match self.next() {
            byte @ 0..0xf0 => u32::from(byte),
            byte => u32::MAX - u32::from(0xff - byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    /// Every input of a target's corpus, in the order of their names.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut files: Vec<_> =
            fs::read_dir(root.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// The corpus, each byte of it changed in some ways, and each input cut at each place.
    fn neighbours(target: &str, body: fn(&[u8])) {
        for input in corpus(target) {
            body(&input);
            for end in 0..input.len() {
                body(&input[..end]);
            }
            for position in 0..input.len() {
                let byte = input[position];
                let flips = (0..8).map(|bit| byte ^ (1 << bit));
                for changed in flips.chain([0x00, 0xff, byte.wrapping_add(1)]) {
                    let mut input = input.clone();
                    input[position] = changed;
                    body(&input);
                }
            }
        }
    }

    /// A header with a true length before random bytes, so that some get past it.
    fn framed() -> impl Strategy<Value = Vec<u8>> {
        (0..16u8, any::<u8>(), prop::collection::vec(any::<u8>(), 0..120)).prop_map(
            |(kind, flags, rest)| {
                let len = u16::try_from(rest.len() + 4).unwrap().to_be_bytes();
                [&[kind, flags, len[0], len[1]][..], &rest].concat()
            },
        )
    }

    #[test]
    fn what_is_next_to_a_captured_asap_message_keeps_the_laws() {
        neighbours("asap_message", asap_message);
    }

    #[test]
    fn what_is_next_to_a_captured_enrp_message_keeps_the_laws() {
        neighbours("enrp_message", enrp_message);
    }

    #[test]
    fn operations_on_policies_next_to_the_corpus_keep_the_laws() {
        neighbours("policy_operations", policy_operations);
    }

    #[test]
    fn what_is_next_to_a_captured_stream_keeps_the_laws() {
        neighbours("framer", framer);
    }

    #[test]
    fn operations_at_a_registrar_next_to_the_corpus_leave_it_as_its_model() {
        neighbours("registrar_operations", registrar_operations);
    }

    #[test]
    fn sessions_next_to_the_corpus_keep_the_laws() {
        neighbours("session_mapping", session_mapping);
        neighbours("session_operations", session_operations);
    }

    #[test]
    fn bytes_at_a_registrar_next_to_the_corpus_break_nothing() {
        neighbours("registrar_bytes", registrar_bytes);
    }

    proptest! {
        #[test]
        fn what_elements_and_users_do_leaves_the_registrar_as_its_model(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            registrar_operations(&bytes);
        }

        #[test]
        fn whatever_happens_to_a_session_keeps_the_laws(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            session_mapping(&bytes);
            session_operations(&bytes);
        }

        #[test]
        fn random_bytes_at_a_registrar_break_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            registrar_bytes(&bytes);
        }

        #[test]
        fn random_streams_keep_the_laws(
            cut in any::<u8>(),
            messages in prop::collection::vec(framed(), 0..20),
        ) {
            framer(&[&[cut][..], &messages.concat()].concat());
        }

        #[test]
        fn random_operations_on_policies_keep_the_laws(
            kind in 0..9u8,
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            policy_operations(&[&[kind][..], &bytes].concat());
        }

        #[test]
        fn random_messages_keep_the_laws(bytes in framed()) {
            asap_message(&bytes);
            enrp_message(&bytes);
        }

        #[test]
        fn random_bytes_keep_the_laws(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            asap_message(&bytes);
            enrp_message(&bytes);
        }
    }
}
