//! Sets from a real HTTPS server on loopback, with times of our own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::slice::from_ref;
use std::sync::Mutex as Shared;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::pki::fetch::OutgoingSettings;
use crate::pki::fetch::server::{Server, response};
use crate::pki::workshop::{Authority, Identity, KeyKind, LeafPurpose, Template};
use crate::registry::tests::{NOW, jwk, self_signed, template};

const MAX: usize = 3;

/// The server of a client that publishes its certificates.
struct Publisher {
    server: Server,
    answer: Arc<Shared<Vec<u8>>>,
    settings: OutgoingSettings,
}

impl Publisher {
    fn new() -> Self {
        let now = SystemClock.now();
        let (begin, end) = (now.minus(Duration::from_secs(3600)), now.plus(Duration::from_secs(3600)));
        let authority = Authority::new(&Template::new("CA", begin, end)).unwrap();
        let mut of_server = Template::new("edge", begin, end);
        of_server.ip = vec!["127.0.0.1".parse().unwrap()];
        of_server.purpose = LeafPurpose::Server;
        let answer = Arc::<Shared<Vec<u8>>>::default();
        let said = answer.clone();
        let server = Server::https(&authority.issue(&of_server).unwrap(), move |request, stream| {
            let answer = said.lock().unwrap().clone();
            let is_known = request.header("if-none-match").is_some_and(|known| {
                String::from_utf8_lossy(&answer).contains(&format!("\r\netag: {known}\r\n"))
            });
            stream.write_all(if is_known { b"HTTP/1.1 304 Not Modified\r\n\r\n" } else { &answer })
        });
        let settings = OutgoingSettings {
            roots: vec![authority.identity().certificate_der().to_vec()],
            allow: vec!["127.0.0.0/8".parse().unwrap()],
        };
        Self { server, answer, settings }
    }

    fn say(&self, head: &str, body: &[u8]) {
        *self.answer.lock().unwrap() = response(head, body);
    }

    fn publish(&self, keys: &[&str]) {
        self.say("200 OK", &set_of(keys));
    }

    fn uri(&self) -> Url {
        self.server.url("/jwks.json")
    }

    fn sets(&self) -> JwkSets {
        self.sets_in(None)
    }

    fn sets_in(&self, directory: Option<PathBuf>) -> JwkSets {
        JwkSets::new(directory, Arc::new(Outgoing::new(&self.settings).unwrap()))
    }

    fn requests(&self) -> usize {
        self.server.asked().len()
    }
}

fn set_of(keys: &[&str]) -> Vec<u8> {
    format!("{{\"keys\":[{}]}}", keys.join(",")).into_bytes()
}

/// A certificate, as JWK and by thumbprint.
fn certificate() -> (String, Thumbprint) {
    let identity = self_signed(&template());
    (jwk(&identity, KeyKind::P256), thumbprint(&identity))
}

fn thumbprint(identity: &Identity) -> Thumbprint {
    Thumbprint::of(identity.certificate_der())
}

fn changed(added: &[Thumbprint], removed: &[Thumbprint]) -> Asked {
    let sorted = |list: &[Thumbprint]| {
        let set: std::collections::BTreeSet<_> = list.iter().copied().collect();
        Vec::from_iter(set)
    };
    Asked::Changed { added: sorted(added), removed: sorted(removed) }
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn is_due(sets: &JwkSets, uri: &Url, now: Timestamp) -> bool {
    sets.due(from_ref(uri), now) == from_ref(uri)
}

fn in_force(sets: &JwkSets, uri: &Url) -> Vec<Thumbprint> {
    sets.of(uri).pins.keys().copied().collect()
}

#[tokio::test]
async fn a_client_changes_over_by_publishing_its_next_certificate() {
    let (publisher, (one, first), (two, second)) = (Publisher::new(), certificate(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    assert!(sets.of(&uri).pins.is_empty() && sets.of(&uri).fetched_at.is_none());
    publisher.publish(&[&one]);
    assert_eq!(sets.ask(&uri, MAX, Asking::Due, NOW).await, changed(&[first], &[]));
    let set = sets.of(&uri);
    assert_eq!((set.fetched_at, set.trouble.as_deref()), (Some(NOW), None));
    let pin = &set.pins[&first];
    assert_eq!((pin.source.as_str(), pin.certificate.is_some()), ("jwks_uri", true));

    publisher.publish(&[&one, &two]);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(60)).await, changed(&[second], &[]));
    publisher.publish(&[&two]);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(120)).await, changed(&[], &[first]));
    assert_eq!(in_force(&sets, &uri), [second]);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(180)).await, Asked::Unchanged);
    // A set without any key says that there is no certificate any more.
    publisher.publish(&[]);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(240)).await, changed(&[], &[second]));
    assert_eq!((in_force(&sets, &uri).len(), sets.of(&uri).trouble.as_deref()), (0, None));
}

