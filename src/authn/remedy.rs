//! The lines of a client document that would accept a certificate, if there are any.
//!
//! Found by deciding: a client is written down as those lines would have it, and the real decision is made about it.
//! So nothing is proposed that would not work, such as another subject for a certificate that has expired, or a rule
//! that another client has.

use std::sync::Arc;

use url::Url;

use super::examination::{Depth, Examination};
use super::{ClientAuthenticator, Presented};
use crate::clock::Timestamp;
use crate::pki::certificate::{AltName, Certificate, Chain};
use crate::pki::{AnchorSetName, SubjectMatcher};
use crate::registry::{Addition, Client, Credential, Pin};

/// What would have a certificate accepted.
#[derive(Debug, Default)]
pub(super) struct Remedy {
    /// The fewest lines that would do it, each to be written in the place of the one with the same key.
    pub(super) yaml: Option<String>,
    /// What is to be done beside them, or instead of them where no line of the document does it.
    pub(super) step: Option<String>,
}

impl Remedy {
    /// Nothing, where nothing that may be written would do it.
    pub(super) fn find(
        world: &ClientAuthenticator,
        client: &Client,
        presented: &Presented,
        now: Timestamp,
    ) -> Self {
        let Presented::Certificate(certificate) = presented else { return Self::default() };
        let mut candidates = candidates(world, client, &certificate.chain, now);
        candidates.sort_by_key(|candidate| candidate.lines.len() + usize::from(candidate.step.is_some()));
        let accepted = candidates.into_iter().find(|candidate| {
            let client = Arc::new(candidate.client.clone());
            Examination::new(world, Depth::FirstFailure, now).judge(&client, presented).is_ok()
        });
        accepted.map(Self::of).unwrap_or_default()
    }

    fn of(candidate: Candidate) -> Self {
        let Candidate { lines, step, client } = candidate;
        let yaml = (!lines.is_empty()).then(|| lines.join("\n"));
        match (step, yaml) {
            (Some(Step::File), yaml) => {
                let command = format!("certbound client add-certificate {} FILE", client.id);
                Self { yaml, step: Some(format!("`{command}` writes the file and the line")) }
            }
            // The lines alone would not do it, so they are none.
            (Some(Step::Publish(uri)), also) => {
                let also = also.map(|yaml| format!(", and `{yaml}` has to be written")).unwrap_or_default();
                let step = format!("the client has to publish it in its set at {uri}{also}");
                Self { yaml: None, step: Some(step) }
            }
            (None, yaml) => Self { yaml, step: None },
        }
    }
}

/// The client as these lines would have it.
struct Candidate {
    client: Client,
    lines: Vec<String>,
    step: Option<Step>,
}

/// What a line of the document cannot do.
enum Step {
    /// The certificate has to be in a file.
    File,
    /// The certificate has to be in the set that is published here.
    Publish(Url),
}

impl Candidate {
    /// Disabled or not: whoever asks what would accept is told that too.
    fn new(client: &Client, credential: Credential, mut lines: Vec<String>) -> Self {
        if !client.enabled {
            lines.push("enabled: true".to_owned());
        }
        Self { client: Client { credential, enabled: true, ..client.clone() }, lines, step: None }
    }
}

fn candidates(world: &ClientAuthenticator, client: &Client, chain: &Chain, now: Timestamp) -> Vec<Candidate> {
    match &client.credential {
        Credential::TlsClientAuth { subject, anchors } => {
            let others = world.trust.names().filter(|name| *name != anchors);
            let others = others.filter(|name| world.trust.verify(chain, name, now).is_ok());
            let sets = std::iter::once((anchors, None))
                .chain(others.map(|name| (name, Some(format!("trust_anchors: {}", plain_or_quoted(name))))));
            let subjects = subjects(subject, &chain.leaf);
            let mut candidates = Vec::new();
            for (anchors, anchors_line) in sets {
                for (subject, subject_line) in &subjects {
                    if is_taken(world, client, subject, anchors) {
                        continue;
                    }
                    let credential =
                        Credential::TlsClientAuth { subject: subject.clone(), anchors: anchors.clone() };
                    let lines = anchors_line.iter().chain(subject_line).cloned().collect();
                    candidates.push(Candidate::new(client, credential, lines));
                }
            }
            candidates
        }
        credential @ Credential::SelfSignedTlsClientAuth { .. } => {
            let as_it_is = Candidate::new(client, credential.clone(), Vec::new());
            std::iter::once(as_it_is).chain(with_one_more(world, client, &chain.leaf)).collect()
        }
    }
}

