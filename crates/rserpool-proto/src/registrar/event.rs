//! What a registrar tells its owner; drivers log it and count it.

use super::rates::MessageKind;
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Identity, Locator};
use crate::time::Duration;
use crate::wire::DecodeError;
use crate::wire::operation_error::ErrorCause;

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An element has joined a pool.
    ElementRegistered {
        /// Its pool.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
    },
    /// A registration was refused; nothing has changed.
    RegistrationRefused {
        /// The pool asked for.
        handle: PoolHandle,
        /// The element.
        id: PeId,
        /// Why.
        cause: ErrorCause,
    },
    /// An element is gone from its pool.
    ElementRemoved {
        /// Its pool.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
        /// Why.
        reason: RemovalReason,
    },
    /// Several users cannot reach an element that answers us: it is ranked last.
    ElementSuspected {
        /// Its pool.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
    },
    /// A suspected element has answered often enough to be ranked as before.
    ElementCleared {
        /// Its pool.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
    },
    /// An element's policy is defined by another text at its home than here: it is kept, but not
    /// selected.
    OtherPolicyText {
        /// Its pool.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
        /// Its home.
        home: ServerId,
        /// Hash of the text there; 0 if there is none.
        theirs: u32,
    },
    /// So many elements have fallen silent at once that it may be us who are cut off: they are ranked
    /// last, and peers are asked to look after them.
    MassSilence {
        /// How many, so far.
        elements: usize,
    },
    /// So many elements are owned that keep-alives go out less often than configured.
    KeepAliveStretched {
        /// The interval they go out at instead.
        interval: Duration,
    },
    /// This registrar was suspended: it probes its elements anew before it removes any.
    Resumed {
        /// How late it woke.
        late: Duration,
    },
    /// In a secured scope somebody wanted to register or end an element that belongs to somebody
    /// else, or a registrar to replace one; it was refused, and nothing has changed. Some are told, up to
    /// 10 a second; all are counted in [`Counters::trespasses`](super::Counters::trespasses).
    Trespass {
        /// Where it was tried.
        assoc: AssociationId,
        /// From there.
        from: Locator,
        /// By whoever has proved to be this.
        identity: Identity,
        /// The pool of the element.
        handle: PoolHandle,
        /// Its identifier.
        id: PeId,
        /// How many were not told since the last one that was.
        untold: u64,
    },
    /// Something from outside was ignored or refused without an answer; nothing has changed.
    Ignored {
        /// Where it came from.
        assoc: AssociationId,
        /// Why.
        reason: Ignored,
    },
    /// Elements and users are served from now on.
    InService {
        /// No other registrar has answered.
        alone: bool,
    },
    /// Another registrar has spoken for the first time.
    PeerFound {
        /// Which.
        server: ServerId,
    },
    /// Another registrar is gone and was taken over, by us or by a third one.
    PeerLost {
        /// Which.
        server: ServerId,
    },
    /// A peer is dead; the others are asked who takes it over.
    TakeoverStarted {
        /// The dead one.
        target: ServerId,
        /// How many elements it has.
        elements: usize,
    },
    /// The peer that was thought dead has spoken.
    TakeoverCancelled {
        /// The living one.
        target: ServerId,
    },
    /// The elements of a dead peer are ours.
    TakenOver {
        /// The dead one.
        target: ServerId,
        /// How many elements it had.
        elements: usize,
    },
    /// A peer's elements were not known as it has them; now they are.
    Audited {
        /// Which.
        server: ServerId,
        /// How many were known here that it does not have.
        swept: usize,
    },
    /// Everybody was sent elsewhere, and nobody new is accepted: it can end.
    Drained,
}

/// Why an element was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemovalReason {
    /// It asked for it.
    Deregistered,
    /// Its registration life ran out.
    Expired,
    /// It did not answer a keep-alive.
    KeepAliveMissed,
    /// Its association broke or was closed.
    AssociationLost,
    /// Its registrar died, and it did not show itself to the one that took over.
    Unreachable,
}

/// Why something from outside was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It was not a message.
    Malformed(DecodeError),
    /// A payload protocol identifier that is not the channel's.
    WrongProtocol {
        /// What it was.
        ppid: u32,
    },
    /// A message that a registrar does not take.
    Unexpected,
    /// An answer to a keep-alive that was not asked of that association.
    UnaskedAck,
    /// A report about an element that is not known here.
    UnknownElement,
    /// More of a kind than the [`Limits`](super::Limits) let one association, or all of one
    /// identity or address, have in a second: some are answered, others not. Told once a second of an
    /// association, and counted in [`Counters::over_rate`](super::Counters::over_rate).
    TooMany(MessageKind),
    /// So many more, and for so long, that the association was closed.
    Flood(MessageKind),
    /// A user wants to watch more than [`Limits::watches_per_association`](super::Limits) or
    /// [`Limits::watches`](super::Limits): it was answered, and will not be told of changes.
    TooManyWatches,
    /// What it asked for does not fit into a message.
    AnswerTooLong,
    /// The authority does not permit it.
    NotPermitted,
    /// A registrar speaks for an element that is not its own.
    ForeignElement,
    /// A peer's element does not fit into a limit of the handlespace.
    NoRoom,
    /// A message in the name of another registrar than the one that speaks there.
    ForeignSender,
    /// Another registrar has our identifier.
    OwnServerId,
    /// More registrars than [`Limits::peers`](super::Limits::peers).
    TooManyPeers,
    /// More associations than [`Limits::associations`](super::Limits::associations).
    TooManyAssociations,
    /// The association said nothing for [`Limits::idle_timeout`](super::Limits::idle_timeout).
    Idle,
    /// The other side reported an error.
    Error(alloc::boxed::Box<[ErrorCause]>),
}

impl core::fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Deregistered => "deregistered",
            Self::Expired => "registration expired",
            Self::KeepAliveMissed => "no answer to a keep-alive",
            Self::AssociationLost => "association lost",
            Self::Unreachable => "not found after its registrar died",
        })
    }
}

impl core::fmt::Display for Ignored {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "not a message: {error}"),
            Self::WrongProtocol { ppid } => {
                write!(f, "payload protocol {ppid} is not the channel's")
            }
            Self::Unexpected => f.write_str("not a message for a registrar"),
            Self::UnaskedAck => f.write_str("an answer to a keep-alive that was not asked of it"),
            Self::UnknownElement => f.write_str("a report about an element that is not known"),
            Self::TooMany(kind) => write!(f, "too many {kind}"),
            Self::Flood(kind) => write!(f, "a flood of {kind}: closed"),
            Self::TooManyWatches => f.write_str("too many watches"),
            Self::AnswerTooLong => f.write_str("the answer would not fit into a message"),
            Self::NotPermitted => f.write_str("not permitted"),
            Self::ForeignElement => f.write_str("an element that is not the sender's"),
            Self::NoRoom => f.write_str("no room for a peer's element"),
            Self::ForeignSender => f.write_str("another registrar speaks on this association"),
            Self::OwnServerId => f.write_str("another registrar has our identifier"),
            Self::TooManyPeers => f.write_str("too many registrars"),
            Self::TooManyAssociations => f.write_str("too many associations"),
            Self::Idle => f.write_str("idle"),
            Self::Error(errors) => {
                f.write_str("the other side reports")?;
                errors.iter().try_for_each(|error| write!(f, " [{error}]"))
            }
        }
    }
}
