//! How registrars meet, and know the same (RFC 5353 §3.1-§3.4, §3.6).

use super::*;

#[test]
fn registrars_that_start_together_serve_and_know_each_other() {
    let world = World::new(3);
    for (id, registrar) in &world.registrars {
        assert!(registrar.is_serving(), "{id}");
        assert_eq!(registrar.connected_peers().len(), 2, "{id}");
    }
    // Of two connections between two registrars one has gone.
    assert_eq!(world.ends.len(), 6);
}

#[test]
fn a_registrar_whose_peers_are_down_serves_alone_after_the_mentor_timeout() {
    let mut world = World::new(0);
    world.start(1, &[2]);
    world.pass(millis(990));
    assert!(!world.registrars[&1].is_serving());
    world.pass(millis(20));
    assert!(world.registrars[&1].is_serving());
    assert_eq!(world.seen(|event| *event == Event::InService { alone: true }), 1);
}

#[test]
fn what_happens_at_one_registrar_is_known_at_all() {
    // RFC 5353 §3.3.
    let mut world = World::new(3);
    let first = world.element(1);
    world.element(2);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(0, 1), (1, 2)]);
    let assoc = world.elements[first].assoc.unwrap();
    let body = asap::Body::Deregistration { handle: pool(), id: PeId(0), stamp: None };
    world.asap(ELEMENTS, assoc, body);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(1, 2)]);
    world.elements[1].alive = false;
    world.pass(millis(1100));
    assert_eq!(world.known(3), []);
    world.assert_agreed();
}

#[test]
fn a_registrar_that_joins_late_reads_list_and_table_of_its_mentor() {
    // RFC 5353 §3.2.
    let mut world = World::new(2);
    for _ in 0..700 {
        world.element(1);
    }
    world.pass(millis(100));
    world.start(3, &[2]);
    world.pass(millis(100));
    assert!(world.registrars[&3].is_serving());
    assert_eq!(world.known(3).len(), 700);
    assert_eq!(world.registrars[&3].connected_peers().len(), 2, "found 1 on the list of 2");
    world.assert_agreed();
}

#[test]
fn a_mentor_that_dies_in_the_middle_is_followed_by_the_next() {
    let mut world = World::new(2);
    for _ in 0..700 {
        world.element(1);
    }
    world.pass(millis(100));
    world.start(3, &[2, 1]);
    world.pass(millis(5));
    assert!(!world.registrars[&3].is_serving());
    world.kill(2, false);
    world.pass(millis(500));
    assert!(world.registrars[&3].is_serving());
    assert_eq!(world.known(3).len(), 700);
}

#[test]
fn an_element_that_registers_elsewhere_changes_its_home_and_nothing_else() {
    let mut world = World::new(3);
    let moving = world.element(1);
    world.pass(millis(10));
    world.register(moving, 2);
    world.pass(millis(10));
    assert_eq!(world.known(3), [(0, 2)]);
    // Its old home does not ask it any more, and its old association means nothing.
    world.pass(Duration::from_secs(3));
    assert_eq!(world.known(1), [(0, 2)]);
    world.assert_agreed();
}

#[test]
fn a_lost_update_is_repaired_by_the_next_audit() {
    // RFC 5353 §3.6: within two heartbeats and a table transfer.
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.element(1);
    world.elements[0].alive = false;
    world.pass(millis(5));
    world.lose = |_| false;
    world.pass(millis(510));
    assert_eq!(world.known(3).len(), 2);
    world.pass(millis(1200));
    assert_eq!(world.known(3), [(1, 1)]);
    world.assert_agreed();
}

#[test]
fn a_lost_renewal_shows_in_the_digest_though_not_in_the_checksum() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.register(0, 1);
    world.pass(millis(5));
    world.lose = |_| false;
    assert_eq!(world.space(1).checksum(ServerId(1)), world.space(2).checksum(ServerId(1)));
    assert_ne!(world.space(1).digest(ServerId(1)), world.space(2).digest(ServerId(1)));
    world.pass(millis(510));
    world.assert_agreed();
}

