//! Against a plain list.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u64),
    Update(u32, u64),
    Remove(u32),
    Raise(usize, u64),
    Requeue(u32),
    Lower,
}

fn steps(seats: u32, keys: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..seats, 0..keys).prop_map(|(seat, key)| Step::Insert(seat, key)),
        4 => (0..seats, 0..keys).prop_map(|(seat, key)| Step::Update(seat, key)),
        3 => (0..seats).prop_map(Step::Remove),
        2 => (prop_oneof![1usize..4, 1usize..100], prop_oneof![0..keys / 4 + 1, 0..keys])
            .prop_map(|(n, by)| Step::Raise(n, by)),
        2 => (0..seats).prop_map(Step::Requeue),
        1 => Just(Step::Lower),
    ];
    proptest::collection::vec(step, 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Against a plain vector that is sorted stably.
    #[test]
    fn a_ranking_is_a_list_sorted_by_key_and_arrival(
        steps in prop_oneof![steps(40, 5), steps(600, 50), steps(600, 1_000_000)],
    ) {
        let mut ranking = Ranking::default();
        let mut model: Vec<(u64, u32)> = Vec::new();
        let insert = |model: &mut Vec<(u64, u32)>, seat, key| {
            let index = model.partition_point(|(other, _)| *other <= key);
            model.insert(index, (key, seat));
        };
        for (number, step) in steps.into_iter().enumerate() {
            let key_of = |seat| model.iter().find(|(_, s)| *s == seat).map(|(key, _)| *key);
            match step {
                Step::Insert(seat, key) if key_of(seat).is_none() => {
                    ranking.insert(Seat(seat), key);
                    insert(&mut model, seat, key);
                }
                Step::Update(seat, key) if key_of(seat).is_some_and(|old| old != key) => {
                    ranking.update(Seat(seat), key);
                    model.retain(|(_, s)| *s != seat);
                    insert(&mut model, seat, key);
                }
                Step::Update(seat, key) if key_of(seat).is_some() => {
                    ranking.update(Seat(seat), key);
                }
                Step::Remove(seat) if key_of(seat).is_some() => {
                    ranking.remove(Seat(seat));
                    model.retain(|(_, s)| *s != seat);
                }
                Step::Requeue(seat) => if let Some(key) = key_of(seat) {
                    ranking.requeue(Seat(seat), key);
                    model.retain(|(_, s)| *s != seat);
                    insert(&mut model, seat, key);
                },
                Step::Raise(n, by) => {
                    let raise = |key: u64, seat: u32| key + by * u64::from(seat % 3);
                    ranking.raise_first(n, |key, seat| raise(key, seat.0));
                    let n = n.min(model.len());
                    let raised: Vec<_> = model.drain(..n).collect();
                    for (key, seat) in raised {
                        insert(&mut model, seat, raise(key, seat));
                    }
                }
                Step::Lower => if let Some(&(lowest, _)) = model.first() {
                    ranking.lower(lowest);
                    model.iter_mut().for_each(|(key, _)| *key -= lowest);
                },
                _ => {}
            }
            if number % 16 == 0 {
                ranking.check();
            }
        }
        let mut all = Vec::new();
        ranking.visit(|key, seat| {
            all.push((key, seat.0));
            true
        });
        prop_assert_eq!(all, model);
        ranking.check();
    }
}
