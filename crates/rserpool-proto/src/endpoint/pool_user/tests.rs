//! The user against a registrar played by hand.

mod watches;

use super::*;
use crate::endpoint::testing::*;
use crate::machine::CloseReason;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn config(ports: &[u16]) -> PoolUserConfig {
    PoolUserConfig::new(registrars(ports))
}

fn start(config: PoolUserConfig) -> Bench<PoolUser> {
    Bench::new(|now| PoolUser::new(config, [1; 32], now))
}

/// A user with a home at 3863 that has answered.
fn at_home(config: PoolUserConfig) -> (Bench<PoolUser>, AssociationId) {
    let mut bench = start(config);
    let home = bench.connect(3863);
    assert_eq!(bench.events(), [Event::HomeFound { home: registrar(3863) }]);
    (bench, home)
}

impl Bench<PoolUser> {
    fn resolve(&mut self, request: u64) {
        self.call(|user, now| user.resolve(now, &pool(), RequestId(request)));
    }

    fn pick(&mut self, request: u64, exclude: &[u32]) {
        let exclude: Vec<_> = exclude.iter().map(|&id| PeId(id)).collect();
        self.call(|user, now| user.pick(now, &pool(), RequestId(request), &exclude));
    }

    fn pick_element(&mut self, request: u64, id: u32) {
        self.call(|user, now| user.pick_element(now, &pool(), PeId(id), RequestId(request)));
    }

    fn report(&mut self, id: u32) {
        self.call(|user, now| user.report_unreachable(now, &pool(), PeId(id)));
    }

    /// How many questions have been sent since the last look, all of them about the pool.
    fn questions(&mut self) -> usize {
        let sent = self.sent();
        for (_, body) in &sent {
            let Body::HandleResolution { handle, .. } = body else { panic!("{body:?}") };
            assert_eq!(*handle, pool());
        }
        sent.len()
    }

    /// The answers to requests since the last look: the identifiers, or the error.
    fn answers(&mut self) -> Vec<(u64, Result<Vec<u32>, ResolveError>)> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Resolved { request, result } => Some((
                    request.0,
                    result.map(|found| found.elements.iter().map(|element| element.id.0).collect()),
                )),
                Event::Picked { request, result } => {
                    Some((request.0, result.map(|element| vec![element.id.0])))
                }
                _ => None,
            })
            .collect()
    }

    /// What a pick from the cache gives.
    fn picked(&mut self, exclude: &[u32]) -> Option<u32> {
        self.pick(99, exclude);
        match &self.answers()[..] {
            [(99, Ok(ids))] => Some(ids[0]),
            [] => None,
            other => panic!("{other:?}"),
        }
    }
}

fn no_registrar(ports: &[u16]) -> ResolveError {
    ResolveError::NoRegistrar { registrars: registrars(ports).into() }
}

