//! Which subject a client is registered with, and whether a certificate has it (RFC 8705 §2.1.2).
//!
//! Each of the five expectations is compared by the rule of its own type (RFC 5280 §7), against that type in
//! the certificate and no other: a host name in the common name or in an e-mail entry is no host name. There
//! are no patterns; a registered value that could never match, or that looks like a pattern, is refused with
//! what to write. That there is exactly one expectation is the enum's doing; that the certificate is trusted
//! is left to `trust`.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use super::certificate::{AltName, Certificate};
use super::name::{DistinguishedName, NameError};

/// Exactly one expectation, as RFC 8705 §2.1.2 demands, by being an enum. `Eq` and `Hash` are those of the
/// comparison: two equal rules match the same certificates.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SubjectMatcher {
    /// `tls_client_auth_subject_dn`
    Dn(DistinguishedName),
    /// `tls_client_auth_san_dns`
    Dns(DnsName),
    /// `tls_client_auth_san_uri`
    Uri(UriName),
    /// `tls_client_auth_san_ip`; an IPv4-mapped IPv6 address is an IPv6 address.
    Ip(IpAddr),
    /// `tls_client_auth_san_email`
    Email(EmailName),
}

/// A host name, in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DnsName(Box<str>);

/// An absolute URI, with scheme and host in lower case (RFC 5280 §7.4), except in a SPIFFE ID.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UriName(Box<str>);

/// An e-mail address, with the host in lower case (RFC 5280 §7.5).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EmailName(Box<str>);

impl SubjectMatcher {
    /// The five registration parameters of RFC 8705 §2.1.2.
    pub const PARAMETERS: [&'static str; 5] = [
        "tls_client_auth_subject_dn",
        "tls_client_auth_san_dns",
        "tls_client_auth_san_uri",
        "tls_client_auth_san_ip",
        "tls_client_auth_san_email",
    ];

    /// The most characters in [`SubjectMatcher::seen`].
    const MAX_SEEN: usize = 512;

    /// Reads the registered text of one of [`SubjectMatcher::PARAMETERS`].
    pub fn parse(parameter: &str, text: &str) -> Result<Self, NameError> {
        match parameter {
            "tls_client_auth_subject_dn" => DistinguishedName::parse(text).map(Self::Dn),
            "tls_client_auth_san_dns" => DnsName::parse(text).map(Self::Dns),
            "tls_client_auth_san_uri" => UriName::parse(text).map(Self::Uri),
            "tls_client_auth_san_ip" => parse_ip(text).map(Self::Ip),
            "tls_client_auth_san_email" => EmailName::parse(text).map(Self::Email),
            _ => Err(NameError(format!("`{parameter}` is none of {}", Self::PARAMETERS.join(", ")))),
        }
    }

