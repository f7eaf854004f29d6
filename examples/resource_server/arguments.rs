//! The command line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

pub(crate) const USAGE: &str = "\
usage: resource_server (--introspect | --local) --issuer URL --resource URI [--scope WORDS]
                       --listen ADDRESS --cert FILE --key FILE [--ca FILE]
                       [--client-id ID --client-cert FILE --client-key FILE]

  --introspect   ask the authorization server about each token, as the client ID
                 with the certificate in --client-cert
  --local        verify tokens here, with the keys that the issuer publishes
  --issuer       the authorization server
  --resource     what this API is called: the `aud` of its tokens
  --scope        what a token must allow; several words with blanks
  --listen       IP address and port; port 0 takes a free one
  --cert, --key  the certificate of this server and its key, as PEM
  --ca           the CA of the authorization server's certificate; default: those of the system";

/// What the program was told.
pub(crate) struct Arguments {
    pub(crate) issuer: String,
    pub(crate) resource: String,
    pub(crate) scope: Vec<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) way: Way,
}

/// How tokens are checked.
pub(crate) enum Way {
    Introspect { client_id: String, certificate: PathBuf, key: PathBuf },
    Local,
}

const VALUES: [&str; 10] = [
    "--issuer",
    "--resource",
    "--scope",
    "--listen",
    "--cert",
    "--key",
    "--ca",
    "--client-id",
    "--client-cert",
    "--client-key",
];

impl Arguments {
    /// `None` if help is wanted; the error says what is wrong.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut flags = Vec::new();
        let mut given = HashMap::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--introspect" | "--local" => flags.push(word),
                name if VALUES.contains(&name) => {
                    let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
                    if given.insert(word.clone(), value).is_some() {
                        return Err(format!("{word} is given twice"));
                    }
                }
                _ => return Err(format!("{word:?} is not known")),
            }
        }
        let mut required = |name: &str| given.remove(name).ok_or_else(|| format!("{name} is missing"));
        let introspect = match flags.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["--introspect"] => true,
            ["--local"] => false,
            _ => return Err("one of --introspect and --local is needed".to_owned()),
        };
        let way = if introspect {
            Way::Introspect {
                client_id: required("--client-id")?,
                certificate: required("--client-cert")?.into(),
                key: required("--client-key")?.into(),
            }
        } else {
            Way::Local
        };
        let issuer = required("--issuer")?;
        Url::parse(&issuer).map_err(|error| format!("--issuer {issuer:?}: {error}"))?;
        let resource = required("--resource")?;
        if !resource.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            return Err("--resource is not a URI".to_owned());
        }
        let listen = required("--listen")?;
        let (certificate, key) = (required("--cert")?.into(), required("--key")?.into());
        let scope = given.remove("--scope").unwrap_or_default();
        Ok(Some(Self {
            issuer,
            resource,
            scope: scope.split_whitespace().map(ToOwned::to_owned).collect(),
            listen: listen.parse().map_err(|_| format!("--listen {listen:?}: not an address and a port"))?,
            certificate,
            key,
            ca: given.remove("--ca").map(PathBuf::from),
            way,
        }))
    }
}
