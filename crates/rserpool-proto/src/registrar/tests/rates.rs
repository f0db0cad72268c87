//! How often anybody may ask (RFC 5355 §2.1, §2.13): who is served, refused, not heard, disconnected.

use super::*;
use crate::registrar::Limits;

const HERE: &str = "tcp://127.0.0.1:40000";
const ELSEWHERE: &str = "tcp://10.0.0.9:40000";

/// A registrar that takes 40 a second of an association and 100 of an address, of each kind.
fn limited() -> Scene {
    let limits = Limits {
        registrations_per_second: 40,
        registrations_per_second_of_owner: 100,
        resolutions_per_second: 40,
        resolutions_per_second_of_owner: 100,
        reports_per_second: 40,
        reports_per_second_of_owner: 100,
        others_per_second: 40,
        others_per_second_of_owner: 100,
        ..Limits::default()
    };
    Scene::with(RegistrarConfig { id: ServerId(7), limits, ..RegistrarConfig::default() })
}

/// What became of messages of one association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Became {
    served: usize,
    refused: usize,
    unheard: usize,
}

impl Scene {
    fn lacks(answer: &Body) -> bool {
        let errors = match answer {
            Body::RegistrationResponse { errors, .. }
            | Body::DeregistrationResponse { errors, .. } => errors,
            Body::HandleResolutionResponse(response) => &response.errors,
            _ => return false,
        };
        errors.contains(&ErrorCause::LackOfResources)
    }

    /// Sends a message that wants an answer, again and again.
    fn repeat(&mut self, assoc: AssociationId, times: usize, body: impl Fn() -> Body) -> Became {
        let mut became = Became::default();
        for _ in 0..times {
            self.send(assoc, body());
            match self.answers(assoc).as_slice() {
                [] => became.unheard += 1,
                [answer] if Self::lacks(answer) => became.refused += 1,
                _ => became.served += 1,
            }
        }
        became
    }

    fn ask(&mut self, assoc: AssociationId, times: usize) -> Became {
        self.repeat(assoc, times, || resolution(None))
    }

    fn served(&mut self, assoc: AssociationId, times: usize) -> usize {
        self.ask(assoc, times).served
    }
}

fn ignored(scene: &Scene, reason: &Ignored) -> usize {
    let is_it = |event: &&Event| matches!(event, Event::Ignored { reason: it, .. } if it == reason);
    scene.events.iter().filter(is_it).count()
}

#[test]
fn what_is_over_the_rate_is_refused_then_not_heard_and_then_the_association_is_closed() {
    // RFC 5355: a flood of resolutions; RFC 5354 §3.12.7.
    let mut scene = limited();
    let holder = scene.connect(Channel::Asap, ELSEWHERE);
    scene.register(holder, element(1));
    let user = scene.asap();
    let became = scene.ask(user, 1000);
    assert_eq!(became, Became { served: 40, refused: 10, unheard: 950 });
    assert_eq!(scene.closed, []);
    let became = scene.ask(user, 41);
    assert_eq!((became.served, became.refused), (0, 0));
    assert_eq!(scene.closed, [user]);
    assert_eq!(ignored(&scene, &Ignored::Flood(MessageKind::Resolution)), 1);
    assert_eq!(ignored(&scene, &Ignored::TooMany(MessageKind::Resolution)), 1, "told once");
    assert_eq!(scene.registrar.counters().over_rate, 1001);
}

#[test]
fn a_refused_registration_or_deregistration_changes_nothing() {
    let mut scene = limited();
    let holder = scene.asap();
    for id in 1..=40 {
        assert_eq!(scene.register(holder, element(id)), []);
    }
    let lack = [ErrorCause::LackOfResources];
    assert_eq!(scene.register(holder, element(41)), lack);
    scene.send(holder, deregistration(1));
    assert!(matches!(
        scene.answer(holder),
        Body::DeregistrationResponse { errors, .. } if errors == lack
    ));
    assert_eq!(scene.resolved().len(), 40);
    let elsewhere = scene.connect(Channel::Asap, ELSEWHERE);
    assert_eq!(scene.repeat(elsewhere, 40, || registration(element(50))).served, 40);
    // A fortieth of a second is worth one.
    scene.wait(Duration::from_millis(25));
    assert_eq!(scene.register(holder, element(41)), []);
    assert_eq!(scene.register(holder, element(42)), lack);
}

