//! A registrar on the registered ports of this host, until Ctrl-C.
//!
//! `cargo run -p rserpool --example registrar`

use rserpool::{Registrar, registrar::Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registrar = Registrar::start(Config::default()).await?;
    tokio::signal::ctrl_c().await?;
    registrar.shutdown().await;
    Ok(())
}
