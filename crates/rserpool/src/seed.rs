//! Randomness for machines.

/// A seed that nobody can guess.
pub(crate) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .expect("a system without randomness does not get as far: std's hash maps need it, too");
    seed
}
