//! A resource server for tokens that are bound to client certificates (RFC 6750, RFC 8705 §3), as an API team would write
//! one: nothing here comes from certbound itself.
//!
//! Every path is the one protected resource. A request needs a token in its `Authorization` header, on a connection that
//! shows the certificate that the token is bound to, and is answered with what the token says. Whether it is good is asked
//! of the authorization server (`--introspect`, `introspection.rs`) or decided here (`--local`, `local.rs`);
//! `docs/resource-servers.md` says when which.

mod arguments;
mod bearer;
mod introspection;
mod issuer;
mod local;
mod tls;
mod token;

use std::error::Error;
use std::process::ExitCode;

use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::json;

use arguments::{Arguments, USAGE, Way};
use bearer::Refusal;
use introspection::Introspection;
use issuer::{Client, Metadata};
use local::Local;
use tls::ClientCertificate;
use token::Token;

/// FAPI clients number their calls with it, and want it back.
const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");

#[actix_web::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("resource_server: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = serve(arguments).await {
        eprintln!("resource_server: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // rustls and reqwest take it from here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listen = arguments.listen;
    let tls = tls::settings(&arguments.certificate, &arguments.key)?;
    let api = Data::new(Api::new(arguments).await?);
    let server =
        HttpServer::new(move || App::new().app_data(api.clone()).default_service(web::to(protected)))
            .workers(2)
            .on_connect(tls::remember_certificate)
            .bind_rustls_0_23(listen, tls)?;
    for address in server.addrs() {
        println!("listening on {address}");
    }
    server.run().await?;
    Ok(())
}

/// The one resource there is.
async fn protected(api: Data<Api>, request: HttpRequest, body: Payload) -> HttpResponse {
    let mut answer = match api.admit(&request, body).await {
        Ok(token) => HttpResponse::Ok().json(json!({
            "client_id": token.client_id,
            "sub": token.sub,
            "scope": token.scope,
            "aud": token.aud,
            "iss": token.iss,
            "exp": token.exp,
            "cnf": token.cnf,
            "checked_by": api.check.name(),
        })),
        Err(refusal) => {
            // Quoted: parts of the reason may be a stranger's.
            eprintln!("{} {:?}", refusal.status().as_u16(), refusal.to_string());
            refusal.answer(&api.resource)
        }
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = interaction_id(request.headers()) {
        headers.insert(INTERACTION_ID, id);
    }
    answer
}

/// What the API is, and how it decides.
struct Api {
    /// Its identifier, which tokens for it have in `aud`.
    resource: String,
    /// What a token must allow.
    scope: Vec<String>,
    check: Check,
}

/// Who says whether a token is good.
enum Check {
    Introspection(Introspection),
    Local(Box<Local>),
}

impl Api {
    async fn new(arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let Arguments { issuer, resource, scope, ca, way, .. } = arguments;
        let check = match way {
            Way::Introspect { client_id, certificate, key } => {
                let client = Client::new(ca.as_deref(), Some((&certificate, &key)))?;
                let metadata = Metadata::read(&client, &issuer).await?;
                Check::Introspection(Introspection::new(client, client_id, &metadata)?)
            }
            Way::Local => {
                let client = Client::new(ca.as_deref(), None)?;
                let metadata = Metadata::read(&client, &issuer).await?;
                Check::Local(Box::new(Local::new(client, &metadata, &resource).await?))
            }
        };
        Ok(Self { resource, scope, check })
    }

    /// The token of a request, if it is good, for this API, in the right hands, and allows what is asked.
    async fn admit(&self, request: &HttpRequest, body: Payload) -> Result<Token, Refusal> {
        let token = bearer::token(request, body).await?;
        let certificate = request.conn_data::<ClientCertificate>().map(ClientCertificate::der);
        let token = match &self.check {
            Check::Introspection(introspection) => introspection.check(&token, certificate).await?,
            Check::Local(local) => local.check(&token, certificate).await?,
        };
        if !token.aud.names(&self.resource) {
            return Err(Refusal::InvalidToken("it is for another resource".to_owned()));
        }
        if !self.scope.iter().all(|needed| token.allows(needed)) {
            return Err(Refusal::InsufficientScope(self.scope.join(" ")));
        }
        Ok(token)
    }
}

impl Check {
    const fn name(&self) -> &'static str {
        match self {
            Self::Introspection(_) => "introspection",
            Self::Local(_) => "local",
        }
    }
}

/// The identifier that the client gave, if it is one UUID (RFC 9562 §4), else one made for it.
fn interaction_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(INTERACTION_ID);
    match (given.next(), given.next()) {
        (Some(id), None) if is_uuid(id.as_bytes()) => Some(id.clone()),
        _ => HeaderValue::from_str(&fresh_uuid()?).ok(),
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Version 4: random but for six bits.
fn fresh_uuid() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    let version_and_variant = 0x4000_8000_0000_0000_0000;
    let random = u128::from_be_bytes(bytes) & !0xF000_C000_0000_0000_0000 | version_and_variant;
    let hex = format!("{random:032x}");
    let parts: Vec<_> =
        [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().filter_map(|range| hex.get(range)).collect();
    Some(parts.join("-"))
}
