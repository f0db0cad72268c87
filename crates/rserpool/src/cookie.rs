//! Signed cookies: state of a session that a user carries from one element to the next and cannot
//! change (RFC 5352 §3.8).
//!
//! ```text
//!   | 1 | key id (4) | expiry, Unix seconds (8) | length (1) | pool | state | HMAC-SHA-256 (32) |
//! ```
//!
//! The RFC leaves to the elements how they trust a cookie. Here those of a pool share [`CookieKeys`]:
//! what was made by another key, for another pool, too long ago, or was changed, is refused. State is
//! signed, not hidden: the user can read it. Nor is a cookie used up: a user may present an older one
//! that has not expired, so that what must happen once needs a number of its own in the state.

use crate::proto::id::PoolHandle;
use crate::proto::session::MAX_COOKIE_LEN;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Number of a key, chosen by whoever hands keys out; raised at each rotation.
pub type KeyId = u32;

/// The keys of a pool's elements.
///
/// **Rotation**: give all elements the new key by [`CookieKeys::also_accept`], then make it the one
/// that signs, by [`CookieKeys::new`] with the old one accepted, and drop the old one when its
/// cookies have expired. All steps may be taken at one element after the other.
#[derive(Clone)]
pub struct CookieKeys {
    signing: KeyId,
    /// At most [`CookieKeys::MAX_KEYS`], the signing one first.
    keys: Vec<(KeyId, [u8; 32])>,
    life: Duration,
}

impl CookieKeys {
    /// Most keys that are kept; the oldest accepted ones make room.
    pub const MAX_KEYS: usize = 8;
    /// How long a cookie lasts unless told otherwise: an hour, because who fails over does so at
    /// once.
    pub const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);

    /// Signs with a key of 32 random bytes.
    pub fn new(id: KeyId, key: [u8; 32]) -> Self {
        Self { signing: id, keys: vec![(id, key)], life: Self::DEFAULT_LIFE }
    }

    /// Accepts what was signed with another key, too.
    #[must_use]
    pub fn also_accept(mut self, id: KeyId, key: [u8; 32]) -> Self {
        if id != self.signing {
            self.keys.retain(|(known, _)| *known != id);
            if self.keys.len() >= Self::MAX_KEYS {
                self.keys.remove(1);
            }
            self.keys.push((id, key));
        }
        self
    }

    /// Changes how long cookies last. Clocks of the elements may differ by as much as nobody minds
    /// a cookie living longer or shorter.
    #[must_use]
    pub fn lasting(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    /// Makes a cookie of `state` for sessions of a pool; `None` if the state is too long.
    pub fn seal(&self, pool: &PoolHandle, state: &[u8]) -> Option<Vec<u8>> {
        self.seal_at(SystemTime::now(), pool, state)
    }

    /// As [`CookieKeys::seal`], at a time of day.
    pub fn seal_at(&self, now: SystemTime, pool: &PoolHandle, state: &[u8]) -> Option<Vec<u8>> {
        let expiry = unix(now).saturating_add(self.life.as_secs());
        let pool = pool.as_bytes();
        let mut cookie = vec![VERSION];
        cookie.extend(self.signing.to_be_bytes());
        cookie.extend(expiry.to_be_bytes());
        cookie.push(u8::try_from(pool.len()).ok()?);
        cookie.extend(pool);
        cookie.extend(state);
        let (_, key) = self.keys.first()?;
        let seal = mac(key, &cookie).finalize().into_bytes();
        cookie.extend(seal);
        (cookie.len() <= MAX_COOKIE_LEN).then_some(cookie)
    }

    /// The state in a cookie for sessions of a pool.
    ///
    /// # Errors
    /// [`CookieError`]: nothing in the cookie can be believed.
    pub fn open<'a>(&self, pool: &PoolHandle, cookie: &'a [u8]) -> Result<&'a [u8], CookieError> {
        self.open_at(SystemTime::now(), pool, cookie)
    }

    /// As [`CookieKeys::open`], at a time of day.
    ///
    /// # Errors
    /// [`CookieError`]: nothing in the cookie can be believed.
    pub fn open_at<'a>(
        &self,
        now: SystemTime,
        pool: &PoolHandle,
        cookie: &'a [u8],
    ) -> Result<&'a [u8], CookieError> {
        let (signed, seal) = cookie.split_last_chunk::<32>().ok_or(CookieError::Truncated)?;
        let (&version, rest) = signed.split_first().ok_or(CookieError::Truncated)?;
        if version != VERSION {
            return Err(CookieError::Modified);
        }
        let (id, rest) = rest.split_first_chunk().ok_or(CookieError::Truncated)?;
        let (expiry, rest) = rest.split_first_chunk().ok_or(CookieError::Truncated)?;
        let (&len, rest) = rest.split_first().ok_or(CookieError::Truncated)?;
        let (of, state) = rest.split_at_checked(len.into()).ok_or(CookieError::Truncated)?;
        let id = KeyId::from_be_bytes(*id);
        let key = self.keys.iter().find(|(known, _)| *known == id);
        let (_, key) = key.ok_or(CookieError::UnknownKey { id })?;
        // In constant time. Only what is signed is believed, be it that it has expired.
        mac(key, signed).verify_slice(seal).map_err(|_| CookieError::Modified)?;
        if of != pool.as_bytes() {
            return Err(CookieError::Foreign);
        }
        if u64::from_be_bytes(*expiry) <= unix(now) {
            return Err(CookieError::Expired);
        }
        Ok(state)
    }
}

