//! Registrars that announce themselves by multicast (RFC 5352 §3.6).
//!
//! Anybody can announce anything (RFC 5352 §9.2), so an announcement only adds to what may be tried:
//! it ends no association, is tried after what is configured, and finds room in a list that does not
//! grow. An address that was tried in vain makes room for another, so that made-up ones cannot keep
//! a real one out.

use super::{Candidate, MAX_ATTEMPTS, ServerHunt};
use crate::machine::{Locator, Output, TransportKind};
use crate::time::Instant;
use crate::wire::transport::Transport;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Most announced addresses kept.
const MAX_ANNOUNCED: usize = 16;

/// Most addresses taken from one announcement.
const MAX_TRANSPORTS: usize = 4;

/// What is known of an announced address.
#[derive(Debug)]
pub(super) struct Announced {
    /// When T7-ENRPoutdate expires.
    pub(super) until: Instant,
    /// Has been tried in vain since it was no home.
    failed: bool,
}

impl ServerHunt {
    /// A registrar has announced itself: it is dialled at once if one is wanted.
    pub(in crate::endpoint) fn on_announced<E>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        transports: &[Transport],
        outputs: &mut VecDeque<Output<E>>,
    ) {
        let until = now + self.t7;
        for locator in locators(from, transports) {
            let known = self.candidates.iter_mut().find(|known| known.locator == locator);
            match known.map(|known| &mut known.announced) {
                Some(None) => {}
                Some(Some(announced)) => announced.until = until,
                None => {
                    let announced = Announced { until, failed: false };
                    let candidate = Candidate::new(locator, Some(announced));
                    if let Some(index) = self.place(now, candidate)
                        && let Some(round) = &mut self.round
                        // Whoever makes up addresses does not make us dial as fast as they can.
                        && round.announced < MAX_ANNOUNCED
                    {
                        round.announced += 1;
                        round.order.push_back(index);
                    }
                }
            }
        }
        self.fill(now, outputs);
    }

    /// Keeps an announced address if there is room.
    fn place(&mut self, now: Instant, candidate: Candidate) -> Option<usize> {
        let announced = |known: &Candidate| known.announced.is_some();
        if self.candidates.iter().filter(|known| announced(known)).count() < MAX_ANNOUNCED {
            self.candidates.push(candidate);
            return Some(self.candidates.len() - 1);
        }
        let index = (0..self.candidates.len()).find(|index| self.is_replaceable(now, *index))?;
        *self.candidates.get_mut(index)? = candidate;
        if let Some(round) = &mut self.round {
            round.order.retain(|known| *known != index);
        }
        self.preferred.take_if(|preferred| *preferred == index);
        self.failed.take_if(|failed| *failed == index);
        Some(index)
    }

    fn is_replaceable(&self, now: Instant, index: usize) -> bool {
        let known = self.candidates.get(index).and_then(|known| known.announced.as_ref());
        let useless = known.is_some_and(|known| known.failed || known.until <= now);
        useless
            && self.attempts.iter().all(|attempt| attempt.candidate != index)
            && self.home.as_ref().is_none_or(|home| home.candidate != Some(index))
    }

    /// An address has been tried, in vain or not.
    pub(super) fn note_announced(&mut self, index: usize, failed: bool) {
        let candidate = self.candidates.get_mut(index);
        if let Some(announced) = candidate.and_then(|candidate| candidate.announced.as_mut()) {
            announced.failed = failed;
        }
    }

    /// Once all rounds fail, one of the attempts is for what was announced: configured addresses
    /// where nobody answers would otherwise take all.
    pub(super) fn let_announced_in(&self, order: &mut Vec<usize>) {
        if self.t5 == self.t5_initial {
            return;
        }
        let announced = |index: &usize| {
            self.candidates.get(*index).is_some_and(|candidate| candidate.announced.is_some())
        };
        if let Some(position) = order.iter().position(announced)
            && position >= MAX_ATTEMPTS
        {
            let index = order.remove(position);
            order.insert(MAX_ATTEMPTS - 1, index);
        }
    }
}

/// Where to dial whoever sent an announcement.
fn locators(from: SocketAddr, transports: &[Transport]) -> Vec<Locator> {
    let mut locators: Vec<Locator> = Vec::new();
    for transport in transports.iter().take(MAX_TRANSPORTS) {
        match transport {
            Transport::Sctp(sctp) => locators.push(Locator {
                transport: TransportKind::Sctp,
                addresses: sctp.addresses.clone(),
                port: sctp.port,
            }),
            Transport::Tcp(address) => {
                let of_sctp = |known: &&mut Locator| {
                    known.transport == TransportKind::Sctp
                        && known.port == address.port()
                        && known.addresses.as_slice().first() == Some(&address.ip())
                };
                // One registrar, by whichever transport works.
                match locators.iter_mut().find(of_sctp) {
                    Some(both) => both.transport = TransportKind::Auto,
                    None => locators.push(Locator::tcp(*address)),
                }
            }
            _ => {}
        }
    }
    if transports.is_empty() {
        // RFC 5352 §3.6 says: the source address, and the registered port. rsplib, which sends no
        // transports, sends from the port it listens on; when it is the registered one this is the
        // same.
        let addresses = from.ip().into();
        locators.push(Locator { transport: TransportKind::Sctp, addresses, port: from.port() });
    }
    locators.retain(|locator| {
        let mut addresses = locator.addresses.as_slice().iter();
        locator.port != 0 && addresses.all(|address| is_usable(*address, from.ip()))
    });
    locators
}

/// Whether an announced address can be a registrar's: nobody else can send us to ourselves.
fn is_usable(address: IpAddr, from: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && (!address.is_loopback() || from.is_loopback() || from == address)
}
