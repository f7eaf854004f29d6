//! `certbound client add-certificate`: the next certificate of a self-signed client, beside those that it has.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::change::{Edit, Force, Meant, NotDone, Snapshot, pins};
use super::edit;
use crate::cli::output::{Answer, Fault, REFUSED, complain};
use crate::cli::{Format, Globals, control, files};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::pki::Certificate;
use crate::pki::files::{FileError, key_matches, to_pem};
use crate::registry::{Addition as Place, CertificatePlaces, Client, Credential, Registry};

/// Adds the certificate of `file` to the list of a client.
pub(super) fn add(
    id: &str,
    file: &Path,
    password_file: Option<&Path>,
    globals: &Globals,
    now: Timestamp,
) -> Result<Answer, Fault> {
    let certificate = only_certificate(file, password_file)?;
    let config = control::configuration(globals)?;
    let server = control::server(&config)?;
    let before = Snapshot::read(&config, now);
    let client = before.client(id)?;
    fits(&certificate, client, &config, now)?;
    warn_of_others(&certificate, client, &before.registry);

    let places = before.registry.certificate_places(&client.id);
    let place = before.registry.addition(client, &certificate);
    let place = place.ok_or_else(|| known_by_its_subject(client))?;
    let addition = Addition { certificate: &certificate, client, place, format: globals.format };
    let (edit, path) = match prepared(&addition, places.as_ref()) {
        Ok(prepared) => prepared,
        Err(why) => return Ok(addition.by_hand(&why)),
    };
    let mut meant = Meant { client, pins: pins(client).keys().copied().collect() };
    meant.pins.insert(certificate.thumbprint());
    match edit.make(&meant, &before, (&config, server.as_ref()), now) {
        Ok(force) => Ok(addition.done(&path, force)),
        Err(NotDone::Unwritable(why)) => Ok(addition.by_hand(&why)),
        Err(NotDone::Undone(why)) => Err(Fault::Refused(why)),
    }
}

/// The one certificate of a file; of a file with a private key, the one that it belongs to.
fn only_certificate(file: &Path, password_file: Option<&Path>) -> Result<Certificate, Fault> {
    let bundle = files::bundle(file, password_file)?;
    let mut found = bundle.certificates;
    if found.is_empty() {
        return Err(Fault::Usage(format!("{}: there is no certificate in it", file.display())));
    }
    if let Some(key) = &bundle.key
        && found.len() > 1
    {
        found.retain(|der| key_matches(der, key));
    }
    match found.as_slice() {
        [only] => {
            Certificate::parse(only).map_err(|error| Fault::Refused(format!("{}: {error}", file.display())))
        }
        several => Err(files::fault(file, &FileError::NotOne(several.len()))),
    }
}

/// What registration would refuse, before anything is written.
fn fits(certificate: &Certificate, client: &Client, config: &Config, now: Timestamp) -> Result<(), Fault> {
    let no = |why: String| Err(Fault::Refused(why));
    let Credential::SelfSignedTlsClientAuth { pins, .. } = &client.credential else {
        return Err(known_by_its_subject(client));
    };
    if let Some(pin) = pins.get(&certificate.thumbprint()) {
        return no(format!(
            "this certificate is registered for client `{}` already ({})",
            client.id, pin.source
        ));
    }
    if !certificate.allows_client_auth() {
        return no("the extended key usage of the certificate lacks clientAuth; have it issued with \
                   extendedKeyUsage = clientAuth, or without any"
            .to_owned());
    }
    if certificate.not_after() <= now {
        return no(format!("the certificate has expired on {}", certificate.not_after()));
    }
    let most = config.clients.max_certificates;
    if pins.len() >= most {
        return no(format!(
            "client `{}` has {} certificates, and the most is {most} (clients.max_certificates); retire one first, \
             `certbound client show {}` says which nobody uses",
            client.id,
            pins.len(),
            client.id
        ));
    }
    if now < certificate.not_before() {
        complain(format_args!("the certificate is not valid before {}", certificate.not_before()));
    }
    Ok(())
}

