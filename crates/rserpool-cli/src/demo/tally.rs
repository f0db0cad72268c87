//! What has become of the requests, and who has answered them.

use rserpool::proto::id::PeId;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts of the whole demonstration.
#[derive(Default)]
pub(super) struct Tally(Mutex<Counts>);

/// A copy of all counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// Times that a request was sent to another element after one had failed.
    pub(super) sent_again: u64,
    pub(super) lost: u64,
    /// In the order in which they joined.
    pub(super) elements: Vec<Element>,
}

/// An element of the demonstration.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) pe: PeId,
    pub(super) address: SocketAddr,
    pub(super) answered: u64,
    pub(super) killed: Option<Kill>,
}

/// The end of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    at: Instant,
    /// Requests it was working on.
    pub(super) requests: usize,
    /// Time until one of the requests that it took along was answered by another.
    pub(super) replaced_after: Option<Duration>,
    told: bool,
}

impl Tally {
    /// A new request; gives its number.
    pub(super) fn sent(&self) -> u64 {
        let mut counts = self.counts();
        counts.sent += 1;
        counts.sent
    }

    pub(super) fn sent_again(&self) {
        self.counts().sent_again += 1;
    }

    pub(super) fn lost(&self) {
        self.counts().lost += 1;
    }

    /// A request was answered by `pe`, after others had failed.
    pub(super) fn answered(&self, pe: PeId, failed: &[PeId]) {
        let mut counts = self.counts();
        counts.answered += 1;
        for element in &mut counts.elements {
            if element.pe == pe {
                element.answered += 1;
            }
            if let Some(kill) = &mut element.killed
                && kill.replaced_after.is_none()
                && failed.contains(&element.pe)
            {
                kill.replaced_after = Some(kill.at.elapsed());
            }
        }
    }

    pub(super) fn joined(&self, pe: PeId, address: SocketAddr) {
        let element = Element { pe, address, answered: 0, killed: None };
        self.counts().elements.push(element);
    }

    pub(super) fn killed(&self, pe: PeId, requests: usize) {
        let kill = Kill { at: Instant::now(), requests, replaced_after: None, told: false };
        for element in self.counts().elements.iter_mut().filter(|element| element.pe == pe) {
            element.killed = Some(kill);
        }
    }

    /// Elements in whose place another has answered since this was last asked, and after what time.
    pub(super) fn newly_replaced(&self) -> Vec<(PeId, Duration)> {
        let mut replaced = Vec::new();
        for element in &mut self.counts().elements {
            if let Some(kill) = &mut element.killed
                && let Some(after) = kill.replaced_after
                && !kill.told
            {
                kill.told = true;
                replaced.push((element.pe, after));
            }
        }
        replaced
    }

    /// All counts as they are now.
    pub(super) fn read(&self) -> Counts {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// The share of all answers that an element has given, 0 to 1.
    pub(super) fn share(&self, element: &Element) -> f64 {
        element.answered as f64 / self.answered.max(1) as f64
    }

    /// The median of the times from a kill to the first answer of another element, if any is known.
    pub(super) fn median(&self) -> Option<Duration> {
        let kills = self.elements.iter().filter_map(|element| element.killed);
        let mut times: Vec<Duration> = kills.filter_map(|kill| kill.replaced_after).collect();
        times.sort_unstable();
        let (low, high) =
            (times.get(times.len().saturating_sub(1) / 2)?, times.get(times.len() / 2)?);
        Some((*low + *high) / 2)
    }

    /// As it is written for programs.
    pub(super) fn summary(&self) -> Summary {
        let elements = self.elements.iter().map(|element| ElementSummary {
            id: element.pe.to_string(),
            address: element.address,
            answered: element.answered,
            share: self.share(element),
            killed: element.killed.map(|kill| KillSummary {
                requests: kill.requests,
                answered_by_another_after_ms: kill.replaced_after.map(milliseconds),
            }),
        });
        Summary {
            sent: self.sent,
            answered: self.answered,
            sent_again: self.sent_again,
            lost: self.lost,
            median_ms: self.median().map(milliseconds),
            elements: elements.collect(),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The result, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    sent: u64,
    answered: u64,
    sent_again: u64,
    lost: u64,
    /// From a kill to the first answer of another element.
    median_ms: Option<f64>,
    elements: Vec<ElementSummary>,
}

#[derive(Debug, Serialize)]
struct ElementSummary {
    id: String,
    address: SocketAddr,
    answered: u64,
    /// Of all answers, 0 to 1.
    share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    killed: Option<KillSummary>,
}

#[derive(Debug, Serialize)]
struct KillSummary {
    /// Requests it was working on.
    requests: usize,
    answered_by_another_after_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let tally = Tally::default();
        for number in 1..=3 {
            tally.joined(PeId(number), SocketAddr::from(([127, 0, 0, 1], 80)));
        }
        tally
    }

    #[test]
    fn only_an_answer_that_a_killed_element_owed_counts_as_given_in_its_place() {
        let tally = tally();
        tally.killed(PeId(1), 2);
        tally.answered(PeId(2), &[]);
        assert!(tally.newly_replaced().is_empty());
        assert_eq!(tally.read().median(), None);
        tally.answered(PeId(2), &[PeId(1)]);
        let replaced = tally.newly_replaced();
        assert_eq!(replaced.len(), 1);
        assert_eq!(replaced[0].0, PeId(1));
        tally.answered(PeId(3), &[PeId(1)]);
        assert!(tally.newly_replaced().is_empty(), "only the first counts");
        assert_eq!(tally.read().median(), Some(replaced[0].1));
    }

    #[test]
    fn shares_are_of_all_answers() {
        let tally = tally();
        for pe in [1, 1, 1, 2] {
            tally.sent();
            tally.answered(PeId(pe), &[]);
        }
        let counts = tally.read();
        let shares: Vec<f64> = counts.elements.iter().map(|one| counts.share(one)).collect();
        assert_eq!(shares, [0.75, 0.25, 0.0]);
    }
}
