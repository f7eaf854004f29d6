//! The client document (RFC 7591 §2, RFC 8705 §2.1.2 and §2.2.2, and our own names) and the client that it
//! means.
//!
//! Every problem of a document is noted, at its place. "Exactly one of" is checked here and is an enum
//! afterwards. What needs other documents (the same `client_id`, an equal rule) is left to `clash`, dates to
//! `dates`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use super::client::{Client, Credential};
use super::pins::{self, Pins};
use super::places::CertificatePlace;
use super::reading::{Context, PinPlace, Reading, Registered};
use crate::document::{At, Fields, Node, Problems, Severity};
use crate::oauth::{Audience, AuthMethod, ClientId, GrantType, Scope};
use crate::pki::{AnchorSetName, SubjectMatcher};

const KNOWN: [&str; 20] = [
    "client_id",
    "client_name",
    "token_endpoint_auth_method",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "trust_anchors",
    "certificates",
    "jwks",
    "jwks_uri",
    "x5t#S256",
    "grant_types",
    "scope",
    "resources",
    "access_token_lifetime",
    "contacts",
    "enabled",
    "introspection",
];

/// Where a client's certificates may be (RFC 8705 §2.2.2).
const CERTIFICATE_SOURCES: [&str; 4] = ["certificates", "jwks", "x5t#S256", "jwks_uri"];

/// The most octets of a `jwks_uri`.
const MAX_URI: usize = 2048;

/// The most characters of a `scope`: with every other claim at its longest, a token has less than 16 KiB, and longer ones
/// are never active.
const MAX_SCOPE: usize = 4096;

/// The longest life of an access token.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The client of a document, or problems in the reading.
pub(super) fn client(node: &Node, context: &Context, reading: &mut Reading) -> Option<Registered> {
    let errors = count_errors(&reading.problems);
    let mut fields = Fields::of(node, &mut reading.problems)?;
    let id = identifier(&mut fields, &mut reading.problems);
    let proof = proof(&mut fields, context, reading);

    let problems = &mut reading.problems;
    let name = fields.take("client_name").and_then(|node| one_line(&node, problems));
    let enabled = fields.take("enabled").and_then(|node| node.bool(problems)).unwrap_or(true);
    let grants =
        fields.take("grant_types").map_or_else(|| GrantType::ALL.into(), |node| grants(&node, problems));
    let scope = fields.take("scope").and_then(|node| scope(&node, problems)).unwrap_or_default();
    let named = fields.take("resources").map(|node| audiences(&node, problems));
    let lifetime = fields.take("access_token_lifetime").and_then(|node| lifetime(&node, problems));
    let introspects =
        fields.take("introspection").map(|node| introspects(&node, problems)).unwrap_or_default();
    let contacts = fields.take("contacts").map(|node| contacts(&node, problems)).unwrap_or_default();

    let resources = named.unwrap_or_else(|| context.default_resource.iter().cloned().collect());
    let at = id.as_ref().map_or_else(|| fields.at().clone(), |(_, at)| at.clone());
    if resources.is_empty() && !grants.is_empty() && count_errors(problems) == errors {
        problems.error(
            &at,
            "the client has a grant and no resource that its tokens could be for",
            "write `resources: [https://api.example.com]`, or set tokens.resource in the configuration",
        );
    }
    fields.finish(&KNOWN, problems);
    if count_errors(problems) > errors {
        return None;
    }
    let (id, id_at) = id?;
    let Proof { credential, at: rule_at, pins, listed } = proof?;
    let client = Client {
        id,
        name,
        credential,
        enabled,
        grants,
        scope,
        resources,
        lifetime,
        introspects,
        contacts,
        at: node.at.clone(),
    };
    Some(Registered { client: client.into(), id_at, rule_at, pins, listed })
}

fn identifier(fields: &mut Fields, problems: &mut Problems) -> Option<(ClientId, At)> {
    let node = fields.require("client_id", "client_id: billing", problems)?;
    match ClientId::parse(node.text(problems)?) {
        Ok(id) => Some((id, node.at)),
        Err(error) => {
            problems.error(&node.at, error.to_string(), "write a short name such as billing");
            None
        }
    }
}

/// A credential, where it stands, and where its certificates do.
struct Proof {
    credential: Credential,
    at: At,
    pins: Vec<PinPlace>,
    listed: Option<Vec<CertificatePlace>>,
}

