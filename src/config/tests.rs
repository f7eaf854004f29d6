//! The sample is complete, every problem is found at its place, and nothing secret is shown.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::section::{ALL, Section};
use super::*;
use crate::document::{Problem, Severity};

const SAMPLE: &str = include_str!("../../certbound.yaml");

/// The least that is a configuration. Line 3 is the listener.
const LEAST: &str = "issuer: https://as.example.com
listeners:
  - {kind: mtls, bind: '127.0.0.1:8443', tls: {certificate: s.pem, key: s.key}}
";

pub(super) fn read(text: &str) -> (Option<Config>, Vec<Problem>) {
    let (config, problems) = document::read(Path::new("/etc/certbound/certbound.yaml"), text.as_bytes());
    (config, problems.0)
}

pub(super) fn good(text: &str) -> Config {
    let (config, problems) = read(text);
    assert!(problems.is_empty(), "{problems:#?}");
    config.unwrap()
}

/// The least configuration and `more` from line 4 on.
pub(super) fn least_and(more: &str) -> String {
    format!("{LEAST}{more}\n")
}

/// Exactly one problem, at this place, with these words.
pub(super) fn one(text: &str, place: (u64, u64), what: &str, instead: &str) {
    let (_, problems) = read(text);
    let [problem] = &problems[..] else { panic!("not one problem for {text}: {problems:#?}") };
    assert_eq!((problem.line, problem.column), place, "{text}: {problem}");
    assert!(problem.what.contains(what), "{text}: {problem}");
    assert!(problem.instead.contains(instead), "{text}: {problem}");
    assert_eq!(problem.severity, Severity::Error, "{text}");
}

#[test]
fn the_sample_is_a_configuration_without_problems() {
    let config = good(SAMPLE);
    assert_eq!(config.issuer.as_str(), "https://as.example.com");
    assert_eq!(config.mtls_base_url.as_str(), "https://mtls.example.com");
    assert_eq!(
        config.listeners.iter().map(Listener::kind).collect::<Vec<_>>(),
        ["mtls", "public", "admin", "forwarded"]
    );
    assert_eq!(config.trust_anchors[0].name.as_str(), "corp");
    assert_eq!(config.tokens.resource.unwrap().as_str(), "https://api.example.com");
}

#[test]
fn every_key_of_the_parser_stands_in_the_sample() {
    for Section { name, keys, not_built } in ALL.iter().copied() {
        for key in keys.iter().chain(*not_built) {
            let there = SAMPLE.lines().any(|line| {
                line.match_indices(&format!("{key}:")).any(|(at, _)| {
                    let before = line[..at].trim_end();
                    before.is_empty() || before.ends_with(['{', ',', '-', ')'])
                })
            });
            assert!(there, "`{key}` of `{name}` is not in certbound.yaml");
        }
    }
}

#[test]
fn every_line_for_later_in_the_sample_is_refused_as_not_supported() {
    let (_, problems) = read(&SAMPLE.replace("# (later) ", ""));
    assert!(
        problems.iter().all(|problem| problem.what.contains("not supported by this version")),
        "{problems:#?}"
    );
    let not_built = ALL.iter().flat_map(|section| section.not_built.iter());
    for key in not_built.chain(&["tls", "admins"]) {
        let named = format!("`{key}` is not supported");
        assert!(problems.iter().any(|problem| problem.what.starts_with(&named)), "{key}: {problems:#?}");
    }
}

