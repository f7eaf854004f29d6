//! `certbound cert show`: everything that registration and the log call a certificate by.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::Format;
use crate::cli::files;
use crate::cli::output::{Answer, Fault, REFUSED, complain};
use crate::pki::Certificate;
use crate::pki::certificate::{AltName, KeyUsage};

/// The arguments of `cert show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// PEM, DER or PKCS#12, told apart by content; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The password of a PKCS#12 file, on the first line of this one (default: the empty password)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Shows the first certificate of the file. A program is told in JSON that the file is broken, as `cert verify` does.
pub(super) fn show(args: &ShowArgs, format: Format) -> Result<Answer, Fault> {
    match (look(args, format), format) {
        (Err(Fault::Refused(detail)), Format::Json) => {
            complain(&detail);
            let verdict = json!({ "accepted": false, "reason": "malformed_certificate", "detail": detail });
            Ok(Answer::with_code(REFUSED, format, String::new, &verdict))
        }
        (answer, _) => answer,
    }
}

fn look(args: &ShowArgs, format: Format) -> Result<Answer, Fault> {
    let path = args.file.display();
    let bundle = files::bundle(&args.file, args.password_file.as_deref())?;
    let (first, others) = bundle
        .certificates
        .split_first()
        .ok_or_else(|| Fault::Usage(format!("{path}: there is no certificate in it")))?;
    let certificate =
        Certificate::parse(first).map_err(|error| Fault::Refused(format!("{path}: {error}")))?;
    if !others.is_empty() {
        complain(format_args!("{path}: the first of {} certificates is shown", others.len() + 1));
    }
    let shown = Shown::of(&certificate, &args.file);
    Ok(Answer::done(format, || shown.text(), &shown.json()))
}

/// What is printed, in either format.
struct Shown {
    fields: Vec<(&'static str, String)>,
    key_usage: Vec<&'static str>,
    extended_key_usage: Vec<String>,
    names: Names,
    client_document: String,
}

/// The alternative names by kind.
#[derive(Default)]
struct Names {
    dns: Vec<String>,
    uri: Vec<String>,
    ip: Vec<String>,
    email: Vec<String>,
}

impl Shown {
    fn of(certificate: &Certificate, file: &Path) -> Self {
        let names = Names::of(certificate);
        let key_usage = certificate.key_usage().map(KeyUsage::names).unwrap_or_default();
        Self {
            fields: vec![
                ("subject", certificate.subject().to_string()),
                ("issuer", certificate.issuer().to_string()),
                ("serial", serial(certificate.serial())),
                ("not_before", certificate.not_before().to_string()),
                ("not_after", certificate.not_after().to_string()),
                ("key", certificate.key_description()),
                ("x5t#S256", certificate.thumbprint().to_string()),
                ("spki_sha256", hex(&certificate.key_hash())),
            ],
            key_usage,
            extended_key_usage: certificate.purposes().unwrap_or_default(),
            client_document: client_document(certificate, &names, file),
            names,
        }
    }

    fn json(&self) -> serde_json::Value {
        let mut document = json!({
            "key_usage": self.key_usage,
            "extended_key_usage": self.extended_key_usage,
            "san": {
                "dns": self.names.dns,
                "uri": self.names.uri,
                "ip": self.names.ip,
                "email": self.names.email,
            },
            "client_document": self.client_document,
        });
        if let Some(object) = document.as_object_mut() {
            object.extend(self.fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        }
        document
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let value = if value.is_empty() { "-" } else { value };
            let _ = writeln!(text, "{name:<19} {value}"); // writing to a String cannot fail
        };
        for (name, value) in &self.fields {
            line(name, value);
        }
        line("key_usage", &self.key_usage.join(", "));
        line("extended_key_usage", &self.extended_key_usage.join(", "));
        let Names { dns, uri, ip, email } = &self.names;
        for (name, values) in [("san dns", dns), ("san uri", uri), ("san ip", ip), ("san email", email)] {
            line(name, &values.join(", "));
        }
        format!("{text}\nA client document that accepts it:\n\n{}", self.client_document)
    }
}

impl Names {
    fn of(certificate: &Certificate) -> Self {
        let mut names = Self::default();
        for name in certificate.alt_names() {
            match name {
                AltName::Dns(value) => names.dns.push(value.clone()),
                AltName::Uri(value) => names.uri.push(value.clone()),
                AltName::Ip(value) => names.ip.push(value.to_string()),
                AltName::Email(value) => names.email.push(value.clone()),
                AltName::Other(_) => {}
            }
        }
        names
    }

    /// Every rule that this certificate would fit, the most telling first. A wildcard is no client.
    fn rules(&self, subject: &str) -> Vec<(&'static str, String)> {
        let mut rules = Vec::new();
        for (parameter, values) in [
            ("tls_client_auth_san_uri", &self.uri),
            ("tls_client_auth_san_dns", &self.dns),
            ("tls_client_auth_san_email", &self.email),
            ("tls_client_auth_san_ip", &self.ip),
        ] {
            let usable = values.iter().filter(|value| !value.contains('*'));
            rules.extend(usable.map(|value| (parameter, value.clone())));
        }
        if !subject.is_empty() {
            rules.push(("tls_client_auth_subject_dn", subject.to_owned()));
        }
        rules
    }
}

/// One rule in force, the other ones as comments: exactly one must be given (RFC 8705 §2.1.2). A certificate
/// that nobody else issued is registered as it is (§2.2).
fn client_document(certificate: &Certificate, names: &Names, file: &Path) -> String {
    let subject = certificate.subject().to_string();
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let id = if id.trim_matches(['-', '.']).is_empty() { "my-client" } else { &id };
    let mut lines = vec![format!("client_id: {}", quoted(id))];
    let rules = names.rules(&subject);
    let self_issued = certificate.subject() == certificate.issuer();
    match rules.split_first() {
        Some(((parameter, value), others)) if !self_issued => {
            lines.push("token_endpoint_auth_method: tls_client_auth".into());
            lines.push(format!("{parameter}: {}", quoted(value)));
            for (parameter, value) in others {
                lines.push(format!("# or, instead: {parameter}: {}", quoted(value)));
            }
            lines.push(
                "# trust_anchors: NAME    which set vouches for it; needed if there are several".into(),
            );
        }
        _ => {
            lines.push("token_endpoint_auth_method: self_signed_tls_client_auth".into());
            lines.push(format!("x5t#S256: [{}]", quoted(&certificate.thumbprint().to_string())));
        }
    }
    lines.push("# scope: invoices:read   the most it can get\n".into());
    lines.join("\n")
}

/// A YAML double-quoted scalar; JSON strings are that.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Without the octet that only says "positive".
fn serial(octets: &[u8]) -> String {
    match octets {
        [0, rest @ ..] if !rest.is_empty() => hex(rest),
        _ => hex(octets),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests;
