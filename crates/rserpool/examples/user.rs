//! Sends a line to one server of `EchoPool`, and to the next one if that does not answer.
//!
//! `cargo run -p rserpool --example user`
#![expect(clippy::print_stdout, reason = "an example that shows something")]

use rserpool::proto::wire::transport::Transport;
use rserpool::{PoolUser, pool_user::PoolUserConfig};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let user = PoolUser::new(PoolUserConfig::new(vec!["tcp://127.0.0.1:3863".parse()?]));
    let handle = "EchoPool".parse()?;
    let mut tried = Vec::new();
    loop {
        // Fails when all have been tried.
        let element = user.pick(&handle, &tried).await?;
        tried.push(element.id);
        let Transport::Tcp(address) = element.user_transport else { continue };
        match ask(address).await {
            Ok(answer) => {
                println!("{answer} (from {address}, element {})", element.id);
                return Ok(());
            }
            Err(error) => {
                println!("{address} does not answer: {error}");
                user.report_unreachable(&handle, element.id);
            }
        }
    }
}

async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"Hello!").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
