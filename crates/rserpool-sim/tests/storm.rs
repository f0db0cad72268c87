//! No congestion after a registrar has died.

use rserpool_proto::machine::TransportKind;
use rserpool_proto::timers::{ElementTimers, Preset, RegistrarTimers};
use rserpool_sim::storm::Storm;

/// Plays it, and looks whether no second is busier than two before and `rehome_rate` more.
fn assert_calm(storm: &Storm) {
    let survivors = storm.play(1).unwrap_or_else(|violation| panic!("{storm:?}: {violation}"));
    for survivor in survivors {
        let allowed = 2.0 * survivor.before + f64::from(storm.timers.rehome_rate);
        assert!(survivor.peak <= allowed, "{storm:?}: {survivor:?}, allowed {allowed}");
        assert!(survivor.steady_again <= 10.0, "{storm:?}: {survivor:?}");
        assert_eq!(survivor.elements, storm.elements, "{storm:?}");
    }
}

/// A tenth of 5 000 elements at a tenth of the usual rate.
#[test]
fn the_survivors_of_a_registrar_say_at_most_twice_as_much_as_before() {
    for (transport, silent) in [
        (TransportKind::Tcp, false),
        (TransportKind::Tcp, true),
        (TransportKind::Sctp, false),
        (TransportKind::Sctp, true),
    ] {
        let timers =
            RegistrarTimers { rehome_rate: 100, ..RegistrarTimers::preset(Preset::Default) };
        let element_timers = ElementTimers::preset(Preset::Default);
        let (registrars, elements) = (3, 500);
        assert_calm(&Storm { registrars, elements, transport, timers, element_timers, silent });
    }
}

/// Without keep-alives, which are most of what is said otherwise, the hunts are all there is.
#[test]
fn without_keep_alives_hunts_are_let_in_one_after_the_other() {
    for transport in [TransportKind::Tcp, TransportKind::Sctp] {
        let timers = RegistrarTimers { rehome_rate: 100, ..RegistrarTimers::preset(Preset::Rfc) };
        let element_timers = ElementTimers::preset(Preset::Rfc);
        let (registrars, elements, silent) = (3, 900, false);
        let storm = Storm { registrars, elements, transport, timers, element_timers, silent };
        let rate = f64::from(storm.timers.rehome_rate);
        let survivors = storm.play(1).unwrap_or_else(|violation| panic!("{storm:?}: {violation}"));
        for survivor in survivors {
            // A quarter of a second's worth is let in at once. Over SCTP those are added that are
            // called, at the same rate.
            let called = if transport == TransportKind::Sctp { rate } else { 0.0 };
            let (allowed, least) = (1.25 * rate + called, 0.75 * rate);
            let came = survivor.registrations;
            assert!((least..=allowed).contains(&came), "{storm:?}: {survivor:?}");
            assert!(survivor.steady_again <= 5.0, "{storm:?}: {survivor:?}");
            assert_eq!(survivor.elements, elements, "{storm:?}");
        }
    }
}
