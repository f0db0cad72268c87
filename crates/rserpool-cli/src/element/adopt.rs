//! Joins the pool while the server is well, and leaves it otherwise.
//!
//! ```text
//!            server starts            well                stop, or the server ends
//!   (start) ---------------> looking ------> in the pool ------------------------> leave
//!                               ^               | not well: leave                    |
//!                               `---------------'                     settle, drain, stop server
//! ```

use super::check::{Check, Verdict};
use super::health::{Change, Health};
use super::load::{self, Meter};
use super::service::Service;
use super::supervise::{self, Backoff, Server, StopSignal};
use crate::failure::Failure;
use crate::refusal::Refusal;
use crate::signals::Stop;
use crate::units;
use futures_util::future::{join_all, select_all};
use rserpool::PoolElement;
use rserpool::driver::Network;
use rserpool::proto::endpoint::pool_element::{Event, PoolElementConfig, State};
use rserpool::proto::policy::PolicyTable;
use rserpool::scope::PoolName;
use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

/// A pool that the server is to be in.
#[derive(Debug)]
pub(super) struct Membership {
    /// As the command names it.
    pub(super) pool: PoolName,
    pub(super) element: PoolElementConfig,
    pub(super) network: Network,
}

/// What to do, all of it checked.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) memberships: Vec<Membership>,
    /// Where the server is looked at.
    pub(super) server: Service,
    /// Where its load comes from, if it is not said once.
    pub(super) load: Option<load::Plan>,
    /// All policies there are.
    pub(super) policies: PolicyTable,
    pub(super) check: Check,
    /// From the start of one look to that of the next.
    pub(super) interval: Duration,
    /// How long a look may take.
    pub(super) timeout: Duration,
    /// How long users may still come after the element has left.
    pub(super) settle: Duration,
    /// How long the server is kept at most after the element has left.
    pub(super) drain: Duration,
    /// What starts the server; empty if it is not ours to start.
    pub(super) command: Vec<OsString>,
    pub(super) restart: bool,
    pub(super) stop_signal: StopSignal,
    pub(super) kill_after: Duration,
}

/// A server and its memberships.
pub(super) struct Adoption {
    plan: Plan,
    server: Option<Server>,
    /// When the server is started again.
    restart_at: Option<Instant>,
    backoff: Backoff,
    looks: Looks,
    meter: Option<Meter>,
    health: Health,
    members: Vec<Member>,
}

/// One of its memberships.
struct Member {
    plan: Membership,
    /// From the first time that the server is well.
    element: Option<PoolElement>,
    /// Whether a registrar has ever let it in.
    was_registered: bool,
    /// When to try again after a refusal that may pass.
    retry_at: Option<Instant>,
}

/// Pause before a registration that was refused for a reason that may pass is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Time between two looks at the server's connections.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

impl Adoption {
    pub(super) fn new(mut plan: Plan) -> Self {
        let memberships = std::mem::take(&mut plan.memberships);
        let looks = Looks::new(&plan);
        let meter = plan.load.take().map(|load| Meter::start(load, plan.server.clone()));
        Self {
            plan,
            server: None,
            restart_at: None,
            backoff: Backoff::default(),
            looks,
            meter,
            health: Health::default(),
            members: memberships.into_iter().map(Member::new).collect(),
        }
    }

    /// Runs until it is told to stop, the server ends, or the registrar refuses for good.
    pub(super) async fn run(mut self, stop: &Stop) -> Result<(), Failure> {
        if !self.plan.command.is_empty() {
            self.refuse_to_start_a_second_server().await?;
            self.server = Some(Server::start(&self.plan.command)?);
        }
        let result = loop {
            let retry_at = self.members.iter().filter_map(|member| member.retry_at).min();
            tokio::select! {
                biased;
                () = stop.requested() => break Ok(()),
                status = ended(&mut self.server) => {
                    if let Some(result) = self.on_server_ended(status).await {
                        return result;
                    }
                }
                () = at(self.restart_at) => {
                    self.restart_at = None;
                    self.server = Some(Server::start(&self.plan.command)?);
                    self.looks.at_once();
                }
                (member, event) = next_event(&mut self.members) => {
                    if let Err(failure) = self.on_event(member, event) {
                        break Err(failure);
                    }
                }
                () = at(retry_at) => {
                    self.retry().await;
                }
                load = next_load(&mut self.meter) => {
                    self.on_load(load).await;
                }
                // A server that is to be started again is not there: whatever answers in its place
                // is another one.
                verdict = self.looks.next(), if self.restart_at.is_none() => {
                    self.on_look(verdict).await?;
                }
            }
        };
        self.finish().await;
        result
    }

