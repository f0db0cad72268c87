//! How long everything may take: three presets for registrars, elements and users.
//!
//! Every field can be set on its own afterwards; the presets are only three consistent choices.
//!
//! ```text
//!   rfc        the values of RFC 5352 §7 and RFC 5353 §4.2: minutes until a silent failure shows
//!   default    about a second, on any network that is not a satellite link
//!   realtime   a few hundred milliseconds, for a local network
//! ```
//!
//! All machines of an operation scope should use the same preset: a registration life of 10 s does
//! not go with a registrar that is taken over after a minute.

use crate::time::Duration;
use core::fmt;
use core::str::FromStr;

/// One of the three consistent sets of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Preset {
    /// The values that the RFCs give. Failures that do not close a connection go unseen for up to
    /// minutes.
    Rfc,
    /// Silent failures are seen within about a second.
    #[default]
    Default,
    /// Silent failures are seen within a few hundred milliseconds; for local networks.
    Realtime,
}

impl Preset {
    /// All presets, slowest first.
    pub const ALL: [Self; 3] = [Self::Rfc, Self::Default, Self::Realtime];

    /// The name by which it is written: `rfc`, `default`, `realtime`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc => "rfc",
            Self::Default => "default",
            Self::Realtime => "realtime",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Preset {
    type Err = InvalidPreset;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|preset| preset.name() == text).ok_or(InvalidPreset)
    }
}

/// Text that names no [`Preset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the presets of timers are `rfc`, `default` and `realtime`")]
pub struct InvalidPreset;

/// Timers and rates of a registrar.
///
/// The values are listed as rfc / default / realtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarTimers {
    /// Mean time between two keep-alives to an element that says nothing else; each is drawn
    /// within 50 % of it (RFC 5352 §3.5). `None` sends none but on reports.
    ///
    /// Off / 400 ms / 80 ms. The RFC leaves it open; a few per second find a silent element before
    /// its users do.
    pub keep_alive_interval: Option<Duration>,
    /// Time an element has to answer a keep-alive before it is removed. Where four smoothed round trips
    /// are longer, it has as long as the transport takes to send again what was lost twice.
    ///
    /// 5 s / 400 ms / 120 ms. The RFC waits for the transport to give up (RFC 5352 §3.5).
    pub keep_alive_timeout: Duration,
    /// Time between two presences to the peers: PEER-HEARTBEAT-CYCLE (RFC 5353 §4.2).
    ///
    /// 30 s / 250 ms / 60 ms.
    pub peer_heartbeat: Duration,
    /// Time a peer may be silent before it is probed: MAX-TIME-LAST-HEARD (RFC 5353 §4.2).
    ///
    /// 61 s / 550 ms / 130 ms: just over two heartbeats, so that one may be lost.
    pub max_time_last_heard: Duration,
    /// Time a peer has for an answer, be it to a probe or to the start of a takeover:
    /// MAX-TIME-NO-RESPONSE (RFC 5353 §4.2).
    ///
    /// 5 s / 400 ms / 100 ms. A deadline that is met this late means that the registrar itself was
    /// suspended.
    pub max_time_no_response: Duration,
    /// Time a starting registrar waits for a mentor before it serves alone (RFC 5353 §3.2).
    ///
    /// 1 s in all presets: the RFC names no value, and elements and users wait meanwhile.
    pub mentor_timeout: Duration,
    /// Time between two announcements by all registrars of the scope together, if they announce
    /// themselves by multicast: T6-Serverannounce (RFC 5352 §7.1).
    ///
    /// 1 s in all presets.
    pub t6_server_announce: Duration,
    /// Longest timeout that a slow round trip may bring about, for elements and peers alike.
    ///
    /// 10 s / 5 s / 1 s: a link slower than a quarter of it counts as broken.
    pub max_latency: Duration,
    /// Most keep-alives per second in all; with more elements the interval grows.
    ///
    /// 10 000 in all presets: about a tenth of what one core can send.
    pub keep_alive_budget: u32,
    /// Most elements per second that are told to come to a new home after a takeover, and that are let
    /// in when they come from another registrar by themselves.
    ///
    /// 1 000 in all presets: each of them registers anew at once.
    pub rehome_rate: u32,
    /// Time an element that cannot be dialled (it came over TCP) has to come by itself after its
    /// home was taken over, before it is removed.
    ///
    /// 35 s / 1.4 s / 400 ms: `max_time_no_response` plus the element's T2.
    pub rehome_grace: Duration,
    /// Longest time a registrar takes to leave: what it has not handed over by then is taken over
    /// as if it had died.
    ///
    /// 10 s in all presets: 10 000 elements at `rehome_rate`.
    pub leave_limit: Duration,
}

