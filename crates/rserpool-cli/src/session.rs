//! A terminal on a pool: `rserpool session`.
//!
//! Lines in, lines out, with whichever element of the pool there is.

use crate::args::{RegistrarFlags, TimerFlags};
use crate::failure::Failure;
use crate::output::{self, OutputFlags};
use crate::resolve;
use crate::signals::Stop;
use crate::units;
use rserpool::PoolUser;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::timers::UserTimers;
use rserpool::scope::PoolName;
use rserpool::session::{
    Delivery, ElementHandle, EndReason, Event, Payload, SessionTimers, Target, UserSessionConfig,
};
use serde::Serialize;
use std::io::BufRead as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which pool; POOL@SCOPE for one of another scope
    pool: PoolName,
    /// Begin with this element, as an earlier session has named it
    #[arg(long, value_name = "ELEMENT")]
    to: Option<ElementHandle>,
    /// End with the element instead of going on with another one
    #[arg(long)]
    no_failover: bool,
    /// Take servers that know nothing of sessions, too: bytes alone, over TCP, no cookies
    #[arg(long)]
    plain: bool,
    /// Send each line with this payload protocol identifier
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = not_of_asap)]
    ppid: u32,
    /// After the last line, end when nothing has come for so long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::parse_duration)]
    linger: Duration,
    #[command(flatten)]
    registrars: RegistrarFlags,
    #[command(flatten)]
    timers: TimerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Each line of stdin is a message, each message a line of stdout. When the element dies, hangs or falls
silent, another one takes over with the newest cookie; what had been sent to the first may be lost
with it. What happens is said on stderr. Elements are programs that use PoolElement::serve.

Examples:
  rserpool session EchoPool
  echo hello | rserpool session EchoPool --json | jq -c 'select(.event == \"message\")'
  rserpool session EchoPool --to 0x0000beef/EchoPool --no-failover
  printf 'GET / HTTP/1.0\\n\\n' | rserpool session web --plain --no-failover";

/// Reads a payload protocol identifier that data may have.
fn not_of_asap(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(11) => Err("11 is the control channel's".into()),
        Ok(ppid) => Ok(ppid),
        Err(_) => Err("it is a number of 32 bits".into()),
    }
}

/// Lines read ahead.
const LINES: usize = 16;

/// What is shown with `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum View {
    Begun { element: String, at: String },
    Message { ppid: u32, text: String },
    Failover { from: String, element: String, at: String, cookie_sent: bool, unsent: usize },
    Card { pool: String, elements: Vec<String> },
    Ended { reason: String, unsent: usize },
}

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        if let Some(to) = self.to.as_ref().filter(|to| to.pool != self.pool.handle) {
            return Err(Failure::usage(format!("{to} is no element of pool {}", self.pool.handle)));
        }
        let registrars = self.registrars.of(self.pool.scope.as_ref(), stop).await?;
        let mut config = PoolUserConfig::new(registrars.locators);
        config.timers = UserTimers::preset(self.timers.timers.into());
        let user = PoolUser::with(config, registrars.network);
        let pool = self.pool.handle.clone();
        let target = self.to.clone().map_or(Target::Pool(pool), Target::Element);
        let mut config = UserSessionConfig::new(target);
        config.failover = !self.no_failover;
        config.needs_control = !self.plain;
        config.timers = SessionTimers::preset(self.timers.timers.into());
        let mut session = user.session_with(config);
        let sender = session.sender();
        let (line_sender, mut lines) = mpsc::channel(LINES);
        std::thread::spawn(move || read_lines(&line_sender));
        let mut ends = None;
        loop {
            let linger = async {
                match ends {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                line = lines.recv(), if ends.is_none() => match line {
                    Some(mut bytes) => {
                        if self.plain {
                            bytes.push(b'\n');
                        }
                        let payload = Payload { ppid: self.ppid, bytes };
                        // An empty line is no message. A session that is over says so by its last event.
                        let _ = sender.send_payload(payload, Delivery::Failover).await;
                    }
                    None => ends = Some(Instant::now() + self.linger),
                },
                event = session.next() => {
                    let Some(event) = event else { return Ok(()) };
                    if ends.is_some() {
                        ends = Some(Instant::now() + self.linger);
                    }
                    if let Some(result) = self.show(event) {
                        return result;
                    }
                }
                () = linger => break,
                () = stop.requested() => break,
            }
        }
        tokio::select! {
            () = session.close() => Ok(()),
            () = stop.requested() => Ok(()),
        }
    }

    /// Shows what has happened; gives the result if that was the last.
    fn show(&self, event: Event) -> Option<Result<(), Failure>> {
        let (view, result) = match event {
            Event::Begun(element) => {
                let at = element.user_transport.to_string();
                (View::Begun { element: self.name(element.id), at }, None)
            }
            Event::Received(Payload { ppid, bytes }) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                (View::Message { ppid, text }, None)
            }
            Event::Failover { from, to, cookie_sent, unsent } => {
                let (from, element) = (self.name(from), self.name(to.id));
                let (at, unsent) = (to.user_transport.to_string(), unsent.len());
                (View::Failover { from, element, at, cookie_sent, unsent }, None)
            }
            Event::BusinessCard(card) => {
                let elements = card.elements.iter().map(|element| element.id.to_string());
                let pool = card.handle.to_string();
                (View::Card { pool, elements: elements.collect() }, None)
            }
            Event::Ended { reason, unsent } => {
                let view = View::Ended { reason: reason.to_string(), unsent: unsent.len() };
                (view, Some(ended(reason)))
            }
            Event::Wanted(_) | Event::Unreachable(_) => return None,
        };
        let shown = if self.output.json { output::print_json(&view) } else { self.say(&view) };
        match shown {
            Ok(()) => result,
            Err(failure) => Some(Err(failure)),
        }
    }

    fn say(&self, view: &View) -> Result<(), Failure> {
        match view {
            View::Message { text, .. } if self.plain => output::print(text)?,
            View::Message { text, .. } => output::print(format_args!("{text}\n"))?,
            View::Begun { element, at } => output::talk(format_args!("with {element} at {at}")),
            View::Failover { from, element, at, cookie_sent, .. } => {
                let cookie = if *cookie_sent { "it has the cookie" } else { "there was no cookie" };
                output::talk(format_args!("{from} has failed; with {element} at {at}, {cookie}"));
            }
            View::Card { pool, elements } => {
                output::talk(format_args!("business card: {pool}, {}", elements.join(", ")));
            }
            View::Ended { reason, unsent: 0 } => output::talk(reason),
            View::Ended { reason, unsent } => {
                output::talk(format_args!("{reason}; {unsent} lines were not sent"));
            }
        }
        Ok(())
    }

    fn name(&self, id: rserpool::proto::id::PeId) -> String {
        ElementHandle { pool: self.pool.handle.clone(), id }.to_string()
    }
}

fn ended(reason: EndReason) -> Result<(), Failure> {
    match reason {
        EndReason::Finished => Ok(()),
        EndReason::NoElement(error) => Err(resolve::failure(error)),
        EndReason::Lost { .. } => Err(Failure::failed(reason)),
        EndReason::NoneUsable => Err(Failure::failed(reason).next(
            "`rserpool list` shows which elements take a control channel; --plain takes the others",
        )),
    }
}

/// Reads lines until nobody wants them.
fn read_lines(lines: &mpsc::Sender<Vec<u8>>) {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        match stdin.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    line.pop();
                }
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        }
    }
}
