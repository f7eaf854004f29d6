//! A client of HTTP/1.1 over mutual TLS that shows any certificate, keeps its connection, and can send any octets.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned};

use super::pki::Shown;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

/// A kept connection.
pub(crate) struct Connection(StreamOwned<ClientConnection, TcpStream>);

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The header lines but for the date, in an order that does not depend on the server's mood.
    pub(crate) fn sorted_headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
        headers.sort();
        headers
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The body without the reference, which differs by design.
    pub(crate) fn body_without_reference(&self) -> String {
        let text = String::from_utf8(self.body.clone()).unwrap();
        match text.find("(ref ") {
            Some(at) => format!("{}{}", &text[..at + 5], &text[at + 24..]),
            None => text,
        }
    }
}

impl Connection {
    /// The configuration of a client that trusts `root` and shows `shown`, whatever is in it.
    pub(crate) fn config(root: &[u8], shown: Option<&Shown>, version: Option<TlsVersion>) -> ClientConfig {
        let provider = aws_lc_rs::default_provider();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_vec())).unwrap();
        let versions: &[&rustls::SupportedProtocolVersion] = match version {
            Some(TlsVersion::Tls12) => &[&rustls::version::TLS12],
            Some(TlsVersion::Tls13) => &[&rustls::version::TLS13],
            None => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let certified = shown.map(|shown| {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(shown.key.clone()));
            let key = provider.key_provider.load_private_key(key).unwrap();
            let chain = shown.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            // Not `from_der`: that parses the leaf with webpki, which refuses version 1.
            Arc::new(CertifiedKey::new(chain, key))
        });
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Show(certified)))
    }

    pub(crate) fn open(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.flush()?;
        Ok(Self(stream))
    }

    pub(crate) fn tls(&self) -> &ClientConnection {
        &self.0.conn
    }

    /// POSTs a form.
    pub(crate) fn post(&mut self, path: &str, form: &[(&str, &str)]) -> io::Result<Response> {
        self.post_with(path, form, "")
    }

    /// POSTs a form with more header lines, each ended by CRLF.
    pub(crate) fn post_with(
        &mut self,
        path: &str,
        form: &[(&str, &str)],
        headers: &str,
    ) -> io::Result<Response> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.post_body(path, body.as_bytes(), headers)
    }

    pub(crate) fn post_body(&mut self, path: &str, body: &[u8], headers: &str) -> io::Result<Response> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())?;
        self.receive()
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        self.receive()
    }

    /// Octets as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    pub(crate) fn receive(&mut self) -> io::Result<Response> {
        receive(&mut self.0, false)
    }

    /// Everything until the server hangs up, or says nothing more for as long as it may.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // However the connection ends, what came is what there is.
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    /// The answer to a HEAD has no body, whatever its length says.
    pub(crate) fn receive_head(&mut self) -> io::Result<Response> {
        receive(&mut self.0, true)
    }
}

/// Reads one answer.
pub(crate) fn receive(stream: &mut impl io::Read, head_only: bool) -> io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
    let mut body = vec![0; if head_only { 0 } else { length }];
    stream.read_exact(&mut body)?;
    Ok(Response { status, headers, body })
}

#[derive(Debug)]
struct Show(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
