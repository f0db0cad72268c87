//! What the lab needs of the machine it runs on.

use std::path::{Path, PathBuf};

/// Programs, and the packages of Debian that have them.
const NEEDS: &[(&str, &str)] = &[
    ("linux.uml", "user-mode-linux"),
    ("ip", "iproute2"),
    ("depmod", "kmod"),
    ("jq", "jq"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("rspregistrar", "rsplib-registrar"),
    ("rspserver", "rsplib-tools"),
    ("rspterminal", "rsplib-tools"),
    ("pingpongclient", "rsplib-services"),
    ("calcappclient", "rsplib-services"),
];

/// The packages that are not there.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> = NEEDS
        .iter()
        .filter_map(|(program, package)| find(program).is_none().then_some(*package))
        .collect();
    missing.dedup();
    missing
}

/// What to tell a person who has to install them.
pub(crate) fn advice(missing: &[&str]) -> String {
    format!("not installed: {}; on Debian: {}", missing.join(", "), line(missing))
}

fn line(packages: &[&str]) -> String {
    format!("apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// A program in the path, or where Debian has those of the administrator.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(|place| Path::new(place).to_path_buf()));
    places.into_iter().map(|place| place.join(name)).find(|program| program.is_file())
}
