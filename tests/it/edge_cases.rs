//! What docs/edge-cases.md asks of the whole server and no other file here has tested: certificates that resemble a
//! client's, and certificates that want the server to do something.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use certbound::http::Kind;
use certbound::pki::workshop::{Authority, Identity, Template};
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Type};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};

use crate::openssl_certificates::{certificate, openssl};
use crate::support::crl::List;
use crate::support::pki::DAY;
use crate::support::program::program;
use crate::support::{Server, Setup, Shown, TlsVersion};

const FORM: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("client_id", "billing")];

/// 200, or 400 `invalid_client`.
fn accepts(server: &Server, client: &str, shown: &Shown) -> bool {
    let answer = server.token(client, Some(shown));
    match answer.status {
        200 => true,
        400 if answer.error() == "invalid_client" => false,
        _ => panic!("{answer:?}"),
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn shown(certificate: &X509, key: &PKey<Private>) -> Shown {
    Shown { chain: vec![certificate.to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() }
}

fn openssl_authority(authority: &Authority) -> (X509, PKey<Private>) {
    let identity = authority.identity();
    let key = PKey::private_key_from_der(&identity.key_der()).unwrap();
    (X509::from_der(identity.certificate_der()).unwrap(), key)
}

/// A leaf of the corp CA for `billing`, with whatever else `change` puts into it.
fn billing(server: &Server, change: impl FnOnce(&mut X509Builder)) -> Shown {
    let (ca, ca_key) = openssl_authority(&server.setup.pki.corp);
    let key = key();
    let leaf = certificate("billing", &key, Some((&ca, &ca_key)), |builder| {
        let mut names = SubjectAlternativeName::new();
        let names = names.dns("billing.example.com").build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
        change(builder);
    });
    shown(&leaf, &key)
}

/// A server on which `dn` has this subject registered.
fn server_for(subject: &str) -> Server {
    let setup = Setup::new();
    setup.client("dn", &format!("tls_client_auth_subject_dn: '{subject}'\n"));
    setup.clock.advance(DAY / 24);
    setup.start()
}

/// A leaf of the corp CA with this subject.
fn named(server: &Server, name: &X509Name) -> Shown {
    let (ca, ca_key) = openssl_authority(&server.setup.pki.corp);
    let key = key();
    let leaf = certificate("x", &key, Some((&ca, &ca_key)), |it| it.set_subject_name(name).unwrap());
    shown(&leaf, &key)
}

/// One attribute an RDN, in this string type, in the order of the encoding.
fn name(kind: Asn1Type, attributes: &[(&str, &str)]) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    for (attribute, value) in attributes {
        name.append_entry_by_text_with_type(attribute, value, kind).unwrap();
    }
    name.build()
}

#[test]
fn a_subject_is_equal_in_every_string_type() {
    let server = server_for("CN=svc,O=Example");
    let subject = [("O", "Example"), ("CN", "svc")];
    for kind in [Asn1Type::UTF8STRING, Asn1Type::PRINTABLESTRING, Asn1Type::IA5STRING] {
        assert!(accepts(&server, "dn", &named(&server, &name(kind, &subject))), "{kind:?}");
    }
    let teletex = name(Asn1Type::T61STRING, &subject);
    assert!(!accepts(&server, "dn", &named(&server, &teletex)), "nobody knows what its octets mean");
}

#[test]
fn a_subject_with_a_hidden_or_a_similar_character_is_another() {
    let server = server_for("CN=admin,O=Example");
    for cn in [
        "ad\0min",
        "adm\u{131}n",
        "\u{430}dmin",
        "ad\u{200b}min",
        "ad\u{ad}min",
        "admin\r\n",
        "admin\u{202e}",
    ] {
        let subject = name(Asn1Type::UTF8STRING, &[("O", "Example"), ("CN", cn)]);
        assert!(!accepts(&server, "dn", &named(&server, &subject)), "{cn:?}");
    }
    // `O=Example+CN=admin` in one RDN (RFC 4514 §2.2) is not `CN=admin,O=Example`.
    let attribute = |oid: &[u8], value: &[u8]| {
        sequence(0x30, &[&sequence(0x06, oid)[..], &sequence(0x0c, value)].concat())
    };
    let both = [attribute(&[0x55, 4, 3], b"admin"), attribute(&[0x55, 4, 10], b"Example")].concat();
    let one_rdn = X509Name::from_der(&sequence(0x30, &sequence(0x31, &both))).unwrap();
    assert!(!accepts(&server, "dn", &named(&server, &one_rdn)));
    let none = X509NameBuilder::new().unwrap().build();
    assert!(!accepts(&server, "dn", &named(&server, &none)), "an empty subject is nobody's");
    let right = name(Asn1Type::UTF8STRING, &[("O", "Example"), ("CN", "admin")]);
    assert!(accepts(&server, "dn", &named(&server, &right)));
}

/// Tag, short length, content.
fn sequence(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length][..], content].concat()
}

