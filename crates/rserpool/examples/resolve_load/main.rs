//! The loads of `cargo xtask bench resolve`, `latency` and `watch`: servers and those who
//! ask them, each a process of its own, so that each has a core.
//!
//! ```text
//! registrar                               serves; prints its address
//! echo MESSAGE | raw MESSAGE              answers everything with this message, on the registrars'
//!                                         driver or on std::net; prints its address
//! pool ADDRESS POOL ELEMENTS              registers this many; prints `ready`
//! churn ADDRESS POOL PER_SECOND           elements join, live for a second and leave
//! pools ADDRESS POOLS ELEMENTS            registers this many in each of the pools p0, p1, ..; prints `ready`
//! churn-pools ADDRESS POOLS PER_SECOND    as churn, in these pools in turn
//! watch ADDRESS POOLS WATCHES ITEMS       watches these pools in turn; prints `ready`
//! sample ADDRESS POOL ITEMS               prints an answer
//! ask ADDRESS POOL ITEMS WINDOW SECONDS   keeps this many questions outstanding; prints answers/s
//! offer ADDRESS POOL PER_SECOND SECONDS   asks at fixed times; prints latencies in nanoseconds
//! ```
//!
//! A pool is named as its policy, `round-robin` or `least-used`. Messages are in hexadecimal. Servers end with standard input.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]

mod ask;
mod messages;
mod offer;
mod pool;
mod server;
mod watches;

use std::error::Error;

/// Whatever went wrong; the benchmark shows it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["registrar"] => server::registrar(),
        ["echo", message] => server::echo(messages::from_hex(message)?),
        ["raw", message] => server::raw(&messages::from_hex(message)?),
        ["pool", address, pool, elements] => pool::hold(address.parse()?, pool, elements.parse()?),
        ["churn", address, pool, per_second] => {
            pool::churn(address.parse()?, |_| (*pool).to_owned(), pool, per_second.parse()?)
        }
        ["pools", address, pools, elements] => {
            pool::hold_pools(address.parse()?, pools.parse()?, elements.parse()?)
        }
        ["churn-pools", address, pools, per_second] => {
            let pools: u32 = pools.parse()?;
            let name = |number| format!("p{}", number % pools);
            pool::churn(address.parse()?, name, pool::POLICY, per_second.parse()?)
        }
        ["watch", address, pools, watches, items] => {
            let (pools, watches) = (pools.parse()?, watches.parse()?);
            watches::watch(address.parse()?, pools, watches, items.parse()?)
        }
        ["sample", address, pool, items] => {
            ask::sample(address.parse()?, &messages::question(pool, items.parse()?)?)
        }
        ["ask", address, pool, items, window, seconds] => {
            let question = messages::question(pool, items.parse()?)?;
            ask::ask(address.parse()?, &question, window.parse()?, seconds.parse()?)
        }
        ["offer", address, pool, per_second, seconds] => {
            let question = messages::question(pool, 1)?;
            offer::offer(address.parse()?, &question, per_second.parse()?, seconds.parse()?)
        }
        _ => Err("see the top of examples/resolve_load/main.rs".into()),
    }
}
