//! How many questions or registrations registrars answer in a second, for one client that keeps a
//! number of them under way.
//!
//! The messages are encoded beforehand and answers are only counted, so that on the one core that both
//! share the registrar is what takes the time. Several registrars are loaded by turns, a moment each,
//! and the best moment of each counts: what else happens on the machine meets all of them, and some
//! moments are free of it.

use crate::client::{ASAP, Addressed, Client, addresses, encode, question, registration};
use crate::secured::Certificate;
use rserpool_proto::id::PoolHandle;
use rserpool_proto::wire::asap::Body;
use std::io;
use std::time::{Duration, Instant};

/// Arguments of `load`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which pool.
    pool: PoolHandle,
    /// Where a registrar serves, such as 10.0.0.1:3863.
    #[arg(long = "at", required_unless_present = "secured", value_parser = addresses)]
    registrars: Vec<Addressed>,
    /// The same by TLS; they come after the others.
    #[arg(long = "secured-at", value_parser = addresses, requires = "tls_cert")]
    secured: Vec<Addressed>,
    #[command(flatten)]
    certificate: Certificate,
    /// Messages under way.
    #[arg(long, default_value_t = 1)]
    under_way: usize,
    /// Moments for each registrar.
    #[arg(long, default_value_t = 1)]
    moments: usize,
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
        /// Length of a moment, in milliseconds.
        #[arg(long, default_value_t = 200)]
        for_ms: u64,
    },
    /// Opens associations, asks once by each, and closes it.
    Greet {
        /// Length of a moment, in milliseconds.
        #[arg(long, default_value_t = 500)]
        for_ms: u64,
    },
    /// Registers elements.
    Register {
        /// How many elements in a moment.
        #[arg(long)]
        elements: u32,
        /// How often each.
        #[arg(long, default_value_t = 1)]
        rounds: u32,
        /// Stay until SIGTERM, so that the elements of the last moment stay.
        #[arg(long)]
        stay: bool,
    },
}

/// Runs the load, and prints the operations per second of each registrar.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let plain = arguments.registrars.iter().map(|at| (at, false));
    let targets: Vec<_> = plain.chain(arguments.secured.iter().map(|at| (at, true))).collect();
    let mut best = vec![0.0_f64; targets.len()];
    let mut last = None;
    for _ in 0..arguments.moments {
        for (&(registrar, secured), best) in targets.iter().zip(&mut best) {
            let client = connect(registrar, secured, &arguments).await?;
            let rate = moment(&client, (registrar, secured), &arguments).await?;
            *best = best.max(rate);
            if matches!(arguments.what, What::Register { stay: true, .. }) {
                last = Some(client);
            } else {
                client.close().await;
                // What that leaves to be done is not the next one's.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let best: Vec<String> = best.iter().map(|best| format!("{best:.0}")).collect();
    println!("{}", best.join(" "));
    match last {
        Some(client) => stay_until_told(&client).await,
        None => Ok(()),
    }
}

async fn connect(at: &Addressed, secured: bool, arguments: &Arguments) -> io::Result<Client> {
    match secured {
        false => Client::connect(&at.0).await,
        true => Client::connect_secured(&at.0, arguments.certificate.config()?).await,
    }
}

/// Associations that ask once and end, a second.
async fn greet(
    at: &Addressed,
    secured: bool,
    arguments: &Arguments,
    for_ms: u64,
) -> io::Result<f64> {
    let question = question(&arguments.pool, Some(1))?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < Duration::from_millis(for_ms) {
        let client = connect(at, secured, arguments).await?;
        client.send(ASAP, &question).await?;
        client.recv_bytes().await?;
        client.close().await;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// Between two moments.
const PAUSE: Duration = Duration::from_millis(30);

/// One registrar's turn; operations per second.
async fn moment(
    client: &Client,
    (at, secured): (&Addressed, bool),
    arguments: &Arguments,
) -> io::Result<f64> {
    let Arguments { pool, under_way, what, .. } = arguments;
    match *what {
        What::Resolve { items, for_ms } => {
            let question = question(pool, Some(items))?;
            // Whether it answers at all, and with what was asked for.
            client.send(ASAP, &question).await?;
            let found = match client.recv_asap().await? {
                Body::HandleResolutionResponse(response) => response.elements.len(),
                other => return Err(io::Error::other(format!("{} came", other.name()))),
            };
            if found != items as usize {
                return Err(io::Error::other(format!("{found} elements came for {items}")));
            }
            let end = Instant::now() + Duration::from_millis(for_ms);
            pump(client, *under_way, || (Instant::now() < end).then_some(&question[..])).await
        }
        What::Greet { for_ms } => greet(at, secured, arguments, for_ms).await,
        What::Register { elements, rounds, .. } => {
            let mut messages = Vec::new();
            for id in 1..=elements {
                messages.push(registration(pool, client.element(id)?)?);
            }
            let mut all = (0..rounds).flat_map(|_| &messages);
            pump(client, *under_way, || all.next().map(Vec::as_slice)).await
        }
    }
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
        let answer = client.recv_bytes().await?;
        match answer.first() {
            // A refusal has the first flag set, in a response to a registration.
            Some(3) if answer.get(1).is_some_and(|flags| flags & 1 != 0) => {
                return Err(io::Error::other(format!("refused: {answer:02x?}")));
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
                    let ack = encode(Body::EndpointKeepAliveAck { handle, id })?;
                    client.send(ASAP, &ack).await?;
                }
            }
        }
    }
}
