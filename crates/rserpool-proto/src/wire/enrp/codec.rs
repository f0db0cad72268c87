//! Bytes to ENRP messages and back.

use super::{Body, Message, PoolEntry, UpdateAction};
use crate::id::{PoolHandle, ServerId};
use crate::wire::capability::{Capabilities, decode_digest, encode_digest};
use crate::wire::error::{DecodeError, Reason, TooLong};
use crate::wire::operation_error::{decode_errors, encode_errors};
use crate::wire::pe_checksum::{decode_checksum, encode_checksum};
use crate::wire::pool_element::PoolElement;
use crate::wire::server_information::ServerInformation;
use crate::wire::tlv::{Reader, Writer};
use crate::wire::unknown::UnknownParameter;
use crate::wire::{Decoded, kind};
use alloc::boxed::Box;
use alloc::vec::Vec;

const PRESENCE: u8 = 0x01;
const HANDLE_TABLE_REQUEST: u8 = 0x02;
pub(super) const HANDLE_TABLE_RESPONSE: u8 = 0x03;
const HANDLE_UPDATE: u8 = 0x04;
const LIST_REQUEST: u8 = 0x05;
const LIST_RESPONSE: u8 = 0x06;
const INIT_TAKEOVER: u8 = 0x07;
const INIT_TAKEOVER_ACK: u8 = 0x08;
const TAKEOVER_SERVER: u8 = 0x09;
const ERROR: u8 = 0x0a;

/// Bit 0: R, W, and where the RFC has none, rsplib's "reply required" and "takeover suggested".
const FLAG: u8 = 0x01;
const SUSPECTED: u8 = 0x02;
/// M of a table response.
pub(super) const MORE: u8 = 0x02;

const ADD_PE: u16 = 0x0000;
const DEL_PE: u16 = 0x0001;

impl Message {
    /// Reads a message: all of `bytes`, with or without the last padding.
    ///
    /// # Errors
    /// If it is malformed or unknown, or has an unknown parameter that asks for it to be dropped;
    /// [`DecodeError::cause`] says what to answer.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (kind, flags, mut reader) = Reader::message(bytes)?;
        if !(PRESENCE..=ERROR).contains(&kind) {
            return Err(DecodeError { offset: 0, ..reader.error(Reason::UnknownMessage(kind)) });
        }
        Self::decode_known(kind, flags, &mut reader)
            .map_err(|error| DecodeError { silent: kind == ERROR, ..error })
            .map(|message| {
                let reports = if kind == ERROR { Vec::new() } else { reader.into_reports() };
                Decoded { message, reports }
            })
    }

    fn decode_known(kind: u8, flags: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sender = ServerId(reader.u32()?);
        let receiver = ServerId(reader.u32()?);
        let mut unknown = Vec::new();
        let body = match kind {
            PRESENCE => decode_presence(flags, reader, &mut unknown)?,
            HANDLE_TABLE_REQUEST => {
                let own_only = flags & FLAG != 0;
                let capabilities = decode_capabilities_alone(reader, &mut unknown)?;
                Body::HandleTableRequest { own_only, capabilities }
            }
            HANDLE_TABLE_RESPONSE => decode_table_response(flags, reader, &mut unknown)?,
            HANDLE_UPDATE => decode_handle_update(flags, reader, &mut unknown)?,
            LIST_REQUEST => {
                decode_nothing(reader, &mut unknown)?;
                Body::ListRequest
            }
            LIST_RESPONSE => decode_list_response(flags, reader, &mut unknown)?,
            INIT_TAKEOVER | INIT_TAKEOVER_ACK | TAKEOVER_SERVER => {
                let target = ServerId(reader.u32()?);
                decode_nothing(reader, &mut unknown)?;
                match kind {
                    INIT_TAKEOVER => Body::InitTakeover { target },
                    INIT_TAKEOVER_ACK => Body::InitTakeoverAck { target },
                    _ => Body::TakeoverServer { target },
                }
            }
            _ => decode_error(reader, &mut unknown)?,
        };
        Ok(Self { sender, receiver, body, unknown: unknown.into() })
    }

    /// Appends the message, padded, to `out`.
    ///
    /// # Errors
    /// If it would be too long; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let (kind, flags) = self.body.kind_and_flags();
        let mut writer = Writer::message(out, kind, flags);
        writer.u32(self.sender.0);
        writer.u32(self.receiver.0);
        self.body.encode(&mut writer);
        for parameter in &self.unknown {
            parameter.encode(&mut writer);
        }
        writer.finish()
    }
}

fn decode_presence(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let (mut checksum, mut server, mut digest, mut capabilities) = (None, None, None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::PE_CHECKSUM => reader.once(&mut checksum, decode_checksum)?,
            kind::SERVER_INFORMATION => reader.once(&mut server, ServerInformation::decode)?,
            kind::DIGEST => reader.once(&mut digest, decode_digest)?,
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::Presence { reply_required: flags & FLAG != 0, checksum, server, digest, capabilities })
}

