//! The commands as a user has them: the built program, its exit codes, and what it prints for people and programs.
//! Here the set-up, the configuration and the program as a whole; the rest by what a command is about.

mod certificates;
mod clients;
mod decisions;
mod plans;
mod refusals;
mod state;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use certbound::pki::files;
use serde_json::{Value, json as value};

use crate::support::program::{Serving, complaint, ended, json, printed, program};
use crate::support::{Connection, Shown};

/// What `init` makes, in a directory with a blank in its name.
struct Setup {
    temporary: tempfile::TempDir,
    /// What `init` printed.
    printed: Value,
}

impl Setup {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let printed = json(0, temporary.path(), &["init", "my as", "--port", &free_port().to_string()]);
        let setup = Self { temporary, printed };
        // Tests run side by side, so the probes cannot all have the one port of the contract.
        setup.edit("certbound.yaml", "127.0.0.1:9090", "127.0.0.1:0");
        setup
    }

    fn path(&self) -> PathBuf {
        self.temporary.path().join("my as")
    }

    fn serve(&self) -> Serving {
        Serving::start(&self.path())
    }

    fn edit(&self, file: &str, what: &str, instead: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(what), "{text}");
        fs::write(path, text.replace(what, instead)).unwrap();
    }

    /// Gives `edge-7` another line in the place of its certificates.
    fn register_edge(&self, certificates: &str) {
        let document = format!(
            "client_id: edge-7\ntoken_endpoint_auth_method: self_signed_tls_client_auth\n{certificates}\n\
             scope: telemetry:write\n"
        );
        fs::write(self.path().join("clients.d/edge-7.yaml"), document).unwrap();
    }

    fn issuer(&self) -> &str {
        self.printed["issuer"].as_str().unwrap()
    }

    /// A token of the client `billing`, by the command that is there for it.
    fn token(&self) -> String {
        let who = ["--client-id", "billing", "--cert", "pki/billing.pem", "--key", "pki/billing.key"];
        let server = ["token", "--url", self.issuer(), "--ca", "pki/ca.pem"];
        let answer = json(0, &self.path(), &[&server[..], &who].concat());
        answer["answer"]["body"]["access_token"].as_str().unwrap().to_owned()
    }

    /// What the resource server hears of a token.
    fn is_active(&self, serving: &Serving, token: &str) -> bool {
        let read = |name: &str| files::read(&fs::read(self.path().join(name)).unwrap(), None).unwrap();
        let ca = read("pki/ca.pem").certificates.remove(0);
        let key = read("pki/api.key").key.unwrap().to_vec();
        let gateway = Shown { chain: read("pki/api.pem").certificates, key };
        let mut connection =
            Connection::open(serving.address(), Connection::config(&ca, Some(&gateway), None)).unwrap();
        let answer =
            connection.post("/introspect", &[("client_id", "api-gateway"), ("token", token)]).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["active"].as_bool().unwrap()
    }
}

/// A port that nobody has, below those that the system gives to outgoing connections.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Each test of this process another one, and another process somewhere else.
        let further = std::process::id() * 97 + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(further % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Every file and directory below `directory`.
fn tree(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        }
        found.insert(name);
    }
    found
}

/// Copies the files of a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_demo_goes_as_it_should_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let demo = |arguments: &[&str]| {
        let mut command = program(directory.path());
        command.arg("demo").args(arguments).env("TMPDIR", directory.path()).output().unwrap()
    };
    let output = demo(&["--format", "json"]);
    let transcript: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{transcript:#}");
    let steps = transcript["steps"].as_array().unwrap();
    assert!(steps.len() == 7 && steps.iter().all(|step| step["ok"] == true));
    assert_eq!(steps[2]["answer"]["body"]["error"], "invalid_client");
    assert_eq!(steps[2]["explanation"]["reason"], "subject_mismatch");
    assert_eq!(tree(directory.path()), BTreeSet::new(), "the demo left something behind");

    let output = demo(&["--keep", "kept"]);
    assert_eq!(output.status.code(), Some(0));
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(words.contains("invalid_client") && words.contains("All 7 steps"), "{words}");
    printed(0, &directory.path().join("kept"), &["check"]);
    assert_eq!(demo(&["--keep", "kept"]).status.code(), Some(1), "what is there is not overwritten");
}

