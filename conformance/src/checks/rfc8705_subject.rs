//! RFC 8705 §2.1: the subject that a client of a CA is known by.

use openssl::rand::rand_bytes;

use crate::check::{Halt, Outcome, ensure, ensure_equal};
use crate::checks;
use crate::der;
use crate::lab::{Document, Lab, Submission};
use crate::pki::{Leaf, Name};

checks! {
    a_name_elsewhere_is_not_the_registered_one => ["RFC8705-2.1-b"],
    the_whole_subject_has_to_be_equal => ["RFC8705-2.1-c"],
    subjects_are_compared_as_names => ["RFC8705-2.1-d", "RFC5280-7.1-a"],
    the_pki_method_has_its_name => ["RFC8705-2.1.1-a"],
    exactly_one_subject_is_registered => ["RFC8705-2.1.2-a"],
    a_subject_dn_is_text_of_rfc_4514 => ["RFC8705-2.1.2-b"],
    a_dns_name_is_matched => ["RFC8705-2.1.2-c", "RFC5280-7.2-a"],
    a_uri_is_matched => ["RFC8705-2.1.2-d", "SPIFFE-3.2-e"],
    an_ip_address_is_matched_as_octets => ["RFC8705-2.1.2-e"],
    an_email_address_is_matched => ["RFC8705-2.1.2-f", "RFC5280-7.5-a"],
    one_name_of_several_is_enough => ["RFC8705-2.1.2-g"],
}

/// Registers the document; every good leaf of the CA gets its client a token, every bad one nothing.
pub(super) fn told_apart(lab: &Lab, document: &Document, good: &[Leaf], bad: &[Leaf]) -> Outcome {
    let good = good.iter().map(|leaf| lab.issue(leaf)).collect::<Result<Vec<_>, Halt>>()?;
    let Some(first) = good.first() else { return Ok(()) };
    let client = lab.register(document, first)?;
    for shown in &good {
        lab.token(&client).certificate(shown).send().expect_token()?;
    }
    for leaf in bad {
        lab.token(&client).certificate(&lab.issue(leaf)?).send().expect_refused()?;
    }
    Ok(())
}

fn a_name_elsewhere_is_not_the_registered_one(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let good = Leaf::new("any").dns(&host);
    let in_subject = Leaf::new(&host).dns("other.suite.example");
    told_apart(lab, &Document::pki("san_dns", &host), &[good], &[Leaf::new(&host), in_subject])
}

fn the_whole_subject_has_to_be_equal(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let name = |cn: &str| Name::new().c("GB").o("Suite").cn(cn);
    let document = Document::pki("subject_dn", &format!("CN={own},O=Suite,C=GB"));
    let bad = [
        name(&own).ou("More"),
        Name::new().c("GB").o("Suite").ou("Between").cn(&own),
        Name::new().c("GB").cn(&own),
        Name::new().o("Suite").cn(&own),
        name(&format!("{own}x")),
        Name::new().c("GB").o("Suits").cn(&own),
    ];
    told_apart(lab, &document, &[Leaf::of(name(&own))], &bad.map(Leaf::of))
}

fn subjects_are_compared_as_names(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let document = Document::pki("subject_dn", &format!("CN=Svc {own},O=Ex,C=GB"));
    let cn = format!("Svc {own}");
    let exact = Name::new().c("GB").o("Ex").cn(&cn);
    let alike = Name::new().c("GB").o("ex").cn(&format!("Svc  {own}"));
    let bad = exact.clone().reversed();
    told_apart(lab, &document, &[exact, alike].map(Leaf::of), &[Leaf::of(bad)])
}

fn the_pki_method_has_its_name(lab: &Lab) -> Outcome {
    lab.good_token(lab.pki_client()?)?;
    let offered = lab.offers("token_endpoint_auth_methods_supported", "tls_client_auth")?;
    ensure(offered, "tls_client_auth in token_endpoint_auth_methods_supported", lab.metadata()?)?;
    if lab.target().config.registrar.is_none() {
        return Ok(());
    }
    let document = Document::pki("san_dns", &format!("{}.suite.example", lab.unique()));
    echoed(lab.accepted(&document)?, "tls_client_auth")
}

