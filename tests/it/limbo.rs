//! The public x509-limbo cases of path validation (RFC 5280 §6.1), put to `certbound cert verify` as anybody would put
//! them: the built program, files, and its exit code.
//!
//! The data is not part of the project. It is looked for in `../shared/limbo`, or where `LIMBO_DATA` says; where it
//! does not lie, a test says so and passes. What may differ stands in `conformance/limbo-allow*.txt` with its reason,
//! and both ways count: a difference that is not listed, and a listed one that is none any more.

mod second_opinion;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::support::program::{PATIENCE, program};

/// The two files of the data: leaves for servers and leaves for clients.
const FILES: [&str; 2] = ["limbo.json", "limbo_clientauth.json"];

/// How many of a hundred the strict profile has to agree on, whatever is listed.
const BAR: usize = 95;

/// The most processor time for one case. What others do on the machine does not count.
const MOST_WORK: Duration = Duration::from_millis(100);

/// One certificate path and what is right about it.
#[derive(Deserialize)]
struct Case {
    id: String,
    features: Vec<String>,
    validation_kind: Kind,
    trusted_certs: Vec<String>,
    untrusted_intermediates: Vec<String>,
    peer_certificate: String,
    /// Now, if there is none.
    validation_time: Option<String>,
    expected_result: Expected,
    expected_peer_name: Option<PeerName>,
    #[serde(default)]
    expected_peer_names: Vec<PeerName>,
    #[serde(default)]
    crls: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Expected {
    Success,
    Failure,
}

#[derive(Deserialize)]
struct PeerName {
    kind: String,
    value: String,
}

#[test]
fn the_strict_profile_differs_from_limbo_only_where_a_list_says_why() {
    let Some(data) = data() else { return };
    let listed = Listed::read("limbo-allow.txt");
    let mut problems = Vec::new();
    for tally in judge_all(&data, "strict", &listed, &mut problems) {
        if tally.agreed * 100 < tally.cases * BAR {
            problems.push(format!("{tally}: less than {BAR} of a hundred"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_compatible_profile_accepts_beyond_the_strict_one_only_what_is_listed() {
    let Some(data) = data() else { return };
    let (strict, compatible) = (Listed::read("limbo-allow.txt"), Listed::read("limbo-allow-compatible.txt"));
    let mut problems = Vec::new();
    judge_all(&data, "compatible", &compatible, &mut problems);
    // Less strict is all that it may be: what it gets wrong alone it accepts, and for the want of a rule of §4.
    for case in FILES.iter().flat_map(|file| pkix_cases(&data, file)) {
        let own = compatible.reason(&case.id).filter(|_| strict.reason(&case.id).is_none());
        if let Some(reason) = own
            && (case.expected_result == Expected::Success || !reason.starts_with("4."))
        {
            problems.push(format!("{}: listed for another reason than a rule of RFC 5280 §4", case.id));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Where the data lies; says so if it does not.
fn data() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the place of the data, which is not part of the project")]
    let named = std::env::var_os("LIMBO_DATA").map(PathBuf::from);
    let is_named = named.is_some();
    let data = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/limbo"));
    let is_there = FILES.iter().all(|file| data.join(file).is_file());
    assert!(is_there || !is_named, "LIMBO_DATA: {} has no {FILES:?}", data.display());
    if !is_there {
        println!("not run: the x509-limbo cases are not in {}; LIMBO_DATA=DIR says where", data.display());
    }
    is_there.then_some(data)
}

fn cases(data: &Path, file: &str) -> Vec<Case> {
    #[derive(Deserialize)]
    struct Cases {
        testcases: Vec<Case>,
    }
    let text = fs::read_to_string(data.join(file)).unwrap();
    serde_json::from_str::<Cases>(&text).unwrap().testcases
}

/// The cases that are about RFC 5280 and nothing else: not about the rules of browsers (`webpki`, `online`), and not
/// about policies, which nothing here asks for, or what the authors of the data call pedantic themselves.
fn pkix_cases(data: &Path, file: &str) -> Vec<Case> {
    const BEYOND: [&str; 4] = [
        "rfc5280-incompatible-with-webpki",
        "has-policy-constraints",
        "has-cert-policies",
        "max-chain-depth",
    ];
    let is_beyond = |feature: &String| feature.starts_with("pedantic-") || BEYOND.contains(&feature.as_str());
    let mut cases = cases(data, file);
    cases.retain(|case| {
        let of_browsers = case.id.starts_with("webpki::") || case.id.starts_with("online::");
        !of_browsers && !case.features.iter().any(is_beyond)
    });
    assert!(!cases.is_empty(), "{file} has no cases");
    cases
}

/// The differences that have a reason: an id and its reason a line, `#` before a remark.
struct Listed {
    file: &'static str,
    reasons: BTreeMap<String, String>,
}

impl Listed {
    fn read(file: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let entries = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut reasons = BTreeMap::new();
        for entry in entries {
            let (id, reason) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
            assert!(!reason.trim().is_empty(), "{file}: {id} has no reason");
            let twice = reasons.insert(id.to_owned(), reason.trim().to_owned());
            assert!(twice.is_none(), "{file}: {id} is listed twice");
        }
        Self { file, reasons }
    }

    fn reason(&self, id: &str) -> Option<&str> {
        self.reasons.get(id).map(String::as_str)
    }

    /// What is wrong with this list if a case differs, or not.
    fn problem(&self, id: &str, differs: bool) -> Option<String> {
        match (self.reason(id), differs) {
            (Some(_), false) => Some(format!("{id} differs no more: take it off {}", self.file)),
            (None, true) => Some(format!("{id} differs and is not on {}", self.file)),
            _ => None,
        }
    }
}

/// How a file went.
struct Tally {
    file: &'static str,
    profile: &'static str,
    cases: usize,
    agreed: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, profile, cases, agreed } = self;
        write!(f, "{file}, {profile}: {agreed} of {cases} agree")
    }
}

/// Puts the cases of both files to the program, prints the figures, and collects what is wrong.
fn judge_all(data: &Path, profile: &'static str, listed: &Listed, problems: &mut Vec<String>) -> Vec<Tally> {
    let mut known = BTreeSet::new();
    let mut tallies = Vec::new();
    for file in FILES {
        let cases = pkix_cases(data, file);
        let mut tally = Tally { file, profile, cases: cases.len(), agreed: 0 };
        for case in cases {
            let verdict = case.put_to_the_program(profile);
            let differs = verdict.answer != Some(case.expected_result);
            tally.agreed += usize::from(!differs);
            let wrong = listed.problem(&case.id, differs).or_else(|| verdict.fault());
            problems.extend(wrong.map(|wrong| {
                format!("{file}, {profile}: {wrong}\n    {:?}: {}", verdict.ended, verdict.printed.trim())
            }));
            known.insert(case.id);
        }
        println!("{tally}");
        tallies.push(tally);
    }
    let unknown = listed.reasons.keys().filter(|id| !known.contains(*id));
    problems.extend(unknown.map(|id| format!("{id} is on {}, and there is no such case", listed.file)));
    tallies
}

/// How a run of the program ended.
struct Verdict {
    /// By its exit code: 0 or 1.
    answer: Option<Expected>,
    ended: Ended,
    /// Of its processor.
    work: Duration,
    printed: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ended {
    /// With this code; none: by a signal.
    With(Option<i32>),
    NotInTime,
}

impl Verdict {
    /// What no list excuses: a crash, a hang, too much work. (Code 2, no answer, differs from every expected result.)
    fn fault(&self) -> Option<String> {
        match self.ended {
            Ended::NotInTime => Some("it does not end".to_owned()),
            Ended::With(Some(0..=2)) if self.work > MOST_WORK => {
                Some(format!("it took {} ms of the processor", self.work.as_millis()))
            }
            Ended::With(Some(0..=2)) => None,
            Ended::With(_) => Some("it crashed".to_owned()),
        }
    }
}

impl Case {
    /// Twice if the first run was slow: it may have waited for memory.
    fn put_to_the_program(&self, profile: &str) -> Verdict {
        let directory = tempfile::tempdir().unwrap();
        let run = || run(&mut self.command(directory.path(), profile), directory.path());
        let first = run();
        if first.work > MOST_WORK { run() } else { first }
    }

    fn command(&self, directory: &Path, profile: &str) -> Command {
        let mut command = program(directory);
        let purpose = match self.validation_kind {
            Kind::Client => "client",
            Kind::Server => "server",
        };
        command.args(["cert", "verify", "--profile", profile, "--purpose", purpose]);
        for (option, file, certificates) in [
            ("--anchor", "anchors.pem", &self.trusted_certs),
            ("--intermediates", "intermediates.pem", &self.untrusted_intermediates),
            ("--crl", "crls.pem", &self.crls),
        ] {
            if !certificates.is_empty() {
                fs::write(directory.join(file), certificates.join("\n")).unwrap();
                command.args([option, file]);
            }
        }
        if let Some(time) = &self.validation_time {
            command.args(["--at", &whole_seconds(time)]);
        }
        for (kind, option) in [("DNS", "--expect-dns"), ("IP", "--expect-ip"), ("RFC822", "--expect-email")] {
            let mut names = self.expected_peer_name.iter().chain(&self.expected_peer_names);
            if let Some(name) = names.find(|name| name.kind == kind) {
                command.args([option, &name.value]);
            }
        }
        fs::write(directory.join("leaf.pem"), &self.peer_certificate).unwrap();
        command.arg("leaf.pem");
        command
    }

    /// When it is judged, in seconds since 1970.
    fn judged_at(&self) -> Option<i64> {
        self.validation_time.as_deref().map(|time| parsed(time).unix_timestamp())
    }
}

/// Certificates are about seconds, and so is `--at`.
fn whole_seconds(time: &str) -> String {
    let time = parsed(time).replace_nanosecond(0).unwrap();
    time.format(&time::format_description::well_known::Rfc3339).unwrap()
}

fn parsed(time: &str) -> time::OffsetDateTime {
    let parsed = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
    parsed.unwrap_or_else(|error| panic!("{time}: {error}")).to_offset(time::UtcOffset::UTC)
}

/// Runs a command to its end, if it has one, and reads from the system how much it worked before its entry goes.
fn run(command: &mut Command, directory: &Path) -> Verdict {
    let printed = directory.join("printed");
    let output = File::create(&printed).unwrap();
    command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    let work = loop {
        let (has_ended, work) = state_and_work(child.id());
        if has_ended {
            break Some(work);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let code = child.wait().unwrap().code();
    Verdict {
        answer: match (work, code) {
            (Some(_), Some(0)) => Some(Expected::Success),
            (Some(_), Some(1)) => Some(Expected::Failure),
            _ => None,
        },
        ended: if work.is_some() { Ended::With(code) } else { Ended::NotInTime },
        work: work.unwrap_or_default(),
        printed: String::from_utf8_lossy(&fs::read(printed).unwrap()).into_owned(),
    }
}

/// Whether a child has ended and waits to be asked about it, and its processor time, from `/proc/PID/stat` (proc(5)).
fn state_and_work(id: u32) -> (bool, Duration) {
    /// Of a second; fixed on the platforms that are supported.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name of the program comes second, in parentheses, and may have anything in it.
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u32>().unwrap();
    (fields[0] == "Z", TICK * (ticks(11) + ticks(12)))
}

#[test]
fn a_list_is_right_in_both_directions() {
    let reasons = BTreeMap::from([("listed".to_owned(), "because".to_owned())]);
    let list = Listed { file: "list", reasons };
    assert_eq!(list.problem("listed", true), None);
    assert_eq!(list.problem("other", false), None);
    assert!(list.problem("listed", false).unwrap().contains("take it off list"));
    assert!(list.problem("other", true).unwrap().contains("is not on list"));
}

#[test]
fn a_child_that_crashes_or_hangs_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let run = |script: &str| run(Command::new("sh").args(["-c", script]), directory.path());
    for (code, answer) in [(0, Some(Expected::Success)), (1, Some(Expected::Failure)), (2, None), (101, None)]
    {
        let verdict = run(&format!("echo words; exit {code}"));
        assert_eq!((verdict.answer, verdict.ended), (answer, Ended::With(Some(code))));
        assert_eq!((verdict.fault().is_some(), verdict.printed.as_str()), (code > 2, "words\n"));
    }
    let killed = run("kill -KILL $$");
    assert_eq!((killed.answer, killed.ended), (None, Ended::With(None)));
    assert!(killed.fault().is_some());
    let busy = run("i=0; while [ $i -lt 400000 ]; do i=$((i + 1)); done");
    assert!(busy.work > Duration::ZERO && busy.answer == Some(Expected::Success));
}
