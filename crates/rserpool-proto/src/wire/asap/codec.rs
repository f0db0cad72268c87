//! Bytes to ASAP messages and back.

use super::{Body, HandleResolutionResponse, Message};
use crate::id::{PeId, PoolHandle, ServerId};
use crate::wire::capability::{Capabilities, Stamp, decode_u32, encode_u32};
use crate::wire::cookie::{decode_cookie, encode_cookie};
use crate::wire::error::{DecodeError, Reason, TooLong};
use crate::wire::operation_error::{decode_errors, encode_errors};
use crate::wire::policy::PolicyParameter;
use crate::wire::pool_element::PoolElement;
use crate::wire::tlv::{Reader, Writer};
use crate::wire::transport::Transport;
use crate::wire::unknown::UnknownParameter;
use crate::wire::{Decoded, kind};
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(crate) const REGISTRATION: u8 = 0x01;
pub(crate) const DEREGISTRATION: u8 = 0x02;
const REGISTRATION_RESPONSE: u8 = 0x03;
const DEREGISTRATION_RESPONSE: u8 = 0x04;
pub(crate) const HANDLE_RESOLUTION: u8 = 0x05;
pub(super) const HANDLE_RESOLUTION_RESPONSE: u8 = 0x06;
const ENDPOINT_KEEP_ALIVE: u8 = 0x07;
const ENDPOINT_KEEP_ALIVE_ACK: u8 = 0x08;
pub(crate) const ENDPOINT_UNREACHABLE: u8 = 0x09;
const SERVER_ANNOUNCE: u8 = 0x0a;
const COOKIE: u8 = 0x0b;
const COOKIE_ECHO: u8 = 0x0c;
const BUSINESS_CARD: u8 = 0x0d;
const ERROR: u8 = 0x0e;

/// R, S, A and H: the one flag a message can have.
const FLAG: u8 = 0x01;

impl Message {
    /// Reads a message: all of `bytes`, with or without the last padding.
    ///
    /// # Errors
    /// If it is malformed or unknown, or has an unknown parameter that asks for it to be dropped;
    /// [`DecodeError::cause`] says what to answer.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (kind, flags, mut reader) = Reader::message(bytes)?;
        let mut unknown = Vec::new();
        let body = match kind {
            REGISTRATION => decode_registration(&mut reader, &mut unknown),
            DEREGISTRATION => decode_deregistration(&mut reader, &mut unknown),
            REGISTRATION_RESPONSE => decode_registration_response(flags, &mut reader, &mut unknown),
            DEREGISTRATION_RESPONSE => decode_deregistration_response(&mut reader, &mut unknown),
            HANDLE_RESOLUTION => decode_handle_resolution(flags, &mut reader, &mut unknown),
            HANDLE_RESOLUTION_RESPONSE => {
                decode_handle_resolution_response(flags, &mut reader, &mut unknown)
            }
            ENDPOINT_KEEP_ALIVE => decode_keep_alive(flags, &mut reader, &mut unknown),
            ENDPOINT_KEEP_ALIVE_ACK => decode_names(&mut reader, &mut unknown)
                .map(|(handle, id)| Body::EndpointKeepAliveAck { handle, id }),
            ENDPOINT_UNREACHABLE => decode_names(&mut reader, &mut unknown)
                .map(|(handle, id)| Body::EndpointUnreachable { handle, id }),
            SERVER_ANNOUNCE => decode_server_announce(&mut reader, &mut unknown),
            COOKIE => decode_cookie_alone(&mut reader, &mut unknown).map(Body::Cookie),
            COOKIE_ECHO => decode_cookie_alone(&mut reader, &mut unknown).map(Body::CookieEcho),
            BUSINESS_CARD => decode_business_card(&mut reader, &mut unknown),
            ERROR => decode_error(&mut reader, &mut unknown)
                .map_err(|error| DecodeError { silent: true, ..error }),
            _ => Err(DecodeError { offset: 0, ..reader.error(Reason::UnknownMessage(kind)) }),
        }?;
        let reports = if kind == ERROR { Vec::new() } else { reader.into_reports() };
        Ok(Decoded { message: Self { body, unknown: unknown.into() }, reports })
    }

    /// Appends the message, padded, to `out`.
    ///
    /// # Errors
    /// If it would be too long; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let (kind, flag) = self.body.kind_and_flag();
        let mut writer = Writer::message(out, kind, if flag { FLAG } else { 0 });
        self.body.encode(&mut writer);
        for parameter in &self.unknown {
            parameter.encode(&mut writer);
        }
        writer.finish()
    }
}

