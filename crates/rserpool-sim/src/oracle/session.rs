//! I9: a session has at most one element that it uses, echoes the newest cookie first of all, and tells of
//! a failover before anything comes from the new element; no message is lost without a word, or arrives
//! twice.

use super::Verdict;
use crate::net::NodeId;
use crate::node::{Machine, Setup};
use crate::session::{COOKIE, REPLY, Said};
use crate::world::World;
use rserpool_proto::id::{PeId, PoolHandle};
use rserpool_proto::session::SessionTimers;
use rserpool_proto::session::user::{Delivery, Target, UserSessionConfig, Wanted};
use rserpool_proto::time::Duration;
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::asap::{Body, Message};
use std::collections::{BTreeMap, BTreeSet};

/// The models of all sessions there were.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    models: BTreeMap<u64, Model>,
    begun: u64,
    /// Associations whose element closes them for reasons of its own.
    excused: BTreeSet<usize>,
    /// By association: the cookie that was echoed on it.
    echoed: BTreeMap<usize, Box<[u8]>>,
    /// By user: since when its pool has had an element that can serve it.
    usable: BTreeMap<NodeId, u64>,
}

/// What is known of a user's session.
#[derive(Debug)]
struct Model {
    pool: PoolHandle,
    timers: SessionTimers,
    /// Asked for first.
    preferred: Vec<PeId>,
    /// Could not be had or used at some time.
    failed: BTreeSet<PeId>,
    /// Associations that are up.
    opened: BTreeSet<usize>,
    /// The one that comes up just now.
    arriving: Option<usize>,
    /// The one on which something was sent last.
    spoken: Option<usize>,
    /// The element that the owner knows of, and the association with it.
    element: Option<(PeId, usize)>,
    /// Elements the owner was told of so far.
    era: u32,
    /// The newest, as it came.
    cookie: Option<Box<[u8]>>,
    messages: BTreeMap<u64, Sent>,
    /// The last message that was handed over.
    handed: u64,
    /// The association of the last answer, and which message it was to.
    answered: (usize, u64),
    /// The owner leaves its element by itself.
    excused: bool,
    /// When it had its element.
    since: u64,
    /// When something came from the element last.
    heard: u64,
    /// Since when there is no element.
    lacking: Option<u64>,
    ended: bool,
}

/// A message of the user.
#[derive(Debug)]
struct Sent {
    delivery: Delivery,
    /// When it was sent, in elements.
    era: u32,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    /// To the transport, on this association, then.
    HandedOver(usize, u64),
    Arrived(usize),
    GivenBack,
}

/// Time in which what is under way on whole links arrives, in microseconds, though nobody may read for
/// a while.
const UNDER_WAY: u64 = 30_000_000;
/// Why there is a model.
const NUMBERED: &str = "sessions are numbered by `begin`";

fn no(text: impl Into<String>) -> Verdict {
    Err(("I9", text.into()))
}

impl Sessions {
    /// A user begins a session; its number.
    pub(crate) fn begin(&mut self, now: u64, config: &UserSessionConfig) -> u64 {
        self.begun += 1;
        let mut preferred = config.preferred.clone();
        if let Target::Element(handle) = &config.target {
            preferred.insert(0, handle.id);
        }
        let model = Model {
            pool: config.target.pool().clone(),
            timers: config.timers.clone(),
            preferred,
            failed: BTreeSet::new(),
            opened: BTreeSet::new(),
            arriving: None,
            spoken: None,
            element: None,
            era: 0,
            cookie: None,
            messages: BTreeMap::new(),
            handed: 0,
            answered: (0, 0),
            excused: false,
            since: now,
            heard: now,
            lacking: Some(now),
            ended: false,
        };
        self.models.insert(self.begun, model);
        self.begun
    }

    fn model(&mut self, session: u64) -> &mut Model {
        self.models.get_mut(&session).expect(NUMBERED)
    }

