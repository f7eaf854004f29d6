//! The unix socket of a `forwarded` listener: its mode is a proof.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::process::Command;

use certbound::app::{self, StartError};

use super::{bound_to, header, is_refused};
use crate::support::upstream::Upstream;
use crate::support::{Server, Setup};

fn setup(fields: &str) -> Setup {
    let mut setup = Setup::new();
    let path = setup.path("forwarded.sock");
    setup.listeners =
        format!("  - {{ kind: forwarded, bind: 'unix:{}', dialect: rfc9440{fields} }}\n", path.display());
    setup
}

fn upstream(server: &Server) -> Upstream {
    Upstream::unix(&server.setup.path("forwarded.sock")).unwrap()
}

#[test]
fn whoever_may_write_to_the_socket_may_speak_there() {
    for (fields, mode) in [("", 0o600), (", mode: \"0600\"", 0o600), (", mode: '0660'", 0o660)] {
        let server = setup(fields).start();
        let path = server.setup.path("forwarded.sock");
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{fields}");
        let billing = server.setup.pki.client("billing.example.com");
        assert_eq!(bound_to(&upstream(&server).token("billing", &header(&billing))), billing.thumbprint());
        is_refused(&server, &upstream(&server).token("billing", ""), "no_certificate");
        let setup = server.stop();
        assert!(!setup.path("forwarded.sock").exists(), "gone with its server");
    }
}

#[test]
fn the_password_is_asked_for_on_a_socket_too() {
    let setup = setup(", proxy: { basic: { username: proxy, password: { file: secret } } }");
    setup.write("secret", "s3cret\n");
    let server = setup.start();
    let billing = header(&server.setup.pki.client("billing.example.com"));
    is_refused(&server, &upstream(&server).token("billing", &billing), "proxy_refused");
    let with = format!("Proxy-Authorization: Basic cHJveHk6czNjcmV0\r\n{billing}");
    assert_eq!(upstream(&server).token("billing", &with).status, 200);
}

#[test]
fn curl_is_answered_on_the_socket() {
    let server = setup("").start();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.arg("-sS").arg("--unix-socket").arg(server.setup.path("forwarded.sock")).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let billing = server.setup.pki.client("billing.example.com");
    let asked = ["-d", "grant_type=client_credentials&client_id=billing", "http://localhost/token"];
    let answer = run(&[&["-H", header(&billing).trim_end()], &asked[..]].concat());
    assert!(answer.contains("access_token"), "{answer}");
    assert!(run(&asked).contains("invalid_client"));
    assert!(run(&["http://localhost/jwks"]).contains("\"keys\""));
}

#[test]
fn only_the_socket_of_a_dead_server_of_ours_is_replaced() {
    let start = |setup: Setup| match app::start(setup.config(), std::sync::Arc::clone(&setup.clock) as _) {
        Ok(running) => {
            running.stop();
            None
        }
        Err(StartError::System { what, cause }) => Some(format!("{what}: {cause}")),
        Err(error) => panic!("{error:?}"),
    };
    let dead = setup("");
    drop(UnixListener::bind(dead.path("forwarded.sock")).unwrap());
    assert_eq!(start(dead), None);

    let file = setup("");
    file.write("forwarded.sock", "somebody's data");
    let refused = start(file).unwrap();
    assert!(refused.contains("forwarded.sock") && refused.contains("not a socket"), "{refused}");

    let anothers = setup("");
    let path = anothers.path("forwarded.sock");
    drop(UnixListener::bind(&path).unwrap());
    let own = fs::metadata(&path).unwrap().uid();
    // Only root can give a file away.
    if chown(&path, Some(own + 1), None).is_ok() {
        let refused = start(anothers).unwrap();
        assert!(refused.contains("another user"), "{refused}");
    }
}
