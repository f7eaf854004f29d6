//! `store`: the embedded one or a database, exactly one of them. URL and CA of a database are read when it is opened or
//! checked, and no problem shows what the URL is: there is a password in it.

use std::path::{Path, PathBuf};

use super::section::{self, Map};
use super::{Config, FileRef, SecretRef};
use crate::database;
use crate::document::{At, Problem, Problems};

/// `store`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreSettings {
    /// The embedded store of one node.
    Sled {
        /// Its directory.
        path: PathBuf,
    },
    /// The store that several nodes share.
    Postgres(PostgresSource),
}

/// `store.postgres`.
#[derive(Clone, Debug)]
pub struct PostgresSource {
    /// Where the connection URL is.
    pub url: SecretRef,
    /// The CAs that may vouch for the database; none: those of `outgoing.ca`, else the system's roots.
    pub ca: Option<FileRef>,
    /// The most connections.
    pub pool: usize,
    /// Where the map stands.
    pub at: At,
}

/// Without the places.
impl PartialEq for PostgresSource {
    fn eq(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.url.clone(), one.ca.as_ref().map(|ca| ca.path.clone()), one.pool);
        of(self) == of(other)
    }
}

impl Eq for PostgresSource {}

/// The store, and where its path is named.
pub(super) fn store(top: &mut Map<'_>) -> (StoreSettings, At) {
    top.section("store", &section::STORE, |store| {
        let database = store.take("postgres");
        if let Some(node) = &database
            && store.has("sled")
        {
            let instead = "remove `sled`, or `postgres`";
            store.problems.error(&node.at, "there is one store: `sled` or `postgres`", instead);
        }
        let embedded = store.section("sled", &section::SLED, |sled| {
            let file = sled.optional_file("path");
            let at = file.as_ref().map_or_else(|| sled.at.clone(), |file| file.at.clone());
            let path = file.map_or_else(|| sled.path("path", "data"), |file| file.path);
            (StoreSettings::Sled { path }, at)
        });
        let source = database.and_then(|node| {
            store.inner(&node, &section::POSTGRES, postgres).map(|source| (source, node.at.clone()))
        });
        source.map_or(embedded, |(source, at)| (StoreSettings::Postgres(source), at))
    })
}

fn postgres(postgres: &mut Map<'_>) -> Option<PostgresSource> {
    let at = postgres.at.clone();
    let url = postgres.require("url", "{env: DATABASE_URL}");
    let url = url.and_then(|node| SecretRef::from_node(postgres, "url", &node));
    let ca = postgres.optional_file("ca");
    let pool = usize::try_from(postgres.count("pool", 1..=1000, 8)).unwrap_or(usize::MAX);
    Some(PostgresSource { url: url?, ca, pool, at })
}

impl PostgresSource {
    /// With the URL read, and both tried as far as that goes without a connection.
    pub fn settings(&self, outgoing_ca: Option<&FileRef>) -> Result<database::Settings, Problems> {
        let wrong = |what: String, instead: &str| {
            let mut problems = Problems::default();
            problems.error(&self.at, what, instead);
            problems
        };
        let url = self.url.read().map_err(|error| {
            wrong(error, "put `postgres://USER:PASSWORD@HOST/DATABASE` there, readable by the server")
        })?;
        let ca = self.ca.as_ref().or(outgoing_ca).map(|file| file.path.clone());
        let settings = database::Settings { url, ca, pool: self.pool };
        let check = settings.check();
        check.map_err(|error| wrong(format!("{}: {error}", self.url), "mend the URL, or the CA"))?;
        Ok(settings)
    }
}

impl StoreSettings {
    /// Where the socket of the commands and what was fetched lie, where nothing else is said: beside the embedded store, and
    /// with a database, which has no directory, among the signing keys.
    pub(super) fn beside(&self, name: &str, signing: &Path) -> PathBuf {
        match self {
            Self::Sled { path } => path.with_file_name(name),
            Self::Postgres(_) => signing.join(name),
        }
    }
}

