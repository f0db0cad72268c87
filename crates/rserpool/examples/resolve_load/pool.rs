//! Elements that are nothing but registrations: they cost the core they share with the load next to
//! nothing.

use super::{Outcome, messages};
use rserpool::proto::id::PeId;
use rserpool::proto::wire::asap::{Body, Message};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Policy of the pools p0, p1, and so on.
pub(super) const POLICY: &str = "round-robin";

/// Registers elements over one association and answers their keep-alives.
pub(super) fn hold(address: SocketAddr, pool: &str, elements: u32) -> Outcome {
    let mut link = Link::open(address)?;
    for id in 0..elements {
        link.send(&messages::registration(pool, PeId(id))?)?;
    }
    link.hold(elements)
}

/// The same in many pools, with one association for each.
pub(super) fn hold_pools(address: SocketAddr, pools: u32, elements: u32) -> Outcome {
    let mut links = Vec::new();
    for pool in 0..pools {
        let mut link = Link::open(address)?;
        let mut granted = 0;
        for id in 0..elements {
            let id = PeId(pool * elements + id);
            link.send(&messages::registration_in(&format!("p{pool}"), POLICY, id)?)?;
        }
        while granted < elements {
            granted += link.read()?;
        }
        link.stream.set_nonblocking(true)?;
        links.push(link);
    }
    println!("ready");
    loop {
        for link in &mut links {
            link.read()?;
        }
        sleep(Duration::from_millis(20));
    }
}

/// Elements that join one after the other, each over its own association. Of two that leave one
/// deregisters and one only closes its association. Prints `ready` after the first.
pub(super) fn churn(
    address: SocketAddr,
    pool: impl Fn(u32) -> String,
    policy: &str,
    per_second: u32,
) -> Outcome {
    let began = Instant::now();
    let mut present = VecDeque::new();
    for number in 0_u32.. {
        let due = Duration::from_secs(1) * number / per_second;
        sleep(due.saturating_sub(began.elapsed()));
        let id = PeId(1_000_000 + number);
        let mut link = Link::open(address)?;
        link.send(&messages::registration_in(&pool(number), policy, id)?)?;
        if number == 0 {
            println!("ready");
        }
        link.stream.set_nonblocking(true)?;
        present.push_back((id, link));
        if present.len() > per_second as usize
            && let Some((id, mut link)) = present.pop_front()
            && id.0 % 2 == 0
        {
            let handle = pool(id.0 - 1_000_000).parse()?;
            link.send(&messages::encode(Body::Deregistration { handle, id, stamp: None })?)?;
        }
        // Each is looked at ten times in its second, for keep-alives.
        for (_, link) in present.iter_mut().skip(number as usize % 10).step_by(10) {
            link.read()?;
        }
    }
    Ok(())
}

/// An association of elements.
struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Answers keep-alives for ever; prints `ready` when this many registrations are granted.
    fn hold(&mut self, elements: u32) -> Outcome {
        let mut registered = 0;
        loop {
            registered += self.read()?;
            if registered == elements {
                println!("ready");
                registered = 0;
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> Outcome {
        Ok(self.stream.write_all(message)?)
    }

    /// Answers the keep-alives that have come; says how many registrations were granted.
    fn read(&mut self) -> Outcome<u32> {
        let mut chunk = [0; 4096];
        let read = match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the registrar has hung up".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let (mut granted, mut done) = (0, 0);
        let mut answers = Vec::new();
        while let Some(length) = messages::whole(self.buffer.get(done..).unwrap_or_default())? {
            let message = self.buffer.get(done..done + length).unwrap_or_default();
            match Message::decode(message)?.message.body {
                Body::RegistrationResponse { rejected: false, .. } => granted += 1,
                Body::EndpointKeepAlive { handle, id: Some(id), .. } => {
                    let answer = Body::EndpointKeepAliveAck { handle, id };
                    answers.extend(messages::encode(answer)?);
                }
                Body::DeregistrationResponse { .. } => {}
                other => return Err(format!("not for an element: {other:?}").into()),
            }
            done += length;
        }
        self.buffer.drain(..done);
        self.stream.write_all(&answers)?;
        Ok(granted)
    }
}
