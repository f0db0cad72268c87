//! Scenario scripts: one rule of an RFC each, commands on top, everything that happened below.
//!
//! ```text
//! # RFC 5352 §3.1: an element registers with its home registrar.
//! registrar r1
//! element e1 pool=web
//! run 1s
//! ---
//!    0.000500  e1 -> r1  ASAP_REGISTRATION web ..
//! ```
//!
//! The part below the line is recorded, read, and compared from then on: a change of behaviour is a
//! change of a script.

use crate::bounded::Deviations;
use crate::chart;
use crate::clock::Clock;
use crate::net::{NodeId, Quality};
use crate::node::{Command, Machine, Owner, Power, Setup, Wish};
use crate::session::{Client, Service};
use crate::trace::{self, Line};
use crate::world::{World, address, locator_at};
use rserpool_proto::endpoint::pool_element::{Health, PoolElementConfig};
use rserpool_proto::endpoint::pool_user::PoolUserConfig;
use rserpool_proto::id::{PeId, PoolHandle, ServerId};
use rserpool_proto::machine::{Locator, TransportKind};
use rserpool_proto::policy::{PolicyParameter, PolicyTable};
use rserpool_proto::registrar::RegistrarConfig;
use rserpool_proto::session::user::{Delivery, Target, UserSessionConfig};
use rserpool_proto::session::{BusinessCard, ElementHandle, SessionTimers};
use rserpool_proto::time::Duration;
use rserpool_proto::timers::{ElementTimers, Preset, RegistrarTimers, UserTimers};
use rserpool_proto::wire::asap::{Body, Message};
use rserpool_proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool_proto::wire::transport::Transport;
use rserpool_proto::wire::{PORT_ASAP, PORT_ENRP};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

/// A script that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A line of it makes no sense.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be read or written.
    #[error("{0}")]
    File(#[from] io::Error),
}

/// What a script has shown.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Names of the nodes.
    pub names: Vec<String>,
    /// All that happened.
    pub lines: Vec<Line>,
}

impl Recording {
    /// As it stands below the line of a script.
    pub fn text(&self) -> String {
        trace::text(&self.names, &self.lines)
    }

    /// As a message sequence chart.
    pub fn chart(&self) -> String {
        chart::text(&self.names, &self.lines)
    }
}

/// What stands between commands and recording.
const LINE: &str = "---\n";
/// Most lines recorded of a script.
const MAX_LINES: usize = 10_000;

/// The commands of a script, and what was recorded of it.
pub fn split(text: &str) -> (&str, &str) {
    match text.find(LINE) {
        Some(at) => (&text[..at], &text[at + LINE.len()..]),
        None => (text, ""),
    }
}

/// Plays a script and compares, or with `record` writes, what it shows; whether both are the same.
///
/// # Errors
/// [`ScriptError`]; the file is unchanged then.
pub fn check(path: &Path, record: bool) -> Result<bool, ScriptError> {
    let text = fs::read_to_string(path)?;
    let (commands, recorded) = split(&text);
    let played = play(commands)?.text();
    let same = played == recorded;
    if record && !same {
        fs::write(path, format!("{commands}{LINE}{played}"))?;
    }
    Ok(same)
}

/// Plays the commands of a script.
///
/// # Errors
/// [`ScriptError::Line`] at the first command that makes no sense.
pub fn play(commands: &str) -> Result<Recording, ScriptError> {
    let base = Quality { latency: 500, jitter: 0, ..Quality::LOCAL };
    let mut stage = Stage { world: World::new(1, base, MAX_LINES), registrars: Vec::new(), ids: 0 };
    for (number, line) in commands.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words = Words::new(line);
        if words.verb() != "run" {
            let now = stage.world.now;
            stage.world.trace.line(now, None, None, || line.to_owned());
        }
        let fails = |why| ScriptError::Line { line: number + 1, why };
        stage.obey(&words).map_err(fails)?;
    }
    Ok(Recording { names: stage.world.names(), lines: stage.world.take_lines() })
}

