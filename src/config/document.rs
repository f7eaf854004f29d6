//! From the YAML tree to [`Config`]: contract §3, with the defaults of ruling 22 and the bounds of each value.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::section::{self, Map, shown};
use super::{
    AnchorSetSource, Clients, Config, Level, Limits, Log, LogFormat, SOCKET_PATH_MAX, SecretRef, Signing,
    StoreSettings, Tokens, listeners, outgoing,
};
use crate::document::{self, At, Node, Problems, Value};
use crate::keys::SigningAlgorithm;
use crate::oauth::{Audience, BaseUrl, Issuer};
use crate::pki::{AnchorSetName, Profile};

/// Stands in for the issuer of a draft whose own is missing or wrong (a reserved name, RFC 6761 §6.4).
const NO_ISSUER: &str = "https://issuer.invalid";

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads the file; None only where it holds no map.
pub(super) fn read_file(path: &Path) -> (Option<Config>, Problems) {
    let mut bytes = Vec::new();
    // One byte more than a document may have, so that `parse` sees that it is too long.
    let limit = u64::try_from(document::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => read(path, &bytes),
        Err(error) => {
            let mut problems = Problems::default();
            problems.error(
                &At::whole(path),
                format!("the configuration cannot be read: {error}"),
                "name another file with `-c FILE`, or make a set-up with `certbound init DIR`",
            );
            (None, problems)
        }
    }
}

/// Reads the text of the file.
pub(super) fn read(path: &Path, bytes: &[u8]) -> (Option<Config>, Problems) {
    let mut problems = Problems::default();
    let documents = match document::parse(path, bytes) {
        Ok(documents) => documents,
        Err(problems) => return (None, problems),
    };
    if let Some(second) = documents.get(1) {
        problems.error(&second.at, "a configuration is one document", "remove this one and its `---`");
    }
    let Some(first) = documents.first().filter(|node| !matches!(node.value, Value::Null)) else {
        problems.error(
            &At::whole(path),
            "the configuration is empty",
            "start from the sample certbound.yaml, or make a set-up with `certbound init DIR`",
        );
        return (None, problems);
    };
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let config = section::is_map(first)
        .then(|| Map::read(first, &section::TOP, base, &mut problems, |top| config(path, top)));
    if config.is_none() {
        problems.error(
            &first.at,
            "a configuration is a map",
            "write `issuer: https://as.example.com` and so on",
        );
    }
    problems.0.sort_by_key(|problem| (problem.line, problem.column));
    (config, problems)
}

fn config(path: &Path, top: &mut Map<'_>) -> Config {
    let issuer = issuer(top);
    let mtls_base_url = top
        .take("mtls_base_url")
        .and_then(|node| top.parsed("mtls_base_url", &node, "https://mtls.example.com", BaseUrl::parse))
        .unwrap_or_else(|| issuer.to_base_url());
    let (trust_anchors, sets) = trust_anchors(top);
    let listeners = listeners::read(top, &sets);
    let (store, store_at) = super::store::store(top);
    let signing = top.section("signing", &section::SIGNING, |map| signing(map, &store));
    let control = control(top, &signing, &store, &store_at);
    let (expiry_warn, webhook) = top.section("expiry", &section::EXPIRY, |expiry| {
        let warn = expiry.duration("warn", seconds(HOUR)..=seconds(3650 * DAY), seconds(30 * DAY));
        (warn, outgoing::webhook(expiry))
    });
    Config {
        file: path.to_path_buf(),
        issuer,
        mtls_base_url,
        listeners,
        trust_anchors,
        tokens: top.section("tokens", &section::TOKENS, tokens),
        signing,
        clients: top.section("clients", &section::CLIENTS, clients),
        store,
        control,
        limits: top.section("limits", &section::LIMITS, limits),
        expiry_warn,
        webhook,
        outgoing: top.section("outgoing", &section::OUTGOING, outgoing::outgoing),
        log: top.section("log", &section::LOG, log),
        service_documentation: service_documentation(top),
    }
}

fn issuer(top: &mut Map<'_>) -> Issuer {
    const EXAMPLE: &str = "https://as.example.com";
    top.require("issuer", EXAMPLE)
        .and_then(|node| top.parsed("issuer", &node, EXAMPLE, Issuer::parse))
        .unwrap_or_else(|| Issuer::parse(NO_ISSUER).expect("the constant is an https URL without a path"))
}

/// The sets, and the names of all of them, those of sets with a problem too.
fn trust_anchors(top: &mut Map<'_>) -> (Vec<AnchorSetSource>, Vec<String>) {
    let Some(node) = top.take("trust_anchors") else { return Default::default() };
    let Value::Map(entries) = &node.value else {
        top.problems.error(
            &node.at,
            "trust_anchors is a map of named sets",
            "write `trust_anchors: {corp: {file: trust/corp.pem}}`",
        );
        return Default::default();
    };
    let mut sets = Vec::new();
    for (key, entry) in entries {
        if key.text.is_empty() || key.text.len() > 128 || key.text.chars().any(char::is_control) {
            top.problems.error(
                &key.at,
                format!("`{}` is not the name of an anchor set", shown(&key.text)),
                "write a name of 1 to 128 characters without control characters, such as `corp`",
            );
        }
        sets.extend(anchor_set(top, &key.text, &key.at, entry));
    }
    (sets, entries.iter().map(|(key, _)| key.text.clone()).collect())
}

