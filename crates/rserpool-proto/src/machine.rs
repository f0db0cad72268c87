//! The shape every machine has: inputs with the time, outputs to be drained, one deadline.
//!
//! ```text
//!              handle_input(now, input)
//!   driver  ------------------------------>  machine   (Registrar, PoolElement, PoolUser)
//!           <------------------------------
//!              poll_output() until None, then sleep until next_timeout()
//! ```
//!
//! A driver makes one mutation (an input or a named command) and then drains. `now` never goes
//! backwards. Inputs never panic. The same inputs and the same seed give the same outputs.

use crate::id::AssociationId;
use crate::time::Instant;
use crate::wire::capability::Owner;
use crate::wire::transport::Addresses;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// What drivers and the simulator need of a machine.
pub trait Machine {
    /// What the machine tells its owner.
    type Event;

    /// Takes one input; afterwards the outputs want to be drained.
    fn handle_input(&mut self, now: Instant, input: Input<'_>);

    /// The next output, in order, or `None` when drained.
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;

    /// When [`Input::Timeout`] is due; `None` if nothing is pending.
    fn next_timeout(&self) -> Option<Instant>;
}

/// What happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// An association is up, asked for ([`Output::Connect`]) or not.
    Connected {
        /// Its name from now on; never used before.
        assoc: AssociationId,
        /// The attempt that asked for it; `None` if the other side did.
        attempt: Option<AttemptId>,
        /// What is spoken on it.
        channel: Channel,
        /// Our end.
        local: Locator,
        /// The other end.
        remote: Locator,
        /// Who the other end has proved to be.
        identity: Identity,
    },
    /// An attempt has failed; nothing else will be heard of it.
    ConnectFailed {
        /// The attempt of [`Output::Connect`].
        attempt: AttemptId,
        /// Why.
        reason: CloseReason,
    },
    /// The remote addresses of an association have changed.
    AddressChanged {
        /// Which association.
        assoc: AssociationId,
        /// The other end as it is now.
        remote: Locator,
    },
    /// An association is gone; its name will not be heard again.
    Closed {
        /// Which association.
        assoc: AssociationId,
        /// Why.
        reason: CloseReason,
    },
    /// A whole message has come.
    Received {
        /// On which association.
        assoc: AssociationId,
        /// SCTP payload protocol identifier; on TCP that of the channel.
        ppid: u32,
        /// The message.
        bytes: &'a [u8],
    },
    /// The transport could not deliver a message.
    SendFailed {
        /// On which association.
        assoc: AssociationId,
    },
    /// A multicast announcement has come.
    Datagram {
        /// What was announced.
        channel: Channel,
        /// Its source, for what it is worth.
        from: SocketAddr,
        /// The message.
        bytes: &'a [u8],
    },
    /// The time given by [`Machine::next_timeout`] has come; harmless at any other time.
    Timeout,
}

/// What a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<E> {
    /// Send a message; if it cannot be sent, say so by [`Input::SendFailed`] or [`Input::Closed`].
    Transmit {
        /// On which association.
        assoc: AssociationId,
        /// SCTP payload protocol identifier.
        ppid: u32,
        /// One whole message.
        bytes: Vec<u8>,
    },
    /// Announce by multicast on every allowed interface.
    Multicast {
        /// To which group.
        channel: Channel,
        /// One whole message.
        bytes: Vec<u8>,
    },
    /// Open an association from the listening socket of the channel, if there is one.
    Connect {
        /// To be named in the answer.
        attempt: AttemptId,
        /// What will be spoken on it.
        channel: Channel,
        /// Where to.
        to: Locator,
    },
    /// Give an attempt up; it is not heard of again unless it has succeeded already.
    Abandon {
        /// The attempt of [`Output::Connect`].
        attempt: AttemptId,
    },
    /// Send what is queued, then close. [`Input::Closed`] does not follow.
    Disconnect {
        /// Which association.
        assoc: AssociationId,
    },
    /// Tell the owner.
    Event(E),
}

/// Names an attempt to connect; drawn by the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// Which protocol an association carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Between a registrar and its elements and users.
    Asap,
    /// Between registrars.
    Enrp,
}

/// Who the other end has proved to be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Identity {
    /// Nobody: the transport is open, or the other end has shown no certificate.
    #[default]
    Anonymous,
    /// The subject of a certificate that was verified.
    Verified(Arc<Subject>),
}

impl Identity {
    /// Who owns what this identity registers; `None` if it has proved nothing.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Anonymous => None,
            Self::Verified(subject) => Some(subject.owner),
        }
    }

    /// Its names; none if it has proved nothing.
    pub fn names(&self) -> &[Name] {
        match self {
            Self::Anonymous => &[],
            Self::Verified(subject) => &subject.names,
        }
    }
}

/// The subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// All its names, those first that say most: URIs, then host names, then its common name.
    pub names: Vec<Name>,
    /// What stands for it between registrars: the first 16 bytes of SHA-256 of the first name.
    /// Computed by the driver, which has the cryptography.
    pub owner: Owner,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// What kind of name it is.
    pub kind: NameKind,
    /// The name itself.
    pub text: Arc<str>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Kinds of names in certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A URI, such as `rserpool://scope/registrar`.
    Uri,
    /// A host name.
    Dns,
    /// A common name.
    CommonName,
}

