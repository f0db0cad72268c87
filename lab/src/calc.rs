//! The calculation service of the reference implementation, as it is on the wire, of both sides.
//!
//! ```text
//!   message, of identifier 34   kind | 0 | 24 (2) | job (4) | size (8) | completed (8)
//!   cookie                      job (4) | size (8) | completed (8)
//!
//!   user --- request ---> <--- accept, cookies, complete --- element      a session for each job
//!        <-- keep-alive, acknowledged --> either way
//! ```
//!
//! An element takes time in proportion to the size, and leaves what it has done in cookies.

use crate::client::unix_us;
use rserpool::PoolUser;
use rserpool::proto::id::PoolHandle;
use rserpool::session::serve::{Incoming, ServedSession, Start};
use rserpool::session::{Event, Payload};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

const PPID: u32 = 34;
const REQUEST: u8 = 1;
const ACCEPT: u8 = 2;
const COMPLETE: u8 = 5;
const KEEP_ALIVE: u8 = 6;
const KEEP_ALIVE_ACK: u8 = 7;

/// What an element does in a second.
const RATE: u64 = 1_000_000;
/// Time between two cookies.
const STEP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Job {
    number: u32,
    size: u64,
    completed: u64,
}

impl Job {
    fn to_bytes(self) -> Vec<u8> {
        let (size, completed) = (self.size.to_be_bytes(), self.completed.to_be_bytes());
        [&self.number.to_be_bytes()[..], &size, &completed].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        Some(Self {
            number: u32::from_be_bytes(*number),
            size: u64::from_be_bytes(*size),
            completed: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

fn message(kind: u8, job: Job) -> Payload {
    Payload { ppid: PPID, bytes: [vec![kind, 0, 0, 24], job.to_bytes()].concat() }
}

fn read(bytes: &[u8]) -> Option<(u8, Job)> {
    let ([kind, ..], rest) = bytes.split_first_chunk::<4>()?;
    Some((*kind, Job::from_bytes(rest)?))
}

/// Works on a job; says where it begins.
pub(crate) async fn serve(mut session: ServedSession) {
    let mut job = match session.start() {
        Start::Resumed(cookie) => Job::from_bytes(cookie),
        _ => None,
    };
    if let Some(job) = job {
        println!("job {} goes on at {}", job.number, job.completed);
        if session
            .send_payload(message(ACCEPT, Job { size: 0, completed: 0, ..job }))
            .await
            .is_err()
        {
            return;
        }
    }
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            incoming = session.next() => {
                let Some(incoming) = incoming else { return };
                let Incoming::Message(Payload { bytes, .. }) = incoming else { continue };
                match read(&bytes) {
                    Some((REQUEST, request)) => {
                        println!("job {} begins", request.number);
                        job = Some(request);
                        steps.reset();
                        session.send_payload(message(ACCEPT, Job { size: 0, ..request })).await
                    }
                    Some((KEEP_ALIVE, question)) => {
                        session.send_payload(message(KEEP_ALIVE_ACK, question)).await
                    }
                    _ => Ok(()),
                }
            }
            _ = steps.tick() => {
                let Some(work) = &mut job else { continue };
                work.completed += RATE / 10;
                if work.completed < work.size {
                    session.send_cookie(&work.to_bytes()).await
                } else {
                    work.completed = work.size;
                    let done = message(COMPLETE, *work);
                    job = None;
                    session.send_payload(done).await
                }
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Has one job done, and prints what happens to it as `converse` does.
pub(crate) async fn calculate(user: &PoolUser, pool: &PoolHandle, size: u64) -> io::Result<()> {
    let mut session = user.session(pool);
    let job = Job { number: 1, size, completed: 0 };
    let began = Instant::now();
    let sender = session.sender();
    let say = async |kind, job| {
        sender.send_payload(message(kind, job), Default::default()).await.map_err(io::Error::other)
    };
    say(REQUEST, job).await?;
    loop {
        match session.next().await {
            Some(Event::Begun(element)) => println!("{} - - {:#x} begun", unix_us(), element.id.0),
            Some(Event::Failover { to, cookie_sent, .. }) => {
                println!("{} - - {:#x} failover cookie={cookie_sent}", unix_us(), to.id.0);
                // The reference implementation looks at a cookie when something follows it.
                say(if cookie_sent { KEEP_ALIVE } else { REQUEST }, job).await?;
            }
            Some(Event::Received(payload)) => match read(&payload.bytes) {
                Some((KEEP_ALIVE, question)) => say(KEEP_ALIVE_ACK, question).await?,
                Some((COMPLETE, done)) => {
                    let ms = began.elapsed().as_secs_f64() * 1e3;
                    let id = session.element().map_or(0, |element| element.id.0);
                    println!("{} {ms:.1} 1 {id:#x} {}", unix_us(), done.completed);
                    session.close().await;
                    return Ok(());
                }
                _ => {}
            },
            Some(Event::Ended { reason, .. }) => return Err(io::Error::other(reason)),
            Some(_) => {}
            None => return Err(io::Error::other("the session is over")),
        }
    }
}
