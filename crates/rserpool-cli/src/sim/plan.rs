//! Which policy holds for a pool of one's own: `rserpool sim plan`.

use super::show::ShowFlags;
use crate::config::{self, Problem, Section};
use crate::definitions;
use crate::failure::Failure;
use crate::registrar::rules;
use rserpool::proto::policy::{PolicyKind, PolicyTable, Rules};
use rserpool_sim::planner::study::Point;
use rserpool_sim::planner::{Chooser, Failures, Outage, Own, Scenario, Server, Sizes};
use std::path::PathBuf;
use toml::de::DeValue;

/// Play a pool of one's own, by several policies, before it is built
///
/// A file says what there is: servers, users, requests, failures, delays, policies. Everything is
/// played in virtual time through the registrar's own pool and policies.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    show: ShowFlags,
}

const EXAMPLES: &str = "\
Examples:
  rserpool sim plan pool.toml --svg pool.svg

A file; everything but servers has a default:
  policies = [\"least-used\", \"round-robin\", \"half-full\"]
  liars = 1                     # servers, the first ones, that always say they are idle
  idle_load = 0.02              # what the others say when they are
  proxies = [10]                # beside them: proxies that know nothing of each other
  utilisation = [0.5, 0.7, 0.85]  # what is asked for of all capacity
  users = 100
  delay = \"1ms\"               # between any two hosts
  noticed = \"10ms\"            # until a server that has failed is known to have
  warm_up = \"15m\"
  measured = \"2h\"

  [request]
  time = \"1s\"                 # mean, alone on a server of capacity 1
  distribution = \"exponential\"  # or constant, uniform

  [selection]                   # as in a registrar's file: a guard against loads that are not honest
  share_cap = 4
  slow_start = true

  [[policy]]                    # one of your own, to be named in policies
  name = \"half-full\"
  words = [\"load\"]
  key = \"if load < 0.5 { 0 } else { load }\"

  [[servers]]
  count = 8

  [[servers]]
  count = 2
  capacity = 2.0
  requests = 50                 # most at a time

  [failures]                    # of each server, again and again
  every = \"30m\"
  lasts = \"10s\"

  [[outage]]                    # two servers die at 85 % load: which policy holds?
  at = \"10m\"                  # from the end of the warm-up
  servers = 2
  lasts = \"30m\"";

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = self.file.display();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        let points = config::read(&text, read).map_err(|problems| {
            let lines: Vec<String> =
                problems.iter().map(|one: &Problem| format!("  {one}")).collect();
            Failure::usage(format!("problems in {name}\n{}", lines.join("\n")))
                .next("`rserpool sim plan --help` shows a file")
        })?;
        self.show.play(points, ("part of the capacity that is asked for", false)).map(drop)
    }
}

/// Calculations a second of a server of capacity 1.
const CAPACITY: f64 = 1e6;

