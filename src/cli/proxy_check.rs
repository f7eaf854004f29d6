//! `certbound proxy-check`: drives a deployment from outside, as a stranger would who writes the headers that only the
//! proxy should write (RFC 9440 §4), and says whether anybody believed him.
//!
//! What can be seen from outside is the answer of the token endpoint, and certbound answers a wrong certificate and none
//! alike. Three measures tell more all the same: with a registered certificate, whether its public half in a header gets a
//! token, and whether somebody else's in a header takes its place; and without one, whether the server tells a header with
//! a certificate from the same header with none in it, for then it read it (`verdict.rs`).

mod forgery;
mod report;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use url::Url;

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::http::forwarded::Dialect;
use crate::pki::Thumbprint;
use crate::pki::workshop::{self, Template};

use super::client::{Identity, Request, Roots, TlsClient};
use super::output::{Answer, Fault, conclude};
use super::token::endpoint;
use super::{Format, Globals, files};
use forgery::{Content, Forgery};
use report::{Baseline, Report, Row, Seen};
use verdict::{Outcome, Verdict};

/// The arguments of `proxy-check`.
#[derive(Args, Debug)]
pub(crate) struct ProxyCheckArgs {
    /// The token endpoint behind the proxy; `/token` is added to a URL without a path
    #[arg(value_name = "URL")]
    url: String,
    /// The certificate of a registered client, and those to send along: PEM, DER or PKCS#12
    #[arg(long, value_name = "F")]
    cert: Option<PathBuf>,
    /// Its private key; may be left out where --cert holds it
    #[arg(long, value_name = "F", requires = "cert")]
    key: Option<PathBuf>,
    /// The password of a PKCS#12 file
    #[arg(long, value_name = "FILE", requires = "cert")]
    password_file: Option<PathBuf>,
    /// The client whose certificate it is, as registered; with it the check says most
    #[arg(long, value_name = "ID", requires = "cert")]
    client_id: Option<String>,
    /// The certificates that vouch for the proxy; without it, those of the system
    #[arg(long, value_name = "F")]
    ca: Option<PathBuf>,
    /// How the proxy writes certificates: rfc9440, nginx, envoy, haproxy, traefik, apache, aws-alb or azure; without it, all
    #[arg(long, value_name = "D")]
    dialect: Option<Dialect>,
    /// Another name for the header of the dialect
    #[arg(long, value_name = "NAME", requires = "dialect")]
    header: Option<String>,
}

/// Drives the deployment and says what reached the server.
pub(crate) fn run(args: &ProxyCheckArgs, globals: &Globals) -> u8 {
    conclude(check(args, globals.format, SystemClock.now()))
}

fn check(args: &ProxyCheckArgs, format: Format, now: Timestamp) -> Result<Answer, Fault> {
    let deployment = Deployment::reach(args, now)?;
    let report = deployment.attack(&forgery::all(args.dialect, args.header.as_deref())?)?;
    Ok(report.answer(args.dialect, format))
}

/// A `client_id` that nobody has, where no other is given.
const NOBODY: &str = "proxy-check";

/// The token endpoint, and the ways in which it is asked.
struct Deployment {
    url: Url,
    client_id: String,
    /// Shows no certificate.
    bare: TlsClient,
    /// Shows the certificate of `--cert`, or a self-made one.
    shown: TlsClient,
    /// Shows the leaf of `--cert` alone, if it has more.
    alone: Option<TlsClient>,
    /// Shows a certificate that nobody knows.
    unknown: TlsClient,
    /// The thumbprint of `--cert`.
    own: Option<String>,
    /// In the headers beside no certificate: the public half of what would be let in, if there is something.
    victim: Vec<u8>,
    /// In the headers beside a certificate: another one.
    stranger: Vec<u8>,
}