/// Why an association ended or could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The other side closed it in order.
    Finished,
    /// It broke: aborted, reset, all paths lost, or restarted by the other side.
    Lost,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    TimedOut,
    /// What came was not the protocol: a frame that cannot be one.
    Malformed,
    /// A limit of ours: too many associations, or a peer that does not read.
    OverLimit,
    /// It could not prove who it is, or does not believe who we are.
    Untrusted,
}

/// Transport protocols that carry ASAP and ENRP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// SCTP.
    Sctp,
    /// TCP.
    Tcp,
    /// Whichever of them is there: where to connect, SCTP is tried first and TCP a little later;
    /// where to listen, it is both. Never of an association that is up.
    Auto,
}

/// Where a registrar, element or user is reached or comes from: `tcp://127.0.0.1:3863`,
/// `sctp://10.0.0.1,10.1.0.1:3863`, `tcp://[::1]:3863`; `auto://10.0.0.1:3863`, or without
/// `auto://`, leaves the transport open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Locator {
    /// Transport protocol.
    pub transport: TransportKind,
    /// At least one; connecting by TCP uses the first only.
    pub addresses: Addresses,
    /// Port.
    pub port: u16,
}

impl Locator {
    /// A TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { transport: TransportKind::Tcp, addresses: address.ip().into(), port: address.port() }
    }

    /// All addresses with the port, in order.
    pub fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.as_slice().iter().map(|address| SocketAddr::new(*address, self.port))
    }

    /// Whether both are on one host: they have an address in common.
    pub fn shares_host(&self, other: &Self) -> bool {
        let others = other.addresses.as_slice();
        self.addresses.as_slice().iter().any(|address| others.contains(address))
    }

    /// Whether both can be of one end: the same transport and port, and an address in common.
    pub fn meets(&self, other: &Self) -> bool {
        let theirs = other.addresses.as_slice();
        self.transport == other.transport
            && self.port == other.port
            && self.addresses.as_slice().iter().any(|address| theirs.contains(address))
    }

    /// The first address with the port.
    pub fn primary(&self) -> SocketAddr {
        // `Addresses` holds at least one.
        let first = self.addresses.as_slice().first().copied();
        SocketAddr::new(first.unwrap_or(IpAddr::from([0, 0, 0, 0])), self.port)
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.transport {
            TransportKind::Sctp => "sctp://",
            TransportKind::Tcp => "tcp://",
            TransportKind::Auto => "auto://",
        })?;
        for (position, address) in self.addresses.as_slice().iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match address {
                IpAddr::V4(address) => write!(f, "{address}")?,
                IpAddr::V6(address) => write!(f, "[{address}]")?,
            }
        }
        write!(f, ":{}", self.port)
    }
}

impl core::str::FromStr for Locator {
    type Err = InvalidLocator;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why| InvalidLocator { text: text.into(), why };
        let (transport, rest) = match text.split_once("://") {
            Some(("tcp", rest)) => (TransportKind::Tcp, rest),
            Some(("sctp", rest)) => (TransportKind::Sctp, rest),
            Some(("auto", rest)) => (TransportKind::Auto, rest),
            Some(_) => return Err(invalid("it begins with none of sctp://, tcp://, auto://")),
            None => (TransportKind::Auto, text),
        };
        let (hosts, port) = rest.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
        let port = port.parse().map_err(|_| invalid("the port is not a number up to 65535"))?;
        let addresses = hosts
            .split(',')
            .map(|host| {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                bare.unwrap_or(host).parse::<IpAddr>()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| invalid("an address is neither IPv4 nor IPv6"))?;
        if transport == TransportKind::Tcp && addresses.len() > 1 {
            return Err(invalid("TCP takes one address"));
        }
        let addresses = Addresses::new(&addresses).ok_or_else(|| invalid("no address"))?;
        Ok(Self { transport, addresses, port })
    }
}

/// Text that is not a [`Locator`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an address like tcp://127.0.0.1:3863 or sctp://10.0.0.1,10.1.0.1:3863: {why}"
)]
pub struct InvalidLocator {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn locators_print_as_they_are_written() {
        for text in ["tcp://127.0.0.1:3863", "sctp://10.0.0.1,10.1.0.1:3863", "tcp://[::1]:1"] {
            assert_eq!(text.parse::<Locator>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1:5".parse::<Locator>().unwrap().to_string(), "auto://127.0.0.1:5");
    }

    #[test]
    fn what_is_wrong_with_a_locator_is_said() {
        for (text, why) in [
            ("udp://1.2.3.4:5", "it begins with none of sctp://, tcp://, auto://"),
            ("tcp://1.2.3.4", "the port is missing"),
            ("tcp://1.2.3.4:70000", "the port is not a number up to 65535"),
            ("tcp://host:1", "an address is neither IPv4 nor IPv6"),
            ("tcp://1.2.3.4,1.2.3.5:1", "TCP takes one address"),
        ] {
            assert_eq!(text.parse::<Locator>().unwrap_err().why, why, "{text}");
        }
    }
}
