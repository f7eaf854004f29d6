//! Against real servers on loopback: what is taken, what is refused, and in which words.

use std::io::Write;
use std::thread;

use super::server::{Request, Server, response};
use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::pki::workshop::{Authority, LeafPurpose, Template};

const BOUNDS: FetchBounds = FetchBounds { size: 1000, time: Duration::from_secs(20) };

/// May reach loopback.
fn settings() -> OutgoingSettings {
    OutgoingSettings { allow: vec!["127.0.0.0/8".parse().unwrap()], ..OutgoingSettings::default() }
}

fn outgoing() -> Outgoing {
    Outgoing::new(&settings()).unwrap()
}

/// Answers everything with these bytes.
fn saying(bytes: impl Into<Vec<u8>>) -> Server {
    let bytes = bytes.into();
    Server::http(move |_, stream| stream.write_all(&bytes))
}

async fn get(server: &Server) -> Result<Fetched, FetchError> {
    outgoing().get(&server.url("/list?token=s3cret"), &Validators::default(), BOUNDS).await
}

async fn refusal(bytes: impl Into<Vec<u8>>) -> String {
    let server = saying(bytes);
    let refusal = get(&server).await.unwrap_err().to_string();
    assert!(refusal.contains(&format!("127.0.0.1:{}", server.port())), "{refusal}");
    assert!(!refusal.contains("s3cret") && !refusal.contains("/list"), "{refusal}");
    refusal
}

fn body_of(fetched: Fetched) -> Vec<u8> {
    match fetched {
        Fetched::Body { bytes, .. } => bytes,
        Fetched::Unchanged { .. } => panic!("no body"),
    }
}

#[tokio::test]
async fn a_body_comes_with_its_validators_and_its_lifetime() {
    let server = saying(response(
        "200 OK\r\netag: \"7\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\ncache-control: max-age=60",
        b"list",
    ));
    let validators = Validators {
        etag: Some("\"7\"".into()),
        last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
    };
    let fresh = Some(Duration::from_secs(60));
    assert_eq!(get(&server).await.unwrap(), Fetched::Body { bytes: b"list".to_vec(), validators, fresh });
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "GET /list?token=s3cret HTTP/1.1");
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
    assert_eq!(asked[0].header("if-none-match"), None);
    assert_eq!(asked[0].header("cookie"), None);
}

#[tokio::test]
async fn what_is_known_is_asked_for_conditionally() {
    let server = saying("HTTP/1.1 304 Not Modified\r\nexpires: 0\r\n\r\n");
    let known = Validators { etag: Some("\"7\"".into()), last_modified: Some("then".into()) };
    let answer = outgoing().get(&server.url("/"), &known, BOUNDS).await.unwrap();
    assert_eq!(answer, Fetched::Unchanged { fresh: Some(Duration::ZERO) });
    let asked = server.asked();
    assert_eq!(asked[0].header("if-none-match"), Some("\"7\""));
    assert_eq!(asked[0].header("if-modified-since"), Some("then"));
    let broken = Validators { etag: Some("a\r\nhost: evil".into()), last_modified: None };
    let _ = outgoing().get(&server.url("/"), &broken, BOUNDS).await;
    assert_eq!(server.asked()[1].header("if-none-match"), None);
}

#[tokio::test]
async fn unchanged_without_a_condition_is_no_answer() {
    let refusal = refusal("HTTP/1.1 304 Not Modified\r\n\r\n").await;
    assert!(refusal.contains("answered 304"), "{refusal}");
}

