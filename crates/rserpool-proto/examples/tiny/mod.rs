//! What the tiny programs share: runs a machine on the standard library alone.
//!
//! ```text
//!   a thread for each connection: opens it, reads messages --+
//!   a thread for standard input: reads lines ----------------+--> the main thread: machine
//! ```
//!
//! This is all a machine needs to be run. A program that serves thousands of connections wants
//! something that waits for all of them at once; an element or a user has one or two.

use rserpool_proto::id::AssociationId;
use rserpool_proto::machine::{
    AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, Output,
};
use rserpool_proto::time::Instant;
use rserpool_proto::wire::PPID_ASAP;
use rserpool_proto::wire::framer::Framer;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// What the program has to deal with; the rest is between the machine and its registrars.
pub(crate) enum Next<E> {
    /// The machine tells something.
    Event(E),
    /// A line of standard input.
    Line,
    /// Standard input has ended.
    End,
}

/// What a thread tells the main one.
enum News {
    Connected(AttemptId, AssociationId, TcpStream),
    NotConnected(AttemptId, CloseReason),
    Received(AssociationId, Vec<u8>),
    Closed(AssociationId, CloseReason),
    Line,
    End,
}

/// Connections and time.
pub(crate) struct Net {
    began: std::time::Instant,
    news: Receiver<News>,
    tell: SyncSender<News>,
    open: BTreeMap<AssociationId, TcpStream>,
    last: AssociationId,
}

/// Messages that may wait for the main thread; whoever reads one more waits with it.
const NEWS: usize = 16;
/// Stack of a thread that reads: it calls nothing deep.
const STACK: usize = 64 * 1024;
/// Time given to a connection to be opened, or to take a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest sleep; a machine with nothing to wait for is asked again after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

impl Net {
    /// No connections, and a thread that reads standard input.
    pub(crate) fn new() -> io::Result<Self> {
        let (tell, news) = sync_channel(NEWS);
        let began = std::time::Instant::now();
        let net = Self { began, news, tell, open: BTreeMap::new(), last: AssociationId(0) };
        net.start(|tell| {
            while io::stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0) {
                let _ = tell.send(News::Line);
            }
            let _ = tell.send(News::End);
        })?;
        Ok(net)
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.began.elapsed()
    }

    /// Runs the machine until there is something for the program.
    pub(crate) fn next<M: Machine>(&mut self, machine: &mut M) -> Next<M::Event> {
        loop {
            while let Some(output) = machine.poll_output() {
                if let Some(event) = self.carry_out(output) {
                    return Next::Event(event);
                }
            }
            let now = self.now();
            let until = machine.next_timeout();
            if until.is_some_and(|until| until <= now) {
                machine.handle_input(now, Input::Timeout);
                continue;
            }
            let wait = until.map_or(LONGEST_SLEEP, |until| until.saturating_since(now));
            // It cannot be closed: one end of it for the threads is here.
            let Ok(news) = self.news.recv_timeout(wait.min(LONGEST_SLEEP)) else { continue };
            match news {
                News::Line => return Next::Line,
                News::End => return Next::End,
                news => self.tell_machine(machine, &news),
            }
        }
    }

    fn tell_machine(&mut self, machine: &mut impl Machine, news: &News) {
        let now = self.now();
        match news {
            News::Connected(attempt, assoc, stream) => {
                let ends = (stream.local_addr(), stream.peer_addr(), stream.try_clone());
                let (Ok(local), Ok(remote), Ok(stream)) = ends else {
                    let reason = CloseReason::Lost;
                    let attempt = *attempt;
                    return machine.handle_input(now, Input::ConnectFailed { attempt, reason });
                };
                self.open.insert(*assoc, stream);
                let input = Input::Connected {
                    assoc: *assoc,
                    attempt: Some(*attempt),
                    channel: Channel::Asap,
                    local: Locator::tcp(local),
                    remote: Locator::tcp(remote),
                    identity: Identity::Anonymous,
                };
                machine.handle_input(now, input);
            }
            News::NotConnected(attempt, reason) => {
                let (attempt, reason) = (*attempt, *reason);
                machine.handle_input(now, Input::ConnectFailed { attempt, reason });
            }
            // What the machine has closed may still be heard of; it is not told.
            News::Received(assoc, bytes) if self.open.contains_key(assoc) => {
                let input = Input::Received { assoc: *assoc, ppid: PPID_ASAP, bytes };
                machine.handle_input(now, input);
            }
            News::Closed(assoc, reason) if self.open.remove(assoc).is_some() => {
                machine.handle_input(now, Input::Closed { assoc: *assoc, reason: *reason });
            }
            _ => {}
        }
    }

    fn carry_out<E>(&mut self, output: Output<E>) -> Option<E> {
        match output {
            Output::Event(event) => return Some(event),
            Output::Connect { attempt, to, .. } => self.connect(attempt, to),
            Output::Transmit { assoc, bytes, .. } => {
                if let Some(mut stream) = self.open.get(&assoc)
                    && stream.write_all(&bytes).is_err()
                {
                    // Its thread finds that out, and the machine hears it from there.
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Output::Disconnect { assoc } => {
                if let Some(stream) = self.open.remove(&assoc) {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            // A connection that comes after all is closed by the machine. Nothing is announced.
            Output::Abandon { .. } | Output::Multicast { .. } => {}
        }
        None
    }

    fn connect(&mut self, attempt: AttemptId, to: Locator) {
        self.last.0 += 1;
        let assoc = self.last;
        // If no thread can be had, it is as if nobody answered: the machine gives the attempt up.
        let _ = self.start(move |tell| {
            let connected =
                TcpStream::connect_timeout(&to.primary(), PATIENCE).and_then(|stream| {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok((stream.try_clone()?, stream))
                });
            let news = match connected {
                Ok((stream, ours)) => {
                    let _ = tell.send(News::Connected(attempt, assoc, ours));
                    News::Closed(assoc, read(&stream, assoc, &tell))
                }
                Err(error) => News::NotConnected(attempt, reason_of(&error)),
            };
            let _ = tell.send(news);
        });
    }

    fn start(&self, work: impl FnOnce(SyncSender<News>) + Send + 'static) -> io::Result<()> {
        let tell = self.tell.clone();
        thread::Builder::new().stack_size(STACK).spawn(move || work(tell)).map(drop)
    }
}

/// Reads messages until the connection ends; says why it did.
fn read(mut stream: &TcpStream, assoc: AssociationId, tell: &SyncSender<News>) -> CloseReason {
    let mut framer = Framer::new();
    let mut buffer = [0; 4096];
    loop {
        let mut bytes = match stream.read(&mut buffer) {
            Ok(0) => return CloseReason::Finished,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) => return reason_of(&error),
        };
        while !bytes.is_empty() {
            bytes = bytes.get(framer.push(bytes)..).unwrap_or_default();
            loop {
                match framer.next_frame() {
                    Ok(Some(message)) => {
                        let _ = tell.send(News::Received(assoc, message.into()));
                    }
                    Ok(None) => break,
                    Err(_) => return CloseReason::Malformed,
                }
            }
        }
    }
}

fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CloseReason::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => CloseReason::TimedOut,
        _ => CloseReason::Lost,
    }
}

/// Randomness without a dependency: the standard library seeds its hash tables from the system.
pub(crate) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_ne_bytes());
    }
    seed
}
