//! What the suite is told of the server that it checks: one YAML file, paths relative to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The file of `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the report calls the server; default the issuer.
    pub name: Option<String>,
    /// The issuer identifier; default `--target`.
    pub issuer: String,
    /// Where its metadata are; default the place of RFC 8414 §3.1, else that of `OpenID` Connect Discovery.
    pub metadata: Option<String>,
    /// The CAs of its TLS certificate, PEM.
    pub ca: PathBuf,
    /// A CA that the server trusts for client certificates, with its key, so that the suite can issue odd ones.
    pub client_ca: Option<Pair>,
    /// A CA that the server trusts for something else than these clients, its own certificate for instance.
    pub other_ca: Option<Pair>,
    /// Whether a registered self-signed certificate counts after its time: `true` if it is refused.
    pub refuses_expired_registered: Option<bool>,
    /// A CA whose CRL the server asks, and which certificate that lists.
    pub revoking: Option<Revoking>,
    /// Clients that are registered already, by role: `dns`, `dn`, `uri`, `ip`, `email`, `self_signed`, `other`, `both`,
    /// `resource_server`, `second_resource_server`. Those that are missing are registered by the registrar.
    pub clients: BTreeMap<String, Registered>,
    /// By what the suite registers clients.
    pub registrar: Option<Registrar>,
    /// What a token request has where its check says nothing else of the parameter: `resource` for a server that knows no
    /// default.
    pub token_parameters: BTreeMap<String, String>,
    /// The scope that the clients of the suite are registered with; at least two words.
    pub scope: Option<String>,
    /// The resource (RFC 8707) that tokens are for without being asked.
    pub resource: Option<String>,
    /// A second resource that clients may be registered for.
    pub second_resource: Option<String>,
    /// A word of scope that means the second resource, if the server knows for which resource each word is.
    pub second_scope: Option<String>,
    /// Members of the metadata that the server documents and that nobody has registered.
    pub metadata_members: Vec<String>,
    /// The listener behind a proxy that ended TLS (RFC 9440), if there is one.
    pub forwarded: Option<Forwarded>,
    /// The address of operations (probes, metrics).
    pub admin: Option<String>,
    /// The private key that signs tokens, PEM, or the directory with it: with it the suite makes tokens that nothing is wrong with but one thing.
    pub signing_key: Option<PathBuf>,
    /// What the server logs, to be searched for secrets.
    pub log: Option<PathBuf>,
    /// The demo resource servers: `introspecting` and `local`.
    pub resource_servers: BTreeMap<String, String>,
    /// The same server in other configurations: name and config file.
    pub variants: BTreeMap<String, PathBuf>,
    /// An address and a certificate by which the suite serves `jwks_uri` documents that the server fetches.
    pub hosting: Option<Hosting>,
    /// Requirements that the server documents not to meet, and why.
    pub divergences: BTreeMap<String, String>,
}

/// A certificate and its key, PEM or DER.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The certificate, or several: the leaf first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A CA whose CRL the server asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoking {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The serial number on its CRL, hexadecimal.
    pub revoked_serial: String,
    /// What documents of its clients have beside the rest.
    #[serde(default)]
    pub members: Map<String, Value>,
    /// What documents of its clients have whose certificates are not asked about.
    #[serde(default)]
    pub unasked: Map<String, Value>,
}

/// A registered client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// Its identifier.
    pub client_id: String,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

/// By what clients are registered: one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// Dynamic registration.
    pub rfc7591: Option<Dynamic>,
    /// A directory of client documents.
    pub directory: Option<Directory>,
    /// What documents have beside what their check says.
    pub members: Members,
}

/// RFC 7591.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dynamic {
    /// Default: that of the metadata.
    pub registration_endpoint: Option<String>,
    /// The bearer token that registration asks for.
    pub initial_access_token: Option<String>,
}

/// A directory of documents that the server reads when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Where they are.
    pub path: PathBuf,
    /// A command that reads documents as the server would and ends with 1 if it refuses them. `{directory}` is the directory
    /// with the document, `{config}` the file made from `config`.
    pub check: Vec<String>,
    /// A text with `{directory}`, from which a file is made for each run of the command.
    pub config: Option<PathBuf>,
    /// The most seconds until the server has read a document.
    pub settle: u64,
}

/// Members by kind of client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Members {
    /// Of all.
    pub all: Map<String, Value>,
    /// Of clients of the CA.
    pub tls_client_auth: Map<String, Value>,
    /// Of clients with registered certificates.
    pub self_signed_tls_client_auth: Map<String, Value>,
    /// Of clients that are registered and shut out; if there are none, nobody can be.
    pub disabled: Map<String, Value>,
    /// Of clients that may get tokens for both resources.
    pub both: Map<String, Value>,
    /// Of clients that may introspect tokens for the default resource.
    pub resource_server: Map<String, Value>,
    /// Of clients that may introspect tokens for the second resource.
    pub second_resource_server: Map<String, Value>,
}

/// A listener that takes certificates in headers (RFC 9440).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// Its origin; the paths of the endpoints there are those of the metadata.
    pub url: String,
    /// The certificate of a proxy that it trusts; none if the address is enough.
    pub proxy: Option<Pair>,
}

/// Where the suite serves documents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosting {
    /// The host name under which the server reaches this machine.
    pub host: String,
    /// A certificate for that name that the server trusts.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or says what this does not understand.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: String| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut config: Self = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    /// Makes every path relative to the file.
    fn resolve(&mut self, base: &Path) {
        let at = |path: &mut PathBuf| *path = base.join(&*path);
        at(&mut self.ca);
        for pair in self
            .client_ca
            .iter_mut()
            .chain(&mut self.other_ca)
            .chain(self.forwarded.iter_mut().filter_map(|way| way.proxy.as_mut()))
        {
            at(&mut pair.certificate);
            at(&mut pair.key);
        }
        for client in self.clients.values_mut() {
            at(&mut client.certificate);
            at(&mut client.key);
        }
        if let Some(revoking) = &mut self.revoking {
            at(&mut revoking.certificate);
            at(&mut revoking.key);
        }
        if let Some(hosting) = &mut self.hosting {
            at(&mut hosting.certificate);
            at(&mut hosting.key);
        }
        if let Some(directory) = self.registrar.as_mut().and_then(|registrar| registrar.directory.as_mut()) {
            at(&mut directory.path);
            directory.config.iter_mut().for_each(at);
        }
        self.signing_key.iter_mut().for_each(at);
        self.log.iter_mut().for_each(at);
        self.variants.values_mut().for_each(at);
    }
}
