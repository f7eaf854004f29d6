//! What is made here conforms, whatever is asked for.

use openssl::hash::MessageDigest;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Name, X509Req, X509ReqBuilder};

use super::*;
use crate::pki::certificate::{AltName, Certificate, Chain};
use crate::pki::files;
use crate::pki::trust::{AnchorSet, Profile, Purpose};

const FROM: Timestamp = Timestamp::from_unix(1_790_000_000);
const TO: Timestamp = Timestamp::from_unix(1_800_000_000);

fn template(cn: &str) -> Template {
    Template::new(cn, FROM, TO)
}

fn parsed(identity: &Identity) -> Certificate {
    Certificate::parse(identity.certificate_der()).unwrap()
}

fn assert_strict(ca: &Authority, presented: &[Vec<u8>], purpose: Purpose) {
    let set = AnchorSet::new(vec![parsed(ca.identity())], Vec::new(), Profile::Strict).ok().unwrap();
    let path = set.verify_path(&Chain::parse(presented, 16).unwrap(), purpose, FROM);
    assert!(path.is_ok(), "{path:?}");
}

#[test]
fn everything_made_here_passes_the_strict_profile() {
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let root = Authority::new(&Template { key, ..template("root") }).unwrap();
        let issuing = root.intermediate(&Template { key, ..template("issuing") }).unwrap();
        let der = |identity: &Identity| identity.certificate_der().to_vec();
        for (purpose, verified) in
            [(LeafPurpose::Client, Purpose::Client), (LeafPurpose::Server, Purpose::Server)]
        {
            let leaf = issuing.issue(&Template { purpose, key, ..template("leaf") }).unwrap();
            assert_strict(&root, &[der(&leaf), der(issuing.identity())], verified);
        }
        let unsaid = root.issue(&Template { key, purpose: LeafPurpose::Unsaid, ..template("leaf") }).unwrap();
        assert_strict(&root, &[der(&unsaid)], Purpose::Client);
        let nameless = Template { key, dns: vec!["a.example.com".into()], ..template("") };
        assert_strict(&root, &[der(&root.issue(&nameless).unwrap())], Purpose::Client);
        let alone = Identity::self_signed(&Template { key, ..template("alone") }).unwrap();
        assert!(files::key_matches(alone.certificate_der(), &alone.key_der()));
        assert!(!parsed(&alone).is_ca() && parsed(&alone).allows_client_auth());
    }
}

#[test]
fn names_and_dates_arrive_as_asked_for() {
    let asked = Template {
        subject: vec![("C".into(), "RO".into()), ("O".into(), "Ex, ample".into()), ("CN".into(), "Ă".into())],
        dns: vec!["a.example.com".into()],
        uri: vec!["spiffe://example.com/a".into()],
        ip: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        email: vec!["a@example.com".into()],
        ..template("")
    };
    let made = parsed(&Identity::self_signed(&asked).unwrap());
    assert_eq!(made.subject().to_string(), "CN=Ă,O=Ex\\, ample,C=RO");
    assert_eq!((made.not_before(), made.not_after()), (FROM, TO));
    assert_eq!(
        made.alt_names(),
        [
            AltName::Dns("a.example.com".into()),
            AltName::Uri("spiffe://example.com/a".into()),
            AltName::Ip("192.0.2.1".parse().unwrap()),
            AltName::Ip("2001:db8::1".parse().unwrap()),
            AltName::Email("a@example.com".into()),
        ]
    );
}

#[test]
fn serials_are_random_and_of_20_octets() {
    let serial = || parsed(&Identity::self_signed(&template("a")).unwrap()).serial().to_vec();
    let (one, two) = (serial(), serial());
    assert_ne!(one, two);
    assert_eq!((one.len(), one[0] & 0xc0), (20, 0x40));
}

