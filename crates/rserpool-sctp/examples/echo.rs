//! An echo server and a client, with any number of addresses on each side.
//!
//! ```sh
//! cargo run --example echo -- listen 127.0.0.1:7007 127.0.0.2:7007
//! echo hello | cargo run --example echo -- connect 127.0.0.1:7007
//! ```
//! Cut a path between the two and watch the notifications: the talk goes on.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::io::{self, BufRead};
use std::net::SocketAddr;

use rserpool_sctp::{Association, Config, Endpoint, Event, SendInfo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let addresses: Vec<SocketAddr> = arguments
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    match command.as_str() {
        "listen" => listen(&addresses).await,
        "connect" => connect(&addresses).await,
        _ => {
            eprintln!("usage: echo listen ADDRESS:PORT.. | echo connect ADDRESS:PORT..");
            std::process::exit(2)
        }
    }
}

async fn listen(addresses: &[SocketAddr]) -> io::Result<()> {
    let endpoint = Endpoint::bind(addresses, &Config::fast_failover())?;
    println!("listening on {:?}", endpoint.local_addrs()?);
    loop {
        match endpoint.recv().await? {
            Event::Message(message) => {
                let info = SendInfo {
                    stream: message.stream,
                    unordered: message.unordered,
                    ..SendInfo::ppid(message.ppid)
                };
                if let Err(error) = endpoint.send(message.association, &message.data, info).await {
                    println!("no answer to {}: {error}", message.association);
                }
            }
            event => println!("{event:?}"),
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<()> {
    let association = Association::connect(addresses, &[], &Config::fast_failover()).await?;
    eprintln!("connected to {:?}", association.peer_addrs()?);
    for line in io::stdin().lock().lines() {
        let mut line = line?;
        line.push('\n');
        association.send(line.as_bytes(), SendInfo::default()).await?;
        loop {
            match association.recv().await? {
                Event::Message(message) => {
                    print!("{}", String::from_utf8_lossy(&message.data));
                    break;
                }
                event => eprintln!("{event:?}"),
            }
        }
    }
    association.close().await
}
