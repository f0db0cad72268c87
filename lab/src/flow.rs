//! What a session carries beside a bare association: messages one way, as fast as they go.
//!
//! The last one is a single byte and is answered with how many there were.

use crate::client::{Addressed, addresses};
use rserpool::PoolUser;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::session::Event as SessionEvent;
use rserpool::session::serve::{Incoming, ServedSession};
use rserpool_sctp::{Association, Config, Event, Listener, SendInfo};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// Arguments of `flow`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where registrars are, such as sctp://10.0.0.1:3863.
    #[arg(long, required_unless_present = "bare")]
    registrar: Vec<Locator>,
    /// To which pool, as a session.
    #[arg(long, required_unless_present = "bare")]
    pool: Option<PoolHandle>,
    /// To a bare sink, such as 10.0.0.1:8.
    #[arg(long, value_parser = addresses)]
    bare: Option<Addressed>,
    /// Bytes of a message.
    #[arg(long)]
    size: usize,
    /// Messages.
    #[arg(long)]
    count: u64,
}

/// Prints messages a second.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let Arguments { registrar, pool, bare, size, count } = arguments;
    let (began, answer) = match (pool, bare) {
        (_, Some(Addressed(server))) => through_association(&server, size, count).await?,
        (Some(pool), None) => through_session(registrar, &pool, size, count).await?,
        (None, None) => return Err(io::Error::other("--pool or --bare")),
    };
    if answer != count.to_be_bytes() {
        return Err(io::Error::other("messages are missing"));
    }
    println!("{:.0}", count as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

async fn through_session(
    registrar: Vec<Locator>,
    pool: &PoolHandle,
    size: usize,
    count: u64,
) -> io::Result<(Instant, Vec<u8>)> {
    let mut session = PoolUser::new(PoolUserConfig::new(registrar)).session(pool);
    let ended = || io::Error::other("the session has ended");
    while !matches!(session.next().await.ok_or_else(ended)?, SessionEvent::Begun(_)) {}
    let began = Instant::now();
    for _ in 1..count {
        session.send(vec![7; size]).await.map_err(io::Error::other)?;
    }
    session.send([0]).await.map_err(io::Error::other)?;
    let answer = session.recv().await.ok_or_else(ended)?;
    Ok((began, answer.bytes))
}

async fn through_association(
    server: &[SocketAddr],
    size: usize,
    count: u64,
) -> io::Result<(Instant, Vec<u8>)> {
    let association = Association::connect(server, &[], &Config::fast_failover()).await?;
    let began = Instant::now();
    for _ in 1..count {
        association.send(&vec![7; size], SendInfo::default()).await?;
    }
    association.send(&[0], SendInfo::default()).await?;
    loop {
        match association.recv().await? {
            Event::Message(message) => return Ok((began, message.data)),
            event if event.is_end() => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
    }
}

/// Counts the messages of a session.
pub(crate) async fn sink(mut session: ServedSession) {
    let mut count = 0_u64;
    while let Some(Incoming::Message(payload)) = session.next().await {
        count += 1;
        if payload.bytes.len() == 1 && session.send(count.to_be_bytes()).await.is_err() {
            return;
        }
    }
}

/// Counts the messages of associations.
pub(crate) async fn bare_sink(addresses: &[SocketAddr]) -> io::Result<()> {
    let listener = Listener::bind(addresses, &Config::fast_failover())?;
    loop {
        let association = listener.accept().await?;
        tokio::spawn(async move { count_messages(&association).await });
    }
}

async fn count_messages(association: &Association) -> io::Result<()> {
    let (mut count, mut events) = (0_u64, Vec::new());
    loop {
        association.recv_many(&mut events).await?;
        for event in events.drain(..) {
            match event {
                Event::Message(message) => {
                    count += 1;
                    if message.data.len() == 1 {
                        association.send(&count.to_be_bytes(), SendInfo::default()).await?;
                    }
                }
                event if event.is_end() => return Ok(()),
                _ => {}
            }
        }
    }
}
