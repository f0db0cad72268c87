//! Registrars that find each other by multicast, one sentence per test.

use super::discover::MAX_STRANGERS;
use super::peer_tests::{World, millis};
use super::{Event, Registrar, RegistrarConfig};
use crate::id::{AssociationId, ServerId};
use crate::machine::{AttemptId, Channel, CloseReason, Identity, Input, Locator, Machine, Output};
use crate::time::{Duration, Instant};
use crate::wire::PPID_ENRP;
use crate::wire::enrp::{Body, Message};
use crate::wire::server_information::ServerInformation;
use crate::wire::transport::Transport;
use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;

#[test]
fn registrars_find_each_other_and_a_mentor_by_multicast_alone() {
    let mut world = World::new(0);
    world.start_announced(1);
    world.pass(millis(1200));
    assert_eq!(world.seen(|event| *event == Event::InService { alone: true }), 1);
    world.element(1);
    world.pass(millis(10));
    for id in [2, 3] {
        world.start_announced(id);
        world.pass(millis(50));
        assert!(world.registrars[&id].is_serving(), "{id} did not wait for the mentor timeout");
        assert_eq!(world.known(id), [(0, 1)]);
    }
    world.pass(Duration::from_secs(2));
    for (id, registrar) in &world.registrars {
        assert_eq!(registrar.connected_peers().len(), 2, "{id}");
    }
    assert_eq!(world.ends.len(), 3 * 2 + 2, "one connection for each two, and the element's");
    assert_eq!(world.seen(|event| matches!(event, Event::Ignored { .. })), 0);
    world.assert_agreed();
}

#[test]
fn registrars_that_start_at_once_find_each_other_and_serve() {
    let mut world = World::new(0);
    for id in 1..=4 {
        world.start_announced(id);
    }
    world.pass(millis(1200));
    for (id, registrar) in &world.registrars {
        assert!(registrar.is_serving(), "{id}");
        assert_eq!(registrar.connected_peers().len(), 3, "{id}");
    }
}

#[test]
fn a_registrar_that_was_taken_over_is_found_again_when_it_is_back() {
    let mut world = World::new(0);
    world.start_announced(1);
    world.start_announced(2);
    world.pass(Duration::from_secs(2));
    world.kill(1, true);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.registrars[&2].connected_peers().len(), 0);
    world.start_announced(1);
    world.pass(millis(1500));
    assert_eq!(world.registrars[&2].connected_peers().len(), 1);
}

#[test]
fn a_registrar_that_was_not_told_to_hears_nothing() {
    let mut scene = Scene::new(None);
    scene.hear(7, "10.0.0.7:9901");
    assert_eq!(scene.dialled, []);
    assert_eq!(scene.told, 0);
}

#[test]
fn nobody_and_ourselves_are_not_dialled() {
    let mut scene = Scene::new(Some("10.0.0.1:9901"));
    for (server, dialled) in [(0, 0), (1, 0), (7, 1)] {
        scene.hear(server, "10.0.0.7:9901");
        assert_eq!(scene.dialled.len(), dialled, "{server}");
    }
}

#[test]
fn made_up_presences_have_few_addresses_dialled() {
    let mut scene = Scene::new(Some("10.0.0.1:9901"));
    for forged in 0..1000 {
        scene.hear(100 + forged, &format!("10.1.{}.{}:9901", forged / 250, forged % 250));
    }
    assert_eq!(scene.dialled.len(), MAX_STRANGERS);
    // They accept and say nothing: they are hung up on and forgotten, and as many follow.
    for attempt in scene.dialled.clone() {
        scene.connected(&attempt);
    }
    scene.pass(millis(1500));
    assert_eq!(scene.closed, MAX_STRANGERS);
    for forged in 0..1000 {
        scene.hear(5000 + forged, &format!("10.2.{}.{}:9901", forged / 250, forged % 250));
    }
    assert_eq!(scene.dialled.len(), 2 * MAX_STRANGERS);
}

#[test]
fn a_made_up_presence_of_a_known_registrar_changes_nothing() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    // As if it had another checksum, listened elsewhere, or lived still.
    world.start_announced(3);
    world.pass(Duration::from_secs(2));
    world.kill(1, true);
    let died = world.now;
    while world.registrars[&3].peers.contains_key(&ServerId(1)) {
        let bytes = presence(1, "10.0.0.66:9901");
        let from = "10.0.0.66:9901".parse().unwrap();
        world.input(3, Input::Datagram { channel: Channel::Enrp, from, bytes: &bytes });
        world.pass(millis(50));
        assert!(world.now < died + Duration::from_secs(3), "kept alive by multicast");
    }
    assert_eq!(world.seen(|event| matches!(event, Event::Audited { .. })), 0);
}

#[test]
fn a_registrar_that_finds_itself_on_its_list_dials_itself_once() {
    let mut world = World::new(0);
    world.start(1, &[1, 2]);
    world.start(2, &[1, 2]);
    world.pass(Duration::from_secs(20));
    for id in [1, 2] {
        assert_eq!(world.registrars[&id].id(), ServerId(id));
        assert_eq!(world.registrars[&id].connected_peers().len(), 1);
        assert!(world.registrars[&id].is_serving());
    }
    assert!(world.assocs < 20, "{} ends of associations", world.assocs);
    assert_eq!(world.seen(|event| matches!(event, Event::PeerFound { .. })), 2);
}

