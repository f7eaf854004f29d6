//! The text form of a name, RFC 4514 §3, to the letter, and its escapes.
//!
//! Nothing is repaired: a form that begins at the other end, as OpenSSL prints by default, would be another
//! name. So every error says what to write instead.

use std::mem;

use stringprep::tables;

use super::{Ava, DistinguishedName, NameError, Rdn, Text, Value, attribute, read_text};
use crate::pki::der::{Element, Oid, Reader};

/// Reads a registered name. The first RDN of the text is the last of the encoding (RFC 4514 §2.1).
pub(super) fn parse(text: &str) -> Result<DistinguishedName, NameError> {
    if text.is_empty() {
        return Err(NameError::new("the name is empty, and no certificate is matched by an empty name"));
    }
    if text.len() > DistinguishedName::MAX_TEXT {
        return Err(NameError::new("the name is longer than 8 KiB"));
    }
    let mut rdns =
        Parser { text, at: 0 }.rdns().map_err(|wrong| NameError(form_of(text).unwrap_or(wrong)))?;
    rdns.reverse();
    Ok(DistinguishedName { rdns })
}

/// A value as RFC 4514 §2.4 has it written; blanks that look like the common one are written as octets.
pub(super) fn escape(written: &str) -> String {
    let mut out = String::new();
    let last = written.chars().count().saturating_sub(1);
    for (index, character) in written.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', character]),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            '#' if index == 0 => out.push_str("\\#"),
            _ if tables::non_ascii_space_character(character) => {
                let mut buffer = [0; 4];
                let octets = character.encode_utf8(&mut buffer).bytes();
                out.extend(octets.map(|octet| format!("\\{octet:02X}")));
            }
            _ => out.push(character),
        }
    }
    out
}

/// The forms of OpenSSL that are no RFC 4514, known by how they begin, and how to get the right one.
fn form_of(text: &str) -> Option<String> {
    let form = if text.starts_with('/') {
        "the form with slashes is OpenSSL's own"
    } else if text.split_once('=').is_some_and(|(name, _)| name.ends_with(' ')) {
        "the form with ` = ` is OpenSSL's own, and begins at the other end"
    } else {
        return None;
    };
    Some(format!(
        "{form}: write what `openssl x509 -in cert.pem -noout -subject -nameopt RFC2253` prints after `subject=`"
    ))
}

/// What is wrong, where, and what to write.
type Wrong = String;

struct Parser<'t> {
    text: &'t str,
    /// In octets, at the begin of a character.
    at: usize,
}

impl<'t> Parser<'t> {
    /// `distinguishedName`, at least one RDN.
    fn rdns(&mut self) -> Result<Vec<Rdn>, Wrong> {
        let mut rdns = Vec::new();
        let mut avas = Vec::new();
        loop {
            avas.push(self.ava()?);
            if avas.len() > DistinguishedName::MAX_AVAS || rdns.len() >= DistinguishedName::MAX_RDNS {
                return Err("a name has at most 64 RDNs, and each of them at most 16 values".to_owned());
            }
            match self.peek() {
                Some('+') => self.skip('+'),
                Some(',') => {
                    self.skip(',');
                    rdns.push(Rdn::new(mem::take(&mut avas)));
                }
                Some(_) => return Err(self.wrong("a `,` or the end should be here")),
                None => {
                    rdns.push(Rdn::new(avas));
                    return Ok(rdns);
                }
            }
        }
    }

    /// `attributeTypeAndValue`
    fn ava(&mut self) -> Result<Ava, Wrong> {
        let oid = self.attribute_type()?;
        if self.peek() == Some('#') {
            let value = self.hexstring()?;
            return Ok(Ava { oid, value });
        }
        let start = self.at;
        let written = self.string()?;
        let text = Text::new(written).map_err(|prohibited| {
            self.at = start;
            self.wrong(&format!("this value cannot be compared: {prohibited}"))
        })?;
        Ok(Ava { oid, value: Value::Text(text) })
    }

