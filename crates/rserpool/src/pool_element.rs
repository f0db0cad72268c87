//! A server's membership in a pool.

use crate::driver::{Driver, Hosted, Network, Side, is_sctp_available};
use crate::metrics::Metrics;
use crate::proto::endpoint::pool_element as machine;
use crate::proto::id::{PeId, PoolHandle};
use crate::proto::machine::{Channel, Locator, TransportKind};
use crate::proto::time::Instant;
use crate::proto::wire::operation_error::ErrorCause;
use crate::proto::wire::policy::PolicyParameter;
use crate::seed::seed;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};

pub use crate::proto::endpoint::pool_element::{Event, Health, PoolElementConfig, State};

/// Keeps a server in a pool (RFC 5352 §3.1): registers it, renews the registration, answers
/// keep-alives, and finds another registrar when one fails.
///
/// [`PoolElement::deregister`] leaves the pool in order. Dropping the element closes its connection
/// instead, which a registrar takes for the failure of the server: it is out of all answers at
/// once, too.
///
/// ```no_run
/// use rserpool::{PoolElement, pool_element::PoolElementConfig};
/// use rserpool::proto::wire::transport::Transport;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let element = PoolElement::start(PoolElementConfig::new(
///     "EchoPool".parse()?,
///     Transport::Tcp(server.local_addr()?),
///     vec!["tcp://127.0.0.1:3863".parse()?],
/// ))
/// .await?;
/// element.registered().await?;
/// // ... serve ...
/// element.deregister().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PoolElement {
    handle: PoolHandle,
    commands: mpsc::Sender<(Command, oneshot::Sender<()>)>,
    events: mpsc::Receiver<Event>,
    status: watch::Receiver<Status>,
    metrics: Arc<Metrics>,
}

/// What has become of an element, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is in its pool.
    pub state: State,
    /// Its identifier, which changes if a registrar says that it is taken.
    pub id: PeId,
    /// Its home registrar, if it has one.
    pub home: Option<Locator>,
    /// Why it was refused or could not leave; empty otherwise, or if nobody said why.
    pub errors: Vec<ErrorCause>,
    /// Whether it is out of its pool without a registrar having confirmed it.
    pub unconfirmed: bool,
}

/// Commands under way to the machine's task.
const COMMANDS: usize = 64;
/// Events kept for an owner who is behind.
const EVENTS: usize = 64;

