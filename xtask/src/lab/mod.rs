//! The interop lab: scenarios with real SCTP, real networks and the reference implementation, on any
//! machine.
//!
//! ```text
//!   cargo xtask lab ──> run.sh ──> User-Mode Linux ──> lab/scenarios/NAME.sh
//!          |                        bridges, namespaces, netem       |
//!          |                                                         v
//!          +── tshark <── target/lab/NAME/br0.pcap, findings, figures, *.log
//! ```
//!
//! A scenario is a story in bash, in the words of `lab/lib.sh`; what it checks it writes down as
//! findings. Afterwards everything it captured is decoded here by an implementation that is not ours,
//! and every log of ours is looked through for panics. Two machines run at a time, each on a core of
//! its own, but for scenarios that measure: those run alone.

mod capture;
mod log;
mod needs;
mod ready;
mod report;
mod scenario;

use crate::steps::{Error, cargo, root};
pub(crate) use ready::make_ready;
use report::{Finding, Outcome, Report};
use scenario::Scenario;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these scenarios, by the names of their files in lab/scenarios [default: all].
    scenarios: Vec<String>,
    /// The long rows of the reference implementation too.
    #[arg(long)]
    full: bool,
    /// Build without optimisation; what measures is left out unless it is named.
    #[arg(long)]
    quick: bool,
    /// How much worse than wanted what is measured may be, in percent, where others use the machine
    /// meanwhile.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    margin: u32,
    /// Play once more, alone, each scenario that has missed something; the second time counts.
    #[arg(long)]
    retry: bool,
    /// Print the scenarios, and do nothing.
    #[arg(long)]
    list: bool,
}

/// Runs the scenarios; `Ok(true)` if everything was found as wanted.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let all = scenario::all(&root().join("lab/scenarios"))?;
    if arguments.list {
        for scenario in &all {
            println!("{:<14} {}", scenario.name, scenario.title);
        }
        return Ok(true);
    }
    let missing = needs::missing();
    if !missing.is_empty() {
        return Err(needs::advice(&missing).into());
    }
    let started = Instant::now();
    let chosen = choose(&all, arguments)?;
    let programs = Arc::new(Programs::build(arguments.quick)?);
    let cores = cores();
    let report = Arc::new(Mutex::new(Report::default()));
    let (alone, beside): (Vec<Scenario>, Vec<Scenario>) =
        chosen.iter().cloned().partition(|scenario| scenario.alone);
    // The long ones first, so that they do not end alone.
    let mut queue = beside;
    queue.sort_by_key(|scenario| scenario.seconds);
    let queue = Arc::new(Mutex::new(queue));
    let machines = cores.iter().take(MACHINES).map(|core| {
        let (queue, report, programs) = (queue.clone(), report.clone(), programs.clone());
        let (core, options) = (*core, Options::of(arguments));
        thread::spawn(move || {
            while let Some(scenario) = lock(&queue).pop() {
                let outcome = play(&scenario, &programs, core, options);
                lock(&report).add(&scenario, outcome);
            }
        })
    });
    for machine in machines.collect::<Vec<_>>() {
        machine.join().map_err(|_| "a thread of the lab panicked")?;
    }
    for scenario in &alone {
        let core = cores.last().copied().unwrap_or_default();
        let outcome = play(scenario, &programs, core, Options::of(arguments));
        lock(&report).add(scenario, outcome);
    }
    if arguments.retry {
        let missed = lock(&report).missed();
        for scenario in chosen.iter().filter(|scenario| missed.contains(&scenario.name)) {
            let core = cores.last().copied().unwrap_or_default();
            let outcome = play(scenario, &programs, core, Options::of(arguments));
            lock(&report).replace(scenario, outcome);
        }
    }
    lock(&report).close(started.elapsed())
}

/// What scenarios are told.
#[derive(Clone, Copy)]
struct Options {
    full: bool,
    margin: u32,
}

impl Options {
    fn of(arguments: &Arguments) -> Self {
        Self { full: arguments.full, margin: arguments.margin }
    }
}

/// Machines at a time.
const MACHINES: usize = 2;

fn choose(all: &[Scenario], arguments: &Arguments) -> Result<Vec<Scenario>, Error> {
    for name in &arguments.scenarios {
        if !all.iter().any(|scenario| scenario.name == *name) {
            return Err(format!("there is no lab/scenarios/{name}.sh; see --list").into());
        }
    }
    let wanted = |scenario: &&Scenario| {
        if arguments.scenarios.is_empty() {
            (arguments.full || !scenario.full) && !(arguments.quick && scenario.alone)
        } else {
            arguments.scenarios.contains(&scenario.name)
        }
    };
    Ok(all.iter().filter(wanted).cloned().collect())
}

/// What scenarios run, beside what is installed.
struct Programs {
    rserpool: PathBuf,
    tool: PathBuf,
    /// The test suites of the SCTP crate and of the library that need a kernel with SCTP.
    sctp_tests: PathBuf,
    library_tests: PathBuf,
}