#[tokio::test]
async fn other_states_are_told_without_their_body() {
    for status in ["404 Not Found", "500 Oops", "206 Partial Content", "204 No Content", "401 Unauthorized"] {
        let refusal = refusal(response(status, b"<html>hush</html>")).await;
        assert!(refusal.contains(&format!("answered {}", &status[..3])), "{refusal}");
        assert!(!refusal.contains("hush"), "{refusal}");
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_taken_and_one_byte_more_is_not() {
    let exact = saying(response("200 OK", &[7; 1000]));
    assert_eq!(body_of(get(&exact).await.unwrap()).len(), 1000);
    let declared = refusal(response("200 OK", &[7; 1001])).await;
    assert!(declared.contains("more than the 1000 bytes"), "{declared}");
    // Nothing of a gigabyte has to arrive: what is declared is enough.
    let declared = refusal("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    assert!(declared.contains("more than the 1000 bytes"), "{declared}");
    let huge = refusal("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999999\r\n\r\n").await;
    assert!(huge.contains("gave no whole answer"), "{huge}");
}

#[tokio::test]
async fn an_undeclared_flood_is_cut_off_at_the_bound() {
    for head in ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        let server = Server::http(move |_, stream| {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(if head.contains("chunked") { b"4\r\naaaa\r\n" } else { b"aaaa" })?;
            }
        });
        let refusal = get(&server).await.unwrap_err().to_string();
        assert!(refusal.contains("more than the 1000 bytes"), "{refusal}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_ends_with_the_time_of_the_whole_exchange() {
    let bounds = FetchBounds { time: Duration::from_millis(300), ..BOUNDS };
    let drip = |stream: &mut dyn Write, head: &str| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(b"a")?;
            stream.flush()?;
            thread::sleep(Duration::from_millis(20));
        }
    };
    let in_body = move |_: &Request, stream: &mut dyn Write| drip(stream, "HTTP/1.1 200 OK\r\n\r\n");
    let in_head = move |_: &Request, stream: &mut dyn Write| drip(stream, "HTTP/1.1 200 OK\r\nx: ");
    for server in [Server::http(in_body), Server::http(in_head)] {
        let refusal = outgoing().get(&server.url("/"), &Validators::default(), bounds).await.unwrap_err();
        assert!(refusal.to_string().contains("within 0.3 s"), "{refusal}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    for coding in ["gzip", "br", "identity, gzip", "unheard-of"] {
        let refusal = refusal(response(&format!("200 OK\r\ncontent-encoding: {coding}"), b"....")).await;
        assert!(refusal.contains("compressed"), "{refusal}");
    }
    let server = saying(response("200 OK\r\ncontent-encoding: Identity", b"list"));
    assert_eq!(body_of(get(&server).await.unwrap()), b"list");
}

#[tokio::test]
async fn what_is_not_http_is_told_so() {
    for bytes in ["SSH-2.0-OpenSSH_9.2\r\n", "garbage\r\n\r\n", "HTTP/3.0 200 OK\r\n\r\n", ""] {
        refusal(bytes).await;
    }
    let cut = refusal("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    assert!(!cut.contains("half"), "{cut}");
    let server = saying("");
    let url = server.url("/");
    drop(server);
    let nobody = outgoing().get(&url, &Validators::default(), BOUNDS).await.unwrap_err().to_string();
    assert!(nobody.contains("does not listen"), "{nobody}");
}

/// `/a` leads to the location, all else is there.
fn leading_to(location: &str) -> Server {
    let head = format!("302 Found\r\nlocation: {location}");
    Server::http(move |request, stream| {
        stream.write_all(&match request.path() {
            "/a" => response(&head, b"elsewhere"),
            _ => response("200 OK", b"there"),
        })
    })
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed() {
    let known = Validators { etag: Some("\"1\"".into()), last_modified: None };
    let other_port = leading_to("/");
    for location in ["/b", "b?c#d", other_port.url("/b").as_ref()] {
        let server = leading_to(location);
        assert_eq!(body_of(outgoing().get(&server.url("/a"), &known, BOUNDS).await.unwrap()), b"there");
    }
    assert_eq!(other_port.asked()[0].header("if-none-match"), Some("\"1\""));
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused() {
    for location in [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "http://127.0.0.2/",
        "//example.com/",
        "https://example.com/",
    ] {
        let refusal = outgoing().get(&leading_to(location).url("/a"), &Validators::default(), BOUNDS).await;
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains("another host"), "{location}: {refusal}");
    }
    for location in
        ["ftp://127.0.0.1/", "http://user@127.0.0.1/", "file:///etc/passwd", "http://:1/", "data:,x"]
    {
        let server = leading_to(location);
        let refusal = outgoing().get(&server.url("/a"), &Validators::default(), BOUNDS).await;
        assert!(refusal.is_err(), "{location}");
        assert_eq!(server.asked().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_redirect_that_does_not_end_is_given_up_after_three() {
    let server = leading_to("/a");
    let refusal = outgoing().get(&server.url("/a"), &Validators::default(), BOUNDS).await.unwrap_err();
    assert!(refusal.to_string().contains("more than 3 times"), "{refusal}");
    assert_eq!(server.asked().len(), 4);
    let nowhere = refusal_of_head("302 Found").await;
    assert!(nowhere.contains("nowhere"), "{nowhere}");
}

async fn refusal_of_head(head: &str) -> String {
    refusal(response(head, b"")).await
}

#[tokio::test]
async fn an_address_inside_is_not_reached_unless_it_is_allowed() {
    let server = saying(response("200 OK", b"list"));
    let closed = Outgoing::default();
    let literal = closed.get(&server.url("/"), &Validators::default(), BOUNDS).await.unwrap_err().to_string();
    assert!(literal.contains("loopback") && literal.contains("outgoing.allow"), "{literal}");
    let port = server.port();
    for host in ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.1."] {
        let url: Url = format!("http://{host}:{port}/").parse().unwrap();
        let refusal = closed.get(&url, &Validators::default(), BOUNDS).await.unwrap_err().to_string();
        assert!(refusal.contains("a loopback address"), "{host}: {refusal}");
        let refusal = closed.post(&url, &[], Vec::new(), BOUNDS).await.unwrap_err().to_string();
        assert!(refusal.contains("a loopback address"), "{host}: {refusal}");
    }
    assert_eq!(server.asked().len(), 0);
    let named: Url = format!("http://localhost:{port}/").parse().unwrap();
    let answer = outgoing().get(&named, &Validators::default(), BOUNDS).await.unwrap();
    assert_eq!(body_of(answer), b"list");
}

#[test]
fn only_http_without_user_information_is_permitted() {
    let outgoing = Outgoing::default();
    for url in [
        "http://crl.example.com/a.crl",
        "https://example.com:8443/?q",
        "http://8.8.8.8/",
        "http://[2a00::1]/",
    ] {
        assert_eq!(outgoing.permits(&url.parse().unwrap()), Ok(()), "{url}");
    }
    for url in [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ldap://example.com/",
        "http://user@example.com/",
        "http://:hush@example.com/",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
        "http://0/",
    ] {
        let refusal = outgoing.permits(&url.parse().unwrap()).unwrap_err().to_string();
        assert!(!refusal.contains("hush"), "{refusal}");
    }
}

#[tokio::test]
async fn a_post_sends_its_headers_and_body_and_follows_nothing() {
    let server = Server::http(|request, stream| {
        stream.write_all(&match request.path() {
            "/moved" => response("307 Temporary Redirect\r\nlocation: /b", b""),
            "/no" => response("400 Bad Request", b"hush"),
            _ => response("201 Created", b"made"),
        })
    });
    let headers = [("content-type", "application/ocsp-request")];
    let made = outgoing().post(&server.url("/"), &headers, b"ask".to_vec(), BOUNDS).await.unwrap();
    assert_eq!(made, b"made");
    let asked = server.asked();
    assert_eq!((asked[0].line.as_str(), asked[0].body.as_slice()), ("POST / HTTP/1.1", b"ask".as_slice()));
    assert_eq!(asked[0].header("content-type"), Some("application/ocsp-request"));
    let moved =
        outgoing().post(&server.url("/moved"), &[], Vec::new(), BOUNDS).await.unwrap_err().to_string();
    assert!(moved.contains("no redirect"), "{moved}");
    let no = outgoing().post(&server.url("/no"), &[], Vec::new(), BOUNDS).await.unwrap_err().to_string();
    assert!(no.contains("answered 400") && !no.contains("hush"), "{no}");
    let broken = [("a\r\nb", "c"), ("a", "b\r\nc: d")];
    for header in broken {
        assert!(
            outgoing().post(&server.url("/"), &[header], Vec::new(), BOUNDS).await.is_err(),
            "{header:?}"
        );
    }
    assert_eq!(server.asked().len(), 3);
}

/// A CA, and a server with a certificate of it for this name.
fn secured(dns: &str) -> (Authority, Server) {
    let (from, to) = (SystemClock.now().minus(HOUR), SystemClock.now().plus(HOUR));
    let ca = Authority::new(&Template::new("Outgoing CA", from, to)).unwrap();
    let template =
        Template { dns: vec![dns.into()], purpose: LeafPurpose::Server, ..Template::new("", from, to) };
    let server = Server::https(&ca.issue(&template).unwrap(), |_, stream| {
        stream.write_all(&response("200 OK", b"secured"))
    });
    (ca, server)
}

const HOUR: Duration = Duration::from_secs(3600);

fn trusting(ca: &Authority) -> OutgoingSettings {
    OutgoingSettings { roots: vec![ca.identity().certificate_der().to_vec()], ..settings() }
}

fn localhost(server: &Server) -> Url {
    format!("https://localhost:{}/", server.port()).parse().unwrap()
}

#[tokio::test]
async fn a_server_is_believed_if_a_configured_ca_vouches_for_its_name() {
    let (ca, server) = secured("localhost");
    let (other, elsewhere) = secured("elsewhere.example");
    let answer =
        Outgoing::new(&trusting(&ca)).unwrap().get(&localhost(&server), &Validators::default(), BOUNDS).await;
    assert_eq!(body_of(answer.unwrap()), b"secured");
    for settings in [trusting(&other), settings()] {
        let outgoing = Outgoing::new(&settings).unwrap();
        let refusal = outgoing.get(&localhost(&server), &Validators::default(), BOUNDS).await.unwrap_err();
        assert!(refusal.to_string().contains("outgoing.ca"), "{refusal}");
    }
    let outgoing = Outgoing::new(&trusting(&other)).unwrap();
    let refusal = outgoing.get(&localhost(&elsewhere), &Validators::default(), BOUNDS).await.unwrap_err();
    assert!(refusal.to_string().contains("for other names"), "{refusal}");
}

#[tokio::test]
async fn a_redirect_may_lead_from_http_to_https_and_never_back() {
    let (ca, server) = secured("localhost");
    let outgoing = Outgoing::new(&trusting(&ca)).unwrap();
    let plain = leading_to(localhost(&server).as_str());
    let mut url = plain.url("/a");
    url.set_host(Some("localhost")).unwrap();
    assert_eq!(body_of(outgoing.get(&url, &Validators::default(), BOUNDS).await.unwrap()), b"secured");

    let (from, to) = (SystemClock.now().minus(HOUR), SystemClock.now().plus(HOUR));
    let names = Template {
        dns: vec!["localhost".into()],
        purpose: LeafPurpose::Server,
        ..Template::new("", from, to)
    };
    let location = format!("302 Found\r\nlocation: http://localhost:{}/b", plain.port());
    let down = Server::https(&ca.issue(&names).unwrap(), move |_, stream| {
        stream.write_all(&response(&location, b""))
    });
    let refusal = outgoing.get(&localhost(&down), &Validators::default(), BOUNDS).await.unwrap_err();
    assert!(refusal.to_string().contains("from https to http"), "{refusal}");
}

#[tokio::test]
async fn tls_and_plain_text_are_told_apart() {
    let plain = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    let refusal = outgoing().get(&localhost(&plain), &Validators::default(), BOUNDS).await.unwrap_err();
    assert!(refusal.to_string().starts_with("localhost:"), "{refusal}");
}

#[tokio::test]
async fn other_settings_are_in_force_for_the_next_request() {
    let server = saying(response("200 OK", b"list"));
    let outgoing = outgoing();
    assert!(outgoing.get(&server.url("/"), &Validators::default(), BOUNDS).await.is_ok());
    outgoing.replace(&OutgoingSettings::default()).unwrap();
    assert!(outgoing.get(&server.url("/"), &Validators::default(), BOUNDS).await.is_err());
    let broken = OutgoingSettings { roots: vec![b"no certificate".to_vec()], ..settings() };
    let refusal = outgoing.replace(&broken).unwrap_err();
    assert!(refusal.to_string().contains("certificate 1 of outgoing.ca"), "{refusal}");
    assert!(outgoing.permits(&server.url("/")).is_err(), "the old settings stay");
    outgoing.replace(&settings()).unwrap();
    assert!(outgoing.get(&server.url("/"), &Validators::default(), BOUNDS).await.is_ok());
}

#[tokio::test]
async fn a_request_in_flight_keeps_the_settings_it_began_with() {
    let outgoing = Arc::new(outgoing());
    let replaced = Arc::clone(&outgoing);
    let server = Server::http(move |request, stream| {
        replaced.replace(&OutgoingSettings::default()).unwrap();
        stream.write_all(&match request.path() {
            "/a" => response("302 Found\r\nlocation: /b", b""),
            _ => response("200 OK", b"there"),
        })
    });
    let answer = outgoing.get(&server.url("/a"), &Validators::default(), BOUNDS).await;
    assert_eq!(body_of(answer.unwrap()), b"there");
    assert!(outgoing.permits(&server.url("/a")).is_err());
}
