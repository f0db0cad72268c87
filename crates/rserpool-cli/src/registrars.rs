//! Shows the registrars of a scope: `rserpool registrars`.

use crate::failure::Failure;
use crate::list::EnrpFlag;
use crate::output::{self, OutputFlags, Table};
use crate::signals::Stop;
use crate::units;
use rserpool::peers::{self, Answer, Copies};
use rserpool::proto::id::ServerId;
use rserpool::proto::machine::Locator;
use rserpool::table::Options;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    enrp: EnrpFlag,
    /// Wait for so long for a registrar's answer, and for copies to be the same
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
The registrar at --enrp is asked whom it knows, and those are asked who they are. `copy` says whether
the registrar at --enrp has the elements of each as that one has them itself, and `lag` how long it
took until it had. A copy that stays different is repaired by an audit within a heartbeat.

Examples:
  rserpool registrars
  rserpool registrars --enrp tcp://127.0.0.1:9911
  rserpool registrars --json | jq -r '.[] | select(.state != \"serving\") | .server'";

/// Pause between two looks at copies that differ.
const LOOK: Duration = Duration::from_millis(50);

/// A registrar.
#[derive(Clone, Debug, Serialize)]
struct View {
    /// In hexadecimal, as it is logged.
    server: String,
    address: String,
    /// `serving`, `starting` or `unreachable`.
    state: &'static str,
    /// Its elements, as the registrar that was asked first has them.
    elements: usize,
    /// Of its own elements, in hexadecimal; absent if it gives none.
    digest: Option<String>,
    /// Whether the registrar that was asked first has them as well.
    in_sync: Option<bool>,
    /// Time until it had, in milliseconds; absent if it has not.
    lag_ms: Option<u64>,
    round_trip_us: Option<u64>,
}

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let views = tokio::select! {
            views = self.look() => views?,
            () = stop.requested() => return Err(Failure::interrupted()),
        };
        if self.output.json {
            return output::print_json(&views);
        }
        let head =
            ["REGISTRAR", "ADDRESS", "STATE", "ELEMENTS", "DIGEST", "COPY", "LAG", "ROUND TRIP"];
        let mut table = Table::new(&head);
        for view in views {
            let none = || "-".to_owned();
            table.row([
                view.server,
                view.address,
                view.state.into(),
                view.elements.to_string(),
                view.digest.unwrap_or_else(none),
                match view.in_sync {
                    Some(true) => "same".into(),
                    Some(false) => "differs".into(),
                    None => none(),
                },
                view.lag_ms.map_or_else(none, |lag| format!("{lag} ms")),
                view.round_trip_us.map_or_else(none, |us| format!("{:.1} ms", us as f64 / 1e3)),
            ]);
        }
        output::print(table)
    }

    async fn look(&self) -> Result<Vec<View>, Failure> {
        let first_at = self.enrp.at();
        let failed = |error| EnrpFlag::failed(error);
        let options = Options { timeout: self.wait, ..self.enrp.options()? };
        let first = peers::ask(first_at, &options).await.map_err(failed)?;
        let known: Vec<_> = first.peers.clone();
        let asked = known.into_iter().map(|(server, at)| {
            let options = options.clone();
            tokio::spawn(async move { (server, peers::ask(&at, &options).await.ok(), at) })
        });
        let asked: Vec<_> = asked.collect();
        let began = Instant::now();
        let copies = Copies::read(first_at, &options).await.map_err(failed)?;
        let mut views = vec![view(first.server, first_at, Some(&first), &copies)];
        for task in asked {
            let Ok((server, answer, at)) = task.await else { continue };
            let mut shown = view(server, &at, answer.as_ref(), &copies);
            while shown.in_sync == Some(false) && began.elapsed() < self.wait {
                sleep(LOOK).await;
                let Ok(again) = peers::ask(&at, &options).await else { break };
                let copies = Copies::read(first_at, &options).await.map_err(failed)?;
                shown = view(server, &at, Some(&again), &copies);
                if shown.in_sync == Some(true) {
                    shown.lag_ms = u64::try_from(began.elapsed().as_millis()).ok();
                }
            }
            views.push(shown);
        }
        Ok(views)
    }
}

fn view(server: ServerId, at: &Locator, answer: Option<&Answer>, copies: &Copies) -> View {
    // Somebody else may listen there by now.
    let answer = answer.filter(|answer| answer.server == server);
    let in_sync = answer.map(|answer| copies.agree(answer));
    View {
        server: server.to_string(),
        address: at.to_string(),
        state: match answer {
            Some(answer) if answer.is_serving => "serving",
            Some(_) => "starting",
            None => "unreachable",
        },
        elements: copies.elements(server),
        digest: answer.and_then(|answer| answer.digest).map(|digest| format!("{digest:016x}")),
        in_sync,
        lag_ms: in_sync.filter(|in_sync| *in_sync).map(|_| 0),
        round_trip_us: answer.and_then(|it| u64::try_from(it.round_trip.as_micros()).ok()),
    }
}
