//! Attacks on a pool, and what they leave of its handling speed: `rserpool sim attacks`.

use super::show::{ShowFlags, percent, write_svg};
use crate::failure::Failure;
use crate::output::{self, Table};
use rserpool_sim::planner::attacks::{Curve, OPEN, SECURED, curves, loss};
use rserpool_sim::planner::figure::{Panel, Series};
use rserpool_sim::planner::sweep::{Estimate, sweep};
use rserpool_sim::planner::{Attack, Figures};
use serde_json::json;
use std::fmt::Write as _;
use std::time::Instant;

/// Attack a pool in virtual time, and see what is left of its handling speed
///
/// Ten servers and a hundred users ask this program's registrar; one more takes part, who means harm:
/// it resolves, reports whom it is named as unreachable, or registers elements that answer nobody,
/// more and more often. Beside it a registrar that does what RFC 5352 says to the letter. Handling
/// speed is how fast a request is done, waiting included, beside one server that has nothing else
/// to do; the loss is what it is less than without the attack.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which attack; all of them if none is named
    #[arg(value_name = "ATTACK")]
    attack: Option<Which>,
    /// Print the losses as tables in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    show: ShowFlags,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    /// A user that resolves, and reports whom it is named as unreachable
    Reports,
    /// A user that resolves
    Resolutions,
    /// Somebody who registers elements that answer nobody
    Fakes,
}

