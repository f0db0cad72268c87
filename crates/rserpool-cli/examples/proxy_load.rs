//! The two ends of a proxy under load, for `cargo xtask bench proxy`.
//!
//! ```text
//!   proxy_load server ADDR                            answers what it is asked
//!   proxy_load bulk ADDR CONNECTIONS SECONDS          large bodies: bytes per second
//!   proxy_load connections ADDR CONNECTIONS SECONDS   connect, ask, be answered, end: per second
//! ```
//!
//! One thread each, so that both fit on one core and the proxy has the other one to itself.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the figure is what it is run for")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Asks for bytes without end.
const BULK: u8 = b'b';
/// Asks for the same byte.
const ECHO: u8 = b'e';

/// Bytes or connections so far.
static DONE: AtomicU64 = AtomicU64::new(0);
/// What went wrong so far.
static FAILED: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server", address] => serve(address.parse()?).await?,
        [kind @ ("bulk" | "connections"), address, connections, seconds] => {
            let (address, connections): (SocketAddr, u32) =
                (address.parse()?, connections.parse()?);
            for _ in 0..connections {
                match kind {
                    "bulk" => drop(tokio::spawn(bulk(address))),
                    _ => drop(tokio::spawn(connect(address))),
                }
            }
            measure(Duration::from_secs_f64(seconds.parse()?)).await?;
        }
        _ => return Err("see the source for what to give".into()),
    }
    Ok(())
}

/// Prints the rate, after a moment to get going.
async fn measure(time: Duration) -> Result<(), Box<dyn Error>> {
    sleep(Duration::from_millis(300)).await;
    let (before, began) = (DONE.load(Relaxed), Instant::now());
    sleep(time).await;
    let done = DONE.load(Relaxed) - before;
    println!("{}", done as f64 / began.elapsed().as_secs_f64());
    match FAILED.load(Relaxed) {
        0 => Ok(()),
        failed => Err(format!("{failed} connections failed").into()),
    }
}

async fn bulk(address: SocketAddr) {
    let read = async || -> io::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u8(BULK).await?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => DONE.fetch_add(count as u64, Relaxed),
            };
        }
    };
    if read().await.is_err() {
        FAILED.fetch_add(1, Relaxed);
    }
}

async fn connect(address: SocketAddr) {
    let ask = async || -> io::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u8(ECHO).await?;
        stream.read_u8().await?;
        // Ports are free again at once.
        stream.set_zero_linger()
    };
    loop {
        match ask().await {
            Ok(()) => DONE.fetch_add(1, Relaxed),
            Err(_) => FAILED.fetch_add(1, Relaxed),
        };
    }
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let body: &[u8] = vec![7; 1 << 20].leak();
    loop {
        let (mut client, _) = listener.accept().await?;
        tokio::spawn(async move {
            while let Ok(asked) = client.read_u8().await {
                let answered = match asked {
                    BULK => client.write_all(body).await.is_ok(),
                    _ => client.write_u8(asked).await.is_ok(),
                };
                if !answered {
                    return;
                }
                while asked == BULK && client.write_all(body).await.is_ok() {}
            }
        });
    }
}
