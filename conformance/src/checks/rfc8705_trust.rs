//! RFC 8705 §2.1, §7.4 and §7.5: which certificates vouch for a client.

use std::fs;

use crate::check::{Outcome, untestable};
use crate::checks;
use crate::der;
use crate::lab::{Document, Lab};
use crate::pki::{Authority, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, Leaf, Name, Shown};

checks! {
    a_revoked_certificate_is_refused_where_one_asks => ["RFC8705-2.1-e"],
    only_the_ca_for_clients_vouches_for_clients => ["RFC8705-7.4-a"],
    paths_are_judged_as_rfc_5280_says => ["RFC8705-7.5-a"],
    odd_certificates_are_nobodys => ["RFC8705-7.5-b"],
}

fn a_revoked_certificate_is_refused_where_one_asks(lab: &Lab) -> Outcome {
    let (ca, serial) = lab.revoking_ca()?;
    let hosts = ["asked", "unasked"].map(|name| format!("{name}.{}.suite.example", lab.unique()));
    let [asked, unasked] = &hosts;
    let good = ca.issue(&Leaf::new("good").dns(asked))?;
    let client = lab.register(&lab.asked_about(Document::pki("san_dns", asked))?, &good)?;
    lab.good_token(&client)?;
    let revoked = ca.issue(&Leaf::new("revoked").dns(asked).dns(unasked).serial(&serial))?;
    lab.token(&client).certificate(&revoked).send().expect_refused()?;
    let client = lab.register(&lab.not_asked_about(Document::pki("san_dns", unasked))?, &revoked)?;
    lab.good_token(&client)?;
    Ok(())
}

fn only_the_ca_for_clients_vouches_for_clients(lab: &Lab) -> Outcome {
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host);
    let client = lab.register(&Document::pki("san_dns", &host), &lab.issue(&leaf)?)?;
    lab.good_token(&client)?;
    let mut others = vec![Authority::root("Suite public CA")?];
    if let Some(pair) = &lab.target().config.other_ca {
        let (Ok(certificate), Ok(key)) = (fs::read(&pair.certificate), fs::read(&pair.key)) else {
            return untestable("the files of other_ca cannot be read");
        };
        others.push(Authority::read(&certificate, &key)?);
    }
    for other in others {
        let shown = other.issue(&leaf)?;
        lab.token(&client).certificate(&shown).send().expect_refused()?;
        lab.token(&client).certificate(&shown.and(&[other.certificate()])).send().expect_refused()?;
    }
    Ok(())
}

fn paths_are_judged_as_rfc_5280_says(lab: &Lab) -> Outcome {
    let ca = lab.ca()?;
    let host = format!("{}.suite.example", lab.unique());
    let leaf = Leaf::new("any").dns(&host);
    let middle = || Leaf::authority("Suite issuing CA");
    let good = ca.authority(&middle())?.issue(&leaf)?;
    let client = lab.register(&Document::pki("san_dns", &host), &good)?;
    lab.good_token(&client)?;
    let elsewhere = [der::element(0x82, b"elsewhere.example")];
    let broken = [
        ca.authority(&Leaf::new("no CA").usage(Some(KEY_CERT_SIGN)))?.issue(&leaf)?,
        ca.authority(&middle().usage(Some(CRL_SIGN)))?.issue(&leaf)?,
        ca.authority(&middle().days(-20, -1))?.issue(&leaf)?,
        ca.authority(&middle().broken_signature())?.issue(&leaf)?,
        // Of another name: a self-issued one would not count in the length of the path.
        ca.authority(&middle().ca(Some(0)))?.authority(&Leaf::authority("Suite lower CA"))?.issue(&leaf)?,
        ca.authority(&middle().name_constraints(&elsewhere, &[]))?.issue(&leaf)?,
        ca.authority(&middle())?.issue(&leaf.clone().broken_signature())?,
        // The name of a CA that is trusted, another key.
        ca.impostor()?.authority(&middle())?.issue(&leaf)?,
    ];
    for shown in broken {
        lab.token(&client).certificate(&shown).send().expect_refused()?;
    }
    Ok(())
}

fn odd_certificates_are_nobodys(lab: &Lab) -> Outcome {
    let own = lab.unique();
    let host = format!("{own}.suite.example");
    let good = lab.issue(&Leaf::new("any").dns(&host))?;
    let client = lab.register(&Document::pki("san_dns", &host), &good)?;
    lab.good_token(&client)?;
    let hidden = format!("{host}\0.elsewhere.example");
    let odd = [
        Leaf::new("any").dns(&hidden),
        Leaf::new(&hidden),
        Leaf::new("any").dns("*.suite.example"),
        Leaf::new("any").dns(&host).ca(None).usage(Some(DIGITAL_SIGNATURE | KEY_CERT_SIGN)),
        Leaf::new("any").dns(&host).extension("1.3.6.1.4.1.32473.3", true, &[5, 0]),
        // A name that is no IA5String, and one that is cut short within its element.
        Leaf::new("any").dns(&format!("{host}\u{ff0e}")),
        Leaf::new("any").extension("2.5.29.17", false, &[0x30, 0x7f, 0x82, 0x01, b'a']),
    ];
    for leaf in odd {
        lab.token(&client).certificate(&lab.issue(&leaf)?).send().expect_refused()?;
    }
    let name = |cn: &str| Leaf::of(Name::new().o("Suite").cn(cn));
    let good: Shown = lab.issue(&name(&own))?;
    let client = lab.register(&Document::pki("subject_dn", &format!("CN={own},O=Suite")), &good)?;
    lab.good_token(&client)?;
    for cn in [format!("{own}\0"), format!("{own}\0.elsewhere.example"), format!("{own}\u{200b}")] {
        lab.token(&client).certificate(&lab.issue(&name(&cn))?).send().expect_refused()?;
    }
    Ok(())
}
