//! What follows from what was seen of a server.
//!
//! ```text
//!            healthy                    failed, or unclear twice in a row
//!   unknown ---------> up  <---------------------------------------------> down
//!                           healthy
//! ```
//!
//! Certain failures count at once: a connection refused is a server that has gone. A timeout may
//! be a slow moment of a living server, so that it takes two in a row.

use super::check::Verdict;

/// Unclear looks in a row that mean "down".
const UNCLEAR_MEANS_DOWN: u32 = 2;

/// What is held of a server. Nothing is known of it at first.
#[derive(Debug, Default)]
pub(crate) struct Health {
    up: Option<bool>,
    unclear_in_a_row: u32,
}

/// A change of what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is well (again).
    Up,
    /// It is not, and why.
    Down {
        /// What was seen.
        why: String,
        /// Whether it was well before; if not, it may still be starting.
        was_up: bool,
    },
}

impl Health {
    /// Takes what was seen and says what changes by it.
    pub(crate) fn saw(&mut self, verdict: Verdict) -> Option<Change> {
        self.unclear_in_a_row = match verdict {
            Verdict::Unclear(_) => self.unclear_in_a_row.saturating_add(1),
            Verdict::Healthy | Verdict::Failed(_) => 0,
        };
        let before = self.up;
        let change = match verdict {
            Verdict::Healthy => Change::Up,
            Verdict::Unclear(_) if self.unclear_in_a_row < UNCLEAR_MEANS_DOWN => return None,
            Verdict::Failed(why) | Verdict::Unclear(why) => {
                Change::Down { why, was_up: self.is_up() }
            }
        };
        self.up = Some(change == Change::Up);
        (self.up != before).then_some(change)
    }

    /// Whether the server was well when last seen for certain.
    pub(crate) fn is_up(&self) -> bool {
        self.up == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(why: &str, was_up: bool) -> Change {
        Change::Down { why: why.into(), was_up }
    }

    fn unclear() -> Verdict {
        Verdict::Unclear("slow".into())
    }

    fn failed() -> Verdict {
        Verdict::Failed("refused".into())
    }

    #[test]
    fn one_refused_connection_is_down_at_once_and_is_said_once() {
        let mut health = Health::default();
        assert_eq!(health.saw(Verdict::Healthy), Some(Change::Up));
        assert_eq!(health.saw(Verdict::Healthy), None);
        assert_eq!(health.saw(failed()), Some(down("refused", true)));
        assert_eq!(health.saw(failed()), None);
        assert!(!health.is_up());
        assert_eq!(health.saw(Verdict::Healthy), Some(Change::Up));
        assert!(health.is_up());
    }

    #[test]
    fn two_timeouts_in_a_row_are_down_and_one_is_not() {
        let mut health = Health::default();
        assert_eq!(health.saw(Verdict::Healthy), Some(Change::Up));
        assert_eq!(health.saw(unclear()), None);
        assert!(health.is_up());
        assert_eq!(health.saw(Verdict::Healthy), None);
        assert_eq!(health.saw(unclear()), None);
        assert_eq!(health.saw(unclear()), Some(down("slow", true)));
        assert_eq!(health.saw(unclear()), None);
    }

    #[test]
    fn a_server_that_was_never_well_is_said_to_be_down_once() {
        let mut health = Health::default();
        assert_eq!(health.saw(failed()), Some(down("refused", false)));
        assert_eq!(health.saw(failed()), None);
        assert_eq!(health.saw(Verdict::Healthy), Some(Change::Up));
    }
}