impl RegistrarTimers {
    /// The values of a preset.
    pub const fn preset(preset: Preset) -> Self {
        let ms = Duration::from_millis;
        match preset {
            Preset::Rfc => Self {
                keep_alive_interval: None,
                keep_alive_timeout: ms(5_000),
                peer_heartbeat: ms(30_000),
                max_time_last_heard: ms(61_000),
                max_time_no_response: ms(5_000),
                mentor_timeout: ms(1_000),
                t6_server_announce: ms(1_000),
                max_latency: ms(10_000),
                keep_alive_budget: 10_000,
                rehome_rate: 1_000,
                rehome_grace: ms(35_000),
                leave_limit: ms(10_000),
            },
            Preset::Default => Self {
                keep_alive_interval: Some(ms(400)),
                keep_alive_timeout: ms(400),
                peer_heartbeat: ms(250),
                max_time_last_heard: ms(550),
                max_time_no_response: ms(400),
                mentor_timeout: ms(1_000),
                t6_server_announce: ms(1_000),
                max_latency: ms(5_000),
                keep_alive_budget: 10_000,
                rehome_rate: 1_000,
                rehome_grace: ms(1_400),
                leave_limit: ms(10_000),
            },
            Preset::Realtime => Self {
                keep_alive_interval: Some(ms(80)),
                keep_alive_timeout: ms(120),
                peer_heartbeat: ms(60),
                max_time_last_heard: ms(130),
                max_time_no_response: ms(100),
                mentor_timeout: ms(1_000),
                t6_server_announce: ms(1_000),
                max_latency: ms(1_000),
                keep_alive_budget: 10_000,
                rehome_rate: 1_000,
                rehome_grace: ms(400),
                leave_limit: ms(10_000),
            },
        }
    }
}

impl Default for RegistrarTimers {
    fn default() -> Self {
        Self::preset(Preset::Default)
    }
}

/// Timers and thresholds of a pool element.
///
/// The values are listed as rfc / default / realtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementTimers {
    /// Time a registration lasts unless it is renewed; on the wire in whole seconds, rounded up
    /// (RFC 5354 §3.10).
    ///
    /// 620 s / 30 s / 10 s. It is what removes an element whose registrar and connection vanish
    /// together.
    pub registration_life: Duration,
    /// Time to wait for the answer to a registration: T2-registration (RFC 5352 §7.1).
    ///
    /// 30 s / 1 s / 300 ms.
    pub t2_registration: Duration,
    /// Time to wait for the answer to a deregistration: T3-deregistration (RFC 5352 §7.1).
    ///
    /// 30 s / 1 s / 300 ms.
    pub t3_deregistration: Duration,
    /// First time given to a round of the server hunt: T5-Serverhunt (RFC 5352 §7.1); it doubles
    /// with every round that fails.
    ///
    /// 10 s / 250 ms / 100 ms.
    pub t5_server_hunt: Duration,
    /// Longest time given to a round of the server hunt: RETRAN-MAX (RFC 5352 §7.3).
    ///
    /// 60 s / 5 s / 1 s: how long a registrar that comes back may go unnoticed.
    pub retran_max: Duration,
    /// Time that a registrar heard by multicast is kept without being heard again: T7-ENRPoutdate
    /// (RFC 5352 §7.1).
    ///
    /// 5 s in all presets.
    pub t7_enrp_outdate: Duration,
    /// Registrations or deregistrations in a row without an answer before the owner is told:
    /// MAX-REG-ATTEMPT (RFC 5352 §7.3).
    ///
    /// 2 in all presets.
    pub max_reg_attempt: u32,
    /// Least time between keep-alives that the element expects of its registrar once it has seen
    /// some; if the registrar sends them more slowly, the element learns that.
    ///
    /// 400 ms / 400 ms / 80 ms, as [`RegistrarTimers::keep_alive_interval`]. Three of them without
    /// a sign of life, and the registrar counts as silent.
    pub keep_alive_interval: Duration,
}

