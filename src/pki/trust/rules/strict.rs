//! What RFC 5280 §4 asks of a conforming CA, beyond what §6.1 asks of a path.
//!
//! OpenSSL's `X509_STRICT` is near it, but refuses every CA without keyUsage, which is what
//! `openssl req -new -x509` makes; so these checks are made here, and that flag is not set.

use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::x509::{X509Name, X509Version};

use super::super::constraints::{self, Wildcard};
use super::{Member, Position, Rule};

/// In the order of the sections.
pub(super) const RULES: [Rule; 10] = [
    issuer,
    subject,
    authority_key_identifier,
    subject_key_identifier,
    key_usage,
    alt_name_criticality,
    alt_name_syntax,
    basic_constraints,
    path_length,
    policy_criticality,
];

/// §4.1.2.4.
fn issuer(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    refuse_if(is_empty(&member.certificate.issuer), "its issuer is empty")
}

/// §4.1.2.6.
fn subject(member: &Member<'_>, position: Position) -> Result<(), &'static str> {
    let empty = is_empty(&member.certificate.subject);
    refuse_if(empty && (member.is_ca() || position != Position::Leaf), "it is a CA without a subject")?;
    refuse_if(empty && alt_names(member).is_none(), "it has neither a subject nor an alternative name")
}

/// §4.2.1.1. It helps to find the issuer, which an anchor does not need, self-signed or not.
fn authority_key_identifier(member: &Member<'_>, position: Position) -> Result<(), &'static str> {
    let found = member.find(|parsed| matches!(parsed, ParsedExtension::AuthorityKeyIdentifier(_)));
    let Some(extension) = found else {
        let required = position != Position::Anchor && is_version_3(member);
        return refuse_if(required, "it has no authority key identifier");
    };
    refuse_if(extension.critical, "its authority key identifier is critical")?;
    let has_key = matches!(
        extension.parsed_extension(),
        ParsedExtension::AuthorityKeyIdentifier(identifier) if identifier.key_identifier.is_some()
    );
    refuse_if(
        !has_key && position != Position::Anchor,
        "its authority key identifier does not name a key identifier",
    )
}

/// §4.2.1.2.
fn subject_key_identifier(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    match member.find(|parsed| matches!(parsed, ParsedExtension::SubjectKeyIdentifier(_))) {
        Some(extension) => refuse_if(extension.critical, "its subject key identifier is critical"),
        None => refuse_if(member.is_ca(), "it is a CA without a subject key identifier"),
    }
}

/// §4.2.1.3 and §4.2.1.9: keyCertSign and CA:TRUE come together, and at least one bit is set.
fn key_usage(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    let Some(usage) = usage(member) else { return Ok(()) };
    refuse_if(usage.flags == 0, "its key usage is empty")?;
    refuse_if(usage.key_cert_sign() && !member.is_ca(), "it has keyCertSign and is no CA")
}

/// §4.2.1.6.
fn alt_name_criticality(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    let Some((names, critical)) = alt_names(member) else { return Ok(()) };
    refuse_if(names.is_empty(), "its subject alternative name is empty")?;
    refuse_if(
        !critical && is_empty(&member.certificate.subject),
        "its subject is empty and its subject alternative name is not critical",
    )
}

/// §4.2.1.6: the preferred name syntax, and an address where an address belongs.
fn alt_name_syntax(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    let names = alt_names(member).map_or(&[][..], |(names, _)| names);
    for name in names {
        match name {
            GeneralName::DNSName(text) => refuse_if(
                !constraints::is_preferred_syntax(text, Wildcard::Allowed),
                "a dNSName in it is not in preferred name syntax",
            )?,
            GeneralName::RFC822Name(text) => {
                refuse_if(!constraints::is_mailbox(text), "an rfc822Name in it is no mailbox")?;
            }
            GeneralName::IPAddress(octets) => {
                refuse_if(![4, 16].contains(&octets.len()), "an iPAddress in it is neither IPv4 nor IPv6")?;
            }
            GeneralName::Invalid(..) => return Err("one of its alternative names cannot be read"),
            _ => {}
        }
    }
    Ok(())
}

/// §4.2.1.9: in every CA certificate, and critical. The anchor is one too.
fn basic_constraints(member: &Member<'_>, position: Position) -> Result<(), &'static str> {
    match member.basic_constraints() {
        Some((constraints, critical)) => {
            refuse_if(constraints.ca && !critical, "its basicConstraints are not critical")?;
            refuse_if(!constraints.ca && position != Position::Leaf, "it is no CA by its basicConstraints")
        }
        None => refuse_if(position != Position::Leaf, "it is a CA without basicConstraints"),
    }
}

/// §4.2.1.9: a path length is for CAs that may sign certificates. (Without keyUsage they may.)
fn path_length(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    let Some((constraints, _)) = member.basic_constraints() else { return Ok(()) };
    if constraints.path_len_constraint.is_none() {
        return Ok(());
    }
    refuse_if(!constraints.ca, "it has a path length and is no CA")?;
    let may_sign = usage(member).is_none_or(KeyUsage::key_cert_sign);
    refuse_if(!may_sign, "it has a path length and no keyCertSign")
}

/// §4.2.1.11 and §4.2.1.14.
fn policy_criticality(member: &Member<'_>, _: Position) -> Result<(), &'static str> {
    let found = member.find(|parsed| {
        matches!(parsed, ParsedExtension::PolicyConstraints(_) | ParsedExtension::InhibitAnyPolicy(_))
    });
    refuse_if(found.is_some_and(|extension| !extension.critical), "its policy constraints are not critical")
}

fn refuse_if(broken: bool, what: &'static str) -> Result<(), &'static str> {
    if broken { Err(what) } else { Ok(()) }
}

fn is_empty(name: &X509Name<'_>) -> bool {
    name.iter_rdn().next().is_none()
}

fn is_version_3(member: &Member<'_>) -> bool {
    member.certificate.version == X509Version::V3
}

fn usage<'m>(member: &'m Member<'_>) -> Option<&'m KeyUsage> {
    member.certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::KeyUsage(usage) => Some(usage),
        _ => None,
    })
}

fn alt_names<'m, 'a>(member: &'m Member<'a>) -> Option<(&'m [GeneralName<'a>], bool)> {
    member.certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            Some((names.general_names.as_slice(), extension.critical))
        }
        _ => None,
    })
}