fn known_by_its_subject(client: &Client) -> Fault {
    Fault::Refused(format!(
        "client `{}` is known by its subject (tls_client_auth), not by certificates: a new certificate of its CA with \
         the same name is accepted as it is, `certbound explain --client {} --cert FILE` shows it",
        client.id, client.id
    ))
}

fn warn_of_others(certificate: &Certificate, client: &Client, registry: &Registry) {
    let has = |other: &&std::sync::Arc<Client>| {
        other.id != client.id && pins(other).contains_key(&certificate.thumbprint())
    };
    if let Some(other) = registry.clients().find(has) {
        complain(format_args!("the certificate is registered for client `{}` too", other.id));
    }
}

/// What would be written, or why it cannot be.
fn prepared(addition: &Addition<'_>, places: Option<&CertificatePlaces>) -> Result<(Edit, PathBuf), String> {
    let file = addition.client.at.file.as_ref();
    let places = places.ok_or_else(|| format!("{} has a problem that comes first", file.display()))?;
    let path = match &addition.place {
        Place::File { path, .. } if places.list.is_some() => path.clone(),
        Place::Published { uri, .. } => {
            return Err(format!(
                "client `{}` publishes its certificates itself, at {uri}",
                addition.client.id
            ));
        }
        _ => {
            return Err(format!(
                "client `{}` has no list `certificates` in {}",
                addition.client.id,
                file.display()
            ));
        }
    };
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let after = edit::with_entry(&text, places, &name).ok_or_else(|| {
        format!("the list in {} is written in a way that only you can edit", file.display())
    })?;
    let pem = to_pem(addition.certificate.der());
    let edit =
        Edit { document: file.to_owned(), before: text, after, certificate: Some((path.clone(), pem)) };
    Ok((edit, path))
}

/// A certificate on its way into a document.
struct Addition<'a> {
    certificate: &'a Certificate,
    client: &'a Client,
    place: Place,
    format: Format,
}

impl Addition<'_> {
    fn done(&self, path: &Path, force: Force) -> Answer {
        let (id, thumbprint) = (&self.client.id, self.certificate.thumbprint());
        let document = json!({
            "client_id": id.as_str(),
            "x5t#S256": thumbprint.to_string(),
            "added": true,
            "in_force": force == Force::Server,
            "certificate_file": path.display().to_string(),
            "file": self.client.at.file.display().to_string(),
        });
        let words = || {
            let force = match force {
                Force::Server => "in force now: the server accepts it beside those that the client has",
                Force::Files => "in force with the next start: no server is running",
            };
            format!(
                "{thumbprint} is a certificate of {id}, {force}\n  file      {}\n  listed in {}\n  ends      {}\n\nNext: \
                 let the client change over. `certbound client show {id}` says when it has (`current`), and since when \
                 nobody has used the old one; then `certbound client retire-certificate {id} X5T`.",
                path.display(),
                self.client.at.file.display(),
                self.certificate.not_after(),
            )
        };
        Answer::done(self.format, words, &document)
    }

    /// The line for a person to write, where the program cannot.
    fn by_hand(&self, why: &str) -> Answer {
        let key = |jwk: &Option<String>| jwk.clone().unwrap_or_else(|| "x5c: […]".to_owned());
        let (what, line) = match &self.place {
            Place::Published { jwk, .. } => {
                ("publish this key there; the server fetches it when it is shown first", key(jwk))
            }
            Place::Key { jwk, .. } => ("add this key to `jwks: {keys: […]}`", key(jwk)),
            Place::Thumbprint { line } => ("write this line in its place", line.clone()),
            Place::File { line, .. } => (
                "put the certificate there under the last of these names, as PEM without its key, and write this line",
                line.clone(),
            ),
        };
        let at = &self.client.at;
        let place = match &self.place {
            Place::Published { .. } => String::new(),
            _ => format!(" in {}:{}", at.file.display(), at.line),
        };
        complain(format_args!("not written: {why}; {what}{place}:"));
        let document = json!({
            "client_id": self.client.id.as_str(),
            "x5t#S256": self.certificate.thumbprint().to_string(),
            "added": false,
            "in_force": false,
            "why": why,
            "line": line,
            "file": at.file.display().to_string(),
        });
        Answer::with_code(REFUSED, self.format, || line.clone(), &document)
    }
}
