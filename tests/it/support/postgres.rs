//! Debian's PostgreSQL as a process of its own: one server for all tests of this process, each of which gets a database of
//! its own, and servers that a test may kill, freeze and restart.
//!
//! It listens on a unix socket in its own directory, and on a loopback port where a test asks for TLS. `PostgreSQL` refuses
//! to be root. It runs below a shell that waits for the end of the test process, however that comes, and then ends the
//! server and removes the directory.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::program::PATIENCE;

/// A server at work. Ended, and its directory removed, when it is dropped or the process ends.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    databases: AtomicU32,
    keeper: Mutex<Option<Keeper>>,
}

/// The user that Debian gives it.
const USER: &str = "postgres";

/// Runs it until nobody holds the standard input of this shell any more, which is at the end of the test process at the
/// latest, however that comes. Unless it is told to keep it, the directory goes too.
const KEEPER: &str = r#"
trap "" INT TERM HUP
"$@" </dev/null >>"$0/log" 2>&1 &
pid=$!
read -r word
kill -CONT $pid $(cat /proc/$pid/task/*/children) 2>/dev/null
kill -QUIT $pid 2>/dev/null
wait $pid
[ "$word" = keep ] || rm -rf "$0"
"#;

/// The shell that runs it.
struct Keeper {
    shell: Child,
    life: ChildStdin,
}

impl Postgres {
    /// The one that all tests share. Nobody stops it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::own)
    }

    /// One that a test may do with as it likes.
    pub(crate) fn own() -> Self {
        Self::with("", &[])
    }

    /// The same with more lines of `postgresql.conf`, and files in its directory, which is `{directory}` in those lines.
    pub(crate) fn with(settings: &str, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("pg-").tempdir().unwrap().keep();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
            fs::set_permissions(directory.join(name), Permissions::from_mode(0o600)).unwrap();
        }
        if is_root() {
            let (user, group) = (id("-u"), id("-g"));
            for path in files.iter().map(|file| directory.join(file.0)).chain([directory.clone()]) {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, port, databases: AtomicU32::new(0), keeper: Mutex::default() };
        let data = server.data();
        let made = as_its_user(&program("initdb"))
            .current_dir("/")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", USER, "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut file = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        let directory = server.directory.display();
        writeln!(
            file,
            "listen_addresses = ''\nport = {port}\nunix_socket_directories = '{directory}'\nfsync = off\n\
             full_page_writes = off\nmax_connections = 300\nshared_buffers = 32MB\nlog_min_messages = log\n\
             dynamic_shared_memory_type = mmap\n{}",
            settings.replace("{directory}", &directory.to_string())
        )
        .unwrap();
        // Passwords are asked for over the network only, and there with TLS only.
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        server.start();
        server
    }

    /// Makes a database and gives its URL.
    pub(crate) fn fresh(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The port on 127.0.0.1, where its settings say that it listens there.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, over the unix socket.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@/{database}?host={}&port={}", self.directory.display(), self.port)
    }

    /// The database of a URL that was [made here](Self::fresh).
    pub(crate) fn database(url: &str) -> &str {
        url.split(['/', '?']).nth(3).unwrap()
    }

    /// Runs statements as the superuser; gives what they print, without headers.
    pub(crate) fn sql(&self, database: &str, statements: &str) -> String {
        let output = Command::new(program("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                USER,
                "-d",
                database,
                "-c",
                statements,
            ])
            .arg("-h")
            .arg(&self.directory)
            .args(["-p", &self.port.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Starts it, after [`Postgres::kill`] or [`Postgres::end`]. Returns when it takes connections.
    pub(crate) fn start(&self) {
        let log = self.directory.join("log");
        let server = as_its_user(&program("postgres"));
        let mut shell = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&self.directory)
            .arg(server.get_program())
            .args(server.get_args())
            .arg("-D")
            .arg(self.data())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let life = shell.stdin.take().unwrap();
        *self.keeper.lock().unwrap() = Some(Keeper { shell, life });
        let began = Instant::now();
        while !self.answers() {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "it does not start: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL to the server and all of its processes.
    pub(crate) fn kill(&self) {
        let all = self.processes();
        self.signal("-KILL", &all);
        self.is_gone(&all);
    }

    /// Ends it as an operator would who is in a hurry.
    pub(crate) fn end(&self) {
        let all = self.processes();
        self.signal("-INT", &all[..1]);
        self.is_gone(&all);
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub(crate) fn stop(&self) {
        self.signal("-STOP", &self.processes());
    }

    /// SIGCONT.
    pub(crate) fn cont(&self) {
        self.signal("-CONT", &self.processes());
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn answers(&self) -> bool {
        Command::new(program("pg_isready"))
            .args(["-q", "-p", &self.port.to_string(), "-h"])
            .arg(&self.directory)
            .status()
            .is_ok_and(|status| status.success())
    }

    /// The first is the one that started the others.
    fn processes(&self) -> Vec<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let first = file.lines().next().unwrap();
        let mut all = vec![first.to_owned()];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            // What ends meanwhile is no process of ours any more.
            let Ok(state) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let parent = state.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            if parent == Some(first) {
                all.push(entry.file_name().into_string().unwrap());
            }
        }
        all
    }

    fn signal(&self, signal: &str, processes: &[String]) {
        let mut line = format!("kill {signal}");
        for process in processes {
            write!(line, " {process}").unwrap();
        }
        // One that has ended by itself is no fault.
        Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status().unwrap();
        assert!(self.directory.exists());
    }

    /// Returns when none of the processes runs any more.
    fn is_gone(&self, processes: &[String]) {
        let runs = |process: &String| {
            let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            state.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
        };
        let began = Instant::now();
        while processes.iter().any(runs) {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let Keeper { mut shell, mut life } = self.keeper.lock().unwrap().take().unwrap();
        life.write_all(b"keep\n").unwrap();
        shell.wait().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.keeper.get_mut().unwrap().take() {
            Some(Keeper { mut shell, life }) => {
                drop(life);
                let _ = shell.wait();
            }
            None => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}

fn program(name: &str) -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.retain(|bin| bin.join("initdb").is_file());
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed: run `scripts/packages test`").join(name)
}

fn as_its_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn id(of: &str) -> u32 {
    let output = Command::new("id").args([of, USER]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
