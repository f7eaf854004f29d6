//! A real HTTP server for tests, on a loopback port of its own: it answers as it is told to, and remembers what it was
//! asked. One request for each connection.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

use crate::pki::workshop::Identity;

/// Runs until it is dropped.
pub(crate) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Such as `GET /a?b HTTP/1.1`.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Without the query.
    pub(crate) fn path(&self) -> &str {
        let target = self.line.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }
}

/// Writes the answer; an error ends the connection.
pub(crate) trait Answer:
    Fn(&Request, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static
{
}
impl<F: Fn(&Request, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static> Answer for F {}

/// A whole response with a length. `head` is the status and further header lines, such as `200 OK\r\netag: "1"`.
pub(crate) fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

impl Server {
    pub(crate) fn http(answer: impl Answer) -> Self {
        Self::start("http", None, answer)
    }

    /// Over TLS, with this certificate.
    pub(crate) fn https(identity: &Identity, answer: impl Answer) -> Self {
        let certificate = CertificateDer::from(identity.certificate_der().to_vec());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start("https", Some(Arc::new(config)), answer)
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("{}://{}{path}", self.scheme, self.address).parse().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request until now.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    fn start(scheme: &'static str, tls: Option<Arc<ServerConfig>>, answer: impl Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Request>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (remember, stopped, answer) = (Arc::clone(&asked), Arc::clone(&stop), Arc::new(answer));
        let accepting = thread::spawn(move || {
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let (tls, remember, answer) = (tls.clone(), Arc::clone(&remember), Arc::clone(&answer));
                thread::spawn(move || connection(socket, tls, &remember, &*answer));
            }
        });
        Self { scheme, address, asked, stop, accepting: Some(accepting) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the loop
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn connection(
    socket: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    remember: &Mutex<Vec<Request>>,
    answer: &impl Answer,
) {
    let _ = match tls {
        None => exchange(socket, remember, answer),
        Some(config) => {
            exchange(StreamOwned::new(ServerConnection::new(config).unwrap(), socket), remember, answer)
        }
    };
}

fn exchange(
    stream: impl Read + Write,
    remember: &Mutex<Vec<Request>>,
    answer: &impl Answer,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let length = stream.read_line(&mut line)?;
        let line = line.trim_end();
        match (length, line.is_empty()) {
            (0, _) => return Ok(()),
            (_, true) => break,
            (_, false) => lines.push(line.to_owned()),
        }
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let line = lines.first().cloned().unwrap_or_default();
    let mut request = Request { line, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body)?;
    remember.lock().unwrap().push(request.clone());
    answer(&request, stream.get_mut())?;
    stream.get_mut().flush()
}
