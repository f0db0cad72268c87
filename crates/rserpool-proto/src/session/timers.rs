//! How long everything in a session may take.

use crate::time::Duration;
use crate::timers::Preset;

/// Timers of a session, of either side.
///
/// The values are listed as rfc / default / realtime. The RFCs name none: a session there notices
/// what the transport notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTimers {
    /// Time in which nothing comes from the element before it is asked for a sign of life.
    ///
    /// 5 s / 400 ms / 100 ms.
    pub heartbeat: Duration,
    /// Time the element has for an answer, or four smoothed round trips if that is longer.
    ///
    /// 5 s / 800 ms / 200 ms: with `heartbeat`, what a hung or silent element costs.
    pub heartbeat_timeout: Duration,
    /// Time a connection may take to come about before another element is tried.
    ///
    /// 5 s / 1 s / 200 ms.
    pub connect_timeout: Duration,
    /// First time waited when no element could be had; it doubles up to `retry_max`.
    ///
    /// 1 s / 50 ms / 20 ms.
    pub retry: Duration,
    /// Longest time waited between two looks for an element.
    ///
    /// 10 s / 1 s / 200 ms.
    pub retry_max: Duration,
    /// Time without an element after which the session ends.
    ///
    /// 120 s / 30 s / 10 s.
    pub give_up: Duration,
    /// Time the element's side waits for the first message before it takes the session for a new
    /// one, without a cookie.
    ///
    /// 1 s / 200 ms / 100 ms: users of ours send something at once.
    pub begin: Duration,
    /// Time a user that once sent keep-alives may be silent before the element's side gives it up.
    ///
    /// 60 s / 30 s / 10 s.
    pub user_silence: Duration,
}

impl SessionTimers {
    /// The values of a preset.
    pub const fn preset(preset: Preset) -> Self {
        let ms = Duration::from_millis;
        match preset {
            Preset::Rfc => Self {
                heartbeat: ms(5_000),
                heartbeat_timeout: ms(5_000),
                connect_timeout: ms(5_000),
                retry: ms(1_000),
                retry_max: ms(10_000),
                give_up: ms(120_000),
                begin: ms(1_000),
                user_silence: ms(60_000),
            },
            Preset::Default => Self {
                heartbeat: ms(400),
                heartbeat_timeout: ms(800),
                connect_timeout: ms(1_000),
                retry: ms(50),
                retry_max: ms(1_000),
                give_up: ms(30_000),
                begin: ms(200),
                user_silence: ms(30_000),
            },
            Preset::Realtime => Self {
                heartbeat: ms(100),
                heartbeat_timeout: ms(200),
                connect_timeout: ms(200),
                retry: ms(20),
                retry_max: ms(200),
                give_up: ms(10_000),
                begin: ms(100),
                user_silence: ms(10_000),
            },
        }
    }
}

impl Default for SessionTimers {
    fn default() -> Self {
        Self::preset(Preset::Default)
    }
}
