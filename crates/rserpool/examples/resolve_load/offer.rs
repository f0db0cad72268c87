//! An open loop: questions are asked at fixed times, whatever becomes of the answers.
//!
//! Latency counts from the time at which a question was to be asked. A generator that is late, or a
//! server that keeps it waiting, thus lengthens every latency it delays, as it does for users.

use super::Outcome;
use super::ask::Link;
use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections that the questions are spread over.
const LINKS: usize = 10;
/// Time given to the last answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most questions sent before the answers are looked at: a generator that is behind catches up
/// without losing sight of them.
const BATCH: u64 = 32;

/// Prints percentiles of the latencies, and of how late the questions were sent.
pub(super) fn offer(
    address: SocketAddr,
    question: &[u8],
    per_second: u64,
    seconds: f64,
) -> Outcome {
    let mut links = Vec::new();
    for _ in 0..LINKS {
        links.push((Link::open(address)?, VecDeque::new()));
    }
    let total = (per_second as f64 * seconds) as u64;
    let due_at = |number: u64| Duration::from_nanos(number * 1_000_000_000 / per_second);
    let (mut latencies, mut delays) = (Vec::new(), Vec::new());
    let (began, mut sent) = (Instant::now(), 0_u64);
    while (latencies.len() as u64) < total {
        let now = began.elapsed();
        if now > due_at(total) + PATIENCE {
            break;
        }
        let batch_end = total.min(sent + BATCH);
        while sent < batch_end && due_at(sent) <= now {
            let (link, asked) = &mut links[sent as usize % LINKS];
            link.stream.write_all(question)?;
            asked.push_back(due_at(sent));
            delays.push(began.elapsed() - due_at(sent));
            sent += 1;
        }
        for (link, asked) in links.iter_mut().filter(|(_, asked)| !asked.is_empty()) {
            let answers = link.answers()?;
            let now = began.elapsed();
            // Answers come in the order of the questions.
            latencies.extend(asked.drain(..answers).map(|due| now - due));
        }
    }
    let answered = latencies.len();
    let latency = Percentiles::of(latencies);
    let delay = Percentiles::of(delays);
    println!(
        "{{\"asked\":{total},\"answered\":{answered},\"latency\":{latency},\"delay\":{delay}}}"
    );
    Ok(())
}

/// Of latencies, in nanoseconds.
struct Percentiles(Vec<Duration>);

impl Percentiles {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    fn at(&self, share: f64) -> u128 {
        let position = (self.0.len() as f64 * share) as usize;
        let last = self.0.len().saturating_sub(1);
        self.0.get(position.min(last)).map_or(0, Duration::as_nanos)
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share));
        write!(f, "{{\"p50\":{p50},\"p99\":{p99},\"p999\":{p999},\"max\":{max}}}")
    }
}
