//! No congestion after a registrar has died.

use rserpool_proto::machine::TransportKind;
use rserpool_proto::timers::{Preset, RegistrarTimers};
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
        assert_calm(&Storm { registrars: 3, elements: 500, transport, timers, silent });
    }
}
