//! One entry more or less in a list of a client document, and every other byte as it was.
//!
//! Works on the text, because no writer of YAML gives back the comments, the quotes and the line ends of whoever wrote
//! it. The places come from the reader (`registry`), so this finds ends, commas and lines and nothing else; a list in a
//! form that is not expected gives `None`. What came out is read again by the caller, who undoes what is not right.

use std::ops::Range;

use crate::document::At;
use crate::registry::CertificatePlaces;

/// The text with `name` as the last entry of the list. `name` needs no quotes.
pub(super) fn with_entry(text: &str, places: &CertificatePlaces, name: &str) -> Option<String> {
    let list = List::find(text, places)?;
    let final_entry = list.entries.last()?;
    let (at, added) = match list.style {
        Style::Block => {
            let line = line_of(text, final_entry.start);
            let dash = list.dash(final_entry)?;
            let indent = text.get(line.start..dash)?;
            (line.end, format!("{}{indent}- {name}", list.line_break(line.end)))
        }
        Style::Flow => {
            let line = line_of(text, final_entry.start);
            let comma = list.comma_after(final_entry);
            let closes_later = list.end_of_flow()? >= line.end;
            let comma_is_near = comma.is_none_or(|comma| comma < line.end);
            if list.begins_its_line(final_entry) && closes_later && comma_is_near {
                let indent = text.get(line.start..final_entry.start)?;
                let mut result = text.to_owned();
                let end = if comma.is_some() { "," } else { "" };
                result.insert_str(line.end, &format!("{}{indent}{name}{end}", list.line_break(line.end)));
                if comma.is_none() {
                    result.insert(final_entry.end, ',');
                }
                return Some(result);
            }
            (final_entry.end, format!(", {name}"))
        }
    };
    let mut result = text.to_owned();
    result.insert_str(at, &added);
    Some(result)
}

/// The text without the entry of this index; one that has a line of its own takes the line with it.
pub(super) fn without_entry(text: &str, places: &CertificatePlaces, index: usize) -> Option<String> {
    let list = List::find(text, places)?;
    let entry = list.entries.get(index)?;
    let (comma, gone) = match list.style {
        Style::Block => {
            list.dash(entry)?;
            (None, whole_line(text, entry.start))
        }
        Style::Flow => list.without_flow_entry(index)?,
    };
    let mut result = text.to_owned();
    result.replace_range(gone, "");
    if let Some(comma) = comma {
        result.remove(comma);
    }
    Some(result)
}

/// How the list is written (YAML 1.2.2 §7.4.1, §8.2.1).
#[derive(Clone, Copy, Eq, PartialEq)]
enum Style {
    /// `[a, b]`
    Flow,
    /// A line with a dash for each.
    Block,
}

/// The list in the text, in bytes.
struct List<'t> {
    text: &'t str,
    style: Style,
    entries: Vec<Range<usize>>,
}

impl<'t> List<'t> {
    fn find(text: &'t str, places: &CertificatePlaces) -> Option<Self> {
        let start = offset(text, places.list.as_ref()?)?;
        // The place of a block list is that of its first entry, or a blank before it.
        let style = if text.get(start..)?.starts_with('[') { Style::Flow } else { Style::Block };
        let entry = |at: &At, name: &str| {
            let start = offset(text, at)?;
            Some(start..start + scalar(text.get(start..)?, name)?)
        };
        let entries = places.entries.iter().map(|place| entry(&place.at, &place.name));
        Some(Self { text, style, entries: entries.collect::<Option<_>>()? })
    }

    /// The dash of a block entry, which stands on the line of the entry with nothing but blanks before it.
    fn dash(&self, entry: &Range<usize>) -> Option<usize> {
        let line = line_of(self.text, entry.start);
        let before = self.text.get(line.start..entry.start)?;
        let dash = before.trim_end_matches(' ').strip_suffix('-')?;
        dash.bytes().all(|byte| byte == b' ').then_some(line.start + dash.len())
    }

    fn begins_its_line(&self, entry: &Range<usize>) -> bool {
        let line = line_of(self.text, entry.start);
        self.text.get(line.start..entry.start).is_some_and(|before| before.bytes().all(|byte| byte == b' '))
    }

    /// The comma behind a flow entry, if one comes before anything else.
    fn comma_after(&self, entry: &Range<usize>) -> Option<usize> {
        let at = after_blanks_and_comments(self.text, entry.end);
        self.text.get(at..)?.starts_with(',').then_some(at)
    }

    /// The closing bracket.
    fn end_of_flow(&self) -> Option<usize> {
        let last = self.entries.last()?;
        let after = self.comma_after(last).map_or(last.end, |comma| comma + 1);
        let at = after_blanks_and_comments(self.text, after);
        self.text.get(at..)?.starts_with(']').then_some(at)
    }

