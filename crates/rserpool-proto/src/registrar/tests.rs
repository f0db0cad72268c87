//! The registrar's procedures, one sentence per test.

use super::{AddressRule, Event, Ignored, Registrar, RegistrarConfig, RemovalReason};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::timers::{Preset, RegistrarTimers};
use crate::wire::asap::{Body, HandleResolutionResponse, Message};
use crate::wire::capability::{Capabilities, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{SctpTransport, Transport, TransportUse};
use crate::wire::{PPID_ASAP, PPID_ENRP, enrp};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

const ROUND_ROBIN: PolicyNumber = PolicyNumber(1);
const WEIGHTED_ROUND_ROBIN: PolicyNumber = PolicyNumber(2);
const LEAST_USED: PolicyNumber = PolicyNumber(0x4000_0001);

/// A registrar, its associations and the time.
struct Scene {
    registrar: Registrar,
    now: Instant,
    associations: u64,
    sent: VecDeque<(AssociationId, u32, Vec<u8>)>,
    closed: Vec<AssociationId>,
    announced: Vec<(Instant, Vec<u8>)>,
    events: Vec<Event>,
}

impl Scene {
    fn new() -> Self {
        Self::with(RegistrarConfig { id: ServerId(7), ..RegistrarConfig::default() })
    }

    fn with(config: RegistrarConfig) -> Self {
        let now = Instant::from_micros(1_000_000);
        Self {
            registrar: Registrar::new(config, [1; 32], now),
            now,
            associations: 0,
            sent: VecDeque::new(),
            closed: Vec::new(),
            announced: Vec::new(),
            events: Vec::new(),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Transmit { assoc, ppid, bytes } => {
                    self.sent.push_back((assoc, ppid, bytes));
                }
                Output::Disconnect { assoc } => self.closed.push(assoc),
                Output::Multicast { channel: Channel::Asap, bytes } => {
                    self.announced.push((self.now, bytes));
                }
                Output::Event(event) => self.events.push(event),
                other => panic!("a registrar on its own does not {other:?}"),
            }
        }
        self.registrar.handlespace().check();
    }

    fn connect(&mut self, channel: Channel, from: &str) -> AssociationId {
        self.associations += 1;
        let assoc = AssociationId(self.associations);
        self.input(Input::Connected {
            assoc,
            attempt: None,
            channel,
            local: "tcp://127.0.0.1:3863".parse().unwrap(),
            remote: from.parse::<Locator>().unwrap(),
            identity: Identity::Anonymous,
        });
        assoc
    }

    fn asap(&mut self) -> AssociationId {
        self.connect(Channel::Asap, "tcp://127.0.0.1:40000")
    }

    fn send(&mut self, assoc: AssociationId, body: Body) {
        let mut bytes = Vec::new();
        Message::from(body).encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
    }

    /// What was sent on an association since the last call.
    fn answers(&mut self, assoc: AssociationId) -> Vec<Body> {
        let (ours, others): (VecDeque<_>, _) =
            self.sent.drain(..).partition(|(to, _, _)| *to == assoc);
        self.sent = others;
        ours.iter().map(|(_, _, bytes)| Message::decode(bytes).unwrap().message.body).collect()
    }

    fn answer(&mut self, assoc: AssociationId) -> Body {
        let mut answers = self.answers(assoc);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn register(&mut self, assoc: AssociationId, element: PoolElement) -> Vec<ErrorCause> {
        let id = element.id;
        self.send(assoc, registration(element));
        match self.answer(assoc) {
            Body::RegistrationResponse { rejected, id: of, errors, .. } => {
                assert_eq!(of, id);
                assert_eq!(rejected, !errors.is_empty());
                errors
            }
            other => panic!("not an answer to a registration: {other:?}"),
        }
    }

    fn resolve(&mut self, assoc: AssociationId) -> HandleResolutionResponse {
        self.send(assoc, resolution(None));
        match self.answer(assoc) {
            Body::HandleResolutionResponse(response) => *response,
            other => panic!("not an answer to a resolution: {other:?}"),
        }
    }

    fn resolved(&mut self) -> Vec<u32> {
        let user = self.asap();
        let ids = self.resolve(user).elements.iter().map(|element| element.id.0).collect();
        self.input(Input::Closed { assoc: user, reason: CloseReason::Finished });
        ids
    }

    /// Lets time pass, with every timeout on time.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
            let next = self.registrar.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a busy loop at {}", self.now);
        }
        self.now = end;
    }

    /// Lets time pass and answers every keep-alive on the associations given.
    fn live(&mut self, duration: Duration, living: &[AssociationId]) {
        let end = self.now + duration;
        while self.now < end {
            self.wait(Duration::from_millis(10));
            for &assoc in living {
                for answer in self.answers(assoc) {
                    if let Body::EndpointKeepAlive { handle, id: Some(id), .. } = answer {
                        self.send(assoc, Body::EndpointKeepAliveAck { handle, id });
                    }
                }
            }
        }
    }
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

fn element(id: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: ServerId::NONE,
        life: 30_000,
        user_transport: Transport::Tcp(format!("127.0.0.1:{}", 8000 + id).parse().unwrap()),
        policy: PolicyParameter::new(ROUND_ROBIN, &[]),
        asap_transport: None,
        extensions: ElementExtensions::default(),
    }
}

fn registration(element: PoolElement) -> Body {
    Body::Registration {
        handle: pool(),
        element: Box::new(element),
        capabilities: None,
        stamp: None,
    }
}

fn our_registration(element: PoolElement) -> Body {
    let capabilities = Some(Capabilities(0));
    Body::Registration { handle: pool(), element: Box::new(element), capabilities, stamp: None }
}

fn deregistration(id: u32) -> Body {
    Body::Deregistration { handle: pool(), id: PeId(id), stamp: None }
}

