//! rustls-webpki about the same certificates. It is not the judge (it does not look at key usages and cannot do some
//! legal constraints), but two readers seldom make one mistake: whatever is accepted here and refused there is on a
//! list, with the reason, and a difference that goes away has to leave the list.

use std::time::Duration;

use openssl::asn1::Asn1Type;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::KeyUsage;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage as WebpkiUsage, anchor_from_trusted_cert};

use super::forge::{Criticality, Plan, common_name, ec_key, plain_ca};
use super::names::{ADDRESS, DIRECTORY, DNS, EMAIL, EXCLUDED, NAME_CONSTRAINTS, PERMITTED, URI, constraints};
use super::*;

const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const ANY_PURPOSE: &str = "2.5.29.37.0";

/// Accepted here for a client, refused by webpki.
const LISTED: &[(&str, &str)] = &[
    ("leaf of version 1", "what `openssl x509 -req` makes; §6.1 asks version 3 of CAs alone"),
    ("leaf of version 1 below an intermediate", "as above"),
    (
        "leaf with CA:TRUE",
        "§6.1 lets a CA end a path; the leaf policy of a client refuses it, which is another question",
    ),
    ("leaf with CA:TRUE and a path length", "as above"),
    ("directoryName permitted", "§4.2.1.10, applied; webpki refuses every name under such a constraint"),
    ("e-mail name permitted", "§4.2.1.10, applied; webpki refuses every name under such a constraint"),
    ("URI permitted", "§4.2.1.10, applied; webpki refuses every name under such a constraint"),
    ("issuer in another string type", "§7.1: names chain as names; webpki compares octets"),
    ("issuer in another case", "§7.1: names chain as names; webpki compares octets"),
    ("critical certificate policies", "known to OpenSSL; nobody asks for a policy, so none can be missed"),
    ("issuer with a key on brainpoolP256r1", "128 bits of strength; webpki does not know the curve"),
];

/// A set, what is presented to it, and a name for both.
struct Question {
    name: &'static str,
    anchors: Vec<Made>,
    presented: Vec<Made>,
}

fn ask(name: &'static str, anchors: &[&Made], presented: &[&Made]) -> Question {
    let own = |of: &[&Made]| of.iter().map(|made| (*made).clone()).collect();
    Question { name, anchors: own(anchors), presented: own(presented) }
}

#[test]
fn whatever_webpki_refuses_of_what_is_accepted_here_is_listed_with_its_reason() {
    let mut questions = leaves();
    questions.extend(authorities());
    questions.extend(constrained());
    let names: BTreeSet<_> = questions.iter().map(|question| question.name).collect();
    assert_eq!(names.len(), questions.len(), "each has a name of its own");
    let differ: BTreeSet<_> = questions
        .iter()
        .filter(|question| question.accepted_here() && question.refused_by_webpki())
        .map(|question| question.name)
        .collect();
    assert_eq!(differ, LISTED.iter().map(|listed| listed.0).collect());
    assert!(LISTED.iter().all(|(_, reason)| !reason.is_empty()));
    // Both say both, or the comparison means nothing.
    let agreed = |accepted: bool| {
        let of = |question: &&Question| {
            question.accepted_here() == accepted && question.refused_by_webpki() != accepted
        };
        questions.iter().filter(of).count()
    };
    assert!(agreed(true) >= 10 && agreed(false) >= 15, "{} and {}", agreed(true), agreed(false));
}

impl Question {
    fn accepted_here(&self) -> bool {
        let anchors: Vec<_> = self.anchors.iter().collect();
        let presented: Vec<_> = self.presented.iter().collect();
        let ders: Vec<_> = presented.iter().map(|made| made.der()).collect();
        let Ok(chain) = Chain::parse(&ders, 64) else { return false };
        set(&anchors, Profile::Compatible).verify_path(&chain, Purpose::Client, NOW).is_ok()
    }

    fn refused_by_webpki(&self) -> bool {
        let ders =
            |of: &[Made]| -> Vec<_> { of.iter().map(|made| CertificateDer::from(made.der())).collect() };
        let (anchors, presented) = (ders(&self.anchors), ders(&self.presented));
        let anchors: Vec<_> = anchors.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let (leaf, intermediates) = presented.split_first().unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_unix().unsigned_abs()));
        let usage = WebpkiUsage::client_auth();
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                let verified = leaf.verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    &anchors,
                    intermediates,
                    at,
                    usage,
                    None,
                    None,
                );
                verified.map(|_| ())
            })
            .is_err()
    }
}

