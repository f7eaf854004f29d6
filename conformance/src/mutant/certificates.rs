//! Whose certificate this is: chains and subjects of the CA's clients, pins of the others.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{GeneralNameRef, X509, X509PurposeId, X509Ref, X509StoreContext, X509StoreContextRef};
use serde_json::{Value, json};

use super::clients::Client;
use super::{Fault, Faults};
use crate::jose;

/// Members of a JWK of a certificate that everybody knows.
const KNOWN: [&str; 12] = ["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid", "x5c", "x5t", "x5t#S256"];
/// Members of private keys.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// Whether these certificates, the leaf first, are those of the client.
pub(super) fn are_of(client: &Client, shown: &[Vec<u8>], anchor: &[u8], faults: &Faults) -> bool {
    let Some(leaf) = shown.first().and_then(|der| X509::from_der(der).ok()) else { return false };
    if client.method == "tls_client_auth" {
        let chained = faults.has(Fault::ChainsAreNotChecked) || is_chained(&leaf, shown, anchor, faults);
        let known = faults.has(Fault::AnyCertificateOfTheCa) || has_subject(&leaf, client, faults);
        return chained && known && is_first(client, &leaf, faults);
    }
    let few = if faults.has(Fault::OnlyTheFirstPin) { 1 } else { usize::MAX };
    let pinned = client.keys(faults).iter().take(few).any(|jwk| is_pinned(&leaf, jwk, faults));
    pinned && (!faults.has(Fault::PinsNeedAChain) || is_chained(&leaf, shown, anchor, faults))
}

fn is_first(client: &Client, leaf: &X509Ref, faults: &Faults) -> bool {
    let this = leaf.to_der().unwrap_or_default();
    !faults.has(Fault::OnlyTheFirstCertificate) || *client.first.get_or_init(|| this.clone()) == this
}

/// RFC 5280, by OpenSSL.
fn is_chained(leaf: &X509Ref, shown: &[Vec<u8>], anchor: &[u8], faults: &Faults) -> bool {
    let check = || -> Result<bool, openssl::error::ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        store.add_cert(X509::from_pem(anchor)?)?;
        store.set_purpose(X509PurposeId::SSL_CLIENT)?;
        let time = if faults.has(Fault::TimeDoesNotMatter) {
            X509VerifyFlags::NO_CHECK_TIME
        } else {
            X509VerifyFlags::empty()
        };
        store.set_flags(time)?;
        let mut above = Stack::new()?;
        for der in shown.iter().skip(1) {
            above.push(X509::from_der(der)?)?;
        }
        X509StoreContext::new()?.init(&store.build(), leaf, &above, X509StoreContextRef::verify_cert)
    };
    check().unwrap_or(false) && !is_authority(leaf)
}

/// Whether it is the certificate of a CA, which nobody authenticates with: basicConstraints with cA TRUE.
fn is_authority(leaf: &X509Ref) -> bool {
    let der = leaf.to_der().unwrap_or_default();
    let critical = [0x55, 0x1d, 0x13, 0x01, 0x01, 0xff];
    der.windows(13).any(|octets| octets.starts_with(&critical) && octets.ends_with(&[0x01, 0x01, 0xff]))
}

fn has_subject(leaf: &X509Ref, client: &Client, faults: &Faults) -> bool {
    let Some((rule, value)) = &client.subject else { return false };
    let named = leaf.subject_alt_names();
    let few = if faults.has(Fault::OnlyTheFirstName) { 1 } else { usize::MAX };
    let any = |text: fn(&GeneralNameRef) -> Option<&str>, is: &dyn Fn(&str) -> bool| {
        let texts = named.iter().flatten().filter_map(text).take(few);
        texts.map(|text| cut(text, faults)).any(is)
    };
    match rule.as_str() {
        "san_dns" => {
            let is = |name: &str| {
                let rest = value.split_once('.').map(|(_, rest)| rest);
                let wild = faults.has(Fault::WildcardsMatch) && name.strip_prefix("*.") == rest;
                wild || name.eq_ignore_ascii_case(value)
            };
            let common = faults.has(Fault::TheCommonNameIsAName)
                && subject(leaf, faults)
                    .is_some_and(|names| names.iter().any(|(kind, name)| kind == "CN" && is(name)));
            common || any(GeneralNameRef::dnsname, &is)
        }
        "san_uri" => any(GeneralNameRef::uri, &|uri| {
            uri == value || faults.has(Fault::UrisHaveNoCase) && uri.eq_ignore_ascii_case(value)
        }),
        "san_email" => any(GeneralNameRef::email, &|address| {
            let parts = |text: &str| {
                text.rsplit_once('@').map(|(local, host)| (local.to_owned(), host.to_ascii_lowercase()))
            };
            let alike = faults.has(Fault::EmailsHaveNoCase) && address.eq_ignore_ascii_case(value);
            alike || parts(address).is_some() && parts(address) == parts(value)
        }),
        "san_ip" => {
            let octets = named.iter().flatten().filter_map(GeneralNameRef::ipaddress);
            octets.take(few).filter_map(address).any(|address| {
                if faults.has(Fault::AddressesAreText) {
                    return address.to_string() == *value;
                }
                value.parse() == Ok(address)
            })
        }
        _ => {
            let (Some(wanted), Some(seen)) = (distinguished_name(value, faults), subject(leaf, faults))
            else {
                return false;
            };
            if faults.has(Fault::TheCommonNameIsTheSubject) {
                return seen.iter().filter(|(kind, _)| kind == "CN").all(|name| wanted.contains(name));
            }
            let fold = |(kind, text): &(String, String)| {
                if faults.has(Fault::SubjectsAreText) {
                    return (kind.clone(), text.clone());
                }
                let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
                (kind.clone(), words.join(" ").to_lowercase())
            };
            wanted.iter().map(fold).eq(seen.iter().map(fold))
        }
    }
}

