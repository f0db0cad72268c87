//! What a registrar can be told in a file; every key is optional and named as its field.
//!
//! ```toml
//! asap = ["0.0.0.0:3863"]            # where elements and users are served
//! enrp = "tcp://127.0.0.1:9901"      # where other registrars, `list` and `watch` are
//! peers = ["10.0.0.2:9901"]          # other registrars of the scope
//! announce = ["eth0"]                # interfaces to announce it on; none by default
//! announce_groups = ["239.0.0.50:3863", "[ff05::133]:3863"]
//! enrp_groups = ["239.0.0.51:9901"]  # where registrars find each other; [] for nowhere
//! plain = []                         # for users without TLS, where everybody may resolve
//! id = "0x1234abcd"                  # drawn at the start if it is not given
//! log_level = "info"
//! log_format = "json"
//!
//! [timers]
//! preset = "default"
//! keep_alive_interval = "400ms"      # or "off"
//!
//! [pool."web".timers]                # begins with the values of [timers]
//! keep_alive_interval = "80ms"
//!
//! [selection]                        # how policies are applied; see docs/POLICIES.md
//! share_cap = 4                      # fair shares that one element has at most; or "off"
//! slow_start = true                  # new elements get their share little by little
//! increment = 1                      # elements of an answer that count as selected; or "rfc"
//!
//! [pool."web".selection]             # begins with those of [selection], or of the pool's preset "rfc"
//! share_cap = "off"
//!
//! [limits]
//! associations = 20000
//!
//! [compat]
//! life_unit = "milliseconds"         # of elements without our extensions; or seconds
//! registered_addresses = "association"  # over SCTP; or any
//!
//! [tls]                              # a secured scope; see docs/OPERATING.md
//! certificate = "pki/registrar.pem"  # its key is in registrar.key, whom to believe in ca.pem
//! readers = "verified"               # who may resolve: or "users", "everybody"
//! registrars = ["*.example.org"]     # names that are registrars, besides rserpool://SCOPE/registrar
//! operators = []                     # names that may read tables, besides .../operator
//!
//! [[tls.grant]]                      # what elements may do, besides .../element/PATTERN
//! name = "web-*.example.org"
//! pools = ["web", "web-*"]
//! policies = ["round-robin"]         # all if none is named
//! any_address = false                # or for servers that are elsewhere
//!
//! [distance]                         # for policies with a word `distance`, such as least-used-dpf
//! location = "berlin"                # of this registrar
//! [distance.hosts]                   # where elements are, or how far; others: as they say or answer
//! "10.1.0.0/16" = "berlin"
//! "10.2.0.0/16" = "paris"
//! "10.2.0.7" = "40ms"
//! [distance.from.berlin]             # both ways
//! paris = "9ms"
//!
//! [[policy]]                         # one of your own; see docs/POLICIES.md
//! name = "near-and-idle"
//! words = ["load", "degradation"]    # what elements register with
//! key = "load + selections * degradation + distance / 1000"   # the lowest first
//! ```
//!
//! One process serves several scopes by a `[[scope]]` for each, with a name and with keys as above;
//! only the log is of all.

use super::distance;
use crate::args::group;
use crate::config::{self, Problem, Section};
use crate::definitions;
use crate::logging::{self, LogFormat};
use crate::tls;
use crate::units;
use clap::ValueEnum as _;
use rserpool::driver::{self, Announcements};
use rserpool::proto::id::{PoolHandle, ServerId};
use rserpool::proto::machine::Locator;
use rserpool::proto::policy::{PolicyTable, Rules};
use rserpool::proto::registrar::{
    AddressRule, ElementGrant, Grants, LifeUnit, Pattern, Readers, RegistrarConfig,
};
use rserpool::proto::timers::{Preset, RegistrarTimers};
use rserpool::scope::ScopeName;
use rserpool::tls::Settings;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use toml::de::DeValue;

/// What the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileConfig {
    /// As `--log-level`.
    pub(crate) log_level: Option<String>,
    /// As `--log-format`.
    pub(crate) log_format: Option<LogFormat>,
    /// The only scope, unless there are `[[scope]]`s.
    pub(crate) own: ScopeConfig,
    /// Scopes that one process serves, each fully apart from the others.
    pub(crate) scopes: Vec<ScopeConfig>,
}