fn proof(fields: &mut Fields, context: &Context, reading: &mut Reading) -> Option<Proof> {
    let example = "token_endpoint_auth_method: tls_client_auth";
    let node = fields.require("token_endpoint_auth_method", example, &mut reading.problems);
    let method = node.and_then(|node| method(&node, &mut reading.problems));
    let rules = SubjectMatcher::PARAMETERS.iter().filter_map(|name| Some((*name, present(fields, name)?)));
    let rules: Vec<_> = rules.collect();
    let anchors = present(fields, "trust_anchors");
    let sources = CERTIFICATE_SOURCES.iter().filter_map(|name| {
        let at = fields.at_key(name)?.clone();
        Some((*name, at, fields.take(name)?))
    });
    let sources: Vec<_> = sources.collect();

    let problems = &mut reading.problems;
    match method? {
        AuthMethod::TlsClientAuth => {
            for (name, at, _) in &sources {
                belongs_elsewhere(name, at, AuthMethod::SelfSignedTlsClientAuth, problems);
            }
            let rule = exactly_one(fields.at(), &SubjectMatcher::PARAMETERS, rules, problems);
            let anchors = anchor_set(fields.at(), anchors.as_ref(), context, problems);
            let (name, node) = rule?;
            let subject = subject(name, &node, problems)?;
            let credential = Credential::TlsClientAuth { subject, anchors: anchors? };
            Some(Proof { credential, at: node.at, pins: Vec::new(), listed: None })
        }
        AuthMethod::SelfSignedTlsClientAuth => {
            let misplaced = anchors.iter().map(|node| ("trust_anchors", node));
            for (name, node) in rules.iter().map(|(name, node)| (*name, node)).chain(misplaced) {
                belongs_elsewhere(name, &node.at, AuthMethod::TlsClientAuth, problems);
            }
            let given = sources.into_iter().map(|(name, _, node)| (name, node)).collect();
            let (name, node) = exactly_one(fields.at(), &CERTIFICATE_SOURCES, given, problems)?;
            if name == "jwks_uri" {
                let jwks_uri = Some(jwks_uri(&node, problems)?);
                let credential = Credential::SelfSignedTlsClientAuth { pins: BTreeMap::new(), jwks_uri };
                return Some(Proof { credential, at: node.at, pins: Vec::new(), listed: None });
            }
            let Pins { by_thumbprint: pins, places, listed } = match name {
                "certificates" => pins::of_files(&node, context.max_certificates, reading)?,
                "jwks" => pins::of_jwks(&node, context.max_certificates, problems)?,
                _ => pins::of_thumbprints(&node, context.max_certificates, problems)?,
            };
            Some(Proof {
                credential: Credential::SelfSignedTlsClientAuth { pins, jwks_uri: None },
                at: node.at,
                pins: places,
                listed,
            })
        }
    }
}

/// RFC 7591 §2, with what RFC 8705 §2.2.2 leaves open: https, so that nobody on the way can register a
/// certificate, and no secret in it, because it is shown. Whether the address may be reached is for the
/// configuration to say.
fn jwks_uri(node: &Node, problems: &mut Problems) -> Option<Url> {
    let text = node.text(problems)?;
    let mut refuse = |what: &str| {
        problems.error(&node.at, what, "write it like https://edge.example.com/jwks.json");
        None
    };
    // What the URL parser would repair (blanks, back slashes, slashes that lack) is not what was meant.
    if text.len() > MAX_URI || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return refuse("a jwks_uri has at most 2048 visible ASCII characters, and no backslash");
    }
    let Some((_, rest)) = text.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
    else {
        return refuse("a jwks_uri begins with https://");
    };
    let Some(uri) = Url::parse(text).ok().filter(|_| !rest.starts_with('/')) else {
        return refuse("this is not a URL with a host");
    };
    if !uri.username().is_empty() || uri.password().is_some() {
        return refuse("a jwks_uri has no user information: it is no place for secrets");
    }
    if uri.fragment().is_some() {
        return refuse("a jwks_uri has no fragment: nobody would send it");
    }
    Some(uri)
}

/// Takes a field; an empty text is as good as none (RFC 7591 §2).
fn present(fields: &mut Fields, name: &str) -> Option<Node> {
    let node = fields.take(name)?;
    let is_empty = node.text(&mut Problems::default()).is_some_and(str::is_empty);
    (!is_empty).then_some(node)
}

fn belongs_elsewhere(name: &str, at: &At, method: AuthMethod, problems: &mut Problems) {
    let instead = format!("remove it, or write `token_endpoint_auth_method: {}`", method.as_str());
    problems.error(at, format!("`{name}` belongs to {}", method.as_str()), instead);
}

fn method(node: &Node, problems: &mut Problems) -> Option<AuthMethod> {
    let method = AuthMethod::parse(node.text(problems)?);
    if method.is_none() {
        let all: Vec<_> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
        let what = "this is not a method that the server knows";
        problems.error(&node.at, what, format!("write {}", all.join(" or ")));
    }
    method
}

/// RFC 8705 §2.1.2: a client uses exactly one of the parameters; the same holds for where its certificates
/// are.
fn exactly_one<'k>(
    at: &At,
    names: &[&str],
    mut given: Vec<(&'k str, Node)>,
    problems: &mut Problems,
) -> Option<(&'k str, Node)> {
    for (name, node) in given.iter().skip(1) {
        let first = given.first().map_or("another", |(name, _)| name);
        problems.error(
            &node.at,
            format!("`{name}` is there beside `{first}`"),
            "keep exactly one of the two",
        );
    }
    if given.is_empty() {
        let instead = format!("write exactly one of {}", names.join(", "));
        problems.error(at, "nothing says which certificates are the client's", instead);
    }
    if given.len() == 1 { given.pop() } else { None }
}

