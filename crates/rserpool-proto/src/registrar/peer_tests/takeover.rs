//! When a registrar dies, or seems to have (RFC 5353 §3.5).

use super::*;

#[test]
fn a_killed_registrar_is_taken_over_at_once_and_its_elements_stay_listed() {
    // RFC 5353 §3.5.
    let mut world = World::new(3);
    for _ in 0..10 {
        world.element(1);
    }
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(50));
    assert_eq!(world.known(2).len(), 10);
    assert_eq!(world.homes(2), [3], "the higher identifier wins");
    world.assert_agreed();
    for index in 0..9 {
        world.register(index, 2);
    }
    world.pass(millis(2000));
    assert_eq!(world.known(3).len(), 9, "the one that has not shown itself is gone");
    assert_eq!(world.homes(3), [2]);
    world.assert_agreed();
}

#[test]
fn a_silent_registrar_is_found_by_its_missing_presences() {
    // RFC 5353 §3.4.3.
    for registrars in [2, 3] {
        let mut world = World::new(registrars);
        world.element(1);
        world.pass(millis(10));
        world.kill(1, true);
        world.pass(millis(500));
        assert_eq!(world.homes(2), [1]);
        world.pass(millis(1500));
        let taken = world.seen(|event| matches!(event, Event::TakenOver { elements: 1, .. }));
        assert_eq!(taken, 1, "of {registrars}");
        world.assert_agreed();
    }
}

#[test]
fn the_living_are_not_dialled_again_when_one_has_died() {
    let mut world = World::new(4);
    world.kill(4, false);
    let before = world.assocs;
    world.pass(Duration::from_secs(10));
    assert_eq!(world.seen(|event| matches!(event, Event::PeerLost { .. })), 3);
    assert_eq!(world.assocs, before);
    // And one that comes back is.
    world.start(4, &[]);
    world.pass(Duration::from_secs(10));
    assert!((1..=3).all(|id| world.assoc(id, 4).is_some()));
}

#[test]
fn two_registrars_that_find_a_third_one_dead_take_it_over_once() {
    // RFC 5353 §3.5.1 rule 2.
    let mut world = World::new(5);
    for _ in 0..20 {
        world.element(1);
    }
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(300));
    assert_eq!(world.seen(|event| matches!(event, Event::TakenOver { .. })), 1);
    assert_eq!(world.homes(2), [5]);
    world.assert_agreed();
}

#[test]
fn registrars_that_do_not_know_the_same_of_the_dead_one_agree_who_takes_it_over() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, true);
    // It has never heard the dead one, and so does not know what it was capable of.
    world.start_with(3, &[2], |_| {});
    world.pass(millis(100));
    assert_eq!(world.homes(3), [1]);
    let wins = |id: u32, other| world.registrars[&id].wins_against(ServerId(other), ServerId(1));
    assert_eq!((wins(3, 2), wins(2, 3)), (true, false));
}

#[test]
fn a_home_that_only_a_dead_mentor_has_known_is_taken_over() {
    // As many are watched as there may be peers, the mentor among them.
    for (peers, watched) in [(128, true), (2, true), (1, false)] {
        let mut world = World::new(2);
        for _ in 0..3 {
            world.element(1);
        }
        world.element(2);
        world.pass(millis(10));
        world.kill(1, true);
        world.start_with(3, &[2], |config| config.limits.peers = peers);
        world.pass(millis(100));
        assert_eq!(world.homes(3), [1, 2]);
        world.kill(2, true);
        world.pass(millis(300));
        assert_eq!(world.homes(3), [1, 2], "they may still speak");
        world.pass(millis(900));
        assert_eq!(world.homes(3), if watched { [3].as_slice() } else { &[1, 3] });
        let taken = Event::TakenOver { target: ServerId(1), elements: 3 };
        assert_eq!(world.seen(|event| *event == taken), usize::from(watched));
    }
}

#[test]
fn an_initiator_that_dies_does_not_leave_orphans() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(2));
    world.kill(3, false);
    world.pass(millis(3000));
    assert!(world.known(2).is_empty(), "{:?}", world.known(2));
    world.register(0, 2);
    world.pass(millis(10));
    assert_eq!(world.known(2), [(0, 2)]);
}

#[test]
fn a_takeover_of_the_living_takes_nothing() {
    // I12; RFC 5353 §3.5.1 rule 1.
    let mut world = World::new(3);
    let here = world.element(1);
    world.pass(millis(10));
    world.cut(1, 3);
    world.cut(1, 2);
    world.pass(millis(1500));
    world.heal();
    world.pass(millis(6000));
    assert_eq!(world.known(1), [(0, 1)]);
    assert!(world.elements[here].assoc.is_some());
    world.assert_agreed();
}

#[test]
fn after_a_partition_all_agree_and_no_living_element_is_lost() {
    let mut world = World::new(4);
    for registrar in 1..=4 {
        for _ in 0..5 {
            world.element(registrar);
        }
    }
    world.pass(millis(10));
    for (one, other) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        world.cut(one, other);
    }
    world.pass(Duration::from_secs(10));
    for registrar in 1..=4 {
        world.element(registrar);
    }
    world.elements[0].alive = false;
    world.elements[19].alive = false;
    // Renewals and deaths on both sides.
    for index in (1..19).step_by(3) {
        world.register(index, 1 + u32::try_from(index).unwrap() / 5);
    }
    world.pass(Duration::from_secs(10));
    world.heal();
    world.pass(Duration::from_secs(8));
    world.assert_agreed();
    let known: Vec<_> = world.known(1).into_iter().map(|(id, _)| id).collect();
    let living: Vec<_> = world.elements.iter().filter(|known| known.alive).map(|e| e.id).collect();
    assert_eq!(known, living);
}

#[test]
fn an_element_that_is_waited_for_may_be_ended_by_another_registrar() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(50));
    assert_eq!(world.known(3), [(0, 3)]);
    let mut ended = world.space(3).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    let stamp = ended.extensions.stamp.as_mut().unwrap();
    stamp.moves += 1;
    ended.home = ServerId(2);
    let by = world.assoc(3, 2).unwrap();
    world.say(3, by, 2, update(UpdateAction::Delete, false, ended));
    assert_eq!(world.known(3), [], "nobody speaks for it");
}

#[test]
fn a_registrar_that_was_suspended_removes_nothing_that_lives() {
    let mut world = World::new(3);
    for registrar in 1..=3 {
        world.element(registrar);
    }
    world.pass(millis(10));
    // Registrar 2 stands still for 20 s; what is said to it waits.
    let suspended = world.registrars.remove(&2).unwrap();
    for other in [1, 3, ELEMENTS + 1] {
        world.cut(2, other);
    }
    world.pass(Duration::from_secs(20));
    assert_eq!(world.homes(1), [1, 3], "{:?}", world.known(1));
    world.registrars.insert(2, suspended);
    world.heal();
    world.register(1, 3);
    world.pass(Duration::from_secs(6));
    assert_eq!(world.known(2).len(), 3, "{:?}", world.known(2));
    world.assert_agreed();
}
