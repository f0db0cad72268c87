//! Keeps the pools: `rserpool registrar`.

mod config;
mod distance;
mod drain;

use crate::args::{AnnounceFlags, Timers, group, no_sctp};
use crate::failure::Failure;
use crate::logging::{self, LogFlags};
use crate::output;
use crate::signals::Stop;
use crate::tls::{self, TlsFlags};
use crate::units;
pub(crate) use config::rules;
use config::{FileConfig, ScopeConfig};
use drain::PidFile;
use futures_util::future::join_all;
use rserpool::Registrar;
use rserpool::driver::{self, BindError, is_sctp_available};
use rserpool::proto::id::ServerId;
use rserpool::proto::machine::Locator;
use rserpool::proto::registrar::{Authority, Grants, Readers};
use rserpool::registrar::Config;
use rserpool::scope::ScopeName;
use rserpool::tls::Settings;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::info;

/// Keep the pools: the server that elements register with and users ask
///
/// Nothing of it is on disk: elements register again within moments of its start. Until it is told
/// otherwise it serves this machine only, since whoever reaches it may join any pool.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Serve elements and users here; repeat it for more than one address [default: 127.0.0.1:3863]
    ///
    /// 0.0.0.0:3863 serves other machines too, over TCP and, if this one has it, over SCTP;
    /// tcp://0.0.0.0:3863 and sctp://10.0.0.1,10.1.0.1:3863 over one of them only. Port 0 lets the
    /// system choose; the log says what it chose.
    #[arg(long, value_name = "ADDR")]
    asap: Vec<Locator>,
    /// Serve other registrars, `rserpool list` and `rserpool watch` here [default:
    /// 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    enrp: Vec<Locator>,
    /// Another registrar of the scope, at its --enrp address; repeat it for each
    ///
    /// One that is named here is dialled for ever; those it knows are found through it. All of them
    /// know all pools, and any one of them can serve alone.
    #[arg(long, value_name = "ADDR")]
    peer: Vec<Locator>,
    #[command(flatten)]
    announce: AnnounceFlags,
    /// The group and port in which registrars find each other [default: 239.0.0.51:9901]
    #[arg(long, value_name = "ADDR", requires = "announce", value_parser = group)]
    enrp_group: Vec<SocketAddr>,
    /// Identifier among registrars, such as 0x1234abcd [default: drawn at the start]
    #[arg(long, value_parser = units::parse_id)]
    id: Option<u32>,
    /// Which set of timers [default: default]
    #[arg(long, value_name = "SET", value_enum)]
    timers: Option<Timers>,
    #[command(flatten)]
    tls: TlsFlags,
    /// Read what the flags do not say from a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say what is wrong with the file and the flags, if anything, and end
    #[arg(long)]
    check_config: bool,
    /// Write the process id there, for `rserpool registrar drain`
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    // Described where its flags are.
    Drain(drain::Args),
}

const EXAMPLES: &str = "\
Examples:
  rserpool registrar
  rserpool registrar --asap 0.0.0.0:3863 --log-format json
  rserpool registrar --asap sctp://10.0.0.1,10.1.0.1:3863 --asap tcp://10.0.0.1:3863
  rserpool registrar --asap 127.0.0.1:3873 --enrp 127.0.0.1:9911 \
    --peer 127.0.0.1:9901           # a second one beside the first
  rserpool registrar --asap 10.0.0.1:3863 --enrp 10.0.0.1:9901 --announce eth0
      found by elements, users and other registrars on that network
  rserpool registrar --config registrar.toml --check-config

