//! The clocks of nodes: each has an origin and a rate of its own, and one that is suspended goes on.
//!
//! A machine sees its node's clock and nothing else. It never goes backwards; it may jump ahead. The
//! wall clock, from which stamps start, is another one and may jump either way.

use rserpool_proto::time::Instant;

/// A node's clocks, driven by the time of the world in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Time of the world, and of the clock then.
    since: u64,
    local: u64,
    /// Too fast by so many millionths; too slow if negative.
    drift_ppm: i64,
    /// What the wall clock is wrong by.
    wall: i64,
}

/// The wall clock at the beginning of the world: some time in 2033.
const WALL_ORIGIN: i64 = 2_000_000_000_000_000;

impl Clock {
    /// A clock that shows `local` at the beginning of the world.
    pub(crate) fn new(local: u64, drift_ppm: i64) -> Self {
        Self { since: 0, local, drift_ppm, wall: 0 }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: u64) -> Instant {
        let elapsed = now.saturating_sub(self.since) as i64;
        let drift = i128::from(elapsed) * i128::from(self.drift_ppm);
        let drifted = elapsed + drift.div_euclid(1_000_000) as i64;
        Instant::from_micros(self.local + drifted.max(0) as u64)
    }

    /// When it will show `local`; not before `now`.
    pub(crate) fn when(&self, now: u64, local: Instant) -> u64 {
        if local <= self.read(now) {
            return now;
        }
        let ahead = (local.as_micros() - self.local) as i128;
        let elapsed = ahead * 1_000_000 / (1_000_000 + self.drift_ppm as i128);
        let elapsed = elapsed.clamp(0, u64::MAX as i128 / 2) as u64;
        // Divisions round: begins a little early, to find the first moment that is not.
        let mut at = self.since.saturating_add(elapsed).saturating_sub(2).max(now);
        while self.read(at) < local && at < u64::MAX / 2 {
            at += 1;
        }
        at
    }

    /// Jumps ahead.
    pub(crate) fn jump(&mut self, now: u64, ahead: u64) {
        self.local = self.read(now).as_micros() + ahead;
        self.since = now;
    }

    /// Moves the wall clock.
    pub(crate) fn set_wall(&mut self, wrong_by: i64) {
        self.wall = wrong_by;
    }

    /// What the wall clock shows, in microseconds since 1970.
    pub(crate) fn wall(&self, now: u64) -> u64 {
        (WALL_ORIGIN + now as i64 + self.wall).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_neither_early_nor_late() {
        for drift in [-200, 0, 137, 300] {
            let mut clock = Clock::new(123_456_789, drift);
            clock.jump(1_000, 77);
            for ahead in [0, 1, 2, 999, 1_000_003, 60_000_000_000] {
                let deadline = Instant::from_micros(clock.read(5_000).as_micros() + ahead);
                let at = clock.when(5_000, deadline);
                assert!(clock.read(at) >= deadline);
                assert!(at == 5_000 || clock.read(at - 1) < deadline, "{drift} {ahead}");
            }
        }
    }
}