#[test]
fn a_stranger_with_the_serial_issuer_and_key_identifiers_of_a_registered_certificate_is_a_stranger() {
    let setup = Setup::new();
    let template = setup.pki.template("edge-7");
    let registered = Identity::self_signed(&template).unwrap();
    setup.pinned("edge-7", &[&Shown::from(&registered)]);
    let server = setup.start();
    let original = X509::from_der(registered.certificate_der()).unwrap();
    let other_key = key();
    let forged = certificate("edge-7", &other_key, None, |builder| {
        builder.set_serial_number(original.serial_number()).unwrap();
        builder.set_subject_name(original.subject_name()).unwrap();
        builder.set_issuer_name(original.issuer_name()).unwrap();
        builder.set_not_before(original.not_before()).unwrap();
        builder.set_not_after(original.not_after()).unwrap();
        let identifier = original.subject_key_id().unwrap().as_slice();
        let own = [&[0x04, u8::try_from(identifier.len()).unwrap()][..], identifier].concat();
        let of_issuer = sequence(0x30, &sequence(0x80, identifier));
        for (oid, value) in [("2.5.29.14", own), ("2.5.29.35", of_issuer)] {
            let oid = Asn1Object::from_str(oid).unwrap();
            let value = Asn1OctetString::new_from_bytes(&value).unwrap();
            builder.append_extension(X509Extension::new_from_der(&oid, false, &value).unwrap()).unwrap();
        }
    });
    assert_eq!(forged.subject_key_id().unwrap().as_slice(), original.subject_key_id().unwrap().as_slice());
    assert!(!accepts(&server, "edge-7", &shown(&forged, &other_key)));
    let behind = shown(&forged, &other_key).with(&[registered.certificate_der()]);
    assert!(!accepts(&server, "edge-7", &behind), "with the real one behind it");
    assert!(accepts(&server, "edge-7", &Shown::from(&registered)));
}

#[test]
fn a_certificate_that_a_registered_one_issued_is_not_registered() {
    // What `openssl req -x509` makes has CA:TRUE: its owner can sign with it, and it is not an anchor for that.
    let setup = Setup::new();
    let authority = Authority::new(&setup.pki.template("edge-7")).unwrap();
    setup.pinned("edge-7", &[&Shown::from(authority.identity())]);
    let server = setup.start();
    let issued = Shown::from(&authority.issue(&server.setup.pki.template("edge-7")).unwrap());
    assert!(!accepts(&server, "edge-7", &issued));
    assert!(!accepts(&server, "edge-7", &issued.with(&[authority.identity().certificate_der()])));
    assert!(accepts(&server, "edge-7", &Shown::from(authority.identity())));
}

#[test]
fn a_version_1_certificate_can_be_registered_and_shown_over_both_versions_of_tls() {
    let setup = Setup::new();
    let key = key();
    let old = certificate("old", &key, None, |builder| builder.set_version(0).unwrap());
    let old = shown(&old, &key);
    setup.pinned("billing", &[&old]);
    setup.clock.advance(DAY / 24);
    let server = setup.start();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let answer = server.connect_by(Some(&old), Some(version)).post("/token", &FORM).unwrap();
        assert_eq!(answer.status, 200, "{version:?}: {answer:?}");
    }
}

