//! I2: an element that lives, renews and can reach some registrar is not out of its pool for long.

use super::Model;
use super::replication::FOUND;
use crate::conn::end_of;
use crate::net::NodeId;
use crate::node::{Machine, Power, Role, Setup};
use crate::world::{Violation, World};
use rserpool_proto::endpoint::pool_element::{Health, State};
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::machine::TransportKind;
use rserpool_proto::timers::{ElementTimers, RegistrarTimers};

/// Since when who works, and who reaches whom.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    roles: Vec<Role>,
    works: Vec<Option<u64>>,
    /// By element and registrar.
    reaches: Vec<Vec<Option<u64>>>,
    /// Since when an element has been out of its pool.
    absent: Vec<Option<u64>>,
}

impl Reach {
    pub(super) fn add(&mut self, role: Role) {
        self.roles.push(role);
        self.works.push(None);
        self.absent.push(None);
        self.reaches.iter_mut().for_each(|row| row.push(None));
        self.reaches.push(vec![None; self.roles.len()]);
    }

    pub(super) fn working_since(&self, node: NodeId) -> Option<u64> {
        self.works.get(node).copied().flatten()
    }
}

/// Time that transports may need to find that the other end is gone although the link is whole: they
/// ask after [`crate::conn::TRANSPORT_KEEPALIVE`].
const TRANSPORT_NOTICES: u64 = crate::conn::TRANSPORT_KEEPALIVE + 1_000_000;

/// B1 for an element, in microseconds: the time after which it must be in its pool, if it works and
/// one of `registrars` registrars does.
///
/// The design's T5 + T2, made explicit: the loss of the home shows (a missing keep-alive, a renewal,
/// or the transport's own keep-alive), T5 may have grown to RETRAN-MAX, a round tries three
/// registrars, and each of them may accept and not answer for T2.
pub(crate) fn b1(timers: &ElementTimers, of_registrar: &RegistrarTimers, registrars: usize) -> u64 {
    let micros = |duration: std::time::Duration| duration.as_micros() as u64;
    let renewal = micros(timers.t4_reregistration());
    let notices = match of_registrar.keep_alive_interval {
        Some(_) => renewal,
        None => renewal.min(TRANSPORT_NOTICES),
    };
    let rounds = registrars.div_ceil(3) as u64;
    let hunts = rounds * micros(timers.retran_max);
    let answers = registrars as u64 * micros(timers.t2_registration);
    notices + hunts + answers + micros(of_registrar.max_latency)
}

impl World {
    /// A node was not itself for a moment.
    pub(crate) fn oracle_upset(&mut self, node: NodeId) {
        self.oracle.disturbed = self.now;
        self.oracle.reach.works[node] = None;
        self.oracle.reach.reaches[node].fill(None);
        self.oracle.reach.reaches.iter_mut().for_each(|row| row[node] = None);
    }

    /// Something has broken or been mended: who reaches whom is looked at anew.
    pub(crate) fn oracle_disturbed(&mut self) {
        let now = self.now;
        self.oracle.disturbed = now;
        for id in 0..self.nodes.len() {
            let works = self.works(id);
            let since = &mut self.oracle.reach.works[id];
            *since = if works { since.or(Some(now)) } else { None };
        }
        for element in 0..self.nodes.len() {
            if self.oracle.reach.roles[element] != Role::Element {
                continue;
            }
            for registrar in 0..self.nodes.len() {
                if self.oracle.reach.roles[registrar] != Role::Registrar {
                    continue;
                }
                let reaches = self.reaches(element, registrar);
                let since = &mut self.oracle.reach.reaches[element][registrar];
                *since = if reaches { since.or(Some(now)) } else { None };
            }
        }
    }