    /// The parameter that this was registered by.
    pub fn parameter(&self) -> &'static str {
        match self {
            Self::Dn(_) => "tls_client_auth_subject_dn",
            Self::Dns(_) => "tls_client_auth_san_dns",
            Self::Uri(_) => "tls_client_auth_san_uri",
            Self::Ip(_) => "tls_client_auth_san_ip",
            Self::Email(_) => "tls_client_auth_san_email",
        }
    }

    /// Whether the certificate has the expected name: as its subject, or among its SANs of that type.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        if let Self::Dn(expected) = self {
            return !expected.is_empty() && expected == certificate.subject();
        }
        certificate.alt_names().iter().any(|seen| match (self, seen) {
            (Self::Dns(expected), AltName::Dns(seen)) => expected.0.eq_ignore_ascii_case(seen),
            (Self::Uri(expected), AltName::Uri(seen)) => *expected.0 == normalized_uri(seen),
            (Self::Ip(expected), AltName::Ip(seen)) => expected == seen,
            (Self::Email(expected), AltName::Email(seen)) => {
                normalized_email(seen).is_some_and(|seen| *expected.0 == seen)
            }
            _ => false,
        })
    }

    /// What the certificate has of this kind, for the log and `explain`: `none` if nothing, without control
    /// characters and cut at 512 characters.
    pub fn seen(&self, certificate: &Certificate) -> String {
        if matches!(self, Self::Dn(_)) {
            let subject = certificate.subject();
            return if subject.is_empty() { "none".to_owned() } else { cut(&subject.to_string()) };
        }
        let of_this_kind = |name: &AltName| match (self, name) {
            (Self::Dns(_), AltName::Dns(seen))
            | (Self::Uri(_), AltName::Uri(seen))
            | (Self::Email(_), AltName::Email(seen)) => Some(seen.clone()),
            (Self::Ip(_), AltName::Ip(seen)) => Some(seen.to_string()),
            (_, AltName::Other(what)) => what.ends_with(self.malformed()).then(|| (*what).to_owned()),
            _ => None,
        };
        let seen: Vec<String> = certificate.alt_names().iter().filter_map(of_this_kind).collect();
        if seen.is_empty() { "none".to_owned() } else { cut(&seen.join(", ")) }
    }

    /// How an [`AltName::Other`] of this kind ends.
    fn malformed(&self) -> &'static str {
        match self {
            Self::Dn(_) => "malformed directoryName",
            Self::Dns(_) => "malformed dNSName",
            Self::Uri(_) => "malformed uniformResourceIdentifier",
            Self::Ip(_) => "malformed iPAddress",
            Self::Email(_) => "malformed rfc822Name",
        }
    }
}

/// The expected value, as it reads back.
impl fmt::Display for SubjectMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dn(name) => name.fmt(f),
            Self::Dns(DnsName(text)) | Self::Uri(UriName(text)) | Self::Email(EmailName(text)) => {
                f.write_str(text)
            }
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl DnsName {
    fn parse(text: &str) -> Result<Self, NameError> {
        if text.contains("://") {
            return Err(NameError::new("this is a URI: write it as tls_client_auth_san_uri"));
        }
        if text.contains('@') {
            return Err(NameError::new("this is an e-mail address: write it as tls_client_auth_san_email"));
        }
        parse_host(text).map(|host| Self(host.into()))
    }
}

impl UriName {
    const MAX: usize = 2048;

    fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX {
            return Err(NameError::new("the URI is longer than 2048 characters"));
        }
        if let Some(character) = text.chars().find(|character| !character.is_ascii_graphic()) {
            return Err(NameError(format!(
                "a URI is printable ASCII without blanks, and this one has U+{:04X}: percent-encode it as the \
                 certificate has it",
                u32::from(character)
            )));
        }
        if text.contains('*') {
            return Err(NameError::new(
                "there are no patterns: write the whole URI, as the certificate has it",
            ));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Err(NameError::new("a URI begins with a scheme: write it in full, such as `https://…`"));
        };
        let is_host_and_port = (scheme.contains('.') || scheme.eq_ignore_ascii_case("localhost"))
            && rest.starts_with(|first: char| first.is_ascii_digit());
        if is_host_and_port {
            return Err(NameError::new(
                "a URI begins with a scheme, and this with a host: write `https://…`",
            ));
        }
        if rest == "//" {
            return Err(NameError::new("after the scheme nothing is named: write the URI in full"));
        }
        Ok(Self(normalized_uri(text).into()))
    }
}

impl EmailName {
    const MAX: usize = 254;

    fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX {
            return Err(NameError::new("the e-mail address is longer than 254 characters"));
        }
        let Some((local, host)) = text.rsplit_once('@') else {
            return Err(NameError::new("an e-mail address has an `@`"));
        };
        if local.contains('*') {
            return Err(NameError::new("there are no patterns: write the whole address"));
        }
        // `Dot-string` of RFC 5321 §4.1.2; a quoted local part has more than one spelling and is not read.
        let is_atom = |atom: &str| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'+-/=?^_`{|}~".contains(&octet))
        };
        if !local.split('.').all(is_atom) {
            return Err(NameError::new(
                "before the `@` of an e-mail address come ASCII letters, digits and single dots, without a display \
                 name, `mailto:` or quotes",
            ));
        }
        let host = parse_host(host)?;
        Ok(Self(format!("{local}@{host}").into()))
    }
}