impl PoolElement {
    /// Starts an element, which hunts for a registrar and registers. Comes back at once:
    /// [`PoolElement::registered`] waits for the result.
    ///
    /// A `stamp_start` of 0 is replaced by the time of day.
    ///
    /// # Errors
    /// [`StartError`] if the configuration cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub async fn start(config: PoolElementConfig) -> Result<Self, StartError> {
        Self::start_with(config, Network::default()).await
    }

    /// As [`PoolElement::start`], with more to say about how it reaches registrars. With
    /// announcements no registrar need be configured.
    ///
    /// # Errors
    /// [`StartError`] if the configuration cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub async fn start_with(
        mut config: PoolElementConfig,
        network: Network,
    ) -> Result<Self, StartError> {
        let announced = !network.announcements.interfaces.is_empty();
        if config.registrars.is_empty() && !announced {
            return Err(StartError::NoRegistrar);
        }
        let only_sctp = |locator: &Locator| locator.transport == TransportKind::Sctp;
        if config.registrars.iter().all(only_sctp) && !announced && !is_sctp_available() {
            return Err(StartError::NoSctp);
        }
        if config.stamp_start == 0 {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            config.stamp_start = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
        }
        let handle = config.handle.clone();
        let machine = machine::PoolElement::new(config, seed(), crate::driver::now());
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (status_sender, status) = watch::channel(Status {
            state: machine.state(),
            id: machine.id(),
            home: None,
            errors: Vec::new(),
            unconfirmed: false,
        });
        let metrics = Arc::<Metrics>::default();
        let host = Host {
            machine,
            events: event_sender,
            status: status_sender,
            metrics: metrics.clone(),
            done: Vec::new(),
        };
        let mut driver = Driver::new(host, inbox, network.limits, metrics.clone());
        driver.set_local(network.local);
        driver.set_tls(network.tls, Side::Endpoint);
        driver.add_announcements(Channel::Asap, network.announcements, None);
        tokio::spawn(driver.run());
        Ok(Self { handle, commands, events, status, metrics })
    }

    /// Its pool.
    pub fn handle(&self) -> &PoolHandle {
        &self.handle
    }

    /// Its identifier in the pool.
    pub fn id(&self) -> PeId {
        self.status.borrow().id
    }

    /// Whether it is in its pool.
    pub fn state(&self) -> State {
        self.status.borrow().state
    }

    /// What has become of it, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What its connections count.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits until it is in its pool.
    ///
    /// # Errors
    /// [`NotRegistered`] if a registrar refuses it, or if it is told to leave meanwhile. Without a
    /// registrar it waits: one may come back.
    pub async fn registered(&self) -> Result<(), NotRegistered> {
        let settled =
            |status: &Status| !matches!(status.state, State::Hunting | State::Registering);
        let mut status = self.status.clone();
        let status = status.wait_for(settled).await;
        match status {
            Ok(status) if status.state == State::Registered => Ok(()),
            Ok(status) if status.state == State::Refused => {
                Err(NotRegistered::Refused { errors: status.errors.clone() })
            }
            _ => Err(NotRegistered::Left),
        }
    }

    /// What happens next; `None` once the element's task has ended with its runtime.
    ///
    /// An owner who is more than 64 events behind misses the newest, but for what
    /// [`PoolElement::status`] tells. The future may be dropped without losing an event.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Changes the policy values, such as the load; see
    /// [`set_policy`](machine::PoolElement::set_policy). Values that are set faster than registrars
    /// answer replace each other.
    pub async fn set_policy(&self, policy: PolicyParameter) {
        self.command(Command::SetPolicy(policy)).await;
    }

    /// Says whether the service is healthy; see [`Health::Reported`].
    pub async fn report_health(&self, healthy: bool) {
        self.command(Command::ReportHealth(healthy)).await;
    }

    /// Registers now: after a refusal whose reason is gone, after leaving, or to renew.
    pub async fn reregister(&self) {
        self.command(Command::Reregister).await;
    }

    /// Leaves the pool, and waits until that is confirmed, or has failed for long enough: at most
    /// MAX-REG-ATTEMPT times T3. Dropping the future once it was
    /// polled does not stop the leaving.
    ///
    /// # Errors
    /// [`DeregisterError`] if no registrar confirms it. The element is out all the same: its
    /// association is closed, and a registrar that did not notice forgets it when the registration
    /// expires.
    pub async fn deregister(&self) -> Result<(), DeregisterError> {
        self.command(Command::Deregister).await;
        let mut status = self.status.clone();
        match status.wait_for(|status| status.state == State::Deregistered).await {
            Ok(status) if status.unconfirmed => {
                Err(DeregisterError { errors: status.errors.clone() })
            }
            // Its task is gone, and its association with it.
            _ => Ok(()),
        }
    }

    /// Comes back when the status shows what the command has changed.
    async fn command(&self, command: Command) {
        let (done, seen) = oneshot::channel();
        // If the task is gone its runtime is being shut down.
        if self.commands.send((command, done)).await.is_ok() {
            let _ = seen.await;
        }
    }
}

/// Why an element was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The list of registrars is empty.
    #[error("no registrar is configured: name at least one")]
    NoRegistrar,
    /// All registrars are named by `sctp://`, and this host has no SCTP.
    #[error(
        "this host has no SCTP: load the kernel's module (modprobe sctp), or name the registrars by auto:// or tcp://"
    )]
    NoSctp,
}

/// Why an element is not in its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRegistered {
    /// A registrar has refused it, and will again until something is changed.
    Refused {
        /// Why; empty if it did not say.
        errors: Vec<ErrorCause>,
    },
    /// It was told to leave.
    Left,
}

