//! The certificate of a client in the header of a proxy that ended TLS, in the dialects of contract §3.
//!
//! Applies RFC 9440 for `rfc9440`; the others are what each proxy documents, or writes where its documentation is
//! silent. A header is taken exactly once or not at all, and never in doubt: a second line, a twin with `_`, a header of
//! another dialect, or a `Connection` that names one is an error (RFC 9440 §4), and so is everything that does not
//! decode, because to call it "no certificate" would hide the fault. What comes out is DER in the order of TLS, one outer
//! frame for each certificate, not parsed. Whether the proxy may speak at all is the listener's business, the number of
//! certificates and what is in them that of [`crate::pki::Chain`].

mod bare;
mod der;
mod dialect;
mod escaped;
mod pem;
mod structured;
#[cfg(test)]
mod tests;
mod xfcc;

use actix_web::http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRAILER};

pub use dialect::{CERTIFICATE_HEADERS, Dialect, UnknownDialect};

use self::dialect::{
    CLIENT_CERT_CHAIN, X_AMZN_MTLS_CLIENTCERT_LEAF, X_SSL_CLIENT_CHAIN_DER, X_SSL_CLIENT_VERIFY,
};
use crate::pki::Chain;

/// Why a name cannot be that of the header with the certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderNameError {
    /// No field name of RFC 9110 §5.1.
    #[error("this is no name of a header")]
    Malformed,
    /// Servers that take `_` for `-` would let a client write the header under its other name.
    #[error("a header with `_` in its name is refused as a forgery of the one with `-`; write `-`")]
    Underscore,
    /// A header that HTTP, or the dialect, reads otherwise.
    #[error("this header has another meaning already")]
    Taken,
}

/// Headers that mean something else to HTTP or to this server; none may hold a certificate.
const TAKEN: [&str; 15] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the headers of one listener: one dialect, under the names it has there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderReader {
    dialect: Dialect,
    header: String,
    names: Names,
}

/// Which of a dialect's headers may hold the leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Names {
    /// Any that the dialect has for it.
    Usual,
    /// The one that the configuration names, and no other.
    Configured,
}

