//! What `certbound check` says of anchors that are dangerous, ambiguous, or of no use to anybody: each with its exit
//! code, its place, and what to write instead. `serve` refuses the same.

use std::fs;
use std::time::Duration;

use certbound::pki::files::to_pem;
use certbound::pki::workshop::{Authority, Template};
use openssl::pkey::PKey;
use openssl::x509::X509;
use openssl::x509::extension::BasicConstraints;
use serde_json::Value;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::openssl_certificates::certificate;
use crate::support::Setup;
use crate::support::pki::DAY;
use crate::support::program::{Serving, json};

/// What `check` says of this set-up; it has to end with `code`.
fn check(setup: &Setup, code: i32) -> Vec<Value> {
    setup.config();
    let checked = json(code, setup.directory.path(), &["check"]);
    assert_eq!(checked["ok"], code == 0, "{checked:#}");
    checked["problems"].as_array().unwrap().clone()
}

/// The only problem there is; it has to stand where `text` stands in `file`.
fn only_problem(setup: &Setup, severity: &str, file: &str, text: &str) -> String {
    let problems = check(setup, i32::from(severity == "error"));
    let [problem] = &problems[..] else { panic!("not one: {problems:#?}") };
    assert_eq!(problem["severity"], severity, "{problem:#}");
    assert_place(setup, problem, file, text);
    problem["what"].as_str().unwrap().to_owned()
}

fn assert_place(setup: &Setup, problem: &Value, file: &str, text: &str) {
    assert!(problem["file"].as_str().unwrap().ends_with(file), "{problem:#}");
    let contents = fs::read_to_string(setup.path(file)).unwrap();
    let (line, words) = contents.lines().enumerate().find(|(_, line)| line.contains(text)).unwrap();
    let place = (line + 1, words.find(text).unwrap() + 1);
    assert_eq!((&problem["line"], &problem["column"]), (&place.0.into(), &place.1.into()), "{problem:#}");
    assert!(!problem["instead"].as_str().unwrap().is_empty(), "{problem:#}");
}

/// A set-up with nothing wrong but what the test does to it.
fn setup() -> Setup {
    let setup = Setup::new();
    assert_eq!(check(&setup, 0), [] as [Value; 0]);
    setup
}

fn authority(setup: &Setup, cn: &str) -> Authority {
    let now = setup.pki.now;
    Authority::new(&Template::new(cn, now.minus(DAY), now.plus(DAY * 3650))).unwrap()
}

/// Another certificate of the CA: its key and its name, signed by itself or by somebody else.
fn again(ca: &Authority, cn: &str) -> String {
    let key = PKey::private_key_from_der(&ca.identity().key_der()).unwrap();
    let made = certificate(cn, &key, None, |builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    });
    String::from_utf8(made.to_pem().unwrap()).unwrap()
}

#[test]
fn a_ca_of_the_web_is_no_anchor_and_the_sentence_says_why() {
    let setup = setup();
    let own = setup.pki.corp.identity().certificate_pem();
    setup.write("corp.pem", format!("{own}{}", to_pem(&TLS_SERVER_ROOT_CERTS[0])));
    let what = only_problem(&setup, "error", "certbound.yaml", "corp.pem");
    assert!(
        what.contains("public web CA")
            && what.contains("every customer of such a CA could pass for a client here"),
        "{what}"
    );
    let refused = Serving::try_start(setup.directory.path()).err().expect("it must not start");
    assert_eq!(refused.code, Some(1));
    assert!(refused.complaint.contains("public web CA"), "{}", refused.complaint);
}

#[test]
fn a_ca_of_the_web_is_known_by_its_key_under_another_name_and_issuer() {
    let setup = setup();
    let root = X509::from_der(&TLS_SERVER_ROOT_CERTS[7]).unwrap();
    let ca = X509::from_der(setup.pki.corp.identity().certificate_der()).unwrap();
    let ca_key = PKey::private_key_from_der(&setup.pki.corp.identity().key_der()).unwrap();
    let crossed = certificate("Our own CA, honestly", &ca_key, Some((&ca, &ca_key)), |builder| {
        builder.set_pubkey(&root.public_key().unwrap()).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    });
    setup.write("corp.pem", crossed.to_pem().unwrap());
    let what = only_problem(&setup, "error", "certbound.yaml", "corp.pem");
    assert!(what.contains("CN=Our own CA\\, honestly is a public web CA, by its key"), "{what}");

    // Its name alone is no offence.
    let namesake = certificate("x", &ca_key, None, |builder| {
        builder.set_subject_name(root.subject_name()).unwrap();
        builder.set_issuer_name(root.subject_name()).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    });
    setup.write("corp.pem", namesake.to_pem().unwrap());
    assert_eq!(check(&setup, 0), [] as [Value; 0]);
}

