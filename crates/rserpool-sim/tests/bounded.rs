//! A takeover, whatever becomes of two of its messages.

use rserpool_sim::bounded::search;

/// Three registrars, three elements of which two can be called, one crash.
fn scenario(crash: &str) -> String {
    format!(
        "registrar r1 sctp peers=r2,r3
         registrar r2 sctp peers=r1,r3
         registrar r3 sctp peers=r1,r2
         run 1200ms
         element e1 sctp at=r1
         element e2 at=r1,r2
         element e3 sctp at=r1
         run 1500ms
         numbered from here
         {crash}
         run 6s"
    )
}

#[test]
fn whatever_becomes_of_a_message_a_takeover_ends_with_one_home_for_each_element() {
    for crash in ["power-cut r1", "crash r1", "power-cut r2", "power-cut r3"] {
        let searched =
            search(&scenario(crash), 1).unwrap_or_else(|wrong| panic!("{crash}: {wrong}"));
        assert!(searched.messages > 5, "{crash}: {searched:?}");
    }
}

#[test]
fn whatever_becomes_of_two_messages_a_takeover_ends_with_one_home_for_each_element() {
    let searched = search(&scenario("power-cut r1"), 2).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(searched.runs > 500, "{searched:?}");
}
