//! The certificates of a self-signed client (RFC 8705 §2.2): in files, in a JWK Set, or by thumbprint alone.
//! Sets that are published elsewhere are fetched by `remote`, which asks here what a JWK is worth.
//!
//! Certificates are registered, not keys: of a JWK the certificate in `x5c` counts (RFC 8705 §2.2.2); its key must be that
//! of the JWK (RFC 7517 §4.7), and its thumbprints those that the JWK tells. A certificate that could never be presented
//! is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::client::Pin;
use super::directory::ReadError;
use super::jwk;
use super::places::CertificatePlace;
use super::reading::{PinPlace, Reading};
use crate::document::{At, Fields, Node, Problems};
use crate::pki::files::{self, FileError};
use crate::pki::{Certificate, Thumbprint};

/// The pins of a client, and where each stands.
#[derive(Default)]
pub(super) struct Pins {
    pub(super) by_thumbprint: BTreeMap<Thumbprint, Pin>,
    pub(super) places: Vec<PinPlace>,
    /// Every file, whether it is there or not, if they come from files.
    pub(super) listed: Option<Vec<CertificatePlace>>,
}

/// `certificates: [edge-7.pem]`: files beside the document (or elsewhere), exactly one certificate in each.
pub(super) fn of_files(node: &Node, max: usize, reading: &mut Reading) -> Option<Pins> {
    let items = bounded(node, max, &mut reading.problems)?;
    let directory = node.at.file.parent().unwrap_or_else(|| Path::new(""));
    let mut pins = Pins::default();
    let mut listed = Vec::new();
    for item in items {
        let Some(name) = item.text(&mut reading.problems) else { continue };
        let path = directory.join(name);
        let mut thumbprint = None;
        match reading.certificate_file(&path) {
            Ok(content) => match files::one_certificate(&content) {
                Ok(certificate) => {
                    thumbprint = Some(certificate.thumbprint());
                    pins.add(certificate, name, Some(path.clone()), &item.at, &mut reading.problems);
                }
                Err(error) => {
                    let instead = instead_of(&error, &content, &path);
                    reading.problems.error(&item.at, format!("{name:?}: {error}"), instead);
                }
            },
            Err(ReadError::Absent) => reading.absences.error(
                &item.at,
                format!("{name:?}: {}", ReadError::Absent),
                "put the certificate there, or remove the name; until then it is not accepted",
            ),
            Err(error) => reading.problems.error(&item.at, format!("{name:?}: {error}"), error.instead()),
        }
        listed.push(CertificatePlace { name: name.to_owned(), path, thumbprint, at: item.at.clone() });
    }
    pins.listed = Some(listed);
    Some(pins)
}

/// `jwks: {keys: […]}` (RFC 7517 §5): the first certificate of each key's `x5c`. Keys for encryption do not
/// count.
pub(super) fn of_jwks(node: &Node, max: usize, problems: &mut Problems) -> Option<Pins> {
    let example = "jwks: {keys: [{kty: EC, crv: P-256, x: …, y: …, x5c: [MII…]}]}";
    let keys = Fields::of(node, problems)?.require("keys", example, problems)?;
    let mut pins = Pins::default();
    for key in bounded(&keys, max, problems)? {
        pins.add_jwk(key, "jwks", problems);
    }
    if pins.by_thumbprint.is_empty() {
        let what = "no key has a certificate in `x5c`, so nothing could ever match (RFC 8705 §2.2.2)";
        problems.error(&keys.at, what, "add `x5c`: standard base64 of the certificate's DER");
    }
    Some(pins)
}

/// `x5t#S256: […]` (RFC 7515 §4.1.8): the certificates themselves are not known here.
pub(super) fn of_thumbprints(node: &Node, max: usize, problems: &mut Problems) -> Option<Pins> {
    let mut pins = Pins::default();
    for item in bounded(node, max, problems)? {
        let Some(text) = item.text(problems) else { continue };
        match Thumbprint::from_str(text) {
            Ok(thumbprint) => {
                let pin = Pin { certificate: None, source: "x5t#S256".to_owned() };
                pins.pin(thumbprint, pin, None, &item.at, problems);
            }
            Err(error) => problems.error(&item.at, error.to_string(), "`certbound cert show FILE` prints it"),
        }
    }
    Some(pins)
}

impl Pins {
    /// The certificate of one JWK, or a problem: an error if the key is wrong, a warning if it is for something
    /// else.
    pub(super) fn add_jwk(&mut self, key: &Node, source: &str, problems: &mut Problems) {
        if let Some((certificate, at)) = certificate_of_jwk(key, problems) {
            self.add(certificate, source, None, &at, problems);
        }
    }

    fn add(
        &mut self,
        certificate: Certificate,
        source: &str,
        file: Option<PathBuf>,
        at: &At,
        problems: &mut Problems,
    ) {
        if !certificate.allows_client_auth() {
            problems.error(
                at,
                "the extended key usage of the certificate lacks clientAuth",
                "have it issued with extendedKeyUsage = clientAuth, or without any",
            );
            return;
        }
        if let Some(fault) = certificate.key_fault() {
            let instead = "make one with an EC P-256, an Ed25519 or an RSA key of 2048 bits";
            problems.error(at, format!("the certificate cannot be used: {fault}"), instead);
            return;
        }
        let thumbprint = certificate.thumbprint();
        let pin = Pin { certificate: Some(Arc::new(certificate)), source: source.to_owned() };
        self.pin(thumbprint, pin, file, at, problems);
    }