#[tokio::test]
async fn unknown_certificates_cause_one_request_a_minute_whatever_comes_of_it() {
    let (publisher, (one, _)) = (Publisher::new(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    let unknown = Asking::UnknownCertificate;
    publisher.say("500 Internal Server Error", b"");
    assert!(sets.is_askable(&uri, NOW));
    assert_eq!(sets.ask(&uri, MAX, unknown, NOW).await, Asked::Failed);
    publisher.publish(&[&one]);
    for seconds in [0, 1, 59] {
        assert!(!sets.is_askable(&uri, later(seconds)), "{seconds}");
        assert_eq!(sets.ask(&uri, MAX, unknown, later(seconds)).await, Asked::TooSoon);
        assert_eq!(sets.ask(&uri, MAX, Asking::Due, later(seconds)).await, Asked::TooSoon);
        assert!(!is_due(&sets, &uri, later(seconds)));
    }
    assert_eq!(publisher.requests(), 1);
    assert!(sets.is_askable(&uri, later(60)));
    assert!(matches!(sets.ask(&uri, MAX, unknown, later(60)).await, Asked::Changed { .. }));
    assert!(!sets.is_askable(&uri, later(119)) && sets.is_askable(&uri, later(120)));
    // Each URL has a minute of its own.
    let other = publisher.server.url("/other.json");
    assert!(sets.is_askable(&other, later(60)));
    assert_eq!(publisher.requests(), 2);
    // A clock that was set back locks nobody out.
    assert!(sets.is_askable(&uri, NOW));
    assert!(is_due(&sets, &uri, NOW));
}

#[tokio::test]
async fn a_set_is_due_when_its_headers_say_so_within_a_minute_and_a_day() {
    let (publisher, (one, _)) = (Publisher::new(), certificate());
    let uri = publisher.uri();
    for (header, seconds) in [
        ("", 3600),
        ("cache-control: max-age=300", 300),
        ("cache-control: max-age=300\r\nage: 100", 200),
        ("cache-control: max-age=3", 60),
        ("cache-control: no-cache", 60),
        ("cache-control: max-age=99999999", 86_400),
    ] {
        let sets = publisher.sets();
        assert!(is_due(&sets, &uri, NOW));
        let head = if header.is_empty() { "200 OK".to_owned() } else { format!("200 OK\r\n{header}") };
        publisher.say(&head, &set_of(&[&one]));
        assert!(matches!(sets.ask(&uri, MAX, Asking::Due, NOW).await, Asked::Changed { .. }));
        assert!(!is_due(&sets, &uri, later(seconds - 1)), "{header}");
        assert_eq!(sets.ask(&uri, MAX, Asking::Due, later(seconds - 1)).await, Asked::TooSoon);
        assert!(is_due(&sets, &uri, later(seconds)), "{header}");
    }
}

#[tokio::test]
async fn what_is_no_set_keeps_the_last_good_one() {
    let (publisher, (one, first)) = (Publisher::new(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    publisher.publish(&[&one]);
    sets.ask(&uri, MAX, Asking::Due, NOW).await;
    let many: Vec<_> = (0..=MAX).map(|_| certificate().0).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let other_host = format!("302 Found\r\nlocation: https://localhost:{}/", publisher.server.port());
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    for (index, (head, body, expected)) in [
        ("503 Service Unavailable", &b""[..], "answered 503"),
        (&other_host, b"", "redirects to another host"),
        ("200 OK", large.as_bytes(), "sent more than the 262144 bytes"),
        ("200 OK", b"", "not JSON"),
        ("200 OK", b"<html>", "not JSON"),
        ("200 OK", b"{\"keys\":[]} {}", "not JSON"),
        ("200 OK", b"\xEF\xBB\xBF{\"keys\":[]}", "not JSON"),
        ("200 OK", b"keys: []", "not JSON"),
        ("200 OK", deep.as_bytes(), "not JSON"),
        ("200 OK", b"[]", "not an object"),
        ("200 OK", b"{}", "has no `keys`"),
        ("200 OK", b"{\"keys\":null}", "not a list"),
        ("200 OK", b"{\"keys\":{}}", "not a list"),
        ("200 OK", b"{\"keys\":[],\"keys\":[]}", "has `keys` twice"),
        ("200 OK", b"{\"keys\":[{}]}", "no certificate that could be used: key 1: a key without `x5c`"),
        ("200 OK", b"{\"keys\":[1,null]}", "no certificate that could be used: key 1: "),
        ("200 OK", &set_of(&many), "more than 3 certificates"),
    ]
    .into_iter()
    .enumerate()
    {
        publisher.say(head, body);
        let now = later(60 * (u64::try_from(index).unwrap() + 1));
        assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, now).await, Asked::Failed, "{expected}");
        let set = sets.of(&uri);
        let trouble = set.trouble.as_deref().unwrap_or_default();
        assert!(trouble.contains(expected), "{expected}: {trouble}");
        assert!(trouble.len() < 1000);
        assert_eq!((in_force(&sets, &uri), set.fetched_at), (vec![first], Some(NOW)));
    }
    publisher.publish(&[&one]);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(9999)).await, Asked::Unchanged);
    assert_eq!((sets.of(&uri).trouble.as_deref(), sets.of(&uri).fetched_at), (None, Some(later(9999))));
}

