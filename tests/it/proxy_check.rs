//! `certbound proxy-check`: whether a proxy believes what clients write is told from outside, and said.

mod naive;
mod real;

use std::path::Path;

use certbound::http::Kind;
use certbound::http::forwarded::Dialect;
use certbound::pki::files;
use certbound::pki::workshop::Template;
use serde_json::Value;

use self::naive::Naive;
use crate::support::pki::DAY;
use crate::support::program::{complaint, ended, json, printed};
use crate::support::{Server, Setup, Shown};

/// A set-up with a forwarded listener on `forwarded.sock` that reads this dialect.
fn behind_a_proxy(dialect: Dialect) -> Setup {
    let mut setup = Setup::new();
    setup.listeners =
        format!("  - {{ kind: forwarded, bind: \"unix:forwarded.sock\", dialect: {dialect} }}\n");
    setup
}

/// Writes `billing.pem`, with its chain, `billing.key` and the `server-ca.pem` that the commands need.
fn write_files(setup: &Setup, billing: &Shown) {
    let chain: String = billing.chain.iter().map(|der| files::to_pem(der)).collect();
    setup.write("billing.pem", chain);
    let key = openssl::pkey::PKey::private_key_from_pkcs8(&billing.key).unwrap();
    setup.write("billing.key", key.private_key_to_pem_pkcs8().unwrap());
    setup.write("server-ca.pem", setup.pki.server_ca.identity().certificate_pem());
}

const SECRETS: [&str; 6] = ["--cert", "billing.pem", "--key", "billing.key", "--client-id", "billing"];

/// Runs the check to this exit code.
fn check(code: i32, directory: &Path, url: &str, more: &[&str]) -> Value {
    json(code, directory, &[&["proxy-check", url, "--ca", "server-ca.pem"], more].concat())
}

/// The attacks with this verdict, as header and attack, beside no certificate or beside one.
fn with_verdict(report: &Value, beside: &str, verdict: &str) -> Vec<String> {
    let attacks = report["attacks"].as_array().unwrap().iter();
    let found = attacks.filter(|attack| attack[beside]["verdict"] == verdict);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found.map(|attack| format!("{} {}", text(&attack["header"]), text(&attack["attack"]))).collect()
}

fn url(server: &Server, kind: Kind) -> String {
    format!("https://localhost:{}", server.address(kind).port())
}

#[test]
fn a_server_that_ends_tls_itself_believes_no_header() {
    let server = Server::start();
    let billing = server.setup.pki.client("billing.example.com");
    write_files(&server.setup, &billing);
    let directory = server.setup.path("");
    for more in [&[][..], &SECRETS] {
        let report = check(0, &directory, &url(&server, Kind::Mtls), more);
        assert_eq!((&report["believed"], &report["certificate_asked_for"]), (&false.into(), &true.into()));
        for beside in ["without_certificate", "with_certificate"] {
            let harmless = with_verdict(&report, beside, "no_effect").len();
            assert_eq!(harmless, 27, "three of four attacks with each of nine headers: {report:#}");
            assert_eq!(with_verdict(&report, beside, "refused").len(), 9, "and what is too long");
        }
        assert_eq!(report["findings"], Value::Array(Vec::new()), "{report:#}");
        assert_eq!(report["configurations"], Value::Array(Vec::new()));
    }
    let report = check(0, &directory, &url(&server, Kind::Mtls), &SECRETS);
    assert_eq!(report["baseline"]["with_certificate"]["bound_to"], billing.thumbprint());
    assert_eq!(report["baseline"]["without_certificate"]["error"], "invalid_client");
    assert!(report["baseline"]["without_certificate"]["reference"].is_string());
    assert_eq!(report["baseline"]["leaf_alone"], Value::Null, "the file has no more than that");
}

