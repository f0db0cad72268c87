//! How many questions or registrations a registrar answers in a second, for one client that keeps a
//! number of them under way.
//!
//! The messages are encoded beforehand and answers are only counted, so that on the one core that both
//! share the registrar is what takes the time.

use crate::client::{ASAP, Addressed, Client, addresses, question, registration};
use rserpool_proto::id::PoolHandle;
use rserpool_proto::wire::asap::Body;
use std::io;
use std::time::{Duration, Instant};

/// Arguments of `load`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the registrar serves, such as 10.0.0.1:3863.
    #[arg(value_parser = addresses)]
    registrar: Addressed,
    /// Which pool.
    pool: PoolHandle,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Asks for the pool.
    Resolve {
        /// Elements wanted in each answer.
        #[arg(long)]
        items: u32,
        /// Questions under way.
        #[arg(long, default_value_t = 1)]
        under_way: usize,
        /// How long.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Registers elements, and stays until its input ends.
    Register {
        /// How many elements.
        #[arg(long)]
        elements: u32,
        /// How often each.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
        /// Registrations under way.
        #[arg(long, default_value_t = 1)]
        under_way: usize,
        /// Stay, so that the elements stay.
        #[arg(long)]
        stay: bool,
    },
}

/// Runs the load, and prints operations per second.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let client = Client::connect(&arguments.registrar.0).await?;
    match arguments.what {
        What::Resolve { items, under_way, seconds } => {
            let question = question(&arguments.pool, Some(items))?;
            // Whether it answers at all, and with what was asked for.
            client.send(ASAP, &question).await?;
            let found = match client.recv_asap().await? {
                Body::HandleResolutionResponse(response) => response.elements.len(),
                other => return Err(io::Error::other(format!("{} came", other.name()))),
            };
            if found != items as usize {
                return Err(io::Error::other(format!("{found} elements came for {items}")));
            }
            let end = Instant::now() + Duration::from_secs(seconds);
            let per_second =
                pump(&client, under_way, || (Instant::now() < end).then_some(&question[..]))
                    .await?;
            println!("{per_second:.0}");
        }
        What::Register { elements, rounds, under_way, stay } => {
            let mut messages = Vec::new();
            for id in 1..=elements {
                messages.push(registration(&arguments.pool, client.element(id)?)?);
            }
            let mut all = (0..rounds).flat_map(|_| &messages);
            let per_second = pump(&client, under_way, || all.next().map(Vec::as_slice)).await?;
            println!("{per_second:.0}");
            if stay {
                stay_until_told(&client).await?;
            }
        }
    }
    client.close().await;
    Ok(())
}

/// Keeps `under_way` messages waiting for their answers; answers per second.
async fn pump<'m>(
    client: &Client,
    under_way: usize,
    mut next: impl FnMut() -> Option<&'m [u8]>,
) -> io::Result<f64> {
    let began = Instant::now();
    let (mut sent, mut answered) = (0_usize, 0_usize);
    loop {
        while sent - answered < under_way {
            let Some(message) = next() else { break };
            client.send(ASAP, message).await?;
            sent += 1;
        }
        if sent == answered {
            return Ok(answered as f64 / began.elapsed().as_secs_f64());
        }
        let answer = client.recv().await?;
        match answer.data.first() {
            // A refusal has the first flag set, in a response to a registration.
            Some(3) if answer.data.get(1).is_some_and(|flags| flags & 1 != 0) => {
                return Err(io::Error::other(format!("refused: {:02x?}", answer.data)));
            }
            Some(3 | 6) => answered += 1,
            // Keep-alives: the load is shorter than anybody's patience.
            _ => {}
        }
    }
}

/// Answers keep-alives until SIGTERM.
async fn stay_until_told(client: &Client) -> io::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            message = client.recv_asap() => {
                if let Body::EndpointKeepAlive { handle, id: Some(id), .. } = message? {
                    let ack = crate::client::encode(Body::EndpointKeepAliveAck { handle, id })?;
                    client.send(ASAP, &ack).await?;
                }
            }
        }
    }
}
