//! The registrar of a scenario: a real handlespace with one pool, and what its servers say of
//! themselves.

use super::{Scenario, Server};
use crate::rng::Random;
use rserpool_proto::handlespace::{Asker, Handlespace, HandlespaceConfig, Slot};
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::policy::{PolicyKind, PolicyParameter, PolicyTable};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::transport::{SctpTransport, Transport, TransportUse};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A registrar with one pool.
pub(super) struct Registrar {
    space: Handlespace,
    offers: Offers,
    chosen: Vec<Slot>,
}

impl Registrar {
    pub(super) fn new(kind: PolicyKind, scenario: &Scenario, seed: u64) -> Self {
        let config = HandlespaceConfig { rules: scenario.rules, ..space_of(kind) };
        let space = Handlespace::new(config, Random::new(seed, &[2]).seed());
        let mut registrar = Self { space, offers: Offers::new(kind, scenario), chosen: Vec::new() };
        for server in 0..scenario.servers.len() {
            registrar.register(0.0, server, 0);
        }
        registrar
    }

    /// Whether the policy's words change with the load.
    pub(super) fn wants_load(&self) -> bool {
        self.offers.wants_load
    }

    /// A server registers or re-registers with so many requests.
    pub(super) fn register(&mut self, now: f64, server: usize, requests: usize) {
        let element = self.offers.element(server, requests);
        let registered = self.space.register(moment(now), &pool(), element, None);
        debug_assert!(registered.is_ok(), "{registered:?}");
    }

    pub(super) fn remove(&mut self, now: f64, server: usize) {
        self.space.remove(moment(now), POOL, id_of(server));
    }

    pub(super) fn choose(&mut self, now: f64) -> Option<usize> {
        self.space.resolve(moment(now), POOL, 1, Asker::UNCOUNTED, &mut self.chosen)?;
        let element = self.space.element_at(*self.chosen.first()?)?;
        Some(element.id().0 as usize - 1)
    }
}

/// A handlespace that knows a policy.
pub(super) fn space_of(kind: PolicyKind) -> HandlespaceConfig {
    let policies = PolicyTable::builtin();
    let policies = policies.clone().with(kind).unwrap_or(policies);
    HandlespaceConfig { policies, ..HandlespaceConfig::default() }
}

/// What the servers of a scenario register.
pub(super) struct Offers {
    kind: PolicyKind,
    /// Room and capacity of each.
    servers: Vec<Server>,
    liars: usize,
    idle_load: f64,
    least: f64,
    /// Whether the policy's words change with the load.
    pub(super) wants_load: bool,
}

impl Offers {
    pub(super) fn new(kind: PolicyKind, scenario: &Scenario) -> Self {
        let capacities = scenario.servers.iter().map(|server| server.capacity);
        Self {
            kind,
            servers: scenario.servers.clone(),
            liars: scenario.liars,
            idle_load: scenario.idle_load,
            least: capacities.fold(f64::MAX, f64::min),
            wants_load: kind.words.iter().any(|word| word.name == "load"),
        }
    }

    /// A server with so many requests.
    pub(super) fn element(&self, server: usize, requests: usize) -> PoolElement {
        let Server { capacity, requests: most } = self.servers[server];
        let (requests, idle) =
            if server < self.liars { (0, 0.0) } else { (requests, self.idle_load) };
        // Loads and what one request more adds are parts of all that fits in 32 bits.
        let one = (1.0 - idle) / most as f64;
        let part = |share: f64| (share * f64::from(u32::MAX)) as u32;
        let words: Vec<u32> = self
            .kind
            .words
            .iter()
            .map(|word| match word.name {
                "load" => part(idle + requests as f64 * one),
                "degradation" if server < self.liars => 0,
                "degradation" => part(one),
                "weight" => ((capacity / self.least).round() as u32).max(1),
                _ => word.default,
            })
            .collect();
        element_at(
            id_of(server),
            address_of(server),
            PolicyParameter::new(self.kind.number, &words),
        )
    }
}

/// An element that serves, or says so, at an address.
pub(super) fn element_at(id: PeId, address: IpAddr, policy: PolicyParameter) -> PoolElement {
    PoolElement {
        id,
        home: ServerId(1),
        life: -1,
        user_transport: Transport::Tcp(SocketAddr::new(address, 80)),
        policy,
        asap_transport: Some(SctpTransport {
            port: 3863,
            transport_use: TransportUse::DataOnly,
            addresses: address.into(),
        }),
        extensions: ElementExtensions::default(),
    }
}

/// The pool.
pub(super) const POOL: &[u8] = b"plan";

pub(super) fn pool() -> PoolHandle {
    PoolHandle::new(POOL).expect("1 to 255 bytes")
}

pub(super) fn id_of(server: usize) -> PeId {
    PeId(server as u32 + 1)
}

pub(super) fn address_of(server: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + server as u32))
}

pub(super) fn moment(seconds: f64) -> Instant {
    Instant::from_micros(1 + (seconds * 1e6) as u64)
}