#[test]
fn what_the_sample_shows_as_a_default_is_the_default() {
    let (sample, least) = (good(SAMPLE), good(LEAST));
    assert_eq!(sample.tokens.lifetime, least.tokens.lifetime);
    assert_eq!(sample.signing, least.signing);
    assert_eq!(sample.clients, least.clients);
    assert_eq!(sample.store, least.store);
    assert_eq!(sample.control, least.control);
    // The sample gives `head`, and what is given holds on every listener.
    assert_eq!(sample.limits.forwarded_head, sample.limits.head);
    assert_eq!(Limits { forwarded_head: least.limits.forwarded_head, ..sample.limits }, least.limits);
    assert_eq!(sample.expiry_warn, least.expiry_warn);
    assert_eq!(sample.log, least.log);
    let doors = [sample, least].map(|config| match &config.listeners[0] {
        Listener::Mtls { tls, door, .. } => (tls.resumption, *door),
        other => panic!("{other:?}"),
    });
    assert_eq!(doors[0], doors[1]);
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = good(LEAST);
    let seconds = Duration::from_secs;
    assert_eq!(config.mtls_base_url.as_str(), "https://as.example.com");
    assert_eq!((config.tokens.lifetime, config.tokens.resource), (seconds(300), None));
    assert_eq!(config.signing.directory, Path::new("/etc/certbound/keys"));
    assert_eq!(config.signing.algorithm, SigningAlgorithm::Es256);
    assert_eq!(config.signing.rotate_every, seconds(30 * 86_400));
    assert_eq!(config.clients.directory, Path::new("/etc/certbound/clients.d"));
    assert_eq!((config.clients.max_certificates, config.clients.rescan), (5, seconds(30)));
    assert_eq!(config.store, StoreSettings::Sled { path: "/etc/certbound/data".into() });
    assert_eq!(config.control, Path::new("/etc/certbound/control.sock"));
    let limits = Limits {
        head: 65_536,
        forwarded_head: 98_304,
        body: 65_536,
        head_timeout: seconds(5),
        body_timeout: seconds(5),
        idle: seconds(60),
        connections: 10_000,
        chain: 16,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.expiry_warn, seconds(30 * 86_400));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: Level::Info });
    assert!(config.trust_anchors.is_empty() && config.service_documentation.is_none());
}

#[test]
fn the_modules_get_their_own_settings() {
    let config = good(&least_and(
        "tokens: {resource: 'urn:api'}
clients: {directory: /srv/clients, max_certificates: 2}
signing: {algorithm: EdDSA, rotate_every: 1h}",
    ));
    let registry = config.registry_settings();
    assert_eq!(registry.directory, Path::new("/srv/clients"));
    assert_eq!(registry.max_certificates, 2);
    assert_eq!(registry.default_resource.unwrap().as_str(), "urn:api");
    let schedule = config.schedule();
    assert_eq!(schedule.algorithm, SigningAlgorithm::EdDsa);
    assert!(schedule.rotate_every > crate::keys::rotation::PUBLISH_BEFORE);
}

#[test]
fn the_top_of_the_file_has_its_problems_where_they_are() {
    one("", (0, 0), "", "");
    one("# nothing\n", (0, 0), "", "");
    one("[]", (1, 1), "a configuration is a map", "issuer:");
    one(&format!("{LEAST}---\nissuer: https://b\n"), (5, 1), "one document", "remove");
    one(&LEAST.replace("com\n", "com/\n"), (1, 9), "does not end with a slash", "issuer: https://");
    one(&LEAST.replace("https://as", "http://as"), (1, 9), "https", "issuer: https://");
    one(&LEAST.replace("issuer:", "isuer: 1\nissuer:"), (1, 1), "unknown key `isuer`", "`issuer`");
    one(&least_and("issuer: https://b"), (4, 1), "issuer", "");
    one(
        "listeners: [{kind: mtls, bind: '[::]:1', tls: {certificate: a, key: b}}]",
        (1, 1),
        "`issuer` is missing",
        "https://",
    );
    one("issuer: https://a", (1, 1), "`listeners` is missing", "kind: mtls");
    one(
        "issuer: https://a\nlisteners: []",
        (2, 12),
        "no listener asks for client certificates",
        "kind: mtls",
    );
    one(&least_and("mtls_base_url: https://m/"), (4, 16), "slash", "mtls_base_url:");
    one(&least_and("service_documentation: ftp://d"), (4, 24), "http or https", "");
    one(&least_and("log: {format: xml}"), (4, 15), "no value `xml`", "`format: json` or `format: text`");
    one(&least_and("log: {level: info, levl: info}"), (4, 20), "unknown key `levl`", "`level`");
    one(&least_and("log: loud"), (4, 6), "", "");
}

