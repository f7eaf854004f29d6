//! Answers of HTTP/1.1 (RFC 9112), read as they come; whatever a server sends, the reading ends.

use std::io::Read;
use std::time::Instant;

/// The longest answer that is read.
const LONGEST: usize = 4 * 1024 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines in their order, values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of this header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.iter().find(|(is, _)| is.eq_ignore_ascii_case(name));
        line.map(|(_, value)| value.as_str())
    }

    /// All values of this header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(is, _)| is.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one answer; `received` gets every octet, whatever becomes of it. The error is empty if the server just hung up.
pub(crate) fn read(
    stream: &mut dyn Read,
    received: &mut Vec<u8>,
    to_head: bool,
    until: Instant,
) -> Result<Response, String> {
    loop {
        let (mut response, body_at) = head(stream, received, until)?;
        if (100..200).contains(&response.status) && response.status != 101 {
            received.drain(..body_at);
            continue;
        }
        let bodiless = to_head || response.status == 204 || response.status == 304;
        if !bodiless {
            response.body = body(stream, received, body_at, &response, until)?;
        }
        return Ok(response);
    }
}

fn head(stream: &mut dyn Read, received: &mut Vec<u8>, until: Instant) -> Result<(Response, usize), String> {
    loop {
        if let Some(end) = received.windows(4).position(|octets| octets == b"\r\n\r\n").map(|at| at + 4) {
            let mut headers = [httparse::EMPTY_HEADER; 128];
            let mut parsed = httparse::Response::new(&mut headers);
            parsed.parse(received).map_err(|error| format!("no HTTP answer: {error}"))?;
            let headers = parsed.headers.iter().map(|header| {
                (header.name.to_owned(), String::from_utf8_lossy(header.value).trim().to_owned())
            });
            let response = Response {
                status: parsed.code.unwrap_or_default(),
                headers: headers.collect(),
                body: Vec::new(),
            };
            return Ok((response, end));
        }
        if !more(stream, received, until)? {
            return Err(if received.is_empty() {
                "the server closed the connection without an answer".to_owned()
            } else {
                "the server closed the connection within the head of its answer".to_owned()
            });
        }
    }
}

fn body(
    stream: &mut dyn Read,
    received: &mut Vec<u8>,
    at: usize,
    response: &Response,
    until: Instant,
) -> Result<Vec<u8>, String> {
    if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    {
        return chunked(stream, received, at, until);
    }
    let length = response.header("content-length").map(str::parse::<usize>);
    match length {
        Some(Ok(length)) => {
            while received.len().saturating_sub(at) < length {
                if !more(stream, received, until)? {
                    return Err("the server closed the connection within its answer".to_owned());
                }
            }
            Ok(received.get(at..at.saturating_add(length)).unwrap_or_default().to_vec())
        }
        Some(Err(_)) => Err("Content-Length is no number".to_owned()),
        None => {
            while more(stream, received, until)? {}
            Ok(received.get(at..).unwrap_or_default().to_vec())
        }
    }
}

fn chunked(
    stream: &mut dyn Read,
    received: &mut Vec<u8>,
    mut at: usize,
    until: Instant,
) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let rest = received.get(at..).unwrap_or_default();
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((line, size))) => {
                let size = usize::try_from(size).map_err(|_| "a chunk without end".to_owned())?;
                let from = at.saturating_add(line);
                let end = from.saturating_add(size);
                if let (Some(chunk), true) =
                    (received.get(from..end), received.len() >= end.saturating_add(2))
                {
                    body.extend_from_slice(chunk);
                    at = end.saturating_add(2);
                    if size == 0 {
                        return Ok(body);
                    }
                    continue;
                }
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Err("a chunk without a size".to_owned()),
        }
        if !more(stream, received, until)? {
            return Err("the server closed the connection within its answer".to_owned());
        }
    }
}

/// Reads some more; false at the end.
fn more(stream: &mut dyn Read, received: &mut Vec<u8>, until: Instant) -> Result<bool, String> {
    if received.len() > LONGEST {
        return Err(format!("an answer of more than {LONGEST} octets"));
    }
    if Instant::now() > until {
        return Err("no whole answer in time".to_owned());
    }
    let mut some = [0; 8192];
    match stream.read(&mut some) {
        Ok(count) => {
            received.extend_from_slice(some.get(..count).unwrap_or_default());
            Ok(count > 0)
        }
        // Without a close_notify: what was to come has come, or it is missed by its length.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Err("no answer in time".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(text: &str) -> Result<Response, String> {
        read(&mut text.as_bytes(), &mut Vec::new(), false, Instant::now() + Duration::from_secs(5))
    }

    #[test]
    fn every_way_to_frame_a_body_is_read() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more",
            "HTTP/1.1 200 OK\r\n\r\nhi",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n",
        ] {
            assert_eq!(parse(text).unwrap().body, b"hi", "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
