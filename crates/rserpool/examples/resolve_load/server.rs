//! Those who answer.

use super::{Outcome, messages};
use rserpool::driver::{self, Driver, Echo, Limits};
use rserpool::proto::machine::{Channel, Locator};
use rserpool::registrar::{Config, Registrar};
use std::future::pending;
use std::io::{Read, Write, stdin};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A registrar with nothing configured but its address, and neither rates nor a bound for an address: one
/// asks all that it can answer, and all are at one.
pub(super) fn registrar() -> Outcome {
    runtime()?.block_on(async {
        let mut config =
            Config { asap: vec![Locator::tcp(ANY)], enrp: Vec::new(), ..Config::default() };
        config.machine.limits = config.machine.limits.without_rates();
        config.limits.associations_per_address = config.limits.associations;
        let registrar = Registrar::start(config).await?;
        for address in registrar.asap_addrs() {
            up(*address);
        }
        pending().await
    })
}

/// The smallest machine on the same driver.
pub(super) fn echo(answer: Vec<u8>) -> Outcome {
    runtime()?.block_on(async {
        let socket = driver::listen(ANY)?;
        let address = socket.local_addr()?;
        let (_commands, inbox) = tokio::sync::mpsc::channel(1);
        let limits = Limits::default();
        let mut driver = Driver::new(Echo::answering(answer), inbox, limits, Arc::default());
        driver.add_listener(Channel::Asap, socket);
        up(address);
        tokio::spawn(driver.run()).await?;
        Ok(())
    })
}

/// No driver: a thread that reads, answers and writes.
pub(super) fn raw(answer: &[u8]) -> Outcome {
    let listener = TcpListener::bind(ANY)?;
    up(listener.local_addr()?);
    thread::scope(|scope| {
        for stream in listener.incoming() {
            // Connections come one after the other; what goes wrong with one shows at the other end.
            scope.spawn(move || {
                stream.map_err(Into::into).and_then(|stream| serve(stream, answer)).is_ok()
            });
        }
    });
    Ok(())
}

fn serve(mut stream: TcpStream, answer: &[u8]) -> Outcome {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    let mut answers = Vec::new();
    loop {
        let read = stream.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut done = 0;
        while let Some(length) = messages::whole(buffer.get(done..filled).unwrap_or_default())? {
            answers.extend_from_slice(answer);
            done += length;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
        stream.write_all(&answers)?;
        answers.clear();
    }
}

/// As the command's: on one core it has one thread for tasks.
fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Says where the server is, and ends it with standard input.
fn up(address: SocketAddr) {
    println!("{address}");
    thread::spawn(|| {
        // However it ends, nobody is there any more.
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
