//! The source keeps to its own drawing: who imports whom, where foreign crates live, how long a file is.
//!
//! Reads every `.rs` file of `src/` and `tests/` as tokens, without comments and literals. Production code
//! may import what the line of its room names; tests in a room, whatever lies below it. It knows no macros
//! and no inline modules but `mod tests`, because the house has none that matter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LONGEST_FILE: usize = 500;

/// Each room, its floor, and what it may import; `None`: everything on lower floors.
const ROOMS: &[(&str, u8, Option<&str>)] = &[
    ("clock", 0, Some("")),
    ("document", 0, Some("")),
    ("reload", 0, Some("")),
    ("database", 1, Some("clock")),
    ("oauth", 1, Some("")),
    ("pki", 1, Some("clock")),
    ("registry", 2, Some("clock document oauth pki")),
    ("store", 2, Some("clock database oauth pki")),
    ("cluster", 2, Some("clock database")),
    ("keys", 3, Some("clock database cluster")),
    ("authn", 3, Some("clock oauth pki registry")),
    ("plan", 4, Some("clock oauth pki registry store authn")),
    ("radar", 4, Some("clock oauth pki registry store authn")),
    ("token", 4, Some("clock reload oauth pki keys registry store authn")),
    ("grant", 5, Some("clock oauth registry authn token")),
    ("audit", 6, Some("clock oauth authn token")),
    ("telemetry", 6, Some("clock")),
    ("http", 7, None),
    ("admin", 8, None),
    ("config", 9, None),
    // The top floors, in the order in which a server comes to life.
    ("world", 10, None),
    ("tasks", 11, None),
    ("app", 12, None),
    ("cli", 13, None),
    ("main", 14, None),
];

/// Who may know documents and the problems in them; to the rest they mean nothing.
const READS_DOCUMENTS: &str = "registry admin config world tasks app cli";

/// Where foreign crates live; a home is the beginning of a path in `src/`.
const HOMES: &[(&str, &str)] = &[
    ("actix_http", "http/ admin/ app.rs"),
    ("actix_server", "http/ admin/ app.rs app/running"),
    ("actix_service", "http/ admin/ app.rs"),
    ("actix_tls", "http/ admin/ app.rs"),
    ("actix_web", "http/ admin/ app.rs app/running"),
    ("arc_swap", "reload.rs http/tls"),
    ("async_trait", "store/"),
    ("aws_lc_rs", "keys/key.rs keys/seal.rs"),
    ("clap", "cli/ main.rs"),
    ("clap_complete", "cli/"),
    ("futures_core", "http/"),
    ("getrandom", "oauth/ids.rs http/ authn/ store/ app/ cli/"),
    ("hmac", "radar/"),
    ("httpdate", "pki/fetch"),
    ("jsonwebtoken", "keys/ token/"),
    ("moka", "pki/ token/ http/"),
    ("notify", "tasks"),
    ("openssl", "pki/ keys/directory"),
    ("prometheus_client", "telemetry"),
    ("reqwest", "cli/client pki/fetch"),
    ("rustls", "http/tls cli/client database/settings pki/fetch main.rs"),
    ("rustls_native_certs", "cli/client database/settings pki/fetch"),
    ("serde_saphyr", "document/"),
    ("sfv", "http/forwarded/"),
    ("sled", "store/"),
    ("stringprep", "pki/name"),
    ("subtle", "http/proxy"),
    ("tokio", "database keys/shared pki/ registry/ store/ authn/ http/ admin/ tasks app cli/ main.rs"),
    ("tokio_postgres", "database"),
    ("tokio_postgres_rustls", "database/settings"),
    ("tracing", "http/ admin/ audit telemetry tasks app cli/ main.rs"),
    ("tracing_subscriber", "telemetry"),
    ("unicode_normalization", "pki/name"),
    ("webpki", "http/tls"),
    ("webpki_root_certs", "pki/trust/lint"),
    ("x509_parser", "pki/"),
];

