//! What a stranger writes: the header of each proxy with a certificate in it, as that proxy would encode it, and the
//! tricks by which headers have been smuggled past proxies.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::output::Fault;
use crate::http::forwarded::{Dialect, HeaderReader};
use crate::pki::files::to_pem;

/// One header and one way to send it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Forgery {
    pub(super) dialect: Dialect,
    /// Its name, lower case.
    pub(super) header: String,
    pub(super) attack: Attack,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attack {
    /// As the proxy would send it.
    Forged,
    /// Two lines of it: some software reads the first, some the last.
    Twice,
    /// With `_` for `-`: what is between may take one for the other.
    Underscore,
    /// Longer than what any server takes.
    Oversized,
}

impl Attack {
    const ALL: [Self; 4] = [Self::Forged, Self::Twice, Self::Underscore, Self::Oversized];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Twice => "duplicate",
            Self::Underscore => "underscore",
            Self::Oversized => "oversized",
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// This certificate (DER).
    Certificate(&'a [u8]),
    /// Nothing that could be decoded as one, in any dialect.
    NoCertificate,
}

/// Longer than a head may be anywhere: certbound takes 128 KiB at most, most proxies less than 64.
const OVERSIZED: usize = 160 * 1024;

/// Every attack in one dialect, or in all; `header` is another name for the header of the one.
pub(super) fn all(dialect: Option<Dialect>, header: Option<&str>) -> Result<Vec<Forgery>, Fault> {
    let dialects = dialect.map_or_else(|| Dialect::ALL.to_vec(), |only| vec![only]);
    let mut forgeries = Vec::new();
    for dialect in dialects {
        let reader = HeaderReader::new(dialect, header);
        let reader = reader.map_err(|error| Fault::Usage(format!("--header: {error}")))?;
        let mut headers = vec![reader.header().to_owned()];
        if dialect == Dialect::AwsAlb {
            // The one dialect whose second header may hold a leaf too.
            headers.extend(dialect.companion().map(str::to_owned));
        }
        for header in headers {
            let forgery = |attack| Forgery { dialect, header: header.clone(), attack };
            forgeries.extend(Attack::ALL.map(forgery));
        }
    }
    Ok(forgeries)
}

impl Forgery {
    /// The header lines, name and value.
    pub(super) fn lines(&self, content: Content<'_>) -> Vec<(String, String)> {
        let value = match content {
            Content::Certificate(der) => encoded(self.dialect, der),
            Content::NoCertificate => "!no certificate!".to_owned(),
        };
        let line = (self.header.clone(), value);
        match self.attack {
            Attack::Forged => vec![line],
            Attack::Twice => vec![line.clone(), line],
            Attack::Underscore => vec![(self.header.replace('-', "_"), line.1)],
            Attack::Oversized => vec![(self.header.clone(), "A".repeat(OVERSIZED))],
        }
    }
}

/// A certificate as the proxy of this dialect writes it.
fn encoded(dialect: Dialect, der: &[u8]) -> String {
    match dialect {
        Dialect::Rfc9440 => format!(":{}:", STANDARD.encode(der)),
        Dialect::Nginx => percent_encoded(&to_pem(der), ""),
        Dialect::Envoy => format!("Cert=\"{}\"", percent_encoded(&to_pem(der), "")),
        Dialect::HaProxy | Dialect::Traefik | Dialect::Azure => STANDARD.encode(der),
        Dialect::Apache => to_pem(der).replace('\n', " ").trim_end().to_owned(),
        Dialect::AwsAlb => percent_encoded(&to_pem(der), "+=/"),
    }
}

/// Everything but the unreserved characters of RFC 3986 §2.3 and `safe`.
fn percent_encoded(text: &str, safe: &str) -> String {
    text.chars().fold(String::with_capacity(text.len() * 2), |mut out, c| {
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || safe.contains(c) {
            out.push(c);
        } else {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                // Writing to a string does not fail.
                let _ = write!(out, "%{octet:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::cli::proxy_check::self_made;
    use crate::clock::{Clock as _, SystemClock};

    fn headers(lines: &[(String, String)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn what_is_forged_is_what_the_server_would_believe_from_a_proxy() {
        let der = self_made(SystemClock.now()).unwrap().leaf().to_vec();
        for forgery in all(None, None).unwrap() {
            let reader = HeaderReader::new(forgery.dialect, None).unwrap();
            let read = reader.read(&headers(&forgery.lines(Content::Certificate(&der))));
            match forgery.attack {
                Attack::Forged => assert_eq!(read, Ok(Some(vec![der.clone()])), "{forgery:?}"),
                _ => assert!(read.is_err(), "{forgery:?}"),
            }
            assert!(reader.read(&headers(&forgery.lines(Content::NoCertificate))).is_err(), "{forgery:?}");
        }
    }

    #[test]
    fn another_name_is_that_of_one_dialect() {
        let forgeries = all(Some(Dialect::HaProxy), Some("X-Cert")).unwrap();
        assert!(forgeries.iter().all(|forgery| forgery.header == "x-cert") && forgeries.len() == 4);
        assert!(matches!(all(Some(Dialect::HaProxy), Some("a b")), Err(Fault::Usage(_))));
        assert_eq!(
            all(None, None).unwrap().len(),
            9 * 4,
            "every header of the table, the load balancer's two"
        );
    }
}
