//! A session's association of the kernel's SCTP.

mod bytes;

pub(super) use bytes::Bytes;

use crate::proto::machine::{CloseReason, Locator, TransportKind};
use crate::proto::session::Payload;
use crate::proto::session::user::Delivery;
use crate::proto::wire::transport::Addresses;
use rserpool_sctp as kernel;
use socket2::SockRef;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};

/// An association of a session: a socket of its own.
pub(super) struct Connection {
    association: kernel::Association,
    /// Messages for the kernel; `None` if one never comes back.
    output: VecDeque<(Payload, Option<Delivery>)>,
    queued: usize,
    /// Bytes received since the kernel was asked without having said that it has some; at first as if many.
    since_look: usize,
}

/// Messages sent or received before others have their turn.
const TURN: usize = 64;
/// Bytes received before they have.
const PORTION: usize = 32 * 1024;
/// Bytes received since the kernel had nothing more, after which a little is read before anything is sent: the window may be
/// closed.
const LOOK: usize = 32 * 1024;
/// Parts that are read then: two messages at least of those that fill the window, as the last one may go beyond it.
const FEW: usize = 4;
/// Messages given to the kernel at a time.
const BATCH: usize = 16;

/// Bytes of the receive buffer, which the kernel doubles and may cut (`net.core.rmem_max`): enough that
/// no message of 80 bytes or more is thrown away.
const RECEIVE_BUFFER: usize = 212_992;

fn config(limit: usize) -> kernel::Config {
    // Control messages may be as long as a message of ASAP.
    let max_message_size = limit.max(usize::from(u16::MAX));
    kernel::Config { max_message_size, ..kernel::Config::fast_failover() }
}

impl Connection {
    pub(super) async fn connect(to: &[SocketAddr], limit: usize) -> io::Result<Self> {
        kernel::Association::connect(to, &[], &config(limit)).await.map(Self::new)
    }

    fn new(association: kernel::Association) -> Self {
        // The window was half the buffer when the association began, and counts the bytes of messages,
        // while the buffer counts what they take in the kernel, too. Where small ones fill it first the
        // kernel throws away what was sent within the window, and it comes again after a timeout.
        let _ = SockRef::from(&association).set_recv_buffer_size(RECEIVE_BUFFER);
        Self { association, output: VecDeque::new(), queued: 0, since_look: LOOK + 1 }
    }