/// The client with this certificate beside those that it has, in the way in which it registers them.
fn with_one_more(world: &ClientAuthenticator, client: &Client, leaf: &Certificate) -> Option<Candidate> {
    let (line, step) = match world.registry.addition(client, leaf)? {
        Addition::File { line, .. } => (Some(line), Some(Step::File)),
        Addition::Key { line, .. } => (Some(line?), None),
        Addition::Thumbprint { line } => (Some(line), None),
        Addition::Published { uri, .. } => (None, Some(Step::Publish(uri))),
    };
    let mut pins = world.pins_of(&client.credential);
    let places = world.registry.certificate_places(&client.id);
    // A name whose file is away counts too.
    let listed = places.map_or(0, |places| places.entries.len()).max(pins.len());
    if listed >= world.max_certificates() {
        return None;
    }
    pins.insert(leaf.thumbprint(), Pin { certificate: None, source: String::new() });
    let credential = Credential::SelfSignedTlsClientAuth { pins, jwks_uri: None };
    Some(Candidate { step, ..Candidate::new(client, credential, line.into_iter().collect()) })
}

/// Two enabled clients with an equal rule under anchors that share a key are refused, so that is no way out.
fn is_taken(
    world: &ClientAuthenticator,
    client: &Client,
    rule: &SubjectMatcher,
    set: &AnchorSetName,
) -> bool {
    world.registry.clients().filter(|other| other.enabled && other.id != client.id).any(|other| {
        let Credential::TlsClientAuth { subject, anchors } = &other.credential else { return false };
        let sets = world.trust.set(anchors).zip(world.trust.set(set));
        subject == rule && sets.is_some_and(|(one, other)| one.shares_anchor_key_with(other))
    })
}

/// The rule as it is, and every rule that the certificate would keep: first those of the same kind.
fn subjects(registered: &SubjectMatcher, leaf: &Certificate) -> Vec<(SubjectMatcher, Option<String>)> {
    let mut names = Vec::new();
    if !leaf.subject().is_empty() {
        names.push(("tls_client_auth_subject_dn", leaf.subject().to_string()));
    }
    for name in leaf.alt_names().iter().take(MOST_NAMES) {
        match name {
            AltName::Dns(dns) => names.push(("tls_client_auth_san_dns", dns.clone())),
            AltName::Uri(uri) => names.push(("tls_client_auth_san_uri", uri.clone())),
            AltName::Ip(ip) => names.push(("tls_client_auth_san_ip", ip.to_string())),
            AltName::Email(email) => names.push(("tls_client_auth_san_email", email.clone())),
            AltName::Other(_) => {}
        }
    }
    names.sort_by_key(|(parameter, _)| *parameter != registered.parameter());
    let read = |(parameter, text): (&'static str, String)| {
        let subject = SubjectMatcher::parse(parameter, &text).ok()?;
        Some((subject, Some(format!("{parameter}: {}", quoted(&text)))))
    };
    std::iter::once((registered.clone(), None)).chain(names.into_iter().filter_map(read)).collect()
}

/// How many names of a certificate are tried.
const MOST_NAMES: usize = 16;

fn plain_or_quoted(name: &AnchorSetName) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text = name.as_str();
    if text.chars().all(is_plain) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A JSON string is a YAML scalar, whatever is in it.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