impl Which {
    fn is_of(self, attack: Attack) -> bool {
        match self {
            Self::Reports => matches!(attack, Attack::Reports { .. }),
            Self::Resolutions => attack == Attack::Resolutions,
            Self::Fakes => matches!(attack, Attack::Fakes { .. }),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  rserpool sim attacks --seeds 12 --svg attacks.svg
      ends with an error if a user that resolves and reports, or resolves only, costs a pool 5 % of its
      handling speed, or if a secured scope accepts an element that was made up

  rserpool sim attacks reports --seeds 4
      one attack, less certain

  rserpool sim attacks fakes --json
      all figures, for programs";

/// Most of the handling speed that reports and resolutions may cost.
const MOST: f64 = 0.05;
/// With fewer seeds the means are not certain enough to be judged.
const ENOUGH: u64 = 8;

/// A curve that has been played.
struct Played {
    curve: Curve,
    calm: Vec<Figures>,
    /// In the order of its points.
    figures: Vec<Vec<Figures>>,
}

impl Played {
    fn points(&self) -> impl Iterator<Item = (f64, &[Figures])> {
        let every = self.curve.points.iter().map(|(every, _)| *every);
        every.zip(self.figures.iter().map(Vec::as_slice))
    }

    fn panel(&self) -> String {
        format!("{}, {}", self.curve.what(), self.curve.policy)
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let began = Instant::now();
        let mut curves = curves();
        curves.retain(|curve| self.attack.is_none_or(|which| which.is_of(curve.attack)));
        let scenarios: Vec<_> = curves
            .iter()
            .flat_map(|curve| {
                let points = curve.points.iter().map(|(_, scenario)| scenario.clone());
                std::iter::once(curve.calm.clone()).chain(points)
            })
            .collect();
        let figures = sweep(&scenarios, self.show.range(), output::progress);
        let mut figures = figures.map_err(Failure::usage)?.into_iter();
        let played: Vec<Played> = curves
            .into_iter()
            .map(|curve| {
                let calm = figures.next().unwrap_or_default();
                let figures = figures.by_ref().take(curve.points.len()).collect();
                Played { curve, calm, figures }
            })
            .collect();
        if let Some(path) = &self.show.svg {
            write_svg(path, &panels(&played), 3)?;
        }
        if self.show.output.json {
            let all: Vec<_> = played.iter().flat_map(to_json).collect();
            output::print_json(&all)?;
        } else if self.markdown {
            output::print(markdown(&played))?;
        } else {
            output::print(table(&played))?;
            output::talk(format_args!(
                "{} points, {} seeds each, {:.1} s; what stands behind +- holds for 95 of 100 means",
                scenarios.len(),
                self.show.seeds,
                began.elapsed().as_secs_f64()
            ));
        }
        judge(&played, self.show.seeds >= ENOUGH)
    }
}

/// Whether pools hold, and a secured scope lets nobody in.
fn judge(played: &[Played], is_certain: bool) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for played in played {
        let Curve { attack, registrar, .. } = played.curve;
        let is_judged = is_certain && registrar == OPEN;
        let may_cost = matches!(attack, Attack::Fakes { .. });
        for (every, figures) in played.points() {
            let loss = loss(&played.calm, figures).mean;
            if is_judged && !may_cost && loss >= MOST {
                wrong.push(format!(
                    "{} every {every} s costs {:.1} %",
                    played.panel(),
                    100.0 * loss
                ));
            }
            let accepted: u64 = figures.iter().map(|one| one.harm.accepted).sum();
            if registrar == SECURED && accepted > 0 {
                wrong.push(format!("{accepted} made-up elements in a secured scope"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(wrong.join("; "))),
    }
}

fn mean(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> Estimate {
    Estimate::of(figures.iter().map(of))
}

fn table(played: &[Played]) -> String {
    let mut text = String::new();
    for of_panel in by_panel(played) {
        let mut table = Table::new(&[
            "REGISTRAR",
            "EVERY",
            "SPEED %",
            "LOSS %",
            "MADE UP",
            "ACCEPTED",
            "SERVERS REMOVED",
        ]);
        for played in of_panel {
            let row = |every: String, figures: &[Figures]| {
                let count = |of: fn(&Figures) -> u64| {
                    format!("{:.0}", mean(figures, |one| of(one) as f64).mean)
                };
                let is_fake = matches!(played.curve.attack, Attack::Fakes { .. });
                let made_up = if is_fake { count(|one| one.harm.attacks) } else { String::new() };
                [
                    played.curve.whom(),
                    every,
                    percent(mean(figures, |one| one.speed)),
                    percent(loss(&played.calm, figures)),
                    made_up,
                    if is_fake { count(|one| one.harm.accepted) } else { String::new() },
                    count(|one| one.harm.removed),
                ]
            };
            table.row(row("never".into(), &played.calm));
            for (every, figures) in played.points() {
                table.row(row(format!("{every} s"), figures));
            }
        }
        let panel = of_panel.first().map(Played::panel).unwrap_or_default();
        let _ = writeln!(text, "{panel}\n{table}");
    }
    text
}

/// Curves of one panel stand beside each other.
fn by_panel(played: &[Played]) -> impl Iterator<Item = &[Played]> {
    played.chunk_by(|one, other| one.panel() == other.panel())
}

/// One table for each attack, with a column for each curve.
fn markdown(played: &[Played]) -> String {
    let mut text = String::new();
    for of_attack in played.chunk_by(|one, other| one.curve.what() == other.curve.what()) {
        let Some(first) = of_attack.first() else { continue };
        let _ = writeln!(
            text,
            "Loss in % of the handling speed where somebody {}:\n",
            first.curve.what()
        );
        let names = of_attack.iter();
        let names: Vec<_> =
            names.map(|one| format!("{}: {}", one.curve.policy, one.curve.whom())).collect();
        let _ = writeln!(text, "| every | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        for (at, (every, _)) in first.curve.points.iter().enumerate() {
            let cells: Vec<_> = of_attack
                .iter()
                .map(|one| {
                    let figures = one.figures.get(at).map_or(&[][..], Vec::as_slice);
                    // Nothing has no sign.
                    format!("{:.1}", (1000.0 * loss(&one.calm, figures).mean).round() / 10.0 + 0.0)
                })
                .collect();
            let _ = writeln!(text, "| {every} s | {} |", cells.join(" | "));
        }
        text.push('\n');
    }
    text
}

fn to_json(played: &Played) -> Vec<serde_json::Value> {
    let estimate = |estimate: Estimate| {
        let within = estimate.within.is_finite().then_some(estimate.within);
        json!({ "mean": estimate.mean, "within_95": within })
    };
    let calm = std::iter::once((None, played.calm.as_slice()));
    let attacked = played.points().map(|(every, figures)| (Some(every), figures));
    calm.chain(attacked)
        .map(|(every, figures)| {
            let of = |of: fn(&Figures) -> u64| mean(figures, |one| of(one) as f64).mean;
            json!({
                "attack": played.curve.what(),
                "policy": played.curve.policy,
                "registrar": played.curve.whom(),
                "every_seconds": every,
                "speed": estimate(mean(figures, |one| one.speed)),
                "loss": estimate(loss(&played.calm, figures)),
                "attacks": of(|one| one.harm.attacks),
                "accepted": of(|one| one.harm.accepted),
                "servers_removed": of(|one| one.harm.removed),
            })
        })
        .collect()
}

fn panels(played: &[Played]) -> Vec<Panel> {
    let panel = |of_panel: &[Played]| Panel {
        title: of_panel.first().map(Played::panel).unwrap_or_default(),
        x: "seconds from one to the next".into(),
        y: "handling speed in %".into(),
        logarithmic: true,
        whole: true,
        series: of_panel
            .iter()
            .map(|played| Series {
                name: played.curve.whom(),
                points: played
                    .points()
                    .map(|(every, figures)| (every, mean(figures, |one| one.speed)))
                    .collect(),
                published: Vec::new(),
            })
            .collect(),
    };
    by_panel(played).map(panel).collect()
}
