//! `cargo xtask bench expression`: a policy by an expression beside one that is built in.

use super::{built, keep, pinned, rate};
use crate::steps::{Error, output};
use serde_json::{Value, json};

/// Most that an operation may take, in times of the built-in policy.
const MOST: f64 = 3.0;

/// Runs the workload; `Ok(true)` if no operation takes longer than it may.
pub(crate) fn run() -> Result<bool, Error> {
    let program = built(&[
        "--release",
        "--package",
        "rserpool",
        "--features",
        "expressions",
        "--example",
        "expression",
    ])?;
    let measured: Value = serde_json::from_str(&output(pinned(&program))?)?;
    let (built_in, own) = (&measured["least-used-degradation"], &measured["expression"]);
    let operations = own.as_object().ok_or("the workload gave no figures")?;
    println!(
        "{:<12}{:>24}{:>14}{:>8}",
        "a second", "least-used-degradation", "expression", "times"
    );
    let mut misses = Vec::new();
    for (operation, figure) in operations {
        let number = |value: &Value| value.as_f64().ok_or("a figure is no number");
        let (theirs, ours) = (number(&built_in[operation])?, number(figure)?);
        let times = theirs / ours;
        println!("{operation:<12}{:>24}{:>14}{times:>8.2}", rate(theirs), rate(ours));
        if times > MOST {
            misses.push(format!("{operation}: {times:.2} times as long, at most {MOST}"));
        }
    }
    keep("expression", &json!({ "measured": measured, "misses": misses }))?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}
