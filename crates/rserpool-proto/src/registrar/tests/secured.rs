//! A secured scope: what whom is permitted (RFC 5355 §2).

use super::*;
use crate::machine::{Name, NameKind, Subject};
use crate::registrar::{Authority, ElementGrant, Grants, Pattern, Readers};
use crate::wire::capability::Owner;
use alloc::sync::Arc;
use alloc::vec;
use core::net::IpAddr;

/// Somebody with a certificate of these names; who it is, is the first byte of its owner.
pub(in crate::registrar) fn identity(who: u8, names: &[&str]) -> Identity {
    let kind = |name: &&str| match name.contains("://") {
        true => NameKind::Uri,
        false => NameKind::Dns,
    };
    let names = names.iter().map(|name| Name { kind: kind(name), text: (*name).into() }).collect();
    Identity::Verified(Arc::new(Subject { names, owner: Owner([who; 16]) }))
}

pub(in crate::registrar) fn secured(grants: Grants) -> RegistrarConfig {
    let authority = Authority::Secured(Arc::new(Grants { scope: "lab".into(), ..grants }));
    RegistrarConfig { id: ServerId(7), authority, ..RegistrarConfig::default() }
}

fn scene() -> Scene {
    Scene::with(secured(Grants::default()))
}

fn of_echo(who: u8) -> Identity {
    identity(who, &["rserpool://lab/element/Echo*"])
}

impl Scene {
    fn asap_as(&mut self, identity: Identity) -> AssociationId {
        self.connect_as(Channel::Asap, "tcp://127.0.0.1:40000", identity)
    }

    fn ids(&self) -> Vec<u32> {
        let space = self.registrar.handlespace();
        space.pools().flat_map(|pool| space.elements(pool)).map(|(_, it)| it.id().0).collect()
    }

