//! The maps of `certbound.yaml`: which keys each of them has, and how a value of each kind is read.
//!
//! One table (`ALL`) holds every key. The reader can take only what stands in it, an unknown key is what
//! does not, and a test holds the sample `certbound.yaml` to it, so that none of the three can drift from
//! the others. A value that is wrong is a problem and the default stands in for it, so that one run finds
//! everything.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FileRef;
use crate::document::{At, Fields, Node, Problems, Value};

/// One map of the document.
#[derive(Debug)]
pub(super) struct Section {
    /// As it is called in problems.
    pub name: &'static str,
    /// The keys that it may have.
    pub keys: &'static [&'static str],
    /// The keys that the contract has and this version has not: refused by name, never ignored.
    pub not_built: &'static [&'static str],
}

macro_rules! sections {
    ($($name:ident = $path:literal: [$($key:literal)*] not built: [$($later:literal)*];)*) => {
        $(pub(super) const $name: Section =
            Section { name: $path, keys: &[$($key),*], not_built: &[$($later),*] };)*

        /// Every map of the document.
        #[cfg(test)]
        pub(super) const ALL: &[&Section] = &[$(&$name),*];
    };
}

sections! {
    TOP = "": [
        "issuer" "mtls_base_url" "listeners" "trust_anchors" "tokens" "signing" "clients" "store" "control"
        "limits" "outgoing" "expiry" "log" "service_documentation"
    ] not built: ["audit"];
    LISTENER = "listeners": [
        "kind" "bind" "tls" "client_certificate" "mode" "dialect" "header" "proxy" "admins"
    ] not built: [];
    TLS = "tls": ["certificate" "key" "pkcs12" "resumption"] not built: [];
    PROXY = "listeners.proxy": ["address" "mtls" "basic"] not built: [];
    PROXY_MTLS = "listeners.proxy.mtls": [
        "trust_anchors" "tls_client_auth_subject_dn" "tls_client_auth_san_dns" "tls_client_auth_san_uri"
        "tls_client_auth_san_ip" "tls_client_auth_san_email"
    ] not built: [];
    PROXY_BASIC = "listeners.proxy.basic": ["username" "password"] not built: [];
    PKCS12 = "tls.pkcs12": ["file" "password"] not built: [];
    SECRET = "password": ["file" "env"] not built: [];
    ANCHOR_SET = "trust_anchors": ["file" "intermediates" "profile" "revocation" "crl" "ocsp"] not built: [];
    CRL = "trust_anchors.crl": ["file" "url"] not built: [];
    OCSP = "trust_anchors.ocsp": ["url"] not built: [];
    TOKENS = "tokens": ["access_token_lifetime" "resource"] not built: [];
    SIGNING = "signing": ["directory" "algorithm" "rotate_every" "sealing_key"] not built: [];
    CLIENTS = "clients": ["directory" "max_certificates" "rescan"] not built: [];
    STORE = "store": ["sled" "postgres"] not built: [];
    POSTGRES = "store.postgres": ["url" "ca" "pool"] not built: [];
    SLED = "store.sled": ["path"] not built: [];
    LIMITS = "limits": [
        "head" "body" "head_timeout" "body_timeout" "idle" "connections" "chain"
    ] not built: [];
    OUTGOING = "outgoing": ["ca" "allow"] not built: [];
    EXPIRY = "expiry": ["warn" "webhook"] not built: [];
    WEBHOOK = "expiry.webhook": ["url" "secret"] not built: [];
    LOG = "log": ["format" "level"] not built: [];
}

/// One map while it is read.
pub(super) struct Map<'p> {
    section: &'static Section,
    /// None where the map is absent or is no map: every key is absent then, and nothing more is said.
    fields: Option<Fields>,
    /// Where the map begins.
    pub(super) at: At,
    /// Where relative paths start.
    base: &'p Path,
    /// What was found so far.
    pub(super) problems: &'p mut Problems,
}

