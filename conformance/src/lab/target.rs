//! The server under test: where it is, what it says of itself, and who is registered there.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use openssl::x509::X509;
use serde_json::Value;
use url::Url;

use super::{Client, Lab, Role, Submission};
use crate::api::Apis;
use crate::check::Halt;
use crate::config::Config;
use crate::pki::{Authority, Shown};
use crate::start::Started;
use crate::wire::Tls;

/// The server in another configuration, once somebody has asked for it.
type Variant = Arc<OnceLock<Result<Arc<Target>, String>>>;

/// The server under test.
pub struct Target {
    /// What the suite was told of it.
    pub config: Config,
    /// The CAs of its TLS certificate, DER.
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) client_ca: Option<Authority>,
    metadata: OnceLock<Result<Value, String>>,
    clients: OnceLock<BTreeMap<Role, Result<Client, String>>>,
    variants: Mutex<BTreeMap<String, Variant>>,
    /// The server, if the suite started it: ended when this goes.
    started: Option<Started>,
    apis: Mutex<Option<Apis>>,
}

impl Target {
    /// Takes a server as it is, without asking it anything yet.
    ///
    /// # Errors
    /// A file that the config names cannot be read.
    pub fn new(config: Config, started: Option<Started>) -> Result<Arc<Self>, String> {
        let read =
            |path: &std::path::Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let roots = X509::stack_from_pem(&read(&config.ca)?).map_err(|error| format!("ca: {error}"))?;
        let roots = roots.iter().filter_map(|root| root.to_der().ok()).collect();
        let client_ca = match &config.client_ca {
            Some(pair) => Some(
                Authority::read(&read(&pair.certificate)?, &read(&pair.key)?)
                    .map_err(|error| format!("client_ca: {error}"))?,
            ),
            None => None,
        };
        Ok(Arc::new(Self {
            config,
            roots,
            client_ca,
            metadata: OnceLock::new(),
            clients: OnceLock::new(),
            variants: Mutex::default(),
            started,
            apis: Mutex::default(),
        }))
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or(&self.config.issuer)
    }

    /// Keeps the demo resource servers for as long as the server.
    pub fn keep(&self, apis: Apis) {
        *self.apis.lock().unwrap_or_else(PoisonError::into_inner) = Some(apis);
    }

    /// Registers the clients that the config does not bring. Before the first check, from one thread.
    pub fn prepare(self: &Arc<Self>) {
        let lab = Lab::new(self);
        let clients: BTreeMap<_, _> =
            Role::ALL.into_iter().map(|role| (role, self.make(&lab, role))).collect();
        for client in clients.values().flatten() {
            lab.settle(client);
        }
        // Only the first time counts; who comes later finds the clients of the first.
        let _ = self.clients.set(clients);
    }

    fn make(&self, lab: &Lab, role: Role) -> Result<Client, String> {
        if let Some(given) = self.config.clients.get(role.name()) {
            let read = |path: &std::path::Path| {
                fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
            };
            let shown = Shown::read(&read(&given.certificate)?, &read(&given.key)?)
                .map_err(|error| error.to_string())?;
            return Ok(Client { id: given.client_id.clone(), shown });
        }
        let made = role
            .make(self.client_ca.as_ref())
            .and_then(|(document, shown)| Ok((lab.submit(&lab.for_role(role, document))?, shown)));
        match made {
            Ok((Submission::Accepted { client_id, .. }, shown)) => Ok(Client { id: client_id, shown }),
            Ok((Submission::Refused { said, .. }, _)) => Err(said),
            Err(Halt::Untestable(why) | Halt::NotApplicable(why)) => Err(why),
            Err(Halt::Fail { seen, .. }) => Err(seen),
        }
    }

    /// The URL of a demo resource server.
    pub(super) fn api(&self, name: &str) -> Option<String> {
        let apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let started = apis.as_ref().and_then(|apis| apis.urls.get(name).cloned());
        started.or_else(|| self.config.resource_servers.get(name).cloned())
    }

    pub(crate) fn client(&self, role: Role) -> Result<&Client, &str> {
        let client = self.clients.get().and_then(|clients| clients.get(&role));
        client.map_or(Err("nothing was registered"), |client| client.as_ref().map_err(String::as_str))
    }

    pub(super) fn metadata(self: &Arc<Self>) -> Result<&Value, String> {
        self.metadata.get_or_init(|| self.read_metadata()).as_ref().map_err(Clone::clone)
    }

    fn read_metadata(self: &Arc<Self>) -> Result<Value, String> {
        let lab = Lab::new(self);
        let mut why = String::new();
        for url in self.metadata_urls()? {
            let answer = lab.get(&url).tls(Tls::Modern).send();
            match (answer.status(), answer.json()) {
                (Some(200), document @ Value::Object(_)) => return Ok(document),
                _ => why = format!("{url}: {}", answer.seen()),
            }
        }
        Err(why)
    }

    pub(super) fn metadata_urls(&self) -> Result<Vec<Url>, String> {
        let parse = |text: &str| Url::parse(text).map_err(|error| format!("{text:?}: {error}"));
        if let Some(url) = &self.config.metadata {
            return Ok(vec![parse(url)?]);
        }
        let issuer = parse(&self.config.issuer)?;
        let path = issuer.path().trim_end_matches('/');
        let (mut oauth, mut openid) = (issuer.clone(), issuer.clone());
        oauth.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        openid.set_path(&format!("{path}/.well-known/openid-configuration"));
        Ok(vec![oauth, openid])
    }

    pub(super) fn variant(&self, name: &str) -> Result<Arc<Self>, String> {
        let cell = {
            let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(variants.entry(name.to_owned()).or_default())
        };
        cell.get_or_init(|| self.make_variant(name)).clone()
    }

    fn make_variant(&self, name: &str) -> Result<Arc<Self>, String> {
        let target = match (&self.started, self.config.variants.get(name)) {
            (Some(started), _) => started.variant(name)?,
            (None, Some(path)) => Self::new(Config::read(path)?, None)?,
            (None, None) => return Err("it is not in variants of the config".to_owned()),
        };
        target.prepare();
        Ok(target)
    }
}
