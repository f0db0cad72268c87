//! Why a command ends without having done its work, and its exit code.

use rserpool::proto::id::PoolHandle;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// The end of a command that did not succeed: what happened, and what to do next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or a file it names is wrong: exit code 2.
    Usage(Report),
    /// It could not be done: exit code 1.
    Failed(Report),
    /// A supervised server ended by itself, or we were interrupted: as a shell would say it.
    Command {
        /// What happened.
        report: Report,
        /// The server's exit code; 128 + the number of the signal that ended it, or us.
        code: u8,
    },
    /// Whoever read our output has gone away: nothing to say, and nothing wrong.
    BrokenPipe,
}

/// What is said on stderr.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// What happened, without a full stop.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) next: Option<String>,
}

impl Failure {
    /// It could not be done.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(Report { message: message.to_string(), next: None })
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(Report { message: message.to_string(), next: None })
    }

    /// Told to stop before it was done, or a second time while stopping in order.
    pub(crate) fn interrupted() -> Self {
        let message = "interrupted".into();
        Self::Command { report: Report { message, next: None }, code: 130 }
    }

    /// There is no such pool.
    pub(crate) fn unknown_pool(handle: &PoolHandle) -> Self {
        Self::failed(format!("there is no pool {handle}")).next(format!(
            "`rserpool list` shows the pools there are; a pool begins with its first element, \
             see `rserpool element {handle} --help`, and is gone with its last one"
        ))
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl fmt::Display) -> Self {
        match &mut self {
            Self::Usage(report) | Self::Failed(report) | Self::Command { report, .. } => {
                report.next = Some(next.to_string());
            }
            Self::BrokenPipe => {}
        }
        self
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Usage(report) | Self::Failed(report) | Self::Command { report, .. } => {
                &report.message
            }
            Self::BrokenPipe => "whoever read the output has gone away",
        }
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (report, code) = match self {
            Self::Usage(report) => (report, 2),
            Self::Failed(report) => (report, 1),
            Self::Command { report, code } => (report, code),
            Self::BrokenPipe => return ExitCode::SUCCESS,
        };
        crate::output::talk(&report);
        ExitCode::from(code)
    }
}

/// As clap shows its own: `error:` in red, `tip:` in green, if stderr is a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use anstyle::{AnsiColor, Style};
        let error = AnsiColor::Red.on_default().bold();
        write!(f, "{error}error:{} {}", Style::new().render_reset(), self.message)?;
        if let Some(next) = &self.next {
            let tip = AnsiColor::Green.on_default();
            write!(f, "\n\n  {tip}tip:{} {next}", Style::new().render_reset())?;
        }
        Ok(())
    }
}

/// An error while writing to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::failed(format!("cannot write to stdout: {error}")),
        }
    }
}