    fn say(&mut self, assoc: AssociationId, sender: u32, body: enrp::Body) {
        let message = enrp::Message::new(ServerId(sender), ServerId::NONE, body);
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        self.input(Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    }
}

fn refused() -> Vec<ErrorCause> {
    vec![ErrorCause::SecurityConsiderations]
}

#[test]
fn whoever_has_proved_nothing_registers_nothing_and_resolves_nothing() {
    let mut scene = scene();
    let anybody = scene.asap();
    assert_eq!(scene.register(anybody, element(1)), refused());
    assert_eq!(scene.ids(), []);
    let owner = scene.asap_as(of_echo(1));
    assert_eq!(scene.register(owner, element(1)), []);
    assert_eq!(scene.resolve(anybody).errors, refused());
    scene.send(anybody, deregistration(1));
    scene.answer(anybody);
    scene.send(anybody, report(1));
    assert_eq!(scene.ids(), [1]);
    assert_eq!(scene.answers(owner), [], "the element is not asked because of the report");
}

#[test]
fn a_certificate_says_into_which_pools() {
    let mut scene = scene();
    let web = scene.asap_as(identity(1, &["rserpool://lab/element/web"]));
    assert_eq!(scene.register(web, element(1)), refused());
    let of_another_scope = scene.asap_as(identity(2, &["rserpool://other/element/*"]));
    assert_eq!(scene.register(of_another_scope, element(1)), refused());
    let user = scene.asap_as(identity(3, &["rserpool://lab/user"]));
    assert_eq!(scene.register(user, element(1)), refused());
    let echo = scene.asap_as(of_echo(4));
    assert_eq!(scene.register(echo, element(1)), []);
    assert_eq!(scene.resolve(user).elements.len(), 1);
}

#[test]
fn the_configuration_grants_pools_to_host_names_and_bounds_policies() {
    let grant = ElementGrant {
        name: Pattern::new("*.example.org"),
        pools: vec![Pattern::new("EchoPool")],
        policies: vec![ROUND_ROBIN],
        any_address: false,
    };
    let mut scene = Scene::with(secured(Grants { elements: vec![grant], ..Grants::default() }));
    let host = scene.asap_as(identity(1, &["a.example.org"]));
    let least_used = PoolElement { policy: PolicyParameter::new(LEAST_USED, &[0]), ..element(1) };
    assert_eq!(scene.register(host, least_used), refused());
    assert_eq!(scene.register(host, element(1)), []);
    let other = scene.asap_as(identity(2, &["a.example.com"]));
    assert_eq!(scene.register(other, element(2)), refused());
}

#[test]
fn an_element_registers_only_the_address_it_comes_from_unless_more_is_granted() {
    let elsewhere = || PoolElement {
        user_transport: Transport::Tcp("10.0.0.9:80".parse().unwrap()),
        ..element(1)
    };
    let mut scene = scene();
    let owner = scene.asap_as(of_echo(1));
    assert_eq!(scene.register(owner, elsewhere()), refused());
    let grant = ElementGrant {
        name: Pattern::new("rserpool://lab/element/*"),
        pools: vec![],
        policies: vec![],
        any_address: true,
    };
    let mut scene = Scene::with(secured(Grants { elements: vec![grant], ..Grants::default() }));
    let owner = scene.asap_as(of_echo(1));
    assert_eq!(scene.register(owner, elsewhere()), []);
}

#[test]
fn whoever_may_read_may_be_everybody_or_those_who_are_named() {
    let mut scene =
        Scene::with(secured(Grants { readers: Readers::Everybody, ..Grants::default() }));
    let owner = scene.asap_as(of_echo(1));
    scene.register(owner, element(1));
    let anybody = scene.asap();
    assert_eq!(scene.resolve(anybody).elements.len(), 1);
    assert_eq!(scene.register(anybody, element(2)), refused());

    let named = vec![(Pattern::new("*.example.org"), vec![Pattern::new("Echo*")])];
    let readers = Readers::Named(named);
    let mut scene = Scene::with(secured(Grants { readers, ..Grants::default() }));
    let owner = scene.asap_as(of_echo(1));
    scene.register(owner, element(1));
    for (name, may) in
        [("a.example.org", true), ("a.example.com", false), ("rserpool://lab/user", true)]
    {
        let user = scene.asap_as(identity(9, &[name]));
        assert_eq!(scene.resolve(user).errors.is_empty(), may, "{name}");
    }
}

#[test]
fn the_owner_comes_back_by_another_connection_when_the_first_is_gone() {
    let mut scene = scene();
    let first = scene.asap_as(of_echo(1));
    scene.register(first, element(1));
    let other = scene.asap_as(of_echo(2));
    assert_eq!(scene.register(other, element(1)), [ErrorCause::NonUniquePeId]);
    // Another one of the owner asks, and gets it when the first does not answer.
    let again = scene.asap_as(of_echo(1));
    scene.send(again, registration(element(1)));
    scene.wait(second() * 5);
    let answers = scene.answers(again);
    let granted = |body: &Body| matches!(body, Body::RegistrationResponse { rejected: false, .. });
    assert!(answers.iter().any(granted), "{answers:?}");
}

#[test]
fn what_is_no_registrar_is_told_so_and_changes_nothing() {
    // RFC 5355 §2.5.
    let mut scene = scene();
    let owner = scene.asap_as(of_echo(1));
    scene.register(owner, element(1));
    let stolen = PoolElement {
        home: ServerId(9),
        extensions: ElementExtensions {
            stamp: Some(Stamp { seq: u64::MAX, moves: 0 }),
            owner: Some(Owner([2; 16])),
            ..ElementExtensions::default()
        },
        ..element(1)
    };
    let added = PoolElement { id: PeId(2), ..stolen.clone() };
    let update = |action, element: &PoolElement| enrp::Body::HandleUpdate {
        takeover_suggested: false,
        suspected: false,
        action,
        handle: pool(),
        element: Box::new(element.clone()),
    };
    let presence = enrp::Body::Presence {
        reply_required: true,
        checksum: None,
        server: None,
        digest: None,
        capabilities: Some(Capabilities(0)),
    };
    let table = enrp::Body::HandleTableRequest { own_only: false, capabilities: None };
    let said = [
        presence,
        enrp::Body::ListRequest,
        table,
        update(enrp::UpdateAction::Add, &added),
        update(enrp::UpdateAction::Add, &stolen),
        update(enrp::UpdateAction::Delete, &stolen),
        enrp::Body::TakeoverServer { target: ServerId(7) },
    ];
    for body in said {
        for who in [Identity::Anonymous, of_echo(2)] {
            let assoc = scene.connect_as(Channel::Enrp, "tcp://127.0.0.1:50000", who);
            scene.say(assoc, 9, body.clone());
            assert_eq!(scene.closed.pop(), Some(assoc));
            let (_, _, answer) = scene.sent.pop_back().unwrap();
            let answer = enrp::Message::decode(&answer).unwrap().message.body;
            assert_eq!(answer, enrp::Body::Error { errors: refused() });
        }
    }
    assert_eq!(scene.ids(), [1]);
    assert_eq!(scene.registrar.peers.len(), 0);
}

#[test]
fn a_registrar_replaces_or_ends_nothing_that_belongs_to_somebody_at_a_living_home() {
    let mut scene = scene();
    let owner = scene.asap_as(of_echo(1));
    scene.register(owner, element(1));
    let peer = identity(8, &["rserpool://lab/registrar"]);
    let peer = scene.connect_as(Channel::Enrp, "tcp://127.0.0.1:50000", peer);
    let as_owned_by = |who: Option<u8>, id| PoolElement {
        home: ServerId(9),
        extensions: ElementExtensions {
            stamp: Some(Stamp { seq: u64::MAX, moves: 0 }),
            owner: who.map(|who| Owner([who; 16])),
            ..ElementExtensions::default()
        },
        ..element(id)
    };
    let update = |action, element| enrp::Body::HandleUpdate {
        takeover_suggested: false,
        suspected: false,
        action,
        handle: pool(),
        element: Box::new(element),
    };
    scene.say(peer, 9, update(enrp::UpdateAction::Add, as_owned_by(Some(2), 1)));
    scene.say(peer, 9, update(enrp::UpdateAction::Delete, as_owned_by(Some(2), 1)));
    // What has no owner was registered by nobody.
    scene.say(peer, 9, update(enrp::UpdateAction::Add, as_owned_by(None, 2)));
    scene.say(peer, 9, update(enrp::UpdateAction::Add, as_owned_by(Some(2), 3)));
    assert_eq!(scene.ids(), [1, 3]);
    let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1)).unwrap();
    assert_eq!((known.home(), known.owner()), (ServerId(7), Some(Owner([1; 16]))));
    assert!(matches!(known.user_transport(), Transport::Tcp(at) if at.port() == 8001));
}

