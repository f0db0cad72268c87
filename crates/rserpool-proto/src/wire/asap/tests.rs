use super::*;
use crate::wire::policy::PolicyNumber;
use crate::wire::pool_element::ElementExtensions;
use crate::wire::tlv::MAX_MESSAGE_LEN;
use crate::wire::transport::SctpTransport;
use crate::wire::{DecodeError, Decoded, Reason, arbitrary};
use alloc::vec;
use hex_literal::hex;
use proptest::prelude::*;

#[track_caller]
fn both_ways(bytes: &[u8], body: Body) {
    let message = Message::from(body);
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

fn handle() -> PoolHandle {
    "Echo".parse().unwrap()
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

#[test]
fn a_registration_has_a_pool_handle_and_a_pool_element() {
    // RFC 5352 §2.2.1.
    both_ways(
        &hex!(
            "01 00 0034  0009 0008 4563686f
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
        ),
        Body::Registration {
            handle: handle(),
            element: Box::new(element(0x21)),
            capabilities: None,
            stamp: None,
        },
    );
}

#[test]
fn extensions_of_requests_stand_where_rsplib_skips_them() {
    // It takes a message for invalid that goes on after the last parameter it knows.
    let mut bytes = Vec::new();
    let capabilities = Some(Capabilities(3));
    let stamp = Some(Stamp { seq: 7, moves: 0 });
    let element = Box::new(element(1));
    let body = Body::Registration { handle: handle(), element, capabilities, stamp };
    Message::from(body.clone()).encode(&mut bytes).unwrap();
    let stamp = hex!("9502 0010 00000000 00000007 00000000");
    assert_eq!((&bytes[4..12], &bytes[12..28]), (&hex!("9501 0008 00000003")[..], &stamp[..]));
    assert_eq!(Message::decode(&bytes).unwrap().message.body, body);
}

#[test]
fn a_deregistration_has_a_pool_handle_and_a_pe_identifier() {
    // RFC 5352 §2.2.2; the stamp is ours.
    both_ways(
        &hex!("02 00 0014  0009 0008 4563686f  000e 0008 00000021"),
        Body::Deregistration { handle: handle(), id: PeId(0x21), stamp: None },
    );
    both_ways(
        &hex!(
            "02 00 0024  9502 0010 0000000000000007 00000001
               0009 0008 4563686f  000e 0008 00000021"
        ),
        Body::Deregistration {
            handle: handle(),
            id: PeId(0x21),
            stamp: Some(Stamp { seq: 7, moves: 1 }),
        },
    );
}

#[test]
fn a_registration_response_may_reject_and_say_why() {
    // RFC 5352 §2.2.3.
    both_ways(
        &hex!(
            "03 01 0028  0009 0008 4563686f  000e 0008 00000021
               000c 000c  0005 0008 ffffffff  9501 0008 00000001"
        ),
        Body::RegistrationResponse {
            rejected: true,
            handle: handle(),
            id: PeId(0x21),
            // Not a policy parameter: kept as it is.
            errors: vec![ErrorCause::Unknown { code: 5, value: [0xff; 4].into() }],
            capabilities: Some(Capabilities(1)),
        },
    );
    both_ways(
        &hex!("03 00 0014  0009 0008 4563686f  000e 0008 00000021"),
        Body::RegistrationResponse {
            rejected: false,
            handle: handle(),
            id: PeId(0x21),
            errors: vec![],
            capabilities: None,
        },
    );
}

#[test]
fn a_deregistration_response_may_say_why_not() {
    // RFC 5352 §2.2.4.
    both_ways(
        &hex!("04 00 001c  0009 0008 4563686f  000e 0008 00000021  000c 0008  000a 0004"),
        Body::DeregistrationResponse {
            handle: handle(),
            id: PeId(0x21),
            errors: vec![ErrorCause::SecurityConsiderations],
        },
    );
}

#[test]
fn a_handle_resolution_has_the_s_bit_and_as_extension_the_number_of_items() {
    // RFC 5352 §2.2.5; draft-dreibholz-rserpool-asap-hropt.
    both_ways(
        &hex!("05 01 000c  0009 0008 4563686f"),
        Body::HandleResolution {
            subscribe: true,
            handle: handle(),
            items: None,
            capabilities: None,
        },
    );
    both_ways(
        &hex!("05 00 001c  9501 0008 00000003  0009 0008 4563686f  803f 0008 ffffffff"),
        Body::HandleResolution {
            subscribe: false,
            handle: handle(),
            items: Some(u32::MAX),
            capabilities: Some(Capabilities(3)),
        },
    );
}

#[test]
fn a_handle_resolution_response_has_the_a_bit_a_policy_and_elements_or_an_error() {
    // RFC 5352 §2.2.6.
    both_ways(
        &hex!(
            "06 01 0074  0009 0008 4563686f  0008 0008 00000001
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001
               000a 0028 00000022 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001
               9506 0008 00000005  9501 0008 00000003"
        ),
        Body::HandleResolutionResponse(Box::new(HandleResolutionResponse {
            subscribed: true,
            handle: handle(),
            policy: Some(PolicyParameter::new(PolicyNumber(1), &[])),
            elements: vec![element(0x21), element(0x22)],
            errors: vec![],
            total: Some(5),
            capabilities: Some(Capabilities(3)),
        })),
    );
    both_ways(
        &hex!("06 00 0014  0009 0008 4563686f  000c 0008  0009 0004"),
        Body::HandleResolutionResponse(Box::new(HandleResolutionResponse {
            subscribed: false,
            handle: handle(),
            policy: None,
            elements: vec![],
            errors: vec![ErrorCause::UnknownPoolHandle],
            total: None,
            capabilities: None,
        })),
    );
}

#[test]
fn a_keep_alive_has_the_h_bit_the_server_and_with_rsplib_the_pe_identifier() {
    // RFC 5352 §2.2.7.
    both_ways(
        &hex!("07 01 0010 00000011  0009 0008 4563686f"),
        Body::EndpointKeepAlive { home: true, server: ServerId(0x11), handle: handle(), id: None },
    );
    both_ways(
        &hex!("07 00 0018 00000011  0009 0008 4563686f  000e 0008 00000021"),
        Body::EndpointKeepAlive {
            home: false,
            server: ServerId(0x11),
            handle: handle(),
            id: Some(PeId(0x21)),
        },
    );
}

#[test]
fn acknowledgements_and_reports_name_the_pool_and_the_element() {
    // RFC 5352 §2.2.8, §2.2.9.
    both_ways(
        &hex!("08 00 0014  0009 0008 4563686f  000e 0008 00000021"),
        Body::EndpointKeepAliveAck { handle: handle(), id: PeId(0x21) },
    );
    both_ways(
        &hex!("09 00 0014  0009 0008 4563686f  000e 0008 00000021"),
        Body::EndpointUnreachable { handle: handle(), id: PeId(0x21) },
    );
}

#[test]
fn a_server_announce_lists_sctp_and_tcp_transports_and_no_others() {
    // RFC 5352 §2.2.10.
    both_ways(
        &hex!("0a 00 0008 00000011"),
        Body::ServerAnnounce { server: ServerId(0x11), transports: vec![] },
    );
    both_ways(
        &hex!(
            "0a 00 0028 00000011  0004 0010 0f17 0000 0001 0008 0a00000b
               0005 0010 0f17 0000 0001 0008 0a00000b"
        ),
        Body::ServerAnnounce {
            server: ServerId(0x11),
            transports: vec![
                SctpTransport::new("10.0.0.11:3863".parse().unwrap()).into(),
                Transport::Tcp("10.0.0.11:3863".parse().unwrap()),
            ],
        },
    );
    let udp = hex!("0a 00 0018 00000011  0006 0010 0f17 0000 0001 0008 0a00000b");
    assert_eq!(error(&udp).reason, Reason::Misplaced(6));
}

#[test]
fn cookies_are_any_bytes() {
    // RFC 5352 §2.2.11, §2.2.12.
    both_ways(&hex!("0b 00 000c  000d 0005 63 000000"), Body::Cookie([0x63].into()));
    both_ways(&hex!("0c 00 0008  000d 0004"), Body::CookieEcho([].into()));
}

#[test]
fn a_business_card_has_a_pool_handle_and_one_element_or_more() {
    // RFC 5352 §2.2.13.
    both_ways(
        &hex!(
            "0d 00 0034  0009 0008 4563686f
               000a 0028 00000021 00000011 0000001e
                 0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
        ),
        Body::BusinessCard { handle: handle(), elements: vec![element(0x21)] },
    );
    let none = hex!("0d 00 000c  0009 0008 4563686f");
    assert_eq!(error(&none).reason, Reason::Missing("pool element"));
}

#[test]
fn an_error_has_one_cause_or_more() {
    // RFC 5352 §2.2.14.
    both_ways(
        &hex!("0e 00 0014  000c 0010  0002 0008 4f 00 0004  0000 0004"),
        Body::Error {
            errors: vec![
                ErrorCause::UnrecognizedMessage(hex!("4f 00 0004").into()),
                ErrorCause::Unspecified,
            ],
        },
    );
}

#[test]
fn flags_that_mean_nothing_are_ignored_and_sent_as_zero() {
    // RFC 5354 §4.
    let bytes = hex!("08 ff 0014  0009 0008 4563686f  000e 0008 00000021");
    let mut out = Vec::new();
    Message::decode(&bytes).unwrap().message.encode(&mut out).unwrap();
    assert_eq!(out[1], 0);
    let bytes = hex!("05 fe 000c  0009 0008 4563686f");
    let body = Message::decode(&bytes).unwrap().message.body;
    assert!(matches!(body, Body::HandleResolution { subscribe: false, .. }));
}

#[test]
fn an_unknown_message_is_reported_if_its_top_bits_say_so() {
    // RFC 5354 §4: 00 discard, 01 discard and report, 10 and 11 reserved.
    for (kind, is_reported) in [(0x00, false), (0x0f, false), (0x4f, true), (0x8f, false)] {
        let bytes = [kind, 0, 0, 8, 1, 2, 3, 4];
        let error = error(&bytes);
        assert_eq!(error.reason, Reason::UnknownMessage(kind));
        let report = ErrorCause::UnrecognizedMessage(bytes.into());
        assert_eq!(error.cause(&bytes), is_reported.then_some(report));
    }
}

#[test]
fn unknown_parameters_are_kept_and_reported_wherever_they_stand() {
    // RFC 5354 §3: classes 10 and 11.
    let bytes = hex!(
        "01 00 0054  8001 0005 61 000000  0009 0008 4563686f
         000a 003c 00000021 00000011 0000001e
           c002 0008 01020304  0005 0010 0007 0000 0001 0008 0a000015
           0008 0008 00000001  9503 000c 0000000000000001
         c003 0004"
    );
    let Decoded { message, reports } = Message::decode(&bytes).unwrap();
    let kinds: Vec<u16> = message.unknown.iter().map(|parameter| parameter.kind).collect();
    assert_eq!(kinds, [0x8001, 0xc003]);
    assert_eq!(
        reports,
        [
            ErrorCause::UnrecognizedParameter(hex!("c002 0008 01020304").into()),
            ErrorCause::UnrecognizedParameter(hex!("c003 0004").into()),
        ]
    );
    let Body::Registration { element, .. } = message.body else { panic!() };
    // An extension of ours in the wrong place is as unknown as any other.
    let kinds: Vec<u16> = element.extensions.unknown.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [0xc002, 0x9503]);
}

#[test]
fn a_parameter_that_stops_the_message_stops_it_wherever_it_stands() {
    // RFC 5354 §3: classes 00 and 01.
    let silent = hex!("05 00 0010  0009 0008 4563686f  0f00 0004");
    assert_eq!(error(&silent).cause(&silent), None);
    let reported = hex!(
        "01 00 0038  0009 0008 4563686f
         000a 002c 00000021 00000011 0000001e
           4002 0004  0005 0010 0007 0000 0001 0008 0a000015  0008 0008 00000001"
    );
    assert_eq!(error(&reported).offset, 28);
    assert_eq!(
        error(&reported).cause(&reported),
        Some(ErrorCause::UnrecognizedParameter(hex!("4002 0004").into()))
    );
}

#[test]
fn what_is_missing_double_or_misplaced_is_named() {
    for (bytes, reason) in [
        (&hex!("05 00 0004")[..], Reason::Missing("pool handle")),
        (&hex!("08 00 000c  0009 0008 4563686f")[..], Reason::Missing("PE identifier")),
        (&hex!("01 00 000c  0009 0008 4563686f")[..], Reason::Missing("pool element")),
        (&hex!("0b 00 0004")[..], Reason::Missing("cookie")),
        (&hex!("0e 00 0004")[..], Reason::Missing("operation error")),
        (&hex!("07 00 0004")[..], Reason::Truncated { missing: 4 }),
        (&hex!("05 00 0014  0009 0008 4563686f 0009 0008 4563686f")[..], Reason::Duplicate(9)),
        (&hex!("05 00 0014  0009 0008 4563686f 000d 0008 4563686f")[..], Reason::Misplaced(13)),
        (&hex!("05 00 000e  0009 0008 4563686f 0000 0000")[..], Reason::Truncated { missing: 2 }),
    ] {
        assert_eq!(error(bytes).reason, reason, "{bytes:02x?}");
    }
}

#[test]
fn an_error_is_never_answered_with_an_error() {
    for bytes in [
        &hex!("0e 00 0004")[..],
        &hex!("0e 00 000c  4123 0008 01020304")[..],
        &hex!("0e 00 0010  000c 000c  0001 0003 00000000")[..],
    ] {
        assert_eq!(error(bytes).cause(bytes), None);
    }
    let with_unknown = hex!("0e 00 0010  000c 0008  0000 0004  c123 0004");
    assert_eq!(Message::decode(&with_unknown).unwrap().reports, []);
}

#[test]
fn a_message_that_would_be_too_long_is_not_written() {
    let mut out = vec![1];
    let message = Message::from(Body::Cookie(vec![0; MAX_MESSAGE_LEN - 7].into()));
    assert!(message.encode(&mut out).is_err());
    assert_eq!(out, [1]);
}

#[test]
fn an_answer_is_built_of_as_many_elements_as_fit() {
    let large =
        PoolElement { user_transport: Transport::Opaque(vec![0; 30_000].into()), ..element(0x21) };
    let mut out = Vec::new();
    let mut answer = ResolutionResponseBuilder::new(&mut out, &handle(), None);
    assert!(answer.push(large.parts()));
    assert!(answer.push(large.parts()));
    assert!(!answer.push(large.parts()));
    assert!(answer.push(element(0x22).parts()));
    assert_eq!(answer.elements(), 3);
    answer.finish(false, Some(4), Some(Capabilities(1))).unwrap();
    let body = Message::decode(&out).unwrap().message.body;
    let Body::HandleResolutionResponse(response) = body else { panic!() };
    assert_eq!(response.elements, [large.clone(), large, element(0x22)]);
    assert_eq!((response.total, response.capabilities), (Some(4), Some(Capabilities(1))));
}

proptest! {
    /// Extensions have room even when not one more element fits.
    #[test]
    fn a_built_answer_is_the_message_of_the_same_content(
        response in arbitrary::resolution_response(),
    ) {
        let response = HandleResolutionResponse { errors: vec![], ..response };
        let mut built = vec![1, 2, 3];
        let mut answer = ResolutionResponseBuilder::new(
            &mut built,
            &response.handle,
            response.policy.as_ref(),
        );
        for element in &response.elements {
            prop_assert!(answer.push(element.parts()));
        }
        answer.finish(response.subscribed, response.total, response.capabilities).unwrap();
        let mut encoded = vec![1, 2, 3];
        let body = Body::HandleResolutionResponse(Box::new(response));
        Message::from(body).encode(&mut encoded).unwrap();
        prop_assert_eq!(built, encoded);
    }
}
