//! The rules of the handlespace, one by one.

use super::*;
use crate::policy::{PolicyNumber, PolicyParameter};
use crate::wire::capability::{Owner, Stamp};
use crate::wire::operation_error::ErrorCause;
use crate::wire::policy::PolicyData;
use crate::wire::pool_element::{ElementExtensions, PoolElement};
use crate::wire::transport::{Addresses, SctpTransport, Transport, TransportUse};
use crate::wire::unknown::UnknownParameter;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;

const HOME: ServerId = ServerId(0x11);
const OTHER: ServerId = ServerId(0x22);
const LEAST_USED: u32 = 0x4000_0001;
const LIFE: Duration = Duration::from_secs(30);

fn space() -> Handlespace {
    Handlespace::new(HandlespaceConfig::default(), [9; 32])
}

fn handle(name: &str) -> PoolHandle {
    PoolHandle::new(name).unwrap()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn sctp(last: u8, transport_use: TransportUse) -> SctpTransport {
    SctpTransport { port: 5000, transport_use, addresses: address(last).into() }
}

/// An element with the least used policy on TCP.
fn element(id: u32, load: u32) -> PoolElement {
    PoolElement {
        id: PeId(id),
        home: HOME,
        life: 30,
        user_transport: Transport::Tcp(SocketAddr::new(address(id as u8), 80)),
        policy: PolicyParameter::new(PolicyNumber(LEAST_USED), &[load]),
        asap_transport: Some(sctp(id as u8, TransportUse::DataOnly)),
        extensions: ElementExtensions::default(),
    }
}

fn stamped(id: u32, home: ServerId, seq: u64, moves: u32) -> PoolElement {
    let mut element = element(id, 0);
    element.home = home;
    element.extensions.stamp = Some(Stamp { seq, moves });
    element
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn register(space: &mut Handlespace, name: &str, element: PoolElement) -> Change {
    let change = space.register(at(0), &handle(name), element, Some(LIFE)).unwrap();
    space.check();
    change
}

fn refusal(space: &mut Handlespace, name: &str, element: PoolElement) -> ErrorCause {
    let before = space.digest(HOME);
    let error = space.register(at(0), &handle(name), element, Some(LIFE)).unwrap_err();
    assert_eq!(space.digest(HOME), before, "a refusal changes nothing");
    space.check();
    error.cause()
}

fn resolve(space: &mut Handlespace, now: Instant, name: &str, items: usize) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    space.resolve(now, name.as_bytes(), items, Asker::UNCOUNTED, &mut out)?;
    Some(out.into_iter().map(|slot| space.element_at(slot).unwrap().id().0).collect())
}

fn add(space: &mut Handlespace, from: ServerId, element: PoolElement) -> Update {
    let update = space.apply_add(at(0), from, &handle("p"), element, Some(LIFE)).unwrap();
    space.check();
    update
}

#[test]
fn the_first_element_makes_the_pool_and_the_last_one_ends_it() {
    // RFC 5352 §3.1 rule 1, §3.2
    let mut space = space();
    let change = register(&mut space, "p", element(1, 0));
    assert_eq!(
        (change.kind, change.previous_home, change.visible),
        (ChangeKind::Added, None, true)
    );
    let pool = space.pool(b"p").unwrap();
    assert_eq!(pool.policy_number(), PolicyNumber(LEAST_USED));
    assert_eq!(pool.transport_use(), TransportUse::DataOnly);
    register(&mut space, "p", element(2, 0));
    assert_eq!((space.pool_count(), space.element_count(), space.owned_count(HOME)), (1, 2, 2));
    let change = space.remove(at(1), b"p", PeId(1)).unwrap();
    assert_eq!(change.kind, ChangeKind::Removed);
    assert_eq!(change.removed.unwrap().id, PeId(1));
    space.remove(at(1), b"p", PeId(2)).unwrap();
    space.check();
    assert!(space.pool(b"p").is_none());
    assert_eq!(space.remove(at(1), b"p", PeId(2)), None);
    assert_eq!((space.pool_count(), space.element_count(), space.homes().count()), (0, 0, 0));
    assert_eq!(space.checksum(HOME), 0xffff);
}

#[test]
fn a_registration_that_does_not_match_its_pool_is_refused_with_what_the_pool_has() {
    // RFC 5352 §3.1 rules 2 and 3: a new element and a known one alike.
    let mut space = space();
    register(&mut space, "p", element(1, 7));
    register(
        &mut space,
        "s",
        PoolElement {
            user_transport: Transport::Sctp(sctp(1, TransportUse::DataPlusControl)),
            ..element(1, 7)
        },
    );
    for id in [1, 2] {
        let mut other = element(id, 7);
        other.policy = PolicyParameter::new(PolicyNumber(1), &[]);
        let expected = PolicyParameter::new(PolicyNumber(LEAST_USED), &[7]);
        let cause = refusal(&mut space, "p", other);
        assert_eq!(cause, ErrorCause::InconsistentPolicy(expected));

        let mut other = element(id, 7);
        other.user_transport = Transport::Udp(SocketAddr::new(address(9), 80));
        let expected = element(1, 7).user_transport;
        let cause = refusal(&mut space, "p", other);
        assert_eq!(cause, ErrorCause::InconsistentTransport(expected));

        let mut other = element(id, 7);
        other.user_transport = Transport::Sctp(sctp(1, TransportUse::DataOnly));
        assert_eq!(refusal(&mut space, "s", other), ErrorCause::InconsistentDataControl);
    }
}

#[test]
fn a_re_registration_replaces_all_attributes_and_the_home() {
    // RFC 5352 §3.1 rules 3 and 4
    let mut space = space();
    add(&mut space, OTHER, stamped(1, OTHER, 5, 1));
    let mut again = element(1, 9);
    again.life = 40;
    again.user_transport = Transport::Tcp(SocketAddr::new(address(77), 81));
    again.extensions = ElementExtensions {
        stamp: Some(Stamp { seq: 6, moves: 0 }),
        asap_over_tcp: Some(SocketAddr::new(address(1), 5000)),
        owner: Some(Owner([3; 16])),
        tcp_control: true,
        unknown: [UnknownParameter { kind: 0x9fff, value: [1, 2, 3].into() }].into(),
    };
    let change = register(&mut space, "p", again.clone());
    assert_eq!((change.kind, change.previous_home), (ChangeKind::Updated, Some(OTHER)));
    assert_eq!((change.home, change.visible), (HOME, true));
    assert_eq!(space.element(b"p", PeId(1)).unwrap().to_wire(), again);
    assert_eq!((space.owned_count(OTHER), space.owned_count(HOME)), (0, 1));
    again.extensions.stamp = Some(Stamp { seq: 7, moves: 0 });
    assert!(!register(&mut space, "p", again).visible, "users see no difference");
}

#[test]
fn invalid_values_are_refused_as_the_parameter_they_came_in() {
    // RFC 5352 §3.1 rule 5, RFC 5354 §3.12.4
    let config = HandlespaceConfig { max_handle_len: 4, ..HandlespaceConfig::default() };
    let mut space = Handlespace::new(config, [1; 32]);
    let mut invalid = element(1, 0);
    invalid.policy = PolicyParameter::new(PolicyNumber(LEAST_USED), &[1, 2]);
    let bytes = [0, 8, 0, 16, 0x40, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(refusal(&mut space, "p", invalid.clone()), ErrorCause::InvalidValues(bytes.into()));
    invalid.policy.data = PolicyData::Bytes([7].into());
    let bytes = [0, 8, 0, 9, 0x40, 0, 0, 1, 7];
    assert_eq!(refusal(&mut space, "p", invalid.clone()), ErrorCause::InvalidValues(bytes.into()));
    for reserved in [0, 0x4000_0000] {
        invalid.policy = PolicyParameter::new(PolicyNumber(reserved), &[]);
        assert!(matches!(refusal(&mut space, "p", invalid.clone()), ErrorCause::InvalidValues(_)));
    }
    let bytes = [0, 9, 0, 9, b'e', b'c', b'h', b'o', b's'];
    assert_eq!(
        refusal(&mut space, "echos", element(1, 0)),
        ErrorCause::InvalidValues(bytes.into())
    );
}

#[test]
fn limits_are_answered_with_lack_of_resources_and_do_not_stop_renewals() {
    // RFC 5352 §3.1 rule 5
    let config = HandlespaceConfig {
        max_pools: 2,
        max_elements: 3,
        max_elements_per_pool: 2,
        ..HandlespaceConfig::default()
    };
    let mut space = Handlespace::new(config, [1; 32]);
    register(&mut space, "p", element(1, 0));
    register(&mut space, "p", element(2, 0));
    assert_eq!(refusal(&mut space, "p", element(3, 0)), ErrorCause::LackOfResources);
    register(&mut space, "q", element(1, 0));
    assert_eq!(refusal(&mut space, "q", element(2, 0)), ErrorCause::LackOfResources);
    assert_eq!(refusal(&mut space, "r", element(1, 0)), ErrorCause::LackOfResources);
    register(&mut space, "p", element(2, 5));
    let full = space.apply_add(at(0), OTHER, &handle("q"), element(2, 0), None);
    assert_eq!(full.unwrap_err().cause(), ErrorCause::LackOfResources);
}

#[test]
fn an_unknown_policy_is_kept_as_bytes_and_answered_as_round_robin() {
    // RFC 5356 §4.1.1
    let mut space = space();
    let number = PolicyNumber(0xb000_9001);
    for id in 1..=3 {
        let data = PolicyData::Bytes([id as u8; 30].into());
        register(
            &mut space,
            "p",
            PoolElement { policy: PolicyParameter { number, data }, ..element(id, 0) },
        );
    }
    let policy = space.element(b"p", PeId(2)).unwrap().policy();
    assert_eq!(policy.data, PolicyData::Bytes([2; 30].into()));
    assert_eq!(resolve(&mut space, at(0), "p", 2).unwrap(), [1, 2]);
    assert_eq!(resolve(&mut space, at(0), "p", 2).unwrap(), [2, 3]);
}

#[test]
fn an_unknown_pool_and_an_empty_answer_are_different() {
    // RFC 5352 §3.3, RFC 5356 §3.2
    let mut space = space();
    assert_eq!(resolve(&mut space, at(0), "p", 9), None);
    let policy = PolicyParameter::new(PolicyNumber(4), &[0]);
    register(&mut space, "p", PoolElement { policy, ..element(1, 0) });
    assert_eq!(resolve(&mut space, at(0), "p", 9).unwrap(), []);
}

#[test]
fn a_lease_runs_out_exactly_and_renewals_hold_it_off() {
    let mut space = space();
    register(&mut space, "p", element(1, 1));
    register(&mut space, "p", element(2, 2));
    space.register(at(0), &handle("p"), element(3, 3), None).unwrap();
    space.register(at(10), &handle("p"), element(1, 1), Some(LIFE)).unwrap();
    assert_eq!(space.next_expiry(), Some(at(30)));
    assert_eq!(space.expire(at(30) - Duration::from_micros(1)), None);
    assert_eq!(resolve(&mut space, at(30), "p", 9).unwrap(), [1, 3], "expired, not yet removed");
    assert_eq!(space.expire(at(30)).unwrap().id, PeId(2));
    assert_eq!(space.expire(at(30)), None);
    assert_eq!(space.next_expiry(), Some(at(40)));
    assert_eq!(space.expire(at(40)).unwrap().id, PeId(1));
    assert_eq!((space.expire(at(40)), space.next_expiry()), (None, None));
    let endless = space.element(b"p", PeId(3)).unwrap();
    assert_eq!((endless.lease(), endless.life()), (None, 30), "the number as it came");
    // A shorter life counts at once.
    space.register(at(40), &handle("p"), element(3, 3), Some(Duration::from_secs(1))).unwrap();
    space.check();
    assert_eq!(space.expire(at(41)).unwrap().id, PeId(3));
    space.check();
}

#[test]
fn suspects_come_last_and_still_come() {
    let mut space = space();
    for id in 1..=4 {
        register(&mut space, "p", element(id, id));
    }
    let slot = space.slot(b"p", PeId(1)).unwrap();
    space.set_suspect(slot, true);
    space.set_suspect(slot, true);
    space.check();
    assert_eq!(resolve(&mut space, at(0), "p", 3).unwrap(), [2, 3, 4]);
    assert_eq!(resolve(&mut space, at(0), "p", 4).unwrap(), [2, 3, 4, 1]);
    register(&mut space, "p", element(1, 0));
    assert_eq!(resolve(&mut space, at(0), "p", 4).unwrap(), [2, 3, 4, 1], "until it is cleared");
    space.set_suspect(slot, false);
    assert_eq!(resolve(&mut space, at(0), "p", 4).unwrap(), [1, 2, 3, 4]);
    space.set_suspect(slot, true);
    space.remove(at(0), b"p", PeId(1)).unwrap();
    space.check();
    assert_eq!(space.pool(b"p").unwrap().suspects(), 0);
}

#[test]
fn a_table_is_read_page_by_page_while_elements_come_and_go() {
    // RFC 5353 §3.2.3
    let mut space = space();
    for name in ["b", "a", "c"] {
        for id in [3, 1, 2] {
            register(&mut space, name, element(id, 0));
        }
    }
    let page = |space: &Handlespace, after: Option<(&PoolHandle, PeId)>, home, len| {
        let entries = space.table(after, home).take(len);
        entries.map(|(pool, _, e)| (pool.handle().clone(), e.id())).collect::<Vec<_>>()
    };
    let key = |name, id| (handle(name), PeId(id));
    let first = page(&space, None, None, 2);
    assert_eq!(first, [key("a", 1), key("a", 2)]);
    for id in 1..=3 {
        space.remove(at(0), b"a", PeId(id));
    }
    space.remove(at(0), b"b", PeId(1));
    let (after, id) = &first[1];
    let second = page(&space, Some((after, *id)), None, 3);
    assert_eq!(second, [key("b", 2), key("b", 3), key("c", 1)]);
    let (after, id) = &second[2];
    assert_eq!(page(&space, Some((after, *id)), None, 9), [key("c", 2), key("c", 3)]);
    space.set_home(space.slot(b"c", PeId(2)).unwrap(), OTHER);
    assert_eq!(page(&space, None, Some(OTHER), 9), [key("c", 2)]);
    assert_eq!(page(&space, None, Some(HOME), 9).len(), 4);
}

#[test]
fn checksums_and_digests_of_parts_add_up_and_tell_homes_apart() {
    // RFC 5353 §3.6.2
    let mut space = space();
    register(&mut space, "EchoPool", element(0x21, 0));
    assert_eq!(space.checksum(HOME).to_be_bytes(), [0x92, 0x30]);
    assert_eq!(space.checksum_rsplib(HOME).to_be_bytes(), [0x92, 0x30]);
    let (checksum, digest) = (space.checksum(HOME), space.digest(HOME));
    let slot = register(&mut space, "EchoPool", element(0x22, 0)).slot;
    assert_ne!(space.checksum(HOME), checksum);
    space.set_home(slot, OTHER).unwrap();
    assert_eq!((space.checksum(HOME), space.digest(HOME)), (checksum, digest));
    assert_eq!(space.checksum(OTHER), checksum - 1, "one's complement: one more is one less");
    register(&mut space, "EchoPool", element(0x21, 0));
    assert_eq!(space.checksum(HOME), checksum);
    assert_ne!(space.digest(HOME), digest, "a lost re-registration shows");
}

#[test]
fn the_digest_is_the_same_everywhere() {
    let mut space = space();
    register(
        &mut space,
        "EchoPool",
        PoolElement {
            user_transport: Transport::Sctp(SctpTransport {
                port: 7,
                transport_use: TransportUse::DataPlusControl,
                addresses: Addresses::new(&[address(1), IpAddr::from([1, 2, 3, 4, 5, 6, 7, 8])])
                    .unwrap(),
            }),
            ..stamped(0x21, HOME, 5, 1)
        },
    );
    assert_eq!(space.digest(HOME), DIGEST);
}

/// What [`the_digest_is_the_same_everywhere`] registers; a registrar of another version must agree.
const DIGEST: u64 = 0xd9c1_a242_9db3_58ed;

#[test]
fn a_late_registration_does_not_override_a_newer_one() {
    let mut space = space();
    register(&mut space, "p", stamped(1, HOME, 6, 0));
    assert_eq!(refusal(&mut space, "p", stamped(1, HOME, 5, 9)), ErrorCause::NonUniquePeId);
    register(&mut space, "p", stamped(1, HOME, 6, 0));
    assert_eq!(space.deregister(at(0), b"p", PeId(1), Some(Stamp { seq: 5, moves: 0 })), None);
    let change = space.deregister(at(0), b"p", PeId(1), Some(Stamp { seq: 7, moves: 0 })).unwrap();
    assert_eq!(change.removed.unwrap().extensions.stamp, Some(Stamp { seq: 7, moves: 0 }));
    assert_eq!(refusal(&mut space, "p", stamped(1, HOME, 7, 0)), ErrorCause::NonUniquePeId);
    register(&mut space, "p", stamped(1, HOME, 8, 0));
}

#[test]
fn an_element_without_stamps_is_given_one_above_the_highest_known() {
    let mut space = space();
    let seq = |space: &Handlespace| space.element(b"p", PeId(1)).unwrap().stamp().unwrap().seq;
    register(&mut space, "p", element(1, 0));
    assert_eq!(seq(&space), 1);
    register(&mut space, "p", element(1, 0));
    assert_eq!(seq(&space), 2);
    space.remove(at(0), b"p", PeId(1));
    register(&mut space, "p", element(1, 0));
    assert_eq!(seq(&space), 3, "its tombstone is known too");
}

#[test]
fn an_addition_applies_if_its_stamp_is_higher() {
    let mut space = space();
    assert!(matches!(add(&mut space, OTHER, stamped(1, OTHER, 5, 1)), Update::Applied(_)));
    assert_eq!(add(&mut space, OTHER, stamped(1, OTHER, 5, 0)), Update::Late);
    assert_eq!(add(&mut space, OTHER, stamped(1, OTHER, 4, 9)), Update::Late);
    assert!(matches!(add(&mut space, OTHER, stamped(1, OTHER, 5, 1)), Update::Known(_)));
    // Two homes with equal stamps: two takeovers; the higher identifier counts.
    assert_eq!(add(&mut space, HOME, stamped(1, HOME, 5, 1)), Update::Late);
    assert!(matches!(add(&mut space, OTHER, stamped(1, ServerId(0x33), 5, 1)), Update::Applied(_)));
    assert!(matches!(add(&mut space, HOME, stamped(1, HOME, 6, 0)), Update::Applied(_)));
    assert_eq!(space.element(b"p", PeId(1)).unwrap().home(), HOME);
}

#[test]
fn a_deletion_names_the_state_it_ends() {
    let mut space = space();
    let ended = |seq| Some((Stamp { seq, moves: 0 }, OTHER));
    add(&mut space, OTHER, stamped(1, OTHER, 5, 0));
    assert_eq!(space.apply_delete(at(0), OTHER, &handle("p"), PeId(1), ended(4)), None);
    let change = space.apply_delete(at(0), HOME, &handle("p"), PeId(1), ended(5)).unwrap();
    assert_eq!(change.kind, ChangeKind::Removed);
    assert_eq!(add(&mut space, OTHER, stamped(1, OTHER, 5, 0)), Update::Late, "a tombstone");
    assert!(matches!(add(&mut space, OTHER, stamped(1, OTHER, 6, 0)), Update::Applied(_)));
    // The deletion may come first.
    assert_eq!(space.apply_delete(at(0), OTHER, &handle("p"), PeId(2), ended(9)), None);
    assert_eq!(add(&mut space, OTHER, stamped(2, OTHER, 9, 0)), Update::Late);
    let later = at(0) + space.config().tombstone_life;
    let update = space.apply_add(later, OTHER, &handle("p"), stamped(2, OTHER, 9, 0), None);
    assert!(matches!(update, Ok(Update::Applied(_))), "tombstones do not last");
}

#[test]
fn a_deletion_by_the_home_before_does_not_end_what_the_home_of_now_has() {
    let mut space = space();
    let newer = ServerId(OTHER.0 + 1);
    add(&mut space, newer, stamped(1, newer, 5, 0));
    let ended = Some((Stamp { seq: 5, moves: 0 }, OTHER));
    assert_eq!(space.apply_delete(at(0), OTHER, &handle("p"), PeId(1), ended), None);
}

#[test]
fn what_a_home_lists_it_has_whatever_a_takeover_has_made_of_it() {
    let mut space = space();
    let listed = |space: &mut Handlespace, seq, moves| {
        space.apply_own(at(0), &handle("p"), stamped(1, OTHER, seq, moves), None)
    };
    // Taken over from the living, and relabelled here.
    add(&mut space, OTHER, stamped(1, OTHER, 5, 2));
    assert!(matches!(listed(&mut space, 5, 1), Ok(Update::Applied(_))));
    let known = space.element(b"p", PeId(1)).unwrap().stamp();
    assert_eq!(known, Some(Stamp { seq: 5, moves: 1 }));
    // Taken over and ended.
    let ended = Some((Stamp { seq: 5, moves: 3 }, HOME));
    assert!(space.apply_delete(at(0), HOME, &handle("p"), PeId(1), ended).is_some());
    assert!(matches!(listed(&mut space, 5, 1), Ok(Update::Applied(_))));
    // Ended by the element itself: what is listed is late.
    let ended = Some((Stamp { seq: 6, moves: 0 }, OTHER));
    assert!(space.apply_delete(at(0), OTHER, &handle("p"), PeId(1), ended).is_some());
    assert_eq!(listed(&mut space, 5, 1), Ok(Update::Late));
    // Another home's by now: it is asked there.
    add(&mut space, HOME, stamped(1, HOME, 7, 1));
    assert_eq!(listed(&mut space, 7, 0), Ok(Update::Late));
}

#[test]
fn registrars_without_stamps_are_heard_as_the_rfc_says_with_two_exceptions() {
    // RFC 5353 §3.3.1, §3.3.2
    let mut space = space();
    let plain = |home| PoolElement { home, ..element(1, 0) };
    assert!(matches!(add(&mut space, OTHER, plain(OTHER)), Update::Applied(_)));
    assert!(matches!(add(&mut space, OTHER, plain(OTHER)), Update::Applied(_)));
    assert_eq!(space.apply_delete(at(0), HOME, &handle("p"), PeId(1), None), None, "not its home");
    assert!(space.apply_delete(at(0), OTHER, &handle("p"), PeId(1), None).is_some());
    register(&mut space, "p", stamped(1, HOME, 3, 0));
    assert_eq!(add(&mut space, ServerId(0x33), plain(OTHER)), Update::Late, "hearsay");
    assert!(matches!(add(&mut space, OTHER, plain(OTHER)), Update::Applied(_)));
    assert_eq!(space.element(b"p", PeId(1)).unwrap().stamp(), None);
}

#[test]
fn a_takeover_moves_the_stamp_and_the_loser_of_two_does_not() {
    // RFC 5353 §3.5
    let mut space = space();
    let slot = register(&mut space, "p", stamped(1, HOME, 3, 0)).slot;
    let change = space.set_home(slot, OTHER).unwrap();
    assert_eq!((change.kind, change.previous_home), (ChangeKind::Updated, Some(HOME)));
    assert!(!change.visible);
    assert_eq!(space.set_home(slot, OTHER), None);
    let moved = Some(Stamp { seq: 3, moves: 1 });
    assert_eq!(space.element_at(slot).unwrap().stamp(), moved);
    space.relabel(slot, ServerId(0x33)).unwrap();
    assert_eq!(space.element_at(slot).unwrap().stamp(), moved);
    space.check();
    assert_eq!(space.homes().collect::<Vec<_>>(), [ServerId(0x33)]);
}

#[test]
fn an_audit_sweeps_what_the_home_does_not_list_and_nothing_newer() {
    // RFC 5353 §3.6.3
    let mut space = space();
    for id in 1..=3 {
        add(&mut space, OTHER, stamped(id, OTHER, 5, 0));
    }
    register(&mut space, "p", element(9, 0));
    space.mark(OTHER);
    add(&mut space, OTHER, stamped(1, OTHER, 5, 0));
    add(&mut space, OTHER, stamped(4, OTHER, 1, 0));
    register(&mut space, "p", stamped(3, HOME, 6, 0));
    let mut from = Slot::FIRST;
    let mut swept = Vec::new();
    while let Some(slot) = space.next_marked(OTHER, from) {
        swept.push(space.forget(at(0), slot).unwrap().id.0);
        from = slot.next();
    }
    assert_eq!(swept, [2]);
    space.check();
    assert!(matches!(add(&mut space, OTHER, stamped(2, OTHER, 5, 0)), Update::Applied(_)));
}

#[test]
fn an_element_that_disagrees_with_the_pool_is_taken_from_a_peer() {
    // RFC 5353 §3.3.1 copies all attributes; its words are read by the pool's policy.
    let mut space = space();
    register(&mut space, "p", element(1, 5));
    let mut odd = stamped(2, OTHER, 1, 0);
    odd.policy = PolicyParameter::new(PolicyNumber(4), &[3]);
    odd.user_transport = Transport::Udp(SocketAddr::new(address(2), 53));
    assert!(matches!(add(&mut space, OTHER, odd.clone()), Update::Applied(_)));
    assert_eq!(resolve(&mut space, at(0), "p", 2).unwrap(), [2, 1]);
    assert_eq!(space.element(b"p", PeId(2)).unwrap().to_wire(), odd);
}

#[test]
fn a_distance_known_here_orders_an_element_in_place_of_its_own_word() {
    let network = |last, distance| Network { address: address(last), prefix: 32, distance };
    let distances = Distances::new([network(1, 50), network(2, 0)]);
    let mut space =
        Handlespace::new(HandlespaceConfig { distances, ..HandlespaceConfig::default() }, [9; 32]);
    let far = |id, distance| {
        let mut element = element(id, 0);
        element.policy = PolicyParameter::new(PolicyNumber(0xb000_2002), &[0, 1, distance]);
        element
    };
    register(&mut space, "p", far(1, 0));
    register(&mut space, "p", far(2, 99));
    register(&mut space, "p", far(3, 20));
    assert_eq!(resolve(&mut space, at(1), "p", 3), Some(vec![2, 3, 1]));
    register(&mut space, "p", far(1, 0));
    let slot = space.slot(b"p", PeId(2)).unwrap();
    space.set_suspect(slot, true);
    assert_eq!(resolve(&mut space, at(1), "p", 3), Some(vec![3, 1, 2]));
    space.set_suspect(slot, false);
    assert_eq!(resolve(&mut space, at(1), "p", 3), Some(vec![2, 3, 1]));
    // What others are told is what the element has said.
    assert_eq!(space.element(b"p", PeId(2)).unwrap().words(), [0, 1, 99]);
    space.check();
}

#[test]
fn a_policy_by_a_text_names_its_hash_and_refuses_another() {
    use crate::policy::testing;
    let with_text = |text| {
        let policies = testing::table(Some(text));
        Handlespace::new(HandlespaceConfig { policies, ..HandlespaceConfig::default() }, [9; 32])
    };
    let by_text = |id, text| {
        let mut element = element(id, 0);
        element.policy = PolicyParameter::new(testing::NUMBER, &[5, text]);
        element
    };
    let mut space = with_text(7);
    // One that does not know the text is ordered by its registrar's.
    register(&mut space, "p", by_text(1, 0));
    register(&mut space, "p", by_text(2, 7));
    assert_eq!(space.element(b"p", PeId(1)).unwrap().words(), [5, 7]);
    let ErrorCause::InconsistentPolicy(own) = refusal(&mut space, "p", by_text(3, 8)) else {
        panic!("refused for another reason");
    };
    assert_eq!(own.words(), Some(&[5, 7][..]));
    // What another registrar has by another text is kept, so that both know the same, but not named.
    let mut theirs = by_text(4, 8);
    theirs.home = OTHER;
    let Update::Applied(change) = add(&mut space, OTHER, theirs) else { panic!() };
    assert_eq!(space.other_text(change.slot), Some(8));
    assert_eq!(space.other_text(space.slot(b"p", PeId(1)).unwrap()), None);
    assert_eq!(resolve(&mut space, at(1), "p", 9), Some(vec![1, 2]));
}

#[test]
fn time_and_failures_come_to_a_policy_by_a_key() {
    use crate::policy::testing;
    let policies = testing::table(None);
    let config = HandlespaceConfig { policies, ..HandlespaceConfig::default() };
    let mut space = Handlespace::new(config, [9; 32]);
    let register_at = |space: &mut Handlespace, secs, id, load| {
        let mut element = element(id, 0);
        element.policy = PolicyParameter::new(testing::NUMBER, &[load]);
        space.register(at(secs), &handle("p"), element, None).unwrap().slot
    };
    let old = register_at(&mut space, 0, 1, 0);
    register_at(&mut space, 100, 2, 50);
    // A second counts one: the old one is 100 behind as soon as it is looked at again.
    register_at(&mut space, 100, 1, 0);
    assert_eq!(resolve(&mut space, at(100), "p", 2), Some(vec![2, 1]));
    register_at(&mut space, 100, 2, 200);
    assert_eq!(resolve(&mut space, at(100), "p", 2), Some(vec![1, 2]));
    space.note_failure(at(100), old);
    space.set_suspect(old, true);
    space.note_failure(at(100), old);
    assert_eq!(resolve(&mut space, at(100), "p", 2), Some(vec![2, 1]));
    space.check();
}

#[test]
fn a_failure_counts_for_its_element_while_another_is_suspected() {
    use crate::policy::testing;
    let policies = testing::table(None);
    let config = HandlespaceConfig { policies, ..HandlespaceConfig::default() };
    let mut space = Handlespace::new(config, [9; 32]);
    let slots = [1, 2, 3].map(|id| {
        let mut element = element(id, 0);
        element.policy = PolicyParameter::new(testing::NUMBER, &[id]);
        space.register(at(1), &handle("p"), element, None).unwrap().slot
    });
    space.set_suspect(slots[0], true);
    space.note_failure(at(1), slots[1]);
    assert_eq!(resolve(&mut space, at(1), "p", 3), Some(vec![3, 2, 1]));
    space.check();
}

#[test]
fn a_pool_has_rules_of_its_own() {
    let rules = Rules { share_cap: NonZeroU32::new(1), ..Rules::default() };
    let pool_rules = BTreeMap::from([(handle("p"), rules)]);
    let config = HandlespaceConfig { pool_rules, ..HandlespaceConfig::default() };
    let mut space = Handlespace::new(config, [9; 32]);
    for pool in ["p", "q"] {
        for id in 1..=5 {
            register(&mut space, pool, element(id, id));
        }
    }
    let mut first = |pool| {
        let answers = (0..20).map(|_| resolve(&mut space, at(1), pool, 3).unwrap()[0]);
        answers.filter(|first| *first == 1).count()
    };
    assert_eq!((first("p"), first("q")), (4, 20));
}