fn read(root: &mut Section<'_>) -> Vec<Point> {
    let table = definitions::take(root);
    let choosers = choosers(root, &table);
    let mut selection = Rules::default();
    root.section("selection", |section| rules(section, &mut selection));
    let liars = root.take("liars", config::count::<u32>).unwrap_or(0) as usize;
    let idle_load = root.take("idle_load", positive).unwrap_or(0.0);
    let utilisations = root.take_list("utilisation", positive).unwrap_or_else(|| vec![0.8]);
    let users = root.take("users", config::count::<u32>).unwrap_or(100) as usize;
    let seconds = |root: &mut Section<'_>, key, default: f64| {
        root.take(key, config::duration).map_or(default, |time| time.as_secs_f64())
    };
    let delay = seconds(root, "delay", 0.0);
    let noticed = seconds(root, "noticed", 0.01);
    let retry = seconds(root, "retry", 0.2);
    let warm_up = seconds(root, "warm_up", 15.0 * 60.0);
    let measured = seconds(root, "measured", 120.0 * 60.0);
    let (mut size, mut sizes) = (CAPACITY, Sizes::default());
    root.section("request", |request| {
        size = CAPACITY * seconds(request, "time", 1.0);
        request.set("distribution", &mut sizes, distribution);
    });
    let servers: Vec<Server> = root
        .sections("servers", |server| {
            let count = server.take("count", config::count::<u32>).unwrap_or(1) as usize;
            let capacity = server.take("capacity", positive).unwrap_or(1.0) * CAPACITY;
            let requests = server.take("requests", config::count::<u32>).unwrap_or(100) as usize;
            vec![Server { capacity, requests }; count.min(rserpool_sim::planner::MOST + 1)]
        })
        .concat();
    if servers.is_empty() {
        root.problem("servers", "a pool needs servers: write [[servers]]");
    }
    let mut failures = None;
    root.section("failures", |section| {
        let [mtbf, mttr] = [("every", 3600.0), ("lasts", 10.0)]
            .map(|(key, default)| seconds(section, key, default));
        failures = Some(Failures { mtbf, mttr });
    });
    let outages = root.sections("outage", |section| Outage {
        at: seconds(section, "at", 0.0),
        servers: section.take("servers", config::count::<u32>).unwrap_or(1) as usize,
        lasts: seconds(section, "lasts", 60.0),
    });
    let mut points = Vec::new();
    for (name, chooser) in choosers {
        for &utilisation in &utilisations {
            let mut scenario = Scenario {
                servers: servers.clone(),
                users,
                size,
                sizes,
                interval: 1.0,
                chooser,
                rules: selection,
                liars,
                idle_load,
                delay,
                failures,
                outages: outages.clone(),
                noticed,
                retry,
                warm_up,
                measured,
                siege: None,
            };
            scenario.ask_for(utilisation);
            points.push(Point {
                panel: format!("{} servers, {users} users", servers.len()),
                series: name.clone(),
                x: utilisation,
                scenario,
                published: None,
            });
        }
    }
    points
}

/// Who chooses, in the order of the file.
fn choosers(root: &mut Section<'_>, table: &PolicyTable) -> Vec<(String, Chooser)> {
    let chooser = |kind: &PolicyKind| match PolicyTable::builtin().by_name(kind.name) {
        Some(_) => Chooser::Policy(kind.name),
        None => Chooser::Own(Own(*kind)),
    };
    let policies = root.take_list("policies", |value| {
        let name = config::text(value)?;
        let kind = table.by_name(name).ok_or_else(|| {
            let names: Vec<_> = table.iter().map(|kind| kind.name).collect();
            format!("there is no policy {name}, only {}", names.join(", "))
        })?;
        Ok((kind.name.to_owned(), chooser(kind)))
    });
    let usual = ["least-used", "round-robin", "random"];
    let usual = usual.map(|name| (name.to_owned(), Chooser::Policy(name)));
    let proxies = root.take_list("proxies", config::count::<u32>).unwrap_or_default();
    let policies = policies.unwrap_or_else(|| usual.into()).into_iter();
    let proxies = proxies
        .into_iter()
        .map(|count| (format!("{count} proxies"), Chooser::Proxies(count as usize)));
    policies.chain(proxies).collect()
}

/// Reads a number above zero, with or without a fraction.
fn positive(value: &DeValue<'_>) -> Result<f64, String> {
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        _ => return Err("a number is wanted".into()),
    };
    let number: f64 = text.replace('_', "").parse().map_err(|_| format!("{text} is no number"))?;
    match number > 0.0 && number.is_finite() {
        true => Ok(number),
        false => Err("it must be above zero".into()),
    }
}

fn distribution(value: &DeValue<'_>) -> Result<Sizes, String> {
    match config::text(value)? {
        "exponential" => Ok(Sizes::Exponential),
        "constant" => Ok(Sizes::Constant),
        "uniform" => Ok(Sizes::Uniform),
        _ => Err("it is none of exponential, constant, uniform".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_help_can_be_played() {
        let example = EXAMPLES.split("default:\n").nth(1).unwrap();
        let points = config::read(example, read).unwrap();
        // Four choosers with three utilisations.
        assert_eq!(points.len(), 12);
        for point in &points {
            assert_eq!(point.scenario.check(), Ok(()));
        }
        assert_eq!(points[0].scenario.servers.len(), 10);
        assert_eq!(points[0].scenario.outages[0].servers, 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_at_once() {
        let text = "policies = ['least-usd']\nutilisation = -1\n[request]\ntime = 3\n";
        let problems = config::read(text, read).unwrap_err();
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said.iter().any(|one| one.contains("there is no policy least-usd")), "{said:?}");
    }
}