#[test]
fn the_bundle_of_the_system_is_refused_in_one_sentence() {
    let setup = setup();
    let bundle: String = TLS_SERVER_ROOT_CERTS.iter().map(|der| to_pem(der)).collect();
    setup.write("corp.pem", bundle);
    let problems = check(&setup, 1);
    let errors: Vec<_> = problems.iter().filter(|problem| problem["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0]["what"].as_str().unwrap().contains("more are public web CAs"), "{errors:#?}");
}

#[test]
fn a_leaf_or_a_private_key_among_the_anchors_is_refused() {
    let setup = setup();
    let leaf = setup.pki.corp.issue(&setup.pki.template("billing")).unwrap();
    setup.write("corp.pem", leaf.certificate_pem());
    let what = only_problem(&setup, "error", "certbound.yaml", "corp.pem");
    assert!(what.contains("CN=billing is not a CA"), "{what}");
    let ca = setup.pki.corp.identity();
    setup.write("corp.pem", format!("{}{}", ca.certificate_pem(), ca.key_pem().as_str()));
    let what = only_problem(&setup, "error", "certbound.yaml", "corp.pem");
    assert!(what.contains("private key"), "{what}");
}

#[test]
fn an_anchor_file_without_an_anchor_is_refused_and_der_needs_no_suffix() {
    let setup = setup();
    let ca = setup.pki.corp.identity();
    for contents in [
        "",
        "# to come\n",
        ca.key_pem().as_str(),
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ] {
        setup.write("corp.pem", contents);
        let what = only_problem(&setup, "error", "certbound.yaml", "corp.pem");
        assert!(what.contains("corp.pem"), "{what}");
    }
    setup.write("corp.pem", ca.certificate_der());
    assert_eq!(check(&setup, 0), [] as [Value; 0], "DER under the name of PEM");
    fs::remove_file(setup.path("corp.pem")).unwrap();
    assert!(only_problem(&setup, "error", "certbound.yaml", "corp.pem").contains("cannot be read"));
}

#[test]
fn two_clients_with_one_rule_under_one_ca_key_are_refused_whatever_its_certificates_are() {
    let mut setup = setup();
    let partner = authority(&setup, "Partner CA");
    setup.write("partner.pem", partner.identity().certificate_pem());
    setup.anchors = " }\n  partner: { file: partner.pem".to_owned();
    let client = |setup: &Setup, id: &str, anchors: &str| {
        let rule = "tls_client_auth_subject_dn: 'CN=svc,O=Example'";
        setup.client(id, &format!("{rule}\ntrust_anchors: {anchors}\n"));
    };
    for id in ["billing", "gateway"] {
        setup.client(id, &format!("tls_client_auth_san_dns: {id}.example.com\ntrust_anchors: corp\n"));
    }
    client(&setup, "ours", "corp");
    client(&setup, "theirs", "partner");
    assert_eq!(check(&setup, 0), [] as [Value; 0], "two CAs: each speaks for its own");

    // The partner's set gets our CA's key in another certificate, beside its own.
    let renewed = again(&setup.pki.corp, "Corp CA, the next generation");
    setup.write("partner.pem", format!("{}{renewed}", partner.identity().certificate_pem()));
    let problems = check(&setup, 1);
    assert_eq!(problems.len(), 2, "each file hears of it: {problems:#?}");
    for problem in &problems {
        let is_ours = problem["file"].as_str().unwrap().ends_with("ours.yaml");
        let (file, other) = if is_ours { ("ours", "theirs") } else { ("theirs", "ours") };
        assert_place(&setup, problem, &format!("clients.d/{file}.yaml"), "'CN=svc");
        let what = problem["what"].as_str().unwrap();
        assert!(what.contains(other) && what.contains("under anchors that share a key"), "{problem:#}");
    }

    // A name in another order is another name; one that is switched off is in nobody's way.
    setup.client("ours", "tls_client_auth_subject_dn: 'O=Example,CN=svc'\ntrust_anchors: corp\n");
    assert_eq!(check(&setup, 0), [] as [Value; 0]);
    setup.client(
        "ours",
        "tls_client_auth_subject_dn: 'cn=SVC,o=example'\ntrust_anchors: corp\nenabled: false\n",
    );
    assert_eq!(check(&setup, 0), [] as [Value; 0]);
    setup.client("ours", "tls_client_auth_subject_dn: 'cn=SVC,o=example'\ntrust_anchors: corp\n");
    assert_eq!(check(&setup, 1).len(), 2, "the same name in other letters");
}

#[test]
fn an_expired_anchor_beside_a_good_one_is_a_warning() {
    let setup = setup();
    let now = setup.pki.now;
    let old =
        Authority::new(&Template::new("Old CA", now.minus(DAY * 30), now.minus(Duration::from_secs(60))));
    let own = setup.pki.corp.identity().certificate_pem();
    setup.write("corp.pem", format!("{own}{}", old.unwrap().identity().certificate_pem()));
    let what = only_problem(&setup, "warning", "certbound.yaml", "corp.pem");
    assert!(what.contains("CN=Old CA has expired on"), "{what}");
}

#[test]
fn a_set_that_no_client_names_is_a_warning() {
    let mut setup = setup();
    setup.write("spare.pem", authority(&setup, "Spare CA").identity().certificate_pem());
    setup.anchors = " }\n  spare: { file: spare.pem".to_owned();
    for id in ["billing", "gateway"] {
        setup.client(id, &format!("tls_client_auth_san_dns: {id}.example.com\ntrust_anchors: corp\n"));
    }
    let what = only_problem(&setup, "warning", "certbound.yaml", "spare.pem");
    assert!(what.contains("no client names the anchor set `spare`"), "{what}");
    let named = "tls_client_auth_san_dns: a.example.com\ntrust_anchors: spare\nenabled: false\n";
    setup.client("later", named);
    assert_eq!(check(&setup, 0), [] as [Value; 0], "one that is switched off names it too");
}

#[test]
fn a_certificate_that_two_clients_registered_is_a_warning() {
    let setup = setup();
    let shared = setup.pki.self_signed("shared");
    setup.pinned("edge-7", &[&shared]);
    setup.pinned("edge-8", &[&shared]);
    let what = only_problem(&setup, "warning", "clients.d/edge-8.yaml", "edge-8-0.der");
    assert!(what.contains("edge-7"), "{what}");
}