fn resolution(items: Option<u32>) -> Body {
    Body::HandleResolution { subscribe: false, handle: pool(), items, capabilities: None }
}

fn report(id: u32) -> Body {
    Body::EndpointUnreachable { handle: pool(), id: PeId(id) }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

#[test]
fn over_sctp_an_element_registers_addresses_of_its_association_and_no_others() {
    // RFC 5352 §2.2.1.
    let at = |address: &str| PoolElement {
        user_transport: Transport::Tcp(address.parse().unwrap()),
        ..element(1)
    };
    let mut scene = Scene::new();
    let assoc = scene.connect(Channel::Asap, "sctp://10.0.0.1,10.1.0.1:5000");
    assert_eq!(scene.register(assoc, at("10.1.0.1:80")), []);
    let refused = scene.register(assoc, at("10.2.0.1:80"));
    let [ErrorCause::InvalidValues(parameter)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(parameter[..2], [0, 5], "the TCP Transport is named");
    assert_eq!(scene.resolved(), [1], "the element stays as it was");
    // A TCP connection has one address, which need not be the server's.
    let tcp = scene.asap();
    assert_eq!(scene.register(tcp, PoolElement { id: PeId(2), ..at("10.2.0.1:80") }), []);

    let mut config = RegistrarConfig { id: ServerId(7), ..RegistrarConfig::default() };
    config.compat.registered_addresses = AddressRule::Any;
    let mut scene = Scene::with(config);
    let assoc = scene.connect(Channel::Asap, "sctp://10.0.0.1:5000");
    assert_eq!(scene.register(assoc, at("10.2.0.1:80")), []);
}

#[test]
fn the_first_registration_creates_the_pool_and_later_ones_join_it() {
    // RFC 5352 §3.1 rules 1 and 2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    assert_eq!(scene.register(assoc, element(1)), []);
    assert_eq!(scene.register(assoc, element(2)), []);
    assert_eq!(scene.resolved(), [1, 2]);
    assert!(scene.events.contains(&Event::ElementRegistered { handle: pool(), id: PeId(1) }));
}

#[test]
fn a_policy_other_than_the_pools_is_refused_and_the_pools_is_told() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.6.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let mut other = element(2);
    other.policy = PolicyParameter::new(LEAST_USED, &[0]);
    let errors = scene.register(assoc, other);
    assert!(
        matches!(&errors[..], [ErrorCause::InconsistentPolicy(policy)] if policy.number == ROUND_ROBIN),
        "{errors:?}"
    );
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_transport_other_than_the_pools_is_refused_and_the_pools_is_told() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.8.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let mut other = element(2);
    other.user_transport = Transport::Udp("127.0.0.1:5".parse().unwrap());
    let errors = scene.register(assoc, other);
    assert!(
        matches!(&errors[..], [ErrorCause::InconsistentTransport(Transport::Tcp(_))]),
        "{errors:?}"
    );
}

#[test]
fn a_transport_use_other_than_the_pools_is_refused() {
    // RFC 5352 §3.1 rule 2, RFC 5354 §3.12.9.
    let sctp = |transport_use| {
        let addresses = core::net::IpAddr::from([127, 0, 0, 1]).into();
        Transport::Sctp(SctpTransport { port: 7, transport_use, addresses })
    };
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let user_transport = sctp(TransportUse::DataOnly);
    scene.register(assoc, PoolElement { user_transport, ..element(1) });
    let user_transport = sctp(TransportUse::DataPlusControl);
    let errors = scene.register(assoc, PoolElement { user_transport, ..element(2) });
    assert_eq!(errors, [ErrorCause::InconsistentDataControl]);
}

#[test]
fn a_registration_of_a_known_element_renews_it_with_the_new_values() {
    // RFC 5352 §3.1 rule 3.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let weighing = |weight| PolicyParameter::new(WEIGHTED_ROUND_ROBIN, &[weight]);
    scene.register(assoc, PoolElement { policy: weighing(1), ..element(1) });
    scene.register(assoc, PoolElement { policy: weighing(5), ..element(1) });
    let user = scene.asap();
    let elements = scene.resolve(user).elements;
    assert_eq!(elements.len(), 1);
    assert_eq!(elements[0].policy, weighing(5));
}

#[test]
fn the_registrar_makes_itself_home_and_notes_where_the_element_came_from() {
    // RFC 5352 §3.1 rule 4.
    let mut scene = Scene::new();
    let assoc = scene.connect(Channel::Asap, "tcp://127.0.0.9:40001");
    scene.register(assoc, element(1));
    let element = scene.registrar.handlespace().element(b"EchoPool", PeId(1)).unwrap().to_wire();
    assert_eq!(element.home, ServerId(7));
    let asap_transport = element.asap_transport.unwrap();
    assert_eq!(asap_transport.port, 40001);
    assert_eq!(asap_transport.addresses.as_slice(), [core::net::IpAddr::from([127, 0, 0, 9])]);
    assert_eq!(element.extensions.asap_over_tcp, Some("127.0.0.9:40001".parse().unwrap()));
}

#[test]
fn a_registration_life_is_in_milliseconds_from_strangers_and_in_seconds_from_our_own() {
    let mut scene = Scene::new();
    let (stranger, ours) = (scene.asap(), scene.asap());
    scene.register(stranger, PoolElement { life: 2000, ..element(1) });
    scene.send(ours, our_registration(PoolElement { life: 2000, ..element(2) }));
    scene.answers(ours);
    scene.live(Duration::from_millis(1900), &[stranger, ours]);
    assert_eq!(scene.resolved().len(), 2);
    scene.live(Duration::from_millis(200), &[stranger, ours]);
    assert_eq!(scene.resolved(), [2]);
}

#[test]
fn a_registration_life_of_minus_one_never_ends_and_other_negatives_are_refused() {
    // RFC 5354 §3.10.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    assert_eq!(scene.register(assoc, PoolElement { life: -1, ..element(1) }), []);
    for life in [0, -2, i32::MIN] {
        let errors = scene.register(assoc, PoolElement { life, ..element(2) });
        assert!(matches!(&errors[..], [ErrorCause::InvalidValues(_)]), "{errors:?}");
    }
    scene.live(Duration::from_secs(100), &[assoc]);
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn an_expired_element_is_gone_and_only_our_own_are_told() {
    // RFC 5352 §2.2.4.
    let mut scene = Scene::new();
    let (stranger, ours) = (scene.asap(), scene.asap());
    scene.register(stranger, PoolElement { life: 100, ..element(1) });
    scene.send(ours, our_registration(PoolElement { life: 1, ..element(2) }));
    scene.answers(ours);
    scene.wait(Duration::from_millis(100));
    assert_eq!(scene.answers(stranger), []);
    scene.wait(Duration::from_millis(900));
    let told = scene.answers(ours);
    let expected = Body::DeregistrationResponse { handle: pool(), id: PeId(2), errors: Vec::new() };
    assert!(told.contains(&expected), "{told:?}");
    assert_eq!(scene.resolved(), []);
}

#[test]
fn a_deregistered_element_is_gone_at_once() {
    // RFC 5352 §3.2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.send(assoc, deregistration(1));
    assert!(matches!(
        scene.answer(assoc),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
    assert_eq!(scene.resolved(), []);
    assert!(scene.events.contains(&Event::ElementRemoved {
        handle: pool(),
        id: PeId(1),
        reason: RemovalReason::Deregistered
    }));
}

#[test]
fn a_deregistration_of_an_unknown_element_is_granted() {
    // RFC 5352 §3.2.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.send(assoc, deregistration(1));
    assert!(matches!(
        scene.answer(assoc),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
}

#[test]
fn nobody_else_registers_or_deregisters_an_element_from_a_foreign_address() {
    let mut scene = Scene::new();
    let holder = scene.asap();
    scene.register(holder, element(1));
    let stranger = scene.connect(Channel::Asap, "tcp://127.0.0.2:1");
    assert_eq!(scene.register(stranger, element(1)), [ErrorCause::NonUniquePeId]);
    scene.send(stranger, deregistration(1));
    assert!(matches!(
        scene.answer(stranger),
        Body::DeregistrationResponse { errors, .. } if errors == [ErrorCause::SecurityConsiderations]
    ));
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_claim_from_a_registered_address_is_refused_while_the_holder_answers() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, registration(element(1)));
    assert_eq!(scene.answers(claimant), [], "the holder is asked first");
    assert!(matches!(scene.answer(holder), Body::EndpointKeepAlive { .. }));
    scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    assert!(matches!(
        scene.answer(claimant),
        Body::RegistrationResponse { rejected: true, errors, .. } if errors == [ErrorCause::NonUniquePeId]
    ));
}

#[test]
fn a_claim_from_a_registered_address_is_granted_when_the_holder_is_silent() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, registration(element(1)));
    scene.wait(second());
    assert!(matches!(
        scene.answers(claimant)[..],
        [Body::RegistrationResponse { rejected: false, .. }, ..]
    ));
    scene.input(Input::Closed { assoc: holder, reason: CloseReason::Lost });
    assert_eq!(scene.resolved(), [1], "the old association no longer speaks for it");
}

#[test]
fn a_claimant_that_repeats_itself_is_answered_as_often_as_it_asks() {
    for answers in [true, false] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        for _ in 0..3 {
            scene.send(claimant, registration(element(1)));
        }
        scene.send(claimant, deregistration(1));
        if answers {
            scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        } else {
            scene.wait(Duration::from_secs(1));
        }
        let got = scene.answers(claimant);
        assert_eq!(got.len(), 4, "{got:?}");
        for answer in &got[..3] {
            let granted = matches!(answer, Body::RegistrationResponse { rejected: false, .. });
            assert_eq!(granted, !answers, "{answer:?}");
        }
        assert!(matches!(got[3], Body::DeregistrationResponse { .. }));
        let left = usize::from(answers);
        assert_eq!(scene.registrar.handlespace().element_count(), left, "its last word counts");
    }
}

#[test]
fn a_claim_is_granted_when_the_holder_goes_before_it_answers() {
    // RFC 5352 §3.1: every registration is answered.
    for leaves in [false, true] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        scene.send(claimant, registration(element(1)));
        match leaves {
            true => scene.send(holder, deregistration(1)),
            false => scene.input(Input::Closed { assoc: holder, reason: CloseReason::Lost }),
        }
        assert!(matches!(
            scene.answers(claimant)[..],
            [Body::RegistrationResponse { rejected: false, .. }]
        ));
        assert_eq!(scene.resolved(), [1]);
    }
}

#[test]
fn a_claimant_that_has_gone_is_sent_nothing() {
    for answers in [false, true] {
        let mut scene = Scene::new();
        let (holder, claimant) = (scene.asap(), scene.asap());
        scene.register(holder, element(1));
        scene.send(claimant, registration(element(1)));
        scene.input(Input::Closed { assoc: claimant, reason: CloseReason::Lost });
        scene.answers(holder);
        if answers {
            let body = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) };
            scene.send(holder, body);
        } else {
            scene.send(holder, deregistration(1));
        }
        assert_eq!(scene.answers(claimant), []);
    }
}

