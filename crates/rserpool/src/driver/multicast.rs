//! Announcements by multicast: sent and heard on interfaces that are allowed by name, and on no other.
//!
//! ```text
//!   every 10 s: which of the allowed interfaces are there, and with which addresses?
//!      new: join the groups there; for sending a socket each, from a port that listens
//!      gone: the system has ended the membership with the interface
//! ```

use super::connection::Content;
use super::{Driver, Hosted, Turn};
use crate::proto::machine::{Channel, Input, Machine};
use crate::proto::time::Instant;
use if_addrs::{IfAddr, Interface};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tracing::{debug, info, warn};

/// Where registrars announce themselves to elements and users, and where those listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// Names of the interfaces where announcements are sent or heard, such as `eth0`. None, the
    /// default, switches them off: nobody proves anything by multicast.
    pub interfaces: Vec<String>,
    /// Groups and their ports. Defaults to rsplib's, [`RSPLIB_GROUP`]; the RFC's are 224.0.1.185 and
    /// FF0X::133 (RFC 5352 §8.2).
    pub groups: Vec<SocketAddr>,
}

impl Default for Announcements {
    fn default() -> Self {
        Self { interfaces: Vec::new(), groups: vec![RSPLIB_GROUP] }
    }
}

/// The group to which rsplib's registrars announce themselves.
pub const RSPLIB_GROUP: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 0, 0, 50)), 3863);

/// The group in which rsplib's registrars tell each other where they are.
pub const RSPLIB_ENRP_GROUP: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 0, 0, 51)), 9901);

/// Time between two looks at the interfaces.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Longest announcement that is read: what does not fit into a packet is none.
const MAX_DATAGRAM: usize = 2048;

/// Announcements as a driver keeps them.
pub(super) struct Multicast {
    channel: Channel,
    config: Announcements,
    /// Where announcements are sent from.
    port: Option<u16>,
    pub(super) next_look: Instant,
    /// Groups that are listened to, by slot.
    receivers: Vec<(SocketAddr, u32)>,
    senders: Vec<Sender>,
}

/// Sends to a group by an interface.
struct Sender {
    group: SocketAddr,
    index: u32,
    address: IpAddr,
    socket: Socket,
}

/// Listens to a group.
pub(super) struct Receiver {
    channel: Channel,
    socket: UdpSocket,
    group: SocketAddr,
    /// Interfaces by their index.
    joined: BTreeSet<u32>,
}

impl Multicast {
    pub(super) fn new(channel: Channel, config: Announcements, port: Option<u16>) -> Option<Self> {
        let wanted = !config.interfaces.is_empty() && !config.groups.is_empty();
        wanted.then(|| Self {
            channel,
            config,
            port,
            next_look: Instant::ZERO,
            receivers: Vec::new(),
            senders: Vec::new(),
        })
    }

    /// Sends on every interface; says how often that was done.
    pub(super) fn send(&self, channel: Channel, bytes: &[u8]) -> u64 {
        if channel != self.channel {
            return 0;
        }
        let send = |sender: &&Sender| match sender.socket.send_to(bytes, &sender.group.into()) {
            Ok(_) => true,
            Err(error) => {
                debug!(group = %sender.group, interface = sender.index, %error, "cannot announce");
                false
            }
        };
        self.senders.iter().filter(send).count() as u64
    }

    /// Opens what is missing to send by these interfaces, and drops what is of no use any more.
    fn update_senders(&mut self, interfaces: &[Interface]) {
        let Some(port) = self.port else { return };
        let usable = |sender: &Sender| {
            let same = |known: &Interface| {
                known.index == Some(sender.index) && known.ip() == sender.address
            };
            interfaces.iter().any(same)
        };
        self.senders.retain(usable);
        for interface in interfaces {
            for group in self.config.groups.iter().copied() {
                let (Some(index), address) = (interface.index, interface.ip()) else { continue };
                let known = |sender: &Sender| sender.group == group && sender.index == index;
                if group.is_ipv4() != address.is_ipv4() || self.senders.iter().any(known) {
                    continue;
                }
                match open_sender(interface, index, port) {
                    Ok(socket) => {
                        info!(%group, interface = interface.name, from = %address, "announcing");
                        self.senders.push(Sender { group, index, address, socket });
                    }
                    Err(error) => {
                        warn!(%group, interface = interface.name, %error, "cannot announce");
                    }
                }
            }
        }
    }
}

impl Receiver {
    fn open(channel: Channel, group: SocketAddr) -> io::Result<Self> {
        let socket = udp_socket(group)?;
        if group.is_ipv4() {
            // Otherwise what others on this host have joined elsewhere would be heard as well.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v4(false)?;
        } else {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v6(false)?;
        }
        // To the group itself, so that nothing comes that is not for it.
        socket.bind(&group.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { channel, socket, group, joined: BTreeSet::new() })
    }

