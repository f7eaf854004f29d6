//! From bytes to trees (YAML 1.2.2), without recursion and within bounds.
//!
//! The events of the parser under serde-saphyr are taken as they come, because they alone tell a quoted
//! scalar from a plain one and show each anchor, alias, tag and key with its place. Messages name what the
//! parser stumbled over, never the text around it: that could be a secret.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::{At, Key, Node, Problems, Value, shown};

/// The most bytes a file may have: 1 MiB.
pub const MAX_BYTES: usize = 1024 * 1024;

/// How deep lists and maps may lie in one another. Checked before anything is built, so no file can exhaust
/// the stack when its tree is walked or dropped.
const MAX_DEPTH: usize = 32;

/// The most problems reported of one file; whoever has more reads the first of them anyway.
const MAX_PROBLEMS: usize = 100;

/// Every document of a file. A file without any, and one that is not plain YAML in UTF-8, is a problem.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Node>, Problems> {
    let file: Arc<Path> = file.into();
    let mut problems = Problems::default();
    let Some(text) = text_of(&file, bytes, &mut problems) else {
        return Err(problems);
    };
    let mut options = granit_parser::options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);

    let mut builder = Builder { file, problems, open: Vec::new(), documents: Vec::new() };
    for event in Parser::new_from_str_with_options(text, options) {
        let taken = event
            .map_err(|error| builder.refuse(&error))
            .and_then(|(event, span)| builder.take(event, &span));
        if taken.is_err() {
            break;
        }
    }
    builder.finish()
}

/// The bytes as text that YAML allows (YAML 1.2.2 §5.1), or a problem that says where they are not.
fn text_of<'b>(file: &Arc<Path>, bytes: &'b [u8], problems: &mut Problems) -> Option<&'b str> {
    const UTF_8: &str = "save it as UTF-8 without a byte order mark";
    let start = At { file: file.clone(), line: 1, column: 1 };
    if bytes.len() > MAX_BYTES {
        problems.error(
            &At::whole(file.clone()),
            "the file has more than 1 MiB",
            "split it into several files",
        );
        return None;
    }
    if bytes.starts_with(b"\xFE\xFF") || bytes.starts_with(b"\xFF\xFE") {
        problems.error(&start, "the file is UTF-16", UTF_8);
        return None;
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        problems.error(&start, "the file begins with a byte order mark", UTF_8);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            problems.error(&end_of(file, &String::from_utf8_lossy(good)), "the file is not UTF-8", UTF_8);
            return None;
        }
    };
    if let Some((at, character)) = text.char_indices().find(|(_, character)| !is_printable(*character)) {
        problems.error(
            &end_of(file, text.get(..at).unwrap_or_default()),
            format!("the character U+{:04X} is not allowed in YAML", u32::from(character)),
            "remove it; in a text, write it as an escape between double quotes",
        );
        return None;
    }
    Some(text)
}

