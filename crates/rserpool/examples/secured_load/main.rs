//! The load of `cargo xtask bench secured`: a registrar of a secured scope, those who use it, and those
//! who try to get in.
//!
//! ```text
//! serve                       serves; prints its folder of certificates, its address, the one without
//!                             TLS; then for each line of input the bytes of its heap
//! ask ADDRESS FOLDER COUNT    resolutions one after the other, by TLS; prints how many a second
//! ask-plainly ADDRESS COUNT   the same without
//! handshakes ADDRESS FOLDER COUNT    connections that ask once; prints how many a second
//! latency ADDRESS FOLDER SECONDS     asks every millisecond; prints the 99th percentile in us
//! register ADDRESS COUNT      registrations by nobody; prints how many were refused
//! half-open ADDRESS COUNT RATE   connections that begin TLS and say no more, 8 000 at a time and that many a
//!                             second, or 0 for as many as go; prints how many, and how many a second
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program")]
#![expect(clippy::unwrap_used, reason = "certificates of a benchmark")]

#[path = "../../tests/tls/authority.rs"]
mod authority;

use authority::Authority;
use cap::Cap;
use rserpool::driver::Network;
use rserpool::pool_element::PoolElementConfig;
use rserpool::proto::id::{PeId, PoolHandle, ServerId};
use rserpool::proto::machine::Locator;
use rserpool::proto::registrar::{Authority as Rights, Grants, Readers};
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::framer::frame_len;
use rserpool::proto::wire::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::pool_element::{ElementExtensions, PoolElement as WireElement};
use rserpool::proto::wire::transport::Transport;
use rserpool::tls::{Settings, Tls};
use rserpool::{PoolElement, Registrar, registrar};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::alloc::System;
use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead as _, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Whatever went wrong; the benchmark shows it.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve()?,
        ["ask", address, folder, count] => {
            let mut stream = secured(address.parse()?, &client(Path::new(folder))?)?;
            println!("{:.1}", ask(&mut stream, count.parse()?)?);
        }
        ["ask-plainly", address, count] => {
            let mut stream = plain(address.parse()?)?;
            println!("{:.1}", ask(&mut stream, count.parse()?)?);
        }
        ["handshakes", address, folder, count] => {
            handshakes(address.parse()?, Path::new(folder), count.parse()?)?;
        }
        ["latency", address, folder, seconds] => {
            let stream = secured(address.parse()?, &client(Path::new(folder))?)?;
            println!("{}", latency(stream, seconds.parse()?)?);
        }
        ["register", address, count] => register(address.parse()?, count.parse()?)?,
        ["half-open", address, count, rate] => {
            half_open(address.parse()?, count.parse()?, rate.parse()?)?;
        }
        _ => return Err("see the first lines of the program".into()),
    }
    Ok(())
}

fn pool() -> PoolHandle {
    PoolHandle::new("Pool").unwrap()
}

/// The registrar, with one element.
fn serve() -> Outcome {
    let authority = Authority::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (words, mut inbox) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || words.blocking_send(()).is_err() {
                break;
            }
        }
    });
    runtime.block_on(async {
        let names = &["rserpool://lab/registrar", "127.0.0.1"];
        let settings = Settings { anonymous: true, ..authority.settings(names) };
        let any = Locator::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut config = registrar::Config {
            asap: vec![any.clone()],
            enrp: Vec::new(),
            plain: vec![any],
            tls: Some(Tls::open(settings)?),
            ..registrar::Config::default()
        };
        config.machine.id = ServerId(1);
        let readers = Readers::Everybody;
        let grants = Grants { scope: "lab".into(), readers, ..Grants::default() };
        config.machine.authority = Rights::Secured(Arc::new(grants));
        let registrar = Registrar::start(config).await?;
        let at = *registrar.asap_addrs().first().ok_or("no address")?;
        let transport = Transport::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        let config = PoolElementConfig::new(pool(), transport, vec![Locator::tcp(at)]);
        let tls = Some(authority.tls(&["rserpool://lab/element/*"]));
        let network = Network { tls, ..Network::default() };
        let element = PoolElement::start_with(config, network).await?;
        element.registered().await?;
        // The certificate of users lies beside that of the authority.
        let (certificate, key) = authority.issue(&["rserpool://lab/user"]);
        let folder = authority.ca().parent().ok_or("no folder")?.to_path_buf();
        std::fs::copy(certificate, folder.join("user.pem"))?;
        std::fs::copy(key, folder.join("user.key"))?;
        let plain = registrar.plain_addrs().first().ok_or("no address")?;
        println!("{} {at} {plain}", folder.display());
        while inbox.recv().await.is_some() {
            println!("{}", HEAP.allocated());
        }
        Ok(())
    })
}

