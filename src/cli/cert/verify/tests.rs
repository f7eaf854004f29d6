//! The exit codes and the answers, file by file.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::pki::workshop::{Authority, Template};

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
        Self { directory }
    }

    fn run(&self, words: &[&str]) -> Result<(u8, serde_json::Value), u8> {
        let is_file = |word: &str| [".pem", ".p12", ".txt"].iter().any(|suffix| word.ends_with(suffix));
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
        &["--anchor", "ca.pem", "--at", "yesterday", "chain.pem"],
        &["--anchor", "ca.pem", "--expect-ip", "192.0.2.300", "chain.pem"],
    ] {
        assert_eq!(scene.run(wrong).unwrap_err(), 2, "{wrong:?}");
    }
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