/// RFC 5355 §2.3: after a takeover, who answers where an element listened may be anybody.
#[test]
fn an_element_that_was_taken_over_is_asked_of_its_owner_only() {
    for (who, asked) in [(1, 1), (2, 0)] {
        let mut scene = scene();
        let peer = identity(8, &["rserpool://lab/registrar"]);
        let peer = scene.connect_as(Channel::Enrp, "tcp://127.0.0.1:50000", peer);
        let there = scene.connect_as(Channel::Asap, "sctp://127.0.0.1:40000", of_echo(who));
        let element = PoolElement {
            home: ServerId(9),
            asap_transport: Some(SctpTransport {
                port: 40000,
                transport_use: TransportUse::DataOnly,
                addresses: IpAddr::from([127, 0, 0, 1]).into(),
            }),
            extensions: ElementExtensions {
                stamp: Some(Stamp { seq: 1, moves: 0 }),
                owner: Some(Owner([1; 16])),
                ..ElementExtensions::default()
            },
            ..element(1)
        };
        let handover = enrp::Body::HandleUpdate {
            takeover_suggested: true,
            suspected: false,
            action: enrp::UpdateAction::Add,
            handle: pool(),
            element: Box::new(element),
        };
        scene.say(peer, 9, handover);
        scene.wait(Duration::from_millis(50));
        let mut answers = scene.answers(there);
        answers.retain(|answer| matches!(answer, Body::EndpointKeepAlive { .. }));
        assert_eq!(answers.len(), asked, "{answers:?}");
        // Of an owner who is silent, or is not to be had, nothing is left in the end.
        assert_eq!(scene.ids(), [1]);
        scene.wait(second() * 10);
        assert_eq!(scene.ids(), []);
    }
}