    /// The pool of a session.
    pub(crate) fn pool(&mut self, session: u64) -> PoolHandle {
        self.model(session).pool.clone()
    }

    /// The association it has.
    pub(crate) fn opened(&self, session: u64) -> Option<usize> {
        self.models.get(&session)?.opened.last().copied()
    }

    /// Its process is gone.
    pub(crate) fn gone(&mut self, session: u64) {
        self.model(session).ended = true;
    }

    /// The owner leaves its element.
    pub(crate) fn excuse_user(&mut self, session: u64) {
        self.model(session).excused = true;
    }

    /// An element sends its user away.
    pub(crate) fn excuse_element(&mut self, conn: usize) {
        self.excused.insert(conn);
    }

    pub(crate) fn connected(&mut self, session: u64, conn: usize) {
        let model = self.model(session);
        model.opened.insert(conn);
        model.arriving = Some(conn);
    }

    /// What the machine does about a new association is done.
    pub(crate) fn settled(&mut self, session: u64) {
        self.model(session).arriving = None;
    }

    pub(crate) fn closed(&mut self, session: u64, conn: usize) {
        self.model(session).opened.remove(&conn);
    }

    /// The association with the element that the owner knows of.
    pub(crate) fn partner(&self, session: u64) -> Option<usize> {
        self.models.get(&session)?.element.map(|(_, conn)| conn)
    }

    /// The owner takes again what comes: silence counts from here.
    pub(crate) fn reads_again(&mut self, now: u64, session: u64) {
        let model = self.model(session);
        model.heard = model.heard.max(now);
    }

    /// At most one element is used.
    pub(crate) fn is_with_one(&mut self, session: u64) -> Verdict {
        match self.model(session).opened.len() {
            0 | 1 => Ok(()),
            several => no(format!("session {session} has {several} associations")),
        }
    }

    pub(crate) fn wanted(&mut self, session: u64, wanted: &Wanted) -> Verdict {
        let model = self.model(session);
        let first = model.preferred.iter().find(|id| !model.failed.contains(id));
        let asked = wanted.id;
        let early = first.filter(|first| asked != Some(**first)).filter(|first| {
            // One that has failed before may be asked for again.
            let place = |id: PeId| model.preferred.iter().position(|known| *known == id);
            asked.and_then(place).is_none_or(|asked| place(**first) < Some(asked))
        });
        if let Some(first) = early {
            return no(format!("session {session} passes over {first}, whom its card prefers"));
        }
        if let Some(asked) = asked {
            if !model.preferred.contains(&asked) {
                return no(format!("session {session} wants {asked}, whom nobody prefers"));
            }
            // Whether it can be had is not known: it counts as tried.
            model.failed.insert(asked);
        }
        Ok(())
    }

    /// It is given an element, and may find that it cannot use it.
    pub(crate) fn picked(&mut self, session: u64, element: PeId) {
        self.model(session).failed.insert(element);
    }

    pub(crate) fn unreachable(
        &mut self,
        now: u64,
        whole: Option<u64>,
        session: u64,
        element: PeId,
    ) -> Verdict {
        let model = self.models.get_mut(&session).expect(NUMBERED);
        let was_up = model.lacking.is_none();
        if was_up && now - model.since > 2 * micros(model.timers.retry_max) {
            // One that has worked for a while ends the round in which others have failed.
            model.failed.clear();
        }
        model.failed.insert(element);
        model.lacking.get_or_insert(now);
        let own = std::mem::take(&mut model.excused);
        let conn = model.element.filter(|_| was_up && !own).map(|(_, conn)| conn);
        let settled = whole.is_some_and(|whole| now > whole + limit(&model.timers));
        match conn {
            Some(conn) if settled && !self.excused.contains(&conn) => {
                no(format!("session {session} leaves {element}, which lives and answers"))
            }
            _ => Ok(()),
        }
    }