/// Plays the commands of a script while some messages between registrars deviate, and looks whether
/// all is well in the end; how many messages there were.
///
/// # Errors
/// What is wrong, with the script or in the end.
pub(crate) fn play_with(commands: &str, deviations: &Deviations) -> Result<u64, String> {
    let base = Quality { latency: 500, jitter: 0, ..Quality::LOCAL };
    let mut stage = Stage { world: World::new(1, base, 0), registrars: Vec::new(), ids: 0 };
    let lines = commands.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line == "numbered from here" {
            stage.world.deviations.clone_from(deviations);
            stage.world.numbered = 0;
            continue;
        }
        stage.obey(&Words::new(line))?;
    }
    let numbered = stage.world.numbered;
    // There is a moment at which nothing is on its way.
    let until = stage.world.now + 1_000_000;
    while let Some(difference) = stage.world.difference() {
        if stage.world.now >= until {
            return Err(difference);
        }
        let next = stage.world.now + 10_000;
        stage.world.run_until(next).map_err(|violation| violation.to_string())?;
    }
    stage.world.each_has_a_home()?;
    Ok(numbered)
}

/// A world that obeys commands.
struct Stage {
    world: World,
    registrars: Vec<NodeId>,
    /// Identifiers given so far.
    ids: u32,
}

impl Stage {
    fn obey(&mut self, words: &Words<'_>) -> Result<(), String> {
        match words.verb() {
            "registrar" => self.registrar(words),
            "element" => self.element(words),
            "user" => self.user(words),
            "stranger" => self.stranger(words),
            "run" => {
                let until = self.world.now + micros(words.word(0)?)?;
                self.world.run_until(until).map_err(|violation| violation.to_string())
            }
            "crash" => self.each(words, |world, node| world.crash(node, Power::ProcessDown)),
            "power-cut" => self.each(words, |world, node| {
                world.crash(node, Power::HostDown);
                world.probe_later();
            }),
            "restart" => self.each(words, |world, node| {
                world.start(node);
                world.flush();
            }),
            "suspend" => self.each(words, World::suspend),
            "resume" => self.each(words, World::resume),
            "cut" | "mend" => self.cut(words),
            "latency" => {
                let (a, b) = (self.node(words.word(0)?)?, self.node(words.word(1)?)?);
                let latency = micros(words.word(2)?)?;
                let quality = Quality { latency, jitter: 0, ..Quality::LOCAL };
                self.world.net.degrade(0, vec![a], vec![b], quality);
                self.world.net.degrade(0, vec![b], vec![a], quality);
                Ok(())
            }
            "say" => self.say(words),
            "session" => self.session(words),
            "send" => {
                let node = self.node(words.word(0)?)?;
                let bound = words.plain().any(|word| word == "no-failover");
                let delivery = if bound { Delivery::NoFailover } else { Delivery::Failover };
                for _ in 0..words.parsed("times")?.unwrap_or(1) {
                    self.world.say_in_session(node, delivery);
                }
                Ok(())
            }
            "close" => self.each(words, World::close_session),
            "cookie" => self.each(words, World::send_cookies),
            "end" => self.each(words, |world, node| world.leave_sessions(node, true)),
            "move-on" => self.each(words, |world, node| world.leave_sessions(node, false)),
            "card" => self.card(words),
            "table" => self.table(words),
            _ => self.command(words),
        }
    }

    fn each(&mut self, words: &Words<'_>, act: impl Fn(&mut World, NodeId)) -> Result<(), String> {
        for name in words.plain() {
            let node = self.node(name)?;
            act(&mut self.world, node);
        }
        Ok(())
    }

    fn node(&self, name: &str) -> Result<NodeId, String> {
        let position = self.world.nodes.iter().position(|node| node.name == name);
        position.ok_or_else(|| format!("nobody is called {name}"))
    }

    fn add(
        &mut self,
        words: &Words<'_>,
        setup: Setup,
        transport: TransportKind,
    ) -> Result<NodeId, String> {
        let owner = Owner { member: true, healthy: true, ..Owner::default() };
        let name = words.word(0)?.to_owned();
        let node = self.world.add(name, setup, transport, Clock::new(0, 0), owner);
        Ok(node)
    }

