//! The scenarios.

use super::Findings;
use super::load::{Load, get};
use super::log;
use super::stage::{Element, Registrar, Stage, until};
use crate::steps::Error;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Under load, one server is killed, one element is added, one is stopped through its adopter.
pub(super) fn failure(
    stage: &Stage<'_>,
    quick: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let (_registrar, registrar) = stage.registrar("default")?;
    let [killed, stopped, _stays] = three(stage, &registrar)?;
    let (proxy, address) = stage.proxy(&registrar)?;
    let [dead, left] = [&killed, &stopped].map(|element| element.server.address);

    let duration = Duration::from_secs(if quick { 10 } else { 20 });
    let load = Load::kept_alive(stage, address, 50, duration)?;
    let new = Load::new_connections(stage, address, duration)?;
    // Not a whole number of renewals of the proxy's list, which might hide the failure by chance.
    sleep(duration / 5 + Duration::from_millis(400));
    let killed_at = since_1970()?;
    killed.server.signal(Signal::KILL)?;
    sleep(duration / 10);
    let added = stage.element(&registrar, stage.server()?)?;
    sleep(duration / 10);
    let stopped_at = since_1970()?;
    let outcome = stopped.stop();
    let told = outcome.as_ref().map_or_else(ToString::to_string, |_| "yes".into());
    findings.add("adopter deregisters, drains, stops its server", "yes", told, outcome.is_ok());

    let answers = [load.finish()?, new.finish()?];
    let lines = log::read(proxy.log())?;
    let broken = lines.iter().filter(|line| line.address == dead && line.is_broken()).count();
    let failed: u64 = answers.iter().map(|answers| answers.failed).sum();
    findings.add("requests in flight on the killed server's connections", "counted", broken, true);
    findings.add("requests, 50 connections kept", "answered", answers[0].show(), true);
    findings.add("requests, a connection each", "answered", answers[1].show(), true);
    findings.add(
        "failed requests but those in flight",
        0,
        failed.saturating_sub(broken as u64),
        failed <= broken as u64,
    );
    let limit = Duration::from_millis(100);
    let last = last_attempt(&lines, dead, killed_at);
    findings.add(
        "last connection tried to the killed server",
        "within 100 ms of its end",
        last.map_or("none".into(), |last| format!("{:.1} ms", last.as_secs_f64() * 1e3)),
        last.is_none_or(|last| last <= limit),
    );
    let last = last_attempt(&lines, left, stopped_at);
    findings.add(
        "last connection tried to the stopped server",
        "within 2 s of SIGTERM, none refused",
        last.map_or("none".into(), |last| format!("{:.0} ms", last.as_secs_f64() * 1e3)),
        last.is_none_or(|last| last <= Duration::from_secs(2))
            && !lines.iter().any(|line| line.address == left && line.message == "connect failed"),
    );
    let shared = connections(&lines, added.server.address);
    findings.add("connections to the added server", "some", shared, shared > 0);
    Ok(())
}

/// Under load, all three are restarted one after the other, and three more come and go.
pub(super) fn rolling(
    stage: &Stage<'_>,
    quick: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    let (_registrar, registrar) = stage.registrar("default")?;
    let elements = three(stage, &registrar)?;
    let (proxy, address) = stage.proxy(&registrar)?;

    let duration = Duration::from_secs(if quick { 20 } else { 30 });
    let mut load = Load::kept_alive(stage, address, 50, duration)?;
    let new = Load::new_connections(stage, address, duration)?;
    sleep(Duration::from_secs(1));
    let mut restarted = Vec::new();
    for element in elements {
        let server = element.stop()?;
        restarted.push(stage.element(&registrar, server)?);
    }
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(stage.element(&registrar, stage.server()?)?);
    }
    let six = stage.answer(&registrar)?.len();
    findings.add("elements after growth", 6, six, six == 6);
    sleep(Duration::from_millis(2500));
    let addresses: Vec<SocketAddr> = more.iter().map(|element| element.server.address).collect();
    for element in &mut more {
        element.begin_to_stop()?;
    }
    for element in more {
        element.stopped()?;
    }
    let three = stage.answer(&registrar)?.len();
    findings.add("elements after shrinking", 3, three, three == 3);
    findings.add("all of it under load", "yes", yes_no(!load.is_over()), !load.is_over());

    for (what, answers) in
        [("50 connections kept", load.finish()?), ("a connection each", new.finish()?)]
    {
        findings.add(format!("requests, {what}"), "0 failed", answers.show(), answers.failed == 0);
    }
    let lines = log::read(proxy.log())?;
    for address in addresses {
        let shared = connections(&lines, address);
        findings.add(format!("connections to {address}"), "some", shared, shared > 0);
    }
    Ok(())
}

