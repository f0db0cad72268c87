//! The same worlds as secured scopes: everybody has a certificate, and some of those who have one
//! lie; so does somebody without.

use super::{Member, Plan};
use crate::clock::Clock;
use crate::hostile::Insider;
use crate::node::{Owner, Setup};
use crate::rng::Random;
use crate::world::{address, locator_at};
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::machine::{Identity, Locator, Name, NameKind, Subject, TransportKind};
use rserpool_proto::registrar::{Authority, ElementGrant, Grants, Pattern};
use rserpool_proto::wire::PORT_ASAP;
use rserpool_proto::wire::capability::Owner as OwnerId;
use std::sync::Arc;

/// The scope in the names of certificates.
const SCOPE: &str = "sim";

/// The pool into which somebody hostile may register.
const ELSEWHERE: &str = "elsewhere";

impl Plan {
    /// What a seed stands for in a secured scope: as [`Plan::draw`], and three more who lie. One has
    /// the certificate of an element of another pool, one that of a user, one has none.
    pub fn secured(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        let mut random = Random::new(seed, &[8]);
        let mut pools: Vec<PoolHandle> = Vec::new();
        let mut known: Vec<(PoolHandle, PeId)> = Vec::new();
        let mut elements = Vec::new();
        for (number, node) in plan.nodes.iter_mut().enumerate() {
            node.owner.identity = match &node.setup {
                Setup::Registrar(_) => named(number, NameKind::Uri, &of_scope("registrar")),
                Setup::User(_) => named(number, NameKind::Uri, &of_scope("user")),
                Setup::Hostile { .. } => Identity::Anonymous,
                Setup::Element(config) => {
                    pools.push(config.handle.clone());
                    known.extend(config.id.map(|id| (config.handle.clone(), id)));
                    let pool = String::from_utf8_lossy(config.handle.as_bytes());
                    // Two that have one identifier by mistake have one owner, too, whose mistake it
                    // is.
                    let number = if node.owner.contender { usize::MAX } else { number };
                    // Some by what their certificate says, others by what registrars are told.
                    if random.permille(500) {
                        let uri = of_scope(&format!("element/{pool}"));
                        named(number, NameKind::Uri, &uri)
                    } else {
                        let name = format!("host-{number}");
                        elements.push(ElementGrant {
                            name: Pattern::new(&name),
                            pools: vec![Pattern::new(&pool)],
                            policies: Vec::new(),
                            any_address: false,
                        });
                        named(number, NameKind::Dns, &name)
                    }
                }
            };
        }
        pools.sort_unstable();
        pools.dedup();
        let grants = Grants { scope: SCOPE.into(), elements, ..Grants::default() };
        let authority = Authority::Secured(Arc::new(grants));
        let mut registrars = Vec::new();
        for (number, node) in plan.nodes.iter_mut().enumerate() {
            if let Setup::Registrar(config) = &mut node.setup {
                config.authority = authority.clone();
                registrars.push(number);
            }
        }
        let element = of_scope(&format!("element/{ELSEWHERE}"));
        for (name, uri) in
            [("element", Some(element)), ("user", Some(of_scope("user"))), ("nobody", None)]
        {
            let number = plan.nodes.len();
            let identity =
                uri.map_or(Identity::Anonymous, |uri| named(number, NameKind::Uri, &uri));
            let own = PoolHandle::new(ELSEWHERE).ok().filter(|_| name == "element");
            let transport = match random.permille(500) {
                true => TransportKind::Tcp,
                false => TransportKind::Sctp,
            };
            let at =
                |registrar: &usize| -> Locator { locator_at(*registrar, transport, PORT_ASAP) };
            let setup = Setup::Hostile {
                registrars: registrars.iter().map(at).collect(),
                poses_at: None,
                insider: Some(Insider { own, at: address(number, 0), known: known.clone() }),
            };
            let pace = random.spread(20, 2_000) * 1_000;
            plan.nodes.push(Member {
                name: format!("false-{name}"),
                setup,
                transport,
                clock: Clock::new(random.below(1 << 40), 0),
                owner: Owner { pace, pools: pools.clone(), identity, ..Owner::default() },
                starts: random.below(5_000_000),
            });
        }
        plan
    }
}

fn of_scope(role: &str) -> String {
    format!("rserpool://{SCOPE}/{role}")
}

/// The holder of a certificate with this name. Owners are told apart by the node, as if each
/// certificate had a first name of its own.
fn named(node: usize, kind: NameKind, text: &str) -> Identity {
    let names = vec![Name { kind, text: text.into() }];
    let mut owner = [0x5a; 16];
    owner[..8].copy_from_slice(&(node as u64).to_be_bytes());
    Identity::Verified(Arc::new(Subject { names, owner: OwnerId(owner) }))
}
