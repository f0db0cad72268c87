//! Associations that are of no use: idle ones, ones that come and go, ones that never read.

use crate::client::{ASAP, Addressed, addresses, question, unix_us};
use rserpool_proto::id::PoolHandle;
use rserpool_sctp::{Association, Config, SendInfo};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Arguments of `crowd`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the registrar serves, such as 10.0.0.1:3863.
    #[arg(value_parser = addresses)]
    registrar: Addressed,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Opens associations and says nothing; prints every second how many are left.
    Idle {
        /// How many.
        #[arg(long)]
        count: usize,
    },
    /// Opens and closes associations.
    Passing {
        /// How many each second.
        #[arg(long)]
        rate: u32,
        /// How long.
        #[arg(long)]
        seconds: u64,
    },
    /// Asks without end and reads no answer; prints every second how many are left.
    Deaf {
        /// How many.
        #[arg(long)]
        count: usize,
        /// A large pool, so that answers are long.
        #[arg(long)]
        pool: PoolHandle,
    },
}

/// Runs until told to end, or for the time given.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let registrar = &arguments.registrar.0;
    match arguments.what {
        What::Idle { count } => {
            let crowd = open(registrar, count, &Config::default()).await?;
            watch(crowd).await
        }
        What::Passing { rate, seconds } => passing(registrar, rate, seconds).await,
        What::Deaf { count, pool } => {
            // As little as the kernel allows, so that the answers stay on the other side.
            let config = Config { receive_buffer: Some(4096), ..Config::default() };
            let crowd = open(registrar, count, &config).await?;
            let question = question(&pool, Some(u32::MAX))?;
            let mut sent = 0_u64;
            for _ in 0..QUESTIONS {
                for association in &crowd {
                    sent +=
                        u64::from(association.try_send(&question, SendInfo::ppid(ASAP)).is_ok());
                }
                sleep(ROUND).await;
            }
            println!("{} asked {sent}", unix_us());
            watch(crowd).await
        }
    }
}

/// Questions that each deaf client asks: of a pool of 200 elements that makes half a megabyte of
/// answers, more than socket buffers take.
const QUESTIONS: usize = 40;
/// From one question of each to the next: a hundred that ask more often would be more than a registrar
/// on a slow core can answer, deaf or not.
const ROUND: Duration = Duration::from_millis(100);

async fn open(
    registrar: &[SocketAddr],
    count: usize,
    config: &Config,
) -> io::Result<Vec<Association>> {
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let connecting = Association::connect(registrar, &[], config);
        match timeout(Duration::from_secs(5), connecting).await {
            Ok(Ok(association)) => crowd.push(association),
            Ok(Err(error)) => println!("{} refused: {error}", unix_us()),
            Err(_) => println!("{} not connected in 5 s", unix_us()),
        }
    }
    println!("{} opened {}", unix_us(), crowd.len());
    Ok(crowd)
}

/// Prints how many are left, whenever that has changed.
///
/// A few are looked at at a time: to ask the kernel for two thousand, four times a second, would be half
/// of what a slow core can do, and that core is the registrar's, too.
async fn watch(mut crowd: Vec<Association>) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(250));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut next) = (usize::MAX, 0);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = ticks.tick() => {}
        }
        for _ in 0..LOOKED_AT.min(crowd.len()) {
            next %= crowd.len().max(1);
            match crowd.get(next).map(Association::status) {
                Some(Err(_gone)) => drop(crowd.swap_remove(next)),
                _ => next += 1,
            }
        }
        if crowd.len() != before {
            before = crowd.len();
            println!("{} left {before}", unix_us());
        }
    }
}

/// Associations that are looked at at a time.
const LOOKED_AT: usize = 200;

async fn passing(registrar: &[SocketAddr], rate: u32, seconds: u64) -> io::Result<()> {
    let count = u64::from(rate) * seconds;
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    let config = Config::default();
    let (mut opened, mut refused) = (0_u64, 0_u64);
    for _ in 0..count {
        ticks.tick().await;
        let connecting = Association::connect(registrar, &[], &config);
        match timeout(Duration::from_secs(2), connecting).await {
            Ok(Ok(association)) => {
                opened += 1;
                let _ = timeout(Duration::from_secs(1), association.close()).await;
            }
            _ => refused += 1,
        }
    }
    println!("{} passed {opened} refused {refused}", unix_us());
    Ok(())
}
