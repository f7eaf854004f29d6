//! What a client can write into a request to be taken for another one, in front of each proxy (attacks P3, P5–P7, P18,
//! P20): the payload is the certificate of the victim, which is no secret, as each dialect writes it.
//!
//! Each attack is made three times: by somebody without a certificate and by a client with its own, both naming the
//! victim, and by that client under its own name. Whatever token comes out belongs to the certificate of the handshake.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Behind, asks_as};
use crate::support::client::receive;
use crate::support::proxy::Program;
use crate::support::{Setup, Shown};

/// A request that ends its connection, for this client.
type Request = fn(&Payload, client_id: &str) -> Vec<u8>;

const ATTACKS: [(&str, Request); 39] = [
    ("all headers as they are written", |with, id| post(id, &with.all(str::to_owned))),
    ("all, in lower case", |with, id| post(id, &with.all(str::to_lowercase))),
    ("all, in upper case", |with, id| post(id, &with.all(str::to_uppercase))),
    ("all, with `_` for each `-`", |with, id| post(id, &with.all(|name| name.replace('-', "_")))),
    ("all, with one `_`", |with, id| post(id, &with.all(|name| name.replacen('-', "_", 1)))),
    ("all, with one `_` at the end", |with, id| post(id, &with.all(last_underscore))),
    ("the right header", |with, id| post(id, &with.right())),
    ("twice", |with, id| post(id, &[with.right(), with.right()].concat())),
    ("twice, the second in upper case", |with, id| {
        post(id, &[with.right(), with.named(&upper(with))].concat())
    }),
    ("twice, the first one empty", |with, id| post(id, &format!("{}:\r\n{}", with.name, with.right()))),
    ("twice, the second one empty", |with, id| post(id, &format!("{}{}:\r\n", with.right(), with.name))),
    ("two in one, with a comma", |with, id| {
        post(id, &format!("{}: {}, {}\r\n", with.name, with.value, with.value))
    }),
    ("60 times", |with, id| post(id, &with.right().repeat(60))),
    ("a blank before the colon", |with, id| post(id, &with.named(&format!("{} ", with.name)))),
    ("a tab before the colon", |with, id| post(id, &with.named(&format!("{}\t", with.name)))),
    ("a blank before the name", |with, id| post(id, &with.named(&format!(" {}", with.name)))),
    ("a full-width hyphen", |with, id| post(id, &with.named(&with.name.replace('-', "\u{ff0d}")))),
    ("a NUL in the name", |with, id| post(id, &with.named(&format!("{}\0", with.name)))),
    ("a folded line", |with, id| post(id, &format!("X-Any: a\r\n {}", with.right()))),
    ("a value on the next line", |with, id| post(id, &format!("{}:\r\n {}\r\n", with.name, with.value))),
    ("after a bare CR", |with, id| post(id, &format!("X-Any: a\r{}", with.right()))),
    ("after a bare LF", |with, id| post(id, &format!("X-Any: a\n{}", with.right()))),
    ("after a NUL", |with, id| post(id, &format!("X-Any: a\0\r\n{}", with.right()))),
    ("named in Connection", |with, id| {
        post_open(id, &format!("Connection: close, {}\r\n{}", with.name, with.right()))
    }),
    ("its twin named in Connection", |with, id| {
        let twin = with.name.replace('-', "_");
        post_open(id, &format!("Connection: close, {twin}\r\n{}", with.named(&twin)))
    }),
    ("named in a second Connection", |with, id| {
        post(id, &format!("Connection: {}\r\n{}", with.name, with.right()))
    }),
    ("named in Proxy-Connection and Keep-Alive", |with, id| {
        post(id, &format!("Proxy-Connection: {0}\r\nKeep-Alive: {0}\r\n{1}", with.name, with.right()))
    }),
    ("in the trailer", |with, id| chunked(id, "", &with.right())),
    ("in the trailer, announced", |with, id| {
        chunked(id, &format!("Trailer: {}\r\nTE: trailers\r\n", with.name), &with.right())
    }),
    ("from a trusted address, it says", |with, id| {
        let addresses = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n";
        post(id, &format!("{addresses}Via: 1.1 proxy\r\nMax-Forwards: 1\r\n{}", with.right()))
    }),
    ("verified, it says", |with, id| {
        let verified =
            "X-SSL-Client-Verify: SUCCESS\r\nX-SSL-Client-Verify: NONE\r\nX-Client-Verify: SUCCESS\r\n";
        post(id, &format!("{verified}{}", with.right()))
    }),
    ("with credentials of a proxy", |with, id| {
        post(id, &format!("Proxy-Authorization: Basic cHJveHk6Y2hhbmdlLW1l\r\n{}", with.right()))
    }),
    ("in HTTP/1.0", |with, id| {
        text(&post(id, &with.right())).replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
    }),
    ("to an absolute URL of another host", |with, id| {
        let request = text(&post(id, &with.right()));
        request.replacen("/token", "http://127.0.0.1/token", 1).into_bytes()
    }),
    ("to another Host", |with, id| {
        text(&post(id, &with.right())).replacen("localhost", "mtls.example.com", 1).into_bytes()
    }),
    ("with an upgrade", |with, id| {
        post(
            id,
            &format!(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n{}",
                with.right()
            ),
        )
    }),
    ("in a second request, hidden by two lengths", |with, id| {
        smuggled(with, id, "Transfer-Encoding: chunked")
    }),
    ("in a second request, hidden by a blank", |with, id| smuggled(with, id, "Transfer-Encoding : chunked")),
    ("in a second request, hidden by a coding", |with, id| smuggled(with, id, "Transfer-Encoding: xchunked")),
];

