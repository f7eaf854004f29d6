//! The proxy's side of a `forwarded` listener: a kept connection without TLS, and headers written after the documentation
//! of each proxy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certbound::http::forwarded::Dialect;

use super::client::{Response, receive};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A kept connection of a proxy.
pub(crate) struct Upstream(Box<dyn Stream>);

impl Upstream {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        Self(Box::new(stream))
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(PATIENCE)?;
        Ok(Self(Box::new(stream)))
    }

    /// Asks for a token, with more header lines.
    pub(crate) fn token(&mut self, client_id: &str, headers: &str) -> Response {
        self.post("/token", &[("grant_type", "client_credentials"), ("client_id", client_id)], headers)
    }

    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)], headers: &str) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ));
        self.receive()
    }

    pub(crate) fn get(&mut self, path: &str, headers: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        self.receive()
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.flush().unwrap();
    }

    pub(crate) fn receive(&mut self) -> Response {
        receive(&mut self.0, false).unwrap()
    }
}

/// The header lines of a chain, leaf first, as a proxy of this dialect writes them; of a proxy that hands on the leaf
/// alone, those of the leaf.
pub(crate) fn lines(dialect: Dialect, chain: &[Vec<u8>]) -> String {
    let leaf = &chain[0];
    let all_pem: String = chain.iter().map(|der| pem(der)).collect();
    match dialect {
        Dialect::Rfc9440 => {
            let more: Vec<_> = chain[1..].iter().map(|der| format!(":{}:", STANDARD.encode(der))).collect();
            let more = if more.is_empty() {
                String::new()
            } else {
                format!("Client-Cert-Chain: {}\r\n", more.join(", "))
            };
            format!("Client-Cert: :{}:\r\n{more}", STANDARD.encode(leaf))
        }
        Dialect::Nginx => {
            format!("X-SSL-Client-Cert: {}\r\nX-SSL-Client-Verify: SUCCESS\r\n", escaped(&pem(leaf), "-._~"))
        }
        Dialect::Envoy => format!(
            "X-Forwarded-Client-Cert: Hash={};Cert=\"{}\";Chain=\"{}\";Subject=\"CN=\\\"a, b; c\\\"\"\r\n",
            hex(&openssl::sha::sha256(leaf)),
            escaped(&pem(leaf), "-._~"),
            escaped(&all_pem, "-._~")
        ),
        Dialect::HaProxy => format!(
            "X-SSL-Client-DER: {}\r\nX-SSL-Client-Chain-DER: {}\r\n",
            STANDARD.encode(leaf),
            STANDARD.encode(chain[1..].concat())
        ),
        Dialect::Traefik => {
            let all: Vec<_> = chain.iter().map(|der| STANDARD.encode(der)).collect();
            format!("X-Forwarded-Tls-Client-Cert: {}\r\n", all.join(","))
        }
        Dialect::Apache => format!("X-SSL-Client-Cert: {}\r\n", pem(leaf).replace('\n', " ").trim_end()),
        Dialect::AwsAlb => format!("X-Amzn-Mtls-Clientcert: {}\r\n", escaped(&all_pem, "-._~+=/")),
        Dialect::Azure => format!("X-ARR-ClientCert: {}\r\n", STANDARD.encode(leaf)),
    }
}

/// Those that hand on what came after the leaf.
pub(crate) fn has_chain(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Nginx | Dialect::Apache | Dialect::Azure)
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn escaped(text: &str, safe: &str) -> String {
    let encode = |c: char| {
        if c.is_ascii_alphanumeric() || safe.contains(c) {
            c.to_string()
        } else {
            format!("%{:02X}", u32::from(c))
        }
    };
    text.chars().map(encode).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
