//! What an element says of its load, and how often.
//!
//! ```text
//!   share        said once                          --load 25%
//!   command:...  run it by /bin/sh, read a share    --load-from 'command:LINE'
//!   cpu          of this host, since the last look  --load-from cpu
//!   connections  of the server, of so many          --load-from connections:200
//! ```
//!
//! A load is said again only if it has changed by a step, and not more often than once in an
//! interval, so that a load that swings costs its registrar no more than that.

use super::service::Service;
use crate::units;
use rserpool::proto::policy::{PolicyData, PolicyParameter, PolicyTable};
use std::fmt;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where a load comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What a command of the shell writes: a share such as `25%`.
    Command {
        /// As the shell reads it.
        line: String,
    },
    /// Processor time of this host that was in use.
    Cpu,
    /// Connections of the server.
    Connections {
        /// So many are 100 %.
        full: u32,
    },
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("command", line)) if !line.trim().is_empty() => {
                Ok(Self::Command { line: line.into() })
            }
            Some(("connections", full)) => match full.parse() {
                Ok(full) if full > 0 => Ok(Self::Connections { full }),
                _ => Err(format!("`{full}` is no number of connections above 0")),
            },
            _ => Err("it is none of `cpu`, `connections:MOST`, `command:LINE`".into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { line } => write!(f, "command:{line}"),
            Self::Cpu => f.write_str("cpu"),
            Self::Connections { full } => write!(f, "connections:{full}"),
        }
    }
}

/// What to do about a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) source: Source,
    /// From one look to the next, which is also the shortest time from one report to the next.
    pub(super) interval: Duration,
    /// Smallest change that is reported, as a share.
    pub(super) step: u32,
}

