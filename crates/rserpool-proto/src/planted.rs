//! Bugs built in on purpose, to test those who look for bugs.
//!
//! Without the feature `planted-bugs`, which nothing that ships has, [`planted!`] is `false` at
//! compile time and none of them exists. With it, at most one at a time is switched on for the whole
//! process by [`plant`]. Those whose names begin with `rfc-` are no mistakes of ours: they do what
//! the letter of an RFC says where we do not, to show what becomes of it.

/// A bug that can be switched on.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
}

/// All of them.
#[cfg(feature = "planted-bugs")]
pub const BUGS: &[Bug] = &[
    bug("life-in-wrong-unit", "a registration life in seconds is taken as twice as long"),
    bug("renewal-keeps-lease", "a renewed registration ends when the first one would have"),
    bug("renewal-keeps-values", "a re-registration does not change the policy's values"),
    bug("lost-association-keeps-elements", "a broken association leaves its elements registered"),
    bug("deregistration-is-only-granted", "a deregistration is granted and not done"),
    bug("keep-alive-to-anybody", "a keep-alive goes to the first association there is"),
    bug("keep-alive-stops", "after an answer no further keep-alive is sent"),
    bug("acknowledgement-from-anybody", "an answer to a keep-alive counts from any association"),
    bug("keep-alive-answer-is-lost", "an answer to a keep-alive does not stop its timeout"),
    bug("reports-counted-twice", "reports of one user count as those of several"),
    bug("suspects-first", "suspected elements are ranked first"),
    bug(
        "identifier-reused",
        "a registration replaces one of the same identifier, as RFC 5352 §3.1 lets it",
    ),
    bug("head-not-advanced", "round robin begins every answer with the same element"),
    bug("least-used-reversed", "least used takes the most used"),
    bug("weight-zero-returned", "weighted random returns elements of weight 0"),
    bug("checksum-forgets", "the checksum keeps what has been removed"),
    bug("idle-owner-closed", "an idle association is closed although it holds elements"),
    bug("noise-panics", "a message that is none ends the process"),
    bug("cache-never-stale", "a user's cache has no end"),
    bug("report-forgotten", "a user forgets what it has reported"),
    bug("question-without-end", "a question that nobody answers is asked for ever"),
    bug("no-renewal", "an element does not renew its registration"),
    bug("no-hunt-after-loss", "an element that has lost its home does not look for another"),
    bug("attempts-leak", "an attempt to connect that has failed still counts"),
    bug("health-report-ignored", "a keep-alive that waited for a health report is not answered"),
    bug("takeover-deletes", "a takeover removes the elements of the dead instead of rehoming them"),
    bug(
        "taken-from-the-living",
        "a home lets its elements be taken over, and ended, though they are there",
    ),
    bug("stamps-ignored", "an addition applies although a newer one is known"),
    bug("late-deletion-applied", "a removal applies although a newer registration is known"),
    bug("sweep-takes-the-listed", "an audit sweeps what the home has listed"),
    bug("digest-not-compared", "what differs from a peer is never audited"),
    bug("awaited-for-ever", "an element that was taken over and does not come stays"),
    bug("suspicion-outlives-home", "an element that has another home stays suspected"),
    bug("first-cookie-kept", "a session echoes the first cookie it got, and not the newest"),
    bug("cookie-echoed-late", "a cookie is not the first message to the next element"),
    bug("cookie-overtakes-data", "an element's cookie overtakes the answers it stands for"),
    bug("failover-told-late", "a failover is told when something of the new element has been told"),
    bug("old-element-heard", "an element that has failed is not hung up on, and is still heard"),
    bug("unsent-forgotten", "what was not to go to another element does not come back, either"),
    bug("bound-message-moves-on", "what was not to go to another element does"),
    bug("hung-element-kept", "a session stays with an element that gives no sign of life"),
    bug("no-second-look", "a session that found no element does not look again"),
    bug("card-ignored", "a session fails over to anybody, whatever the business card says"),
    bug("change-not-told", "those who watch a pool are not told when an element leaves it"),
    bug("told-once", "those who watch a pool are told of its first change only"),
    bug("update-not-taken", "a user that watches a pool does not listen to updates"),
    bug("rfc-report-counter", "three reports remove an element unasked (RFC 5352 §3.5)"),
    bug("rfc-stops-registering", "no registration after MAX-REG-ATTEMPT (RFC 5352 §3.1)"),
    bug("rfc-t5-reset-at-connection", "T5 is reset when a connection is up (RFC 5352 §3.6)"),
];

#[cfg(feature = "planted-bugs")]
const fn bug(name: &'static str, what: &'static str) -> Bug {
    Bug { name, what }
}

/// Position of the bug that is switched on, plus one.
#[cfg(feature = "planted-bugs")]
static ACTIVE: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

/// Switches a bug of [`BUGS`] on, and any other off; `None` switches all off.
///
/// # Errors
/// [`UnknownBug`] if there is none of that name; then nothing changes.
#[cfg(feature = "planted-bugs")]
pub fn plant(name: Option<&str>) -> Result<(), UnknownBug> {
    let position = match name {
        None => 0,
        Some(name) => 1 + BUGS.iter().position(|bug| bug.name == name).ok_or(UnknownBug)?,
    };
    ACTIVE.store(position, core::sync::atomic::Ordering::SeqCst);
    Ok(())
}

/// A name that no planted bug has.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no planted bug of that name")]
pub struct UnknownBug;

#[cfg(feature = "planted-bugs")]
pub(crate) fn is_active(position: usize) -> bool {
    ACTIVE.load(core::sync::atomic::Ordering::Relaxed) == position + 1
}

/// Where a name stands in [`BUGS`].
///
/// # Panics
/// At compile time, if it does not stand there.
#[cfg(feature = "planted-bugs")]
pub(crate) const fn position(name: &str) -> usize {
    let mut position = 0;
    while position < BUGS.len() {
        if is_same(BUGS[position].name.as_bytes(), name.as_bytes()) {
            return position;
        }
        position += 1;
    }
    panic!("no planted bug has this name")
}

#[cfg(feature = "planted-bugs")]
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Whether a planted bug is switched on: `false` at compile time without the feature.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($name:literal) => {
        crate::planted::is_active(const { crate::planted::position($name) })
    };
}

/// Whether a planted bug is switched on: `false` at compile time without the feature.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

pub(crate) use planted;
