//! Makes an unmodified server an element of a pool: `rserpool element`.

mod check;
mod drain;
mod health;

use crate::failure::Failure;
use crate::signals::Stop;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  rserpool element";

impl Args {
    pub(crate) async fn run(self, _stop: &Stop) -> Result<(), Failure> {
        Err(Failure::failed("not there yet"))
    }
}
