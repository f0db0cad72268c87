//! Many scenarios with many seeds, on all cores, and what can be said of their means.

use super::{Figures, InvalidScenario, Scenario, run};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Plays each scenario with each seed; gives the figures of each scenario in the order of the seeds.
///
/// `progress` is called with the number of runs that are done, and of all.
///
/// # Errors
/// The first [`InvalidScenario`]; what is wrong from the start is found before anything is played.
pub fn sweep(
    scenarios: &[Scenario],
    seeds: Range<u64>,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Vec<Vec<Figures>>, InvalidScenario> {
    scenarios.iter().try_for_each(Scenario::check)?;
    let runs: Vec<(&Scenario, u64)> = scenarios
        .iter()
        .flat_map(|scenario| seeds.clone().map(move |seed| (scenario, seed)))
        .collect();
    let results = Mutex::new(vec![Ok(Figures::default()); runs.len()]);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, seed)) = runs.get(number) else { return };
                    let figures = run(scenario, *seed);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[number] = figures;
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, runs.len());
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let figures: Vec<Figures> = results.into_iter().collect::<Result<_, _>>()?;
    let per_scenario = (runs.len() / scenarios.len().max(1)).max(1);
    Ok(figures.chunks(per_scenario).map(<[Figures]>::to_vec).collect())
}

/// A mean of several runs, and how well it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The true mean is within this of it 95 times of 100, by Student's distribution; infinite for a
    /// single run.
    pub within: f64,
}

impl Estimate {
    /// The mean of independent values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len() as f64;
        if values.is_empty() {
            return Self { mean: 0.0, within: f64::INFINITY };
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let within = match values.len() {
            1 => f64::INFINITY,
            many => student(many - 1) * (squares / (count - 1.0) / count).sqrt(),
        };
        Self { mean, within }
    }
}

/// The 97.5 % quantile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    // Beyond it the distribution is nearly normal.
    TABLE.get(freedom.saturating_sub(1)).copied().unwrap_or(1.96 + 2.5 / freedom as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::Chooser;

    #[test]
    fn an_estimate_is_the_mean_and_what_is_known_of_it() {
        let estimate = Estimate::of([1.0, 2.0, 3.0]);
        assert_eq!(estimate.mean, 2.0);
        assert!((estimate.within - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(Estimate::of([1.0]).within, f64::INFINITY);
    }

    #[test]
    fn the_same_seeds_give_the_same_figures_on_any_number_of_threads() {
        let mut scenario = Scenario::published(Chooser::Policy("random"), 2, 1.0);
        (scenario.warm_up, scenario.measured) = (10.0, 100.0);
        let twice = vec![scenario.clone(), scenario.clone()];
        let figures = sweep(&twice, 5..8, |_, _| {}).unwrap();
        assert_eq!(figures[0], figures[1]);
        assert_eq!(figures[0][1], run(&scenario, 6).unwrap());
        assert_ne!(figures[0][0], figures[0][1]);
    }
}