    /// `descr` or `numericoid`, and the equals sign.
    fn attribute_type(&mut self) -> Result<Oid, Wrong> {
        let rest = self.rest();
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
        let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        match (name, rest.get(end..).and_then(|after| after.chars().next())) {
            ("", Some(' ')) if self.at == 0 => Err(self.wrong("leave out the blank at the begin")),
            ("", Some(' ')) => Err(self.wrong(
                "RFC 4514 has no blank after a separator: leave it out, or write `\\,` (`\\+`) if the separator \
                 belongs to the value",
            )),
            ("", None) => Err(self.wrong("the name ends with a separator: leave it out, or escape it by `\\`")),
            ("", Some(_)) => Err(self.wrong("an attribute type, such as `CN`, should be here")),
            (_, Some('=')) => {
                let oid = attribute::type_of(name)
                    .map_err(|instead| self.wrong(&format!("`{name}=` is not read here: {instead}")))?;
                self.at += end + 1;
                Ok(oid)
            }
            (_, _) => Err(self.wrong(
                "an attribute type and `=` should be here; a `,` or `+` that belongs to the value before is written \
                 `\\,` or `\\+`",
            )),
        }
    }

    /// `string`: up to an unescaped separator, unescaped once and from left to right.
    fn string(&mut self) -> Result<String, Wrong> {
        const BLANK: &str =
            "a blank at the begin or end of a value is left out, or written `\\20` if it belongs to it";
        let mut octets = Vec::new();
        let mut ends_in_blank = false;
        while let Some(character) = self.peek() {
            match character {
                ',' | '+' => break,
                '\\' => octets.push(self.pair()?),
                ' ' if octets.is_empty() => return Err(self.wrong(BLANK)),
                '"' => {
                    return Err(self.wrong(
                        "quotes are of an older form: leave them out, and write `\\,` for a comma in the value",
                    ));
                }
                ';' => return Err(self.wrong("write `,` between RDNs, or `\\;` if it belongs to the value")),
                '<' | '>' => return Err(self.wrong(&format!("write `\\{character}`"))),
                _ => {
                    self.skip(character);
                    octets.extend(character.encode_utf8(&mut [0; 4]).bytes());
                }
            }
            ends_in_blank = character == ' ';
        }
        if ends_in_blank {
            return Err(self.wrong(BLANK));
        }
        String::from_utf8(octets).map_err(|_| self.wrong("the escaped octets before this are not UTF-8"))
    }

    /// `pair`: a backslash and a special character or two hexadecimal digits.
    fn pair(&mut self) -> Result<u8, Wrong> {
        let mut after = self.rest().bytes().skip(1);
        let first = after.next();
        if let Some(special @ (b'\\' | b'"' | b'+' | b',' | b';' | b'<' | b'>' | b' ' | b'#' | b'=')) = first
        {
            self.at += 2;
            return Ok(special);
        }
        match (first.and_then(hex_digit), after.next().and_then(hex_digit)) {
            (Some(high), Some(low)) => {
                self.at += 3;
                Ok(high << 4 | low)
            }
            _ => Err(self.wrong(
                "after a `\\` comes one of `\\ \" + , ; < > # =`, a blank, or two hexadecimal digits; a backslash is \
                 written `\\\\`",
            )),
        }
    }

    /// `hexstring`: the DER of a value. A string is compared as one, anything else by its octets.
    fn hexstring(&mut self) -> Result<Value, Wrong> {
        let start = self.at;
        self.skip('#');
        let mut der = Vec::new();
        let mut digits = self.rest().bytes();
        while let Some(high) = digits.next().and_then(hex_digit) {
            let Some(low) = digits.next().and_then(hex_digit) else {
                return Err(self.wrong("hexadecimal digits come in pairs"));
            };
            der.push(high << 4 | low);
            self.at += 2;
        }
        let wrong = |what: &str| Parser { text: self.text, at: start }.wrong(what);
        let Some(element) = only_element(&der) else {
            return Err(wrong(
                "`#` stands before the DER of a value in hexadecimal; write `\\#` if it belongs to the value",
            ));
        };
        let text = read_text(element)
            .transpose()
            .map_err(|why| wrong(&format!("this value cannot be compared: {why}")))?;
        let der = der.into_boxed_slice();
        Ok(match text {
            Some(text) => Value::Encoded { der, text },
            None => Value::Opaque(der),
        })
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, character: char) {
        self.at += character.len_utf8();
    }

    fn wrong(&self, what: &str) -> Wrong {
        let before = self.text.get(..self.at).unwrap_or(self.text).chars().count();
        format!("at character {}: {what}", before + 1)
    }
}

fn only_element(der: &[u8]) -> Option<Element<'_>> {
    let mut reader = Reader::new(der);
    let element = reader.element().ok()?;
    reader.finish().ok().map(|()| element)
}

fn hex_digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