    /// Whether two nodes work and nothing is wrong between them.
    fn reaches(&self, element: NodeId, registrar: NodeId) -> bool {
        // Whoever hears of both goes to either, and over TCP there is one path.
        let kind = match self.oracle.announced {
            true => TransportKind::Tcp,
            false => self.nodes[element].transport,
        };
        let good = |quality: crate::net::Quality| {
            quality.loss == 0 && quality.rate == 0 && quality.latency + quality.jitter <= GOOD
        };
        let listed = match &self.nodes[element].setup {
            Setup::Element(config) => {
                let locator = self.locator(registrar, rserpool_proto::machine::Channel::Asap);
                config
                    .registrars
                    .iter()
                    .any(|known| known.port == locator.port && known.primary() == locator.primary())
            }
            _ => false,
        };
        // As long as multicast reaches some only, one cannot count on it.
        let is_heard = self.oracle.announced && self.oracle.healed.is_some();
        (listed || is_heard)
            && self.works(element)
            && self.works(registrar)
            && self.net.is_up(element, registrar, kind)
            && self.net.is_up(registrar, element, kind)
            && good(self.net.quality(element, registrar))
            && good(self.net.quality(registrar, element))
    }

    /// An element was removed because it did not answer, or was not renewed: was that right?
    pub(super) fn check_removal(
        &mut self,
        registrar: NodeId,
        handle: &PoolHandle,
        id: PeId,
        silent: bool,
    ) {
        let Some(Model::Registrar(model)) = self.oracle.models.get(registrar) else { return };
        let Some(entry) = model.elements.get(&(handle.clone(), id)) else { return };
        let Some(holder) = entry.holder else { return };
        let Some(element) = self.open_peer(holder) else { return };
        let Machine::Element(machine) = &self.nodes[element].machine else { return };
        let Setup::Element(config) = &self.nodes[element].setup else { return };
        let Setup::Registrar(setup) = &self.nodes[registrar].setup else { return };
        let timeout = match silent {
            true => setup.timers.keep_alive_timeout,
            false => config.timers.registration_life,
        };
        let timeout = timeout.as_micros() as u64;
        let answers = (config.health == Health::Assumed || !silent)
            && machine.id() == id
            && machine.state() == State::Registered
            // One that has gone elsewhere does not answer for where it was.
            && self.is_at(registrar, machine);
        let since = self.oracle.reach.reaches[element].get(registrar).copied().flatten();
        let whole = since.is_some_and(|since| self.now.saturating_sub(since) > 3 * timeout);
        // What was held up on a bad link may still be on its way when the link is good again.
        let (conn, _) = end_of(holder);
        let in_time = self.conns[conn].ends.iter().all(|end| end.late_until + timeout < self.now);
        if answers && whole && in_time {
            let name = self.nodes[element].name.clone();
            let text = format!("removes {name}, which lives and answers");
            self.violate("I2", Some(registrar), text);
        }
    }

    /// Looks for elements that have been out of their pools for too long.
    pub(super) fn check_absences(&mut self) {
        let is_registrar = |role: &&Role| match role {
            Role::Registrar => true,
            // It accepts like one, and does not answer.
            Role::Hostile => self.oracle.announced,
            Role::Element | Role::User => false,
        };
        let registrars = self.oracle.reach.roles.iter().filter(is_registrar).count();
        for element in 0..self.nodes.len() {
            let Setup::Element(config) = &self.nodes[element].setup else { continue };
            let node = &self.nodes[element];
            let wanted = node.power == Power::On
                && node.owner.member
                && node.owner.healthy
                && node.owner.reacts
                && !node.owner.contender
                && !self.is_robbed(element);
            if !wanted || self.homes(element) > 0 {
                self.oracle.reach.absent[element] = None;
                continue;
            }
            let absent = *self.oracle.reach.absent[element].get_or_insert(self.now);
            let mut good = None::<(u64, u64)>;
            for registrar in 0..self.nodes.len() {
                let Some(since) = self.oracle.reach.reaches[element][registrar] else { continue };
                let Setup::Registrar(setup) = &self.nodes[registrar].setup else { continue };
                // After healing all registrars are good, and one round is enough.
                let poses =
                    self.oracle.announced && self.oracle.reach.roles.contains(&Role::Hostile);
                let count = if self.oracle.healed.is_some() && !poses { 1 } else { registrars };
                let found = if config.registrars.is_empty() { FOUND } else { 0 };
                let limit = b1(&config.timers, &setup.timers, count) + found;
                if good.is_none_or(|(known, _)| since < known) {
                    good = Some((since, limit));
                }
            }
            let Some((since, limit)) = good else { continue };
            let out = self.now.saturating_sub(since.max(absent));
            self.stats.longest_absence = self.stats.longest_absence.max(out);
            if out > limit {
                let seconds = out / 1_000_000;
                let state = match &self.nodes[element].machine {
                    Machine::Element(machine) => format!("{:?}", machine.state()),
                    _ => "not running".to_owned(),
                };
                let text = format!("is out of its pool for {seconds} s, {state}");
                self.violate("I2", Some(element), text);
            }
        }
    }

