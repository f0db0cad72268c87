//! The hunt alone, for an owner that wants a home and nothing else.

use super::*;
use crate::endpoint::testing::{Bench, registrar, registrars};
use crate::machine::{Input, Machine};
use crate::wire::transport::{SctpTransport, Transport};
use alloc::collections::BTreeSet;
use alloc::vec;
use core::net::SocketAddr;
use proptest::prelude::*;
use rand_core::SeedableRng;

const T5: u64 = 1_000;
const RETRAN_MAX: u64 = 5_000;
const T7: u64 = 5_000;

/// Told by the hunter: no registrar is reachable.
#[derive(Debug, PartialEq, Eq)]
struct Unreachable;

struct Hunter {
    hunt: ServerHunt,
    outputs: VecDeque<Output<Unreachable>>,
}

impl Hunter {
    fn note(&mut self, unreachable: bool) {
        if unreachable {
            self.outputs.push_back(Output::Event(Unreachable));
        }
    }
}

impl Machine for Hunter {
    type Event = Unreachable;

    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { assoc, attempt: Some(attempt), remote, .. } => {
                self.hunt.on_connected(assoc, attempt, remote, &mut self.outputs);
            }
            Input::ConnectFailed { attempt, .. } => {
                let failed = self.hunt.on_connect_failed(now, attempt, &mut self.outputs);
                self.note(failed);
            }
            Input::Closed { assoc, .. } => {
                self.hunt.on_closed(now, assoc);
                self.hunt.ensure(now, &mut self.outputs);
            }
            Input::Timeout => {
                let failed = self.hunt.on_timeout(now, &mut self.outputs);
                self.note(failed);
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Unreachable>> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.hunt.next_timeout()
    }
}

fn start(ports: &[u16], seed: u8) -> Bench<Hunter> {
    Bench::new(|now| {
        let mut hunter = Hunter {
            hunt: ServerHunt::new(
                &registrars(ports),
                Duration::from_millis(T5),
                Duration::from_millis(RETRAN_MAX),
                Duration::from_millis(T7),
                ChaCha12Rng::from_seed([seed; 32]),
            ),
            outputs: VecDeque::new(),
        };
        hunter.hunt.ensure(now, &mut hunter.outputs);
        hunter
    })
}

impl Bench<Hunter> {
    fn confirm(&mut self, assoc: AssociationId) {
        self.call(|hunter, _| hunter.hunt.confirm(assoc, &mut hunter.outputs));
    }

    fn suspect(&mut self) {
        self.call(|hunter, now| hunter.hunt.suspect(now, &mut hunter.outputs));
    }

    /// A registrar announces itself at a port, over TCP.
    fn announce(&mut self, port: u16) {
        let from = SocketAddr::from(([127, 0, 0, 1], 3863));
        let at = Transport::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        self.call(|hunter, now| {
            hunter.hunt.on_announced(now, from, &[at], &mut hunter.outputs);
        });
    }

    /// Lets the present round end, and says how long it still took.
    fn end_round(&mut self) -> u64 {
        let left = self.machine.next_timeout().unwrap().saturating_since(self.now);
        self.pass(left);
        u64::try_from(left.as_millis()).unwrap()
    }
}

#[test]
fn at_most_three_are_tried_at_a_time_and_others_in_the_next_round() {
    // RFC 5352 §3.6 SH1, SH5.
    let mut bench = start(&[1, 2, 3, 4, 5, 6], 1);
    let first: BTreeSet<_> = bench.dialled().into_iter().collect();
    bench.end_round();
    let second: BTreeSet<_> = bench.dialled().into_iter().collect();
    assert_eq!((first.len(), second.len()), (3, 3));
    assert!(first.is_disjoint(&second));
    bench.end_round();
    assert!(bench.dialled().iter().all(|port| first.contains(port)));
}

#[test]
fn a_failed_attempt_makes_room_for_another_address_at_once() {
    // RFC 5352 §3.6 SH4.
    let mut bench = start(&[1, 2, 3, 4], 1);
    let first = bench.dialled();
    bench.refuse(first[0]);
    assert_eq!(bench.dialled().len(), 3);
    assert!(!bench.dialled().contains(&first[0]));
    bench.refuse_all();
    assert_eq!(bench.events(), [Unreachable]);
    // Each once a round: the rest of T5 is a pause.
    assert!(bench.dialled().is_empty());
    bench.end_round();
    assert_eq!(bench.dialled().len(), 3);
}

#[test]
fn t5_doubles_up_to_retran_max_and_is_jittered_downwards() {
    // RFC 5352 §3.6 SH5.1.
    let mut bench = start(&[1], 1);
    let rounds: Vec<_> = (0..6).map(|_| bench.end_round()).collect();
    for (round, t5) in rounds.iter().zip([1_000, 2_000, 4_000, 5_000, 5_000, 5_000]) {
        assert!((t5 * 3 / 4..=t5).contains(round), "{rounds:?}");
    }
    assert_eq!(bench.events(), [Unreachable], "told once");
}

