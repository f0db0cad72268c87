//! The load of `cargo xtask bench session`: elements that are killed, each a process of its own, and
//! a user that goes on.
//!
//! ```text
//! registrar               serves; prints its address
//! element ADDRESS         counts what a session says, and keeps that in a cookie; prints its identifier
//! sink ADDRESS            takes messages and says how many there were when one of a single byte comes
//! bare                    the same on a TCP connection without a session; prints its address
//! kills ADDRESS TIMES     a session through so many kills -9 of its element; prints milliseconds
//! flow ADDRESS SIZE COUNT      messages a second through a session
//! bare-flow ADDRESS SIZE COUNT and through a connection
//! ```
//!
//! Servers end with standard input.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]

use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use rserpool::session::serve::{Incoming, ServeConfig, ServedSession, Start};
use rserpool::session::{Delivery, Event, Payload};
use rserpool::{PoolElement, PoolUser, Registrar, registrar};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Whatever went wrong; the benchmark shows it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["registrar"] => {
            let any: SocketAddr = "127.0.0.1:0".parse()?;
            let (asap, enrp) = (vec![Locator::tcp(any)], vec![Locator::tcp(any)]);
            let config = registrar::Config { asap, enrp, ..registrar::Config::default() };
            let registrar = Registrar::start(config).await?;
            println!("{}", registrar.asap_addrs().first().ok_or("no address")?);
            input_ends().await;
        }
        ["element", address] => serve(address.parse()?, "Count", count).await?,
        ["sink", address] => serve(address.parse()?, "Sink", sink).await?,
        ["bare"] => bare().await?,
        ["kills", address, times] => kills(address.parse()?, times.parse()?).await?,
        ["flow", address, size, messages] => {
            flow(address.parse()?, size.parse()?, messages.parse()?).await?;
        }
        ["bare-flow", address, size, messages] => {
            bare_flow(address.parse()?, size.parse()?, messages.parse()?).await?;
        }
        _ => return Err("see the first lines of the program".into()),
    }
    Ok(())
}

async fn input_ends() {
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    let _ = tokio::task::spawn_blocking(wait).await;
}

async fn serve<R>(
    registrar: SocketAddr,
    pool: &str,
    handler: impl Fn(ServedSession) -> R + Send + Sync + 'static,
) -> Outcome
where
    R: Future<Output = ()> + Send + 'static,
{
    let transport = Transport::Tcp("127.0.0.1:0".parse()?);
    let config = PoolElementConfig::new(pool.parse()?, transport, vec![Locator::tcp(registrar)]);
    let service = PoolElement::serve(ServeConfig::new(config), handler).await?;
    service.element().registered().await?;
    println!("{}", service.element().id());
    input_ends().await;
    Ok(())
}

/// Answers each message with how many there were, here and before.
async fn count(mut session: ServedSession) {
    let mut count = match session.start() {
        Start::Resumed(state) => state.first_chunk().map_or(0, |state| u64::from_be_bytes(*state)),
        _ => 0,
    };
    while let Some(Incoming::Message(payload)) = session.next().await {
        let number = payload.bytes.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
        // One that comes again is not counted again.
        count += u64::from(number == count + 1);
        let state = count.to_be_bytes();
        if session.send_cookie(&state).await.is_err() || session.send(state).await.is_err() {
            return;
        }
    }
}

async fn sink(mut session: ServedSession) {
    let mut count = 0u64;
    while let Some(Incoming::Message(payload)) = session.next().await {
        count += 1;
        if payload.bytes.len() == 1 && session.send(count.to_be_bytes()).await.is_err() {
            return;
        }
    }
}

/// How many messages are answered between two kills.
const EACH: u64 = 10;
/// Elements that stand by.
const SPARES: usize = 3;

struct Elements {
    registrar: SocketAddr,
    by_name: BTreeMap<String, Child>,
}

