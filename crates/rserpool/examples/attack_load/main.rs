//! The load of `cargo xtask bench attacks`: a registrar with a pool that is used, and somebody who
//! means harm.
//!
//! ```text
//! pool POLICY open|secured SECONDS    ten elements and a hundred users; prints where the registrar
//!                                     takes connections without TLS; then, for each line of input,
//!                                     the handling speed of so many seconds, the requests that were
//!                                     done, and those that were tried again
//! reports ADDRESS EVERY               resolves and reports whom it is named, every so many seconds
//! resolutions ADDRESS EVERY           resolves; every 0 s is as fast as answers come
//! fakes ADDRESS EVERY                 registers elements at a port where nobody listens
//! ```
//!
//! Attackers come from another address than the others. They end with their input, and print what
//! they have tried, and how many registrations were granted.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]
#![expect(clippy::unwrap_used, reason = "certificates of a benchmark")]

mod attack;
#[path = "../../tests/tls/authority.rs"]
mod authority;
mod pool;

use rserpool::proto::id::PoolHandle;
use std::error::Error;

/// Whatever went wrong; the benchmark shows it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["pool", policy, scope @ ("open" | "secured"), seconds] => {
            pool::run(policy, *scope == "secured", seconds.parse()?)
        }
        [what @ ("reports" | "resolutions" | "fakes"), address, every] => {
            attack::run(what, address.parse()?, every.parse()?)
        }
        _ => Err("see the first lines of the program".into()),
    }
}

fn handle() -> PoolHandle {
    PoolHandle::new("Pool").unwrap()
}
