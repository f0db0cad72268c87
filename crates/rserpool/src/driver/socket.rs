//! Opening sockets.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says, such as that the address is in use.
    pub source: io::Error,
}

/// Connections that the system completes before they are accepted.
const BACKLOG: u32 = 1024;

/// Listens on a TCP address; port 0 lets the system choose.
///
/// # Errors
/// [`BindError`] if the address is in use, not of this host or not allowed.
pub fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = socket_for(address)?;
        // Connections of a predecessor in TIME-WAIT must not keep a restarted one out.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            SockRef::from(&socket).set_only_v6(true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| BindError { address, source })
}

/// Connects by TCP.
pub(super) async fn connect(address: SocketAddr, user_timeout: Duration) -> io::Result<TcpStream> {
    let socket = socket_for(address)?;
    // Before connecting: it bounds the attempt as well.
    set_user_timeout(&SockRef::from(&socket), user_timeout)?;
    let stream = socket.connect(address).await?;
    set_options(&stream, user_timeout)?;
    // A port of this host that nobody listens on may connect to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Sets what every connection has.
pub(super) fn set_options(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    set_user_timeout(&socket, user_timeout)?;
    // So that a peer that has vanished while nothing is to be sent is found too.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &SockRef<'_>, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(user_timeout))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Silence after which the system asks whether the other end is there: idle users have no
/// keep-alive of their own.
const KEEPALIVE: Duration = Duration::from_secs(60);