impl Programs {
    fn build(quick: bool) -> Result<Self, Error> {
        // In one go: built one by one they would have what they share with other features.
        let programs = ["build", "--package", "rserpool-cli", "--package", "rserpool-lab"];
        let programs = build(&programs, quick)?;
        // Never optimised: `cargo test` has built them like this already.
        let tests = ["test", "--no-run", "--workspace", "--test", "kernel", "--test", "sctp"];
        let tests = build(&tests, true)?;
        let find = |name: &str, is_it: &dyn Fn(&str) -> bool| {
            let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
            let mut built = programs.iter().chain(&tests);
            let found = built.find(|path| stem(path).is_some_and(|stem| is_it(&stem)));
            found.cloned().ok_or_else(|| format!("cargo built no {name}"))
        };
        let program = |name: &str| find(name, &|stem| stem == name);
        // Cargo adds a hash to the names of test suites.
        let suite = |name: &str| {
            find(name, &|stem| stem.rsplit_once('-').is_some_and(|(suite, _)| suite == name))
        };
        Ok(Self {
            rserpool: program("rserpool")?,
            tool: program("rserpool-lab")?,
            sctp_tests: suite("kernel")?,
            library_tests: suite("sctp")?,
        })
    }
}

/// Builds programs and says where they are.
fn build(arguments: &[&str], quick: bool) -> Result<Vec<PathBuf>, Error> {
    let mut command = cargo(arguments);
    command.args(["--locked", "--message-format=json-render-diagnostics"]);
    if !quick {
        command.arg("--release");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", arguments.join(" ")).into());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    Ok(messages.lines().filter_map(executable).collect())
}

/// Boots a machine, lets it play the scenario, and judges what it has left.
fn play(scenario: &Scenario, programs: &Programs, core: usize, options: Options) -> Outcome {
    let started = Instant::now();
    let room = root().join("target/lab").join(&scenario.name);
    let mut outcome = Outcome::default();
    let booted = boot(scenario, programs, core, options, &room);
    let judged = judge(scenario, &room, &mut outcome);
    // A scenario that has failed has said so itself.
    let stopped = outcome.findings.iter().any(|finding| finding.found == STOPPED);
    for error in booted.err().filter(|_| stopped).into_iter().chain(judged.err()) {
        outcome.findings.push(Finding::miss("the lab itself", "works", error));
    }
    outcome.took = started.elapsed();
    outcome
}

fn boot(
    scenario: &Scenario,
    programs: &Programs,
    core: usize,
    options: Options,
    room: &Path,
) -> Result<(), Error> {
    let _ = fs::remove_dir_all(room);
    fs::create_dir_all(room)?;
    let console = File::create(room.join("console.txt"))?;
    let mut machine = Command::new(root().join("crates/rserpool-sctp/tests/uml/run.sh"));
    machine
        .arg("env")
        .arg(variable("LAB", &root().join("lab")))
        .arg(variable("LAB_OUT", room))
        .arg(format!("LAB_FULL={}", if options.full { "yes" } else { "no" }))
        .arg(variable("RSERPOOL", &programs.rserpool))
        .arg(variable("LAB_TOOL", &programs.tool))
        .arg(variable("SCTP_TESTS", &programs.sctp_tests))
        .arg(variable("LIBRARY_TESTS", &programs.library_tests))
        .arg(format!("LAB_MARGIN={}", options.margin))
        .arg("bash")
        .arg(&scenario.file)
        .env("UML_CPU", core.to_string())
        .env("UML_TIMEOUT", scenario.seconds.to_string())
        .env("UML_MEMORY", &scenario.memory)
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console);
    let status = machine.status()?;
    if !status.success() {
        let said = fs::read_to_string(room.join("console.txt")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(format!("the machine ended with {status}:\n  {}", last.join("\n  ")).into());
    }
    Ok(())
}

fn variable(name: &str, value: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(name);
    text.push("=");
    text.push(value);
    text
}

/// Reads what the scenario found, and looks at its captures and logs.
fn judge(scenario: &Scenario, room: &Path, outcome: &mut Outcome) -> Result<(), Error> {
    outcome.read(room)?;
    if !outcome.findings.iter().any(|finding| finding.what == LAST) {
        outcome.findings.push(Finding::miss(LAST, "yes", STOPPED));
    }
    capture::judge(room, &mut outcome.findings)?;
    log::judge(room, scenario, &mut outcome.findings)?;
    Ok(())
}

/// What every scenario finds last.
const LAST: &str = "the scenario came to its end";
/// What is found of one that has not.
const STOPPED: &str = "no: it was stopped";

/// The cores this task may run on.
fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = list.map(|list| core_list(list.trim())).unwrap_or_default();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Reads `0-2,5`.
fn core_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(core_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(core_list("1"), [1]);
        assert!(core_list("").is_empty());
    }
}
