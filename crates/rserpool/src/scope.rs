//! Pools of other operation scopes: `pool@scope`, and where a scope's registrars are.
//!
//! An operation scope is one handlespace with its registrars; scopes know nothing of each other. A
//! name with a scope leads to registrars that were configured for it or stand in DNS:
//!
//! ```text
//!   web@east.example.org        the pool `web` in the scope `east.example.org`
//!   _asap._tcp.east.example.org.   SRV  0 1 3863 r1.example.org.
//!   _asap._sctp.east.example.org.  SRV  0 1 3863 r1.example.org.
//! ```
//!
//! ```no_run
//! use rserpool::scope::{Directory, PoolName};
//! use rserpool::{PoolUser, pool_user::PoolUserConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = Directory::default();
//! let name: PoolName = "web@east.example.org".parse()?;
//! if let Some(scope) = &name.scope {
//!     let registrars = directory.registrars(scope).await?;
//!     let user = PoolUser::new(PoolUserConfig::new(registrars));
//!     println!("{:?}", user.resolve(&name.handle).await?);
//! }
//! # Ok(())
//! # }
//! ```

use crate::driver::is_sctp_available;
use crate::proto::id::{InvalidPoolHandle, PoolHandle};
use crate::proto::machine::{Locator, TransportKind};
use crate::proto::wire::transport::Addresses;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// The name of an operation scope: a DNS name, or a word that was configured.
///
/// 1 to 253 letters, digits, hyphens, underscores and dots; case does not matter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(Arc<str>);

impl ScopeName {
    /// Longest name, as in DNS.
    pub const MAX_LEN: usize = 253;

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScopeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(is_plain) {
            return Err(InvalidName::Scope { name: text.into() });
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A pool in the own scope or in another one: `web`, `web@east`.
///
/// It is split at the last `@`. A handle that has one itself is written with another one behind it:
/// `a@b@` is the pool `a@b` in the own scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName {
    /// The pool.
    pub handle: PoolHandle,
    /// Its scope; none for the own one.
    pub scope: Option<ScopeName>,
}

impl From<PoolHandle> for PoolName {
    fn from(handle: PoolHandle) -> Self {
        Self { handle, scope: None }
    }
}

impl FromStr for PoolName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (handle, scope) = match text.rsplit_once('@') {
            None => (text, None),
            Some((handle, "")) => (handle, None),
            Some((handle, scope)) => (handle, Some(scope.parse()?)),
        };
        Ok(Self { handle: handle.parse()?, scope })
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.handle)?;
        match &self.scope {
            Some(scope) => write!(f, "@{scope}"),
            None if self.handle.as_bytes().contains(&b'@') => f.write_str("@"),
            None => Ok(()),
        }
    }
}

/// Text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The part behind the last `@`.
    #[error("`{name}` is not the name of a scope: letters, digits, hyphens and dots are")]
    Scope {
        /// What was given.
        name: String,
    },
    /// The part before it.
    #[error(transparent)]
    Pool(#[from] InvalidPoolHandle),
}

/// Who is asked for scopes that are not configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dns {
    /// The name servers of this host.
    #[default]
    System,
    /// This name server.
    Server(SocketAddr),
    /// Nobody.
    Off,
}

/// Where the registrars of scopes are.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Those that are known, and not asked for.
    pub scopes: BTreeMap<ScopeName, Vec<Locator>>,
    /// Who is asked for all others.
    pub dns: Dns,
}

/// Most registrars that are taken from DNS for one scope.
pub const MAX_REGISTRARS: usize = 16;
/// Most addresses that are taken from DNS for one registrar.
pub const MAX_ADDRESSES: usize = 8;

/// Why the registrars of a scope are not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScopeError {
    /// It is not configured, and DNS is off.
    #[error("scope {scope} is not configured")]
    NotConfigured {
        /// Which one.
        scope: ScopeName,
    },
    /// DNS has no service record of it, or none with an address.
    #[error(
        "scope {scope} is not configured, and DNS has no address for _asap._tcp.{scope} or _asap._sctp.{scope}"
    )]
    NotInDns {
        /// Which one.
        scope: ScopeName,
    },
    /// DNS cannot be asked.
    #[error("scope {scope} is not configured, and DNS cannot be asked for it: {why}")]
    Dns {
        /// Which one.
        scope: ScopeName,
        /// What happened.
        why: String,
    },
}

