use super::*;
use std::os::unix::fs::PermissionsExt as _;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

fn place() -> Place {
    Place { bind: "127.0.0.1", host: None, port: 8443, admin_port: 9090 }
}

fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let inner = if path.is_dir() { names(&path) } else { Vec::new() };
        found.extend(inner.into_iter().map(|inner| format!("{name}/{inner}")));
        found.push(name);
    }
    found.sort();
    found
}

#[test]
fn the_layout_is_that_of_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("new/as");
    write(&target, &place().entries(NOW).unwrap()).unwrap();
    let expected = [
        "certbound.yaml",
        "clients.d",
        "clients.d/api-gateway.yaml",
        "clients.d/billing.yaml",
        "clients.d/edge-7.pem",
        "clients.d/edge-7.yaml",
        "keys",
        "pki",
        "pki/api.key",
        "pki/api.pem",
        "pki/billing.key",
        "pki/billing.pem",
        "pki/ca.key",
        "pki/ca.pem",
        "pki/edge-7.key",
        "pki/server.key",
        "pki/server.pem",
    ];
    assert_eq!(names(&target), expected);
    for name in expected {
        let mode = fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777;
        if Path::new(name).extension().is_some_and(|suffix| suffix == "key") {
            assert_eq!(mode, 0o600, "{name}");
        }
        if name == "keys" {
            assert_eq!(mode, 0o700);
        }
    }
}

#[test]
fn where_one_file_exists_nothing_is_written_and_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("keys")).unwrap();
    std::os::unix::fs::symlink("/nowhere", directory.path().join("certbound.yaml")).unwrap();
    let before = names(directory.path());
    let fault = write(directory.path(), &place().entries(NOW).unwrap()).unwrap_err();
    assert!(
        matches!(&fault, Fault::Refused(what) if what.contains("keys") && what.contains("certbound.yaml")),
        "{fault:?}"
    );
    assert_eq!(names(directory.path()), before);
}

#[test]
fn a_failed_run_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("as");
    let mut entries = place().entries(NOW).unwrap();
    entries.push(Entry::public("no/such/directory", "x"));
    assert!(matches!(write(&target, &entries), Err(Fault::Usage(_))));
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_directory_that_is_a_file_is_wrong_usage() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(write(file.path(), &place().entries(NOW).unwrap()), Err(Fault::Usage(_))));
}

#[test]
fn a_host_is_a_name_or_an_address_and_nothing_else() {
    for text in ["as.example.com", "localhost", "10.0.0.1", "::1", "a-b.c"] {
        assert!(Host::parse(text).is_ok(), "{text}");
    }
    for text in ["", "a b", "a\nb", "a/b", "-a", "a:1", "*.example.com", "1.2.3", "é", "a..b", "a."] {
        assert!(Host::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_issuer_names_the_port_unless_it_is_that_of_https() {
    let at = |host: &str, port| {
        Place { bind: "0.0.0.0", host: Some(Host::parse(host).unwrap()), port, admin_port: 9090 }.issuer()
    };
    assert_eq!(place().issuer(), "https://localhost:8443");
    assert_eq!(at("as.example.com", 443), "https://as.example.com");
    assert_eq!(at("::1", 8443), "https://[::1]:8443");
}

#[test]
fn a_path_with_blanks_and_quotes_is_one_word() {
    assert_eq!(quoted("/a/b-c.pem"), "/a/b-c.pem");
    assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
}
