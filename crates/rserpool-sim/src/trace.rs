//! What happened, as a fingerprint always and as lines when asked for.
//!
//! The fingerprint covers the time, the place and the bytes of everything that happened, so that two
//! runs with the same fingerprint are the same run. Lines cost time and are kept only for people.

use crate::net::NodeId;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Time of the world, in microseconds.
    pub at: u64,
    /// Where it happened, or who sent it.
    pub from: Option<NodeId>,
    /// Who received it; `None` for what concerns one node alone.
    pub to: Option<NodeId>,
    /// What it was.
    pub text: String,
}

/// Collects what happens.
#[derive(Debug)]
pub(crate) struct Trace {
    fingerprint: u64,
    lines: Option<VecDeque<Line>>,
    /// Most lines kept; the oldest make room.
    limit: usize,
}

impl Trace {
    /// Keeps up to `limit` lines; none at all with 0.
    pub(crate) fn new(limit: usize) -> Self {
        let lines = (limit > 0).then(VecDeque::new);
        Self { fingerprint: 0xcbf2_9ce4_8422_2325, lines, limit }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Mixes in what happened.
    pub(crate) fn note(&mut self, at: u64, kind: u8, from: usize, to: usize, bytes: &[u8]) {
        let place = (from as u64) << 40 | (to as u64) << 20 | u64::from(kind);
        self.mix(at);
        self.mix(place);
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.mix(u64::from_le_bytes(*chunk));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last) ^ bytes.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        self.fingerprint =
            (self.fingerprint ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Keeps a line, if lines are kept; `text` is asked for only then.
    pub(crate) fn line(
        &mut self,
        at: u64,
        from: Option<NodeId>,
        to: Option<NodeId>,
        text: impl FnOnce() -> String,
    ) {
        if let Some(lines) = &mut self.lines {
            if lines.len() >= self.limit {
                lines.pop_front();
            }
            lines.push_back(Line { at, from, to, text: text() });
        }
    }

    pub(crate) fn take_lines(&mut self) -> Vec<Line> {
        self.lines.take().map(Vec::from).unwrap_or_default()
    }
}

/// A time as traces show it: seconds with six digits.
pub fn seconds(at: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{:4}.{:06}", at / 1_000_000, at % 1_000_000))
}

/// Lines as text, one thing per line.
pub fn text(names: &[String], lines: &[Line]) -> String {
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let name =
        |node: Option<NodeId>| node.and_then(|node| names.get(node)).map_or("", String::as_str);
    let mut out = String::new();
    for line in lines {
        let (from, to) = (name(line.from), name(line.to));
        let _ = match (line.from, line.to) {
            (Some(_), Some(_)) => {
                writeln!(out, "{}  {from:>width$} -> {to:width$}  {}", seconds(line.at), line.text)
            }
            (Some(_), None) => {
                let space = width + 2;
                writeln!(out, "{}  {from:>width$} *  {:space$}{}", seconds(line.at), "", line.text)
            }
            _ => writeln!(out, "{}  == {}", seconds(line.at), line.text),
        };
    }
    out
}