#[tokio::test]
async fn an_address_inside_is_asked_only_if_the_configuration_names_it() {
    let mut publisher = Publisher::new();
    publisher.publish(&[]);
    publisher.settings.allow.clear();
    let sets = publisher.sets();
    assert_eq!(sets.ask(&publisher.uri(), MAX, Asking::Due, NOW).await, Asked::Failed);
    assert!(sets.of(&publisher.uri()).trouble.is_some());
    assert_eq!(publisher.requests(), 0);
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let (publisher, (one, first)) = (Publisher::new(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    publisher.say("200 OK\r\netag: \"1\"", &set_of(&[&one, "{}", "5"]));
    sets.ask(&uri, MAX, Asking::Due, NOW).await;
    let trouble = sets.of(&uri).trouble.clone();
    assert!(trouble.is_some());
    // An answer that is refused is not the one to compare with.
    publisher.say("200 OK\r\netag: \"2\"", b"{");
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(60)).await, Asked::Failed);
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(120)).await, Asked::Failed);
    publisher.say("200 OK\r\netag: \"1\"", b"unused");
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, later(180)).await, Asked::Unchanged);
    let set = sets.of(&uri);
    assert_eq!((in_force(&sets, &uri), set.fetched_at), (vec![first], Some(later(180))));
    assert_eq!((set.trouble.clone(), set.skipped.len()), (trouble, 2));
    assert!(!is_due(&sets, &uri, later(180 + 3599)));
    // Under another bound the set is read anew.
    publisher.say("200 OK\r\netag: \"1\"", &set_of(&[]));
    assert!(matches!(
        sets.ask(&uri, MAX + 1, Asking::UnknownCertificate, later(240)).await,
        Asked::Changed { .. }
    ));
    let conditions = publisher.server.asked();
    let conditions = conditions.iter().map(|request| request.header("if-none-match"));
    assert_eq!(conditions.collect::<Vec<_>>(), [None, Some("\"1\""), Some("\"1\""), Some("\"1\""), None]);
}

