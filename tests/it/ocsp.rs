//! The Online Certificate Status Protocol over HTTP, with the responder that OpenSSL has.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certbound::clock::{Clock as _, SystemClock, Timestamp};
use certbound::pki::Certificate;
use certbound::pki::fetch::{Outgoing, OutgoingSettings};
use certbound::pki::revocation::ocsp::{OcspCache, OcspStatus, Question};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::extension::ExtendedKeyUsage;
use openssl::x509::{X509, X509Name};

use super::support::pki::{DAY, Pki, Shown};
use super::support::responder::Responder;

/// Longer than any failure is remembered.
const A_WHILE: Duration = Duration::from_secs(61);

#[tokio::test]
async fn a_certificate_revoked_at_a_running_responder_is_revoked_and_stays_so() {
    let pki = Pki::new();
    let client = pki.client("billing.example.com");
    let mut responder = Responder::start(pki.corp.identity());
    responder.know(&client.chain[0]);
    let asking = Asking::new(&pki, &client, &responder.url());

    asking.ask(SystemClock.now()).await;
    let good = asking.status(SystemClock.now());
    assert!(matches!(good, OcspStatus::Good { .. }), "{good:?}");

    responder.revoke(&client.chain[0], "keyCompromise");
    // Perhaps within the second of the first answer: of the two, `revoked` is believed.
    asking.ask(SystemClock.now()).await;
    let revoked = OcspStatus::Revoked {
        at: Timestamp::parse_rfc3339("2026-01-02T03:04:05Z").unwrap(),
        reason: Some("keyCompromise".to_owned()),
    };
    assert_eq!(asking.status(SystemClock.now()), revoked);

    responder.stop();
    asking.ask(SystemClock.now()).await;
    assert_eq!(asking.status(SystemClock.now().plus(DAY)), revoked);
}

#[tokio::test]
async fn a_responder_that_is_down_is_told_and_asked_again_when_it_is_back() {
    let pki = Pki::new();
    let client = pki.client("billing.example.com");
    let mut responder = Responder::start(pki.corp.identity());
    let asking = Asking::new(&pki, &client, &responder.url());
    responder.stop();

    let now = SystemClock.now();
    asking.ask(now).await;
    let OcspStatus::Unknown { askable: false, why } = asking.status(now) else { panic!("it is down") };
    assert!(why.contains(&responder.url()), "{why}");
    assert_eq!(asking.cache.troubles(now).len(), 1);
    assert!(asking.cache.due(now).is_empty());

    responder.know(&client.chain[0]);
    responder.restart();
    let now = now.plus(A_WHILE);
    assert!(matches!(asking.status(now), OcspStatus::Unknown { askable: true, .. }));
    let due = asking.cache.due(now);
    for question in &due {
        asking.cache.ask(question, &asking.outgoing, now).await;
    }
    let status = asking.status(now);
    assert!(matches!(status, OcspStatus::Good { .. }), "{status:?} {due:?}");
    assert!(asking.cache.troubles(now).is_empty());
}

#[tokio::test]
async fn a_responder_that_never_answers_takes_two_seconds_once() {
    let pki = Pki::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let asking = Asking::new(&pki, &pki.client("billing.example.com"), &url);
    let now = SystemClock.now();
    let began = Instant::now();
    tokio::join!(asking.ask(now), asking.ask(now), asking.ask(now));
    let took = began.elapsed();
    assert!(Duration::from_millis(1900) < took && took < Duration::from_millis(3500), "{took:?}");
    let OcspStatus::Unknown { askable: false, why } = asking.status(now) else { panic!("it is silent") };
    assert!(why.ends_with("it did not answer within 2 s"), "{why}");
    let began = Instant::now();
    asking.ask(now).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_delegate_answers_for_its_issuer_and_for_nobody_else() {
    let pki = Pki::new();
    let client = pki.client("billing.example.com");
    let now = SystemClock.now();
    for (issuer, accepted) in [(&pki.corp, true), (&pki.server_ca, false)] {
        let delegate = delegate_of(&Shown::from(issuer.identity()), now);
        let mut responder = Responder::start_as(&delegate, pki.corp.identity(), &["-nmin", "5"]);
        responder.know(&client.chain[0]);
        let asking = Asking::new(&pki, &client, &responder.url());
        asking.ask(now).await;
        let status = asking.status(now);
        assert_eq!(matches!(status, OcspStatus::Good { .. }), accepted, "{status:?}");
    }
}

#[tokio::test]
async fn a_responder_inside_is_not_asked_unless_it_is_allowed() {
    let pki = Pki::new();
    let client = pki.client("billing.example.com");
    let mut responder = Responder::start(pki.corp.identity());
    responder.know(&client.chain[0]);
    let asking = Asking { outgoing: Outgoing::default(), ..Asking::new(&pki, &client, &responder.url()) };
    let now = SystemClock.now();
    asking.ask(now).await;
    let status = asking.status(now);
    assert!(matches!(status, OcspStatus::Unknown { askable: false, .. }), "{status:?}");
}

/// A question and everything that it takes to ask it.
struct Asking {
    question: Question,
    cache: OcspCache,
    outgoing: Outgoing,
}

impl Asking {
    /// About a client of the corp CA, on the loopback.
    fn new(pki: &Pki, client: &Shown, url: &str) -> Self {
        let certificate = |der: &[u8]| Arc::new(Certificate::parse(der).unwrap());
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        Self {
            question: Question {
                responder: url.parse().unwrap(),
                certificate: certificate(&client.chain[0]),
                issuer: certificate(pki.corp.identity().certificate_der()),
            },
            cache: OcspCache::default(),
            outgoing: Outgoing::new(&OutgoingSettings { allow, ..OutgoingSettings::default() }).unwrap(),
        }
    }

    async fn ask(&self, now: Timestamp) {
        self.cache.ask(&self.question, &self.outgoing, now).await;
    }

    fn status(&self, now: Timestamp) -> OcspStatus {
        let Question { responder, certificate, issuer } = &self.question;
        self.cache.status(responder, certificate, issuer, now)
    }
}

/// Somebody whom this CA lets answer for it. The workshop makes none.
fn delegate_of(ca: &Shown, now: Timestamp) -> Shown {
    let issuer = X509::from_der(&ca.chain[0]).unwrap();
    let ca_key = PKey::private_key_from_der(&ca.key).unwrap();
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "Responder").unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name.build()).unwrap();
    builder.set_issuer_name(issuer.subject_name()).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(now.minus(DAY).as_unix()).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now.plus(DAY).as_unix()).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.append_extension(ExtendedKeyUsage::new().other("OCSPSigning").build().unwrap()).unwrap();
    builder.sign(&ca_key, MessageDigest::sha256()).unwrap();
    Shown { chain: vec![builder.build().to_der().unwrap()], key: key.private_key_to_pkcs8().unwrap() }
}