/// Crates that are like the standard library: they may live everywhere.
const EVERYWHERE: &str = "base64 secrecy serde serde_json sha2 tempfile thiserror time url zeroize";

#[test]
fn the_source_keeps_to_the_drawing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(root);
    assert!(sources.len() > 20, "the source was not found");
    let problems: Vec<_> = sources.iter().flat_map(|(path, text)| problems_of(path, text)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_dependency_has_a_home() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let names: Vec<_> = dependencies(&manifest).collect();
    assert!(names.contains(&"openssl".to_owned()), "{names:?}");
    let homeless: Vec<_> = names
        .iter()
        .filter(|name| {
            !EVERYWHERE.split(' ').chain(HOMES.iter().map(|home| home.0)).any(|known| known == *name)
        })
        .collect();
    assert!(homeless.is_empty(), "give a home in HOMES to {homeless:?}");
}

#[test]
fn every_test_that_a_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let functions: BTreeSet<_> = sources(root).iter().flat_map(|(_, text)| functions(text)).collect();
    for table in ["docs/rfc.md", "docs/edge-cases.md"] {
        let text = fs::read_to_string(root.join(table)).expect(table);
        assert!(named_tests(&text).count() > 50, "{table} names its tests as `test: name`");
        let missing: Vec<_> = named_tests(&text).filter(|name| !functions.contains(*name)).collect();
        assert!(missing.is_empty(), "{table} names tests that do not exist: {missing:?}");
    }
}

#[test]
fn every_edge_case_of_the_first_seven_chapters_has_its_line_and_its_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/edge-cases.md");
    let page = fs::read_to_string(page).expect("docs/edge-cases.md");
    for (chapter, last) in [(1, 13), (2, 8), (3, 9), (4, 9), (5, 10), (6, 14), (7, 7)] {
        for item in 1..=last {
            let begin = format!("| {chapter}.{item} |");
            let lines: Vec<_> = page.lines().filter(|line| line.starts_with(&begin)).collect();
            assert!(lines.len() == 1 && named_tests(lines[0]).next().is_some(), "{begin} {lines:?}");
        }
    }
}

/// Every Rust file of `src/` and `tests/`: its path from the root, and its text.
fn sources(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root.join("src"), root.join("tests")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of the source can be listed");
            open.extend(entries.map(|entry| entry.expect("a directory of the source can be listed").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the source can be read");
            let name = path.strip_prefix(root).expect("it was found below the root");
            found.push((name.display().to_string(), text));
        }
    }
    found.sort();
    found
}

fn problems_of(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        problems.push(format!("{path} has {lines} lines, more than {LONGEST_FILE}"));
    }
    let (production, tests) = split_tests(path, text);
    let all = tokens(text);
    for (index, token) in all.iter().enumerate() {
        let next = |offset| all.get(index + offset).map_or("", String::as_str);
        let is_allow = token == "[" && next(1) == "allow" && next(2) == "(";
        let is_unfinished = matches!(token.as_str(), "todo" | "unimplemented") && next(1) == "!";
        if is_allow || is_unfinished || token == "unsafe" {
            problems.push(format!("{path} has `{token}{}`", next(1)));
        }
    }
    let Some(inside) = path.strip_prefix("src/") else { return problems };
    problems.extend(
        edges(inside, production, 0).iter().filter_map(|to| wrong_edge(inside, to, Code::Production)),
    );
    problems.extend(edges(inside, tests, 1).iter().filter_map(|to| wrong_edge(inside, to, Code::Tests)));
    let crates = tokens(production);
    let strangers = crates_used(&crates).into_iter().filter(|name| !lives_in(name, inside));
    problems.extend(strangers.map(|name| format!("{path} uses {name}, whose home is elsewhere")));
    problems.dedup();
    problems
}

#[derive(Clone, Copy, PartialEq)]
enum Code {
    Production,
    Tests,
}