    /// What has to go with an entry so that the commas fit again, and the comma on an earlier line if that has to, too.
    fn without_flow_entry(&self, index: usize) -> Option<(Option<usize>, Range<usize>)> {
        let entry = self.entries.get(index)?;
        let before = index.checked_sub(1).and_then(|index| self.comma_after(self.entries.get(index)?));
        let after = self.comma_after(entry);
        let line = line_of(self.text, entry.start);
        let own_end = after.filter(|comma| *comma < line.end).map_or(entry.end, |comma| comma + 1);
        let rest = self.text.get(own_end..line.end)?.trim_start_matches([' ', '\t']);
        let is_alone = self.begins_its_line(entry) && (rest.is_empty() || rest.starts_with('#'));
        if is_alone {
            let whole = whole_line(self.text, entry.start);
            return match after {
                Some(comma) if comma < line.end => Some((None, whole)),
                Some(_) => None,
                None => before.map(|comma| (Some(comma), whole)),
            };
        }
        match (before, after) {
            (Some(comma), _) if comma >= line.start => Some((None, comma..entry.end)),
            (_, Some(comma)) if comma < line.end => {
                let blanks = self.text.get(comma + 1..line.end)?;
                let kept = blanks.trim_start_matches([' ', '\t']);
                // A comment needs the blank before it.
                let end = if kept.starts_with('#') { comma + 1 } else { line.end - kept.len() };
                Some((None, entry.start..end))
            }
            (Some(comma), None) => Some((Some(comma), entry.clone())),
            _ => None,
        }
    }

    /// The line break at `end`; at the end of the file, that of its first line.
    fn line_break(&self, end: usize) -> &'t str {
        let breaks = [end, line_of(self.text, 0).end].map(|at| break_at(self.text, at));
        breaks.into_iter().find(|found| !found.is_empty()).unwrap_or("\n")
    }
}

/// How many bytes the scalar takes that begins here; `None` for one that goes on in another line.
fn scalar(text: &str, value: &str) -> Option<usize> {
    match text.chars().next()? {
        '"' => {
            let mut escaped = false;
            let end = text.char_indices().skip(1).find(|(_, character)| {
                let ends = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            });
            one_line(text.get(..end?.0 + 1)?)
        }
        '\'' => {
            let mut at = 1;
            loop {
                at += text.get(at..)?.find('\'')? + 1;
                if !text.get(at..)?.starts_with('\'') {
                    return one_line(text.get(..at)?);
                }
                at += 1;
            }
        }
        '|' | '>' => None,
        _ => {
            let rest = text.strip_prefix(value)?;
            let is_end = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n', ',', ']']);
            is_end.then_some(value.len())
        }
    }
}

fn one_line(scalar: &str) -> Option<usize> {
    (!scalar.contains(['\r', '\n'])).then_some(scalar.len())
}

fn after_blanks_and_comments(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let token = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        at += rest.len() - token.len();
        if !token.starts_with('#') {
            return at;
        }
        at = line_of(text, at).end;
    }
}

/// Where a place is, in bytes.
fn offset(text: &str, at: &At) -> Option<usize> {
    let mut start = 0;
    for _ in 1..at.line {
        let end = line_of(text, start).end;
        let found = break_at(text, end);
        if found.is_empty() {
            return None;
        }
        start = end + found.len();
    }
    let line = text.get(line_of(text, start))?;
    let column = usize::try_from(at.column.checked_sub(1)?).ok()?;
    line.char_indices().map(|(at, _)| at).nth(column).map(|column| start + column)
}

/// The line around a byte, without its break.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|before| before.rfind(['\r', '\n'])).map_or(0, |found| found + 1);
    let end =
        text.get(at..).and_then(|after| after.find(['\r', '\n'])).map_or(text.len(), |found| at + found);
    start..end
}

/// A line with its break; the last line with the break before it, if it has none of its own.
fn whole_line(text: &str, at: usize) -> Range<usize> {
    let line = line_of(text, at);
    let own = break_at(text, line.end);
    if !own.is_empty() || line.start == 0 {
        return line.start..line.end + own.len();
    }
    let before = text.get(..line.start).unwrap_or_default();
    let kept = before.strip_suffix("\r\n").or_else(|| before.strip_suffix(['\r', '\n'])).unwrap_or(before);
    kept.len()..line.end
}

/// The line break that stands here, if one does (YAML 1.2.2 §5.4).
fn break_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    ["\r\n", "\n", "\r"].into_iter().find(|found| rest.starts_with(found)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
