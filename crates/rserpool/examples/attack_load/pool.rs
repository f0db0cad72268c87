//! A registrar, ten elements that take time to serve, and a hundred users.
//!
//! The registrar has a thread of its own. An element works on one request after the other, for as
//! long as the request says, and registers its load anew whenever that has changed. A user has a
//! queue of its own, asks for each request whom to send it to, and has an address of its own, for it is by
//! that whose questions and reports they are. Sizes and times between requests are the same in each round.

use super::authority::Authority;
use super::{Outcome, handle};
use rserpool::driver::Network;
use rserpool::pool_element::PoolElementConfig;
use rserpool::proto::id::{PeId, ServerId};
use rserpool::proto::machine::Locator;
use rserpool::proto::policy::{PolicyParameter, PolicyTable, Rules};
use rserpool::proto::registrar::{Authority as Rights, Grants, Readers};
use rserpool::proto::timers::Preset;
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::framer::frame_len;
use rserpool::proto::wire::pool_element::PoolElement as WireElement;
use rserpool::proto::wire::transport::Transport;
use rserpool::tls::{Settings, Tls};
use rserpool::{PoolElement, Registrar, registrar};
use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};

const ELEMENTS: u64 = 10;
const USERS: u64 = 100;
/// Mean size of a request: the time that an element works on it.
const SIZE: Duration = Duration::from_millis(20);
/// Part of what the elements can do that is asked for.
const ASKED: f64 = 0.6;
/// Requests that are a load of 100 %.
const MOST: u32 = 100;
/// What a user waits for that finds nobody, before it reports and tries again.
const UNANSWERED: Duration = SIZE;
/// Time of a round before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Where the registrar is reached, with and without TLS.
type Addresses = (SocketAddr, SocketAddr);

pub(crate) fn run(policy: &str, is_secured: bool, seconds: f64) -> Outcome {
    let kind = *PolicyTable::builtin().by_name(policy).ok_or("there is no such policy")?;
    let authority = Arc::new(Authority::new());
    let (told, tells) = std::sync::mpsc::channel();
    let of_registrar = Arc::clone(&authority);
    std::thread::spawn(move || {
        let served = serve(&of_registrar, is_secured, &told);
        // Nobody is left to tell if the benchmark has ended.
        let _ = told.send(served.map_err(|error| error.to_string()));
    });
    let (asap, plain) = tells.recv()??;
    let (words, mut inbox) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || words.blocking_send(()).is_err() {
                break;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let policy = move |requests: u32| {
            let load = |word: &str| if word == "load" { requests } else { 1 };
            let words: Vec<u32> =
                kind.words.iter().map(|word| load(word.name) * (u32::MAX / MOST)).collect();
            PolicyParameter::new(kind.number, &words)
        };
        for _ in 0..ELEMENTS {
            let tls = is_secured.then(|| authority.tls(&["rserpool://lab/element/*"]));
            let network = Network { tls, ..Network::default() };
            element(asap, network, policy).await?;
        }
        println!("{plain}");
        while inbox.recv().await.is_some() {
            let round = round(plain, Duration::from_secs_f64(seconds)).await;
            println!("{:.4} {} {}", round.speed(), round.done(), round.again());
        }
        Ok(())
    })
}

/// Serves until the process ends.
fn serve(
    authority: &Authority,
    is_secured: bool,
    told: &std::sync::mpsc::Sender<Result<Addresses, String>>,
) -> Outcome<Addresses> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let any = || vec![Locator::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))];
        let mut config =
            registrar::Config { asap: any(), enrp: Vec::new(), ..registrar::Config::default() };
        config.machine.id = ServerId(1);
        config.machine.limits.handlespace.rules = Rules::preset(Preset::Default);
        if is_secured {
            let names = &["rserpool://lab/registrar", "127.0.0.1"];
            let settings = Settings { anonymous: true, ..authority.settings(names) };
            (config.plain, config.tls) = (any(), Some(Tls::open(settings)?));
            let readers = Readers::Everybody;
            let grants = Grants { scope: "lab".into(), readers, ..Grants::default() };
            config.machine.authority = Rights::Secured(Arc::new(grants));
        }
        let registrar = Registrar::start(config).await?;
        let asap = *registrar.asap_addrs().first().ok_or("no address")?;
        let plain = registrar.plain_addrs().first().copied().unwrap_or(asap);
        told.send(Ok((asap, plain)))?;
        std::future::pending().await
    })
}