#[test]
fn what_cannot_be_a_certificate_is_refused() {
    let dns = |name: &str| Template { dns: vec![name.into()], ..template("a") };
    for asked in [template(""), dns("bücher.example"), dns(""), dns("a b"), dns("a\0b")] {
        assert!(Identity::self_signed(&asked).is_err(), "{asked:?}");
    }
    for (attribute, value) in [("CN", ""), ("C", "Romania"), ("no such", "x"), ("C\0N", "x")] {
        let asked = Template { subject: vec![(attribute.into(), value.into())], ..template("") };
        assert!(Identity::self_signed(&asked).is_err(), "{attribute}={value}");
    }
    assert!(Authority::new(&Template { dns: vec!["ca.example.com".into()], ..template("") }).is_err());
}

#[test]
fn what_cannot_be_a_list_is_refused() {
    let ca = Authority::new(&template("CA")).unwrap();
    let revoked =
        |serial: &[u8]| vec![RevokedCertificate { serial: serial.to_vec(), at: FROM, reason: None }];
    let list =
        |next_update, revoked| CrlTemplate { number: u64::MAX, this_update: FROM, next_update, revoked };
    assert!(ca.crl(&list(TO, revoked(&[1]))).is_ok());
    assert!(ca.crl(&list(Timestamp::MAX, Vec::new())).is_ok());
    assert!(ca.crl(&list(TO, revoked(&[]))).is_err());
    assert!(ca.crl(&list(Timestamp::from_unix(i64::MAX), Vec::new())).is_err());
    assert!(ca.crl(&list(Timestamp::from_unix(-1_000_000_000), Vec::new())).is_err());
}

#[test]
fn an_authority_is_loaded_with_its_own_key_only() {
    let ca = Authority::new(&template("CA")).unwrap();
    let other = Authority::new(&template("CA")).unwrap();
    let pem = ca.identity().certificate_pem();
    let loaded = Authority::load(pem.as_bytes(), ca.identity().key_pem().as_bytes()).unwrap();
    let leaf = loaded.issue(&template("leaf")).unwrap();
    assert_strict(&ca, &[leaf.certificate_der().to_vec()], Purpose::Client);
    assert!(Authority::load(pem.as_bytes(), other.identity().key_pem().as_bytes()).is_err());
    let leaf = ca.issue(&template("leaf")).unwrap();
    assert!(Authority::load(leaf.certificate_pem().as_bytes(), leaf.key_pem().as_bytes()).is_err());
}

fn request(key: &PKey<Private>, names: &SubjectAlternativeName) -> X509ReqBuilder {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", "requested").unwrap();
    let mut builder = X509Req::builder().unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut extensions = Stack::new().unwrap();
    extensions.push(names.build(&builder.x509v3_context(None)).unwrap()).unwrap();
    builder.add_extensions(&extensions).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder
}

#[test]
fn a_request_keeps_its_key_and_its_names_unless_others_are_given() {
    let ca = Authority::new(&template("CA")).unwrap();
    let key = make_key(KeyKind::P256).unwrap();
    let mut names = SubjectAlternativeName::new();
    names.dns("a.example.com").ip("::1").ip("192.0.2.1").uri("urn:a").email("a@example.com");
    let request = request(&key, &names).build();
    let der = ca.sign_request(&request.to_pem().unwrap(), &template("")).unwrap();
    assert_strict(&ca, std::slice::from_ref(&der), Purpose::Client);
    assert!(files::key_matches(&der, &key.private_key_to_pkcs8().unwrap()));
    let made = Certificate::parse(&der).unwrap();
    assert_eq!((made.subject().to_string().as_str(), made.alt_names().len()), ("CN=requested", 5));

    let own = Template { dns: vec!["b.example.com".into()], ..template("given") };
    let made = Certificate::parse(&ca.sign_request(&request.to_der().unwrap(), &own).unwrap()).unwrap();
    assert_eq!(made.subject().to_string(), "CN=given");
    assert_eq!(made.alt_names(), [AltName::Dns("b.example.com".into())]);
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let ca = Authority::new(&template("CA")).unwrap();
    let mut builder =
        request(&make_key(KeyKind::P256).unwrap(), SubjectAlternativeName::new().dns("a.example"));
    builder.sign(&make_key(KeyKind::P256).unwrap(), MessageDigest::sha256()).unwrap();
    assert!(ca.sign_request(&builder.build().to_der().unwrap(), &template("")).is_err());
    assert!(ca.sign_request(b"no request", &template("")).is_err());
}
