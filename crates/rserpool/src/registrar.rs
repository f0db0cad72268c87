//! A registrar.

mod listening;

use crate::driver::{
    Announcements, BindError, Driver, Hosted, Limits, RSPLIB_ENRP_GROUP, Side, interface_addresses,
};
use crate::metrics::Metrics;
use crate::proto::id::ServerId;
use crate::proto::machine::{Channel, Locator, TransportKind};
use crate::proto::registrar as machine;
use crate::proto::time::Instant;
use crate::proto::wire::{PORT_ASAP, PORT_ENRP};
use crate::seed::seed;
use crate::tls::Tls;
use listening::{Listening, Sockets};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

pub use crate::proto::registrar::{
    Counters, Event, Ignored, MessageKind, RegistrarConfig, RemovalReason,
};

/// What a [`Registrar`] is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses for elements and users; port 0 lets the system choose. Those of one `sctp://` are
    /// one socket, so that peers learn all of them; [`TransportKind::Auto`] is TCP, and SCTP on the
    /// same port if the host has it. Defaults to `auto://127.0.0.1` and the registered port, 3863
    /// (RFC 5352 §8.2).
    pub asap: Vec<Locator>,
    /// Addresses for other registrars and, over TCP, for readers of the table ([`crate::table`]).
    /// Defaults to `auto://127.0.0.1` and the registered port, 9901 (RFC 5353 §5.2); may be empty.
    pub enrp: Vec<Locator>,
    /// What is not about sockets.
    pub machine: RegistrarConfig,
    /// Bounds of its connections.
    pub limits: Limits,
    /// Where it announces itself to elements and users. Nowhere by default.
    pub announcements: Announcements,
    /// Groups and their ports in which it tells other registrars where it is, on the same
    /// interfaces, and finds them. Defaults to rsplib's, [`RSPLIB_ENRP_GROUP`]; none switches it off.
    pub enrp_groups: Vec<SocketAddr>,
    /// Secures all connections; goes with an [`Authority`] that is. None by
    /// default: the scope is an open one.
    ///
    /// [`Authority`]: crate::proto::registrar::Authority
    pub tls: Option<Tls>,
    /// Addresses for users without TLS beside those of `asap`, if the authority lets everybody
    /// resolve. None by default.
    pub plain: Vec<Locator>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            asap: vec![on_loopback(PORT_ASAP)],
            enrp: vec![on_loopback(PORT_ENRP)],
            machine: RegistrarConfig::default(),
            limits: Limits::default(),
            announcements: Announcements::default(),
            enrp_groups: vec![RSPLIB_ENRP_GROUP],
            tls: None,
            plain: Vec::new(),
        }
    }
}

fn on_loopback(port: u16) -> Locator {
    let addresses = IpAddr::from(Ipv4Addr::LOCALHOST).into();
    Locator { transport: TransportKind::Auto, addresses, port }
}

/// Serves an operation scope: keeps the pools, answers users, supervises elements.
///
/// Dropping it closes all its connections; [`Registrar::shutdown`] lets them take what is queued.
///
/// ```
/// use rserpool::{Registrar, registrar::Config};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let any: rserpool::proto::machine::Locator = "127.0.0.1:0".parse()?;
/// let config = Config { asap: vec![any.clone()], enrp: vec![any], ..Config::default() };
/// let registrar = Registrar::start(config).await?;
/// println!("elements and users come to {}", registrar.asap()[0]);
/// registrar.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Registrar {
    id: ServerId,
    asap: Listening,
    enrp: Listening,
    plain: Listening,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Event>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

/// Commands under way to the machine's task.
const COMMANDS: usize = 64;
/// Events kept for a receiver that is behind.
const EVENTS: usize = 1024;

