//! A pool element for small devices: the machine and the standard library, no runtime.
//!
//! It keeps the server at ADDRESS in the pool until standard input ends, and then takes it out.
//!
//! ```text
//! cargo run --example tiny_element --no-default-features --features element -- \
//!     EchoPool 127.0.0.1:7 127.0.0.1:3863
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the driver's side")]

mod tiny;

use rserpool_proto::endpoint::pool_element::{Event, PoolElement, PoolElementConfig};
use rserpool_proto::machine::Locator;
use rserpool_proto::wire::transport::Transport;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};
use tiny::{Net, Next};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [handle, address, registrars @ ..] = arguments.as_slice() else {
        return Err("say: tiny_element POOL ADDRESS REGISTRAR...".into());
    };
    let registrars = registrars.iter().map(|text| text.parse());
    let registrars = registrars.collect::<Result<Vec<Locator>, _>>()?;
    let transport = Transport::Tcp(address.parse()?);
    let mut config = PoolElementConfig::new(handle.parse()?, transport, registrars);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    config.stamp_start = since_1970.as_micros().try_into()?;

    let mut net = Net::new()?;
    let mut element = PoolElement::new(config, tiny::seed(), net.now());
    loop {
        match net.next(&mut element) {
            Next::Line => {}
            Next::End => element.deregister(net.now()),
            Next::Event(Event::Registered { id, home }) => println!("{id} registered at {home}"),
            Next::Event(Event::Refused { errors }) => {
                return Err(format!("refused: {errors:?}").into());
            }
            Next::Event(Event::Deregistered | Event::DeregistrationFailed { .. }) => return Ok(()),
            Next::Event(Event::RegistrarUnreachable) => eprintln!("no registrar can be reached"),
            Next::Event(Event::HomeLost { home, reason }) => eprintln!("{home} is lost: {reason}"),
            Next::Event(_) => {}
        }
    }
}
