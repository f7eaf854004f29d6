//! What is wrong with the files of an anchor set, where it is said, and that the shipped example fits.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::document::Severity;
use crate::oauth::ClientId;
use crate::pki::AnchorSetName;
use crate::pki::workshop::{Authority, Template};
use crate::registry::RegistrySettings;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A directory with a configuration; its anchor set stands in line 5.
struct Room(tempfile::TempDir);

impl Room {
    fn new(set: &str) -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        let text = format!(
            "issuer: https://a\nlisteners:\n  - {{kind: mtls, bind: '[::1]:0', tls: {{certificate: s, key: k}}}}\ntrust_anchors:\n  corp: {set}\n"
        );
        room.put("certbound.yaml", &text);
        room
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.0.path().join(name), contents).unwrap();
        self
    }

    fn config(&self) -> Config {
        let (config, problems) = Config::load(&self.0.path().join("certbound.yaml"));
        assert_eq!(problems, Problems::default());
        config.unwrap()
    }

    /// The one error, which must stand in line 5 at `column`.
    fn error(&self, column: u64) -> String {
        let Err(problems) = self.config().trust_store(NOW) else { panic!("accepted") };
        let [problem] = &problems.0[..] else { panic!("not one: {problems:#?}") };
        assert_eq!(
            (problem.line, problem.column, problem.severity),
            (5, column, Severity::Error),
            "{problem}"
        );
        problem.to_string()
    }
}

fn authority(not_before: Timestamp, not_after: Timestamp) -> Authority {
    Authority::new(&Template::new("Corp CA", not_before, not_after)).unwrap()
}

fn current() -> Authority {
    authority(NOW.minus(YEAR), NOW.plus(YEAR))
}

#[test]
fn a_set_is_read_with_its_intermediates() {
    let ca = current();
    let issuing = ca.intermediate(&Template::new("Issuing CA", NOW.minus(YEAR), NOW.plus(YEAR))).unwrap();
    let room = Room::new("{file: ca.pem, intermediates: i.pem}");
    room.put("ca.pem", ca.identity().certificate_pem()).put("i.pem", issuing.identity().certificate_pem());
    let (store, warnings) = room.config().trust_store(NOW).unwrap();
    assert_eq!(warnings, Problems::default());
    let corp = store.set(&AnchorSetName::new("corp")).unwrap();
    assert_eq!(corp.anchors()[0].der(), ca.identity().certificate_der());
    assert_eq!(corp.anchors().len(), 1);
}

#[test]
fn a_file_without_anchors_is_a_problem_where_it_is_named() {
    let room = Room::new("{file: ca.pem}");
    assert!(room.error(16).contains("ca.pem cannot be read"));
    for contents in ["", "nothing of the kind"] {
        assert!(room.put("ca.pem", contents).error(16).contains("ca.pem: "));
    }
    let leaf = current().issue(&Template::new("billing", NOW.minus(YEAR), NOW.plus(YEAR))).unwrap();
    assert!(room.put("ca.pem", leaf.certificate_pem()).error(16).contains("not a CA"));
}

#[test]
fn a_key_among_the_anchors_is_refused_and_never_shown() {
    let ca = current();
    let key = ca.identity().key_pem();
    let room = Room::new("{file: ca.pem}");
    room.put("ca.pem", format!("{}{}", ca.identity().certificate_pem(), key.as_str()));
    let problem = room.error(16);
    assert!(problem.contains("private key") && problem.contains("remove the key"), "{problem}");
    assert!(key.lines().all(|line| line.starts_with('-') || !problem.contains(line)));
}

#[test]
fn a_wrong_file_of_intermediates_is_a_problem_where_it_is_named() {
    let room = Room::new("{file: ca.pem, intermediates: i.pem}");
    room.put("ca.pem", current().identity().certificate_pem());
    assert!(room.error(39).contains("i.pem cannot be read"));
}

#[test]
fn every_set_is_read_whatever_is_wrong_with_the_others() {
    let room = Room::new("{file: a.pem, intermediates: b.pem}\n  other: {file: c.pem}");
    let Err(problems) = room.config().trust_store(NOW) else { panic!("accepted") };
    let places: Vec<_> = problems.0.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(5, 16), (5, 38), (6, 17)]);
}

#[test]
fn a_date_is_a_warning_to_the_second() {
    let ends = NOW.plus(YEAR);
    let room = Room::new("{file: ca.pem}");
    room.put("ca.pem", authority(NOW, ends).identity().certificate_pem());
    let second = Duration::from_secs(1);
    for (now, words) in [
        (NOW.minus(second), Some("is not valid before")),
        (NOW, None),
        (ends, None),
        (ends.plus(second), Some("has expired on")),
    ] {
        let (_, warnings) = room.config().trust_store(now).unwrap();
        assert!(!warnings.has_errors());
        assert_eq!(warnings.0.len(), usize::from(words.is_some()), "{warnings:#?}");
        assert!(warnings.0.iter().all(|warning| warning.what.contains(words.unwrap()) && warning.line == 5));
    }
}

#[test]
fn an_outdated_set_is_an_error_only_if_an_enabled_client_has_no_other() {
    let (old, new) = (authority(NOW.minus(YEAR), NOW.minus(Duration::from_secs(1))), current());
    let pem = [old.identity().certificate_pem(), new.identity().certificate_pem()];
    let document = |enabled: bool| {
        format!(
            "client_id: b\ntoken_endpoint_auth_method: tls_client_auth\ntls_client_auth_san_dns: b.example.com\n\
             resources: ['https://api']\nenabled: {enabled}\n"
        )
    };
    for (anchors, enabled, errors) in [(&pem[..1], true, 1), (&pem[..1], false, 0), (&pem[..], true, 0)] {
        let room = Room::new("{file: ca.pem}");
        std::fs::create_dir(room.0.path().join("clients.d")).unwrap();
        room.put("ca.pem", anchors.concat()).put("clients.d/b.yaml", document(enabled));
        let config = room.config();
        let (trust, warnings) = config.trust_store(NOW).unwrap();
        assert_eq!(warnings.0.len(), 1, "{warnings:#?}");
        let (clients, problems) =
            Registry::load(&config.registry_settings(), None, &trust, &BTreeSet::new(), NOW);
        assert!(!problems.has_errors(), "{problems:#?}");
        let outdated = config.outdated_anchors(&trust, &clients, NOW);
        assert_eq!(outdated.0.len(), errors, "{outdated:#?}");
        assert!(outdated.0.iter().all(|problem| problem.line == 5 && problem.what.contains("client `b`")));
    }
}

#[test]
fn the_example_clients_are_valid_and_let_nobody_in() {
    let room = Room::new("{file: ca.pem}");
    room.put("ca.pem", current().identity().certificate_pem());
    let (trust, _) = room.config().trust_store(NOW).unwrap();
    let settings = RegistrySettings {
        directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("clients.d"),
        max_certificates: 5,
        default_resource: None,
    };
    let (clients, problems) = Registry::load(&settings, None, &trust, &BTreeSet::new(), NOW);
    assert_eq!(problems, Problems::default());
    for id in ["example-billing", "example-edge-7"] {
        assert!(!clients.find(&ClientId::parse(id).unwrap()).unwrap().enabled, "{id}");
    }
    assert_eq!(clients.clients().count(), 2);
}
