//! Watches: the S bit of a resolution, and updates (RFC 5352 §2.2.5, §2.2.6).

use super::*;
use alloc::collections::BTreeMap;

const HALF: Duration = Duration::from_millis(500);

/// A question with the S bit from one of ours.
fn subscription(handle: &PoolHandle) -> Body {
    let capabilities = Some(Capabilities(0));
    Body::HandleResolution { subscribe: true, handle: handle.clone(), items: None, capabilities }
}

/// The same from one that speaks the RFCs only.
fn plain_subscription() -> Body {
    Body::HandleResolution { subscribe: true, handle: pool(), items: None, capabilities: None }
}

/// A registrar that does not ask its elements whether they live.
fn quiet() -> Scene {
    let timers = RegistrarTimers { keep_alive_interval: None, ..RegistrarTimers::default() };
    Scene::with(RegistrarConfig { timers, ..RegistrarConfig::default() })
}

fn handle(number: u64) -> PoolHandle {
    PoolHandle::new(format!("pool-{number}")).unwrap()
}

fn used(id: u32, load: u32) -> PoolElement {
    PoolElement { policy: PolicyParameter::new(LEAST_USED, &[load]), ..element(id) }
}

impl Scene {
    /// Somebody who watches the pool, and what the answer was.
    fn watcher(&mut self) -> (AssociationId, HandleResolutionResponse) {
        let user = self.asap();
        self.send(user, subscription(&pool()));
        let mut answers = self.updates(user);
        assert_eq!(answers.len(), 1);
        (user, answers.remove(0))
    }

    fn updates(&mut self, user: AssociationId) -> Vec<HandleResolutionResponse> {
        let response = |body| match body {
            Body::HandleResolutionResponse(response) => *response,
            other => panic!("not a response: {other:?}"),
        };
        self.answers(user).into_iter().map(response).collect()
    }

    fn register_in(&mut self, handle: &PoolHandle, assoc: AssociationId, element: PoolElement) {
        let capabilities = Some(Capabilities(0));
        let (handle, element) = (handle.clone(), Box::new(element));
        self.send(assoc, Body::Registration { handle, element, capabilities, stamp: None });
        self.answers(assoc);
    }
}

fn ids(response: &HandleResolutionResponse) -> Vec<u32> {
    let mut ids: Vec<u32> = response.elements.iter().map(|element| element.id.0).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_question_with_the_s_bit_is_answered_at_once_and_changes_follow_unasked() {
    // RFC 5352 §2.2.5: additional responses, without the user asking.
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let (user, first) = scene.watcher();
    assert_eq!((first.subscribed, ids(&first)), (true, vec![1]));
    assert_eq!(first.capabilities, Some(Capabilities(0)));
    scene.register(assoc, element(2));
    scene.wait(Duration::ZERO);
    let updates = scene.updates(user);
    assert_eq!(updates.len(), 1);
    assert_eq!((updates[0].subscribed, ids(&updates[0])), (true, vec![1, 2]));
    assert_eq!(updates[0].capabilities, Some(Capabilities::UPDATE));
    assert_eq!(updates[0].total, Some(2));
    scene.send(assoc, deregistration(1));
    scene.wait(HALF);
    assert_eq!(scene.updates(user).iter().map(ids).collect::<Vec<_>>(), [[2]]);
}

#[test]
fn a_question_without_the_s_bit_is_not_followed_by_anything_and_ends_a_watch() {
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let (user, _) = scene.watcher();
    assert_eq!(scene.registrar.watches(), 1);
    assert!(!scene.resolve(user).subscribed);
    assert_eq!(scene.registrar.watches(), 0);
    scene.register(assoc, element(2));
    scene.wait(HALF);
    assert!(scene.updates(user).is_empty());
}

#[test]
fn what_users_see_is_told_and_what_they_do_not_see_is_not() {
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, used(1, 10));
    let (user, _) = scene.watcher();
    scene.register(assoc, used(1, 10));
    scene.wait(HALF);
    assert!(scene.updates(user).is_empty(), "a renewal changes nothing");
    scene.register(assoc, used(1, 11));
    scene.wait(Duration::ZERO);
    let updates = scene.updates(user);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].elements[0].policy.words(), Some(&[11][..]));
}

