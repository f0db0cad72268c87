//! `cargo xtask bench handlespace`: the workload of `rserpool-proto` beside the reference.
//!
//! The workload prints JSON: `calibration.btree` and `calibration.shuffle` in operations a second,
//! and `rows` of `policy`, `pools`, `elements` (in each), `rates` by operation, `bytes_per_element`.

use super::reference::{BTREE_PER_SECOND, OPERATIONS, ROWS, SHUFFLE_PER_SECOND};
use super::{example, keep, pinned, rate};
use crate::steps::{Error, output};
use serde_json::{Value, json};

/// Arguments of `cargo xtask bench handlespace`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure this policy only.
    #[arg(long)]
    policy: Option<String>,
    /// Measure fewer shapes and repeat less: figures for a first look.
    #[arg(long)]
    quick: bool,
}

/// Most bytes an element with one IPv4 address may take, all indexes and timers included.
const MOST_BYTES: f64 = 250.0;

/// Most memory of a process with a million elements.
const MOST_MEGABYTES: u64 = 512;

/// Least resolutions of one item a second in a pool of 10 000, whatever the policy.
const LEAST_RESOLUTIONS: f64 = 1e6;

/// Runs the workload; `Ok(true)` if every figure reaches what is asked of it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Error> {
    let mut command = pinned(&example("rserpool-proto", "handlespace")?);
    if let Some(policy) = &arguments.policy {
        command.args(["--policy", policy]);
    }
    if arguments.quick {
        command.arg("--quick");
    }
    let measured: Value = serde_json::from_str(&output(command)?)?;

    let btree = number(&measured["calibration"]["btree"])?;
    let shuffle = number(&measured["calibration"]["shuffle"])?;
    // The reference's trees live and die by what the B-tree does. The shuffle is there to tell a
    // machine that only calculates faster.
    let scale = btree / BTREE_PER_SECOND;
    println!(
        "calibration: B-tree {}/s (x {scale:.2}, which scales the reference's figures), shuffle \
         {}/s (x {:.2})\n",
        rate(btree),
        rate(shuffle),
        shuffle / SHUFFLE_PER_SECOND
    );
    print!("{:<36}", "policy, pools x elements");
    for operation in OPERATIONS_SHOWN {
        print!("{operation:>19}");
    }
    println!("{:>8}", "bytes");

    let mut rows = Vec::new();
    let mut misses = Vec::new();
    for row in measured["rows"].as_array().ok_or("the workload gave no rows")? {
        let shape = Shape::of(row)?;
        print!("{:<36}", shape.to_string());
        let mut ratios = serde_json::Map::new();
        for operation in OPERATIONS_SHOWN {
            let ours = number(&row["rates"][operation])?;
            let ratio = shape.reference(operation).map(|theirs| ours / (theirs * scale));
            let shown = ratio.map(|ratio| format!(" ({ratio:.1})")).unwrap_or_default();
            print!("{:>19}", rate(ours) + &shown);
            if let Some(ratio) = ratio {
                ratios.insert(operation.into(), json!(ratio));
            }
            misses.extend(shape.miss(operation, ours, ratio));
        }
        let bytes = number(&row["bytes_per_element"])?;
        println!("{bytes:>8.0}");
        // A pool for each element is not what the bound is about.
        if shape.elements > 1 && bytes > MOST_BYTES {
            misses.push(format!("{shape}: {bytes:.0} bytes per element, at most {MOST_BYTES}"));
        }
        let mut kept = row.clone();
        kept["ratios"] = ratios.into();
        rows.push(kept);
    }
    println!("in brackets: times the reference, scaled");
    if let Some(rss) = measured["million_rss"].as_u64() {
        let megabytes = rss / 1_000_000;
        println!("1 000 000 elements in 10 000 pools: {megabytes} MB of RSS");
        if megabytes >= MOST_MEGABYTES {
            misses.push(format!("a million elements take {megabytes} MB, not {MOST_MEGABYTES}"));
        }
    }
    let calibration = json!({ "btree": btree, "shuffle": shuffle, "scale": scale });
    let figures = json!({
        "calibration": calibration,
        "rows": rows,
        "million_rss": measured["million_rss"],
        "misses": misses,
    });
    keep("handlespace", &figures)?;
    for miss in &misses {
        println!("not reached: {miss}");
    }
    Ok(misses.is_empty())
}

