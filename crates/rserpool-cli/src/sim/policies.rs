//! What was asked of policies, answered again: `rserpool sim policies`.

use super::show::{Played, ShowFlags};
use crate::failure::Failure;
use crate::output;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use rserpool_sim::planner::published::tolerance;
use rserpool_sim::planner::study::{Study, USUAL_RATIO};

/// Play published workloads through the policies of this program, in virtual time
///
/// Ten servers, users that wait for one request before they send the next, and the registrar's own
/// pool and policies between them. Utilisation is what the servers have worked of what they could;
/// handling speed is how fast a request is done, waiting included, beside one server that has
/// nothing else to do.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which question
    #[arg(value_name = "STUDY", value_parser = studies(), default_value = "published")]
    study: Study,
    /// Users for each server, in all studies but the published one, which has 1 to 20
    #[arg(long, value_name = "N", default_value_t = USUAL_RATIO as u64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    users_per_server: u64,
    #[command(flatten)]
    show: ShowFlags,
}

/// Reads the name of a study.
fn studies() -> impl TypedValueParser<Value = Study> {
    let values = Study::ALL.map(|study| {
        let (name, help) = study.words();
        PossibleValue::new(name).help(help)
    });
    PossibleValuesParser::new(values).map(|given| {
        let named = Study::ALL.into_iter().find(|study| study.words().0 == given);
        named.unwrap_or_default()
    })
}

const EXAMPLES: &str = "\
Examples:
  rserpool sim policies --svg policies.svg
      ends with an error if it differs from what was published by more than 0.3 points for requests
      of 1 s, or 2.5 points for requests of 100 s

  rserpool sim policies proxies --seeds 8 --json
      why a registry beats uncoordinated proxies, and where it does not

  rserpool sim policies delays --users-per-server 2
      the same question, asked by fewer users";

/// With fewer seeds the means are not certain enough to be judged.
const ENOUGH: u64 = 24;

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let study = self.study;
        let ratio = usize::try_from(self.users_per_server).unwrap_or(USUAL_RATIO);
        let played = self.show.play(study.points(ratio), study.axis())?;
        if self.show.seeds >= ENOUGH { judge(&played) } else { Ok(()) }
    }
}

/// Compares with what was published, where anything was.
fn judge(played: &[Played]) -> Result<(), Failure> {
    let mut beyond = Vec::new();
    let mut largest: f64 = 0.0;
    for played in played {
        let Some(published) = played.point.published else { continue };
        let seconds = played.point.scenario.size / played.point.scenario.servers[0].capacity;
        let difference = 100.0 * (played.utilisation().mean - published).abs();
        largest = largest.max(difference);
        if difference > tolerance(seconds) {
            let (series, x) = (&played.point.series, played.point.x);
            beyond.push(format!("{series}, {seconds} s, {x}: {difference:.2} points"));
        }
    }
    if !beyond.is_empty() {
        return Err(Failure::failed(format!("not as published: {}", beyond.join("; "))));
    }
    if largest > 0.0 {
        output::talk(format_args!("as published: {largest:.2} points away at most"));
    }
    Ok(())
}