/// A request from a proxy whose headers are no answer to "which certificate did the client show?".
///
/// Says which header and why, for the log; it holds nothing of a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the header {header} {fault}")]
pub struct ForwardedError {
    header: String,
    fault: Fault,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Fault {
    #[error("comes more than once")]
    Repeated,
    #[error("belongs to another dialect than that of this listener")]
    OtherDialect,
    #[error("is a certificate header with `_` for `-`")]
    Underscore,
    #[error("is named in `{0}`")]
    NamedIn(&'static str),
    #[error("holds more than 64 KiB of certificates")]
    TooLong,
    #[error("{0}")]
    Malformed(&'static str),
}

impl HeaderReader {
    /// A reader for `dialect`; `header` is another name, in any case, for [`Dialect::header`].
    pub fn new(dialect: Dialect, header: Option<&str>) -> Result<Self, HeaderNameError> {
        let names = if header.is_some() { Names::Configured } else { Names::Usual };
        let header = header.unwrap_or_else(|| dialect.header());
        let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| HeaderNameError::Malformed)?;
        let header = header.as_str().to_owned();
        if header.contains('_') {
            return Err(HeaderNameError::Underscore);
        }
        // The load balancer's leaf header may be the only one that is read; no other companion holds a leaf.
        let is_companion = dialect.companion() == Some(header.as_str()) && dialect != Dialect::AwsAlb;
        if is_companion || TAKEN.contains(&header.as_str()) {
            return Err(HeaderNameError::Taken);
        }
        Ok(Self { dialect, header, names })
    }

    /// The dialect that is read.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The name of the header with the certificate, lower case.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The DER of the certificate and of what came with it, leaf first; `None` if there is no header or an empty one.
    ///
    /// At most [`Chain::MAX_BYTES`]; the count is for the caller to bound. An error is a 400 (edge case 16.5).
    pub fn read(&self, headers: &HeaderMap) -> Result<Option<Vec<Vec<u8>>>, ForwardedError> {
        self.refuse_doubt(headers)?;
        self.refuse_removal(headers)?;
        let main = once(headers, &self.header)?;
        let certificates = match self.dialect {
            Dialect::Rfc9440 => self.rfc9440(headers, main)?,
            Dialect::Nginx => self.nginx(headers, main)?,
            Dialect::Envoy => self.decode(main, xfcc::certificates)?,
            Dialect::HaProxy => self.haproxy(headers, main)?,
            Dialect::Traefik => self.decode(main, bare::list)?,
            Dialect::Apache => self.decode(main.filter(|value| *value != pem::NULL), pem::folded)?,
            Dialect::AwsAlb => self.aws_alb(headers, main)?,
            Dialect::Azure => self.decode(main, |value| bare::one(value).map(|leaf| vec![leaf]))?,
        };
        let length = certificates.iter().flatten().map(Vec::len).sum::<usize>();
        if length > Chain::MAX_BYTES {
            return Err(self.fault(Fault::TooLong));
        }
        Ok(certificates)
    }

    /// RFC 9440 §2.3: the chain may be split over lines, does not repeat the leaf, and never comes alone.
    fn rfc9440(&self, headers: &HeaderMap, main: Option<&[u8]>) -> Read {
        let lines: Vec<_> = values(headers, CLIENT_CERT_CHAIN).collect();
        let chain = if lines.iter().all(|line| line.is_empty()) {
            Vec::new()
        } else {
            structured::list(&lines.join(&b", "[..])).map_err(|fault| at(CLIENT_CERT_CHAIN, fault))?
        };
        self.leaf_and_chain(main, structured::item, (CLIENT_CERT_CHAIN, chain), Repeats::Refused)
    }

    /// What nginx thinks of the certificate is not asked: `FAILED:…` is what it says of every self-signed one, and here
    /// each is judged again. But `NONE` says that there was none.
    fn nginx(&self, headers: &HeaderMap, main: Option<&[u8]>) -> Read {
        let says = once(headers, X_SSL_CLIENT_VERIFY)?;
        let wrong = match says {
            None | Some(b"SUCCESS" | b"FAILED") => None,
            Some(b"NONE") => main.map(|_| "says NONE, and yet there is a certificate"),
            Some(failed) if failed.starts_with(b"FAILED:") => None,
            Some(_) => Some("is none of SUCCESS, NONE and FAILED:reason"),
        };
        if let Some(wrong) = wrong {
            return Err(at(X_SSL_CLIENT_VERIFY, Fault::Malformed(wrong)));
        }
        self.decode(main, |value| pem::escaped_one(value).map(|leaf| vec![leaf]))
    }

    /// `ssl_c_chain_der` leaves the leaf out where OpenSSL ends TLS; other libraries give it, first.
    fn haproxy(&self, headers: &HeaderMap, main: Option<&[u8]>) -> Read {
        let chain = once(headers, X_SSL_CLIENT_CHAIN_DER)?.map(bare::concatenated).transpose();
        let chain = chain.map_err(|fault| at(X_SSL_CLIENT_CHAIN_DER, fault))?.unwrap_or_default();
        self.leaf_and_chain(main, bare::one, (X_SSL_CLIENT_CHAIN_DER, chain), Repeats::FirstDropped)
    }

    /// The whole chain in passthrough mode, the leaf in verify mode; should both come, they must agree. A load balancer
    /// whose mode is configured by the name of its header writes no other: a leaf that comes alone is a client's own then.
    fn aws_alb(&self, headers: &HeaderMap, main: Option<&[u8]>) -> Read {
        let leaf = once(headers, X_AMZN_MTLS_CLIENTCERT_LEAF)?.map(pem::escaped_one).transpose();
        let leaf = leaf.map_err(|fault| at(X_AMZN_MTLS_CLIENTCERT_LEAF, fault))?;
        if self.header == X_AMZN_MTLS_CLIENTCERT_LEAF {
            return Ok(leaf.map(|leaf| vec![leaf]));
        }
        let whole = self.decode(main, pem::escaped)?;
        let Some(leaf) = leaf else { return Ok(whole) };
        match whole {
            Some(whole) if whole.first() != Some(&leaf) => {
                Err(at(X_AMZN_MTLS_CLIENTCERT_LEAF, Fault::Malformed("is not the first of the chain")))
            }
            Some(whole) => Ok(Some(whole)),
            None if self.names == Names::Configured => Err(at(
                X_AMZN_MTLS_CLIENTCERT_LEAF,
                Fault::Malformed("comes without the header that is configured"),
            )),
            None => Ok(Some(vec![leaf])),
        }
    }

    fn leaf_and_chain(
        &self,
        main: Option<&[u8]>,
        decode: impl FnOnce(&[u8]) -> Result<Vec<u8>, Fault>,
        (companion, mut chain): (&str, Vec<Vec<u8>>),
        repeats: Repeats,
    ) -> Read {
        let Some(main) = main else {
            let alone = Fault::Malformed("comes without the certificate that it belongs to");
            return if chain.is_empty() { Ok(None) } else { Err(at(companion, alone)) };
        };
        let leaf = decode(main).map_err(|fault| self.fault(fault))?;
        if repeats == Repeats::FirstDropped && chain.first() == Some(&leaf) {
            chain.remove(0);
        }
        if chain.contains(&leaf) {
            return Err(at(companion, Fault::Malformed("repeats the certificate of the client")));
        }
        chain.insert(0, leaf);
        Ok(Some(chain))
    }

    fn decode(
        &self,
        value: Option<&[u8]>,
        decode: impl FnOnce(&[u8]) -> Result<Vec<Vec<u8>>, Fault>,
    ) -> Read {
        value.map(decode).transpose().map_err(|fault| self.fault(fault))
    }

    /// Two dialects at once, or a name that some server on the way takes for ours, leave open who wrote which header.
    fn refuse_doubt(&self, headers: &HeaderMap) -> Result<(), ForwardedError> {
        for name in headers.keys().map(HeaderName::as_str) {
            if name.contains('_') && self.watches(&name.replace('_', "-")) {
                return Err(at(name, Fault::Underscore));
            }
            let is_ours = name == self.header || self.dialect.companion() == Some(name);
            let says_something = || values(headers, name).any(|value| !value.is_empty());
            if self.watches(name) && !is_ours && says_something() {
                return Err(at(name, Fault::OtherDialect));
            }
        }
        Ok(())
    }

    /// A header that `Connection` names is removed by the next proxy (RFC 9110 §7.6.1), one that `Trailer` announces comes
    /// after the body; who asks for either does not want it to be read here.
    fn refuse_removal(&self, headers: &HeaderMap) -> Result<(), ForwardedError> {
        for (list, says) in [(CONNECTION, "Connection"), (TRAILER, "Trailer")] {
            let lines = headers.get_all(list).map(HeaderValue::as_bytes);
            for option in lines.flat_map(|line| line.split(|&octet| octet == b',')) {
                let option = String::from_utf8_lossy(option.trim_ascii());
                let option = option.to_ascii_lowercase().replace('_', "-");
                if self.watches(&option) {
                    return Err(at(&option, Fault::NamedIn(says)));
                }
            }
        }
        Ok(())
    }

    /// Whether a name, lower case, is that of a certificate header: of any dialect, or under which this one comes here.
    fn watches(&self, name: &str) -> bool {
        CERTIFICATE_HEADERS.contains(&name) || name == self.header || self.dialect.companion() == Some(name)
    }

    fn fault(&self, fault: Fault) -> ForwardedError {
        at(&self.header, fault)
    }
}

/// What [`HeaderReader::read`] returns.
type Read = Result<Option<Vec<Vec<u8>>>, ForwardedError>;

/// What becomes of a chain in which the leaf stands once more.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Repeats {
    Refused,
    FirstDropped,
}

fn at(header: &str, fault: Fault) -> ForwardedError {
    ForwardedError { header: header.to_owned(), fault }
}

/// The one value of a header; an empty one is none (contract §6, ruling 17). Never the first or the last of several.
fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, ForwardedError> {
    let mut lines = values(headers, name);
    let first = lines.next();
    if lines.next().is_some() {
        return Err(at(name, Fault::Repeated));
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// The lines of a header, without the blanks around each (RFC 9110 §5.5).
fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).map(|value| value.as_bytes().trim_ascii())
}