/// What it says of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeConfig {
    /// What it is called here; only in `[[scope]]`.
    pub(crate) name: Option<ScopeName>,
    /// Where elements and users are served; none given means the default.
    pub(crate) asap: Option<Vec<Locator>>,
    /// Where other registrars are served; an empty list means nowhere.
    pub(crate) enrp: Option<Vec<Locator>>,
    /// Where it announces itself.
    pub(crate) announcements: Announcements,
    /// Where registrars find each other.
    pub(crate) enrp_groups: Option<Vec<SocketAddr>>,
    /// With which certificates, in a secured scope.
    pub(crate) tls: Option<Settings>,
    /// What is granted then.
    pub(crate) grants: Grants,
    /// Where users are served without.
    pub(crate) plain: Vec<Locator>,
    /// Bounds of its connections; how many there are at a time is the registrar's own.
    pub(crate) connections: driver::Limits,
    /// The registrar itself.
    pub(crate) machine: RegistrarConfig,
}

/// Most scopes that one process serves.
const MOST_SCOPES: usize = 64;

impl FileConfig {
    /// Reads the text of a file. `preset`, if given, wins over the file's own.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn read(text: &str, preset: Option<Preset>) -> Result<Self, Vec<Problem>> {
        config::read(text, |root| {
            let log_level = root.take("log_level", level);
            let log_format = root.take("log_format", format);
            let mut seen: Vec<ScopeConfig> = Vec::new();
            root.sections("scope", |section| {
                let scope = ScopeConfig::read_named(section, &seen, preset);
                seen.push(scope);
            });
            if seen.len() > MOST_SCOPES {
                root.problem("scope", format!("one process serves {MOST_SCOPES} scopes at most"));
            }
            // Beside scopes there is none without a name: its keys are unknown then.
            let own = if seen.is_empty() {
                ScopeConfig::read(root, preset)
            } else {
                ScopeConfig::default()
            };
            Self { log_level, log_format, own, scopes: seen }
        })
    }
}

impl ScopeConfig {
    /// Reads a scope that stands beside others, those before it given.
    fn read_named(section: &mut Section<'_>, others: &[Self], preset: Option<Preset>) -> Self {
        let name: Option<ScopeName> = section.take("name", config::parsed);
        let scope = Self { name, ..Self::read(section, preset) };
        match &scope.name {
            None if !section.has_taken("name") => section.problem("name", "a scope needs a name"),
            Some(name) if others.iter().any(|other| other.name.as_ref() == Some(name)) => {
                section.problem("name", format!("there is another scope {name}"));
            }
            _ => {}
        }
        for (key, mine) in [("asap", &scope.asap), ("enrp", &scope.enrp)] {
            if mine.is_none() && !section.has_taken(key) {
                section.problem(key, "a scope needs addresses of its own");
            }
            let theirs = others.iter().flat_map(ScopeConfig::places);
            let clash = theirs.filter(|place| place.port() != 0).find(|place| {
                mine.iter()
                    .flatten()
                    .any(|locator| locator.socket_addrs().any(|mine| mine == *place))
            });
            if let Some(place) = clash {
                section.problem(key, format!("{place} is of another scope already"));
            }
        }
        scope
    }

    /// All addresses it serves at.
    fn places(&self) -> impl Iterator<Item = SocketAddr> {
        [&self.asap, &self.enrp].into_iter().flatten().flatten().flat_map(Locator::socket_addrs)
    }

