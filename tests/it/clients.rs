//! What the pages tell users to type, typed: the example clients in their own languages, the lines of `README.md`,
//! and the certificates of `docs/clients.md`, against the binary over loopback.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect has failed"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const CERTBOUND: &str = env!("CARGO_BIN_EXE_certbound");
const README: &str = include_str!("../../README.md");
const PAGE: &str = include_str!("../../docs/clients.md");

/// The password of the PKCS#12 file that the Java client reads.
const PASSWORD: &str = "changeit";

/// The example programs of `docs/clients.md`.
const PROGRAMS: [Program; 5] = [
    Program { language: "sh", file: "curl.sh", needs: "curl", runner: &["sh"] },
    Program { language: "python", file: "python.py", needs: "python3", runner: &["python3"] },
    Program { language: "js", file: "node.mjs", needs: "node", runner: &["node"] },
    Program { language: "go", file: "go/main.go", needs: "go", runner: &["go", "run"] },
    Program { language: "java", file: "Java.java", needs: "javac", runner: &["java"] },
];

struct Program {
    /// What the block on the page says it is.
    language: &'static str,
    /// Below `conformance/clients`.
    file: &'static str,
    /// Has to be installed.
    needs: &'static str,
    /// What stands before the file.
    runner: &'static [&'static str],
}

#[test]
fn the_page_quotes_every_program_word_for_word() {
    for program in &PROGRAMS {
        let text = fs::read_to_string(program.path()).unwrap();
        let block = format!("```{}\n{text}```\n", program.language);
        assert!(PAGE.contains(&block), "docs/clients.md does not have {} as it is", program.file);
        assert!(text.lines().count() <= 60, "{} is too long for an example", program.file);
    }
}

#[test]
fn curl_gets_a_token_and_hears_a_refusal() {
    gets_a_token_and_hears_a_refusal(&PROGRAMS[0]);
}

#[test]
fn python_gets_a_token_and_hears_a_refusal() {
    gets_a_token_and_hears_a_refusal(&PROGRAMS[1]);
}

#[test]
fn node_gets_a_token_and_hears_a_refusal() {
    gets_a_token_and_hears_a_refusal(&PROGRAMS[2]);
}

#[test]
fn go_gets_a_token_and_hears_a_refusal() {
    gets_a_token_and_hears_a_refusal(&PROGRAMS[3]);
}

#[test]
fn java_gets_a_token_and_hears_a_refusal() {
    gets_a_token_and_hears_a_refusal(&PROGRAMS[4]);
}