#[test]
fn a_registrar_that_accepts_and_says_nothing_is_dialled_again() {
    let mut scene = Scene::with_peer("tcp://10.0.0.2:9901");
    assert_eq!(scene.dialled.len(), 1);
    // Each time it is given longer, should it be a slow link that it is behind.
    let mut waits = Vec::new();
    for tries in 1..=8 {
        let connected = scene.now;
        let attempt = scene.dialled.last().unwrap().clone();
        scene.connected(&attempt);
        while scene.closed < tries {
            scene.pass(millis(10));
        }
        waits.push((scene.now.saturating_since(connected)).as_millis());
        while scene.dialled.len() == tries {
            scene.pass(millis(10));
        }
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert!(waits[0] <= 500 && waits[7] == 2400, "{waits:?}");
    let attempt = scene.dialled.last().unwrap().clone();
    scene.connected(&attempt);
    scene.message(&attempt, &presence(2, "10.0.0.2:9901"));
    scene.pass(millis(500));
    assert_eq!(scene.closed, 8, "one that has spoken is not hung up on");
}

#[test]
fn a_registrar_that_was_heard_and_cannot_be_reached_is_dialled_once() {
    let mut scene = Scene::new(Some("10.0.0.1:9901"));
    scene.hear(2, "10.0.0.2:9901");
    let (attempt, _) = scene.dialled[0];
    scene.input(Input::ConnectFailed { attempt, reason: CloseReason::Refused });
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.dialled.len(), 1);
    scene.hear(2, "10.0.0.2:9901");
    assert_eq!(scene.dialled.len(), 2, "heard again");
}

#[test]
fn a_registrar_is_not_in_service_by_a_table_it_has_not_asked_for() {
    let mut scene = Scene::with_peer("tcp://10.0.0.2:9901");
    let mentor = scene.dialled[0].clone();
    scene.connected(&mentor);
    scene.message(&mentor, &presence(2, "10.0.0.2:9901"));
    let table = Body::HandleTableResponse { more: false, rejected: false, entries: [].into() };
    let mut bytes = Vec::new();
    Message::new(ServerId(2), ServerId(1), table).encode(&mut bytes).unwrap();
    scene.message(&mentor, &bytes);
    assert!(!scene.registrar.is_serving(), "the list is asked for first");
}

#[test]
fn a_registrar_is_announced_an_eighth_sooner_or_later_than_t6() {
    let mut scene = Scene::new(Some("10.0.0.1:9901"));
    scene.pass(Duration::from_secs(2));
    let mut pauses = Vec::new();
    for _ in 0..50 {
        let (since, told) = (scene.now, scene.told);
        while scene.told == told {
            scene.pass(millis(1));
        }
        pauses.push(scene.now.saturating_since(since).as_millis());
    }
    let pauses = &pauses[1..];
    assert!(pauses.iter().all(|pause| (870..=1130).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause < 950), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause > 1050), "{pauses:?}");
}

/// A registrar alone, with others made up.
struct Scene {
    registrar: Registrar,
    now: Instant,
    dialled: Vec<(AttemptId, Locator)>,
    told: usize,
    closed: usize,
}

impl Scene {
    fn new(announced: Option<&str>) -> Self {
        let enrp_announced = announced.map(|at| Vec::from([tcp(at)]));
        Self::start(RegistrarConfig { enrp_announced, ..Default::default() })
    }

    fn with_peer(peer: &str) -> Self {
        let peers = Vec::from([peer.parse().unwrap()]);
        Self::start(RegistrarConfig { peers, ..Default::default() })
    }

    fn start(config: RegistrarConfig) -> Self {
        let now = Instant::from_micros(1);
        let registrar = Registrar::new(RegistrarConfig { id: ServerId(1), ..config }, [7; 32], now);
        let mut scene = Self { registrar, now, dialled: Vec::new(), told: 0, closed: 0 };
        scene.drain();
        scene.input(Input::Timeout);
        scene
    }

    fn input(&mut self, input: Input<'_>) {
        self.registrar.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Connect { attempt, to, .. } => self.dialled.push((attempt, to)),
                Output::Multicast { channel: Channel::Enrp, .. } => self.told += 1,
                Output::Disconnect { .. } => self.closed += 1,
                _ => {}
            }
        }
    }

    fn hear(&mut self, server: u32, at: &str) {
        let bytes = presence(server, at);
        let from = at.parse().unwrap();
        self.input(Input::Datagram { channel: Channel::Enrp, from, bytes: &bytes });
    }

    fn connected(&mut self, (attempt, to): &(AttemptId, Locator)) {
        let local = "tcp://10.0.0.1:30000".parse().unwrap();
        self.input(Input::Connected {
            assoc: assoc(*attempt),
            attempt: Some(*attempt),
            channel: Channel::Enrp,
            local,
            remote: to.clone(),
            identity: Identity::Anonymous,
        });
    }

    fn message(&mut self, (attempt, _): &(AttemptId, Locator), bytes: &[u8]) {
        self.input(Input::Received { assoc: assoc(*attempt), ppid: PPID_ENRP, bytes });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.registrar.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.input(Input::Timeout);
        }
        self.now = end;
    }
}

fn tcp(at: &str) -> Transport {
    Transport::Tcp(at.parse::<SocketAddr>().unwrap())
}

/// Names the association that an attempt has led to.
fn assoc(attempt: AttemptId) -> AssociationId {
    AssociationId(1000 + attempt.0)
}

fn presence(server: u32, at: &str) -> Vec<u8> {
    let id = ServerId(server);
    let body = Body::Presence {
        reply_required: true,
        checksum: Some(0x1234),
        server: Some(ServerInformation { id, transport: tcp(at), unknown: [].into() }),
        digest: Some(99),
        capabilities: None,
    };
    let mut bytes = Vec::new();
    Message::new(id, ServerId::NONE, body).encode(&mut bytes).unwrap();
    bytes
}
