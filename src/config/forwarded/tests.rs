//! Every mistake in a listener behind a proxy is told at its place, and what is right is read as it is written.

use super::super::tests::{good, one, read};
use super::*;
use crate::config::Config;
use crate::document::Severity;

const TLS: &str = "tls: {certificate: s, key: k}";

/// A configuration whose only listener, in line 4, is this one.
fn with(listener: &str) -> String {
    format!(
        "issuer: https://as.example.com\ntrust_anchors: {{internal: {{file: i.pem}}}}\nlisteners:\n  - {{kind: forwarded, {listener}}}\n"
    )
}

fn forwarded(config: &Config) -> &Forwarded {
    config.forwarded().next().unwrap()
}

/// The column of the last `what` in line 4.
fn column(listener: &str, what: &str) -> (u64, u64) {
    let before = "  - {kind: forwarded, ".len() + listener.rfind(what).unwrap() + 1;
    (4, u64::try_from(before).unwrap())
}

/// Exactly one problem, where `place` is written.
fn refused(listener: &str, place: &str, what: &str, instead: &str) {
    one(&with(listener), column(listener, place), what, instead);
}

#[test]
fn a_listener_is_read_with_everything_that_it_may_have() {
    let config = good(&with(&format!(
        "bind: '10.0.0.5:8081', {TLS}, dialect: haproxy, header: X-Cert, proxy: {{address: [10.0.0.7/32, '2001:db8::/64'], \
         mtls: {{trust_anchors: internal, tls_client_auth_subject_dn: 'CN=proxy'}}, basic: {{username: p, password: {{env: P}}}}}}"
    )));
    let one = forwarded(&config);
    assert_eq!(one.bind, ForwardedBind::Tcp("10.0.0.5:8081".parse().unwrap()));
    assert_eq!((one.reader.dialect(), one.reader.header()), (Dialect::HaProxy, "x-cert"));
    let blocks: Vec<_> = one.proxy.address.iter().map(ToString::to_string).collect();
    assert_eq!(blocks, ["10.0.0.7/32", "2001:db8::/64"]);
    let mtls = one.proxy.mtls.as_ref().unwrap();
    assert_eq!((mtls.anchors.as_str(), mtls.subject.to_string().as_str()), ("internal", "CN=proxy"));
    assert_eq!(one.proxy.basic.as_ref().unwrap().password, SecretRef::Env("P".to_owned()));
    assert_eq!(config.proxy_sets().map(AnchorSetName::as_str).collect::<Vec<_>>(), ["internal"]);
    for dialect in Dialect::ALL {
        let config = good(&with(&format!("bind: 'unix:/a', dialect: {dialect}")));
        assert_eq!(forwarded(&config).reader.header(), dialect.header());
    }
}

#[test]
fn a_socket_is_a_proof_by_itself_and_nobody_elses() {
    for (mode, is) in [("", 0o600), (", mode: '0600'", 0o600), (", mode: \"0660\"", 0o660)] {
        let config = good(&with(&format!("bind: 'unix:f.sock', dialect: nginx{mode}")));
        let path = "/etc/certbound/f.sock".into();
        assert_eq!(forwarded(&config).bind, ForwardedBind::Unix { path, mode: is });
        assert!(forwarded(&config).proxy().unwrap().proof.unix_socket);
    }
    let socket = |more: &str| format!("bind: 'unix:/a', dialect: nginx, {more}");
    for mode in ["0660", "'660'", "'00660'", "'+660'", "'0o60'", "'0680'", "rw-rw----", "432", "''"] {
        refused(&socket(&format!("mode: {mode}")), mode, "four octal digits in quotes", "mode: \"0660\"");
    }
    refused(&socket("mode: '0666'"), "'0666'", "every user of the host", "mode: \"0660\"");
    refused(&socket("mode: '0661'"), "'0661'", "every user of the host", "mode: \"0660\"");
    refused(&socket("mode: '0060'"), "'0060'", "the owner of the socket", "mode: \"0600\"");
    refused(&socket(TLS), "{cert", "without TLS", "remove `tls`");
    refused(&socket("proxy: {address: [10.0.0.7]}"), "[10", "has no address", "remove it");
    let mtls = "proxy: {mtls: {trust_anchors: internal, tls_client_auth_san_dns: p.example}}";
    refused(&socket(mtls), "{trust", "shows no certificate", "remove it");
    let long = format!("bind: 'unix:/{}', dialect: nginx", "a".repeat(107));
    refused(&long, "'unix", "at most 107 bytes", "forwarded.sock");
}

