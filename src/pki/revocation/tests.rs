//! What a policy makes of what lists and responders say, along a whole path.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::pki::certificate::Chain;
use crate::pki::fetch::{Outgoing, OutgoingSettings};
use crate::pki::trust::{AnchorSet, Profile, TrustStore};
use crate::pki::workshop::{Authority, CrlTemplate, Identity, RevokedCertificate, Template};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// A root, a CA below it, a client of that.
struct Scene {
    root: Authority,
    issuing: Authority,
    leaf: Identity,
    chain: Chain,
    trust: TrustStore,
    crls: Arc<Crls>,
    ocsp: Arc<OcspCache>,
    now: Timestamp,
}

impl Scene {
    /// By the clock on the wall, because `openssl ocsp` goes by it.
    fn new() -> Self {
        let now = SystemClock.now();
        let template = |cn: &str| Template::new(cn, now.minus(HOUR), now.plus(HOUR * 48));
        let root = Authority::new(&template("root")).unwrap();
        let issuing = root.intermediate(&template("issuing")).unwrap();
        let leaf = issuing.issue(&template("leaf")).unwrap();
        let presented = [leaf.certificate_der().to_vec(), issuing.identity().certificate_der().to_vec()];
        let set = AnchorSet::unchecked(vec![parsed(root.identity())], Vec::new(), Profile::Strict);
        Self {
            chain: Chain::parse(&presented, 16).unwrap(),
            trust: TrustStore::new(BTreeMap::from([(name(), set)])),
            crls: Arc::default(),
            ocsp: Arc::default(),
            root,
            issuing,
            leaf,
            now,
        }
    }

    /// Of this CA, revoking these.
    fn offer(&self, ca: &Authority, revoked: &[&Identity]) {
        let revoked = revoked.iter().map(|identity| RevokedCertificate {
            serial: parsed(identity).serial().to_vec(),
            at: self.now.minus(HOUR),
            reason: None,
        });
        let template = CrlTemplate {
            number: self.crls.summaries().len() as u64,
            this_update: self.now.minus(HOUR),
            next_update: self.now.plus(HOUR),
            revoked: revoked.collect(),
        };
        self.crls.offer(&ca.crl(&template).unwrap(), &[parsed(self.root.identity())], self.now).unwrap();
    }

    fn revocation(&self, policy: SetRevocation) -> Revocation {
        Revocation::new(BTreeMap::from([(name(), policy)]), Arc::clone(&self.crls), Arc::clone(&self.ocsp))
    }

    fn trusted(&self) -> TrustedChain<'_> {
        self.trust.verify(&self.chain, &name(), self.now).unwrap()
    }

    fn check(&self, policy: SetRevocation) -> Result<CurrentChain<'_>, RevocationError> {
        self.revocation(policy).check(self.trusted(), &name(), self.now)
    }

    /// Kind and depth of the refusal.
    fn refusal(&self, policy: SetRevocation) -> Option<(RevocationErrorKind, usize)> {
        self.check(policy).err().map(|error| (error.kind, error.depth))
    }
}

fn name() -> AnchorSetName {
    AnchorSetName::new("corp")
}

fn parsed(identity: &Identity) -> Certificate {
    Certificate::parse(identity.certificate_der()).unwrap()
}

fn lists(mode: RevocationMode) -> SetRevocation {
    SetRevocation { mode, crl: true, ocsp: None }
}

fn responder(mode: RevocationMode, url: &str) -> SetRevocation {
    SetRevocation { mode, crl: false, ocsp: Some(url.parse().unwrap()) }
}

const REVOKED: RevocationErrorKind = RevocationErrorKind::Revoked;
const UNKNOWN: RevocationErrorKind = RevocationErrorKind::Unknown;

