//! Shows it all at work in one process: `rserpool demo`.
//!
//! ```text
//!   3 registrars <--- 5 servers (server), killed and added while it runs, as is a registrar
//!       ^               ^
//!       '--- user ------'        asks, is answered, and sends again what a dead server took along
//!                  |
//!                tally ---> show: live on a terminal, lines otherwise, a summary at the end
//! ```
//!
//! Everything is real but the machines: sockets on loopback, and the same registrar, elements and
//! user as anywhere.

mod server;
mod show;
mod tally;
mod user;

use crate::failure::Failure;
use crate::output::OutputFlags;
use crate::signals::Stop;
use crate::units::parse_duration;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::id::PoolHandle;
use rserpool::proto::machine::Locator;
use rserpool::registrar::Config;
use rserpool::{PoolUser, Registrar};
use server::Server;
use show::Show;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// How long it takes, from 1s
    #[arg(long, value_name = "TIME", default_value = "12s", value_parser = parse_time)]
    time: Duration,

    #[command(flatten)]
    output: OutputFlags,
}

const EXAMPLES: &str = "\
Examples:
  rserpool demo
  rserpool demo --json | jq .median_ms

Needs nothing but loopback. The exit code is 0 only if every request was answered.";

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_secs(1) {
        return Err("that is too short to see anything: 1s at least".into());
    }
    Ok(time)
}

/// What happens, by parts of a thousand of the time.
const STEPS: [(u32, Step); 7] = [
    (150, Step::Kill(1)),
    (300, Step::Kill(1)),
    (420, Step::Add(2)),
    (490, Step::KillRegistrar),
    (570, Step::Kill(2)),
    (700, Step::Add(2)),
    (820, Step::Kill(1)),
];

#[derive(Clone, Copy)]
enum Step {
    Kill(usize),
    Add(usize),
    KillRegistrar,
}

/// Registrars at the start.
const REGISTRARS: usize = 3;

/// Servers at the start.
const SERVERS: usize = 5;
/// Requests that are under way at a time.
const WORKERS: usize = 16;
/// Time between two pictures on a terminal.
const PICTURE: Duration = Duration::from_millis(80);

impl Args {
    pub(crate) async fn run(self, stop: &Stop) -> Result<(), Failure> {
        let registrars = start_registrars().await?;
        let mut demo = Demo {
            handle: PoolHandle::new("demo").map_err(Failure::failed)?,
            addresses: registrars.iter().flat_map(Registrar::asap_addrs).copied().collect(),
            registrars,
            tally: Arc::default(),
            show: Show::new(self.output.json, self.time),
            began: Instant::now(),
            serving: VecDeque::new(),
        };
        for address in demo.addresses.clone() {
            let text = format!("a registrar serves at tcp://{address}");
            demo.show.say(&demo.tally, Duration::ZERO, text)?;
        }
        demo.add(SERVERS).await?;

        let mut config = PoolUserConfig::new(demo.locators(0));
        config.items = Some(u32::MAX);
        let user = PoolUser::new(config);
        let (finish, finished) = watch::channel(false);
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (user, handle) = (user.clone(), demo.handle.clone());
            workers.spawn(user::work(user, handle, demo.tally.clone(), finished.clone()));
        }
        demo.began = Instant::now();
        demo.say(format!("a user sends requests, {WORKERS} at a time"))?;
        let played = tokio::select! {
            played = demo.play(self.time) => played,
            () = stop.requested() => Ok(()),
        };
        // What has been asked is still answered.
        finish.send_replace(true);
        while let Some(worker) = workers.join_next().await {
            worker.map_err(|error| Failure::failed(format!("a worker broke: {error}")))?;
        }
        played?;
        demo.say("the remaining servers leave the pool".into())?;
        for server in demo.serving.drain(..) {
            server.leave().await;
        }
        drop(user);
        for registrar in demo.registrars.drain(..) {
            registrar.shutdown().await;
        }
        demo.show.close(&demo.tally, demo.began.elapsed())
    }
}

struct Demo {
    handle: PoolHandle,
    /// Those that live.
    registrars: VecDeque<Registrar>,
    /// Where all of them were at the start.
    addresses: Vec<SocketAddr>,
    tally: Arc<Tally>,
    show: Show,
    began: Instant,
    /// Oldest first.
    serving: VecDeque<Server>,
}

