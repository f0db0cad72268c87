//! Checks `docs/CONFORMANCE.md` against the tests that exist, and counts its rows.
//!
//! A row is `| id | level | requirement | shown by |`, where *shown by* is a list of test names in
//! backticks, or begins with `waits:` or `refused:`.

use crate::steps::{Error, cargo, output, root};
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = "docs/CONFORMANCE.md";

/// The check; the note says how many rows of each RFC are tested, wait or are refused.
///
/// # Errors
/// If a row has none of the three forms, an id comes twice, or a test does not exist.
pub(crate) fn check() -> Result<String, Error> {
    let text = std::fs::read_to_string(root().join(DOCUMENT))?;
    let rows = rows(&text).map_err(|problems| problems.join("\n"))?;
    // The targets that the tests' own step has built.
    let mut list = cargo(["test", "--locked", "--workspace", "--quiet"]);
    list.args(["--lib", "--bins", "--tests", "--", "--list", "--format", "terse"]);
    let listing = output(list)?;
    let tests = test_names(&listing);
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|row| row.tests.iter().map(move |test| (row.id, *test)))
        .filter(|(_, test)| !tests.contains(*test))
        .map(|(id, test)| format!("{DOCUMENT}: {id} names `{test}`, which is no test"))
        .collect();
    if missing.is_empty() { Ok(summary(&rows)) } else { Err(missing.join("\n").into()) }
}

struct Row<'a> {
    id: &'a str,
    state: State,
    tests: Vec<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Tested,
    Waits,
    Refused,
}

/// All rows of the document, or everything that is wrong with its form.
fn rows(text: &str) -> Result<Vec<Row<'_>>, Vec<String>> {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        // Ids begin with the number of the RFC; heads and rules of tables do not.
        if !line.starts_with("| 5") {
            continue;
        }
        let mut problem = |what: &str| problems.push(format!("{DOCUMENT}:{number}: {what}"));
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, level, _, shown_by] = cells[..] else {
            problem("a row has four cells");
            continue;
        };
        if !ids.insert(id) {
            problem("this id has been used above");
        }
        if !LEVELS.contains(&level) {
            problem("the level is none of RFC 2119's, nor `text`");
        }
        let (state, tests) = if reason(shown_by, "waits:") {
            (State::Waits, Vec::new())
        } else if reason(shown_by, "refused:") {
            (State::Refused, Vec::new())
        } else {
            let tests = shown_by.split(", ").map(|name| {
                name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).ok_or(())
            });
            match tests.collect() {
                Ok(tests) => (State::Tested, tests),
                Err(()) => {
                    problem("shown by: neither `tests`, nor `waits: ..`, nor `refused: ..`");
                    continue;
                }
            }
        };
        rows.push(Row { id, state, tests });
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

const LEVELS: &[&str] = &[
    "MUST",
    "MUST NOT",
    "MUST ONLY",
    "SHALL",
    "SHALL NOT",
    "REQUIRED",
    "SHOULD",
    "SHOULD NOT",
    "RECOMMENDED",
    "MAY",
    "OPTIONAL",
    // What an RFC describes without any of these words.
    "text",
];

/// Whether a cell begins with the word and goes on.
fn reason(cell: &str, word: &str) -> bool {
    cell.strip_prefix(word).is_some_and(|rest| !rest.trim().is_empty())
}

/// The last parts of the names that `cargo test -- --list` prints, one `path::name: test` a line.
fn test_names(listing: &str) -> BTreeSet<&str> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter_map(|path| path.rsplit("::").next())
        .collect()
}

fn summary(rows: &[Row<'_>]) -> String {
    let mut counts = BTreeMap::<&str, [usize; 3]>::new();
    for row in rows {
        let rfc = row.id.split('-').next().unwrap_or_default();
        for key in [rfc, "all"] {
            counts.entry(key).or_default()[row.state as usize] += 1;
        }
    }
    let line = |(rfc, [tested, waits, refused]): (&&str, &[usize; 3])| {
        let rows = tested + waits + refused;
        format!("{rfc}: {rows} rows, {tested} tested, {waits} wait, {refused} refused")
    };
    // The sum first, for it is what a table shows.
    counts.iter().rev().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_three_kinds_are_read_and_counted() {
        let text = "\
| id | level | requirement | shown by |
|---|---|---|---|
| 5352-1-1 | MUST | a | `one_test`, `another` |
| 5352-1-2 | SHOULD NOT | b | waits: TLS |
| 5353-1-1 | MAY | c | refused: no use |
";
        let Ok(rows) = rows(text) else { panic!("the rows are well-formed") };
        assert_eq!(rows[0].tests, ["one_test", "another"]);
        assert_eq!(
            summary(&rows),
            "all: 3 rows, 1 tested, 1 wait, 1 refused\n\
             5353: 1 rows, 0 tested, 0 wait, 1 refused\n\
             5352: 2 rows, 1 tested, 1 wait, 0 refused"
        );
    }

    #[test]
    fn rows_that_say_nothing_are_refused() {
        for row in [
            "| 5352-1-1 | MUST | a |",
            "| 5352-1-1 | MUST | a | |",
            "| 5352-1-1 | MUST | a | waits: |",
            "| 5352-1-1 | MUST | a | some test |",
            "| 5352-1-1 | must | a | waits: TLS |",
            "| 5352-1-1 | MUST | a | waits: TLS |\n| 5352-1-1 | MUST | a | waits: TLS |",
        ] {
            assert!(rows(row).is_err(), "{row}");
        }
    }

    #[test]
    fn tests_are_listed_by_the_last_part_of_their_path() {
        let names = test_names("wire::tests::a_test: test\nroot_test: test\nbench: benchmark\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a_test", "root_test"]);
    }
}
