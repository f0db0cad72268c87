//! Data to stdout, as a table for people or JSON for programs; talk to stderr.
//!
//! Colours are used on a terminal only. A reader that goes away ends the command quietly
//! ([`Failure::BrokenPipe`]).

use crate::failure::Failure;
use serde::Serialize;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};

/// How data is shown.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputFlags {
    /// Write JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Writes text to stdout as it is.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    write!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Writes one JSON document and a line feed to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    print(format_args!("{text}\n"))
}

/// Says something to whoever sits before the terminal; if nobody listens, that is no failure.
pub(crate) fn talk(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Says how far long work is, in one line that is written over; only on a terminal.
pub(crate) fn progress(done: usize, all: usize) {
    let stderr = std::io::stderr();
    if stderr.is_terminal() {
        let end = if done == all { "\r          \r" } else { "" };
        let percent = 100 * done / all.max(1);
        let _ = write!(stderr.lock(), "\r{percent:3} % {end}");
    }
}

/// A table for people: columns as wide as their widest cell, two spaces between, a bold head.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let bold = anstyle::Style::new().bold();
        let mut line = |cells: &mut dyn Iterator<Item = &str>, style: anstyle::Style| {
            let mut text = String::new();
            for (cell, width) in cells.zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{style}{}{style:#}", text.trim_end())
        };
        line(&mut self.head.iter().copied(), bold)?;
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str), anstyle::Style::new())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
        let mut table = Table::new(&["POOL", "N"]);
        table.row(["Käse".into(), "12".into()]);
        table.row(["a-longer-name".into(), String::new()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(text, "POOL           N\nKäse           12\na-longer-name\n");
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_failure() {
        let error = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(error), Failure::BrokenPipe));
    }
}
