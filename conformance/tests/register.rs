//! The register, the checks and `docs/rfc.md` are in step.

use std::collections::{BTreeMap, BTreeSet};

use certbound_conformance::{checks, register};

#[test]
fn every_requirement_has_a_check_or_a_reason() {
    let rows = register::rows().unwrap();
    assert_eq!(rows.len(), 516);
    let unanswered: Vec<_> =
        rows.iter().filter(|row| row.check.is_empty() == row.reason.is_none()).map(|row| &row.id).collect();
    assert!(
        unanswered.is_empty(),
        "{} rows have neither check nor reason, or both: {unanswered:?}",
        unanswered.len()
    );
}

#[test]
fn requirements_are_known_by_their_identifiers() {
    let rows = register::rows().unwrap();
    let ids: BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
    assert_eq!(ids.len(), rows.len());
    for row in &rows {
        assert!(row.id.starts_with(&format!("{}-{}-", row.spec, row.section)), "{}", row.id);
    }
}

#[test]
fn the_register_and_the_tables_of_the_checks_say_the_same() {
    let rows = register::rows().unwrap();
    let of_register: BTreeSet<(&str, &str)> =
        rows.iter().flat_map(|row| row.check.iter().map(|name| (row.id.as_str(), name.as_str()))).collect();
    let of_checks: BTreeSet<(&str, &str)> =
        checks::all().flat_map(|check| check.rows.iter().map(|row| (*row, check.name))).collect();
    let only_register: Vec<_> = of_register.difference(&of_checks).collect();
    let only_checks: Vec<_> = of_checks.difference(&of_register).collect();
    assert!(
        only_register.is_empty() && only_checks.is_empty(),
        "only in the register: {only_register:?}\nonly in the checks: {only_checks:?}"
    );
}

#[test]
fn no_two_checks_have_one_name() {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for check in checks::all() {
        *names.entry(check.name).or_default() += 1;
    }
    names.retain(|_, count| *count > 1);
    assert!(names.is_empty(), "{names:?}");
}
