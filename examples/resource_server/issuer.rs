//! The authorization server: how it is reached, and what it says of itself (RFC 8414).

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Identity, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// HTTP over TLS to the authorization server: no redirects, no proxy, no other CA than the one that was named.
pub(crate) struct Client(reqwest::Client);

/// What is needed of the metadata.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    introspection_endpoint: Option<String>,
    #[serde(default)]
    mtls_endpoint_aliases: Aliases,
}

#[derive(Default, Deserialize)]
struct Aliases {
    introspection_endpoint: Option<String>,
}

impl Client {
    /// `shown` is the certificate of this client and its key.
    pub(crate) fn new(ca: Option<&Path>, shown: Option<(&Path, &Path)>) -> Result<Self, Box<dyn Error>> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut client = reqwest::Client::builder()
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE);
        if let Some(ca) = ca {
            client = client.tls_certs_only(Certificate::from_pem_bundle(&read(ca)?)?);
        }
        if let Some((certificate, key)) = shown {
            client = client.identity(Identity::from_pem(&[read(certificate)?, read(key)?].concat())?);
        }
        Ok(Self(client.build()?))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, url: &str) -> reqwest::Result<T> {
        self.0.get(url).send().await?.error_for_status()?.json().await
    }

    pub(crate) async fn post(&self, url: &str, form: &[(&str, &str)]) -> reqwest::Result<reqwest::Response> {
        self.0.post(url).form(form).send().await
    }
}

impl Metadata {
    /// Reads the document of `issuer`, and believes it only if it says the same name, character for character
    /// (RFC 8414 §3.3).
    pub(crate) async fn read(client: &Client, issuer: &str) -> Result<Self, Box<dyn Error>> {
        let mut url = Url::parse(issuer)?;
        // The well-known name goes before the path of the issuer (RFC 8414 §3.1).
        let path = format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let metadata: Self = client.get(url.as_str()).await?;
        if metadata.issuer != issuer {
            return Err(format!("{url} is the document of {:?}", metadata.issuer).into());
        }
        Ok(metadata)
    }

    /// Where to introspect with a certificate (RFC 8705 §5).
    pub(crate) fn introspection_endpoint(&self) -> Option<&str> {
        self.mtls_endpoint_aliases
            .introspection_endpoint
            .as_deref()
            .or(self.introspection_endpoint.as_deref())
    }
}
