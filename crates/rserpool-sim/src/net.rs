//! Links: how long a packet takes from one node to another, and whether it arrives.
//!
//! Every ordered pair of nodes has a link of its own, so that a cut may be one-way. Pairs have two
//! paths: TCP uses the first, SCTP whichever is whole.

use crate::rng::Random;
use rserpool_proto::machine::TransportKind;

/// A node, by its place in the world.
pub type NodeId = usize;

/// What a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Least time from end to end, in microseconds.
    pub latency: u64,
    /// Most time added at random, in microseconds.
    pub jitter: u64,
    /// Packets lost of a thousand; each costs a retransmission.
    pub loss: u64,
    /// Messages of a thousand that reach the machine twice.
    pub duplicates: u64,
    /// Bytes per second; 0 for no limit.
    pub rate: u64,
}

impl Quality {
    /// A local network.
    pub const LOCAL: Self = Self { latency: 200, jitter: 100, loss: 0, duplicates: 0, rate: 0 };
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    /// Cuts in force, by pair and path.
    cuts: Vec<[u8; 2]>,
    /// Quality of pairs that differ from `usual`; later ones win.
    base: Quality,
    /// Multicast packets of a thousand that do not reach one of those they are for.
    pub(crate) deaf: u64,
    worse: Vec<Worse>,
    /// When a rate-limited pair has sent all it was given.
    busy: Vec<u64>,
}

#[derive(Debug)]
struct Worse {
    fault: usize,
    from: Vec<NodeId>,
    to: Vec<NodeId>,
    quality: Quality,
}

/// First retransmission timeout; it doubles.
const RTO: u64 = 200_000;
/// Doublings before a packet gets through all the same.
const MAX_RETRANSMISSIONS: u32 = 5;
/// What it costs SCTP to use the other path.
const OTHER_PATH: u64 = 2_000;

impl Network {
    pub(crate) fn new(nodes: usize, base: Quality) -> Self {
        Self {
            nodes,
            cuts: vec![[0; 2]; nodes * nodes],
            base,
            deaf: 0,
            worse: Vec::new(),
            busy: vec![0; nodes * nodes],
        }
    }

    fn pair(&self, from: NodeId, to: NodeId) -> usize {
        from * self.nodes + to
    }

    /// Makes room for one node more; all links as they were.
    pub(crate) fn grow(&mut self) {
        let (old, new) = (self.nodes, self.nodes + 1);
        let mut cuts = vec![[0; 2]; new * new];
        for from in 0..old {
            for to in 0..old {
                cuts[from * new + to] = self.cuts[from * old + to];
            }
        }
        self.cuts = cuts;
        self.busy = vec![0; new * new];
        self.nodes = new;
    }

    /// Cuts the paths of `mask` from one set to another, or mends them again.
    pub(crate) fn cut(&mut self, from: &[NodeId], to: &[NodeId], mask: u8, cut: bool) {
        for &a in from {
            for &b in to {
                let pair = self.pair(a, b);
                for (path, count) in self.cuts[pair].iter_mut().enumerate() {
                    if mask & (1 << path) != 0 {
                        *count = if cut { *count + 1 } else { count.saturating_sub(1) };
                    }
                }
            }
        }
    }

    /// Mends every cut and every link.
    pub(crate) fn mend_all(&mut self) {
        self.cuts.fill([0; 2]);
        self.worse.clear();
        self.busy.fill(0);
        self.base.loss = 0;
        self.deaf = 0;
        self.base.duplicates = 0;
    }

    /// Makes links worse, or better, until [`Network::restore`] with the same fault.
    pub(crate) fn degrade(
        &mut self,
        fault: usize,
        from: Vec<NodeId>,
        to: Vec<NodeId>,
        quality: Quality,
    ) {
        self.worse.push(Worse { fault, from, to, quality });
    }

    pub(crate) fn restore(&mut self, fault: usize) {
        self.worse.retain(|worse| worse.fault != fault);
    }

    pub(crate) fn quality(&self, from: NodeId, to: NodeId) -> Quality {
        let worse = self.worse.iter().rev();
        let found = worse.clone().find(|w| w.from.contains(&from) && w.to.contains(&to));
        found.map_or(self.base, |worse| worse.quality)
    }

    /// Whether packets get through.
    pub(crate) fn is_up(&self, from: NodeId, to: NodeId, kind: TransportKind) -> bool {
        let [first, second] = self.cuts[self.pair(from, to)];
        first == 0 || (kind == TransportKind::Sctp && second == 0)
    }

    /// How long a datagram takes; `None` if it is lost.
    pub(crate) fn datagram(
        &mut self,
        random: &mut Random,
        now: u64,
        link: (NodeId, NodeId),
        len: usize,
    ) -> Option<u64> {
        let (from, to) = link;
        let loss = self.quality(from, to).loss + self.deaf;
        let arrives = self.is_up(from, to, TransportKind::Tcp) && !random.permille(loss);
        arrives.then(|| self.delay(random, now, link, len))
    }

    /// How long a message takes on a link that is up, retransmissions included.
    pub(crate) fn delay(
        &mut self,
        random: &mut Random,
        now: u64,
        (from, to): (NodeId, NodeId),
        len: usize,
    ) -> u64 {
        let pair = self.pair(from, to);
        let quality = if self.worse.is_empty() { self.base } else { self.quality(from, to) };
        let mut delay = quality.latency;
        if quality.jitter > 0 {
            delay += random.below(quality.jitter);
        }
        if quality.loss > 0 {
            let mut lost = 0;
            while lost < MAX_RETRANSMISSIONS && random.permille(quality.loss) {
                delay += RTO << lost;
                lost += 1;
            }
        }
        if let Some(takes) = (len as u64 * 1_000_000).checked_div(quality.rate) {
            self.busy[pair] = self.busy[pair].max(now) + takes;
            delay += self.busy[pair] - now;
        }
        if self.cuts[pair][0] > 0 {
            delay += OTHER_PATH;
        }
        delay
    }
}
