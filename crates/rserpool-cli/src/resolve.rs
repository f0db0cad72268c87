//! Asks for elements of a pool: `rserpool resolve`.

use crate::args::{RegistrarFlags, TimerFlags};
use crate::failure::Failure;
use crate::output::{self, OutputFlags};
use crate::refusal::Refusal;
use crate::signals::Stop;
use crate::view::{self, PoolView};
use rserpool::PoolUser;
use rserpool::proto::endpoint::pool_user::{PoolUserConfig, Resolution, ResolveError};
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::UserTimers;
use rserpool::scope::PoolName;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which pool; POOL@SCOPE for one of another scope
    pool: PoolName,
    /// Ask for this many elements [default: as many as the registrar chooses]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    items: Option<u32>,
    #[command(flatten)]
    registrars: RegistrarFlags,
    #[command(flatten)]
    timers: TimerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Elements are shown in the order of the registrar's choice. Asking counts as using: with round robin
the next one to ask gets the next element. `rserpool list` shows a pool without using it.

Examples:
  rserpool resolve web
  rserpool resolve web --items 1 --json | jq -r '.elements[0].addresses[0]'
  rserpool resolve web --registrar tcp://10.0.0.1:3863 --registrar tcp://10.0.0.2:3863
  rserpool resolve web@east.example.org
      in the scope whose registrars DNS knows as _asap._tcp.east.example.org
  rserpool resolve web@east --scope east=tcp://10.1.0.1:3863";

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let registrars = self.registrars.of(self.pool.scope.as_ref(), stop).await?;
        let mut config = PoolUserConfig::new(registrars.locators);
        config.timers = UserTimers::preset(self.timers.timers.into());
        config.items = self.items;
        let patience = if self.registrars.are_announced() { HEAR } else { Duration::ZERO };
        let user = rserpool::PoolUser::with(config, registrars.network);
        let resolution = tokio::select! {
            resolution = resolve(&user, &self.pool.handle, patience) => resolution.map_err(failure)?,
            () = stop.requested() => return Err(Failure::interrupted()),
        };
        let mut pool =
            PoolView::new(&resolution.handle, resolution.elements.iter().map(AsRef::as_ref));
        pool.total = resolution.total;
        if self.output.json {
            return output::print_json(&pool);
        }
        output::print(view::table(std::slice::from_ref(&pool)))?;
        if let Some(total) = pool.total.filter(|total| *total as usize > pool.elements.len()) {
            output::talk(format_args!("{} of {total} elements", pool.elements.len()));
        }
        Ok(())
    }
}

/// Why there is no answer, and what to do next.
pub(crate) fn failure(error: ResolveError) -> Failure {
    match error {
        ResolveError::UnknownPool { handle } => Failure::unknown_pool(&handle),
        ResolveError::NoRegistrar { registrars } => no_registrar(&registrars),
        ResolveError::NoElement { handle } => {
            Failure::failed(format!("no element of pool {handle} is healthy"))
                .next(format!("see what `rserpool element {handle}` says on the servers' machines"))
        }
        ResolveError::Refused { handle, errors } => {
            let refusal = Refusal::new(&handle.to_string(), &errors);
            Failure::failed(format!("pool {handle} cannot be resolved: {}", refusal.why))
                .next(refusal.next)
        }
        other @ ResolveError::TooManyRequests { .. } => Failure::failed(other),
    }
}

/// Time in which a registrar that announces itself is heard: T7 (RFC 5352 §7.1).
const HEAR: Duration = Duration::from_secs(5);

/// Asks, and as long as no registrar is known for at least `patience`.
async fn resolve(
    user: &PoolUser,
    pool: &PoolHandle,
    patience: Duration,
) -> Result<Resolution, ResolveError> {
    let began = Instant::now();
    loop {
        match user.resolve(pool).await {
            Err(ResolveError::NoRegistrar { .. }) if began.elapsed() < patience => {}
            result => return result,
        }
    }
}

fn no_registrar(registrars: &[Locator]) -> Failure {
    let names: Vec<String> = registrars.iter().map(Locator::to_string).collect();
    if names.is_empty() {
        return Failure::failed("no registrar has announced itself").next(
            "start one with --announce on the same network, or say where it is by --registrar",
        );
    }
    Failure::failed(format!("no registrar answers at {}", names.join(", ")))
        .next("start one with `rserpool registrar`, or say where it is by --registrar")
}