#[test]
fn of_a_jwk_the_first_certificate_counts_and_the_chain_behind_it_does_not() {
    let setup = Setup::new();
    let leaf = setup.pki.client("edge.example.com");
    let corp = Shown::from(setup.pki.corp.identity());
    let point = X509::from_der(&leaf.chain[0]).unwrap().public_key().unwrap().public_key_to_der().unwrap();
    let coordinate =
        |from_end: usize| URL_SAFE_NO_PAD.encode(&point[point.len() - from_end..point.len() - from_end + 32]);
    setup.write(
        "clients.d/edge.yaml",
        format!(
            "client_id: edge\ntoken_endpoint_auth_method: self_signed_tls_client_auth\njwks: {{keys: [{{kty: EC, crv: P-256, \
             x: {}, y: {}, x5c: ['{}', '{}']}}]}}\n",
            coordinate(64),
            coordinate(32),
            STANDARD.encode(&leaf.chain[0]),
            STANDARD.encode(&corp.chain[0])
        ),
    );
    let server = setup.start();
    assert!(accepts(&server, "edge", &leaf));
    assert!(!accepts(&server, "edge", &corp));
    assert!(!accepts(&server, "edge", &server.setup.pki.client("edge.example.com")));
}

#[test]
fn usages_that_leave_out_client_authentication_or_signing_are_refused() {
    let server = Server::start();
    let purposes = |oids: &[&str]| {
        billing(&server, |builder| {
            let mut usage = ExtendedKeyUsage::new();
            for oid in oids {
                usage.other(oid);
            }
            builder.append_extension(usage.build().unwrap()).unwrap();
        })
    };
    let usage =
        |usage: &KeyUsage| billing(&server, |it| it.append_extension(usage.build().unwrap()).unwrap());
    server.setup.clock.advance(DAY / 24);
    for (shown, accepted, what) in [
        (purposes(&["1.3.6.1.5.5.7.3.2"]), true, "clientAuth"),
        (purposes(&["1.3.6.1.5.5.7.3.4"]), false, "emailProtection"),
        (purposes(&["2.5.29.37.0"]), false, "anyExtendedKeyUsage alone"),
        (purposes(&["2.5.29.37.0", "1.3.6.1.5.5.7.3.2"]), true, "both"),
        (usage(KeyUsage::new().critical().digital_signature()), true, "digitalSignature"),
        (usage(KeyUsage::new().critical().key_encipherment()), false, "keyEncipherment"),
        (usage(KeyUsage::new().critical().key_agreement()), false, "keyAgreement"),
        (billing(&server, |_| {}), true, "neither"),
    ] {
        assert_eq!(accepts(&server, "billing", &shown), accepted, "{what}");
    }
}

#[test]
fn what_was_signed_with_sha_1_is_refused() {
    let server = Server::start();
    let (ca, ca_key) = openssl_authority(&server.setup.pki.corp);
    server.setup.clock.advance(DAY / 24);
    for (digest, accepted) in [(MessageDigest::sha1(), false), (MessageDigest::sha512(), true)] {
        let key = key();
        // Signed once more over the same names, so only the digest differs.
        let mut again = X509::builder().unwrap();
        let template = certificate("billing", &key, Some((&ca, &ca_key)), |_| {});
        again.set_version(2).unwrap();
        again.set_serial_number(template.serial_number()).unwrap();
        again.set_subject_name(template.subject_name()).unwrap();
        again.set_issuer_name(template.issuer_name()).unwrap();
        again.set_not_before(template.not_before()).unwrap();
        again.set_not_after(template.not_after()).unwrap();
        again.set_pubkey(&key).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("billing.example.com")
            .build(&again.x509v3_context(None, None))
            .unwrap();
        again.append_extension(names).unwrap();
        again.sign(&ca_key, digest).unwrap();
        assert_eq!(accepts(&server, "billing", &shown(&again.build(), &key)), accepted);
    }
}

#[test]
fn an_anchor_shown_as_a_client_is_nobody() {
    let setup = Setup::new();
    setup.client("root", "tls_client_auth_subject_dn: CN=Corp CA\n");
    let server = setup.start();
    let root = Shown::from(server.setup.pki.corp.identity());
    assert!(!accepts(&server, "root", &root));
    assert!(!accepts(&server, "root", &root.clone().with(&[&root.chain[0]])));
}