    /// At the end, when all has been whole and quiet for long enough: every element is where it
    /// should be, as it should be, and nowhere else.
    pub(crate) fn check_healed(&mut self) -> Result<(), Violation> {
        self.check_second();
        self.check_sent();
        self.check_watches(true);
        for registrar in 0..self.nodes.len() {
            let Some(Model::Registrar(model)) = self.oracle.models.get(registrar) else { continue };
            let wrong = model.elements.iter().find_map(|((handle, id), entry)| {
                let Some(peer) = entry.holder.and_then(|holder| self.open_peer(holder)) else {
                    return Some(format!("still knows {handle} {id}, which is gone"));
                };
                let (Machine::Element(machine), Setup::Element(config)) =
                    (&self.nodes[peer].machine, &self.nodes[peer].setup)
                else {
                    return None;
                };
                let owner = &self.nodes[peer].owner;
                if machine.id() != *id || !owner.member {
                    return Some(format!("still knows {handle} {id}, which has left"));
                }
                let old = entry.wire.policy != config.policy;
                old.then(|| format!("knows {handle} {id} with values of before"))
            });
            if let Some(text) = wrong {
                self.violate("I2", Some(registrar), text);
            }
        }
        for element in 0..self.nodes.len() {
            let Setup::Element(_) = &self.nodes[element].setup else { continue };
            let node = &self.nodes[element];
            let wanted = node.power == Power::On
                && node.owner.member
                && !node.owner.contender
                && !self.is_robbed(element);
            let homes = self.homes(element);
            if wanted && node.owner.reacts && homes != 1 {
                self.violate("I4", Some(element), format!("has {homes} homes at the end"));
            }
        }
        self.oracle.violation.take().map_or(Ok(()), Err)
    }

    /// Whether every element that runs has exactly one home.
    pub(crate) fn each_has_a_home(&self) -> Result<(), String> {
        let elements = (0..self.nodes.len()).filter(|node| {
            matches!(self.nodes[*node].setup, Setup::Element(_)) && self.works(*node)
        });
        for element in elements {
            let homes = self.homes(element);
            if homes != 1 {
                return Err(format!("{} has {homes} homes", self.nodes[element].name));
            }
        }
        Ok(())
    }

    /// In an open scope somebody hostile may take an element's name or the policy of its pool, and
    /// the element is refused then.
    fn is_robbed(&self, element: NodeId) -> bool {
        self.nodes[element].owner.refused
            && self.oracle.reach.roles.contains(&Role::Hostile)
            && !self.oracle.secured
    }

    /// In how many registrars an element is, held by an association of its own.
    fn homes(&self, element: NodeId) -> usize {
        let Machine::Element(machine) = &self.nodes[element].machine else { return 0 };
        let name = (machine.handle().clone(), machine.id());
        let models = self.oracle.models.iter();
        let entries = models.filter_map(|model| match model {
            Model::Registrar(model) => model.elements.get(&name),
            _ => None,
        });
        // Others may use its name.
        entries
            .filter(|entry| entry.holder.and_then(|holder| self.open_peer(holder)) == Some(element))
            .count()
    }
}

/// Latency of a good link, in microseconds: well below every keep-alive timeout.
pub(crate) const GOOD: u64 = 20_000;