/// The reference's operations, and three items, which it was not asked for.
const OPERATIONS_SHOWN: [&str; 7] = {
    let [register, new, same, resolve_1, resolve_10, remove] = OPERATIONS;
    [register, new, same, resolve_1, "resolve_3", resolve_10, remove]
};

/// What a row is about.
struct Shape<'a> {
    policy: &'a str,
    pools: u64,
    elements: u64,
}

impl<'a> Shape<'a> {
    fn of(row: &'a Value) -> Result<Self, Error> {
        Ok(Self {
            policy: row["policy"].as_str().ok_or("a row without a policy")?,
            pools: row["pools"].as_u64().ok_or("a row without pools")?,
            elements: row["elements"].as_u64().ok_or("a row without elements")?,
        })
    }

    /// What the reference does, unscaled, if it was measured.
    fn reference(&self, operation: &str) -> Option<f64> {
        let row = ROWS.iter().find(|row| {
            (row.policy, row.pools, row.elements) == (self.policy, self.pools, self.elements)
        })?;
        let position = OPERATIONS.iter().position(|name| *name == operation)?;
        row.rates.get(position).map(|millions| millions * 1e6)
    }

    /// How many times the reference a figure has to be.
    fn asked(&self, operation: &str) -> f64 {
        let random = ["random", "weighted-random", "randomized-least-used"].contains(&self.policy);
        match (self.pools, self.elements, operation) {
            (1, 10_000, "resolve_10") if random => 10.0,
            (1, 10_000, "resolve_1") if random => 2.0,
            (1, 10_000, "resolve_1" | "resolve_10") => 1.0,
            // With a new load: these two have none, their new registrations are their old ones.
            (1, 10_000, "reregister_new") if ["round-robin", "random"].contains(&self.policy) => {
                0.0
            }
            (1, 10_000, "reregister_new") => 3.0,
            (1, 100_000, _) => 1.0,
            _ => 0.0,
        }
    }

    /// What is wrong with a figure, if anything.
    fn miss(&self, operation: &str, ours: f64, ratio: Option<f64>) -> Option<String> {
        let asked = self.asked(operation);
        match ratio {
            Some(ratio) if ratio < asked => {
                Some(format!("{self}: {operation} is {ratio:.2} times the reference, not {asked}"))
            }
            _ if (self.elements, operation) == (10_000, "resolve_1")
                && ours < LEAST_RESOLUTIONS =>
            {
                Some(format!("{self}: {} resolutions a second, not 1 M", rate(ours)))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} x {}", self.policy, self.pools, self.elements)
    }
}

fn number(value: &Value) -> Result<f64, Error> {
    value.as_f64().ok_or_else(|| format!("the workload gave {value} where a number stands").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_held_against_what_is_asked_of_their_shape() {
        let shape = Shape { policy: "random", pools: 1, elements: 10_000 };
        assert_eq!(shape.reference("resolve_10"), Some(0.25e6));
        assert_eq!(shape.reference("resolve_3"), None);
        assert!(shape.miss("resolve_10", 2e6, Some(8.0)).is_some());
        assert!(shape.miss("resolve_10", 3e6, Some(12.0)).is_none());
        assert!(shape.miss("resolve_1", 0.9e6, Some(3.0)).is_some());
        let shape = Shape { policy: "priority", pools: 1, elements: 10_000 };
        assert!(shape.miss("resolve_1", 0.9e6, None).is_some());
        let shape = Shape { policy: "least-used", pools: 1_000, elements: 100 };
        assert!(shape.miss("remove", 0.1e6, Some(0.2)).is_none());
    }
}
