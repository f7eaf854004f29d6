//! RFC 5280 for the certificates of clients: what a path needs to be one.

use crate::check::{Halt, Outcome};
use crate::checks;
use crate::der;
use crate::lab::{Client, Document, Lab};
use crate::pki::{
    ANY_USAGE, Authority, CLIENT_AUTH, CRL_SIGN, KEY_CERT_SIGN, Leaf, Name, SERVER_AUTH, Shown, attribute,
};

use super::rfc8705_subject::told_apart;

checks! {
    an_unknown_critical_extension_is_refused => ["RFC5280-4.2-a"],
    a_ca_may_sign_certificates => ["RFC5280-4.2.1.3-a"],
    an_ip_address_has_4_or_16_octets => ["RFC5280-4.2.1.6-a"],
    only_a_ca_issues_and_only_so_deep => ["RFC5280-4.2.1.9-a"],
    name_constraints_hold_for_names_of_all_kinds => ["RFC5280-4.2.1.10-a"],
    an_email_constraint_holds_for_the_subject => ["RFC5280-4.2.1.10-b"],
    a_certificate_for_servers_is_not_for_clients => ["RFC5280-4.2.1.12-a"],
    every_certificate_of_a_path_is_examined => ["RFC5280-6.1-a"],
    a_version_1_certificate_is_no_ca => ["RFC5280-6.1.4-a"],
    an_unknown_status_is_not_a_good_one => ["RFC5280-6.3-a"],
    the_string_type_of_a_name_means_nothing => ["RFC5280-7.1-a"],
}

const NOBODYS: &str = "1.3.6.1.4.1.32473.4";

/// A client of the CA by a DNS name, with a leaf that is good for it.
fn client(lab: &Lab) -> Result<(Client, Leaf), Halt> {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host);
    let client = lab.register(&Document::pki("san_dns", &host), &lab.issue(&leaf)?)?;
    Ok((client, leaf))
}

fn middle() -> Leaf {
    Leaf::authority("Suite issuing CA")
}

/// Of another name, or it would be self-issued and not count in the length of a path (RFC 5280 §6.1.4 (l)).
fn lower(number: u8) -> Leaf {
    Leaf::authority(&format!("Suite lower CA {number}"))
}

fn expect(lab: &Lab, client: &Client, good: &[Shown], bad: &[Shown]) -> Outcome {
    for shown in good {
        lab.token(client).certificate(shown).send().expect_token()?;
    }
    for shown in bad {
        lab.token(client).certificate(shown).send().expect_refused()?;
    }
    Ok(())
}

fn an_unknown_critical_extension_is_refused(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let ca = lab.ca()?;
    let with = |leaf: Leaf, critical: bool| leaf.extension(NOBODYS, critical, &[5, 0]);
    let good = [ca.issue(&with(leaf.clone(), false))?, ca.authority(&with(middle(), false))?.issue(&leaf)?];
    let bad = [ca.issue(&with(leaf.clone(), true))?, ca.authority(&with(middle(), true))?.issue(&leaf)?];
    expect(lab, &client, &good, &bad)
}

fn a_ca_may_sign_certificates(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let below = |usage: Option<u8>| -> Result<Shown, Halt> {
        Ok(lab.ca()?.authority(&middle().usage(usage))?.issue(&leaf)?)
    };
    expect(lab, &client, &[below(None)?, below(Some(KEY_CERT_SIGN))?], &[below(Some(CRL_SIGN))?])
}

fn an_ip_address_has_4_or_16_octets(lab: &Lab) -> Outcome {
    let mut own = [0; 2];
    openssl::rand::rand_bytes(&mut own)?;
    let [c, d] = own;
    let wrong: [&[u8]; 4] = [
        &[198, 19, c, d, 0],
        &[198, 19, c],
        // As a constraint would have it, with a mask.
        &[198, 19, c, d, 255, 255, 255, 255],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 19, c, d, 0],
    ];
    let bad = wrong.map(|octets| Leaf::new("any").ip(octets));
    let document = Document::pki("san_ip", &format!("198.19.{c}.{d}"));
    told_apart(lab, &document, &[Leaf::new("any").ip(&[198, 19, c, d])], &bad)
}