#[test]
fn a_lost_deletion_is_swept() {
    // RFC 5353 §3.6.3 step 5.
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    world.lose = |body| matches!(body, Body::HandleUpdate { .. });
    world.elements[0].alive = false;
    world.pass(millis(1100));
    world.lose = |_| false;
    world.pass(millis(510));
    assert_eq!(world.known(2), []);
    assert!(world.seen(|event| matches!(event, Event::Audited { swept: 1, .. })) > 0);
}

#[test]
fn a_table_that_does_not_come_is_asked_for_less_and_less_often() {
    let mut world = World::new(2);
    world.lose =
        |body| matches!(body, Body::HandleUpdate { .. } | Body::HandleTableResponse { .. });
    world.element(1);
    let asked_within = |world: &mut World, seconds| {
        let before = world.registrars[&2].counters().audits;
        world.pass(Duration::from_secs(seconds));
        world.registrars[&2].counters().audits - before
    };
    let (first, later) = (asked_within(&mut world, 5), asked_within(&mut world, 5));
    assert!((3..=5).contains(&first) && later <= 2, "{first} {later}");
    // Asked for in vain does not mean never again.
    world.lose = |_| false;
    world.pass(Duration::from_secs(6));
    world.assert_agreed();
}

#[test]
fn a_difference_that_audits_do_not_end_is_audited_less_and_less_often_and_another_one_at_once() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    // The second hears that the element has gone to the third, and nobody tells the first.
    world.lose =
        |body| matches!(body, Body::HandleTableResponse { entries, .. } if entries.is_empty());
    let mut moved = world.space(2).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    moved.home = ServerId(3);
    moved.extensions.stamp = moved.extensions.stamp.map(|at| Stamp { seq: at.seq + 9, ..at });
    let by = world.assoc(2, 3).unwrap();
    world.say(2, by, 3, update(UpdateAction::Add, false, moved));
    let audited_within = |world: &mut World, seconds| {
        let of_first = |event: &Event| matches!(event, Event::Audited { server: ServerId(1), .. });
        let before = world.seen(of_first);
        world.pass(Duration::from_secs(seconds));
        world.seen(of_first) - before
    };
    let (first, later) = (audited_within(&mut world, 5), audited_within(&mut world, 20));
    assert!((3..=6).contains(&first) && (3..=5).contains(&later), "{first} {later}");
    assert_eq!(world.space(2).element(b"EchoPool", PeId(0)).unwrap().home(), ServerId(3));
    // What is lost besides is found as soon as ever.
    world.lose = |body| match body {
        Body::HandleTableResponse { entries, .. } => entries.is_empty(),
        body => matches!(body, Body::HandleUpdate { .. }),
    };
    world.element(1);
    world.pass(millis(510));
    assert!(world.space(2).element(b"EchoPool", PeId(1)).is_some());
}

#[test]
fn a_late_deletion_does_not_remove_a_newer_registration() {
    let mut world = World::new(2);
    world.element(1);
    world.pass(millis(10));
    let old = world.space(2).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    world.register(0, 1);
    world.pass(millis(10));
    let by = world.assoc(2, 1).unwrap();
    world.say(2, by, 1, update(UpdateAction::Delete, false, old));
    assert_eq!(world.known(2), [(0, 1)]);
}

#[test]
fn an_element_that_leaves_at_another_registrar_than_its_home_is_gone_everywhere() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    // Its home does not answer, so it turns to another one from the same address.
    let other = world.connect(world.elements[0].host, 2, Channel::Asap, None);
    let stamp = Some(Stamp { seq: 50, moves: 0 });
    let leaving = asap::Body::Deregistration { handle: pool(), id: PeId(0), stamp };
    world.asap(world.elements[0].host, other, leaving);
    world.pass(millis(20));
    for id in 1..=3 {
        assert_eq!(world.known(id), [], "at {id}");
    }
}

#[test]
fn whoever_asks_for_a_table_under_its_own_name_is_a_peer() {
    // RFC 5353 §3.4.1.
    let mut world = World::new(1);
    for (server, peers) in [(0, 0), (9, 1)] {
        let local: Locator = "tcp://127.0.0.1:30000".parse().unwrap();
        let assoc = AssociationId(5_000 + u64::from(server));
        world.input(
            1,
            Input::Connected {
                assoc,
                attempt: None,
                channel: Channel::Enrp,
                local: locator(1),
                remote: local,
                identity: Identity::Anonymous,
            },
        );
        world.say(
            1,
            assoc,
            server,
            Body::HandleTableRequest { own_only: false, capabilities: None },
        );
        assert_eq!(world.registrars[&1].peers.len(), peers);
    }
}