#[tokio::test]
async fn all_who_wait_share_one_exchange_and_one_of_them_tells() {
    let (publisher, (one, first)) = (Publisher::new(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    publisher.publish(&[&one]);
    let ask = || sets.ask(&uri, MAX, Asking::UnknownCertificate, NOW);
    let came = tokio::join!(ask(), ask(), sets.ask(&uri, MAX, Asking::Due, NOW));
    assert_eq!(came, (changed(&[first], &[]), Asked::ByAnother, Asked::ByAnother));
    assert_eq!(publisher.requests(), 1);
}

#[tokio::test]
async fn who_goes_away_leaves_the_exchange_to_the_next_one() {
    let (publisher, (one, first)) = (Publisher::new(), certificate());
    let (sets, uri) = (publisher.sets(), publisher.uri());
    publisher.publish(&[&one]);
    tokio::select! {
        biased;
        came = sets.ask(&uri, MAX, Asking::UnknownCertificate, NOW) => panic!("{came:?} at once"),
        () = std::future::ready(()) => {}
    }
    assert!(sets.is_askable(&uri, NOW));
    assert!(is_due(&sets, &uri, NOW));
    assert_eq!(sets.ask(&uri, MAX, Asking::UnknownCertificate, NOW).await, changed(&[first], &[]));
    assert_eq!(publisher.requests(), 1);
    assert!(!sets.is_askable(&uri, NOW) && !is_due(&sets, &uri, NOW));
}

#[tokio::test]
async fn the_last_good_set_is_in_force_after_a_restart() {
    let (publisher, (one, first)) = (Publisher::new(), certificate());
    let (directory, uri) = (TempDir::new().unwrap(), publisher.uri());
    let path = directory.path().join("made/jwks");
    let sets = publisher.sets_in(Some(path.clone()));
    assert!(!path.exists());
    publisher.say("200 OK\r\netag: \"1\"", &set_of(&[&one, "{}"]));
    sets.ask(&uri, MAX, Asking::Due, NOW).await;
    publisher.say("200 OK", b"{");
    sets.ask(&uri, MAX, Asking::UnknownCertificate, later(60)).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

    fs::write(path.join("noise"), "{").unwrap();
    let again = publisher.sets_in(Some(path.clone()));
    let set = again.of(&uri);
    assert_eq!((in_force(&again, &uri), set.fetched_at, set.skipped.len()), (vec![first], Some(NOW), 1));
    assert!(!is_due(&again, &uri, later(3599)));
    assert!(is_due(&again, &uri, later(3600)));
    publisher.say("200 OK\r\netag: \"1\"", b"unused");
    assert_eq!(again.ask(&uri, MAX, Asking::UnknownCertificate, later(61)).await, Asked::Unchanged);
    assert_eq!(publisher.server.asked().last().unwrap().header("if-none-match"), Some("\"1\""));

    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    let file = files.iter().find(|file| file.extension().is_some()).unwrap();
    let name = file.file_stem().unwrap().to_str().unwrap();
    assert!(files.len() == 2 && name.len() == 64, "{files:?}");
    // A file of another URL, and one that is cut off, are as good as none.
    let content = fs::read_to_string(file).unwrap();
    for broken in [content.replace("jwks.json", "other.json"), content[..content.len() / 2].to_owned()] {
        fs::write(file, &broken).unwrap();
        let third = publisher.sets_in(Some(path.clone()));
        assert!(third.of(&uri).pins.is_empty() && third.of(&uri).fetched_at.is_none());
        assert!(is_due(&third, &uri, NOW));
    }
    fs::write(file, &content).unwrap();
    again.keep_only(from_ref(&uri));
    assert!(file.exists() && !again.of(&uri).pins.is_empty());
    again.keep_only(&[]);
    assert!(!file.exists() && again.of(&uri).pins.is_empty());
}

#[test]
fn a_key_that_does_not_count_leaves_the_others_in_force() {
    let (good, other) = (self_signed(&template()), self_signed(&template()));
    let mut of_server = template();
    of_server.purpose = LeafPurpose::Server;
    let right = jwk(&good, KeyKind::P256);
    let odd = jwk(&other, KeyKind::P256);
    let without = |json: &str, from: &str, to: &str| {
        assert!(json.contains(from), "{json}");
        json.replace(from, to)
    };
    let x5c = odd.split("\"x5c\"").nth(1).unwrap();
    let mismatch = format!("{}\"x5c\"{x5c}", right.split("\"x5c\"").next().unwrap());
    let wrong = [
        (mismatch, "is not the key of the JWK"),
        (without(&odd, "\"use\"", "\"d\":\"AA\",\"use\""), "a private or symmetric key"),
        (without(&odd, "\"use\"", "\"d\":null,\"use\""), "a private or symmetric key"),
        (without(&odd, "\"EC\"", "\"AKP\""), "not a type of key"),
        (without(&odd, "[\"M", "[\"AAAA"), ""),
        (without(&odd, "[\"M", "[\"-M"), "not standard base64"),
        (jwk(&self_signed(&of_server), KeyKind::P256), "lacks clientAuth"),
        (without(&odd, "\"use\"", "\"kty\":\"EC\",\"use\""), "`kty` is there twice"),
        (without(&odd, "\"use\"", "\"x5c\":[],\"use\""), "`x5c` is there twice"),
        ("[]".to_owned(), "a list stands where"),
        ("true".to_owned(), "a single value stands where"),
    ];
    for (key, expected) in &wrong {
        let found = set::read(&set_of(&[key, &right]), MAX).unwrap();
        assert_eq!(found.pins.into_keys().collect::<Vec<_>>(), [thumbprint(&good)], "{key}");
        let trouble = found.trouble.unwrap_or_default();
        assert!(trouble.contains("key 1: ") && trouble.contains(expected), "{expected}: {trouble}");
        assert_eq!(found.skipped.len(), 1);
    }
    // Keys for something else are nobody's trouble.
    for key in [
        without(&odd, "\"sig\"", "\"enc\""),
        format!("{}\"x\":1}}", odd.split("\"use\"").next().unwrap()).replace(",\"x\":1", ""),
        right.clone(),
    ] {
        let found = set::read(&set_of(&[&right, &key]), MAX).unwrap();
        assert_eq!((found.pins.len(), found.trouble), (1, None), "{key}");
        assert!(found.skipped[0].starts_with("key 2: "), "{:?}", found.skipped);
    }
    let found = set::read(&set_of(&[&right, &without(&odd, "\"use\":\"sig\",", "")]), MAX).unwrap();
    assert_eq!((found.pins.len(), found.skipped.len()), (2, 0));
}

#[test]
fn a_stranger_cannot_make_very_many_sentences() {
    let (right, _) = certificate();
    let keys: Vec<_> = std::iter::repeat_n("{}", 50_000).chain([right.as_str()]).collect();
    let found = set::read(&set_of(&keys), MAX).unwrap();
    assert_eq!((found.pins.len(), found.skipped.len()), (1, 11));
    assert_eq!(found.skipped[10], "and 49990 more");
}

proptest! {
    #[test]
    fn any_answer_is_a_set_or_a_sentence(
        noise in "[\\[\\]{}\":,a-z0-9.-]{0,40}",
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        for body in [noise.as_bytes(), &bytes, &set_of(&[&noise]), format!("{{\"keys\":{noise}}}").as_bytes()] {
            if let Ok(found) = set::read(body, MAX) {
                prop_assert!(found.pins.is_empty());
            }
        }
    }
}