#[test]
fn an_association_is_updated_at_most_twice_a_second_and_the_first_time_at_once() {
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, used(1, 0));
    let (user, _) = scene.watcher();
    let begin = scene.now;
    let (mut told, mut last) = (Vec::new(), PolicyParameter::new(LEAST_USED, &[]));
    for load in 1..=400 {
        scene.register(assoc, used(1, load));
        scene.wait(Duration::from_millis(10));
        let updates = scene.updates(user);
        assert!(updates.len() <= 1);
        if let Some(update) = updates.last() {
            told.push(scene.now.saturating_since(begin).as_millis());
            last = update.elements[0].policy.clone();
        }
    }
    assert_eq!(told, [10, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000]);
    assert_eq!(last.words(), Some(&[400][..]));
}

#[test]
fn an_update_tells_of_every_pool_that_has_changed() {
    let mut scene = quiet();
    let (assoc, user) = (scene.asap(), scene.asap());
    for number in 0..3 {
        scene.send(user, subscription(&handle(number)));
        scene.register_in(&handle(number), assoc, element(1));
    }
    scene.wait(HALF);
    scene.answers(user);
    for number in [2, 0] {
        scene.register_in(&handle(number), assoc, element(2));
    }
    scene.wait(HALF);
    let told: Vec<_> = scene.updates(user).into_iter().map(|update| update.handle).collect();
    assert_eq!(told, [handle(0), handle(2)]);
}

#[test]
fn one_of_ours_may_wait_for_a_pool_that_is_not_there_yet() {
    // Beyond RFC 5352 §2.2.5, where a negative answer is the end.
    let mut scene = quiet();
    let (user, first) = scene.watcher();
    assert_eq!(first.errors, [ErrorCause::UnknownPoolHandle]);
    assert!(first.subscribed);
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.wait(Duration::ZERO);
    assert_eq!(scene.updates(user).iter().map(ids).collect::<Vec<_>>(), [[1]]);
    scene.input(Input::Closed { assoc, reason: CloseReason::Lost });
    scene.wait(HALF);
    let gone = scene.updates(user);
    assert_eq!(gone[0].errors, [ErrorCause::UnknownPoolHandle]);
    assert!(gone[0].subscribed);
    assert_eq!(gone[0].capabilities, Some(Capabilities::UPDATE));
    let assoc = scene.asap();
    scene.register(assoc, element(2));
    scene.wait(HALF);
    assert_eq!(scene.updates(user).iter().map(ids).collect::<Vec<_>>(), [[2]]);
}

#[test]
fn for_a_stranger_a_watch_ends_with_a_negative_answer() {
    // RFC 5352 §2.2.5: then no further updates will occur.
    let mut scene = quiet();
    let user = scene.asap();
    scene.send(user, plain_subscription());
    assert!(!scene.updates(user)[0].subscribed);
    assert_eq!(scene.registrar.watches(), 0);
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.send(user, plain_subscription());
    assert!(scene.updates(user)[0].subscribed);
    scene.register(assoc, element(2));
    scene.wait(Duration::ZERO);
    let update = &scene.updates(user)[0];
    assert_eq!((ids(update), update.capabilities, update.total), (vec![1, 2], None, None));
    scene.send(assoc, deregistration(1));
    scene.send(assoc, deregistration(2));
    scene.wait(HALF);
    let last = &scene.updates(user)[0];
    assert_eq!(last.errors, [ErrorCause::UnknownPoolHandle]);
    assert!(!last.subscribed);
    assert_eq!(scene.registrar.watches(), 0);
    scene.answers(assoc);
    scene.register(assoc, element(3));
    scene.wait(HALF);
    assert!(scene.updates(user).is_empty());
}

#[test]
fn a_pool_in_which_nobody_can_serve_is_told_as_such() {
    // RFC 5356 §3.2: weight 0 is no service.
    let mut scene = quiet();
    let assoc = scene.asap();
    let weighted = |weight| PolicyParameter::new(WEIGHTED_ROUND_ROBIN, &[weight]);
    scene.register(assoc, PoolElement { policy: weighted(1), ..element(1) });
    let (user, _) = scene.watcher();
    scene.register(assoc, PoolElement { policy: weighted(0), ..element(1) });
    scene.wait(Duration::ZERO);
    assert_eq!(scene.updates(user)[0].errors, [ErrorCause::LackOfResources]);
}

#[test]
fn an_update_has_as_many_elements_as_the_question_asked_for() {
    let mut scene = quiet();
    let (assoc, user) = (scene.asap(), scene.asap());
    for id in 0..5 {
        scene.register(assoc, element(id));
    }
    let capabilities = Some(Capabilities(0));
    let body =
        Body::HandleResolution { subscribe: true, handle: pool(), items: Some(2), capabilities };
    scene.send(user, body);
    scene.answers(user);
    scene.register(assoc, element(9));
    scene.wait(Duration::ZERO);
    let updates = scene.updates(user);
    assert_eq!((updates[0].elements.len(), updates[0].total), (2, Some(6)));
}