/// The certificate of the victim in the headers of every dialect, and the one that certbound reads here.
struct Payload {
    name: &'static str,
    value: String,
    all: Vec<(&'static str, String)>,
}

#[test]
fn no_proxy_lets_a_client_write_the_certificate_of_another() {
    let programs: Vec<_> = Program::ALL.into_iter().filter(|program| program.is_there()).collect();
    let columns: Vec<Vec<String>> = thread::scope(|scope| {
        let attacks: Vec<_> =
            programs.iter().map(|program| scope.spawn(|| attacked_in_every_way(*program))).collect();
        attacks.into_iter().map(|column| column.join().expect("no attack goes through")).collect()
    });
    let mut table = format!("| {:46} |", "by none, by one with a certificate, as itself");
    for program in &programs {
        write!(table, " {:28} |", program.name()).unwrap();
    }
    for (row, (name, _)) in ATTACKS.iter().enumerate() {
        write!(table, "\n| {name:46} |").unwrap();
        for column in &columns {
            write!(table, " {:28} |", column[row]).unwrap();
        }
    }
    println!("{table}");
}

/// The column of one proxy.
fn attacked_in_every_way(program: Program) -> Vec<String> {
    let setup = Setup::new();
    setup.client("mallory", "tls_client_auth_san_dns: mallory.example.com\nscope: read\n");
    let behind = Behind::over_socket(program, setup);
    let victim = behind.server.setup.pki.client("billing.example.com");
    let own = behind.server.setup.pki.client("mallory.example.com");
    let payload = Payload::of(&victim, program);
    is_worth_an_attack(&behind, &payload, &victim);
    let column = ATTACKS.iter().map(|(name, request)| {
        let made = |shown: Option<&Shown>, id| {
            let context = format!("{name}, in front of {program:?}, as {id}");
            attempt(&behind, shown, &request(&payload, id), &context)
        };
        [made(None, "billing"), made(Some(&own), "billing"), made(Some(&own), "mallory")].join(", ")
    });
    let column = column.collect();
    behind.gets_its_token("billing", &victim);
    column
}

/// The header would be believed if it came from the proxy: without it in between, on the socket that only it can open.
fn is_worth_an_attack(behind: &Behind, payload: &Payload, victim: &Shown) {
    let mut proxy = UnixStream::connect(behind.proxy.place().socket()).unwrap();
    proxy.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    proxy.write_all(&post("billing", &payload.right())).unwrap();
    assert_eq!(super::bound_to(&receive(&mut proxy, false).unwrap()), victim.thumbprint());
}

/// Makes the attack. What became of it: its own token, nobody (`invalid_client`), or the status of a request that was
/// refused as such.
fn attempt(behind: &Behind, shown: Option<&Shown>, request: &[u8], context: &str) -> String {
    let mut connection = behind.proxy.connect(shown);
    // A proxy may have hung up half-way.
    let _ = connection.send(request);
    let answers = text(&connection.rest());
    let mut whose = None;
    for token in answers.split("\"access_token\":\"").skip(1) {
        let claims = claims(token.split('"').next().unwrap());
        let shown = shown.unwrap_or_else(|| panic!("{context}: a token without a certificate: {claims}"));
        assert_eq!(claims["cnf"]["x5t#S256"], shown.thumbprint(), "{context}: bound to another certificate");
        assert_eq!(claims["client_id"], "mallory", "{context}: the token of another client");
        whose = Some("its own".to_owned());
    }
    let status = || answers.split(' ').nth(1).map_or_else(|| "hung up".to_owned(), str::to_owned);
    let nobody = answers.contains("invalid_client").then(|| "nobody".to_owned());
    whose.or(nobody).unwrap_or_else(status)
}

/// The claims of a token, whoever signed it.
pub(super) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The certificate as nginx would write it.
pub(super) fn nginx_value(shown: &Shown) -> String {
    Payload::of(shown, Program::Nginx).value
}

impl Payload {
    fn of(victim: &Shown, program: Program) -> Self {
        let base64 = STANDARD.encode(&victim.chain[0]);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = |end| {
            format!("-----BEGIN CERTIFICATE-----{end}{}{end}-----END CERTIFICATE-----{end}", lines.join(end))
        };
        let (escaped, folded) = (percent(&pem("\n"), ""), pem(" "));
        let escaped_by_aws = percent(&pem("\n"), "+=/");
        let value = match program {
            Program::Nginx => escaped.clone(),
            Program::HaProxy => base64.clone(),
            Program::Apache => folded,
        };
        let name = match program {
            Program::Nginx | Program::Apache => "X-SSL-Client-Cert",
            Program::HaProxy => "X-SSL-Client-DER",
        };
        let all = vec![
            ("Client-Cert", format!(":{base64}:")),
            ("Client-Cert-Chain", format!(":{base64}:")),
            ("X-SSL-Client-Cert", if name == "X-SSL-Client-Cert" { value.clone() } else { escaped.clone() }),
            ("X-SSL-Client-Verify", "SUCCESS".to_owned()),
            ("X-Forwarded-Client-Cert", format!("Cert=\"{escaped}\"")),
            ("X-SSL-Client-DER", base64.clone()),
            ("X-SSL-Client-Chain-DER", base64.clone()),
            ("X-Forwarded-Tls-Client-Cert", base64.clone()),
            ("X-Amzn-Mtls-Clientcert", escaped_by_aws.clone()),
            ("X-Amzn-Mtls-Clientcert-Leaf", escaped_by_aws),
            ("X-ARR-ClientCert", base64),
        ];
        Self { name, value, all }
    }

