//! Every scenario script shows what was recorded of it.

use rserpool_sim::script;
use std::path::{Path, PathBuf};

#[test]
fn every_script_shows_what_was_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sim/scripts");
    let mut scripts: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 20);
    let record = std::env::var_os("RECORD").is_some();
    let changed: Vec<_> = scripts
        .iter()
        .filter(|path| {
            !script::check(path, record).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        })
        .collect();
    assert!(
        record || changed.is_empty(),
        "{changed:#?} show something else now: `rserpool sim --script FILE --record`, and read it"
    );
}
