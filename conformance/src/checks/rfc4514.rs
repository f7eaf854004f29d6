//! RFC 4514 and RFC 4517 §4.2.15: distinguished names as registered text, and when two of them are one.

use crate::check::Outcome;
use crate::checks;
use crate::der;
use crate::lab::{Document, Lab};
use crate::pki::{Leaf, Name, attribute};

use super::rfc8705_subject::told_apart;

checks! {
    the_text_of_a_name_begins_with_its_end => ["RFC4514-2.1-a"],
    attributes_have_short_names_and_numbers (slow) => ["RFC4514-3-a"],
    escapes_in_a_name_are_read_once (slow) => ["RFC4514-3-b"],
    the_parts_of_one_rdn_have_no_order (slow) => ["RFC4517-4.2.15-a"],
}

fn the_text_of_a_name_begins_with_its_end(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let encoded = Name::new().o("Suite").cn(&own);
    let document = Document::pki("subject_dn", &format!("CN={own},O=Suite"));
    told_apart(lab, &document, &[Leaf::of(encoded.clone())], &[Leaf::of(encoded.reversed())])
}

fn attributes_have_short_names_and_numbers(lab: &Lab) -> Outcome {
    // Each name has a CN of its own, so that no two clients are one.
    let [lower, numbers, every] = [lab.unique(), lab.unique(), lab.unique()];
    for (text, cn) in
        [(format!("cn={lower},o=Suite"), &lower), (format!("2.5.4.3={numbers},2.5.4.10=Suite"), &numbers)]
    {
        let name = Name::new().o("Suite").cn(cn);
        let bad = Name::new().ou("Suite").cn(cn);
        told_apart(lab, &Document::pki("subject_dn", &text), &[Leaf::of(name)], &[Leaf::of(bad)])?;
    }
    let dc = |text: &str| attribute("0.9.2342.19200300.100.1.25", &der::ia5(text));
    let name = |street: &str| {
        Name::new()
            .rdn(&[dc("example")])
            .c("GB")
            .utf8("2.5.4.8", "Kent")
            .utf8("2.5.4.7", "Dover")
            .utf8("2.5.4.9", street)
            .o("Suite")
            .ou("Unit")
            .utf8("0.9.2342.19200300.100.1.1", "u1")
            .cn(&every)
    };
    let text =
        format!("CN={every},UID=u1,OU=Unit,O=Suite,STREET=High Street 1,L=Dover,ST=Kent,C=GB,DC=example");
    let (good, bad) = (Leaf::of(name("High Street 1")), Leaf::of(name("High Street 2")));
    told_apart(lab, &Document::pki("subject_dn", &text), &[good], &[bad])
}

fn escapes_in_a_name_are_read_once(lab: &Lab) -> Outcome {
    // As registered, as it is in the certificate, and what it would be if read in another way.
    let cases = [
        (r"CN=a\,b", "a,b", r"a\,b"),
        (r"CN=a\2Cb", "a,b", r"a\2Cb"),
        (r"CN=a\\2Cb", r"a\2Cb", "a,b"),
        (r"CN=a\\\2Cb", r"a\,b", "a,b"),
    ];
    for (text, right, wrong) in cases {
        let unit = lab.unique();
        let leaf = |cn: &str| Leaf::of(Name::new().ou(&unit).cn(cn));
        let document = Document::pki("subject_dn", &format!("{text},OU={unit}"));
        told_apart(lab, &document, &[leaf(right)], &[leaf(wrong)])?;
    }
    let unit = lab.unique();
    let leaf = |value: &str| Leaf::of(Name::new().ou(&unit).utf8("1.2.3.4", value));
    let document = Document::pki("subject_dn", &format!("1.2.3.4=#0C0161,OU={unit}"));
    told_apart(lab, &document, &[leaf("a")], &[leaf("#0C0161"), leaf("b")])
}

fn the_parts_of_one_rdn_have_no_order(lab: &Lab) -> Outcome {
    let (cn, ou) = (
        |value: &str| attribute("2.5.4.3", &der::utf8(value)),
        |value: &str| attribute("2.5.4.11", &der::utf8(value)),
    );
    for first in ["OU", "CN"] {
        let own = lab.unique();
        let text = if first == "OU" { format!("OU=x+CN={own}") } else { format!("CN={own}+OU=x") };
        let good = Name::new().rdn(&[cn(&own), ou("x")]);
        let bad = [
            Name::new().cn(&own).ou("x"),
            Name::new().ou("x").cn(&own),
            Name::new().cn(&own),
            Name::new().rdn(&[cn(&own), ou("x"), ou("y")]),
        ];
        told_apart(lab, &Document::pki("subject_dn", &text), &[Leaf::of(good)], &bad.map(Leaf::of))?;
    }
    Ok(())
}
