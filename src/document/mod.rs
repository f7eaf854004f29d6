//! YAML as a tree with positions, and the problems found on the way.
//!
//! The configuration and the client documents are both read through this tree, so that every problem of a
//! file is reported at once, with its line and column and with what to write instead. Scalars stay text: what
//! `0123`, `no` or `2001-01-01` means is for the reader of the field to say, not for a YAML schema. Anchors,
//! aliases, merge keys, tags and directives are refused: a document says what it says where it says it. What
//! a field may hold is left to `registry` and `config`.

mod fields;
mod parse;
mod scalar;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use fields::Fields;
pub use parse::{MAX_BYTES, parse};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It stops the start; at a reload the file keeps what it had.
    Error,
    /// It works, but somebody should look.
    Warning,
}

/// One thing wrong, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file that it is in.
    #[serde(serialize_with = "as_shown")]
    pub file: PathBuf,
    /// Counts from 1; 0 for the file as a whole.
    pub line: u64,
    /// Counts characters from 1; 0 for the file as a whole.
    pub column: u64,
    /// What is wrong. Never has a value that could be a secret.
    pub what: String,
    /// What to write or do.
    pub instead: String,
}

impl fmt::Display for Problem {
    /// `clients.d/a.yaml:3:1: error: what; instead`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {severity}: {}; {}", self.what, self.instead)
    }
}

/// Every problem of a load, not the first alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether there is more than warnings.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Notes an error.
    pub fn error(&mut self, at: &At, what: impl Into<String>, instead: impl Into<String>) {
        self.push(Severity::Error, at, what.into(), instead.into());
    }

    /// Notes a warning.
    pub fn warning(&mut self, at: &At, what: impl Into<String>, instead: impl Into<String>) {
        self.push(Severity::Warning, at, what.into(), instead.into());
    }

    fn push(&mut self, severity: Severity, at: &At, what: String, instead: String) {
        let (file, line, column) = (at.file.to_path_buf(), at.line, at.column);
        self.0.push(Problem { severity, file, line, column, what, instead });
    }
}

/// A place in a file. Lines and columns (in characters) count from 1; 0 means the file as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct At {
    /// The file.
    pub file: Arc<Path>,
    /// Its line.
    pub line: u64,
    /// The column in the line.
    pub column: u64,
}

impl At {
    /// The file as a whole.
    pub fn whole(file: impl Into<Arc<Path>>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

/// A value of the document and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// What a node can be.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`, unquoted.
    Null,
    /// Text as it was written; of quoted and block scalars what they decode to.
    Scalar {
        /// The text.
        text: String,
        /// Whether it is quoted or a block, and so cannot be meant as a number or a truth value.
        quoted: bool,
    },
    /// `[a, b]`, or a line each with a dash.
    List(Vec<Node>),
    /// In the order of the file; no key is there twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it begins.
    pub at: At,
}

/// A path need not be UTF-8, JSON is.
fn as_shown<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A key as messages show it: short, and on one line.
fn shown(key: &str) -> String {
    let mut text: String = key.chars().take(64).flat_map(char::escape_debug).collect();
    if key.chars().nth(64).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
