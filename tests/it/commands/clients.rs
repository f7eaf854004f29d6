//! `client`: who is registered with what, and how a certificate takes the place of another without an outage.

use std::fs;
use std::path::Path;

use certbound::pki::{Thumbprint, files};
use serde_json::{Value, json as value};

use super::{Setup, mode};
use crate::support::program::{certbound, complaint, ended, json, printed};

/// A certificate for a client, in `NAME.pem` with its key in `NAME.key`; gives the thumbprint.
pub(super) fn made(setup: &Setup, name: &str, more: &[&str]) -> String {
    let line = ["cert", "self-signed", "--out", name, "--cn", "edge-7"];
    json(0, &setup.path(), &[&line[..], more].concat());
    thumbprint(&setup.path().join(format!("{name}.pem")))
}

fn thumbprint(file: &Path) -> String {
    Thumbprint::of(&files::read(&fs::read(file).unwrap(), None).unwrap().certificates[0]).to_string()
}

/// Asks for a token; gives what the command says, which ends with `code`.
pub(super) fn asked(setup: &Setup, code: i32, client: &str, cert: &str, key: &str) -> Value {
    let who = ["--client-id", client, "--cert", cert, "--key", key];
    let server = ["token", "--url", setup.issuer(), "--ca", "pki/ca.pem"];
    json(code, &setup.path(), &[&server[..], &who].concat())
}

fn states(client: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let certificates = client["certificates"].as_array().unwrap();
    certificates.iter().map(|one| (text(one, "state"), text(one, "x5t#S256"))).collect()
}

fn state(name: &str, thumbprint: &str) -> (String, String) {
    (name.to_owned(), thumbprint.to_owned())
}

fn shown(setup: &Setup, id: &str) -> Value {
    json(0, &setup.path(), &["client", "show", id])
}

fn document(setup: &Setup) -> String {
    fs::read_to_string(setup.path().join("clients.d/edge-7.yaml")).unwrap()
}

fn listed(setup: &Setup) -> Vec<String> {
    let mut files: Vec<_> = super::tree(&setup.path().join("clients.d")).into_iter().collect();
    files.sort();
    files
}

#[test]
fn a_certificate_takes_the_place_of_another_without_an_outage() {
    let setup = Setup::new();
    let directory = setup.path();
    let before = document(&setup);
    let serving = setup.serve();
    let old = thumbprint(&directory.join("clients.d/edge-7.pem"));
    assert_eq!(states(&shown(&setup, "edge-7")), [state("next", &old)]);
    asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    assert_eq!(states(&shown(&setup, "edge-7")), [state("current", &old)]);

    let new = made(&setup, "next", &["--days", "200"]);
    let refused = asked(&setup, 1, "edge-7", "next.pem", "next.key");
    assert_eq!(refused["answer"]["body"]["error"], "invalid_client");
    let added = json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert_eq!(
        (&added["added"], &added["in_force"], &added["x5t#S256"]),
        (&value!(true), &value!(true), &value!(new))
    );
    let file = &directory.join(added["certificate_file"].as_str().unwrap());
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("edge-7.20") && file.extension().is_some_and(|end| end == "pem"), "{name}");
    assert_eq!(document(&setup), before.replace("[edge-7.pem]", &format!("[edge-7.pem, {name}]")));
    assert_eq!((mode(file), thumbprint(file)), (0o644, new.clone()));
    assert_eq!(states(&shown(&setup, "edge-7")), [state("next", &new), state("current", &old)]);

    // Both are good; from its first use the new one is the current one.
    asked(&setup, 0, "edge-7", "next.pem", "next.key");
    asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    let changing = shown(&setup, "edge-7");
    assert_eq!(states(&changing), [state("current", &new), state("retiring", &old)], "{changing:#}");
    let token = asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    let token = token["answer"]["body"]["access_token"].as_str().unwrap();
    assert!(setup.is_active(&serving, token));

    // The old one is in use, and the last one stays.
    let said = complaint(1, &directory, &["client", "retire-certificate", "edge-7", &old]);
    assert!(said.contains("was used at 20") && said.contains("--force") && said.contains(&old), "{said}");
    let retired = json(0, &directory, &["client", "retire-certificate", "edge-7", &old, "--force"]);
    assert_eq!((&retired["retired"], &retired["in_force"]), (&value!(true), &value!(true)));
    assert!(retired["left"][0].as_str().unwrap().ends_with("clients.d/edge-7.pem"), "{retired}");
    assert!(directory.join("clients.d/edge-7.pem").exists(), "the file is not ours to delete");
    assert!(!setup.is_active(&serving, token), "its tokens end with it");
    asked(&setup, 1, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    asked(&setup, 0, "edge-7", "next.pem", "next.key");
    assert_eq!(states(&shown(&setup, "edge-7")), [state("current", &new)]);
    let said = complaint(1, &directory, &["client", "retire-certificate", "edge-7", &new, "--force"]);
    assert!(said.contains("last") && said.contains("enabled: false"), "{said}");
}

