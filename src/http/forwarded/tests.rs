//! What each dialect takes and refuses: recorded headers, the rules that all share, those of one, and laws.
//!
//! The encoders here are written from the documentation of the proxies and share no code with the decoders.

mod dialects;
mod golden;
mod laws;
mod rules;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Dialect, ForwardedError, HeaderReader};

type Read = Result<Option<Vec<Vec<u8>>>, ForwardedError>;

fn headers<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_ref().as_bytes()).expect("a field name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a field value");
        headers.append(name, value);
    }
    headers
}

/// Reads the headers in a dialect under its own names.
fn read<N: AsRef<str>, V: AsRef<[u8]>>(dialect: Dialect, lines: &[(N, V)]) -> Read {
    HeaderReader::new(dialect, None).unwrap().read(&headers(lines))
}

/// Reads one value of the dialect's own header.
fn value(dialect: Dialect, value: impl AsRef<[u8]>) -> Read {
    read(dialect, &[(dialect.header(), value)])
}

/// As much of a certificate as is looked at here, told from others by `content`.
fn certificate(content: &[u8]) -> Vec<u8> {
    sequence(&sequence(content))
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut der = vec![0x30];
    match length {
        [0, 0, 0, short @ ..=0x7f] => der.push(short),
        [0, 0, 0, one] => der.extend([0x81, one]),
        [0, 0, two, one] => der.extend([0x82, two, one]),
        [0, three, two, one] => der.extend([0x83, three, two, one]),
        [four, three, two, one] => der.extend([0x84, four, three, two, one]),
    }
    der.extend(content);
    der
}

fn leaf() -> Vec<u8> {
    // 0xfb and 0xff give base64 with `+` and `/`
    certificate(&[0xfb; 100])
}

fn issuer() -> Vec<u8> {
    certificate(&[0xff; 200])
}

fn base64(der: &[u8]) -> String {
    STANDARD.encode(der)
}

fn pem(der: &[u8]) -> String {
    block("CERTIFICATE", der)
}

fn block(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let lines: Vec<_> =
        body.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// nginx: `ngx_escape_uri` with `NGX_ESCAPE_URI_COMPONENT`, which leaves the unreserved characters of RFC 3986.
fn escaped(text: &str) -> String {
    escaped_but(text, "-._~")
}

/// Letters, digits and `safe` stay.
fn escaped_but(text: &str, safe: &str) -> String {
    let encode = |c: char| {
        if c.is_ascii_alphanumeric() || safe.contains(c) {
            c.to_string()
        } else {
            format!("%{:02X}", u32::from(c))
        }
    };
    text.chars().map(encode).collect()
}

/// AWS: "with +=/ as safe characters".
fn alb(text: &str) -> String {
    escaped_but(text, "+=/-._~")
}

/// Apache: `mod_headers` puts a blank for each line end.
fn folded(text: &str) -> String {
    text.replace('\n', " ")
}

fn structured(der: &[u8]) -> String {
    format!(":{}:", base64(der))
}

/// Envoy with `cert: true`, and `chain: true` where there is more than a leaf.
fn xfcc(chain: &[Vec<u8>]) -> String {
    let all: String = chain.iter().map(|der| escaped(&pem(der))).collect();
    let cert = escaped(&pem(&chain[0]));
    let chain = if chain.len() > 1 { format!(";Chain=\"{all}\"") } else { String::new() };
    format!("By=spiffe://a/b;Cert=\"{cert}\"{chain};Subject=\"CN=a\";URI=spiffe://a/c")
}

/// A chain as the proxy of a dialect would write it. nginx, Apache and Azure hand on the leaf alone.
fn encoded(dialect: Dialect, chain: &[Vec<u8>]) -> Vec<(&'static str, String)> {
    let main = dialect.header();
    let rest = &chain[1..];
    match dialect {
        Dialect::Rfc9440 => vec![
            (main, structured(&chain[0])),
            ("client-cert-chain", rest.iter().map(|der| structured(der)).collect::<Vec<_>>().join(", ")),
        ],
        Dialect::Nginx => vec![(main, escaped(&pem(&chain[0]))), ("x-ssl-client-verify", "SUCCESS".into())],
        Dialect::Envoy => vec![(main, xfcc(chain))],
        Dialect::HaProxy => {
            vec![(main, base64(&chain[0])), ("x-ssl-client-chain-der", base64(&rest.concat()))]
        }
        Dialect::Traefik => {
            vec![(main, chain.iter().map(|der| base64(der)).collect::<Vec<_>>().join(","))]
        }
        Dialect::Apache => vec![(main, folded(&pem(&chain[0])))],
        Dialect::AwsAlb => vec![(main, alb(&chain.iter().map(|der| pem(der)).collect::<String>()))],
        Dialect::Azure => vec![(main, base64(&chain[0]))],
    }
}

/// Whether a dialect hands on more than the leaf.
fn has_chain(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Nginx | Dialect::Apache | Dialect::Azure)
}
