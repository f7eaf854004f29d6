//! `certbound init`: a set-up that `serve` runs at once, with one client of each method and a resource
//! server.
//!
//! All or nothing: where any of its files exists, nothing is written, and what a failed run wrote is removed.
//! The layout and the documents are shared with `demo`. Neither makes a store: the server does.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::pki::workshop::{Authority, Identity, LeafPurpose, Template, WorkshopError};

use super::Globals;
use super::output::{Answer, Fault, conclude};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The arguments of `init`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Where to make it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The name or address by which others reach the server; without it, this machine only
    #[arg(long, value_name = "NAME", value_parser = Host::parse)]
    host: Option<Host>,
    /// The port of the token endpoint
    #[arg(long, value_name = "N", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

/// Makes the set-up and prints what to paste.
pub(crate) fn run(args: &InitArgs, globals: &Globals) -> u8 {
    conclude(make(args, globals, SystemClock.now()))
}

fn make(args: &InitArgs, globals: &Globals, now: Timestamp) -> Result<Answer, Fault> {
    let place = Place {
        bind: if args.host.is_some() { "0.0.0.0" } else { "127.0.0.1" },
        host: args.host.clone(),
        port: args.port,
        admin_port: 9090,
    };
    let entries = place.entries(now).map_err(|error| Fault::Refused(error.to_string()))?;
    write(&args.directory, &entries)?;
    let directory = fs::canonicalize(&args.directory).map_err(|error| unwritable(&args.directory, &error))?;
    let lines = Lines::new(&directory, &place.issuer());
    let files: Vec<_> = entries.iter().map(|entry| entry.path).collect();
    let document = json!({
        "directory": directory,
        "issuer": place.issuer(),
        "files": files,
        "commands": {
            "serve": lines.serve,
            "token": lines.token,
            "introspection": lines.introspection,
            "revocation": lines.revocation,
        },
    });
    Ok(Answer::done(globals.format, || text(&directory, &files, &lines), &document))
}

/// A DNS name or an address: it goes into a URL, a certificate and a YAML document, so nothing else passes.
#[derive(Clone, Debug)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let numeric =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() > 253 || numeric || !text.split('.').all(label) {
            return Err("a DNS name such as as.example.com, or an IP address".to_owned());
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// Where the server listens and what it is called.
pub(super) struct Place {
    pub(super) bind: &'static str,
    pub(super) host: Option<Host>,
    pub(super) port: u16,
    pub(super) admin_port: u16,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    Everybody,
    Owner,
}

/// One thing to write: a file, or without content a directory.
pub(super) struct Entry {
    pub(super) path: &'static str,
    content: Option<Zeroizing<Vec<u8>>>,
    access: Access,
}

impl Place {
    /// The issuer identifier: without the port where it is that of https (RFC 8414 §2 compares the text).
    pub(super) fn issuer(&self) -> String {
        let host = match &self.host {
            None => "localhost".to_owned(),
            Some(Host::Name(name)) => name.clone(),
            Some(Host::Address(IpAddr::V4(address))) => address.to_string(),
            Some(Host::Address(IpAddr::V6(address))) => format!("[{address}]"),
        };
        match self.port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }

    /// Every file of the set-up, certificates fresh: the CA for ten years, its leaves for one.
    pub(super) fn entries(&self, now: Timestamp) -> Result<Vec<Entry>, WorkshopError> {
        // A little into the past: the clocks of a laptop and of its containers differ.
        let from = now.minus(Duration::from_secs(300));
        let (decade, year) = (now.plus(DAY * 3652), now.plus(DAY * 365));
        let ca = Authority::new(&Template::new("certbound init CA", from, decade))?;
        let leaf = |cn: &str| Template::new(cn, from, year);

        let server = ca.issue(&self.server(leaf("localhost")))?;
        let billing =
            ca.issue(&Template { dns: vec!["billing.svc.example.com".to_owned()], ..leaf("billing") })?;
        let subject = [("C", "RO"), ("O", "Example"), ("CN", "api-gateway")];
        let subject = subject.map(|(kind, value)| (kind.to_owned(), value.to_owned())).to_vec();
        let api = ca.issue(&Template { subject, ..leaf("api-gateway") })?;
        let edge = Identity::self_signed(&leaf("edge-7"))?;

        Ok(vec![
            Entry::public("certbound.yaml", self.configuration()),
            Entry::public("pki/ca.pem", ca.identity().certificate_pem()),
            Entry::private("pki/ca.key", ca.identity()),
            Entry::public("pki/server.pem", server.certificate_pem()),
            Entry::private("pki/server.key", &server),
            Entry::public("pki/billing.pem", billing.certificate_pem()),
            Entry::private("pki/billing.key", &billing),
            Entry::public("pki/api.pem", api.certificate_pem()),
            Entry::private("pki/api.key", &api),
            Entry::private("pki/edge-7.key", &edge),
            Entry::public("clients.d/billing.yaml", BILLING),
            Entry::public("clients.d/edge-7.yaml", EDGE),
            Entry::public("clients.d/api-gateway.yaml", API_GATEWAY),
            Entry::public("clients.d/edge-7.pem", edge.certificate_pem()),
            Entry { path: "keys", content: None, access: Access::Owner },
        ])
    }

    fn server(&self, mut template: Template) -> Template {
        template.purpose = LeafPurpose::Server;
        template.dns.push("localhost".to_owned());
        template.ip.extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        match &self.host {
            Some(Host::Name(name)) if !template.dns.contains(name) => template.dns.push(name.clone()),
            Some(Host::Address(address)) if !template.ip.contains(address) => template.ip.push(*address),
            _ => {}
        }
        template
    }

    fn configuration(&self) -> String {
        format!(
            "issuer: {}\n\
             listeners:\n\
             \x20 - kind: mtls                 # asks for a client certificate, judges it per request\n\
             \x20   bind: {}:{}\n\
             \x20   tls: {{ certificate: pki/server.pem, key: pki/server.key }}\n\
             \x20 - kind: admin                # probes and metrics\n\
             \x20   bind: 127.0.0.1:{}\n\
             trust_anchors:\n\
             \x20 corp: {{ file: pki/ca.pem }}   # who may vouch for clients; they name the set\n\
             tokens:  {{ access_token_lifetime: 5m, resource: https://api.example.com }}\n\
             signing: {{ directory: keys, algorithm: ES256, rotate_every: 30d }}\n\
             clients: {{ directory: clients.d }}\n\
             store:   {{ sled: {{ path: data }} }}\n",
            self.issuer(),
            self.bind,
            self.port,
            self.admin_port,
        )
    }
}

const BILLING: &str = "\
# A client known by a name in a certificate of our CA (RFC 8705 §2.1).
client_id: billing
client_name: Billing batch
token_endpoint_auth_method: tls_client_auth
tls_client_auth_san_dns: billing.svc.example.com
trust_anchors: corp
scope: invoices:read invoices:write
";

const EDGE: &str = "\
# A client known by its certificate itself, which nobody else vouches for (RFC 8705 §2.2).
client_id: edge-7
token_endpoint_auth_method: self_signed_tls_client_auth
certificates: [edge-7.pem]
scope: telemetry:write
";