fn decode_registration(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut element, mut capabilities, mut stamp) = (None, None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::POOL_ELEMENT => {
                reader.once(&mut element, |reader| PoolElement::decode(reader).map(Box::new))?;
            }
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            kind::STAMP => reader.once(&mut stamp, Stamp::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::Registration {
        handle: reader.need(handle, "pool handle")?,
        element: reader.need(element, "pool element")?,
        capabilities,
        stamp,
    })
}

fn decode_deregistration(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut id, mut stamp) = (None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::PE_IDENTIFIER => reader.once(&mut id, PeId::decode)?,
            kind::STAMP => reader.once(&mut stamp, Stamp::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::Deregistration {
        handle: reader.need(handle, "pool handle")?,
        id: reader.need(id, "PE identifier")?,
        stamp,
    })
}

fn decode_registration_response(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut id, mut errors, mut capabilities) = (None, None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::PE_IDENTIFIER => reader.once(&mut id, PeId::decode)?,
            kind::OPERATION_ERROR => reader.once(&mut errors, decode_errors)?,
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::RegistrationResponse {
        rejected: flags & FLAG != 0,
        handle: reader.need(handle, "pool handle")?,
        id: reader.need(id, "PE identifier")?,
        errors: errors.unwrap_or_default(),
        capabilities,
    })
}

fn decode_deregistration_response(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut id, mut errors) = (None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::PE_IDENTIFIER => reader.once(&mut id, PeId::decode)?,
            kind::OPERATION_ERROR => reader.once(&mut errors, decode_errors)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::DeregistrationResponse {
        handle: reader.need(handle, "pool handle")?,
        id: reader.need(id, "PE identifier")?,
        errors: errors.unwrap_or_default(),
    })
}

fn decode_handle_resolution(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut items, mut capabilities) = (None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::HANDLE_RESOLUTION_OPTION => {
                reader.once(&mut items, |reader| decode_u32(kind, reader))?;
            }
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::HandleResolution {
        subscribe: flags & FLAG != 0,
        handle: reader.need(handle, "pool handle")?,
        items,
        capabilities,
    })
}

fn decode_handle_resolution_response(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut handle, mut policy, mut errors) = (None, None, None);
    let (mut total, mut capabilities) = (None, None);
    let mut elements = Vec::new();
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::POLICY => reader.once(&mut policy, PolicyParameter::decode)?,
            kind::POOL_ELEMENT => elements.push(PoolElement::decode(reader)?),
            kind::OPERATION_ERROR => reader.once(&mut errors, decode_errors)?,
            kind::TOTAL => reader.once(&mut total, |reader| decode_u32(kind, reader))?,
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::HandleResolutionResponse(Box::new(HandleResolutionResponse {
        subscribed: flags & FLAG != 0,
        handle: reader.need(handle, "pool handle")?,
        policy,
        elements,
        errors: errors.unwrap_or_default(),
        total,
        capabilities,
    })))
}

fn decode_keep_alive(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let server = ServerId(reader.u32()?);
    let (mut handle, mut id) = (None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::PE_IDENTIFIER => reader.once(&mut id, PeId::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::EndpointKeepAlive {
        home: flags & FLAG != 0,
        server,
        handle: reader.need(handle, "pool handle")?,
        id,
    })
}

/// The pool handle and the PE identifier of messages that have nothing else.
fn decode_names(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<(PoolHandle, PeId), DecodeError> {
    let (mut handle, mut id) = (None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::PE_IDENTIFIER => reader.once(&mut id, PeId::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok((reader.need(handle, "pool handle")?, reader.need(id, "PE identifier")?))
}

fn decode_server_announce(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let server = ServerId(reader.u32()?);
    let mut transports = Vec::new();
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::SCTP_TRANSPORT | kind::TCP_TRANSPORT => {
                transports.push(Transport::decode(reader)?);
            }
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::ServerAnnounce { server, transports })
}

fn decode_cookie_alone(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Box<[u8]>, DecodeError> {
    let mut cookie = None;
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::COOKIE => reader.once(&mut cookie, decode_cookie)?,
            _ => reader.unknown(unknown)?,
        }
    }
    reader.need(cookie, "cookie")
}

fn decode_business_card(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let mut handle = None;
    let mut elements = Vec::new();
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::POOL_ELEMENT => elements.push(PoolElement::decode(reader)?),
            _ => reader.unknown(unknown)?,
        }
    }
    let handle = reader.need(handle, "pool handle")?;
    if elements.is_empty() {
        return Err(reader.error(Reason::Missing("pool element")));
    }
    Ok(Body::BusinessCard { handle, elements })
}