    /// With a server there already, its own would end at once, and we would have adopted another.
    async fn refuse_to_start_a_second_server(&self) -> Result<(), Failure> {
        let server = &self.plan.server;
        if Check::Connect.look(server, self.plan.timeout).await == Verdict::Healthy {
            return Err(Failure::failed(format!("another server listens at {server} already"))
                .next("stop it, give it another port, or leave the command out to adopt it"));
        }
        Ok(())
    }

    async fn on_look(&mut self, verdict: Verdict) -> Result<(), Failure> {
        debug!(?verdict, "looked");
        let healthy = verdict == Verdict::Healthy;
        match self.health.saw(verdict) {
            Some(Change::Up) => {
                info!(server = %self.plan.server, "server is well");
                self.join().await?;
            }
            Some(Change::Down { why, was_up: false }) => {
                info!(server = %self.plan.server, why, "waiting for the server to be well");
            }
            Some(Change::Down { why, was_up: true }) => {
                warn!(server = %self.plan.server, why, "server is not well");
                self.leave().await;
            }
            None => {}
        }
        // What was unclear is not reported: the next look will be clearer.
        if healthy {
            for element in self.members.iter().filter_map(|member| member.element.as_ref()) {
                element.report_health(true).await;
            }
        }
        Ok(())
    }

    async fn on_load(&mut self, load: u32) {
        debug!(load = units::share(load), "load");
        for member in &mut self.members {
            let policy = &mut member.plan.element.policy;
            let Some(other) = load::with_load(&self.plan.policies, policy, load) else { continue };
            *policy = other;
            if let Some(element) = &member.element {
                element.set_policy(policy.clone()).await;
            }
        }
    }

    fn on_event(&mut self, member: usize, event: Event) -> Result<(), Failure> {
        if event == Event::HealthWanted {
            self.looks.at_once();
            return Ok(());
        }
        self.members[member].on_event(event)
    }

    /// Registers again where that was refused and it is time.
    async fn retry(&mut self) {
        let (now, is_up) = (Instant::now(), self.health.is_up());
        for member in &mut self.members {
            if member.retry_at.take_if(|at| *at <= now).is_some()
                && is_up
                && let Some(element) = &member.element
            {
                element.reregister().await;
            }
        }
    }

    /// Gives the result of the command, or nothing if the server will be started again.
    async fn on_server_ended(&mut self, status: ExitStatus) -> Option<Result<(), Failure>> {
        let ran = self.server.take().map_or(Duration::ZERO, |server| server.age());
        if self.plan.restart {
            let pause = self.backoff.pause(ran);
            warn!(%status, ?pause, "server has ended: it is started again after a pause");
            self.restart_at = Some(Instant::now() + pause);
        }
        if self.health.saw(Verdict::Failed(status.to_string())).is_some() {
            self.leave().await;
        }
        (!self.plan.restart).then(|| supervise::outcome(status))
    }

    async fn join(&mut self) -> Result<(), Failure> {
        for member in &mut self.members {
            member.join().await?;
        }
        Ok(())
    }

    /// Takes at most as long as a registrar may take to confirm it, for all pools together.
    async fn leave(&mut self) {
        join_all(self.members.iter_mut().map(Member::leave)).await;
    }

    /// Leaves the pool, lets the server come to the end of its connections, and stops it.
    async fn finish(mut self) {
        let is_up = self.health.is_up();
        let was_in_pool = self.members.iter().any(|member| member.is_in_pool(is_up));
        self.leave().await;
        if was_in_pool {
            let drained = drain(&self.plan.server, self.plan.settle, self.plan.drain);
            tokio::select! {
                () = drained => {}
                status = ended(&mut self.server) => {
                    info!(%status, "server has ended by itself");
                    self.server = None;
                }
            }
        }
        if let Some(server) = self.server {
            let status = server.stop(self.plan.stop_signal.into(), self.plan.kill_after).await;
            info!(%status, "server stopped");
        }
    }
}

