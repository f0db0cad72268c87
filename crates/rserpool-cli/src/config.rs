//! Reads a configuration file and finds everything that is wrong with it, not just the first.
//!
//! ```text
//!   text --TOML--> Section --take keys--> values     Section::end: what is left is unknown
//!                     |
//!                     `--> Problem { line, key, what }, as many as there are
//! ```
//!
//! A reader takes each key it knows out of a [`Section`] and gets a value or nothing; what was
//! wrong is noted on the way, so that reading never stops.

use crate::units;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Counted from one.
    pub(crate) line: usize,
    /// The key with the sections it is in: `timers.keep_alive_interval`; empty if it is not TOML.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.what),
            key => write!(f, "line {}: {key}: {}", self.line, self.what),
        }
    }
}

/// Reads `text` by `read`, which takes every key it knows and ends the section.
///
/// # Errors
/// All problems, in the order of their lines.
pub(crate) fn read<T>(
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let file = File { text, problems: RefCell::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        file.note(error.span().unwrap_or(0..0), String::new(), error.message().into());
    }
    let span = table.span();
    let mut root = Section {
        file: &file,
        path: String::new(),
        span,
        table: table.into_inner(),
        taken: Vec::new(),
    };
    let value = read(&mut root);
    root.end();
    let mut problems = file.problems.into_inner();
    problems.sort();
    problems.dedup();
    if problems.is_empty() { Ok(value) } else { Err(problems) }
}

/// As [`read`], of a file that has other sections, which are not looked at.
pub(crate) fn read_some<T>(
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    self::read(text, |root| {
        let value = read(root);
        root.table.clear();
        value
    })
}

struct File<'i> {
    text: &'i str,
    problems: RefCell<Vec<Problem>>,
}

impl File<'_> {
    fn note(&self, span: Range<usize>, key: String, what: String) {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        self.problems.borrow_mut().push(Problem { line, key, what });
    }
}

/// A table of the file, from which keys are taken.
pub(crate) struct Section<'f> {
    file: &'f File<'f>,
    path: String,
    /// Where it stands.
    span: Range<usize>,
    table: DeTable<'f>,
    /// Keys taken, and where they stand.
    taken: Vec<(String, Range<usize>)>,
}

impl<'f> Section<'f> {
    /// Takes a value out if it is there and is what `read` wants.
    pub(crate) fn take<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take_raw(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.file.note(value.span(), self.path_of(key), what);
                None
            }
        }
    }

    /// Takes a value into `target`; if it is not there or wrong, `target` stays.
    pub(crate) fn set<T>(
        &mut self,
        key: &str,
        target: &mut T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) {
        if let Some(value) = self.take(key, read) {
            *target = value;
        }
    }

    /// Takes each value of an array, or the only one if it is not an array; nothing if one is wrong.
    pub(crate) fn take_list<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take_raw(key)?;
        let values = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![&value],
        };
        let (count, mut list) = (values.len(), Vec::new());
        for value in values {
            match read(value.get_ref()) {
                Ok(value) => list.push(value),
                Err(what) => self.file.note(value.span(), self.path_of(key), what),
            }
        }
        (list.len() == count).then_some(list)
    }

    /// Reads a section below this one, if it is there.
    pub(crate) fn section(&mut self, key: &str, read: impl FnOnce(&mut Section<'f>)) {
        let Some(value) = self.take_raw(key) else { return };
        let (span, path) = (value.span(), self.path_of(key));
        match value.into_inner() {
            DeValue::Table(table) => {
                let mut section = Section { file: self.file, path, span, table, taken: Vec::new() };
                read(&mut section);
                section.end();
            }
            other => {
                self.file.note(span, path, format!("{} where a section is wanted", kind(&other)))
            }
        }
    }

    /// Reads each section of a list of them, `[[key]]`; empty if there is none.
    pub(crate) fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'f>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.take_raw(key) else { return Vec::new() };
        let (span, path) = (value.span(), self.path_of(key));
        let DeValue::Array(array) = value.into_inner() else {
            self.file.note(span, path, format!("sections are wanted, written [[{key}]]"));
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, value) in array.into_iter().enumerate() {
            let (span, path) = (value.span(), format!("{path}[{}]", index + 1));
            match value.into_inner() {
                DeValue::Table(table) => {
                    let mut section =
                        Section { file: self.file, path, span, table, taken: Vec::new() };
                    values.push(read(&mut section));
                    section.end();
                }
                other => {
                    let what = format!("{} where a section is wanted", kind(&other));
                    self.file.note(span, path, what);
                }
            }
        }
        values
    }

    /// The keys that are left.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.table.keys().map(|key| key.get_ref().to_string()).collect()
    }

    /// Notes a problem with a key's value, or with the section if the key is not in it.
    pub(crate) fn problem(&self, key: &str, what: impl fmt::Display) {
        let taken = self.taken.iter().find(|(taken, _)| taken == key);
        let span = taken.map_or(&self.span, |(_, span)| span);
        self.file.note(span.clone(), self.path_of(key), what.to_string());
    }

    /// Whether the key was there.
    pub(crate) fn has_taken(&self, key: &str) -> bool {
        self.taken.iter().any(|(taken, _)| taken == key)
    }

    fn take_raw(&mut self, key: &str) -> Option<Spanned<DeValue<'f>>> {
        let (name, value) = self.table.remove_entry(key)?;
        self.taken.push((key.into(), name.span()));
        Some(value)
    }

    fn path_of(&self, key: &str) -> String {
        let bare = !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let dot = if self.path.is_empty() { "" } else { "." };
        if bare { format!("{}{dot}{key}", self.path) } else { format!("{}{dot}{key:?}", self.path) }
    }

    /// Whatever has not been taken is unknown.
    fn end(&mut self) {
        for key in self.table.keys() {
            let path = self.path_of(key.get_ref());
            self.file.note(key.span(), path, "no such key".into());
        }
    }
}

