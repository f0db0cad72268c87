//! The clock of the drivers.

use rserpool_proto::time::Instant;
use rustix::time::{ClockId, clock_gettime};

/// The clock that also counts the time a machine spends suspended; elsewhere the monotonic one.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Now, in microseconds since the host was started.
///
/// On Linux the time a host spends suspended counts (`CLOCK_BOOTTIME`): a registration that ran
/// out meanwhile has run out, and a registrar that has slept can tell. [`std::time::Instant`]
/// stands still then.
pub fn now() -> Instant {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_does_not_go_backwards() {
        let first = super::now();
        assert!(super::now() >= first);
        assert!(first > super::Instant::ZERO);
    }
}