#[test]
fn what_comes_along_with_the_leaf_changes_nothing() {
    let server = Server::start();
    let pki = &server.setup.pki;
    let billing = pki.client("billing.example.com");
    let mallory = pki.client("mallory.example.com");
    let unrelated = Authority::new(&pki.template("Unrelated CA")).unwrap();
    let (corp, unrelated) = (pki.corp.identity().certificate_der(), unrelated.identity().certificate_der());
    for more in [
        &[corp][..],
        &[corp, corp],
        &[unrelated, corp],
        &[&mallory.chain[0], unrelated],
        &[&billing.chain[0]],
    ] {
        assert!(accepts(&server, "billing", &billing.clone().with(more)));
        let with_victim = [&[billing.chain[0].as_slice()][..], more].concat();
        assert!(!accepts(&server, "billing", &mallory.clone().with(&with_victim)));
    }
    // Octets that are no certificate do not get in the way, or in.
    let junk: &[&[u8]] = &[b"\x30\x03\x02\x01\x00"];
    assert!(accepts(&server, "billing", &billing.with(junk)));
    assert!(!accepts(&server, "billing", &mallory.with(junk)));
}

#[test]
fn a_remembered_path_ends_with_the_anchors_it_led_to() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let mut connection = server.connect(Some(&billing));
    for _ in 0..2 {
        assert_eq!(connection.post("/token", &FORM).unwrap().status, 200);
    }
    let now = server.setup.pki.now;
    let twin = Authority::new(&Template::new("Corp CA", now.minus(DAY), now.plus(DAY * 3650))).unwrap();
    server.setup.write("corp.pem", twin.identity().certificate_pem());
    assert_eq!(server.reload(), Vec::<String>::new());
    assert_eq!(connection.post("/token", &FORM).unwrap().error(), "invalid_client");
    server.setup.write("corp.pem", server.setup.pki.corp.identity().certificate_pem());
    server.reload();
    assert_eq!(connection.post("/token", &FORM).unwrap().status, 200);
}

#[test]
fn the_roots_of_the_system_vouch_for_nobody() {
    let setup = Setup::new();
    let now = setup.pki.now;
    let of_system = Authority::new(&Template::new("Web CA", now.minus(DAY), now.plus(DAY * 3650))).unwrap();
    let leaf = of_system.issue(&setup.pki.template("leaf")).unwrap();
    setup.write("system.pem", of_system.identity().certificate_pem());
    setup.write("leaf.pem", leaf.certificate_pem());
    for (anchor, code) in [("system.pem", 0), ("corp.pem", 1)] {
        let mut command = program(setup.directory.path());
        command.args(["cert", "verify", "--anchor", anchor, "leaf.pem"]);
        command.env("SSL_CERT_FILE", setup.path("system.pem")).env("SSL_CERT_DIR", setup.directory.path());
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{anchor}");
    }
}

#[test]
fn nothing_that_a_certificate_names_is_ever_fetched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut setup = Setup::new();
    let issuing = setup.pki.corp.intermediate(&setup.pki.template("Issuing CA")).unwrap();
    setup.write("ca.pem", issuing.identity().certificate_pem());
    setup.write("ca.key", issuing.identity().key_pem().as_str());
    setup.write(
        "urls.cnf",
        format!(
            "subjectAltName=DNS:billing.example.com,URI:{url}/name\n\
             authorityInfoAccess=OCSP;URI:{url}/ocsp,caIssuers;URI:{url}/issuer.der,caIssuers;URI:ldap{}/issuer\n\
             crlDistributionPoints=URI:{url}/list.crl\nfreshestCRL=URI:{url}/delta.crl\n\
             subjectInfoAccess=caRepository;URI:{url}/repository\n",
            &url[4..]
        ),
    );
    setup.write("config.cnf", "[req]\ndistinguished_name=dn\n[dn]\n");
    openssl(
        &setup,
        "req -new -config config.cnf -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=urls",
    );
    openssl(
        &setup,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile urls.cnf -out leaf.pem",
    );
    let leaf = X509::from_pem(&fs::read(setup.path("leaf.pem")).unwrap()).unwrap();
    assert!(leaf.ocsp_responders().unwrap().len() == 1 && leaf.crl_distribution_points().is_some());
    let key = PKey::private_key_from_pem(&fs::read(setup.path("leaf.key")).unwrap()).unwrap();
    let alone = shown(&leaf, &key);
    let whole = alone.clone().with(&[issuing.identity().certificate_der()]);
    setup.pinned("edge", &[&alone]);
    setup.clock.advance(DAY / 24);
    // Lists are asked for, and it is the operator who says where they are.
    setup.write("corp.crl", List::new(1, setup.pki.now).signed_by(&setup.pki.corp));
    setup.write("issuing.crl", List::new(1, setup.pki.now).signed_by(&issuing));
    setup.anchors = ", profile: strict, crl: [{ file: corp.crl }, { file: issuing.crl }]".to_owned();
    let server = setup.start();
    assert!(accepts(&server, "billing", &whole), "its own words about itself are no harm");
    assert!(!accepts(&server, "billing", &alone), "the missing issuer is not fetched");
    assert!(accepts(&server, "edge", &alone));
    assert!(!accepts(&server, "gateway", &whole));
    for arguments in [
        &["explain", "--client", "billing", "--cert", "leaf.pem"][..],
        &["cert", "verify", "--anchor", "corp.pem", "leaf.pem"],
        &["cert", "show", "leaf.pem"],
        &["check"],
    ] {
        program(server.setup.directory.path()).args(arguments).output().unwrap();
    }
    let nobody_came = listener.accept().map_err(|error| error.kind());
    assert!(matches!(nobody_came, Err(ErrorKind::WouldBlock)), "{nobody_came:?}");
}