fn plain(to: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn client(folder: &Path) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    let chain = vec![CertificateDer::from_pem_file(folder.join("user.pem"))?];
    let key = PrivateKeyDer::from_pem_file(folder.join("user.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    Ok(Arc::new(config.with_client_auth_cert(chain, key)?))
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn secured(to: SocketAddr, config: &Arc<ClientConfig>) -> Outcome<Secured> {
    let session = ClientConnection::new(config.clone(), ServerName::from(to.ip()))?;
    Ok(StreamOwned::new(session, plain(to)?))
}

fn message(body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes).unwrap();
    bytes
}

fn question() -> Vec<u8> {
    let (subscribe, items, capabilities) = (false, Some(1), None);
    message(Body::HandleResolution { subscribe, handle: pool(), items, capabilities })
}

/// Asks once.
fn resolve(stream: &mut (impl Read + Write), question: &[u8]) -> Outcome {
    stream.write_all(question)?;
    stream.flush()?;
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err("the registrar has hung up".into());
        }
        filled += read;
        if frame_len(&buffer[..filled])?.is_some_and(|length| length <= filled) {
            return Ok(());
        }
    }
}

fn ask(stream: &mut (impl Read + Write), count: u32) -> Outcome<f64> {
    let question = question();
    // The first one pays for the handshake.
    resolve(stream, &question)?;
    let began = Instant::now();
    for _ in 0..count {
        resolve(stream, &question)?;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

fn handshakes(to: SocketAddr, folder: &Path, count: u32) -> Outcome {
    let question = question();
    let began = Instant::now();
    for _ in 0..count {
        // Another configuration knows of no session that could be resumed.
        let mut stream = secured(to, &client(folder)?)?;
        resolve(&mut stream, &question)?;
    }
    println!("{:.1}", f64::from(count) / began.elapsed().as_secs_f64());
    Ok(())
}

fn latency(mut stream: Secured, seconds: u64) -> Outcome<u128> {
    let question = question();
    resolve(&mut stream, &question)?;
    let began = Instant::now();
    let mut taken = Vec::new();
    for number in 1..=seconds * 1000 {
        let at = began + Duration::from_millis(number);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        resolve(&mut stream, &question)?;
        taken.push(asked.elapsed().as_micros());
    }
    taken.sort_unstable();
    Ok(taken.get(taken.len() * 99 / 100).copied().unwrap_or_default())
}

/// Registrations of other elements each, as fast as they are read; who is hung up on comes again.
fn register(to: SocketAddr, count: u32) -> Outcome {
    let element = |id| WireElement {
        id: PeId(id),
        home: ServerId::NONE,
        life: 300_000,
        user_transport: Transport::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 80))),
        policy: PolicyParameter::new(PolicyNumber(1), &[]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    };
    let mut sent = 0;
    while sent < count {
        let mut stream = plain(to)?;
        let answers = stream.try_clone()?;
        let reader = thread::spawn(move || granted(answers));
        while sent < count {
            let mut batch = Vec::new();
            for id in sent..count.min(sent + 64) {
                let element = Box::new(element(id + 1));
                let (capabilities, stamp) = (None, None);
                let handle = pool();
                batch.extend(message(Body::Registration { handle, element, capabilities, stamp }));
                batch.resize(batch.len().next_multiple_of(4), 0);
            }
            if stream.write_all(&batch).is_err() {
                break;
            }
            sent = count.min(sent + 64);
        }
        let _ = stream.shutdown(Shutdown::Write);
        if reader.join().map_err(|_| "a registration was granted, or answered by nonsense")? > 0 {
            return Err("a registration was granted".into());
        }
    }
    println!("{sent}");
    Ok(())
}

/// Reads answers until the registrar hangs up; how many registrations are granted.
fn granted(mut stream: TcpStream) -> u32 {
    let (mut buffer, mut filled, mut granted) = (vec![0; 65_536], 0, 0);
    while let Ok(read) = stream.read(&mut buffer[filled..])
        && read > 0
    {
        filled += read;
        let mut done = 0;
        while let Some(length) = frame_len(&buffer[done..filled]).unwrap()
            && done + length <= filled
        {
            let answer = Message::decode(&buffer[done..done + length]).unwrap().message.body;
            granted +=
                u32::from(matches!(answer, Body::RegistrationResponse { rejected: false, .. }));
            done += length;
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
    granted
}

/// Most connections at a time.
const OPEN: usize = 8_000;

fn half_open(to: SocketAddr, count: u32, rate: u32) -> Outcome {
    // What TLS begins with: a record that promises more than comes.
    let beginning = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let mut open = VecDeque::new();
    let mut opened = 0u32;
    let began = Instant::now();
    for number in 0..count {
        if rate > 0 {
            let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        if open.len() >= OPEN {
            open.pop_front();
        }
        let from = IpAddr::from([127, 0, 0, 2 + (number % 8) as u8]);
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        // As many ports as there are: the address is chosen with the connection.
        socket.bind(&SocketAddr::new(from, 0).into())?;
        // Whoever is closed at once does not linger.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&to.into())?;
        let mut stream = TcpStream::from(socket);
        if stream.write_all(&beginning).is_ok() {
            opened += 1;
        }
        open.push_back(stream);
    }
    println!("{opened} {:.0}", f64::from(opened) / began.elapsed().as_secs_f64());
    Ok(())
}
