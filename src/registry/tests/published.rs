//! Clients that publish their certificates at a `jwks_uri`: what the document may say.

use std::process::Command;

use url::Url;

use super::*;

fn publishing(name: &str, uri: &str) -> String {
    pinned(name, "x").replace("certificates: x", &format!("jwks_uri: {uri}"))
}

#[test]
fn a_client_may_publish_its_certificates_instead() {
    let uri = "https://edge.example.com:8443/keys/jwks.json?of=edge";
    let registry = Fixture::with(&[("a.yaml", &publishing("edge", uri))]).start();
    let credential = &find(&registry, "edge").unwrap().credential;
    assert_eq!(credential.method(), crate::oauth::AuthMethod::SelfSignedTlsClientAuth);
    assert_eq!(credential.jwks_uri().map(Url::as_str), Some(uri));
    assert_eq!(pins(&registry, "edge"), 0);
    let places = registry.certificate_places(&ClientId::parse("edge").unwrap()).unwrap();
    assert!(places.list.is_none() && places.entries.is_empty());
}

#[test]
fn a_jwks_uri_is_https_and_has_nothing_to_hide() {
    let fixture = Fixture::new();
    let long = format!("https://a.example.com/{}", "x".repeat(2048));
    for (uri, expected) in [
        ("http://a.example.com/jwks", "a jwks_uri begins with https://"),
        ("file:///etc/passwd", "a jwks_uri begins with https://"),
        ("/jwks.json", "a jwks_uri begins with https://"),
        ("https:a.example.com/jwks", "a jwks_uri begins with https://"),
        ("'https:'", "a jwks_uri begins with https://"),
        ("''", "a jwks_uri begins with https://"),
        ("https://", "this is not a URL with a host"),
        ("https:///jwks", "this is not a URL with a host"),
        ("https://a.example.com:99999/", "this is not a URL with a host"),
        ("'https://a.example.com\\jwks'", "a jwks_uri has at most 2048 visible ASCII"),
        ("https://user:hunter2@a.example.com/", "a jwks_uri has no user information"),
        ("https://user@a.example.com/", "a jwks_uri has no user information"),
        ("https://:hunter2@a.example.com/", "a jwks_uri has no user information"),
        ("'https://a.example.com/jwks#x'", "a jwks_uri has no fragment"),
        ("'https://a.example.com/jwks#'", "a jwks_uri has no fragment"),
        ("'https://a.example.com/ jwks'", "a jwks_uri has at most 2048 visible ASCII"),
        ("\"https://a.example.com/\\tjwks\"", "a jwks_uri has at most 2048 visible ASCII"),
        ("https://naïve.example.com/", "a jwks_uri has at most 2048 visible ASCII"),
        (long.as_str(), "a jwks_uri has at most 2048 visible ASCII"),
        ("[https://a.example.com/]", "a list stands where a text belongs"),
    ] {
        let problems = fixture.problems_of(&publishing("edge", uri));
        assert_eq!(problems.len(), 1, "{uri}: {problems:?}");
        assert!(problems[0].starts_with(&format!("3:11: error: {expected}")), "{uri}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn two_clients_that_publish_at_one_url_are_told() {
    let uri = "https://a.example.com/1";
    let fixture =
        Fixture::with(&[("a.yaml", &publishing("alpha", uri)), ("b.yaml", &publishing("beta", uri))]);
    let (_, problems) = fixture.load(None);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("b.yaml:3:11: warning: the client \"alpha\" has this jwks_uri too"),
        "{problems:?}"
    );
}

#[test]
fn another_url_is_another_credential() {
    let fixture = Fixture::with(&[("a.yaml", &publishing("edge", "https://a.example.com/1"))]);
    let first = fixture.start();
    fixture.write("a.yaml", format!("# moved\n{}", publishing("edge", "https://a.example.com/1")));
    let (second, _) = fixture.load(Some(&first));
    assert_eq!(second.difference(&first), Difference::default());
    fixture.write("a.yaml", publishing("edge", "https://a.example.com/2"));
    let (third, _) = fixture.load(Some(&second));
    assert_eq!(third.difference(&second).changed.len(), 1);
}

#[test]
fn a_set_made_as_the_page_says_has_the_certificate_in_it() {
    let page = include_str!("../../../docs/clients.md");
    let block = page.split("```bash\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let fixture = Fixture::new();
    fixture.write("edge-8.pem", self_signed(&template()).certificate_pem());
    let directory = &fixture.settings.directory;
    let made = Command::new("sh").args(["-euc", block]).current_dir(directory).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    let set = fs::read_to_string(fixture.path("jwks.json")).unwrap().replace('\n', " ");
    let document = pinned("edge", "x").replace("certificates: x", &format!("jwks: {set}"));
    assert_eq!(fixture.problems_of(&document), [""; 0]);
}
