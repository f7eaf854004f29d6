//! One document at a time: what it means, and what is wrong with it where.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::pki::SubjectMatcher;

#[test]
fn a_document_with_everything_is_the_client_that_it_describes() {
    let fixture = Fixture::with(&[(
        "a.yaml",
        "client_id: billing
client_name: Billing batch
token_endpoint_auth_method: tls_client_auth
tls_client_auth_subject_dn: CN=billing,O=Example,C=RO
trust_anchors: corp
grant_types: [client_credentials]
scope: invoices:write invoices:read
resources: [https://b.example.com, https://a.example.com, https://b.example.com]
access_token_lifetime: 10m
contacts: [billing-team@example.com]
enabled: false
introspection: { resources: [https://api.example.com] }
",
    )]);
    let registry = fixture.start();
    let client = find(&registry, "billing").unwrap();
    assert_eq!(client.name.as_deref(), Some("Billing batch"));
    assert!(!client.enabled);
    assert_eq!(client.scope.to_string(), "invoices:read invoices:write");
    let resources: Vec<_> = client.resources.iter().map(Audience::as_str).collect();
    assert_eq!(resources, ["https://b.example.com", "https://a.example.com"]);
    assert_eq!(client.lifetime, Some(std::time::Duration::from_secs(600)));
    assert_eq!(client.contacts, ["billing-team@example.com"]);
    assert_eq!(
        client.introspects.iter().map(Audience::as_str).collect::<Vec<_>>(),
        ["https://api.example.com"]
    );
    assert_eq!((client.at.line, client.at.column), (1, 1));
    let Credential::TlsClientAuth { subject, anchors } = &client.credential else { panic!() };
    assert_eq!((subject.parameter(), anchors.as_str()), ("tls_client_auth_subject_dn", "corp"));
}

#[test]
fn what_a_document_does_not_say_has_the_documented_default() {
    let fixture = Fixture::with(&[("a.yaml", BILLING)]);
    let registry = fixture.start();
    let client = find(&registry, "billing").unwrap();
    assert!(client.enabled && client.scope.is_empty() && client.lifetime.is_none());
    assert_eq!(client.grants, crate::oauth::GrantType::ALL.into());
    assert_eq!(client.resources, Vec::from_iter(fixture.settings.default_resource));
    assert!(client.introspects.is_empty() && client.contacts.is_empty() && client.name.is_none());
}

#[test]
fn several_documents_of_a_file_are_several_clients() {
    let both = format!("{BILLING}---\n{}grant_types: []\n", named("api"));
    let registry = Fixture::with(&[("a.yml", &both)]).start();
    assert_eq!(ids(&registry), ["billing", "api"]);
    assert_eq!(find(&registry, "api").unwrap().at.line, 6);
    assert!(find(&registry, "api").unwrap().grants.is_empty());
}

#[test]
fn an_identifier_is_the_text_as_written() {
    for id in ["0123", "no", "1e3", "2001-01-01", "'~'"] {
        let registry =
            Fixture::with(&[("a.yaml", &BILLING.replace("client_id: billing", &format!("client_id: {id}")))])
                .start();
        assert_eq!(ids(&registry), [id.trim_matches('\'')]);
    }
}

/// (a line in place of one of `BILLING` or beyond it, the beginning of the only problem)
#[test]
fn each_wrong_value_is_one_problem_where_it_stands() {
    let fixture = Fixture::new();
    for (line, expected) in [
        ("client_id: ~", "1:1: error: `client_id` is missing"),
        ("client_id: [a]", "1:12: error: a list stands where a text belongs"),
        ("client_id: naïve", "1:12: error: a client_id has visible ASCII"),
        ("token_endpoint_auth_method: client_secret_basic", "2:29: error: this is not a method"),
        ("token_endpoint_auth_method: none", "2:29: error: this is not a method"),
        ("tls_client_auth_san_dns: '*.example.com'", "3:26: error: "),
        ("trust_anchors: corq", "4:16: error: there is no set of trust anchors named \"corq\""),
        ("client_name: \"a\\nb\"", "5:14: error: this is not a line"),
        ("client_name: ''", "5:14: error: this is not a line"),
        ("grant_types: client_credentials", "5:14: error: this is not a list"),
        ("grant_types: [client_credentials, password]", "5:35: error: this is not a grant type"),
        ("scope: 'a  b'", "5:8: error: scope words are separated"),
        ("scope: ''", "5:8: error: scope words are separated"),
        ("scope: [a, b]", "5:8: error: a list stands where a text belongs"),
        ("resources: [/api]", "5:13: error: a resource is an absolute URI"),
        ("resources: ['https://a.example.com#x']", "5:13: error: a resource is an absolute URI"),
        ("resources: []", "1:12: error: the client has a grant and no resource"),
        ("access_token_lifetime: 0s", "5:24: error: an access token lives between 1s and 24h"),
        ("access_token_lifetime: 25h", "5:24: error: an access token lives between 1s and 24h"),
        ("access_token_lifetime: 300", "5:24: error: this is not a duration"),
        ("contacts: someone@example.com", "5:11: error: this is not a list"),
        ("enabled: 'true'", "5:10: error: this is not true or false"),
        ("enabled: yes", "5:10: error: this is not true or false"),
        ("introspection: [https://api.example.com]", "5:16: error: a list stands where `key: value` belongs"),
        ("introspection: {}", "5:16: error: `resources` is missing"),
        ("introspection: {resource: [https://a.example.com]}", "5:16: error: `resources` is missing"),
        (
            "tls_client_auth_subjet_dn: CN=a",
            "5:1: error: unknown key `tls_client_auth_subjet_dn`; did you mean `tls_client_auth_subject_dn`?",
        ),
        ("redirect_uris: [https://a.example.com]", "5:1: error: unknown key `redirect_uris`"),
        ("client_secret: hunter2", "5:1: error: unknown key `client_secret`"),
        ("client_id: again", "5:1: error: the key `client_id` is there twice"),
        ("certificates: [a.pem]", "5:1: error: `certificates` belongs to self_signed_tls_client_auth"),
        ("jwks_uri: https://a.example.com", "5:1: error: `jwks_uri` belongs to self_signed_tls_client_auth"),
        ("tls_client_auth_san_ip: 192.0.2.1", "5:25: error: `tls_client_auth_san_"),
    ] {
        let key = line.split(':').next().unwrap();
        let replaced = BILLING
            .lines()
            .map(|old| if old.starts_with(key) && !line.ends_with("again") { line } else { old });
        let mut lines: Vec<_> = replaced.collect();
        if !lines.contains(&line) {
            lines.push(line);
        }
        let problems = fixture.problems_of(&lines.join("\n"));
        let enough = if line.starts_with("introspection: {r") { 2 } else { 1 };
        assert_eq!(problems.len(), enough, "{line}: {problems:?}");
        assert!(problems[0].starts_with(expected), "{line}: {problems:?}");
        assert!(!problems[0].contains("hunter2"));
    }
}

#[test]
fn a_type_that_the_value_is_not_of_is_refused_when_it_is_registered() {
    let fixture = Fixture::new();
    for (parameter, value) in [
        ("tls_client_auth_san_ip", "api.example.com"),
        ("tls_client_auth_san_ip", "'1.2'"),
        ("tls_client_auth_san_uri", "/x"),
        ("tls_client_auth_san_email", "nobody"),
        ("tls_client_auth_subject_dn", "billing"),
    ] {
        let document =
            BILLING.replace("tls_client_auth_san_dns: billing.example.com", &format!("{parameter}: {value}"));
        let problems = fixture.problems_of(&document);
        let column = parameter.len() + 3;
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("3:{column}: error")),
            "{problems:?}"
        );
    }
}

#[test]
fn exactly_one_subject_rule_is_registered() {
    let fixture = Fixture::new();
    let none = BILLING.replace("tls_client_auth_san_dns: billing.example.com\n", "");
    assert!(fixture.problems_of(&none)[0].starts_with("1:1: error: nothing says which certificates"));
    // RFC 7591 §2: an empty text is as good as none.
    assert!(
        fixture.problems_of(&format!("{none}tls_client_auth_san_dns: ''\n"))[0]
            .starts_with("1:1: error: nothing says")
    );
    assert_eq!(fixture.problems_of(&format!("{BILLING}tls_client_auth_san_uri: ''\n")), [""; 0]);
    let all = SubjectMatcher::PARAMETERS.map(|name| format!("{name}: x\n")).concat();
    assert_eq!(fixture.problems_of(&format!("{none}{all}")).len(), 4);
}

#[test]
fn the_set_of_anchors_may_be_left_out_only_where_there_is_one() {
    let mut fixture = Fixture::new();
    let document = BILLING.replace("trust_anchors: corp\n", "");
    let problems = fixture.problems_of(&document);
    assert!(
        problems[0].contains("`trust_anchors` is missing") && problems[0].contains("corp, internal"),
        "{problems:?}"
    );
    fixture.trust = TrustStore::new([(AnchorSetName::new("only"), anchors(&[&authority("Only")]))].into());
    let registry = fixture.start();
    let Credential::TlsClientAuth { anchors, .. } = &find(&registry, "billing").unwrap().credential else {
        panic!()
    };
    assert_eq!(anchors.as_str(), "only");
    fixture.trust = TrustStore::new(BTreeMap::new());
    assert!(fixture.problems_of(&document)[0].contains("add one to its trust_anchors"));
}

#[test]
fn every_problem_of_every_document_is_told_at_once() {
    let fixture = Fixture::with(&[("b.yaml", "a: [\n"), ("c.yaml", ""), ("d.yaml", "- x\n")]);
    let problems = fixture
        .problems_of(&format!("{BILLING}scope: ' '\nenabled: 1\n---\n{}x: 1\n---\n{BILLING}", named("api")));
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[test]
fn without_a_default_resource_a_client_with_a_grant_names_one() {
    let mut fixture = Fixture::new();
    fixture.settings.default_resource = None;
    assert!(
        fixture.problems_of(BILLING)[0].starts_with("1:12: error: the client has a grant and no resource")
    );
    assert_eq!(fixture.problems_of(&format!("{BILLING}resources: [https://a.example.com]\n")), [""; 0]);
    assert_eq!(fixture.problems_of(&format!("{BILLING}grant_types: []\n")), [""; 0]);
}

#[test]
fn thumbprints_are_pins_without_a_certificate() {
    let fixture = Fixture::new();
    let (base64url, hex) = (
        "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0",
        "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd",
    );
    let document = |list: &str| pinned("edge", list).replace("certificates", "x5t#S256");
    assert_eq!(fixture.problems_of(&document(&format!("[{base64url}]"))), [""; 0]);
    assert_eq!(pins(&fixture.start(), "edge"), 1);
    let problems = fixture.problems_of(&document(&format!("[{base64url}, {hex}, {}]", &hex[..40])));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("error: a thumbprint is") || problems[1].contains("error: a thumbprint is"));
}

#[test]
fn a_self_signed_client_has_exactly_one_source_of_certificates() {
    let fixture = Fixture::new();
    let document = pinned("edge", "[one.pem]");
    let without = document.replace("certificates: [one.pem]\n", "");
    fixture.write("one.pem", self_signed(&template()).certificate_pem());
    for (document, expected) in [
        (without, "1:1: error: nothing says which certificates"),
        (format!("{document}jwks: {{keys: []}}\n"), "4:7: error: `jwks` is there beside `certificates`"),
        (
            format!("{document}jwks_uri: https://a.example.com/jwks\n"),
            "4:11: error: `jwks_uri` is there beside `certificates`",
        ),
        (
            format!("{document}trust_anchors: corp\n"),
            "4:16: error: `trust_anchors` belongs to tls_client_auth",
        ),
        (
            format!("{document}tls_client_auth_san_dns: a.example.com\n"),
            "4:26: error: `tls_client_auth_san_dns` belongs to",
        ),
    ] {
        let problems = fixture.problems_of(&document);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?}");
    }
}