fn anchor_set(top: &mut Map<'_>, name: &str, at: &At, entry: &Node) -> Option<AnchorSetSource> {
    top.inner(entry, &section::ANCHOR_SET, |set| {
        let file = set.file("file", "trust/corp.pem");
        let intermediates = set.optional_file("intermediates");
        let profile = [("compatible", Profile::Compatible), ("strict", Profile::Strict)];
        let profile = set.choice("profile", &profile, Profile::default());
        let (revocation, crl, ocsp) = outgoing::revocation(set);
        Some(AnchorSetSource {
            name: AnchorSetName::new(name),
            file: file?,
            intermediates,
            profile,
            revocation,
            crl,
            ocsp,
            at: at.clone(),
        })
    })
}

fn tokens(tokens: &mut Map<'_>) -> Tokens {
    const EXAMPLE: &str = "https://api.example.com";
    Tokens {
        lifetime: tokens.duration("access_token_lifetime", seconds(1)..=seconds(DAY), seconds(5 * MINUTE)),
        resource: tokens
            .take("resource")
            .and_then(|node| tokens.parsed("resource", &node, EXAMPLE, Audience::parse)),
    }
}

fn signing(signing: &mut Map<'_>, store: &StoreSettings) -> Signing {
    let algorithms = SigningAlgorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    Signing {
        directory: signing.path("directory", "keys"),
        algorithm: signing.choice("algorithm", &algorithms, SigningAlgorithm::default()),
        // The least is longer than a key is published before it signs (keys::rotation::PUBLISH_BEFORE).
        rotate_every: signing.duration(
            "rotate_every",
            seconds(HOUR)..=seconds(3650 * DAY),
            seconds(30 * DAY),
        ),
        sealing_key: sealing_key(signing, store),
    }
}

/// Seals keys that are in a database, and there is one only with a store in it.
fn sealing_key(signing: &mut Map<'_>, store: &StoreSettings) -> Option<SecretRef> {
    const KEY: &str = "sealing_key";
    let node = signing.take(KEY)?;
    if let StoreSettings::Sled { .. } = store {
        let what =
            "signing.sealing_key puts the signing keys into the database of the store, and there is none";
        let instead =
            "leave it out, or have the store in a database: `store: {postgres: {url: {env: DATABASE_URL}}}`";
        signing.problems.error(&node.at, what, instead);
    }
    SecretRef::from_node(signing, KEY, &node)
}

fn clients(clients: &mut Map<'_>) -> Clients {
    Clients {
        directory: clients.path("directory", "clients.d"),
        max_certificates: to_usize(clients.count("max_certificates", 1..=100, 5)),
        rescan: clients.duration("rescan", seconds(1)..=seconds(HOUR), seconds(30)),
    }
}

/// The control socket (contract ruling 6).
fn control(top: &mut Map<'_>, signing: &Signing, store: &StoreSettings, store_at: &At) -> PathBuf {
    let named = top.optional_file("control");
    let at = named.as_ref().map_or(store_at, |file| &file.at).clone();
    let path = named.map_or_else(|| store.beside("control.sock", &signing.directory), |file| file.path);
    socket_fits(&path, &at, "write a shorter one, such as `control: /run/certbound/control.sock`", top);
    path
}

/// A path that is too long for a unix socket is a problem that quotes `instead`.
pub(super) fn socket_fits(path: &Path, at: &At, instead: &str, map: &mut Map<'_>) {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let what = format!(
            "a unix socket's path has at most {SOCKET_PATH_MAX} bytes, `{}` has {length}",
            path.display()
        );
        map.problems.error(at, what, instead);
    }
}

fn limits(limits: &mut Map<'_>) -> Limits {
    const KIB: u64 = 1024;
    let timeouts = seconds(1)..=seconds(5 * MINUTE);
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let head_is_given = limits.has("head");
    let head = size(limits.size("head", KIB..=128 * KIB, 64 * KIB));
    Limits {
        head,
        forwarded_head: if head_is_given { head } else { size(96 * KIB) },
        body: size(limits.size("body", KIB..=1024 * KIB, 64 * KIB)),
        head_timeout: limits.duration("head_timeout", timeouts.clone(), seconds(5)),
        body_timeout: limits.duration("body_timeout", timeouts, seconds(5)),
        idle: limits.duration("idle", seconds(1)..=seconds(HOUR), seconds(MINUTE)),
        connections: to_usize(limits.count("connections", 1..=1_000_000, 10_000)),
        chain: to_usize(limits.count("chain", 1..=16, 16)),
    }
}

fn log(log: &mut Map<'_>) -> Log {
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
    Log {
        format: log.choice(
            "format",
            &[("json", LogFormat::Json), ("text", LogFormat::Text)],
            LogFormat::default(),
        ),
        level: log.choice("level", &levels.map(|level| (level.as_str(), level)), Level::default()),
    }
}

fn service_documentation(top: &mut Map<'_>) -> Option<String> {
    let node = top.take("service_documentation")?;
    top.parsed("service_documentation", &node, "https://docs.example.com/oauth", |text| {
        let plain = text.len() <= 2048 && text.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
        let web = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if plain && web {
            Ok(text.to_owned())
        } else {
            Err("this is not an http or https URL (RFC 8414 §2)")
        }
    })
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
