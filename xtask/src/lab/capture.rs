//! Judges what went over the wire, by a decoder that is not ours: tshark.
//!
//! Every ASAP and ENRP message has to make sense to it, and every type in them has to be one of the
//! RFCs or to stand in docs/PROTOCOL.md. Packets of nodes that a scenario does not trust are left out.

use super::report::Finding;
use crate::steps::{Error, output, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Adds findings about each capture of a scenario, and about what it wanted to see in them.
pub(super) fn judge(room: &Path, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let distrusted = fs::read_to_string(room.join("distrusted")).unwrap_or_default();
    let distrusted: BTreeSet<&str> = distrusted.lines().collect();
    let known = Known::new(&fs::read_to_string(root().join("docs/PROTOCOL.md"))?);
    for name in ["br0.pcap", "br1.pcap"] {
        let file = room.join(name);
        // A capture without a packet is its header alone.
        if fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 24) {
            findings.push(decode(&file, name, &known, &distrusted)?);
        }
    }
    wanted(room, findings)
}

/// Decodes a whole capture.
fn decode(
    file: &Path,
    name: &str,
    known: &Known,
    distrusted: &BTreeSet<&str>,
) -> Result<Finding, Error> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-Y", "asap || enrp || sctp.data_payload_proto_id"]);
    tshark.args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=;"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let mut tally = Tally::default();
    for line in output(tshark)?.lines() {
        tally.packet(line, known, distrusted);
    }
    let what = format!("tshark understands everything in {name}");
    let messages = tally.messages;
    if tally.problems.is_empty() {
        return Ok(Finding::ok(&what, "yes", format!("{messages} messages, all of them")));
    }
    let problems: Vec<String> = tally
        .problems
        .iter()
        .take(SHOWN)
        .map(|(problem, (times, first))| format!("{problem} ({times} times, frame {first})"))
        .collect();
    Ok(Finding::miss(&what, "yes", format!("{messages} messages; {}", problems.join("; "))))
}

/// Problems that are shown of a capture; the rest is alike.
const SHOWN: usize = 6;

/// What is asked of tshark, in this order.
const FIELDS: &[&str] = &[
    "frame.number",
    "ip.src",
    "sctp.data_payload_proto_id",
    "sctp.data_b_bit",
    "sctp.data_e_bit",
    "_ws.malformed",
    "_ws.expert.message",
    "asap.message_type",
    "enrp.message_type",
    "asap.parameter_type",
    "enrp.parameter_type",
    "asap.cause_code",
    "enrp.cause_code",
    "asap.pool_member_selection_policy_type",
    "enrp.pool_member_selection_policy_type",
    "sctp.retransmission",
    "ip.dst",
    "tcp.len",
    "asap.message_length",
    "enrp.message_length",
];

