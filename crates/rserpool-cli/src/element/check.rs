//! One look at a server: is it well?
//!
//! ```text
//!   connect       connect, by TCP or SCTP accepted               healthy
//!   http:/path    GET /path               2xx or 3xx             healthy
//!   command:...   run it by /bin/sh       exit code 0            healthy
//!                                         refused, reset, other  failed
//!                                         no answer in time      unclear
//! ```
//!
//! What follows from it is decided in [`super::health`].

use super::service::{Protocol, Service};
use crate::failure::Failure;
use hyper_util::rt::TokioIo;
use rserpool::driver::{is_sctp_available, probe_sctp};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpStream;

/// What to do to see whether a server is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Connect. A stopped process still accepts: its kernel does.
    Connect,
    /// Ask for a page by HTTP/1.1, each time on a connection of its own.
    Http {
        /// Path and query.
        path: String,
    },
    /// Run a command of the shell.
    Command {
        /// As the shell reads it.
        line: String,
    },
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is well.
    Healthy,
    /// It is not, for certain.
    Failed(String),
    /// It cannot be told: no answer in time, or we could not even ask.
    Unclear(String),
}

impl Check {
    /// Whether it can tell anything of such a server here.
    pub(super) fn suits(&self, server: &Service) -> Result<(), Failure> {
        match (self, server.protocol) {
            (Self::Command { .. }, _) | (_, Protocol::Tcp) => Ok(()),
            (Self::Http { .. }, protocol) => Err(Failure::usage(format!(
                "--check {self} asks over TCP, and the server is reached by --{protocol}"
            ))
            .next("use --check command:LINE, with a command that asks it")),
            (Self::Connect, Protocol::Udp) => {
                Err(Failure::usage("whether a server is well cannot be seen by UDP alone")
                    .next("add --check command:LINE, with a command that asks it"))
            }
            (Self::Connect, Protocol::Sctp) if !is_sctp_available() => {
                Err(Failure::failed("this host has no SCTP: the server cannot be looked at")
                    .next("load the kernel's module, `modprobe sctp`, or use --check command:LINE"))
            }
            (Self::Connect, Protocol::Sctp) => Ok(()),
        }
    }

    /// Looks once, for at most `timeout`.
    pub(crate) async fn look(&self, server: &Service, timeout: Duration) -> Verdict {
        let look = async {
            match (self, server.protocol) {
                (Self::Connect, Protocol::Sctp) => associate(server).await,
                (Self::Connect, Protocol::Udp) => Verdict::Unclear("UDP has no connections".into()),
                (Self::Connect, Protocol::Tcp) => connect(server.primary())
                    .await
                    .map_or_else(|verdict| verdict, |_| Verdict::Healthy),
                (Self::Http { path }, _) => get(server.primary(), path).await,
                (Self::Command { line }, _) => run(line).await,
            }
        };
        match tokio::time::timeout(timeout, look).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Unclear(format!("no answer within {timeout:?}")),
        }
    }
}

async fn associate(server: &Service) -> Verdict {
    let addresses: Vec<SocketAddr> = server.socket_addrs().collect();
    match probe_sctp(&addresses).await {
        Ok(()) => Verdict::Healthy,
        Err(error) => verdict_of(&error, "connect"),
    }
}

async fn connect(server: SocketAddr) -> Result<TcpStream, Verdict> {
    let stream = match TcpStream::connect(server).await {
        Ok(stream) => stream,
        Err(error) => return Err(verdict_of(&error, "connect")),
    };
    // A port of this host that nobody listens on may, by chance, connect to itself.
    match stream.local_addr() {
        Ok(local) if local == server => Err(Verdict::Failed("connect: nobody listens".into())),
        _ => Ok(stream),
    }
}

/// An error that the server or the way to it has caused is a failure; one that may be ours (no
/// file descriptor or no port left) is not.
fn verdict_of(error: &io::Error, doing: &str) -> Verdict {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkDown, NetworkUnreachable, UnexpectedEof,
    };
    let text = format!("{doing}: {error}");
    match error.kind() {
        ConnectionRefused | ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof
        | HostUnreachable | NetworkUnreachable | NetworkDown => Verdict::Failed(text),
        _ => Verdict::Unclear(text),
    }
}

async fn get(server: SocketAddr, path: &str) -> Verdict {
    let stream = match connect(server).await {
        Ok(stream) => stream,
        Err(verdict) => return verdict,
    };
    match ask(stream, server, path).await {
        Ok(status) if status.is_success() || status.is_redirection() => Verdict::Healthy,
        Ok(status) => Verdict::Failed(format!("GET {path}: {status}")),
        // Whatever breaks after the connect is the server's doing.
        Err(error) => Verdict::Failed(format!("GET {path}: {error}")),
    }
}

