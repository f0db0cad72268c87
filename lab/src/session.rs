//! Elements that take sessions, and their users, by the library: what a session is worth when elements
//! fail.

use crate::client::{Addressed, addresses, unix_us};
use crate::{calc, element, flow, pingpong};
use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::{Preset, UserTimers};
use rserpool::proto::wire::transport::Transport;
use rserpool::session::serve::ServeConfig;
use rserpool::session::{ElementHandle, Event, SessionTimers, Target, UserSessionConfig};
use rserpool::{PoolElement, PoolUser};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub(crate) struct ServeArguments {
    /// Where registrars are, such as sctp://10.0.0.1:3863.
    #[arg(long, required = true)]
    registrar: Vec<Locator>,
    /// Identifier in the pool.
    #[arg(long)]
    id: u32,
    /// Serve SCTP here, with a control channel, such as 10.0.0.1,10.1.0.1:7.
    #[arg(long, value_parser = addresses, conflicts_with = "tcp")]
    sctp: Option<Addressed>,
    /// Serve TCP here.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// What to serve.
    #[arg(long, value_enum, default_value_t = Service::PingPong)]
    service: Service,
    /// Which pool to join.
    pool: PoolHandle,
}

/// What an element does.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Service {
    PingPong,
    Calc,
    Sink,
}

/// Serves until SIGTERM, then leaves the pool.
pub(crate) async fn serve(arguments: ServeArguments) -> io::Result<()> {
    let transport = match (&arguments.sctp, arguments.tcp) {
        (Some(Addressed(addresses)), _) => Transport::Sctp(element::sctp(addresses)?),
        (None, Some(address)) => Transport::Tcp(address),
        (None, None) => return Err(io::Error::other("nothing to serve: --sctp or --tcp")),
    };
    let mut config = PoolElementConfig::new(arguments.pool, transport, arguments.registrar);
    config.id = Some(PeId(arguments.id));
    let config = ServeConfig::new(config);
    let service = match arguments.service {
        Service::PingPong => PoolElement::serve(config, pingpong::serve).await,
        Service::Calc => PoolElement::serve(config, calc::serve).await,
        Service::Sink => PoolElement::serve(config, flow::sink).await,
    };
    let service = service.map_err(io::Error::other)?;
    service.element().registered().await.map_err(io::Error::other)?;
    println!("registered {}", service.element().handle());
    signal(SignalKind::terminate())?.recv().await;
    service.shutdown().await.map_err(io::Error::other)
}

/// Arguments of `converse`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where registrars are, such as sctp://10.0.0.1:3863.
    #[arg(long, required = true)]
    registrar: Vec<Locator>,
    /// Milliseconds from one ping to the next.
    #[arg(long, default_value_t = 5)]
    every: u64,
    /// Timers of session and user: rfc, default or realtime.
    #[arg(long, default_value = "default")]
    timers: Preset,
    /// With which element first; by default any.
    #[arg(long)]
    to: Option<u32>,
    /// Instead of pings, one job of this size for the calculation service.
    #[arg(long)]
    job: Option<u64>,
    /// With which pool.
    pool: PoolHandle,
}

/// Sends pings until SIGTERM, answered or not, and prints a line for each answer as `ask` does, with the
/// element and the number of its reply, and one for each failover.
pub(crate) async fn converse(arguments: Arguments) -> io::Result<()> {
    let mut config = PoolUserConfig::new(arguments.registrar);
    config.timers = UserTimers::preset(arguments.timers);
    let user = PoolUser::new(config);
    let pool = arguments.pool;
    if let Some(size) = arguments.job {
        return calc::calculate(&user, &pool, size).await;
    }
    let mut config = UserSessionConfig::new(match arguments.to {
        Some(id) => Target::Element(ElementHandle { pool, id: PeId(id) }),
        None => Target::Pool(pool),
    });
    config.timers = SessionTimers::preset(arguments.timers);
    let mut session = user.session_with(config);
    let sender = session.sender();
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(arguments.every.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out = io::stdout().lock();
    let (mut asked, mut answered, mut under_way) = (0, 0_u64, BTreeMap::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                asked += 1;
                under_way.insert(asked, Instant::now());
                let sent = sender.send_payload(pingpong::ping(asked), Default::default()).await;
                sent.map_err(io::Error::other)?;
            }
            _ = term.recv() => break,
            event = session.next() => match event {
                Some(Event::Received(payload)) => {
                    let Some((number, reply)) = pingpong::read_pong(&payload.bytes) else { continue };
                    let Some(began) = under_way.remove(&number) else { continue };
                    answered += 1;
                    let ms = began.elapsed().as_secs_f64() * 1e3;
                    let id = session.element().map_or(0, |element| element.id.0);
                    writeln!(out, "{} {ms:.1} 1 {id:#x} {reply}", unix_us())?;
                }
                Some(Event::Begun(element)) => {
                    writeln!(out, "{} - - {:#x} begun", unix_us(), element.id.0)?;
                }
                Some(Event::Failover { to, cookie_sent, unsent, .. }) => {
                    let (id, unsent) = (to.id.0, unsent.len());
                    writeln!(out, "{} - - {id:#x} failover cookie={cookie_sent} unsent={unsent}", unix_us())?;
                }
                Some(Event::Ended { reason, .. }) => return Err(io::Error::other(reason)),
                Some(_) => {}
                None => break,
            },
        }
    }
    let failed = asked - answered;
    writeln!(out, "# asked={asked} answered={answered} failed={failed}")?;
    session.close().await;
    Ok(())
}
