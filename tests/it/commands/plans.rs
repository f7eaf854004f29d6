//! `plan`: who would stop or start working, told beside the server and without it.

use std::net::TcpListener;
use std::time::Duration;
use std::{fs, io, thread};

use certbound::clock::{Clock as _, SystemClock};
use certbound::pki::files;
use certbound::pki::workshop::Authority;
use serde_json::{Value, json as value};

use super::Setup;
use super::clients::asked;
use crate::support::crl::List;
use crate::support::program::{complaint, json, printed};

fn ids(plan: &Value, side: &str) -> Vec<String> {
    let changes = plan[side].as_array().unwrap();
    changes.iter().map(|change| change["client_id"].as_str().unwrap().to_owned()).collect()
}

/// Everybody has been seen once, and one certificate was refused.
fn seen() -> Setup {
    let setup = Setup::new();
    let serving = setup.serve();
    setup.token();
    asked(&setup, 0, "edge-7", "clients.d/edge-7.pem", "pki/edge-7.key");
    asked(&setup, 1, "billing", "pki/api.pem", "pki/api.key");
    serving.stop();
    setup
}

/// A candidate in a directory of its own, with clients and anchors beside it.
fn candidate(setup: &Setup) {
    let next = setup.path().join("next");
    fs::create_dir(&next).unwrap();
    super::copy(&setup.path().join("clients.d"), &next.join("clients.d"));
    fs::copy(setup.path().join("pki/ca.pem"), next.join("ca.pem")).unwrap();
    let text = "trust_anchors: { corp: { file: ca.pem } }\ntokens: { resource: https://api.example.com }\n";
    fs::write(next.join("certbound.yaml"), text).unwrap();
}

#[test]
fn nothing_recorded_is_nothing_to_tell_from() {
    let setup = Setup::new();
    let directory = setup.path();
    let plan = json(1, &directory, &["plan"]);
    assert_eq!((&plan["recorded"], &plan["stop"]), (&value!(0), &value!([])));
    assert!(printed(1, &directory, &["plan"]).contains("no successful authentication"));
    let _serving = setup.serve();
    assert_eq!(json(1, &directory, &["plan"]), plan);
}

#[test]
fn what_would_stop_is_found_before_it_is_in_force() {
    let setup = seen();
    let directory = setup.path();
    let same = json(0, &directory, &["plan"]);
    assert_eq!((&same["recorded"], &same["stop"], &same["start"]), (&value!(2), &value!([]), &value!([])));
    assert!(printed(0, &directory, &["plan"]).contains("nobody would stop working"));

    // Another CA of the same name, as it is renewed by mistake.
    json(0, &directory, &["cert", "new-ca", "--out", "other"]);
    candidate(&setup);
    fs::copy(directory.join("other/ca.pem"), directory.join("next/ca.pem")).unwrap();
    let look = ["plan", "--candidate", "next/certbound.yaml"];
    let without = json(1, &directory, &look);
    assert_eq!((ids(&without, "stop"), ids(&without, "start")), (vec!["billing".to_owned()], vec![]));
    let stop = &without["stop"][0];
    assert_eq!((&stop["reason"], &stop["subject"]), (&value!("untrusted"), &value!("CN=billing")));
    assert!(stop["last_seen"].is_string() && stop["detail"].as_str().unwrap().contains("path"), "{stop}");

    let serving = setup.serve();
    assert_eq!(json(1, &directory, &look)["stop"], without["stop"], "with a server");
    let page = printed(1, &directory, &look);
    assert!(page.starts_with("1 would STOP working\n") && page.contains("untrusted"), "{page}");
    // Looking ahead changed nothing.
    setup.token();
    serving.stop();
}

#[test]
fn a_list_of_the_candidate_is_looked_at_and_takes_no_effect() {
    let setup = seen();
    let directory = setup.path();
    candidate(&setup);
    let read = |name: &str| fs::read(directory.join(name)).unwrap();
    let ca = Authority::load(&read("pki/ca.pem"), &read("pki/ca.key")).unwrap();
    let billing = files::read(&read("pki/billing.pem"), None).unwrap().certificates.remove(0);
    let list = List::new(7, SystemClock.now()).revoking(&billing);
    fs::write(directory.join("next/corp.crl"), list.signed_by(&ca)).unwrap();
    let (path, set) = (directory.join("next/certbound.yaml"), "{ file: ca.pem }");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(set, "{ file: ca.pem, crl: [{ file: corp.crl }] }")).unwrap();
    let look = ["plan", "--candidate", "next/certbound.yaml"];
    let without = json(1, &directory, &look);
    assert_eq!(
        (ids(&without, "stop"), &without["stop"][0]["reason"]),
        (vec!["billing".to_owned()], &value!("revoked"))
    );
    let _serving = setup.serve();
    assert_eq!(json(1, &directory, &look)["stop"], without["stop"]);
    setup.token();

    // A list that cannot be had says nothing of anybody.
    let away = text.replace(set, "{ file: ca.pem, crl: [{ url: \"http://127.0.0.1:9/corp.crl\" }] }");
    fs::write(&path, format!("outgoing: {{ allow: [127.0.0.1/32] }}\n{away}")).unwrap();
    let unknown = json(0, &directory, &look);
    assert_eq!(
        (ids(&unknown, "unknown"), &unknown["unknown"][0]["reason"]),
        (vec!["billing".to_owned()], &value!("revocation_unknown"))
    );
}