#[test]
fn without_tls_only_loopback_is_listened_on() {
    let at = |bind: &str| {
        format!("bind: '{bind}', dialect: nginx, proxy: {{basic: {{username: p, password: {{env: P}}}}}}")
    };
    for bind in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        good(&with(&at(bind)));
    }
    for bind in ["10.0.0.5:1", "0.0.0.0:1", "[::]:1", "[::ffff:10.0.0.5]:1", "[fe80::1]:1"] {
        refused(&at(bind), &format!("'{bind}'"), "has no `tls`", "bind: unix:PATH");
        good(&with(&format!("{TLS}, {}", at(bind))));
    }
    refused(&at("localhost:1"), "'localhost", "`localhost:1`", "bind: 127.0.0.1:8081");
    refused(&format!("mode: '0660', {}", at("127.0.0.1:1")), "'0660'", "unix socket", "bind: unix:PATH");
}

#[test]
fn a_port_has_a_proof_and_one_that_does_not_hold_for_everybody() {
    let at = |proxy: &str| format!("bind: '10.0.0.5:1', {TLS}, dialect: nginx{proxy}");
    let none = "nothing says which proxy may speak here";
    one(&with(&at("")), (4, 5), none, "address: [10.0.0.7/32]");
    refused(&at(", proxy: {}"), "{}", none, "basic: {");
    one(&with("bind: '127.0.0.1:1', dialect: nginx"), (4, 5), none, "mtls: {");
    let address = |list: &str| at(&format!(", proxy: {{address: {list}}}"));
    refused(&address("[]"), "[]", "is empty", "address: [10.0.0.7/32]");
    for everybody in ["0.0.0.0/0", "'::/0'", "'::ffff:0.0.0.0/96'"] {
        refused(
            &address(&format!("[10.0.0.7, {everybody}]")),
            everybody,
            "anybody could be any client",
            "10.0.0.7/32",
        );
    }
    for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0.7/8", "10.0.0", "'10.0.0.7:80'", "'*'", "''"] {
        refused(&address(&format!("[{wrong}]")), wrong, "listeners.proxy.address", "address: [10.0.0.7/32]");
    }
    refused(&address("10.0.0.7"), "10.0.0.7", "not a list", "[a, b]");
}

#[test]
fn an_address_alone_on_loopback_is_a_warning() {
    let at =
        |bind: &str, proxy: &str| with(&format!("bind: '{bind}', {TLS}, dialect: nginx, proxy: {{{proxy}}}"));
    let warned = |text: &str| {
        let (config, problems) = read(text);
        assert!(config.is_some() && problems.len() <= 1, "{problems:#?}");
        problems.first().is_some_and(|problem| {
            assert_eq!(problem.severity, Severity::Warning, "{problem}");
            problem.what.contains("every process of this host") && problem.instead.contains("unix:PATH")
        })
    };
    for alone in
        ["127.0.0.1", "127.0.0.2/32", "127.0.0.0/8", "'::1'", "'::ffff:127.0.0.1'", "10.0.0.7, 0.0.0.0/1"]
    {
        assert!(warned(&at("0.0.0.0:1", &format!("address: [{alone}]"))), "{alone}");
    }
    assert!(!warned(&at("0.0.0.0:1", "address: [10.0.0.7]")));
    assert!(!warned(&at("0.0.0.0:1", "address: [127.0.0.1], basic: {username: p, password: {env: P}}")));
    let plain = "bind: '127.0.0.1:1', dialect: nginx, proxy: {address: [127.0.0.1]}";
    assert!(warned(&with(plain)));
}

#[test]
fn the_certificate_of_a_proxy_has_a_set_that_exists_and_one_rule() {
    let at = |mtls: &str| format!("bind: '10.0.0.5:1', {TLS}, dialect: nginx, proxy: {{mtls: {mtls}}}");
    let rule = "tls_client_auth_san_dns: p.example";
    refused(
        &at(&format!("{{{rule}}}")),
        "{tls_client",
        "`trust_anchors` is missing",
        "trust_anchors: internal",
    );
    refused(
        &at(&format!("{{trust_anchors: other, {rule}}}")),
        "other",
        "no set of trust anchors named `other`",
        "internal",
    );
    refused(&at("{trust_anchors: internal}"), "{trust", "which certificate", "exactly one of");
    let two = at(&format!("{{trust_anchors: internal, {rule}, tls_client_auth_san_ip: 10.0.0.7}}"));
    refused(&two, "10.0.0.7}", "`tls_client_auth_san_ip` is one rule too many", "exactly one of");
    let wildcard = at("{trust_anchors: internal, tls_client_auth_san_dns: '*.example'}");
    refused(&wildcard, "'*", "tls_client_auth_san_dns", "proxy.internal");
    let plain =
        format!("bind: '127.0.0.1:1', dialect: nginx, proxy: {{mtls: {{trust_anchors: internal, {rule}}}}}");
    refused(&plain, "{trust", "shows no certificate", "add `tls:");
    // A set that has a problem of its own is there by its name.
    let text = with(&at(&format!("{{trust_anchors: internal, {rule}}}"))).replace("{file: i.pem}", "{}");
    one(&text, (2, 27), "`file` is missing", "file:");
}

