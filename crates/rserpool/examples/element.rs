//! An echo server in the pool `EchoPool`, until Ctrl-C. Start as many as you like.
//!
//! `cargo run -p rserpool --example element`

use rserpool::proto::wire::transport::Transport;
use rserpool::{PoolElement, pool_element::PoolElementConfig};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let element = PoolElement::start(PoolElementConfig::new(
        "EchoPool".parse()?,
        Transport::Tcp(server.local_addr()?),
        vec!["tcp://127.0.0.1:3863".parse()?],
    ))
    .await?;
    tokio::select! {
        result = serve(server) => result?,
        result = tokio::signal::ctrl_c() => result?,
    }
    element.deregister().await?;
    Ok(())
}

async fn serve(server: TcpListener) -> std::io::Result<()> {
    loop {
        let (mut client, _) = server.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = client.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
    }
}