#[test]
fn only_an_operator_reads_the_whole_table() {
    let mut scene = scene();
    let request = || enrp::Body::HandleTableRequest { own_only: false, capabilities: None };
    for (name, may) in [("rserpool://lab/operator", true), ("rserpool://lab/user", false)] {
        let who = identity(1, &[name]);
        let reader = scene.connect_as(Channel::Enrp, "tcp://10.0.0.3:50000", who);
        scene.say(reader, 0, request());
        let (_, _, answer) = scene.sent.pop_back().unwrap();
        let answer = enrp::Message::decode(&answer).unwrap().message.body;
        let enrp::Body::HandleTableResponse { rejected, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(rejected, !may, "{name}");
    }
}

#[test]
fn nobody_registers_more_elements_than_one_may_have() {
    // RFC 5355 §2.1.
    let lack = [ErrorCause::LackOfResources];
    let limited = |mut config: RegistrarConfig| {
        config.limits.elements_per_owner = 2;
        Scene::with(config)
    };
    let mut open = limited(RegistrarConfig { id: ServerId(7), ..RegistrarConfig::default() });
    let (first, second) = (open.asap(), open.asap());
    assert_eq!(open.register(first, element(1)), []);
    assert_eq!(open.register(second, element(2)), []);
    assert_eq!(open.register(first, element(3)), lack, "two come from this address");
    assert_eq!(open.register(second, element(2)), [], "it is renewed");
    let elsewhere = open.connect(Channel::Asap, "tcp://127.0.0.2:40000");
    assert_eq!(open.register(elsewhere, element(3)), []);
    open.send(first, deregistration(1));
    open.answer(first);
    assert_eq!(open.register(first, element(4)), []);
    open.input(Input::Closed { assoc: second, reason: CloseReason::Lost });
    assert_eq!(open.register(first, element(5)), []);
    assert_eq!(open.register(first, element(6)), lack);

    let mut secured = limited(secured(Grants::default()));
    let (first, second) = (secured.asap_as(of_echo(1)), secured.asap_as(of_echo(2)));
    for id in [1, 2] {
        assert_eq!(secured.register(first, element(id)), []);
    }
    assert_eq!(secured.register(first, element(3)), lack);
    assert_eq!(secured.register(second, element(3)), [], "another identity has its own two");
}

#[test]
fn an_attempt_to_take_what_is_anothers_is_told_and_many_are_told_few_times() {
    // RFC 5355 §2.3, §2.17.
    let told = |scene: &Scene| {
        let trespasses = scene.events.iter().filter_map(|event| match event {
            Event::Trespass { assoc, identity, id, untold, .. } => {
                Some((*assoc, identity.clone(), *id, *untold))
            }
            _ => None,
        });
        trespasses.collect::<Vec<_>>()
    };
    let mut scene = scene();
    let owner = scene.asap_as(of_echo(1));
    scene.register(owner, element(1));
    scene.register(owner, element(1));
    let other = scene.asap_as(of_echo(2));
    assert_eq!(told(&scene), []);
    assert_eq!(scene.register(other, element(1)), [ErrorCause::NonUniquePeId]);
    assert_eq!(told(&scene), [(other, of_echo(2), PeId(1), 0)]);
    for _ in 0..100 {
        scene.send(other, deregistration(1));
    }
    assert_eq!((told(&scene).len(), scene.registrar.counters().trespasses), (10, 101));
    scene.wait(Duration::from_millis(100));
    scene.send(other, deregistration(1));
    assert_eq!(told(&scene).last(), Some(&(other, of_echo(2), PeId(1), 91)));
    assert_eq!(scene.ids(), [1]);
}

#[derive(Clone, Debug)]
enum Deed {
    Register { port: u16 },
    Deregister,
    Report,
    Vanish,
    Wait,
}

proptest! {
    /// RFC 5355 §2.3, §2.4: whatever somebody else does in whatever order, an element that is held
    /// stays what its owner has made it.
    #[test]
    fn nobody_else_renews_changes_or_removes_an_element(
        deeds in proptest::collection::vec(prop_oneof![
            (9000_u16..9100).prop_map(|port| Deed::Register { port }),
            Just(Deed::Deregister),
            Just(Deed::Report),
            Just(Deed::Vanish),
            Just(Deed::Wait),
        ], 1..30),
    ) {
        let mut scene = scene();
        let owner = scene.asap_as(of_echo(1));
        scene.register(owner, element(1));
        let mut other = scene.asap_as(of_echo(2));
        for deed in deeds {
            match deed {
                Deed::Register { port } => {
                    let at = format!("127.0.0.1:{port}").parse().unwrap();
                    let user_transport = Transport::Tcp(at);
                    let stamp = Some(Stamp { seq: u64::MAX, moves: 0 });
                    let extensions = ElementExtensions { stamp, ..ElementExtensions::default() };
                    let theirs = PoolElement { user_transport, extensions, ..element(1) };
                    scene.send(other, our_registration(theirs));
                }
                Deed::Deregister => scene.send(other, deregistration(1)),
                Deed::Report => scene.send(other, report(1)),
                Deed::Vanish => {
                    scene.input(Input::Closed { assoc: other, reason: CloseReason::Lost });
                    other = scene.asap_as(of_echo(2));
                }
                Deed::Wait => {}
            }
            scene.live(Duration::from_millis(50), &[owner]);
            let known = scene.registrar.handlespace().element(pool().as_bytes(), PeId(1));
            let known = known.expect("it is held");
            prop_assert_eq!(known.owner(), Some(Owner([1; 16])));
            prop_assert!(matches!(known.user_transport(), Transport::Tcp(at) if at.port() == 8001));
        }
    }
}