fn subject(name: &str, node: &Node, problems: &mut Problems) -> Option<SubjectMatcher> {
    let example = match name {
        "tls_client_auth_subject_dn" => "write it as RFC 4514 has it, such as CN=billing,O=Example,C=RO",
        "tls_client_auth_san_dns" => "write a host name without wildcard, such as billing.svc.example.com",
        "tls_client_auth_san_uri" => "write an absolute URI, such as spiffe://example.com/billing",
        "tls_client_auth_san_ip" => "write one address, such as 192.0.2.1 or 2001:db8::1",
        _ => "write an address, such as billing@example.com",
    };
    match SubjectMatcher::parse(name, node.text(problems)?) {
        Ok(subject) => Some(subject),
        Err(error) => {
            problems.error(&node.at, error.to_string(), example);
            None
        }
    }
}

/// Which set may vouch for the client; it need not be said where there is only one.
fn anchor_set(
    at: &At,
    node: Option<&Node>,
    context: &Context,
    problems: &mut Problems,
) -> Option<AnchorSetName> {
    let instead = || match context.anchor_sets.as_slice() {
        [] => "the configuration has none: add one to its trust_anchors".to_owned(),
        sets => {
            let names: Vec<_> = sets.iter().map(AnchorSetName::as_str).collect();
            format!("write `trust_anchors: NAME` with one of {}", names.join(", "))
        }
    };
    let Some(node) = node else {
        if let [only] = context.anchor_sets.as_slice() {
            return Some(only.clone());
        }
        problems.error(at, "`trust_anchors` is missing", instead());
        return None;
    };
    let name = node.text(problems)?;
    let found = context.anchor_sets.iter().find(|set| set.as_str() == name);
    if found.is_none() {
        problems.error(&node.at, format!("there is no set of trust anchors named {name:?}"), instead());
    }
    found.cloned()
}

fn grants(node: &Node, problems: &mut Problems) -> BTreeSet<GrantType> {
    let mut grants = BTreeSet::new();
    for item in node.list(problems).unwrap_or_default() {
        let Some(text) = item.text(problems) else { continue };
        match GrantType::parse(text) {
            Some(grant) => drop(grants.insert(grant)),
            None => problems.error(
                &item.at,
                "this is not a grant type that the server knows",
                "write client_credentials, or [] for a client that only introspects",
            ),
        }
    }
    grants
}

fn scope(node: &Node, problems: &mut Problems) -> Option<Scope> {
    let text = node.text(problems)?;
    if text.len() > MAX_SCOPE {
        let what = format!("a scope has at most {MAX_SCOPE} characters");
        problems.error(&node.at, what, "register fewer words or shorter ones, or several clients");
        return None;
    }
    match Scope::parse(text) {
        Ok(scope) => Some(scope),
        Err(error) => {
            let instead =
                "write words with one space between them, such as `scope: invoices:read invoices:write`";
            problems.error(&node.at, error.to_string(), instead);
            None
        }
    }
}

/// In the order of the document, for the first is the default; each once.
fn audiences(node: &Node, problems: &mut Problems) -> Vec<Audience> {
    let mut audiences = Vec::new();
    for item in node.list(problems).unwrap_or_default() {
        let Some(text) = item.text(problems) else { continue };
        match Audience::parse(text) {
            Ok(audience) if audiences.contains(&audience) => {}
            Ok(audience) => audiences.push(audience),
            Err(error) => {
                problems.error(&item.at, error.to_string(), "write it like https://api.example.com");
            }
        }
    }
    audiences
}

fn lifetime(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let lifetime = node.duration(problems)?;
    if lifetime.is_zero() || lifetime > MAX_LIFETIME {
        problems.error(&node.at, "an access token lives between 1s and 24h", "write a duration such as 5m");
        return None;
    }
    Some(lifetime)
}

fn introspects(node: &Node, problems: &mut Problems) -> BTreeSet<Audience> {
    let Some(mut fields) = Fields::of(node, problems) else { return BTreeSet::new() };
    let resources = fields.require("resources", "resources: [https://api.example.com]", problems);
    fields.finish(&["resources"], problems);
    resources.map(|node| audiences(&node, problems).into_iter().collect()).unwrap_or_default()
}

fn contacts(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node.list(problems).unwrap_or_default();
    items.iter().filter_map(|item| one_line(item, problems)).collect()
}

/// A text for people, which ends up in lists and logs.
fn one_line(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    if text.is_empty() || text.chars().count() > 255 || text.chars().any(char::is_control) {
        problems.error(&node.at, "this is not a line of at most 255 characters", "write one short line");
        return None;
    }
    Some(text.to_owned())
}

fn count_errors(problems: &Problems) -> usize {
    problems.0.iter().filter(|problem| problem.severity == Severity::Error).count()
}
