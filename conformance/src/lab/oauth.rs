//! What several specifications ask of the same endpoints: nothing without TLS, what a scope comes to, tokens of which one
//! character is wrong.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::{Lab, Token};
use crate::check::{Halt, Outcome, ensure, not_applicable};
use crate::wire::Tls;

impl Lab {
    /// The URLs of an endpoint: the usual one, and its alias for clients with certificates (RFC 8705 §5) where there is one.
    ///
    /// # Errors
    /// `NotApplicable` if the endpoint is not there.
    pub fn urls(&self, endpoint: &str) -> Result<Vec<Url>, Halt> {
        let (usual, alias) = (self.conventional(endpoint)?, self.endpoint(endpoint)?);
        Ok(if usual == alias { vec![usual] } else { vec![usual, alias] })
    }

    /// The URLs of an endpoint are https, and where they lead whoever speaks without TLS gets no answer, or is told that he
    /// may not: a refusal for want of a certificate would mean that the endpoint has read the request.
    ///
    /// # Errors
    /// `Fail` if not.
    pub fn expect_https_only(&self, endpoint: &str) -> Outcome {
        for url in self.urls(endpoint)? {
            ensure(url.scheme() == "https", format_args!("{endpoint} is an https URL"), &url)?;
            let request = self.post(&url).with("grant_type", "client_credentials").with("token", "of-nobody");
            let answer = request.with("client_id", &self.pki_client()?.id).tls(Tls::Plain).send();
            let refused = answer.status().is_none_or(|status| (400..500).contains(&status));
            ensure(refused, "no answer without TLS, or a refusal", answer.seen())?;
            let error = answer.json().get("error").cloned().unwrap_or_default();
            let read = answer.status() == Some(401) || error == "invalid_client";
            ensure(!read, "without TLS the endpoint does not look who asks", answer.seen())?;
        }
        Ok(())
    }

    /// Two words of scope: all clients of the suite may ask for the first, all but `Role::Other` for the second.
    #[must_use]
    pub fn scope(&self) -> (&str, &str) {
        let mut words = self.target().config.scope.as_deref().unwrap_or("read write").split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The scope of a token: of its claims, or of its introspection if it is opaque.
    ///
    /// # Errors
    /// As [`Lab::introspection`].
    pub fn granted(&self, token: &Token) -> Result<BTreeSet<String>, Halt> {
        let whole = match token.claims() {
            Ok(claims) => claims,
            Err(_) => self.introspection(&token.text)?,
        };
        Ok(words(&whole))
    }

    /// The second resource that clients of the role `both` may ask for.
    ///
    /// # Errors
    /// `NotApplicable` if there is none.
    pub fn second_resource(&self) -> Result<&str, Halt> {
        match &self.target().config.second_resource {
            Some(resource) => Ok(resource),
            None => not_applicable("tokens of this server are for one resource only (second_resource)"),
        }
    }
}

/// The words in the member `scope` of an object.
#[must_use]
pub fn words(object: &Value) -> BTreeSet<String> {
    let scope = object.get("scope").and_then(Value::as_str).unwrap_or_default();
    scope.split(' ').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
}

/// The token with one character changed in its middle: for a JWT one time in the claims and one time in the signature.
#[must_use]
pub fn altered(token: &str) -> Vec<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let first = usize::from(parts.len() == 3);
    let change = |at: usize| {
        let parts = parts
            .iter()
            .enumerate()
            .map(|(is, part)| if is == at { other(part) } else { (*part).to_owned() });
        parts.collect::<Vec<_>>().join(".")
    };
    (first..parts.len()).map(change).collect()
}

/// The text with another character in the middle.
fn other(text: &str) -> String {
    let middle = text.chars().count() / 2;
    let swap = |(at, is): (usize, char)| match (at == middle, is) {
        (false, is) => is,
        (true, 'A') => 'Q',
        (true, _) => 'A',
    };
    text.chars().enumerate().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::altered;

    #[test]
    fn one_character_of_the_claims_or_of_the_signature_is_another() {
        assert_eq!(altered("head.claims.sign"), ["head.claAms.sign", "head.claims.siAn"]);
        assert_eq!(altered("opaque"), ["opaAue"]);
        assert_eq!(altered("opaAue"), ["opaQue"]);
    }
}