    /// The session has an element, its first or another one.
    pub(crate) fn begun(
        &mut self,
        now: u64,
        session: u64,
        from: Option<PeId>,
        element: PeId,
        cookie_sent: bool,
        unsent: &[u64],
    ) -> Verdict {
        let model = self.model(session);
        if model.element.map(|(id, _)| id) != from {
            return no(format!("session {session} fails over from whom it has not"));
        }
        let Some(conn) = model.arriving else {
            return no(format!("session {session} tells of {element} too late"));
        };
        if cookie_sent != (from.is_some() && model.cookie.is_some()) {
            return no(format!("session {session} says wrongly whether a cookie was sent"));
        }
        if cookie_sent && model.spoken != Some(conn) {
            return no(format!("session {session} says that it sent a cookie, and did not"));
        }
        model.spoken = Some(conn);
        model.era += u32::from(from.is_some());
        model.element = Some((element, conn));
        model.lacking = None;
        (model.since, model.heard) = (now, now);
        let era = model.era;
        let bound = |sent: &Sent| sent.delivery == Delivery::NoFailover && sent.era < era;
        model.given_back(session, unsent, bound)
    }

    /// The user's machine sends something by the control channel.
    pub(crate) fn transmitted(&mut self, session: u64, conn: usize, bytes: &[u8]) -> Verdict {
        let model = self.models.get_mut(&session).expect(NUMBERED);
        if !model.opened.contains(&conn) {
            return no(format!("session {session} speaks to one that it has left"));
        }
        let first = model.spoken != Some(conn);
        model.spoken = Some(conn);
        let body = Message::decode(bytes).ok().map(|decoded| decoded.message.body);
        let echo = match body {
            Some(Body::CookieEcho(cookie)) => Some(cookie),
            _ => None,
        };
        if !first {
            return match echo {
                Some(_) => no(format!("session {session} echoes a cookie, and not first of all")),
                None => Ok(()),
            };
        }
        if echo != model.cookie {
            return no(format!("session {session} does not echo its newest cookie first of all"));
        }
        if let Some(cookie) = echo {
            self.echoed.insert(conn, cookie);
        }
        Ok(())
    }

    /// The owner has sent a message.
    pub(crate) fn sent(&mut self, session: u64, number: u64, delivery: Delivery) {
        let model = self.model(session);
        let sent = Sent { delivery, era: model.era, fate: Fate::Waits };
        model.messages.insert(number, sent);
    }

    /// A message is given to the transport.
    pub(crate) fn handed_over(
        &mut self,
        now: u64,
        session: u64,
        conn: usize,
        number: u64,
    ) -> Verdict {
        let model = self.model(session);
        if model.element.is_none_or(|(_, known)| known != conn) {
            return no(format!("session {session} sends to one whom it has not told of"));
        }
        let era = model.era;
        let Some(sent) = model.messages.get_mut(&number) else {
            return no(format!("session {session} sends what it was not given"));
        };
        if sent.fate != Fate::Waits || number <= model.handed {
            return no(format!("session {session} sends {number}, which was {:?}", sent.fate));
        }
        if sent.delivery == Delivery::NoFailover && sent.era < era {
            return no(format!("session {session} sends {number} to another element"));
        }
        sent.fate = Fate::HandedOver(conn, now);
        model.handed = number;
        Ok(())
    }

    /// A message has come to an element.
    pub(crate) fn arrived(&mut self, session: u64, number: u64, conn: usize) -> Verdict {
        let Some(sent) =
            self.models.get_mut(&session).and_then(|model| model.messages.get_mut(&number))
        else {
            return no(format!("gets message {number} of session {session}, which nobody sent"));
        };
        match sent.fate {
            Fate::HandedOver(to, _) if to == conn => {
                sent.fate = Fate::Arrived(conn);
                Ok(())
            }
            fate => no(format!("gets message {number} of session {session}, which was {fate:?}")),
        }
    }