/// Directly below a root.
fn leaves() -> Vec<Question> {
    let ca = plain_ca("CA").self_signed();
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let negative = || {
        let mut number = BigNum::from_u32(5).unwrap();
        number.set_negative(true);
        number
    };
    let usage = |usage: &KeyUsage| make("leaf").key_usage(usage);
    let unknown = "1.3.6.1.4.1.55738.666.1";
    let plans: Vec<(&str, Plan)> = vec![
        ("plain leaf", make("leaf")),
        ("leaf of version 1", make("leaf").version_1()),
        ("leaf with CA:TRUE", plain_ca("leaf")),
        ("leaf with CA:TRUE and a path length", make("leaf").path_length(0)),
        ("clientAuth", make("leaf").purposes(&[CLIENT_AUTH])),
        ("serverAuth and clientAuth", make("leaf").purposes(&[SERVER_AUTH, CLIENT_AUTH])),
        ("serverAuth", make("leaf").purposes(&[SERVER_AUTH])),
        ("any purpose", make("leaf").purposes(&[ANY_PURPOSE])),
        ("digitalSignature", usage(KeyUsage::new().critical().digital_signature())),
        ("keyEncipherment", usage(KeyUsage::new().critical().key_encipherment())),
        ("alternative names", make("leaf").dns(&["a.example.com", "b.example.com"])),
        ("wildcard", make("leaf").dns(&["*.example.com"])),
        ("serial number 0", make("leaf").serial(BigNum::from_u32(0).unwrap())),
        ("negative serial number", make("leaf").serial(negative())),
        ("serial number of 21 octets", make("leaf").serial(BigNum::from_slice(&[0x7f; 21]).unwrap())),
        ("in its last second", make("leaf").valid(-10, 0)),
        ("in its first second", make("leaf").valid(0, 10)),
        ("expired", make("leaf").valid(-10, -1)),
        ("not yet valid", make("leaf").valid(1, 10)),
        ("unknown extension", make("leaf").raw(unknown, Criticality::NonCritical, &[5, 0])),
        ("unknown critical extension", make("leaf").raw(unknown, Criticality::Critical, &[5, 0])),
        ("critical certificate policies", make("leaf").raw("2.5.29.32", Criticality::Critical, POLICY)),
        ("name constraints", {
            let der = constraints(PERMITTED, DNS, b"example.com");
            make("leaf").raw(NAME_CONSTRAINTS, Criticality::Critical, &der)
        }),
        ("signature with SHA-1", make("leaf").digest(MessageDigest::sha1())),
        ("signature with SHA-512", make("leaf").digest(MessageDigest::sha512())),
        ("key of RSA 1024", make("leaf").key(rsa(1024))),
        ("key of RSA 2048", make("leaf").key(rsa(2048))),
        ("key on P-384", make("leaf").key(ec_key(Nid::SECP384R1))),
        ("key on P-521", make("leaf").key(ec_key(Nid::SECP521R1))),
        ("key on secp256k1", make("leaf").key(ec_key(Nid::SECP256K1))),
        ("key on brainpoolP256r1", make("leaf").key(ec_key(Nid::BRAINPOOL_P256R1))),
        ("key of Ed25519", make("leaf").key(PKey::generate_ed25519().unwrap())),
        ("issuer in another string type", {
            make("leaf").issuer(common_name("CA", Asn1Type::PRINTABLESTRING))
        }),
        ("issuer in another case", make("leaf").issuer(common_name("ca", Asn1Type::UTF8STRING))),
        ("another issuer", make("leaf").issuer(common_name("other", Asn1Type::UTF8STRING))),
    ];
    let below = |(name, plan): (&'static str, Plan)| ask(name, &[&ca], &[&plan.by(&ca)]);
    plans.into_iter().map(below).collect()
}

/// `CertificatePolicies` with one policy, 1.2.3.4.
const POLICY: &[u8] = &[0x30, 0x07, 0x30, 0x05, 0x06, 0x03, 0x2a, 0x03, 0x04];

/// About what stands above the leaf.
fn authorities() -> Vec<Question> {
    let root = plain_ca("root").self_signed();
    let issuing = plain_ca("issuing").by(&root);
    let leaf = make("leaf").by(&issuing);
    let old_leaf = make("leaf").version_1().by(&issuing);
    let namesake = plain_ca("root").self_signed();
    let expired = plain_ca("issuing").key(issuing.key.clone()).valid(-100, -50).by(&root);
    let servers = plain_ca("servers").purposes(&[SERVER_AUTH]).by(&root);
    let no_ca = make("no CA").by(&root);
    let old = make("old").version_1().by(&root);
    let signs_nothing = plain_ca("usage").key_usage(KeyUsage::new().critical().digital_signature()).by(&root);
    let short = make("short").path_length(0).identifiers().by(&root);
    let below_short = plain_ca("below short").by(&short);
    let old_root = make("old root").version_1().self_signed();
    let self_signed = make("leaf").self_signed();
    let brainpool = plain_ca("brainpool").key(ec_key(Nid::BRAINPOOL_P256R1)).by(&root);
    let (a, b) = (plain_ca("a").self_signed(), plain_ca("b").self_signed());
    let a_by_b = plain_ca("a").key(a.key.clone()).by(&b);
    let b_by_a = plain_ca("b").key(b.key).by(&a);
    vec![
        ask("below an intermediate", &[&root], &[&leaf, &issuing]),
        ask("leaf of version 1 below an intermediate", &[&root], &[&old_leaf, &issuing]),
        ask("intermediate as the anchor", &[&issuing], &[&leaf]),
        ask("missing intermediate", &[&root], &[&leaf]),
        ask("two certificates of one intermediate", &[&root], &[&leaf, &expired, &issuing]),
        ask("expired intermediate", &[&root], &[&leaf, &expired]),
        ask("root of the same name", &[&namesake], &[&leaf, &issuing, &root]),
        ask("intermediate for servers", &[&root], &[&make("leaf").by(&servers), &servers]),
        ask("intermediate that is no CA", &[&root], &[&make("leaf").by(&no_ca), &no_ca]),
        ask("intermediate of version 1", &[&root], &[&make("leaf").by(&old), &old]),
        ask(
            "intermediate without keyCertSign",
            &[&root],
            &[&make("leaf").by(&signs_nothing), &signs_nothing],
        ),
        ask("issuer with a key on brainpoolP256r1", &[&root], &[&make("leaf").by(&brainpool), &brainpool]),
        ask("path length kept", &[&root], &[&make("leaf").by(&short), &short]),
        ask("path length exceeded", &[&root], &[&make("leaf").by(&below_short), &below_short, &short]),
        ask("root of version 1", &[&old_root], &[&make("leaf").by(&old_root)]),
        ask("signed by itself", &[&root], &[&self_signed]),
        ask("loop", &[&root], &[&make("leaf").by(&a), &a_by_b, &b_by_a]),
        ask("the root itself", &[&root], &[&root]),
    ]
}

/// Under name constraints of the CA.
fn constrained() -> Vec<Question> {
    let name = |cn| common_name(cn, Asn1Type::UTF8STRING).to_der().unwrap();
    let under = |question: &'static str, list: u8, kind: u8, value: &[u8], plan: Plan| {
        let der = constraints(list, kind, value);
        let ca = plain_ca("CA").raw(NAME_CONSTRAINTS, Criticality::Critical, &der).self_signed();
        ask(question, &[&ca], &[&plan.by(&ca)])
    };
    let example = b"example.com";
    let net = [192, 0, 2, 0, 255, 255, 255, 0];
    vec![
        under("DNS name permitted", PERMITTED, DNS, example, make("leaf").dns(&["a.example.com"])),
        under("DNS name not permitted", PERMITTED, DNS, example, make("leaf").dns(&["a.example.org"])),
        under("DNS name excluded", EXCLUDED, DNS, example, make("leaf").dns(&["a.example.com"])),
        under("no DNS name where some are permitted", PERMITTED, DNS, example, make("leaf")),
        under("directoryName permitted", PERMITTED, DIRECTORY, &name("leaf"), make("leaf")),
        under("directoryName not permitted", PERMITTED, DIRECTORY, &name("other"), make("leaf")),
        under("directoryName excluded", EXCLUDED, DIRECTORY, &name("leaf"), make("leaf")),
        under("e-mail name permitted", PERMITTED, EMAIL, example, make("leaf").email("a@example.com")),
        under("e-mail name not permitted", PERMITTED, EMAIL, example, make("leaf").email("a@example.org")),
        under("URI permitted", PERMITTED, URI, example, make("leaf").uri("https://example.com/a")),
        under("URI not permitted", PERMITTED, URI, example, make("leaf").uri("https://example.org/a")),
        under("address not permitted", PERMITTED, ADDRESS, &net, make("leaf").ip("198.51.100.1")),
        under("address permitted", PERMITTED, ADDRESS, &net, make("leaf").ip("192.0.2.7")),
    ]
}
