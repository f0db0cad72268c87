//! Somebody who means harm, over one connection.

use super::{Outcome, handle};
use rserpool::proto::id::{PeId, ServerId};
use rserpool::proto::policy::{PolicyNumber, PolicyParameter};
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::framer::frame_len;
use rserpool::proto::wire::pool_element::{ElementExtensions, PoolElement};
use rserpool::proto::wire::transport::Transport;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where it comes from.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// The policy of the pool into which it registers elements.
const LEAST_USED: PolicyNumber = PolicyNumber(0x4000_0001);

pub(crate) fn run(what: &str, to: SocketAddr, every: f64) -> Outcome {
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ends.store(true, Ordering::Relaxed);
    });
    let every = Duration::from_secs_f64(every);
    let mut link = Link::open(to)?;
    let (mut tried, mut granted) = (0u32, 0u32);
    let began = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let at = began + every * tried;
        let pause = at.saturating_duration_since(Instant::now());
        if !pause.is_zero() {
            // Its input may end meanwhile.
            std::thread::sleep(pause.min(Duration::from_millis(100)));
            if pause > Duration::from_millis(100) {
                continue;
            }
        }
        tried = tried.saturating_add(1);
        let done = match what {
            "fakes" => link.register(tried),
            _ => link.resolve(what == "reports"),
        };
        match done {
            Ok(good) => granted += u32::from(what == "fakes" && good),
            // Hung up on; whoever wants to do harm comes again.
            Err(_) => link = Link::open(to)?,
        }
    }
    println!("{tried} {granted}");
    Ok(())
}

struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Link {
    fn open(to: SocketAddr) -> Outcome<Self> {
        let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP))?;
        socket.bind(&SocketAddr::from((FROM, 0)).into())?;
        socket.connect(&to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        // Over its rate it may be answered nothing.
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self { stream, buffer: vec![0; 65_536], filled: 0 })
    }

    /// Resolves; `true` if somebody was named.
    fn resolve(&mut self, then_report: bool) -> Outcome<bool> {
        let (subscribe, items, capabilities) = (false, Some(1), None);
        self.say(Body::HandleResolution { subscribe, handle: handle(), items, capabilities })?;
        loop {
            match self.hear()? {
                Some(Body::HandleResolutionResponse(response)) => {
                    let Some(element) = response.elements.first() else { return Ok(false) };
                    if then_report {
                        let (handle, id) = (handle(), element.id);
                        self.say(Body::EndpointUnreachable { handle, id })?;
                    }
                    return Ok(true);
                }
                Some(_) => {}
                None => return Ok(false),
            }
        }
    }

    /// Registers an idle element; `true` if that was granted. What its registrar asks later is left
    /// unanswered.
    fn register(&mut self, number: u32) -> Outcome<bool> {
        let element = Box::new(PoolElement {
            id: PeId(0x1000_0000 + number),
            home: ServerId::NONE,
            life: 300_000,
            user_transport: Transport::Tcp(SocketAddr::from((FROM, 9))),
            policy: PolicyParameter::new(LEAST_USED, &[0]),
            asap_transport: None,
            extensions: ElementExtensions::default(),
        });
        let (capabilities, stamp) = (None, None);
        self.say(Body::Registration { handle: handle(), element, capabilities, stamp })?;
        loop {
            match self.hear()? {
                Some(Body::RegistrationResponse { rejected, .. }) => return Ok(!rejected),
                Some(_) => {}
                None => return Ok(false),
            }
        }
    }

    fn say(&mut self, body: Body) -> Outcome {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The next message; `None` if none comes soon.
    fn hear(&mut self) -> Outcome<Option<Body>> {
        loop {
            if let Some(length) = frame_len(&self.buffer[..self.filled])?
                && length <= self.filled
            {
                let message = Message::decode(&self.buffer[..length])?.message;
                self.buffer.copy_within(length..self.filled, 0);
                self.filled -= length;
                return Ok(Some(message.body));
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err("hung up on".into()),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
