//! Accepting clients and finding each an element that takes its connection.

use super::balance::{Balance, Target};
use super::relay::{How, relay, reset_on_close};
use crate::signals::Stop;
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::tls::{Front, Stream, Tls};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

/// What all connections of the proxy share.
pub(super) struct Serve {
    handle: PoolHandle,
    balance: Arc<Balance>,
    connect_timeout: Duration,
    wait: Duration,
    security: Security,
    counters: Counters,
}

/// What is secured here; nothing by default, and then bytes pass as they are.
#[derive(Default)]
pub(super) struct Security {
    /// What clients are shown.
    pub(super) clients: Option<Front>,
    /// Whom elements have to prove to be.
    pub(super) elements: Option<Tls>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Connections of clients.
    pub(super) accepted: u64,
    /// Of them, those that were reset because no element could be had.
    pub(super) unserved: u64,
    /// Those that their element broke, or ended with the last word being the client's.
    pub(super) broken: u64,
    /// Those that were still open when the time to drain was over.
    pub(super) cut: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    unserved: AtomicU64,
    broken: AtomicU64,
    cut: AtomicU64,
}

impl Serve {
    pub(super) fn new(
        handle: PoolHandle,
        balance: Arc<Balance>,
        connect_timeout: Duration,
        wait: Duration,
        security: Security,
    ) -> Self {
        Self { handle, balance, connect_timeout, wait, security, counters: Counters::default() }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            accepted: self.counters.accepted.load(Relaxed),
            unserved: self.counters.unserved.load(Relaxed),
            broken: self.counters.broken.load(Relaxed),
            cut: self.counters.cut.load(Relaxed),
        }
    }

    /// Accepts on this thread until told to stop, then lets at most `connections` of its own end
    /// within `drain`.
    pub(super) fn run(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        stop: &Stop,
        connections: u32,
        drain: Duration,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let room = Arc::new(Semaphore::new(connections as usize));
            tokio::select! {
                () = self.accept(&listener, &room) => {}
                () = stop.requested() => {}
            }
            drop(listener);
            if timeout(drain, room.acquire_many(connections)).await.is_err() {
                let open = connections as usize - room.available_permits();
                self.counters.cut.fetch_add(open as u64, Relaxed);
            }
            Ok(())
        })
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, room: &Arc<Semaphore>) {
        // It is never closed.
        while let Ok(place) = Arc::clone(room).acquire_owned().await {
            match listener.accept().await {
                Ok((client, from)) => {
                    self.counters.accepted.fetch_add(1, Relaxed);
                    let serve = Arc::clone(self);
                    tokio::spawn(async move {
                        serve.connection(client, from).await;
                        drop(place);
                    });
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// One client from beginning to end.
    pub(super) async fn connection(&self, client: TcpStream, from: SocketAddr) {
        let client = match &self.security.clients {
            None => Stream::Plain(client),
            Some(front) => match front.accept(client).await {
                Ok(client) => client,
                Err(error) => return debug!(client = %from, %error, "no TLS with a client"),
            },
        };
        let Some((element, target)) = self.connect().await else {
            self.counters.unserved.fetch_add(1, Relaxed);
            reset_on_close(client.socket());
            return;
        };
        debug!(handle = %self.handle, pe = %target.pe, address = %target.address, client = %from, "connected");
        let started = Instant::now();
        let ended = relay(client, element).await;
        if matches!(ended.how, How::ElementBroke | How::Unanswered) {
            self.counters.broken.fetch_add(1, Relaxed);
        }
        debug!(
            handle = %self.handle,
            pe = %target.pe,
            address = %target.address,
            client = %from,
            up = ended.up,
            down = ended.down,
            how = ended.how.as_str(),
            lasted_ms = started.elapsed().as_millis() as u64,
            "disconnected"
        );
    }

    /// A connection to an element, or `None` if there was none within the time a client waits.
    async fn connect(&self) -> Option<(Stream, Target)> {
        // Nearly always the first one accepts, and then no time is looked at.
        let mut tried = Vec::new();
        if let Some(target) = self.balance.next(&tried)
            && let Some(element) = self.try_element(target, &mut tried).await
        {
            return Some((element, target));
        }
        let until = Instant::now() + self.wait;
        loop {
            let mut changed = pin!(self.balance.changed());
            // What changes from here on is not missed.
            changed.as_mut().enable();
            while let Some(target) = self.balance.next(&tried) {
                if let Some(element) = self.try_element(target, &mut tried).await {
                    return Some((element, target));
                }
                if Instant::now() >= until || tried.len() >= TRIED_MAX {
                    return None;
                }
            }
            self.balance.renew();
            timeout_at(until, changed).await.ok()?;
            // It is a new list: what failed before may be back under the same name.
            tried.clear();
        }
    }

    async fn try_element(&self, target: Target, tried: &mut Vec<PeId>) -> Option<Stream> {
        let connect = async {
            let socket = TcpStream::connect(target.address).await?;
            // As the clients' connections, which have it from the listening socket.
            let _ = socket.set_nodelay(true);
            match &self.security.elements {
                Some(tls) => tls.connect_element(socket, &self.handle, target.owner).await,
                None => Ok(Stream::Plain(socket)),
            }
        };
        let error = match timeout(self.connect_timeout, connect).await {
            Ok(Ok(element)) => return Some(element),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        debug!(handle = %self.handle, pe = %target.pe, address = %target.address, %error, "connect failed");
        tried.push(target.pe);
        if is_ours(&error) {
            // It says nothing about the element.
            warn!(%error, "cannot open connections");
        } else if self.balance.unreachable(target.pe) {
            warn!(handle = %self.handle, pe = %target.pe, address = %target.address, %error, "element unreachable");
        }
        None
    }
}

/// Whether accepting failed because of the one connection that was to be accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether connecting failed for lack of something here: descriptors, memory, ports.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const OURS: [Errno; 5] =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

/// Most elements that are tried for one client. Each takes up to the connect timeout.
const TRIED_MAX: usize = 16;

/// How long accepting rests when the system has no descriptors or memory for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::super::balance::Times;
    use super::*;
    use rserpool::proto::policy::{PolicyNumber, PolicyParameter};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const ROUND_ROBIN: PolicyNumber = PolicyNumber(1);

    fn serve(wait: Duration) -> Arc<Serve> {
        let handle: PoolHandle = "web".parse().unwrap();
        let minute = Duration::from_secs(60);
        let times = Times { renew: minute, set_aside: minute, keep_list: minute };
        let (balance, _) = Balance::new(handle.clone(), times, [1; 32]);
        Arc::new(Serve::new(handle, Arc::new(balance), minute, wait, Security::default()))
    }

    fn give(serve: &Serve, addresses: &[SocketAddr]) {
        let element = |(pe, address): (u32, &SocketAddr)| {
            let target = Target { pe: PeId(pe), address: *address, owner: None };
            (target, PolicyParameter::new(ROUND_ROBIN, &[]))
        };
        serve.balance.replace(ROUND_ROBIN, (1..).zip(addresses).map(element).collect());
    }

    /// A server that says its port to every client.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                client.write_u16(address.port()).await.unwrap();
            }
        });
        address
    }

    /// An address where nobody listens.
    async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    /// A client of the proxy.
    async fn client(serve: &Arc<Serve>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        let serve = Arc::clone(serve);
        tokio::spawn(async move { serve.connection(accepted, from).await });
        client
    }

    #[tokio::test]
    async fn a_client_does_not_notice_elements_that_refuse_and_they_are_set_aside() {
        let serve = serve(Duration::from_secs(60));
        let served = server().await;
        give(&serve, &[nobody().await, nobody().await, served]);
        for _ in 0..3 {
            assert_eq!(client(&serve).await.read_u16().await.unwrap(), served.port());
        }
        assert_eq!(serve.balance.next(&[]).unwrap().address, served);
        assert_eq!(serve.balance.next(&[]).unwrap().address, served);
    }

    #[tokio::test]
    async fn a_client_is_reset_when_no_element_can_be_had() {
        let serve = serve(Duration::ZERO);
        let error = client(&serve).await.read_u16().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        give(&serve, &[nobody().await]);
        let error = client(&serve).await.read_u16().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(serve.totals().unserved, 2);
    }

    #[tokio::test]
    async fn a_client_that_comes_before_the_list_is_served_when_there_is_one() {
        let serve = serve(Duration::from_secs(60));
        let mut early = client(&serve).await;
        tokio::task::yield_now().await;
        let served = server().await;
        give(&serve, &[served]);
        assert_eq!(early.read_u16().await.unwrap(), served.port());
    }

    #[tokio::test]
    async fn a_client_whose_elements_all_refuse_waits_for_a_list_with_another() {
        let serve = serve(Duration::from_secs(60));
        give(&serve, &[nobody().await]);
        let mut waiting = client(&serve).await;
        let served = server().await;
        give(&serve, &[nobody().await, served]);
        assert_eq!(waiting.read_u16().await.unwrap(), served.port());
    }
}
