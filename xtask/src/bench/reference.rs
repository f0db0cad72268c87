//! What the reference implementation's handlespace does: rsplib 3.5, in C, red-black trees, one
//! thread pinned to a core, in memory, -O2, best of 10. It keeps 528 bytes per element.
//!
//! The machine it was measured on is known by two loops that a benchmark repeats beside its own
//! figures, to scale these by.

/// `BTreeMap<u64, u64>` of 10 000 entries, a random key removed and one inserted: between 4.8 and
/// 6.1 million a second.
pub(super) const BTREE_PER_SECOND: f64 = 5.4e6;

/// Fisher-Yates shuffle of 10 000 `u64`: swaps a second.
pub(super) const SHUFFLE_PER_SECOND: f64 = 437e6;

/// One row: millions of operations a second.
pub(super) struct Row {
    pub(super) policy: &'static str,
    pub(super) pools: u64,
    /// Elements in each pool.
    pub(super) elements: u64,
    /// As in [`OPERATIONS`].
    pub(super) rates: [f64; 6],
}

/// What the rates of a row are of, by the names that the workload uses.
pub(super) const OPERATIONS: [&str; 6] =
    ["register", "reregister_new", "reregister_same", "resolve_1", "resolve_10", "remove"];

const fn row(policy: &'static str, pools: u64, elements: u64, rates: [f64; 6]) -> Row {
    Row { policy, pools, elements, rates }
}

/// All that is known.
pub(super) const ROWS: &[Row] = &[
    row("round-robin", 1, 1_000, [1.39, 3.41, 3.43, 10.8, 9.32, 3.86]),
    row("random", 1, 1_000, [1.42, 3.29, 3.31, 4.32, 0.43, 3.60]),
    row("least-used", 1, 1_000, [1.31, 2.00, 3.34, 20.1, 15.4, 2.02]),
    row("round-robin", 1, 10_000, [1.02, 1.90, 1.85, 5.12, 4.67, 2.10]),
    row("weighted-round-robin", 1, 10_000, [0.94, 1.18, 2.08, 9.21, 7.40, 1.54]),
    row("random", 1, 10_000, [1.11, 2.10, 2.09, 2.68, 0.25, 2.30]),
    row("weighted-random", 1, 10_000, [1.10, 1.30, 1.97, 2.71, 0.25, 2.01]),
    row("least-used", 1, 10_000, [0.92, 1.07, 1.82, 12.2, 10.7, 1.40]),
    row("least-used-degradation", 1, 10_000, [0.87, 0.99, 1.07, 5.96, 4.86, 1.85]),
    row("priority-least-used", 1, 10_000, [0.89, 0.99, 1.46, 12.5, 11.5, 1.46]),
    row("randomized-least-used", 1, 10_000, [1.01, 1.08, 1.54, 2.47, 0.23, 1.82]),
    row("round-robin", 1, 100_000, [0.44, 0.44, 0.44, 2.68, 2.17, 0.71]),
    row("random", 1, 100_000, [0.54, 0.53, 0.52, 0.74, 0.07, 0.62]),
    row("least-used", 1, 100_000, [0.32, 0.25, 0.46, 10.9, 9.47, 0.51]),
    row("least-used", 1_000, 100, [0.29, 0.26, 0.40, 2.63, 1.64, 0.43]),
    row("random", 1_000, 100, [0.51, 0.53, 0.51, 1.00, 0.13, 0.70]),
];
