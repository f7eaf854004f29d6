//! The dialects and their headers, as in the table of contract §3.

use std::fmt;
use std::str::FromStr;

/// Every header in which a proxy of one of the dialects hands on a certificate, lower case.
pub const CERTIFICATE_HEADERS: [&str; 10] = [
    "client-cert",
    CLIENT_CERT_CHAIN,
    "x-ssl-client-cert",
    "x-forwarded-client-cert",
    "x-ssl-client-der",
    X_SSL_CLIENT_CHAIN_DER,
    "x-forwarded-tls-client-cert",
    "x-amzn-mtls-clientcert",
    X_AMZN_MTLS_CLIENTCERT_LEAF,
    "x-arr-clientcert",
];

pub(super) const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
pub(super) const X_SSL_CLIENT_VERIFY: &str = "x-ssl-client-verify";
pub(super) const X_SSL_CLIENT_CHAIN_DER: &str = "x-ssl-client-chain-der";
pub(super) const X_AMZN_MTLS_CLIENTCERT_LEAF: &str = "x-amzn-mtls-clientcert-leaf";

/// How a proxy writes the certificate of a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Dialect {
    /// RFC 9440: a structured field that is a byte sequence, and a list of them for the chain.
    Rfc9440,
    /// nginx's `$ssl_client_escaped_cert`: PEM, percent-encoded.
    Nginx,
    /// Envoy's XFCC: keys and values, of which `Cert` is percent-encoded PEM.
    Envoy,
    /// `HAProxy`'s `ssl_c_der` and `ssl_c_chain_der` in base64.
    HaProxy,
    /// Traefik's passTLSClientCert: base64, the certificates of the chain separated by commas.
    Traefik,
    /// Apache's `%{SSL_CLIENT_CERT}s`: PEM, with a blank for each line end.
    Apache,
    /// The AWS Application Load Balancer: percent-encoded PEM, the whole chain or the leaf.
    AwsAlb,
    /// Azure App Service: base64.
    Azure,
}

impl Dialect {
    /// Every dialect, in the order of the contract's table.
    pub const ALL: [Self; 8] = [
        Self::Rfc9440,
        Self::Nginx,
        Self::Envoy,
        Self::HaProxy,
        Self::Traefik,
        Self::Apache,
        Self::AwsAlb,
        Self::Azure,
    ];

    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc9440 => "rfc9440",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::HaProxy => "haproxy",
            Self::Traefik => "traefik",
            Self::Apache => "apache",
            Self::AwsAlb => "aws-alb",
            Self::Azure => "azure",
        }
    }

    /// The header that holds the certificate where the configuration names no other, lower case.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Rfc9440 => "client-cert",
            Self::Nginx | Self::Apache => "x-ssl-client-cert",
            Self::Envoy => "x-forwarded-client-cert",
            Self::HaProxy => "x-ssl-client-der",
            Self::Traefik => "x-forwarded-tls-client-cert",
            Self::AwsAlb => "x-amzn-mtls-clientcert",
            Self::Azure => "x-arr-clientcert",
        }
    }

    /// The second header of the dialect, if it has one, lower case; its name is fixed.
    pub const fn companion(self) -> Option<&'static str> {
        match self {
            Self::Rfc9440 => Some(CLIENT_CERT_CHAIN),
            Self::Nginx => Some(X_SSL_CLIENT_VERIFY),
            Self::HaProxy => Some(X_SSL_CLIENT_CHAIN_DER),
            Self::AwsAlb => Some(X_AMZN_MTLS_CLIENTCERT_LEAF),
            Self::Envoy | Self::Traefik | Self::Apache | Self::Azure => None,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == text).ok_or(UnknownDialect)
    }
}

/// A word that names no dialect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a dialect is one of rfc9440, nginx, envoy, haproxy, traefik, apache, aws-alb, azure")]
pub struct UnknownDialect;
