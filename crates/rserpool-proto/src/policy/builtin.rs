//! The policies of this crate: nine of RFC 5356, those that rsplib adds, and most used, which RFC
//! 3237 §2.10 names and nobody has numbered.
//!
//! `dpf` is rsplib's delay penalty factor: what a millisecond of distance costs.

use super::table::{Create, PolicyKind, Word};
use super::{
    PolicyNumber, least_used, least_used_degradation, random, random_degradation, round_robin,
    user, weighted_random, weighted_round_robin,
};

const WEIGHT: Word = Word {
    name: "weight",
    default: 1,
    help: "Capacity relative to the other elements of the pool; 0 is never selected",
};
const PRIORITY: Word = Word { name: "priority", default: 0, help: "Higher is selected first" };
pub(super) const LOAD: Word =
    Word { name: "load", default: 0, help: "Load now, from 0 (idle) to 4294967295 (full)" };
const DEGRADATION: Word =
    Word { name: "degradation", default: 0, help: "How much one more user adds to the load" };
const WEIGHT_DPF: Word = Word {
    name: "weight-dpf",
    default: 0,
    help: "How much a millisecond of distance takes from the weight",
};
const LOAD_DPF: Word = Word {
    name: "load-dpf",
    default: 0,
    help: "How much a millisecond of distance adds to the load",
};
/// The one word that a registrar may know better than the element.
pub(super) const DISTANCE: Word =
    Word { name: "distance", default: 0, help: "Milliseconds from the registrar, there and back" };

pub(super) const MOST_USED: PolicyNumber = PolicyNumber(0xc000_9501);

pub(super) const ROUND_ROBIN: PolicyKind = PolicyKind {
    number: PolicyNumber(1),
    name: "round-robin",
    summary: "one element after the other",
    words: &[],
    create: Create::Code(round_robin::create),
    text: None,
    pick: user::in_turn,
};

pub(super) const BUILTIN: [PolicyKind; 17] = [
    ROUND_ROBIN,
    PolicyKind {
        number: PolicyNumber(2),
        name: "weighted-round-robin",
        summary: "one after the other, each as often as its weight says",
        words: &[WEIGHT],
        create: Create::Code(weighted_round_robin::create),
        text: None,
        pick: user::in_turn,
    },
    PolicyKind {
        number: PolicyNumber(3),
        name: "random",
        summary: "any element, each as likely",
        words: &[],
        create: Create::Code(random::create),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(4),
        name: "weighted-random",
        summary: "any element, each as likely as its weight says",
        words: &[WEIGHT],
        create: Create::Code(weighted_random::create_weighted),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(5),
        name: "priority",
        summary: "the elements of highest priority",
        words: &[PRIORITY],
        create: Create::Code(least_used::create_priority),
        text: None,
        pick: user::by_priority,
    },
    PolicyKind {
        number: PolicyNumber(0x4000_0001),
        name: "least-used",
        summary: "the elements of lowest load",
        words: &[LOAD],
        create: Create::Code(least_used::create_least_used),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: PolicyNumber(0x4000_0002),
        name: "least-used-degradation",
        summary: "lowest load, where every selection since the registration adds to the load",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(least_used_degradation::create),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: PolicyNumber(0x4000_0003),
        name: "priority-least-used",
        summary: "lowest load after one more user has been taken on",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(least_used::create_priority_least_used),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: PolicyNumber(0x4000_0004),
        name: "randomized-least-used",
        summary: "any element, each as likely as the load it has left",
        words: &[LOAD],
        create: Create::Code(weighted_random::create_least_used),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_1001),
        name: "randomized-priority-least-used",
        summary: "any element, each as likely as the load left after one more user",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(weighted_random::create_priority_least_used),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_1002),
        name: "randomized-least-used-degradation",
        summary: "any element, each as likely as the load left, of which every selection takes some",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(random_degradation::create_least_used),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_1003),
        name: "priority-least-used-degradation",
        summary: "lowest load after one more user, and every selection adds to the load",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(least_used_degradation::create_priority),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_1004),
        name: "randomized-priority-least-used-degradation",
        summary: "as likely as the load left after one more user, of which selections take some",
        words: &[LOAD, DEGRADATION],
        create: Create::Code(random_degradation::create_priority_least_used),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_2001),
        name: "weighted-random-dpf",
        summary: "as likely as the weight says, of which distance takes some",
        words: &[WEIGHT, WEIGHT_DPF, DISTANCE],
        create: Create::Code(weighted_random::create_weighted_distance),
        text: None,
        pick: user::at_random,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_2002),
        name: "least-used-dpf",
        summary: "lowest load, to which distance adds",
        words: &[LOAD, LOAD_DPF, DISTANCE],
        create: Create::Code(least_used::create_least_used_distance),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: PolicyNumber(0xb000_2003),
        name: "least-used-degradation-dpf",
        summary: "lowest load, to which distance and every selection add",
        words: &[LOAD, DEGRADATION, LOAD_DPF, DISTANCE],
        create: Create::Code(least_used_degradation::create_distance),
        text: None,
        pick: user::in_order,
    },
    PolicyKind {
        number: MOST_USED,
        name: "most-used",
        summary: "the elements of highest load that are not full, so that others may be switched off",
        words: &[LOAD],
        create: Create::Code(least_used::create_most_used),
        text: None,
        pick: user::in_order,
    },
];
