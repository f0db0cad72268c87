//! What a policy by an expression costs beside one that is built in: `cargo xtask bench expression`.
//!
//! Prints JSON: operations a second of a pool of 10 000 elements, the best of some rounds. Both
//! policies say the same: load, to which every selection adds.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]

use rserpool::expression::Definition;
use rserpool::proto::policy::{Dice, PolicyKind, PolicyTable, Seat};
use std::hint::black_box;
use std::time::Instant;

const ELEMENTS: u32 = 10_000;
const ROUNDS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = "load + selections * degradation";
    let own = Definition::new("own", &["load", "degradation"], key)?.kind();
    let table = PolicyTable::builtin();
    let built_in = table.by_name("least-used-degradation").ok_or("it is built in")?;
    let mut best = [[0.0_f64; OPERATIONS.len()]; 2];
    // In turns, so that what else runs here hits both.
    for round in 0..ROUNDS {
        for (best, kind) in best.iter_mut().zip([built_in, &own]) {
            for (best, rate) in best.iter_mut().zip(rates(kind, round as u32)) {
                *best = best.max(rate);
            }
        }
    }
    let [built_in, own] = best.map(|rates| {
        let rates =
            OPERATIONS.iter().zip(rates).map(|(name, rate)| format!("\"{name}\":{rate:.0}"));
        rates.collect::<Vec<_>>().join(",")
    });
    println!("{{\"least-used-degradation\":{{{built_in}}},\"expression\":{{{own}}}}}");
    Ok(())
}

const OPERATIONS: [&str; 5] = ["register", "reregister", "select_1", "select_10", "remove"];

fn rates(kind: &PolicyKind, round: u32) -> [f64; OPERATIONS.len()] {
    let text = kind.text.map_or(0, |text| text.get());
    let words = |seat: u32, turn: u32| {
        let mixed = seat.wrapping_mul(0x9e37_79b1) ^ turn.wrapping_mul(0x85eb_ca6b);
        [mixed.rotate_left(9), mixed >> 10, text]
    };
    let (mut policy, mut dice) = (kind.create(), Dice::new([1; 32]));
    let mut out = Vec::new();
    let register = rate(|| {
        (0..ELEMENTS).for_each(|seat| policy.insert(Seat(seat), &words(seat, round)));
    });
    let reregister = rate(|| {
        (0..ELEMENTS).for_each(|seat| policy.update(Seat(seat), &words(seat, round + 1)));
    });
    let mut select = |n| {
        rate(|| {
            for _ in 0..ELEMENTS {
                out.clear();
                policy.select(&mut dice, n, &mut out);
                black_box(&out);
            }
        })
    };
    let (one, ten) = (select(1), select(10));
    let remove = rate(|| (0..ELEMENTS).for_each(|seat| policy.remove(Seat(seat))));
    [register, reregister, one, ten, remove]
}

/// Operations a second.
fn rate(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    f64::from(ELEMENTS) / started.elapsed().as_secs_f64()
}