impl Demo {
    async fn play(&mut self, time: Duration) -> Result<(), Failure> {
        for (thousandths, step) in STEPS {
            self.watch_until(time * thousandths / 1000).await?;
            match step {
                Step::Kill(count) => {
                    for _ in 0..count {
                        self.kill().await?;
                    }
                }
                Step::Add(count) => self.add(count).await?,
                Step::KillRegistrar => self.kill_registrar().await?,
            }
        }
        self.watch_until(time).await
    }

    /// Shows what happens until `time` since the beginning.
    async fn watch_until(&mut self, time: Duration) -> Result<(), Failure> {
        while let Some(left) = time.checked_sub(self.began.elapsed()) {
            sleep(left.min(PICTURE)).await;
            for (pe, after) in self.tally.newly_replaced() {
                self.say(format!(
                    "{pe}: another server has answered in its place, {:.1} ms after its end",
                    after.as_secs_f64() * 1e3
                ))?;
            }
            self.show.picture(&self.tally, self.began.elapsed())?;
        }
        Ok(())
    }

    async fn add(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            let registrars = self.locators(self.serving.len());
            let server = Server::start(&self.handle, registrars).await?;
            self.tally.joined(server.id(), server.address());
            let text = format!("{}: a server at {} joins the pool", server.id(), server.address());
            self.serving.push_back(server);
            self.say(text)?;
        }
        Ok(())
    }

    /// Kills the oldest server while it works on a request.
    async fn kill(&mut self) -> Result<(), Failure> {
        let Some(server) = self.serving.pop_front() else { return Ok(()) };
        let busy = async {
            while server.busy() == 0 {
                sleep(Duration::from_micros(200)).await;
            }
        };
        // If nobody asks it anything it is killed all the same.
        let _ = timeout(Duration::from_secs(1), busy).await;
        let (pe, requests) = (server.id(), server.busy());
        self.tally.killed(pe, requests);
        server.kill();
        self.say(format!("{pe}: killed with {} in its hands", show::requests(requests)))
    }

    /// Kills a registrar that elements and the user may have as their home: its sockets are closed,
    /// and nobody is told anything.
    async fn kill_registrar(&mut self) -> Result<(), Failure> {
        let Some(registrar) = self.registrars.pop_front() else { return Ok(()) };
        let owned = registrar.inspect(|machine| machine.handlespace().owned_count(machine.id()));
        let elements = owned.await.unwrap_or_default();
        let address = registrar.asap_addrs().first().copied();
        drop(registrar);
        self.say(match address {
            Some(address) => {
                format!("the registrar at tcp://{address} is killed, home to {elements} elements")
            }
            None => "a registrar is killed".into(),
        })
    }

    /// All registrars, those before `first` last, so that not all elements have the same home.
    fn locators(&self, first: usize) -> Vec<Locator> {
        let mut locators: Vec<_> = self.addresses.iter().copied().map(Locator::tcp).collect();
        let first = first % locators.len().max(1);
        locators.rotate_left(first);
        locators
    }

    fn say(&mut self, text: String) -> Result<(), Failure> {
        self.show.say(&self.tally, self.began.elapsed(), text)
    }
}

/// Registrars on ports of loopback that know each other.
async fn start_registrars() -> Result<VecDeque<Registrar>, Failure> {
    let any = vec![Locator::tcp((Ipv4Addr::LOCALHOST, 0).into())];
    let mut registrars: VecDeque<Registrar> = VecDeque::new();
    for _ in 0..REGISTRARS {
        let mut config = Config { asap: any.clone(), enrp: any.clone(), ..Config::default() };
        let known = registrars.iter().flat_map(Registrar::enrp_addrs).copied();
        config.machine.peers = known.map(Locator::tcp).collect();
        let registrar = Registrar::start(config).await.map_err(Failure::failed)?;
        let mut events = registrar.events();
        let serving = async {
            while registrar.inspect(|machine| machine.is_serving()).await == Some(false) {
                // Anything that happens may have brought it into service.
                let _ = timeout(PICTURE, events.recv()).await;
            }
        };
        serving.await;
        registrars.push_back(registrar);
    }
    Ok(registrars)
}
