//! Published utilisations: Dreibholz, OMNeT++ workshop 2008, figure 5 (thesis of 2007, experiment
//! `wp1-hom-puToPERatio`), read from the figure to 0.01 points.

/// Users for each server: the columns of [`TABLE`].
pub const RATIOS: [usize; 9] = [1, 2, 3, 4, 5, 7, 10, 15, 20];

/// Policy, seconds that one server alone works on a mean request, and utilisations in percent.
pub const TABLE: [(&str, f64, [f64; 9]); 6] = [
    ("least-used", 1.0, [79.98, 79.98, 79.98, 79.98, 79.98, 79.98, 79.98, 79.98, 79.97]),
    ("round-robin", 1.0, [65.13, 79.17, 79.97, 79.98, 79.98, 79.98, 79.98, 79.98, 79.98]),
    ("random", 1.0, [52.68, 68.96, 76.55, 79.42, 80.00, 80.11, 80.07, 79.89, 80.00]),
    ("least-used", 100.0, [76.77, 79.24, 79.85, 80.10, 80.17, 80.54, 80.92, 80.62, 80.31]),
    ("round-robin", 100.0, [61.68, 71.73, 74.21, 75.71, 76.64, 77.82, 78.65, 78.33, 78.01]),
    ("random", 100.0, [52.04, 63.37, 68.40, 70.71, 72.46, 73.35, 74.36, 75.81, 75.50]),
];

/// Points, of hundred, that a reproduction with 24 seeds may differ by.
pub fn tolerance(seconds: f64) -> f64 {
    if seconds < 10.0 { 0.3 } else { 2.5 }
}

#[cfg(test)]
mod tests {
    use crate::planner::study::Study;
    use crate::planner::sweep::{Estimate, sweep};

    /// Largest difference in points of hundred, of the rows of one size, with two seeds.
    fn largest_difference(seconds: f64) -> f64 {
        let panel = format!("requests of {seconds} s");
        let mut rows = Study::Published.points(0);
        rows.retain(|row| row.panel == panel);
        assert!(!rows.is_empty());
        let scenarios: Vec<_> = rows.iter().map(|row| row.scenario.clone()).collect();
        let figures = sweep(&scenarios, 1..3, |_, _| {}).unwrap();
        let differences = rows.iter().zip(figures).map(|(row, figures)| {
            let estimate = Estimate::of(figures.iter().map(|figures| figures.utilisation));
            100.0 * (estimate.mean - row.published.unwrap()).abs()
        });
        differences.fold(0.0, f64::max)
    }

    #[test]
    fn short_requests_are_served_as_published() {
        let difference = largest_difference(1.0);
        assert!(difference < 1.0, "{difference} points");
    }

    #[test]
    fn long_requests_are_served_as_published() {
        let difference = largest_difference(100.0);
        assert!(difference < 5.0, "{difference} points");
    }
}