/// A host name in the preferred name syntax (RFC 5280 §4.2.1.6), with the underscore that certificates do
/// have, as A-labels, in lower case.
fn parse_host(text: &str) -> Result<String, NameError> {
    let refuse = |what: &str| Err(NameError::new(what));
    if text.is_empty() {
        return refuse("the host name is empty");
    }
    if text.contains('*') {
        return refuse("there are no wildcards, here or in certificates: write the whole host name");
    }
    if !text.is_ascii() {
        return refuse("write the A-label (`xn--…`), as the certificate has it");
    }
    if text.starts_with('[') || text.parse::<IpAddr>().is_ok() {
        return refuse("this is an IP address: write it as tls_client_auth_san_ip");
    }
    if text.contains([':', '/']) {
        return refuse("write the host name alone, without port and path");
    }
    if text.ends_with('.') {
        return refuse("leave out the dot at the end: host names in certificates have none");
    }
    if text.len() > 253 {
        return refuse("the host name is longer than 253 characters");
    }
    for label in text.split('.') {
        let is_label = (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !is_label {
            return refuse(
                "between the dots of a host name come 1 to 63 letters, digits, `_` and, inside, `-`",
            );
        }
    }
    // No top-level domain is a number, so this is a mistyped address such as `010.0.0.1`.
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit())) {
        return refuse("this looks like an IP address: write it as tls_client_auth_san_ip");
    }
    Ok(text.to_ascii_lowercase())
}

/// One address in any of its text forms (RFC 5952 §8): octets are what is compared.
fn parse_ip(text: &str) -> Result<IpAddr, NameError> {
    text.parse().map_err(|_| {
        NameError::new(match text {
            _ if text.contains('%') => "leave out the zone after `%`: certificates have none",
            _ if text.contains('/') => "write one address: there are no ranges",
            _ if text.contains(['[', ']']) => "write the address without brackets and port",
            _ if looks_like_ipv4(text) => {
                "write four numbers from 0 to 255, without leading zeros and without a port"
            }
            _ => "this is no IP address, such as `192.0.2.1` or `2001:db8::1`",
        })
    })
}

fn looks_like_ipv4(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit() || matches!(octet, b'.' | b':')) && text.contains('.')
}

/// `scheme` and what follows the colon, RFC 3986 §3.1.
fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
    (is_scheme && !rest.is_empty()).then_some((scheme, rest))
}

/// RFC 5280 §7.4: scheme and host in lower case, everything else as it is. A SPIFFE ID is compared octet for
/// octet, and what has no scheme is left alone, to equal nothing that can be registered.
fn normalized_uri(uri: &str) -> String {
    let Some((scheme, rest)) = split_scheme(uri) else { return uri.to_owned() };
    if scheme.eq_ignore_ascii_case("spiffe") {
        return uri.to_owned();
    }
    let scheme = scheme.to_ascii_lowercase();
    let Some(after_slashes) = rest.strip_prefix("//") else { return format!("{scheme}:{rest}") };
    let end = after_slashes.find(['/', '?', '#']).unwrap_or(after_slashes.len());
    let (authority, path) = after_slashes.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{user}@{}{path}", host.to_ascii_lowercase()),
        None => format!("{scheme}://{}{path}", authority.to_ascii_lowercase()),
    }
}

/// RFC 5280 §7.5: the host in lower case, the local part as it is.
fn normalized_email(mailbox: &str) -> Option<String> {
    let (local, host) = mailbox.rsplit_once('@')?;
    Some(format!("{local}@{}", host.to_ascii_lowercase()))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SubjectMatcher::MAX_SEEN {
        return text.to_owned();
    }
    text.chars().take(SubjectMatcher::MAX_SEEN - 1).chain(['…']).collect()
}