#[test]
fn the_same_is_done_on_the_files_where_no_server_runs() {
    let setup = Setup::new();
    let directory = setup.path();
    let before = document(&setup);
    let old = thumbprint(&directory.join("clients.d/edge-7.pem"));
    assert_eq!(states(&shown(&setup, "edge-7")), [state("next", &old)], "no store yet, and none is made");
    assert!(!directory.join("data").exists());
    let new = made(&setup, "next", &[]);
    let added = json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert_eq!((&added["added"], &added["in_force"]), (&value!(true), &value!(false)));
    let said = complaint(1, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert!(said.contains("registered for client `edge-7` already"), "{said}");
    let retired = json(0, &directory, &["client", "retire-certificate", "edge-7", &new]);
    assert_eq!((&retired["retired"], &retired["in_force"]), (&value!(true), &value!(false)));
    assert_eq!(document(&setup), before, "byte for byte");

    // What a server has seen is in the store when it has ended.
    let serving = setup.serve();
    asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    let seen = shown(&setup, "edge-7");
    serving.stop();
    assert_eq!(states(&seen), [state("current", &old)]);
    assert_eq!(
        shown(&setup, "edge-7")["certificates"][0]["first_seen"],
        seen["certificates"][0]["first_seen"]
    );
    json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert!(complaint(1, &directory, &["client", "retire-certificate", "edge-7", &old]).contains("--force"));
    json(0, &directory, &["client", "retire-certificate", "edge-7", &old, "--force"]);
    let serving = setup.serve();
    asked(&setup, 0, "edge-7", "next.pem", "next.key");
    drop(serving);
}

#[test]
fn the_list_says_for_each_client_what_it_has_and_when_it_was_used() {
    let setup = Setup::new();
    let directory = setup.path();
    let list = || {
        let mut listed = json(0, &directory, &["client", "list"]);
        // A day may end between two questions.
        let pinned = &mut listed["clients"][2]["certificates"][0];
        assert!(matches!(pinned["days_left"].take().as_i64(), Some(364 | 365)), "{pinned}");
        listed
    };
    let offline = list();
    let ids: Vec<_> = offline["clients"].as_array().unwrap().iter().map(|one| &one["client_id"]).collect();
    assert_eq!(ids, ["api-gateway", "billing", "edge-7"]);
    let _serving = setup.serve();
    assert_eq!(list(), offline, "with a server and without it");
    setup.token();
    asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    let listed = json(0, &directory, &["client", "list"]);
    let billing = &listed["clients"][1];
    assert_eq!(billing["token_endpoint_auth_method"], "tls_client_auth");
    assert_eq!(billing["credential"]["tls_client_auth_san_dns"], "billing.svc.example.com");
    let seen = &billing["certificates"][0];
    let names: Vec<_> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "days_left",
        "first_seen",
        "last_seen",
        "not_after",
        "not_before",
        "source",
        "state",
        "subject",
        "x5t#S256",
    ];
    assert_eq!(names, expected);
    assert_eq!((&seen["state"], &seen["source"]), (&value!("current"), &value!("seen")));
    assert_eq!(seen["subject"], "CN=billing");
    assert!(matches!(seen["days_left"].as_i64(), Some(364 | 365)), "{seen}");
    assert_eq!(seen["x5t#S256"], thumbprint(&directory.join("pki/billing.pem")).as_str());
    assert_eq!(listed["clients"][2]["credential"]["certificates"][0]["source"], "edge-7.pem");

    let table = printed(0, &directory, &["client", "list"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[1].contains("none seen") && lines[1].ends_with("never"), "{table}");
    assert!(lines[2].contains("1 current") && lines[3].contains("1 current"), "{table}");
    let portrait = printed(0, &directory, &["client", "show", "billing"]);
    assert!(portrait.contains("billing.svc.example.com") && portrait.contains(" days left"), "{portrait}");
    for id in ["nobody", "Billing", ""] {
        assert!(complaint(1, &directory, &["client", "show", id]).contains("no client"), "{id}");
    }
}

#[test]
fn what_registration_would_refuse_is_refused_before_anything_is_written() {
    let setup = Setup::new();
    let directory = setup.path();
    made(&setup, "server", &["--purpose", "server"]);
    made(&setup, "good", &[]);
    let both =
        [fs::read(directory.join("good.pem")).unwrap(), fs::read(directory.join("pki/ca.pem")).unwrap()];
    fs::write(directory.join("two.pem"), both.concat()).unwrap();
    fs::write(directory.join("broken.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(directory.join("text.pem"), "hello\n").unwrap();
    let (before, files) = (document(&setup), listed(&setup));
    let add = |code, id, file| complaint(code, &directory, &["client", "add-certificate", id, file]);
    for (code, id, file, why) in [
        (1, "edge-7", "server.pem", "clientAuth"),
        (1, "edge-7", "two.pem", "exactly one"),
        (1, "edge-7", "broken.pem", "broken.pem"),
        (1, "edge-7", "clients.d/edge-7.pem", "already"),
        (1, "billing", "good.pem", "known by its subject"),
        (1, "nobody", "good.pem", "no client"),
        (2, "edge-7", "text.pem", "text.pem"),
        (2, "edge-7", "missing.pem", "missing.pem"),
        (2, "edge-7", "pki/edge-7.key", "no certificate"),
    ] {
        let said = add(code, id, file);
        assert!(said.contains(why), "{file}: {said}");
    }
    setup.edit("certbound.yaml", "directory: clients.d", "directory: clients.d, max_certificates: 1");
    assert!(add(1, "edge-7", "good.pem").contains("max_certificates"));
    assert_eq!((document(&setup), listed(&setup)), (before, files), "nothing was written");
    complaint(2, &directory, &["client", "retire-certificate", "edge-7", "short"]);
    assert!(
        complaint(1, &directory, &["client", "retire-certificate", "billing", "AAAAAAAA"])
            .contains("subject")
    );
}

#[test]
fn of_a_pkcs12_file_only_the_certificate_is_kept() {
    let setup = Setup::new();
    let directory = setup.path();
    fs::write(directory.join("password"), "s3cret\n").unwrap();
    let new = made(&setup, "next", &["--pfx", "--password-file", "password"]);
    let add = ["client", "add-certificate", "edge-7", "next.pfx"];
    complaint(2, &directory, &add);
    let added = json(0, &directory, &[&add[..], &["--password-file", "password"]].concat());
    let kept = fs::read_to_string(directory.join(added["certificate_file"].as_str().unwrap())).unwrap();
    assert!(kept.starts_with("-----BEGIN CERTIFICATE-----") && !kept.contains("PRIVATE"), "{kept}");
    assert_eq!(kept.matches("BEGIN").count(), 1);
    assert_eq!(added["x5t#S256"], new.as_str());
}

#[test]
fn documents_keep_every_byte_but_the_entry() {
    for (list, after) in [
        (
            "certificates:   # pinned\r\n  - 'edge-7.pem' # old\r\n",
            "certificates:   # pinned\r\n  - 'edge-7.pem' # old\r\n  - NEW\r\n",
        ),
        ("certificates: [ \"edge-7.pem\", ]\n", "certificates: [ \"edge-7.pem\", NEW, ]\n"),
        ("certificates: [\n  edge-7.pem   # old\n]\n", "certificates: [\n  edge-7.pem,   # old\n  NEW\n]\n"),
        ("certificates:\n- edge-7.pem", "certificates:\n- edge-7.pem\n- NEW"),
    ] {
        let setup = Setup::new();
        let directory = setup.path();
        let new = made(&setup, "next", &[]);
        let end = if list.contains("\r\n") { "\r\n" } else { "\n" };
        let head = [
            "# é: two clients in one file",
            "client_id: other",
            "token_endpoint_auth_method: tls_client_auth",
            "tls_client_auth_san_dns: other.example.com   # trust_anchors: there is one",
            "---",
            "token_endpoint_auth_method: self_signed_tls_client_auth",
            "",
            "client_id:   edge-7",
            "",
        ];
        let before = format!("{}{list}", head.join(end));
        let path = directory.join("clients.d/edge-7.yaml");
        fs::write(&path, &before).unwrap();
        let added = json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
        let name =
            Path::new(added["certificate_file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
        assert_eq!(document(&setup), format!("{}{}", head.join(end), after.replace("NEW", name)));
        // The beginning of a thumbprint is enough, in either spelling.
        let hex = hex(&directory.join("next.pem"));
        let beginning = if end == "\n" { &new[..8] } else { &hex[..10] };
        json(0, &directory, &["client", "retire-certificate", "edge-7", beginning]);
        assert_eq!(document(&setup), before);
    }
}

fn hex(file: &Path) -> String {
    let der = files::read(&fs::read(file).unwrap(), None).unwrap().certificates.remove(0);
    let octets = openssl::sha::sha256(&der).map(|octet| format!("{octet:02X}"));
    octets.concat()
}

#[test]
fn where_the_program_cannot_write_it_prints_what_to_write() {
    let setup = Setup::new();
    let directory = setup.path();
    let old = thumbprint(&directory.join("clients.d/edge-7.pem"));
    let new = made(&setup, "next", &[]);
    let add = ["client", "add-certificate", "edge-7", "next.pem"];
    let retire = ["client", "retire-certificate", "edge-7", old.as_str()];

    // By thumbprint: the whole line. What it prints is what works.
    setup.edit("clients.d/edge-7.yaml", "certificates: [edge-7.pem]", &format!("x5t#S256: [{old}]"));
    let before = document(&setup);
    let (line, why) = ended(1, &directory, &add);
    assert!(why.contains("not written") && why.contains("edge-7.yaml:"), "{why}");
    assert_eq!(document(&setup), before);
    setup.edit("clients.d/edge-7.yaml", &format!("x5t#S256: [{old}]"), line.trim());
    assert_eq!(shown(&setup, "edge-7")["certificates"].as_array().unwrap().len(), 2);
    let refused = json(1, &directory, &retire);
    assert_eq!(
        (&refused["retired"], &refused["line"]),
        (&value!(false), &value!(format!("x5t#S256: [{new}]")))
    );

    // In a JWK Set: the JWK.
    let entry = |file: &str| {
        setup.register_edge("jwks_uri: https://edge.example.com/jwks.json");
        let told = json(1, &directory, &["client", "add-certificate", "edge-7", file]);
        assert_eq!(told["added"], false);
        told["line"].as_str().unwrap().to_owned()
    };
    let first = entry("clients.d/edge-7.pem");
    setup.register_edge(&format!("jwks: {{keys: [{first}]}}"));
    assert_eq!(states(&shown(&setup, "edge-7")), [state("next", &old)]);
    let second = json(1, &directory, &add)["line"].as_str().unwrap().to_owned();
    setup.register_edge(&format!("jwks: {{keys: [{first}, {second}]}}"));
    assert_eq!(states(&shown(&setup, "edge-7")).len(), 2);
    assert_eq!(json(1, &directory, &retire)["retired"], false);

    // In a form that only people can edit.
    setup.register_edge("certificates:\n  - >-\n    edge-7.pem");
    let (before, files) = (document(&setup), listed(&setup));
    let (line, why) = ended(1, &directory, &add);
    assert!(
        line.starts_with("certificates: [edge-7.pem, edge-7.20") && why.contains("only you"),
        "{line}{why}"
    );
    assert_eq!((document(&setup), listed(&setup)), (before, files));
}

#[test]
fn a_change_that_would_do_more_than_was_meant_is_undone() {
    let setup = Setup::new();
    let directory = setup.path();
    made(&setup, "next", &[]);
    let (before, files) = (document(&setup), listed(&setup));
    // The running server has another directory of clients than the files in hand.
    super::copy(&directory.join("clients.d"), &directory.join("elsewhere"));
    setup.edit("certbound.yaml", "directory: clients.d", "directory: elsewhere");
    let _serving = setup.serve();
    let text = fs::read_to_string(directory.join("certbound.yaml")).unwrap();
    fs::write(directory.join("other.yaml"), text.replace("elsewhere", "clients.d")).unwrap();
    let said =
        complaint(1, &directory, &["-c", "other.yaml", "client", "add-certificate", "edge-7", "next.pem"]);
    assert!(said.contains("nothing was changed") && said.contains("running server"), "{said}");
    assert_eq!((document(&setup), listed(&setup)), (before, files), "both files are as they were");
}

#[test]
fn a_configuration_that_is_being_prepared_stays_out_of_force() {
    let setup = Setup::new();
    let directory = setup.path();
    let new = made(&setup, "next", &[]);
    let lifetime = || {
        let told = asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
        told["answer"]["body"]["expires_in"].as_u64().unwrap()
    };
    let _serving = setup.serve();
    let before = lifetime();
    setup.edit(
        "certbound.yaml",
        "tokens:",
        "tokens: { access_token_lifetime: 61s, resource: https://api.example.com } #",
    );
    json(0, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert_eq!(states(&shown(&setup, "edge-7")).len(), 2, "the client is changed");
    assert_eq!(lifetime(), before);
    json(0, &directory, &["client", "retire-certificate", "edge-7", &new]);
    assert_eq!(lifetime(), before);
    let reload = "POST /api/v1/reload HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(socket(&setup, reload).0, 200);
    assert_eq!(lifetime(), 61, "what was prepared is good");
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_in_the_way() {
    let setup = Setup::new();
    let directory = setup.path();
    made(&setup, "next", &[]);
    setup.edit("clients.d/edge-7.yaml", "scope:", "scpoe:");
    let said = complaint(1, &directory, &["client", "add-certificate", "edge-7", "next.pem"]);
    assert!(said.contains("no client `edge-7`") && said.contains("unknown key `scpoe`"), "{said}");
    // A problem of somebody else is in nobody's way.
    setup.edit("clients.d/edge-7.yaml", "scpoe:", "scope:");
    setup.edit("clients.d/billing.yaml", "scope:", "scpoe:");
    assert!(certbound(&directory, &["client", "add-certificate", "edge-7", "next.pem"]).status.success());
}

#[test]
fn the_control_socket_answers_in_json_whatever_it_is_sent() {
    let setup = Setup::new();
    let _serving = setup.serve();
    let ask = |request: &str| socket(&setup, request);
    for (request, status) in [
        (
            "POST /api/v1/tokens/revoke HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
            400,
        ),
        ("POST /api/v1/keys/rotate HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400),
        ("GET /api/v1/refusals?limit=many HTTP/1.1\r\n\r\n", 400),
        ("GET /api/v1/refusals/0000-0000-0000-0000 HTTP/1.1\r\n\r\n", 404),
        ("GET /api/v1/nothing HTTP/1.1\r\n\r\n", 404),
    ] {
        let (code, body) = ask(request);
        assert_eq!(code, status, "{request}: {body}");
        assert!(body["error"].is_string(), "{request}: {body}");
    }
    assert_eq!(ask("GET /api/v1/refusals?limit=3 HTTP/1.1\r\n\r\n"), (200, value!({ "refusals": [] })));
}

/// Sends a request over the control socket; a `Host` is put in.
pub(super) fn socket(setup: &Setup, request: &str) -> (u16, Value) {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(setup.path().join("control.sock")).unwrap();
    let request = request.replacen("\r\n", "\r\nHost: localhost\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}