/// Reads a text by its [`std::str::FromStr`].
pub(crate) fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    value: &DeValue<'_>,
) -> Result<T, String> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// Reads a time such as `"250ms"`.
pub(crate) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    match value {
        DeValue::Integer(number) => {
            Err(format!("{number} of what? Write a time with its unit, like \"{number}ms\""))
        }
        value => units::parse_duration(text(value)?),
    }
}

/// Reads a time above zero.
pub(crate) fn positive_duration(value: &DeValue<'_>) -> Result<Duration, String> {
    match duration(value)? {
        Duration::ZERO => Err("it must be longer than zero".into()),
        duration => Ok(duration),
    }
}

/// Reads a time above zero, or `"off"`.
pub(crate) fn duration_or_off(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    match value {
        DeValue::String(text) if text == "off" => Ok(None),
        value => positive_duration(value).map(Some),
    }
}

/// Reads a whole number from 1 to what the type holds.
pub(crate) fn count<T: TryFrom<u64>>(value: &DeValue<'_>) -> Result<T, String> {
    let DeValue::Integer(number) = value else {
        return Err(format!("{} where a whole number is wanted", kind(value)));
    };
    u64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| *number > 0)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{number} is not a number from 1 to {}", largest::<T>()))
}

/// Reads true or false.
pub(crate) fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        other => Err(format!("{} where true or false is wanted", kind(other))),
    }
}

/// Reads an identifier of 32 bits, as a number or as text.
pub(crate) fn id(value: &DeValue<'_>) -> Result<u32, String> {
    match value {
        DeValue::Integer(number) => units::parse_id(&number.to_string()),
        value => units::parse_id(text(value)?),
    }
}

/// Reads text.
pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(format!("{} where text in quotes is wanted", kind(other))),
    }
}

fn largest<T>() -> u64 {
    u64::MAX >> (64 - 8 * size_of::<T>().clamp(1, 8))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let result = read(text, |root| {
            root.take("name", |value| super::text(value).map(str::to_owned));
            root.section("timers", |timers| {
                timers.take("interval", positive_duration);
                timers.take("burst", count::<u32>);
            });
        });
        result.err().unwrap_or_default().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_good_file_has_no_problem() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert_eq!(
            problems("name = 'x'\n[timers]\ninterval = \"250ms\"\nburst = 0x10\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn all_problems_are_found_at_once_with_their_lines_and_keys() {
        let text = "\
name = 7
naem = \"x\"

[timers]
interval = 250
burst = -1
\"a b\" = 1
[other]
";
        assert_eq!(
            problems(text),
            [
                "line 1: name: a number where text in quotes is wanted",
                "line 2: naem: no such key",
                "line 5: timers.interval: 250 of what? Write a time with its unit, like \"250ms\"",
                "line 6: timers.burst: -1 is not a number from 1 to 4294967295",
                "line 7: timers.\"a b\": no such key",
                "line 8: other: no such key",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_found_together_with_the_rest() {
        let found = problems("name = \n[timers]\ninterval = \"0ms\"\ninterval = \"1s\"\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("line 1: "), "{found:?}");
        assert_eq!(found[1], "line 3: timers.interval: it must be longer than zero");
        assert!(found[2].starts_with("line 4: "), "{found:?}");
    }

    #[test]
    fn a_value_where_a_section_is_wanted_is_said() {
        assert_eq!(problems("timers = 1"), ["line 1: timers: a number where a section is wanted"]);
    }
}
