//! A server and a client that know nothing of pools: lines, or messages, and their echo.

use crate::client::{ASAP, Addressed, addresses, unix_us};
use crate::flow::bare_sink;
use rserpool_sctp::{Association, Config, Endpoint, Event, SendInfo};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Arguments of `echo`.
#[derive(clap::Args)]
pub(crate) struct ServerArguments {
    /// Serve SCTP here, such as 10.0.0.1,10.1.0.1:7.
    #[arg(long, value_parser = addresses)]
    sctp: Option<Addressed>,
    /// Serve TCP here.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// Serve UDP here.
    #[arg(long)]
    udp: Option<SocketAddr>,
    /// Count messages over SCTP here, instead of echoing them.
    #[arg(long, value_parser = addresses)]
    count: Option<Addressed>,
}

/// Serves until it is killed.
pub(crate) async fn serve(arguments: ServerArguments) -> io::Result<()> {
    let ServerArguments { sctp, tcp, udp, count } = arguments;
    let mut served = tokio::task::JoinSet::new();
    if let Some(Addressed(addresses)) = sctp {
        served.spawn(async move { serve_sctp(&addresses).await });
    }
    if let Some(address) = tcp {
        served.spawn(serve_tcp(address));
    }
    if let Some(address) = udp {
        served.spawn(serve_udp(address));
    }
    if let Some(Addressed(addresses)) = count {
        served.spawn(async move { bare_sink(&addresses).await });
    }
    match served.join_next().await {
        Some(ended) => ended?,
        None => Err(io::Error::other("nothing to serve: --sctp, --tcp or --udp")),
    }
}

/// Echoes messages, those of the ASAP control channel apart: they are for others.
pub(crate) async fn serve_sctp(addresses: &[SocketAddr]) -> io::Result<()> {
    let endpoint = Endpoint::bind(addresses, &Config::fast_failover())?;
    loop {
        match endpoint.recv().await? {
            Event::Message(message) if message.ppid != ASAP => {
                let info = SendInfo { stream: message.stream, ..SendInfo::ppid(message.ppid) };
                let _ = endpoint.send(message.association, &message.data, info).await;
            }
            _ => {}
        }
    }
}

pub(crate) async fn serve_tcp(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

async fn serve_udp(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from).await;
    }
}

/// Arguments of `talk`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the server is, such as 10.0.0.1,10.1.0.1:7.
    #[arg(value_parser = addresses)]
    server: Addressed,
    /// Speak SCTP on one association; otherwise TCP, a connection for each line.
    #[arg(long)]
    sctp: bool,
    /// Milliseconds from one line to the next.
    #[arg(long, default_value_t = 20)]
    every: u64,
    /// Milliseconds until an echo counts as failed.
    #[arg(long, default_value_t = 60_000)]
    patience: u64,
    /// Lines; without end by default, until SIGTERM.
    #[arg(long, default_value_t = u64::MAX)]
    times: u64,
}

/// Talks, one line after the other, and prints a line for each as `ask` does.
pub(crate) async fn talk(arguments: Arguments) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut ticks = interval(Duration::from_millis(arguments.every.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut out = io::stdout().lock();
    let (mut asked, mut answered, mut worst) = (0_u64, 0_u64, Duration::ZERO);
    let mut association = None;
    while asked < arguments.times {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = term.recv() => break,
        }
        let began = Instant::now();
        let line = format!("line {asked}\n");
        let echo = async {
            if arguments.sctp {
                by_sctp(&mut association, &arguments.server.0, line.as_bytes()).await
            } else {
                by_tcp(&arguments.server.0, line.as_bytes()).await
            }
        };
        let echo = timeout(Duration::from_millis(arguments.patience), echo).await;
        let echo = echo.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let took = began.elapsed();
        let ms = took.as_secs_f64() * 1e3;
        asked += 1;
        worst = worst.max(took);
        match echo {
            Ok(()) => {
                answered += 1;
                writeln!(out, "{} {ms:.1} 1 ok", unix_us())?;
            }
            Err(error) => {
                association = None;
                writeln!(out, "{} {ms:.1} - {error}", unix_us())?;
            }
        }
    }
    let (failed, worst) = (asked - answered, worst.as_secs_f64() * 1e3);
    writeln!(out, "# asked={asked} answered={answered} failed={failed} worst_ms={worst:.0}")
}

async fn by_tcp(server: &[SocketAddr], line: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(line).await?;
    let mut echo = vec![0; line.len()];
    stream.read_exact(&mut echo).await?;
    same(line, &echo)
}

async fn by_sctp(
    association: &mut Option<Association>,
    server: &[SocketAddr],
    line: &[u8],
) -> io::Result<()> {
    let current = match association.take() {
        Some(current) => current,
        None => Association::connect(server, &[], &Config::fast_failover()).await?,
    };
    current.send(line, SendInfo::default()).await?;
    loop {
        match current.recv().await? {
            Event::Message(message) => {
                *association = Some(current);
                return same(line, &message.data);
            }
            event if event.is_end() => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
    }
}

fn same(line: &[u8], echo: &[u8]) -> io::Result<()> {
    if line == echo { Ok(()) } else { Err(io::Error::other("another line came back")) }
}
