//! Jobs for whichever server has least to do; those of a server that dies are given to others.
//!
//! `cargo run -p rserpool --example compute -- serve` on two terminals or more, with a registrar, and
//! then `cargo run -p rserpool --example compute -- count 3000000`: how many primes there are below
//! it. Kill servers meanwhile.
//!
//! The pool's policy is least used: a server registers anew with its load when that changes. A worker is
//! a session without failover: when it ends, its job goes back to the queue, and the next session is
//! with another server.
#![expect(clippy::print_stderr, reason = "a program")]

use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::transport::Transport;
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession};
use rserpool::session::{Event, Target, UserSessionConfig};
use rserpool::{PoolElement, PoolUser};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Where the registrar is, unless RSERPOOL_REGISTRAR says so.
const HERE: &str = "tcp://127.0.0.1:3863";
/// Numbers in a job.
const JOB: u64 = 10_000;
/// Jobs under way.
const WORKERS: usize = 8;
/// Least used with degradation: load, and what each selection adds to it until the next report, as
/// shares of 2^32 (RFC 5356 §5.2).
const LEAST_USED: PolicyNumber = PolicyNumber(0x4000_0002);
/// A session's share.
const SHARE: u32 = 1 << 26;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let registrar = std::env::var("RSERPOOL_REGISTRAR");
    let registrars: Vec<Locator> = vec![registrar.as_deref().unwrap_or(HERE).parse()?];
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => serve(registrars).await,
        ["count", below] => {
            let primes = count(registrars, below.parse()?).await?;
            eprintln!("{primes} primes below {below}");
            Ok(())
        }
        _ => Err("compute serve, or compute count NUMBER".into()),
    }
}

async fn serve(registrars: Vec<Locator>) -> Outcome {
    let here = Transport::Tcp("127.0.0.1:0".parse()?);
    let mut element = PoolElementConfig::new("Primes".parse()?, here, registrars);
    element.policy = load(0);
    let busy = Arc::new(AtomicU32::new(0));
    let counted = busy.clone();
    let handler = move |session| {
        let busy = counted.clone();
        async move {
            busy.fetch_add(1, Ordering::Relaxed);
            work(session).await;
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    };
    let service = PoolElement::serve(ServeConfig::new(element), handler).await?;
    let mut told = 0;
    let report = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = busy.load(Ordering::Relaxed);
            if now != told {
                told = now;
                service.element().set_policy(load(now)).await;
            }
        }
    };
    tokio::select! {
        () = report => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(service.shutdown().await?)
}

fn load(sessions: u32) -> PolicyParameter {
    PolicyParameter::new(LEAST_USED, &[sessions.saturating_mul(SHARE), SHARE])
}

/// Answers each number with how many primes there are among it and those behind it.
async fn work(mut session: ServedSession) {
    while let Some(Incoming::Message(payload)) = session.next().await {
        let Some(from) = payload.bytes.first_chunk() else { return };
        let from = u64::from_be_bytes(*from);
        let counting = move || (from..from.saturating_add(JOB)).filter(|n| is_prime(*n)).count();
        let Ok(primes) = tokio::task::spawn_blocking(counting).await else { return };
        if session.send((primes as u64).to_be_bytes()).await.is_err() {
            return;
        }
    }
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

async fn count(registrars: Vec<Locator>, below: u64) -> Outcome<u64> {
    let mut config = PoolUserConfig::new(registrars);
    // The registrar chooses, each time.
    config.timers.stale_cache_value = Duration::ZERO;
    config.items = Some(1);
    let user = PoolUser::new(config);
    let mut config = UserSessionConfig::new(Target::Pool("Primes".parse()?));
    config.failover = false;
    let jobs: VecDeque<u64> = (0..below / JOB).map(|job| job * JOB).collect();
    let (jobs, mut left) = (Arc::new(Mutex::new(jobs)), below / JOB);
    let turns = Arc::<tokio::sync::Mutex<()>>::default();
    let (mut workers, mut sum) = (JoinSet::new(), 0);
    while left > 0 {
        while workers.len() < WORKERS {
            workers.spawn(one_session(user.clone(), config.clone(), jobs.clone(), turns.clone()));
        }
        let Some(done) = workers.join_next().await else { break };
        let (jobs_done, primes) = done?;
        left -= jobs_done;
        sum += primes;
    }
    Ok(sum)
}

/// Works through jobs until the server fails or nothing is left: how many, and what they gave.
async fn one_session(
    user: PoolUser,
    config: UserSessionConfig,
    jobs: Arc<Mutex<VecDeque<u64>>>,
    turns: Arc<tokio::sync::Mutex<()>>,
) -> (u64, u64) {
    let queue = || jobs.lock().unwrap_or_else(PoisonError::into_inner);
    // What is under way may come back.
    const LOOK: Duration = Duration::from_millis(20);
    if queue().is_empty() {
        tokio::time::sleep(LOOK).await;
        return (0, 0);
    }
    // One after the other: questions that are asked at the same time have one answer.
    let turn = turns.lock().await;
    let mut session = user.session_with(config);
    if !matches!(session.next().await, Some(Event::Begun(_))) {
        return (0, 0);
    }
    drop(turn);
    let (mut done, mut sum) = (0, 0);
    loop {
        let Some(job) = queue().pop_front() else {
            session.close().await;
            return (done, sum);
        };
        let sent = session.send(job.to_be_bytes()).await.is_ok();
        let answer = if sent { session.recv().await } else { None };
        let Some(primes) = answer.as_ref().and_then(|answer| answer.bytes.first_chunk()) else {
            eprintln!("the server of job {job} has failed");
            queue().push_back(job);
            return (done, sum);
        };
        done += 1;
        sum += u64::from_be_bytes(*primes);
    }
}