impl fmt::Display for NotRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { errors } if errors.is_empty() => {
                f.write_str("the registrar refuses the registration and does not say why")
            }
            Self::Refused { errors } => {
                write!(f, "the registrar refuses the registration: {errors:?}")
            }
            Self::Left => f.write_str("the element was told to leave its pool"),
        }
    }
}

impl std::error::Error for NotRegistered {}

/// Nobody has confirmed that an element has left its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeregisterError {
    /// Why a registrar refused; empty if none answered.
    pub errors: Vec<ErrorCause>,
}

impl fmt::Display for DeregisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            f.write_str("no registrar has confirmed the deregistration")
        } else {
            write!(f, "the registrar refuses the deregistration: {:?}", self.errors)
        }
    }
}

impl std::error::Error for DeregisterError {}

enum Command {
    SetPolicy(PolicyParameter),
    ReportHealth(bool),
    Reregister,
    Deregister,
}

struct Host {
    machine: machine::PoolElement,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    /// To be told when the status shows what their commands have changed.
    done: Vec<oneshot::Sender<()>>,
}

impl Hosted for Host {
    type Machine = machine::PoolElement;
    type Command = (Command, oneshot::Sender<()>);

    fn machine(&mut self) -> &mut machine::PoolElement {
        &mut self.machine
    }

    fn on_command(&mut self, now: Instant, (command, done): Self::Command) -> ControlFlow<()> {
        self.done.push(done);
        match command {
            Command::SetPolicy(policy) => self.machine.set_policy(now, policy),
            Command::ReportHealth(healthy) => self.machine.report_health(now, healthy),
            Command::Reregister => self.machine.reregister(now),
            Command::Deregister => self.machine.deregister(now),
        }
        ControlFlow::Continue(())
    }

    fn on_event(&mut self, _: Instant, event: Event) {
        self.log(&event);
        match &event {
            Event::Refused { errors } => self.note(errors, false),
            Event::DeregistrationFailed { errors } => self.note(errors, true),
            Event::Registered { .. } | Event::Deregistered => self.note(&[], false),
            _ => {}
        }
        if self.events.try_send(event).is_err() {
            self.metrics.events_dropped_total.add(1);
        }
    }

    fn on_turn(&mut self) -> ControlFlow<()> {
        let (state, id, home) = (self.machine.state(), self.machine.id(), self.machine.home());
        self.status.send_if_modified(|status| {
            let changed = status.state != state || status.id != id || status.home.as_ref() != home;
            if changed {
                (status.state, status.id, status.home) = (state, id, home.cloned());
            }
            changed
        });
        for done in self.done.drain(..) {
            // Its future may have been dropped.
            let _ = done.send(());
        }
        ControlFlow::Continue(())
    }
}

impl Host {
    /// Keeps what belongs to a state that the machine is about to show.
    fn note(&self, errors: &[ErrorCause], unconfirmed: bool) {
        self.status.send_if_modified(|status| {
            status.errors = errors.to_vec();
            status.unconfirmed = unconfirmed;
            false
        });
    }

    fn log(&self, event: &Event) {
        let (handle, pe) = (self.machine.handle(), self.machine.id());
        match event {
            Event::Registered { home, .. } => info!(%handle, %pe, %home, "registered"),
            Event::Refused { errors } => warn!(%handle, %pe, ?errors, "registration refused"),
            Event::Deregistered => info!(%handle, %pe, "deregistered"),
            Event::DeregistrationFailed { errors } => {
                warn!(%handle, %pe, ?errors, "deregistration not confirmed");
            }
            Event::Expired => warn!(%handle, %pe, "registration expired"),
            Event::HomeLost { home, reason } => {
                info!(%handle, %pe, %home, %reason, "registrar lost");
            }
            Event::HealthWanted => debug!(%handle, %pe, "health wanted"),
            Event::RegistrarUnreachable => warn!(%handle, %pe, "no registrar answers"),
            Event::ErrorReported { errors } => debug!(%handle, %pe, ?errors, "error reported"),
        }
    }
}