/// Where a registration is answered with what is registered, the method is there under its name.
pub(super) fn echoed(submission: Submission, method: &str) -> Outcome {
    let Submission::Accepted { answer, .. } = submission else { return Ok(()) };
    match answer.get("token_endpoint_auth_method") {
        Some(seen) => ensure_equal("token_endpoint_auth_method", &method.into(), seen),
        None => ensure(answer.is_null(), format_args!("token_endpoint_auth_method: {method}"), answer),
    }
}

fn exactly_one_subject_is_registered(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let one = Document::pki("san_dns", &host);
    lab.accepted(&one)?;
    lab.expect_metadata_refused(&Document::of("tls_client_auth"))?;
    lab.expect_metadata_refused(&one.clone().with("tls_client_auth_san_email", "a@suite.example"))?;
    lab.expect_metadata_refused(&one.with("tls_client_auth_subject_dn", format!("CN={host}")))
}

fn a_subject_dn_is_text_of_rfc_4514(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let document = Document::pki("subject_dn", &format!("CN=Sales\\, {own},O=Ex"));
    let good = Leaf::of(Name::new().o("Ex").cn(&format!("Sales, {own}")));
    let bad = Leaf::of(Name::new().o("Ex").cn(&format!("Sales\\, {own}")));
    told_apart(lab, &document, &[good], &[bad])?;
    lab.expect_metadata_refused(&Document::pki("subject_dn", "CN=a,,O=b"))
}

fn a_dns_name_is_matched(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let host = format!("api.{own}.example");
    let good = [host.clone(), format!("API.{own}.Example")].map(|name| Leaf::new("any").dns(&name));
    let bad = [format!("*.{own}.example"), format!("other.{own}.example"), format!("x.{host}")];
    let bad = bad.map(|name| Leaf::new("any").dns(&name));
    told_apart(lab, &Document::pki("san_dns", &host), &good, &bad)
}

fn a_uri_is_matched(lab: &Lab) -> Outcome {
    let uri = format!("spiffe://suite.example/{}/a", lab.unique());
    let upper = uri.strip_suffix('a').map(|start| format!("{start}A")).unwrap_or_default();
    let bad = [upper, format!("{uri}/b"), format!("{uri}?b")].map(|uri| Leaf::new("any").uri(&uri));
    told_apart(lab, &Document::pki("san_uri", &uri), &[Leaf::new("any").uri(&uri)], &bad)
}

fn an_ip_address_is_matched_as_octets(lab: &Lab) -> Outcome {
    let mut own = [0; 2];
    rand_bytes(&mut own)?;
    let [a, b] = own;
    // Never zero, or the text would have another shape than its octets.
    let b = b | 1;
    let six = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a | 0x10, b];
    let other = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, a | 0x10, b];
    let document = Document::pki("san_ip", &format!("2001:DB8:0:0::{:X}{b:02X}", a | 0x10));
    told_apart(lab, &document, &[Leaf::new("any").ip(&six)], &[Leaf::new("any").ip(&other)])?;
    let four = [198, 18, a, b];
    let mapped = [[0; 10].as_slice(), &[0xff, 0xff], &four].concat();
    let bad = [Leaf::new("any").ip(&mapped), Leaf::new("any").dns(&format!("198.18.{a}.{b}"))];
    let document = Document::pki("san_ip", &format!("198.18.{a}.{b}"));
    told_apart(lab, &document, &[Leaf::new("any").ip(&four)], &bad)
}

fn an_email_address_is_matched(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let document = Document::pki("san_email", &format!("{own}@Suite.example"));
    let good = Leaf::new("any").email(&format!("{own}@suite.example"));
    let bad = Leaf::new("any").email(&format!("{}@suite.example", own.to_uppercase()));
    told_apart(lab, &document, &[good], &[bad])
}

fn one_name_of_several_is_enough(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let host = format!("{own}.suite.example");
    let good = Leaf::new("any").dns("x.suite.example").dns(&host).uri("spiffe://suite.example/y");
    let bad = [
        Leaf::new("any").dns("x.suite.example").email(&host),
        Leaf::new("any").dns("x.suite.example").other_name("1.3.6.1.4.1.32473.1", &host),
        Leaf::new("any").dns("x.suite.example").general_name(0x86, host.as_bytes()),
        // The type is of the name, not of its octets: registeredID.
        Leaf::new("any").dns("x.suite.example").general_name(0x88, &der::oid("1.3.6.1.4.1.32473.2")),
    ];
    told_apart(lab, &Document::pki("san_dns", &host), &[good], &bad)
}
