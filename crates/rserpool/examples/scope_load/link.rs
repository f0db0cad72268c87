//! Elements that are nothing but registrations over one association.

use super::Outcome;
use rserpool::proto::id::{PeId, ServerId};
use rserpool::proto::policy::PolicyTable;
use rserpool::proto::wire::asap::{Body, Message};
use rserpool::proto::wire::capability::Capabilities;
use rserpool::proto::wire::framer::frame_len;
use rserpool::proto::wire::pool_element::PoolElement;
use rserpool::proto::wire::transport::Transport;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// The pool that everything here is about.
pub(crate) const POOL: &str = "load";

pub(crate) struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    pub(crate) fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Registers elements and waits until all are.
    pub(crate) fn register(&mut self, elements: u32) -> Outcome {
        let mut granted = 0;
        for id in 0..elements {
            self.stream.write_all(&registration(PeId(id))?)?;
            // No more than the registrar can have waiting for us.
            while id.saturating_sub(granted) > 1000 {
                granted += self.answers()?;
            }
        }
        while granted < elements {
            granted += self.answers()?;
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> Outcome {
        Ok(self.stream.write_all(message)?)
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> Outcome {
        Ok(self.stream.set_nonblocking(nonblocking)?)
    }

    /// Answers that have come to whatever was asked; waits for one unless it is not to block.
    pub(crate) fn answers(&mut self) -> Outcome<u32> {
        let mut chunk = [0; 64 * 1024];
        let read = match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the registrar has hung up".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let (mut answers, mut done) = (0, 0);
        loop {
            let rest = self.buffer.get(done..).unwrap_or_default();
            let Some(length) = frame_len(rest)?.filter(|length| *length <= rest.len()) else {
                break;
            };
            answers += 1;
            done += length;
        }
        self.buffer.drain(..done);
        Ok(answers)
    }
}

/// A registration for ten minutes.
pub(crate) fn registration(id: PeId) -> Outcome<Vec<u8>> {
    let port = 1024 + (id.0 % 60_000) as u16;
    let element = PoolElement {
        id,
        home: ServerId::NONE,
        life: 600,
        user_transport: Transport::Tcp((Ipv4Addr::LOCALHOST, port).into()),
        policy: PolicyTable::builtin().parameter("round-robin", &[])?,
        asap_transport: None,
        extensions: Default::default(),
    };
    let (handle, capabilities) = (POOL.parse()?, Some(Capabilities(0)));
    encode(Body::Registration { handle, element: Box::new(element), capabilities, stamp: None })
}

/// A question for ten elements.
pub(crate) fn question() -> Outcome<Vec<u8>> {
    let (handle, capabilities) = (POOL.parse()?, Some(Capabilities(0)));
    encode(Body::HandleResolution { subscribe: false, handle, items: Some(10), capabilities })
}

fn encode(body: Body) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}
