//! Running things one after another, timed, with a table at the end.

use serde_json::json;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a task could not go on; shown to the person as it is.
pub(crate) type Error = Box<dyn std::error::Error>;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // The manifest of this package lies one level below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// A cargo command in the root of the workspace, by the cargo that runs this task.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// What a command prints to stdout, as text.
///
/// # Errors
/// If it cannot be started or fails; its stderr is in the text.
pub(crate) fn output(mut command: Command) -> Result<String, Error> {
    let output = command.output().map_err(|error| format!("{}: {error}", show(&command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {}", show(&command), stderr.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether cargo knows a sub-command, such as `deny`.
pub(crate) fn cargo_has(subcommand: &str) -> bool {
    cargo([subcommand, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The steps of a task as they are done.
pub(crate) struct Steps {
    json: bool,
    started: Instant,
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    note: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Steps {
    /// Nothing done yet. With `json`, stdout gets the closing report alone and all talk goes to
    /// stderr.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, started: Instant::now(), done: Vec::new() }
    }

    /// Runs a command, its output shown as it comes; passed if it exits with 0.
    pub(crate) fn run(&mut self, name: &'static str, mut command: Command) {
        eprintln!("\n== {name}: {}", show(&command));
        command.stdin(Stdio::null());
        if self.json {
            command.stdout(io::stderr());
        }
        let started = Instant::now();
        let result = match command.status() {
            Ok(status) if status.success() => Ok(String::new()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.finish(name, started, result);
    }

    /// Runs a check of our own; `Ok` is a note for the table, `Err` what is wrong.
    pub(crate) fn check(
        &mut self,
        name: &'static str,
        check: impl FnOnce() -> Result<String, Error>,
    ) {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let result = check().map_err(|error| error.to_string());
        match &result {
            Ok(note) | Err(note) => eprintln!("{note}"),
        }
        self.finish(name, started, result);
    }

    /// Notes a step that is not run here, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        eprintln!("\n== {name}: skipped: {why}");
        let took = Duration::ZERO;
        self.done.push(Step { name, outcome: Outcome::Skipped, took, note: why.into() });
    }

    /// Prints the table and says whether nothing failed.
    pub(crate) fn close(self) -> bool {
        let total = self.started.elapsed();
        let passed = self.done.iter().all(|step| step.outcome != Outcome::Failed);
        if self.json {
            let steps = self.done.iter().map(|step| {
                json!({
                    "name": step.name,
                    "outcome": step.outcome.word(),
                    "seconds": step.took.as_secs_f64(),
                    "note": step.note,
                })
            });
            let report = json!({
                "passed": passed,
                "seconds": total.as_secs_f64(),
                "steps": steps.collect::<Vec<_>>(),
            });
            println!("{report:#}");
            return passed;
        }
        println!("\n{:<22} {:<8} {:>8}  note", "step", "outcome", "seconds");
        for step in &self.done {
            // Of a long note the table shows the first line; the rest stands above.
            let note = step.note.lines().next().unwrap_or_default();
            let (name, word, seconds) = (step.name, step.outcome.word(), step.took.as_secs_f64());
            println!("{name:<22} {word:<8} {seconds:>8.1}  {note}");
        }
        let word = if passed { "passed" } else { "failed" };
        println!("{:<22} {word:<8} {:>8.1}", "all", total.as_secs_f64());
        for step in self.done.iter().filter(|step| step.outcome == Outcome::Skipped) {
            println!("{} did not run: {}", step.name, step.note);
        }
        passed
    }

    fn finish(&mut self, name: &'static str, started: Instant, result: Result<String, String>) {
        let (outcome, note) = match result {
            Ok(note) => (Outcome::Passed, note),
            Err(note) => (Outcome::Failed, note),
        };
        self.done.push(Step { name, outcome, took: started.elapsed(), note });
    }
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let mut text = program.to_string_lossy().into_owned();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            text = format!("{}='{}' {text}", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
