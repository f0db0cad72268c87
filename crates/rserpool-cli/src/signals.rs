//! A clean end on Ctrl-C, SIGTERM and SIGHUP.

use crate::failure::Failure;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether, and how often, the command has been told to stop. Clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Told by Ctrl-C, SIGTERM and SIGHUP.
    pub(crate) fn on_signals() -> Result<Self, Failure> {
        let (told, stop) = watch::channel(0);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind)
                .map_err(|error| Failure::failed(format!("cannot receive signals: {error}")))?;
            let told = told.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    told.send_modify(|times: &mut u32| *times = times.saturating_add(1));
                }
            });
        }
        Ok(Self(stop))
    }

    /// Told by nobody.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Comes back when the command is to stop in order, at once if it has been told already.
    pub(crate) async fn requested(&self) {
        self.told(1).await;
    }

    /// Comes back when the command has been told twice: it is to stop now.
    pub(crate) async fn insisted(&self) {
        self.told(2).await;
    }

    async fn told(&self, least: u32) {
        if self.0.clone().wait_for(|times| *times >= least).await.is_err() {
            // Nobody is left who could tell.
            std::future::pending().await
        }
    }
}
