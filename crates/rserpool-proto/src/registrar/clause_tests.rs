//! Single clauses of RFC 5352 and RFC 5353, seen on the wire of one registrar whose peers and
//! elements are played here, message by message.

use super::{Registrar, RegistrarConfig};
use crate::id::{AssociationId, PeId, PoolHandle, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::wire::capability::Capabilities;
use crate::wire::enrp::{self, Body};
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::{PolicyNumber, PolicyParameter};
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::server_information::ServerInformation;
use crate::wire::transport::{SctpTransport, Transport};
use crate::wire::{PPID_ASAP, PPID_ENRP, asap};
use alloc::boxed::Box;
use alloc::vec::Vec;

const OURS: ServerId = ServerId(7);

/// One registrar, and everything it has said.
struct Play {
    registrar: Registrar,
    now: Instant,
    names: u64,
    dialled: Vec<(AttemptId, Locator)>,
    said: Vec<(AssociationId, Vec<u8>)>,
}

impl Play {
    fn new(config: RegistrarConfig) -> Self {
        let now = Instant::from_micros(1_000_000);
        let registrar = Registrar::new(config, [1; 32], now);
        let (dialled, said) = (Vec::new(), Vec::new());
        let mut play = Self { registrar, now, names: 0, dialled, said };
        play.drain();
        play
    }

    fn alone() -> Self {
        Self::new(RegistrarConfig { id: OURS, ..RegistrarConfig::default() })
    }

    fn with_peers(peers: &[&str]) -> Self {
        let peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        Self::new(RegistrarConfig { id: OURS, peers, ..RegistrarConfig::default() })
    }

    fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Transmit { assoc, bytes, .. } => self.said.push((assoc, bytes)),
                Output::Connect { attempt, to, .. } => self.dialled.push((attempt, to)),
                _ => {}
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        self.drain();
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    fn connected(&mut self, channel: Channel, attempt: Option<AttemptId>) -> AssociationId {
        self.names += 1;
        let assoc = AssociationId(self.names);
        self.input(Input::Connected {
            assoc,
            attempt,
            channel,
            local: "tcp://127.0.0.1:9901".parse().unwrap(),
            remote: "tcp://127.0.0.1:40000".parse().unwrap(),
            identity: Identity::Anonymous,
        });
        assoc
    }

    /// A registrar that dials ours and says who it is.
    fn peer(&mut self, id: u32) -> AssociationId {
        let assoc = self.connected(Channel::Enrp, None);
        self.enrp(assoc, id, presence());
        self.said.clear();
        assoc
    }

    /// The association of the attempt that was made first.
    fn answer_dial(&mut self) -> AssociationId {
        let (attempt, _) = self.dialled.remove(0);
        self.connected(Channel::Enrp, Some(attempt))
    }

    fn enrp(&mut self, assoc: AssociationId, sender: u32, body: Body) {
        let mut bytes = Vec::new();
        enrp::Message::new(ServerId(sender), OURS, body).encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    }

    fn asap(&mut self, assoc: AssociationId, body: asap::Body) {
        let mut bytes = Vec::new();
        asap::Message::from(body).encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ASAP, bytes: &bytes });
    }

    fn register(&mut self, assoc: AssociationId, policy: PolicyParameter) {
        let element = Box::new(PoolElement {
            id: PeId(1),
            home: ServerId::NONE,
            life: 600_000,
            user_transport: Transport::Tcp("127.0.0.1:80".parse().unwrap()),
            policy,
            asap_transport: None,
            extensions: ElementExtensions::default(),
        });
        self.asap(
            assoc,
            asap::Body::Registration { handle: pool(), element, capabilities: None, stamp: None },
        );
    }

    /// What was said on an ENRP association since the last time.
    fn heard(&mut self, assoc: AssociationId) -> Vec<enrp::Message> {
        let said = core::mem::take(&mut self.said).into_iter();
        let (heard, rest): (Vec<_>, Vec<_>) = said.partition(|(to, _)| *to == assoc);
        self.said = rest;
        heard.iter().map(|(_, bytes)| enrp::Message::decode(bytes).unwrap().message).collect()
    }

    fn heard_asap(&mut self, assoc: AssociationId) -> Vec<asap::Body> {
        let said = core::mem::take(&mut self.said).into_iter();
        let (heard, rest): (Vec<_>, Vec<_>) = said.partition(|(to, _)| *to == assoc);
        self.said = rest;
        heard.iter().map(|(_, bytes)| asap::Message::decode(bytes).unwrap().message.body).collect()
    }
}

