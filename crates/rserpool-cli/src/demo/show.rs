//! What is seen: a picture that changes on a terminal, lines elsewhere, and a summary.

use super::tally::{Counts, Element, Tally};
use crate::failure::Failure;
use crate::output::{Table, print, print_json};
use anstyle::{AnsiColor, Style};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Where it is seen, and what has been said lately.
pub(super) struct Show {
    way: Way,
    time: Duration,
    said: VecDeque<String>,
    /// Lines of the picture that is on the terminal.
    drawn: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Pictures.
    Live,
    /// A line for whatever happens.
    Lines,
    /// Nothing until the end.
    Json,
}

/// Lines of what has been said that stay in the picture.
const SAID_MAX: usize = 8;

/// Width of the longest bar, in characters.
const BAR: f64 = 30.0;

impl Show {
    /// As JSON at the end, or for whoever reads stdout, during `time`.
    pub(super) fn new(json: bool, time: Duration) -> Self {
        let way = match json {
            true => Way::Json,
            false if std::io::stdout().is_terminal() => Way::Live,
            false => Way::Lines,
        };
        Self { way, time, said: VecDeque::new(), drawn: 0 }
    }

    /// Says what has happened at `now` since the beginning.
    pub(super) fn say(
        &mut self,
        tally: &Tally,
        now: Duration,
        text: String,
    ) -> Result<(), Failure> {
        let line = format!("{:>5.1} s  {text}", now.as_secs_f64());
        match self.way {
            Way::Json => Ok(()),
            Way::Lines => print(format_args!("{line}\n")),
            Way::Live => {
                self.said.push_back(line);
                if self.said.len() > SAID_MAX {
                    self.said.pop_front();
                }
                self.picture(tally, now)
            }
        }
    }

    /// Draws how things stand at `now`.
    pub(super) fn picture(&mut self, tally: &Tally, now: Duration) -> Result<(), Failure> {
        if self.way != Way::Live {
            return Ok(());
        }
        let picture = self.draw(&tally.read(), now);
        let lines = picture.lines().count();
        // Up to where the last one began, and over it.
        let up = if self.drawn > 0 { format!("\x1b[{}A\r", self.drawn) } else { String::new() };
        self.drawn = lines;
        print(format_args!("{up}\x1b[J{picture}"))
    }

    /// The summary, and the verdict.
    pub(super) fn close(mut self, tally: &Tally, now: Duration) -> Result<(), Failure> {
        let counts = tally.read();
        if self.way == Way::Json {
            print_json(&counts.summary())?;
        } else {
            self.picture(tally, now)?;
            print(summary(&counts))?;
        }
        match counts.lost {
            0 => Ok(()),
            lost => Err(Failure::failed(format!("{lost} requests were never answered"))
                .next("run it again with --log-level debug to see what happened to them")),
        }
    }

    fn draw(&self, counts: &Counts, now: Duration) -> String {
        let (bold, plain) = (Style::new().bold(), Style::new());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{bold}sent {}   answered {}   sent again {}   lost {}{bold:#}   {:.1} of {:.0} s\n",
            counts.sent,
            counts.answered,
            counts.sent_again,
            counts.lost,
            now.min(self.time).as_secs_f64(),
            self.time.as_secs_f64(),
        );
        let most = counts.elements.iter().map(|element| element.answered).max().unwrap_or(0);
        for element in &counts.elements {
            let style = match element.killed {
                Some(_) => AnsiColor::Red.on_default(),
                None => AnsiColor::Green.on_default(),
            };
            let width = (element.answered as f64 / most.max(1) as f64 * BAR).round() as usize;
            let state = if element.killed.is_some() { "killed" } else { "serves" };
            let _ = writeln!(
                text,
                "{style}{} {state}{style:#}  {style}{}{style:#}{} {}",
                element.pe,
                "█".repeat(width),
                " ".repeat((BAR as usize).saturating_sub(width)),
                element.answered,
            );
        }
        let _ = writeln!(text, "{plain}");
        for line in &self.said {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

fn summary(counts: &Counts) -> String {
    let mut table = Table::new(&[
        "ELEMENT",
        "ADDRESS",
        "ANSWERED",
        "SHARE",
        "KILLED WITH",
        "IN ITS PLACE AFTER",
    ]);
    for element in &counts.elements {
        table.row(row(counts, element));
    }
    let median = counts.median().map_or("unknown".into(), in_milliseconds);
    format!(
        "\n{table}\nrequests: {} sent, {} answered, {} lost; {} times one was sent again\n\
         from a kill to the first answer by another element: {median} (median)\n",
        counts.sent, counts.answered, counts.lost, counts.sent_again
    )
}

fn row(counts: &Counts, element: &Element) -> [String; 6] {
    let (killed_with, after) = match element.killed {
        Some(kill) => {
            (requests(kill.requests), kill.replaced_after.map_or("-".into(), in_milliseconds))
        }
        None => (String::new(), String::new()),
    };
    [
        element.pe.to_string(),
        element.address.to_string(),
        element.answered.to_string(),
        format!("{:.1} %", counts.share(element) * 100.0),
        killed_with,
        after,
    ]
}

/// `1 request`, `2 requests`.
pub(super) fn requests(count: usize) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

fn in_milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::proto::id::PeId;
    use std::net::SocketAddr;

    #[test]
    fn the_summary_names_every_element_and_what_came_after_a_kill() {
        let tally = Tally::default();
        tally.joined(PeId(1), SocketAddr::from(([127, 0, 0, 1], 81)));
        tally.joined(PeId(2), SocketAddr::from(([127, 0, 0, 1], 82)));
        tally.sent();
        tally.killed(PeId(1), 1);
        tally.sent_again();
        tally.answered(PeId(2), &[PeId(1)]);
        let text = anstream::adapter::strip_str(&summary(&tally.read())).to_string();
        for part in ["0x00000001  127.0.0.1:81  0", "1 request ", "100.0 %", "1 sent, 1 answered"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_picture_has_a_line_for_every_element_and_for_what_was_said() {
        let mut show = Show::new(false, Duration::from_secs(12));
        show.said.push_back("something happened".into());
        let tally = Tally::default();
        tally.joined(PeId(1), SocketAddr::from(([127, 0, 0, 1], 81)));
        let picture = show.draw(&tally.read(), Duration::from_secs(1));
        assert_eq!(picture.lines().count(), 5, "{picture}");
    }
}
