//! Debian's nginx, `HAProxy` and Apache: as `docs/proxies.md` has them nothing is found, and with the mistakes that
//! people make something is.

use serde_json::Value;

use super::{SECRETS, check, with_verdict, write_files};
use crate::support::proxy::{Place, Program, Proxy};
use crate::support::{Server, Setup};

/// certbound behind a proxy, with the files of the command.
struct Behind {
    proxy: Proxy,
    server: Server,
}

impl Behind {
    /// `configuration` is that of the page, or what somebody made of it.
    fn start(program: Program, configuration: &str) -> Self {
        let (place, mut setup) = (Place::new(program), Setup::new());
        setup.listeners = format!(
            "  - {{ kind: forwarded, bind: \"unix:{}\", mode: \"0660\", dialect: {} }}\n",
            place.socket().display(),
            program.name()
        );
        let server = setup.start();
        write_files(&server.setup, &server.setup.pki.client("billing.example.com"));
        let proxy = place.start(configuration, &server.setup.pki, &[]);
        Self { proxy, server }
    }

    fn check(&self, code: i32, more: &[&str]) -> Value {
        check(code, &self.server.setup.path(""), &format!("https://{}", self.proxy.address()), more)
    }
}

fn page(program: Program) -> &'static str {
    match program {
        Program::Nginx => include_str!("../../../docs/proxies/nginx.conf"),
        Program::HaProxy => include_str!("../../../docs/proxies/haproxy.cfg"),
        Program::Apache => include_str!("../../../docs/proxies/apache.conf"),
    }
}

/// The page without the lines that have any of these in them; each has to be there.
fn without(program: Program, parts: &[&str]) -> String {
    for part in parts {
        assert!(page(program).contains(part), "{part}");
    }
    let lines = page(program).lines().filter(|line| !parts.iter().any(|part| line.contains(part)));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn nothing_is_found_behind_a_proxy_as_the_page_has_it() {
    for program in Program::ALL.into_iter().filter(|program| program.is_there()) {
        let behind = Behind::start(program, page(program));
        for more in [&[][..], &SECRETS] {
            let report = behind.check(0, more);
            assert_eq!(report["findings"], Value::Array(Vec::new()), "{program:?}: {report:#}");
            assert_eq!(report["certificate_asked_for"], true, "{program:?}");
            for beside in ["without_certificate", "with_certificate"] {
                assert_eq!(with_verdict(&report, beside, "no_effect").len(), 27, "{program:?}: {report:#}");
            }
        }
    }
}

#[test]
fn nginx_that_hands_on_what_clients_write_is_caught() {
    if !Program::Nginx.is_there() {
        return;
    }
    // Nobody said what the header is, and so it is what the client says.
    let behind = Behind::start(
        Program::Nginx,
        &without(Program::Nginx, &["X-SSL-Client-Cert ", "X-SSL-Client-Verify"]),
    );
    for more in [&[][..], &SECRETS] {
        let report = behind.check(1, more);
        let believed = with_verdict(&report, "without_certificate", "believed");
        assert_eq!(believed, ["x-ssl-client-cert forged"], "{report:#}");
        let configuration = report["configurations"][0]["text"].as_str().unwrap();
        assert!(configuration.contains("proxy_set_header X-SSL-Client-Cert "), "{configuration}");
    }
}

#[test]
fn haproxy_that_writes_the_header_only_where_there_is_a_certificate_is_caught() {
    if !Program::HaProxy.is_there() {
        return;
    }
    let behind = Behind::start(Program::HaProxy, &without(Program::HaProxy, &["del-header ^x[-_]ssl"]));
    for more in [&[][..], &SECRETS] {
        let report = behind.check(1, more);
        assert_eq!(
            with_verdict(&report, "without_certificate", "believed"),
            ["x-ssl-client-der forged"],
            "{report:#}"
        );
        assert!(
            with_verdict(&report, "with_certificate", "believed").is_empty(),
            "it writes over it there: {report:#}"
        );
    }
    let report = behind.check(1, &SECRETS);
    let forged = report["attacks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|attack| attack["dialect"] == "haproxy" && attack["attack"] == "forged");
    assert_eq!(
        forged.unwrap()["without_certificate"]["token"],
        true,
        "whoever has a public certificate: {report:#}"
    );
}

#[test]
fn a_header_that_reaches_the_server_is_told_even_if_nobody_believes_it() {
    if !Program::Nginx.is_there() {
        return;
    }
    let behind = Behind::start(Program::Nginx, &without(Program::Nginx, &["X-ARR-ClientCert"]));
    let report = behind.check(0, &SECRETS);
    for beside in ["without_certificate", "with_certificate"] {
        let reached = with_verdict(&report, beside, "reached");
        assert_eq!(reached, ["x-arr-clientcert forged", "x-arr-clientcert duplicate"], "{report:#}");
    }
    assert!(report["findings"].to_string().contains("the proxy has to drop"), "{report:#}");
}

#[test]
fn a_proxy_that_judges_certificates_itself_or_asks_for_none_is_told() {
    if !Program::Nginx.is_there() {
        return;
    }
    let judges = page(Program::Nginx).replace(
        "ssl_verify_client optional_no_ca;",
        "ssl_verify_client optional; ssl_client_certificate /etc/certbound/tls/mtls.pem;",
    );
    let report = Behind::start(Program::Nginx, &judges).check(0, &SECRETS);
    assert!(report["findings"].to_string().contains("judges certificates itself"), "{report:#}");
    let asks_for_none = without(Program::Nginx, &["ssl_verify_client"]);
    let report = Behind::start(Program::Nginx, &asks_for_none).check(0, &SECRETS);
    assert_eq!(report["certificate_asked_for"], false);
    assert!(report["findings"].to_string().contains("asked for no certificate"), "{report:#}");
}
