//! Silence of many at once, and of ourselves, one sentence per test.

use super::Event;
use super::peer_tests::{ELEMENTS, World, millis};
use crate::id::{PeId, ServerId};
use crate::machine::Machine;
use crate::time::Duration;
use crate::wire::enrp::Body;
use alloc::vec::Vec;

/// Registrars, of which the first is home to so many elements on four addresses.
fn world(registrars: u32, elements: u32) -> World {
    let mut world = World::new(registrars);
    for _ in 0..elements {
        world.element(1);
    }
    world.pass(millis(700));
    assert_eq!(world.known(1).len(), elements.try_into().unwrap());
    world
}

/// The first registrar is cut off from its elements, not from other registrars.
fn cut_off(world: &mut World) {
    for host in 0..u32::try_from(world.elements.len()).unwrap() {
        world.cut(1, ELEMENTS + host);
    }
}

fn alarms(world: &World) -> usize {
    world.seen(|event| matches!(event, Event::MassSilence { .. }))
}

fn removed(world: &World) -> usize {
    world.seen(|event| matches!(event, Event::ElementRemoved { .. }))
}

#[test]
fn a_registrar_cut_off_from_its_elements_has_its_peers_look_after_them() {
    let mut world = world(3, 12);
    cut_off(&mut world);
    world.pass(millis(1500));
    assert_eq!(alarms(&world), 1);
    assert_eq!(world.homes(3).iter().find(|home| **home == 1), None, "{:?}", world.known(3));
    // They miss its keep-alives and look for another registrar.
    for index in 0..12 {
        world.register(index, 2);
    }
    world.pass(Duration::from_secs(20));
    assert_eq!(removed(&world), 0, "{:?}", world.events);
    assert_eq!(world.homes(1), [2]);
    world.assert_agreed();
}

#[test]
fn many_that_died_together_are_ranked_last_and_removed_by_whoever_looks_last() {
    let mut world = world(2, 20);
    for index in 0..10 {
        world.elements[index].alive = false;
    }
    world.pass(millis(1450));
    assert_eq!(alarms(&world), 1);
    assert!(world.seen(|event| matches!(event, Event::ElementSuspected { .. })) > 0);
    world.pass(millis(2000));
    assert_eq!(world.known(1).len(), 10, "{:?}", world.known(1));
    assert_eq!(world.homes(1), [1]);
    world.assert_agreed();
}

#[test]
fn few_that_die_or_fewer_than_half_or_those_of_one_host_are_removed_at_once() {
    for (elements, dead) in [(30, Vec::from_iter(0..12)), (9, Vec::from_iter(0..7))] {
        let mut world = world(2, elements);
        for index in &dead {
            world.elements[*index].alive = false;
        }
        world.pass(millis(1450));
        assert_eq!(alarms(&world), 0, "{} of {elements}", dead.len());
        assert_eq!(removed(&world), dead.len());
    }
    let mut world = world(2, 40);
    for index in (0..40).step_by(4) {
        // One host of four.
        world.elements[index].alive = false;
    }
    world.pass(millis(1050));
    assert_eq!((alarms(&world), removed(&world)), (0, 10));
}

#[test]
fn without_a_peer_the_silent_are_waited_for_ten_seconds() {
    let mut world = world(1, 12);
    cut_off(&mut world);
    world.elements[11].alive = false;
    world.pass(Duration::from_secs(9));
    assert_eq!(removed(&world), 0);
    assert_eq!(world.space(1).pool(b"EchoPool").unwrap().suspects(), 12);
    world.heal();
    world.pass(Duration::from_secs(4));
    assert_eq!(removed(&world), 1);
    assert_eq!(world.known(1).len(), 11);
    assert_eq!(world.space(1).pool(b"EchoPool").unwrap().suspects(), 0);
    assert!(world.space(1).element(b"EchoPool", PeId(11)).is_none());
}

#[test]
fn a_registrar_that_was_suspended_while_it_took_over_looks_again_before_it_does() {
    // I12: what the target has said meanwhile is only heard after the deadline has passed.
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.cut(1, 2);
    world.lose = |body| matches!(body, Body::InitTakeoverAck { .. });
    while world.registrars[&2].takeovers.is_empty() {
        world.pass(millis(1));
    }
    // What is said to it waits.
    world.cut(2, 3);
    let suspended = world.registrars.remove(&2).unwrap();
    world.pass(Duration::from_secs(5));
    world.registrars.insert(2, suspended);
    world.heal();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.seen(|event| matches!(event, Event::Resumed { .. })), 1);
    assert_eq!(world.known(2), [(0, 1)]);
    let by_the_suspended = |(host, event): &(u32, Event)| {
        *host == 2 && matches!(event, Event::TakenOver { target: ServerId(1), .. })
    };
    assert!(!world.events.iter().any(by_the_suspended), "{:?}", world.events);
    world.assert_agreed();
}

#[test]
fn a_registrar_that_was_suspended_waits_anew_for_elements_it_has_taken_over() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.kill(1, false);
    world.pass(millis(50));
    assert_eq!(world.known(2), [(0, 2)], "taken over, and awaited");
    let suspended = world.registrars.remove(&2).unwrap();
    world.pass(Duration::from_secs(5));
    world.registrars.insert(2, suspended);
    world.register(0, 2);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.known(2), [(0, 2)]);
    assert_eq!(removed(&world), 0);
    assert!(world.registrars[&2].next_timeout().is_some());
}
