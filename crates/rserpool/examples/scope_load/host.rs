//! A registrar on a thread of its own.

use super::Outcome;
use rserpool::Registrar;
use rserpool::metrics::Metrics;
use rserpool::proto::machine::Locator;
use rserpool::proto::registrar::Limits;
use rserpool::proto::timers::RegistrarTimers;
use rserpool::registrar::{Config, Event};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub(crate) struct Host {
    pub(crate) asap: SocketAddr,
    pub(crate) enrp: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    /// From the first line of the start to being in service.
    pub(crate) in_service_after: Duration,
    /// Elements it knew then.
    pub(crate) elements: usize,
    thread: i32,
    kill: Option<oneshot::Sender<()>>,
    join: Option<JoinHandle<()>>,
}

/// Timers without keep-alives.
pub(crate) fn quiet() -> RegistrarTimers {
    RegistrarTimers { keep_alive_interval: None, ..RegistrarTimers::default() }
}

impl Host {
    /// Starts a registrar and waits until it serves.
    pub(crate) fn start(peers: &[&Host], timers: RegistrarTimers) -> Outcome<Self> {
        let any: Locator = "tcp://127.0.0.1:0".parse()?;
        let mut config = Config { asap: vec![any.clone()], enrp: vec![any], ..Config::default() };
        // All come from one address, and on few connections.
        let limits = config.machine.limits.without_rates();
        config.machine.limits = Limits { elements_per_owner: u32::MAX, ..limits };
        config.limits.associations_per_address = config.limits.associations;
        config.machine.peers = peers.iter().map(|peer| Locator::tcp(peer.enrp)).collect();
        config.machine.timers = timers;
        let (up, is_up) = mpsc::channel();
        let (kill, killed) = oneshot::channel();
        let join = std::thread::spawn(move || serve(config, &up, killed));
        let mut host = is_up.recv()??;
        (host.kill, host.join) = (Some(kill), Some(join));
        Ok(host)
    }

    /// CPU time that its thread has taken.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread))?;
        let nanos = text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
        Ok(Duration::from_nanos(nanos))
    }

    /// Messages it has sent and received.
    pub(crate) fn messages(&self) -> u64 {
        self.metrics.messages_sent_total.get() + self.metrics.messages_received_total.get()
    }

    /// Bytes it has sent and received.
    pub(crate) fn bytes(&self) -> u64 {
        self.metrics.bytes_sent_total.get() + self.metrics.bytes_received_total.get()
    }

    /// Closes all its connections at once, as the end of its process would.
    pub(crate) fn kill(mut self) {
        self.kill.take();
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

fn serve(config: Config, up: &mpsc::Sender<Result<Host, String>>, killed: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let began = Instant::now();
        let registrar = match Registrar::start(config).await {
            Ok(registrar) => registrar,
            Err(error) => return drop(up.send(Err(error.to_string()))),
        };
        let mut events = registrar.events();
        // It may be in service before anybody could listen.
        while registrar.inspect(|machine| machine.is_serving()).await == Some(false) {
            while !matches!(events.recv().await, Ok(Event::InService { .. }) | Err(_)) {}
        }
        let in_service_after = began.elapsed();
        let elements = registrar.inspect(|machine| machine.handlespace().element_count()).await;
        let host = Host {
            asap: registrar.asap_addrs()[0],
            enrp: registrar.enrp_addrs()[0],
            metrics: registrar.metrics().clone(),
            in_service_after,
            elements: elements.unwrap_or(0),
            thread: rustix::thread::gettid().as_raw_nonzero().get(),
            kill: None,
            join: None,
        };
        let _ = up.send(Ok(host));
        // Whichever way it ends.
        let _ = killed.await;
    });
    runtime.shutdown_background();
}