#[test]
fn a_silent_holders_element_can_be_deregistered_from_its_address() {
    let mut scene = Scene::new();
    let (holder, claimant) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(claimant, deregistration(1));
    scene.wait(second());
    assert!(matches!(
        scene.answer(claimant),
        Body::DeregistrationResponse { errors, .. } if errors.is_empty()
    ));
    assert_eq!(scene.resolved(), []);
}

#[test]
fn a_lost_association_is_a_lost_element_at_once() {
    let mut scene = Scene::new();
    let (first, second) = (scene.asap(), scene.asap());
    scene.register(first, element(1));
    scene.register(second, element(2));
    scene.input(Input::Closed { assoc: first, reason: CloseReason::Lost });
    assert_eq!(scene.resolved(), [2]);
    // RFC 5352 §3.5: a send failure says the same.
    scene.input(Input::SendFailed { assoc: second });
    assert_eq!(scene.resolved(), []);
}

#[test]
fn an_element_that_does_not_answer_a_keep_alive_is_removed() {
    // RFC 5352 §3.5.
    let mut scene = Scene::new();
    let (living, silent) = (scene.asap(), scene.asap());
    scene.register(living, element(1));
    scene.register(silent, element(2));
    scene.live(Duration::from_millis(1100), &[living]);
    assert_eq!(scene.resolved(), [1]);
    assert!(scene.events.contains(&Event::ElementRemoved {
        handle: pool(),
        id: PeId(2),
        reason: RemovalReason::KeepAliveMissed
    }));
}

