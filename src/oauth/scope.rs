//! Scope: a set of words (RFC 6749 §3.3). Order means nothing, repeats collapse, case matters.

use std::collections::BTreeSet;
use std::fmt;

/// One word of a scope: `%x21 / %x23-5B / %x5D-7E` (RFC 6749 §3.3).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ScopeToken(Box<str>);

/// A set of scope words; may be empty, and is then left out wherever it would be written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope(BTreeSet<ScopeToken>);

/// Text that is no scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScopeError {
    /// Two blanks in a row, or one at an end.
    #[error("scope words are separated by exactly one space, with none before the first or after the last")]
    Spacing,
    /// A character outside `%x21 / %x23-5B / %x5D-7E`.
    #[error("a scope word has a character that RFC 6749 §3.3 does not allow")]
    Character,
}

impl Scope {
    /// Reads `scope-token *( SP scope-token )`. The empty text is not a scope: an absent parameter is.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        text.split(' ')
            .map(|word| {
                if word.is_empty() {
                    return Err(ScopeError::Spacing);
                }
                let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
                if !word.bytes().all(allowed) {
                    return Err(ScopeError::Character);
                }
                Ok(ScopeToken(word.into()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every word of this scope is one of `allowed`.
    pub fn is_within(&self, allowed: &Self) -> bool {
        self.0.is_subset(&allowed.0)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&word.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 1..8)
    }

    proptest! {
        #[test]
        fn a_scope_reads_back_as_it_prints(words in words()) {
            let scope = Scope::parse(&words.join(" ")).unwrap();
            prop_assert_eq!(Scope::parse(&scope.to_string()).unwrap(), scope);
        }

        #[test]
        fn order_and_repeats_mean_nothing(words in words()) {
            let mut other: Vec<_> = words.iter().rev().cloned().collect();
            other.extend(words.iter().cloned());
            prop_assert_eq!(Scope::parse(&words.join(" ")), Scope::parse(&other.join(" ")));
        }

        #[test]
        fn within_is_the_order_of_sets(a in words(), b in words()) {
            let (left, right) = (Scope::parse(&a.join(" ")).unwrap(), Scope::parse(&b.join(" ")).unwrap());
            let both = Scope::parse(&[a, b].concat().join(" ")).unwrap();
            prop_assert!(left.is_within(&left) && left.is_within(&both) && right.is_within(&both));
            prop_assert_eq!(left.is_within(&right) && right.is_within(&left), left == right);
        }

        #[test]
        fn any_text_is_a_scope_or_an_error(text in any::<String>()) {
            let _ = Scope::parse(&text);
        }
    }

    #[test]
    fn case_matters_and_odd_characters_are_refused() {
        assert!(!Scope::parse("Read").unwrap().is_within(&Scope::parse("read").unwrap()));
        for text in ["", " ", "a  b", " a", "a "] {
            assert_eq!(Scope::parse(text), Err(ScopeError::Spacing), "{text:?}");
        }
        for text in ["a\"b", "a\\b", "a\tb", "é", "a\u{7f}", "a\0b"] {
            assert_eq!(Scope::parse(text), Err(ScopeError::Character), "{text:?}");
        }
    }
}
