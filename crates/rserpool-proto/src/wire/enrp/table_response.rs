//! Parts of the handlespace table, written element by element without being put together first.

use super::codec::{HANDLE_TABLE_RESPONSE, MORE};
use crate::id::{PoolHandle, ServerId};
use crate::wire::error::TooLong;
use crate::wire::pool_element::PoolElementRef;
use crate::wire::tlv::Writer;
use alloc::vec::Vec;

/// Appends an ENRP_HANDLE_TABLE_RESPONSE to a buffer: as many elements as fit.
///
/// The bytes are those of the [`Message`](super::Message) with the same content. The buffer and one
/// handle are the only things that may be allocated.
#[derive(Debug)]
#[must_use = "without `finish` there is no message"]
pub struct TableResponseBuilder<'a> {
    writer: Writer<'a>,
    handle: Option<PoolHandle>,
    elements: usize,
}

impl<'a> TableResponseBuilder<'a> {
    /// Begins a part of the table of at most `limit` bytes, or of the longest message possible.
    pub fn new(out: &'a mut Vec<u8>, sender: ServerId, receiver: ServerId, limit: usize) -> Self {
        let mut writer = Writer::message(out, HANDLE_TABLE_RESPONSE, 0);
        writer.u32(sender.0);
        writer.u32(receiver.0);
        writer.set_limit(limit);
        Self { writer, handle: None, elements: 0 }
    }

    /// Appends an element, and its pool's handle if the last element was of another pool; `false`
    /// if they do not fit, and nothing has changed then.
    #[must_use]
    pub fn push(&mut self, handle: &PoolHandle, element: PoolElementRef<'_>) -> bool {
        let before = self.writer.mark();
        let is_new_pool = self.handle.as_ref() != Some(handle);
        if is_new_pool {
            handle.encode(&mut self.writer);
        }
        element.encode(&mut self.writer);
        if self.writer.is_full() {
            self.writer.rewind(before);
            return false;
        }
        if is_new_pool {
            self.handle = Some(handle.clone());
        }
        self.elements += 1;
        true
    }

    /// How many elements are in it.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Ends this part; `more` is the M flag.
    ///
    /// # Errors
    /// If the limit is below the 12 bytes of an empty part; the buffer is then as it was.
    pub fn finish(mut self, more: bool) -> Result<(), TooLong> {
        self.writer.set_flags(if more { MORE } else { 0 });
        self.writer.finish()
    }
}