fn only_a_ca_issues_and_only_so_deep(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let ca = lab.ca()?;
    let subject = Name::new().cn("no CA");
    let issuing = ca.issue(&Leaf::of(subject.clone()).usage(Some(KEY_CERT_SIGN)))?;
    let signing = Leaf::of(subject.clone()).usage(Some(KEY_CERT_SIGN));
    // basicConstraints that say FALSE by saying nothing.
    let denied = ca.issue(&signing.extension("2.5.29.19", true, &der::sequence(&[])))?;
    let good = [
        ca.authority(&middle().ca(Some(0)))?.issue(&leaf)?,
        ca.authority(&middle().ca(Some(1)))?.authority(&lower(1))?.issue(&leaf)?,
    ];
    let bad = [
        Authority::of(&issuing, &subject).issue(&leaf)?,
        Authority::of(&denied, &subject).issue(&leaf)?,
        ca.authority(&middle().ca(Some(0)))?.authority(&lower(1))?.issue(&leaf)?,
        ca.authority(&middle().ca(Some(1)))?.authority(&lower(1))?.authority(&lower(2))?.issue(&leaf)?,
    ];
    expect(lab, &client, &good, &bad)
}

fn name_constraints_hold_for_names_of_all_kinds(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let subject = |o: &str| Name::new().c("GB").o(o);
    let leaf = Leaf::of(subject("Suite").cn("any"))
        .dns(&host)
        .email("a@mail.suite.example")
        .uri("https://web.suite.example/a")
        .ip(&[198, 51, 100, 7]);
    let client = lab.register(&Document::pki("san_dns", &host), &lab.issue(&leaf)?)?;
    let directory = |o: &str| der::element(0xa4, &subject(o).der());
    let inside = [
        der::element(0x82, b"suite.example"),
        der::element(0x81, b"mail.suite.example"),
        der::element(0x86, b".suite.example"),
        der::element(0x87, &[198, 51, 100, 0, 255, 255, 255, 0]),
        directory("Suite"),
    ];
    let elsewhere = [
        der::element(0x82, b"elsewhere.example"),
        der::element(0x81, b"suite.example"),
        der::element(0x86, b".elsewhere.example"),
        der::element(0x87, &[203, 0, 113, 0, 255, 255, 255, 0]),
        directory("Elsewhere"),
    ];
    let below = |permitted: &[Vec<u8>], excluded: &[Vec<u8>]| -> Result<Shown, Halt> {
        Ok(lab.ca()?.authority(&middle().name_constraints(permitted, excluded))?.issue(&leaf)?)
    };
    let mut good = vec![below(&inside, &[])?, below(&[], &elsewhere)?, below(&inside, &elsewhere)?];
    let mut bad = Vec::new();
    for (inside, elsewhere) in inside.iter().zip(&elsewhere) {
        let (inside, elsewhere) = (std::slice::from_ref(inside), std::slice::from_ref(elsewhere));
        good.push(below(inside, &[])?);
        bad.push(below(elsewhere, &[])?);
        bad.push(below(&[], inside)?);
    }
    expect(lab, &client, &good, &bad)
}

fn an_email_constraint_holds_for_the_subject(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let address = |text: &str| attribute("1.2.840.113549.1.9.1", &der::ia5(text));
    let leaf = |text: &str| Leaf::of(Name::new().cn("any").rdn(&[address(text)])).dns(&host);
    let (inside, outside) = (leaf("a@suite.example"), leaf("a@elsewhere.example"));
    let client = lab.register(&Document::pki("san_dns", &host), &lab.issue(&outside)?)?;
    lab.good_token(&client)?;
    let constrained = middle().name_constraints(&[der::element(0x81, b"suite.example")], &[]);
    let ca = lab.ca()?.authority(&constrained)?;
    expect(lab, &client, &[ca.issue(&inside)?], &[ca.issue(&outside)?])
}

