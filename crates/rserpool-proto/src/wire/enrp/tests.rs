use super::*;
use crate::id::PeId;
use crate::wire::arbitrary;
use crate::wire::capability::Stamp;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::ElementExtensions;
use crate::wire::transport::{SctpTransport, Transport};
use crate::wire::{DecodeError, Decoded, Reason};
use alloc::vec;
use hex_literal::hex;
use proptest::prelude::*;

#[track_caller]
fn both_ways(bytes: &[u8], body: Body) {
    let message = Message::new(ServerId(0x11), ServerId(0x22), body);
    let decoded = Message::decode(bytes).unwrap();
    assert_eq!(decoded.message, message);
    assert_eq!(decoded.reports, []);
    let mut out = vec![0xee];
    message.encode(&mut out).unwrap();
    assert_eq!(&out[1..], bytes);
}

fn error(bytes: &[u8]) -> DecodeError {
    Message::decode(bytes).unwrap_err()
}

fn handle(name: &str) -> PoolHandle {
    name.parse().unwrap()
}

fn element(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId(0x11),
        life: 30,
        user_transport: Transport::Tcp("10.0.0.21:7".parse().unwrap()),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    }
}

fn server() -> ServerInformation {
    let transport = SctpTransport::new("10.0.0.11:9901".parse().unwrap()).into();
    ServerInformation { id: ServerId(0x11), transport, unknown: [].into() }
}

#[test]
fn a_presence_has_a_checksum_the_server_and_extensions_all_optional() {
    // RFC 5353 §2.1.
    both_ways(
        &hex!(
            "01 01 002c 00000011 00000022  000f 0006 9230 0000
               000b 0018 00000011  0004 0010 26ad 0000 0001 0008 0a00000b"
        ),
        Body::Presence {
            reply_required: true,
            checksum: Some(0x9230),
            server: Some(server()),
            digest: None,
            capabilities: None,
        },
    );
    both_ways(
        &hex!("01 00 0020 00000011 00000022  9503 000c 0000000000000009  9501 0008 00000003"),
        Body::Presence {
            reply_required: false,
            checksum: None,
            server: None,
            digest: Some(9),
            capabilities: Some(Capabilities(3)),
        },
    );
}

#[test]
fn the_padding_of_a_checksum_at_the_end_may_be_counted_or_not() {
    // RFC 5353 §2 and RFC 5354 §4 do not count it, rsplib does.
    let counted = hex!("01 00 0014 00000011 00000022  000f 0006 9230 0000");
    let not_counted = hex!("01 00 0012 00000011 00000022  000f 0006 9230 0000");
    let expected = Message::decode(&counted).unwrap();
    assert_eq!(Message::decode(&not_counted).unwrap(), expected);
    assert_eq!(Message::decode(&not_counted[..18]).unwrap(), expected);
}

#[test]
fn a_table_request_has_the_w_flag() {
    // RFC 5353 §2.2.
    both_ways(
        &hex!("02 01 000c 00000011 00000022"),
        Body::HandleTableRequest { own_only: true, capabilities: None },
    );
    both_ways(
        &hex!("02 00 0014 00000011 00000022  9501 0008 00000003"),
        Body::HandleTableRequest { own_only: false, capabilities: Some(Capabilities(3)) },
    );
}

#[test]
fn a_table_response_has_pools_with_their_elements() {
    // RFC 5353 §2.3.
    both_ways(
        &hex!(
            "03 02 0094 00000011 00000022
               0009 0005 41 000000
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001
               000a 0028 00000022 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001
               0009 0005 42 000000
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
        ),
        Body::HandleTableResponse {
            more: true,
            rejected: false,
            entries: vec![
                PoolEntry { handle: handle("A"), elements: vec![element(0x21), element(0x22)] },
                PoolEntry { handle: handle("B"), elements: vec![element(0x21)] },
            ],
        },
    );
    both_ways(
        &hex!("03 01 000c 00000011 00000022"),
        Body::HandleTableResponse { more: false, rejected: true, entries: vec![] },
    );
}

#[test]
fn a_pool_in_a_table_begins_with_its_handle_and_has_an_element() {
    // RFC 5353 §2.3.
    let no_element = hex!("03 00 0014 00000011 00000022  0009 0005 41 000000");
    assert_eq!(error(&no_element).reason, Reason::Missing("pool element"));
    let no_handle = hex!(
        "03 00 0034 00000011 00000022
         000a 0028 00000021 00000011 0000001e
           0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
    );
    assert_eq!(error(&no_handle).reason, Reason::Missing("pool handle"));
}

#[test]
fn a_handle_update_adds_or_deletes_an_element() {
    // RFC 5353 §2.4; bit 0 of the flags is rsplib's.
    both_ways(
        &hex!(
            "04 00 0050 00000011 00000022 0000 0000  0009 0005 41 000000
               000a 0038 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001
                 9502 0010 0000000000000007 00000001"
        ),
        Body::HandleUpdate {
            takeover_suggested: false,
            suspected: false,
            action: UpdateAction::Add,
            handle: handle("A"),
            element: Box::new(PoolElement {
                extensions: ElementExtensions {
                    stamp: Some(Stamp { seq: 7, moves: 1 }),
                    ..Default::default()
                },
                ..element(0x21)
            }),
        },
    );
    both_ways(
        &hex!(
            "04 03 0040 00000011 00000022 0001 0000  0009 0005 41 000000
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
        ),
        Body::HandleUpdate {
            takeover_suggested: true,
            suspected: true,
            action: UpdateAction::Delete,
            handle: handle("A"),
            element: Box::new(element(0x21)),
        },
    );
    let neither = hex!("04 01 0010 00000011 00000022 0002 0000");
    let error = error(&neither);
    assert!(matches!(error.reason, Reason::Invalid(_)));
    assert_eq!(error.cause(&neither), Some(ErrorCause::Unspecified));
}

