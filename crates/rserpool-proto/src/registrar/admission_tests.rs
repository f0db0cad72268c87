//! Elements that come when their registrar has died, one sentence per test.

use super::Event;
use super::peer_tests::{World, millis};
use crate::id::{PeId, PoolHandle, ServerId};
use crate::wire::asap::Body;
use crate::wire::capability::Stamp;

/// Registrars 1 and 2, of which the second lets so many a second come, and elements of the first.
fn world(rehome_rate: u32, elements: usize) -> World {
    let mut world = World::new(0);
    world.start(1, &[2]);
    world.start_with(2, &[1], |config| config.timers.rehome_rate = rehome_rate);
    world.pass(millis(2_000));
    for _ in 0..elements {
        world.element(1);
    }
    world.pass(millis(300));
    assert_eq!(world.known(2).len(), elements);
    world
}

/// The first dies, and its elements come to the second.
fn come(world: &mut World) {
    world.kill(1, false);
    for index in 0..world.elements.len() {
        world.register(index, 2);
    }
}

fn registrations(world: &World) -> u64 {
    world.registrars[&2].counters().registrations
}

#[test]
fn the_elements_of_a_small_scope_do_not_wait_for_each_other() {
    let mut world = world(1_000, 100);
    come(&mut world);
    world.pass(millis(3));
    assert_eq!(registrations(&world), 100);
}

#[test]
fn many_elements_are_let_in_one_after_the_other_and_listed_meanwhile() {
    let mut world = world(100, 60);
    come(&mut world);
    world.pass(millis(5));
    assert_eq!(registrations(&world), 25, "a quarter of a second's worth at once");
    world.pass(millis(200));
    assert!((40..=48).contains(&registrations(&world)), "{}", registrations(&world));
    assert_eq!(world.known(2).len(), 60);
    world.pass(millis(200));
    assert_eq!(registrations(&world), 60);
    assert_eq!(world.homes(2), [2]);
}

#[test]
fn nobody_waits_so_long_that_it_turns_to_another_registrar() {
    let mut world = world(4, 100);
    come(&mut world);
    world.pass(millis(405));
    assert_eq!(registrations(&world), 100, "within the time that a registrar has for an answer");
}

#[test]
fn an_element_that_comes_in_time_is_not_given_up_while_it_waits() {
    let mut world = world(4, 50);
    world.kill(1, false);
    world.pass(millis(1_300));
    // Those first that have most of their time left.
    for index in (0..world.elements.len()).rev() {
        world.register(index, 2);
    }
    let removed = |world: &World| world.seen(|event| matches!(event, Event::ElementRemoved { .. }));
    while registrations(&world) < 50 {
        world.pass(millis(10));
        assert_eq!((world.known(2).len(), removed(&world)), (50, 0));
    }
}

#[test]
fn renewals_do_not_wait_behind_those_that_come() {
    let mut world = world(4, 50);
    world.register(49, 2);
    world.pass(millis(10));
    world.elements.swap(0, 49);
    let before = registrations(&world);
    world.kill(1, false);
    for index in 1..50 {
        world.register(index, 2);
    }
    world.pass(millis(3));
    let renewed = |world: &World| {
        world.space(2).element(b"EchoPool", PeId(49)).and_then(|known| known.stamp())
    };
    let known = renewed(&world);
    assert!(registrations(&world) < before + 10);
    world.register(0, 2);
    world.pass(millis(3));
    assert!(renewed(&world) > known);
}

#[test]
fn an_element_that_leaves_while_it_waits_does_not_come() {
    let mut world = world(4, 10);
    come(&mut world);
    world.pass(millis(3));
    let last = &world.elements[9];
    let (host, assoc, seq) = (last.host, last.assoc.unwrap(), last.seq + 1);
    let stamp = Some(Stamp { seq, moves: 0 });
    let handle = PoolHandle::new("EchoPool").unwrap();
    world.asap(host, assoc, Body::Deregistration { handle, id: PeId(9), stamp });
    world.pass(millis(1_000));
    assert_eq!(world.known(2).len(), 9);
    assert_eq!(registrations(&world), 9);
    assert_eq!(world.registrars[&2].id(), ServerId(2));
}
