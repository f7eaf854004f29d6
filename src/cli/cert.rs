//! `certbound cert`: look at certificates, judge a path as the token endpoint does, make some for
//! development.

mod make;
mod show;
mod verify;

use clap::Subcommand;

use super::Format;
use super::output::conclude;
use crate::clock::{Clock as _, SystemClock};

/// The commands about certificates.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Show a certificate, its thumbprint, and the client document that accepts it
    #[command(after_help = "Example:\n  certbound cert show pki/billing.pem")]
    Show(show::ShowArgs),
    /// Validate a path as the token endpoint does, without the rules for client certificates
    #[command(after_help = "Examples:\n  certbound cert verify --anchor ca.pem billing.pem\n  \
                      certbound cert verify --anchor root.pem --intermediates issuing.pem \\\n    \
                      --profile strict --expect-dns billing.svc.example.com billing.pem\n\n\
                      Exit codes: 0 accepted, 1 refused, 2 wrong usage or an unusable file.")]
    Verify(verify::VerifyArgs),
    /// Make a CA for development and tests
    #[command(after_help = "Example:\n  certbound cert new-ca --out ./ca")]
    NewCa(make::NewCaArgs),
    /// Issue a certificate from such a CA
    #[command(after_help = "Examples:\n  certbound cert issue --ca ./ca --out billing --cn billing \\\n    \
                      --san-dns billing.svc.example.com\n  \
                      certbound cert issue --ca ./ca --out edge --csr edge.csr")]
    Issue(make::IssueArgs),
    /// Make a self-signed certificate, for `self_signed_tls_client_auth`
    #[command(after_help = "Example:\n  certbound cert self-signed --out edge-7 --cn edge-7 --days 90")]
    SelfSigned(make::SelfSignedArgs),
}

/// Runs one of them and gives the exit code.
pub fn run(command: CertCommand, format: Format) -> u8 {
    let now = SystemClock.now();
    conclude(match command {
        CertCommand::Show(args) => show::show(&args, format),
        CertCommand::Verify(args) => verify::verify(&args, format, now),
        CertCommand::NewCa(args) => make::new_ca(&args, format, now),
        CertCommand::Issue(args) => make::issue(&args, format, now),
        CertCommand::SelfSigned(args) => make::self_signed(&args, format, now),
    })
}