impl ElementTimers {
    /// The values of a preset.
    pub const fn preset(preset: Preset) -> Self {
        let ms = Duration::from_millis;
        match preset {
            Preset::Rfc => Self {
                registration_life: ms(620_000),
                t2_registration: ms(30_000),
                t3_deregistration: ms(30_000),
                t5_server_hunt: ms(10_000),
                retran_max: ms(60_000),
                t7_enrp_outdate: ms(5_000),
                max_reg_attempt: 2,
                keep_alive_interval: ms(400),
            },
            Preset::Default => Self {
                registration_life: ms(30_000),
                t2_registration: ms(1_000),
                t3_deregistration: ms(1_000),
                t5_server_hunt: ms(250),
                retran_max: ms(5_000),
                t7_enrp_outdate: ms(5_000),
                max_reg_attempt: 2,
                keep_alive_interval: ms(400),
            },
            Preset::Realtime => Self {
                registration_life: ms(10_000),
                t2_registration: ms(300),
                t3_deregistration: ms(300),
                t5_server_hunt: ms(100),
                retran_max: ms(1_000),
                t7_enrp_outdate: ms(5_000),
                max_reg_attempt: 2,
                keep_alive_interval: ms(80),
            },
        }
    }

    /// Time from a granted registration to its renewal: T4-reregistration.
    ///
    /// A third of the life if that is 60 s or less, so that two renewals may be lost; otherwise 10
    /// minutes or 20 s less than the life, whichever is less (RFC 5352 §7.1). Never below 1 ms.
    pub fn t4_reregistration(&self) -> Duration {
        let life = self.registration_life;
        let t4 = if life <= Duration::from_secs(60) {
            life / 3
        } else {
            Duration::from_secs(600).min(life - Duration::from_secs(20))
        };
        t4.max(Duration::from_millis(1))
    }
}

impl Default for ElementTimers {
    fn default() -> Self {
        Self::preset(Preset::Default)
    }
}

/// Timers and thresholds of a pool user.
///
/// The values are listed as rfc / default / realtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTimers {
    /// Time to wait for the answer to a question: T1-ENRPrequest (RFC 5352 §7.1).
    ///
    /// 15 s / 500 ms / 150 ms.
    pub t1_request: Duration,
    /// Times a question is repeated before its askers are told that no registrar answers:
    /// MAX-REQUEST-RETRANSMIT (RFC 5352 §7.3).
    ///
    /// 2 in all presets.
    pub max_request_retransmit: u32,
    /// First time given to a round of the server hunt: T5-Serverhunt (RFC 5352 §7.1); it doubles
    /// with every round that fails.
    ///
    /// 10 s / 250 ms / 100 ms.
    pub t5_server_hunt: Duration,
    /// Longest time given to a round of the server hunt: RETRAN-MAX (RFC 5352 §7.3).
    ///
    /// 60 s / 5 s / 1 s.
    pub retran_max: Duration,
    /// Time that a registrar heard by multicast is kept without being heard again: T7-ENRPoutdate
    /// (RFC 5352 §7.1).
    ///
    /// 5 s in all presets.
    pub t7_enrp_outdate: Duration,
    /// Time an answer is used without asking again: stale_cache_value (RFC 5352 §7.2).
    ///
    /// 10 s / 1 s / 200 ms. The RFC names no value; what leaves a pool may be picked this much
    /// longer.
    pub stale_cache_value: Duration,
    /// Time an element reported as unreachable is picked only if nothing else is left.
    ///
    /// 10 s / 2 s / 500 ms: at least [`UserTimers::stale_cache_value`], so that what counts
    /// afterwards is an answer given after the report.
    pub set_aside: Duration,
    /// Time without a word about a watched pool after which the home is asked whether it is still
    /// there and still tells changes.
    ///
    /// 30 s / 2 s / 500 ms: a question costs little, and a home that has fallen silent tells nothing.
    pub watch_refresh: Duration,
}

