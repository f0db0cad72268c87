//! Plays the simulator's seeds and scripts: `rserpool sim`; and what policies make of a pool:
//! `rserpool sim policies`, `rserpool sim plan`; and of one that is attacked: `rserpool sim attacks`.

mod attacks;
mod plan;
mod policies;
mod show;

use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;
use rserpool_sim::run::{Runner, Summary};
use rserpool_sim::swarm::{Outcome, Plan};
use rserpool_sim::{chart, minimise, script, trace};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Run the registrars, elements and users of this program through the worst days of a simulated world
///
/// A seed decides everything: who there is, what breaks when, and every bit of chance. The same seed
/// is the same run, so that a failure is a number. Nothing outside the process is touched.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", conflicts_with_all = ["trace", "svg"])]
    count: Option<u64>,
    /// The same worlds as secured scopes, in which some of those who have certificates lie
    #[arg(long, conflicts_with = "script")]
    secured: bool,
    /// Begin no seed after so many minutes
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Show everything that happens as a message sequence chart
    #[arg(long)]
    trace: bool,
    /// Show no more than the last lines of it
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    lines: usize,
    /// Draw the chart into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Spend no time on leaving out what a failure does not need
    #[arg(long)]
    whole: bool,
    /// Play this scenario script instead of seeds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "count", "minutes"])]
    script: Vec<PathBuf>,
    /// Write what the scripts show below their commands
    #[arg(long, requires = "script")]
    record: bool,
    #[command(flatten)]
    output: output::OutputFlags,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    // Described where their flags are.
    Policies(policies::Args),
    Plan(plan::Args),
    Attacks(attacks::Args),
}

const EXAMPLES: &str = "\
Examples:
  rserpool sim --count 100
      a hundred worlds; prints one line for each seed that fails, and what led to it

  rserpool sim --seed 7 --trace --lines 200
      the end of seed 7, message by message

  rserpool sim --secured --count 100
      the same hundred, where everybody has a certificate, and some lie all the same

  rserpool sim --script sim/scripts/registration.txt --svg registration.svg
      plays a scenario and draws it

  rserpool sim policies
      how well policies use ten servers, beside what was published

  rserpool sim plan pool.toml
      which policy holds for a pool of one's own

  rserpool sim attacks
      what a pool loses to a user that means harm";

/// Lines shown of a failure.
const CONTEXT: usize = 60;
/// Time that the seeds under way have to end when the simulation is told to.
const ENDING: Duration = Duration::from_secs(60);
/// Time spent on making a failure smaller.
const MINIMISING: Duration = Duration::from_secs(60);