#[test]
fn a_question_is_asked_once_and_answered_from_the_cache_while_fresh() {
    // RFC 5352 §3.3 NR1-NR4, C1, C2, C4.
    let (mut bench, home) = at_home(PoolUserConfig { items: Some(3), ..config(&[3863]) });
    bench.resolve(1);
    let sent = bench.sent();
    let [(to, Body::HandleResolution { subscribe, handle, items, capabilities })] = &sent[..]
    else {
        panic!("{sent:?}")
    };
    assert_eq!((*to, *subscribe, handle, *items), (home, false, &pool(), Some(3)));
    assert!(capabilities.is_some());
    // The question, who waits for its answer, that it was sent, and where registrars are.
    assert_eq!(bench.machine.kept(), 4);
    bench.receive(home, answer(&pool(), &[1, 2], Some(5)));
    // A pool of two elements in their place.
    assert_eq!(bench.machine.kept(), 4);
    let events = bench.events();
    let [Event::Resolved { request: RequestId(1), result: Ok(found) }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((found.elements.len(), found.total, found.stale), (2, Some(5), false));
    // No policy in the answer means round robin.
    assert_eq!(found.policy, policy(1, &[]));
    bench.pass_ms(999);
    bench.resolve(2);
    assert_eq!((bench.answers(), bench.questions()), (vec![(2, Ok(vec![1, 2]))], 0));
    bench.pass_ms(1);
    bench.resolve(3);
    assert_eq!((bench.answers(), bench.questions()), (vec![], 1));
}

#[test]
fn requests_for_one_pool_share_one_question() {
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.pick(2, &[]);
    bench.pick(3, &[1]);
    bench.pick_element(4, 2);
    assert_eq!(bench.questions(), 1);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    assert_eq!(
        bench.answers(),
        [(1, Ok(vec![1, 2])), (2, Ok(vec![1])), (3, Ok(vec![2])), (4, Ok(vec![2]))]
    );
    assert_eq!(bench.machine.next_timeout(), None);
}

#[test]
fn a_question_waits_for_a_home() {
    // RFC 5352 §3.3 NR2.
    let mut bench = start(config(&[3863]));
    bench.resolve(1);
    assert_eq!(bench.questions(), 0);
    let home = bench.connect(3863);
    assert_eq!(bench.questions(), 1);
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
}

#[test]
fn an_unanswered_question_is_repeated_and_another_registrar_hunted() {
    // RFC 5352 §3.7.2.
    let (mut bench, first) = at_home(config(&[3863, 2]));
    bench.resolve(1);
    assert_eq!(bench.questions(), 1);
    bench.pass_ms(500);
    assert_eq!((bench.questions(), bench.dialled()), (1, vec![2]));
    let second = bench.connect(2);
    assert_eq!((bench.questions(), bench.closed()), (1, vec![first]));
    bench.receive(second, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
}

#[test]
fn a_late_answer_ends_the_hunt() {
    let (mut bench, home) = at_home(config(&[3863, 2]));
    bench.resolve(1);
    bench.pass_ms(600);
    bench.call(|user, now| {
        user.resolve(now, &PoolHandle::new("Other").unwrap(), RequestId(2));
    });
    bench.sent();
    assert_eq!((bench.machine.home(), bench.dialled()), (None, vec![2]));
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!((bench.machine.home(), bench.dialled()), (Some(&registrar(3863)), vec![]));
    // What was asked meanwhile is sent now.
    assert_eq!(bench.sent().len(), 1);
    // The answer to the repetition is no surprise.
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
}

#[test]
fn no_registrar_is_an_answer_after_the_last_repetition() {
    // RFC 5352 §3.7.2: MAX-REQUEST-RETRANSMIT.
    let mut bench = start(config(&[1, 2]));
    bench.resolve(1);
    bench.pass_ms(1_499);
    assert_eq!(bench.answers(), []);
    bench.pass_ms(1);
    assert_eq!(bench.answers(), [(1, Err(no_registrar(&[1, 2])))]);
    // The same if a registrar accepts and says nothing.
    let (mut bench, _) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.pass_ms(1_500);
    assert_eq!((bench.questions(), bench.answers()), (3, vec![(1, Err(no_registrar(&[3863])))]));
}

#[test]
fn a_question_does_not_wait_for_a_long_t5() {
    let mut bench = start(config(&[3863]));
    for _ in 0..600 {
        bench.refuse_all();
        bench.pass_ms(100);
    }
    assert_eq!(bench.events(), [Event::RegistrarUnreachable]);
    while bench.dialled().is_empty() {
        bench.pass_ms(100);
    }
    bench.refuse_all();
    bench.pass_ms(300);
    assert!(bench.dialled().is_empty());
    bench.resolve(1);
    assert_eq!(bench.dialled(), [3863]);
    // But for who is being dialled.
    let dialling = bench.attempts.clone();
    bench.pass_ms(2_000);
    bench.resolve(2);
    assert_eq!(bench.attempts, dialling);
}

#[test]
fn each_failure_is_told_apart_and_says_what_to_do() {
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.receive(home, no_answer(&pool(), vec![ErrorCause::UnknownPoolHandle]));
    bench.resolve(2);
    bench.receive(home, no_answer(&pool(), vec![]));
    bench.resolve(3);
    bench.receive(home, no_answer(&pool(), vec![ErrorCause::LackOfResources]));
    bench.resolve(4);
    let errors = vec![ErrorCause::SecurityConsiderations];
    bench.receive(home, no_answer(&pool(), errors.clone()));
    bench.resolve(5);
    bench.receive(home, Body::Error { errors: errors.clone() });
    bench.break_off(home);
    bench.resolve(6);
    bench.pass_ms(1_500);
    let handle = pool();
    let refused = ResolveError::Refused { handle: handle.clone(), errors };
    let results: Vec<_> =
        bench.answers().into_iter().map(|(_, result)| result.unwrap_err()).collect();
    assert_eq!(
        results,
        [
            ResolveError::UnknownPool { handle: handle.clone() },
            ResolveError::NoElement { handle: handle.clone() },
            ResolveError::NoElement { handle },
            refused.clone(),
            refused,
            no_registrar(&[3863]),
        ]
    );
    assert_eq!(
        results[0].to_string(),
        "the registrar knows no pool `EchoPool`: check the name, or start an element in it"
    );
    assert_eq!(
        results[5].to_string(),
        "no registrar answers at tcp://127.0.0.1:3863: check that one runs there, or name others"
    );
}

#[test]
fn picks_go_round_and_leave_out_what_is_excluded() {
    // RFC 5356 §4.1.3.
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1, 2, 3], None));
    bench.answers();
    let picks: Vec<_> = (0..4).map(|_| bench.picked(&[])).collect();
    assert_eq!(picks, [Some(1), Some(2), Some(3), Some(1)]);
    assert_eq!(bench.picked(&[2]), Some(3));
    assert_eq!(bench.picked(&[2, 3]), Some(1));
    bench.sent();
    bench.pass_ms(1);
    // All excluded: there may be others by now.
    assert_eq!(bench.picked(&[1, 2, 3]), None);
    assert_eq!(bench.questions(), 1);
    bench.receive(home, answer(&pool(), &[1, 2, 3, 4], None));
    assert_eq!(bench.answers(), [(99, Ok(vec![4]))]);
    bench.pass_ms(1);
    assert_eq!(bench.picked(&[1, 2, 3, 4]), None);
    bench.receive(home, answer(&pool(), &[1, 2, 3, 4], None));
    assert_eq!(bench.answers(), [(99, Err(ResolveError::NoElement { handle: pool() }))]);
}

