//! A registrar joins another one that serves users meanwhile.

use super::Outcome;
use super::host::{Host, quiet};
use super::link::{Link, question};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Questions a second.
const RATE: u32 = 1_000;
/// How long answers are timed before and, at least, during the join.
const WHILE: Duration = Duration::from_secs(1);

pub(crate) fn run(elements: u32) -> Outcome {
    let mentor = Host::start(&[], quiet())?;
    let mut link = Link::open(mentor.asap)?;
    link.register(elements)?;
    let (ends, asks) = (AtomicBool::new(false), AtomicBool::new(false));
    let (before, during, joined) = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let before = ask(mentor.asap, &asks).map_err(|error| error.to_string())?;
            let during = ask(mentor.asap, &ends).map_err(|error| error.to_string())?;
            Ok::<_, String>((before, during))
        });
        thread::sleep(WHILE);
        asks.store(true, Ordering::Relaxed);
        let joined = Host::start(&[&mentor], quiet());
        ends.store(true, Ordering::Relaxed);
        let (before, during) = asked.join().map_err(|_| "the user has panicked")??;
        Ok::<_, Box<dyn std::error::Error>>((before, during, joined?))
    })?;
    if joined.elements != elements as usize {
        return Err(format!("it serves with {} elements of {elements}", joined.elements).into());
    }
    let seconds = joined.in_service_after.as_secs_f64();
    println!(
        r#"{{"elements":{elements},"in_service_s":{seconds:.4},"p99_before_ms":{:.3},"p99_during_ms":{:.3},"max_during_ms":{:.3}}}"#,
        percentile(&before, 99),
        percentile(&during, 99),
        percentile(&during, 100),
    );
    Ok(())
}

/// Asks at fixed times until it is to end; how long each answer took, from the time it was due.
fn ask(address: SocketAddr, ends: &AtomicBool) -> Outcome<Vec<Duration>> {
    let (mut link, question) = (Link::open(address)?, question()?);
    let mut times = Vec::new();
    let began = Instant::now();
    while !ends.load(Ordering::Relaxed) || times.is_empty() {
        let due = Duration::from_secs(1) * (times.len() as u32) / RATE;
        thread::sleep(due.saturating_sub(began.elapsed()));
        link.send(&question)?;
        while link.answers()? == 0 {}
        times.push(began.elapsed().saturating_sub(due));
    }
    times.sort_unstable();
    Ok(times)
}

/// In milliseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
