//! The way to a database over a network: TLS, verified against its CA and its name, or none at all; and a password that
//! nobody sees.

use std::fmt::Write as _;
use std::fs;

use certbound::pki::workshop::{LeafPurpose, Template};

use super::*;
use crate::support::pki::Pki;

const PASSWORD: &str = "hunter2 'quoted\"";
const WRITTEN: &str = "hunter2%20%27quoted%22";

/// A server with a certificate for `localhost`, and a role that needs its password.
fn server(pki: &Pki) -> Server {
    let template = Template {
        purpose: LeafPurpose::Server,
        dns: vec!["localhost".to_owned()],
        ..pki.template("database")
    };
    let identity = pki.server_ca.issue(&template).unwrap();
    let settings = "listen_addresses = '127.0.0.1'\nssl = on\nssl_cert_file = '{directory}/server.pem'\n\
                    ssl_key_file = '{directory}/server.key'\n";
    let files =
        [("server.pem", identity.certificate_pem()), ("server.key", identity.key_pem().as_str().to_owned())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let server = Server::with(settings, &files);
    let password = PASSWORD.replace('\'', "''");
    server.sql("postgres", &format!("CREATE ROLE node LOGIN SUPERUSER PASSWORD '{password}'"));
    server
}

#[tokio::test]
async fn over_a_network_the_database_shows_a_certificate_of_its_ca_for_its_name() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let server = server(&pki);
    let files = tempfile::tempdir().unwrap();
    let ca = |name: &str, pki: &Pki| {
        let file = files.path().join(name);
        fs::write(&file, pki.server_ca.identity().certificate_pem()).unwrap();
        file
    };
    let (right, wrong) = (ca("ca.pem", &pki), ca("other.pem", &stranger));
    let open = |host: &str, ca: &PathBuf, password: &str, mode: &str| {
        let database = Server::database(&server.fresh()).to_owned();
        let url = format!("postgres://node:{password}@{host}:{}/{database}?{mode}", server.port());
        let settings = Settings { url: url.into(), ca: Some(ca.clone()), pool: 2 };
        let id_file = files.path().join(database);
        Store::open(&settings, &id_file).map(|(store, opened)| (store, opened, settings))
    };

    for mode in ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"] {
        let (store, opened, _) = open("localhost", &right, WRITTEN, mode).unwrap();
        assert_eq!(opened, Opened::Created, "{mode}");
        let used = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
        assert_eq!(store.database().query(used, vec![]).await.unwrap().len(), 1);
    }
    let mut said = String::new();
    for (what, host, ca, password, mode) in [
        ("a wrong CA", "localhost", &wrong, WRITTEN, "sslmode=require"),
        ("a wrong name", "127.0.0.1", &right, WRITTEN, "sslmode=require"),
        ("a wrong password", "localhost", &right, "hunter2wrong", "sslmode=require"),
        // Left out on this machine it is not tried; the server wants it.
        ("no TLS", "localhost", &right, WRITTEN, ""),
    ] {
        let (store, opened, settings) = open(host, ca, password, mode).unwrap();
        let Opened::OutOfReach(why) = &opened else { panic!("{what}: {opened:?}") };
        is_unavailable(&store).await;
        let error = store.standing(&token("billing", at(0))).await.unwrap_err();
        writeln!(said, "{what}: {why} {opened:?} {error} {error:?} {settings:?} {:?}", store.database())
            .unwrap();
    }
    println!("{said}");
    assert!(said.contains("certificate") && said.contains("password authentication failed"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("quoted"), "{said}");
}

#[test]
fn a_ca_that_is_none_and_a_url_that_leads_nowhere_are_told_without_the_password() {
    let files = tempfile::tempdir().unwrap();
    let empty = files.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    let settings = |url: &str, ca: Option<&PathBuf>| Settings { url: url.into(), ca: ca.cloned(), pool: 2 };
    let remote = "postgres://node:hunter2@db.example.com/certbound";
    let missing = files.path().join("missing.pem");
    for ca in [&empty, &missing] {
        let error = settings(remote, Some(ca)).check().unwrap_err().to_string();
        assert!(error.contains(ca.to_str().unwrap()) && !error.contains("hunter2"), "{error}");
    }
    assert!(settings(remote, None).check().is_ok());
    for url in [
        "postgres://node:hunter2@db.example.com/certbound?sslmode=prefer",
        "postgres://node:hunter2@db.example.com/certbound?sslmode=allow",
        "postgres://node:hunter2@db.example.com/certbound?sslmode=disable",
        "postgres://node:hunter2@localhost,db.example.com/certbound?sslmode=disable",
        "host=db.example.com user=node password=hunter2 sslmode=disable",
        "postgres://node:hunter2@/certbound",
        "hunter2",
    ] {
        let settings = settings(url, None);
        let error = settings.check().unwrap_err();
        let said = format!("{error} {error:?} {settings:?}");
        assert!(!said.contains("hunter2"), "{said}");
        let file = files.path().join("store-id");
        assert!(!Store::open(&settings, &file).map(|_| ()).unwrap_err().to_string().contains("hunter2"));
    }
}
