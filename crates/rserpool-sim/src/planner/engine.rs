//! One run of a scenario: events in the order of their times.

use super::registrar::Registrar;
use super::siege::{Besieged, Named};
use super::{
    Chooser, Failures, Figures, Harm, InvalidScenario, MOST_WAITING, Scenario, Siege, Sizes,
};
use crate::rng::Random;
use rserpool_proto::id::PeId;
use rserpool_proto::policy::{PolicyKind, PolicyTable};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Plays a scenario; the same seed gives the same figures.
///
/// # Errors
/// [`InvalidScenario`]; also if more than [`MOST_WAITING`] requests come to wait.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Figures, InvalidScenario> {
    scenario.check()?;
    let choice = match scenario.chooser {
        Chooser::Policy(name) => {
            let kind = *PolicyTable::builtin().by_name(name).ok_or_else(|| InvalidScenario {
                field: "chooser",
                why: format!("there is no policy {name}"),
            })?;
            registrar(kind, scenario, seed)
        }
        Chooser::Own(own) => registrar(own.0, scenario, seed),
        Chooser::Proxies(proxies) => Choice::Proxies {
            under_way: vec![vec![0; scenario.servers.len()]; proxies],
            up: vec![true; scenario.servers.len()],
        },
    };
    let end = scenario.warm_up + scenario.measured;
    let mut engine = Engine {
        scenario,
        now: 0.0,
        end,
        events: BinaryHeap::new(),
        count: 0,
        random: Random::new(seed, &[1]),
        choice,
        servers: vec![Server::default(); scenario.servers.len()],
        users: vec![User::default(); scenario.users],
        waiting: 0,
        sums: Sums::default(),
    };
    engine.start();
    while let Some(Reverse((Moment(at), _, event))) = engine.events.pop() {
        if at > end {
            break;
        }
        engine.now = at;
        engine.on(event);
        if engine.waiting > MOST_WAITING {
            let why =
                format!("{MOST_WAITING} requests wait: the servers cannot do what is asked for");
            return Err(InvalidScenario { field: "interval", why });
        }
    }
    Ok(engine.figures())
}

fn registrar(kind: PolicyKind, scenario: &Scenario, seed: u64) -> Choice {
    match scenario.siege {
        Some(siege) => Choice::Besieged(Box::new(Besieged::new(kind, scenario, siege, seed))),
        None => Choice::Registrar(Box::new(Registrar::new(kind, scenario, seed))),
    }
}

/// A time that is ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A user has another request.
    Request {
        user: usize,
    },
    /// It asks who serves it.
    Ask {
        user: usize,
    },
    /// A registrar answers now.
    Choose {
        user: usize,
    },
    /// A request comes to a server that the user was told of.
    Arrive {
        user: usize,
        server: usize,
    },
    /// The request that a server finishes first, unless something has changed since.
    Finish {
        server: usize,
        change: u64,
    },
    /// A report of a server comes to the registrar.
    Report {
        server: usize,
        requests: usize,
    },
    /// It fails, by itself or in an outage, and is back from that later.
    Fail {
        server: usize,
        cause: Cause,
    },
    /// The registrar knows of it.
    Noticed {
        server: usize,
        change: u64,
    },
    /// A user knows that its request is lost.
    Lost {
        user: usize,
        server: usize,
    },
    Repair {
        server: usize,
        cause: Cause,
    },
    /// A server registers once more, whether anything has changed or not.
    Renew {
        server: usize,
    },
    /// A user knows that nobody answers where it was sent.
    Unanswered {
        user: usize,
        element: PeId,
    },
    /// Something is done that is meant to harm.
    Attack,
}

/// Why a server is down; it may be both at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// [`Failures`]: it will fail again.
    Itself,
    Outage,
}

#[derive(Clone, Debug, Default)]
struct User {
    /// When each request was queued, and its size; the first is under way.
    queue: VecDeque<(f64, f64)>,
}

#[derive(Clone, Debug, Default)]
struct Server {
    /// Whether it has failed by itself, and in how many outages it is.
    failed: bool,
    outages: u32,
    /// Changes whenever its requests do.
    change: u64,
    /// What each of its requests has been given since it began to exist.
    given: f64,
    /// When that was true.
    since: f64,
    /// Its requests, by what they will have been given when they are done.
    requests: BinaryHeap<Reverse<(Moment, usize)>>,
    /// Calculations while it is measured.
    calculated: f64,
}

impl Server {
    fn is_down(&self) -> bool {
        self.failed || self.outages > 0
    }
}

#[derive(Default)]
struct Sums {
    sizes: f64,
    times: f64,
    completed: u64,
    retried: u64,
    /// Requests by how long they took: a twentieth more from one place to the next.
    lengths: Vec<u64>,
}

