//! What must be remembered until it expires: tokens that ended before their time.
//!
//! A token is signed state and issuing needs no store; the store holds only what has to be forgotten
//! later. It answers RFC 7009 §2.2 (a revocation is durable before 200 is said) and RFC 7662 §2.2
//! (whether a token is still active). When a token expires, who may revoke it and what the wire says
//! is left to `token` and `http`; the moments come from the caller. What was seen, certificates and refusals, has a
//! contract of its own in `evidence`, and `witness` keeps it in memory for requests.

pub mod evidence;
mod identity;
mod opening;
pub mod postgres;
mod record;
pub mod sled;
mod transfer;
pub mod witness;

use std::collections::BTreeSet;

use async_trait::async_trait;

pub use self::opening::{CheckReport, OpenError, Opened, Store};

use crate::clock::Timestamp;
use crate::oauth::{ClientId, Jti};

/// Memory with an end. Every entry carries the moment after which nobody needs it.
///
/// A write is durable when its future is ready; one that failed may have been kept all the same, which
/// ends a token that could have lived. The other way round is never allowed: a clock that jumps ahead
/// and back brings no token back to life, whatever was forgotten in between.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// One token ends (RFC 7009 §2.1). `until` is when it would have ended by itself, leeway included;
    /// the first `at` and the latest `until` of several calls are kept.
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError>;

    /// Every token of `client` with `iat` up to and including `at` ends. An earlier call that reaches
    /// further is not shortened, neither in `at` nor in `until`.
    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whether anything ended this token, every revocation that was answered included. What cannot be read
    /// is an error, never [`Standing::Good`].
    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError>;

    /// Who is registered and enabled now. A client that was and is not `present` is gone since `now`; one
    /// that is back after 5 s or more has every token issued up to `now` ended, remembered until `until`.
    /// Gives those whose tokens ended. "Gone since" outlives a restart.
    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError>;

    /// Drops what nobody needs any more and gives the number of entries dropped. Never before their
    /// `until`; a store may keep them longer.
    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Up to which second [`TokenStore::revoke_issued_before`] has to reach so that it covers every token issued so far,
    /// whoever issued it: `now` where there is one clock, later where several nodes have one each.
    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError>;

    /// Whether a write could be made now.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// What of a token decides its standing.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// Its name, `jti`.
    pub jti: Jti,
    /// The client it was issued to, `client_id`.
    pub client: ClientId,
    /// When it was issued, `iat`.
    pub issued_at: Timestamp,
    /// The key that signed it, `kid`: a store that has the keys too knows which of them were removed.
    pub signed_by: String,
}

/// What the store knows of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing ended it.
    Good,
    /// It was ended.
    Revoked {
        /// When, or the moment up to which tokens were ended.
        at: Timestamp,
    },
}

/// Why the store gave no answer. Neither is ever an answer of "good".
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or written now; the same call may work later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// It holds something that it never wrote.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// Which entry, and what is wrong with it.
        what: String,
    },
}

/// How long an entry is kept beyond the `exp` it belongs to, for clocks that disagree.
pub const LEEWAY: std::time::Duration = std::time::Duration::from_secs(300);