#[test]
fn one_that_asks_for_one_element_gets_past_those_that_it_alone_cannot_reach() {
    let (mut bench, home) = at_home(PoolUserConfig { items: Some(1), ..config(&[3863]) });
    for (known, asked) in [(&[1][..], 1), (&[1, 2], 2), (&[1, 2, 3], 3)] {
        bench.pick(1, &[]);
        let sent = bench.sent();
        let items = sent.iter().find_map(|(_, body)| match body {
            Body::HandleResolution { items, .. } => Some(*items),
            _ => None,
        });
        assert_eq!(items, Some(Some(asked)), "{sent:?}");
        bench.receive(home, answer(&pool(), known, Some(5)));
        let last = *known.last().unwrap();
        assert_eq!(bench.answers(), [(1, Ok(vec![last]))]);
        bench.pass_ms(1);
        bench.report(last);
        bench.pass_ms(1);
    }
    // The last one was set aside a millisecond ago.
    let set_aside = config(&[]).timers.set_aside;
    bench.pass(set_aside - Duration::from_millis(1));
    bench.pick(2, &[]);
    let sent = bench.sent();
    let again =
        |(_, body): &(_, Body)| matches!(body, Body::HandleResolution { items: Some(1), .. });
    assert!(sent.iter().any(again), "{sent:?}");
}

#[test]
fn what_is_purged_is_asked_for_again() {
    // RFC 5352 §6.4.
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1], None));
    bench.answers();
    bench.sent();
    bench.call(|user, _| user.purge(&pool()));
    bench.resolve(2);
    assert_eq!((bench.answers(), bench.questions()), (vec![], 1));
}

