//! One certificate more for a self-signed client: where it would be registered, and what the document says then.
//!
//! A document names its certificates in one way (RFC 8705 §2.2.2 and ours), and exactly one: what is to be written
//! depends on the way it has. `client add-certificate` writes it, or has a person write it, and `explain` proposes it;
//! so that both say the same, it is found here. Nothing is written here.

mod jwk;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

use super::{Client, Credential, Registry, directory};
use crate::pki::files::to_pem;
use crate::pki::{Certificate, Thumbprint};

/// Where a certificate would be registered beside those that the client has, and the whole line that does it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Addition {
    /// A file beside the document, which names it (`certificates`).
    File {
        /// The file that the certificate has to be in, as PEM.
        path: PathBuf,
        /// `certificates: […]`, the new name last.
        line: String,
    },
    /// The JWK Set of the document (`jwks`).
    Key {
        /// The certificate as a JWK (RFC 7517 §4.7); `None` for a key whose JWK takes more than copying.
        jwk: Option<String>,
        /// `jwks: {keys: […]}`; `None` where a key of the set has no JWK.
        line: Option<String>,
    },
    /// The thumbprints of the document (`x5t#S256`).
    Thumbprint {
        /// `x5t#S256: […]`, each of them.
        line: String,
    },
    /// The set that the client publishes itself (`jwks_uri`): no document changes.
    Published {
        /// Where.
        uri: Url,
        /// The certificate as a JWK, as above.
        jwk: Option<String>,
    },
}

impl Registry {
    /// How `certificate` would become one more of a self-signed client; `None` for a client that is known by its
    /// subject.
    pub fn addition(&self, client: &Client, certificate: &Certificate) -> Option<Addition> {
        let Credential::SelfSignedTlsClientAuth { pins, jwks_uri } = &client.credential else { return None };
        let jwk = || jwk::of(certificate).as_ref().map(Value::to_string);
        if let Some(uri) = jwks_uri {
            return Some(Addition::Published { uri: uri.clone(), jwk: jwk() });
        }
        let places = self.certificate_places(&client.id);
        let is_list = places.as_ref().is_some_and(|places| places.list.is_some());
        let source = pins.values().next().map(|pin| pin.source.as_str()).filter(|_| !is_list);
        Some(match source {
            Some("jwks") => {
                let known = pins.iter().filter(|(thumbprint, _)| **thumbprint != certificate.thumbprint());
                let known = known.map(|(_, pin)| jwk::of(pin.certificate.as_deref()?));
                let keys: Option<Vec<_>> = known.chain([jwk::of(certificate)]).collect();
                Addition::Key {
                    jwk: jwk(),
                    line: keys.map(|keys| format!("jwks: {{keys: {}}}", Value::from(keys))),
                }
            }
            Some("x5t#S256") => {
                let all = pins.keys().copied().chain([certificate.thumbprint()]);
                let all: std::collections::BTreeSet<Thumbprint> = all.collect();
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                Addition::Thumbprint { line: format!("x5t#S256: [{}]", all.join(", ")) }
            }
            _ => {
                let path = file_for(client, certificate);
                let before: Vec<_> = match places {
                    Some(places) => places.entries.into_iter().map(|entry| entry.name).collect(),
                    // The file has a problem that comes first; these are the names that are in force.
                    None => pins.values().map(|pin| pin.source.clone()).collect(),
                };
                let added = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let names: Vec<_> = before.into_iter().chain([added]).map(|name| scalar(&name)).collect();
                Addition::File { path, line: format!("certificates: [{}]", names.join(", ")) }
            }
        })
    }
}

/// Beside the document, named for the client and the day on which the certificate ends. A name that another certificate
/// has gets the beginning of the thumbprint.
fn file_for(client: &Client, certificate: &Certificate) -> PathBuf {
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    let id: String = client.id.as_str().chars().filter(is_plain).take(100).collect();
    let id = Some(id.trim_matches(['-', '.'])).filter(|id| !id.is_empty()).unwrap_or("client");
    let end = certificate.not_after().to_string();
    let day = end.get(..10).unwrap_or(&end);
    let beside = client.at.file.parent().unwrap_or_else(|| Path::new(""));
    let free = beside.join(format!("{id}.{day}.pem"));
    let pem = to_pem(certificate.der());
    let is_ours = match directory::read(&free) {
        Ok(there) => there == pem.as_bytes(),
        Err(_) => free.symlink_metadata().is_err(),
    };
    if is_ours {
        return free;
    }
    let beginning =
        certificate.thumbprint().as_bytes().iter().take(4).fold(String::new(), |mut hash, octet| {
            let _ = write!(hash, "{octet:02x}"); // writing to a String cannot fail
            hash
        });
    beside.join(format!("{id}.{day}.{beginning}.pem"))
}

/// As YAML; what is not plain is quoted, and a JSON string is a YAML scalar.
fn scalar(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if is_plain && text.contains('.') && !text.starts_with('-') {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}
