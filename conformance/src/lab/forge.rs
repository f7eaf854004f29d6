//! Tokens that nothing is wrong with but one thing: made with the signing key of the server, where the suite has it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Lab, Token};
use crate::check::{Halt, untestable};
use crate::jose::{Jwt, sign};
use crate::pki::Key;

impl Lab {
    /// The private key that signed this token.
    ///
    /// # Errors
    /// `Untestable` if the suite does not have it, `NotApplicable` if the token is opaque.
    pub fn signing_key(&self, token: &Token) -> Result<Key, Halt> {
        let Some(path) = &self.target().config.signing_key else {
            return untestable("the suite was not given the signing key of the server (signing_key)");
        };
        let jwt = token.jwt()?;
        for file in files(path) {
            let key = fs::read(&file).ok().and_then(|octets| Key::read(&octets).ok());
            if let Some(key) = key
                && jwt.is_signed_by(&key.jwk()?)
            {
                return Ok(key);
            }
        }
        untestable(format_args!("no key in {} has signed this token", path.display()))
    }

    /// The same token with its header and claims changed, signed by the server's own key.
    ///
    /// # Errors
    /// As [`Lab::signing_key`].
    pub fn forged(&self, token: &Token, change: impl FnOnce(&mut Value, &mut Value)) -> Result<String, Halt> {
        let key = self.signing_key(token)?;
        let Jwt { mut header, mut claims, .. } = token.jwt()?;
        change(&mut header, &mut claims);
        Ok(sign(&header, &claims, &key)?)
    }
}

/// The file, or the files of the directory.
fn files(path: &PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    entries.unwrap_or_else(|_| vec![path.clone()])
}
