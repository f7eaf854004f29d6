//! Identifiers, each a type of its own so that none is taken for another.

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

/// Text that is not the identifier it should be; says what is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct IdError(&'static str);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A client identifier: `1*VSCHAR` (RFC 6749 §2.2, appendix A.1), at most 255 characters. Compared by code points.
    ClientId
}
text_id! {
    /// The audience of a token: an absolute URI without fragment (RFC 8707 §2). Compared by code points.
    Audience
}
text_id! {
    /// An https URL below which endpoints hang: no query, no fragment, no trailing slash. The text stays as written.
    BaseUrl
}
text_id! {
    /// The issuer identifier (RFC 8414 §2), kept and compared as written.
    Issuer
}

impl ClientId {
    /// Reads `1*VSCHAR` of bounded length.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError("a client_id has at least one character"));
        }
        if text.len() > 255 {
            return Err(IdError("a client_id has at most 255 characters"));
        }
        if !text.bytes().all(|byte| (0x20..=0x7E).contains(&byte)) {
            return Err(IdError(
                "a client_id has visible ASCII characters and spaces only (RFC 6749 appendix A.1)",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Audience {
    /// Reads an absolute URI without fragment.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        const WRONG: IdError = IdError("a resource is an absolute URI without a fragment (RFC 8707 §2)");
        // The URL parser repairs (it drops tabs and blanks); an identifier is not repaired.
        if text.len() > 2048 || !text.bytes().all(|byte| (0x21..=0x7E).contains(&byte)) || text.contains('#')
        {
            return Err(WRONG);
        }
        Url::parse(text).map_err(|_| WRONG)?;
        Ok(Self(text.into()))
    }
}

impl BaseUrl {
    /// Reads an https URL that endpoint paths can be appended to.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > 2048 || !text.bytes().all(|byte| (0x21..=0x7E).contains(&byte)) {
            return Err(IdError("a URL has visible ASCII characters only"));
        }
        let url = Url::parse(text).map_err(|_| IdError("this is not an absolute URL"))?;
        if url.scheme() != "https" || !text.starts_with("https://") {
            return Err(IdError("the URL begins with https:// (RFC 8414 §2)"));
        }
        if text.contains('?') || text.contains('#') {
            return Err(IdError("the URL has no query and no fragment (RFC 8414 §2)"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(IdError("the URL has no user name and no password"));
        }
        if text.ends_with('/') {
            return Err(IdError(
                "the URL does not end with a slash, because it is compared character by character",
            ));
        }
        let authority =
            text.get("https://".len()..).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if !authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)) {
            return Err(IdError(
                "the host of the URL has letters, digits, - and . only; write an IDN as its A-labels",
            ));
        }
        let path = text.get("https://".len()..).and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if path.is_some_and(|path| !path.bytes().all(plain) || path.contains("//") || path.contains("/.")) {
            return Err(IdError(
                "the path of the URL has letters, digits and - . _ ~ between single slashes",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The path: empty, or begins with a slash and does not end with one.
    pub fn path(&self) -> &str {
        path_of(&self.0)
    }
}

impl Issuer {
    /// Reads an issuer identifier; the rules are those of [`BaseUrl`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        BaseUrl::parse(text).map(|url| Self(url.0))
    }

    /// The path: empty, or begins with a slash and does not end with one.
    pub fn path(&self) -> &str {
        path_of(&self.0)
    }

    /// The issuer as the place where the endpoints are.
    pub fn to_base_url(&self) -> BaseUrl {
        BaseUrl(self.0.clone())
    }
}

fn path_of(text: &str) -> &str {
    let rest = text.strip_prefix("https://").unwrap_or(text);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// The name of one token: 128 bits from the system's generator, base64url on the wire (RFC 6749 §10.10).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Jti([u8; 16]);

impl Jti {
    /// A new one, never seen before.
    pub fn fresh() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Reads the form of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The bytes, for the store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From the bytes of the store.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Jti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &URL_SAFE_NO_PAD).fmt(f)
    }
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_stays_as_written_and_knows_its_path() {
        let issuer = Issuer::parse("https://AS.example.com:443/t1").unwrap();
        assert_eq!(issuer.as_str(), "https://AS.example.com:443/t1");
        assert_eq!(issuer.path(), "/t1");
        assert_eq!(Issuer::parse("https://as.example.com").unwrap().path(), "");
    }

    #[test]
    fn what_cannot_be_an_issuer_is_refused() {
        for text in [
            "http://a",
            "https://a/",
            "https://a?x",
            "https://a#x",
            "a",
            "https://u@a",
            "HTTPS://a",
            "https://a/t/",
            "https://a//b",
            "https://a/../b",
            "https://a/{x}",
            "https://",
            "https:a",
            " https://a",
        ] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_audience_is_an_absolute_uri_without_fragment() {
        assert!(
            Audience::parse("https://api.example.com/").is_ok() && Audience::parse("urn:example:api").is_ok()
        );
        for text in ["", "api", "/x", "https://a#", "https://a b", "https://a\n"] {
            assert!(Audience::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_id_is_visible_ascii_of_bounded_length() {
        assert!(ClientId::parse("a b/../c").is_ok());
        for text in ["", "é", "a\nb", "a\0", &"a".repeat(256)] {
            assert!(ClientId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_jti_reads_back_and_has_no_twin() {
        let (one, two) = (Jti::fresh().unwrap(), Jti::fresh().unwrap());
        assert_eq!(Jti::parse(&one.to_string()), Some(one));
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), 22);
    }
}
