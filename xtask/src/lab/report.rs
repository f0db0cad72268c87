//! What was wanted and what was found, as text, as tables and as JSON.

use super::scenario::Scenario;
use crate::steps::{Error, root};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) passed: bool,
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) found: String,
}

impl Finding {
    pub(super) fn ok(what: &str, wanted: &str, found: impl ToString) -> Self {
        let (what, wanted) = (what.into(), wanted.into());
        Self { passed: true, what, wanted, found: found.to_string() }
    }

    pub(super) fn miss(what: &str, wanted: &str, found: impl ToString) -> Self {
        Self { passed: false, ..Self::ok(what, wanted, found) }
    }
}

/// What came of one scenario.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) findings: Vec<Finding>,
    figures: Vec<[String; 4]>,
    pub(super) took: Duration,
}

impl Outcome {
    fn misses(&self) -> usize {
        self.findings.iter().filter(|finding| !finding.passed).count()
    }

    /// Reads the findings and figures that a scenario has written down.
    pub(super) fn read(&mut self, room: &Path) -> Result<(), Error> {
        let findings = fs::read(room.join("findings")).unwrap_or_default();
        for line in String::from_utf8_lossy(&findings).lines() {
            let Some([word, what, wanted, found]) = fields(line) else {
                return Err(format!("not a finding: {line}").into());
            };
            self.findings.push(Finding { passed: word == "ok", what, wanted, found });
        }
        let figures = fs::read(room.join("figures")).unwrap_or_default();
        for line in String::from_utf8_lossy(&figures).lines() {
            self.figures.push(fields(line).ok_or_else(|| format!("not a figure: {line}"))?);
        }
        Ok(())
    }
}

fn fields(line: &str) -> Option<[String; 4]> {
    let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
    fields.try_into().ok()
}

/// What came of all of them.
#[derive(Default)]
pub(super) struct Report {
    outcomes: Vec<(String, Outcome)>,
}

impl Report {
    /// Takes a scenario's outcome, and prints it.
    pub(super) fn add(&mut self, scenario: &Scenario, outcome: Outcome) {
        println!("\n== {}: {}", scenario.name, scenario.title);
        for Finding { passed, what, wanted, found } in &outcome.findings {
            let word = if *passed { "ok  " } else { "MISS" };
            println!("{word} {what}: {found} (wanted: {wanted})");
        }
        println!("   took {:.1} s", outcome.took.as_secs_f64());
        self.outcomes.push((scenario.name.clone(), outcome));
    }

    /// The scenarios that have missed something.
    pub(super) fn missed(&self) -> Vec<String> {
        let missed = self.outcomes.iter().filter(|(_, outcome)| outcome.misses() > 0);
        missed.map(|(name, _)| name.clone()).collect()
    }

    /// Takes the outcome of a scenario that was played again.
    pub(super) fn replace(&mut self, scenario: &Scenario, outcome: Outcome) {
        self.outcomes.retain(|(name, _)| *name != scenario.name);
        self.add(scenario, outcome);
    }

    /// Prints the tables and what was missed, leaves all of it as JSON, and says whether nothing was.
    pub(super) fn close(&mut self, took: Duration) -> Result<bool, Error> {
        self.outcomes.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (table, rows) in self.tables() {
            println!("\n{table}");
            print!("{}", layout(&rows));
            let folder = root().join("target/bench");
            fs::create_dir_all(&folder)?;
            let file = folder.join(format!("lab-{table}.json"));
            fs::write(file, format!("{:#}\n", Value::Object(rows)))?;
        }
        println!("\n{:<14} {:>7} {:>7} {:>8}", "scenario", "checks", "missed", "seconds");
        let mut missed = 0;
        for (name, outcome) in &self.outcomes {
            let misses = outcome.misses();
            missed += misses;
            let (checks, seconds) = (outcome.findings.len(), outcome.took.as_secs_f64());
            println!("{name:<14} {checks:>7} {misses:>7} {seconds:>8.1}");
        }
        println!("{:<14} {:>7} {missed:>7} {:>8.1}", "all", "", took.as_secs_f64());
        for (name, outcome) in &self.outcomes {
            for Finding { what, wanted, found, .. } in
                outcome.findings.iter().filter(|finding| !finding.passed)
            {
                println!("MISS {name}: {what}: {found} (wanted: {wanted})");
            }
        }
        let file = root().join("target/lab/report.json");
        fs::write(&file, format!("{:#}\n", self.json(took)))?;
        println!("all of it in {}", file.parent().unwrap_or(&file).display());
        Ok(missed == 0)
    }

    /// By table, then by row: columns and values.
    fn tables(&self) -> Vec<(String, Map<String, Value>)> {
        let mut tables: Vec<(String, Map<String, Value>)> = Vec::new();
        for [table, row, column, value] in self.outcomes.iter().flat_map(|(_, o)| &o.figures) {
            let at = tables.iter().position(|(name, _)| name == table).unwrap_or_else(|| {
                tables.push((table.clone(), Map::new()));
                tables.len() - 1
            });
            if let Some((_, rows)) = tables.get_mut(at) {
                let row = rows.entry(row.clone()).or_insert_with(|| json!({}));
                let number = value.parse::<f64>().map(Value::from);
                row[column] = number.unwrap_or_else(|_| value.clone().into());
            }
        }
        tables
    }

    fn json(&self, took: Duration) -> Value {
        let scenarios = self.outcomes.iter().map(|(name, outcome)| {
            let findings = outcome.findings.iter().map(|finding| {
                json!({
                    "passed": finding.passed,
                    "what": finding.what,
                    "wanted": finding.wanted,
                    "found": finding.found,
                })
            });
            json!({
                "scenario": name,
                "seconds": outcome.took.as_secs_f64(),
                "findings": findings.collect::<Vec<_>>(),
            })
        });
        json!({ "seconds": took.as_secs_f64(), "scenarios": scenarios.collect::<Vec<_>>() })
    }
}

/// A table as text: one line a row, a column for every name that is in any of them.
fn layout(rows: &Map<String, Value>) -> String {
    let mut columns: Vec<&String> = Vec::new();
    for row in rows.values().filter_map(Value::as_object) {
        for column in row.keys() {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
    }
    let head = rows.keys().map(|row| row.chars().count()).max().unwrap_or_default();
    let mut text = " ".repeat(head);
    for column in &columns {
        text.push_str(&format!("  {column:>12}"));
    }
    text.push('\n');
    for (name, row) in rows {
        text.push_str(&format!("{name:<head$}"));
        for column in &columns {
            let width = column.chars().count().max(12);
            let value = match &row[column.as_str()] {
                Value::Null => "-".into(),
                Value::String(value) => value.clone(),
                value => value.to_string(),
            };
            text.push_str(&format!("  {value:>width$}"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_a_table_with_a_dash_where_nothing_was_measured() {
        let figure = |row: &str, column: &str, value: &str| {
            ["resolve", row, column, value].map(str::to_owned)
        };
        let figures = vec![
            figure("1 item", "ours", "4000"),
            figure("1 item", "reference", "3000"),
            figure("register", "ours", "many"),
        ];
        let report =
            Report { outcomes: vec![("x".into(), Outcome { figures, ..Outcome::default() })] };
        let tables = report.tables();
        let [(name, rows)] = tables.as_slice() else { panic!("one table") };
        assert_eq!(name, "resolve");
        let text = layout(rows);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1", "item", "4000.0", "3000.0"]);
        assert_eq!(lines[2], ["register", "many", "-"]);
    }
}
