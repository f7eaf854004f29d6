//! How two names differ, in words that help at three in the morning: what is forgiven, what moved, what is
//! another value, what is missing and what is too much. Decides nothing; equality does.

use super::{Ava, DistinguishedName, Rdn, Text, Value};

/// One RDN in which two names differ.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct RdnDifference {
    /// Its place, from 1, in the text of the expected name; for `extra`, in the text of the seen one.
    pub rdn: usize,
    /// What was expected there.
    pub expected: Option<String>,
    /// What was seen: for `order`, what stands at that place.
    pub seen: Option<String>,
    /// `case`, `space` and `encoding` between equal values are forgiven. Names are different for `order`, `type`
    /// (the same value under another type), `encoding` (a text against octets without one meaning), `value`,
    /// `missing` and `extra`.
    pub kind: &'static str,
}

/// An RDN and its index in the text.
type Placed<'n> = (usize, &'n Rdn);

pub(super) fn difference(expected: &DistinguishedName, seen: &DistinguishedName) -> Vec<RdnDifference> {
    let seen_in_order = seen.in_text_order();
    let mut differences = Vec::new();
    let mut note = |index: usize, expected: Option<&Rdn>, seen: Option<&Rdn>, kind: &'static str| {
        let (expected, seen) = (expected.map(Rdn::to_string), seen.map(Rdn::to_string));
        differences.push(RdnDifference { rdn: index + 1, expected, seen, kind });
    };

    let Alignment { equal, mut expected_left, mut seen_left } =
        align(&expected.in_text_order(), &seen_in_order);
    for (index, expected, seen) in equal {
        if let Some(kind) = forgiven(expected, seen) {
            note(index, Some(expected), Some(seen), kind);
        }
    }
    expected_left.retain(|&(index, expected)| {
        let moved = take(&mut seen_left, |seen| seen == expected).is_some();
        if moved {
            note(index, Some(expected), seen_in_order.get(index).copied(), "order");
        }
        !moved
    });
    for same in [same_types as fn(&Rdn, &Rdn) -> bool, same_values] {
        expected_left.retain(|&(index, expected)| {
            let Some(seen) = take(&mut seen_left, |seen| same(expected, seen)) else { return true };
            note(index, Some(expected), Some(seen), mismatch(expected, seen));
            false
        });
    }
    for (index, expected) in expected_left {
        note(index, Some(expected), None, "missing");
    }
    for (index, seen) in seen_left {
        note(index, None, Some(seen), "extra");
    }
    differences.sort_by_key(|difference| difference.rdn);
    differences
}

/// What two names have in common, and what is left of each.
struct Alignment<'n> {
    /// The index in the expected name, and the two RDNs.
    equal: Vec<(usize, &'n Rdn, &'n Rdn)>,
    expected_left: Vec<Placed<'n>>,
    seen_left: Vec<Placed<'n>>,
}

/// Pairs what is equal, counted from the begin or, for as many as are equal at the end, from the end: so one
/// RDN too much does not put all that follow it in the wrong place.
fn align<'n>(expected: &[&'n Rdn], seen: &[&'n Rdn]) -> Alignment<'n> {
    let prefix = expected.iter().zip(seen).take_while(|(one, other)| one == other).count();
    let (expected_tail, seen_tail) = (expected.iter().skip(prefix), seen.iter().skip(prefix));
    let suffix = expected_tail.rev().zip(seen_tail.rev()).take_while(|(one, other)| one == other).count();

    let seen_left = seen.iter().copied().enumerate().collect();
    let mut alignment = Alignment { equal: Vec::new(), expected_left: Vec::new(), seen_left };
    for (index, &expected_rdn) in expected.iter().enumerate() {
        let from_end = expected.len() - index;
        let place = if from_end <= suffix { seen.len() - from_end } else { index };
        let is_pair = |&(at, rdn): &Placed<'_>| at == place && rdn == expected_rdn;
        match alignment.seen_left.iter().position(is_pair) {
            Some(pair) => {
                let (_, seen_rdn) = alignment.seen_left.remove(pair);
                alignment.equal.push((index, expected_rdn, seen_rdn));
            }
            None => alignment.expected_left.push((index, expected_rdn)),
        }
    }
    alignment
}

fn take<'n>(from: &mut Vec<Placed<'n>>, wanted: impl Fn(&Rdn) -> bool) -> Option<&'n Rdn> {
    let index = from.iter().position(|(_, rdn)| wanted(rdn))?;
    Some(from.remove(index).1)
}

fn same_types(one: &Rdn, other: &Rdn) -> bool {
    one.0.iter().map(|ava| &ava.oid).eq(other.0.iter().map(|ava| &ava.oid))
}

fn same_values(one: &Rdn, other: &Rdn) -> bool {
    let values = |rdn: &Rdn| -> Vec<Option<String>> {
        rdn.0.iter().map(|ava| text_of(ava).map(|text| text.prepared.clone())).collect()
    };
    values(one).iter().all(Option::is_some) && values(one) == values(other)
}

/// Between RDNs that are not equal.
fn mismatch(expected: &Rdn, seen: &Rdn) -> &'static str {
    let pairs = || expected.0.iter().zip(&seen.0);
    if !same_types(expected, seen) {
        "type"
    } else if pairs().any(|(one, other)| text_of(one).is_some() != text_of(other).is_some()) {
        "encoding"
    } else {
        "value"
    }
}

/// Between RDNs that are equal: what did not count, if there was anything.
fn forgiven(expected: &Rdn, seen: &Rdn) -> Option<&'static str> {
    let in_text = |(one, other): (&Ava, &Ava)| {
        let (one, other) = (&text_of(one)?.written, &text_of(other)?.written);
        let (folded, other_folded) = (one.to_lowercase(), other.to_lowercase());
        if one == other {
            None
        } else if folded == other_folded {
            Some("case")
        } else if squeezed(one) == squeezed(other) {
            Some("space")
        } else {
            Some(if squeezed(&folded) == squeezed(&other_folded) { "case" } else { "encoding" })
        }
    };
    let in_type =
        |(one, other): (&Ava, &Ava)| (string_type(one)? != string_type(other)?).then_some("encoding");
    let pairs = || expected.0.iter().zip(&seen.0);
    pairs().find_map(in_text).or_else(|| pairs().find_map(in_type))
}

fn text_of(ava: &Ava) -> Option<&Text> {
    match &ava.value {
        Value::Text(text) | Value::Encoded { text, .. } => Some(text),
        Value::Opaque(_) => None,
    }
}

/// The tag, if the value was given with one.
fn string_type(ava: &Ava) -> Option<u8> {
    match &ava.value {
        Value::Encoded { der, .. } | Value::Opaque(der) => der.first().copied(),
        Value::Text(_) => None,
    }
}

fn squeezed(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}