impl Args {
    /// It computes on threads of its own, so that it can be told to stop. Of many seeds those under
    /// way are ended then, and what they and all before them have shown is told.
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let told = Arc::new(AtomicBool::new(false));
        let (is_many, hears) = (self.is_many(), Arc::clone(&told));
        let mut played = tokio::task::spawn_blocking(|| self.play(hears));
        let done = tokio::select! {
            done = &mut played => done,
            () = stop.requested() => {
                told.store(true, Ordering::Relaxed);
                let ended = if is_many { timeout(ENDING, played).await.ok() } else { None };
                ended.ok_or_else(Failure::interrupted)?
            }
        };
        match done {
            Ok(result) => result,
            Err(error) => Err(Failure::failed(format!("the simulation has ended: {error}"))),
        }
    }

    /// Whether seeds are played of which each counts for itself.
    fn is_many(&self) -> bool {
        self.command.is_none()
            && self.script.is_empty()
            && (self.count.is_some() || self.minutes.is_some())
    }

    fn play(self, told: Arc<AtomicBool>) -> Result<(), Failure> {
        match self.command {
            Some(Command::Policies(args)) => return args.run(),
            Some(Command::Plan(args)) => return args.run(),
            Some(Command::Attacks(args)) => return args.run(),
            None => {}
        }
        if !self.script.is_empty() {
            return self.play_scripts();
        }
        if self.is_many() { self.run_many(told) } else { self.run_one() }
    }

    fn plan(&self, seed: u64) -> Plan {
        if self.secured { Plan::secured(seed) } else { Plan::draw(seed) }
    }

    fn run_one(self) -> Result<(), Failure> {
        let wanted = self.trace || self.svg.is_some();
        let plan = self.plan(self.seed);
        let outcome = plan.run(if wanted { self.lines } else { 0 });
        self.show_chart(&outcome.names, &outcome.lines)?;
        let (stats, print) = (&outcome.stats, outcome.fingerprint);
        if self.output.json {
            output::print_json(&json!({
                "seed": self.seed,
                "timers": plan.preset.to_string(),
                "fingerprint": format!("{print:016x}"),
                "messages": stats.messages,
                "faults": stats.faults,
                "violation": outcome.violation.as_ref().map(ToString::to_string),
            }))?;
        } else if outcome.violation.is_none() {
            output::print(format_args!(
                "seed={} timers={} nodes={} messages={} faults={} fingerprint={print:016x}\n",
                self.seed,
                plan.preset,
                plan.members().count(),
                stats.messages,
                stats.faults,
            ))?;
        }
        self.report(self.seed, &outcome)
    }

    fn run_many(self, told: Arc<AtomicBool>) -> Result<(), Failure> {
        let minutes = self.minutes.map(|minutes| Duration::from_secs(60 * minutes));
        let deadline = minutes.map(|time| Instant::now() + time);
        let (secured, stop) = (self.secured, Arc::clone(&told));
        let runner = Runner { deadline, secured, stop, ..Runner::new() };
        let end = self.count.map_or(u64::MAX, |count| self.seed.saturating_add(count));
        let summary = runner.run(self.seed..end, |seed, outcome| {
            if let Some(violation) = &outcome.violation {
                output::talk(format_args!("seed={seed} commit={} {violation}", commit()));
            }
        });
        if self.output.json {
            output::print_json(&summary_json(self.seed, &summary))?;
        } else {
            output::print(summary_text(self.seed, &summary))?;
        }
        match summary.failed.first() {
            // Whoever wants it to end does not want to see a failure made smaller.
            Some(_) if told.load(Ordering::Relaxed) => Err(Failure::interrupted()),
            Some((seed, outcome)) => self.report(*seed, outcome),
            None => Ok(()),
        }
    }

    /// Says how a failure is played again, and what led to it.
    fn report(&self, seed: u64, outcome: &Outcome) -> Result<(), Failure> {
        let Some(violation) = &outcome.violation else { return Ok(()) };
        let plan = self.plan(seed);
        let smaller = match self.whole {
            true => plan,
            false => minimise::minimise(&plan, violation, MINIMISING),
        };
        let again = smaller.run(CONTEXT);
        let mut text = format!("{} nodes, faults:\n", smaller.members().count());
        for fault in &smaller.faults {
            let at = trace::seconds(fault.at);
            let lasts = Duration::from_micros(fault.lasts);
            let _ = writeln!(text, "{at}  {:?} for {lasts:?}", fault.kind);
        }
        text.push_str(&trace::text(&again.names, &again.lines));
        output::talk(text);
        Err(Failure::failed(format!("seed={seed} commit={} {violation}", commit())))
    }

    fn play_scripts(self) -> Result<(), Failure> {
        let mut changed = Vec::new();
        for path in &self.script {
            let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
            let same = script::check(path, self.record).map_err(failed)?;
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
            let recording = script::play(script::split(&text).0).map_err(failed)?;
            if self.trace || self.svg.is_some() {
                self.show_chart(&recording.names, &recording.lines)?;
            } else {
                output::print(recording.text())?;
            }
            if !same {
                changed.push(path.display().to_string());
            }
        }
        match changed.is_empty() || self.record {
            true => Ok(()),
            false => Err(Failure::failed(format!("not what was recorded: {}", changed.join(", ")))
                .next("with --record it is written; read the difference before it is kept")),
        }
    }

    fn show_chart(&self, names: &[String], lines: &[trace::Line]) -> Result<(), Failure> {
        if self.trace {
            output::print(chart::text(names, lines))?;
        }
        if let Some(path) = &self.svg {
            std::fs::write(path, chart::svg(names, lines)).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }
}

fn summary_json(first: u64, summary: &Summary) -> serde_json::Value {
    let stats = &summary.stats;
    json!({
        "first": first,
        "last": summary.next.saturating_sub(1),
        "seeds": summary.seeds,
        "commit": commit(),
        "messages": stats.messages,
        "messages_per_second_and_core": summary.rate().round(),
        "faults": stats.faults,
        "answers": stats.answers,
        "simulated_seconds": stats.simulated / 1_000_000,
        "longest_absence_seconds": stats.longest_absence as f64 / 1e6,
        "pairs": stats.coverage.len(),
        "failed": summary.failed.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(),
    })
}

fn summary_text(first: u64, summary: &Summary) -> String {
    let stats = &summary.stats;
    let mut text = format!("{}\n\n", stats.coverage);
    let last = summary.next.saturating_sub(1);
    let days = stats.simulated as f64 / 86_400e6;
    let _ = writeln!(text, "seeds {first} to {last}, {} failed", summary.failed.len());
    let _ = writeln!(
        text,
        "{} messages, {:.0} per second and core; {days:.1} days simulated",
        stats.messages,
        summary.rate()
    );
    let absent = stats.longest_absence as f64 / 1e6;
    let _ = writeln!(
        text,
        "{} faults, {} answers compared, {} message and state pairs met, longest absence {absent} s",
        stats.faults,
        stats.answers,
        stats.coverage.len()
    );
    text
}

/// What was built: as the environment says, or git, or the version.
fn commit() -> String {
    if let Ok(commit) = std::env::var("RSERPOOL_COMMIT") {
        return commit;
    }
    let git = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = git.ok().filter(|git| git.status.success());
    match commit.and_then(|git| String::from_utf8(git.stdout).ok()) {
        Some(commit) => commit.trim().to_owned(),
        None => concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}