#[test]
fn an_unreachable_element_is_reported_once_and_set_aside() {
    // RFC 5352 §3.5.
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    bench.answers();
    bench.sent();
    bench.report(1);
    bench.report(1);
    let id = PeId(1);
    assert_eq!(bench.sent(), [(home, Body::EndpointUnreachable { handle: pool(), id })]);
    assert_eq!([bench.picked(&[]), bench.picked(&[])], [Some(2), Some(2)]);
    // Listed again while its probe is under way: still set aside.
    bench.pass_ms(1_000);
    assert_eq!(bench.picked(&[]), None);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    assert_eq!(bench.answers(), [(99, Ok(vec![2]))]);
    bench.pass_ms(1);
    // Until nothing else is left.
    assert_eq!(bench.picked(&[2]), None);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    assert_eq!(bench.answers(), [(99, Ok(vec![1]))]);
    // Or its time has passed.
    bench.pass_ms(998);
    assert_eq!(bench.picked(&[]), Some(2));
    bench.pass_ms(1);
    bench.pick(1, &[]);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
    // And it may be reported anew.
    bench.sent();
    bench.report(1);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn who_needs_a_second_answer_does_not_wait_longer_than_for_one() {
    let (mut bench, home) = at_home(config(&[3863]));
    let timers = config(&[]).timers;
    bench.resolve(1);
    bench.pass_ms(1);
    // It comes after the question, and wants none of those that the answer lists.
    bench.pick(2, &[1]);
    let patience = timers.t1_request * (timers.max_request_retransmit + 1);
    let given_up = bench.now + patience;
    bench.pass(timers.t1_request - Duration::from_millis(2));
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
    bench.pass(given_up.saturating_since(bench.now));
    assert_eq!(bench.answers(), [(2, Err(no_registrar(&[3863])))]);
}

#[test]
fn the_only_element_is_not_picked_again_before_a_registrar_lists_it_again() {
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1], None));
    bench.answers();
    bench.pass_ms(10);
    bench.report(1);
    bench.sent();
    assert_eq!((bench.picked(&[]), bench.questions()), (None, 1));
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(99, Ok(vec![1]))]);
}

#[test]
fn what_was_never_handed_out_is_not_reported() {
    // RFC 5352 §3.5, §6.9.2.
    let (mut bench, home) = at_home(config(&[3863]));
    bench.report(1);
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1], None));
    bench.sent();
    bench.report(2);
    assert!(bench.sent().is_empty());
    bench.report(1);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn an_undeliverable_question_is_asked_anew_at_another_registrar() {
    // RFC 5352 §3.7.1.
    let (mut bench, home) = at_home(config(&[3863, 2]));
    bench.resolve(1);
    bench.sent();
    bench.input(Input::SendFailed { assoc: home });
    assert_eq!((bench.questions(), bench.dialled()), (0, vec![2]));
    bench.connect(2);
    assert_eq!(bench.questions(), 1);
}

#[test]
fn reports_wait_for_a_home() {
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    let ids: Vec<u32> = (0..100).collect();
    bench.receive(home, answer(&pool(), &ids, None));
    bench.break_off(home);
    bench.sent();
    for id in ids {
        bench.report(id);
    }
    let home = bench.connect(3863);
    let sent = bench.sent();
    assert_eq!(sent.len(), MAX_REPORTS);
    let id = PeId(99);
    assert_eq!(sent.last(), Some(&(home, Body::EndpointUnreachable { handle: pool(), id })));
}

#[test]
fn a_handle_leads_to_the_same_element_while_it_lives() {
    // RFC 5352 §6.5.3.
    let (mut bench, home) = at_home(config(&[3863]));
    let mut ask = |ids: &[u32], total, wanted| {
        bench.pass_ms(1_000);
        bench.pick_element(1, wanted);
        bench.receive(home, answer(&pool(), ids, total));
        bench.answers().remove(0).1
    };
    let gone = Err(ResolveError::NoElement { handle: pool() });
    assert_eq!(ask(&[1, 2], None, 2), Ok(vec![2]));
    assert_eq!(ask(&[1], None, 2), gone);
    // An answer that lists only some of the pool ends no element.
    assert_eq!(ask(&[1, 2], Some(4), 2), Ok(vec![2]));
    assert_eq!(ask(&[3, 4], Some(4), 2), Ok(vec![2]));
    assert_eq!(ask(&[3, 4], Some(4), 5), gone);
    assert_eq!(ask(&[1, 3, 4], Some(3), 2), gone);
}