fn a_certificate_for_servers_is_not_for_clients(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let with = |purposes: &[&'static str]| lab.issue(&leaf.clone().extended(purposes));
    let good = [with(&[CLIENT_AUTH])?, with(&[])?, with(&[SERVER_AUTH, CLIENT_AUTH])?];
    expect(lab, &client, &good, &[with(&[SERVER_AUTH])?])?;
    // For anything and for nothing in particular: either is fine.
    let any = lab.token(&client).certificate(&with(&[ANY_USAGE])?).send();
    if any.status() == Some(200) { Ok(()) } else { any.expect_refused() }
}

fn every_certificate_of_a_path_is_examined(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let ca = lab.ca()?;
    let below = |upper: Leaf, next: Leaf| -> Result<Shown, Halt> {
        Ok(ca.authority(&upper)?.authority(&next)?.issue(&leaf)?)
    };
    let over = |leaf: Leaf| leaf.days(-20, -1);
    let bad = [
        below(over(middle()), lower(1))?,
        below(middle(), over(lower(1)))?,
        below(middle().days(1, 20), lower(1))?,
        below(middle().broken_signature(), lower(1))?,
        below(middle(), lower(1).broken_signature())?,
        ca.authority(&middle())?.issue(&leaf.clone().broken_signature())?,
        // The issuer of the leaf is not the subject of the CA whose key has signed it.
        misnamed(ca, &leaf)?,
    ];
    expect(lab, &client, &[below(middle(), lower(1))?], &bad)
}

/// A leaf under a CA of another name than the leaf says.
fn misnamed(ca: &Authority, leaf: &Leaf) -> Result<Shown, Halt> {
    let middle = ca.issue(&middle())?;
    Ok(Authority::of(&middle, &Name::new().cn("Another name")).issue(leaf)?)
}

fn a_version_1_certificate_is_no_ca(lab: &Lab) -> Outcome {
    let (client, leaf) = client(lab)?;
    let good = lab.ca()?.authority(&middle())?.issue(&leaf)?;
    let bad = lab.ca()?.authority(&middle().version_1())?.issue(&leaf)?;
    expect(lab, &client, &[good], &[bad])
}

fn an_unknown_status_is_not_a_good_one(lab: &Lab) -> Outcome {
    let (ca, revoked) = lab.revoking_ca()?;
    let hosts = ["asked", "unasked"].map(|name| format!("{name}.{}.suite.example", lab.unique()));
    let [asked, unasked] = &hosts;
    let leaf = Leaf::new("any").dns(asked).dns(unasked);
    // Of a CA below it nobody publishes a list.
    let unlisted = ca.authority(&middle())?.issue(&leaf)?;
    let under_revoked = ca.authority(&middle().serial(&revoked))?.issue(&leaf)?;
    let client = lab.register(&lab.not_asked_about(Document::pki("san_dns", unasked))?, &unlisted)?;
    lab.good_token(&client)?;
    let document = lab.asked_about(Document::pki("san_dns", asked))?;
    let client = lab.register(&document, &ca.issue(&leaf)?)?;
    lab.good_token(&client)?;
    expect(lab, &client, &[], &[unlisted, under_revoked])
}

fn the_string_type_of_a_name_means_nothing(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let document = Document::pki("subject_dn", &format!("CN={own},O=Ex Ample,C=GB"));
    let with = |o: Vec<u8>| Leaf::of(Name::new().c("GB").rdn(&[attribute("2.5.4.10", &o)]).cn(&own));
    let good = [
        with(der::utf8("Ex Ample")),
        with(der::printable("Ex Ample")),
        with(der::printable("EX AMPLE")),
        with(der::utf8(" ex   ample ")),
    ];
    let bad = [with(der::utf8("ExAmple")), with(der::printable("Ex Ampel"))];
    told_apart(lab, &document, &good, &bad)
}
