//! A TLS connection whose records go as messages over a pair of SCTP streams (RFC 3436).
//!
//! ```text
//!   messages of the protocol ── seal ──> one record, one user message, stream 0, in order ──>
//!   messages of the protocol <── next_frame ── take <── user messages, however they are cut <──
//! ```
//!
//! Inside, the protocol's messages follow each other as they do over TCP: a record holds at most 16 KiB, a
//! message up to 64. What holds for both ends of an association that each has opened at the same moment is
//! said at [`Records::take`].

#[cfg(any(test, feature = "testing"))]
#[path = "../../tests/tls/authority.rs"]
#[expect(clippy::unwrap_used, reason = "certificates of tests")]
mod authority;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;

use super::{Expected, Tls, identity_of};
use crate::proto::machine::Identity;
use crate::proto::wire::framer::{FrameError, frame_len};
use rustls::{ClientConnection, Connection, ServerConnection};
use std::io::{self, BufRead as _, Write as _};
use std::net::{IpAddr, SocketAddr};

/// One end of such a connection.
pub(crate) struct Records {
    session: Connection,
    tls: Tls,
    expected: Expected,
    /// Where the other end was connected to, if it was.
    dialled: Option<IpAddr>,
    /// What tells our greeting from another one, until something has come.
    greeting: Option<[u8; RANDOM]>,
    /// The greeting, until it is sent.
    unsent: Vec<u8>,
    /// The other end has said that nothing more comes.
    ended: bool,
    /// What has come and was not given out.
    plain: Vec<u8>,
    /// How much of `plain` was given out.
    done: usize,
}

/// Why the other end gets nothing more of us than why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Distrust {
    /// TLS has failed.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Nobody may connect to us: there is no certificate to show.
    #[error("there is no certificate of our own to show")]
    NothingToShow,
    /// The certificate is of the authority, but not of whom we have to do with.
    #[error("its certificate is not a registrar's")]
    NoRegistrar,
}

impl Records {
    /// Begins as the one that connects.
    pub(crate) fn client(tls: &Tls, to: SocketAddr, expected: Expected) -> Result<Self, Distrust> {
        let session = ClientConnection::new(tls.client_config(expected), to.ip().into())?;
        let mut records = Self::new(tls, expected, Some(to.ip()), session.into());
        records.unsent = records.flush();
        records.greeting = random_of(&records.unsent);
        Ok(records)
    }

    /// Begins as the one that is connected to.
    pub(crate) fn server(tls: &Tls, expected: Expected) -> Result<Self, Distrust> {
        Ok(Self::new(tls, expected, None, server(tls)?))
    }

    fn new(tls: &Tls, expected: Expected, dialled: Option<IpAddr>, session: Connection) -> Self {
        Self {
            session,
            tls: tls.clone(),
            expected,
            dialled,
            greeting: None,
            unsent: Vec::new(),
            ended: false,
            plain: Vec::new(),
            done: 0,
        }
    }