fn decode_capabilities_alone(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Option<Capabilities>, DecodeError> {
    let mut capabilities = None;
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::CAPABILITIES => reader.once(&mut capabilities, Capabilities::decode)?,
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(capabilities)
}

fn decode_table_response(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let mut entries: Vec<PoolEntry> = Vec::new();
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => {
                check_last_entry(&entries, reader)?;
                let handle = PoolHandle::decode(reader)?;
                entries.push(PoolEntry { handle, elements: Vec::new() });
            }
            kind::POOL_ELEMENT => match entries.last_mut() {
                Some(entry) => entry.elements.push(PoolElement::decode(reader)?),
                None => return Err(reader.error(Reason::Missing("pool handle"))),
            },
            _ => reader.unknown(unknown)?,
        }
    }
    check_last_entry(&entries, reader)?;
    Ok(Body::HandleTableResponse { more: flags & MORE != 0, rejected: flags & FLAG != 0, entries })
}

/// RFC 5353 §2.3: each pool handle is followed by one pool element or more.
fn check_last_entry(entries: &[PoolEntry], reader: &Reader<'_>) -> Result<(), DecodeError> {
    match entries.last() {
        Some(entry) if entry.elements.is_empty() => {
            Err(reader.error(Reason::Missing("pool element")))
        }
        _ => Ok(()),
    }
}

fn decode_handle_update(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let action = match reader.u16()? {
        ADD_PE => UpdateAction::Add,
        DEL_PE => UpdateAction::Delete,
        _ => return Err(reader.invalid("the update action is neither ADD_PE nor DEL_PE")),
    };
    reader.u16()?; // reserved
    let (mut handle, mut element) = (None, None);
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::POOL_HANDLE => reader.once(&mut handle, PoolHandle::decode)?,
            kind::POOL_ELEMENT => {
                reader.once(&mut element, |reader| PoolElement::decode(reader).map(Box::new))?;
            }
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::HandleUpdate {
        takeover_suggested: flags & FLAG != 0,
        suspected: flags & SUSPECTED != 0,
        action,
        handle: reader.need(handle, "pool handle")?,
        element: reader.need(element, "pool element")?,
    })
}

fn decode_nothing(
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<(), DecodeError> {
    while !reader.is_empty() {
        reader.unknown(unknown)?;
    }
    Ok(())
}

fn decode_list_response(
    flags: u8,
    reader: &mut Reader<'_>,
    unknown: &mut Vec<UnknownParameter>,
) -> Result<Body, DecodeError> {
    let mut servers = Vec::new();
    while let Some(kind) = reader.peek()? {
        match kind {
            kind::SERVER_INFORMATION => servers.push(ServerInformation::decode(reader)?),
            _ => reader.unknown(unknown)?,
        }
    }
    Ok(Body::ListResponse { rejected: flags & FLAG != 0, servers })
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
    fn kind_and_flags(&self) -> (u8, u8) {
        let bit = |set: bool, flag: u8| if set { flag } else { 0 };
        match self {
            Self::Presence { reply_required, .. } => (PRESENCE, bit(*reply_required, FLAG)),
            Self::HandleTableRequest { own_only, .. } => {
                (HANDLE_TABLE_REQUEST, bit(*own_only, FLAG))
            }
            Self::HandleTableResponse { more, rejected, .. } => {
                (HANDLE_TABLE_RESPONSE, bit(*more, MORE) | bit(*rejected, FLAG))
            }
            Self::HandleUpdate { takeover_suggested, suspected, .. } => {
                (HANDLE_UPDATE, bit(*takeover_suggested, FLAG) | bit(*suspected, SUSPECTED))
            }
            Self::ListRequest => (LIST_REQUEST, 0),
            Self::ListResponse { rejected, .. } => (LIST_RESPONSE, bit(*rejected, FLAG)),
            Self::InitTakeover { .. } => (INIT_TAKEOVER, 0),
            Self::InitTakeoverAck { .. } => (INIT_TAKEOVER_ACK, 0),
            Self::TakeoverServer { .. } => (TAKEOVER_SERVER, 0),
            Self::Error { .. } => (ERROR, 0),
        }
    }

    /// Fields and parameters in the order of the RFC.
    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Presence { reply_required: _, checksum, server, digest, capabilities } => {
                // In front, as rsplib wants it: see ASAP's.
                if let Some(digest) = digest {
                    encode_digest(*digest, writer);
                }
                if let Some(capabilities) = capabilities {
                    capabilities.encode(writer);
                }
                if let Some(checksum) = checksum {
                    encode_checksum(*checksum, writer);
                }
                if let Some(server) = server {
                    server.encode(writer);
                }
            }
            Self::HandleTableRequest { own_only: _, capabilities } => {
                if let Some(capabilities) = capabilities {
                    capabilities.encode(writer);
                }
            }
            Self::HandleTableResponse { more: _, rejected: _, entries } => {
                for entry in entries {
                    entry.handle.encode(writer);
                    for element in &entry.elements {
                        element.encode(writer);
                    }
                }
            }
            Self::HandleUpdate { action, handle, element, .. } => {
                writer.u16(match action {
                    UpdateAction::Add => ADD_PE,
                    UpdateAction::Delete => DEL_PE,
                });
                writer.u16(0);
                handle.encode(writer);
                element.encode(writer);
            }
            Self::ListRequest => {}
            Self::ListResponse { rejected: _, servers } => {
                for server in servers {
                    server.encode(writer);
                }
            }
            Self::InitTakeover { target }
            | Self::InitTakeoverAck { target }
            | Self::TakeoverServer { target } => writer.u32(target.0),
            Self::Error { errors } => encode_errors(errors, writer),
        }
    }
}
