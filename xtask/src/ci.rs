//! Everything a change has to pass, in the order in which it is cheapest to learn that it does not.
//!
//! All steps build with the same profile and the same flags, so that each reuses what the ones
//! before it have built: lints and docs share one set of metadata, tests and their listing one set
//! of binaries. A failed step does not stop the ones after it.

use crate::conformance;
use crate::directions;
use crate::lab;
use crate::sim;
use crate::steps::{Error, Steps, cargo, cargo_has, root};
use std::process::Command;

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the closing table as JSON on stdout; everything else goes to stderr.
    #[arg(long)]
    json: bool,
}

/// Runs all steps; `Ok(true)` if none failed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let mut steps = Steps::new(arguments.json);

    steps.run("format", cargo(["fmt", "--all", "--check"]));
    steps.check("directions", directions::check);
    steps.run(
        "lints",
        cargo(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    );
    // Without std, and with each machine alone: what small devices use.
    for (name, features) in [
        ("proto without std", ""),
        ("proto: registrar", "registrar"),
        ("proto: element", "element"),
        ("proto: user", "user"),
        ("proto: endpoints", "element,user"),
    ] {
        let mut command = cargo(["clippy", "--locked", "-p", "rserpool-proto"]);
        command.args(["--no-default-features", "--features", features, "--", "-D", "warnings"]);
        steps.run(name, command);
    }
    for (name, kind, private) in
        [("docs of binaries", "--bins", true), ("docs of libraries", "--lib", false)]
    {
        // In two steps because the binary and the library `rserpool` share a folder: the library's
        // pages, written last, stay.
        let mut command = cargo(["doc", "--locked", "--workspace", "--no-deps", kind]);
        if private {
            command.arg("--document-private-items");
        }
        command.env("RUSTDOCFLAGS", "-D warnings");
        steps.run(name, command);
    }
    // Unit, integration and documentation tests of every crate.
    steps.run("tests", cargo(["test", "--locked", "--workspace"]));
    steps.run("simulation", sim::standard());
    steps.check("conformance", conformance::check);
    licences(&mut steps);
    // A workspace of its own, whose bodies the steps above have tested.
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
    let mut command = cargo(["fmt"]);
    command.args(fuzz).arg("--check");
    steps.run("format of fuzz", command);
    let mut command = cargo(["clippy", "--locked"]);
    command.args(fuzz).args(["--", "-D", "warnings"]);
    steps.run("fuzz targets", command);
    lab(&mut steps);
    Ok(steps.close())
}

/// The lab, where it can run. Whatever else uses the machine meanwhile may cost what is measured a half,
/// and one scenario or another a second try.
fn lab(steps: &mut Steps) {
    let name = "lab";
    let program = match lab::make_ready().and_then(|()| {
        std::env::current_exe().map_err(|error| format!("this program is not found: {error}"))
    }) {
        Ok(program) => program,
        Err(why) => return steps.skip(name, &why),
    };
    let mut command = Command::new(program);
    command.args(["lab", "--margin", "50", "--retry"]).current_dir(root());
    steps.run(name, command);
}

/// Licences and sources of all dependencies, where the tool for it is installed.
fn licences(steps: &mut Steps) {
    let name = "licences";
    if cargo_has("deny") {
        steps.run(name, cargo(["deny", "--locked", "check", "licenses", "bans", "sources"]));
    } else {
        steps.skip(name, "cargo-deny is not installed (cargo install --locked cargo-deny)");
    }
}
