//! Lets clients that know nothing of pools use one: `rserpool proxy`.
//!
//! ```text
//!   client ---> accept ---> balance: which element? ---> connect ---> relay: bytes both ways
//!   (serve)                    ^        ^                   |
//!            list, when it is    |        +--- unreachable ---+---> report to the registrar
//!              another one       |
//!                          registrar
//! ```
//!
//! A new connection asks nobody: [`balance`] holds the pool's elements and is told of changes in the
//! background. Connections are accepted and served by threads of their own, each with a runtime
//! that never moves a connection to another core.

mod balance;
mod pipe;
mod relay;
#[cfg(test)]
mod secured_tests;
mod serve;

use crate::args::{RegistrarFlags, TimerFlags};
use crate::failure::Failure;
use crate::signals::Stop;
use crate::tls;
use crate::units::parse_duration;
use balance::{Balance, Times};
use rserpool::PoolUser;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::timers::UserTimers;
use rserpool::scope::PoolName;
use rserpool::tls::{Front, Tls};
use serve::{Security, Serve};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The pool whose elements serve the clients; POOL@SCOPE for one of another scope
    #[arg(value_name = "POOL")]
    pool: PoolName,

    /// Where clients connect to
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    #[command(flatten)]
    registrars: RegistrarFlags,

    /// End TLS here: the certificate that clients are shown, PEM, for the name by which they come
    ///
    /// Clients speak TLS 1.3 and are asked nothing. Without it their bytes pass as they are, TLS or not.
    #[arg(long, value_name = "FILE", help_heading = "Secured scopes")]
    tls_listen_cert: Option<PathBuf>,

    /// Its key [default: as --tls-listen-cert, ending in .key]
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_listen_cert",
        help_heading = "Secured scopes"
    )]
    tls_listen_key: Option<PathBuf>,

    /// Speak TLS with the elements: their certificates are of the scope, for the pool, and of whoever
    /// has registered them; others are passed over
    #[arg(long, help_heading = "Secured scopes")]
    tls_elements: bool,

    #[command(flatten)]
    timers: TimerFlags,

    /// How long an element may take to accept a connection before it is reported and the next one
    /// is tried; raise it where round trips take longer than 80 ms
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = parse_duration)]
    connect_timeout: Duration,

    /// How long a client is kept waiting while no element can be had; then its connection is reset
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    wait: Duration,

    /// How long the last list of elements is used while no registrar answers
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    keep_list: Duration,

    /// How long connections may go on after SIGTERM or Ctrl-C; no new ones are accepted
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,

    /// Most connections at a time; further clients wait in the backlog of the listening socket
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,

    /// How many threads move bytes; one is enough for some gigabytes per second
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

const EXAMPLES: &str = "\
Examples:
  rserpool proxy web
      http://127.0.0.1:8080/ is answered by the elements of the pool `web`

  rserpool proxy db --listen 0.0.0.0:5432 --drain 10m --threads 2
      any protocol on TCP; connections have ten minutes to end when the proxy is stopped

  rserpool proxy web --tls-cert pki/alice.pem --tls-elements --tls-listen-cert www.pem
      https://127.0.0.1:8080/, in a secured scope whose elements speak TLS with certificates of the pool

