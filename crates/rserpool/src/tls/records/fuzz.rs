//! Bodies of the fuzz targets of TLS: what holds for every input whatsoever, as in
//! [`crate::proto::fuzz`].
//!
//! The randomness of TLS is the system's, so that what an input does is not quite the same twice.

use super::authority::Authority;
use super::{Records, Tls};
use crate::proto::id::{AssociationId, ServerId};
use crate::proto::machine::{Channel, Input, Locator, Machine as _, Output};
use crate::proto::registrar::{Authority as Rights, Grants, Registrar, RegistrarConfig};
use crate::proto::time::{Duration, Instant};
use crate::proto::wire::framer::{MAX_FRAME_LEN, frame_len};
use crate::proto::wire::{PPID_ASAP, PPID_ENRP};
use crate::tls::Expected;
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// What somebody does to the user messages of another one, on their way to a registrar, and what it says
/// itself.
///
/// What the registrar gives out is what was sealed, in order and whole; what nobody has touched is taken; no
/// more is held than a message and what one user message brings.
pub fn tls_records(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (mut client, mut server) = pair();
    let (mut wire, mut sealed) = (VecDeque::new(), VecDeque::new());
    let (mut number, mut touched) = (0, false);
    while !bytes.0.is_empty() {
        wire.extend(client.outgoing());
        let operation = bytes.next();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        match operation % 8 {
            0 => parts.extend(wire.pop_front()),
            1 => {
                let piece = usize::from(bytes.next()) + 1;
                let message = wire.pop_front().unwrap_or_default();
                parts.extend(message.chunks(piece).map(<[u8]>::to_vec));
            }
            2 => {
                let (at, change) = (usize::from(bytes.next()) << 4, bytes.next() | 1);
                let mut message = wire.pop_front().unwrap_or_default();
                let at = (at | usize::from(change & 15)).checked_rem(message.len());
                if let Some(byte) = at.and_then(|at| message.get_mut(at)) {
                    *byte ^= change;
                    touched = true;
                    parts.push(message);
                }
            }
            3 => {
                let length = usize::from(bytes.next());
                parts.push(bytes.take(length));
                touched = true;
            }
            4 => touched |= wire.pop_front().is_some(),
            5 => {
                let message = wire.pop_front();
                touched |= message.is_some();
                parts.extend(message.iter().cloned());
                parts.extend(message);
            }
            _ if !client.is_handshaking() => {
                number += 1;
                let message = numbered(number, usize::from(bytes.next()) << (operation >> 5));
                client.seal(message.clone(), |record| wire.push_back(record));
                sealed.push_back(message);
            }
            _ => {}
        }
        for part in parts {
            let taken = server.take(&part);
            assert!(server.plain.len() <= MOST_HELD, "{} bytes are held", server.plain.len());
            let answer = server.outgoing();
            if let Err(error) = taken {
                assert!(touched, "{error}");
                return;
            }
            while let Some(frame) = server.next_frame().expect("whole messages were sealed") {
                assert_eq!(Some(frame), sealed.pop_front());
                assert!(server.identity().is_ok());
            }
            if let Some(answer) = answer {
                let taken = client.take(&answer);
                assert!(taken.is_ok() || touched, "{taken:?}");
            }
        }
    }
}

