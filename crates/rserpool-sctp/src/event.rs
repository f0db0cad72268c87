//! What arrives on a socket: messages, and the kernel's notifications (RFC 6458 §6.1) taken apart.

use std::fmt;
use std::mem::offset_of;
use std::net::SocketAddr;

use crate::addr;
use crate::sys;

/// Names an association on its socket. The kernel gives each a number of its own, and the number stays
/// when the association is peeled off or restarted by its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(i32);

impl AssociationId {
    /// The number as the kernel uses it (`sctp_assoc_t`).
    pub const fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// The number as the kernel uses it (`sctp_assoc_t`).
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A user message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The association it came by.
    pub association: AssociationId,
    /// The address it came from, one of the peer's.
    pub from: SocketAddr,
    /// The stream, from 0.
    pub stream: u16,
    /// The payload protocol identifier, in host order: 0 if the peer gave none.
    pub ppid: u32,
    /// Whether it was sent without regard to order.
    pub unordered: bool,
    /// The bytes; never empty.
    pub data: Vec<u8>,
}

/// What arrives on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message, delivered only when its last part is there.
    Message(Message),
    /// A message longer than [`Config::max_message_size`](crate::Config::max_message_size) has been
    /// thrown away. The association goes on.
    Oversized {
        /// The association it came by.
        association: AssociationId,
        /// How long it was.
        length: usize,
    },
    /// The association stands: connected from here, or accepted (SCTP_COMM_UP).
    Up {
        /// The association.
        association: AssociationId,
        /// Streams towards the peer; send on 0 up to this, exclusive.
        outbound_streams: u16,
        /// Streams from the peer.
        inbound_streams: u16,
    },
    /// The peer has lost its state and begun anew under the same id (SCTP_RESTART): what it knew of
    /// earlier messages is gone, and messages under way may be lost.
    Restarted {
        /// The association.
        association: AssociationId,
        /// Streams towards the peer.
        outbound_streams: u16,
        /// Streams from the peer.
        inbound_streams: u16,
    },
    /// The association is gone: aborted by either side, or no path was left (SCTP_COMM_LOST).
    Lost {
        /// The association, which no longer exists.
        association: AssociationId,
        /// Cause code of RFC 9260 §3.3.10, for instance 12 for an abort that the other or this side asked
        /// for; 0 when the peer stopped answering.
        cause: u16,
        /// What the peer's ABORT gave as its reason, if it was the peer.
        reason: Vec<u8>,
    },
    /// The association has been closed gracefully (SCTP_SHUTDOWN_COMP).
    Closed {
        /// The association, which no longer exists.
        association: AssociationId,
    },
    /// An attempt to connect has failed: refused, or nobody answered (SCTP_CANT_STR_ASSOC).
    ConnectFailed {
        /// The association, which never stood.
        association: AssociationId,
        /// Cause code of RFC 9260 §3.3.10. 0 when nobody answered and also when nobody listens there:
        /// Linux does not tell the two apart on a one-to-many socket.
        cause: u16,
    },
    /// The peer closes and will send no more; [`Event::Closed`] follows (SCTP_SHUTDOWN_EVENT).
    PeerShutdown {
        /// The association.
        association: AssociationId,
    },
    /// One of the peer's addresses has changed its state (SCTP_PEER_ADDR_CHANGE).
    Path {
        /// The association.
        association: AssociationId,
        /// The peer's address.
        address: SocketAddr,
        /// What happened to it.
        change: PathChange,
    },
    /// A message, or a part of one, could not be delivered (SCTP_SEND_FAILED_EVENT). The kernel reports
    /// each chunk: a message that had been cut into three gives three of these. Those of a lost association
    /// come after its [`Event::Lost`].
    SendFailed {
        /// The association.
        association: AssociationId,
        /// Stream it was sent on.
        stream: u16,
        /// Payload protocol identifier it was sent with.
        ppid: u32,
        /// [`SendInfo::context`](crate::SendInfo::context) it was sent with.
        context: u32,
        /// Whether it had been on the wire, so that the peer may have it.
        sent: bool,
        /// Whether its message begins with it.
        first: bool,
        /// Whether its message ends with it.
        last: bool,
        /// Cause code of RFC 9260 §3.3.10.
        cause: u32,
        /// The bytes of the chunk.
        data: Vec<u8>,
    },
    /// A message has been given up in the middle (SCTP_PARTIAL_DELIVERY_EVENT); its parts are dropped.
    PartialDeliveryAborted {
        /// The association.
        association: AssociationId,
    },
    /// A notification this crate has no words for.
    Other {
        /// `sn_type` of RFC 6458 §6.1; 0 if not even that could be read.
        kind: u16,
    },
}

