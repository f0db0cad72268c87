//! What the reference implementation says to itself, as tshark reads it (`testdata/README.md`).

use super::operation_error::ErrorCause;
use super::policy::PolicyParameter;
use super::pool_element::PoolElement;
use super::server_information::ServerInformation;
use super::transport::{SctpTransport, Transport, TransportUse};
use super::{Decoded, asap, enrp};
use crate::id::PoolHandle;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

#[test]
fn captures_decode_encode_to_the_same_bytes_and_show_the_fields_tshark_reads() {
    let mut messages = 0;
    for (name, text) in [
        ("a-basic", include_str!("../../testdata/a-basic.txt")),
        ("b1-2pr-kill", include_str!("../../testdata/b1-2pr-kill.txt")),
        ("b2-3pr-kill", include_str!("../../testdata/b2-3pr-kill.txt")),
        ("b3-3pr-link", include_str!("../../testdata/b3-3pr-link.txt")),
    ] {
        let lines: Vec<&str> = text.lines().collect();
        for record in lines.chunks(3) {
            let [head, hex, fields] = record else { panic!("{name}: {record:?}") };
            let (protocol, frames) = head.split_once(" in frames ").unwrap();
            let bytes = from_hex(hex);
            let mut encoded = Vec::new();
            let shown = match protocol {
                "asap" => {
                    let Decoded { message, reports } = asap::Message::decode(&bytes)
                        .unwrap_or_else(|error| panic!("{name}, {head}: {error}"));
                    assert_eq!((&reports[..], &message.unknown[..]), (&[][..], &[][..]));
                    message.encode(&mut encoded).unwrap();
                    show_asap(&message)
                }
                _ => {
                    let Decoded { message, reports } = enrp::Message::decode(&bytes)
                        .unwrap_or_else(|error| panic!("{name}, {head}: {error}"));
                    assert_eq!((&reports[..], &message.unknown[..]), (&[][..], &[][..]));
                    message.encode(&mut encoded).unwrap();
                    show_enrp(&message)
                }
            };
            assert_eq!(encoded, bytes, "{name}, {head}");
            let read: Vec<&str> = fields.split(' ').filter(|field| is_content(field)).collect();
            assert_eq!(shown, read, "{name}, {head}");
            messages += frames.split(' ').count();
        }
    }
    assert_eq!(messages, 1105);
}