#[test]
fn beyond_the_limits_resolutions_are_answered_and_changes_are_not_told() {
    // RFC 5352 §2.2.6: the A bit is 0 where resources are short.
    let mut config = RegistrarConfig::default();
    config.limits.watches = 17;
    let mut scene = Scene::with(config);
    let (assoc, one, other) = (scene.asap(), scene.asap(), scene.asap());
    let subscribe = |scene: &mut Scene, user, number| {
        scene.register_in(&handle(number), assoc, element(1));
        scene.send(user, subscription(&handle(number)));
        let answer = scene.updates(user).pop().unwrap();
        assert!(answer.errors.is_empty());
        answer.subscribed
    };
    let accepted: Vec<_> = (0..18).map(|number| subscribe(&mut scene, one, number)).collect();
    assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), 16);
    assert_eq!(accepted[15..], [true, false, false]);
    assert!(subscribe(&mut scene, one, 3), "which is watched already");
    assert!(subscribe(&mut scene, other, 0));
    assert!(!subscribe(&mut scene, other, 1), "17 in all");
    assert_eq!(scene.registrar.watches(), 17);
    assert!(
        scene.events.iter().any(|event| {
            matches!(event, Event::Ignored { reason: Ignored::TooManyWatches, .. })
        })
    );
}

#[test]
fn an_association_that_watches_is_not_closed_for_idleness() {
    let mut scene = quiet();
    let (user, _) = scene.watcher();
    let idle = scene.asap();
    scene.wait(Duration::from_secs(500));
    assert_eq!(scene.closed, [idle]);
    scene.send(user, resolution(None));
    scene.wait(Duration::from_secs(130));
    assert_eq!(scene.closed, [idle, user]);
}

#[test]
fn a_watch_ends_with_its_association() {
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let (user, _) = scene.watcher();
    scene.register(assoc, element(2));
    // It is due.
    scene.input(Input::Closed { assoc: user, reason: CloseReason::Finished });
    scene.wait(HALF);
    assert!(scene.updates(user).is_empty());
    assert_eq!(scene.registrar.watches(), 0);
}

#[test]
fn what_was_reported_and_what_answers_again_are_changes() {
    let mut scene = quiet();
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    scene.register(assoc, element(2));
    let (user, _) = scene.watcher();
    for host in 1..=3 {
        let reporter = scene.connect(Channel::Asap, &format!("tcp://127.0.1.{host}:40000"));
        scene.send(reporter, report(1));
    }
    scene.wait(Duration::ZERO);
    let last = scene.updates(user).pop().unwrap();
    assert_eq!(last.elements.last().map(|element| element.id.0), Some(1), "ranked last");
}

#[test]
fn updates_are_sent_in_small_batches_and_not_faster_than_the_limit() {
    let mut config = RegistrarConfig::default();
    config.limits.updates_per_second = 1_000;
    let mut scene = Scene::with(config);
    let assoc = scene.asap();
    scene.register(assoc, element(1));
    let users: Vec<_> = (0..200).map(|_| scene.watcher().0).collect();
    scene.register(assoc, element(2));
    scene.sent.clear();
    let begin = scene.now;
    let mut told = 0;
    while told < users.len() {
        scene.now = scene.registrar.next_timeout().unwrap();
        scene.input(Input::Timeout);
        let batch = scene.sent.iter().filter(|(to, _, _)| users.contains(to)).count();
        scene.sent.clear();
        assert!(batch <= 32, "{batch}");
        told += batch;
    }
    let took = scene.now.saturating_since(begin);
    assert!((Duration::from_millis(160)..Duration::from_millis(240)).contains(&took), "{took:?}");
}

