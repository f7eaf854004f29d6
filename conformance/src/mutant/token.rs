//! Access tokens: RFC 9068, bound to a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use openssl::hash::{MessageDigest, hash};
use openssl::x509::X509;
use serde_json::{Map, Value, json};

use super::clients::Client;
use super::{API, Fault, Mutant, drawn};
use crate::clock;
use crate::jose::{Jwt, sign};

impl Mutant {
    /// A token for this client.
    pub(super) fn issue(
        &self,
        client: &Client,
        scope: &str,
        resources: &[&str],
        leaf: Option<&Vec<u8>>,
        alias: bool,
    ) -> Result<String, openssl::error::ErrorStack> {
        let now = clock::seconds();
        let issuer = if alias && self.has(Fault::TheAliasIsTheIssuer) { &self.alias } else { &self.issuer };
        let identifier = match () {
            () if self.has(Fault::TokensAreCounted) => format!("{:032}", self.count()),
            () if self.has(Fault::IdentifiersAreOfClients) => client.id.clone(),
            () => drawn(),
        };
        let audience = match resources {
            _ if self.has(Fault::OneAudienceForAll) => json!(API),
            _ if self.has(Fault::TheAudienceIsTheClient) => json!(client.id),
            [one] => json!(one),
            several => json!(several),
        };
        let mut claims = json!({"iss": issuer, "sub": client.id, "client_id": client.id, "aud": audience, "iat": now,
            "exp": now + self.lifetime, "jti": identifier, "scope": scope});
        if let (Some(leaf), Some(members)) = (leaf, claims.as_object_mut()) {
            members.insert("cnf".to_owned(), json!({"x5t#S256": self.thumbprint(leaf)?}));
        }
        for (fault, name) in [
            (Fault::NoIdentifier, "jti"),
            (Fault::NoIssuer, "iss"),
            (Fault::NoEnd, "exp"),
            (Fault::NoSubject, "sub"),
            (Fault::NoClientId, "client_id"),
            (Fault::NoBeginning, "iat"),
        ] {
            if let (true, Some(members)) = (self.has(fault), claims.as_object_mut()) {
                members.remove(name);
            }
        }
        let typ = if self.has(Fault::TheTypeIsJwt) { "JWT" } else { "at+jwt" };
        let (algorithm, key) = self.signing();
        sign(&json!({"alg": algorithm, "typ": typ, "kid": algorithm}), &claims, key)
    }

    fn thumbprint(&self, leaf: &[u8]) -> Result<String, openssl::error::ErrorStack> {
        let digest =
            if self.has(Fault::HashesAreSha1) { MessageDigest::sha1() } else { MessageDigest::sha256() };
        let octets = if self.has(Fault::HashesAreOfKeys) {
            X509::from_der(leaf)?.public_key()?.public_key_to_der()?
        } else {
            leaf.to_vec()
        };
        let hash = hash(digest, &octets)?;
        let text = if self.has(Fault::HashesHavePadding) {
            URL_SAFE.encode(hash)
        } else {
            URL_SAFE_NO_PAD.encode(hash)
        };
        let (start, rest) = text.split_at_checked(32).unwrap_or((&text, ""));
        Ok(if self.has(Fault::HashesHaveLines) { format!("{start}\n{rest}") } else { text.clone() })
    }

    /// The claims of a token of this server, whatever the time.
    pub(super) fn own(&self, text: &str) -> Option<Value> {
        let jwt = Jwt::parse(text)?;
        let (algorithm, key) = self.signing();
        let none = jwt.header_text("alg").eq_ignore_ascii_case("none") && jwt.signature.is_empty();
        let signed = jwt.header_text("alg") == algorithm && jwt.is_signed_by(&key.jwk().ok()?)
            || self.has(Fault::SignaturesAreNotVerified)
            || none && self.has(Fault::NoneIsASignature);
        let typed = jwt.header_text("typ").eq_ignore_ascii_case("at+jwt") || self.has(Fault::TheTypeIsJwt);
        let issued = jwt
            .claims
            .get("iss")
            .is_none_or(|issuer| *issuer == json!(self.issuer) || *issuer == json!(self.alias));
        (signed && typed && issued && jwt.claims.get("client_id").is_some()).then_some(jwt.claims)
    }

    /// The same for a token that holds now.
    pub(super) fn active(&self, text: &str) -> Option<Value> {
        let claims = self.own(text)?;
        let now = clock::seconds();
        let at = |name: &str| claims.get(name).and_then(Value::as_u64);
        let over = at("exp").is_some_and(|end| end <= now) && !self.has(Fault::TokensNeverEnd);
        let early = at("nbf").is_some_and(|begin| begin > now) && !self.has(Fault::TokensOfTheFuture);
        (!over && !early && !self.is_revoked(&identifier(&claims))).then_some(claims)
    }

    /// What a resource server hears of an active token.
    pub(super) fn told(&self, claims: &Value) -> Value {
        let mut told: Map<String, Value> = claims.as_object().cloned().unwrap_or_default();
        let active = if self.has(Fault::ActiveIsText) { json!("true") } else { json!(true) };
        told.extend([("active".to_owned(), active), ("token_type".to_owned(), json!("Bearer"))]);
        if self.has(Fault::MembersOfOurOwn) {
            told.insert("mutant".to_owned(), json!(1));
        }
        if self.has(Fault::IntrospectionHidesTheHash) {
            told.remove("cnf");
        }
        Value::Object(told)
    }
}

/// `jti`.
pub(super) fn identifier(claims: &Value) -> String {
    claims.get("jti").and_then(Value::as_str).unwrap_or_default().to_owned()
}
