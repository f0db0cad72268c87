//! The Pool Element parameter (RFC 5354 §3.10).

use super::capability::{Owner, Stamp};
use super::policy::PolicyParameter;
use super::transport::{SctpTransport, Transport};
use super::unknown::UnknownParameter;
use crate::id::{PeId, ServerId};
use alloc::boxed::Box;
use core::net::SocketAddr;

/// An element as it travels in registrations, answers and updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolElement {
    /// Its identifier within the pool.
    pub id: PeId,
    /// Its home registrar; [`ServerId::NONE`] if not known yet.
    pub home: ServerId,
    /// Registration life as it stands on the wire; its unit is the association's to say
    /// (seconds by RFC 5354 §3.10, milliseconds with rsplib), -1 is for ever.
    pub life: i32,
    /// Where users reach it.
    pub user_transport: Transport,
    /// The policy it asks for and its values.
    pub policy: PolicyParameter,
    /// Where registrars reach it; filled in by the home registrar (RFC 5352 §3.1 rule 4).
    pub asap_transport: Option<SctpTransport>,
    /// What the RFCs do not define.
    pub extensions: ElementExtensions,
}

/// What a Pool Element parameter carries beyond RFC 5354.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ElementExtensions {
    /// Order among the states of this element (0x9502).
    pub stamp: Option<Stamp>,
    /// Where the element's ASAP connection comes from, if it is TCP (0x9504).
    pub asap_over_tcp: Option<SocketAddr>,
    /// Who registered it (0x9505).
    pub owner: Option<Owner>,
    /// Whether it takes the control channel over TCP (0x9507).
    pub tcp_control: bool,
    /// Parameters not known here, in the order they came.
    pub unknown: Box<[UnknownParameter]>,
}