#[test]
fn values_out_of_their_bounds_are_refused_with_the_bounds() {
    for (more, place, bounds) in [
        ("limits: {head: 512B}", (4, 16), "1KiB to 128KiB"),
        ("limits: {head: 129KiB}", (4, 16), "1KiB to 128KiB"),
        ("limits: {body: 2MiB}", (4, 16), "1KiB to 1MiB"),
        ("limits: {head_timeout: 0s}", (4, 24), "1s to 5m"),
        ("limits: {body_timeout: 6m}", (4, 24), "1s to 5m"),
        ("limits: {idle: 2h}", (4, 16), "1s to 1h"),
        ("limits: {connections: 0}", (4, 23), "1 to 1000000"),
        ("limits: {chain: 17}", (4, 17), "1 to 16"),
        ("limits: {chain: 99999999999}", (4, 17), "1 to 16"),
        ("tokens: {access_token_lifetime: 25h}", (4, 33), "1s to 1d"),
        ("tokens: {access_token_lifetime: 0s}", (4, 33), "1s to 1d"),
        ("signing: {rotate_every: 59m}", (4, 25), "1h to 3650d"),
        ("clients: {rescan: 61m}", (4, 19), "1s to 1h"),
        ("clients: {max_certificates: 0}", (4, 29), "1 to 100"),
        ("expiry: {warn: 1s}", (4, 16), "1h to 3650d"),
    ] {
        one(&least_and(more), place, "out of its bounds", bounds);
    }
    one(&LEAST.replace("key: s.key", "key: s.key, resumption: 25h"), (3, 92), "resumption", "1s to 24h");
}

#[test]
fn values_of_another_kind_are_refused_at_their_place() {
    for (more, place) in [
        ("limits: {head: 64}", (4, 16)),
        ("limits: {idle: soon}", (4, 16)),
        ("limits: {connections: many}", (4, 23)),
        ("tokens: {resource: api}", (4, 20)),
        ("tokens: {resource: 'https://a#b'}", (4, 20)),
        ("signing: {algorithm: HS256}", (4, 22)),
        ("signing: {algorithm: es256}", (4, 22)),
        ("store: {sled: {path: [a]}}", (4, 22)),
        ("store: {sled: {path: ''}}", (4, 22)),
        ("clients: {directory: \"a\\0b\"}", (4, 22)),
    ] {
        let (_, problems) = read(&least_and(more));
        assert_eq!(problems.len(), 1, "{more}: {problems:#?}");
        assert_eq!((problems[0].line, problems[0].column), place, "{more}: {problems:#?}");
    }
}

#[test]
fn listeners_have_what_their_kind_has() {
    let with = |listener: &str| format!("{LEAST}  - {listener}\n");
    one(&with("{kind: mtsl, bind: '127.0.0.1:1'}"), (4, 12), "`mtsl`", "`kind: mtls`");
    one(&with("{bind: '127.0.0.1:1'}"), (4, 5), "`kind` is missing", "kind: mtls");
    one(&with("{kind: public, bind: '127.0.0.1:1'}"), (4, 5), "`tls` is missing", "certificate");
    one(&with("{kind: public, tls: {certificate: a, key: b}}"), (4, 5), "`bind` is missing", "bind: ");
    one(
        &with("{kind: public, bind: 'unix:/a', tls: {certificate: a, key: b}}"),
        (4, 26),
        "unix socket",
        "IP address",
    );
    one(
        &with("{kind: admin, bind: 'localhost:1'}"),
        (4, 25),
        "`localhost:1`",
        "host names are not looked up",
    );
    one(&with("{kind: admin, bind: '0.0.0.0:9090'}"), (4, 25), "has no TLS", "127.0.0.1:9090");
    one(&with("{kind: admin, bind: '[::ffff:10.0.0.1]:9090'}"), (4, 25), "has no TLS", "127.0.0.1:9090");
    one(&with("{kind: admin, bind: '127.0.0.1:1', proxy: {}}"), (4, 47), "`proxy` means nothing", "kind");
    one(&with("{kind: admin, bind: '127.0.0.1:1', tls: {}}"), (4, 40), "`tls` is not supported", "");
    one(
        &with(
            "{kind: public, bind: '127.0.0.1:1', client_certificate: require, tls: {certificate: a, key: b}}",
        ),
        (4, 61),
        "`client_certificate` means nothing to a listener of `kind: public`",
        "kind",
    );
}

