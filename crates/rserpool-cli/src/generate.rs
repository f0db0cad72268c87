//! Completions and manual pages, generated from the command line's own description.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "rserpool", &mut script);
        output::print(String::from_utf8_lossy(&script))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write one page for each command
    directory: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(directory) = self.directory else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return output::print(String::from_utf8_lossy(&page));
        };
        clap_mangen::generate_to(Cli::command(), &directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", directory.display()))
        })
    }
}
