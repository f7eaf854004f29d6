//! From the octets of a `jwks_uri` to certificates (RFC 7517 §5, RFC 8705 §2.2.2).
//!
//! What makes a JWK a registered certificate is the same as in a document and is said in `pins`. The
//! difference is in what follows: here a key that does not count is skipped and the others hold, because the
//! set is written by somebody who does not see our messages, and often for other purposes too. A set that has
//! keys and no certificate to use is taken for a mistake. One without any key is taken for what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::document::{At, Key, Node, Problems, Severity, Value};
use crate::pki::Thumbprint;
use crate::registry::client::Pin;
use crate::registry::pins::Pins;

/// What pins of a set are called.
const SOURCE: &str = "jwks_uri";

/// The most sentences about keys of one set.
const MAX_SENTENCES: usize = 10;

/// What a set holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) pins: BTreeMap<Thumbprint, Pin>,
    /// A sentence for each key that does not count.
    pub(super) skipped: Vec<String>,
    /// Those of them that somebody should look at.
    pub(super) trouble: Option<String>,
}

/// The certificates of a JWK Set; an error says why it is none that could come into force.
pub(super) fn read(body: &[u8], max_certificates: usize) -> Result<Found, String> {
    let root = tree(body)?;
    let Value::List(keys) = &only_member(&root, "keys")?.value else {
        return Err("the answer is no JWK Set: `keys` is not a list (RFC 7517 §5)".to_owned());
    };
    let mut pins = Pins::default();
    let (mut skipped, mut wrong) = (Sentences::default(), Sentences::default());
    for (index, key) in keys.iter().enumerate() {
        let mut problems = Problems::default();
        match repeated_member(key) {
            Some(name) => problems.error(&key.at, format!("its member `{name}` is there twice"), ""),
            None => pins.add_jwk(key, SOURCE, &mut problems),
        }
        if let Some(problem) = problems.0.first() {
            let sentence = format!("key {}: {}", index + 1, problem.what);
            if problem.severity == Severity::Error {
                wrong.add(sentence.clone());
            }
            skipped.add(sentence);
        }
        if pins.by_thumbprint.len() > max_certificates {
            return Err(format!(
                "the set has more than {max_certificates} certificates (clients.max_certificates)"
            ));
        }
    }
    if pins.by_thumbprint.is_empty() && !keys.is_empty() {
        return Err(format!("the set has no certificate that could be used: {}", skipped.join()));
    }
    let trouble = (wrong.count > 0).then(|| format!("keys of the set do not count: {}", wrong.join()));
    Ok(Found { pins: pins.by_thumbprint, skipped: skipped.list(), trouble })
}

/// Sentences, of which a stranger cannot make very many.
#[derive(Default)]
struct Sentences {
    first: Vec<String>,
    count: usize,
}

impl Sentences {
    fn add(&mut self, sentence: String) {
        self.count += 1;
        if self.first.len() < MAX_SENTENCES {
            self.first.push(sentence);
        }
    }

    fn list(mut self) -> Vec<String> {
        if self.count > self.first.len() {
            self.first.push(format!("and {} more", self.count - self.first.len()));
        }
        self.first
    }

    fn join(self) -> String {
        self.list().join("; ")
    }
}

/// The answer as a tree. No member is looked for by its place, so every node has the same one.
fn tree(body: &[u8]) -> Result<Node, String> {
    let at = At::whole(Path::new(SOURCE));
    let mut json = serde_json::Deserializer::from_slice(body);
    // Nothing of the text is repeated: it is a stranger's.
    let refuse = |error: serde_json::Error| {
        format!("the answer is not JSON (line {}, column {})", error.line(), error.column())
    };
    let root = Tree(&at).deserialize(&mut json).map_err(refuse)?;
    json.end().map_err(refuse)?;
    Ok(root)
}

fn only_member<'n>(node: &'n Node, name: &str) -> Result<&'n Node, String> {
    let Value::Map(members) = &node.value else {
        return Err("the answer is no JWK Set: it is JSON, but not an object (RFC 7517 §5)".to_owned());
    };
    let mut found = members.iter().filter(|(key, _)| key.text == name).map(|(_, node)| node);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(format!("the answer is no JWK Set: it has no `{name}` (RFC 7517 §5)")),
        (Some(_), Some(_)) => Err(format!("the answer has `{name}` twice (RFC 7517 §5)")),
    }
}

/// RFC 7517 §4: the names of the members of a JWK are unique. Which of two was meant, nobody can tell.
fn repeated_member(key: &Node) -> Option<String> {
    let Value::Map(members) = &key.value else { return None };
    let mut seen = BTreeSet::new();
    let again = members.iter().find(|(key, _)| !seen.insert(key.text.as_str()));
    again.map(|(key, _)| key.text.chars().take(64).flat_map(char::escape_debug).collect())
}

/// Reads JSON (RFC 8259) as documents are read, members that are there twice included. How deep it may go is
/// bounded by `serde_json`.
struct Tree<'a>(&'a At);

impl Tree<'_> {
    fn node(&self, value: Value) -> Node {
        Node { at: self.0.clone(), value }
    }

    fn plain(&self, text: &impl ToString) -> Node {
        self.node(Value::Scalar { text: text.to_string(), quoted: false })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(self.node(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(self.plain(&value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(self.plain(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(self.plain(&value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(self.plain(&value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(self.node(Value::Scalar { text: text.to_owned(), quoted: true }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree(self.0))? {
            list.push(item);
        }
        Ok(self.node(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(text) = members.next_key::<String>()? {
            let value = members.next_value_seed(Tree(self.0))?;
            entries.push((Key { text, at: self.0.clone() }, value));
        }
        Ok(self.node(Value::Map(entries)))
    }
}