fn wrong_edge(inside: &str, to: &str, code: Code) -> Option<String> {
    let from = module_of(inside).into_iter().next().unwrap_or("main");
    if from == to || matches!(inside, "lib.rs" | "main.rs") {
        return None;
    }
    let room = |name| ROOMS.iter().find(|room| room.0 == name);
    let (Some((_, floor, named)), Some((_, below, _))) = (room(from), room(to)) else {
        return Some(format!("src/{inside}: {from} → {to}: give both a line in ROOMS"));
    };
    let is_named = |list: &str, name: &str| list.split(' ').any(|known| known == name);
    let allowed = match (code, named) {
        _ if below >= floor => false,
        (Code::Tests, _) => true,
        (Code::Production, Some(list)) => is_named(list, to),
        (Code::Production, None) => to != "document" || is_named(READS_DOCUMENTS, from),
    };
    (!allowed).then(|| format!("src/{inside}: {from} may not import {to}"))
}

/// The rooms that `text` reaches by `crate::`, `certbound::` or enough `super::`, `depth` modules below its file.
fn edges(inside: &str, text: &str, depth: usize) -> BTreeSet<String> {
    let tokens = tokens(text);
    let levels = module_of(inside).len() + depth;
    let mut found = BTreeSet::new();
    let mut rest = tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let mut supers = usize::from(first == "super");
        if !(matches!(first.as_str(), "crate" | "certbound") || supers > 0) {
            continue;
        }
        while let [colons, word, further @ ..] = rest {
            if supers == 0 || colons != "::" || word != "super" {
                break;
            }
            (supers, rest) = (supers + 1, further);
        }
        let is_root = supers == 0 || supers == levels;
        if let ([colons, path @ ..], true) = (rest, is_root)
            && colons == "::"
        {
            found.extend(first_names(path));
        }
    }
    found
}

/// The first names of what follows `crate::`: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn first_names(path: &[String]) -> Vec<String> {
    let is_name = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    if first != "{" {
        return path.iter().take(1).filter(|token| is_name(token)).cloned().collect();
    }
    let mut names = Vec::new();
    let (mut depth, mut before) = (1, "{");
    for token in rest {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(before, "{" | ",") && is_name(token) => names.push(token.clone()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        before = token;
    }
    names
}

/// The modules above and including a file of `src/`: `keys`, `key` for `keys/key.rs`.
fn module_of(inside: &str) -> Vec<&str> {
    let path = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|name| !matches!(*name, "lib" | "main")).collect()
}

/// The crates with a home at which paths begin. A name that the file brings in by `mod` or from elsewhere
/// (`use rustls::crypto::aws_lc_rs`) is not the crate.
fn crates_used(tokens: &[String]) -> BTreeSet<&str> {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut found = BTreeSet::new();
    let mut own = BTreeSet::new();
    let (mut in_use, mut depth) = (false, 0_usize);
    for (index, token) in tokens.iter().enumerate() {
        let (before, after) = (index.checked_sub(1).map_or("", at), at(index + 1));
        match token.as_str() {
            "use" => (in_use, depth) = (true, 0),
            ";" => in_use = false,
            "{" if in_use && before == "::" => depth += 1,
            "}" if in_use => depth = depth.saturating_sub(1),
            name if HOMES.iter().any(|home| home.0 == name) => {
                let is_inner = before == "::" || (in_use && depth > 0);
                if before == "mod" || (in_use && is_inner) {
                    own.insert(name);
                } else if !is_inner && (after == "::" || before == "use") {
                    found.insert(name);
                }
            }
            _ => {}
        }
    }
    found.difference(&own).copied().collect()
}

fn lives_in(name: &str, inside: &str) -> bool {
    let homes = HOMES.iter().filter(|home| home.0 == name).flat_map(|home| home.1.split(' '));
    homes.into_iter().any(|home| inside.starts_with(home))
}