impl Directory {
    /// Where the registrars of a scope serve elements and users, those to be tried first in front.
    ///
    /// What is configured is taken as it is. From DNS come the service records of `_asap._sctp` and
    /// `_asap._tcp`, in the order of RFC 2782, at most [`MAX_REGISTRARS`]; one that is in both with
    /// the same port is `auto://`. SCTP is left out where this host has none.
    ///
    /// # Errors
    /// [`ScopeError`]: nobody knows the scope.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled, if DNS is to be asked.
    pub async fn registrars(&self, scope: &ScopeName) -> Result<Vec<Locator>, ScopeError> {
        if let Some(known) = self.scopes.get(scope) {
            return Ok(known.clone());
        }
        let failed =
            |error: NetError| ScopeError::Dns { scope: scope.clone(), why: error.to_string() };
        let resolver = match self.dns {
            Dns::Off => return Err(ScopeError::NotConfigured { scope: scope.clone() }),
            Dns::System => TokioResolver::builder_tokio(),
            Dns::Server(server) => Ok(TokioResolver::builder_with_config(
                only(server),
                TokioRuntimeProvider::default(),
            )),
        };
        let resolver = resolver.and_then(|builder| builder.build()).map_err(failed)?;
        let (sctp, tcp) = tokio::join!(
            services(&resolver, "_asap._sctp", scope, is_sctp_available()),
            services(&resolver, "_asap._tcp", scope, true),
        );
        let (sctp, tcp) = match (sctp, tcp) {
            (Err(error), Err(_)) => return Err(failed(error)),
            (sctp, tcp) => (sctp.unwrap_or_default(), tcp.unwrap_or_default()),
        };
        let mut registrars = Vec::new();
        for (transport, service) in merged(&sctp, &tcp).into_iter().take(MAX_REGISTRARS) {
            // One whose addresses are not known is no reason to leave the others.
            let Ok(found) = resolver.lookup_ip(service.target.clone()).await else { continue };
            let addresses: Vec<IpAddr> = found.iter().take(MAX_ADDRESSES).collect();
            registrars.extend(locators(transport, &addresses, service.port));
        }
        if registrars.is_empty() {
            return Err(ScopeError::NotInDns { scope: scope.clone() });
        }
        Ok(registrars)
    }
}

/// A configuration with one name server, asked by UDP, and by TCP for long answers.
fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// The service records of a scope in the order in which they are to be tried; none is no error.
async fn services(
    resolver: &TokioResolver,
    service: &str,
    scope: &ScopeName,
    wanted: bool,
) -> Result<Vec<SRV>, NetError> {
    if !wanted {
        return Ok(Vec::new());
    }
    let name = Name::from_ascii(format!("{service}.{scope}."))?;
    let found = match resolver.lookup(name, RecordType::SRV).await {
        Err(error) if error.is_no_records_found() => return Ok(Vec::new()),
        found => found?,
    };
    let records = found.answers().iter().filter_map(|record| match &record.data {
        // A lone dot says that there is none (RFC 2782).
        RData::SRV(record) if !record.target.is_root() => Some(record.clone()),
        _ => None,
    });
    Ok(in_order(records.take(MAX_REGISTRARS).collect(), |bound| {
        (u64::from(getrandom::u32().unwrap_or(0)) * bound) >> 32
    }))
}

/// By priority, and among equals drawn by weight (RFC 2782). `draw` gives a number below its bound.
fn in_order(mut records: Vec<SRV>, mut draw: impl FnMut(u64) -> u64) -> Vec<SRV> {
    // Those of weight 0 first: they are drawn by 0 alone.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let equals = records.iter().take_while(|record| record.priority == priority);
        let sum: u64 = equals.map(|record| u64::from(record.weight)).sum();
        let drawn = draw(sum + 1);
        let mut running = 0;
        let index = records.iter().position(|record| {
            running += u64::from(record.weight);
            running >= drawn
        });
        ordered.push(records.remove(index.unwrap_or(0)));
    }
    ordered
}

