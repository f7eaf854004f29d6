//! HTTP/1.1 over TLS as a stranger speaks it: any certificate, any octets, and a record of both directions.

pub mod http;
pub mod tls;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use url::Url;

pub use http::Response;
pub use tls::{Handshake, Tls};

use crate::pki::Shown;

/// How long a server may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What was sent and what came, as it was on the wire inside TLS.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Whom it went to, and how: address, TLS version, certificate shown.
    pub with: String,
    /// The octets that were sent.
    pub sent: Vec<u8>,
    /// The octets that came.
    pub received: Vec<u8>,
    /// How it ended if no answer came.
    pub failure: Option<String>,
}

/// Something that octets go through.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// An open connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// What the handshake came to.
    pub handshake: Handshake,
    with: String,
}

/// Why no connection came about.
#[derive(Clone, Debug)]
pub struct NoConnection {
    /// Whom it was meant for, and how.
    pub with: String,
    /// What stopped it: an alert, a refusal, silence.
    pub cause: String,
}

impl Connection {
    /// Connects to the host and port of `url` as `tls` says, showing `shown`. `roots` are the CAs of the server, DER.
    ///
    /// # Errors
    /// No connection, or no handshake.
    pub fn open(url: &Url, shown: Option<&Shown>, tls: Tls, roots: &[Vec<u8>]) -> Result<Self, NoConnection> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let certificate = shown.map_or_else(
            || "no certificate".to_owned(),
            |shown| format!("certificate {} ({})", shown.label(), shown.thumbprint()),
        );
        let with = format!("{host}:{port}, {tls}, {certificate}");
        let failed = |cause: String| NoConnection { with: with.clone(), cause };
        let tcp = tcp(&host, port).map_err(|error| failed(format!("no TCP connection: {error}")))?;
        let (stream, handshake) = tls::handshake(tcp, &host, shown, tls, roots).map_err(failed)?;
        Ok(Self { stream, with: format!("{host}:{port}, {handshake}, {certificate}"), handshake })
    }

    /// Sends these octets and reads one answer; `to_head`: the answer has no body, whatever it says of its length. The
    /// exchange says how it ended if no whole answer came.
    pub fn exchange(&mut self, octets: &[u8], to_head: bool) -> (Exchange, Option<Response>) {
        // A server that has refused the certificate may have closed already: what it said comes first.
        let written = self.stream.write_all(octets).and_then(|()| self.stream.flush());
        let mut received = Vec::new();
        let response = http::read(&mut self.stream, &mut received, to_head, Instant::now() + PATIENCE);
        let failure = match (&response, written) {
            (Ok(_), _) => None,
            (Err(error), Err(first)) if error.is_empty() => Some(first.to_string()),
            (Err(error), _) => Some(error.clone()),
        };
        (Exchange { with: self.with.clone(), sent: octets.to_vec(), received, failure }, response.ok())
    }

    /// Sends these octets and does not wait for an answer.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)?;
        self.stream.flush()
    }
}

fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
