//! Checks that dependencies point where `ARCHITECTURE.md` says, by `cargo tree`.

use crate::steps::{Error, cargo, output};
use std::collections::BTreeSet;

/// Which of our crates each of our crates may depend on; one that is not here may not exist.
const OURS: &[(&str, &[&str])] = &[
    ("rserpool-proto", &[]),
    ("rserpool-sctp", &[]),
    ("rserpool", &["rserpool-proto", "rserpool-sctp"]),
    ("rserpool-sim", &["rserpool-proto"]),
    ("rserpool-cli", &["rserpool", "rserpool-sim"]),
    ("rserpool-lab", &["rserpool", "rserpool-proto", "rserpool-sctp"]),
];

/// Everything the protocol core may pull in, directly or not, with all machines. Procedural macros
/// are not counted, for they leave no code of their own in the binary, nor is the feature `proptest`,
/// which is for tests only.
const PROTO_EXTERNAL: &[&str] = &[
    // Keyed hash of the maps that are looked up by names from the network.
    "foldhash",
    // Maps without std.
    "hashbrown",
    // The digest that registrars compare: keyed, and the same on every machine.
    "siphasher",
    // The only randomness: ChaCha12 from a seed.
    "rand_chacha",
    "rand_core",
    "ppv-lite86",
    "zerocopy",
    // Errors that read as sentences.
    "thiserror",
];

/// The check; the note says what was looked at.
///
/// # Errors
/// If a dependency points in a direction that is not allowed, or `cargo tree` fails.
pub(crate) fn check() -> Result<String, Error> {
    let mut problems = Vec::new();
    let mut checked = 0;
    for package in packages()? {
        let Some((_, allowed)) = OURS.iter().find(|(name, _)| *name == package) else {
            problems.push(format!("{package} has no directions in xtask/src/directions.rs"));
            continue;
        };
        checked += 1;
        for dependency in tree(&package, &["--depth", "1"])? {
            if is_ours(&dependency) && !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{package} must not depend on {dependency}"));
            }
        }
    }
    let external = tree("rserpool-proto", &["--features", "testing"])?;
    for dependency in &external {
        if !is_ours(dependency) && !PROTO_EXTERNAL.contains(&dependency.as_str()) {
            problems.push(format!(
                "rserpool-proto pulls in {dependency}, which is not among its allowed dependencies"
            ));
        }
    }
    if problems.is_empty() {
        Ok(format!("{checked} crates, {} external in proto", external.len()))
    } else {
        Err(problems.join("\n").into())
    }
}

fn is_ours(package: &str) -> bool {
    package == "rserpool" || package.starts_with("rserpool-")
}

/// Names of the workspace's packages, the tasks themselves left out.
fn packages() -> Result<BTreeSet<String>, Error> {
    let mut names = first_words(&output(cargo([
        "tree",
        "--locked",
        "--workspace",
        "--depth",
        "0",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?);
    names.remove("xtask");
    Ok(names)
}

/// What a package depends on, itself left out.
fn tree(package: &str, more: &[&str]) -> Result<BTreeSet<String>, Error> {
    let mut command = cargo(["tree", "--locked", "--package", package, "--prefix", "none"]);
    command.args(["--edges", "normal,no-proc-macro", "--format", "{p}"]).args(more);
    let mut names = first_words(&output(command)?);
    names.remove(package);
    Ok(names)
}

/// The package names of `cargo tree --prefix none --format {p}`: `name v1.2.3 (source)` per line.
fn first_words(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_are_the_first_words_of_a_tree() {
        let text = "rserpool v0.1.0 (/x)\n\nthiserror v2.0.1\nthiserror v2.0.1 (*)\n";
        let names: Vec<_> = first_words(text).into_iter().collect();
        assert_eq!(names, ["rserpool", "thiserror"]);
    }
}
