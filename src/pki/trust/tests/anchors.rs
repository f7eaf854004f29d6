//! Anchors as they are loaded.

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::X509;
use openssl::x509::extension::KeyUsage;

use super::forge::{Criticality, plain_ca};
use super::*;

fn lint(anchors: &[&Made], profile: Profile) -> Vec<AnchorError> {
    let anchors = anchors.iter().map(|made| certificate(made)).collect();
    AnchorSet::new(anchors, Vec::new(), profile).err().unwrap_or_default()
}

#[test]
fn an_empty_set_vouches_for_nobody() {
    assert_eq!(lint(&[], Profile::Compatible).len(), 1);
}

#[test]
fn a_plain_ca_an_intermediate_and_an_expired_ca_are_anchors() {
    let root = plain_ca("root").self_signed();
    let issuing = plain_ca("issuing").by(&root);
    let expired = plain_ca("expired").valid(-100, -50).self_signed();
    for profile in [Profile::Compatible, Profile::Strict] {
        assert_eq!(lint(&[&root, &issuing, &expired], profile), []);
    }
}

#[test]
fn what_could_never_validate_is_no_anchor() {
    let weak = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    for unfit in [
        make("a leaf").self_signed(),
        plain_ca("no cert sign").key_usage(KeyUsage::new().critical().digital_signature()).self_signed(),
        plain_ca("servers only").purposes(&["1.3.6.1.5.5.7.3.1"]).self_signed(),
        plain_ca("critical").raw("1.3.6.1.4.1.55738.666.1", Criticality::Critical, &[5, 0]).self_signed(),
        plain_ca("weak").key(weak).self_signed(),
        plain_ca("backwards").valid(50, -50).self_signed(),
    ] {
        let errors = lint(&[&unfit], Profile::Compatible);
        assert_eq!(errors.len(), 1, "{:?}", unfit.certificate.subject_name());
        assert!(errors[0].instead.contains("openssl req -new -x509"), "{errors:?}");
        assert!(verdict(&[&unfit], &[&make("leaf below").by(&unfit)]).is_err());
    }
}

#[test]
fn every_unfit_anchor_is_named_at_once() {
    let fit = plain_ca("fit").self_signed();
    let (one, two) = (make("one").self_signed(), make("two").self_signed());
    let errors = lint(&[&one, &fit, &two], Profile::Compatible);
    let named: Vec<_> = errors.iter().map(|error| error.what.contains("CN=one")).collect();
    assert_eq!(named, [true, false]);
}

#[test]
fn a_root_of_version_1_is_an_anchor_of_the_compatible_profile() {
    let root = make("old root").version_1().self_signed();
    assert_eq!(lint(&[&root], Profile::Compatible), []);
    assert!(verdict(&[&root], &[&make("leaf").by(&root)]).is_ok());
    assert_eq!(lint(&[&root], Profile::Strict).len(), 1);
}

/// The key of a CA of the web, of which nobody here has the private half.
fn public_root(index: usize) -> X509 {
    X509::from_der(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[index]).unwrap()
}

#[test]
fn every_ca_of_the_web_is_known_by_its_key_and_is_no_anchor() {
    let mut keys = BTreeSet::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let root = Certificate::parse(root).unwrap();
        keys.insert(root.key_hash());
        let errors = AnchorSet::new(vec![root], Vec::new(), Profile::Compatible).err().unwrap();
        assert!(errors.len() == 1 && errors[0].what.contains("is a public web CA"), "{errors:?}");
        assert!(errors[0].what.contains("every customer") && errors[0].instead.contains("openssl req"));
    }
    assert!(keys.len() > 100, "{}", keys.len());
}

