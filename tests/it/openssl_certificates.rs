//! The certificates that everybody makes first, by the `openssl` lines of every tutorial, and odd ones that the workshop
//! does not make.

use std::process::Command;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Builder, X509NameBuilder, X509Ref};

use crate::support::{Server, Setup, Shown, TlsVersion};

/// A certificate made by hand; `change` has the last word before it is signed.
pub(crate) fn certificate(
    cn: &str,
    key: &PKey<Private>,
    issuer: Option<(&X509Ref, &PKey<Private>)>,
    change: impl FnOnce(&mut X509Builder),
) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", cn).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(4711).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(issuer.map_or(&name, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(365).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    change(&mut builder);
    let signer = issuer.map_or(key, |(_, key)| key);
    let digest = if signer.id() == openssl::pkey::Id::ED25519 {
        MessageDigest::null()
    } else {
        MessageDigest::sha256()
    };
    builder.sign(signer, digest).unwrap();
    builder.build()
}

/// Runs one line of a tutorial.
pub(crate) fn openssl(setup: &Setup, line: &str) {
    let output = Command::new("openssl").args(line.split(' ')).current_dir(setup.directory.path()).output();
    let output = output.expect("the openssl program is installed");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A CA and a leaf by the plainest lines there are: a CA without keyUsage, and an X.509 version 1 leaf.
fn plain(setup: &Setup, key: &str) -> Shown {
    openssl(
        setup,
        &format!("req -new -x509 -newkey {key} -nodes -keyout ca.key -out corp.pem -days 30 -subj /CN=Plain"),
    );
    openssl(
        setup,
        &format!("req -new -newkey {key} -nodes -keyout leaf.key -out leaf.csr -subj /O=Example/CN=plain"),
    );
    openssl(
        setup,
        "x509 -req -in leaf.csr -CA corp.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 30",
    );
    let leaf = X509::from_pem(&std::fs::read(setup.path("leaf.pem")).unwrap()).unwrap();
    assert_eq!(leaf.version(), 0, "this openssl makes version 1 leaves of such requests");
    let key = PKey::private_key_from_pem(&std::fs::read(setup.path("leaf.key")).unwrap()).unwrap();
    Shown { chain: vec![leaf.to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() }
}

#[test]
fn what_everybody_makes_first_works_over_both_versions_of_tls() {
    for kind in ["rsa:2048", "ec:p256"] {
        let setup = Setup::new();
        let key = if kind == "ec:p256" {
            openssl(&setup, "ecparam -name prime256v1 -out p256.pem");
            "ec:p256.pem"
        } else {
            kind
        };
        let shown = plain(&setup, key);
        setup.client("plain", "tls_client_auth_subject_dn: CN=plain,O=Example\nscope: read\n");
        setup.clock.advance(std::time::Duration::from_secs(60));
        let server = setup.start();
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let form = [("grant_type", "client_credentials"), ("client_id", "plain")];
            let answer = server.connect_by(Some(&shown), Some(version)).post("/token", &form).unwrap();
            assert_eq!(answer.status, 200, "{kind} over {version:?}: {answer:?}");
        }
    }
}

#[test]
fn a_self_signed_certificate_of_the_plainest_kind_can_be_registered() {
    let setup = Setup::new();
    openssl(
        &setup,
        "req -x509 -newkey rsa:2048 -nodes -keyout edge.key -out edge.pem -days 30 -subj /CN=edge",
    );
    std::fs::copy(setup.path("edge.pem"), setup.path("clients.d/edge.pem")).unwrap();
    setup.write(
        "clients.d/edge.yaml",
        "client_id: edge\ntoken_endpoint_auth_method: self_signed_tls_client_auth\ncertificates: [edge.pem]\n",
    );
    let leaf = X509::from_pem(&std::fs::read(setup.path("edge.pem")).unwrap()).unwrap();
    let key = PKey::private_key_from_pem(&std::fs::read(setup.path("edge.key")).unwrap()).unwrap();
    let shown = Shown { chain: vec![leaf.to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() };
    setup.clock.advance(std::time::Duration::from_secs(60));
    let server = setup.start();
    let answer = server.token("edge", Some(&shown));
    assert_eq!(answer.status, 200, "CA:TRUE does not matter there: {answer:?}");
}

#[test]
fn an_unknown_critical_extension_reaches_the_oauth_layer_and_is_refused_there() {
    let server = Server::start();
    let key = PKey::private_key_from_der(&server.setup.pki.client("x").key).unwrap();
    let ca = X509::from_der(server.setup.pki.corp.identity().certificate_der()).unwrap();
    let ca_key = PKey::private_key_from_der(&server.setup.pki.corp.identity().key_der()).unwrap();
    let leaf = certificate("billing", &key, Some((&ca, &ca_key)), |builder| {
        use openssl::x509::extension::SubjectAlternativeName;
        let san = SubjectAlternativeName::new()
            .dns("billing.example.com")
            .build(&builder.x509v3_context(Some(&ca), None));
        builder.append_extension(san.unwrap()).unwrap();
        let oid = openssl::asn1::Asn1Object::from_str("1.3.6.1.4.1.99999.7").unwrap();
        let value = openssl::asn1::Asn1OctetString::new_from_bytes(&[5, 0]).unwrap();
        let critical = openssl::x509::X509Extension::new_from_der(&oid, true, &value).unwrap();
        builder.append_extension(critical).unwrap();
    });
    let shown = Shown { chain: vec![leaf.to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() };
    let answer = server.token("billing", Some(&shown));
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_client"));
}

#[test]
fn a_chain_beyond_the_bounds_is_refused_and_not_walked() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let corp = server.setup.pki.corp.identity().certificate_der().to_vec();
    let sixteen: Vec<&[u8]> = std::iter::repeat_n(corp.as_slice(), 15).collect();
    assert_eq!(server.token("billing", Some(&billing.clone().with(&sixteen))).status, 200, "sixteen in all");
    let more: Vec<&[u8]> = std::iter::repeat_n(corp.as_slice(), 16).collect();
    assert_eq!(server.token("billing", Some(&billing.with(&more))).error(), "invalid_client", "seventeen");
}
