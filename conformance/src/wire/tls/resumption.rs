//! A TLS session that goes on in a second connection (RFC 8446 §2.2, RFC 5246 §7.3): the second one is handed out.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, HandshakeKind, StreamOwned};

use super::{Handshake, connection, handshake_of};
use crate::wire::Stream;

/// Connects, asks for something so that the tickets arrive, and connects to the same address again with the session that
/// came of it; as usual if none did.
pub(super) fn again(
    first: TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<(Box<dyn Stream>, Handshake), String> {
    let io = |error: std::io::Error| error.to_string();
    let second = TcpStream::connect(first.peer_addr().map_err(io)?).map_err(io)?;
    let patience = first.read_timeout().map_err(io)?.or(Some(Duration::from_secs(10)));
    second.set_read_timeout(patience).map_err(io)?;
    second.set_write_timeout(patience).map_err(io)?;
    let mut stream = connection(first, host, config)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(io)?;
    // What it is does not matter.
    let _ = stream.read(&mut [0; 4096]);
    let stream: StreamOwned<_, _> = connection(second, host, config)?;
    let resumed = match stream.conn.handshake_kind() {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "not resumed",
    };
    let Handshake { version, suite } = handshake_of(&stream.conn);
    Ok((Box::new(stream), Handshake { version, suite: format!("{suite}, {resumed}") }))
}
