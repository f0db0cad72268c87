//! The Pool Element parameter (RFC 5354 §3.10).
//!
//! ```text
//!   |  0xa  | length |  element id (4) |  home registrar (4) |  registration life (4) |
//!   |  user transport parameter  |  policy parameter  |  ASAP transport parameter, SCTP  |
//!   |  extensions: stamp, ASAP over TCP, owner, TCP control  |  unknown parameters  |
//! ```
//!
//! The first transport is the user's, the second is ASAP's, wherever the policy stands.

use super::capability::{Owner, Stamp};
use super::error::DecodeError;
use super::kind;
use super::policy::{PolicyData, PolicyNumber, PolicyParameter};
use super::tlv::{PARAMETER_HEADER_LEN, Reader, Writer};
use super::transport::{SctpTransport, Transport, decode_tcp, encode_one};
use super::unknown::UnknownParameter;
use crate::id::{PeId, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;
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

/// Unit of the Registration Life field, which nothing on the wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeUnit {
    /// RFC 5354 §3.10.
    Seconds,
    /// rsplib.
    Milliseconds,
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

impl PoolElement {
    /// Longest Pool Element parameter accepted, in bytes: half of the longest message, so that what
    /// was accepted in one message fits into every other, whatever a registrar adds to it.
    pub const MAX_LEN: usize = 32 * 1024;

    /// Reads the parameter.
    ///
    /// # Errors
    /// If it is malformed or longer than [`PoolElement::MAX_LEN`], or user transport or policy are
    /// missing.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.parameter(kind::POOL_ELEMENT, |reader| {
            if PARAMETER_HEADER_LEN + reader.remaining() > Self::MAX_LEN {
                return Err(reader.invalid("the pool element has more than 32768 bytes"));
            }
            let id = PeId(reader.u32()?);
            let home = ServerId(reader.u32()?);
            let life = reader.u32()?.cast_signed();
            let mut user_transport = None;
            let mut policy = None;
            let mut asap_transport = None;
            let mut extensions = ElementExtensions::default();
            let mut tcp_control = None;
            let mut unknown = Vec::new();
            while let Some(kind) = reader.peek()? {
                match kind {
                    kind if Transport::is_transport(kind) && user_transport.is_none() => {
                        user_transport = Some(Transport::decode(reader)?);
                    }
                    kind::SCTP_TRANSPORT => {
                        reader.once(&mut asap_transport, SctpTransport::decode)?;
                    }
                    kind::POLICY => reader.once(&mut policy, PolicyParameter::decode)?,
                    kind::STAMP => reader.once(&mut extensions.stamp, Stamp::decode)?,
                    kind::ASAP_OVER_TCP => reader
                        .once(&mut extensions.asap_over_tcp, |reader| {
                            reader.parameter(kind::ASAP_OVER_TCP, decode_tcp)
                        })?,
                    kind::OWNER => reader.once(&mut extensions.owner, Owner::decode)?,
                    kind::TCP_CONTROL => reader.once(&mut tcp_control, |reader| {
                        reader.parameter(kind::TCP_CONTROL, |_| Ok(()))
                    })?,
                    _ => reader.unknown(&mut unknown)?,
                }
            }
            extensions.tcp_control = tcp_control.is_some();
            extensions.unknown = unknown.into();
            Ok(Self {
                id,
                home,
                life,
                user_transport: reader.need(user_transport, "user transport")?,
                policy: reader.need(policy, "policy")?,
                asap_transport,
                extensions,
            })
        })
    }

    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        self.parts().encode(writer);
    }

    /// The same, borrowed.
    pub fn parts(&self) -> PoolElementRef<'_> {
        PoolElementRef {
            id: self.id,
            home: self.home,
            life: self.life,
            user_transport: &self.user_transport,
            policy_number: self.policy.number,
            policy_data: &self.policy.data,
            asap_transport: self.asap_transport.as_ref(),
            stamp: self.extensions.stamp,
            asap_over_tcp: self.extensions.asap_over_tcp,
            owner: self.extensions.owner,
            tcp_control: self.extensions.tcp_control,
            unknown: &self.extensions.unknown,
        }
    }
}

/// A [`PoolElement`] in parts that may lie anywhere, to be written without being put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolElementRef<'a> {
    /// See [`PoolElement::id`].
    pub id: PeId,
    /// See [`PoolElement::home`].
    pub home: ServerId,
    /// See [`PoolElement::life`].
    pub life: i32,
    /// See [`PoolElement::user_transport`].
    pub user_transport: &'a Transport,
    /// Number of [`PoolElement::policy`].
    pub policy_number: PolicyNumber,
    /// Data of [`PoolElement::policy`].
    pub policy_data: &'a PolicyData,
    /// See [`PoolElement::asap_transport`].
    pub asap_transport: Option<&'a SctpTransport>,
    /// See [`ElementExtensions::stamp`].
    pub stamp: Option<Stamp>,
    /// See [`ElementExtensions::asap_over_tcp`].
    pub asap_over_tcp: Option<SocketAddr>,
    /// See [`ElementExtensions::owner`].
    pub owner: Option<Owner>,
    /// See [`ElementExtensions::tcp_control`].
    pub tcp_control: bool,
    /// See [`ElementExtensions::unknown`].
    pub unknown: &'a [UnknownParameter],
}

impl PoolElementRef<'_> {
    /// Writes the parameter.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.parameter(kind::POOL_ELEMENT, |writer| {
            writer.u32(self.id.0);
            writer.u32(self.home.0);
            writer.u32(self.life.cast_unsigned());
            self.user_transport.encode(writer);
            self.policy_data.encode(self.policy_number, writer);
            if let Some(transport) = self.asap_transport {
                transport.encode(writer);
            }
            if let Some(stamp) = self.stamp {
                stamp.encode(writer);
            }
            if let Some(address) = self.asap_over_tcp {
                writer.parameter(kind::ASAP_OVER_TCP, |writer| {
                    encode_one(kind::TCP_TRANSPORT, address, writer);
                });
            }
            if let Some(owner) = self.owner {
                owner.encode(writer);
            }
            if self.tcp_control {
                writer.parameter(kind::TCP_CONTROL, |_| ());
            }
            for parameter in self.unknown {
                parameter.encode(writer);
            }
        });
    }

    /// Without the extensions of this implementation, as strangers get it; what was unknown here
    /// stays.
    #[must_use]
    pub fn without_extensions(self) -> Self {
        Self { stamp: None, asap_over_tcp: None, owner: None, tcp_control: false, ..self }
    }

    /// The same, owned.
    pub fn to_element(&self) -> PoolElement {
        PoolElement {
            id: self.id,
            home: self.home,
            life: self.life,
            user_transport: self.user_transport.clone(),
            policy: PolicyParameter { number: self.policy_number, data: self.policy_data.clone() },
            asap_transport: self.asap_transport.cloned(),
            extensions: ElementExtensions {
                stamp: self.stamp,
                asap_over_tcp: self.asap_over_tcp,
                owner: self.owner,
                tcp_control: self.tcp_control,
                unknown: self.unknown.into(),
            },
        }
    }
}
