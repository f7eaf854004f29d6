//! The files of the operator: what they should say, and the same on disk.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use certbound::config::Config;
use tempfile::TempDir;

use super::cast::{BEGIN, Ca, DAY, HOUR, List, Who, at, card, cast};
use super::schedule::Change;

pub(super) const ISSUER: &str = "https://as.example.com";
/// The audience of `gateway`, and that of `auditor`.
pub(super) const FIRST: &str = "https://api.example.com";
pub(super) const SECOND: &str = "https://audit.example.com";

/// What a document says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Registration {
    pub(super) enabled: bool,
    /// Of a PKI client 0 or 1, which of its two DNS names; of another a bit for each of its certificates.
    pub(super) rule: u8,
    pub(super) lifetime: i64,
    /// Whether the second audience is its first.
    pub(super) second: bool,
}

/// A file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum File<T> {
    Absent,
    Good(T),
    Broken,
}

impl<T: Copy> File<T> {
    pub(super) fn good(self) -> Option<T> {
        match self {
            Self::Good(content) => Some(content),
            Self::Absent | Self::Broken => None,
        }
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) documents: BTreeMap<Who, File<Registration>>,
    /// A bit for each CA.
    pub(super) corp: File<u8>,
    pub(super) partner: File<u8>,
    pub(super) list: File<List>,
    /// The number of the newest list that was ever written.
    newest: u64,
}

pub(super) fn usual(who: Who) -> Registration {
    let rule = match who {
        Who::Meter => 0b0111,
        Who::Gateway | Who::Auditor => 1,
        Who::Billing | Who::Edge => 0,
    };
    let lifetime = if who == Who::Edge { DAY } else { 300 };
    Registration { enabled: true, rule, lifetime, second: false }
}

impl Files {
    pub(super) fn new() -> Self {
        let list = List { number: 1, revoked: 0, next_update: at(3000 * DAY) };
        Self {
            documents: Who::ALL.into_iter().map(|who| (who, File::Good(usual(who)))).collect(),
            corp: File::Good(0b01),
            partner: File::Good(0b01),
            list: File::Good(list),
            newest: 1,
        }
    }

    /// Whether a server starts on them.
    pub(super) fn are_whole(&self) -> bool {
        self.documents.values().all(|file| *file != File::Broken)
            && [self.corp, self.partner].iter().all(|file| file.good().is_some())
            && self.list.good().is_some()
    }

    /// Whether a reload would find nothing wrong.
    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::Enable(who) => self.put(who, Registration { enabled: true, ..self.written(who) }),
            Change::Disable(who) => self.put(who, Registration { enabled: false, ..self.written(who) }),
            Change::Remove(who) => drop(self.documents.insert(who, File::Absent)),
            Change::Register(who, number) => self.put(who, registration(who, number)),
            Change::Break(who) => drop(self.documents.insert(who, File::Broken)),
            Change::Anchors { corp: true, mask } => self.corp = File::Good(mask),
            Change::Anchors { corp: false, mask } => self.partner = File::Good(mask),
            Change::BreakAnchors { corp: true } => self.corp = File::Broken,
            Change::BreakAnchors { corp: false } => self.partner = File::Broken,
            Change::List { revoked, short } => {
                self.newest += 1;
                let next_update = if short { at(6 * HOUR) } else { at(3000 * DAY) };
                self.list = File::Good(List { number: self.newest, revoked, next_update });
            }
            Change::BreakList => self.list = File::Broken,
            Change::RemoveList => self.list = File::Absent,
        }
    }

    /// Puts something good in the place of what keeps a server from starting.
    pub(super) fn mend(&mut self) {
        for (who, file) in &mut self.documents {
            if *file == File::Broken {
                *file = File::Good(usual(*who));
            }
        }
        for file in [&mut self.corp, &mut self.partner] {
            *file = file.good().map_or(File::Good(0b01), File::Good);
        }
        if self.list.good().is_none() {
            self.change(Change::List { revoked: 0, short: false });
        }
    }

    /// What the document said when it said something.
    fn written(&self, who: Who) -> Registration {
        self.documents.get(&who).and_then(|file| file.good()).unwrap_or_else(|| usual(who))
    }

    fn put(&mut self, who: Who, registration: Registration) {
        self.documents.insert(who, File::Good(registration));
    }
}

fn registration(who: Who, number: u64) -> Registration {
    let small = |number: u64| u8::try_from(number).unwrap();
    let rule = match who {
        Who::Billing | Who::Edge => small(number % 4 / 3),
        Who::Meter => small(1 + number % 15),
        Who::Gateway | Who::Auditor => usual(who).rule,
    };
    let lifetime = [60, 300, 3600, DAY][usize::from(small(number / 16 % 4))];
    Registration { enabled: true, rule, lifetime, second: (number / 64).is_multiple_of(4) }
}

/// A directory of an operator, used for one schedule after the other.
pub(super) struct Directory {
    directory: TempDir,
    pub(super) config: Config,
}

