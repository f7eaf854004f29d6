//! What OpenSSL lets through and RFC 5280 does not, checked on the path that it built.
//!
//! One part holds in both profiles: it is about certificates that mean something else to each reader, and
//! about limits that a CA set and a name slips by. The other part, [`Profile::Strict`], is what §4 asks of a
//! conforming CA. A missing keyUsage is no error in either. `constraints` has the name constraints, `keys`
//! the keys.

mod strict;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{BasicConstraints, NameConstraints, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::{Profile, Purpose, TrustErrorKind, constraints, keys};
use crate::clock::Timestamp;
use crate::pki::DistinguishedName;

/// A rule that one certificate of the path breaks.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) kind: TrustErrorKind,
    /// 0 is the leaf.
    pub(super) depth: usize,
    pub(super) what: String,
}

/// Where in a path a certificate stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Position {
    Leaf,
    Intermediate,
    Anchor,
}

/// Checks a path (DER, leaf first, anchor last) and gives the earliest notAfter in it.
pub(super) fn check(
    path: &[Vec<u8>],
    profile: Profile,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Timestamp, Violation> {
    let mut members = Vec::with_capacity(path.len());
    for (depth, der) in path.iter().enumerate() {
        let at = |(kind, what)| Violation { kind, depth, what };
        let member = Member::parse(der).map_err(|what| at((TrustErrorKind::Malformed, what)))?;
        let position = match depth {
            0 => Position::Leaf,
            _ if depth + 1 == path.len() => Position::Anchor,
            _ => Position::Intermediate,
        };
        member.check_validity(now).map_err(|kind| at((kind, "it is outside its validity".into())))?;
        check_member(&member, position, profile).map_err(at)?;
        member.check_purpose(purpose).map_err(|what| at((TrustErrorKind::WrongUsage, what.to_owned())))?;
        members.push(member);
    }
    constraints::check(&members)?;
    let until = members.iter().map(|member| member.validity().1).min();
    until.ok_or_else(|| Violation {
        kind: TrustErrorKind::Untrusted,
        depth: 0,
        what: "there is no path".into(),
    })
}

/// Checks an anchor by itself, without its dates.
pub(super) fn check_anchor(der: &[u8], profile: Profile) -> Result<(), String> {
    let member = Member::parse(der)?;
    check_member(&member, Position::Anchor, profile).map_err(|(_, what)| what)?;
    constraints::check(&[member]).map_err(|violation| violation.what)
}

/// notBefore and notAfter of what can be read.
pub(super) fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    Member::parse(der).ok().map(|member| member.validity())
}

/// The subject in RFC 4514, for people.
pub(super) fn subject_text(der: &[u8]) -> String {
    let unreadable = || "unreadable subject".to_owned();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return unreadable() };
    DistinguishedName::from_der(certificate.subject.as_raw())
        .map_or_else(|_| unreadable(), |name| name.to_string())
}

fn check_member(
    member: &Member<'_>,
    position: Position,
    profile: Profile,
) -> Result<(), (TrustErrorKind, String)> {
    if let Some(fault) = keys::fault(&member.certificate.subject_pki) {
        return Err((TrustErrorKind::WeakKey, fault));
    }
    let untrusted = |what: &str| (TrustErrorKind::Untrusted, what.to_owned());
    for rule in BOTH {
        rule(member, position).map_err(untrusted)?;
    }
    if profile == Profile::Strict {
        for rule in strict::RULES {
            rule(member, position).map_err(untrusted)?;
        }
    }
    Ok(())
}