#[test]
fn the_first_that_connects_is_the_home_and_the_others_are_given_up() {
    // RFC 5352 §3.6 SH3, SH6.
    let mut bench = start(&[1, 2, 3], 1);
    let late = bench.attempts[0].0;
    let port = bench.attempts[1].1.port;
    let home = bench.connect(port);
    assert!(bench.dialled().is_empty());
    assert_eq!(bench.machine.hunt.trusted_home(), Some(home));
    assert_eq!(bench.machine.hunt.home_locator(), Some(&registrar(port)));
    assert_eq!(bench.machine.next_timeout(), None);
    // One that connects all the same is closed.
    let other = bench.connected(Some(late), registrar(9));
    assert_eq!(bench.closed(), [other]);
    assert_eq!(bench.machine.hunt.home(), Some(home));
}

#[test]
fn a_home_that_worked_is_preferred_unless_it_has_just_failed() {
    let mut bench = start(&[1, 2, 3, 4, 5, 6], 1);
    let port = bench.dialled()[0];
    let home = bench.connect(port);
    bench.confirm(home);
    bench.break_off(home);
    assert!(!bench.dialled().contains(&port));
    bench.end_round();
    assert!(bench.dialled().contains(&port));
    // With nobody else there it is dialled again in the same round.
    let mut bench = start(&[1, 2], 1);
    let home = bench.connect(1);
    bench.confirm(home);
    bench.break_off(home);
    assert_eq!(bench.dialled(), [2]);
    bench.refuse(2);
    assert_eq!(bench.dialled(), [1]);
}

#[test]
fn one_that_accepts_and_hangs_up_is_not_dialled_in_a_loop() {
    let mut bench = start(&[1, 2], 1);
    let mut connections = 0;
    for _ in 0..600 {
        while let Some(&port) = bench.dialled().first() {
            let assoc = bench.connect(port);
            bench.break_off(assoc);
            connections += 1;
        }
        bench.pass_ms(100);
    }
    // A minute with T5 growing to 5 s: some 13 rounds with two addresses.
    assert!((10..40).contains(&connections), "{connections}");
    // One that answers is worth dialling at once.
    while bench.dialled().is_empty() {
        bench.pass_ms(100);
    }
    let port = bench.dialled()[0];
    let home = bench.connect(port);
    bench.confirm(home);
    bench.break_off(home);
    bench.refuse_all();
    let pause = bench.end_round();
    assert!(pause <= T5, "T5 is back at its initial value, not {pause} ms");
}

#[test]
fn a_suspected_home_stays_until_another_is_found_or_it_answers() {
    let mut bench = start(&[1, 2], 1);
    let first = bench.connect(1);
    bench.confirm(first);
    bench.suspect();
    assert_eq!((bench.machine.hunt.home(), bench.machine.hunt.trusted_home()), (Some(first), None));
    assert!(bench.machine.hunt.is_unreachable());
    bench.confirm(first);
    assert_eq!(bench.machine.hunt.trusted_home(), Some(first));
    assert!(bench.dialled().is_empty() && !bench.machine.hunt.is_unreachable());
    bench.suspect();
    let attempt = bench.attempts[0].0;
    let second = AssociationId(99);
    let outputs = &mut bench.machine.outputs;
    let found = bench.machine.hunt.on_connected(second, attempt, registrar(2), outputs);
    let previous = Some((first, registrar(1)));
    assert_eq!(found, Some(NewHome { assoc: second, previous }));
}

#[test]
fn a_list_with_the_same_address_twice_or_none_at_all_is_taken() {
    assert_eq!(start(&[1, 1, 2], 1).dialled(), [1, 2]);
    let mut bench = start(&[], 1);
    bench.pass_ms(60_000);
    assert_eq!((bench.dialled(), bench.events()), (vec![], vec![Unreachable]));
}

