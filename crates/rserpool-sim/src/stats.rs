//! What happened how often, and which messages met which states.

use crate::node::Role;
use std::collections::BTreeSet;
use std::fmt;

/// Sums over a run, or over many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages that arrived at machines.
    pub messages: u64,
    /// Inputs of all kinds given to machines.
    pub inputs: u64,
    /// Faults that began.
    pub faults: u64,
    /// Answers to users that were compared with the model.
    pub answers: u64,
    /// Elements that registrars removed.
    pub removals: u64,
    /// Sessions of users with pools that began.
    pub sessions: u64,
    /// Times they went on with another element.
    pub failovers: u64,
    /// Simulated time, in microseconds.
    pub simulated: u64,
    /// Longest time, in microseconds, that an element was out of its pool although it could reach a
    /// registrar.
    pub longest_absence: u64,
    /// Message and state pairs that were met.
    pub coverage: Coverage,
}

impl Stats {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.inputs += other.inputs;
        self.faults += other.faults;
        self.answers += other.answers;
        self.removals += other.removals;
        self.sessions += other.sessions;
        self.failovers += other.failovers;
        self.simulated += other.simulated;
        self.longest_absence = self.longest_absence.max(other.longest_absence);
        self.coverage.add(&other.coverage);
    }
}

/// Which messages met which states of which machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    met: BTreeSet<(Role, u16, &'static str)>,
}

impl Coverage {
    pub(crate) fn meet(&mut self, role: Role, message: u16, state: &'static str) {
        self.met.insert((role, message, state));
    }

    fn add(&mut self, other: &Self) {
        self.met.extend(&other.met);
    }

    /// How many pairs were met.
    pub fn len(&self) -> usize {
        self.met.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }
}

/// One line for each machine and message: the states it was met in.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for &(role, message, state) in &self.met {
            if last == Some((role, message)) {
                write!(f, ", {state}")?;
            } else {
                if last.is_some() {
                    writeln!(f)?;
                }
                write!(f, "{role:?} {}: {state}", message_name(message))?;
                last = Some((role, message));
            }
        }
        Ok(())
    }
}

/// The names of ASAP messages by their type (RFC 5352 §2.2), and of ENRP messages by theirs
/// (RFC 5353 §2) and 256.
fn message_name(kind: u16) -> &'static str {
    match kind {
        0x01 => "REGISTRATION",
        0x02 => "DEREGISTRATION",
        0x03 => "REGISTRATION_RESPONSE",
        0x04 => "DEREGISTRATION_RESPONSE",
        0x05 => "HANDLE_RESOLUTION",
        0x06 => "HANDLE_RESOLUTION_RESPONSE",
        0x07 => "ENDPOINT_KEEP_ALIVE",
        0x08 => "ENDPOINT_KEEP_ALIVE_ACK",
        0x09 => "ENDPOINT_UNREACHABLE",
        0x0a => "SERVER_ANNOUNCE",
        0x0b => "COOKIE",
        0x0c => "COOKIE_ECHO",
        0x0d => "BUSINESS_CARD",
        0x0e => "ERROR",
        0xf0 => "END",
        0x101 => "ENRP PRESENCE",
        0x102 => "ENRP HANDLE_TABLE_REQUEST",
        0x103 => "ENRP HANDLE_TABLE_RESPONSE",
        0x104 => "ENRP HANDLE_UPDATE",
        0x105 => "ENRP LIST_REQUEST",
        0x106 => "ENRP LIST_RESPONSE",
        0x107 => "ENRP INIT_TAKEOVER",
        0x108 => "ENRP INIT_TAKEOVER_ACK",
        0x109 => "ENRP TAKEOVER_SERVER",
        0x10a => "ENRP ERROR",
        _ => "(unknown)",
    }
}
