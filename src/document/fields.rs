//! The fields of one map, taken one by one; what nobody took is unknown, and said so.

use super::{At, Key, Node, Problems, Value, shown};

/// The most unknown keys reported one by one; a map with more of them is something else altogether.
const MAX_UNKNOWN: usize = 20;

/// Takes the fields of one map; what nobody took is an unknown key at the end.
#[derive(Debug)]
pub struct Fields {
    at: At,
    entries: Vec<(Key, Node)>,
}

impl Fields {
    /// The fields of a map; anything else is a problem.
    pub fn of(node: &Node, problems: &mut Problems) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            return Some(Self { at: node.at.clone(), entries: entries.clone() });
        }
        problems.error(
            &node.at,
            format!("{} stands where `key: value` belongs", node.kind()),
            "write `key: value`",
        );
        None
    }

    /// Where the map begins.
    pub fn at(&self) -> &At {
        &self.at
    }

    /// Where the key stands, if it is there and nobody took it.
    pub fn at_key(&self, key: &str) -> Option<&At> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(found, _)| &found.at)
    }

    /// Takes a field. One whose value is null counts as absent.
    pub fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|(found, _)| found.text == key)?;
        let (_, node) = self.entries.remove(index);
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// Takes a field that must be there; `example` is the line that is missing.
    pub fn require(&mut self, key: &str, example: &str, problems: &mut Problems) -> Option<Node> {
        let at = self.at_key(key).unwrap_or(&self.at).clone();
        let found = self.take(key);
        if found.is_none() {
            problems.error(&at, format!("`{key}` is missing"), format!("write `{example}`"));
        }
        found
    }

    /// Takes a field of a later version and refuses it, so that nobody relies on what is not done.
    pub fn not_built(&mut self, key: &str, problems: &mut Problems) {
        let Some(at) = self.at_key(key).cloned() else {
            return;
        };
        self.take(key);
        problems.error(&at, format!("`{key}` is not supported by this version"), "remove it");
    }

    /// Every key left is a problem; the nearest of `known` is suggested.
    pub fn finish(self, known: &[&str], problems: &mut Problems) {
        for (key, _) in self.entries.iter().take(MAX_UNKNOWN) {
            let instead = nearest(&key.text, known).map_or_else(
                || format!("remove it; known are: {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            problems.error(&key.at, format!("unknown key `{}`", shown(&key.text)), instead);
        }
        if let Some((key, _)) = self.entries.get(MAX_UNKNOWN) {
            let count = self.entries.len() - MAX_UNKNOWN;
            problems.error(&key.at, format!("{count} more unknown keys from here on"), "remove them");
        }
    }
}

/// The known key that is a typing error away, if there is one: a third of its letters at most.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > 64 {
        return None;
    }
    let distances = known.iter().map(|candidate| (distance(key, candidate), *candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (candidate.len() / 3).max(1)).then_some(candidate)
}

/// How many letters have to be put in, taken out or changed (Levenshtein), without regard to case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), index + 1);
        let mut before = index + 1;
        for (other, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let change = diagonal + usize::from(*other != letter);
            diagonal = std::mem::replace(cell, change.min(*cell + 1).min(before + 1));
            before = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}
