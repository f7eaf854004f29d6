//! Documents that the server under test fetches (`jwks_uri`), served over TLS by the suite.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Lab;
use crate::check::{Halt, untestable};
use crate::pki::Shown;

/// A document on a port of its own, served until the program ends.
pub struct Hosted {
    /// Its URL.
    pub url: String,
    state: Arc<State>,
}

struct State {
    document: Mutex<Document>,
    served: AtomicUsize,
}

#[derive(Clone)]
struct Document {
    kind: String,
    body: Vec<u8>,
}

impl Lab {
    /// Serves a document as `application/jwk-set+json` to whoever asks.
    ///
    /// # Errors
    /// `Untestable` if the suite was given no address for that (`hosting`).
    pub fn host(&self, body: &str) -> Result<Hosted, Halt> {
        let Some(hosting) = &self.target().config.hosting else {
            return untestable("the suite was given no address to serve documents from (hosting)");
        };
        let (Ok(certificate), Ok(key)) = (std::fs::read(&hosting.certificate), std::fs::read(&hosting.key))
        else {
            return untestable("the files of hosting cannot be read");
        };
        Hosted::start(&hosting.host, &Shown::read(&certificate, &key)?, body)
    }

    /// The same with another certificate, which the server has no reason to trust.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn host_with(&self, shown: &Shown, body: &str) -> Result<Hosted, Halt> {
        match &self.target().config.hosting {
            Some(hosting) => Hosted::start(&hosting.host, shown, body),
            None => untestable("the suite was given no address to serve documents from (hosting)"),
        }
    }
}

impl Hosted {
    fn start(host: &str, shown: &Shown, body: &str) -> Result<Self, Halt> {
        let failed = |error: &dyn std::fmt::Display| {
            Halt::Untestable(format!("the suite cannot serve documents: {error}"))
        };
        let config = Arc::new(config(shown).map_err(|error| failed(&error))?);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed(&error))?;
        let port = listener.local_addr().map_err(|error| failed(&error))?.port();
        let document =
            Document { kind: "application/jwk-set+json".to_owned(), body: body.as_bytes().to_vec() };
        let state = Arc::new(State { document: Mutex::new(document), served: AtomicUsize::new(0) });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                // One that asks badly gets no answer; that is its affair.
                std::thread::spawn(move || drop(answer(stream, config, &state)));
            }
        });
        Ok(Self { url: format!("https://{host}:{port}/jwks.json"), state })
    }

    /// Serves another document from now on.
    pub fn set(&self, body: &str) {
        self.change(|document| document.body = body.as_bytes().to_vec());
    }

    /// Serves it under another media type from now on.
    pub fn set_kind(&self, kind: &str) {
        self.change(|document| kind.clone_into(&mut document.kind));
    }

    fn change(&self, change: impl FnOnce(&mut Document)) {
        change(&mut self.state.document.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How often it was fetched.
    #[must_use]
    pub fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }
}

fn config(shown: &Shown) -> Result<ServerConfig, String> {
    let chain = shown.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = shown.key.pkcs8().map_err(|error| error.to_string())?;
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
        .map_err(|error| error.to_string())
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 65_536 {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        head.extend(octet);
    }
    state.served.fetch_add(1, Ordering::Relaxed);
    let Document { kind, body } = state.document.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    stream.conn.send_close_notify();
    stream.flush()
}