#[test]
fn a_public_key_of_the_web_is_recognised_under_any_name_and_signature() {
    let ca = plain_ca("CA").self_signed();
    let key = public_root(0).public_key().unwrap();
    let crossed = plain_ca("Harmless CA").certifies(key.clone()).by(&ca);
    let leaf = make("no CA at all").certifies(key).by(&ca);
    let namesake = plain_ca("x").subject(public_root(0).subject_name().to_owned().unwrap()).self_signed();
    for (made, refused) in [(&crossed, true), (&leaf, true), (&namesake, false), (&ca, false)] {
        let errors = lint(&[made], Profile::Strict);
        let named = errors.iter().any(|error| error.what.contains("is a public web CA, by its key"));
        assert_eq!(named, refused, "{errors:?}");
    }
}

#[test]
fn the_bundle_of_a_system_is_one_error_beside_those_of_others() {
    let roots = || webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mut bundle: Vec<_> = roots().map(|root| Certificate::parse(root).unwrap()).collect();
    bundle.push(certificate(&make("a leaf").self_signed()));
    let errors = AnchorSet::new(bundle, Vec::new(), Profile::Compatible).err().unwrap();
    let [public, other] = &errors[..] else { panic!("{errors:?}") };
    assert!(public.what.contains(&format!("and {} more are public web CAs", roots().count() - 3)));
    assert!(other.what.contains("CN=a leaf is not a CA"));
}

#[test]
fn below_a_ca_is_what_its_key_signed_and_not_what_names_it() {
    let (root, other) = (plain_ca("root").self_signed(), plain_ca("other").self_signed());
    let namesake = plain_ca("root").self_signed();
    let (issuing, of_namesake) = (plain_ca("issuing").by(&root), plain_ca("issuing").by(&namesake));
    let roots = [certificate(&root), certificate(&other)];
    let is_below = |made| lint::is_signed_by_one_of(roots.iter(), &certificate(made));
    assert!(is_below(&issuing));
    assert!(!is_below(&of_namesake) && !is_below(&namesake));
    let public = Certificate::parse(&public_root(0).to_der().unwrap()).unwrap();
    assert!(!is_below_public_ca(&public), "it is one itself");
    assert!(!is_below_public_ca(&certificate(&issuing)));
}

#[test]
fn expiry_is_a_warning() {
    let current = plain_ca("current").self_signed();
    let expired = plain_ca("expired").valid(-100, -50).self_signed();
    let early = plain_ca("early").valid(50, 100).self_signed();
    let all = set(&[&current, &expired, &early], Profile::Compatible);
    let warnings = all.validity_warnings(NOW);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("CN=expired expired on "), "{warnings:?}");
    assert!(all.any_within_validity(NOW));
    assert!(!set(&[&expired, &early], Profile::Compatible).any_within_validity(NOW));
}

#[test]
fn sets_are_compared_by_the_keys_of_their_anchors() {
    let ca = plain_ca("CA").self_signed();
    let renewed = plain_ca("CA, renewed").key(ca.key.clone()).self_signed();
    let namesake = plain_ca("CA").self_signed();
    let of = |made| set(&[made], Profile::Compatible);
    assert!(of(&ca).shares_anchor_key_with(&of(&renewed)));
    assert!(!of(&ca).shares_anchor_key_with(&of(&namesake)));
}

#[test]
fn the_content_hash_covers_everything_that_decides() {
    let (one, two) = (plain_ca("one").self_signed(), plain_ca("two").self_signed());
    let hash = |anchors: &[&Made], intermediates: &[&Made], profile| {
        let list = |of: &[&Made]| of.iter().map(|made| certificate(made)).collect();
        AnchorSet::unchecked(list(anchors), list(intermediates), profile).content_hash()
    };
    let first = hash(&[&one], &[], Profile::Compatible);
    assert_eq!(first, hash(&[&one], &[], Profile::Compatible));
    for other in [
        hash(&[&two], &[], Profile::Compatible),
        hash(&[&one], &[], Profile::Strict),
        hash(&[&one], &[&two], Profile::Compatible),
        hash(&[&one, &two], &[], Profile::Compatible),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn a_profile_is_one_of_two_words() {
    assert_eq!("strict".parse(), Ok(Profile::Strict));
    assert_eq!("compatible".parse(), Ok(Profile::Compatible));
    assert_eq!("Strict".parse::<Profile>(), Err(ProfileError));
}