A connection stays with its element until one side ends it. Elements that cannot be connected to are
reported and passed over, and the client sees nothing of it; a connection to an element that dies is
broken, as it would be without a proxy. --log-level rserpool::proxy=debug shows every connection.";

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let max_connections = enough_descriptors(self.max_connections, self.threads);
        let listener = listen(self.listen)?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let clients = self.front()?;
        let (balance, tls) = self.balance(stop).await?;
        let elements = tls.filter(|_| self.tls_elements);
        if self.tls_elements && elements.is_none() {
            return Err(Failure::usage("--tls-elements needs to know whom to believe")
                .next("say it by --tls-cert or --tls-ca"));
        }
        let (terminates, originates) = (clients.is_some(), elements.is_some());
        let serve = Arc::new(Serve::new(
            self.pool.handle.clone(),
            Arc::clone(&balance),
            self.connect_timeout,
            self.wait,
            Security { clients, elements },
        ));
        info!(
            handle = %self.pool,
            listen = %address,
            clients_secured = terminates,
            elements_secured = originates,
            "serving"
        );

        let mut threads = Vec::new();
        for _ in 0..self.threads {
            let listener = listener
                .try_clone()
                .map_err(|error| Failure::failed(format!("cannot share a socket: {error}")))?;
            let (serve, stop, drain) = (Arc::clone(&serve), stop.clone(), self.drain);
            let connections = max_connections.div_ceil(u32::from(self.threads));
            threads.push(tokio::task::spawn_blocking(move || {
                serve.run(listener, &stop, connections, drain)
            }));
        }
        // Clients have to be refused while the threads drain.
        drop(listener);
        for thread in threads {
            match thread.await {
                Ok(result) => result.map_err(|error| {
                    Failure::failed(format!("cannot serve on {address}: {error}"))
                })?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        let totals = serve.totals();
        info!(
            handle = %self.pool,
            accepted = totals.accepted,
            unserved = totals.unserved,
            broken = totals.broken,
            cut = totals.cut,
            "stopped"
        );
        Ok(())
    }
}

impl Args {
    /// Starts to keep the list of elements.
    async fn balance(&self, stop: &Stop) -> Result<(Arc<Balance>, Option<Tls>), Failure> {
        let mut timers = UserTimers::preset(self.timers.timers.into());
        let times = Times {
            renew: timers.stale_cache_value,
            set_aside: timers.set_aside,
            keep_list: self.keep_list,
        };
        // What is asked is asked of a registrar: the list kept here is all the cache there is.
        timers.stale_cache_value = Duration::ZERO;
        let registrars = self.registrars.of(self.pool.scope.as_ref(), stop).await?;
        let mut config = PoolUserConfig::new(registrars.locators);
        config.timers = timers;
        config.items = Some(u32::MAX);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Failure::failed(format!("the system has no randomness: {error}")))?;
        let tls = registrars.network.tls.clone();
        let user = PoolUser::with(config, registrars.network);
        let (balance, wishes) = Balance::new(self.pool.handle.clone(), times, seed);
        let balance = Arc::new(balance);
        let renewed = Arc::clone(&balance);
        tokio::spawn(async move { renewed.renew_forever(user, wishes).await });
        Ok((balance, tls))
    }

    /// What clients are shown, if TLS ends here.
    fn front(&self) -> Result<Option<Front>, Failure> {
        let Some(certificate) = self.tls_listen_cert.clone() else { return Ok(None) };
        let key = self.tls_listen_key.clone();
        tls::front(certificate, key).map(Some)
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let cannot = |error: io::Error| {
        Failure::failed(format!("cannot listen on {address}: {error}"))
            .next("choose another address or port with --listen")
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    // Whether to wait for more bytes is for the two sides to decide, not for us. What is accepted
    // inherits it.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true).map_err(|error| cannot(error.into()))?;
    Ok(listener)
}

/// Allows the process the descriptors that so many connections take, and says how many connections
/// there can be.
fn enough_descriptors(connections: u32, threads: u16) -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let others = DESCRIPTORS_OF_PROCESS + u64::from(threads) * 2 * pipe::PIPES_MAX as u64;
    let wanted = u64::from(connections) * DESCRIPTORS_PER_CONNECTION + others;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = Rlimit { current: Some(raised), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return connections;
    };
    let fewer = current.saturating_sub(others) / DESCRIPTORS_PER_CONNECTION;
    let fewer = u32::try_from(fewer).unwrap_or(connections).max(1);
    warn!(
        descriptors = current,
        connections = fewer,
        "the limit of open files allows fewer connections than --max-connections"
    );
    fewer
}

/// Two sockets.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// What the rest of the process opens, but for pipes.
const DESCRIPTORS_OF_PROCESS: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let Err(Failure::Failed(report)) = listen(address) else { panic!("it was free") };
        assert!(report.message.contains(&address.to_string()), "{report:?}");
        assert!(report.next.unwrap().contains("--listen"));
    }
}