A file, with everything by default but what it says:
  asap = [\"10.0.0.1:3863\", \"tcp://[::1]:3863\"]
  enrp = \"127.0.0.1:9901\"          # [] for none
  peers = [\"10.0.0.2:9901\"]        # other registrars of the scope
  log_level = \"info,rserpool=debug\"
  log_format = \"json\"

  [timers]
  preset = \"default\"               # or rfc, realtime
  keep_alive_interval = \"400ms\"    # or off
  keep_alive_timeout = \"400ms\"

  [pool.\"web\".timers]              # for one pool; the rest as in [timers]
  keep_alive_interval = \"100ms\"

  [selection]                      # how policies are applied
  share_cap = 4                    # fair shares that one element has at most; or off
  slow_start = true                # new elements get their share little by little
  increment = \"rfc\"              # or how many elements of an answer count as selected

  [pool.\"web\".selection]          # for one pool; the rest as in [selection]
  share_cap = \"off\"

  [distance]                       # for policies such as least-used-dpf
  location = \"berlin\"            # of this registrar
  [distance.hosts]
  \"10.1.0.0/16\" = \"berlin\"
  \"10.2.0.0/16\" = \"paris\"      # or how far, there and back: 40ms
  [distance.from.berlin]
  paris = \"9ms\"

  [[policy]]                       # one of your own: see docs/POLICIES.md
  name = \"near-and-idle\"
  words = [\"load\", \"degradation\"]
  key = \"load + selections * degradation + distance / 1000\"

  [limits]
  associations = 20000
  idle_timeout = \"120s\"
  max_items = 128

  [tls]                            # a secured scope
  certificate = \"pki/registrar.pem\" # its key is in registrar.key, whom to believe in ca.pem
  readers = \"verified\"             # who may resolve; or users, everybody

One process serves several scopes, each fully apart, by a section for each:
  [[scope]]
  name = \"east\"
  asap = \"10.0.0.1:3863\"
  enrp = \"10.0.0.1:9901\"
  [scope.timers]
  preset = \"realtime\"

  [[scope]]
  name = \"west\"
  asap = \"10.0.0.1:3873\"
  enrp = \"10.0.0.1:9911\"

Flags win over the file; where it has scopes, they say nothing of them.";

impl Args {
    /// `log` is what the flags say; the file may say the rest.
    pub(crate) async fn run(self, stop: &Stop, log: LogFlags) -> Result<(), Failure> {
        if let Some(Command::Drain(args)) = self.command {
            return args.run(stop).await;
        }
        let file = self.file()?;
        let log = LogFlags {
            log_level: log.log_level.or_else(|| file.log_level.clone()),
            log_format: log.log_format.or(file.log_format),
        };
        let check_only = self.check_config;
        let pid_file = self.pid_file.clone();
        let scopes = self.merged(file)?;
        if check_only {
            output::talk("no problem");
            return Ok(());
        }
        logging::start(&log, "info")?;
        let _pid_file = pid_file.as_deref().map(PidFile::write).transpose()?;
        let mut registrars = Vec::new();
        for (name, config) in scopes {
            let asap: Vec<SocketAddr> =
                config.asap.iter().flat_map(Locator::socket_addrs).collect();
            let started = Registrar::start(config).await;
            let registrar = started.map_err(|error| not_listening(&error, &asap))?;
            if let Some(scope) = name {
                let at: Vec<String> =
                    registrar.asap_addrs().iter().map(ToString::to_string).collect();
                info!(%scope, asap = at.join(" "), "scope served");
            }
            registrars.push(registrar);
        }
        stop.requested().await;
        join_all(registrars.into_iter().map(Registrar::shutdown)).await;
        Ok(())
    }

    fn file(&self) -> Result<FileConfig, Failure> {
        let Some(path) = &self.config else {
            return Ok(FileConfig::read("", self.timers.map(Into::into)).unwrap_or_default());
        };
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("--config {name}: {error}")))?;
        FileConfig::read(&text, self.timers.map(Into::into)).map_err(|problems| {
            let many = if problems.len() == 1 {
                "1 problem"
            } else {
                &format!("{} problems", problems.len())
            };
            let lines: Vec<String> =
                problems.iter().map(|problem| format!("  {problem}")).collect();
            Failure::usage(format!("{many} in {name}\n{}", lines.join("\n")))
                .next("`rserpool registrar --help` shows a file")
        })
    }

    /// The scopes to be served, with their names where they have any.
    fn merged(self, file: FileConfig) -> Result<Vec<(Option<ScopeName>, Config)>, Failure> {
        if file.scopes.is_empty() {
            return Ok(vec![(None, self.over(file.own)?)]);
        }
        if self.says_something_of_a_scope() {
            return Err(Failure::usage(
                "the file has scopes: flags cannot say of which they speak",
            )
            .next("leave --asap, --enrp, --peer, --announce, --id and --tls-cert out, and put them there"));
        }
        let scopes = file.scopes.into_iter();
        scopes.map(|scope| Ok((scope.name.clone(), config(scope)?))).collect()
    }

    fn says_something_of_a_scope(&self) -> bool {
        let lists = [&self.asap, &self.enrp, &self.peer];
        lists.into_iter().any(|list| !list.is_empty())
            || !self.enrp_group.is_empty()
            || self.id.is_some()
            || self.announce.is_given()
            || self.tls.settings().is_some()
    }

    /// The only scope, as flags and file say.
    fn over(self, mut file: ScopeConfig) -> Result<Config, Failure> {
        let set = |target: &mut Option<Vec<Locator>>, flags: Vec<Locator>| {
            if !flags.is_empty() {
                *target = Some(flags);
            }
        };
        set(&mut file.asap, self.asap);
        set(&mut file.enrp, self.enrp);
        file.announcements = self.announce.over(file.announcements);
        if !self.enrp_group.is_empty() {
            file.enrp_groups = Some(self.enrp_group);
        }
        if !self.peer.is_empty() {
            file.machine.peers = self.peer;
        }
        if let Some(id) = self.id {
            file.machine.id = ServerId(id);
        }
        file.tls = self.tls.settings().or(file.tls);
        let config = config(file)?;
        let clash = |asap: &&Locator| {
            asap.port != 0 && config.enrp.iter().any(|enrp| enrp.primary() == asap.primary())
        };
        if let Some(twice) = config.asap.iter().find(clash).map(Locator::primary) {
            return Err(Failure::usage(format!("{twice} is given both as --asap and as --enrp"))
                .next("elements and users need a port of their own, and so do registrars"));
        }
        Ok(config)
    }
}

/// What a registrar is started with.
fn config(scope: ScopeConfig) -> Result<Config, Failure> {
    let mut config = Config { machine: scope.machine, ..Config::default() };
    config.asap = scope.asap.unwrap_or(config.asap);
    config.enrp = scope.enrp.unwrap_or(config.enrp);
    config.announcements = scope.announcements;
    config.enrp_groups = scope.enrp_groups.unwrap_or(config.enrp_groups);
    let associations = config.machine.limits.associations;
    config.limits = driver::Limits { associations, ..scope.connections };
    config.plain = scope.plain;
    if let Some(settings) = scope.tls {
        let anonymous = scope.grants.readers == Readers::Everybody;
        let tls = tls::open(Settings { anonymous, ..settings })?;
        let grants = Grants { scope: tls.scope().as_str().into(), ..scope.grants };
        config.machine.authority = Authority::Secured(Arc::new(grants));
        config.tls = Some(tls);
    }
    Ok(config)
}

/// Which address cannot be had, and by which flag to take another.
fn not_listening(error: &BindError, asap: &[SocketAddr]) -> Failure {
    let BindError { address, source } = error;
    let flag = if asap.contains(address) { "--asap" } else { "--enrp" };
    let what = match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use: another registrar may be running here already")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        io::ErrorKind::PermissionDenied => format!("this user may not listen on {address}"),
        io::ErrorKind::Unsupported if is_sctp_available() || source.get_ref().is_some() => {
            return Failure::failed(error).next(format!("write {flag} tcp://{address}"));
        }
        io::ErrorKind::Unsupported => return no_sctp(flag),
        _ => error.to_string(),
    };
    let mut any = *address;
    any.set_port(0);
    Failure::failed(what).next(format!(
        "choose another address by {flag} tcp://ADDRESS:PORT; {flag} tcp://{any} lets the system \
         choose a port"
    ))
}
