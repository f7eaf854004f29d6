//! Certificates in files beside the document: what a file may hold, and where the list of them stands.

use std::process::Command;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;

use super::*;
use crate::oauth::AuthMethod;

#[test]
fn certificate_files_hold_one_certificate_each_as_pem_or_der() {
    let fixture = Fixture::new();
    let (one, two) = (self_signed(&template()), self_signed(&template()));
    fixture.write("one.pem", one.certificate_pem());
    fixture.write("two.crt", two.certificate_der());
    fixture.write("both.pem", one.certificate_pem() + &two.certificate_pem());
    fixture.write("key.pem", one.certificate_pem() + &one.key_pem());
    fixture.write("text.pem", "nothing");
    let elsewhere = fixture.directory.path().join("elsewhere.pem");
    fs::write(&elsewhere, one.certificate_pem()).unwrap();

    assert_eq!(fixture.problems_of(&pinned("edge", "[one.pem, two.crt]")), [""; 0]);
    let registry = fixture.start();
    assert_eq!(pins(&registry, "edge"), 2);
    assert_eq!(find(&registry, "edge").unwrap().credential.method(), AuthMethod::SelfSignedTlsClientAuth);
    assert_eq!(fixture.problems_of(&pinned("edge", &format!("[{}]", elsewhere.display()))), [""; 0]);
    assert_eq!(fixture.problems_of(&pinned("edge", "[../elsewhere.pem]")), [""; 0]);

    for (files, expected) in [
        ("[both.pem]", "3:16: error: \"both.pem\": it holds 2 certificates"),
        ("[one.pem, key.pem]", "3:25: error: \"key.pem\": there is a private key"),
        ("[text.pem]", "3:16: error: \"text.pem\": there is no PEM"),
        ("[no.pem]", "3:16: error: \"no.pem\": there is no such file"),
        ("[.]", "3:16: error: \".\": this is not a regular file"),
        ("[/dev/zero]", "3:16: error: \"/dev/zero\": this is not a regular file"),
        ("[one.pem, ./one.pem]", "3:25: warning: this certificate is listed twice"),
        ("[]", "3:15: error: the list is empty"),
        ("one.pem", "3:15: error: this is not a list"),
        ("[a, b, c, d, e, f]", "3:31: error: these are more than 5 certificates"),
    ] {
        let problems = fixture.problems_of(&pinned("edge", files));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{files}: {problems:?}");
    }
}

#[test]
fn a_certificate_that_may_not_authenticate_clients_is_refused_and_dates_are_warnings() {
    let fixture = Fixture::new();
    let mut odd = template();
    odd.purpose = LeafPurpose::Server;
    fixture.write("server.pem", self_signed(&odd).certificate_pem());
    odd.purpose = LeafPurpose::Unsaid;
    (odd.not_before, odd.not_after) = (NOW.minus(days(9)), NOW.minus(days(2)));
    fixture.write("old.pem", self_signed(&odd).certificate_pem());
    (odd.not_before, odd.not_after) = (NOW.plus(days(2)), NOW.plus(days(9)));
    fixture.write("new.pem", self_signed(&odd).certificate_pem());
    (odd.not_before, odd.not_after) = (NOW, NOW);
    fixture.write("now.pem", self_signed(&odd).certificate_pem());

    let problems = fixture.problems_of(&pinned("edge", "[server.pem]"));
    assert!(
        problems[0].contains("error: the extended key usage of the certificate lacks clientAuth"),
        "{problems:?}"
    );
    let problems = fixture.problems_of(&pinned("edge", "[old.pem, new.pem, now.pem]"));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("3:16: warning: the certificate expired at"));
    assert!(problems[1].starts_with("3:25: warning: the certificate is not valid before"));
}

