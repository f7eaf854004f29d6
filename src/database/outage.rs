//! Whether the database is known to be out, so that nobody waits for it in vain.

use std::time::Duration;

use tokio::sync::watch;

use super::DatabaseError;

/// How long the prober waits between two looks.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(500);

/// None while it answers.
pub(super) struct Outage(watch::Sender<Option<DatabaseError>>);

impl Default for Outage {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Outage {
    /// Returns when the database is out: at once, if it is.
    pub(super) async fn begins(&self) -> DatabaseError {
        let mut state = self.0.subscribe();
        match state.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(closed),
            Err(_) => closed(),
        }
    }

    /// Says whether this is the beginning: who caused it looks for the end.
    pub(super) fn starts(&self, error: DatabaseError) -> bool {
        self.0.send_if_modified(|state| {
            let is_news = state.is_none();
            if is_news {
                *state = Some(error);
            }
            is_news
        })
    }

    /// Why it is out now.
    pub(super) fn goes_on(&self, error: DatabaseError) {
        self.0.send_replace(Some(error));
    }

    pub(super) fn ends(&self) {
        self.0.send_replace(None);
    }
}

fn closed() -> DatabaseError {
    DatabaseError::Unavailable("the database is closed".into())
}
