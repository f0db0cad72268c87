//! Whether a server still has connections, as Linux shows it in `/proc/net/tcp`, `tcp6` and
//! `sctp/assocs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections that `server` has now; `None` where the system does not show it.
pub(crate) fn connections(server: SocketAddr) -> Option<usize> {
    let tables = tables();
    (!tables.is_empty()).then(|| tables.iter().map(|text| count(text, server)).sum())
}

/// Whether anybody listens at `server` on this host; `None` where the system does not show it.
pub(crate) fn is_here(server: SocketAddr) -> Option<bool> {
    let tables = tables();
    let listens = |text: &String| lines_of(text, server, &[LISTEN]).any(|_| true);
    (!tables.is_empty()).then(|| tables.iter().any(listens))
}

/// SCTP associations that a server at `addresses` has now; `None` where the system does not show it.
pub(crate) fn associations(addresses: &[SocketAddr]) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/sctp/assocs").ok()?;
    Some(count_associations(&table, addresses))
}

/// Lines of the table whose port is the server's, as well as one of the addresses before the arrow,
/// and that are established, or about to be closed by the server.
fn count_associations(table: &str, addresses: &[SocketAddr]) -> usize {
    const ESTABLISHED: &str = "3";
    const SHUTDOWN_PENDING: &str = "4";
    let is_servers = |line: &&str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (state, port) = (fields.get(4), fields.get(11).and_then(|port| port.parse().ok()));
        let local = fields.iter().skip(13).take_while(|field| **field != "<->");
        let mut local = local.filter_map(|ip| ip.trim_start_matches('*').parse::<IpAddr>().ok());
        matches!(state, Some(&(ESTABLISHED | SHUTDOWN_PENDING)))
            && local.any(|ip| {
                addresses.iter().any(|server| {
                    Some(server.port()) == port
                        && (server.ip().is_unspecified()
                            || server.ip().to_canonical() == ip.to_canonical())
                })
            })
    };
    table.lines().skip(1).filter(is_servers).count()
}

fn tables() -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    tables.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Connections of a table that the server still works on: established, or closed by the client
/// only.
fn count(table: &str, server: SocketAddr) -> usize {
    lines_of(table, server, &[ESTABLISHED, CLOSE_WAIT]).count()
}

const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";
const LISTEN: &str = "0A";

/// Lines of a table that are in one of these states and whose local end is the server's; whoever
/// listens at any address does so at the server's, too.
fn lines_of<'a>(
    table: &'a str,
    server: SocketAddr,
    states: &'a [&str],
) -> impl Iterator<Item = &'a str> {
    table.lines().skip(1).filter(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        local.and_then(parse_end).is_some_and(|local| {
            local.port() == server.port()
                && (server.ip().is_unspecified()
                    || local.ip().is_unspecified()
                    || local.ip() == server.ip().to_canonical())
        }) && state.is_some_and(|state| states.contains(&state))
    })
}

/// Reads `0100007F:1F91`: the address in words of 32 bits in the host's order, then the port.
fn parse_end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |start: usize| {
        let digits = address.get(start..start + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (position, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(position * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    /// Made with a server on port 8081 and written for little-endian machines, as most are.
    #[cfg(target_endian = "little")]
    #[test]
    fn only_living_connections_of_the_server_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F91 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:D431 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1F91 0100007F:D433 08 00000000:00000000 00:00000000 00000000     0        0 4 1
   4: 0100007F:1F91 0100007F:D435 06 00000000:00000000 00:00000000 00000000     0        0 5 1
   5: 0200007F:1F91 0100007F:D437 01 00000000:00000000 00:00000000 00000000     0        0 6 1
   6: nonsense
";
        assert_eq!(count(table, "127.0.0.1:8081".parse().unwrap()), 2);
        assert_eq!(count(table, "0.0.0.0:8081".parse().unwrap()), 3);
        assert_eq!(count(table, "127.0.0.1:8082".parse().unwrap()), 0);
        let listens = |at: &str| lines_of(table, at.parse().unwrap(), &[LISTEN]).count();
        assert_eq!((listens("127.0.0.1:8081"), listens("127.0.0.2:8081")), (1, 0));
        let mapped = "head\n 0: 0000000000000000FFFF00000100007F:1F91 \
            0000000000000000FFFF00000100007F:D431 01\n 1: \
            00000000000000000000000001000000:1F91 00000000000000000000000001000000:D431 01\n";
        assert_eq!(count(mapped, "127.0.0.1:8081".parse().unwrap()), 1);
        assert_eq!(count(mapped, "[::1]:8081".parse().unwrap()), 1);
    }

    #[test]
    fn only_established_associations_of_the_server_count() {
        let table = "\
 ASSOC     SOCK   STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE LPORT RPORT LADDRS <-> RADDRS
4aec6c21   5fd361 2   1   3  0       5        0        0       0    76 57335  7  127.0.0.1 <-> *127.0.0.1 127.0.0.2
21300ab7  8369b91 0   10  3  0       6        0        0       0    62 7  57335  127.0.0.1 127.0.0.2 <-> *127.0.0.1
21300ab8  8369b91 0   10  5  0       7        0        0       0    62 7  57336  127.0.0.1 <-> *127.0.0.1
";
        let count = |text: &str| {
            count_associations(table, &[text.parse().unwrap(), "10.0.0.1:7".parse().unwrap()])
        };
        assert_eq!(count("127.0.0.2:7"), 1);
        assert_eq!(count("0.0.0.0:7"), 1);
        assert_eq!((count("127.0.0.3:7"), count("127.0.0.1:8")), (0, 0));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_counts_from_its_start_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        assert_eq!(connections(server), Some(0));
        let mut client = TcpStream::connect(server).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert_eq!(connections(server), Some(1));
        client.shutdown().await.unwrap();
        assert_eq!(accepted.read(&mut [0]).await.unwrap(), 0);
        // The client has ended, the server may still be answering.
        assert_eq!(connections(server), Some(1));
        accepted.shutdown().await.unwrap();
        // Until the client's system has acknowledged the end.
        while connections(server) != Some(0) {
            tokio::task::yield_now().await;
        }
    }
}