/// An element, and its registration with whatever load it has.
async fn element(
    registrar: SocketAddr,
    network: Network,
    policy: impl Fn(u32) -> PolicyParameter + Send + 'static,
) -> Outcome {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let transport = Transport::Tcp(listener.local_addr()?);
    let mut config = PoolElementConfig::new(handle(), transport, vec![Locator::tcp(registrar)]);
    config.policy = policy(0);
    let element = PoolElement::start_with(config, network).await?;
    element.registered().await?;
    let (load, mut loads) = watch::channel(0u32);
    tokio::spawn(async move {
        while loads.changed().await.is_ok() {
            let load = *loads.borrow_and_update();
            element.set_policy(policy(load.min(MOST))).await;
        }
    });
    let turn = Arc::new(Mutex::new(()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (load, turn) = (load.clone(), Arc::clone(&turn));
            tokio::spawn(async move {
                load.send_modify(|load| *load += 1);
                if let Ok(micros) = stream.read_u64().await {
                    let work = turn.lock().await;
                    sleep(Duration::from_micros(micros)).await;
                    drop(work);
                    let _ = stream.write_u8(1).await;
                }
                load.send_modify(|load| *load -= 1);
            });
        }
    });
    Ok(())
}

/// What a round has shown.
#[derive(Default)]
struct Round {
    /// In microseconds.
    sizes: AtomicU64,
    times: AtomicU64,
    done: AtomicU64,
    again: AtomicU64,
}

impl Round {
    fn speed(&self) -> f64 {
        let [sizes, times] = [&self.sizes, &self.times].map(|sum| sum.load(Ordering::Relaxed));
        sizes as f64 / times.max(1) as f64
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }
}

async fn round(registrar: SocketAddr, length: Duration) -> Arc<Round> {
    let round = Arc::new(Round::default());
    let began = Instant::now();
    let users: Vec<_> = (0..USERS)
        .map(|number| tokio::spawn(user(number, registrar, began, Arc::clone(&round))))
        .collect();
    sleep_until(began + WARM_UP + length).await;
    users.into_iter().for_each(|user| user.abort());
    round
}

/// Sends one request after the other, in the order in which they come up.
async fn user(number: u64, registrar: SocketAddr, began: Instant, round: Arc<Round>) {
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).unwrap_or(u8::MAX));
    let Ok(mut pool) = Asker::open(from, registrar).await else { return };
    // Streams of their own.
    let mut random = Random(number.wrapping_mul(0x632b_e59b_d9b4_e019));
    let interval = SIZE.mul_f64(USERS as f64 / (ASKED * ELEMENTS as f64));
    let mut queued = began;
    loop {
        queued += interval.mul_f64(random.exponential());
        let size = SIZE.mul_f64(random.exponential());
        sleep_until(queued).await;
        while !handled(&mut pool, size).await {
            round.again.fetch_add(1, Ordering::Relaxed);
        }
        if queued >= began + WARM_UP {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            round.sizes.fetch_add(micros(size), Ordering::Relaxed);
            round.times.fetch_add(micros(queued.elapsed()), Ordering::Relaxed);
            round.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a request was handled by whom the registrar names.
async fn handled(pool: &mut Asker, size: Duration) -> bool {
    let Ok(element) = pool.resolve().await else {
        sleep(UNANSWERED).await;
        return false;
    };
    let Transport::Tcp(address) = element.user_transport else { return false };
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u64(u64::try_from(size.as_micros()).unwrap_or(u64::MAX)).await?;
        stream.read_u8().await
    };
    if asked.await.is_err() {
        sleep(UNANSWERED).await;
        let _ = pool.report(element.id).await;
        return false;
    }
    true
}

/// A user's connection. It asks anew for each request, as in the simulation.
struct Asker {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Asker {
    async fn open(from: Ipv4Addr, to: SocketAddr) -> Outcome<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 65_536] })
    }

    /// Whom the registrar names.
    async fn resolve(&mut self) -> Outcome<WireElement> {
        let (subscribe, items, capabilities) = (false, Some(1), None);
        self.say(Body::HandleResolution { subscribe, handle: handle(), items, capabilities })
            .await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("hung up on".into());
            }
            filled += read;
            let Some(length) =
                frame_len(&self.buffer[..filled])?.filter(|length| *length <= filled)
            else {
                continue;
            };
            let message = Message::decode(&self.buffer[..length])?.message;
            if let Body::HandleResolutionResponse(response) = message.body {
                return response.elements.into_iter().next().ok_or("nobody is named".into());
            }
        }
    }

    async fn report(&mut self, id: PeId) -> Outcome {
        self.say(Body::EndpointUnreachable { handle: handle(), id }).await
    }

    async fn say(&mut self, body: Body) -> Outcome {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(self.stream.write_all(&bytes).await?)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Exponentially distributed with mean 1.
    fn exponential(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        -(1.0 - (bits >> 11) as f64 / (1u64 << 53) as f64).ln()
    }
}
