//! Reading and writing type-length-value parameters (RFC 5354 §2-§4): the one place where lengths
//! are calculated.
//!
//! ```text
//!   message    | type | flags | length |  fields  | parameter | parameter | ...
//!   parameter  |     type      | length |  fields and parameters  | 0-3 bytes of padding |
//! ```
//!
//! A length counts the header and the padding *between* nested parameters, but not the padding after
//! the last one (RFC 5354 §2). The Message Length does not count it either (RFC 5354 §4), but rsplib
//! counts it and so do we: the last padding is then part of the message for everybody. A reader
//! here takes both.
//!
//! A [`Writer`] cannot write a length that is not true: what would exceed the limit is not written
//! at all, and [`Writer::finish`] says so and takes everything back.

use super::error::{DecodeError, Extent, MAX_REPORT_LEN, Reason, TooLong, cut_for_report};
use super::kind::{self, UnknownAction};
use super::operation_error::ErrorCause;
use super::unknown::UnknownParameter;
use alloc::vec::Vec;

/// Longest message: the 16-bit length can say 65535, and all of them are multiples of 4.
pub const MAX_MESSAGE_LEN: usize = 65532;

/// Type, flags and length in front of a message.
pub const MESSAGE_HEADER_LEN: usize = 4;

/// Type and length in front of a parameter.
pub const PARAMETER_HEADER_LEN: usize = 4;

/// The next multiple of 4.
pub(super) fn padded(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// Reads a message from front to back; never beyond the parameter it is in.
///
/// Offsets in errors count from the start of the bytes given to [`Reader::new`].
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// End of the parameter we are in, or of the message; never beyond `bytes`.
    end: usize,
    /// The parameter we are in.
    parameter: Option<Extent>,
    /// Unknown parameters whose type asks for a report.
    reported: Vec<Extent>,
}