fn pool() -> PoolHandle {
    PoolHandle::new("EchoPool").unwrap()
}

fn round_robin() -> PolicyParameter {
    PolicyParameter::new(PolicyNumber(1), &[])
}

fn presence() -> Body {
    let capabilities = Some(Capabilities(0));
    Body::Presence {
        reply_required: false,
        checksum: Some(0xffff),
        server: None,
        digest: None,
        capabilities,
    }
}

fn is_presence(body: &Body, wants_reply: bool) -> bool {
    matches!(body, Body::Presence { reply_required, .. } if *reply_required == wants_reply)
}

#[test]
fn a_registrar_draws_an_identifier_that_is_not_zero_and_keeps_it() {
    // RFC 5353 §2.1, §3.2.1.
    let mut drawn = Vec::new();
    for seed in 0..20 {
        let config = RegistrarConfig::default();
        let mut registrar = Registrar::new(config, [seed; 32], Instant::ZERO);
        let id = registrar.id();
        assert!(!id.is_none());
        registrar.handle_input(Instant::from_micros(60_000_000), Input::Timeout);
        assert_eq!(registrar.id(), id);
        drawn.push(id);
    }
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 20);
}

#[test]
fn a_registrar_without_peers_serves_at_once() {
    // RFC 5353 §3.2.2.1: alone in the scope, it skips list and table.
    let mut play = Play::alone();
    assert!(play.registrar.is_serving());
    assert!(play.dialled.is_empty() && play.said.is_empty());
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    assert!(matches!(
        play.heard_asap(element)[..],
        [asap::Body::RegistrationResponse { rejected: false, .. }]
    ));
}

#[test]
fn an_answer_names_the_pools_policy_whichever_it_is() {
    // RFC 5352 §3.3 asks for it unless it is round robin.
    for policy in [round_robin(), PolicyParameter::new(PolicyNumber(0x4000_0001), &[5])] {
        let mut play = Play::alone();
        let assoc = play.connected(Channel::Asap, None);
        play.register(assoc, policy.clone());
        play.said.clear();
        let (handle, items, capabilities) = (pool(), None, None);
        let body = asap::Body::HandleResolution { subscribe: false, handle, items, capabilities };
        play.asap(assoc, body);
        let [asap::Body::HandleResolutionResponse(response)] = &play.heard_asap(assoc)[..] else {
            panic!("one answer to one question");
        };
        assert_eq!(response.policy.as_ref().map(|overall| overall.number), Some(policy.number));
    }
}

#[test]
fn a_registrar_answers_what_the_rules_for_unknown_types_ask() {
    // RFC 5352 §2.2.14, RFC 5353 §3.7, RFC 5354 §3 and §4: types that begin with 01 are reported.
    let mut play = Play::alone();
    let user = play.connected(Channel::Asap, None);
    let unknown = [0x7f, 0, 0, 4];
    play.input(Input::Received { assoc: user, ppid: PPID_ASAP, bytes: &unknown });
    let errors = Vec::from([ErrorCause::UnrecognizedMessage(unknown.into())]);
    assert_eq!(play.heard_asap(user), [asap::Body::Error { errors: errors.clone() }]);
    play.input(Input::Received { assoc: user, ppid: PPID_ASAP, bytes: &[0x3f, 0, 0, 4] });
    assert_eq!(play.heard_asap(user), [], "00: discard");

    let peer = play.peer(9);
    play.input(Input::Received { assoc: peer, ppid: PPID_ENRP, bytes: &unknown });
    let answers: Vec<_> = play.heard(peer).into_iter().map(|message| message.body).collect();
    assert_eq!(answers, [Body::Error { errors }]);
    play.input(Input::Received { assoc: peer, ppid: PPID_ENRP, bytes: &[0x3f, 0, 0, 4] });
    assert_eq!(play.heard(peer).len(), 0);
}

#[test]
fn a_registrar_that_speaks_first_becomes_a_peer_and_is_asked_who_it_is() {
    // RFC 5353 §3.4.1.
    let mut play = Play::alone();
    let assoc = play.connected(Channel::Enrp, None);
    assert_eq!(play.heard(assoc).len(), 0, "it may only want to read the table");
    play.enrp(assoc, 9, Body::ListRequest);
    let heard = play.heard(assoc);
    assert!(heard.iter().any(|message| is_presence(&message.body, true)), "{heard:?}");
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    assert!(matches!(
        play.heard(assoc)[..],
        [enrp::Message { body: Body::HandleUpdate { .. }, .. }]
    ));
}

