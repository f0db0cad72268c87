//! The registrar, fed with bytes on several associations.

use super::Bytes;
use crate::id::AssociationId;
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::registrar::{Registrar, RegistrarConfig};
use crate::time::{Duration, Instant};
use crate::wire::{PPID_ASAP, PPID_ENRP, asap, enrp};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Associations that come and go, what arrives on them, and time that passes.
///
/// What is sent is a message of its association's protocol, on an association that is up; time moves
/// on with every timeout; one input makes a bounded number of outputs; the handlespace is consistent.
pub fn registrar_bytes(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let now = Instant::from_micros(1_000_000);
    let registrar = Registrar::new(RegistrarConfig::default(), [3; 32], now);
    let mut scene = Scene { registrar, now, names: 0, open: [None; 4] };
    while !bytes.0.is_empty() {
        scene.step(&mut bytes);
    }
    scene.registrar.handlespace().check();
}

struct Scene {
    registrar: Registrar,
    now: Instant,
    names: u64,
    open: [Option<(AssociationId, Channel)>; 4],
}

impl Scene {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.next();
        let place = usize::from(operation & 3);
        match (operation >> 2) % 8 {
            0 => self.pass(bytes.next()),
            1 => self.close(place),
            _ => {
                let (assoc, channel) = match self.open[place] {
                    Some(open) => open,
                    None => self.connect(place),
                };
                let message = framed(bytes);
                let ppid = if channel == Channel::Asap { PPID_ASAP } else { PPID_ENRP };
                self.input(Input::Received { assoc, ppid, bytes: &message });
            }
        }
    }

    /// The last of the four is another registrar or a reader of the table.
    fn connect(&mut self, place: usize) -> (AssociationId, Channel) {
        self.names += 1;
        let channel = if place == 3 { Channel::Enrp } else { Channel::Asap };
        let opened = (AssociationId(self.names), channel);
        self.open[place] = Some(opened);
        // Two of them come from one address.
        let address = [[10, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1]][place];
        self.input(Input::Connected {
            assoc: opened.0,
            attempt: None,
            channel,
            local: locator([127, 0, 0, 1], 3863),
            remote: locator(address, 40_000 + place as u16),
            identity: Identity::Anonymous,
        });
        opened
    }

    fn close(&mut self, place: usize) {
        if let Some((assoc, _)) = self.open[place].take() {
            self.input(Input::Closed { assoc, reason: CloseReason::Lost });
        }
    }

    /// Up to some seconds, with every timeout on time.
    fn pass(&mut self, how_long: u8) {
        let end = self.now + Duration::from_millis(1 << (how_long % 14));
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            let next = self.registrar.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timeout that stays due");
        }
        self.now = end;
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        let mut outputs = 0;
        while let Some(output) = self.registrar.poll_output() {
            outputs += 1;
            assert!(outputs < MOST_OUTPUTS, "one input makes ever more outputs");
            match output {
                Output::Transmit { assoc, ppid, bytes } => self.sent(assoc, ppid, &bytes),
                Output::Disconnect { assoc } => {
                    self.open.iter_mut().for_each(|open| {
                        open.take_if(|(known, _)| *known == assoc);
                    });
                }
                _ => {}
            }
        }
    }

    fn sent(&self, to: AssociationId, ppid: u32, bytes: &[u8]) {
        let open = self.open.iter().flatten().find(|(assoc, _)| *assoc == to);
        let understood = match open {
            Some((_, Channel::Asap)) => ppid == PPID_ASAP && asap::Message::decode(bytes).is_ok(),
            Some((_, Channel::Enrp)) => ppid == PPID_ENRP && enrp::Message::decode(bytes).is_ok(),
            None => panic!("sent on an association that is not up"),
        };
        assert!(understood, "{bytes:02x?}");
    }
}

/// More than an input can cause: an answer, and a few words about each of a few dozen elements.
const MOST_OUTPUTS: usize = 1_000;

/// A message: type and flags as they come, its length true more often than not.
pub(super) fn framed(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let (kind, flags, len) = (bytes.next(), bytes.next(), usize::from(bytes.next()));
    let taken = len.min(bytes.0.len());
    let (body, rest) = bytes.0.split_at(taken);
    bytes.0 = rest;
    let stated = if kind & 0x20 == 0 { (taken + 4) as u16 } else { u16::from(flags) << 4 };
    let mut message = Vec::from([kind & !0x20, flags]);
    message.extend(stated.to_be_bytes());
    message.extend(body);
    message
}

pub(super) fn locator(address: [u8; 4], port: u16) -> Locator {
    Locator::tcp(SocketAddr::new(IpAddr::from(address), port))
}