    /// As a stream of bytes, of which nothing has been said or heard yet.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::new(self.association)
    }

    pub(super) fn ends(&self) -> (Locator, Locator) {
        ends(&self.association)
    }

    pub(super) fn queue(&mut self, payload: Payload, delivery: Option<Delivery>) {
        self.queued += payload.bytes.len();
        self.output.push_back((payload, delivery));
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// See [`Link::poll`](super::link::Link::poll).
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        reading: bool,
        mut on_message: impl FnMut(u32, Cow<'_, [u8]>),
    ) -> Poll<Result<(), CloseReason>> {
        let (mut more, mut bytes) = (reading, 0);
        for _ in 0..TURN {
            if !reading || bytes > PORTION {
                break;
            }
            let Some(event) = self.next(context) else {
                more = false;
                break;
            };
            match event.map_err(|_| CloseReason::Lost).and_then(|event| self.take(event)) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    bytes += message.data.len();
                    on_message(message.ppid, message.data.into());
                }
                Err(reason) => return Poll::Ready(Err(reason)),
            }
        }
        if reading
            && self.since_look > LOOK
            && !self.output.is_empty()
            && let Err(reason) = self.open_window(&mut on_message)
        {
            return Poll::Ready(Err(reason));
        }
        let before = self.queued;
        if self.poll_send(context).is_err() {
            return Poll::Ready(Err(CloseReason::Lost));
        }
        if more || self.queued < before { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// What has come; `None` if the task is woken by more.
    fn next(&mut self, context: &mut Context<'_>) -> Option<io::Result<kernel::Event>> {
        if let Poll::Ready(event) = self.association.poll_recv(context) {
            return Some(event);
        }
        if self.since_look <= LOOK {
            return None;
        }
        // Who sends a lot has sent more meanwhile: to read costs less than to wait, and be woken.
        match self.association.try_recv() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.since_look = 0;
                None
            }
            event => Some(event),
        }
    }

    /// The message that has come, if it is one.
    fn take(&mut self, event: kernel::Event) -> Result<Option<kernel::Message>, CloseReason> {
        match event {
            kernel::Event::Message(message) => {
                self.since_look += message.data.len();
                Ok(Some(message))
            }
            // All that it has sent has come.
            kernel::Event::PeerShutdown { .. } | kernel::Event::Closed { .. } => {
                Err(CloseReason::Finished)
            }
            // The other side remembers nothing of the session.
            kernel::Event::Restarted { .. } => Err(CloseReason::Lost),
            kernel::Event::Oversized { .. } => Err(CloseReason::Malformed),
            event if event.is_end() => Err(CloseReason::Lost),
            _ => Ok(None),
        }
    }

    /// Reads a little, so that the window is open for what is sent next.
    fn open_window(
        &mut self,
        on_message: &mut impl FnMut(u32, Cow<'_, [u8]>),
    ) -> Result<(), CloseReason> {
        let mut events = Vec::new();
        match self.association.try_recv_few(FEW, &mut events) {
            Ok(_) => {}
            // It was not closed.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.since_look = 0,
            Err(_) => return Err(CloseReason::Lost),
        }
        for event in events {
            if let Some(message) = self.take(event)? {
                on_message(message.ppid, message.data.into());
            }
        }
        Ok(())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.output.is_empty() {
            let batch: Vec<_> =
                self.output.iter().take(BATCH).map(|message| self.outgoing(message)).collect();
            match self.association.poll_send_many(context, &batch) {
                Poll::Pending => return Ok(()),
                Poll::Ready(sent) => {
                    let sent = sent?;
                    for (payload, _) in self.output.drain(..sent) {
                        self.queued -= payload.bytes.len();
                    }
                }
            }
        }
        Ok(())
    }

    fn outgoing<'a>(
        &self,
        (payload, delivery): &'a (Payload, Option<Delivery>),
    ) -> kernel::Outgoing<'a> {
        kernel::Outgoing {
            association: self.association.id(),
            info: kernel::SendInfo {
                context: context(*delivery),
                ..kernel::SendInfo::ppid(payload.ppid)
            },
            data: &payload.bytes,
        }
    }

    /// See [`Link::take_back`](super::link::Link::take_back).
    pub(super) fn take_back(self) -> Vec<(Payload, Delivery)> {
        // It may have ended already.
        let _ = self.association.abort(b"");
        let (mut unsent, mut bytes) = (Vec::new(), None);
        // The kernel gives messages back in the parts it had cut them into, those it has not begun
        // whole.
        while let Ok(event) = self.association.try_recv() {
            let kernel::Event::SendFailed { sent, first, last, context, ppid, data, .. } = event
            else {
                continue;
            };
            if first {
                bytes = (!sent).then_some(data);
            } else if let Some(bytes) = &mut bytes {
                bytes.extend(data);
            }
            if last && let (Some(bytes), Some(delivery)) = (bytes.take(), delivery(context)) {
                unsent.push((Payload { ppid, bytes }, delivery));
            }
        }
        let queued = self.output.into_iter();
        unsent.extend(queued.filter_map(|(payload, delivery)| Some((payload, delivery?))));
        unsent
    }

    /// Sends what is queued and closes.
    pub(super) async fn finish(self) -> io::Result<()> {
        for message in &self.output {
            let kernel::Outgoing { data, info, .. } = self.outgoing(message);
            self.association.send(data, info).await?;
        }
        self.association.close().await
    }
}

/// Both ends of an association, as a machine wants to know them.
pub(super) fn ends(association: &kernel::Association) -> (Locator, Locator) {
    let end = |addresses: io::Result<Vec<SocketAddr>>| {
        let addresses = addresses.unwrap_or_default();
        let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        let nowhere = || Addresses::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Locator {
            transport: TransportKind::Sctp,
            addresses: Addresses::new(&ips).unwrap_or_else(nowhere),
            port: addresses.first().map_or(0, SocketAddr::port),
        }
    };
    (end(association.local_addrs()), end(association.peer_addrs()))
}

/// What the kernel keeps with a message, and gives back with it.
fn context(delivery: Option<Delivery>) -> u32 {
    match delivery {
        None => 0,
        Some(Delivery::Failover) => 1,
        Some(Delivery::NoFailover) => 2,
    }
}

fn delivery(context: u32) -> Option<Delivery> {
    match context {
        1 => Some(Delivery::Failover),
        2 => Some(Delivery::NoFailover),
        _ => None,
    }
}

/// Where sessions over SCTP are accepted.
pub(super) struct Listener(kernel::Listener);

impl Listener {
    pub(super) fn bind(on: &[SocketAddr], limit: usize) -> io::Result<Self> {
        kernel::Listener::bind(on, &config(limit)).map(Self)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let addresses = self.0.local_addrs()?;
        addresses.first().copied().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    pub(super) async fn accept(&self) -> io::Result<Connection> {
        self.0.accept().await.map(Connection::new)
    }
}
