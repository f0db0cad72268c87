//! The main job on real servers: nginx adopted into a pool, clients that know nothing of pools
//! behind the proxy, servers killed, stopped and added under load.
//!
//! ```text
//!   hey -c 50 ---> rserpool proxy ---> nginx <--- rserpool element    (one of each per server)
//!                        |                              |
//!                        +------> rserpool registrar <--+
//! ```
//!
//! Beside that the library's examples of sessions, through kills of their servers.
//!
//! Everything runs on loopback with ports that are free, in a temporary directory. What is printed
//! at the end is what was wanted and what was found; one miss, and the task fails.

mod load;
mod log;
mod scenarios;
mod sessions;
mod stage;

use crate::steps::Error;
use stage::Programs;
use std::time::Instant;

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Shorter loads and a build without optimisation.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Name>,
    /// Leave the directory with all logs behind, and say where.
    #[arg(long)]
    keep: bool,
}

/// The scenarios.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// A server killed, one stopped through its adopter, one added, under load.
    Failure,
    /// All servers restarted one after the other, the pool doubled and halved, under load.
    Rolling,
    /// A server stopped as by a debugger, and one killed whose adopter does not look.
    Silence,
    /// The examples of sessions, through kills of their servers.
    Sessions,
}

/// Runs the scenarios; `Ok(true)` if everything wanted was found.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let programs = Programs::find(arguments.quick)?;
    let started = Instant::now();
    let mut findings = Findings::default();
    let wanted = |name| arguments.only.is_empty() || arguments.only.contains(&name);
    let all: [(Name, &'static str, Scenario); 4] = [
        (Name::Failure, "failure", scenarios::failure),
        (Name::Rolling, "rolling", scenarios::rolling),
        (Name::Silence, "silence", scenarios::silence),
        (Name::Sessions, "sessions", sessions::sessions),
    ];
    for (name, title, scenario) in all {
        if wanted(name) {
            findings.scenario = title;
            eprintln!("\n== {title}");
            let stage = stage::Stage::new(&programs, title, arguments.keep)?;
            if let Err(error) = scenario(&stage, arguments.quick, &mut findings) {
                // The others may still tell something.
                findings.add("ran to its end", "yes", format!("no: {error}"), false);
            }
            if !findings.passed() {
                stage.show_logs();
            }
        }
    }
    findings.print(started);
    Ok(findings.passed())
}

type Scenario = fn(&stage::Stage<'_>, bool, &mut Findings) -> Result<(), Error>;

/// What was wanted and what was found.
#[derive(Default)]
struct Findings {
    scenario: &'static str,
    rows: Vec<Finding>,
}

struct Finding {
    scenario: &'static str,
    what: String,
    wanted: String,
    found: String,
    passed: bool,
}

impl Findings {
    fn add(
        &mut self,
        what: impl Into<String>,
        wanted: impl ToString,
        found: impl ToString,
        passed: bool,
    ) {
        let (what, wanted, found) = (what.into(), wanted.to_string(), found.to_string());
        let word = if passed { "ok  " } else { "MISS" };
        eprintln!("{word} {what}: {found} (wanted: {wanted})");
        self.rows.push(Finding { scenario: self.scenario, what, wanted, found, passed });
    }

    fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }

    fn print(&self, started: Instant) {
        let width = |of: fn(&Finding) -> &str| {
            self.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
        };
        let (what, wanted) = (width(|row| &row.what), width(|row| &row.wanted).max(6));
        println!("\n{:<9} {:<what$}  {:<wanted$}  found", "scenario", "what", "wanted");
        for row in &self.rows {
            let miss = if row.passed { "" } else { "  <-- MISS" };
            println!(
                "{:<9} {:<what$}  {:<wanted$}  {}{miss}",
                row.scenario, row.what, row.wanted, row.found
            );
        }
        let misses = self.rows.iter().filter(|row| !row.passed).count();
        println!(
            "{misses} missed of {}, {:.0} s",
            self.rows.len(),
            started.elapsed().as_secs_f64()
        );
    }
}