#[test]
fn require_wants_a_good_status_of_every_certificate_but_the_anchor() {
    let scene = Scene::new();
    let require = || lists(RevocationMode::Require);
    assert_eq!(scene.refusal(require()), Some((UNKNOWN, 0)));
    scene.offer(&scene.issuing, &[]);
    assert_eq!(scene.refusal(require()), Some((UNKNOWN, 1)), "the issuing CA needs a list of the root");
    scene.offer(&scene.root, &[]);
    let current = scene.check(require()).unwrap();
    assert_eq!((current.unknown(), current.questions().len()), (None, 0));
    let subjects: Vec<_> = current.certificates().iter().map(|member| member.subject().to_string()).collect();
    assert_eq!(subjects, ["CN=leaf", "CN=issuing", "CN=root"]);
    assert_eq!(current.leaf().thumbprint(), current.path()[0].thumbprint);
}

#[test]
fn a_revoked_certificate_is_refused_under_prefer_too() {
    let scene = Scene::new();
    scene.offer(&scene.issuing, &[&scene.leaf]);
    for mode in [RevocationMode::Prefer, RevocationMode::Require] {
        let error = scene.check(lists(mode)).unwrap_err();
        assert_eq!((error.kind, error.depth), (REVOKED, 0));
        let (at, until) = (scene.now.minus(HOUR), scene.now.plus(HOUR));
        assert_eq!(
            error.to_string(),
            format!("the leaf (CN=leaf) was revoked on {at}, says CRL 0 of CN=issuing, next update {until}")
        );
    }
    assert_eq!(scene.refusal(lists(RevocationMode::Off)), None);
}

#[test]
fn a_revoked_intermediate_refuses_what_it_issued() {
    let scene = Scene::new();
    scene.offer(&scene.root, &[scene.issuing.identity()]);
    // revoked decides, though the status of the leaf is not even known
    assert_eq!(scene.refusal(lists(RevocationMode::Require)), Some((REVOKED, 1)));
    assert_eq!(scene.refusal(lists(RevocationMode::Prefer)), Some((REVOKED, 1)));
}

#[test]
fn prefer_accepts_what_is_unknown_and_says_so() {
    let scene = Scene::new();
    scene.offer(&scene.root, &[]);
    let current = scene.check(lists(RevocationMode::Prefer)).unwrap();
    let expected = "it is not known whether the leaf (CN=leaf) was revoked: there is no CRL of CN=issuing";
    assert_eq!((current.unknown(), current.questions().len()), (Some(expected), 0));
    scene.offer(&scene.issuing, &[]);
    assert_eq!(scene.check(lists(RevocationMode::Prefer)).unwrap().unknown(), None);
}

#[test]
fn a_list_that_ran_out_between_two_requests_is_unknown() {
    let scene = Scene::new();
    scene.offer(&scene.root, &[]);
    scene.offer(&scene.issuing, &[]);
    let revocation = scene.revocation(lists(RevocationMode::Require));
    let at = |now| revocation.check(scene.trusted(), &name(), now).err().map(|error| error.kind);
    assert_eq!(at(scene.now.plus(HOUR)), None);
    assert_eq!(at(scene.now.plus(HOUR + HOUR)), Some(UNKNOWN));
}

#[test]
fn what_only_a_responder_can_say_is_a_question() {
    let scene = Scene::new();
    let url = "http://ocsp.example.com/";
    let error = scene.check(responder(RevocationMode::Require, url)).unwrap_err();
    assert_eq!((error.kind, error.questions.len()), (UNKNOWN, 2));
    assert_eq!(error.questions[1].certificate.subject().to_string(), "CN=issuing");
    assert_eq!(error.questions[1].issuer.subject().to_string(), "CN=root");
    let preferred = scene.check(responder(RevocationMode::Prefer, url)).unwrap();
    assert_eq!(preferred.questions().len(), 2);
    // good from one source is enough, and leaves nothing to ask
    scene.offer(&scene.issuing, &[]);
    scene.offer(&scene.root, &[]);
    let both = SetRevocation { crl: true, ..responder(RevocationMode::Require, url) };
    let current = scene.check(both).unwrap();
    assert_eq!((current.unknown(), current.questions().len()), (None, 0));
}

#[test]
fn a_set_that_is_off_or_not_named_asks_nobody() {
    let scene = Scene::new();
    scene.offer(&scene.issuing, &[&scene.leaf]);
    assert_eq!(scene.refusal(lists(RevocationMode::Off)), None);
    assert!(Revocation::off().check(scene.trusted(), &name(), scene.now).is_ok());
    let without_sources = SetRevocation { mode: RevocationMode::Require, ..SetRevocation::default() };
    assert_eq!(scene.refusal(without_sources), Some((UNKNOWN, 0)));
}

