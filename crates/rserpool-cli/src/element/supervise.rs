//! Starts a server, sees it end, and leaves nothing of it behind.
//!
//! The server leads a process group of its own: a Ctrl-C on the terminal reaches only us, so that
//! the element leaves its pool before the server ends, and what the server has started itself ends
//! with it.

use super::check::KillGroup;
use crate::failure::{Failure, Report};
use clap::ValueEnum;
use rustix::process::Signal;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Child;
use tracing::{info, warn};

/// First pause before a server that has ended is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A server that has run this long counts as well again: the next pause is the first.
const RAN_WELL: Duration = Duration::from_secs(10);

/// A server that runs. Dropping it kills it and its group.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    group: KillGroup,
    started: tokio::time::Instant,
}

impl Server {
    /// Starts `command`, which is a program and its arguments.
    pub(crate) fn start(command: &[OsString]) -> Result<Self, Failure> {
        let [program, arguments @ ..] = command else {
            return Err(Failure::usage("no command after `--`"));
        };
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Failure::failed(format!("cannot start {}: {error}", program.display()))
                    .next("give the program and its arguments after `--`, each as one word")
            })?;
        let group = KillGroup::of(child.id());
        info!(pid = child.id(), program = %program.display(), "server started");
        Ok(Self { child, group, started: tokio::time::Instant::now() })
    }

    /// Waits for its end. Can be given up and called again.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            Err(error) => {
                // Only a child that somebody else has waited for can be unknown.
                warn!(%error, "cannot see how the server ended");
                ExitStatus::default()
            }
        }
    }

    /// Asks it to end by `signal`, and makes it end after `patience`.
    pub(crate) async fn stop(mut self, signal: Signal, patience: Duration) -> ExitStatus {
        self.group.send(signal);
        if let Ok(status) = tokio::time::timeout(patience, self.ended()).await {
            return status;
        }
        warn!(?patience, "server does not end when asked: it is killed");
        self.group.send(Signal::KILL);
        self.ended().await
    }

    /// How long it has run.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

/// How long to wait before a server is started again.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// The pause after a server that has run for `ran`.
    pub(crate) fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= RAN_WELL {
            self.0 = FIRST_PAUSE;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// What the end of a server that nobody has asked for means for us: its exit code becomes ours.
pub(crate) fn outcome(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        info!("server ended by itself");
        return Ok(());
    }
    // As shells do: 128 + the signal's number.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let report = Report {
        message: format!("the server ended by itself: {status}"),
        next: Some("see what it said above; --restart starts it again whenever it ends".into()),
    };
    Err(Failure::Command { report, code })
}

/// Signals that ask servers to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StopSignal {
    /// What most servers end by
    #[default]
    Term,
    /// What nginx and others end by after the last request
    Quit,
    /// What Ctrl-C sends
    Int,
    /// For servers that take it so
    Usr1,
    /// For servers that take it so
    Usr2,
}

impl From<StopSignal> for Signal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Term => Self::TERM,
            StopSignal::Quit => Self::QUIT,
            StopSignal::Int => Self::INT,
            StopSignal::Usr1 => Self::USR1,
            StopSignal::Usr2 => Self::USR2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn shell(line: &str) -> Vec<OsString> {
        ["/bin/sh", "-c", line].map(OsString::from).into()
    }

    #[tokio::test]
    async fn the_end_of_a_server_is_seen_with_its_code() {
        let mut server = Server::start(&shell("exit 7")).unwrap();
        let status = server.ended().await;
        assert!(matches!(outcome(status), Err(Failure::Command { code: 7, .. })));
        let mut server = Server::start(&shell("kill -KILL $$")).unwrap();
        let status = server.ended().await;
        assert!(matches!(outcome(status), Err(Failure::Command { code: 137, .. })));
        let mut server = Server::start(&shell("true")).unwrap();
        assert!(outcome(server.ended().await).is_ok());
    }

    /// A server and what it writes, until everybody who could write has ended.
    fn with_output(line: &str) -> (Server, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let child = tokio::process::Command::new("/bin/sh")
            .args(["-c", line])
            .stdout(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let group = KillGroup::of(child.id());
        (Server { child, group, started: tokio::time::Instant::now() }, reader)
    }

    #[tokio::test]
    async fn a_server_that_ignores_the_question_is_killed() {
        let (server, _output) = with_output("sleep 1000");
        assert_eq!(server.stop(Signal::TERM, Duration::from_secs(10)).await.signal(), Some(15));
        let (server, mut output) = with_output("trap '' TERM; echo; sleep 1000");
        // Only once it has written something does it ignore the question.
        output.read_exact(&mut [0]).unwrap();
        assert_eq!(server.stop(Signal::TERM, Duration::from_millis(50)).await.signal(), Some(9));
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_server_that_is_dropped() {
        let (server, mut output) = with_output("echo; sleep 1000 & sleep 1000");
        output.read_exact(&mut [0]).unwrap();
        drop(server);
        // The grandchild held the pipe open.
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_command_that_cannot_be_started_is_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let missing = Server::start(&["/nonexistent/server".into()]);
            assert!(matches!(missing, Err(Failure::Failed(_))));
        });
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_start_over_after_a_good_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(1);
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause(short).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(backoff.pause(RAN_WELL), FIRST_PAUSE);
    }
}
