//! What registrars say when one of them dies, counted in virtual time: no congestion may follow.
//!
//! ```text
//!   registrars, elements --rest--> steady --death--> storm of registrations --> steady again
//!                                    '- before       '- peak                     '- after
//! ```

use crate::clock::Clock;
use crate::net::{NodeId, Quality};
use crate::node::{Owner, Power, Setup};
use crate::world::{Violation, World, address, locator_at};
use rserpool_proto::endpoint::pool_element::PoolElementConfig;
use rserpool_proto::id::{PoolHandle, ServerId};
use rserpool_proto::machine::TransportKind;
use rserpool_proto::registrar::{Registrar, RegistrarConfig};
use rserpool_proto::timers::{ElementTimers, RegistrarTimers};
use rserpool_proto::wire::transport::Transport;
use rserpool_proto::wire::{PORT_ASAP, PORT_ENRP};
use std::net::SocketAddr;

/// A scope that loses a registrar.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Registrars before the death.
    pub registrars: usize,
    /// Elements, each on a host of its own.
    pub elements: usize,
    /// How all of them speak.
    pub transport: TransportKind,
    /// Of all registrars.
    pub timers: RegistrarTimers,
    /// Of all elements.
    pub element_timers: ElementTimers,
    /// The host dies, so that no connection is closed; otherwise the process does.
    pub silent: bool,
}

/// Messages a second, sent and received, of a survivor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survivor {
    /// Mean of the last seconds before the death.
    pub before: f64,
    /// Mean of the last seconds that were looked at.
    pub after: f64,
    /// Those of the busiest second.
    pub peak: f64,
    /// Seconds after the death from which on no second is busier than `after` by [`STEADY`].
    pub steady_again: f64,
    /// Registrations accepted in the second with most of them.
    pub registrations: f64,
    /// Elements it knows in the end.
    pub elements: usize,
}

/// What counts as steady: so much above the mean.
pub const STEADY: f64 = 1.15;

/// Between two looks, in microseconds.
const LOOK: u64 = 100_000;
/// Looks of a second.
const SECOND: usize = 10;
/// Looks before and after the death.
const BEFORE: usize = 3 * SECOND;
const AFTER: usize = 14 * SECOND;
/// Looks at the end that give the mean of a steady scope.
const LAST: usize = 3 * SECOND;
/// Elements are started one after the other, so many microseconds apart.
const APART: u64 = 1_000;
/// Until all registrars have met, and until the last element has come to rest.
const REST: u64 = 3_000_000;

impl Storm {
    /// Lets the first registrar die; what the others say.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn play(&self, seed: u64) -> Result<Vec<Survivor>, Violation> {
        let mut world = World::new(seed, Quality { latency: 500, ..Quality::LOCAL }, 0);
        let registrars: Vec<NodeId> = (0..self.registrars).collect();
        for &node in &registrars {
            let others = registrars.iter().filter(|other| **other != node);
            let config = RegistrarConfig {
                id: ServerId(node as u32 + 1),
                timers: self.timers.clone(),
                peers: others.map(|other| locator_at(*other, self.transport, PORT_ENRP)).collect(),
                enrp_port: PORT_ENRP,
                ..RegistrarConfig::default()
            };
            self.start(&mut world, Setup::Registrar(config));
        }
        // Of those that start together all but one hear of it by its next presence.
        let heartbeat = u64::try_from(self.timers.peer_heartbeat.as_micros()).unwrap_or(u64::MAX);
        world.run_until(REST.max(2 * heartbeat))?;
        let handle = PoolHandle::new("storm").unwrap_or_else(|_| unreachable!("it is short"));
        for _ in 0..self.elements {
            let user = Transport::Tcp(SocketAddr::new(address(world.nodes.len(), 0), 80));
            let places = registrars.iter().map(|node| locator_at(*node, self.transport, PORT_ASAP));
            let mut config = PoolElementConfig::new(handle.clone(), user, places.collect());
            config.timers = self.element_timers.clone();
            self.start(&mut world, Setup::Element(config));
            world.run_until(world.now + APART)?;
        }
        world.run_until(world.now + REST)?;

        let survivors = &registrars[1..];
        let mut counts: Vec<Vec<u64>> = vec![Vec::new(); survivors.len()];
        let mut registered = counts.clone();
        for look in 0..BEFORE + AFTER {
            if look == BEFORE {
                world.crash(0, if self.silent { Power::HostDown } else { Power::ProcessDown });
                world.probe_later();
            }
            for (index, node) in survivors.iter().enumerate() {
                counts[index].push(world.nodes[*node].messages);
                registered[index].push(
                    machine(&world, *node)
                        .map_or(0, |registrar| registrar.counters().registrations),
                );
            }
            world.run_until(world.now + LOOK)?;
        }
        let survivor = |(index, node): (usize, &NodeId)| {
            let known =
                machine(&world, *node).map_or(0, |known| known.handlespace().element_count());
            survivor(&counts[index], &registered[index], known)
        };
        Ok(survivors.iter().enumerate().map(survivor).collect())
    }

    fn start(&self, world: &mut World, setup: Setup) {
        let owner = Owner { member: true, healthy: true, ..Owner::default() };
        let name = format!("n{}", world.nodes.len());
        let node = world.add(name, setup, self.transport, Clock::new(0, 0), owner);
        world.start(node);
    }
}

fn machine(world: &World, node: NodeId) -> Option<&Registrar> {
    match &world.nodes[node].machine {
        crate::node::Machine::Registrar(machine) => Some(machine),
        _ => None,
    }
}

fn survivor(counts: &[u64], registered: &[u64], elements: usize) -> Survivor {
    // Of the second that ends with each look.
    let rates = |counts: &[u64]| -> Vec<f64> {
        counts.windows(SECOND + 1).map(|window| (window[SECOND] - window[0]) as f64).collect()
    };
    let highest = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let registrations = highest(&rates(registered));
    let rates = rates(counts);
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    let (calm, rest) = rates.split_at(BEFORE - SECOND);
    let after = mean(&rest[rest.len() - LAST..]);
    let busy = rest.iter().rposition(|rate| *rate > after * STEADY);
    Survivor {
        before: mean(calm),
        after,
        peak: highest(rest),
        registrations,
        steady_again: busy.map_or(0.0, |look| (look + 1) as f64 / SECOND as f64),
        elements,
    }
}
