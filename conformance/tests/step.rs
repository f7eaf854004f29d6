//! The register, the checks and what `docs/rfc.md` claims are in step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use certbound_conformance::register::{self, Row};
use certbound_conformance::start::DIVERGENCES;

/// Sections that `docs/rfc.md` has a line for and the register has no row: they ask nothing that a stranger could see.
const UNSEEN: [(&str, &str); 8] = [
    ("RFC5280", "5"),
    ("RFC5280", "5.1.2.5"),
    ("RFC5280", "5.2.3"),
    ("RFC6750", "5.2"),
    ("RFC6960", "2.2"),
    ("RFC6960", "4.2.2.1"),
    ("RFC8705", "7.2"),
    ("RFC9440", "3.1"),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn page() -> String {
    fs::read_to_string(root().join("docs/rfc.md")).expect("docs/rfc.md")
}

/// Every specification and section that a line of a table of the page is about.
fn claims(page: &str) -> BTreeSet<(String, String)> {
    let mut claims = BTreeSet::new();
    let mut specification = String::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            specification = match heading.strip_prefix("RFC ").and_then(|rest| rest.get(..4)) {
                Some(number) => format!("RFC{number}"),
                None => String::new(),
            };
        }
        let Some(cell) = line.strip_prefix("| ").and_then(|line| line.split(" | ").next()) else { continue };
        let mut of = specification.clone();
        for word in cell.split([',', ' ']) {
            match word.trim_matches(['§', ')', '(']) {
                number if number.len() == 4 && number.parse::<u16>().is_ok() => of = format!("RFC{number}"),
                section if section.starts_with(|letter: char| letter.is_ascii_digit()) => {
                    claims.insert((of.clone(), section.to_owned()));
                }
                _ => {}
            }
        }
    }
    claims
}

/// Whether the register has an answered row of the section, of one above it or of one below it.
fn is_answered(rows: &[Row], specification: &str, section: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
    };
    rows.iter().any(|row| {
        row.spec == specification
            && (within(&row.section, section) || within(section, &row.section))
            && (!row.check.is_empty() || row.reason.is_some())
    })
}

#[test]
fn what_the_page_claims_is_in_the_register_with_a_check_or_a_reason() {
    let rows = register::rows().unwrap();
    let claims = claims(&page());
    assert!(claims.len() > 80, "a table of the page begins its lines with sections: {claims:?}");
    let unseen = UNSEEN.map(|(specification, section)| (specification.to_owned(), section.to_owned()));
    let missing: BTreeSet<_> = claims
        .iter()
        .filter(|(specification, section)| !is_answered(&rows, specification, section))
        .cloned()
        .collect();
    assert_eq!(missing, BTreeSet::from(unseen));
}

#[test]
fn what_is_tested_is_on_the_page() {
    let page = page();
    let rows = register::rows().unwrap();
    let told: BTreeSet<_> = claims(&page).into_iter().map(|(specification, _)| specification).collect();
    let core = rows.iter().filter(|row| row.tier != "extended" && !row.check.is_empty());
    let missing: BTreeSet<_> = core.map(|row| &row.spec).filter(|spec| !told.contains(*spec)).collect();
    assert!(missing.is_empty(), "docs/rfc.md has no table for {missing:?}");
}

#[test]
fn the_divergences_of_the_page_are_those_of_the_suite() {
    let page = page();
    let table = page.split("\n## Divergences\n").nth(1).expect("docs/rfc.md has a section Divergences");
    let of_page: BTreeMap<_, _> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
        .collect();
    let of_suite: BTreeMap<_, _> = DIVERGENCES.iter().copied().collect();
    assert_eq!(of_page, of_suite, "docs/rfc.md has them as | `ROW` | why |, in the same words");
    let rows = register::rows().unwrap();
    for divergence in of_suite.keys() {
        let row = rows.iter().find(|row| row.id == *divergence);
        assert!(row.is_some_and(|row| !row.check.is_empty()), "{divergence} is no requirement with a check");
    }
}

#[test]
fn a_requirement_that_the_page_names_is_in_the_register() {
    let rows = register::rows().unwrap();
    let ids: BTreeSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let page = page();
    let named = page.split('`').skip(1).step_by(2).filter(|word| {
        rows.iter().any(|row| word.strip_prefix(&row.spec).is_some_and(|rest| rest.starts_with('-')))
    });
    let unknown: Vec<_> = named.filter(|word| !ids.contains(word)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
