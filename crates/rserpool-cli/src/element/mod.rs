//! Makes an unmodified server an element of a pool: `rserpool element`.
//!
//! ```text
//!   service   where the server is
//!   check     one look at the server             health     what follows from looks
//!   supervise starts, restarts, stops it         drain      whether it has connections
//!   adopt     all of it together: joins the pool while the server is well, leaves it otherwise
//! ```

mod adopt;
mod check;
mod drain;
mod health;
mod load;
mod service;
mod supervise;

use crate::args::{RegistrarFlags, TimerFlags};
use crate::failure::Failure;
use crate::policy::PolicyFlags;
use crate::signals::Stop;
use crate::units;
use adopt::{Adoption, Membership, Plan};
use check::Check;
use rserpool::proto::endpoint::pool_element::{Health, LifeUnit, PoolElementConfig};
use rserpool::proto::id::PeId;
use rserpool::proto::machine::Locator;
use rserpool::proto::timers::{ElementTimers, Preset, RegistrarTimers, UserTimers};
use rserpool::scope::PoolName;
use service::{Protocol, Service};
use std::ffi::OsString;
use std::time::Duration;
use supervise::StopSignal;

/// Make a server, unmodified, an element of a pool
///
/// The server is looked at again and again. While it is well it is in the pool; when it is not it
/// is taken out, at once if a connection is refused or reset, an answer is wrong or the server has
/// ended, and after two looks without an answer in time. When it is well again it is put back.
///
/// The server knows nothing of it. It may run already, or be started here: see the command after
/// `--`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which pool; POOL@SCOPE for one of another scope; more than one to be in all of them
    #[arg(value_name = "POOL", required = true, num_args = 1..=MOST_POOLS)]
    pools: Vec<PoolName>,
    #[command(flatten)]
    service: ServiceFlags,
    /// Where users reach it, if that is somewhere else [default: where it listens]
    #[arg(long, value_name = "ADDR", value_parser = service::place)]
    advertise: Option<Locator>,
    /// Identifier in the pool, such as 0x1234abcd [default: drawn at the start]
    #[arg(long, value_parser = units::parse_id)]
    id: Option<u32>,
    #[command(flatten)]
    registrars: RegistrarFlags,
    #[command(flatten)]
    timers: TimerFlags,
    /// What a registration's life is counted in by registrars that show none of our extensions
    /// [default: milliseconds]
    ///
    /// RFC 5354 says seconds; rsplib's, the only ones in the field, take milliseconds.
    #[arg(long, value_name = "UNIT", value_parser = units::parse_life_unit)]
    life_unit: Option<LifeUnit>,
    #[command(flatten)]
    policy: PolicyFlags,
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    server: ServerFlags,
}

/// What is said of the server's load.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
struct LoadFlags {
    /// Where its load comes from: `cpu`, `connections:MOST` or `command:LINE` [default: --load]
    ///
    /// `cpu` is the processor time of this host that is in use. `connections:MOST` counts those of
    /// the server, of which MOST are 100 %. `command:LINE` runs LINE by /bin/sh, which writes a
    /// share such as 25%. Wants a policy with a load.
    #[arg(long, value_name = "SOURCE", conflicts_with = "load")]
    load_from: Option<load::Source>,
    /// Time from one look at the load to the next, and shortest time from one report to the next
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "load_from", value_parser = units::parse_duration)]
    load_interval: Duration,
    /// Smallest change of the load that is reported; idle and full always are
    #[arg(long, value_name = "SHARE", default_value = "5%", requires = "load_from", value_parser = units::parse_share)]
    load_step: u32,
}

/// Where the server is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ServiceFlags {
    /// Where the server listens, if its protocol is TCP
    #[arg(long, value_name = "ADDR", value_parser = service::place)]
    tcp: Option<Locator>,
    /// Where it listens, if its protocol is SCTP: ADDRESS:PORT or ADDRESS,ADDRESS:PORT
    #[arg(long, value_name = "ADDR", value_parser = service::place)]
    sctp: Option<Locator>,
    /// Where it listens, if its protocol is UDP; wants `--check command:LINE`
    #[arg(long, value_name = "ADDR", value_parser = service::place)]
    udp: Option<Locator>,
}

