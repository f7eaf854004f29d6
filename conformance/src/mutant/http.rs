//! HTTP/1.1, as little of it as the suite speaks: requests with a length, answers with one, connections that stay open.

use std::io::{self, Read, Write};

use serde_json::Value;

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// An answer.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Request {
    /// Reads one; `None` at the end of the connection.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut octets = Vec::new();
        let head = loop {
            if let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let mut some = [0; 4096];
            let count = stream.read(&mut some)?;
            if count == 0 || octets.len() > 1 << 20 {
                return Ok(None);
            }
            octets.extend_from_slice(some.get(..count).unwrap_or_default());
        };
        let mut body = octets.split_off(head);
        let text = String::from_utf8_lossy(&octets).into_owned();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let mut request = Self { method, path, headers: headers.collect(), body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let here = body.len();
        if here < length {
            body.resize(length, 0);
            stream.read_exact(body.get_mut(here..).unwrap_or_default())?;
        }
        body.truncate(length);
        request.body = body;
        Ok(Some(request))
    }

    /// The first value of a header, whose name is in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }
}

impl Response {
    /// JSON.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: value.to_string(),
        }
    }

    /// No body.
    pub(super) const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// With this header, in place of one of that name.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(is, _)| *is != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Writes it; an answer to HEAD has no body.
    pub(super) fn write(&self, stream: &mut impl Write, to_head: bool) -> io::Result<()> {
        let start = format!("HTTP/1.1 {} .\r\nContent-Length: {}\r\n", self.status, self.body.len());
        let headers = self.headers.iter();
        let mut text = headers.fold(start, |text, (name, value)| format!("{text}{name}: {value}\r\n"));
        text.push_str("\r\n");
        if !to_head {
            text.push_str(&self.body);
        }
        stream.write_all(text.as_bytes())?;
        stream.flush()
    }
}