/// A server that is stopped but not dead; and one that dies behind an adopter that does not look.
pub(super) fn silence(
    stage: &Stage<'_>,
    _quick: bool,
    findings: &mut Findings,
) -> Result<(), Error> {
    {
        let (_registrar, registrar) = stage.registrar("default")?;
        let [mute, ..] = &three(stage, &registrar)?;
        let address = mute.server.address.to_string();
        mute.server.signal(Signal::STOP)?;
        let out = until_out(stage, &registrar, &address)?;
        findings.add(
            "stopped server (SIGSTOP, HTTP check) is out of every answer",
            "within 1.5 s",
            format!("{:.2} s", out.as_secs_f64()),
            out <= Duration::from_millis(1500),
        );
        let mut stays_out = true;
        let watched = Instant::now();
        while watched.elapsed() < Duration::from_secs(1) {
            stays_out &= !stage.answer(&registrar)?.contains(&address);
        }
        findings.add("and stays out", "yes", yes_no(stays_out), stays_out);
        mute.server.signal(Signal::CONT)?;
        let back = until(Duration::from_secs(5), "it is back", || {
            stage.answer(&registrar).is_ok_and(|answer| answer.contains(&address))
        });
        findings.add("and is back after SIGCONT", "yes", yes_no(back.is_ok()), back.is_ok());
    }

    // With the timers of the RFC nobody asks the element anything but on a report, and its adopter
    // looks once a minute: only the report of a user can show that the server is dead.
    let (_registrar, registrar) = stage.registrar("rfc")?;
    let servers = [stage.server()?, stage.server()?];
    let _nginx = [servers[0].start(stage)?, servers[1].start(stage)?];
    let _adopters = [
        stage.adopt(&registrar, &servers[0], "rfc")?,
        stage.adopt(&registrar, &servers[1], "rfc")?,
    ];
    let (_proxy, proxy) = stage.proxy(&registrar)?;
    until(Duration::from_secs(5), "the proxy serves", || get(proxy))?;
    let address = servers[0].address.to_string();
    servers[0].signal(Signal::KILL)?;
    sleep(Duration::from_millis(700));
    let listed = stage.answer(&registrar)?.contains(&address);
    findings.add("dead server behind a living adopter is listed", "yes", yes_no(listed), listed);
    let asked = Instant::now();
    let answered = (0..4).filter(|_| get(proxy)).count();
    let out = until_out(stage, &registrar, &address)?.min(asked.elapsed());
    findings.add("requests answered meanwhile", 4, answered, answered == 4);
    findings.add(
        "a user's report removes it",
        "within 250 ms",
        format!("{:.0} ms", out.as_secs_f64() * 1e3),
        out <= Duration::from_millis(250),
    );
    Ok(())
}

/// Three elements in the pool.
fn three(stage: &Stage<'_>, registrar: &Registrar) -> Result<[Element; 3], Error> {
    let element = || stage.element(registrar, stage.server()?);
    Ok([element()?, element()?, element()?])
}

/// How long it takes until no answer names an address.
fn until_out(stage: &Stage<'_>, registrar: &Registrar, address: &str) -> Result<Duration, Error> {
    let began = Instant::now();
    until(Duration::from_secs(10), "it is out of every answer", || {
        stage.answer(registrar).is_ok_and(|answer| !answer.iter().any(|one| one == address))
    })?;
    Ok(began.elapsed())
}

/// How long after `since` the last connection to an element was tried.
fn last_attempt(lines: &[log::Line], address: SocketAddr, since: Duration) -> Option<Duration> {
    let attempts = lines.iter().filter(|line| line.address == address && line.is_attempt());
    attempts.filter_map(|line| line.at.checked_sub(since)).max()
}

fn connections(lines: &[log::Line], address: SocketAddr) -> usize {
    lines.iter().filter(|line| line.address == address && line.message == "connected").count()
}

fn since_1970() -> Result<Duration, Error> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

fn yes_no(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}