    /// A session begins at an element.
    pub(crate) fn resumed(&mut self, conn: usize, cookie: Option<&[u8]>, again: bool) -> Verdict {
        if again {
            return no("begins a session twice");
        }
        match cookie {
            // It may come too late, which is told.
            None => Ok(()),
            Some(cookie) if self.echoed.get(&conn).is_some_and(|echoed| **echoed == *cookie) => {
                Ok(())
            }
            Some(_) => no("resumes a session with a cookie that was not echoed"),
        }
    }

    /// Something comes to the user on an association.
    pub(crate) fn received(
        &mut self,
        now: u64,
        session: u64,
        conn: usize,
        ppid: u32,
        bytes: &[u8],
    ) -> Verdict {
        let model = self.model(session);
        if !model.opened.contains(&conn) {
            return Ok(());
        }
        model.heard = now;
        if ppid != PPID_ASAP {
            return Ok(());
        }
        match Message::decode(bytes).map(|decoded| decoded.message.body) {
            Ok(Body::Cookie(cookie)) => {
                let said = Said::read(&cookie).filter(|said| said.kind == COOKIE);
                model.cookie = Some(cookie);
                // RFC 5352 §3.8, and in order with the data, which ours adds.
                let stands_for = said.map_or(u64::MAX, |said| said.number);
                if stands_for > model.answered.1 {
                    return no(format!(
                        "session {session} gets a cookie before what it stands for"
                    ));
                }
            }
            Ok(Body::BusinessCard { handle, elements }) if handle == model.pool => {
                model.preferred = elements.iter().map(|element| element.id).collect();
            }
            _ => {}
        }
        Ok(())
    }

    /// The owner is told a message of its element.
    pub(crate) fn told(&mut self, session: u64, said: Option<Said>) -> Verdict {
        let model = self.model(session);
        let Some(said) = said.filter(|said| said.kind == REPLY && said.session == session) else {
            return no(format!("session {session} tells what was not said in it"));
        };
        if model.element.is_none_or(|(_, conn)| conn != said.conn) {
            return no(format!("session {session} tells data of an element it has not told of"));
        }
        let known = model.messages.get(&said.number).map(|sent| sent.fate);
        if known != Some(Fate::Arrived(said.conn)) {
            return no(format!("session {session}: {} is answered, and {known:?}", said.number));
        }
        if said.number <= model.answered.1 {
            return no(format!("session {session}: {} is answered too late", said.number));
        }
        model.answered = (said.conn, said.number);
        Ok(())
    }

    /// A session is over: all that was not handed over has come back.
    pub(crate) fn ended(&mut self, session: u64, unsent: &[u64]) -> Verdict {
        let model = self.model(session);
        model.ended = true;
        model.given_back(session, unsent, |_| true)
    }
}

impl Model {
    /// Messages come back: all that wait of a kind, in order.
    fn given_back(
        &mut self,
        session: u64,
        numbers: &[u64],
        which: impl Fn(&Sent) -> bool,
    ) -> Verdict {
        let waiting = self.messages.iter_mut().filter(|(_, sent)| sent.fate == Fate::Waits);
        let due: Vec<u64> = waiting
            .filter(|(_, sent)| which(sent))
            .map(|(number, sent)| {
                sent.fate = Fate::GivenBack;
                *number
            })
            .collect();
        if due != numbers {
            return no(format!("session {session} gives {numbers:?} back, and should {due:?}"));
        }
        Ok(())
    }
}

