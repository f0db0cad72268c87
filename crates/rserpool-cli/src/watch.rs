//! Shows what changes in pools: `rserpool watch`.
//!
//! It reads the handlespace again and again and says what is different. What comes and goes
//! between two looks is not seen.

use crate::failure::Failure;
use crate::list::EnrpFlag;
use crate::output::{self, OutputFlags};
use crate::signals::Stop;
use crate::units;
use crate::view::{ElementView, PoolView};
use rserpool::proto::id::PoolHandle;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, MissedTickBehavior};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this pool; it need not exist yet
    pool: Option<PoolHandle>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = units::parse_duration)]
    interval: Duration,
    #[command(flatten)]
    enrp: EnrpFlag,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Elements that are there at the start are shown as added. Runs until Ctrl-C.

Examples:
  rserpool watch web
  rserpool watch --json | jq -c 'select(.change == \"removed\")'";

/// Shortest time between two looks, so that looking does not become the registrar's main work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        tokio::select! {
            result = self.watch() => result,
            () = stop.requested() => Ok(()),
        }
    }

    async fn watch(&self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(self.interval.max(SHORTEST_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // That a registrar answers at all is needed to begin; later it may go and come again.
        let mut known = Known::default();
        let mut pools = self.enrp.read(self.pool.as_ref()).await?;
        if pools.is_empty() {
            output::talk("nothing there yet");
        }
        let mut answering = true;
        loop {
            for change in known.update(pools) {
                if self.output.json {
                    output::print_json(&change)?;
                } else {
                    let seconds = start.elapsed().as_secs_f64();
                    output::print(format_args!("{seconds:>9.3}s  {change}\n"))?;
                }
            }
            pools = loop {
                ticks.tick().await;
                match self.enrp.read(self.pool.as_ref()).await {
                    Ok(pools) => break pools,
                    Err(failure) if answering => {
                        answering = false;
                        output::talk(format_args!("{}; trying again", failure.message()));
                    }
                    Err(_) => {}
                }
            };
            if !answering {
                answering = true;
                output::talk("the registrar answers again");
            }
        }
    }
}

/// What was there at the last look.
#[derive(Debug, Default)]
struct Known(BTreeMap<(String, String), ElementView>);

/// A difference between two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    /// Milliseconds since 1970 at the look that showed it.
    unix_ms: u64,
    change: Kind,
    pool: String,
    /// The element as it is, or as it was.
    element: ElementView,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Added,
    Changed,
    Removed,
}

impl Known {
    /// Takes a new look and gives what is different, removed ones first.
    fn update(&mut self, pools: Vec<PoolView>) -> Vec<Change> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let change = |change, (pool, _): &(String, String), element: &ElementView| Change {
            unix_ms,
            change,
            pool: pool.clone(),
            element: element.clone(),
        };
        let new: BTreeMap<(String, String), ElementView> = pools
            .into_iter()
            .flat_map(|pool| {
                let name = pool.pool;
                pool.elements
                    .into_iter()
                    .map(move |element| ((name.clone(), element.id.clone()), element))
            })
            .collect();
        let gone = self.0.iter().filter(|(key, _)| !new.contains_key(*key));
        let mut changes: Vec<Change> =
            gone.map(|(key, element)| change(Kind::Removed, key, element)).collect();
        for (key, element) in &new {
            match self.0.get(key) {
                None => changes.push(change(Kind::Added, key, element)),
                Some(old) if old != element => changes.push(change(Kind::Changed, key, element)),
                Some(_) => {}
            }
        }
        self.0 = new;
        changes
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Kind::Added => '+',
            Kind::Changed => '~',
            Kind::Removed => '-',
        };
        let ElementView { id, policy, home, .. } = &self.element;
        write!(f, "{sign} {}  {id}  {}  {policy}", self.pool, self.element.address())?;
        home.as_ref().map_or(Ok(()), |home| write!(f, "  home {home}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    fn pool(name: &str, elements: &[(&str, &str)]) -> PoolView {
        let element = |(id, policy): &(&str, &str)| ElementView {
            id: (*id).into(),
            transport: "tcp",
            addresses: vec!["127.0.0.1:1".into()],
            control: false,
            policy: policy::View { name: (*policy).into(), values: BTreeMap::new() },
            home: None,
        };
        PoolView {
            pool: name.into(),
            total: None,
            elements: elements.iter().map(element).collect(),
        }
    }

    #[test]
    fn what_comes_changes_and_goes_is_said_once() {
        let mut known = Known::default();
        let mut look = |pools: Vec<PoolView>| -> Vec<String> {
            known.update(pools).iter().map(Change::to_string).collect()
        };
        let one = || pool("web", &[("0x1", "random")]);
        assert_eq!(look(vec![one()]), ["+ web  0x1  tcp 127.0.0.1:1  random"]);
        assert_eq!(look(vec![one()]), Vec::<String>::new());
        assert_eq!(
            look(vec![pool("web", &[("0x1", "least-used")]), pool("b", &[("0x1", "random")])]),
            ["+ b  0x1  tcp 127.0.0.1:1  random", "~ web  0x1  tcp 127.0.0.1:1  least-used",]
        );
        assert_eq!(look(vec![pool("b", &[("0x2", "random")])]).len(), 3);
    }
}
