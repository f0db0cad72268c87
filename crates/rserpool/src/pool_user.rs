//! A client of pools.

mod watch;

use crate::driver::{Driver, Hosted, Network, Side};
use crate::metrics::Metrics;
use crate::proto::endpoint::pool_user::{self as machine, RequestId};
use crate::proto::id::{PeId, PoolHandle};
use crate::proto::machine::{Channel, Locator};
use crate::proto::time::Instant;
use crate::seed::seed;
use crate::tls::Tls;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{broadcast, mpsc, oneshot};
use tracing::{debug, info, warn};

pub use crate::proto::endpoint::pool_user::{
    Event, PoolUserConfig, Resolution, ResolveError, TooManyWatches,
};
pub use crate::proto::wire::pool_element::PoolElement as Element;
pub use watch::{PoolChange, PoolUpdate, Watch};

use watch::State;

/// Resolves pools and picks elements of them (RFC 5352 §3.3, RFC 5356).
///
/// A handle that is cheap to clone and to share; all clones use one association to one registrar
/// and one cache. It hunts for a registrar as soon as it is made. When the last clone is dropped
/// its association is closed.
///
/// All its futures may be dropped at any time: the request is forgotten.
///
/// ```no_run
/// use rserpool::{PoolUser, pool_user::PoolUserConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let user = PoolUser::new(PoolUserConfig::new(vec!["tcp://127.0.0.1:3863".parse()?]));
/// let handle = "EchoPool".parse()?;
/// let mut tried = Vec::new();
/// loop {
///     let element = user.pick(&handle, &tried).await?;
///     println!("element {} at {:?}", element.id, element.user_transport);
/// #   let connected = true;
///     // let connected = ...
///     if connected {
///         break;
///     }
///     user.report_unreachable(&handle, element.id);
///     tried.push(element.id);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PoolUser {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    registrars: Arc<[Locator]>,
    next_request: AtomicU64,
    events: broadcast::Sender<Event>,
    metrics: Arc<Metrics>,
    /// Secures its sessions, too.
    tls: Option<Tls>,
}

/// Commands under way to the machine's task.
const COMMANDS: usize = 1024;
/// Events kept for a receiver that is behind.
const EVENTS: usize = 64;