#[test]
fn presences_are_sent_every_heartbeat_and_want_no_reply() {
    // RFC 5353 §3.4.2.
    let mut play = Play::alone();
    let peer = play.peer(9);
    for _ in 0..8 {
        play.pass(Duration::from_millis(250));
        play.enrp(peer, 9, presence());
    }
    let heard = play.heard(peer);
    assert!((8..=9).contains(&heard.len()), "{}", heard.len());
    assert!(heard.iter().all(|message| is_presence(&message.body, false)), "{heard:?}");
}

#[test]
fn a_presence_has_the_checksum_and_the_server_in_it() {
    // RFC 5353 §2.1, §3.6.1 step 2: in reply the server information is a must.
    let mut play = Play::alone();
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    let peer = play.peer(9);
    let Body::Presence { checksum, server, digest, capabilities, .. } = presence() else { return };
    let asks = Body::Presence { reply_required: true, checksum, server, digest, capabilities };
    play.enrp(peer, 9, asks);
    let heard = play.heard(peer);
    let reply = heard.iter().find(|message| is_presence(&message.body, false));
    let Some(Body::Presence { checksum, server: Some(server), .. }) =
        reply.map(|message| &message.body)
    else {
        panic!("a reply with the server in it: {heard:?}");
    };
    assert_eq!(*checksum, Some(play.registrar.handlespace().checksum(OURS)));
    assert_eq!(server.id, OURS);
    assert!(play.registrar.handlespace().checksum(OURS) != 0xffff, "that of no element at all");
}

#[test]
fn what_is_for_all_names_no_receiver() {
    // RFC 5353 §2.1, §3.3.1, §3.3.2: sending id filled in, receiving id 0.
    let mut play = Play::alone();
    let (first, second) = (play.peer(8), play.peer(9));
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    play.asap(element, asap::Body::Deregistration { handle: pool(), id: PeId(1), stamp: None });
    play.pass(Duration::from_millis(250));
    for peer in [first, second] {
        let heard = play.heard(peer);
        assert!(heard.len() >= 3, "added, deleted, alive: {heard:?}");
        for message in heard {
            assert_eq!((message.sender, message.receiver), (OURS, ServerId::NONE));
        }
    }
}

#[test]
fn a_refused_deregistration_is_told_to_nobody_else() {
    // RFC 5352 §3.2.
    let mut play = Play::alone();
    let peer = play.peer(9);
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    play.heard(peer);
    foreign(&mut play);
    assert_eq!(play.heard(peer).len(), 0);
    assert_eq!(play.registrar.handlespace().element_count(), 1);
}

/// Somebody on another host wants to deregister the element.
fn foreign(play: &mut Play) {
    play.names += 1;
    let assoc = AssociationId(play.names);
    play.input(Input::Connected {
        assoc,
        attempt: None,
        channel: Channel::Asap,
        local: "tcp://127.0.0.1:3863".parse().unwrap(),
        remote: "tcp://192.0.2.7:40000".parse().unwrap(),
        identity: Identity::Anonymous,
    });
    play.asap(assoc, asap::Body::Deregistration { handle: pool(), id: PeId(1), stamp: None });
    let errors = Vec::from([ErrorCause::SecurityConsiderations]);
    let refused = asap::Body::DeregistrationResponse { handle: pool(), id: PeId(1), errors };
    assert_eq!(play.heard_asap(assoc), [refused]);
}

#[test]
fn a_registrar_that_is_starting_gives_neither_list_nor_table() {
    // RFC 5353 §3.2.2.2, §3.2.3: R set, and nothing in it; nor does it serve anybody.
    let mut play = Play::with_peers(&["tcp://127.0.0.1:9999"]);
    let asker = play.connected(Channel::Enrp, None);
    play.enrp(asker, 9, Body::ListRequest);
    play.enrp(asker, 9, Body::HandleTableRequest { own_only: false, capabilities: None });
    let bodies: Vec<_> = play.heard(asker).into_iter().map(|message| message.body).collect();
    let (list, table) = (
        Body::ListResponse { rejected: true, servers: Vec::new() },
        Body::HandleTableResponse { more: false, rejected: true, entries: Vec::new() },
    );
    assert!(bodies.contains(&list) && bodies.contains(&table), "{bodies:?}");
    let element = play.connected(Channel::Asap, None);
    play.register(element, round_robin());
    assert_eq!(play.registrar.handlespace().element_count(), 0);
}

