//! The suite knows nothing of the server's source, and its files are short enough to be read.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file of the suite.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join("src"), root.join("tests")];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of the source can be listed");
            open.extend(entries.map(|entry| entry.expect("a directory of the source can be listed").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn nothing_here_comes_from_the_source_of_the_server() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.starts_with("certbound ") || line.contains("path = \"..")));
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let (include, outside) = ("include!(\"../../..", "#[path = \"../../..");
        let own = path.ends_with("tests/house.rs");
        assert!(own || !(text.contains(include) || text.contains(outside)), "{}", path.display());
    }
}

#[test]
fn files_can_be_read() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} says what it is", path.display());
        assert!(text.lines().count() <= 500, "{} has more than 500 lines", path.display());
    }
}
