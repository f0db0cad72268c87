//! A server of the pool: returns what it is sent, and takes a moment for it.

use crate::failure::Failure;
use rserpool::PoolElement;
use rserpool::pool_element::PoolElementConfig;
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// A server and its membership.
pub(super) struct Server {
    address: SocketAddr,
    element: PoolElement,
    task: JoinHandle<()>,
    busy: Arc<AtomicUsize>,
}

impl Server {
    /// Listens, and joins the pool.
    pub(super) async fn start(
        handle: &PoolHandle,
        registrars: Vec<Locator>,
    ) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            Failure::failed(format!("cannot listen on a port of loopback: {error}"))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let busy = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(serve(listener, busy.clone()));
        let transport = Transport::Tcp(address);
        let config = PoolElementConfig::new(handle.clone(), transport, registrars);
        let element = PoolElement::start(config).await.map_err(Failure::failed)?;
        match timeout(JOIN_MAX, element.registered()).await {
            Ok(result) => result.map_err(Failure::failed)?,
            Err(_) => return Err(Failure::failed("the registrar does not answer")),
        };
        Ok(Self { address, element, task, busy })
    }

    /// Its identifier in the pool.
    pub(super) fn id(&self) -> PeId {
        self.element.id()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it is working on.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Relaxed)
    }

    /// Ends it as the system ends a process that is killed: all its sockets are closed, and nobody
    /// is told anything.
    pub(super) fn kill(self) {
        self.task.abort();
    }

    /// Leaves the pool in order, then ends.
    pub(super) async fn leave(self) {
        // Nobody is left who would miss a confirmation.
        let _ = self.element.deregister().await;
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, busy: Arc<AtomicUsize>) {
    // Dropped with this task, and all connections with it.
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    clients.spawn(echo(client, busy.clone()));
                }
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn echo(mut client: TcpStream, busy: Arc<AtomicUsize>) -> io::Result<()> {
    let request = client.read_u64().await?;
    busy.fetch_add(1, Relaxed);
    sleep(WORK).await;
    let result = client.write_u64(request).await;
    busy.fetch_sub(1, Relaxed);
    result
}

/// How long a server works on a request.
const WORK: Duration = Duration::from_millis(3);

/// How long joining the pool may take.
const JOIN_MAX: Duration = Duration::from_secs(5);
