//! Every parameter, byte by byte from the figures of RFC 5354 §3, RFC 5356 §4-§5 and of the
//! extensions: each vector decodes to the value, and the value encodes to the vector.

use super::capability::{Capabilities, Owner, Stamp, decode_digest, encode_digest};
use super::cookie::{decode_cookie, encode_cookie};
use super::operation_error::{ErrorCause, decode_errors, encode_errors};
use super::pe_checksum::{decode_checksum, encode_checksum};
use super::policy::{PolicyData, PolicyNumber, PolicyParameter};
use super::pool_element::{ElementExtensions, PoolElement};
use super::server_information::ServerInformation;
use super::tlv::{Reader, Writer};
use super::transport::{Addresses, Protocol, SctpTransport, Transport, TransportUse};
use super::unknown::UnknownParameter;
use super::{DecodeError, Reason};
use crate::id::{PeId, PoolHandle, ServerId};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::IpAddr;
use hex_literal::hex;

fn encoded(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    encode(&mut writer);
    writer.finish().unwrap();
    out
}

#[track_caller]
fn both_ways<T: PartialEq + Debug>(
    bytes: &[u8],
    value: &T,
    decode: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    encode: impl FnOnce(&T, &mut Writer<'_>),
) {
    let mut reader = Reader::new(bytes);
    assert_eq!(decode(&mut reader).as_ref(), Ok(value));
    assert!(reader.is_empty());
    assert_eq!(encoded(|writer| encode(value, writer)), bytes);
    // Nothing of it can be missing but padding.
    for end in 0..bytes.len() {
        let result = decode(&mut Reader::new(&bytes[..end]));
        assert!(result.is_err() || (end > bytes.len() - 4 && result.as_ref() == Ok(value)));
    }
}

#[track_caller]
fn refused<T: Debug>(
    bytes: &[u8],
    reason: Reason,
    decode: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) {
    let error = decode(&mut Reader::new(bytes)).unwrap_err();
    assert_eq!(error.reason, reason);
    // The innermost parameter that is whole is the offending one.
    assert!(matches!(error.cause(bytes), Some(ErrorCause::InvalidValues(_))), "{error}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sctp(port: u16, transport_use: TransportUse, addresses: &[&str]) -> SctpTransport {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| ip(address)).collect();
    SctpTransport { port, transport_use, addresses: Addresses::new(&addresses).unwrap() }
}

fn transport_vector(bytes: &[u8], transport: &Transport) {
    both_ways(bytes, transport, Transport::decode, Transport::encode);
}

#[test]
fn a_dccp_transport_has_a_port_a_service_code_and_one_address_and_carries_data_only() {
    // RFC 5354 §3.3.
    let transport =
        Transport::Dccp { address: "10.0.0.1:80".parse().unwrap(), service_code: 0x6563_686f };
    transport_vector(&hex!("0003 0014  0050 0000  6563686f  0001 0008 0a000001"), &transport);
    assert_eq!(transport.to_string(), "dccp://10.0.0.1:80?service=1701013615");
    assert_eq!(transport.transport_use(), TransportUse::DataOnly);
}

#[test]
fn an_sctp_transport_has_a_port_a_use_and_mixed_addresses() {
    // RFC 5354 §3.4.
    let one = sctp(3863, TransportUse::DataOnly, &["10.0.0.1"]);
    transport_vector(&hex!("0004 0010  0f17 0000  0001 0008 0a000001"), &one.clone().into());
    let many = sctp(9901, TransportUse::DataPlusControl, &["10.0.0.1", "fe80::1", "10.0.0.2"]);
    transport_vector(
        &hex!(
            "0004 002c  26ad 0001  0001 0008 0a000001
               0002 0014 fe80 0000 0000 0000 0000 0000 0000 0001  0001 0008 0a000002"
        ),
        &many.clone().into(),
    );
    assert_eq!(many.to_string(), "sctp://10.0.0.1,[fe80::1],10.0.0.2:9901");
    let transport = Transport::from(many);
    assert_eq!(transport.transport_use(), TransportUse::DataPlusControl);
    let addresses: Vec<_> = transport.socket_addrs().map(|address| address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1:9901", "[fe80::1]:9901", "10.0.0.2:9901"]);
}

#[test]
fn an_sctp_transport_has_at_least_one_address_and_one_of_two_uses() {
    // RFC 5354 §3.4.
    let bytes = hex!("0004 0008  0f17 0000");
    refused(&bytes, Reason::Missing("IP address"), Transport::decode);
    let bytes = hex!("0004 0010  0f17 0002  0001 0008 0a000001");
    let reason = Reason::Invalid("the transport use is neither 0 nor 1");
    refused(&bytes, reason, Transport::decode);
}

#[test]
fn tcp_udp_and_udp_lite_transports_have_a_port_and_one_address_and_carry_data_only() {
    // RFC 5354 §3.5-§3.7.
    let v4 = "192.0.2.1:443".parse().unwrap();
    let v6 = "[2001:db8::7]:53".parse().unwrap();
    transport_vector(&hex!("0005 0010  01bb 0000  0001 0008 c0000201"), &Transport::Tcp(v4));
    transport_vector(
        &hex!("0006 001c  0035 0000  0002 0014 2001 0db8 0000 0000 0000 0000 0000 0007"),
        &Transport::Udp(v6),
    );
    transport_vector(&hex!("0007 0010  01bb 0000  0001 0008 c0000201"), &Transport::UdpLite(v4));
    for (transport, text, protocol) in [
        (Transport::Tcp(v4), "tcp://192.0.2.1:443", Protocol::Tcp),
        (Transport::Udp(v6), "udp://[2001:db8::7]:53", Protocol::Udp),
        (Transport::UdpLite(v4), "udplite://192.0.2.1:443", Protocol::UdpLite),
    ] {
        assert_eq!((transport.to_string().as_str(), transport.protocol()), (text, protocol));
        assert_eq!(transport.transport_use(), TransportUse::DataOnly);
        assert_eq!(transport.primary(), transport.socket_addrs().last());
    }
}

#[test]
fn a_transport_of_one_address_does_not_take_a_second_or_none() {
    let bytes = hex!("0005 0018  01bb 0000  0001 0008 c0000201  0001 0008 c0000202");
    refused(&bytes, Reason::Duplicate(0x1), Transport::decode);
    refused(&hex!("0006 0008  01bb 0000"), Reason::Missing("IP address"), Transport::decode);
}

#[test]
fn reserved_fields_are_ignored_and_sent_as_zero() {
    let bytes = hex!("0005 0010  01bb ffff  0001 0008 c0000201");
    let transport = Transport::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(
        encoded(|writer| transport.encode(writer)),
        hex!("0005 0010  01bb 0000  0001 0008 c0000201")
    );
}

#[test]
fn an_unknown_parameter_within_a_transport_obeys_its_type_and_is_not_kept() {
    let skip = hex!("0004 0018  0f17 0000  c123 0005 61 000000  0001 0008 0a000001");
    let mut reader = Reader::new(&skip);
    let transport = SctpTransport::decode(&mut reader).unwrap();
    assert_eq!(transport, sctp(3863, TransportUse::DataOnly, &["10.0.0.1"]));
    let report = ErrorCause::UnrecognizedParameter(hex!("c123 0005 61").into());
    assert_eq!(reader.into_reports(), [report]);
    let stop = hex!("0004 0018  0f17 0000  0123 0005 61 000000  0001 0008 0a000001");
    let error = SctpTransport::decode(&mut Reader::new(&stop)).unwrap_err();
    assert_eq!((error.reason, error.cause(&stop)), (Reason::UnknownParameter(0x123), None));
}

#[test]
fn an_opaque_transport_is_any_bytes() {
    // RFC 5354 §3.16.
    let transport = Transport::Opaque(b"any\x00".as_slice().into());
    transport_vector(&hex!("0010 0008 616e7900"), &transport);
    transport_vector(&hex!("0010 0004"), &Transport::Opaque([].into()));
    assert_eq!(transport.to_string(), "opaque:any\\x00");
    assert_eq!((transport.primary(), transport.transport_use()), (None, TransportUse::DataOnly));
}

#[test]
fn an_address_has_the_length_of_its_kind() {
    // RFC 5354 §3.1, §3.2.
    for bytes in [
        &hex!("0005 000f  01bb 0000  0001 0007 c00002 00")[..],
        &hex!("0005 0018  01bb 0000  0002 0010 20010db8 00000000 00000000")[..],
        &hex!("0005 0014  01bb 0000  0001 000c c0000201 00000000")[..],
    ] {
        assert!(Transport::decode(&mut Reader::new(bytes)).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn the_policies_of_rfc_5356_are_a_number_and_words() {
    // RFC 5356 §4.1.4, §4.2.4, §4.3.4, §4.4.4, §4.5.4, §5.1.4, §5.2.4, §5.3.4, §5.4.4.
    let vectors: [(&[u8], u32, &[u32]); 9] = [
        (&hex!("0008 0008 00000001"), 1, &[]),
        (&hex!("0008 000c 00000002 00000003"), 2, &[3]),
        (&hex!("0008 0008 00000003"), 3, &[]),
        (&hex!("0008 000c 00000004 00000007"), 4, &[7]),
        (&hex!("0008 000c 00000005 ffffffff"), 5, &[u32::MAX]),
        (&hex!("0008 000c 40000001 80000000"), 0x4000_0001, &[0x8000_0000]),
        (&hex!("0008 0010 40000002 00000005 00000006"), 0x4000_0002, &[5, 6]),
        (&hex!("0008 0010 40000003 00000007 00000008"), 0x4000_0003, &[7, 8]),
        (&hex!("0008 000c 40000004 00000009"), 0x4000_0004, &[9]),
    ];
    for (bytes, number, words) in vectors {
        let policy = PolicyParameter::new(PolicyNumber(number), words);
        both_ways(bytes, &policy, PolicyParameter::decode, PolicyParameter::encode);
        assert_eq!(policy.words(), Some(words));
    }
}

#[test]
fn any_policy_has_the_general_format_and_is_kept_byte_for_byte() {
    // RFC 5354 §3.8.
    let number = PolicyNumber(0xb000_2003);
    let words = PolicyParameter::new(number, &[1, 2, 3, 4]);
    both_ways(
        &hex!("0008 0018 b0002003 00000001 00000002 00000003 00000004"),
        &words,
        PolicyParameter::decode,
        PolicyParameter::encode,
    );
    assert_eq!(words.to_string(), "0xb0002003 (1, 2, 3, 4)");
    for bytes in [
        &hex!("0008 000d b0002003 0102030405 000000")[..],
        &hex!("0008 001c b0002003 00000001 00000002 00000003 00000004 00000005")[..],
    ] {
        let policy = PolicyParameter::decode(&mut Reader::new(bytes)).unwrap();
        assert!(matches!(policy.data, PolicyData::Bytes(_)) && policy.words().is_none());
        both_ways(bytes, &policy, PolicyParameter::decode, PolicyParameter::encode);
    }
    refused(
        &hex!("0008 0006 b000 0000"),
        Reason::Truncated { missing: 2 },
        PolicyParameter::decode,
    );
}

#[test]
fn a_pool_handle_is_one_to_255_bytes() {
    // RFC 5354 §3.9.
    let handle: PoolHandle = "EchoPool".parse().unwrap();
    both_ways(&hex!("0009 000c 4563686f506f6f6c"), &handle, PoolHandle::decode, PoolHandle::encode);
    let reason = Reason::Invalid("the pool handle does not have 1 to 255 bytes");
    refused(&hex!("0009 0004"), reason, PoolHandle::decode);
    let long = [&hex!("0009 0104")[..], &[b'x'; 256]].concat();
    refused(&long, reason, PoolHandle::decode);
}

fn element() -> PoolElement {
    PoolElement {
        id: PeId(0x21),
        home: ServerId(0x1111_1111),
        life: 30,
        user_transport: Transport::Tcp("10.0.0.21:7".parse().unwrap()),
        policy: PolicyParameter::new(PolicyNumber(4), &[7]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    }
}

#[test]
fn a_pool_element_has_identifiers_a_life_a_user_transport_and_a_policy() {
    // RFC 5354 §3.10.
    both_ways(
        &hex!(
            "000a 002c  00000021 11111111 0000001e
               0005 0010  0007 0000  0001 0008 0a000015  0008 000c 00000004 00000007"
        ),
        &element(),
        PoolElement::decode,
        PoolElement::encode,
    );
    let for_ever = PoolElement { life: -1, ..element() };
    assert_eq!(encoded(|writer| for_ever.encode(writer))[12..16], hex!("ffffffff"));
}

const WITH_EVERYTHING: [u8; 128] = hex!(
    "000a 007d  00000021 11111111 0000001e
     0005 0010  0007 0000  0001 0008 0a000015  0008 000c 00000004 00000007
     0004 0010  8000 0000  0001 0008 0a000015
     9502 0010  0000000000000002 00000003
     9504 0014  0005 0010  8001 0000  0001 0008 0a000015
     9505 0014  000102030405060708090a0b0c0d0e0f
     9507 0004
     abcd 0005 61 000000"
);

#[test]
fn a_pool_element_may_have_an_asap_transport_extensions_and_unknown_parameters() {
    let everything = PoolElement {
        asap_transport: Some(sctp(0x8000, TransportUse::DataOnly, &["10.0.0.21"])),
        extensions: ElementExtensions {
            stamp: Some(Stamp { seq: 2, moves: 3 }),
            asap_over_tcp: Some("10.0.0.21:32769".parse().unwrap()),
            owner: Some(Owner([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])),
            tcp_control: true,
            unknown: [UnknownParameter { kind: 0xabcd, value: [0x61].into() }].into(),
        },
        ..element()
    };
    both_ways(&WITH_EVERYTHING, &everything, PoolElement::decode, PoolElement::encode);
    assert_eq!(everything.parts().to_element(), everything);
    // Strangers get what they defined themselves, and nothing of ours.
    let for_strangers = everything.parts().without_extensions().to_element();
    let unknown = everything.extensions.unknown.clone();
    let extensions = ElementExtensions { unknown, ..Default::default() };
    assert_eq!(for_strangers, PoolElement { extensions, ..everything });
}

#[test]
fn the_second_transport_of_an_element_is_asaps_and_must_be_sctp() {
    // RFC 5354 §3.10: one user transport, and an ASAP transport that is SCTP.
    let head = hex!("00000021 11111111 0000001e");
    let tcp = hex!("0005 0010  0007 0000  0001 0008 0a000015");
    let sctp = hex!("0004 0010  8000 0001  0001 0008 0a000015");
    let policy = hex!("0008 0008 00000001");
    let with = |parameters: &[&[u8]]| {
        let value = [&head[..], &parameters.concat()].concat();
        encoded(|writer| writer.parameter(0xa, |writer| writer.bytes(&value)))
    };
    refused(&with(&[&tcp, &policy, &tcp]), Reason::Misplaced(0x5), PoolElement::decode);
    refused(&with(&[&sctp, &sctp, &sctp, &policy]), Reason::Duplicate(0x4), PoolElement::decode);
    refused(&with(&[&policy]), Reason::Missing("user transport"), PoolElement::decode);
    refused(&with(&[&tcp]), Reason::Missing("policy"), PoolElement::decode);
    refused(&with(&[&tcp, &policy, &policy]), Reason::Duplicate(0x8), PoolElement::decode);
    let bytes = with(&[&policy, &tcp, &sctp]);
    let found = PoolElement::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!(found.user_transport.protocol(), Protocol::Tcp);
    assert_eq!(found.asap_transport.unwrap().transport_use, TransportUse::DataPlusControl);
}

#[test]
fn a_pool_element_has_a_length_that_leaves_room_in_every_message() {
    let with = |len| {
        let user_transport = Transport::Opaque(alloc::vec![0; len].into());
        encoded(|writer| PoolElement { user_transport, ..element() }.encode(writer))
    };
    let longest = with(PoolElement::MAX_LEN - 32);
    assert_eq!(longest.len(), PoolElement::MAX_LEN);
    assert!(PoolElement::decode(&mut Reader::new(&longest)).is_ok());
    let reason = Reason::Invalid("the pool element has more than 32768 bytes");
    refused(&with(PoolElement::MAX_LEN - 31), reason, PoolElement::decode);
}

#[test]
fn server_information_is_an_identifier_and_an_sctp_or_tcp_transport() {
    // RFC 5354 §3.11; TCP is ours.
    let transport = sctp(9901, TransportUse::DataOnly, &["10.0.0.11"]).into();
    let server = ServerInformation { id: ServerId(0x1000_0001), transport, unknown: [].into() };
    both_ways(
        &hex!("000b 0018  10000001  0004 0010 26ad 0000  0001 0008 0a00000b"),
        &server,
        ServerInformation::decode,
        ServerInformation::encode,
    );
    let tcp = Transport::Tcp("10.0.0.11:9901".parse().unwrap());
    both_ways(
        &hex!("000b 0018  10000001  0005 0010 26ad 0000  0001 0008 0a00000b"),
        &ServerInformation { transport: tcp, ..server },
        ServerInformation::decode,
        ServerInformation::encode,
    );
    let udp = hex!("000b 0018  10000001  0006 0010 26ad 0000  0001 0008 0a00000b");
    refused(&udp, Reason::Misplaced(0x6), ServerInformation::decode);
    let none = hex!("000b 0008  10000001");
    refused(&none, Reason::Missing("server transport"), ServerInformation::decode);
}

#[test]
fn the_small_parameters_are_as_drawn() {
    // RFC 5354 §3.13-§3.15.
    let cookie = b"state".as_slice().into();
    both_ways(&hex!("000d 0009 7374617465 000000"), &cookie, decode_cookie, |cookie, writer| {
        encode_cookie(cookie, writer);
    });
    both_ways(&hex!("000e 0008 00000021"), &PeId(0x21), PeId::decode, PeId::encode);
    both_ways(&hex!("000f 0006 9230 0000"), &0x9230, decode_checksum, |checksum, writer| {
        encode_checksum(*checksum, writer);
    });
}

#[test]
fn the_extensions_are_of_the_class_that_is_skipped_and_not_reported() {
    use super::kind::{self, UnknownAction};
    for kind in
        [kind::HANDLE_RESOLUTION_OPTION].into_iter().chain(kind::CAPABILITIES..=kind::TCP_CONTROL)
    {
        assert_eq!(UnknownAction::of_parameter(kind), UnknownAction::Skip);
    }
    let capabilities = Capabilities(0x8000_0001);
    both_ways(
        &hex!("9501 0008 80000001"),
        &capabilities,
        Capabilities::decode,
        Capabilities::encode,
    );
    let stamp = Stamp { seq: 0x0102_0304_0506_0708, moves: 9 };
    both_ways(&hex!("9502 0010 0102030405060708 00000009"), &stamp, Stamp::decode, Stamp::encode);
    both_ways(&hex!("9503 000c 0102030405060708"), &0x0102_0304_0506_0708, decode_digest, {
        |digest, writer| encode_digest(*digest, writer)
    });
    let owner = Owner([7; 16]);
    let bytes = hex!("9505 0014 07070707070707070707070707070707");
    both_ways(&bytes, &owner, Owner::decode, Owner::encode);
}

#[test]
fn every_error_cause_is_as_defined_and_reads_in_words() {
    // RFC 5354 §3.12.
    let vectors: [(&[u8], ErrorCause, &str); 13] = [
        (&hex!("0000 0004"), ErrorCause::Unspecified, "unspecified error"),
        (
            &hex!("0001 000c  c123 0008 01020304"),
            ErrorCause::UnrecognizedParameter(hex!("c123 0008 01020304").into()),
            "unrecognized parameter 0xc123",
        ),
        (
            &hex!("0002 0008  4f 00 0004"),
            ErrorCause::UnrecognizedMessage(hex!("4f 00 0004").into()),
            "unrecognized message of type 0x4f",
        ),
        (
            &hex!("0003 0008  0009 0004"),
            ErrorCause::InvalidValues(hex!("0009 0004").into()),
            "invalid values in parameter 0x0009",
        ),
        (
            &hex!("0004 0004"),
            ErrorCause::NonUniquePeId,
            "another element of the pool has this identifier",
        ),
        (
            &hex!("0005 0010  0008 000c 00000004 00000007"),
            ErrorCause::InconsistentPolicy(PolicyParameter::new(PolicyNumber(4), &[7])),
            "the policy differs from that of the pool, which is ",
        ),
        (&hex!("0006 0004"), ErrorCause::LackOfResources, "lack of resources"),
        (
            &hex!("0007 0014  0005 0010 0007 0000  0001 0008 0a000015"),
            ErrorCause::InconsistentTransport(element().user_transport),
            "the transport differs from that of the pool, which is TCP (tcp://10.0.0.21:7)",
        ),
        (
            &hex!("0008 0004"),
            ErrorCause::InconsistentDataControl,
            "the pool uses data and control channel differently",
        ),
        (&hex!("0009 0004"), ErrorCause::UnknownPoolHandle, "unknown pool handle"),
        (
            &hex!("000a 0004"),
            ErrorCause::SecurityConsiderations,
            "rejected for security considerations",
        ),
        (
            &hex!("100b 0004"),
            ErrorCause::Unknown { code: 0x100b, value: [].into() },
            "the policy is not supported, says rsplib (cause 0x100b)",
        ),
        (
            &hex!("0005 0005 ff 000000"),
            ErrorCause::Unknown { code: 0x5, value: [0xff].into() },
            "the policy differs from that of the pool (cause 0x5, 1 bytes)",
        ),
    ];
    for (bytes, cause, words) in vectors {
        both_ways(bytes, &cause, ErrorCause::decode, ErrorCause::encode);
        assert!(cause.to_string().starts_with(words), "{cause}");
    }
}

#[test]
fn every_cause_of_rsplib_reads_in_words() {
    for code in [0x10, 0x11, 0x100a, 0x100b].into_iter().chain(0xf000..=0xf008) {
        let text = ErrorCause::Unknown { code, value: [].into() }.to_string();
        assert!(text.contains("says rsplib"), "{text}");
    }
}

#[test]
fn an_operation_error_has_one_cause_or_more() {
    // RFC 5354 §3.12.
    let causes = Vec::from([
        ErrorCause::InvalidValues(hex!("0009 0005 61").into()),
        ErrorCause::LackOfResources,
    ]);
    both_ways(
        &hex!("000c 0014  0003 0009 0009 0005 61 000000  0006 0004"),
        &causes,
        decode_errors,
        |causes, writer| encode_errors(causes, writer),
    );
    refused(&hex!("000c 0004"), Reason::Missing("error cause"), decode_errors);
    assert_eq!(encoded(|writer| encode_errors(&[], writer)), []);
}
