use super::*;
use crate::wire::error::Reason;
use alloc::vec;
use hex_literal::hex;

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    write(&mut writer);
    writer.finish().unwrap();
    out
}

#[test]
fn a_parameter_is_padded_with_zeros_that_its_length_does_not_count() {
    // RFC 5354 §3.
    let bytes = written(|writer| writer.parameter(0x9, |writer| writer.bytes(b"abcde")));
    assert_eq!(bytes, hex!("0009 0009 6162636465 000000"));
}

#[test]
fn a_length_counts_the_padding_between_nested_parameters_but_not_the_last() {
    // RFC 5354 §2.
    let bytes = written(|writer| {
        writer.parameter(0xa, |writer| {
            writer.parameter(0x8001, |writer| writer.bytes(b"a"));
            writer.parameter(0x8002, |writer| writer.bytes(b"b"));
        });
        writer.parameter(0x9, |writer| writer.bytes(b"c"));
    });
    assert_eq!(
        bytes,
        hex!("000a 0011  8001 0005 61 000000  8002 0005 62 000000  0009 0005 63 000000")
    );
}

#[test]
fn nested_parameters_are_read_whether_or_not_the_last_padding_is_counted() {
    for bytes in [
        &hex!("000a 0011  8001 0005 61 ffffff  8002 0005 62 ffffff  0009 0005 63")[..],
        &hex!("000a 0014  8001 0005 61 000000  8002 0005 62 000000  0009 0005 63 000000")[..],
    ] {
        let mut reader = Reader::new(bytes);
        let nested = reader
            .parameter(0xa, |reader| {
                let first = reader.parameter(0x8001, |reader| Ok(reader.rest()))?;
                Ok((first, reader.parameter(0x8002, |reader| Ok(reader.rest()))?))
            })
            .unwrap();
        assert_eq!(nested, (&b"a"[..], &b"b"[..]));
        assert_eq!(reader.parameter(0x9, |reader| Ok(reader.rest())).unwrap(), b"c");
        assert_eq!(reader.peek(), Ok(None));
    }
}

#[test]
fn a_parameter_that_ends_before_its_fields_says_how_many_bytes_are_missing() {
    let bytes = hex!("000e 0006 0102 0000");
    let error = Reader::new(&bytes).parameter(0xe, Reader::u32).unwrap_err();
    assert_eq!((error.reason, error.offset), (Reason::Truncated { missing: 2 }, 4));
    assert_eq!(
        alloc::string::ToString::to_string(&error),
        "2 bytes are missing (byte 4 of the message, in parameter 0x000e)"
    );
    assert_eq!(error.cause(&bytes), Some(ErrorCause::InvalidValues(hex!("000e 0006 0102").into())));
}

#[test]
fn a_parameter_that_goes_on_after_its_fields_is_refused() {
    let bytes = hex!("000e 000a 01020304 0506 0000");
    let error = Reader::new(&bytes).parameter(0xe, Reader::u32).unwrap_err();
    assert_eq!((error.reason, error.offset), (Reason::Trailing { count: 2 }, 8));
}

#[test]
fn a_parameter_length_below_its_header_or_beyond_its_room_is_refused() {
    for (bytes, stated) in [(hex!("000e 0003 01020304"), 3), (hex!("000e 0009 01020304"), 9)] {
        let error = Reader::new(&bytes).parameter(0xe, Reader::u32).unwrap_err();
        assert_eq!((error.reason, error.offset), (Reason::ParameterLength { stated, room: 8 }, 0));
    }
    // The same within a parameter that is itself whole: the outer one is the offending one.
    let bytes = hex!("000a 000c  000e 000c 01020304  000e 0008 01020304");
    let error = Reader::new(&bytes)
        .parameter(0xa, |reader| reader.parameter(0xe, Reader::u32))
        .unwrap_err();
    assert_eq!((error.reason, error.offset), (Reason::ParameterLength { stated: 12, room: 8 }, 4));
    assert_eq!(error.cause(&bytes), Some(ErrorCause::InvalidValues(bytes[..12].into())));
}

#[test]
fn the_message_length_may_count_the_last_padding_or_not_and_the_padding_is_ignored() {
    // RFC 5354 §4 does not count it, rsplib does; a sender may also leave it out.
    for bytes in [
        &hex!("05 01 0009 0009 0005 61")[..],
        &hex!("05 01 0009 0009 0005 61 000000")[..],
        &hex!("05 01 0009 0009 0005 61 ffffff")[..],
        &hex!("05 01 000c 0009 0005 61 000000")[..],
        &hex!("05 01 000c 0009 0005 61 ffffff")[..],
    ] {
        let (kind, flags, mut reader) = Reader::message(bytes).unwrap();
        assert_eq!((kind, flags), (5, 1));
        assert_eq!(reader.parameter(0x9, |reader| Ok(reader.rest())).unwrap(), b"a");
        assert!(reader.is_empty());
    }
}