    /// Every header, under its name or another one.
    fn all(&self, rename: impl Fn(&str) -> String) -> String {
        let lines: Vec<_> =
            self.all.iter().map(|(name, value)| format!("{}: {value}\r\n", rename(name))).collect();
        lines.concat()
    }

    /// The header that certbound reads here.
    fn right(&self) -> String {
        self.named(self.name)
    }

    fn named(&self, name: &str) -> String {
        format!("{name}: {}\r\n", self.value)
    }
}

fn upper(with: &Payload) -> String {
    with.name.to_uppercase()
}

fn last_underscore(name: &str) -> String {
    name.rsplit_once('-').map_or_else(|| name.to_owned(), |(front, end)| format!("{front}_{end}"))
}

/// A form with more header lines, on a connection that ends with it.
fn post(client_id: &str, headers: &str) -> Vec<u8> {
    post_open(client_id, &format!("{headers}Connection: close\r\n"))
}

fn post_open(client_id: &str, headers: &str) -> Vec<u8> {
    let body = form(client_id);
    format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn chunked(client_id: &str, headers: &str, trailer: &str) -> Vec<u8> {
    let body = form(client_id);
    format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n{headers}\r\n{:x}\r\n{body}\r\n0\r\n{trailer}\r\n",
        body.len()
    )
    .into_bytes()
}

/// A request with two lengths; by one of them the rest of its body is a request of the proxy's.
fn smuggled(with: &Payload, client_id: &str, coding: &str) -> Vec<u8> {
    let hidden = text(&post(client_id, &with.right()));
    let body = format!("0\r\n\r\n{hidden}");
    format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n{coding}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn form(client_id: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(asks_as(client_id)).finish()
}

/// Percent-encoded, but for letters, digits, `-._~` and what is `safe`.
fn percent(text: &str, safe: &str) -> String {
    let one = |byte: char| match byte {
        byte if byte.is_ascii_alphanumeric() || "-._~".contains(byte) || safe.contains(byte) => {
            byte.to_string()
        }
        byte => format!("%{:02X}", u32::from(byte)),
    };
    text.chars().map(one).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
