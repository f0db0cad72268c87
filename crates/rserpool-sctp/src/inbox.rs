//! Puts parts together to messages, and keeps what has been read and not yet asked for.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::addr;
use crate::event::{AssociationId, Event, Message};
use crate::sys::{self, Arrival};

/// A message is delivered when its last part is there (MSG_EOR). Parts of messages of different
/// associations may come in turns (RFC 6458 §8.1.20, level 1), those of one association do not.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// At most one batch, and what came along from where an association was peeled off.
    ready: VecDeque<Event>,
    /// Begun and not ended, at most one per association and each bounded by `max_message_size`.
    partial: BTreeMap<AssociationId, Partial>,
    /// The begin of a notification that is longer than a slot: it holds a chunk that failed.
    notification: Vec<u8>,
    max_message_size: usize,
}

#[derive(Debug)]
struct Partial {
    message: Message,
    /// Bytes seen. More than are kept once the limit is passed.
    length: usize,
}

impl Inbox {
    pub(crate) fn new(max_message_size: usize) -> Self {
        Self { max_message_size, ..Self::default() }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.ready.drain(..)
    }

    /// Takes out everything of one association, for a socket of its own.
    pub(crate) fn split_off(&mut self, association: AssociationId) -> Self {
        let theirs = |event: &Event| event.association() == Some(association);
        let (split, kept) = self.ready.drain(..).partition(theirs);
        self.ready = kept;
        let partial = self.partial.remove_entry(&association).into_iter().collect();
        Self { ready: split, partial, ..Self::new(self.max_message_size) }
    }

    pub(crate) fn push(&mut self, arrival: Arrival<'_>) {
        let last = arrival.flags & libc::MSG_EOR != 0;
        if arrival.flags & sys::MSG_NOTIFICATION != 0 {
            self.notification.extend_from_slice(arrival.data);
            if last {
                let unreadable = Event::Other { kind: 0 };
                let event = Event::decode(&self.notification).unwrap_or(unreadable);
                self.notification.clear();
                self.push_notification(event);
            }
        } else if let Some(info) = arrival.info {
            let association = AssociationId::from_raw(info.assoc_id);
            let partial = self.partial.entry(association).or_insert_with(|| {
                let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
                Partial {
                    message: Message {
                        association,
                        from: addr::decode(arrival.from).map_or(unspecified, |(from, _)| from),
                        stream: info.stream,
                        // In network order by convention (RFC 6458 §5.3.5 says "opaque"); everything
                        // else here is in host order.
                        ppid: u32::from_be(info.ppid),
                        unordered: info.flags & sys::UNORDERED != 0,
                        data: Vec::new(),
                    },
                    length: 0,
                }
            });
            partial.length = partial.length.saturating_add(arrival.data.len());
            if partial.length <= self.max_message_size {
                if last {
                    partial.message.data.reserve_exact(arrival.data.len());
                }
                partial.message.data.extend_from_slice(arrival.data);
            } else {
                partial.message.data = Vec::new();
            }
            if last && let Some(Partial { message, length }) = self.partial.remove(&association) {
                self.ready.push_back(if length <= self.max_message_size {
                    Event::Message(message)
                } else {
                    Event::Oversized { association, length }
                });
            }
        } else {
            // Not to be expected. Said rather than passed over: a reader that got nothing reads again.
            self.ready.push_back(Event::Other { kind: 0 });
        }
    }

    fn push_notification(&mut self, event: Event) {
        // What was begun before any of these will not be ended.
        if let Event::Lost { association, .. }
        | Event::Closed { association }
        | Event::Restarted { association, .. }
        | Event::PartialDeliveryAborted { association } = event
        {
            self.partial.remove(&association);
        }
        self.ready.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Plain, RcvInfo};

    fn part(inbox: &mut Inbox, assoc_id: i32, data: &[u8], flags: i32) {
        let ppid = 46u32.to_be();
        let info = RcvInfo { stream: 3, flags: 1, ppid, assoc_id, ..RcvInfo::zero() };
        let from = addr::encode_storage(&"10.0.0.1:7".parse().unwrap());
        inbox.push(Arrival { data, flags, from: &from, info: Some(info) });
    }