fn is_printable(character: char) -> bool {
    !matches!(character,
        '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{7F}'..='\u{84}' | '\u{86}'..='\u{9F}'
        | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

/// The place behind `text`.
fn end_of(file: &Arc<Path>, text: &str) -> At {
    let (mut line, mut column, mut previous) = (1, 1, ' ');
    for character in text.chars() {
        match character {
            '\n' if previous == '\r' => {}
            '\n' | '\r' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        previous = character;
    }
    At { file: file.clone(), line, column }
}

/// A problem was noted after which reading on makes no sense.
struct Stop;

/// A list or map that has begun and not ended.
enum Open {
    List { at: At, items: Vec<Node> },
    Map { at: At, entries: Vec<(Key, Node)>, key: Option<Key> },
}

/// Puts the tree together; the stack is its own, not the thread's.
struct Builder {
    file: Arc<Path>,
    problems: Problems,
    open: Vec<Open>,
    documents: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        if self.problems.0.len() >= MAX_PROBLEMS {
            return Err(Stop);
        }
        if let Some(tag) = event.tag().map(|_| span.tag_start.unwrap_or(span.start)) {
            let at = self.at(&tag);
            self.problems.error(
                &at,
                "tags (!…) are not supported",
                "remove the tag; quotes make anything a text",
            );
        }
        let at = self.at(&span.start);
        match event {
            Event::Anchor(..) => self.problems.error(
                &at,
                "anchors (&…) are not supported",
                "remove it and write the value out wherever it is meant",
            ),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problems.error(&at, "aliases (*…) are not supported", "write the value out");
                self.place(Node { at, value: Value::Null });
            }
            Event::Scalar(text, style, ..) => {
                let value = self.scalar(&at, text, style);
                self.place(Node { at, value });
            }
            Event::SequenceStart(..) => self.begin(Open::List { at, items: Vec::new() })?,
            Event::MappingStart(..) => self.begin(Open::Map { at, entries: Vec::new(), key: None })?,
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, at: &At, text: Cow<'_, str>, style: ScalarStyle) -> Value {
        let quoted = style != ScalarStyle::Plain;
        if !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
            return Value::Null;
        }
        if text.contains('\0') {
            self.problems.error(at, "a text cannot have a NUL in it", "remove the \\0");
        }
        Value::Scalar { text: text.into_owned(), quoted }
    }

    fn begin(&mut self, open: Open) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            let (Open::List { at, .. } | Open::Map { at, .. }) = &open;
            self.too_deep(&at.clone());
            return Err(Stop);
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) {
        let node = match self.open.pop() {
            Some(Open::List { at, items }) => Node { at, value: Value::List(items) },
            Some(Open::Map { at, entries, .. }) => {
                self.refuse_duplicates(&entries);
                Node { at, value: Value::Map(entries) }
            }
            None => return,
        };
        self.place(node);
    }

    fn refuse_duplicates(&mut self, entries: &[(Key, Node)]) {
        let mut seen = BTreeSet::new();
        for (key, _) in entries {
            if !seen.insert(key.text.as_str()) && self.problems.0.len() < MAX_PROBLEMS {
                let what = format!("the key `{}` is there twice", shown(&key.text));
                self.problems.error(&key.at, what, "keep one of the two");
            }
        }
    }

    /// A finished node goes where its place is: into the list, or as key or value into the map, or it is a
    /// document.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(key_of(node, &mut self.problems)),
            },
        }
    }

    fn refuse(&mut self, error: &ScanError) -> Stop {
        let at = self.at(error.marker());
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            self.too_deep(&at);
            return Stop;
        }
        let instead = match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar => "indent with spaces",
            ErrorKind::DirectiveDisallowed => "remove the line that begins with %",
            ErrorKind::UnclosedQuotedScalar => "close the quotation",
            _ => "correct it here or just above; where a text has `: `, ` #` or begins with a sign, quote it",
        };
        self.problems.error(&at, format!("this is not YAML: {}", error.kind()), instead);
        Stop
    }

    fn too_deep(&mut self, at: &At) {
        let what = format!("lists and maps lie more than {MAX_DEPTH} deep in one another");
        self.problems.error(at, what, "no document needs that; flatten it");
    }

    fn at(&self, marker: &Marker) -> At {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        At {
            file: self.file.clone(),
            line: count(marker.line()),
            column: count(marker.col()).saturating_add(1),
        }
    }

    fn finish(mut self) -> Result<Vec<Node>, Problems> {
        let empty = self.documents.iter().all(|document| matches!(document.value, Value::Null));
        if empty && self.problems.0.is_empty() {
            self.problems.error(
                &At::whole(self.file.clone()),
                "the file is empty",
                "write the document, or remove the file",
            );
        }
        if self.problems.0.is_empty() { Ok(self.documents) } else { Err(self.problems) }
    }
}

fn key_of(node: Node, problems: &mut Problems) -> Key {
    match node.value {
        Value::Scalar { text, quoted } => {
            if text == "<<" && !quoted {
                problems.error(&node.at, "merge keys (<<) are not supported", "write the keys out");
            }
            Key { text, at: node.at }
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            problems.error(&node.at, "a key is text", "write `key: value`");
            Key { text: String::new(), at: node.at }
        }
    }
}
