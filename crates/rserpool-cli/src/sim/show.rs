//! Shows what policies make of pools: table, JSON, figure.

use crate::failure::Failure;
use crate::output::{self, Table};
use rserpool_sim::planner::figure::{self, Panel, Series};
use rserpool_sim::planner::study::Point;
use rserpool_sim::planner::sweep::{Estimate, sweep};
use rserpool_sim::planner::{Figures, InvalidScenario};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How much is played, and where it goes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShowFlags {
    /// Play each point with so many seeds; more make the means more certain
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Draw the figures into a file
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: output::OutputFlags,
}

/// A point that has been played.
pub(super) struct Played {
    pub(super) point: Point,
    figures: Vec<Figures>,
}

impl Played {
    pub(super) fn estimate(&self, of: impl Fn(&Figures) -> f64) -> Estimate {
        Estimate::of(self.figures.iter().map(of))
    }

    pub(super) fn utilisation(&self) -> Estimate {
        self.estimate(|figures| figures.utilisation)
    }

    fn speed(&self) -> Estimate {
        self.estimate(|figures| figures.speed)
    }
}

impl ShowFlags {
    /// The seeds.
    pub(super) fn range(&self) -> Range<u64> {
        self.seed..self.seed.saturating_add(self.seeds)
    }

    /// Plays all points and shows them; gives them back.
    pub(super) fn play(
        &self,
        points: Vec<Point>,
        axis: (&str, bool),
    ) -> Result<Vec<Played>, Failure> {
        let began = Instant::now();
        let scenarios: Vec<_> = points.iter().map(|point| point.scenario.clone()).collect();
        let figures = sweep(&scenarios, self.range(), output::progress)
            .map_err(|error: InvalidScenario| Failure::usage(error))?;
        let played: Vec<_> = points
            .into_iter()
            .zip(figures)
            .map(|(point, figures)| Played { point, figures })
            .collect();
        if let Some(path) = &self.svg {
            draw(path, &played, axis)?;
        }
        if self.output.json {
            output::print_json(&played.iter().map(to_json).collect::<Vec<_>>())?;
        } else {
            output::print(table(&played, axis.0))?;
            output::talk(format_args!(
                "{} points, {} seeds each, {:.1} s; what stands behind +- holds for 95 of 100 means",
                played.len(),
                self.seeds,
                began.elapsed().as_secs_f64()
            ));
        }
        Ok(played)
    }
}

pub(super) fn percent(estimate: Estimate) -> String {
    let within = match estimate.within.is_finite() {
        true => format!(" +-{:.2}", 100.0 * estimate.within),
        false => String::new(),
    };
    format!("{:6.2}{within}", 100.0 * estimate.mean)
}

/// A time of seconds with three digits that count.
fn time(seconds: f64) -> String {
    match seconds {
        long if long >= 100.0 => format!("{long:.0} s"),
        some if some >= 1.0 => format!("{some:.2} s"),
        short => format!("{:.2} ms", 1000.0 * short),
    }
}

fn table(played: &[Played], axis: &str) -> String {
    let mut text = String::new();
    let mut panels: Vec<&str> = played.iter().map(|played| played.point.panel.as_str()).collect();
    panels.dedup();
    for panel in panels {
        let rows: Vec<_> = played.iter().filter(|played| played.point.panel == panel).collect();
        let is_published = rows.iter().any(|played| played.point.published.is_some());
        let mut head = vec!["CHOICE", "X", "UTILISATION %"];
        if is_published {
            head.extend(["PUBLISHED", "DIFFERENCE"]);
        }
        head.extend(["SPEED %", "RESPONSE", "1 % LONGER THAN", "TRIED AGAIN"]);
        let mut table = Table::new(&head);
        for row in rows {
            let utilisation = row.utilisation();
            let mut cells =
                vec![row.point.series.clone(), row.point.x.to_string(), percent(utilisation)];
            if is_published {
                let published = row.point.published.unwrap_or_default();
                cells.push(format!("{:6.2}", 100.0 * published));
                cells.push(format!("{:+6.2}", 100.0 * (utilisation.mean - published)));
            }
            let retried = row.estimate(|one| one.retried as f64 / one.completed.max(1) as f64);
            cells.extend([
                percent(row.speed()),
                time(row.estimate(|figures| figures.response).mean),
                time(row.estimate(|figures| figures.slowest).mean),
                format!("{:.2} %", 100.0 * retried.mean),
            ]);
            table.row(cells);
        }
        text.push_str(&format!("{panel}; X: {axis}\n{table}\n"));
    }
    text
}

