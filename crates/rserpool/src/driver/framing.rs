//! Where a message ends on a stream.
//!
//! A message begins with type, flags and a length of 16 bits that counts itself and the type and
//! flags before it; on a stream the next message begins at the next multiple of 4.

/// One message at the beginning of a stretch of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the message.
    pub(super) message: usize,
    /// Bytes until the next message begins.
    pub(super) total: usize,
}

/// Longest frame: the longest length, rounded up.
pub(super) const MAX_FRAME: usize = 0x1_0000;

/// The first frame of `bytes`; `Ok(None)` if it is not all there.
///
/// # Errors
/// `()` if this cannot be the beginning of a message.
pub(super) fn next(bytes: &[u8]) -> Result<Option<Frame>, ()> {
    let [_, _, high, low, ..] = *bytes else { return Ok(None) };
    let message = usize::from(u16::from_be_bytes([high, low]));
    if message < 4 {
        return Err(());
    }
    let total = message.next_multiple_of(4);
    Ok((bytes.len() >= total).then_some(Frame { message, total }))
}
