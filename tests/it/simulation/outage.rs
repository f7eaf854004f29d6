//! A store between the server and the real one, that fails when it is told to: it answers an error and may have kept
//! the write, or answers too late and may have kept it all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use certbound::clock::Timestamp;
use certbound::oauth::{ClientId, Jti};
use certbound::pki::Thumbprint;
use certbound::store::evidence::{Evidence, RefusalRecord, Sighting};
use certbound::store::{Standing, StoreError, TokenKey, TokenStore};

/// What is wrong with the store; shared with whoever makes it so.
#[derive(Default)]
pub(super) struct Fault(AtomicU8);

const WELL: u8 = 0;
const DOWN: u8 = 1;
const SLOW: u8 = 2;
/// What fails is kept all the same.
const KEEPS: u8 = 4;

impl Fault {
    pub(super) fn recover(&self) {
        self.0.store(WELL, Ordering::SeqCst);
    }

    /// Every call fails, until it recovers.
    pub(super) fn fail(&self, keeps: bool) {
        self.0.store(DOWN | if keeps { KEEPS } else { 0 }, Ordering::SeqCst);
    }

    /// The next call that a request or a reload waits for is never answered.
    pub(super) fn hang_once(&self, keeps: bool) {
        self.0.store(SLOW | if keeps { KEEPS } else { 0 }, Ordering::SeqCst);
    }

    pub(super) fn is_down(&self) -> bool {
        self.0.load(Ordering::SeqCst) & DOWN != 0
    }

    pub(super) fn will_hang(&self) -> bool {
        self.0.load(Ordering::SeqCst) & SLOW != 0
    }
}

/// The store as the server sees it.
pub(super) struct Outage<S> {
    pub(super) store: S,
    pub(super) fault: Arc<Fault>,
}

impl<S> Outage<S> {
    async fn through<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fault = self.fault.0.load(Ordering::SeqCst);
        if fault == WELL {
            return call.await;
        }
        if fault & KEEPS != 0 {
            call.await?;
        }
        if fault & SLOW != 0 {
            self.fault.recover();
            std::future::pending::<()>().await;
        }
        Err(StoreError::Unavailable("the simulation has it so".to_owned()))
    }

    /// What nobody waits for does not hang.
    async fn aside<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        if self.fault.will_hang() { call.await } else { self.through(call).await }
    }
}

#[async_trait]
impl<S: TokenStore> TokenStore for Outage<S> {
    async fn revoke(&self, jti: Jti, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        self.through(self.store.revoke(jti, at, until)).await
    }

    async fn revoke_issued_before(
        &self,
        client: &ClientId,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.through(self.store.revoke_issued_before(client, at, until)).await
    }

    async fn standing(&self, token: &TokenKey) -> Result<Standing, StoreError> {
        self.through(self.store.standing(token)).await
    }

    async fn roll_call(
        &self,
        present: &BTreeSet<ClientId>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClientId>, StoreError> {
        self.through(self.store.roll_call(present, now, until)).await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.aside(self.store.forget_expired(now)).await
    }

    async fn moment(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        self.through(self.store.moment(now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.aside(self.store.ping()).await
    }
}

#[async_trait]
impl<S: Evidence> Evidence for Outage<S> {
    async fn note_first(&self, sighting: &Sighting) -> Result<(), StoreError> {
        self.through(self.store.note_first(sighting)).await
    }

    async fn note_again(
        &self,
        seen: &[(ClientId, Thumbprint, Timestamp)],
    ) -> Result<Vec<(ClientId, Thumbprint)>, StoreError> {
        self.aside(self.store.note_again(seen)).await
    }

    async fn note_all_first(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        self.aside(self.store.note_all_first(sightings)).await
    }

    async fn sighting(
        &self,
        client: &ClientId,
        thumbprint: Thumbprint,
    ) -> Result<Option<Sighting>, StoreError> {
        self.through(self.store.sighting(client, thumbprint)).await
    }

    async fn sightings(&self, client: Option<&ClientId>) -> Result<Vec<Sighting>, StoreError> {
        self.aside(self.store.sightings(client)).await
    }

    async fn note_refusals(&self, refusals: &[RefusalRecord]) -> Result<(), StoreError> {
        self.aside(self.store.note_refusals(refusals)).await
    }

    async fn refusal(&self, reference: &str) -> Result<Option<RefusalRecord>, StoreError> {
        self.aside(self.store.refusal(reference)).await
    }

    async fn refusals(&self, limit: usize) -> Result<Vec<RefusalRecord>, StoreError> {
        self.aside(self.store.refusals(limit)).await
    }

    async fn forget_evidence(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.aside(self.store.forget_evidence(now)).await
    }
}
