//! The built program as a user has it: commands that end, and the server as a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Connection;
use super::pki::Shown;
use super::server::Setup;

/// How long a start, a refusal or an end may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a command to its end.
pub(crate) fn certbound(directory: &Path, arguments: &[&str]) -> Output {
    program(directory).args(arguments).output().unwrap()
}

/// Runs a command that must end with `code`; gives what it printed and what it complained of.
pub(crate) fn ended(code: i32, directory: &Path, arguments: &[&str]) -> (String, String) {
    let output = certbound(directory, arguments);
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {printed}{complaint}");
    (printed, complaint)
}

/// Runs a command that must end with `code`; gives what it printed.
pub(crate) fn printed(code: i32, directory: &Path, arguments: &[&str]) -> String {
    ended(code, directory, arguments).0
}

/// The same for a command that prints JSON.
pub(crate) fn json(code: i32, directory: &Path, arguments: &[&str]) -> Value {
    let printed = printed(code, directory, &[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}"))
}

/// Runs a command that must fail with `code` and print nothing; gives what it complained of.
pub(crate) fn complaint(code: i32, directory: &Path, arguments: &[&str]) -> String {
    let (printed, complaint) = ended(code, directory, arguments);
    assert_eq!(printed, "", "{arguments:?}");
    complaint
}

/// The program, to be run in this directory.
pub(crate) fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certbound"));
    command.current_dir(directory);
    command
}

/// `certbound serve` at work on the `certbound.yaml` of a directory. Killed when it is dropped.
pub(crate) struct Serving {
    child: Child,
    addresses: Vec<(String, SocketAddr)>,
    /// What it logs, line by line, until its end.
    log: Receiver<String>,
}

/// A server that did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) complaint: String,
    pub(crate) after: Duration,
}

impl Serving {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::try_start(directory).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Returns when it says that it listens, or when it has ended.
    pub(crate) fn try_start(directory: &Path) -> Result<Self, Refused> {
        let mut command = program(directory);
        Self::run(command.arg("serve"), directory)
    }

    /// The same by another way to `certbound serve`, through a shell for instance.
    pub(crate) fn run(command: &mut Command, directory: &Path) -> Result<Self, Refused> {
        let began = Instant::now();
        let listeners =
            fs::read_to_string(directory.join("certbound.yaml")).unwrap().matches("kind: ").count();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut serving = Self { log: follow(&mut child), child, addresses: Vec::new() };
        let mut complaint = String::new();
        while serving.addresses.len() < listeners {
            match serving.log.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => match listening(&line) {
                    Some(address) => serving.addresses.push(address),
                    None => complaint.push_str(&line),
                },
                Err(RecvTimeoutError::Timeout) => panic!("neither serves nor ends: {complaint}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let code = serving.child.wait().unwrap().code();
                    return Err(Refused { code, complaint, after: began.elapsed() });
                }
            }
        }
        Ok(serving)
    }

    /// Where it takes tokens to and certificates from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of("mtls")
    }

    pub(crate) fn address_of(&self, kind: &str) -> SocketAddr {
        self.addresses.iter().find(|(of, _)| of == kind).unwrap().1
    }

    /// The next lines of the log that are about requests.
    pub(crate) fn requests(&self, count: usize) -> Vec<Value> {
        let next = || self.log.recv_timeout(PATIENCE).unwrap();
        let lines = std::iter::repeat_with(|| serde_json::from_str::<Value>(&next()).unwrap());
        lines.filter(|line| line["message"] == "request").take(count).collect()
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// A connection that shows this certificate of the set-up.
    pub(crate) fn connect(&self, setup: &Setup, shown: &Shown) -> Connection {
        let root = setup.pki.server_ca.identity().certificate_der();
        Connection::open(self.address(), Connection::config(root, Some(shown), None)).unwrap()
    }

    /// SIGKILL: nothing more happens in the process. Gives the moment at which it was sent.
    pub(crate) fn kill(mut self) -> Instant {
        self.child.kill().unwrap();
        let sent = Instant::now();
        self.child.wait().unwrap();
        sent
    }

    /// SIGSTOP: returns when every thread stands still, none of them inside the kernel.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.id());
        let end = Instant::now() + PATIENCE;
        let stands = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        while !fs::read_dir(&tasks).unwrap().all(|task| stands(task.unwrap())) {
            assert!(Instant::now() < end, "it does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGTERM, as an operator ends it.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGCONT, after [`Serving::freeze`].
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// A signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is not everywhere.
        let kill = ["-c", "kill -\"$0\" \"$1\"", name, &self.id()];
        assert!(Command::new("sh").args(kill).status().unwrap().success());
    }

    /// Waits for its end; gives the exit code.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as an operator would, and expects a good end.
    pub(crate) fn stop(mut self) {
        self.terminate();
        assert_eq!(self.ends(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log to its end, so that the server never waits for a reader. What is no UTF-8 would be a fault.
fn follow(child: &mut Child) -> Receiver<String> {
    let (send, receive) = channel();
    let log = child.stderr.take().unwrap();
    std::thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = String::new();
        while log.by_ref().read_line(&mut line).is_ok_and(|read| read > 0) {
            // Nobody may be listening any more; the pipe is emptied all the same.
            let _ = send.send(std::mem::take(&mut line));
        }
    });
    receive
}

/// Kind and address of a line that says `listening`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line.get(name)?.as_str();
    if text("message")? != "listening" {
        return None;
    }
    Some((text("kind")?.to_owned(), text("address")?.parse().ok()?))
}
