//! The ping-pong service of the reference implementation, as it is on the wire, of both sides.
//!
//! ```text
//!   ping, of identifier 33     1 | 0 | length (2) | number (8) | text
//!   pong, of the same          2 | 0 | length (2) | number (8) | reply number (8) | text
//!   cookie                     "<PP-TD1>" | number of the next reply (8)
//! ```
//!
//! Replies are counted through a session, from one element to the next. Each is followed by its cookie.

use rserpool::session::Payload;
use rserpool::session::serve::{Incoming, ServedSession, Start};

/// Payload protocol identifier.
pub(crate) const PPID: u32 = 33;

const MARK: [u8; 8] = *b"<PP-TD1>";
const PING: u8 = 1;
const PONG: u8 = 2;

/// A ping of this number.
pub(crate) fn ping(number: u64) -> Payload {
    message(PING, &number.to_be_bytes())
}

/// The number of the ping that is answered, and that of the reply.
pub(crate) fn read_pong(bytes: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = body(PONG, bytes)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), u64::from_be_bytes(*rest.first_chunk()?)))
}

/// Answers pings; says where it begins.
pub(crate) async fn serve(mut session: ServedSession) {
    let mut next = match session.start() {
        Start::Resumed(cookie) => match read_cookie(cookie) {
            Some(next) => next,
            None => return println!("no cookie of ping-pong: {cookie:02x?}"),
        },
        _ => 1,
    };
    println!("session begins at {next}");
    while let Some(incoming) = session.next().await {
        let Incoming::Message(Payload { bytes, .. }) = incoming else { continue };
        let Some(rest) = body(PING, &bytes) else { continue };
        let Some((number, text)) = rest.split_first_chunk::<8>() else { continue };
        let pong = message(PONG, &[&number[..], &next.to_be_bytes(), text].concat());
        next += 1;
        let cookie = [MARK, next.to_be_bytes()].concat();
        if session.send_payload(pong).await.is_err() || session.send_cookie(&cookie).await.is_err()
        {
            return;
        }
    }
}

fn read_cookie(cookie: &[u8]) -> Option<u64> {
    let (mark, next) = cookie.split_first_chunk()?;
    (*mark == MARK).then_some(u64::from_be_bytes(next.try_into().ok()?))
}

fn message(kind: u8, body: &[u8]) -> Payload {
    let length = u16::try_from(4 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
    Payload { ppid: PPID, bytes: [&[kind, 0], &length[..], body].concat() }
}

/// What follows the header of a message of this kind.
fn body(kind: u8, bytes: &[u8]) -> Option<&[u8]> {
    let ([first, _, high, low], _) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    (*first == kind).then(|| bytes.get(4..length)).flatten()
}
