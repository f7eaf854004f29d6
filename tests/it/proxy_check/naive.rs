//! A proxy that ends TLS and does nothing else: it asks for no certificate and hands on every header as it comes.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use certbound::pki::workshop::Identity;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// At work until it is dropped.
pub(crate) struct Naive {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Naive {
    /// Before the server behind this socket.
    pub(crate) fn start(identity: &Identity, upstream: &Path) -> Self {
        let chain = vec![CertificateDer::from(identity.certificate_der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, upstream) = (Arc::new(config), upstream.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, over) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (config, upstream) = (Arc::clone(&config), upstream.clone());
                // A peer that hangs up half-way is nobody's loss. Threads end with their connections.
                std::thread::spawn(move || stream.and_then(|stream| hand_on(stream, config, &upstream)));
            }
        });
        Self { address, over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn hand_on(stream: TcpStream, config: Arc<ServerConfig>, upstream: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let request = message(&mut client)?;
        let mut server = BufReader::new(UnixStream::connect(upstream)?);
        // What is too long is answered before it is read.
        let _ = server.get_mut().write_all(&request);
        let answer = message(&mut server)?;
        client.get_mut().write_all(&answer)?;
        client.get_mut().flush()?;
    }
}

/// A head and the body that it announces, octet for octet.
fn message(stream: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    let (mut octets, mut length) = (Vec::new(), 0);
    loop {
        let begin = octets.len();
        if stream.read_until(b'\n', &mut octets)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&octets[begin..]).trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    octets.extend_from_slice(&body);
    Ok(octets)
}
