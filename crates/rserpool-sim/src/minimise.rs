//! Leaves out of a plan what its violation does not need.
//!
//! First the faults, then the nodes, then the faults that are left: halves, then quarters, then one by
//! one, as long as the same thing goes wrong without them. What is left is not the least there is,
//! but short enough to be read.

use crate::fault::Fault;
use crate::net::NodeId;
use crate::swarm::Plan;
use crate::world::Violation;
use std::time::{Duration, Instant};

/// A smaller plan that violates the same; at most `limit` is spent on it.
pub fn minimise(plan: &Plan, violation: &Violation, limit: Duration) -> Plan {
    let ends = Instant::now() + limit;
    let mut best = plan.clone();
    let fails = |plan: &Plan| {
        let found = plan.run(0).violation;
        Instant::now() < ends && found.is_some_and(|found| kind(&found) == kind(violation))
    };
    // What begins after it went wrong has nothing to do with it.
    best.faults.retain(|fault| fault.at <= violation.at);
    if !fails(&best) {
        return plan.clone();
    }
    for _ in 0..2 {
        let faults = best.faults.clone();
        let needed = needed(&faults, &|kept: &[Fault]| {
            let mut smaller = best.clone();
            smaller.faults = kept.to_vec();
            fails(&smaller)
        });
        best.faults = needed;
        let nodes: Vec<NodeId> = best.members().map(|(node, _)| node).collect();
        let everybody = nodes.clone();
        let kept =
            self::needed(&nodes, &|kept: &[NodeId]| fails(&without(&best, &everybody, kept)));
        best = without(&best, &everybody, &kept);
    }
    best
}

fn without(plan: &Plan, everybody: &[NodeId], kept: &[NodeId]) -> Plan {
    let mut smaller = plan.clone();
    smaller.left_out.extend(everybody.iter().filter(|node| !kept.contains(node)));
    smaller
}

/// Those of `all` without which it does not fail.
fn needed<T: Clone>(all: &[T], fails: &dyn Fn(&[T]) -> bool) -> Vec<T> {
    let mut kept = all.to_vec();
    let mut size = kept.len().div_ceil(2);
    while size > 0 && !kept.is_empty() {
        let mut at = 0;
        while at < kept.len() {
            let end = (at + size).min(kept.len());
            let fewer: Vec<T> = kept[..at].iter().chain(&kept[end..]).cloned().collect();
            if fails(&fewer) {
                kept = fewer;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    kept
}

/// What went wrong, whoever it happened to: the invariant, and the words without names and numbers.
fn kind(violation: &Violation) -> (&'static str, String) {
    let words = violation.text.split_whitespace();
    let plain = words.filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    (violation.invariant, plain.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let all: Vec<u32> = (0..100).collect();
        let fails = |kept: &[u32]| kept.contains(&17) && kept.contains(&80);
        assert_eq!(needed(&all, &fails), [17, 80]);
    }
}
