//! Tells a running registrar to leave: `rserpool registrar drain`.
//!
//! The registrar keeps a lock on its pid file while it runs. A file without one names nobody, so
//! that no other process is ever told to end that happens to have the number.

use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;
use crate::units;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Have a running registrar hand its elements over, and end
///
/// As SIGTERM and Ctrl-C do: its elements get another home among the registrars of the scope, its
/// users are sent to them, and then it ends. `leave_limit` of its file (10 s) bounds that.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file that the registrar was given by its --pid-file
    #[arg(long, value_name = "FILE")]
    pid_file: PathBuf,
    /// Wait for its end for this long; 0 does not wait
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = units::parse_duration)]
    wait: Duration,
}

const EXAMPLES: &str = "\
Examples:
  rserpool registrar --pid-file /run/rserpool/registrar.pid
  rserpool registrar drain --pid-file /run/rserpool/registrar.pid
      a rolling upgrade does this, and starts the new one, on one host after the other";

/// Pause between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let name = self.pid_file.display();
        let nobody = || {
            Failure::failed(format!("no registrar runs with --pid-file {name}"))
                .next("start it with the same --pid-file; one without is told to leave by SIGTERM")
        };
        let cannot = |error: io::Error| Failure::failed(format!("--pid-file {name}: {error}"));
        let mut file = match File::open(&self.pid_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nobody()),
            opened => opened.map_err(cannot)?,
        };
        if !is_running(&file).map_err(cannot)? {
            return Err(nobody());
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(cannot)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::failed(format!("{name} holds no process id")))?;
        kill_process(pid, Signal::TERM).map_err(|error| cannot(error.into()))?;
        let until = Instant::now() + self.wait;
        while is_running(&file).map_err(cannot)? {
            if self.wait.is_zero() {
                output::talk(format!("registrar {pid} is leaving"));
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Failure::failed(format!(
                    "registrar {pid} is still leaving after {:?}",
                    self.wait
                )));
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = stop.requested() => return Err(Failure::interrupted()),
            }
        }
        output::talk(format!("registrar {pid} has left"));
        Ok(())
    }
}

/// Whether the process that wrote the file has it locked.
fn is_running(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Names this process to `drain` while it lives.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    pub(crate) fn write(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let cannot = |error: io::Error| Failure::failed(format!("--pid-file {name}: {error}"));
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::failed(format!("a registrar runs with --pid-file {name}"))
                    .next("give each registrar of a host a file of its own"));
            }
        }
        file.set_len(0).map_err(cannot)?;
        writeln!(file, "{}", std::process::id()).map_err(cannot)?;
        Ok(Self { path: path.into(), _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // What is left without a lock names nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}