#[test]
fn an_element_with_a_second_path_has_the_time_that_sctp_takes_to_use_it() {
    // Its own timeouts, there and back, are longer than what is asked of this pool.
    let scene = || {
        let timers = RegistrarTimers::preset(Preset::Realtime);
        Scene::with(RegistrarConfig { timers, ..RegistrarConfig::default() })
    };
    let silent_for = |mut scene: Scene, remote: &str| {
        let holder = scene.connect(Channel::Asap, remote);
        assert_eq!(scene.register(holder, element(1)), []);
        (0..100)
            .take_while(|_| {
                scene.wait(Duration::from_millis(10));
                scene.resolved() == [1]
            })
            .count()
    };
    // Asked after 40 to 120 ms.
    assert!((4 + 12..=12 + 13).contains(&silent_for(scene(), "sctp://127.0.0.1:5000")));
    assert!((4 + 50..=12 + 51).contains(&silent_for(scene(), "sctp://127.0.0.1,127.0.0.2:5000")));
}

#[test]
fn only_the_association_that_holds_an_element_answers_for_it() {
    let mut scene = Scene::new();
    let (holder, other) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    for _ in 0..150 {
        scene.wait(Duration::from_millis(10));
        scene.send(other, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!(scene.resolved(), []);
}

#[test]
fn keep_alives_of_many_elements_are_spread_over_time() {
    // RFC 5352 §3.5: the interval varies by 50 percent.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..200 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    let mut busiest = 0;
    for _ in 0..60 {
        scene.wait(Duration::from_millis(10));
        let asked = scene.answers(assoc);
        busiest = busiest.max(asked.len());
        for body in asked {
            let Body::EndpointKeepAlive { home: false, server: ServerId(7), handle, id: Some(id) } =
                body
            else {
                panic!("not a keep-alive without the H flag: {body:?}");
            };
            scene.send(assoc, Body::EndpointKeepAliveAck { handle, id });
        }
    }
    assert!(busiest > 0 && busiest < 30, "{busiest} of 200 within 10 ms");
}

#[test]
fn more_elements_than_the_budget_allows_are_asked_less_often() {
    let mut config = RegistrarConfig::default();
    config.timers.keep_alive_budget = 10;
    let mut scene = Scene::with(config);
    let assoc = scene.asap();
    for id in 0..100 {
        scene.register(assoc, element(id));
    }
    let before = scene.registrar.counters().keep_alives;
    scene.live(Duration::from_secs(20), &[assoc]);
    let asked = scene.registrar.counters().keep_alives - before;
    assert!((150..=300).contains(&asked), "{asked} in 20 s at 10 a second");
    assert!(scene.events.iter().any(|event| matches!(event, Event::KeepAliveStretched { .. })));
}

#[test]
fn a_slow_element_is_given_four_of_its_round_trips() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    // It answers every time after 390 ms, later after 900 ms, and is never removed.
    for delay in [390, 390, 390, 900, 900] {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!(scene.resolved(), [1]);
}

/// Waits until an element is asked for a sign of life, and how long it then takes to be removed.
fn time_to_answer(scene: &mut Scene, assoc: AssociationId) -> Duration {
    wait_for_question(scene, assoc);
    let asked = scene.now;
    while scene.registrar.handlespace().element_count() > 0 {
        scene.wait(Duration::from_millis(5));
    }
    scene.now.saturating_since(asked)
}

fn wait_for_question(scene: &mut Scene, assoc: AssociationId) {
    while !scene.sent.iter().any(|(to, _, _)| *to == assoc) {
        scene.wait(Duration::from_millis(5));
    }
    scene.answers(assoc);
}

/// An element that has answered often, each time after `delay`.
fn known_to_take(delay: Duration) -> (Scene, AssociationId) {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for _ in 0..10 {
        // Renewed, and back if its first answers were too late, before it was known how slow it is.
        scene.register(assoc, element(1));
        wait_for_question(&mut scene, assoc);
        scene.wait(delay);
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    (scene, assoc)
}

#[test]
fn on_a_slow_link_a_question_and_its_answer_may_be_lost_twice() {
    // 600 ms there and back. SCTP sends again after a second: what was lost once comes after 1.6 s,
    // what was lost twice after 2.6 s. Two in a row do so, and the slow answers do not add up.
    let (mut scene, assoc) = known_to_take(Duration::from_millis(600));
    for delay in [2_600, 600, 1_600, 2_800, 2_800] {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        assert_eq!(scene.resolved(), [1], "answered after {delay} ms");
    }
}

#[test]
fn one_that_falls_silent_on_a_slow_link_is_found_within_four_seconds() {
    let longest_interval = Duration::from_millis(600);
    for delay in [300, 500, 600, 700] {
        let (mut scene, assoc) = known_to_take(Duration::from_millis(delay));
        // What was lost on the way does not count for its length.
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(delay + 1_000));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
        let found = longest_interval + time_to_answer(&mut scene, assoc);
        assert!(found < Duration::from_secs(4), "{found:?} with {delay} ms there and back");
    }
}

#[test]
fn a_late_answer_to_an_earlier_question_does_not_make_a_slow_element_a_quick_one() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let ack = || Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) };
    scene.register(assoc, element(1));
    wait_for_question(&mut scene, assoc);
    // Removed after 400 ms, it has registered again and been asked again when its answer comes.
    scene.wait(Duration::from_millis(400));
    assert_eq!(scene.resolved(), []);
    scene.register(assoc, element(1));
    wait_for_question(&mut scene, assoc);
    scene.wait(Duration::from_millis(5));
    scene.send(assoc, ack());
    for _ in 0..10 {
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(800));
        scene.send(assoc, ack());
        assert_eq!(scene.resolved(), [1]);
    }
}