#[test]
fn the_reserved_field_of_an_update_is_ignored() {
    // RFC 5353 §2.4.
    let bytes = hex!(
        "04 00 0040 00000011 00000022 0001 ffff  0009 0005 41 000000
         000a 0028 00000021 00000011 0000001e
           0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
    );
    let mut out = Vec::new();
    Message::decode(&bytes).unwrap().message.encode(&mut out).unwrap();
    assert_eq!(out[12..16], hex!("0001 0000"));
}

#[test]
fn list_requests_and_responses_carry_servers() {
    // RFC 5353 §2.5, §2.6.
    both_ways(&hex!("05 00 000c 00000011 00000022"), Body::ListRequest);
    both_ways(
        &hex!(
            "06 00 0024 00000011 00000022
               000b 0018 00000011  0004 0010 26ad 0000 0001 0008 0a00000b"
        ),
        Body::ListResponse { rejected: false, servers: vec![server()] },
    );
    both_ways(
        &hex!("06 01 000c 00000011 00000022"),
        Body::ListResponse { rejected: true, servers: vec![] },
    );
}

#[test]
fn takeover_messages_name_their_target() {
    // RFC 5353 §2.7-§2.9.
    let target = ServerId(0x33);
    both_ways(&hex!("07 00 0010 00000011 00000022 00000033"), Body::InitTakeover { target });
    both_ways(&hex!("08 00 0010 00000011 00000022 00000033"), Body::InitTakeoverAck { target });
    both_ways(&hex!("09 00 0010 00000011 00000022 00000033"), Body::TakeoverServer { target });
    let none = hex!("09 00 000c 00000011 00000022");
    assert_eq!(error(&none).reason, Reason::Truncated { missing: 4 });
}

#[test]
fn an_error_has_one_cause_or_more_and_is_never_answered() {
    // RFC 5353 §2.10.
    both_ways(
        &hex!("0a 00 0014 00000011 00000022  000c 0008  0006 0004"),
        Body::Error { errors: vec![ErrorCause::LackOfResources] },
    );
    let bad = hex!("0a 00 0010 00000011 00000022  7000 0004");
    assert_eq!(error(&bad).cause(&bad), None);
}

#[test]
fn an_unknown_message_is_reported_if_its_top_bits_say_so() {
    // RFC 5354 §4.
    for (kind, is_reported) in [(0x00, false), (0x0b, false), (0x4b, true), (0xcb, false)] {
        let bytes = [kind, 0, 0, 4];
        let report = ErrorCause::UnrecognizedMessage(bytes.into());
        assert_eq!(error(&bytes).reason, Reason::UnknownMessage(kind));
        assert_eq!(error(&bytes).cause(&bytes), is_reported.then_some(report));
    }
}

#[test]
fn unknown_parameters_are_kept_and_reported() {
    // RFC 5354 §3.
    let bytes = hex!("05 00 0018 00000011 00000022  8001 0004  c002 0005 61 000000");
    let Decoded { message, reports } = Message::decode(&bytes).unwrap();
    assert_eq!(reports, [ErrorCause::UnrecognizedParameter(hex!("c002 0005 61").into())]);
    let mut out = Vec::new();
    message.encode(&mut out).unwrap();
    assert_eq!(out, bytes);
}

#[test]
fn a_table_is_built_in_parts_that_keep_the_limit() {
    let (a, b) = (handle("A"), handle("B"));
    let mut out = Vec::new();
    let mut part = TableResponseBuilder::new(&mut out, ServerId(0x11), ServerId(0x22), 103);
    assert!(part.push(&a, element(0x21).parts()));
    // 12 + 8 + 40 bytes so far: the next element of A fits exactly, one of B needs its handle too.
    assert!(!part.push(&b, element(0x21).parts()));
    assert!(part.push(&a, element(0x22).parts()));
    assert!(!part.push(&a, element(0x23).parts()));
    assert_eq!(part.elements(), 2);
    part.finish(true).unwrap();
    assert_eq!(out.len(), 100);
    let mut expected = Vec::new();
    let elements = vec![element(0x21), element(0x22)];
    let entries = vec![PoolEntry { handle: a, elements }];
    let body = Body::HandleTableResponse { more: true, rejected: false, entries };
    Message::new(ServerId(0x11), ServerId(0x22), body).encode(&mut expected).unwrap();
    assert_eq!(out, expected);
}

proptest! {
    #[test]
    fn a_built_table_is_the_message_of_the_same_content(
        entries in prop::collection::btree_map(
            arbitrary::pool_handle(),
            prop::collection::vec(arbitrary::pool_element(), 1..=3),
            0..=3,
        ),
        more: bool,
    ) {
        let (sender, receiver) = (ServerId(1), ServerId(2));
        let mut built = Vec::new();
        let mut part = TableResponseBuilder::new(&mut built, sender, receiver, usize::MAX);
        for (handle, elements) in &entries {
            for element in elements {
                prop_assert!(part.push(handle, element.parts()));
            }
        }
        part.finish(more).unwrap();
        let entries =
            entries.into_iter().map(|(handle, elements)| PoolEntry { handle, elements }).collect();
        let body = Body::HandleTableResponse { more, rejected: false, entries };
        let mut encoded = Vec::new();
        Message::new(sender, receiver, body).encode(&mut encoded).unwrap();
        prop_assert_eq!(built, encoded);
    }
}
