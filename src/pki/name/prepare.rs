//! The string preparation of RFC 4518 §2 for `caseIgnoreMatch`, behind a stricter gate.
//!
//! The RFC deletes controls, soft hyphens, zero-width and bidi characters, so that `ad<NUL>min` would equal
//! `admin`. Here a string with any of them is not prepared at all and so equals nothing, as the RFC has it
//! anyway for unassigned (Unicode 3.2), private-use and replacement characters. The tables are those of RFC
//! 3454 in `stringprep`; its ready-made `x520prep` is of no use, for it deletes controls and, when it folds
//! case, leaves out the normalization.

use std::fmt;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The character for which a string cannot be compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prohibited(char);

impl fmt::Display for Prohibited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = u32::from(self.0);
        if is_combining_mark(self.0) {
            write!(f, "it begins with the combining mark U+{point:04X}")
        } else {
            write!(f, "it contains U+{point:04X}, which is a control, invisible, private or unassigned")
        }
    }
}

/// The form in which strings are compared: folded by table B.2, NFKC, insignificant spaces removed.
pub(super) fn prepare(text: &str) -> Result<String, Prohibited> {
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Ok(without_insignificant_spaces(
            text.chars().map(|character| character.to_ascii_lowercase()),
        ));
    }
    if let Some(prohibited) = text.chars().find(|&character| is_prohibited(character)) {
        return Err(Prohibited(prohibited));
    }
    if let Some(mark) = text.chars().next().filter(|&first| is_combining_mark(first)) {
        return Err(Prohibited(mark));
    }
    let spaced = text.chars().map(|character| match character {
        _ if tables::non_ascii_space_character(character) => ' ',
        _ => character,
    });
    Ok(without_insignificant_spaces(spaced.flat_map(tables::case_fold_for_nfkc).nfkc()))
}

/// RFC 4518 §2.2 (all that it maps to nothing) and §2.4, and line separators.
fn is_prohibited(character: char) -> bool {
    tables::ascii_control_character(character)
        || tables::non_ascii_control_character(character)
        || tables::commonly_mapped_to_nothing(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::tagging_character(character)
        || tables::inappropriate_for_plain_text(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || tables::unassigned_code_point(character)
}

/// RFC 4518 §2.6.1, without the spaces that it adds at both ends: one inside for any number, none at the
/// ends. A space that carries a combining mark is a character like others.
fn without_insignificant_spaces(characters: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    let mut space_is_due = false;
    let mut characters = characters.peekable();
    while let Some(character) = characters.next() {
        if character == ' ' && !characters.peek().is_some_and(|&next| is_combining_mark(next)) {
            space_is_due = !out.is_empty();
            continue;
        }
        if space_is_due {
            out.push(' ');
            space_is_due = false;
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_width_and_spaces_do_not_count() {
        for (one, other) in [
            ("Svc  One", " svc one "),
            ("Ａ", "a"),
            ("Straße", "STRASSE"),
            ("\u{130}", "i\u{307}"),
            ("e\u{301}", "\u{c9}"),
            ("\u{212b}", "\u{e5}"),
            ("a\u{a0}\u{3000}b", "A b"),
            ("\u{3a3}\u{3c2}", "\u{3c3}\u{3c3}"),
            ("   ", ""),
        ] {
            assert_eq!(prepare(one), prepare(other), "{one:?} {other:?}");
            assert!(prepare(one).is_ok());
        }
    }

    #[test]
    fn what_looks_alike_stays_different() {
        for (one, other) in [("admin", "\u{430}dmin"), ("a b", "ab"), ("o", "0"), ("a \u{308}", "a  \u{308}")]
        {
            assert_ne!(prepare(one), prepare(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_could_hide_is_not_prepared() {
        let hiding = "\0\t\n\r\x0b\x1b\x7f\u{80}\u{85}\u{9f}\u{ad}\u{34f}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\
                      \u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{206a}\u{fe0f}\u{feff}\
                      \u{fffc}\u{fffd}\u{fffe}\u{e000}\u{f0000}\u{e0041}\u{1f680}\u{378}";
        for character in hiding.chars() {
            assert_eq!(prepare(&format!("ad{character}min")), Err(Prohibited(character)), "{character:?}");
        }
        assert_eq!(prepare("\u{301}a"), Err(Prohibited('\u{301}')));
    }
}