/// What runs, and what tests it: the file from `#[cfg(test)] mod …` on, or all of a `tests.rs`.
fn split_tests<'a>(path: &str, text: &'a str) -> (&'a str, &'a str) {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return ("", text);
    }
    let begin = text.match_indices("\n#[cfg(test)]\n").map(|(at, found)| (at, at + found.len()));
    let is_module = |rest: &str| {
        rest.lines().find(|line| !line.starts_with("#[")).is_some_and(|line| line.starts_with("mod "))
    };
    let at = begin.into_iter().find(|&(_, end)| text.get(end..).is_some_and(is_module));
    text.split_at(at.map_or(text.len(), |(at, _)| at))
}

/// The names of `[dependencies]` as the source writes them.
fn dependencies(manifest: &str) -> impl Iterator<Item = String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    names.map(|name| if name == "rustls_webpki" { "webpki".to_owned() } else { name })
}

/// The tests that a page names as `` `test: name` ``, without their modules.
fn named_tests(page: &str) -> impl Iterator<Item = &str> {
    let named = page.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.strip_prefix("test: "));
    named.map(|name| name.rsplit("::").next().unwrap_or(name).trim())
}

fn functions(text: &str) -> Vec<String> {
    tokens(text)
        .windows(2)
        .filter_map(|pair| pair.first().zip(pair.get(1)))
        .filter(|(word, _)| *word == "fn")
        .map(|(_, name)| name.clone())
        .collect()
}