    fn read(section: &mut Section<'_>, preset: Option<Preset>) -> Self {
        let mut scope = Self {
            name: None,
            asap: section.take_list("asap", config::parsed),
            enrp: section.take_list("enrp", config::parsed),
            announcements: Announcements::default(),
            enrp_groups: section.take_list("enrp_groups", |value| group(config::text(value)?)),
            tls: None,
            grants: Grants::default(),
            plain: section.take_list("plain", config::parsed).unwrap_or_default(),
            connections: driver::Limits::default(),
            machine: RegistrarConfig::default(),
        };
        if scope.asap.as_ref().is_some_and(Vec::is_empty) {
            section.problem("asap", "a registrar without an address serves nobody");
        }
        let announcements = &mut scope.announcements;
        if let Some(interfaces) = section.take_list("announce", config::parsed) {
            announcements.interfaces = interfaces;
        }
        if let Some(groups) =
            section.take_list("announce_groups", |value| group(config::text(value)?))
        {
            announcements.groups = groups;
        }
        machine(section, &mut scope.machine, &mut scope.connections, preset);
        let policies = &scope.machine.limits.handlespace.policies;
        section.section("tls", |section| {
            scope.tls = tls::read(section);
            scope.grants = grants(section, policies);
        });
        if !scope.plain.is_empty() && scope.grants.readers != Readers::Everybody {
            section.problem("plain", "only where [tls] says readers = \"everybody\"");
        }
        scope
    }
}

/// Reads what is granted to names in certificates.
fn grants(section: &mut Section<'_>, policies: &PolicyTable) -> Grants {
    let pattern = |value: &DeValue<'_>| config::text(value).map(Pattern::new);
    let mut grants = Grants {
        registrars: section.take_list("registrars", pattern).unwrap_or_default(),
        operators: section.take_list("operators", pattern).unwrap_or_default(),
        ..Grants::default()
    };
    section.set("readers", &mut grants.readers, readers);
    section.sections("grant", |section| {
        let policy = |value: &DeValue<'_>| {
            let name = config::text(value)?;
            let kind =
                policies.by_name(name).ok_or_else(|| format!("there is no policy {name}"))?;
            Ok(kind.number)
        };
        let name = section.take("name", pattern);
        if name.is_none() && !section.has_taken("name") {
            section.problem("name", "a grant says whose it is");
        }
        let grant = ElementGrant {
            name: name.unwrap_or(Pattern::new("")),
            pools: section.take_list("pools", pattern).unwrap_or_default(),
            policies: section.take_list("policies", policy).unwrap_or_default(),
            any_address: section.take("any_address", config::truth).unwrap_or(false),
        };
        grants.elements.push(grant);
    });
    grants
}

fn readers(value: &DeValue<'_>) -> Result<Readers, String> {
    match config::text(value)? {
        "verified" => Ok(Readers::Verified),
        "users" => Ok(Readers::Named(Vec::new())),
        "everybody" => Ok(Readers::Everybody),
        _ => Err("it is neither \"verified\" nor \"users\" nor \"everybody\"".into()),
    }
}

