//! Another host: a network namespace with a process of its own.

use crate::passed_over;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

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
    pub(crate) fn cut(&self, path: u8) {
        ip(&format!("-n {} link set far{path} down", self.name));
    }

    pub(crate) fn restore(&self, path: u8) {
        ip(&format!("-n {} link set far{path} up", self.name));
    }

    /// Both addresses of this end.
    pub(crate) fn near(&self, port: u16) -> [SocketAddr; 2] {
        [0, 1].map(|path| SocketAddr::from(([10, self.net, path, 1], port)))
    }

    /// Both addresses of the other end.
    pub(crate) fn far(&self, port: u16) -> [SocketAddr; 2] {
        [0, 1].map(|path| SocketAddr::from(([10, self.net, path, 2], port)))
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

/// This program again, in the namespace, with one test that is ignored otherwise.
pub(crate) struct Elsewhere {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Elsewhere {
    /// Runs `test`, which reads `ARGUMENTS`.
    pub(crate) fn run(network: &Network, test: &str, arguments: &str) -> Self {
        let mut process = Command::new("ip")
            .args(["netns", "exec", network.name])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("ARGUMENTS", arguments)
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
        Self { process, lines }
    }

    /// Waits for a line with this in it.
    pub(crate) fn says(&self, wanted: &str) -> String {
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no word of {wanted}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // `ip netns exec` becomes the program.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.end();
    }
}
