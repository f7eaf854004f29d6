//! `certbound cert new-ca`, `issue` and `self-signed`: certificates for development and tests. What exists is
//! never overwritten, and keys are readable by their owner only.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::Format;
use crate::cli::files;
use crate::cli::output::{Answer, Fault, complain};
use crate::clock::Timestamp;
use crate::pki::workshop::{Authority, Identity, KeyKind, LeafPurpose, Template, WorkshopError};
use crate::pki::{Certificate, Thumbprint};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A little into the past, because the clocks of two machines differ.
const SLACK: Duration = Duration::from_secs(60);

/// The arguments of `cert new-ca`.
#[derive(Args, Debug)]
pub struct NewCaArgs {
    /// Where ca.pem and ca.key go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Common name
    #[arg(long, value_name = "NAME", default_value = "certbound development CA")]
    cn: String,
    /// Validity
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = days())]
    days: u32,
    /// Kind of the key
    #[arg(long, value_enum, default_value_t)]
    key: KeyArg,
}

/// The arguments of `cert issue`.
#[derive(Args, Debug)]
pub struct IssueArgs {
    /// Where ca.pem and ca.key are
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    #[command(flatten)]
    leaf: LeafArgs,
    /// A signing request (PKCS#10): its key is certified, its names are kept where none are given here
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pfx", "key"])]
    csr: Option<PathBuf>,
}

/// The arguments of `cert self-signed`.
#[derive(Args, Debug)]
pub struct SelfSignedArgs {
    #[command(flatten)]
    leaf: LeafArgs,
}

#[derive(Args, Debug)]
struct LeafArgs {
    /// PREFIX.pem, PREFIX.key and, with --pfx, PREFIX.pfx are written
    #[arg(long, value_name = "PREFIX")]
    out: PathBuf,
    /// Common name
    #[arg(long, value_name = "NAME")]
    cn: Option<String>,
    /// A dNSName; may be repeated
    #[arg(long, value_name = "NAME")]
    san_dns: Vec<String>,
    /// A uniformResourceIdentifier; may be repeated
    #[arg(long, value_name = "URI")]
    san_uri: Vec<String>,
    /// An iPAddress; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    san_ip: Vec<IpAddr>,
    /// An rfc822Name; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    san_email: Vec<String>,
    /// Validity
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = days())]
    days: u32,
    /// What the certificate is for
    #[arg(long, value_enum, default_value_t)]
    purpose: PurposeArg,
    /// Kind of the key
    #[arg(long, value_enum, default_value_t)]
    key: KeyArg,
    /// Also write certificate, key and CA as PKCS#12
    #[arg(long)]
    pfx: bool,
    /// The password of the PKCS#12 file, on the first line of this one (default: the empty password)
    #[arg(long, value_name = "FILE", requires = "pfx")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PurposeArg {
    /// TLS client authentication
    #[default]
    Client,
    /// TLS server authentication
    Server,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum KeyArg {
    #[default]
    P256,
    P384,
    Rsa2048,
    Ed25519,
}

/// Makes a CA.
pub(super) fn new_ca(args: &NewCaArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let mut template = Template::new(&args.cn, now.minus(SLACK), end(now, args.days));
    template.key = args.key.into();
    let ca = Authority::new(&template).map_err(|error| usage(&error))?;
    fs::create_dir_all(&args.out).map_err(|error| unwritable(&args.out, &error))?;
    write_new(&[
        Output::public(args.out.join("ca.pem"), ca.identity().certificate_pem()),
        Output::private(args.out.join("ca.key"), ca.identity().key_pem().as_bytes()),
    ])
    .map(|written| answer(format, &written, ca.identity().certificate_der()))
}

/// Issues a certificate, for a new key or for a request.
pub(super) fn issue(args: &IssueArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let (certificate, key) = (args.ca.join("ca.pem"), args.ca.join("ca.key"));
    let ca = Authority::load(&files::read(&certificate)?, &files::read(&key)?)
        .map_err(|error| Fault::Refused(format!("{}: {error}", args.ca.display())))?;
    let mut template = args.leaf.template(now);
    end_with_the_ca(&mut template, &ca);
    let Some(request) = &args.csr else {
        let identity = ca.issue(&template).map_err(|error| usage(&error))?;
        return args.leaf.write(&identity, &[ca.identity().certificate_der().to_vec()], format);
    };
    let der = ca
        .sign_request(&files::read(request)?, &template)
        .map_err(|error| Fault::Refused(format!("{}: {error}", request.display())))?;
    let written = write_new(&[Output::public(args.leaf.file(".pem"), crate::pki::files::to_pem(&der))])?;
    Ok(answer(format, &written, &der))
}

