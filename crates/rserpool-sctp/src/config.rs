//! What has to be set before the first packet.

use std::time::Duration;

/// Options of a socket, applied before it listens or connects, because associations copy them when they
/// begin. `None` leaves the kernel's value (the `net.sctp` sysctls), named in each field's text.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds of the retransmission timeout. The kernel's: 3 s at first, between 1 s and 60 s
    /// (RFC 6458 §8.1.1).
    pub rto: Option<Rto>,
    /// Time between heartbeats on an idle path, to which the path's RTO is added. The kernel's: 30 s
    /// (RFC 6458 §8.1.12). An alternate path carries nothing before its first heartbeat was answered.
    pub heartbeat_interval: Option<Duration>,
    /// Longest time that an acknowledgement waits for data to go with, at most 500 ms. The kernel's:
    /// 200 ms (RFC 6458 §8.1.12). The peer measures it as part of the round trip, and retransmits that
    /// much later.
    pub sack_delay: Option<Duration>,
    /// Timeouts in a row after which a path is unreachable. The kernel's: 5 (RFC 6458 §8.1.12).
    pub path_max_retrans: Option<u16>,
    /// Timeouts in a row, on all paths together, after which the association is lost. The kernel's: 10
    /// (RFC 6458 §8.1.2).
    pub association_max_retrans: Option<u16>,
    /// Times the first packet of an association is sent before the attempt fails. The kernel's: 8
    /// (RFC 6458 §5.3.1).
    pub init_max_attempts: Option<u16>,
    /// Upper bound of the retransmission timeout of that first packet. The kernel's: 60 s.
    pub init_max_timeout: Option<Duration>,
    /// Streams asked for in the direction of the peer. The kernel's: 10; the peer may grant fewer.
    pub outbound_streams: Option<u16>,
    /// Streams a peer may have in our direction. The kernel's: 65535.
    pub max_inbound_streams: Option<u16>,
    /// Idle time after which an association is closed gracefully, in whole seconds, rounded up
    /// (RFC 6458 §8.1.8). Off by default.
    pub autoclose: Option<Duration>,
    /// Sends small messages at once instead of waiting for more (RFC 6458 §8.1.5). On by default.
    pub nodelay: bool,
    /// Bytes the socket may have in flight and queued. Shared by all associations of an [`Endpoint`]
    /// unless the sysctl `net.sctp.sndbuf_policy` is 1. The kernel's: `net.core.wmem_default`.
    ///
    /// [`Endpoint`]: crate::Endpoint
    pub send_buffer: Option<usize>,
    /// Bytes received and not yet read. Shared like the send buffer, unless `net.sctp.rcvbuf_policy` is
    /// 1. The kernel's: `net.core.rmem_default`.
    pub receive_buffer: Option<usize>,
    /// Longest message that is put together. The bytes of a longer one are thrown away as they arrive,
    /// and [`Event::Oversized`](crate::Event::Oversized) says so. 1 MiB by default.
    pub max_message_size: usize,
}

/// Retransmission timeouts, one per path (RFC 9260 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rto {
    /// Before the first measurement; between the two bounds.
    pub initial: Duration,
    /// Lower bound. Below the peer's delay of acknowledgements (200 ms) plus the round trip it costs
    /// needless retransmissions.
    pub min: Duration,
    /// Upper bound; timeouts double up to it.
    pub max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rto: None,
            heartbeat_interval: None,
            sack_delay: None,
            path_max_retrans: None,
            association_max_retrans: None,
            init_max_attempts: None,
            init_max_timeout: None,
            outbound_streams: None,
            max_inbound_streams: None,
            autoclose: None,
            nodelay: true,
            send_buffer: None,
            receive_buffer: None,
            max_message_size: 1 << 20,
        }
    }
}

impl Config {
    /// Moves to another path within about a second of a failure, at the cost of a heartbeat a second on
    /// each idle path: RTO 200 ms at first, 100 ms to 1 s, heartbeats after 1 s, acknowledgements after
    /// 20 ms, a path unreachable after 2 timeouts, the association lost after 8, an attempt to connect
    /// given up after 6.
    ///
    /// The kernel's own values are made for the open Internet: a cut path costs three seconds with them,
    /// and eight if it is cut before the other one has been confirmed.
    pub fn fast_failover() -> Self {
        Self {
            rto: Some(Rto {
                initial: Duration::from_millis(200),
                min: Duration::from_millis(100),
                max: Duration::from_secs(1),
            }),
            heartbeat_interval: Some(Duration::from_secs(1)),
            sack_delay: Some(Duration::from_millis(20)),
            path_max_retrans: Some(2),
            association_max_retrans: Some(8),
            init_max_attempts: Some(6),
            init_max_timeout: Some(Duration::from_secs(1)),
            ..Self::default()
        }
    }
}