#[test]
fn each_kind_has_a_rate_of_its_own() {
    let mut scene = limited();
    let assoc = scene.asap();
    assert_eq!(scene.served(assoc, 50), 40);
    assert_eq!(scene.register(assoc, element(1)), []);
    for _ in 0..50 {
        scene.send(assoc, report(2));
    }
    assert_eq!(ignored(&scene, &Ignored::UnknownElement), 40);
    assert_eq!(scene.register(assoc, element(1)), []);
}

#[test]
fn whoever_keeps_asking_a_little_too_much_gets_what_the_rate_is() {
    let mut scene = limited();
    let user = scene.asap();
    scene.ask(user, 40);
    let mut became = Became::default();
    for _ in 0..500 {
        // 50 a second.
        scene.wait(Duration::from_millis(20));
        let one = scene.ask(user, 1);
        became.served += one.served;
        became.refused += one.refused;
    }
    assert_eq!(became, Became { served: 400, refused: 100, unheard: 0 });
    assert_eq!(scene.closed, []);
    assert_eq!(ignored(&scene, &Ignored::TooMany(MessageKind::Resolution)), 10, "once a second");
}

#[test]
fn the_associations_of_an_address_share_its_rate_and_each_keeps_a_little() {
    let mut scene = limited();
    let users: Vec<_> = (0..4).map(|_| scene.asap()).collect();
    let served: Vec<_> = users.iter().map(|user| scene.served(*user, 40)).collect();
    // The fourth has a tenth of its rate to itself.
    assert_eq!(served, [40, 40, 20 + 4, 4]);
    let elsewhere = scene.connect(Channel::Asap, ELSEWHERE);
    assert_eq!(scene.served(elsewhere, 40), 40, "others are not touched");
    scene.wait(Duration::from_millis(250));
    assert_eq!(scene.served(users[3], 1), 1);
    assert_eq!(scene.closed, [], "nobody is disconnected for what others of its address do");
}

#[test]
fn of_an_address_that_is_over_its_rate_a_quarter_of_that_is_answered() {
    let mut scene = limited();
    let users: Vec<_> = (0..8).map(|_| scene.asap()).collect();
    let became: Vec<_> = users.iter().map(|user| scene.ask(*user, 40)).collect();
    assert_eq!(became.iter().map(|became| became.refused).sum::<usize>(), 100 / 4);
    assert_eq!(became[7], Became { served: 4, refused: 0, unheard: 36 });
}

#[test]
fn an_identity_has_one_rate_wherever_it_comes_from() {
    let who = |who| super::secured::identity(who, &["rserpool://lab/user"]);
    let mut scene = Scene::with(RegistrarConfig {
        limits: limited().registrar.config.limits.clone(),
        ..super::secured::secured(crate::registrar::Grants::default())
    });
    let places = [HERE, ELSEWHERE, "tcp://10.0.0.8:1", "tcp://10.0.0.7:1"];
    let served: Vec<_> = places
        .iter()
        .map(|place| {
            let user = scene.connect_as(Channel::Asap, place, who(1));
            scene.served(user, 40)
        })
        .collect();
    assert_eq!(served, [40, 40, 20 + 4, 4]);
    let other = scene.connect_as(Channel::Asap, HERE, who(2));
    assert_eq!(scene.served(other, 40), 40);
}

#[test]
fn to_come_back_does_not_renew_what_an_address_may_ask() {
    let mut scene = limited();
    let mut served = 0;
    for _ in 0..10 {
        let user = scene.asap();
        served += scene.served(user, 40);
        scene.input(Input::Closed { assoc: user, reason: CloseReason::Finished });
    }
    assert_eq!(served, 100 + 8 * 4);
    scene.wait(second());
    let user = scene.asap();
    assert_eq!(scene.served(user, 40), 40);
}

#[test]
fn identities_of_whom_nothing_is_left_are_forgotten() {
    let mut scene = limited();
    let mut most = 0;
    for number in 0..6000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let user = scene.connect(Channel::Asap, &format!("tcp://10.{a}.{b}.{c}:1"));
        scene.ask(user, 1);
        scene.input(Input::Closed { assoc: user, reason: CloseReason::Finished });
        most = most.max(scene.registrar.rates.len());
    }
    assert_eq!(most, 4096);
    scene.wait(Duration::from_secs(3));
    assert_eq!(scene.registrar.rates.len(), 0);
}