/// What may happen to a registrar that is watched.
#[derive(Clone, Debug)]
enum Step {
    Register { pool: u64, id: u32, load: u32 },
    Deregister { pool: u64, id: u32 },
    Subscribe { user: usize, pool: u64 },
    Resolve { user: usize, pool: u64 },
    Reconnect { user: usize },
    Wait { ticks: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (pools, ids, users) = (0..3u64, 0..4u32, 0..3usize);
    prop_oneof![
        4 => (pools.clone(), ids.clone(), 0..50u32)
            .prop_map(|(pool, id, load)| Step::Register { pool, id, load }),
        2 => (pools.clone(), ids).prop_map(|(pool, id)| Step::Deregister { pool, id }),
        3 => (users.clone(), pools.clone()).prop_map(|(user, pool)| Step::Subscribe { user, pool }),
        1 => (users.clone(), pools).prop_map(|(user, pool)| Step::Resolve { user, pool }),
        1 => users.prop_map(|user| Step::Reconnect { user }),
        5 => (0..70u64).prop_map(|ticks| Step::Wait { ticks }),
    ]
}

/// How often it is looked.
const TICK: Duration = Duration::from_millis(10);

/// What a user that watches was told last: identifiers and loads.
type Told = Vec<(u32, u32)>;

fn told(response: &HandleResolutionResponse) -> Told {
    let pairs = response.elements.iter().map(|element| {
        (element.id.0, element.policy.words().and_then(|words| words.first()).copied().unwrap())
    });
    let mut told: Told = pairs.collect();
    told.sort_unstable();
    told
}

/// A user that notes what it is told.
struct Watcher {
    assoc: AssociationId,
    known: BTreeMap<PoolHandle, Told>,
    /// When it was sent updates.
    updated: Vec<Instant>,
}

impl Watcher {
    fn new(scene: &mut Scene) -> Self {
        Self { assoc: scene.asap(), known: BTreeMap::new(), updated: Vec::new() }
    }

    fn look(&mut self, scene: &mut Scene) {
        for response in scene.updates(self.assoc) {
            if response.capabilities.is_some_and(Capabilities::is_update) {
                assert!(self.known.contains_key(&response.handle), "it is not watched");
                if self.updated.last() != Some(&scene.now) {
                    self.updated.push(scene.now);
                }
            }
            match response.subscribed {
                true => self.known.insert(response.handle.clone(), told(&response)),
                false => self.known.remove(&response.handle),
            };
        }
    }
}

fn pass(scene: &mut Scene, ticks: u64, elements: AssociationId, users: &mut [Watcher]) {
    for _ in 0..ticks {
        scene.live(TICK, &[elements]);
        users.iter_mut().for_each(|user| user.look(scene));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn updates_come_at_most_twice_a_second_and_the_last_state_is_always_told(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut scene = Scene::new();
        let elements = scene.asap();
        let mut users = [(); 3].map(|()| Watcher::new(&mut scene));
        for step in steps {
            match step {
                Step::Register { pool, id, load } => {
                    let element = PoolElement { life: 3_000, ..used(id, load) };
                    scene.register_in(&handle(pool), elements, element);
                }
                Step::Deregister { pool, id } => {
                    let (handle, id) = (handle(pool), PeId(id));
                    scene.send(elements, Body::Deregistration { handle, id, stamp: None });
                    scene.answers(elements);
                }
                Step::Subscribe { user, pool } => {
                    scene.send(users[user].assoc, subscription(&handle(pool)));
                }
                Step::Resolve { user, pool } => {
                    let (handle, items, capabilities) = (handle(pool), None, None);
                    let subscribe = false;
                    let body = Body::HandleResolution { subscribe, handle, items, capabilities };
                    scene.send(users[user].assoc, body);
                }
                Step::Reconnect { user } => {
                    let (assoc, reason) = (users[user].assoc, CloseReason::Lost);
                    scene.input(Input::Closed { assoc, reason });
                    users[user] = Watcher::new(&mut scene);
                }
                Step::Wait { ticks } => pass(&mut scene, ticks, elements, &mut users),
            }
            scene.wait(Duration::ZERO);
            users.iter_mut().for_each(|user| user.look(&mut scene));
        }
        pass(&mut scene, 60, elements, &mut users);
        let watched: usize = users.iter().map(|user| user.known.len()).sum();
        prop_assert_eq!(scene.registrar.watches(), watched);
        for user in &users {
            for pair in user.updated.windows(2) {
                prop_assert!(pair[1].saturating_since(pair[0]) >= HALF, "{:?}", pair);
            }
            for (handle, told) in &user.known {
                let space = scene.registrar.handlespace();
                let pool = space.pool(handle.as_bytes()).into_iter();
                let there: Told = pool
                    .flat_map(|pool| space.elements(pool))
                    .map(|(_, element)| (element.id().0, element.policy().words().unwrap()[0]))
                    .collect();
                prop_assert_eq!(told, &there, "{}", handle);
            }
        }
    }
}
