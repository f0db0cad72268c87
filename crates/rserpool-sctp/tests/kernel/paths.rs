//! Two paths, and a peer on another host: a network namespace with a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rserpool_sctp::{Config, Endpoint, Event, PathChange, PathState};

use crate::*;

/// A namespace joined to this one by two cables: 10.NET.0.1 - .2 and 10.NET.1.1 - .2.
pub(crate) struct Network {
    name: &'static str,
    net: u8,
}

impl Network {
    /// None, and a word about it, where this process may not make one.
    pub(crate) fn new(name: &'static str, net: u8) -> Option<Self> {
        if !Command::new("ip").args(["netns", "add", name]).status().is_ok_and(|s| s.success()) {
            passed_over("network namespaces (for root)");
            return None;
        }
        let network = Self { name, net };
        ip(&format!("-n {name} link set lo up"));
        for path in 0..2 {
            ip(&format!("link add {name}{path} type veth peer name far{path} netns {name}"));
            ip(&format!("addr add 10.{net}.{path}.1/24 dev {name}{path}"));
            ip(&format!("-n {name} addr add 10.{net}.{path}.2/24 dev far{path}"));
            ip(&format!("link set {name}{path} up"));
            ip(&format!("-n {name} link set far{path} up"));
        }
        Some(network)
    }

    /// At the other end, so that packets from here vanish without a word.
    fn cut(&self, path: u8) {
        ip(&format!("-n {} link set far{path} down", self.name));
    }

    fn restore(&self, path: u8) {
        ip(&format!("-n {} link set far{path} up", self.name));
    }

    fn near(&self, path: u8) -> SocketAddr {
        address(&format!("10.{}.{path}.1:0", self.net))
    }

    fn far(&self) -> [SocketAddr; 2] {
        [0, 1].map(|path| address(&format!("10.{}.{path}.2:7007", self.net)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// An echo server in the namespace: this program again, with one test that is ignored otherwise.
struct Server {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Server {
    fn start(network: &Network) -> Self {
        let mut process = Command::new("ip")
            .args(["netns", "exec", network.name])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "paths::echo_server", "--ignored", "--nocapture"])
            .env("ECHO_ADDRESSES", network.far().map(|address| address.to_string()).join(" "))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let server = Self { process, lines };
        server.says("listening");
        server
    }

    fn says(&self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no word of {wanted}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
#[ignore = "the other end of the tests below, started by them"]
async fn echo_server() {
    let addresses = std::env::var("ECHO_ADDRESSES").unwrap();
    let addresses: Vec<_> = addresses.split(' ').map(address).collect();
    let endpoint = Endpoint::bind(&addresses, &Config::fast_failover()).unwrap();
    println!("listening");
    loop {
        match endpoint.recv().await.unwrap() {
            Event::Message(message) => {
                let _ = endpoint.try_send(message.association, &message.data, PPID);
            }
            event => println!("{event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_path_costs_about_a_second_and_no_message() {
    // RFC 9260 §6.4; with the kernel's own timeouts it is about three seconds.
    needs_sctp!();
    let Some(network) = Network::new("twopaths", 77) else { return };
    let server = Server::start(&network);
    let client =
        Endpoint::bind(&[network.near(0), network.near(1)], &Config::fast_failover()).unwrap();
    // One address is enough: the peer tells the other.
    let id = client.connect(&network.far()[..1]).unwrap();
    until(&client, up).await;
    assert_eq!(client.peer_addrs(id).unwrap(), network.far());
    server.says("Up");
    // An alternate path is of no use before its first heartbeat has been answered.
    let begin = Instant::now();
    let [first, second] = network.far();
    while client.path(id, second).unwrap().state != PathState::Active {
        assert!(begin.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("second path confirmed after {:?}", begin.elapsed());

    let (mut worst, mut changes, mut restored) = (Duration::ZERO, Vec::new(), false);
    let begin = Instant::now();
    for number in 0u32.. {
        if number == 5 {
            network.cut(0);
        }
        let asked = Instant::now();
        client.send(id, &number.to_be_bytes(), PPID).await.unwrap();
        loop {
            match soon(client.recv()).await.unwrap() {
                Event::Message(answer) => {
                    assert_eq!(answer.data, number.to_be_bytes());
                    break;
                }
                Event::Path { address, change, .. } => changes.push((address, change)),
                event => panic!("{event:?}"),
            }
        }
        worst = worst.max(asked.elapsed());
        let unreachable = changes.contains(&(first, PathChange::Unreachable));
        if unreachable && !restored {
            network.restore(0);
            restored = true;
        }
        if restored && changes.contains(&(first, PathChange::Available)) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{changes:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("worst answer {worst:?}, changes {changes:?}");
    assert!(worst < Duration::from_millis(1500), "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_all_paths_is_lost_without_a_cause() {
    needs_sctp!();
    let Some(network) = Network::new("nopaths", 78) else { return };
    let _server = Server::start(&network);
    let config = Config { association_max_retrans: Some(2), ..Config::fast_failover() };
    let client = Endpoint::bind(&[network.near(0), network.near(1)], &config).unwrap();
    let id = client.connect(&network.far()).unwrap();
    until(&client, up).await;
    network.cut(0);
    network.cut(1);
    client.send(id, b"into the void", PPID).await.unwrap();
    let (mut failed, begin) = (false, Instant::now());
    let cause = loop {
        match soon(client.recv()).await.unwrap() {
            Event::SendFailed { sent, data, .. } => failed = sent && data == b"into the void",
            Event::Lost { association, cause, reason } => {
                assert_eq!((association, reason), (id, Vec::new()));
                break cause;
            }
            _ => {}
        }
    };
    eprintln!("lost after {:?}, cause {cause}", begin.elapsed());
    while !failed {
        failed = matches!(soon(client.recv()).await.unwrap(), Event::SendFailed { sent: true, .. });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_forgot_everything_restarts_its_association() {
    // RFC 9260 §5.2: same addresses and ports, a new tag.
    needs_sctp!();
    let Some(network) = Network::new("restart", 79) else { return };
    let server = Server::start(&network);
    let local = Endpoint::bind(&[network.near(0)], &Config::default()).unwrap();
    let near = local.local_addrs().unwrap();
    let id = local.connect(&network.far()[..1]).unwrap();
    until(&local, up).await;
    let before = server.says("Up");
    // The abort does not get through: only this side forgets.
    ip("link set restart0 down");
    local.abort(id, b"").unwrap();
    drop(local);
    ip("link set restart0 up");
    let local = Endpoint::bind(&near, &Config::default()).unwrap();
    let id = local.connect(&network.far()[..1]).unwrap();
    until(&local, up).await;
    let after = server.says("Restarted");
    let number = |line: &str| line.split(['(', ')']).nth(1).unwrap().to_owned();
    assert_eq!(number(&before), number(&after));
    local.send(id, b"again", PPID).await.unwrap();
    assert_eq!(until(&local, message).await.data, b"again");
}
