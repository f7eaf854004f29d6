//! `certbound revoke`: ends one token, or every token of a client (RFC 7009 for the operator).
//!
//! What the answer promises is on the disk. Ending a client's tokens takes up to a second: every token with
//! `iat` up to and including the second of the answer ends, so the second has to be over.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::until_no_token_is_left;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::keys::Reading;
use crate::oauth::ClientId;
use crate::reload::Live;
use crate::store::LEEWAY;
use crate::token::TokenVerifier;

use super::client::runtime;
use super::output::{Answer, DONE, Fault, REFUSED, conclude};
use super::{Globals, control, files};

/// The arguments of `revoke`.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct RevokeArgs {
    /// End every token that this client has
    #[arg(long, value_name = "ID", value_parser = client_id)]
    client: Option<ClientId>,
    /// End the token in this file (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
}

fn client_id(text: &str) -> Result<ClientId, String> {
    ClientId::parse(text).map_err(|error| error.to_string())
}

/// Ends them.
pub(crate) fn run(args: &RevokeArgs, globals: &Globals) -> u8 {
    conclude(match (&args.client, &args.token) {
        (Some(client), _) => revoke_client(client, globals, &SystemClock),
        (None, Some(file)) => revoke_token(file, globals, &SystemClock),
        (None, None) => Err(Fault::Usage("--client ID or --token FILE".to_owned())),
    })
}

fn revoke_client(client: &ClientId, globals: &Globals, clock: &dyn Clock) -> Result<Answer, Fault> {
    let config = control::configuration(globals)?;
    let document = if let Some(server) = control::server(&config)? {
        server.post(&["clients", client.as_str(), "revoke"], &json!({}))?
    } else {
        let store = control::open_store(&config)?.tokens();
        let at = runtime()?.block_on(async {
            let at = store.moment(clock.now()).await?;
            store.revoke_issued_before(client, at, until_no_token_is_left(at)).await?;
            Ok::<_, Fault>(at)
        })?;
        control::wait_out(at, &config, clock);
        json!({ "client_id": client.as_str(), "issued_before": at.to_string() })
    };
    let until = document.get("issued_before").and_then(Value::as_str).unwrap_or_default();
    Ok(Answer::done(
        globals.format,
        || format!("every token that {client} got up to {until} has ended"),
        &document,
    ))
}

fn revoke_token(file: &Path, globals: &Globals, clock: &dyn Clock) -> Result<Answer, Fault> {
    let text = files::read(file)?;
    let jwt = std::str::from_utf8(&text)
        .map(str::trim)
        .ok()
        .filter(|jwt| !jwt.is_empty())
        .ok_or_else(|| Fault::Usage(format!("{}: there is no token in it", file.display())))?;
    let config = control::configuration(globals)?;
    let document = match control::server(&config)? {
        Some(server) => server.post(&["tokens", "revoke"], &json!({ "token": jwt }))?,
        None => revoke_in_store(jwt, &config, clock)?,
    };
    let revoked = document.get("revoked").and_then(Value::as_bool).unwrap_or_default();
    let jti = document.get("jti").and_then(Value::as_str).unwrap_or_default();
    let words = || {
        if revoked {
            format!("the token {jti} has ended")
        } else {
            "there was nothing to end: not a token of this server, or it has expired".to_owned()
        }
    };
    Ok(Answer::with_code(if revoked { DONE } else { REFUSED }, globals.format, words, &document))
}

/// What the server would do, with its keys and its store.
fn revoke_in_store(jwt: &str, config: &Config, clock: &dyn Clock) -> Result<Value, Fault> {
    let Reading { keys, errors, .. } = control::read_keys(config)?;
    let store = control::open_store(config)?.tokens();
    let verifier = TokenVerifier::new(config.issuer.clone(), Arc::new(Live::new(keys)), Arc::clone(&store));
    let now = clock.now();
    let Ok(claims) = verifier.read(jwt, now) else {
        // The key of this token may be the one that could not be read.
        return match errors.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(json!({ "revoked": false, "jti": null })),
        };
    };
    runtime()?.block_on(store.revoke(claims.jti, now, claims.expires_at.plus(LEEWAY)))?;
    Ok(json!({ "revoked": true, "jti": claims.jti.to_string() }))
}
