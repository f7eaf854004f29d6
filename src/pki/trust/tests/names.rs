//! Name constraints: that they bind, and that nothing slips by.

use super::forge::{Criticality, Made, Plan, plain_ca};
use super::*;

pub(super) const NAME_CONSTRAINTS: &str = "2.5.29.30";

/// `NameConstraints` with one subtree: the tag of the list (permitted 0xa0, excluded 0xa1), that of the name.
pub(super) fn constraints(list: u8, name: u8, value: &[u8]) -> Vec<u8> {
    let wrap = |tag: u8, content: &[u8]| {
        let mut der = vec![tag, u8::try_from(content.len()).unwrap()];
        der.extend_from_slice(content);
        der
    };
    wrap(0x30, &wrap(list, &wrap(0x30, &wrap(name, value))))
}

pub(super) const PERMITTED: u8 = 0xa0;
pub(super) const EXCLUDED: u8 = 0xa1;
pub(super) const DNS: u8 = 0x82;
pub(super) const EMAIL: u8 = 0x81;
pub(super) const DIRECTORY: u8 = 0xa4;
pub(super) const URI: u8 = 0x86;
pub(super) const ADDRESS: u8 = 0x87;

fn limited_ca(list: u8, name: u8, value: &str) -> Made {
    let der = constraints(list, name, value.as_bytes());
    plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::Critical, &der).self_signed()
}

fn below(ca: &Made, leaf: Plan) -> bool {
    verdict(&[ca], &[&leaf.by(ca)]).is_ok()
}

#[test]
fn a_dns_constraint_binds_dns_names_and_nothing_else() {
    let ca = limited_ca(PERMITTED, DNS, "example.com");
    assert!(below(&ca, make("leaf").dns(&["a.example.com", "example.com"])));
    assert!(!below(&ca, make("leaf").dns(&["a.example.com", "a.example.org"])));
    assert!(below(&ca, make("no such name")));
    assert!(below(&ca, make("a.example.org")), "a common name is not a dNSName");
    assert!(below(&ca, make("leaf").email("a@example.org")));
}

#[test]
fn a_name_that_is_none_does_not_slip_by_a_constraint() {
    let ca = limited_ca(PERMITTED, DNS, "example.com");
    for name in [".example.com", "a..example.com", "a b.example.com"] {
        assert!(!below(&ca, make("leaf").dns(&[name])), "{name}");
    }
    let ca = limited_ca(PERMITTED, EMAIL, "example.com");
    assert!(below(&ca, make("leaf").email("a@example.com")));
    assert!(!below(&ca, make("leaf").email("a@b@example.com")));
}

#[test]
fn a_wildcard_does_not_cover_what_is_excluded() {
    let ca = limited_ca(EXCLUDED, DNS, "bar.example.com");
    assert!(below(&ca, make("leaf").dns(&["foo.example.com"])));
    assert!(!below(&ca, make("leaf").dns(&["bar.example.com"])));
    assert!(!below(&ca, make("leaf").dns(&["*.example.com"])));
    let ca = limited_ca(PERMITTED, DNS, "example.com");
    assert!(below(&ca, make("leaf").dns(&["*.example.com"])));
}

#[test]
fn a_malformed_constraint_is_refused() {
    for value in [".example.com", "*.example.com"] {
        let ca = limited_ca(PERMITTED, DNS, value);
        assert!(!below(&ca, make("leaf")), "{value}");
    }
    assert!(!below(&limited_ca(PERMITTED, EMAIL, "a@b@example.com"), make("leaf")));
}

#[test]
fn constraints_are_critical_and_in_cas_only() {
    let der = constraints(PERMITTED, DNS, b"example.com");
    let ca = plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::NonCritical, &der).self_signed();
    assert!(!below(&ca, make("leaf")));
    let ca = plain_ca("CA").self_signed();
    for criticality in [Criticality::Critical, Criticality::NonCritical] {
        assert!(!below(&ca, make("leaf").raw(NAME_CONSTRAINTS, criticality, &der)));
    }
}