/// Looks at a load, on a task of its own until it is dropped: a look may take its time.
#[derive(Debug)]
pub(super) struct Meter {
    loads: mpsc::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Meter {
    pub(super) fn start(plan: Plan, server: Service) -> Self {
        let (sender, loads) = mpsc::channel(1);
        let mut gauge = Gauge::new(plan, server);
        let task =
            tokio::spawn(async move { while sender.send(gauge.next().await).await.is_ok() {} });
        Self { loads, task }
    }

    /// The next load that is worth saying. The future may be dropped and asked for again.
    pub(super) async fn next(&mut self) -> u32 {
        match self.loads.recv().await {
            Some(load) => load,
            // The task ends with the runtime, and so do we.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks at a load, one after the other.
#[derive(Debug)]
struct Gauge {
    plan: Plan,
    server: Service,
    /// Processor time in use and in all at the last look.
    cpu: Option<(u64, u64)>,
    /// What was reported last.
    said: Option<u32>,
    due: tokio::time::Instant,
}

impl Gauge {
    fn new(plan: Plan, server: Service) -> Self {
        Self { plan, server, cpu: None, said: None, due: tokio::time::Instant::now() }
    }

    async fn next(&mut self) -> u32 {
        loop {
            tokio::time::sleep_until(self.due).await;
            let look = tokio::time::timeout(self.plan.interval, self.look());
            let load = look.await.unwrap_or_else(|_| Err("no load in time".into()));
            self.due = tokio::time::Instant::now() + self.plan.interval;
            match load {
                Ok(load) if is_news(self.said, load, self.plan.step) => {
                    self.said = Some(load);
                    return load;
                }
                Ok(_) => {}
                Err(why) => tracing::warn!(source = %self.plan.source, why, "no load is known"),
            }
        }
    }

    async fn look(&mut self) -> Result<u32, String> {
        match &self.plan.source {
            Source::Command { line } => run(line).await,
            Source::Connections { full } => {
                let connections =
                    self.server.connections().ok_or("this system does not show connections")?;
                if connections == 0 && self.server.is_here() == Some(false) {
                    return Err("nobody listens there on this host".into());
                }
                Ok(share(connections as u64, u64::from(*full)))
            }
            Source::Cpu => {
                let text = std::fs::read_to_string("/proc/stat").map_err(|e| e.to_string())?;
                let (used, all) = processor_time(&text).ok_or("/proc/stat is not as expected")?;
                let before = self.cpu.replace((used, all)).unwrap_or_default();
                let used = used.saturating_sub(before.0);
                Ok(share(used, all.saturating_sub(before.1)))
            }
        }
    }
}

/// Whether a load is to be said: the first is, then one that differs by a step from what was said
/// last; idle and full are always said, as they are what matters most.
fn is_news(said: Option<u32>, load: u32, step: u32) -> bool {
    let Some(said) = said else { return true };
    let at_an_end = load == 0 || load == u32::MAX;
    load != said && (at_an_end || load.abs_diff(said) >= step)
}

fn share(part: u64, all: u64) -> u32 {
    let share = u128::from(part.min(all)) * u128::from(u32::MAX) / u128::from(all.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// Of the first line of `/proc/stat`, in ticks: in use, and in all.
fn processor_time(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
    Some((all - idle, all))
}

async fn run(line: &str) -> Result<u32, String> {
    let output = tokio::process::Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("/bin/sh: {error}"))?;
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    units::parse_share(text.lines().next().unwrap_or_default())
}

/// The policy with another load; `None` if it has none.
pub(super) fn with_load(
    table: &PolicyTable,
    policy: &PolicyParameter,
    load: u32,
) -> Option<PolicyParameter> {
    let kind = table.by_number(policy.number)?;
    let place = kind.words.iter().position(|word| word.name == "load")?;
    let mut policy = policy.clone();
    let PolicyData::Words { words, .. } = &mut policy.data else { return None };
    *words.get_mut(place)? = load;
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::service::Protocol;

    #[test]
    fn a_load_is_said_when_it_has_changed_by_a_step_and_when_it_comes_to_an_end() {
        let step = u32::MAX / 20;
        assert!(is_news(None, 7, step));
        assert!(!is_news(Some(0), step - 1, step));
        assert!(is_news(Some(0), step, step));
        assert!(is_news(Some(step / 2), 0, step), "idle");
        assert!(is_news(Some(u32::MAX - 1), u32::MAX, step), "full");
        assert!(!is_news(Some(0), 0, step) && !is_news(Some(u32::MAX), u32::MAX, step));
        // One that swings around a border is said once.
        let mut said = Some(10 * step);
        let mut count = 0;
        for swing in 0..100 {
            let load = 11 * step - step / 2 + if swing % 2 == 0 { 0 } else { step / 2 };
            if is_news(said, load, step) {
                (said, count) = (Some(load), count + 1);
            }
        }
        assert_eq!(count, 1);
    }

    #[test]
    fn sources_are_read_as_they_are_shown() {
        for text in ["cpu", "connections:200", "command:cut -d' ' -f1 /proc/loadavg"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for wrong in ["", "disk", "connections", "connections:0", "connections:x", "command:"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn processor_time_is_what_is_not_idle() {
        let text = "cpu  100 1 50 800 49 0 0 0 7 0\ncpu0 1 2 3\n";
        assert_eq!(processor_time(text), Some((151, 1000)));
        assert_eq!(processor_time("intr 5"), None);
    }

    fn gauge(source: &str) -> Gauge {
        let plan = Plan {
            source: source.parse().unwrap(),
            interval: Duration::from_secs(2),
            step: u32::MAX / 20,
        };
        let server = Service::new(Protocol::Tcp, "127.0.0.1:9".parse().unwrap()).unwrap();
        Gauge::new(plan, server)
    }

    #[tokio::test]
    async fn a_command_says_the_load() {
        assert_eq!(gauge("command:echo 25%").look().await, units::parse_share("25%"));
        assert!(gauge("command:false").look().await.is_err());
        assert!(gauge("command:echo much").look().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn reports_are_an_interval_apart_however_the_load_swings() {
        // Never as much as was said, however busy this host is.
        let mut gauge = gauge("connections:10");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string().parse().unwrap();
        gauge.server = Service::new(Protocol::Tcp, at).unwrap();
        let begin = tokio::time::Instant::now();
        for _ in 0..5 {
            gauge.next().await;
            gauge.said = Some(u32::MAX);
        }
        assert_eq!(begin.elapsed(), 4 * Duration::from_secs(2));
    }

    #[tokio::test]
    async fn connections_are_a_share_of_what_is_full() {
        let mut gauge = gauge("connections:10");
        assert!(gauge.look().await.is_err(), "a server elsewhere is not idle");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string().parse().unwrap();
        gauge.server = Service::new(Protocol::Tcp, at).unwrap();
        assert_eq!(gauge.look().await, Ok(0));
        assert_eq!((share(5, 10), share(20, 10)), (u32::MAX / 2, u32::MAX));
    }

    #[test]
    fn only_policies_with_a_load_are_told_one() {
        let table = PolicyTable::builtin();
        let policy = table.parameter("least-used-degradation", &[("degradation", 3)]).unwrap();
        assert_eq!(with_load(&table, &policy, 9).unwrap().words(), Some(&[9, 3][..]));
        assert_eq!(with_load(&table, &table.parameter("random", &[]).unwrap(), 9), None);
    }
}
