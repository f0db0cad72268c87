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
    Down(String),
}

impl Health {
    /// Takes what was seen and says what changes by it.
    pub(crate) fn saw(&mut self, verdict: Verdict) -> Option<Change> {
        self.unclear_in_a_row = match verdict {
            Verdict::Unclear(_) => self.unclear_in_a_row.saturating_add(1),
            Verdict::Healthy | Verdict::Failed(_) => 0,
        };
        match verdict {
            Verdict::Healthy => self.set(true).then_some(Change::Up),
            Verdict::Unclear(_) if self.unclear_in_a_row < UNCLEAR_MEANS_DOWN => None,
            Verdict::Failed(why) | Verdict::Unclear(why) => {
                self.set(false).then_some(Change::Down(why))
            }
        }
    }

    /// Whether the server was well when last seen for certain.
    pub(crate) fn is_up(&self) -> bool {
        self.up == Some(true)
    }

    fn set(&mut self, up: bool) -> bool {
        self.up.replace(up) != Some(up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(health.saw(failed()), Some(Change::Down("refused".into())));
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
        assert_eq!(health.saw(unclear()), Some(Change::Down("slow".into())));
        assert_eq!(health.saw(unclear()), None);
    }

    #[test]
    fn a_server_that_was_never_well_is_said_to_be_down_once() {
        let mut health = Health::default();
        assert_eq!(health.saw(failed()), Some(Change::Down("refused".into())));
        assert_eq!(health.saw(failed()), None);
        assert_eq!(health.saw(Verdict::Healthy), Some(Change::Up));
    }
}
