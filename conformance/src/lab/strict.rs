//! JSON as it is written: most readers keep one of two members with the same name, and nobody hears of the other.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What is wrong with the names of members anywhere in this text: one of them occurs twice in one object. `None` too if it
/// is no JSON, which others find.
#[must_use]
pub fn repeated_member(octets: &[u8]) -> Option<String> {
    let read = serde_json::from_slice::<Unrepeated>(octets);
    read.err().filter(serde_json::Error::is_data).map(|error| error.to_string())
}

/// Any JSON in which no object has two members of one name.
struct Unrepeated;

impl<'de> Deserialize<'de> for Unrepeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unrepeated {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, Self)) = members.next_entry::<String, Self>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("the member {name:?} occurs twice")));
            }
            names.insert(name);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while let Some(Self) = elements.next_element::<Self>()? {}
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::repeated_member;

    #[test]
    fn a_repeated_name_is_found_at_any_depth_and_nothing_else_is() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":null,"c":-1.5,"a":"x"}}]"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(repeated_member(text.as_bytes()).is_some(), "{text}");
        }
        for text in [r#"{"a":{"a":1},"b":[{"a":true},{"a":-2}]}"#, "7", "", "{", r#"{"a":1"#] {
            assert_eq!(repeated_member(text.as_bytes()), None, "{text}");
        }
    }
}
