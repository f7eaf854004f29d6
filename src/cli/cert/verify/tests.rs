//! The exit codes and the answers, file by file.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::pki::workshop::{Authority, CrlTemplate, Identity, RevokedCertificate, Template};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: VerifyArgs,
}

struct Scene {
    directory: TempDir,
}

impl Scene {
    /// `ca.pem`, `issuing.pem`, `leaf.pem` below it, and files that are none.
    fn new() -> Self {
        let template = |cn: &str| Template::new(cn, NOW, Timestamp::from_unix(NOW.as_unix() + 1000));
        let ca = Authority::new(&template("CA")).unwrap();
        let issuing = ca.intermediate(&template("issuing")).unwrap();
        let mut asked = template("leaf");
        asked.dns = vec!["a.example.com".into(), "*.example.org".into()];
        asked.ip = vec!["192.0.2.1".parse().unwrap()];
        asked.email = vec!["A@example.com".into()];
        let leaf = issuing.issue(&asked).unwrap();
        let directory = TempDir::new().unwrap();
        let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        write("ca.pem", ca.identity().certificate_pem().as_bytes());
        write("issuing.pem", issuing.identity().certificate_pem().as_bytes());
        write("leaf.pem", leaf.certificate_pem().as_bytes());
        let chain = [leaf.certificate_pem(), issuing.identity().certificate_pem()].concat();
        write("chain.pem", chain.as_bytes());
        write("chain.p12", &leaf.to_pkcs12(&[issuing.identity().certificate_der().to_vec()], "").unwrap());
        write("broken.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        write("notes.txt", b"nothing of the kind");
        let list = |ca: &Authority, number, revoked: &[&Certificate]| {
            let revoked = revoked.iter().map(|certificate| RevokedCertificate {
                serial: certificate.serial().to_vec(),
                at: NOW,
                reason: None,
            });
            let next_update = Timestamp::from_unix(NOW.as_unix() + 100);
            let revoked = revoked.collect();
            ca.crl(&CrlTemplate { number, this_update: NOW, next_update, revoked }).unwrap()
        };
        let parse = |identity: &Identity| Certificate::parse(identity.certificate_der()).unwrap();
        write("root.crl", &list(&ca, 1, &[]));
        write("root-revoking.crl", &list(&ca, 2, &[&parse(issuing.identity())]));
        write("issuing.crl", formats::crl_to_pem(&list(&issuing, 1, &[])).as_bytes());
        let revoking = formats::crl_to_pem(&list(&issuing, 2, &[&parse(&leaf)]));
        write("revoking.crl", revoking.as_bytes());
        let both = [formats::crl_to_pem(&list(&ca, 1, &[])), formats::crl_to_pem(&list(&issuing, 1, &[]))];
        write("both.crl", both.concat().as_bytes());
        let stranger = Authority::new(&template("CA")).unwrap();
        write("stranger.crl", &list(&stranger, 9, &[]));
        write("truncated.crl", revoking.get(..200).unwrap().as_bytes());
        let mut forged = list(&ca, 3, &[]);
        forged.truncate(forged.len() - 1);
        forged.push(0x55);
        write("forged.crl", &forged);
        write("page.crl", b"<!DOCTYPE html><title>404 Not Found</title>");
        Self { directory }
    }

    /// The verdict on `chain.pem` with these lists: exit code, reason, depth.
    fn with_lists(&self, lists: &[&str], more: &[&str]) -> (u8, String, Option<u64>) {
        let lists = lists.iter().flat_map(|list| ["--crl", *list]);
        let words: Vec<_> = ["--anchor", "ca.pem"]
            .into_iter()
            .chain(lists)
            .chain(more.iter().copied())
            .chain(["chain.pem"])
            .collect();
        let (code, answer) = self.run(&words).unwrap();
        (code, answer["reason"].as_str().unwrap_or_default().to_owned(), answer["depth"].as_u64())
    }

    fn run(&self, words: &[&str]) -> Result<(u8, serde_json::Value), u8> {
        let is_file =
            |word: &str| [".pem", ".p12", ".txt", ".crl"].iter().any(|suffix| word.ends_with(suffix));
        let in_place = |word: &&str| match *word {
            file if is_file(file) => self.directory.path().join(file).into_os_string(),
            other => other.into(),
        };
        let words = words.iter().map(in_place);
        let line = Line::try_parse_from(std::iter::once("verify".into()).chain(words)).map_err(|_| 2_u8)?;
        let answer = verify(&line.args, Format::Json, NOW).map_err(|fault| fault.code())?;
        Ok((answer.code, serde_json::from_str(&answer.text).unwrap()))
    }
}

#[test]
fn a_path_is_accepted_with_its_members() {
    let scene = Scene::new();
    for leaf in [&["chain.pem"][..], &["chain.p12"], &["--intermediates", "issuing.pem", "leaf.pem"]] {
        let words = [&["--anchor", "ca.pem", "--profile", "strict"], leaf].concat();
        let (code, answer) = scene.run(&words).unwrap();
        assert_eq!((code, &answer["accepted"], &answer["reason"]), (0, &json!(true), &json!(null)));
        let subjects: Vec<_> =
            answer["path"].as_array().unwrap().iter().map(|entry| &entry["subject"]).collect();
        assert_eq!(subjects, ["CN=leaf", "CN=issuing", "CN=CA"]);
        assert_eq!(answer["path"][0]["x5t#S256"].as_str().unwrap().len(), 43);
    }
}

#[test]
fn a_refusal_says_why_and_where() {
    let scene = Scene::new();
    let (code, answer) = scene.run(&["--anchor", "ca.pem", "leaf.pem"]).unwrap();
    assert_eq!((code, &answer["reason"], &answer["depth"]), (1, &json!("untrusted"), &json!(0)));
    let at = ["--anchor", "ca.pem", "--at", "2099-01-01T00:00:00Z", "chain.pem"];
    assert_eq!(scene.run(&at).unwrap().1["reason"], "expired");
}

#[test]
fn an_expectation_is_equality_for_a_client_and_a_host_name_for_a_server() {
    let scene = Scene::new();
    let expect = |words: &[&str]| {
        let (_, answer) = scene.run(&[&["--anchor", "ca.pem", "chain.pem"], words].concat()).unwrap();
        answer["reason"].as_str().map(str::to_owned)
    };
    let mismatch = Some("subject_mismatch".to_owned());
    assert_eq!(expect(&["--expect-dns", "A.example.com"]), None);
    assert_eq!(expect(&["--expect-dns", "b.example.org"]), mismatch);
    assert_eq!(expect(&["--expect-dns", "b.example.org", "--purpose", "any"]), None);
    assert_eq!(expect(&["--expect-dns", "c.b.example.org", "--purpose", "any"]), mismatch);
    assert_eq!(expect(&["--expect-dns", "example.org", "--purpose", "any"]), mismatch);
    assert_eq!(expect(&["--expect-ip", "192.0.2.1"]), None);
    assert_eq!(expect(&["--expect-ip", "::ffff:192.0.2.1"]), mismatch);
    assert_eq!(expect(&["--expect-email", "A@EXAMPLE.com"]), None);
    assert_eq!(expect(&["--expect-email", "a@example.com"]), mismatch);
    assert_eq!(expect(&["--purpose", "server"]), Some("wrong_usage".into()));
}

#[test]
fn a_broken_file_is_refused_and_a_missing_one_is_wrong_usage() {
    let scene = Scene::new();
    let (code, answer) = scene.run(&["--anchor", "ca.pem", "broken.pem"]).unwrap();
    assert_eq!((code, &answer["reason"]), (1, &json!("malformed_certificate")));
    assert_eq!(scene.run(&["--anchor", "broken.pem", "leaf.pem"]).unwrap().0, 1);
    for wrong in [
        &["--anchor", "ca.pem", "missing.pem"][..],
        &["--anchor", "notes.txt", "leaf.pem"],
        &["--anchor", "ca.pem", "notes.txt"],
        &["leaf.pem"],
        &["--anchor", "ca.pem", "--crl", "ca.pem", "chain.pem"],
        &["--anchor", "ca.pem", "--crl", "page.crl", "chain.pem"],
        &["--anchor", "ca.pem", "--crl", "missing.crl", "chain.pem"],
        &["--anchor", "ca.pem", "--at", "yesterday", "chain.pem"],
        &["--anchor", "ca.pem", "--expect-ip", "192.0.2.300", "chain.pem"],
    ] {
        assert_eq!(scene.run(wrong).unwrap_err(), 2, "{wrong:?}");
    }
}

#[test]
fn with_lists_the_whole_path_has_to_be_known_as_good() {
    let scene = Scene::new();
    let accepted = (0, String::new(), None);
    let refused = |reason: &str, depth| (1, reason.to_owned(), depth);
    assert_eq!(scene.with_lists(&["root.crl", "issuing.crl"], &[]), accepted);
    assert_eq!(scene.with_lists(&["both.crl"], &["--profile", "strict", "--purpose", "any"]), accepted);
    assert_eq!(scene.with_lists(&["root.crl"], &[]), refused("revocation_unknown", Some(0)));
    assert_eq!(scene.with_lists(&["issuing.crl"], &[]), refused("revocation_unknown", Some(1)));
    assert_eq!(scene.with_lists(&["both.crl", "revoking.crl"], &[]), refused("revoked", Some(0)));
    assert_eq!(
        scene.with_lists(&["revoking.crl", "both.crl"], &[]),
        refused("revoked", Some(0)),
        "the newer counts"
    );
    assert_eq!(scene.with_lists(&["both.crl", "root-revoking.crl"], &[]), refused("revoked", Some(1)));
    let later = Timestamp::from_unix(NOW.as_unix() + 101).to_string();
    assert_eq!(scene.with_lists(&["both.crl"], &["--at", &later]), refused("revocation_unknown", Some(0)));
}

#[test]
fn a_list_that_is_no_good_is_as_good_as_none() {
    let scene = Scene::new();
    for list in ["truncated.crl", "forged.crl"] {
        let verdict = scene.with_lists(&["both.crl", list], &[]);
        assert_eq!(verdict, (1, "revocation_unknown".into(), None), "{list}");
    }
    // one of a namesake of the CA says nothing about the CA's
    assert_eq!(scene.with_lists(&["both.crl", "stranger.crl"], &[]), (0, String::new(), None));
    assert_eq!(
        scene.with_lists(&["issuing.crl", "stranger.crl"], &[]),
        (1, "revocation_unknown".into(), Some(1))
    );
    // a path that does not hold is refused for that
    let (_, answer) = scene.run(&["--anchor", "ca.pem", "--crl", "forged.crl", "leaf.pem"]).unwrap();
    assert_eq!(answer["reason"], "untrusted");
}

#[test]
fn more_than_a_handshake_may_bring_is_refused() {
    let scene = Scene::new();
    let issuing = fs::read(scene.directory.path().join("issuing.pem")).unwrap();
    fs::write(scene.directory.path().join("many.pem"), issuing.repeat(16)).unwrap();
    let (code, answer) =
        scene.run(&["--anchor", "ca.pem", "--intermediates", "many.pem", "leaf.pem"]).unwrap();
    assert_eq!((code, &answer["reason"]), (1, &json!("malformed_certificate")));
}
