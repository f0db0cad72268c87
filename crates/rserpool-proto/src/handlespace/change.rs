//! What a mutation has done.

use super::Slot;
use crate::id::{PeId, PoolHandle, ServerId};
use crate::wire::pool_element::PoolElement;
use alloc::boxed::Box;

/// What has happened to one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In a word.
    pub kind: ChangeKind,
    /// Its pool; after [`ChangeKind::Removed`] it may be gone.
    pub handle: PoolHandle,
    /// Its identifier.
    pub id: PeId,
    /// Its slot, valid unless it is removed. A slot may be given to another element later.
    pub slot: Slot,
    /// Its home now, or when it was removed.
    pub home: ServerId,
    /// Its home before; `None` if it was not there.
    pub previous_home: Option<ServerId>,
    /// Whether users see a difference: an element more or less, another transport or policy.
    pub visible: bool,
    /// The element as it was, if it is removed.
    pub removed: Option<Box<PoolElement>>,
}

/// Kinds of [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there and has been replaced, renewed or rehomed.
    Updated,
    /// It is gone.
    Removed,
}