/// Words, `::` and single signs, without comments, strings, characters and blanks.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word: &str = rest.split(|c| !is_word(c)).next().unwrap_or_default();
        let length = if let Some(literal) = literal(rest, word) {
            literal
        } else if !word.is_empty() {
            found.push(word.to_owned());
            word.len()
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// How long the comment, string or character at the beginning of `text` is, if there is one.
fn literal(text: &str, word: &str) -> Option<usize> {
    let until = |end: &str, from: usize| text.get(from..)?.find(end).map(|at| from + at + end.len());
    if text.starts_with("//") {
        return until("\n", 0).or(Some(text.len()));
    }
    if text.starts_with("/*") {
        return until("*/", 2).or(Some(text.len()));
    }
    let after = text.get(word.len()..)?;
    if matches!(word, "r" | "br" | "cr") && after.starts_with(['#', '"']) {
        let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
        let quote = word.len() + hashes + 1;
        let is_raw_string = after.as_bytes().get(hashes) == Some(&b'"');
        return is_raw_string
            .then(|| until(&format!("\"{}", "#".repeat(hashes)), quote).unwrap_or(text.len()));
    }
    if matches!(word, "" | "b" | "c") && after.starts_with('"') {
        return Some(word.len() + quoted(after, '"'));
    }
    if matches!(word, "" | "b") && after.starts_with('\'') {
        let mut signs = after.chars().skip(1);
        let is_character = signs.next() == Some('\\') || signs.next() == Some('\'');
        return Some(if is_character { word.len() + quoted(after, '\'') } else { 1 });
    }
    None
}

fn quoted(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == end => return at + sign.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[test]
fn an_import_upwards_or_sideways_is_found() {
    for (path, source) in [
        ("src/keys/key.rs", "use crate::token::Claims;"),
        ("src/keys/key.rs", "use crate::{clock::Timestamp, store};"),
        ("src/keys/key.rs", "fn f() -> crate::registry::Client {}"),
        ("src/keys/key.rs", "use super::super::http;"),
        ("src/keys/mod.rs", "use super::http;"),
        ("src/keys/key.rs", "#[cfg(test)]\nmod tests {\n use crate::pki;\n}\nuse crate::pki;"),
        ("src/pki/mod.rs", "use crate::oauth::Form;"),
        ("src/grant/mod.rs", "use crate::store::TokenStore;"),
        ("src/http/mod.rs", "use crate::document::parse;"),
        ("src/tasks.rs", "use crate::app::run;"),
        ("src/keys/mod.rs", "use crate::attic::Thing;"),
        ("src/keys/mod.rs", "use super::pki;\n#[cfg(test)]\nfn f() {}"),
        ("src/store/mod.rs", "x\n#[cfg(test)]\nmod tests {\n use crate::keys;\n}"),
    ] {
        assert_eq!(problems_of(path, source).len(), 1, "{path}: {source}");
    }
}

#[test]
fn an_import_downwards_is_fine() {
    for (path, source) in [
        ("src/keys/key.rs", "use super::KeyFileError; use crate::keys::KeyId; use super::super::clock;"),
        ("src/keys/key.rs", "//! [`crate::http`]\n/* crate::http */ const A: &str = \"crate::http\";"),
        ("src/keys/key.rs", "const A: &str = r#\"\" crate::http \"#; const B: char = '\"'; // crate::http"),
        (
            "src/keys/key.rs",
            "fn a<'a>(x: &'a str) {} const Q: u8 = b'\\''; const S: &str = \"\\\" crate::http\";",
        ),
        ("src/keys/key.rs", "pub(crate) fn f() {}"),
        ("src/authn/mod.rs", "x\n#[cfg(test)]\nmod tests {\n use super::super::pki; use crate::store;\n}"),
        ("src/registry/mod.rs", "use crate::{clock::{Clock, Timestamp}, document::*, oauth, pki};"),
        ("src/main.rs", "use certbound::cli;"),
        ("tests/it/token.rs", "use certbound::http;"),
    ] {
        assert_eq!(problems_of(path, source), [] as [String; 0], "{path}: {source}");
    }
}

#[test]
fn a_foreign_crate_outside_its_home_is_found() {
    assert_eq!(
        problems_of("src/token/mod.rs", "use openssl::pkey::PKey; fn f() { openssl::init() }").len(),
        1
    );
    assert_eq!(problems_of("src/grant/mod.rs", "use sled;").len(), 1);
    assert_eq!(problems_of("src/keys/key.rs", "use {openssl::x, std::fmt};").len(), 1);
    assert!(problems_of("src/keys/directory/pem.rs", "use openssl::pkey::PKey;").is_empty());
    assert!(problems_of("src/keys/key/tests.rs", "use openssl::pkey::PKey;").is_empty());
    assert!(problems_of("src/store/mod.rs", "mod sled; pub use self::sled::Sled;").is_empty());
    assert!(problems_of("src/grant/mod.rs", "use crate::token::openssl; // openssl::x").is_empty());
    let renamed = "use rustls::{crypto::{aws_lc_rs, x}, y}; fn f() { aws_lc_rs::default_provider() }";
    assert!(problems_of("src/http/tls.rs", renamed).is_empty());
}

#[test]
fn a_file_that_is_too_long_and_what_is_not_finished_are_found() {
    let long = "//\n".repeat(LONGEST_FILE + 1);
    assert_eq!(problems_of("tests/it/token.rs", &long).len(), 1);
    assert!(problems_of("src/clock.rs", &"//\n".repeat(LONGEST_FILE)).is_empty());
    for source in ["#[allow(dead_code)]", "#![allow(x)]", "unsafe {}", "todo!()", "unimplemented!()"] {
        assert_eq!(problems_of("src/clock.rs", source).len(), 1, "{source}");
        assert_eq!(problems_of("tests/it/token.rs", source).len(), 1, "{source}");
    }
    for source in ["#[expect(x)]", "\"todo!()\"", "// unsafe", "let todo = 1;", "#![forbid(unsafe_code)]"] {
        assert!(problems_of("src/clock.rs", source).is_empty(), "{source}");
    }
}

#[test]
fn a_named_test_is_told_from_other_code() {
    let page = "| §3.1 | `test: binding::a_token_is_bound` | `fn x` | see `test: another` |";
    assert_eq!(named_tests(page).collect::<Vec<_>>(), ["a_token_is_bound", "another"]);
    assert_eq!(functions("#[test]\nfn another() {} // fn not_this()"), ["another"]);
}

#[test]
fn dependencies_are_named_as_the_source_names_them() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# tls\nrustls-webpki = \"1\"\naws-lc-rs = { x = 1 }\n[dev]\ny = 1";
    assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["webpki", "aws_lc_rs"]);
}
