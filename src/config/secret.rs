//! Secrets by reference: a file or an environment variable, never the secret itself in a configuration.
//!
//! A reference is read when the secret is needed and may be printed; what it leads to is a `SecretString`
//! from the first byte and stands in no problem, no error and no log. This is the only reader of the
//! environment.

use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::file::open;
use super::section::{Map, SECRET, is_map};
use crate::document::Node;

/// Where a secret is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretRef {
    /// `{file: PATH}`: the contents, without one line end at the end.
    File(PathBuf),
    /// `{env: NAME}`: the value of an environment variable.
    Env(String),
}

/// The most bytes that a secret has.
const MAX_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// Reads the secret. The error names the reference and never what it leads to.
    pub fn read(&self) -> Result<SecretString, String> {
        let bytes = match self {
            Self::File(path) => {
                let mut bytes = Zeroizing::new(Vec::new());
                open(path)
                    .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
                    .map_err(|error| format!("{self} cannot be read: {error}"))?;
                bytes
            }
            Self::Env(name) => Zeroizing::new(environment(name).ok_or_else(|| format!("{self} is not set"))?),
        };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(format!("{self} holds more than 64 KiB, which is no secret"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{self} does not hold UTF-8 text"))?;
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(SecretString::from(text))
    }

    /// Reads `{file: …}` or `{env: …}` below `key`.
    pub(super) fn from_node(map: &mut Map<'_>, key: &str, node: &Node) -> Option<Self> {
        if !is_map(node) {
            let what = format!("{}: a secret is not written into the configuration", map.name(key));
            let instead =
                format!("put it into a file and write `{key}: {{file: PATH}}`, or `{key}: {{env: NAME}}`");
            map.problems.error(&node.at, what, instead);
            return None;
        }
        map.inner(node, &SECRET, |secret| {
            let file = secret.take("file").map(|node| secret.path_at("file", &node).map(Self::File));
            let name = secret.take("env").map(|node| Self::variable(secret, &node));
            match (file, name) {
                (Some(one), None) | (None, Some(one)) => one,
                (Some(_), Some(_)) | (None, None) => {
                    let at = secret.at.clone();
                    let instead = format!("write `{key}: {{file: PATH}}` or `{key}: {{env: NAME}}`");
                    secret.problems.error(&at, "a secret is in one place: a file or a variable", instead);
                    None
                }
            }
        })
    }

    fn variable(secret: &mut Map<'_>, node: &Node) -> Option<Self> {
        let name = node.text(secret.problems)?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !plain {
            // Not repeated: this is where somebody in a hurry puts the secret itself.
            secret.problems.error(
                &node.at,
                "this is not the name of an environment variable",
                "write the name of the variable that holds the secret, such as `{env: TLS_PASSWORD}`",
            );
            return None;
        }
        Some(Self::Env(name.to_owned()))
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the secret file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn environment(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsString::into_vec)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn in_file(bytes: &[u8]) -> Result<SecretString, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, bytes).unwrap();
        SecretRef::File(path).read()
    }

    #[test]
    fn one_line_end_is_not_part_of_the_secret_and_everything_else_is() {
        for (bytes, secret) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("hunter2\n\n", "hunter2\n"),
            (" hunter2 \n", " hunter2 "),
            ("a\rb\r", "a\rb\r"),
            ("", ""),
        ] {
            assert_eq!(in_file(bytes.as_bytes()).unwrap().expose_secret(), secret, "{bytes:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_contents() {
        let missing = SecretRef::File(PathBuf::from("/nonexistent/secret")).read().unwrap_err();
        assert!(missing.contains("/nonexistent/secret"), "{missing}");
        let binary = in_file(b"hunter2\xFF").unwrap_err();
        assert!(binary.contains("UTF-8") && !binary.contains("hunter2"), "{binary}");
        let long = in_file(&b"x".repeat(65 * 1024)).unwrap_err();
        assert!(long.contains("64 KiB") && !long.contains("xxx"), "{long}");
    }

    #[test]
    fn a_variable_is_read_by_its_name() {
        // Set by cargo for every test.
        let set = SecretRef::Env("CARGO_PKG_NAME".to_owned()).read().unwrap();
        assert_eq!(set.expose_secret(), "certbound");
        let unset = SecretRef::Env("CERTBOUND_NOT_SET".to_owned()).read().unwrap_err();
        assert!(unset.contains("CERTBOUND_NOT_SET is not set"), "{unset}");
    }
}
