//! A closed loop: a question follows each answer.

use super::{Outcome, messages};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Prints one answer.
pub(super) fn sample(address: SocketAddr, question: &[u8]) -> Outcome {
    let mut link = Link::open(address)?;
    link.stream.write_all(question)?;
    while link.answers()? == 0 {}
    println!("{}", messages::to_hex(&link.last));
    Ok(())
}

/// Asks for some seconds with `window` questions outstanding, and prints how many answers a second
/// that gave.
///
/// It polls its socket and never sleeps: a core that sleeps takes longer to wake up than all else
/// takes, and the server would be charged for waking it.
pub(super) fn ask(address: SocketAddr, question: &[u8], window: usize, seconds: f64) -> Outcome {
    let questions = question.repeat(window);
    let mut link = Link::open(address)?;
    link.stream.write_all(&questions)?;
    let (began, lasts) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut answered = 0;
    let lasted = loop {
        let answers = link.answers()?;
        if answers > 0 {
            answered += answers;
            let next = questions.get(..answers * question.len()).ok_or("too many answers")?;
            link.stream.write_all(next)?;
        }
        let lasted = began.elapsed();
        if lasted >= lasts {
            break lasted;
        }
    };
    println!("{:.0}", answered as f64 / lasted.as_secs_f64());
    Ok(())
}

/// A connection that counts answers.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    last: Vec<u8>,
}

impl Link {
    pub(super) fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024], filled: 0, last: Vec::new() })
    }

    /// How many answers have come; reads once and does not wait.
    pub(super) fn answers(&mut self) -> Outcome<usize> {
        let read = match self.stream.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err("the server has hung up".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        self.filled += read;
        let (mut answers, mut done) = (0, 0);
        loop {
            let rest = self.buffer.get(done..self.filled).unwrap_or_default();
            let Some(length) = messages::whole(rest)? else { break };
            // A positive answer to a resolution (RFC 5352 §2.2.6) has a policy.
            if rest.first() != Some(&0x06) || length < 40 {
                return Err("this is not the answer".into());
            }
            if self.last.is_empty() {
                self.last = rest.get(..length).unwrap_or_default().into();
            }
            answers += 1;
            done += length;
        }
        self.buffer.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(answers)
    }
}