#[test]
fn slow_elements_that_have_been_asked_are_not_silent_ones() {
    // When one falls silent others are just answering: that is not silence of many, for which it would
    // be asked once more.
    for silent_from in (1_500..1_700).step_by(20) {
        let took = time_until_the_first_is_removed(silent_from);
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

/// Of four elements that answer after 600 ms, if it does no more from this hundredth of a second on.
fn time_until_the_first_is_removed(silent_from: u32) -> Duration {
    let mut scene = Scene::new();
    let host = |id| format!("tcp://10.0.0.{id}:40000");
    let assocs: Vec<_> = (1..=4).map(|id| scene.connect(Channel::Asap, &host(id))).collect();
    let mut answers = VecDeque::new();
    for step in 0..silent_from + 600 {
        for (id, assoc) in (1..).zip(&assocs) {
            let known =
                scene.registrar.handlespace().element(pool().as_bytes(), PeId(id)).is_some();
            if !known && step > silent_from {
                return Duration::from_millis(10) * (step - silent_from);
            }
            let asked = scene.answers(*assoc).into_iter();
            let asked = asked.filter(|body| matches!(body, Body::EndpointKeepAlive { .. }));
            answers.extend(asked.map(|_| (scene.now + Duration::from_millis(600), *assoc, id)));
            if !known {
                scene.register(*assoc, element(id));
            }
        }
        while let Some((_, assoc, id)) = answers.pop_front_if(|(due, _, _)| *due <= scene.now) {
            if id != 1 || step < silent_from {
                let ack = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(id) };
                scene.send(assoc, ack);
            }
        }
        scene.wait(Duration::from_millis(10));
    }
    panic!("it is still there");
}

#[test]
fn on_a_quick_link_nobody_is_given_more_than_the_timeout() {
    for delay in [1, 50, 95] {
        let (mut scene, assoc) = known_to_take(Duration::from_millis(delay));
        assert_eq!(time_to_answer(&mut scene, assoc), Duration::from_millis(400));
    }
}

#[test]
fn an_element_that_does_not_say_how_far_it_is_is_as_far_as_its_answers_show() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let far = |id, distance| {
        let mut element = element(id);
        element.policy = PolicyParameter::new(PolicyNumber(0xb000_2002), &[5, 7, distance]);
        element
    };
    scene.register(assoc, far(1, 0));
    while !scene.sent.iter().any(|(to, _, _)| *to == assoc) {
        scene.wait(Duration::from_millis(5));
    }
    scene.answers(assoc);
    scene.wait(Duration::from_millis(40));
    scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    scene.register(assoc, far(1, 0));
    let words = |scene: &Scene| {
        let element = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1));
        element.unwrap().words().to_vec()
    };
    let [5, 7, distance] = words(&scene)[..] else { panic!("{:?}", words(&scene)) };
    assert!((40..=45).contains(&distance), "{distance} ms");
    scene.register(assoc, far(1, 3));
    assert_eq!(words(&scene), [5, 7, 3], "its own word counts");
}

#[test]
fn an_element_behind_a_link_slower_than_the_timeout_stays_once_it_has_come_back() {
    // Its first answer is late before a round trip can have been measured.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let mut registrations = 0;
    for _ in 0..10 {
        if scene.resolved().is_empty() {
            scene.register(assoc, element(1));
            registrations += 1;
        }
        wait_for_question(&mut scene, assoc);
        scene.wait(Duration::from_millis(600));
        scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    }
    assert_eq!((scene.resolved(), registrations), (Vec::from([1]), 2));
}

#[test]
fn what_a_holder_says_is_new_even_if_its_clock_was_set_back() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let stamped = |seq, load| {
        let mut element = element(1);
        element.policy = PolicyParameter::new(PolicyNumber(0x4000_0001), &[load]);
        element.extensions.stamp = Some(Stamp { seq, moves: 0 });
        element
    };
    assert_eq!(scene.register(assoc, stamped(1_000, 1)), []);
    assert_eq!(scene.register(assoc, stamped(5, 2)), []);
    let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
    assert_eq!((known.words(), known.stamp().unwrap().seq), (&[2][..], 1_001));
    let stamp = Some(Stamp { seq: 6, moves: 0 });
    scene.send(assoc, Body::Deregistration { handle: pool(), id: PeId(1), stamp });
    assert_eq!(scene.registrar.handlespace().element_count(), 0);
}

