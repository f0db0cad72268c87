//! Mutation testing: a few mutants are drawn, and the tests have to catch most of them.
//!
//! A tool of its own makes them: `cargo install --locked cargo-mutants`. Each is built and tested in a
//! copy of the sources, with the unit tests of `rserpool-proto`, which take seconds. What they do not
//! notice the simulator may, in a copy of what is committed.

use crate::steps::{Error, cargo, cargo_has, output, root};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
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
    /// Seeds the simulator has for each that the tests have missed; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 500)]
    simulate: u64,
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
    println!("\n{caught} of {viable} that can be built are caught by the tests\n{missed}");
    let simulated = if arguments.simulate > 0 { simulate(&folder, arguments.simulate)? } else { 0 };
    println!("{} of {viable} are caught", caught + simulated);
    Ok(viable > 0 && (caught + simulated) * 100 >= viable * CAUGHT)
}

/// Lets the simulator look for those that were missed; how many it finds.
fn simulate(folder: &Path, seeds: u64) -> Result<usize, Error> {
    let outcomes = fs::read_to_string(folder.join("mutants.out/outcomes.json"))?;
    let outcomes: Value = serde_json::from_str(&outcomes)?;
    let tree = folder.join("mutants/tree");
    let git = |folder: &Path, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(folder);
        output(git)
    };
    let place = tree.to_string_lossy();
    if !tree.exists() {
        git(&root(), &["worktree", "prune"])?;
        git(&root(), &["worktree", "add", "--detach", &place, "HEAD"])?;
    }
    let head = git(&root(), &["rev-parse", "HEAD"])?;
    git(&tree, &["checkout", "--quiet", "--force", "--detach", head.trim()])?;
    let mut found = 0;
    for outcome in outcomes["outcomes"].as_array().into_iter().flatten() {
        let mutant = &outcome["scenario"]["Mutant"];
        let (Some(name), Some(file), Some(diff)) =
            (mutant["name"].as_str(), mutant["file"].as_str(), outcome["diff_path"].as_str())
        else {
            continue;
        };
        if outcome["summary"] != "MissedMutant" {
            continue;
        }
        // Their second line names the mutant and not the file, as git would have it.
        let mut patch = Command::new("patch");
        patch.arg(file).arg(folder.join("mutants.out").join(diff)).current_dir(&tree);
        output(patch)?;
        let mut build = cargo(["build", "--release", "--package", "rserpool-cli"]);
        // Many are built and each runs for a minute at most.
        build.current_dir(&tree).env("CARGO_TARGET_DIR", folder.join("mutants/build"));
        build.envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_INCREMENTAL", "1")]);
        build.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        output(build)?;
        let mut seeded = Command::new(folder.join("mutants/build/release/rserpool"));
        seeded.args(["sim", "--count", &seeds.to_string()]).stdout(Stdio::null());
        let caught = !seeded.stderr(Stdio::null()).status()?.success();
        found += usize::from(caught);
        println!("{} {name}", if caught { "caught by the simulator:" } else { "missed:" });
        git(&tree, &["checkout", "--quiet", "--force", "."])?;
    }
    git(&root(), &["worktree", "remove", "--force", &place])?;
    Ok(found)
}