#[test]
fn endpoints_do_not_all_begin_with_the_same_registrars() {
    let ports: Vec<u16> = (1..=9).collect();
    let first: BTreeSet<_> = (0..20).map(|seed| start(&ports, seed).dialled()).collect();
    assert!(first.len() > 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_a_hunt_goes_on_until_there_is_a_home(
        count in 0..8u16,
        steps in proptest::collection::vec((0..6u8, 0..40u64), 0..150),
    ) {
        let ports: Vec<u16> = (1..=count).collect();
        let mut bench = start(&ports, 1);
        for (step, number) in steps {
            let port = bench.dialled().get(number as usize % 3).copied();
            match (step, port) {
                (0, _) => bench.pass_ms(number * 100),
                (1, Some(port)) => {
                    bench.connect(port);
                }
                (2, Some(port)) => bench.refuse(port),
                (3, _) => bench.break_off(AssociationId(number)),
                (4, _) => bench.confirm(AssociationId(number)),
                _ => bench.suspect(),
            }
            let found = bench.machine.hunt.trusted_home().is_some();
            prop_assert_eq!(bench.machine.next_timeout().is_none(), found);
            prop_assert!(!found || bench.dialled().is_empty());
        }
    }
}

#[test]
fn an_announced_registrar_is_dialled_at_once_if_one_is_wanted_and_forgotten_after_t7() {
    // RFC 5352 §3.6.
    let mut bench = start(&[], 1);
    assert!(bench.dialled().is_empty());
    bench.announce(7);
    assert_eq!(bench.dialled(), [7]);
    bench.refuse(7);
    bench.pass_ms(T7 - 1);
    assert_eq!(bench.dialled(), [7], "in the next round");
    bench.announce(7);
    bench.pass_ms(T7 - 1);
    assert_eq!(bench.dialled(), [7], "heard again");
    bench.pass_ms(RETRAN_MAX + 1);
    assert!(bench.dialled().is_empty(), "not heard for longer than T7");
}

#[test]
fn what_is_configured_is_tried_before_what_was_announced() {
    let mut bench = start(&[1, 2], 1);
    bench.announce(9);
    let home = bench.connect(1);
    bench.confirm(home);
    // Known before the next round begins.
    bench.announce(8);
    bench.suspect();
    let (_, first) = &bench.attempts[0];
    assert_eq!((first.port, bench.attempts.len()), (2, 3));
}

#[test]
fn announcements_end_no_association_and_take_no_place_from_a_home() {
    let mut bench = start(&[], 1);
    bench.announce(1);
    let home = bench.connect(1);
    bench.confirm(home);
    for port in 2..1_000 {
        bench.announce(port);
    }
    assert_eq!(bench.machine.hunt.trusted_home(), Some(home));
    assert!(bench.dialled().is_empty() && bench.closed().is_empty());
    assert_eq!(bench.machine.hunt.home_locator(), Some(&registrar(1)));
}

#[test]
fn made_up_announcements_neither_grow_the_list_nor_keep_a_real_one_out() {
    let mut bench = start(&[1], 1);
    bench.refuse(1);
    for port in 100..1_000 {
        bench.announce(port);
        assert!(bench.machine.hunt.candidates.len() <= 17);
        assert!(bench.dialled().len() <= 3);
    }
    // Nobody answers there, and rounds end; the real one is heard once a second like the others.
    let mut seconds = 0;
    while !bench.dialled().contains(&7) {
        bench.pass_ms(1_000);
        bench.announce(7);
        (100..1_000).for_each(|port| bench.announce(port));
        seconds += 1;
        assert!(seconds < 60, "{:?}", bench.dialled());
    }
    let configured = bench.machine.hunt.candidates[0].announced.is_none();
    assert!(configured, "what is configured stays");
}

#[test]
fn a_home_that_worked_stays_preferred_when_announcements_replace_others() {
    for seed in 0..10 {
        let mut bench = start(&[1, 2, 3, 4, 5, 6, 7, 8], seed);
        let port = bench.dialled()[0];
        let home = bench.connect(port);
        bench.confirm(home);
        (100..116).for_each(|port| bench.announce(port));
        bench.pass_ms(T7 + 1);
        bench.suspect();
        bench.announce(200);
        bench.end_round();
        assert!(bench.dialled().contains(&port), "{seed}: {:?}", bench.dialled());
    }
}

#[test]
fn where_all_that_is_configured_is_silent_one_attempt_is_for_what_was_announced() {
    let mut bench = start(&[1, 2, 3, 4], 1);
    bench.announce(9);
    assert!(!bench.dialled().contains(&9));
    bench.end_round();
    assert!(bench.dialled().contains(&9), "{:?}", bench.dialled());
}

#[test]
fn an_announcement_names_addresses_that_others_may_name() {
    let dialled = |from: &str, transports: &[Transport]| {
        let mut bench = start(&[], 1);
        let from = from.parse().unwrap();
        bench.call(|hunter, now| {
            hunter.hunt.on_announced(now, from, transports, &mut hunter.outputs);
        });
        bench.attempts.iter().map(|(_, to)| alloc::format!("{to}")).collect::<Vec<_>>()
    };
    let tcp = |at: &str| Transport::Tcp(at.parse().unwrap());
    let sctp = |at: &str| Transport::Sctp(SctpTransport::new(at.parse().unwrap()));
    let from = "10.0.0.1:3863";
    // RFC 5352 §3.6, and rsplib's, which listens where it sends from.
    assert_eq!(dialled(from, &[]), ["sctp://10.0.0.1:3863"]);
    assert_eq!(dialled("10.0.0.1:5000", &[]), ["sctp://10.0.0.1:5000"]);
    let both = [sctp("10.0.0.1:3863"), tcp("10.0.0.1:3863")];
    assert_eq!(dialled(from, &both), ["auto://10.0.0.1:3863"]);
    let apart = [sctp("10.0.0.1:3863"), tcp("10.0.0.1:3864")];
    assert_eq!(dialled(from, &apart).len(), 2);
    for nowhere in ["0.0.0.0:3863", "127.0.0.1:3863", "224.0.0.1:3863", "10.0.0.1:0", "[::1]:1"] {
        assert!(dialled(from, &[tcp(nowhere)]).is_empty(), "{nowhere}");
    }
    assert_eq!(dialled("127.0.0.1:1", &[tcp("127.0.0.1:3863")]), ["tcp://127.0.0.1:3863"]);
}