impl Elements {
    fn start(&mut self) -> Outcome {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["element", &self.registrar.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        self.by_name.insert(line.trim().into(), child);
        Ok(())
    }

    /// With -9.
    fn kill(&mut self, name: &str) -> Outcome {
        let mut child = self.by_name.remove(name).ok_or("an element that nobody knows")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Elements {
    fn drop(&mut self) {
        for child in self.by_name.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// From the kill to the first answer of the next element, each time.
async fn kills(registrar: SocketAddr, times: usize) -> Outcome {
    let mut elements = Elements { registrar, by_name: BTreeMap::new() };
    for _ in 0..SPARES {
        elements.start()?;
    }
    let user = PoolUser::new(PoolUserConfig::new(vec![Locator::tcp(registrar)]));
    let mut session = user.session(&"Count".parse::<PoolHandle>()?);
    let sender = session.sender();
    let ask = async |number: u64| {
        let payload = Payload { ppid: 0, bytes: number.to_be_bytes().into() };
        sender.send_payload(payload, Delivery::NoFailover).await
    };
    let (mut number, mut killed, mut outages) = (1u64, None, Vec::new());
    ask(number).await?;
    while outages.len() < times {
        match session.next().await.ok_or("the session has ended")? {
            Event::Received(payload) => {
                if payload.bytes != number.to_be_bytes() {
                    return Err(format!("{:?} is not {number}", payload.bytes).into());
                }
                if let Some(since) = Option::<Instant>::take(&mut killed) {
                    outages.push(since.elapsed().as_secs_f64() * 1e3);
                    elements.start()?;
                    // Time in which the new one is listed and the cache has grown old.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if number % EACH == 0 && outages.len() < times {
                    let current = session.element().ok_or("no element")?.id.to_string();
                    killed = Some(Instant::now());
                    elements.kill(&current)?;
                }
                number += 1;
                ask(number).await?;
            }
            Event::Failover { cookie_sent: true, .. } => ask(number).await?,
            Event::Failover { .. } => return Err("no cookie was sent".into()),
            Event::Ended { reason, .. } => return Err(reason.into()),
            _ => {}
        }
    }
    let outages: Vec<String> = outages.iter().map(|outage| format!("{outage:.3}")).collect();
    println!("[{}]", outages.join(","));
    Ok(())
}

async fn flow(registrar: SocketAddr, size: usize, messages: u64) -> Outcome {
    let user = PoolUser::new(PoolUserConfig::new(vec![Locator::tcp(registrar)]));
    let mut session = user.session(&"Sink".parse::<PoolHandle>()?);
    while session.element().is_none() {
        session.next().await.ok_or("the session has ended")?;
    }
    let began = Instant::now();
    for _ in 1..messages {
        session.send(vec![7; size]).await?;
    }
    session.send([0]).await?;
    let answer = session.recv().await.ok_or("the session has ended")?;
    if answer.bytes != messages.to_be_bytes() {
        return Err("messages are missing".into());
    }
    println!("{:.0}", messages as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

/// Length before each message, as any application would do.
async fn bare() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(bare_sink(stream));
        }
    };
    tokio::select! {
        result = accept => result,
        () = input_ends() => Ok(()),
    }
}

async fn bare_sink(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = tokio::io::BufReader::with_capacity(64 * 1024, stream);
    let mut count = 0u64;
    loop {
        let len = stream.read_u32().await? as usize;
        let mut message = vec![0; len];
        stream.read_exact(&mut message).await?;
        count += 1;
        if message.len() == 1 {
            stream.write_u64(count).await?;
        }
    }
}

async fn bare_flow(address: SocketAddr, size: usize, messages: u64) -> Outcome {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let began = Instant::now();
    for _ in 1..messages {
        let mut message = Vec::with_capacity(4 + size);
        message.extend_from_slice(&u32::try_from(size)?.to_be_bytes());
        message.resize(4 + size, 7);
        stream.write_all(&message).await?;
    }
    stream.write_all(&[0, 0, 0, 1, 0]).await?;
    if stream.read_u64().await? != messages {
        return Err("messages are missing".into());
    }
    println!("{:.0}", messages as f64 / began.elapsed().as_secs_f64());
    Ok(())
}