impl Config {
    /// What is wrong with the way to the database, if the store is one.
    pub fn database_problems(&self) -> Vec<Problem> {
        match &self.store {
            StoreSettings::Sled { .. } => Vec::new(),
            StoreSettings::Postgres(source) => {
                source.settings(self.outgoing.ca.as_ref()).err().map_or_else(Vec::new, |problems| problems.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{good, read};
    use super::*;

    const LEAST: &str = "issuer: https://as.example.com
listeners:
  - {kind: mtls, bind: '127.0.0.1:8443', tls: {certificate: s.pem, key: s.key}}
";

    fn with(store: &str) -> String {
        format!("{LEAST}signing: {{directory: /var/lib/keys}}\nstore: {store}\n")
    }

    #[test]
    fn a_database_is_named_by_a_reference_and_the_rest_has_defaults() {
        let config = good(&with("{postgres: {url: {env: DATABASE_URL}}}"));
        let StoreSettings::Postgres(source) = &config.store else { panic!("{:?}", config.store) };
        assert_eq!(source.url, SecretRef::Env("DATABASE_URL".to_owned()));
        assert!(source.ca.is_none() && source.pool == 8);
        assert_eq!(config.control, Path::new("/var/lib/keys/control.sock"));
        assert_eq!(config.fetched_directory(), Path::new("/var/lib/keys/fetched"));
        let other = good(&with("{postgres: {url: {file: u}, ca: ca.pem, pool: 4}}"));
        assert_ne!(config.store, other.store);
        assert_eq!(config.restart_needed(&other), ["store"]);
    }

    #[test]
    fn what_is_no_store_is_told() {
        for (store, what) in [
            ("{sled: {path: d}, postgres: {url: {env: U}}}", "there is one store"),
            ("{postgres: {}}", "url"),
            ("{postgres: {url: 'postgres://u:hunter2@h/d'}}", "not written into the configuration"),
            ("{postgres: {url: {env: U}, pool: 0}}", "pool"),
            ("{postgres: {url: {env: U}, tls: off}}", "tls"),
        ] {
            let (_, problems) = read(&with(store));
            assert!(problems.iter().any(|problem| problem.what.contains(what)), "{store}: {problems:#?}");
            assert!(!format!("{problems:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_url_that_leads_nowhere_is_a_problem_that_does_not_show_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        for url in [
            "",
            "http://u:hunter2@db.example.com/d",
            "postgres://u:sec ret/hunter2@/",
            "postgres://u:hunter2@db.example.com/d?sslmode=prefer",
            "postgres://u:hunter2@db.example.com/d?sslmode=disable",
            "postgres://u:hunter2@db.example.com/d?hunter2=1",
            "host=db.example.com password=hunter2 sslmode=allow",
            "postgres://u:hunter2@/d",
        ] {
            std::fs::write(&file, url).unwrap();
            let text = with(&format!("{{postgres: {{url: {{file: '{}'}}}}}}", file.display()));
            let problems = good(&text).database_problems();
            let shown = format!("{problems:?}");
            assert!(!problems.is_empty() && !shown.contains("hunter2"), "{url}: {shown}");
        }
        for url in [
            "postgres://u:hunter2@db.example.com/d",
            "postgres://u:hunter2@db.example.com/d?sslmode=verify-full",
            "postgres://u@127.0.0.1/d?sslmode=disable",
            "host=/run/postgresql user=u dbname=d",
        ] {
            std::fs::write(&file, url).unwrap();
            let text = with(&format!("{{postgres: {{url: {{file: '{}'}}}}}}", file.display()));
            let config = good(&text);
            assert_eq!(config.database_problems(), [], "{url}");
            let StoreSettings::Postgres(source) = &config.store else { panic!("{:?}", config.store) };
            assert!(!format!("{:?}", source.settings(None).unwrap()).contains("hunter2"));
        }
    }
}