/// What happened to an address of the peer (RFC 6458 §6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathChange {
    /// Reachable again.
    Available,
    /// Not reachable: [`Config::path_max_retrans`](crate::Config::path_max_retrans) timeouts in a row.
    Unreachable,
    /// No longer an address of the peer.
    Removed,
    /// A new address of the peer.
    Added,
    /// Now the primary address.
    MadePrimary,
    /// Its first heartbeat has been answered: from now on it may take over.
    Confirmed,
    /// A timeout has occurred, another path is preferred.
    PotentiallyFailed,
    /// A state this crate has no words for.
    Unknown(i32),
}

impl Event {
    /// The association it is about; none for [`Event::Other`].
    pub fn association(&self) -> Option<AssociationId> {
        match self {
            Self::Message(message) => Some(message.association),
            Self::Oversized { association, .. }
            | Self::Up { association, .. }
            | Self::Restarted { association, .. }
            | Self::Lost { association, .. }
            | Self::Closed { association }
            | Self::ConnectFailed { association, .. }
            | Self::PeerShutdown { association }
            | Self::Path { association, .. }
            | Self::SendFailed { association, .. }
            | Self::PartialDeliveryAborted { association } => Some(*association),
            Self::Other { .. } => None,
        }
    }

    /// Whether the association does not exist any more.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Closed { .. } | Self::ConnectFailed { .. })
    }

    /// Reads a notification; none if it is cut short.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let kind = u16_at(bytes, 0)?;
        Some(match kind {
            sys::ASSOC_CHANGE => decode_assoc_change(bytes)?,
            sys::PEER_ADDR_CHANGE => decode_path_change(bytes)?,
            sys::SEND_FAILED_EVENT => decode_send_failed(bytes)?,
            sys::SHUTDOWN_EVENT => Self::PeerShutdown {
                association: id_at(bytes, offset_of!(sys::ShutdownEvent, assoc_id))?,
            },
            sys::PARTIAL_DELIVERY_EVENT => Self::PartialDeliveryAborted {
                association: id_at(bytes, offset_of!(sys::PartialDeliveryEvent, assoc_id))?,
            },
            kind => Self::Other { kind },
        })
    }
}

fn decode_assoc_change(bytes: &[u8]) -> Option<Event> {
    use sys::AssocChange as Change;
    let association = id_at(bytes, offset_of!(Change, assoc_id))?;
    // Linux leaves the cause code in network order here, as it stands in the packet.
    let cause = u16::from_be(u16_at(bytes, offset_of!(Change, error))?);
    let outbound_streams = u16_at(bytes, offset_of!(Change, outbound_streams))?;
    let inbound_streams = u16_at(bytes, offset_of!(Change, inbound_streams))?;
    Some(match u16_at(bytes, offset_of!(Change, state))? {
        sys::COMM_UP => Event::Up { association, outbound_streams, inbound_streams },
        sys::COMM_LOST => {
            let reason = abort_reason(bytes.get(size_of::<Change>()..)?);
            Event::Lost { association, cause, reason: reason.to_vec() }
        }
        sys::RESTART => Event::Restarted { association, outbound_streams, inbound_streams },
        sys::SHUTDOWN_COMP => Event::Closed { association },
        sys::CANT_STR_ASSOC => Event::ConnectFailed { association, cause },
        _ => Event::Other { kind: sys::ASSOC_CHANGE },
    })
}

/// The reason of an ABORT: the cause "user-initiated abort" is code 12, length, and the upper layer's
/// reason (RFC 9260 §3.3.10.12). RFC 6458 §6.1.1 has the chunk's header before it, Linux leaves it out.
fn abort_reason(info: &[u8]) -> &[u8] {
    let causes = if let [6, _, _, _, causes @ ..] = info { causes } else { info };
    match causes {
        [0, 12, high, low, reason @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low])).saturating_sub(4);
            reason.get(..length).unwrap_or(reason)
        }
        _ => &[],
    }
}

fn decode_path_change(bytes: &[u8]) -> Option<Event> {
    use sys::PaddrChange as Change;
    let (address, _) = addr::decode(bytes.get(offset_of!(Change, address)..)?)?;
    let change = match i32_at(bytes, offset_of!(Change, state))? {
        0 => PathChange::Available,
        1 => PathChange::Unreachable,
        2 => PathChange::Removed,
        3 => PathChange::Added,
        4 => PathChange::MadePrimary,
        5 => PathChange::Confirmed,
        6 => PathChange::PotentiallyFailed,
        state => PathChange::Unknown(state),
    };
    let association = id_at(bytes, offset_of!(Change, assoc_id))?;
    Some(Event::Path { association, address, change })
}