#[test]
fn an_admin_listener_may_be_on_loopback_or_a_socket() {
    for (bind, shown) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::1]:9", "[::1]:9"),
        ("[::ffff:127.0.0.1]:9", "[::ffff:127.0.0.1]:9"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:a.sock", "unix:/etc/certbound/a.sock"),
    ] {
        let config = good(&format!("{LEAST}  - {{kind: admin, bind: '{bind}'}}\n"));
        let Listener::Admin { bind } = &config.listeners[1] else { panic!("{config:?}") };
        assert_eq!(bind.to_string(), shown);
    }
}

#[test]
fn two_listeners_never_want_one_socket() {
    let two = |one: &str, other: &str| {
        format!("{LEAST}  - {{kind: admin, bind: '{one}'}}\n  - {{kind: admin, bind: '{other}'}}\n")
    };
    for (first, second) in [("127.0.0.1:9", "127.0.0.1:9"), ("[::1]:9", "[::1]:9"), ("unix:/a", "unix:/a")] {
        one(&two(first, second), (5, 25), "the listener of line 4 has this address", "of its own");
    }
    for (first, second) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:9", "[::1]:9"), ("unix:/a", "unix:/b")]
    {
        good(&two(first, second));
    }
    let every_address = LEAST.replace("127.0.0.1:8443", "0.0.0.0:8443");
    one(&format!("{every_address}  - {{kind: admin, bind: '127.0.0.1:8443'}}\n"), (4, 25), "line 3", "");
}

#[test]
fn the_identity_of_a_server_is_two_files_or_one() {
    let with = |tls: &str| LEAST.replace("{certificate: s.pem, key: s.key}", tls);
    let config = good(&with("{pkcs12: {file: s.p12, password: {env: PASSWORD}}, resumption: 10m}"));
    let Listener::Mtls { tls, .. } = &config.listeners[0] else { panic!("{config:?}") };
    let IdentitySource::Pkcs12 { file, password } = &tls.identity else { panic!("{tls:?}") };
    assert_eq!(file.path, Path::new("/etc/certbound/s.p12"));
    assert_eq!(*password, SecretRef::Env("PASSWORD".to_owned()));
    assert_eq!(tls.resumption, Some(Duration::from_secs(600)));

    one(&with("{certificate: s.pem}"), (3, 47), "`key` is missing", "key: ");
    one(&with("{key: s.key}"), (3, 47), "`certificate` is missing", "certificate: ");
    one(
        &with("{key: s.key, pkcs12: {file: a, password: {env: A}}}"),
        (3, 53),
        "`key` and `pkcs12`",
        "either",
    );
    one(&with("{pkcs12: {file: s.p12}}"), (3, 56), "`password` is missing", "{file: ");
}

#[test]
fn a_secret_is_never_shown_wherever_it_was_written() {
    for password in [
        "hunter2",
        "[hunter2]",
        "{file: [hunter2]}",
        "{file: \"-----BEGIN hunter2\"}",
        "{file: \"hunter2\\n\"}",
        "{env: 'hunter2!'}",
        "{env: {a: hunter2}}",
        "{}",
        "{file: a, env: B}",
        "{plain: hunter2}",
    ] {
        let tls = format!("{{pkcs12: {{file: s.p12, password: {password}}}}}");
        let (config, problems) = read(&LEAST.replace("{certificate: s.pem, key: s.key}", &tls));
        assert!(!problems.is_empty(), "{password}");
        assert!(problems.iter().all(|problem| problem.line == 3 && problem.column > 57), "{problems:#?}");
        assert!(!format!("{problems:?}{config:?}").contains("hunter2"), "{problems:#?}");
    }
    let inline = LEAST.replace("key: s.key", "key: \"-----BEGIN PRIVATE KEY-----\\nhunter2\"");
    let (config, problems) = read(&inline);
    assert!(problems.len() == 1 && !format!("{problems:?}{config:?}").contains("hunter2"), "{problems:#?}");
}

