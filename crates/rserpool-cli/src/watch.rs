//! Shows what changes in pools: `rserpool watch`.
//!
//! Of one pool the registrar tells the changes (RFC 5352 §2.2.5). Of all pools, or one at a registrar's
//! port for others, the handlespace is read again and again; what comes and goes between two looks is
//! not seen then.

use crate::args::{RegistrarFlags, TimerFlags};
use crate::failure::Failure;
use crate::list::EnrpFlag;
use crate::output::{self, OutputFlags};
use crate::resolve;
use crate::signals::Stop;
use crate::units;
use crate::view::{ElementView, PoolView};
use rserpool::PoolUser;
use rserpool::pool_user::{PoolChange, PoolUpdate, PoolUserConfig, ResolveError};
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::UserTimers;
use rserpool::proto::wire::PORT_ENRP;
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::scope::PoolName;
use rserpool::table::Options;
use rserpool::tls::Tls;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, MissedTickBehavior};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this pool, whose changes the registrar tells at once; it need not exist yet. POOL@SCOPE for
    /// one of another scope
    pool: Option<PoolName>,
    #[command(flatten)]
    registrars: RegistrarFlags,
    #[command(flatten)]
    timers: TimerFlags,
    /// Where a registrar serves other registrars: its pools are read there again and again [default,
    /// without a pool: tcp://127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", env = "RSERPOOL_ENRP")]
    enrp: Option<Locator>,
    /// Time between two looks there
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = units::parse_duration)]
    interval: Duration,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Elements that are there at the start are shown as added. Runs until Ctrl-C.

The changes of one pool are told by the registrar, at most twice a second. Without a pool, or with
--enrp, all that a registrar knows is read again and again.

Examples:
  rserpool watch web
  rserpool watch web --registrar tcp://10.0.0.1:3863 --registrar tcp://10.0.0.2:3863
  rserpool watch --json | jq -c 'select(.change == \"removed\")'";

/// Shortest time between two looks, so that looking does not become the registrar's main work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        tokio::select! {
            result = async {
                match (&self.pool, &self.enrp) {
                    (Some(pool), None) => self.be_told(pool, stop).await,
                    _ => self.look().await,
                }
            } => result,
            () = stop.requested() => Ok(()),
        }
    }

    /// Shows what the registrar tells of a pool.
    async fn be_told(&self, pool: &PoolName, stop: &Stop) -> Result<(), Failure> {
        let start = Instant::now();
        let registrars = self.registrars.of(pool.scope.as_ref(), stop).await?;
        let mut config = PoolUserConfig::new(registrars.locators);
        config.timers = UserTimers::preset(self.timers.timers.into());
        config.items = Some(u32::MAX);
        let user = PoolUser::with(config, registrars.network);
        let mut watch = user.watch(&pool.handle).await.map_err(Failure::failed)?;
        let (mut begun, mut answering, mut told) = (false, true, true);
        while let Some(PoolUpdate { state, changes, pushed }) = watch.next().await {
            self.show(start, changes.iter().map(|change| Change::of(&pool.to_string(), change)))?;
            match state {
                Ok(resolution) => {
                    let (listed, total) = (resolution.elements.len(), resolution.total);
                    if let Some(total) = total.filter(|total| *total as usize > listed) {
                        output::talk(format_args!("{listed} of {total} elements are shown"));
                    }
                }
                Err(ResolveError::UnknownPool { .. } | ResolveError::NoElement { .. }) => {
                    if !begun {
                        output::talk("nothing there yet");
                    }
                }
                Err(error) if !begun && !self.registrars.are_announced() => {
                    return Err(resolve::failure(error));
                }
                Err(error) => {
                    answering = false;
                    let failure = resolve::failure(error);
                    output::talk(format_args!("{}; trying again", failure.message()));
                    continue;
                }
            }
            if !pushed && told {
                output::talk("the registrar does not tell changes: it is asked again and again");
            }
            if !answering {
                output::talk("the registrar answers again");
            }
            (begun, answering, told) = (true, true, pushed);
        }
        Ok(())
    }

    fn show(
        &self,
        start: Instant,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), Failure> {
        for change in changes {
            if self.output.json {
                output::print_json(&change)?;
            } else {
                let seconds = start.elapsed().as_secs_f64();
                output::print(format_args!("{seconds:>9.3}s  {change}\n"))?;
            }
        }
        Ok(())
    }

    async fn read(&self, tls: Option<Tls>) -> Result<Vec<PoolView>, Failure> {
        let here = Locator::tcp((Ipv4Addr::LOCALHOST, PORT_ENRP).into());
        let enrp = self.enrp.as_ref().unwrap_or(&here);
        let options = Options { tls, ..Options::default() };
        let table = rserpool::table::read_with(enrp, options).await.map_err(EnrpFlag::failed)?;
        let only = self.pool.as_ref().map(|pool| &pool.handle);
        let wanted = table.pools.iter().filter(|pool| only.is_none_or(|only| *only == pool.handle));
        Ok(wanted.map(|pool| PoolView::new(&pool.handle, &pool.elements)).collect())
    }

    /// Looks again and again at what a registrar tells others.
    async fn look(&self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut ticks = tokio::time::interval(self.interval.max(SHORTEST_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // That a registrar answers at all is needed to begin; later it may go and come again.
        let mut known = Known::default();
        let tls = self.registrars.tls()?;
        let mut pools = self.read(tls.clone()).await?;
        if pools.is_empty() {
            output::talk("nothing there yet");
        }
        let mut answering = true;
        loop {
            self.show(start, known.update(pools))?;
            pools = loop {
                ticks.tick().await;
                match self.read(tls.clone()).await {
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

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Change {
    /// Milliseconds since 1970 when it showed.
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

impl Change {
    /// As the registrar has told it.
    fn of(pool: &str, change: &PoolChange) -> Self {
        let view = |element: &PoolElement| ElementView::from(element);
        let (change, element) = match change {
            PoolChange::Added(element) => (Kind::Added, view(element)),
            PoolChange::Changed { now, .. } => (Kind::Changed, view(now)),
            PoolChange::Removed(element) => (Kind::Removed, view(element)),
        };
        Self { unix_ms: unix_ms(), change, pool: pool.to_owned(), element }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Known {
    /// Takes a new look and gives what is different, removed ones first.
    fn update(&mut self, pools: Vec<PoolView>) -> Vec<Change> {
        let unix_ms = unix_ms();
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
