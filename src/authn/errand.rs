//! What somebody else could still say: a responder of a certificate (RFC 6960), a client of the certificates that it
//! publishes (`jwks_uri`, RFC 7591 §2).
//!
//! A decision asks nobody. It leaves the questions here, and whoever can wait runs the errand and decides again. The
//! background runs errands ahead of the requests, so that this is the exception on their way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use url::Url;

use super::ClientAuthenticator;
use crate::clock::Timestamp;
use crate::pki::fetch::Outgoing;
use crate::pki::revocation::Revocation;
use crate::pki::revocation::ocsp::Question;
use crate::registry::Credential;
use crate::registry::remote::{Asked, Asking, JwkSets};

/// How to ask, and what was heard so far from `jwks_uri`s. Outlives every reload.
#[derive(Clone)]
pub struct Remote {
    /// The certificates that clients publish.
    pub jwk_sets: Arc<JwkSets>,
    /// The way out.
    pub outgoing: Arc<Outgoing>,
    /// The most certificates of one client.
    pub max_certificates: usize,
}

/// Questions to ask at once; none, mostly.
#[derive(Debug, Default)]
pub struct Errand {
    questions: Vec<Question>,
    sets: Vec<(Url, Asking)>,
}

/// Somebody who was asked.
type UnderWay<'a> = Pin<Box<dyn Future<Output = Option<(Url, Asked)>> + Send + 'a>>;

impl Errand {
    /// What will be wanted soon: answers that run out, and sets that are due.
    pub fn ahead(questions: Vec<Question>, sets: Vec<Url>) -> Self {
        Self { questions, sets: sets.into_iter().map(|set| (set, Asking::Due)).collect() }
    }

    /// Whether there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.sets.is_empty()
    }

    /// Takes over what another one is to ask.
    pub fn join(&mut self, other: Self) {
        self.questions.extend(other.questions);
        self.sets.extend(other.sets);
    }

    /// Asks everybody at once and returns when the last has answered, or has had its time: each takes 2 s at most, and
    /// whoever asks the same at the same moment shares the exchange. Answers are kept where they are looked up; what
    /// became of sets is given too, for the log.
    pub async fn run(&self, remote: &Remote, revocation: &Revocation, now: Timestamp) -> Vec<(Url, Asked)> {
        let mut under_way: Vec<UnderWay<'_>> = Vec::new();
        for question in &self.questions {
            let asked = revocation.ocsp().ask(question, &remote.outgoing, now);
            under_way.push(Box::pin(async {
                asked.await;
                None
            }));
        }
        for (uri, asking) in &self.sets {
            let asked = remote.jwk_sets.ask(uri, remote.max_certificates, *asking, now);
            under_way.push(Box::pin(async { Some((uri.clone(), asked.await)) }));
        }
        let mut answers = Vec::new();
        poll_fn(|context| {
            under_way.retain_mut(|asked| match asked.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    answers.extend(answer);
                    false
                }
                Poll::Pending => true,
            });
            if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        answers
    }

    pub(super) fn ask_responders(&mut self, questions: &[Question]) {
        self.questions.extend_from_slice(questions);
    }

    /// A certificate that is not in the published set may have been published since; how often that is worth asking,
    /// [`JwkSets::is_askable`] says, whatever strangers show.
    pub(super) fn ask_for_set(&mut self, world: &ClientAuthenticator, of: &Credential, now: Timestamp) {
        let (Credential::SelfSignedTlsClientAuth { jwks_uri: Some(uri), .. }, Some(remote)) =
            (of, &world.remote)
        else {
            return;
        };
        if remote.jwk_sets.is_askable(uri, now) {
            self.sets.push((uri.clone(), Asking::UnknownCertificate));
        }
    }
}