#[test]
fn a_certificate_whose_key_proves_too_little_is_refused() {
    let fixture = Fixture::new();
    for (bits, refused) in [(1024, true), (2048, false)] {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
        certificate.set_not_before(&Asn1Time::from_unix(NOW.minus(days(1)).as_unix()).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::from_unix(NOW.plus(days(9)).as_unix()).unwrap()).unwrap();
        certificate.set_pubkey(&key).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        fixture.write("edge.pem", certificate.build().to_pem().unwrap());
        let problems = fixture.problems_of(&pinned("edge", "[edge.pem]"));
        assert_eq!(problems.len(), usize::from(refused), "{problems:?}");
        let told = "error: the certificate cannot be used: its RSA key has 1024 bits";
        assert!(problems.iter().all(|problem| problem.contains(told)), "{problems:?}");
    }
}

#[test]
fn a_pkcs12_file_is_taken_for_its_certificate_alone_and_else_told_how_to_take_it_out() {
    let fixture = Fixture::new();
    let identity = self_signed(&template());
    fixture.write("a'b.p12", identity.to_pkcs12(&[], "secret").unwrap());
    let problems = fixture.problems_of(&pinned("edge", "[\"a'b.p12\"]"));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("3:16: error: \"a'b.p12\": it does not open"), "{problems:?}");
    // With the empty password it opens, and has a private key in it.
    fixture.write("a'b.p12", identity.to_pkcs12(&[], "").unwrap());
    let (_, problems) = fixture.load(None);
    assert!(problems[0].contains("there is a private key in it"), "{problems:?}");

    let line = problems[0].split('`').nth(1).unwrap();
    assert_eq!(line, "openssl pkcs12 -in 'a'\\''b.p12' -clcerts -nokeys -out 'a'\\''b.pem'");
    let shell = format!("{line} -passin pass:");
    let run =
        Command::new("sh").args(["-c", &shell]).current_dir(&fixture.settings.directory).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(fixture.problems_of(&pinned("edge", "[\"a'b.pem\"]")), [""; 0]);

    let export = "openssl pkcs12 -export -nokeys -in \"a'b.pem\" -passout pass: -out alone.pem";
    let run =
        Command::new("sh").args(["-c", export]).current_dir(&fixture.settings.directory).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(fixture.problems_of(&pinned("edge", "[alone.pem]")), [""; 0]);
    assert_eq!(pins(&fixture.start(), "edge"), 1);
}

#[test]
fn the_places_of_certificates_are_known_whether_their_files_are_there_or_not() {
    let fixture = Fixture::with(&[(
        "a.yaml",
        &format!("{BILLING}---\n{}", pinned("edge", "\n  - one.pem\n  - 'sub/two.pem'")),
    )]);
    let identity = self_signed(&template());
    fixture.write("one.pem", identity.certificate_pem());
    let (first, _) = fixture.load(None);
    let of = |registry: &Registry, id: &str| registry.certificate_places(&ClientId::parse(id).unwrap());
    let places = of(&first, "edge").unwrap();
    assert_eq!((&*places.document.file, places.document.line), (&*fixture.path("a.yaml"), 6));
    assert_eq!(places.list.map(|at| (at.line, at.column)), Some((9, 3)));
    let entries: Vec<_> = places
        .entries
        .iter()
        .map(|entry| {
            (entry.name.as_str(), entry.path.clone(), entry.thumbprint, entry.at.line, entry.at.column)
        })
        .collect();
    let thumbprint = crate::pki::Thumbprint::of(identity.certificate_der());
    assert_eq!(
        entries,
        [
            ("one.pem", fixture.path("one.pem"), Some(thumbprint), 9, 5),
            ("sub/two.pem", fixture.path("sub/two.pem"), None, 10, 5),
        ]
    );
    let places = of(&first, "billing").unwrap();
    assert!(places.list.is_none() && places.entries.is_empty());
    assert_eq!(of(&first, "nobody"), None);

    fixture.write("a.yaml", format!("# moved\n{BILLING}nonsense: 1\n"));
    let (second, _) = fixture.load(Some(&first));
    assert_eq!((ids(&second), of(&second, "edge")), (vec!["billing", "edge"], None));
}
