//! Every form of a list, and the law: what was added and taken out again left no trace.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::document::{Node, Value, parse};
use crate::registry::CertificatePlace;

/// The list `certificates` of the client `edge`, read as the registry reads it.
fn places(text: &str) -> Option<CertificatePlaces> {
    let documents = parse(Path::new("a.yaml"), text.as_bytes()).ok()?;
    let field = |document: &Node, name: &str| match &document.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node.clone()),
        _ => None,
    };
    let is_edge = |document: &&Node| {
        field(document, "client_id")
            .is_some_and(|id| matches!(id.value, Value::Scalar { text, .. } if text == "edge"))
    };
    let document = documents.iter().find(is_edge)?;
    let list = field(document, "certificates")?;
    let Value::List(items) = &list.value else { return None };
    let entries = items.iter().map(|item| match &item.value {
        Value::Scalar { text, .. } => Some(CertificatePlace {
            name: text.clone(),
            path: PathBuf::from(text),
            thumbprint: None,
            at: item.at.clone(),
        }),
        _ => None,
    });
    let entries = entries.collect::<Option<_>>()?;
    Some(CertificatePlaces { document: document.at.clone(), list: Some(list.at), entries })
}

fn names(text: &str) -> Vec<String> {
    places(text).unwrap().entries.into_iter().map(|entry| entry.name).collect()
}

fn added(text: &str) -> String {
    with_entry(text, &places(text).unwrap(), "new.pem").unwrap_or_else(|| panic!("{text}"))
}

