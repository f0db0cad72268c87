//! A user of the pool: sends a request to the element it is given, and to the next one when that
//! fails.

use super::tally::Tally;
use rserpool::PoolUser;
use rserpool::proto::id::{PeId, PoolHandle};
use rserpool::proto::wire::transport::Transport;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Sends one request after the other until `finished`.
pub(super) async fn work(
    user: PoolUser,
    handle: PoolHandle,
    tally: Arc<Tally>,
    finished: watch::Receiver<bool>,
) {
    while !*finished.borrow() {
        let request = tally.sent();
        let mut failed = Vec::new();
        match ask(&user, &handle, request, &tally, &mut failed).await {
            Some(pe) => tally.answered(pe, &failed),
            None => tally.lost(),
        }
        sleep(PAUSE).await;
    }
}

/// Has one request answered: by whom, or `None` if nobody did for [`PATIENCE`]. An echo may be
/// asked for twice: sending it again does no harm.
async fn ask(
    user: &PoolUser,
    handle: &PoolHandle,
    request: u64,
    tally: &Tally,
    failed: &mut Vec<PeId>,
) -> Option<PeId> {
    let deadline = Instant::now() + PATIENCE;
    let mut tried = Vec::new();
    while Instant::now() < deadline {
        let picked = user.pick(handle, &tried).await.ok();
        let target = picked.and_then(|element| match element.user_transport {
            Transport::Tcp(address) => Some((element.id, address)),
            _ => None,
        });
        let Some((pe, address)) = target else {
            // All have been tried, or the registrar knows none just now: from the beginning.
            tried.clear();
            sleep(PAUSE).await;
            continue;
        };
        match timeout(ANSWER_MAX, exchange(address, request)).await {
            Ok(Ok(answer)) if answer == request => return Some(pe),
            Ok(_) | Err(_) => {
                user.report_unreachable(handle, pe);
                tally.sent_again();
                tried.push(pe);
                failed.push(pe);
            }
        }
    }
    None
}

async fn exchange(address: SocketAddr, request: u64) -> io::Result<u64> {
    let mut server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    server.write_u64(request).await?;
    server.read_u64().await
}

/// Pause of a worker between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// How long an answer is waited for before the next element is asked.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How long a request is tried before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