/// Those of both transports once, in the order of TCP's; then those of SCTP alone.
fn merged<'a>(sctp: &'a [SRV], tcp: &'a [SRV]) -> Vec<(TransportKind, &'a SRV)> {
    let is_same = |one: &SRV, other: &SRV| one.target == other.target && one.port == other.port;
    let both = tcp.iter().map(|service| {
        let is_in_both = sctp.iter().any(|other| is_same(service, other));
        (if is_in_both { TransportKind::Auto } else { TransportKind::Tcp }, service)
    });
    let alone = sctp.iter().filter(|service| !tcp.iter().any(|other| is_same(service, other)));
    both.chain(alone.map(|service| (TransportKind::Sctp, service))).collect()
}

/// By SCTP all addresses of a registrar are one end; TCP reaches one at a time.
fn locators(transport: TransportKind, addresses: &[IpAddr], port: u16) -> Vec<Locator> {
    let of = |addresses: &[IpAddr]| {
        let addresses = Addresses::new(addresses)?;
        Some(Locator { transport, addresses, port })
    };
    match transport {
        TransportKind::Tcp => addresses.chunks(1).filter_map(of).collect(),
        TransportKind::Sctp | TransportKind::Auto => of(addresses).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<(String, Option<String>), InvalidName> {
        let name: PoolName = text.parse()?;
        Ok((name.handle.to_string(), name.scope.map(|scope| scope.to_string())))
    }

    #[test]
    fn a_name_is_split_at_its_last_at_sign() {
        let own = |handle: &str| Ok((handle.to_owned(), None));
        let other = |handle: &str, scope: &str| Ok((handle.to_owned(), Some(scope.to_owned())));
        assert_eq!(name("web"), own("web"));
        assert_eq!(name("web@East.Example.org"), other("web", "east.example.org"));
        assert_eq!(name("a@b@east"), other("a@b", "east"));
        assert_eq!(name("a@b@"), own("a@b"));
        for text in ["web", "web@east", "a@b@", "a@b@east"] {
            assert_eq!(text.parse::<PoolName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_said() {
        assert!(name("").is_err());
        assert!(name("@east").is_err());
        assert!(name("web@ea st").unwrap_err().to_string().contains("`ea st`"));
        assert!(name(&format!("web@{}", "e".repeat(254))).is_err());
    }

    fn service(priority: u16, weight: u16, target: &str) -> SRV {
        SRV::new(priority, weight, 3863, Name::from_ascii(target).unwrap())
    }

    fn targets(records: &[SRV]) -> Vec<String> {
        records.iter().map(|record| record.target.to_string()).collect()
    }

    #[test]
    fn services_come_by_priority_and_among_equals_by_weight() {
        let records =
            vec![service(1, 0, "spare."), service(0, 10, "small."), service(0, 30, "large.")];
        let lowest = in_order(records.clone(), |_| 0);
        assert_eq!(targets(&lowest), ["small.", "large.", "spare."]);
        let highest = in_order(records.clone(), |bound| bound - 1);
        assert_eq!(targets(&highest), ["large.", "small.", "spare."]);
        let mut first = BTreeMap::new();
        for number in 0..41 {
            let mut numbers = [number, 0, 0].into_iter();
            let order = in_order(records.clone(), |_| numbers.next().unwrap_or(0));
            *first.entry(targets(&order)[0].clone()).or_insert(0) += 1;
        }
        assert_eq!((first["small."], first["large."]), (11, 30));
    }

    #[test]
    fn a_registrar_with_both_transports_is_one() {
        let (tcp, sctp) = (
            [service(0, 0, "a."), service(0, 0, "b.")],
            [service(0, 0, "b."), service(0, 0, "c.")],
        );
        let merged: Vec<_> = merged(&sctp, &tcp)
            .into_iter()
            .map(|(transport, service)| (transport, service.target.to_string()))
            .collect();
        assert_eq!(
            merged,
            [
                (TransportKind::Tcp, "a.".into()),
                (TransportKind::Auto, "b.".into()),
                (TransportKind::Sctp, "c.".into()),
            ]
        );
    }

    #[tokio::test]
    async fn a_configured_scope_is_not_asked_for() {
        let registrars: Vec<Locator> = vec!["tcp://10.0.0.1:3863".parse().unwrap()];
        let east: ScopeName = "east".parse().unwrap();
        let scopes = BTreeMap::from([(east.clone(), registrars.clone())]);
        let directory = Directory { scopes, dns: Dns::Off };
        assert_eq!(directory.registrars(&east).await.unwrap(), registrars);
        let error = directory.registrars(&"west".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), "scope west is not configured");
    }
}