fn cut<'text>(text: &'text str, faults: &Faults) -> &'text str {
    let whole = !faults.has(Fault::NamesEndAtANul);
    if whole { text } else { text.split('\0').next().unwrap_or_default() }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let four: Option<[u8; 4]> = octets.try_into().ok();
    let six: Option<[u8; 16]> = octets.try_into().ok();
    four.map(IpAddr::from).or_else(|| six.map(IpAddr::from))
}

/// The attributes of the subject, in the order of the certificate.
fn subject(leaf: &X509Ref, faults: &Faults) -> Option<Vec<(String, String)>> {
    let names = leaf.subject_name().entries().map(|entry| {
        let kind = entry.object().nid().short_name().ok()?.to_owned();
        let text = std::str::from_utf8(entry.data().as_slice()).ok()?;
        Some((kind, cut(text, faults).to_owned()))
    });
    names.collect()
}

/// RFC 4514, in the order of the certificate; without attributes of several values.
pub(super) fn distinguished_name(text: &str, faults: &Faults) -> Option<Vec<(String, String)>> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let last = parts.last_mut()?;
        match letter {
            ',' => parts.push(String::new()),
            '\\' if !faults.has(Fault::CommasSplitSubjects) => {
                let next = letters.next()?;
                if let Some(high) = next.to_digit(16) {
                    let low = letters.next()?.to_digit(16)?;
                    last.push(char::from_u32(high * 16 + low)?);
                } else {
                    last.push(next);
                }
            }
            '+' | '"' | ';' | '<' | '>' | '\0' => return None,
            _ => last.push(letter),
        }
    }
    let attribute = |part: &String| {
        let (kind, value) = part.split_once('=')?;
        let known = [Nid::COMMONNAME, Nid::ORGANIZATIONNAME, Nid::ORGANIZATIONALUNITNAME, Nid::COUNTRYNAME];
        let known = known.iter().any(|nid| nid.short_name().is_ok_and(|name| name == kind));
        (known && !value.is_empty()).then(|| (kind.to_owned(), value.to_owned()))
    };
    parts.iter().rev().map(attribute).collect()
}

fn is_pinned(leaf: &X509Ref, jwk: &Value, faults: &Faults) -> bool {
    let Some(pins) = certificates(jwk, faults) else {
        let key = faults.has(Fault::BareKeysAreGood).then(|| jose::public(jwk)).flatten();
        return key.is_some_and(|key| leaf.public_key().is_ok_and(|of| of.public_eq(&key)));
    };
    let few = if faults.has(Fault::EveryCertificateOfX5cCounts) { usize::MAX } else { 1 };
    pins.iter().take(few).any(|pin| {
        if faults.has(Fault::PinsAreSubjects) {
            return pin.subject_name().to_der().ok() == leaf.subject_name().to_der().ok();
        }
        if faults.has(Fault::PinsAreKeys) {
            return pin.public_key().is_ok_and(|key| leaf.public_key().is_ok_and(|of| of.public_eq(&key)));
        }
        pin.to_der().ok() == leaf.to_der().ok()
    })
}

/// The certificates in a JWK, of which the first is by the key of the JWK; nothing if anything is wrong with it.
pub(super) fn certificates(jwk: &Value, faults: &Faults) -> Option<Vec<X509>> {
    let mut jwk = jwk.clone();
    let members = jwk.as_object_mut()?;
    let unknown = members.keys().any(|name| !KNOWN.contains(&name.as_str()));
    let private = PRIVATE.iter().any(|name| members.contains_key(*name));
    if unknown && faults.has(Fault::UnknownKeyMembersAreErrors)
        || private && !faults.has(Fault::PrivateKeysAreRegistered)
    {
        return None;
    }
    if faults.has(Fault::KeyTypesAreGuessed) {
        members.insert("kty".to_owned(), json!("EC"));
    }
    let texts = jwk.get("x5c")?.as_array()?.iter().map(|text| {
        let text = text.as_str()?;
        let url_safe = || URL_SAFE.decode(text).ok().filter(|_| faults.has(Fault::X5cIsUrlSafe));
        STANDARD.decode(text).ok().or_else(url_safe)
    });
    let ders: Vec<_> = texts.collect::<Option<_>>()?;
    let leaf = ders.first()?;
    let told = |name: &str, octets: &[u8]| {
        jwk.get(name).is_none_or(|told| *told == json!(URL_SAFE_NO_PAD.encode(octets)))
    };
    let right = told("x5t", &openssl::sha::sha1(leaf)) && told("x5t#S256", &openssl::sha::sha256(leaf));
    let key = jose::public(&jwk)?;
    let certificates: Vec<_> = ders.iter().map(|der| X509::from_der(der).ok()).collect::<Option<_>>()?;
    let same = certificates.first()?.public_key().ok()?.public_eq(&key);
    let good = (right || faults.has(Fault::ThumbprintsAreNotCompared))
        && (same || faults.has(Fault::KeysAndCertificatesDiffer));
    good.then_some(certificates)
}