fn to_json(played: &Played) -> serde_json::Value {
    let estimate = |estimate: Estimate| {
        let within = estimate.within.is_finite().then_some(estimate.within);
        json!({ "mean": estimate.mean, "within_95": within })
    };
    let of = |of: fn(&Figures) -> f64| estimate(played.estimate(of));
    json!({
        "panel": played.point.panel,
        "choice": played.point.series,
        "x": played.point.x,
        "published_utilisation": played.point.published,
        "utilisation": estimate(played.utilisation()),
        "speed": estimate(played.speed()),
        "response_seconds": of(|figures| figures.response),
        "slowest_percent_seconds": of(|figures| figures.slowest),
        "completed": of(|figures| figures.completed as f64),
        "tried_again": of(|figures| figures.retried as f64),
    })
}

fn draw(path: &Path, played: &[Played], (axis, logarithmic): (&str, bool)) -> Result<(), Failure> {
    let mut names: Vec<&str> = played.iter().map(|played| played.point.panel.as_str()).collect();
    names.dedup();
    let panel = |name: &str, what: &str, of: fn(&Played) -> Estimate, with_published: bool| {
        let mut series: Vec<Series> = Vec::new();
        for played in played.iter().filter(|played| played.point.panel == name) {
            let place = series.iter().position(|one| one.name == played.point.series);
            let place = place.unwrap_or_else(|| {
                let name = played.point.series.clone();
                series.push(Series { name, ..Series::default() });
                series.len() - 1
            });
            series[place].points.push((played.point.x, of(played)));
            let published = played.point.published.filter(|_| with_published);
            series[place].published.extend(published.map(|published| (played.point.x, published)));
        }
        Panel {
            title: format!("{what}, {name}"),
            x: axis.into(),
            y: format!("{what} in %"),
            logarithmic,
            whole: false,
            series,
        }
    };
    let utilisation =
        names.iter().map(|name| panel(name, "utilisation", Played::utilisation, true));
    let speed = names.iter().map(|name| panel(name, "handling speed", Played::speed, false));
    // Where every choice works on all that is asked for, only the speed tells them apart.
    let panels: Vec<Panel> = utilisation.filter(tells).chain(speed).collect();
    write_svg(path, &panels, 2)
}

/// Draws panels, so many beside each other, into a file.
pub(super) fn write_svg(path: &Path, panels: &[Panel], columns: usize) -> Result<(), Failure> {
    let cannot =
        |error: String| Failure::failed(format!("cannot draw {}: {error}", path.display()));
    let text = figure::svg(panels, columns).map_err(cannot)?;
    std::fs::write(path, text).map_err(|error| cannot(error.to_string()))
}

/// Whether a panel tells its lines apart anywhere, or has published points.
fn tells(panel: &Panel) -> bool {
    let mut ends: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for (x, y) in panel.series.iter().flat_map(|series| &series.points) {
        let (low, high) = ends.entry(x.to_bits()).or_insert((y.mean, y.mean));
        (*low, *high) = (low.min(y.mean), high.max(y.mean));
    }
    let differs = ends.values().any(|(low, high)| high - low > TELLS);
    differs || panel.series.iter().any(|series| !series.published.is_empty())
}

/// A difference, as a part of 1, that is worth a panel.
const TELLS: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_drawn_if_its_lines_differ_or_something_was_published() {
        let estimate = |mean| Estimate { mean, within: 0.01 };
        let series = |low, high| Series {
            points: vec![(1.0, estimate(low)), (2.0, estimate(high))],
            ..Series::default()
        };
        let panel = |series| Panel { series, ..Panel::default() };
        assert!(!tells(&panel(vec![series(0.1, 0.9), series(0.1, 0.9)])));
        assert!(tells(&panel(vec![series(0.1, 0.9), series(0.1, 0.8)])));
        let published = Series { published: vec![(1.0, 0.1)], ..series(0.1, 0.9) };
        assert!(tells(&panel(vec![published])));
    }
}