/// Time after which a silent element is left at the latest, in microseconds.
fn limit(timers: &SessionTimers) -> u64 {
    micros((timers.heartbeat + timers.heartbeat_timeout) * 4) + 2_000_000
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

impl World {
    /// Once a second: no session stays with a silent element, and after healing none is without one for
    /// long if its pool has one that can serve.
    pub(super) fn check_sessions(&mut self) {
        for id in 0..self.nodes.len() {
            let Some(held) = &self.nodes[id].sessions.held else { continue };
            let (session, reading) = (held.number(), held.is_reading());
            let has_heartbeats =
                held.machine().element().is_some_and(|element| element.extensions.tcp_control);
            let usable = self.can_be_served(id, session);
            let worked = self.oracle.reach.working_since(id).map(|since| self.now - since);
            let (now, reach) = (self.now, worked.unwrap_or(0));
            let Setup::User(config) = &self.nodes[id].setup else { continue };
            let user = &config.timers;
            let sessions = &mut self.oracle.sessions;
            if !usable {
                sessions.usable.remove(&id);
            }
            let since = if usable { *sessions.usable.entry(id).or_insert(now) } else { now };
            let model = sessions.model(session);
            let timers = &model.timers;
            let silent = now.saturating_sub(model.heard);
            let limit = limit(timers);
            let verdict = if let Some(lacking) = model.lacking {
                let asks = user.t1_request * 2 * user.max_request_retransmit.saturating_add(1);
                let finds = asks + user.retran_max + user.stale_cache_value + user.set_aside;
                let bound = micros(finds + (timers.retry_max + timers.connect_timeout) * 2) + limit;
                let since = since.max(lacking);
                if now - since > bound {
                    no(format!(
                        "session {session} has no element for {} s",
                        (now - since) / 1_000_000
                    ))
                } else {
                    Ok(())
                }
            } else if has_heartbeats && reading && silent.min(reach) > limit {
                no(format!("session {session} stays with one that is silent for {silent} us"))
            } else {
                Ok(())
            };
            self.judge(id, verdict);
        }
    }

    /// Whether a user's registrar lists an element of its session's pool that works, while nothing is
    /// wrong with anybody.
    fn can_be_served(&mut self, user: NodeId, session: u64) -> bool {
        let has_hostiles =
            self.nodes.iter().any(|node| matches!(node.setup, Setup::Hostile { .. }));
        let has_hostiles = has_hostiles && !self.oracle.secured;
        // One that was slow has a backlog still, which it works off at that pace.
        let is_behind = |node: NodeId| self.nodes[node].sessions.busy_until > self.now;
        let works = self.works(user) && !is_behind(user);
        if self.oracle.healed.is_none() || has_hostiles || !works {
            return false;
        }
        let pool = self.oracle.sessions.pool(session);
        let Machine::User(machine) = &self.nodes[user].machine else { return false };
        let Some((registrar, _)) = machine.home().and_then(|home| self.listener(home)) else {
            return false;
        };
        let Machine::Registrar(registrar) = &self.nodes[registrar].machine else { return false };
        let space = registrar.handlespace();
        let Some(pool) = space.pool(pool.as_bytes()) else { return false };
        space.elements(pool).any(|(_, element)| {
            let address = element.user_transport().primary();
            let node = address.and_then(|address| self.addresses.get(&address.ip()));
            let serves = node.is_some_and(|&node| {
                if is_behind(node) {
                    return false;
                }
                let node = &self.nodes[node];
                node.owner.service.is_some()
                    && matches!(&node.machine, Machine::Element(own) if own.id() == element.id())
            });
            serves && element.tcp_control() && !element.words().contains(&0)
        })
    }

    /// At the end, when all has been whole and quiet for long: what was sent has arrived.
    pub(super) fn check_sent(&mut self) {
        for id in 0..self.nodes.len() {
            let Some(held) = &self.nodes[id].sessions.held else { continue };
            let (session, now) = (held.number(), self.now);
            let model = self.oracle.sessions.model(session);
            let Some((_, conn)) = model.element else { continue };
            let lost = model.messages.iter().find(|(_, sent)| match sent.fate {
                Fate::HandedOver(to, at) => to == conn && now - at > UNDER_WAY,
                _ => false,
            });
            if let Some((number, _)) = lost.filter(|_| model.opened.contains(&conn)) {
                let text = format!("session {session}: message {number} has not arrived");
                self.violate("I9", Some(id), text);
            }
        }
    }
}