#[test]
fn an_old_answer_serves_while_no_registrar_does() {
    let keep_stale = Some(Duration::from_secs(60));
    let (mut bench, home) = at_home(PoolUserConfig { keep_stale, ..config(&[3863]) });
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1, 2], None));
    bench.answers();
    bench.pass_ms(900);
    bench.break_off(home);
    bench.pass_ms(100);
    // Nobody knows yet that no registrar will answer.
    bench.resolve(2);
    assert_eq!(bench.answers(), []);
    bench.refuse_all();
    assert_eq!(bench.answers(), [(2, Ok(vec![1, 2]))]);
    // Now it is known.
    bench.pick(3, &[]);
    bench.pick(4, &[]);
    bench.report(1);
    bench.pick(5, &[]);
    bench.pick(6, &[2]);
    assert_eq!(
        bench.answers(),
        [(3, Ok(vec![1])), (4, Ok(vec![2])), (5, Ok(vec![2])), (6, Ok(vec![1]))]
    );
    bench.pass_ms(59_000);
    bench.resolve(7);
    bench.pass_ms(1_500);
    assert_eq!(bench.answers(), [(7, Err(no_registrar(&[3863])))]);
}

#[test]
fn the_first_answer_ends_the_time_of_old_ones() {
    let keep_stale = Some(Duration::from_secs(60));
    let (mut bench, home) = at_home(PoolUserConfig { keep_stale, ..config(&[3863, 2]) });
    bench.resolve(1);
    bench.receive(home, answer(&pool(), &[1], None));
    bench.pass_ms(1_000);
    bench.resolve(2);
    bench.pass_ms(500);
    assert_eq!(bench.answers(), [(1, Ok(vec![1])), (2, Ok(vec![1]))]);
    bench.sent();
    // The question goes on, to find out who answers.
    let second = bench.connect(2);
    assert_eq!(bench.questions(), 1);
    bench.receive(second, answer(&pool(), &[5], None));
    bench.pass_ms(1_000);
    bench.resolve(3);
    assert_eq!((bench.answers(), bench.questions()), (vec![], 1));
}

#[test]
fn a_broken_association_is_told_and_replaced() {
    let (mut bench, home) = at_home(config(&[3863, 2]));
    bench.resolve(1);
    bench.break_off(home);
    let reason = LossReason::Closed(CloseReason::Lost);
    assert_eq!(bench.events(), [Event::HomeLost { home: registrar(3863), reason }]);
    assert_eq!(bench.dialled(), [2], "it has answered nothing yet, and rests");
    bench.questions();
    let second = bench.connect(2);
    assert_eq!(bench.questions(), 1);
    bench.receive(second, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(1, Ok(vec![1]))]);
}

#[test]
fn requests_are_bounded_and_can_be_cancelled() {
    let (mut bench, home) = at_home(PoolUserConfig { max_requests: 2, ..config(&[3863]) });
    for request in 1..=3 {
        bench.resolve(request);
    }
    assert_eq!(bench.answers(), [(3, Err(ResolveError::TooManyRequests { limit: 2 }))]);
    bench.call(|user, _| user.cancel(RequestId(1)));
    bench.resolve(4);
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(bench.answers(), [(2, Ok(vec![1])), (4, Ok(vec![1]))]);
}

#[test]
fn questions_that_nobody_waits_for_are_bounded_too() {
    let mut bench = start(PoolUserConfig { max_requests: 4, ..config(&[3863]) });
    for number in 0..100u64 {
        let handle = PoolHandle::new(number.to_string()).unwrap();
        bench.call(|user, now| user.resolve(now, &handle, RequestId(number)));
        bench.call(|user, _| user.cancel(RequestId(number)));
    }
    assert_eq!(bench.machine.questions.len(), 4);
    bench.pass_ms(1_500);
    assert_eq!(bench.machine.questions.len(), 0);
}

#[test]
fn nobody_comes_to_a_user() {
    let (mut bench, _) = at_home(config(&[3863]));
    let visitor = bench.visit(9);
    assert_eq!(bench.closed(), [visitor]);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Connect(usize),
    Refuse(usize),
    Close(u64),
    SendFailed(u64),
    Receive(u64, Body),
    Resolve(u64, u8),
    Pick(u64, u8, Vec<u32>),
    PickElement(u64, u8, u32),
    Cancel(u64),
    Report(u8, u32),
    Purge(u8),
}