impl Directory {
    /// In memory where there is such a place: a schedule writes often. The listener is never bound; one without TLS has no
    /// key that each start would read.
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("clients.d")).unwrap();
        let text = format!(
            "issuer: {ISSUER}\n\
             listeners: [{{ kind: forwarded, bind: 'unix:proxy.sock', dialect: rfc9440 }}]\n\
             trust_anchors:\n\
             \x20 corp: {{ file: corp.pem, crl: [{{ file: corp.crl }}] }}\n\
             \x20 partner: {{ file: partner.pem }}\n\
             signing: {{ directory: keys, algorithm: EdDSA, rotate_every: 1h }}\n\
             store: {{ sled: {{ path: store/data }} }}\n"
        );
        fs::write(path("certbound.yaml"), text).unwrap();
        fs::create_dir(path("store")).unwrap();
        let (config, problems) = Config::load(&path("certbound.yaml"));
        let config = config.unwrap_or_else(|| panic!("{problems:#?}"));
        Self { directory, config }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As it was before there was a server, but for the first signing key: to make one takes long.
    pub(super) fn clear(&self) {
        for name in ["keys", "store"] {
            let path = self.path(name);
            if path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
        }
        fs::create_dir(self.path("store")).unwrap();
        DirBuilder::new().mode(0o700).create(self.path("keys")).unwrap();
        let key = self.path("keys").join(format!("{}-EdDSA.pem", BEGIN.compact()));
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(key)
            .unwrap()
            .write_all(&cast().signing_key)
            .unwrap();
    }

    /// Writes what changed.
    pub(super) fn write(&self, files: &Files, before: Option<&Files>) {
        for (who, file) in &files.documents {
            if before.is_none_or(|before| before.documents.get(who) != Some(file)) {
                let name = format!("clients.d/{}.yaml", who.id());
                self.put(&name, *file, |registration| document(*who, registration));
            }
        }
        let cas = |mask: u8, cas: [Ca; 2]| {
            let named = cas.into_iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
            cast().anchors(&named.map(|(_, ca)| ca).collect::<Vec<_>>())
        };
        if before.is_none_or(|before| before.corp != files.corp) {
            self.put("corp.pem", files.corp, |mask| cas(mask, [Ca::Corp, Ca::CorpNext]));
        }
        if before.is_none_or(|before| before.partner != files.partner) {
            self.put("partner.pem", files.partner, |mask| cas(mask, [Ca::Partner, Ca::PartnerNext]));
        }
        if before.is_none_or(|before| before.list != files.list) {
            self.put("corp.crl", files.list, |list| cast().lists(list));
        }
    }

    fn put<T>(&self, name: &str, file: File<T>, text: impl FnOnce(T) -> String) {
        let path = self.path(name);
        match file {
            File::Good(content) => fs::write(path, text(content)).unwrap(),
            File::Broken => fs::write(path, "client_id: [\n-----BEGIN\n").unwrap(),
            File::Absent if path.exists() => fs::remove_file(path).unwrap(),
            File::Absent => {}
        }
    }
}

fn document(who: Who, registration: Registration) -> String {
    let Registration { enabled, rule, lifetime, second } = registration;
    let (id, own) = (who.id(), who.cards());
    let by_name = |set: &str| {
        let dns = dns_of(who, rule);
        format!(
            "token_endpoint_auth_method: tls_client_auth\ntls_client_auth_san_dns: {dns}\ntrust_anchors: {set}\n"
        )
    };
    let credential = match who {
        Who::Billing => by_name("corp"),
        Who::Edge => by_name("partner"),
        Who::Meter | Who::Gateway | Who::Auditor => {
            let pins = own.clone().filter(|index| rule & (1 << (index - own.start)) != 0);
            let pins: Vec<_> = pins.map(|index| card(index).thumbprint.as_str()).collect();
            format!(
                "token_endpoint_auth_method: self_signed_tls_client_auth\nx5t#S256: [{}]\n",
                pins.join(", ")
            )
        }
    };
    let use_of = match who {
        Who::Gateway => format!("grant_types: []\nintrospection: {{ resources: [{FIRST}] }}\n"),
        Who::Auditor => format!("grant_types: []\nintrospection: {{ resources: [{SECOND}] }}\n"),
        Who::Billing | Who::Edge | Who::Meter => {
            let resources = if second { [SECOND, FIRST] } else { [FIRST, SECOND] }.join(", ");
            format!("scope: read write\nresources: [{resources}]\naccess_token_lifetime: {lifetime}s\n")
        }
    };
    format!("client_id: {id}\n{credential}{use_of}enabled: {enabled}\n")
}

/// The DNS name by which a PKI client is registered.
pub(super) fn dns_of(who: Who, rule: u8) -> &'static str {
    match (who, rule) {
        (Who::Billing, 0) => "billing.example.com",
        (Who::Billing, _) => "billing-2.example.com",
        (_, 0) => "edge.example.com",
        (_, _) => "edge-2.example.com",
    }
}