#[test]
fn a_stranger_is_shown_no_capabilities() {
    for shown in [None, Some(Capabilities(0))] {
        let mut scene = Scene::new();
        let assoc = scene.asap();
        let element = Box::new(element(1));
        let (handle, stamp) = (pool(), None);
        scene.send(assoc, Body::Registration { handle, element, capabilities: shown, stamp });
        let Body::RegistrationResponse { capabilities, .. } = scene.answer(assoc) else { panic!() };
        assert_eq!(capabilities, shown);
    }
}

#[test]
fn a_stamp_in_a_registration_counts_if_it_is_newer_than_what_is_known() {
    let mut scene = Scene::new();
    for (seq, counts) in [(1_000, 1_000), (2_000, 2_000), (5, 2_001)] {
        let assoc = scene.asap();
        let stamp = Some(Stamp { seq, moves: 0 });
        let element = Box::new(element(1));
        let capabilities = Some(Capabilities(0));
        scene.send(assoc, Body::Registration { handle: pool(), element, capabilities, stamp });
        let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
        assert_eq!(known.stamp().unwrap().seq, counts);
        // It leaves without a word, and comes back.
        scene.input(Input::Closed { assoc, reason: CloseReason::Lost });
    }
}

#[test]
fn a_report_makes_the_registrar_ask_at_once_and_an_answer_keeps_the_element() {
    // RFC 5352 §3.5.
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(user, report(1));
    scene.send(user, report(1));
    assert!(
        matches!(scene.answer(holder), Body::EndpointKeepAlive { home: false, .. }),
        "asked at once, and once"
    );
    scene.send(holder, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_reported_element_that_does_not_answer_is_removed_within_the_timeout() {
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    scene.send(user, report(1));
    scene.wait(Duration::from_millis(400));
    assert_eq!(scene.resolved(), []);
}

#[test]
fn three_reporters_rank_an_element_last_until_it_has_answered_twice() {
    let mut scene = Scene::new();
    let holder = scene.asap();
    scene.register(holder, element(1));
    scene.register(holder, element(2));
    for _ in 0..3 {
        let user = scene.asap();
        scene.send(user, report(1));
    }
    assert!(scene.events.contains(&Event::ElementSuspected { handle: pool(), id: PeId(1) }));
    for _ in 0..4 {
        assert_eq!(scene.resolved(), [2, 1], "still returned, but last");
    }
    scene.live(Duration::from_secs(2), &[holder]);
    assert!(scene.events.contains(&Event::ElementCleared { handle: pool(), id: PeId(1) }));
    let answers = [scene.resolved(), scene.resolved()];
    assert!(answers.contains(&Vec::from([1, 2])), "{answers:?}");
}

#[test]
fn one_user_that_reports_without_end_ranks_nobody_last_and_is_not_heard() {
    let mut scene = Scene::new();
    let (holder, user) = (scene.asap(), scene.asap());
    scene.register(holder, element(1));
    for _ in 0..100 {
        scene.send(user, report(1));
    }
    let ignored = scene
        .events
        .iter()
        .filter(|event| matches!(event, Event::Ignored { reason: Ignored::TooManyReports, .. }))
        .count();
    assert_eq!(ignored, 90);
    assert!(!scene.events.iter().any(|event| matches!(event, Event::ElementSuspected { .. })));
}

#[test]
fn a_pool_that_is_not_known_is_an_error_of_its_own() {
    // RFC 5352 §3.3.
    let mut scene = Scene::new();
    let user = scene.asap();
    let response = scene.resolve(user);
    assert_eq!(response.errors, [ErrorCause::UnknownPoolHandle]);
    assert!(response.elements.is_empty() && response.policy.is_none());
}

#[test]
fn a_pool_in_which_nobody_can_serve_is_another() {
    // RFC 5356 §3.2: weight 0 is no service.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    let policy = PolicyParameter::new(WEIGHTED_ROUND_ROBIN, &[0]);
    scene.register(assoc, PoolElement { policy, ..element(1) });
    let response = scene.resolve(assoc);
    assert_eq!(response.errors, [ErrorCause::LackOfResources]);
}

#[test]
fn an_answer_holds_as_many_elements_as_asked_for_and_no_more_than_allowed() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..200 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    for (items, expected) in
        [(Some(1), 1), (Some(0), 1), (Some(10), 10), (None, 128), (Some(u32::MAX), 128)]
    {
        scene.send(assoc, resolution(items));
        let Body::HandleResolutionResponse(response) = scene.answer(assoc) else {
            panic!("not an answer");
        };
        assert_eq!(response.elements.len(), expected, "{items:?}");
        assert_eq!(response.total, None, "strangers are not told");
        assert_eq!(response.policy.map(|policy| policy.number), Some(ROUND_ROBIN));
    }
}

#[test]
fn our_own_users_are_told_how_many_elements_there_are() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..5 {
        scene.register(assoc, element(id));
    }
    let capabilities = Some(Capabilities(0));
    let body =
        Body::HandleResolution { subscribe: false, handle: pool(), items: Some(2), capabilities };
    scene.send(assoc, body);
    let Body::HandleResolutionResponse(response) = scene.answer(assoc) else {
        panic!("not an answer");
    };
    assert_eq!((response.elements.len(), response.total), (2, Some(5)));
    assert!(response.capabilities.is_some());
}

#[test]
fn an_idle_association_is_closed_unless_it_owns_an_element() {
    let mut scene = Scene::new();
    let (owner, idle) = (scene.asap(), scene.asap());
    scene.register(owner, PoolElement { life: -1, ..element(1) });
    scene.live(Duration::from_secs(121), &[owner]);
    assert_eq!(scene.closed, [idle]);
}

#[test]
fn no_more_associations_are_held_than_the_limit() {
    let mut config = RegistrarConfig::default();
    config.limits.associations = 2;
    let mut scene = Scene::with(config);
    scene.asap();
    scene.asap();
    let third = scene.asap();
    assert_eq!(scene.closed, [third]);
}

