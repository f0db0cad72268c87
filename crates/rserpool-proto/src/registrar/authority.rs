//! Who may do what; asked before anything is changed.
//!
//! In a secured scope everybody shows a certificate, and its names say what its holder is:
//!
//! ```text
//!   rserpool://SCOPE/registrar            another registrar
//!   rserpool://SCOPE/element/PATTERN      may register into the pools of that pattern
//!   rserpool://SCOPE/user                 may resolve
//!   rserpool://SCOPE/operator             may read the whole handlespace
//! ```
//!
//! A `*` in a pattern stands for any characters, `%2f` for the character of that number. Other names,
//! such as those of hosts, are granted something by configuration.

use crate::id::{PeId, PoolHandle};
use crate::machine::{Identity, Locator, Name, NameKind};
use crate::wire::policy::PolicyNumber;
use crate::wire::transport::Transport;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Decides what an identity may do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Authority {
    /// An open scope: everybody may do everything, within the limits, to what is theirs.
    #[default]
    Open,
    /// A secured scope: what their certificates and these grants say. An element belongs to the
    /// identity that registered it (RFC 5355 §2.3, §2.4), and nothing insecure is let in (§2.15).
    Secured(Arc<Grants>),
}

/// What is granted in a secured scope.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Grants {
    /// The scope in the URIs of certificates; those of other scopes are granted nothing by them.
    pub scope: Box<str>,
    /// Names that are registrars besides those whose URI says so.
    pub registrars: Vec<Pattern>,
    /// Names that may read the whole handlespace besides those whose URI says so.
    pub operators: Vec<Pattern>,
    /// Who may register what besides what URIs say, and within which bounds. The first entry that
    /// fits a name bounds what its URI grants, too.
    pub elements: Vec<ElementGrant>,
    /// Who may resolve.
    pub readers: Readers,
}

/// What elements of a name may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementGrant {
    /// Whose.
    pub name: Pattern,
    /// Into which pools, besides those that its URI says.
    pub pools: Vec<Pattern>,
    /// With which policies; none given means all.
    pub policies: Vec<PolicyNumber>,
    /// Under any address instead of the one it comes from: for elements that speak for servers
    /// elsewhere.
    pub any_address: bool,
}

/// Who may resolve pools in a secured scope.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Readers {
    /// Everybody who has shown a certificate, whatever its names.
    #[default]
    Verified,
    /// Everybody, where the way in allows for it: those who have proved nothing, too.
    Everybody,
    /// Those whose URI says that they are users, registrars, elements or operators, and these, who
    /// may resolve pools of these patterns.
    Named(Vec<(Pattern, Vec<Pattern>)>),
}

/// Text in which `*` stands for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// A pattern as it is written.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// Whether all of `text` fits.
    pub fn matches(&self, text: &[u8]) -> bool {
        fits(&self.0, text)
    }
}

/// Whether all of `text` fits a pattern.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        if part.is_empty() {
            continue;
        }
        match rest.windows(part.len()).position(|window| window == part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Register or renew an element.
    Register {
        /// Into this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
        /// With this policy.
        policy: PolicyNumber,
        /// To be reached so.
        transport: &'a Transport,
        /// Coming from there.
        from: &'a Locator,
    },
    /// Remove an element.
    Deregister {
        /// From this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
    },
    /// Resolve a pool.
    Resolve {
        /// This one.
        handle: &'a PoolHandle,
    },
    /// Report an element as unreachable.
    Report {
        /// In this pool.
        handle: &'a PoolHandle,
        /// The element.
        id: PeId,
    },
    /// Read the whole handlespace.
    ReadTable,
    /// Speak as a registrar.
    Replicate,
}

impl Authority {
    /// Whether the scope is a secured one.
    pub fn is_secured(&self) -> bool {
        matches!(self, Self::Secured(_))
    }

    /// Whether `identity` may do `action`.
    pub fn permits(&self, identity: &Identity, action: &Action<'_>) -> bool {
        let Self::Secured(grants) = self else { return true };
        match action {
            Action::Register { handle, policy, transport, from, .. } => {
                identity.names().iter().any(|name| {
                    let grant = grants.elements.iter().find(|grant| grant.name.is_of(name));
                    let by_grant = grant.is_some_and(|grant| of_pool(&grant.pools, handle));
                    (by_grant || grants.says_element(name, handle))
                        && grant.is_none_or(|grant| grant.allows(*policy))
                        && (grant.is_some_and(|grant| grant.any_address) || is_own(transport, from))
                })
            }
            Action::Deregister { handle, .. } => identity.names().iter().any(|name| {
                let mut fitting = grants.elements.iter().filter(|grant| grant.name.is_of(name));
                fitting.any(|grant| of_pool(&grant.pools, handle))
                    || grants.says_element(name, handle)
            }),
            Action::Resolve { handle } | Action::Report { handle, .. } => {
                grants.may_resolve(identity, handle)
            }
            Action::ReadTable => grants.is_one(identity, &grants.operators, "operator"),
            Action::Replicate => grants.is_one(identity, &grants.registrars, "registrar"),
        }
    }
}

impl Pattern {
    fn is_of(&self, name: &Name) -> bool {
        self.matches(name.text.as_bytes())
    }
}

impl ElementGrant {
    fn allows(&self, policy: PolicyNumber) -> bool {
        self.policies.is_empty() || self.policies.contains(&policy)
    }
}

impl Grants {
    fn may_resolve(&self, identity: &Identity, handle: &PoolHandle) -> bool {
        match &self.readers {
            Readers::Everybody => true,
            Readers::Verified => !identity.names().is_empty(),
            Readers::Named(readers) => identity.names().iter().any(|name| {
                self.role_of(name).is_some()
                    || readers.iter().any(|(who, pools)| who.is_of(name) && of_pool(pools, handle))
            }),
        }
    }

    fn is_one(&self, identity: &Identity, listed: &[Pattern], role: &str) -> bool {
        identity.names().iter().any(|name| {
            self.role_of(name) == Some(role) || listed.iter().any(|pattern| pattern.is_of(name))
        })
    }

    /// What a URI says its holder is in this scope.
    fn role_of<'a>(&self, name: &'a Name) -> Option<&'a str> {
        let uri = Some(&name.text).filter(|_| name.kind == NameKind::Uri)?;
        let role =
            uri.strip_prefix("rserpool://")?.strip_prefix(&*self.scope)?.strip_prefix('/')?;
        let known =
            ["registrar", "user", "operator"].contains(&role) || role.starts_with("element/");
        known.then_some(role)
    }

    fn says_element(&self, name: &Name, handle: &PoolHandle) -> bool {
        let pattern = self.role_of(name).and_then(|role| role.strip_prefix("element/"));
        pattern.is_some_and(|pattern| fits(&unescaped(pattern.as_bytes()), handle.as_bytes()))
    }
}

fn of_pool(patterns: &[Pattern], handle: &PoolHandle) -> bool {
    patterns.iter().any(|pattern| pattern.matches(handle.as_bytes()))
}

/// Whether all addresses to be reached at are where the element comes from.
fn is_own(transport: &Transport, from: &Locator) -> bool {
    transport.socket_addrs().all(|at| from.addresses.as_slice().contains(&at.ip()))
}

/// A part of a URI without its `%` escapes.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}