#[test]
fn a_message_of_another_length_than_it_says_is_refused() {
    for (bytes, stated) in [
        (&hex!("05 00 0003")[..], 3),
        (&hex!("05 00 000c 0009 0005 61")[..], 12),
        (&hex!("05 00 0004 0009 0005 61 000000")[..], 4),
    ] {
        let error = Reader::message(bytes).unwrap_err();
        let reason = Reason::MessageLength { stated, actual: bytes.len() };
        assert_eq!((error.reason, error.offset), (reason, 2));
        assert_eq!(error.cause(bytes), Some(ErrorCause::Unspecified));
    }
    let error = Reader::message(&hex!("05 00 00")).unwrap_err();
    assert_eq!((error.reason, error.offset), (Reason::Truncated { missing: 1 }, 2));
}

#[test]
fn the_top_bits_of_an_unknown_type_say_what_happens() {
    // RFC 5354 §3: 00 stop, 01 stop and report, 10 skip, 11 skip and report.
    let stop = hex!("3abc 0005 61 000000");
    let mut reader = Reader::new(&stop);
    let error = reader.unknown(&mut Vec::new()).unwrap_err();
    assert_eq!((error.reason, error.cause(&stop)), (Reason::UnknownParameter(0x3abc), None));

    let stop_and_report = hex!("7abc 0005 61 000000");
    let mut reader = Reader::new(&stop_and_report);
    let error = reader.unknown(&mut Vec::new()).unwrap_err();
    let report = ErrorCause::UnrecognizedParameter(hex!("7abc 0005 61").into());
    assert_eq!(error.cause(&stop_and_report), Some(report));

    let mut kept = Vec::new();
    let skip = hex!("babc 0005 61 000000  fabc 0005 62");
    let mut reader = Reader::new(&skip);
    reader.unknown(&mut kept).unwrap();
    reader.unknown(&mut kept).unwrap();
    assert!(reader.is_empty());
    let report = ErrorCause::UnrecognizedParameter(hex!("fabc 0005 62").into());
    assert_eq!(reader.into_reports(), [report]);
    assert_eq!(
        written(|writer| kept.iter().for_each(|parameter| parameter.encode(writer))),
        hex!("babc 0005 61 000000  fabc 0005 62 000000")
    );
}

#[test]
fn a_known_parameter_in_the_wrong_place_is_invalid_and_not_unknown() {
    let bytes = hex!("000f 0006 ffff 0000");
    let error = Reader::new(&bytes).unknown(&mut Vec::new()).unwrap_err();
    assert_eq!(error.reason, Reason::Misplaced(0xf));
    assert_eq!(error.cause(&bytes), Some(ErrorCause::InvalidValues(hex!("000f 0006 ffff").into())));
}

#[test]
fn reports_about_one_message_are_bounded() {
    let many = hex!("fabc 0004").repeat(16_000);
    let mut reader = Reader::new(&many);
    while !reader.is_empty() {
        reader.unknown(&mut Vec::new()).unwrap();
    }
    assert_eq!(reader.into_reports().len(), MAX_REPORT_LEN / 8);

    let mut large = hex!("7abc fffc").to_vec();
    large.resize(0xfffc, 0);
    let error = Reader::new(&large).unknown(&mut Vec::new()).unwrap_err();
    match error.cause(&large) {
        Some(ErrorCause::UnrecognizedParameter(bytes)) => assert_eq!(bytes.len(), MAX_REPORT_LEN),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_is_not_written_and_takes_the_message_back() {
    let mut out = vec![1, 2, 3];
    let mut writer = Writer::message(&mut out, 6, 0);
    writer.parameter(0xd, |writer| writer.bytes(&[0; MAX_MESSAGE_LEN - 8]));
    assert!(!writer.is_full());
    writer.parameter(0xd, |_| ());
    assert!(writer.is_full());
    assert_eq!(writer.finish(), Err(TooLong { limit: MAX_MESSAGE_LEN }));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn the_longest_message_is_written_with_its_true_length() {
    let mut out = Vec::new();
    let mut writer = Writer::message(&mut out, 6, 0);
    writer.parameter(0xd, |writer| writer.bytes(&[0; MAX_MESSAGE_LEN - 8]));
    writer.finish().unwrap();
    assert_eq!((out.len(), &out[..8]), (MAX_MESSAGE_LEN, &hex!("0600 fffc 000d fff8")[..]));
}

#[test]
fn a_writer_can_go_back_to_before_what_did_not_fit() {
    let mut out = Vec::new();
    let mut writer = Writer::message(&mut out, 6, 0);
    writer.set_limit(18); // Rounded down to 16.
    writer.parameter(0xe, |writer| writer.u32(7));
    let before = writer.mark();
    writer.parameter(0xe, |writer| writer.u32(8));
    assert!(writer.is_full());
    writer.rewind(before);
    writer.parameter(0x9507, |_| ());
    writer.set_flags(1);
    writer.finish().unwrap();
    assert_eq!(out, hex!("06 01 0010  000e 0008 00000007  9507 0004"));
}