    fn shutdown(association: i32) -> Vec<u8> {
        let mut bytes = sys::SHUTDOWN_EVENT.to_ne_bytes().to_vec();
        bytes.extend([0, 0, 12, 0, 0, 0]);
        bytes.extend(association.to_ne_bytes());
        bytes
    }

    fn texts(inbox: &mut Inbox) -> Vec<(i32, String)> {
        let text = |event| match event {
            Event::Message(message) => {
                (message.association.as_raw(), String::from_utf8(message.data).unwrap())
            }
            event => (event.association().unwrap().as_raw(), String::new()),
        };
        inbox.drain().map(text).collect()
    }

    #[test]
    fn parts_of_two_associations_are_put_together_by_association() {
        let mut inbox = Inbox::new(100);
        part(&mut inbox, 3, b"he", 0);
        part(&mut inbox, 4, b"wor", 0);
        part(&mut inbox, 3, b"llo", libc::MSG_EOR);
        part(&mut inbox, 4, b"ld", libc::MSG_EOR);
        assert_eq!(texts(&mut inbox), [(3, "hello".into()), (4, "world".into())]);
        part(&mut inbox, 3, b"x", libc::MSG_EOR);
        let Some(Event::Message(message)) = inbox.pop() else { panic!("no message") };
        assert_eq!((message.ppid, message.stream, message.unordered), (46, 3, true));
        assert_eq!(message.from, "10.0.0.1:7".parse().unwrap());
    }

    #[test]
    fn a_message_beyond_the_limit_is_counted_and_not_kept() {
        let mut inbox = Inbox::new(4);
        part(&mut inbox, 3, b"1234", libc::MSG_EOR);
        part(&mut inbox, 3, b"1234", 0);
        part(&mut inbox, 3, b"5", 0);
        assert!(inbox.partial.values().all(|partial| partial.message.data.is_empty()));
        part(&mut inbox, 3, b"6", libc::MSG_EOR);
        part(&mut inbox, 3, b"next", libc::MSG_EOR);
        assert!(matches!(inbox.pop(), Some(Event::Message(_))));
        let association = AssociationId::from_raw(3);
        assert_eq!(inbox.pop(), Some(Event::Oversized { association, length: 6 }));
        assert_eq!(texts(&mut inbox), [(3, "next".into())]);
    }

    #[test]
    fn what_belongs_to_a_peeled_off_association_goes_with_it_in_order() {
        let mut inbox = Inbox::new(100);
        part(&mut inbox, 3, b"a", libc::MSG_EOR);
        part(&mut inbox, 4, b"b", libc::MSG_EOR);
        part(&mut inbox, 3, b"c", libc::MSG_EOR);
        part(&mut inbox, 3, b"begun ", 0);
        let mut split = inbox.split_off(AssociationId::from_raw(3));
        part(&mut split, 3, b"and ended", libc::MSG_EOR);
        let theirs = [(3, "a".into()), (3, "c".into()), (3, "begun and ended".into())];
        assert_eq!(texts(&mut split), theirs);
        assert_eq!(texts(&mut inbox), [(4, "b".into())]);
    }

    #[test]
    fn a_notification_in_parts_is_read_when_it_is_whole() {
        let mut inbox = Inbox::new(100);
        let bytes = shutdown(9);
        let (from, info) = (&[][..], None);
        let flags = sys::MSG_NOTIFICATION;
        inbox.push(Arrival { data: &bytes[..5], flags, from, info });
        assert_eq!(inbox.pop(), None);
        inbox.push(Arrival { data: &bytes[5..], flags: flags | libc::MSG_EOR, from, info });
        let association = AssociationId::from_raw(9);
        assert_eq!(inbox.pop(), Some(Event::PeerShutdown { association }));
    }
}
