//! Whether the lab can run here at all: what continuous integration asks first.

use super::needs;
use crate::steps::root;
use std::path::Path;
use std::process::{Command, Stdio};

/// Installs what is missing, where that may be done, and boots a machine that does nothing.
///
/// # Errors
/// Why the lab cannot run here.
pub(crate) fn make_ready() -> Result<(), String> {
    if cfg!(not(target_os = "linux")) {
        return Err("User-Mode Linux runs on Linux only".into());
    }
    let missing = needs::missing();
    if !missing.is_empty() && may_install() {
        install(&missing);
    }
    let missing = needs::missing();
    if !missing.is_empty() {
        return Err(needs::advice(&missing));
    }
    let mut machine = Command::new(root().join("crates/rserpool-sctp/tests/uml/run.sh"));
    machine.arg("true").env("UML_TIMEOUT", "60").stdin(Stdio::null()).stdout(Stdio::null());
    match machine.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().last().unwrap_or("it says nothing");
            Err(format!("User-Mode Linux does not boot here: {last}"))
        }
        Err(error) => Err(format!("User-Mode Linux cannot be started here: {error}")),
    }
}

/// Root on a system with apt.
fn may_install() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Tries to install packages; whether it worked shows in what is missing afterwards.
fn install(packages: &[&str]) {
    eprintln!("installing for the lab: {}", packages.join(" "));
    for arguments in [
        ["update", "-qq"].as_slice(),
        &[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat(),
    ] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        // Whatever it says is no part of a report on stdout.
        let _ = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    }
}