#[test]
fn a_registrar_speaks_for_its_own_elements_only() {
    let mut world = World::new(3);
    world.element(1);
    world.pass(millis(10));
    let mut element = world.space(1).element(b"EchoPool", PeId(0)).unwrap().to_wire();
    element.extensions.stamp = Some(Stamp { seq: 99, moves: 0 });
    let assoc = world.assoc(2, 3).unwrap();
    for (home, changed) in [(1, false), (3, true)] {
        element.home = ServerId(home);
        world.say(2, assoc, 3, update(UpdateAction::Add, false, element.clone()));
        assert_eq!(world.known(2) == [(0, 3)], changed);
    }
}

/// RFC 5352 §3.1 rule 2 holds where a pool is known; here two do not know of each other's.
#[test]
fn a_pool_made_twice_with_two_policies_has_that_of_most_at_every_registrar() {
    const LEAST_USED: u32 = 0x4000_0001;
    for (round_robin, least_used, wins) in [(1, 1, 1), (1, 2, LEAST_USED), (2, 1, 1)] {
        let mut world = World::new(3);
        let home = |policy| if policy == 1 { 1 } else { 2 };
        let policies = [1].repeat(round_robin).into_iter().chain([LEAST_USED].repeat(least_used));
        for policy in policies {
            let index = world.elements.len();
            let known = TestElement {
                host: ELEMENTS + index as u32,
                id: index as u32,
                seq: 10,
                assoc: None,
                alive: true,
                policy,
            };
            world.elements.push(known);
            world.register(index, home(policy));
        }
        world.pass(millis(20));
        world.assert_agreed();
        assert_eq!(world.known(3).len(), round_robin + least_used, "both sides are kept");
        for id in 1..=3 {
            let pool = world.space(id).pool(b"EchoPool").unwrap();
            assert_eq!(pool.policy_number(), PolicyNumber(wins), "at {id}");
        }
        // Whoever does not fit is refused when it renews, and ends with its lease.
        for index in 0..world.elements.len() {
            world.register(index, home(world.elements[index].policy));
        }
        world.pass(millis(20));
        let refused = world.events.iter().filter_map(|(_, event)| match event {
            Event::RegistrationRefused { id, .. } => Some(world.elements[id.0 as usize].policy),
            _ => None,
        });
        let refused: Vec<_> = refused.collect();
        assert!(!refused.is_empty() && refused.iter().all(|policy| *policy != wins), "{refused:?}");
        world.assert_agreed();
    }
}

#[test]
fn of_two_registrars_with_one_identifier_the_newcomer_draws_another() {
    let mut world = World::new(1);
    let config = RegistrarConfig {
        id: ServerId(1),
        peers: Vec::from([locator(1)]),
        enrp_port: port(2),
        ..RegistrarConfig::default()
    };
    world.registrars.insert(2, Registrar::new(config, [2; 32], world.now));
    world.drain(2);
    world.pass(millis(1500));
    assert_eq!(world.registrars[&1].id(), ServerId(1));
    assert_ne!(world.registrars[&2].id(), ServerId(1));
    assert_eq!(world.registrars[&1].connected_peers().len(), 1);
}

#[test]
fn a_registrar_that_was_suspended_while_it_read_a_table_gives_its_mentor_time() {
    let mut world = World::new(1);
    world.element(1);
    world.pass(millis(10));
    world.start(2, &[1]);
    world.pass(millis(3));
    assert!(!world.registrars[&2].is_serving());
    let suspended = world.registrars.remove(&2).unwrap();
    world.cut(1, 2);
    world.pass(millis(870));
    world.registrars.insert(2, suspended);
    world.heal();
    world.pass(millis(20));
    assert_eq!(world.seen(|event| *event == Event::InService { alone: false }), 1);
    assert_eq!(world.known(2), [(0, 1)]);
}