impl UserTimers {
    /// The values of a preset.
    pub const fn preset(preset: Preset) -> Self {
        let ms = Duration::from_millis;
        match preset {
            Preset::Rfc => Self {
                t1_request: ms(15_000),
                max_request_retransmit: 2,
                t5_server_hunt: ms(10_000),
                retran_max: ms(60_000),
                t7_enrp_outdate: ms(5_000),
                stale_cache_value: ms(10_000),
                set_aside: ms(10_000),
                watch_refresh: ms(30_000),
            },
            Preset::Default => Self {
                t1_request: ms(500),
                max_request_retransmit: 2,
                t5_server_hunt: ms(250),
                retran_max: ms(5_000),
                t7_enrp_outdate: ms(5_000),
                stale_cache_value: ms(1_000),
                set_aside: ms(2_000),
                watch_refresh: ms(2_000),
            },
            Preset::Realtime => Self {
                t1_request: ms(150),
                max_request_retransmit: 2,
                t5_server_hunt: ms(100),
                retran_max: ms(1_000),
                t7_enrp_outdate: ms(5_000),
                stale_cache_value: ms(200),
                set_aside: ms(500),
                watch_refresh: ms(500),
            },
        }
    }
}

impl Default for UserTimers {
    fn default() -> Self {
        Self::preset(Preset::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn presets_print_as_they_are_written() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(preset));
        }
        assert_eq!("fast".parse::<Preset>(), Err(InvalidPreset));
    }

    /// RFC 5352 §7.1, and the third of short lives that is ours.
    #[test]
    fn a_registration_is_renewed_well_before_it_ends() {
        let t4 = |life| {
            ElementTimers {
                registration_life: Duration::from_secs(life),
                ..ElementTimers::preset(Preset::Rfc)
            }
            .t4_reregistration()
            .as_secs()
        };
        assert_eq!([t4(620), t4(3600), t4(120), t4(61)], [600, 600, 100, 41]);
        assert_eq!([t4(60), t4(30), t4(9)], [20, 10, 3]);
        assert!(
            ElementTimers { registration_life: Duration::ZERO, ..ElementTimers::default() }
                .t4_reregistration()
                > Duration::ZERO
        );
    }

    #[test]
    fn what_is_set_aside_outlasts_the_answer_that_named_it() {
        for preset in Preset::ALL {
            let timers = UserTimers::preset(preset);
            assert!(timers.set_aside >= timers.stale_cache_value);
        }
    }

    #[test]
    fn registrars_wait_for_two_heartbeats_and_for_elements_to_hunt() {
        for preset in Preset::ALL {
            let registrar = RegistrarTimers::preset(preset);
            let element = ElementTimers::preset(preset);
            assert!(registrar.max_time_last_heard > 2 * registrar.peer_heartbeat);
            assert_eq!(
                registrar.rehome_grace,
                registrar.max_time_no_response + element.t2_registration
            );
            if let Some(interval) = registrar.keep_alive_interval {
                assert_eq!(interval, element.keep_alive_interval);
            }
        }
    }
}