fn decode_error(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let mut errors = None;
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::OPERATION_ERROR => reader.once(&mut errors, decode_errors)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::Error { errors: reader.need(errors, "operation error")? })
}

impl Body {
    fn kind_and_flag(&self) -> (u8, bool) {
        match self {
            Self::Registration { .. } => (REGISTRATION, false),
            Self::Deregistration { .. } => (DEREGISTRATION, false),
            Self::RegistrationResponse { rejected, .. } => (REGISTRATION_RESPONSE, *rejected),
            Self::DeregistrationResponse { .. } => (DEREGISTRATION_RESPONSE, false),
            Self::HandleResolution { subscribe, .. } => (HANDLE_RESOLUTION, *subscribe),
            Self::HandleResolutionResponse(response) => {
                (HANDLE_RESOLUTION_RESPONSE, response.subscribed)
            }
            Self::EndpointKeepAlive { home, .. } => (ENDPOINT_KEEP_ALIVE, *home),
            Self::EndpointKeepAliveAck { .. } => (ENDPOINT_KEEP_ALIVE_ACK, false),
            Self::EndpointUnreachable { .. } => (ENDPOINT_UNREACHABLE, false),
            Self::ServerAnnounce { .. } => (SERVER_ANNOUNCE, false),
            Self::Cookie(_) => (COOKIE, false),
            Self::CookieEcho(_) => (COOKIE_ECHO, false),
            Self::BusinessCard { .. } => (BUSINESS_CARD, false),
            Self::Error { .. } => (ERROR, false),
        }
    }

    /// Fields and parameters in the order of the RFC. Extensions of requests stand before them:
    /// rsplib skips what it does not know in front of a parameter it waits for, but takes a message
    /// for invalid that goes on after the last.
    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Registration { handle, element, capabilities, stamp } => {
                encode_capabilities(*capabilities, writer);
                if let Some(stamp) = stamp {
                    stamp.encode(writer);
                }
                handle.encode(writer);
                element.encode(writer);
            }
            Self::Deregistration { handle, id, stamp } => {
                if let Some(stamp) = stamp {
                    stamp.encode(writer);
                }
                handle.encode(writer);
                id.encode(writer);
            }
            Self::RegistrationResponse { rejected: _, handle, id, errors, capabilities } => {
                handle.encode(writer);
                id.encode(writer);
                encode_errors(errors, writer);
                encode_capabilities(*capabilities, writer);
            }
            Self::DeregistrationResponse { handle, id, errors } => {
                handle.encode(writer);
                id.encode(writer);
                encode_errors(errors, writer);
            }
            Self::HandleResolution { subscribe: _, handle, items, capabilities } => {
                encode_capabilities(*capabilities, writer);
                handle.encode(writer);
                if let Some(items) = items {
                    encode_u32(kind::HANDLE_RESOLUTION_OPTION, *items, writer);
                }
            }
            Self::HandleResolutionResponse(response) => response.encode(writer),
            Self::EndpointKeepAlive { home: _, server, handle, id } => {
                writer.u32(server.0);
                handle.encode(writer);
                if let Some(id) = id {
                    id.encode(writer);
                }
            }
            Self::EndpointKeepAliveAck { handle, id }
            | Self::EndpointUnreachable { handle, id } => {
                handle.encode(writer);
                id.encode(writer);
            }
            Self::ServerAnnounce { server, transports } => {
                writer.u32(server.0);
                for transport in transports {
                    transport.encode(writer);
                }
            }
            Self::Cookie(cookie) | Self::CookieEcho(cookie) => encode_cookie(cookie, writer),
            Self::BusinessCard { handle, elements } => {
                handle.encode(writer);
                for element in elements {
                    element.encode(writer);
                }
            }
            Self::Error { errors } => encode_errors(errors, writer),
        }
    }
}

impl HandleResolutionResponse {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.handle.encode(writer);
        if let Some(policy) = &self.policy {
            policy.encode(writer);
        }
        for element in &self.elements {
            element.encode(writer);
        }
        encode_errors(&self.errors, writer);
        encode_total(self.total, writer);
        encode_capabilities(self.capabilities, writer);
    }
}

pub(super) fn encode_total(total: Option<u32>, writer: &mut Writer<'_>) {
    if let Some(total) = total {
        encode_u32(kind::TOTAL, total, writer);
    }
}

pub(super) fn encode_capabilities(capabilities: Option<Capabilities>, writer: &mut Writer<'_>) {
    if let Some(capabilities) = capabilities {
        capabilities.encode(writer);
    }
}
