//! A clean end on Ctrl-C, SIGTERM and SIGHUP.

use crate::failure::Failure;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the command has been told to stop. Clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Asked for by the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the process at once.
    pub(crate) fn on_signals() -> Result<Self, Failure> {
        let (requested, stop) = watch::channel(false);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind)
                .map_err(|error| Failure::failed(format!("cannot receive signals: {error}")))?;
            let requested = requested.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if requested.send_replace(true) {
                        std::process::exit(128 + kind.as_raw_value());
                    }
                }
            });
        }
        Ok(Self(stop))
    }

    /// Comes back when the command is to stop, at once if it has been told already.
    pub(crate) async fn requested(&self) {
        // The senders live as long as the process.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }
}
