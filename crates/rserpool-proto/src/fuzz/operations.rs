//! The registrar, fed with what elements and users do, beside a model of what it must know.

use super::Bytes;
use super::registrar::locator;
use crate::id::{AssociationId, PeId, PoolHandle};
use crate::machine::{Channel, CloseReason, Identity, Input, Machine, Output};
use crate::registrar::{Event, Registrar, RegistrarConfig, RemovalReason};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ASAP;
use crate::wire::asap::{Body, HandleResolutionResponse, Message};
use crate::wire::capability::Capabilities;
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::Transport;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Elements that register, renew, leave, fall silent and break; users that ask and report; time that
/// passes, and a registrar that is suspended.
///
/// The registrar knows exactly the elements that it said it accepted and has not said it removed. It
/// accepts what the model of RFC 5352 §3.1 accepts, and refuses what it refuses. It removes no
/// element that lives, renews and answers, whatever others say of it. It answers everything, and
/// with as many elements as were asked for if there are.
pub fn registrar_operations(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let now = Instant::from_micros(1_000_000);
    let mut world = World {
        registrar: Registrar::new(RegistrarConfig::default(), [3; 32], now),
        now,
        names: 0,
        open: [None; PLACES],
        elements: BTreeMap::new(),
        awaited: BTreeMap::new(),
        acknowledgements: Vec::new(),
        answered: None,
    };
    while !bytes.0.is_empty() {
        world.step(&mut bytes);
        assert_eq!(world.registrar.handlespace().element_count(), world.elements.len());
    }
    world.compare();
    // Whatever waits for somebody else's answer gets its own within 10 s.
    for _ in 0..20 {
        if !world.awaited.is_empty() {
            world.pass(Duration::from_millis(500));
        }
    }
    world.compare();
    assert!(world.awaited.is_empty(), "never answered: {:?}", world.awaited.keys());
}

/// Ends of associations; the last one belongs to a user.
const PLACES: usize = 7;
/// From here on elements do not answer keep-alives.
const MUTE: usize = 4;
/// Addresses of the ends: some are shared, so that one may speak for another's element.
const ADDRESSES: [[u8; 4]; PLACES] = [
    [10, 0, 0, 1],
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 0, 0, 3],
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 0, 0, 9],
];

type Name = (PoolHandle, PeId);

struct World {
    registrar: Registrar,
    now: Instant,
    names: u64,
    open: [Option<AssociationId>; PLACES],
    /// What the registrar has accepted.
    elements: BTreeMap<Name, Known>,
    /// Requests without an answer: who asked, for which element, and what.
    awaited: BTreeMap<(usize, Name), VecDeque<Request>>,
    /// Keep-alives to be answered after the outputs have been drained.
    acknowledgements: Vec<(AssociationId, Name)>,
    /// The newest answer to a resolution.
    answered: Option<HandleResolutionResponse>,
}

#[derive(Clone, Debug)]
struct Known {
    holder: usize,
    lease: Option<Instant>,
    transport: Transport,
    policy: PolicyParameter,
}

#[derive(Clone, Debug)]
enum Request {
    Registration(Known),
    Deregistration,
}