#[test]
fn a_list_names_the_others_that_whoever_asks_can_reach() {
    // RFC 5353 §3.2.2.2, and TCP is of no use to peers that do not speak as ours do.
    let mut play = Play::alone();
    let tcp = Transport::Tcp("10.0.0.8:9901".parse().unwrap());
    let sctp = Transport::Sctp(SctpTransport::new("10.0.0.9:9901".parse().unwrap()));
    let mut peers = Vec::new();
    for (id, transport) in [(8, tcp), (9, sctp)] {
        let assoc = play.connected(Channel::Enrp, None);
        let server = ServerInformation { id: ServerId(id), transport, unknown: [].into() };
        let Body::Presence { reply_required, checksum, digest, capabilities, .. } = presence()
        else {
            unreachable!()
        };
        let server = Some(server);
        let body = Body::Presence { reply_required, checksum, server, digest, capabilities };
        play.enrp(assoc, id, body);
        peers.push(assoc);
    }
    let stranger = play.connected(Channel::Enrp, None);
    let mut listed = |assoc, id| {
        play.said.clear();
        play.enrp(assoc, id, Body::ListRequest);
        play.heard(assoc).into_iter().find_map(|message| match message.body {
            Body::ListResponse { servers, .. } => {
                Some(servers.iter().map(|server| server.id.0).collect::<Vec<_>>())
            }
            _ => None,
        })
    };
    assert_eq!(listed(peers[0], 8), Some(Vec::from([9])));
    assert_eq!(listed(peers[1], 9), Some(Vec::from([8])));
    assert_eq!(listed(stranger, 6), Some(Vec::from([9])));
}

#[test]
fn a_registrar_whose_mentor_refuses_asks_the_next() {
    // RFC 5353 §3.2.2.2, §3.2.3: list and table.
    for at_table in [false, true] {
        let mut play = Play::with_peers(&["tcp://127.0.0.1:9998", "tcp://127.0.0.1:9999"]);
        let (first, second) = (play.answer_dial(), play.answer_dial());
        play.enrp(first, 8, presence());
        play.enrp(second, 9, presence());
        assert!(asked_for_list(&mut play, first) && !asked_for_list(&mut play, second));
        if at_table {
            play.enrp(first, 8, Body::ListResponse { rejected: false, servers: Vec::new() });
            assert!(asked_for_table(&mut play, first));
            let (more, entries) = (false, Vec::new());
            play.enrp(first, 8, Body::HandleTableResponse { more, rejected: true, entries });
        } else {
            play.enrp(first, 8, Body::ListResponse { rejected: true, servers: Vec::new() });
        }
        assert!(asked_for_list(&mut play, second));
        assert!(!play.registrar.is_serving());
    }
}

#[test]
fn a_mentor_that_says_nothing_is_followed_by_the_next() {
    // RFC 5353 §3.2.2.2, §3.2.3: MAX-TIME-NO-RESPONSE, for the list and for the table.
    for at_table in [false, true] {
        let mut play = Play::with_peers(&["tcp://127.0.0.1:9998", "tcp://127.0.0.1:9999"]);
        let (first, second) = (play.answer_dial(), play.answer_dial());
        play.enrp(first, 8, presence());
        play.enrp(second, 9, presence());
        assert!(asked_for_list(&mut play, first));
        if at_table {
            play.enrp(first, 8, Body::ListResponse { rejected: false, servers: Vec::new() });
        }
        play.heard(second);
        play.pass(Duration::from_millis(399));
        assert!(!asked_for_list(&mut play, second));
        play.pass(Duration::from_millis(2));
        assert!(asked_for_list(&mut play, second));
        // And it comes into service by the second.
        play.enrp(second, 9, Body::ListResponse { rejected: false, servers: Vec::new() });
        let (more, rejected, entries) = (false, false, Vec::new());
        play.enrp(second, 9, Body::HandleTableResponse { more, rejected, entries });
        assert!(play.registrar.is_serving());
        play.input(Input::Closed { assoc: first, reason: CloseReason::Lost });
    }
}

fn asked_for_list(play: &mut Play, of: AssociationId) -> bool {
    play.heard(of).iter().any(|message| message.body == Body::ListRequest)
}

fn asked_for_table(play: &mut Play, of: AssociationId) -> bool {
    play.heard(of)
        .iter()
        .any(|message| matches!(message.body, Body::HandleTableRequest { own_only: false, .. }))
}
