//! Users that watch pools and do nothing else: many in one process, each association with some.

use super::{Outcome, messages};
use rserpool::proto::wire::asap::{Body, Message};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

/// Pools that one association watches: as many as a registrar lets it.
const PER_ASSOCIATION: u32 = 16;
/// Time between two looks at what has come.
const LOOK: Duration = Duration::from_millis(20);

/// Watches `pools` pools in turn, `watches` in all, and reads what it is told for ever. Prints `ready`
/// when all are answered.
pub(super) fn watch(address: SocketAddr, pools: u32, watches: u32, items: u32) -> Outcome {
    let mut links = Vec::new();
    let mut accepted = 0;
    for number in 0..watches {
        if number % PER_ASSOCIATION == 0 {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            links.push((stream, Vec::new()));
        }
        let Some((stream, _)) = links.last_mut() else { continue };
        stream.write_all(&messages::subscription(&format!("p{}", number % pools), items)?)?;
    }
    for (stream, _) in &links {
        stream.set_nonblocking(true)?;
    }
    let mut chunk = vec![0; 256 * 1024];
    loop {
        for (stream, buffer) in &mut links {
            match stream.read(&mut chunk) {
                Ok(0) => return Err("the registrar has hung up".into()),
                Ok(read) => buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let mut done = 0;
            while let Some(length) = messages::whole(buffer.get(done..).unwrap_or_default())? {
                // What comes later is read and dropped: users would do with it what they want.
                if accepted < watches {
                    let message = buffer.get(done..done + length).unwrap_or_default();
                    let body = Message::decode(message)?.message.body;
                    let Body::HandleResolutionResponse(response) = body else { continue };
                    if !response.subscribed {
                        return Err("the registrar does not tell changes".into());
                    }
                    let update = response.capabilities.is_some_and(|known| known.is_update());
                    accepted += u32::from(!update);
                    if accepted == watches {
                        println!("ready");
                    }
                }
                done += length;
            }
            buffer.drain(..done);
        }
        sleep(LOOK);
    }
}