#[test]
fn people_hear_what_each_source_says_of_each_certificate() {
    let scene = Scene::new();
    scene.offer(&scene.issuing, &[&scene.leaf]);
    let policy = SetRevocation { crl: true, ..responder(RevocationMode::Prefer, "http://ocsp.example.com/") };
    let consulted = scene.revocation(policy).consult(&scene.trusted(), &name(), scene.now);
    let told: Vec<_> =
        consulted.iter().map(|one| (one.certificate.as_str(), one.source.as_str(), one.status)).collect();
    let list = format!("CRL 0 of CN=issuing, next update {}", scene.now.plus(HOUR));
    assert_eq!(
        told,
        [
            ("CN=leaf", list.as_str(), "revoked"),
            ("CN=leaf", "OCSP http://ocsp.example.com/", "unknown"),
            ("CN=issuing", "CRL of CN=root", "unknown"),
            ("CN=issuing", "OCSP http://ocsp.example.com/", "unknown"),
        ]
    );
    let details: Vec<_> = consulted.iter().filter_map(|one| one.detail.as_deref()).collect();
    assert_eq!(details[0], format!("on {}", scene.now.minus(HOUR)));
    assert_eq!(details[2], "there is no CRL of CN=root");
    assert!(
        scene.revocation(lists(RevocationMode::Off)).consult(&scene.trusted(), &name(), scene.now).is_empty()
    );
}

/// Answers one request on a free port with what `openssl ocsp` says by this index.
fn serve_once(ca: &Authority, index: &str) -> (Url, thread::JoinHandle<()>) {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
    write("ca.pem", ca.identity().certificate_pem().as_bytes());
    write("ca.key", ca.identity().key_pem().as_bytes());
    write("index", index.as_bytes());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let request = loop {
            let read = stream.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&received).to_lowercase();
            let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let length = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if received.len() >= end + 4 + length.parse::<usize>().unwrap() {
                break received.split_off(end + 4);
            }
        };
        fs::write(directory.path().join("request"), request).unwrap();
        let words = "ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin request -ndays 1 -respout response";
        let output =
            Command::new("openssl").args(words.split(' ')).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let response = fs::read(directory.path().join("response")).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/ocsp-response\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            response.len()
        );
        stream.write_all(&[head.as_bytes(), &response].concat()).unwrap();
    });
    (url, serving)
}

#[tokio::test]
async fn a_responder_that_says_revoked_decides_though_a_list_says_good() {
    let scene = Scene::new();
    scene.offer(&scene.issuing, &[]);
    scene.offer(&scene.root, &[]);
    let serial = openssl::bn::BigNum::from_slice(parsed(&scene.leaf).serial()).unwrap().to_hex_str().unwrap();
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let outgoing = Outgoing::new(&OutgoingSettings { allow, ..OutgoingSettings::default() }).unwrap();
    for (index, expected) in [
        (format!("V\t351231235959Z\t\t{serial}\tunknown\t/CN=leaf\n"), None),
        (
            format!("R\t351231235959Z\t260102030405Z,keyCompromise\t{serial}\tunknown\t/CN=leaf\n"),
            Some("was revoked on 2026-01-02T03:04:05Z (keyCompromise), says OCSP"),
        ),
    ] {
        let (url, serving) = serve_once(&scene.issuing, &index);
        let asks = responder(RevocationMode::Require, url.as_str());
        let question = scene.check(asks.clone()).unwrap_err().questions.swap_remove(0);
        scene.ocsp.ask(&question, &outgoing, scene.now).await;
        serving.join().unwrap();
        let both = SetRevocation { crl: true, ..asks.clone() };
        let said = scene.check(both).err().map(|error| error.to_string());
        match expected {
            None => {
                assert_eq!(said, None);
                // what is left to ask is the CA above
                assert_eq!(scene.refusal(asks), Some((UNKNOWN, 1)));
            }
            Some(words) => assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{said:?}"),
        }
    }
}
