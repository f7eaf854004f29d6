//! Notices to an operator's webhook: posted together, signed, and tried again until they are taken.
//!
//! The body is `{"events":[…]}`, one [`Notice`] each. With a secret the header `Certbound-Signature` is
//! `t=SECONDS,v1=HEX`, where HEX is HMAC-SHA-256 (RFC 2104) of `SECONDS.BODY` under the secret: the receiver recomputes it,
//! compares, and refuses what is older than some minutes.

use std::collections::VecDeque;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::Sha256;
use url::Url;

use super::Notice;
use crate::clock::Timestamp;
use crate::pki::fetch::{FetchBounds, FetchError, Outgoing};

/// The most notices that wait; beyond it the oldest are dropped.
const MOST: usize = 1000;

/// The most notices in one message.
const AT_ONCE: usize = 100;

/// What one attempt may take. The answer's body means nothing.
const BOUNDS: FetchBounds = FetchBounds { size: 64 * 1024, time: Duration::from_secs(10) };

/// The longest time between two attempts.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// What waits to be delivered. In memory: after a restart everything that is still true is news again.
#[derive(Debug, Default)]
pub struct Deliveries {
    waiting: VecDeque<Notice>,
    failures: u32,
    not_before: Option<Timestamp>,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Delivery {
    /// Nothing waits, or it is not time yet.
    Nothing,
    /// So many notices were taken.
    Taken(usize),
    /// None were; they wait until then.
    Failed {
        /// Why.
        error: FetchError,
        /// The next attempt.
        again: Timestamp,
    },
}

impl Deliveries {
    /// Puts notices at the end. Gives how many were dropped because too many wait, the oldest first.
    #[must_use]
    pub fn add(&mut self, notices: impl IntoIterator<Item = Notice>) -> usize {
        self.waiting.extend(notices);
        let too_many = self.waiting.len().saturating_sub(MOST);
        self.waiting.drain(..too_many);
        too_many
    }

    /// Posts what waits, if it is time to. Any 2xx takes it; after a failure the next attempt is a minute later, then
    /// two, four, … at most an hour.
    pub async fn deliver(
        &mut self,
        url: &Url,
        secret: Option<&SecretString>,
        outgoing: &Outgoing,
        now: Timestamp,
    ) -> Delivery {
        if !self.is_due(now) {
            return Delivery::Nothing;
        }
        let events: Vec<_> = self.waiting.iter().take(AT_ONCE).collect();
        let count = events.len();
        let body = json!({ "events": events }).to_string();
        let signature = secret.map(|secret| signature(secret, &body, now));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(signature.as_deref().map(|signature| ("certbound-signature", signature)));
        match outgoing.post(url, &headers, body.into_bytes(), BOUNDS).await {
            Ok(_) => {
                self.waiting.drain(..count);
                self.failures = 0;
                self.not_before = None;
                Delivery::Taken(count)
            }
            Err(error) => Delivery::Failed { error, again: self.put_off(now) },
        }
    }

    /// Whether something waits and it is time to post it.
    pub fn is_due(&self, now: Timestamp) -> bool {
        !self.waiting.is_empty() && !self.rests(now)
    }

    /// An attempt has failed. Gives the moment of the next one.
    pub fn put_off(&mut self, now: Timestamp) -> Timestamp {
        let rest = Duration::from_secs(60) * 2_u32.saturating_pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let again = now.plus(rest.min(LONGEST_REST));
        self.not_before = Some(again);
        again
    }

    /// A rest that would last longer than any began before the clock went back, and is over.
    fn rests(&self, now: Timestamp) -> bool {
        self.not_before.is_some_and(|moment| now < moment && moment.since(now) <= LONGEST_REST)
    }
}

fn signature(secret: &SecretString, body: &str, now: Timestamp) -> String {
    let seconds = now.as_unix();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length (RFC 2104 §2)");
    mac.update(format!("{seconds}.{body}").as_bytes());
    let code = mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut text, octet| {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    });
    format!("t={seconds},v1={code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radar::Kind;

    fn notice(name: &str) -> Notice {
        Notice {
            kind: Kind::Client,
            name: name.to_owned(),
            client_id: None,
            contacts: Vec::new(),
            ends: None,
            seconds_left: None,
            what: "it ends".to_owned(),
        }
    }

    #[test]
    fn the_signature_is_an_hmac_over_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac key
        let code = signature(&SecretString::from("key"), "{}", Timestamp::from_unix(1_700_000_000));
        assert_eq!(code, "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae");
    }

    #[test]
    fn too_many_notices_push_out_the_oldest() {
        let mut deliveries = Deliveries::default();
        let dropped = deliveries.add((0..MOST + 2).map(|number| notice(&number.to_string())));
        assert_eq!((deliveries.waiting.len(), dropped), (MOST, 2));
        assert_eq!(deliveries.waiting.front().unwrap().name, "2");
    }

    #[tokio::test]
    async fn a_failure_waits_longer_each_time_and_loses_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url: Url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let outgoing = crate::pki::fetch::OutgoingSettings {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            ..Default::default()
        };
        let outgoing = Outgoing::new(&outgoing).unwrap();
        let mut deliveries = Deliveries::default();
        assert_eq!(deliveries.add([notice("a")]), 0);
        let mut now = Timestamp::from_unix(1_700_000_000);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Delivery::Failed { again, .. } = deliveries.deliver(&url, None, &outgoing, now).await else {
                panic!("nobody listens")
            };
            assert_eq!(again.since(now), Duration::from_secs(60 * minutes));
            assert!(matches!(deliveries.deliver(&url, None, &outgoing, now).await, Delivery::Nothing));
            now = again;
        }
        assert_eq!(deliveries.waiting.len(), 1);
        // The clock was ahead by years, and was set right.
        let (ahead, right) = (now, Timestamp::from_unix(1_600_000_000));
        assert!(matches!(deliveries.deliver(&url, None, &outgoing, ahead).await, Delivery::Failed { .. }));
        assert!(matches!(deliveries.deliver(&url, None, &outgoing, right).await, Delivery::Failed { .. }));
    }
}