#[test]
fn init_makes_the_set_up_of_the_contract_and_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let made = json(0, directory.path(), &["init", "as"]);
    assert_eq!(made["issuer"], "https://localhost:8443");
    let expected = [
        "certbound.yaml",
        "clients.d",
        "clients.d/api-gateway.yaml",
        "clients.d/billing.yaml",
        "clients.d/edge-7.pem",
        "clients.d/edge-7.yaml",
        "keys",
        "pki",
        "pki/api.key",
        "pki/api.pem",
        "pki/billing.key",
        "pki/billing.pem",
        "pki/ca.key",
        "pki/ca.pem",
        "pki/edge-7.key",
        "pki/server.key",
        "pki/server.pem",
    ];
    let place = directory.path().join("as");
    assert_eq!(tree(&place), expected.map(str::to_owned).into());
    for key in ["ca", "server", "billing", "api", "edge-7"] {
        assert_eq!(mode(&place.join(format!("pki/{key}.key"))), 0o600, "{key}");
    }
    assert_eq!(mode(&place.join("keys")), 0o700);
    let text = fs::read_to_string(place.join("certbound.yaml")).unwrap();
    assert!(text.contains("bind: 127.0.0.1:8443") && text.contains("bind: 127.0.0.1:9090"), "{text}");
    assert_eq!(json(0, &place, &["check"]), value!({ "ok": true, "problems": [] }));

    for name in ["certbound.yaml", "pki", "clients.d/edge-7.yaml"] {
        let _ = fs::remove_file(place.join(name));
    }
    let before = tree(&place);
    let said = complaint(1, directory.path(), &["init", "as"]);
    assert!(said.contains("as/pki/ca.key") && said.contains("as/clients.d/billing.yaml"), "{said}");
    assert!(
        !said.contains("certbound.yaml") && !said.contains("edge-7.yaml"),
        "names what is not there: {said}"
    );
    assert_eq!(tree(&place), before, "something was written");
}

#[test]
fn a_host_given_to_init_is_in_the_issuer_and_in_the_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = json(0, directory.path(), &["init", "as", "--host", "as.example.com", "--port", "443"]);
    assert_eq!(made["issuer"], "https://as.example.com");
    let shown = json(0, directory.path(), &["cert", "show", "as/pki/server.pem"]);
    assert_eq!(shown["san"]["dns"], value!(["localhost", "as.example.com"]));
    let text = fs::read_to_string(directory.path().join("as/certbound.yaml")).unwrap();
    assert!(text.contains("bind: 0.0.0.0:443"), "{text}");
    complaint(2, directory.path(), &["init", "other", "--host", "as.example.com/x"]);
    complaint(2, directory.path(), &["init", "other", "--port", "0"]);
}

#[test]
fn what_init_prints_works_as_pasted() {
    let setup = Setup::new();
    let _serving = setup.serve();
    let line = |name: &str| setup.printed["commands"][name].as_str().unwrap().to_owned();
    let (token, introspection, revocation) = (line("token"), line("introspection"), line("revocation"));
    let script = format!("{token}\n{introspection}\n{revocation}\necho\n{introspection}\n");
    let output = Command::new("sh").arg("-c").arg(script).current_dir("/").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = printed.lines().filter(|line| !line.is_empty()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(answers.len() == 3, "{printed}{errors}");
    assert!(answers[0].contains("\"access_token\""), "{printed}{errors}");
    assert!(answers[1].contains("\"active\":true"), "{printed}{errors}");
    assert_eq!(answers[2], "{\"active\":false}", "{errors}");
}

#[test]
fn check_tells_every_problem_at_once_with_its_place_and_serve_tells_the_same() {
    let setup = Setup::new();
    let directory = setup.path();
    setup.edit("certbound.yaml", "trust_anchors:", "surprise: 1\ntrust_anchors:");
    setup.edit("certbound.yaml", "kind: admin ", "kind: admn ");
    setup.edit("clients.d/billing.yaml", "trust_anchors: corp", "trust_anchors: crop");
    fs::write(directory.join("clients.d/x.yaml"), "client_id: x\n").unwrap();
    let checked = json(1, &directory, &["check"]);
    assert_eq!(checked["ok"], false);
    let problems = checked["problems"].as_array().unwrap();
    let place = |problem: &Value| {
        let names: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["column", "file", "instead", "line", "severity", "what"]);
        assert!(
            problem["severity"] == "error" && !problem["instead"].as_str().unwrap().is_empty(),
            "{problem}"
        );
        format!("{}:{}:{}", problem["file"].as_str().unwrap(), problem["line"], problem["column"])
    };
    let places: Vec<_> = problems.iter().map(place).collect();
    let expected =
        ["certbound.yaml:6:11", "certbound.yaml:8:1", "clients.d/billing.yaml:6:16", "clients.d/x.yaml:1:1"];
    assert_eq!(places, expected, "{checked:#}");

    let words = printed(1, &directory, &["check"]);
    assert!(expected.iter().all(|place| words.contains(place)), "{words}");
    let refusal = complaint(1, &directory, &["serve"]);
    assert_eq!(refusal.strip_prefix("certbound: ").unwrap(), words);
    for command in [&["keys", "list"][..], &["store", "check"], &["revoke", "--client", "billing"]] {
        let said = complaint(1, &directory, command);
        assert!(said.contains("certbound.yaml:8:1"), "{command:?}: {said}");
    }
}

