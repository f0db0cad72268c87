//! Which scenarios there are: the files of lab/scenarios, each with its head.

use crate::steps::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// A scenario as its file's head describes it.
///
/// ```text
/// #!/bin/bash
/// # One line: what it is about.
/// #: alone, seconds=90
/// ```
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scenario {
    /// The file's name without `.sh`.
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) title: String,
    /// `alone`: it measures, so that nothing else may run.
    pub(super) alone: bool,
    /// `full`: only when asked for everything.
    pub(super) full: bool,
    /// `seconds=`: how long it may take, the boot included.
    pub(super) seconds: u32,
    /// `memory=`: of the machine.
    pub(super) memory: String,
    /// `errors=NAME`: programs of ours whose logs may hold errors, because they are meant to fail.
    pub(super) errors: Vec<String>,
}

/// All scenarios, by name.
///
/// # Errors
/// If one cannot be read, or its head says what is not known.
pub(super) fn all(folder: &Path) -> Result<Vec<Scenario>, Error> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "sh") {
            let text = fs::read_to_string(&file)?;
            all.push(read(&file, &text)?);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn read(file: &Path, text: &str) -> Result<Scenario, Error> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let title = text.lines().find_map(|line| line.strip_prefix("# "));
    let mut scenario = Scenario {
        title: title.unwrap_or_default().to_owned(),
        file: file.to_owned(),
        alone: false,
        full: false,
        seconds: 120,
        memory: "512M".into(),
        errors: Vec::new(),
        name,
    };
    let words = text.lines().filter_map(|line| line.strip_prefix("#:"));
    for word in words.flat_map(|line| line.split(',')).map(str::trim) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("alone", "") => scenario.alone = true,
            ("full", "") => scenario.full = true,
            ("seconds", seconds) => scenario.seconds = seconds.parse()?,
            ("memory", memory) => scenario.memory = memory.into(),
            ("errors", program) => scenario.errors.push(program.into()),
            _ => return Err(format!("{}: `{word}` means nothing", file.display()).into()),
        }
    }
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_what_a_scenario_needs() {
        let text = "#!/bin/bash\n# A story.\n#: alone, seconds=90\n#: errors=registrar\necho\n";
        let scenario = read(Path::new("x/story.sh"), text).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.title.as_str()), ("story", "A story."));
        assert!(scenario.alone && !scenario.full);
        assert_eq!((scenario.seconds, scenario.errors), (90, vec!["registrar".to_owned()]));
        assert!(read(Path::new("x.sh"), "#: fast").is_err());
    }
}
