//! Runs the command and waits for what it says, never for a time.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};

/// The command with `arguments`, apart from every other one on this machine.
pub(crate) fn rserpool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rserpool"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["RSERPOOL_REGISTRAR", "RSERPOOL_ENRP", "RSERPOOL_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    rserpool(arguments).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A command that runs on, killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = rserpool(arguments);
        command.args(["--log-format", "json"]);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Reads the log until a line whose message is `message`, and gives that.
    pub(crate) fn log(&mut self, message: &str) -> serde_json::Value {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            if self.stderr.read_line(&mut seen).unwrap() == 0 {
                panic!("it has ended before it logged `{message}`:\n{seen}");
            }
            match serde_json::from_str::<serde_json::Value>(&seen[start..]) {
                Ok(line) if line["message"] == message => return line,
                _ => {}
            }
        }
    }

    /// Reads stdout until a line of JSON that `wanted` accepts, and gives that.
    pub(crate) fn line(
        &mut self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it has ended before");
            let line = serde_json::from_str(&line).unwrap();
            if wanted(&line) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Twice, so that it does not drain, and what it has started ends with it. Of two signals
        // of one kind the system may deliver one.
        self.signal(Signal::TERM);
        self.signal(Signal::INT);
        self.child.wait().unwrap();
    }
}

/// A signal to a process, if it is there.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended.
    let _ = kill_process(pid, signal);
}

/// A registrar on ports of its own.
pub(crate) struct Scope {
    pub(crate) registrar: Running,
    pub(crate) asap: String,
    pub(crate) enrp: String,
}

impl Scope {
    pub(crate) fn start() -> Self {
        let any = "tcp://127.0.0.1:0";
        let mut registrar = Running::start(&["registrar", "--asap", any, "--enrp", any]);
        let line = registrar.log("registrar started");
        let address = |key: &str| line[key].as_str().unwrap().to_owned();
        Self { asap: address("asap"), enrp: address("enrp"), registrar }
    }

    /// An element of pool `web` that has joined it.
    pub(crate) fn element(&self, server: SocketAddr, more: &[&str]) -> Running {
        let mut element = self.start_element(server, more);
        element.log("registered");
        element
    }

    pub(crate) fn start_element(&self, server: SocketAddr, more: &[&str]) -> Running {
        let server = server.to_string();
        let mut command = rserpool(&["element", "web", "--tcp", &server]);
        command.args(["--registrar", &self.asap, "--log-format", "json"]).args(more);
        Running::spawn(command)
    }

    /// A proxy for pool `web` that listens at an address.
    pub(crate) fn proxy(&self, at: &str) -> Running {
        let flags = ["proxy", "web", "--listen", at, "--registrar", &self.asap];
        let mut proxy = Running::start(&flags);
        proxy.log("serving");
        proxy
    }

    /// A watch on all pools that has seen what there is.
    pub(crate) fn watch(&self) -> Running {
        Running::start(&["watch", "--json", "--interval", "10ms", "--enrp", &self.enrp])
    }

    pub(crate) fn resolve(&self, pool: &str) -> Output {
        run(&["resolve", pool, "--json", "--registrar", &self.asap])
    }
}

/// An address that nothing else uses: the ports of 127.0.0.1 are shared by everybody, those of the
/// rest of 127/8 by nobody.
pub(crate) fn own_address(test: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 1 + high % 250, low, test), 8080).into()
}

/// Serves HTTP on `address` for ever, for a test's own copy of itself.
pub(crate) fn serve_http(address: SocketAddr) -> ! {
    let listener = TcpListener::bind(address).unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        std::thread::spawn(move || {
            let mut request = [0; 1024];
            while matches!(stream.read(&mut request), Ok(1..)) {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n{:>6}",
                    std::process::id()
                );
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
    }
}
