//! Mutation testing: a few mutants are drawn, and the tests have to catch most of them.
//!
//! A tool of its own makes them: `cargo install --locked cargo-mutants`. Each is built and tested in a
//! copy of the sources, with the unit tests of `rserpool-proto`, which take seconds.

use crate::steps::{Error, cargo, cargo_has, output, root};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `cargo xtask mutants`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// About how many are drawn.
    #[arg(long, default_value_t = 40)]
    count: usize,
    /// Which are drawn; by default others each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Files to change, as globs from the root of the workspace; may be repeated.
    #[arg(long = "file", value_name = "GLOB", default_values = FILES)]
    files: Vec<String>,
}

/// Where a mistake costs most.
const FILES: [&str; 3] = [
    "crates/rserpool-proto/src/registrar/*.rs",
    "crates/rserpool-proto/src/handlespace/*.rs",
    "crates/rserpool-proto/src/endpoint/**/*.rs",
];
/// Of a hundred that can be built so many are to be caught.
const CAUGHT: usize = 80;
/// Seconds after which the tests of a mutant are ended: it is caught by that, too.
const TIMEOUT: &str = "120";

/// Draws, tests, and names those that nobody has noticed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    if !cargo_has("mutants") {
        return Err("cargo-mutants is missing: cargo install --locked cargo-mutants".into());
    }
    let mut scope = vec!["mutants", "--package", "rserpool-proto"];
    for file in &arguments.files {
        scope.extend(["--file", file]);
    }
    let mut list = cargo(&scope);
    list.arg("--list");
    let all = output(list)?.lines().count();
    let shards = (all / arguments.count.max(1)).max(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = arguments.seed.unwrap_or(now);
    println!("of {all} mutants one in {shards} is drawn, by seed {seed}");

    let folder = root().join("target");
    let mut draw = cargo(&scope);
    draw.args(["--sharding", "round-robin"]);
    draw.args(["--shard", &format!("{}/{shards}", seed % shards as u64)]);
    draw.args(["--baseline", "skip", "--timeout", TIMEOUT, "--output"]).arg(&folder);
    // It fails if one was missed, which is for us to judge.
    draw.args(["--", "--lib"]).status()?;
    let named = |outcome: &str| fs::read_to_string(folder.join("mutants.out").join(outcome));
    let caught = named("caught.txt")?.lines().count() + named("timeout.txt")?.lines().count();
    let missed = named("missed.txt")?;
    let viable = caught + missed.lines().count();
    println!("\n{caught} of {viable} that can be built are caught\n{missed}");
    Ok(viable > 0 && caught * 100 >= viable * CAUGHT)
}