    fn registrar(&mut self, words: &Words<'_>) -> Result<(), String> {
        let preset = words.parsed("timers")?.unwrap_or(Preset::Default);
        let id = words.parsed("id")?.unwrap_or(self.registrars.len() as u32 + 1);
        let id = ServerId(id);
        let transport = self.transport(words);
        let mut peers = Vec::new();
        for name in words.value("peers").into_iter().flat_map(|names| names.split(',')) {
            // Registrars come first in a script, so that they may know of those that come later.
            let later = || name.strip_prefix('r')?.parse::<usize>().ok()?.checked_sub(1);
            let node = self.node(name).or_else(|error| later().ok_or(error))?;
            peers.push(locator_at(node, transport, PORT_ENRP));
        }
        let mut config = RegistrarConfig {
            id,
            timers: RegistrarTimers::preset(preset),
            peers,
            enrp_port: PORT_ENRP,
            ..RegistrarConfig::default()
        };
        match words.value("keep-alive") {
            Some("off") => config.timers.keep_alive_interval = None,
            Some(time) => config.timers.keep_alive_interval = Some(duration(time)?),
            None => {}
        }
        if let Some(items) = words.parsed("max-items")? {
            config.limits.max_items = items;
        }
        if let Some(watches) = words.parsed("max-watches")? {
            config.limits.watches_per_association = watches;
        }
        let node = self.add(words, Setup::Registrar(config), transport)?;
        self.registrars.push(node);
        if !words.plain().any(|word| word == "later") {
            self.world.start(node);
        }
        Ok(())
    }

    fn transport(&self, words: &Words<'_>) -> TransportKind {
        if words.plain().any(|word| word == "sctp") {
            TransportKind::Sctp
        } else {
            TransportKind::Tcp
        }
    }

    fn locators(&self, words: &Words<'_>) -> Result<Vec<Locator>, String> {
        let transport = self.transport(words);
        let nodes = match words.value("at") {
            Some(names) => {
                names.split(',').map(|name| self.node(name)).collect::<Result<_, _>>()?
            }
            None => self.registrars.clone(),
        };
        let port = PORT_ASAP;
        Ok(nodes.into_iter().map(|node| locator_at(node, transport, port)).collect())
    }

    fn element(&mut self, words: &Words<'_>) -> Result<(), String> {
        let preset = words.parsed("timers")?.unwrap_or(Preset::Default);
        let handle = handle(words.value("pool").unwrap_or("web"))?;
        let user = Transport::Tcp(SocketAddr::new(address(self.world.nodes.len(), 0), 80));
        let mut config = PoolElementConfig::new(handle, user, self.locators(words)?);
        config.timers = ElementTimers::preset(preset);
        self.ids += 1;
        config.id = match words.value("id") {
            Some("drawn") => None,
            Some(id) => Some(PeId(id.parse().map_err(|_| "an id is a number or `drawn`")?)),
            None => Some(PeId(self.ids)),
        };
        if let Some(life) = words.value("life") {
            config.timers.registration_life = duration(life)?;
        }
        if let Some(text) = words.value("policy") {
            config.policy = policy(text)?;
        }
        if words.value("health") == Some("reported") {
            config.health = Health::Reported { max_age: Duration::from_millis(400) };
        }
        let serves = words.plain().any(|word| word == "serves");
        config.tcp_control = serves;
        let node = self.add(words, Setup::Element(config), self.transport(words))?;
        if serves {
            let service = Service { timers: SessionTimers::preset(preset), by_chance: false };
            self.world.nodes[node].owner.service = Some(service);
        }
        self.world.start(node);
        Ok(())
    }

    fn user(&mut self, words: &Words<'_>) -> Result<(), String> {
        let preset = words.parsed("timers")?.unwrap_or(Preset::Default);
        let mut config = PoolUserConfig::new(self.locators(words)?);
        config.timers = UserTimers::preset(preset);
        config.items = words.parsed("items")?;
        config.keep_stale = words.value("stale").map(duration).transpose()?;
        let node = self.add(words, Setup::User(config), self.transport(words))?;
        let timers = SessionTimers::preset(preset);
        let client = Client { pools: Vec::new(), timers, pace: 0, last: None };
        self.world.nodes[node].owner.client = Some(client);
        self.world.start(node);
        Ok(())
    }