/// Reads what the registrar itself is told, and the bounds of its connections.
fn machine(
    section: &mut Section<'_>,
    machine: &mut RegistrarConfig,
    connections: &mut driver::Limits,
    preset: Option<Preset>,
) {
    machine.peers = section.take_list("peers", config::parsed).unwrap_or_default();
    machine.id = section.take("id", config::id).map_or(ServerId::NONE, ServerId);
    machine.timers = RegistrarTimers::preset(preset.unwrap_or_default());
    let mut in_file = None;
    section.section("timers", |section| {
        in_file = timers(section, &mut machine.timers, preset);
    });
    let of_all = machine.timers.clone();
    let space = &mut machine.limits.handlespace;
    space.rules = Rules::preset(preset.or(in_file).unwrap_or_default());
    section.section("selection", |section| rules(section, &mut space.rules));
    section.section("pool", |pools| {
        for name in pools.keys() {
            let handle = PoolHandle::new(&name);
            pools.section(&name, |pool| {
                let (mut of_pool, mut own_rules) = (of_all.clone(), space.rules);
                pool.section("timers", |section| {
                    if timers(section, &mut of_pool, None) == Some(Preset::Rfc) {
                        own_rules = Rules::preset(Preset::Rfc);
                    }
                });
                pool.section("selection", |section| rules(section, &mut own_rules));
                match handle {
                    Ok(handle) => {
                        space.pool_rules.insert(handle.clone(), own_rules);
                        machine.pools.insert(handle, of_pool);
                    }
                    Err(error) => pool.problem("", error),
                }
            });
        }
    });
    section.section("limits", |section| {
        let limits = &mut machine.limits;
        section.set("associations", &mut limits.associations, config::count);
        let per_address = &mut connections.associations_per_address;
        section.set("associations_per_address", per_address, config::count);
        section.set("handshakes", &mut connections.handshakes, config::count);
        let per_address = &mut connections.handshakes_per_address;
        section.set("handshakes_per_address", per_address, config::count);
        section.set("output", &mut connections.output, config::count);
        section.set("user_timeout", &mut connections.user_timeout, config::positive_duration);
        section.set("idle_timeout", &mut limits.idle_timeout, config::positive_duration);
        section.set("max_items", &mut limits.max_items, config::count);
        section.set("peers", &mut limits.peers, config::count);
        section.set("elements_per_owner", &mut limits.elements_per_owner, config::count);
        for (key, rate) in [
            ("registrations_per_second", &mut limits.registrations_per_second),
            ("registrations_per_second_of_owner", &mut limits.registrations_per_second_of_owner),
            ("resolutions_per_second", &mut limits.resolutions_per_second),
            ("resolutions_per_second_of_owner", &mut limits.resolutions_per_second_of_owner),
            ("reports_per_second", &mut limits.reports_per_second),
            ("reports_per_second_of_owner", &mut limits.reports_per_second_of_owner),
            ("others_per_second", &mut limits.others_per_second),
            ("others_per_second_of_owner", &mut limits.others_per_second_of_owner),
        ] {
            section.set(key, rate, config::count);
        }
        section.set("watches_per_association", &mut limits.watches_per_association, config::count);
        section.set("watches", &mut limits.watches, config::count);
        section.set("updates_per_second", &mut limits.updates_per_second, config::count);
        let space = &mut limits.handlespace;
        section.set("max_pools", &mut space.max_pools, config::count);
        section.set("max_elements", &mut space.max_elements, config::count);
        section.set("max_elements_per_pool", &mut space.max_elements_per_pool, config::count);
        section.set("max_handle_len", &mut space.max_handle_len, config::count);
        section.set("max_tombstones", &mut space.max_tombstones, config::count);
    });
    machine.limits.handlespace.policies = definitions::take(section);
    section.section("distance", |section| {
        machine.limits.handlespace.distances = distance::read(section);
    });
    section.section("compat", |section| {
        let compat = &mut machine.compat;
        section.set("life_unit", &mut compat.life_unit, life_unit);
        section.set("registered_addresses", &mut compat.registered_addresses, address_rule);
    });
}

/// Reads how policies are applied.
pub(crate) fn rules(section: &mut Section<'_>, rules: &mut Rules) {
    section.set("share_cap", &mut rules.share_cap, |value| count_or("off", value));
    section.set("slow_start", &mut rules.slow_start, config::truth);
    section.set("increment", &mut rules.increment, |value| count_or("rfc", value));
}

/// Reads a whole number from 1 on, or a word for none.
fn count_or(none: &str, value: &DeValue<'_>) -> Result<Option<NonZeroU32>, String> {
    match value {
        DeValue::String(text) if text == none => Ok(None),
        DeValue::String(_) => Err(format!("it is neither a number nor \"{none}\"")),
        value => config::count::<u32>(value).map(NonZeroU32::new),
    }
}

