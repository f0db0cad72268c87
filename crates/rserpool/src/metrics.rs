//! Counters of a driver: names and help in one place.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows (or, if its help says so, tells the present state).
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

macro_rules! metrics {
    ($($name:ident: $help:literal),* $(,)?) => {
        /// What a driver counts.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: Counter,)*
        }

        impl Metrics {
            /// Name, help and value of each, in the order of this file.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((concat!("rserpool_", stringify!($name)), $help, self.$name.get())),*]
                    .into_iter()
            }
        }
    };
}

metrics! {
    associations: "Associations that are open now.",
    associations_accepted_total: "Associations opened by others.",
    associations_connected_total: "Associations opened from here.",
    associations_turned_away_total: "Associations closed at once because there were too many.",
    associations_malformed_total: "Associations closed because what came was not the protocol.",
    associations_untrusted_total: "Connections closed because TLS could not be agreed on.",
    associations_stuck_total: "Associations closed because the other end did not read.",
    associations_restarted_total: "SCTP associations that the other end has begun anew.",
    associations_peeled_off_total: "SCTP associations that were given a socket of their own.",
    paths_lost_total: "Addresses of SCTP peers that became unreachable.",
    paths_restored_total: "Addresses of SCTP peers that became reachable again.",
    messages_oversized_total: "SCTP messages thrown away because they were too long.",
    messages_received_total: "Messages received.",
    messages_sent_total: "Messages sent.",
    bytes_received_total: "Bytes received.",
    bytes_sent_total: "Bytes sent.",
    announcements_received_total: "Announcements heard by multicast.",
    announcements_sent_total: "Announcements sent by multicast, one for each interface and group.",
    events_dropped_total: "Events dropped because their channel was full.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_a_name_a_help_and_its_value() {
        let metrics = Metrics::default();
        metrics.bytes_sent_total.add(7);
        let found = metrics.each().find(|(name, ..)| *name == "rserpool_bytes_sent_total");
        assert_eq!(found, Some(("rserpool_bytes_sent_total", "Bytes sent.", 7)));
    }
}
