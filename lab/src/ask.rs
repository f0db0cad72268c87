//! Asks again and again, one question at a time, and prints a line for each.
//!
//! ```text
//!   1795352015123456 2.1 2 0x21,0x22     when (microseconds since 1970), milliseconds, elements
//!   1795352015223456 500.0 - timed out   no answer
//!   # asked=200 answered=199 failed=1 worst_ms=500.0
//! ```

use crate::client::{Addressed, Client, addresses, question, unix_us};
use rserpool_proto::id::PoolHandle;
use rserpool_proto::wire::asap::{Body, HandleResolutionResponse};
use std::io::{self, Write as _};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Arguments of `ask`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the registrar serves users, such as 10.0.0.1,10.1.0.1:3863.
    #[arg(value_parser = addresses)]
    registrar: Addressed,
    /// Which pool.
    pool: PoolHandle,
    /// Elements wanted, beyond any number by default.
    #[arg(long, default_value_t = u32::MAX)]
    items: u32,
    /// Milliseconds between two questions.
    #[arg(long, default_value_t = 20)]
    every: u64,
    /// Questions; without end by default, until SIGTERM.
    #[arg(long, default_value_t = u64::MAX)]
    times: u64,
    /// Milliseconds that an answer may take before it counts as failed and is no longer waited for.
    #[arg(long, default_value_t = 3000)]
    patience: u64,
}

/// Asks until told to end.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let question = question(&arguments.pool, Some(arguments.items))?;
    let patience = Duration::from_millis(arguments.patience);
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(arguments.every.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client: Option<Client> = None;
    let (mut asked, mut answered, mut worst) = (0, 0, Duration::ZERO);
    let mut out = io::stdout().lock();
    while asked < arguments.times {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = term.recv() => break,
        }
        let began = Instant::now();
        let answer = async {
            let client = match client.take() {
                Some(client) => client,
                None => Client::connect(&arguments.registrar.0).await?,
            };
            client.send(crate::client::ASAP, &question).await?;
            let answer = response(&client).await?;
            io::Result::Ok((client, answer))
        };
        let answer = timeout(patience, answer)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "timed out")));
        let took = began.elapsed();
        asked += 1;
        worst = worst.max(took);
        let ms = took.as_secs_f64() * 1e3;
        match answer {
            Ok((kept, response)) => {
                client = Some(kept);
                if response.errors.is_empty() {
                    answered += 1;
                    let ids: Vec<String> = response
                        .elements
                        .iter()
                        .map(|element| format!("{:#x}", element.id.0))
                        .collect();
                    writeln!(out, "{} {ms:.1} {} {}", unix_us(), ids.len(), ids.join(","))?;
                } else {
                    writeln!(out, "{} {ms:.1} - {:?}", unix_us(), response.errors)?;
                }
            }
            // The association is given up with what may still come by it.
            Err(error) => writeln!(out, "{} {ms:.1} - {error}", unix_us())?,
        }
    }
    let (failed, worst) = (asked - answered, worst.as_secs_f64() * 1e3);
    writeln!(out, "# asked={asked} answered={answered} failed={failed} worst_ms={worst:.0}")
}

/// The next answer; what else comes is passed over.
async fn response(client: &Client) -> io::Result<HandleResolutionResponse> {
    loop {
        if let Body::HandleResolutionResponse(response) = client.recv_asap().await? {
            return Ok(*response);
        }
    }
}