impl World {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.next();
        let place = usize::from(bytes.next()) % (PLACES - 1);
        match operation % 16 {
            0..6 => self.register(place, bytes),
            6..8 => self.deregister(place, name(bytes)),
            8..10 => self.resolve(bytes),
            10 | 11 => self.report(name(bytes)),
            12 => self.close(place),
            13 | 14 => self.pass(Duration::from_millis(1 << (bytes.next() % 13))),
            _ => {
                // Suspended: the next input comes late.
                self.now = self.now + Duration::from_millis(u64::from(bytes.next()) * 100);
                self.input(Input::Timeout);
            }
        }
    }

    fn register(&mut self, place: usize, bytes: &mut Bytes<'_>) {
        let assoc = self.connected(place);
        let name = name(bytes);
        let shape = bytes.next();
        let life = [-1, 0, 1, 2, 30, 600, 3, -2][usize::from(shape & 7)];
        let policy = match (shape >> 3) % 4 {
            0 => PolicyParameter::new(PolicyNumber(1), &[]),
            1 => PolicyParameter::new(PolicyNumber(2), &[bytes.word() % 8]),
            _ => PolicyParameter::new(PolicyNumber(0x4000_0001), &[bytes.word()]),
        };
        let address = SocketAddr::new(IpAddr::from(ADDRESSES[place]), 80);
        let transport = match shape >> 5 {
            0 => Transport::Udp(address),
            _ => Transport::Tcp(address),
        };
        if self.waits_for_many(place, &name) {
            return;
        }
        let lease = u64::try_from(life).ok().map(|life| self.now + Duration::from_secs(life));
        let known = Known { holder: place, lease, transport, policy };

        let expected = self.expected(place, &name, &known, life);
        let request = Request::Registration(known.clone());
        self.awaited.entry((place, name.clone())).or_default().push_back(request);
        let (handle, id) = name.clone();
        let element = Box::new(PoolElement {
            id,
            home: Default::default(),
            life,
            user_transport: known.transport,
            policy: known.policy,
            asap_transport: None,
            extensions: ElementExtensions::default(),
        });
        let capabilities = Some(Capabilities(0));
        self.send(assoc, Body::Registration { handle, element, capabilities, stamp: None });

        let answered = !self.awaited.contains_key(&(place, name.clone()));
        let holds = self.elements.get(&name).is_some_and(|known| known.holder == place);
        match expected {
            Expected::Granted => assert!(answered && holds, "{name:?} is granted at once"),
            Expected::Refused => assert!(answered, "{name:?} is refused at once"),
            Expected::HolderFirst => {}
        }
    }

    /// Whether one more would be answered out of order.
    fn waits_for_many(&self, place: usize, name: &Name) -> bool {
        self.awaited.get(&(place, name.clone())).is_some_and(|asked| asked.len() >= 16)
    }

    /// RFC 5352 §3.1, and whose an element is.
    fn expected(&self, place: usize, name: &Name, new: &Known, life: i32) -> Expected {
        if let Some(known) = self.elements.get(name)
            && known.holder != place
        {
            let same = ADDRESSES[place] == ADDRESSES[known.holder];
            return if same { Expected::HolderFirst } else { Expected::Refused };
        }
        let mut members = self.elements.iter().filter(|((handle, _), _)| *handle == name.0);
        let differs = members.next().is_some_and(|(_, member)| {
            member.policy.number != new.policy.number
                || matches!(member.transport, Transport::Udp(_))
                    != matches!(new.transport, Transport::Udp(_))
        });
        let invalid = life == 0 || life < -1;
        if differs || invalid { Expected::Refused } else { Expected::Granted }
    }

    fn deregister(&mut self, place: usize, name: Name) {
        let assoc = self.connected(place);
        if self.waits_for_many(place, &name) {
            return;
        }
        let known = self.elements.get(&name).map(|known| known.holder);
        self.awaited.entry((place, name.clone())).or_default().push_back(Request::Deregistration);
        let (handle, id) = name.clone();
        self.send(assoc, Body::Deregistration { handle, id, stamp: None });
        if known.is_none_or(|holder| holder == place) {
            // Unless somebody else waited for that.
            let holder = self.elements.get(&name).map(|known| known.holder);
            assert!(holder != Some(place), "{name:?} is gone at once");
            assert!(!self.awaited.contains_key(&(place, name)));
        }
    }

    /// RFC 5352 §3.3.
    fn resolve(&mut self, bytes: &mut Bytes<'_>) {
        let assoc = self.connected(PLACES - 1);
        let (handle, _) = name(bytes);
        let items = Some(u32::from(bytes.next() % 8)).filter(|items| *items < 7);
        let capabilities = Some(Capabilities(0));
        let body = Body::HandleResolution {
            subscribe: false,
            handle: handle.clone(),
            items,
            capabilities,
        };
        self.send(assoc, body);
        let answer = self.answered.take();
        let Some(answer) = answer else { panic!("{handle} was not answered") };

        let pool: BTreeMap<_, _> =
            self.elements.iter().filter(|((known, _), _)| *known == handle).collect();
        if pool.is_empty() {
            return assert_eq!(answer.errors, [ErrorCause::UnknownPoolHandle]);
        }
        // RFC 5356 §3.2: weight 0 serves nobody.
        let weightless = |known: &Known| known.policy.words() == Some(&[0][..]);
        let serving = pool
            .values()
            .filter(|known| known.policy.number != PolicyNumber(2) || !weightless(known));
        let serving = serving.count();
        if serving == 0 {
            return assert_eq!(answer.errors, [ErrorCause::LackOfResources]);
        }
        let wanted = items.map_or(128, |items| items.max(1) as usize);
        assert_eq!(answer.elements.len(), wanted.min(serving));
        assert_eq!(answer.total, Some(pool.len() as u32));
        let ids: BTreeSet<_> = answer.elements.iter().map(|element| element.id).collect();
        assert_eq!(ids.len(), answer.elements.len(), "none twice");
        for element in &answer.elements {
            let known = &self.elements[&(handle.clone(), element.id)];
            assert_eq!(element.policy, known.policy);
            assert_eq!(element.user_transport, known.transport);
        }
    }

    /// RFC 5352 §3.5.
    fn report(&mut self, (handle, id): Name) {
        let assoc = self.connected(PLACES - 1);
        self.send(assoc, Body::EndpointUnreachable { handle, id });
    }

    fn connected(&mut self, place: usize) -> AssociationId {
        if let Some(assoc) = self.open[place] {
            return assoc;
        }
        self.names += 1;
        let assoc = AssociationId(self.names);
        self.open[place] = Some(assoc);
        self.input(Input::Connected {
            assoc,
            attempt: None,
            channel: Channel::Asap,
            local: locator([10, 0, 0, 100], 3863),
            remote: locator(ADDRESSES[place], 40_000 + self.names as u16),
            identity: Identity::Anonymous,
        });
        assoc
    }

    fn close(&mut self, place: usize) {
        if let Some(assoc) = self.open[place] {
            self.closed(place);
            self.input(Input::Closed { assoc, reason: CloseReason::Lost });
            assert!(self.elements.values().all(|known| known.holder != place), "lost at once");
        }
    }

    fn closed(&mut self, place: usize) {
        self.open[place] = None;
        self.awaited.retain(|(asker, _), _| *asker != place);
    }

    /// Time passes, with every timeout on time.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            let next = self.registrar.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a timeout that stays due");
        }
        self.now = end;
    }

    fn send(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).expect("what is sent here is short");
        self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Transmit { assoc, bytes, .. } => {
                    let decoded = Message::decode(&bytes).expect("a registrar speaks ASAP");
                    let place = self.open.iter().position(|open| *open == Some(assoc));
                    self.on_message(place.expect("it is up"), assoc, decoded.message.body);
                }
                Output::Disconnect { assoc } => {
                    let place = self.open.iter().position(|open| *open == Some(assoc));
                    let place = place.expect("only what is up is closed");
                    assert!(self.elements.values().all(|known| known.holder != place));
                    self.closed(place);
                }
                Output::Event(Event::ElementRemoved { handle, id, reason }) => {
                    self.on_removed((handle, id), reason);
                }
                Output::Event(_) => {}
                other => panic!("a registrar on its own does not {other:?}"),
            }
        }
        for (assoc, (handle, id)) in core::mem::take(&mut self.acknowledgements) {
            self.send(assoc, Body::EndpointKeepAliveAck { handle, id });
        }
    }

    fn on_message(&mut self, place: usize, assoc: AssociationId, body: Body) {
        match body {
            Body::EndpointKeepAlive { handle, id: Some(id), home: false, .. } => {
                if place < MUTE {
                    self.acknowledgements.push((assoc, (handle, id)));
                }
            }
            Body::RegistrationResponse { rejected, handle, id, errors, .. } => {
                assert_eq!(rejected, !errors.is_empty());
                let request = self.settle(place, &(handle.clone(), id), false);
                if let (Some(Request::Registration(known)), false) = (request, rejected) {
                    self.elements.insert((handle, id), known);
                }
            }
            Body::DeregistrationResponse { handle, id, .. } => {
                // It also comes unasked, when a registration has ended.
                self.settle(place, &(handle, id), true);
            }
            Body::HandleResolutionResponse(response) => self.answered = Some(*response),
            other => panic!("a registrar does not send {other:?} here"),
        }
    }

    /// What an end has asked for an element is answered in order.
    fn settle(&mut self, place: usize, name: &Name, deregistered: bool) -> Option<Request> {
        let key = (place, name.clone());
        let asked = self.awaited.get_mut(&key)?;
        if matches!(asked.front()?, Request::Deregistration) != deregistered {
            assert!(deregistered, "an answer to a registration that was not asked for");
            return None;
        }
        let first = asked.pop_front();
        if asked.is_empty() {
            self.awaited.remove(&key);
        }
        first
    }

    fn on_removed(&mut self, name: Name, reason: RemovalReason) {
        let Some(known) = self.elements.remove(&name) else { panic!("{name:?} was not there") };
        let holder = known.holder;
        let just = match reason {
            RemovalReason::Deregistered => self.awaited.keys().any(|(_, other)| *other == name),
            RemovalReason::Expired => known.lease.is_some_and(|lease| lease <= self.now),
            RemovalReason::KeepAliveMissed => holder >= MUTE,
            RemovalReason::AssociationLost => self.open[holder].is_none(),
            // There are no other registrars.
            RemovalReason::Unreachable => false,
        };
        assert!(just, "{name:?} of {holder} is removed: {reason}");
    }

    /// Both know the same.
    fn compare(&self) {
        let space = self.registrar.handlespace();
        space.check();
        assert_eq!(space.element_count(), self.elements.len());
        for ((handle, id), known) in &self.elements {
            let element = space.element(handle.as_bytes(), *id);
            let element = element.unwrap_or_else(|| panic!("{handle} {id} is missing"));
            assert_eq!(element.policy(), known.policy);
            assert_eq!(*element.user_transport(), known.transport);
            assert_eq!(element.home(), self.registrar.id());
        }
    }
}

enum Expected {
    Granted,
    Refused,
    /// Whoever holds the element is asked before.
    HolderFirst,
}

/// One of three pools and six elements.
fn name(bytes: &mut Bytes<'_>) -> Name {
    let byte = bytes.next();
    let handle = PoolHandle::new(format!("pool-{}", byte % 3)).expect("1 to 255 bytes");
    (handle, PeId(u32::from(byte >> 2) % 6))
}