impl PoolUser {
    /// Starts a user.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn new(config: PoolUserConfig) -> Self {
        Self::with(config, Network::default())
    }

    /// As [`PoolUser::new`], with more to say about how it reaches registrars. With announcements no
    /// registrar need be configured.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and net enabled.
    pub fn with(config: PoolUserConfig, network: Network) -> Self {
        let registrars = config.registrars.as_slice().into();
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let events = broadcast::Sender::new(EVENTS);
        let host = Host {
            machine: machine::PoolUser::new(config, seed(), crate::driver::now()),
            waiting: BTreeMap::new(),
            watched: BTreeMap::new(),
            events: events.clone(),
        };
        let metrics = Arc::<Metrics>::default();
        let mut driver = Driver::new(host, inbox, network.limits, metrics.clone());
        driver.set_local(network.local);
        driver.set_tls(network.tls.clone(), Side::Endpoint);
        driver.add_announcements(Channel::Asap, network.announcements, None);
        tokio::spawn(driver.run());
        let next_request = AtomicU64::new(0);
        let tls = network.tls;
        let shared = Shared { registrars, next_request, events, metrics, tls };
        Self { shared: Arc::new(shared), commands }
    }

    /// What a pool holds, in the order of its policy: from the cache if that is fresh, otherwise by
    /// asking the registrar.
    ///
    /// # Errors
    /// [`ResolveError`]: which of registrar, pool and elements is missing.
    pub async fn resolve(&self, handle: &PoolHandle) -> Result<Resolution, ResolveError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Question::Resolve { handle: handle.clone(), reply }, answer).await
    }

    /// One element, none of `exclude`, picked as the pool's policy says (RFC 5356).
    ///
    /// # Errors
    /// [`ResolveError`]: which of registrar, pool and elements is missing.
    pub async fn pick(
        &self,
        handle: &PoolHandle,
        exclude: &[PeId],
    ) -> Result<Arc<Element>, ResolveError> {
        let (reply, answer) = oneshot::channel();
        let (handle, exclude) = (handle.clone(), exclude.into());
        self.ask(Question::Pick { handle, exclude, reply }, answer).await
    }

    /// The same element again, while it lives (RFC 5352 §6.5.3).
    ///
    /// # Errors
    /// [`ResolveError::NoElement`] once the element is gone; otherwise as [`PoolUser::resolve`].
    pub async fn pick_element(
        &self,
        handle: &PoolHandle,
        id: PeId,
    ) -> Result<Arc<Element>, ResolveError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Question::PickElement { handle: handle.clone(), id, reply }, answer).await
    }

    /// Watches a pool, which need not be there yet: what it holds, and then whatever changes. The home
    /// registrar tells that at once, at most twice a second (RFC 5352 §2.2.5); one that does not is
    /// asked again and again. After a change of registrar the new one is asked for it.
    ///
    /// Several may watch one pool. What is watched also stays fresh in the cache.
    ///
    /// ```no_run
    /// # use rserpool::PoolUser;
    /// use rserpool::pool_user::PoolChange;
    ///
    /// # async fn example(user: PoolUser) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut web = user.watch(&"web".parse()?).await?;
    /// while let Some(update) = web.next().await {
    ///     for change in update.changes {
    ///         match change {
    ///             PoolChange::Added(element) => println!("+ {}", element.id),
    ///             PoolChange::Changed { now, .. } => println!("~ {}", now.id),
    ///             PoolChange::Removed(element) => println!("- {}", element.id),
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TooManyWatches`]: [`PoolUserConfig::max_watches`] pools are watched already.
    pub async fn watch(&self, handle: &PoolHandle) -> Result<Watch, TooManyWatches> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Watch { handle: handle.clone(), reply }).await;
        let known = match answer.await {
            Ok(known) => known?,
            // The task is gone: its runtime is being shut down. There are no updates.
            Err(_) => tokio::sync::watch::channel(None).1,
        };
        Ok(Watch::new(handle.clone(), self.commands.clone(), known))
    }

    /// Says that an attempt to use an element has failed: it is set aside here, and the registrar
    /// is told, who asks it for a sign of life at once (RFC 5352 §3.5).
    ///
    /// A report is lost if a thousand requests are under way to the user's task.
    pub fn report_unreachable(&self, handle: &PoolHandle, id: PeId) {
        let command = Command::ReportUnreachable { handle: handle.clone(), id };
        if self.commands.try_send(command).is_err() {
            debug!(%handle, pe = %id, "report lost");
        }
    }

    /// Forgets what is known of a pool (RFC 5352 §6.4): the next request asks the registrar.
    pub async fn purge(&self, handle: &PoolHandle) {
        // If the task is gone there is no cache either.
        let _ = self.commands.send(Command::Purge(handle.clone())).await;
    }

    /// What happens to it from now on, but for answers to requests. A receiver that is more than 64
    /// events behind misses the oldest, and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.shared.tls.as_ref()
    }

    /// What its connections count.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    async fn ask<T>(
        &self,
        question: Question,
        answer: oneshot::Receiver<Result<T, ResolveError>>,
    ) -> Result<T, ResolveError> {
        let request = RequestId(self.shared.next_request.fetch_add(1, Ordering::Relaxed));
        let mut pending = Pending { commands: &self.commands, request, answered: true };
        if self.commands.send(Command::Ask(request, question)).await.is_ok() {
            pending.answered = false;
            if let Ok(result) = answer.await {
                pending.answered = true;
                return result;
            }
        }
        // The task is gone: its runtime is being shut down.
        Err(ResolveError::NoRegistrar { registrars: self.shared.registrars.clone() })
    }
}

/// Takes a request back when its future is dropped.
struct Pending<'a> {
    commands: &'a mpsc::Sender<Command>,
    request: RequestId,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // If there is no room the answer will come and be dropped.
            let _ = self.commands.try_send(Command::Cancel(self.request));
        }
    }
}

enum Command {
    Ask(RequestId, Question),
    Cancel(RequestId),
    ReportUnreachable { handle: PoolHandle, id: PeId },
    Purge(PoolHandle),
    Watch { handle: PoolHandle, reply: oneshot::Sender<Result<Known, TooManyWatches>> },
    EndWatch(PoolHandle),
}

/// What is known of a pool: `None` until something is.
type Known = tokio::sync::watch::Receiver<Option<State>>;

type Reply<T> = oneshot::Sender<Result<T, ResolveError>>;

enum Question {
    Resolve { handle: PoolHandle, reply: Reply<Resolution> },
    Pick { handle: PoolHandle, exclude: Box<[PeId]>, reply: Reply<Arc<Element>> },
    PickElement { handle: PoolHandle, id: PeId, reply: Reply<Arc<Element>> },
}

enum Waiting {
    Resolution(Reply<Resolution>),
    Element(Reply<Arc<Element>>),
}

struct Host {
    machine: machine::PoolUser,
    /// As many as the machine takes at a time: each has one answer, or is cancelled.
    waiting: BTreeMap<RequestId, Waiting>,
    /// As many as the machine watches.
    watched: BTreeMap<PoolHandle, tokio::sync::watch::Sender<Option<State>>>,
    events: broadcast::Sender<Event>,
}

impl Hosted for Host {
    type Machine = machine::PoolUser;
    type Command = Command;

    fn machine(&mut self) -> &mut machine::PoolUser {
        &mut self.machine
    }

    fn on_command(&mut self, now: Instant, command: Command) -> ControlFlow<()> {
        match command {
            Command::Ask(request, question) => self.on_question(now, request, question),
            Command::Cancel(request) => {
                self.waiting.remove(&request);
                self.machine.cancel(request);
            }
            Command::ReportUnreachable { handle, id } => {
                self.machine.report_unreachable(now, &handle, id);
            }
            Command::Purge(handle) => self.machine.purge(&handle),
            Command::Watch { handle, reply } => {
                // If nobody waits any more, nobody watches, and the next change shows that.
                let _ = reply.send(self.watch(now, &handle));
            }
            Command::EndWatch(handle) => self.end_watch(now, &handle),
        }
        ControlFlow::Continue(())
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::PoolChanged { handle, state, pushed } => {
                if let Some(sender) = self.watched.get(&handle) {
                    sender.send_replace(Some(State { state, pushed }));
                }
                self.end_watch(now, &handle);
            }
            Event::Resolved { request, result } => {
                if let Some(Waiting::Resolution(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            Event::Picked { request, result } => {
                if let Some(Waiting::Element(reply)) = self.waiting.remove(&request) {
                    let _ = reply.send(result);
                }
            }
            other => {
                match &other {
                    Event::HomeFound { home } => info!(%home, "registrar found"),
                    Event::HomeLost { home, reason } => info!(%home, %reason, "registrar lost"),
                    Event::RegistrarUnreachable => warn!("no registrar answers"),
                    Event::ErrorReported { errors } => debug!(?errors, "error reported"),
                    Event::PoolChanged { .. } | Event::Resolved { .. } | Event::Picked { .. } => {}
                }
                // Nobody may be listening.
                let _ = self.events.send(other);
            }
        }
    }
}

impl Host {
    fn watch(&mut self, now: Instant, handle: &PoolHandle) -> Result<Known, TooManyWatches> {
        self.machine.watch(now, handle)?;
        let sender = self
            .watched
            .entry(handle.clone())
            .or_insert_with(|| tokio::sync::watch::Sender::new(None));
        let mut known = sender.subscribe();
        // What is known already is the first update.
        known.mark_changed();
        Ok(known)
    }

    /// Ends a watch, if nobody is left who watches.
    fn end_watch(&mut self, now: Instant, handle: &PoolHandle) {
        if self.watched.get(handle).is_some_and(|sender| sender.receiver_count() == 0) {
            self.watched.remove(handle);
            self.machine.unwatch(now, handle);
        }
    }

    fn on_question(&mut self, now: Instant, request: RequestId, question: Question) {
        match question {
            Question::Resolve { handle, reply } => {
                self.waiting.insert(request, Waiting::Resolution(reply));
                self.machine.resolve(now, &handle, request);
            }
            Question::Pick { handle, exclude, reply } => {
                self.waiting.insert(request, Waiting::Element(reply));
                self.machine.pick(now, &handle, request, &exclude);
            }
            Question::PickElement { handle, id, reply } => {
                self.waiting.insert(request, Waiting::Element(reply));
                self.machine.pick_element(now, &handle, id, request);
            }
        }
    }
}
