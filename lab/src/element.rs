//! A server of echoes that is a pool element itself, by the library: what the command line's adopted
//! servers are not, one process that lives and dies as a whole.

use crate::client::{Addressed, addresses};
use crate::echo::{serve_sctp, serve_tcp};
use crate::secured::Certificate;
use rserpool::PoolElement;
use rserpool::proto::endpoint::pool_element::PoolElementConfig;
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::machine::Locator;
use rserpool::proto::policy::{PolicyParameter, PolicyTable};
use rserpool::proto::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `element`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where registrars are, such as sctp://10.0.0.1:3863.
    #[arg(long, required = true)]
    registrar: Vec<Locator>,
    #[command(flatten)]
    certificate: Certificate,
    /// Identifier in each pool.
    #[arg(long)]
    id: u32,
    /// Serve SCTP here, with a control channel, such as 10.0.0.1,10.1.0.1:7.
    #[arg(long, value_parser = addresses, conflicts_with = "tcp")]
    sctp: Option<Addressed>,
    /// Serve TCP here.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// Pools to join: a handle, or one with a policy and its words, such as
    /// Echo=weighted-random,weight=3.
    #[arg(required = true)]
    pools: Vec<String>,
}

/// Serves until SIGTERM, then leaves all pools.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let transport = match (&arguments.sctp, arguments.tcp) {
        (Some(Addressed(addresses)), _) => Transport::Sctp(sctp(addresses)?),
        (None, Some(address)) => Transport::Tcp(address),
        (None, None) => return Err(io::Error::other("nothing to serve: --sctp or --tcp")),
    };
    let serving = tokio::spawn(async move {
        match (arguments.sctp, arguments.tcp) {
            (Some(Addressed(addresses)), _) => serve_sctp(&addresses).await,
            (None, Some(address)) => serve_tcp(address).await,
            (None, None) => Ok(()),
        }
    });
    let network = arguments.certificate.network()?;
    let mut elements = Vec::new();
    for pool in &arguments.pools {
        let (handle, policy) = pool_and_policy(pool)?;
        let mut config =
            PoolElementConfig::new(handle, transport.clone(), arguments.registrar.clone());
        config.id = Some(PeId(arguments.id));
        config.policy = policy;
        elements.push(
            PoolElement::start_with(config, network.clone()).await.map_err(io::Error::other)?,
        );
    }
    for element in &elements {
        element.registered().await.map_err(io::Error::other)?;
        println!("registered {}", element.handle());
    }
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => {}
        ended = serving => return ended?,
    }
    for element in &elements {
        element.deregister().await.map_err(io::Error::other)?;
    }
    Ok(())
}

pub(crate) fn sctp(addresses: &[SocketAddr]) -> io::Result<SctpTransport> {
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    let none = || io::Error::other("no address");
    Ok(SctpTransport {
        port: addresses.first().ok_or_else(none)?.port(),
        transport_use: TransportUse::DataPlusControl,
        addresses: Addresses::new(&ips).ok_or_else(none)?,
    })
}

/// Reads `Echo=weighted-random,weight=3`.
fn pool_and_policy(text: &str) -> io::Result<(PoolHandle, PolicyParameter)> {
    let (handle, policy) = text.split_once('=').unwrap_or((text, "round-robin"));
    let handle = handle.parse().map_err(|_| io::Error::other(format!("`{handle}`: no handle")))?;
    let mut parts = policy.split(',');
    let name = parts.next().unwrap_or_default();
    let word = |part: &str| -> Option<(String, u32)> {
        let (word, value) = part.split_once('=')?;
        Some((word.to_owned(), value.parse().ok()?))
    };
    let words: Option<Vec<(String, u32)>> = parts.map(word).collect();
    let words = words.ok_or_else(|| io::Error::other(format!("`{policy}`: words are like a=1")))?;
    let words: Vec<(&str, u32)> =
        words.iter().map(|(word, value)| (word.as_str(), *value)).collect();
    let policy = PolicyTable::builtin().parameter(name, &words).map_err(io::Error::other)?;
    Ok((handle, policy))
}