fn handle(number: u8) -> PoolHandle {
    PoolHandle::new([b'a' + number]).unwrap()
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        6 => (0..6u8, proptest::collection::vec(0..8u32, 0..5), proptest::option::of(0..9u32))
            .prop_map(|(pool, ids, total)| answer(&handle(pool), &ids, total)),
        2 => (0..6u8).prop_map(|pool| {
            no_answer(&handle(pool), vec![ErrorCause::UnknownPoolHandle])
        }),
        1 => Just(Body::Error { errors: vec![ErrorCause::Unspecified] }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pool = 0..6u8;
    prop_oneof![
        6 => (0..900u64).prop_map(Step::Pass),
        6 => (0..3usize).prop_map(Step::Connect),
        2 => (0..3usize).prop_map(Step::Refuse),
        1 => (0..12u64).prop_map(Step::Close),
        1 => (0..12u64).prop_map(Step::SendFailed),
        12 => ((0..12u64), body()).prop_map(|(assoc, body)| Step::Receive(assoc, body)),
        4 => (0..20u64, pool.clone()).prop_map(|(request, pool)| Step::Resolve(request, pool)),
        4 => (0..20u64, pool.clone(), proptest::collection::vec(0..8u32, 0..4))
            .prop_map(|(request, pool, exclude)| Step::Pick(request, pool, exclude)),
        2 => (0..20u64, pool.clone(), 0..8u32)
            .prop_map(|(request, pool, id)| Step::PickElement(request, pool, id)),
        1 => (0..20u64).prop_map(Step::Cancel),
        2 => (pool.clone(), 0..8u32).prop_map(|(pool, id)| Step::Report(pool, id)),
        1 => pool.prop_map(Step::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_happens_every_request_gets_one_answer_in_bounded_time(
        steps in proptest::collection::vec(step(), 1..150),
        keep in any::<bool>(),
        fresh in any::<bool>(),
    ) {
        let mut config = config(&[1, 2, 3, 4]);
        config.max_pools = 4;
        config.max_requests = 5;
        config.keep_stale = keep.then_some(Duration::from_secs(5));
        if !fresh {
            config.timers.stale_cache_value = Duration::ZERO;
        }
        let mut bench = start(config);
        let mut open = alloc::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Pass(ms) => bench.pass_ms(ms),
                Step::Connect(n) => {
                    if let Some(port) = bench.dialled().get(n) {
                        bench.connect(*port);
                    }
                }
                Step::Refuse(n) => {
                    if let Some(port) = bench.dialled().get(n) {
                        bench.refuse(*port);
                    }
                }
                Step::Close(assoc) => bench.break_off(AssociationId(assoc)),
                Step::SendFailed(assoc) => {
                    bench.input(Input::SendFailed { assoc: AssociationId(assoc) });
                }
                Step::Receive(assoc, body) => bench.receive(AssociationId(assoc), body),
                Step::Resolve(request, pool) => {
                    open.insert(request);
                    bench.call(|user, now| user.resolve(now, &handle(pool), RequestId(request)));
                }
                Step::Pick(request, pool, exclude) => {
                    open.insert(request);
                    let exclude: Vec<_> = exclude.into_iter().map(PeId).collect();
                    bench.call(|user, now| {
                        user.pick(now, &handle(pool), RequestId(request), &exclude);
                    });
                }
                Step::PickElement(request, pool, id) => {
                    open.insert(request);
                    bench.call(|user, now| {
                        user.pick_element(now, &handle(pool), PeId(id), RequestId(request));
                    });
                }
                Step::Cancel(request) => {
                    open.remove(&request);
                    bench.call(|user, _| user.cancel(RequestId(request)));
                }
                Step::Report(pool, id) => bench
                    .call(|user, now| user.report_unreachable(now, &handle(pool), PeId(id))),
                Step::Purge(pool) => bench.call(|user, _| user.purge(&handle(pool))),
            }
            for (request, _) in bench.answers() {
                prop_assert!(open.remove(&request), "answered twice");
            }
            prop_assert!(bench.machine.cache.len() <= 4);
            prop_assert!(bench.machine.questions.waiting() <= 5);
            prop_assert_eq!(bench.machine.questions.waiting(), open.len());
            prop_assert!(bench.machine.sent.len() <= 20);
            prop_assert!(bench.machine.reports.len() <= MAX_REPORTS);
        }
        bench.pass_ms(1_500);
        for (request, _) in bench.answers() {
            prop_assert!(open.remove(&request), "answered twice");
        }
        prop_assert!(open.is_empty(), "not answered: {open:?}");
    }
}