#[test]
fn what_is_not_a_message_changes_nothing_and_closes_nothing() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    for bytes in [&[][..], &[1], &[1, 0, 0, 4], &[1, 0, 0, 9, 0], &[0xff; 64]] {
        scene.input(Input::Received { assoc, ppid: PPID_ASAP, bytes });
    }
    scene.input(Input::Received { assoc, ppid: 99, bytes: &[1, 0, 0, 4] });
    assert_eq!(scene.resolved(), [1]);
    assert_eq!(scene.closed.len(), 0);
    assert_eq!(
        scene.events.iter().filter(|event| matches!(event, Event::Ignored { .. })).count(),
        6
    );
}

#[test]
fn a_registrar_that_was_suspended_asks_before_it_removes() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.send(assoc, our_registration(PoolElement { life: 10, ..element(1) }));
    scene.answers(assoc);
    scene.now = scene.now + Duration::from_secs(20);
    scene.input(Input::Timeout);
    assert!(scene.events.iter().any(|event| matches!(event, Event::Resumed { .. })));
    assert!(matches!(scene.answer(assoc), Body::EndpointKeepAlive { .. }));
    scene.send(assoc, our_registration(PoolElement { life: 10, ..element(1) }));
    scene.send(assoc, Body::EndpointKeepAliveAck { handle: pool(), id: PeId(1) });
    scene.answers(assoc);
    scene.live(Duration::from_secs(2), &[assoc]);
    assert_eq!(scene.resolved(), [1]);
}

#[test]
fn a_draining_registrar_sends_everybody_elsewhere() {
    let mut scene = Scene::new();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.registrar.drain(scene.now);
    scene.wait(Duration::ZERO);
    let late = scene.asap();
    assert_eq!(scene.closed, [assoc, late]);
}

#[test]
fn a_reader_gets_the_whole_table_in_pieces() {
    // RFC 5353 §3.2.3.
    let mut scene = Scene::new();
    let assoc = scene.asap();
    for id in 0..1500 {
        scene.register(assoc, element(id));
    }
    scene.answers(assoc);
    let reader = scene.connect(Channel::Enrp, "tcp://127.0.0.1:5");
    let mut read = Vec::new();
    let mut pieces = 0;
    loop {
        pieces += 1;
        let (more, entries) = read_table(&mut scene, reader);
        read.extend(
            entries.into_iter().flat_map(|entry| entry.elements).map(|element| element.id.0),
        );
        if !more {
            break;
        }
    }
    assert!(pieces > 1);
    assert_eq!(read, (0..1500).collect::<Vec<_>>());
}

#[test]
fn the_table_is_not_for_readers_on_other_hosts() {
    let mut scene = Scene::new();
    let reader = scene.connect(Channel::Enrp, "tcp://192.0.2.1:5");
    let request = table_request();
    scene.input(Input::Received { assoc: reader, ppid: PPID_ENRP, bytes: &request });
    let (_, _, bytes) = scene.sent.pop_front().unwrap();
    let body = enrp::Message::decode(&bytes).unwrap().message.body;
    assert!(matches!(body, enrp::Body::HandleTableResponse { rejected: true, .. }));
}

fn table_request() -> Vec<u8> {
    let capabilities = Some(Capabilities(0));
    let body = enrp::Body::HandleTableRequest { own_only: true, capabilities };
    let (sender, receiver) = (ServerId::NONE, ServerId::NONE);
    let mut bytes = Vec::new();
    enrp::Message { sender, receiver, body, unknown: [].into() }.encode(&mut bytes).unwrap();
    bytes
}

fn read_table(scene: &mut Scene, reader: AssociationId) -> (bool, Vec<enrp::PoolEntry>) {
    let request = table_request();
    scene.input(Input::Received { assoc: reader, ppid: PPID_ENRP, bytes: &request });
    let (to, _, bytes) = scene.sent.pop_front().unwrap();
    assert_eq!(to, reader);
    match enrp::Message::decode(&bytes).unwrap().message.body {
        enrp::Body::HandleTableResponse { more, rejected: false, entries } => (more, entries),
        other => panic!("not a table: {other:?}"),
    }
}