#[test]
fn the_credentials_of_a_proxy_have_a_name_and_a_place_for_the_password() {
    let at = |basic: &str| format!("bind: '127.0.0.1:1', dialect: nginx, proxy: {{basic: {basic}}}");
    for name in ["''", "'a:b'", "\"a\\tb\""] {
        refused(
            &at(&format!("{{username: {name}, password: {{env: P}}}}")),
            name,
            "no colon",
            "username: proxy",
        );
    }
    refused(&at("{password: {env: P}}"), "{password", "`username` is missing", "username: proxy");
    refused(&at("{username: p}"), "{username", "`password` is missing", "{file: ");
    let (config, problems) = read(&with(&at("{username: p, password: hunter2}")));
    assert!(problems.len() == 1 && !format!("{problems:?}{config:?}").contains("hunter2"), "{problems:#?}");
}

#[test]
fn a_password_that_cannot_be_had_is_a_problem_where_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let config = good(&with(&format!(
        "bind: '127.0.0.1:1', dialect: nginx, proxy: {{basic: {{username: p, password: {{file: '{}'}}}}}}",
        path.display()
    )));
    let wrong = || forwarded(&config).proxy().err().map(|problems| problems.0[0].clone());
    let missing = wrong().unwrap();
    assert!(missing.what.contains("cannot be read") && missing.line == 4, "{missing}");
    for (text, what) in
        [("", "no password"), ("\n", "no password"), ("hunter2\nmore\n", "control characters")]
    {
        std::fs::write(&path, text).unwrap();
        let problem = wrong().unwrap();
        assert!(problem.what.contains(what) && !problem.what.contains("hunter2"), "{problem}");
    }
    std::fs::write(&path, "hunter2\n").unwrap();
    assert!(wrong().is_none());
}

#[test]
fn the_dialect_is_required_and_the_header_is_one_that_it_may_have() {
    let at = |more: &str| format!("bind: 'unix:/a'{more}");
    one(&with(&at("")), (4, 5), "`dialect` is missing", "dialect: rfc9440");
    refused(&at(", dialect: Nginx"), "Nginx", "no value `Nginx`", "`dialect: nginx`");
    for header in ["''", "'a b'", "X_Cert", "Host", "client-cert-chain", "Proxy-Authorization"] {
        refused(
            &at(&format!(", dialect: rfc9440, header: {header}")),
            header,
            "listeners.header",
            "header: client-cert",
        );
    }
    let foreign = at(", dialect: nginx, client_certificate: require");
    refused(&foreign, "require", "means nothing to a listener of `kind: forwarded`", "remove it");
    let listener = |bind: &str, dialect: &str| {
        format!("  - {{kind: forwarded, bind: 'unix:{bind}', dialect: {dialect}}}\n")
    };
    let two = |bind: &str| with("bind: 'unix:/a', dialect: nginx") + &listener(bind, "azure");
    one(&two("/a"), (5, 29), "the listener of line 4 has this address", "of its own");
    good(&two("/b"));
    let admin = with("bind: 'unix:/a', dialect: nginx") + "  - {kind: admin, bind: 'unix:/a'}\n";
    one(&admin, (5, 25), "the listener of line 4 has this address", "of its own");
}

#[test]
fn what_changes_of_a_listener_needs_a_restart_but_its_certificate() {
    let text = with(&format!(
        "bind: '10.0.0.5:1', {TLS}, dialect: nginx, header: X-A, proxy: {{address: [10.0.0.7], mtls: {{trust_anchors: \
         internal, tls_client_auth_san_dns: p.example}}, basic: {{username: p, password: {{env: P}}}}}}"
    ));
    let before = good(&text);
    let restart = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        before.restart_needed(&good(&text.replacen(from, to, 1)))
    };
    for (from, to) in [
        ("10.0.0.5:1", "10.0.0.5:2"),
        ("key: k", "key: k, resumption: 5m"),
        ("dialect: nginx", "dialect: apache"),
        ("X-A", "X-B"),
        ("[10.0.0.7]", "[10.0.0.8]"),
        ("address: [10.0.0.7], ", ""),
        ("p.example", "q.example"),
        ("username: p", "username: q"),
        ("env: P", "env: Q"),
    ] {
        assert_eq!(restart(from, to), ["listeners"], "{from}");
    }
    assert!(restart("certificate: s", "certificate: t").is_empty());
    assert!(restart("issuer", "\nissuer").is_empty(), "a line further down");
    assert_eq!(
        restart("listeners:", "limits: {head: 96KiB}\nlisteners:"),
        ["limits.head"],
        "elsewhere it was less"
    );
}
