use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::pki::workshop::{self, Authority, LeafPurpose, Template};

const DAY: Duration = Duration::from_secs(86_400);

fn template(cn: &str) -> Template {
    let now = SystemClock.now();
    Template::new(cn, now.minus(DAY), now.plus(DAY))
}

fn authority() -> Authority {
    Authority::new(&template("Test CA")).unwrap()
}

fn server_of(ca: &Authority) -> workshop::Identity {
    let names = vec!["localhost".to_owned()];
    ca.issue(&Template { dns: names, purpose: LeafPurpose::Server, ..template("localhost") }).unwrap()
}

fn client_of(ca: &Authority) -> Identity {
    let made = ca.issue(&template("billing")).unwrap();
    Identity::new(vec![made.certificate_der().to_vec()], made.key_der()).unwrap()
}

/// Serves one connection with an empty 200, asking for a certificate of `asks` if it is there.
fn serve_once(identity: &workshop::Identity, asks: Option<&Authority>) -> Url {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(ca.identity().certificate_der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
    let chain = vec![CertificateDer::from(identity.certificate_der().to_vec())];
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        // A handshake that the client ends is what some tests want.
        if stream.read(&mut [0; 4096]).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    Url::parse(&format!("https://localhost:{port}/token")).unwrap()
}

fn trusting(certificates: &[Vec<u8>]) -> Roots<'_> {
    Roots::Given { certificates, name: "ca.pem".to_owned() }
}

#[test]
fn a_certificate_is_sent_where_it_is_asked_for() {
    let ca = authority();
    let anchors = [ca.identity().certificate_der().to_vec()];
    let client = TlsClient::new(Some(&client_of(&ca)), &trusting(&anchors)).unwrap();
    let reply = client.post_form(&serve_once(&server_of(&ca), Some(&ca)), &[("a", "b")]).unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "{}"));
    assert_eq!(reply.tls_version, Some("TLSv1.3"));
    assert_eq!(client.request(), Request::Sent);
}

#[test]
fn a_server_that_asks_for_nothing_is_noticed() {
    let ca = authority();
    let anchors = [ca.identity().certificate_der().to_vec()];
    let client = TlsClient::new(Some(&client_of(&ca)), &trusting(&anchors)).unwrap();
    client.post_form(&serve_once(&server_of(&ca), None), &[]).unwrap();
    assert_eq!(client.request(), Request::NotAsked);
}

#[test]
fn a_server_of_an_unknown_ca_is_not_believed_and_the_hint_names_the_option() {
    let (ca, other) = (authority(), authority());
    let anchors = [other.identity().certificate_der().to_vec()];
    let client = TlsClient::new(None, &trusting(&anchors)).unwrap();
    let none = client.post_form(&serve_once(&server_of(&ca), None), &[]).unwrap_err();
    assert!(none.hint.contains("--ca"), "{none:?}");
}

#[test]
fn a_port_where_nobody_listens_is_told_from_one_without_tls() {
    let anchors = [authority().identity().certificate_der().to_vec()];
    let client = TlsClient::new(None, &trusting(&anchors)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port())).unwrap();
    drop(listener);
    let none = client.post_form(&url, &[]).unwrap_err();
    assert!(none.hint.contains("nobody listens"), "{none:?}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port())).unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = socket.read(&mut [0; 4096]);
    });
    let none = client.post_form(&url, &[]).unwrap_err();
    assert!(none.hint.contains("TLS"), "{none:?}");
}

#[test]
fn a_key_belongs_to_its_certificate_or_there_is_no_identity() {
    let ca = authority();
    let (one, two) = (ca.issue(&template("one")).unwrap(), ca.issue(&template("two")).unwrap());
    let (one_der, two_der) = (one.certificate_der().to_vec(), two.certificate_der().to_vec());
    assert!(Identity::new(vec![two_der.clone()], one.key_der()).is_none());
    let sorted = Identity::new(vec![two_der, one_der.clone()], one.key_der()).unwrap();
    assert_eq!(sorted.leaf(), one_der);
}

/// Answers every request with `answer`, and tells each request line.
fn control(answer: &'static str) -> (tempfile::TempDir, mpsc::Receiver<String>) {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    let (told, lines) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut head = [0; 4096];
            let length = socket.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            // The first connection only asks whether somebody is there.
            let Some(line) = head.lines().next() else { continue };
            let _ = socket.write_all(answer.as_bytes());
            if told.send(line.to_owned()).is_err() {
                return;
            }
        }
    });
    (directory, lines)
}

#[test]
fn a_command_speaks_to_the_api_and_hears_json() {
    let (directory, lines) = control("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"kid\":\"k\"}");
    let server = ControlSocket::reach(&directory.path().join("s")).unwrap().unwrap();
    assert_eq!(server.get(&["keys", "a/b c"]).unwrap(), json!({ "kid": "k" }));
    assert_eq!(lines.recv().unwrap(), "GET /api/v1/keys/a%2Fb%20c HTTP/1.1");
}

#[test]
fn no_content_is_an_answer() {
    let (directory, _lines) = control("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    let server = ControlSocket::reach(&directory.path().join("s")).unwrap().unwrap();
    server.delete(&["keys", "k"]).unwrap();
}

#[test]
fn what_the_server_refuses_is_told_in_its_words() {
    let refused = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n\
                   {\"error\":\"not_found\",\"error_description\":\"no key\"}";
    let (directory, _lines) = control(refused);
    let server = ControlSocket::reach(&directory.path().join("s")).unwrap().unwrap();
    let fault = server.delete(&["keys", "k"]).unwrap_err();
    assert_eq!(fault, Fault::Refused("no key".to_owned()));
}

#[test]
fn nobody_behind_the_socket_is_no_error_but_a_forbidden_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    assert!(ControlSocket::reach(&path).unwrap().is_none(), "no file");
    drop(UnixListener::bind(&path).unwrap());
    assert!(ControlSocket::reach(&path).unwrap().is_none(), "a socket that a dead server left");
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(ControlSocket::reach(&long), Err(Fault::Usage(_))), "a path no socket can have");
}