#[derive(Default)]
struct Tally {
    messages: usize,
    /// How often, and in which frame first.
    problems: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn packet(&mut self, line: &str, known: &Known, distrusted: &BTreeSet<&str>) {
        let fields: Vec<Vec<&str>> = line
            .split('\t')
            .map(|field| field.split(';').filter(|value| !value.is_empty()).collect())
            .collect();
        let all = |at: usize| fields.get(at).map(Vec::as_slice).unwrap_or_default();
        let frame = all(0).first().copied().unwrap_or_default();
        if all(1).iter().any(|source| distrusted.contains(source)) {
            return;
        }
        let mut problem = |text: String| {
            let (times, _) = self.problems.entry(text).or_insert_with(|| (0, frame.to_owned()));
            *times += 1;
        };
        let (asap, enrp) = (all(7), all(8));
        let decoded = asap.len() + enrp.len();
        // What is returned to one that is not trusted quotes what it has sent. And of the messages in a
        // TCP segment tshark takes all but the first for parameters.
        let quotes = all(16).iter().any(|destination| distrusted.contains(destination));
        let first = all(18).iter().chain(all(19)).find_map(|length| number(length));
        let segment = all(17).first().and_then(|length| number(length));
        if quotes || segment > first.map(|length| length.next_multiple_of(4)) {
            self.messages += decoded;
            return;
        }
        // Whole messages on our identifiers have to be taken for messages, where they are seen first.
        let whole = all(3).iter().zip(all(4)).all(|(begins, ends)| is_set(begins) && is_set(ends));
        let ours = all(2).iter().filter(|ppid| matches!(number(ppid), Some(11 | 12))).count();
        let expected = ours.saturating_sub(all(15).len());
        if whole && expected > decoded {
            problem(format!("{} of {ours} messages not decoded", expected - decoded));
        }
        if !all(5).is_empty() {
            problem("malformed".into());
        }
        for expert in all(6).iter().filter(|text| is_about_form(text)) {
            problem(format!("tshark says: {expert}"));
        }
        let unknown = [
            ("ASAP message", asap, &known.asap),
            ("ENRP message", enrp, &known.enrp),
            ("parameter", all(9), &known.parameters),
            ("parameter", all(10), &known.parameters),
            ("cause", all(11), &known.causes),
            ("cause", all(12), &known.causes),
            ("policy", all(13), &known.policies),
            ("policy", all(14), &known.policies),
        ];
        for (what, values, known) in unknown {
            for value in values {
                let value = number(value).unwrap_or(u32::MAX);
                if !known.contains(&value) {
                    problem(format!("{what} {value:#x} is in no RFC and not in docs/PROTOCOL.md"));
                }
            }
        }
        self.messages += decoded;
    }
}

/// Whether a remark of tshark's is about the form of a message. The others are about the transport:
/// retransmissions, resets, windows.
fn is_about_form(remark: &str) -> bool {
    let remark = remark.to_ascii_lowercase();
    ["malformed", "bad length", "bogus", "invalid length"].iter().any(|bad| remark.contains(bad))
}

fn is_set(bit: &str) -> bool {
    matches!(bit, "1" | "True")
}

/// Reads `12` or `0x000c`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Numbers that may be seen.
struct Known {
    asap: BTreeSet<u32>,
    enrp: BTreeSet<u32>,
    parameters: BTreeSet<u32>,
    causes: BTreeSet<u32>,
    policies: BTreeSet<u32>,
}

impl Known {
    /// Those of RFC 5352, 5353, 5354 and 5356, and what `docs/PROTOCOL.md` lists in hexadecimal.
    fn new(protocol: &str) -> Self {
        let words = protocol.split(|character: char| !character.is_ascii_alphanumeric());
        let listed: BTreeSet<u32> =
            words.filter(|word| word.starts_with("0x")).filter_map(number).collect();
        let with = |numbers: &[u32]| listed.iter().chain(numbers).copied().collect();
        let range = |last: u32, first: u32| (first..=last).collect::<Vec<u32>>();
        Self {
            asap: with(&range(0xe, 1)),
            enrp: range(0xa, 1).into_iter().collect(),
            parameters: with(&range(0xf, 1)),
            causes: with(&range(0xb, 0)),
            policies: with(&[1, 2, 3, 4, 5, 0x4000_0001, 0x4000_0002, 0x4000_0003, 0x4000_0004]),
        }
    }
}

/// Counts what a scenario wanted to see: lines of `wanted`, each with WHAT, `at-least` or `at-most`,
/// a number and a display filter.
fn wanted(room: &Path, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let text = fs::read_to_string(room.join("wanted")).unwrap_or_default();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let filters: Vec<&str> = lines.iter().filter_map(|line| line.get(3).copied()).collect();
    let counts = count(&room.join("br0.pcap"), &filters)?;
    for (line, count) in lines.iter().zip(counts) {
        let [what, relation, number, _filter] = line.as_slice() else {
            return Err(format!("not a wish: {line:?}").into());
        };
        let number: u64 = number.parse()?;
        let passed = if *relation == "at-least" { count >= number } else { count <= number };
        let (wanted, found) = (format!("{relation} {number}"), format!("{count} packets"));
        findings.push(Finding { passed, what: (*what).into(), wanted, found });
    }
    Ok(())
}

