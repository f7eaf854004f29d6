//! A web server on a loopback port for what certbound fetches: the documents can change and the server can go away.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use certbound::pki::workshop::Identity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Serves until it is dropped.
pub(crate) struct Web {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    documents: Mutex<HashMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    posted: Mutex<Vec<Posted>>,
    over: AtomicBool,
}

/// What somebody posted.
#[derive(Clone, Default)]
pub(crate) struct Posted {
    pub(crate) path: String,
    /// The header lines, as they came.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Web {
    /// Without TLS.
    pub(crate) fn http() -> Self {
        Self::start(None)
    }

    /// Over TLS, as `localhost`.
    pub(crate) fn https(identity: &Identity) -> Self {
        let chain = vec![CertificateDer::from(identity.certificate_der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start(Some(Arc::new(config)))
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, scheme) =
            (listener.local_addr().unwrap(), if tls.is_some() { "https" } else { "http" });
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                // A peer that hangs up half-way is nobody's loss.
                let _ = stream.and_then(|stream| serving.serve(stream, tls.clone()));
            }
        });
        Self { address, scheme, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// From now on this is what is there.
    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.shared.documents.lock().unwrap().insert(path.to_owned(), body.into());
    }

    /// How often the document was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// What was posted there.
    pub(crate) fn posted(&self, path: &str) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().iter().filter(|posted| posted.path == path).cloned().collect()
    }

    /// From now on connections are refused.
    pub(crate) fn stop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        match tls {
            None => self.answer(stream),
            Some(config) => {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                self.answer(StreamOwned::new(connection, stream))
            }
        }
    }

    fn answer(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut posted = Posted::default();
        let mut lines = BufReader::new(&mut stream);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            posted.head.push_str(&line);
        }
        let length = posted.head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .and_then(|text| text.trim().parse().ok())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        lines.read_exact(&mut body)?;
        drop(lines);
        posted.head.split(' ').nth(1).unwrap_or_default().clone_into(&mut posted.path);
        posted.body = String::from_utf8_lossy(&body).into_owned();
        let path = posted.path.clone();
        self.asked.lock().unwrap().push(path.clone());
        if posted.head.starts_with("POST ") {
            self.posted.lock().unwrap().push(posted);
        }
        let body = self.documents.lock().unwrap().get(&path).cloned();
        let (status, body) = body.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat())?;
        stream.flush()
    }
}
