//! Numbers of parameters and error causes; their top two bits say what to do with a stranger.

/// §3.1.
pub const IPV4_ADDRESS: u16 = 0x1;
/// §3.2.
pub const IPV6_ADDRESS: u16 = 0x2;
/// §3.3.
pub const DCCP_TRANSPORT: u16 = 0x3;
/// §3.4.
pub const SCTP_TRANSPORT: u16 = 0x4;
/// §3.5.
pub const TCP_TRANSPORT: u16 = 0x5;
/// §3.6.
pub const UDP_TRANSPORT: u16 = 0x6;
/// §3.7.
pub const UDP_LITE_TRANSPORT: u16 = 0x7;
/// §3.8.
pub const POLICY: u16 = 0x8;
/// §3.9.
pub const POOL_HANDLE: u16 = 0x9;
/// §3.10.
pub const POOL_ELEMENT: u16 = 0xa;
/// §3.11.
pub const SERVER_INFORMATION: u16 = 0xb;
/// §3.12.
pub const OPERATION_ERROR: u16 = 0xc;
/// §3.13.
pub const COOKIE: u16 = 0xd;
/// §3.14.
pub const PE_IDENTIFIER: u16 = 0xe;
/// §3.15.
pub const PE_CHECKSUM: u16 = 0xf;
/// §3.16.
pub const OPAQUE_TRANSPORT: u16 = 0x10;

/// How many elements a resolution asks for (draft-dreibholz-rserpool-asap-hropt, spoken by rsplib).
pub const HANDLE_RESOLUTION_OPTION: u16 = 0x803f;
/// Extension of ours: [`Capabilities`](super::capability::Capabilities).
pub const CAPABILITIES: u16 = 0x9501;
/// Extension of ours: [`Stamp`](super::capability::Stamp).
pub const STAMP: u16 = 0x9502;
/// Extension of ours: digest over all elements of the sender of a presence.
pub const DIGEST: u16 = 0x9503;
/// Extension of ours: where an element's ASAP connection over TCP comes from.
pub const ASAP_OVER_TCP: u16 = 0x9504;
/// Extension of ours: [`Owner`](super::capability::Owner).
pub const OWNER: u16 = 0x9505;
/// Extension of ours: how many elements the resolved pool has.
pub const TOTAL: u16 = 0x9506;
/// Extension of ours: the element takes the control channel over TCP.
pub const TCP_CONTROL: u16 = 0x9507;

/// What a receiver does with a type it does not know, by its top two bits (RFC 5354 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownAction {
    /// 00: drop the message.
    Stop,
    /// 01: drop the message and report the parameter.
    StopAndReport,
    /// 10: pass over the parameter.
    Skip,
    /// 11: pass over the parameter and report it.
    SkipAndReport,
}

impl UnknownAction {
    /// What the type says.
    pub fn of_parameter(kind: u16) -> Self {
        match kind >> 14 {
            0b00 => Self::Stop,
            0b01 => Self::StopAndReport,
            0b10 => Self::Skip,
            _ => Self::SkipAndReport,
        }
    }
}

/// Whether RFC 5354 §3 defines the parameter, be it in its place or not.
pub(super) fn is_defined(kind: u16) -> bool {
    (IPV4_ADDRESS..=OPAQUE_TRANSPORT).contains(&kind)
}
