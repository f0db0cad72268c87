//! Bytes as they are, and what comes back: for finding out.

use crate::client::{ASAP, Addressed, Client, addresses};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Arguments of `raw`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to send it, such as 10.0.0.1:3863.
    #[arg(value_parser = addresses)]
    to: Addressed,
    /// Messages in hexadecimal, sent one after the other on one association.
    #[arg(required = true)]
    messages: Vec<String>,
    /// Payload protocol identifier.
    #[arg(long, default_value_t = ASAP)]
    ppid: u32,
    /// Milliseconds to wait for answers to each.
    #[arg(long, default_value_t = 300)]
    wait: u64,
}

/// Sends, and prints each answer as `PPID HEX`.
pub(crate) async fn run(arguments: Arguments) -> io::Result<()> {
    let client = Client::connect(&arguments.to.0).await?;
    for text in &arguments.messages {
        client.send(arguments.ppid, &bytes(text)?).await?;
        let end = Instant::now() + Duration::from_millis(arguments.wait);
        while let Ok(answer) = timeout_at(end, client.recv()).await {
            let answer = answer?;
            let hex: String = answer.data.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{} {hex}", answer.ppid);
        }
    }
    client.close().await;
    Ok(())
}

fn bytes(text: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect();
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not hexadecimal");
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(wrong)?;
    // Two digits of four bits each.
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}