const API_GATEWAY: &str = "\
# A resource server: it gets no tokens, it asks about those it is shown (RFC 7662).
client_id: api-gateway
token_endpoint_auth_method: tls_client_auth
tls_client_auth_subject_dn: CN=api-gateway,O=Example,C=RO
trust_anchors: corp
grant_types: []
introspection: { resources: [https://api.example.com] }
";

impl Entry {
    fn public(path: &'static str, content: impl Into<Vec<u8>>) -> Self {
        Self { path, content: Some(Zeroizing::new(content.into())), access: Access::Everybody }
    }

    fn private(path: &'static str, identity: &Identity) -> Self {
        let pem = Zeroizing::new(identity.key_pem().as_bytes().to_vec());
        Self { path, content: Some(pem), access: Access::Owner }
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mode = match (self.access, &self.content) {
            (Access::Owner, Some(_)) => 0o600,
            (Access::Owner, None) => 0o700,
            (Access::Everybody, _) => 0o644,
        };
        let Some(content) = &self.content else {
            return DirBuilder::new().mode(mode).create(path);
        };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
    }
}

/// Writes all of `entries` below `directory`, or nothing.
pub(super) fn write(directory: &Path, entries: &[Entry]) -> Result<(), Fault> {
    let mut taken = Vec::new();
    for entry in entries {
        let path = directory.join(entry.path);
        match fs::symlink_metadata(&path) {
            Ok(_) => taken.push(path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unwritable(&path, &error)),
        }
    }
    if !taken.is_empty() {
        return Err(Fault::Refused(format!(
            "nothing was written, because these exist: {}",
            taken.join(", ")
        )));
    }
    let mut made = Made::default();
    made.directory(directory)?;
    for parent in ["pki", "clients.d"] {
        made.directory(&directory.join(parent))?;
    }
    for entry in entries {
        let path = directory.join(entry.path);
        // Noted first, so that half a file is removed too; a file of somebody else's is not ours to remove.
        match entry.write(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(unwritable(&path, &error)),
            written => {
                made.0.push(path.clone());
                written.map_err(|error| unwritable(&path, &error))?;
            }
        }
    }
    made.0.clear();
    Ok(())
}

/// What was made until now; removed again unless it is forgotten.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn directory(&mut self, path: &Path) -> Result<(), Fault> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.directory(parent)?;
        }
        fs::create_dir(path).map_err(|error| unwritable(path, &error))?;
        self.0.push(path.to_owned());
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // What cannot be removed stays: the fault that brought us here is being reported already.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::Usage(format!("{}: {error}", path.display()))
}

/// The lines to paste, good in any directory.
pub(super) struct Lines {
    pub(super) serve: String,
    pub(super) token: String,
    pub(super) introspection: String,
    pub(super) revocation: String,
}

impl Lines {
    /// For the set-up in `directory` (absolute), served as `issuer`.
    pub(super) fn new(directory: &Path, issuer: &str) -> Self {
        let file = |name: &str| quoted(&directory.join(name).to_string_lossy());
        let curl = |who: &str, path: &str| {
            let (ca, cert, key) =
                (file("pki/ca.pem"), file(&format!("pki/{who}.pem")), file(&format!("pki/{who}.key")));
            format!("curl -sS --cacert {ca} --cert {cert} --key {key} {issuer}{path}")
        };
        Self {
            serve: format!("certbound -c {} serve", file("certbound.yaml")),
            token: format!(
                "ANSWER=$({} -d grant_type=client_credentials -d client_id=billing); echo \"$ANSWER\"\n\
                 TOKEN=$(echo \"$ANSWER\" | sed -n 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/p')",
                curl("billing", "/token")
            ),
            introspection: format!(
                "{} -d client_id=api-gateway -d token=\"$TOKEN\"",
                curl("api", "/introspect")
            ),
            revocation: format!("{} -d client_id=billing -d token=\"$TOKEN\"", curl("billing", "/revoke")),
        }
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn text(directory: &Path, files: &[&str], lines: &Lines) -> String {
    let mut out = format!("Made in {}:\n", directory.display());
    for file in files {
        let _ = writeln!(out, "  {file}");
    }
    let _ = write!(
        out,
        "\n# the server\n{}\n\n# a token for billing, from another terminal\n{}\n\n# what the resource \
         server learns about it\n{}\n\n# the end of it\n{}\n",
        lines.serve, lines.token, lines.introspection, lines.revocation
    );
    out
}

#[cfg(test)]
mod tests;
