//! Debian's nginx, `HAProxy` and Apache as processes of their own, on the configurations that `docs/proxies.md` prints.
//!
//! Each has a directory and a port of its own and the user that Debian gives it (where the test is root; else
//! the test's own), so that the permissions of the unix socket between it and certbound are those of a deployment. It is
//! in the foreground, ended when it is dropped, and ends by itself should the test be killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use certbound::pki::workshop::{LeafPurpose, Template};
use tempfile::TempDir;

use super::client::{Connection, TlsVersion};
use super::pki::{Pki, Shown};
use super::program::PATIENCE;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    Nginx,
    HaProxy,
    Apache,
}

/// Where a proxy and the socket between it and certbound are.
pub(crate) struct Place {
    program: Program,
    directory: TempDir,
    is_root: bool,
}

/// A proxy at work.
pub(crate) struct Proxy {
    child: Child,
    place: Place,
    port: u16,
    root: Vec<u8>,
}

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::Nginx, Self::HaProxy, Self::Apache];

    /// Its name, and that of its dialect.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Apache => "apache",
        }
    }

    /// The user that Debian gives it, and the group of that name.
    fn user(self) -> &'static str {
        match self {
            Self::Nginx | Self::Apache => "www-data",
            Self::HaProxy => "haproxy",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Nginx => "/usr/sbin/nginx",
            Self::HaProxy => "/usr/sbin/haproxy",
            Self::Apache => "/usr/sbin/apache2",
        }
    }

    /// Whether it is installed. It has to be, unless somebody says that it need not.
    #[expect(clippy::disallowed_methods, reason = "a test looks at the machine that it runs on")]
    pub(crate) fn is_there(self) -> bool {
        let is_there = Path::new(self.path()).is_file();
        if !is_there {
            let may_lack = std::env::var_os("CERTBOUND_WITHOUT_PROXIES").is_some_and(|value| value == "1");
            assert!(
                may_lack,
                "{} is not installed: run `scripts/packages test`, or set CERTBOUND_WITHOUT_PROXIES=1 to go without",
                self.path()
            );
            println!("skipped: {} is not installed", self.path());
        }
        is_there
    }
}

