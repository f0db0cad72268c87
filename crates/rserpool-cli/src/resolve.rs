//! Asks for elements of a pool: `rserpool resolve`.

use crate::failure::Failure;
use crate::signals::Stop;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  rserpool resolve";

impl Args {
    pub(crate) async fn run(self, _stop: &Stop) -> Result<(), Failure> {
        Err(Failure::failed("not there yet"))
    }
}