async fn ask(
    stream: TcpStream,
    server: SocketAddr,
    path: &str,
) -> hyper::Result<hyper::StatusCode> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path)
        .header("host", server.to_string())
        .header("user-agent", concat!("rserpool/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(String::new())
        .expect("the path was read as one when the check was, and the headers are plain");
    // Only the head of the answer matters; the connection is dropped with it.
    tokio::select! {
        response = sender.send_request(request) => Ok(response?.status()),
        Err(error) = connection => Err(error),
    }
}

async fn run(line: &str) -> Verdict {
    let child = tokio::process::Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Verdict::Unclear(format!("/bin/sh: {error}")),
    };
    // If time runs out, what the shell has started ends with it.
    let group = KillGroup::of(child.id());
    let verdict = match child.wait().await {
        Ok(status) if status.success() => Verdict::Healthy,
        Ok(status) => Verdict::Failed(format!("`{line}`: {status}")),
        Err(error) => Verdict::Unclear(format!("`{line}`: {error}")),
    };
    drop(group);
    verdict
}

/// Ends a whole process group when dropped.
#[derive(Debug)]
pub(crate) struct KillGroup(Option<Pid>);

impl KillGroup {
    /// The group that the child `id` leads.
    pub(crate) fn of(id: Option<u32>) -> Self {
        Self(id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Sends a signal to every process in it.
    pub(crate) fn send(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It fails if nobody is left, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for KillGroup {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The first two say what it comes to for the server's own transport.
        if matches!(text, "tcp" | "sctp" | "connect") {
            return Ok(Self::Connect);
        }
        if let Some(path) = text.strip_prefix("http:") {
            return match path.parse::<hyper::http::uri::PathAndQuery>() {
                Ok(_) if path.starts_with('/') && !path.starts_with("//") => {
                    Ok(Self::Http { path: path.into() })
                }
                _ => Err(format!(
                    "`{path}` is not a path like /health; host and port are those of --tcp"
                )),
            };
        }
        match text.strip_prefix("command:").map(str::trim) {
            Some("") => Err("`command:` wants a command after it".into()),
            Some(line) => Ok(Self::Command { line: line.into() }),
            None => Err(format!("`{text}` is none of `connect`, `http:/path` and `command:LINE`")),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Http { path } => write!(f, "http:{path}"),
            Self::Command { line } => write!(f, "command:{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::proto::machine::Locator;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(50);

    fn tcp(address: SocketAddr) -> Service {
        Service::new(Protocol::Tcp, Locator::tcp(address)).unwrap()
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A server that answers every connection with `answer` once it has read a request.
    async fn answering(answer: &'static str) -> SocketAddr {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let len = stream.read(&mut request).await.unwrap();
                assert!(request[..len].starts_with(b"GET /health?x=1 HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    fn http() -> Check {
        "http:/health?x=1".parse().unwrap()
    }

    #[test]
    fn checks_print_as_they_are_written() {
        for text in ["connect", "http:/health?x=1", "command:test -e /ok"] {
            assert_eq!(text.parse::<Check>().unwrap().to_string(), text);
        }
        for wrong in ["", "udp", "http:", "http:health", "http:/a b", "http://host/", "command: "] {
            assert!(wrong.parse::<Check>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_listening_server_is_healthy_and_a_closed_port_has_failed() {
        let (_listener, address) = listener().await;
        assert_eq!(Check::Connect.look(&tcp(address), LONG).await, Verdict::Healthy);
        // A port that nobody else can take, and that nobody listens on.
        let taken = tokio::net::TcpSocket::new_v4().unwrap();
        taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        for check in [Check::Connect, http()] {
            let verdict = check.look(&tcp(address), LONG).await;
            assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
        }
    }

    #[tokio::test]
    async fn http_is_judged_by_its_status() {
        for (answer, healthy) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\nlocation: /x\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("SSH-2.0-OpenSSH\r\n", false),
            ("", false),
        ] {
            let verdict = http().look(&tcp(answering(answer).await), LONG).await;
            assert_eq!(verdict == Verdict::Healthy, healthy, "{answer:?} {verdict:?}");
            assert_eq!(matches!(verdict, Verdict::Failed(_)), !healthy, "{answer:?} {verdict:?}");
        }
    }

    /// The kernel accepts for a process that does not run: only a question shows that it is mute.
    #[tokio::test]
    async fn a_mute_server_passes_the_tcp_check_and_is_unclear_by_http() {
        let (_listener, address) = listener().await;
        assert_eq!(Check::Connect.look(&tcp(address), LONG).await, Verdict::Healthy);
        assert!(matches!(http().look(&tcp(address), SHORT).await, Verdict::Unclear(_)));
    }

    #[tokio::test]
    async fn a_command_is_judged_by_its_exit_code_and_ends_with_its_time() {
        let (_listener, address) = listener().await;
        let check = |line: &str| Check::Command { line: line.into() };
        assert_eq!(check("true").look(&tcp(address), LONG).await, Verdict::Healthy);
        assert!(matches!(check("exit 3").look(&tcp(address), LONG).await, Verdict::Failed(_)));
        // The time that the shell's child would take is far longer than the test.
        let endless = check("sleep 1000; true").look(&tcp(address), SHORT).await;
        assert!(matches!(endless, Verdict::Unclear(_)));
    }
}