fn gets_a_token_and_hears_a_refusal(program: &Program) {
    if !is_there(program.needs) {
        return;
    }
    let server = Server::start(&|_| {});
    for (client, who) in [("billing", "billing"), ("edge-7", "edge-7")] {
        let output = program.ask(&server, client, who);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(bound_to(&answer), thumbprint(&server.certificate(who)), "{client}");
    }
    let output = program.ask(&server, "billing", "api");
    assert!(!output.status.success(), "{output:?}");
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("invalid_client"), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_lines_of_the_readme_work_as_pasted() {
    if !is_there("curl") {
        return;
    }
    let server = Server::start(&|_| {});
    // Everything from the token on, in one shell, as somebody would paste it; the port is the only change.
    let lines: Vec<_> = blocks(README, "sh").into_iter().filter(|block| block.contains("curl ")).collect();
    let [token, introspection, with_another, revocation, documents, refused] = &lines[..] else {
        panic!("the README has {} blocks with curl", lines.len());
    };
    let mut script = String::from("set -e\n");
    for block in [token, introspection, with_another, revocation, introspection, documents, refused] {
        let lines = block.replace("8443", &server.port.to_string());
        writeln!(script, "echo; echo '--'\n{lines}").unwrap();
    }
    let output = Command::new("sh").arg("-c").arg(script).current_dir(&server.directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8_lossy(&output.stdout);
    let parts: Vec<_> = shown.split("--\n").map(str::trim).collect();
    assert!(String::from_utf8_lossy(&output.stderr).contains(r#""token_type":"Bearer""#), "{output:?}");
    assert!(parts[2].contains(r#""active":true"#) && parts[2].contains("x5t#S256"), "{}", parts[2]);
    assert_eq!(parts[3], r#"{"active":false}"#, "with the certificate of another");
    assert_eq!(parts[4], "", "a revocation has no body");
    assert_eq!(parts[5], r#"{"active":false}"#, "after the revocation");
    assert!(parts[6].contains("mtls_endpoint_aliases") && parts[6].contains(r#""kty":"EC""#), "{}", parts[6]);
    assert!(parts[7].contains("Client authentication failed (ref "), "{}", parts[7]);

    // And the way to find out why: the log line with the same reference, and `explain`.
    let reference = parts[7].split("(ref ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let explained = server.run(&["explain", "--client", "billing", "--cert", "pki/api.pem"]);
    assert_eq!(explained.status.code(), Some(1), "{explained:?}");
    assert!(String::from_utf8_lossy(&explained.stdout).contains("billing.svc.example.com"), "{explained:?}");
    let log = server.stop();
    let line = log.iter().find(|line| line["ref"] == reference).expect("the reference is in the log");
    assert_eq!(
        (&line["reason"], &line["claimed_client_id"]),
        (&"subject_mismatch".into(), &"billing".into())
    );
    assert_eq!((&line["status"], &line["path"]), (&400.into(), &"/token".into()));
}

#[test]
fn the_key_set_is_served_under_its_media_type() {
    if !is_there("curl") {
        return;
    }
    let server = Server::start(&|_| {});
    let mut command = Command::new("curl");
    command.args(["-sS", "--cacert", "pki/ca.pem", "-o", "/dev/null", "-w", "%{content_type}"]);
    let output = command.arg(server.url("/jwks")).current_dir(&server.directory).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "application/jwk-set+json");
}

#[test]
fn certificates_made_as_the_page_says_get_a_token() {
    if !is_there("openssl") {
        return;
    }
    let certificates: Vec<_> =
        blocks(PAGE, "sh").into_iter().filter(|block| block.contains("openssl ")).collect();
    let documents = blocks(PAGE, "yaml");
    assert_eq!((certificates.len(), documents.len()), (2, 2), "one of each for each method");
    let server = Server::start(&|directory| {
        for block in &certificates {
            let made = Command::new("sh").arg("-ec").arg(block).current_dir(directory).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        fs::copy(directory.join("edge-8.pem"), directory.join("clients.d/edge-8.pem")).unwrap();
        fs::write(directory.join("clients.d/page.yaml"), documents.join("---\n")).unwrap();
        let configuration = directory.join("certbound.yaml");
        let text = fs::read_to_string(&configuration).unwrap();
        let text = text.replace("trust_anchors:\n", "trust_anchors:\n  reports-ca: { file: ca.pem }\n");
        fs::write(configuration, text).unwrap();
    });
    for client in ["edge-8", "reports"] {
        let (certificate, key) = (format!("{client}.pem"), format!("{client}.key"));
        let output = server.token(client, &certificate, &key);
        assert!(output.status.success(), "{output:?}");
    }
}

/// The table of key types: what `openssl genpkey` is told, and whether the key works.
const KEYS: [(&str, &[&str], bool); 9] = [
    ("p256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], true),
    ("p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
    ("p521", &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"], true),
    ("ed25519", &["ED25519"], true),
    ("rsa2048", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], true),
    ("secp256k1", &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], false),
    ("brainpool", &["EC", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], false),
    ("ed448", &["ED448"], false),
    ("rsapss", &["RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], false),
];

#[test]
fn the_keys_that_work_are_those_of_the_page() {
    if !is_there("openssl") || !is_there("curl") {
        return;
    }
    let server = Server::start(&|directory| {
        for (name, kind, works) in KEYS {
            let (key, certificate) = (format!("{name}.key"), format!("clients.d/{name}.pem"));
            let mut made = Command::new("openssl");
            made.args(["genpkey", "-out", &key, "-algorithm"]).args(kind);
            assert!(made.current_dir(directory).output().unwrap().status.success(), "{name}");
            let mut signed = Command::new("openssl");
            signed.args(["req", "-x509", "-key", &key, "-days", "2", "-subj"]).arg(format!("/CN={name}"));
            let output = signed.args(["-out", &certificate]).current_dir(directory).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            // A certificate that could not be used is refused where it is registered; its thumbprint says nothing of its key.
            let registered = if works {
                format!("certificates: [{name}.pem]")
            } else {
                let pem = fs::read(directory.join(&certificate)).unwrap();
                let digest = X509::from_pem(&pem).unwrap().digest(MessageDigest::sha256()).unwrap();
                let hex: Vec<_> = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                format!("x5t#S256: [{}]", hex.concat())
            };
            let document = format!(
                "client_id: {name}\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n{registered}\n"
            );
            fs::write(directory.join(format!("clients.d/{name}.yaml")), document).unwrap();
        }
    });
    for (name, _, works) in KEYS {
        let output = server.curl(name, &format!("clients.d/{name}.pem"), &format!("{name}.key"));
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.contains("access_token"), works, "{name}: {output:?}");
        assert_eq!(answer.contains("invalid_client"), !works, "{name}: {output:?}");
    }
}

/// What plain `openssl x509 -req` makes: version 1.
const VERSION_1: &str = "\
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=Example/CN=old \
    -keyout pki/old.key -out old.csr
openssl x509 -req -in old.csr -CA pki/ca.pem -CAkey pki/ca.key -CAcreateserial -days 2 -out pki/old.pem
";

#[test]
fn a_version_1_certificate_gets_a_token_and_cannot_be_used_by_a_webpki_client() {
    if !is_there("openssl") {
        return;
    }
    let server = Server::start(&|directory| {
        let made = Command::new("sh").arg("-ec").arg(VERSION_1).current_dir(directory).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let document = "client_id: old\ntoken_endpoint_auth_method: tls_client_auth\n\
                        tls_client_auth_subject_dn: CN=old,O=Example\ntrust_anchors: corp\n";
        fs::write(directory.join("clients.d/old.yaml"), document).unwrap();
    });
    for program in PROGRAMS.iter().filter(|program| is_there(program.needs)) {
        let output = program.ask(&server, "old", "old");
        assert!(output.status.success(), "{}: {output:?}", program.file);
    }
    let output = server.token("old", "pki/old.pem", "pki/old.key");
    assert!(output.status.success(), "our own client can: {output:?}");

    let certificate = X509::from_pem(&fs::read(server.certificate("old")).unwrap()).unwrap();
    assert_eq!(certificate.version(), 0, "version 1 is written as 0");
    let key = PKey::private_key_from_pem(&fs::read(server.key("old")).unwrap()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8().unwrap());
    let chain = vec![rustls::pki_types::CertificateDer::from(certificate.to_der().unwrap())];
    let refused =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_client_auth_cert(chain, key.into());
    assert!(refused.unwrap_err().to_string().contains("UnsupportedCertVersion"));
}

impl Program {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/clients").join(self.file)
    }

    /// Runs it for `client` with the certificate of `who`.
    fn ask(&self, server: &Server, client: &str, who: &str) -> Output {
        let (certificate, key) = (server.certificate(who), server.key(who));
        let mut command = Command::new(self.runner[0]);
        command.args(&self.runner[1..]).arg(self.path()).arg(server.url("/token")).arg(client);
        if self.language == "java" {
            let bundle = server.directory.join(format!("{who}.p12"));
            fs::write(&bundle, pkcs12(&certificate, &key)).unwrap();
            command.env("P12_PASSWORD", PASSWORD).arg(bundle);
        } else {
            command.args([&certificate, &key]);
        }
        command.arg(server.directory.join("pki/ca.pem")).output().unwrap()
    }
}

/// A set-up of `certbound init` and the server that runs on it, ended when it is dropped.
struct Server {
    directory: PathBuf,
    port: u16,
    child: Child,
    log: Option<thread::JoinHandle<Vec<Value>>>,
    _holder: TempDir,
}

impl Server {
    fn start(prepare: &dyn Fn(&Path)) -> Self {
        let holder = tempfile::tempdir().unwrap();
        let directory = holder.path().join("as");
        let made = Command::new(CERTBOUND).arg("init").arg(&directory).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let configuration = directory.join("certbound.yaml");
        let text = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, text.replace("127.0.0.1:8443", "127.0.0.1:0").replace(":9090", ":0"))
            .unwrap();
        prepare(&directory);
        let mut child = Command::new(CERTBOUND)
            .args(["-c", configuration.to_str().unwrap(), "serve"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let port = port_of(&mut log).unwrap_or_else(|said| {
            let _ = child.kill();
            panic!("the server did not start:\n{said}")
        });
        // Read on, so that the server never waits for a reader.
        let log = thread::spawn(move || {
            log.lines().filter_map(|line| serde_json::from_str(&line.ok()?).ok()).collect()
        });
        Self { directory, port, child, log: Some(log), _holder: holder }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    fn certificate(&self, who: &str) -> PathBuf {
        let directory = if who == "edge-7" { "clients.d" } else { "pki" };
        self.directory.join(directory).join(format!("{who}.pem"))
    }

    fn key(&self, who: &str) -> PathBuf {
        self.directory.join("pki").join(format!("{who}.key"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(CERTBOUND).args(arguments).current_dir(&self.directory).output().unwrap()
    }

    /// `certbound token`.
    fn token(&self, client: &str, certificate: &str, key: &str) -> Output {
        let url = self.url("/token");
        let files = ["--cert", certificate, "--key", key, "--ca", "pki/ca.pem"];
        self.run(&[&["token", "--url", &url, "--client-id", client], &files[..]].concat())
    }

    fn curl(&self, client: &str, certificate: &str, key: &str) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert", "pki/ca.pem", "--cert", certificate, "--key", key]);
        command.args(["-d", "grant_type=client_credentials", "-d", &format!("client_id={client}")]);
        command.arg(self.url("/token")).current_dir(&self.directory).output().unwrap()
    }

    /// Ends the server and gives what it has written since it listened.
    fn stop(mut self) -> Vec<Value> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "SIGTERM is a clean end");
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the `listening` line of the mtls listener. What was said instead, if it never comes.
fn port_of(log: &mut BufReader<ChildStderr>) -> Result<u16, String> {
    let mut said = String::new();
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["message"] == "listening" && event["kind"] == "mtls" {
            let (_, port) = event["address"].as_str().unwrap().rsplit_once(':').unwrap();
            return Ok(port.parse().unwrap());
        }
        said.push_str(&std::mem::take(&mut line));
    }
    let _ = log.read_to_string(&mut said);
    Err(said)
}

/// Whether a program is installed. Where everything has to be (`CI` is set) it must be.
#[expect(clippy::disallowed_methods, reason = "a test looks at the machine that it runs on")]
pub(crate) fn is_there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed (scripts/packages test)");
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// The fenced blocks of one language, in order.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once(&format!("\n```{language}\n")) {
        let (block, next) = after.split_once("\n```\n").unwrap_or((after, ""));
        blocks.push(format!("{block}\n"));
        rest = next;
    }
    blocks
}

fn bound_to(answer: &Value) -> String {
    let payload = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["cnf"]["x5t#S256"].as_str().unwrap().to_owned()
}

fn thumbprint(certificate: &Path) -> String {
    let certificate = X509::from_pem(&fs::read(certificate).unwrap()).unwrap();
    URL_SAFE_NO_PAD.encode(Sha256::digest(certificate.to_der().unwrap()))
}

fn pkcs12(certificate: &Path, key: &Path) -> Vec<u8> {
    let certificate = X509::from_pem(&fs::read(certificate).unwrap()).unwrap();
    let key = PKey::private_key_from_pem(&fs::read(key).unwrap()).unwrap();
    let mut builder = Pkcs12::builder();
    builder.name("client").cert(&certificate).pkey(&key);
    builder.build2(PASSWORD).unwrap().to_der().unwrap()
}