#[test]
fn a_name_with_line_ends_stays_in_its_line() {
    let setup = Setup::new();
    let key = key();
    let subject = name(Asn1Type::UTF8STRING, &[("CN", "a\r\n{\"accepted\":true}\u{2028}\u{202e}")]);
    let certificate = certificate("x", &key, None, |it| it.set_subject_name(&subject).unwrap());
    setup.write("odd.pem", certificate.to_pem().unwrap());
    setup.config();
    for arguments in
        [&["explain", "--client", "billing", "--cert", "odd.pem"][..], &["cert", "show", "odd.pem"]]
    {
        for format in ["text", "json"] {
            let mut command = program(setup.directory.path());
            let output = command.args(arguments).args(["--format", format]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(!said.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(!said.contains(['\r', '\u{2028}', '\u{202e}']), "{said:?}");
            assert!(
                !said.lines().any(|line| line.starts_with('{') && line.contains("\"accepted\":true}")),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_proof_of_another_kind_beside_the_certificate_binds_nothing() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    let body = b"grant_type=client_credentials&client_id=billing";
    let answer =
        server.connect(Some(&billing)).post_body("/token", body, "DPoP: eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.\r\n");
    let answer = answer.unwrap();
    assert_eq!((answer.status, &answer.json()["token_type"]), (200, &"Bearer".into()), "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let cnf = server.introspect(&token, &[]).json()["cnf"].clone();
    assert_eq!(
        cnf,
        serde_json::json!({ "x5t#S256": billing.thumbprint() }),
        "one certificate and nothing else"
    );
}

#[test]
fn no_data_is_taken_before_the_handshake_is_done() {
    let server = Setup { tls: ", resumption: 10m".to_owned(), ..Setup::new() }.start();
    let address = server.address(Kind::Mtls).to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_3", "-connect", &address, "-ign_eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl program is installed");
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let said = String::from_utf8_lossy(&client.wait_with_output().unwrap().stdout).into_owned();
    assert!(said.contains("New Session Ticket arrived"), "{said}");
    assert!(said.contains("Max Early Data: 0") && !said.contains("Early data was accepted"), "{said}");
}

#[test]
fn a_certificate_of_a_ca_is_no_client_of_a_pki_and_may_be_registered() {
    let setup = Setup::new();
    let own = Authority::new(&setup.pki.template("edge")).unwrap();
    setup.pinned("edge", &[&Shown::from(own.identity())]);
    setup.clock.advance(DAY / 24);
    let server = setup.start();
    let with_ca = billing(&server, |builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        let (ca, _) = openssl_authority(&server.setup.pki.corp);
        let identifier =
            AuthorityKeyIdentifier::new().keyid(true).build(&builder.x509v3_context(Some(&ca), None));
        builder.append_extension(identifier.unwrap()).unwrap();
    });
    assert!(!accepts(&server, "billing", &with_ca));
    assert!(accepts(&server, "edge", &Shown::from(own.identity())));
}
