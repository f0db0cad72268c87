//! A pool user for small devices: the machine and the standard library, no runtime.
//!
//! Each line of standard input asks for a server of the pool and gets one line in answer.
//!
//! ```text
//! cargo run --example tiny_user --no-default-features --features user -- EchoPool 127.0.0.1:3863
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the driver's side")]

mod tiny;

use rserpool_proto::endpoint::pool_user::{Event, PoolUser, PoolUserConfig, RequestId};
use rserpool_proto::id::PoolHandle;
use rserpool_proto::machine::Locator;
use std::error::Error;
use tiny::{Net, Next};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [handle, registrars @ ..] = arguments.as_slice() else {
        return Err("say: tiny_user POOL REGISTRAR...".into());
    };
    let handle: PoolHandle = handle.parse()?;
    let registrars = registrars.iter().map(|text| text.parse());
    let registrars = registrars.collect::<Result<Vec<Locator>, _>>()?;

    let mut net = Net::new()?;
    let mut user = PoolUser::new(PoolUserConfig::new(registrars), tiny::seed(), net.now());
    let mut asked = 0;
    let mut answered = 0;
    let mut ended = false;
    while !ended || answered < asked {
        match net.next(&mut user) {
            Next::Line => {
                asked += 1;
                user.pick(net.now(), &handle, RequestId(asked), &[]);
            }
            Next::End => ended = true,
            Next::Event(Event::Picked { result, .. }) => {
                answered += 1;
                match result {
                    Ok(element) => match element.user_transport.primary() {
                        Some(address) => println!("{address}"),
                        None => println!("{}", element.id),
                    },
                    Err(error) => eprintln!("{error}"),
                }
            }
            Next::Event(Event::RegistrarUnreachable) => eprintln!("no registrar can be reached"),
            Next::Event(_) => {}
        }
    }
    Ok(())
}