impl Deployment {
    fn reach(args: &ProxyCheckArgs, now: Timestamp) -> Result<Self, Fault> {
        let given = args.ca.as_deref().map(|path| files::bundle(path, None)).transpose()?;
        let roots = match (&given, &args.ca) {
            (Some(bundle), Some(path)) => {
                Roots::Given { certificates: &bundle.certificates, name: path.display().to_string() }
            }
            _ => Roots::System,
        };
        let own = args
            .cert
            .as_deref()
            .map(|cert| Identity::read(cert, args.key.as_deref(), args.password_file.as_deref()));
        let own = own.transpose()?;
        let (unknown, stranger) = (self_made(now)?, self_made(now)?);
        let alone = own.as_ref().filter(|own| own.chain.len() > 1).map(Identity::without_chain);
        let client = |identity| TlsClient::new(identity, &roots);
        Ok(Self {
            url: endpoint(&args.url)?,
            client_id: args.client_id.clone().unwrap_or_else(|| NOBODY.to_owned()),
            bare: client(None)?,
            shown: client(own.as_ref().or(Some(&unknown)))?,
            alone: alone.as_ref().map(|alone| client(Some(alone))).transpose()?,
            unknown: client(Some(&unknown))?,
            victim: own.as_ref().map_or_else(|| stranger.leaf(), Identity::leaf).to_vec(),
            own: own.map(|own| Thumbprint::of(own.leaf()).to_string()),
            stranger: stranger.leaf().to_vec(),
        })
    }

    /// Measures what happens without any header, and then with each.
    fn attack(&self, forgeries: &[Forgery]) -> Result<Report, Fault> {
        let (bare, shown) = (self.ask(&self.bare, &[]), self.ask(&self.shown, &[]));
        if let (Outcome::Nothing(why), Outcome::Nothing(_)) = (&bare, &shown) {
            return Err(Fault::Refused(format!("{}: there is no answer: {why}", self.url)));
        }
        let asked_for_certificate = self.shown.request() != Request::NotAsked;
        let (alone, unknown) =
            (self.alone.as_ref().map(|alone| self.ask(alone, &[])), self.ask(&self.unknown, &[]));
        let rows = forgeries.iter().map(|forgery| Row {
            forgery: forgery.clone(),
            without: self.with_header(&self.bare, &bare, forgery, &self.victim),
            with: self.with_header(&self.shown, &shown, forgery, &self.stranger),
        });
        Ok(Report {
            rows: rows.collect(),
            url: self.url.to_string(),
            client_id: self.client_id.clone(),
            asked_for_certificate,
            own: self.own.clone(),
            baseline: Baseline { bare, shown, alone, unknown },
        })
    }

    fn with_header(
        &self,
        client: &TlsClient,
        before: &Outcome,
        forgery: &Forgery,
        certificate: &[u8],
    ) -> Seen {
        if let Outcome::Nothing(_) = before {
            return Seen { outcome: before.clone(), malformed: before.clone(), verdict: Verdict::NotTried };
        }
        let outcome = self.ask(client, &forgery.lines(Content::Certificate(certificate)));
        let malformed = self.ask(client, &forgery.lines(Content::NoCertificate));
        Seen { verdict: verdict::of(before, &outcome, &malformed), outcome, malformed }
    }

    fn ask(&self, client: &TlsClient, headers: &[(String, String)]) -> Outcome {
        let form = [("grant_type", "client_credentials"), ("client_id", self.client_id.as_str())];
        Outcome::of(client.post_form_with(&self.url, &form, headers))
    }
}

/// A certificate that nobody has registered and nobody vouches for.
fn self_made(now: Timestamp) -> Result<Identity, Fault> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let template = Template::new("certbound proxy-check", now.minus(DAY), now.plus(DAY));
    let made = workshop::Identity::self_signed(&template);
    let made = made.map_err(|error| Fault::Usage(format!("no certificate could be made: {error}")))?;
    let identity = Identity::new(vec![made.certificate_der().to_vec()], made.key_der());
    identity.ok_or_else(|| Fault::Usage("the certificate that was made has another key".to_owned()))
}
