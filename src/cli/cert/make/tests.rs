//! What is written where, and what is not.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::pki::{AnchorSet, Chain, Profile, trust::Purpose};

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

#[derive(Parser)]
struct Issue {
    #[command(flatten)]
    args: IssueArgs,
}

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    args: SelfSignedArgs,
}

/// A directory with a CA in `ca`.
fn scene() -> TempDir {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("ca");
    let args = NewCaArgs { out, cn: "CA".into(), days: 10, key: KeyArg::P256 };
    new_ca(&args, Format::Text, NOW).unwrap();
    directory
}

fn run_issue(directory: &TempDir, words: &[&str]) -> Result<Answer, Fault> {
    let at = |name: &str| directory.path().join(name).into_os_string();
    let mut line: Vec<OsString> = vec!["issue".into(), "--ca".into(), at("ca"), "--out".into(), at("leaf")];
    for word in words {
        line.push(if word.starts_with("./") { at(word) } else { word.into() });
    }
    issue(&Issue::try_parse_from(line).unwrap().args, Format::Json, NOW)
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_issued_certificate_passes_in_the_strict_profile_until_its_ca_ends() {
    let directory = scene();
    let words = ["--cn", "billing", "--san-dns", "a.example.com", "--san-ip", "::1", "--pfx"];
    run_issue(&directory, &words).unwrap();
    assert_eq!(names(&directory), ["ca", "leaf.key", "leaf.pem", "leaf.pfx"]);
    let certificate = |name: &str| {
        let bytes = fs::read(directory.path().join(name)).unwrap();
        crate::pki::files::one_certificate(&bytes).unwrap()
    };
    let (ca, leaf) = (certificate("ca/ca.pem"), certificate("leaf.pem"));
    assert_eq!(leaf.not_after(), ca.not_after(), "a year, but the CA has ten days");
    let chain = Chain::parse(&[leaf.der().to_vec()], 1).unwrap();
    let set = AnchorSet::new(vec![ca], Vec::new(), Profile::Strict).ok().unwrap();
    assert!(set.verify_path(&chain, Purpose::Client, NOW).is_ok());
    for key in ["ca/ca.key", "leaf.key", "leaf.pfx"] {
        let mode = fs::metadata(directory.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn what_exists_is_never_overwritten() {
    let directory = scene();
    let key = directory.path().join("leaf.key");
    fs::write(&key, "mine").unwrap();
    let fault = run_issue(&directory, &["--cn", "a"]).unwrap_err();
    assert_eq!(fault.code(), 1);
    assert!(fault.to_string().contains("leaf.key"), "{fault}");
    assert_eq!(names(&directory), ["ca", "leaf.key"], "all or nothing");
    assert_eq!(fs::read(&key).unwrap(), b"mine");
    let again = NewCaArgs { out: directory.path().join("ca"), cn: "CA".into(), days: 1, key: KeyArg::P256 };
    assert_eq!(new_ca(&again, Format::Text, NOW).unwrap_err().code(), 1);
}

#[test]
fn a_certificate_without_any_name_is_wrong_usage() {
    assert_eq!(run_issue(&scene(), &[]).unwrap_err().code(), 2);
}

#[test]
fn a_self_signed_certificate_has_the_purpose_and_the_key_that_were_asked_for() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("edge-7.v2");
    let words = ["self-signed", "--cn", "edge-7", "--key", "ed25519", "--purpose", "server", "--out"];
    let line = words.iter().map(OsString::from).chain([out.into_os_string()]);
    self_signed(&Alone::try_parse_from(line).unwrap().args, Format::Text, NOW).unwrap();
    assert_eq!(names(&directory), ["edge-7.v2.key", "edge-7.v2.pem"]);
    let bytes = fs::read(directory.path().join("edge-7.v2.pem")).unwrap();
    let made = crate::pki::files::one_certificate(&bytes).unwrap();
    assert_eq!((made.key_description().as_str(), made.allows_client_auth()), ("Ed25519", false));
}

#[test]
fn a_request_is_signed_without_making_a_key() {
    let directory = scene();
    let key = openssl_request(&directory);
    run_issue(&directory, &["--csr", "./leaf.csr"]).unwrap();
    assert_eq!(names(&directory), ["ca", "leaf.csr", "leaf.pem"]);
    let bytes = fs::read(directory.path().join("leaf.pem")).unwrap();
    let made = crate::pki::files::one_certificate(&bytes).unwrap();
    assert_eq!(made.subject().to_string(), "CN=requested");
    assert!(crate::pki::files::key_matches(made.der(), &key));
    fs::remove_file(directory.path().join("leaf.pem")).unwrap();
    assert_eq!(run_issue(&directory, &["--csr", "./ca/ca.pem"]).unwrap_err().code(), 1);
}

/// Writes `leaf.csr` and gives the key behind it.
fn openssl_request(directory: &TempDir) -> Vec<u8> {
    use openssl::x509::{X509Name, X509Req};
    let key = openssl::pkey::PKey::generate_ed25519().unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", "requested").unwrap();
    let mut builder = X509Req::builder().unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::null()).unwrap();
    fs::write(directory.path().join("leaf.csr"), builder.build().to_pem().unwrap()).unwrap();
    key.private_key_to_pkcs8().unwrap()
}
