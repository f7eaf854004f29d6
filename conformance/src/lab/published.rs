//! What a server publishes: its metadata (RFC 8414) and its keys (RFC 7517), fetched where the check can see it.

use serde_json::Value;
use url::Url;

use super::{Answer, Lab, Token};
use crate::check::{Halt, ensure, fail, untestable};
use crate::jose::Jwt;

impl Lab {
    /// The well-known URL of this name for the issuer: before its path, of which a slash at the end does not count (RFC 8414
    /// §3.1).
    ///
    /// # Errors
    /// `Untestable` if the issuer is no URL.
    pub fn well_known(&self, name: &str) -> Result<Url, Halt> {
        let mut url = self.issuer_url()?;
        let path = format!("/.well-known/{name}{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }

    /// The issuer identifier as a URL.
    ///
    /// # Errors
    /// `Untestable` if it is none.
    pub fn issuer_url(&self) -> Result<Url, Halt> {
        match Url::parse(self.issuer()) {
            Ok(url) => Ok(url),
            Err(error) => untestable(format_args!("the issuer {:?}: {error}", self.issuer())),
        }
    }

    /// A fresh GET of the metadata, at the first of their places that answers 200, and where that is.
    ///
    /// # Errors
    /// `Fail` if none does.
    pub fn published(&self) -> Result<(Url, Answer), Halt> {
        let urls = self.target().metadata_urls().map_err(Halt::Untestable)?;
        for url in &urls {
            let answer = self.get(url).send();
            if answer.status() == Some(200) {
                return Ok((url.clone(), answer));
            }
        }
        let places: Vec<_> = urls.iter().map(Url::as_str).collect();
        fail(format_args!("metadata at {}", places.join(" or ")), "no 200 there")
    }

    /// The metadata, freshly fetched, under whatever media type.
    ///
    /// # Errors
    /// `Fail` if they are no JSON object.
    pub fn document(&self) -> Result<Value, Halt> {
        match self.published()? {
            (_, answer) if answer.json().is_object() => Ok(answer.json()),
            (_, answer) => fail("a JSON object", answer.seen()),
        }
    }

    /// The JWK Set of the metadata, freshly fetched.
    ///
    /// # Errors
    /// `NotApplicable` without `jwks_uri`, `Fail` if there is no JWK Set.
    pub fn key_set(&self) -> Result<Value, Halt> {
        let answer = self.get(&self.conventional("jwks_uri")?).send();
        answer.expect_status(200)?;
        let set = answer.json();
        let listed = set.get("keys").is_some_and(Value::is_array);
        ensure(listed, "an object with a list of keys", answer.seen())?;
        Ok(set)
    }

    /// The published keys.
    ///
    /// # Errors
    /// As [`Lab::key_set`]; `Fail` if there is none.
    pub fn keys(&self) -> Result<Vec<Value>, Halt> {
        let set = self.key_set()?;
        let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        ensure(!keys.is_empty(), "at least one key", &set)?;
        Ok(keys)
    }

    /// The token taken apart, and the published key that has signed it.
    ///
    /// # Errors
    /// `NotApplicable` if the token is opaque, `Fail` if no published key has signed it.
    pub fn verified(&self, token: &Token) -> Result<(Jwt, Value), Halt> {
        let jwt = token.jwt()?;
        let set = self.key_set()?;
        let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
        match keys.into_iter().find(|key| jwt.is_signed_by(key)) {
            Some(key) => Ok((jwt, key.clone())),
            None => fail(
                "a token that one of the published keys has signed",
                format_args!("{} and {set}", token.text),
            ),
        }
    }
}
