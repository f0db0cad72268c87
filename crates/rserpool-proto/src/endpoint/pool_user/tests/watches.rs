//! Watches: subscribed, told, and subscribed again (RFC 5352 §2.2.5).

use super::*;

/// What the owner was told of watched pools since the last look: identifiers or error, and whether
/// changes are pushed.
fn told(bench: &mut Bench<PoolUser>) -> Vec<(Result<Vec<u32>, ResolveError>, bool)> {
    let events = bench.events().into_iter().filter_map(|event| match event {
        Event::PoolChanged { handle, state, pushed } => {
            assert_eq!(handle, pool());
            let ids = |found: Resolution| found.elements.iter().map(|e| e.id.0).collect();
            Some((state.map(ids), pushed))
        }
        _ => None,
    });
    events.collect()
}

/// The S bits of the questions sent since the last look, all of them about the pool.
fn asked(bench: &mut Bench<PoolUser>) -> Vec<bool> {
    let bits = bench.sent().into_iter().map(|(_, body)| match body {
        Body::HandleResolution { subscribe, handle, .. } if handle == pool() => subscribe,
        other => panic!("{other:?}"),
    });
    bits.collect()
}

/// An answer with the A bit of a registrar of ours.
fn accepted(ids: &[u32]) -> Body {
    response(ids, true, Capabilities(0))
}

/// An update of a registrar of ours.
fn update(ids: &[u32]) -> Body {
    response(ids, true, Capabilities::UPDATE)
}

fn response(ids: &[u32], subscribed: bool, capabilities: Capabilities) -> Body {
    let errors = match ids {
        [] => vec![ErrorCause::UnknownPoolHandle],
        _ => Vec::new(),
    };
    Body::HandleResolutionResponse(alloc::boxed::Box::new(HandleResolutionResponse {
        subscribed,
        handle: pool(),
        policy: None,
        elements: ids.iter().map(|&id| element(id)).collect(),
        errors,
        total: None,
        capabilities: Some(capabilities),
    }))
}

fn watch(bench: &mut Bench<PoolUser>) {
    bench.call(|user, now| user.watch(now, &pool()).unwrap());
}

/// A user at home that watches the pool, in which is one element.
fn watching() -> (Bench<PoolUser>, AssociationId) {
    let (mut bench, home) = at_home(config(&[3863, 3864]));
    watch(&mut bench);
    assert_eq!(asked(&mut bench), [true]);
    bench.receive(home, accepted(&[1]));
    assert_eq!(told(&mut bench), [(Ok(vec![1]), true)]);
    (bench, home)
}

fn unknown() -> ResolveError {
    ResolveError::UnknownPool { handle: pool() }
}

#[test]
fn a_watch_asks_with_the_s_bit_and_tells_what_is_pushed() {
    let (mut bench, home) = watching();
    bench.receive(home, update(&[1, 2]));
    bench.receive(home, update(&[2, 1]));
    assert_eq!(told(&mut bench), [(Ok(vec![1, 2]), true)], "another order is no change");
    bench.receive(home, update(&[]));
    bench.receive(home, update(&[3]));
    assert_eq!(told(&mut bench), [(Err(unknown()), true), (Ok(vec![3]), true)]);
    assert!(asked(&mut bench).is_empty());
}

#[test]
fn what_is_pushed_is_in_the_cache_which_stays_fresh_meanwhile() {
    let (mut bench, home) = watching();
    bench.receive(home, update(&[2]));
    bench.pass_ms(1_500);
    bench.resolve(1);
    assert_eq!(bench.answers(), [(1, Ok(vec![2]))]);
    assert!(asked(&mut bench).is_empty(), "longer than stale_cache_value");
}

#[test]
fn an_update_is_no_answer_to_a_question_under_way() {
    let (mut bench, home) = watching();
    bench.receive(home, update(&[1, 2]));
    bench.pass_ms(1);
    bench.pick_element(1, 3);
    assert_eq!(asked(&mut bench), [true]);
    bench.receive(home, update(&[2]));
    assert!(bench.answers().is_empty());
    bench.receive(home, accepted(&[2, 3]));
    assert_eq!(bench.answers(), [(1, Ok(vec![3]))]);
}

#[test]
fn a_home_that_has_said_nothing_for_a_while_is_asked_whether_it_is_there() {
    let (mut bench, home) = watching();
    bench.pass_ms(1_999);
    assert!(asked(&mut bench).is_empty());
    bench.pass_ms(1);
    assert_eq!(asked(&mut bench), [true]);
    bench.receive(home, accepted(&[1]));
    assert!(told(&mut bench).is_empty());
    bench.pass_ms(1_000);
    bench.receive(home, update(&[1, 2]));
    bench.pass_ms(1_999);
    assert!(asked(&mut bench).is_empty(), "it has just said something");
    bench.pass_ms(501);
    assert_eq!(asked(&mut bench), [true, true], "T1");
    assert_eq!(bench.dialled(), [3864], "it may be dead");
}