#[test]
fn warnings_alone_are_no_refusal() {
    let setup = Setup::new();
    let directory = setup.path();
    fs::set_permissions(directory.join("keys"), fs::Permissions::from_mode(0o755)).unwrap();
    let checked = json(0, &directory, &["check"]);
    assert_eq!((&checked["ok"], &checked["problems"][0]["severity"]), (&value!(true), &value!("warning")));
    assert!(printed(0, &directory, &["check"]).contains("warning"), "{checked:#}");
    setup.serve().stop();
}

#[test]
fn what_is_not_supported_yet_is_named_and_never_ignored() {
    let setup = Setup::new();
    let directory = setup.path();
    for (file, what, instead) in [
        ("certbound.yaml", "kind: admin ", "kind: admin\n    admins: [] #"),
        ("certbound.yaml", "issuer:", "audit: { file: a.jsonl }\nissuer:"),
    ] {
        setup.edit(file, what, instead);
        let said = printed(1, &directory, &["check"]);
        assert!(said.contains("not supported by this version"), "{instead}: {said}");
        setup.edit(file, instead, what);
    }
    let said = complaint(2, &directory, &["check", "--production"]);
    assert!(said.contains("--production is not supported by this version"), "{said}");
}

#[test]
fn a_port_that_is_taken_ends_serve_with_one_and_its_name() {
    let setup = Setup::new();
    let port = setup.issuer().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = complaint(1, &setup.path(), &["serve"]);
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(!setup.path().join("data").exists(), "the store was touched");
}

#[test]
fn a_file_that_is_not_there_is_two_and_a_problem_in_it_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let commands =
        [&["check"][..], &["serve"], &["keys", "list"], &["store", "check"], &["revoke", "--client", "a"]];
    for command in commands {
        let said = complaint(2, directory.path(), command);
        assert!(said.contains("certbound.yaml") && said.contains("-c FILE"), "{command:?}: {said}");
        let named = [command, &["-c", "elsewhere.yaml"]].concat();
        assert!(complaint(2, directory.path(), &named).contains("elsewhere.yaml"));
    }
    fs::write(directory.path().join("certbound.yaml"), "issuer: [\n").unwrap();
    for command in commands {
        ended(1, directory.path(), command);
    }
}

#[test]
fn every_help_text_shows_an_example() {
    let directory = tempfile::tempdir().unwrap();
    let all: [&[&str]; 25] = [
        &[],
        &["demo"],
        &["init"],
        &["serve"],
        &["check"],
        &["explain"],
        &["cert"],
        &["cert", "show"],
        &["cert", "verify"],
        &["cert", "new-ca"],
        &["cert", "issue"],
        &["cert", "self-signed"],
        &["keys"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["keys", "revoke"],
        &["keys", "import"],
        &["revoke"],
        &["store"],
        &["store", "check"],
        &["store", "export"],
        &["store", "import"],
        &["store", "init"],
        &["token"],
        &["completions"],
    ];
    for command in all {
        let help = printed(0, directory.path(), &[command, &["--help"]].concat());
        let (_, example) = help.split_once("Example").unwrap_or_else(|| panic!("{command:?}: {help}"));
        assert!(example.contains("certbound "), "{command:?}: {help}");
    }
    assert!(printed(0, directory.path(), &["--version"]).starts_with("certbound "));
    for wrong in [&[][..], &["plan-nothing"], &["store", "init"], &["revoke"], &["check", "--nothing"]] {
        assert!(complaint(2, directory.path(), wrong).contains("Usage"), "{wrong:?}");
    }
}

#[test]
fn the_completions_of_bash_complete_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let script = printed(0, directory.path(), &["completions", "bash"]);
    let ask = format!(
        "{script}\nCOMP_WORDS=(certbound expl); COMP_CWORD=1; _certbound certbound expl certbound; echo ${{COMPREPLY[@]}}"
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "explain", "{output:?}");
    complaint(2, directory.path(), &["completions", "sushi"]);
}

#[test]
fn a_reader_who_leaves_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program(directory.path())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program(directory.path()).args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a full disk is told");
}
