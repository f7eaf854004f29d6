//! A real responder, `openssl ocsp`, for an index as `openssl ca` keeps it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use certbound::pki::Certificate;
use certbound::pki::workshop::Identity;
use openssl::bn::BigNum;
use tempfile::TempDir;

use super::pki::Shown;

/// Answers on a loopback port until it is dropped.
pub(crate) struct Responder {
    directory: TempDir,
    /// Serial number (hexadecimal, as OpenSSL writes it) and the line for it.
    index: BTreeMap<String, String>,
    port: u16,
    /// Such as `-nmin 5`; without such an option answers have no nextUpdate.
    life: &'static [&'static str],
    process: Option<Child>,
}

impl Responder {
    /// For this CA, signing with its key. Knows no certificate yet.
    pub(crate) fn start(ca: &Identity) -> Self {
        Self::start_as(&Shown::from(ca), ca, &[])
    }

    /// For this CA, signing as somebody else.
    pub(crate) fn start_as(signer: &Shown, ca: &Identity, life: &'static [&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
        write("ca.pem", ca.certificate_pem().as_bytes());
        write("signer.pem", &openssl::x509::X509::from_der(&signer.chain[0]).unwrap().to_pem().unwrap());
        let key = openssl::pkey::PKey::private_key_from_der(&signer.key).unwrap();
        write("signer.key", &key.private_key_to_pem_pkcs8().unwrap());
        write("index.txt", b"");
        let mut responder = Self { directory, index: BTreeMap::new(), port: 0, life, process: None };
        responder.restart();
        responder
    }

    /// What `ocsp.url` of an anchor set has to be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}/", Ipv4Addr::LOCALHOST, self.port)
    }

    /// From the next question on this certificate is good.
    pub(crate) fn know(&mut self, der: &[u8]) {
        self.put(der, |serial| format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=known\n"));
    }

    /// From the next question on this certificate is revoked; the reason as `openssl ca` writes it.
    pub(crate) fn revoke(&mut self, der: &[u8], reason: &str) {
        self.put(der, |serial| {
            format!("R\t491231235959Z\t260102030405Z,{reason}\t{serial}\tunknown\t/CN=revoked\n")
        });
    }

    /// From now on connections are refused.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts again after [`Responder::stop`], on the port that it had.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let port = self.port.to_string();
        let mut command = Command::new("openssl");
        command.current_dir(self.directory.path()).args(["ocsp", "-index", "index.txt", "-port", &port]);
        command.args(["-CA", "ca.pem", "-rsigner", "signer.pem", "-rkey", "signer.key"]).args(self.life);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut accepting = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut accepting).unwrap();
        self.process = Some(process);
        // ACCEPT [::]:34567 PID=1234, once it listens
        let port = accepting.split(' ').nth(1).and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        self.port = port.unwrap_or_else(|| panic!("openssl ocsp does not listen: {accepting:?}"));
    }

    fn put(&mut self, der: &[u8], line: impl FnOnce(&str) -> String) {
        let serial = BigNum::from_slice(Certificate::parse(der).unwrap().serial()).unwrap();
        let serial = serial.to_hex_str().unwrap().to_string();
        let line = line(&serial);
        self.index.insert(serial, line);
        // By rename: OpenSSL knows a changed index by its inode or by the second of its mtime.
        let lines: String = self.index.values().map(String::as_str).collect();
        let next = self.directory.path().join("index.next");
        fs::write(&next, lines).unwrap();
        fs::rename(next, self.directory.path().join("index.txt")).unwrap();
        self.refresh();
    }

    /// Asks about no certificate in particular. OpenSSL looks for a changed index before it waits for a connection and
    /// not after, so that the first request after a change would still be answered from the old one.
    fn refresh(&self) {
        if self.process.is_none() {
            return;
        }
        let mut command = Command::new("openssl");
        command.current_dir(self.directory.path()).args(["ocsp", "-issuer", "ca.pem", "-serial", "1"]);
        let asked = command.args(["-noverify", "-url", &self.url()]).output().unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop();
    }
}