/// Reads timers over those that are in `timers` already, and says which do not go together; the
/// preset, if it is said here.
fn timers(
    section: &mut Section<'_>,
    timers: &mut RegistrarTimers,
    forced: Option<Preset>,
) -> Option<Preset> {
    let preset = section.take("preset", config::parsed::<Preset>);
    if let Some(preset) = preset
        && forced.is_none()
    {
        *timers = RegistrarTimers::preset(preset);
    }
    use config::{count, duration_or_off, positive_duration};
    section.set("keep_alive_interval", &mut timers.keep_alive_interval, duration_or_off);
    section.set("keep_alive_timeout", &mut timers.keep_alive_timeout, positive_duration);
    section.set("peer_heartbeat", &mut timers.peer_heartbeat, positive_duration);
    section.set("max_time_last_heard", &mut timers.max_time_last_heard, positive_duration);
    section.set("max_time_no_response", &mut timers.max_time_no_response, positive_duration);
    section.set("mentor_timeout", &mut timers.mentor_timeout, positive_duration);
    section.set("t6_server_announce", &mut timers.t6_server_announce, positive_duration);
    section.set("max_latency", &mut timers.max_latency, positive_duration);
    section.set("keep_alive_budget", &mut timers.keep_alive_budget, count);
    section.set("rehome_rate", &mut timers.rehome_rate, count);
    section.set("rehome_grace", &mut timers.rehome_grace, positive_duration);
    section.set("leave_limit", &mut timers.leave_limit, positive_duration);

    let at_least = [
        (
            "max_time_last_heard",
            timers.max_time_last_heard,
            "peer_heartbeat",
            timers.peer_heartbeat,
        ),
        ("max_latency", timers.max_latency, "keep_alive_timeout", timers.keep_alive_timeout),
    ];
    for (key, value, other, least) in at_least {
        // Presets are consistent and sections above have been judged: only what is set here counts.
        if let Some(set) = [key, other].into_iter().find(|key| section.has_taken(key))
            && value < least
        {
            section
                .problem(set, format!("{key} ({value:?}) must not be below {other} ({least:?})"));
        }
    }
    preset
}

fn level(value: &DeValue<'_>) -> Result<String, String> {
    let text = config::text(value)?;
    logging::targets(text).map(|_| text.into())
}

fn format(value: &DeValue<'_>) -> Result<LogFormat, String> {
    LogFormat::from_str(config::text(value)?, false)
        .map_err(|_| "it is neither \"text\" nor \"json\"".into())
}

fn life_unit(value: &DeValue<'_>) -> Result<LifeUnit, String> {
    units::parse_life_unit(config::text(value)?)
}

