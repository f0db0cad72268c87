//! Processes that take part in a benchmark.

use crate::steps::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A process that ends with the benchmark.
pub(super) struct Process(Child);

impl Process {
    /// Ends `child` when it is dropped.
    pub(super) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Starts a program and waits for the first line it prints.
    pub(super) fn start(mut command: Command) -> Result<(Self, String), Error> {
        // Held open by this process: a program that ends with its input ends with us.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self(command.spawn()?);
        let mut line = String::new();
        if let Some(stdout) = process.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(format!("a program has not come up: {command:?}").into());
        }
        Ok((process, line.trim().into()))
    }

    /// An error if it has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), Error> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("a process has ended too early: {status}").into()),
        }
    }

    /// Its identifier.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program on a core of its own. Its input is empty.
pub(super) fn on_core(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program).stdin(Stdio::null());
    command
}

/// How servers and loads share the machine: servers on core 0, what asks them on core 1.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Cores {
    /// Run servers and loads ahead of all other programs, for figures from a machine that others
    /// use too; they get little of it meanwhile. Needs root.
    #[arg(long)]
    ahead: bool,
}

impl Cores {
    /// What is measured.
    pub(super) fn server(self, program: &Path) -> Command {
        self.place(0, program, "11")
    }

    /// What has to get its turn beside a generator.
    pub(super) fn company(self, program: &Path) -> Command {
        self.place(1, program, "11")
    }

    /// What asks, and never sleeps.
    pub(super) fn generator(self, program: &Path) -> Command {
        self.place(1, program, "10")
    }

    fn place(self, core: u32, program: &Path, priority: &str) -> Command {
        if !self.ahead {
            return on_core(core, program);
        }
        let mut command = Command::new("chrt");
        command.args(["--fifo", priority, "taskset", "--cpu-list", &core.to_string()]);
        command.arg(program).stdin(Stdio::null());
        command
    }
}

/// An error if there are not enough cores to give one to the server and one to the load.
pub(super) fn two_cores() -> Result<(), Error> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("this needs two cores: one for what is measured, one for the load".into());
    }
    Ok(())
}

/// Seconds of processor time that a process has taken, threads that have ended included.
pub(super) fn processor_time(id: u32) -> Result<f64, Error> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is a name in brackets and may hold anything; the 14th and 15th are what is
    // wanted, in hundredths of a second.
    let (_, rest) = text.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.collect::<Result<Vec<f64>, _>>()?.iter().sum::<f64>() / 100.0)
}

/// The middle one.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// An address of this host that nobody listens on.
pub(super) fn free_port() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits for somebody to listen.
pub(super) fn until_open(address: SocketAddr) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(format!("nobody listens at {address}").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