impl Registrar {
    /// Opens the sockets and starts to serve.
    ///
    /// # Errors
    /// [`BindError`] with the address that could not be listened on; nothing is left open. A host
    /// without SCTP fails `sctp://` only.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub async fn start(mut config: Config) -> Result<Self, BindError> {
        let secured = config.tls.is_some();
        let asap = Sockets::open(&config.asap)?;
        let enrp = Sockets::open(&config.enrp)?;
        let plain = Sockets::open(&config.plain)?;
        config.machine.enrp_port = enrp.listening.tcp.first().map_or(0, SocketAddr::port);
        let announcements = config.announcements;
        let interfaces = announcements.interfaces.clone();
        let among_registrars = Announcements { interfaces, groups: config.enrp_groups };
        if !announcements.interfaces.is_empty() {
            let addresses = interface_addresses(&announcements.interfaces);
            config.machine.announced = Some(asap.listening.announced(&addresses));
            if !among_registrars.groups.is_empty() && !config.enrp.is_empty() {
                config.machine.enrp_announced = Some(enrp.listening.announced(&addresses));
            }
        }
        let (asap_port, enrp_port) = (asap.listening.port(), enrp.listening.port());
        let machine = machine::Registrar::new(config.machine, seed(), crate::driver::now());
        let id = machine.id();
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let events = broadcast::Sender::new(EVENTS);
        let metrics = Arc::<Metrics>::default();
        let host = Host { machine, events: events.clone(), has_left: false };
        let mut driver = Driver::new(host, inbox, config.limits, metrics.clone());
        driver.set_tls(config.tls, Side::Registrar);
        driver.add_announcements(Channel::Asap, announcements, asap_port);
        driver.add_announcements(Channel::Enrp, among_registrars, enrp_port);
        let (asap, enrp) =
            (asap.serve(Channel::Asap, &mut driver), enrp.serve(Channel::Enrp, &mut driver));
        let plain = plain.serve_plainly(Channel::Asap, &mut driver);
        info!(server = %id, asap = %asap, enrp = %enrp, secured, "registrar started");
        let task = tokio::spawn(driver.run());
        Ok(Self { id, asap, enrp, plain, commands, events, metrics, task })
    }

    /// Its identifier.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Where elements and users come to, in the order of [`Config::asap`], with the transports that
    /// there are.
    pub fn asap(&self) -> &[Locator] {
        &self.asap.locators
    }

    /// As [`Registrar::asap`], over TCP.
    pub fn asap_addrs(&self) -> &[SocketAddr] {
        &self.asap.tcp
    }

    /// Where users come to without TLS, in the order of [`Config::plain`], with the transports that there
    /// are.
    pub fn plain(&self) -> &[Locator] {
        &self.plain.locators
    }

    /// As [`Registrar::plain`], over TCP.
    pub fn plain_addrs(&self) -> &[SocketAddr] {
        &self.plain.tcp
    }

    /// Where registrars come to, in the order of [`Config::enrp`], with the transports that there are.
    pub fn enrp(&self) -> &[Locator] {
        &self.enrp.locators
    }

    /// As [`Registrar::enrp`], over TCP: where readers come to.
    pub fn enrp_addrs(&self) -> &[SocketAddr] {
        &self.enrp.tcp
    }

    /// What happens from now on. A receiver that is more than 1024 events behind misses the oldest,
    /// and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What its connections count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Looks into the machine between two of its messages; `None` once its task has ended with its
    /// runtime. It serves nobody meanwhile: look briefly.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use rserpool::{Registrar, registrar::Config};
    /// # let any = "127.0.0.1:0".parse()?;
    /// # let config = Config { asap: vec![any], enrp: vec![], ..Config::default() };
    /// let registrar = Registrar::start(config).await?;
    /// let counters = registrar.inspect(|machine| machine.counters()).await;
    /// assert_eq!(counters.map(|counters| counters.registrations), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&machine::Registrar) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |machine: &machine::Registrar| {
            // The future may have been dropped.
            let _ = reply.send(look(machine));
        });
        self.commands.send(Command::Inspect(look)).await.ok()?;
        answer.await.ok()
    }

    /// Leaves: hands its elements over to the other registrars, if there are any, then sends
    /// everybody elsewhere ([`leave_limit`] bounds it), lets connections take what is queued, for a
    /// second at most, and closes them.
    ///
    /// [`leave_limit`]: crate::proto::timers::RegistrarTimers::leave_limit
    pub async fn shutdown(self) {
        // If the task is gone its runtime is being shut down.
        let _ = self.commands.send(Command::Shutdown).await;
        let _ = self.task.await;
        info!(server = %self.id, "registrar ended");
    }
}