fn address_rule(value: &DeValue<'_>) -> Result<AddressRule, String> {
    match config::text(value)? {
        "association" => Ok(AddressRule::Association),
        "any" => Ok(AddressRule::Any),
        _ => Err("it is neither \"association\" nor \"any\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn problems(text: &str) -> Vec<String> {
        let problems = FileConfig::read(text, None).err().unwrap_or_default();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let file = FileConfig::read("", None).unwrap();
        assert_eq!(file.own.machine.timers, RegistrarTimers::default());
        assert!(file.own.asap.is_none() && file.own.enrp.is_none());
    }

    #[test]
    fn limits_are_of_the_registrar_and_of_its_connections() {
        let text = "\
[limits]
associations = 100
associations_per_address = 10
handshakes = 9
handshakes_per_address = 8
output = 4096
user_timeout = '3s'
registrations_per_second_of_owner = 7
";
        let scope = FileConfig::read(text, None).unwrap().own;
        let found = scope.connections;
        assert_eq!((found.associations_per_address, found.output), (10, 4096));
        assert_eq!((found.handshakes, found.handshakes_per_address), (9, 8));
        assert_eq!(found.user_timeout, Duration::from_secs(3));
        let limits = scope.machine.limits;
        assert_eq!((limits.associations, limits.registrations_per_second_of_owner), (100, 7));
    }

    #[test]
    fn shares_are_bounded_unless_the_timers_are_the_rfcs_or_a_pool_says_otherwise() {
        let rules =
            |text: &str| FileConfig::read(text, None).unwrap().own.machine.limits.handlespace;
        assert_eq!(rules("").rules, Rules::preset(Preset::Default));
        assert_eq!(rules("[timers]\npreset = 'rfc'\n").rules, Rules::default());
        let space = rules("[selection]\nshare_cap = 7\n[pool.web.selection]\nslow_start = false\n");
        let web = space.rules_of(&PoolHandle::new("web").unwrap());
        assert_eq!((web.share_cap, web.slow_start), (NonZeroU32::new(7), false));
        let other = space.rules_of(&PoolHandle::new("other").unwrap());
        assert_eq!((other.share_cap, other.slow_start), (NonZeroU32::new(7), true));
        let space = rules("[selection]\nincrement = 3\n[pool.web.timers]\npreset = 'rfc'\n");
        assert_eq!(*space.rules_of(&PoolHandle::new("web").unwrap()), Rules::default());
        let wrong = problems("[selection]\nshare_cap = 0\nslow_start = 1\nincrement = 'few'\n");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }

    #[test]
    fn everything_in_the_example_above_is_read() {
        let example: String = include_str!("config.rs")
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| format!("{}\n", line.trim_start_matches("//!")))
            .collect();
        let file = FileConfig::read(&example, None).unwrap();
        assert_eq!(file.own.machine.id, ServerId(0x1234_abcd));
        assert_eq!(file.log_format, Some(LogFormat::Json));
        assert_eq!(file.own.asap.unwrap().len(), 1);
        let web = &file.own.machine.pools[&PoolHandle::new("web").unwrap()];
        assert_eq!(web.keep_alive_interval, Some(Duration::from_millis(80)));
        assert_eq!(web.keep_alive_timeout, file.own.machine.timers.keep_alive_timeout);
    }

    #[test]
    fn a_pool_begins_with_the_timers_of_all_wherever_they_stand_in_the_file() {
        let text = "[pool.web.timers]\nkeep_alive_timeout = '1s'\n[timers]\npreset = 'rfc'\n";
        let file = FileConfig::read(text, None).unwrap();
        let web = &file.own.machine.pools[&PoolHandle::new("web").unwrap()];
        assert_eq!(web.peer_heartbeat, Duration::from_secs(30));
        assert_eq!(web.keep_alive_timeout, Duration::from_secs(1));
        let file = FileConfig::read(text, Some(Preset::Realtime)).unwrap();
        assert_eq!(file.own.machine.timers, RegistrarTimers::preset(Preset::Realtime));
    }

    #[test]
    fn scopes_are_fully_apart() {
        let text = "\
log_level = 'warn'
[[scope]]
name = 'East'
asap = '127.0.0.1:3863'
enrp = '127.0.0.1:9901'
[scope.timers]
preset = 'realtime'
[scope.limits]
max_pools = 7
[[scope]]
name = 'west'
asap = '127.0.0.1:3873'
enrp = []
peers = '10.0.0.1:9911'
";
        let file = FileConfig::read(text, None).unwrap();
        let [east, west] = &file.scopes[..] else { panic!("{file:?}") };
        assert_eq!(east.name.as_ref().map(ScopeName::as_str), Some("east"));
        assert_eq!(east.machine.timers, RegistrarTimers::preset(Preset::Realtime));
        assert_eq!(west.machine.timers, RegistrarTimers::default());
        assert_eq!(east.machine.limits.handlespace.max_pools, 7);
        assert_eq!((east.machine.peers.len(), west.machine.peers.len()), (0, 1));
    }

    #[test]
    fn scopes_have_names_and_addresses_of_their_own() {
        let text = "\
asap = '127.0.0.1:1'
[[scope]]
name = 'east'
asap = '127.0.0.1:3863'
enrp = []
[[scope]]
name = 'EAST'
asap = '127.0.0.1:3863'
[[scope]]
asap = []
";
        let found = problems(text).join("\n");
        for expected in [
            "line 1: asap: no such key",
            "line 7: scope[2].name: there is another scope east",
            "line 8: scope[2].asap: 127.0.0.1:3863 is of another scope already",
            "line 6: scope[2].enrp: a scope needs addresses of its own",
            "line 9: scope[3].name: a scope needs a name",
            "line 10: scope[3].asap: a registrar without an address serves nobody",
        ] {
            assert!(found.contains(expected), "{expected}\n{found}");
        }
    }

    #[test]
    fn all_problems_are_said_with_line_and_key() {
        let text = "\
asap = [\"tcp://127.0.0.1:3863\", \"udp://127.0.0.1:3863\", \"here\"]
log_level = \"loud\"
[timers]
preset = \"fast\"
peer_heartbeat = \"2s\"
keep_alive_intervall = \"1s\"
[pool.web.timers]
keep_alive_timeout = 400
[limits]
max_items = 0
";
        let found = problems(text);
        let keys: Vec<&str> = found.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(
            keys,
            [
                "asap",
                "asap",
                "log_level",
                "timers.preset",
                "timers.peer_heartbeat",
                "timers.keep_alive_intervall",
                "pool.web.timers.keep_alive_timeout",
                "limits.max_items"
            ],
            "{found:#?}"
        );
        assert!(found[6].starts_with("line 8: "), "{found:#?}");
    }
}