/// Makes a certificate that nobody else vouches for.
pub(super) fn self_signed(args: &SelfSignedArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let identity = Identity::self_signed(&args.leaf.template(now)).map_err(|error| usage(&error))?;
    args.leaf.write(&identity, &[], format)
}

impl LeafArgs {
    fn template(&self, now: Timestamp) -> Template {
        let cn = self.cn.as_deref().unwrap_or_default();
        let mut template = Template::new(cn, now.minus(SLACK), end(now, self.days));
        template.dns.clone_from(&self.san_dns);
        template.uri.clone_from(&self.san_uri);
        template.ip.clone_from(&self.san_ip);
        template.email.clone_from(&self.san_email);
        template.key = self.key.into();
        template.purpose = match self.purpose {
            PurposeArg::Client => LeafPurpose::Client,
            PurposeArg::Server => LeafPurpose::Server,
        };
        template
    }

    fn write(&self, identity: &Identity, chain: &[Vec<u8>], format: Format) -> Result<Answer, Fault> {
        let mut outputs = vec![
            Output::public(self.file(".pem"), identity.certificate_pem()),
            Output::private(self.file(".key"), identity.key_pem().as_bytes()),
        ];
        if self.pfx {
            let password = self.password_file.as_deref().map(files::password).transpose()?;
            let password = password.as_ref().map_or("", |password| password.as_str());
            let archive = identity.to_pkcs12(chain, password).map_err(|error| usage(&error))?;
            outputs.push(Output::private(self.file(".pfx"), &archive));
        }
        let written = write_new(&outputs)?;
        Ok(answer(format, &written, identity.certificate_der()))
    }

    /// The suffix is appended, not replaced: `edge-7.v2` becomes `edge-7.v2.pem`.
    fn file(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.out);
        name.push(suffix);
        name.into()
    }
}

/// A path is no longer valid than its CA, so neither is what it issues.
fn end_with_the_ca(template: &mut Template, ca: &Authority) {
    let Ok(parsed) = Certificate::parse(ca.identity().certificate_der()) else { return };
    if parsed.not_after() < template.not_after {
        template.not_after = parsed.not_after();
        complain(format_args!("the certificate ends with its CA, on {}", parsed.not_after()));
    }
}

fn days() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36500)
}

fn end(now: Timestamp, days: u32) -> Timestamp {
    now.plus(DAY * days).min(Timestamp::MAX)
}

impl From<KeyArg> for KeyKind {
    fn from(key: KeyArg) -> Self {
        match key {
            KeyArg::P256 => Self::P256,
            KeyArg::P384 => Self::P384,
            KeyArg::Rsa2048 => Self::Rsa2048,
            KeyArg::Ed25519 => Self::Ed25519,
        }
    }
}

/// One file to write.
struct Output {
    path: PathBuf,
    mode: u32,
    content: Zeroizing<Vec<u8>>,
}

impl Output {
    fn public(path: PathBuf, content: String) -> Self {
        Self { path, mode: 0o644, content: Zeroizing::new(content.into_bytes()) }
    }

    fn private(path: PathBuf, content: &[u8]) -> Self {
        Self { path, mode: 0o600, content: Zeroizing::new(content.to_vec()) }
    }
}

/// Writes all of them, or none where one exists; gives their paths.
fn write_new(outputs: &[Output]) -> Result<Vec<String>, Fault> {
    let names = |outputs: &[&Output]| -> Vec<String> {
        outputs.iter().map(|output| output.path.display().to_string()).collect()
    };
    let existing: Vec<_> = outputs.iter().filter(|output| output.path.symlink_metadata().is_ok()).collect();
    if !existing.is_empty() {
        return Err(Fault::Refused(format!(
            "exists already, nothing was written: {}",
            names(&existing).join(", ")
        )));
    }
    for Output { path, mode, content } in outputs {
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(*mode)
            .open(path)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
        written.map_err(|error| unwritable(path, &error))?;
    }
    Ok(names(&outputs.iter().collect::<Vec<_>>()))
}

fn answer(format: Format, written: &[String], certificate: &[u8]) -> Answer {
    let thumbprint = Thumbprint::of(certificate).to_string();
    let document = json!({"files": written, "x5t#S256": thumbprint});
    Answer::done(format, || format!("{}\nx5t#S256 {thumbprint}", written.join("\n")), &document)
}

fn usage(error: &WorkshopError) -> Fault {
    Fault::Usage(error.to_string())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::Usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