/// Lengths and padding are no content; encoding to the same bytes has shown them right.
fn is_content(field: &str) -> bool {
    let (name, _) = field.split_once('=').unwrap();
    !name.ends_with("_length") && name != "parameter_padding" && name != "reserved"
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[derive(Default)]
struct Shown(Vec<String>);

impl Shown {
    fn add(&mut self, name: &str, value: impl ToString) {
        self.0.push(format!("{name}={}", value.to_string()));
    }

    fn head(&mut self, kind: u8, bits: &[(&str, bool)]) {
        let flags = bits.iter().fold(0, |flags, (_, set)| flags << 1 | u8::from(*set));
        self.add("message_type", kind);
        self.add("message_flags", format!("{flags:#04x}"));
        for (name, set) in bits {
            self.add(name, u8::from(*set));
        }
    }

    fn parameter(&mut self, kind: u16) {
        self.add("parameter_type", format!("{kind:#06x}"));
    }

    fn number(&mut self, name: &str, value: u32) {
        self.add(name, format!("{value:#010x}"));
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(name, hex.join(":"));
    }

    fn handle(&mut self, handle: &PoolHandle) {
        self.parameter(0x9);
        self.bytes("pool_handle_pool_handle", handle.as_bytes());
    }

    fn id(&mut self, id: crate::id::PeId) {
        self.parameter(0xe);
        self.number("pe_identifier", id.0);
    }

    fn sctp(&mut self, transport: &SctpTransport) {
        self.parameter(0x4);
        self.add("sctp_transport_port", transport.port);
        self.add(
            "transport_use",
            match transport.transport_use {
                TransportUse::DataOnly => 0,
                TransportUse::DataPlusControl => 1,
            },
        );
        for address in transport.addresses.as_slice() {
            match address {
                IpAddr::V4(address) => {
                    self.parameter(0x1);
                    self.add("ipv4_address", address);
                }
                IpAddr::V6(address) => {
                    self.parameter(0x2);
                    self.add("ipv6_address", address);
                }
            }
        }
    }

    fn transport(&mut self, transport: &Transport) {
        match transport {
            Transport::Sctp(transport) => self.sctp(transport),
            other => panic!("not in the captures: {other}"),
        }
    }

    fn policy(&mut self, policy: &PolicyParameter) {
        self.parameter(0x8);
        self.number("pool_member_selection_policy_type", policy.number.0);
        match (policy.number.0, policy.words().unwrap()) {
            (1, []) => {}
            (4, [weight]) => self.add("pool_member_selection_policy_weight", weight),
            (0x4000_0001, [load]) => self.add("pool_member_selection_policy_load", load),
            other => panic!("not in the captures: {other:?}"),
        }
    }

    fn element(&mut self, element: &PoolElement) {
        self.parameter(0xa);
        self.number("pool_element_pe_identifier", element.id.0);
        self.number("pool_element_home_enrp_server_identifier", element.home.0);
        self.add("pool_element_registration_life", element.life);
        self.transport(&element.user_transport);
        self.policy(&element.policy);
        if let Some(transport) = &element.asap_transport {
            self.sctp(transport);
        }
        assert_eq!(element.extensions, Default::default());
    }

    fn server(&mut self, server: &ServerInformation) {
        self.parameter(0xb);
        self.number("server_information_server_identifier", server.id.0);
        self.transport(&server.transport);
        assert_eq!(server.unknown[..], []);
    }
}

fn show_asap(message: &asap::Message) -> Vec<String> {
    use asap::Body;
    const NO_ERRORS: [ErrorCause; 0] = [];
    let mut shown = Shown::default();
    match &message.body {
        Body::Registration { handle, element, capabilities: None, stamp: None } => {
            shown.head(1, &[]);
            shown.handle(handle);
            shown.element(element);
        }
        Body::Deregistration { handle, id, stamp: None } => {
            shown.head(2, &[]);
            shown.handle(handle);
            shown.id(*id);
        }
        Body::RegistrationResponse { rejected, handle, id, errors, capabilities: None } => {
            shown.head(3, &[("r_bit", *rejected)]);
            shown.handle(handle);
            shown.id(*id);
            assert_eq!(errors[..], NO_ERRORS);
        }
        Body::DeregistrationResponse { handle, id, errors } => {
            shown.head(4, &[]);
            shown.handle(handle);
            shown.id(*id);
            assert_eq!(errors[..], NO_ERRORS);
        }
        Body::HandleResolution { subscribe: false, handle, items, capabilities: None } => {
            shown.head(5, &[]);
            shown.handle(handle);
            if let Some(items) = items {
                shown.parameter(0x803f);
                shown.add("hropt_items", items);
            }
        }
        Body::HandleResolutionResponse(response) => {
            shown.head(6, &[]);
            assert!(!response.subscribed);
            shown.handle(&response.handle);
            shown.policy(response.policy.as_ref().unwrap());
            response.elements.iter().for_each(|element| shown.element(element));
            assert_eq!(response.errors[..], NO_ERRORS);
            assert_eq!((response.total, response.capabilities), (None, None));
        }
        Body::EndpointKeepAlive { home, server, handle, id } => {
            shown.head(7, &[("h_bit", *home)]);
            shown.number("server_identifier", server.0);
            shown.handle(handle);
            shown.id(id.unwrap());
        }
        Body::EndpointKeepAliveAck { handle, id } => {
            shown.head(8, &[]);
            shown.handle(handle);
            shown.id(*id);
        }
        Body::ServerAnnounce { server, transports } => {
            shown.head(10, &[]);
            shown.number("server_identifier", server.0);
            transports.iter().for_each(|transport| shown.transport(transport));
        }
        Body::Cookie(cookie) => {
            shown.head(11, &[]);
            shown.parameter(0xd);
            shown.bytes("cookie", cookie);
        }
        Body::CookieEcho(cookie) => {
            shown.head(12, &[]);
            shown.parameter(0xd);
            shown.bytes("cookie", cookie);
        }
        other => panic!("not in the captures: {other:?}"),
    }
    shown.0
}

fn show_enrp(message: &enrp::Message) -> Vec<String> {
    use enrp::Body;
    let mut shown = Shown::default();
    let (kind, bits) = match &message.body {
        Body::Presence { reply_required, .. } => (1, &[("r_bit", *reply_required)][..]),
        Body::HandleTableRequest { own_only, .. } => (2, &[("w_bit", *own_only)][..]),
        Body::HandleTableResponse { more, rejected, .. } => {
            (3, &[("m_bit", *more), ("r_bit", *rejected)][..])
        }
        Body::HandleUpdate { takeover_suggested, .. } => (4, &[("t_bit", *takeover_suggested)][..]),
        Body::ListRequest => (5, &[][..]),
        Body::ListResponse { rejected, .. } => (6, &[("r_bit", *rejected)][..]),
        Body::InitTakeover { .. } => (7, &[][..]),
        Body::InitTakeoverAck { .. } => (8, &[][..]),
        other => panic!("not in the captures: {other:?}"),
    };
    shown.head(kind, bits);
    shown.number("sender_servers_id", message.sender.0);
    shown.number("receiver_servers_id", message.receiver.0);
    match &message.body {
        Body::Presence { checksum, server, digest: None, capabilities: None, .. } => {
            shown.parameter(0xf);
            shown.add("pe_checksum", format!("{:#06x}", checksum.unwrap()));
            if let Some(server) = server {
                shown.server(server);
            }
        }
        Body::HandleTableResponse { entries, .. } => {
            for entry in entries {
                shown.handle(&entry.handle);
                entry.elements.iter().for_each(|element| shown.element(element));
            }
        }
        Body::HandleUpdate { action, handle, element, .. } => {
            shown.add(
                "update_action",
                match action {
                    enrp::UpdateAction::Add => 0,
                    enrp::UpdateAction::Delete => 1,
                },
            );
            shown.handle(handle);
            shown.element(element);
        }
        Body::ListResponse { servers, .. } => {
            servers.iter().for_each(|server| shown.server(server));
        }
        Body::InitTakeover { target } | Body::InitTakeoverAck { target } => {
            shown.number("target_servers_id", target.0);
        }
        Body::HandleTableRequest { capabilities: None, .. } | Body::ListRequest => {}
        other => panic!("not in the captures: {other:?}"),
    }
    shown.0
}