/// The shortest time that is told from zero, in seconds.
const SHORTEST: f64 = 1e-6;

impl Sums {
    fn add(&mut self, size: f64, time: f64) {
        self.sizes += size;
        self.times += time;
        self.completed += 1;
        let place = ((time.max(SHORTEST) / SHORTEST).ln() / 1.05_f64.ln()) as usize;
        if place >= self.lengths.len() {
            self.lengths.resize(place + 1, 0);
        }
        self.lengths[place] += 1;
    }

    /// The time that one of a hundred takes longer than.
    fn slowest(&self) -> f64 {
        let mut left = self.completed - self.completed / 100;
        let place = self.lengths.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        place.map_or(0.0, |place| SHORTEST * 1.05_f64.powi(place as i32 + 1))
    }
}

enum Choice {
    Registrar(Box<Registrar>),
    Besieged(Box<Besieged>),
    Proxies { under_way: Vec<Vec<u32>>, up: Vec<bool> },
}

struct Engine<'a> {
    scenario: &'a Scenario,
    now: f64,
    end: f64,
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    /// Events so far: those of one time come in the order in which they were made.
    count: u64,
    random: Random,
    choice: Choice,
    servers: Vec<Server>,
    users: Vec<User>,
    /// Requests of all users, those under way as well.
    waiting: usize,
    sums: Sums,
}