/// What somebody says to a registrar by TLS who has a certificate of the scope: a byte for how it is cut into
/// records, one for the channel and for how much time passes with each message, and the plaintext.
///
/// The messages are those of a walk over the plaintext, and what the registrar answers arrives as it was; what
/// cannot be a message ends it.
pub fn tls_plaintext(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (cut, how) = (usize::from(bytes.next()) * 64 + 1, bytes.next());
    let (mut client, mut server) = pair();
    shake_hands(&mut client, &mut server);
    let mut scene = Scene::new(how & 1 == 1, &server);
    let mut rest = bytes.0;
    for part in bytes.0.chunks(cut) {
        client.session.writer().write_all(part).expect("it is not closed");
        let records = client.outgoing().expect("there is something to send");
        server.take(&records).expect("nobody has touched it");
        assert!(server.plain.len() <= MOST_HELD, "{} bytes are held", server.plain.len());
        loop {
            match server.next_frame() {
                Ok(Some(frame)) => {
                    let (walked, after) = rest.split_at_checked(frame.len()).expect("it came");
                    assert_eq!(frame, walked);
                    assert_eq!(frame_len(walked), Ok(Some(frame.len())));
                    rest = after;
                    for answer in scene.received(&frame, how >> 1) {
                        server.seal(answer.clone(), |record| client.take(&record).expect("ours"));
                        let arrived = client.next_frame().expect("a message of ours");
                        assert_eq!(arrived, Some(answer));
                    }
                    if scene.is_over {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return assert!(frame_len(rest).is_err()),
            }
        }
    }
    assert_eq!(server.plain, rest, "what is no whole message waits");
    scene.registrar.handlespace().check();
}

/// A message that has not come whole, what one user message of the longest kind holds, and what a record of an
/// earlier one had not brought.
const MOST_HELD: usize = MAX_FRAME_LEN + MAX_FRAME_LEN + (1 << 15);

/// A registrar with one association.
struct Scene {
    registrar: Registrar,
    now: Instant,
    ppid: u32,
    /// The registrar has ended the association.
    is_over: bool,
}

impl Scene {
    fn new(enrp: bool, server: &Records) -> Self {
        let now = Instant::from_micros(1_000_000);
        let grants = Arc::new(Grants { scope: "lab".into(), ..Grants::default() });
        let authority = Rights::Secured(grants);
        let config = RegistrarConfig { id: ServerId(7), authority, ..RegistrarConfig::default() };
        let mut registrar = Registrar::new(config, [3; 32], now);
        let at = |port| Locator::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let connected = Input::Connected {
            assoc: AssociationId(1),
            attempt: None,
            channel: if enrp { Channel::Enrp } else { Channel::Asap },
            local: at(3864),
            remote: at(40_000),
            identity: server.identity().expect("it is of the authority"),
        };
        registrar.handle_input(now, connected);
        let ppid = if enrp { PPID_ENRP } else { PPID_ASAP };
        let mut scene = Self { registrar, now, ppid, is_over: false };
        scene.drain();
        scene
    }

    /// Gives it a message, lets milliseconds pass, and says what it has sent.
    fn received(&mut self, bytes: &[u8], milliseconds: u8) -> Vec<Vec<u8>> {
        let input = Input::Received { assoc: AssociationId(1), ppid: self.ppid, bytes };
        self.registrar.handle_input(self.now, input);
        let mut sent = self.drain();
        let end = self.now + Duration::from_millis(milliseconds.into());
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.registrar.handle_input(self.now, Input::Timeout);
            sent.extend(self.drain());
        }
        self.now = end;
        sent
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Transmit { mut bytes, .. } => {
                    bytes.resize(bytes.len().next_multiple_of(4), 0);
                    sent.push(bytes);
                }
                Output::Disconnect { .. } => self.is_over = true,
                _ => {}
            }
        }
        sent
    }
}

/// An element and a registrar of one scope.
fn pair() -> (Records, Records) {
    static SCOPE: OnceLock<[Tls; 2]> = OnceLock::new();
    let [element, registrar] = SCOPE.get_or_init(|| {
        let authority = Authority::new();
        ["rserpool://lab/element/*", "rserpool://lab/registrar"].map(|name| authority.tls(&[name]))
    });
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 3864));
    let client = Records::client(element, to, Expected::Registrar).expect("it has certificates");
    let server = Records::server(registrar, Expected::Anybody).expect("it has certificates");
    (client, server)
}

fn shake_hands(client: &mut Records, server: &mut Records) {
    while client.is_handshaking() || server.is_handshaking() {
        if let Some(said) = client.outgoing() {
            server.take(&said).expect("nobody has touched it");
        }
        if let Some(said) = server.outgoing() {
            client.take(&said).expect("nobody has touched it");
        }
    }
}

/// A message of a number, and of a length about that.
fn numbered(number: u32, length: usize) -> Vec<u8> {
    let length = (8 + length).next_multiple_of(4).min(0xfffc);
    let [high, low] = u16::try_from(length).unwrap_or_default().to_be_bytes();
    let mut message = vec![5, 0, high, low];
    message.extend(number.to_be_bytes());
    message.resize(length, 0x5a);
    message
}

/// Input read bit by bit; after its end it is all zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The inputs in the repository.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// Bytes that follow from a number.
    fn noise(mut state: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn whatever_is_done_to_records_only_what_was_sealed_is_given_out() {
        corpus("tls_records").iter().for_each(|input| tls_records(input));
        for number in 1..200 {
            // Most of them get through the handshake first.
            let beginning: &[u8] = if number % 4 == 0 { &[] } else { &[0, 0, 0] };
            tls_records(&[beginning, &noise(number, 100)].concat());
        }
    }

    #[test]
    fn whatever_is_said_by_tls_the_registrar_answers_or_ends_it() {
        let inputs = corpus("tls_plaintext");
        inputs.iter().for_each(|input| tls_plaintext(input));
        for (input, number) in inputs.iter().cycle().zip(1_u64..100) {
            let mut input = input.clone();
            let [at, change, ..] = noise(number, 8)[..] else { continue };
            let at = (usize::from(at) * 37).checked_rem(input.len());
            if let Some(byte) = at.and_then(|at| input.get_mut(at)) {
                *byte ^= change;
            }
            tls_plaintext(&input);
            tls_plaintext(&noise(number, 300));
        }
    }
}
