//! Associations between nodes: SCTP and TCP as the machines see them.
//!
//! Both are reliable and keep order and the bounds of messages. What a bad link does to them shows as
//! time: a lost packet is sent again, a cut holds everything up, and what is held up too long breaks
//! the association on the side that waits, while the other side knows nothing: it is half open until
//! it sends something itself and is told that nobody is there.

use crate::net::NodeId;
use crate::rng::Random;
use rserpool_proto::id::AssociationId;
use rserpool_proto::machine::{AttemptId, Channel, TransportKind};
use std::collections::VecDeque;

/// Time that what was sent may stay unacknowledged, which also bounds connecting.
pub(crate) const USER_TIMEOUT: u64 = 10_000_000;
/// Time after which a silent association is asked for a sign of life by the transport.
pub(crate) const TRANSPORT_KEEPALIVE: u64 = 60_000_000;
/// Time until an unanswered SYN is sent again.
pub(crate) const SYN_AGAIN: u64 = 1_000_000;
/// Most messages that wait for a link; more break the association.
pub(crate) const MAX_STALLED: usize = 4096;

/// An association, or an attempt at one.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) kind: TransportKind,
    pub(crate) channel: Channel,
    /// It is a session's, and no machine's.
    pub(crate) session: bool,
    /// Its number among those of its kind.
    pub(crate) number: u64,
    /// The one that opens it, and the other one.
    pub(crate) ends: [End; 2],
}

/// One end, and the direction from it to the other.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) state: State,
    /// When the last thing sent arrives.
    pub(crate) last_arrival: u64,
    /// When the last thing arrives that takes longer than on a good link.
    pub(crate) late_until: u64,
    /// Nothing arrives before this: what was held up comes first.
    pub(crate) hold: u64,
    pub(crate) stalled: VecDeque<Item>,
    /// Since when something is not acknowledged.
    pub(crate) trouble: Option<u64>,
    pub(crate) random: Random,
    /// Messages of a session that have not arrived.
    pub(crate) in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The accepting end before the attempt has come.
    Awaited,
    /// The opening end before it is accepted.
    Opening(AttemptId),
    Open,
    Gone,
}

/// What travels.
#[derive(Debug)]
pub(crate) enum Item {
    Syn,
    SynAck,
    Message { ppid: u32, bytes: Vec<u8> },
    Fin,
}

impl End {
    pub(crate) fn new(node: NodeId, state: State, random: Random) -> Self {
        Self {
            node,
            state,
            last_arrival: 0,
            late_until: 0,
            hold: 0,
            stalled: VecDeque::new(),
            trouble: None,
            random,
            in_flight: 0,
        }
    }
}

/// The name of an end towards its machine.
pub(crate) fn assoc_of(conn: usize, end: usize) -> AssociationId {
    AssociationId((conn as u64) << 1 | end as u64)
}

/// The association and the end that a machine means.
pub(crate) fn end_of(assoc: AssociationId) -> (usize, usize) {
    ((assoc.0 >> 1) as usize, (assoc.0 & 1) as usize)
}