enum Command {
    Inspect(Box<dyn FnOnce(&machine::Registrar) + Send>),
    Shutdown,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inspect(_) => "Inspect",
            Self::Shutdown => "Shutdown",
        })
    }
}

struct Host {
    machine: machine::Registrar,
    events: broadcast::Sender<Event>,
    /// Nothing is left to be done.
    has_left: bool,
}

impl Hosted for Host {
    type Machine = machine::Registrar;
    type Command = Command;

    fn machine(&mut self) -> &mut machine::Registrar {
        &mut self.machine
    }

    fn on_command(&mut self, now: Instant, command: Command) -> ControlFlow<()> {
        match command {
            Command::Inspect(look) => {
                look(&self.machine);
                ControlFlow::Continue(())
            }
            Command::Shutdown => {
                self.machine.drain(now);
                ControlFlow::Continue(())
            }
        }
    }

    fn on_turn(&mut self) -> ControlFlow<()> {
        if self.has_left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn on_event(&mut self, _: Instant, event: Event) {
        match &event {
            Event::ElementRegistered { handle, id } => debug!(%handle, pe = %id, "registered"),
            Event::RegistrationRefused { handle, id, cause } => {
                debug!(%handle, pe = %id, ?cause, "registration refused");
            }
            Event::ElementRemoved { handle, id, reason: RemovalReason::Deregistered } => {
                debug!(%handle, pe = %id, "deregistered");
            }
            Event::ElementRemoved { handle, id, reason } => {
                info!(%handle, pe = %id, %reason, "element removed");
            }
            Event::ElementSuspected { handle, id } => {
                info!(%handle, pe = %id, "users cannot reach this element");
            }
            Event::ElementCleared { handle, id } => {
                info!(%handle, pe = %id, "this element has proved to be there");
            }
            Event::OtherPolicyText { handle, id, home, theirs } => {
                let theirs = format!("{theirs:#010x}");
                warn!(
                    %handle, pe = %id, server = %home, theirs,
                    "the policy of this element is defined by another text at its registrar: it is not selected here"
                );
            }
            Event::MassSilence { elements } => {
                warn!(elements, "many elements are silent at once: this registrar may be cut off");
            }
            Event::KeepAliveStretched { interval } => {
                warn!(?interval, "too many elements to ask them as often as configured");
            }
            Event::Resumed { late } => warn!(?late, "this registrar was suspended"),
            Event::Trespass { from, identity, handle, id, untold, .. } => {
                let who = identity.names().first().map_or("nobody", |name| &name.text);
                warn!(
                    %handle, pe = %id, %from, who, untold,
                    "somebody wanted what belongs to somebody else, and did not get it"
                );
            }
            Event::Ignored { assoc, reason: Ignored::Flood(kind) } => {
                info!(%assoc, %kind, "disconnected for a flood");
            }
            Event::Ignored { assoc, reason } => debug!(%assoc, ?reason, "ignored"),
            Event::InService { alone } => info!(alone, "in service"),
            Event::PeerFound { server } => info!(%server, "another registrar is there"),
            Event::PeerLost { server } => info!(%server, "another registrar is gone"),
            // It has left in order, or had nothing to lose.
            Event::TakeoverStarted { target, elements: 0 } => {
                info!(server = %target, "another registrar is gone");
            }
            Event::TakeoverStarted { target, .. } => {
                warn!(server = %target, "another registrar does not answer: taking it over");
            }
            Event::TakeoverCancelled { target } => {
                info!(server = %target, "another registrar lives after all");
            }
            Event::TakenOver { target, elements } => {
                info!(server = %target, elements, "another registrar was taken over");
            }
            Event::Audited { server, swept } => {
                info!(%server, swept, "another registrar's elements were read anew");
            }
            Event::Drained => {
                info!("drained");
                self.has_left = true;
            }
        }
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}