impl<'a> Reader<'a> {
    /// Reads bare parameters.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, end: bytes.len(), parameter: None, reported: Vec::new() }
    }

    /// Reads a message: its type, its flags, and a reader for what follows.
    ///
    /// # Errors
    /// If the Message Length is not that of `bytes`, the last padding counted or not.
    pub fn message(bytes: &'a [u8]) -> Result<(u8, u8, Self), DecodeError> {
        let mut reader = Self::new(bytes);
        let [kind, flags] = reader.array()?;
        let stated = usize::from(reader.u16()?);
        if stated < MESSAGE_HEADER_LEN || stated > bytes.len() || bytes.len() > padded(stated) {
            let reason = Reason::MessageLength { stated, actual: bytes.len() };
            return Err(DecodeError { offset: 2, ..reader.error(reason) });
        }
        reader.end = stated;
        Ok((kind, flags, reader))
    }

    /// How many bytes are left of the parameter or message.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Whether the parameter or message has been read to its end.
    pub fn is_empty(&self) -> bool {
        self.position == self.end
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        match self.bytes.get(self.position..).and_then(|rest| rest.get(..len)) {
            Some(bytes) if len <= left => {
                self.position += len;
                Ok(bytes)
            }
            _ => Err(self.error(Reason::Truncated { missing: len.saturating_sub(left) })),
        }
    }

    /// All bytes up to the end of the parameter or message.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.position..self.end).unwrap_or_default();
        self.position = self.end;
        rest
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// A 16-bit number.
    ///
    /// # Errors
    /// If too few bytes are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 32-bit number.
    ///
    /// # Errors
    /// If too few bytes are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A 64-bit number.
    ///
    /// # Errors
    /// If too few bytes are left.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The type of the next parameter, `None` at the end.
    ///
    /// # Errors
    /// If what is left is no parameter.
    #[inline]
    pub fn peek(&self) -> Result<Option<u16>, DecodeError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.next_extent().map(|extent| Some(extent.kind))
    }

    /// Reads the next parameter, which must be of the given type: `read` gets a reader that ends
    /// where the parameter ends, and must read all of it.
    ///
    /// # Errors
    /// Those of `read`, and if the next parameter is of another type or its length cannot be.
    #[inline]
    pub fn parameter<T>(
        &mut self,
        kind: u16,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.any_parameter(|found, reader| {
            if found != kind {
                return Err(reader.error(Reason::Misplaced(found)));
            }
            read(reader)
        })
    }

    /// Reads the next parameter, whatever its type.
    ///
    /// # Errors
    /// Those of `read`, and if its length cannot be.
    #[inline]
    pub fn any_parameter<T>(
        &mut self,
        read: impl FnOnce(u16, &mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let extent = self.next_extent()?;
        let outer = (self.end, self.parameter);
        self.position = extent.offset + PARAMETER_HEADER_LEN;
        self.end = extent.offset + extent.len;
        self.parameter = Some(extent);
        let value = read(extent.kind, self)?;
        if !self.is_empty() {
            return Err(self.error(Reason::Trailing { count: self.remaining() }));
        }
        (self.end, self.parameter) = outer;
        // RFC 5354 §2: after the last parameter the padding may be outside what we are in.
        self.position = self.end.min(extent.offset + padded(extent.len));
        Ok(value)
    }

    /// Reads a parameter that may come once into its place.
    ///
    /// # Errors
    /// Those of `read`, and if the place is taken.
    #[inline]
    pub fn once<T>(
        &mut self,
        place: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<(), DecodeError> {
        if place.is_some() {
            let extent = self.next_extent()?;
            return Err(self.error_about(extent, Reason::Duplicate(extent.kind)));
        }
        *place = Some(read(self)?);
        Ok(())
    }

    /// Reads a parameter that is not known in this place, as its type asks (RFC 5354 §3): keeps it,
    /// notes that it is to be reported, or gives the message up.
    ///
    /// # Errors
    /// If the type asks to give up, or if the parameter is one of RFC 5354 in the wrong place.
    pub fn unknown(&mut self, kept: &mut Vec<UnknownParameter>) -> Result<(), DecodeError> {
        let extent = self.next_extent()?;
        if kind::is_defined(extent.kind) {
            return Err(self.error_about(extent, Reason::Misplaced(extent.kind)));
        }
        match UnknownAction::of_parameter(extent.kind) {
            UnknownAction::Stop | UnknownAction::StopAndReport => {
                return Err(self.error_about(extent, Reason::UnknownParameter(extent.kind)));
            }
            UnknownAction::Skip => {}
            UnknownAction::SkipAndReport => self.reported.push(extent),
        }
        kept.push(self.any_parameter(|kind, reader| {
            Ok(UnknownParameter { kind, value: reader.rest().into() })
        })?);
        Ok(())
    }

    /// Takes a parameter out of its place.
    ///
    /// # Errors
    /// If it has not come.
    pub fn need<T>(&self, place: Option<T>, name: &'static str) -> Result<T, DecodeError> {
        place.ok_or_else(|| self.error(Reason::Missing(name)))
    }

    /// An error at this place.
    pub fn error(&self, reason: Reason) -> DecodeError {
        DecodeError { reason, offset: self.position, parameter: self.parameter, silent: false }
    }

    /// An error about a value that cannot be.
    pub fn invalid(&self, why: &'static str) -> DecodeError {
        self.error(Reason::Invalid(why))
    }

    /// Error causes for the unknown parameters that asked to be reported, together not longer than
    /// [`MAX_REPORT_LEN`].
    pub fn into_reports(self) -> Vec<ErrorCause> {
        let mut room = MAX_REPORT_LEN;
        let mut reports = Vec::new();
        for extent in self.reported {
            let bytes = self.bytes.get(extent.offset..).and_then(|rest| rest.get(..extent.len));
            let bytes = cut_for_report(bytes.unwrap_or_default());
            let Some(left) = room.checked_sub(padded(bytes.len()) + PARAMETER_HEADER_LEN) else {
                break;
            };
            room = left;
            reports.push(ErrorCause::UnrecognizedParameter(bytes.into()));
        }
        reports
    }

    /// Where the next parameter stands.
    #[inline]
    fn next_extent(&self) -> Result<Extent, DecodeError> {
        let left = self.bytes.get(self.position..self.end).unwrap_or_default();
        let Some((&[kind_high, kind_low, len_high, len_low], _)) = left.split_first_chunk() else {
            return Err(self.error(Reason::Truncated {
                missing: PARAMETER_HEADER_LEN.saturating_sub(left.len()),
            }));
        };
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        if len < PARAMETER_HEADER_LEN || len > left.len() {
            return Err(self.error(Reason::ParameterLength { stated: len, room: left.len() }));
        }
        Ok(Extent { kind, offset: self.position, len })
    }

    fn error_about(&self, extent: Extent, reason: Reason) -> DecodeError {
        DecodeError { reason, offset: extent.offset, parameter: Some(extent), silent: false }
    }
}

/// Appends a message, or bare parameters, to a buffer of the caller's.
///
/// What does not fit into the limit is not written, and neither is anything after it, until
/// [`Writer::rewind`] goes back to before it or [`Writer::finish`] takes all of it back.
#[derive(Debug)]
#[must_use = "without `finish` the lengths are not written"]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where in `out` the message begins.
    start: usize,
    /// Most bytes from `start`; a multiple of 4.
    limit: usize,
    /// Something did not fit.
    full: bool,
    /// A message header stands at `start`.
    is_message: bool,
}

