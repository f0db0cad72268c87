//! Looks through the logs of our own programs for what must never be there.

use super::report::Finding;
use super::scenario::Scenario;
use crate::steps::Error;
use std::fs;
use std::path::Path;

/// Adds a finding about panics and errors in the logs of a scenario.
pub(super) fn judge(
    room: &Path,
    scenario: &Scenario,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut bad = Vec::new();
    for entry in fs::read_dir(room)? {
        let file = entry?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(program) = name.strip_suffix(".log") else { continue };
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        let expected = scenario.errors.iter().any(|name| name == program);
        let line = text.lines().find(|line| is_panic(line) || (is_error(line) && !expected));
        bad.extend(line.map(|line| format!("{program}: {}", line.trim())));
    }
    findings.push(if bad.is_empty() {
        Finding::ok("panics and errors in our logs", "none", "none")
    } else {
        Finding::miss("panics and errors in our logs", "none", bad.join("; "))
    });
    Ok(())
}

fn is_panic(line: &str) -> bool {
    line.contains("panicked at") || line.contains("RUST_BACKTRACE")
}

/// A line at level error, as ours are written: `TIME ERROR ...`, or as JSON.
fn is_error(line: &str) -> bool {
    let text = line.split_whitespace().nth(1) == Some("ERROR") && line.starts_with("20");
    text || (line.starts_with('{') && line.contains(r#""level":"ERROR""#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_ours_are_known_by_their_form() {
        assert!(is_error("2026-11-22T12:53:35.123456Z ERROR it failed"));
        assert!(is_error(r#"{"timestamp":"x","level":"ERROR","message":"it failed"}"#));
        assert!(!is_error("22-Nov-2026 13:42:10.8121: ERROR: Bad registrar address"));
        assert!(is_panic("thread 'main' panicked at src/main.rs:1:1:"));
    }
}