#[test]
fn a_new_home_is_told_what_is_watched() {
    // RFC 5352 §2.2.5: registrars do not share who watches what.
    let (mut bench, home) = watching();
    bench.break_off(home);
    told(&mut bench);
    let home = bench.connect(3864);
    assert_eq!(asked(&mut bench), [true]);
    bench.receive(home, accepted(&[1]));
    assert!(told(&mut bench).is_empty(), "it is as it was");
    bench.receive(home, update(&[2]));
    assert_eq!(told(&mut bench), [(Ok(vec![2]), true)]);
}

#[test]
fn that_no_registrar_answers_is_told_once_and_asked_on() {
    let (mut bench, home) = watching();
    bench.break_off(home);
    bench.refuse_all();
    bench.pass_ms(2_000);
    bench.refuse_all();
    bench.pass_ms(1_499);
    assert!(told(&mut bench).is_empty());
    bench.pass_ms(20_000);
    assert_eq!(told(&mut bench), [(Err(no_registrar(&[3863, 3864])), true)]);
    bench.pass_ms(10_000);
    assert!(told(&mut bench).is_empty());
}

#[test]
fn a_registrar_that_tells_no_changes_is_asked_again_and_again() {
    // RFC 5352 §2.2.6: A=0, as rsplib has it.
    let (mut bench, home) = at_home(config(&[3863]));
    watch(&mut bench);
    for ids in [&[1][..], &[1], &[1, 2]] {
        assert_eq!(asked(&mut bench), [true]);
        bench.receive(home, answer(&pool(), ids, None));
        bench.pass_ms(1_000);
    }
    assert_eq!(told(&mut bench), [(Ok(vec![1]), false), (Ok(vec![1, 2]), false)]);
}

#[test]
fn a_pool_that_is_not_there_can_be_waited_for() {
    let (mut bench, home) = at_home(config(&[3863]));
    watch(&mut bench);
    bench.receive(home, accepted(&[]));
    bench.receive(home, update(&[1]));
    assert_eq!(told(&mut bench), [(Err(unknown()), true), (Ok(vec![1]), true)]);
}

#[test]
fn a_watch_that_is_not_needed_any_more_is_ended_at_the_registrar() {
    let (mut bench, home) = watching();
    bench.call(|user, now| user.unwatch(now, &pool()));
    assert_eq!(asked(&mut bench), [false]);
    bench.receive(home, answer(&pool(), &[1], None));
    bench.receive(home, update(&[1, 2]));
    assert_eq!(asked(&mut bench), [false], "it has not understood");
    assert!(told(&mut bench).is_empty());
    bench.receive(home, answer(&pool(), &[1], None));
    bench.pass_ms(60_000);
    assert!(asked(&mut bench).is_empty());
}

#[test]
fn a_watch_that_begins_while_a_question_is_under_way_subscribes_after_it() {
    let (mut bench, home) = at_home(config(&[3863]));
    bench.resolve(1);
    watch(&mut bench);
    assert_eq!(asked(&mut bench), [false]);
    bench.receive(home, answer(&pool(), &[1], None));
    assert_eq!(told(&mut bench), [(Ok(vec![1]), false)]);
    bench.pass_ms(0);
    assert_eq!(asked(&mut bench), [true]);
}

#[test]
fn as_many_pools_are_watched_as_allowed() {
    let (mut bench, _) = at_home(PoolUserConfig { max_watches: 1, ..config(&[3863]) });
    watch(&mut bench);
    watch(&mut bench);
    let other = PoolHandle::new("other").unwrap();
    bench.call(|user, now| {
        assert_eq!(user.watch(now, &other), Err(TooManyWatches { limit: 1 }));
        user.unwatch(now, &pool());
        assert_eq!(user.watch(now, &other), Ok(()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_owner_knows_what_the_registrar_has_said_last(
        steps in proptest::collection::vec((0..5u8, proptest::collection::btree_set(1..4u32, 0..3)), 1..40),
    ) {
        let (mut bench, mut home) = watching();
        let (mut known, mut said) = (vec![1], vec![1]);
        for (what, ids) in steps {
            let ids: Vec<u32> = ids.into_iter().collect();
            match what {
                0 | 1 => {
                    bench.receive(home, update(&ids));
                    said = ids;
                }
                2 => bench.pass_ms(300),
                3 => bench.pick(1, &[1]),
                _ => {
                    bench.break_off(home);
                    home = match bench.dialled().first() {
                        Some(&port) => bench.connect(port),
                        None => {
                            bench.pass_ms(300);
                            let port = bench.dialled()[0];
                            bench.connect(port)
                        }
                    };
                }
            }
            while let [_, ..] = &bench.sent()[..] {
                bench.receive(home, accepted(&said));
            }
            for (state, _) in told(&mut bench) {
                let mut ids = state.unwrap_or_default();
                ids.sort_unstable();
                known = ids;
            }
            prop_assert_eq!(&known, &said);
        }
    }
}
