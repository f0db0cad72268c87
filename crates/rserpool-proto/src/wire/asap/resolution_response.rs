//! Answers to resolutions, written element by element without being put together first.

use super::codec::{HANDLE_RESOLUTION_RESPONSE, encode_capabilities, encode_total};
use crate::id::PoolHandle;
use crate::wire::capability::Capabilities;
use crate::wire::error::TooLong;
use crate::wire::policy::PolicyParameter;
use crate::wire::pool_element::PoolElementRef;
use crate::wire::tlv::{MAX_MESSAGE_LEN, Writer};
use alloc::vec::Vec;

/// Appends an ASAP_HANDLE_RESOLUTION_RESPONSE to a buffer: as many elements as fit.
///
/// The bytes are those of the [`Message`](super::Message) with the same content. The buffer is the
/// only thing that may be allocated.
///
/// ```
/// # use rserpool_proto::id::{PeId, PoolHandle, ServerId};
/// # use rserpool_proto::wire::{asap::ResolutionResponseBuilder, policy::{PolicyNumber, PolicyParameter}};
/// # use rserpool_proto::wire::{pool_element::{ElementExtensions, PoolElement}, transport::Transport};
/// let handle: PoolHandle = "EchoPool".parse()?;
/// let policy = PolicyParameter::new(PolicyNumber(1), &[]);
/// # let element = PoolElement { id: PeId(1), home: ServerId(2), life: 30,
/// #     user_transport: Transport::Tcp(([127, 0, 0, 1], 7).into()), policy: policy.clone(),
/// #     asap_transport: None, extensions: ElementExtensions::default() };
/// let mut bytes = Vec::new();
/// let mut answer = ResolutionResponseBuilder::new(&mut bytes, &handle, Some(&policy));
/// let fitted = answer.push(element.parts());
/// assert!(fitted);
/// answer.finish(false, None, None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "without `finish` there is no message"]
pub struct ResolutionResponseBuilder<'a> {
    writer: Writer<'a>,
    elements: usize,
}

/// Room kept for Total and Capabilities.
const TRAILER_LEN: usize = 16;

/// Length of an element with one IPv6 address and two words of policy.
const USUAL_ELEMENT_LEN: usize = 64;

impl<'a> ResolutionResponseBuilder<'a> {
    /// What a buffer should have room for so that a usual answer need not move in it.
    pub fn usual_len(handle: &PoolHandle, elements: usize) -> usize {
        // Message header, handle, policy, trailer.
        let rest = 4 + 8 + handle.as_bytes().len() + 16 + TRAILER_LEN;
        (rest + elements * USUAL_ELEMENT_LEN).min(MAX_MESSAGE_LEN)
    }

    /// Begins a positive answer; the policy is left out if `None`.
    pub fn new(
        out: &'a mut Vec<u8>,
        handle: &PoolHandle,
        policy: Option<&PolicyParameter>,
    ) -> Self {
        let mut writer = Writer::message(out, HANDLE_RESOLUTION_RESPONSE, 0);
        handle.encode(&mut writer);
        if let Some(policy) = policy {
            policy.encode(&mut writer);
        }
        writer.set_limit(MAX_MESSAGE_LEN - TRAILER_LEN);
        Self { writer, elements: 0 }
    }

    /// Appends an element; `false` if it does not fit, and nothing has changed then.
    #[must_use]
    pub fn push(&mut self, element: PoolElementRef<'_>) -> bool {
        let before = self.writer.mark();
        element.encode(&mut self.writer);
        if self.writer.is_full() {
            self.writer.rewind(before);
            return false;
        }
        self.elements += 1;
        true
    }

    /// How many elements are in it.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Ends the answer, with the A bit and our extensions.
    ///
    /// # Errors
    /// If handle and policy alone are too long; the buffer is then as it was.
    pub fn finish(
        mut self,
        subscribed: bool,
        total: Option<u32>,
        capabilities: Option<Capabilities>,
    ) -> Result<(), TooLong> {
        self.writer.set_limit(MAX_MESSAGE_LEN);
        self.writer.set_flags(subscribed.into());
        encode_total(total, &mut self.writer);
        encode_capabilities(capabilities, &mut self.writer);
        self.writer.finish()
    }
}
