//! What a node means to the field that it stands in: text, truth, number, duration, size, list.
//!
//! A value of the wrong kind is a problem at its place; its text is not repeated, for it could be a secret.

use std::time::Duration;

use super::{Node, Problems, Value};

impl Node {
    /// The text of a scalar, exactly as it was written (RFC 7591 strings are compared by code points).
    pub fn text(&self, problems: &mut Problems) -> Option<&str> {
        if let Value::Scalar { text, .. } = &self.value {
            return Some(text);
        }
        self.refuse("a text", "write one value; quotes make anything a text", problems)
    }

    /// `true` or `false`, unquoted. `yes`, `no`, `on` and `off` are texts (YAML 1.2.2 §10.3.2).
    pub fn bool(&self, problems: &mut Problems) -> Option<bool> {
        match self.plain() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.refuse("true or false", "write true or false, without quotes", problems),
        }
    }

    /// The members of a list.
    pub fn list(&self, problems: &mut Problems) -> Option<&[Self]> {
        if let Value::List(items) = &self.value {
            return Some(items);
        }
        self.refuse("a list", "write [a, b], or a line with a dash for each", problems)
    }

    /// `90s`, `5m`, `12h`, `30d`: a whole number and one unit.
    pub fn duration(&self, problems: &mut Problems) -> Option<Duration> {
        const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];
        let seconds = self.plain().and_then(|text| number_with_unit(text, &UNITS));
        if seconds.is_none() {
            return self.refuse("a duration", "write a number and a unit: 90s, 5m, 12h, 30d", problems);
        }
        seconds.map(Duration::from_secs)
    }

    /// `512B`, `64KiB`, `1MiB`, `1GiB`, in bytes.
    pub fn size(&self, problems: &mut Problems) -> Option<u64> {
        // The longer names come first: each of them ends with "B".
        const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
        let bytes = self.plain().and_then(|text| number_with_unit(text, &UNITS));
        if bytes.is_none() {
            return self.refuse("a size", "write a number and a unit: 512B, 64KiB, 1MiB", problems);
        }
        bytes
    }

    /// A whole number in decimal digits, unquoted and without a leading zero.
    pub fn integer(&self, problems: &mut Problems) -> Option<u64> {
        let number = self.plain().and_then(whole_number);
        if number.is_none() {
            return self.refuse("a whole number", "write decimal digits", problems);
        }
        number
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, quoted: false } => Some(text),
            _ => None,
        }
    }

    fn refuse<T>(&self, wanted: &str, instead: &str, problems: &mut Problems) -> Option<T> {
        let what = match self.value {
            Value::Scalar { .. } => format!("this is not {wanted}"),
            _ => format!("{} stands where {wanted} belongs", self.kind()),
        };
        problems.error(&self.at, what, instead);
        None
    }
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    whole_number(digits)?.checked_mul(*factor)
}

fn whole_number(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