#[test]
fn a_proxy_that_hands_on_what_clients_write_is_caught_in_every_dialect() {
    for dialect in Dialect::ALL {
        let server = behind_a_proxy(dialect).start();
        write_files(&server.setup, &server.setup.pki.client("billing.example.com"));
        let naive = Naive::start(&server.setup.pki.server, &server.setup.path("forwarded.sock"));
        let directory = server.setup.path("");
        // Without any certificate of a client it can be told as well.
        let reports = [&[][..], &SECRETS].map(|more| check(1, &directory, &naive.url(), more));
        for report in &reports {
            assert_eq!(report["believed"], true, "{dialect}");
            let forged = format!("{} forged", dialect.header());
            assert!(
                with_verdict(report, "without_certificate", "believed").contains(&forged),
                "{dialect} {report:#}"
            );
            let others = with_verdict(report, "without_certificate", "reached");
            assert!(others.contains(&format!("{} duplicate", dialect.header())), "{dialect}: {others:?}");
            assert!(others.contains(&format!("{} underscore", dialect.header())), "{dialect}: {others:?}");
            let findings = report["findings"].to_string();
            assert!(
                findings.contains("was BELIEVED: ") && findings.contains("asked for no certificate"),
                "{findings}"
            );
        }
        let forged = reports[1]["attacks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|attack| attack["dialect"] == dialect.as_str() && attack["attack"] == "forged");
        let token = &forged.unwrap()["without_certificate"];
        assert_eq!(
            (&token["status"], &token["token"]),
            (&200.into(), &true.into()),
            "{dialect}: a whole token"
        );
    }
}

#[test]
fn another_name_of_the_header_is_tried_where_it_is_named() {
    let mut setup = Setup::new();
    setup.listeners =
        "  - { kind: forwarded, bind: \"unix:forwarded.sock\", dialect: haproxy, header: X-Cert }\n"
            .to_owned();
    let server = setup.start();
    write_files(&server.setup, &server.setup.pki.client("billing.example.com"));
    let naive = Naive::start(&server.setup.pki.server, &server.setup.path("forwarded.sock"));
    let report =
        check(1, &server.setup.path(""), &naive.url(), &["--dialect", "haproxy", "--header", "X-Cert"]);
    assert_eq!(with_verdict(&report, "without_certificate", "believed"), ["x-cert forged"]);
}

#[test]
fn a_chain_that_has_to_come_along_is_told() {
    let server = Server::start();
    let (pki, now) = (&server.setup.pki, server.setup.pki.now);
    let issuing =
        pki.corp.intermediate(&Template::new("Issuing", now.minus(DAY), now.plus(DAY * 365))).unwrap();
    let template = Template { dns: vec!["billing.example.com".to_owned()], ..pki.template("b") };
    let leaf = Shown::from(&issuing.issue(&template).unwrap());
    write_files(&server.setup, &leaf.with(&[issuing.identity().certificate_der()]));
    let report = check(0, &server.setup.path(""), &url(&server, Kind::Mtls), &SECRETS);
    assert_eq!(report["baseline"]["with_certificate"]["token"], true);
    assert_eq!(report["baseline"]["leaf_alone"]["error"], "invalid_client");
    assert!(report["findings"].to_string().contains("without its intermediates"), "{report:#}");
}

#[test]
fn a_certificate_that_gets_no_token_is_said_to_prove_less() {
    let server = Server::start();
    write_files(&server.setup, &server.setup.pki.client("another.example.com"));
    let report = check(0, &server.setup.path(""), &url(&server, Kind::Mtls), &SECRETS);
    let reference = report["baseline"]["with_certificate"]["reference"].as_str().unwrap();
    assert!(report["findings"].to_string().contains(&format!("certbound explain {reference}")), "{report:#}");
}

#[test]
fn people_get_a_table_and_the_configuration_that_they_asked_for() {
    let server = Server::start();
    write_files(&server.setup, &server.setup.pki.client("billing.example.com"));
    let directory = server.setup.path("");
    let url = url(&server, Kind::Mtls);
    let arguments = |dialect| ["proxy-check", url.as_str(), "--ca", "server-ca.pem", "--dialect", dialect];
    for (dialect, line) in [
        ("nginx", "proxy_set_header X-SSL-Client-Cert"),
        ("haproxy", "http-request set-header X-SSL-Client-DER"),
        ("apache", "RequestHeader set X-SSL-Client-Cert"),
    ] {
        let text = printed(0, &directory, &arguments(dialect));
        assert!(text.contains("No header of a client was believed."), "{text}");
        assert!(text.contains(&format!("docs/proxies/{dialect}.c")) && text.contains(line), "{text}");
        assert!(text.lines().any(|row| row.starts_with(dialect) && row.contains("underscore")), "{text}");
    }
    let (text, _) = ended(0, &directory, &arguments("azure"));
    assert!(!text.contains("The configuration for"), "{text}");
}

#[test]
fn wrong_usage_is_two_and_no_answer_is_one() {
    let server = Server::start();
    write_files(&server.setup, &server.setup.pki.client("billing.example.com"));
    let directory = server.setup.path("");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = url(&server, Kind::Mtls);
    for (code, arguments) in [
        (2, vec!["proxy-check"]),
        (2, vec!["proxy-check", "http://localhost:1"]),
        (2, vec!["proxy-check", "localhost"]),
        (2, vec!["proxy-check", &here, "--key", "billing.key"]),
        (2, vec!["proxy-check", &here, "--cert", "missing.pem"]),
        (2, vec!["proxy-check", &here, "--ca", "missing.pem"]),
        (2, vec!["proxy-check", &here, "--dialect", "squid"]),
        (2, vec!["proxy-check", &here, "--header", "X-Cert"]),
        (2, vec!["proxy-check", &here, "--ca", "server-ca.pem", "--dialect", "azure", "--header", "x_cert"]),
        (1, vec!["proxy-check", &here, "--ca", "corp.pem"]),
    ] {
        assert!(!complaint(code, &directory, &arguments).is_empty(), "{arguments:?}");
    }
    let away = format!("https://localhost:{}", nobody.port());
    let said = complaint(1, &directory, &["proxy-check", &away, "--ca", "server-ca.pem"]);
    assert!(said.contains("no answer"), "{said}");
}