impl Map<'_> {
    /// Reads one map. Whatever `read` did not take is a problem.
    pub(super) fn read<T>(
        node: &Node,
        section: &'static Section,
        base: &Path,
        problems: &mut Problems,
        read: impl FnOnce(&mut Map<'_>) -> T,
    ) -> T {
        let fields = Fields::of(node, problems);
        let mut map = Map { section, fields, at: node.at.clone(), base, problems };
        let value = read(&mut map);
        map.finish();
        value
    }

    fn finish(self) {
        let Some(mut fields) = self.fields else { return };
        for key in self.section.not_built {
            fields.not_built(key, self.problems);
        }
        fields.finish(self.section.keys, self.problems);
    }

    /// Reads the map below `key`; where it is absent, `read` finds every key absent.
    pub(super) fn section<T>(
        &mut self,
        key: &str,
        section: &'static Section,
        read: impl FnOnce(&mut Map<'_>) -> T,
    ) -> T {
        match self.take(key) {
            Some(node) => self.inner(&node, section, read),
            None => read(&mut Map {
                section,
                fields: None,
                at: self.at.clone(),
                base: self.base,
                problems: self.problems,
            }),
        }
    }

    /// Reads a map that was found below this one.
    pub(super) fn inner<T>(
        &mut self,
        node: &Node,
        section: &'static Section,
        read: impl FnOnce(&mut Map<'_>) -> T,
    ) -> T {
        Map::read(node, section, self.base, self.problems, read)
    }

    /// The value of a key of the table.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        debug_assert!(self.section.keys.contains(&key), "{key} is not in the table of {}", self.section.name);
        self.fields.as_mut()?.take(key)
    }

    /// Whether the key is there, and nobody took it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.as_ref().is_some_and(|fields| fields.at_key(key).is_some())
    }

    /// The value of a key that must be there; `example` is a value for it.
    pub(super) fn require(&mut self, key: &str, example: &str) -> Option<Node> {
        debug_assert!(self.section.keys.contains(&key), "{key} is not in the table of {}", self.section.name);
        self.fields.as_mut()?.require(key, &format!("{key}: {example}"), self.problems)
    }

    /// Takes `key` and says that this version does not have it (contract ruling 4).
    pub(super) fn not_built(&mut self, key: &str) {
        if let Some(fields) = self.fields.as_mut() {
            fields.not_built(key, self.problems);
        }
    }

    /// Takes whatever is left of the table, unread.
    pub(super) fn skip_known(&mut self) {
        for key in self.section.keys {
            self.take(key);
        }
    }

    /// A duration within `bounds`.
    pub(super) fn duration(
        &mut self,
        key: &str,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(node) = self.take(key) else { return default };
        let value = node.duration(self.problems);
        self.bounded(key, &node, value, &bounds, default, ("a duration", duration_text))
    }

    /// A size in bytes within `bounds`.
    pub(super) fn size(&mut self, key: &str, bounds: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(node) = self.take(key) else { return default };
        let value = node.size(self.problems);
        self.bounded(key, &node, value, &bounds, default, ("a size", size_text))
    }

    /// A whole number within `bounds`.
    pub(super) fn count(&mut self, key: &str, bounds: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(node) = self.take(key) else { return default };
        let value = node.integer(self.problems).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
        self.bounded(key, &node, value, &bounds, default, ("a number", |value: u32| value.to_string()))
    }

    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        node: &Node,
        value: Option<T>,
        bounds: &RangeInclusive<T>,
        default: T,
        (kind, text): (&str, fn(T) -> String),
    ) -> T {
        let Some(value) = value else { return default };
        if bounds.contains(&value) {
            return value;
        }
        let (least, most) = (text(*bounds.start()), text(*bounds.end()));
        let what = format!("{} is out of its bounds", self.name(key));
        let instead =
            format!("write {kind} from {least} to {most}, such as `{key}: {}` (the default)", text(default));
        self.problems.error(&node.at, what, instead);
        default
    }

    /// One of a closed set of words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        let Some(node) = self.take(key) else { return default };
        self.word(key, &node, words).unwrap_or(default)
    }

    /// What the word at `node` stands for.
    pub(super) fn word<T: Copy>(&mut self, key: &str, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = node.text(self.problems)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let what = format!("{} has no value `{}`", self.name(key), shown(text));
            let all: Vec<String> = words.iter().map(|(word, _)| format!("`{key}: {word}`")).collect();
            self.problems.error(&node.at, what, format!("write {}", all.join(" or ")));
        }
        found
    }

    /// A value that a type of its own reads; `example` is what a right one looks like.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        node: &Node,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(node.text(self.problems)?) {
            Ok(value) => Some(value),
            Err(error) => {
                let what = format!("{}: {error}", self.name(key));
                self.problems.error(&node.at, what, format!("write `{key}: {example}`"));
                None
            }
        }
    }

    /// A path that has a default.
    pub(super) fn path(&mut self, key: &str, default: &str) -> PathBuf {
        let given = self.take(key).and_then(|node| self.path_at(key, &node));
        given.unwrap_or_else(|| self.base.join(default))
    }

    /// A file that must be named.
    pub(super) fn file(&mut self, key: &str, example: &str) -> Option<FileRef> {
        let node = self.require(key, example)?;
        self.path_at(key, &node).map(|path| FileRef { path, at: node.at })
    }

    /// A file that may be named.
    pub(super) fn optional_file(&mut self, key: &str) -> Option<FileRef> {
        let node = self.take(key)?;
        self.path_at(key, &node).map(|path| FileRef { path, at: node.at })
    }

    /// The path at `node`, below the directory of the document if it is relative.
    pub(super) fn path_at(&mut self, key: &str, node: &Node) -> Option<PathBuf> {
        let text = node.text(self.problems)?;
        self.resolve(key, text, &node.at)
    }

    /// `text` as a path. What it is not is never repeated: it may be the contents of a key file.
    pub(super) fn resolve(&mut self, key: &str, text: &str, at: &At) -> Option<PathBuf> {
        if text.is_empty() || text.contains("-----BEGIN") || text.chars().any(char::is_control) {
            let what = format!("{} is not the path of a file", self.name(key));
            self.problems.error(
                at,
                what,
                "name a file here; its contents stay in the file, and the path has no control characters",
            );
            return None;
        }
        Some(self.base.join(text))
    }

    /// `limits.head`.
    pub(super) fn name(&self, key: &str) -> String {
        if self.section.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section.name) }
    }
}

/// Whether a node is a map, as opposed to a value written where a map belongs.
pub(super) fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}

/// A stranger's text as it may stand in a problem: controls escaped, never longer than a line.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(60) {
        let _ = write!(out, "{}", character.escape_debug());
    }
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

/// `90s`, `5m`, `12h`, `30d`, the largest unit that divides it.
fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, name) = [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

/// `64KiB`, the largest unit that divides it.
fn size_text(bytes: u64) -> String {
    let (unit, name) = [(1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}