impl ServiceFlags {
    fn service(self) -> Result<Service, Failure> {
        let Self { tcp, sctp, udp } = self;
        let given = [(Protocol::Tcp, tcp), (Protocol::Sctp, sctp), (Protocol::Udp, udp)];
        let mut given = given.into_iter().filter_map(|(protocol, at)| Some((protocol, at?)));
        // The flags are a group of which one is required.
        let (protocol, at) =
            given.next().ok_or_else(|| Failure::usage("no --tcp, --sctp or --udp"))?;
        Service::new(protocol, at)
    }
}

/// How the server is looked at.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health")]
struct HealthFlags {
    /// How to see that it is well: `connect`, `http:/path` or `command:LINE` [default: `connect`]
    ///
    /// `connect` does that, by TCP or SCTP. It cannot see that a process is stopped or hangs: the
    /// system accepts connections for it all the same. `http:/path` asks for that page over TCP and
    /// wants an answer of 200 to 399. `command:LINE` runs LINE by /bin/sh and wants exit code 0.
    /// UDP has nothing to connect, and no other default.
    #[arg(long, value_name = "CHECK")]
    check: Option<Check>,
    /// Time from one look to the next [default: 200ms; 40ms with --timers realtime]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    check_interval: Option<Duration>,
    /// Time the server has to answer [default: 400ms; 120ms with --timers realtime]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    check_timeout: Option<Duration>,
}

/// How the server is started and stopped.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The server")]
struct ServerFlags {
    /// After leaving the pool, wait until the server has no connection, but not longer than this
    /// [default: 12s; 30s and 10.4s with --timers rfc and realtime]
    ///
    /// For the first 2s of it (20s and 400ms), which is twice the time that users keep answers, it
    /// is kept in any case: some users will still come. Then a server that was started here is
    /// stopped; one that was not may be stopped when this command has ended.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    drain: Option<Duration>,
    /// Start the server again whenever it ends
    ///
    /// The pause before doubles from 100ms up to 10s. Without this the command ends with the
    /// server, and with its exit code.
    #[arg(long, requires = "command")]
    restart: bool,
    /// How the server is asked to end
    #[arg(long, value_name = "SIGNAL", value_enum, default_value_t)]
    stop_signal: StopSignal,
    /// How long it may take to end before it is killed
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_duration)]
    kill_after: Duration,
    /// Start this program, with these arguments, as the server
    ///
    /// It must stay in the foreground. It leads a process group of its own, which ends with it.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  rserpool element web --tcp 127.0.0.1:8081
      a server that runs already, seen to be well by connecting

  rserpool element web --tcp 127.0.0.1:8081 --check http:/ -- python3 -m http.server 8081
      one that is started here, seen to be well by its answers

  rserpool element web --tcp 127.0.0.1:8081 --stop-signal quit \\
      -- nginx -c /etc/web1.conf -g 'daemon off;'
      one that ends after the last request

  rserpool element web --tcp 0.0.0.0:8081 --advertise 10.0.0.7:8081 \\
      --policy weighted-random --weight 3
      one that listens on all addresses and takes three times its share

  rserpool element web --tcp 127.0.0.1:8081 --policy least-used --load-from connections:200
      one that is as loaded as it has connections, of 200 at most

  rserpool element time --sctp 10.0.0.7,10.1.0.7:13
      one that is reached by SCTP at two addresses

  rserpool element dns --udp 10.0.0.7:53 --check 'command:dig +time=1 @10.0.0.7 example.org'
      one that is reached by UDP, where only a question shows whether it is well

  rserpool element web shop web@east --tcp 127.0.0.1:8081 --scope east=10.1.0.1:3863
      one that is in three pools at once, one of them in another scope

Ctrl-C and SIGTERM take the server out of the pool, drain and stop it; a second one does so at once.";