/// How many packets of a capture pass each of the filters.
fn count(file: &Path, filters: &[&str]) -> Result<Vec<u64>, Error> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-q", "-z"]);
    // A comma parts the filters, so that they cannot hold one.
    tshark.arg(format!("io,stat,0,{}", filters.join(",")));
    let text = output(tshark)?;
    let counts = counts(&text);
    if counts.len() == filters.len() {
        Ok(counts)
    } else {
        Err(format!("tshark counted {} of {}:\n{text}", counts.len(), filters.len()).into())
    }
}

/// Reads the last line of numbers, `| 0.0 <> 9.1 | frames | bytes | frames | bytes |`.
fn counts(text: &str) -> Vec<u64> {
    let line = text.lines().rev().find(|line| line.contains("<>")).unwrap_or_default();
    let cells = line.split('|').skip(2).step_by(2);
    cells.filter_map(|cell| cell.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(packet: &str) -> Vec<String> {
        let known = Known::new("| 0x803f | HandleResolutionOption | and code (0x100a), 0x40a.");
        let mut tally = Tally::default();
        tally.packet(packet, &known, &BTreeSet::from(["10.0.0.66"]));
        tally.problems.into_keys().collect()
    }

    #[test]
    fn only_what_is_known_or_listed_passes() {
        let packet = |types: &str| format!("7\t10.0.0.1\t11\t1\t1\t\t\t5\t\t{types}\t\t\t\t\t");
        assert!(problems(&packet("0x0009;0x803f")).is_empty());
        assert_eq!(problems(&packet("0x0009;0x803e")).len(), 1);
        assert!(problems("7\t10.0.0.66\t11\t1\t1\tx\t\t99\t\t\t\t\t\t\t").is_empty());
        assert_eq!(problems("7\t10.0.0.1\t11;12\t1;1\t1;1\t\t\t5\t\t\t\t\t\t\t").len(), 1);
        assert_eq!(problems("7\t10.0.0.1\t11\t1\t1\tx\t\t5\t\t\t\t\t\t\t"), ["malformed"]);
    }

    #[test]
    fn what_is_quoted_to_the_distrusted_may_be_unknown() {
        let to = |destination: &str| {
            format!("7\t10.0.0.1\t11\t1\t1\t\t\t14;99\t\t\t\t\t\t\t\t\t{destination}")
        };
        assert!(problems(&to("10.0.0.66")).is_empty());
        assert_eq!(problems(&to("10.0.0.67")).len(), 1);
    }

    #[test]
    fn of_several_messages_in_a_segment_only_the_first_is_decoded() {
        let length = |segment: u32| {
            format!("7\t10.0.0.1\t\t\t\t\t\t3\t\t0x700\t\t\t\t\t\t\t\t{segment}\t32\t")
        };
        assert!(problems(&length(60)).is_empty());
        assert_eq!(problems(&length(32)).len(), 1);
    }

    #[test]
    fn what_is_sent_again_need_not_be_decoded_again() {
        assert!(problems("7\t10.0.0.1\t11;11\t1;1\t1;1\t\t\t5\t\t\t\t\t\t\t\t3").is_empty());
    }

    #[test]
    fn the_tail_of_a_long_message_need_not_be_a_message() {
        assert!(problems("7\t10.0.0.1\t11\t0\t1\t\t\t\t\t\t\t\t\t\t").is_empty());
    }

    #[test]
    fn counts_are_read_from_the_table() {
        let text = "| Interval | Frames | Bytes | Frames | Bytes |\n\
                    |  0.0 <> 36.9 |     20 |  2440 |      3 |   266 |\n=====\n";
        assert_eq!(counts(text), [20, 3]);
    }
}
