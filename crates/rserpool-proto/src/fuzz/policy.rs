//! Every policy, driven by bytes, beside a model that keeps nothing but the elements' words.

use super::Bytes;
use crate::policy::{Dice, Policy, PolicyKind, Rules, Seat, testing};
use crate::timers::Preset;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A policy of the table, and elements that come, change, are selected and go.
///
/// An answer holds as many elements as were asked for, if so many may be used, none twice, and only
/// those there are. Least used and its relatives return minima in ascending order, priority maxima
/// in descending order; counters of degradation begin anew with each registration. Round robin
/// begins with each element as often as with any other while none comes or goes. Weight 0 is never
/// returned. Behind a guard the order may be another, and all else holds.
pub fn policy_operations(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let table = testing::table(None);
    let number = usize::from(bytes.next());
    let Some(kind) = table.iter().nth(number % table.iter().len()) else { return };
    // The highest bit asks for a guard.
    let guard = if number & 0x80 == 0 { Preset::Rfc } else { Preset::Default };
    let mut model = Model {
        kind,
        guarded: guard != Preset::Rfc && kind.can_be_guarded(),
        policy: Rules::preset(guard).apply(kind),
        dice: Dice::new([bytes.next(); 32]),
        elements: BTreeMap::new(),
        answer: Vec::new(),
    };
    while !bytes.0.is_empty() {
        model.step(&mut bytes);
    }
    model.policy.check();
}

struct Model<'a> {
    kind: &'a PolicyKind,
    guarded: bool,
    policy: Box<dyn Policy>,
    dice: Dice,
    elements: BTreeMap<Seat, Element>,
    answer: Vec<Seat>,
}

struct Element {
    words: Vec<u32>,
    /// Answers that held it since it registered last.
    selected: u64,
    /// Reports of users, halved with every registration.
    failures: u16,
    /// Answers that began with it since an element came or went.
    began: u64,
}

impl Model<'_> {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.next();
        if operation & 1 == 1 {
            return self.select(usize::from(operation >> 1) % 20);
        }
        let seat = Seat(u32::from(bytes.next() % 24));
        match (operation >> 1) % 4 {
            0 if self.elements.remove(&seat).is_some() => {
                self.policy.remove(seat);
                self.count_anew();
            }
            1 if self.elements.contains_key(&seat) => {
                self.policy.fail(seat);
                if let Some(element) = self.elements.get_mut(&seat) {
                    element.failures = element.failures.saturating_add(1);
                }
            }
            _ => self.register(seat, bytes),
        }
    }

    fn register(&mut self, seat: Seat, bytes: &mut Bytes<'_>) {
        let words: Vec<u32> = self.kind.words.iter().map(|_| bytes.word()).collect();
        let element = Element { words: words.clone(), selected: 0, failures: 0, began: 0 };
        match self.elements.get_mut(&seat) {
            Some(known) => {
                self.policy.update(seat, &words);
                let failures = known.failures / 2;
                *known = Element { began: known.began, failures, ..element };
            }
            None => {
                self.policy.insert(seat, &words);
                self.elements.insert(seat, element);
                self.count_anew();
            }
        }
    }

    fn count_anew(&mut self) {
        for element in self.elements.values_mut() {
            element.began = 0;
        }
    }

    fn select(&mut self, n: usize) {
        self.answer.clear();
        self.policy.select(&mut self.dice, n, &mut self.answer);

        let usable = |element: &&Element| element.usable(self.kind.name);
        let most = self.elements.values().filter(usable).count();
        assert_eq!(self.answer.len(), n.min(most), "as many as were asked for, if there are");
        let mut once = self.answer.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), self.answer.len(), "none twice");
        let elements = self.answer.iter().map(|seat| &self.elements[seat]);
        assert!(elements.clone().all(|element| usable(&element)), "weight 0 never");

        if ORDERED.contains(&self.kind.name) && !self.guarded {
            let keys: Vec<u128> = elements.map(|element| element.key(self.kind.name)).collect();
            assert!(keys.is_sorted(), "in order: {keys:?}");
            let others = self.elements.iter().filter(|(seat, _)| once.binary_search(seat).is_err());
            let least = others.map(|(_, element)| element.key(self.kind.name)).min();
            let last = keys.last().copied();
            assert!(last.is_none() || least.is_none() || last <= least, "the best: {keys:?}");
        }
        for seat in &self.answer {
            if let Some(element) = self.elements.get_mut(seat) {
                element.selected += 1;
            }
        }
        if let Some(first) = self.answer.first().and_then(|seat| self.elements.get_mut(seat)) {
            first.began += 1;
        }
        if self.kind.name == "round-robin" {
            let began = || self.elements.values().map(|element| element.began);
            let (least, most) = (began().min(), began().max());
            assert!(most <= least.map(|least| least + 1), "in turn: {least:?} to {most:?}");
        }
    }
}

/// Policies whose answers are in the order of a key.
const ORDERED: [&str; 9] = [
    "priority",
    "least-used",
    "least-used-degradation",
    "priority-least-used",
    "priority-least-used-degradation",
    "least-used-dpf",
    "least-used-degradation-dpf",
    "most-used",
    "sum",
];

impl Element {
    fn word(&self, position: usize) -> u32 {
        self.words.get(position).copied().unwrap_or_default()
    }

    /// RFC 5356 §3.2: an element of weight 0 serves nobody.
    fn usable(&self, policy: &str) -> bool {
        match policy {
            "weighted-round-robin" | "weighted-random" | "weighted-random-dpf" => self.word(0) > 0,
            // §5.4.2: its weight is what is left of 0xffffffff.
            name if name.starts_with("randomized-") => self.word(0) < u32::MAX,
            _ => true,
        }
    }

    /// What the best has least of.
    fn key(&self, policy: &str) -> u128 {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|word| u128::from(self.word(word)));
        let selected = u128::from(self.selected);
        // Keys have 63 bits: what is worse than that is as bad.
        let highest = u128::from(u64::MAX / 2);
        match policy {
            "priority" => u128::from(u32::MAX) - first,
            "priority-least-used" => first + second,
            "least-used-degradation" => first + selected * second,
            "priority-least-used-degradation" => first + (selected + 1) * second,
            "least-used-dpf" => (first + second * third).min(highest),
            "least-used-degradation-dpf" => {
                (first + selected * second + third * fourth).min(highest)
            }
            "sum" => {
                first + 10 * selected.min(u128::from(u16::MAX)) + 100 * u128::from(self.failures)
            }
            "most-used" if first == u128::from(u32::MAX) => u128::MAX,
            "most-used" => u128::from(u32::MAX) - first,
            _ => first,
        }
    }
}
