//! Stands in for SCTP on systems where it is not to be had: its values do not exist.

use super::connection::Slot;
use super::{BindError, Driver, Hosted};
use crate::proto::id::AssociationId;
use crate::proto::machine::{Channel, Locator};
use crate::tls::Tls;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// An SCTP socket that listens: there is none on this system.
#[derive(Debug)]
pub struct SctpSocket(Infallible);

impl SctpSocket {
    /// Its addresses.
    ///
    /// # Errors
    /// None.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        match self.0 {}
    }
}

/// Whether this host's kernel has SCTP: not on this system.
pub fn is_sctp_available() -> bool {
    false
}

/// Fails: there is no SCTP on this system.
///
/// # Errors
/// Always.
pub fn listen_sctp(addresses: &[SocketAddr]) -> Result<SctpSocket, BindError> {
    let address = addresses.first().copied();
    let address = address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    Err(BindError { address, source: unsupported() })
}

/// Fails: there is no SCTP on this system.
///
/// # Errors
/// Always.
pub async fn probe_sctp(_: &[SocketAddr]) -> io::Result<()> {
    Err(unsupported())
}

/// An association: there is none.
pub(crate) struct Call(Infallible);

impl Call {
    pub(crate) async fn connect(_: &[SocketAddr], _: u32, _: Option<&Tls>) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        match self.0 {}
    }

    pub(crate) async fn send(&mut self, _: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) async fn recv(&mut self) -> io::Result<Vec<u8>> {
        match self.0 {}
    }
}

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "there is no SCTP on this system")
}

pub(super) enum Endpoint {}

#[derive(Clone, Copy)]
pub(super) enum Pending {}

pub(super) struct Association {
    pub(super) assoc: AssociationId,
    pub(super) accepted: bool,
    pub(super) closing: bool,
    none: Infallible,
}

impl Association {
    pub(super) fn is_known(&self) -> bool {
        match self.none {}
    }
}

impl Slot {
    pub(super) fn set_pending(&mut self, pending: Pending) {
        match pending {}
    }
}

impl<H: Hosted> Driver<H> {
    pub(super) fn insert_endpoint(&mut self, _: Channel, socket: SctpSocket, _: bool) -> u32 {
        match socket.0 {}
    }

    pub(super) fn connect_sctp(&mut self, _: u32, _: Channel, _: &Locator) -> io::Result<Pending> {
        Err(unsupported())
    }

    pub(super) fn give_up_sctp(&mut self, pending: &Pending) {
        match *pending {}
    }

    pub(super) fn abort_sctp(&mut self, _: u32) {}
    pub(super) fn unlist_sctp(&mut self, _: &Association) {}
    pub(super) fn poll_endpoint(&mut self, _: u32) {}
    pub(super) fn poll_association(&mut self, _: u32) {}
    pub(super) fn transmit_sctp(&mut self, _: u32, _: u32, _: Vec<u8>) {}
    pub(super) fn flush_sctp(&mut self, _: u32) {}
    pub(super) fn finish_sctp(&mut self, _: u32) {}
    pub(super) fn end_lingering_sctp(&mut self, _: u32, _: AssociationId) {}
    pub(super) fn end_stuck(&mut self) {}
}