impl Place {
    /// With a directory for the socket that only this user and the proxy can enter. Its group is the proxy's, and so is
    /// that of what is made in it, as `docs/proxies.md` advises.
    pub(crate) fn new(program: Program) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let is_root = fs::metadata(directory.path()).unwrap().uid() == 0;
        let place = Self { program, directory, is_root };
        fs::create_dir(place.path("run")).unwrap();
        if is_root {
            chown(place.path("run"), None, Some(group(program.user()))).unwrap();
        }
        fs::set_permissions(place.path("run"), Permissions::from_mode(0o2750)).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/forwarded.sock")
    }

    /// Starts it on a configuration of the page, in which only places are others: `more` are those that are not the same
    /// for all.
    pub(crate) fn start(self, configuration: &str, pki: &Pki, more: &[(&str, String)]) -> Proxy {
        let template = Template {
            purpose: LeafPurpose::Server,
            dns: vec!["localhost".to_owned()],
            ip: vec![loopback().into()],
            ..pki.template("localhost")
        };
        let server = pki.server_ca.issue(&template).unwrap();
        let (certificate, key) = (server.certificate_pem(), server.key_pem());
        self.write("mtls.pem", &certificate);
        self.write("mtls.key", key.as_str());
        self.write("mtls.both.pem", &[certificate.as_str(), key.as_str()].concat());
        self.start_with(pki, |place, port| place.placed(configuration, port, more))
    }

    /// Starts it on what `configuration` makes of the port that it is given.
    pub(crate) fn start_with(self, pki: &Pki, configuration: impl Fn(&Self, u16) -> String) -> Proxy {
        let mut complaint = String::new();
        // Somebody else may take the port before the proxy has it.
        for _ in 0..3 {
            let port = free_port();
            let mut text = configuration(&self, port);
            if self.program == Program::HaProxy && !self.is_root {
                text = text.replace("    user haproxy\n    group haproxy\n", "");
            }
            match self.run(&text, port) {
                Ok(child) => {
                    let root = pki.server_ca.identity().certificate_der().to_vec();
                    return Proxy { child, place: self, port, root };
                }
                Err(said) => complaint = said,
            }
        }
        panic!("{:?} does not start:\n{complaint}", self.program);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The configuration with the places of this machine. What is replaced has to be there.
    fn placed(&self, configuration: &str, port: u16, more: &[(&str, String)]) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        let address = SocketAddr::from((loopback(), port));
        let listens = match self.program {
            Program::Nginx => ("listen 443 ssl", format!("listen {address} ssl")),
            Program::HaProxy => ("bind :443 ssl", format!("bind {address} ssl")),
            Program::Apache => ("<VirtualHost *:443>", format!("<VirtualHost {address}>")),
        };
        let mut places = vec![listens, ("/etc/certbound/tls/", at(""))];
        places.extend_from_slice(more);
        let mut text = configuration.replace("/run/certbound/", &at("run/"));
        for (from, to) in places {
            assert!(text.contains(from), "the configuration of {:?} has no {from}", self.program);
            text = text.replace(from, &to);
        }
        text
    }

    /// Runs it until it takes connections. What it said instead, if it ended.
    fn run(&self, configuration: &str, port: u16) -> Result<Child, String> {
        self.write("site", configuration);
        let at = |name: &str| self.path(name).display().to_string();
        // Should nobody end it, it does not stay for ever.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "600", self.program.path()]);
        match self.program {
            Program::Nginx => {
                self.write("nginx.conf", &self.nginx());
                command.args(["-e", "stderr", "-p", &at(""), "-c", &at("nginx.conf")]);
            }
            Program::HaProxy => {
                command.args(["-db", "-f", &at("site")]);
            }
            Program::Apache => {
                self.write("apache2.conf", &self.apache(port));
                command.args(["-DFOREGROUND", "-d", &at(""), "-f", &at("apache2.conf")]);
            }
        }
        let log = File::create(self.path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.current_dir(self.directory.path()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let listens = TcpStream::connect((loopback(), port)).is_ok();
            if child.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            if listens {
                return Ok(child);
            }
            if Instant::now() > end {
                terminate(&mut child);
                return Err(format!("it does not listen: {}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap()).into_owned()
    }

    /// What `/etc/nginx/nginx.conf` is to the file of the page.
    fn nginx(&self) -> String {
        let user = if self.is_root { "user www-data;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {};\n", self.path(what).display()))
            .concat();
        format!(
            "daemon off;\n{user}\npid {};\nworker_processes 1;\nerror_log stderr warn;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}include {};\n}}\n",
            self.path("pid").display(),
            self.path("site").display(),
        )
    }

    /// What `/etc/apache2/apache2.conf`, `ports.conf` and `mods-enabled` are to the file of the page.
    fn apache(&self, port: u16) -> String {
        const MODULES: [&str; 8] = [
            "mpm_event",
            "authz_core",
            "reqtimeout",
            "socache_shmcb",
            "ssl",
            "headers",
            "proxy",
            "proxy_http",
        ];
        let at = |name: &str| self.path(name).display().to_string();
        let modules: String = MODULES
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        format!(
            "{modules}ServerName localhost\nListen {}:{port} https\nPidFile {}\nDefaultRuntimeDir {}\n\
             Mutex pthread\nUser www-data\nGroup www-data\nErrorLog {}\nLogLevel warn\nStartServers 1\n\
             Include {}\n",
            loopback(),
            at("pid"),
            at(""),
            at("log"),
            at("site"),
        )
    }
}

impl Proxy {
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((loopback(), self.port))
    }

    /// A connection that shows this certificate.
    pub(crate) fn connect(&self, shown: Option<&Shown>) -> Connection {
        self.connect_by(shown, None)
    }

    pub(crate) fn connect_by(&self, shown: Option<&Shown>, version: Option<TlsVersion>) -> Connection {
        let config = Connection::config(&self.root, shown, version);
        let opened = Connection::open(self.address(), config);
        opened.unwrap_or_else(|error: io::Error| panic!("{error}: {}", self.place.log()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        terminate(&mut self.child);
    }
}

/// SIGTERM, which `timeout` hands on to the proxy and all its workers; SIGKILL would leave them behind.
fn terminate(child: &mut Child) {
    let id = child.id().to_string();
    let _ = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).stderr(Stdio::null()).status();
    let _ = child.wait();
}

/// A loopback address of this process alone, so that no other one, another run of the tests for instance, takes a port
/// between the moment it is found free and the moment a proxy listens there.
pub(crate) fn loopback() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 64, middle, low.max(1))
}

/// A port of that address that nobody has, and that nobody is given who asks for any: it is below those.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 8_000;
        if TcpListener::bind((loopback(), port)).is_ok() {
            return port;
        }
    }
}

/// The number of a group of this machine.
fn group(name: &str) -> u32 {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let number =
        groups.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":x:")?.split(':').next());
    number.unwrap_or_else(|| panic!("no group {name}")).parse().unwrap()
}
