//! A pool that is watched: what it holds, and what has changed.

use super::{Command, Element, Resolution, ResolveError};
use crate::proto::id::{PeId, PoolHandle};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A pool whose changes are told: made by [`PoolUser::watch`](super::PoolUser::watch), ended by being
/// dropped.
///
/// Whoever takes updates slowly misses none: those that come meanwhile are one, which says what there
/// is by then and all that is different.
#[derive(Debug)]
pub struct Watch {
    handle: PoolHandle,
    commands: mpsc::Sender<Command>,
    /// `None` while it is dropped.
    known: Option<watch::Receiver<Option<State>>>,
    /// The elements that were told last.
    elements: BTreeMap<PeId, Arc<Element>>,
}

/// What is known of a pool, for all who watch it.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) state: Result<Resolution, ResolveError>,
    pub(super) pushed: bool,
}

/// What a watched pool holds, and what is different from the update before.
#[derive(Clone, Debug)]
pub struct PoolUpdate {
    /// What the pool holds now, or why that is not known. [`ResolveError::UnknownPool`] and
    /// [`ResolveError::NoElement`] say that there is nobody, for now; with any other error the elements
    /// of the update before may still be there.
    pub state: Result<Resolution, ResolveError>,
    /// What is different, removals first; empty if only something else than elements is.
    ///
    /// A pool may have more elements than an answer holds ([`Resolution::total`]; registrars of ours
    /// list 128 unless they are told otherwise). Then an element that is not listed any more is not said
    /// to be removed, and may be added again.
    pub changes: Vec<PoolChange>,
    /// Whether the registrar tells changes at once; otherwise it is asked again and again.
    pub pushed: bool,
}

/// What has happened to an element of a watched pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolChange {
    /// It has come.
    Added(Arc<Element>),
    /// Its transport, its policy's values or its home are others.
    Changed {
        /// As it was.
        before: Arc<Element>,
        /// As it is.
        now: Arc<Element>,
    },
    /// It is gone; this is how it was.
    Removed(Arc<Element>),
}

impl Watch {
    pub(super) fn new(
        handle: PoolHandle,
        commands: mpsc::Sender<Command>,
        known: watch::Receiver<Option<State>>,
    ) -> Self {
        Self { handle, commands, known: Some(known), elements: BTreeMap::new() }
    }

    /// The pool.
    pub fn handle(&self) -> &PoolHandle {
        &self.handle
    }

    /// The next update; the first one is what the pool holds when it is known. `None` once the user's
    /// task has ended, with its runtime.
    ///
    /// The future may be dropped at any time: nothing is lost.
    pub async fn next(&mut self) -> Option<PoolUpdate> {
        let known = self.known.as_mut()?;
        loop {
            known.changed().await.ok()?;
            let state = known.borrow_and_update().clone();
            if let Some(State { state, pushed }) = state {
                let changes = self.take(&state);
                return Some(PoolUpdate { state, changes, pushed });
            }
        }
    }

    /// Notes what is there now, and says what is different.
    fn take(&mut self, state: &Result<Resolution, ResolveError>) -> Vec<PoolChange> {
        let (listed, complete) = match state {
            Ok(found) => {
                let complete = found.total.is_none_or(|all| all as usize <= found.elements.len());
                (found.elements.as_slice(), complete)
            }
            Err(ResolveError::UnknownPool { .. } | ResolveError::NoElement { .. }) => {
                (&[][..], true)
            }
            Err(_) => return Vec::new(),
        };
        let elements = listed.iter().map(|element| (element.id, Arc::clone(element)));
        let mut before = std::mem::replace(&mut self.elements, elements.collect());
        let mut others = Vec::new();
        for (id, now) in &self.elements {
            let now = Arc::clone(now);
            match before.remove(id) {
                None => others.push(PoolChange::Added(now)),
                Some(before) if !is_the_same(&before, &now) => {
                    others.push(PoolChange::Changed { before, now });
                }
                Some(_) => {}
            }
        }
        let gone = before.into_values().filter(|_| complete);
        gone.map(PoolChange::Removed).chain(others).collect()
    }
}

/// Whether users need not care; how long it is registered for is not theirs.
fn is_the_same(a: &Element, b: &Element) -> bool {
    a.home == b.home
        && a.user_transport == b.user_transport
        && a.policy == b.policy
        && a.extensions.tcp_control == b.extensions.tcp_control
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Not counted any more when the task looks how many are left.
        self.known = None;
        // If there is no room, it looks at the pool's next change.
        let _ = self.commands.try_send(Command::EndWatch(self.handle.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::id::ServerId;
    use crate::proto::policy::{PolicyNumber, PolicyParameter};
    use crate::proto::time::Duration;
    use crate::proto::wire::pool_element::ElementExtensions;
    use crate::proto::wire::transport::Transport;

    fn element(id: u32, load: u32) -> Arc<Element> {
        Arc::new(Element {
            id: PeId(id),
            home: ServerId(1),
            life: 30,
            user_transport: Transport::Tcp(([127, 0, 0, 1], 80).into()),
            policy: PolicyParameter::new(PolicyNumber(0x4000_0001), &[load]),
            asap_transport: None,
            extensions: ElementExtensions::default(),
        })
    }

    fn holds(elements: &[Arc<Element>], total: u32) -> Result<Resolution, ResolveError> {
        Ok(Resolution {
            handle: "web".parse().unwrap(),
            policy: PolicyParameter::new(PolicyNumber(0x4000_0001), &[0]),
            elements: elements.to_vec(),
            total: Some(total),
            age: Duration::ZERO,
            stale: false,
        })
    }

    fn watch() -> (watch::Sender<Option<State>>, Watch) {
        let (sender, known) = watch::channel(None);
        let (commands, _) = mpsc::channel(1);
        (sender, Watch::new("web".parse().unwrap(), commands, known))
    }

    #[tokio::test]
    async fn what_came_while_nobody_looked_is_one_update_that_says_all() {
        let (sender, mut watch) = watch();
        let tell = |state| sender.send(Some(State { state, pushed: true })).unwrap();
        let (one, two, three) = (element(1, 5), element(2, 5), element(3, 5));
        tell(holds(&[one.clone(), two.clone()], 2));
        let first = watch.next().await.unwrap();
        let added = [&one, &two].map(|element| PoolChange::Added(element.clone()));
        assert_eq!(first.changes, added);
        tell(holds(std::slice::from_ref(&two), 1));
        let busy = element(2, 9);
        tell(holds(&[three.clone(), busy.clone()], 2));
        let second = watch.next().await.unwrap();
        assert_eq!(
            second.changes,
            [
                PoolChange::Removed(one),
                PoolChange::Changed { before: two, now: busy.clone() },
                PoolChange::Added(three.clone()),
            ]
        );
        // Nobody answers: that says nothing of the elements. An unknown pool has none.
        tell(Err(ResolveError::NoRegistrar { registrars: [].into() }));
        assert!(watch.next().await.unwrap().changes.is_empty());
        tell(Err(ResolveError::UnknownPool { handle: "web".parse().unwrap() }));
        let last = watch.next().await.unwrap();
        assert_eq!(last.changes, [busy, three].map(PoolChange::Removed));
        drop(sender);
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn what_an_answer_leaves_out_is_not_called_removed() {
        let (sender, mut watch) = watch();
        let tell = |state| sender.send(Some(State { state, pushed: true })).unwrap();
        tell(holds(&[element(1, 5)], 200));
        watch.next().await.unwrap();
        tell(holds(&[element(2, 5)], 200));
        assert_eq!(watch.next().await.unwrap().changes, [PoolChange::Added(element(2, 5))]);
    }
}