#[test]
fn an_anchor_set_has_a_name_a_file_and_a_profile() {
    let with = |set: &str| least_and(&format!("trust_anchors:\n  corp: {set}"));
    let config = good(&with("{file: ca.pem, intermediates: /i.pem, profile: strict, revocation: off}"));
    let set = &config.trust_anchors[0];
    assert_eq!((set.name.as_str(), set.profile), ("corp", Profile::Strict));
    assert_eq!(set.file.path, Path::new("/etc/certbound/ca.pem"));
    assert_eq!(set.intermediates.as_ref().unwrap().path, Path::new("/i.pem"));
    assert_eq!((set.at.line, set.at.column), (5, 3));

    one(&with("{}"), (5, 9), "`file` is missing", "file: trust/corp.pem");
    one(&with("ca.pem"), (5, 9), "", "");
    one(&with("{file: a, profile: lax}"), (5, 28), "`lax`", "`profile: strict`");
    one(&with("{file: a, revocation: on}"), (5, 31), "`on`", "revocation: off");
    one(&least_and("trust_anchors: [a]"), (4, 16), "map of named sets", "corp");
    one(&least_and("trust_anchors:\n  '': {file: a}"), (5, 3), "name of an anchor set", "corp");
}

#[test]
fn the_control_socket_lies_beside_the_store_and_its_path_fits() {
    let config = good(&least_and("store: {sled: {path: /var/lib/certbound/data}}"));
    assert_eq!(config.control, Path::new("/var/lib/certbound/control.sock"));
    let config = good(&least_and("control: /run/c.sock"));
    assert_eq!(config.control, Path::new("/run/c.sock"));

    let fits = format!("/{}", "a".repeat(SOCKET_PATH_MAX - 1));
    assert_eq!(good(&least_and(&format!("control: {fits}"))).control, Path::new(&fits));
    one(&least_and(&format!("control: {fits}a")), (4, 10), "has 108", "`control: ");
    let deep = format!("store: {{sled: {{path: /{}/data}}}}", "a".repeat(100));
    one(&least_and(&deep), (4, 22), "at most 107 bytes", "`control: ");
    let admin = format!("{LEAST}  - {{kind: admin, bind: 'unix:{fits}a'}}\n");
    one(&admin, (4, 25), "at most 107 bytes", "`bind: unix:");
}

#[test]
fn relative_paths_start_at_the_file_that_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certbound.yaml");
    std::fs::write(&path, LEAST).unwrap();
    let (config, problems) = Config::load(&path);
    assert_eq!(problems, Problems::default());
    let config = config.unwrap();
    assert_eq!(config.signing.directory, directory.path().join("keys"));
    assert_eq!(config.file, path);

    let (here, _) = document::read(Path::new("certbound.yaml"), LEAST.as_bytes());
    assert_eq!(here.unwrap().control, Path::new("control.sock"));
}