type Rule = fn(&Member<'_>, Position) -> Result<(), &'static str>;

/// The rules of both profiles.
const BOTH: [Rule; 5] =
    [serial, signature_algorithm, intermediate_is_ca, name_constraints, extended_key_usage];

/// RFC 5280 §4.1.2.2.
fn serial(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    match member.certificate.raw_serial() {
        [] => Err("its serial number is empty"),
        [first, ..] if first & 0x80 != 0 => Err("its serial number is negative"),
        octets if octets.iter().all(|&octet| octet == 0) => Err("its serial number is zero"),
        octets if octets.len() > 20 => Err("its serial number is longer than 20 octets"),
        _ => Ok(()),
    }
}

/// RFC 5280 §4.1.1.2: what is outside the signature says nothing else than what is inside.
fn signature_algorithm(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    if member.certificate.signature_algorithm == member.certificate.signature {
        return Ok(());
    }
    Err("its signature algorithm differs inside and outside of what is signed")
}

/// RFC 5280 §6.1.4 (k). OpenSSL is content with keyCertSign alone. What an anchor is, is the operator's word.
fn intermediate_is_ca(member: &Member<'_>, position: Position) -> Result<(), &'static str> {
    if position != Position::Intermediate {
        return Ok(());
    }
    if member.certificate.version != X509Version::V3 {
        return Err("it issued a certificate and is not of version 3");
    }
    if member.is_ca() { Ok(()) } else { Err("it issued a certificate and is no CA by its basicConstraints") }
}

/// RFC 5280 §4.2.1.10: in CAs only, and critical, or readers differ in whether they heed it.
fn name_constraints(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    match member.name_constraints() {
        Some(_) if !member.is_ca() => Err("it has name constraints and is no CA"),
        Some((_, false)) => Err("its name constraints are not critical"),
        _ => Ok(()),
    }
}

/// RFC 5280 §4.2.1.12: at least one purpose.
fn extended_key_usage(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    match member.find(|parsed| matches!(parsed, ParsedExtension::ExtendedKeyUsage(_))) {
        Some(extension) if extension.value == [0x30, 0x00] => Err("its extended key usage names no purpose"),
        _ => Ok(()),
    }
}

/// A certificate of the path as the rules read it.
pub(super) struct Member<'a> {
    pub(super) certificate: X509Certificate<'a>,
}

impl<'a> Member<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| "it cannot be read".to_owned())?;
        if !rest.is_empty() {
            return Err("octets follow it".into());
        }
        if certificate.version != X509Version::V3 && !certificate.extensions().is_empty() {
            return Err("it has extensions and is not of version 3".into());
        }
        if certificate.extensions_map().is_err() {
            return Err("it has an extension twice".into());
        }
        match certificate.extensions().iter().find(|extension| extension.parsed_extension().error().is_some())
        {
            Some(broken) => Err(format!("its extension {} cannot be read", broken.oid)),
            None => Ok(Self { certificate }),
        }
    }

    fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = &self.certificate.validity;
        let at = |time: &x509_parser::time::ASN1Time| Timestamp::from_unix(time.timestamp());
        (at(&validity.not_before), at(&validity.not_after))
    }

    /// Both ends included, RFC 5280 §4.1.2.5.
    fn check_validity(&self, now: Timestamp) -> Result<(), TrustErrorKind> {
        match self.validity() {
            (not_before, _) if now < not_before => Err(TrustErrorKind::NotYetValid),
            (_, not_after) if not_after < now => Err(TrustErrorKind::Expired),
            _ => Ok(()),
        }
    }

    pub(super) fn find(&self, wanted: impl Fn(&ParsedExtension<'a>) -> bool) -> Option<&X509Extension<'a>> {
        self.certificate.extensions().iter().find(|extension| wanted(extension.parsed_extension()))
    }

    /// With whether it is critical.
    fn basic_constraints(&self) -> Option<(&BasicConstraints, bool)> {
        self.certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => Some((constraints, extension.critical)),
            _ => None,
        })
    }

    /// RFC 5280 §4.2.1.12: an extended key usage, where there is one, has the purpose by name. In a CA it
    /// limits what the CA may issue for, as everybody reads it. `anyExtendedKeyUsage` alone is not enough.
    fn check_purpose(&self, purpose: Purpose) -> Result<(), &'static str> {
        for extension in self.certificate.extensions() {
            let ParsedExtension::ExtendedKeyUsage(usage) = extension.parsed_extension() else { continue };
            match purpose {
                Purpose::Client if !usage.client_auth => {
                    return Err("its extended key usage does not have clientAuth");
                }
                Purpose::Server if !usage.server_auth => {
                    return Err("its extended key usage does not have serverAuth");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_ca(&self) -> bool {
        self.basic_constraints().is_some_and(|(constraints, _)| constraints.ca)
    }

    /// With whether they are critical.
    pub(super) fn name_constraints(&self) -> Option<(&NameConstraints<'a>, bool)> {
        self.certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) => Some((constraints, extension.critical)),
            _ => None,
        })
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.certificate.subject.as_raw() == self.certificate.issuer.as_raw()
    }
}