/// Most pools that a server is put into by one command.
const MOST_POOLS: usize = 16;
/// Longest default time from one look to the next.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Longest default time that a server has to answer.
const CHECK_TIMEOUT: Duration = Duration::from_millis(400);
/// Default time that a server's connections have to end once users have forgotten it.
const DRAIN: Duration = Duration::from_secs(10);
/// Shortest time from one look to the next: looking is not to become the server's main work.
const SHORTEST_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Shortest time from one look at the load to the next: each may cost a registration.
const SHORTEST_LOAD_INTERVAL: Duration = Duration::from_millis(100);

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        Adoption::new(self.plan(stop).await?).run(stop).await
    }

    async fn plan(self, stop: &Stop) -> Result<Plan, Failure> {
        let service = self.service.service()?;
        let advertised = service.advertised(self.advertise)?;
        let check = self.health.check.unwrap_or(Check::Connect);
        check.suits(&service)?;
        let preset = Preset::from(self.timers.timers);
        // Twice in the time that a keep-alive may take to come, so that a report is at hand.
        let RegistrarTimers { keep_alive_interval, keep_alive_timeout, .. } =
            RegistrarTimers::preset(preset);
        let max_age = keep_alive_interval.unwrap_or(2 * CHECK_INTERVAL);
        let interval =
            self.health.check_interval.unwrap_or_else(|| CHECK_INTERVAL.min(max_age / 2));
        let timeout =
            self.health.check_timeout.unwrap_or_else(|| CHECK_TIMEOUT.min(keep_alive_timeout));
        if timeout.is_zero() {
            return Err(Failure::usage("--check-timeout 0: no server answers in no time"));
        }
        let settle = 2 * UserTimers::preset(preset).stale_cache_value;
        let ((policy, policies), timers) =
            (self.policy.parameter()?, ElementTimers::preset(preset));
        let load = match self.load.load_from {
            Some(source) if load::with_load(&policies, &policy, 0).is_none() => {
                let message = format!("--load-from {source}: the policy has no load");
                return Err(Failure::usage(message).next("use --policy least-used, for example"));
            }
            source => source.map(|source| load::Plan {
                source,
                interval: self.load.load_interval.max(SHORTEST_LOAD_INTERVAL),
                step: self.load.load_step,
            }),
        };
        let mut memberships = Vec::new();
        for pool in self.pools {
            if memberships.iter().any(|other: &Membership| other.pool == pool) {
                return Err(Failure::usage(format!("pool {pool} is given twice")));
            }
            let registrars = self.registrars.of(pool.scope.as_ref(), stop).await?;
            let (handle, locators) = (pool.handle.clone(), registrars.locators);
            let mut element = PoolElementConfig::new(handle, advertised.transport(), locators);
            element.id = self.id.map(PeId);
            element.policy = policy.clone();
            element.timers = timers.clone();
            element.health = Health::Reported { max_age };
            if let Some(unit) = self.life_unit {
                element.life_unit = unit;
            }
            memberships.push(Membership { pool, element, network: registrars.network });
        }
        Ok(Plan {
            memberships,
            server: service.reachable(),
            load,
            policies,
            check,
            interval: interval.max(SHORTEST_CHECK_INTERVAL),
            timeout,
            settle,
            drain: self.server.drain.unwrap_or(settle + DRAIN),
            command: self.server.command,
            restart: self.server.restart,
            stop_signal: self.server.stop_signal,
            kill_after: self.server.kill_after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use rserpool::proto::wire::transport::Transport;

    fn plan(flags: &str) -> Result<Plan, String> {
        let words = format!("rserpool element {flags}");
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        let Command::Element(args) = cli.command else { panic!("another command") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(args.plan(&Stop::never())).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn a_server_is_advertised_where_it_listens_unless_that_is_nowhere() {
        let plan = |flags| {
            plan(flags).map(|plan| {
                (plan.server.to_string(), plan.memberships[0].element.user_transport.clone())
            })
        };
        let tcp = |text: &str| Transport::Tcp(text.parse().unwrap());
        assert_eq!(
            plan("p --tcp 127.0.0.1:81"),
            Ok(("tcp://127.0.0.1:81".into(), tcp("127.0.0.1:81")))
        );
        assert_eq!(
            plan("p --tcp 0.0.0.0:81 --advertise 10.0.0.7:82"),
            Ok(("tcp://127.0.0.1:81".into(), tcp("10.0.0.7:82")))
        );
        assert!(plan("p --tcp 0.0.0.0:81").unwrap_err().contains("not where users reach it"));
        assert!(plan("p --tcp [::]:81").is_err());
        assert!(plan("p --tcp 127.0.0.1:81 --advertise 0.0.0.0:81").is_err());
        assert!(plan("p --tcp 127.0.0.1:0").is_err());
        assert!(plan("p --tcp 8081").unwrap_err().contains("like 127.0.0.1:8081"));
    }

    #[test]
    fn a_server_has_one_transport_and_a_check_that_suits_it() {
        let transport =
            |flags| plan(flags).map(|plan| plan.memberships[0].element.user_transport.to_string());
        let sctp = "p --sctp 10.0.0.7,10.1.0.7:13 --check command:true";
        assert_eq!(transport(sctp), Ok("sctp://10.0.0.7,10.1.0.7:13".into()));
        let udp = "p --udp 10.0.0.7:53 --check command:true";
        assert_eq!(transport(udp), Ok("udp://10.0.0.7:53".into()));
        for wrong in [
            "p",
            "p --tcp 127.0.0.1:81 --udp 127.0.0.1:81",
            "p --tcp 127.0.0.1,127.0.0.2:81",
            "p --udp 127.0.0.1:81",
            "p --udp 127.0.0.1:81 --check http:/",
            "p --sctp 127.0.0.1:81 --check http:/",
        ] {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
        assert!(plan("p --udp 127.0.0.1:81").unwrap_err().contains("UDP"));
    }

    #[test]
    fn a_keep_alive_is_answered_from_a_look_not_older_than_its_interval() {
        let age = |flags| match plan(flags).unwrap().memberships[0].element.health {
            Health::Reported { max_age } => max_age.as_millis(),
            Health::Assumed => panic!("assumed"),
        };
        assert_eq!(age("p --tcp 127.0.0.1:81"), 400);
        assert_eq!(age("p --tcp 127.0.0.1:81 --timers realtime"), 80);
        let realtime = plan("p --tcp 127.0.0.1:81 --timers realtime").unwrap();
        assert_eq!(realtime.interval, Duration::from_millis(40));
        assert_eq!(realtime.timeout, Duration::from_millis(120));
        assert_eq!(realtime.drain, Duration::from_millis(10_400));
    }

    #[test]
    fn registrars_without_our_extensions_are_told_lives_in_milliseconds_unless_told_otherwise() {
        let unit = |flags| plan(flags).map(|plan| plan.memberships[0].element.life_unit);
        assert_eq!(unit("p --tcp 127.0.0.1:81"), Ok(LifeUnit::Milliseconds));
        assert_eq!(unit("p --tcp 127.0.0.1:81 --life-unit seconds"), Ok(LifeUnit::Seconds));
        assert!(unit("p --tcp 127.0.0.1:81 --life-unit hours").is_err());
    }

    #[test]
    fn a_load_comes_from_a_source_if_the_policy_has_one() {
        let load = |flags: &str| {
            plan(&format!("p --tcp 127.0.0.1:81 --load-from {flags}")).map(|plan| {
                plan.load.map(|load| (load.source.to_string(), load.interval, load.step))
            })
        };
        let second = Duration::from_secs(1);
        assert_eq!(
            load("cpu --policy least-used"),
            Ok(Some(("cpu".into(), second, units::parse_share("5%").unwrap())))
        );
        let often = load("connections:9 --policy least-used --load-interval 1ms --load-step 0");
        assert_eq!(often.unwrap().unwrap().1, SHORTEST_LOAD_INTERVAL);
        assert!(load("cpu").unwrap_err().contains("has no load"));
        assert!(load("cpu --policy least-used --load 3%").is_err());
        assert!(load("disk --policy least-used").is_err());
        assert!(plan("p --tcp 127.0.0.1:81").unwrap().load.is_none());
    }

    #[test]
    fn the_command_is_what_follows_two_hyphens() {
        let plan = plan("p --tcp 127.0.0.1:81 --restart -- nginx -g off --tcp").unwrap();
        assert_eq!(plan.command, ["nginx", "-g", "off", "--tcp"].map(OsString::from));
        assert!(super::tests::plan("p --tcp 127.0.0.1:81 --restart").is_err());
    }

    #[test]
    fn one_server_may_be_in_several_pools_and_scopes() {
        let east = "web shop web@east --scope east=tcp://10.1.0.1:3863 --tcp 127.0.0.1:81";
        let plan = plan(east).unwrap();
        let pools: Vec<String> = plan.memberships.iter().map(|one| one.pool.to_string()).collect();
        assert_eq!(pools, ["web", "shop", "web@east"]);
        let registrars = &plan.memberships[2].element.registrars;
        assert_eq!(registrars[0].to_string(), "tcp://10.1.0.1:3863");
        assert!(super::tests::plan("web web --tcp 127.0.0.1:81").unwrap_err().contains("twice"));
    }

    #[test]
    fn help_says_that_a_tcp_check_cannot_see_a_stopped_process() {
        let help = Cli::try_parse_from(["rserpool", "element", "--help"]).unwrap_err().to_string();
        let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("cannot see that a process is stopped"), "{help}");
    }
}