    /// Takes a user message in. [`Records::outgoing`] may have something to send afterwards, whatever came
    /// of it.
    ///
    /// Where both ends have connected at the same moment SCTP makes one association (RFC 9260 §5.2), and both
    /// begin as clients. Both see the two greetings, and who has sent the lower one becomes the server.
    ///
    /// # Errors
    /// What came is nothing that this connection can go on with.
    pub(crate) fn take(&mut self, message: &[u8]) -> Result<(), Distrust> {
        if let Some(ours) = self.greeting.take()
            && let Some(theirs) = random_of(message)
        {
            if ours > theirs {
                return Ok(());
            }
            self.session = server(&self.tls)?;
        }
        let mut rest = message;
        while !rest.is_empty() {
            // Nothing is read after the end.
            if self.session.read_tls(&mut rest).map_err(failed)? == 0 {
                break;
            }
            let state = self.session.process_new_packets()?;
            self.ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let mut reader = self.session.reader();
                let chunk = reader.fill_buf().map_err(failed)?;
                let length = chunk.len();
                self.plain.extend_from_slice(chunk);
                reader.consume(length);
                left = left.saturating_sub(length.max(1));
            }
        }
        Ok(())
    }

    /// The next whole message of the protocol.
    ///
    /// # Errors
    /// What has come cannot be one; nothing can be read any more.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let rest = self.plain.get(self.done..).unwrap_or_default();
        if let Some(frame) = frame_len(rest)?.and_then(|length| rest.get(..length)) {
            self.done += frame.len();
            return Ok(Some(frame.to_vec()));
        }
        if rest.is_empty() {
            // Thousands of them are idle.
            self.plain = Vec::new();
        } else {
            self.plain.drain(..self.done);
        }
        self.done = 0;
        Ok(None)
    }

    /// Gives the user messages that carry a message of the protocol.
    pub(crate) fn seal(&mut self, mut message: Vec<u8>, mut send: impl FnMut(Vec<u8>)) {
        message.resize(message.len().next_multiple_of(4), 0);
        for part in message.chunks(LONGEST_PART) {
            // It is refused after the end only, when nobody waits for it.
            let _ = self.session.writer().write_all(part);
            if let Some(record) = self.outgoing() {
                send(record);
            }
        }
    }

    /// What TLS itself has to send, as a user message.
    pub(crate) fn outgoing(&mut self) -> Option<Vec<u8>> {
        let mut records = std::mem::take(&mut self.unsent);
        records.append(&mut self.flush());
        (!records.is_empty()).then_some(records)
    }

    fn flush(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        // Writing to memory does not fail.
        while self.session.wants_write() && self.session.write_tls(&mut records).is_ok() {}
        records
    }

    /// Has the other end told that nothing more comes.
    pub(crate) fn close(&mut self) {
        self.session.send_close_notify();
    }

    /// Whether the other end has said that nothing more comes.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether it is not known yet who the other end is.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Who the other end has proved to be.
    ///
    /// # Errors
    /// It is nobody whom we have to do with.
    pub(crate) fn identity(&self) -> Result<Identity, Distrust> {
        let certificates = self.session.peer_certificates().unwrap_or_default();
        // A client has looked during the handshake already, for nothing is said to others.
        let is_server = matches!(self.session, Connection::Server(_));
        if is_server
            && self.expected == Expected::Registrar
            && !self.tls.is_registrar(certificates, self.dialled)
        {
            return Err(Distrust::NoRegistrar);
        }
        Ok(identity_of(certificates))
    }
}

fn server(tls: &Tls) -> Result<Connection, Distrust> {
    let config = tls.server_config().ok_or(Distrust::NothingToShow)?;
    Ok(ServerConnection::new(config)?.into())
}

fn failed(error: io::Error) -> Distrust {
    rustls::Error::General(error.to_string()).into()
}

/// Most of a message that goes into one record (RFC 8446 §5.1).
const LONGEST_PART: usize = 1 << 14;

/// Length of the random value in a greeting.
const RANDOM: usize = 32;

