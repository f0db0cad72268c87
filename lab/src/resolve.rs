//! A user by the library, which asks again and again and prints what `ask` prints.

use crate::client::unix_us;
use crate::secured::Certificate;
use rserpool::PoolUser;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::machine::Locator;
use rserpool_proto::id::PoolHandle;
use std::io::{self, Write as _};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Arguments of `resolve`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which pool.
    pool: PoolHandle,
    /// Where registrars are, such as sctp://10.0.0.1:3863.
    #[arg(long, required = true)]
    registrar: Vec<Locator>,
    #[command(flatten)]
    certificate: Certificate,
    /// Milliseconds between two questions.
    #[arg(long, default_value_t = 20)]
    every: u64,
    /// Questions; without end by default, until SIGTERM.
    #[arg(long, default_value_t = u64::MAX)]
    times: u64,
    /// Milliseconds that an answer may take.
    #[arg(long, default_value_t = 3000)]
    patience: u64,
}

/// Asks until told to end.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let Arguments { pool, registrar, certificate, every, times, patience } = arguments;
    let mut config = PoolUserConfig::new(registrar);
    config.timers.stale_cache_value = Duration::ZERO;
    let user = PoolUser::with(config, certificate.network()?);
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(every.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut asked, mut answered, mut worst) = (0, 0, Duration::ZERO);
    let mut out = io::stdout().lock();
    while asked < times {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = term.recv() => break,
        }
        let began = Instant::now();
        let answer = timeout(Duration::from_millis(patience), user.resolve(&pool)).await;
        let took = began.elapsed();
        asked += 1;
        worst = worst.max(took);
        let ms = took.as_secs_f64() * 1e3;
        match answer {
            Ok(Ok(resolution)) => {
                answered += 1;
                let elements = resolution.elements.iter();
                let ids: Vec<String> =
                    elements.map(|element| format!("{:#x}", element.id.0)).collect();
                writeln!(out, "{} {ms:.1} {} {}", unix_us(), ids.len(), ids.join(","))?;
            }
            Ok(Err(error)) => writeln!(out, "{} {ms:.1} - {error}", unix_us())?,
            Err(_over) => writeln!(out, "{} {ms:.1} - timed out", unix_us())?,
        }
    }
    let (failed, worst) = (asked - answered, worst.as_secs_f64() * 1e3);
    writeln!(out, "# asked={asked} answered={answered} failed={failed} worst_ms={worst:.0}")
}