    fn pin(
        &mut self,
        thumbprint: Thumbprint,
        pin: Pin,
        file: Option<PathBuf>,
        at: &At,
        problems: &mut Problems,
    ) {
        if self.by_thumbprint.insert(thumbprint, pin).is_some() {
            problems.warning(at, "this certificate is listed twice", "list it once");
        }
        self.places.push(PinPlace { thumbprint, file, at: at.clone() });
    }
}

/// A list with at least one and at most `max` members.
fn bounded<'n>(node: &'n Node, max: usize, problems: &mut Problems) -> Option<&'n [Node]> {
    let items = node.list(problems)?;
    if items.is_empty() {
        problems.error(
            &node.at,
            "the list is empty",
            "list at least one; to stop the client, write `enabled: false`",
        );
        return None;
    }
    if let Some(item) = items.get(max) {
        problems.error(
            &item.at,
            format!("these are more than {max} certificates"),
            "remove those that nobody uses any more, or raise clients.max_certificates",
        );
        return None;
    }
    Some(items)
}

fn certificate_of_jwk(node: &Node, problems: &mut Problems) -> Option<(Certificate, At)> {
    let mut key = Fields::of(node, problems)?;
    if let Some(at) = jwk::PRIVATE.iter().find_map(|member| key.at_key(member)) {
        let what = "there is a private or symmetric key in the JWK";
        problems.error(at, what, "remove it, and make a new key: this one is known now");
        return None;
    }
    if let Some(usage) = key.take("use")
        && usage.text(problems)? != "sig"
    {
        problems.warning(&usage.at, "a key that is not for signatures does not count", "write `use: sig`");
        return None;
    }
    let Some(x5c) = key.take("x5c") else {
        let instead = "add `x5c`: standard base64 of the certificate's DER";
        problems.warning(&node.at, "a key without `x5c` cannot authenticate (RFC 8705 §2.2.2)", instead);
        return None;
    };
    let Some(first) = x5c.list(problems)?.first() else {
        problems.error(&x5c.at, "`x5c` is empty", "put the certificate first");
        return None;
    };
    let Ok(der) = STANDARD.decode(first.text(problems)?) else {
        let what = "this is not standard base64 with padding (RFC 7517 §4.7)";
        problems.error(
            &first.at,
            what,
            "write it on one line, without the BEGIN and END lines, not as base64url",
        );
        return None;
    };
    let certificate = match Certificate::parse(&der) {
        Ok(certificate) => certificate,
        Err(error) => {
            problems.error(&first.at, error.to_string(), "put the DER of one certificate there");
            return None;
        }
    };
    if !jwk::public_key_infos(&mut key, problems)?.iter().any(|info| info == certificate.public_key()) {
        let what = "the key of the certificate in `x5c` is not the key of the JWK (RFC 7517 §4.7)";
        problems.error(&node.at, what, "make both from one certificate, or name a file in `certificates`");
        return None;
    }
    check_thumbprints(&mut key, &certificate, problems)?;
    Some((certificate, first.at.clone()))
}

/// `x5t` and `x5t#S256` may say once more which certificate is meant, and then it has to be that one (RFC 7517 §4.8, §4.9).
fn check_thumbprints(key: &mut Fields, certificate: &Certificate, problems: &mut Problems) -> Option<()> {
    let thumbprints = [
        ("x5t", URL_SAFE_NO_PAD.encode(certificate.sha1_thumbprint())),
        ("x5t#S256", certificate.thumbprint().to_string()),
    ];
    for (member, thumbprint) in thumbprints {
        if let Some(node) = key.take(member)
            && node.text(problems)? != thumbprint
        {
            let what = format!("`{member}` is not the thumbprint of the certificate in `x5c` (RFC 7517 §4)");
            problems.error(&node.at, what, format!("write {thumbprint}, or remove it"));
            return None;
        }
    }
    Some(())
}

fn instead_of(error: &FileError, content: &[u8], path: &Path) -> String {
    if is_pkcs12(content) {
        return out_of_pkcs12(error, path);
    }
    let instead = match error {
        FileError::PrivateKey => "put the certificate alone there: openssl x509 -in FILE -out CERTIFICATE",
        FileError::NotOne(_) => "put exactly one certificate into each file",
        _ => "put one certificate there, as PEM or DER",
    };
    instead.to_owned()
}

/// RFC 7292 §4: `PFX ::= SEQUENCE { version INTEGER {v3(3)} …`. Private keys begin with other versions.
fn is_pkcs12(content: &[u8]) -> bool {
    let [0x30, length @ 0x80..=0x84, ..] = content else { return false };
    let header = 2 + usize::from(length & 0x7F);
    content.get(header..).is_some_and(|rest| rest.starts_with(&[0x02, 0x01, 0x03]))
}

/// The line that writes the certificate alone; openssl asks for the password.
fn out_of_pkcs12(error: &FileError, path: &Path) -> String {
    let legacy = if matches!(error, FileError::OldCipher(_)) { " -legacy" } else { "" };
    let is_pem = path.extension().is_some_and(|suffix| suffix == "pem");
    let out = path.with_extension(if is_pem { "certificate.pem" } else { "pem" });
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let (from, to) = (quoted(path), quoted(&out));
    format!(
        "the certificate alone belongs there, not its PKCS#12: \
         `openssl pkcs12{legacy} -in {from} -clcerts -nokeys -out {to}`, and list that file"
    )
}