    /// A user begins a session.
    fn session(&mut self, words: &Words<'_>) -> Result<(), String> {
        let node = self.node(words.word(0)?)?;
        let pool = handle(words.value("pool").unwrap_or("web"))?;
        let target = match words.parsed("to")? {
            Some(id) => Target::Element(ElementHandle { pool, id: PeId(id) }),
            None => Target::Pool(pool),
        };
        let mut config = UserSessionConfig::new(target);
        config.failover = words.plain().all(|word| word != "no-failover");
        // A user that is an element itself.
        if let Some(name) = words.value("as") {
            config.card = self.card_of(&[name])?;
        }
        self.world.begin_session(node, config);
        Ok(())
    }

    /// An element tells its users in which order to fail over.
    fn card(&mut self, words: &Words<'_>) -> Result<(), String> {
        let names: Vec<_> = words.plain().collect();
        let (sender, preferred) = names.split_first().ok_or("whose card, and whom it prefers")?;
        let node = self.node(sender)?;
        let card = self.card_of(preferred)?.ok_or("whom it prefers")?;
        self.world.send_cards(node, &card);
        Ok(())
    }

    fn card_of(&self, names: &[&str]) -> Result<Option<BusinessCard>, String> {
        let nodes = names.iter().map(|name| self.node(name));
        let nodes: Vec<NodeId> = nodes.collect::<Result<_, _>>()?;
        let handle = nodes.first().and_then(|node| match &self.world.nodes[*node].setup {
            Setup::Element(config) => Some(config.handle.clone()),
            _ => None,
        });
        let Some(handle) = handle else { return Ok(None) };
        let elements = nodes.iter().filter_map(|node| self.world.as_listed(*node, &handle));
        let elements = elements.collect();
        Ok(Some(BusinessCard { handle, elements }))
    }

    fn stranger(&mut self, words: &Words<'_>) -> Result<(), String> {
        let registrars = self.locators(words)?;
        let node = self.add(
            words,
            Setup::Hostile { registrars, poses_at: None, insider: None },
            self.transport(words),
        )?;
        self.world.start(node);
        Ok(())
    }

    fn cut(&mut self, words: &Words<'_>) -> Result<(), String> {
        let cut = words.verb() == "cut";
        let one_way = words.plain().any(|word| word == "->");
        let names: Vec<_> =
            words.plain().filter(|word| !matches!(*word, "->" | "path-1")).collect();
        let [a, b] = names[..] else { return Err("two nodes, please".into()) };
        let (a, b) = ([self.node(a)?], [self.node(b)?]);
        let mask = if words.plain().any(|word| word == "path-1") { 1 } else { 3 };
        self.world.net.cut(&a, &b, mask, cut);
        if !one_way {
            self.world.net.cut(&b, &a, mask, cut);
        }
        match cut {
            true => self.world.probe_later(),
            false => self.world.flush(),
        }
        Ok(())
    }

    fn command(&mut self, words: &Words<'_>) -> Result<(), String> {
        let verb = words.verb();
        let node = self.node(words.word(0)?)?;
        let request = self.world.nodes[node].owner.next_request;
        let command = match verb {
            "drain" => {
                self.world.nodes[node].draining = true;
                Command::Drain
            }
            "policy" => Command::SetPolicy(policy(words.word(1)?)?),
            "healthy" => Command::Health(true),
            "ill" => Command::Health(false),
            "deregister" => Command::Deregister,
            "reregister" => Command::Reregister,
            "watch" => Command::Watch(handle(words.word(1)?)?),
            "unwatch" => Command::Unwatch(handle(words.word(1)?)?),
            "resolve" | "pick" => {
                self.world.nodes[node].owner.next_request += 1;
                let handle = handle(words.word(1)?)?;
                self.world.oracle_request(node, request, Wish::NoneOf(Vec::new()));
                match verb {
                    "resolve" => Command::Resolve { handle, request },
                    _ => Command::Pick { handle, request, exclude: Vec::new() },
                }
            }
            "report" => {
                let id = words.word(2)?.parse().map_err(|_| "an id is a number")?;
                Command::Report { handle: handle(words.word(1)?)?, id: PeId(id) }
            }
            _ => return Err(format!("`{verb}` is no command")),
        };
        self.world.command_after(node, 0, command);
        Ok(())
    }