impl Engine<'_> {
    fn start(&mut self) {
        for user in 0..self.users.len() {
            let first = self.exponential(self.scenario.interval);
            self.at(first, Event::Request { user });
        }
        if let Some(Failures { mtbf, .. }) = self.scenario.failures {
            for server in 0..self.servers.len() {
                let first = self.exponential(mtbf);
                self.at(first, Event::Fail { server, cause: Cause::Itself });
            }
        }
        if let (Choice::Besieged(besieged), Some(Siege { every, .. })) =
            (&self.choice, self.scenario.siege)
        {
            // Chance of its own, so that with and without an attack the same is asked for.
            let (mut random, renewed) = (self.random.clone(), besieged.renewed_every());
            for server in 0..self.servers.len() {
                self.at(renewed * random.unit(), Event::Renew { server });
            }
            if every.is_finite() {
                self.at(every * random.unit(), Event::Attack);
            }
        }
        for outage in &self.scenario.outages {
            for server in self.servers.len() - outage.servers..self.servers.len() {
                let at = self.scenario.warm_up + outage.at;
                let cause = Cause::Outage;
                self.at(at, Event::Fail { server, cause });
                self.at(at + outage.lasts, Event::Repair { server, cause });
            }
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Request { user } => {
                let next = self.exponential(self.scenario.interval);
                self.after(next, Event::Request { user });
                let size = self.size();
                self.users[user].queue.push_back((self.now, size));
                self.waiting += 1;
                if self.users[user].queue.len() == 1 {
                    self.on(Event::Ask { user });
                }
            }
            Event::Ask { user } => self.hop(Event::Choose { user }),
            Event::Choose { user } => match self.choose(user) {
                // The answer, and the request to whom it names.
                Some(Named::Server(server)) => self.hops(2, Event::Arrive { user, server }),
                Some(Named::Nobody(element)) => {
                    let known = 2.0 * self.scenario.delay + self.scenario.noticed;
                    self.after(known, Event::Unanswered { user, element });
                }
                None => self.retry(user),
            },
            Event::Arrive { user, server } => self.on_arrival(user, server),
            Event::Finish { server, change } if self.servers[server].change == change => {
                self.on_finish(server);
            }
            Event::Report { server, requests } => {
                let (now, down) = (self.now, self.servers[server].is_down());
                // What a server said before it failed may come late.
                match &mut self.choice {
                    Choice::Registrar(registrar) if !down => {
                        registrar.register(now, server, requests);
                    }
                    Choice::Besieged(besieged) if !down => {
                        besieged.register(now, server, requests);
                    }
                    _ => {}
                }
            }
            Event::Fail { server, cause } => self.on_failure(server, cause),
            Event::Noticed { server, change } => {
                if self.servers[server].change == change {
                    match &mut self.choice {
                        Choice::Registrar(registrar) => registrar.remove(self.now, server),
                        Choice::Besieged(besieged) => besieged.remove(self.now, server),
                        Choice::Proxies { up, .. } => up[server] = false,
                    }
                }
            }
            Event::Lost { user, server } => {
                self.over(user, server);
                self.count_retry();
                self.on(Event::Ask { user });
            }
            Event::Repair { server, cause } => self.on_repair(server, cause),
            Event::Renew { server } => {
                if let Choice::Besieged(besieged) = &self.choice {
                    let next = besieged.renewed_every();
                    self.after(next, Event::Renew { server });
                    let requests = self.servers[server].requests.len();
                    self.hop(Event::Report { server, requests });
                }
            }
            Event::Unanswered { user, element } => {
                if let Choice::Besieged(besieged) = &mut self.choice {
                    besieged.report(self.now, user, element);
                }
                self.count_retry();
                self.on(Event::Ask { user });
            }
            Event::Attack => {
                if let (Choice::Besieged(besieged), Some(siege)) =
                    (&mut self.choice, self.scenario.siege)
                {
                    besieged.attack(self.now);
                    self.after(siege.every, Event::Attack);
                }
            }
            Event::Finish { .. } => {}
        }
    }

    fn on_arrival(&mut self, user: usize, server: usize) {
        let Some(&(_, size)) = self.users[user].queue.front() else { return };
        self.advance(server);
        let entry = &mut self.servers[server];
        if entry.is_down() {
            self.after(self.scenario.noticed, Event::Lost { user, server });
            return;
        }
        if entry.requests.len() >= self.scenario.servers[server].requests {
            self.over(user, server);
            self.retry(user);
            return;
        }
        let done = entry.given + size;
        entry.requests.push(Reverse((Moment(done), user)));
        self.changed(server);
    }

    fn on_finish(&mut self, server: usize) {
        self.advance(server);
        let Some(Reverse((_, user))) = self.servers[server].requests.pop() else { return };
        self.changed(server);
        self.over(user, server);
        let Some((queued, size)) = self.users[user].queue.pop_front() else { return };
        self.waiting -= 1;
        let done = self.now + self.scenario.delay;
        if self.now >= self.scenario.warm_up {
            self.sums.add(size, done - queued);
        }
        if !self.users[user].queue.is_empty() {
            self.hop(Event::Ask { user });
        }
    }

    fn on_failure(&mut self, server: usize, cause: Cause) {
        self.advance(server);
        let entry = &mut self.servers[server];
        let was_down = entry.is_down();
        match cause {
            Cause::Itself => entry.failed = true,
            Cause::Outage => entry.outages += 1,
        }
        if !was_down {
            entry.change += 1;
            let (change, noticed) = (entry.change, self.scenario.noticed);
            let requests = std::mem::take(&mut self.servers[server].requests);
            self.after(noticed, Event::Noticed { server, change });
            for Reverse((_, user)) in requests.into_sorted_vec() {
                self.after(noticed, Event::Lost { user, server });
            }
        }
        if cause == Cause::Itself
            && let Some(Failures { mttr, .. }) = self.scenario.failures
        {
            let back = self.exponential(mttr);
            self.after(back, Event::Repair { server, cause });
        }
    }

    fn on_repair(&mut self, server: usize, cause: Cause) {
        self.advance(server);
        let entry = &mut self.servers[server];
        match cause {
            Cause::Itself => entry.failed = false,
            Cause::Outage => entry.outages -= 1,
        }
        if !entry.is_down() {
            entry.change += 1;
            if let Choice::Proxies { up, .. } = &mut self.choice {
                up[server] = true;
            }
            self.hop(Event::Report { server, requests: 0 });
        }
        if cause == Cause::Itself
            && let Some(Failures { mtbf, .. }) = self.scenario.failures
        {
            let next = self.exponential(mtbf);
            self.after(next, Event::Fail { server, cause });
        }
    }

    fn choose(&mut self, user: usize) -> Option<Named> {
        match &mut self.choice {
            Choice::Registrar(registrar) => registrar.choose(self.now).map(Named::Server),
            Choice::Besieged(besieged) => besieged.choose(self.now, user),
            Choice::Proxies { under_way, up } => {
                let count = up.iter().filter(|up| **up).count() as u64;
                if count == 0 {
                    return None;
                }
                let mut draw = || {
                    let number = self.random.below(count) as usize;
                    up.iter()
                        .enumerate()
                        .filter(|(_, up)| **up)
                        .nth(number)
                        .map(|(server, _)| server)
                };
                let (one, other) = (draw()?, draw()?);
                let proxy = user % under_way.len();
                let under_way = &mut under_way[proxy];
                let server = if under_way[other] < under_way[one] { other } else { one };
                under_way[server] += 1;
                Some(Named::Server(server))
            }
        }
    }

    /// A request is no longer under way to a server.
    fn over(&mut self, user: usize, server: usize) {
        if let Choice::Proxies { under_way, .. } = &mut self.choice {
            let proxy = user % under_way.len();
            let count = &mut under_way[proxy][server];
            *count = count.saturating_sub(1);
        }
    }

    fn retry(&mut self, user: usize) {
        self.count_retry();
        let pause = self.scenario.retry * self.random.unit();
        // Nothing is asked twice at one time.
        self.after(pause.max(1e-6), Event::Ask { user });
    }

    fn count_retry(&mut self) {
        self.sums.retried += u64::from(self.now >= self.scenario.warm_up);
    }

    /// A server's requests have changed: what it finishes next, and what it reports.
    fn changed(&mut self, server: usize) {
        let entry = &mut self.servers[server];
        entry.change += 1;
        if let Some(Reverse((Moment(done), _))) = entry.requests.peek() {
            let share = self.scenario.servers[server].capacity / entry.requests.len() as f64;
            let (left, change) = ((done - entry.given).max(0.0), entry.change);
            self.after(left / share, Event::Finish { server, change });
        }
        self.report(server);
    }

    fn report(&mut self, server: usize) {
        let wants_load = match &self.choice {
            Choice::Registrar(registrar) => registrar.wants_load(),
            Choice::Besieged(besieged) => besieged.wants_load(),
            Choice::Proxies { .. } => false,
        };
        if wants_load {
            let requests = self.servers[server].requests.len();
            self.hop(Event::Report { server, requests });
        }
    }

    /// Gives a server's requests what is theirs up to now.
    fn advance(&mut self, server: usize) {
        let capacity = self.scenario.servers[server].capacity;
        let entry = &mut self.servers[server];
        if !entry.requests.is_empty() {
            entry.given += (self.now - entry.since) * capacity / entry.requests.len() as f64;
            let from = entry.since.max(self.scenario.warm_up);
            let until = self.now.min(self.end);
            entry.calculated += (until - from).max(0.0) * capacity;
        }
        entry.since = self.now;
    }

    fn at(&mut self, at: f64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((Moment(at), self.count, event)));
    }

    fn after(&mut self, time: f64, event: Event) {
        self.at(self.now + time, event);
    }

    fn hop(&mut self, event: Event) {
        self.hops(1, event);
    }

    /// Something that goes from one host to another; without a delay it is there already.
    fn hops(&mut self, hops: u32, event: Event) {
        match self.scenario.delay {
            0.0 => self.on(event),
            delay => self.after(delay * f64::from(hops), event),
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.random.unit()).ln() * mean
    }

    fn size(&mut self) -> f64 {
        let mean = self.scenario.size;
        let size = match self.scenario.sizes {
            Sizes::Exponential => self.exponential(mean),
            Sizes::Constant => mean,
            Sizes::Uniform => 2.0 * mean * self.random.unit(),
        };
        size.max(1.0)
    }

    fn figures(mut self) -> Figures {
        self.now = self.end;
        for server in 0..self.servers.len() {
            self.advance(server);
        }
        let (scenario, count) = (self.scenario, self.servers.len() as f64);
        let used = self.servers.iter().zip(&scenario.servers);
        let used: f64 = used
            .map(|(server, given)| server.calculated / (given.capacity * scenario.measured))
            .sum();
        let capacity: f64 = scenario.servers.iter().map(|server| server.capacity).sum();
        let slowest = self.sums.slowest();
        let harm = match &self.choice {
            Choice::Besieged(besieged) => besieged.harm(),
            _ => Harm::default(),
        };
        let Sums { sizes, times, completed, retried, .. } = self.sums;
        let of_all = |sum: f64, all: f64| if all > 0.0 { sum / all } else { 0.0 };
        Figures {
            utilisation: used / count,
            speed: of_all(sizes, times * capacity / count),
            completed,
            retried,
            response: of_all(times, completed as f64),
            slowest,
            harm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outage;
    use super::*;

    fn scenario() -> Scenario {
        let mut scenario = Scenario::published(Chooser::Policy("least-used"), 2, 1.0);
        (scenario.warm_up, scenario.measured) = (10.0, 1000.0);
        scenario
    }

    #[test]
    fn an_outage_lasts_as_long_as_it_does_however_often_its_servers_fail_by_themselves() {
        let mut scenario = scenario();
        scenario.failures = Some(Failures { mtbf: 5.0, mttr: 0.1 });
        scenario.outages = vec![Outage { at: 100.0, servers: 10, lasts: 900.0 }];
        let used = run(&scenario, 1).unwrap().utilisation;
        assert!(used < 0.1, "{used} of a time of which nine tenths were an outage");
    }

    #[test]
    fn servers_fail_as_often_after_an_outage_as_before_it() {
        let mut scenario = scenario();
        scenario.failures = Some(Failures { mtbf: 20.0, mttr: 0.1 });
        let before = run(&scenario, 1).unwrap();
        scenario.outages = vec![Outage { at: 0.0, servers: 10, lasts: 0.1 }; 20];
        let after = run(&scenario, 1).unwrap();
        let (before, after) = (before.retried as f64, after.retried as f64);
        assert!((before - after).abs() < 0.2 * before, "{before} {after}");
    }
}