#[test]
fn a_flood_of_what_is_no_message_is_answered_as_often_as_it_may_come_and_then_ends() {
    let mut scene = limited();
    let noise = scene.asap();
    for _ in 0..2000 {
        scene.input(Input::Received { assoc: noise, ppid: PPID_ASAP, bytes: &[0x3f, 0, 0, 4] });
    }
    assert_eq!(scene.closed, [noise]);
    assert!(scene.answers(noise).len() <= 40);
    assert_eq!(scene.registrar.counters().ignored, 40 + 2);
}

#[test]
fn nobody_floods_where_registrars_talk_who_is_not_one() {
    let mut scene = limited();
    let stranger = scene.connect(Channel::Enrp, HERE);
    let request = enrp::Body::HandleTableRequest { own_only: false, capabilities: None };
    let message = enrp::Message::new(ServerId::NONE, ServerId::NONE, request);
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    for _ in 0..2000 {
        scene.input(Input::Received { assoc: stranger, ppid: PPID_ENRP, bytes: &bytes });
    }
    assert_eq!(scene.closed, [stranger]);
    assert_eq!(scene.sent.len(), 40);
}

#[test]
fn the_defaults_let_all_elements_of_a_host_come_at_once() {
    let mut scene = Scene::new();
    let limits = Limits::default();
    let each = limits.elements_per_owner as usize;
    assert!(limits.registrations_per_second as usize >= each);
    for id in 0..3 {
        let holder = scene.asap();
        assert_eq!(scene.repeat(holder, 1000, || registration(element(id))).unheard, 0);
    }
    assert_eq!(scene.registrar.counters().over_rate, 0);
}

/// What somebody else does.
#[derive(Clone, Debug)]
enum Deed {
    Ask(u8),
    Register(u8),
    Report(u8),
    Noise(u8),
    Reconnect,
    Wait(u8),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        any::<u8>().prop_map(Deed::Ask),
        any::<u8>().prop_map(Deed::Register),
        any::<u8>().prop_map(Deed::Report),
        any::<u8>().prop_map(Deed::Noise),
        Just(Deed::Reconnect),
        (0_u8..100).prop_map(Deed::Wait),
    ];
    proptest::collection::vec(deed, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An association within its rate is never refused, whatever others do; nor is one within a
    /// tenth of it, whatever others of its own address do.
    #[test]
    fn whoever_is_within_its_rate_is_served_whatever_others_do(
        deeds in deeds(),
        from_its_address in any::<bool>(),
    ) {
        let mut scene = limited();
        let from = if from_its_address { HERE } else { ELSEWHERE };
        let user = scene.asap();
        let mut other = scene.connect(Channel::Asap, from);
        let rate: u64 = if from_its_address { 4 } else { 40 };
        // What it may ask now, in millionths, and since when.
        let (mut may, mut since) = (rate * 1_000_000, scene.now);
        for deed in deeds {
            match deed {
                Deed::Ask(times) => {
                    scene.ask(other, times.into());
                }
                Deed::Register(times) => {
                    scene.repeat(other, times.into(), || registration(element(1)));
                }
                Deed::Report(times) => {
                    (0..times).for_each(|_| scene.send(other, report(1)));
                }
                Deed::Noise(times) => {
                    scene.repeat(other, times.into(), || Body::Error { errors: Vec::new() });
                }
                Deed::Reconnect => {
                    scene.input(Input::Closed { assoc: other, reason: CloseReason::Lost });
                    other = scene.connect(Channel::Asap, from);
                }
                Deed::Wait(ms) => scene.wait(Duration::from_millis(ms.into())),
            }
            let passed = scene.now.saturating_since(since).as_micros() as u64;
            may = (may + passed * rate).min(rate * 1_000_000);
            since = scene.now;
            let times = may / 1_000_000;
            may %= 1_000_000;
            prop_assert_eq!(scene.served(user, times as usize), times as usize);
        }
        prop_assert!(!scene.closed.contains(&user));
    }
}
