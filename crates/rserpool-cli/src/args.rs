//! Flags that several commands share.

use crate::failure::Failure;
use crate::signals::Stop;
use crate::tls::TlsFlags;
use clap::{Args, ValueEnum};
use rserpool::driver::{Announcements, Network, is_sctp_available};
use rserpool::proto::machine::{InvalidLocator, Locator, TransportKind};
use rserpool::proto::timers::Preset;
use rserpool::proto::wire::PORT_ASAP;
use rserpool::scope::{Directory, Dns, InvalidName, ScopeError, ScopeName};
use rserpool::tls::Tls;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Where registrars are.
#[derive(Clone, Debug, Args)]
pub(crate) struct RegistrarFlags {
    /// Where a registrar serves elements and users: sctp://ADDRESS,ADDRESS:PORT, tcp:// or auto://;
    /// repeat it for more than one, they are tried together [default: auto://127.0.0.1:3863, unless
    /// there is --announce]
    ///
    /// auto:// tries SCTP first and TCP a moment later, and takes what is there first.
    #[arg(
        long = "registrar",
        value_name = "ADDR",
        env = "RSERPOOL_REGISTRAR",
        value_delimiter = ' '
    )]
    registrars: Vec<Locator>,
    #[command(flatten)]
    announce: AnnounceFlags,
    /// A registrar of another scope, for pools written POOL@SCOPE; repeat it for each
    ///
    /// A scope that is not given here is asked of DNS, by its records _asap._tcp.SCOPE and
    /// _asap._sctp.SCOPE.
    #[arg(long = "scope", value_name = "SCOPE=ADDR", value_parser = of_scope)]
    scopes: Vec<(ScopeName, Locator)>,
    /// The name server that is asked for scopes [default: those of this host]
    #[arg(long, value_name = "ADDR")]
    dns: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// Reads a scope and the address of one of its registrars.
fn of_scope(text: &str) -> Result<(ScopeName, Locator), String> {
    let (scope, registrar) =
        text.split_once('=').ok_or("it is written SCOPE=ADDR, like east=tcp://10.0.0.1:3863")?;
    let scope = scope.parse().map_err(|error: InvalidName| error.to_string())?;
    let registrar = registrar.parse().map_err(|error: InvalidLocator| error.to_string())?;
    Ok((scope, registrar))
}

/// How the registrars of a scope are reached.
#[derive(Clone, Debug)]
pub(crate) struct Registrars {
    /// Where they are.
    pub(crate) locators: Vec<Locator>,
    /// From where, and whether announcements are heard.
    pub(crate) network: Network,
}

/// Where registrars announce themselves.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnnounceFlags {
    /// Find each other by multicast on this interface, such as eth0; repeat it for more than one
    ///
    /// Registrars announce themselves there, elements and users listen. What is named by --registrar
    /// is tried first. Anybody on that network can announce anything: do it where you trust all.
    #[arg(long, value_name = "IFACE")]
    announce: Vec<String>,
    /// The group and port of announcements [default: 239.0.0.50:3863]
    ///
    /// The RFC's groups are 224.0.1.185 and ff05::133.
    #[arg(long, value_name = "ADDR", requires = "announce", value_parser = group)]
    announce_group: Vec<SocketAddr>,
}

impl AnnounceFlags {
    pub(crate) fn is_given(&self) -> bool {
        !self.announce.is_empty()
    }

    /// What the flags say; what they do not say is taken from `file`.
    pub(crate) fn over(&self, file: Announcements) -> Announcements {
        let mut announcements = file;
        if !self.announce.is_empty() {
            announcements.interfaces.clone_from(&self.announce);
        }
        if !self.announce_group.is_empty() {
            announcements.groups.clone_from(&self.announce_group);
        }
        announcements
    }
}

/// Reads a group and its port.
pub(crate) fn group(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(group) if group.ip().is_multicast() && group.port() != 0 => Ok(group),
        _ => Err("a group is a multicast address with a port, like 239.0.0.50:3863".into()),
    }
}

impl RegistrarFlags {
    /// The registrars of a scope; of the own one if none is given. DNS may take its time: `stop` ends
    /// that.
    pub(crate) async fn of(
        &self,
        scope: Option<&ScopeName>,
        stop: &Stop,
    ) -> Result<Registrars, Failure> {
        let Some(scope) = scope else {
            return Ok(Registrars { locators: self.locators()?, network: self.network()? });
        };
        let mut scopes = BTreeMap::<_, Vec<Locator>>::new();
        for (scope, registrar) in self.scopes.iter().cloned() {
            scopes.entry(scope).or_default().push(registrar);
        }
        let dns = self.dns.map_or(Dns::System, Dns::Server);
        let directory = Directory { scopes, dns };
        let found = tokio::select! {
            found = directory.registrars(scope) => found,
            () = stop.requested() => return Err(Failure::interrupted()),
        };
        let locators = found.map_err(|error| {
            let next = match &error {
                ScopeError::Dns { .. } => {
                    "say where a registrar is by --scope, or who knows by --dns"
                }
                _ => "say where a registrar is by --scope, or see to its DNS records",
            };
            Failure::failed(&error).next(next)
        })?;
        if locators.iter().all(is_only_sctp) && !is_sctp_available() {
            return Err(no_sctp("--scope SCOPE="));
        }
        // Announcements are of the own scope.
        let tls = self.tls.open_for(scope)?;
        Ok(Registrars { locators, network: Network { tls, ..Network::default() } })
    }

    /// The registrars of the own scope, all of them reached in a way that works here.
    fn locators(&self) -> Result<Vec<Locator>, Failure> {
        if self.registrars.is_empty() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_ASAP));
            let local = Locator { transport: TransportKind::Auto, ..Locator::tcp(address) };
            return Ok(if self.are_announced() { Vec::new() } else { vec![local] });
        }
        if self.registrars.iter().all(is_only_sctp) && !self.are_announced() && !is_sctp_available()
        {
            return Err(no_sctp("--registrar"));
        }
        Ok(self.registrars.clone())
    }

    /// With which certificates connections in the own scope are secured, if any.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, Failure> {
        self.tls.open()
    }

    /// Whether registrars are heard that announce themselves.
    pub(crate) fn are_announced(&self) -> bool {
        self.announce.is_given()
    }

    /// How they are reached, and heard.
    fn network(&self) -> Result<Network, Failure> {
        let announcements = self.announce.over(Announcements::default());
        Ok(Network { announcements, tls: self.tls.open()?, ..Network::default() })
    }
}

fn is_only_sctp(locator: &Locator) -> bool {
    locator.transport == TransportKind::Sctp
}

/// What is wanted over SCTP alone cannot be had here.
pub(crate) fn no_sctp(flag: &str) -> Failure {
    Failure::failed("this host has no SCTP").next(format!(
        "load the kernel's module, `modprobe sctp`, or write {flag} auto:// or tcp://"
    ))
}

/// How long things are waited for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TimerFlags {
    /// Which set of timers
    #[arg(long, value_name = "SET", value_enum, default_value_t)]
    pub(crate) timers: Timers,
}

/// The sets of timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timers {
    /// The values of RFC 5352 and RFC 5353: tens of seconds
    Rfc,
    /// Failures are noticed within a second
    #[default]
    Default,
    /// Failures are noticed within a quarter of a second, for a network that is never slow
    Realtime,
}

impl From<Timers> for Preset {
    fn from(timers: Timers) -> Self {
        match timers {
            Timers::Rfc => Self::Rfc,
            Timers::Default => Self::Default,
            Timers::Realtime => Self::Realtime,
        }
    }
}