/// Without the keys.
impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<KeyId> = self.keys.iter().map(|(id, _)| *id).collect();
        f.debug_struct("CookieKeys").field("ids", &ids).field("life", &self.life).finish()
    }
}

/// Why a cookie is refused; the session starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// It is shorter than any cookie.
    #[error("the cookie is cut off")]
    Truncated,
    /// No element of the pool has signed it like this.
    #[error("the cookie was changed")]
    Modified,
    /// It is signed with a key that is not known here, or no more.
    #[error("the cookie is signed with key {id}, which is not known here")]
    UnknownKey {
        /// Which key it names.
        id: KeyId,
    },
    /// It belongs to another pool whose elements have the same key.
    #[error("the cookie belongs to another pool")]
    Foreign,
    /// It is too old.
    #[error("the cookie has expired")]
    Expired,
}

const VERSION: u8 = 1;

fn mac(key: &[u8; 32], signed: &[u8]) -> Hmac<Sha256> {
    // RFC 2104 §2: a key shorter than a block is filled with zeros.
    let mut block = [0; 64];
    if let Some((first, _)) = block.split_first_chunk_mut() {
        *first = *key;
    }
    Hmac::<Sha256>::new(&block.into()).chain_update(signed)
}

fn unix(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> PoolHandle {
        "EchoPool".parse().unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_sealed_for_a_pool_opens_in_it() {
        let keys = CookieKeys::new(7, [1; 32]);
        for state in [&b""[..], b"state", &[0; 65_000]] {
            let cookie = keys.seal_at(at(1000), &pool(), state).unwrap();
            assert_eq!(keys.open_at(at(1001), &pool(), &cookie), Ok(state));
        }
        assert_eq!(keys.seal(&pool(), &[0; 65_500]), None);
        let cookie = keys.seal(&pool(), b"now").unwrap();
        assert_eq!(keys.open(&pool(), &cookie), Ok(&b"now"[..]));
    }

    #[test]
    fn a_cookie_that_was_changed_or_cut_anywhere_is_refused() {
        let keys = CookieKeys::new(7, [1; 32]);
        let cookie = keys.seal_at(at(1000), &pool(), b"state").unwrap();
        for place in 0..cookie.len() {
            for bit in 0..8 {
                let mut changed = cookie.clone();
                changed[place] ^= 1 << bit;
                assert!(keys.open_at(at(1000), &pool(), &changed).is_err(), "{place} {bit}");
            }
            assert!(keys.open_at(at(1000), &pool(), &cookie[..place]).is_err(), "{place}");
        }
        assert_eq!(keys.open(&pool(), &cookie[..31]), Err(CookieError::Truncated));
        let mut changed = cookie.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(keys.open_at(at(1000), &pool(), &changed), Err(CookieError::Modified));
    }

    #[test]
    fn a_cookie_of_another_pool_or_time_is_refused() {
        let keys = CookieKeys::new(7, [1; 32]).lasting(Duration::from_secs(10));
        let cookie = keys.seal_at(at(1000), &pool(), b"state").unwrap();
        let other = "Other".parse().unwrap();
        assert_eq!(keys.open_at(at(1000), &other, &cookie), Err(CookieError::Foreign));
        assert!(keys.open_at(at(1009), &pool(), &cookie).is_ok());
        assert_eq!(keys.open_at(at(1010), &pool(), &cookie), Err(CookieError::Expired));
    }

    #[test]
    fn keys_are_changed_without_losing_a_session() {
        let old = CookieKeys::new(1, [1; 32]);
        let both = CookieKeys::new(2, [2; 32]).also_accept(1, [1; 32]);
        let new = CookieKeys::new(2, [2; 32]);
        let before = old.seal_at(at(0), &pool(), b"state").unwrap();
        let after = both.seal_at(at(0), &pool(), b"state").unwrap();
        assert!(both.open_at(at(0), &pool(), &before).is_ok());
        assert!(old.clone().also_accept(2, [2; 32]).open_at(at(0), &pool(), &after).is_ok());
        assert!(new.open_at(at(0), &pool(), &after).is_ok());
        let unknown = Err(CookieError::UnknownKey { id: 1 });
        assert_eq!(new.open_at(at(0), &pool(), &before), unknown);
        // The same number for another key is no way in.
        let forged = CookieKeys::new(2, [9; 32]).seal_at(at(0), &pool(), b"state").unwrap();
        assert_eq!(new.open_at(at(0), &pool(), &forged), Err(CookieError::Modified));
        assert!(!format!("{both:?}").contains("1, 1, 1"));
    }
}
