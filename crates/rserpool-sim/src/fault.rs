//! What breaks, and when it is whole again.

use crate::net::{NodeId, Quality};
use crate::node::{Power, Setup};
use crate::world::{Event, World};
use rserpool_proto::id::ServerId;

/// Something that breaks for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, in microseconds.
    pub at: u64,
    /// How long it lasts, in microseconds.
    pub lasts: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// Kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A process dies and is started again; with the same identifier or another one.
    Crash {
        /// Whose.
        node: NodeId,
        /// Whether the identifier stays.
        same_id: bool,
    },
    /// A host dies without a word and comes back with its process started again.
    PowerCut {
        /// Which.
        node: NodeId,
    },
    /// A process is stopped and goes on; its host answers for it meanwhile.
    Suspend {
        /// Whose.
        node: NodeId,
    },
    /// A process takes this long for each input, in microseconds.
    Slow {
        /// Whose.
        node: NodeId,
        /// How long.
        each: u64,
    },
    /// The clock that a machine sees jumps ahead by the length of the fault.
    ClockJump {
        /// Whose.
        node: NodeId,
    },
    /// The wall clock is set wrong by so many microseconds, and later set right.
    WallClock {
        /// Whose.
        node: NodeId,
        /// Wrong by how much.
        by: i64,
    },
    /// Nothing gets from one set of nodes to another, or in both directions.
    Cut {
        /// From these.
        from: Vec<NodeId>,
        /// To these.
        to: Vec<NodeId>,
        /// Both ways.
        both: bool,
        /// Only the first of two paths.
        one_path: bool,
    },
    /// Links are worse than usual.
    Worse {
        /// From these.
        from: Vec<NodeId>,
        /// To these.
        to: Vec<NodeId>,
        /// How they are.
        quality: Quality,
    },
    /// A registrar sends everybody elsewhere, and is started again.
    Drain {
        /// Which.
        node: NodeId,
    },
}

impl World {
    /// Has a fault happen in its time.
    pub(crate) fn add_fault(&mut self, fault: Fault) {
        let index = self.faults.len();
        self.queue.push(fault.at, Event::Fault { index, begins: true });
        self.queue
            .push(fault.at.saturating_add(fault.lasts), Event::Fault { index, begins: false });
        self.faults.push(fault);
    }

    pub(crate) fn on_fault(&mut self, index: usize, begins: bool) {
        let Some(Fault { kind, lasts, .. }) = self.faults.get(index).cloned() else { return };
        self.stats.faults += u64::from(begins);
        self.trace.note(self.now, 4 + u8::from(begins), index, 0, &[]);
        self.trace.line(self.now, None, None, || {
            format!("{} {kind:?}", if begins { "begins:" } else { "ends:" })
        });
        match (kind, begins) {
            (FaultKind::Crash { node, .. }, true) => self.crash(node, Power::ProcessDown),
            (FaultKind::PowerCut { node }, true) => {
                self.crash(node, Power::HostDown);
                self.probe_later();
            }
            (FaultKind::Crash { node, same_id }, false) => {
                if self.nodes[node].power == Power::ProcessDown {
                    if !same_id {
                        self.forget_id(node);
                    }
                    self.start(node);
                }
            }
            (FaultKind::PowerCut { node }, false) => {
                if self.nodes[node].power == Power::HostDown {
                    self.start(node);
                    self.flush();
                }
            }
            (FaultKind::Suspend { node }, true) => self.suspend(node),
            (FaultKind::Suspend { node }, false) => self.resume(node),
            (FaultKind::Slow { node, each }, true) => self.nodes[node].slow = each,
            (FaultKind::Slow { node, .. }, false) => self.nodes[node].slow = 0,
            (FaultKind::ClockJump { node }, true) => {
                let now = self.now;
                self.nodes[node].clock.jump(now, lasts);
                self.oracle_upset(node);
                self.nodes[node].wake = now;
                self.queue.push(now, Event::Wake { node });
                self.wake_sessions(node);
            }
            (FaultKind::ClockJump { .. }, false) => {}
            (FaultKind::WallClock { node, by }, true) => self.nodes[node].clock.set_wall(by),
            (FaultKind::WallClock { node, .. }, false) => self.nodes[node].clock.set_wall(0),
            (FaultKind::Cut { from, to, both, one_path }, cut) => {
                let mask = if one_path { 1 } else { 3 };
                self.net.cut(&from, &to, mask, cut);
                if both {
                    self.net.cut(&to, &from, mask, cut);
                }
                if cut {
                    self.probe_later();
                } else {
                    self.flush();
                }
            }
            (FaultKind::Worse { from, to, quality }, true) => {
                self.net.degrade(index, from.clone(), to.clone(), quality);
                self.net.degrade(index, to, from, quality);
            }
            (FaultKind::Worse { .. }, false) => self.net.restore(index),
            (FaultKind::Drain { node }, true) => {
                self.nodes[node].draining = true;
                self.command_after(node, 0, crate::node::Command::Drain);
            }
            (FaultKind::Drain { node }, false) => {
                self.crash(node, Power::ProcessDown);
                if self.nodes[node].power == Power::ProcessDown {
                    self.start(node);
                }
            }
        }
        self.oracle_disturbed();
    }

    /// Owners do nothing any more.
    pub(crate) fn quiet(&mut self) {
        for node in &mut self.nodes {
            node.owner.pace = 0;
        }
    }

    fn forget_id(&mut self, node: NodeId) {
        match &mut self.nodes[node].setup {
            Setup::Registrar(config) => config.id = ServerId::NONE,
            Setup::Element(config) => config.id = None,
            Setup::User(_) | Setup::Hostile { .. } => {}
        }
    }

    /// Everything is whole from now on.
    pub(crate) fn heal(&mut self) {
        self.net.mend_all();
        // What is still to end ends now.
        self.faults.clear();
        self.oracle.healed = Some(self.now);
        for node in 0..self.nodes.len() {
            if self.nodes[node].draining {
                self.crash(node, Power::ProcessDown);
            }
            self.nodes[node].slow = 0;
            self.nodes[node].clock.set_wall(0);
            match self.nodes[node].power {
                Power::On => self.resume(node),
                Power::ProcessDown | Power::HostDown => self.start(node),
            }
        }
        self.flush();
        self.oracle_disturbed();
        self.trace.line(self.now, None, None, || "all is whole from now on".to_owned());
    }
}