/// A place in a [`Writer`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    len: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    /// Writes bare parameters.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, limit: MAX_MESSAGE_LEN, full: false, is_message: false }
    }

    /// Writes a message.
    pub fn message(out: &'a mut Vec<u8>, kind: u8, flags: u8) -> Self {
        let mut writer = Self::new(out);
        writer.is_message = true;
        writer.bytes(&[kind, flags, 0, 0]);
        writer
    }

    /// Bounds the message; never above [`MAX_MESSAGE_LEN`], and rounded down to a multiple of 4.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_MESSAGE_LEN) & !3;
    }

    /// Replaces the flags of the message.
    pub fn set_flags(&mut self, flags: u8) {
        if let Some(place) = self.out.get_mut(self.start + 1).filter(|_| self.is_message) {
            *place = flags;
        }
    }

    /// Appends bytes, unless they do not fit.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.full || bytes.len() > self.limit.saturating_sub(self.len()) {
            self.full = true;
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Appends a 16-bit number.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a 32-bit number.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a 64-bit number.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends a parameter around what `write` appends.
    #[inline]
    pub fn parameter(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        self.pad();
        let header = self.out.len();
        let [high, low] = kind.to_be_bytes();
        self.bytes(&[high, low, 0, 0]);
        write(self);
        // RFC 5354 §2: the padding between nested parameters has been written in front of the later
        // ones, the last padding has not.
        self.write_length(header);
    }

    /// Whether something did not fit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// This place, to go back to.
    pub fn mark(&self) -> Mark {
        Mark { len: self.out.len(), full: self.full }
    }

    /// Takes back what was written, or did not fit, since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.len.max(self.start));
        self.full = mark.full;
    }

    /// Writes the last padding and the length.
    ///
    /// # Errors
    /// [`TooLong`] if something did not fit; the buffer is then as it was at the beginning.
    pub fn finish(mut self) -> Result<(), TooLong> {
        self.pad();
        if self.is_message {
            self.write_length(self.start);
        }
        if self.full {
            self.out.truncate(self.start);
            return Err(TooLong { limit: self.limit });
        }
        Ok(())
    }

    #[inline]
    fn len(&self) -> usize {
        self.out.len() - self.start
    }

    #[inline]
    fn pad(&mut self) {
        let padding = padded(self.len()) - self.len();
        self.bytes([0; 3].get(..padding).unwrap_or_default());
    }

    /// Fills in the length of the message or parameter that begins at `header`.
    #[inline]
    fn write_length(&mut self, header: usize) {
        if self.full {
            return;
        }
        // Nothing is longer than `limit`, which is below 2^16.
        let length = (self.out.len() - header) as u16;
        if let Some(place) = self.out.get_mut(header + 2..header + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