/// Waits until users have forgotten the server and its connections have ended, but no longer than
/// `limit`.
async fn drain(server: &Service, settle: Duration, limit: Duration) {
    let deadline = Instant::now() + limit;
    info!(?settle, ?limit, "draining; again Ctrl-C or SIGTERM ends it at once");
    sleep(settle.min(limit)).await;
    loop {
        match server.connections() {
            Some(0) => return info!("drained: the server has no connection"),
            None => return info!("drained: this system does not show connections"),
            Some(connections) if Instant::now() >= deadline => {
                return warn!(connections, "drained for as long as allowed: some are left");
            }
            Some(_) => sleep(DRAIN_INTERVAL).await,
        }
    }
}

async fn ended(server: &mut Option<Server>) -> ExitStatus {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

async fn next_load(meter: &mut Option<Meter>) -> u32 {
    match meter {
        Some(meter) => meter.next().await,
        None => std::future::pending().await,
    }
}

/// The next event, and which of the members it is of.
async fn next_event(members: &mut [Member]) -> (usize, Event) {
    let events = members.iter_mut().map(|member| Box::pin(member.next_event()));
    let (event, member, _) = select_all(events).await;
    (member, event)
}

impl Member {
    fn new(plan: Membership) -> Self {
        Self { plan, element: None, was_registered: false, retry_at: None }
    }

    async fn next_event(&mut self) -> Event {
        if let Some(element) = &mut self.element
            && let Some(event) = element.next_event().await
        {
            return event;
        }
        // Not well yet; or its task ended with the runtime, and so do we.
        std::future::pending().await
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        let pool = &self.plan.pool;
        match event {
            Event::Registered { .. } => self.was_registered = true,
            Event::Refused { errors } => {
                let refusal = Refusal::new(&pool.to_string(), &errors);
                if !refusal.passes && !self.was_registered {
                    let message = format!("cannot join pool {pool}: {}", refusal.why);
                    return Err(Failure::failed(message).next(refusal.next));
                }
                warn!(handle = %pool, why = refusal.why, next = refusal.next, "registration refused");
                self.retry_at = Some(Instant::now() + RETRY);
            }
            Event::RegistrarUnreachable => {
                let registrars = self.plan.element.registrars.iter();
                let registrars: Vec<String> = registrars.map(ToString::to_string).collect();
                warn!(
                    handle = %pool,
                    registrars = registrars.join(" "),
                    next = "start one with `rserpool registrar`, or say where it is by --registrar",
                    "not in the pool: no registrar answers; trying on"
                );
            }
            _ => {}
        }
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Failure> {
        match &self.element {
            Some(element) => element.reregister().await,
            None => {
                let (element, network) = (self.plan.element.clone(), self.plan.network.clone());
                let started = PoolElement::start_with(element, network).await;
                self.element = Some(started.map_err(Failure::usage)?);
            }
        }
        Ok(())
    }

    async fn leave(&mut self) {
        self.retry_at = None;
        if let Some(element) = &self.element {
            element.report_health(false).await;
            // The library says it if nobody confirms; there is nothing else to do.
            let _ = element.deregister().await;
        }
    }

    fn is_in_pool(&self, is_up: bool) -> bool {
        // The event may not have been heard yet.
        let is_registered =
            self.element.as_ref().is_some_and(|element| element.state() == State::Registered);
        is_registered || (self.was_registered && is_up)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Looks at the server, one after the other.
struct Looks {
    check: Check,
    server: Service,
    interval: Duration,
    timeout: Duration,
    /// When the next one begins.
    due: Instant,
    /// The one under way.
    look: Option<Pin<Box<dyn Future<Output = Verdict> + Send>>>,
}

impl Looks {
    fn new(plan: &Plan) -> Self {
        Self {
            check: plan.check.clone(),
            server: plan.server.clone(),
            interval: plan.interval,
            timeout: plan.timeout,
            due: Instant::now(),
            look: None,
        }
    }

    /// The next one does not wait. One that is under way is as good: it began a moment ago.
    fn at_once(&mut self) {
        self.due = Instant::now();
    }

    /// What is seen next. The future may be dropped and asked for again.
    async fn next(&mut self) -> Verdict {
        if self.look.is_none() {
            sleep_until(self.due).await;
            self.due = Instant::now() + self.interval;
        }
        let (check, server, timeout) = (&self.check, &self.server, self.timeout);
        let look = self.look.get_or_insert_with(|| {
            let (check, server) = (check.clone(), server.clone());
            Box::pin(async move { check.look(&server, timeout).await })
        });
        let verdict = look.await;
        self.look = None;
        verdict
    }
}
