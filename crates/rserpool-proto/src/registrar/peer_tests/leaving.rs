//! When a registrar leaves in order.

use super::*;

#[test]
fn a_leaving_registrar_hands_its_elements_over_before_it_goes() {
    let mut world = World::new(3);
    for _ in 0..6 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(1);
    world.pass(millis(20));
    assert_eq!(world.known(2).len(), 6);
    assert!(!world.homes(2).contains(&1), "{:?}", world.homes(2));
    for index in 0..6 {
        world.register(index, 2);
    }
    world.pass(millis(100));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    world.kill(1, false);
    world.pass(millis(3000));
    assert_eq!(world.known(2).len(), 6);
    assert_eq!(world.homes(2), [2]);
    world.assert_agreed();
}

#[test]
fn an_element_that_is_handed_over_stays_ranked_last_until_it_has_answered_twice() {
    let mut world = World::new(2);
    for _ in 0..4 {
        world.element(1);
    }
    world.pass(millis(10));
    for reporter in 1..4 {
        let TestElement { host, assoc, .. } = world.elements[reporter];
        let report = asap::Body::EndpointUnreachable { handle: pool(), id: PeId(0) };
        world.asap(host, assoc.unwrap(), report);
    }
    let suspected = |world: &World, at| {
        let table = world.space(at).table(None, None);
        let suspected = table.filter(|(_, _, known)| known.suspect());
        suspected.map(|(_, _, known)| known.id().0).collect::<Vec<_>>()
    };
    world.pass(millis(1));
    assert_eq!(suspected(&world, 1), [0]);
    world.leave(1);
    world.pass(millis(5));
    assert_eq!((world.homes(2), suspected(&world, 2)), (Vec::from([2]), Vec::from([0])));
    world.register(0, 2);
    world.pass(millis(5));
    assert_eq!(suspected(&world, 2), [0], "to come is not to have answered");
    world.pass(millis(1500));
    assert_eq!(suspected(&world, 2), []);
    assert_eq!(world.seen(|event| matches!(event, Event::ElementCleared { .. })), 1);
}

#[test]
fn what_was_handed_over_stays_where_it_is_when_the_giver_is_taken_over() {
    let mut world = World::new(3);
    for _ in 0..6 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(1);
    world.pass(millis(20));
    let handed_over = world.known(2);
    assert_eq!(world.homes(2), [2, 3, 2, 3, 2, 3]);
    // The stronger one takes the giver over, and with it nothing.
    let assoc = world.registrars[&2].peers[&ServerId(3)].assoc.unwrap();
    let body = Body::TakeoverServer { target: ServerId(1) };
    let mut bytes = Vec::new();
    enrp::Message::new(ServerId(3), ServerId::NONE, body).encode(&mut bytes).unwrap();
    world.input(2, Input::Received { assoc, ppid: PPID_ENRP, bytes: &bytes });
    world.pass(millis(600));
    assert_eq!(world.known(2), handed_over);
    world.assert_agreed();
}

#[test]
fn elements_are_handed_over_no_faster_than_they_can_register_elsewhere() {
    let mut world = World::new(2);
    for _ in 0..300 {
        world.element(1);
    }
    world.pass(millis(100));
    world.leave(1);
    world.pass(millis(105));
    let gone = world.known(2).iter().filter(|(_, home)| *home == 2).count();
    assert!((90..=120).contains(&gone), "{gone} after a tenth of a second at 1000/s");
    let stays = world.elements.iter().filter(|known| known.assoc.is_some()).count();
    assert!((180..=220).contains(&stays), "{stays} are still connected");
    world.pass(millis(400));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    assert!(world.elements.iter().all(|known| known.assoc.is_none()));
    assert_eq!(world.known(2).len(), 300);
}

#[test]
fn of_several_that_leave_at_once_nobody_hands_elements_to_another() {
    let mut world = World::new(3);
    for _ in 0..20 {
        world.element(1);
    }
    world.pass(millis(10));
    world.leave(2);
    world.leave(1);
    world.pass(millis(600));
    assert_eq!(world.homes(3), [3], "{:?}", world.known(3));
    assert_eq!(world.known(3).len(), 20);
    assert_eq!(world.seen(|event| *event == Event::Drained), 2);
}

#[test]
fn what_nobody_takes_in_time_is_taken_over_as_from_the_dead() {
    let mut world = World::new(2);
    for _ in 0..5 {
        world.element(1);
    }
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
    world.leave(1);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.seen(|event| *event == Event::Drained), 0);
    assert_eq!(world.homes(2), [1]);
    world.pass(millis(1100));
    assert_eq!(world.seen(|event| *event == Event::Drained), 1);
    world.kill(1, false);
    world.pass(millis(600));
    assert_eq!(world.known(2).len(), 5, "nobody has said that they ended");
    assert_eq!(world.homes(2), [2]);
}

#[test]
fn an_element_is_offered_once_in_a_round() {
    static OFFERS: AtomicUsize = AtomicUsize::new(0);
    let mut world = World::new(2);
    for _ in 0..5 {
        world.element(1);
    }
    world.pass(millis(10));
    world.lose = |body| {
        let is_offer = matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
        OFFERS.fetch_add(usize::from(is_offer), Ordering::Relaxed);
        is_offer
    };
    world.leave(1);
    for (ms, offers) in [(350, 5), (200, 10), (400, 15)] {
        world.pass(millis(ms));
        assert_eq!(OFFERS.load(Ordering::Relaxed), offers);
    }
}

#[test]
fn a_leaving_registrar_serves_its_elements_until_a_peer_has_them_and_takes_no_new_ones() {
    let mut world = World::new(2);
    let old = world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { takeover_suggested: true, .. });
    world.leave(1);
    world.register(old, 1);
    let new = world.element(1);
    world.pass(millis(10));
    assert_eq!(world.known(2), [(0, 1)]);
    assert!(world.elements[old].assoc.is_some());
    assert!(world.elements[new].assoc.is_none(), "sent elsewhere");
    // Its renewal is newer than what was offered; the next offer is as new.
    world.lose = |_| false;
    world.pass(millis(500));
    assert_eq!(world.known(2), [(0, 2)]);
    assert_eq!(world.known(1), [(0, 2)]);
}