fn with_jwks(keys: &str) -> String {
    pinned("edge", "x").replace("certificates: x", &format!("jwks: {{\"keys\":[{keys}]}}"))
}

#[test]
fn a_jwk_of_every_kind_registers_the_certificate_in_its_x5c() {
    let fixture = Fixture::new();
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048, KeyKind::Ed25519] {
        let identity = self_signed(&Template { key: kind, ..template() });
        assert_eq!(fixture.problems_of(&with_jwks(&jwk(&identity, kind))), [""; 0], "{kind:?}");
        let registry = fixture.start();
        let Credential::SelfSignedTlsClientAuth { pins, .. } = &find(&registry, "edge").unwrap().credential
        else {
            panic!()
        };
        assert_eq!(
            pins.keys().collect::<Vec<_>>(),
            [&crate::pki::Thumbprint::of(identity.certificate_der())]
        );
    }
}

#[test]
fn a_jwk_that_says_one_key_and_certifies_another_is_refused() {
    let fixture = Fixture::new();
    let (one, two) = (self_signed(&template()), self_signed(&template()));
    let right = jwk(&one, KeyKind::P256);
    let der = STANDARD.encode(one.certificate_der());
    let other = STANDARD.encode(two.certificate_der());
    let url_safe = URL_SAFE_NO_PAD.encode(one.certificate_der());
    for (key, expected) in [
        (right.replace(&der, &other), "the key of the certificate in `x5c` is not the key of the JWK"),
        (right.replace("P-256", "P-384"), "`x` is not base64url without padding, or not of the right length"),
        (
            right.replace("P-256", "secp256k1"),
            "the key of the certificate in `x5c` is not the key of the JWK",
        ),
        (right.replace("P-256", "P-257"), "this is not a curve"),
        (right.replace("\"EC\"", "\"oct\""), "this is not a type of key"),
        (right.replace("\"kty\":\"EC\",", ""), "`kty` is missing"),
        (right.replace("\"use\"", "\"d\":\"AA\",\"use\""), "there is a private or symmetric key in the JWK"),
        (right.replace(&der, &url_safe[..url_safe.len() - 3]), "this is not standard base64 with padding"),
        (
            right.replace(&der, &format!("{} {}", &der[..64], &der[64..])),
            "this is not standard base64 with padding",
        ),
        (right.replace(&der, "AAAA"), ""),
        (right.replace(&format!("[\"{der}\"]"), "[]"), "`x5c` is empty"),
        (
            right.replace(&format!("\"{der}\""), &format!("\"{other}\",\"{der}\"")),
            "is not the key of the JWK",
        ),
    ] {
        let problems = fixture.problems_of(&with_jwks(&key));
        let errors: Vec<_> = problems.iter().filter(|problem| problem.contains("error: ")).collect();
        assert!(errors.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
}

#[test]
fn a_jwk_that_tells_the_thumbprint_of_another_certificate_is_refused() {
    let fixture = Fixture::new();
    let (one, two) = (self_signed(&template()), self_signed(&template()));
    let right = jwk(&one, KeyKind::P256);
    let thumbprints = |identity: &Identity| {
        let certificate = Certificate::parse(identity.certificate_der()).unwrap();
        let old = URL_SAFE_NO_PAD.encode(certificate.sha1_thumbprint());
        [("x5t", old), ("x5t#S256", certificate.thumbprint().to_string())]
    };
    let with = |(member, thumbprint): (&str, String)| {
        let told = format!("\"{member}\":\"{thumbprint}\",\"use\"");
        fixture.problems_of(&with_jwks(&right.replace("\"use\"", &told)))
    };
    for right in thumbprints(&one) {
        assert_eq!(with(right), [""; 0]);
    }
    for wrong in thumbprints(&two) {
        let problems = with(wrong);
        assert!(problems[0].contains("is not the thumbprint of the certificate in `x5c`"), "{problems:?}");
    }
}

#[test]
fn keys_without_certificate_or_for_encryption_do_not_count() {
    let fixture = Fixture::new();
    let (one, two) = (self_signed(&template()), self_signed(&template()));
    let (one, two) = (jwk(&one, KeyKind::P256), jwk(&two, KeyKind::P256));
    let bare = two.split(",\"x5c\"").next().unwrap().to_owned() + "}";
    let problems =
        fixture.problems_of(&with_jwks(&format!("{one},{bare},{}", two.replace("\"sig\"", "\"enc\""))));
    assert!(
        problems.len() == 2 && problems.iter().all(|problem| problem.contains("warning")),
        "{problems:?}"
    );
    let problems = fixture.problems_of(&with_jwks(&bare));
    assert!(
        problems.iter().any(|problem| problem.contains("error: no key has a certificate in `x5c`")),
        "{problems:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_in_any_field_gives_a_client_or_problems(
        key in proptest::sample::select(vec![
            "client_id", "scope", "resources", "certificates", "jwks", "x5t#S256", "introspection",
            "tls_client_auth_san_ip", "trust_anchors", "contacts",
        ]),
        value in "([ -~é]|\\[|\\]|\\{|\\}|: |, ){0,40}",
    ) {
        let fixture = Fixture::new();
        fixture.write("a.yaml", BILLING.to_owned() + key + ": " + &value);
        let (registry, problems) = fixture.load(None);
        prop_assert!(registry.clients().count() <= 1);
        prop_assert!(registry.clients().count() == 1 || !problems.is_empty());
    }
}