#[test]
fn responders_are_asked_at_once_and_not_one_after_the_other() {
    let setup = seen();
    let directory = setup.path();
    let issue = ["cert", "issue", "--ca", "pki", "--out", "second", "--cn", "billing"];
    json(0, &directory, &[&issue[..], &["--san-dns", "billing.svc.example.com"]].concat());
    let serving = setup.serve();
    asked(&setup, 0, "billing", "second.pem", "second.key");
    serving.stop();
    candidate(&setup);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.join("next/certbound.yaml");
    let ocsp = format!("{{ file: ca.pem, ocsp: {{ url: \"http://{}/\" }} }}", silent.local_addr().unwrap());
    let text = fs::read_to_string(&path).unwrap().replace("{ file: ca.pem }", &ocsp);
    fs::write(&path, format!("outgoing: {{ allow: [127.0.0.1/32] }}\n{text}")).unwrap();
    let responder = thread::spawn(move || {
        let (mut first, _) = silent.accept().unwrap();
        let _second = silent.accept().unwrap();
        first.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // Whoever has given up on the first answer has closed the connection.
        io::copy(&mut first, &mut io::sink()).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    });
    let plan = json(0, &directory, &["plan", "--candidate", "next/certbound.yaml"]);
    assert_eq!(ids(&plan, "unknown"), ["billing", "billing"], "{plan:#}");
    assert!(responder.join().unwrap(), "the first was still waiting when the second was asked");
}

#[test]
fn a_rule_that_lets_somebody_in_is_told_too() {
    let setup = seen();
    let directory = setup.path();
    candidate(&setup);
    let path = directory.join("next/clients.d/billing.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let rule = "tls_client_auth_subject_dn: CN=api-gateway,O=Example,C=RO";
    let other = text.replace("tls_client_auth_san_dns: billing.svc.example.com", rule);
    fs::write(&path, other).unwrap();
    fs::remove_file(directory.join("next/clients.d/api-gateway.yaml")).unwrap();
    let _serving = setup.serve();
    let plan = json(1, &directory, &["plan", "--candidate", "next/certbound.yaml"]);
    assert_eq!(ids(&plan, "stop"), ["billing"]);
    assert_eq!(ids(&plan, "start"), ["billing"], "{plan:#}");
    assert_eq!(
        (&plan["start"][0]["last_seen"], &plan["start"][0]["subject"]),
        (&Value::Null, &value!("CN=api-gateway,O=Example,C=RO"))
    );
}

#[test]
fn without_a_candidate_the_files_as_they_are_now_are_compared_with_what_is_in_force() {
    let setup = seen();
    let directory = setup.path();
    let _serving = setup.serve();
    // The server is told nothing of a client that is written half; a change that it does take is no longer ahead.
    let text = fs::read_to_string(directory.join("certbound.yaml")).unwrap();
    fs::write(directory.join("certbound.yaml"), text.replace("clients.d", "gone.d")).unwrap();
    super::copy(&directory.join("clients.d"), &directory.join("gone.d"));
    fs::remove_file(directory.join("gone.d/edge-7.yaml")).unwrap();
    let plan = json(1, &directory, &["plan"]);
    assert_eq!(
        (ids(&plan, "stop"), &plan["stop"][0]["reason"]),
        (vec!["edge-7".to_owned()], &value!("unknown_client"))
    );
}

#[test]
fn problems_of_a_candidate_are_those_of_check_and_its_issuer_and_listeners_are_not_looked_at() {
    let setup = seen();
    let directory = setup.path();
    candidate(&setup);
    let path = directory.join("next/certbound.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let odd = format!("issuer: nonsense\nlisteners: []\nstore: {{ sled: {{ path: 7/8 }} }}\n{text}");
    fs::write(&path, odd).unwrap();
    let look = ["plan", "--candidate", "next/certbound.yaml"];
    let plan = json(0, &directory, &look);
    assert_eq!((&plan["ok"], &plan["recorded"]), (&value!(true), &value!(2)));
    fs::write(&path, format!("surprise: 1\n{text}")).unwrap();
    fs::remove_file(directory.join("next/ca.pem")).unwrap();
    for serving in [None, Some(setup.serve())] {
        let plan = json(1, &directory, &look);
        let problems = plan["problems"].as_array().unwrap();
        let what: Vec<_> = problems.iter().map(|problem| problem["what"].as_str().unwrap()).collect();
        assert!(what[0].contains("surprise") && what[1].contains("ca.pem"), "{plan:#}");
        assert!(plan["stop"].is_null() && problems[0]["line"] == 1, "{plan:#}");
        assert!(printed(1, &directory, &look).contains("next/certbound.yaml:1:1: error: unknown key"));
        drop(serving);
    }
    complaint(2, &directory, &["plan", "--candidate", "missing.yaml"]);
}
