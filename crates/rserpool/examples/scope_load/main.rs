//! The loads of `cargo xtask bench maintenance`, `takeover` and `join`: several registrars of one
//! scope in one process, each with a thread of its own, over TCP on loopback. Figures go to stdout
//! as JSON.
//!
//! ```text
//! maintenance REGISTRARS ELEMENTS INTERVAL_MS SECONDS   elements that re-register; CPU of home and copy
//! takeover REGISTRARS ELEMENTS SECONDS                  one is killed; messages of the others
//! join ELEMENTS                                         one joins another that serves users meanwhile
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]

mod host;
mod join;
mod link;
mod maintenance;
mod takeover;

use std::error::Error;

/// Whatever went wrong; the benchmark shows it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["maintenance", registrars, elements, interval, seconds] => maintenance::run(
            registrars.parse()?,
            elements.parse()?,
            interval.parse()?,
            seconds.parse()?,
        ),
        ["takeover", registrars, elements, seconds] => {
            takeover::run(registrars.parse()?, elements.parse()?, seconds.parse()?)
        }
        ["join", elements] => join::run(elements.parse()?),
        _ => Err("see the top of examples/scope_load/main.rs".into()),
    }
}