/// Something that happens to a registrar, drawn at random.
#[derive(Clone, Debug)]
enum Happening {
    Connect,
    Close(u64),
    Register { assoc: u64, id: u32, life: i32, policy: u32 },
    Deregister { assoc: u64, id: u32 },
    Resolve { assoc: u64, items: Option<u32> },
    Answer { assoc: u64, id: u32 },
    Report { assoc: u64, id: u32 },
    Bytes { assoc: u64, bytes: Vec<u8> },
    Pass(u64),
    Late(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let (assoc, id) = (1..6_u64, 0..4_u32);
    prop_oneof![
        2 => Just(Happening::Connect),
        1 => assoc.clone().prop_map(Happening::Close),
        6 => (assoc.clone(), id.clone(), prop_oneof![Just(-1), Just(0), 1..3000_i32], 0..3_u32)
            .prop_map(|(assoc, id, life, policy)| Happening::Register { assoc, id, life, policy }),
        2 => (assoc.clone(), id.clone()).prop_map(|(assoc, id)| Happening::Deregister { assoc, id }),
        3 => (assoc.clone(), proptest::option::of(any::<u32>()))
            .prop_map(|(assoc, items)| Happening::Resolve { assoc, items }),
        4 => (assoc.clone(), id.clone()).prop_map(|(assoc, id)| Happening::Answer { assoc, id }),
        3 => (assoc.clone(), id).prop_map(|(assoc, id)| Happening::Report { assoc, id }),
        1 => (assoc, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(assoc, bytes)| Happening::Bytes { assoc, bytes }),
        6 => (0..600_u64).prop_map(Happening::Pass),
        1 => (0..5000_u64).prop_map(Happening::Late),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens, nothing panics, no answer is owed, time moves on, an element is listed only
    /// while its association is there, and the handlespace is consistent (`Scene::drain` checks it).
    #[test]
    fn nothing_that_happens_to_a_registrar_breaks_it(
        happenings in proptest::collection::vec(happening(), 1..80)
    ) {
        let mut scene = Scene::new();
        let mut open = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Connect => open.push(scene.asap()),
                Happening::Close(assoc) => {
                    open.retain(|known| *known != AssociationId(assoc));
                    let reason = CloseReason::Lost;
                    scene.input(Input::Closed { assoc: AssociationId(assoc), reason });
                }
                Happening::Register { assoc, id, life, policy } => {
                    let policy = PolicyParameter::new(PolicyNumber(policy), &[1][..policy as usize / 2]);
                    let element = PoolElement { life, policy, ..element(id) };
                    scene.send(AssociationId(assoc), registration(element));
                }
                Happening::Deregister { assoc, id } => {
                    scene.send(AssociationId(assoc), deregistration(id));
                }
                Happening::Resolve { assoc, items } => {
                    scene.sent.clear();
                    scene.send(AssociationId(assoc), resolution(items));
                    if open.contains(&AssociationId(assoc)) {
                        scene.answer(AssociationId(assoc));
                    }
                }
                Happening::Answer { assoc, id } => {
                    let body = Body::EndpointKeepAliveAck { handle: pool(), id: PeId(id) };
                    scene.send(AssociationId(assoc), body);
                }
                Happening::Report { assoc, id } => scene.send(AssociationId(assoc), report(id)),
                Happening::Bytes { assoc, bytes } => {
                    let assoc = AssociationId(assoc);
                    scene.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
                }
                Happening::Pass(ms) => scene.wait(Duration::from_millis(ms)),
                Happening::Late(ms) => {
                    scene.now = scene.now + Duration::from_millis(ms);
                    scene.input(Input::Timeout);
                }
            }
        }
        for assoc in open {
            scene.input(Input::Closed { assoc, reason: CloseReason::Finished });
        }
        prop_assert_eq!(scene.registrar.handlespace().element_count(), 0);
    }
}

fn announcement(server: u32) -> Vec<u8> {
    let body = Body::ServerAnnounce { server: ServerId(server), transports: Vec::new() };
    let mut bytes = Vec::new();
    Message::from(body).encode(&mut bytes).unwrap();
    bytes
}

/// Times between the announcements of a registrar that hears `others` once a second.
fn pauses(others: core::ops::Range<u32>) -> Vec<u128> {
    let transport = Transport::Tcp("10.0.0.1:3863".parse().unwrap());
    let announced = Some(Vec::from([transport.clone()]));
    let mut scene =
        Scene::with(RegistrarConfig { id: ServerId(7), announced, ..RegistrarConfig::default() });
    for _ in 0..40 {
        for other in others.clone() {
            let (channel, from) = (Channel::Asap, "10.0.0.2:3863".parse().unwrap());
            scene.input(Input::Datagram { channel, from, bytes: &announcement(other) });
        }
        scene.wait(second());
    }
    let body = Message::decode(&scene.announced[0].1).unwrap().message.body;
    let transports = Vec::from([transport]);
    assert_eq!(body, Body::ServerAnnounce { server: ServerId(7), transports });
    let times = scene.announced.iter().map(|(at, _)| *at);
    let later = times.clone().skip(1);
    times.zip(later).map(|(one, other)| other.saturating_since(one).as_millis()).collect()
}

#[test]
fn a_registrar_announces_itself_every_t6_for_each_registrar_that_does() {
    // RFC 5352 §3.6: every (N+1) x T6.
    let alone = pauses(0..0);
    assert!(alone.iter().all(|pause| (870..=1_130).contains(pause)), "{alone:?}");
    assert_ne!(alone[0], alone[1]);
    // The first was sent before anybody was heard, and our own does not count.
    let beside_two = &pauses(6..9)[1..];
    assert!(beside_two.iter().all(|pause| (2_600..=3_400).contains(pause)), "{beside_two:?}");
}

#[test]
fn made_up_announcements_do_not_silence_a_registrar() {
    // RFC 5352 §9.2: whoever listens forgets after T7, which is 5 s.
    let pauses = pauses(100..2_000);
    assert!(pauses.iter().all(|pause| *pause < 5_000), "{pauses:?}");
}

#[test]
fn each_transport_is_announced_in_a_message_of_its_own() {
    // RFC 5352 §2.2.10 lets one message have them all; rsplib takes one of SCTP and nothing else.
    let address: core::net::SocketAddr = "10.0.0.1:3863".parse().unwrap();
    let all = [Transport::Sctp(SctpTransport::new(address)), Transport::Tcp(address)];
    let announced = Some(Vec::from(all.clone()));
    let mut scene = Scene::with(RegistrarConfig { announced, ..RegistrarConfig::default() });
    scene.wait(Duration::from_millis(1));
    let bodies =
        scene.announced.iter().map(|(_, bytes)| Message::decode(bytes).unwrap().message.body);
    let each = bodies.map(|body| match body {
        Body::ServerAnnounce { transports, .. } => transports,
        other => panic!("{other:?}"),
    });
    assert_eq!(each.collect::<Vec<_>>(), all.map(|transport| Vec::from([transport])));
}

#[test]
fn a_registrar_announces_nothing_unless_it_is_told_where_it_is() {
    let mut scene = Scene::new();
    scene.wait(Duration::from_secs(10));
    assert!(scene.announced.is_empty());
}