    /// Joins the group where that was not done yet.
    fn join(&mut self, interfaces: &[Interface]) {
        let there: BTreeSet<u32> = interfaces.iter().filter_map(|known| known.index).collect();
        // The membership has ended with the interface; one of the same number would be another.
        self.joined.retain(|index| there.contains(index));
        for index in there {
            if self.joined.contains(&index) {
                continue;
            }
            let socket = socket2::SockRef::from(&self.socket);
            let joined = match self.group.ip() {
                IpAddr::V4(group) => {
                    let interface = InterfaceIndexOrAddress::Index(index);
                    socket.join_multicast_v4_n(&group, &interface)
                }
                IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
            };
            match joined {
                Ok(()) => {
                    info!(group = %self.group, interface = index, "listening for announcements");
                    self.joined.insert(index);
                }
                Err(error) => {
                    debug!(group = %self.group, interface = index, %error, "cannot join");
                }
            }
        }
    }
}

impl<H: Hosted> Driver<H> {
    /// Looks whether interfaces have come or gone, if it is time to.
    pub(super) fn look_at_interfaces(&mut self) {
        for index in 0..self.multicast.len() {
            if self.multicast[index].next_look <= self.now {
                self.look_for(index);
            }
        }
    }

    /// Looks at the interfaces for what is told and heard on one channel.
    fn look_for(&mut self, index: usize) {
        let multicast = &mut self.multicast[index];
        multicast.next_look = self.now + LOOK_INTERVAL;
        let channel = multicast.channel;
        let interfaces = match interfaces(&multicast.config.interfaces) {
            Ok(interfaces) => interfaces,
            Err(error) => return warn!(%error, "cannot look at the interfaces"),
        };
        let missing = |name: &&String| interfaces.iter().all(|known| known.name != **name);
        for name in multicast.config.interfaces.iter().filter(missing) {
            warn!(interface = name, "there is no such interface, or it has no address");
        }
        multicast.update_senders(&interfaces);
        let heard =
            |group: &SocketAddr| multicast.receivers.iter().any(|(known, _)| known == group);
        let groups = multicast.config.groups.iter().copied();
        for group in groups.filter(|group| !heard(group)).collect::<Vec<_>>() {
            match Receiver::open(channel, group) {
                Ok(receiver) => {
                    let slot = self.slot();
                    self.fill(slot, Content::Receiver(receiver));
                    self.multicast[index].receivers.push((group, slot));
                }
                Err(error) => warn!(%group, %error, "cannot listen for announcements"),
            }
        }
        for (_, slot) in self.multicast[index].receivers.clone() {
            if let Content::Receiver(receiver) = &mut self.slots[slot as usize].content {
                receiver.join(&interfaces);
            }
        }
    }

    pub(super) fn poll_receiver(&mut self, slot: u32) {
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..Turn::DATAGRAMS {
            let place = &self.slots[slot as usize];
            let Content::Receiver(receiver) = &place.content else { return };
            let channel = receiver.channel;
            let mut read = ReadBuf::new(&mut buffer);
            let mut context = Context::from_waker(&place.waker);
            match receiver.socket.poll_recv_from(&mut context, &mut read) {
                Poll::Pending => return,
                Poll::Ready(Ok(from)) => {
                    self.metrics.announcements_received_total.add(1);
                    let bytes = read.filled();
                    let input = Input::Datagram { channel, from, bytes };
                    self.host.machine().handle_input(self.now, input);
                    self.settle();
                }
                Poll::Ready(Err(error)) => debug!(%error, "cannot hear announcements"),
            }
        }
        self.listed.push_back(slot);
    }
}

/// The interfaces with these names, once for each of their addresses.
fn interfaces(names: &[String]) -> io::Result<Vec<Interface>> {
    let mut all = if_addrs::get_if_addrs()?;
    all.retain(|interface| interface.index.is_some() && names.contains(&interface.name));
    Ok(all)
}

/// The addresses of the interfaces with these names that others can be told: not those that mean
/// something on one link only.
pub(crate) fn interface_addresses(names: &[String]) -> Vec<IpAddr> {
    let tellable = |interface: &Interface| !interface.is_link_local();
    let interfaces = interfaces(names).unwrap_or_default();
    interfaces.iter().filter(|known| tellable(known)).map(Interface::ip).collect()
}

fn udp_socket(family_of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(family_of), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Several registrars, elements and users of one host send and hear by the same port.
    socket.set_reuse_address(true)?;
    if family_of.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket that sends from `port` by an interface.
fn open_sender(interface: &Interface, index: u32, port: u16) -> io::Result<Socket> {
    let local = match &interface.addr {
        IfAddr::V4(v4) => SocketAddr::new(v4.ip.into(), port),
        IfAddr::V6(v6) => {
            let scope = if interface.is_link_local() { index } else { 0 };
            SocketAddrV6::new(v6.ip, port, 0, scope).into()
        }
    };
    let socket = udp_socket(local)?;
    match &interface.addr {
        IfAddr::V4(v4) => socket.set_multicast_if_v4(&v4.ip)?,
        IfAddr::V6(_) => socket.set_multicast_if_v6(index)?,
    }
    socket.bind(&local.into())?;
    Ok(socket)
}