    /// A stranger says something, right or wrong.
    fn say(&mut self, words: &Words<'_>) -> Result<(), String> {
        let node = self.node(words.word(0)?)?;
        let id = PeId(words.parsed("id")?.unwrap_or(1));
        let handle = handle(words.value("pool").unwrap_or("web"))?;
        let body = match words.word(1)? {
            "registration" => {
                let user = words.value("user").unwrap_or("192.0.2.1:80");
                let element = PoolElement {
                    id,
                    home: ServerId::NONE,
                    life: words.parsed("life")?.unwrap_or(30_000),
                    user_transport: Transport::Tcp(user.parse().map_err(|_| "user=ADDRESS:PORT")?),
                    policy: policy(words.value("policy").unwrap_or("round-robin"))?,
                    asap_transport: None,
                    extensions: ElementExtensions::default(),
                };
                Body::Registration {
                    handle,
                    element: Box::new(element),
                    capabilities: None,
                    stamp: None,
                }
            }
            "deregistration" => Body::Deregistration { handle, id, stamp: None },
            "ack" => Body::EndpointKeepAliveAck { handle, id },
            "unreachable" => Body::EndpointUnreachable { handle, id },
            "resolution" => Body::HandleResolution {
                subscribe: words.plain().any(|word| word == "subscribe"),
                handle,
                items: words.parsed("items")?,
                capabilities: None,
            },
            hex => {
                let bytes =
                    hexadecimal(hex).ok_or("a message by name, or as hexadecimal digits")?;
                self.world.command_after(node, 0, Command::Say(bytes));
                return Ok(());
            }
        };
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).map_err(|_| "it is too long")?;
        self.world.command_after(node, 0, Command::Say(bytes));
        Ok(())
    }

    /// Notes what a registrar knows.
    fn table(&mut self, words: &Words<'_>) -> Result<(), String> {
        let node = self.node(words.word(0)?)?;
        let Machine::Registrar(registrar) = &self.world.nodes[node].machine else {
            return Err("only registrars that run have a table".into());
        };
        let mut entries = Vec::new();
        for (pool, _, element) in registrar.handlespace().table(None, None) {
            let policy = crate::describe::policy(&element.policy());
            let suspect = if element.suspect() { " suspected" } else { "" };
            let (handle, id, home) = (pool.handle(), element.id(), element.home());
            entries.push(format!("{handle} {id} home {home} policy {policy}{suspect}"));
        }
        if entries.is_empty() {
            entries.push("knows no elements".to_owned());
        }
        for entry in entries {
            self.world.trace.line(self.world.now, Some(node), None, || entry);
        }
        Ok(())
    }
}

/// A command in words: plain ones, and those of the form `name=value`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self(line.split_whitespace().collect())
    }

    fn verb(&self) -> &'a str {
        self.0.first().copied().unwrap_or("")
    }

    fn plain(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().skip(1).copied().filter(|word| !word.contains('='))
    }

    fn word(&self, nth: usize) -> Result<&'a str, String> {
        self.plain().nth(nth).ok_or_else(|| format!("`{}` wants more words", self.verb()))
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let value = self.value(name).map(str::parse).transpose();
        value.map_err(|_| format!("`{name}` has a value that it cannot have"))
    }
}

fn micros(text: &str) -> Result<u64, String> {
    for (unit, size) in [("us", 1), ("ms", 1_000), ("s", 1_000_000)] {
        if let Some(number) = text.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok())
        {
            return Ok((number * f64::from(size)) as u64);
        }
    }
    Err(format!("`{text}` is no time like 5s, 400ms or 20us"))
}

fn duration(text: &str) -> Result<Duration, String> {
    micros(text).map(Duration::from_micros)
}

fn handle(text: &str) -> Result<PoolHandle, String> {
    PoolHandle::new(text).map_err(|error| error.to_string())
}

/// `least-used:3`: a policy by name and its words in order.
fn policy(text: &str) -> Result<PolicyParameter, String> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or("");
    let table = PolicyTable::builtin();
    let kind = table.by_name(name).ok_or_else(|| format!("no policy is called {name}"))?;
    let mut words: Vec<u32> = kind.words.iter().map(|word| word.default).collect();
    for (word, part) in words.iter_mut().zip(parts) {
        *word = part.parse().map_err(|_| format!("{part} is no number"))?;
    }
    Ok(PolicyParameter::new(kind.number, &words))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len()).step_by(2).map(digit).collect()
}
