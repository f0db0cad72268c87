//! A download that goes on at the byte where its server died.
//!
//! `cargo run -p rserpool --example download -- serve FILE` on two terminals or more, with a registrar,
//! and then `cargo run -p rserpool --example download -- fetch COPY`. Kill the server that sends.
//!
//! Servers keep nothing: how far a download is stands in the cookie, which the user carries to the
//! next server. It is sent behind the piece it counts, so that who has the cookie has the piece. Who has
//! the piece may not have the cookie yet: so each piece says where it belongs, and may come twice.
#![expect(clippy::print_stderr, reason = "a program")]

use rserpool::cookie::CookieKeys;
use rserpool::pool_element::PoolElementConfig;
use rserpool::pool_user::PoolUserConfig;
use rserpool::proto::machine::Locator;
use rserpool::proto::wire::transport::Transport;
use rserpool::session::serve::{ServeConfig, ServedSession, Start};
use rserpool::session::{EndReason, Event};
use rserpool::{PoolElement, PoolUser};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Where the registrar is, unless RSERPOOL_REGISTRAR says so.
const HERE: &str = "tcp://127.0.0.1:3863";
const PIECE: usize = 16 * 1024;

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let registrar = std::env::var("RSERPOOL_REGISTRAR");
    let registrars: Vec<Locator> = vec![registrar.as_deref().unwrap_or(HERE).parse()?];
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", file] => serve(registrars, file.into()).await,
        ["fetch", copy] => fetch(registrars, copy.as_ref()).await,
        _ => Err("download serve FILE, or download fetch COPY".into()),
    }
}

async fn serve(registrars: Vec<Locator>, file: PathBuf) -> Outcome {
    let here = Transport::Tcp("127.0.0.1:0".parse()?);
    let mut config = ServeConfig::new(PoolElementConfig::new("Files".parse()?, here, registrars));
    // The same at all servers, and no secret: in earnest it comes from a file that only they read.
    config.keys = Some(CookieKeys::new(1, *b"an example's key of thirty-two b"));
    let service = PoolElement::serve(config, move |session| {
        let file = file.clone();
        async move {
            if let Err(error) = send(session, &file).await {
                eprintln!("a download has ended: {error}");
            }
        }
    })
    .await?;
    tokio::signal::ctrl_c().await?;
    // Downloads under way go on at another server.
    Ok(service.shutdown().await?)
}

async fn send(session: ServedSession, path: &Path) -> Outcome {
    let mut at = match session.start() {
        Start::Resumed(state) => u64::from_be_bytes(state.as_slice().try_into()?),
        Start::Fresh => 0,
        Start::Refused(error) => return Err((*error).into()),
    };
    eprintln!("sending from byte {at}");
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut piece = vec![0; PIECE];
    loop {
        let len = file.read(&mut piece)?;
        let Some(piece) = piece.get(..len).filter(|piece| !piece.is_empty()) else {
            // To return is to say that this was all.
            return Ok(());
        };
        session.send([&at.to_be_bytes()[..], piece].concat()).await?;
        at += piece.len() as u64;
        session.send_cookie(&at.to_be_bytes()).await?;
        // Slow enough for somebody to kill it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn fetch(registrars: Vec<Locator>, copy: &Path) -> Outcome {
    let user = PoolUser::new(PoolUserConfig::new(registrars));
    let mut session = user.session(&"Files".parse()?);
    let mut file = File::create(copy)?;
    let mut got = 0;
    while let Some(event) = session.next().await {
        match event {
            Event::Received(piece) => {
                let (at, bytes) = piece.bytes.split_first_chunk().ok_or("a piece of what?")?;
                let at = u64::from_be_bytes(*at);
                file.seek(SeekFrom::Start(at))?;
                file.write_all(bytes)?;
                got = at + bytes.len() as u64;
            }
            Event::Failover { from, to, .. } => {
                eprintln!("{from} has failed at byte {got}, {} goes on", to.id);
            }
            Event::Ended { reason: EndReason::Finished, .. } => {
                eprintln!("{got} bytes");
                return Ok(());
            }
            Event::Ended { reason, .. } => return Err(io::Error::other(reason.to_string()).into()),
            _ => {}
        }
    }
    Ok(())
}
