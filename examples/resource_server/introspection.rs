//! Asks the authorization server about each token (RFC 7662) and lets it decide the binding as well: it is sent the
//! certificate that this connection showed. So a token that was revoked, or whose client or certificate is gone, ends at
//! once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::Value;

use crate::bearer::Refusal;
use crate::issuer::{Client, Metadata};
use crate::token::Token;

/// The one who asks.
pub(crate) struct Introspection {
    client: Client,
    client_id: String,
    endpoint: String,
}

impl Introspection {
    pub(crate) fn new(client: Client, client_id: String, metadata: &Metadata) -> Result<Self, &'static str> {
        let endpoint = metadata.introspection_endpoint().ok_or("the issuer has no introspection endpoint")?;
        Ok(Self { client, client_id, endpoint: endpoint.to_owned() })
    }

    pub(crate) async fn check(&self, token: &str, certificate: Option<&[u8]>) -> Result<Token, Refusal> {
        // Empty where none was shown, and never left out: that would mean that the binding is not asked about.
        let certificate = certificate.map(|der| STANDARD.encode(der)).unwrap_or_default();
        let form = [("token", token), ("client_id", &self.client_id), ("client_certificate", &certificate)];
        let unavailable = |error: reqwest::Error| Refusal::Unavailable(error.to_string());
        let answer = self.client.post(&self.endpoint, &form).await.map_err(unavailable)?;
        let status = answer.status();
        let told: Value = answer.json().await.map_err(unavailable)?;
        match status {
            StatusCode::OK if told.get("active") == Some(&Value::Bool(true)) => {
                serde_json::from_value(told).map_err(|error| Refusal::InvalidToken(error.to_string()))
            }
            StatusCode::OK => Err(Refusal::InvalidToken("it is not active for this certificate".to_owned())),
            // The request is ours and in order, so it is the certificate that could not be read.
            StatusCode::BAD_REQUEST if told.get("error").is_some_and(|error| error == "invalid_request") => {
                Err(Refusal::InvalidToken("the certificate is not one".to_owned()))
            }
            // Above all: this resource server itself was not let in.
            _ => Err(Refusal::Unavailable(format!("{status}: {told}"))),
        }
    }
}