fn removed(text: &str, index: usize) -> String {
    without_entry(text, &places(text).unwrap(), index).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn an_entry_is_added_in_the_way_the_others_are_written() {
    for (before, after) in [
        ("certificates: [a.pem]", "certificates: [a.pem, new.pem]"),
        (
            "certificates: [ 'a.pem' , \"b.pem\", ] # two",
            "certificates: [ 'a.pem' , \"b.pem\", new.pem, ] # two",
        ),
        ("certificates: [a.pem,\n  b.pem]", "certificates: [a.pem,\n  b.pem, new.pem]"),
        (
            "certificates: [\n  a.pem, # first\n  b.pem  # second\n]",
            "certificates: [\n  a.pem, # first\n  b.pem,  # second\n  new.pem\n]",
        ),
        ("certificates: [\n  a.pem,\n]", "certificates: [\n  a.pem,\n  new.pem,\n]"),
        (
            "certificates:\n  - a.pem # why\n  # after",
            "certificates:\n  - a.pem # why\n  - new.pem\n  # after",
        ),
        ("certificates:\n- \"a.pem\"", "certificates:\n- \"a.pem\"\n- new.pem"),
    ] {
        let document = |list: &str| format!("# é\nclient_id: edge\n{list}\nscope: a\n");
        assert_eq!(added(&document(before)), document(after));
        let crlf = |list: &str| document(list).replace('\n', "\r\n");
        assert_eq!(added(&crlf(before)), crlf(after));
        let last = |list: &str| format!("client_id: edge\n{list}");
        assert_eq!(added(&last(before)), last(after), "without a line break at the end");
    }
}

#[test]
fn an_entry_goes_with_its_line_and_its_comma() {
    for (before, index, after) in [
        ("certificates: [a.pem, b.pem]", 0, "certificates: [b.pem]"),
        ("certificates: [a.pem, b.pem]", 1, "certificates: [a.pem]"),
        ("certificates: [a.pem , b.pem , c.pem]", 1, "certificates: [a.pem  , c.pem]"),
        ("certificates: [a.pem, b.pem,]", 1, "certificates: [a.pem,]"),
        ("certificates: [a.pem,\n  b.pem]", 1, "certificates: [a.pem\n  ]"),
        ("certificates: [\n  a.pem, # one\n  b.pem # two\n]", 0, "certificates: [\n  b.pem # two\n]"),
        ("certificates: [\n  a.pem, # one\n  b.pem # two\n]", 1, "certificates: [\n  a.pem # one\n]"),
        ("certificates: [\n  a.pem, b.pem,\n  c.pem ]", 0, "certificates: [\n  b.pem,\n  c.pem ]"),
        ("certificates: [ a.pem\n, b.pem\n]", 1, "certificates: [ a.pem\n\n]"),
        (
            "certificates:\n  - a.pem # one\n  # of two\n  - 'b.pem'",
            0,
            "certificates:\n  # of two\n  - 'b.pem'",
        ),
        (
            "certificates:\n  - a.pem # one\n  # of two\n  - 'b.pem'",
            1,
            "certificates:\n  - a.pem # one\n  # of two",
        ),
    ] {
        let document = |list: &str| format!("client_id: edge\n{list}\nscope: a\n");
        let result = removed(&document(before), index);
        assert_eq!(result, document(after));
        let mut expected = names(&document(before));
        expected.remove(index);
        assert_eq!(names(&result), expected);
    }
}

#[test]
fn one_document_of_several_is_changed_and_the_others_are_not() {
    let others =
        "client_id: other\ncertificates: [a.pem]\n---\n# …\nclient_id: edge\ncertificates:\n    - b.pem\n";
    let both = format!("{others}---\nclient_id: third\ncertificates: [c.pem]\n...\n");
    assert_eq!(added(&both), both.replace("    - b.pem\n", "    - b.pem\n    - new.pem\n"));
    let flow = "{client_id: other, certificates: [a.pem]}\n--- {client_id: edge, certificates: [b.pem]}\n";
    assert_eq!(added(flow), flow.replace("[b.pem]", "[b.pem, new.pem]"));
}

#[test]
fn a_form_that_is_not_expected_is_left_alone() {
    for list in [
        "certificates: [\"a\\\n  .pem\"]",
        "certificates:\n  - >-\n    a.pem",
        "certificates:\n  -\n    a.pem",
        "certificates: [a\n  b.pem]",
    ] {
        let text = format!("client_id: edge\n{list}\nscope: a\n");
        let places = places(&text).unwrap();
        assert_eq!(with_entry(&text, &places, "new.pem"), None, "{list}");
        assert_eq!(without_entry(&text, &places, 0), None, "{list}");
    }
}

/// A list of 1 to 4 entries as people write them.
fn list() -> impl Strategy<Value = String> {
    let entry = (0..3_usize, "[a-z][a-z0-9.-]{0,8}", 0..3_usize, 0..3_usize);
    (proptest::collection::vec(entry, 1..5), 0..4_usize, any::<bool>(), 0..3_usize).prop_map(
        |(entries, style, trailing, indent)| {
            let count = entries.len();
            let written = entries.into_iter().enumerate().map(|(index, (quote, name, before, comment))| {
                let name = match quote {
                    0 => format!("{name}.pem"),
                    1 => format!("'{name}''.pem'"),
                    _ => format!("\"{name}\\\".pem\""),
                };
                let comma = if index + 1 < count || trailing { "," } else { "" };
                let comment = if comment == 0 { " # why, [oh]" } else { "" };
                let (blanks, indent) = (" ".repeat(before), " ".repeat(indent + 1));
                match style {
                    0 => format!("{blanks}{name}{blanks}{comma} "),
                    1 => format!("\n{indent}{name}{comma}{comment}"),
                    2 => format!("\n{indent}{blanks}{name}{blanks}{comma}{comment}\n"),
                    _ => format!("\n{indent}-{blanks} {name}{comment}"),
                }
            });
            let written = written.collect::<String>();
            if style == 3 { written } else { format!(" [{written}\n ]") }
        },
    )
}

proptest! {
    #[test]
    fn what_was_added_and_retired_left_no_trace(
        list in list(),
        crlf in any::<bool>(),
        open in any::<bool>(),
        behind in proptest::sample::select(vec!["", "\n# end", "\nscope: read", "\n---\nclient_id: b\nscope: x"]),
    ) {
        let mut text = format!("client_id: a\n---\n# ü\nclient_id: edge\ncertificates:{list}{behind}");
        if !open {
            text.push('\n');
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        let before = places(&text);
        prop_assume!(before.is_some());
        let count = before.unwrap().entries.len();
        let longer = added(&text);
        let mut expected = names(&text);
        expected.push("new.pem".to_owned());
        prop_assert_eq!(names(&longer), expected);
        prop_assert_eq!(removed(&longer, count), text);
    }

    #[test]
    fn any_entry_of_several_can_go(list in list(), which in any::<proptest::sample::Index>()) {
        let text = format!("client_id: edge\ncertificates:{list}\n");
        let Some(before) = places(&text).filter(|places| places.entries.len() > 1) else { return Ok(()) };
        let index = which.index(before.entries.len());
        // A form that cannot be edited is left to people; what is edited is right.
        if let Some(shorter) = without_entry(&text, &before, index) {
            let mut expected = names(&text);
            expected.remove(index);
            prop_assert_eq!(names(&shorter), expected);
        }
    }
}
