//! The body of a POST: `application/x-www-form-urlencoded` without repeated fields (RFC 6749 §3.2, appendix B).
//!
//! Strict where lenience would give one request two meanings: a broken percent escape, bytes that are not
//! UTF-8, a NUL and a repeated name are errors. The values are secrets until somebody says otherwise.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use secrecy::SecretString;

/// The most fields a form may have; an OAuth request has fewer than ten.
const MAX_FIELDS: usize = 64;

/// A parsed form. Each field is there at most once, but `resource` (RFC 8707 §2).
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, Vec<SecretString>>);

/// A body that is not a form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FormError {
    /// RFC 6749 §3.2: parameters must not be included more than once.
    #[error("a parameter is there twice")]
    Repeated(String),
    /// A percent sign without two hexadecimal digits, bytes that are not UTF-8, or a NUL.
    #[error("the form is not properly encoded")]
    Encoding,
    /// More fields than any request has.
    #[error("the form has too many fields")]
    TooManyFields,
    /// A field that must be there is not.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
}

impl Form {
    /// Reads the body. Fields that nobody knows are kept, and ignored because nobody takes them.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut fields: BTreeMap<String, Vec<SecretString>> = BTreeMap::new();
        let mut count = 0;
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            count += 1;
            if count > MAX_FIELDS {
                return Err(FormError::TooManyFields);
            }
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(at);
            let name = decode(name)?;
            let value = SecretString::from(decode(value.strip_prefix(b"=").unwrap_or(value))?);
            match fields.entry(name) {
                Entry::Vacant(vacant) => drop(vacant.insert(vec![value])),
                Entry::Occupied(mut more) if more.key() == "resource" => more.get_mut().push(value),
                Entry::Occupied(again) => return Err(FormError::Repeated(again.key().clone())),
            }
        }
        Ok(Self(fields))
    }

    /// Takes a field out. An empty one counts as absent (RFC 6749 §3.2).
    pub fn take(&mut self, field: &'static str) -> Option<SecretString> {
        self.take_even_empty(field).filter(|value| !is_empty(value))
    }

    /// Takes a field out, where an empty value has a meaning of its own.
    pub fn take_even_empty(&mut self, field: &'static str) -> Option<SecretString> {
        self.0.remove(field)?.pop()
    }

    /// Takes a field that must be there.
    pub fn require(&mut self, field: &'static str) -> Result<SecretString, FormError> {
        self.take(field).ok_or(FormError::Missing(field))
    }

    /// Takes every value of `resource`, the one field that may be repeated; empty ones do not count.
    pub fn take_resources(&mut self) -> Vec<SecretString> {
        let mut all = self.0.remove("resource").unwrap_or_default();
        all.retain(|value| !is_empty(value));
        all
    }

    /// Whether a field is there and not empty.
    pub fn has(&self, field: &'static str) -> bool {
        self.0.get(field).is_some_and(|values| values.iter().any(|value| !is_empty(value)))
    }
}

fn is_empty(value: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    value.expose_secret().is_empty()
}

fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    // Most of a form, a token above all, is there as it is; it is taken in one piece.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'+' | b'%')) {
        let (plain, escape) = rest.split_at(at);
        bytes.extend_from_slice(plain);
        rest = match escape {
            [b'+', after @ ..] => {
                bytes.push(b' ');
                after
            }
            [b'%', high, low, after @ ..] => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                after
            }
            _ => return Err(FormError::Encoding),
        };
    }
    bytes.extend_from_slice(rest);
    if bytes.contains(&0) {
        return Err(FormError::Encoding);
    }
    String::from_utf8(bytes).map_err(|_| FormError::Encoding)
}

fn digit(byte: u8) -> Result<u8, FormError> {
    let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digit.ok_or(FormError::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn value(form: &mut Form, field: &'static str) -> Option<String> {
        form.take(field).map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn a_repeated_field_is_refused_even_if_equal_or_empty() {
        for body in ["scope=a&scope=a", "scope=&scope=", "x=1&x=2", "client_id=a&client%5Fid=b"] {
            assert!(matches!(Form::parse(body.as_bytes()), Err(FormError::Repeated(_))), "{body}");
        }
    }

    #[test]
    fn resource_alone_may_be_repeated_and_empty_ones_do_not_count() {
        let mut form = Form::parse(b"resource=a&resource=&resource=b").unwrap();
        assert_eq!(form.take_resources().len(), 2);
    }

    #[test]
    fn an_empty_field_is_absent_where_nobody_asks_for_it() {
        let mut form = Form::parse(b"scope=&token&client_certificate=").unwrap();
        assert!(!form.has("scope"));
        assert_eq!(value(&mut form, "scope"), None);
        assert_eq!(form.require("token").unwrap_err(), FormError::Missing("token"));
        assert!(form.take_even_empty("client_certificate").is_some());
        assert!(form.take_even_empty("x5t#S256").is_none());
    }

    #[test]
    fn broken_encodings_are_refused_and_never_repaired() {
        for body in [
            &b"a=%"[..],
            b"a=%4",
            b"a=%zz",
            b"a=%C3",
            b"a=\xff",
            b"a=%00",
            b"%00=a",
            b"a=%ed%a0%80",
            b"a=%+1",
        ] {
            assert_eq!(Form::parse(body).unwrap_err(), FormError::Encoding, "{body:?}");
        }
    }

    #[test]
    fn a_semicolon_is_a_character_and_a_plus_is_a_blank() {
        let mut form = Form::parse(b"a=1;b=2&c=x+y%2B%26").unwrap();
        assert_eq!(value(&mut form, "a").as_deref(), Some("1;b=2"));
        assert_eq!(value(&mut form, "c").as_deref(), Some("x y+&"));
    }

    #[test]
    fn a_thousand_fields_are_too_many() {
        let body = (0..1000).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(Form::parse(body.as_bytes()).unwrap_err(), FormError::TooManyFields);
    }

    proptest! {
        #[test]
        fn a_form_reads_back_as_it_was_encoded(values in proptest::collection::vec("[^\0]{1,20}", 1..10)) {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in names.iter().zip(&values) {
                body.append_pair(name, value);
            }
            let mut form = Form::parse(body.finish().as_bytes()).unwrap();
            for (name, expected) in names.iter().zip(&values) {
                let found = value(&mut form, name);
                prop_assert_eq!(found.as_ref(), Some(expected));
            }
        }

        #[test]
        fn any_bytes_are_a_form_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }
    }
}
