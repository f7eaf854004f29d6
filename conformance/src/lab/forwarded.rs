//! The side of the server that takes certificates from a proxy in headers (RFC 9440); the suite is the proxy.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::{Client, Lab, Request};
use crate::check::{Halt, not_applicable, untestable};
use crate::pki::Shown;

impl Lab {
    /// TOK at the listener behind the proxy, on a connection of the proxy, without any header about a certificate yet: add
    /// `.header("Client-Cert", &client_cert(&shown))`.
    ///
    /// # Errors
    /// `NotApplicable` if the server has no such listener.
    pub fn forwarded_token(&self, client: &Client) -> Result<Request<'_>, Halt> {
        let request = self.token(client).at(&self.forwarded("token_endpoint")?);
        Ok(match self.proxy()? {
            Some(proxy) => request.certificate(&proxy),
            None => request.no_certificate(),
        })
    }

    /// An endpoint at the listener behind the proxy.
    ///
    /// # Errors
    /// `NotApplicable` if the server has no such listener.
    pub fn forwarded(&self, endpoint: &str) -> Result<Url, Halt> {
        let Some(forwarded) = &self.target().config.forwarded else {
            return not_applicable("the server takes no certificates from a proxy");
        };
        match Url::parse(&forwarded.url) {
            Ok(mut url) => {
                url.set_path(self.conventional(endpoint)?.path());
                Ok(url)
            }
            Err(error) => untestable(format_args!("forwarded.url: {error}")),
        }
    }

    /// What the proxy itself shows, if it has to.
    ///
    /// # Errors
    /// `Untestable` if its files cannot be read.
    pub fn proxy(&self) -> Result<Option<Shown>, Halt> {
        let Some(pair) =
            self.target().config.forwarded.as_ref().and_then(|forwarded| forwarded.proxy.as_ref())
        else {
            return Ok(None);
        };
        match (fs::read(&pair.certificate), fs::read(&pair.key)) {
            (Ok(certificate), Ok(key)) => Ok(Some(Shown::read(&certificate, &key)?)),
            _ => untestable("the files of forwarded.proxy cannot be read"),
        }
    }
}

/// The leaf as RFC 9440 §2.1 writes it: a byte sequence.
#[must_use]
pub fn client_cert(shown: &Shown) -> String {
    format!(":{}:", STANDARD.encode(shown.leaf()))
}

/// What comes after the leaf as RFC 9440 §2.3 writes it: a list of byte sequences.
#[must_use]
pub fn client_cert_chain(shown: &Shown) -> String {
    let above = shown.chain.iter().skip(1).map(|der| format!(":{}:", STANDARD.encode(der)));
    above.collect::<Vec<_>>().join(", ")
}