#[test]
fn everything_wrong_is_told_at_once_and_nothing_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certbound.yaml");
    let text = "issuer: http://a\nlisteners: [{kind: admin, bind: '10.0.0.1:1'}]\nlimits: {head: 1B, chain: 0}\naudit: {}\nnew: 1\n";
    std::fs::write(&path, text).unwrap();
    let (config, problems) = Config::load(&path);
    assert!(config.is_none());
    let lines: Vec<u64> = problems.0.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 2, 3, 3, 4, 5], "in the order of the file: {problems:#?}");

    let draft = Config::draft(&path).0.unwrap();
    assert_eq!(draft.limits.head, 65_536, "the default stands in, so that `check` can go on");
    assert_eq!(draft.clients.directory, directory.path().join("clients.d"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let (config, problems) = Config::load(Path::new("/nonexistent/certbound.yaml"));
    assert!(config.is_none());
    assert_eq!(problems.0.len(), 1);
    assert!(problems.0[0].what.contains("cannot be read"), "{problems:#?}");
}

#[test]
fn a_reload_says_what_needs_a_restart_and_nothing_else() {
    let before = good(SAMPLE);
    let restart = |from: &str, to: &str| {
        assert!(SAMPLE.contains(from), "{from}");
        before.restart_needed(&good(&SAMPLE.replacen(from, to, 1)))
    };
    for (from, to, key) in [
        ("issuer: https://as.", "issuer: https://bs.", "issuer"),
        ("mtls_base_url: https://mtls.", "mtls_base_url: https://m.", "mtls_base_url"),
        ("bind: 0.0.0.0:8443", "bind: 0.0.0.0:8445", "listeners"),
        ("client_certificate: request", "client_certificate: require", "listeners"),
        ("resumption: off\n", "resumption: 5m\n", "listeners"),
        ("directory: keys", "directory: keys2", "signing.directory"),
        ("algorithm: ES256", "algorithm: RS256", "signing.algorithm"),
        ("rotate_every: 30d", "rotate_every: 31d", "signing.rotate_every"),
        ("path: data", "path: data2", "store"),
        ("control: control.sock", "control: c.sock", "control"),
        ("head: 64KiB", "head: 32KiB", "limits.head"),
        ("head_timeout: 5s", "head_timeout: 6s", "limits.head_timeout"),
        ("idle: 60s", "idle: 61s", "limits.idle"),
        ("connections: 10000", "connections: 9", "limits.connections"),
        ("format: json", "format: text", "log.format"),
        ("https://docs.example.com/oauth", "https://docs.example.com", "service_documentation"),
    ] {
        assert_eq!(restart(from, to), [key], "{from}");
    }
    for (from, to) in [
        ("# The configuration", "\n\n# The configuration"),
        ("certificate: tls/server.pem", "certificate: tls/next.pem"),
        ("file: trust/corp.pem", "file: trust/other.pem"),
        ("access_token_lifetime: 5m", "access_token_lifetime: 6m"),
        ("directory: clients.d", "directory: clients2.d"),
        ("body: 64KiB", "body: 32KiB"),
        ("body_timeout: 5s", "body_timeout: 6s"),
        ("chain: 16", "chain: 4"),
        ("warn: 30d", "warn: 31d"),
        ("level: info", "level: debug"),
    ] {
        assert!(restart(from, to).is_empty(), "{from}");
    }
    let without_admin = SAMPLE.replace("  - kind: admin\n    bind: 127.0.0.1:9090\n", "");
    assert_eq!(before.restart_needed(&good(&without_admin)), ["listeners"]);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = read(&text);
    }

    /// Values of every shape in every place that has a key.
    #[test]
    fn no_value_in_any_place_makes_the_reader_panic(
        section in 0..ALL.len(),
        value in "(off|mtls|admin|unix:|-?[0-9]{1,22}[smhdKiB]{0,3}|\\[\\]|\\{\\}|\\[\\[~\\]\\]|\"[^\"\\\\]{0,9}\"|\\{(kind|file|path|env): [a-z]{0,9}\\})",
    ) {
        for key in ALL[section].keys.iter().chain(ALL[section].not_built) {
            let (name, map) = (ALL[section].name, format!("{{{key}: {value}}}"));
            let text = match name {
                "" => format!("{key}: {value}"),
                "listeners" => format!("listeners: [{map}]"),
                "trust_anchors" => format!("trust_anchors: {{a: {map}}}"),
                "tls" | "tls.pkcs12" | "password" => {
                    let tls = map.replace("{file", "{pkcs12: {file").replace("{env", "{pkcs12: {password: {env");
                    format!("listeners: [{{kind: mtls, bind: '[::]:1', tls: {tls}}}]")
                }
                "listeners.proxy" => format!("listeners: [{{kind: forwarded, bind: '[::1]:1', proxy: {map}}}]"),
                "listeners.proxy.mtls" | "listeners.proxy.basic" => {
                    let proof = name.rsplit('.').next().unwrap_or_default();
                    format!("listeners: [{{kind: forwarded, bind: 'unix:/a', proxy: {{{proof}: {map}}}}}]")
                }
                "store.sled" => format!("store: {{sled: {map}}}"),
                name => format!("{name}: {map}"),
            };
            let (_, problems) = read(&text);
            prop_assert!(!problems.is_empty(), "{}", text);
        }
    }
}