/// The random value in a client's greeting (RFC 8446 §4.1.2), if that is what records begin with: behind type,
/// version and length of the record, type and length of the message, and version.
fn random_of(records: &[u8]) -> Option<[u8; RANDOM]> {
    let [HANDSHAKE, _, _, _, _, CLIENT_HELLO, ..] = records else { return None };
    records.get(11..)?.first_chunk().copied()
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Whether this could be the beginning of TLS: all types of its records are more than any of the messages of ASAP
/// and ENRP.
pub(crate) fn is_tls(message: &[u8]) -> bool {
    message.first().is_some_and(|first| (20..=23).contains(first))
}

#[cfg(test)]
mod tests {
    use super::authority::Authority;
    use super::*;

    const REGISTRAR: &str = "rserpool://lab/registrar";
    const ELEMENT: &str = "rserpool://lab/element/*";

    fn client(tls: &Tls) -> Records {
        Records::client(tls, "127.0.0.1:3864".parse().unwrap(), Expected::Registrar).unwrap()
    }

    fn server(tls: &Tls) -> Records {
        Records::server(tls, Expected::Anybody).unwrap()
    }

    /// Lets both say what TLS has to say, in pieces of a length, until neither has more.
    fn converse(left: &mut Records, right: &mut Records, piece: usize) -> Result<(), Distrust> {
        let mut result = Ok(());
        loop {
            let (said, answered) = (left.outgoing(), right.outgoing());
            if said.is_none() && answered.is_none() {
                return result;
            }
            for (from, to) in [(said, &mut *right), (answered, &mut *left)] {
                for part in from.unwrap_or_default().chunks(piece) {
                    result = result.and(to.take(part));
                }
            }
        }
    }

    fn all(records: &mut Records) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| records.next_frame().unwrap()).collect()
    }

    fn message(length: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        let mut message = vec![5, 0, high, low];
        message.resize(length, 0x5a);
        message
    }

    #[test]
    fn messages_of_all_lengths_arrive_whole_and_in_order_however_records_are_cut() {
        let authority = Authority::new();
        let (element, registrar) = (authority.tls(&[ELEMENT]), authority.tls(&[REGISTRAR]));
        for piece in [1, 1000, usize::MAX] {
            let (mut element, mut registrar) = (client(&element), server(&registrar));
            converse(&mut element, &mut registrar, piece).unwrap();
            let mut sent = Vec::new();
            for length in [4, 5, 100, 16_384, 16_388, 40_001, 65_532] {
                let mut records = Vec::new();
                element.seal(message(length), |record| records.push(record));
                assert_eq!(records.len(), length.next_multiple_of(4).div_ceil(LONGEST_PART));
                for record in records {
                    for part in record.chunks(piece) {
                        registrar.take(part).unwrap();
                    }
                }
                let mut padded = message(length);
                padded.resize(length.next_multiple_of(4), 0);
                sent.push(padded);
            }
            assert_eq!(all(&mut registrar), sent);
            assert_eq!(registrar.plain.capacity(), 0, "idle ones hold nothing");
            element.close();
            registrar.take(&element.outgoing().unwrap()).unwrap();
            assert!(registrar.is_ended());
        }
    }

    #[test]
    fn of_two_that_greet_each_other_one_becomes_the_server_and_each_asks_who_the_other_is() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let registrars = [authority.tls(&[REGISTRAR]), authority.tls(&[REGISTRAR])];
        let (mut first, mut second) = (0, 0);
        while first == 0 || second == 0 {
            let [mut one, mut other] = registrars.each_ref().map(client);
            converse(&mut one, &mut other, usize::MAX).unwrap();
            for records in [&one, &other] {
                assert!(!records.is_handshaking());
                let names = records.identity().unwrap();
                assert_eq!(&*names.names()[0].text, REGISTRAR);
            }
            let is_server = |records: &Records| matches!(records.session, Connection::Server(_));
            assert_ne!(is_server(&one), is_server(&other));
            first += u32::from(is_server(&one));
            second += u32::from(is_server(&other));
            one.seal(message(100), |record| other.take(&record).unwrap());
            assert_eq!(all(&mut other), [message(100)]);
        }
        // Whichever way it goes, somebody else is found out.
        for tls in [authority.tls(&[ELEMENT]), stranger.tls(&[REGISTRAR])] {
            for _ in 0..8 {
                let (mut one, mut other) = (client(&registrars[0]), client(&tls));
                let conversed = converse(&mut one, &mut other, usize::MAX);
                assert!(conversed.is_err() || one.is_handshaking() || one.identity().is_err());
            }
        }
    }

    #[test]
    fn what_is_not_tls_or_was_changed_or_comes_again_is_the_end() {
        let authority = Authority::new();
        let (element, registrar) = (authority.tls(&[ELEMENT]), authority.tls(&[REGISTRAR]));
        assert!(server(&registrar).take(&message(100)).is_err());
        assert!(client(&element).take(&message(100)).is_err());
        for (changed, twice) in [(true, false), (false, true)] {
            let (mut element, mut registrar) = (client(&element), server(&registrar));
            converse(&mut element, &mut registrar, usize::MAX).unwrap();
            let mut sealed = Vec::new();
            element.seal(message(100), |record| sealed = record);
            if changed {
                sealed[50] ^= 1;
            }
            let mut taken = registrar.take(&sealed);
            if twice {
                taken = taken.and(registrar.take(&sealed));
            }
            assert!(matches!(taken, Err(Distrust::Tls(_))), "{taken:?}");
            assert_eq!(all(&mut registrar).len(), usize::from(twice));
        }
    }

    #[test]
    fn whoever_comes_is_a_registrar_by_its_uri_or_an_expected_name_and_not_by_where_it_is() {
        // What an association says of its addresses is its own word.
        let authority = Authority::new();
        let settings = super::super::Settings {
            names: vec!["registrar.example.org".into()],
            ..authority.settings(&[ELEMENT, "127.0.0.1"])
        };
        let element = Tls::open(settings).unwrap();
        let names = [
            (REGISTRAR, true),
            ("registrar.example.org", true),
            ("127.0.0.1", false),
            (ELEMENT, false),
        ];
        for (name, believed) in names {
            let to = "127.0.0.1:3863".parse().unwrap();
            let mut caller =
                Records::client(&authority.tls(&[name]), to, Expected::Anybody).unwrap();
            let mut called = Records::server(&element, Expected::Registrar).unwrap();
            converse(&mut caller, &mut called, usize::MAX).unwrap();
            assert_eq!(called.identity().is_ok(), believed, "{name}");
            assert!(caller.identity().is_ok());
        }
    }
}