fn decode_send_failed(bytes: &[u8]) -> Option<Event> {
    use sys::{SendFailed, SndInfo};
    let info = offset_of!(SendFailed, info);
    Some(Event::SendFailed {
        association: id_at(bytes, offset_of!(SendFailed, assoc_id))?,
        stream: u16_at(bytes, info + offset_of!(SndInfo, stream))?,
        ppid: u32::from_be(u32_at(bytes, info + offset_of!(SndInfo, ppid))?),
        context: u32_at(bytes, info + offset_of!(SndInfo, context))?,
        sent: u16_at(bytes, offset_of!(SendFailed, flags))? == sys::DATA_SENT,
        // Those of the chunk (RFC 9260 §3.3.1).
        first: u16_at(bytes, info + offset_of!(SndInfo, flags))? & 2 != 0,
        last: u16_at(bytes, info + offset_of!(SndInfo, flags))? & 1 != 0,
        cause: u32_at(bytes, offset_of!(SendFailed, error))?,
        data: bytes.get(size_of::<SendFailed>()..)?.to_vec(),
    })
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_ne_bytes)
}

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    array_at(bytes, offset).map(i32::from_ne_bytes)
}

fn id_at(bytes: &[u8], offset: usize) -> Option<AssociationId> {
    i32_at(bytes, offset).map(AssociationId)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AssociationId = AssociationId(7);

    fn assoc_change(state: u16, error: u16, info: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(sys::ASSOC_CHANGE.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend((20 + info.len() as u32).to_ne_bytes());
        for word in [state, error.to_be(), 10, 11] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(7i32.to_ne_bytes());
        bytes.extend(info);
        bytes
    }

    #[test]
    fn association_changes_are_read() {
        // RFC 6458 §6.1.1.
        let up = Event::Up { association: ID, outbound_streams: 10, inbound_streams: 11 };
        assert_eq!(Event::decode(&assoc_change(sys::COMM_UP, 0, &[])), Some(up));
        let closed = Event::decode(&assoc_change(sys::SHUTDOWN_COMP, 0, &[])).unwrap();
        assert_eq!((closed.association(), closed.is_end()), (Some(ID), true));
        let abort = [6, 0, 0, 11, 0, 12, 0, 7, b'b', b'y', b'e', 0];
        let lost = Event::Lost { association: ID, cause: 12, reason: b"bye".to_vec() };
        for info in [&abort[..], &abort[4..]] {
            let event = Event::decode(&assoc_change(sys::COMM_LOST, 12, info));
            assert_eq!(event.as_ref(), Some(&lost));
        }
        let other = Event::Other { kind: sys::ASSOC_CHANGE };
        assert_eq!(Event::decode(&assoc_change(99, 0, &[])), Some(other));
    }

    #[test]
    fn a_path_change_is_read() {
        // RFC 6458 §6.1.2: the address is a whole sockaddr_storage, 128 bytes.
        let address: SocketAddr = "10.0.0.2:9".parse().unwrap();
        let mut bytes = Vec::new();
        bytes.extend(sys::PEER_ADDR_CHANGE.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(148u32.to_ne_bytes());
        bytes.extend(addr::encode_storage(&address));
        bytes.extend(1i32.to_ne_bytes());
        bytes.extend(0i32.to_ne_bytes());
        bytes.extend(7i32.to_ne_bytes());
        let path = Event::Path { association: ID, address, change: PathChange::Unreachable };
        assert_eq!(Event::decode(&bytes), Some(path));
    }

    #[test]
    fn a_failed_send_is_read_with_its_bytes() {
        // RFC 6458 §6.1.11; the identifier is in network order, the rest is not.
        let mut bytes = Vec::new();
        bytes.extend(sys::SEND_FAILED_EVENT.to_ne_bytes());
        bytes.extend(sys::DATA_SENT.to_ne_bytes());
        bytes.extend(35u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(3u16.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend(46u32.to_be_bytes());
        bytes.extend(5u32.to_ne_bytes());
        bytes.extend(0i32.to_ne_bytes());
        bytes.extend(7i32.to_ne_bytes());
        bytes.extend(b"abc");
        let failed = Event::SendFailed {
            association: ID,
            stream: 3,
            ppid: 46,
            context: 5,
            sent: true,
            first: true,
            last: false,
            cause: 0,
            data: b"abc".to_vec(),
        };
        assert_eq!(Event::decode(&bytes), Some(failed));
        for len in 0..32 {
            assert_eq!(Event::decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn what_has_no_words_is_other() {
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(&0x8009u16.to_ne_bytes());
        assert_eq!(Event::decode(&bytes), Some(Event::Other { kind: 0x8009 }));
        assert_eq!(Event::decode(&[]), None);
    }
}
