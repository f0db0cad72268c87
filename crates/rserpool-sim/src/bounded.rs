//! A bounded search: every way in which a few things can go wrong while a registrar is taken over.
//!
//! ```text
//!   scenario --> the messages that registrars send each other, in order: 0, 1, 2, ...
//!     for each, and for each pair of them: late by a little, by a lot, or lost with its connection
//!       --> the same scenario again, with that --> all agree, every element has one home
//! ```
//!
//! The machines are the real ones, and so are their timers. A message that is late lets those on other
//! connections overtake it; one that is lost takes its connection with it, as TCP and SCTP do.
//! Presences are not counted: they are many, and each is like the next.

use crate::script;
use std::collections::BTreeMap;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// It takes so many microseconds longer, and what follows on its connection waits for it.
    Late(u64),
    /// Its connection breaks instead.
    Lost,
}

/// Deviations by the number of the message.
pub type Deviations = BTreeMap<u64, Deviation>;

/// What becomes of a message in turn: overtaken by some, by a timeout, by the end of a takeover.
pub const KINDS: [Deviation; 4] = [
    Deviation::Late(20_000),
    Deviation::Late(450_000),
    Deviation::Late(1_500_000),
    Deviation::Lost,
];

/// What a search has gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Runs of the scenario.
    pub runs: u64,
    /// Messages that could deviate in the scenario without deviations.
    pub messages: u64,
}

/// Plays a scenario with every combination of up to `most` deviations.
///
/// # Errors
/// The first combination after which something is wrong, and what.
pub fn search(commands: &str, most: usize) -> Result<Searched, String> {
    let mut searched = Searched::default();
    searched.messages = play(commands, &Deviations::new(), &mut searched)?;
    deepen(commands, &Deviations::new(), searched.messages, most, &mut searched)?;
    Ok(searched)
}

fn deepen(
    commands: &str,
    so_far: &Deviations,
    messages: u64,
    most: usize,
    searched: &mut Searched,
) -> Result<(), String> {
    if most == 0 {
        return Ok(());
    }
    let first = so_far.last_key_value().map_or(0, |(last, _)| last + 1);
    for message in first..messages {
        for kind in KINDS {
            let mut deviations = so_far.clone();
            deviations.insert(message, kind);
            // What deviates makes others send more, or less.
            let messages = play(commands, &deviations, searched)?;
            deepen(commands, &deviations, messages, most - 1, searched)?;
        }
    }
    Ok(())
}

fn play(commands: &str, deviations: &Deviations, searched: &mut Searched) -> Result<u64, String> {
    searched.runs += 1;
    let failed = |what: String| format!("{deviations:?}: {what}");
    script::play_with(commands, deviations).map_err(failed)
}
